"""SQLite stores of earlier schemas: read after a migration that is all or nothing, refused by name before it (ATM-07)."""

from __future__ import annotations

import errno
import hashlib
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pawl import Device, MemoryStore, SQLiteStore
from pawl.errors import CorruptRecord, CorruptStore, StorageError, StoreBusy, UnsupportedSchema
from pawl.storage import Row, Table, migrate_sqlite, sqlite_migration
from tests.devices import ALICE, BOB

# What the releases with schema 1 to 3 wrote, word for word: taken from them, not from the code under test.
TABLE = "CREATE TABLE {} (key BLOB NOT NULL PRIMARY KEY, value BLOB NOT NULL, version INTEGER NOT NULL) WITHOUT ROWID"
FIRST_TABLES = (
    "local",
    "identity",
    "session_index",
    "session",
    "skipped_key",
    "prekey",
    "signed_prekey",
    "seen_base_key",
)
TABLES = {1: FIRST_TABLES, 2: (*FIRST_TABLES, "application"), 3: (*FIRST_TABLES, "application")}
META = "CREATE TABLE meta (name TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
STORE_ID = bytes(range(16))
APPLICATION_ID = 0x5061776C

OldRows = dict[tuple[str, bytes], tuple[bytes, int]]


def sealed(name: str, key: bytes, value: bytes, version: int) -> bytes:
    """A record of schema 3 or later, as docs/reference/stored-records.md describes it."""
    bound = b"%b\0%b%b%b\1%b" % (name.encode(), version.to_bytes(8, "big"), len(key).to_bytes(2, "big"), key, value)
    checksum = hashlib.blake2b(bound, digest_size=16, salt=STORE_ID, person=b"pawl record").digest()
    return checksum + b"\1" + value


def write_old(path: Path, schema: int, rows: OldRows) -> None:
    """A store of an earlier schema: before 3 values without seals, no id."""
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("BEGIN EXCLUSIVE")
        writer.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        writer.execute(f"PRAGMA user_version = {schema}")
        for name in TABLES[schema]:
            writer.execute(TABLE.format(name))
        if schema == 3:
            writer.execute(META)
            writer.execute("INSERT INTO meta VALUES ('store_id', ?)", (STORE_ID,))
        for (name, key), (value, version) in rows.items():
            stored = sealed(name, key, value, version) if schema == 3 else value
            writer.execute(f"INSERT INTO {name} VALUES (?, ?, ?)", (key, stored, version))
        writer.execute("COMMIT")


def old_rows(path: Path, schema: int) -> OldRows:
    with closing(sqlite3.connect(path)) as reader:
        assert reader.execute("PRAGMA user_version").fetchall() == [(schema,)]
        assert reader.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        names = [name for (name,) in reader.execute("SELECT name FROM sqlite_master")]
        assert sorted(names) == sorted([*TABLES[schema], *(["meta"] if schema == 3 else [])])
        found = {(name, row[0]): row[1:] for name in TABLES[schema] for row in reader.execute(f"SELECT * FROM {name}")}
        if schema < 3:
            return found
        return {(name, key): (value[17:], version) for (name, key), (value, version) in found.items()}


def rows_of(schema: int, count: int = 600) -> OldRows:
    """More rows than are moved at a time, in every table, keys of all lengths and the empty one."""
    return {
        (name, b"" if number == 0 else number.to_bytes(1 + number % 3, "big", signed=False) * (1 + number % 2)): (
            b"%s %d" % (name.encode(), number),
            1 + number,
        )
        for name in TABLES[schema]
        if name != "meta"
        for number in range(count if name == "skipped_key" else 3)
        if number < 256 or number % 3
    }


def read(store: SQLiteStore) -> OldRows:
    with store.transaction() as transaction:
        return {
            (table.value, key): (row.value, row.version) for table in Table for key, row in transaction.scan(table, b"")
        }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pawl.db"


@pytest.mark.parametrize("schema", [1, 2, 3])
def test_an_earlier_store_is_migrated(path: Path, schema: int) -> None:
    """ATM-07: "A record written by any released schema version is read correctly": every row of every table."""
    rows = rows_of(schema)
    write_old(path, schema, rows)
    assert migrate_sqlite(path) == schema
    with closing(SQLiteStore(path)) as store:
        assert read(store) == rows
    # Once is enough.
    assert migrate_sqlite(path) == 4
    with closing(SQLiteStore(path)) as store:
        assert read(store) == rows
        # Who had an id keeps it.
        assert (store.store_id == STORE_ID) is (schema == 3)
    assert not Path(f"{path}-wal").exists()


@pytest.mark.parametrize("schema", [1, 2, 3])
def test_before_the_migration_it_is_refused_by_name(path: Path, schema: int) -> None:
    """ATM-07: "or refused by name": no byte of the file changes."""
    write_old(path, schema, rows_of(schema))
    before = path.read_bytes()
    with pytest.raises(UnsupportedSchema, match=f"schema version {schema}; migrate it to 4"):
        SQLiteStore(path)
    assert path.read_bytes() == before


