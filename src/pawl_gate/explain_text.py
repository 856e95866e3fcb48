"""`pawl explain`: what stands behind one invariant, as text and as a JSON document."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any, Final

from pawl_gate.explain import Explanation, Place, Source
from pawl_spec.history import Observe
from pawl_spec.registry import THREATS, Invariant

WIDTH: Final = 100
"""Columns of running text; code is as wide as it is."""

LEVELS: Final = {
    Observe.WIRE: "what goes over the wire and what is accepted",
    Observe.COUNTS: "ids and counts of retained keys, and a digest of the stored state",
    Observe.STATE: "the full state, which can be forked and handed to the attacker",
    Observe.DISK: "the bytes on disk",
}
"""What can be seen at each observation level."""


def needs(entry: Invariant) -> str:
    """The capabilities that a target must declare, in words."""
    return ", ".join(sorted(entry.needs)) or "no capability beyond that level"


def explain_text(explained: Explanation) -> str:
    """The whole explanation, ended by a newline."""
    entry = explained.invariant
    parts = [textwrap.fill(f"{entry.id}: {entry.claim}", WIDTH, subsequent_indent="  "), ""]
    parts += [_fact(name, words) for name, words in _facts(entry)]
    if explained.predicate:
        parts += ["", "how it is judged"]
        for source in explained.predicate:
            parts += [f"  {source}", "", textwrap.indent(source.code, "    ")]
        parts += [f"  with {source.name}, {source}" for source in explained.uses]
    parts += ["", "the code that makes it true", *_places(explained.code, otherwise="  nothing names it yet")]
    parts += ["", "controls that it must catch"]
    parts += [_control(one.target, one.what) for one in explained.controls] or ["  none yet"]
    parts += ["", "tests that name it"]
    if explained.tests is None:
        parts.append("  not here: tests come with a checkout, not with the package")
    else:
        parts += [f"  {place}  {place.where}" for place in explained.tests] or ["  none"]
    return "\n".join(parts) + "\n"


def _facts(entry: Invariant) -> Iterator[tuple[str, str]]:
    yield "threat", f"{entry.threat}, {THREATS[entry.threat]}"
    yield "source", entry.source
    if entry.predicate is None:
        yield "judged", f"not yet: {entry.pending}"
        return
    yield "judged", f"at observation level L{entry.level.value} or above: {LEVELS[entry.level]}"
    yield "needs", needs(entry)
    yield "refusals", ", ".join(entry.refusals) or "none: it is kept without refusing anything"
    yield "not covered", entry.not_covered or "nothing is named"


def _fact(name: str, words: str) -> str:
    return textwrap.fill(
        words, WIDTH, initial_indent=f"  {name:<12}", subsequent_indent=" " * 14, break_on_hyphens=False
    )


def _control(name: str, what: str) -> str:
    return textwrap.fill(f"{name}  {what}", WIDTH, initial_indent="  ", subsequent_indent="    ")


def _places(places: tuple[Place, ...], *, otherwise: str) -> Iterator[str]:
    if not places:
        yield otherwise
    for place in places:
        yield f"  {place}" + (f"  in {place.where}" if place.where else "")
        yield textwrap.fill(place.text, WIDTH, initial_indent="    ", subsequent_indent="    ")


def explain_document(explained: Explanation) -> dict[str, Any]:
    """The explanation, for machines."""
    entry = explained.invariant
    return {
        "format": "pawl-explanation",
        "version": 1,
        "id": entry.id,
        "claim": entry.claim,
        "threat": entry.threat,
        "threat_words": THREATS[entry.threat],
        "source": entry.source,
        "level": entry.level.value,
        "needs": sorted(entry.needs),
        "refusals": list(entry.refusals),
        "not_covered": entry.not_covered,
        "judged": entry.predicate is not None,
        "pending": entry.pending,
        "predicate": [_source(source) for source in explained.predicate],
        "uses": [_source(source) for source in explained.uses],
        "code": [_place(place) for place in explained.code],
        "controls": [{"target": one.target, "what": one.what} for one in explained.controls],
        "tests": None if explained.tests is None else [_place(place) for place in explained.tests],
    }


def _source(source: Source) -> dict[str, Any]:
    return {"file": source.file, "line": source.line, "name": source.name, "code": source.code}


def _place(place: Place) -> dict[str, Any]:
    return {"file": place.file, "line": place.line, "in": place.where, "text": place.text}
