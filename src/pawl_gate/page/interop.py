"""The page of the interop matrix: a cell is a link, and what it leads to unfolds with its transcript."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from pawl_gate.interop.cells import FINDINGS, Cell, Verdict
from pawl_gate.interop.expected import Key, Known, compare, is_known, names
from pawl_gate.interop.matrix import Matrix
from pawl_gate.interop.report import command, counts_line, exit_of, summary, verdict_line
from pawl_gate.interop.situations import Situation
from pawl_gate.page.environment import environment
from pawl_gate.page.picture import Picture, picture
from pawl_gate.verify import Exit

WORDS: Final = {
    Verdict.PASS: ("pass", "good"),
    Verdict.UNDERSTOOD: ("findings", "part"),
    Verdict.FAIL: ("fail", "bad"),
    Verdict.UNSUPPORTED: ("gap", "none"),
    Verdict.BROKEN: ("broken", "bad"),
}
"""A cell's word and its colours; no two verdicts share the word."""

KNOWN: Final = {
    Verdict.UNDERSTOOD: ("known findings", "part"),
    Verdict.FAIL: ("known fail", "warn"),
}
"""The same of what is listed, with its reason."""

SAID: Final = {
    Verdict.UNDERSTOOD: "Understood, and found",
    Verdict.FAIL: "Not understood",
    Verdict.UNSUPPORTED: "Gap",
    Verdict.BROKEN: "Broken",
}
"""What stands before the words of a cell that did not pass."""

LEGEND: Final = (
    ([WORDS[Verdict.PASS]], "understood, and the specification found nothing"),
    (
        [WORDS[Verdict.UNDERSTOOD], KNOWN[Verdict.UNDERSTOOD]],
        "understood: every message was read as it was meant, and on the way the specification found something",
    ),
    (
        [WORDS[Verdict.FAIL], KNOWN[Verdict.FAIL]],
        "not understood: a message was not read as it was meant, or an implementation crashed or hung",
    ),
    ([WORDS[Verdict.UNSUPPORTED]], "declared by one of the two before anything was run"),
    ([WORDS[Verdict.BROKEN]], "a driver did not keep to the contract: nothing is said of its implementation"),
)
"""Words and what they mean; what is known is listed with its reason."""

KINDS: Final = ("bad", "warn", "part", "good")
"""Colours, the worst first: a pair has those of its worst cell."""

STATES: Final = {
    Exit.HOLDS: ("as expected", "good"),
    Exit.VIOLATED: ("not as expected", "bad"),
    Exit.BROKEN: ("the harness broke", "bad"),
    Exit.INCOMPLETE: ("incomplete", "warn"),
}


@dataclass(frozen=True, slots=True)
class Named:
    """What a chart is called."""

    id: str


@dataclass(frozen=True, slots=True)
class Told:
    """A cell, with what is drawn of it."""

    number: int
    cell: Cell
    word: str
    kind: str
    reason: str | None
    alone: list[str]
    command: str
    entry: Named
    picture: Picture | None
    """Of one that did not pass."""

    @property
    def said(self) -> str:
        """What stands before its words."""
        return SAID[self.cell.verdict]


@dataclass(frozen=True, slots=True)
class Pair:
    """The cells of two implementations, one way."""

    number: int
    first: str
    second: str
    passed: int
    understood: int
    failed: int
    kind: str
    cells: list[Told]

    @property
    def in_short(self) -> str:
        """How many of those that both declare were understood."""
        those = self.passed + self.understood + self.failed
        return f"{self.passed + self.understood}/{those}" if those else "gap"

    @property
    def findings(self) -> str:
        """How many of these with findings; empty: none."""
        return f"{self.understood} with findings" if self.understood else ""


@dataclass(frozen=True, slots=True)
class Scene:
    """A scenario, with its cells by first and second."""

    situation: Situation
    cells: dict[tuple[str, str], Told]
    counts: list[tuple[str, int, str]]
    """Word, how many, colours."""


def render(matrix: Matrix, known: Mapping[Key, Known] | None, *, made: datetime, expect: Path | None = None) -> str:
    """The page, ended by a newline. The same arguments give the same text."""
    differences = None if known is None else compare(matrix, known)
    code = exit_of(matrix, differences)
    told = [_told(matrix, number, cell, known or {}) for number, cell in enumerate(matrix.cells)]
    pairs = list(_pairs(matrix, told))
    state, kind = STATES[code]
    if known is None and code in (Exit.HOLDS, Exit.VIOLATED):
        state = "all pass" if code is Exit.HOLDS else "some fail" if matrix.of(Verdict.FAIL) else "some with findings"
    return environment().get_template("interop.html").render(
        made=made,
        matrix=matrix,
        plan=matrix.plan,
        present=list(matrix.plan.present),
        state=(state, kind),
        verdict=verdict_line(matrix, differences, code),
        counts=counts_line(matrix, known),
        new=[] if differences is None else names((cell.key for cell in differences.new), matrix, known or {}),
        vanished=[] if differences is None else names(differences.vanished, matrix, known or {}),
        pairs=pairs,
        by_names={(pair.first, pair.second): pair for pair in pairs},
        scenes=list(_scenes(matrix, told)),
        failures=[one for one in told if one.cell.verdict in (Verdict.FAIL, Verdict.BROKEN)],
        findings=[one for one in told if one.cell.verdict is Verdict.UNDERSTOOD],
        expect=expect,
        legend=LEGEND,
    )  # fmt: skip


def _told(matrix: Matrix, number: int, cell: Cell, known: Mapping[Key, Known]) -> Told:
    is_listed = is_known(cell, known)
    word, kind = KNOWN[cell.verdict] if is_listed else WORDS[cell.verdict]
    has_fault = cell.verdict in FINDINGS
    drawn = picture(cell.transcript) if has_fault and cell.transcript is not None and cell.transcript.lanes else None
    return Told(
        number,
        cell,
        word,
        kind,
        known[cell.key].reason if is_listed else None,
        matrix.alone(cell),
        command(cell),
        Named(f"{cell.first} with {cell.second}, {cell.scenario}"),
        drawn,
    )


def _pairs(matrix: Matrix, told: list[Told]) -> Iterator[Pair]:
    cells: dict[tuple[str, str], list[Told]] = {}
    for one in told:
        cells.setdefault((one.cell.first, one.cell.second), []).append(one)
    for number, ((first, second), those) in enumerate(cells.items()):
        passed, understood, failed = summary(matrix, first, second) or (0, 0, 0)
        kinds = {one.kind for one in those}
        kind = next((each for each in KINDS if each in kinds), "none")
        yield Pair(number, first, second, passed, understood, failed, kind, those)


def _scenes(matrix: Matrix, told: list[Told]) -> Iterator[Scene]:
    for situation in matrix.plan.situations:
        cells = {(one.cell.first, one.cell.second): one for one in told if one.cell.scenario == situation.name}
        words = dict.fromkeys((one.word, one.kind) for one in cells.values())
        counts = [(word, sum(one.word == word for one in cells.values()), kind) for word, kind in words]
        yield Scene(situation, cells, counts)
