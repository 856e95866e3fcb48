"""Members: who is given the chain, when a new one begins, and what a crash or another writer may do to that (GRP-04)."""

from __future__ import annotations

import json
import threading
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from pawl import (
    AdapterStore,
    ApplicationRows,
    Decision,
    Device,
    GroupLayout,
    IdentityPolicy,
    JSONFileStore,
    MemoryStore,
    ProtocolAddress,
    SQLiteStore,
    Store,
)
from pawl.errors import Conflict, CounterExhausted, MembersWithoutSession, ProtocolError
from pawl.events import (
    CallbackFailed,
    Event,
    GroupForgotten,
    GroupMembersChanged,
    GroupMessageRefused,
    MessagesRolledBack,
    SenderKeyGiven,
    SenderKeyRotated,
)
from pawl.group.state import Member
from pawl.limits import MAX_COUNTER, MAX_GROUP_MEMBERS, MAX_PLAINTEXT_BYTES, MAX_UNACKNOWLEDGED_SECONDS
from pawl.session.rows import REPLACED_KEY
from pawl.storage.contract import Table
from pawl.wire import group_records
from pawl.wire.group_messages import decode_distribution, decode_sender_key_message
from pawl_gate.targets.file_adapter import FileAdapter
from tests.devices import ALICE, BOB, Party
from tests.group.parties import (
    CAROL,
    GROUP,
    OTHER_GROUP,
    give,
    given,
    group_of,
    hand_out,
    kept,
    member,
    members,
    own,
    put_own,
)

T = TypeVar("T")

# -- the ordinary way -------------------------------------------------------------------------------------------------


def test_a_group_of_three() -> None:
    """Everyone gives everyone a chain with the first message, and none with the second."""
    parties = members()
    alice, bob, carol = parties
    bob.meet(carol)
    for sender in parties:
        others = [each for each in parties if each is not sender]
        group_of(sender).set_members([each.address for each in others])
        for number in range(3):
            sent = group_of(sender).send(b"%d" % number)
            assert [each.peer for each in sent.distributions] == ([] if number else [each.address for each in others])
            hand_out(sender, sent, *others)
            group_of(sender).delivered(sent.distributions)
            for receiver in others:
                assert group_of(receiver).decrypt(sender.address, sent.message) == b"%d" % number
    assert group_of(alice).members() == [BOB, CAROL]


def test_until_it_is_delivered_it_is_given_again() -> None:
    """ATM-02 in reverse: a crash between commit and network loses no member; who has it twice loses nothing."""
    alice, bob, carol = members()
    group = group_of(alice)
    group.set_members({BOB, CAROL})
    lost = group.send(b"lost in a crash")
    alice.restarted()
    group = group_of(alice)
    sent = group.send(b"one")
    assert [each.peer for each in sent.distributions] == [BOB, CAROL]
    hand_out(alice, sent, bob, carol)
    group.delivered([each for each in sent.distributions if each.peer == BOB])
    assert group_of(bob).decrypt(ALICE, sent.message) == b"one"
    # The chain begins where it was when it was given, so that what was lost cannot be read: it never was on its way.
    with bob.refuses("duplicate-message"):
        group_of(bob).decrypt(ALICE, lost.message)
    again = group.send(b"two")
    assert [each.peer for each in again.distributions] == [CAROL]
    hand_out(alice, again, carol)
    assert group_of(carol).decrypt(ALICE, again.message) == b"two"
    assert group_of(carol).decrypt(ALICE, sent.message) == b"one"
    group.delivered(again.distributions)
    group.delivered(again.distributions)
    assert group.send(b"three").distributions == ()
    assert (own(alice).members, own(alice).waiting) == (2, 0)


