"""A store in one SQLite file: durable at every commit, safe between threads and processes. Its records are sealed."""

# ruff: noqa: S608 - the names of tables in statements are those of `Table`, never a caller's text.
from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from types import TracebackType
from typing import Any, Final

from pawl.errors import Conflict, CorruptRecord, StorageError, StoreBusy, UnsupportedSchema
from pawl.storage.contract import Row, Table, Transaction
from pawl.storage.rows import (
    DEFAULT_BUSY_TIMEOUT,
    Turns,
    check_key,
    check_limit,
    check_version,
    check_write,
    prefix_end,
)
from pawl.storage.seal import STORE_ID_BYTES, Seal
from pawl.storage.sqlite_file import (
    ENGINE_ERRORS,
    SCHEMA_VERSION,
    absolute_path,
    commit_refusal,
    create,
    engine_refusals,
    has_log,
    inspect,
    is_there,
    layout,
    open_file,
    refusal,
    system_refusals,
)

CHECKPOINT_COMMITS: Final = 256
"""Commits of one process after which the log is moved into the database and emptied: what was deleted is gone (KEY-05).

Each checkpoint costs some three syncs, so that a commit costs about a hundredth of one more.
"""

_MAX_SQL_INTEGER: Final = 2**63 - 1


class _Statements:
    """What is asked of one table. SQLite compares blobs byte by byte, so a prefix is a range of keys."""

    __slots__ = ("beside", "count", "delete", "get", "insert", "scan", "update")

    def __init__(self, table: str) -> None:
        in_range = "WHERE key >= ? AND key < ?"
        self.get = f"SELECT value, version FROM {table} WHERE key = ?"
        one = f"SELECT value, version FROM {table} WHERE key"
        # The key is given twice: a number at the mark makes it a named one, which Python 3.12 warns of.
        self.beside = (
            f"SELECT * FROM ({one} < ? ORDER BY key DESC LIMIT 1)"
            f" UNION ALL SELECT * FROM ({one} > ? ORDER BY key LIMIT 1)"
        )
        self.insert = f"INSERT INTO {table} (value, version, key) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
        self.update = f"UPDATE {table} SET value = ?, version = ? WHERE key = ? AND version = ?"
        self.delete = f"DELETE FROM {table} WHERE key = ? AND version = ?"
        self.scan = f"SELECT key, value, version FROM {table} {in_range} ORDER BY key LIMIT ?"
        self.count = f"SELECT count(*) FROM {table} {in_range}"


_STATEMENTS: Final = {table.value: _Statements(table.value) for table in Table}


class SQLiteStore:
    """A `Store` in the SQLite file at `path`, created with mode 0600 if nothing is there.

    Its threads take turns; other processes may open the same file. After `os.fork` the child opens its own. When it is
    opened, every 256 commits that write something, and at the end, the log is moved into the database and emptied.
    `busy_timeout`: seconds to wait for another writer. A symbolic link or a directory is refused.
    Raises: InvalidArgument, CorruptStore (damaged, or not a store), UnsupportedSchema (of an earlier schema, see
    `migrate_sqlite`, or of a newer one), StoreBusy, StorageError.
    """

    __slots__ = ("_commits", "_connection", "_layout", "_process", "_seal", "_timeout", "_turns", "_unsure")

    def __init__(self, path: str | os.PathLike[str], *, busy_timeout: float = DEFAULT_BUSY_TIMEOUT) -> None:
        # Check
        self._turns = Turns(busy_timeout)
        self._timeout = int(self._turns.timeout * 1000)
        self._unsure = False
        """The last commit failed: the log may hold it, where a power loss would bring it back."""
        with system_refusals():
            file = absolute_path(path)
            if not is_there(file):
                create(file)
            # Who died left a log, of who knows how many commits: the next commit empties it (KEY-05).
            self._commits = CHECKPOINT_COMMITS if has_log(file) else 0
            schema, store_id = inspect(file, busy_timeout)
        if schema != SCHEMA_VERSION:
            raise UnsupportedSchema(f"the store has schema version {schema}; migrate it to {SCHEMA_VERSION} first")
        self._seal = Seal(store_id)
        # Commit: from here on the file is known to be a store of ours.
        self._process = os.getpid()
        with engine_refusals():
            left = has_log(file)
            self._connection = open_file(file, busy_timeout)
            try:
                self._layout = layout(self._connection)
                self._settle(left)
            except BaseException:
                self._connection.close()
                raise

    def _settle(self, left: bool) -> None:
        """What the log holds that was `left` is read from here on: it must not be lost after that.

        A commit in it may never have been synced: its process died, or was told that the sync failed.
        """
        self._checkpoint()
        if left:
            self._commit_nothing()

    def _commit_nothing(self) -> None:
        """Write the log from where it is, and sync it.

        After a checkpoint its emptiness is not synced yet, and after a failed sync the system may count as written what
        is not: the sync of one more commit puts an end to both.
        """
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if isinstance(refusal(error), StoreBusy):
                # Somebody else commits just now.
                return
            raise
        # Where nothing changes, nothing is written.
        for value in (bytes(STORE_ID_BYTES), self._seal.store_id):
            self._connection.execute("UPDATE meta SET value = ?", (value,))
        self._connection.execute("COMMIT")

    @property
    def store_id(self) -> bytes:
        """16 random bytes that the store was made with. No secret; its records are sealed with them."""
        return self._seal.store_id

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
            with engine_refusals():
                if self._unsure:
                    self._commit_nothing()
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
        except ENGINE_ERRORS as error:
            self._end()
            raise refusal(error) from error
        except BaseException:
            self._end()
            raise
        return self._connection

    def _commit(self, wrote: bool) -> None:
        """Commit. Raises: OutcomeUnknown, StorageError."""
        try:
            self._connection.execute("COMMIT")
        except ENGINE_ERRORS as error:
            self._unsure = True
            raise commit_refusal(error) from error
        self._commits += wrote
        self._unsure &= not wrote
        if self._commits >= CHECKPOINT_COMMITS:
            # It is committed, whatever happens here.
            with suppress(*ENGINE_ERRORS):
                self._checkpoint()

    def _checkpoint(self) -> None:
        """Empty the log, if nobody is in the way just now; otherwise the next commit tries again."""
        self._connection.execute("PRAGMA busy_timeout = 0").fetchall()
        try:
            [[busy, _, _]] = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {self._timeout}").fetchall()
        if not busy:
            self._commits = 0

    def _end(self) -> None:
        """Roll back what was not committed and let others have their turn."""
        try:
            if self._connection.in_transaction:
                with suppress(*ENGINE_ERRORS):
                    self._connection.execute("ROLLBACK")
        finally:
            self._turns.give()


