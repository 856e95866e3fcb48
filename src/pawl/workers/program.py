"""The program that is a worker: batches in on its stdin, answers out on what was its stdout, until its stdin ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress
from typing import Final

from pawl.workers import messages
from pawl.workers.step import RunJob, run_batch, run_job

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


def main(parent: int, run: RunJob = run_job) -> None:
    """Serve the process `parent` until it closes the pipe, or ends."""
    end_with_parent(parent)
    # An interrupt from the keyboard goes to the whole group; what is to be done about it is for the parent to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whatever prints does not write into the answers.
    answers = os.dup(1)
    os.dup2(2, 1)
    with suppress(BrokenPipeError, ConnectionResetError):
        serve(0, answers, run)
    os._exit(0)


def serve(batches: int, answers: int, run: RunJob) -> None:
    """Answer each batch that comes on one file descriptor on the other one, until the first one ends."""
    frames = messages.Frames()
    write(answers, messages.pack([messages.VERSION]))
    while data := os.read(batches, 1 << 18):
        for body in frames.feed(data):
            write(answers, messages.pack(run_batch(messages.unpack(body), run)))


def write(descriptor: int, data: bytes) -> None:
    """Write all of it."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
