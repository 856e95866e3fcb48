"""Honest messages and bundles of real devices, for tests of what is done to them and read off them."""

from __future__ import annotations

from pawl import ProtocolAddress
from pawl_gate.targets.base import Bundle, WireMessage
from pawl_gate.targets.inprocess import InProcessTarget, InProcessWorld
from pawl_spec.trace import PARTIES

ALICE, BOB, CAROL = range(len(PARTIES))
ADDRESSES = [ProtocolAddress(name, 1) for name in PARTIES]


class Honest:
    """Alice and Bob: her first message with and without a one-time prekey, her second, his answer, hers to that."""

    def __init__(self) -> None:
        self.world: InProcessWorld = InProcessTarget().world(1)
        self.identities = [
            self.world.create(party, name=name, device_id=1, trust_on_first_use=True)
            for party, name in enumerate(PARTIES)
        ]
        self.world.establish(ALICE, BOB, self.world.bundle(BOB, one_time=False))
        self.without = self.world.encrypt(ALICE, BOB, b"without a one-time prekey")
        self.bundle: Bundle = self.world.bundle(BOB, one_time=True)
        self.world.establish(ALICE, BOB, self.bundle)
        self.first = self.world.encrypt(ALICE, BOB, b"with a one-time prekey")
        self.second = self.world.encrypt(ALICE, BOB, b"again with a prekey header")
        self.world.decrypt(BOB, ALICE, self.first)
        self.answer = self.world.encrypt(BOB, ALICE, b"an answer")
        self.world.decrypt(ALICE, BOB, self.answer)
        self.later = self.world.encrypt(ALICE, BOB, b"without a prekey header")
        self.sent: list[WireMessage] = [self.without, self.first, self.second, self.answer, self.later]
