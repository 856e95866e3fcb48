"""What driving a program costs: `make bench ARGS=harness`.

Two parts. `instant` runs traces against a driver that answers at once (`bench.instant`), beside its floor, a bare
exchange of the very same lines over the same pipes: what is on top is the gate's. `node` runs traces against
node-libsignal and says how much comes on top of what the peer itself spends in its own calls (`bench/peer_clock.js`):
the gate, the pipes, and the driver.

Rounds of both alternate, and the best of each counts, as a busy machine only ever adds. Processor time is given beside
wall time: on a busy machine it says more.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Final, cast

from pawl_gate.collection import rare_collection
from pawl_gate.engines.walk import traces
from pawl_gate.runner import run_trace
from pawl_gate.targets.base import HarnessBroken
from pawl_gate.targets.driver import DriverTarget
from pawl_gate.targets.registry import find_target
from pawl_spec.history import History
from pawl_spec.judge import judge
from pawl_spec.trace import Trace

HERE: Final = Path(__file__).parent
INSTANT: Final = (sys.executable, "-I", str(HERE / "instant.py"))

GOAL_STEPS: Final = 8_000
"""Steps a second through pipes, against a driver that answers at once. Source: issue 9."""

GOAL_ON_TOP: Final = 0.25
"""What the harness may add to the time that node-libsignal itself spends. Source: issue 9."""

PARTS: Final = ("instant", "node")


class Listening(DriverTarget):
    """A driven target that keeps the lines which it sends."""

    def __init__(self, argv: Sequence[str | Path]) -> None:
        self.lines: list[bytes] = []
        super().__init__(argv)

    def listen(self) -> None:
        """Keep them from now on."""
        exchange = self._process.exchange

        def kept(line: bytes) -> bytes:
            self.lines.append(line)
            return exchange(line)

        self._process.exchange = kept  # type: ignore[method-assign]  # the lines are listened to on their way


def work(target: DriverTarget, chosen: Sequence[Trace]) -> list[History]:
    """Run the traces."""
    return [run_trace(target, trace) for trace in chosen]


@contextmanager
def clock(sums: list[tuple[float, float]]) -> Iterator[None]:
    """Add wall and processor time of this thread, in seconds."""
    wall, processor = time.perf_counter(), time.thread_time()
    yield
    sums.append((time.perf_counter() - wall, time.thread_time() - processor))


def bare(lines: Sequence[bytes]) -> float:
    """Seconds of exchanging these lines with the instant driver, and nothing else: the floor."""
    with subprocess.Popen(  # noqa: S603 - a program of this checkout
        INSTANT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as program:
        stdin, stdout = cast("IO[bytes]", program.stdin), cast("IO[bytes]", program.stdout)
        said, heard = stdin.fileno(), stdout.fileno()
        os.write(said, lines[0] + b"\n")
        os.read(heard, 1 << 16)
        start = time.perf_counter()
        for line in lines:
            os.write(said, line + b"\n")
            os.read(heard, 1 << 16)
        took = time.perf_counter() - start
        stdin.close()
    return took


def instant(rounds: int, count: int) -> dict[str, object]:
    """Steps a second against a driver that answers at once."""
    chosen = list(islice(traces(0), count))
    with closing(Listening(INSTANT)) as target:
        target.listen()
        histories = work(target, chosen)
        lines, target.lines = target.lines, []
    steps = sum(len(history.events) for history in histories)
    ran: list[tuple[float, float]] = []
    judged: list[tuple[float, float]] = []
    floors = []
    for _ in range(rounds):
        with closing(DriverTarget(INSTANT)) as target, rare_collection():
            with clock(ran):
                histories = work(target, chosen)
            with clock(judged):
                for history in histories:
                    judge(history)
        floors.append(bare(lines))
    wall, processor = (min(column) for column in zip(*ran, strict=True))
    return {
        "part": "instant",
        "steps": steps,
        "requests": len(lines),
        "steps_per_second": round(steps / wall),
        "by_processor_time": round(steps / processor),
        "goal": GOAL_STEPS,
        "request_us": round(wall / len(lines) * 1e6, 1),
        "bare_us": round(min(floors) / len(lines) * 1e6, 1),
        "judged_per_second": round(steps / min(processor for _, processor in judged)),
    }


def node(rounds: int, count: int) -> dict[str, object]:
    """What comes on top of node-libsignal's own time. Raises: HarnessBroken (it is not here)."""
    with closing(cast("DriverTarget", find_target("node-libsignal"))) as found:
        program, *words = found.command
    chosen = list(islice(traces(0), count))
    best: dict[str, object] = {}
    for _ in range(rounds):
        spent: list[tuple[float, float]] = []
        with TemporaryDirectory(prefix="pawl-bench-") as folder:
            told = Path(folder, "clock.json")
            os.environ["PAWL_PEER_CLOCK"] = str(told)
            clocked = DriverTarget([program, "-r", HERE / "peer_clock.js", *words])
            # The peer's code is compiled as it gets warm: as in a run, only less often.
            with closing(clocked) as target, rare_collection(), clock(spent):
                histories = work(target, chosen)
            del os.environ["PAWL_PEER_CLOCK"]
            peer = json.loads(told.read_text("utf-8"))
        (wall, gate) = spent[0]
        own, driver = peer["peer_cpu_ms"] / 1e3, (peer["cpu_ms"] - peer["peer_cpu_ms"]) / 1e3
        result = {
            "part": "node",
            "steps": sum(len(history.events) for history in histories),
            "calls": peer["calls"],
            "peer_s": round(peer["peer_ms"] / 1e3, 3),
            "wall_s": round(wall, 3),
            "on_top": round(wall / (peer["peer_ms"] / 1e3) - 1, 3),
            "peer_cpu_s": round(own, 3),
            "driver_cpu_s": round(driver, 3),
            "gate_cpu_s": round(gate, 3),
            "gate_on_top_by_processor_time": round(gate / own, 3),
            "goal": GOAL_ON_TOP,
        }
        if not best or cast("float", result["on_top"]) < cast("float", best["on_top"]):
            best = result
    return best


