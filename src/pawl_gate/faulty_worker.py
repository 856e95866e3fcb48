"""A worker that does what a text tells it to: die, hang, lie. For trials of the pool; the rest is the real program.

A job whose arguments hold bytes that begin with one of TRIGGERS sets it off.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from pawl.storage.contract import Table
from pawl.workers import messages, program
from pawl.workers.step import StepDevice, run_batch, run_job
from pawl.workers.view import NUMBERS, View

TRIGGERS: Final = {
    b"!kill": "kills itself before it computes",
    b"!late": "computes, and kills itself before it answers",
    b"!hang": "sleeps for ever",
    b"!stop": "stops itself (SIGSTOP)",
    b"!exit": "ends as if all were well",
    b"!slow": "takes 50 ms longer",
    b"!bug": "fails with what is no refusal",
    b"!noise": "writes what is no frame",
    b"!half": "writes half of an answer, and kills itself",
    b"!early": "answers a batch that nobody gave it",
    b"!mute": "leaves the job out of its answer",
    b"!twice": "answers the job twice",
    b"!swap": "answers under another job's number",
    b"!cross": "writes to another peer's row",
    b"!stale": "writes over a version that it was not sent",
    b"!wrong": "answers with a result of another type",
}
"""What it does, by the beginning of the text."""


def texts(value: object) -> Iterator[bytes]:
    """All bytes in the arguments of a job."""
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from texts(each)


def trigger(job: Sequence[Any]) -> bytes | None:
    """What the job sets off, if anything."""
    return next((each for text in texts(job[3]) for each in TRIGGERS if text.startswith(each)), None)


def answer(batch: Any, write: Callable[[bytes], None]) -> None:
    """As the real program, but for what the jobs set off."""
    set_off = {job[0]: trigger(job) for job in batch[6]}
    late: list[bytes] = []

    def run(device: StepDevice, view: View, job: Sequence[Any]) -> list[object]:
        found = set_off[job[0]]
        if found == b"!bug":
            return [job[0], messages.BUG, "ZeroDivisionError"]
        _before(found)
        made = run_job(device, view, job)
        if found is not None:
            late.append(found)
            _twist(found, made)
        return made

    number, answers = run_batch(batch, run)
    found = [each for made in answers for each in _times(set_off[_of(made, set_off)], made)]
    body = messages.pack([number, found])
    for each in late:
        if each == b"!noise":
            write(b"\xff" * 64)
        elif each == b"!early":
            write(messages.pack([number + 1, found]))
        elif each == b"!half":
            write(body[:-3])
        if each in (b"!late", b"!half"):
            os.kill(os.getpid(), signal.SIGKILL)
    write(body)


def _before(found: bytes | None) -> None:
    if found in (b"!kill", b"!stop"):
        os.kill(os.getpid(), signal.SIGKILL if found == b"!kill" else signal.SIGSTOP)
    elif found == b"!hang":
        time.sleep(1e6)
    elif found == b"!exit":
        os._exit(0)
    elif found == b"!slow":
        time.sleep(0.05)


def _twist(found: bytes, made: list[Any]) -> None:
    """Make the answer to a job another one."""
    if found == b"!swap":
        made[0] += 1
    elif found == b"!wrong":
        made[2] = [7, "not a message"]
    elif found == b"!cross":
        made[4] = [(NUMBERS[Table.SESSION.value], b"\0\3eve\1" + bytes(32), 0, b"theirs")]
    elif found == b"!stale":
        made[4] = [(table, key, version + 1, value) for table, key, version, value in made[4]]


def _of(made: list[Any], known: dict[int, Any]) -> int:
    return int(made[0] if made[0] in known else made[0] - 1)


def _times(found: bytes | None, made: list[Any]) -> list[list[Any]]:
    return [] if found == b"!mute" else [made, made] if found == b"!twice" else [made]


def main(parent: int) -> None:
    """See `pawl.workers.program.main`."""
    program.main(parent, answer)