def test_a_new_member_is_given_the_present_chain() -> None:
    """ "On an addition sends the current distribution to the new one only", who reads nothing older."""
    alice, bob, carol = members()
    group = group_of(alice)
    group.set_members([BOB])
    first = group.send(b"before")
    hand_out(alice, first, bob)
    group.delivered(first.distributions)
    group.set_members([BOB, CAROL])
    sent = group.send(b"after")
    assert [each.peer for each in sent.distributions] == [CAROL]
    hand_out(alice, sent, carol)
    with carol.refuses("duplicate-message"):
        group_of(carol).decrypt(ALICE, first.message)
    for receiver in (bob, carol):
        assert group_of(receiver).decrypt(ALICE, sent.message) == b"after"


def test_a_removed_member_reads_nothing_new() -> None:
    """GRP-04: "the removed member decrypts nothing new", although it kept everything and sees every message."""
    alice, bob, carol = members()
    group = group_of(alice)
    group.set_members([BOB, CAROL])
    sent = group.send(b"before")
    hand_out(alice, sent, bob, carol)
    group.delivered(sent.distributions)
    former = own(alice).sending
    group.set_members([BOB])
    assert own(alice).sending.chain_id != former.chain_id
    assert own(alice).sending.signing != former.signing
    sent = group.send(b"after")
    assert [each.peer for each in sent.distributions] == [BOB]
    hand_out(alice, sent, bob, carol)
    with carol.refuses("no-sender-key"):
        group_of(carol).decrypt(ALICE, sent.message)
    assert group_of(bob).decrypt(ALICE, sent.message) == b"after"
    # By hand as well: the message is on the new chain, whichever way it is encrypted.
    assert decode_sender_key_message(group.encrypt(b"by hand")).chain_id == own(alice).sending.chain_id


def test_who_was_given_it_counts_not_who_confirmed_it() -> None:
    """GRP-04: a distribution that was handed out may have come, whether that was said or not."""
    alice, _, _ = members()
    group = group_of(alice)
    group.set_members([BOB, CAROL])
    group.delivered([each for each in group.send(b"text").distributions if each.peer == BOB])
    former = own(alice).sending.chain_id
    group.set_members([BOB])
    assert own(alice).sending.chain_id != former


def test_a_member_who_was_given_nothing_leaves_the_chain() -> None:
    """There is nothing to rotate for: no message goes twice to everyone."""
    alice, _, _ = members()
    group = group_of(alice)
    group.set_members([BOB])
    group.delivered(group.send(b"text").distributions)
    former = own(alice)
    group.set_members([BOB, CAROL])
    assert (own(alice).members, own(alice).waiting) == (2, 1)
    group.set_members([BOB])
    assert own(alice) == former
    assert group.send(b"text").distributions == ()
    # The same members again: nothing is written.
    before = alice.store.snapshot()
    group.set_members((BOB,))
    group.set_members(frozenset([BOB]))
    assert alice.store.snapshot() == before


def test_a_rotation_on_demand() -> None:
    """Every member is given the new chain; late messages of the old one are read."""
    alice, bob, carol = members()
    group = group_of(alice)
    group.set_members([BOB, CAROL])
    sent = group.send(b"old")
    hand_out(alice, sent, bob, carol)
    group.delivered(sent.distributions)
    group.rotate()
    new = group.send(b"new")
    # What was given of the old chain says nothing about the new one.
    group.delivered(sent.distributions)
    assert [each.peer for each in group.send(b"newer").distributions] == [BOB, CAROL]
    hand_out(alice, new, bob, carol)
    for receiver in (bob, carol):
        assert group_of(receiver).decrypt(ALICE, new.message) == b"new"
        assert group_of(receiver).decrypt(ALICE, sent.message) == b"old"


