"""Power losses and failing operations below a store, at any operation on its files.

Devices talk over stores on a simulated disk (`faulty_disk` says what it can and cannot simulate): new sessions,
messages in any order, replays, restarts. Again and again the power goes, in the midst of an operation on a file: in a
step, in the checkpoint after it, while a store is made, opened or closed, and while nothing happens. What is left is
opened by the ordinary store on this machine's own files, and every record is read. Or the process alone dies there, and
the power goes later. Or an operation fails: no space, EIO from a write, a sync, a rename or a read, a read that is cut
short. What happened becomes a history, and the specification judges it: before or after and nothing else (ATM-01), what
was handed out is there (ATM-02), refused by name with nothing changed (ATM-05, CTR-05), no counter twice (CTR-01,
CTR-02), no message twice (CTR-03), and in the end both sides talk (CTR-08).

A call that ends as `outcome-unknown` is judged like one that a crash ended: nobody has its result. While its process
goes on the outcome stays unknown, until the next commit or the next opening.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any, Final, TypeVar, cast
from unittest import mock

from pawl import ProtocolError
from pawl.storage import sqlite
from pawl.storage.contract import Store
from pawl.storage.memory import MemoryStore
from pawl_gate.targets.base import SimulatedCrash
from pawl_gate.targets.kept import rows_of
from pawl_gate.targets.variant import DeviceLike, Variant
from pawl_gate.trials import Say, TrialReport, Unavailable
from pawl_gate.trials.controls import POWER_LOSS
from pawl_gate.trials.faulty_disk import FAILURES, Disk
from pawl_gate.trials.faulty_system import system_over
from pawl_gate.trials.parties import (
    FILE,
    NOTHING,
    FaultyRun,
    FileTarget,
    FileWorld,
    Party,
    digest_of,
    open_store,
    operation,
    report_of,
)
from pawl_spec.history import Event, Observation, Outcome
from pawl_spec.trace import Kind, op

T = TypeVar("T")

STORES: Final = ("sqlite", "json")
AMOUNTS: Final[Mapping[str, int]] = {"pr": 500, "nightly": 20_000}
"""Power losses."""

CHECKPOINT_COMMITS: Final = 7
"""In place of 256, so that the power goes in checkpoints as often as anywhere else."""

CREATION: Final = 70
"""Operations on files in which a SQLite store and its device are made: 65 or so."""

LOSSES: Final = 25
"""Power losses of one history: some hundred operations, which are judged together."""

LOOKS: Final = 6
"""After one of so many acknowledged steps it is looked at what a power loss would leave."""


class FaultyMedium:
    """A folder on a disk that may lose its power."""

    def __init__(self, kind: str, folder: Path, disk: Disk | None = None) -> None:
        self.kind = kind
        self.folder = folder
        self.disk = Disk(folder) if disk is None else disk
        if kind == "sqlite":
            # Only where it is needed: it needs the extra.
            from pawl_gate.trials import faulty_vfs

            self._over: Callable[[Disk], AbstractContextManager[None]] = faulty_vfs.sqlite_over
            self._forget: Callable[[Disk], None] = faulty_vfs.forget
        else:
            self._over, self._forget = system_over, Disk.close

    def using(self) -> AbstractContextManager[object]:
        """See `Medium`."""
        return self._over(self.disk)

    def open(self) -> Store:
        """See `Medium`."""
        return open_store(self.kind, self.folder)

    def lost(self) -> bool:
        """See `Medium`."""
        return self.disk.dead

    def drop(self, store: Store | None) -> None:
        """Nobody uses it any more; the folder goes."""
        self.disk.dead = True
        if store is not None:
            with suppress(Exception), self.using():
                store.close()
        self._forget(self.disk)
        shutil.rmtree(self.folder)


class PowerWorld(FileWorld):
    """Parties on disks that lose their power."""

    def __init__(self, kind: str, variant: Variant, seed: int, folder: Path, counted: Counter[str]) -> None:
        super().__init__(variant, seed, lambda place: FaultyMedium(kind, place), folder)
        self.kind = kind
        self.random = Random(seed)  # noqa: S311 - when the power goes is no secret
        self.counted = counted
        self._usual: dict[int, list[int]] = {}
        """How many operations on files the last steps of each party were."""
        self._crash: set[int] = set()
        self._failure: dict[int, str] = {}
        self.outlived: set[int] = set()
        """Whose process died, and no step of theirs came after."""

    def _disk(self, party: int) -> Disk:
        return self._medium(self.parties[party]).disk

    def _medium(self, one: Party) -> FaultyMedium:
        return cast(FaultyMedium, one.medium)

    # -- steps --------------------------------------------------------------------------------------------------------

    def arm_crash(self, party: int, at: int) -> None:
        """The power goes in the party's next operation, wherever chance says."""
        self._crash.add(party)

    def arm_failure(self, party: int, failure: str) -> None:
        """Operations on files fail in the party's next operation."""
        self._failure[party] = failure

    def begin(self, party: int) -> None:
        """See `FileWorld`."""
        self.calm()
        disk, most = self._disk(party), max(self._usual.get(party, ()), default=4) + 1
        self._began = disk.operations
        if party in self._crash:
            self._crash.discard(party)
            # A process that dies in a sync leaves the most that the next one may read and a power loss may take back.
            power, in_sync = self.random.random() < 0.7, self.random.random() < 0.5
            disk.strike(self.random.randrange(most), power=power, in_sync=in_sync and not power)
        elif party in self._failure:
            name = self._failure.pop(party)
            disk.counts_reads = "read" in name
            if disk.counts_reads:
                self._forget_pages(self.parties[party])
            # Once, a few times, or until somebody puts things right.
            disk.fail(name, after=self.random.randrange(most), times=self.random.choice((1, 2, 1_000_000)))
            self.failed = name

    def _forget_pages(self, one: Party) -> None:
        """What SQLite read before, it reads again."""
        connection = getattr(one.store, "_connection", None)
        if connection is not None:
            connection.execute("PRAGMA shrink_memory").fetchall()

    def do(self, party: int, call: Callable[[DeviceLike], T]) -> T:
        """See `FileWorld`."""
        one, disk = self.parties[party], self._disk(party)
        try:
            result = super().do(party, call)
        except SimulatedCrash:
            if disk.dead:
                self.counted["processes that died" if disk.powered else "power losses in a step"] += 1
            raise
        finally:
            # The trouble is over.
            disk.strike(None)
            disk.counts_reads = False
            failed = disk.failed
            disk.fail("", times=0)
            if not failed:
                self.failed = None
            else:
                self.counted[f"steps with {self.failed}"] += 1
        usual = self._usual.setdefault(party, [])
        usual.append(disk.operations - self._began)
        del usual[:-CHECKPOINT_COMMITS]
        if self.random.randrange(LOOKS) == 0:
            one.durable = self._survives(one)
        return result

    def _survives(self, one: Party) -> bool:
        """Whether a power loss now would take nothing away."""
        self.counted["looks after a step"] += 1
        place = self.place()
        self._medium(one).disk.lose(self.random, place)
        try:
            return self._ordinary(place).digest == digest_of(self.rows(one))
        finally:
            shutil.rmtree(place)

    def _ordinary(self, place: Path) -> Observation:
        """What the ordinary store makes of a folder: every record is read."""
        try:
            store = open_store(self.kind, place)
        except ProtocolError as error:
            return Observation(f"cannot be opened: {error.code}")
        try:
            return Observation(digest_of(rows_of(store)))
        except ProtocolError as error:
            return Observation(f"cannot be read: {error.code}")
        finally:
            store.close()

    def restart(self, party: int) -> None:
        """See `World`; after a power loss from what is left."""
        one = self.parties[party]
        if one.medium.lost():
            if self._disk(party).powered:
                self._outlive(one)
                self.outlived.add(party)
            else:
                self.lose(one)
            self.reopen(one)
        elif one.ruined is None:
            # After an unknown outcome too: while the process goes on it stays unknown, until its next commit.
            super().restart(party)

    def _outlive(self, one: Party) -> None:
        """The process is gone: what it wrote is there, synced or not."""
        place = self.place()
        medium, store = self._medium(one), one.store
        disk = medium.disk.outlive(place)
        one.store = one.device = None
        medium.drop(store)
        one.medium = FaultyMedium(self.kind, place, disk)

    def lose(self, one: Party) -> Observation:
        """The power is gone: the party's folder is what is left of it. Says what the ordinary store reads there."""
        place = self.place()
        medium, store = self._medium(one), one.store
        medium.disk.lose(self.random, place)
        one.store = one.device = None
        medium.drop(store)
        looked = place
        if self.random.random() < 0.5:
            # The log stays there, for the next opening.
            looked = self.folder / "looked"
            shutil.copytree(place, looked)
        seen = self._ordinary(looked)
        if looked != place:
            shutil.rmtree(looked)
        one.medium = self.on(place)
        self.counted["power losses"] += 1
        return seen

    def reopen(self, one: Party) -> None:
        """Open it again; if that is refused, the party is ruined."""
        try:
            self.open(one)
        except ProtocolError as error:
            one.ruined = error.code

    # -- outside of steps ---------------------------------------------------------------------------------------------

    def at_rest(self, party: int) -> tuple[str, str]:
        """The power goes while nothing happens."""
        one = self.parties[party]
        before = self.observe(party).digest
        seen = self.lose(one)
        self.reopen(one)
        return before, seen.digest

    def in_closing(self, party: int) -> tuple[str, str]:
        """The power goes while the store is closed, or right after."""
        one = self.parties[party]
        before = self.observe(party).digest
        self._disk(party).strike(self.random.randrange(8))
        with suppress(ProtocolError):
            self.shut(one)
        seen = self.lose(one)
        self.reopen(one)
        return before, seen.digest

    def in_opening(self, party: int) -> tuple[str, str]:
        """The power goes while the store is opened, or right after: what is there may be a log that nobody closed."""
        one = self.parties[party]
        before = self.observe(party).digest
        if self.random.random() < 0.5:
            self.shut(one)
        self.lose(one)
        self._disk(party).strike(self.random.randrange(8))
        self._open_as_far_as_it_goes(one)
        seen = self.lose(one)
        self.reopen(one)
        return before, seen.digest

    def in_creating(self, party: int) -> tuple[str, str, str]:
        """The power goes while a party is made that is not there yet: what was there, what is, what was to be."""
        one = self.parties.get(party) or self.party(party)
        before = self._ordinary(one.medium.folder).digest if self._there(one) else digest_of(NOTHING)
        rng = one.rng.copy()
        self._disk(party).strike(self.random.randrange(CREATION))
        self._open_as_far_as_it_goes(one)
        acknowledged = None if one.medium.lost() else self.observe(party).digest
        seen = self.lose(one)
        # What is left is opened again, or refused.
        self._open_as_far_as_it_goes(one)
        if one.ruined is None:
            self.shut(one)
        if acknowledged is not None:
            return acknowledged, seen.digest, acknowledged
        made = MemoryStore()
        Variant().device(made, self.setup(one, rng))
        return before, seen.digest, digest_of(made.snapshot())

    def _open_as_far_as_it_goes(self, one: Party) -> None:
        """Whatever is raised once the power is gone, nobody hears; before, the party is ruined."""
        try:
            self.open(one)
        except Exception as error:
            if not one.medium.lost():
                one.ruined = str(getattr(error, "code", error))

    def _there(self, one: Party) -> bool:
        return (one.medium.folder / FILE[self.kind]).exists()


