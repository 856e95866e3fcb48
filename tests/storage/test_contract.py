"""What `pawl.storage.contract` promises, asked of every store."""

# ruff: noqa: PT012 - what is tested is a whole transaction that ends with an exception.
from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from pawl.errors import Conflict, InvalidArgument, ProtocolError, StorageError, StoreBusy, StoreClosed
from pawl.limits import MAX_RECORD_BYTES
from pawl.storage import Row, Store, Table
from pawl.storage.rows import MAX_KEY_BYTES

Reopen = Callable[[Store], Store]


def rows(store: Store, table: Table = Table.SESSION) -> dict[bytes, Row]:
    with store.transaction() as transaction:
        return dict(transaction.scan(table, b""))


def put(store: Store, key: bytes, value: bytes = b"value", *, table: Table = Table.SESSION, version: int = 0) -> None:
    with store.transaction() as transaction:
        transaction.put(table, key, value, version=version)


# -- rows and versions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", Table)
def test_every_table_is_a_space_of_its_own(store: Store, table: Table) -> None:
    """Contract: "rows (table, key) -> (value, version)": the same key in two tables is two rows."""
    put(store, b"key", table.value.encode(), table=table)
    for other in Table:
        expected = {b"key": Row(table.value.encode(), 1)} if other is table else {}
        assert rows(store, other) == expected


def test_versions_count_writes(store: Store, reopen: Reopen) -> None:
    """Contract: "1 when first written, one more at each write": inside the transaction and after it."""
    with store.transaction() as transaction:
        assert transaction.get(Table.LOCAL, b"") is None
        assert transaction.put(Table.LOCAL, b"", b"a", version=0) == 1
        assert transaction.get(Table.LOCAL, b"") == Row(b"a", 1)
        assert transaction.put(Table.LOCAL, b"", b"", version=1) == 2
    assert rows(reopen(store), Table.LOCAL) == {b"": Row(b"", 2)}
    with store.transaction() as transaction:
        transaction.delete(Table.LOCAL, b"", version=2)
        assert transaction.get(Table.LOCAL, b"") is None
        assert transaction.put(Table.LOCAL, b"", b"b", version=0) == 1
    assert rows(reopen(store), Table.LOCAL) == {b"": Row(b"b", 1)}


@pytest.mark.parametrize(("present", "expected"), [(0, 1), (0, 7), (2, 0), (2, 1), (2, 3)])
def test_a_write_that_expects_another_version_conflicts(store: Store, present: int, expected: int) -> None:
    """ATM-04: "the other is told (conflict)": put and delete refuse, and the transaction leaves nothing."""
    for version in range(present):
        put(store, b"key", b"old", version=version)
    before = rows(store)
    with pytest.raises(Conflict) as refusal, store.transaction() as transaction:
        transaction.put(Table.SESSION, b"other", b"new", version=0)
        transaction.put(Table.SESSION, b"key", b"new", version=expected)
    assert refusal.value.code == "conflict"
    with pytest.raises(Conflict), store.transaction() as transaction:
        transaction.put(Table.SESSION, b"other", b"new", version=0)
        transaction.delete(Table.SESSION, b"key", version=expected)
    assert rows(store) == before


def test_deleting_what_is_not_there_conflicts(store: Store) -> None:
    """Contract: "Raises: Conflict if it is gone": also when the caller says that it is gone."""
    with pytest.raises(Conflict), store.transaction() as transaction:
        transaction.delete(Table.SESSION, b"key", version=0)


def test_a_conflict_that_is_caught_does_not_harm_the_rest(store: Store) -> None:
    """A conflict writes nothing by itself: whoever handles it inside the block goes on."""
    with store.transaction() as transaction:
        transaction.put(Table.SESSION, b"a", b"1", version=0)
        with pytest.raises(Conflict):
            transaction.put(Table.SESSION, b"a", b"2", version=0)
        transaction.put(Table.SESSION, b"b", b"3", version=0)
    assert rows(store) == {b"a": Row(b"1", 1), b"b": Row(b"3", 1)}


def test_the_largest_row_fits(store: Store, reopen: Reopen) -> None:
    """BND-02: "a record's size (stated) never exceed their limits": the limit itself is allowed."""
    key, value = b"\xff" * MAX_KEY_BYTES, b"\0" * MAX_RECORD_BYTES
    put(store, key, value)
    put(store, key, value, version=1)
    assert rows(reopen(store)) == {key: Row(value, 2)}


# -- order -------------------------------------------------------------------------------------------------------------

KEYS = [
    b"",
    b"\0",
    b"a",
    b"a\0",
    b"a\xfe",
    b"a\xff",
    b"a\xff\xff",
    b"a\xff\xff\0",
    b"b",
    b"\xff",
    b"\xff\xff",
    b"\xff\xffz",
]


