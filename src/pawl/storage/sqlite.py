"""A store in one SQLite file: durable at every commit, safe between threads and processes.

A file that is not such a store, or is a damaged one, is refused before anything is written to it.
Source: sqlite.org, "Write-Ahead Logging", "PRAGMA statements" and "How To Corrupt An SQLite Database File".
"""

# ruff: noqa: S608 - the names of tables in statements are those of `Table`, never a caller's text.
from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from pawl.errors import Conflict, CorruptStore, InvalidArgument, StorageError, StoreBusy, UnsupportedSchema
from pawl.limits import MAX_RECORD_BYTES
from pawl.storage.contract import Row, Table, Transaction
from pawl.storage.rows import (
    DEFAULT_BUSY_TIMEOUT,
    Turns,
    check_key,
    check_limit,
    check_row,
    check_value,
    check_version,
    prefix_end,
)

APPLICATION_ID: Final = 0x5061776C
"""Marks the file as ours ("Pawl" in ASCII), in SQLite's header field for that."""

SCHEMA_VERSION: Final = 2
"""Counts up when the tables change."""

MAX_CHECKED_BYTES: Final = 64 * 1024 * 1024
"""Bytes of a store whose whole structure is checked when it is opened, at about 1 ms a MiB.

In a larger one the engine checks each page when it is first read.
"""

_SCHEMA: Final = {
    table.value: f"CREATE TABLE {table.value} (key BLOB NOT NULL PRIMARY KEY, value BLOB NOT NULL,"
    " version INTEGER NOT NULL) WITHOUT ROWID"
    for table in Table
}

_SETTINGS: Final = (
    # Durable: the log is synced at each commit; with less, a power loss takes acknowledged commits (ATM-02, CTR-02).
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",
    "PRAGMA checkpoint_fullfsync = ON",
    # Deleted secrets are overwritten, and never spill into a temporary file.
    "PRAGMA secure_delete = ON",
    "PRAGMA temp_store = MEMORY",
    # Damage is noticed where it is read, and a tampered schema runs no code.
    "PRAGMA cell_size_check = ON",
    "PRAGMA trusted_schema = OFF",
)

_DRAFT_PREFIX, _DRAFT_SUFFIX = ".pawl-", ".new"
_ENGINE_ERRORS: Final = (sqlite3.Error, UnicodeDecodeError)
"""What the engine can raise: the module decodes the engine's message, which may hold bytes of a damaged file."""

_MAX_SQL_INTEGER: Final = 2**63 - 1
_MAX_SQL_BYTES: Final = 2 * MAX_RECORD_BYTES
"""Bytes of one row in the engine: a key and a value, with room."""


class _Statements:
    """What is asked of one table. SQLite compares blobs byte by byte, so a prefix is a range of keys."""

    __slots__ = ("count", "delete", "get", "insert", "scan", "update")

    def __init__(self, table: str) -> None:
        in_range = "WHERE key >= ? AND key < ?"
        self.get = f"SELECT value, version FROM {table} WHERE key = ?"
        self.insert = f"INSERT INTO {table} (value, version, key) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
        self.update = f"UPDATE {table} SET value = ?, version = ? WHERE key = ? AND version = ?"
        self.delete = f"DELETE FROM {table} WHERE key = ? AND version = ?"
        self.scan = f"SELECT key, value, version FROM {table} {in_range} ORDER BY key LIMIT ?"
        self.count = f"SELECT count(*) FROM {table} {in_range}"


_STATEMENTS: Final = {table.value: _Statements(table.value) for table in Table}


