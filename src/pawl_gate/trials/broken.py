"""Controls of the campaigns: stores and devices that are wrong, each to be caught by the invariant that it names.

Each is something that people write. They run in the writers' own processes, so that a campaign meets them as it meets a
real store.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pawl import Device, EncryptedMessage, Event, MemoryStore, ProtocolAddress
from pawl.application import StorePlaintext
from pawl.errors import Conflict
from pawl.storage import AdapterStore, JSONFileStore
from pawl.storage.contract import Row, Store, Table, Transaction
from pawl.storage.rows import prefix_end
from pawl_gate.controls.atomicity import LateStore, OverwritingStore, PiecemealStore, TwoTransactionsStore
from pawl_gate.targets.file_adapter import FileAdapter
from pawl_gate.targets.passing import PassingStore, PassingTransaction, StoreOver
from pawl_gate.trials.places import BUSY_SECONDS, OPENERS

OpenStore = Callable[[str, str], Store]
OpenDevice = Callable[[Store, StorePlaintext], Device]


def _unheard(_: Event) -> None:
    """Nobody listens."""


def _device(store: Store, hook: StorePlaintext) -> Device:
    return Device(store, on_event=_unheard, store_plaintext=hook)


@dataclass(frozen=True, slots=True)
class BrokenWriter:
    """One control."""

    campaign: str
    """The campaign that must catch it."""
    kind: str
    """The store that it is, or stands on."""
    breaks: str
    """The invariant that names the fault."""
    what: str
    """The fault, in one sentence."""
    store: OpenStore
    device: OpenDevice = _device


def _as_it_is(kind: str, place: str) -> Store:
    return OPENERS[kind](place)


def _over(kind: type[StoreOver]) -> OpenStore:
    return lambda name, place: kind(OPENERS[name](place))


# -- stores that are wrong where a process is killed -------------------------------------------------------------------


class _KeepsPrekeys(PassingTransaction):
    def delete(self, table: Table, key: bytes, *, version: int) -> None:
        """Delete, but no prekey."""
        if table is not Table.PREKEY:
            super().delete(table, key, version=version)


def _keeps_prekeys(kind: str, place: str) -> Store:
    return PassingStore(OPENERS[kind](place), _KeepsPrekeys)


class _InPlace:
    """A JSON file that is written where it is, and that counts as empty where it cannot be read."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._store = self._read()

    def _read(self) -> MemoryStore:
        try:
            with open(self._place, encoding="ascii") as file:
                document = json.load(file)
        except (OSError, ValueError):
            return MemoryStore()
        records: dict[Table, dict[bytes, Row]] = {table: {} for table in Table}
        for name, key, value, version in document["rows"]:
            records[Table(name)][b64decode(key)] = Row(b64decode(value), version)
        return MemoryStore(records=records, store_id=b64decode(document["id"]))

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """See `Store`."""
        with self._store.transaction() as tx:
            yield tx
        rows = [
            [table.value, b64encode(key).decode(), b64encode(row.value).decode(), row.version]
            for table, shelf in self._store.records().items()
            for key, row in shelf.items()
        ]
        with open(self._place, "w", encoding="ascii") as file:
            json.dump({"id": b64encode(self._store.store_id).decode(), "rows": rows}, file)

    def close(self) -> None:
        """See `Store`."""
        self._store.close()


class _StoresAfterwards(Device):
    """The application stores a plaintext when it has it, in a transaction of its own."""

    def __init__(self, store: Store, hook: StorePlaintext) -> None:
        super().__init__(store, on_event=_unheard)
        self._afterwards = hook

    def decrypt(self, peer: ProtocolAddress, message: EncryptedMessage) -> bytes:
        """See `Device`."""
        return self.decrypt_many(peer, [message])[0]

    def decrypt_many(self, peer: ProtocolAddress, messages: Sequence[EncryptedMessage]) -> list[bytes]:
        """See `Device`."""
        plaintexts = super().decrypt_many(peer, messages)
        with self.application_rows() as rows:
            for plaintext in plaintexts:
                self._afterwards(peer, plaintext, rows)
        return plaintexts


