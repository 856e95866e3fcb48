"""Histories of worker pools, written by hand: what callers, the pool and somebody outside see, second by second.

A pool of two workers, 101 and 102. `Pool` writes what an honest pool shows; a test changes one thing.
"""

from __future__ import annotations

from dataclasses import replace

from pawl_spec.history import Hello, History, Observe
from pawl_spec.pool.history import (
    SECOND,
    Allowances,
    Closed,
    Closing,
    Counted,
    Ended,
    Ending,
    Happening,
    Looked,
    ParentDied,
    PoolHistory,
    Settings,
    Still,
    Struck,
    Submitted,
    Told,
)
from pawl_spec.trace import Trace

SETTINGS = Settings(
    workers=2,
    pending=2,
    queued=3,
    total_bytes=1_000_000,
    waits=False,
    job_seconds=1.0,
    batch=2,
    tries=3,
    back_off_first=0.5,
    back_off_factor=2.0,
    back_off_most=2.0,
    close_seconds=5.0,
)
ALLOWANCES = Allowances(refusal=0.5, notice=0.5, start=1.0, close=6.0, memory=100_000_000, overhead=100)


class Pool:
    """A history in the making. Times are in seconds; each step is one millisecond after the last."""

    def __init__(self, *, ready: bool = True, allowances: Allowances = ALLOWANCES, **limits: object) -> None:
        self.pool = PoolHistory(replace(SETTINGS, **limits), allowances)  # type: ignore[arg-type]
        hello = Hello("by hand", "1", Observe.WIRE, frozenset({"workers"}))
        self.history = History(hello, Trace(()), pool=self.pool)
        self.now = 0.0
        self.alive = [101, 102]
        self._jobs = 0
        self._counters: dict[str, int] = {}
        for place, pid in enumerate(self.alive):
            self.tell("worker-started", worker=place, pid=pid)
        if ready:
            self.tell("pool-ready")

    def add(self, kind: type[Happening], *values: object, **more: object) -> Pool:
        self.pool.happened.append(kind(round(self.now * SECOND), *values, **more))  # type: ignore[arg-type]
        self.now += 0.001
        return self

    def wait(self, seconds: float) -> Pool:
        self.now += seconds
        return self

    @property
    def last(self) -> Step:
        return Step(len(self.pool.happened) - 1)

    # -- what callers see --------------------------------------------------------------------------------------------

    def submit(self, what: str = "encrypt", lane: str = "bob", **more: object) -> int:
        self._jobs += 1
        self.add(Submitted, self._jobs, what, lane, **{"size": 100, **more})
        return self._jobs

    def end(self, job: int, end: Ending = Ending.RESULT, code: str = "", **more: object) -> Pool:
        return self.add(Ended, job, end, code, **more)

    def result(self, job: int, **more: object) -> Pool:
        """Its own result: the next ciphertext of its lane."""
        asked = next(each for each in self.pool.of(Submitted) if each.job == job)
        counter = self._counters.get(asked.lane, 0)
        self._counters[asked.lane] = counter + 1
        return self.end(job, **{"gave": job, "chain": f"chain of {asked.lane}", "counter": counter, **more})

    def refuse(self, job: int, code: str) -> Pool:
        return self.end(job, Ending.REFUSED, code)

    # -- what the pool tells -----------------------------------------------------------------------------------------

    def tell(self, name: str, **more: object) -> Pool:
        return self.add(Told, name, **more)

    def queue(self, job: int, queued: int = 1, pending: int = 0, total_bytes: int = 150) -> Pool:
        return self.tell("job-queued", job=job, queued=queued, pending=pending, total_bytes=total_bytes)

    def dispatch(self, job: int, worker: int = 0) -> Pool:
        return self.tell("job-dispatched", job=job, worker=worker)

    def finish(self, job: int, outcome: str = "done") -> Pool:
        return self.tell("job-ended", job=job, outcome=outcome)

    def work(self, lane: str = "bob", worker: int = 0) -> int:
        """One job from its call to its result."""
        job = self.submit(lane=lane)
        self.queue(job).dispatch(job, worker).finish(job).result(job)
        return job

    # -- from outside ------------------------------------------------------------------------------------------------

    def strike(self, pid: int, how: str = "killed") -> Pool:
        if how == "killed":
            self.alive.remove(pid)
        return self.add(Struck, pid, how)

    def look(self, *workers: int, memory: tuple[int, ...] = ()) -> Pool:
        return self.add(Looked, workers or tuple(self.alive), memory)

    def still(self, since: float) -> Pool:
        return self.add(Still, round(since * SECOND))

    def count(
        self, queued: int = 0, pending: int = 0, total_bytes: int = 0, peaks: tuple[int, int, int] = (0, 0, 0)
    ) -> Pool:
        return self.add(Counted, queued, pending, total_bytes, *peaks)

    def revive(self, pid: int, worker: int = 0, after: float = 0.5) -> Pool:
        """Another worker in the place of one that died."""
        self.wait(after).alive.append(pid)
        return self.tell("worker-revived", worker=worker, pid=pid)

    def crash(self, pid: int, worker: int = 0, *, again: int, after: float = 0.5) -> Pool:
        """A worker dies of itself, and another comes in its place."""
        self.alive.remove(pid)
        return self.tell("worker-crashed", worker=worker, pid=pid).revive(again, worker, after)

    def close(self, *, drain: bool = True, takes: float = 0.1, left: tuple[int, ...] = ()) -> Pool:
        """With nothing open."""
        return self.add(Closing, drain).wait(takes).tell("pool-closed").add(Closed, left)

    def lose_parent(self, left: tuple[int, ...] = ()) -> Pool:
        return self.add(ParentDied, left)


class Step:
    """The place of the last thing that happened."""

    def __init__(self, step: int) -> None:
        self.step = step
