"""Distributions: what a chain that is given changes, and that none winds another one back (GRP-03)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pawl import Decision, GroupLayout, IdentityPolicy
from pawl.crypto.keys import ChainKey, KeyPair, PublicKey
from pawl.device import Device
from pawl.errors import DuplicateMessage, InvalidSignature, NoSenderKey, RetiredSenderKey
from pawl.events import (
    DistributionRefused,
    Event,
    SenderKeyAccepted,
    SenderKeyRepeated,
    SenderKeyReplaced,
    SenderKeysRetired,
)
from pawl.limits import MAX_SENDER_KEY_CHAINS
from pawl.storage.contract import Table
from pawl.wire.group_messages import SenderKeyDistribution, decode_distribution, encode_distribution
from tests.devices import ALICE, BOB, LOW_ORDER, ORDER_4, Party, Random, private
from tests.group.parties import CAROL, GROUP, OTHER_GROUP, give, given, group_of, kept, received

both = pytest.mark.parametrize("layout", GroupLayout)


@both
def test_a_repeated_distribution_changes_nothing(layout: GroupLayout) -> None:
    """GRP-03: "a replayed distribution message never rewinds a chain": not one byte of the store changes."""
    _, bob, sending, receiving = given(layout=layout)
    first = sending.create_distribution()
    messages = [sending.encrypt(b"%d" % number) for number in range(5)]
    later = sending.create_distribution()
    receiving.decrypt(ALICE, messages[1])
    before, revision = bob.store.snapshot(), bob.store.revision
    for distribution in (first, later, first):
        receiving.process(ALICE, distribution)
    assert (bob.store.snapshot(), bob.store.revision) == (before, revision)
    with bob.refuses("duplicate-message"):
        receiving.decrypt(ALICE, messages[1])
    assert [receiving.decrypt(ALICE, messages[number]) for number in (0, 4, 2)] == [b"0", b"4", b"2"]


def test_a_rewound_or_changed_distribution_of_a_held_chain() -> None:
    """GRP-03: another iteration or chain key, forward or back, under the same id and signing key, is no news."""
    _, bob, sending, receiving = given()
    for _ in range(3):
        receiving.decrypt(ALICE, sending.encrypt(b"text"))
    distribution = decode_distribution(sending.create_distribution())
    before = bob.store.snapshot()
    for change in ({"iteration": 0}, {"iteration": 100}, {"chain_key": ChainKey(bytes(32))}):
        receiving.process(ALICE, encode_distribution(replace(distribution, **change)))
    assert bob.store.snapshot() == before
    assert receiving.decrypt(ALICE, sending.encrypt(b"text")) == b"text"


def test_a_rotation_leaves_what_is_on_its_way() -> None:
    """CNF: up to 5 chains are kept, so that messages from before a rotation can still be read, newest chain first."""
    alice, bob, sending, receiving = given()
    under_way, distributions = [], [sending.create_distribution()]
    for number in range(1, 8):
        under_way.append(sending.encrypt(b"%d" % number))
        sending.rotate()
        distributions.append(give(alice, bob))
    ids = [decode_distribution(each).chain_id for each in distributions]
    assert [each.chain_id for each in received(bob, alice).chains] == ids[:-6:-1]
    # The message of each of the 5 newest chains but the last, which none was sent on.
    assert [receiving.decrypt(ALICE, each) for each in under_way[3:]] == [b"4", b"5", b"6", b"7"]
    for message in under_way[:3]:
        with bob.refuses("no-sender-key"):
            receiving.decrypt(ALICE, message)
    assert received(bob, alice).retired == 3


def test_a_chain_that_is_gone_does_not_come_back() -> None:
    """GRP-03: "while ... its tombstone is retained": a distribution of a chain that was pushed out is refused by name."""
    alice, bob, sending, receiving = given()
    first = sending.create_distribution()
    read, late = sending.encrypt(b"read"), sending.encrypt(b"late")
    receiving.decrypt(ALICE, late)
    assert kept(bob) == [0]
    for _ in range(MAX_SENDER_KEY_CHAINS):
        sending.rotate()
        give(alice, bob)
    # Its kept keys went with it (KEY-04).
    assert kept(bob) == []
    with bob.refuses("retired-sender-key"):
        receiving.process(ALICE, first)
    for message in (read, late):
        with bob.refuses("no-sender-key"):
            receiving.decrypt(ALICE, message)
    bob.restarted()
    with bob.refuses("retired-sender-key"):
        group_of(bob).process(ALICE, first)


def test_a_damaged_memory_of_what_is_gone_is_refused() -> None:
    """PAR-05: "Stored records ... are parsed as strictly as wire messages": the row of a chain that is gone is empty."""
    _, bob, sending, receiving = given()
    first = sending.create_distribution()
    receiving.forget_sender(ALICE)
    with bob.store.transaction() as tx:
        (place,) = [key for key, row in tx.scan(Table.RETIRED_SENDER_KEY, b"") if not row.value]
        row = tx.get(Table.RETIRED_SENDER_KEY, place)
        assert row is not None
        tx.put(Table.RETIRED_SENDER_KEY, place, b"noise", version=row.version)
    with bob.refuses("corrupt-store"):
        receiving.process(ALICE, first)


def collision(distribution: bytes, seed: int) -> tuple[bytes, KeyPair]:
    """A distribution of another chain that has the same id."""
    pair = KeyPair.from_private(private(seed))
    other = replace(
        decode_distribution(distribution),
        signing_key=pair.public,
        chain_key=ChainKey(bytes([seed]) * 32),
        iteration=0,
    )
    return encode_distribution(other), pair


def test_a_chain_id_collision() -> None:
    """GRP-03, "also one with the same chain id and a different signing key": the new one is in the old one's place, as in
    the official client, and the old one never comes back, whichever is given again.
    """
    alice, bob, sending, receiving = given()
    first = sending.create_distribution()
    messages = [sending.encrypt(b"%d" % number) for number in range(4)]
    receiving.decrypt(ALICE, messages[2])
    second, pair = collision(first, 5)
    receiving.process(ALICE, second)
    assert kept(bob) == []
    [chain] = received(bob, alice).chains
    assert (chain.signing_key, chain.iteration, chain.kept) == (pair.public, 0, 0)
    for message in messages:
        with bob.refuses("invalid-signature"):
            receiving.decrypt(ALICE, message)
    with bob.refuses("retired-sender-key"):
        receiving.process(ALICE, first)
    third, _ = collision(first, 6)
    receiving.process(ALICE, third)
    for gone in (first, second):
        with bob.refuses("retired-sender-key"):
            receiving.process(ALICE, gone)
    receiving.process(ALICE, third)
    assert received(bob, alice).retired == 2


def test_the_memory_of_chains_that_are_gone_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """BND-02, GRP-03 "(bound stated)": the newest are remembered, of more the oldest is forgotten; rows stay as many."""
    monkeypatch.setattr("pawl.group.received.MAX_RETIRED_SENDER_KEYS", 3)
    alice, bob, sending, receiving = given()
    distributions = [sending.create_distribution()]
    for _ in range(12):
        sending.rotate()
        distributions.append(give(alice, bob))
        assert bob.count(Table.RETIRED_SENDER_KEY) == 2 * min(max(len(distributions) - 5, 0), 3)
    # Held: 8 to 12. Remembered: 5, 6, 7. Forgotten: 0 to 4.
    for number in (5, 6, 7):
        with bob.refuses("retired-sender-key"):
            receiving.process(ALICE, distributions[number])
    receiving.process(ALICE, distributions[4])
    assert bob.count(Table.RETIRED_SENDER_KEY) == 6


def test_a_damaged_memory_of_chains_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """ATM-06: half of what is remembered being gone is no reason to go on."""
    monkeypatch.setattr("pawl.group.received.MAX_RETIRED_SENDER_KEYS", 1)
    alice, bob, sending, receiving = given()
    for _ in range(5):
        sending.rotate()
        give(alice, bob)
    [key] = [key for key in bob.store.snapshot()[Table.RETIRED_SENDER_KEY] if key.endswith(b"\0\0") is False]
    bob.put(Table.RETIRED_SENDER_KEY, key, None)
    sending.rotate()
    distribution = sending.create_distribution()
    with bob.refuses("corrupt-store"):
        receiving.process(ALICE, distribution)


def test_what_is_told() -> None:
    """Events: accepted, repeated, replaced, retired, refused."""
    events: list[Event] = []
    _, bob, sending, _ = given()
    receiving = Device(bob.store, on_event=events.append).group(GROUP)
    first = sending.create_distribution()
    receiving.process(ALICE, first)
    receiving.process(ALICE, collision(first, 5)[0])
    with bob.refuses("retired-sender-key"):
        receiving.process(ALICE, first)
    for _ in range(5):
        sending.rotate()
        receiving.process(ALICE, sending.create_distribution())
    receiving.forget_sender(ALICE)
    receiving.forget_sender(ALICE)
    accepted = SenderKeyAccepted(ALICE, GROUP)
    assert events == [
        SenderKeyRepeated(ALICE, GROUP),
        *(SenderKeysRetired(ALICE, GROUP, 1, "replaced"), SenderKeyReplaced(ALICE, GROUP), accepted),
        DistributionRefused(ALICE, GROUP, "retired-sender-key"),
        *[accepted] * 4,
        *(SenderKeysRetired(ALICE, GROUP, 1, "limit"), accepted),
        SenderKeysRetired(ALICE, GROUP, 5, "demand"),
    ]


def test_a_sender_that_is_forgotten() -> None:
    """Somebody who is no member any more is read no longer, and an old distribution does not change that."""
    alice, bob, sending, receiving = given()
    carol = Party(CAROL)
    give(carol, bob)
    first = sending.create_distribution()
    messages = [sending.encrypt(b"text") for _ in range(3)]
    receiving.decrypt(ALICE, messages[1])
    receiving.forget_sender(ALICE)
    assert kept(bob) == []
    with bob.refuses("no-sender-key"):
        receiving.decrypt(ALICE, messages[2])
    with bob.refuses("retired-sender-key"):
        receiving.process(ALICE, first)
    assert receiving.decrypt(CAROL, group_of(carol).encrypt(b"text")) == b"text"
    sending.rotate()
    give(alice, bob)
    assert receiving.decrypt(ALICE, sending.encrypt(b"again")) == b"again"


def test_who_gave_it_counts() -> None:
    """GRP-05: a chain is that of the one who gave it. Carol, who gives Alice's on, becomes nobody else by that."""
    alice, bob, sending, receiving = given()
    receiving.process(CAROL, sending.create_distribution())
    with bob.refuses("no-sender-key"):
        receiving.decrypt(BOB, sending.encrypt(b"text"))
    # Not covered: with the chain given on, what Alice says can be shown as said by Carol. The protocol does not bind it.
    message = sending.encrypt(b"text")
    assert receiving.decrypt(CAROL, message) == b"text"
    assert receiving.decrypt(ALICE, message) == b"text"
    assert received(bob, alice).chains[0].iteration == 2


