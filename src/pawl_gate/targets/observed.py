"""A party's store, watched: a digest of its rows, counts of what it keeps, crash points, and refusals asked for."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from copy import copy
from types import TracebackType
from typing import Any, TypeAlias

from pawl.errors import Conflict, CorruptStore, StorageError, StoreBusy
from pawl.storage.contract import Row, Table, Transaction
from pawl.storage.memory import MemoryStore
from pawl.wire import records
from pawl.wire.records import DecodeError
from pawl.wire.records_pb2 import (
    GroupRecord,
    LocalIdentityRecord,
    PreKeyRecord,
    ReceivedSenderKeyRecord,
    SessionRecord,
    SignedPreKeyRecord,
)
from pawl_gate.targets.base import SimulatedCrash
from pawl_gate.targets.kept import Kept, KeptForReal, Rows
from pawl_gate.targets.rival import OpenTransaction

BEFORE_COMMIT, AFTER_COMMIT = 14, 15
"""Crash points at the first commit of an operation; smaller numbers count the store's calls."""

LATER_CALL, LATER_COMMIT = 1_000, 1_000_000
"""For what a trace has no operand for: call k from the 14th on is LATER_CALL + k, and what is before or after commit n,
counted from 0, that many times LATER_COMMIT more than at the first."""

STORE_FAULTS: dict[str, Callable[[], StorageError]] = {
    "fails": lambda: StorageError("the store cannot, as was asked for"),
    "busy": lambda: StoreBusy("the store is held by another, as was asked for"),
    "conflict": lambda: Conflict("a row changed, as was asked for"),
}
"""What the store's refusal of a call is called in the library."""

SECRET_RECORDS: dict[Table, Callable[[bytes], bytes]] = {
    Table.LOCAL: lambda value: LocalIdentityRecord.FromString(value).private,
    Table.PREKEY: lambda value: PreKeyRecord.FromString(value).private,
    Table.SIGNED_PREKEY: lambda value: SignedPreKeyRecord.FromString(value).private,
    Table.SKIPPED_KEY: lambda value: records.decode_message_seed(value).data,
    Table.KEPT_GROUP_KEY: lambda value: records.decode_message_seed(value).data,
}
"""The secret in a record, for the tables whose records hold one. Read by the package alone: records are watched, not
judged here."""


Writes: TypeAlias = dict[tuple[str, bytes], tuple[Table, Row | None]]
"""What a transaction leaves behind, by a table's name and a key: the table, and the row or that it is gone."""

ITERATION_BYTES = 4
"""At the end of the key of a kept key of a group."""

SENDING = 1
"""Where among the secrets of a session its sending chain key stands."""


