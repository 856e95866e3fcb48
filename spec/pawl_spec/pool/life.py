"""What a pool's history comes to: its jobs, its workers, and what it held when."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Final

from pawl_spec.pool.history import (
    SECOND,
    Closed,
    Closing,
    Ended,
    Ending,
    Looked,
    ParentDied,
    PoolHistory,
    Struck,
    Submitted,
    Told,
)

BACKPRESSURE = "backpressure"
"""The refusal, and the event."""

POOLS_OWN: Final = frozenset({BACKPRESSURE, "worker-crashed", "job-timeout", "poison-job", "pool-closed"})
"""Refusals that say nothing of the job's arguments, and come from no worker."""


@dataclass(slots=True)
class Job:
    """One call, and all that its caller was told."""

    asked: Submitted
    endings: list[Ended] = field(default_factory=list)

    @property
    def ended(self) -> Ended | None:
        """How it ended first."""
        return self.endings[0] if self.endings else None

    @property
    def pushed_back(self) -> bool:
        """It was refused for a limit."""
        return bool(self.endings) and self.endings[0].code == BACKPRESSURE

    @property
    def explained(self) -> bool:
        """Nobody was told whether it happened, for a reason."""
        lost = (Ending.LOST, Ending.UNKNOWN, Ending.CANCELLED)
        return bool(self.endings) and self.endings[0].end in lost

    def __str__(self) -> str:
        """For people."""
        lane = f" for {self.asked.lane}" if self.asked.lane else ""
        return f"job {self.asked.job} ({self.asked.what}{lane})"


@dataclass(frozen=True, slots=True)
class Death:
    """A worker's death, as the pool tells it, and what it owes."""

    told: Told
    row: int
    """Deaths in a row in that place, this one included: nothing was answered from there between them."""
    revived: Told | None


class Life:
    """A history, read once."""

    def __init__(self, history: PoolHistory) -> None:
        self.history = history
        self.settings = history.settings
        self.allowances = history.allowances
        happened = history.happened
        self.began = happened[0].at if happened else 0
        self.ended = happened[-1].at if happened else 0
        self.jobs: dict[int, Job] = {}
        self.strangers: list[Ended] = []
        """Endings of jobs that nobody submitted."""
        for each in happened:
            if isinstance(each, Submitted):
                self.jobs[each.job] = Job(each)
            elif isinstance(each, Ended):
                if each.job in self.jobs:
                    self.jobs[each.job].endings.append(each)
                else:
                    self.strangers.append(each)
        self.closing = next(history.of(Closing), None)
        self.closed = next(history.of(Closed), None)
        self.parent_died = next(history.of(ParentDied), None)
        self.looks = list(history.of(Looked))
        self.blows = list(history.of(Struck))
        self._held = _Held([job for job in self.jobs.values() if job.asked.good and not job.pushed_back])

    @property
    def until(self) -> int:
        """Until when the pool was to do what it is for: its closing, its process's death, or the end of the history."""
        if self.closing is not None:
            return self.closing.at
        return self.ended if self.parent_died is None else self.parent_died.at

    def time(self, at: int) -> str:
        """A time, for people: seconds since the history began."""
        return f"{(at - self.began) / SECOND:.3f} s"

    # -- jobs ---------------------------------------------------------------------------------------------------------

    def open_between(self, since: int, until: int) -> tuple[int, int]:
        """At most how many jobs were in the pool at any time from `since` to `until`, and at most their bytes."""
        return self._held.between(since, until)

    def bad_before(self, at: int) -> bool:
        """Whether a bad argument was given before that time."""
        return any(not job.asked.good and job.asked.at <= at for job in self.jobs.values())

    def quiet_before(self, at: int) -> int:
        """The last time before `at` at which no job was open."""
        return self._held.quiet_before(at, self.began)

    @cached_property
    def troubles(self) -> list[int]:
        """When workers were struck, or died of a job of their own."""
        return sorted({blow.at for blow in self.blows} | {told.at for told in self.history.told("worker-crashed")})

    # -- workers ------------------------------------------------------------------------------------------------------

    def deaths(self) -> Iterator[Death]:
        """Each death that the pool tells of, and the revival that follows in the same place."""
        row: dict[int | None, int] = defaultdict(int)
        at_work: dict[int | None, int | None] = {}
        open_: dict[int | None, tuple[Told, int]] = {}
        for told in self.history.of(Told):
            if told.name == "worker-crashed":
                row[told.worker] += 1
                if told.worker in open_:
                    yield Death(*open_[told.worker], None)
                open_[told.worker] = told, row[told.worker]
            elif told.name in ("worker-revived", "worker-started") and told.worker in open_:
                yield Death(*open_.pop(told.worker), told)
            elif told.name == "job-retried":
                at_work.pop(told.job, None)
            elif told.name in ("job-dispatched", "job-ended") and told.job in at_work:
                # Its worker answered: with a result, a refusal, or that it needs to know more.
                place = at_work.pop(told.job)
                if told.outcome not in POOLS_OWN:
                    row[place] = 0
            if told.name == "job-dispatched":
                at_work[told.job] = told.worker
        for told, count in open_.values():
            yield Death(told, count, None)

    @cached_property
    def places(self) -> dict[int | None, int | None]:
        """By process id: the place of a worker, as the pool tells it."""
        return {told.pid: told.worker for told in self.history.told("worker-started", "worker-revived")}

    @cached_property
    def first_seen(self) -> dict[int | None, int]:
        """By process id of a worker: when a look saw it first."""
        seen: dict[int | None, int] = {}
        for look in self.looks:
            for pid in look.workers:
                seen.setdefault(pid, look.at)
        return seen

    def struck_between(self, since: int, until: int) -> int:
        """How many workers were killed or stopped in that time."""
        return sum(since <= blow.at <= until for blow in self.blows)

    def owed_since(self, blow: Struck) -> int | None:
        """Since when a worker that was stopped owed the answer to a job; None: it never did, as far as was told.

        An answer that was on its way when it was stopped comes soon.
        """
        place = self.places.get(blow.pid, -1)
        sent: dict[int | None, int] = {}
        owed: list[int] = []
        soon = int(self.settings.job_seconds / 2 * SECOND)
        for told in self.history.told("job-dispatched", "job-ended", "job-retried"):
            if told.name == "job-dispatched" and told.worker == place:
                sent[told.job] = max(told.at, blow.at)
            elif told.job in sent:
                since = sent.pop(told.job)
                if told.at - since > soon:
                    owed.append(since)
        return min([*owed, *sent.values()], default=None)


class _Held:
    """How many jobs are open at a time, by their callers' view: from the call until it has ended."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._began = sorted((job.asked.at, job.asked.size) for job in jobs)
        self._ended = sorted((job.endings[0].at, job.asked.size) for job in jobs if job.endings)
        self._began_bytes = [0, *accumulate(size for _, size in self._began)]
        self._ended_bytes = [0, *accumulate(size for _, size in self._ended)]

    def between(self, since: int, until: int) -> tuple[int, int]:
        """Count and bytes of those that were open at any time in between."""
        began = bisect_right(self._began, until, key=lambda each: each[0])
        ended = bisect_left(self._ended, since, key=lambda each: each[0])
        return began - ended, self._began_bytes[began] - self._ended_bytes[ended]

    def quiet_before(self, at: int, first: int) -> int:
        """The last time before `at` at which none was open, or `first`."""
        ended = bisect_left(self._ended, at, key=lambda each: each[0])
        while ended > 0:
            time = self._ended[ended - 1][0]
            if bisect_right(self._began, time, key=lambda each: each[0]) == ended:
                return time
            ended -= 1
        return first