# -- refusals ---------------------------------------------------------------------------------------------------------


def test_a_distribution_of_another_group() -> None:
    _, bob, sending, _ = given()
    distribution = sending.create_distribution()
    with bob.refuses("wrong-group"):
        group_of(bob, OTHER_GROUP).process(ALICE, distribution)


@both
@pytest.mark.parametrize("key", [LOW_ORDER, ORDER_4, PublicKey((2).to_bytes(32, "little"))], ids=["0", "1", "2"])
def test_a_key_that_can_verify_nothing(layout: GroupLayout, key: PublicKey) -> None:
    """IDC-05: keys of small order, and on no curve of ours, "are refused before any state is built"."""
    bob = Party(BOB)
    named = GROUP if layout is GroupLayout.CURRENT else None
    distribution = encode_distribution(SenderKeyDistribution(named, 1, 0, ChainKey(bytes(32)), key))
    with bob.refuses("invalid-key"):
        group_of(bob, layout=layout).process(ALICE, distribution)


@both
def test_every_cut_distribution(layout: GroupLayout) -> None:
    """PAR-05: "distribution messages ... are parsed as strictly as wire messages"."""
    _, bob, sending, receiving = given(layout=layout)
    sending.rotate()
    distribution = sending.create_distribution()
    for end in range(len(distribution)):
        with bob.refuses("malformed-message"):
            receiving.process(ALICE, distribution[:end])


