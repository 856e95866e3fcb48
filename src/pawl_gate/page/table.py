"""The page of `pawl table`: targets and invariants, with the counterexample behind each cell that does not hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pawl_gate.expect import CLASSES
from pawl_gate.explain_text import LEVELS
from pawl_gate.page.environment import environment
from pawl_gate.page.picture import Picture, picture
from pawl_gate.report_text import FAMILIES, family
from pawl_gate.table import Cell, Column, State, Table, head
from pawl_gate.verify import Exit
from pawl_spec.invariants import INVARIANTS
from pawl_spec.registry import REGISTRY, Invariant

WORDS: Final = {
    State.HOLDS: ("holds", "good", ""),
    State.EXPECTED: ("violated", "warn", "expected"),
    State.NEW: ("violated", "bad", "not expected"),
    State.VANISHED: ("vanished", "bad", "it was expected"),
    State.BY_SCRIPT: ("violated", "warn", "by a script alone"),
    State.UNSUPPORTED: ("not judged", "none", "declared"),
    State.LEVEL: ("not judged", "none", "level"),
    State.NOT_REACHED: ("not judged", "none", "budget"),
    State.PENDING: ("not judged", "none", "nothing does it yet"),
    State.LEFT_OUT: ("not judged", "none", "left out"),
}
"""The word of a state, its colours, and what is said below it. Nothing is said by colour alone."""

OPENS: Final = (State.EXPECTED, State.NEW, State.VANISHED, State.BY_SCRIPT)
"""States whose cell leads to more."""

NOT_JUDGED: Final = (State.UNSUPPORTED, State.LEVEL, State.NOT_REACHED, State.PENDING, State.LEFT_OUT)


@dataclass(frozen=True, slots=True)
class Shown:
    """A finding, with its picture."""

    entry: Invariant
    cell: Cell
    place: str
    picture: Picture | None


@dataclass(frozen=True, slots=True)
class Target:
    """A column, and what is below the table on it."""

    column: Column
    place: str
    counts: list[tuple[str, str]]
    """How many cells say what, in words, with the colours."""
    shown: list[Shown]
    not_judged: list[tuple[str, list[str]]]
    """Why, and which."""


def render(table: Table, code: Exit) -> str:
    """The page, ended by a newline. The same table gives the same text."""
    targets = [_target(column, _place(column.target, number)) for number, column in enumerate(table.columns, 1)]
    state = {
        Exit.HOLDS: ("as expected", "good"),
        Exit.VIOLATED: ("not as expected", "bad"),
        Exit.INCOMPLETE: ("incomplete", "warn"),
    }[code]
    return environment().get_template("table.html").render(
        table=table,
        head=head(table),
        state=state,
        targets=targets,
        families=list(_families()),
        words=WORDS,
        opens=OPENS,
        classes=CLASSES,
        levels={level.value: words for level, words in LEVELS.items()},
    )  # fmt: skip


def _families() -> Iterator[tuple[str, str, list[Invariant]]]:
    """Each family that has invariants: its letters, what they stand for, and the invariants."""
    for name, words in FAMILIES.items():
        if members := [entry for entry in INVARIANTS if family(entry.id) == name]:
            yield name, words, members


def _place(target: str, number: int) -> str:
    """The anchor of a target: its name, where that can be one."""
    return target if re.fullmatch(r"[a-z0-9-]+", target) else f"target-{number}"


def _target(column: Column, place: str) -> Target:
    return Target(column, place, list(_counts(column)), list(_shown(column, place)), _not_judged(column))


def _counts(column: Column) -> Iterator[tuple[str, str]]:
    for state, (_, kind, _) in WORDS.items():
        if count := column.counts[state]:
            yield f"{count} {'hold' if state is State.HOLDS and count > 1 else state.value}", kind


def _shown(column: Column, place: str) -> Iterator[Shown]:
    for cell in column.with_state(*OPENS):
        layout = cell.shown.layout if cell.shown is not None else None
        drawn = picture(layout) if layout is not None else None
        yield Shown(REGISTRY[cell.id], cell, f"{place}-{cell.id.lower()}", drawn)


def _not_judged(column: Column) -> list[tuple[str, list[str]]]:
    reasons: dict[str, list[str]] = {}
    for cell in column.with_state(*NOT_JUDGED):
        reasons.setdefault(cell.why or cell.state.value, []).append(cell.id)
    return sorted(reasons.items(), key=lambda item: (-len(item[1]), item[0]))
