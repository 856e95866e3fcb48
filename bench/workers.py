"""Time the worker pool: `make bench ARGS=workers`.

What a job costs beyond the step itself, in processor time of all processes together; jobs a second with one and two
workers, beside the synchronous device and beside `asyncio.to_thread`; latency at half and at full load; how long a
killed worker is missing; the longest callback on the event loop. What is compared alternates in one process. On a busy
machine the clock says more about the others than about the pool: the load is printed with the results.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bench import floor
from pawl import Device, MemoryStore, ProtocolAddress
from pawl.events import Event, WorkerRevived
from pawl.workers import AsyncDevice, WhenFull, WorkerPool, WorkerSettings

ME = ProtocolAddress("service", 1)
PEERS = 64
"""Peers of the service. Their jobs are independent."""

Call = Callable[[ProtocolAddress], Awaitable[object]]


def quiet(event: Event) -> None:
    """Nobody listens; but what is told costs what it costs."""


class Cost:
    """Clock and processor time of this process and of the workers, in microseconds a job."""

    def __init__(self, pool: WorkerPool | None = None) -> None:
        self._pids = () if pool is None else pool.worker_pids()
        self._start = self._now()

    def _now(self) -> tuple[float, float, float]:
        # Nanoseconds on a processor. Source: Linux, proc(5), schedstat.
        workers = sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in self._pids)
        return time.perf_counter(), time.process_time(), workers / 1e9

    def of(self, jobs: int) -> tuple[float, float, float]:
        """Clock, this process' processor time, the workers', since it was made."""
        clock, ours, theirs = (after - before for after, before in zip(self._now(), self._start, strict=True))
        return clock / jobs * 1e6, ours / jobs * 1e6, theirs / jobs * 1e6


class Service:
    """A device with sessions with PEERS peers, synchronous or on a pool, and messages for it to read."""

    def __init__(self) -> None:
        self.peers = [ProtocolAddress(f"peer {number}", 1) for number in range(PEERS)]
        self.others = [Device(MemoryStore(), on_event=quiet) for _ in self.peers]
        self.store = MemoryStore()
        device = Device(self.store, on_event=quiet)
        for peer, other in zip(self.peers, self.others, strict=True):
            device.establish(peer, other.prekey_bundle())
            other.decrypt(ME, device.encrypt(peer, floor.TEXT))
            device.decrypt(peer, other.encrypt(ME, floor.TEXT))
        self.device = Device(self.store.fork(), on_event=quiet)

    def targets(self, count: int) -> Iterator[ProtocolAddress]:
        """Peers in turns."""
        return (self.peers[number % PEERS] for number in range(count))


@asynccontextmanager
async def on_pool(service: Service, workers: int, **more: Any) -> AsyncIterator[tuple[WorkerPool, AsyncDevice]]:
    """The service's device on a pool."""
    settings = WorkerSettings(workers=workers, max_queued=100_000, **more)
    async with WorkerPool(settings, on_event=quiet) as pool:
        device = await AsyncDevice.open(service.store.fork(), pool)
        for peer in service.peers:
            await device.encrypt(peer, floor.TEXT)
        yield pool, device


async def many(call: Call, targets: Iterator[ProtocolAddress], tasks: int) -> None:
    """Make the calls, `tasks` of them at a time."""

    async def take() -> None:
        for peer in targets:
            await call(peer)

    await asyncio.gather(*(take() for _ in range(tasks)))


# -- what a job costs -------------------------------------------------------------------------------------------------


