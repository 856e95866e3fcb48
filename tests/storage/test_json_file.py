"""What the JSON file store adds to the contract: its file, its lock, and what it refuses to open."""

# ruff: noqa: PT012 - what is tested is a whole transaction that ends with an exception.
from __future__ import annotations

import fcntl
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pawl import Device, MemoryStore
from pawl.errors import (
    Conflict,
    CorruptStore,
    InvalidArgument,
    OutcomeUnknown,
    StorageError,
    StoreBusy,
    UnsupportedSchema,
)
from pawl.storage import JSONFileStore, Row, Table, json_file
from tests.devices import ALICE, BOB


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pawl.json"


@pytest.fixture
def store(path: Path) -> Iterator[JSONFileStore]:
    with closing(JSONFileStore(path, busy_timeout=0.05)) as store:
        yield store


def test_its_id_is_that_of_its_file(path: Path, store: JSONFileStore) -> None:
    """16 bytes, the same for everybody who opens the file."""
    with closing(JSONFileStore(path)) as again:
        assert again.store_id == store.store_id
        assert len(again.store_id) == 16


def put(store: JSONFileStore, key: bytes, value: bytes = b"value", version: int = 0) -> None:
    with store.transaction() as transaction:
        transaction.put(Table.SESSION, key, value, version=version)


def get(store: JSONFileStore, key: bytes) -> Row | None:
    with store.transaction() as transaction:
        return transaction.get(Table.SESSION, key)


def refuse(path: Path, refusal: type[StorageError]) -> None:
    """Opening is refused by exactly this name, and no byte changes."""
    before = path.read_bytes()
    with pytest.raises(refusal) as caught:
        JSONFileStore(path, busy_timeout=0.05)
    assert type(caught.value) is refusal
    assert path.read_bytes() == before


def test_a_new_path_creates(path: Path, store: JSONFileStore) -> None:
    """A store is created where nothing is, for its owner only, also under a loose umask; nothing else is left."""
    put(store, b"a")
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {file.name for file in path.parent.iterdir()} == {"pawl.json", "pawl.json.lock"}


def test_the_file_is_json(path: Path, store: JSONFileStore) -> None:
    """docs/reference/stored-records.md: what is in the file, read by a parser that knows nothing of it."""
    put(store, b"a")
    document = json.loads(path.read_bytes())
    assert (document["format"], document["schema"]) == ("pawl store", 2)
    assert list(document["store"]["rows"]) == ["session"]
    [(key, (version, sealed))] = document["store"]["rows"]["session"].items()
    assert (key, version, len(sealed)) == ("YQ==", 1, 32)


def test_a_conversation_over_two_openings(path: Path) -> None:
    alice = Device(MemoryStore())
    with closing(JSONFileStore(path)) as store:
        alice.establish(BOB, Device(store).prekey_bundle())
        assert Device(store).decrypt(ALICE, alice.encrypt(BOB, b"one")) == b"one"
    with closing(JSONFileStore(path)) as store:
        assert Device(store).decrypt(ALICE, alice.encrypt(BOB, b"two")) == b"two"


def test_a_reader_writes_nothing(path: Path, store: JSONFileStore) -> None:
    put(store, b"a")
    inode = path.stat().st_ino
    assert get(store, b"a") == Row(b"value", 1)
    with pytest.raises(ZeroDivisionError), store.transaction() as transaction:
        transaction.put(Table.SESSION, b"b", b"", version=0)
        raise ZeroDivisionError
    assert path.stat().st_ino == inode


def test_deleted_secrets_leave_the_file(path: Path, store: JSONFileStore) -> None:
    """KEY-05: "a deleted secret is not in the store's bytes": after each commit. Not covered: the blocks of old files."""
    put(store, b"a", b"S" * 60)
    with store.transaction() as transaction:
        transaction.delete(Table.SESSION, b"a", version=1)
    assert json.loads(path.read_bytes())["store"]["rows"] == {}
    assert len(list(path.parent.iterdir())) == 2


# -- damage ------------------------------------------------------------------------------------------------------------


def test_any_flipped_byte_is_refused(path: Path, store: JSONFileStore) -> None:
    """ATM-06: "shows to be corrupt is refused with a typed error": every byte of the file."""
    put(store, b"a")
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        refuse(path, CorruptStore)


