"""The corpus: traces in their byte form, one file each, named by their content.

Every byte string is a trace and opcodes are never reused, so a corpus outlives changes of the code. Two machines that
found the same input wrote the same file.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from pawl_gate.runner import run_trace
from pawl_gate.targets.base import Target
from pawl_spec.history import History
from pawl_spec.judge import Broken, judge
from pawl_spec.trace import Kind, Trace, decode, dumps

SESSION_TRACE = Path(__file__).resolve().parents[3] / "corpus" / "session_trace"
"""Session traces, in a checkout. An installed package has no corpus."""

NAME_LENGTH = 32
"""Hex digits of a file name: 128 bits of the content's SHA-256."""

MOST_BURST = 300
"""Messages in all bursts of an input, beyond which it is too slow to be worth a fuzzer's time (about 20 ms)."""

MOST_OPS = 200
"""Operations of an input, for the same reason."""


class SpecBroken(AssertionError):
    """A trace breaks invariants. The text names them and holds the trace in its archive form."""

    def __init__(self, broken: list[Broken], trace: Trace) -> None:
        lines = [f"{one.invariant.id} does not hold: {one.violation.what}" for one in broken]
        super().__init__("\n".join([*lines, dumps(trace)]))
        self.ids = tuple(one.invariant.id for one in broken)
        self.broken = tuple(broken)


def name_of(data: bytes) -> str:
    """The file name of an input."""
    return hashlib.sha256(data).hexdigest()[:NAME_LENGTH]


def add(folder: Path, data: bytes) -> Path:
    """Keep an input; the same input twice is one file."""
    path = folder / name_of(data)
    if not path.exists():
        path.write_bytes(data)
    return path


def files(folder: Path) -> list[Path]:
    """The inputs of a folder, by name; none where there is no such folder."""
    return sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []


def load(folder: Path) -> list[tuple[str, Trace]]:
    """The inputs of a folder as traces, with their names, in a fixed order."""
    return [(path.name, decode(path.read_bytes())) for path in files(folder)]


def is_costly(trace: Trace) -> bool:
    """Whether a trace is too slow for a fuzzer: the directed scenarios do what is large."""
    burst = sum(op["count"] for op in trace.ops if op.kind is Kind.BURST)
    return burst > MOST_BURST or len(trace.ops) > MOST_OPS


def hold(target: Target, data: bytes) -> History | None:
    """Run an input and hold it to the specification; None where it is too costly. Raises: SpecBroken."""
    trace = decode(data)
    if is_costly(trace):
        return None
    history = run_trace(target, trace)
    broken, _ = judge(history)
    if broken:
        raise SpecBroken(broken, trace)
    return history
