"""The program that is a worker: batches in on its stdin, answers out on what was its stdout, until its stdin ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from pawl.workers import messages
from pawl.workers.step import run_batch

_PR_SET_PDEATHSIG: Final = 1
"""Source: Linux, prctl(2)."""


def end_with_parent(parent: int) -> None:
    """From now on the system kills this process once its parent is gone, even one that is stopped or computes.

    Elsewhere than on Linux it ends when it next reads or writes.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        # It was gone before that was said.
        os._exit(1)


Answer = Callable[[Any, Callable[[bytes], None]], None]
"""Is given a batch, and what writes bytes to the parent."""


def answer(batch: Any, write: Callable[[bytes], None]) -> None:
    """Run a batch and write its answers."""
    write(messages.pack(run_batch(batch)))


def main(parent: int, answer: Answer = answer) -> None:
    """Serve the process `parent` until it closes the pipe, or ends."""
    end_with_parent(parent)
    # An interrupt from the keyboard goes to the whole group; what is to be done about it is for the parent to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whatever prints does not write into the answers.
    answers = os.dup(1)
    os.dup2(2, 1)
    with suppress(BrokenPipeError, ConnectionResetError):
        serve(0, answers, answer)


def serve(batches: int, answers: int, answer: Answer) -> None:
    """Answer each batch that comes on one file descriptor on the other one, until the first one ends."""

    def write(data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(answers, left) :]

    frames = messages.Frames()
    write(messages.pack([messages.VERSION]))
    while data := os.read(batches, 1 << 18):
        for body in frames.feed(data):
            answer(messages.unpack(body), write)
