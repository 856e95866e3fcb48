"""Group messages and distributions, in both layouts: the peers' bytes, our bytes, and what is refused."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pawl.crypto.keys import ChainKey, PublicKey
from pawl.errors import InvalidArgument, InvalidKey, MalformedMessage, MessageTooLarge, ProtocolError, UnknownVersion
from pawl.limits import MAX_CIPHERTEXT_BYTES, MAX_MESSAGE_BYTES
from pawl.wire import group_messages, signal_pb2
from pawl.wire.group_messages import (
    GroupLayout,
    SenderKeyDistribution,
    SenderKeyMessage,
    decode_distribution,
    decode_sender_key_message,
    encode_distribution,
    encode_sender_key_body,
    group_of_distribution,
    group_of_message,
)
from tests.group.transcripts import LAYOUTS, TRANSCRIPTS

CURRENT, EARLIER = GroupLayout
GROUP = UUID("6b2d1c0e-7f34-4a51-9d8e-0f1a2b3c4d5e")
KEY = PublicKey(bytes(range(32)))
CHAIN_KEY = ChainKey(bytes(range(100, 132)))
SIGNATURE = bytes(range(64))
BODIES = {
    layout: encode_sender_key_body(
        distribution_id=GROUP if layout is CURRENT else None, chain_id=300, iteration=7, ciphertext=b"body"
    )
    for layout in GroupLayout
}
DISTRIBUTIONS = {
    layout: encode_distribution(SenderKeyDistribution(GROUP if layout is CURRENT else None, 300, 7, CHAIN_KEY, KEY))
    for layout in GroupLayout
}
uint32 = st.integers(0, 2**32 - 1)
both = pytest.mark.parametrize("layout", GroupLayout)


def encode_again(message: SenderKeyMessage) -> bytes:
    body = encode_sender_key_body(
        distribution_id=message.distribution_id,
        chain_id=message.chain_id,
        iteration=message.iteration,
        ciphertext=message.ciphertext,
    )
    return body + message.signature


def test_the_fields_of_the_messages():
    """PAR-03, each field has one stated behaviour when missing, and a limit: all are required.

    Source: the field numbers and types of the existing clients; 0 is an integer, 2 are bytes.
    """

    def fields(schema):
        return [
            (each.number, each.name, each.wire_type, each.least, each.most, each.required) for each in schema.fields
        ]

    chain, iteration = ("chain_id", 0, 0, 0, True), ("iteration", 0, 0, 0, True)
    body, name = ("ciphertext", 2, 0, 256 * 1024, True), ("distribution_uuid", 2, 0, 16, True)
    keys = ("chain_key", 2, 0, 32, True), ("signing_key", 2, 33, 33, True)
    expected = {
        "MESSAGE_SCHEMA": (signal_pb2.SenderKeyMessage, (name, chain, iteration, body)),
        "EARLIER_MESSAGE_SCHEMA": (signal_pb2.EarlierSenderKeyMessage, (chain, iteration, body)),
        "DISTRIBUTION_SCHEMA": (signal_pb2.SenderKeyDistributionMessage, (name, chain, iteration, *keys)),
        "EARLIER_DISTRIBUTION_SCHEMA": (
            signal_pb2.EarlierSenderKeyDistributionMessage,
            (chain, iteration, *keys),
        ),
    }
    for schema, (kind, rows) in expected.items():
        found = fields(getattr(group_messages, schema))
        assert found == [(number, *row) for number, row in enumerate(rows, 1)]
        assert [(number, name) for number, name, *_ in found] == [(f.number, f.name) for f in kind.DESCRIPTOR.fields]


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_the_messages_of_the_peers(name):
    """The recorded messages of both peers, parsed, and written again byte for byte the same (PAR-02)."""
    transcript, layout = TRANSCRIPTS[name], LAYOUTS[name]
    for number, step in enumerate(transcript["messages"]):
        data = bytes.fromhex(step["message"])
        message = decode_sender_key_message(data, layout=layout)
        assert encode_again(message) == data
        assert message.iteration == number
        assert message.signed + message.signature == data
    for field, iteration in (("distribution", 0), ("distribution_before_message_5", 5)):
        data = bytes.fromhex(transcript[field])
        distribution = decode_distribution(data, layout=layout)
        assert encode_distribution(distribution) == data
        assert distribution.iteration == iteration
        assert distribution.chain_id == message.chain_id
        named = None if layout is EARLIER else UUID(transcript["distribution_id"])
        assert distribution.distribution_id == message.distribution_id == named


def test_our_bytes():
    """PAR-02, "what we write is canonical": by hand, field by field, from the table of the existing clients."""
    assert BODIES[CURRENT] == b"\x33" + b"\x0a\x10" + GROUP.bytes + b"\x10\xac\x02" + b"\x18\x07" + b"\x22\x04body"
    assert BODIES[EARLIER] == b"\x33" + b"\x08\xac\x02" + b"\x10\x07" + b"\x1a\x04body"
    keys = CHAIN_KEY.data, b"\x05" + KEY.data
    assert DISTRIBUTIONS[CURRENT] == (
        b"\x33" + b"\x0a\x10" + GROUP.bytes + b"\x10\xac\x02\x18\x07" + b"\x22\x20%b\x2a\x21%b" % keys
    )
    assert DISTRIBUTIONS[EARLIER] == b"\x33" + b"\x08\xac\x02\x10\x07" + b"\x1a\x20%b\x22\x21%b" % keys


@given(uint32, uint32, st.binary(max_size=400), st.sampled_from(GroupLayout), st.binary(min_size=64, max_size=64))
def test_a_message_is_read_back(chain_id, iteration, ciphertext, layout, signature):
    """PAR-02: "parses back to the same value", and the package reads the same."""
    named = GROUP if layout is CURRENT else None
    body = encode_sender_key_body(distribution_id=named, chain_id=chain_id, iteration=iteration, ciphertext=ciphertext)
    read = decode_sender_key_message(body + signature, layout=layout)
    assert read == SenderKeyMessage(named, chain_id, iteration, ciphertext, signature, body)
    kind = signal_pb2.SenderKeyMessage if layout is CURRENT else signal_pb2.EarlierSenderKeyMessage
    package = kind.FromString(body[1:])
    assert (package.chain_id, package.iteration, package.ciphertext) == (chain_id, iteration, ciphertext)
    if layout is CURRENT:
        assert package.distribution_uuid == GROUP.bytes
        assert group_of_message(body + signature) == GROUP


@given(uint32, uint32, st.binary(min_size=32, max_size=32), st.sampled_from(GroupLayout))
def test_a_distribution_is_read_back(chain_id, iteration, chain_key, layout):
    """PAR-02: the same for distributions."""
    named = GROUP if layout is CURRENT else None
    distribution = SenderKeyDistribution(named, chain_id, iteration, ChainKey(chain_key), KEY)
    data = encode_distribution(distribution)
    assert decode_distribution(data, layout=layout) == distribution
    earlier = signal_pb2.EarlierSenderKeyDistributionMessage
    kind = signal_pb2.SenderKeyDistributionMessage if layout is CURRENT else earlier
    package = kind.FromString(data[1:])
    assert (package.chain_id, package.iteration, package.chain_key) == (chain_id, iteration, chain_key)
    assert package.signing_key == KEY.serialize()
    if layout is CURRENT:
        assert group_of_distribution(data) == GROUP


@both
def test_one_layout_is_not_read_as_the_other(layout):
    """No byte string has both layouts: field 1 has another wire type."""
    other = CURRENT if layout is EARLIER else EARLIER
    with pytest.raises(MalformedMessage, match="field 1 has the wrong wire type"):
        decode_sender_key_message(BODIES[layout] + SIGNATURE, layout=other)
    with pytest.raises(MalformedMessage, match="field 1 has the wrong wire type"):
        decode_distribution(DISTRIBUTIONS[layout], layout=other)


@both
@given(data=st.data())
def test_any_order_and_some_unknown_fields(layout, data):
    """PAR-02: "on input any field order and unknown fields are accepted"; the signature is over what was received."""
    for whole, decode, tail in (
        (BODIES[layout], decode_sender_key_message, SIGNATURE),
        (DISTRIBUTIONS[layout], decode_distribution, b""),
    ):
        fields = data.draw(st.permutations(split(whole[1:])))
        unknown = b"\x78\x01" * data.draw(st.integers(0, 16))
        shuffled = b"\x33" + b"".join(fields) + unknown
        read, plain = decode(shuffled + tail, layout=layout), decode(whole + tail, layout=layout)
        if isinstance(read, SenderKeyMessage):
            assert read.signed == shuffled
            read = read._replace(signed=plain.signed)
        assert read == plain


def split(protobuf: bytes) -> list[bytes]:
    """The fields of a message whose integers have at most two bytes and whose lengths have one."""
    fields, at = [], 0
    while at < len(protobuf):
        end = at + 2
        if protobuf[at] & 7 == 2:
            end += protobuf[at + 1]
        elif protobuf[at + 1] >= 0x80:
            end += 1
        fields.append(protobuf[at:end])
        at = end
    return fields


@both
def test_every_field_is_there_once(layout):
    """PAR-03: a missing field is refused; PAR-02: "duplicate singular fields ... are refused"."""
    for whole, decode, tail in (
        (BODIES[layout], decode_sender_key_message, SIGNATURE),
        (DISTRIBUTIONS[layout], decode_distribution, b""),
    ):
        fields = split(whole[1:])
        for number, field in enumerate(fields):
            rest = fields[:number] + fields[number + 1 :]
            with pytest.raises(MalformedMessage, match="is missing"):
                decode(b"\x33" + b"".join(rest) + tail, layout=layout)
            with pytest.raises(MalformedMessage, match="is there twice"):
                decode(b"\x33" + b"".join([*fields, field]) + tail, layout=layout)
        with pytest.raises(MalformedMessage, match="unknown fields"):
            decode(whole + b"\x78\x01" * 17 + tail, layout=layout)


@both
def test_the_frame(layout):
    """PAR-01, PAR-03: the version byte is 0x33, and nothing is done for what is empty, too long, or no bytes."""
    for whole, decode in (
        (BODIES[layout] + SIGNATURE, decode_sender_key_message),
        (DISTRIBUTIONS[layout], decode_distribution),
    ):
        for version in (0x00, 0x03, 0x32, 0x34, 0x43, 0x44, 0xFF):
            with pytest.raises(UnknownVersion, match=f"0x{version:02x}"):
                decode(bytes([version]) + whole[1:], layout=layout)
        with pytest.raises(MalformedMessage, match="empty"):
            decode(b"", layout=layout)
        with pytest.raises(MessageTooLarge):
            decode(b"\x33" * (MAX_MESSAGE_BYTES + 1), layout=layout)
        with pytest.raises(InvalidArgument):
            decode(bytearray(whole), layout=layout)
        for end in range(1, len(whole)):
            with pytest.raises((MalformedMessage, InvalidKey)):
                decode(whole[:end], layout=layout)
    with pytest.raises(MalformedMessage, match="room for its signature"):
        decode_sender_key_message(b"\x33" + bytes(63), layout=layout)


@pytest.mark.parametrize(
    ("layout", "old", "new", "refusal"),
    [
        (CURRENT, b"\x0a\x10" + GROUP.bytes, b"\x0a\x0f" + GROUP.bytes[1:], MalformedMessage),
        (CURRENT, b"\x0a\x10" + GROUP.bytes, b"\x0a\x11" + GROUP.bytes + b"x", MessageTooLarge),
        (CURRENT, b"\x22\x20" + CHAIN_KEY.data, b"\x22\x1f" + CHAIN_KEY.data[1:], InvalidKey),
        (CURRENT, b"\x22\x20" + CHAIN_KEY.data, b"\x22\x21x" + CHAIN_KEY.data, MessageTooLarge),
        (EARLIER, b"\x1a\x20" + CHAIN_KEY.data, b"\x1a\x1f" + CHAIN_KEY.data[1:], InvalidKey),
        (CURRENT, b"\x2a\x21\x05" + KEY.data, b"\x2a\x20" + KEY.data, InvalidKey),
        (CURRENT, b"\x2a\x21\x05" + KEY.data, b"\x2a\x21\x06" + KEY.data, InvalidKey),
        (EARLIER, b"\x22\x21\x05" + KEY.data, b"\x22\x21\x05" + b"\xff" * 32, InvalidKey),
        (CURRENT, b"\x10\xac\x02", b"\x10\x80\x80\x80\x80\x10", MalformedMessage),
        (EARLIER, b"\x10\x07", b"\x10\x87\x00", MalformedMessage),
        (CURRENT, b"\x18\x07", b"\x1a\x00", MalformedMessage),
    ],
)
def test_a_field_that_is_wrong(layout, old, new, refusal):
    """PAR-02, PAR-03: a wrong length, wire type, key or integer is refused by name."""
    whole = DISTRIBUTIONS[layout]
    assert whole.count(old) == 1
    with pytest.raises(refusal) as caught:
        decode_distribution(whole.replace(old, new), layout=layout)
    assert type(caught.value) is refusal


def test_a_ciphertext_over_the_limit():
    """PAR-03: "size and field limits hold before allocation", on both ways."""
    for layout, tag in ((CURRENT, b"\x22"), (EARLIER, b"\x1a")):
        named = GROUP if layout is CURRENT else None
        most = {"distribution_id": named, "chain_id": 1, "iteration": 2}
        body = encode_sender_key_body(**most, ciphertext=bytes(MAX_CIPHERTEXT_BYTES))
        decode_sender_key_message(body + SIGNATURE, layout=layout)
        longer = tag + (MAX_CIPHERTEXT_BYTES + 1).to_bytes(3, "big")
        assert longer[1:] == b"\x04\x00\x01"
        at = body.index(tag + b"\x80\x80\x10")
        with pytest.raises(MessageTooLarge):
            decode_sender_key_message(
                body[:at] + tag + b"\x81\x80\x10" + bytes(MAX_CIPHERTEXT_BYTES + 1) + SIGNATURE, layout=layout
            )
        with pytest.raises(MessageTooLarge):
            encode_sender_key_body(**most, ciphertext=bytes(MAX_CIPHERTEXT_BYTES + 1))


@pytest.mark.parametrize(
    "change",
    [
        {"chain_id": 2**32},
        {"chain_id": -1},
        {"chain_id": True},
        {"iteration": 2**32},
        {"iteration": "1"},
        {"ciphertext": bytearray(b"x")},
        {"distribution_id": GROUP.bytes},
        {"distribution_id": str(GROUP)},
    ],
)
def test_what_is_no_message_is_not_written(change):
    """Arguments of another type or range are refused."""
    with pytest.raises(InvalidArgument):
        encode_sender_key_body(**{"distribution_id": GROUP, "chain_id": 1, "iteration": 2, "ciphertext": b""} | change)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("distribution_id", GROUP.bytes),
        ("chain_id", 2**32),
        ("iteration", -1),
        ("chain_key", CHAIN_KEY.data),
        ("signing_key", KEY.data),
    ],
)
def test_what_is_no_distribution_is_not_made(field, value):
    fields = {"distribution_id": GROUP, "chain_id": 1, "iteration": 2, "chain_key": CHAIN_KEY, "signing_key": KEY}
    SenderKeyDistribution(**fields)
    with pytest.raises(InvalidArgument):
        SenderKeyDistribution(**fields | {field: value})
    with pytest.raises(InvalidArgument):
        encode_distribution(b"bytes")


@given(st.binary(max_size=200), st.sampled_from(GroupLayout))
def test_any_bytes(data, layout):
    """PAR-01: "any byte string is either a valid message or a typed refusal: never another exception"."""
    for prefix in (b"", b"\x33", BODIES[layout], DISTRIBUTIONS[layout]):
        for decode in (decode_sender_key_message, decode_distribution):
            try:
                read = decode(prefix + data, layout=layout)
            except ProtocolError:
                continue
            assert isinstance(read, SenderKeyMessage | SenderKeyDistribution)
        for name in (group_of_message, group_of_distribution):
            try:
                assert type(name(prefix + data)) is UUID
            except ProtocolError:
                continue
