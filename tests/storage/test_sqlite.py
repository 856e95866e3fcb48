"""What the SQLite store adds to the contract: its file, what it refuses to open, and how it fails."""

# ruff: noqa: PT012 - what is tested is a whole transaction that ends with an exception.
from __future__ import annotations

import os
import random
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pawl.errors import CorruptRecord, CorruptStore, InvalidArgument, StorageError, StoreBusy, UnsupportedSchema
from pawl.limits import MAX_RECORD_BYTES
from pawl.storage import Row, SQLiteStore, Table, migrate_sqlite
from pawl.storage import sqlite_file as module
from pawl.storage.rows import MAX_KEY_BYTES, MAX_VERSION
from pawl.storage.sqlite_file import PAGE_BYTES, SCHEMA_VERSION

Rows = dict[tuple[Table, bytes], Row]


def read(store: SQLiteStore) -> Rows:
    with store.transaction() as transaction:
        return {(table, key): row for table in Table for key, row in transaction.scan(table, b"")}


def fill(path: Path, *, rows: int = 300) -> Rows:
    """A store of several pages in each of three tables, closed again."""
    source = random.Random(1)
    with closing(SQLiteStore(path)) as store:
        with store.transaction() as transaction:
            for table in (Table.LOCAL, Table.SESSION, Table.SKIPPED_KEY):
                for number in range(rows):
                    transaction.put(table, b"key %d" % number, source.randbytes(60), version=0)
            transaction.put(Table.SESSION, b"large", source.randbytes(10_000), version=0)
        return read(store)


def files(folder: Path) -> dict[str, bytes]:
    """What is in the files. SQLite's index of the log is memory shared between processes, not data."""
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.is_file() and not path.name.endswith("-shm") and (path.stat().st_size or not path.name.endswith("-wal"))
    }


def refuse(path: Path, refusal: type[StorageError]) -> StorageError:
    """Opening is refused, twice, by exactly this name, and no byte on the disk changes."""
    before = files(path.parent)
    for _ in range(2):
        with pytest.raises(refusal) as caught:
            SQLiteStore(path, busy_timeout=0.05)
        assert type(caught.value) is refusal
    assert files(path.parent) == before
    return caught.value


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pawl.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    with closing(SQLiteStore(path, busy_timeout=0.05)) as store:
        yield store


# -- the file ----------------------------------------------------------------------------------------------------------


def test_a_new_path_creates(path: Path) -> None:
    """A store is created where nothing is, for its owner only, and closing leaves one file."""
    with closing(SQLiteStore(path)) as store:
        with store.transaction() as transaction:
            transaction.put(Table.LOCAL, b"a", b"1", version=0)
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["pawl.db"]
    with closing(SQLiteStore(str(path))) as store:
        assert read(store) == {(Table.LOCAL, b"a"): Row(b"1", 1)}


@pytest.mark.parametrize("name", ["with space", "?mode=memory", "#fragment", "100%25", "snö.db", ":memory:x", "-wal"])
def test_names_mean_nothing_to_the_engine(tmp_path: Path, name: str) -> None:
    """The path is a path: no character of it is an option of SQLite's."""
    SQLiteStore(tmp_path / name).close()
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_relative_path_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store stays where it was opened when the process moves to another folder."""
    monkeypatch.chdir(tmp_path)
    with closing(SQLiteStore("pawl.db")) as store:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert read(store) == {}
    assert (tmp_path / "pawl.db").exists()


@pytest.mark.parametrize("name", [None, 1, b"pawl.db", "", ":memory:", "a\0b", "\ud800", object(), Path])
def test_wrong_paths_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: Any) -> None:
    """Wrong arguments are refused by name, and nothing is created."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidArgument):
        SQLiteStore(name)
    with pytest.raises(InvalidArgument):
        SQLiteStore("pawl.db", busy_timeout=-1)
    assert list(tmp_path.iterdir()) == []


def test_where_no_file_can_be(tmp_path: Path) -> None:
    """A folder that is not there, a file in its place, a name too long: StorageError, and nothing is created."""
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "missing" / "pawl.db", tmp_path / "file" / "pawl.db", tmp_path / ("x" * 300)):
        with pytest.raises(StorageError) as caught:
            SQLiteStore(path)
        assert type(caught.value) is StorageError
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_settings_that_promises_rest_on(store: SQLiteStore) -> None:
    """Contract: "its writes survive a crash of process or machine": the log is synced at each commit (FULL is 2)."""
    expected = {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1, "temp_store": 2, "cell_size_check": 1}
    for name, value in expected.items():
        answer = store._connection.execute(f"PRAGMA {name}").fetchone()[0]
        assert (answer.decode() if isinstance(answer, bytearray) else answer) == value


