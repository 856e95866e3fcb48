"""How the values of the hot path are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

if TYPE_CHECKING:

    def made(kind: Callable[[*Ts], T], fields: tuple[*Ts], /) -> T:
        """`made(Row, (value, version))` is `Row(value, version)`, for a named tuple and all of its fields."""

else:
    # The constructor of a named tuple is Python code called from C, which costs several times as much. This is what
    # that code itself calls. Their number and types are seen to by the declaration above.
    made = tuple.__new__