@pytest.mark.parametrize("prefix", [*KEYS, b"c", b"\xff\xff\xff"])
def test_scan_and_count_see_exactly_the_prefix(store: Store, prefix: bytes) -> None:
    """Contract: "The rows whose key starts with prefix, in ascending order of the key's bytes, at most limit"."""
    with store.transaction() as transaction:
        for key in reversed(KEYS):
            transaction.put(Table.SKIPPED_KEY, key, key, version=0)
        transaction.put(Table.PREKEY, prefix, b"elsewhere", version=0)
        expected = [(key, Row(key, 1)) for key in KEYS if key.startswith(prefix)]
        assert transaction.scan(Table.SKIPPED_KEY, prefix) == expected
        assert transaction.count(Table.SKIPPED_KEY, prefix) == len(expected)
        for limit in (0, 1, 2, 100, 2**80):
            assert transaction.scan(Table.SKIPPED_KEY, prefix, limit=limit) == expected[:limit]


def test_order_follows_writes(store: Store) -> None:
    """Contract: "Sees this transaction's own writes", in scans too; a rollback as well."""

    def keys() -> list[bytes]:
        with store.transaction() as transaction:
            assert transaction.count(Table.PREKEY, b"") == len(transaction.scan(Table.PREKEY, b""))
            return [key for key, _ in transaction.scan(Table.PREKEY, b"")]

    assert keys() == []
    for key in (b"b", b"d"):
        put(store, key, table=Table.PREKEY)
    assert keys() == [b"b", b"d"]
    with pytest.raises(ZeroDivisionError), store.transaction() as transaction:
        transaction.put(Table.PREKEY, b"a", b"", version=0)
        transaction.put(Table.PREKEY, b"b", b"new", version=1)
        transaction.delete(Table.PREKEY, b"d", version=1)
        transaction.put(Table.PREKEY, b"c", b"", version=0)
        assert [key for key, _ in transaction.scan(Table.PREKEY, b"")] == [b"a", b"b", b"c"]
        raise ZeroDivisionError
    assert keys() == [b"b", b"d"]
    assert rows(store, Table.PREKEY)[b"b"] == Row(b"value", 1)


# -- transactions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit, BaseException])
def test_any_exception_rolls_back(store: Store, reopen: Reopen, interruption: type[BaseException]) -> None:
    """ATM-05: "A rollback leaves the store as it was": several writes to one row, and rows that came and went."""
    put(store, b"kept", b"1")
    put(store, b"doomed", b"2")
    before = rows(store)
    with pytest.raises(interruption), store.transaction() as transaction:
        transaction.put(Table.SESSION, b"kept", b"x", version=1)
        transaction.put(Table.SESSION, b"kept", b"y", version=2)
        transaction.delete(Table.SESSION, b"doomed", version=1)
        transaction.put(Table.SESSION, b"doomed", b"z", version=0)
        transaction.put(Table.SESSION, b"new", b"", version=0)
        transaction.delete(Table.SESSION, b"new", version=1)
        transaction.put(Table.LOCAL, b"new", b"", version=0)
        raise interruption
    assert rows(reopen(store)) == before
    assert rows(store, Table.LOCAL) == {}


def test_a_transaction_inside_another_is_refused(store: Store) -> None:
    """Contract: "A transaction inside another of the same thread is refused"; the outer one goes on."""
    with store.transaction() as transaction:
        transaction.put(Table.SESSION, b"a", b"", version=0)
        with pytest.raises(StorageError), store.transaction():
            pass
        transaction.put(Table.SESSION, b"b", b"", version=0)
    assert set(rows(store)) == {b"a", b"b"}


def test_a_transaction_cannot_be_used_outside_its_block(store: Store) -> None:
    """Contract: "It must not be used after the block ends", nor before it begins, nor for a second block."""
    block: Any = store.transaction()
    given: Any = block
    # What the block gives is the transaction; it may be the block itself.
    if not hasattr(block, "get"):
        with store.transaction() as given:
            pass
    uses: list[Callable[[], object]] = [
        lambda: given.get(Table.SESSION, b""),
        lambda: given.put(Table.SESSION, b"", b"", version=0),
        lambda: given.delete(Table.SESSION, b"", version=1),
        lambda: given.scan(Table.SESSION, b""),
        lambda: given.count(Table.SESSION, b""),
    ]
    for use in uses:
        with pytest.raises(StorageError):
            use()
    with block:
        pass
    for use in [*uses, block.__enter__]:
        with pytest.raises(StorageError):
            use()
    assert rows(store) == {}


