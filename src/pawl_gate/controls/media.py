"""Media: controls that break what is said of stores as their media give them back, and of what stays there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from pawl import announced
from pawl.errors import CorruptRecord, CorruptStore
from pawl.storage import adapter, sqlite_file, sqlite_migration
from pawl.storage.adapter import AdapterStore
from pawl.storage.contract import Row, Store, Table, Transaction
from pawl.storage.json_file import JSONFileStore
from pawl.storage.memory import MemoryStore
from pawl.storage.seal import Seal
from pawl.storage.sqlite import SQLiteStore
from pawl_gate.controls.catalogue import control, slip
from pawl_gate.controls.edits import Edit
from pawl_gate.targets.passing import PassingStore, PassingTransaction, StoreOver
from pawl_gate.targets.variant import Variant

slip(
    "adapter-taken-as-it-is",
    "ATM-03",
    "An adapter without transactions is used like any other.",
    Edit(AdapterStore.__init__, "if not self.atomic and not allow_non_atomic:", "if False:"),
)
slip(
    "non-atomic-use-unsaid",
    "ATM-03",
    "An adapter without transactions, once it was allowed, is used without a word.",
    Edit(announced.announced, 'if getattr(store, "atomic", True) is not False:', "if True:"),
)
slip(
    "adapter-keeps-what-is-deleted",
    "ATM-03",
    "What a transaction deletes stays in an adapter.",
    Edit(adapter._Block._commit, "inner.delete(key)", "pass"),
)
slip(
    "checksum-unchecked",
    "ATM-06",
    "The checksum of a record is written, and not looked at.",
    Edit(
        Seal.open,
        "if not rest or self._checksum(table, place, row.version, rest) != row.value[:CHECKSUM_BYTES]:",
        "if not rest:",
    ),
)


class _TakenForNone(PassingTransaction):
    def get(self, table: Table, key: bytes) -> Row | None:
        try:
            return super().get(table, key)
        except CorruptRecord:
            return None


@control("damaged-record-is-none", "ATM-06")
class DamagedRecordIsNone(Variant):
    """A record whose checksum is wrong is taken for one that is not there."""

    def reopen(self, opened: Callable[[], Store]) -> Store:
        """A store that finds nothing where something is damaged."""
        return PassingStore(opened(), _TakenForNone)


class _Repairing(PassingTransaction):
    def __init__(self, inner: Transaction) -> None:
        super().__init__(inner)
        self.damaged: tuple[Table, bytes, int] | None = None

    def get(self, table: Table, key: bytes) -> Row | None:
        try:
            return super().get(table, key)
        except CorruptRecord as error:
            self.damaged = (table, key, error.version or 0)
            raise


class RepairingStore(StoreOver):
    """Deletes a damaged record once it was refused."""

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        repairing: _Repairing | None = None
        try:
            with self._durable.transaction() as inner:
                repairing = _Repairing(inner)
                yield repairing
        except CorruptRecord:
            if repairing is not None and repairing.damaged is not None:
                table, key, version = repairing.damaged
                with self._durable.transaction() as inner:
                    inner.delete(table, key, version=version)
            raise


@control("damaged-record-deleted", "ATM-06")
class DamagedRecordDeleted(Variant):
    """A record whose checksum is wrong is refused, and deleted."""

    def reopen(self, opened: Callable[[], Store]) -> Store:
        """A store that does away with what is damaged."""
        return RepairingStore(opened())


@control("damaged-store-made-anew", "ATM-06")
class DamagedStoreMadeAnew(Variant):
    """A store that is damaged is taken for empty, and a new one is used instead."""

    def reopen(self, opened: Callable[[], Store]) -> Store:
        """A new store where the old one is damaged."""
        try:
            return opened()
        except CorruptStore:
            return MemoryStore()


slip(
    "newer-record-read",
    "ATM-07",
    "A record of a schema that a later release wrote is read as if it were of this one.",
    Edit(Seal.open, "if rest[0] != RECORD_SCHEMA:", "if False:"),
)
slip(
    "older-store-not-told-apart",
    "ATM-07",
    "A store of an earlier schema is opened as if it were of this one.",
    Edit(SQLiteStore.__init__, "if schema != SCHEMA_VERSION:", "if False:"),
)
slip(
    "migration-loses-versions",
    "ATM-07",
    "A migration seals each record as if it had been written once.",
    Edit(sqlite_migration._move, "row.value, row.version)", "row.value, 1)"),
)
slip(
    "checksum-without-key",
    "ATM-08",
    "The checksum of a record does not cover the record's key.",
    Edit(Seal._checksum, 'len(key).to_bytes(2, "big"), key, rest', 'b"", b"", rest'),
)
slip(
    "checksum-without-store",
    "ATM-08",
    "The checksum of a record does not cover the store's id.",
    Edit(Seal.__init__, "salt=store_id", "salt=bytes(16)"),
)
slip(
    "checksum-without-version",
    "ATM-08",
    "The checksum of a record does not cover the record's version.",
    Edit(Seal._checksum, 'version.to_bytes(8, "big")', "bytes(8)"),
)


# -- what stays of what was deleted (KEY-05) --------------------------------------------------------------------------

slip(
    "deleted-not-overwritten",
    "KEY-05",
    "SQLite is not told to overwrite what is deleted.",
    Edit(
        sqlite_file.open_file,
        "connection.execute(setting)",
        'connection.execute(setting.replace("secure_delete = ON", "secure_delete = OFF"))',
    ),
)
slip(
    "free-pages-not-overwritten",
    "KEY-05",
    "SQLite overwrites what is deleted in a page, and leaves whole pages that become free as they are.",
    Edit(
        sqlite_file.open_file,
        "connection.execute(setting)",
        'connection.execute(setting.replace("secure_delete = ON", "secure_delete = FAST"))',
    ),
)
slip(
    "values-beside-their-keys",
    "KEY-05",
    "Values stand in the pages whose rows SQLite moves, and which it does not overwrite then.",
    Edit(sqlite_file.Layout.__init__, "(page_bytes - 12) * 64 // 255 - 23", "0"),
    Edit(sqlite_file._write_schema, "page_size = {PAGE_BYTES}", "page_size = 4096"),
)
slip(
    "log-left-at-the-end",
    "KEY-05",
    "Closing moves the log into the database, and leaves the log as it is.",
    Edit(SQLiteStore.close, "wal_checkpoint(TRUNCATE)", "wal_checkpoint(PASSIVE)"),
)
slip(
    "log-moved-not-emptied",
    "KEY-05",
    "After the stated number of commits the log is moved into the database, and left as it is.",
    Edit(SQLiteStore._checkpoint, "wal_checkpoint(TRUNCATE)", "wal_checkpoint(PASSIVE)"),
)
slip(
    "log-never-emptied",
    "KEY-05",
    "While the store is open its log is never emptied.",
    Edit(SQLiteStore._commit, "if self._commits >= CHECKPOINT_COMMITS:", "if False:"),
)
slip(
    "log-of-the-killed-not-counted",
    "KEY-05",
    "A log that a killed process left is not emptied when the store is opened, and its commits are not counted.",
    Edit(SQLiteStore.__init__, "CHECKPOINT_COMMITS if has_log(file) else 0", "0"),
    Edit(SQLiteStore._settle, "self._checkpoint()", "pass"),
)
slip(
    "migration-leaves-a-copy",
    "KEY-05",
    "A migration leaves a copy of the store as it was.",
    Edit(
        sqlite_migration.migrate_sqlite,
        "_rewrite(connection, schema)",
        'connection.execute("VACUUM INTO ?", (file + ".bak",)); _rewrite(connection, schema)',
    ),
)
slip(
    "json-written-in-place",
    "KEY-05",
    "A JSON file is written over the former one, whose end stays where it was longer.",
    Edit(
        JSONFileStore._write,
        "os.replace(draft, self._file)",
        "os.unlink(draft); old = os.open(self._file, os.O_WRONLY | os.O_CREAT); os.write(old, data); os.close(old)",
    ),
)
slip(
    "json-keeps-the-former",
    "KEY-05",
    "The former JSON file is kept under another name.",
    Edit(
        JSONFileStore._write,
        "os.replace(draft, self._file)",
        'os.path.exists(self._file) and os.replace(self._file, self._file + "~"); os.replace(draft, self._file)',
    ),
)
slip(
    "json-draft-left",
    "KEY-05",
    "Each process gives its drafts a name of its own, so that nobody finds the one that a killed process left.",
    Edit(
        JSONFileStore._draft,
        "_DRAFT_PREFIX + name + _DRAFT_SUFFIX",
        '_DRAFT_PREFIX + name + f".{os.getpid()}" + _DRAFT_SUFFIX',
    ),
)


class _Tombstones(PassingTransaction):
    """Marks rows as deleted."""

    MARK = b"deleted"

    def get(self, table: Table, key: bytes) -> Row | None:
        row = super().get(table, key)
        return None if row is None or row.value.startswith(self.MARK) else row

    def put(self, table: Table, key: bytes, value: bytes, *, version: int) -> int:
        there = super().get(table, key) if version == 0 else None
        return super().put(table, key, value, version=version if there is None else there.version)

    def delete(self, table: Table, key: bytes, *, version: int) -> None:
        row = super().get(table, key)
        super().put(table, key, self.MARK + (b"" if row is None else row.value), version=version)

    def scan(self, table: Table, prefix: bytes, *, limit: int | None = None) -> Sequence[tuple[bytes, Row]]:
        found = [each for each in super().scan(table, prefix) if not each[1].value.startswith(self.MARK)]
        return found[:limit]


@control("deleted-rows-marked", "KEY-05")
class DeletedRowsMarked(Variant):
    """A deleted row becomes a tombstone, with all that was in it."""

    def reopen(self, opened: Callable[[], Store]) -> Store:
        """A store whose rows never go."""
        return PassingStore(opened(), _Tombstones)
