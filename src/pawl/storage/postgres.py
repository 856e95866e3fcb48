"""A store in a PostgreSQL database, for devices that several machines serve. Needs the extra `postgres`.

Every transaction is SERIALIZABLE: of two that overlap and touch the same rows, one commits and the other is refused as
a Conflict, so that a device takes its step again.
Sources: PostgreSQL, "Transaction Isolation"; psycopg, "Connection pools".
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from types import TracebackType
from typing import Any, Final, cast

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from pawl.errors import (
    Conflict,
    CorruptStore,
    InvalidArgument,
    OutcomeUnknown,
    StorageError,
    StoreBusy,
    UnsupportedSchema,
)
from pawl.sources import system_rng
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
from pawl.storage.seal import MAX_SEALED_BYTES, STORE_ID_BYTES, Seal, is_store_id

POSTGRES_SCHEMA: Final = 1
"""Counts up when the tables change, or what their columns hold."""

_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_BEGIN: Final = "BEGIN ISOLATION LEVEL SERIALIZABLE"
_COLUMNS: Final = {
    ("meta", "name", "text"),
    ("meta", "value", "bytea"),
    ("rows", "kind", "text"),
    ("rows", "key", "bytea"),
    ("rows", "value", "bytea"),
    ("rows", "version", "bigint"),
}
_MAX_LIMIT: Final = 2**31

_CONFLICTS: Final = (
    psycopg.errors.SerializationFailure,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.UniqueViolation,
)
_BUSY: Final = (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled)
_CORRUPT: Final = (
    psycopg.errors.DataCorrupted,
    psycopg.errors.IndexCorrupted,
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.InvalidSchemaName,
)

_NOT_SAID: Final = ("08", "57P", "40003")
"""Codes that leave open whether a transaction was committed: a lost connection, a shutdown, "completion unknown"."""

_SIGNS_OF_LIFE: Final = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}
"""A server that is not there any more is noticed within 30 s (the last number is in ms), not within two hours; for
whoever says nothing else in `conninfo`. Source: PostgreSQL, "Parameter Key Words" of libpq.
"""

_SETTINGS: Final = {
    "autocommit": True,
    # All our texts are ASCII; without an encoding, as in a database of SQL_ASCII, the driver would give them as bytes.
    "client_encoding": "UTF8",
}

Connection = psycopg.Connection[tuple[Any, ...]]


class PostgresStore:
    """A `Store` in the schema `name` of the database that `conninfo` (a libpq connection string) leads to.

    It is made there if there is none. Threads of a process take turns; processes and machines may share it. After a
    lost connection the next transaction makes a new one. After `os.fork` the child opens its own. `busy_timeout`:
    seconds to wait for another writer, and for a connection; a server that vanishes in the midst of a transaction is
    noticed within 30 s.

    Raises: InvalidArgument, CorruptStore (what is there is no store), UnsupportedSchema, StoreBusy, StorageError.
    """

    __slots__ = ("_pool", "_process", "_seal", "_statements", "_turns")

    def __init__(self, conninfo: str, *, name: str = "pawl", busy_timeout: float = DEFAULT_BUSY_TIMEOUT) -> None:
        # Check
        given = _parsed(conninfo)
        if type(name) is not str or not _NAME.fullmatch(name) or name.startswith("pg_"):
            raise InvalidArgument("a store's name is 1 to 63 of a-z, 0-9 and _, and does not begin with a digit or pg_")
        self._turns = Turns(busy_timeout)
        self._process = os.getpid()
        self._statements = _Statements(name)
        timeout = max(self._turns.timeout, 0.001)
        try:
            self._pool: ConnectionPool[Connection] = ConnectionPool(
                connection_class=psycopg.Connection,
                kwargs={**_SIGNS_OF_LIFE, **given, **_SETTINGS, "connect_timeout": max(2, int(timeout))},
                configure=_configure(timeout),
                check=ConnectionPool.check_connection,
                min_size=1,
                max_size=1,
                timeout=max(timeout, 1.0),
                open=True,
            )
        except psycopg.Error as error:
            raise _refusal(error) from None
        # Commit
        try:
            with self._connected() as connection, _refusals():
                self._seal = Seal(_open(connection, name))
        except BaseException:
            self._pool.close()
            raise

    @property
    def store_id(self) -> bytes:
        """16 random bytes that the store was made with. No secret; its records are sealed with them."""
        return self._seal.store_id

    def transaction(self) -> AbstractContextManager[Transaction]:
        """See `Store.transaction`. Another process may come in between; then its end raises Conflict."""
        self._turns.check_open()
        return _PostgresTransaction(self)

    def close(self) -> None:
        """See `Store.close`."""
        if self._process == os.getpid() and self._turns.close():
            self._pool.close()
            self._turns.give()

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        connection = self._take()
        try:
            yield connection
        finally:
            self._pool.putconn(connection)

    def _take(self) -> Connection:
        """A connection that answers. Raises: StorageError."""
        try:
            return self._pool.getconn()
        except (PoolTimeout, PoolClosed, psycopg.Error):
            raise StorageError("the database cannot be reached") from None

    def _begin(self) -> Connection:
        if self._process != os.getpid():
            raise StorageError("the store was opened by another process: open it again in this one")
        self._turns.take()
        try:
            connection = self._take()
        except BaseException:
            self._turns.give()
            raise
        try:
            with _refusals():
                connection.execute(_BEGIN)
        except BaseException:
            self._end(connection)
            raise
        return connection

    def _end(self, connection: Connection) -> None:
        """Roll back what was not committed, and let others have their turn. A broken connection is not used again."""
        try:
            if not connection.closed and connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                with suppress(psycopg.Error):
                    connection.execute("ROLLBACK")
            self._pool.putconn(connection)
        finally:
            self._turns.give()


class _Statements:
    """What is asked. PostgreSQL compares bytea byte by byte, so a prefix is a range of keys."""

    __slots__ = ("count", "delete", "get", "insert", "scan", "update")

    def __init__(self, name: str) -> None:
        rows = sql.Identifier(name, "rows")
        # What is larger than a record does not even leave the server.
        value = sql.SQL("CASE WHEN octet_length(value) <= {} THEN value END").format(sql.Literal(MAX_SEALED_BYTES))
        in_range = sql.SQL("WHERE kind = %s AND key >= %s AND key < %s")
        at = sql.SQL("WHERE kind = %s AND key = %s AND version = %s")
        self.get = sql.SQL("SELECT {}, version FROM {} WHERE kind = %s AND key = %s").format(value, rows)
        self.insert = sql.SQL(
            "INSERT INTO {} (value, version, kind, key) VALUES (%s, 1, %s, %s) ON CONFLICT DO NOTHING"
        ).format(rows)
        self.update = sql.SQL("UPDATE {} SET value = %s, version = %s {}").format(rows, at)
        self.delete = sql.SQL("DELETE FROM {} {}").format(rows, at)
        self.scan = sql.SQL("SELECT key, {}, version FROM {} {} ORDER BY key LIMIT %s").format(value, rows, in_range)
        self.count = sql.SQL("SELECT count(*) FROM {} {}").format(rows, in_range)


class _PostgresTransaction:
    """One `BEGIN` to `COMMIT` or `ROLLBACK`. Any error of the server dooms it."""

    __slots__ = ("_connection", "_doomed", "_seal", "_statements", "_store", "_used")

    def __init__(self, store: PostgresStore) -> None:
        self._store = store
        self._seal = store._seal
        self._statements = store._statements
        self._connection: Connection | None = None
        self._doomed = False
        self._used = False

    def __enter__(self) -> Transaction:
        if self._used:
            raise StorageError("a transaction is used once")
        self._connection = self._store._begin()
        self._used = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        connection = self._connection
        if connection is None:
            raise StorageError("the transaction is not open")
        try:
            if kind is None:
                self._check()
                try:
                    connection.execute("COMMIT")
                except psycopg.Error as failure:
                    raise _commit_refusal(failure) from None
        finally:
            self._connection = None
            self._store._end(connection)

    def _check(self) -> Connection:
        if self._connection is None:
            raise StorageError("the transaction is not open")
        # The server has given the transaction up: a commit would be a rollback, and say nothing.
        if self._doomed:
            raise StorageError("the transaction failed earlier; it is rolled back")
        return self._connection

    def _run(self, statement: sql.Composed, *values: object) -> tuple[list[tuple[Any, ...]], int]:
        """The statement's rows, and how many it changed."""
        connection = self._check()
        self._doomed = True
        with _refusals():
            cursor = connection.execute(statement, values, binary=True)
            rows = cursor.fetchall() if cursor.description is not None else []
        self._doomed = False
        return rows, cursor.rowcount

    def get(self, table: Table, key: bytes) -> Row | None:
        check_key(table, key)
        rows, _ = self._run(self._statements.get, table.value, key)
        return self._seal.open(table, key, *rows[0])[1] if rows else None

    def put(self, table: Table, key: bytes, value: bytes, *, version: int) -> int:
        # Check
        check_write(table, key, value, version)
        # Commit
        sealed = self._seal.close(table, key, value, version + 1)
        if version == 0:
            _, changed = self._run(self._statements.insert, sealed, table.value, key)
        else:
            _, changed = self._run(self._statements.update, sealed, version + 1, table.value, key, version)
        if changed != 1:
            raise Conflict(f"{table.value}: a row is not at version {version}")
        return version + 1

    def delete(self, table: Table, key: bytes, *, version: int) -> None:
        # Check
        check_key(table, key)
        check_version(version)
        # Commit
        _, changed = self._run(self._statements.delete, table.value, key, version)
        if changed != 1:
            raise Conflict(f"{table.value}: a row is not at version {version}")

    def scan(self, table: Table, prefix: bytes, *, limit: int | None = None) -> Sequence[tuple[bytes, Row]]:
        check_key(table, prefix)
        check_limit(limit)
        most = None if limit is None else min(limit, _MAX_LIMIT)
        rows, _ = self._run(self._statements.scan, table.value, prefix, prefix_end(prefix), most)
        return [self._seal.open(table, *row) for row in rows]

    def count(self, table: Table, prefix: bytes) -> int:
        check_key(table, prefix)
        [[number]], _ = self._run(self._statements.count, table.value, prefix, prefix_end(prefix))
        return int(number)


