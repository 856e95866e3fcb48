"""Varints: integers of 0 to 2^64 - 1 in 1 to 10 bytes, seven bits each, the lowest first.

Source: Protocol Buffers, "Encoding", Base 128 Varints.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from pawl.errors import InvalidArgument, MalformedMessage

MAX_UINT32: Final = 2**32 - 1
"""Largest value of a uint32 field."""

MAX_UINT64: Final = 2**64 - 1
"""Largest value of any varint."""

ONE_BYTE: Final = tuple(bytes([value]) for value in range(0x80))
"""The encodings of 0 to 127."""


def encode_varint(value: int) -> bytes:
    """The shortest encoding of `value`, 1 to 10 bytes. Raises: InvalidArgument unless it is 0 to 2^64 - 1."""
    if type(value) is not int or not 0 <= value <= MAX_UINT64:
        raise InvalidArgument("an integer on the wire is 0 to 2^64 - 1")
    if value < 0x80:
        return ONE_BYTE[value]
    # Two bytes: most counters.
    if value < 0x4000:
        return bytes((value & 0x7F | 0x80, value >> 7))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


varint: Final = lru_cache(maxsize=4096, typed=True)(encode_varint)
"""`encode_varint` that remembers: a counter is written into a message and into two records. Only for what is an int."""


def read_varint(data: bytes, at: int, end: int, maximum: int) -> tuple[int, int]:
    """The value that starts at index `at` of `data[:end]`, and the index after it.

    Raises: MalformedMessage if it is cut off, above `maximum`, or longer than it need be.
    """
    # Two bytes are the common case. The second one is not zero, and two cannot be above any maximum (PAR-02).
    if at + 2 <= end and data[at] >= 0x80 and 0 < data[at + 1] < 0x80:
        return data[at] & 0x7F | data[at + 1] << 7, at + 2
    value = shift = 0
    for index in range(at, end):
        byte = data[index]
        value |= (byte & 0x7F) << shift
        # A value above the maximum is refused at once, so that at most 10 bytes are read.
        if value > maximum or shift > 63:
            raise MalformedMessage("an integer is out of range")
        if byte < 0x80:
            # One value has one encoding: the last byte of several is not zero (PAR-02).
            if byte == 0 and shift:
                raise MalformedMessage("an integer is longer than it need be")
            return value, index + 1
        shift += 7
    raise MalformedMessage("the message ends inside an integer")
