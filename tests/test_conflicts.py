"""Two writers of one device: a step that lost is taken again, or its caller is told; and batches, which are one step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pawl import Device, EncryptedMessage, Event, IdentityPolicy, MemoryStore, ProtocolAddress, receiving
from pawl.errors import (
    ApplicationCallbackFailed,
    Conflict,
    DuplicateMessage,
    InvalidArgument,
    MalformedMessage,
    NoSession,
    OutcomeUnknown,
    UntrustedIdentity,
    WorkLimitExceeded,
)
from pawl.events import ConflictRetried, IdentityPinned, IdentityRejected, MessageRefused, MessagesRolledBack
from pawl.limits import MAX_BATCH, MAX_CONFLICT_TRIES
from pawl.storage import Table, Transaction
from pawl.wire.messages import decode_signal_message
from pawl_gate.targets.rival import OpenTransaction
from tests.devices import ALICE, BOB, Party, met, talking


class OptimisticStore:
    """Lets anybody in while a transaction is open, and looks at its end whether what it read is still so."""

    def __init__(self, inner: MemoryStore) -> None:
        self.inner = inner
        self.rivals: list[Callable[[], object]] = []
        """What happens before each of the next commits."""
        self.at_commit: list[Exception] = []

    def transaction(self) -> Any:
        return self._transaction()

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        block = OpenTransaction(self.inner)
        yield block
        if self.rivals:
            self.rivals.pop(0)()
        if self.at_commit:
            raise self.at_commit.pop(0)
        block.commit()

    def close(self) -> None:
        self.inner.close()


class Contended:
    """Alice with two processes on one store, and Bob."""

    def __init__(self) -> None:
        self.alice, self.bob = talking()
        self.store = OptimisticStore(self.alice.store)
        self.heard: list[Event] = []
        self.device = Device(self.store, on_event=self.heard.append, clock=lambda: self.alice.now)
        self.other = Device(self.alice.store, clock=lambda: self.alice.now)

    def read_all(self, *messages: EncryptedMessage) -> list[bytes]:
        return [self.bob.device.decrypt(ALICE, message) for message in messages]


@pytest.fixture
def contended() -> Contended:
    return Contended()


def counter(message: EncryptedMessage) -> int:
    return decode_signal_message(message.serialized).counter


# -- one step ----------------------------------------------------------------------------------------------------------


def test_a_lost_race_is_run_again(contended: Contended) -> None:
    """ATM-04: "or retried, no acknowledged write is lost, no counter is used twice"; the event says it."""
    theirs: list[EncryptedMessage] = []
    contended.store.rivals = [lambda: theirs.append(contended.other.encrypt(BOB, b"theirs"))] * 2
    ours = contended.device.encrypt(BOB, b"ours")
    assert [counter(each) for each in (*theirs, ours)] == [counter(ours) - 2, counter(ours) - 1, counter(ours)]
    assert contended.heard == [ConflictRetried(2), ConflictRetried(3)]
    assert contended.read_all(*theirs, ours) == [b"theirs", b"theirs", b"ours"]


def test_a_rival_that_never_rests(contended: Contended) -> None:
    """ATM-04: "the other is told (conflict)", after a bounded number of tries; the store is the other writer's."""
    contended.store.rivals = [lambda: contended.other.encrypt(BOB, b"theirs")] * (MAX_CONFLICT_TRIES + 3)
    with pytest.raises(Conflict):
        contended.device.encrypt(BOB, b"ours")
    assert len(contended.store.rivals) == 3
    assert contended.heard == [ConflictRetried(attempt) for attempt in range(2, MAX_CONFLICT_TRIES + 1)]


def test_a_message_that_the_other_read(contended: Contended) -> None:
    """CTR-03: "delivered at most once": the second try finds it read, and says so once."""
    message = contended.bob.device.encrypt(ALICE, b"once")
    contended.store.rivals = [lambda: contended.other.decrypt(BOB, message)]
    with pytest.raises(DuplicateMessage):
        contended.device.decrypt(BOB, message)
    assert contended.heard == [ConflictRetried(2), MessageRefused(BOB, "duplicate-message")]