def test_a_conversation_goes_on_after_the_migration(path: Path) -> None:
    """A device whose rows an earlier release wrote, kept keys included, decrypts what was under way."""
    alice, store = Device(MemoryStore()), MemoryStore()
    bob = Device(store)
    alice.establish(BOB, bob.prekey_bundle())
    under_way = [alice.encrypt(BOB, b"%d" % number) for number in range(4)]
    assert bob.decrypt(ALICE, under_way[2]) == b"2"
    identity = bob.identity_key
    rows = {(table.value, key): tuple(row) for table, shelf in store.snapshot().items() for key, row in shelf.items()}
    write_old(path, 2, rows)  # type: ignore[arg-type]  # a row is a tuple of the two
    assert migrate_sqlite(path) == 2
    with closing(SQLiteStore(path)) as migrated:
        again = Device(migrated)
        assert again.identity_key == identity
        for number in (0, 3, 1):
            assert again.decrypt(ALICE, under_way[number]) == b"%d" % number
        assert alice.decrypt(BOB, again.encrypt(ALICE, b"back")) == b"back"


def test_sealed_records_stay_as_they_are(path: Path) -> None:
    """ATM-08: a store of schema 3 keeps its id, and a record that was damaged before stays so."""
    rows = rows_of(3, count=3)
    write_old(path, 3, rows)
    with closing(sqlite3.connect(path)) as editor:
        editor.execute("UPDATE prekey SET value = zeroblob(90) WHERE key = x''")
        editor.commit()
    assert migrate_sqlite(path) == 3
    with closing(SQLiteStore(path)) as store:
        assert store.store_id == STORE_ID
        with store.transaction() as tx, pytest.raises(CorruptRecord):
            tx.get(Table.PREKEY, b"")
        with store.transaction() as tx:
            assert {("session", key): tuple(row) for key, row in tx.scan(Table.SESSION, b"")} == {
                place: row for place, row in rows.items() if place[0] == "session"
            }


def test_every_migration_gives_an_id_of_its_own(tmp_path: Path) -> None:
    """ATM-08: two copies of one old store are two stores afterwards."""
    ids = set()
    for name in ("a.db", "b.db"):
        write_old(tmp_path / name, 2, {})
        migrate_sqlite(tmp_path / name)
        with closing(SQLiteStore(tmp_path / name)) as store:
            ids.add(store.store_id)
    assert len(ids) == 2


class Dying(sqlite3.Connection):
    """Fails at its n-th statement, in the way that a medium's error does."""

    left = 0

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        Dying.left -= 1
        if Dying.left == 0:
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(*arguments)


@pytest.mark.parametrize("former", [2, 3])
def test_a_migration_that_fails_leaves_the_store_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch, former: int
) -> None:
    """ATM-07: "migration is atomic": an error at each of its statements, and then it is carried out."""
    rows = rows_of(former, count=3)
    write_old(path, former, rows)
    open_file = sqlite_migration.open_file

    def dying(*arguments: Any, **options: Any) -> sqlite3.Connection:
        with monkeypatch.context() as patch:
            connect = sqlite3.connect
            patch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, factory=Dying, **k))
            return open_file(*arguments, **options)

    failed, texts = 0, set()
    for at in range(1, 1000):
        with monkeypatch.context() as patch:
            Dying.left = at
            patch.setattr(sqlite_migration, "open_file", dying)
            try:
                migrate_sqlite(path)
            except StorageError as error:
                texts.add(str(error))
            else:
                break
        failed += 1
        with closing(sqlite3.connect(path)) as reader:
            [[schema]] = reader.execute("PRAGMA user_version")
        if schema == 4:
            # Only the emptying of the log comes after the commit.
            break
        assert old_rows(path, former) == rows
    # One statement or more for each row that is to be sealed, and for each new table.
    assert failed >= (len(rows) + 10 if former < 3 else 5 + 10)
    assert texts == {"the store's engine failed: disk I/O error"}
    assert migrate_sqlite(path) == 4
    with closing(SQLiteStore(path)) as store:
        assert read(store) == rows


KILLED = """
import os, sys
from pawl.storage import sqlite_migration
left = int(sys.argv[2])
original = sqlite_migration.Seal.close
def close(*arguments):
    global left
    left -= 1
    if left == 0:
        os._exit(9)
    return original(*arguments)
sqlite_migration.Seal.close = close
sqlite_migration.migrate_sqlite(sys.argv[1])
"""


@pytest.mark.parametrize("at", [1, 300, 560])
def test_a_migration_that_is_killed_leaves_the_store_as_it_was(path: Path, at: int) -> None:
    """ATM-07: a process that ends in the middle, with no chance to tidy up."""
    rows = rows_of(2, count=900)
    write_old(path, 2, rows)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, "-c", KILLED, str(path), str(at)], env=environment, check=False)
    assert ended.returncode == 9
    assert old_rows(path, 2) == rows
    assert migrate_sqlite(path) == 2
    with closing(SQLiteStore(path)) as store:
        assert read(store) == rows