def test_any_cut_is_refused(path: Path, store: JSONFileStore) -> None:
    """ATM-06: an empty file is not a new store, and half a file is none."""
    put(store, b"a")
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        refuse(path, CorruptStore)
    path.write_bytes(whole + b"\n")
    refuse(path, CorruptStore)


def test_a_lost_file_is_not_a_new_store(path: Path, store: JSONFileStore) -> None:
    """ATM-06: "never silently treated as empty": the lock beside it knows that there was one."""
    put(store, b"a")
    path.unlink()
    with pytest.raises(CorruptStore, match="gone"):
        JSONFileStore(path)
    with pytest.raises(CorruptStore, match="gone"):
        get(store, b"a")
    assert not path.exists()


def test_a_store_in_anothers_place(path: Path, store: JSONFileStore, tmp_path: Path) -> None:
    """ATM-08: another store's file that takes this one's name is not read on as this one."""
    put(store, b"a")
    with closing(JSONFileStore(tmp_path / "other.json")) as other:
        put(other, b"b")
    path.write_bytes((tmp_path / "other.json").read_bytes())
    with pytest.raises(CorruptStore, match="another store"):
        get(store, b"a")


def test_a_newer_layout_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ATM-07: "or refused by name"."""
    with monkeypatch.context() as later:
        later.setattr(json_file, "JSON_SCHEMA", 3)
        JSONFileStore(path).close()
    refuse(path, UnsupportedSchema)


def test_an_earlier_layout_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ATM-07: "a record written by any released schema version is read correctly": layout 1, and it goes on as 2."""
    with monkeypatch.context() as earlier:
        earlier.setattr(json_file, "JSON_SCHEMA", 1)
        with closing(JSONFileStore(path)) as store:
            put(store, b"a")
    assert path.read_bytes().startswith(b'{"format":"pawl store","schema":1,')
    with closing(JSONFileStore(path)) as store:
        assert get(store, b"a") is not None
        put(store, b"b")
        assert get(store, b"a") is not None
    assert path.read_bytes().startswith(b'{"format":"pawl store","schema":2,')


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"id":"AAAAAAAAAAAAAAAAAAAAAA==","rows":[]}',
        b'{"id":"AA==","rows":{}}',
        b'{"id":7,"rows":{}}',
        b'{"id":"AAAAAAAAAAAAAAAAAAAAAA==","rows":{"notes":{}}}',
        b'{"id":"AAAAAAAAAAAAAAAAAAAAAA==","rows":{"session":{"YQ==":[1]}}}',
        b'{"id":"AAAAAAAAAAAAAAAAAAAAAA==","rows":{"session":{"YQ==":[0,"YQ=="]}}}',
        b'{"id":"AAAAAAAAAAAAAAAAAAAAAA==","rows":{"session":{"YQ==":["1","YQ=="]}}}',
        b'{"id":"AAAAAAAAAAAAAAAAAAAAAA==","rows":{"session":{"Y!==":[1,"YQ=="]}}}',
        b'{"id":"AAAAAAAAAAAAAAAAAAAAAA==","rows":{"session":{"YQ==":[1,null]}}}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_what_no_store_writes(path: Path, body: bytes) -> None:
    """PAR-05: "parsed as strictly as wire messages": a right checksum over anything else."""
    head = b'{"format":"pawl store","schema":1,"checksum":"%b","store":' % json_file._checksum(1, body)
    path.write_bytes(head + body + b"}\n")
    refuse(path, CorruptStore)


