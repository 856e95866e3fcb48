"""The limits of a worker pool, each with its unit, its reason and a check."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Final

from pawl.errors import InvalidArgument

MAX_WORKERS: Final = 256
"""Processes of one pool. More than that is a mistake."""

MAX_JOBS: Final = 1_000_000
"""Jobs that may be pending, or queued. More than that is a mistake."""

MAX_SECONDS: Final = 86_400.0
"""No time limit here is longer than a day."""


class WhenFull(Enum):
    """What becomes of a job for which there is no room."""

    REFUSE = "refuse"
    """It is refused at once, by `Backpressure`."""
    WAIT = "wait"
    """Its caller waits, first come, first served. Who waits costs the pool no slot and no bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """The limits of a pool. Raises: InvalidArgument.

    They are those of the whole pool, whatever the number of workers.
    """

    workers: int = 2
    """Processes, 1 to 256. More than there are cores is of no use."""
    max_pending: int = 256
    """Jobs in work: being read, at a worker, being committed. Enough to fill the batches of a few workers."""
    max_queued: int = 1024
    """Jobs that wait until fewer are in work."""
    max_bytes: int = 64 * 1024 * 1024
    """Bytes of the arguments of all jobs, pending and queued. Bounds memory where each may have megabytes."""
    when_full: WhenFull = WhenFull.REFUSE
    """What becomes of a job for which there is no room."""
    batch: int = 32
    """Jobs that a worker is given together, 1 to 1,000. What it costs to reach a worker is shared by them."""
    in_flight: int = 2
    """Batches that one worker may have, 1 to 16: while it computes one, the next one is there already."""
    job_timeout: float = 10.0
    """Seconds that a worker may take for what it was given together; then it is killed.

    The dearest message costs some 0.1 s. Of a batch each job is tried again alone; one alone ends as `JobTimeout`.
    """
    start_timeout: float = 30.0
    """Seconds until a new worker has to be ready; then it is killed. It takes half a second on an idle machine."""
    backoff_first: float = 0.05
    """Seconds before the place of a worker that died is filled again."""
    backoff_factor: float = 2.0
    """By so much that grows with each worker that dies there in a row, without having answered; 1 to 100."""
    backoff_most: float = 5.0
    """Seconds that it never exceeds."""
    max_failed_starts: int = 5
    """Workers that may die in a row, over all places, before they are ready; then the pool gives up."""
    tries: int = 3
    """Times that a job, tried alone, may kill its worker; then it is refused by `PoisonJob`."""
    close_timeout: float = 10.0
    """Seconds that closing waits for jobs, unless told otherwise."""

    def __post_init__(self) -> None:
        _check_int("workers", self.workers, MAX_WORKERS)
        _check_int("max_pending", self.max_pending, MAX_JOBS)
        _check_int("max_queued", self.max_queued, MAX_JOBS)
        _check_int("max_bytes", self.max_bytes, 2**40)
        if type(self.when_full) is not WhenFull:
            raise InvalidArgument("when_full is a WhenFull")
        _check_int("batch", self.batch, 1_000)
        _check_int("in_flight", self.in_flight, 16)
        for name in ("job_timeout", "start_timeout", "close_timeout", "backoff_first", "backoff_most"):
            check_seconds(name, getattr(self, name))
        if type(self.backoff_factor) not in (int, float) or not 1 <= self.backoff_factor <= 100:
            raise InvalidArgument("backoff_factor is a number of 1 to 100")
        if self.backoff_most < self.backoff_first:
            raise InvalidArgument("backoff_most is at least backoff_first")
        _check_int("max_failed_starts", self.max_failed_starts, 1_000)
        _check_int("tries", self.tries, 100)

    def backoff(self, deaths: int) -> float:
        """Seconds before the place is filled again where `deaths` workers, at least 1, died in a row."""
        # Beyond the limit the power would overflow, and say nothing new.
        steps = deaths - 1
        if self.backoff_factor > 1 and steps > math.log(self.backoff_most / self.backoff_first, self.backoff_factor):
            return float(self.backoff_most)
        return float(min(self.backoff_first * self.backoff_factor**steps, self.backoff_most))


def check_seconds(name: str, seconds: float) -> None:
    """A time limit is a positive number of seconds, at most a day. Raises: InvalidArgument."""
    if type(seconds) not in (int, float) or not 0 < seconds <= MAX_SECONDS:
        raise InvalidArgument(f"{name} is a positive number of seconds, at most {MAX_SECONDS:.0f}")


def _check_int(name: str, value: int, most: int) -> None:
    if type(value) is not int or not 1 <= value <= most:
        raise InvalidArgument(f"{name} is an int of 1 to {most}")
