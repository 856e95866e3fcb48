"""What a matrix says: the exit code, the text, and the data of which a JSON Schema tells the shape.

The schema is `interop.schema.json` beside the reports of `pawl verify`, in `pawl_gate.outputs`.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pawl_gate.chart import Layout, Note
from pawl_gate.interop.cells import FINDINGS, Cell, Verdict
from pawl_gate.interop.expected import Differences, Key, Known, compare, is_known, names
from pawl_gate.interop.matrix import Implementation, Matrix
from pawl_gate.verify import Exit
from pawl_gate.visible import visible
from pawl_spec import trace as traces

FORMAT: Final = "pawl-interop"
VERSION: Final = 2
"""From 2 on there is a verdict between pass and fail: understood, with findings."""

SHOWN: Final = 5
"""Transcripts in the text; all of them are on the page."""


def exit_of(matrix: Matrix, differences: Differences | None) -> Exit:
    """The exit code of a run."""
    if matrix.of(Verdict.BROKEN):
        return Exit.BROKEN
    if differences is not None and not differences.same:
        return Exit.VIOLATED
    if differences is None and matrix.of(*FINDINGS):
        return Exit.VIOLATED
    judged = matrix.of(Verdict.PASS, *FINDINGS)
    return Exit.INCOMPLETE if matrix.missing or not judged else Exit.HOLDS


def counts_line(matrix: Matrix, known: Mapping[Key, Known] | None) -> str:
    """How many cells there are of each verdict."""
    listed = [cell for cell in matrix.of(*FINDINGS) if known is not None and is_known(cell, known)]
    parts = [f"{len(matrix.of(Verdict.PASS)):,} pass"]
    for verdict, words in (
        (Verdict.UNDERSTOOD, "understood with findings"),
        (Verdict.FAIL, "not understood"),
    ):
        as_listed = sum(cell.verdict is verdict for cell in listed)
        parts.append(f"{len(matrix.of(verdict)) - as_listed:,} {words}")
        parts += [] if known is None else [f"{as_listed:,} {words} as expected"]
    parts.append(f"{len(matrix.of(Verdict.UNSUPPORTED)):,} unsupported (declared)")
    if broken := matrix.of(Verdict.BROKEN):
        parts.append(f"{len(broken):,} on which the harness broke")
    return ", ".join(parts)


def verdict_line(matrix: Matrix, differences: Differences | None, code: Exit) -> str:
    """What holds or what broke, in one line."""
    size = f"{len(matrix.plan.present)} implementations, {len(matrix.plan.situations)} scenarios"
    if code is Exit.BROKEN:
        return f"the harness broke on some of the matrix: {size}"
    if differences is not None:
        return f"the interop matrix is {'' if differences.same else 'not '}as expected: {size}"
    if matrix.of(Verdict.FAIL):
        return f"not every pair understands each other: {size}"
    if matrix.of(Verdict.UNDERSTOOD):
        return f"every pair understands each other, and not all of it is as the specification has it: {size}"
    return f"every pair understands each other in all that both declare: {size}"


def command(cell: Cell) -> str:
    """The command that runs one cell again."""
    which = dict.fromkeys((cell.first, cell.second))
    targets = " ".join(f"--target {shlex.quote(name)}" for name in which)
    return f"pawl interop {targets} --scenario {cell.scenario} --jobs 1"


# -- as text ----------------------------------------------------------------------------------------------------------


def text(matrix: Matrix, known: Mapping[Key, Known] | None, page: Path | None = None) -> str:
    """The whole report, ended by a newline."""
    differences = None if known is None else compare(matrix, known)
    code = exit_of(matrix, differences)
    lines = [
        verdict_line(matrix, differences, code),
        f"{counts_line(matrix, known)}, in {matrix.seconds:.1f} s" + (", the short form" if matrix.plan.short else ""),
        *_news(matrix, differences, known or {}),
        *(f"incomplete: {one.name} is not installed: {one.missing}" for one in matrix.missing),
        "",
        *_table(matrix),
        "",
        *_gaps(matrix),
        *_failures(matrix, known or {}),
    ]
    if page is not None:
        lines += ["", f"every cell with its transcript: {page}"]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _news(matrix: Matrix, differences: Differences | None, known: Mapping[Key, Known]) -> Iterator[str]:
    new = matrix.of(*FINDINGS) if differences is None else differences.new
    if new:
        yield f"run the first of them again: {command(new[0])}"
    if differences is not None:
        yield from (f"  new: {each}" for each in names((cell.key for cell in differences.new), matrix, known))
        yield from (f"  better than listed: {each}" for each in names(differences.vanished, matrix, known))


def _table(matrix: Matrix) -> Iterator[str]:
    """Who begins stands on the left; of the scenarios that both declare, how many have which verdict."""
    present = list(matrix.plan.present)
    marks = {name: _mark(at) for at, name in enumerate(present)}
    wide = max((len(name) for name in present), default=0)
    yield "of the scenarios that both declare: pass/understood with findings/fail; the one on the left begins"
    yield " " * (wide + 4) + "".join(f"{mark:>9}" for mark in marks.values())
    for first in present:
        said = [summary(matrix, first, second) for second in present]
        row = ["." if one is None else "-" if not sum(one) else "/".join(map(str, one)) for one in said]
        yield f"{marks[first]:>2}  {first:<{wide}}" + "".join(f"{one:>9}" for one in row)


def _mark(at: int) -> str:
    return chr(ord("a") + at) if at < 26 else str(at)


def summary(matrix: Matrix, first: str, second: str) -> tuple[int, int, int] | None:
    """Of a pair, one way: how many cells passed, were understood with findings, and did neither; None: none was run."""
    cells = [cell for cell in matrix.cells if (cell.first, cell.second) == (first, second)]
    if not cells:
        return None
    counts = Counter(cell.verdict for cell in cells)
    return counts[Verdict.PASS], counts[Verdict.UNDERSTOOD], counts[Verdict.FAIL] + counts[Verdict.BROKEN]


def _gaps(matrix: Matrix) -> Iterator[str]:
    """What each implementation does not declare and a scenario needs."""
    for name, hello in matrix.plan.present.items():
        lacks = sorted({one for each in matrix.plan.situations for one in each.lacks(hello)})
        if lacks:
            yield f"gap: {name} does not declare {', '.join(lacks)}"
        if "groups" in hello.capabilities and hello.group_layout != "current":
            yield f"gap: {name} has the {hello.group_layout} group layout"


def _failures(matrix: Matrix, known: Mapping[Key, Known]) -> Iterator[str]:
    shown = 0
    for cell in matrix.of(Verdict.BROKEN, *FINDINGS):
        yield ""
        how = {Verdict.UNDERSTOOD: "understood, and found ", Verdict.FAIL: "not understood, "}.get(cell.verdict, "")
        yield visible(f"{cell.first} x {cell.second}, {cell.scenario}: {how}{cell.why}")
        if is_known(cell, known):
            yield f"  expected: {known[cell.key].reason}"
            continue
        if alone := matrix.alone(cell):
            yield f"  no better with itself: {', '.join(alone)}"
        if cell.transcript is not None and shown < SHOWN:
            shown += 1
            yield from (f"  {line}" for line in transcript_lines(cell.transcript))


def transcript_lines(drawn: Layout) -> Iterator[str]:
    """A transcript in words, a line for each step."""
    for row in drawn.rows:
        if isinstance(row, Note):
            yield f"      {row.text}"
            continue
        yield f"{row.number:>4}  {row.text}"
        if row.broken is not None:
            yield f"      ^ {row.broken}"


# -- as data ----------------------------------------------------------------------------------------------------------


def document(matrix: Matrix, known: Mapping[Key, Known] | None, *, made: str) -> dict[str, Any]:
    """The whole report as data; `made` is its only time of day."""
    differences = None if known is None else compare(matrix, known)
    code = exit_of(matrix, differences)
    return {
        "format": FORMAT,
        "version": VERSION,
        "made": made,
        "exit": int(code),
        "verdict": verdict_line(matrix, differences, code),
        "form": "short" if matrix.plan.short else "whole",
        "seed": matrix.plan.seed,
        "seconds": round(matrix.seconds, 3),
        "counts": {verdict.value: len(matrix.of(verdict)) for verdict in Verdict},
        "implementations": [_implementation(one) for one in matrix.plan.implementations],
        "scenarios": [
            {
                "name": each.name,
                "title": each.scenario.title,
                "about": list(each.scenario.about),
                "needs": sorted(each.scenario.needs),
            }
            for each in matrix.plan.situations
        ],
        "cells": [_cell(matrix, cell, known or {}) for cell in matrix.cells],
        "new": None if differences is None else [list(cell.key) for cell in differences.new],
        "vanished": None if differences is None else [list(key) for key in differences.vanished],
    }


def _implementation(one: Implementation) -> dict[str, Any]:
    hello = one.hello
    if hello is None:
        return {"name": one.name, "missing": one.missing}
    return {
        "name": one.name,
        "missing": None,
        "says": {"name": hello.name, "version": hello.version},
        "sessions": hello.sessions,
        "group_layout": hello.group_layout if "groups" in hello.capabilities else None,
        "capabilities": sorted(hello.capabilities),
        "forward_jump": hello.limits.forward_jump,
        "promotes": hello.profile.promotes,
    }


def _cell(matrix: Matrix, cell: Cell, known: Mapping[Key, Known]) -> dict[str, Any]:
    is_listed = is_known(cell, known)
    return {
        "first": cell.first,
        "second": cell.second,
        "scenario": cell.scenario,
        "verdict": cell.verdict.value,
        "lacks": {name: list(missing) for name, missing in cell.lacks},
        "broken": list(cell.broken),
        "why": cell.why or None,
        "step": cell.step,
        "expected": known[cell.key].reason if is_listed else None,
        "no_better_alone": matrix.alone(cell),
        "checked": cell.checked,
        "read": cell.read,
        "fingerprint": cell.fingerprint,
        "scanned": cell.scanned,
        "seconds": round(cell.seconds, 3),
        "trace": None if cell.trace is None else traces.to_json(cell.trace),
        "transcript": None if cell.transcript is None else list(transcript_lines(cell.transcript)),
    }
