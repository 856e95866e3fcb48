"""Every store, under one name: what is said of `Store` is asked of each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pawl.storage import Store
from tests.storage.media import MEDIA, Medium, Postgres

if TYPE_CHECKING:
    from pawl_gate.trials.postgres_server import Server

Reopen = Callable[[Store], Store]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """A server of its own for this run. Without one it is a skip, and where CI is set a failure."""
    # Only these tests need the gate.
    from pawl_gate.trials import Unavailable
    from pawl_gate.trials.postgres_server import Server

    try:
        made = Server()
    except Unavailable as error:
        (pytest.fail if "CI" in os.environ else pytest.skip)(f"{error}: apt-get install postgresql")
    with made as server:
        server.start()
        yield server


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.postgres) if name == "postgres" else name for name in MEDIA]
)
def medium(request: pytest.FixtureRequest, tmp_path: Path) -> Medium:
    """The place of a store, new and empty."""
    kind: type[Medium] = MEDIA[request.param]
    place = kind(tmp_path)
    if isinstance(place, Postgres):
        place.conninfo = request.getfixturevalue("postgres_server").conninfo
    return place


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
