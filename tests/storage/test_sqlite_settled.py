"""What a SQLite store finds when it is opened is durable before anything is answered from it; and damaged keys.

That a power loss takes nothing back is shown in tests/trials/test_power_loss.py, below SQLite.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pawl.errors import CorruptRecord, OutcomeUnknown, StorageError
from pawl.storage import JSONFileStore, Row, SQLiteStore, Table, json_file
from pawl.storage.seal import Seal
from pawl.storage.sqlite_file import PAGE_BYTES
from tests.storage.test_sqlite import Faulty, fails

KEY = b"peer\x01base key"
ONE_COMMIT = 32 + 24 + PAGE_BYTES
"""Bytes of a log that holds one page: its head, and a frame."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pawl.db"


@pytest.fixture
def left(path: Path, tmp_path: Path) -> Path:
    """A store whose process is gone: its last commits are in the log."""
    with closing(SQLiteStore(path)) as store:
        put(store, 0)
        put(store, 1)
        copy = tmp_path / "left.db"
        shutil.copy(path, copy)
        shutil.copy(f"{path}-wal", f"{copy}-wal")
    return copy


def put(store: SQLiteStore, version: int, key: bytes = KEY) -> None:
    with store.transaction() as tx:
        tx.put(Table.SESSION, key, b"%d" % version, version=version)


def log(path: Path) -> Path:
    return Path(f"{path}-wal")


def test_a_log_that_was_left_is_moved_and_one_commit_synced(left: Path, tmp_path: Path) -> None:
    """ATM-02: what the log holds is in the database before the store is used, and the log begins anew."""
    assert log(left).stat().st_size > ONE_COMMIT
    with closing(SQLiteStore(left)) as store:
        assert log(left).stat().st_size == ONE_COMMIT
        alone = tmp_path / "alone.db"
        shutil.copy(left, alone)
        with store.transaction() as tx:
            assert tx.get(Table.SESSION, KEY) == Row(b"1", 2)
    with closing(SQLiteStore(alone)) as store, store.transaction() as tx:
        assert tx.get(Table.SESSION, KEY) == Row(b"1", 2)


def test_a_store_that_was_closed_is_left_alone(path: Path) -> None:
    """Control: without a log nothing is written."""
    with closing(SQLiteStore(path)) as store:
        put(store, 0)
    before = path.read_bytes()
    with closing(SQLiteStore(path)) as store:
        assert not log(path).exists() or log(path).stat().st_size == 0
        with store.transaction() as tx:
            assert tx.get(Table.SESSION, KEY) == Row(b"0", 1)
    assert path.read_bytes() == before


def test_another_writer_does_not_keep_it_from_being_opened(left: Path) -> None:
    """Who commits just then syncs what is there; the store is opened, and its own commits wait as ever."""
    with closing(SQLiteStore(left)) as first, closing(sqlite3.connect(left, isolation_level=None)) as other:
        put(first, 2)
        other.execute("BEGIN IMMEDIATE")
        with closing(SQLiteStore(left, busy_timeout=0)):
            pass
        other.execute("ROLLBACK")
        with first.transaction() as tx:
            assert tx.get(Table.SESSION, KEY) == Row(b"2", 3)