class _SQLiteTransaction:
    """One `BEGIN IMMEDIATE` to `COMMIT` or `ROLLBACK`. Any error of the engine dooms it."""

    __slots__ = ("_connection", "_doomed", "_layout", "_seal", "_store", "_used", "_wrote")

    def __init__(self, store: SQLiteStore) -> None:
        self._store = store
        self._seal = store._seal
        self._layout = store._layout
        self._connection: sqlite3.Connection | None = None
        self._doomed = False
        self._used = False
        self._wrote = False

    def __enter__(self) -> Transaction:
        if self._used:
            raise StorageError("a transaction is used once")
        self._connection = self._store._begin()
        self._used = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self._check()
                self._store._commit(self._wrote)
        finally:
            self._connection = None
            self._store._end()

    def _check(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StorageError("the transaction is not open")
        # The engine may have rolled back already: what follows would then be committed alone.
        if self._doomed:
            raise StorageError("the transaction failed earlier; it is rolled back")
        return self._connection

    def _run(self, statement: str, *values: bytes | int) -> tuple[list[Any], int]:
        """The statement's rows, and how many it changed."""
        connection = self._check()
        self._doomed = True
        try:
            cursor = connection.execute(statement, values)
            rows = cursor.fetchall()
        except ENGINE_ERRORS as error:
            raise refusal(error) from error
        self._doomed = False
        return rows, cursor.rowcount

    def get(self, table: Table, key: bytes) -> Row | None:
        check_key(table, key)
        rows, _ = self._run(_STATEMENTS[table._value_].get, key)
        if not rows:
            self._check_missing(table, key)
            return None
        [[stored, version]] = rows
        return self._seal.open(table, key, self._layout.sealed(table._value_, stored), version)[1]

    def _check_missing(self, table: Table, key: bytes) -> None:
        """A row whose key was damaged is not found under its own; where the order still holds, it stands beside it.

        Where it does not hold, that is noticed when the store is opened. Raises: CorruptRecord.
        """
        rows, _ = self._run(_STATEMENTS[table._value_].beside, key, key)
        for stored, version in rows:
            if self._seal.is_for(table, key, self._layout.sealed(table._value_, stored), version):
                raise CorruptRecord(f"{table.value}: the key of a record is damaged")

    def put(self, table: Table, key: bytes, value: bytes, *, version: int) -> int:
        # Check
        check_write(table, key, value, version)
        # Commit
        stored = self._layout.stored(table._value_, self._seal.close(table, key, value, version + 1))
        statements = _STATEMENTS[table._value_]
        if version == 0:
            _, changed = self._run(statements.insert, stored, 1, key)
        else:
            _, changed = self._run(statements.update, stored, version + 1, key, version)
        if changed != 1:
            raise Conflict(f"{table.value}: a row is not at version {version}")
        self._wrote = True
        return version + 1

    def delete(self, table: Table, key: bytes, *, version: int) -> None:
        # Check
        check_key(table, key)
        check_version(version)
        # Commit
        _, changed = self._run(_STATEMENTS[table._value_].delete, key, version)
        if changed != 1:
            raise Conflict(f"{table.value}: a row is not at version {version}")
        self._wrote = True

    def scan(self, table: Table, prefix: bytes, *, limit: int | None = None) -> Sequence[tuple[bytes, Row]]:
        check_key(table, prefix)
        check_limit(limit)
        most = -1 if limit is None else min(limit, _MAX_SQL_INTEGER)
        rows, _ = self._run(_STATEMENTS[table._value_].scan, prefix, prefix_end(prefix), most)
        sealed = self._layout.sealed
        return [self._seal.open(table, key, sealed(table._value_, stored), version) for key, stored, version in rows]

    def count(self, table: Table, prefix: bytes) -> int:
        check_key(table, prefix)
        [[number]], _ = self._run(_STATEMENTS[table._value_].count, prefix, prefix_end(prefix))
        return int(number)
