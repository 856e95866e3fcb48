"""Compatibility fallbacks: refused as long as nobody asks for them; read, and told, where an option says so (IDC-09)."""

from __future__ import annotations

import pytest

from pawl import Compatibility, Device, EncryptedMessage, MessageType, PublicKey
from pawl.errors import InvalidArgument, InvalidKey
from pawl.events import CompatibilityUsed, Event
from pawl.session import cipher
from pawl.storage.contract import Table
from pawl.wire.varint import encode_varint
from tests.devices import ALICE, BOB, Party, met

UNTYPED = Compatibility(untyped_public_keys=True)
ZERO = Compatibility(prekey_id_zero_as_absent=True)


def open_with(party: Party, compatibility: Compatibility) -> list[Event]:
    """Open the party's device anew with these options; what it tells goes to the list."""
    told: list[Event] = []
    party.device = Device(
        party.store, compatibility=compatibility, on_event=told.append, rng=party.random, clock=lambda: party.now
    )
    return told


def used(told: list[Event]) -> list[str]:
    """The options that were reported as used."""
    return [event.option for event in told if isinstance(event, CompatibilityUsed)]


def fields(data: bytes) -> list[tuple[int, int, bytes]]:
    """The protobuf fields of a short message of ours: tag, offset, and the whole field."""
    found, at = [], 0
    while at < len(data):
        tag, start = data[at], at
        at += 1
        value = shift = 0
        while True:
            byte = data[at]
            value |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                break
        at += value if tag & 7 == 2 else 0
        found.append((tag, start, data[start:at]))
    return found


def outer(message: EncryptedMessage, **changed: bytes) -> EncryptedMessage:
    """The prekey message with whole fields of its outer layer replaced, by "f" and their number."""
    body = [changed.get(f"f{tag >> 3}", field) for tag, _, field in fields(message.serialized[1:])]
    added = [field for name, field in changed.items() if name == "f1"]
    known = any(tag >> 3 == 1 for tag, _, _ in fields(message.serialized[1:]))
    return EncryptedMessage(message.type, b"".join([b"\x33", *([] if known else added), *body]))


def bare(message: EncryptedMessage, number: int) -> EncryptedMessage:
    """The prekey message with the key of this field written without its type byte."""
    field = next(field for tag, _, field in fields(message.serialized[1:]) if tag >> 3 == number)
    return outer(message, **{f"f{number}": bytes([field[0], 32]) + field[3:]})


def untyped_body(*, ratchet_key: PublicKey, counter: int, previous_counter: int, ciphertext: bytes) -> bytes:
    """What a writer that leaves out the type byte of a ratchet key writes."""
    numbers = b"\x10" + encode_varint(counter) + b"\x18" + encode_varint(previous_counter)
    return b"\x33\x0a\x20" + ratchet_key.data + numbers + b"\x22" + encode_varint(len(ciphertext)) + ciphertext


@pytest.mark.parametrize("number", [2, 3])
def test_untyped_keys_of_a_first_message(number: int) -> None:
    """Base key and identity key of 32 bytes: refused, or with the option read and reported."""
    alice, bob = met()
    message = bare(alice.send(bob), number)
    with bob.refuses("invalid-key"):
        bob.take(alice, message)
    told = open_with(bob, ZERO)
    with bob.refuses("invalid-key"):
        bob.take(alice, message)
    assert used(told) == []
    told = open_with(bob, UNTYPED)
    assert bob.take(alice, message) == b"text"
    assert used(told) == ["untyped_public_keys"]


@pytest.mark.parametrize("first", [True, False])
def test_an_untyped_ratchet_key(monkeypatch: pytest.MonkeyPatch, first: bool) -> None:
    """The MAC is over the bytes received, without the type byte."""
    alice, bob = met()
    if not first:
        bob.take(alice, alice.send(bob))
        alice.take(bob, bob.send(alice))
    with monkeypatch.context() as patched:
        patched.setattr(cipher, "encode_signal_body", untyped_body)
        message = alice.send(bob)
    assert (message.type is MessageType.PREKEY) == first
    with bob.refuses("invalid-key"):
        bob.take(alice, message)
    told = open_with(bob, UNTYPED)
    assert bob.take(alice, message) == b"text"
    assert used(told) == ["untyped_public_keys"]
    # A message that has the byte is an ordinary one.
    told.clear()
    with monkeypatch.context() as patched:
        patched.setattr(cipher, "encode_signal_body", untyped_body)
        again = alice.send(bob)
    assert bob.device.decrypt_many(alice.address, [again]) == [b"text"]
    assert used(told) == ["untyped_public_keys"]
    told.clear()
    assert bob.take(alice, alice.send(bob)) == b"text"
    assert used(told) == []


