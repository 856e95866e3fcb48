"""Records: what is written comes back; nothing else is read."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pawl.crypto.keys import ChainKey, KeyPair, MessageSeed, PrivateKey, PublicKey, RootKey
from pawl.errors import CorruptStore, InvalidArgument
from pawl.limits import MAX_COUNTER, MAX_RECORD_BYTES
from pawl.session.state import PendingPreKey, ReceivingChain, SendingChain, Session
from pawl.wire import records_pb2
from pawl.wire.records import (
    LocalIdentity,
    PreKey,
    SignedPreKey,
    decode_identity,
    decode_local_identity,
    decode_message_seed,
    decode_prekey,
    decode_session,
    decode_session_index,
    decode_signed_prekey,
    encode_identity,
    encode_local_identity,
    encode_message_seed,
    encode_prekey,
    encode_session,
    encode_session_index,
    encode_signed_prekey,
)
from tests.labels import label

secret = st.binary(min_size=32, max_size=32)
public = st.binary(min_size=31, max_size=31).map(lambda each: PublicKey(each + b"\x11"))
pair = st.builds(KeyPair, public, secret.map(PrivateKey))
uint32 = st.integers(0, 2**32 - 1)
counter = st.integers(0, 2**32)
seconds = st.integers(0, 2**63 - 1)
session = st.builds(
    Session,
    version=st.just(3),
    base_key=public,
    local_identity=public,
    remote_identity=public,
    local_registration_id=uint32,
    remote_registration_id=uint32,
    root_key=secret.map(RootKey),
    sending=st.builds(SendingChain, pair, secret.map(ChainKey), counter),
    receiving=st.lists(
        st.builds(ReceivingChain, public, secret.map(ChainKey), counter, st.integers(0, 1600)), max_size=5
    ).map(tuple),
    previous_counter=uint32,
    pending=st.none() | st.builds(PendingPreKey, st.none() | uint32, uint32, public, seconds),
)
index = st.lists(secret, min_size=1, max_size=41, unique=True).map(tuple)
prekey = st.builds(PreKey, uint32, pair)
signed_prekey = st.builds(SignedPreKey, uint32, pair, st.binary(min_size=64, max_size=64), seconds)
local = st.builds(LocalIdentity, secret.map(PrivateKey).map(KeyPair.from_private), uint32, uint32, uint32)

ROUND_TRIPS = {
    "session": (session, encode_session, decode_session),
    "index": (index, encode_session_index, decode_session_index),
    "identity": (public, encode_identity, decode_identity),
    "prekey": (prekey, encode_prekey, decode_prekey),
    "signed prekey": (signed_prekey, encode_signed_prekey, decode_signed_prekey),
    "local identity": (local, encode_local_identity, decode_local_identity),
    "message seed": (secret.map(MessageSeed), encode_message_seed, decode_message_seed),
}
DECODERS = [decode for _, _, decode in ROUND_TRIPS.values()]

PAIR = KeyPair.from_private(PrivateKey(bytes(range(32))))
KEY = PAIR.public
CHAIN = ReceivingChain(KEY, ChainKey(bytes(32)), 5, 3)
SESSION = Session(
    version=3,
    base_key=KEY,
    local_identity=KEY,
    remote_identity=KEY,
    local_registration_id=1001,
    remote_registration_id=2002,
    root_key=RootKey(bytes(range(32))),
    sending=SendingChain(PAIR, ChainKey(bytes(32)), 300),
    receiving=(CHAIN, CHAIN),
    previous_counter=7,
    pending=PendingPreKey(31, 22, KEY, 1_700_000_000),
)


@pytest.mark.parametrize("name", ROUND_TRIPS)
@settings(deadline=None)
@given(data=st.data())
def test_records_come_back(name, data):
    """PAR-05 and decision 6: what is written parses back to the same value, absent and zero kept apart."""
    strategy, encode, decode = ROUND_TRIPS[name]
    value = data.draw(strategy)
    assert decode(encode(value)) == value


@given(session)
def test_a_session_as_the_package_writes_it(value):
    """The records of the hot path are encoded by hand: the package writes the same bytes."""
    sending, pending = value.sending, value.pending
    by_package = records_pb2.SessionRecord(
        version=value.version,
        base_key=value.base_key.data,
        local_identity=value.local_identity.data,
        remote_identity=value.remote_identity.data,
        local_registration_id=value.local_registration_id,
        remote_registration_id=value.remote_registration_id,
        root_key=value.root_key.data,
        sending=records_pb2.SendingChainRecord(
            ratchet_public=sending.ratchet.public.data,
            ratchet_private=sending.ratchet.private.data,
            chain_key=sending.chain_key.data,
            counter=sending.counter,
        ),
        receiving=[
            records_pb2.ReceivingChainRecord(
                ratchet_key=each.ratchet_key.data, chain_key=each.chain_key.data, counter=each.counter, kept=each.kept
            )
            for each in value.receiving
        ],
        previous_counter=value.previous_counter,
        pending=pending
        and records_pb2.PendingPreKeyRecord(
            prekey_id=pending.prekey_id,
            signed_prekey_id=pending.signed_prekey_id,
            base_key=pending.base_key.data,
            created_at=pending.created_at,
        ),
    )
    assert encode_session(value) == by_package.SerializeToString()


@given(index, public)
def test_index_and_identity_as_the_package_writes_them(base_keys, key):
    """The records of the hot path are encoded by hand: the package writes the same bytes."""
    assert encode_session_index(base_keys) == records_pb2.SessionIndexRecord(base_key=base_keys).SerializeToString()
    assert encode_identity(key) == records_pb2.IdentityRecord(identity_key=key.data).SerializeToString()


def test_a_session_record_is_small():
    """Limits, MAX_RECORD_BYTES, "a session record is under 1.5 KiB": the largest one too."""
    largest = SESSION._replace(
        receiving=(CHAIN._replace(counter=2**32, kept=1600),) * 5,
        sending=SESSION.sending._replace(counter=2**32),
        pending=PendingPreKey(2**32 - 1, 2**32 - 1, KEY, 2**63 - 1),
    )
    assert len(encode_session(largest)) < 1536
    assert decode_session(encode_session(largest)) == largest


def spelled_otherwise(record: bytes) -> list[bytes]:
    """The same record in bytes that a lenient reader takes for the same, and damaged ones."""
    return [
        b"",
        record[:-1],
        record + b"\x00",
        record + b"\x0a",
        # An unknown field.
        record + b"\xa0\x06\x01",
        # A field again, with the same value.
        record + record,
        # A group.
        record + b"\xa3\x06\xa4\x06",
        b"\xff" * (len(record) + 1),
        record + bytes(MAX_RECORD_BYTES),
    ]


@pytest.mark.parametrize(
    ("record", "decode"),
    [
        (encode_session(SESSION), decode_session),
        (encode_session_index([bytes(32), KEY.data]), decode_session_index),
        (encode_identity(KEY), decode_identity),
        (encode_prekey(PreKey(1, PAIR)), decode_prekey),
        (encode_signed_prekey(SignedPreKey(1, PAIR, bytes(64), 5)), decode_signed_prekey),
        (encode_local_identity(LocalIdentity(PAIR, 1, 2, 3)), decode_local_identity),
        (encode_message_seed(MessageSeed(bytes(32))), decode_message_seed),
    ],
    ids=ROUND_TRIPS,
)
def test_other_spellings_are_refused(record, decode):
    """PAR-05, "stored records are parsed as strictly as wire messages"; ATM-06: never read as empty."""
    assert decode(record)
    for other in spelled_otherwise(record):
        with pytest.raises(CorruptStore) as refusal:
            decode(other)
        # KEY-06: the refusal says nothing of the record.
        assert refusal.value.__cause__ is None
        assert refusal.value.__suppress_context__ or refusal.value.__context__ is None
        assert not any(each in str(refusal.value) for each in ("b'", "\\x", KEY.data.hex()))


@pytest.mark.parametrize("decode", DECODERS)
@settings(deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(decode, data):
    """PAR-01 for records: never another exception, and what is read was spelled the one way."""
    try:
        value = decode(data)
    except CorruptStore:
        return
    encode = next(encode for _, encode, each in ROUND_TRIPS.values() if each is decode)
    assert encode(value) == data


@given(st.data())
def test_changed_sessions_are_read_or_refused(data):
    """PAR-01 for records: a session with one byte changed is another session in its one spelling, or refused."""
    record = bytearray(encode_session(SESSION))
    record[data.draw(st.integers(0, len(record) - 1))] = data.draw(st.integers(0, 255))
    try:
        value = decode_session(bytes(record))
    except CorruptStore:
        return
    assert encode_session(value) == record


@pytest.mark.parametrize("decode", DECODERS)
def test_a_record_has_a_limit(decode):
    """Limits, MAX_RECORD_BYTES: a record over it is refused for its size, before anything else is done with it."""
    if decode is decode_message_seed:
        limit = 32
    else:
        limit = MAX_RECORD_BYTES
        with pytest.raises(CorruptStore, match="over 65536 bytes"):
            decode(bytes(limit + 1))
    with pytest.raises(CorruptStore) as refusal:
        decode(bytes(limit - 1))
    assert "over" not in str(refusal.value)


@pytest.mark.parametrize(
    ("record", "decode"),
    [
        (records_pb2.SessionRecord.FromString(encode_session(SESSION)), decode_session),
        (records_pb2.PreKeyRecord.FromString(encode_prekey(PreKey(1, PAIR))), decode_prekey),
        (
            records_pb2.SignedPreKeyRecord.FromString(encode_signed_prekey(SignedPreKey(1, PAIR, bytes(64), 5))),
            decode_signed_prekey,
        ),
        (
            records_pb2.LocalIdentityRecord.FromString(encode_local_identity(LocalIdentity(PAIR, 1, 2, 3))),
            decode_local_identity,
        ),
    ],
    ids=["session", "prekey", "signed prekey", "local identity"],
)
def test_reordered_fields_are_refused(record, decode):
    """PAR-05: the same fields in another order are the same to a lenient reader, and as many bytes; refused."""
    parts = [type(record)(**{each.name: value}).SerializeToString() for each, value in record.ListFields()]
    assert decode(b"".join(parts))
    with pytest.raises(CorruptStore, match="as it was written"):
        decode(b"".join(reversed(parts)))


@pytest.mark.parametrize("position", [0, 1])
def test_what_stands_before_a_key_is_checked(position):
    """PAR-05: index and identity are read by hand, so each byte of tag and length has to be the right one."""
    for record, decode, keys in (
        (encode_identity(KEY), decode_identity, 1),
        (encode_session_index([KEY.data, bytes(32)]), decode_session_index, 2),
    ):
        for at in range(keys):
            damaged = bytearray(record)
            damaged[34 * at + position] ^= 1
            with pytest.raises(CorruptStore):
                decode(bytes(damaged))


@pytest.mark.parametrize(
    "changes",
    [{"signature": bytes(63)}, {"signature": None}, {"created_at": 2**63}, {"superseded_at": 2**63}],
    ids=label,
)
def test_signed_prekeys_out_of_limits_are_refused(changes):
    """PAR-03: a record whose values are no signed prekey is corrupt."""
    record = records_pb2.SignedPreKeyRecord.FromString(encode_signed_prekey(SignedPreKey(1, PAIR, bytes(64), 5)))
    for name, value in changes.items():
        record.ClearField(name)
        if value is not None:
            setattr(record, name, value)
    with pytest.raises(CorruptStore):
        decode_signed_prekey(record.SerializeToString())


def rewritten(**changes: object) -> bytes:
    """The session's record as the package writes it with some fields set; None clears one."""
    message = records_pb2.SessionRecord.FromString(encode_session(SESSION))
    for name, value in changes.items():
        *path, last = name.split("__")
        target = message
        for each in path:
            target = target.receiving[0] if each == "receiving" else getattr(target, each)
        if value is None:
            target.ClearField(last)
        else:
            setattr(target, last, value)
    return message.SerializeToString()


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 4},
        {"version": None},
        {"base_key": bytes(31)},
        {"base_key": None},
        {"local_identity": b"\xff" * 32},
        {"remote_identity": bytes(33)},
        {"local_registration_id": None},
        {"root_key": b""},
        {"sending": None},
        {"sending__counter": 2**32 + 1},
        {"sending__counter": None},
        {"sending__ratchet_private": None},
        {"sending__chain_key": bytes(64)},
        {"receiving__ratchet_key": None},
        {"receiving__counter": 2**32 + 1},
        {"receiving__kept": 2001},
        {"receiving__kept": None},
        {"previous_counter": None},
        {"pending__signed_prekey_id": None},
        {"pending__base_key": None},
        {"pending__created_at": 2**63},
    ],
    ids=label,
)
def test_sessions_out_of_limits_are_refused(changes):
    """BND-02 and PAR-03: a record whose values break a bound, or that misses one, is corrupt."""
    assert decode_session(rewritten()) == SESSION
    with pytest.raises(CorruptStore):
        decode_session(rewritten(**changes))


