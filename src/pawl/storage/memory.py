"""A store in memory: for tests, for the gate, and for devices that live no longer than their process."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from types import MappingProxyType, TracebackType
from typing import Final

from pawl.errors import Conflict, InvalidArgument, StorageError
from pawl.limits import MAX_RECORD_BYTES
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

Rows = Mapping[Table, Mapping[bytes, Row]]
"""All rows of a store, by table and key."""

_MISSING: Final = Row(b"", 0)
"""Stands for a row that is not there."""


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

    `rows`: what it holds at first. `busy_timeout`: seconds to wait for another thread's transaction.
    Raises: InvalidArgument.
    """

    __slots__ = ("_shelves", "_turns", "revision")

    def __init__(self, *, rows: Rows | None = None, busy_timeout: float = DEFAULT_BUSY_TIMEOUT) -> None:
        self._turns = Turns(busy_timeout)
        self.revision = 0
        """How many transactions that wrote something were committed."""
        given = {} if rows is None else _checked(rows)
        # By the table's name: an Enum hashes in Python code, a str does not.
        self._shelves = {table.value: _Shelf(given.get(table, {})) for table in Table}

    def transaction(self) -> AbstractContextManager[Transaction]:
        """See `Store.transaction`. Its thread has the store for itself until the block ends."""
        self._turns.check_open()
        return _MemoryTransaction(self)

    def close(self) -> None:
        """See `Store.close`. The rows are dropped."""
        if self._turns.close():
            self._shelves = {}
            self._turns.give()

    def snapshot(self) -> Rows:
        """An unchanging copy of all committed rows. Raises: StorageError (in a transaction), StoreBusy, StoreClosed."""
        return MappingProxyType({table: MappingProxyType(rows) for table, rows in self._copy().items()})

    def fork(self) -> MemoryStore:
        """A store of its own with the same rows. Raises: StorageError (in a transaction), StoreBusy, StoreClosed."""
        twin = MemoryStore(busy_timeout=self._turns.timeout)
        twin._shelves = {table.value: _Shelf(rows) for table, rows in self._copy().items()}
        return twin

    def _copy(self) -> dict[Table, dict[bytes, Row]]:
        self._turns.take()
        try:
            return {table: dict(self._shelves[table.value].rows) for table in Table}
        finally:
            self._turns.give()


class _MemoryTransaction:
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
        # As `_shelf`, without other calls: three rows are read for each message.
        if type(table) is not Table or type(key) is not bytes or len(key) > MAX_KEY_BYTES:
            check_key(table, key)
        if self._shelves is None:
            raise StorageError("the transaction is not open")
        return self._shelves[table._value_].rows.get(key)

    def put(self, table: Table, key: bytes, value: bytes, *, version: int) -> int:
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
        shelf.rows[key] = Row(value, version + 1)
        if old is _MISSING and shelf.order is not None:
            insort(shelf.order, key)
        return version + 1

    def delete(self, table: Table, key: bytes, *, version: int) -> None:
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
        shelf = self._shelf(table, prefix)
        check_limit(limit)
        order, start, end = shelf.span(prefix)
        if limit is not None:
            end = min(end, start + limit)
        return [(key, shelf.rows[key]) for key in order[start:end]]

    def count(self, table: Table, prefix: bytes) -> int:
        _, start, end = self._shelf(table, prefix).span(prefix)
        return end - start


def _checked(rows: Rows) -> dict[Table, dict[bytes, Row]]:
    """A copy of rows that a caller handed in. Raises: InvalidArgument."""
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
            check_value(row.value)
            check_version(row.version)
            # Version 0 means "not there".
            if row.version == 0:
                raise InvalidArgument("a row's version counts from 1")
    return copy
