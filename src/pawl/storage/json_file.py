"""A store in one JSON file: for devices with few rows, and for people who want to look at a file.

Each commit writes the whole file anew beside the old one, syncs it, and puts it in the old one's place in one step. A
lock file beside it keeps other processes out. The layout is in docs/reference/stored-records.md.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
import time
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from hashlib import blake2b
from types import TracebackType
from typing import Final

from pawl.errors import CorruptStore, InvalidArgument, OutcomeUnknown, StorageError, StoreBusy, UnsupportedSchema
from pawl.storage.contract import Row, Table, Transaction
from pawl.storage.memory import MemoryStore, MemoryTransaction, Records
from pawl.storage.rows import DEFAULT_BUSY_TIMEOUT, Turns
from pawl.storage.sqlite_file import absolute_path, sync_folder, system_refusals

JSON_SCHEMA: Final = 1
"""Counts up when the file's layout changes."""

MAX_JSON_BYTES: Final = 64 * 1024 * 1024
"""Bytes of one file. Each commit writes all of it; long before this a device is better kept in SQLite."""

_HEAD: Final = re.compile(rb'\{"format":"pawl store","schema":([1-9][0-9]{0,3}),"checksum":"([0-9a-f]{32})","store":')
_HEAD_BYTES: Final = 96
"""At least as long as what `_HEAD` matches, and always more of the file than its checksum."""

_TAIL: Final = b"}\n"
_MADE: Final = b"made\n"
"""What a lock's file holds once there was a store."""

_LOCK_SUFFIX: Final = ".lock"
_DRAFT_PREFIX, _DRAFT_SUFFIX = ".pawl-", ".new"

_POLL_SECONDS: Final = 0.005
"""Between two looks whether another process has let go of the lock; the system has no wait with an end."""


