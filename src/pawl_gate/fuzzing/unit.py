"""A unit of work: one entry point fuzzed for a while from given inputs, in a process group of its own.

`run` is a function of the unit alone, and what it gives back is a value: it can be carried out anywhere, twice, or
again. Nothing of it is left behind: no process and no file.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pawl_gate.engines.corpus import files, name_of
from pawl_gate.fuzzing.entries import ROOT, Entry
from pawl_gate.fuzzing.facts import Facts, Prober
from pawl_gate.fuzzing.revision import revision, tools
from pawl_gate.lifetimes import killed_with_parent
from pawl_gate.targets.base import HarnessBroken

DONE, LOST, REFUSED = "done", "lost", "refused"
"""How a unit ended: to its end; not, by what says nothing of the input; not begun, as another code or tool is here."""

INPUT_SECONDS: Final = 25
"""libFuzzer's -timeout: an input that runs longer is a finding."""

MOST_MEGABYTES: Final = 2048
"""libFuzzer's -rss_limit_mb."""

GRACE_SECONDS: Final = 120.0
"""How much longer than its box a unit may take: the inputs that it begins with are run whatever that takes."""

MOST_FINDINGS: Final = 5
"""In one unit: a fault that each second input shows is told often enough."""

MOST_POINTS: Final = 100
"""Of a unit's course."""

ARTIFACTS: Final = ("crash-", "timeout-", "oom-")

STATUS: Final = re.compile(r"^#(\d+)\s+[A-Z]+\s+cov: (\d+) ft: (\d+)")
EXECUTED: Final = re.compile(r"^stat::number_of_executed_units:\s+(\d+)")


@dataclass(frozen=True, slots=True)
class Unit:
    """What is to be done."""

    id: str
    entry: str
    program: str
    """Beside the root of the checkout, or whole."""
    maker: str
    dictionary: str
    """Likewise; empty for none."""
    most_bytes: int
    seed: int
    seconds: int
    """0: as many runs as are asked for."""
    runs: int
    """0: as long as the seconds last. Both 0: the inputs are looked at, and nothing is fuzzed."""
    inputs: tuple[bytes, ...]
    revision: str
    tools: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Point:
    """Where a unit stood."""

    seconds: float
    executions: int
    edges: int
    features: int
    """As libFuzzer counts them."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a unit."""

    unit: str
    state: str
    why: str = ""
    seconds: float = 0.0
    executions: int = 0
    points: tuple[Point, ...] = ()
    found: tuple[tuple[bytes, Facts], ...] = ()
    """New inputs with what they do; of a look, those it was given."""
    findings: tuple[tuple[bytes, Facts], ...] = ()


def unit(entry: Entry, id_: str, *, seed: int, seconds: int, runs: int, inputs: Iterable[bytes]) -> Unit:
    """A unit for the code and the tools that are here."""
    return Unit(
        id_,
        entry.name,
        _told(entry.program),
        entry.maker,
        _told(entry.dictionary) if entry.dictionary.is_file() else "",
        entry.most_bytes,
        seed,
        seconds,
        runs,
        tuple(inputs),
        revision(),
        tools(),
    )


def _told(path: Path) -> str:
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)


LIVE: Final[dict[str, Point]] = {}
"""Where the units that run in this process stand, for whoever shows it. Whatever reads it copies it first."""

_GROUPS: Final[set[int]] = set()
_LOCK: Final = threading.Lock()
_UNWANTED: Final = threading.Event()


def begin_all() -> None:
    """Units are wanted, from now on."""
    _UNWANTED.clear()


def end_all() -> None:
    """End what the units of this process have started: it is no longer wanted."""
    _UNWANTED.set()
    with _LOCK:
        for group in _GROUPS:
            _kill(group)


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def run(work: Unit) -> Outcome:
    """Carry out a unit."""
    # Check: what other code finds, or other tools, says nothing of this one.
    if (work.revision, work.tools) != (revision(), tools()):
        here = f"revision {revision()} with {_words(tools())}"
        return Outcome(
            work.id, REFUSED, f"it is for revision {work.revision} with {_words(work.tools)}; the worker has {here}"
        )
    try:
        if not work.seconds and not work.runs:
            return _look(work)
        with tempfile.TemporaryDirectory(prefix="pawl-unit-") as folder:
            return _Fuzzing(work, Path(folder)).outcome()
    except HarnessBroken as error:
        return Outcome(work.id, LOST, str(error))
    finally:
        LIVE.pop(work.id, None)


def _words(versions: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions)


def _look(work: Unit) -> Outcome:
    began = time.monotonic()
    with Prober(work.maker) as prober:
        known = [(data, _asked(prober, data)) for data in work.inputs]
    return Outcome(
        work.id,
        DONE,
        seconds=time.monotonic() - began,
        found=tuple(one for one in known if not one[1].is_finding),
        findings=tuple(one for one in known if one[1].is_finding),
    )


def _asked(prober: Prober, data: bytes) -> Facts:
    if _UNWANTED.is_set():
        raise HarnessBroken("interrupted")
    return prober.ask(data)