class SQLiteStore:
    """A `Store` in the SQLite file at `path`, created with mode 0600 if nothing is there.

    Its threads take turns; other processes may open the same file. After `os.fork` the child opens its own.
    `busy_timeout`: seconds to wait for another writer. A symbolic link or a directory is refused.
    Raises: InvalidArgument, CorruptStore (damaged, or not a store), UnsupportedSchema, StoreBusy, StorageError.
    """

    __slots__ = ("_connection", "_process", "_turns")

    def __init__(self, path: str | os.PathLike[str], *, busy_timeout: float = DEFAULT_BUSY_TIMEOUT) -> None:
        # Check
        self._turns = Turns(busy_timeout)
        with _system_refusals():
            file = _absolute(path)
            if not _exists(file):
                _create(file)
            _inspect(file, busy_timeout)
        # Commit: from here on the file is known to be a store of ours.
        self._process = os.getpid()
        with _engine_refusals():
            self._connection = _open(file, busy_timeout)

    def transaction(self) -> AbstractContextManager[Transaction]:
        """See `Store.transaction`. It begins as a writer, so that it never has to be refused half-way."""
        self._turns.check_open()
        return _SQLiteTransaction(self)

    def close(self) -> None:
        """See `Store.close`. Commits move from the log into the database, and the log goes if nobody else has it open.

        Raises: StorageError inside a transaction, StoreBusy; anything else only after the store was released.
        """
        # A child process must leave its parent's connection alone.
        if self._process != os.getpid() or not self._turns.close():
            return
        try:
            with _engine_refusals():
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            self._connection.close()
            self._turns.give()

    def _begin(self) -> sqlite3.Connection:
        if self._process != os.getpid():
            raise StorageError("the store was opened by another process: open it again in this one")
        self._turns.take()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except _ENGINE_ERRORS as error:
            self._end()
            raise _refusal(error) from error
        except BaseException:
            self._end()
            raise
        return self._connection

    def _end(self) -> None:
        """Roll back what was not committed and let others have their turn."""
        try:
            if self._connection.in_transaction:
                with suppress(*_ENGINE_ERRORS):
                    self._connection.execute("ROLLBACK")
        finally:
            self._turns.give()


class _SQLiteTransaction:
    """One `BEGIN IMMEDIATE` to `COMMIT` or `ROLLBACK`. Any error of the engine dooms it."""

    __slots__ = ("_connection", "_doomed", "_store", "_used")

    def __init__(self, store: SQLiteStore) -> None:
        self._store = store
        self._connection: sqlite3.Connection | None = None
        self._doomed = False
        self._used = False

    def __enter__(self) -> Transaction:
        if self._used:
            raise StorageError("a transaction is used once")
        self._connection = self._store._begin()
        self._used = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self._run("COMMIT")
        finally:
            self._connection = None
            self._store._end()

    def _run(self, statement: str, *values: bytes | int) -> tuple[list[Any], int]:
        """The statement's rows, and how many it changed."""
        if self._connection is None:
            raise StorageError("the transaction is not open")
        # The engine may have rolled back already: what follows would then be committed alone.
        if self._doomed:
            raise StorageError("the transaction failed earlier; it is rolled back")
        self._doomed = True
        try:
            cursor = self._connection.execute(statement, values)
            rows = cursor.fetchall()
        except _ENGINE_ERRORS as error:
            raise _refusal(error) from error
        self._doomed = False
        return rows, cursor.rowcount

    def get(self, table: Table, key: bytes) -> Row | None:
        check_key(table, key)
        rows, _ = self._run(_STATEMENTS[table._value_].get, key)
        return check_row(table, key, *rows[0])[1] if rows else None

    def put(self, table: Table, key: bytes, value: bytes, *, version: int) -> int:
        # Check
        check_key(table, key)
        check_value(value)
        check_version(version)
        # Commit
        statements = _STATEMENTS[table._value_]
        if version == 0:
            _, changed = self._run(statements.insert, value, 1, key)
        else:
            _, changed = self._run(statements.update, value, version + 1, key, version)
        if changed != 1:
            raise Conflict(f"{table.value}: a row is not at version {version}")
        return version + 1

    def delete(self, table: Table, key: bytes, *, version: int) -> None:
        # Check
        check_key(table, key)
        check_version(version)
        # Commit
        _, changed = self._run(_STATEMENTS[table._value_].delete, key, version)
        if changed != 1:
            raise Conflict(f"{table.value}: a row is not at version {version}")

    def scan(self, table: Table, prefix: bytes, *, limit: int | None = None) -> Sequence[tuple[bytes, Row]]:
        check_key(table, prefix)
        check_limit(limit)
        most = -1 if limit is None else min(limit, _MAX_SQL_INTEGER)
        rows, _ = self._run(_STATEMENTS[table._value_].scan, prefix, prefix_end(prefix), most)
        return [check_row(table, *row) for row in rows]

    def count(self, table: Table, prefix: bytes) -> int:
        check_key(table, prefix)
        [[number]], _ = self._run(_STATEMENTS[table._value_].count, prefix, prefix_end(prefix))
        return int(number)


