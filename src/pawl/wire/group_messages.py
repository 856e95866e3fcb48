"""Group messages and the distributions of their chains: bytes in, a frozen value or a typed refusal out; and back.

A SenderKeyMessage is a version byte, a protobuf and an XEdDSA signature of 64 bytes over both, as they were received. A
SenderKeyDistributionMessage is a version byte and a protobuf; what authenticates it is the session it travels in.

There are two layouts, which no byte string has both of: in the earlier one, that of older clients, field 1 is an
integer and the group is named beside the message.
Source: the existing clients' message formats.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final, NamedTuple
from uuid import UUID

from pawl.crypto.keys import KEY_BYTES, ChainKey, PublicKey
from pawl.crypto.xeddsa import SIGNATURE_BYTES
from pawl.errors import InvalidArgument, MalformedMessage, MessageTooLarge, UnknownVersion
from pawl.limits import MAX_CIPHERTEXT_BYTES, MAX_MESSAGE_BYTES
from pawl.wire.scanner import Schema, bytes_field, key_field, scan, uint32_field
from pawl.wire.varint import MAX_UINT32, varint

GROUP_VERSION_BYTE: Final = 0x33
"""The only version byte of group messages: version 3, by a writer whose current version is 3."""

DISTRIBUTION_ID_BYTES: Final = 16
"""Bytes of a distribution id, a UUID."""


class GroupLayout(Enum):
    """Which fields the messages of a group have."""

    CURRENT = "current"
    """The group's distribution id is in each message, under its signature."""
    EARLIER = "earlier"
    """Without it, as older clients write and read it, libsignal-protocol-c among them."""


_ID_FIELD: Final = bytes_field(1, "distribution_uuid", limit=DISTRIBUTION_ID_BYTES)

MESSAGE_SCHEMA: Final = Schema(
    _ID_FIELD,
    uint32_field(2, "chain_id"),
    uint32_field(3, "iteration"),
    bytes_field(4, "ciphertext", limit=MAX_CIPHERTEXT_BYTES),
)
EARLIER_MESSAGE_SCHEMA: Final = Schema(
    uint32_field(1, "chain_id"),
    uint32_field(2, "iteration"),
    bytes_field(3, "ciphertext", limit=MAX_CIPHERTEXT_BYTES),
)
DISTRIBUTION_SCHEMA: Final = Schema(
    _ID_FIELD,
    uint32_field(2, "chain_id"),
    uint32_field(3, "iteration"),
    bytes_field(4, "chain_key", limit=KEY_BYTES),
    key_field(5, "signing_key"),
)
EARLIER_DISTRIBUTION_SCHEMA: Final = Schema(
    uint32_field(1, "chain_id"),
    uint32_field(2, "iteration"),
    bytes_field(3, "chain_key", limit=KEY_BYTES),
    key_field(4, "signing_key"),
)


class SenderKeyMessage(NamedTuple):
    """A group message, as received."""

    distribution_id: UUID | None
    """None: the earlier layout, which does not say it."""
    chain_id: int
    iteration: int
    """Position in the sender's chain, 0 to 2^32 - 1."""
    ciphertext: bytes
    signature: bytes
    """64 bytes."""
    signed: bytes
    """All bytes received before the signature: what it is over."""


@dataclass(frozen=True, slots=True)
class SenderKeyDistribution:
    """A chain, as its sender gives it to a member. Raises: InvalidArgument."""

    distribution_id: UUID | None
    """None: the earlier layout."""
    chain_id: int
    """0 to 2^32 - 1."""
    iteration: int
    """Of the first message that can be read, 0 to 2^32 - 1."""
    chain_key: ChainKey
    signing_key: PublicKey

    def __post_init__(self) -> None:
        if self.distribution_id is not None:
            check_distribution_id(self.distribution_id)
        if type(self.chain_key) is not ChainKey or type(self.signing_key) is not PublicKey:
            raise InvalidArgument("a distribution is a UUID, two integers, a ChainKey and a PublicKey")
        _check_uint32(self.chain_id)
        _check_uint32(self.iteration)


def encode_sender_key_body(*, distribution_id: UUID | None, chain_id: int, iteration: int, ciphertext: bytes) -> bytes:
    """Version byte and protobuf of a SenderKeyMessage, which the signature is over; the caller appends the 64 bytes.

    Raises: InvalidArgument for another type or an integer over 32 bits; MessageTooLarge.
    """
    # Check
    _check_uint32(chain_id)
    _check_uint32(iteration)
    if type(ciphertext) is not bytes:
        raise InvalidArgument("a ciphertext is bytes")
    if len(ciphertext) > MAX_CIPHERTEXT_BYTES:
        raise MessageTooLarge(f"a ciphertext has at most {MAX_CIPHERTEXT_BYTES} bytes")
    # Derive: the fields in the order of their numbers, zeros written (PAR-02).
    length = varint(len(ciphertext))
    if distribution_id is None:
        return b"\x33\x08%b\x10%b\x1a%b%b" % (varint(chain_id), varint(iteration), length, ciphertext)
    check_distribution_id(distribution_id)
    place = (distribution_id.bytes, varint(chain_id), varint(iteration))
    return b"\x33\x0a\x10%b\x10%b\x18%b\x22%b%b" % (*place, length, ciphertext)


