"""A store in memory: for tests, for the gate, and for devices that live no longer than their process."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import MappingProxyType, TracebackType
from typing import Final

from pawl.errors import Conflict, InvalidArgument, StorageError
from pawl.limits import MAX_RECORD_BYTES
from pawl.sources import system_rng
from pawl.storage.contract import Row, Table, Transaction
from pawl.storage.rows import (
    DEFAULT_BUSY_TIMEOUT,
    MAX_KEY_BYTES,
    MAX_VERSION,
    Turns,
    check_key,
    check_limit,
    check_value,
    check_version,
    check_write,
    prefix_end,
)
from pawl.storage.seal import MAX_SEALED_BYTES, STORE_ID_BYTES, Seal
from pawl.values import made

Rows = Mapping[Table, Mapping[bytes, Row]]
"""All rows of a store, by table and key."""

Records = Mapping[Table, Mapping[bytes, Row]]
"""The same, each value in its seal (`pawl.storage.seal`): what a store is outside of a process."""

_MISSING: Final = Row(b"", 0)
"""Stands for a row that is not there."""


class _Sealed(Row):
    """A row that came from outside, and that nobody read yet."""

    __slots__ = ()


class _Shelf:
    """The rows of one table, and their keys in order once somebody asked for an order."""

    __slots__ = ("order", "rows")

    def __init__(self, rows: dict[bytes, Row]) -> None:
        self.rows = rows
        self.order: list[bytes] | None = None

    def span(self, prefix: bytes) -> tuple[list[bytes], int, int]:
        """All keys in order, and where those that start with `prefix` begin and end."""
        # Sorted at the first question, kept in order from then on: later questions do not touch other rows.
        if self.order is None:
            self.order = sorted(self.rows)
        start = bisect_left(self.order, prefix)
        return self.order, start, bisect_left(self.order, prefix_end(prefix), start)


class MemoryStore:
    """A `Store` whose rows live in this process' memory, safe to share between its threads.

    `rows`: what it holds at first. `records`, with the `store_id` (16 bytes) that they were sealed for: the same, as
    `records()` gave it out; a record is opened, or refused by CorruptRecord, when it is first read.
    `busy_timeout`: seconds to wait for another thread's transaction. Raises: InvalidArgument.

    Rows are sealed when they leave the process' memory and checked when they come back to it. In between nothing but
    this store holds them, as Python objects that cannot change, so that there is nothing to check at each read.
    """

    __slots__ = ("_seal", "_shelves", "_transaction", "_turns", "revision")

    def __init__(
        self,
        *,
        rows: Rows | None = None,
        records: Records | None = None,
        store_id: bytes | None = None,
        busy_timeout: float = DEFAULT_BUSY_TIMEOUT,
    ) -> None:
        # Check
        if (records is None) != (store_id is None) or (records is not None and rows is not None):
            raise InvalidArgument("a store begins with nothing, with rows, or with records and their store's id")
        self._turns = Turns(busy_timeout)
        self.revision = 0
        """How many transactions that wrote something were committed."""
        self._seal = None if store_id is None else Seal(store_id)
        self._transaction: type[MemoryTransaction] = MemoryTransaction
        given: Mapping[Table, dict[bytes, Row]] = {}
        if rows is not None:
            given = _checked(rows, MAX_RECORD_BYTES)
        elif records is not None:
            self._transaction = _OpeningTransaction
            given = {
                table: {key: _Sealed(*row) for key, row in shelf.items()}
                for table, shelf in _checked(records, MAX_SEALED_BYTES).items()
            }
        # By the table's name: an Enum hashes in Python code, a str does not.
        self._shelves = {table.value: _Shelf(given.get(table, {})) for table in Table}

    @property
    def store_id(self) -> bytes:
        """16 random bytes, the same for the whole life of the store. No secret; its records are sealed with them."""
        return self._sealing().store_id

    def _sealing(self) -> Seal:
        # Drawn when it is first asked for: most memory stores never leave their process.
        if self._seal is None:
            self._seal = Seal(system_rng(STORE_ID_BYTES))
        return self._seal

    def transaction(self) -> AbstractContextManager[Transaction]:
        """See `Store.transaction`. Its thread has the store for itself until the block ends."""
        return self._open_transaction()

    def _open_transaction(self) -> MemoryTransaction:
        """The same, for a store that keeps its rows in this one meanwhile."""
        self._turns.check_open()
        return self._transaction(self)

    def close(self) -> None:
        """See `Store.close`. The rows are dropped."""
        if self._turns.close():
            self._shelves = {}
            self._turns.give()

    def snapshot(self) -> Rows:
        """An unchanging copy of all committed rows.

        Raises: StorageError (in a transaction), StoreBusy, StoreClosed, CorruptRecord (of `records` not read before).
        """
        return _unchanging(self._copy(self._opened))

    def records(self) -> Records:
        """An unchanging copy of all committed rows in their seals; those not read before, as they came.

        Raises: StorageError (in a transaction), StoreBusy, StoreClosed.
        """
        return _unchanging(self._copy(self._sealed))

    def records_inside(self) -> Records:
        """The same in the midst of a transaction of the caller's, with what it wrote."""
        return {
            table: {key: self._sealed(table, key, row) for key, row in self._shelves[table.value].rows.items()}
            for table in Table
        }

    def _sealed(self, table: Table, key: bytes, row: Row) -> Row:
        as_it_came = type(row) is _Sealed
        value = row.value if as_it_came else self._sealing().close(table, key, row.value, row.version)
        return Row(value, row.version)

    def fork(self) -> MemoryStore:
        """A store with the same rows and the same id, as a copy of a file has.

        Raises: StorageError (in a transaction), StoreBusy, StoreClosed.
        """
        twin = MemoryStore(busy_timeout=self._turns.timeout)
        twin._seal, twin._transaction = self._sealing(), self._transaction
        twin._shelves = {table.value: _Shelf(rows) for table, rows in self._copy(None).items()}
        return twin

    def _opened(self, table: Table, key: bytes, row: Row) -> Row:
        """`row` as it is to be read. Raises: CorruptRecord, UnsupportedSchema."""
        return self._sealing().open(table, key, row.value, row.version)[1] if type(row) is _Sealed else row

    def _copy(self, each: Callable[[Table, bytes, Row], Row] | None) -> dict[Table, dict[bytes, Row]]:
        self._turns.take()
        try:
            copy = {table: dict(self._shelves[table.value].rows) for table in Table}
        finally:
            self._turns.give()
        if each is None:
            return copy
        return {table: {key: each(table, key, row) for key, row in rows.items()} for table, rows in copy.items()}


