"""Every store, under one name: what is said of `Store` is asked of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pawl.storage import MemoryStore, SQLiteStore, Store

Reopen = Callable[[Store], Store]


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = (
        MemoryStore(busy_timeout=0.05)
        if request.param == "memory"
        else SQLiteStore(tmp_path / "pawl.db", busy_timeout=0.05)
    )
    yield made
    made.close()


@pytest.fixture
def reopen(tmp_path: Path) -> Iterator[Reopen]:
    """Look at a store with fresh eyes: a memory store as it is, a file through a second connection."""
    opened: list[Store] = []

    def look(store: Store) -> Store:
        if isinstance(store, MemoryStore):
            return store
        opened.append(SQLiteStore(tmp_path / "pawl.db"))
        return opened[-1]

    yield look
    for store in opened:
        store.close()