def test_every_look_is_taken_again(contended: Contended) -> None:
    """A serializable database may tell readers of a conflict, too, and whoever opens a device."""
    device = contended.device
    looks: list[Callable[[], object]] = [
        lambda: device.has_session(BOB),
        device.prekey_count,
        lambda: device.pinned_identity("bob"),
        lambda: device.safety_number("bob", local_identifier=b"a", remote_identifier=b"b"),
        lambda: Device(contended.store, on_event=contended.heard.append).registration_id,
    ]
    for look in looks:
        expected = look()
        contended.store.at_commit = [Conflict("another writer was faster")]
        assert look() == expected
        assert contended.heard == [ConflictRetried(2)]
        contended.heard.clear()


def test_a_refused_identity_stays_the_refusal(contended: Contended) -> None:
    """IDC-01: what is read for the event alone does not hide why a message was refused."""
    mallory = Party(ProtocolAddress("mallory", 1))
    mallory.device.establish(ALICE, contended.device.prekey_bundle())
    message = mallory.device.encrypt(ALICE, b"as bob")
    pinned = contended.device.pinned_identity("bob")
    real = contended.device._decrypt_prekey

    def then_contended(*arguments: Any) -> bytes:
        try:
            return real(*arguments)
        finally:
            contended.store.at_commit = [Conflict("another writer was faster")]

    contended.device._decrypt_prekey = then_contended  # type: ignore[method-assign]
    with pytest.raises(UntrustedIdentity):
        contended.device.decrypt(BOB, message)
    assert IdentityRejected("bob", mallory.device.identity_key, pinned) in contended.heard


def test_every_step_is_taken_again(contended: Contended) -> None:
    """Each method that writes: its own conflict, met once, is no refusal."""
    carol = Party(ProtocolAddress("carol", 1))
    dave = Party(ProtocolAddress("dave", 1))
    bundle = dave.device.prekey_bundle()
    device = contended.device
    carol.device.establish(ALICE, device.prekey_bundle())
    first = carol.device.encrypt(ALICE, b"first")
    steps: list[Callable[[], object]] = [
        device.prekey_bundle,
        device.signed_prekey,
        device.rotate_signed_prekey,
        lambda: device.generate_prekeys(2),
        lambda: device.maintain(rotate_after=0),
        lambda: device.establish(dave.address, bundle),
        lambda: device.decrypt(carol.address, first),
        lambda: device.decrypt(BOB, contended.bob.device.encrypt(ALICE, b"")),
        lambda: device.encrypt(BOB, b""),
        lambda: device.encrypt_many(BOB, [b""]),
        lambda: device.decrypt_many(BOB, [contended.bob.device.encrypt(ALICE, b"")]),
        lambda: device.trust_identity("erin", carol.device.identity_key),
        lambda: device.forget_session(BOB),
    ]
    for step in steps:
        contended.heard.clear()
        contended.store.at_commit = [Conflict("lost"), Conflict("lost again")]
        step()
        assert contended.heard[:2] == [ConflictRetried(2), ConflictRetried(3)]
        # What a try that was rolled back would have told is not told.
        assert len(set(map(str, contended.heard))) == len(contended.heard)


def test_an_identity_is_asked_about_once(contended: Contended) -> None:
    """IDC-01: a conflict after the answer is no second question."""
    asked: list[str] = []

    def ask(name: str, _: object) -> bool:
        asked.append(name)
        return True

    dave = Party(ProtocolAddress("dave", 1))
    device = Device(contended.store, identity_policy=IdentityPolicy(on_first_use=ask), on_event=contended.heard.append)
    contended.store.at_commit = [Conflict("lost")]
    device.establish(dave.address, dave.device.prekey_bundle())
    assert asked == ["dave"]
    assert contended.heard[0] == ConflictRetried(2)
    assert device.pinned_identity("dave") == dave.device.identity_key


def test_an_unknown_outcome_is_not_tried_again(contended: Contended) -> None:
    """WRK-03: "one that may have committed ends as `OutcomeUnknown`": a second try could use two counters for one text."""
    contended.store.at_commit = [OutcomeUnknown("the line was cut")]
    with pytest.raises(OutcomeUnknown):
        contended.device.encrypt(BOB, b"text")
    assert contended.heard == []
    assert contended.store.at_commit == []