class _UnsyncedAdapter(FileAdapter):
    """Gathers what is put and deleted in memory, and writes it down after some transactions."""

    def __init__(self, place: str) -> None:
        super().__init__(Path(place))
        self._changes: dict[bytes, bytes | None] = {}
        self._since = 0

    @contextmanager
    def transaction(self) -> Iterator[FileAdapter]:
        """See `TransactionalAdapter`."""
        yield self
        self._since += 1
        if self._since % 8 == 0:
            with super().transaction():
                for key, value in self._changes.items():
                    if value is None:
                        super().delete(key)
                    else:
                        super().put(key, value)
            self._changes.clear()

    def get(self, key: bytes) -> bytes | None:
        """See `Adapter`."""
        return self._changes[key] if key in self._changes else super().get(key)

    def put(self, key: bytes, value: bytes) -> None:
        """See `Adapter`."""
        self._changes[key] = value

    def delete(self, key: bytes) -> None:
        """See `Adapter`."""
        self._changes[key] = None

    def scan(self, prefix: bytes) -> list[tuple[bytes, bytes]]:
        """See `Adapter`."""
        found: dict[bytes, bytes | None] = {**dict(super().scan(prefix)), **self._changes}
        return [(key, value) for key, value in sorted(found.items()) if key.startswith(prefix) and value is not None]


# -- stores that are wrong where processes share them ------------------------------------------------------------------


