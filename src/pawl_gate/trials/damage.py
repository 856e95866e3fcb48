"""A bit that flips, or an end that is lost, anywhere in the files of a store with a conversation in it.

The store is closed, one bit of its file is flipped (or the file is cut), and it is opened and read by the library:
every record by its key, and every table as a whole. Each read must give the true value or a refusal by name: never
another value, never "not there" for what is there, never any other exception; and what was refused must lie there as it
did (ATM-06, ATM-08). An amount of at least the file's bytes flips a bit of each of them, a smaller one of a sample.

Of SQLite's write-ahead log the end is a case of its own: the engine takes a damaged commit there, and all after it, for
commits that never ended. That is its design, and cannot be told from inside. So it is measured how many go, and judged
that what is left is a whole earlier state (ATM-06), for which the protocol has its answers, as for any restored copy.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final, cast

from pawl import Device, ProtocolError
from pawl.errors import StorageError
from pawl.storage.contract import Store, Transaction
from pawl_gate.targets.kept import Rows, rows_of
from pawl_gate.targets.passing import StoreOver
from pawl_gate.targets.variant import Variant
from pawl_gate.trials import Say, TrialReport
from pawl_gate.trials.controls import DAMAGE
from pawl_gate.trials.parties import (
    FILE,
    FaultyRun,
    FileTarget,
    FileWorld,
    Plain,
    digest_of,
    open_store,
    operation,
    report_of,
)
from pawl_spec.history import Event, History, Medium, Observation, Outcome
from pawl_spec.trace import Kind, op

STORES: Final = ("sqlite", "json")
AMOUNTS: Final[Mapping[str, int]] = {"pr": 1_000, "nightly": 200_000}
"""Bits flipped. Beside them a tenth as many cuts, and for SQLite a quarter as many flips in its log."""

STEPS: Final = 60
"""Of the conversation, beside what makes rows."""

PREKEYS: Final = 60
KEPT: Final = 40
"""One-time prekeys, and kept message keys, that are in the store."""

OF_ONE_HISTORY: Final = 2_000
"""Trials that are judged together."""

Open = Callable[[Path], Store]
"""Opens the store in a folder. Raises: StorageError."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """Stores after a conversation, and what they hold."""

    history: History
    closed: Mapping[str, bytes]
    """The files of the store that was closed."""
    logged: Mapping[str, bytes]
    """The same before: SQLite's log holds the last commits."""
    rows: Rows
    states: tuple[str, ...]
    """Digests of that store after each commit, in order."""


class _Noting(Variant):
    """The library, with the state of its stores after each commit noted."""

    def __init__(self) -> None:
        self.states: list[list[str]] = []

    def store(self, durable: Store) -> Store:
        """See `Variant`."""
        states = [digest_of(rows_of(durable))]
        self.states.append(states)
        return _NotingStore(durable, states)


class _NotingStore(StoreOver):
    def __init__(self, durable: Store, states: list[str]) -> None:
        super().__init__(durable)
        self._states = states

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        with self._durable.transaction() as inner:
            yield inner
        state = digest_of(rows_of(self._durable))
        if state != self._states[-1]:
            self._states.append(state)


def conversation(kind: str, seed: int, folder: Path) -> Conversation:
    """Two devices talk; the files of the first one."""
    place = folder / "talk"
    place.mkdir()
    noting = _Noting()
    target = FileTarget(
        lambda world_seed: FileWorld(noting, world_seed, lambda each: Plain(kind, each), place),
        name="pawl on a damaged disk",
        capabilities=frozenset({"medium"}),
    )
    run, random = FaultyRun(target, seed=seed), Random(seed)  # noqa: S311 - what is said is no secret
    for party in range(2):
        run._party(party)
    world = run.world
    world.do(0, lambda device: cast(Device, device).generate_prekeys(PREKEYS))
    run.step(op(Kind.ESTABLISH, actor=1, peer=0, one_time=1))
    for _ in range(KEPT + 1):
        run.step(op(Kind.SEND, actor=1, peer=0))
    run.step(op(Kind.DELIVER, index=KEPT))
    for _ in range(KEPT):
        run.step(op(Kind.DROP, index=0))
    for _ in range(STEPS):
        actor = random.randrange(2)
        step, _ = operation(run, random, actor, 1 - actor)
        # A restart would empty the log.
        if step.kind is not Kind.RESTART:
            run.step(step)
    one = world.parties[0]
    rows = world.rows(one)
    place = one.medium.folder
    logged = _files(place)
    world.shut(one)
    closed = _files(place)
    # Each commit is a state that a damaged log may bring back.
    for state in noting.states[0]:
        seen = Observation(state)
        number = len(run.history.events)
        run.history.events.append(
            Event(number, op(Kind.RESTART, actor=0), Outcome.DONE, actor=0, before=seen, after=seen)
        )
    return Conversation(run.finish(closing=False), closed, logged, rows, tuple(noting.states[0]))


