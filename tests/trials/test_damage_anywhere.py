"""Flipped bits and lost ends anywhere in the files of a store, in short; and what the protocol does after a rollback."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from pawl import Device, JSONFileStore, MemoryStore, ProtocolAddress, SQLiteStore
from pawl.errors import CorruptRecord, CorruptStore, DuplicateMessage, ProtocolError
from pawl.storage import Table
from pawl_gate.trials import damage
from pawl_gate.trials.controls import DAMAGE


def quiet(line: str) -> None:
    """No progress."""


@pytest.mark.parametrize("store", damage.STORES)
def test_damage(store: str, tmp_path: Path) -> None:
    """ATM-06: "never silently treated as empty and never overwritten": the true value or a refusal by name."""
    report = damage.run(store, 150, 4, quiet, tmp_path)
    assert report.broken == []
    assert report.counted["records missed without a word"] == 0
    assert report.checked["ATM-06"] >= 170
    assert report.counted["records"] > 80
    if store == "sqlite":
        assert report.counted["commits that one bit took, at most"] > 10


RARE = "damaged-keys-not-missed"
"""One flip in three hundred shows it: it has a test of its own, which flips keys alone."""


@pytest.mark.parametrize("name", [name for name in DAMAGE if name != RARE])
def test_a_broken_store_is_caught(name: str, tmp_path: Path) -> None:
    """Control: each fault is seen, by the invariant that names it."""
    control = DAMAGE[name]
    found: set[str] = set()
    for seed in range(8):
        (tmp_path / str(seed)).mkdir()
        report = damage.run(control.kind, 80, seed, quiet, tmp_path / str(seed), control=name, log=False)
        found |= {each.invariant for each in report.broken}
        if found:
            break
    assert found & set(control.breaks)


KEYS = [b"peer\x01" + bytes([40 * number]) * 8 for number in range(6)]


def damaged_keys(path: Path) -> set[object]:
    """What is found under a key when a bit of it is flipped in the file, for each bit."""
    with closing(SQLiteStore(path)) as store, store.transaction() as tx:
        for key in KEYS:
            tx.put(Table.SESSION, key, b"a session", version=0)
    data, key = path.read_bytes(), KEYS[3]
    start = data.index(key)
    seen: set[object] = set()
    for at in range(start, start + len(key)):
        for bit in range(8):
            path.write_bytes(damage.flipped(data, at, bit))
            try:
                with closing(SQLiteStore(path)) as store, store.transaction() as tx:
                    seen.add(tx.get(Table.SESSION, key))
            except ProtocolError as error:
                seen.add(type(error))
    return seen


def test_a_damaged_key_is_not_missed(tmp_path: Path) -> None:
    """ATM-06: each bit of a record's key: "a record is damaged", or the store is; never "there is none"."""
    # Where the order of keys still holds the record says so, elsewhere the store.
    assert damaged_keys(tmp_path / "pawl.db") == {CorruptRecord, CorruptStore}


def test_a_store_that_misses_it_is_caught(tmp_path: Path) -> None:
    """Control: without a look at the neighbours the record is said not to be there."""
    with DAMAGE[RARE].variant.patched():
        assert None in damaged_keys(tmp_path / "pawl.db")


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    """Control: beside whole records, and beside one whose value is damaged, a missing key is missing."""
    path = tmp_path / "pawl.db"
    with closing(SQLiteStore(path)) as store, store.transaction() as tx:
        for key in KEYS:
            tx.put(Table.SESSION, key, b"a session", version=0)
    data = path.read_bytes()
    path.write_bytes(damage.flipped(data, data.index(KEYS[3]) + len(KEYS[3]), 0))
    with closing(SQLiteStore(path)) as store, store.transaction() as tx:
        for key in KEYS:
            assert tx.get(Table.SESSION, key + b"x") is None
            assert tx.get(Table.SESSION, key[:-1]) is None
    assert path.read_bytes() != data


