"""Records: what the store's rows hold, encoded canonically and read back only if they are exactly that.

Nobody else writes these bytes, so a reader demands more than of a message: what was decoded, encoded again, must give
the same bytes. That one rule refuses unknown, repeated, missing and reordered fields and every other spelling (PAR-05).
The records of the hot path are encoded by hand, which is faster; the protobuf package decodes them, so that each read
checks one against the other.

Every decoder raises CorruptStore, for records over their limit too; the texts hold nothing of the record.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeVar

from google.protobuf.message import DecodeError as DecodeError  # for whoever reads a record with the package alone
from google.protobuf.message import Message

from pawl.crypto.keys import KEY_BYTES, ChainKey, KeyPair, MessageSeed, PrivateKey, PublicKey, RootKey
from pawl.crypto.xeddsa import SIGNATURE_BYTES
from pawl.errors import CorruptStore, InvalidArgument, InvalidKey
from pawl.limits import (
    MAX_ARCHIVED_SESSIONS,
    MAX_COUNTER,
    MAX_RECEIVING_CHAINS,
    MAX_RECORD_BYTES,
    MAX_SKIPPED_KEYS_PER_CHAIN,
    MAX_SKIPPED_KEYS_PER_SESSION,
)
from pawl.session.state import PendingPreKey, ReceivingChain, SendingChain, Session
from pawl.wire import records_pb2
from pawl.wire.messages import MESSAGE_VERSION
from pawl.wire.varint import MAX_UINT32, varint

MAX_SECONDS: Final = 2**63 - 1
"""Largest Unix time in a record, in seconds: what a signed 64-bit integer holds."""

_KEY_FIELD: Final = b"\x0a\x20"
"""The tag of field 1 and the length 32, as they stand before a key."""

_KEY_FIELD_BYTES: Final = len(_KEY_FIELD) + KEY_BYTES

_SESSION: Final = b"%b\x3a\x20%b\x42%c\x0a\x20%b\x12\x20%b\x1a\x20%b\x20%b"
"""A session's record up to its receiving chains: head, root key, and the sending chain with its length in one byte."""

_CHAIN: Final = b"\x4a%c\x0a\x20%b\x12\x20%b\x18%b\x20%b"
"""A receiving chain in a session's record, with its length in one byte."""

_MAX_HEADS: Final = 256
"""Beginnings of session records, about 110 bytes each, that are remembered. It holds nothing secret."""

_M = TypeVar("_M", bound=Message)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class PreKey:
    """A one-time prekey: its id, 0 to 2^32 - 1, and its key pair. Raises: InvalidArgument."""

    id: int
    pair: KeyPair

    def __post_init__(self) -> None:
        _require(type(self.pair) is KeyPair and _is_uint(self.id, MAX_UINT32), "a prekey is a 32-bit id and a KeyPair")


@dataclass(frozen=True, slots=True)
class SignedPreKey:
    """A signed prekey: id, key pair, the signature of 64 bytes, Unix times in seconds. Raises: InvalidArgument."""

    id: int
    pair: KeyPair
    signature: bytes
    created_at: int
    superseded_at: int | None = None
    """When another one became the current one."""

    def __post_init__(self) -> None:
        _require(type(self.pair) is KeyPair and _is_uint(self.id, MAX_UINT32), "a prekey is a 32-bit id and a KeyPair")
        _require(
            type(self.signature) is bytes and len(self.signature) == SIGNATURE_BYTES, "a signature is exactly 64 bytes"
        )
        times = (self.created_at, 0 if self.superseded_at is None else self.superseded_at)
        _require(all(_is_uint(each, MAX_SECONDS) for each in times), "a time is 0 to 2^63 - 1 seconds")


@dataclass(frozen=True, slots=True)
class LocalIdentity:
    """This device: its identity, its registration id, and the ids of the next prekeys. Raises: InvalidArgument."""

    pair: KeyPair
    registration_id: int
    next_prekey_id: int
    next_signed_prekey_id: int

    def __post_init__(self) -> None:
        ids = (self.registration_id, self.next_prekey_id, self.next_signed_prekey_id)
        _require(
            type(self.pair) is KeyPair and all(_is_uint(each, MAX_UINT32) for each in ids),
            "a local identity is a KeyPair and 32-bit ids",
        )