async def overhead(service: Service, rounds: int) -> AsyncIterator[dict[str, Any]]:
    """Processor time of a job beyond the synchronous call, alone, pipelined, and in batches of 32."""
    texts = [floor.TEXT] * 32
    async with on_pool(service, 1) as (pool, device):
        kinds: dict[str, tuple[int, int, Call, Callable[[ProtocolAddress], object], int]] = {
            "one at a time": (
                200,
                1,
                lambda peer: device.encrypt(peer, floor.TEXT),
                lambda peer: service.device.encrypt(peer, floor.TEXT),
                1,
            ),
            "pipelined": (
                3000,
                200,
                lambda peer: device.encrypt(peer, floor.TEXT),
                lambda peer: service.device.encrypt(peer, floor.TEXT),
                1,
            ),
            "in batches of 32": (
                100,
                16,
                lambda peer: device.encrypt_many(peer, texts),
                lambda peer: service.device.encrypt_many(peer, texts),
                32,
            ),
        }
        found: dict[str, list[tuple[float, float, float, float]]] = {name: [] for name in kinds}
        for number in range(rounds):
            say(f"overhead: round {number + 1} of {rounds}")
            for name, (calls, tasks, call, alone, size) in kinds.items():
                gc.collect()
                cost = Cost()
                for peer in service.targets(calls):
                    alone(peer)
                _, synchronous, _ = cost.of(calls * size)
                cost = Cost(pool)
                await many(call, service.targets(calls), tasks)
                clock, ours, theirs = cost.of(calls * size)
                found[name].append((clock, synchronous, ours, theirs))
        for name, samples in found.items():
            more = sorted(ours + theirs - alone for _, alone, ours, theirs in samples)
            yield {
                "what": name,
                "clock_us": median(sample[0] for sample in samples),
                "synchronous_us": median(sample[1] for sample in samples),
                "parent_us": median(sample[2] for sample in samples),
                "worker_us": median(sample[3] for sample in samples),
                "overhead_us": round(statistics.median(more), 1),
                "quartiles": [round(more[len(more) // 4], 1), round(more[3 * len(more) // 4], 1)],
            }


# -- jobs a second ----------------------------------------------------------------------------------------------------


def call_of(device: Any, operation: str) -> Callable[[ProtocolAddress], Any]:
    """One job: a cheap one, or one that computes for some milliseconds."""
    if operation == "encrypt":
        return lambda peer: device.encrypt(peer, floor.TEXT)
    return lambda peer: device.safety_number(peer.name, local_identifier=b"a", remote_identifier=b"b")


async def throughput(service: Service, rounds: int) -> AsyncIterator[dict[str, Any]]:
    """Jobs a second of each way, and what share that is of what the processor time of a job allows."""
    jobs = 3000
    cores = len(os.sched_getaffinity(0))
    for operation in ("encrypt", "safety_number"):
        size = jobs if operation == "encrypt" else 120
        found: dict[str, list[tuple[float, float, float]]] = {}

        async with on_pool(service, 1) as (one, first), on_pool(service, 2) as (two, second):
            for number in range(rounds):
                say(f"throughput: {operation}, round {number + 1} of {rounds}")
                direct = call_of(service.device, operation)
                cost = Cost()
                for peer in service.targets(size):
                    direct(peer)
                found.setdefault("synchronous", []).append(cost.of(size))
                cost = Cost()
                await many(lambda peer, c=direct: asyncio.to_thread(c, peer), service.targets(size), 64)  # type: ignore[misc]
                found.setdefault("asyncio.to_thread", []).append(cost.of(size))
                for name, pool, device in (("1 worker", one, first), ("2 workers", two, second)):
                    cost = Cost(pool)
                    await many(call_of(device, operation), service.targets(size), 200)
                    found.setdefault(name, []).append(cost.of(size))
        for name, samples in found.items():
            shares = []
            for clock, ours, theirs in samples:
                workers = int(name[0]) if name[0].isdigit() else 0
                # No process uses more than one core, all of them together no more than there are.
                allowed = max(ours, theirs / workers, (ours + theirs) / cores) if workers else clock
                shares.append(allowed / clock)
            yield {
                "what": f"{operation}, {name}",
                "per_second": round(1e6 / statistics.median(clock for clock, _, _ in samples)),
                "parent_us": median(ours for _, ours, _ in samples),
                "worker_us": median(theirs for _, _, theirs in samples),
                "share": round(statistics.median(shares), 2),
            }


# -- latency ----------------------------------------------------------------------------------------------------------


async def latency(service: Service, seconds: float) -> AsyncIterator[dict[str, Any]]:
    """From the call to its result, where calls come at random at a share of the rate that the pool can do."""
    for workers in (1, 2):
        async with on_pool(service, workers, when_full=WhenFull.WAIT) as (_, device):
            call: Call = lambda peer, d=device: d.encrypt(peer, floor.TEXT)  # type: ignore[misc]  # noqa: E731
            cost = Cost()
            await many(call, service.targets(3000), 200)
            rate = 1e6 / cost.of(3000)[0]
            for share in (0.5, 1.0):
                say(f"latency: {workers} workers, load {share}")
                times = await arrivals(call, service, rate * share, seconds)
                yield {
                    "what": f"{workers} worker{'s' * (workers > 1)}, load {share:.1f}",
                    "per_second": round(rate * share),
                    "p50_ms": round(times[len(times) // 2] * 1e3, 2),
                    "p99_ms": round(times[len(times) * 99 // 100] * 1e3, 2),
                }


async def arrivals(call: Call, service: Service, rate: float, seconds: float) -> list[float]:
    """Latencies in ascending order. Calls come at random times, whether the former ones have ended or not."""
    source = random.Random(1)  # noqa: S311 - the same times each time
    times: list[float] = []
    tasks: set[asyncio.Task[None]] = set()

    async def one(due: float, peer: ProtocolAddress) -> None:
        await call(peer)
        # From when it was due: who generates the load may be late itself.
        times.append(time.perf_counter() - due)

    due = start = time.perf_counter()
    for number in range(int(rate * seconds)):
        due += source.expovariate(rate)
        if (wait := due - time.perf_counter()) > 0.001:
            await asyncio.sleep(wait)
        elif number % 16 == 0:
            await asyncio.sleep(0)
        task = asyncio.create_task(one(due, service.peers[source.randrange(PEERS)]))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    assert time.perf_counter() > start
    return sorted(times)


# -- revival and the loop ---------------------------------------------------------------------------------------------


async def revival(kills: int) -> AsyncIterator[dict[str, Any]]:
    """From SIGKILL until the next worker is ready in its place, the back-off of 50 ms included."""
    revived: list[WorkerRevived] = []
    times = []

    def note(event: Event) -> None:
        if isinstance(event, WorkerRevived):
            revived.append(event)

    pool = WorkerPool(WorkerSettings(workers=1), on_event=note)
    async with pool:
        for number in range(kills):
            say(f"revival: {number + 1} of {kills}")
            start = time.perf_counter()
            os.kill(pool.worker_pids()[0], signal.SIGKILL)
            while len(revived) <= number:
                await asyncio.sleep(0.001)
            times.append((time.perf_counter() - start) * 1e3)
            # As one that answered: back-off begins anew.
            pool._places[0].deaths = 0
    times.sort()
    yield {"what": "revival", "p50_ms": round(times[len(times) // 2], 1), "p99_ms": round(times[-1], 1)}


async def callbacks(service: Service) -> AsyncIterator[dict[str, Any]]:
    """Processor time of the callbacks on the loop, in a flood of large and small jobs."""
    spent: list[float] = []
    real = asyncio.Handle._run

    def timed(self: Any) -> None:
        start = time.thread_time()
        real(self)
        spent.append(time.thread_time() - start)

    async with on_pool(service, 2) as (_, device):
        asyncio.Handle._run = timed  # type: ignore[method-assign]
        try:
            await many(lambda peer: device.encrypt(peer, floor.TEXT), service.targets(5000), 1000)
            await many(lambda peer: device.encrypt(peer, bytes(200_000)), service.targets(200), 50)
        finally:
            asyncio.Handle._run = real  # type: ignore[method-assign]
    spent.sort()
    yield {
        "what": "callbacks on the loop",
        "count": len(spent),
        "p99_ms": round(spent[len(spent) * 99 // 100] * 1e3, 2),
        "longest_ms": round(spent[-1] * 1e3, 2),
    }


# -- the command ------------------------------------------------------------------------------------------------------

PARTS = ("overhead", "throughput", "latency", "revival", "callbacks")


def median(values: Iterator[float]) -> float:
    """Rounded to a tenth."""
    return round(statistics.median(values), 1)


def say(text: str) -> None:
    """Progress."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


async def measure(parts: tuple[str, ...], rounds: int, *, as_json: bool) -> None:
    """Measure and print."""
    service = Service()
    measured: dict[str, Callable[[], AsyncIterator[dict[str, Any]]]] = {
        "overhead": lambda: overhead(service, rounds),
        "throughput": lambda: throughput(service, rounds),
        "latency": lambda: latency(service, rounds * 0.6),
        "revival": lambda: revival(rounds * 2),
        "callbacks": lambda: callbacks(service),
    }
    for part, make in measured.items():
        if part in parts:
            async for result in make():
                if as_json:
                    print(json.dumps({"part": part, **result}), flush=True)
                else:
                    values = "".join(f"  {name} {value}" for name, value in result.items() if name != "what")
                    print(f"{part:<11}{result['what']:<32}{values}", flush=True)


def main(arguments: list[str]) -> int:
    """Measure and print. Exit codes: 0 measured, 2 wrong usage."""
    parser = argparse.ArgumentParser(
        prog="make bench ARGS='workers ...'", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="batches of each (default 7)")
    parser.add_argument("--only", metavar="NAMES", help=f"a comma-separated part of {','.join(PARTS)}")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    chosen = parser.parse_args(arguments)
    parts = tuple(chosen.only.split(",")) if chosen.only else PARTS
    if unknown := set(parts) - set(PARTS):
        parser.error(f"nothing is called {', '.join(sorted(unknown))}")
    if chosen.rounds < 1:
        parser.error("--rounds is at least 1")
    load = os.getloadavg()[0]
    asyncio.run(measure(parts, chosen.rounds, as_json=chosen.json))
    if not chosen.json:
        print(f"load of the machine at the beginning: {load:.1f}, at the end {os.getloadavg()[0]:.1f}")
    return 0
