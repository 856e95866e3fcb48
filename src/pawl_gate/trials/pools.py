"""A pool on trial from outside: its process is started, told what to do, heard, struck and looked at.

What each of the three views sees (callers, the pool, whoever stands outside) goes into one history.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pawl_gate.lifetimes import killed_with_parent
from pawl_gate.targets.base import HarnessBroken
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

FAULTY: Final = "pawl_gate.faulty_worker"
"""The worker's program with triggers in what it is given: the real one otherwise."""

ENDINGS: Final = {
    "done": Ending.RESULT,
    "refused": Ending.REFUSED,
    "failed": Ending.FAILED,
    "cancelled": Ending.CANCELLED,
}

LEFT_SECONDS: Final = 5.0
"""A worker whose parent was killed may be there so long."""

PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")

OnEnd = Callable[[Submitted, str, Any, int], dict[str, Any]]
"""Takes a job, how it ended, its value, and when; gives what the history says of the result: `gave`, `chain`, ..."""


def settings_of(given: dict[str, Any]) -> Settings:
    """The specification's words for the settings of a pool."""
    return Settings(
        workers=given["workers"],
        pending=given["max_pending"],
        queued=given["max_queued"],
        total_bytes=given["max_bytes"],
        waits=given["when_full"] == "wait",
        job_seconds=given["job_timeout"],
        batch=given["batch"],
        tries=given["tries"],
        back_off_first=given["backoff_first"],
        back_off_factor=given["backoff_factor"],
        back_off_most=given["backoff_most"],
        close_seconds=given["close_timeout"],
    )


