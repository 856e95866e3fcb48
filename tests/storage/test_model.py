"""Any sequence of transactions leaves every store with what a dictionary would hold."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pawl.errors import Conflict, StorageError
from pawl.storage import AdapterStore, MemoryStore, Row, SQLiteStore, Store, Table, Transaction
from tests.storage.adapters import FileAdapter

Rows = dict[tuple[Table, bytes], Row]

tables = st.sampled_from([Table.SESSION, Table.SKIPPED_KEY])
keys = st.sampled_from([b"", b"a", b"a\0", b"a\xff", b"b", b"\xff", b"\xff\xff"]) | st.binary(max_size=3)
values = st.binary(max_size=8)
versions = st.none() | st.integers(0, 3)
"""None: the version that the row has."""


class StoreMachine(RuleBasedStateMachine):
    """`committed` is what a dictionary holds, `pending` what it holds inside the open transaction."""

    folder: Path
    store: Store

    def open(self) -> Store:
        raise NotImplementedError

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.store = self.open()
        self.committed: Rows = {}
        self.pending: Rows | None = None

    def begin(self) -> None:
        self.block: AbstractContextManager[Transaction] = self.store.transaction()
        self.transaction = self.block.__enter__()
        self.pending = dict(self.committed)

    def need(self) -> Rows:
        if self.pending is None:
            self.begin()
        assert self.pending is not None
        return self.pending

    @rule(table=tables, key=keys, value=values, version=versions)
    def put(self, table: Table, key: bytes, value: bytes, version: int | None) -> None:
        pending = self.need()
        present = pending[table, key].version if (table, key) in pending else 0
        version = present if version is None else version
        if version == present:
            assert self.transaction.put(table, key, value, version=version) == present + 1
            pending[table, key] = Row(value, present + 1)
        else:
            with pytest.raises(Conflict):
                self.transaction.put(table, key, value, version=version)

    @rule(table=tables, key=keys, version=versions)
    def delete(self, table: Table, key: bytes, version: int | None) -> None:
        pending = self.need()
        present = pending[table, key].version if (table, key) in pending else 0
        version = present if version is None else version
        if version == present and present:
            self.transaction.delete(table, key, version=version)
            del pending[table, key]
        else:
            with pytest.raises(Conflict):
                self.transaction.delete(table, key, version=version)

    @rule(table=tables, key=keys)
    def get(self, table: Table, key: bytes) -> None:
        pending = self.need()
        assert self.transaction.get(table, key) == pending.get((table, key))

    @rule(table=tables, prefix=keys, limit=st.none() | st.integers(0, 3))
    def scan(self, table: Table, prefix: bytes, limit: int | None) -> None:
        found = sorted((k, row) for (t, k), row in self.need().items() if t is table and k.startswith(prefix))
        assert list(self.transaction.scan(table, prefix, limit=limit)) == found[:limit]
        assert self.transaction.count(table, prefix) == len(found)

    @precondition(lambda self: self.pending is not None)
    @rule()
    def commit(self) -> None:
        assert self.pending is not None
        self.block.__exit__(None, None, None)
        self.committed, self.pending = self.pending, None

    @precondition(lambda self: self.pending is not None)
    @rule()
    def roll_back(self) -> None:
        self.block.__exit__(ValueError, ValueError(), None)
        self.pending = None

    @precondition(lambda self: self.pending is not None)
    @rule()
    def nest(self) -> None:
        with pytest.raises(StorageError), self.store.transaction():
            pass

    @precondition(lambda self: self.pending is None)
    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = self.open()

    @invariant()
    def holds_what_was_committed(self) -> None:
        if self.pending is None:
            with self.store.transaction() as transaction:
                held = {(table, key): row for table in Table for key, row in transaction.scan(table, b"")}
            assert held == self.committed

    def teardown(self) -> None:
        if getattr(self, "pending", None) is not None:
            self.roll_back()
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.folder)


class MemoryMachine(StoreMachine):
    """Reopening is forking: the copy must hold the same and share nothing."""

    def open(self) -> Store:
        if not hasattr(self, "store"):
            self.twin = MemoryStore()
        else:
            self.twin = self.twin.fork()
        return self.twin

    @precondition(lambda self: self.pending is None)
    @rule()
    def reopen(self) -> None:
        former, self.store = self.twin, self.open()
        self.twin = self.store  # type: ignore[assignment]
        former.close()


class SQLiteMachine(StoreMachine):
    def open(self) -> Store:
        return SQLiteStore(self.folder / "pawl.db")


class RecordsMachine(MemoryMachine):
    """Reopening is leaving the process and coming back."""

    def open(self) -> Store:
        if not hasattr(self, "store"):
            self.twin = MemoryStore()
        else:
            self.twin = MemoryStore(records=self.twin.records(), store_id=self.twin.store_id)
        return self.twin


class AdapterMachine(StoreMachine):
    def open(self) -> Store:
        return AdapterStore(FileAdapter(self.folder / "pairs.db"))


MemoryMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
RecordsMachine.TestCase.settings = MemoryMachine.TestCase.settings
AdapterMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
SQLiteMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
TestMemory = MemoryMachine.TestCase
TestRecords = RecordsMachine.TestCase
TestAdapter = AdapterMachine.TestCase
TestSQLite = SQLiteMachine.TestCase