class ObservedStore:
    """A store that is watched: a digest of its rows, counts of what it keeps, and crash points."""

    def __init__(self, inner: Kept) -> None:
        self.inner = inner
        self.revision = 0
        """How many transactions that wrote something were committed."""
        self.armed = False
        """Whether a crash point is set, or a call is to be refused."""
        self.crash_at: int | None = None
        self.fault_at: tuple[int, str] | None = None
        """A call that is to be refused, and how."""
        self.rival: Callable[[], None] | None = None
        """What another process does before the next transaction that writes is committed."""
        self.chains: dict[bytes, int] = {}
        """Receiving chains per session row."""
        self.kept_chain: Counter[bytes] = Counter()
        self.kept_session: Counter[bytes] = Counter()
        self.sessions: Counter[bytes] = Counter()
        self.group_chains: dict[bytes, int] = {}
        """Chains per row of a sender in a group."""
        self.kept_group: Counter[bytes] = Counter()
        self.group_secrets: dict[bytes, list[bytes]] = {}
        """Secrets per row of a chain of one's own, or of a sender's chains."""
        self.prekeys: set[int] = set()
        self.signed_prekeys: set[int] = set()
        self.secrets: dict[bytes, list[bytes]] = {}
        """Secrets per session row."""
        self.spent: bytes | None = None
        """The sending chain key that the session row written last held before."""
        self.ever: dict[bytes, None] = {}
        """Every secret that was ever stored, in order."""
        self.touched = 0
        """Rows that were read, written or deleted since it was last set to 0."""
        self.written = 0
        """Bytes that were written since it was last set to 0."""
        # By the table's name, here and in a transaction: an Enum hashes in Python code, a str does not.
        self._rows: dict[tuple[str, bytes], int] = {}
        self._digest = 0
        self._held: dict[str, Any] = {}
        self._stale: set[str] = set()
        """Names of the tables whose counts are to be made again."""
        self._calls = self._commits = self._written = 0
        """Of the operation for which something is armed: calls, commits, and those that wrote."""
        self._used = False
        """Whether there was a transaction since all rows were read last."""
        self._note_all(inner.snapshot())

    def fork(self) -> ObservedStore:
        """The same rows, counts and secrets in a store of its own."""
        twin = copy(self)
        twin.inner = self.inner.fork()
        twin.chains, twin.secrets, twin.ever = dict(self.chains), dict(self.secrets), dict(self.ever)
        twin.kept_chain, twin.kept_session = self.kept_chain.copy(), self.kept_session.copy()
        twin.sessions, twin._rows = self.sessions.copy(), dict(self._rows)
        twin.prekeys, twin.signed_prekeys = set(self.prekeys), set(self.signed_prekeys)
        twin.group_chains, twin.group_secrets = dict(self.group_chains), dict(self.group_secrets)
        twin.kept_group, twin._stale = self.kept_group.copy(), set(self._stale)
        return twin

    def in_memory(self) -> MemoryStore:
        """A copy of the rows in memory, for what is only tried."""
        return self.inner.fork() if isinstance(self.inner, MemoryStore) else MemoryStore(rows=self.inner.snapshot())

    def reopen(self) -> None:
        """The party's next process opens the store; what it finds there is what there is."""
        if isinstance(self.inner, KeptForReal):
            self.inner.reopen()
            self._used = True
            self.look_again()

    def look_again(self) -> None:
        """Read all rows of a store that is kept for real: what it holds may be other than what it was told to write."""
        if isinstance(self.inner, MemoryStore) or not self._used:
            return
        self._used = False
        rows = self.inner.snapshot()
        found = {(table.value, key): _mark(table, key, row) for table in rows for key, row in rows[table].items()}
        if found != self._rows:
            self.chains, self.secrets, self._rows = {}, {}, {}
            self.group_chains, self.group_secrets = {}, {}
            self.kept_group.clear()
            for counted in (self.kept_chain, self.kept_session, self.sessions, self.prekeys, self.signed_prekeys):
                counted.clear()
            self._digest, self._held, spent = 0, {}, self.spent
            self._note_all(rows)
            self.spent = spent

    def _note_all(self, rows: Rows) -> None:
        for table, shelf in rows.items():
            for key, row in shelf.items():
                self._note(table, key, row)

    def transaction(self) -> AbstractContextManager[Transaction]:
        self._used = True
        return _Plain(self) if self.rival is None else self._raced()

    @contextmanager
    def _raced(self) -> Iterator[Transaction]:
        """A transaction before whose commit another process comes in."""
        inner = OpenTransaction(self.inner)
        watched = _ObservedTransaction(self, inner)
        yield watched
        if inner.writes:
            self._let_rival_in()
        inner.commit()
        self.committed(watched.writes)

    def _let_rival_in(self) -> None:
        rival, self.rival = self.rival, None
        if rival is not None:
            rival()

    def committed(self, writes: Writes) -> None:
        """These rows are durable now; None: deleted."""
        for (_, key), (table, row) in writes.items():
            self._note(table, key, row)
        if writes:
            self.revision += 1
            self.strike_point(AFTER_COMMIT + LATER_COMMIT * self._written)
            self._written += self.armed

    def close(self) -> None:
        self.inner.close()

    def call(self, rows: int = 1, size: int = 0) -> None:
        """One call of the store: where a crash can strike. It touches so many rows and writes so many bytes."""
        self.touched += rows
        self.written += size
        if self.armed:
            here = self._calls
            self._calls += 1
            self.strike_point(here if here < BEFORE_COMMIT else LATER_CALL + here)

    def commit_point(self) -> None:
        """Just before a commit."""
        if self.armed:
            self.strike_point(BEFORE_COMMIT + LATER_COMMIT * self._commits)
            self._commits += 1

    def arm(self, at: int | None) -> None:
        """Set the crash point, counted from now."""
        self.crash_at = at
        self._calls = self._commits = self._written = 0
        self.armed = self.crash_at is not None or self.fault_at is not None

    def arm_fault(self, fault: tuple[int, str] | None) -> None:
        """Set the call that is refused, counted from now."""
        self.fault_at = fault
        self._calls = self._commits = self._written = 0
        self.armed = self.crash_at is not None or self.fault_at is not None

    def strike_point(self, here: int) -> None:
        """Where a crash can strike, or the store refuse."""
        if self.crash_at == here:
            self.crash_at = None
            if isinstance(self.inner, KeptForReal):
                self.inner.fall()
            raise SimulatedCrash(here)
        if self.fault_at is not None and self.fault_at[0] == here:
            (_, how), self.fault_at = self.fault_at, None
            raise STORE_FAULTS[how]()

    def _note(self, table: Table, key: bytes, row: Row | None) -> None:
        """Keep digest and counts in step with one committed row."""
        name = table._value_
        self._stale.add(name)
        old = self._rows.pop((name, key), None)
        if old is not None:
            self._digest ^= old
        if row is not None:
            new = _mark(table, key, row)
            self._rows[name, key] = new
            self._digest ^= new
        change = (row is not None) - (old is not None)
        if table is Table.SKIPPED_KEY:
            self.kept_chain[key[:-4]] += change
            self.kept_session[key[:-36]] += change
        elif table is Table.SESSION:
            self.sessions[key[:-32]] += change
            self.chains.pop(key, None)
            had = self.secrets.pop(key, None)
            self.spent = None if had is None else had[SENDING]
            if row is not None:
                session = SessionRecord.FromString(row.value)
                sending = session.sending
                # The sending chain key comes at `SENDING`.
                held = [session.root_key, sending.chain_key, sending.ratchet_private]
                self.secrets[key] = held + [chain.chain_key for chain in session.receiving]
                self.chains[key] = len(session.receiving)
        elif table in (Table.PREKEY, Table.SIGNED_PREKEY):
            number = int.from_bytes(key, "big")
            ids = self.prekeys if table is Table.PREKEY else self.signed_prekeys
            ids.add(number) if row is not None else ids.discard(number)
        elif table in (Table.SENDER_KEY, Table.RECEIVED_SENDER_KEY, Table.KEPT_GROUP_KEY):
            self._note_group(table, key, row, change)
        if row is not None:
            for secret in self._secrets_of(table, key, row):
                self.ever[secret] = None

    def _note_group(self, table: Table, key: bytes, row: Row | None, change: int) -> None:
        """The same for a row of a group."""
        if table is Table.KEPT_GROUP_KEY:
            self.kept_group[key[:-ITERATION_BYTES]] += change
            return
        self.group_chains.pop(key, None)
        self.group_secrets.pop(key, None)
        if row is None:
            return
        try:
            if table is Table.SENDER_KEY:
                own = GroupRecord.FromString(row.value)
                self.group_secrets[key] = [own.chain_key, own.signing_private]
            else:
                held = ReceivedSenderKeyRecord.FromString(row.value)
                self.group_secrets[key] = [each.chain_key for each in held.chain]
                self.group_chains[key] = len(held.chain)
        except DecodeError:
            # A broken variant wrote what is no record.
            return

    def _secrets_of(self, table: Table, key: bytes, row: Row) -> list[bytes]:
        if table is Table.SESSION:
            return self.secrets[key]
        if table in (Table.SENDER_KEY, Table.RECEIVED_SENDER_KEY):
            return self.group_secrets.get(key, [])
        read = SECRET_RECORDS.get(table)
        try:
            return [] if read is None else [read(row.value)]
        except (CorruptStore, DecodeError):
            # A broken variant wrote what is no record.
            return []

    def held(self) -> dict[str, Any]:
        """What is kept, by the names of an `Observation`; counted again only where something was written."""
        if self._stale or not self._held:
            # Another one each time: whoever was given one keeps it.
            held = dict(self._held)
            for table, count in COUNTS.items():
                if table in self._stale or not self._held:
                    held |= count(self)
            self._held, self._stale = held, set()
        return self._held

    def digest(self) -> str:
        """Of all rows and their versions: equal digests, equal state."""
        return f"{self._digest:032x}"


