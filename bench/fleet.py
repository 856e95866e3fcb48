"""Time two local jobs beside one, and two Dask workers beside two local jobs: `make bench ARGS=fleet`.

The same round of two units, each of so many executions, is carried out in turn by each, several times; a round's wall
time is from its first unit to its last outcome. What counts is the ratio of neighbouring rounds, and that of the best
rounds: on a machine that others use, the best ones are those that were disturbed least.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pawl_gate.fuzzing.campaign import Campaign, plan, starting_corpora
from pawl_gate.fuzzing.entries import ENTRIES
from pawl_gate.fuzzing.executors import engine


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """A Dask scheduler and two workers of one thread each."""
    address, started = folder / "scheduler.json", []

    def start(module: str, *options: str) -> None:
        with (folder / "dask.log").open("ab") as log:
            command = [sys.executable, "-m", f"distributed.cli.{module}", "--no-dashboard", *options]
            started.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=folder))  # noqa: S603

    try:
        start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(address))
        while not address.exists():
            time.sleep(0.1)
        for number in range(2):
            local = ("--local-directory", str(folder / f"worker{number}"))
            start("dask_worker", "--scheduler-file", str(address), "--nthreads", "1", "--no-nanny", *local)
        told: str = json.loads(address.read_text())["address"]
        from distributed import Client

        with Client(told, set_as_default=False) as client:
            client.wait_for_workers(2)
        yield told.replace("tcp://", "dask://")
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()


def seconds(folder: Path, entry: str, where: str, jobs: int, *, runs: int, seed: int) -> float:
    """Of one round of two units."""
    entries = {entry: ENTRIES[entry]}
    made = plan(entries, seed=seed, unit_seconds=0, unit_runs=runs, lanes=2)
    campaign = Campaign.begin(folder, entries, made, starting_corpora(entries, None))
    with engine(where, jobs) as there:
        campaign.run(there, rounds=0)
        began = time.perf_counter()
        campaign.run(there, rounds=1)
        took = time.perf_counter() - began
    if campaign.given_up:
        raise RuntimeError(campaign.given_up[0])
    return took


def main(arguments: list[str]) -> int:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--entry", default="signal_message", choices=sorted(ENTRIES))
    parser.add_argument("--runs", type=int, default=50_000, help="executions of a unit (default: 50000)")
    parser.add_argument("--rounds", type=int, default=3, help="of each (default: 3)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    took: dict[str, list[float]] = {"one": [], "two": [], "dask": []}
    with tempfile.TemporaryDirectory() as name, cluster(Path(name)) as address:
        for number in range(options.rounds):
            for what, where, jobs in (("one", "local", 1), ("two", "local", 2), ("dask", address, 2)):
                folder = Path(name) / f"{what}{number}"
                took[what].append(seconds(folder, options.entry, where, jobs, runs=options.runs, seed=number))
                print(f"{what}: {took[what][-1]:.1f} s, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    ratios = {
        "two local jobs against one": ("one", "two"),
        "two Dask workers against two local jobs": ("two", "dask"),
    }
    told = {
        words: {
            "median": statistics.median(a / b for a, b in zip(took[slow], took[fast], strict=True)),
            "best": min(took[slow]) / min(took[fast]),
        }
        for words, (slow, fast) in ratios.items()
    }
    if options.json:
        print(json.dumps({"entry": options.entry, "runs": options.runs, "seconds": took, "ratios": told}))
    else:
        for words, each in told.items():
            print(f"{words}: {each['median']:.2f} (median), {each['best']:.2f} (best rounds)")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
