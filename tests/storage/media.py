"""Where the stores under test keep their records, so that a hand from outside can read and change them."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import Any, cast

from pawl.storage import AdapterStore, JSONFileStore, MemoryStore, Row, SQLiteStore, Store, Table
from pawl.storage.json_file import read_json, write_json
from tests.storage.adapters import FileAdapter

Records = dict[tuple[Table, bytes], Row]
"""All records in their seals."""


class Medium(ABC):
    """The place of one store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def beside(self, folder: Path) -> Medium:
        """Another place of the same kind."""
        return type(self)(folder)

    @abstractmethod
    def open(self, *, busy_timeout: float = 5.0) -> Store:
        """The store that is there, or a new one."""

    def keep(self, store: Store) -> None:  # noqa: B027 - files keep themselves
        """Bring what the store holds to its place."""

    @abstractmethod
    def load(self) -> Records:
        """All sealed records, as they are there."""

    @abstractmethod
    def save(self, records: Records) -> None:
        """Replace all records, past the store."""


class Memory(Medium):
    """Records that left the process."""

    records: Records
    store_id: bytes | None = None

    def open(self, *, busy_timeout: float = 5.0) -> MemoryStore:
        if self.store_id is None:
            return MemoryStore(busy_timeout=busy_timeout)
        shelves: dict[Table, dict[bytes, Row]] = {table: {} for table in Table}
        for (table, key), row in self.records.items():
            shelves[table][key] = row
        return MemoryStore(records=shelves, store_id=self.store_id, busy_timeout=busy_timeout)

    def keep(self, store: Store) -> None:
        memory = cast(MemoryStore, store)
        self.store_id = memory.store_id
        self.save({(table, key): row for table, rows in memory.records().items() for key, row in rows.items()})

    def load(self) -> Records:
        return dict(self.records)

    def save(self, records: Records) -> None:
        self.records = dict(records)


class SQLite(Medium):
    """A SQLite file."""

    @property
    def path(self) -> Path:
        return self.folder / "pawl.db"

    def open(self, *, busy_timeout: float = 5.0) -> Store:
        return SQLiteStore(self.path, busy_timeout=busy_timeout)

    def load(self) -> Records:
        with closing(sqlite3.connect(self.path)) as editor:
            return {
                (table, key): Row(value, version)
                for table in Table
                for key, value, version in editor.execute(f"SELECT key, value, version FROM {table.value}")
            }

    def save(self, records: Records) -> None:
        with closing(sqlite3.connect(self.path)) as editor:
            for table in Table:
                editor.execute(f"DELETE FROM {table.value}")
            for (table, key), row in records.items():
                editor.execute(f"INSERT INTO {table.value} VALUES (?, ?, ?)", (key, row.value, row.version))
            editor.commit()


class Adapted(Medium):
    """An adapter's file."""

    def open(self, *, busy_timeout: float = 5.0) -> Store:
        return AdapterStore(self.adapter(), busy_timeout=busy_timeout)

    def adapter(self) -> FileAdapter:
        return FileAdapter(self.folder / "pairs.db", timeout=0.05)

    def load(self) -> Records:
        found = {}
        for key, value in self.adapter().scan(b""):
            table, _, place = key.partition(b"\0")
            if table != b"meta":
                found[Table(table.decode()), place] = Row(value[8:], int.from_bytes(value[:8], "big"))
        return found

    def save(self, records: Records) -> None:
        adapter = self.adapter()
        with adapter.transaction():
            for key, _ in list(adapter.scan(b"")):
                if not key.startswith(b"meta\0"):
                    adapter.delete(key)
            for (table, key), row in records.items():
                adapter.put(table.value.encode() + b"\0" + key, row.version.to_bytes(8, "big") + row.value)


class JSON(Medium):
    """A JSON file."""

    @property
    def path(self) -> Path:
        return self.folder / "pawl.json"

    def open(self, *, busy_timeout: float = 5.0) -> Store:
        return JSONFileStore(self.path, busy_timeout=busy_timeout)

    def load(self) -> Records:
        _, records = read_json(self.path.read_bytes())
        return {(table, key): row for table, rows in records.items() for key, row in rows.items()}

    def save(self, records: Records) -> None:
        store_id, _ = read_json(self.path.read_bytes())
        shelves: dict[Table, dict[bytes, Row]] = {table: {} for table in Table}
        for (table, key), row in records.items():
            shelves[table][key] = row
        self.path.write_bytes(write_json(store_id, shelves))


class Postgres(Medium):
    """A schema of a real server's database."""

    conninfo: str

    def beside(self, folder: Path) -> Medium:
        other = Postgres(folder)
        other.conninfo = self.conninfo
        return other

    @property
    def name(self) -> str:
        return "t" + blake2b(str(self.folder).encode(), digest_size=8).hexdigest()

    def open(self, *, busy_timeout: float = 5.0) -> Store:
        from pawl.storage.postgres import PostgresStore

        return PostgresStore(self.conninfo, name=self.name, busy_timeout=busy_timeout)

    def _connect(self) -> Any:
        import psycopg

        return psycopg.connect(self.conninfo, autocommit=True)

    def load(self) -> Records:
        with self._connect() as editor:
            found = editor.execute(f"SELECT kind, key, value, version FROM {self.name}.rows").fetchall()
        return {(Table(kind), key): Row(value, version) for kind, key, value, version in found}

    def save(self, records: Records) -> None:
        with self._connect() as editor, editor.transaction():
            editor.execute(f"DELETE FROM {self.name}.rows")
            for (table, key), row in records.items():
                values = (table.value, key, row.value, row.version)
                editor.execute(f"INSERT INTO {self.name}.rows VALUES (%s, %s, %s, %s)", values)


MEDIA: dict[str, type[Medium]] = {
    "memory": Memory,
    "sqlite": SQLite,
    "adapter": Adapted,
    "json": JSON,
    "postgres": Postgres,
}