class MemoryTransaction:
    """Writes at once and notes how to undo it; nobody else can look before the end."""

    __slots__ = ("_shelves", "_store", "_undo", "_used")

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._shelves: dict[str, _Shelf] | None = None
        self._undo: list[tuple[_Shelf, bytes, Row]] = []
        self._used = False

    def __enter__(self) -> Transaction:
        if self._used:
            raise StorageError("a transaction is used once")
        store = self._store
        store._turns.take()
        self._used, self._shelves = True, store._shelves
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._shelves = None
        if self._undo:
            if kind is None:
                self._store.revision += 1
            else:
                # Whatever ended the block early, the store is as it was (ATM-05).
                self._roll_back()
        self._store._turns.give()

    @property
    def wrote(self) -> bool:
        """Whether anything was written."""
        return bool(self._undo)

    def _roll_back(self) -> None:
        for shelf, key, row in reversed(self._undo):
            if row is _MISSING:
                del shelf.rows[key]
            else:
                shelf.rows[key] = row
            shelf.order = None

    def _shelf(self, table: Table, key: bytes) -> _Shelf:
        check_key(table, key)
        if self._shelves is None:
            raise StorageError("the transaction is not open")
        return self._shelves[table._value_]

    def get(self, table: Table, key: bytes) -> Row | None:
        """See `Transaction.get`."""
        # As `_shelf`, without other calls: three rows are read for each message. No key that is there is too long.
        if type(table) is Table and type(key) is bytes and self._shelves is not None:
            row = self._shelves[table._value_].rows.get(key)
            if row is not None:
                return row
        return self._shelf(table, key).rows.get(key)

    def put(self, table: Table, key: bytes, value: bytes, *, version: int) -> int:
        """See `Transaction.put`."""
        # Check
        # All is well with nearly all; who finds the fault names it.
        if (
            type(table) is not Table
            or type(key) is not bytes
            or type(value) is not bytes
            or type(version) is not int
            or len(key) > MAX_KEY_BYTES
            or len(value) > MAX_RECORD_BYTES
            or not 0 <= version < MAX_VERSION
        ):
            check_write(table, key, value, version)
        if self._shelves is None:
            raise StorageError("the transaction is not open")
        shelf = self._shelves[table._value_]
        old = shelf.rows.get(key, _MISSING)
        # Of two writers that read one row, the second is told (ATM-04).
        if old.version != version:
            raise Conflict(f"{table.value}: a row is at version {old.version}, expected {version}")
        # Commit
        self._undo.append((shelf, key, old))
        shelf.rows[key] = made(Row, (value, version + 1))
        if old is _MISSING and shelf.order is not None:
            insort(shelf.order, key)
        return version + 1

    def delete(self, table: Table, key: bytes, *, version: int) -> None:
        """See `Transaction.delete`."""
        # Check
        shelf = self._shelf(table, key)
        check_version(version)
        old = shelf.rows.get(key, _MISSING)
        if old is _MISSING or old.version != version:
            raise Conflict(f"{table.value}: a row is at version {old.version}, expected {version}")
        # Commit
        self._undo.append((shelf, key, old))
        del shelf.rows[key]
        if shelf.order is not None:
            del shelf.order[bisect_left(shelf.order, key)]

    def scan(self, table: Table, prefix: bytes, *, limit: int | None = None) -> Sequence[tuple[bytes, Row]]:
        """See `Transaction.scan`."""
        shelf = self._shelf(table, prefix)
        check_limit(limit)
        order, start, end = shelf.span(prefix)
        if limit is not None:
            end = min(end, start + limit)
        return [(key, shelf.rows[key]) for key in order[start:end]]

    def count(self, table: Table, prefix: bytes) -> int:
        """See `Transaction.count`."""
        _, start, end = self._shelf(table, prefix).span(prefix)
        return end - start


