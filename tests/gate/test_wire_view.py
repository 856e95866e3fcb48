"""What the network reads off a message: the same as the library's own decoder on honest ones, and what is canonical."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pawl.wire.messages import decode_prekey_message, decode_signal_message
from pawl_gate.attacker import tamper
from pawl_gate.targets.base import HarnessBroken, WireMessage
from pawl_gate.wire_view import (
    Layer,
    header,
    inner_data,
    is_canonical,
    prekey_layer,
    read_fields,
    read_varint,
    signal_layer,
    varint,
    write_field,
    write_fields,
)
from tests.gate.honest import Honest

HONEST = Honest()
KEY = b"\x05" + bytes(range(32))
MAC = bytes(8)


def signal(body: bytes, mac: bytes = MAC) -> WireMessage:
    """A plain message with this body."""
    return WireMessage("signal", b"\x33" + body + mac)


def prekey(body: bytes) -> WireMessage:
    """A prekey message with this outer body."""
    return WireMessage("prekey", b"\x33" + body)


BODY = [write_field(1, KEY), write_field(2, 5), write_field(3, 300), write_field(4, b"secret")]
INNER = signal(b"".join(BODY)).data
OUTER = [
    write_field(1, 9),
    write_field(2, KEY),
    write_field(3, KEY),
    write_field(4, INNER),
    write_field(5, 77),
    write_field(6, 1),
]

# -- headers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", HONEST.sent, ids=lambda message: message.kind)
def test_headers_of_honest_messages(message: WireMessage) -> None:
    """`header` says what the library's strict decoder finds in an honest message."""
    seen = header(message)
    inner = decode_signal_message(inner_data(message))
    assert seen.ratchet_key == inner.ratchet_key.serialize().hex()
    assert (seen.counter, seen.previous_counter) == (inner.counter, inner.previous_counter)
    if message.kind == "signal":
        assert (seen.base_key, seen.prekey_id, seen.signed_prekey_id, seen.identity_key) == (None, None, None, None)
        assert seen.version == inner.version_byte
        return
    outer = decode_prekey_message(message.data)
    assert (seen.version, seen.prekey_id, seen.signed_prekey_id, seen.registration_id) == (
        outer.version_byte,
        outer.prekey_id,
        outer.signed_prekey_id,
        outer.registration_id,
    )
    assert (seen.base_key, seen.identity_key) == (
        outer.base_key.serialize().hex(),
        outer.identity_key.serialize().hex(),
    )


def test_headers_of_made_messages() -> None:
    """The fields by their numbers, each read on its own."""
    seen = header(prekey(b"".join(OUTER)))
    assert (seen.kind, seen.version, seen.counter, seen.previous_counter) == ("prekey", 0x33, 5, 300)
    assert (seen.prekey_id, seen.signed_prekey_id, seen.registration_id) == (9, 1, 77)
    assert seen.ratchet_key == seen.base_key == seen.identity_key == KEY.hex()


def test_absent_is_not_zero() -> None:
    """A one-time prekey's id that is missing is None; counters that are missing are 0."""
    assert header(prekey(b"".join(OUTER[1:]))).prekey_id is None
    assert header(prekey(write_field(1, 0) + b"".join(OUTER[1:]))).prekey_id == 0
    seen = header(signal(BODY[0] + BODY[3]))
    assert (seen.counter, seen.previous_counter) == (0, 0)


@pytest.mark.parametrize(
    "message",
    [
        WireMessage("signal", b""),
        WireMessage("prekey", b""),
        WireMessage("signal", b"\x33" + bytes(7)),
        signal(b"".join(BODY[1:])),
        signal(write_field(1, 5) + BODY[1]),
        signal(BODY[0] + write_field(2, b"5")),
        signal(BODY[0] + b"\x11" + bytes(8)),
        signal(BODY[0] + b"\x15" + bytes(4)),
        signal(BODY[0] + b"\x10\x80"),
        prekey(b"".join(OUTER[:3])),
        prekey(b"".join(OUTER[:3]) + write_field(4, 5)),
        prekey(b"".join(OUTER[:3]) + write_field(4, b"short")),
        prekey(write_field(4, INNER)),
    ],
)
def test_what_cannot_be_read(message: WireMessage) -> None:
    """What a target sends is a message, or the harness is broken: never another exception."""
    with pytest.raises(HarnessBroken):
        header(message)


# -- canonical form ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", HONEST.sent, ids=lambda message: message.kind)
def test_honest_messages_are_canonical(message: WireMessage) -> None:
    """PAR-02: "What is written is canonical"."""
    assert is_canonical(message)


