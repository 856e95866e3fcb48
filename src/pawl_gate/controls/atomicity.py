"""Atomicity: controls that break ATM."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from inspect import unwrap
from typing import cast
from uuid import UUID

from pawl import Device, EncryptedMessage, Group, GroupLayout, ProtocolAddress
from pawl.application import StorePlaintext
from pawl.errors import Conflict, StorageError
from pawl.group_device import Wrap
from pawl.storage.contract import Row, Store, Table, Transaction
from pawl_gate.controls.catalogue import control, slip
from pawl_gate.controls.edits import Edit
from pawl_gate.controls.variants import Wrapped, WrappedVariant
from pawl_gate.targets.passing import PassingTransaction, StoreOver
from pawl_gate.targets.variant import Setup, Variant


class LateStore(StoreOver):
    """Commits a transaction only when the next one begins: results are handed out before they are durable."""

    def __init__(self, durable: Store) -> None:
        super().__init__(durable)
        self._late: list[tuple[Table, bytes, Row | None]] = []

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        late, self._late = self._late, []
        if late:
            with self._durable.transaction() as rows:
                _write(rows, late)
        try:
            with self._durable.transaction() as rows:
                noting = _Noting(rows)
                yield noting
                # Only now, and only in memory: the durable transaction is rolled back.
                self._late = noting.written
                raise _Undo
        except _Undo:
            pass


class _Undo(Exception):
    """Rolls a transaction back."""


class _Noting(PassingTransaction):
    def __init__(self, inner: Transaction) -> None:
        super().__init__(inner)
        self.written: list[tuple[Table, bytes, Row | None]] = []

    def put(self, table: Table, key: bytes, value: bytes, *, version: int) -> int:
        new = super().put(table, key, value, version=version)
        self.written.append((table, key, Row(value, version)))
        return new

    def delete(self, table: Table, key: bytes, *, version: int) -> None:
        super().delete(table, key, version=version)
        self.written.append((table, key, None))


def _write(rows: Transaction, writes: Sequence[tuple[Table, bytes, Row | None]]) -> None:
    for table, key, row in writes:
        old = rows.get(table, key)
        version = 0 if old is None else old.version
        if row is None:
            rows.delete(table, key, version=version)
        else:
            rows.put(table, key, row.value, version=version)


@control("committed-late", "ATM-02")
class CommittedLate(Variant):
    """Ciphertexts and plaintexts are handed out before the state that spent their keys is durable."""

    def store(self, durable: Store) -> Store:
        """A store that commits when the next transaction begins."""
        return LateStore(durable)


class _Piecemeal:
    """A transaction in which every write is committed at once, by itself."""

    def __init__(self, durable: Store) -> None:
        self._durable = durable

    def get(self, table: Table, key: bytes) -> Row | None:
        with self._durable.transaction() as rows:
            return rows.get(table, key)

    def put(self, table: Table, key: bytes, value: bytes, *, version: int) -> int:
        with self._durable.transaction() as rows:
            return rows.put(table, key, value, version=version)

    def delete(self, table: Table, key: bytes, *, version: int) -> None:
        with self._durable.transaction() as rows:
            rows.delete(table, key, version=version)

    def scan(self, table: Table, prefix: bytes, *, limit: int | None = None) -> Sequence[tuple[bytes, Row]]:
        with self._durable.transaction() as rows:
            return rows.scan(table, prefix, limit=limit)

    def count(self, table: Table, prefix: bytes) -> int:
        with self._durable.transaction() as rows:
            return rows.count(table, prefix)


class PiecemealStore(StoreOver):
    """A store without transactions: each write stands for itself."""

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        yield _Piecemeal(self._durable)


@control("half-written", "ATM-01")
class HalfWritten(Variant):
    """Session and prekey are written one after the other, not in one transaction."""

    def store(self, durable: Store) -> Store:
        """A store without transactions."""
        return PiecemealStore(durable)


MOST_TRIES = 10
"""Writes that a store tries before it gives up: a rival that never rests must not make it run for ever."""


class OverwritingStore(StoreOver):
    """Answers a conflict by writing the same rows once more, over what is there by now."""

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        written: list[tuple[Table, bytes, Row | None]] = []
        try:
            with self._durable.transaction() as rows:
                noting = _Noting(rows)
                yield noting
                written = noting.written
                raise _Undo
        except _Undo:
            pass
        for _ in range(MOST_TRIES if written else 0):
            try:
                with self._durable.transaction() as rows:
                    _write(rows, written)
                return
            except Conflict:
                continue


@control("conflict-overwritten", "ATM-04")
class ConflictOverwritten(Variant):
    """A conflict is answered by writing the same rows again, over those of the other writer."""

    def store(self, durable: Store) -> Store:
        """A store in which the last writer wins."""
        return OverwritingStore(durable)


class KeepingStore(StoreOver):
    """Commits what was written before a call failed."""

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        failure: StorageError | None = None
        with self._durable.transaction() as rows:
            try:
                yield rows
            except StorageError as error:
                failure = error
        if failure is not None:
            raise failure


@control("rollback-forgotten", "ATM-05")
class RollbackForgotten(Variant):
    """What was written before the store failed is committed with the failure."""

    def store(self, durable: Store) -> Store:
        """A store that does not roll back."""
        return KeepingStore(durable)


class _StoresAfterwards(Wrapped):
    def __init__(self, store: Store, setup: Setup) -> None:
        super().__init__(store, replace(setup, hook=None))
        self.hook = setup.hook

    def decrypt(self, peer: ProtocolAddress, message: EncryptedMessage) -> bytes:
        plaintext = super().decrypt(peer, message)
        if self.hook is not None:
            with self.inner.application_rows() as rows:
                self.hook(peer, plaintext, rows)
        return plaintext


@control("plaintext-stored-afterwards", "ATM-09")
class PlaintextStoredAfterwards(WrappedVariant):
    """The application stores a plaintext in a transaction of its own, after the one that spent the message's key."""

    wrapper = _StoresAfterwards


