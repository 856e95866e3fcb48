"""`pawl trace` as text and as a JSON document: what is linked, what is an orphan, and what changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pawl_gate.traceability import snapshot
from pawl_gate.traceability.chain import ANSWERED, EDGE, IN_PART, OPEN, PENDING, STATES, Chain
from pawl_gate.traceability.orphans import TO_COME, Orphan

MOST_DIFFERENCES: Final = 40
"""Differences that are printed; one command writes them all anew."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run of `pawl trace`."""

    chain: Chain
    orphans: Sequence[Orphan]
    differences: Sequence[str]
    """From the committed snapshot; none where it was written anew."""
    written: bool
    """Whether the snapshot was written anew."""
    page: Path | None

    @property
    def holds(self) -> bool:
        """Whether every link is there, and the snapshot says so."""
        return not self.orphans and not self.differences


def text(outcome: Outcome) -> str:
    """The whole of it, ended by a newline."""
    counts = numbers(outcome.chain)
    parts = [_verdict(outcome, counts), "", *_table(outcome.chain, counts)]
    if outcome.orphans:
        parts += ["", "orphans: each at the place where it is to be mended", *(f"  {one}" for one in outcome.orphans)]
    if outcome.differences:
        shown = outcome.differences[:MOST_DIFFERENCES]
        parts += ["", f"not as in {snapshot.FILE}", *(f"  {one}" for one in shown)]
        if len(shown) < len(outcome.differences):
            parts.append(f"  and {len(outcome.differences) - len(shown)} more")
        parts.append("if that is meant, write it anew: pawl trace --write")
    planned = [line for line in outcome.chain.lines if outcome.chain.state_of(line) == PENDING]
    if planned:
        parts += ["", "declared gaps: lines answered by invariants not yet judged"]
        parts += [f"  {line.anchor:<20}  {', '.join(line.invariants)}" for line in planned]
    if TO_COME:
        parts += ["", "declared gaps: judged invariants whose controls are still to be written"]
        parts.append(f"  {', '.join(sorted(TO_COME))}")
    if outcome.written:
        parts += ["", f"written: {snapshot.FILE}"]
    if outcome.page is not None:
        parts += ["", f"page: {outcome.page}"]
    return "\n".join(parts) + "\n"


def _verdict(outcome: Outcome, counts: dict[str, int]) -> str:
    if outcome.holds:
        return f"every link is there: {covered(counts)}"
    found = [_plural(len(outcome.orphans), "orphan")] if outcome.orphans else []
    found += [f"{_plural(len(outcome.differences), 'difference')} from the snapshot"] if outcome.differences else []
    return f"links are missing: {' and '.join(found)}"


def _plural(count: int, noun: str) -> str:
    return f"1 {noun}" if count == 1 else f"{count} {noun}s"


def covered(counts: dict[str, int]) -> str:
    """How the lines of the threat model are covered, in a sentence. What is not yet judged is no cover."""
    said = f"of {counts['lines']} lines of the threat model {counts['covered']} are covered"
    said += f", {counts['in_part']} in part" if counts["in_part"] else ""
    said += f", {counts['gaps']} are declared gaps" if counts["gaps"] else ""
    return said + (f", {counts['open']} are not covered" if counts["open"] else "")


def numbers(chain: Chain) -> dict[str, int]:
    """How many there are of each part."""
    judged = [entry.id for entry in chain.invariants if chain.is_judged(entry.id)]
    states = Counter(chain.state_of(line) for line in chain.lines)
    return {
        "lines": len(chain.lines),
        "covered": states[ANSWERED] + states[EDGE],
        "in_part": states[IN_PART],
        "gaps": states[PENDING],
        "open": states[OPEN],
        "threats": len(chain.threats),
        "invariants": len(chain.invariants),
        "judged": len(judged),
        "code": sum(len(chain.code.get(id_, ())) for id_ in judged),
        "tests": len({(place.file, place.where) for id_ in judged for place in chain.tests.get(id_, ())}),
        "controls": len(chain.controls),
        "entries": len(chain.entries),
        "inputs": sum(len(entry.inputs) for entry in chain.entries),
    }


def _table(chain: Chain, counts: dict[str, int]) -> Iterator[str]:
    states = Counter(chain.state_of(line) for line in chain.lines)
    said = ", ".join(f"{states[state]} {state}" for state in STATES if states[state])
    yield f"  lines           {counts['lines']:>5}  {said}"
    yield f"  threats         {counts['threats']:>5}"
    yield f"  invariants      {counts['invariants']:>5}  {counts['judged']} judged, the others not yet"
    yield f"  places in code  {counts['code']:>5}  in the library"
    yield f"  tests           {counts['tests']:>5}  that name an invariant which is judged"
    yield f"  controls        {counts['controls']:>5}"
    yield f"  fuzz entries    {counts['entries']:>5}"
    yield f"  corpus entries  {counts['inputs']:>5}"


def document(outcome: Outcome, code: int) -> dict[str, Any]:
    """The same, for machines; `chain` is the snapshot as it is now."""
    return {
        "format": "pawl-trace-report",
        "version": 1,
        "exit": code,
        "numbers": numbers(outcome.chain),
        "orphans": [{"where": one.where, "what": one.what} for one in outcome.orphans],
        "differences": list(outcome.differences),
        "controls_to_come": sorted(TO_COME),
        "written": outcome.written,
        "chain": snapshot.document(outcome.chain),
        "page": str(outcome.page) if outcome.page else None,
    }
