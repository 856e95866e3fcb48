"""Bounds: controls that break BND."""

from __future__ import annotations

from pawl.session import cipher, prekeys
from pawl.storage.contract import Row, Store, Table
from pawl_gate.controls.catalogue import control, slip
from pawl_gate.controls.edits import Edit
from pawl_gate.controls.variants import Patched
from pawl_gate.targets.passing import PassingStore, PassingTransaction
from pawl_gate.targets.variant import Variant


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


slip(
    "all-prekeys-read",
    "BND-03",
    "A first message reads all one-time prekeys, to see how many there are.",
    Edit(prekeys.spend, 'tx.scan(Table.PREKEY, b"", limit=LOW_PREKEYS)', 'tx.scan(Table.PREKEY, b"")'),
)
slip(
    "work-counted-per-session",
    "BND-01",
    "The work that a message causes is bounded for each candidate session, not for all together.",
    Edit(cipher.open_message, "work += ", "work = "),
)


@control("kept-keys-of-a-chain-unbounded", "BND-02")
class KeptKeysOfAChainUnbounded(Patched):
    """More keys are kept in a chain than stated."""

    patches = (
        ("pawl.session.double_ratchet.MAX_SKIPPED_KEYS_PER_CHAIN", 3_000),
        ("pawl.wire.records.MAX_SKIPPED_KEYS_PER_CHAIN", 3_000),
    )


@control("kept-keys-of-a-session-unbounded", "BND-02")
class KeptKeysOfASessionUnbounded(Patched):
    """More keys are kept in a session than stated."""

    patches = (
        ("pawl.session.double_ratchet.MAX_SKIPPED_KEYS_PER_SESSION", 12_000),
        ("pawl.wire.records.MAX_SKIPPED_KEYS_PER_SESSION", 12_000),
    )


@control("archive-unbounded", "BND-02")
class ArchiveUnbounded(Patched):
    """More archived sessions are held than stated."""

    patches = (("pawl.session.rows.MAX_ARCHIVED_SESSIONS", 60), ("pawl.wire.records.MAX_ARCHIVED_SESSIONS", 60))


class _KeepsAJournal(PassingTransaction):
    def put(self, table: Table, key: bytes, value: bytes, *, version: int) -> int:
        if table is Table.SESSION:
            row = super().get(Table.LOCAL, b"journal")
            journal = b"" if row is None else row.value
            super().put(Table.LOCAL, b"journal", journal + key, version=0 if row is None else row.version)
        return super().put(table, key, value, version=version)


@control("journal-written-anew", "BND-03")
class JournalWrittenAnew(Variant):
    """Each message writes a record again that grows with every message."""

    def store(self, durable: Store) -> Store:
        """A store with a journal in one row."""
        return PassingStore(durable, _KeepsAJournal)
