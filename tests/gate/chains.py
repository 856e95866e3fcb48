"""Chains for tests: what the tree says, without the time that it takes to run the whole corpus."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from pawl_gate.traceability import chain, inputs
from pawl_gate.traceability.chain import Chain
from pawl_gate.traceability.evidence import Evidence, Said
from pawl_gate.traceability.inputs import Input
from pawl_spec.judge import Verdict

ROOT: Final = Path(__file__).resolve().parents[2]

INPUT: Final = "0123456789abcdef0123456789abcdef"
"""The name of an input."""


@cache
def quick() -> Chain:
    """The tree's own chain, whose corpora are one made-up input that checks and runs all that it should.

    What the real inputs check and run is seen by `make lint`.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs, "files", lambda folder: [])
        found = chain.gather(ROOT, progress=lambda text: None)
    judged = frozenset(entry.id for entry in found.invariants if entry.predicate is not None)
    return replace(
        found,
        entries=tuple(replace(entry, inputs=(Input(INPUT, judged),)) for entry in found.entries),
        executed=frozenset((place.file, place.where) for places in found.code.values() for place in places),
    )


def evidence(of: Chain) -> Evidence:
    """A run in which every judged invariant held, but for one that was not reached."""
    judged = [entry.id for entry in of.invariants if entry.predicate is not None]
    said = {id_: Said(Verdict.HOLDS, 1_234, {"scenarios": (56, 1_000), "corpus": (7, 234)}) for id_ in judged}
    said[judged[0]] = Said(Verdict.NOT_REACHED, 0, {})
    return Evidence("pawl", "incomplete", "smoke", 3, "2026-11-01T12:00:00+00:00", is_current=True, said=said)
