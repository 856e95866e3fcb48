"""Messages of version 3: bytes in, a frozen message or a typed refusal out; and the other way round, canonically.

A message is a version byte, a protobuf and, for a SignalMessage, a MAC of 8 bytes. The MAC is over the bytes as they
were received, never over a re-encoding. A PreKeySignalMessage has none: what stands around its inner message is
authenticated only as far as it enters the key agreement, its registration id and prekey ids not at all.

The strict scanner reads what a peer sent, or `_read_in_order`, which knows one layout and leaves all others to it: the
protobuf package never sees an attacker's bytes. In the tests it is the second opinion, which has to read every accepted
message in the same way.

Source: the existing clients' message formats; Double Ratchet, section 3.4 (header); X3DH, section 3.3 (first message).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from pawl.crypto.kdf import MAC_BYTES
from pawl.crypto.keys import KEY_BYTES, PublicKey
from pawl.errors import InvalidArgument, MalformedMessage, MessageTooLarge, UnknownVersion
from pawl.limits import MAX_CIPHERTEXT_BYTES, MAX_MESSAGE_BYTES
from pawl.values import made
from pawl.wire.scanner import Schema, bytes_field, key_field, scan, uint32_field
from pawl.wire.varint import MAX_UINT32, encode_varint, read_varint, varint

MESSAGE_VERSION: Final = 3
"""The message version that this library speaks: the high nibble of the version byte."""

VERSION_BYTE: Final = 0x33
"""What we write: version 3, by a writer whose current version is 3."""

ACCEPTED_VERSION_BYTES: Final = frozenset({0x33, 0x34})
"""What we read: the official client writes 0x34 in its stored version 3 sessions."""


def signal_schema(*, untyped_keys: bool) -> Schema:
    """The fields of a SignalMessage."""
    return Schema(
        key_field(1, "ratchet_key", untyped=untyped_keys),
        uint32_field(2, "counter"),
        # Missing means 0. No receiver of ours relies on it.
        uint32_field(3, "previous_counter", required=False),
        bytes_field(4, "ciphertext", limit=MAX_CIPHERTEXT_BYTES),
    )


def prekey_schema(*, untyped_keys: bool) -> Schema:
    """The fields of a PreKeySignalMessage."""
    return Schema(
        # Missing means that no one-time prekey was used. 0 is an id like any other.
        uint32_field(1, "prekey_id", required=False),
        key_field(2, "base_key", untyped=untyped_keys),
        key_field(3, "identity_key", untyped=untyped_keys),
        bytes_field(4, "message", limit=MAX_MESSAGE_BYTES),
        # Missing means 0. It is not authenticated in any case.
        uint32_field(5, "registration_id", required=False),
        uint32_field(6, "signed_prekey_id"),
    )


SIGNAL_SCHEMA: Final = signal_schema(untyped_keys=False)
PREKEY_SCHEMA: Final = prekey_schema(untyped_keys=False)
UNTYPED_SIGNAL_SCHEMA: Final = signal_schema(untyped_keys=True)
UNTYPED_PREKEY_SCHEMA: Final = prekey_schema(untyped_keys=True)


_LEAST_IN_ORDER: Final = 36 + 3 * 6
"""Bytes of the version and the ratchet key, then of three fields whose tag has 1 and whose integer has 5."""


class MessageType(IntEnum):
    """What kind of message travels beside the bytes. Source: the numbers of node-libsignal and the official client."""

    SIGNAL = 2
    """A message of a session that both sides have."""
    PREKEY = 3
    """A message that carries what its receiver needs to build the session."""


@dataclass(frozen=True, slots=True)
class EncryptedMessage:
    """What `encrypt` returns and `decrypt` takes: a type and the bytes to send. Raises: InvalidArgument."""

    type: MessageType
    serialized: bytes

    def __post_init__(self) -> None:
        if type(self.type) is not MessageType or type(self.serialized) is not bytes:
            raise InvalidArgument("an encrypted message is a MessageType and bytes")


class SignalMessage(NamedTuple):
    """A message of a session, as received."""

    version_byte: int
    ratchet_key: PublicKey
    """The sender's current ratchet key."""
    counter: int
    """Position in the sender's chain, 0 to 2^32 - 1."""
    previous_counter: int
    """Index of the last message on the sender's former chain, as the sender says."""
    ciphertext: bytes
    mac: bytes
    """8 bytes."""
    authenticated: bytes
    """All bytes received before the MAC: what the MAC is over."""


