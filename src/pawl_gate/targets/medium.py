"""Media: a party's store as another medium gives it back, and what becomes of an operation on that.

It is done to a copy, so that the trace goes on with what is whole. Records change in their seals; files are real ones,
in a folder of their own; an adapter without transactions is the least that one can be.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Final

from pawl.errors import CorruptStore, ProtocolError, UnsupportedSchema
from pawl.storage import AdapterStore, JSONFileStore, migrate_sqlite
from pawl.storage.contract import Row, Store, Table, Transaction
from pawl.storage.memory import MemoryStore
from pawl.storage.seal import RECORD_SCHEMA, Seal
from pawl.storage.sqlite import SQLiteStore
from pawl.storage.sqlite_file import APPLICATION_ID, PAGE_BYTES, SCHEMA_VERSION, SCHEMAS, Layout
from pawl_gate.targets import deletion
from pawl_gate.targets.passing import PassingTransaction, StoreOver
from pawl_spec.history import Medium, Outcome
from pawl_spec.trace import MEDIA

Shelf = Mapping[bytes, Row]

OLDER: Final = 2
"""The schema of the store that is migrated: the last one whose records are not sealed."""

SEARCHED: Final = MEDIA[MEDIA.index("file-closed") :]
"""Files that are as they should be, and are searched afterwards."""

FAST: Final = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - a folder of our own in it
"""Where files are: in a file system in memory, if there is one. What is judged here is no power loss."""

EVENT: Final = "non-atomic-store-used"


@dataclass(frozen=True, slots=True)
class Place:
    """A medium: how the store in it is opened, and what is there, to be compared."""

    opened: Callable[[], Store]
    content: Callable[[], object]
    concerned: frozenset[tuple[Table, bytes]] | None = None
    """Which records the change concerns; None: the store as a whole."""


# -- records in their seals -------------------------------------------------------------------------------------------


def _flipped(value: bytes) -> bytes:
    return value[:-1] + bytes([value[-1] ^ 1])


def _moved(shelf: Shelf) -> dict[bytes, Row]:
    """Each record under the key of the next one."""
    keys = sorted(shelf)
    return dict(zip(keys, [shelf[key] for key in keys[1:] + keys[:1]], strict=True))


def _changed(rows: Shelf, shelf: Shelf, seal: Seal, table: Table, how: str) -> dict[bytes, Row]:
    """The records of one table, `rows` in their seals (`shelf`), after the change."""
    match how:
        case "flip-bit":
            return {key: Row(_flipped(row.value), row.version) for key, row in shelf.items()}
        case "cut-short":
            return {key: Row(row.value[:-1], row.version) for key, row in shelf.items()}
        case "another-key":
            return _moved(shelf)
        case "another-version":
            return {key: Row(row.value, row.version + 1) for key, row in shelf.items()}
        case "another-store":
            other = Seal(seal.store_id[::-1])
            return {key: Row(other.close(table, key, row.value, row.version), row.version) for key, row in rows.items()}
        case _:  # "newer-record"
            newer = bytes([RECORD_SCHEMA + 1])
            return {
                key: Row(
                    seal._checksum(table, key, row.version, newer + row.value) + newer + row.value,
                    row.version,
                )
                for key, row in rows.items()
            }


def _records(whole: MemoryStore, table: Table, how: str) -> Place | None:
    """The store with the records of one table changed; None where there is nothing to change."""
    sealed = {each: dict(shelf) for each, shelf in whole.records().items()}
    rows = whole.snapshot()[table]
    changed = _changed(rows, sealed[table], Seal(whole.store_id), table, how)
    # A record is that of another store even where nothing in its bytes says so.
    if how != "another-store":
        changed = {key: row for key, row in changed.items() if row != sealed[table][key]}
    if not changed:
        return None
    sealed[table].update(changed)
    store = MemoryStore(records=sealed, store_id=whole.store_id)
    return Place(
        lambda: store,
        lambda: [store.records()[table].get(key) for key in changed],
        frozenset((table, key) for key in changed),
    )


# -- files ------------------------------------------------------------------------------------------------------------


def _sqlite(whole: MemoryStore, folder: Path) -> Path:
    """A SQLite store of this release with the same rows."""
    path = folder / "pawl.db"
    made = SQLiteStore(path)
    seal = Seal(made.store_id)
    made.close()
    stored = Layout(PAGE_BYTES).stored
    _insert(path, whole, lambda table, key, row: stored(table.value, seal.close(table, key, row.value, row.version)))
    return path


def _older(whole: MemoryStore, folder: Path) -> Path:
    """A SQLite store as an earlier release wrote it: records are not sealed."""
    path = folder / "pawl.db"
    with closing(sqlite3.connect(path)) as file:
        for statement in SCHEMAS[OLDER].values():
            file.execute(statement)
        file.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        file.execute(f"PRAGMA user_version = {OLDER}")
    _insert(path, whole, lambda table, key, row: row.value)
    return path


def _is_newer(whole: MemoryStore) -> bool:
    """Whether there are rows that the earlier release had no table for: it cannot have written such a store."""
    return any(shelf and table.value not in SCHEMAS[OLDER] for table, shelf in whole.snapshot().items())


def _insert(path: Path, whole: MemoryStore, value: Callable[[Table, bytes, Row], bytes]) -> None:
    with closing(sqlite3.connect(path)) as file:
        for table, shelf in whole.snapshot().items():
            # In no order, as they come: then the engine has to move rows.
            for key, row in sorted(shelf.items(), key=lambda each: blake2b(each[0]).digest()):
                place = (key, value(table, key, row), row.version)
                file.execute(f"INSERT INTO {table.value} VALUES (?, ?, ?)", place)  # noqa: S608 - a table of ours
        file.commit()
        # One file holds all: what is done to it is done to the store.
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    match how:
        case "file-emptied":
            path.write_bytes(b"")
        case "file-cut":
            path.write_bytes(data[: len(data) // 2])
        case "file-overwritten":
            path.write_bytes(bytes(100) + data[100:])
        case _:  # "newer-file"
            with closing(sqlite3.connect(path)) as file:
                file.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")


def _migrated(path: Path) -> Store:
    migrate_sqlite(path)
    return SQLiteStore(path)


def _file(whole: MemoryStore, folder: Path, how: str) -> Place:
    if how.startswith("older-file"):
        path = _older(whole, folder)
    else:
        path = _sqlite(whole, folder)
        _damage(path, how)
    if how == "older-file-migrated":
        return Place(lambda: _migrated(path), lambda: None)
    return Place(lambda: SQLiteStore(path), path.read_bytes)


# -- adapters ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Pairs:
    """The least that an adapter can be: no transactions."""

    held: dict[bytes, bytes] = field(default_factory=dict)

    def get(self, key: bytes) -> bytes | None:
        """See `Adapter`."""
        return self.held.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        """See `Adapter`."""
        self.held[key] = value

    def delete(self, key: bytes) -> None:
        """See `Adapter`."""
        self.held.pop(key, None)

    def scan(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
        """See `Adapter`."""
        return [(key, self.held[key]) for key in sorted(self.held) if key.startswith(prefix)]


def _adapter(whole: MemoryStore, how: str) -> Place:
    pairs = Pairs()
    made = AdapterStore(pairs, allow_non_atomic=True)
    seal = Seal(made.store_id)
    for table, shelf in whole.snapshot().items():
        for key, row in shelf.items():
            sealed = seal.close(table, key, row.value, row.version)
            pairs.put(b"%b\0%b" % (table.value.encode(), key), row.version.to_bytes(8, "big") + sealed)
    allowed = how == "no-transactions-allowed"
    return Place(lambda: AdapterStore(pairs, allow_non_atomic=allowed), lambda: None if allowed else dict(pairs.held))


# -- the trial --------------------------------------------------------------------------------------------------------


class _Watched(StoreOver):
    """Notes whether a record was read that the change concerns, and counts transactions."""

    def __init__(self, inner: Store, atomic: bool, concerned: frozenset[tuple[Table, bytes]]) -> None:
        super().__init__(inner)
        self._concerned = concerned
        self.atomic = atomic
        self.read = False
        self.transactions = 0

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        self.transactions += 1
        with self._durable.transaction() as inner:
            yield _WatchedTransaction(self, inner)

    def note(self, table: Table, key: bytes) -> None:
        """A record was read."""
        self.read |= (table, key) in self._concerned


class _WatchedTransaction(PassingTransaction):
    def __init__(self, store: _Watched, inner: Transaction) -> None:
        super().__init__(inner)
        self._store = store

    def get(self, table: Table, key: bytes) -> Row | None:
        self._store.note(table, key)
        return super().get(table, key)

    def scan(self, table: Table, prefix: bytes, *, limit: int | None = None) -> Sequence[tuple[bytes, Row]]:
        try:
            found = super().scan(table, prefix, limit=limit)
        except (CorruptStore, UnsupportedSchema):
            # It has met one of those that the change concerns: nothing else is wrong here.
            self._store.read = True
            raise
        for key, _ in found:
            self._store.note(table, key)
        return found


def attempt(
    whole: MemoryStore,
    table: Table,
    how: str,
    *,
    reopen: Callable[[Callable[[], Store]], Store],
    call: Callable[[Store], object],
    told: Callable[[], Iterable[str]],
) -> tuple[Medium, MemoryStore | None] | None:
    """Carry out `call` on the store as the medium gives it back; what became of it, and the rows that are there then.

    `reopen` opens a store by the function that it is given; `told` says which events were heard. None: nothing to do.
    """
    if how.startswith("older-file") and _is_newer(whole):
        return None
    with tempfile.TemporaryDirectory(prefix="pawl-medium-", dir=FAST) as folder:
        if how in SEARCHED:
            return _searched(whole, how, Path(folder), reopen, call), None
        place = _place(whole, table, how, Path(folder))
        return None if place is None else _tried(place, how, reopen, call, told)


def _searched(
    whole: MemoryStore,
    how: str,
    folder: Path,
    reopen: Callable[[Callable[[], Store]], Store],
    call: Callable[[Store], object],
) -> Medium:
    opened: Callable[[], Store]
    if how.startswith("json-file"):
        path = deletion.json_file(whole, folder)
        opened = partial(JSONFileStore, path)
        if how == "json-file-killed":
            deletion.leave_draft(path)
    elif how == "older-file-closed":
        path = _older(whole, folder)
        opened = partial(_migrated, path)
    else:
        path = _sqlite(whole, folder)
        opened = partial(SQLiteStore, path)
    ended = deletion.on_file(path, whole, how, opened=opened, reopen=reopen, call=call)
    return Medium(how, read=True, outcome=ended.outcome, code=ended.code, kept=False, search=ended.found)


def _place(whole: MemoryStore, table: Table, how: str, folder: Path) -> Place | None:
    if "file" in how:
        return _file(whole, folder, how)
    return _adapter(whole, how) if "transactions" in how else _records(whole, table, how)


def _tried(
    place: Place,
    how: str,
    reopen: Callable[[Callable[[], Store]], Store],
    call: Callable[[Store], object],
    told: Callable[[], Iterable[str]],
) -> tuple[Medium, MemoryStore | None]:
    before = place.content()
    code = None
    outcome = Outcome.DONE
    store: Store | None = None
    watched: _Watched | None = None
    try:
        store = reopen(place.opened)
        watched = _Watched(store, getattr(store, "atomic", True), place.concerned or frozenset())
        call(watched)
    except ProtocolError as error:
        outcome, code = Outcome.REFUSED, error.code
    except Exception as error:
        outcome, code = Outcome.DIED, type(error).__name__
    left = None
    if store is not None and place.concerned is None:
        left = deletion.copy_of(store)
        store.close()
    tried = Medium(
        how=how,
        read=place.concerned is None or (watched is not None and watched.read),
        outcome=outcome,
        code=code,
        kept=place.content() == before,
        transactions=0 if watched is None else watched.transactions,
        said=sum(name == EVENT for name in told()),
    )
    return tried, left
