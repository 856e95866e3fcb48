"""What a store over somebody else's adapter adds to the contract: ATM-03, and how an adapter fails."""

# ruff: noqa: PT012 - what is tested is a whole transaction that ends with an exception.
from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from pawl import Device, Event, MemoryStore
from pawl.announced import announced
from pawl.errors import (
    Conflict,
    CorruptRecord,
    CorruptStore,
    InvalidArgument,
    NonAtomicStore,
    OutcomeUnknown,
    StorageError,
    StoreBusy,
    StoreClosed,
    UnsupportedSchema,
)
from pawl.events import NonAtomicStoreUsed
from pawl.storage import AdapterStore, Row, Table, adapter
from tests.devices import ALICE, BOB
from tests.storage.adapters import DictAdapter, FileAdapter

META = b"meta\0store"


class Whole(DictAdapter):
    """Transactions over a dictionary: a copy is written to, and taken over at the end."""

    def __init__(self, pairs: dict[bytes, bytes] | None = None) -> None:
        super().__init__(pairs)
        self.at_end: Exception | None = None
        """Raised when a transaction is to end well."""

    @contextmanager
    def transaction(self) -> Iterator[DictAdapter]:
        copy = DictAdapter(dict(self.pairs))
        copy.fail_after = self.fail_after
        yield copy
        if self.at_end is not None:
            raise self.at_end
        self.pairs = copy.pairs


def put(store: AdapterStore, key: bytes, value: bytes = b"value", version: int = 0) -> None:
    with store.transaction() as transaction:
        transaction.put(Table.SESSION, key, value, version=version)


def get(store: AdapterStore, key: bytes) -> Row | None:
    with store.transaction() as transaction:
        return transaction.get(Table.SESSION, key)


# -- without transactions ----------------------------------------------------------------------------------------------


def test_an_adapter_without_transactions_is_refused(tmp_path: Path) -> None:
    """ATM-03: "refused by default": by name, and nothing is written to it."""
    adapter = DictAdapter()
    with pytest.raises(NonAtomicStore) as refusal:
        AdapterStore(adapter)
    assert refusal.value.code == "non-atomic-store"
    assert adapter.pairs == {}
    # What is called so, and cannot be called, is none.
    adapter.transaction = True  # type: ignore[attr-defined]
    with pytest.raises(NonAtomicStore):
        AdapterStore(adapter)
    assert AdapterStore(FileAdapter(tmp_path / "pairs.db")).atomic


def test_the_permissive_mode_says_so_in_an_event() -> None:
    """ATM-03: "the permissive mode says so in an event": at the opening and at every use, refused ones too."""
    heard: list[Event] = []
    store = AdapterStore(DictAdapter(), allow_non_atomic=True)
    assert store.atomic is False
    said = NonAtomicStoreUsed("DictAdapter")
    bob = Device(store, on_event=heard.append)
    assert heard == [said]
    alice = Device(MemoryStore())
    bundle = bob.prekey_bundle()
    assert heard.count(said) == 2
    alice.establish(BOB, bundle)
    for number in range(3):
        assert bob.decrypt(ALICE, alice.encrypt(BOB, b"%d" % number)) == b"%d" % number
        assert heard.count(said) == 3 + number
    message = alice.encrypt(BOB, b"once")
    bob.decrypt(ALICE, message)
    before = heard.count(said)
    with pytest.raises(Exception, match="decrypted before"):
        bob.decrypt(ALICE, message)
    assert heard.count(said) == before + 1


def test_what_an_adapter_says_goes_no_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """KEY-06: a driver may quote the row that it could not write; no traceback of ours shows it."""
    place = FileAdapter(tmp_path / "pairs.db")
    store = AdapterStore(place)

    def quoting(key: bytes, value: bytes) -> None:
        raise ValueError(f"this row cannot be written: {value!r}, secret-of-a-row")

    monkeypatch.setattr(place, "put", quoting)
    with pytest.raises(StorageError, match="ValueError") as refusal, store.transaction() as tx:
        tx.put(Table.SESSION, b"key", b"value", version=0)
    assert "secret-of-a-row" not in "".join(traceback.format_exception(refusal.value))


def test_what_announces_passes_on_the_end() -> None:
    """Closing it closes the store."""
    store = AdapterStore(DictAdapter(), allow_non_atomic=True)
    announced(store, None).close()
    with pytest.raises(StoreClosed):
        store.transaction()


