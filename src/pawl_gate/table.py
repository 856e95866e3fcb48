"""The table of targets and invariants: what the last run of `pawl verify` on each target said of each invariant.

It is made of the documents that those runs left, of the registry of targets, and of the committed lists of findings.
Nothing is run, and nothing is judged again: a cell says what a run said.
"""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Final

from pawl_gate.baselines import Baseline
from pawl_gate.chart import Arrow, Layout, Note, Step
from pawl_gate.expect import CLASSES, Unseen
from pawl_gate.report_text import FAMILIES, WIDTH, family
from pawl_gate.targets.registry import TARGETS
from pawl_gate.traceability.evidence import FORMAT, VERSION, code_digest
from pawl_gate.verify import Exit
from pawl_gate.visible import visible
from pawl_spec.invariants import INVARIANTS
from pawl_spec.judge import Verdict

MAX_BYTES: Final = 64 << 20
"""Bytes of a document: many times the largest."""


class State(Enum):
    """What a cell says."""

    HOLDS = "holds"
    EXPECTED = "violated, expected"
    NEW = "violated, not expected"
    VANISHED = "expected to be violated, and not found"
    BY_SCRIPT = "violated by a script alone"
    """The gate does not see it; a script shows it."""
    UNSUPPORTED = "not judged: declared"
    LEVEL = "not judged: level"
    NOT_REACHED = "not judged: budget"
    PENDING = "not judged: nothing judges it yet"
    LEFT_OUT = "not judged: left out"


JUDGED: Final = frozenset({State.HOLDS, State.EXPECTED, State.NEW, State.VANISHED, State.BY_SCRIPT})

SHORT: Final = {
    State.HOLDS: "holds",
    State.EXPECTED: "known",
    State.NEW: "NEW",
    State.VANISHED: "GONE",
    State.BY_SCRIPT: "script",
    State.UNSUPPORTED: "-",
    State.LEVEL: "level",
    State.NOT_REACHED: "budget",
    State.PENDING: "pending",
    State.LEFT_OUT: "left out",
}
"""A state in a column of text."""


class TableError(ValueError):
    """A file is no report of `pawl verify`; the text says why."""


@dataclass(frozen=True, slots=True)
class Counterexample:
    """The trace that breaks an invariant, as the run drew it."""

    what: str
    """What went wrong."""
    found_by: str
    operations: int
    chart: tuple[str, ...]
    """As lines of text."""
    layout: Layout | None
    """The same for a picture; None where the run left none."""
    file: str | None
    """Where the run saved the trace."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One invariant on one target."""

    id: str
    state: State
    checked: int
    why: str = ""
    """The reason: of an expected finding, or why it was not judged."""
    needs: str | None = None
    """What an attacker needs: a word of `CLASSES`."""
    scripts: tuple[str, ...] = ()
    shown: Counterexample | None = None
    on_trial: tuple[str, ...] = ()
    """What campaigns on stores found, a line each."""
    unseen: tuple[Unseen, ...] = ()
    """What scripts show of it, and the gate does not see."""


@dataclass(frozen=True, slots=True)
class Column:
    """One target."""

    target: str
    name: str
    version: str
    level: int
    budget: str
    seed: int
    traces: int
    steps: int
    seconds: float
    made: str
    is_current: bool
    """Whether library and specification are still what they were in that run."""
    gaps: tuple[str, ...]
    cells: Mapping[str, Cell]

    @property
    def counts(self) -> Counter[State]:
        """How many cells say what."""
        return Counter(cell.state for cell in self.cells.values())

    def with_state(self, *states: State) -> list[Cell]:
        """The cells that say one of these, by id."""
        return [cell for _, cell in sorted(self.cells.items()) if cell.state in states]


@dataclass(frozen=True, slots=True)
class Table:
    """All of it."""

    columns: Sequence[Column]
    missing: Sequence[str]
    """Targets that have a list of findings, and of which there is no result here."""
    others: Sequence[str] = field(default=())
    """Further targets of the registry without a result."""

    @property
    def exit(self) -> Exit:
        """1 where a finding is new or has vanished, 4 where a run was incomplete."""
        if any(column.with_state(State.NEW, State.VANISHED) for column in self.columns):
            return Exit.VIOLATED
        return Exit.INCOMPLETE if any(column.gaps for column in self.columns) else Exit.HOLDS


# -- made of documents ------------------------------------------------------------------------------------------------


def read(path: Path) -> dict[str, Any] | None:
    """A report of `pawl verify`; None where the file is something else. Raises: TableError, OSError."""
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise TableError(f"it is longer than {MAX_BYTES} bytes")
    try:
        found = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        raise TableError("it is not JSON") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        return None
    if found.get("version") != VERSION:
        raise TableError(f"its version is not {VERSION}")
    return found