def test_the_senders_of_a_group_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """BND-02: whoever gives chains to a group without end is refused by name; those who are held go on."""
    monkeypatch.setattr("pawl.group.received.MAX_GROUP_MEMBERS", 2)
    alice, bob, sending, receiving = given()
    carol, dave = Party(CAROL), Party(replace(CAROL, name="dave"))
    give(carol, bob)
    with bob.refuses("sender-keys-full"):
        receiving.process(dave.address, group_of(dave).create_distribution())
    sending.rotate()
    give(alice, bob)
    assert receiving.decrypt(ALICE, sending.encrypt(b"text")) == b"text"


# -- identities -------------------------------------------------------------------------------------------------------


def test_chains_end_with_the_identity_that_they_came_under() -> None:
    """IDC-08, for groups: after an identity is replaced by decision, what came under the old one is read no longer."""
    events: list[Event] = []
    alice, bob = Party(ALICE), Party(BOB)
    alice.meet(bob)
    bob.take(alice, alice.send(bob))
    sending, receiving = group_of(alice), group_of(bob)
    first = give(alice, bob)
    message = sending.encrypt(b"text")
    assert receiving.decrypt(ALICE, message) == b"text"
    second = Party(ALICE, seed="a new phone")
    bob.device.trust_identity("alice", second.device.identity_key)
    with bob.refuses("no-sender-key"):
        receiving.decrypt(ALICE, sending.encrypt(b"text"))
    # The chain that came under the old identity does not come back under the new one.
    with bob.refuses("retired-sender-key"):
        receiving.process(ALICE, first)
    watched = Device(bob.store, on_event=events.append).group(GROUP)
    watched.process(ALICE, group_of(second).create_distribution())
    assert events == [SenderKeysRetired(ALICE, GROUP, 1, "identity-replaced"), SenderKeyAccepted(ALICE, GROUP)]
    assert watched.decrypt(ALICE, group_of(second).encrypt(b"new")) == b"new"
    with bob.refuses("no-sender-key"):
        watched.decrypt(ALICE, sending.encrypt(b"text"))
    with bob.refuses("retired-sender-key"):
        watched.process(ALICE, first)