# -- refusals ----------------------------------------------------------------------------------------------------------


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        # Not from it: a traceback would show the server's own words.
        raise _refusal(error) from None


def _refusal(error: psycopg.Error) -> StorageError:
    """What an error of the server means to us. The server's own words may quote values: only its code is repeated."""
    if isinstance(error, _CONFLICTS):
        return Conflict("another writer was faster")
    if isinstance(error, _BUSY):
        return StoreBusy("another writer held the store for longer than the busy timeout")
    if isinstance(error, _CORRUPT):
        return CorruptStore(f"the database is damaged, or lost its tables ({error.sqlstate})")
    return StorageError(f"the database failed: {type(error).__name__} ({error.sqlstate})")


def _commit_refusal(error: psycopg.Error) -> StorageError:
    refusal = _refusal(error)
    # A server that says why it did not commit did not commit; one that says nothing may have.
    if error.sqlstate is not None and not error.sqlstate.startswith(_NOT_SAID):
        return refusal
    return OutcomeUnknown("the connection was lost while the transaction was committed")


# -- opening -----------------------------------------------------------------------------------------------------------


def _parsed(conninfo: object) -> dict[str, Any]:
    """The parts of a connection string. Raises: InvalidArgument, which does not quote it, as the driver does."""
    if type(conninfo) is not str:
        raise InvalidArgument("conninfo is a str")
    # The driver would read no further.
    if "\0" in conninfo:
        raise InvalidArgument("conninfo is text without a NUL")
    try:
        return conninfo_to_dict(conninfo)
    except (psycopg.Error, UnicodeError):
        raise InvalidArgument("conninfo is not a connection string") from None