# -- sessions: the hot path, by hand ----------------------------------------------------------------------------------


def encode_session(session: Session) -> bytes:
    """The record of `session`. Raises: InvalidArgument if it is not one that could be read back."""
    # Check: every bound of a session holds, before it is written and after it is read (BND-02).
    if type(session) is not Session:
        raise InvalidArgument("this record is made of a Session")
    # Taken apart at once: to ask a named tuple for each of its fields costs several times as much.
    version, base, local, remote, local_id, remote_id, root_key, sending, receiving, previous, pending = session
    ratchet, chain_key, counter = sending
    # A chain that used its last counter is one past it.
    if counter > MAX_COUNTER + 1 or previous > MAX_COUNTER:
        raise InvalidArgument("a counter has at most 32 bits")
    if len(receiving) > MAX_RECEIVING_CHAINS:
        raise InvalidArgument(f"a session has at most {MAX_RECEIVING_CHAINS} receiving chains")
    # Derive: the fields in the order of their numbers, zeros written, absent left out.
    sent = varint(counter)
    parts = [
        _SESSION
        % (
            _encode_head(version, base.data, local.data, remote.data, local_id, remote_id),
            root_key.data,
            # Tag and length of the three keys, and the tag of the counter, are 103 bytes with the keys.
            103 + len(sent),
            ratchet.public.data,
            ratchet.private.data,
            chain_key.data,
            sent,
        )
    ]
    all_kept = 0
    for ratchet_key, chain_key, counter, kept in receiving:
        if counter > MAX_COUNTER + 1 or kept > MAX_SKIPPED_KEYS_PER_CHAIN:
            raise InvalidArgument("a receiving chain is over its limits")
        all_kept += kept
        due, bound = varint(counter), varint(kept)
        # Tag and length of the two keys, and the tags of the two numbers, are 70 bytes with the keys.
        parts.append(_CHAIN % (70 + len(due) + len(bound), ratchet_key.data, chain_key.data, due, bound))
    if all_kept > MAX_SKIPPED_KEYS_PER_SESSION:
        raise InvalidArgument(f"a session keeps at most {MAX_SKIPPED_KEYS_PER_SESSION} message keys")
    parts.append(b"\x50" + varint(previous))
    if pending is not None:
        parts.append(_encode_pending(pending))
    return b"".join(parts)


def _encode_pending(pending: PendingPreKey) -> bytes:
    """The field of what an initiator repeats until the peer answers."""
    if pending.signed_prekey_id > MAX_UINT32 or (pending.prekey_id or 0) > MAX_UINT32:
        raise InvalidArgument("a prekey id has at most 32 bits")
    if pending.created_at > MAX_SECONDS:
        raise InvalidArgument("a time is 0 to 2^63 - 1 seconds")
    inner = b"%b\x10%b\x1a\x20%b\x20%b" % (
        b"" if pending.prekey_id is None else b"\x08" + varint(pending.prekey_id),
        varint(pending.signed_prekey_id),
        pending.base_key.data,
        varint(pending.created_at),
    )
    return b"\x5a%b%b" % (varint(len(inner)), inner)


@lru_cache(maxsize=_MAX_HEADS, typed=True)
def _encode_head(
    version: int, base_key: bytes, local: bytes, remote: bytes, local_registration_id: int, remote_registration_id: int
) -> bytes:
    """What is the same in every record of one session. All of it is public, so that it may be remembered."""
    if version != MESSAGE_VERSION:
        raise InvalidArgument("a session has version 3")
    if local_registration_id > MAX_UINT32 or remote_registration_id > MAX_UINT32:
        raise InvalidArgument("a registration id has at most 32 bits")
    return b"\x08%b\x12\x20%b\x1a\x20%b\x22\x20%b\x28%b\x30%b" % (
        varint(version),
        base_key,
        local,
        remote,
        varint(local_registration_id),
        varint(remote_registration_id),
    )


