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
from pawl.storage.seal import STORE_ID_BYTES, Seal
from pawl.storage.sqlite_file import (
    INSERT_STORE_ID,
    SCHEMA_VERSION,
    SCHEMAS,
    SEALED_SINCE,
    absolute_path,
    engine_refusals,
    inspect,
    is_there,
    open_file,
    system_refusals,
)

_BATCH: Final = 256
"""Rows held in memory at once: at most 16 MiB."""


def migrate_sqlite(path: str | os.PathLike[str], *, busy_timeout: float = DEFAULT_BUSY_TIMEOUT) -> int:
    """Bring the store at `path` to this release's schema, and return the version that it had; the present one is left.

    Nobody else may have it open. After a crash at any point it is a whole store, of the one schema or of the other.
    Raises: InvalidArgument, CorruptStore (damaged, or not a store), UnsupportedSchema (of a newer release), StoreBusy
    (somebody has it open), StorageError (there is none).
    """
    # Check
    check_timeout(busy_timeout)
    with system_refusals():
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
            _rewrite(connection, schema)
    return int(schema)


def _rewrite(connection: sqlite3.Connection, schema: int) -> None:
    """Add the tables that `schema` lacks, and seal every record that is not sealed yet."""
    connection.execute("BEGIN EXCLUSIVE")
    try:
        for name, statement in SCHEMAS[SCHEMA_VERSION].items():
            if name not in SCHEMAS[schema]:
                connection.execute(statement)
        if schema < SEALED_SINCE:
            seal = Seal(system_rng(STORE_ID_BYTES))
            connection.execute(INSERT_STORE_ID, (seal.store_id,))
            for table in Table:
                _seal_table(connection, table, seal)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    # The records as they were go from the log.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _seal_table(connection: sqlite3.Connection, table: Table, seal: Seal) -> None:
    select = f"SELECT key, value, version FROM {table.value} WHERE key > ? ORDER BY key LIMIT {_BATCH}"
    first = f"SELECT key, value, version FROM {table.value} ORDER BY key LIMIT {_BATCH}"
    rows = connection.execute(first).fetchall()
    while rows:
        for each in rows:
            key, row = check_row(table, *each)
            sealed = seal.close(table, key, row.value, row.version)
            connection.execute(f"UPDATE {table.value} SET value = ? WHERE key = ?", (sealed, key))
        rows = connection.execute(select, (rows[-1][0],)).fetchall()