def test_a_member_that_cannot_read() -> None:
    """A member says so, for example after it lost its store: it is given the chain again, alone."""
    alice, bob, _ = members()
    group = group_of(alice)
    group.undelivered(BOB)
    group.set_members([BOB, CAROL])
    group.undelivered(BOB)
    sent = group.send(b"text")
    group.undelivered(BOB)
    group.delivered(sent.distributions)
    group.undelivered(BOB)
    group.undelivered(ProtocolAddress("dave", 1))
    assert own(alice).waiting == 1
    again = group.send(b"again")
    assert [each.peer for each in again.distributions] == [BOB]
    hand_out(alice, again, bob)
    assert group_of(bob).decrypt(ALICE, again.message) == b"again"
    # Of a chain that was rotated since it says nothing: everyone waits for the new one, once.
    group.delivered(again.distributions)
    group.rotate()
    group.undelivered(BOB)
    assert own(alice).waiting == 2


# -- refusals ---------------------------------------------------------------------------------------------------------


def test_members_without_a_session() -> None:
    """Nobody is left out silently: all of them are named, and nothing is sent or written."""
    alice, bob, _ = members()
    dave, erin = ProtocolAddress("dave", 1), ProtocolAddress("erin", 2)
    group = group_of(alice)
    group.set_members([erin, BOB, dave])
    with alice.refuses("members-without-session") as caught:
        group.send(b"text")
    assert isinstance(caught.value, MembersWithoutSession)
    assert caught.value.members == (dave, erin)
    group.set_members([BOB])
    hand_out(alice, group.send(b"text"), bob)


def test_a_member_who_never_answered() -> None:
    """A session that the peer never answered serves for 30 days: afterwards the member is named."""
    alice, bob = Party(ALICE), Party(BOB)
    alice.meet(bob)
    group = group_of(alice)
    group.set_members([BOB])
    alice.now += MAX_UNACKNOWLEDGED_SECONDS
    group.send(b"text")
    alice.now += 1
    with alice.refuses("members-without-session"):
        group.send(b"text")


def test_a_member_whose_identity_was_replaced_has_no_session() -> None:
    """IDC-08: the chain goes to nobody under an identity that is not the pinned one."""
    alice, _, _ = members()
    group = group_of(alice)
    group.set_members([BOB])
    alice.device.trust_identity("bob", Party(BOB, seed="new").device.identity_key)
    with alice.refuses("members-without-session"):
        group.send(b"text")


def test_no_members() -> None:
    """A message that nobody can read is refused, not lost."""
    alice, _, _ = members()
    group = group_of(alice)
    group.set_members([])
    assert group.members() == []
    with alice.refuses("no-members"):
        group.send(b"text")


def test_too_many_members() -> None:
    alice, _, _ = members()
    addresses = [ProtocolAddress("bob", 1 + number % 127) for number in range(MAX_GROUP_MEMBERS + 1)]
    with alice.refuses("invalid-argument"):
        group_of(alice).set_members(addresses)


def test_a_chain_that_used_its_last_iteration() -> None:
    """CTR-01: nobody is given a chain on which nothing comes any more."""
    alice, _, _ = members()
    group = group_of(alice)
    group.set_members([BOB])
    state = own(alice)
    put_own(alice, state._replace(sending=state.sending._replace(iteration=MAX_COUNTER + 1)))
    with alice.refuses("counter-exhausted"):
        group.send(b"text")
    group.rotate()
    assert len(group.send(b"text").distributions) == 1


# -- identities -------------------------------------------------------------------------------------------------------


def test_a_member_whose_identity_is_replaced_ends_the_chain() -> None:
    """GRP-04, IDC-08: who had the chain under the old identity reads nothing that is sent after the decision."""
    events: list[Event] = []
    alice, bob, carol = members()
    group = group_of(alice)
    group.set_members([BOB, CAROL])
    sent = group.send(b"before")
    hand_out(alice, sent, bob, carol)
    group.delivered(sent.distributions)
    second = Party(BOB, seed="a new phone")
    alice.device.trust_identity("bob", second.device.identity_key)
    watched = Device(alice.store, on_event=events.append, rng=alice.random)
    message = watched.group(GROUP).encrypt(b"by hand")
    assert events == [SenderKeyRotated(GROUP, "identity-replaced")]
    with bob.refuses("no-sender-key"):
        group_of(bob).decrypt(ALICE, message)
    alice.meet(second)
    sent = group.send(b"after")
    assert [each.peer for each in sent.distributions] == [BOB, CAROL]
    hand_out(alice, sent, second, carol)
    group.delivered(sent.distributions)
    for receiver in (second, carol):
        assert group_of(receiver).decrypt(ALICE, sent.message) == b"after"
    assert member(alice, BOB) == Member(own(alice).sending.chain_id, second.device.identity_key, True)
    # Looked at once: nothing more is rotated.
    chain_id = own(alice).sending.chain_id
    assert decode_sender_key_message(group.send(b"more").message).chain_id == chain_id


