"""The file of a SQLite store: how it is made, looked at and opened, and what the engine's errors mean.

A file that is not such a store, or is a damaged one, is refused before anything is written to it.
Source: sqlite.org, "Write-Ahead Logging", "PRAGMA statements" and "How To Corrupt An SQLite Database File".
"""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

from pawl.errors import CorruptStore, InvalidArgument, OutcomeUnknown, StorageError, StoreBusy, UnsupportedSchema
from pawl.limits import MAX_RECORD_BYTES
from pawl.sources import system_rng
from pawl.storage.contract import Table
from pawl.storage.seal import STORE_ID_BYTES, is_store_id

APPLICATION_ID: Final = 0x5061776C
"""Marks the file as ours ("Pawl" in ASCII), in SQLite's header field for that."""

SCHEMA_VERSION: Final = 4
"""Counts up when the tables change, or what their columns hold.

1: no `application`; 1 and 2: values are not sealed; 1 to 3: values stand in the pages of their keys, and there are no
tables of groups.
"""

PAGE_BYTES: Final = 1024
"""Of a new store. Each row that may hold a secret has at least one page for itself, of which it fills a part."""

PUBLIC_TABLES: Final = frozenset(
    table.value
    for table in (
        Table.IDENTITY,
        Table.SESSION_INDEX,
        Table.SEEN_BASE_KEY,
        Table.GROUP_MEMBER,
        Table.RETIRED_SENDER_KEY,
    )
)
"""Public keys and ids, and nothing else: what is left of them somewhere in the file gives nothing away."""

MAX_CHECKED_BYTES: Final = 64 * 1024 * 1024
"""Bytes of a store whose whole structure is checked when it is opened, at about 1 ms a MiB.

In a larger one the engine checks each page when it is first read.
"""

META: Final = "CREATE TABLE meta (name TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
"""One row: `store_id`, 16 bytes."""

INSERT_STORE_ID: Final = "INSERT INTO meta (name, value) VALUES ('store_id', ?)"

TABLES: Final = {
    table.value: f"CREATE TABLE {table.value} (key BLOB NOT NULL PRIMARY KEY, value BLOB NOT NULL,"
    " version INTEGER NOT NULL) WITHOUT ROWID"
    for table in Table
}

_GROUPS: Final = {
    table.value
    for table in (
        Table.SENDER_KEY,
        Table.GROUP_MEMBER,
        Table.RECEIVED_SENDER_KEY,
        Table.KEPT_GROUP_KEY,
        Table.RETIRED_SENDER_KEY,
    )
}
_SECOND: Final = {name: text for name, text in TABLES.items() if name not in _GROUPS}

SCHEMAS: Final = {
    1: {name: text for name, text in _SECOND.items() if name != Table.APPLICATION.value},
    2: _SECOND,
    3: {**_SECOND, "meta": META},
    SCHEMA_VERSION: {**TABLES, "meta": META},
}
"""The tables of each schema version, by name."""

SETTINGS: Final = (
    # Durable: the log is synced at each commit; with less, a power loss takes acknowledged commits (ATM-02, CTR-02).
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",
    "PRAGMA checkpoint_fullfsync = ON",
    # Deleted secrets are overwritten (KEY-05), and never spill into a temporary file.
    "PRAGMA secure_delete = ON",
    "PRAGMA temp_store = MEMORY",
    # The engine's own moving of the log, some 4 MiB apart: between two of ours, only under large transactions.
    "PRAGMA wal_autocheckpoint = 4000",
    # Damage is noticed where it is read, and a tampered schema runs no code.
    "PRAGMA cell_size_check = ON",
    "PRAGMA trusted_schema = OFF",
)

_DRAFT_PREFIX, _DRAFT_SUFFIX = ".pawl-", ".new"
ENGINE_ERRORS: Final = (sqlite3.Error, UnicodeDecodeError)
"""What the engine can raise: the module decodes the engine's message, which may hold bytes of a damaged file."""

MAX_SQL_BYTES: Final = 2 * MAX_RECORD_BYTES
"""Bytes of one row in the engine: a key and a value, with room."""


# -- where values stand ------------------------------------------------------------------------------------------------


