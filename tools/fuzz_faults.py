"""Plant each of the fuzzers' faults and measure how long its entry point takes to find it, one after the other.

    python -m tools.fuzz_faults [NAME ...] [--seconds 300] [--seed 1] [--json]

The searches begin with the seeds alone. Exit code 0: each was found in time by an invariant that names it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import Any

from pawl_gate.fuzzing.faults import FAULTS
from pawl_gate.fuzzing.hunt import SECONDS

ROOM = 120
"""Seconds beyond the search itself that a process may take: to start, and on a busy machine."""


def hunted(name: str, seconds: float, seed: int) -> dict[str, Any]:
    """What came of one search."""
    command = [sys.executable, "-m", "pawl_gate.fuzzing.hunt", name, "--seconds", str(seconds), "--seed", str(seed)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=seconds + ROOM, check=False)
    for line in ended.stdout.splitlines():
        if line.startswith("{"):
            said: dict[str, Any] = json.loads(line)
            return said
    return {"fault": name, "found": False, "text": ended.stderr[-500:], "ids": [], "executions": 0, "seconds": 0.0}


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("name", nargs="*", help="faults; none: all")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of one search at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    for name in arguments.name:
        if name not in FAULTS:
            parser.error(f"there is no fault {name}; there are {', '.join(FAULTS)}")
    found = []
    for name in arguments.name or FAULTS:
        said = hunted(name, arguments.seconds, arguments.seed)
        found.append(said)
        fault = FAULTS[name]
        how = f"{said['ids'][0]} after {said['executions']:,} executions" if said["found"] else said["text"]
        line = f"{'found' if said['found'] else 'NOT FOUND':9} {said['seconds']:7.2f} s  {fault.entry:15} {name}: {how}"
        print(line, file=sys.stderr if arguments.json else sys.stdout, flush=True)
    if arguments.json:
        print(json.dumps(found, indent=1))
    good = sum(one["found"] for one in found)
    print(f"{good} of {len(found)} planted faults found", file=sys.stderr)
    return 0 if good == len(found) else 1


if __name__ == "__main__":
    sys.exit(main())
