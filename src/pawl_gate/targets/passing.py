"""Stores that pass everything on: what watches or breaks one overrides the piece that it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from pawl.storage.contract import Row, Store, Table, Transaction


class PassingTransaction:
    """A transaction that passes everything on."""

    def __init__(self, inner: Transaction) -> None:
        self.inner = inner

    def get(self, table: Table, key: bytes) -> Row | None:
        """See `Transaction`."""
        return self.inner.get(table, key)

    def put(self, table: Table, key: bytes, value: bytes, *, version: int) -> int:
        """See `Transaction`."""
        return self.inner.put(table, key, value, version=version)

    def delete(self, table: Table, key: bytes, *, version: int) -> None:
        """See `Transaction`."""
        self.inner.delete(table, key, version=version)

    def scan(self, table: Table, prefix: bytes, *, limit: int | None = None) -> Sequence[tuple[bytes, Row]]:
        """See `Transaction`."""
        return self.inner.scan(table, prefix, limit=limit)

    def count(self, table: Table, prefix: bytes) -> int:
        """See `Transaction`."""
        return self.inner.count(table, prefix)


class StoreOver:
    """A store over another one. What a transaction is, a generator says: `_transaction`, with @contextmanager."""

    def __init__(self, durable: Store) -> None:
        self._durable = durable

    def transaction(self) -> AbstractContextManager[Transaction]:
        """See `Store`."""
        return self._transaction()

    def _transaction(self) -> AbstractContextManager[Transaction]:
        return self._durable.transaction()

    def close(self) -> None:
        """See `Store`."""
        self._durable.close()


class PassingStore(StoreOver):
    """A store that passes everything on, with another transaction."""

    def __init__(self, durable: Store, transaction: Callable[[Transaction], Transaction]) -> None:
        super().__init__(durable)
        self._make = transaction

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        with self._durable.transaction() as inner:
            yield self._make(inner)
