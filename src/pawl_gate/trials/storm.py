"""`storm`: two hundred callers at once, while workers are killed, limits overrun, and the process itself dies.

Everything comes by chance, and all of it at the same time. The store goes on from life to life of its pool. In the end
each job is accounted for, and both sides of every session talk.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pawl_gate.trials import Say, TrialReport
from pawl_gate.trials.crowd import Crowd
from pawl_gate.trials.places import file_of
from pawl_gate.trials.pool_judging import Tally, life_judged
from pawl_gate.trials.pools import PoolProcess
from pawl_spec.pool.history import Allowances, Operation
from pawl_spec.shared_store import judge

STORES: Final = ("sqlite",)
AMOUNTS: Final[Mapping[str, int]] = {"pr": 15, "nightly": 220}
"""Workers killed, at one every two seconds on average. It goes on until there were `JOBS_PER_KILL` jobs for each."""

CALLERS: Final = 200
"""Jobs that are open at once, each a task of its own; as many peers."""

JOBS_PER_KILL: Final = 500
KILL_SECONDS: Final = 2.0
STOP_SECONDS: Final = 12.0
FLOOD_SECONDS: Final = 6.0
POISON_SECONDS: Final = 30.0
LIFE_SECONDS: Final = 15.0
"""Between two of a kind, on average. A life ends with the death of the process, or, each third one, by closing."""

LOOK_SECONDS: Final = 0.2
RATE: Final = 1_000
"""Jobs that are submitted in a second, at most, on average: what is written down of each takes memory here."""

SETTINGS: Final[dict[str, Any]] = {
    "workers": 2,
    "max_pending": 64,
    "max_queued": 256,
    "max_bytes": 4 << 20,
    "when_full": "refuse",
    "batch": 16,
    "in_flight": 2,
    "job_timeout": 3.0,
    "start_timeout": 30.0,
    "backoff_first": 0.05,
    "backoff_factor": 2.0,
    "backoff_most": 2.0,
    "max_failed_starts": 50,
    "tries": 3,
    "close_timeout": 15.0,
}
ALLOWED: Final = Allowances(refusal=4.0, notice=8.0, start=30.0, close=30.0, job=60.0, memory=300 << 20, overhead=4_096)
"""Two processors are shared by the pool, its workers, the peers and whoever writes all of it down."""

WAIT_SECONDS: Final = 90.0


class Storm:
    """The weather, and what it comes to."""

    def __init__(
        self, amount: int, seed: int, folder: Path, control: str | None, say: Say, report: TrialReport
    ) -> None:
        self.crowd = Crowd(seed, CALLERS)
        self.report = report
        self.tally = Tally(report)
        self._amount = amount
        self._control = control
        self._place = file_of("sqlite", folder)
        self._say = say
        self._lives = 0
        self._kills = 0
        self._began = time.monotonic()
        self._peak = 0

    def run(self) -> None:
        """Life after life."""
        while not self._enough() and not self.report.broken:
            with self._life() as pool:
                self._weather(pool)
                self._end_of_life(pool)
        with self._life() as pool:
            self.crowd.talk(pool, WAIT_SECONDS)
            self._close(pool)
        self.tally.add(judge(self.crowd.record, pooled=True))
        self.tally.close()
        self.crowd.counted["MB of memory of a process, at most"] = self._peak >> 20
        self.report.counted.update(self.crowd.counted)

    def _enough(self) -> bool:
        return self._kills >= self._amount and self.crowd.counted.get("jobs", 0) >= self._amount * JOBS_PER_KILL

    @contextmanager
    def _life(self) -> Iterator[PoolProcess]:
        """A pool from its start to its end, which is judged then: what is written down of it is not kept."""
        self._lives += 1
        # Every other life lets callers wait instead.
        given = {**SETTINGS, "when_full": "refuse" if self._lives % 2 else "wait"}
        with PoolProcess(
            given, ALLOWED, kind="sqlite", place=self._place, on_end=self.crowd.ended, control=self._control
        ) as pool:
            pool.come_up(WAIT_SECONDS)
            self.crowd.opened(pool)
            self.crowd.meet(pool, WAIT_SECONDS)
            yield pool
            self.tally.add(life_judged(pool.finished()), f"life {self._lives}, at ")
            self.crowd.count("lives")
            self._peak = max(self._peak, *(size for look in pool.looks for size in look.memory), 0)

    # -- the weather --------------------------------------------------------------------------------------------------

    def _weather(self, pool: PoolProcess) -> None:
        chance = self.crowd.random
        now = time.monotonic()
        due = {
            what: now + chance.expovariate(1 / mean)
            for what, mean in (
                (Operation.KILL, KILL_SECONDS),
                (Operation.HANG, STOP_SECONDS),
                (Operation.FLOOD, FLOOD_SECONDS),
                (Operation.POISON, POISON_SECONDS),
            )
        }
        if self._lives == 1:
            # However short the storm is, it has one.
            due[Operation.FLOOD] = now
        means = {Operation.KILL: KILL_SECONDS, Operation.HANG: STOP_SECONDS, Operation.FLOOD: FLOOD_SECONDS}
        end, look, submitted, began = now + chance.uniform(0.5, 1.5) * LIFE_SECONDS, now, 0, now
        while now < end and not self._enough() and not pool.over:
            for what in [what for what, at in due.items() if at <= now]:
                # Where all are being replaced just now, as soon as one is there.
                if self._strike(pool, what):
                    due[what] = now + chance.expovariate(1 / means.get(what, POISON_SECONDS))
            while len(pool.open) < CALLERS and submitted < (now - began) * RATE + CALLERS:
                self.crowd.next(pool)
                submitted += 1
            if look <= now:
                pool.look()
                look = now + LOOK_SECONDS
            pool.hear(0.01)
            now = time.monotonic()

    def _strike(self, pool: PoolProcess, what: Operation) -> bool:
        """Whether there was something to strike."""
        chance = self.crowd.random
        if what is Operation.FLOOD:
            self.crowd.flood(pool, 2 * (SETTINGS["max_pending"] + SETTINGS["max_queued"]))
        elif what is Operation.POISON:
            self.crowd.encrypt(pool, chance.choice(self.crowd.met), mark=chance.choice(("!kill", "!late", "!half")))
        else:
            victims = [pid for pid in (pool.with_jobs() or pool.workers()) if pid in pool.ready]
            if not victims or not pool.strike(
                chance.choice(victims), "killed" if what is Operation.KILL else "stopped"
            ):
                return False
            if what is Operation.KILL:
                self._kills += 1
                if self._kills % 10 == 0:
                    self._say(f"kill {self._kills} of {self._amount}, {self.crowd.counted.get('jobs', 0):,} jobs")
        self.crowd.count(f"operations: {what.value}")
        return True

    def _end_of_life(self, pool: PoolProcess) -> None:
        if self._lives % 3:
            self.crowd.count(f"operations: {Operation.KILL_PARENT.value}")
            self.crowd.blow(f"process {pool.pid} was killed")
            pool.kill()
        else:
            self.crowd.count(f"operations: {Operation.CLOSE_BUSY.value}")
            self._close(pool)

    def _close(self, pool: PoolProcess) -> None:
        """With whatever is open."""
        pool.close(drain=True)
        pool.hear_until(lambda: pool.closed and not pool.open, ALLOWED.close + ALLOWED.refusal)
        pool.end()


def run(store: str, amount: int, seed: int, say: Say, folder: Path, *, control: str | None = None) -> TrialReport:
    """Let it blow until `amount` workers were killed. See `Campaign`."""
    began = time.monotonic()
    report = TrialReport("storm", store, seed)
    Storm(amount, seed, folder, control, say, report).run()
    report.seconds = time.monotonic() - began
    return report
