"""A store in one JSON file: for devices with few rows, and for people who want to look at a file.

Each commit writes the whole file anew beside the old one, syncs it, and puts it in the old one's place in one step. A
lock file beside it keeps other processes out. The layout is in docs/reference/stored-records.md.
"""

from __future__ import annotations

import json
import os
import re
import stat
import time
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from hashlib import blake2b
from types import TracebackType
from typing import Final

from pawl.errors import (
    Conflict,
    CorruptStore,
    InvalidArgument,
    OutcomeUnknown,
    StorageError,
    StoreBusy,
    UnsupportedSchema,
)
from pawl.storage.contract import Row, Table, Transaction
from pawl.storage.memory import MemoryStore, MemoryTransaction, Records
from pawl.storage.rows import DEFAULT_BUSY_TIMEOUT, Turns
from pawl.storage.sqlite_file import absolute_path, sync_folder, system_refusals

JSON_SCHEMA: Final = 2
"""Counts up when the file's layout changes, or the tables in it. 1: no tables of groups; it is read as it is."""

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

    __slots__ = ("_file", "_id", "_memory", "_process", "_seen", "_turns")

    def __init__(self, path: str | os.PathLike[str], *, busy_timeout: float = DEFAULT_BUSY_TIMEOUT) -> None:
        # Check
        self._turns = Turns(busy_timeout)
        self._file = absolute_path(path)
        self._process = os.getpid()
        self._seen: bytes | None = None
        """How the file began that was read or written last: that holds its checksum."""
        self._id: bytes | None = None
        """The store's id, once its file was read or written."""
        self._memory = MemoryStore(busy_timeout=0)
        # Commit
        with system_refusals(), self._locked() as lock:
            if not os.path.lexists(self._file):
                # Who made a store here left a mark; its file was lost, and a new one would hide that.
                if os.fstat(lock).st_size:
                    raise CorruptStore("there was a store here, but its file is gone")
                self._write(self._memory)
            if not os.fstat(lock).st_size:
                os.pwrite(lock, _MADE, 0)
                os.fsync(lock)
            self._drop_draft()
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
        owner = os.getpid()
        deadline = time.monotonic() + self._turns.timeout
        while True:
            # Opened anew each time: a lock belongs to what was opened.
            handle = os.open(self._file + _LOCK_SUFFIX, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # One whose file was taken away meanwhile keeps nobody out.
                if self._is_lock(handle):
                    break
            except BlockingIOError:
                pass
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)
            if time.monotonic() >= deadline:
                raise StoreBusy("another process held the store for longer than the busy timeout")
            time.sleep(_POLL_SECONDS)
        try:
            yield handle
        finally:
            # A child that was forked meanwhile has the lock as well: closing alone would leave it there, and what the
            # child does must leave it here.
            if os.getpid() == owner:
                fcntl.flock(handle, fcntl.LOCK_UN)
            os.close(handle)

    def _is_lock(self, handle: int) -> bool:
        """Whether the file that is open there still has the lock's name."""
        try:
            return os.path.samestat(os.fstat(handle), os.lstat(self._file + _LOCK_SUFFIX))
        except FileNotFoundError:
            return False

    def _refresh(self) -> None:
        """Read the file, if it is not the one that was read last. Raises: CorruptStore, UnsupportedSchema."""
        try:
            handle = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            raise CorruptStore("the store's file is gone") from None
        try:
            now = os.fstat(handle)
            if not stat.S_ISREG(now.st_mode):
                raise StorageError("the path is not a regular file")
        except BaseException:
            os.close(handle)
            raise
        with open(handle, "rb") as file:
            if now.st_size > MAX_JSON_BYTES:
                raise CorruptStore(f"the file is larger than {MAX_JSON_BYTES} bytes")
            data = file.read(_HEAD_BYTES)
            if data == self._seen:
                return
            data += file.read(MAX_JSON_BYTES)
        store_id, records = read_json(data)
        if self._id not in (None, store_id):
            raise CorruptStore("another store was put in the place of this one")
        # Who wrote it may have died before its name was durable, or was told that this failed: what is answered from
        # here on must not be lost with that name.
        sync_folder(os.path.dirname(self._file))
        self._id = store_id
        self._memory = MemoryStore(records=records, store_id=store_id, busy_timeout=0)
        self._seen = data[:_HEAD_BYTES]

    def _draft(self) -> str:
        folder, name = os.path.split(self._file)
        return os.path.join(folder, _DRAFT_PREFIX + name + _DRAFT_SUFFIX)

    def _drop_draft(self) -> None:
        """Who died while he wrote left one, with all keys in it. One name: under the lock there is one writer."""
        with suppress(FileNotFoundError):
            os.unlink(self._draft())

    def _write(self, memory: MemoryStore) -> None:
        """Put a new file in the place of the old one. Raises: OutcomeUnknown (only its name may be lost), OSError."""
        data = write_json(memory.store_id, memory.records_inside())
        folder, draft = os.path.dirname(self._file), self._draft()
        self._drop_draft()
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
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
        self._id, self._seen = memory.store_id, data[:_HEAD_BYTES]
        try:
            sync_folder(folder)
        except OSError as error:
            raise OutcomeUnknown(f"the new file is there, but may be lost with its name: {error.strerror}") from error