def test_a_missing_prekey_id_is_none():
    """Decision 6, "absent is not zero": in the record of a pending session too."""
    assert decode_session(rewritten(pending__prekey_id=None)).pending.prekey_id is None
    assert decode_session(rewritten(pending__prekey_id=0)).pending.prekey_id == 0
    assert decode_session(rewritten(pending=None)).pending is None


@pytest.mark.parametrize(
    "changes",
    [
        {"local_registration_id": 2**32 - 1, "remote_registration_id": 2**32 - 1},
        {"previous_counter": MAX_COUNTER, "sending": SESSION.sending._replace(counter=MAX_COUNTER + 1)},
        {"receiving": (CHAIN._replace(kept=1600),) * 5},
        {"receiving": (CHAIN._replace(kept=2000, counter=MAX_COUNTER + 1),)},
        {"pending": PendingPreKey(2**32 - 1, 2**32 - 1, SESSION.base_key, 2**63 - 1)},
    ],
    ids=lambda each: ",".join(each),
)
def test_sessions_at_their_limits_come_back(changes):
    """BND-02: each bound is itself allowed."""
    session = SESSION._replace(**changes)
    assert decode_session(encode_session(session)) == session


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 4},
        {"local_registration_id": 2**32},
        {"remote_registration_id": 2**32},
        {"remote_registration_id": -1},
        {"previous_counter": MAX_COUNTER + 1},
        {"previous_counter": -1},
        {"sending": SESSION.sending._replace(counter=MAX_COUNTER + 2)},
        {"receiving": (CHAIN,) * 6},
        {"receiving": (CHAIN._replace(kept=2001),)},
        {"receiving": (CHAIN._replace(kept=-1),)},
        {"receiving": (CHAIN._replace(counter=MAX_COUNTER + 2),)},
        {"receiving": (*(CHAIN._replace(kept=1600),) * 4, CHAIN._replace(kept=1601))},
        {"pending": dataclasses.replace(SESSION.pending, prekey_id=2**32)},
        {"pending": dataclasses.replace(SESSION.pending, signed_prekey_id=2**32)},
        {"pending": dataclasses.replace(SESSION.pending, created_at=2**63)},
        {"pending": dataclasses.replace(SESSION.pending, created_at=-1)},
    ],
    ids=lambda each: ",".join(each),
)
def test_sessions_out_of_limits_are_not_written(changes):
    """BND-02: what could not be read back is not written."""
    with pytest.raises(InvalidArgument):
        encode_session(SESSION._replace(**changes))