def decode_session(data: bytes) -> Session:
    """The session in the record `data`. That its key pair belongs together is not checked. Raises: CorruptStore."""
    return decode_record(data, records_pb2.SessionRecord, _build_session, encode_session)


def encode_session_index(base_keys: Sequence[bytes]) -> bytes:
    """The record of the base keys, 32 bytes each, of an address' sessions: the current one, then the archived ones.

    Raises: InvalidArgument unless they are 1 to 41 different keys. Without sessions there is no record.
    """
    data = b""
    for each in base_keys:
        if type(each) is not bytes or len(each) != KEY_BYTES:
            raise InvalidArgument("a base key is exactly 32 bytes")
        data += _KEY_FIELD + each
    count = len(base_keys)
    if not 1 <= count <= 1 + MAX_ARCHIVED_SESSIONS:
        raise InvalidArgument("an index holds 1 to 41 sessions")
    # One alone, the common case, is named once.
    if count > 1 and len(set(base_keys)) != count:
        raise InvalidArgument("an index names each session once")
    return data


def decode_session_index(data: bytes) -> tuple[bytes, ...]:
    """The base keys, 32 bytes each, in the record `data`. Raises: CorruptStore."""
    _check_size(data)
    # By hand in this direction too: it is read for each message, and has one shape only.
    base_keys = tuple(data[at + 2 : at + _KEY_FIELD_BYTES] for at in range(0, len(data), _KEY_FIELD_BYTES))
    _check_canonical(data, base_keys, encode_session_index)
    return base_keys


def encode_identity(key: PublicKey) -> bytes:
    """The record of a pinned identity key. Raises: InvalidArgument."""
    _require(type(key) is PublicKey, "an identity is a PublicKey")
    return _KEY_FIELD + key.data


def decode_identity(data: bytes) -> PublicKey:
    """The pinned identity key in the record `data`. Raises: CorruptStore."""
    _check_size(data)
    # By hand: it is read for each message, and has one shape only.
    try:
        key = PublicKey(data[len(_KEY_FIELD) :])
    except InvalidKey:
        raise CorruptStore("a record holds no valid key") from None
    _check_canonical(data, key, encode_identity)
    return key


def encode_message_seed(seed: MessageSeed) -> bytes:
    """The record of a kept message key: its 32 bytes alone. Raises: InvalidArgument."""
    _require(type(seed) is MessageSeed, "a kept message key is a MessageSeed")
    return seed.data


def decode_message_seed(data: bytes) -> MessageSeed:
    """The kept message key in the record `data`. Raises: CorruptStore."""
    try:
        return MessageSeed(data)
    except InvalidKey:
        raise CorruptStore("a kept message key is not 32 bytes") from None


# -- this device: rarely written, by the package ----------------------------------------------------------------------


def encode_prekey(prekey: PreKey) -> bytes:
    """The record of a one-time prekey. Raises: InvalidArgument."""
    _require(type(prekey) is PreKey, "this record is made of a PreKey")
    return records_pb2.PreKeyRecord(
        id=prekey.id, public=prekey.pair.public.data, private=prekey.pair.private.data
    ).SerializeToString(deterministic=True)


def decode_prekey(data: bytes) -> PreKey:
    """The one-time prekey in the record `data`. That its key pair belongs together is not checked.

    Raises: CorruptStore.
    """
    return decode_record(
        data, records_pb2.PreKeyRecord, lambda read: PreKey(read.id, _pair(read.public, read.private)), encode_prekey
    )


def encode_signed_prekey(prekey: SignedPreKey) -> bytes:
    """The record of a signed prekey. Raises: InvalidArgument."""
    _require(type(prekey) is SignedPreKey, "this record is made of a SignedPreKey")
    return records_pb2.SignedPreKeyRecord(
        id=prekey.id,
        public=prekey.pair.public.data,
        private=prekey.pair.private.data,
        signature=prekey.signature,
        created_at=prekey.created_at,
        superseded_at=prekey.superseded_at,
    ).SerializeToString(deterministic=True)