def test_what_the_option_leaves_refused() -> None:
    """A stripped type byte under the MAC, a key of another length, a type byte of another kind."""
    alice, bob = met()
    bob.take(alice, alice.send(bob))
    alice.take(bob, bob.send(alice))
    message = alice.send(bob)
    told = open_with(bob, UNTYPED)
    stripped = EncryptedMessage(message.type, b"\x33\x0a\x20" + message.serialized[4:])
    with bob.refuses("bad-mac"):
        bob.take(alice, stripped)
    for head in (b"\x33\x0a\x1f", b"\x33\x0a\x22\x05\x05"):
        with bob.refuses("invalid-key"):
            bob.take(alice, EncryptedMessage(message.type, head + message.serialized[4 if len(head) > 3 else 5 :]))
    with bob.refuses("invalid-key"):
        bob.take(alice, EncryptedMessage(message.type, b"\x33\x0a\x21\x06" + message.serialized[4:]))
    assert used(told) == []


def test_public_keys_of_a_bundle() -> None:
    """A key of 33 bytes always; of 32 with the option, which is reported."""
    _, bob = met()
    key = bob.device.identity_key
    assert bob.device.parse_public_key(ALICE, key.serialize()) == key
    with bob.refuses("invalid-key"):
        bob.device.parse_public_key(ALICE, key.data)
    told = open_with(bob, UNTYPED)
    assert bob.device.parse_public_key(ALICE, key.serialize()) == key
    assert used(told) == []
    assert bob.device.parse_public_key(ALICE, key.data) == key
    assert used(told) == ["untyped_public_keys"]
    for wrong in (b"", key.data[:31], key.data + b"xx", None):
        with pytest.raises(InvalidKey):
            bob.device.parse_public_key(ALICE, wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument):
        bob.device.parse_public_key("alice", key.data)  # type: ignore[arg-type]


def test_prekey_id_zero() -> None:
    """Read as absent: once, as the memory of base keys sees to (CTR-06)."""
    alice, bob = met(one_time=False)
    message = outer(alice.send(bob), f1=b"\x08\x00")
    with bob.refuses("unknown-prekey"):
        bob.take(alice, message)
    open_with(bob, UNTYPED)
    with bob.refuses("unknown-prekey"):
        bob.take(alice, message)
    told = open_with(bob, ZERO)
    assert bob.take(alice, message) == b"text"
    assert used(told) == ["prekey_id_zero_as_absent"]
    # On a session that is there the id is not looked at.
    assert bob.take(alice, outer(alice.send(bob), f1=b"\x08\x00")) == b"text"
    assert used(told) == ["prekey_id_zero_as_absent"]
    bob.device.forget_session(ALICE)
    with bob.refuses("replayed-prekey-message"):
        bob.take(alice, message)


def test_prekey_id_zero_that_is_meant() -> None:
    """With the option on, a prekey 0 that is there is used like any other, and other ids are what they say."""
    alice, bob = met()
    told = open_with(bob, ZERO)
    message = alice.send(bob)
    row = bob.store.snapshot()[Table.PREKEY]
    (key,) = row
    with bob.refuses("unknown-prekey"):
        bob.take(alice, outer(message, f1=b"\x08\x07"))
    bob.put(Table.PREKEY, bytes(len(key)), row[key].value)
    # It is looked up, not read as absent: the record says that it is another one.
    with bob.refuses("corrupt-store"):
        bob.take(alice, outer(message, f1=b"\x08\x00"))
    assert used(told) == []


@pytest.mark.parametrize("option", [None, 1, "yes"])
def test_options_are_bools(option: object) -> None:
    """Nothing is taken for true."""
    with pytest.raises(InvalidArgument):
        Compatibility(prekey_id_zero_as_absent=option)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument):
        Compatibility(untyped_public_keys=option)  # type: ignore[arg-type]
    alice, _ = met()
    with pytest.raises(InvalidArgument):
        Device(alice.store, compatibility=option)  # type: ignore[arg-type]
    assert alice.device.has_session(BOB)