# -- refusals ----------------------------------------------------------------------------------------------------------


@contextmanager
def _system_refusals() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"the store's file cannot be used: {error.strerror}") from error


@contextmanager
def _engine_refusals() -> Iterator[None]:
    try:
        yield
    except _ENGINE_ERRORS as error:
        raise _refusal(error) from error


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code, the low byte; 0 for an error of Python's own layer, which has none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _refusal(error: sqlite3.Error | UnicodeDecodeError) -> StorageError:
    """What an error of the engine means to us. Its text names tables and files, never values."""
    # Only a damaged schema brings bytes that are no text into a message.
    if isinstance(error, UnicodeDecodeError):
        return CorruptStore("the store is damaged: its schema is no text")
    code = _code(error)
    # Our own rows are never too big.
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_TOOBIG):
        return CorruptStore(f"the store is damaged or not a store: {error}")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusy("another writer held the store for longer than the busy timeout")
    return StorageError(f"the store's engine failed: {error}")


# -- opening -----------------------------------------------------------------------------------------------------------


def _absolute(path: str | os.PathLike[str]) -> str:
    try:
        name = os.fspath(path)
    except TypeError:
        raise InvalidArgument("a path is a str or a path object") from None
    if type(name) is not str or "\0" in name:
        raise InvalidArgument("a path is text without a NUL")
    # SQLite gives these two a meaning of their own: a database that is lost at the end.
    if name in ("", ":memory:"):
        raise InvalidArgument("a path names a file; for a store in memory there is MemoryStore")
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        raise InvalidArgument("a path can be encoded for the file system") from None
    return os.path.abspath(name)


def _exists(file: str) -> bool:
    """Whether there is a file to open. Never opens it: closing it again would drop SQLite's own locks on it."""
    try:
        status = os.lstat(file)
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(status.st_mode):
        raise StorageError("the path is not a regular file")
    # SQLite would take an empty file for a new database, but a store is never empty: its rows were lost.
    if status.st_size == 0:
        raise CorruptStore("the file is empty; a new store is made only where there is no file")
    # A creator that died here left the draft's name on the file.
    if status.st_nlink > 1:
        _drop_draft(file, status.st_ino)
    return True


def _create(file: str) -> None:
    """Make a complete, empty store and give it its name in one step: nobody ever sees half of it."""
    # A log without its database means that the database was lost; the log would be replayed into the new one.
    if (_size(file + "-wal") or _size(file + "-journal")) and not os.path.lexists(file):
        raise CorruptStore("there is a log, but the database that it belongs to is gone")
    folder = os.path.dirname(file)
    # With mode 0600, which SQLite hands on to the log.
    handle, draft = tempfile.mkstemp(suffix=_DRAFT_SUFFIX, prefix=_DRAFT_PREFIX, dir=folder)
    os.close(handle)
    try:
        with _engine_refusals():
            _write_schema(draft)
        # Another process may have made the store meanwhile; then that one is used.
        with suppress(FileExistsError):
            os.link(draft, file)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(draft)
    _sync_folder(folder)


def _write_schema(file: str) -> None:
    with closing(_connect(file, "rw", 0.0)) as connection:
        for statement in (
            *_SETTINGS,
            "PRAGMA journal_mode = WAL",
            "BEGIN EXCLUSIVE",
            f"PRAGMA application_id = {APPLICATION_ID}",
            f"PRAGMA user_version = {SCHEMA_VERSION}",
            *_SCHEMA.values(),
            "COMMIT",
        ):
            connection.execute(statement)