def test_a_store_that_cannot_be_settled_is_refused(left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the engine there is one of opening; the connection does not stay open."""

    def broken(self: SQLiteStore) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(SQLiteStore, "_commit_nothing", broken)
    with pytest.raises(StorageError, match="disk I/O error"):
        SQLiteStore(left)
    monkeypatch.undo()
    with closing(SQLiteStore(left)) as store, store.transaction() as tx:
        assert tx.get(Table.SESSION, KEY) == Row(b"1", 2)


class Noting(Faulty):
    """Notes what it is told."""

    def __init__(self, connection: sqlite3.Connection, *failing: str) -> None:
        super().__init__(connection, *failing)
        self.said: list[str] = []

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        self.said.append(statement)
        return super().execute(statement, *values)


@pytest.fixture
def noted(path: Path) -> Iterator[tuple[SQLiteStore, Noting]]:
    store = SQLiteStore(path)
    noting = Noting(store._connection, "COMMIT")
    store._connection = noting  # type: ignore[assignment]
    yield store, noting
    noting.failing = ()
    store.close()


def test_after_a_failed_commit_closing_puts_an_end_to_it(noted: tuple[SQLiteStore, Noting]) -> None:
    """Its pages may be in the log: one commit is written over them before the log is emptied."""
    store, noting = noted
    with pytest.raises(OutcomeUnknown):
        put(store, 0)
    noting.failing = ("nothing",)
    noting.said.clear()
    store.close()
    assert [said for said in noting.said if "meta" in said]
    assert noting.said.index("COMMIT") < noting.said.index("PRAGMA wal_checkpoint(TRUNCATE)")


def test_a_commit_puts_an_end_to_it_as_well(noted: tuple[SQLiteStore, Noting]) -> None:
    """A transaction that only reads does not, one that writes does."""
    store, noting = noted
    with pytest.raises(OutcomeUnknown):
        put(store, 0)
    noting.failing = ("nothing",)
    with store.transaction() as tx:
        assert tx.get(Table.SESSION, KEY) is None
    assert store._unsure
    put(store, 0)
    noting.said.clear()
    store.close()
    assert not [said for said in noting.said if "meta" in said]


def test_an_error_of_its_beginning_is_one(path: Path) -> None:
    """Only another writer is passed over."""
    with closing(SQLiteStore(path)) as store:
        fault = fails(store, "BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError):
            store._commit_nothing()
        fault.failing = ("nothing",)
        store._commit_nothing()
        assert store.store_id


# -- keys --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed", [b"peer\x01base kez", b"peer\x01base kex", b"peer\x01base key\0", b"peer\x01base ke"]
)
@pytest.mark.parametrize(
    ("table", "other"), [(Table.SESSION, Table.PREKEY), (Table.IDENTITY, Table.SESSION)], ids=["secret", "public"]
)
def test_a_record_under_another_key_is_not_missed(path: Path, changed: bytes, table: Table, other: Table) -> None:
    """ATM-06: "never silently treated as empty": its neighbour is it, with its key damaged."""
    with closing(SQLiteStore(path)) as store:
        for key in (KEY, b"a", b"z"):
            with store.transaction() as tx:
                tx.put(table, key, b"0", version=0)
        with store.transaction() as tx:
            assert tx.get(table, changed) is None
    with closing(sqlite3.connect(path)) as hand:
        hand.execute(f"UPDATE {table.value} SET key = ? WHERE key = ?", (changed, KEY))
        hand.commit()
    with closing(SQLiteStore(path)) as store, store.transaction() as tx:
        with pytest.raises(CorruptRecord, match="the key of a record is damaged"):
            tx.get(table, KEY)
        assert tx.get(table, b"b") is None
        assert tx.get(table, b"a") == Row(b"0", 1)
        # Of another table it is nobody's.
        assert tx.get(other, KEY) is None


def test_whose_record_it_is() -> None:
    """A sealed record is for one key, one version and one table; what is none is for none."""
    seal = Seal(bytes(16))
    sealed = seal.close(Table.SESSION, KEY, b"value", 3)
    assert seal.is_for(Table.SESSION, KEY, sealed, 3)
    for table, key, value, version in (
        (Table.PREKEY, KEY, sealed, 3),
        (Table.SESSION, KEY + b"x", sealed, 3),
        (Table.SESSION, KEY, sealed, 2),
        (Table.SESSION, KEY, sealed[:-1], 3),
        (Table.SESSION, KEY, sealed[:16], 3),
        (Table.SESSION, KEY, b"", 3),
        (Table.SESSION, KEY, sealed.decode("latin-1"), 3),
        (Table.SESSION, KEY, sealed, b"3"),
        (Table.SESSION, KEY, sealed, 0),
        (Table.SESSION, KEY, sealed, 2**63),
    ):
        assert not seal.is_for(table, key, value, version)


# -- the JSON store ----------------------------------------------------------------------------------------------------


def test_a_json_file_is_named_durably_before_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ATM-02: whoever reads a file that another one wrote syncs its folder, and only then."""
    synced: list[str] = []
    with (
        closing(JSONFileStore(tmp_path / "pawl.json")) as store,
        closing(JSONFileStore(tmp_path / "pawl.json")) as other,
    ):
        with other.transaction() as tx:
            tx.put(Table.SESSION, KEY, b"0", version=0)
        monkeypatch.setattr(json_file, "sync_folder", synced.append)
        for _ in range(3):
            with store.transaction() as tx:
                assert tx.get(Table.SESSION, KEY) == Row(b"0", 1)
    assert synced == [str(tmp_path)]