def test_nobody_else_may_have_it_open(path: Path) -> None:
    """A process of an earlier release that has the store open would go on writing records without seals."""
    rows = rows_of(2, count=3)
    write_old(path, 2, rows)
    with closing(sqlite3.connect(path)) as other:
        # As the earlier release opens it.
        other.execute("PRAGMA journal_mode = WAL").fetchall()
        with pytest.raises(StoreBusy):
            migrate_sqlite(path, busy_timeout=0.05)
        assert other.execute("SELECT count(*) FROM local").fetchall() == [(3,)]
    assert old_rows(path, 2) == rows
    assert migrate_sqlite(path) == 2


def test_a_newer_store_is_refused(path: Path) -> None:
    """ATM-07: "or refused by name"."""
    SQLiteStore(path).close()
    with closing(sqlite3.connect(path)) as editor:
        editor.execute("PRAGMA user_version = 5")
    before = path.read_bytes()
    with pytest.raises(UnsupportedSchema, match="this release knows 1 to 4"):
        migrate_sqlite(path)
    assert path.read_bytes() == before


def test_damage_is_not_sealed(path: Path) -> None:
    """ATM-06: rows that no release wrote stop the migration; the store stays as it was."""
    write_old(path, 2, {("session", b"a"): (b"fine", 1), ("session", b"b"): (b"not", 0)})
    with pytest.raises(CorruptRecord):
        migrate_sqlite(path)
    assert old_rows(path, 2) == {("session", b"a"): (b"fine", 1), ("session", b"b"): (b"not", 0)}
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(CorruptStore):
        migrate_sqlite(path)


def test_what_is_not_there_is_not_made(path: Path) -> None:
    with pytest.raises(StorageError, match="no store"):
        migrate_sqlite(path)
    assert not path.exists()


def test_two_that_migrate(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One finds it done when it comes to it."""
    rows = rows_of(2, count=3)
    write_old(path, 2, rows)
    open_file = sqlite_migration.open_file

    def later(*arguments: Any, **options: Any) -> sqlite3.Connection:
        monkeypatch.setattr(sqlite_migration, "open_file", open_file)
        assert migrate_sqlite(path) == 2
        return open_file(*arguments, **options)

    monkeypatch.setattr(sqlite_migration, "open_file", later)
    assert migrate_sqlite(path) == 4
    with closing(SQLiteStore(path)) as store:
        assert read(store) == rows


def test_rows_are_rows(path: Path) -> None:
    """The library's own view of a migrated row."""
    write_old(path, 1, {("local", b"a"): (b"value", 41)})
    migrate_sqlite(path)
    with closing(SQLiteStore(path)) as store, store.transaction() as transaction:
        assert transaction.get(Table.LOCAL, b"a") == Row(b"value", 41)
        assert transaction.put(Table.LOCAL, b"a", b"next", version=41) == 42


# -- a copy first ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", [1, 2, 3])
def test_a_copy_is_the_store_as_it_was(path: Path, schema: int) -> None:
    """Issue: "`pawl store migrate` (atomic, resumable, with a backup option)": what was in the log is in the copy too."""
    rows = rows_of(schema, count=40)
    write_old(path, schema, rows)
    copy = path.with_name("copy.db")
    assert migrate_sqlite(path, backup=copy) == schema
    assert old_rows(copy, schema) == rows
    assert copy.stat().st_mode & 0o777 == 0o600
    # The copy is a store like any other: it can be migrated itself.
    assert migrate_sqlite(copy) == schema


def test_where_something_is_nothing_is_copied(path: Path) -> None:
    """A backup is never written over anything; the store is as it was."""
    rows = rows_of(2, count=3)
    write_old(path, 2, rows)
    copy = path.with_name("copy.db")
    copy.write_bytes(b"somebody's")
    with pytest.raises(StorageError, match="something where the copy is to be"):
        migrate_sqlite(path, backup=copy)
    assert copy.read_bytes() == b"somebody's"
    assert old_rows(path, 2) == rows


def test_where_nothing_is_to_be_done_nothing_is_copied(path: Path) -> None:
    """A store of the present schema is left alone, and so is the place of its copy."""
    SQLiteStore(path).close()
    copy = path.with_name("copy.db")
    migrate_sqlite(path, backup=copy)
    assert not copy.exists()


def test_half_a_copy_is_taken_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that cannot be made durable is none: the migration is refused, and the store is as it was."""
    rows = rows_of(2, count=3)
    write_old(path, 2, rows)
    copy = path.with_name("copy.db")

    def full(folder: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sqlite_migration, "sync_folder", full)
    with pytest.raises(StorageError, match="No space left"):
        migrate_sqlite(path, backup=copy)
    monkeypatch.undo()
    assert not copy.exists()
    assert old_rows(path, 2) == rows