class JSONFileStore:
    """A `Store` in the JSON file at `path`, created with mode 0600 if nothing is there.

    Its threads take turns, and so do processes, by a lock on `path` + ".lock"; needs a system with `fcntl`.
    `busy_timeout`: seconds to wait for another writer. A symbolic link or a directory is refused.
    Raises: InvalidArgument, CorruptStore (damaged, or not a store), UnsupportedSchema, StoreBusy, StorageError.
    """

    __slots__ = ("_file", "_memory", "_process", "_seen", "_turns")

    def __init__(self, path: str | os.PathLike[str], *, busy_timeout: float = DEFAULT_BUSY_TIMEOUT) -> None:
        # Check
        self._turns = Turns(busy_timeout)
        self._file = absolute_path(path)
        self._process = os.getpid()
        self._seen: bytes | None = None
        """How the file began that was read or written last: that holds its checksum."""
        self._memory = MemoryStore(busy_timeout=0)
        # Commit
        with system_refusals(), self._locked() as lock:
            if not os.path.lexists(self._file):
                # Who made a store here left a mark; its file was lost, and a new one would hide that.
                if os.fstat(lock).st_size:
                    raise CorruptStore("there was a store here, but its file is gone")
                self._write(self._memory)
            os.pwrite(lock, _MADE, 0)
            self._refresh()

    @property
    def store_id(self) -> bytes:
        """16 random bytes that the store was made with. No secret; its records are sealed with them."""
        return self._memory.store_id

    def transaction(self) -> AbstractContextManager[Transaction]:
        """See `Store.transaction`. Its thread and its process have the store for themselves until the block ends."""
        self._turns.check_open()
        return _JSONTransaction(self)

    def close(self) -> None:
        """See `Store.close`. Everything is in the file already."""
        if self._turns.close():
            self._memory.close()
            self._turns.give()

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Keep other processes out; the lock's own file is open meanwhile. Raises: StoreBusy, StorageError."""
        try:
            import fcntl
        except ImportError:
            raise StorageError("this system has no locks on files for a JSON store") from None
        # Opened anew each time: a lock belongs to what was opened, which a child process would share.
        handle = os.open(self._file + _LOCK_SUFFIX, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            deadline = time.monotonic() + self._turns.timeout
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise StoreBusy("another process held the store for longer than the busy timeout") from None
                    time.sleep(_POLL_SECONDS)
            yield handle
        finally:
            # This lets go of the lock.
            os.close(handle)

    def _refresh(self) -> None:
        """Read the file, if it is not the one that was read last. Raises: CorruptStore, UnsupportedSchema."""
        try:
            now = os.lstat(self._file)
        except FileNotFoundError:
            raise CorruptStore("the store's file is gone") from None
        if not stat.S_ISREG(now.st_mode):
            raise StorageError("the path is not a regular file")
        if now.st_size > MAX_JSON_BYTES:
            raise CorruptStore(f"the file is larger than {MAX_JSON_BYTES} bytes")
        with open(self._file, "rb") as file:
            data = file.read(_HEAD_BYTES)
            if data == self._seen:
                return
            data += file.read(MAX_JSON_BYTES)
        store_id, records = read_json(data)
        if self._seen is not None and store_id != self._memory.store_id:
            raise CorruptStore("another store was put in the place of this one")
        self._memory = MemoryStore(records=records, store_id=store_id, busy_timeout=0)
        self._seen = data[:_HEAD_BYTES]

    def _write(self, memory: MemoryStore) -> None:
        """Put a new file in the place of the old one. Raises: OutcomeUnknown (only its name may be lost), OSError."""
        data = write_json(memory.store_id, memory.records_inside())
        folder = os.path.dirname(self._file)
        # With mode 0600.
        handle, draft = tempfile.mkstemp(suffix=_DRAFT_SUFFIX, prefix=_DRAFT_PREFIX, dir=folder)
        try:
            with open(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, self._file)
        except BaseException:
            with suppress(OSError):
                os.unlink(draft)
            raise
        self._seen = data[:_HEAD_BYTES]
        try:
            sync_folder(folder)
        except OSError as error:
            raise OutcomeUnknown(f"the new file is there, but may be lost with its name: {error.strerror}") from error


class _JSONTransaction:
    """A transaction of the memory store, in a lock, with the file written before it ends."""

    __slots__ = ("_inner", "_lock", "_memory", "_store", "_used")

    def __init__(self, store: JSONFileStore) -> None:
        self._store = store
        self._lock: AbstractContextManager[int] | None = None
        self._memory: MemoryStore | None = None
        self._inner: MemoryTransaction | None = None
        self._used = False

    def __enter__(self) -> Transaction:
        store = self._store
        if self._used:
            raise StorageError("a transaction is used once")
        if store._process != os.getpid():
            raise StorageError("the store was opened by another process: open it again in this one")
        store._turns.take()
        self._used = True
        try:
            with system_refusals():
                lock = store._locked()
                lock.__enter__()
                self._lock = lock
                store._refresh()
            self._memory = store._memory
            self._inner = store._memory.open_transaction()
            return self._inner.__enter__()
        except BaseException:
            self._end()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        inner, memory, store = self._inner, self._memory, self._store
        if inner is None or memory is None:
            raise StorageError("the transaction is not open")
        try:
            if kind is None and inner.wrote:
                try:
                    with system_refusals():
                        store._write(memory)
                except OutcomeUnknown:
                    # What is there now is read again.
                    store._seen = None
                    inner.__exit__(None, None, None)
                    raise
                except BaseException as failure:
                    inner.__exit__(type(failure), failure, failure.__traceback__)
                    raise
            inner.__exit__(kind, error, at)
        finally:
            self._end()

    def _end(self) -> None:
        self._inner = self._memory = None
        try:
            if self._lock is not None:
                self._lock.__exit__(None, None, None)
        finally:
            self._store._turns.give()


# -- the file's text ---------------------------------------------------------------------------------------------------


def write_json(store_id: bytes, records: Records) -> bytes:
    """The whole file. Raises: StorageError (too large)."""
    rows = {
        table.value: {_text(key): [row.version, _text(row.value)] for key, row in sorted(shelf.items())}
        for table, shelf in records.items()
        if shelf
    }
    body = json.dumps({"id": _text(store_id), "rows": rows}, separators=(",", ":")).encode("ascii")
    data = b'{"format":"pawl store","schema":%d,"checksum":"%b","store":' % (JSON_SCHEMA, _checksum(JSON_SCHEMA, body))
    if len(data) + len(body) + len(_TAIL) > MAX_JSON_BYTES:
        raise StorageError(f"a JSON store has at most {MAX_JSON_BYTES} bytes; keep this device in SQLite")
    return data + body + _TAIL


def read_json(data: bytes) -> tuple[bytes, Records]:
    """The store's id, and its sealed records, not opened yet. Raises: CorruptStore, UnsupportedSchema."""
    head = _HEAD.match(data)
    if head is None or not data.endswith(_TAIL):
        raise CorruptStore("the file is not a store, or lost its end")
    schema, body = int(head[1]), data[head.end() : -len(_TAIL)]
    if _checksum(schema, body) != head[2]:
        raise CorruptStore("the file is damaged")
    if schema != JSON_SCHEMA:
        raise UnsupportedSchema(f"the store has schema {schema}, this release knows {JSON_SCHEMA}")
    # What has the right checksum was written by some release; that it was written well is not taken for granted.
    try:
        store = json.loads(body)
        records = {
            Table(name): {_bytes(key): Row(_bytes(value), version) for key, (version, value) in shelf.items()}
            for name, shelf in store["rows"].items()
        }
        store_id = _bytes(store["id"])
        MemoryStore(records=records, store_id=store_id)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, Base64Error, InvalidArgument):
        raise CorruptStore("the file holds what no store writes") from None
    return store_id, records


def _checksum(schema: int, body: bytes) -> bytes:
    checksum = blake2b(b"%d\0%b" % (schema, body), digest_size=16, person=b"pawl json")
    return checksum.hexdigest().encode("ascii")


def _text(data: bytes) -> str:
    return b64encode(data).decode("ascii")


def _bytes(text: object) -> bytes:
    if type(text) is not str:
        raise TypeError("not a text")
    return b64decode(text, validate=True)
