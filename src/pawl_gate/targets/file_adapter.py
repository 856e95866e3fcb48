"""An adapter as a third party would write one, in a SQLite file of its own."""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pawl.errors import StoreBusy


class FileAdapter:
    """Keys and values in one table, with the engine's transactions. It knows nothing of Pawl but one refusal."""

    def __init__(self, path: Path, *, timeout: float = 5.0) -> None:
        self.path = path
        self._timeout = timeout
        self._own = threading.local()
        self._connection().execute("CREATE TABLE IF NOT EXISTS pairs (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")

    def _connection(self) -> sqlite3.Connection:
        # The engine's connections are each thread's own.
        if not hasattr(self._own, "connection"):
            made = sqlite3.connect(self.path, timeout=self._timeout, isolation_level=None, check_same_thread=False)
            self._own.connection = made
            # Threads end without a word. Whoever lets go of the adapter closes what they left, as Python 3.13 asks for.
            weakref.finalize(self, made.close)
        connection: sqlite3.Connection = self._own.connection
        return connection

    @contextmanager
    def transaction(self) -> Iterator[FileAdapter]:
        """All of a block or nothing. Raises: StoreBusy."""
        try:
            self._connection().execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise StoreBusy("the file is held by another writer") from error
        try:
            yield self
            self._connection().execute("COMMIT")
        except BaseException:
            self._connection().execute("ROLLBACK")
            raise

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""
        found = self._connection().execute("SELECT value FROM pairs WHERE key = ?", (key,)).fetchone()
        return None if found is None else found[0]

    def put(self, key: bytes, value: bytes) -> None:
        """Write, or write over."""
        self._connection().execute("INSERT OR REPLACE INTO pairs VALUES (?, ?)", (key, value))

    def delete(self, key: bytes) -> None:
        """Delete, if it is there."""
        self._connection().execute("DELETE FROM pairs WHERE key = ?", (key,))

    def scan(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
        """What begins so, in the order of the keys."""
        found = self._connection().execute("SELECT key, value FROM pairs WHERE key >= ? ORDER BY key", (prefix,))
        for key, value in found:
            if not key.startswith(prefix):
                break
            yield key, value

    def close(self) -> None:
        """Let go of the file, in this thread."""
        self._connection().close()
