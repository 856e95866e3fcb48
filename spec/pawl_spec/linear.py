"""Linearizability: whether one order of the calls explains what each of them was answered.

Calls overlap in time. They were atomic if each can be given one moment between its beginning and its end so that, taken
in the order of these moments, every answer is the one that a single process would have got. A call whose end nobody
knows was taken at one such moment, or never.

Source   Herlihy and Wing, "Linearizability: A Correctness Condition for Concurrent Objects", 1990; the search is that
         of Wing and Gong, 1993, with Lowe's memory of configurations, 2017.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

S = TypeVar("S", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Step(Generic[S]):
    """One call on one object."""

    began: int
    ended: int
    take: Callable[[S], S | None]
    """The state after it, if in this state it gives what it gave; None: it does not."""
    known: bool = True
    """Somebody was told how it ended. If not, it was taken or not."""
    what: str = ""
    """For people."""


@dataclass(frozen=True, slots=True)
class Stuck:
    """No order explains the calls: after the longest run of calls that one explains, none of `then` fits."""

    done: int
    then: tuple[str, ...]


class TooMany(Exception):
    """The search was given up: too many calls overlap."""


def stuck(steps: Sequence[Step[S]], start: S, *, most: int = 200_000) -> Stuck | None:
    """None: some order explains them. Raises: TooMany, after so many configurations."""
    calls = sorted(steps, key=lambda step: (step.began, step.ended))
    seen: set[tuple[int, int, S]] = set()
    # A configuration: all calls before `first` are placed, of those after it the ones in the bits of `more`.
    open_: list[tuple[int, int, S]] = [(0, 0, start)]
    best = Stuck(-1, ())
    while open_:
        first, more, state = open_.pop()
        while more & 1:
            first, more = first + 1, more >> 1
        if first == len(calls):
            return None
        if (first, more, state) in seen:
            continue
        seen.add((first, more, state))
        if len(seen) > most:
            raise TooMany(f"more than {most} configurations of {len(calls)} calls")
        able = _next(calls, first, more)
        taken = [(place, after) for place in able if (after := calls[place].take(state)) is not None]
        if first + more.bit_count() > best.done:
            fitting = {place for place, _ in taken}
            best = Stuck(first + more.bit_count(), tuple(calls[place].what for place in able if place not in fitting))
        # The last that is put here is tried first: calls as they began; that one never happened is tried last.
        open_ += [(first, more | 1 << (place - first), state) for place in reversed(able) if not calls[place].known]
        open_ += [(first, more | 1 << (place - first), after) for place, after in reversed(taken)]
    return best


def _next(calls: Sequence[Step[S]], first: int, more: int) -> list[int]:
    """The calls that may come next: those that began before any that is not placed had ended."""
    able, deadline = list[int](), calls[first].ended
    for place in range(first, len(calls)):
        if calls[place].began > deadline:
            break
        if not more >> (place - first) & 1:
            able.append(place)
            deadline = min(deadline, calls[place].ended)
    return [place for place in able if calls[place].began <= deadline]
