"""A disk that is full, a file system that is read-only, a store that another process holds: each of them for real.

Two devices talk over stores on small file systems of their own: a tmpfs of 1 MiB each, mounted by a child process in
a namespace of its own, which needs no rights and leaves nothing behind. A step then meets

* `no-space`: the file system is filled up but for a few pages, so that the system says ENOSPC;
* `too-large`: the process may not make files longer than they are about now (RLIMIT_FSIZE), so that it says EFBIG;
* `read-only`: the file system is mounted read-only (EROFS) while the store is opened;
* `locked`: another process holds the store, for longer than the busy timeout.

Where a system allows no such namespace, `no-space` is left out, and `read-only` is a file and a folder that the
process may not write (it runs under another uid for so long, if it is root's). What was done is counted by these names.

Judged: a refusal by name with nothing changed (ATM-05, CTR-05), and when the trouble is over everything goes on: every
message is read once, every counter used once, both sides talk (CTR-01, CTR-03, CTR-04, CTR-08).
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Final, TypeVar, cast

from pawl import ProtocolError
from pawl_gate.targets.base import HarnessBroken, Refused
from pawl_gate.targets.variant import DeviceLike, Variant
from pawl_gate.trials import Broken, Say, TrialReport
from pawl_gate.trials.controls import DISK
from pawl_gate.trials.parties import FILE, FaultyRun, FileTarget, FileWorld, Plain, operation, report_of
from pawl_spec.history import Outcome
from pawl_spec.trace import Kind, op

T = TypeVar("T")

STORES: Final = ("sqlite", "json")
AMOUNTS: Final[Mapping[str, int]] = {"pr": 60, "nightly": 2_000}
"""Troubles that a step meets."""

FILE_SYSTEM_BYTES: Final = 1024 * 1024
PAGE: Final = 4096

BUSY_SECONDS: Final = 0.05
"""For which a store waits for another process here."""

TROUBLES: Final = ("no-space", "too-large", "read-only", "locked")

IN_THE_SPECIFICATION: Final = {"too-large": "no-space"}
"""What the specification calls a trouble, where its name is another one."""

OF_ONE_HISTORY: Final = 20
"""Troubles of one history."""

# -- small file systems ------------------------------------------------------------------------------------------------

_NEW_USER, _NEW_MOUNTS = 0x10000000, 0x00020000
_READ_ONLY, _REMOUNT = 1, 32


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def own_namespace() -> bool:
    """Let this process mount what nobody else sees. Says whether the system allows it."""
    user, group = os.getuid(), os.getgid()
    try:
        if _libc().unshare(_NEW_USER | _NEW_MOUNTS) != 0:
            return False
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    except (OSError, AttributeError):
        return False
    return True


def mount(place: Path, *, read_only: bool = False, again: bool = False) -> bool:
    """Put a small, empty file system there; or, `again`, make the one that is there read-only or writable."""
    flags = (_READ_ONLY if read_only else 0) | (_REMOUNT if again else 0)
    options = f"size={FILE_SYSTEM_BYTES},mode=0700".encode()
    return bool(_libc().mount(b"tmpfs", str(place).encode(), b"tmpfs", flags, options) == 0)


@contextmanager
def full(place: Path, free: int) -> Iterator[None]:
    """Fill the file system up but for `free` pages."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        with suppress(OSError):
            while True:
                file.write(bytes(PAGE))
        file.truncate(max(file.tell() - free * PAGE, 0))
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def short_files(most: int) -> Iterator[None]:
    """No file of this process may grow beyond `most` bytes. Python ignores the signal that says so."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def read_only_system(place: Path) -> Iterator[None]:
    """The file system is mounted read-only. Nobody has a file of it open for writing."""
    if not mount(place, read_only=True, again=True):
        raise HarnessBroken("a file system could not be made read-only: somebody has a file open")
    try:
        yield
    finally:
        mount(place, again=True)


NOBODY: Final = 65534


@contextmanager
def no_rights(place: Path) -> Iterator[None]:
    """File and folder may be read and not written, and this process is not root meanwhile."""
    files = [place, *place.iterdir()]
    modes = {file: stat.S_IMODE(file.stat().st_mode) for file in files}
    user = os.geteuid()
    for file in files:
        file.chmod(0o555 if file == place else 0o444)
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if user == 0:
            os.seteuid(0)
        for file, mode in modes.items():
            if file.exists():
                file.chmod(mode)


# -- another process ---------------------------------------------------------------------------------------------------

HOLDER: Final = """
import fcntl, sqlite3, sys
for line in sys.stdin:
    kind, path = line.rstrip("\\n").split(" ", 1)
    if kind == "sqlite":
        held = sqlite3.connect(f"file:{path}?mode=rw", uri=True, isolation_level=None)
        held.execute("BEGIN IMMEDIATE")
    else:
        held = open(path + ".lock", "r+b")
        fcntl.flock(held, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.readline()
    held.close()
    print("free", flush=True)
"""


class Holder:
    """Another process, which holds a store while it is told to."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, a fixed program
            [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def _say(self, line: str, answer: str) -> None:
        if self._process.stdin is None or self._process.stdout is None:
            raise HarnessBroken("the other process has no pipes")
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        if self._process.stdout.readline() != answer + "\n":
            raise HarnessBroken("the other process could not take the store")

    @contextmanager
    def holding(self, kind: str, path: Path) -> Iterator[None]:
        """While the block lasts, nobody else can write to the store."""
        self._say(f"{kind} {path}", "held")
        try:
            yield
        finally:
            self._say("", "free")

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


# -- the world ---------------------------------------------------------------------------------------------------------


class DiskWorld(FileWorld):
    """Parties whose file systems give trouble."""

    def __init__(
        self,
        kind: str,
        variant: Variant,
        seed: int,
        folder: Path,
        counted: Counter[str],
        *,
        mounts: bool,
        holder: Holder,
    ) -> None:
        super().__init__(variant, seed, lambda place: Plain(kind, place, BUSY_SECONDS), folder)
        self.kind = kind
        self.random = Random(seed)  # noqa: S311 - when there is trouble is no secret
        self.counted = counted
        self._mounts = mounts
        self._holder = holder
        self._trouble: dict[int, str] = {}

    def place(self) -> Path:
        """See `FileWorld`: a file system of its own, where the system allows it."""
        place = super().place()
        if self._mounts and not mount(place):
            raise HarnessBroken("a tmpfs of 1 MiB could not be mounted")
        return place

    def troubles(self) -> tuple[str, ...]:
        """Those that this system lets us make."""
        return tuple(each for each in TROUBLES if self._mounts or each != "no-space")

    def arm(self, party: int, trouble: str) -> None:
        """The party's next step meets it."""
        self._trouble[party] = trouble

    def disarm(self) -> None:
        """No trouble any more."""
        self._trouble.clear()

    def _meeting(self, party: int) -> AbstractContextManager[object]:
        trouble = self._trouble.pop(party, None)
        self.failed = trouble and IN_THE_SPECIFICATION.get(trouble, trouble)
        place = self.parties[party].medium.folder
        if trouble is None:
            return nullcontext()
        self.counted[f"steps with {trouble}"] += 1
        self.counted["troubles"] += 1
        match trouble:
            case "no-space":
                return full(place, self.random.choice((0, 0, 1, 2, 3, 8)))
            case "too-large":
                # Some way into what is written next, or into what is there.
                longest = max(file.stat().st_size for file in place.iterdir() if not file.name.endswith("-shm"))
                return short_files(
                    self.random.choice((0, 100, longest // 2, longest, longest + self.random.randrange(PAGE)))
                )
            case "read-only":
                return (read_only_system if self._mounts else no_rights)(place)
            case _:  # "locked"
                return self._holder.holding(self.kind, place / FILE[self.kind])

    def do(self, party: int, call: Callable[[DeviceLike], T]) -> T:
        """See `FileWorld`. The trouble begins and ends with the library's call."""

        def met(device: DeviceLike) -> T:
            with self._meeting(party):
                return call(device)

        self.calm()
        return super().do(party, met)

    def restart(self, party: int) -> None:
        """See `FileWorld`; where the trouble keeps it from being opened, it is opened once that is over.

        Raises: Refused.
        """
        one = self.parties[party]
        self.calm()
        if party not in self._trouble:
            super().restart(party)
            return
        self.shut(one)
        refusal: Refused | None = None
        with self._meeting(party):
            try:
                self.open(one)
            except ProtocolError as error:
                refusal = Refused(error.code, str(error))
            else:
                if self.failed == "read-only":
                    # Opened, though nothing can be written: nobody may have it open when that ends.
                    with suppress(ProtocolError):
                        self.shut(one)
        if one.device is None:
            try:
                self.open(one)
            except ProtocolError as error:
                one.ruined = error.code
        if refusal is not None:
            raise refusal


def talk(run: FaultyRun, random: Random, troubles: int) -> None:
    """Parties talk and meet with so many troubles."""
    world, made = cast(DiskWorld, run.world), 0
    for party in range(2):
        run._party(party)
    while made < troubles and not world.ruined():
        actor = random.randrange(2)
        step, acting = operation(run, random, actor, 1 - actor)
        if random.random() < 0.5:
            trouble = random.choice(world.troubles())
            if trouble == "read-only":
                # Where a store is open, its file system cannot be made read-only; it is when it is opened.
                step, acting = op(Kind.RESTART, actor=actor), actor
            world.arm(acting, trouble)
            made += 1
        event = run.step(step)
        world.disarm()
        world.counted["steps"] += 1
        if event.outcome in (Outcome.DIED, Outcome.HUNG):
            return


# -- the campaign ------------------------------------------------------------------------------------------------------


def run(
    store: str, amount: int, seed: int, say: Say, folder: Path, *, control: str = "", namespaces: bool = True
) -> TrialReport:
    """See `Campaign`. `control`: the name of a broken store. Without `namespaces` as on a system that has none."""
    if store not in STORES:
        raise ValueError(f"no disk trouble for {store}")
    began = time.monotonic()
    command = [sys.executable, "-m", "pawl_gate.trials.disk", store, str(amount), str(seed), str(folder)]
    command += [control, "mount" if namespaces else "plain"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:  # noqa: S603
        lines = []
        for line in child.stdout or ():
            lines.append(line)
            if not line.startswith("{"):
                say(line.rstrip("\n"))
    if child.returncode != 0 or not lines:
        raise HarnessBroken(f"the campaign's process ended with {child.returncode}")
    found = json.loads(lines[-1])
    broken = [Broken(**each) for each in found.pop("broken")]
    return TrialReport(**{**found, "broken": broken, "seconds": time.monotonic() - began})


def _child(store: str, amount: int, seed: int, folder: Path, control: str, *, namespaces: bool) -> TrialReport:
    report, counted = TrialReport("disk", store, seed), Counter[str]()
    # First, so that the other process sees what is mounted.
    mounts = namespaces and own_namespace()
    holder = Holder()
    counted["file systems of their own"] = int(mounts)
    chosen = DISK[control].variant if control else Variant()
    number = 0
    with ExitStack() as stack:
        stack.callback(holder.close)
        while counted["troubles"] < amount and not report.broken:
            place = folder / str(number)
            place.mkdir()
            seeded = seed * 1_000_003 + number

            def world(world_seed: int, place: Path = place) -> DiskWorld:
                return DiskWorld(store, chosen, world_seed, place, counted, mounts=mounts, holder=holder)

            one = FaultyRun(
                FileTarget(world, name=f"{chosen.name} in trouble", capabilities=frozenset({"store-faults"})),
                seed=seeded,
            )
            try:
                random = Random(seeded)  # noqa: S311 - see above
                talk(one, random, min(OF_ONE_HISTORY, amount - counted["troubles"]))
            finally:
                history = one.finish()
            report_of(history, seeded, report)
            number += 1
            print(f"{counted['troubles']} of {amount} troubles", flush=True)
    counted["histories"] = number
    report.counted = dict(counted)
    return report


if __name__ == "__main__":
    _store, _amount, _seed, _folder, _control, _namespaces = sys.argv[1:]
    _report = _child(_store, int(_amount), int(_seed), Path(_folder), _control, namespaces=_namespaces == "mount")
    print(json.dumps(asdict(_report)))