def make(documents: Iterable[dict[str, Any]], known: Mapping[str, Baseline]) -> Table:
    """The table of these reports; of several on one target the last. Raises: TableError."""
    last: dict[str, Column] = {}
    digest = code_digest()
    for document in documents:
        try:
            made = _column(document, known, digest)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TableError(f"a part of it is missing, or of another kind: {error}") from None
        if made.target not in last or last[made.target].made <= made.made:
            last[made.target] = made
    order = [*TARGETS, *sorted(set(last) - set(TARGETS))]
    absent = [name for name in order if name not in last]
    return Table(
        [last[name] for name in order if name in last],
        [name for name in absent if name in known],
        [name for name in absent if name not in known],
    )


def _column(document: dict[str, Any], known: Mapping[str, Baseline], digest: str) -> Column:
    target = document["target"]
    asked = str(target["asked"])
    cells = {cell.id: cell for cell in _cells(document, known.get(asked))}
    return Column(
        target=asked,
        name=str(target["name"]),
        version=str(target["version"]),
        level=int(target["level"]),
        budget=str(document["budget"]),
        seed=int(document["seed"]),
        traces=int(document["traces"]),
        steps=int(document["steps"]),
        seconds=float(document["seconds"]),
        made=str(document["made"]),
        is_current=document["code"] == digest,
        gaps=tuple(str(gap) for gap in document["gaps"]),
        cells=cells,
    )


def _cells(document: dict[str, Any], baseline: Baseline | None) -> Iterator[Cell]:
    said = {entry["id"]: entry for entry in document["invariants"]}
    shown = {entry["id"]: _counterexample(entry) for entry in document["findings"]}
    expected = document.get("expected")
    if expected is None and baseline is not None:
        # The run was not compared with the list; the table is.
        listed = baseline.expected
        expected = {"findings": listed.findings, "classes": listed.classes, "scripts": listed.scripts}
    expected = expected or {"findings": {}}
    unseen = baseline.expected.unseen if baseline is not None else ()
    left_out = document.get("changed", {}).get("left_out", {})
    for entry in INVARIANTS:
        one = said.get(entry.id)
        # The run is older than the invariant.
        verdict = Verdict(one["verdict"]) if one is not None else Verdict.NOT_REACHED
        reason = expected["findings"].get(entry.id)
        lacks = document["unsupported"].get(entry.id, "")
        more = tuple(each for each in unseen if each.id == entry.id)
        if verdict is Verdict.VIOLATED:
            state, why = (State.EXPECTED, reason) if reason is not None else (State.NEW, "")
        elif reason is not None and entry.id not in left_out:
            state, why = State.VANISHED, reason
        elif verdict is Verdict.HOLDS:
            state, why = State.HOLDS, ""
        elif verdict is Verdict.UNSUPPORTED:
            state, why = (State.LEVEL if lacks.startswith("needs observation level") else State.UNSUPPORTED), lacks
        elif verdict is Verdict.PENDING:
            state, why = State.PENDING, entry.pending
        elif verdict is Verdict.LEFT_OUT:
            state, why = State.LEFT_OUT, str(left_out.get(entry.id, ""))
        else:
            why = f"with budget {document['budget']} no trace came to a place where it could be checked"
            state = State.NOT_REACHED
        # What a script shows is true, whatever the gate could see.
        if more and state not in (State.EXPECTED, State.NEW, State.VANISHED):
            state = State.BY_SCRIPT
        is_listed = reason is not None
        needs = str(expected.get("classes", {}).get(entry.id, "")) if is_listed else more[0].needs if more else ""
        scripts = expected.get("scripts", {}).get(entry.id, ()) if is_listed else more[0].scripts if more else ()
        yield Cell(
            entry.id,
            state,
            int(one["checked"]) if one is not None else 0,
            str(why or (more[0].reason if more and not is_listed else "")),
            needs if needs in CLASSES else None,
            tuple(str(script) for script in scripts),
            shown.get(entry.id),
            tuple(_on_trial(document, entry.id)),
            more,
        )


def _on_trial(document: dict[str, Any], id_: str) -> Iterator[str]:
    for trial in document["trials"]:
        for broken in trial["broken"]:
            if broken["invariant"] == id_:
                yield f"{trial['name']} on {trial['store']}: {broken['what']}"


def _counterexample(entry: dict[str, Any]) -> Counterexample:
    return Counterexample(
        what=str(entry["what"]),
        found_by=str(entry["found_by"]),
        operations=int(entry["operations"]),
        chart=tuple(str(line) for line in entry["chart"]),
        layout=_layout(entry["drawn"]) if "drawn" in entry else None,
        file=None if entry["file"] is None else str(entry["file"]),
    )


