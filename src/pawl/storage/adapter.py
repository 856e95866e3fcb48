"""A store over somebody else's place for bytes: an adapter with get, put, delete, scan and transactions.

What an adapter must do is said in `Adapter` and `TransactionalAdapter`; `AdapterStore` adds the rest: versions, seals,
the order of rows, arguments checked, errors typed. It writes nothing before the end of a transaction.

    key     table's name, 0x00, row's key            value     version (8 bytes, big-endian), sealed record
    key     "meta", 0x00, "store"                    value     schema (1 byte), store id (16 bytes), checksum (16 bytes)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from hashlib import blake2b
from heapq import merge
from itertools import islice
from types import TracebackType
from typing import Final, Protocol, cast

from pawl.errors import (
    Conflict,
    CorruptRecord,
    CorruptStore,
    InvalidArgument,
    NonAtomicStore,
    OutcomeUnknown,
    StorageError,
    UnsupportedSchema,
)
from pawl.sources import system_rng
from pawl.storage.contract import Row, Table, Transaction
from pawl.storage.rows import DEFAULT_BUSY_TIMEOUT, Turns, check_key, check_limit, check_version, check_write
from pawl.storage.seal import CHECKSUM_BYTES, STORE_ID_BYTES, Seal

ADAPTER_SCHEMA: Final = 1
"""Counts up when the layout above changes."""

_META_KEY: Final = b"meta\0store"
_VERSION_BYTES: Final = 8


class Adapter(Protocol):
    """A place for bytes under keys of bytes, all of it this store's own.

    A key has at most 2,100 bytes, a value at most 66,000. What was put is got back unchanged. Any exception that a
    method raises is the end of the transaction; `pawl.errors.Conflict` and `StoreBusy` go to the caller as they are.
    """

    def get(self, key: bytes) -> bytes | None:
        """The value, or None if there is none."""

    def put(self, key: bytes, value: bytes) -> None:
        """Set the value, in the place of one that is there."""

    def delete(self, key: bytes) -> None:
        """Remove the value, if there is one."""

    def scan(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
        """Keys that start with `prefix`, with their values, in ascending order of the key's bytes; best read lazily."""


class TransactionalAdapter(Adapter, Protocol):
    """An adapter that this store can keep its promises with."""

    def transaction(self) -> AbstractContextManager[Adapter]:
        """What is put and deleted through the adapter that it gives is durable when the block ends, all or nothing.

        If the block raises, or its end does, nothing is changed. Of two that overlap, in this process or in another,
        where one writes what the other reads, the second waits, or raises `Conflict` or `StoreBusy`.
        """


class AdapterStore:
    """A `Store` in what `adapter` keeps. Its threads take turns.

    An adapter without `transaction` is refused by NonAtomicStore. With `allow_non_atomic` it is used all the
    same, and the device says so in an event at each use: a crash while a transaction ends leaves part of it, so that a
    key may serve twice or a message be lost. `busy_timeout`: seconds to wait for another thread.

    Raises: InvalidArgument, NonAtomicStore, CorruptStore (what is there is no store), UnsupportedSchema, StorageError.
    """

    __slots__ = ("_adapter", "_seal", "_turns", "adapter_name", "atomic")

    def __init__(
        self,
        adapter: Adapter | TransactionalAdapter,
        *,
        allow_non_atomic: bool = False,
        busy_timeout: float = DEFAULT_BUSY_TIMEOUT,
    ) -> None:
        # Check
        for name in ("get", "put", "delete", "scan"):
            if not callable(getattr(adapter, name, None)):
                raise InvalidArgument(f"an adapter has a method {name}")
        if type(allow_non_atomic) is not bool:
            raise InvalidArgument("allow_non_atomic is a bool")
        self._turns = Turns(busy_timeout)
        self._adapter = adapter
        self.adapter_name: Final = type(adapter).__name__
        self.atomic: Final = callable(getattr(adapter, "transaction", None))
        """Whether the adapter has transactions."""
        # Half of a step would be all that a crash leaves: not without the application's word (ATM-03).
        if not self.atomic and not allow_non_atomic:
            raise NonAtomicStore("the adapter has no transactions: a crash would leave part of a message's changes")
        # Commit
        with _Block(self) as inner:
            self._seal = Seal(_store_id(inner))

    @property
    def store_id(self) -> bytes:
        """16 random bytes that the store was made with. No secret; its records are sealed with them."""
        return self._seal.store_id

    def transaction(self) -> AbstractContextManager[Transaction]:
        """See `Store.transaction`."""
        self._turns.check_open()
        return _AdapterTransaction(self)

    def close(self) -> None:
        """See `Store.close`. The adapter is its owner's, and stays as it is."""
        if self._turns.close():
            self._turns.give()