class PowerRun(FaultyRun):
    """A run in which the power may go outside of steps as well; that becomes a restart that a crash ended."""

    world: PowerWorld

    def cut(self, party: int, before: str, after: str, complete: str) -> Event:
        """Note a power loss outside of a step."""
        operation = op(Kind.RESTART, actor=party)
        event = Event(
            len(self.history.events),
            operation,
            Outcome.CRASHED,
            actor=party,
            before=Observation(before),
            after=Observation(after),
            complete=complete,
            text=after if after.startswith("cannot") else "",
        )
        self._ops.append(operation)
        self.history.events.append(event)
        return event


FAILS: Final = {
    # No system cuts a read short in the midst of a file, and SQLite takes one that is for the file's end.
    "sqlite": tuple(name for name in FAILURES if name != "short-read"),
    "json": tuple(FAILURES),
}
"""How operations may fail below each kind of store."""

PARTIES: Final = 2


def talk(run: PowerRun, random: Random, losses: int) -> None:
    """Parties are made, talk, and lose their power, until it went so often or one of them is beyond help."""
    world, counted = run.world, run.world.counted
    start = counted["power losses"]
    for party in range(PARTIES):
        for _ in range(random.randrange(3)):
            run.cut(party, *world.in_creating(party))
            counted["power losses in creating"] += 1
        if world.ruined():
            return
        run._party(party)
    while counted["power losses"] - start < losses:
        if world.ruined():
            return
        actor = random.randrange(PARTIES)
        peer = 1 - actor
        trouble = random.random()
        if trouble < 0.12:
            where: Any = random.choice((world.at_rest, world.in_closing, world.in_opening))
            before, after = where(actor)
            run.cut(actor, before, after, before)
            counted[f"power losses {where.__name__.replace('_', ' ')}"] += 1
            continue
        step, acting = operation(run, random, actor, peer)
        armed = trouble < 0.5
        if armed:
            run.step(op(Kind.CRASH, actor=acting, at=0))
        elif trouble < 0.7:
            world.arm_failure(acting, random.choice(FAILS[world.kind]))
        event = run.step(step)
        world._failure.clear()
        counted["steps"] += 1
        counted["steps acknowledged"] += event.outcome is Outcome.DONE
        if event.outcome in (Outcome.DIED, Outcome.HUNG):
            return
        if world.ruined():
            return
        over = armed and event.outcome is not Outcome.CRASHED and event.actor is not None
        if over or (acting in world.outlived and random.random() < 0.5):
            # The step was over before it went: then it goes right after. So it may after a process that died.
            before, after = world.at_rest(acting)
            run.cut(acting, before, after, before)
            counted["power losses at rest"] += 1
        world.outlived.clear()


