"""Expected findings: a committed list of what is known to be violated on a target, each with its reason.

A run is as expected when exactly these invariants are violated: a new finding fails, and so does one that vanished,
because a list that nobody shortens hides the next fault. An entry may carry a trace that shows the finding: it is run
first, so that whether the finding is still there does not hang on what a search happens to come across.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from pawl_gate.visible import one_line
from pawl_spec import trace as traces_of
from pawl_spec.invariants import INVARIANTS
from pawl_spec.trace import Trace, TraceError

MAX_BYTES: Final = 1 << 20
"""Bytes of a list: many times what all invariants with a page of reason each would take."""

MAX_REASON: Final = 300
"""Characters of a reason that is written from what was seen, which may be a target's own words."""

IDS: Final = frozenset(entry.id for entry in INVARIANTS)


class ExpectError(ValueError):
    """The file is not a list of expected findings; the text says where."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The findings that are expected of one target: invariant id to reason."""

    target: str
    findings: dict[str, str]
    traces: dict[str, Trace] = field(default_factory=dict)
    """By id, for some of them: a trace that shows the finding."""

    def without(self, ids: Collection[str]) -> Expected:
        """The same without what is said of these invariants."""
        return replace(
            self,
            findings={id_: reason for id_, reason in self.findings.items() if id_ not in ids},
            traces={id_: trace for id_, trace in self.traces.items() if id_ not in ids},
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


def read(path: Path, *, target: str) -> Expected:
    """Read `{"target": name, "findings": [{"id": ..., "reason": ...}]}` for the named target; "trace" may stand beside.

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
    if not isinstance(document, dict) or set(document) != {"target", "findings"}:
        raise ExpectError('it must be an object with "target" and "findings", and nothing else')
    # A list made for another target would say nothing about this one.
    if document["target"] != target:
        raise ExpectError(f"it is about target {document['target']!r}, not {target!r}")
    if not isinstance(document["findings"], list):
        raise ExpectError('"findings" must be a list')
    findings: dict[str, str] = {}
    shown: dict[str, Trace] = {}
    for at, entry in enumerate(document["findings"]):
        if not isinstance(entry, dict) or set(entry) - {"trace"} != {"id", "reason"}:
            raise ExpectError(f'finding {at} must be an object with "id" and "reason", maybe "trace", nothing else')
        if not isinstance(entry["id"], str) or entry["id"] not in IDS:
            raise ExpectError(f"finding {at}: there is no invariant {entry['id']!r} (see `pawl invariants`)")
        if entry["id"] in findings:
            raise ExpectError(f"finding {at}: {entry['id']} is listed twice")
        if not isinstance(entry["reason"], str) or not entry["reason"].strip():
            raise ExpectError(f"finding {at}: {entry['id']} has no reason")
        findings[entry["id"]] = entry["reason"]
        if "trace" in entry:
            try:
                shown[entry["id"]] = traces_of.from_json(entry["trace"])
            except TraceError as error:
                raise ExpectError(f"finding {at}: the trace of {entry['id']} is no trace: {error}") from None
    return Expected(target, findings, shown)


def renewed(
    old: Expected | None, *, target: str, seen: Mapping[str, str], shown: Mapping[str, Trace], whole: bool
) -> Expected:
    """The list that a run leads to: what it saw by id, with the traces that show it.

    A reason that somebody wrote stays. What an incomplete run (not `whole`) did not see stays on the list too: that it
    was not found says nothing.
    """
    before, traces = (old.findings, old.traces) if old else ({}, {})
    kept = set() if whole else set(before) - set(seen)
    return Expected(
        target,
        {id_: before.get(id_) or first_reason(seen[id_]) for id_ in sorted(kept.union(seen))},
        {**{id_: traces[id_] for id_ in traces if id_ in kept}, **shown},
    )


def first_reason(what: str) -> str:
    """The reason of an entry that nobody has looked at yet."""
    return one_line(f"there when this list was written, not yet examined: {what}", MAX_REASON)


def dumps(expected: Expected) -> str:
    """The text of the file."""
    entries = []
    for id_, reason in sorted(expected.findings.items()):
        shown = {"trace": traces_of.to_json(expected.traces[id_])} if id_ in expected.traces else {}
        entries.append({"id": id_, "reason": reason, **shown})
    return json.dumps({"target": expected.target, "findings": entries}, indent=1, ensure_ascii=False) + "\n"