def test_creation_is_one_step(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ATM-01: "exactly the state before or exactly the state after": a creation that fails leaves nothing."""

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("link", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(module.os, name, fail)
            with pytest.raises(StorageError, match="No space left"):
                SQLiteStore(path)
        # Before the name is given there is nothing, afterwards a whole store.
        assert [file.name for file in path.parent.iterdir()] == ([] if name == "link" else ["pawl.db"])
    SQLiteStore(path).close()


def test_two_creators(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that another process made meanwhile is used, not replaced."""
    link, expected = os.link, {(Table.LOCAL, b"theirs"): Row(b"1", 1)}

    def late(source: str, target: str) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(module.os, "link", link)
            with closing(SQLiteStore(path)) as theirs, theirs.transaction() as transaction:
                transaction.put(Table.LOCAL, b"theirs", b"1", version=0)
        link(source, target)

    monkeypatch.setattr(module.os, "link", late)
    with closing(SQLiteStore(path)) as store:
        assert read(store) == expected
    assert [file.name for file in path.parent.iterdir()] == ["pawl.db"]


def test_a_creator_that_died_leaves_no_second_name(path: Path) -> None:
    """A draft that is the store itself under another name goes; a draft of somebody else stays."""
    SQLiteStore(path).close()
    other = path.parent / ".pawl-other.new"
    other.write_bytes(b"")
    for name in (".pawl-draft.new", ".pawl-draft.old", "draft.new"):
        os.link(path, path.parent / name)
    SQLiteStore(path).close()
    names = {".pawl-draft.old", ".pawl-other.new", "draft.new", "pawl.db"}
    assert {file.name for file in path.parent.iterdir()} == names


@pytest.mark.parametrize("log", ["-wal", "-journal"])
def test_a_log_without_its_database(path: Path, log: str) -> None:
    """ATM-06: "never silently treated as empty": a lost database is not made anew beside its log."""
    Path(f"{path}{log}").write_bytes(b"a log")
    refuse(path, CorruptStore)
    # An empty log holds nothing to lose.
    Path(f"{path}{log}").write_bytes(b"")
    SQLiteStore(path).close()


# -- files that are no store -------------------------------------------------------------------------------------------


def test_nothing_but_a_regular_file(tmp_path: Path) -> None:
    """A folder, a symbolic link (dangling or not) and a pipe are refused by name."""
    SQLiteStore(tmp_path / "real.db").close()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real.db")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "link", "dangling", "pipe"):
        assert "regular file" in str(refuse(tmp_path / name, StorageError))


def test_another_applications_database(path: Path) -> None:
    """ATM-06: a database that is not ours is refused and left as it is, in either journal mode."""
    for mode in ("delete", "wal"):
        with closing(sqlite3.connect(path)) as foreign:
            foreign.execute(f"PRAGMA journal_mode = {mode}")
            foreign.execute("CREATE TABLE IF NOT EXISTS local (key BLOB PRIMARY KEY, value BLOB, version INT)")
            foreign.execute("INSERT OR REPLACE INTO local VALUES (x'00', x'00', 1)")
            foreign.commit()
            refuse(path, CorruptStore)
        refuse(path, CorruptStore)


def test_another_applications_log_is_not_merged(tmp_path: Path, path: Path) -> None:
    """A foreign database as its application's crash left it, commits still in the log, keeps both files as they are."""
    source = tmp_path / "source"
    source.mkdir()
    with closing(sqlite3.connect(source / "foreign.db")) as foreign:
        foreign.execute("PRAGMA journal_mode = wal")
        foreign.execute("CREATE TABLE notes (note)")
        foreign.execute("INSERT INTO notes VALUES ('kept')")
        foreign.commit()
        shutil.copy(source / "foreign.db", path)
        shutil.copy(source / "foreign.db-wal", f"{path}-wal")
    assert Path(f"{path}-wal").stat().st_size > 0
    refuse(path, CorruptStore)
    with closing(sqlite3.connect(path)) as foreign:
        assert foreign.execute("SELECT note FROM notes").fetchall() == [("kept",)]


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION + 1, 255, -1])
def test_another_schema_version(path: Path, version: int) -> None:
    """ATM-07: "a record written by any released schema version is read correctly, or refused by name"."""
    fill(path, rows=1)
    with closing(sqlite3.connect(path)) as editor:
        editor.execute(f"PRAGMA user_version = {version}")
    refuse(path, UnsupportedSchema)