def decode_signed_prekey(data: bytes) -> SignedPreKey:
    """The signed prekey in the record `data`. Neither key pair nor signature is checked. Raises: CorruptStore."""
    return decode_record(
        data,
        records_pb2.SignedPreKeyRecord,
        lambda read: SignedPreKey(
            read.id,
            _pair(read.public, read.private),
            read.signature,
            read.created_at,
            read.superseded_at if read.HasField("superseded_at") else None,
        ),
        encode_signed_prekey,
    )


def encode_local_identity(local: LocalIdentity) -> bytes:
    """The record of this device. Raises: InvalidArgument."""
    _require(type(local) is LocalIdentity, "this record is made of a LocalIdentity")
    return records_pb2.LocalIdentityRecord(
        public=local.pair.public.data,
        private=local.pair.private.data,
        registration_id=local.registration_id,
        next_prekey_id=local.next_prekey_id,
        next_signed_prekey_id=local.next_signed_prekey_id,
    ).SerializeToString(deterministic=True)


def decode_local_identity(data: bytes) -> LocalIdentity:
    """This device, from the record `data`. Raises: CorruptStore, also if the key pair does not belong together."""
    local = decode_record(
        data,
        records_pb2.LocalIdentityRecord,
        lambda read: LocalIdentity(
            _pair(read.public, read.private), read.registration_id, read.next_prekey_id, read.next_signed_prekey_id
        ),
        encode_local_identity,
    )
    # Read once per start, so there is time to check: a wrong half would make every session fail without a reason.
    if KeyPair.from_private(local.pair.private) != local.pair:
        raise CorruptStore("the identity's public key is not that of its private key")
    return local


# -- what all of them share -------------------------------------------------------------------------------------------


def decode_record(data: bytes, kind: type[_M], build: Callable[[_M], _T], encode: Callable[[_T], bytes]) -> _T:
    """The value in `data`, which must be what `encode` makes of it. Raises: CorruptStore."""
    _check_size(data)
    try:
        value = build(kind.FromString(data))
    except (DecodeError, InvalidKey, InvalidArgument):
        raise CorruptStore("a record is damaged") from None
    _check_canonical(data, value, encode)
    return value


def _check_size(data: bytes) -> None:
    """Nothing is done for a record over the limit."""
    if type(data) is not bytes:
        raise InvalidArgument("a record is bytes")
    if len(data) > MAX_RECORD_BYTES:
        raise CorruptStore(f"a record is over {MAX_RECORD_BYTES} bytes")


def _check_canonical(data: bytes, value: _T, encode: Callable[[_T], bytes]) -> None:
    """A record has one spelling, and a value that may not be written may not be read."""
    try:
        again = encode(value)
    except InvalidArgument:
        raise CorruptStore("a record holds a value out of range") from None
    if again != data:
        raise CorruptStore("a record is not as it was written")


def _build_session(read: records_pb2.SessionRecord) -> Session:
    """The session that the package read. Raises: InvalidKey."""
    sending, pending = read.sending, read.pending
    return Session(
        version=read.version,
        base_key=PublicKey(read.base_key),
        local_identity=PublicKey(read.local_identity),
        remote_identity=PublicKey(read.remote_identity),
        local_registration_id=read.local_registration_id,
        remote_registration_id=read.remote_registration_id,
        root_key=RootKey(read.root_key),
        sending=SendingChain(
            _pair(sending.ratchet_public, sending.ratchet_private), ChainKey(sending.chain_key), sending.counter
        ),
        receiving=tuple(
            ReceivingChain(PublicKey(chain.ratchet_key), ChainKey(chain.chain_key), chain.counter, chain.kept)
            for chain in read.receiving
        ),
        previous_counter=read.previous_counter,
        pending=PendingPreKey(
            pending.prekey_id if pending.HasField("prekey_id") else None,
            pending.signed_prekey_id,
            PublicKey(pending.base_key),
            pending.created_at,
        )
        if read.HasField("pending")
        else None,
    )


def _pair(public: bytes, private: bytes) -> KeyPair:
    return KeyPair(PublicKey(public), PrivateKey(private))


def _is_uint(value: int, maximum: int) -> bool:
    return type(value) is int and 0 <= value <= maximum


def _require(condition: bool, text: str) -> None:
    """Refuse an argument unless `condition` holds."""
    if not condition:
        raise InvalidArgument(text)
