"""Cells that are known not to pass: a committed list, each with its verdict and its reason.

A matrix is as expected when exactly these cells do not pass, with the verdict and by what is said there: one that is
worse than listed is new, and one that is better is to be struck off or listed as what it is, because a list that nobody
shortens hides the next fault. Of a run of some cells only these are compared.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pawl_gate.expect import MAX_BYTES, MAX_REASON, ExpectError
from pawl_gate.interop.cells import FINDINGS, Cell, Verdict
from pawl_gate.interop.matrix import Matrix
from pawl_gate.interop.situations import situations
from pawl_gate.visible import one_line

FORMAT: Final = "pawl-interop-expected"
VERSION: Final = 2
"""From 2 on an entry has a verdict."""
ENTRY: Final = frozenset({"scenario", "verdict", "pairs", "broken", "reason"})

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Known:
    """Why a cell is known not to pass."""

    verdict: Verdict
    """One of `FINDINGS`."""
    broken: tuple[str, ...]
    """What it breaks; a cell that breaks something else beside it is not the one that is known."""
    reason: str


@dataclass(frozen=True, slots=True)
class Differences:
    """How a matrix differs from the list."""

    new: tuple[Cell, ...]
    """Are worse than listed, or break something that is not listed."""
    vanished: tuple[Key, ...]
    """Are better than listed, or not there any more."""

    @property
    def same(self) -> bool:
        """Whether all cells are as listed."""
        return not self.new and not self.vanished


def compare(matrix: Matrix, known: Mapping[Key, Known]) -> Differences:
    """What is new and what has vanished."""
    cells = matrix.by_key
    return Differences(
        new=tuple(cell for cell in matrix.of(*FINDINGS) if _is_new(cell, known.get(cell.key))),
        vanished=tuple(key for key, one in known.items() if _vanished(key, one, cells.get(key), matrix)),
    )


def is_known(cell: Cell, known: Mapping[Key, Known]) -> bool:
    """Whether a cell that did not pass is listed with its verdict, for what it breaks."""
    listed = known.get(cell.key)
    return listed is not None and cell.verdict is listed.verdict and set(cell.broken) <= set(listed.broken)


def _is_new(cell: Cell, listed: Known | None) -> bool:
    if listed is None or FINDINGS.index(cell.verdict) < FINDINGS.index(listed.verdict):
        return True
    return not set(cell.broken) <= set(listed.broken)


def _vanished(key: Key, listed: Known, cell: Cell | None, matrix: Matrix) -> bool:
    if cell is not None:
        # Of one on which the harness broke nothing is known.
        better = cell.verdict is Verdict.UNDERSTOOD and listed.verdict is Verdict.FAIL
        return better or cell.verdict in (Verdict.PASS, Verdict.UNSUPPORTED)
    plan = matrix.plan
    missing = {one.name for one in matrix.missing}
    # Nothing is said of what was not to be run, or could not be.
    return not (plan.short or plan.filtered or missing.intersection(key[:2]))


def read(path: Path) -> dict[Key, Known]:
    """Read the list. Raises: ExpectError; OSError if the file cannot be read."""
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ExpectError(f"it is longer than {MAX_BYTES} bytes")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ExpectError(f"not JSON: {error}") from None
    if not isinstance(document, dict) or set(document) != {"format", "version", "cells"}:
        raise ExpectError('an object with "format", "version" and "cells" was expected')
    if (document["format"], document["version"]) != (FORMAT, VERSION):
        raise ExpectError(f'"format" and "version" must be "{FORMAT}" and {VERSION}')
    if not isinstance(document["cells"], list):
        raise ExpectError('"cells" must be a list')
    known: dict[Key, Known] = {}
    for at, entry in enumerate(document["cells"]):
        for key, one in _entry(at, entry):
            if key in known:
                raise ExpectError(f"entry {at}: {' x '.join(key[:2])}, {key[2]} is listed twice")
            known[key] = one
    return known


def _entry(at: int, entry: Any) -> Iterator[tuple[Key, Known]]:
    if not isinstance(entry, dict) or set(entry) != ENTRY:
        raise ExpectError(f"entry {at}: an object with {', '.join(sorted(ENTRY))} was expected")
    scenario, reason, broken, verdict = entry["scenario"], entry["reason"], entry["broken"], entry["verdict"]
    if scenario not in {each.name for each in situations()}:
        raise ExpectError(f"entry {at}: there is no scenario {scenario!r}")
    if verdict not in [each.value for each in FINDINGS]:
        raise ExpectError(f'entry {at}: "verdict" is one of {", ".join(each.value for each in FINDINGS)}')
    if not isinstance(reason, str) or not reason.strip():
        raise ExpectError(f"entry {at}: it has no reason")
    if not isinstance(broken, list) or not broken or not all(isinstance(one, str) for one in broken):
        raise ExpectError(f'entry {at}: "broken" is a list of what is broken')
    if not isinstance(entry["pairs"], list) or not entry["pairs"]:
        raise ExpectError(f'entry {at}: "pairs" is a list of pairs of implementations')
    for pair in entry["pairs"]:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(name, str) for name in pair):
            raise ExpectError(f"entry {at}: {pair!r:.60} is no pair of implementations")
        yield (pair[0], pair[1], scenario), Known(Verdict(verdict), tuple(broken), reason)


def renewed(matrix: Matrix, old: Mapping[Key, Known]) -> dict[Key, Known]:
    """The list that a run leads to. Reasons that somebody wrote stay, and so does what the run says nothing of."""
    cells = matrix.by_key
    kept = {
        key: one
        for key, one in old.items()
        if not _vanished(key, one, cells.get(key), matrix)
        and (key not in cells or cells[key].verdict is Verdict.BROKEN)
    }
    seen = {cell.key: Known(cell.verdict, cell.broken, _reason(matrix, cell, old)) for cell in matrix.of(*FINDINGS)}
    return kept | seen


def _reason(matrix: Matrix, cell: Cell, old: Mapping[Key, Known]) -> str:
    """The reason that is there; else that of whoever is no better with itself."""
    alone = [(name, name, cell.scenario) for name in matrix.alone(cell)]
    listed = next((old[key] for key in (cell.key, *alone) if key in old), None)
    first = f"there when this list was written, not yet examined: {cell.why}"
    return one_line(first, MAX_REASON) if listed is None else listed.reason


def dumps(known: Mapping[Key, Known]) -> str:
    """The text of the file: cells of one scenario that go wrong in one way for one reason stand together."""
    together: dict[tuple[str, str, tuple[str, ...], str], list[tuple[str, str]]] = {}
    for (first, second, scenario), one in sorted(known.items()):
        together.setdefault((scenario, one.verdict.value, one.broken, one.reason), []).append((first, second))
    entries = []
    for (scenario, verdict, broken, reason), pairs in sorted(together.items()):
        # One pair, one line: a difference then shows which.
        lines = ",\n".join(f"    {json.dumps(pair)}" for pair in pairs)
        entries.append(
            f'  {{"scenario": {json.dumps(scenario)}, "verdict": {json.dumps(verdict)}, '
            f'"broken": {json.dumps(broken)},\n'
            f'   "reason": {json.dumps(reason, ensure_ascii=False)},\n   "pairs": [\n{lines}]}}'
        )
    body = ",\n".join(entries)
    return f'{{"format": "{FORMAT}", "version": {VERSION}, "cells": [\n{body}\n]}}\n'


def names(keys: Iterable[Key], matrix: Matrix, known: Mapping[Key, Known]) -> list[str]:
    """Cells in words: what they are, and what they are listed as."""
    cells = matrix.by_key
    return [
        f"{' x '.join(key[:2])}, {key[2]}: {_said(cells.get(key), 'not there')}, "
        f"{'listed as ' if key in known else ''}{_said(known.get(key), 'not listed')}"
        for key in keys
    ]


def _said(one: Cell | Known | None, nothing: str) -> str:
    """A verdict and what is broken."""
    return nothing if one is None else " ".join((one.verdict.value, *one.broken))