class Layout:
    """How values stand in a file of this page size: behind so many zeros that none of a value is in its key's page.

    `secure_delete` overwrites what is deleted, but not what the engine leaves behind where it moves rows from one page
    of a table to another: measured, some bytes in half of the pages, and all of a secret of one row in a hundred. A
    later deletion finds the row in its new place only. So no secret may be in what is moved (KEY-05). A row that is too
    long for its page has at most its first bytes there, as many as there are zeros, and goes on in pages of its own.
    Those stay where they are, and `secure_delete` overwrites them as a whole.
    Source: sqlite.org, "Database File Format", section 1.6 (X of index pages); "PRAGMA secure_delete".
    """

    __slots__ = ("_front", "_length")

    def __init__(self, page_bytes: int) -> None:
        self._length = (page_bytes - 12) * 64 // 255 - 23
        self._front = bytes(self._length)

    def stored(self, table: str, sealed: bytes) -> bytes:
        """What the column `value` holds for a sealed record."""
        return sealed if table in PUBLIC_TABLES else self._front + sealed

    def sealed(self, table: str, stored: object) -> object:
        """The sealed record in what the column gave back; None if that is nothing a store writes."""
        if table in PUBLIC_TABLES:
            return stored
        if type(stored) is not bytes or not stored.startswith(self._front):
            return None
        return stored[self._length :]


# -- refusals ----------------------------------------------------------------------------------------------------------


@contextmanager
def system_refusals() -> Iterator[None]:
    """What the operating system refuses becomes a StorageError."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"the store's file cannot be used: {error.strerror}") from error


@contextmanager
def engine_refusals() -> Iterator[None]:
    """What the engine refuses becomes a `refusal`."""
    try:
        yield
    except ENGINE_ERRORS as error:
        raise refusal(error) from error


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code, the low byte; 0 for an error of Python's own layer, which has none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def refusal(error: sqlite3.Error | UnicodeDecodeError) -> StorageError:
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


def commit_refusal(error: sqlite3.Error | UnicodeDecodeError) -> StorageError:
    """What an error of a commit means to us."""
    # Refused before the last page of the transaction was written.
    if not isinstance(error, UnicodeDecodeError) and _code(error) in _NOT_COMMITTED:
        return refusal(error)
    # It may be in the log whole, though not synced: after a crash the engine would find it there.
    return OutcomeUnknown(f"the store's engine failed while it committed: {error}")


_NOT_COMMITTED: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL)


# -- opening -----------------------------------------------------------------------------------------------------------


def absolute_path(path: str | os.PathLike[str]) -> str:
    """The file that `path` names now, whatever the working directory is later. Raises: InvalidArgument."""
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


def is_there(file: str) -> bool:
    """Whether there is a file to open. Raises: StorageError (no regular file), CorruptStore (empty).

    Never opens it: closing it again would drop SQLite's own locks on it.
    """
    try:
        status = os.lstat(file)
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(status.st_mode):
        raise StorageError("the path is not a regular file")
    # SQLite would take an empty file for a new database, but a store is never empty: its rows were lost (ATM-06).
    if status.st_size == 0:
        raise CorruptStore("the file is empty; a new store is made only where there is no file")
    # A creator that died here left the draft's name on the file.
    if status.st_nlink > 1:
        _drop_draft(file, status.st_ino)
    return True


def create(file: str) -> None:
    """Make a complete, empty store and give it its name in one step: nobody ever sees half of it."""
    # A log without its database means that the database was lost; the log would be replayed into the new one.
    if (_size(file + "-wal") or _size(file + "-journal")) and not os.path.lexists(file):
        raise CorruptStore("there is a log, but the database that it belongs to is gone")
    folder = os.path.dirname(file)
    # With mode 0600, which SQLite hands on to the log.
    handle, draft = tempfile.mkstemp(suffix=_DRAFT_SUFFIX, prefix=_DRAFT_PREFIX, dir=folder)
    os.close(handle)
    try:
        with engine_refusals():
            _write_schema(draft)
        # Another process may have made the store meanwhile; then that one is used.
        with suppress(FileExistsError):
            os.link(draft, file)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(draft)
    sync_folder(folder)


def _write_schema(file: str) -> None:
    with closing(connect(file, "rw", 0.0)) as connection:
        for statement in (
            f"PRAGMA page_size = {PAGE_BYTES}",
            *SETTINGS,
            "PRAGMA journal_mode = WAL",
            "BEGIN EXCLUSIVE",
            f"PRAGMA application_id = {APPLICATION_ID}",
            f"PRAGMA user_version = {SCHEMA_VERSION}",
            *SCHEMAS[SCHEMA_VERSION].values(),
        ):
            connection.execute(statement)
        connection.execute(INSERT_STORE_ID, (system_rng(STORE_ID_BYTES),))
        connection.execute("COMMIT")


def _drop_draft(file: str, inode: int) -> None:
    with os.scandir(os.path.dirname(file)) as entries:
        drafts = [entry for entry in entries if entry.name.startswith(_DRAFT_PREFIX)]
    for draft in drafts:
        if draft.name.endswith(_DRAFT_SUFFIX) and draft.inode() == inode:
            with suppress(FileNotFoundError):
                os.unlink(draft.path)


def sync_folder(folder: str) -> None:
    """Make a new name durable. Where folders cannot be opened, the file system sees to it by itself."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def connect(file: str, mode: str, busy_timeout: float) -> sqlite3.Connection:
    """A connection to a file that is there, for any thread; `mode` is "ro" or "rw", the timeout in seconds."""
    return sqlite3.connect(
        f"{Path(file).as_uri()}?mode={mode}",
        uri=True,
        timeout=busy_timeout,
        isolation_level=None,
        check_same_thread=False,
    )