# -- batches -----------------------------------------------------------------------------------------------------------


def test_a_batch_is_its_messages() -> None:
    """CTR-01: counters count on, within a batch and after it; read one by one and as a batch it is the same."""
    alice, bob = met()
    texts = [b"%d" % number for number in range(20)]
    messages = alice.device.encrypt_many(BOB, texts)
    later = alice.device.encrypt_many(BOB, [b"more", b"and more"])
    assert bob.device.decrypt_many(ALICE, messages[:5]) == texts[:5]
    assert [bob.take(alice, message) for message in messages[5:10]] == texts[5:10]
    assert bob.device.decrypt_many(ALICE, [*reversed(messages[10:]), *later]) == [
        *reversed(texts[10:]),
        b"more",
        b"and more",
    ]
    # Both ways, over a new chain.
    answers = bob.device.encrypt_many(ALICE, texts)
    assert [counter(each) for each in answers] == list(range(20))
    assert alice.device.decrypt_many(BOB, answers[::-1]) == texts[::-1]
    assert alice.take(bob, bob.send(alice)) == b"text"


def test_a_batch_is_one_transaction() -> None:
    """ATM-01: "exactly the state before or exactly the state after": one commit for all of it."""
    alice, bob = talking()
    revision = alice.store.revision
    messages = alice.device.encrypt_many(BOB, [b"text"] * 50)
    assert alice.store.revision == revision + 1
    revision = bob.store.revision
    bob.device.decrypt_many(ALICE, messages)
    assert bob.store.revision == revision + 1


@pytest.mark.parametrize("place", [0, 1, 4])
def test_one_that_is_refused_refuses_all(place: int) -> None:
    """CTR-05: nothing has changed, in the store or in memory; the note says which it was, and one by one all go on."""
    alice, bob = talking()
    messages = alice.device.encrypt_many(BOB, [b"%d" % number for number in range(4)])
    bad = alice.send(bob)
    bob.take(alice, bad)
    batch = [*messages[:place], bad, *messages[place:]]
    with bob.refuses("duplicate-message") as refusal:
        bob.device.decrypt_many(ALICE, batch)
    assert refusal.value.__notes__ == [f"it is message {place + 1} of the batch"]
    assert [bob.take(alice, message) for message in messages] == [b"0", b"1", b"2", b"3"]


def test_a_batch_that_is_rolled_back_leaves_nothing_in_memory() -> None:
    """CTR-05: "the persisted and the in-memory state identical"."""
    alice, bob = talking()
    message = alice.send(bob)
    with bob.refuses("duplicate-message"):
        bob.device.decrypt_many(ALICE, [message, message])
    assert bob.device._memos.sessions._held == {}
    assert bob.device.decrypt_many(ALICE, [message]) == [b"text"]


def test_a_batch_may_build_the_session() -> None:
    """IDC-06: the identity is pinned once, with the first message; each refusal is told once."""
    alice, bob = met()
    heard: list[Event] = []
    bob.device = Device(bob.store, on_event=heard.append, clock=lambda: bob.now)
    assert bob.device.decrypt_many(ALICE, alice.device.encrypt_many(BOB, [b"a", b"b"])) == [b"a", b"b"]
    assert [type(event) for event in heard].count(IdentityPinned) == 1
    heard.clear()
    with pytest.raises(MalformedMessage):
        bob.device.decrypt_many(ALICE, [EncryptedMessage(alice.send(bob).type, b"\x33")])
    assert heard == [MessageRefused(ALICE, "malformed-message")]


def test_a_batch_of_an_identity_that_is_not_trusted() -> None:
    """IDC-05: "no trust without a decision": all or nothing, for a batch too."""
    alice = Party(ALICE)
    bob = Party(BOB, IdentityPolicy(trust_on_first_use=False))
    alice.meet(bob)
    with bob.refuses("untrusted-identity"):
        bob.device.decrypt_many(ALICE, alice.device.encrypt_many(BOB, [b"a", b"b"]))
    stranger = Party(ALICE, seed="another")
    bob = Party(BOB)
    alice.meet(bob)
    stranger.meet(bob)
    with bob.refuses("untrusted-identity"):
        bob.device.decrypt_many(ALICE, [alice.send(bob), stranger.send(bob)])