class _OpeningTransaction(MemoryTransaction):
    """The same over rows that came in their seals: each is opened when it is first read, and kept so."""

    __slots__ = ()

    def _open(self, shelf: _Shelf, table: Table, key: bytes, row: Row) -> Row:
        opened = self._store._opened(table, key, row)
        # Not undone by a rollback: it is the same row.
        shelf.rows[key] = opened
        return opened

    def get(self, table: Table, key: bytes) -> Row | None:
        shelf = self._shelf(table, key)
        row = shelf.rows.get(key)
        return None if row is None else self._open(shelf, table, key, row)

    def scan(self, table: Table, prefix: bytes, *, limit: int | None = None) -> Sequence[tuple[bytes, Row]]:
        shelf = self._shelf(table, prefix)
        return [(key, self._open(shelf, table, key, row)) for key, row in super().scan(table, prefix, limit=limit)]


def _unchanging(rows: dict[Table, dict[bytes, Row]]) -> Rows:
    return MappingProxyType({table: MappingProxyType(shelf) for table, shelf in rows.items()})


def _checked(rows: Rows, most: int) -> dict[Table, dict[bytes, Row]]:
    """A copy of rows that a caller handed in, with values of at most `most` bytes. Raises: InvalidArgument."""
    if not isinstance(rows, Mapping):
        raise InvalidArgument("rows are a mapping of each Table to a mapping of keys")
    copy: dict[Table, dict[bytes, Row]] = {}
    for table, shelf in rows.items():
        if type(table) is not Table or not isinstance(shelf, Mapping):
            raise InvalidArgument("rows are a mapping of each Table to a mapping of keys")
        copy[table] = dict(shelf)
        for key, row in copy[table].items():
            check_key(table, key)
            if type(row) is not Row:
                raise InvalidArgument("a row is a Row")
            check_value(row.value, most=most)
            check_version(row.version)
            # Version 0 means "not there".
            if row.version == 0:
                raise InvalidArgument("a row's version counts from 1")
    return copy
