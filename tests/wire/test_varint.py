"""Varints, both ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pawl.errors import InvalidArgument, MalformedMessage
from pawl.wire.varint import MAX_UINT32, MAX_UINT64, encode_varint, read_varint


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, "00"),
        (1, "01"),
        (127, "7f"),
        (128, "8001"),
        # The last value of two bytes, and the first of three.
        (2**14 - 1, "ff7f"),
        (2**14, "808001"),
        # The two examples of the encoding's own description.
        (150, "9601"),
        (86942, "9ea705"),
        (2**32 - 1, "ffffffff0f"),
        (2**64 - 1, "ffffffffffffffffff01"),
    ],
)
def test_known_values(value, encoded):
    """Protocol Buffers, "Encoding", Base 128 Varints: seven bits a byte, the lowest first."""
    assert encode_varint(value).hex() == encoded
    assert read_varint(bytes.fromhex("ff" + encoded + "ff"), 1, 2 + len(encoded) // 2, MAX_UINT64) == (
        value,
        1 + len(encoded) // 2,
    )


@given(st.integers(0, MAX_UINT64), st.binary(max_size=3))
def test_round_trip(value, rest):
    """PAR-02, what we write parses back to the same value, and nothing after it is touched."""
    encoded = encode_varint(value)
    assert read_varint(encoded + rest, 0, len(encoded + rest), MAX_UINT64) == (value, len(encoded))


@given(st.integers(0, MAX_UINT64))
def test_cut_off(value):
    """PAR-02: each proper beginning of an encoding is refused."""
    encoded = encode_varint(value)
    for length in range(len(encoded)):
        with pytest.raises(MalformedMessage, match="ends"):
            read_varint(encoded[:length], 0, length, MAX_UINT64)
        # The end of the message is not that of the bytes.
        with pytest.raises(MalformedMessage, match="ends"):
            read_varint(encoded, 0, length, MAX_UINT64)


@given(st.integers(0, MAX_UINT64), st.integers(1, 9))
def test_overlong(value, extra):
    """PAR-02, "overlong varints ... are refused": the same value with zeros above it, however many."""
    encoded = bytearray(encode_varint(value))
    encoded[-1] |= 0x80
    with pytest.raises(MalformedMessage):
        read_varint(longer := bytes(encoded) + b"\x80" * (extra - 1) + b"\x00", 0, len(longer), MAX_UINT64)


@pytest.mark.parametrize(
    ("encoded", "maximum"),
    [
        (encode_varint(MAX_UINT32 + 1), MAX_UINT32),
        (b"\xff" * 9 + b"\x02", MAX_UINT64),
        (b"\x80" * 10 + b"\x01", MAX_UINT64),
        (b"\x80" * 1000, MAX_UINT64),
    ],
)
def test_out_of_range(encoded, maximum):
    """PAR-02: an integer over its type's range is refused, not cut down; a long run of bytes is not read to its end."""
    with pytest.raises(MalformedMessage, match="range"):
        read_varint(encoded, 0, len(encoded), maximum)


@pytest.mark.parametrize("value", [-1, MAX_UINT64 + 1, 1.0, "1", None, True])
def test_what_is_no_varint(value):
    """Wrong argument types and ranges are refused by name."""
    with pytest.raises(InvalidArgument):
        encode_varint(value)