@dataclass(frozen=True, slots=True)
class PreKeySignalMessage:
    """A message that can build a session, as received."""

    version_byte: int
    registration_id: int
    """Of the sender's device; not authenticated."""
    prekey_id: int | None
    """None: no one-time prekey was used."""
    signed_prekey_id: int
    base_key: PublicKey
    identity_key: PublicKey
    """Of the sender."""
    message: SignalMessage


def encode_signal_body(*, ratchet_key: PublicKey, counter: int, previous_counter: int, ciphertext: bytes) -> bytes:
    """Version byte and protobuf of a SignalMessage, which the MAC is over; the caller appends the MAC of 8 bytes.

    Raises: InvalidArgument for another type or an integer over 32 bits; MessageTooLarge.
    """
    # Check
    if type(ratchet_key) is not PublicKey or type(ciphertext) is not bytes:
        raise InvalidArgument("a message is made of a PublicKey, two integers and bytes")
    if len(ciphertext) > MAX_CIPHERTEXT_BYTES:
        raise MessageTooLarge(f"a ciphertext has at most {MAX_CIPHERTEXT_BYTES} bytes")
    # Derive: the fields in the order of their numbers, zeros written (PAR-02).
    return b"\x33\x0a\x21\x05%b\x10%b\x18%b\x22%b%b" % (
        ratchet_key.data,
        _uint32(counter),
        _uint32(previous_counter),
        varint(len(ciphertext)),
        ciphertext,
    )


def encode_prekey_message(
    *,
    registration_id: int,
    prekey_id: int | None,
    signed_prekey_id: int,
    base_key: PublicKey,
    identity_key: PublicKey,
    message: bytes,
) -> bytes:
    """A whole PreKeySignalMessage around `message`, a whole SignalMessage.

    Raises: InvalidArgument for another type or an integer over 32 bits; MessageTooLarge.
    """
    # Check
    if type(base_key) is not PublicKey or type(identity_key) is not PublicKey or type(message) is not bytes:
        raise InvalidArgument("a prekey message is made of integers, two PublicKeys and bytes")
    # Derive: the fields in the order of their numbers, zeros written, absent left out.
    encoded = b"".join(
        (
            b"\x33" if prekey_id is None else b"\x33\x08" + _uint32(prekey_id),
            b"\x12\x21\x05",
            base_key.data,
            b"\x1a\x21\x05",
            identity_key.data,
            b"\x22",
            varint(len(message)),
            message,
            b"\x28",
            _uint32(registration_id),
            b"\x30",
            _uint32(signed_prekey_id),
        )
    )
    if len(encoded) > MAX_MESSAGE_BYTES:
        raise MessageTooLarge(f"a message has at most {MAX_MESSAGE_BYTES} bytes")
    return encoded


def decode_signal_message(data: bytes, *, untyped_keys: bool = False) -> SignalMessage:
    """The SignalMessage in `data`; its MAC is not checked here. `untyped_keys`: a key may lack its type byte (IDC-09).

    Raises: MalformedMessage, MessageTooLarge, UnknownVersion, InvalidKey; InvalidArgument if `data` is not bytes.
    """
    # Check
    version_byte = _check_frame(data)
    # A message has room for its MAC.
    if len(data) <= MAC_BYTES:
        raise MalformedMessage("the message has no room for its MAC")
    end = len(data) - MAC_BYTES
    message = _read_in_order(data, end)
    if message is not None:
        return message
    values = scan(data, UNTYPED_SIGNAL_SCHEMA if untyped_keys else SIGNAL_SCHEMA, 1, end)
    # Derive
    return SignalMessage(
        version_byte,
        read_key(values[1]) if untyped_keys else PublicKey.deserialize(values[1]),
        values[2],
        values.get(3, 0),
        values[4],
        data[end:],
        data[:end],
    )