def _files(place: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in place.iterdir() if not file.name.endswith("-shm")}


# -- one trial ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Reading:
    """What came of reading everything."""

    refused: str | None = None
    """The first refusal's code."""
    died: str | None = None
    missing: int = 0
    """Records that are there and were said not to be."""
    wrong: int = 0
    """Records that were read as another value, or that nobody wrote."""
    digest: str | None = None
    """Of all rows, where all could be read."""


def read_all(opened: Callable[[], Store], rows: Rows) -> Reading:
    """Open the store and read every record in every way."""
    reading = Reading()
    try:
        store = opened()
    except ProtocolError as error:
        return Reading(refused=error.code)
    except Exception as error:
        return Reading(died=f"{type(error).__name__}: {error}")
    try:
        try:
            found = rows_of(store)
            reading.digest = digest_of(found)
            for table, shelf in rows.items():
                reading.missing += len(shelf.keys() - found[table].keys())
                reading.wrong += sum(1 for key, row in found[table].items() if shelf.get(key) != row)
        except StorageError as error:
            reading.refused = error.code
        _read_each(store, rows, reading)
    except Exception as error:
        reading.died = f"{type(error).__name__}: {error}"
    finally:
        try:
            store.close()
        except ProtocolError as error:
            reading.refused = reading.refused or error.code
        except Exception as error:
            reading.died = f"{type(error).__name__}: {error}"
    return reading


def _read_each(store: Store, rows: Rows, reading: Reading) -> None:
    """By their keys: all in one transaction, or each in one of its own from the first that is refused."""
    wanted = [(table, key, row) for table, shelf in rows.items() for key, row in shelf.items()]
    while wanted:
        try:
            with store.transaction() as tx:
                while wanted:
                    table, key, row = wanted[-1]
                    found = tx.get(table, key)
                    wanted.pop()
                    reading.missing += found is None
                    reading.wrong += found is not None and found != row
        except StorageError as error:
            reading.refused = reading.refused or error.code
            if wanted:
                wanted.pop()


def _medium(reading: Reading, how: str, kept: bool) -> Medium:
    if reading.died is not None:
        return Medium(how, True, Outcome.DIED, reading.died, kept)
    if reading.missing or reading.wrong:
        return Medium(how, True, Outcome.DONE, None, kept, digest=f"{reading.missing} missing, {reading.wrong} wrong")
    if reading.refused is not None:
        return Medium(how, True, Outcome.REFUSED, reading.refused, kept)
    return Medium(how, True, Outcome.DONE, None, kept, digest=reading.digest)


class Bench:
    """Trials on copies of one store, which become events of its history."""

    def __init__(self, kind: str, talk: Conversation, folder: Path, opened: Open) -> None:
        self.kind = kind
        self.talk = talk
        self.folder = folder
        self.opened = opened
        self.events = list(talk.history.events)
        self.counted: Counter[str] = Counter()
        self._state = digest_of(talk.rows)

    def try_out(self, files: Mapping[str, bytes], how: str, where: str) -> Medium:
        """Open and read the store that these files are."""
        place = self.folder / "tried"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for name, content in files.items():
            (place / name).write_bytes(content)
            (place / name).chmod(0o600)
        logged = how == "log-bit-anywhere"
        reading = self._whole(place) if logged else read_all(lambda: self.opened(place), self.talk.rows)
        main = FILE[self.kind]
        kept = (place / main).exists() and (place / main).read_bytes() == files[main]
        tried = _medium(reading, how, kept)
        observed = Observation(self._state)
        self.events.append(
            Event(
                len(self.events),
                op(Kind.RESTART, actor=0),
                Outcome.DONE,
                actor=0,
                before=observed,
                after=observed,
                medium=tried,
                text=where,
            )
        )
        self.counted[f"{how}: {tried.code or ('as it was' if tried.digest == self._state else 'other')}"] += 1
        self.counted["records missed without a word"] += reading.missing
        return tried

    def _whole(self, place: Path) -> Reading:
        """Read it as the state that it is; it may be an earlier one."""
        try:
            store = self.opened(place)
        except ProtocolError as error:
            return Reading(refused=error.code)
        try:
            return Reading(digest=digest_of(rows_of(store)))
        except ProtocolError as error:
            return Reading(refused=error.code)
        finally:
            store.close()

    def history(self) -> History:
        """What was tried so far, and begin anew."""
        talked = self.talk.history
        history = History(talked.target, talked.trace, self.events)
        self.events = list(talked.events)
        return history