def test_a_store_that_is_atomic_says_nothing(tmp_path: Path) -> None:
    """Control: the event is the permissive mode's alone."""
    heard: list[Event] = []
    Device(AdapterStore(FileAdapter(tmp_path / "pairs.db")), on_event=heard.append).prekey_bundle()
    Device(MemoryStore(), on_event=heard.append).prekey_bundle()
    assert heard
    assert not [each for each in heard if isinstance(each, NonAtomicStoreUsed)]


def test_without_transactions_a_refusal_still_changes_nothing() -> None:
    """CTR-05: nothing is written before the end, so that only a failure of the place itself leaves a part."""
    adapter = DictAdapter()
    store = AdapterStore(adapter, allow_non_atomic=True)
    put(store, b"a")
    before = dict(adapter.pairs)
    with pytest.raises(ZeroDivisionError), store.transaction() as transaction:
        transaction.put(Table.SESSION, b"b", b"", version=0)
        transaction.delete(Table.SESSION, b"a", version=1)
        raise ZeroDivisionError
    assert adapter.pairs == before


def test_without_transactions_a_failure_half_way_is_named() -> None:
    """ATM-03: why it is refused by default: two rows, one of them written; nobody is told that all is well."""
    adapter = DictAdapter()
    store = AdapterStore(adapter, allow_non_atomic=True)
    adapter.fail_after = 1
    with pytest.raises(OutcomeUnknown) as refusal, store.transaction() as transaction:
        transaction.put(Table.SESSION, b"a", b"", version=0)
        transaction.put(Table.SESSION, b"b", b"", version=0)
    assert "place" not in str(refusal.value)
    adapter.fail_after = None
    assert get(store, b"a") == Row(b"", 1)
    assert get(store, b"b") is None


# -- how an adapter fails ----------------------------------------------------------------------------------------------


def test_a_write_that_fails_rolls_back() -> None:
    """ATM-05: with transactions the first row is not there either."""
    adapter = Whole()
    store = AdapterStore(adapter)
    before = dict(adapter.pairs)
    adapter.fail_after = 1
    with (
        pytest.raises(StorageError, match="the adapter failed: OSError") as refusal,
        store.transaction() as transaction,
    ):
        transaction.put(Table.SESSION, b"a", b"", version=0)
        transaction.put(Table.SESSION, b"b", b"", version=0)
    assert type(refusal.value) is StorageError
    assert adapter.pairs == before


def test_a_commit_that_fails_may_have_happened() -> None:
    """WRK-03: "one that may have committed ends as `OutcomeUnknown`"; what the adapter calls by name is passed on."""
    adapter = Whole()
    store = AdapterStore(adapter)
    for error, refusal in (
        (OSError("line cut"), OutcomeUnknown),
        (Conflict("lost the race"), Conflict),
        (StoreBusy("held"), StoreBusy),
    ):
        adapter.at_end = error
        with pytest.raises(refusal) as caught:
            put(store, b"a")
        assert type(caught.value) is refusal
    adapter.at_end = None
    put(store, b"a")


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("get", lambda store: get(store, b"a")),
        ("get", lambda store: put(store, b"a")),
        ("scan", lambda store: store_scan(store)),
        ("put", lambda store: put(store, b"a")),
        ("transaction", lambda store: get(store, b"a")),
    ],
)
def test_whatever_an_adapter_raises_is_typed(name: str, use: Callable[[AdapterStore], object]) -> None:
    """ "Any other exception that leaves the library is a bug"; its text, which may hold anything, is not repeated."""
    store = AdapterStore(Whole())

    def fail(*_: object) -> object:
        raise RuntimeError("secret")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Whole if name == "transaction" else DictAdapter, name, fail)
        with pytest.raises(StorageError) as refusal:
            use(store)
        assert str(refusal.value) == "the adapter failed: RuntimeError"
    # The turn was given back.
    put(store, b"a")


def store_scan(store: AdapterStore) -> object:
    with store.transaction() as transaction:
        return transaction.scan(Table.SESSION, b"")