@pytest.mark.parametrize("store", damage.STORES)
def test_each_length_of_a_small_file(store: str, tmp_path: Path) -> None:
    """ATM-06: a file that lost its end is refused, however much is left of it."""
    path = tmp_path / damage.FILE[store]
    opened = SQLiteStore if store == "sqlite" else JSONFileStore
    with closing(opened(path)) as made:
        Device(made)
    data = path.read_bytes()
    for size in {*range(0, len(data), max(len(data) // 150, 1)), *range(0, len(data), 4096)} - {len(data)}:
        path.write_bytes(data[:size])
        with pytest.raises(CorruptStore):
            opened(path)
        assert path.read_bytes() == data[:size]


# -- a damaged log -----------------------------------------------------------------------------------------------------

ALICE, BOB = ProtocolAddress("alice", 1), ProtocolAddress("bob", 1)


def test_a_rolled_back_device_is_heard_again(tmp_path: Path) -> None:
    """What a damaged log means: the last commits are gone without a word, counters are used again; the peer refuses
    those messages by name, both establish anew and go on.
    """
    path, copy = tmp_path / "alice.db", tmp_path / "copy"
    copy.mkdir()
    bob = Device(MemoryStore())
    store = SQLiteStore(path)
    alice = Device(store)
    alice.establish(BOB, bob.prekey_bundle())
    bob.decrypt(ALICE, alice.encrypt(BOB, b"first"))
    alice.decrypt(BOB, bob.encrypt(ALICE, b"answer"))
    before = Path(f"{path}-wal").stat().st_size
    read = [bob.decrypt(ALICE, alice.encrypt(BOB, b"message %d" % number)) for number in range(5)]
    assert len(read) == 5
    # The machine stops here, and its disk spoils the log where those five are.
    log = Path(f"{path}-wal").read_bytes()
    (copy / "alice.db").write_bytes(path.read_bytes())
    (copy / "alice.db-wal").write_bytes(damage.flipped(log, before + 100, 3))
    store.close()

    with closing(SQLiteStore(copy / "alice.db")) as restored:
        # Nothing says so.
        alice = Device(restored)
        assert alice.has_session(BOB)
        for number in range(5):
            with pytest.raises(DuplicateMessage):
                bob.decrypt(ALICE, alice.encrypt(BOB, b"again %d" % number))
        # Had there been more of them, the sixth would be a message like any other: the chain is the same one.
        assert bob.decrypt(ALICE, alice.encrypt(BOB, b"sixth")) == b"sixth"
        # Who was refused establishes anew, as the documentation says for a restored copy.
        alice.forget_session(BOB)
        alice.establish(BOB, bob.prekey_bundle())
        assert bob.decrypt(ALICE, alice.encrypt(BOB, b"anew")) == b"anew"
        assert alice.decrypt(BOB, bob.encrypt(ALICE, b"welcome")) == b"welcome"


def test_a_damaged_log_gives_an_earlier_state(tmp_path: Path) -> None:
    """Each position of the log: all commits before the damaged one are there, none after it."""
    path = tmp_path / "pawl.db"
    store, sizes = SQLiteStore(path), []
    for number in range(6):
        with store.transaction() as tx:
            tx.put(Table.SESSION, b"n", b"%d" % number, version=number)
        sizes.append(Path(f"{path}-wal").stat().st_size)
    files = {name: Path(f"{path}{name}").read_bytes() for name in ("", "-wal")}
    store.close()
    for at in range(32, sizes[-1], 491):
        place = tmp_path / str(at)
        place.mkdir()
        (place / "pawl.db").write_bytes(files[""])
        (place / "pawl.db-wal").write_bytes(damage.flipped(files["-wal"], at, at % 8))
        with closing(SQLiteStore(place / "pawl.db")) as damaged, damaged.transaction() as tx:
            row = tx.get(Table.SESSION, b"n")
        whole = sum(1 for size in sizes if size <= at)
        assert (0 if row is None else row.version) == whole


def test_a_refusal_is_a_refusal() -> None:
    """What these tests take for one is of the library's tree."""
    assert issubclass(CorruptRecord, CorruptStore)
    assert issubclass(CorruptStore, ProtocolError)