def _read_in_order(data: bytes, end: int) -> SignalMessage | None:
    """The message in `data`, if it is written as the clients write it: each field once, in order, and no other.

    None if it is not: the scanner reads it then, or says what is wrong with it. What is read here the scanner would
    read in the same way, and what is refused here it would refuse in the same words. `end`: where the MAC begins.

    Raises: MalformedMessage, InvalidKey.
    """
    # Check: in a message of this length even the longest integers end before the MAC.
    if end < _LEAST_IN_ORDER or data[1:3] != b"\x0a\x21" or data[36] != 0x10:
        return None
    counter, at = (data[37], 38) if data[37] < 0x80 else read_varint(data, 37, end, MAX_UINT32)
    if data[at] != 0x18:
        return None
    previous, at = (data[at + 1], at + 2) if data[at + 1] < 0x80 else read_varint(data, at + 1, end, MAX_UINT32)
    if data[at] != 0x22:
        return None
    length, at = read_varint(data, at + 1, end, MAX_UINT32)
    # The ciphertext is the rest.
    if at + length != end or length > MAX_CIPHERTEXT_BYTES:
        return None
    # Derive
    key = PublicKey.deserialize(data[3:36])
    return made(SignalMessage, (data[0], key, counter, previous, data[at:end], data[end:], data[:end]))


def decode_prekey_message(data: bytes, *, untyped_keys: bool = False) -> PreKeySignalMessage:
    """The PreKeySignalMessage in `data`, its inner message parsed too; nothing is authenticated here.

    `untyped_keys`: keys may lack their type byte (IDC-09).

    The outer message version equals the inner (PAR-04), because either has to be 3; the low nibbles, the writers'
    current versions, may differ.
    Raises: MalformedMessage, MessageTooLarge, UnknownVersion, InvalidKey; InvalidArgument if `data` is not bytes.
    """
    # Check
    version_byte = _check_frame(data)
    values = scan(data, UNTYPED_PREKEY_SCHEMA if untyped_keys else PREKEY_SCHEMA, 1)
    key = read_key if untyped_keys else PublicKey.deserialize
    # Derive
    return PreKeySignalMessage(
        version_byte,
        values.get(5, 0),
        values.get(1),
        values[6],
        key(values[2]),
        key(values[3]),
        decode_signal_message(values[4], untyped_keys=untyped_keys),
    )


def read_key(data: bytes) -> PublicKey:
    """A public key of 33 bytes, or of 32 without its type byte: only where an option says so. Raises: InvalidKey."""
    if type(data) is bytes and len(data) == KEY_BYTES:
        return PublicKey(data)
    return PublicKey.deserialize(data)


def _check_frame(data: bytes) -> int:
    """The version byte of a message that may be parsed."""
    if type(data) is not bytes:
        raise InvalidArgument("a message is bytes")
    # Nothing is done for a message over the limit (PAR-01).
    if len(data) > MAX_MESSAGE_BYTES:
        raise MessageTooLarge(f"a message has at most {MAX_MESSAGE_BYTES} bytes")
    if not data:
        raise MalformedMessage("the message is empty")
    # The whole byte is authenticated as it was received; only two of them are version 3.
    if data[0] not in ACCEPTED_VERSION_BYTES:
        raise UnknownVersion(f"the version byte is 0x{data[0]:02x}; this library speaks message version 3")
    return data[0]


def _uint32(value: int) -> bytes:
    """`value` as a varint of at most 5 bytes."""
    encoded = varint(value) if type(value) is int else encode_varint(value)
    if value > MAX_UINT32:
        raise InvalidArgument("an integer of a message has at most 32 bits")
    return encoded
