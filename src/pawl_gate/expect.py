"""Expected findings: a committed list of what is known to be violated on a target, each with its reason.

A run is as expected when exactly these invariants are violated: a new finding fails, and so does one that vanished,
because a list that nobody shortens hides the next fault. An entry may carry a trace that shows the finding: it is run
first, so that whether the finding is still there does not hang on what a search happens to come across. It may also say
what an attacker needs (`CLASSES`), and name the scripts that show the finding by the target's own public API, without
the gate. Findings that the gate cannot see are listed apart, each with such a script.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from pawl_gate.visible import one_line
from pawl_spec import trace as traces_of
from pawl_spec.invariants import INVARIANTS
from pawl_spec.trace import Trace, TraceError

MAX_BYTES: Final = 1 << 20
"""Bytes of a list: many times what all invariants with a page of reason each would take."""

MAX_REASON: Final = 300
"""Characters of a reason that is written from what was seen, which may be a target's own words."""

IDS: Final = frozenset(entry.id for entry in INVARIANTS)

CLASSES: Final = {
    "network": "what goes over the network, or what the server hands out; nobody's key",
    "peer": "an authenticated session, or membership in the group",
    "crash": "the process ends, or the power fails, at the wrong moment",
    "application": "an error of the application that uses the library",
    "store": "a store, or a use of one, that is not the usual one",
    "thief": "a copy of the device's state, taken afterwards",
}
"""What an attacker needs at the least, by the word that a list uses."""

