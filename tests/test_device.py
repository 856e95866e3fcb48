"""The public API: conversations, refusals that change nothing, identities, and what a store's trouble does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import pawl
from pawl import (
    Device,
    EncryptedMessage,
    IdentityPolicy,
    MemoryStore,
    MessageType,
    PreKeyBundle,
    ProtocolAddress,
    ProtocolError,
    PublicKey,
    SQLiteStore,
)
from pawl.crypto import cbc, kdf
from pawl.errors import CorruptRecord, StorageError
from pawl.limits import MAX_COUNTER, MAX_PLAINTEXT_BYTES, MAX_PREKEY_ID, MAX_UNACKNOWLEDGED_SECONDS
from pawl.session import double_ratchet, prekeys, rows
from pawl.session.prekeys import LOCAL_KEY, id_key
from pawl.session.rows import address_key
from pawl.storage.contract import Row, Table, Transaction
from pawl.wire import records
from pawl.wire.messages import decode_prekey_message, decode_signal_message, encode_prekey_message, encode_signal_body
from tests.devices import (
    ALICE,
    BOB,
    LOW_ORDER,
    ORDER_4,
    Party,
    Random,
    Script,
    advanced_sender,
    flipped,
    met,
    party_pair,
    prekey,
    signal,
    spliced,
    talk,
    talking,
    with_counter,
)
from tests.labels import label

CAROL = ProtocolAddress("carol", 1)


# -- a device ---------------------------------------------------------------------------------------------------------


def test_few_names() -> None:
    """The public names are those in `pawl.__all__`, and all of them are there."""
    assert sorted(pawl.__all__) == pawl.__all__
    assert all(hasattr(pawl, name) for name in pawl.__all__)


def test_a_device_is_what_its_store_says() -> None:
    """A new store gets an identity and a registration id; an old one keeps both, and draws nothing."""
    store = MemoryStore()
    new = Device(store, rng=Script(bytes(range(32)), (4711).to_bytes(2, "big")))
    assert new.registration_id == 4712
    again = Device(store, rng=Script())
    assert (again.identity_key, again.registration_id) == (new.identity_key, new.registration_id)
    assert new.identity_key != Device(MemoryStore()).identity_key


@pytest.mark.parametrize(("drawn", "expected"), [(0, 1), (16379, 16380), (16380, 1), (65535, 16)])
def test_registration_ids(drawn: int, expected: int) -> None:
    """Wire facts: a registration id has 14 bits; ours are 1 to 16380."""
    device = Device(MemoryStore(), rng=Script(bytes(range(32)), drawn.to_bytes(2, "big")))
    assert device.registration_id == expected


def test_bundles() -> None:
    """X3DH, section 3.2: one signed prekey for all bundles, and in each a one-time prekey of its own, from id 1 on."""
    _, bob = party_pair()
    bundles = [
        bob.device.prekey_bundle(device_id=7),
        bob.device.prekey_bundle(),
        bob.device.prekey_bundle(one_time=False),
    ]
    assert [bundle.prekey_id for bundle in bundles] == [1, 2, None]
    assert [bundle.device_id for bundle in bundles] == [7, 1, 1]
    assert {bundle.signed_prekey_id for bundle in bundles} == {1}
    assert len({bundle.signed_prekey for bundle in bundles}) == 1
    assert len({bundle.prekey for bundle in bundles}) == 3
    for bundle in bundles:
        bundle.verify()
        assert bundle.identity_key == bob.device.identity_key
        assert bundle.registration_id == bob.device.registration_id
    assert bob.restarted().prekey_bundle().prekey_id == 3


def put_local(party: Party, **change: int) -> None:
    local = records.decode_local_identity(party.store.snapshot()[Table.LOCAL][LOCAL_KEY].value)
    party.put(Table.LOCAL, LOCAL_KEY, records.encode_local_identity(replace(local, **change)))


def test_prekey_ids_begin_again_after_the_last() -> None:
    """An id that is still held is passed over; after 2^24 - 1 comes the first free one from 1 on."""
    _, bob = party_pair()
    assert [bob.device.prekey_bundle().prekey_id for _ in range(2)] == [1, 2]
    put_local(bob, next_prekey_id=MAX_PREKEY_ID)
    assert [bob.device.prekey_bundle().prekey_id for _ in range(2)] == [MAX_PREKEY_ID, 3]
    put_local(bob, next_prekey_id=2)
    assert bob.device.prekey_bundle().prekey_id == 4


@pytest.mark.parametrize("one_time", [True, False])
@pytest.mark.parametrize("restart", [False, True])
def test_conversation(one_time: bool, restart: bool) -> None:
    """Both sides talk in both roles over several ratchet steps, out of order too, and across restarts."""
    alice, bob = met(one_time=one_time)
    for number in range(6):
        sender, receiver = (alice, bob) if number % 2 == 0 else (bob, alice)
        texts = [b"%d.%d" % (number, i) for i in range(4)]
        messages = [sender.send(receiver, text) for text in texts]
        assert messages[0].type is (MessageType.PREKEY if number == 0 else MessageType.SIGNAL)
        for i in (2, 0, 3, 1):
            if restart:
                sender.restarted()
                receiver.restarted()
            assert receiver.take(sender, messages[i]) == texts[i]
    assert alice.kept() == bob.kept() == []


def test_plaintext_lengths() -> None:
    """Nothing and the longest plaintext go through; one byte more is refused and spends no counter."""
    alice, bob = talking()
    for length in (0, MAX_PLAINTEXT_BYTES):
        assert bob.take(alice, alice.send(bob, bytes(length))) == bytes(length)
    with alice.refuses("message-too-large"):
        alice.send(bob, bytes(MAX_PLAINTEXT_BYTES + 1))


def test_has_session() -> None:
    """A session is there once it was established or received, under the pinned identity, for that very device."""
    alice, bob = met()
    assert alice.device.has_session(BOB)
    assert not alice.device.has_session(ProtocolAddress("bob", 2))
    assert not bob.device.has_session(ALICE)
    talk(alice, bob)
    assert bob.device.has_session(ALICE)
    bob.device.trust_identity("alice", bob.device.identity_key)
    assert not bob.device.has_session(ALICE)


def test_addresses_do_not_run_into_each_other() -> None:
    """Names that begin alike, and devices of one name, have sessions of their own; the identity is the name's."""
    alice, bob = party_pair()
    others = [
        ProtocolAddress("bob", 2),
        ProtocolAddress("bo", 98),
        ProtocolAddress("b" * 258, 1),
        ProtocolAddress("b", 1),
    ]
    keys = [address_key(each) for each in (BOB, *others)]
    assert not any(one != other and one.startswith(other) for one in keys for other in keys)
    alice.meet(bob)
    for other in others:
        assert not alice.device.has_session(other)
        alice.device.establish(other, bob.device.prekey_bundle())
    assert alice.count(Table.SESSION) == alice.count(Table.SESSION_INDEX) == 5
    assert alice.count(Table.IDENTITY) == 4


# -- refusals, each of which changes nothing --------------------------------------------------------------------------


