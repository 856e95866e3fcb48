"""Plant one fault, fuzz from the seeds alone, and say how long it took to find it.

    python -m pawl_gate.fuzzing.hunt NAME [--seconds 300] [--seed 1]

Prints one line of JSON: whether it was found, what the finding says, executions, seconds, the input in hex. Exit code 0
if the invariant that names the fault found it, 1 if nothing or something else was found. Time is counted from the first
execution; corpora are not used, so that it is a search and no replay.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from typing import Final, NoReturn

from pawl_gate.fuzzing.entries import ENTRIES

SECONDS: Final = 300
"""How long a fault may stay hidden."""


class Hunt:
    """Counts, watches the clock, and ends the process at the first finding: libFuzzer does not come back."""

    def __init__(self, name: str, seconds: float, expected: tuple[str, ...]) -> None:
        self._name = name
        self._seconds = seconds
        self._expected = expected
        self._started: float | None = None
        self._cpu = 0.0
        self.runs = 0

    def begin(self) -> None:
        """The first execution."""
        if self._started is None:
            self._started, self._cpu = time.monotonic(), time.process_time()

    def look(self, data: bytes) -> None:
        """Whether it is time to give up."""
        self.runs += 1
        if self._started is not None and time.monotonic() - self._started > self._seconds:
            self.end(None, data)

    def end(self, finding: AssertionError | None, data: bytes) -> NoReturn:
        """Say what was found, and end."""
        ids = getattr(finding, "ids", ())
        good = bool(set(ids) & set(self._expected))
        said = {
            "fault": self._name,
            "found": good,
            "ids": list(ids),
            "executions": self.runs,
            "seconds": round(time.monotonic() - (self._started or time.monotonic()), 3),
            "cpu_seconds": round(time.process_time() - self._cpu, 3),
            "input": data.hex() if finding is not None else "",
            "text": str(finding).split("\n", 1)[0][:200],
        }
        print(json.dumps(said), flush=True)
        os._exit(0 if good else 1)


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("name")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    import atheris

    with atheris.instrument_imports(include=["pawl"]):
        from pawl_gate.fuzzing.faults import FAULTS, new_process

        fault = FAULTS.get(arguments.name)
        if fault is None:
            parser.error(f"there is no fault {arguments.name}; there are {', '.join(FAULTS)}")
        prepared = ENTRIES[fault.entry].prepare()
    hunt = Hunt(fault.name, arguments.seconds, fault.breaks)
    stack = ExitStack()
    stack.enter_context(fault.planted())
    for edit in fault.edits:
        # What was compiled anew has to give feedback like the rest.
        atheris.instrument_func(edit.function)

    def fuzz(data: bytes) -> None:
        hunt.begin()
        hunt.look(data)
        new_process()
        try:
            prepared.hold(data)
        except AssertionError as finding:
            hunt.end(finding, data)

    def change(data: bytes, max_size: int, seed: int) -> bytes:
        return prepared.started(data, max_size, seed) if seed % 8 else atheris.Mutate(data, max_size)

    with tempfile.TemporaryDirectory() as folder:
        options = [
            sys.argv[0],
            f"-seed={arguments.seed}",
            "-len_control=0",
            f"-max_len={ENTRIES[fault.entry].most_bytes}",
        ]
        options.append(folder)
        atheris.Setup(options, fuzz, custom_mutator=change, custom_crossover=prepared.cross)
        atheris.Fuzz()
    return 1


if __name__ == "__main__":
    sys.exit(main())
