"""Judge node-libsignal under several lines of Node: `make nodes` (ARGS=--whole: the whole search; `--line 22`: one).

The binaries are npm packages, locked in drivers/node-runtimes. Under each line, side by side: the driver keeps to the
contract, every finding is reproduced by the peer alone, and the vectors find exactly the known deviations.

Exit codes: 0 each line does as it is known to, 1 one does not, 3 a line is not here.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tools.examples import ROOT
from tools.set_up import SetupError, set_up_node

FOLDER: Final = ROOT / "drivers" / "node-runtimes"
PEER: Final = ROOT / "drivers" / "node-libsignal"
PAWL: Final = ROOT / ".venv" / "bin" / "pawl"
OUT: Final = ROOT / "build" / "nodes"
VERSION: Final = re.compile(r"v(\d+)\.\d+\.\d+")
SECONDS: Final = 1800
"""For one step; the longest, a whole search, takes some minutes."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that must hold under a line."""

    what: str
    command: Sequence[str | Path]


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a step."""

    line: str
    step: Step
    code: int
    seconds: float
    said: str


def main(argv: Sequence[str] | None = None) -> int:
    """Set the binaries up, and run every step under each."""
    parser = argparse.ArgumentParser(prog="make nodes", description=__doc__, allow_abbrev=False)
    parser.add_argument("--line", choices=lines(), action="append", help="one line of Node, such as 22 (default: all)")
    parser.add_argument("--whole", action="store_true", help="the whole search too, over both stores")
    parser.add_argument("--jobs", type=int, default=2, help="lines at once (default: 2)")
    args = parser.parse_args(argv)
    try:
        set_up_node(FOLDER)
        binaries = {line: binary(line) for line in args.line or lines()}
    except SetupError as error:
        say(str(error))
        return 3
    with ThreadPoolExecutor(args.jobs) as pool:
        under = pool.map(lambda pair: list(run(*pair, whole=args.whole)), binaries.items())
        ran = [one for line in under for one in line]
    for one in ran:
        print(f"{one.line:10} {'ok' if one.code == 0 else 'FAILED':6} {one.seconds:6.1f} s  {one.step.what}")
    for one in ran:
        if one.code != 0:
            print(f"\n{one.line}, {one.step.what}: exit code {one.code}\n{one.said}")
    return int(any(one.code != 0 for one in ran))


def lines() -> list[str]:
    """The lines that are locked, such as "20"."""
    locked: Mapping[str, str] = json.loads((FOLDER / "package.json").read_text("utf-8"))["dependencies"]
    return [name.removeprefix("node-") for name in locked]


def binary(line: str) -> Path:
    """The binary of a line, which says itself that it is of that line. Raises: SetupError."""
    path = FOLDER / "node_modules" / f"node-{line}" / "bin" / "node"
    if not path.is_file():
        raise SetupError(f"Node {line} is not installed; it is there for Linux on x86-64, with npm")
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    found = VERSION.fullmatch(said)
    if found is None or found[1] != line:
        raise SetupError(f"{path} is not Node {line}: it says {said!r}")
    return path


def steps(node: Path, out: Path, *, whole: bool) -> Iterator[Step]:
    """What must hold under a binary."""
    known = ROOT / "vectors" / "producers" / "node-libsignal.json"
    yield Step("the driver keeps to the contract", [PAWL, "driver", "check", "--", node, PEER / "driver.js"])
    yield Step("every finding is reproduced by the peer alone", [node, PEER / "findings" / "run.js"])
    yield Step(
        "exactly the known deviations from the vectors",
        [PAWL, "vectors", "check", "--target", "node-libsignal", "--expect", known],
    )
    for target, expected in (("node-libsignal", "expected.json"), ("node-libsignal-live", "expected-live.json")):
        if whole:
            search: list[str | Path] = [PAWL, "verify", "--target", target, "--expect", PEER / expected]
            search += ["--no-report", "--seconds", "600", "--out", out / target]
            yield Step(f"exactly the expected findings of {target}", search)


def run(line: str, node: Path, *, whole: bool) -> Iterator[Ran]:
    """Run every step under a line; one that fails keeps none from being run."""
    for step in steps(node, OUT / line, whole=whole):
        begun = time.monotonic()
        environment = {**os.environ, "PAWL_NODE": str(node)}
        try:
            done = subprocess.run(
                step.command,
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=SECONDS,
                check=False,
            )
            code, said = done.returncode, done.stdout
        except subprocess.TimeoutExpired:
            code, said = -1, f"it did not end within {SECONDS} s"
        one = Ran(f"Node {line}", step, code, time.monotonic() - begun, said)
        say(f"{one.line}: {step.what}: {'ok' if code == 0 else f'exit code {code}'}")
        yield one


def say(text: str) -> None:
    """Progress goes to stderr."""
    print(f"nodes: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
