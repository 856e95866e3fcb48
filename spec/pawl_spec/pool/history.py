"""The history of a worker pool: what its callers, the pool itself and somebody outside saw while it lived.

A history is one pool's life: from its start to its closing, or to the death of the process that it lived in. It holds
three views. Callers know what they submitted and how that ended. The pool tells events. Who stands outside strikes
(kills a worker, stops it, floods) and looks (which processes there are, how much memory). No view is trusted alone.

Times are nanoseconds of one clock that all views read. What "within a stated time" means is given beside the history.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeVar

SECOND: Final = 1_000_000_000
"""Nanoseconds."""


class Operation(Enum):
    """What is done to a pool. A campaign is made of these; each must be reached, or nothing is known."""

    WORK = "work"
    """Jobs of many callers at once, which are what a pool is for."""
    FLOOD = "flood"
    """More jobs at once than the limits allow."""
    KILL = "kill"
    """A worker is killed with SIGKILL."""
    HANG = "hang"
    """A worker is stopped with SIGSTOP while it has a job."""
    BAD_ARGUMENT = "bad argument"
    """A job whose argument is none."""
    POISON = "poison job"
    """A job that kills each worker that takes it."""
    CLOSE_BUSY = "close while busy"
    """The pool is closed while it has jobs."""
    KILL_PARENT = "kill the parent"
    """The process that the pool lives in is killed with SIGKILL."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The limits in force, as the pool was given them."""

    workers: int
    pending: int
    """Jobs taken into work at once."""
    queued: int
    """Jobs waiting for that."""
    total_bytes: int
    """Bytes of the arguments of all of them."""
    waits: bool
    """Over a limit a caller waits instead of being refused."""
    job_seconds: float
    """How long a worker may take for what it was sent at once."""
    batch: int
    """Jobs sent to a worker at once, at most."""
    tries: int
    """How many workers a job by itself may cost; then it is refused."""
    back_off_first: float
    """Seconds between a worker's death and the start of another in its place."""
    back_off_factor: float
    """By which that grows with each death in a row."""
    back_off_most: float
    close_seconds: float
    """How long closing may take; what has not ended then is refused."""

    def back_off(self, row: int) -> float:
        """Seconds that are due after the last of `row` deaths in a row."""
        return float(min(self.back_off_first * self.back_off_factor ** (row - 1), self.back_off_most))


@dataclass(frozen=True, slots=True)
class Allowances:
    """What "at once", "within a stated time" and "bounded" mean in this history. Seconds, where nothing else is said.

    They depend on the machine and on how busy the campaign keeps it, so who runs the campaign states them.
    """

    refusal: float = 1.0
    """From a call to its refusal, where that is due at once."""
    notice: float = 2.0
    """From a worker's death to its being noticed; the same for one that hangs, after its job's time is up."""
    start: float = 10.0
    """From the decision to start a worker to its being there."""
    close: float = 20.0
    """From the call that closes a pool to its end."""
    job: float = 60.0
    """From a call to its end, or from the last blow to that, whichever is later."""
    memory: int = 0
    """Bytes of resident memory of the pool's process and of each worker; 0: not stated, and so not judged."""
    overhead: int = 4_096
    """Bytes by which the pool may count a job larger than its caller does."""


# -- what happened -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that was seen at a time."""

    at: int


@dataclass(frozen=True, slots=True)
class Submitted(Happening):
    """A caller calls. `at` is just before the call."""

    job: int
    """The caller's number of it."""
    what: str
    """`encrypt`, `decrypt`, ...; for people."""
    lane: str = ""
    """Whose jobs are taken in order: the peer's name. Empty: of nobody."""
    size: int = 0
    """Bytes of its arguments."""
    good: bool = True
    """Its arguments are what they should be."""
    poison: bool = False
    """It kills, or stops, each worker that takes it."""
    may: tuple[str, ...] = ()
    """Refusals that the campaign gives a reason for, besides those of the pool: of a message that is a repeat."""


class Ending(Enum):
    """How a job ended, as its caller saw it."""

    RESULT = "a result"
    REFUSED = "refused"
    UNKNOWN = "outcome unknown"
    CANCELLED = "cancelled"
    """By its caller."""
    LOST = "lost with its caller"
    """The process of pool and caller was killed: it happened or not, whole."""
    FAILED = "failed"
    """By an exception that is no typed refusal."""


@dataclass(frozen=True, slots=True)
class Ended(Happening):
    """A caller is told how its job ended. `at` is just after that; of a caller that was killed, when it was dead."""

    job: int
    end: Ending
    code: str = ""
    """Of a refusal; of a failure, what was raised."""
    gave: int | None = None
    """Of a result: the job whose result it is; -1: nobody's. None: that cannot be told."""
    chain: str = ""
    """Of an encryption: the sending chain of its ciphertext."""
    counter: int = -1
    """Of an encryption: the counter of its first ciphertext."""
    count: int = 1
    """Of an encryption: how many ciphertexts were asked for, with counters in a row."""


@dataclass(frozen=True, slots=True)
class Told(Happening):
    """The pool tells an event. Fields that the event does not have are None."""

    name: str
    job: int | None = None
    """The pool's own number of a job."""
    worker: int | None = None
    """The place of a worker."""
    pid: int | None = None
    outcome: str | None = None
    queued: int | None = None
    pending: int | None = None
    total_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Struck(Happening):
    """Somebody outside strikes a worker."""

    pid: int
    how: str
    """`killed` or `stopped`."""


@dataclass(frozen=True, slots=True)
class Still(Happening):
    """From `since` to `at` every worker stood still: no job can have ended by a result of theirs."""

    since: int


@dataclass(frozen=True, slots=True)
class Looked(Happening):
    """Somebody outside looks at the processes."""

    workers: tuple[int, ...]
    """Process ids of the pool's workers that are alive."""
    memory: tuple[int, ...] = ()
    """Resident bytes of the pool's process, then of the workers; empty: not measured."""


@dataclass(frozen=True, slots=True)
class Counted(Happening):
    """What the pool says that it holds."""

    queued: int
    pending: int
    total_bytes: int
    peak_queued: int
    peak_pending: int
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Closing(Happening):
    """Somebody closes the pool."""

    drain: bool


@dataclass(frozen=True, slots=True)
class Closed(Happening):
    """The call that closes it has ended."""

    left: tuple[int, ...] = ()
    """Process ids of workers that are there all the same, dead and not waited for included."""


@dataclass(frozen=True, slots=True)
class ParentDied(Happening):
    """The process of the pool was killed, and is dead."""

    left: tuple[int, ...] = ()
    """Process ids of workers that are there the stated time afterwards."""


H = TypeVar("H", bound=Happening)


@dataclass(slots=True)
class PoolHistory:
    """One pool's life, in the order of time."""

    settings: Settings
    allowances: Allowances = Allowances()
    happened: list[Happening] = field(default_factory=list)

    def of(self, kind: type[H]) -> Iterator[H]:
        """All that is of one kind."""
        return (each for each in self.happened if type(each) is kind)

    def told(self, *names: str) -> Iterator[Told]:
        """The pool's events of these names."""
        return (each for each in self.of(Told) if each.name in names)