def test_a_file_over_the_limit(path: Path, store: JSONFileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """PAR-03: "before allocation": neither written nor read."""
    put(store, b"a")
    monkeypatch.setattr(json_file, "MAX_JSON_BYTES", 1000)
    with pytest.raises(StorageError, match="SQLite"):
        put(store, b"b", bytes(1000))
    assert get(store, b"b") is None
    put(store, b"b", b"small")
    monkeypatch.setattr(json_file, "MAX_JSON_BYTES", 100)
    refuse(path, CorruptStore)


def test_nothing_but_a_regular_file(tmp_path: Path, path: Path) -> None:
    (tmp_path / "folder").mkdir()
    path.symlink_to(tmp_path / "elsewhere.json")
    for name in ("folder", "pawl.json", "missing/pawl.json"):
        with pytest.raises(StorageError):
            JSONFileStore(tmp_path / name)
    for wrong in ("", "a\0b", b"bytes", None, 7):
        with pytest.raises(InvalidArgument):
            JSONFileStore(wrong)  # type: ignore[arg-type]
    assert not (tmp_path / "elsewhere.json").exists()


# -- failures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(
    path: Path, store: JSONFileStore, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """ATM-01: "exactly the state before": in the file and in memory, and no draft stays."""
    put(store, b"a")
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(json_file.os, call, fail)
        with pytest.raises(StorageError, match="No space") as refusal:
            put(store, b"a", b"new", version=1)
        assert type(refusal.value) is StorageError
    assert path.read_bytes() == before
    assert get(store, b"a") == Row(b"value", 1)
    assert len(list(path.parent.iterdir())) == 2
    put(store, b"a", b"new", version=1)


def test_a_folder_that_cannot_be_synced(path: Path, store: JSONFileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """ATM-02: the new file is in its place, but a loss of power may bring the old one back: the outcome is unknown."""

    def fail(_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(json_file, "sync_folder", fail)
        with pytest.raises(OutcomeUnknown):
            put(store, b"a")
    assert get(store, b"a") == Row(b"value", 1)


def test_an_interrupt_after_the_new_file_took_its_place(
    path: Path, store: JSONFileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CTR-02: memory is never behind the file: what is there is read again."""

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    put(store, b"a")
    with monkeypatch.context() as patch:
        patch.setattr(json_file, "sync_folder", interrupt)
        with pytest.raises(KeyboardInterrupt):
            put(store, b"a", b"new", version=1)
    with closing(JSONFileStore(path)) as fresh:
        assert get(store, b"a") == get(fresh, b"a") == Row(b"new", 2)
        with monkeypatch.context() as patch:
            patch.setattr(json_file, "sync_folder", interrupt)
            with pytest.raises(KeyboardInterrupt):
                put(store, b"a", b"newer", version=2)
    # And it is still known which store it was.
    with closing(JSONFileStore(path.with_name("other.json"))):
        path.with_name("other.json").replace(path)
    with pytest.raises(CorruptStore, match="another store"):
        get(store, b"a")


def test_a_child_that_lives_on_keeps_no_lock(path: Path, store: JSONFileStore) -> None:
    """A process that is forked in the middle of a transaction shares the lock's file: the end still lets go."""
    reading, writing = os.pipe()
    with store.transaction() as transaction:
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)
            os._exit(0)
        transaction.put(Table.SESSION, b"a", b"value", version=0)
    try:
        with closing(JSONFileStore(path, busy_timeout=0)) as other:
            assert get(other, b"a") == Row(b"value", 1)
    finally:
        os.close(writing)
        os.waitpid(child, 0)
        os.close(reading)


def test_a_child_of_a_transaction_leaves_the_lock_alone(path: Path, store: JSONFileStore) -> None:
    """A child that leaves the block neither writes nor lets go of what is its parent's."""
    block = store.transaction()
    with block as transaction:
        transaction.put(Table.SESSION, b"a", b"value", version=0)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                transaction.put(Table.SESSION, b"b", b"child", version=0)
                block.__exit__(None, None, None)
            except StorageError:
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        with pytest.raises(StoreBusy):
            JSONFileStore(path, busy_timeout=0)
    assert (get(store, b"a"), get(store, b"b")) == (Row(b"value", 1), None)


def test_a_lock_that_was_taken_away(path: Path, store: JSONFileStore) -> None:
    """ATM-04: who deletes the lock's file lets a second writer in: the first is told, and no write is lost."""
    put(store, b"a")
    with closing(JSONFileStore(path, busy_timeout=0)) as other:
        with pytest.raises(Conflict), store.transaction() as transaction:
            transaction.put(Table.SESSION, b"a", b"ours", version=1)
            Path(f"{path}.lock").unlink()
            put(other, b"a", b"theirs", version=1)
        assert get(store, b"a") == get(other, b"a") == Row(b"theirs", 2)


def test_a_lock_that_is_replaced_while_one_waits(
    path: Path, store: JSONFileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock on a file that has no name any more keeps nobody out: the one that has it is taken instead."""
    real, calls = fcntl.flock, 0

    def replaced(handle: int, operation: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            Path(f"{path}.lock").unlink()
        real(handle, operation)

    monkeypatch.setattr(fcntl, "flock", replaced)
    with store.transaction() as transaction:
        transaction.put(Table.SESSION, b"a", b"", version=0)
        with pytest.raises(StoreBusy):
            JSONFileStore(path, busy_timeout=0)


def test_a_child_process_opens_its_own(store: JSONFileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(json_file.os, "getpid", lambda: -1)
        with pytest.raises(StorageError, match="another process"):
            put(store, b"a")
    put(store, b"a")


def test_where_there_are_no_locks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.raises(StorageError, match="no locks"):
        JSONFileStore(path)


# -- processes ---------------------------------------------------------------------------------------------------------

COUNT = """
import sys
from pawl.storage import JSONFileStore, Table
store = JSONFileStore(sys.argv[1], busy_timeout=60)
for _ in range(int(sys.argv[2])):
    with store.transaction() as transaction:
        row = transaction.get(Table.SESSION, b"n")
        value, version = (int(row.value), row.version) if row else (0, 0)
        transaction.put(Table.SESSION, b"n", b"%d" % (value + 1), version=version)
"""

KILLED = """
import os, sys
from pawl.storage import JSONFileStore, Table, json_file
store = JSONFileStore(sys.argv[1])
def die(*_):
    os._exit(9)
setattr(json_file.os, sys.argv[2], die)
with store.transaction() as transaction:
    transaction.put(Table.SESSION, b"n", b"new", version=1)
"""


def start(program: str, *arguments: Any) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)], env=environment)


def test_two_processes_lose_no_write(path: Path) -> None:
    """ATM-04, CTR-02: "two processes sharing a store": both create it at once; 2 x 100 counts are 200."""
    processes = [start(COUNT, path, 100) for _ in range(2)]
    assert [process.wait(120) for process in processes] == [0, 0]
    with closing(JSONFileStore(path)) as store:
        assert get(store, b"n") == Row(b"200", 200)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_killed_writer(path: Path, call: str) -> None:
    """ATM-01: a process that dies before the new file took the old one's place leaves the old one, and no lock."""
    with closing(JSONFileStore(path)) as store:
        put(store, b"n")
    assert start(KILLED, path, call).wait(60) == 9
    with closing(JSONFileStore(path, busy_timeout=0)) as store:
        # All keys are in a draft: none is left behind.
        assert {file.name for file in path.parent.iterdir()} == {"pawl.json", "pawl.json.lock"}
        assert get(store, b"n") == Row(b"value", 1)
        put(store, b"n", b"new", version=1)


def test_another_process_waits_and_is_then_told(path: Path, store: JSONFileStore) -> None:
    with closing(JSONFileStore(path, busy_timeout=0.05)) as other:
        with store.transaction() as transaction:
            transaction.put(Table.SESSION, b"a", b"1", version=0)
            with pytest.raises(StoreBusy):
                get(other, b"a")
        assert get(other, b"a") == Row(b"1", 1)
        put(other, b"a", b"2", version=1)
        assert get(store, b"a") == Row(b"2", 2)


@pytest.mark.parametrize(
    "change",
    [
        # Of two members of one name, Python's parser drops the first: a row would be gone, and nobody told.
        lambda body: body.replace(b'"rows":{', b'"rows":{},"rows":{'),
        lambda body: body.replace(b'"identity":{', b'"identity":{},"identity":{'),
        lambda body: body.replace(b",", b", "),
        lambda body: body.replace(b'{"id"', b'{"more":1,"id"'),
        # The last bits of a Base64 text belong to no byte.
        lambda body: body.replace(b'"AAECAwQFBgcICQoLDA0ODw=="', b'"AAECAwQFBgcICQoLDA0ODx=="'),
    ],
)
def test_one_store_has_one_spelling(change: Callable[[bytes], bytes]) -> None:
    """PAR-05: with a right checksum over it, what is not as it was written is refused. Found by fuzz/json_store.py."""
    memory = MemoryStore(records={}, store_id=bytes(range(16)))
    with memory.transaction() as tx:
        tx.put(Table.IDENTITY, b"alice", b"value", version=0)
    whole = json_file.write_json(memory.store_id, memory.records_inside())
    body = whole.split(b'"store":', 1)[1][:-2]

    def file(of: bytes) -> bytes:
        head = b'{"format":"pawl store","schema":2,"checksum":"%b","store":' % json_file._checksum(2, of)
        return head + of + b"}\n"

    assert json_file.read_json(file(body))[0] == memory.store_id
    assert change(body) != body
    with pytest.raises(CorruptStore):
        json_file.read_json(file(change(body)))
