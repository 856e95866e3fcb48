"""The thread of a desk: whatever touches a store is done there, one piece after another.

Each time that one thread wakes another costs more than a small job, and no two threads run Python at once. So what was
done is told to the event loop when there is nothing more to do, and not piece by piece.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

T = TypeVar("T")

UNTOLD_SECONDS: Final = 0.001
"""What was done is told once this has passed since its beginning: after each piece where a store waits for its disk."""


def carried(error: BaseException) -> BaseException:
    """`error` as a future can carry it: StopIteration is a RuntimeError there, as out of a coroutine (PEP 479)."""
    if not isinstance(error, StopIteration):
        return error
    carrier = RuntimeError("what was called raised StopIteration")
    carrier.__cause__ = error
    return carrier


class _Piece:
    """Work, who waits for it, and what came of it."""

    __slots__ = ("error", "future", "result", "work")

    def __init__(self, work: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        self.work = work
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None


class DeskThread:
    """A thread that does what the running event loop gives it."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pawl store")
        self._loop = asyncio.get_running_loop()
        # Each of the two is written by one side only.
        self._given = 0
        self._begun = 0
        self._done: deque[_Piece] = deque()
        self._since = 0.0
        """When the oldest of these was begun."""
        self._is_told = False
        """The loop will look at them."""

    async def run(self, work: Callable[[], T]) -> T:
        """What `work()` returns, or raises."""
        piece = _Piece(work, self._loop.create_future())
        self._executor.submit(self._do, piece)
        self._given += 1
        result: T = await piece.future
        return result

    def close(self) -> None:
        """Let the thread end once it has done what it has."""
        self._executor.shutdown(wait=False)

    # -- in the thread ------------------------------------------------------------------------------------------------

    def _do(self, piece: _Piece) -> None:
        self._begun += 1
        # Nobody waits for some by now.
        if not piece.future.cancelled():
            begun = time.monotonic()
            try:
                piece.result = piece.work()
            except BaseException as error:  # it belongs to whoever waits, as with any executor
                piece.error = carried(error)
            if not self._done:
                self._since = begun
            self._done.append(piece)
        if not self._done or self._is_told:
            return
        if self._begun >= self._given or time.monotonic() - self._since > UNTOLD_SECONDS:
            self._is_told = True
            self._loop.call_soon_threadsafe(self._look)

    # -- on the loop --------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        # Before the first one is taken: what is done from now on is told again.
        self._is_told = False
        while self._done:
            piece = self._done.popleft()
            if piece.future.done():
                continue
            if piece.error is None:
                piece.future.set_result(piece.result)
            else:
                piece.future.set_exception(piece.error)
