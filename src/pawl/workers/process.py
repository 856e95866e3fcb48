"""One worker process, as the parent sees it: started, given batches, watched, killed.

Each worker has pipes of its own. Of a worker that is killed or stopped, in the midst of a message or not, nothing is
left that another one could stumble over: no lock, no half of a message.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol, cast

from pawl.errors import WorkerError
from pawl.workers import messages
from pawl.workers.messages import BadAnswer, Frames

_SOURCE: Final = str(Path(__file__).resolve().parent.parent.parent)
"""Where this very package is found: the worker is the same release."""

_START: Final = """
import importlib, sys
source, program, parent = sys.argv[1:]
if source not in sys.path:
    sys.path.insert(0, source)
importlib.import_module(program).main(int(parent))
"""


class Gone(Exception):
    """The worker ended, or was killed, before it answered."""

    def __init__(self, why: str, head: bool) -> None:
        super().__init__(why)
        self.why = why
        """"worker-crashed", "job-timeout", "answer-refused", or "closed"."""
        self.head = head
        """Whether it may have been at work on this very batch."""


class Watcher(Protocol):
    """Whoever fills the places of workers."""

    def ready(self, worker: Worker) -> None:
        """It is up."""

    def hung(self, worker: Worker, jobs: int) -> None:
        """It took too long for so many jobs, and is killed."""

    def refused(self, worker: Worker, why: str) -> None:
        """It answered nonsense, and is killed."""

    def gone(self, worker: Worker, jobs: int) -> None:
        """It ended, with so many jobs; nothing of it is left."""


class _Given:
    """A batch that the worker has."""

    __slots__ = ("answer", "jobs")

    def __init__(self, jobs: int, answer: asyncio.Future[bytes]) -> None:
        self.jobs = jobs
        self.answer = answer


class Worker(asyncio.SubprocessProtocol):
    """A worker process in the place `number`."""

    def __init__(self, number: int, watcher: Watcher, *, start_timeout: float, job_timeout: float) -> None:
        self.number = number
        self.pid = 0
        self.status = 0
        """As of `subprocess`, once it is gone."""
        self.reserved = 0
        """Batches that it has, or that are being read for it."""
        self.is_ready = False
        self.is_gone = False
        self._is_cut = False
        self._watcher = watcher
        self._job_timeout = job_timeout
        self._why = "worker-crashed"
        self._loop = asyncio.get_running_loop()
        self._frames = Frames()
        self._given: deque[_Given] = deque()
        self._pidfd: int | None = None
        self._transport: asyncio.SubprocessTransport | None = None
        self._pipe: asyncio.WriteTransport | None = None
        self._timer = self._loop.call_later(start_timeout, self._too_late)
        self._ended = self._loop.create_future()

    @property
    def at_work(self) -> bool:
        """Whether it can be given a batch."""
        return self.is_ready and not self._is_cut and self._why == "worker-crashed"

    async def start(self, program: str) -> None:
        """Start the process. Raises: OSError."""
        # -P: nothing is imported from the folder that somebody happens to be in.
        command = (sys.executable, "-P", "-c", _START, _SOURCE, program, str(os.getpid()))
        await self._loop.subprocess_exec(lambda: self, *command, stderr=None)

    async def ask(self, jobs: int, message: bytes) -> bytes:
        """The answer to a batch of `jobs` jobs, the body of a frame, unread. Raises: Gone."""
        if not self.at_work or self._pipe is None:
            raise Gone(self._why, head=False)
        given = _Given(jobs, self._loop.create_future())
        self._given.append(given)
        if len(self._given) == 1:
            self._wind()
        self._pipe.write(message)
        return await given.answer

    def kill(self, why: str = "closed") -> None:
        """Kill it, whatever it does; `why` is what its batches are told."""
        if self._why == "worker-crashed":
            self._why = why
        # Killed twice is harmless: so is one that was let end, and does not.
        if self._transport is not None and not self.is_gone:
            self._send_kill()

    def finish(self) -> None:
        """Let it end by itself, as one that has nothing to do does once its pipe is closed; kill any other."""
        if not self.at_work or self.reserved or self._pipe is None:
            self.kill()
            return
        self._why = "closed"
        self._pipe.close()

    def _send_kill(self) -> None:
        # SIGKILL: nothing else ends one that hangs or is stopped. Not by the transport: that one would collect the
        # exit status, which asyncio waits for.
        with suppress(ProcessLookupError):
            if self._pidfd is not None:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            else:
                os.kill(self.pid, signal.SIGKILL)

    async def ended(self) -> None:
        """Return once the process and its pipes are gone."""
        await asyncio.shield(self._ended)

    # -- what asyncio calls -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The process is started."""
        self._transport = cast(asyncio.SubprocessTransport, transport)
        self.pid = self._transport.get_pid()
        # By its number alone another process might be meant, if this one has just ended.
        if hasattr(os, "pidfd_open"):
            with suppress(OSError):
                self._pidfd = os.pidfd_open(self.pid)
        self._pipe = cast(asyncio.WriteTransport, self._transport.get_pipe_transport(0))
        if self._why != "worker-crashed":
            self.kill()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Bytes of an answer."""
        if self._why != "worker-crashed":
            return
        try:
            for body in self._frames.feed(data):
                self._take(body)
        except BadAnswer as error:
            self._watcher.refused(self, str(error))
            self.kill("answer-refused")

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """It closed a pipe, or ended: one that cannot be heard, or cannot hear, is of no use."""
        if self._why == "closed":
            return
        self._is_cut = True
        self.kill("worker-crashed")

    def connection_lost(self, exc: Exception | None) -> None:
        """The process ended, and all that it wrote was read."""
        self.is_gone = True
        self._timer.cancel()
        if self._transport is not None:
            self.status = self._transport.get_returncode() or 0
            self._transport.close()
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None
        jobs = sum(each.jobs for each in self._given)
        for index, given in enumerate(self._given):
            if not given.answer.done():
                given.answer.set_exception(Gone(self._why, head=index == 0))
        self._given.clear()
        self._watcher.gone(self, jobs)
        if not self._ended.done():
            self._ended.set_result(None)

    # -- answers ------------------------------------------------------------------------------------------------------

    def _take(self, body: bytes) -> None:
        if not self.is_ready:
            if messages.unpack(body) != (messages.VERSION,):
                raise BadAnswer("it is not a worker of this release")
            self.is_ready = True
            self._timer.cancel()
            self._watcher.ready(self)
            return
        if not self._given:
            raise BadAnswer("an answer that nobody asked for")
        # What it says is read elsewhere: a large answer would keep the loop.
        given = self._given.popleft()
        self._timer.cancel()
        if self._given:
            self._wind()
        if not given.answer.done():
            given.answer.set_result(body)

    # -- time ---------------------------------------------------------------------------------------------------------

    def _wind(self) -> None:
        """The batch that comes first is what it works on from now on."""
        self._timer = self._loop.call_later(self._job_timeout, self._too_late)

    def _too_late(self) -> None:
        if self.is_ready:
            self._watcher.hung(self, self._given[0].jobs if self._given else 0)
            self.kill("job-timeout")
        else:
            self.kill("start-timeout")


def check_interpreter() -> None:
    """Raises: WorkerError."""
    if not sys.executable:
        raise WorkerError("this Python does not know its own interpreter, and so cannot start workers")
