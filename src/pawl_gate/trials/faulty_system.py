"""The calls of `os` that the stores make for their files, over a `Disk`: the JSON store, and how a SQLite file is made.

A shim stands in the place of the module `os` in two modules of the library while they use the disk. Everything that
changes no file passes through.
"""

from __future__ import annotations

import builtins
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Final
from unittest import mock

from pawl.storage import json_file, sqlite_file
from pawl_gate.trials.faulty_disk import Disk

PIECE: Final = 4096
"""Bytes that are written at once; the operating system keeps its files in pages of that size."""


class FaultyOS:
    """The module `os`, with the calls that change files noted by the disk."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._open: dict[int, str] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: str, flags: int, mode: int = 0o777) -> int:
        """See `os.open`."""
        makes = bool(flags & os.O_CREAT)
        handle = self._disk.create(path, lambda: os.open(path, flags, mode)) if makes else os.open(path, flags, mode)
        self._open[handle] = path
        return handle

    def fsync(self, handle: int) -> None:
        """See `os.fsync`: of a file, or of the folder."""
        path = self._open[handle]
        if os.path.isdir(path):
            self._disk.sync_folder()
        else:
            self._disk.sync(path)

    def pwrite(self, handle: int, data: bytes, offset: int) -> int:
        """See `os.pwrite`."""
        return self._disk.write(self._open[handle], offset, data, lambda part: os.pwrite(handle, part, offset))

    def link(self, source: str, target: str) -> None:
        """See `os.link`."""
        self._disk.link(source, target)

    def unlink(self, path: str) -> None:
        """See `os.unlink`."""
        self._disk.unlink(path)

    def replace(self, source: str, target: str) -> None:
        """See `os.replace`."""
        self._disk.replace(source, target)

    def opened(self, file: Any, mode: str) -> IO[bytes]:
        """See the builtin `open`, of a handle."""
        if "w" in mode:
            return _Written(self._disk, self._open[file], builtins.open(file, mode, buffering=0))  # type: ignore[return-value]
        return _Read(self._disk, builtins.open(file, mode))  # type: ignore[return-value]


class _Held:
    """A file that is closed at the end of a block."""

    def __init__(self, disk: Disk, file: IO[bytes]) -> None:
        self._disk = disk
        self._file = file

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def fileno(self) -> int:
        return self._file.fileno()


class _Written(_Held):
    """A file that is written from its start, piece by piece."""

    def __init__(self, disk: Disk, path: str, file: IO[bytes]) -> None:
        super().__init__(disk, file)
        self._path = path
        self._at = 0

    def write(self, data: bytes) -> int:
        for start in range(0, len(data), PIECE):
            piece = data[start : start + PIECE]
            self._disk.write(self._path, self._at, piece, self._file.write)
            self._at += len(piece)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""


class _Read(_Held):
    def read(self, size: int) -> bytes:
        return self._disk.read(lambda: self._file.read(size))


@contextmanager
def system_over(disk: Disk) -> Iterator[None]:
    """While the block lasts, the library's stores use this disk."""
    shim = FaultyOS(disk)
    with (
        mock.patch.object(sqlite_file, "os", shim),
        mock.patch.object(json_file, "os", shim),
        mock.patch.object(json_file, "open", shim.opened, create=True),
    ):
        yield