class _JSONTransaction:
    """A transaction of the memory store, in a lock, with the file written before it ends."""

    __slots__ = ("_handle", "_inner", "_lock", "_memory", "_store", "_used")

    def __init__(self, store: JSONFileStore) -> None:
        self._store = store
        self._lock: AbstractContextManager[int] | None = None
        self._handle = -1
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
                self._handle = lock.__enter__()
                self._lock = lock
                store._refresh()
            self._memory = store._memory
            self._inner = store._memory._open_transaction()
            return self._inner.__enter__()
        except BaseException:
            self._end()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        inner, memory, store = self._inner, self._memory, self._store
        if inner is None or memory is None:
            raise StorageError("the transaction is not open")
        if store._process != os.getpid():
            raise StorageError("the transaction was begun by another process, which ends it")
        try:
            if kind is None and inner.wrote:
                try:
                    with system_refusals():
                        # Whoever took the lock's file away let others in.
                        if not store._is_lock(self._handle):
                            raise Conflict("the lock's file was taken away; another writer may have been here")
                        store._write(memory)
                except BaseException as failure:
                    # What is there now is read again: the new file may have come into its place.
                    store._seen = None
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
    body = _body(store_id, records)
    data = b'{"format":"pawl store","schema":%d,"checksum":"%b","store":' % (JSON_SCHEMA, _checksum(JSON_SCHEMA, body))
    if len(data) + len(body) + len(_TAIL) > MAX_JSON_BYTES:
        raise StorageError(f"a JSON store has at most {MAX_JSON_BYTES} bytes; keep this device in SQLite")
    return data + body + _TAIL


def _body(store_id: bytes, records: Records) -> bytes:
    """What a file holds behind its head: tables in their order, rows in that of their keys."""
    rows = {
        table.value: {_text(key): [row.version, _text(row.value)] for key, row in sorted(records[table].items())}
        for table in Table
        if records.get(table)
    }
    return json.dumps({"id": _text(store_id), "rows": rows}, separators=(",", ":")).encode("ascii")


def read_json(data: bytes) -> tuple[bytes, Records]:
    """The store's id, and its sealed records, not opened yet. Raises: CorruptStore, UnsupportedSchema."""
    head = _HEAD.match(data)
    if head is None or not data.endswith(_TAIL):
        raise CorruptStore("the file is not a store, or lost its end")
    schema, body = int(head[1]), data[head.end() : -len(_TAIL)]
    if _checksum(schema, body) != head[2]:
        raise CorruptStore("the file is damaged")
    if not 1 <= schema <= JSON_SCHEMA:
        raise UnsupportedSchema(f"the store has schema {schema}, this release knows 1 to {JSON_SCHEMA}")
    # What has the right checksum was written by some release; that it was written well is not taken for granted.
    try:
        store = json.loads(body)
        records = {
            Table(name): {_bytes(key): Row(_bytes(value), version) for key, (version, value) in shelf.items()}
            for name, shelf in store["rows"].items()
        }
        store_id = _bytes(store["id"])
        MemoryStore(records=records, store_id=store_id)
        # One store has one spelling: of a member that is there twice, a parser would drop the first (PAR-05).
        if _body(store_id, records) != body:
            raise ValueError
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
