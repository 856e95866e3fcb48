"""A service that is killed: it says which workers it has, gives them something to do, and waits."""

from __future__ import annotations

import asyncio
import sys

from pawl import ProtocolAddress, SQLiteStore
from pawl.workers import AsyncDevice, WorkerPool, WorkerSettings

PEERS = [ProtocolAddress("one", 1), ProtocolAddress("two", 1)]


async def main(path: str, doing: str) -> None:
    async with WorkerPool(WorkerSettings(workers=2), program="pawl_gate.faulty_worker") as pool:
        device = await AsyncDevice.open(SQLiteStore(path), pool)
        for peer in PEERS:
            await device.establish(peer, await device.prekey_bundle())
        tasks = [asyncio.create_task(device.encrypt(peer, b"!" + doing.encode())) for peer in PEERS]
        await asyncio.sleep(0.2)
        print(*pool.worker_pids(), flush=True)
        await asyncio.sleep(3600)
        await asyncio.gather(*tasks)


asyncio.run(main(*sys.argv[1:]))
