"""What the memory store adds to the contract: revisions, snapshots, forks."""

# ruff: noqa: PT012 - what is tested is a whole transaction that ends with an exception.
from __future__ import annotations

from typing import Any

import pytest

from pawl.errors import InvalidArgument, StorageError, StoreClosed
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


@pytest.mark.parametrize("seconds", ["1", None, True, -1, float("nan"), float("inf"), 10**6, 10**400])
def test_wrong_timeouts_are_refused(seconds: Any) -> None:
    """Wrong arguments are refused by name."""
    with pytest.raises(InvalidArgument):
        MemoryStore(busy_timeout=seconds)