@contextmanager
def _adapter_refusals(refusal: type[StorageError] = StorageError, *, always: bool = False) -> Iterator[None]:
    """What the adapter raises becomes a `refusal`, if it is no StorageError already.

    Its own text may quote what it was to write: it goes no further, not into a traceback either. Its class has to do.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, StorageError) and not always:
            raise
        raise refusal(f"the adapter failed: {type(error).__name__}") from None


class _Block:
    """One turn on the adapter: what is to be written is noted, and written when the turn ends."""

    __slots__ = ("_block", "_inner", "_store", "writes")

    def __init__(self, store: AdapterStore) -> None:
        self._store = store
        self._block: AbstractContextManager[Adapter] | None = None
        self._inner: Adapter | None = None
        self.writes: dict[bytes, bytes | None] = {}
        """What is to be put under each key; None: it is to be deleted."""

    def __enter__(self) -> _Block:
        self._store._turns.take()
        try:
            adapter = self._store._adapter
            self._inner = adapter
            if self._store.atomic:
                with _adapter_refusals():
                    self._block = cast(TransactionalAdapter, adapter).transaction()
                    self._inner = self._block.__enter__()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        inner, block = self.inner(), self._block
        try:
            if kind is None:
                self._commit(inner, block)
            elif block is not None:
                # Nothing was written: what ended the block is what its caller is told.
                with suppress(Exception):
                    block.__exit__(kind, error, at)
        finally:
            self._end()

    def _commit(self, inner: Adapter, block: AbstractContextManager[Adapter] | None) -> None:
        try:
            # Without transactions, a failure half-way leaves half, whatever it is called.
            whole = self._store.atomic
            with _adapter_refusals(StorageError if whole else OutcomeUnknown, always=not whole):
                for key, value in self.writes.items():
                    if value is None:
                        inner.delete(key)
                    else:
                        inner.put(key, value)
        except BaseException as error:
            if block is not None:
                with suppress(Exception):
                    block.__exit__(type(error), error, error.__traceback__)
            raise
        if block is not None:
            with _adapter_refusals(OutcomeUnknown):
                block.__exit__(None, None, None)

    def _end(self) -> None:
        self._inner = self._block = None
        self._store._turns.give()

    def inner(self) -> Adapter:
        """The adapter, while the block lasts. Raises: StorageError."""
        if self._inner is None:
            raise StorageError("the transaction is not open")
        return self._inner

    def get(self, key: bytes) -> object:
        """What is there, or will be; whatever the adapter gave."""
        inner = self.inner()
        if key in self.writes:
            return self.writes[key]
        with _adapter_refusals():
            return inner.get(key)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, object]]:
        """The same for all keys that start with `prefix`, in ascending order. Raises: StorageError (out of order)."""
        own = sorted((key, value) for key, value in self.writes.items() if key.startswith(prefix))
        theirs = ((key, value) for key, value in self._scan(prefix) if key not in self.writes)
        return ((key, value) for key, value in merge(theirs, own, key=lambda pair: pair[0]) if value is not None)

    def _scan(self, prefix: bytes) -> Iterator[tuple[bytes, object]]:
        last: bytes | None = None
        with _adapter_refusals():
            for key, value in self.inner().scan(prefix):
                if type(key) is not bytes or not key.startswith(prefix) or (last is not None and key <= last):
                    raise StorageError("the adapter's scan gives keys that are out of order, or were not asked for")
                last = key
                yield key, value


class _AdapterTransaction:
    """See `Transaction`."""

    __slots__ = ("_block", "_seal", "_store", "_used")

    def __init__(self, store: AdapterStore) -> None:
        self._store = store
        self._seal = store._seal
        self._block = _Block(store)
        self._used = False

    def __enter__(self) -> Transaction:
        if self._used:
            raise StorageError("a transaction is used once")
        self._block.__enter__()
        self._used = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._block.__exit__(kind, error, at)

    def get(self, table: Table, key: bytes) -> Row | None:
        check_key(table, key)
        found = self._block.get(_place(table, key))
        return None if found is None else self._open(table, key, found)

    def _open(self, table: Table, key: bytes, found: object) -> Row:
        version, sealed = _split(table, key, found)
        return self._seal.open(table, key, sealed, version)[1]

    def put(self, table: Table, key: bytes, value: bytes, *, version: int) -> int:
        # Check
        check_write(table, key, value, version)
        self._expect(table, key, version)
        # Commit
        sealed = self._seal.close(table, key, value, version + 1)
        self._block.writes[_place(table, key)] = (version + 1).to_bytes(_VERSION_BYTES, "big") + sealed
        return version + 1

    def delete(self, table: Table, key: bytes, *, version: int) -> None:
        # Check
        check_key(table, key)
        check_version(version)
        self._expect(table, key, version)
        if version == 0:
            raise Conflict(f"{table.value}: a row that is to be deleted is not there")
        # Commit
        self._block.writes[_place(table, key)] = None

    def _expect(self, table: Table, key: bytes, version: int) -> None:
        """Raises: Conflict. A damaged record's version is enough, so that it can be deleted."""
        found = self._block.get(_place(table, key))
        present = 0 if found is None else _split(table, key, found)[0]
        if present != version:
            raise Conflict(f"{table.value}: a row is at version {present}, expected {version}")

    def scan(self, table: Table, prefix: bytes, *, limit: int | None = None) -> Sequence[tuple[bytes, Row]]:
        check_key(table, prefix)
        check_limit(limit)
        skip = len(_place(table, b""))
        found = self._block.scan(_place(table, prefix))
        if limit is not None:
            found = islice(found, min(limit, 2**31))
        return [(key[skip:], self._open(table, key[skip:], value)) for key, value in found]

    def count(self, table: Table, prefix: bytes) -> int:
        check_key(table, prefix)
        return sum(1 for _ in self._block.scan(_place(table, prefix)))