class PoolProcess:
    """One life of a pool, in a process of its own."""

    def __init__(
        self,
        given: dict[str, Any],
        allowances: Allowances,
        *,
        kind: str,
        place: str,
        on_end: OnEnd,
        program: str = FAULTY,
        control: str | None = None,
    ) -> None:
        self.history = PoolHistory(settings_of(given), allowances)
        self.open: dict[int, Submitted] = {}
        """Jobs that were told and have not ended, by number."""
        self.ready: set[int] = set()
        """Process ids of workers that are up, as the pool tells it."""
        self.busy: set[int] = set()
        """Places of workers that have jobs, as the pool tells it."""
        self.places: dict[int, int] = {}
        self.identity = ""
        self.closed = False
        self.counts = 0
        """How often it said what it holds."""
        self.over = False
        """It says nothing any more."""
        self._at_work: dict[int, int] = {}
        self._on_end = on_end
        self._buffer = b""
        self._unsent = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pawl_gate.trials.pool_service"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            preexec_fn=killed_with_parent(),
        )
        if self._process.stdin is None or self._process.stdout is None:
            raise HarnessBroken("no pipes to a pool's process")
        self._told, self._said = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._told, False)
        os.set_blocking(self._said, False)
        self.pid = self._process.pid
        self.tell("open", given, kind, place, program, control)

    @property
    def looks(self) -> Iterator[Looked]:
        """What was seen of its processes."""
        return self.history.of(Looked)

    # -- telling and hearing ------------------------------------------------------------------------------------------

    def tell(self, *what: Any) -> None:
        """Tell it something; it is sent as the pipe takes it."""
        self._unsent += json.dumps(what, separators=(",", ":")).encode() + b"\n"

    def submit(self, asked: Submitted, *arguments: Any) -> None:
        """A job. It is submitted when the process says so."""
        self.open[asked.job] = asked
        # Who has no peer of its own is somebody all the same.
        self.tell("job", asked.job, *arguments)

    def hear(self, seconds: float = 0.0) -> None:
        """Take what it says, waiting at most so long for the first of it."""
        if self.over:
            return
        can, _, _ = select.select([self._said], [self._told] if self._unsent else [], [], max(seconds, 0.0))
        self._send()
        if not can and not select.select([self._said], [], [], 0)[0]:
            return
        with suppress(BlockingIOError):
            data = os.read(self._said, 1 << 15)
            if not data:
                self.over = True
                return
            *lines, self._buffer = (self._buffer + data).split(b"\n")
            for line in lines:
                self._take(*json.loads(line))

    def _send(self) -> None:
        with suppress(BlockingIOError, BrokenPipeError):
            while self._unsent:
                self._unsent = self._unsent[os.write(self._told, self._unsent[: 1 << 16]) :]

    def come_up(self, seconds: float) -> None:
        """Wait until it is up. Raises: HarnessBroken."""
        if not self.hear_until(lambda: bool(self.identity), seconds):
            raise HarnessBroken("the process of a pool did not come up; what it says of that is above")

    def hear_until(self, enough: Callable[[], bool], seconds: float) -> bool:
        """Hear it until something is so, at most so long: whether it is."""
        deadline = time.monotonic() + seconds
        while not enough() and not self.over and time.monotonic() < deadline:
            self.hear(0.02)
        return enough()

    def _take(self, what: str, at: int, *rest: Any) -> None:
        getattr(self, f"_took_{what}")(at, *rest)

    def _add(self, happening: Happening) -> None:
        self.history.happened.append(happening)

    def _took_up(self, at: int, identity: str) -> None:
        self.identity = identity

    def _took_began(self, at: int, number: int) -> None:
        self.open[number] = asked = replace(self.open[number], at=at)
        self._add(asked)

    def _took_end(self, at: int, number: int, how: str, value: Any) -> None:
        asked = self.open.pop(number)
        end, code = ENDINGS[how], "" if how == "done" else str(value or "")
        if code == "outcome-unknown":
            end = Ending.UNKNOWN
        more = self._on_end(asked, "unknown" if end is Ending.UNKNOWN else how, value, at)
        self._add(Ended(at, number, end, code, **more))

    def _took_told(self, at: int, name: str, fields: list[Any]) -> None:
        job, worker, pid, outcome, queued, pending, total = fields
        self._add(Told(at, name, job, worker, pid, outcome, queued, pending, total))
        if name in ("worker-started", "worker-revived"):
            self.ready.add(pid)
            self.places[pid] = worker
        elif name == "worker-crashed":
            self.ready.discard(pid)
        elif name == "job-dispatched":
            self._at_work[job] = worker
        elif name in ("job-ended", "job-retried"):
            self._at_work.pop(job, None)

    def _took_count(self, at: int, *counts: int) -> None:
        self.counts += 1
        self._add(Counted(at, *counts))

    def _took_closing(self, at: int) -> None:
        """It was written down when it was told: jobs that come after may be refused."""

    def _took_closed(self, at: int) -> None:
        self.closed = True
        self._add(Closed(at, tuple(child for child, _ in children(self.pid))))

    # -- what is done to it -------------------------------------------------------------------------------------------

    def workers(self) -> list[int]:
        """Process ids of the workers that are alive."""
        return [child for child, state in children(self.pid) if state != "Z"]

    def with_jobs(self) -> list[int]:
        """Those of them that have jobs, as the pool tells it."""
        busy = set(self._at_work.values())
        return [pid for pid in self.workers() if pid in self.ready and self.places.get(pid) in busy]

    def strike(self, pid: int, how: str) -> bool:
        """`killed` or `stopped`; whether it was there."""
        if pid not in self.workers():
            return False
        at = time.monotonic_ns()
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL if how == "killed" else signal.SIGSTOP)
        self._add(Struck(at, pid, how))
        return True

    def look(self) -> Looked:
        """Which workers there are, and how much memory all of it has."""
        at, workers = time.monotonic_ns(), self.workers()
        memory = tuple(resident(pid) for pid in (self.pid, *workers))
        seen = Looked(at, tuple(workers), memory)
        self._add(seen)
        return seen

    def stood_still(self, since: int) -> None:
        """All workers stood still from then to now."""
        self._add(Still(time.monotonic_ns(), since))

    def close(self, *, drain: bool) -> None:
        """Close the pool."""
        self._add(Closing(time.monotonic_ns(), drain))
        self.tell("close", drain)

    def kill(self) -> list[Submitted]:
        """Kill the process where it is: the jobs that were open. What it had still said is heard first."""
        orphans = self.workers()
        os.kill(self.pid, signal.SIGKILL)
        self._process.wait()
        dead = time.monotonic_ns()
        while not self.over:
            self.hear(0.0)
        # What it was told and did not begin was never a job.
        began = {each.job for each in self.history.of(Submitted)}
        lost = [asked for asked in self.open.values() if asked.job in began]
        for asked in lost:
            more = self._on_end(asked, "lost", None, dead)
            self._add(Ended(dead, asked.job, Ending.LOST, **more))
        deadline = time.monotonic() + LEFT_SECONDS
        while (left := [pid for pid in orphans if alive(pid)]) and time.monotonic() < deadline:
            time.sleep(0.01)
        self._add(ParentDied(dead, tuple(left)))
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._shut()
        return lost

    def end(self) -> None:
        """Let it end, after its pool was closed; it is killed if it does not."""
        os.close(self._told)
        deadline = time.monotonic() + LEFT_SECONDS
        while not self.over and time.monotonic() < deadline:
            self._unsent = b""
            self.hear(0.05)
        workers = self.workers()
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        for pid in workers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._shut()

    def _shut(self) -> None:
        self.over = True
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()

    def __enter__(self) -> PoolProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            workers = self.workers()
            self._process.kill()
            self._process.wait()
            for pid in workers:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._shut()

    def finished(self) -> PoolHistory:
        """The history, in the order of time."""
        self.history.happened.sort(key=lambda each: each.at)
        return self.history


# -- processes ---------------------------------------------------------------------------------------------------------


def children(pid: int) -> list[tuple[int, str]]:
    """The children of a process and their states, as /proc says; `Z` is dead and not waited for."""
    found = []
    for child in _children(pid):
        with suppress(OSError, IndexError):
            state = Path(f"/proc/{child}/stat").read_text("utf-8").rsplit(")", 1)[1].split()[0]
            found.append((child, state))
    return found


def _children(pid: int) -> Iterator[int]:
    with suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError):
                yield from map(int, Path(f"/proc/{pid}/task/{task}/children").read_text("utf-8").split())


def alive(pid: int) -> bool:
    """Whether a process is there, and not dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def resident(pid: int) -> int:
    """Resident bytes of a process; 0 if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text("utf-8").split()[1]) * PAGE_BYTES
    except (OSError, IndexError):
        return 0


def seconds(nanoseconds: int) -> float:
    """Of a time of the history."""
    return nanoseconds / SECOND