@pytest.mark.parametrize("version", [1, 2])
def test_a_store_that_says_it_is_of_an_earlier_schema(path: Path, version: int) -> None:
    """ATM-06: a flipped bit in the version's field does not make sealed records be taken for unsealed ones."""
    fill(path, rows=1)
    with closing(sqlite3.connect(path)) as editor:
        editor.execute(f"PRAGMA user_version = {version}")
    refuse(path, CorruptStore)
    with pytest.raises(CorruptStore):
        migrate_sqlite(path)


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM meta",
        "UPDATE meta SET value = x'00'",
        "UPDATE meta SET value = '0123456789abcdef'",
        "UPDATE meta SET name = 'id'",
        "INSERT INTO meta VALUES ('more', x'00')",
    ],
)
def test_a_store_without_its_id(path: Path, change: str) -> None:
    """ATM-06: without its id none of its records could be told from another store's."""
    fill(path, rows=1)
    with closing(sqlite3.connect(path)) as editor:
        editor.execute(change)
        editor.commit()
    refuse(path, CorruptStore)


def test_a_store_with_anothers_id(path: Path) -> None:
    """ATM-08: every record is then another store's."""
    rows = fill(path, rows=1)
    with closing(sqlite3.connect(path)) as editor:
        editor.execute("UPDATE meta SET value = zeroblob(16)")
        editor.commit()
    with closing(SQLiteStore(path)) as store:
        for table, key in rows:
            with pytest.raises(CorruptRecord), store.transaction() as transaction:
                transaction.get(table, key)


@pytest.mark.parametrize(
    "change",
    [
        "DROP TABLE session",
        "CREATE TABLE notes (note)",
        "CREATE TRIGGER t AFTER INSERT ON session BEGIN DELETE FROM session; END",
        "CREATE INDEX i ON session (value)",
        "ALTER TABLE session ADD COLUMN extra",
        "ALTER TABLE session RENAME TO sessions",
        "PRAGMA application_id = 1",
    ],
)
def test_other_tables(path: Path, change: str) -> None:
    """ATM-06: a store without our tables, or with more (a trigger could undo a deletion), is refused."""
    fill(path, rows=1)
    with closing(sqlite3.connect(path)) as editor:
        editor.execute(change)
    refuse(path, CorruptStore)


def test_the_engines_own_tables_are_no_harm(path: Path) -> None:
    """Statistics that somebody had SQLite collect leave a store a store."""
    rows = fill(path, rows=1)
    with closing(sqlite3.connect(path)) as editor:
        editor.execute("ANALYZE")
    with closing(SQLiteStore(path)) as store:
        assert read(store) == rows


def test_a_store_taken_out_of_its_mode_is_put_back(path: Path) -> None:
    """A store that was converted by hand is read, and is durable again."""
    rows = fill(path, rows=1)
    with closing(sqlite3.connect(path)) as editor:
        editor.execute("PRAGMA journal_mode = delete")
    with closing(SQLiteStore(path)) as store:
        assert read(store) == rows
        test_settings_that_promises_rest_on(store)


@pytest.mark.parametrize("size", [0, 1, 15, 16, 99, 100, 511, 512, 4095, 4096, 4097, 20_000])
def test_garbage(path: Path, size: int) -> None:
    """ATM-06: bytes that are no database (none at all included) are refused, never taken for a new store."""
    path.write_bytes(random.Random(size).randbytes(size))
    refuse(path, CorruptStore)
    path.write_bytes(bytes(size))
    assert ("empty" in str(refuse(path, CorruptStore))) == (size == 0)


def test_a_truncated_store(tmp_path: Path) -> None:
    """ATM-06: a store that lost its end is refused, wherever the cut is."""
    fill(tmp_path / "whole.db")
    whole, path = (tmp_path / "whole.db").read_bytes(), tmp_path / "pawl.db"
    assert len(whole) > 20 * PAGE_BYTES
    cuts = {
        *range(0, len(whole), PAGE_BYTES),
        *random.Random(2).sample(range(len(whole)), 40),
        1,
        16,
        100,
        len(whole) - 1,
    }
    for cut in sorted(cuts):
        path.write_bytes(whole[:cut])
        refuse(path, CorruptStore)


