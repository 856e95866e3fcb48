"""What every store does alike: check arguments and rows read back, bound a prefix scan, take turns.

A store for another place (a file, a server, someone's adapter) uses these, so that all stores refuse the same things by
the same names.
"""

from __future__ import annotations

import threading
from typing import Final

from pawl.errors import CorruptRecord, InvalidArgument, StorageError, StoreBusy, StoreClosed
from pawl.limits import MAX_RECORD_BYTES
from pawl.storage.contract import Row, Table

MAX_KEY_BYTES: Final = 2048
"""Bytes of a row's key. The longest, a kept message key's, holds a name of 512 bytes and some 70 more."""

_ABOVE_ALL_KEYS: Final = b"\xff" * (MAX_KEY_BYTES + 1)

MAX_VERSION: Final = 2**62
"""Largest row version. Every store's integers hold it, and counting up never reaches it."""

MAX_BUSY_TIMEOUT: Final = 86_400.0
"""Seconds. A longer wait than a day is a mistake."""

DEFAULT_BUSY_TIMEOUT: Final = 5.0
"""Seconds to wait for another writer. A transaction takes well under a millisecond, a slow disk's some ten."""

_get_ident = threading.get_ident


# -- arguments ---------------------------------------------------------------------------------------------------------


def check_key(table: Table, key: bytes) -> None:
    """A row's name is a `Table` and 0 to 2048 bytes; a prefix of a key as well. Raises: InvalidArgument."""
    if type(table) is not Table:
        raise InvalidArgument("a table is a Table")
    if type(key) is not bytes:
        raise InvalidArgument("a key is bytes")
    if len(key) > MAX_KEY_BYTES:
        raise InvalidArgument(f"a key has at most {MAX_KEY_BYTES} bytes")


def check_value(value: bytes, *, most: int = MAX_RECORD_BYTES) -> None:
    """A row's value has at most 65,536 bytes. Raises: InvalidArgument."""
    if type(value) is not bytes:
        raise InvalidArgument("a value is bytes")
    if len(value) > most:
        raise InvalidArgument(f"a value has at most {most} bytes")


def check_version(version: int) -> None:
    """An expected version counts from 0, "not there". Raises: InvalidArgument."""
    if type(version) is not int:
        raise InvalidArgument("a version is an int")
    if not 0 <= version < MAX_VERSION:
        raise InvalidArgument(f"a version is 0 to {MAX_VERSION - 1}")


def check_write(table: Table, key: bytes, value: bytes, version: int) -> None:
    """What `put` is given: `check_key`, `check_value` and `check_version`. Raises: InvalidArgument."""
    check_key(table, key)
    check_value(value)
    check_version(version)


def check_limit(limit: int | None) -> None:
    """A limit counts rows; None is no limit. Raises: InvalidArgument."""
    if limit is not None and (type(limit) is not int or limit < 0):
        raise InvalidArgument("a limit is an int from 0, or None")


def check_timeout(seconds: float) -> float:
    """A busy timeout is 0 to 86,400 seconds. Raises: InvalidArgument."""
    if type(seconds) not in (int, float) or not 0 <= seconds <= MAX_BUSY_TIMEOUT:
        raise InvalidArgument(f"a busy timeout is a number of seconds from 0 to {MAX_BUSY_TIMEOUT:.0f}")
    return float(seconds)


# -- rows --------------------------------------------------------------------------------------------------------------


def check_row(
    table: Table, key: object, value: object, version: object, *, most: int = MAX_RECORD_BYTES
) -> tuple[bytes, Row]:
    """What a medium gave back is a row that a store could have written, its value at most `most` bytes long.

    Raises: CorruptRecord.
    """
    named = key if type(key) is bytes and len(key) <= MAX_KEY_BYTES else None
    counted = version if type(version) is int and 1 <= version <= MAX_VERSION else None
    if named is None:
        raise CorruptRecord(f"{table.value}: a key that no store writes")
    if type(value) is not bytes or len(value) > most:
        raise CorruptRecord(f"{table.value}: a value that no store writes", key=named, version=counted)
    if counted is None:
        raise CorruptRecord(f"{table.value}: a version that no store writes", key=named)
    return named, Row(value, counted)


def prefix_end(prefix: bytes) -> bytes:
    """A key above every key that starts with `prefix`, and not above any other."""
    # Trailing 0xFF bytes cannot be counted up; the byte before them can.
    head = prefix.rstrip(b"\xff")
    return head[:-1] + bytes([head[-1] + 1]) if head else _ABOVE_ALL_KEYS


# -- turns -------------------------------------------------------------------------------------------------------------


class Turns:
    """One transaction at a time among the threads that share a store, and none after it was closed.

    `timeout`: seconds to wait for another thread's transaction.
    """

    __slots__ = ("_closed", "_lock", "_owner", "timeout")

    def __init__(self, timeout: float) -> None:
        self.timeout = check_timeout(timeout)
        self._lock = threading.Lock()
        self._owner: int | None = None
        self._closed = False

    def take(self) -> None:
        """Wait for this thread's turn. Raises: StorageError (nested), StoreBusy, StoreClosed."""
        me = _get_ident()
        # Only this thread writes its own number there, so reading it without the lock is safe.
        if self._owner == me:
            raise StorageError("this thread has a transaction open on this store")
        # The first try, without a clock, is the common case.
        if not self._lock.acquire(False) and not self._lock.acquire(timeout=self.timeout):
            raise StoreBusy(f"another thread held the store for more than {self.timeout:g} s")
        if self._closed:
            self._lock.release()
            raise StoreClosed("the store was closed")
        self._owner = me

    def give(self) -> None:
        """End this thread's turn."""
        self._owner = None
        self._lock.release()

    def check_open(self) -> None:
        """Raises: StoreClosed."""
        if self._closed:
            raise StoreClosed("the store was closed")

    def close(self) -> bool:
        """Let nobody have another turn; the caller has one. Says whether the store was open until now."""
        try:
            self.take()
        except StoreClosed:
            return False
        self._closed = True
        return True