def flipped(data: bytes, at: int, bit: int) -> bytes:
    """The same with one bit changed."""
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def places(size: int, amount: int, random: Random) -> Iterator[tuple[int, int]]:
    """Positions and bits: each position in turn if there are enough, else a sample."""
    if amount >= size:
        for at in range(size):
            yield at, random.randrange(8)
        amount = min(amount - size, size)
    for _ in range(amount):
        yield random.randrange(size), random.randrange(8)


def lost_commits(talk: Conversation, state: str | None) -> int | None:
    """How many of the last commits are gone in this state; None where it is none of the earlier ones."""
    return None if state not in talk.states else len(talk.states) - 1 - talk.states.index(state)


def run(
    store: str, amount: int, seed: int, say: Say, folder: Path, *, control: str = "", log: bool = True
) -> TrialReport:
    """See `Campaign`. `control`: the name of a broken store. Without `log` its end is left out."""
    if store not in STORES:
        raise ValueError(f"no damage for {store}")
    began, random = time.monotonic(), Random(seed)  # noqa: S311 - see above
    talk = conversation(store, seed, folder)
    chosen = DAMAGE[control].variant if control else Variant()
    bench = Bench(store, talk, folder, lambda place: chosen.reopen(lambda: open_store(store, place)))
    report, name = TrialReport("damage", store, seed), FILE[store]
    data = talk.closed[name]
    bench.counted["bytes of the file"] = len(data)
    bench.counted["records"] = sum(map(len, talk.rows.values()))
    lost: list[int] = []

    def trials() -> Iterator[tuple[dict[str, bytes], str, str]]:
        for at, bit in places(len(data), amount, random):
            yield {**talk.closed, name: flipped(data, at, bit)}, "bit-anywhere", f"bit {bit} of byte {at}"
        for _ in range(max(amount // 10, 20)):
            size = random.choice((random.randrange(len(data)), random.randrange(len(data)) // 4096 * 4096, 0))
            yield {**talk.closed, name: data[:size]}, "cut-anywhere", f"cut to {size} bytes"
        tail = talk.logged.get(name + "-wal", b"") if log else b""
        if tail:
            bench.counted["bytes of the log"] = len(tail)
            for at, bit in places(len(tail), max(amount // 4, 1), random):
                files = {**talk.logged, name + "-wal": flipped(tail, at, bit)}
                yield files, "log-bit-anywhere", f"bit {bit} of byte {at} of the log"

    for number, (files, how, where) in enumerate(trials()):
        with chosen.patched():
            tried = bench.try_out(files, how, where)
        if how == "log-bit-anywhere" and tried.outcome is Outcome.DONE:
            gone = lost_commits(talk, tried.digest)
            lost.append(len(talk.states) if gone is None else gone)
        bench.counted["trials"] += 1
        if (number + 1) % OF_ONE_HISTORY == 0:
            report_of(bench.history(), seed, report)
            say(f"{number + 1} trials")
    report_of(bench.history(), seed, report)
    if lost:
        bench.counted["commits of the log"] = len(talk.states)
        bench.counted["commits that one bit took, at most"] = max(lost)
        bench.counted["commits that one bit took, all together"] = sum(lost)
        bench.counted["bits of the log that took none"] = sum(1 for each in lost if each == 0)
    report.counted = dict(bench.counted)
    report.seconds = time.monotonic() - began
    return report