@pytest.mark.parametrize(
    "base_keys", [[], [bytes(31)], ["0" * 32], [bytes(32)] * 2, [bytes([n]) * 32 for n in range(42)]], ids=label
)
def test_an_index_names_1_to_41_sessions_once(base_keys):
    """BND-02, archived sessions (40): none, too many, and one named twice are refused in both directions."""
    with pytest.raises(InvalidArgument):
        encode_session_index(base_keys)
    if all(isinstance(each, bytes) for each in base_keys):
        with pytest.raises(CorruptStore):
            decode_session_index(records_pb2.SessionIndexRecord(base_key=base_keys).SerializeToString())


def test_an_identity_that_does_not_belong_together():
    """ATM-06: the public key is not that of the private one, so the record is damaged."""
    record = records_pb2.LocalIdentityRecord.FromString(encode_local_identity(LocalIdentity(PAIR, 1, 2, 3)))
    record.public = bytes([record.public[0] ^ 1]) + record.public[1:]
    with pytest.raises(CorruptStore, match="private key"):
        decode_local_identity(record.SerializeToString())


@pytest.mark.parametrize("value", [None, "text", b"bytes", 3, KEY.data])
@pytest.mark.parametrize("name", [each for each in ROUND_TRIPS if each != "index"])
def test_other_types_are_not_written(name, value):
    """Wrong argument types are refused by name."""
    with pytest.raises(InvalidArgument):
        ROUND_TRIPS[name][1](value)


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize("value", [None, "text", bytearray(32), 3], ids=label)
def test_other_types_are_not_read(decode, value):
    """Wrong argument types are refused by name; a store that returned them is corrupt."""
    with pytest.raises((InvalidArgument, CorruptStore)):
        decode(value)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (PreKey, (2**32, PAIR)),
        (PreKey, (-1, PAIR)),
        (PreKey, (1, KEY)),
        (PreKey, (True, PAIR)),
        (SignedPreKey, (-1, PAIR, bytes(64), 0)),
        (SignedPreKey, (1, None, bytes(64), 0)),
        (SignedPreKey, (1, PAIR, bytes(63), 0)),
        (SignedPreKey, (1, PAIR, "0" * 64, 0)),
        (SignedPreKey, (1, PAIR, bytes(64), 2**63)),
        (SignedPreKey, (1, PAIR, bytes(64), 1.5)),
        (LocalIdentity, (KEY, 1, 2, 3)),
        (LocalIdentity, (PAIR, 2**32, 2, 3)),
        (LocalIdentity, (PAIR, 1, -2, 3)),
        (LocalIdentity, (PAIR, 1, 2, None)),
    ],
)
def test_what_is_kept_of_a_device_is_checked(kind, arguments):
    """Wrong argument types and ranges are refused when the value is made."""
    with pytest.raises(InvalidArgument):
        kind(*arguments)


def test_no_private_key_in_a_text():
    """KEY-06: no record's value shows a secret."""
    hidden = repr(bytes(range(32)))[2:-1]
    for value in (SESSION, PreKey(1, PAIR), SignedPreKey(1, PAIR, bytes(64), 5), LocalIdentity(PAIR, 1, 2, 3)):
        assert hidden not in repr(value)
        assert "redacted" in repr(value)