def test_a_flipped_byte(tmp_path: Path) -> None:
    """ATM-06: a flipped byte is refused by name, or it lies where it changes nothing that the store holds.

    Nothing but a typed refusal comes out, and a refused file stays as it is. Not covered: SQLite's own counters.
    """
    rows = fill(tmp_path / "whole.db")
    whole, path = (tmp_path / "whole.db").read_bytes(), tmp_path / "pawl.db"
    source = random.Random(3)
    # The whole header; each page's own header and first cell pointers; anything.
    page_headers = [page + offset for page in range(0, len(whole), PAGE_BYTES) for offset in (0, 1, 3, 4, 5, 8, 9)]
    names: set[object] = set()
    refused = dict.fromkeys(("header", "page", "any"), 0)
    for kind, places in (
        ("header", range(100)),
        ("page", page_headers[7:]),
        ("any", source.sample(range(100, len(whole)), 60)),
    ):
        for place in places:
            damaged = bytearray(whole)
            damaged[place] ^= 1 << source.randrange(8) if kind == "any" else 0x81
            path.write_bytes(damaged)
            try:
                with closing(SQLiteStore(path, busy_timeout=0)) as store:
                    found = read(store)
            except StorageError as error:
                names.add((type(error), str(error) if type(error) is StorageError else ""))
                assert path.read_bytes() == damaged
                refused[kind] += 1
            else:
                assert found == rows, place
    # The engine ignores some header fields (counters, the writer's version, reserved bytes); most of the rest matters.
    # Of the pages that continue a value only the first four bytes are structure, and the end of the last one is unused.
    assert names == {(CorruptStore, ""), (CorruptRecord, ""), (UnsupportedSchema, "")}
    assert refused["header"] >= 40
    assert refused["page"] >= 0.4 * len(page_headers[7:])
    assert refused["any"] >= 0.2 * 60


def test_schema_that_is_no_text(path: Path) -> None:
    """ATM-06: the engine's message then holds bytes that are no UTF-8, which Python's module fails to decode."""
    fill(path, rows=1)
    whole = path.read_bytes()
    statement = b"CREATE TABLE session ("
    start = whole.index(statement)
    for place in range(start, start + len(statement)):
        # 0x97 begins no character.
        path.write_bytes(whole[:place] + b"\x97" + whole[place + 1 :])
        refuse(path, CorruptStore)


def test_rows_out_of_order_are_noticed(path: Path) -> None:
    """ATM-06: a key changed so that a lookup would miss its row ("silently treated as empty") is refused."""
    fill(path)
    whole = bytearray(path.read_bytes())
    whole[whole.index(b"key 150")] ^= 0x80
    path.write_bytes(whole)
    refuse(path, CorruptStore)


def test_a_large_store_is_checked_as_it_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above MAX_CHECKED_BYTES a damaged page is refused when it is needed, and then the transaction is over."""
    rows = fill(path)
    damaged = bytearray(path.read_bytes())
    with closing(sqlite3.connect(path)) as reader:
        [[root]] = reader.execute("SELECT rootpage FROM sqlite_master WHERE name = 'session'")
    damaged[(root - 1) * PAGE_BYTES] = 0
    path.write_bytes(damaged)
    refuse(path, CorruptStore)
    monkeypatch.setattr(module, "MAX_CHECKED_BYTES", len(damaged) - 1)
    with closing(SQLiteStore(path)) as store:
        with pytest.raises(CorruptStore), store.transaction() as transaction:
            transaction.put(Table.LOCAL, b"new", b"", version=0)
            transaction.get(Table.SESSION, b"key 1")
        with store.transaction() as transaction:
            assert transaction.get(Table.LOCAL, b"new") is None
            assert transaction.get(Table.LOCAL, b"key 1") == rows[Table.LOCAL, b"key 1"]


@pytest.mark.parametrize(
    "row",
    [
        ("x'00'", "'text'", "1"),
        ("x'00'", "CAST(x'ff' AS TEXT)", "1"),
        ("x'00'", "1", "1"),
        ("x'00'", "x'00'", "'one'"),
        ("x'00'", "x'00'", "1.5"),
        ("x'00'", "x'00'", "0"),
        ("x'00'", "x'00'", "-1"),
        ("x'00'", "x'00'", str(MAX_VERSION + 1)),
        ("x'00'", f"zeroblob({MAX_RECORD_BYTES + 1})", "1"),
        ("x'00'", "zeroblob(1000000)", "1"),
        (f"zeroblob({MAX_KEY_BYTES + 1})", "x'00'", "1"),
    ],
)
def test_rows_that_no_store_writes(path: Path, row: tuple[str, str, str]) -> None:
    """PAR-05: "Stored records ... are parsed as strictly as wire messages": a row of another shape is CorruptStore."""
    fill(path, rows=1)
    with closing(sqlite3.connect(path)) as editor:
        editor.execute(f"INSERT INTO session VALUES ({', '.join(row)})")
        editor.commit()
    with closing(SQLiteStore(path)) as store:
        with pytest.raises(CorruptStore):
            read(store)
        if row[0] == "x'00'":
            with pytest.raises(CorruptStore), store.transaction() as transaction:
                transaction.get(Table.SESSION, b"\0")
        with store.transaction() as transaction:
            assert transaction.get(Table.LOCAL, b"key 0") is not None


# -- failures of the engine --------------------------------------------------------------------------------------------


def test_another_connection_holds_the_store(path: Path, store: SQLiteStore) -> None:
    """StoreBusy: "Another writer held the store for longer than the busy timeout"; afterwards all goes on."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy), store.transaction():
            pass
        other.execute("ROLLBACK")
        assert read(store) == {}


