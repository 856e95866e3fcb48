"""Writers from outside: how they are started, told what to do, heard and killed."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Final

from pawl_gate.lifetimes import killed_with_parent
from pawl_gate.targets.base import HarnessBroken
from pawl_gate.trials.writer import NUMBER_BYTES, REAP, START

HANG_SECONDS: Final = 90.0
"""A call that takes longer has hung: several busy timeouts, and a restart of the server."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a writer said of a call, or what is known of one that said nothing."""

    asked: Any
    """What the caller put beside the call."""
    began: int
    ended: int
    how: str
    """"done", "refused", "failed"; "lost", when it was killed in it; "hung"."""
    value: Any


class Nursery:
    """The process that writers are forked from; they end with it, and it ends with us."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pawl_gate.trials.writer", "nursery"],
                stdin=theirs.fileno(),
                # A package that is not installed but found by this process's own path is found there too.
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                preexec_fn=killed_with_parent(),
            )
        self._socket = ours
        self._started = 0
        self._writers: list[Writer] = []

    def start(self) -> Writer:
        """A new writer that has opened nothing yet. Raises: HarnessBroken."""
        told, ours_told = os.pipe()
        ours_said, said = os.pipe()
        try:
            socket.send_fds(self._socket, [START], [told, said])
            answer = self._socket.recv(NUMBER_BYTES)
        except OSError:
            answer = b""
        finally:
            os.close(told)
            os.close(said)
        if len(answer) != NUMBER_BYTES:
            raise HarnessBroken("the program that starts writers has ended")
        self._started += 1
        writer = Writer(self, self._started, int.from_bytes(answer, "big"), ours_told, ours_said)
        self._writers.append(writer)
        return writer

    def reap(self, writer: Writer) -> int:
        """Wait for a writer's end: its exit code, that of a signal below zero. Raises: HarnessBroken."""
        self._writers.remove(writer)
        try:
            self._socket.send(REAP + writer.process.to_bytes(NUMBER_BYTES, "big"))
            answer = self._socket.recv(NUMBER_BYTES)
        except OSError:
            answer = b""
        if len(answer) != NUMBER_BYTES:
            raise HarnessBroken("the program that starts writers has ended")
        return int.from_bytes(answer, "big", signed=True)

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with suppress(HarnessBroken):
            for writer in list(self._writers):
                writer.kill()
        self._socket.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Writer:
    """One writer. Calls are queued in its pipe; it takes them one by one."""

    def __init__(self, nursery: Nursery, number: int, process: int, told: int, said: int) -> None:
        self.name = f"writer {number}"
        self.process = process
        """Its number, until it is reaped."""
        self._nursery = nursery
        self._told = told
        self.said = said
        """The file descriptor on which it is heard."""
        self._asked: deque[tuple[Any, int]] = deque()
        self._buffer = b""
        self._last = time.monotonic_ns()
        self._early: list[Said] = []
        """What it said while it was told more."""
        self._over = False
        self.ended = False
        """It says nothing any more."""
        # Who is told more than its pipe holds may itself wait until it is heard.
        os.set_blocking(told, False)

    def __len__(self) -> int:
        """How many calls it was told and was not heard on."""
        return len(self._asked) + len(self._early)

    def tell(self, call: list[Any], asked: Any = None) -> None:
        """Queue a call. One that has ended is told nothing."""
        if self._over:
            return
        self._asked.append((asked, time.monotonic_ns()))
        data = json.dumps(call, separators=(",", ":")).encode() + b"\n"
        while data and not self._over:
            try:
                data = data[os.write(self._told, data) :]
            except BlockingIOError:
                self._early += self._hear(0.05)
            except BrokenPipeError:
                # One that has died says so by its silence.
                return

    def hear(self, seconds: float) -> list[Said]:
        """What it said, waiting at most so long for the first of it; also its end (`ended`)."""
        early, self._early = self._early, []
        return early + self._hear(0.0 if early else seconds)

    def _hear(self, seconds: float) -> list[Said]:
        if self.ended or not select.select([self.said], [], [], max(seconds, 0.0))[0]:
            return self._hung()
        data = os.read(self.said, 1 << 16)
        if not data:
            self.ended = True
            return []
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [self._answer(line) for line in lines]

    def _answer(self, line: bytes) -> Said:
        asked, _ = self._asked.popleft()
        began, ended, how, value = json.loads(line)
        self._last = ended
        return Said(asked, began, ended, how, value)

    def _hung(self) -> list[Said]:
        if not self._asked or self.ended or self._over:
            return []
        since = max(self._last, self._asked[0][1])
        if time.monotonic_ns() - since < HANG_SECONDS * 1e9:
            return []
        return [replace(said, how="hung") if said.how == "lost" else said for said in self.kill()]

    def finish(self) -> list[Said]:
        """Let it do what it was told, and end."""
        found: list[Said] = []
        while len(self) and not self.ended:
            found += self.hear(1.0)
        return found + self.end()

    def kill(self) -> list[Said]:
        """Kill it where it is: what it had still said, and the call that it was in, if any."""
        if self._over:
            # Its number may be another's by now.
            return []
        with suppress(ProcessLookupError):
            os.kill(self.process, signal.SIGKILL)
        return self.end()

    def end(self) -> list[Said]:
        """It has ended, or is about to: what it had still said, and the call that it was in.

        Calls after that never began.
        """
        if self._over:
            return []
        self._over = True
        os.close(self._told)
        status = self._nursery.reap(self)
        dead = time.monotonic_ns()
        found, self._early = self._early, []
        while not self.ended:
            found += self._hear(0)
        os.close(self.said)
        if self._asked and status != 0:
            asked, told = self._asked[0]
            how = "lost" if status == -signal.SIGKILL else "failed"
            found.append(Said(asked, max(self._last, told), dead, how, f"the process ended by itself ({status})"))
        self._asked.clear()
        return found
