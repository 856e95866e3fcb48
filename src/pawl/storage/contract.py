"""The typed, synchronous `Store` contract: rows with versions, read and written in transactions.

A store keeps rows `(table, key) -> (value, version)`. It knows nothing of the protocol: values are opaque bytes that
`pawl.wire.records` encodes and validates. Every guarantee of the library about crashes and concurrent writers rests on
the three promises below, which `tests/storage` holds every store to.

* **Atomic**: a transaction's writes become visible and durable together or not at all (ATM-01, ATM-05, CTR-05).
* **Isolated**: two transactions that write never overlap: the second sees the first one's result, or is refused
  (ATM-04).
* **Durable**: when `transaction()` ends without an exception, its writes survive a crash of process or machine
  (a memory store: of nothing, but in the same order) (ATM-02).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from enum import Enum
from typing import NamedTuple, Protocol


class Table(Enum):
    """What kinds of rows there are. The value is the table's name in every store."""

    LOCAL = "local"
    """This device's identity key pair, registration id and counters of ids. Key: a field name."""
    IDENTITY = "identity"
    """Pinned identity keys. Key: the peer's name (all devices of a name share one identity)."""
    SESSION_INDEX = "session_index"
    """Per address the base keys of its sessions: the current one, then the archived ones, newest first."""
    SESSION = "session"
    """One session. Key: address, base key."""
    SKIPPED_KEY = "skipped_key"
    """One kept message key seed. Key: address, base key, ratchet key, counter (big-endian, so that order is age)."""
    PREKEY = "prekey"
    """One one-time prekey. Key: id, 4 bytes big-endian."""
    SIGNED_PREKEY = "signed_prekey"
    """One signed prekey. Key: id, 4 bytes big-endian."""
    SEEN_BASE_KEY = "seen_base_key"
    """Base keys of sessions built without a one-time prekey. Key: signed prekey id, base key."""
    SENDER_KEY = "sender_key"
    """One's own sending chain in a group, and how many members it has. Key: the group's id, 16 bytes."""
    GROUP_MEMBER = "group_member"
    """One member of a group, and whether it was given the chain. Key: group, address."""
    RECEIVED_SENDER_KEY = "received_sender_key"
    """The chains of one sender in a group, at most 5. Key: group, address."""
    KEPT_GROUP_KEY = "kept_group_key"
    """One kept seed of a group message. Key: group, address, chain id, iteration (big-endian)."""
    RETIRED_SENDER_KEY = "retired_sender_key"
    """A chain of a sender that is gone. Key: group, address, then chain id and signing key, or a number of 2 bytes."""
    APPLICATION = "application"
    """The application's own rows, such as plaintexts. Key: see `pawl.application`."""


class Row(NamedTuple):
    """A stored value and its version: 1 when first written, one more at each write."""

    value: bytes
    version: int

    def __repr__(self) -> str:
        # A value may hold private keys.
        return f"Row(value=<{len(self.value)} bytes>, version={self.version})"


class Transaction(Protocol):
    """The view inside `Store.transaction()`. It must not be used after the block ends."""

    def get(self, table: Table, key: bytes) -> Row | None:
        """The row, or None. Sees this transaction's own writes."""

    def put(self, table: Table, key: bytes, value: bytes, *, version: int) -> int:
        """Write a row that is now at `version` (0: not there) and return its new version.

        Raises: Conflict if the row is at another version.
        """

    def delete(self, table: Table, key: bytes, *, version: int) -> None:
        """Delete a row that is now at `version`. Raises: Conflict if it is gone or at another version."""

    def scan(self, table: Table, prefix: bytes, *, limit: int | None = None) -> Sequence[tuple[bytes, Row]]:
        """The rows whose key starts with `prefix`, in ascending order of the key's bytes, at most `limit`."""

    def count(self, table: Table, prefix: bytes) -> int:
        """How many rows have a key that starts with `prefix`."""


class Store(Protocol):
    """A place for rows. One store belongs to one device."""

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Open a transaction; commit when the block ends, roll back when it raises.

        A transaction inside another of the same thread is refused with StorageError.
        Raises: StoreBusy, StoreClosed, CorruptStore, StorageError.
        """

    def close(self) -> None:
        """Release the store. Closing twice is harmless; any later call raises StoreClosed."""
