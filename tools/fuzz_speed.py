"""Measure executions a second of the fuzzers' entry points, on one core, instrumented, and say what bounds them.

    python -m tools.fuzz_speed [ENTRY ...] [--seconds 10] [--json]

Each entry point fuzzes from its own corpus, one after the other. Executions are counted per second of the process' own
CPU time, so that a busy machine does not count; what the start takes, reading the corpus included, is taken off.
Session traces are measured once more as the house plan has it: traces of 20 operations in an established world.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from resource import RUSAGE_CHILDREN, getrusage
from typing import Any

from pawl_gate.fuzzing.entries import ENTRIES, Entry
from pawl_spec.trace import Trace, encode

OPERATIONS = 20
"""Of a trace that is measured."""


def spent(entry: Entry, *options: str) -> tuple[float, str]:
    """CPU seconds of one run of a program, and what it said."""
    before = getrusage(RUSAGE_CHILDREN)
    command = [sys.executable, str(entry.program), *options]
    ended = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=600, check=False)
    after = getrusage(RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, ended.stderr


def measured(entry: Entry, seconds: int) -> dict[str, Any]:
    """One entry point."""
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(shutil.copytree(entry.corpus, Path(folder) / "corpus"))
        begun = time.monotonic()
        start, _ = spent(entry, "-runs=0", str(inputs))
        # The start is a part of the time that libFuzzer counts.
        wall = round(time.monotonic() - begun) + seconds
        cpu, said = spent(entry, f"-max_total_time={wall}", "-seed=1", "-print_final_stats=1", str(inputs))
    runs = re.search(r"^Done (\d+) runs", said, re.MULTILINE)
    if runs is None:
        return {"entry": entry.name, "failed": said[-300:]}
    # Those of the corpus itself are in the start.
    count = max(int(runs[1]) - len(list(entry.corpus.iterdir())), 1)
    return {"entry": entry.name, "runs": count, "a_second": round(count / max(cpu - start, 0.01)), "bound": entry.bound}


def traces(seconds: int) -> dict[str, Any]:
    """Session traces of 20 operations: messages in and out of order, repeats, changed copies; not instrumented."""
    from pawl_gate.engines.walk import Walk
    from pawl_gate.fuzzing.traces import MET, TALK, scenes, session_trace

    source, prepared = scenes(*TALK, *TALK, Walk.replay, Walk.tamper, Walk.twice, Walk.drop), session_trace()
    rng = Random(1)  # noqa: S311 - a seeded walk is not a secret
    inputs = []
    for _ in range(200):
        ops = tuple(source(rng)) + tuple(source(rng))
        inputs.append(encode(Trace((*MET, *ops[:OPERATIONS]))))
    runs, begun = 0, time.process_time()
    while time.process_time() - begun < seconds:
        prepared.hold(inputs[runs % len(inputs)])
        runs += 1
    taken = time.process_time() - begun
    return {"entry": "session_trace, 20 operations", "runs": runs, "a_second": round(runs / taken), "bound": "as above"}


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("name", nargs="*", help="entry points; none: all")
    parser.add_argument("--seconds", type=int, default=10, help="of each")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    for name in arguments.name:
        if name not in ENTRIES:
            parser.error(f"there is no entry point {name}; there are {', '.join(ENTRIES)}")
    found = []
    for name in arguments.name or ENTRIES:
        found.append(measured(ENTRIES[name], arguments.seconds))
        if name == "session_trace":
            found.append(traces(arguments.seconds))
    if arguments.json:
        print(json.dumps(found, indent=1))
        return 0
    for one in found:
        if "failed" in one:
            print(f"{one['entry']:30} failed: {one['failed']}")
        else:
            print(f"{one['entry']:30} {one['a_second']:>8,}/s  {one['bound']}")
    return 1 if any("failed" in one for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
