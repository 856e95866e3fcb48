"""Live traffic with libsignal-protocol-c 2.3.3 in sessions of version 3, in both roles, as traces within its profile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from pawl_gate.targets.inprocess import InProcessTarget
from pawl_gate.targets.mixed import MixedTarget
from pawl_gate.targets.registry import find_target
from pawl_spec.trace import PARTIES
from tests.interop.interleavings import BATCHES, hold

pytestmark = pytest.mark.c_peer


@pytest.fixture(scope="module")
def mixed() -> Iterator[MixedTarget]:
    """Alice is Pawl, the others are the peer."""
    with closing(find_target("libsignal-c")) as peer:
        yield MixedTarget([InProcessTarget(), peer, peer])


@pytest.mark.parametrize("start", BATCHES)
def test_random_interleavings(mixed: MixedTarget, start: int) -> None:
    """Every message that the network delivers is read once by the other implementation, in whatever order; a repeat is
    refused; the headers on the wire are what the protocol prescribes. Either side begins, with a one-time prekey or without."""
    hold(mixed, start, by=("CTR-04", "CNF-01"))


@pytest.mark.parametrize("sender", [0, 1], ids=["from-pawl", "to-pawl"])
@pytest.mark.parametrize("one_time", [True, False])
def test_a_jump_to_the_limit_of_both(mixed: MixedTarget, sender: int, one_time: bool) -> None:
    """2,000 messages are passed over, which is what the stricter one allows, and then read in any order."""
    jump, receiver = 2_000, 1 - sender
    world = mixed.world(1)
    for party, name in enumerate(PARTIES):
        world.create(party, name=name, device_id=1, trust_on_first_use=True)
    world.establish(sender, receiver, world.bundle(receiver, one_time=one_time))
    messages = [world.encrypt(sender, receiver, b"%d" % at) for at in range(jump + 1)]
    for at in (jump, 0, jump - 1, 1_000, 1):
        assert world.decrypt(receiver, sender, messages[at]) == b"%d" % at
    assert world.decrypt(sender, receiver, world.encrypt(receiver, sender, b"all of it")) == b"all of it"


def test_both_begin_at_once(mixed: MixedTarget) -> None:
    """Two first messages cross, and both sides go on talking, whichever session each of them goes on in."""
    world = mixed.world(1)
    for party, name in enumerate(PARTIES):
        world.create(party, name=name, device_id=1, trust_on_first_use=True)
    for party in (0, 1):
        world.establish(party, 1 - party, world.bundle(1 - party, one_time=True))
    first = [world.encrypt(party, 1 - party, b"first") for party in (0, 1)]
    for party in (0, 1):
        assert world.decrypt(1 - party, party, first[party]) == b"first"
    for at in range(6):
        party = at % 2
        assert world.decrypt(1 - party, party, world.encrypt(party, 1 - party, b"%d" % at)) == b"%d" % at


@pytest.mark.parametrize("size", [0, 1, 15, 16, 255, 4_096, 262_128])
def test_texts_of_any_size(mixed: MixedTarget, size: int) -> None:
    """Empty, around the size of a block, and as large as Pawl reads and writes."""
    world = mixed.world(1)
    for party, name in enumerate(PARTIES):
        world.create(party, name=name, device_id=1, trust_on_first_use=True)
    world.establish(0, 1, world.bundle(1, one_time=True))
    for party in (0, 1, 0):
        assert world.decrypt(1 - party, party, world.encrypt(party, 1 - party, bytes(size))) == bytes(size)