def run(store: str, amount: int, seed: int, say: Say, folder: Path, *, control: str = "") -> TrialReport:
    """See `Campaign`. `control`: the name of a broken store."""
    if store not in STORES:
        raise ValueError(f"no power losses for {store}")
    chosen = POWER_LOSS[control].variant if control else Variant()
    if store == "sqlite" and find_spec("apsw") is None:
        raise Unavailable("apsw is not installed: pip install 'pawl-signal[gate,trials]'")
    report = TrialReport("power-loss", store, seed)
    counted: Counter[str] = Counter()
    began = time.monotonic()
    number = 0
    while counted["power losses"] < amount:
        place = folder / str(number)
        place.mkdir()
        seeded = seed * 1_000_003 + number
        target = FileTarget(
            lambda world_seed, place=place: PowerWorld(store, chosen, world_seed, place, counted),  # type: ignore[misc]
            name=f"{chosen.name} on a faulty disk",
            capabilities=frozenset({"crash", "store-faults"}),
        )
        with mock.patch.object(sqlite, "CHECKPOINT_COMMITS", CHECKPOINT_COMMITS):
            one = PowerRun(target, seed=seeded)
            try:
                random = Random(seeded)  # noqa: S311 - see above
                talk(one, random, min(LOSSES, amount - counted["power losses"]))
            finally:
                history = one.finish()
        report_of(history, seeded, report)
        number += 1
        if number % 20 == 0:
            say(f"{counted['power losses']} of {amount} power losses, {counted['steps']} steps")
        if report.broken:
            break
    counted["histories"] = number
    report.counted = dict(counted)
    report.seconds = time.monotonic() - began
    return report
