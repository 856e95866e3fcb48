"""What the event loop and a desk's thread give each other: in order, together, and nothing is lost on the way."""

from __future__ import annotations

import asyncio
import threading
import time
from functools import partial
from typing import Any

import pytest

from pawl import MemoryStore
from pawl.workers import AsyncDevice
from pawl.workers.turns import UNTOLD_SECONDS, DeskThread
from tests.workers.service import pool_of, run


def counted(loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The threads that woke the loop, one name each time."""
    real, woken = loop.call_soon_threadsafe, list[str]()

    def wake(*given: Any, **more: Any) -> Any:
        woken.append(threading.current_thread().name)
        return real(*given, **more)

    monkeypatch.setattr(loop, "call_soon_threadsafe", wake)
    return woken


def test_what_is_done_is_told_in_one_wake_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, each to its own caller; the loop is woken once for all of them."""
    monkeypatch.setattr("pawl.workers.turns.UNTOLD_SECONDS", 60.0)

    async def work() -> None:
        thread, done = DeskThread(), list[int]()
        woken = counted(asyncio.get_running_loop(), monkeypatch)
        hold = threading.Event()
        first = asyncio.ensure_future(thread.run(hold.wait))

        def note(number: int) -> int:
            # The loop could look meanwhile.
            time.sleep(0.001)
            done.append(number)
            return number

        calls = [asyncio.ensure_future(thread.run(partial(note, number))) for number in range(50)]
        await asyncio.sleep(0)
        hold.set()
        assert await asyncio.gather(*calls) == done == list(range(50))
        assert await first
        assert len(woken) == 1
        thread.close()

    run(work)


def test_what_takes_long_does_not_keep_the_rest_untold() -> None:
    """A store that waits for its disk: who was served is told at once, though there is more to do."""

    async def work() -> None:
        thread = DeskThread()
        hold = threading.Event()
        early, late = (
            asyncio.ensure_future(thread.run(call)) for call in (lambda: time.sleep(2 * UNTOLD_SECONDS), hold.wait)
        )
        await early
        assert not late.done()
        hold.set()
        assert await late
        thread.close()

    run(work)


def test_nobody_is_told_what_nobody_waits_for() -> None:
    """A caller that is cancelled before its turn costs the others nothing: they are told all the same."""

    async def work() -> None:
        thread, done = DeskThread(), list[str]()
        hold = threading.Event()
        names = ["one", "two", "three"]
        first = asyncio.ensure_future(thread.run(hold.wait))
        calls = [asyncio.ensure_future(thread.run(partial(done.append, name))) for name in names]
        await asyncio.sleep(0)
        calls[0].cancel()
        # The last one: after it nothing else would tell what was done before.
        calls[2].cancel()
        await asyncio.sleep(0)
        hold.set()
        await asyncio.gather(first, calls[1])
        assert done == ["two"]
        thread.close()

    run(work)


@pytest.mark.parametrize("error", [ValueError("text"), StopIteration(), KeyboardInterrupt()])
def test_what_is_raised_reaches_its_caller(error: BaseException) -> None:
    """Also what no future can carry; and the thread goes on."""

    def fail() -> None:
        raise error

    async def work() -> None:
        thread = DeskThread()
        caught = None
        try:
            await thread.run(fail)
        except BaseException as found:
            caught = found
        if isinstance(error, StopIteration):
            assert isinstance(caught, RuntimeError)
            assert caught.__cause__ is error
        else:
            assert caught is error
        assert await thread.run(lambda: 7) == 7
        thread.close()

    run(work)


def test_an_application_that_raises_stop_iteration_stops_nobody() -> None:
    """WRK-03: its call ends, and so does the next one of the same lane."""

    async def work() -> None:
        async with pool_of() as (pool, _):
            device = await AsyncDevice.open(MemoryStore(), pool)
            with pytest.raises(RuntimeError):
                await device.with_application_rows(lambda rows: next(iter(())))
            assert await device.with_application_rows(lambda rows: 7) == 7

    run(work)
