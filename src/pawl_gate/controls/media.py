"""Media: controls that break what is said of stores as their media give them back (ATM-03, ATM-06, ATM-07, ATM-08)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pawl import announced
from pawl.errors import CorruptRecord, CorruptStore
from pawl.storage import adapter, sqlite_migration
from pawl.storage.adapter import AdapterStore
from pawl.storage.contract import Row, Store, Table, Transaction
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
