"""Damaged records: what is done to every stored record of one kind, and whether an operation noticed.

It is done to a copy of the store, so that the trace goes on with what is whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pawl.errors import ProtocolError
from pawl.storage.contract import Row, Store, Table, Transaction
from pawl.storage.memory import MemoryStore
from pawl_gate.targets.passing import PassingTransaction, StoreOver
from pawl_spec.history import Damaged, Outcome

KEY_BYTES = 32

UNKNOWN_FIELD = b"\xa2\x06\x00"
"""Field 100, an empty byte string."""


def damage(value: bytes, how: str) -> bytes:
    """A record that nobody wrote; the record itself where the change does not concern it (nothing to cut off)."""
    match how:
        case "empty":
            return b""
        case "truncate":
            return value[:-1]
        case "trailing-byte":
            return value + b"\0"
        case "unknown-field":
            return value + UNKNOWN_FIELD
        case "duplicate-field":
            # The first field is a number of one byte or a key of 32 bytes; either way it comes a second time.
            return value[: 34 if value[:1] == b"\x0a" else 2] + value
        case "overlong-varint":
            return value[:1] and bytes([value[0] | 0x80, 0]) + value[1:]
        case "wrong-wire-type" if len(value) == KEY_BYTES:
            # A key alone, which has no fields: it would be another key.
            return value
        case "wrong-wire-type":
            return value[:1] and bytes([value[0] ^ 2]) + value[1:]
        case _:  # "noise"
            # Longer than the record: another key of the right length would be a record that somebody may have written.
            return hashlib.shake_256(value).digest(len(value) + 1)


def damaged_copy(whole: MemoryStore, table: Table, how: str) -> tuple[MemoryStore, dict[bytes, Row]]:
    """The store with every record of `table` damaged, and those records; none where there is nothing to damage."""
    rows = {each: dict(records) for each, records in whole.snapshot().items()}
    broken = {key: Row(damage(row.value, how), row.version) for key, row in rows[table].items()}
    broken = {key: row for key, row in broken.items() if row.value != rows[table][key].value}
    rows[table].update(broken)
    return MemoryStore(rows=rows), broken


def attempt(copy: MemoryStore, table: Table, broken: dict[bytes, Row], call: Callable[[Store], object]) -> Damaged:
    """Carry out `call` on the damaged copy, and say what became of it."""
    watched = _WatchedStore(copy, table, frozenset(broken))
    code = None
    outcome = Outcome.DONE
    try:
        call(watched)
    except ProtocolError as error:
        outcome, code = Outcome.REFUSED, error.code
    except Exception as error:
        outcome, code = Outcome.DIED, type(error).__name__
    left = copy.snapshot()[table]
    kept = all(left.get(key) == row for key, row in broken.items())
    return Damaged(read=watched.read, outcome=outcome, code=code, kept=kept)


class _WatchedStore(StoreOver):
    """Notes whether a damaged record was read."""

    def __init__(self, inner: MemoryStore, table: Table, broken: frozenset[bytes]) -> None:
        super().__init__(inner)
        self.table = table
        self.broken = broken
        self.read = False

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        with self._durable.transaction() as inner:
            yield _WatchedTransaction(self, inner)


class _WatchedTransaction(PassingTransaction):
    def __init__(self, store: _WatchedStore, inner: Transaction) -> None:
        super().__init__(inner)
        self._store = store

    def get(self, table: Table, key: bytes) -> Row | None:
        self._store.read |= table is self._store.table and key in self._store.broken
        return super().get(table, key)