def encode_distribution(distribution: SenderKeyDistribution) -> bytes:
    """The bytes of `distribution`, secret as it is: they travel only inside of a session. Raises: InvalidArgument."""
    # Check
    if type(distribution) is not SenderKeyDistribution:
        raise InvalidArgument("a distribution is a SenderKeyDistribution")
    # Derive
    chain_id, iteration = varint(distribution.chain_id), varint(distribution.iteration)
    keys = distribution.chain_key.data, distribution.signing_key.data
    if distribution.distribution_id is None:
        return b"\x33\x08%b\x10%b\x1a\x20%b\x22\x21\x05%b" % (chain_id, iteration, *keys)
    return b"\x33\x0a\x10%b\x10%b\x18%b\x22\x20%b\x2a\x21\x05%b" % (
        distribution.distribution_id.bytes,
        chain_id,
        iteration,
        *keys,
    )


def decode_sender_key_message(data: bytes, *, layout: GroupLayout = GroupLayout.CURRENT) -> SenderKeyMessage:
    """The SenderKeyMessage in `data`; its signature is not checked here.

    Raises: MalformedMessage, MessageTooLarge, UnknownVersion; InvalidArgument if `data` is not bytes.
    """
    # Check
    end = _check_message(data)
    # Derive
    signature, signed = data[end:], data[:end]
    if layout is GroupLayout.EARLIER:
        values = scan(data, EARLIER_MESSAGE_SCHEMA, 1, end)
        return SenderKeyMessage(None, values[1], values[2], values[3], signature, signed)
    values = scan(data, MESSAGE_SCHEMA, 1, end)
    return SenderKeyMessage(_read_id(values[1]), values[2], values[3], values[4], signature, signed)


def decode_distribution(data: bytes, *, layout: GroupLayout = GroupLayout.CURRENT) -> SenderKeyDistribution:
    """The distribution in `data`.

    Raises: MalformedMessage, MessageTooLarge, UnknownVersion, InvalidKey; InvalidArgument if `data` is not bytes.
    """
    # Check
    _check_frame(data)
    earlier = layout is GroupLayout.EARLIER
    values = scan(data, EARLIER_DISTRIBUTION_SCHEMA if earlier else DISTRIBUTION_SCHEMA, 1)
    # The numbers of the earlier layout's fields are one less.
    first = 1 if earlier else 2
    # Derive
    return SenderKeyDistribution(
        None if earlier else _read_id(values[1]),
        values[first],
        values[first + 1],
        ChainKey(values[first + 2]),
        PublicKey.deserialize(values[first + 3]),
    )


def group_of_message(data: bytes) -> UUID:
    """The distribution id that the group message `data`, of the current layout, says it belongs to.

    Nothing is authenticated here: it says which group to hand the message to, and that one looks again.
    Raises: what `decode_sender_key_message` raises.
    """
    return _read_id(scan(data, MESSAGE_SCHEMA, 1, _check_message(data))[1])


def group_of_distribution(data: bytes) -> UUID:
    """The distribution id in the distribution `data`, of the current layout.

    Raises: MalformedMessage, MessageTooLarge, UnknownVersion, InvalidKey; InvalidArgument if `data` is not bytes.
    """
    _check_frame(data)
    return _read_id(scan(data, DISTRIBUTION_SCHEMA, 1)[1])


def check_distribution_id(distribution_id: UUID) -> None:
    """Raises: InvalidArgument."""
    if type(distribution_id) is not UUID:
        raise InvalidArgument("a distribution id is a uuid.UUID")


@lru_cache(maxsize=256)
def _read_id(data: bytes) -> UUID:
    # Over its limit it was refused before (PAR-03).
    if len(data) != DISTRIBUTION_ID_BYTES:
        raise MalformedMessage("a distribution id is exactly 16 bytes")
    return UUID(bytes=data)


def _check_frame(data: bytes) -> None:
    if type(data) is not bytes:
        raise InvalidArgument("a message is bytes")
    # Nothing is done for a message over the limit (PAR-01).
    if len(data) > MAX_MESSAGE_BYTES:
        raise MessageTooLarge(f"a message has at most {MAX_MESSAGE_BYTES} bytes")
    if not data:
        raise MalformedMessage("the message is empty")
    if data[0] != GROUP_VERSION_BYTE:
        raise UnknownVersion(f"the version byte is 0x{data[0]:02x}; group messages have 0x33")


def _check_message(data: bytes) -> int:
    """Where the signature of a SenderKeyMessage that may be parsed begins."""
    _check_frame(data)
    end = len(data) - SIGNATURE_BYTES
    if end < 1:
        raise MalformedMessage("the message has no room for its signature")
    return end


def _check_uint32(value: int) -> None:
    if type(value) is not int or not 0 <= value <= MAX_UINT32:
        raise InvalidArgument("an integer of a message has at most 32 bits")
