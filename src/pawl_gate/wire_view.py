"""What anybody on the network sees of a message: its fields, without keys.

Written apart from `pawl.wire`, so that the observer does not share the implementation's mistakes. It reads the output
of honest senders and takes it apart for the attacker; it judges nothing.
Source: Protocol Buffers encoding; framing: version byte, protobuf, and for a SignalMessage an 8-byte MAC.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from pawl_gate.targets.base import HarnessBroken, WireMessage
from pawl_spec.history import Header

VARINT, BYTES = 0, 2
MAC_BYTES = 8

SIGNAL_FIELDS = {1: BYTES, 2: VARINT, 3: VARINT, 4: BYTES}
"""ratchet_key, counter, previous_counter, ciphertext."""
PREKEY_FIELDS = {1: VARINT, 2: BYTES, 3: BYTES, 4: BYTES, 5: VARINT, 6: VARINT}
"""pre_key_id, base_key, identity_key, message, registration_id, signed_pre_key_id."""

Value = int | bytes
Fields = list[tuple[int, Value]]
"""Field numbers and values in the order on the wire."""


ONE_BYTE = tuple(bytes([number]) for number in range(128))
"""The varints of one byte."""


def varint(number: int) -> bytes:
    """A canonical varint."""
    if 0 <= number < 128:
        return ONE_BYTE[number]
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The varint at `at` and the place behind it. Raises: IndexError when it is cut off."""
    # One byte is the common case.
    if data[at] < 128:
        return data[at], at + 1
    shift = number = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7


def read_fields(data: bytes) -> Fields:
    """The fields of a protobuf with varints and byte strings only. Raises: HarnessBroken for anything else."""
    return list(_read_fields(data))


@lru_cache(maxsize=8)
def _read_fields(data: bytes) -> tuple[tuple[int, Value], ...]:
    """Of what was sent just now several questions are asked, one after the other."""
    fields: Fields = []
    at = 0
    try:
        while at < len(data):
            tag, at = read_varint(data, at)
            value: Value
            if tag & 7 == VARINT:
                value, at = read_varint(data, at)
            elif tag & 7 == BYTES:
                length, at = read_varint(data, at)
                value, at = data[at : at + length], at + length
            else:
                raise HarnessBroken(f"a sent message has wire type {tag & 7}")
            fields.append((tag >> 3, value))
    except IndexError:
        raise HarnessBroken("a sent message is cut off") from None
    return tuple(fields)


def write_field(number: int, value: Value) -> bytes:
    """One field in canonical form."""
    if isinstance(value, int):
        return varint(number << 3 | VARINT) + varint(value)
    return varint(number << 3 | BYTES) + varint(len(value)) + value


def write_fields(fields: Fields) -> bytes:
    """The fields in the order given, each in canonical form."""
    return b"".join(write_field(number, value) for number, value in fields)


@dataclass(slots=True)
class Layer:
    """A version byte, fields, and a trailer (the MAC of a SignalMessage, empty for the outer layer)."""

    version: int
    fields: Fields
    trailer: bytes = b""

    def get(self, number: int) -> Value | None:
        """The value of the first field with this number."""
        for field, value in self.fields:
            if field == number:
                return value
        return None

    def set(self, number: int, value: Value) -> None:
        """Replace the value of a field, or add it at the end."""
        for at, (field, _) in enumerate(self.fields):
            if field == number:
                self.fields[at] = (number, value)
                return
        self.fields.append((number, value))

    def data(self) -> bytes:
        """The bytes of this layer."""
        return bytes([self.version]) + write_fields(self.fields) + self.trailer


def signal_layer(data: bytes) -> Layer:
    """A SignalMessage taken apart. Raises: HarnessBroken."""
    if len(data) < 1 + MAC_BYTES:
        raise HarnessBroken("a sent message is too short")
    return Layer(data[0], read_fields(data[1:-MAC_BYTES]), data[-MAC_BYTES:])


def prekey_layer(data: bytes) -> Layer:
    """The outer layer of a PreKeySignalMessage. Raises: HarnessBroken."""
    if not data:
        raise HarnessBroken("a sent message is empty")
    return Layer(data[0], read_fields(data[1:]))


def layers(message: WireMessage) -> tuple[Layer | None, bytes]:
    """The outer layer of a prekey message, and the bytes of the SignalMessage in a message. Raises: HarnessBroken."""
    if message.kind == "signal":
        return None, message.data
    outer = prekey_layer(message.data)
    inner = outer.get(4)
    if not isinstance(inner, bytes):
        raise HarnessBroken("a sent prekey message holds no message")
    return outer, inner


def inner_data(message: WireMessage) -> bytes:
    """The bytes of the SignalMessage in a message. Raises: HarnessBroken."""
    return layers(message)[1]


def header(message: WireMessage) -> Header:
    """What the network reads off a message that a target sent. Raises: HarnessBroken."""
    outer, data = layers(message)
    inner = signal_layer(data)
    return Header(
        kind=message.kind,
        version=message.data[0],
        ratchet_key=_hex(inner, 1),
        counter=number_of(inner, 2) or 0,
        previous_counter=number_of(inner, 3) or 0,
        base_key=None if outer is None else _hex(outer, 2),
        prekey_id=None if outer is None else number_of(outer, 1),
        signed_prekey_id=None if outer is None else number_of(outer, 6),
        identity_key=None if outer is None else _hex(outer, 3),
        registration_id=None if outer is None else number_of(outer, 5),
    )


def _hex(layer: Layer, number: int) -> str:
    value = layer.get(number)
    if not isinstance(value, bytes):
        raise HarnessBroken(f"field {number} of a sent message is missing or no byte string")
    return value.hex()


def number_of(layer: Layer, number: int) -> int | None:
    """The value of a field that is a number. Raises: HarnessBroken."""
    value = layer.get(number)
    if isinstance(value, bytes):
        raise HarnessBroken(f"field {number} of a sent message is no number")
    return value


def claimed_identity(message: WireMessage) -> str | None:
    """Hex of the identity (32 bytes) that a prekey message claims, changed or not; None where it cannot be read."""
    try:
        identity = prekey_layer(message.data).get(3) if message.kind == "prekey" else None
    except HarnessBroken:
        return None
    return identity[-32:].hex() if isinstance(identity, bytes) else None


def is_canonical(message: WireMessage) -> bool:
    """Whether the bytes are the canonical encoding: known fields in number order, once each, shortest varints."""
    outer, inner = layers(message)
    layer = signal_layer(inner)
    good = layer.data() == inner and in_order(layer, SIGNAL_FIELDS)
    if outer is not None:
        good = good and outer.data() == message.data and in_order(outer, PREKEY_FIELDS)
    return good


def in_order(layer: Layer, known: dict[int, int]) -> bool:
    """Whether the fields are known ones, in the order of their numbers, once each."""
    last = -1
    for number, value in layer.fields:
        if number <= last or known.get(number) != (VARINT if isinstance(value, int) else BYTES):
            return False
        last = number
    return True
