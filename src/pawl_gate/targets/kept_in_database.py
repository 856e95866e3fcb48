"""A party's rows in PostgreSQL: a schema for each store, in one server that is started when it is first needed."""

from __future__ import annotations

import atexit
import os
from contextlib import AbstractContextManager, suppress
from functools import cache
from itertools import count
from typing import Final

import psycopg
from psycopg import sql

from pawl.errors import StorageError
from pawl.storage.contract import Transaction
from pawl.storage.postgres import PostgresStore
from pawl_gate.targets.base import HarnessBroken
from pawl_gate.targets.kept import CONNINFO, Rows, rows_of
from pawl_gate.trials import Unavailable
from pawl_gate.trials.postgres_server import Server

SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 - a folder of its own is made there

_numbers = count()


@cache
def server() -> str:
    """The connection string of the server: the environment's, or of one that ends with this process."""
    given = os.environ.get(CONNINFO)
    if given:
        return given
    try:
        # Nothing here loses its power: to wait for a disk at each of ten thousand commits would show nothing.
        started = Server(SHARED_MEMORY) if os.access(SHARED_MEMORY, os.W_OK) else Server()
    except Unavailable as error:
        raise HarnessBroken(f"{error}; install PostgreSQL, or let {CONNINFO} lead to a server") from None
    atexit.register(started.remove)
    started.start()
    return started.conninfo


class KeptInDatabase:
    """A store in a schema of its own, which goes with it.

    A process that falls leaves what was committed: the server rolls back what its connection had begun, which is what
    the store asks for as it is unwound. A server that dies is the campaign `server`'s affair.
    """

    def __init__(self, like: KeptInDatabase | None = None) -> None:
        self._name = f"pawl_gate_{os.getpid()}_{next(_numbers)}"
        if like is not None:
            with self._server() as connection:
                connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(self._name)))
                for table in ("meta", "rows"):
                    mine, its = sql.Identifier(self._name, table), sql.Identifier(like._name, table)
                    connection.execute(sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(mine, its))
                    connection.execute(sql.SQL("INSERT INTO {} SELECT * FROM {}").format(mine, its))
        self.store = PostgresStore(server(), name=self._name)

    def _server(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(server())

    def transaction(self) -> AbstractContextManager[Transaction]:
        """See `Store`."""
        return self.store.transaction()

    def snapshot(self) -> Rows:
        """All rows, as the store reads them."""
        return rows_of(self.store)

    def fork(self) -> KeptInDatabase:
        """The same rows in a schema of their own."""
        return KeptInDatabase(self)

    def fall(self) -> None:
        """See `KeptForReal`: nothing is to be done."""

    def reopen(self) -> None:
        """See `KeptForReal`."""
        with suppress(StorageError):
            self.store.close()
        self.store = PostgresStore(server(), name=self._name)

    def close(self) -> None:
        """Close it and take its schema away."""
        with suppress(StorageError):
            self.store.close()
        with self._server() as connection:
            connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(self._name)))