def _configure(timeout: float) -> Any:
    def configure(connection: Connection) -> None:
        # Durable: an acknowledged commit survives a crash of the server (ATM-02, CTR-02).
        connection.execute("SET synchronous_commit = on")
        # The same within the server: a machine that lost its power in a transaction would hold its rows for hours.
        for what, value in (("idle", 10), ("interval", 5), ("count", 4)):
            connection.execute(sql.SQL("SET {} = {}").format(sql.Identifier(f"tcp_keepalives_{what}"), value))
        connection.execute(sql.SQL("SET lock_timeout = {}").format(sql.Literal(max(1, int(timeout * 1000)))))

    return configure


def _open(connection: Connection, name: str) -> bytes:
    """The id of the store that is there; of a new one, where there is nothing.

    Raises: CorruptStore, UnsupportedSchema.
    """
    [[fsync]] = connection.execute("SHOW fsync").fetchall()
    if fsync != "on":
        raise StorageError("the database does not sync its writes (fsync is off): it could not promise durability")
    with connection.transaction():
        # Of two that would make it, one waits for the other.
        connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"pawl store {name}",))
        found = connection.execute(
            "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = %s", (name,)
        ).fetchall()
        if not found:
            return _create(connection, name)
        if set(found) != _COLUMNS:
            raise CorruptStore("the tables are not those of a store")
        meta = sql.Identifier(name, "meta")
        values: dict[object, object] = dict(
            connection.execute(sql.SQL("SELECT name, value FROM {}").format(meta)).fetchall()
        )
    if set(values) != {"schema", "store_id"} or not is_store_id(values["store_id"]):
        raise CorruptStore("the store's id is gone or damaged")
    if values["schema"] != b"%d" % POSTGRES_SCHEMA:
        raise UnsupportedSchema(f"the store has another schema than {POSTGRES_SCHEMA}, which this release knows")
    return cast(bytes, values["store_id"])


def _create(connection: Connection, name: str) -> bytes:
    store_id = system_rng(STORE_ID_BYTES)
    schema, meta, rows = sql.Identifier(name), sql.Identifier(name, "meta"), sql.Identifier(name, "rows")
    for statement in (
        sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema),
        sql.SQL("CREATE TABLE {} (name text PRIMARY KEY, value bytea NOT NULL)").format(meta),
        sql.SQL(
            "CREATE TABLE {} (kind text NOT NULL, key bytea NOT NULL, value bytea NOT NULL, version bigint NOT NULL,"
            " PRIMARY KEY (kind, key))"
        ).format(rows),
    ):
        connection.execute(statement)
    insert = sql.SQL("INSERT INTO {} (name, value) VALUES ('schema', %s), ('store_id', %s)").format(meta)
    connection.execute(insert, (b"%d" % POSTGRES_SCHEMA, store_id))
    return store_id
