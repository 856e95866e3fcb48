"""The application's own rows in the store, and the hook that writes a plaintext to them with its message.

A row is a head, and further parts where the value is longer than one record may be:

    head   key: 0x00, the application's key               value: length of the whole (4 bytes, big-endian), first bytes
    part   key: 0x01, length of the key (2 bytes), key, number of the part (1 byte)               value: further bytes

Heads stand in the order of the application's keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

from pawl.address import ProtocolAddress
from pawl.errors import ApplicationCallbackFailed, CorruptStore, InvalidArgument, StorageError
from pawl.limits import MAX_APPLICATION_KEY_BYTES, MAX_APPLICATION_VALUE_BYTES, MAX_RECORD_BYTES
from pawl.storage.contract import Row, Table, Transaction

_HEAD: Final = b"\0"
_PART: Final = b"\1"
_LENGTH_BYTES: Final = 4
_FIRST_BYTES: Final = MAX_RECORD_BYTES - _LENGTH_BYTES


class ApplicationRows:
    """The application's rows, in one transaction of the store. A row is a key and a value of its own choice.

    A key has 0 to 512 bytes, a value 0 to 524,288. How many rows there are is the application's affair: it deletes what
    it has dealt with. After the transaction, and in another thread, this is of no use.

    Every method raises InvalidArgument, and StorageError (or CorruptStore) for trouble with the store.
    """

    __slots__ = ("_tx", "trouble")

    def __init__(self, tx: Transaction) -> None:
        self._tx: Transaction | None = tx
        self.trouble: StorageError | None = None
        """What the store refused here."""

    def get(self, key: bytes) -> bytes | None:
        """The value of the row `key`, or None. Sees what this transaction wrote."""
        # Check
        _check_bytes(key, "a key", MAX_APPLICATION_KEY_BYTES)
        with self._opened() as tx:
            head = tx.get(Table.APPLICATION, _HEAD + key)
            return None if head is None else _value(tx, key, head)

    def put(self, key: bytes, value: bytes) -> None:
        """Write the row `key`, in the place of the one that is there."""
        # Check
        _check_bytes(key, "a key", MAX_APPLICATION_KEY_BYTES)
        _check_bytes(value, "a value", MAX_APPLICATION_VALUE_BYTES)
        with self._opened() as tx:
            old = tx.get(Table.APPLICATION, _HEAD + key)
            # Commit
            parts = _parts(len(value))
            if old is not None:
                _delete_parts(tx, key, range(parts, _parts(_length(old))))
            head = len(value).to_bytes(_LENGTH_BYTES, "big") + value[:_FIRST_BYTES]
            tx.put(Table.APPLICATION, _HEAD + key, head, version=0 if old is None else old.version)
            for number in range(parts):
                start = _FIRST_BYTES + number * MAX_RECORD_BYTES
                place = _part_key(key, number)
                row = tx.get(Table.APPLICATION, place)
                part = value[start : start + MAX_RECORD_BYTES]
                tx.put(Table.APPLICATION, place, part, version=0 if row is None else row.version)

    def delete(self, key: bytes) -> bool:
        """Delete the row `key`; says whether it was there."""
        # Check
        _check_bytes(key, "a key", MAX_APPLICATION_KEY_BYTES)
        with self._opened() as tx:
            head = tx.get(Table.APPLICATION, _HEAD + key)
            if head is None:
                return False
            # Commit
            _delete_parts(tx, key, range(_parts(_length(head))))
            tx.delete(Table.APPLICATION, _HEAD + key, version=head.version)
            return True

    def scan(self, prefix: bytes = b"", *, limit: int | None = None) -> list[tuple[bytes, bytes]]:
        """The rows, key and value, whose key starts with `prefix`, in ascending order of the key, at most `limit`."""
        # Check
        _check_bytes(prefix, "a prefix", MAX_APPLICATION_KEY_BYTES)
        with self._opened() as tx:
            heads = tx.scan(Table.APPLICATION, _HEAD + prefix, limit=limit)
            return [(key[len(_HEAD) :], _value(tx, key[len(_HEAD) :], head)) for key, head in heads]

    def close(self) -> None:
        """The transaction ends: nothing is read or written through this any more."""
        self._tx = None

    def check(self) -> None:
        """What the store refused is the end of the transaction, whatever its user made of it. Raises: StorageError."""
        # Half a row may have been written.
        if self.trouble is not None:
            raise self.trouble

    @contextmanager
    def _opened(self) -> Iterator[Transaction]:
        # Whoever keeps the rows would otherwise read and write in the middle of somebody else's step.
        if self._tx is None:
            raise StorageError("these rows are those of a transaction that has ended")
        try:
            yield self._tx
        except StorageError as error:
            self.trouble = error
            raise


def _check_bytes(data: bytes, what: str, most: int) -> None:
    if type(data) is not bytes:
        raise InvalidArgument(f"{what} is bytes")
    if len(data) > most:
        raise InvalidArgument(f"{what} has at most {most} bytes")


def _length(head: Row) -> int:
    """Bytes of the whole value that `head` begins. Raises: CorruptStore."""
    length = int.from_bytes(head.value[:_LENGTH_BYTES], "big")
    if length > MAX_APPLICATION_VALUE_BYTES or len(head.value) != _LENGTH_BYTES + min(length, _FIRST_BYTES):
        raise CorruptStore("a row of the application is not as it was written")
    return length


def _parts(length: int) -> int:
    """How many further parts a value of `length` bytes has."""
    return -(-max(length - _FIRST_BYTES, 0) // MAX_RECORD_BYTES)


def _part_key(key: bytes, number: int) -> bytes:
    return b"%b%b%b%c" % (_PART, len(key).to_bytes(2, "big"), key, number)


def _value(tx: Transaction, key: bytes, head: Row) -> bytes:
    length = _length(head)
    value = head.value[_LENGTH_BYTES:] + b"".join(
        _part(tx, _part_key(key, number)).value for number in range(_parts(length))
    )
    if len(value) != length:
        raise CorruptStore("a row of the application is not as it was written")
    return value


def _part(tx: Transaction, place: bytes) -> Row:
    row = tx.get(Table.APPLICATION, place)
    if row is None:
        raise CorruptStore("a part of an application's row is gone")
    return row


def _delete_parts(tx: Transaction, key: bytes, numbers: range) -> None:
    for number in numbers:
        place = _part_key(key, number)
        tx.delete(Table.APPLICATION, place, version=_part(tx, place).version)


# -- the hook ---------------------------------------------------------------------------------------------------------

StorePlaintext: TypeAlias = Callable[[ProtocolAddress, bytes, ApplicationRows], None]
"""Called with the peer, the plaintext and the rows to store it in; returns None."""


class HookTrouble(ApplicationCallbackFailed):
    """The hook did not store a plaintext, so that its message was not read."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the message was not read: store_plaintext {why}")
        self.why = why
        """"raised" or "bad-answer"."""


def run_hook(hook: Callable[..., object], tx: Transaction, peer: ProtocolAddress, plaintext: bytes) -> None:
    """Let the application store `plaintext` in the transaction that reads it.

    Raises: HookTrouble, from the hook's own exception if it raised; StorageError, where the store refused what the hook
    asked of it; whatever is no `Exception` goes through as it is.
    """
    rows = ApplicationRows(tx)
    try:
        answer = hook(peer, plaintext, rows)
    except Exception as error:
        # What the store refused stays the store's refusal.
        rows.check()
        raise HookTrouble("raised") from error
    finally:
        rows.close()
    rows.check()
    # What a coroutine function returns is stored nowhere until somebody awaits it, and that would be too late.
    if answer is not None:
        raise HookTrouble("bad-answer")
