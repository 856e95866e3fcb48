"""An asyncio API over a pool of worker processes.

    async with WorkerPool(WorkerSettings(workers=2)) as pool:
        device = await AsyncDevice.open(SQLiteStore("alice.db"), pool)
        message = await device.encrypt(ProtocolAddress("bob", 1), b"hello")

Needs the extra `pawl-signal[workers]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pawl.workers.device import AsyncDevice
    from pawl.workers.group import AsyncGroup
    from pawl.workers.pool import PoolStats, WorkerPool
    from pawl.workers.settings import WhenFull, WorkerSettings

__all__ = ["AsyncDevice", "AsyncGroup", "PoolStats", "WhenFull", "WorkerPool", "WorkerSettings"]

_HOMES: Final = {
    "AsyncDevice": "device",
    "AsyncGroup": "group",
    "PoolStats": "pool",
    "WhenFull": "settings",
    "WorkerPool": "pool",
    "WorkerSettings": "settings",
}


def __getattr__(name: str) -> Any:
    # Imported when first asked for: a worker, which is started anew after each death, needs none of them.
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