def test_an_identity_that_is_nobodys_here() -> None:
    """A replaced identity of somebody who has not the chain changes nothing; it is looked at once."""
    policy = IdentityPolicy(on_mismatch=lambda *_: Decision.REPLACE)
    alice, bob, carol = Party(ALICE, policy), Party(BOB), Party(CAROL)
    for each in (bob, carol):
        alice.meet(each)
    group = group_of(alice)
    group.set_members([BOB])
    group.send(b"text")
    former = own(alice).sending.chain_id
    alice.meet(Party(CAROL, seed="a new phone"))
    assert own(alice).replaced == 0
    message = group.encrypt(b"text")
    assert own(alice).replaced == 1
    assert decode_sender_key_message(message).chain_id == former
    alice.device.trust_identity("carol", bob.device.identity_key)
    group.set_members([BOB, CAROL])
    assert (own(alice).replaced, own(alice).sending.chain_id) == (2, former)
    assert decode_distribution(group.create_distribution()).chain_id == former


def test_a_damaged_count_of_identities() -> None:
    """ATM-06: it is refused, and not taken for none."""
    alice, _, _ = members()
    group = group_of(alice)
    group.set_members([BOB])
    alice.put(Table.LOCAL, REPLACED_KEY, b"7")
    with alice.refuses("corrupt-store"):
        group.encrypt(b"text")
    with alice.refuses("corrupt-store"):
        alice.device.trust_identity("bob", Party(BOB, seed="new").device.identity_key)


# -- events, wrapping, hooks ------------------------------------------------------------------------------------------


def test_what_is_told() -> None:
    """An operator hears of members, chains and who was given one."""
    events: list[Event] = []
    alice, _, _ = members()
    group = Device(alice.store, on_event=events.append, rng=alice.random, clock=lambda: alice.now).group(GROUP)
    group.set_members([BOB, CAROL])
    sent = group.send(b"text")
    group.delivered(sent.distributions)
    group.send(b"text")
    group.set_members([BOB])
    group.rotate()
    group.forget()
    group.forget()
    assert events == [
        SenderKeyRotated(GROUP, "first"),
        GroupMembersChanged(GROUP, 2, 0),
        SenderKeyGiven(GROUP, 2),
        GroupMembersChanged(GROUP, 0, 1),
        SenderKeyRotated(GROUP, "member-removed"),
        SenderKeyRotated(GROUP, "demand"),
        GroupForgotten(GROUP),
    ]


def test_the_envelope_of_the_application() -> None:
    """The chain travels in whatever plaintext the application's other end knows."""
    alice, bob, _ = members()
    group = alice.device.group(GROUP, wrap=lambda distribution: b"chain:" + distribution)
    group.set_members([BOB])
    sent = group.send(b"text")
    plaintext = bob.take(alice, sent.distributions[0].message)
    assert plaintext.startswith(b"chain:")
    group_of(bob).process(ALICE, plaintext.removeprefix(b"chain:"))
    assert group_of(bob).decrypt(ALICE, sent.message) == b"text"


def raising(distribution: bytes) -> bytes:
    raise RuntimeError("the application failed")