def bad_padding(alice: Party, bob: Party) -> EncryptedMessage:
    """Alice's next message with a body that is authenticated, and not padded as it must be."""
    session = alice.session(bob)
    cipher_key, mac_key, iv = kdf.message_keys(double_ratchet.send(session)[1])
    body = encode_signal_body(
        ratchet_key=session.sending.ratchet.public,
        counter=session.sending.counter,
        previous_counter=session.previous_counter,
        ciphertext=cbc.encrypt(cipher_key, iv, bytes(16))[:16],
    )
    sender, receiver = session.local_identity.serialize(), session.remote_identity.serialize()
    return signal(body + kdf.message_mac(mac_key, sender, receiver, body))


def far_ahead(alice: Party, bob: Party, steps: int) -> EncryptedMessage:
    """Alice's message after `steps` others that nobody wrote down."""
    alice.put_session(bob, advanced_sender(alice.session(bob), steps, double_ratchet.send))
    return alice.send(bob)


def with_ratchet_key(message: EncryptedMessage, key: PublicKey) -> EncryptedMessage:
    return spliced(message, decode_signal_message(message.serialized).ratchet_key.data, key.data)


def delivered(alice: Party, bob: Party) -> EncryptedMessage:
    message = alice.send(bob)
    bob.take(alice, message)
    return message


SIGNAL_REFUSALS: dict[str, tuple[str, Callable[[Party, Party], EncryptedMessage]]] = {
    "empty": ("malformed-message", lambda a, b: signal(b"")),
    "truncated": ("malformed-message", lambda a, b: signal(a.send(b).serialized[:30])),
    "oversized": ("message-too-large", lambda a, b: signal(bytes(512 * 1024 + 1))),
    "version": ("unknown-version", lambda a, b: signal(b"\x44" + a.send(b).serialized[1:])),
    "a prekey message told to be a signal message": ("malformed-message", lambda a, b: signal(first(a, b).serialized)),
    "a signal message told to be a prekey message": ("malformed-message", lambda a, b: prekey(a.send(b).serialized)),
    "low-order ratchet key": ("invalid-key", lambda a, b: with_ratchet_key(a.send(b), LOW_ORDER)),
    "unknown ratchet key": ("bad-mac", lambda a, b: with_ratchet_key(a.send(b), PublicKey(bytes([9]) + bytes(31)))),
    "tampered MAC": ("bad-mac", lambda a, b: flipped(a.send(b))),
    "tampered body": ("bad-mac", lambda a, b: flipped(a.send(b), -9)),
    "wrong padding": ("invalid-ciphertext", bad_padding),
    "duplicate": ("duplicate-message", delivered),
    "too far ahead": ("too-far-ahead", lambda a, b: far_ahead(a, b, 25_001)),
}


def first(alice: Party, bob: Party) -> EncryptedMessage:
    """A prekey message of a new session."""
    alice.meet(bob)
    return alice.send(bob)


@pytest.mark.parametrize("name", SIGNAL_REFUSALS)
def test_refused_signal_messages(name: str) -> None:
    """CTR-05: a refused message leaves everything as it was, and the conversation goes on."""
    code, make = SIGNAL_REFUSALS[name]
    alice, bob = talking()
    message = make(alice, bob)
    for _ in range(2):
        with bob.refuses(code):
            bob.take(alice, message)
    if code == "too-far-ahead":
        # That gap is there to stay: a new session bridges it.
        bob.meet(alice)
        talk(bob, alice)
    else:
        talk(alice, bob)


@pytest.mark.many_steps
def test_jump_of_25000_is_accepted() -> None:
    """BND-01: one less than what is refused above is accepted; of the 25,000 keys 2,000 are kept."""
    alice, bob = talking()
    assert bob.take(alice, far_ahead(alice, bob, 25_000)) == b"text"
    assert len(bob.kept()) == 2_000
    talk(alice, bob)


def test_no_session() -> None:
    """Without a session nothing is encrypted, and no signal message decrypted."""
    alice, bob = talking()
    message = alice.send(bob)
    with bob.refuses("no-session"):
        bob.device.decrypt(CAROL, message)
    with bob.refuses("no-session"):
        bob.device.encrypt(CAROL, b"text")
    # The pinned identity is the name's, the session the device's.
    with bob.refuses("no-session"):
        bob.device.encrypt(ProtocolAddress("alice", 2), b"text")


def test_stale_session() -> None:
    """Wire facts, "Limits": an initiator without an answer sends for 30 days, not longer; an answer ends that."""
    alice, bob = met()
    answered = alice.send(bob)
    alice.now += MAX_UNACKNOWLEDGED_SECONDS
    alice.send(bob)
    alice.now += 1
    with alice.refuses("stale-session"):
        alice.send(bob)
    bob.take(alice, answered)
    alice.take(bob, bob.send(alice))
    talk(alice, bob)


def test_counter_exhausted() -> None:
    """CTR-01: after the counter 2^32 - 1 nothing is sent on that chain; the next ratchet step brings a new one."""
    alice, bob = talking()
    alice.put_session(bob, with_counter(alice.session(bob), MAX_COUNTER))
    assert decode_signal_message(alice.send(bob).serialized).counter == MAX_COUNTER
    with alice.refuses("counter-exhausted"):
        alice.send(bob)
    alice.take(bob, bob.send(alice))
    assert bob.take(alice, alice.send(bob)) == b"text"


@pytest.mark.many_steps
def test_work_limit() -> None:
    """BND-01: sessions without number do not multiply the work that one message causes."""
    alice, bob = talking()
    for _ in range(30):
        bob.meet(alice)
    junk = with_ratchet_key(far_ahead(alice, bob, 2_000), PublicKey(bytes([9]) + bytes(31)))
    with bob.refuses("work-limit-exceeded"):
        bob.take(alice, junk)


# -- prekey messages --------------------------------------------------------------------------------------------------


def rebuilt(original: EncryptedMessage, **change: Any) -> EncryptedMessage:
    """A prekey message with other outer fields around the same inner message."""
    parsed = decode_prekey_message(original.serialized)
    fields = {
        "registration_id": parsed.registration_id,
        "prekey_id": parsed.prekey_id,
        "signed_prekey_id": parsed.signed_prekey_id,
        "base_key": parsed.base_key,
        "identity_key": parsed.identity_key,
        "message": parsed.message.authenticated + parsed.message.mac,
    }
    return prekey(encode_prekey_message(**(fields | change)))


def authenticated(message: EncryptedMessage) -> bytes:
    """What the MAC inside a prekey message is over."""
    return decode_prekey_message(message.serialized).message.authenticated


PREKEY_REFUSALS: dict[str, tuple[str, Callable[[EncryptedMessage, Party], EncryptedMessage]]] = {
    "truncated": ("malformed-message", lambda m, b: prekey(m.serialized[:-4])),
    "version": ("unknown-version", lambda m, b: prekey(b"\x44" + m.serialized[1:])),
    "unknown signed prekey": ("unknown-signed-prekey", lambda m, b: rebuilt(m, signed_prekey_id=2)),
    "unknown one-time prekey": ("unknown-prekey", lambda m, b: rebuilt(m, prekey_id=2)),
    "prekey id 0 is not an absent one": ("unknown-prekey", lambda m, b: rebuilt(m, prekey_id=0)),
    "one-time prekey left out": ("bad-mac", lambda m, b: rebuilt(m, prekey_id=None)),
    "other base key": ("bad-mac", lambda m, b: rebuilt(m, base_key=b.device.identity_key)),
    "low-order base key": ("invalid-key", lambda m, b: rebuilt(m, base_key=ORDER_4)),
    "other identity": ("bad-mac", lambda m, b: rebuilt(m, identity_key=b.device.identity_key)),
    "low-order identity": ("invalid-key", lambda m, b: rebuilt(m, identity_key=LOW_ORDER)),
    "tampered MAC": ("bad-mac", lambda m, b: rebuilt(m, message=authenticated(m) + bytes(8))),
}