def full(store: SQLiteStore, pages: int) -> None:
    """Let the disk be full once the file has that many pages."""
    store._connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()


def test_a_full_disk_rolls_back(path: Path, store: SQLiteStore) -> None:
    """ATM-01: a transaction that the engine could not carry out leaves nothing, even if its error is swallowed."""
    with store.transaction() as transaction:
        transaction.put(Table.LOCAL, b"a", b"1", version=0)
    before = read(store)
    full(store, 30)
    large = bytes(MAX_RECORD_BYTES)
    with pytest.raises(StorageError, match="engine failed"), store.transaction() as transaction:
        transaction.put(Table.LOCAL, b"a", b"2", version=1)
        for number in range(10):
            transaction.put(Table.SESSION, b"%d" % number, large, version=0)
    assert read(store) == before
    with pytest.raises(StorageError, match="failed earlier"), store.transaction() as transaction:
        transaction.put(Table.LOCAL, b"a", b"2", version=1)
        with pytest.raises(StorageError, match="engine failed"):
            for number in range(10):
                transaction.put(Table.SESSION, b"%d" % number, large, version=0)
        with pytest.raises(StorageError, match="failed earlier"):
            transaction.put(Table.LOCAL, b"b", b"", version=0)
    assert read(store) == before
    full(store, 2**30)
    with store.transaction() as transaction:
        transaction.put(Table.LOCAL, b"a", b"2", version=1)