COUNTS: dict[str, Callable[[ObservedStore], dict[str, Any]]] = {
    Table.PREKEY.value: lambda store: {"prekeys": tuple(sorted(store.prekeys))},
    Table.SIGNED_PREKEY.value: lambda store: {"signed_prekeys": tuple(sorted(store.signed_prekeys))},
    Table.SESSION.value: lambda store: {
        "sessions": max(store.sessions.values(), default=1) - 1,
        "chains": max(store.chains.values(), default=0),
    },
    Table.SKIPPED_KEY.value: lambda store: {
        "kept_chain": max(store.kept_chain.values(), default=0),
        "kept_session": max(store.kept_session.values(), default=0),
    },
    Table.RECEIVED_SENDER_KEY.value: lambda store: {"group_chains": max(store.group_chains.values(), default=0)},
    Table.KEPT_GROUP_KEY.value: lambda store: {"group_kept": max(store.kept_group.values(), default=0)},
}
"""What is counted of the rows of a table, by its name."""


def _mark(table: Table, key: bytes, row: Row) -> int:
    """A number for a row in its place, at its version."""
    name = table._value_.encode()
    label = b"%b\0%b%b%b" % (name, len(key).to_bytes(4, "big"), key, row.version.to_bytes(8, "big"))
    return int.from_bytes(hashlib.blake2b(label + row.value, digest_size=16).digest(), "big")


