"""What a store makes of records that were not written where and as they are read: ATM-06 and ATM-08, of every store."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pawl.errors import CorruptRecord, ProtocolError, StorageError, UnsupportedSchema
from pawl.storage import Row, Store, Table, seal
from tests.storage.media import MEDIA, Medium, Records

KEY, OTHER = b"peer\x01base key", b"another key"
PLACE, NEIGHBOUR = (Table.SESSION, KEY), (Table.SESSION, OTHER)


def filled(medium: Medium, value: bytes = b"the state of a session") -> Records:
    """A store with one record at version 3 and one at version 1; what is in its place afterwards."""
    with closing(medium.open()) as store:
        for version in range(3):
            with store.transaction() as transaction:
                transaction.put(Table.SESSION, KEY, value + b"%d" % version, version=version)
        with store.transaction() as transaction:
            transaction.put(Table.SESSION, OTHER, value, version=0)
        medium.keep(store)
    return medium.load()


def refused(medium: Medium, refusal: type[StorageError], records: Records) -> None:
    """Reading `KEY` is refused by name in every way, its neighbour is read, and nothing in the place changes."""
    medium.save(records)
    before = medium.load()
    reads: list[Callable[[Store], object]] = [lambda store: read(store, KEY), scan]
    with closing(medium.open()) as store:
        for attempt in (*reads, *reads):
            with pytest.raises(refusal) as caught:
                attempt(store)
            assert type(caught.value) is refusal
            # It is there, and stays.
            with store.transaction() as transaction:
                assert transaction.count(Table.SESSION, KEY) == 1
        if NEIGHBOUR in records:
            assert read(store, OTHER) == Row(b"the state of a session", 1)
        # Whoever takes it for a new row is told.
        with pytest.raises(StorageError), store.transaction() as transaction:
            transaction.put(Table.SESSION, KEY, b"new", version=0)
        medium.keep(store)
    assert medium.load() == before


def read(store: Store, key: bytes) -> Row | None:
    with store.transaction() as transaction:
        return transaction.get(Table.SESSION, key)


def scan(store: Store) -> object:
    with store.transaction() as transaction:
        return transaction.scan(Table.SESSION, KEY[:4])


def test_what_was_written_is_read(medium: Medium) -> None:
    """Control: without a hand from outside the records are read, in a store that was closed and opened again."""
    records = filled(medium)
    assert len(records) == 2
    medium.save(records)
    with closing(medium.open()) as store:
        assert read(store, KEY) == Row(b"the state of a session2", 3)
        assert read(store, OTHER) == Row(b"the state of a session", 1)


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit(medium: Medium, bit: int) -> None:
    """ATM-08: "a record's checksum": each bit of each byte, of the value and of its seal."""
    records = filled(medium, b"short")
    whole = records[PLACE]
    for place in range(len(whole.value)):
        damaged = bytearray(whole.value)
        damaged[place] ^= 1 << bit
        medium.save({**records, PLACE: Row(bytes(damaged), whole.version)})
        with closing(medium.open()) as store, pytest.raises(CorruptRecord):
            read(store, KEY)


def test_damage_is_neither_read_nor_missed_nor_overwritten(medium: Medium) -> None:
    """ATM-06: "never silently treated as empty and never overwritten": other bytes, more, fewer, none, another's."""
    records = filled(medium)
    whole = records[PLACE]
    for value in (b"", whole.value[:1], whole.value[:16], whole.value[:17], whole.value[:-1], whole.value + b"\0"):
        refused(medium, CorruptRecord, {**records, PLACE: Row(value, 3)})
    refused(medium, CorruptRecord, {**records, PLACE: Row(bytes(len(whole.value)), 3)})


def test_a_record_in_anothers_place(medium: Medium) -> None:
    """ATM-08: "read back under another key": moved within its table and from another one, at the same version."""
    records = filled(medium)
    refused(medium, CorruptRecord, {**records, PLACE: records[NEIGHBOUR]})
    refused(medium, CorruptRecord, {PLACE: records[NEIGHBOUR]})
    medium.save({(Table.PREKEY, KEY): records[PLACE], **records})
    with (
        closing(medium.open()) as store,
        pytest.raises(CorruptRecord, match=r"^prekey: "),
        store.transaction() as transaction,
    ):
        transaction.get(Table.PREKEY, KEY)


def test_a_record_of_another_version(medium: Medium) -> None:
    """ATM-08: "or another version than it was written for": an older value at the newer version, and the reverse."""
    records = filled(medium)
    whole = records[PLACE]
    for version in (1, 2, 4, 2**62 - 1):
        refused(medium, CorruptRecord, {**records, PLACE: Row(whole.value, version)})
    medium.save(records)
    with closing(medium.open()) as store:
        with store.transaction() as transaction:
            transaction.put(Table.SESSION, KEY, b"newer", version=3)
        medium.keep(store)
    refused(medium, CorruptRecord, {**medium.load(), PLACE: Row(whole.value, 4)})


def test_a_record_of_another_store(medium: Medium, tmp_path: Path) -> None:
    """ATM-08: "another store": the same key, version and value, written by a store of another id."""
    records = filled(medium)
    folder = tmp_path / "another"
    folder.mkdir()
    theirs = filled(medium.beside(folder))
    assert theirs.keys() == records.keys()
    assert theirs != records
    refused(medium, CorruptRecord, {**records, PLACE: theirs[PLACE]})


def test_a_record_of_a_newer_schema(medium: Medium, monkeypatch: pytest.MonkeyPatch) -> None:
    """ATM-07: "or refused by name": a whole record that a later release wrote is not called damaged."""
    with monkeypatch.context() as later:
        later.setattr(seal, "_SCHEMA_BYTE", bytes([seal.RECORD_SCHEMA + 1]))
        records = filled(medium)
    with closing(medium.open()) as store:
        for attempt in (scan, lambda store: read(store, OTHER)):
            with pytest.raises(UnsupportedSchema, match=r"schema 2, this release knows 1$"):
                attempt(store)
        medium.keep(store)
    assert medium.load() == records


def test_a_damaged_record_can_be_deleted_by_its_version(medium: Medium) -> None:
    """The refusal says key and version: whoever decides to be rid of the record can be, without reading it."""
    records = filled(medium)
    medium.save({**records, PLACE: Row(records[PLACE].value[:-1], 3)})
    with closing(medium.open()) as store:
        with store.transaction() as transaction:
            with pytest.raises(CorruptRecord) as caught:
                transaction.scan(Table.SESSION, b"")
            assert (caught.value.key, caught.value.version) == (KEY, 3)
            transaction.delete(Table.SESSION, KEY, version=3)
        assert read(store, KEY) is None
        medium.keep(store)
    assert medium.load() == {NEIGHBOUR: records[NEIGHBOUR]}


def test_the_text_holds_nothing_of_the_record(medium: Medium) -> None:
    """KEY-06: "no secret appears in ... error texts"."""
    records = filled(medium, b"secret bytes")
    medium.save({**records, PLACE: Row(records[PLACE].value + b"x", 3)})
    with closing(medium.open()) as store, pytest.raises(ProtocolError) as caught:
        read(store, KEY)
    assert str(caught.value) == "session: a record is damaged, or is that of another key, version or store"
    assert "secret" not in repr(caught.value)


def test_every_kind_of_store_is_here() -> None:
    """A store that is added is added to the list that these tests run over."""
    assert set(MEDIA) == {"memory", "sqlite", "adapter", "json", "postgres"}
