"""What the gate starts ends with it, also where it is killed: workers of `pawl mutants`, and drivers that do not listen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SOON = 10.0
"""Seconds within which what was orphaned has ended; it takes some hundredths of one."""

LATE = 60.0
"""Seconds within which a process has started what it starts."""

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads which processes there are in /proc")


def children(pid: int) -> list[int]:
    """The living children of a process, by number."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent, *_ = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(parent) == pid and state != "Z":
            found.append(int(stat.parent.name))
    return found


def lives(pid: int) -> bool:
    """Whether there is such a process; one that ended and was not waited for is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def command(pid: int) -> str:
    """What a process was started as; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def cpu_seconds(pid: int) -> float:
    """The time that a process has computed."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_for(what: Callable[[], object], seconds: float) -> bool:
    """Whether it comes to hold within so many seconds."""
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """The command `pawl` with these arguments, as a process of its own, which is gone at the end."""
    argv = [sys.executable, "-m", "pawl_gate.cli", *arguments]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def gone_at_the_end(pids: list[int]) -> Iterator[None]:
    """Whatever the test comes to, it leaves none of these behind."""
    try:
        yield
    finally:
        for pid in filter(lives, pids):
            os.kill(pid, signal.SIGKILL)


def workers(pid: int) -> list[int]:
    """The workers of a process pool; another child of it counts its semaphores."""
    return [child for child in children(pid) if "spawn_main" in command(child)]


def test_the_workers_of_a_killed_run_end(tmp_path: Path) -> None:
    """SIGKILL cannot be answered: the workers notice by themselves, in the middle of a fault that takes a minute."""
    # Each engine looks for a fault that only the first sees: whoever is not told goes on for a long time.
    arguments = ("mutants", "--budget", "nightly", "--engine", "walk", "--jobs", "2", "--out", str(tmp_path))
    chosen = ("--only", "jump-unbounded", "--only", "archive-unbounded")
    with started(*arguments, *chosen) as run:
        assert wait_for(lambda: len(workers(run.pid)) == 2, LATE)
        found = children(run.pid)
        with gone_at_the_end(found):
            # At work: it has long come further than its imports.
            assert wait_for(lambda: all(cpu_seconds(pid) > 2 for pid in workers(run.pid)), LATE)
            assert len(workers(run.pid)) == 2
            run.kill()
            run.wait()
            assert wait_for(lambda: not any(map(lives, found)), SOON)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a driver ends when its stdin does")
def test_a_driver_that_hangs_ends_with_a_killed_run(tmp_path: Path) -> None:
    """A driver that listens ends when its stdin does; one that is stuck does not, and is killed by the system."""
    stuck = tmp_path / "stuck.py"
    stuck.write_text("import time\nwhile True:\n    time.sleep(1)\n")
    report = ("--out", str(tmp_path / "found"), "--report", str(tmp_path / "report.html"))
    with started("verify", "--driver", f"{sys.executable} {stuck}", *report) as run:
        assert wait_for(lambda: any("stuck.py" in command(pid) for pid in children(run.pid)), LATE)
        found = children(run.pid)
        with gone_at_the_end(found):
            run.kill()
            run.wait()
            assert wait_for(lambda: not any(map(lives, found)), SOON)
