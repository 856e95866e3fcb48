"""Another process with the same store, which commits between a step's reading and its commit.

A memory store lets nobody in while a transaction is open. Here a transaction holds nothing: it notes what it reads and
what it is to write, and at the commit what it read must still be so, as with an optimistic database.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pawl.errors import Conflict
from pawl.storage.contract import Row, Table, Transaction
from pawl_gate.targets.kept import Kept


class OpenTransaction:
    """A transaction that keeps nobody out until it is committed."""

    def __init__(self, store: Kept) -> None:
        self._store = store
        self._read: list[Callable[[Transaction], bool]] = []
        """Whether each thing that was read is still so."""
        self._calls: list[Callable[[Transaction], object]] = []
        self._own: dict[tuple[Table, bytes], Row | None] = {}

    @property
    def writes(self) -> bool:
        """Whether it is to write anything."""
        return bool(self._calls)

    def get(self, table: Table, key: bytes) -> Row | None:
        """See `Transaction`."""
        if (table, key) in self._own:
            return self._own[table, key]
        with self._store.transaction() as now:
            row = now.get(table, key)
        self._read.append(lambda later: later.get(table, key) == row)
        return row

    def put(self, table: Table, key: bytes, value: bytes, *, version: int) -> int:
        """See `Transaction`."""
        self._expect(table, key, version)
        self._own[table, key] = Row(value, version + 1)
        self._calls.append(lambda later: later.put(table, key, value, version=version))
        return version + 1

    def delete(self, table: Table, key: bytes, *, version: int) -> None:
        """See `Transaction`."""
        self._expect(table, key, version)
        self._own[table, key] = None
        self._calls.append(lambda later: later.delete(table, key, version=version))

    def _expect(self, table: Table, key: bytes, version: int) -> None:
        row = self.get(table, key)
        if (0 if row is None else row.version) != version:
            raise Conflict(f"{table.value}: a row is at another version than expected")

    def scan(self, table: Table, prefix: bytes, *, limit: int | None = None) -> Sequence[tuple[bytes, Row]]:
        """See `Transaction`."""
        with self._store.transaction() as now:
            found = now.scan(table, prefix)
        self._read.append(lambda later: later.scan(table, prefix) == found)
        rows: dict[bytes, Row | None] = dict(found)
        rows |= {key: row for (of, key), row in self._own.items() if of is table and key.startswith(prefix)}
        return [(key, row) for key, row in sorted(rows.items()) if row is not None][:limit]

    def count(self, table: Table, prefix: bytes) -> int:
        """See `Transaction`."""
        return len(self.scan(table, prefix))

    def commit(self) -> None:
        """Write all, if all that was read is still so. Raises: Conflict."""
        with self._store.transaction() as now:
            if not all(is_still_so(now) for is_still_so in self._read):
                raise Conflict("a row changed since it was read")
            for call in self._calls:
                call(now)
