"""The SQLite store's log: emptied after a stated number of commits, and what an uncertain commit is called."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pawl import Device, MemoryStore, ProtocolAddress, SQLiteStore
from pawl.errors import Conflict, OutcomeUnknown, StorageError
from pawl.storage import Row, Table
from pawl.storage.sqlite import CHECKPOINT_COMMITS
from tests.storage.test_sqlite import Faulty, fails


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pawl.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    with closing(SQLiteStore(path, busy_timeout=5)) as store:
        yield store


def count(store: SQLiteStore, times: int) -> None:
    for _ in range(times):
        with store.transaction() as transaction:
            row = transaction.get(Table.SESSION, b"n")
            version = 0 if row is None else row.version
            transaction.put(Table.SESSION, b"n", b"%d" % version, version=version)


def test_the_log_is_emptied_after_so_many_commits(path: Path, store: SQLiteStore) -> None:
    """KEY-05: "within a stated number of commits otherwise": 256, with another connection open, reads not counted."""
    log = Path(f"{path}-wal")
    with closing(SQLiteStore(path)):
        for _ in range(3):
            count(store, CHECKPOINT_COMMITS - 1)
            for _ in range(20):
                with store.transaction() as transaction:
                    transaction.get(Table.SESSION, b"n")
            assert log.stat().st_size > 0
            count(store, 1)
            assert log.stat().st_size == 0


def test_a_deleted_secret_is_gone_by_then(path: Path, store: SQLiteStore) -> None:
    """KEY-05: "a deleted secret is not in the store's bytes": neither in the database nor in the log."""
    secret = b"S" * 40
    with store.transaction() as transaction:
        transaction.put(Table.SKIPPED_KEY, b"a", secret, version=0)
    with store.transaction() as transaction:
        transaction.delete(Table.SKIPPED_KEY, b"a", version=1)
    files = (path, Path(f"{path}-wal"))
    # Control: until then it is in the log.
    assert any(secret in file.read_bytes() for file in files)
    count(store, CHECKPOINT_COMMITS - 2)
    assert not any(secret in file.read_bytes() for file in files)


def test_a_reader_in_the_way_delays_no_commit(path: Path, store: SQLiteStore) -> None:
    """While somebody reads, the log stays, and nobody waits for it; the first commit afterwards empties it."""
    log = Path(f"{path}-wal")
    count(store, 5)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM session").fetchall()
        # With a busy timeout of 5 s each attempt would take that long.
        count(store, CHECKPOINT_COMMITS + 10)
        assert log.stat().st_size > 0
        reader.execute("ROLLBACK")
    count(store, 1)
    assert log.stat().st_size == 0
    # The timeout is what it was.
    assert store._connection.execute("PRAGMA busy_timeout").fetchall() == [(5000,)]


def test_a_checkpoint_that_fails_is_no_failed_commit(path: Path, store: SQLiteStore) -> None:
    """ATM-02: it is durable by then; whoever is told otherwise would send twice."""
    fault = fails(store, "PRAGMA wal_checkpoint")
    count(store, CHECKPOINT_COMMITS + 2)
    fault.failing = ("nothing",)
    count(store, 1)
    assert Path(f"{path}-wal").stat().st_size == 0
    with store.transaction() as transaction:
        assert transaction.get(Table.SESSION, b"n") == Row(b"%d" % (CHECKPOINT_COMMITS + 2), CHECKPOINT_COMMITS + 3)


class Coded(Faulty):
    """Fails with one of the engine's own result codes."""

    code = sqlite3.SQLITE_IOERR

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        if statement.startswith(self.failing):
            error = sqlite3.OperationalError("failed")
            error.sqlite_errorcode = self.code
            raise error
        return self._connection.execute(statement, *values)


@pytest.mark.parametrize(
    ("code", "refusal"),
    [
        (sqlite3.SQLITE_IOERR, OutcomeUnknown),
        (sqlite3.SQLITE_IOERR | 4 << 8, OutcomeUnknown),
        (sqlite3.SQLITE_CORRUPT, OutcomeUnknown),
        (sqlite3.SQLITE_FULL, StorageError),
    ],
)
def test_a_commit_that_fails(store: SQLiteStore, code: int, refusal: type[StorageError]) -> None:
    """WRK-03: "one that may have committed ends as `OutcomeUnknown`": its pages may be in the log, not synced."""
    connection = store._connection
    faulty = Coded(connection, "COMMIT")
    faulty.code = code
    store._connection = faulty  # type: ignore[assignment]
    with pytest.raises(refusal) as caught:
        count(store, 1)
    assert type(caught.value) is refusal
    store._connection = connection
    count(store, 1)


def test_threads_send_and_read(tmp_path: Path) -> None:
    """CTR-01, CTR-03: devices that threads share: every counter once, every message once."""
    alice, bob = (Device(SQLiteStore(tmp_path / f"{name}.db", busy_timeout=60)) for name in ("alice", "bob"))
    to_bob, to_alice = ProtocolAddress("bob", 1), ProtocolAddress("alice", 1)
    alice.establish(to_bob, bob.prekey_bundle())
    bob.decrypt(to_alice, alice.encrypt(to_bob, b"first"))
    alice.decrypt(to_bob, bob.encrypt(to_alice, b"answer"))
    read: list[bytes] = []

    def talk(number: int) -> None:
        for each in range(25):
            read.append(bob.decrypt(to_alice, alice.encrypt(to_bob, b"%d.%d" % (number, each))))

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(read) == sorted(b"%d.%d" % (number, each) for number in range(4) for each in range(25))


def test_tasks_send_and_read(tmp_path: Path) -> None:
    """The same for tasks of one event loop, calling at once and through threads."""
    alice, bob = Device(SQLiteStore(tmp_path / "alice.db")), Device(MemoryStore())
    to_bob, to_alice = ProtocolAddress("bob", 1), ProtocolAddress("alice", 1)
    alice.establish(to_bob, bob.prekey_bundle())

    async def send(number: int) -> bytes:
        text = b"%d" % number
        if number % 2:
            return bob.decrypt(to_alice, await asyncio.to_thread(alice.encrypt, to_bob, text))
        await asyncio.sleep(0)
        return bob.decrypt(to_alice, alice.encrypt(to_bob, text))

    async def send_all() -> list[bytes]:
        return await asyncio.gather(*(send(number) for number in range(40)))

    assert asyncio.run(send_all()) == [b"%d" % number for number in range(40)]


def test_a_task_cannot_come_between_anothers_rows(tmp_path: Path) -> None:
    """ATM-05: a transaction that waits for something inside its block is not joined by another task of its thread."""
    device = Device(SQLiteStore(tmp_path / "alice.db"))

    async def hold(ready: asyncio.Event, done: asyncio.Event) -> None:
        with device.application_rows() as rows:
            rows.put(b"a", b"1")
            ready.set()
            await done.wait()

    async def both() -> None:
        ready, done = asyncio.Event(), asyncio.Event()
        holder = asyncio.create_task(hold(ready, done))
        await ready.wait()
        with pytest.raises(StorageError, match="this thread has a transaction open"):
            device.prekey_bundle()
        done.set()
        await holder
        device.prekey_bundle()

    asyncio.run(both())


def test_a_conflict_is_no_write(store: SQLiteStore) -> None:
    """A refused write does not count as one."""
    with pytest.raises(Conflict), store.transaction() as transaction:
        transaction.put(Table.SESSION, b"a", b"", version=7)
    assert store._commits == 0
