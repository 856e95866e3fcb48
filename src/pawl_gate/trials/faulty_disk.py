"""A disk that loses what was not synced: what is written and named in one folder, noted as it passes by.

The files are real ones in a real folder, and whoever reads them sees what was written last, as on any system. Beside
that the disk keeps what a power loss could take away: the former content of each sector that was written since its
file's last sync, and the changes of names since the folder's last sync. `lose` makes another folder with what a
machine might find there after the power came back.

What it can simulate: writes that are lost, torn at each sector of 512 bytes, or reordered between two syncs; a file
whose length is lost or comes back; names that are lost, in the order in which they were made, however the content
fares (so that a rename may outlive the content of what was renamed); an operation that fails (EIO, ENOSPC), a write
that fails half-way; after a failed fsync, writes that no later fsync brings to the disk unless they are written
again, as on Linux; reads that fail or are cut short.

What it cannot: sectors that are destroyed rather than old or new (SQLite counts on "powersafe overwrite" too); a disk
that lies about a sync; damage at rest (the campaign `damage` does that); two machines; memory that is mapped: of
SQLite's files that is the index of its log, "-shm", which holds nothing that must last and is gone after a loss.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final, TypeVar

T = TypeVar("T")

SECTOR: Final = 512
"""Bytes that a disk writes whole or not at all. Larger sectors tear in fewer places."""

SYNCS: Final = frozenset({"sync", "sync-folder"})
WRITES: Final = frozenset({"write", "truncate"})

FAILURES: Final = {
    "no-space": (errno.ENOSPC, WRITES | {"create"}),
    "write-fails": (errno.EIO, WRITES),
    "sync-fails": (errno.EIO, SYNCS),
    "name-fails": (errno.EIO, frozenset({"create", "link", "unlink", "replace"})),
    "read-fails": (errno.EIO, frozenset({"read"})),
    "short-read": (0, frozenset({"read"})),
}
"""How operations fail: what the system says, and of which kinds they are."""


class Failed(OSError):
    """An operation did not succeed: the disk failed, or the power is gone."""

    def __init__(self, number: int, kind: str) -> None:
        super().__init__(number, os.strerror(number))
        self.kind = kind


@dataclass(slots=True)
class _File:
    handle: int
    """Open for reading as long as the disk is looked at: a name may go, and closing would drop SQLite's own locks."""
    size: int
    """Bytes at the last sync."""
    former: dict[int, bytes] = field(default_factory=dict)
    """By number: what is on the disk of each sector that was written since."""
    stuck: set[int] = field(default_factory=set)
    """Sectors whose sync failed: no later one brings them to the disk."""

    def save(self, first: int, last: int) -> None:
        """Sectors `first` to `last` are to be written."""
        for number in range(first, last + 1):
            self.stuck.discard(number)
            if number not in self.former:
                self.former[number] = os.pread(self.handle, SECTOR, number * SECTOR)

    def synced(self) -> None:
        """What was written is on the disk now."""
        self.former = {number: self.former[number] for number in self.stuck}
        self.size = os.fstat(self.handle).st_size

    def lost(self, random: Random) -> bytes:
        """The content after a power loss."""
        now = os.fstat(self.handle).st_size
        content = bytearray(os.pread(self.handle, now, 0))
        if not self.former and now == self.size:
            return bytes(content)
        # All, none and anything between: each loss has its own odds.
        odds = random.choice((0.0, 0.5, 1.0, random.random()))
        size = now if random.random() < odds else self.size
        content.extend(bytes(max(size - now, 0)))
        for number, former in sorted(self.former.items()):
            start = number * SECTOR
            # A length that comes back brings its content with it.
            if random.random() >= odds or (size > now and start + SECTOR > now):
                end = min(start + SECTOR, len(content))
                if start < end:
                    content[start:end] = former[: end - start].ljust(end - start, b"\0")
        return bytes(content[:size])


