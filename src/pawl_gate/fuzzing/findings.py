"""Findings: grouped by what they show, made as short as they can be, and turned into what keeps them from coming back.

Everything is asked of a child process (`pawl_gate.fuzzing.facts`): a finding may end the process that runs it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pawl_gate.engines.corpus import files, name_of
from pawl_gate.fuzzing.entries import Entry, Form
from pawl_gate.fuzzing.facts import Facts, Prober
from pawl_spec.trace import decode, dumps, encode

# -- triage -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Group:
    """Findings that show the same."""

    entry: str
    state: str
    invariants: tuple[str, ...]
    refusal: str
    place: str
    files: list[Path] = field(default_factory=list)
    text: str = ""

    @property
    def smallest(self) -> Path:
        """The one to begin with."""
        return min(self.files, key=lambda path: (path.stat().st_size, path.name))

    def document(self) -> dict[str, Any]:
        """For machines."""
        return {
            "entry": self.entry,
            "state": self.state,
            "invariants": list(self.invariants),
            "refusal": self.refusal,
            "place": self.place,
            "files": [str(path) for path in self.files],
            "smallest": str(self.smallest),
            "text": self.text,
        }


def inputs(paths: Iterable[Path]) -> Iterator[Path]:
    """The files given, and those of the folders given; what is written beside a finding is none."""
    for path in paths:
        yield from (one for one in files(path) if one.suffix != ".json") if path.is_dir() else [path]


def triage(entry: Entry, paths: Iterable[Path]) -> tuple[list[Group], list[Path]]:
    """The groups, those of most files first, and the files that show nothing (any more)."""
    groups: dict[tuple[str, tuple[str, ...], str, str], Group] = {}
    quiet = []
    with Prober(entry.maker, lines=False) as prober:
        for path in paths:
            facts = prober.ask(path.read_bytes())
            if not facts.is_finding:
                quiet.append(path)
                continue
            group = groups.setdefault(facts.key, Group(entry.name, *facts.key, text=facts.text))
            group.files.append(path)
    return sorted(groups.values(), key=lambda one: (-len(one.files), one.invariants, one.place)), quiet


# -- shrinking --------------------------------------------------------------------------------------------------------


class NoFinding(Exception):
    """The input shows nothing; there is nothing to shrink or to export."""


@dataclass(frozen=True, slots=True)
class Shrunk:
    """The shortest form of a finding."""

    data: bytes
    facts: Facts
    parts: tuple[int, int]
    """Operations or fields, before and after."""
    tries: int


def shrink(entry: Entry, data: bytes, *, budget: int) -> Shrunk:
    """The plainest input that still shows the same, with at most `budget` runs. Raises: NoFinding.

    It must break the same invariants, or fail in the same way at the same place; which operation shows a broken
    invariant may change, as that is what shrinking is for.
    """
    form = entry.prepare().form
    with Prober(entry.maker, lines=False) as prober:
        facts = prober.ask(data)
        if not facts.is_finding:
            raise NoFinding(f"the input shows nothing: {facts.state}")

        def same(candidate: bytes) -> bool:
            now = prober.ask(candidate)
            return _shows(now) == _shows(facts)

        search = Search(form, data, same, budget)
        search.run()
        return Shrunk(search.best, prober.ask(search.best), search.counts, search.tries)


def _shows(facts: Facts) -> tuple[object, ...]:
    # Of several broken invariants the first names the finding: the others often come and go with it.
    return (facts.state, facts.invariants[0]) if facts.invariants else (facts.state, facts.place)


class Search:
    """Delta debugging: parts are left out, long runs first; each part is made simpler; again until neither helps."""

    def __init__(self, form: Form, data: bytes, same: Callable[[bytes], bool], budget: int) -> None:
        self._form, self._same, self._budget = form, same, budget
        self._head, self._parts = form.split(data)
        self._before = len(self._parts)
        self.best, self.tries = data, 0
        self._tried = {data}

    @property
    def counts(self) -> tuple[int, int]:
        """Parts before and after."""
        return self._before, len(self._parts)

    def run(self) -> None:
        """Search until nothing helps any more or the budget is spent."""
        # What splitting and joining leaves out (bytes behind the last operation) goes first.
        self._take(self._parts)
        while self.tries < self._budget:
            before = self.best
            self._leave_out()
            self._simplify()
            if self.best == before:
                return

    def _take(self, parts: list[bytes]) -> bool:
        candidate = self._form.join(self._head, parts)
        if candidate in self._tried or self.tries >= self._budget:
            return False
        self._tried.add(candidate)
        self.tries += 1
        if not self._same(candidate):
            return False
        self.best, self._parts = candidate, parts
        return True

    def _leave_out(self) -> None:
        size = max(len(self._parts) // 2, 1)
        while size:
            end = len(self._parts)
            while end > 0:
                start = max(end - size, 0)
                self._take(self._parts[:start] + self._parts[end:])
                end = min(start, len(self._parts))
            size //= 2

    def _simplify(self) -> None:
        for at in range(len(self._parts)):
            # Each simpler form has simpler ones of its own.
            while any(
                self._take([*self._parts[:at], part, *self._parts[at + 1 :]])
                for part in self._form.simpler(self._parts[at])
            ):
                pass


# -- export -----------------------------------------------------------------------------------------------------------

TEST: Final = '''"""{title}

Found by fuzzing the entry point {entry}; written by `pawl fuzz export`. It fails as long as the fault is there.
"""

from __future__ import annotations

import base64

from pawl_gate.fuzzing.entries import ENTRIES

DATA = base64.b64decode(
    {data}
)


def test_{name}() -> None:
    """{says}"""
    assert ENTRIES["{entry}"].prepare().hold(DATA) is not None
'''
WIDTH: Final = 100


def title(entry: Entry, facts: Facts) -> str:
    """What a finding shows, in a line."""
    what = " and ".join(facts.invariants) or facts.state
    return f"{what} on an input of {entry.name}{': ' + facts.place if facts.place else ''}"


def regression(entry: Entry, data: bytes, facts: Facts) -> tuple[str, str]:
    """A test of pytest: its file name and its text."""
    import base64

    what = "_".join(facts.invariants[:1]) or facts.state
    name = re.sub(r"\W+", "_", f"{entry.name}_{what}_{name_of(data)[:8]}").lower()
    coded = base64.b64encode(data).decode()
    lines = "\n    ".join(f'"{coded[at : at + WIDTH]}"' for at in range(0, max(len(coded), 1), WIDTH))
    said = title(entry, facts).replace("\\", "/").replace('"', "'")
    held = f"Held to what {entry.name} holds its inputs to, as any other."
    return f"test_{name}.py", TEST.format(title=said + ".", entry=entry.name, data=lines, name=name, says=held)


def is_trace(entry: Entry, data: bytes) -> bool:
    """Whether the inputs of an entry point are traces: then a finding is a vector too."""
    head, parts = entry.prepare().form.split(data)
    return encode(decode(data)) == head + b"".join(parts)


def vector(entry: Entry, data: bytes, facts: Facts) -> str:
    """A finding as a trace in its archive form, with what it shows: for `pawl replay` and the vectors."""
    note: Mapping[str, str] = {"violates": facts.invariants[0]} if facts.invariants else {}
    head = json.dumps({**note, "target": "pawl"})[1:-1]
    return dumps(decode(data)).replace("{", f"{{{head}, ", 1)
