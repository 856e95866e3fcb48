"""A store without transactions says so at each use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from pawl.events import NonAtomicStoreUsed, OnEvent, tell
from pawl.storage.contract import Store, Transaction


def announced(store: Store, on_event: OnEvent | None) -> Store:
    """`store` itself; where it says of itself that it is not atomic, one that tells an event at each transaction."""
    if getattr(store, "atomic", True) is not False:
        return store
    return _AnnouncedStore(store, on_event)


class _AnnouncedStore:
    def __init__(self, inner: Store, on_event: OnEvent | None) -> None:
        self._inner: Final = inner
        self._on_event: Final = on_event
        self._event: Final = NonAtomicStoreUsed(str(getattr(inner, "adapter_name", type(inner).__name__)))

    def transaction(self) -> AbstractContextManager[Transaction]:
        """See `Store.transaction`."""
        return self._transaction()

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        try:
            with self._inner.transaction() as tx:
                yield tx
        finally:
            tell([self._event], self._on_event)

    def close(self) -> None:
        """See `Store.close`."""
        self._inner.close()