def test_closing(store: Store) -> None:
    """Contract: "Closing twice is harmless; any later call raises StoreClosed", also a block that waited to begin."""
    early = store.transaction()
    store.close()
    store.close()
    with pytest.raises(StoreClosed):
        store.transaction()
    with pytest.raises(StoreClosed), early:
        pass


def test_closing_inside_a_transaction_is_refused(store: Store) -> None:
    """A store cannot vanish under its own transaction: refused, and the transaction commits."""
    with store.transaction() as transaction:
        with pytest.raises(StorageError):
            store.close()
        transaction.put(Table.SESSION, b"a", b"", version=0)
    assert set(rows(store)) == {b"a"}


# -- threads -----------------------------------------------------------------------------------------------------------


def in_thread(work: Callable[[], object]) -> list[BaseException]:
    """What `work` raised in a thread of its own."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    return raised


def test_another_thread_waits_and_is_then_told(store: Store) -> None:
    """Contract: "two transactions that write never overlap: the second sees the first one's result, or is refused"."""
    with store.transaction() as transaction:
        transaction.put(Table.SESSION, b"a", b"", version=0)
        [error] = in_thread(lambda: rows(store))
        assert type(error) is StoreBusy
        [error] = in_thread(store.close)
        assert type(error) is StoreBusy
    assert in_thread(lambda: put(store, b"b")) == []
    assert set(rows(store)) == {b"a", b"b"}


def test_threads_lose_no_write(store: Store) -> None:
    """ATM-04: "no acknowledged write is lost": 4 threads count one row up 50 times each."""
    put(store, b"n", b"0")

    def count() -> None:
        done = 0
        while done < 50:
            try:
                with store.transaction() as transaction:
                    row = transaction.get(Table.SESSION, b"n")
                    assert row is not None
                    transaction.put(Table.SESSION, b"n", b"%d" % (int(row.value) + 1), version=row.version)
                done += 1
            except StoreBusy:
                pass

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert rows(store)[b"n"] == Row(b"200", 201)


# -- arguments ---------------------------------------------------------------------------------------------------------

WRONG_TABLES: list[Any] = ["session", None, b"session", 1, Table]
WRONG_KEYS: list[Any] = ["key", None, bytearray(b"key"), memoryview(b"key"), 1, b"x" * (MAX_KEY_BYTES + 1)]
WRONG_VALUES: list[Any] = ["value", None, bytearray(b"value"), 1, b"x" * (MAX_RECORD_BYTES + 1)]
WRONG_VERSIONS: list[Any] = ["1", None, True, 1.0, -1, 2**62, 2**80]
WRONG_LIMITS: list[Any] = ["1", True, 1.0, -1]


def test_wrong_arguments_are_refused_by_name(store: Store) -> None:
    """Contract: "wrong argument types" are a typed refusal that "leaves everything as it was", in every call."""
    with store.transaction() as transaction:
        attempts: list[Callable[[], object]] = []
        for table, key in [(table, b"k") for table in WRONG_TABLES] + [(Table.LOCAL, key) for key in WRONG_KEYS]:
            attempts += [
                lambda t=table, k=key: transaction.get(t, k),
                lambda t=table, k=key: transaction.put(t, k, b"", version=0),
                lambda t=table, k=key: transaction.delete(t, k, version=1),
                lambda t=table, k=key: transaction.scan(t, k),
                lambda t=table, k=key: transaction.count(t, k),
            ]
        attempts += [lambda v=value: transaction.put(Table.LOCAL, b"", v, version=0) for value in WRONG_VALUES]
        for version in WRONG_VERSIONS:
            attempts += [
                lambda v=version: transaction.put(Table.LOCAL, b"", b"", version=v),
                lambda v=version: transaction.delete(Table.LOCAL, b"", version=v),
            ]
        attempts += [lambda n=limit: transaction.scan(Table.LOCAL, b"", limit=n) for limit in WRONG_LIMITS]
        for attempt in attempts:
            with pytest.raises(InvalidArgument):
                attempt()
        transaction.put(Table.LOCAL, b"fine", b"", version=0)
    assert set(rows(store, Table.LOCAL)) == {b"fine"}


def test_texts_hold_no_value(store: Store) -> None:
    """KEY-06: "No secret appears in logs, events, error texts, repr": neither a row nor a refusal prints a value."""
    secret = b"SECRETSECRET"
    put(store, b"key", secret)
    assert "SECRET" not in repr(rows(store)) + repr(store)
    with pytest.raises(ProtocolError) as refusal, store.transaction() as transaction:
        transaction.put(Table.SESSION, b"key", secret, version=0)
    assert "SECRET" not in repr(refusal.value)