def test_made_messages_are_canonical() -> None:
    """Known fields in number order, once each, in the shortest form; what is optional may be missing."""
    assert is_canonical(signal(b"".join(BODY)))
    assert is_canonical(signal(BODY[0] + BODY[1] + BODY[3]))
    assert is_canonical(prekey(b"".join(OUTER)))
    assert is_canonical(prekey(b"".join(OUTER[1:])))


LONG_COUNTER = b"\x10\x85\x00"
LONG_TAG = b"\x90\x00\x05"
LONG_LENGTH = b"\x22\x86\x00secret"


@pytest.mark.parametrize(
    "body",
    [
        [BODY[1], BODY[0], BODY[2], BODY[3]],
        [*BODY[:3], BODY[2], BODY[3]],
        [*BODY, write_field(5, b"")],
        [*BODY, write_field(100, 0)],
        [BODY[0], LONG_COUNTER, BODY[2], BODY[3]],
        [BODY[0], LONG_TAG, BODY[2], BODY[3]],
        [*BODY[:3], LONG_LENGTH],
        [BODY[0], write_field(2, b"\5"), BODY[2], BODY[3]],
        [*BODY[:3], write_field(4, 5)],
        [*BODY[:3], b"\x22\x07secret"],
    ],
    ids=["order", "twice", "unknown", "far", "counter", "tag", "length", "bytes", "number", "short"],
)
def test_what_is_not_canonical(body: list[bytes]) -> None:
    """Another order, a field twice or unknown, a varint too long, a wrong wire type, a length that is not there: both
    in a plain message and inside a prekey message.
    """
    message = signal(b"".join(body))
    assert not is_canonical(message)
    assert not is_canonical(prekey(b"".join([*OUTER[:3], write_field(4, message.data), *OUTER[4:]])))


@pytest.mark.parametrize(
    "body",
    [
        [OUTER[4], *OUTER[:4], OUTER[5]],
        [*OUTER, OUTER[5]],
        [*OUTER, write_field(7, 1)],
        [*OUTER[:4], b"\x28\xcd\x80\x00", OUTER[5]],
        [*OUTER[:4], write_field(5, b"\x4d"), OUTER[5]],
    ],
    ids=["order", "twice", "unknown", "varint", "bytes"],
)
def test_what_is_not_canonical_outside(body: list[bytes]) -> None:
    """The same in the outer layer of a prekey message."""
    assert not is_canonical(prekey(b"".join(body)))


@pytest.mark.parametrize(
    "name",
    [
        "duplicate-field",
        "overlong-varint",
        "unknown-field",
        "wrong-wire-type",
        "outer-duplicate-field",
        "outer-overlong-varint",
        "outer-unknown-field",
        "reorder-fields",
    ],
)
def test_what_the_attacker_made_is_not_canonical(name: str) -> None:
    """The attacker's changes of form turn every honest message into one that is not canonical."""
    for message in HONEST.sent:
        change = tamper(message, name, 0, others=HONEST.sent, identities={})
        if change is not None:
            assert not is_canonical(change.message)


# -- varints and fields -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "encoded"), [(0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (150, "9601"), (2**32 - 1, "ffffffff0f")]
)
def test_varints(number: int, encoded: str) -> None:
    """Protocol Buffers encoding, "Base 128 Varints": 150 is 96 01."""
    assert varint(number).hex() == encoded
    assert read_varint(b"\xff" + bytes.fromhex(encoded), 1) == (number, 1 + len(encoded) // 2)


@given(st.lists(st.tuples(st.integers(1, 2**29 - 1), st.integers(0, 2**64 - 1) | st.binary(max_size=40)), max_size=6))
def test_what_is_written_is_read(written: list[tuple[int, int | bytes]]) -> None:
    """Writing and reading are inverse."""
    assert read_fields(write_fields(written)) == written


def test_layers_are_taken_apart_and_put_together() -> None:
    """A layer is version byte, fields and trailer; unchanged, it is the bytes that it came from."""
    for message in HONEST.sent:
        assert signal_layer(inner_data(message)).data() == inner_data(message)
        if message.kind == "prekey":
            assert prekey_layer(message.data).data() == message.data


def test_fields_are_replaced_or_added() -> None:
    """`set` replaces the first field of that number where it stands, or adds it at the end."""
    layer = Layer(0x33, [(1, 5), (2, b"x"), (1, 6)], b"!")
    layer.set(1, 7)
    layer.set(9, 8)
    assert layer.fields == [(1, 7), (2, b"x"), (1, 6), (9, 8)]
    assert (layer.get(1), layer.get(3)) == (7, None)
    assert layer.data() == b"\x33\x08\x07\x12\x01x\x08\x06\x48\x08!"
