"""Bring a SQLite store of an earlier schema to the present one, in one transaction: all of it, or nothing."""

# ruff: noqa: S608 - the names of tables in statements are those of `Table`, never a caller's text.
from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import Final

from pawl.errors import StorageError
from pawl.sources import system_rng
from pawl.storage.contract import Table
from pawl.storage.rows import DEFAULT_BUSY_TIMEOUT, check_row, check_timeout
from pawl.storage.seal import MAX_SEALED_BYTES, STORE_ID_BYTES, Seal
from pawl.storage.sqlite_file import (
    INSERT_STORE_ID,
    META,
    SCHEMA_VERSION,
    SCHEMAS,
    TABLES,
    Layout,
    absolute_path,
    engine_refusals,
    inspect,
    is_there,
    layout,
    open_file,
    sync_folder,
    system_refusals,
)

_BATCH: Final = 256
"""Rows held in memory at once: at most 16 MiB."""


def migrate_sqlite(
    path: str | os.PathLike[str],
    *,
    backup: str | os.PathLike[str] | None = None,
    busy_timeout: float = DEFAULT_BUSY_TIMEOUT,
) -> int:
    """Bring the store at `path` to this release's schema, and return the version that it had; the present one is left.

    Nobody else may have it open. After a crash at any point it is a whole store, of the one schema or of the other.
    `backup`: a new file, made with mode 0600, to which the store is copied first as it is. It holds every key, of which
    none is deleted there any more (KEY-05): do away with it once the migrated store is known to work.
    Raises: InvalidArgument, CorruptStore (damaged, or not a store), UnsupportedSchema (of a newer release), StoreBusy
    (somebody has it open), StorageError (there is none; there is something at `backup`).
    """
    # Check
    check_timeout(busy_timeout)
    with system_refusals():
        copy = None if backup is None else absolute_path(backup)
        file = absolute_path(path)
        if not is_there(file):
            raise StorageError("there is no store to migrate")
        schema, _ = inspect(file, busy_timeout)
        if schema == SCHEMA_VERSION:
            return schema
    # Commit
    with engine_refusals(), closing(open_file(file, busy_timeout, alone=True)) as connection:
        # Another one may have migrated it since.
        [[schema]] = connection.execute("PRAGMA user_version")
        if schema != SCHEMA_VERSION:
            if copy is not None:
                _copy(connection, copy)
            _rewrite(connection, schema)
    return int(schema)


def _copy(connection: sqlite3.Connection, file: str) -> None:
    """Copy the store to a new file, durably. Of half a copy nothing is left. Raises: StorageError."""
    with system_refusals():
        try:
            os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            raise StorageError("there is something where the copy is to be") from None
        try:
            with closing(sqlite3.connect(file)) as target:
                target.execute("PRAGMA synchronous = FULL")
                connection.backup(target)
            handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
            sync_folder(os.path.dirname(file))
        except BaseException:
            os.unlink(file)
            raise


def _rewrite(connection: sqlite3.Connection, schema: int) -> None:
    """Make every table anew, with each record sealed and where it stands today."""
    connection.execute("BEGIN EXCLUSIVE")
    try:
        if "meta" in SCHEMAS[schema]:
            seal = None
        else:
            seal = Seal(system_rng(STORE_ID_BYTES))
            connection.execute(META)
            connection.execute(INSERT_STORE_ID, (seal.store_id,))
        place = layout(connection)
        for table in Table:
            if table.value in SCHEMAS[schema]:
                _move(connection, table, seal, place)
            else:
                connection.execute(TABLES[table.value])
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    # The records as they were go from the log.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _move(connection: sqlite3.Connection, table: Table, seal: Seal | None, place: Layout) -> None:
    """Write the rows of one table anew. `seal`: None, where they are sealed already."""
    # In memory meanwhile. A table that is dropped is overwritten, with all that its pages still held beside its rows.
    connection.execute(f"CREATE TEMP TABLE former AS SELECT key, value, version FROM main.{table.value} ORDER BY key")
    connection.execute(f"DROP TABLE main.{table.value}")
    connection.execute(TABLES[table.value])
    select = f"SELECT rowid, key, value, version FROM temp.former WHERE rowid > ? ORDER BY rowid LIMIT {_BATCH}"
    rows = connection.execute(select, (0,)).fetchall()
    while rows:
        for _, *each in rows:
            key, row = check_row(table, *each, most=MAX_SEALED_BYTES)
            sealed = row.value if seal is None else seal.close(table, key, row.value, row.version)
            _insert(connection, table, key, place.stored(table.value, sealed), row.version)
        rows = connection.execute(select, (rows[-1][0],)).fetchall()
    connection.execute("DROP TABLE temp.former")


def _insert(connection: sqlite3.Connection, table: Table, key: bytes, stored: bytes, version: int) -> None:
    connection.execute(f"INSERT INTO {table.value} (key, value, version) VALUES (?, ?, ?)", (key, stored, version))