def _drop_draft(file: str, inode: int) -> None:
    with os.scandir(os.path.dirname(file)) as entries:
        drafts = [entry for entry in entries if entry.name.startswith(_DRAFT_PREFIX)]
    for draft in drafts:
        if draft.name.endswith(_DRAFT_SUFFIX) and draft.inode() == inode:
            with suppress(FileNotFoundError):
                os.unlink(draft.path)


def _sync_folder(folder: str) -> None:
    """Make a new name durable. Where folders cannot be opened, the file system sees to it by itself."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _connect(file: str, mode: str, busy_timeout: float) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{Path(file).as_uri()}?mode={mode}",
        uri=True,
        timeout=busy_timeout,
        isolation_level=None,
        check_same_thread=False,
    )


def _inspect(file: str, busy_timeout: float) -> None:
    """The file is a whole store of this schema. Raises: CorruptStore, UnsupportedSchema, StoreBusy, StorageError.

    Through a connection that cannot write, so that a foreign or damaged file stays as it is, log included.
    """
    with _engine_refusals(), closing(_connect(file, "ro", busy_timeout)) as connection:
        connection.text_factory = partial(str, encoding="utf-8", errors="replace")
        try:
            _check_schema(connection)
            _check_structure(file, connection)
        except sqlite3.OperationalError as error:
            # These questions can be answered of every store; "unsupported file format" is such an error.
            if _code(error) == sqlite3.SQLITE_ERROR:
                raise CorruptStore(f"the file is not a store: {error}") from error
            raise


def _check_schema(connection: sqlite3.Connection) -> None:
    # One snapshot for all questions.
    connection.execute("BEGIN")
    [[application]] = connection.execute("PRAGMA application_id")
    if application != APPLICATION_ID:
        raise CorruptStore("the file is a database of another application")
    [[schema]] = connection.execute("PRAGMA user_version")
    if schema != SCHEMA_VERSION:
        raise UnsupportedSchema(f"the store has schema version {schema}, this release knows {SCHEMA_VERSION}")
    # Names with this prefix are SQLite's own (statistics).
    found = connection.execute("SELECT name, sql FROM sqlite_master WHERE substr(name, 1, 7) <> 'sqlite_'").fetchall()
    if set(found) != set(_SCHEMA.items()):
        raise CorruptStore("the store's tables are not those of its schema version")


def _check_structure(file: str, connection: sqlite3.Connection) -> None:
    [[pages]] = connection.execute("PRAGMA page_count")
    [[page_bytes]] = connection.execute("PRAGMA page_size")
    # The engine reads a missing end of the last page as zeros. A log may still hold that page whole.
    if os.stat(file).st_size % page_bytes and not _size(file + "-wal"):
        raise CorruptStore("the store lost its end")
    if pages * page_bytes <= MAX_CHECKED_BYTES:
        [[finding], *_] = connection.execute("PRAGMA integrity_check(1)")
        if finding != "ok":
            raise CorruptStore("the store's structure is damaged")


def _size(file: str) -> int:
    """The bytes of a file, 0 if there is none."""
    try:
        return os.lstat(file).st_size
    except FileNotFoundError:
        return 0


def _open(file: str, busy_timeout: float) -> sqlite3.Connection:
    connection = _connect(file, "rw", busy_timeout)
    try:
        for setting in _SETTINGS:
            connection.execute(setting)
        # A store that was taken out of this mode by hand is put back into it.
        [[journal]] = connection.execute("PRAGMA journal_mode = WAL")
        if journal != "wal":
            raise StorageError("the file system of the store has no write-ahead logging")
        # What a medium gives back as text is no row; see check_row.
        connection.text_factory = bytearray
        # Nothing larger than a record is even read.
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_SQL_BYTES)
    except BaseException:
        connection.close()
        raise
    return connection
