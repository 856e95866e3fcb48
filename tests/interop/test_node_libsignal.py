"""Live traffic with npm libsignal 6.0.0, in both roles, as traces within the interop profile.

The profile: what both sides promise. One session a pair, jumps within node's limit, no re-keying in flight.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from random import Random

import pytest

from pawl_gate.runner import run_trace
from pawl_gate.targets.base import HarnessBroken
from pawl_gate.targets.inprocess import InProcessTarget
from pawl_gate.targets.mixed import MixedTarget
from pawl_gate.targets.registry import TargetMissing, find_target
from pawl_spec.history import Outcome
from pawl_spec.judge import judge
from pawl_spec.trace import Kind, Op, Trace, op

pytestmark = pytest.mark.node_peer

INTERLEAVINGS = 304
LONGEST = 50


@pytest.fixture(scope="module")
def mixed() -> Iterator[MixedTarget]:
    try:
        node = find_target("node-libsignal")
    except TargetMissing as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the real peer is not installed: {missing}")
    target = MixedTarget([InProcessTarget(), node, node])
    yield target
    target.close()


def interleaving(seed: int) -> Trace:
    """Alice is Pawl, Bob is node. Who starts, and with or without one-time prekey, changes with the seed."""
    rng = Random(seed)
    first = seed % 2
    ops: list[Op] = [
        op(Kind.ESTABLISH, actor=first, peer=1 - first, one_time=seed // 2 % 2),
        op(Kind.SEND, actor=first, peer=1 - first, size=rng.randrange(6)),
        op(Kind.DELIVER),
    ]
    for _ in range(rng.randrange(15, LONGEST)):
        sender = rng.randrange(2)
        ops.append(
            rng.choices(
                [
                    op(Kind.SEND, actor=sender, peer=1 - sender, size=rng.randrange(6)),
                    op(Kind.DELIVER, index=rng.randrange(6)),
                    op(Kind.DUPLICATE, index=rng.randrange(4)),
                    op(Kind.DROP, index=rng.randrange(4)),
                    op(Kind.REPLAY, message=rng.randrange(20)),
                    op(Kind.BURST, actor=sender, peer=1 - sender, count=rng.randrange(1, 12)),
                ],
                weights=[9, 9, 1, 1, 1, 1],
            )[0]
        )
    return Trace(tuple(ops), seed=seed)


@pytest.mark.parametrize("start", range(0, INTERLEAVINGS, INTERLEAVINGS // 8))
def test_random_interleavings(mixed: MixedTarget, start: int) -> None:
    """Every message that the network delivers is read once by the other implementation, in whatever order; a repeat is
    refused; the headers on the wire are what the protocol prescribes."""
    steps, chains, lost, repeats = 0, set(), 0, 0
    for seed in range(start, start + INTERLEAVINGS // 8):
        history = run_trace(mixed, interleaving(seed))
        broken, checked = judge(history)
        assert not broken, (seed, broken[0].invariant.id, broken[0].violation)
        assert checked["CTR-04"]
        assert checked["CNF-01"]
        for event in history.events:
            steps += 1
            lost += event.op.kind is Kind.DROP and event.outcome is Outcome.DONE
            repeats += event.op.kind is Kind.REPLAY and event.outcome is Outcome.REFUSED
            if event.header is not None:
                chains.add(event.header.ratchet_key)
    # The interleavings are no empty show: many ratchet steps, losses and repeats in each batch.
    assert len(chains) > 100
    assert lost > 10
    assert repeats > 10


def test_a_missing_peer_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the peer there is no target, so that nothing can be taken for tested."""
    monkeypatch.setenv("PAWL_NODE", "no-such-program")
    with pytest.raises(HarnessBroken):
        find_target("node-libsignal").world(0)
