"""Which jobs go together: peers are shared by the batches that are under way, and nobody is passed over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from pawl import MemoryStore, ProtocolAddress
from pawl.errors import NoSession
from pawl.events import JobDispatched, JobEnded
from pawl.workers import AsyncDevice, WorkerSettings
from tests.devices import BOB
from tests.workers.service import pool_of, run


def given_together(told: list[Any], of: Callable[[int], int]) -> list[tuple[int, list[int]]]:
    """The batches that were given out before the first job ended: the worker of each, and whose jobs are in it."""
    found: dict[int, tuple[int, list[int]]] = {}
    for event in told:
        if isinstance(event, JobEnded):
            break
        if isinstance(event, JobDispatched):
            found.setdefault(event.batch, (event.worker, []))[1].append(of(event.job))
    return list(found.values())


def test_few_peers_keep_all_workers_busy() -> None:
    """WRK-07: a peer's jobs are in one batch at a time; so the peers are shared by the batches that go together."""

    async def work() -> None:
        peers = [ProtocolAddress(f"peer {number}", 1) for number in range(6)]
        async with pool_of(WorkerSettings(workers=2, batch=8, in_flight=2)) as (pool, told):
            device = await AsyncDevice.open(MemoryStore(), pool)
            told.clear()
            before = pool.stats().taken
            # Nobody has a session: a worker has to find that out.
            calls = [device.encrypt(peers[number % 6], b"text") for number in range(30)]
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(each) for each in results} == {NoSession}
            batches = given_together(told, lambda job: (job - before - 1) % 6)
            assert batches[:4] == [(0, [0] * 5), (1, [1] * 5), (0, [2] * 5), (1, [3] * 5)]

    run(work)


def test_jobs_of_many_peers_go_together() -> None:
    """Who has one job keeps nothing from the other batches: a batch takes as many as it may."""

    async def work() -> None:
        async with pool_of(WorkerSettings(workers=2, batch=8, in_flight=2)) as (pool, told):
            device = await AsyncDevice.open(MemoryStore(), pool)
            told.clear()
            before = pool.stats().taken
            calls = [device.encrypt(ProtocolAddress(f"peer {number}", 1), b"text") for number in range(12)]
            await asyncio.gather(*calls, return_exceptions=True)
            batches = given_together(told, lambda job: job - before - 1)
            assert batches == [(0, list(range(8))), (1, list(range(8, 12)))]

    run(work)


def test_a_peer_with_many_jobs_does_not_keep_the_others_waiting() -> None:
    """In a turn it has no more than its share; each batch that is given out meanwhile has jobs of others."""

    async def work() -> None:
        peers = [ProtocolAddress(f"peer {number}", 1) for number in range(48)]
        async with pool_of(WorkerSettings(workers=2, batch=8, in_flight=2)) as (pool, told):
            device = await AsyncDevice.open(MemoryStore(), pool)
            told.clear()
            before = pool.stats().taken
            order = [0] * 100 + list(range(1, 48))
            calls = [device.encrypt(peers[number], b"text") for number in order]
            await asyncio.gather(*calls, return_exceptions=True)
            batches = given_together(told, lambda job: order[job - before - 1])
            assert [len(jobs) for _, jobs in batches[:4]] == [8, 8, 8, 8]
            # One turn of all peers before the second one of the same.
            dispatched = [order[event.job - before - 1] for event in told if isinstance(event, JobDispatched)]
            assert sorted(dispatched[:48]) == sorted(range(48))

    run(work)


def test_one_peer_fills_a_batch() -> None:
    """There is nobody else to leave room for."""

    async def work() -> None:
        async with pool_of(WorkerSettings(workers=1, batch=8, in_flight=2)) as (pool, told):
            device = await AsyncDevice.open(MemoryStore(), pool)
            told.clear()
            await asyncio.gather(*(device.encrypt(BOB, b"text") for _ in range(20)), return_exceptions=True)
            dispatched = [event.batch for event in told if isinstance(event, JobDispatched)]
            assert [dispatched.count(batch) for batch in dict.fromkeys(dispatched)] == [8, 8, 4]

    run(work)