def test_an_identity_that_comes_later_is_no_other() -> None:
    """A chain that came before any identity was pinned goes on when one is."""
    alice, bob, sending, receiving = given()
    assert received(bob, alice).identity is None
    bob.device.trust_identity("alice", alice.device.identity_key)
    assert receiving.decrypt(ALICE, sending.encrypt(b"text")) == b"text"
    sending.rotate()
    give(alice, bob)
    assert received(bob, alice).identity == alice.device.identity_key
    assert len(received(bob, alice).chains) == 2


def test_an_identity_that_is_asked_about() -> None:
    """The decision of the policy counts in the same way."""
    policy = IdentityPolicy(on_mismatch=lambda *_: Decision.REPLACE)
    alice, bob = Party(ALICE), Party(BOB, policy)
    alice.meet(bob)
    bob.take(alice, alice.send(bob))
    give(alice, bob)
    second = Party(ALICE, seed="a new phone")
    second.meet(bob)
    bob.take(second, second.send(bob))
    with bob.refuses("no-sender-key"):
        group_of(bob).decrypt(ALICE, group_of(alice).encrypt(b"text"))


# -- all of it, mixed -------------------------------------------------------------------------------------------------


class Replays(RuleBasedStateMachine):
    """GRP-03, CTR-03: whatever is given and sent again in whatever order, no message is read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.alice, self.bob, self.sending, self.receiving = given()
        self.distributions = [self.sending.create_distribution()]
        self.messages: list[bytes] = []
        self.read: set[bytes] = set()
        self.random = Random("replays")

    @rule()
    def send(self) -> None:
        self.messages.append(self.sending.encrypt(b"text"))

    @rule()
    def rotate(self) -> None:
        self.sending.rotate()

    @rule(fresh=st.booleans(), at=st.integers(0, 50))
    def process(self, fresh: bool, at: int) -> None:
        if fresh:
            self.distributions.append(self.sending.create_distribution())
        distribution = self.distributions[-1 if fresh else at % len(self.distributions)]
        with suppress(RetiredSenderKey):
            self.receiving.process(ALICE, distribution)

    @rule(seed=st.integers(1, 3), at=st.integers(0, 50))
    def collide(self, seed: int, at: int) -> None:
        self.distributions.append(collision(self.distributions[at % len(self.distributions)], seed)[0])

    @rule()
    def forget(self) -> None:
        self.receiving.forget_sender(ALICE)

    @rule(at=st.integers(0, 50))
    def decrypt(self, at: int) -> None:
        if not self.messages:
            return
        message = self.messages[at % len(self.messages)]
        with suppress(DuplicateMessage, NoSenderKey, InvalidSignature):
            assert self.receiving.decrypt(ALICE, message) == b"text"
            assert message not in self.read
            self.read.add(message)

    @invariant()
    def bounded(self) -> None:
        keys = received(self.bob, self.alice)
        assert len(keys.chains) <= MAX_SENDER_KEY_CHAINS
        # What is kept is of chains that are held, and the bound of each is one.
        ids = [each.chain_id for each in keys.chains]
        rows = [int.from_bytes(key[-8:-4], "big") for key in self.bob.store.snapshot()[Table.KEPT_GROUP_KEY]]
        assert set(rows) <= set(ids)
        assert all(rows.count(each.chain_id) <= each.kept for each in keys.chains)
        assert self.bob.count(Table.RETIRED_SENDER_KEY) == 2 * keys.retired


Replays.TestCase.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
TestReplays = Replays.TestCase