def test_the_hook_stores_every_plaintext_of_a_batch_or_none() -> None:
    """ATM-09: "a message counts as read exactly if its plaintext is in the store"."""
    alice, bob = talking()
    stored: list[bytes] = []

    def hook(_: object, plaintext: bytes, rows: Any) -> None:
        rows.put(plaintext, plaintext)
        if plaintext == b"stop":
            raise ValueError
        stored.append(plaintext)

    bob.device = Device(bob.store, store_plaintext=hook, clock=lambda: bob.now)
    messages = alice.device.encrypt_many(BOB, [b"a", b"b", b"stop"])
    with pytest.raises(ApplicationCallbackFailed):
        bob.device.decrypt_many(ALICE, messages)
    assert bob.count(Table.APPLICATION) == 0
    bob.device.decrypt_many(ALICE, messages[:2])
    with bob.device.application_rows() as rows:
        assert rows.scan() == [(b"a", b"a"), (b"b", b"b")]


def test_a_batch_passes_over_so_many_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """BND-01: the work of a batch is bounded too; what it was refused for is read one by one."""
    monkeypatch.setattr(receiving, "MAX_KEPT_PER_BATCH", 5)
    alice, bob = talking()
    sent = alice.device.encrypt_many(BOB, [b"%d" % number for number in range(9)])
    before = bob.store.snapshot()
    with pytest.raises(WorkLimitExceeded, match="one by one"):
        bob.device.decrypt_many(ALICE, [sent[3], sent[7]])
    assert bob.store.snapshot() == before
    assert bob.device.decrypt_many(ALICE, [sent[3], sent[6]]) == [b"3", b"6"]
    assert bob.device.decrypt(ALICE, sent[8]) == b"8"
    assert bob.device.decrypt_many(ALICE, sent[:3]) == [b"0", b"1", b"2"]


@pytest.mark.parametrize("batch", [[], (), [b"x"] * (MAX_BATCH + 1), b"text", None, {b"a"}, iter([b"a"])])
def test_wrong_batches_are_refused(batch: Any) -> None:
    alice, _ = met()
    for call in (alice.device.encrypt_many, alice.device.decrypt_many):
        with alice.refuses("invalid-argument"):
            call(BOB, batch)


def test_wrong_members_are_refused() -> None:
    alice, bob = met()
    for wrong in ("text", bytearray(b"text"), None):
        with alice.refuses("invalid-argument"):
            alice.device.encrypt_many(BOB, [b"fine", wrong])  # type: ignore[list-item]
        with pytest.raises(InvalidArgument):
            bob.device.decrypt_many(ALICE, [alice.send(bob), wrong])  # type: ignore[list-item]
    with alice.refuses("message-too-large"):
        alice.device.encrypt_many(BOB, [bytes(300_000)])
    with pytest.raises(NoSession):
        bob.device.encrypt_many(ALICE, [b"text"])


def test_the_largest_batch() -> None:
    """BND-02: the limit itself is allowed."""
    alice, bob = talking()
    messages = alice.device.encrypt_many(BOB, [b""] * MAX_BATCH)
    assert bob.device.decrypt_many(ALICE, messages) == [b""] * MAX_BATCH


def test_a_batch_that_is_undone_is_told() -> None:
    """Messages that were read before the one that is refused are not read: all can be read again."""
    alice, bob = talking()
    told: list[Event] = []
    device = Device(bob.store, on_event=told.append)
    good = [alice.send(bob, b"%d" % number) for number in range(3)]
    with pytest.raises(DuplicateMessage):
        device.decrypt_many(ALICE, [good[0], good[1], good[0]])
    assert [event for event in told if isinstance(event, MessagesRolledBack)] == [MessagesRolledBack(ALICE, 2)]
    assert device.decrypt_many(ALICE, good) == [b"0", b"1", b"2"]
