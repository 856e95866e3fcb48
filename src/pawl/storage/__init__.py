"""Where a device keeps its rows: the `Store` contract and the stores that fulfil it."""

from __future__ import annotations

from pawl.storage.adapter import Adapter, AdapterStore, TransactionalAdapter
from pawl.storage.contract import Row, Store, Table, Transaction
from pawl.storage.json_file import JSONFileStore
from pawl.storage.memory import MemoryStore
from pawl.storage.sqlite import SQLiteStore
from pawl.storage.sqlite_migration import migrate_sqlite

__all__ = [
    "Adapter",
    "AdapterStore",
    "JSONFileStore",
    "MemoryStore",
    "Row",
    "SQLiteStore",
    "Store",
    "Table",
    "Transaction",
    "TransactionalAdapter",
    "migrate_sqlite",
]
