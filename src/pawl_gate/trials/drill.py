"""`drill`: each operation on a pool of worker processes by itself, in the order of a plan.

Flood, kill, hang, bad argument, poison job, close while busy, and the death of the pool's own process, each on a small
pool with short times, so that what the specification says of it is reached every time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pawl_gate.trials import Say, TrialReport
from pawl_gate.trials.broken_pools import BROKEN_POOLS
from pawl_gate.trials.crowd import BAD_NAMES, Crowd
from pawl_gate.trials.places import file_of
from pawl_gate.trials.pool_judging import judged_pools
from pawl_gate.trials.pools import PoolProcess
from pawl_spec.pool.history import Allowances, Operation, PoolHistory

STORES: Final = ("sqlite",)
AMOUNTS: Final[Mapping[str, int]] = {"pr": 1, "nightly": 30}
"""How often the whole plan is gone through."""

PEERS: Final = 12
SETTINGS: Final[dict[str, Any]] = {
    "workers": 2,
    "max_pending": 8,
    "max_queued": 16,
    "max_bytes": 200_000,
    "when_full": "refuse",
    "batch": 4,
    "in_flight": 2,
    "job_timeout": 2.0,
    "start_timeout": 20.0,
    "backoff_first": 0.5,
    "backoff_factor": 2.0,
    "backoff_most": 2.0,
    "tries": 2,
    "close_timeout": 4.0,
}
"""Of the pool on trial: small, so that limits are met soon; patient enough for two processors that are busy."""

ALLOWED: Final = Allowances(refusal=3.0, notice=6.0, start=20.0, close=25.0, job=25.0, memory=200 << 20, overhead=4_096)

WAIT_SECONDS: Final = 32.0
"""For what must come: longer than anything that is allowed takes."""

SOON: Final = replace(ALLOWED, notice=2.5, start=6.0, job=9.0)
"""For a broken pool, which is waited for in vain. A whole one keeps to it too, unless the machine is very busy."""

SOON_SECONDS: Final = 13.0
"""As WAIT_SECONDS, there: past `notice`, `start` and the longest back-off together."""


class _Stuck(Exception):
    """What must come has not come."""


class Drill:
    """One time through the plan."""

    def __init__(self, seed: int, folder: Path, control: str | None, say: Say) -> None:
        self.crowd = Crowd(seed, PEERS)
        self.lives: list[PoolHistory] = []
        self.is_over = False
        """Nothing more can be seen here."""
        self._place = file_of("sqlite", folder)
        self._control = control
        self._say = say
        # A control is shown by few of them; without what shows it, it is not worth the time.
        self._parts = set(Operation) if control is None else set(BROKEN_POOLS[control].shown_by)
        self._allowed, self._patience = (ALLOWED, WAIT_SECONDS) if control is None else (SOON, SOON_SECONDS)

    def run(self) -> None:
        """Life after life of a pool over one store."""
        self._live(self._first, SETTINGS)
        if {Operation.FLOOD, Operation.CLOSE_BUSY} <= self._parts:
            self._live(self._second, {**SETTINGS, "when_full": "wait"})
        if Operation.KILL_PARENT in self._parts:
            self._live(self._killed_busy, SETTINGS)
            self._live(self._killed_idle, SETTINGS)
            self._live(self._last, SETTINGS)

    def _live(self, plan: Callable[[PoolProcess], None], given: dict[str, Any]) -> None:
        if self.is_over:
            return
        with PoolProcess(
            given, self._allowed, kind="sqlite", place=self._place, on_end=self.crowd.ended, control=self._control
        ) as pool:
            pool.come_up(WAIT_SECONDS)
            self.crowd.opened(pool)
            pool.look()
            try:
                plan(pool)
            except _Stuck:
                # What is open for so long is open for ever: the history shows it.
                pool.kill()
                self.is_over = True
            if not pool.over:
                pool.end()
            self.lives.append(pool.finished())

    def _until(self, pool: PoolProcess, enough: Callable[[], bool]) -> None:
        """Raises: _Stuck."""
        if not pool.hear_until(enough, self._patience):
            raise _Stuck

    def _did(self, operation: Operation) -> None:
        self._say(operation.value)
        self.crowd.count(f"operations: {operation.value}")

    # -- the plan -----------------------------------------------------------------------------------------------------

    def _first(self, pool: PoolProcess) -> None:
        """Everything that one life can bear."""
        self.crowd.meet(pool, WAIT_SECONDS)
        parts: dict[Operation, Callable[[PoolProcess], None]] = {
            Operation.WORK: lambda pool: self._work(pool, 60),
            Operation.BAD_ARGUMENT: self._bad,
            Operation.FLOOD: self._flood,
            Operation.KILL: self._kill,
            Operation.HANG: self._hang,
            Operation.POISON: self._poisons,
        }
        for operation, part in parts.items():
            if operation in self._parts:
                self._did(operation)
                part(pool)
        if self._control is not None and BROKEN_POOLS[self._control].breaks in ("WRK-04", "WRK-06"):
            # What is to be told within that time is due only then; without a control other parts take as long.
            pool.hear_until(lambda: False, self._allowed.notice + 0.5)
        self._work(pool, 20)
        self._did(Operation.CLOSE_BUSY)
        self._busy(pool, 20)
        pool.close(drain=True)
        self._after_close(pool)

    def _second(self, pool: PoolProcess) -> None:
        """A pool in which callers wait; it is closed without waiting for its jobs."""
        self._did(Operation.FLOOD)
        self.crowd.flood(pool, 120)
        self._settle(pool)
        self._did(Operation.CLOSE_BUSY)
        self._busy(pool, 60)
        pool.close(drain=False)
        self._after_close(pool)

    def _killed_busy(self, pool: PoolProcess) -> None:
        """The process of the pool is killed while it is busy."""
        self._settle(pool)
        self._busy(pool, 20)
        self._kill_parent(pool)

    def _killed_idle(self, pool: PoolProcess) -> None:
        """It is killed just after it handed out what it had: the last result is as young as can be."""
        self._settle(pool)
        for number in range(4):
            self.crowd.encrypt(pool, self.crowd.peers[number])
            self._until(pool, lambda: not pool.open)
        self._kill_parent(pool)

    def _kill_parent(self, pool: PoolProcess) -> None:
        self._did(Operation.KILL_PARENT)
        self.crowd.blow(f"process {pool.pid} was killed")
        pool.kill()

    def _last(self, pool: PoolProcess) -> None:
        self._settle(pool)
        # As many as fit.
        self.crowd.talk(pool, WAIT_SECONDS)
        pool.close(drain=True)
        self._after_close(pool, late=False)

    # -- its parts ----------------------------------------------------------------------------------------------------

    def _work(self, pool: PoolProcess, jobs: int) -> None:
        """Jobs of all peers, as many at once as the pool takes."""
        for _ in range(jobs):
            if len(pool.open) >= SETTINGS["max_queued"]:
                self._until(pool, lambda: len(pool.open) < SETTINGS["max_queued"])
            self.crowd.next(pool)
        self._settle(pool)

    def _busy(self, pool: PoolProcess, jobs: int) -> None:
        """The pool has jobs when this returns: they are slow ones."""
        for number in range(jobs):
            self.crowd.encrypt(pool, self.crowd.peers[number % PEERS], mark="!slow", poison=False)
        self._until(pool, lambda: bool(pool.with_jobs()))

    def _settle(self, pool: PoolProcess) -> None:
        """Nothing is open any more; what the pool then says that it holds is written down."""
        self._until(pool, lambda: not pool.open)
        pool.look()
        counts = pool.counts
        pool.tell("count")
        self._until(pool, lambda: pool.counts > counts)

    def _flood(self, pool: PoolProcess) -> None:
        """With all workers standing still: so nothing leaves, and all that is not refused is in the pool."""
        most = SETTINGS["max_pending"] + SETTINGS["max_queued"]
        self._all_there(pool)
        since = time.monotonic_ns()
        stopped = [pid for pid in pool.workers() if pool.strike(pid, "stopped")]
        self.crowd.flood(pool, 3 * most)
        pool.hear_until(lambda: len(pool.open) <= most, SETTINGS["job_timeout"] / 2)
        if pool.workers() == stopped:
            pool.stood_still(since)
        self._recover(pool)
        # And again with bytes in place of numbers, which take a slot too.
        for number in range(8):
            self.crowd.encrypt(pool, self.crowd.peers[number], padding=40_000)
        self._settle(pool)

    def _bad(self, pool: PoolProcess) -> None:
        crowd = self.crowd
        for number in range(3 * (SETTINGS["max_pending"] + SETTINGS["max_queued"])):
            crowd.bad(pool, crowd.peers[number % PEERS], BAD_NAMES[number % len(BAD_NAMES)])
        crowd.bad(pool, crowd.peers[0], "long")
        self._settle(pool)

    def _kill(self, pool: PoolProcess) -> None:
        for _ in range(2):
            self._busy(pool, 8)
            [victim, *_] = pool.with_jobs() or pool.workers()
            pool.strike(victim, "killed")
            self._recover(pool)

    def _hang(self, pool: PoolProcess) -> None:
        self._busy(pool, 8)
        [victim, *_] = pool.with_jobs() or pool.workers()
        pool.strike(victim, "stopped")
        self._recover(pool)

    def _poisons(self, pool: PoolProcess) -> None:
        self._poison(pool, "!kill")
        self._poison(pool, "!hang")

    def _poison(self, pool: PoolProcess, mark: str) -> None:
        """A job that kills, or hangs, whoever takes it, among others."""
        self.crowd.encrypt(pool, self.crowd.peers[0], mark=mark)
        for number in range(1, 6):
            self.crowd.encrypt(pool, self.crowd.peers[number])
        self._recover(pool)

    def _recover(self, pool: PoolProcess) -> None:
        """Until all jobs have ended and all workers are there, with looks on the way."""
        deadline, there = time.monotonic() + self._patience, list[int]()
        while pool.open or len(there) < SETTINGS["workers"]:
            if time.monotonic() > deadline or pool.over:
                raise _Stuck
            pool.hear_until(lambda: False, 0.1)
            there = [pid for pid in pool.look().workers if pid in pool.ready]
        self._settle(pool)

    def _all_there(self, pool: PoolProcess) -> None:
        self._until(pool, lambda: len(pool.ready) == SETTINGS["workers"])

    def _after_close(self, pool: PoolProcess, *, late: bool = True) -> None:
        self._until(pool, lambda: pool.closed and not pool.open)
        if late and pool.closed:
            # Who comes after the end is told so.
            for peer in self.crowd.peers[:3]:
                self.crowd.encrypt(pool, peer)
            pool.hear_until(lambda: not pool.open, self._allowed.refusal)


def run(store: str, amount: int, seed: int, say: Say, folder: Path, *, control: str | None = None) -> TrialReport:
    """Go through the plan `amount` times. See `Campaign`."""
    began = time.monotonic()
    report = TrialReport("drill", store, seed)
    for number in range(amount):
        place = folder / str(number)
        place.mkdir()
        drill = Drill(seed + number, place, control, say)
        drill.run()
        judged_pools(drill.crowd, drill.lives, report)
        if report.broken:
            break
    report.seconds = time.monotonic() - began
    return report
