"""Where a campaign's store is, and how any process opens it: by its kind and one text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from pawl.storage import AdapterStore, JSONFileStore, SQLiteStore
from pawl.storage.contract import Store
from pawl_gate.targets.file_adapter import FileAdapter

BUSY_SECONDS: Final = 20.0
"""A writer's busy timeout: eight processes on two processors wait longer than one does."""


def _postgres(place: str) -> Store:
    # Only who uses it needs the driver.
    from pawl.storage.postgres import PostgresStore

    return PostgresStore(place, busy_timeout=BUSY_SECONDS)


OPENERS: Final[Mapping[str, Callable[[str], Store]]] = {
    "sqlite": lambda place: SQLiteStore(place, busy_timeout=BUSY_SECONDS),
    "json": lambda place: JSONFileStore(place, busy_timeout=BUSY_SECONDS),
    "adapter": lambda place: AdapterStore(FileAdapter(Path(place), timeout=BUSY_SECONDS)),
    "postgres": _postgres,
}
"""By kind: the store at a place, a file's path or a connection string."""


def file_of(kind: str, folder: Path) -> str:
    """The place of a store of this kind that is a file."""
    return str(folder / {"sqlite": "pawl.db", "json": "pawl.json", "adapter": "pairs.db"}[kind])
