"""A step whose transaction lost to another writer is taken again, from what is there by now.

It is safe because a step hands out nothing before its commit, and because `Conflict` says that nothing of it was
written: the next try reads the other writer's state, and takes the counter after the other's. A commit whose outcome is
not known (`OutcomeUnknown`) is never tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from pawl.errors import Conflict
from pawl.events import ConflictRetried, Event
from pawl.limits import MAX_CONFLICT_TRIES

P = ParamSpec("P")
T = TypeVar("T")


class Teller(Protocol):
    """Whoever tells events."""

    def _tell(self, events: Sequence[Event]) -> None: ...


S = TypeVar("S", bound=Teller)


def again(owner: Teller, step: Callable[[], T]) -> T:
    """Take `step` again after its first try met a Conflict. Raises: Conflict, from the last of MAX_CONFLICT_TRIES."""
    for attempt in range(2, MAX_CONFLICT_TRIES):
        owner._tell([ConflictRetried(attempt)])
        try:
            return step()
        except Conflict:
            continue
    owner._tell([ConflictRetried(MAX_CONFLICT_TRIES)])
    return step()


def retried(step: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """A method that is one transaction, and that is taken again where that met a Conflict."""

    @wraps(step)
    def taken(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return step(self, *args, **kwargs)
        except Conflict:
            pass
        return again(self, lambda: step(self, *args, **kwargs))

    return taken
