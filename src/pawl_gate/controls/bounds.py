"""Bounds: controls that break BND."""

from __future__ import annotations

from pawl.storage.contract import Row, Store, Table
from pawl_gate.controls.catalogue import control
from pawl_gate.controls.variants import PassingStore, PassingTransaction
from pawl_gate.targets.inprocess import Variant


class _ReadsAllKeptKeys(PassingTransaction):
    def get(self, table: Table, key: bytes) -> Row | None:
        if table is Table.SESSION:
            super().scan(Table.SKIPPED_KEY, b"")
        return super().get(table, key)


@control("kept-keys-all-read", "BND-03")
class KeptKeysAllRead(Variant):
    """Each message reads all kept keys of the store."""

    def store(self, durable: Store) -> Store:
        """A store whose sessions come with every kept key."""
        return PassingStore(durable, _ReadsAllKeptKeys)
