"""Live traffic with peers in Python, in both roles: sessions, and with python-axolotl groups in the earlier layout.

The profile: what both sides promise. In groups the chain is given once to each member, and no chain is of a malicious member's
own making.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing

import pytest

from pawl import GroupLayout
from pawl_gate.runner import run_trace
from pawl_gate.targets.base import Target
from pawl_gate.targets.inprocess import InProcessTarget
from pawl_gate.targets.mixed import MixedTarget
from pawl_gate.targets.registry import find_target
from pawl_spec.history import Outcome
from pawl_spec.judge import judge
from pawl_spec.trace import Kind
from tests.interop.interleavings import interleaving
from tests.interop.test_group_peers import conversation

INTERLEAVINGS = 40
WALKS = 6


OMEMO = pytest.param("omemo-dr", marks=pytest.mark.omemo_peer)
AXOLOTL = pytest.param("python-axolotl", marks=pytest.mark.axolotl_peer)


@pytest.fixture(scope="module", params=[OMEMO, AXOLOTL])
def peer(request: pytest.FixtureRequest) -> Iterator[Target]:
    """A peer, driven for the whole module."""
    with closing(find_target(request.param)) as found:
        yield found


@pytest.mark.parametrize("ours", [0, 1], ids=["alice-is-pawl", "bob-is-pawl"])
def test_random_interleavings(peer: Target, ours: int) -> None:
    """Every message that the network delivers is read once by the other implementation, in whatever order; a repeat is
    refused; the headers on the wire are what the protocol prescribes."""
    pawl = InProcessTarget()
    begun = set[int]()
    mixed = MixedTarget([pawl if party == ours else peer for party in range(3)])
    chains, outcomes = set(), Counter[tuple[Kind, Outcome]]()
    for seed in range(INTERLEAVINGS):
        history = run_trace(mixed, interleaving(seed))
        broken, checked = judge(history)
        assert not broken, (seed, broken[0].invariant.id, broken[0].violation)
        assert checked["CTR-04"]
        assert checked["CNF-01"]
        for event in history.events:
            outcomes[event.op.kind, event.outcome] += 1
            if event.op.kind is Kind.ESTABLISH:
                begun.add(event.op["one_time"])
            if event.header is not None:
                chains.add(event.header.ratchet_key)
    # With and without a one-time prekey, unless the peer declares that it needs one.
    assert begun == ({1} if peer.hello.profile.needs_one_time else {0, 1})
    # No empty show: many ratchet steps, losses and repeats.
    assert len(chains) > 100
    assert outcomes[Kind.DROP, Outcome.DONE] > 10
    assert outcomes[Kind.REPLAY, Outcome.REFUSED] > 10


@pytest.mark.parametrize("peer", [AXOLOTL], indirect=True)
@pytest.mark.parametrize("home", [(0, 1, 0), (1, 0, 1)], ids=["a-member", "most-members"])
def test_random_conversations_in_a_group(peer: Target, home: tuple[int, int, int]) -> None:
    """Each message is read once by every member that has its chain, in whatever order; what comes again, was changed or moved
    is refused."""
    homes = (InProcessTarget(layout=GroupLayout.EARLIER), peer)
    mixed = MixedTarget([homes[which] for which in home])
    read = Counter[tuple[int, int]]()
    for seed in range(WALKS):
        history = run_trace(mixed, conversation(seed), closing=False)
        broken, checked = judge(history)
        assert not broken, (seed, broken[0].invariant.id, broken[0].violation)
        assert checked["GRP-01"]
        for event in history.events:
            if event.group is not None and event.group.plaintext is not None:
                read[home[event.peer or 0], home[event.actor or 0]] += 1
    assert read[0, 1] > 10
    assert read[1, 0] > 10
