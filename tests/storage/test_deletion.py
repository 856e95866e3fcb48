"""What stays in a store's bytes: no secret that was deleted (KEY-05).

Searched are all files in the store's folder, as another process reads them. Not covered: what a file system, a medium
or a backup keeps of files as they were.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from pawl import Device, EncryptedMessage, JSONFileStore, MemoryStore, ProtocolError, SQLiteStore
from pawl.storage import Store, Table
from pawl.storage.sqlite import CHECKPOINT_COMMITS
from pawl_gate.targets.deletion import Noting, copy_of, forms, pieces
from pawl_gate.targets.observed import ObservedStore
from pawl_gate.trials.postgres_server import Server
from tests.devices import ALICE, BOB


def among(folder: Path, secrets: set[bytes]) -> set[bytes]:
    """Those of which a piece stands in the files of a folder."""
    files = [(file.name, file.read_bytes()) for file in sorted(folder.iterdir())]
    return {
        secret
        for secret in secrets
        if any(form in data for name, data in files for piece in pieces(secret) for form in forms(piece, name))
    }


@pytest.mark.parametrize("most", [10, 300, 900])
@pytest.mark.parametrize("seed", range(2))
def test_rows_that_moved(tmp_path: Path, most: int, seed: int) -> None:
    """KEY-05: the engine moves rows from page to page as tables grow and shrink, and leaves their bytes behind there."""
    source = random.Random(seed)
    store = SQLiteStore(tmp_path / "pawl.db")
    live: dict[bytes, tuple[bytes, int]] = {}
    gone: set[bytes] = set()
    for _ in range(60):
        with store.transaction() as tx:
            for _ in range(source.randint(1, 30)):
                key = source.choice(list(live)) if len(live) > 300 or (live and source.random() < 0.6) else b""
                secret = source.randbytes(32)
                value = bytes(source.randint(0, most)) + secret + bytes(source.randint(0, most))
                if not key:
                    key = source.randbytes(source.randint(4, 90))
                    tx.put(Table.SESSION, key, value, version=0)
                    live[key] = secret, 1
                    continue
                old, version = live.pop(key)
                gone.add(old)
                if source.random() < 0.6:
                    live[key] = secret, tx.put(Table.SESSION, key, value, version=version)
                else:
                    tx.delete(Table.SESSION, key, version=version)
    store.close()
    there = {secret for secret, _ in live.values()}
    # Control: the search sees what is there.
    assert among(tmp_path, there) == there
    assert among(tmp_path, gone) == set()
    # What moved left nothing behind, which would stay where it is when the row is deleted.
    everything = (tmp_path / "pawl.db").read_bytes()
    assert {piece for secret in there for piece in pieces(secret) if everything.count(piece) > 1} == set()


# -- a real conversation ------------------------------------------------------------------------------------------------


def talk(device: Device, peer: Device, messages: int, source: random.Random) -> None:
    """Both send, much comes late, and some is never read."""
    late: list[EncryptedMessage] = []
    for number in range(messages):
        if source.random() < 0.3:
            peer.decrypt(ALICE, device.encrypt(BOB, b"%d" % number))
            continue
        message = peer.encrypt(ALICE, b"%d" % number)
        if source.random() < 0.3:
            late.append(message)
        else:
            device.decrypt(BOB, message)
        if late and source.random() < 0.2:
            # One whose chain is no longer kept is refused.
            with suppress(ProtocolError):
                device.decrypt(BOB, late.pop(source.randrange(len(late))))


def secrets(seen: ObservedStore, store: Store) -> tuple[set[bytes], set[bytes]]:
    """Those that were in rows, and those that still are."""
    rows = copy_of(store)
    assert rows is not None
    there = set(ObservedStore(rows).ever)
    return set(seen.ever) - there, there


def begin(store: Store, seed: int) -> tuple[ObservedStore, Device, Device, random.Random]:
    seen = ObservedStore(MemoryStore())
    device, peer = Device(Noting(store, seen)), Device(MemoryStore())
    device.generate_prekeys(20)
    peer.establish(ALICE, device.prekey_bundle())
    device.decrypt(BOB, peer.encrypt(ALICE, b"first"))
    return seen, device, peer, random.Random(seed)


@pytest.mark.parametrize("kind", ["pawl.db", "pawl.json"])
def test_a_long_conversation(tmp_path: Path, kind: str) -> None:
    """KEY-05: "within a stated number of commits", and "after a checkpoint or close"; in a JSON file at once."""
    path = tmp_path / kind
    store = JSONFileStore(path) if kind == "pawl.json" else SQLiteStore(path)
    seen, device, peer, source = begin(store, 1)
    for _ in range(2):
        talk(device, peer, 60, source)
        gone, there = secrets(seen, store)
        assert len(gone) > 50
        if kind == "pawl.db":
            # Control: until then they are in the log.
            assert among_from_outside(tmp_path, gone)
            device.maintain()
            for number in range(CHECKPOINT_COMMITS):
                with device.application_rows() as rows:
                    rows.put(b"later", b"%d" % number)
        assert among_from_outside(tmp_path, there) == there
        assert among_from_outside(tmp_path, gone) == set()
    device.forget_session(BOB)
    gone, there = secrets(seen, store)
    store.close()
    assert among_from_outside(tmp_path, there) == there
    assert among_from_outside(tmp_path, gone) == set()


KILLED = """
import os, random, signal, sys
from pawl import SQLiteStore
from tests.storage.test_deletion import begin, secrets, talk
store = SQLiteStore(sys.argv[1])
seen, device, peer, source = begin(store, 2)
talk(device, peer, 100, source)
gone, there = secrets(seen, store)
print(*(secret.hex() for secret in gone), flush=True)
print(*(secret.hex() for secret in there), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process(tmp_path: Path) -> None:
    """KEY-05: the log that it left counts: the next process empties it with its first commit."""
    path = tmp_path / "store" / "pawl.db"
    path.parent.mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED, str(path)]
    ended = subprocess.run(command, env=environment, capture_output=True, check=False, text=True)
    assert ended.returncode == -signal.SIGKILL
    gone, there = ({bytes.fromhex(each) for each in line.split()} for line in ended.stdout.splitlines())
    # Control: they are in the log.
    assert among(path.parent, gone)
    store = SQLiteStore(path)
    Device(store).prekey_bundle()
    assert among_from_outside(path.parent, there) == there
    assert among_from_outside(path.parent, gone) == set()
    store.close()


