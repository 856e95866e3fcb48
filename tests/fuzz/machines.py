"""Entry points for tests of campaigns: small programs of their own, with and without a fault, beside the real harness."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from pawl_gate.fuzzing.entries import Entry, Form, Prepared, Ran
from pawl_gate.fuzzing.traces import Traces
from pawl_spec.trace import Kind, Trace, encode, op
from tests.conftest import ROOT

PROGRAM = """\
#!/usr/bin/env python3
import sys

sys.path.append({root!r})
from harness import main


def prepare():
    from tests.fuzz.machines import {maker}

    made = {maker}()
    return made.hold, made.mutate, made.cross


main(prepare)
"""


@dataclass(frozen=True)
class Elsewhere(Entry):
    """An entry point whose program and corpus are not in the checkout."""

    folder: Path = Path()

    @property
    def program(self) -> Path:
        return self.folder / f"{self.name}.py"

    @property
    def corpus(self) -> Path:
        return self.folder / "corpus" / self.name

    @property
    def dictionary(self) -> Path:
        return self.folder / f"{self.name}.dict"


def elsewhere(folder: Path, maker: str, *, most_bytes: int = 64) -> Elsewhere:
    """The entry point that a function of this module makes, as a program in `folder`."""
    folder.mkdir(exist_ok=True)
    shutil.copy(ROOT / "fuzz" / "harness.py", folder)
    program = folder / f"{maker}.py"
    program.write_text(PROGRAM.format(maker=maker, root=str(ROOT)), encoding="utf-8")
    program.chmod(0o755)
    return Elsewhere(
        name=maker,
        reads="bytes",
        boundaries=(),
        invariants=(),
        maker=f"tests.fuzz.machines:{maker}",
        bound="",
        most_bytes=most_bytes,
        folder=folder,
    )


# -- what they run ----------------------------------------------------------------------------------------------------


def _mutate(data: bytes, most: int, seed: int) -> bytes:
    at = seed % (len(data) + 1)
    return (data[:at] + bytes([seed >> 8 & 255]) + data[at + (seed >> 16 & 1) :])[:most]


def _cross(one: bytes, other: bytes, most: int, seed: int) -> bytes:
    return (one[: seed % (len(one) + 1)] + other)[:most]


FORM = Form(
    lambda data: (b"", [bytes([byte]) for byte in data]),
    lambda head, parts: head + b"".join(parts),
    lambda part: [bytes([less]) for less in (0, part[0] // 2, part[0] - 1) if 0 <= less < part[0]],
)


def _prepared(run: object) -> Prepared:
    return Prepared(run, _mutate, _cross, run, FORM, lambda: [b"seed"])  # type: ignore[arg-type]


def _ran(data: bytes, reached: set[str]) -> Ran:
    return Ran(data, frozenset(reached | {f"length {len(data)}"}), frozenset({"PAR-01"}))


def letters() -> Prepared:
    """Reaches a feature for each letter in its input, and reads a length of the library's."""
    from pawl.errors import ProtocolError
    from pawl.wire import varint

    def run(data: bytes) -> Ran:
        with contextlib.suppress(ProtocolError):
            varint.read_varint(data, 0, len(data), 2**32 - 1)
        return _ran(data, {f"letter {byte}" for byte in data})

    return _prepared(run)


def breaks() -> Prepared:
    """Breaks an invariant where 3 comes before 200."""

    def run(data: bytes) -> Ran:
        if 3 in data and 200 in data[data.index(3) :]:
            raise AssertionError("CTR-05 does not hold: 200 after 3")
        return _ran(data, set())

    return _prepared(run)


def various() -> Prepared:
    """What else may come of an input, by its first byte."""
    import time

    def run(data: bytes) -> Ran | None:
        match data[:1]:
            case b"a":
                raise AssertionError("PAR-01 does not hold: a")
            case b"f":
                raise IndexError("a slip")
            case b"d":
                os.kill(os.getpid(), 9)
            case b"h":
                time.sleep(3600)
            case b"c":
                return None
            case b"r":
                return Ran(os.urandom(8), frozenset({"r"}), frozenset())
            case b"n":
                return Ran(b"", frozenset(), frozenset())
        return _ran(data, set())

    return _prepared(run)


def faulty_trace() -> Prepared:
    """Pawl with a planted fault: a refused message changes the state."""
    from pawl_gate.controls import CONTROLS

    return Traces(CONTROLS["refusal-changes-state"].make(), beginnings=(Trace(MET),)).prepared()


MET = (
    op(Kind.ESTABLISH, actor=0, peer=1, one_time=1),
    op(Kind.SEND, actor=0, peer=1),
    op(Kind.DELIVER, index=0),
)
TAMPERED = encode(Trace((*MET, op(Kind.SEND, actor=1, peer=0), op(Kind.DROP), op(Kind.TAMPER))))