@pytest.mark.parametrize(
    "scanned",
    [
        [(b"session\0b", b""), (b"session\0a", b"")],
        [(b"session\0a", b""), (b"session\0a", b"")],
        [(b"prekey\0a", b"")],
        [("session\0a", b"")],
    ],
)
def test_a_scan_out_of_order_is_refused(scanned: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Order is age: an adapter that gives other keys, or another order, would have the wrong keys dropped."""
    store = AdapterStore(Whole())
    monkeypatch.setattr(DictAdapter, "scan", lambda self, prefix: scanned)
    with pytest.raises(StorageError, match="out of order"), store.transaction() as transaction:
        transaction.count(Table.SESSION, b"")


@pytest.mark.parametrize("value", [b"", b"\0" * 7, "text", None, 7, bytearray(40)])
def test_a_value_that_no_store_writes(value: Any) -> None:
    """ATM-06: whatever is there instead of a record is damage; only None means that there is nothing."""
    adapter = Whole()
    store = AdapterStore(adapter)
    put(store, b"a")
    adapter.pairs[b"session\0a"] = value
    if value is None:
        assert get(store, b"a") is None
        return
    uses: list[Callable[[], object]] = [lambda: get(store, b"a"), lambda: put(store, b"a", version=1)]
    for use in uses:
        with pytest.raises(CorruptRecord):
            use()
    assert adapter.pairs[b"session\0a"] is value


def test_a_scan_is_read_only_as_far_as_needed() -> None:
    """BND-03: a limit bounds what is read, however many rows there are."""
    adapter = Whole()
    store = AdapterStore(adapter)
    with store.transaction() as transaction:
        for number in range(100):
            transaction.put(Table.PREKEY, b"%03d" % number, b"", version=0)
    read: list[bytes] = []

    def lazily(self: DictAdapter, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
        for key in sorted(self.pairs):
            if key.startswith(prefix):
                read.append(key)
                yield key, self.pairs[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DictAdapter, "scan", lazily)
        with store.transaction() as transaction:
            assert [key for key, _ in transaction.scan(Table.PREKEY, b"", limit=3)] == [b"000", b"001", b"002"]
    assert len(read) <= 4


# -- what is there -----------------------------------------------------------------------------------------------------


def test_a_store_that_lost_its_id_is_not_a_new_one() -> None:
    """ATM-06: "never silently treated as empty and never overwritten"."""
    adapter = Whole()
    put(AdapterStore(adapter), b"a")
    del adapter.pairs[META]
    before = dict(adapter.pairs)
    with pytest.raises(CorruptStore):
        AdapterStore(adapter)
    assert adapter.pairs == before
    # Somebody else's place is not taken either.
    with pytest.raises(CorruptStore):
        AdapterStore(Whole({b"something": b"else"}))


def test_a_damaged_id_is_refused() -> None:
    """ATM-06: each bit of it, and other lengths."""
    source = Whole()
    AdapterStore(source)
    whole = source.pairs[META]
    damaged = [whole[:-1], whole + b"\0", b"", bytes(33)]
    damaged += [(int.from_bytes(whole, "big") ^ 1 << bit).to_bytes(33, "big") for bit in range(33 * 8)]
    for value in damaged:
        adapter = Whole({META: value})
        with pytest.raises(CorruptStore):
            AdapterStore(adapter)
        assert adapter.pairs == {META: value}


def test_a_newer_layout_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """ATM-07: "or refused by name"."""
    source = Whole()
    with monkeypatch.context() as later:
        later.setattr(adapter, "ADAPTER_SCHEMA", 2)
        AdapterStore(source)
    with pytest.raises(UnsupportedSchema):
        AdapterStore(source)


def test_the_id_stays(tmp_path: Path) -> None:
    """ATM-08: a store is the same store when it is opened again, and a new one is another."""
    first = AdapterStore(FileAdapter(tmp_path / "pairs.db"))
    put(first, b"a")
    again = AdapterStore(FileAdapter(tmp_path / "pairs.db"))
    assert again.store_id == first.store_id != AdapterStore(Whole()).store_id
    assert get(again, b"a") == Row(b"value", 1)


@pytest.mark.parametrize("name", ["get", "put", "delete", "scan"])
def test_what_is_no_adapter_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = Whole()
    monkeypatch.setattr(DictAdapter, name, None)
    with pytest.raises(InvalidArgument):
        AdapterStore(adapter)


def test_wrong_options_are_refused() -> None:
    options: list[dict[str, Any]] = [{"allow_non_atomic": 1}, {"busy_timeout": -1}, {"busy_timeout": "5"}]
    for option in options:
        with pytest.raises(InvalidArgument):
            AdapterStore(DictAdapter(), **option)


def test_two_stores_on_one_place(tmp_path: Path) -> None:
    """ATM-04: "one wins, the other is told": the adapter's own exclusion holds between two stores."""
    first, second = (AdapterStore(FileAdapter(tmp_path / "pairs.db", timeout=0.05)) for _ in range(2))
    with closing(first), closing(second):
        put(first, b"a")
        with first.transaction() as transaction:
            transaction.put(Table.SESSION, b"a", b"1", version=1)
            with pytest.raises(StoreBusy):
                put(second, b"a", b"2", version=1)
        with pytest.raises(Conflict):
            put(second, b"a", b"2", version=1)
        assert get(second, b"a") == Row(b"1", 2)