class Faulty:
    """A connection whose named statements fail, in the way that a medium's error does."""

    def __init__(self, connection: sqlite3.Connection, *failing: str) -> None:
        self._connection = connection
        self.failing = failing

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        if statement.startswith(self.failing):
            raise sqlite3.OperationalError("disk I/O error")
        return self._connection.execute(statement, *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def fails(store: SQLiteStore, statement: str) -> Faulty:
    store._connection = Faulty(store._connection, statement)  # type: ignore[assignment]
    return store._connection  # type: ignore[return-value]


def test_a_commit_that_fails(path: Path, store: SQLiteStore) -> None:
    """ATM-02: "only after the state that spent its key is durable": a failed commit raises, and is rolled back."""
    fault = fails(store, "COMMIT")
    with pytest.raises(StorageError, match="disk I/O error"), store.transaction() as transaction:
        transaction.put(Table.LOCAL, b"a", b"1", version=0)
    fault.failing = ("nothing",)
    assert read(store) == {}


def test_a_rollback_that_fails(store: SQLiteStore) -> None:
    """The error that ended the block is the one its caller sees, and the store refuses by name until it can go on."""
    fault = fails(store, "ROLLBACK")
    with pytest.raises(ZeroDivisionError), store.transaction() as transaction:
        transaction.put(Table.LOCAL, b"a", b"1", version=0)
        raise ZeroDivisionError
    with pytest.raises(StorageError):
        read(store)
    fault.failing = ("nothing",)
    with pytest.raises(StorageError):
        read(store)
    assert read(store) == {}


def test_an_interrupted_begin(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interruption between the begin and the block rolls back and gives the turn back."""
    connection = store._connection

    class Interrupted(Faulty):
        def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
            cursor = super().execute(statement, *values)
            if statement.startswith("BEGIN"):
                raise KeyboardInterrupt
            return cursor

    store._connection = Interrupted(connection, "nothing")  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt), store.transaction():
        pass
    store._connection = connection
    assert read(store) == {}


def test_a_checkpoint_that_fails(path: Path) -> None:
    """Closing releases the store even where the medium fails, says so once, and loses nothing."""
    store = SQLiteStore(path)
    with store.transaction() as transaction:
        transaction.put(Table.LOCAL, b"a", b"1", version=0)
    fails(store, "PRAGMA wal_checkpoint")
    with pytest.raises(StorageError, match="disk I/O error"):
        store.close()
    store.close()
    with closing(SQLiteStore(path)) as again:
        assert read(again) == {(Table.LOCAL, b"a"): Row(b"1", 1)}


def test_no_log_no_store(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system has no write-ahead logging the store is refused: it could not promise durability."""
    fill(path, rows=1)
    connect = module.connect

    class Unable(Faulty):
        def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
            if statement == "PRAGMA journal_mode = WAL":
                statement = "SELECT 'delete'"
            return super().execute(statement, *values)

    closed: list[Faulty] = []

    def unable(*arguments: Any) -> Any:
        closed.append(Unable(connect(*arguments), "nothing"))
        return closed[-1]

    monkeypatch.setattr(module, "connect", unable)
    with pytest.raises(StorageError, match="write-ahead"):
        SQLiteStore(path)
    with pytest.raises(sqlite3.ProgrammingError):
        closed[-1]._connection.execute("SELECT 1")


def test_errors_without_a_code() -> None:
    """Errors of Python's own layer carry no result code; they are StorageErrors like any other."""
    assert type(module.refusal(sqlite3.ProgrammingError("no code"))) is StorageError


def test_a_child_process_opens_its_own(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection carried over a fork corrupts the file (SQLite, "How To Corrupt", 2.6): the child is refused."""
    with monkeypatch.context() as patch:
        patch.setattr(module.os, "getpid", lambda: -1)
        with pytest.raises(StorageError, match="another process"), store.transaction():
            pass
        store.close()
    assert read(store) == {}


def test_where_folders_cannot_be_opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On such a system (Windows) a store is created without syncing its folder."""
    monkeypatch.delattr(module.os, "O_DIRECTORY")
    with closing(SQLiteStore(path)) as store:
        assert read(store) == {}


def test_without_the_right_to_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that the system does not let us open is a StorageError."""
    fill(path, rows=1)

    def unable(*_: object) -> None:
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr(module, "connect", unable)
    refuse(path, StorageError)


def test_opening_while_somebody_holds_the_file(path: Path) -> None:
    """A store that cannot be looked at now is busy, not corrupt."""
    fill(path, rows=1)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = delete")
        other.execute("BEGIN EXCLUSIVE")
        refuse(path, StoreBusy)


def test_deleted_secrets_leave_the_file(path: Path) -> None:
    """KEY-05: "After a checkpoint or close ... a deleted secret is not in the store's bytes"."""
    secret, kept = b"S" * 40, b"K" * 40
    store = SQLiteStore(path)
    with store.transaction() as transaction:
        for number in range(200):
            transaction.put(Table.SKIPPED_KEY, b"%d" % number, secret, version=0)
        transaction.put(Table.SESSION, b"a", secret * 200, version=0)
    with store.transaction() as transaction:
        for number in range(200):
            transaction.delete(Table.SKIPPED_KEY, b"%d" % number, version=1)
        transaction.put(Table.SESSION, b"a", kept, version=1)
    store.close()
    everything = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert kept in everything
    assert secret not in everything


def test_closing_empties_the_log_for_others_too(path: Path) -> None:
    """KEY-05: "After a checkpoint or close": the log is emptied although another connection keeps it open."""
    with closing(SQLiteStore(path)) as other:
        store = SQLiteStore(path)
        with store.transaction() as transaction:
            transaction.put(Table.LOCAL, b"a", b"1", version=0)
        log = Path(f"{path}-wal")
        assert log.stat().st_size > 0
        store.close()
        assert log.stat().st_size == 0
        assert read(other) == {(Table.LOCAL, b"a"): Row(b"1", 1)}


def test_an_oversized_value_is_not_even_read(path: Path) -> None:
    """PAR-03: "Size and field limits hold before allocation": the engine itself refuses to hand it out."""
    fill(path, rows=1)
    with closing(sqlite3.connect(path)) as editor:
        editor.execute("INSERT INTO session VALUES (x'00', zeroblob(1000000), 1)")
        editor.commit()
    with closing(SQLiteStore(path)) as store, pytest.raises(CorruptStore, match="too big"):
        read(store)
