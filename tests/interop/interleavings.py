"""Random conversations of two in which one is Pawl, and what must be seen in them: for each peer that does sessions.

The profile: what both sides promise. One session a pair, jumps within the peer's limit, no re-keying in flight.
"""

from __future__ import annotations

from collections.abc import Collection
from random import Random

from pawl_gate.runner import run_trace
from pawl_gate.targets.mixed import MixedTarget
from pawl_spec.history import Outcome
from pawl_spec.judge import judge
from pawl_spec.trace import Kind, Op, Trace, op

INTERLEAVINGS = 304
BATCHES = range(0, INTERLEAVINGS, INTERLEAVINGS // 8)
"""Where each batch of seeds begins."""
LONGEST = 50


def interleaving(seed: int) -> Trace:
    """Alice is Pawl, Bob is the peer. Who starts, and with or without one-time prekey, changes with the seed."""
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


def hold(mixed: MixedTarget, start: int, *, by: Collection[str]) -> None:
    """Run a batch; nothing is broken, and all that is in `by` was checked. Raises: AssertionError."""
    chains, lost, repeats = set[str](), 0, 0
    for seed in range(start, start + INTERLEAVINGS // 8):
        history = run_trace(mixed, interleaving(seed))
        broken, checked = judge(history)
        assert not broken, (seed, broken[0].invariant.id, broken[0].violation)
        assert all(checked[id_] for id_ in by)
        for event in history.events:
            lost += event.op.kind is Kind.DROP and event.outcome is Outcome.DONE
            repeats += event.op.kind is Kind.REPLAY and event.outcome is Outcome.REFUSED
            if event.header is not None:
                chains.add(event.header.ratchet_key)
    # The interleavings are no empty show: many ratchet steps, losses and repeats in each batch.
    assert len(chains) > 100
    assert lost > 10
    assert repeats > 10