class _DeferredTransaction:
    """Reads as it is asked to; notes what is to be written."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.noted: dict[tuple[Table, bytes], Row | None] = {}

    def get(self, table: Table, key: bytes) -> Row | None:
        if (table, key) in self.noted:
            return self.noted[table, key]
        found = self._connection.execute(
            "SELECT value, version FROM rows WHERE kind = ? AND key = ?", (table.value, key)
        ).fetchone()
        return None if found is None else Row(*found)

    def put(self, table: Table, key: bytes, value: bytes, *, version: int) -> int:
        self.noted[table, key] = Row(value, version + 1)
        return version + 1

    def delete(self, table: Table, key: bytes, *, version: int) -> None:
        self.noted[table, key] = None

    def scan(self, table: Table, prefix: bytes, *, limit: int | None = None) -> Sequence[tuple[bytes, Row]]:
        rows: dict[bytes, Row | None] = {
            key: Row(value, version)
            for key, value, version in self._connection.execute(
                "SELECT key, value, version FROM rows WHERE kind = ? AND key >= ? AND key < ?",
                (table.value, prefix, prefix_end(prefix)),
            )
        }
        rows |= {key: row for (of, key), row in self.noted.items() if of is table and key.startswith(prefix)}
        return [(key, row) for key, row in sorted(rows.items()) if row is not None][:limit]

    def count(self, table: Table, prefix: bytes) -> int:
        return len(self.scan(table, prefix))


class _Deferred:
    """A SQLite store that begins as a reader, and that begins anew as a writer when it has something to write."""

    def __init__(self, place: str) -> None:
        self._connection = sqlite3.connect(place, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        self._lock = threading.Lock()
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS rows (kind TEXT, key BLOB, value BLOB, version INT, PRIMARY KEY (kind, key))"
        )

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """See `Store`."""
        with self._lock:
            yield from self._step()

    def _step(self) -> Iterator[Transaction]:
        self._connection.execute("BEGIN DEFERRED")
        tx = _DeferredTransaction(self._connection)
        try:
            yield tx
        finally:
            self._connection.execute("COMMIT")
        if not tx.noted:
            return
        self._connection.execute("BEGIN IMMEDIATE")
        for (table, key), row in tx.noted.items():
            self._connection.execute("DELETE FROM rows WHERE kind = ? AND key = ?", (table.value, key))
            if row is not None:
                self._connection.execute("INSERT INTO rows VALUES (?, ?, ?, ?)", (table.value, key, *row))
        self._connection.execute("COMMIT")

    def close(self) -> None:
        """See `Store`."""
        self._connection.close()


class _Unlocked(JSONFileStore):
    """A JSON store whose lock keeps no other process out."""

    def _draft(self) -> str:
        return f"{self._file}.{os.getpid()}"

    @contextmanager
    def _locked(self) -> Iterator[int]:
        handle = os.open(self._file + ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            yield handle
        finally:
            os.close(handle)


class _GivesUp(StoreOver):
    """A store whose wait for another writer ends with an exception of its own."""

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        try:
            with self._durable.transaction() as tx:
                yield tx
        except Conflict as error:
            raise TimeoutError("the row was locked") from error


class _PrekeyReadBefore(StoreOver):
    """A store that looks one-time prekeys up in a cache, which other processes do not know of."""

    def __init__(self, durable: Store) -> None:
        super().__init__(durable)
        self._cache: dict[bytes, Row] = {}

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        with self._durable.transaction() as tx:
            yield _CachedPrekeys(tx, self._cache)


class _CachedPrekeys(PassingTransaction):
    def __init__(self, inner: Transaction, cache: dict[bytes, Row]) -> None:
        super().__init__(inner)
        self._cache = cache
        if not cache:
            cache.update(inner.scan(Table.PREKEY, b""))

    def get(self, table: Table, key: bytes) -> Row | None:
        """Read; of prekeys, from the cache."""
        found = super().get(table, key)
        if table is Table.PREKEY:
            if found is not None:
                self._cache[key] = found
            return self._cache.get(key)
        return found

    def delete(self, table: Table, key: bytes, *, version: int) -> None:
        """Delete; a prekey that is gone already is fine."""
        if table is Table.PREKEY:
            self._cache.pop(key, None)
            with suppress(Conflict):
                super().delete(table, key, version=version)
        else:
            super().delete(table, key, version=version)


# -- stores that are wrong where a server goes away --------------------------------------------------------------------


def _asynchronous(kind: str, place: str) -> Store:
    # What the store sets when it connects comes after this, so that it is set anew in each transaction.
    return PassingStore(OPENERS[kind](place), _NotWaiting)


class _NotWaiting(PassingTransaction):
    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        inner._run("SET LOCAL synchronous_commit = off")


class _TakesAgain(Device):
    """A device that takes a step again though its first try may have happened."""

    def encrypt(self, peer: ProtocolAddress, plaintext: bytes) -> EncryptedMessage:
        """See `Device`."""
        # As one does whose first answer was lost on its way back.
        super().encrypt(peer, plaintext)
        return super().encrypt(peer, plaintext)


def _takes_again(store: Store, hook: StorePlaintext) -> Device:
    return _TakesAgain(store, on_event=_unheard, store_plaintext=hook)


BROKEN: Final = {
    "committed-late": BrokenWriter(
        "kill",
        "sqlite",
        "ATM-02",
        "A result is handed out before the state behind it is durable.",
        _over(LateStore),
    ),
    "unsynced-adapter": BrokenWriter(
        "kill",
        "adapter",
        "ATM-02",
        "An adapter gathers changes in memory and writes them down now and then.",
        lambda _, place: AdapterStore(_UnsyncedAdapter(place)),
    ),
    "half-written": BrokenWriter(
        "kill",
        "sqlite",
        "ATM-09",
        "Each write is a transaction of its own, the plaintext's the last.",
        _over(PiecemealStore),
    ),
    "two-transactions": BrokenWriter(
        "kill",
        "sqlite",
        "ATM-01",
        "The prekey is deleted in one transaction, the session written in the next.",
        _over(TwoTransactionsStore),
    ),
    "half-file-is-empty": BrokenWriter(
        "kill",
        "json",
        "ATM-06",
        "A JSON file is written in place, and one that is half written counts as empty.",
        lambda _, place: _InPlace(place),
    ),
    "prekey-kept": BrokenWriter(
        "kill",
        "sqlite",
        "KEY-03",
        "A one-time prekey is not deleted once it was used.",
        _keeps_prekeys,
    ),
    "plaintext-afterwards": BrokenWriter(
        "kill",
        "sqlite",
        "ATM-09",
        "The application stores a plaintext in a transaction after the one that read it.",
        _as_it_is,
        _StoresAfterwards,
    ),
    "skips-a-counter": BrokenWriter(
        "kill",
        "sqlite",
        "CTR-02",
        "A step is taken again though its first try happened, so that a counter is lost without a reason.",
        _as_it_is,
        _takes_again,
    ),
    "deferred": BrokenWriter(
        "hammer",
        "sqlite",
        "ATM-04",
        "SQLite is opened DEFERRED: what was read may be old when it is written.",
        lambda _, place: _Deferred(place),
    ),
    "version-ignored": BrokenWriter(
        "hammer",
        "sqlite",
        "ATM-04",
        "A conflict is answered by writing the same rows again.",
        _over(OverwritingStore),
    ),
    "no-lock": BrokenWriter(
        "hammer",
        "json",
        "ATM-04",
        "Nothing keeps other processes out of a JSON file.",
        lambda _, place: _Unlocked(place, busy_timeout=BUSY_SECONDS),
    ),
    "prekey-cached": BrokenWriter(
        "hammer",
        "sqlite",
        "KEY-03",
        "Each process keeps one-time prekeys in a cache, so that two of them use one.",
        _over(_PrekeyReadBefore),
    ),
    "conflict-untyped": BrokenWriter(
        "hammer",
        "postgres",
        "ATM-05",
        "A conflict leaves the store as an exception that is no refusal of the library's.",
        _over(_GivesUp),
    ),
    "commit-not-waited-for": BrokenWriter(
        "server",
        "postgres",
        "ATM-02",
        "PostgreSQL acknowledges commits before they are on the disk.",
        _asynchronous,
    ),
}
"""By name."""
