"""What an input does, found out in a process of its own: it may kill the process, or never end.

The child (`python -m pawl_gate.fuzzing.facts MAKER`) makes an entry point ready and answers one line for each input on
its stdin. It needs no Atheris. The features of an input are what its entry point says that it reached, and the lines
of the library that it came to with how often, in powers of two as libFuzzer counts them. They are the same on each
machine with the same code, which libFuzzer's own numbers are not.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import IO, Any, Final, Self

from pawl_gate.fuzzing.entries import ROOT, Prepared
from pawl_gate.lifetimes import killed_with_parent
from pawl_gate.targets.base import HarnessBroken

HOLDS, COSTLY, BROKEN, FAULT, DIED, HUNG = "holds", "costly", "broken", "fault", "died", "hung"
"""What came of an input: it holds; it was too costly to run; what it is held to is broken; the gate itself broke; the
process died of it; it did not end."""

FINDINGS: Final = frozenset({BROKEN, FAULT, DIED, HUNG})

SECONDS: Final = 60.0
"""For one input. The slowest kept one takes a tenth of a second; machines are shared."""

START_SECONDS: Final = 120.0
"""For making an entry point ready."""

MOST_TEXT: Final = 2000
"""Characters of what is said of a finding."""

ID: Final = re.compile(r"^([A-Z]{3}-\d{2})\b", re.MULTILINE)

LIBRARY: Final = Path(__file__).resolve().parents[2] / "pawl"
"""Whose lines are counted."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What came of one input."""

    state: str
    digest: str = ""
    """Of the transcript: SHA-256, hex."""
    features: frozenset[str] = frozenset()
    checked: frozenset[str] = frozenset()
    """Ids of the invariants that were checked."""
    invariants: tuple[str, ...] = ()
    """Ids of those that are broken."""
    refusal: str = ""
    """The code of the refusal at the place where it broke, where there was one."""
    place: str = ""
    """Where it broke: an operation and its outcome, or a line of code."""
    text: str = ""

    @property
    def is_finding(self) -> bool:
        """Whether it shows that something is wrong."""
        return self.state in FINDINGS

    @property
    def key(self) -> tuple[str, tuple[str, ...], str, str]:
        """What makes two findings the same."""
        return self.state, self.invariants, self.refusal, self.place


# -- the parent's side ------------------------------------------------------------------------------------------------


