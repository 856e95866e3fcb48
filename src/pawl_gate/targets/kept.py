"""Where the rows of a party are kept: in memory, or for real, in a folder of their own.

A store that is kept for real can fall: the party's process is gone in the midst of a call, and what lies in its files
at that moment is what the next process finds. It is opened anew whenever the party is.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol, Self, runtime_checkable

from pawl.errors import StorageError
from pawl.storage import AdapterStore
from pawl.storage.contract import Row, Store, Table, Transaction
from pawl.storage.json_file import JSONFileStore
from pawl.storage.memory import MemoryStore
from pawl.storage.sqlite import SQLiteStore
from pawl_gate.targets.file_adapter import FileAdapter

CONNINFO: Final = "PAWL_POSTGRES"
"""The environment's name for the connection string of a PostgreSQL server that is there already."""

Rows = Mapping[Table, Mapping[bytes, Row]]


class Kept(Protocol):
    """What a party's store can do beside its contract."""

    def transaction(self) -> AbstractContextManager[Transaction]:
        """See `Store`."""

    def close(self) -> None:
        """See `Store`; what was kept is gone with it."""

    def snapshot(self) -> Rows:
        """All rows."""

    def fork(self) -> Self:
        """The same rows in a store of their own."""


@runtime_checkable
class KeptForReal(Protocol):
    """A store outside this process's memory."""

    def fall(self) -> None:
        """The process ends here: what is there now is what is left."""

    def reopen(self) -> None:
        """Another process opens what is left. Raises: what opening raises."""


class KeptInFolder:
    """A store in files. `make` opens the store in a folder."""

    def __init__(self, make: Callable[[Path], Store], rows: Path | None = None) -> None:
        self._make = make
        self._top = Path(tempfile.mkdtemp(prefix="pawl-gate-"))
        # Whoever forgets it leaves nothing behind.
        self._gone = weakref.finalize(self, shutil.rmtree, self._top, True)
        self._lives = 0
        self._folder = self._top / "0"
        if rows is None:
            self._folder.mkdir()
        else:
            shutil.copytree(rows, self._folder)
        self._fallen: Path | None = None
        self.store = self._make(self._folder)

    @property
    def folder(self) -> Path:
        """Where its files are now."""
        return self._folder

    def transaction(self) -> AbstractContextManager[Transaction]:
        """See `Store`."""
        return self.store.transaction()

    def snapshot(self) -> Rows:
        """All rows, as the store reads them."""
        return rows_of(self.store)

    def fork(self) -> KeptInFolder:
        """The same files in a folder of their own. Not inside a transaction."""
        return KeptInFolder(self._make, self._folder)

    def fall(self) -> None:
        """The process ends here: what is in the files now is what is left. What it still does is lost."""
        if self._fallen is None:
            self._lives += 1
            self._fallen = self._top / str(self._lives)
            shutil.copytree(self._folder, self._fallen)

    def reopen(self) -> None:
        """Another process opens what is left. Raises: what opening raises."""
        # A store that cannot even be let go of is left alone: its files are nobody's any more.
        with suppress(StorageError):
            self.store.close()
        if self._fallen is not None:
            shutil.rmtree(self._folder)
            self._folder, self._fallen = self._fallen, None
        self.store = self._make(self._folder)

    def close(self) -> None:
        """Close it and take its files away."""
        with suppress(StorageError):
            self.store.close()
        self._gone()


def rows_of(store: Store) -> Rows:
    """All rows of a store, in one transaction."""
    with store.transaction() as tx:
        return {table: MappingProxyType(dict(tx.scan(table, b""))) for table in Table}


class _OverFileAdapter(AdapterStore):
    """The library's store over that adapter, which goes with it."""

    def __init__(self, path: Path) -> None:
        self._pairs = FileAdapter(path)
        super().__init__(self._pairs)

    def close(self) -> None:
        super().close()
        self._pairs.close()


def in_memory() -> MemoryStore:
    """Nothing survives the process; the gate's own copy stands for what would have."""
    return MemoryStore()


def in_sqlite() -> KeptInFolder:
    """The library's default."""
    return KeptInFolder(lambda folder: SQLiteStore(folder / "device.db"))


def in_json() -> KeptInFolder:
    """One JSON file."""
    return KeptInFolder(lambda folder: JSONFileStore(folder / "device.json"))


def over_adapter() -> KeptInFolder:
    """A third party's adapter."""
    return KeptInFolder(lambda folder: _OverFileAdapter(folder / "pairs.db"))


def in_postgres() -> Kept:
    """A database of the gate's own server. Raises: HarnessBroken, where that cannot be had."""
    # Only who uses it needs the driver and a server.
    from pawl_gate.targets.kept_in_database import KeptInDatabase

    return KeptInDatabase()


KEEPERS: Final[Mapping[str, Callable[[], Kept]]] = {
    "memory": in_memory,
    "adapter": over_adapter,
    "json": in_json,
    "postgres": in_postgres,
    "sqlite": in_sqlite,
}
"""The stores, by the names that users know them by."""
