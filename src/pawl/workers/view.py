"""What a batch of jobs sees of a store: the rows that were read for it, and what its jobs write, one after another.

The parent and the worker hold the same view. The worker runs steps over it; the parent follows their writes, and
compares what each step read with what is in the store when it is to be committed.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, NamedTuple, TypeAlias

from pawl.errors import Conflict, StorageError
from pawl.storage.contract import Row, Table, Transaction
from pawl.storage.rows import check_key, check_limit, check_write

TABLES: Final = tuple(Table)
"""A table's number in messages is its place here."""

NUMBERS: Final = {table.value: number for number, table in enumerate(TABLES)}
"""By a table's name."""

Place: TypeAlias = tuple[int, bytes]
"""A table's number and a key, or a prefix of keys."""


class Query(NamedTuple):
    """What a step asks its store: one row (`limit` is GET), how many (COUNT), or rows, at most `limit` (ALL: all)."""

    table: int
    key: bytes
    """A key, or the prefix of keys."""
    limit: int


GET: Final = -1
COUNT: Final = -2
ALL: Final = -3


class Write(NamedTuple):
    """One row that a step writes: it was at `version` before (0: not there); `value` None deletes it."""

    table: int
    key: bytes
    version: int
    value: bytes | None

    def __repr__(self) -> str:
        # A value may hold private keys.
        return f"Write(table={self.table}, version={self.version})"


class Missing(BaseException):
    """A step asked for what was not sent. No `Exception`, so that nothing on the way takes it for one of its own."""

    def __init__(self, query: Query) -> None:
        super().__init__()
        self.query = query


class Span:
    """The keys of a scan in order, and whether these are all of them."""

    __slots__ = ("complete", "keys")

    def __init__(self, keys: list[bytes], complete: bool) -> None:
        self.keys = keys
        self.complete = complete


class View:
    """Rows, scans and counts, as they were read, and as the jobs of the batch changed them."""

    __slots__ = ("counts", "rows", "spans")

    def __init__(self) -> None:
        self.rows: dict[Place, Row | None] = {}
        """None: there is no such row."""
        self.spans: dict[Place, Span] = {}
        self.counts: dict[Place, int] = {}

    def get(self, place: Place) -> Row | None:
        """The row. Raises: Missing."""
        try:
            return self.rows[place]
        except KeyError:
            pass
        table, key = place
        # Where all rows of a prefix are known, so is that there is no other.
        if any(span.complete and at == table and key.startswith(prefix) for (at, prefix), span in self.spans.items()):
            return None
        raise Missing(Query(table, key, GET))

    def span(self, place: Place, limit: int) -> Span:
        """Keys, at least `limit` of them if there are as many. Raises: Missing."""
        span = self.spans.get(place)
        if span is None or not (span.complete or 0 <= limit <= len(span.keys)):
            raise Missing(Query(*place, limit))
        return span

    def count(self, place: Place) -> int:
        """How many rows there are. Raises: Missing."""
        known = self.counts.get(place)
        if known is not None:
            return known
        span = self.spans.get(place)
        if span is None or not span.complete:
            raise Missing(Query(*place, COUNT))
        return len(span.keys)

    def apply(self, writes: Sequence[Write]) -> None:
        """What a job wrote: the next one sees it."""
        for table, key, version, value in writes:
            self.rows[table, key] = None if value is None else Row(value, version + 1)
            if (value is None) is (version == 0):
                # Written over, or neither there before nor after: nothing is counted.
                continue
            for (at, prefix), span in self.spans.items():
                if at == table and key.startswith(prefix):
                    _change(span, key, value is not None)
            for at, prefix in self.counts:
                if at == table and key.startswith(prefix):
                    self.counts[at, prefix] += 1 if value is not None else -1


def _change(span: Span, key: bytes, there: bool) -> None:
    index = bisect_left(span.keys, key)
    if not there:
        if span.keys[index : index + 1] == [key]:
            del span.keys[index]
    elif span.complete or index < len(span.keys):
        # Past the last known key of a part, nobody knows what comes next.
        insort(span.keys, key)


