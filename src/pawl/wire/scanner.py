"""A strict scanner of protobuf bytes: the only reader of what a peer sent.

The protobuf package's own parser is lenient: of two fields with one number it takes the last, it cuts an integer down
to its type, and it skips a field of another wire type as unknown. What two parsers may read in two ways is no message.

Written in Python so that a fuzzer sees its branches, and so that no native parser is given an attacker's bytes. The
package is the other opinion in the tests: whatever passes here it has to read in the same way.
Source: Protocol Buffers, "Encoding"; the strictness is ours (PAR-02).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from pawl.crypto.keys import KEY_BYTES, SERIALIZED_KEY_BYTES
from pawl.errors import InvalidKey, MalformedMessage, MessageTooLarge
from pawl.limits import MAX_UNKNOWN_FIELDS
from pawl.wire.varint import MAX_UINT32, MAX_UINT64, read_varint

VARINT: Final = 0
FIXED64: Final = 1
LENGTH_DELIMITED: Final = 2
FIXED32: Final = 5

Values: TypeAlias = Mapping[int, Any]
"""What a message holds: of each known field that is there an int or bytes, as its wire type says, by its number."""


@dataclass(frozen=True, slots=True)
class Field:
    """What is known of one field: number and name, wire type, and the bytes it may have if it has a length."""

    number: int
    name: str
    wire_type: int
    least: int
    most: int
    required: bool


def uint32_field(number: int, name: str, *, required: bool = True) -> Field:
    """A field that holds an integer of 0 to 2^32 - 1."""
    return Field(number, name, VARINT, 0, 0, required)


def key_field(number: int, name: str, *, untyped: bool = False) -> Field:
    """A required field that holds a serialized public key: exactly 33 bytes, or with `untyped` 32 or 33."""
    least = KEY_BYTES if untyped else SERIALIZED_KEY_BYTES
    return Field(number, name, LENGTH_DELIMITED, least, SERIALIZED_KEY_BYTES, required=True)


def bytes_field(number: int, name: str, *, limit: int) -> Field:
    """A required field that holds at most `limit` bytes."""
    return Field(number, name, LENGTH_DELIMITED, 0, limit, required=True)


class Schema:
    """The known fields of one message."""

    __slots__ = ("by_tag", "fields", "numbers", "required")

    def __init__(self, *fields: Field) -> None:
        self.fields: Final = fields
        # What the loop below needs of a field, taken apart in one step.
        self.by_tag: Final = {
            each.number << 3 | each.wire_type: (each.number, each.wire_type == VARINT, each.least, each.most, each.name)
            for each in fields
        }
        self.numbers: Final = frozenset(each.number for each in fields)
        self.required: Final = frozenset(each.number for each in fields if each.required)


def scan(data: bytes, schema: Schema, start: int = 0, end: int | None = None) -> Values:
    """The known fields in `data[start:end]`, in any order; at most MAX_UNKNOWN_FIELDS unknown ones are passed over.

    Raises: MalformedMessage; InvalidKey for a key that is not 33 bytes; MessageTooLarge for a field over its limit.
    """
    values: dict[int, Any] = {}
    by_tag = schema.by_tag
    unknown = 0
    at, end = start, len(data) if end is None else end
    while at < end:
        tag = data[at]
        # One byte is the common case, here and below; it cannot be too long.
        if tag < 0x80:
            at += 1
        else:
            tag, at = read_varint(data, at, end, MAX_UINT32)
        known = by_tag.get(tag)
        if known is None:
            _refuse_tag(tag, schema)
            unknown += 1
            # Peers may add fields, but a flood of them is no message.
            if unknown > MAX_UNKNOWN_FIELDS:
                raise MalformedMessage(f"the message has more than {MAX_UNKNOWN_FIELDS} unknown fields")
            at = _skip(data, at, end, tag & 7)
            continue
        number, is_integer, least, most, name = known
        # A field comes once: of two, readers would disagree on which one counts (PAR-02).
        if number in values:
            raise MalformedMessage(f"the field {name} is there twice")
        if at < end and data[at] < 0x80:
            value = data[at]
            at += 1
        else:
            value, at = read_varint(data, at, end, MAX_UINT32)
        if is_integer:
            values[number] = value
            continue
        # The length is one that the field may have, before anything of that length is touched (PAR-03).
        if not least <= value <= most:
            raise _length_refusal(name, least, most)
        begin, at = at, at + value
        # A field ends inside the message (PAR-01).
        if at > end:
            raise MalformedMessage(f"the message ends inside the field {name}")
        values[number] = data[begin:at]
    # A required field that is missing has no default (PAR-03). Where all fields are there, none is missing.
    if len(values) < len(schema.fields) and not values.keys() >= schema.required:
        missing = next(each.name for each in schema.fields if each.required and each.number not in values)
        raise MalformedMessage(f"the field {missing} is missing")
    return values


def _refuse_tag(tag: int, schema: Schema) -> None:
    """Refuse a tag that may not even begin an unknown field."""
    # Field numbers start at 1.
    if tag >> 3 == 0:
        raise MalformedMessage("a field has number 0")
    # A known field has its own wire type and no other (PAR-02).
    if tag >> 3 in schema.numbers:
        raise MalformedMessage(f"the field {tag >> 3} has the wrong wire type")


def _length_refusal(name: str, least: int, most: int) -> InvalidKey | MessageTooLarge:
    """A key has a least length, other fields have a limit alone."""
    if least:
        return InvalidKey(f"the field {name} is not {most} bytes")
    return MessageTooLarge(f"the field {name} is over {most} bytes")


def _skip(data: bytes, at: int, end: int, wire_type: int) -> int:
    """The index after the unknown field whose value starts at `at`, in a message that ends at `end`."""
    if wire_type == VARINT:
        return read_varint(data, at, end, MAX_UINT64)[1]
    if wire_type == LENGTH_DELIMITED:
        length, at = read_varint(data, at, end, MAX_UINT32)
    elif wire_type == FIXED64:
        length = 8
    elif wire_type == FIXED32:
        length = 4
    else:
        # Groups nest without a length, and 6 and 7 are nothing.
        raise MalformedMessage(f"a field has the wire type {wire_type}")
    # A field ends inside the message.
    if at + length > end:
        raise MalformedMessage("the message ends inside an unknown field")
    return at + length
