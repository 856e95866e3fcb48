"""The seal of a record, computed a second time from its description."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pawl.errors import CorruptRecord, InvalidArgument
from pawl.limits import MAX_RECORD_BYTES
from pawl.storage import Row, Table
from pawl.storage.rows import MAX_KEY_BYTES, MAX_VERSION
from pawl.storage.seal import MAX_SEALED_BYTES, Seal

STORE_ID = bytes(range(16))

PLACES = st.tuples(
    st.sampled_from([b"a" * 16, b"b" * 16]),
    st.sampled_from(list(Table)),
    st.binary(max_size=3),
    st.integers(1, 300) | st.just(MAX_VERSION),
)
VALUES = st.binary(max_size=40)


def test_the_layout() -> None:
    """docs/reference/stored-records.md: checksum over table, 0x00, version, length of the key, key, schema, value."""
    told = b"prekey\0" + (7).to_bytes(8, "big") + (3).to_bytes(2, "big") + b"key" + b"\x01" + b"value"
    checksum = hashlib.blake2b(told, digest_size=16, salt=STORE_ID, person=b"pawl record").digest()
    assert Seal(STORE_ID).close(Table.PREKEY, b"key", b"value", 7) == checksum + b"\x01" + b"value"


@given(PLACES, VALUES)
def test_what_was_sealed_is_opened(place: Any, value: bytes) -> None:
    store_id, table, key, version = place
    seal = Seal(store_id)
    assert seal.open(table, key, seal.close(table, key, value, version), version) == (key, Row(value, version))


@given(PLACES, PLACES, VALUES)
def test_in_another_place_it_is_refused(place: Any, other: Any, value: bytes) -> None:
    """ATM-08: "under another key, another store or another version": any difference in any of them."""
    if place == other:
        return
    store_id, table, key, version = place
    sealed = Seal(store_id).close(table, key, value, version)
    with pytest.raises(CorruptRecord):
        Seal(other[0]).open(other[1], other[2], sealed, other[3])


def test_the_largest_record() -> None:
    """BND-02: "a record's size (stated)": the limits themselves are sealed and opened."""
    seal, key, value = Seal(STORE_ID), b"\xff" * MAX_KEY_BYTES, bytes(MAX_RECORD_BYTES)
    sealed = seal.close(Table.SESSION, key, value, MAX_VERSION)
    assert len(sealed) == MAX_SEALED_BYTES
    assert seal.open(Table.SESSION, key, sealed, MAX_VERSION) == (key, Row(value, MAX_VERSION))
    with pytest.raises(CorruptRecord):
        seal.open(Table.SESSION, key, sealed + b"\0", MAX_VERSION)


@pytest.mark.parametrize("store_id", [b"", bytes(15), bytes(17), bytearray(16), "0123456789abcdef", None])
def test_wrong_ids_are_refused(store_id: Any) -> None:
    with pytest.raises(InvalidArgument):
        Seal(store_id)


@pytest.mark.parametrize(
    "row", [("key", b"", 1), (b"key", "text", 1), (b"key", None, 1), (b"key", b"", "1"), (b"key", b"", 0)]
)
def test_rows_that_no_store_writes(row: Any) -> None:
    """PAR-05: "Stored records ... are parsed as strictly as wire messages": whatever a medium gives back."""
    with pytest.raises(CorruptRecord):
        Seal(STORE_ID).open(Table.SESSION, *row)