@pytest.mark.parametrize(
    ("wrap", "why"),
    [(raising, "raised"), (lambda _: None, "bad-answer"), (lambda _: bytes(MAX_PLAINTEXT_BYTES + 1), "bad-answer")],
)
def test_an_envelope_that_fails(wrap: object, why: str) -> None:
    """IDC-10: "a callback of the application that raises ... leaves the state whole"; and it is told."""
    events: list[Event] = []
    alice, _, _ = members()
    group = Device(alice.store, on_event=events.append).group(GROUP, wrap=wrap)  # type: ignore[arg-type]
    group.set_members([BOB])
    events.clear()
    with alice.refuses("callback-failed"):
        group.send(b"text")
    assert events == [CallbackFailed("wrap", why)]


def test_a_plaintext_is_stored_with_its_message() -> None:
    """ATM-09, for groups: durable in the transaction that spends the key, or not read."""
    _, bob, sending, _ = given()
    events: list[Event] = []

    def store(sender: ProtocolAddress, plaintext: bytes, rows: ApplicationRows) -> None:
        if plaintext == b"bad":
            raise RuntimeError("no room")
        rows.put(b"inbox/" + sender.name.encode(), plaintext)

    device = Device(bob.store, on_event=events.append)
    group = device.group(GROUP, store_plaintext=store)
    bad, good = sending.encrypt(b"bad"), sending.encrypt(b"good")
    with bob.refuses("callback-failed"):
        group.decrypt(ALICE, bad)
    assert events == [
        CallbackFailed("store_plaintext", "raised"),
        MessagesRolledBack(ALICE, 1),
        GroupMessageRefused(ALICE, GROUP, "callback-failed"),
    ]
    assert group.decrypt(ALICE, good) == b"good"
    with device.application_rows() as rows:
        assert rows.scan(b"inbox/") == [(b"inbox/alice", b"good")]
    assert group_of(bob).decrypt(ALICE, bad) == b"bad"


# -- leaving ----------------------------------------------------------------------------------------------------------


def test_a_group_that_is_forgotten() -> None:
    """All of it goes, of this group alone; damaged rows too (ATM-06 leaves them readable by nobody)."""
    alice, bob, sending, receiving = given()
    group_of(bob, OTHER_GROUP).create_distribution()
    receiving.set_members([ALICE, CAROL])
    give(bob, alice)
    messages = [sending.encrypt(b"text") for _ in range(3)]
    receiving.decrypt(ALICE, messages[2])
    for _ in range(6):
        sending.rotate()
        give(alice, bob)
    receiving.decrypt(ALICE, [sending.encrypt(b"text") for _ in range(3)][2])
    assert kept(bob) == [0, 1]
    bob.put(Table.SENDER_KEY, GROUP.bytes, b"damaged")
    with bob.refuses("corrupt-store"):
        receiving.members()
    receiving.forget()
    left = {
        (table.value, key)
        for table, rows in bob.store.snapshot().items()
        for key in rows
        if table not in (Table.LOCAL, Table.IDENTITY)
    }
    assert left == {("sender_key", OTHER_GROUP.bytes)}
    with bob.refuses("no-sender-key"):
        receiving.decrypt(ALICE, sending.encrypt(b"text"))
    give(alice, bob)
    assert receiving.decrypt(ALICE, sending.encrypt(b"text")) == b"text"
    assert receiving.members() == []


@pytest.mark.parametrize(
    "key",
    [
        GROUP.bytes,
        GROUP.bytes + b"\0\4bob\1",
        GROUP.bytes + b"\0\3bo\xff\1",
        GROUP.bytes + b"\0\3bob\xff",
        GROUP.bytes + b"\0\3bob\1\1",
    ],
)
def test_a_row_of_a_member_that_was_not_written(key: bytes) -> None:
    """ATM-06: a member that no address names is refused."""
    alice, _, _ = members()
    group = group_of(alice)
    group.set_members([BOB])
    alice.put(Table.GROUP_MEMBER, key, b"\x18\x00")
    with alice.refuses("corrupt-store"):
        group.members()


# -- several writers --------------------------------------------------------------------------------------------------