def inspect(file: str, busy_timeout: float) -> tuple[int, bytes]:
    """The file is a whole store of a known schema: its version, and the store's id (16 bytes; b"" before version 3).

    Through a connection that cannot write, so that a foreign or damaged file stays as it is, log included.
    Raises: CorruptStore, UnsupportedSchema, StoreBusy, StorageError.
    """
    with engine_refusals(), closing(connect(file, "ro", busy_timeout)) as connection:
        connection.text_factory = partial(str, encoding="utf-8", errors="replace")
        try:
            schema = _check_schema(connection)
            _check_structure(file, connection)
            return schema, store_id(connection) if "meta" in SCHEMAS[schema] else b""
        except sqlite3.OperationalError as error:
            # These questions can be answered of every store; "unsupported file format" is such an error.
            if _code(error) == sqlite3.SQLITE_ERROR:
                raise CorruptStore(f"the file is not a store: {error}") from error
            raise


def _check_schema(connection: sqlite3.Connection) -> int:
    # One snapshot for all questions.
    connection.execute("BEGIN")
    [[application]] = connection.execute("PRAGMA application_id")
    if application != APPLICATION_ID:
        raise CorruptStore("the file is a database of another application")
    [[schema]] = connection.execute("PRAGMA user_version")
    if schema not in SCHEMAS:
        raise UnsupportedSchema(f"the store has schema version {schema}, this release knows 1 to {SCHEMA_VERSION}")
    # Names with this prefix are SQLite's own (statistics).
    found = connection.execute("SELECT name, sql FROM sqlite_master WHERE substr(name, 1, 7) <> 'sqlite_'").fetchall()
    if set(found) != set(SCHEMAS[schema].items()):
        raise CorruptStore("the store's tables are not those of its schema version")
    return int(schema)


def store_id(connection: sqlite3.Connection) -> bytes:
    """The id, 16 bytes, of a store that has one. Raises: CorruptStore."""
    found = connection.execute("SELECT name, value FROM meta LIMIT 2").fetchall()
    if len(found) != 1 or found[0][0] != "store_id" or not is_store_id(found[0][1]):
        raise CorruptStore("the store's id is gone or damaged")
    return bytes(found[0][1])


def layout(connection: sqlite3.Connection) -> Layout:
    """How values stand in this file."""
    [[page_bytes]] = connection.execute("PRAGMA page_size")
    return Layout(page_bytes)


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


def has_log(file: str) -> bool:
    """Whether there is a log: whoever had the store open has it still, or did not close it."""
    return _size(file + "-wal") > 0


def open_file(file: str, busy_timeout: float, *, alone: bool = False) -> sqlite3.Connection:
    """A connection with all that the promises of a store rest on, to a file that was inspected.

    `alone`: nobody else may have the file open, or opens it meanwhile.
    """
    connection = connect(file, "rw", busy_timeout)
    try:
        # Before the log is looked at for the first time: later the engine has shared it already.
        if alone:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
        for setting in SETTINGS:
            connection.execute(setting)
        # A store that was taken out of this mode by hand is put back into it.
        [[journal]] = connection.execute("PRAGMA journal_mode = WAL")
        if journal != "wal":
            raise StorageError("the file system of the store has no write-ahead logging")
        # What a medium gives back as text is no row; see check_row.
        connection.text_factory = bytearray
        # Nothing larger than a record is even read.
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_SQL_BYTES)
    except BaseException:
        connection.close()
        raise
    return connection