class _Plain:
    """A transaction of the store alone."""

    __slots__ = ("_inner", "_store", "_watched")

    def __init__(self, store: ObservedStore) -> None:
        self._store = store
        self._inner = store.inner.transaction()

    def __enter__(self) -> Transaction:
        self._watched = _ObservedTransaction(self._store, self._inner.__enter__())
        return self._watched

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None and self._store.armed:
            try:
                self._store.commit_point()
            except BaseException as struck:
                self._inner.__exit__(type(struck), struck, struck.__traceback__)
                raise
        self._inner.__exit__(kind, error, at)
        if kind is None:
            self._store.committed(self._watched.writes)


class _ObservedTransaction:
    __slots__ = ("_inner", "_store", "writes")

    def __init__(self, store: ObservedStore, inner: Transaction) -> None:
        self._store = store
        self._inner = inner
        self.writes: Writes = {}

    def get(self, table: Table, key: bytes) -> Row | None:
        self._store.call()
        return self._inner.get(table, key)

    def put(self, table: Table, key: bytes, value: bytes, *, version: int) -> int:
        self._store.call(size=len(value))
        new = self._inner.put(table, key, value, version=version)
        self.writes[table._value_, key] = table, Row(value, new)
        return new

    def delete(self, table: Table, key: bytes, *, version: int) -> None:
        self._store.call()
        self._inner.delete(table, key, version=version)
        self.writes[table._value_, key] = table, None

    def scan(self, table: Table, prefix: bytes, *, limit: int | None = None) -> Sequence[tuple[bytes, Row]]:
        found = self._inner.scan(table, prefix, limit=limit)
        self._store.call(rows=len(found))
        return found

    def count(self, table: Table, prefix: bytes) -> int:
        self._store.call()
        return self._inner.count(table, prefix)