def stores(folder: Path, kind: str) -> tuple[Store, Store]:
    """One store, opened twice."""
    if kind == "memory":
        store = MemoryStore()
        return store, store
    opened = SQLiteStore if kind == "sqlite" else JSONFileStore
    return opened(folder / "alice", busy_timeout=60), opened(folder / "alice", busy_timeout=60)


@pytest.mark.parametrize("kind", ["memory", "sqlite", "json"])
def test_two_that_send_at_once(tmp_path: Path, kind: str) -> None:
    """GRP-01: "concurrent sends never share a key and IV": every iteration once, and all of them are read."""
    each = 40
    first, second = stores(tmp_path, kind)
    devices = [Device(first), Device(second)]
    bob = Party(BOB)
    group_of(bob).process(ALICE, devices[0].group(GROUP).create_distribution())
    sent: list[bytes] = []

    def run(device: Device) -> None:
        group = device.group(GROUP)
        sent.extend(group.encrypt(b"%d" % number) for number in range(each))

    threads = [threading.Thread(target=run, args=(device,)) for device in devices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(decode_sender_key_message(message).iteration for message in sent) == list(range(2 * each))
    assert len([group_of(bob).decrypt(ALICE, message) for message in sent]) == 2 * each
    first.close()
    second.close()


def test_a_rotation_in_another_process(tmp_path: Path) -> None:
    """What a device remembers of its store is never older than the store: the other one's chain is used at once."""
    first, second = stores(tmp_path, "sqlite")
    one, other = Device(first).group(GROUP), Device(second).group(GROUP)
    one.create_distribution()
    chain_id = decode_sender_key_message(one.encrypt(b"text")).chain_id
    other.rotate()
    rotated = decode_sender_key_message(one.encrypt(b"text"))
    assert rotated.chain_id != chain_id
    assert rotated.iteration == 0
    assert decode_sender_key_message(other.encrypt(b"text")).iteration == 1
    first.close()
    second.close()


class Rival:
    """A memory store in which another writer is faster a number of times."""

    def __init__(self, inner: MemoryStore) -> None:
        self.inner = inner
        self.left = 0

    def transaction(self) -> _RivalTransaction:
        return _RivalTransaction(self)

    def close(self) -> None:
        self.inner.close()


class _RivalTransaction:
    def __init__(self, store: Rival) -> None:
        self.store = store
        self.inner = store.inner.transaction()

    def __enter__(self):  # type: ignore[no-untyped-def]
        return self.inner.__enter__()

    def __exit__(self, *error: object) -> None:
        if error[0] is None and self.store.left:
            self.store.left -= 1
            conflict = Conflict("another writer was faster")
            self.inner.__exit__(Conflict, conflict, None)
            raise conflict
        self.inner.__exit__(*error)  # type: ignore[arg-type]


def test_a_step_that_lost_is_taken_again() -> None:
    """ATM-04: "one wins, the other is told (conflict) or retried": every step of a group is taken again."""
    alice, bob, _ = members()
    rival = Rival(alice.store)
    device = Device(rival, rng=alice.random, clock=lambda: alice.now)
    group = device.group(GROUP)

    def again(step):  # type: ignore[no-untyped-def]
        rival.left = 2
        result = step()
        assert rival.left == 0
        return result

    again(lambda: group.set_members([BOB, CAROL]))
    sent = again(lambda: group.send(b"text"))
    again(lambda: group.delivered(sent.distributions))
    assert own(alice).waiting == 0
    hand_out(alice, sent, bob)
    assert group_of(bob).decrypt(ALICE, sent.message) == b"text"
    assert again(group.members) == [BOB, CAROL]
    again(lambda: group.undelivered(CAROL))
    again(group.rotate)
    assert decode_sender_key_message(again(lambda: group.encrypt(b"text"))).iteration == 0
    given_by_bob = group_of(bob).create_distribution()
    again(lambda: group.process(BOB, given_by_bob))
    assert again(lambda: group.decrypt(BOB, group_of(bob).encrypt(b"back"))) == b"back"
    again(lambda: group.forget_sender(BOB))
    again(group.create_distribution)
    again(group.forget)


@pytest.mark.parametrize("layout", GroupLayout)
def test_every_store(tmp_path: Path, layout: GroupLayout) -> None:
    """GRP-06: groups live in every store, and go on after it was opened again."""
    alice = Party(ALICE)
    openers: list[Callable[[Path], Store]] = [
        SQLiteStore,
        JSONFileStore,
        lambda path: AdapterStore(FileAdapter(path)),
    ]
    for number, opened in enumerate(openers):
        path = tmp_path / str(number)
        store = opened(path)
        group = Device(store).group(GROUP, layout=layout)
        group.process(ALICE, group_of(alice, layout=layout).create_distribution())
        messages = [group_of(alice, layout=layout).encrypt(b"%d" % each) for each in range(3)]
        assert group.decrypt(ALICE, messages[2]) == b"2"
        first = group.create_distribution()
        store.close()
        store = opened(path)
        group = Device(store).group(GROUP, layout=layout)
        assert group.create_distribution() == first
        assert group.decrypt(ALICE, messages[0]) == b"0"
        with pytest.raises(ProtocolError, match="decrypted before"):
            group.decrypt(ALICE, messages[2])
        store.close()


def secrets_of(store: Store) -> set[bytes]:
    """Chain keys, signing keys and kept seeds of the group, as the store has them now."""
    with store.transaction() as tx:
        found = {row.value for _, row in tx.scan(Table.KEPT_GROUP_KEY, b"")}
        for _, row in tx.scan(Table.SENDER_KEY, b""):
            sending = group_records.decode_own_group(row.value).sending
            found |= {sending.chain_key.data, sending.signing.private.data}
        for _, row in tx.scan(Table.RECEIVED_SENDER_KEY, b""):
            found |= {chain.chain_key.data for chain in group_records.decode_received_keys(row.value).chains}
    return found


@pytest.mark.parametrize("kind", ["sqlite", "json"])
def test_what_is_gone_is_gone_from_the_files(tmp_path: Path, kind: str) -> None:
    """KEY-05, GRP-06: "after a ... close ... a deleted secret is not in the store's bytes": used and old chains' keys."""
    store, same = stores(tmp_path, kind)
    same.close()
    alice, group = Party(ALICE), Device(store).group(GROUP)
    ever: set[bytes] = set()
    for _ in range(8):
        group.process(ALICE, group_of(alice).create_distribution())
        group.create_distribution()
        messages = [group_of(alice).encrypt(b"text") for _ in range(6)]
        for message in (messages[4], messages[1]):
            group.decrypt(ALICE, message)
            group.encrypt(b"text")
            ever |= secrets_of(store)
        group_of(alice).rotate()
        group.rotate()
    present = secrets_of(store)
    store.close()
    whole = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert len(ever - present) > 30
    # A record in JSON is one text of Base64, in which a key stands in one of three ways: what it says is looked for.
    if kind == "json":
        rows = json.loads((tmp_path / "alice").read_text())["store"]["rows"].values()
        whole = b"".join(b64decode(value) for shelf in rows for _, value in shelf.values())
    assert {secret for secret in present if secret in whole} == present
    assert {secret for secret in ever - present if secret in whole} == set()


def test_a_send_that_fails_spends_nothing() -> None:
    """CTR-05: an exhausted chain in `send` leaves the sessions where they were as well."""
    alice, bob, _ = members()
    group = group_of(alice)
    group.set_members([BOB])
    state = own(alice)
    put_own(alice, state._replace(sending=state.sending._replace(iteration=MAX_COUNTER + 1)))
    before = alice.store.snapshot()
    with pytest.raises(CounterExhausted):
        group.send(b"text")
    assert alice.store.snapshot() == before
    assert bob.take(alice, alice.send(bob)) == b"text"
