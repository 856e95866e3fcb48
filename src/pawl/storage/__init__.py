"""Where a device keeps its rows: the `Store` contract and the stores that fulfil it."""

from __future__ import annotations

from pawl.storage.contract import Row, Store, Table, Transaction
from pawl.storage.memory import MemoryStore
from pawl.storage.sqlite import SQLiteStore

__all__ = ["MemoryStore", "Row", "SQLiteStore", "Store", "Table", "Transaction"]
