"""The chain: everything that the tree says of how a line of the threat model is kept, gathered and not yet judged."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pawl_gate import explain
from pawl_gate.controls import Control
from pawl_gate.explain import ID, NAMED, Place
from pawl_gate.traceability import answers, inputs
from pawl_gate.traceability.answers import Answer
from pawl_gate.traceability.inputs import Entry, Executed, Progress
from pawl_spec.invariants import INVARIANTS
from pawl_spec.registry import THREATS, Invariant
from pawl_spec.threat_model import LINES, Line

READ: Final = ("docs", "spec", "src", "tests", "fuzz", "tools", "bench", "drivers")
"""Folders whose texts are read for ids."""
TEXTS: Final = frozenset({".py", ".md", ".json", ".js"})
SKIPPED: Final = frozenset({"node_modules", "__pycache__"})


@dataclass(frozen=True, slots=True)
class Mention:
    """An id in a text."""

    file: str
    line: int
    id: str
    in_brackets: bool
    """As the library's comments and docstrings have it."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Chain:
    """What the tree says. Places are named from `root`, the checkout's folder."""

    root: Path
    lines: tuple[Line, ...]
    answers: tuple[Answer, ...]
    """What docs/explanation/threat-model.md says to the lines."""
    threats: Mapping[str, str]
    """By id, in words."""
    invariants: tuple[Invariant, ...]
    code: Mapping[str, tuple[Place, ...]]
    """By id: where the library says that it makes an invariant true."""
    tests: Mapping[str, tuple[Place, ...]]
    """By id: the tests that name it."""
    controls: tuple[Control, ...]
    entries: tuple[Entry, ...]
    executed: Executed
    """The functions of the library that the inputs of the entry points ran."""
    mentions: tuple[Mention, ...]
    """Every id in any text of the tree."""

    @property
    def known(self) -> Mapping[str, Invariant]:
        """The invariants by id."""
        return {entry.id: entry for entry in self.invariants}

    def is_judged(self, id_: str) -> bool:
        """Whether there is such an invariant, and something judges it."""
        entry = self.known.get(id_)
        return entry is not None and entry.predicate is not None

    def threats_of(self, line: Line) -> tuple[str, ...]:
        """The threat in whose section a line stands, then those of its invariants."""
        of_ids = sorted({self.known[id_].threat for id_ in line.invariants if id_ in self.known})
        return tuple(dict.fromkeys([*([line.threat] if line.threat else []), *of_ids]))

    def lines_of(self, id_: str) -> tuple[Line, ...]:
        """The lines that an invariant answers."""
        return tuple(line for line in self.lines if id_ in line.invariants)

    def controls_of(self, id_: str) -> tuple[Control, ...]:
        """The broken variants that an invariant must catch."""
        return tuple(one for one in self.controls if one.breaks == id_)

    def state_of(self, line: Line) -> str:
        """How a line is covered: in the words of `STATES`."""
        judged = [self.is_judged(id_) for id_ in line.invariants]
        if line.edge is not None and line.edge.tests:
            return EDGE
        if not judged:
            return OPEN
        return ANSWERED if all(judged) else IN_PART if any(judged) else PENDING


ANSWERED: Final = "answered"
IN_PART: Final = "answered in part"
EDGE: Final = "documented, with tests of its edge"
PENDING: Final = "answered by invariants not yet judged"
OPEN: Final = "not covered"

STATES: Final = {
    ANSWERED: "by invariants that are judged",
    IN_PART: "some of its invariants are not yet judged",
    EDGE: "no invariant can answer it in full: it is documented, and tests show how far the claims reach",
    PENDING: "a declared gap: nothing is claimed",
    OPEN: "neither an invariant answers it, nor is it documented with a test",
}
"""How a line can be covered, and what that means."""


def gather(root: Path, progress: Progress) -> Chain:
    """The chain of a checkout. Runs every input of the corpora."""
    found, executed = inputs.entries(root, progress)
    return Chain(
        root,
        lines=LINES,
        answers=tuple(answers.read(root)),
        threats=THREATS,
        invariants=INVARIANTS,
        code=explain.library_places(),
        tests=explain.test_places() or {},
        controls=explain.controls(),
        entries=found,
        executed=executed,
        mentions=tuple(mentions(root)),
    )


def mentions(root: Path) -> Iterator[Mention]:
    """Every id in the texts of a checkout."""
    for path in _texts(root):
        name = path.relative_to(root).as_posix()
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            bracketed = {at for match in NAMED.finditer(line) for at in range(*match.span())}
            for match in ID.finditer(line):
                yield Mention(name, number, match[0], in_brackets=match.start() in bracketed)


def _texts(root: Path) -> Iterable[Path]:
    yield from sorted(root.glob("*.md"))
    for folder in READ:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in TEXTS and not SKIPPED & set(path.parts) and path.is_file():
                yield path


def line_of(path: Path, text: str) -> int:
    """The number of the first line of a file that holds a text; of its last line if none does."""
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    return next((number for number, line in enumerate(lines, 1) if text in line), max(len(lines), 1))


def heading_slug(heading: str) -> str:
    """The anchor of a heading, as GitHub and the site make it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
