"""The SQLite store between processes: two writers, kills at any moment, creation by many at once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import IO, Any

import pytest

from pawl.storage import Row, SQLiteStore, Table

COUNT = """
import sys
from pawl.errors import StoreBusy
from pawl.storage import SQLiteStore, Table
store = SQLiteStore(sys.argv[1])
print("open", flush=True)
for line in sys.stdin:
    for _ in range(int(line)):
        with store.transaction() as transaction:
            row = transaction.get(Table.SESSION, b"n")
            value, version = (int(row.value), row.version) if row else (0, 0)
            transaction.put(Table.SESSION, b"n", b"%d" % (value + 1), version=version)
    print("done", flush=True)
store.close()
"""
"""Counts one row up as often as it is told."""

WRITE = """
import sys
from pawl.storage import SQLiteStore, Table
store = SQLiteStore(sys.argv[1])
number = int(sys.argv[2])
while True:
    number += 1
    with store.transaction() as transaction:
        row = transaction.get(Table.SESSION, b"n")
        transaction.put(Table.SESSION, b"n", b"%d" % number, version=row.version if row else 0)
        transaction.put(Table.SKIPPED_KEY, number.to_bytes(4, "big"), bytes(2000), version=0)
        if number % 7 == 0:
            for key, row in transaction.scan(Table.SKIPPED_KEY, b"", limit=5):
                transaction.delete(Table.SKIPPED_KEY, key, version=row.version)
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""
"""Writes two tables in each transaction, and says each number only after its commit."""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Any:
    """Start a program in an interpreter that sees the same packages; end it with the test."""
    running: list[subprocess.Popen[str]] = []

    def start(program: str, *arguments: object) -> subprocess.Popen[str]:
        running.append(
            subprocess.Popen(
                [sys.executable, "-c", program, *map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        )
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()


def pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def test_two_processes_lose_no_write(tmp_path: Path, start: Start) -> None:
    """ATM-04, CTR-02: "two processes sharing a store": both create it at once, and 2 x 300 counts are 600."""
    path = tmp_path / "pawl.db"
    processes = [start(COUNT, path) for _ in range(2)]
    for process in processes:
        assert pipe(process.stdout).readline() == "open\n"
    for process in processes:
        pipe(process.stdin).write("300\n")
        pipe(process.stdin).flush()
    for process in processes:
        assert pipe(process.stdout).readline() == "done\n"
        process.communicate()
        assert process.returncode == 0
    with closing(SQLiteStore(path)) as store, store.transaction() as transaction:
        assert transaction.get(Table.SESSION, b"n") == Row(b"600", 600)
    assert [file.name for file in tmp_path.iterdir()] == ["pawl.db"]


def test_a_killed_writer(tmp_path: Path, start: Start) -> None:
    """ATM-01: "exactly the state before or exactly the state after": 20 kills, nothing acknowledged is lost.

    Not covered: a loss of power, in which the operating system forgets what was written but not synced.
    """
    path, source, number = tmp_path / "pawl.db", random.Random(4), 0
    for _ in range(20):
        process = start(WRITE, path, number)
        lines = [pipe(process.stdout).readline() for _ in range(source.randrange(1, 40))]
        process.send_signal(signal.SIGKILL)
        lines += pipe(process.stdout).readlines()
        process.wait()
        acknowledged = int(next(line for line in reversed(lines) if line.endswith("\n")))
        with closing(SQLiteStore(path)) as store, store.transaction() as transaction:
            row = transaction.get(Table.SESSION, b"n")
            assert row is not None
            number = int(row.value)
            # One commit may outlive the call that made it.
            assert acknowledged <= number <= acknowledged + 1
            # Both tables are those of the same transaction.
            [*_, (newest, _)] = transaction.scan(Table.SKIPPED_KEY, b"")
            assert int.from_bytes(newest, "big") == number == row.version
            assert transaction.count(Table.SKIPPED_KEY, b"") == number - 5 * (number // 7)


def test_a_killed_creator(tmp_path: Path, start: Start) -> None:
    """A process killed while it makes a store leaves nothing there or a whole store: the next one opens it."""
    create = "import sys\nfrom pawl.storage import SQLiteStore\nprint(flush=True)\nSQLiteStore(sys.argv[1])"
    source = random.Random(5)
    for number in range(10):
        path = tmp_path / f"{number}.db"
        process = start(create, path)
        pipe(process.stdout).readline()
        time.sleep(source.uniform(0, 0.006))
        process.send_signal(signal.SIGKILL)
        process.wait()
        SQLiteStore(path).close()
    names = {file.name for file in tmp_path.iterdir() if not file.name.startswith(".pawl-")}
    assert names == {f"{number}.db" for number in range(10)}


def test_a_copy_of_a_live_store(tmp_path: Path) -> None:
    """A store copied with its log but without the log's index (a crashed machine's disk) has every commit."""
    copy = tmp_path / "copy.db"
    with closing(SQLiteStore(tmp_path / "pawl.db")) as store:
        with store.transaction() as transaction:
            transaction.put(Table.LOCAL, b"a", b"1", version=0)
        copy.write_bytes((tmp_path / "pawl.db").read_bytes())
        (tmp_path / "copy.db-wal").write_bytes((tmp_path / "pawl.db-wal").read_bytes())
    with closing(SQLiteStore(copy)) as store, store.transaction() as transaction:
        assert transaction.get(Table.LOCAL, b"a") == Row(b"1", 1)