def _place(table: Table, key: bytes) -> bytes:
    return b"%b\0%b" % (table._value_.encode(), key)


def _split(table: Table, key: bytes, found: object) -> tuple[int, bytes]:
    """Version and sealed record. Raises: CorruptRecord."""
    if type(found) is not bytes or len(found) < _VERSION_BYTES:
        raise CorruptRecord(f"{table.value}: a value that no store writes", key=key)
    return int.from_bytes(found[:_VERSION_BYTES], "big"), found[_VERSION_BYTES:]


def _store_id(block: _Block) -> bytes:
    """The id of the store that is there; of a new one, where there is nothing.

    Raises: CorruptStore, UnsupportedSchema.
    """
    found = block.get(_META_KEY)
    if found is None:
        # A store is never empty: whatever is there lost its id, or is not ours.
        if next(block.scan(b""), None) is not None:
            raise CorruptStore("the adapter holds something, but not the id of a store")
        made = system_rng(STORE_ID_BYTES)
        head = bytes([ADAPTER_SCHEMA]) + made
        block.writes[_META_KEY] = head + _meta_checksum(head)
        return made
    if type(found) is not bytes or _meta_checksum(found[:-CHECKSUM_BYTES]) != found[-CHECKSUM_BYTES:]:
        raise CorruptStore("the id of the store is damaged")
    if found[0] != ADAPTER_SCHEMA:
        raise UnsupportedSchema(f"the store has schema {found[0]}, this release knows {ADAPTER_SCHEMA}")
    return found[1:-CHECKSUM_BYTES]


def _meta_checksum(head: bytes) -> bytes:
    return blake2b(head, digest_size=CHECKSUM_BYTES, person=b"pawl store").digest()
