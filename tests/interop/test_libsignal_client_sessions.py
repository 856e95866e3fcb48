"""Live traffic of version 3 with npm @signalapp/libsignal-client 0.103.0, in both roles, as traces within the interop profile.

The profile: what both sides promise. One session a pair, no re-keying in flight. The client's messages begin with 0x34
(CNF-01), which Pawl reads; sessions are begun on the client's side by its driver.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from pawl_gate.runner import run_trace
from pawl_gate.targets.inprocess import InProcessTarget
from pawl_gate.targets.mixed import MixedTarget
from pawl_gate.targets.registry import find_target
from pawl_spec.history import Outcome
from pawl_spec.invariants import INVARIANTS
from pawl_spec.judge import judge
from pawl_spec.registry import Story
from pawl_spec.trace import Kind
from tests.interop.interleavings import interleaving

pytestmark = pytest.mark.official_peer

INTERLEAVINGS = 160
CONFORMANCE = next(entry for entry in INVARIANTS if entry.id == "CNF-01")

PAWL = 0
VERSIONS = {True: 0x33, False: 0x34}


@pytest.fixture(scope="module")
def mixed() -> Iterator[MixedTarget]:
    """Alice is Pawl, the others are the client."""
    with closing(find_target("libsignal-client-sessions")) as client:
        yield MixedTarget([InProcessTarget(), client, client])


@pytest.mark.parametrize("start", range(0, INTERLEAVINGS, INTERLEAVINGS // 4))
def test_random_interleavings(mixed: MixedTarget, start: int) -> None:
    """Every message that the network delivers is read once by the other implementation, in whatever order; a repeat is
    refused; but for the client's version byte the headers are what the protocol prescribes."""
    chains, lost, repeats = set(), 0, 0
    for seed in range(start, start + INTERLEAVINGS // 4):
        history = run_trace(mixed, interleaving(seed))
        broken, checked = judge(history)
        assert {one.invariant.id for one in broken} <= {"CNF-01"}, (seed, broken[0].invariant.id, broken[0].violation)
        assert CONFORMANCE.predicate is not None
        headers = [found for found in CONFORMANCE.predicate(Story(history)) if found is not None]
        assert all("version is 52" in found.what and found.event.actor != PAWL for found in headers)
        assert checked["CTR-04"]
        for event in history.events:
            lost += event.op.kind is Kind.DROP and event.outcome is Outcome.DONE
            repeats += event.op.kind is Kind.REPLAY and event.outcome is Outcome.REFUSED
            if event.header is not None:
                chains.add(event.header.ratchet_key)
                assert event.header.version == VERSIONS[event.actor == PAWL]
    assert len(chains) > 100
    assert lost > 5
    assert repeats > 10