SCRIPT: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*(#[a-z0-9-]+)?")
"""A file below the list's folder; behind a # one finding of a program of several."""


class ExpectError(ValueError):
    """The file is not a list of expected findings; the text says where."""


@dataclass(frozen=True, slots=True)
class Unseen:
    """A finding that the gate does not see: what shows it is a script."""

    id: str
    reason: str
    """What it is, and why the gate does not see it."""
    needs: str
    """A word of `CLASSES`."""
    scripts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Expected:
    """The findings that are expected of one target: invariant id to reason."""

    target: str
    findings: dict[str, str]
    traces: dict[str, Trace] = field(default_factory=dict)
    """By id, for some of them: a trace that shows the finding."""
    classes: dict[str, str] = field(default_factory=dict)
    """By id, for those that somebody examined: what an attacker needs, a word of `CLASSES`."""
    scripts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By id, for the same: the scripts that show the finding, from the list's folder; the plainest first."""
    unseen: tuple[Unseen, ...] = ()
    """What the gate does not see. No run is compared with it."""

    def without(self, ids: Collection[str]) -> Expected:
        """The same without what is said of these invariants."""
        return self.only(set(self.findings) - set(ids))

    def only(self, ids: Collection[str]) -> Expected:
        """The same with nothing but what is said of these invariants."""
        return replace(
            self,
            findings={id_: reason for id_, reason in self.findings.items() if id_ in ids},
            traces={id_: trace for id_, trace in self.traces.items() if id_ in ids},
            classes={id_: word for id_, word in self.classes.items() if id_ in ids},
            scripts={id_: scripts for id_, scripts in self.scripts.items() if id_ in ids},
        )

    def compare(self, violated: Collection[str]) -> Comparison:
        """What is new and what has vanished."""
        return Comparison(
            new=sorted(set(violated) - set(self.findings)),
            vanished=sorted(set(self.findings) - set(violated)),
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a run's findings differ from the expected ones."""

    new: list[str]
    vanished: list[str]

    @property
    def same(self) -> bool:
        """Whether exactly the expected invariants are violated."""
        return not self.new and not self.vanished


def read(path: Path, *, target: str | None = None) -> Expected:
    """Read `{"target": name, "findings": [{"id": ..., "reason": ...}]}`, for the named target where one is named.

    "trace", "class" and "script" (one, or a list) may stand in an entry, and "unseen" beside "findings": entries that
    have no trace, and both class and script.

    Raises: ExpectError; OSError if the file cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    # Whatever the path names, it is not read without an end.
    if len(data) > MAX_BYTES:
        raise ExpectError(f"it is longer than {MAX_BYTES} bytes")
    try:
        document = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ExpectError(f"not JSON: {error}") from None
    if not isinstance(document, dict) or set(document) - {"unseen"} != {"target", "findings"}:
        raise ExpectError('it must be an object with "target" and "findings", maybe "unseen", and nothing else')
    if not isinstance(document["target"], str):
        raise ExpectError('"target" must be the name of a target')
    # A list made for another target would say nothing about this one.
    if target is not None and document["target"] != target:
        raise ExpectError(f"it is about target {document['target']!r}, not {target!r}")
    findings: dict[str, str] = {}
    shown: dict[str, Trace] = {}
    classes: dict[str, str] = {}
    scripts: dict[str, tuple[str, ...]] = {}
    for where, entry in _entries(document, "findings", {"trace", "class", "script"}):
        id_ = entry["id"]
        if id_ in findings:
            raise ExpectError(f"{where}: {id_} is listed twice")
        findings[id_] = entry["reason"]
        if "trace" in entry:
            try:
                shown[id_] = traces_of.from_json(entry["trace"])
            except TraceError as error:
                raise ExpectError(f"{where}: the trace of {id_} is no trace: {error}") from None
        if "class" in entry:
            classes[id_] = _class(entry, where)
        if "script" in entry:
            scripts[id_] = _scripts(entry, where)
    unseen = []
    for where, entry in _entries(document, "unseen", {"class", "script"}):
        # Where the gate sees nothing, a script is all there is.
        if "class" not in entry or "script" not in entry:
            raise ExpectError(f'{where}: {entry["id"]} must have "class" and "script"')
        unseen.append(Unseen(entry["id"], entry["reason"], _class(entry, where), _scripts(entry, where)))
    return Expected(document["target"], findings, shown, classes, scripts, tuple(unseen))


def _entries(document: dict[str, Any], what: str, may: set[str]) -> list[tuple[str, dict[str, Any]]]:
    """The entries of a list, each with its place for messages; all have an id that there is, and a reason."""
    listed = document.get(what, [])
    if not isinstance(listed, list):
        raise ExpectError(f'"{what}" must be a list')
    named = []
    for at, entry in enumerate(listed):
        where = f"finding {at}" if what == "findings" else f"{what} {at}"
        if not isinstance(entry, dict) or set(entry) - may != {"id", "reason"}:
            beside = ", ".join(f'"{key}"' for key in sorted(may))
            raise ExpectError(f'{where} must be an object with "id" and "reason", maybe {beside}, nothing else')
        if not isinstance(entry["id"], str) or entry["id"] not in IDS:
            raise ExpectError(f"{where}: there is no invariant {entry['id']!r} (see `pawl invariants`)")
        if not isinstance(entry["reason"], str) or not entry["reason"].strip():
            raise ExpectError(f"{where}: {entry['id']} has no reason")
        named.append((where, entry))
    return named


def _class(entry: dict[str, Any], where: str) -> str:
    word = entry["class"]
    if not isinstance(word, str) or word not in CLASSES:
        raise ExpectError(f"{where}: the class of {entry['id']} must be one of {', '.join(CLASSES)}")
    return word


def _scripts(entry: dict[str, Any], where: str) -> tuple[str, ...]:
    named = [entry["script"]] if isinstance(entry["script"], str) else entry["script"]
    if not isinstance(named, list) or not named:
        raise ExpectError(f"{where}: the script of {entry['id']} must be a path, or a list of paths")
    for path in named:
        # It is started: nothing outside of the list's folder can be named.
        if not isinstance(path, str) or not SCRIPT.fullmatch(path):
            raise ExpectError(f"{where}: the script of {entry['id']} must be a file below the list's folder")
    if len(set(named)) < len(named):
        raise ExpectError(f"{where}: a script of {entry['id']} is named twice")
    return tuple(named)


def renewed(
    old: Expected | None, *, target: str, seen: Mapping[str, str], shown: Mapping[str, Trace], whole: bool
) -> Expected:
    """The list that a run leads to: what it saw by id, with the traces that show it.

    What somebody wrote of a finding stays, its reason, class and scripts. What an incomplete run (not `whole`) did not
    see stays on the list too: that it was not found says nothing.
    """
    before = old or Expected(target, {})
    kept = set() if whole else set(before.findings) - set(seen)
    return replace(
        before.only(kept.union(seen)),
        findings={id_: before.findings.get(id_) or first_reason(seen[id_]) for id_ in sorted(kept.union(seen))},
        traces={**before.only(kept).traces, **shown},
    )


def first_reason(what: str) -> str:
    """The reason of an entry that nobody has looked at yet."""
    return one_line(f"there when this list was written, not yet examined: {what}", MAX_REASON)


def dumps(expected: Expected) -> str:
    """The text of the file."""
    entries = []
    for id_, reason in sorted(expected.findings.items()):
        entry: dict[str, Any] = {"id": id_, "reason": reason}
        if id_ in expected.classes:
            entry["class"] = expected.classes[id_]
        if id_ in expected.scripts:
            entry["script"] = _plain(expected.scripts[id_])
        if id_ in expected.traces:
            entry["trace"] = traces_of.to_json(expected.traces[id_])
        entries.append(entry)
    document: dict[str, Any] = {"target": expected.target, "findings": entries}
    if expected.unseen:
        document["unseen"] = [
            {"id": one.id, "reason": one.reason, "class": one.needs, "script": _plain(one.scripts)}
            for one in expected.unseen
        ]
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _plain(scripts: tuple[str, ...]) -> str | list[str]:
    return scripts[0] if len(scripts) == 1 else list(scripts)