def _layout(drawn: dict[str, Any]) -> Layout:
    rows: list[Step | Note] = []
    lanes = tuple(int(lane) for lane in drawn["lanes"])
    for row in drawn["rows"]:
        if "number" not in row:
            rows.append(Note(str(row["text"]), bool(row["left_out"])))
            continue
        arrows = tuple(
            Arrow(int(one["start"]), int(one["end"]), str(one["label"]), bool(one["arrives"])) for one in row["arrows"]
        )
        at = None if row["at"] is None else int(row["at"])
        if not {
            *(end for arrow in arrows for end in (arrow.start, arrow.end)),
            *([at] if at is not None else []),
        } <= set(lanes):
            raise ValueError("an arrow leads to a lane that there is not")
        broken = None if row["broken"] is None else str(row["broken"])
        rows.append(Step(int(row["number"]), arrows, at, str(row["text"]), broken))
    return Layout(lanes, tuple(rows))


# -- told -------------------------------------------------------------------------------------------------------------


def head(table: Table) -> str:
    """What the table comes to, in one line."""
    columns = table.columns
    new, gone = (sum(column.counts[state] for column in columns) for state in (State.NEW, State.VANISHED))
    known, holds = (sum(column.counts[state] for column in columns) for state in (State.EXPECTED, State.HOLDS))
    size = f"{len(columns)} {'target' if len(columns) == 1 else 'targets'}, {len(INVARIANTS)} invariants"
    if new or gone:
        return f"{size}: {new} findings are new, {gone} have vanished"
    return f"{size}: as expected, {holds} cells hold and {known} are known not to"


def text(table: Table, page: Path | None = None) -> str:
    """The table for a terminal, ended by a newline."""
    lines = [head(table)]
    lines += [f"no result of {name}, of which findings are listed" for name in table.missing]
    for number, column in enumerate(table.columns, 1):
        lines += _about(number, column)
    numbers = "".join(f"{f'[{number}]':>9}" for number in range(1, len(table.columns) + 1))
    for name, words in FAMILIES.items():
        members = [entry.id for entry in INVARIANTS if family(entry.id) == name]
        lines += ["", f"{f'{name}  {words}':<28}{numbers}"] if members else []
        for id_ in members:
            lines.append(f"  {id_:<26}" + "".join(f"{SHORT[column.cells[id_].state]:>9}" for column in table.columns))
    used = {cell.state for column in table.columns for cell in column.cells.values()}
    lines += ["", *(f"  {word:<10}{state.value}" for state, word in SHORT.items() if state in used)]
    for column in table.columns:
        told = column.with_state(State.NEW, State.VANISHED, State.EXPECTED, State.BY_SCRIPT)
        lines += ["", column.target] if told else []
        for cell in told:
            needs = f", {cell.needs}" if cell.needs else ""
            said = f"{cell.id}  {cell.state.value}{needs}: {cell.why or (cell.shown.what if cell.shown else '')}"
            lines.append(
                textwrap.fill(
                    visible(" ".join(said.split())),
                    WIDTH,
                    initial_indent="  ",
                    subsequent_indent=" " * 10,
                    break_on_hyphens=False,
                )
            )
    lines += ["", f"the counterexamples: {page}"] if page else []
    return visible("\n".join(lines)) + "\n"


def _about(number: int, column: Column) -> Iterator[str]:
    said = f"{column.target}: {column.name} {column.version}, level L{column.level}"
    yield f"  [{number}] {' '.join(said.split())}"
    yield f"      budget {column.budget}, seed {column.seed}, {column.traces:,} traces, {column.made}"
    yield from (f"      incomplete: {' '.join(gap.split())}" for gap in column.gaps)
    if not column.is_current:
        yield "      made with another state of the library or of the specification"


def document(table: Table, code: Exit) -> dict[str, Any]:
    """The table for machines."""
    return {
        "format": "pawl-table",
        "version": 1,
        "exit": int(code),
        "outcome": code.name.lower(),
        "missing": list(table.missing),
        "others": list(table.others),
        "invariants": [{"id": entry.id, "claim": entry.claim} for entry in INVARIANTS],
        "targets": [
            {
                "target": column.target,
                "name": column.name,
                "version": column.version,
                "level": column.level,
                "budget": column.budget,
                "seed": column.seed,
                "traces": column.traces,
                "steps": column.steps,
                "seconds": column.seconds,
                "made": column.made,
                "current": column.is_current,
                "gaps": list(column.gaps),
                "cells": {id_: _cell(cell) for id_, cell in sorted(column.cells.items())},
            }
            for column in table.columns
        ],
    }


def _cell(cell: Cell) -> dict[str, Any]:
    said: dict[str, Any] = {"state": cell.state.name.lower().replace("_", "-"), "checked": cell.checked}
    if cell.why:
        said["why"] = cell.why
    if cell.needs:
        said["class"] = cell.needs
    if cell.scripts:
        said["scripts"] = list(cell.scripts)
    if cell.shown is not None:
        said["counterexample"] = {"what": cell.shown.what, "chart": list(cell.shown.chart)}
    if cell.on_trial:
        said["trials"] = list(cell.on_trial)
    if cell.unseen:
        said["unseen"] = [
            {"reason": one.reason, "class": one.needs, "scripts": list(one.scripts)} for one in cell.unseen
        ]
    return said
