"""The two messages of version 3: node's bytes, our bytes, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pawl.crypto.keys import PublicKey
from pawl.errors import InvalidArgument, InvalidKey, MalformedMessage, MessageTooLarge, ProtocolError, UnknownVersion
from pawl.limits import MAX_CIPHERTEXT_BYTES, MAX_MESSAGE_BYTES
from pawl.wire import messages, signal_pb2
from pawl.wire.messages import (
    EncryptedMessage,
    MessageType,
    PreKeySignalMessage,
    SignalMessage,
    decode_prekey_message,
    decode_signal_message,
    encode_prekey_message,
    encode_signal_body,
)
from pawl.wire.varint import encode_varint
from tests.labels import label
from tests.vectors import transcripts

KEY = PublicKey(bytes(range(32)))
OTHER = PublicKey(bytes(range(1, 33)))
MAC = b"8 bytes."
INNER = encode_signal_body(ratchet_key=KEY, counter=300, previous_counter=7, ciphertext=b"body") + MAC
FIELDS = {
    "registration_id": 2002,
    "prekey_id": 31,
    "signed_prekey_id": 22,
    "base_key": KEY,
    "identity_key": OTHER,
    "message": INNER,
}
OUTER = encode_prekey_message(**FIELDS)

uint32 = st.integers(0, 2**32 - 1)
public_key = st.binary(min_size=31, max_size=31).map(lambda each: PublicKey(each + b"\x11"))


def encode_again(message: SignalMessage | PreKeySignalMessage) -> bytes:
    """The bytes that we would write for `message`."""
    if isinstance(message, SignalMessage):
        body = encode_signal_body(
            ratchet_key=message.ratchet_key,
            counter=message.counter,
            previous_counter=message.previous_counter,
            ciphertext=message.ciphertext,
        )
        assert body == message.authenticated
        return body + message.mac
    fields = {each: getattr(message, each) for each in FIELDS}
    return encode_prekey_message(**fields | {"message": encode_again(message.message)})


integer = st.one_of(
    uint32.map(encode_varint),
    # Over 32 bits, longer than it need be, and cut off.
    st.sampled_from([b"\xff\xff\xff\xff\x0f", b"\x80\x80\x80\x80\x10", b"\x87\x00", b"\x80", b"\xff" * 10, b""]),
)
"""What stands where an integer should."""


@st.composite
def almost_in_order(draw):
    """A SignalMessage in the usual order of its fields; as often as not something about it is not as usual."""
    text = draw(st.binary(max_size=300))
    usual = [
        draw(st.sampled_from([b"\x33", b"\x34"])),
        b"\x0a\x21\x05",
        draw(st.binary(min_size=32, max_size=32)),
        b"\x10",
        draw(uint32.map(encode_varint)),
        b"\x18",
        draw(uint32.map(encode_varint)),
        b"\x22",
        encode_varint(len(text)),
        text,
        MAC,
    ]
    others = [
        *[st.binary(max_size=4)] * 4,
        integer,
        st.binary(max_size=2),
        integer,
        st.binary(max_size=2),
        st.one_of(integer, st.integers(-9, 9).map(lambda off: encode_varint(max(len(text) + off, 0)))),
        # Another field may come after the text.
        st.binary(max_size=20).map(lambda more: text + more),
        st.binary(max_size=9),
    ]
    for at in draw(st.sets(st.integers(0, len(usual) - 1), max_size=2)):
        usual[at] = draw(others[at])
    data = b"".join(usual)
    return data[: draw(st.one_of(st.just(len(data)), st.integers(0, len(data))))]


def outcome(data: bytes, **options: bool) -> object:
    try:
        return decode_signal_message(data, **options)
    except ProtocolError as refusal:
        return type(refusal), str(refusal)


def same_with_the_scanner_alone(data: bytes, **options: bool) -> bool:
    """Whether the layout that is read in order was read so; the scanner alone says the same of `data`."""
    found = outcome(data, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(messages, "_read_in_order", lambda data, end: None)
        assert outcome(data, **options) == found
    return isinstance(found, SignalMessage)


@given(almost_in_order(), st.booleans())
def test_what_is_read_in_order_the_scanner_reads_so_too(data, untyped):
    """PAR-02, a message has one reading: the usual layout is read without the scanner, and never in another way."""
    same_with_the_scanner_alone(data, untyped_keys=untyped)


@pytest.mark.parametrize("counter", [0, 300, 2**32 - 1])
@pytest.mark.parametrize("length", [0, 20, 200])
def test_each_byte_of_what_is_read_in_order(counter, length):
    """PAR-02, a message has one reading: with any one byte of its frame changed, the usual layout has that of the
    scanner.
    """
    text = bytes(length)
    data = encode_signal_body(ratchet_key=KEY, counter=counter, previous_counter=counter, ciphertext=text) + MAC
    # Of the key, only the type and the top byte decide anything.
    for at in (*range(4), *range(35, len(data) - len(text) - len(MAC))):
        for value in range(256):
            same_with_the_scanner_alone(data[:at] + bytes([value]) + data[at + 1 :])


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_the_limit_of_what_is_read_in_order(over):
    """PAR-03, each field has a limit: that of the ciphertext holds in the usual layout."""
    text = bytes(MAX_CIPHERTEXT_BYTES + over)
    head = encode_signal_body(ratchet_key=KEY, counter=0, previous_counter=0, ciphertext=b"")[:-1]
    data = head + encode_varint(len(text)) + text + MAC
    assert same_with_the_scanner_alone(data) == (over <= 0)
    assert over <= 0 or outcome(data) == (MessageTooLarge, f"the field ciphertext is over {MAX_CIPHERTEXT_BYTES} bytes")


@pytest.mark.parametrize("length", range(14))
def test_where_reading_in_order_begins(length):
    """PAR-01, fields end inside the message: short messages with the longest integers, cut off before their MAC."""
    body = encode_signal_body(ratchet_key=KEY, counter=2**32 - 1, previous_counter=2**32 - 1, ciphertext=bytes(length))
    assert same_with_the_scanner_alone(body + MAC)
    for cut in range(len(body)):
        # What would be read as the MAC and what after it as fields, and tags where they would be expected.
        for end in (MAC, b"\x18" * 8, b"\x22" * 8, b"\x80" * 8):
            assert not same_with_the_scanner_alone(body[:cut] + end)


@pytest.mark.parametrize(("untyped", "least"), [(False, 33), (True, 32)])
def test_the_fields_of_the_messages(untyped, least):
    """PAR-03, each field has one stated behaviour when missing, and a limit; IDC-09: an option makes room for bare keys.

    Source: the field numbers and types of the existing clients, which the package's description states too; a wire type
    of 0 is an integer, 2 are bytes.
    """

    def fields(schema):
        return {
            each.number: (each.name, each.wire_type, each.least, each.most, each.required) for each in schema.fields
        }

    signal, prekey = messages.signal_schema(untyped_keys=untyped), messages.prekey_schema(untyped_keys=untyped)
    assert fields(signal) == {
        1: ("ratchet_key", 2, least, 33, True),
        2: ("counter", 0, 0, 0, True),
        3: ("previous_counter", 0, 0, 0, False),
        4: ("ciphertext", 2, 0, 256 * 1024, True),
    }
    assert fields(prekey) == {
        1: ("prekey_id", 0, 0, 0, False),
        2: ("base_key", 2, least, 33, True),
        3: ("identity_key", 2, least, 33, True),
        4: ("message", 2, 0, 512 * 1024, True),
        5: ("registration_id", 0, 0, 0, False),
        6: ("signed_prekey_id", 0, 0, 0, True),
    }
    for schema, kind in ((signal, signal_pb2.SignalMessage), (prekey, signal_pb2.PreKeySignalMessage)):
        assert {each.number: each.name for each in schema.fields} == {
            each.number: each.name for each in kind.DESCRIPTOR.fields
        }


def read_by_both(decode, data):
    """What `decode` reads in `data`; the package, the other opinion, has to read every field of it the same."""
    message = decode(data)
    inner = message
    if isinstance(message, PreKeySignalMessage):
        outer = signal_pb2.PreKeySignalMessage.FromString(data[1:])
        inner = message.message
        assert outer.message == inner.authenticated + inner.mac
        assert (outer.prekey_id if outer.HasField("prekey_id") else None) == message.prekey_id
        assert (outer.registration_id, outer.signed_prekey_id) == (message.registration_id, message.signed_prekey_id)
        assert outer.base_key == message.base_key.serialize()
        assert outer.identity_key == message.identity_key.serialize()
    signal = signal_pb2.SignalMessage.FromString(inner.authenticated[1:])
    assert (signal.counter, signal.previous_counter) == (inner.counter, inner.previous_counter)
    assert (signal.ratchet_key, signal.ciphertext) == (inner.ratchet_key.serialize(), inner.ciphertext)
    return message


def test_the_messages_of_node():
    """The 24 messages of the published transcripts, parsed, and written again byte for byte the same."""
    seen = {MessageType.SIGNAL: 0, MessageType.PREKEY: 0}
    for transcript in transcripts():
        senders = {"A": transcript["keys"][0]["pub"], "B": transcript["keys"][1]["pub"]}
        for step in transcript["steps"]:
            data = bytes.fromhex(step["body"])
            # node calls a message of an existing session type 1.
            kind = MessageType.PREKEY if step["type"] == 3 else MessageType.SIGNAL
            seen[kind] += 1
            if kind is MessageType.PREKEY:
                message = read_by_both(decode_prekey_message, data)
                assert message.identity_key.serialize().hex() == senders[step["from"]]
                assert (message.prekey_id, message.signed_prekey_id, message.registration_id) == (
                    31 if transcript["one_time_prekey"] else None,
                    22,
                    1001,
                )
                inner = message.message.authenticated + message.message.mac
                assert inner == signal_pb2.PreKeySignalMessage.FromString(data[1:]).message
            else:
                message = read_by_both(decode_signal_message, data)
                assert message.mac == data[-8:]
                assert message.authenticated == data[:-8]
            assert message.version_byte == 0x33
            assert encode_again(message) == data
    assert sum(seen.values()) == 24
    assert all(seen.values())


@given(public_key, uint32, uint32, st.binary(max_size=300), st.binary(min_size=8, max_size=8))
def test_signal_messages_come_back(ratchet_key, counter, previous_counter, ciphertext, mac):
    """PAR-02, "what we write is canonical and parses back": the same values, and the package writes the same bytes."""
    body = encode_signal_body(
        ratchet_key=ratchet_key, counter=counter, previous_counter=previous_counter, ciphertext=ciphertext
    )
    assert read_by_both(decode_signal_message, body + mac) == SignalMessage(
        0x33, ratchet_key, counter, previous_counter, ciphertext, mac, body
    )
    by_package = signal_pb2.SignalMessage(
        ratchet_key=ratchet_key.serialize(), counter=counter, previous_counter=previous_counter, ciphertext=ciphertext
    )
    assert body == b"\x33" + by_package.SerializeToString()


@given(uint32, st.none() | uint32, uint32, public_key, public_key)
def test_prekey_messages_come_back(registration_id, prekey_id, signed_prekey_id, base_key, identity_key):
    """PAR-02 and decision 6, "absent is not zero": the same values, and the package writes the same bytes."""
    values = {
        "registration_id": registration_id,
        "prekey_id": prekey_id,
        "signed_prekey_id": signed_prekey_id,
        "base_key": base_key,
        "identity_key": identity_key,
    }
    data = encode_prekey_message(**values, message=INNER)
    assert read_by_both(decode_prekey_message, data) == PreKeySignalMessage(
        version_byte=0x33, message=decode_signal_message(INNER), **values
    )
    values |= {"base_key": base_key.serialize(), "identity_key": identity_key.serialize()}
    by_package = signal_pb2.PreKeySignalMessage(**values, message=INNER)
    assert data == b"\x33" + by_package.SerializeToString()


@pytest.mark.parametrize("order", [(5, 1, 6, 2, 3, 4), (6, 5, 4, 3, 2, 1)])
def test_any_field_order_is_read(order):
    """Wire facts, "privacyresearch writes the fields in the order 5, 1, 6, 2, 3, 4: any order must be accepted"."""
    whole = signal_pb2.PreKeySignalMessage.FromString(OUTER[1:])
    parts = {}
    for each, value in whole.ListFields():
        parts[each.number] = signal_pb2.PreKeySignalMessage(**{each.name: value}).SerializeToString()
    data = OUTER[:1] + b"".join(parts[number] for number in order)
    assert data != OUTER
    assert read_by_both(decode_prekey_message, data) == decode_prekey_message(OUTER)


def test_what_was_received_is_what_is_authenticated():
    """PAR-02, "a MAC is checked over the bytes received, never over a re-encoding": order and unknown fields kept."""
    parsed = decode_signal_message(INNER)
    reordered = b"\x33" + INNER[36:39] + INNER[1:36] + INNER[39:-8] + b"\x2a\x01x"
    again = decode_signal_message(reordered + MAC)
    assert again.authenticated == reordered
    assert again._replace(authenticated=parsed.authenticated) == parsed


@pytest.mark.parametrize("version", [0x33, 0x34])
@pytest.mark.parametrize("inner", [0x33, 0x34])
def test_both_version_bytes_of_version_3(version, inner):
    """Wire facts, "accepts 0x33 and 0x34": official writes 0x34 in stored sessions; the byte is kept as received."""
    data = bytes([inner]) + INNER[1:]
    message = read_by_both(decode_signal_message, data)
    assert (message.version_byte, message.authenticated[0]) == (inner, inner)
    prekey = decode_prekey_message(bytes([version]) + encode_prekey_message(**FIELDS | {"message": data})[1:])
    assert (prekey.version_byte, prekey.message.version_byte) == (version, inner)


@pytest.mark.parametrize("version", sorted(set(range(256)) - {0x33, 0x34}))
def test_other_versions_are_refused(version):
    """PAR-04: outer and inner message version are both 3, whatever else the message holds."""
    with pytest.raises(UnknownVersion, match=f"0x{version:02x}"):
        decode_signal_message(bytes([version]) + INNER[1:])
    with pytest.raises(UnknownVersion):
        decode_prekey_message(bytes([version]) + OUTER[1:])
    with pytest.raises(UnknownVersion):
        decode_prekey_message(encode_prekey_message(**FIELDS | {"message": bytes([version]) + INNER[1:]}))


def without(data: bytes, kind: type, *names: str) -> bytes:
    """The protobuf `data` without some fields."""
    message = kind.FromString(data)
    for name in names:
        message.ClearField(name)
    return b"\x33" + message.SerializeToString()


@pytest.mark.parametrize("name", ["ratchet_key", "counter", "ciphertext"])
def test_missing_fields_of_a_signal_message(name):
    """PAR-03, one stated behaviour when missing: refused, and named."""
    with pytest.raises(MalformedMessage, match=f"{name} is missing"):
        decode_signal_message(without(INNER[1:-8], signal_pb2.SignalMessage, name) + MAC)


@pytest.mark.parametrize("name", ["base_key", "identity_key", "message", "signed_prekey_id"])
def test_missing_fields_of_a_prekey_message(name):
    """PAR-03, one stated behaviour when missing: refused, and named."""
    with pytest.raises(MalformedMessage, match=f"{name} is missing"):
        decode_prekey_message(without(OUTER[1:], signal_pb2.PreKeySignalMessage, name))


def test_optional_fields_that_are_missing():
    """PAR-03: previous counter and registration id read as 0; decision 6: a missing prekey id reads as none, not 0."""
    signal = decode_signal_message(without(INNER[1:-8], signal_pb2.SignalMessage, "previous_counter") + MAC)
    assert (signal.counter, signal.previous_counter) == (300, 0)
    prekey = decode_prekey_message(without(OUTER[1:], signal_pb2.PreKeySignalMessage, "prekey_id", "registration_id"))
    assert (prekey.prekey_id, prekey.registration_id) == (None, 0)
    zero = decode_prekey_message(encode_prekey_message(**FIELDS | {"prekey_id": 0}))
    assert zero.prekey_id == 0


@pytest.mark.parametrize("length", range(1, 9))
def test_a_message_has_room_for_its_mac(length):
    """Wire facts, "trailer: SignalMessage an 8-byte MAC": fewer bytes are no message."""
    with pytest.raises(MalformedMessage, match="MAC"):
        decode_signal_message(b"\x33" * length)


def test_nothing_but_a_mac():
    """PAR-03: a version byte and a MAC alone miss every field."""
    with pytest.raises(MalformedMessage, match="missing"):
        decode_signal_message(b"\x33" + MAC)


@pytest.mark.parametrize("decode", [decode_signal_message, decode_prekey_message])
def test_what_is_no_message(decode):
    """PAR-01: empty bytes are malformed; other types are a wrong argument; 512 KiB and a byte are not parsed at all."""
    with pytest.raises(MalformedMessage, match="empty"):
        decode(b"")
    for data in (None, "", bytearray(INNER), memoryview(INNER), 3):
        with pytest.raises(InvalidArgument):
            decode(data)
    with pytest.raises(MessageTooLarge):
        decode(bytes(MAX_MESSAGE_BYTES + 1))
    with pytest.raises(ProtocolError) as refusal:
        decode(b"\x33" + bytes(MAX_MESSAGE_BYTES - 1))
    assert not isinstance(refusal.value, MessageTooLarge)


@pytest.mark.parametrize("serialized", [b"\x04" + bytes(32), b"\x05" + b"\xff" * 32], ids=["type", "not canonical"])
def test_keys_are_checked(serialized):
    """Decision 2, parse and bound everything first: a wrong type byte or a second spelling is refused anywhere."""
    with pytest.raises(InvalidKey):
        decode_signal_message(INNER.replace(KEY.serialize(), serialized))
    for key in (KEY, OTHER):
        position = OUTER.index(key.serialize())
        with pytest.raises(InvalidKey):
            decode_prekey_message(OUTER[:position] + serialized + OUTER[position + 33 :])


def test_the_largest_bodies():
    """Limits, MAX_CIPHERTEXT_BYTES: that many bytes come back; one more is refused in both directions."""
    body = encode_signal_body(ratchet_key=KEY, counter=0, previous_counter=0, ciphertext=bytes(MAX_CIPHERTEXT_BYTES))
    assert len(decode_signal_message(body + MAC).ciphertext) == MAX_CIPHERTEXT_BYTES
    assert decode_prekey_message(encode_prekey_message(**FIELDS | {"message": body + MAC})).message
    with pytest.raises(MessageTooLarge):
        encode_signal_body(ratchet_key=KEY, counter=0, previous_counter=0, ciphertext=bytes(MAX_CIPHERTEXT_BYTES + 1))
    over = signal_pb2.SignalMessage(
        ratchet_key=KEY.serialize(), counter=0, ciphertext=bytes(MAX_CIPHERTEXT_BYTES + 1)
    ).SerializeToString()
    with pytest.raises(MessageTooLarge, match="ciphertext"):
        decode_signal_message(b"\x33" + over + MAC)
    with pytest.raises(MessageTooLarge):
        encode_prekey_message(**FIELDS | {"message": bytes(MAX_MESSAGE_BYTES - 50)})


@given(st.binary(max_size=400), st.sampled_from([b"", b"\x33", b"\x34", INNER[:60], OUTER[:90], OUTER[:160]]))
def test_any_bytes_are_read_or_refused(data, start):
    """PAR-01, "any byte string is either a valid message or a typed refusal": never another exception."""
    for decode in (decode_signal_message, decode_prekey_message):
        try:
            read_by_both(decode, start + data)
        except ProtocolError:
            continue


@given(st.data())
def test_changed_messages_are_read_or_refused(data):
    """PAR-01: a good message with one byte changed or the end cut off."""
    whole = bytearray(data.draw(st.sampled_from([INNER, OUTER])))
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    for decode in (decode_signal_message, decode_prekey_message):
        try:
            read_by_both(decode, bytes(whole[: data.draw(st.integers(0, len(whole)))]))
        except ProtocolError:
            continue


def test_no_native_parser_reads_what_a_peer_sent():
    """Architecture, "differential oracle": the protobuf package reads messages here, not in the library."""
    assert not [name for name, value in vars(messages).items() if "google.protobuf" in repr(value) or "_pb2" in name]


@pytest.mark.parametrize(
    "changes",
    [
        {"ratchet_key": KEY.serialize()},
        {"ratchet_key": None},
        {"ciphertext": "text"},
        {"ciphertext": bytearray(3)},
        {"counter": -1},
        {"counter": 2**32},
        {"counter": 1.0},
        {"counter": None},
        {"previous_counter": 2**32},
        {"previous_counter": True},
    ],
    ids=label,
)
def test_no_signal_message_is_made_of_this(changes):
    """Wrong argument types and ranges are refused by name."""
    arguments = {"ratchet_key": KEY, "counter": 0, "previous_counter": 0, "ciphertext": b""}
    with pytest.raises(InvalidArgument):
        encode_signal_body(**arguments | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"base_key": KEY.serialize()},
        {"identity_key": None},
        {"message": "text"},
        {"registration_id": -1},
        {"registration_id": None},
        {"prekey_id": 2**32},
        {"prekey_id": "31"},
        {"signed_prekey_id": 2**64},
        {"signed_prekey_id": None},
    ],
    ids=label,
)
def test_no_prekey_message_is_made_of_this(changes):
    """Wrong argument types and ranges are refused by name."""
    with pytest.raises(InvalidArgument):
        encode_prekey_message(**FIELDS | changes)


def test_encrypted_message():
    """What travels: a type that is one of the two, and bytes."""
    assert EncryptedMessage(MessageType(3), INNER) == EncryptedMessage(MessageType.PREKEY, INNER)
    for arguments in ((3, INNER), (MessageType.SIGNAL, bytearray(INNER)), (None, None), ("SIGNAL", INNER)):
        with pytest.raises(InvalidArgument):
            EncryptedMessage(*arguments)
