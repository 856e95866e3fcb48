"""What the tests of workers share: pools of real processes, devices on them, and a look at what is left."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from pawl import MemoryStore, Store
from pawl.events import Event
from pawl.workers import AsyncDevice, WorkerPool, WorkerSettings
from tests.devices import ALICE, BOB

T = TypeVar("T")

FAULTY = "pawl_gate.faulty_worker"

QUICK = WorkerSettings(workers=1, backoff_first=0.01, backoff_most=0.1)
"""One worker: what it does is done in one order."""


def run(work: Callable[[], Coroutine[Any, Any, T]], seconds: float = 60.0) -> T:
    """Run a test on a loop of its own. The limit is for a test that hangs; no test measures time."""

    async def limited() -> T:
        return await asyncio.wait_for(work(), seconds)

    return asyncio.run(limited())


@asynccontextmanager
async def pool_of(
    settings: WorkerSettings = QUICK, *, program: str = FAULTY
) -> AsyncIterator[tuple[WorkerPool, list[Event]]]:
    """A pool, and what it tells; afterwards none of its processes is left."""
    told: list[Event] = []
    pool = WorkerPool(settings, on_event=told.append, program=program)
    await pool.start()
    pids = set(pool.worker_pids())
    try:
        yield pool, told
    finally:
        pids |= set(pool.worker_pids())
        await pool.close()
    pids |= {event.pid for event in told if hasattr(event, "pid")}
    assert not [pid for pid in pids if is_alive(pid)]
    stats = pool.stats()
    assert (stats.queued, stats.pending, stats.held_bytes, stats.waiting) == (0, 0, 0, 0)
    assert stats.taken == stats.ended


async def talking(pool: WorkerPool, store: Store | None = None) -> tuple[AsyncDevice, AsyncDevice]:
    """Alice and Bob, who have heard from each other."""
    alice = await AsyncDevice.open(MemoryStore() if store is None else store, pool)
    bob = await AsyncDevice.open(MemoryStore(), pool)
    await alice.establish(BOB, await bob.prekey_bundle())
    assert await bob.decrypt(ALICE, await alice.encrypt(BOB, b"first")) == b"first"
    assert await alice.decrypt(BOB, await bob.encrypt(ALICE, b"second")) == b"second"
    return alice, bob


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Return when it holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        await asyncio.sleep(0.005)


def send(pid: int, what: signal.Signals) -> None:
    """A signal to a process that may be gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, what)


def names(told: list[Event]) -> list[str]:
    """What was told, by name."""
    return [event.name for event in told]
