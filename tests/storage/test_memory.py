"""What the memory store adds to the contract: revisions, snapshots, forks."""

# ruff: noqa: PT012 - what is tested is a whole transaction that ends with an exception.
from __future__ import annotations

from typing import Any

import pytest

from pawl.errors import CorruptRecord, InvalidArgument, StorageError, StoreClosed
from pawl.storage import MemoryStore, Row, Table


def filled() -> MemoryStore:
    store = MemoryStore()
    with store.transaction() as transaction:
        transaction.put(Table.LOCAL, b"a", b"1", version=0)
        transaction.put(Table.SESSION, b"b", b"2", version=0)
    return store


def test_revision_counts_commits_that_wrote() -> None:
    """Contract: "revision": a reader that only looks, a rollback, and a refused write do not count."""
    store = MemoryStore()
    assert store.revision == 0
    with store.transaction() as transaction:
        transaction.get(Table.LOCAL, b"a")
        transaction.scan(Table.LOCAL, b"")
    assert store.revision == 0
    with store.transaction() as transaction:
        transaction.put(Table.LOCAL, b"a", b"1", version=0)
        transaction.put(Table.LOCAL, b"a", b"2", version=1)
    assert store.revision == 1
    with pytest.raises(ZeroDivisionError), store.transaction() as transaction:
        transaction.delete(Table.LOCAL, b"a", version=2)
        raise ZeroDivisionError
    assert store.revision == 1
    with store.transaction() as transaction:
        transaction.delete(Table.LOCAL, b"a", version=2)
    assert store.revision == 2


def test_a_snapshot_does_not_change() -> None:
    """A snapshot is "unchanging": neither later writes nor its holder change it."""
    store = filled()
    snapshot: Any = store.snapshot()
    expected = {table: {} for table in Table} | {Table.LOCAL: {b"a": Row(b"1", 1)}, Table.SESSION: {b"b": Row(b"2", 1)}}
    with store.transaction() as transaction:
        transaction.put(Table.LOCAL, b"a", b"changed", version=1)
        transaction.put(Table.PREKEY, b"c", b"", version=0)
    assert {table: dict(rows) for table, rows in snapshot.items()} == expected
    with pytest.raises(TypeError):
        snapshot[Table.LOCAL] = {}
    with pytest.raises(TypeError):
        snapshot[Table.LOCAL][b"a"] = Row(b"", 1)


@pytest.mark.parametrize("how", ["fork", "rows"])
def test_a_fork_shares_nothing(how: str) -> None:
    """A fork is "a store of its own with the same rows": writes on either side stay there."""
    store = filled()
    snapshot = store.snapshot()
    twin = store.fork() if how == "fork" else MemoryStore(rows=snapshot)
    assert twin.snapshot() == snapshot
    for one, other in ((store, twin), (twin, store)):
        held = other.snapshot()
        with one.transaction() as transaction:
            transaction.put(Table.SESSION, b"b", b"changed", version=1)
            transaction.scan(Table.PREKEY, b"")
            transaction.put(Table.PREKEY, b"c", b"", version=0)
        assert other.snapshot() == held
    store.close()
    assert twin.snapshot()[Table.SESSION] == {b"b": Row(b"changed", 2)}


def test_no_copy_of_half_a_transaction() -> None:
    """Contract: "all committed rows": inside a transaction there is no snapshot and no fork."""
    store = filled()
    with store.transaction() as transaction:
        transaction.put(Table.LOCAL, b"a", b"2", version=1)
        for copy in (store.snapshot, store.fork):
            with pytest.raises(StorageError):
                copy()
    store.close()
    for copy in (store.snapshot, store.fork):
        with pytest.raises(StoreClosed):
            copy()


@pytest.mark.parametrize(
    "rows",
    [
        [],
        "rows",
        {Table.LOCAL: []},
        {"local": {b"a": Row(b"", 1)}},
        {Table.LOCAL: {"a": Row(b"", 1)}},
        {Table.LOCAL: {b"a": (b"", 1)}},
        {Table.LOCAL: {b"a": b""}},
        {Table.LOCAL: {b"a": Row("", 1)}},  # type: ignore[arg-type]
        {Table.LOCAL: {b"a": Row(b"", 0)}},
        {Table.LOCAL: {b"a": Row(b"", True)}},
        {"local": {}},
    ],
)
def test_wrong_rows_are_refused(rows: Any) -> None:
    """Wrong arguments are refused by name."""
    with pytest.raises(InvalidArgument):
        MemoryStore(rows=rows)


def test_records_begin_a_store_with_the_same_rows() -> None:
    """A store of another's records holds its rows and has its id; both give out the same records."""
    store = filled()
    copy = MemoryStore(records=store.records(), store_id=store.store_id)
    assert copy.store_id == store.store_id != MemoryStore().store_id
    assert copy.records() == store.records()
    assert copy.snapshot() == store.snapshot()
    with copy.transaction() as transaction:
        assert transaction.put(Table.LOCAL, b"a", b"2", version=1) == 2
    assert store.snapshot()[Table.LOCAL] == {b"a": Row(b"1", 1)}
    again = MemoryStore(records=copy.records(), store_id=copy.store_id)
    assert again.snapshot() == copy.snapshot()


def test_a_fork_of_records_opens_them_too() -> None:
    """A fork is a copy as of a file: the same id, and what nobody read is still to be opened."""
    store = filled()
    fork = MemoryStore(records=store.records(), store_id=store.store_id).fork()
    assert fork.store_id == store.store_id
    assert fork.snapshot() == store.snapshot()
    with fork.transaction() as transaction:
        assert transaction.get(Table.LOCAL, b"a") == Row(b"1", 1)
        assert transaction.scan(Table.SESSION, b"") == [(b"b", Row(b"2", 1))]
    assert fork.records() == store.records()


def test_a_damaged_record_has_no_snapshot_but_can_be_given_out() -> None:
    """ATM-06: what nobody could read is given out as it came, and never as a row."""
    store = filled()
    records = {table: dict(shelf) for table, shelf in store.records().items()}
    records[Table.SESSION][b"b"] = Row(b"damaged", 1)
    copy = MemoryStore(records=records, store_id=store.store_id)
    with pytest.raises(CorruptRecord):
        copy.snapshot()
    assert copy.records() == records
    # A rollback leaves it as it came, too.
    with pytest.raises(ZeroDivisionError), copy.transaction() as transaction:
        transaction.delete(Table.SESSION, b"b", version=1)
        raise ZeroDivisionError
    assert copy.records() == records


@pytest.mark.parametrize(
    "arguments",
    [
        {"records": {}},
        {"store_id": bytes(16)},
        {"rows": {}, "records": {}, "store_id": bytes(16)},
        {"rows": {}, "store_id": bytes(16)},
        {"records": {}, "store_id": bytes(15)},
        {"records": {}, "store_id": "0123456789abcdef"},
        {"records": {Table.LOCAL: {b"a": Row(bytes(65_536 + 18), 1)}}, "store_id": bytes(16)},
        {"records": [], "store_id": bytes(16)},
    ],
)
def test_wrong_records_are_refused(arguments: Any) -> None:
    """Wrong arguments are refused by name: records without their id, two beginnings at once, what is no record."""
    with pytest.raises(InvalidArgument):
        MemoryStore(**arguments)


@pytest.mark.parametrize("seconds", ["1", None, True, -1, float("nan"), float("inf"), 10**6, 10**400])
def test_wrong_timeouts_are_refused(seconds: Any) -> None:
    """Wrong arguments are refused by name."""
    with pytest.raises(InvalidArgument):
        MemoryStore(busy_timeout=seconds)
