"""Randomness and time: arguments everywhere, taken from the operating system only at the outer edge.

One seed gives one transcript, byte for byte, because nothing in the library reads either in another way.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeAlias

from pawl.errors import InvalidArgument

Rng: TypeAlias = Callable[[int], bytes]
"""Returns as many unpredictable bytes as asked for."""

Clock: TypeAlias = Callable[[], int]
"""Returns the Unix time in whole seconds."""


def system_rng(length: int) -> bytes:
    """`length` bytes from the operating system's generator."""
    return os.urandom(length)


def system_clock() -> int:
    """The operating system's time: Unix time in whole seconds."""
    return int(time.time())


def draw(rng: Rng, length: int) -> bytes:
    """One call of `rng` for `length` bytes. Raises: InvalidArgument if it returns anything else."""
    data = rng(length)
    # A short answer would make a weak key without anyone noticing.
    if type(data) is not bytes or len(data) != length:
        raise InvalidArgument(f"the random source must return exactly {length} bytes")
    return data
