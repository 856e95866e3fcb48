"""SQLite over a `Disk`: a VFS of apsw's, and a connection of apsw's that looks like one of the module `sqlite3`.

The library's store uses the standard module, whose SQLite is one of its own and sees no VFS of apsw's. So the store
runs here over apsw's SQLite, by a thin connection in the place where `pawl.storage.sqlite_file.connect` makes one: the
store itself, its statements and its settings are the real ones. What is left on the disk is opened by the standard
module again; the two may be of different releases (docs/explanation/what-a-store-survives.md says which were measured).

An error of the file system that SQLite itself would hide comes out of apsw all the same, so that a commit whose
automatic checkpoint failed looks like one that failed: the store then says `outcome-unknown` where it need not.

Needs the extra: pip install 'pawl-signal[gate,trials]'.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, cast
from unittest import mock
from urllib.parse import quote

import apsw

from pawl.storage import sqlite_file
from pawl_gate.trials.faulty_disk import Disk, Failed
from pawl_gate.trials.faulty_system import system_over

NAME: Final = "pawl-faulty"

_DISKS: Final[dict[str, Disk]] = {}
"""By folder: SQLite knows files by their names alone."""

_CODES: Final = {
    "write": apsw.SQLITE_IOERR_WRITE,
    "truncate": apsw.SQLITE_IOERR_TRUNCATE,
    "sync": apsw.SQLITE_IOERR_FSYNC,
    "sync-folder": apsw.SQLITE_IOERR_DIR_FSYNC,
    "unlink": apsw.SQLITE_IOERR_DELETE,
    "create": apsw.SQLITE_CANTOPEN,
    "read": apsw.SQLITE_IOERR_READ,
}


@contextmanager
def _as_sqlite() -> Iterator[None]:
    """What the disk says, in SQLite's codes."""
    try:
        yield
    except Failed as failed:
        full = failed.errno == errno.ENOSPC and failed.kind != "create"
        raise apsw.exception_for(apsw.SQLITE_FULL if full else _CODES[failed.kind]) from None


class _File(apsw.VFSFile):
    """A database, a journal or a log. Shared memory and locks are those of the system."""

    def __init__(self, base: str, name: Any, flags: list[int], disk: Disk, path: str) -> None:
        self._disk = disk
        self._path = path
        asked = flags[0]
        logs = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL | apsw.SQLITE_OPEN_WAL
        # As SQLite's own: the first sync of a new log syncs its folder as well.
        self._new_name = bool(asked & logs and asked & apsw.SQLITE_OPEN_CREATE)
        super().__init__(base, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        with _as_sqlite():
            self._disk.write(self._path, offset, bytes(data), lambda part: super(_File, self).xWrite(part, offset))

    def xTruncate(self, newsize: int) -> None:
        with _as_sqlite():
            self._disk.truncate(self._path, newsize, lambda: super(_File, self).xTruncate(newsize))

    def xSync(self, flags: int) -> None:
        with _as_sqlite():
            self._disk.sync(self._path)
            if self._new_name:
                self._disk.sync_folder()
                self._new_name = False

    def xRead(self, amount: int, offset: int) -> bytes:
        with _as_sqlite():
            return self._disk.read(lambda: super(_File, self).xRead(amount, offset))


class _System(apsw.VFS):
    """SQLite's own file system, with what changes files noted by their disk."""

    def __init__(self) -> None:
        super().__init__(NAME, "", maxpathname=0)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        disk = None if path is None else _DISKS.get(os.path.dirname(path))
        if disk is None:
            return apsw.VFSFile("", name, flags)
        with _as_sqlite():
            if flags[0] & apsw.SQLITE_OPEN_CREATE:
                return disk.create(path, lambda: _File("", name, flags, disk, path))
            # Made by a call that the disk does not see (a temporary name): on the disk only by its next name.
            disk.look(path)
            return _File("", name, flags, disk, path)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        disk = _DISKS.get(os.path.dirname(filename))
        if disk is None:
            super().xDelete(filename, syncdir)
            return
        with _as_sqlite():
            disk.unlink(filename, lambda: super(_System, self).xDelete(filename, False))
            if syncdir:
                disk.sync_folder()


_registered: _System | None = None


def _register() -> None:
    global _registered
    if _registered is None:
        _registered = _System()


# -- a connection ------------------------------------------------------------------------------------------------------


_CLASSES: Final[dict[int, type[sqlite3.Error]]] = {
    sqlite3.SQLITE_CORRUPT: sqlite3.DatabaseError,
    sqlite3.SQLITE_NOTADB: sqlite3.DatabaseError,
    sqlite3.SQLITE_TOOBIG: sqlite3.DataError,
    sqlite3.SQLITE_CONSTRAINT: sqlite3.IntegrityError,
    sqlite3.SQLITE_MISMATCH: sqlite3.IntegrityError,
}
"""Where the standard module does not raise OperationalError."""


@contextmanager
def _as_module() -> Iterator[None]:
    """Errors of apsw as the module `sqlite3` would raise them."""
    try:
        yield
    except apsw.Error as error:
        code = getattr(error, "extendedresult", 0)
        raised = _CLASSES.get(code & 0xFF, sqlite3.OperationalError)(str(error))
        raised.sqlite_errorcode = code
        raise raised from None


class _Cursor:
    """The rows of a statement that has run, and how many it changed."""

    def __init__(self, rows: list[tuple[Any, ...]], rowcount: int) -> None:
        self._rows = rows
        self.rowcount = rowcount

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self._rows

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self._rows)


_CHANGES: Final = ("INSERT", "UPDATE", "DELETE", "REPLACE")


class Connection:
    """As much of `sqlite3.Connection` as the library's store uses."""

    def __init__(self, file: str, mode: str, busy_timeout: float) -> None:
        _register()
        flags = apsw.SQLITE_OPEN_URI | (apsw.SQLITE_OPEN_READWRITE if mode == "rw" else apsw.SQLITE_OPEN_READONLY)
        with _as_module():
            self._inner = apsw.Connection(f"file:{quote(file)}?mode={mode}", flags=flags, vfs=NAME)
            self._inner.set_busy_timeout(int(busy_timeout * 1000))
        self.text_factory: Callable[[bytes], object] | type = str

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> _Cursor:
        with _as_module():
            rows = [tuple(map(self._value, row)) for row in self._inner.execute(statement, values)]
            changed = self._inner.changes() if statement.startswith(_CHANGES) else -1
        return _Cursor(rows, changed)

    def _value(self, value: object) -> object:
        return self.text_factory(value.encode()) if type(value) is str and self.text_factory is not str else value

    @property
    def in_transaction(self) -> bool:
        return self._inner.in_transaction

    def setlimit(self, category: int, limit: int) -> None:
        self._inner.limit(category, limit)

    def close(self) -> None:
        # SQLite's own closing hides what fails in it, such as the last checkpoint; apsw tells of it once it is closed.
        with suppress(apsw.Error):
            self._inner.close()


def _connect(file: str, mode: str, busy_timeout: float) -> sqlite3.Connection:
    return cast(sqlite3.Connection, Connection(file, mode, busy_timeout))


@contextmanager
def sqlite_over(disk: Disk) -> Iterator[None]:
    """While the block lasts, the library's SQLite store opens files on this disk; what was opened so stays there."""
    _DISKS[str(disk.folder)] = disk
    with system_over(disk), mock.patch.object(sqlite_file, "connect", _connect):
        yield


def forget(disk: Disk) -> None:
    """Nothing is open on the disk any more."""
    _DISKS.pop(str(disk.folder), None)
    with suppress(OSError):
        disk.close()
