"""The rows of one peer: which they are called, and how what the pure core returns is written to them.

Everything here happens inside one transaction of the caller's and is gone if that is rolled back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final, Generic, TypeVar

from pawl.address import ProtocolAddress
from pawl.crypto.keys import MessageSeed, PublicKey
from pawl.errors import CorruptStore
from pawl.events import (
    Event,
    IdentityPinned,
    IdentityReplaced,
    KeysDropped,
    RatchetStepped,
    SessionArchived,
    SessionDropped,
    SessionPromoted,
    SessionsForgotten,
)
from pawl.limits import MAX_ARCHIVED_SESSIONS
from pawl.session.double_ratchet import Advanced
from pawl.session.state import Session
from pawl.storage.contract import Table, Transaction
from pawl.storage.sweep import delete_all
from pawl.wire import records

MAX_MEMO: Final = 256
"""Decoded records of one kind held in memory. An address has at most 41 sessions; the rest is room for other peers."""

REPLACED_KEY: Final = b"replaced identities"
"""The key of the row that counts the identities which were replaced in this store."""

REPLACED_BYTES: Final = 8

# The tables that each message comes to, named once: asking an Enum for a member takes longer than reading a row.
_IDENTITY: Final = Table.IDENTITY
_INDEX: Final = Table.SESSION_INDEX
_SESSION: Final = Table.SESSION
_KEPT: Final = Table.SKIPPED_KEY

T = TypeVar("T")


def address_key(peer: ProtocolAddress) -> bytes:
    """The key of a peer's address: length of the name (2 bytes), name, device id (1 byte). No address begins another's.

    Keys of a session's and of kept seeds' rows begin with it.
    """
    return _keys_of(peer.name, peer.device_id)[1]


@lru_cache(maxsize=MAX_MEMO)
def _keys_of(name: str, device_id: int) -> tuple[bytes, bytes]:
    """The keys of a name's and of an address' rows."""
    encoded = name.encode()
    return encoded, b"%c%c%b%c" % (len(encoded) >> 8, len(encoded) & 0xFF, encoded, device_id)


def replacements(tx: Transaction) -> int:
    """How many identities were ever replaced in this store; whoever gave keys to one looks again when it grew."""
    row = tx.get(Table.LOCAL, REPLACED_KEY)
    return 0 if row is None else _read_replacements(row.value)


def count_replacement(tx: Transaction) -> None:
    """Count one more identity that was replaced."""
    row = tx.get(Table.LOCAL, REPLACED_KEY)
    count, version = (0, 0) if row is None else (_read_replacements(row.value), row.version)
    tx.put(Table.LOCAL, REPLACED_KEY, (count + 1).to_bytes(REPLACED_BYTES, "big"), version=version)


def _read_replacements(data: bytes) -> int:
    if len(data) != REPLACED_BYTES:
        raise CorruptStore("the count of replaced identities is damaged")
    return int.from_bytes(data, "big")


class Memo(Generic[T]):
    """Decoded records, used only while the row's bytes are the very ones that were decoded.

    It saves decoding and can never be stale: the store is asked for the bytes each time.
    """

    def __init__(self, decode: Callable[[bytes], T]) -> None:
        self._decode = decode
        self._held: dict[bytes, tuple[bytes, T]] = {}

    def read(self, key: bytes, data: bytes) -> T:
        """The record `data` of the row `key`. Raises: CorruptStore."""
        held = self._held.get(key)
        if held is not None and held[0] == data:
            return held[1]
        value = self._decode(data)
        self.hold(key, data, value)
        return value

    def hold(self, key: bytes, data: bytes, value: T) -> None:
        """Remember `value` for the row `key`, instead of what was remembered before."""
        # Beginning anew when full is rare, and safe between threads.
        if len(self._held) >= MAX_MEMO:
            self._held.clear()
        self._held[key] = (data, value)

    def drop(self, key: bytes) -> None:
        """Forget the row `key`."""
        self._held.pop(key, None)


class Memos:
    """What a device remembers of its store between calls: decoded records of what is durable, and nothing else."""

    def __init__(self) -> None:
        self.sessions: Final = Memo(records.decode_session)
        self.indexes: Final = Memo(records.decode_session_index)
        self.identities: Final = Memo(records.decode_identity)


class PeerRows:
    """The sessions with one address, and the pinned identity of its name, in one transaction."""

    __slots__ = (
        "_address",
        "_base_keys",
        "_dropped",
        "_index_version",
        "_memos",
        "_name",
        "_peer",
        "_tx",
        "_versions",
        "_written",
        "added",
        "events",
    )

    def __init__(self, tx: Transaction, peer: ProtocolAddress, memos: Memos) -> None:
        self.events: list[Event] = []
        """What happened here, to be told once it is durable."""
        self.added = 0
        """How many seeds were kept here, each of a message that was passed over."""
        self._tx = tx
        self._peer = peer
        self._memos = memos
        self._name, self._address = _keys_of(peer.name, peer.device_id)
        row = tx.get(_INDEX, self._address)
        self._index_version = 0 if row is None else row.version
        self._base_keys = () if row is None else memos.indexes.read(self._address, row.value)
        self._versions: dict[bytes, int] = {}
        self._written: list[tuple[bytes, bytes, Session]] = []
        self._dropped: list[bytes] = []

    # -- reading ------------------------------------------------------------------------------------------------------

    def pinned(self) -> PublicKey | None:
        """The identity pinned for the name. Raises: CorruptStore."""
        row = self._tx.get(_IDENTITY, self._name)
        return None if row is None else self._memos.identities.read(self._name, row.value)

    def has_session(self, base_key: PublicKey) -> bool:
        """Whether there is a session of that base key, current or archived."""
        return base_key.data in self._base_keys

    def session(self, base_key: bytes) -> Session:
        """The session of a base key that the index names. Raises: CorruptStore."""
        key = self._address + base_key
        row = self._tx.get(_SESSION, key)
        if row is None:
            raise CorruptStore("the index names a session that is not there")
        session = self._memos.sessions.read(key, row.value)
        if session.base_key.data != base_key:
            raise CorruptStore("a session is in another one's place")
        self._versions[key] = row.version
        return session

    def candidates(self) -> Iterator[Session]:
        """The sessions made under the pinned identity: the current one, then the archived ones, newest first.

        No other session encrypts or decrypts (IDC-08). Read one by one, only as far as the caller asks.

        Raises: CorruptStore.
        """
        pinned = self.pinned() if self._base_keys else None
        if pinned is None:
            return iter(())
        identity = pinned.data
        # One alone is the common case, and whoever asks reads the first one.
        if len(self._base_keys) == 1:
            session = self.session(self._base_keys[0])
            return iter((session,) if session.remote_identity.data == identity else ())
        # Not a generator: one that is left half-way costs more than all that it does.
        return filter(lambda session: session.remote_identity.data == identity, map(self.session, self._base_keys))

    def kept(self, session: Session, ratchet_key: PublicKey, counter: int) -> bytes | None:
        """The kept seed, 32 bytes, if it is there. Raises: CorruptStore."""
        key = self._kept_key(session, ratchet_key, counter)
        row = self._tx.get(_KEPT, key)
        if row is None:
            return None
        self._versions[key] = row.version
        return records.decode_message_seed(row.value).data

    def count_kept(self, session: Session, ratchet_key: PublicKey) -> int:
        """How many seeds of a chain are kept."""
        return self._tx.count(Table.SKIPPED_KEY, self._address + session.base_key.data + ratchet_key.data)

    # -- writing ------------------------------------------------------------------------------------------------------

    def pin(self, key: PublicKey, how: str) -> None:
        """Pin `key` for the name, instead of what was pinned before; `how` is told in the event."""
        row = self._tx.get(Table.IDENTITY, self._name)
        former = None if row is None else self._memos.identities.read(self._name, row.value)
        if former == key:
            return
        version = 0 if row is None else row.version
        self._tx.put(Table.IDENTITY, self._name, records.encode_identity(key), version=version)
        if former is None:
            self.events.append(IdentityPinned(self._peer.name, key, how))
        else:
            self.events.append(IdentityReplaced(self._peer.name, former, key, how, self._made_under(former)))
            count_replacement(self._tx)

    def _made_under(self, identity: PublicKey) -> int:
        """How many sessions with the name's devices were made under `identity`. Raises: CorruptStore."""
        found = 0
        for address, index in self._tx.scan(Table.SESSION_INDEX, address_key(self._peer)[:-1]):
            for base_key in self._memos.indexes.read(address, index.value):
                row = self._tx.get(Table.SESSION, address + base_key)
                if row is None:
                    raise CorruptStore("the index names a session that is not there")
                found += self._memos.sessions.read(address + base_key, row.value).remote_identity == identity
        return found

    def save(self, session: Session) -> None:
        """Write the new state of a session that was read here, or the first of one that was not there."""
        key, data = self._address + session.base_key.data, records.encode_session(session)
        self._tx.put(_SESSION, key, data, version=self._versions.get(key, 0))
        self._written.append((key, data, session))

    def add(self, session: Session) -> None:
        """Write a new session and make it the current one; of too many archived ones the oldest goes (BND-02)."""
        self.save(session)
        base_keys = (session.base_key.data, *self._base_keys)
        if self._base_keys:
            self.events.append(SessionArchived(self._peer))
        for old in base_keys[1 + MAX_ARCHIVED_SESSIONS :]:
            self._delete(old)
            self.events.append(SessionDropped(self._peer))
        self._write_index(base_keys[: 1 + MAX_ARCHIVED_SESSIONS])

    def forget(self) -> None:
        """Delete every session with the address, and what was kept for them. The pinned identity stays."""
        for base_key in self._base_keys:
            self._delete(base_key)
        if self._base_keys:
            self._tx.delete(Table.SESSION_INDEX, self._address, version=self._index_version)
            self.events.append(SessionsForgotten(self._peer, len(self._base_keys)))

    def apply(self, advanced: Advanced) -> None:
        """Write what an authenticated message changed in a session.

        An archived session becomes the current one only if the message starts a chain there: then the peer has heard
        from us in it and uses it now. A late message says nothing about what the peer uses (CTR-07).
        """
        session, _, starts_chain, used, skipped, dropped, unchanged = advanced
        # The common case: no kept seed comes or goes.
        if used is not None or skipped or dropped:
            self.keep(advanced)
        if starts_chain:
            self.events.append(RatchetStepped(self._peer))
        if not unchanged:
            self.save(session)
        if starts_chain and self._base_keys[0] != session.base_key.data:
            base_key = session.base_key.data
            self._write_index((base_key, *(each for each in self._base_keys if each != base_key)))
            self.events.append(SessionPromoted(self._peer))

    def keep(self, advanced: Advanced) -> None:
        """Write the kept seeds that an authenticated message adds, and delete those that it uses or pushes out."""
        session, ratchet_key, _, used, skipped, to_drop, _ = advanced
        if used is not None:
            key = self._kept_key(session, ratchet_key, used)
            self._tx.delete(_KEPT, key, version=self._versions[key])
        dropped = 0
        for closed, count in to_drop:
            dropped += self._delete_kept(self._address + session.base_key.data + closed.data, count)
        if dropped:
            self.events.append(KeysDropped(self._peer, dropped))
        self.added += len(skipped)
        for counter, seed in skipped:
            value = records.encode_message_seed(MessageSeed(seed))
            self._tx.put(_KEPT, self._kept_key(session, ratchet_key, counter), value, version=0)

    def remember(self) -> None:
        """Remember what was written.

        To be called after the commit, as nothing else may stay in memory, or by who forgets all at a rollback.
        """
        for key in self._dropped:
            self._memos.sessions.drop(key)
        for key, data, session in self._written:
            self._memos.sessions.hold(key, data, session)

    # -- rows ---------------------------------------------------------------------------------------------------------

    def _kept_key(self, session: Session, ratchet_key: PublicKey, counter: int) -> bytes:
        return self._address + session.base_key.data + ratchet_key.data + counter.to_bytes(4, "big")

    def _write_index(self, base_keys: tuple[bytes, ...]) -> None:
        data = records.encode_session_index(base_keys)
        self._tx.put(Table.SESSION_INDEX, self._address, data, version=self._index_version)

    def _delete(self, base_key: bytes) -> None:
        """Delete a session and every seed kept for it, damaged or not: nobody is to read them any more."""
        key = self._address + base_key
        if not delete_all(self._tx, Table.SESSION, key):
            raise CorruptStore("the index names a session that is not there")
        self._dropped.append(key)
        delete_all(self._tx, Table.SKIPPED_KEY, key)

    def _delete_kept(self, prefix: bytes, count: int | None) -> int:
        """Delete the oldest `count` kept seeds (None: all) whose key starts with `prefix`; how many there were."""
        found = self._tx.scan(Table.SKIPPED_KEY, prefix, limit=count)
        for key, row in found:
            self._tx.delete(Table.SKIPPED_KEY, key, version=row.version)
        return len(found)
