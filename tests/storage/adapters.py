"""Adapters as third parties write them: one in a SQLite file of its own, and one without transactions."""

from __future__ import annotations

import sqlite3
import threading
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
            self._own.connection = sqlite3.connect(self.path, timeout=self._timeout, isolation_level=None)
        connection: sqlite3.Connection = self._own.connection
        return connection

    @contextmanager
    def transaction(self) -> Iterator[FileAdapter]:
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
        found = self._connection().execute("SELECT value FROM pairs WHERE key = ?", (key,)).fetchone()
        return None if found is None else found[0]

    def put(self, key: bytes, value: bytes) -> None:
        self._connection().execute("INSERT OR REPLACE INTO pairs VALUES (?, ?)", (key, value))

    def delete(self, key: bytes) -> None:
        self._connection().execute("DELETE FROM pairs WHERE key = ?", (key,))

    def scan(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
        found = self._connection().execute("SELECT key, value FROM pairs WHERE key >= ? ORDER BY key", (prefix,))
        for key, value in found:
            if not key.startswith(prefix):
                break
            yield key, value

    def close(self) -> None:
        self._connection().close()


class DictAdapter:
    """The least that an adapter can be: no transactions."""

    def __init__(self, pairs: dict[bytes, bytes] | None = None) -> None:
        self.pairs = {} if pairs is None else pairs
        self.fail_after: int | None = None
        """Writes that still work; then the place is gone."""

    def _write(self) -> None:
        if self.fail_after is not None:
            if self.fail_after == 0:
                raise OSError("the place is gone")
            self.fail_after -= 1

    def get(self, key: bytes) -> bytes | None:
        return self.pairs.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        self._write()
        self.pairs[key] = value

    def delete(self, key: bytes) -> None:
        self._write()
        self.pairs.pop(key, None)

    def scan(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
        return [(key, self.pairs[key]) for key in sorted(self.pairs) if key.startswith(prefix)]