@pytest.mark.parametrize("name", PREKEY_REFUSALS)
def test_refused_prekey_messages(name: str) -> None:
    """CTR-05, IDC-06: a refused prekey message pins nothing and consumes no prekey; the true one is then accepted."""
    code, change = PREKEY_REFUSALS[name]
    alice, bob = met()
    message = alice.send(bob)
    with bob.refuses(code):
        bob.take(alice, change(message, bob))
    assert bob.device.pinned_identity("alice") is None
    assert bob.take(alice, message) == b"text"
    talk(alice, bob)


@pytest.mark.many_steps
def test_first_message_too_far_ahead() -> None:
    """BND-01: the limits hold for the message inside a prekey message too."""
    alice, bob = met()
    with bob.refuses("too-far-ahead"):
        bob.take(alice, far_ahead(alice, bob, 25_001))


def test_first_message_out_of_order() -> None:
    """CTR-04: the prekey messages before the first answer arrive in any order."""
    alice, bob = met()
    messages = [alice.send(bob, b"%d" % i) for i in range(5)]
    for i in (3, 1, 4, 0, 2):
        assert bob.take(alice, messages[i]) == b"%d" % i
    assert bob.kept() == []
    assert len(bob.base_keys(alice)) == 1
    talk(alice, bob)


def test_registration_id_is_not_authenticated() -> None:
    """PAR-04: the protocol does not authenticate the registration id; a changed one does no harm."""
    alice, bob = met()
    assert bob.take(alice, rebuilt(alice.send(bob), registration_id=99)) == b"text"
    talk(alice, bob)


def test_replay_with_one_time_prekey() -> None:
    """CTR-06, KEY-03: a replay builds nothing: a duplicate while the session is there, afterwards an unknown prekey."""
    alice, bob = met()
    assert bob.count(Table.PREKEY) == 1
    message = delivered(alice, bob)
    assert bob.count(Table.PREKEY) == 0
    with bob.refuses("duplicate-message"):
        bob.take(alice, message)
    lose_sessions(bob, alice)
    with bob.refuses("unknown-prekey"):
        bob.take(alice, message)


def test_replay_without_one_time_prekey() -> None:
    """CTR-06: without one, signed prekey id and base key are remembered, whatever becomes of the session."""
    alice, bob = met(one_time=False)
    message, second = delivered(alice, bob), alice.send(bob)
    with bob.refuses("duplicate-message"):
        bob.take(alice, message)
    lose_sessions(bob, alice)
    # The second message would build the very same session again.
    for replayed in (message, second):
        with bob.refuses("replayed-prekey-message"):
            bob.take(alice, replayed)
    # It is no other session because another device is said to have sent it.
    with bob.refuses("replayed-prekey-message"):
        bob.device.decrypt(ProtocolAddress("alice", 2), message)


def lose_sessions(party: Party, other: Party) -> None:
    """The session records with `other` are gone."""
    for base_key in party.base_keys(other):
        party.put(Table.SESSION, address_key(other.address) + base_key, None)
    party.put(Table.SESSION_INDEX, address_key(other.address), None)


def test_replay_after_eviction() -> None:
    """CTR-06: the same after the session was pushed out of the archive by newer ones."""
    alice, bob = met(one_time=False)
    message = delivered(alice, bob)
    for _ in range(41):
        bob.meet(alice)
    assert decode_prekey_message(message.serialized).base_key.data not in bob.base_keys(alice)
    with bob.refuses("replayed-prekey-message"):
        bob.take(alice, message)


def test_seen_base_keys_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """CTR-06: the memory of base keys is bounded; when it is full, new ones are refused by name, replays as replays."""
    monkeypatch.setattr(prekeys, "MAX_SEEN_BASE_KEYS", 2)
    alice, bob = party_pair()
    seen = []
    for _ in range(2):
        alice.meet(bob, one_time=False)
        seen.append(delivered(alice, bob))
    lose_sessions(bob, alice)
    alice.meet(bob, one_time=False)
    with bob.refuses("seen-base-keys-full"):
        bob.take(alice, alice.send(bob))
    with bob.refuses("replayed-prekey-message"):
        bob.take(alice, seen[0])
    # Messages with a one-time prekey need no memory.
    alice.meet(bob)
    talk(alice, bob)


def test_one_time_prekey_serves_one_session() -> None:
    """KEY-03: of two sessions made from one bundle, one comes into being; the other is refused and changes nothing."""
    alice, bob = party_pair()
    carol = Party(CAROL)
    bundle = bob.device.prekey_bundle()
    alice.device.establish(BOB, bundle)
    carol.device.establish(BOB, bundle)
    assert bob.take(alice, alice.send(bob)) == b"text"
    with bob.refuses("unknown-prekey"):
        bob.take(carol, carol.send(bob))
    carol.meet(bob)
    talk(carol, bob)


def test_one_time_prekey_serves_one_of_many_threads() -> None:
    """KEY-03: also when the messages that name it arrive at once."""
    bob = Party(BOB)
    bundle = bob.device.prekey_bundle()
    senders = [Party(ProtocolAddress(f"sender {i}", 1)) for i in range(8)]
    for sender in senders:
        sender.device.establish(BOB, bundle)
    messages = [sender.send(bob) for sender in senders]
    outcomes: list[str] = []

    def take(sender: Party, message: EncryptedMessage) -> None:
        outcomes.append(outcome(lambda: bob.take(sender, message)))

    run_at_once([lambda s=s, m=m: take(s, m) for s, m in zip(senders, messages, strict=True)])
    assert sorted(outcomes) == ["accepted", *["unknown-prekey"] * 7]
    assert bob.count(Table.SESSION) == bob.count(Table.IDENTITY) == 1


def outcome(call: Callable[[], object]) -> str:
    """The code with which `call` is refused, or "accepted"."""
    try:
        call()
    except ProtocolError as error:
        return error.code
    return "accepted"