class _Fuzzing:
    """A unit that fuzzes."""

    def __init__(self, work: Unit, folder: Path) -> None:
        self._work = work
        self._given, self._new, self._left = (folder / name for name in ("given", "new", "left"))
        for path in (self._given, self._new, self._left):
            path.mkdir()
        for data in work.inputs:
            (self._given / name_of(data)).write_bytes(data)
        self._executions = 0
        self._points: list[Point] = []
        self._last: list[str] = []
        self._began = time.monotonic()

    def outcome(self) -> Outcome:
        """Fuzz; after a finding go on with what time is left; then look at what was found."""
        state, why = self._fuzz()
        seconds = time.monotonic() - self._began
        if state == LOST:
            return Outcome(self._work.id, state, why, seconds)
        given = {name_of(data) for data in self._work.inputs}
        new = {name_of(data): data for data in (path.read_bytes() for path in files(self._new))}
        with Prober(self._work.maker) as prober:
            found = [(data, _asked(prober, data)) for name, data in sorted(new.items()) if name not in given]
            left = [(path.read_bytes(), path.name) for path in self._artifacts()]
            findings = [(data, _seen(_asked(prober, data), name)) for data, name in left]
        return Outcome(
            self._work.id,
            state,
            why,
            seconds,
            self._executions,
            tuple(_thinned(self._points)),
            tuple(one for one in found if not one[1].is_finding),
            (*findings, *(one for one in found if one[1].is_finding)),
        )

    def _fuzz(self) -> tuple[str, str]:
        work, seed = self._work, self._work.seed
        while True:
            left = work.seconds - (time.monotonic() - self._began)
            if work.seconds and left < 1:
                return DONE, ""
            before = len(self._artifacts())
            status, overdue = self._once(seed, max(int(left), 1))
            if overdue:
                return LOST, f"it did not end within {work.seconds} s and {GRACE_SECONDS:g} s more"
            if status == 0:
                return DONE, ""
            if len(self._artifacts()) == before:
                ended = f"signal {-status}" if status < 0 else f"exit code {status}"
                return LOST, f"the fuzzer ended with {ended} and no finding: {' '.join(self._last[-1:])}"
            # A box of runs is for those who want the same again: the finding ends it.
            if work.runs or len(self._artifacts()) >= MOST_FINDINGS:
                return DONE, ""
            seed = (seed + 1) % 2**32

    def _artifacts(self) -> list[Path]:
        return [path for path in files(self._left) if path.name.startswith(ARTIFACTS)]

    def _once(self, seed: int, left: int) -> tuple[int, bool]:
        """Run libFuzzer once: its exit status, and whether it had to be ended."""
        work = self._work
        options = {
            "seed": seed or 1,  # libFuzzer takes 0 for "any".
            "max_len": work.most_bytes,
            "timeout": INPUT_SECONDS,
            "rss_limit_mb": MOST_MEGABYTES,
            "artifact_prefix": f"{self._left}{os.sep}",
            "print_final_stats": 1,
            # Inputs of others come with the next unit: one seed gives one run.
            "reload": 0,
            "runs" if work.runs else "max_total_time": work.runs or left,
        }
        if work.dictionary:
            options["dict"] = ROOT / work.dictionary
        command = [sys.executable, str(ROOT / work.program), *(f"-{name}={value}" for name, value in options.items())]
        process = subprocess.Popen(  # noqa: S603 - our own program
            [*command, str(self._new), str(self._given)],
            cwd=self._left,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
            start_new_session=True,
            preexec_fn=killed_with_parent(),
        )
        with _LOCK:
            _GROUPS.add(process.pid)
            if _UNWANTED.is_set():
                _kill(process.pid)
        overdue = threading.Event()

        def end() -> None:
            overdue.set()
            _kill(process.pid)

        clock = threading.Timer((work.seconds or 3600) + GRACE_SECONDS, end)
        clock.daemon = True
        clock.start()
        try:
            self._listen(process)
            return process.wait(), overdue.is_set()
        finally:
            clock.cancel()
            # Whatever it started too, and wherever we were interrupted.
            _kill(process.pid)
            process.wait()
            if process.stderr is not None:
                process.stderr.close()
            with _LOCK:
                _GROUPS.discard(process.pid)

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None  # noqa: S101 - it was asked for
        before = self._executions
        for line in process.stderr:
            if status := STATUS.match(line):
                executions, edges, features = map(int, status.groups())
                self._executions = before + executions
                point = Point(time.monotonic() - self._began, self._executions, edges, features)
                self._points.append(point)
                LIVE[self._work.id] = point
            elif final := EXECUTED.match(line):
                self._executions = before + int(final[1])
            elif line.strip():
                self._last = [*self._last[-4:], line.strip()]


def _seen(facts: Facts, artifact: str) -> Facts:
    """What a finding does when it is run once more. Where it then holds, that is what is said of it."""
    if facts.is_finding:
        return facts
    kind = artifact.partition("-")[0]
    return Facts(facts.state, place=f"{kind}, not seen again", checked=facts.checked)


def _thinned(points: list[Point]) -> Iterator[Point]:
    step = max(1, len(points) // MOST_POINTS + 1)
    yield from points[:-1:step]
    yield from points[-1:]
