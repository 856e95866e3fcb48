"""Where a campaign's store is, and how any process opens it: by its kind and one text."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pawl.errors import StoreBusy
from pawl.storage import AdapterStore, JSONFileStore, SQLiteStore
from pawl.storage.contract import Store

BUSY_SECONDS: Final = 20.0
"""A writer's busy timeout: eight processes on two processors wait longer than one does."""


class FileAdapter:
    """An adapter as a third party writes it: keys and values in one table of SQLite, with the engine's transactions."""

    def __init__(self, path: str | Path) -> None:
        Path(path).touch(mode=0o600)
        self._connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS pairs (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
        )

    @contextmanager
    def transaction(self) -> Iterator[FileAdapter]:
        """See `TransactionalAdapter`."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise StoreBusy("the file is held by another writer") from error
        try:
            yield self
            self._connection.execute("COMMIT")
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise

    def get(self, key: bytes) -> bytes | None:
        """See `Adapter`."""
        found = self._connection.execute("SELECT value FROM pairs WHERE key = ?", (key,)).fetchone()
        return None if found is None else bytes(found[0])

    def put(self, key: bytes, value: bytes) -> None:
        """See `Adapter`."""
        self._connection.execute("INSERT OR REPLACE INTO pairs VALUES (?, ?)", (key, value))

    def delete(self, key: bytes) -> None:
        """See `Adapter`."""
        self._connection.execute("DELETE FROM pairs WHERE key = ?", (key,))

    def scan(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
        """See `Adapter`."""
        found = self._connection.execute("SELECT key, value FROM pairs WHERE key >= ? ORDER BY key", (prefix,))
        for key, value in found:
            if not key.startswith(prefix):
                return
            yield key, value


def _postgres(place: str) -> Store:
    # Only who uses it needs the driver.
    from pawl.storage.postgres import PostgresStore

    return PostgresStore(place, busy_timeout=BUSY_SECONDS)


OPENERS: Final[Mapping[str, Callable[[str], Store]]] = {
    "sqlite": lambda place: SQLiteStore(place, busy_timeout=BUSY_SECONDS),
    "json": lambda place: JSONFileStore(place, busy_timeout=BUSY_SECONDS),
    "adapter": lambda place: AdapterStore(FileAdapter(place), busy_timeout=BUSY_SECONDS),
    "postgres": _postgres,
}
"""By kind: the store at a place, a file's path or a connection string."""


def file_of(kind: str, folder: Path) -> str:
    """The place of a store of this kind that is a file."""
    return str(folder / {"sqlite": "pawl.db", "json": "pawl.json", "adapter": "pairs.db"}[kind])