OUTSIDE = """
import sys
from contextlib import suppress
from pathlib import Path
from tests.storage.test_deletion import among
print(*(each.hex() for each in among(Path(sys.argv[1]), {bytes.fromhex(line) for line in sys.stdin.read().split()})))
"""


def among_from_outside(folder: Path, wanted: set[bytes]) -> set[bytes]:
    """`among`, as another process sees the files: to close one here would drop the engine's own locks on it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.run(
        [sys.executable, "-c", OUTSIDE, str(folder)],
        env=environment,
        input="\n".join(each.hex() for each in wanted),
        capture_output=True,
        check=True,
        text=True,
    )
    return {bytes.fromhex(each) for each in found.stdout.split()}


def test_a_server_keeps_what_was_deleted(postgres_server: Server) -> None:
    """KEY-05 is not promised of PostgreSQL: a plain VACUUM leaves bytes, VACUUM FULL writes the table anew."""
    import psycopg

    from pawl.storage.postgres import PostgresStore

    source = random.Random(1)
    gone = {source.randbytes(32) for _ in range(40)}
    store = PostgresStore(postgres_server.conninfo, name="deletion")
    with store.transaction() as tx:
        for number, secret in enumerate(sorted(gone)):
            tx.put(Table.SESSION, b"%d" % number, bytes(200) + secret, version=0)
    with store.transaction() as tx:
        for number in range(len(gone)):
            tx.delete(Table.SESSION, b"%d" % number, version=1)
    store.close()

    def left() -> int:
        table = b"".join(file.read_bytes() for file in Path(postgres_server.data, "base").glob("*/*"))
        return sum(secret in table for secret in gone)

    with psycopg.connect(postgres_server.conninfo, autocommit=True) as connection:
        connection.execute("CHECKPOINT")
        # Control: as long as no other row needs the room.
        assert left() > 0
        connection.execute("VACUUM FULL deletion.rows")
        connection.execute("CHECKPOINT")
        assert left() == 0