class Recording:
    """A `Store` over a view, for one job: it notes what the job asks, and what it writes."""

    __slots__ = ("_own", "_versions", "_view", "asked")

    def __init__(self, view: View) -> None:
        self._view = view
        self._own: dict[Place, Row | None] = {}
        self._versions: dict[Place, int] = {}
        """At which version each row of `_own` was before the job."""
        self.asked: dict[Query, None] = {}
        """Each question once, in their order."""

    def transaction(self) -> AbstractContextManager[Transaction]:
        """See `Store.transaction`."""
        return _RecordingTransaction(self)

    def close(self) -> None:
        """See `Store.close`. There is nothing to close."""

    def writes(self) -> list[Write]:
        """What the job wrote, each row once."""
        found = []
        for place, row in self._own.items():
            version = self._versions[place]
            # Made and deleted again: it was never there.
            if row is not None or version:
                found.append(Write(*place, version, None if row is None else row.value))
        return found

    def get(self, place: Place) -> Row | None:
        """The row, the job's own writes included. Raises: Missing."""
        own = self._own.get(place, _UNKNOWN)
        if own is not _UNKNOWN:
            return own
        row = self._view.get(place)
        self.asked[Query(*place, GET)] = None
        return row

    def span(self, place: Place, limit: int) -> list[tuple[bytes, Row]]:
        """The rows, the job's own writes included. Raises: Missing."""
        table, prefix = place
        changed = {key: row for (at, key), row in self._own.items() if at == table and key.startswith(prefix)}
        gone = sum(row is None for row in changed.values())
        span = self._view.span(place, limit + gone if limit >= 0 else limit)
        self.asked[Query(table, prefix, limit)] = None
        keys = span.keys
        if changed:
            merged = Span(list(keys), span.complete)
            for key, row in changed.items():
                if row is not None and merged.keys[(at := bisect_left(merged.keys, key)) : at + 1] == [key]:
                    continue
                _change(merged, key, row is not None)
            keys = merged.keys
        found = []
        for key in keys if limit < 0 else keys[:limit]:
            row = changed[key] if key in changed else self._view.get((table, key))
            if row is None:
                raise StorageError("a scan names a row that is not there")
            found.append((key, row))
        return found

    def count(self, place: Place) -> int:
        """How many rows, the job's own writes included. Raises: Missing."""
        table, prefix = place
        found = self._view.count(place)
        self.asked[Query(table, prefix, COUNT)] = None
        for (at, key), row in self._own.items():
            if at == table and key.startswith(prefix):
                found += (row is not None) - (self._versions[at, key] > 0)
        return found

    def write(self, place: Place, row: Row | None, version: int) -> None:
        """Note a write to a row that is at `version`. Raises: Conflict."""
        present = self._own.get(place, _UNKNOWN)
        if present is _UNKNOWN:
            present = self._view.rows.get(place, _UNKNOWN)
            # A row that nobody asked for is written as a new one: whether it is one is seen where it is committed.
            if present is _UNKNOWN and version == 0:
                present = None
        if present is _UNKNOWN:
            raise Missing(Query(*place, GET))
        if (0 if present is None else present.version) != version:
            raise Conflict("a row is at another version")
        self._versions.setdefault(place, version)
        self._own[place] = row

    def save(self) -> tuple[dict[Place, Row | None], dict[Place, int]]:
        """What to come back to."""
        return dict(self._own), dict(self._versions)

    def restore(self, saved: tuple[dict[Place, Row | None], dict[Place, int]]) -> None:
        """Come back to what `save` gave."""
        self._own, self._versions = saved


_UNKNOWN: Final = Row(b"", 0)
"""Stands for a row of which nothing is known. No row has version 0."""


class _RecordingTransaction:
    """See `Transaction`."""

    __slots__ = ("_recording", "_saved")

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._saved = recording.save()

    def __enter__(self) -> Transaction:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None:
            self._recording.restore(self._saved)

    def get(self, table: Table, key: bytes) -> Row | None:
        """See `Transaction.get`."""
        return self._recording.get((NUMBERS[table._value_], key))

    def put(self, table: Table, key: bytes, value: bytes, *, version: int) -> int:
        """See `Transaction.put`."""
        check_write(table, key, value, version)
        self._recording.write((NUMBERS[table._value_], key), Row(value, version + 1), version)
        return version + 1

    def delete(self, table: Table, key: bytes, *, version: int) -> None:
        """See `Transaction.delete`."""
        check_key(table, key)
        if version == 0:
            raise Conflict("a row that is to be deleted is not there")
        self._recording.write((NUMBERS[table._value_], key), None, version)

    def scan(self, table: Table, prefix: bytes, *, limit: int | None = None) -> Sequence[tuple[bytes, Row]]:
        """See `Transaction.scan`."""
        check_limit(limit)
        return self._recording.span((NUMBERS[table._value_], prefix), ALL if limit is None else limit)

    def count(self, table: Table, prefix: bytes) -> int:
        """See `Transaction.count`."""
        return self._recording.count((NUMBERS[table._value_], prefix))