class _GroupStoresAfterwards:
    """A group whose application stores what it read once it is read."""

    def __init__(self, group: Group, device: Device, hook: StorePlaintext | None) -> None:
        self._group, self._device, self._hook = group, device, hook

    def __getattr__(self, name: str) -> object:
        return getattr(self._group, name)

    def decrypt(self, sender: ProtocolAddress, message: bytes) -> bytes:
        """See `Group`."""
        plaintext = self._group.decrypt(sender, message)
        if self._hook is not None:
            with self._device.application_rows() as rows:
                self._hook(sender, plaintext, rows)
        return plaintext


class _StoresAfterwardsInGroups(Wrapped):
    def group(
        self,
        distribution_id: UUID,
        *,
        layout: GroupLayout = GroupLayout.CURRENT,
        wrap: Wrap | None = None,
        store_plaintext: StorePlaintext | None = None,
    ) -> Group:
        group = self.inner.group(distribution_id, layout=layout, wrap=wrap)
        return cast("Group", _GroupStoresAfterwards(group, self.inner, store_plaintext))


@control("group-plaintext-stored-afterwards", "ATM-09")
class GroupPlaintextStoredAfterwards(WrappedVariant):
    """The application stores a plaintext of a group in a transaction of its own, after the one that spent its key."""

    wrapper = _StoresAfterwardsInGroups


slip(
    "group-hook-forgotten",
    "ATM-09",
    "The hook that stores plaintexts is not called for messages of groups.",
    Edit(unwrap(Group._decrypt), "if self._hook is not None:", "if False:"),
)


class TwoTransactionsStore(StoreOver):
    """A store that writes what concerns prekeys in a transaction of its own, before all else."""

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        late: list[tuple[Table, bytes, Row | None]] = []
        try:
            with self._durable.transaction() as inner:
                noting = _Noting(inner)
                yield noting
                late = noting.written
                raise _Undo
        except _Undo:
            pass
        for of_prekeys in (True, False):
            part = [entry for entry in late if (entry[0] in (Table.PREKEY, Table.SEEN_BASE_KEY)) is of_prekeys]
            if part:
                with self._durable.transaction() as rows:
                    _write(rows, part)


@control("two-transactions", "ATM-01")
class TwoTransactions(Variant):
    """The prekey is deleted in one transaction, the session written in the next."""

    def store(self, durable: Store) -> Store:
        """A store with two transactions for one."""
        return TwoTransactionsStore(durable)


slip(
    "session-not-written",
    "ATM-02",
    "A ciphertext is handed out, and the session that made it is not written.",
    Edit(unwrap(Device.encrypt), "rows.save(stepped)", "pass"),
)
