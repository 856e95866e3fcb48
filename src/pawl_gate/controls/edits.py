"""Edits: a few words of the source changed, as a slip of an implementer would. Shown in the catalogue as they are.

An edit names a function and the words to change, which must stand there exactly once: where the code moves on, the edit
says so instead of changing nothing. The function as changed is compiled from its own source, and stands in the place of
the real one only while it is asked to. Nothing is executed here but what the library itself executes.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any


class EditError(ValueError):
    """The words of an edit do not stand in the function that it names, or not once; the text says where."""


@dataclass(frozen=True, slots=True)
class Edit:
    """In `function`, `old` is changed to `new`. Both are source, `old` stands there exactly once."""

    function: Callable[..., Any]
    old: str
    new: str

    @property
    def place(self) -> str:
        """Module and name of the function."""
        return f"{self.function.__module__}.{self.function.__qualname__}"


@contextmanager
def edited(edits: Sequence[Edit]) -> Iterator[None]:
    """Put changed functions in the place of the real ones, and put those back at the end. Raises: EditError."""
    with ExitStack() as stack:
        for function, code in compiled(tuple(edits)).items():
            stack.enter_context(_exchanged(function, code))
        yield


@contextmanager
def _exchanged(function: FunctionType, code: CodeType) -> Iterator[None]:
    real, function.__code__ = function.__code__, code
    try:
        yield
    finally:
        function.__code__ = real


_COMPILED: dict[tuple[Edit, ...], dict[FunctionType, CodeType]] = {}


def compiled(edits: tuple[Edit, ...]) -> dict[FunctionType, CodeType]:
    """Each function that is changed, and its code with all its changes. Raises: EditError."""
    # A function's source is read once: later its own code may be another.
    if edits not in _COMPILED:
        sources: dict[FunctionType, str] = {}
        for edit in edits:
            function = edit.function
            if not isinstance(function, FunctionType):
                raise EditError(f"{edit.place} is no plain function")
            source = sources.get(function) or textwrap.dedent(inspect.getsource(function))
            if source.count(edit.old) != 1:
                raise EditError(f"{edit.place} holds {source.count(edit.old)} times: {edit.old}")
            sources[function] = source.replace(edit.old, edit.new)
        _COMPILED[edits] = {function: _code(function, source) for function, source in sources.items()}
    return _COMPILED[edits]


def _code(function: FunctionType, source: str) -> CodeType:
    """The code of `source`, which defines `function` anew. Raises: EditError."""
    module = compile(source, f"<{function.__qualname__}, edited>", "exec")
    code = next(each for each in module.co_consts if isinstance(each, CodeType) and each.co_name == function.__name__)
    if code.co_freevars != function.__code__.co_freevars:
        raise EditError(f"{function.__qualname__} needs names from around it")
    return code


def getter(owner: type, name: str) -> Callable[..., Any]:
    """The function behind a property."""
    found = vars(owner)[name]
    if not isinstance(found, property) or found.fget is None:
        raise EditError(f"{owner.__name__}.{name} is no property")
    return found.fget