def main(arguments: list[str]) -> int:
    """Measure and print. Exit codes: 0 measured, 2 wrong usage, 3 the peer is not here."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=harness", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds of each part (default 5)")
    parser.add_argument("--traces", type=int, default=60, metavar="N", help="walks of each round (default 60)")
    parser.add_argument("--only", choices=PARTS, help="one part alone")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    chosen = parser.parse_args(arguments)
    if chosen.rounds < 1 or chosen.traces < 1:
        parser.error("--rounds and --traces are at least 1")
    for name in [chosen.only] if chosen.only else PARTS:
        print(f"bench: {name}, {chosen.rounds} rounds of {chosen.traces} traces", file=sys.stderr, flush=True)
        try:
            result = (instant if name == "instant" else node)(chosen.rounds, chosen.traces)
        except HarnessBroken as error:
            print(f"bench: {error}", file=sys.stderr)
            if chosen.only:
                return 3
            continue
        print(json.dumps(result) if chosen.json else _line(result))
    if not chosen.json:
        print(f"load of the machine: {' '.join(f'{load:.1f}' for load in os.getloadavg())}")
    return 0


def _line(result: dict[str, object]) -> str:
    if result["part"] == "instant":
        return (
            f"instant  {result['steps_per_second']:,} steps a second, {result['by_processor_time']:,} by processor "
            f"time (goal {GOAL_STEPS:,}): {result['request_us']} us a request, bare {result['bare_us']} us; "
            f"judging {result['judged_per_second']:,} steps a second"
        )
    on_top, gate = (cast("float", result[name]) for name in ("on_top", "gate_on_top_by_processor_time"))
    return (
        f"node     {result['wall_s']} s, of which the peer itself {result['peer_s']} s: {on_top:+.0%} on top "
        f"(goal {GOAL_ON_TOP:+.0%}); processor time: peer {result['peer_cpu_s']} s, driver {result['driver_cpu_s']} s, "
        f"gate {result['gate_cpu_s']} s ({gate:+.0%})"
    )
