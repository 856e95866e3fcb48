"""Every store, under one name: what is said of `Store` is asked of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pawl.storage import Store
from tests.storage.media import MEDIA, Medium

Reopen = Callable[[Store], Store]


@pytest.fixture(params=MEDIA)
def medium(request: pytest.FixtureRequest, tmp_path: Path) -> Medium:
    """The place of a store, new and empty."""
    kind: type[Medium] = MEDIA[request.param]
    return kind(tmp_path)


@pytest.fixture
def store(medium: Medium) -> Iterator[Store]:
    made = medium.open(busy_timeout=0.05)
    yield made
    made.close()


@pytest.fixture
def reopen(medium: Medium) -> Iterator[Reopen]:
    """Look at a store with fresh eyes: a memory store through its records, a file through a second connection."""
    opened: list[Store] = []

    def look(store: Store) -> Store:
        medium.keep(store)
        opened.append(medium.open())
        return opened[-1]

    yield look
    for store in opened:
        store.close()