class Disk:
    """The files of one folder. `close` it when nobody has them open any more."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.operations = 0
        """Operations since it was made, reads not counted unless `counts_reads`."""
        self.counts_reads = False
        self.dead = False
        """The power is gone, or the process."""
        self.powered = True
        """If it is dead: only the process is."""
        self.failed = 0
        """Operations that failed as they were told to."""
        self._strike: int | None = None
        self._in_sync = False
        self._power = True
        self._failure = ""
        self._fails_from = self._fails_times = 0
        self._files: dict[int, _File] = {}
        self._names: dict[str, int] = {}
        self._pending: list[tuple[str, str, int]] = []
        for entry in folder.iterdir():
            self._names[entry.name] = self.look(entry).st_ino

    # -- trouble ------------------------------------------------------------------------------------------------------

    def strike(self, after: int | None, *, power: bool = True, in_sync: bool = False) -> None:
        """Let the power go after so many more operations, in the midst of the next; None: it stays.

        Without `power` only the process dies. `in_sync`: not before the next sync, of which nothing was done.
        """
        self._strike = None if after is None else self.operations + after
        self._power, self._in_sync = power, in_sync

    def fail(self, failure: str, *, after: int = 0, times: int = 1) -> None:
        """After so many more operations, let the next ones that `failure` (of `FAILURES`) concerns fail. "": none."""
        self._failure, self._fails_from, self._fails_times = failure, self.operations + after, times
        self.failed = 0

    @property
    def unsynced(self) -> bool:
        """A power loss could take something away."""
        return bool(self._pending) or any(
            each.former or os.fstat(each.handle).st_size != each.size for each in self._files.values()
        )

    def _perform(self, kind: str, action: Callable[[], T], half: Callable[[], object] = lambda: None) -> T:
        """One operation: it is carried out, or fails, or the power goes in it. Raises: Failed, OSError."""
        if self.dead:
            raise Failed(errno.EIO, kind)
        here, self.operations = self.operations, self.operations + 1
        if self._strikes(here, kind):
            self.dead, self.powered = True, not self._power
            # What it did may be on the disk or not, as what was done before; a sync did nothing.
            if kind not in SYNCS:
                action()
            raise Failed(errno.EIO, kind)
        if self._fails_times and here >= self._fails_from and kind in FAILURES[self._failure][1]:
            self._fails_times -= 1
            self.failed += 1
            half()
            raise Failed(FAILURES[self._failure][0], kind)
        return action()

    def _strikes(self, here: int, kind: str) -> bool:
        """Whether it is in this operation that the power goes, or the process dies."""
        if self._strike is None:
            return False
        return here >= self._strike and kind in SYNCS if self._in_sync else here == self._strike

    # -- files --------------------------------------------------------------------------------------------------------

    def look(self, path: Path | str) -> os.stat_result:
        """Keep an eye on the file that is there. What it holds now is on the disk."""
        status = os.stat(path)
        if status.st_ino not in self._files:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._files[status.st_ino] = _File(handle, os.fstat(handle).st_size)
        return status

    def _file(self, path: str) -> _File:
        return self._files[self.look(path).st_ino]

    def write(self, path: str, offset: int, data: bytes, do: Callable[[bytes], T]) -> T:
        """`do` writes `data` at `offset`."""
        file = self._file(path)

        def action(part: bytes) -> T:
            if part:
                file.save(offset // SECTOR, (offset + len(part) - 1) // SECTOR)
            return do(part)

        return self._perform("write", lambda: action(data), lambda: action(data[: len(data) // 2]))

    def truncate(self, path: str, size: int, do: Callable[[], T]) -> T:
        """`do` sets the file's length."""
        file = self._file(path)

        def action() -> T:
            end = os.fstat(file.handle).st_size
            if size < end:
                file.save(size // SECTOR, (end - 1) // SECTOR)
            return do()

        return self._perform("truncate", action)

    def sync(self, path: str) -> None:
        """The file's content is to be on the disk. There is no need to do it: this machine keeps its power."""
        file = self._file(path)
        self._perform("sync", file.synced, lambda: file.stuck.update(file.former))

    def read(self, do: Callable[[], bytes]) -> bytes:
        """`do` reads."""
        if not self.counts_reads:
            if self.dead:
                raise Failed(errno.EIO, "read")
            return do()
        try:
            return self._perform("read", do)
        except Failed as failed:
            if failed.errno == 0:
                data = do()
                return data[: len(data) // 2]
            raise

    # -- names --------------------------------------------------------------------------------------------------------

    def _named(self, kind: str, name: str, number: int) -> None:
        self._pending.append((kind, os.path.basename(name), number))

    def create(self, path: str, do: Callable[[], T]) -> T:
        """`do` opens a file, which it makes if there is none."""

        def action() -> T:
            opened = do()
            number = self.look(path).st_ino
            self._files[number].size = 0
            self._named("link", path, number)
            return opened

        return do() if os.path.lexists(path) and not self.dead else self._perform("create", action)

    def link(self, source: str, target: str) -> None:
        """A second name."""

        def action() -> None:
            os.link(source, target)
            self._named("link", target, self.look(source).st_ino)

        self._perform("link", action)

    def replace(self, source: str, target: str) -> None:
        """Another name, in the place of what had it."""

        def action() -> None:
            number = self.look(source).st_ino
            os.replace(source, target)
            self._named("link", target, number)
            self._named("unlink", source, number)

        self._perform("replace", action)

    def unlink(self, path: str, do: Callable[[], object] | None = None) -> None:
        """A name goes."""

        def action() -> None:
            if do is None:
                os.unlink(path)
            else:
                do()
            self._named("unlink", path, 0)

        if os.path.lexists(path):
            self.look(path)
        self._perform("unlink", action)

    def sync_folder(self) -> None:
        """Names are to be on the disk."""

        def action() -> None:
            self._names = self._after(len(self._pending))
            self._pending.clear()

        self._perform("sync-folder", action)

    def _after(self, changes: int) -> dict[str, int]:
        names = dict(self._names)
        for kind, name, number in self._pending[:changes]:
            if kind == "link":
                names[name] = number
            else:
                names.pop(name, None)
        return names

    # -- afterwards ---------------------------------------------------------------------------------------------------

    def lose(self, random: Random, into: Path) -> None:
        """Write what a machine may find after a power loss into another folder, which is empty."""
        content: dict[int, bytes] = {}
        for name, number in self._after(random.randint(0, len(self._pending))).items():
            if number not in content:
                content[number] = self._files[number].lost(random)
            handle = os.open(into / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(handle, "wb") as file:
                file.write(content[number])

    def outlive(self, into: Path) -> Disk:
        """The process is gone, the machine is not: another folder with all that was written and named, synced or not.

        What a power loss could take away from this one it can take away from that one.
        """
        content = {}
        for name, number in self._after(len(self._pending)).items():
            handle = self._files[number].handle
            content[name] = os.pread(handle, os.fstat(handle).st_size, 0)
            with open(os.open(into / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as copied:
                copied.write(content[name])
        twin = Disk(into)
        numbers = {number: twin._names[name] for name, number in self._after(len(self._pending)).items()}
        for number, file in self._files.items():
            if number not in numbers:
                # It has no name any more, but may get one back.
                numbers[number] = twin._keep(os.pread(file.handle, os.fstat(file.handle).st_size, 0))
            other = twin._files[numbers[number]]
            other.size, other.former, other.stuck = file.size, dict(file.former), set(file.stuck)
        twin._names = {name: numbers[number] for name, number in self._names.items()}
        twin._pending = [(kind, name, numbers.get(number, 0)) for kind, name, number in self._pending]
        return twin

    def _keep(self, content: bytes) -> int:
        """A file without a name."""
        path = self.folder / ".nameless"
        path.write_bytes(content)
        number = self.look(path).st_ino
        path.unlink()
        return number

    def close(self) -> None:
        """Look no longer."""
        for file in self._files.values():
            os.close(file.handle)
        self._files.clear()
