"""Who carries out units: threads here, each waiting for a process; or the workers of a Dask cluster.

Both are executors of `concurrent.futures`, so a campaign does not know which it has.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from pawl_gate.fuzzing.unit import begin_all, end_all

LOCAL: Final = "local"
DASK: Final = "dask://"

PATIENCE_SECONDS: Final = 30
"""For a scheduler to answer."""


class NoEngine(Exception):
    """There is nobody to carry out units; the text says why."""


@dataclass(frozen=True, slots=True)
class Engine:
    """An executor, and how many units it carries out at once."""

    executor: Executor
    jobs: int
    words: str


@contextmanager
def engine(name: str, jobs: int) -> Iterator[Engine]:
    """The engine of this name; when it is left, what it has started here is ended. Raises: NoEngine."""
    if name == LOCAL:
        begin_all()
        pool = ThreadPoolExecutor(jobs, thread_name_prefix="unit")
        try:
            yield Engine(pool, jobs, f"{jobs} local jobs" if jobs > 1 else "1 local job")
        finally:
            end_all()
            pool.shutdown(cancel_futures=True)
    elif name.startswith(DASK) and len(name) > len(DASK):
        yield from _dask(name)
    else:
        raise NoEngine(f"no engine is called {name!r}: local, or dask://HOST:PORT of a Dask scheduler")


def _dask(name: str) -> Iterator[Engine]:
    try:
        from distributed import Client
    except ImportError as error:
        raise NoEngine(f"--engine {name}: {error}; install pawl-signal[dask,fuzz]") from None
    address = f"tcp://{name.removeprefix(DASK)}"
    try:
        client = Client(address, timeout=PATIENCE_SECONDS, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise NoEngine(f"no Dask scheduler answers at {address}: {type(error).__name__}") from None
    try:
        jobs = sum(client.ncores().values())
        if not jobs:
            raise NoEngine(f"the Dask scheduler at {address} has no workers")
        # pure=False: two units are two pieces of work, whatever they look like.
        executor = client.get_executor(pure=False)
        try:
            yield Engine(executor, jobs, f"{jobs} threads of Dask workers at {address}")
        finally:
            executor.shutdown(wait=False)
    finally:
        client.close()