def run_at_once(jobs: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# -- several sessions with one address --------------------------------------------------------------------------------


def test_simultaneous_initiation() -> None:
    """X3DH and wire facts: both establish before hearing from the other; everything sent arrives, and both go on."""
    alice, bob = party_pair()
    alice.meet(bob)
    bob.meet(alice)
    crossing = [(alice, bob, alice.send(bob, b"1")), (bob, alice, bob.send(alice, b"2"))]
    crossing += [(alice, bob, alice.send(bob, b"3")), (bob, alice, bob.send(alice, b"4"))]
    for (sender, receiver, message), text in zip(crossing, (b"1", b"2", b"3", b"4"), strict=True):
        assert receiver.take(sender, message) == text
    assert len(alice.base_keys(bob)) == len(bob.base_keys(alice)) == 2
    for _ in range(5):
        talk(alice, bob)
        talk(bob, alice)


def test_establishing_again() -> None:
    """A new session becomes the current one on both sides; messages of the old one that were under way still arrive."""
    alice, bob = talking()
    late = [alice.send(bob, b"late %d" % i) for i in range(3)]
    old = alice.base_keys(bob)[0]
    alice.meet(bob)
    new = alice.base_keys(bob)[0]
    assert alice.base_keys(bob) == (new, old)
    assert bob.take(alice, late[1]) == b"late 1"
    assert bob.take(alice, alice.send(bob, b"new")) == b"new"
    assert bob.base_keys(alice) == (new, old)
    # CTR-07: a late message of the older session is read, and changes nothing about the current one.
    assert bob.take(alice, late[0]) == b"late 0"
    assert bob.take(alice, late[2]) == b"late 2"
    assert bob.base_keys(alice) == (new, old)
    talk(bob, alice)
    assert alice.base_keys(bob) == (new, old)


def test_promotion_needs_a_new_chain() -> None:
    """A message on an archived session makes it current only if it starts a receiving chain there (CTR-07).

    Alice re-keys, but her new prekey message is lost; Bob goes on in the old session, and Alice follows him there.
    """
    alice, bob = talking()
    old = alice.base_keys(bob)[0]
    # Bob's chain is known to Alice, so his next message on it is a late one as far as she can tell.
    delivered(bob, alice)
    known = bob.send(alice)
    alice.meet(bob)
    new = alice.base_keys(bob)[0]
    assert alice.take(bob, known) == b"text"
    assert alice.base_keys(bob) == (new, old)
    # Now Bob hears from Alice in the old session, and answers: that starts a chain.
    alice.put(Table.SESSION_INDEX, address_key(BOB), records.encode_session_index((old, new)))
    bob.take(alice, alice.send(bob))
    alice.put(Table.SESSION_INDEX, address_key(BOB), records.encode_session_index((new, old)))
    assert alice.take(bob, bob.send(alice)) == b"text"
    assert alice.base_keys(bob) == (old, new)
    talk(alice, bob)


def test_late_prekey_message_of_an_archived_session() -> None:
    """CTR-07: a late prekey message of an older session is read there; the current session stays the current one."""
    alice, bob = met()
    late = [alice.send(bob, b"0"), alice.send(bob, b"1")]
    assert bob.take(alice, late[1]) == b"1"
    old = bob.base_keys(alice)[0]
    alice.meet(bob)
    assert bob.take(alice, alice.send(bob)) == b"text"
    new = bob.base_keys(alice)[0]
    assert bob.take(alice, late[0]) == b"0"
    assert bob.base_keys(alice) == (new, old)
    talk(bob, alice)


def test_archive_holds_40_sessions() -> None:
    """BND-02: one current session and 40 archived ones; the oldest goes, with the keys kept for it."""
    alice, bob = talking()
    delivered(alice, bob)
    skipped = alice.send(bob)
    bob.take(alice, alice.send(bob))
    oldest = bob.base_keys(alice)[0]
    assert len(bob.kept()) == 1
    for number in range(40):
        bob.meet(alice)
        assert len(bob.base_keys(alice)) == bob.count(Table.SESSION) == number + 2
    assert bob.base_keys(alice)[-1] == oldest
    assert bob.take(alice, skipped) == b"text"
    bob.meet(alice)
    assert len(bob.base_keys(alice)) == bob.count(Table.SESSION) == 41
    assert oldest not in bob.base_keys(alice)
    assert address_key(ALICE) + oldest not in bob.store.snapshot()[Table.SESSION]
    with bob.refuses("bad-mac"):
        bob.take(alice, alice.send(bob))
    talk(bob, alice)


def test_evicted_session_takes_its_kept_keys_along() -> None:
    """BND-02: the kept keys of an evicted session are deleted, those of other sessions stay."""
    alice, bob = talking()
    for _ in range(2):
        alice.send(bob)
    bob.take(alice, alice.send(bob))
    bob.meet(alice)
    talk(bob, alice)
    alice.send(bob)
    bob.take(alice, alice.send(bob))
    before = bob.kept()
    assert len(before) == 3
    for _ in range(39):
        bob.meet(alice)
    assert bob.kept() == before
    bob.meet(alice)
    after = bob.kept()
    assert len(after) == 1
    assert set(after) < set(before)


@pytest.mark.many_steps
def test_limits_through_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """BND-02: in a long disorderly conversation there are never more rows of kept keys than the limits allow.

    Small limits stand in for the real ones, so that all of them are reached.
    """
    monkeypatch.setattr(double_ratchet, "MAX_SKIPPED_KEYS_PER_CHAIN", 4)
    monkeypatch.setattr(double_ratchet, "MAX_SKIPPED_KEYS_PER_SESSION", 9)
    monkeypatch.setattr(double_ratchet, "MAX_RECEIVING_CHAINS", 3)
    alice, bob = talking()
    chance = Random("chance")
    waiting: list[tuple[Party, Party, EncryptedMessage]] = []
    accepted, refused, most = 0, 0, 0
    for _ in range(400):
        sender, receiver = (alice, bob) if chance(1)[0] % 2 else (bob, alice)
        waiting.append((sender, receiver, sender.send(receiver)))
        if chance(1)[0] % 5 < 3:
            sender, receiver, message = waiting.pop(chance(1)[0] % len(waiting))
            code = outcome(partial(receiver.take, sender, message))
            assert code in {"accepted", "duplicate-message", "bad-mac"}
            accepted += code == "accepted"
            refused += code != "accepted"
        for one, other in ((alice, bob), (bob, alice)):
            session = one.session(other)
            prefix = address_key(other.address) + session.base_key.data
            assert len(session.receiving) <= 3
            for chain in session.receiving:
                there = sum(key.startswith(prefix + chain.ratchet_key.data) for key in one.kept())
                assert there <= chain.kept <= 4
            assert len(one.kept()) <= sum(chain.kept for chain in session.receiving) <= 9
            most = max(most, len(one.kept()))
    # The run reached what it is about.
    assert most == 9
    assert accepted > 50
    assert refused > 20


# -- identities -------------------------------------------------------------------------------------------------------


def test_pinned_after_authentication() -> None:
    """IDC-06: a received identity is pinned once its message is authenticated, an established one with its bundle."""
    alice, bob = met()
    assert alice.device.pinned_identity("bob") == bob.device.identity_key
    assert bob.device.pinned_identity("alice") is None
    bob.take(alice, alice.send(bob))
    assert bob.device.pinned_identity("alice") == alice.device.identity_key
    assert bob.restarted().pinned_identity("alice") == alice.device.identity_key


def test_another_identity_is_refused() -> None:
    """IDC-01: once an identity is pinned, nothing is accepted from or established with the name under another one.

    The pin is the name's: it holds for its other devices too.
    """
    alice, bob = talking()
    impostor = Party(BOB, seed="impostor")
    with alice.refuses("untrusted-identity"):
        alice.meet(impostor)
    with alice.refuses("untrusted-identity"):
        alice.device.establish(ProtocolAddress("bob", 2), impostor.device.prekey_bundle())
    impostor.meet(alice)
    for address in (BOB, ProtocolAddress("bob", 2)):
        message = impostor.send(alice)
        with alice.refuses("untrusted-identity"):
            alice.device.decrypt(address, message)
        # The question of identity comes before any work: the message need not be authentic for this answer.
        with alice.refuses("untrusted-identity"):
            alice.device.decrypt(address, rebuilt(message, prekey_id=None))
    talk(alice, bob)


def test_outer_identity_is_the_sessions() -> None:
    """IDC-04: a repeated prekey message with another outer identity is refused, though its inner message is right."""
    alice, bob = met()
    delivered(alice, bob)
    message = alice.send(bob)
    with bob.refuses("untrusted-identity"):
        bob.take(alice, rebuilt(message, identity_key=bob.device.identity_key))
    assert bob.take(alice, message) == b"text"


def test_replaced_identity() -> None:
    """IDC-08: after an identity is replaced by decision, sessions made under the old one are no longer candidates."""
    alice, bob = met()
    repeated = [alice.send(bob) for _ in range(2)]
    bob.take(alice, repeated[0])
    late = delivered(alice, bob), alice.send(bob)
    alice.take(bob, bob.send(alice))
    late = alice.send(bob)
    renewed = Party(ALICE, seed="renewed")
    bob.device.trust_identity("alice", renewed.device.identity_key)
    assert bob.device.pinned_identity("alice") == renewed.device.identity_key
    with bob.refuses("no-session"):
        bob.send(alice)
    with bob.refuses("no-session"):
        bob.take(alice, late)
    with bob.refuses("untrusted-identity"):
        bob.take(alice, repeated[1])
    with bob.refuses("untrusted-identity"):
        bob.take(alice, rebuilt(repeated[1], identity_key=renewed.device.identity_key))
    with bob.refuses("untrusted-identity"):
        bob.meet(alice)
    # Under the new identity a session can start, and the old ones do not get in its way.
    renewed.meet(bob)
    talk(renewed, bob)
    assert len(bob.base_keys(renewed)) == 2
    with bob.refuses("bad-mac"):
        bob.take(alice, late)
    # The decision can be taken back, with the sessions that belong to it.
    bob.device.trust_identity("alice", alice.device.identity_key)
    assert bob.take(alice, late) == b"text"
    talk(alice, bob)


def test_trusting_beforehand() -> None:
    """IDC-02: a decision recorded before the first message stands for the first use; another key stays out."""
    strict = IdentityPolicy(trust_on_first_use=False)
    alice, bob = Party(ALICE), Party(BOB, strict)
    alice.meet(bob)
    bob.device.trust_identity("alice", alice.device.identity_key)
    talk(alice, bob)
    mallory = Party(CAROL)
    mallory.meet(bob)
    with bob.refuses("untrusted-identity"):
        bob.take(alice, mallory.send(bob))


def test_no_trust_on_first_use() -> None:
    """IDC-02: without trust on first use and without a decision, no session comes into being in either role."""
    strict = IdentityPolicy(trust_on_first_use=False)
    alice, bob = Party(ALICE, strict), Party(BOB, strict)
    bundle = bob.device.prekey_bundle()
    with alice.refuses("untrusted-identity"):
        alice.device.establish(BOB, bundle)
    stranger = Party(CAROL)
    stranger.meet(bob)
    message = stranger.send(bob)
    with bob.refuses("untrusted-identity"):
        bob.take(stranger, message)
    # Junk is not even a question of trust.
    with bob.refuses("bad-mac"):
        bob.take(stranger, rebuilt(message, message=authenticated(message) + bytes(8)))


class Asked:
    """A first-use callback that notes what it is asked and answers as it is told."""

    def __init__(self, answer: Callable[[], Any]) -> None:
        self.answer = answer
        self.questions: list[tuple[str, PublicKey]] = []

    def __call__(self, name: str, key: PublicKey) -> bool:
        self.questions.append((name, key))
        answer: bool = self.answer()
        return answer


def asking(address: ProtocolAddress, answer: Callable[[], Any]) -> tuple[Party, Asked]:
    asked = Asked(answer)
    # The callback decides, whatever trust_on_first_use says.
    return Party(address, IdentityPolicy(trust_on_first_use=False, on_first_use=asked)), asked


def test_callback_approves() -> None:
    """IDC-02: the callback is asked once, about that very name and key, and only when there is a first use."""
    (alice, alice_asked), (bob, bob_asked) = asking(ALICE, lambda: True), asking(BOB, lambda: True)
    alice.meet(bob)
    talk(alice, bob)
    alice.meet(bob)
    talk(alice, bob)
    assert alice_asked.questions == [("bob", bob.device.identity_key)]
    assert bob_asked.questions == [("alice", alice.device.identity_key)]


@pytest.mark.parametrize("answer", [False, None, 1, "yes"], ids=str)
def test_callback_declines(answer: object) -> None:
    """IDC-02: anything but True is a no; nothing is pinned, and the question comes again the next time."""
    (alice, alice_asked), (bob, bob_asked) = asking(ALICE, lambda: answer), asking(BOB, lambda: answer)
    bundle = bob.device.prekey_bundle()
    for _ in range(2):
        with alice.refuses("untrusted-identity"):
            alice.device.establish(BOB, bundle)
    stranger = Party(CAROL)
    stranger.meet(bob)
    with bob.refuses("untrusted-identity"):
        bob.take(stranger, stranger.send(bob))
    assert len(alice_asked.questions) == 2
    assert bob_asked.questions == [("carol", stranger.device.identity_key)]
    assert bob.device.pinned_identity("carol") is None


def test_policy_by_itself() -> None:
    """A policy says the same outside a device: the default approves, a strict one does not."""
    key = Party(BOB).device.identity_key
    IdentityPolicy().decide("bob", None, key)
    with pytest.raises(ProtocolError) as caught:
        IdentityPolicy(trust_on_first_use=False).decide("bob", None, key)
    assert caught.value.code == "untrusted-identity"
    assert IdentityPolicy().trusts_unasked
    assert not IdentityPolicy(on_first_use=lambda name, key: True).trusts_unasked


def test_callback_raises() -> None:
    """IDC-10: a callback that raises refuses; its exception is the refusal's cause, and the state is whole."""
    trouble = RuntimeError("no user at the screen")

    def answer() -> bool:
        raise trouble

    bob, _ = asking(BOB, answer)
    alice = Party(ALICE)
    alice.meet(bob)
    message = alice.send(bob)
    with bob.refuses("untrusted-identity") as caught:
        bob.take(alice, message)
    assert caught.value.__cause__ is trouble
    # Something like an interrupt goes through as it is, and changes nothing either.
    bob.policy = IdentityPolicy(on_first_use=interrupt)
    before = bob.store.snapshot()
    with pytest.raises(KeyboardInterrupt):
        bob.restarted().decrypt(ALICE, message)
    assert bob.store.snapshot() == before
    bob.policy = IdentityPolicy()
    assert bob.restarted().decrypt(ALICE, message) == b"text"


def interrupt(name: str, key: PublicKey) -> bool:
    raise KeyboardInterrupt


def test_callback_may_call_back() -> None:
    """IDC-10: the callback runs outside any transaction: it may use the store and every method of the device."""
    seen: list[object] = []

    def answer() -> bool:
        with bob.store.transaction():
            seen.append("a transaction of its own")
        seen.append(bob.device.pinned_identity("alice"))
        bob.meet(carol)
        bob.take(carol, carol.send(bob, b"meanwhile"))
        return True

    bob, asked = asking(BOB, answer)
    alice, carol = Party(ALICE), Party(CAROL)
    bob.device.trust_identity("carol", carol.device.identity_key)
    carol.meet(bob)
    alice.meet(bob)
    assert bob.take(alice, alice.send(bob)) == b"text"
    assert seen == ["a transaction of its own", None]
    assert len(asked.questions) == 1
    talk(alice, bob)
    talk(carol, bob)


def test_callback_decides_by_itself() -> None:
    """IDC-10: a callback that records a decision is heard: the same key goes through, another one is refused."""
    for same in (True, False):
        alice, other = Party(ALICE), Party(CAROL)
        key = (alice if same else other).device.identity_key
        parties: list[Party] = []
        bob, _ = asking(BOB, lambda parties=parties, key=key: parties[0].device.trust_identity("alice", key) or True)
        parties.append(bob)
        alice.meet(bob)
        message = alice.send(bob)
        if same:
            assert bob.take(alice, message) == b"text"
        else:
            with pytest.raises(ProtocolError) as caught:
                bob.take(alice, message)
            assert caught.value.code == "untrusted-identity"
            assert bob.count(Table.SESSION) == 0
            assert bob.count(Table.PREKEY) == 1
        assert bob.device.pinned_identity("alice") == key


def test_callback_that_handles_the_message_itself() -> None:
    """CTR-03: a callback that takes the same message meanwhile has its plaintext; the outer call is a duplicate."""
    taken: list[bytes] = []

    def answer() -> bool:
        bob.device.trust_identity("alice", alice.device.identity_key)
        taken.append(bob.take(alice, message))
        return True

    bob, _ = asking(BOB, answer)
    alice = Party(ALICE)
    alice.meet(bob)
    message = alice.send(bob)
    with pytest.raises(ProtocolError) as caught:
        bob.take(alice, message)
    assert caught.value.code == "duplicate-message"
    assert taken == [b"text"]


def test_callback_is_not_asked_about_junk() -> None:
    """IDC-06: an identity is asked about only after the message that carries it is authenticated."""
    bob, asked = asking(BOB, lambda: True)
    alice = Party(ALICE)
    alice.meet(bob)
    message = alice.send(bob)
    for _, change in PREKEY_REFUSALS.values():
        with pytest.raises(ProtocolError):
            bob.take(alice, change(message, bob))
    assert asked.questions == []


def test_declined_first_use_draws_no_randomness() -> None:
    """A prekey message that is declined draws nothing: the ratchet key comes after the answer."""
    bob, _ = asking(BOB, lambda: False)
    alice = Party(ALICE)
    alice.meet(bob)
    drawn = bob.random.drawn
    with bob.refuses("untrusted-identity"):
        bob.take(alice, alice.send(bob))
    assert bob.random.drawn == drawn


# -- wrong arguments --------------------------------------------------------------------------------------------------

WRONG: tuple[object, ...] = (None, 0, "text", b"bytes", ("alice", 1), bytearray(3), object())


def test_wrong_arguments() -> None:
    """A wrong type is refused as invalid-argument, whichever argument and method, and nothing is done."""
    alice, bob = talking()
    device: Any = alice.device
    bundle, message, key = bob.device.prekey_bundle(), bob.send(alice), bob.device.identity_key
    calls: list[Callable[[Any], object]] = [
        lambda wrong: device.establish(wrong, bundle),
        lambda wrong: device.establish(BOB, wrong),
        lambda wrong: device.encrypt(wrong, b"text"),
        lambda wrong: device.encrypt(BOB, wrong) if type(wrong) is not bytes else device.encrypt(wrong, wrong),
        lambda wrong: device.decrypt(wrong, message),
        lambda wrong: device.decrypt(BOB, wrong),
        lambda wrong: device.has_session(wrong),
        lambda wrong: device.trust_identity(wrong if type(wrong) is not str else b"bob", key),
        lambda wrong: device.trust_identity("bob", wrong),
        lambda wrong: device.pinned_identity(wrong if type(wrong) is not str else ""),
        lambda wrong: device.prekey_bundle(one_time=wrong),
        lambda wrong: device.prekey_bundle(device_id=wrong if type(wrong) is not int else 128),
        lambda wrong: Device(wrong),
        lambda wrong: Device(MemoryStore(), identity_policy=wrong),
        lambda wrong: Device(MemoryStore(), rng=wrong),
        lambda wrong: Device(MemoryStore(), clock=wrong),
        lambda wrong: IdentityPolicy(trust_on_first_use=wrong),
        lambda wrong: IdentityPolicy(on_first_use=wrong if wrong is not None else 0),
        lambda wrong: EncryptedMessage(MessageType.SIGNAL, wrong if type(wrong) is not bytes else None),
        lambda wrong: EncryptedMessage(wrong, b""),
    ]
    for call in calls:
        for wrong in WRONG:
            with alice.refuses("invalid-argument"):
                call(wrong)


@pytest.mark.parametrize("drawn", [b"", bytes(31), bytes(33), None, "x" * 32], ids=label)
def test_bad_randomness(drawn: Any) -> None:
    """A random source that returns anything but the bytes asked for is refused before a key is made of it."""
    alice, bob = talking()
    message = delivered(alice, bob), alice.take(bob, bob.send(alice)), alice.send(bob)
    broken = Device(bob.store, rng=lambda size: drawn)
    calls: list[Callable[[], object]] = [
        lambda: broken.establish(ALICE, alice.device.prekey_bundle()),
        lambda: broken.prekey_bundle(),
        lambda: broken.decrypt(ALICE, message[2]),
    ]
    for call in calls:
        with bob.refuses("invalid-argument"):
            call()
    empty = MemoryStore()
    with pytest.raises(ProtocolError) as caught:
        Device(empty, rng=lambda size: drawn)
    assert caught.value.code == "invalid-argument"
    assert not any(empty.snapshot().values())


@pytest.mark.parametrize("now", [None, -1, 2**63, 1.5, True, "now"], ids=repr)
def test_bad_clock(now: Any) -> None:
    """A clock that returns anything but whole seconds from 0 on is refused where the time is needed."""
    alice, bob = met()
    bundle = bob.device.prekey_bundle()
    alice.now = now
    with alice.refuses("invalid-argument"):
        alice.device.establish(BOB, bundle)
    with alice.refuses("invalid-argument"):
        alice.device.prekey_bundle()
    with alice.refuses("invalid-argument"):
        alice.send(bob)


def test_one_base_key_twice() -> None:
    """A random source that repeats itself cannot overwrite a session: the second one is refused as a conflict."""
    alice, bob = met()
    alice.random.drawn = 2
    with alice.refuses("conflict"):
        alice.device.establish(BOB, bob.device.prekey_bundle())


# -- the store --------------------------------------------------------------------------------------------------------


def corruptions(alice: Party, bob: Party) -> Iterator[tuple[str, Table, bytes, bytes | None]]:
    """Rows of Bob's store, each damaged in one way."""
    address = address_key(ALICE)
    other = bob.session(alice)
    yield "index", Table.SESSION_INDEX, address, b"junk"
    yield "session junk", Table.SESSION, address + other.base_key.data, b"junk"
    yield "session gone", Table.SESSION, address + other.base_key.data, None
    elsewhere = records.encode_session(other._replace(base_key=other.local_identity))
    yield "session of another key", Table.SESSION, address + other.base_key.data, elsewhere
    yield "identity", Table.IDENTITY, b"alice", b"junk"
    yield "kept key", Table.SKIPPED_KEY, bob.kept()[0], b"junk"


@pytest.mark.parametrize("number", range(6))
def test_corrupt_rows(number: int) -> None:
    """ATM-06: a damaged record is refused as corrupt-store, neither taken for absent nor overwritten."""
    alice, bob = talking()
    skipped = alice.send(bob)
    delivered(alice, bob)
    _, table, key, value = list(corruptions(alice, bob))[number]
    bob.put(table, key, value)
    for _ in range(2):
        with bob.refuses("corrupt-store"):
            bob.take(alice, skipped)
        bob.restarted()


@pytest.mark.parametrize("value", [b"junk", "other"], ids=["junk", "another one's place"])
@pytest.mark.parametrize("table", [Table.PREKEY, Table.SIGNED_PREKEY], ids=str)
def test_corrupt_prekeys(table: Table, value: bytes | str) -> None:
    """ATM-06: a damaged prekey, or one in another one's place, is refused and not consumed."""
    alice, bob = met()
    row = bob.store.snapshot()[table][id_key(1)]
    if table is Table.PREKEY:
        moved = records.encode_prekey(replace(records.decode_prekey(row.value), id=2))
    else:
        moved = records.encode_signed_prekey(replace(records.decode_signed_prekey(row.value), id=2))
    bob.put(table, id_key(1), value if isinstance(value, bytes) else moved)
    with bob.refuses("corrupt-store"):
        bob.take(alice, alice.send(bob))


@pytest.mark.parametrize("how", ["gone", "junk", "prekey id 0", "signed prekey id 0"])
def test_corrupt_local_row(how: str) -> None:
    """ATM-06: without a whole row of the device no prekey is made, and no new device takes its place."""
    _, bob = party_pair()
    bob.device.prekey_bundle()
    if how == "prekey id 0":
        put_local(bob, next_prekey_id=0)
    elif how == "signed prekey id 0":
        put_local(bob, next_signed_prekey_id=0)
    else:
        bob.put(Table.LOCAL, LOCAL_KEY, None if how == "gone" else b"junk")
    with bob.refuses("corrupt-store"):
        bob.device.prekey_bundle()
    if how in ("gone", "junk"):
        with bob.refuses("corrupt-store"):
            bob.restarted()


def test_used_keys_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """BND-02: what was used is not counted against the limits, though the session's own bound still has it.

    Each round skips two messages and reads them late. No key is dropped for a limit of three, nor at its end.
    """
    monkeypatch.setattr(double_ratchet, "MAX_SKIPPED_KEYS_PER_CHAIN", 3)
    monkeypatch.setattr(double_ratchet, "MAX_SKIPPED_KEYS_PER_SESSION", 3)
    alice, bob = talking()
    for _ in range(5):
        late = [alice.send(bob) for _ in range(2)]
        delivered(alice, bob)
        for message in late:
            bob.take(alice, message)
        assert bob.kept() == []
    oldest, *late = [alice.send(bob) for _ in range(4)]
    delivered(alice, bob)
    assert len(bob.kept()) == 3
    assert outcome(partial(bob.take, alice, oldest)) == "duplicate-message"
    for message in late:
        bob.take(alice, message)


def test_evicting_a_session_that_is_not_there() -> None:
    """ATM-06: an index that names a missing session is noticed when that one is to go."""
    alice, bob = talking()
    for _ in range(40):
        bob.meet(alice)
    bundle = alice.device.prekey_bundle()
    bob.put(Table.SESSION, address_key(ALICE) + bob.base_keys(alice)[-1], None)
    with bob.refuses("corrupt-store"):
        bob.device.establish(ALICE, bundle)


def test_closed_store() -> None:
    """A store that was closed is refused by name, whatever is asked of it."""
    alice, bob = talking()
    message = alice.send(bob)
    bob.store.close()
    for call in (lambda: bob.send(alice), lambda: bob.take(alice, message), lambda: bob.restarted()):
        with pytest.raises(ProtocolError) as caught:
            call()
        assert caught.value.code == "store-closed"


class Failing:
    """A store whose transactions fail at the `at`-th call, or at the commit (None)."""

    def __init__(self, inner: MemoryStore, at: int | None) -> None:
        self.inner = inner
        self.left = at
        self.failed = False

    def tick(self) -> None:
        if self.left == 0:
            self.failed = True
            raise StorageError("the disk is gone")
        if self.left is not None:
            self.left -= 1

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        with self.inner.transaction() as tx:
            yield _FailingTransaction(tx, self)
            self.tick()
            if self.left is None:
                self.failed = True
                raise StorageError("the disk is full")

    def close(self) -> None:
        self.inner.close()


class _FailingTransaction:
    def __init__(self, inner: Transaction, store: Failing) -> None:
        self.inner = inner
        self.store = store

    def __getattr__(self, name: str) -> Any:
        self.store.tick()
        return getattr(self.inner, name)


def operations(alice: Party, bob: Party) -> list[Callable[[Device], object]]:
    """What a device can do, as Bob; each fits the state that `prepared` leaves."""
    alice.send(bob)
    late = alice.send(bob)
    bob.take(alice, alice.send(bob))
    alice.take(bob, bob.send(alice))
    answer = alice.send(bob)
    carol, dave = Party(CAROL), Party(ProtocolAddress("dave", 1))
    carol.meet(bob)
    dave.meet(bob, one_time=False)
    from_carol, from_dave = carol.send(bob), dave.send(bob)
    bundle, carols = alice.device.prekey_bundle(), carol.device.prekey_bundle()
    return [
        lambda device: device.encrypt(ALICE, b"text"),
        lambda device: device.decrypt(ALICE, late),
        lambda device: device.decrypt(ALICE, answer),
        lambda device: device.decrypt(CAROL, from_carol),
        lambda device: device.decrypt(ProtocolAddress("dave", 1), from_dave),
        lambda device: device.establish(ALICE, bundle),
        lambda device: device.establish(CAROL, carols),
        lambda device: device.prekey_bundle(),
        lambda device: device.trust_identity("alice", carols.identity_key),
        lambda device: device.forget_session(ALICE),
        lambda device: device.generate_prekeys(3),
        lambda device: device.rotate_signed_prekey(),
        lambda device: device.maintain(top_up=20, rotate_after=0),
    ]


@pytest.mark.parametrize("table", [Table.SESSION, Table.SKIPPED_KEY])
def test_forgetting_what_is_damaged(table: Table) -> None:
    """ATM-06: damaged records are refused, until the application decides to be rid of them; then all goes on.

    `forget_session`: "Sessions whose records are damaged are deleted too, unread."
    """
    alice, bob = talking()
    messages = [alice.send(bob) for _ in range(150)]
    bob.take(alice, messages[-1])
    assert bob.count(Table.SKIPPED_KEY) > 140
    shelves = {each: dict(rows) for each, rows in bob.store.records().items()}
    # Every other one, so that there are more whole and more damaged ones than are deleted at a time.
    for number, (key, row) in enumerate(sorted(shelves[table].items())):
        if number % 2 == 0:
            shelves[table][key] = Row(row.value[:-1] + bytes([row.value[-1] ^ 1]), row.version)
    bob.store = MemoryStore(records=shelves, store_id=bob.store.store_id)
    bob.restarted()
    with pytest.raises(CorruptRecord):
        bob.take(alice, messages[0] if table is Table.SKIPPED_KEY else alice.send(bob))
    # Refused, and as it was.
    assert bob.store.records() == shelves
    bob.device.forget_session(ALICE)
    assert [bob.count(each) for each in (Table.SESSION, Table.SKIPPED_KEY, Table.SESSION_INDEX)] == [0, 0, 0]
    bob.meet(alice)
    assert alice.take(bob, bob.send(alice)) == b"text"


def test_a_damaged_record_without_a_version_stays() -> None:
    """Where not even the version is known there is no deleting by it: refused, not deleted unseen."""
    _, bob = talking()

    class Lost:
        """Its sessions cannot be told apart from damage."""

        def transaction(self) -> Any:
            return self._transaction()

        @contextmanager
        def _transaction(self) -> Iterator[Any]:
            with bob.store.transaction() as tx:
                yield LostTransaction(tx)

        def close(self) -> None:
            pass

    class LostTransaction:
        def __init__(self, tx: Transaction) -> None:
            self._tx = tx

        def scan(self, table: Table, prefix: bytes, *, limit: int | None = None) -> object:
            raise CorruptRecord("session: a version that no store writes", key=b"key")

        def __getattr__(self, name: str) -> Any:
            return getattr(self._tx, name)

    before = bob.store.snapshot()
    with pytest.raises(CorruptRecord):
        Device(Lost()).forget_session(ALICE)
    assert bob.store.snapshot() == before


@pytest.mark.parametrize("number", range(13))
def test_failing_store(number: int) -> None:
    """ATM-01, ATM-02: whichever call of the store fails, nothing is handed out and nothing has changed.

    Afterwards the same device does the same operation as if nothing had happened.
    """
    alice, bob = talking()
    operation = operations(alice, bob)[number]
    failures = 0
    for at in (None, *range(100)):
        failing = Failing(bob.store.fork(), None)
        failing.left = 10**6
        device = Device(failing, rng=Random("again"), clock=lambda: bob.now)
        failing.left = at
        before = failing.inner.snapshot()
        code = outcome(partial(operation, device))
        if not failing.failed:
            assert code == "accepted"
            break
        failures += 1
        assert code == "storage-error"
        assert failing.inner.snapshot() == before
        # Nothing that was not committed is remembered.
        failing.left = 10**6
        operation(device)
        assert failing.inner.snapshot() != before
    assert failures >= 3


def test_two_devices_on_one_store() -> None:
    """CTR-02: what one object remembers does not outlive what another one wrote: no counter is used twice."""
    alice, bob = talking()
    twins = [Device(bob.store), Device(bob.store)]
    sent = [twins[i % 2].encrypt(ALICE, b"%d" % i) for i in range(6)]
    chains = {decode_signal_message(each.serialized).ratchet_key for each in sent}
    assert len(chains) == 1
    counters = [decode_signal_message(each.serialized).counter for each in sent]
    assert counters == list(range(counters[0], counters[0] + 6))
    for i, message in enumerate(sent):
        assert alice.take(bob, message) == b"%d" % i
    incoming = [alice.send(bob, b"%d" % i) for i in range(4)]
    for i, message in enumerate(incoming):
        assert twins[i % 2].decrypt(ALICE, message) == b"%d" % i
        with bob.refuses("duplicate-message"):
            twins[1 - i % 2].decrypt(ALICE, message)


def test_threads() -> None:
    """CTR-01: threads that send at once never share a counter, and each message arrives once."""
    alice, bob = talking()
    sent: list[EncryptedMessage] = []
    run_at_once([lambda: sent.extend(alice.send(bob) for _ in range(40)) for _ in range(4)])
    counters = sorted(decode_signal_message(each.serialized).counter for each in sent)
    assert counters == list(range(counters[0], counters[0] + 160))
    taken: list[bytes] = []
    run_at_once([lambda i=i: taken.extend(bob.take(alice, each) for each in sent[i::4]) for i in range(4)])
    assert taken == [b"text"] * 160
    assert bob.kept() == []


def test_memo_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a device remembers between calls is bounded, and only saves time: with hardly any, all goes on."""
    monkeypatch.setattr(rows, "MAX_MEMO", 2)
    alice = Party(ALICE)
    others = [Party(ProtocolAddress(f"other {i}", 1)) for i in range(5)]
    for other in others:
        alice.meet(other)
    for _ in range(3):
        for other in others:
            talk(alice, other)
    memos = alice.device._memos
    for memo in (memos.sessions, memos.indexes, memos.identities):
        assert 0 < len(memo._held) <= 2


def test_memo_saves_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """BND-03: a device that goes on with what it wrote itself decodes no session again."""
    alice, bob = talking()

    def never(data: bytes) -> None:
        raise AssertionError

    for party in (alice, bob):
        monkeypatch.setattr(party.device._memos.sessions, "_decode", never)
    for _ in range(3):
        talk(alice, bob)
        assert bob.take(alice, alice.send(bob)) == b"text"


def test_evicted_session_is_forgotten() -> None:
    """KEY-04: a session that was deleted is not kept in memory either."""
    alice, bob = talking()
    oldest = address_key(ALICE) + bob.base_keys(alice)[0]
    for _ in range(40):
        bob.meet(alice)
    assert oldest in bob.device._memos.sessions._held
    bob.meet(alice)
    assert oldest not in bob.device._memos.sessions._held


def test_used_secrets_are_gone() -> None:
    """KEY-01, KEY-02: after sending and receiving, neither store can derive or find the message's seed again."""
    alice, bob = talking()
    alice_before = alice.session(bob)
    message = alice.send(bob)
    seed = double_ratchet.send(alice_before)[1]
    bob.take(alice, message)
    for party in (alice, bob):
        for shelf in party.store.snapshot().values():
            for row in shelf.values():
                assert isinstance(row, Row)
                assert seed not in row.value
                assert alice_before.sending.chain_key.data not in row.value
    with bob.refuses("duplicate-message"):
        bob.take(alice, message)


def test_sqlite_conversation(tmp_path: Path) -> None:
    """The README's example: two devices in two SQLite files, which live on when the files are opened again."""
    alice_at, bob_at = tmp_path / "alice.db", tmp_path / "bob.db"
    alice, bob = Device(SQLiteStore(alice_at)), Device(SQLiteStore(bob_at))
    bundle: PreKeyBundle = bob.prekey_bundle()
    alice.establish(BOB, bundle)
    assert bob.decrypt(ALICE, alice.encrypt(BOB, b"hello")) == b"hello"
    assert alice.decrypt(BOB, bob.encrypt(ALICE, b"hello yourself")) == b"hello yourself"
    late = [alice.encrypt(BOB, b"%d" % i) for i in range(3)]
    assert bob.decrypt(ALICE, late[2]) == b"2"
    for device in (alice, bob):
        device._store.close()
    alice, bob = Device(SQLiteStore(alice_at)), Device(SQLiteStore(bob_at))
    assert [bob.decrypt(ALICE, late[i]) for i in (1, 0)] == [b"1", b"0"]
    with pytest.raises(ProtocolError) as caught:
        bob.decrypt(ALICE, late[2])
    assert caught.value.code == "duplicate-message"
    assert alice.decrypt(BOB, bob.encrypt(ALICE, b"still here")) == b"still here"
    for device in (alice, bob):
        device._store.close()


def test_an_identity_is_not_replaced_where_a_session_is_gone() -> None:
    """ATM-06: the sessions that a replaced identity retires are counted; a record that is missing is refused."""
    alice, bob = met()
    alice.put(Table.SESSION, address_key(BOB) + alice.base_keys(bob)[0], None)
    with alice.refuses("corrupt-store"):
        alice.device.trust_identity("bob", Party(BOB, seed="2").device.identity_key)