class Prober:
    """Asks a child about inputs; one that dies or hangs is the answer, and another child takes its place."""

    def __init__(self, maker: str, *, lines: bool = True, hash_seed: int = 0, seconds: float = SECONDS) -> None:
        """`lines`: count lines too, which takes two to three times as long."""
        self._command = [sys.executable, "-m", __name__, maker, "lines" if lines else "plain"]
        self._hash_seed, self._seconds = hash_seed, seconds
        self._child: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None
        self._read = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def ask(self, data: bytes) -> Facts:
        """What the input does. Raises: HarnessBroken, where the entry point cannot be made ready."""
        child = self._ready()
        assert child.stdin is not None  # noqa: S101 - it was asked for
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(base64.b64encode(data) + b"\n")
            child.stdin.flush()
        try:
            line = self._line(child, self._seconds)
        except TimeoutError:
            self.close()
            return Facts(HUNG, place=f"no end within {self._seconds:g} s")
        if line is None:
            status = child.wait()
            words = self._last_words()
            self.close()
            return Facts(DIED, place=_ended(status), text=words)
        return _facts(json.loads(line))

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()
            for pipe in (self._child.stdin, self._child.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
        if self._said is not None:
            self._said.close()
        self._child, self._said, self._read = None, None, b""

    def _ready(self) -> subprocess.Popen[bytes]:
        if self._child is not None:
            return self._child
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
        self._child = subprocess.Popen(  # noqa: S603 - our own program
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env={**os.environ, "PYTHONHASHSEED": str(self._hash_seed), "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=ROOT,
            start_new_session=True,
            preexec_fn=killed_with_parent(),
        )
        try:
            ready = self._line(self._child, START_SECONDS)
        except TimeoutError:
            ready = None
        if ready is None:
            words = self._last_words()
            self.close()
            raise HarnessBroken(f"the entry point could not be made ready: {words or 'it said nothing'}")
        return self._child

    def _line(self, child: subprocess.Popen[bytes], seconds: float) -> bytes | None:
        """The next line; None once there is no more. Raises: TimeoutError."""
        assert child.stdout is not None  # noqa: S101 - it was asked for
        until = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            while b"\n" not in self._read:
                if not selector.select(max(until - time.monotonic(), 0)):
                    raise TimeoutError
                more = os.read(child.stdout.fileno(), 1 << 16)
                if not more:
                    return None
                self._read += more
        line, _, self._read = self._read.partition(b"\n")
        return line

    def _last_words(self) -> str:
        assert self._said is not None  # noqa: S101 - there is a child
        self._said.seek(0, os.SEEK_END)
        self._said.seek(max(self._said.tell() - MOST_TEXT, 0))
        lines = self._said.read().decode("utf-8", "replace").strip().splitlines()
        return " ".join(lines[-1].split()) if lines else ""


def _ended(status: int) -> str:
    if status >= 0:
        return f"exit code {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def _facts(told: Mapping[str, Any]) -> Facts:
    counted = (f"{file}:{line}x{often}" for file, lines in told["lines"].items() for line, often in lines)
    return Facts(
        told["state"],
        told["digest"],
        frozenset([*told["reached"], *counted]),
        frozenset(told["checked"]),
        tuple(told["invariants"]),
        told["refusal"],
        told["place"],
        told["text"],
    )


def seeds(maker: str) -> list[bytes]:
    """The inputs that an entry point begins with where there is no corpus. Raises: HarnessBroken."""
    command = [sys.executable, "-m", __name__, maker, "seeds"]
    try:
        ended = subprocess.run(  # noqa: S603 - our own program
            command, cwd=ROOT, capture_output=True, text=True, timeout=START_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise HarnessBroken(f"the entry point had no inputs ready in {START_SECONDS:g} s") from None
    if ended.returncode != 0:
        raise HarnessBroken(f"the entry point could not be made ready: {' '.join(ended.stderr.splitlines()[-1:])}")
    return [base64.b64decode(line) for line in ended.stdout.splitlines()]


# -- the child's side -------------------------------------------------------------------------------------------------


def main(arguments: list[str]) -> int:
    """Answer for each input on stdin."""
    maker, how = arguments
    if how == "seeds":
        for seed in _made(maker).seeds():
            print(base64.b64encode(seed).decode())
        return 0
    # What the library or a peer prints is no answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    prepared = _made(maker)
    # What happens once in a process is no merit of the first input.
    for seed in islice(prepared.seeds(), 3):
        with contextlib.suppress(Exception):
            prepared.run(seed)
    print("ready", file=answers, flush=True)
    for line in sys.stdin.buffer:
        data = base64.b64decode(line)
        print(json.dumps(told(prepared, data, lines=how == "lines")), file=answers, flush=True)
    return 0


def _made(maker: str) -> Prepared:
    module, name = maker.split(":")
    made: Prepared = getattr(import_module(module), name)()
    return made


def told(prepared: Prepared, data: bytes, *, lines: bool) -> dict[str, Any]:
    """What one input does, as the child says it."""
    answer: dict[str, Any] = {"state": HOLDS, "digest": "", "reached": [], "lines": {}, "checked": []}
    answer |= {"invariants": [], "refusal": "", "place": "", "text": ""}
    counter = Lines()
    try:
        with counter if lines else contextlib.nullcontext():
            ran = prepared.run(data)
    except Exception as error:
        answer["state"] = BROKEN if isinstance(error, AssertionError) else FAULT
        answer |= _of_error(error)
        return answer
    if ran is None:
        answer["state"] = COSTLY
        return answer
    answer["digest"] = hashlib.sha256(ran.transcript).hexdigest()
    answer["reached"], answer["checked"] = sorted(ran.reached), sorted(ran.checked)
    answer["lines"] = counter.by_file()
    return answer


def _of_error(error: Exception) -> dict[str, Any]:
    text = str(error)
    said: dict[str, Any] = {"text": text[:MOST_TEXT], "refusal": "", "place": ""}
    said["invariants"] = list(dict.fromkeys(ID.findall(text))) if isinstance(error, AssertionError) else []
    broken = getattr(error, "broken", None)
    if broken:
        # The operation at which the first of them broke.
        event = broken[0].violation.event
        said |= {"place": f"{event.op.kind.word} {event.outcome.value}", "refusal": event.code or ""}
        return said
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    inside = [place for place in frames if place[0].startswith(f"{LIBRARY}{os.sep}")] or frames
    file, line = inside[-1]
    said["place"] = f"{type(error).__name__} in {Path(file).name}:{line}"
    said["refusal"] = str(getattr(error.__context__, "code", "") or getattr(error, "code", ""))
    return said


class Lines:
    """Counts the lines of the library that are run."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, int]] = Counter()
        self._root = f"{LIBRARY}{os.sep}"

    def __enter__(self) -> Self:
        counts, root = self._counts, self._root

        def inside(frame: FrameType, event: str, argument: object) -> Any:
            if event == "line":
                counts[frame.f_code.co_filename, frame.f_lineno] += 1
            return inside

        def called(frame: FrameType, event: str, argument: object) -> Any:
            return inside if frame.f_code.co_filename.startswith(root) else None

        sys.settrace(called)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        sys.settrace(None)

    def by_file(self) -> dict[str, list[tuple[int, int]]]:
        """By file, each line with the power of two in which the number of its runs lies."""
        found: dict[str, list[tuple[int, int]]] = {}
        for (file, line), count in sorted(self._counts.items()):
            found.setdefault(Path(file).relative_to(LIBRARY).as_posix(), []).append((line, _power(count)))
        return found


def _power(count: int) -> int:
    """LibFuzzer's steps: 1, 2, 3, 4, 8, 16, 32, 128."""
    return max(step for step in (1, 2, 3, 4, 8, 16, 32, 128) if step <= count)


def line_of(feature: str) -> tuple[str, int] | None:
    """File and line of a feature that is one."""
    found = re.fullmatch(r"(\S+\.py):(\d+)x\d+", feature)
    return (found[1], int(found[2])) if found else None


def functions_lines() -> dict[str, frozenset[int]]:
    """By file of the library, the lines inside its functions: those that an input can come to."""
    return {
        path.relative_to(LIBRARY).as_posix(): frozenset(_inside(compile(path.read_bytes(), str(path), "exec")))
        for path in sorted(LIBRARY.rglob("*.py"))
        if not path.name.endswith("_pb2.py")
    }


def _inside(code: CodeType) -> Iterator[int]:
    is_function = bool(code.co_flags & 0x2)  # CO_NEWLOCALS: neither a module nor a class
    for start, _, line in code.co_lines():
        # The line of `def` itself is no line of the body.
        if is_function and line is not None and start and line != code.co_firstlineno:
            yield line
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _inside(constant)


def ask_all(prober: Prober, inputs: Iterable[tuple[str, bytes]]) -> dict[str, Facts]:
    """The facts of inputs, by name."""
    return {name: prober.ask(data) for name, data in inputs}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
