"""Live traffic with npm @privacyresearch/libsignal-protocol-typescript 0.0.16, in both roles, as traces within the interop profile.

The profile: what both sides promise. One session a pair, jumps within the peer's limit, no re-keying in flight, and, where
the peer starts, a one-time prekey: without one it names prekey 0, which Pawl reads with an option alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from pawl_gate.runner import run_trace
from pawl_gate.targets.base import Refused
from pawl_gate.targets.inprocess import InProcessTarget
from pawl_gate.targets.mixed import MixedTarget
from pawl_gate.targets.registry import find_target
from pawl_spec.history import Outcome
from pawl_spec.judge import judge
from pawl_spec.trace import Kind, Trace, op
from tests.interop.interleavings import interleaving

pytestmark = pytest.mark.privacyresearch_peer

INTERLEAVINGS = 80
PAWL, PEER = 0, 1


@pytest.fixture(scope="module")
def mixed() -> Iterator[MixedTarget]:
    """Alice is Pawl, the others are the peer."""
    with closing(find_target("privacyresearch")) as peer:
        yield MixedTarget([InProcessTarget(), peer, peer])


def with_prekey(trace: Trace) -> Trace:
    """The same, where the peer starts with a one-time prekey."""
    first = trace.ops[0]
    if first.kind is not Kind.ESTABLISH or first["actor"] == PAWL:
        return trace
    return replace(
        trace, ops=(op(Kind.ESTABLISH, actor=first["actor"], peer=first["peer"], one_time=1), *trace.ops[1:])
    )


@pytest.mark.parametrize("start", range(0, INTERLEAVINGS, INTERLEAVINGS // 4))
def test_random_interleavings(mixed: MixedTarget, start: int) -> None:
    """Every message that the network delivers is read once by the other implementation, in whatever order; a repeat is
    refused; the headers on the wire are what the protocol prescribes. The order of fields is the peer's (PAR-02)."""
    chains, lost, repeats = set(), 0, 0
    for seed in range(start, start + INTERLEAVINGS // 4):
        history = run_trace(mixed, with_prekey(interleaving(seed)))
        broken, checked = judge(history)
        broken = [one for one in broken if one.invariant.id != "PAR-02" or one.violation.event.actor == PAWL]
        assert not broken, (seed, broken[0].invariant.id, broken[0].violation)
        assert checked["CTR-04"]
        assert checked["CNF-01"]
        for event in history.events:
            lost += event.op.kind is Kind.DROP and event.outcome is Outcome.DONE
            repeats += event.op.kind is Kind.REPLAY and event.outcome is Outcome.REFUSED
            if event.header is not None:
                chains.add(event.header.ratchet_key)
    assert len(chains) > 50
    assert lost > 5
    assert repeats > 5


def test_prekey_zero_is_read_with_the_option_alone() -> None:
    """Compatibility: the peer names the one-time prekey 0 where there is none; Pawl reads that with `prekey-id-zero`."""
    with closing(find_target("privacyresearch")) as peer:
        ours, theirs = InProcessTarget().world(3), peer.world(3)
        for world in (ours, theirs):
            # Each holds a stand-in for the other's party.
            for party, name in ((PAWL, "alice"), (PEER, "bob")):
                world.create(party, name=name, device_id=1, trust_on_first_use=True)
        theirs.establish(PEER, PAWL, ours.bundle(PAWL, one_time=False))
        message = theirs.encrypt(PEER, PAWL, b"hello")
        with pytest.raises(Refused) as refusal:
            ours.decrypt(PAWL, PEER, message)
        assert refusal.value.code == "unknown-prekey"
        ours.be_compatible(PAWL, "prekey-id-zero")
        assert ours.decrypt(PAWL, PEER, message) == b"hello"
        assert theirs.decrypt(PEER, PAWL, ours.encrypt(PAWL, PEER, b"back")) == b"back"
