"""The strict scanner: every kind of refusal, round trips, and the protobuf package as the other opinion."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from pawl.errors import InvalidKey, MalformedMessage, MessageTooLarge, ProtocolError
from pawl.limits import MAX_UNKNOWN_FIELDS
from pawl.wire import signal_pb2
from pawl.wire.messages import prekey_schema, signal_schema
from pawl.wire.scanner import Schema, bytes_field, key_field, scan, uint32_field
from pawl.wire.varint import encode_varint

KEY = b"\x05" + bytes(range(32))


def small() -> Schema:
    """A schema with every kind of field. Each test makes its own: making one is under test too."""
    return Schema(
        key_field(1, "key"),
        uint32_field(2, "number"),
        uint32_field(3, "maybe", required=False),
        bytes_field(4, "body", limit=300),
        uint32_field(500, "far", required=False),
    )


def tag(number: int, wire_type: int) -> bytes:
    return encode_varint(number << 3 | wire_type)


def integer(number: int, value: int) -> bytes:
    return tag(number, 0) + encode_varint(value)


def delimited(number: int, value: bytes) -> bytes:
    return tag(number, 2) + encode_varint(len(value)) + value


def varints(number: int, *values: int) -> bytes:
    return b"".join(integer(number, value) for value in values)


GOOD = [delimited(1, KEY), integer(2, 7), delimited(4, b"body")]
WHOLE = b"".join(GOOD)
UNKNOWN = {
    "varint": integer(9, 2**64 - 1),
    "8 bytes": tag(9, 1) + bytes(8),
    "bytes": delimited(9, b"anything"),
    "4 bytes": tag(9, 5) + bytes(4),
    "largest number": integer(2**29 - 1, 0),
    "field 5 of version 4": delimited(5, b"ratchet"),
}


def test_a_message():
    """PAR-02: the fields that are there, by number; one that is absent is absent, not zero."""
    assert scan(WHOLE, small()) == {1: KEY, 2: 7, 4: b"body"}
    assert scan(WHOLE + integer(3, 0), small()) == {1: KEY, 2: 7, 3: 0, 4: b"body"}
    assert scan(WHOLE + integer(500, 2**32 - 1), small())[500] == 2**32 - 1


@given(st.permutations([*GOOD, *UNKNOWN.values(), *UNKNOWN.values()]))
def test_any_order_and_unknown_fields(parts):
    """PAR-02, "any field order and unknown fields are accepted within the limits": also unknown ones that repeat."""
    assert scan(b"".join(parts), small()) == {1: KEY, 2: 7, 4: b"body"}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_a_flood_of_unknown_fields_is_refused(kind):
    """Limits, MAX_UNKNOWN_FIELDS: that many pass, one more is refused."""
    assert scan(WHOLE + UNKNOWN[kind] * MAX_UNKNOWN_FIELDS, small())
    with pytest.raises(MalformedMessage, match="unknown fields"):
        scan(WHOLE + UNKNOWN[kind] * (MAX_UNKNOWN_FIELDS + 1), small())


REFUSED = {
    "field number 0": (tag(0, 0) + b"\x00", "number 0"),
    "field number 0, bytes": (tag(0, 2) + b"\x00", "number 0"),
    "key as integer": (integer(1, 5), "wrong wire type"),
    "key as 8 bytes": (tag(1, 1) + bytes(8), "wrong wire type"),
    "integer as bytes": (delimited(3, b"\x05"), "wrong wire type"),
    "integer as 4 bytes": (tag(3, 5) + bytes(4), "wrong wire type"),
    "integer as group": (tag(3, 3) + tag(3, 4), "wrong wire type"),
    "group": (tag(9, 3) + tag(9, 4), "wire type 3"),
    "end of group": (tag(9, 4), "wire type 4"),
    "wire type 6": (tag(9, 6), "wire type 6"),
    "wire type 7": (tag(9, 7), "wire type 7"),
    "overlong tag": (b"\x98\x00\x01", "longer than it need be"),
    "overlong integer": (tag(3, 0) + b"\x81\x00", "longer than it need be"),
    "overlong zero": (tag(3, 0) + b"\x80\x00", "longer than it need be"),
    "overlong unknown integer": (tag(9, 0) + b"\x81\x00", "longer than it need be"),
    "overlong unknown length": (tag(9, 2) + b"\x81\x00x", "longer than it need be"),
    "integer over 32 bits": (integer(3, 2**32), "out of range"),
    "negative integer": (tag(3, 0) + b"\xff" * 9 + b"\x01", "out of range"),
    "unknown integer over 64 bits": (tag(9, 0) + b"\xff" * 9 + b"\x02", "out of range"),
    "tag over 32 bits": (b"\xff\xff\xff\xff\x1f\x00", "out of range"),
    "unknown length over 32 bits": (tag(9, 2) + encode_varint(2**32), "out of range"),
    "tag cut off": (b"\x80", "ends inside"),
    "integer missing": (tag(3, 0), "ends inside"),
    "integer cut off": (tag(3, 0) + b"\x80", "ends inside"),
    "unknown integer missing": (tag(9, 0), "ends inside"),
    "unknown length missing": (tag(9, 2), "ends inside"),
    "unknown bytes cut off": (tag(9, 2) + b"\x05four", "ends inside"),
    "unknown 8 bytes cut off": (tag(9, 1) + bytes(7), "ends inside"),
    "unknown 4 bytes cut off": (tag(9, 5) + bytes(3), "ends inside"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_malformed_fields_are_refused(name):
    """PAR-02, "overlong varints and wrong wire types are refused": wherever in the message that a reader can tell."""
    data, text = REFUSED[name]
    with pytest.raises(MalformedMessage, match=text):
        scan(WHOLE + data, small())
    with pytest.raises(MalformedMessage):
        scan(data + WHOLE, small())


@pytest.mark.parametrize("part", [*GOOD, integer(3, 0)])
def test_repeated_fields_are_refused(part):
    """PAR-02, "duplicate singular fields ... are refused": also with the same value."""
    with pytest.raises(MalformedMessage, match="twice"):
        scan(part + b"".join({*GOOD, part}), small())


@pytest.mark.parametrize("missing", range(3))
def test_missing_fields_are_refused(missing):
    """PAR-03, "each field has one stated behaviour when missing": a required one is named in the refusal."""
    with pytest.raises(MalformedMessage, match=f"{['key', 'number', 'body'][missing]} is missing"):
        scan(b"".join(part for part in GOOD if part is not GOOD[missing]), small())


@pytest.mark.parametrize(("untyped", "lengths"), [(False, {33}), (True, {32, 33})])
def test_lengths_of_keys(untyped, lengths):
    """IDC-09: a key has its type byte, 33 bytes in all; only where an option says so may the type byte be missing."""
    schema = Schema(key_field(1, "key", untyped=untyped))
    taken = set()
    for length in range(70):
        try:
            taken.add(len(scan(delimited(1, bytes(length)), schema)[1]))
        except InvalidKey:
            continue
    assert taken == lengths


@pytest.mark.parametrize("length", [0, 32, 34, 200])
def test_a_key_field_has_one_length(length):
    """PAR-03: a key is 33 bytes; any other length is refused before the bytes are touched."""
    with pytest.raises(InvalidKey):
        scan(delimited(1, bytes(length)) + integer(2, 7) + delimited(4, b""), small())
    with pytest.raises(InvalidKey):
        scan(tag(1, 2) + encode_varint(length), small())


def test_a_bytes_field_has_a_limit():
    """PAR-03, "field limits hold before allocation": the limit passes; above it a length alone is refused."""
    assert scan(GOOD[0] + GOOD[1] + delimited(4, bytes(300)), small())
    for claimed in (301, 2**32 - 1):
        with pytest.raises(MessageTooLarge, match="body"):
            scan(GOOD[0] + GOOD[1] + tag(4, 2) + encode_varint(claimed), small())
    with pytest.raises(MalformedMessage, match="range"):
        scan(tag(4, 2) + encode_varint(2**32), small())


@given(st.data())
def test_each_beginning_is_refused(data):
    """PAR-02: a message that stops anywhere inside is refused (here the last field is required, so all are)."""
    whole = b"".join(data.draw(st.permutations(GOOD)))
    with pytest.raises(MalformedMessage):
        scan(whole[: data.draw(st.integers(0, len(whole) - 1))], small())


uint32 = st.integers(0, 2**32 - 1)
key = st.binary(min_size=32, max_size=32).map(lambda each: b"\x05" + each)


@given(key, uint32, st.none() | uint32, st.binary(max_size=400))
def test_signal_message_written_by_the_package(ratchet_key, counter, previous_counter, ciphertext):
    """PAR-02: what the protobuf package writes, the scanner reads."""
    message = signal_pb2.SignalMessage(
        ratchet_key=ratchet_key, counter=counter, previous_counter=previous_counter, ciphertext=ciphertext
    )
    expected = {1: ratchet_key, 2: counter, 3: previous_counter, 4: ciphertext}
    values = scan(message.SerializeToString(), signal_schema(untyped_keys=False))
    assert values == {number: value for number, value in expected.items() if value is not None}


def package_values(kind, data):
    """What the package reads, or None if it refuses."""
    try:
        return {each.number: value for each, value in kind.FromString(data).ListFields()}
    except DecodeError:
        return None


# Pieces of messages, so that a good part of what is put together from them is nearly right.
piece = st.one_of(
    st.builds(integer, st.integers(0, 8), uint32),
    st.builds(delimited, st.integers(0, 8), st.one_of(key, st.binary(max_size=40))),
    st.sampled_from([*UNKNOWN.values(), *(data for data, _ in REFUSED.values())]),
    st.binary(max_size=6),
)
nearly = st.lists(piece, max_size=10).map(b"".join)


@pytest.mark.parametrize(
    ("kind", "make"),
    [(signal_pb2.SignalMessage, signal_schema), (signal_pb2.PreKeySignalMessage, prekey_schema)],
    ids=["signal", "prekey"],
)
@given(data=st.data())
def test_the_package_agrees(kind, make, data):
    """Architecture, "use the package as the decoder and differential oracle".

    Any bytes are read or refused by name (PAR-01). What the scanner reads, the package reads the same. What the package
    refuses, the scanner refuses; not the other way round: the scanner is the stricter one.
    """
    schema = make(untyped_keys=False)
    wanted = [integer(each.number, 1) if each.wire_type == 0 else delimited(each.number, KEY) for each in schema.fields]
    whole = st.tuples(st.permutations(wanted).map(b"".join), nearly).map(b"".join)
    message = data.draw(st.one_of(whole, nearly, st.binary(max_size=200)))
    try:
        values = scan(message, schema)
    except ProtocolError:
        return
    assert package_values(kind, message) == values
