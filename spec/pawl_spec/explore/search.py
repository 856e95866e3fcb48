"""The search: breadth first, so that the first trace to a state is a shortest one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pawl_spec.explore.canonical import Canonical
from pawl_spec.explore.ideal import HELLO, Ideal
from pawl_spec.explore.properties import Property, Step, broken_end, broken_state, broken_step
from pawl_spec.explore.scopes import Scope, Spent
from pawl_spec.history import Event, History
from pawl_spec.registry import Violation
from pawl_spec.trace import Op, Trace

Progress = Callable[[str], None]

PROGRESS_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Counterexample:
    """A shortest trace to a broken property."""

    broken: Property
    history: History
    """As the model, with its fault, carried it out."""
    violation: Violation

    @property
    def trace(self) -> Trace:
        """The trace, for replay on a target."""
        return self.history.trace


@dataclass(slots=True)
class Explored:
    """What a search came to."""

    scope: Scope
    states: int = 0
    """Distinct states, the first one included."""
    transitions: int = 0
    """Operations carried out, one for each that a bound allowed in each state."""
    depth: int = 0
    """Operations to the farthest state."""
    plain: int = 0
    """States that those stand for where parties are exchanged for each other."""
    closed: bool = False
    """Whether no new state was left: the scope was explored to its end."""
    seconds: float = 0.0
    counterexample: Counterexample | None = None
    parents: list[int] = field(default_factory=list)
    """Of each state, by number: the one from which it was first reached; -1 for the first."""
    ops: list[Op | None] = field(default_factory=list)
    """Of each state: the operation that first reached it."""

    def trace(self, state: int) -> tuple[Op, ...]:
        """A shortest trace to a state, from the empty world on."""
        found: list[Op] = []
        while state > 0:
            made = self.ops[state]
            if made is not None:
                found.append(made)
            state = self.parents[state]
        return (*self.scope.first, *reversed(found))


def explore(
    scope: Scope,
    *,
    symmetric: bool = True,
    most: int | None = None,
    deadline: float | None = None,
    progress: Progress = lambda text: None,
) -> Explored:
    """Explore a scope until no state is new, or a property is broken.

    symmetric  whether states that differ in who is who are one, where the scope allows it.
    most       states at which the search is given up, not closed.
    deadline   of `time.monotonic()`, likewise.
    """
    started = told = time.monotonic()
    out = Explored(scope)
    names = Canonical(scope.parties, symmetric=symmetric and scope.symmetric, history=scope.remembers)
    first, spent = scope.start()
    key, stands_for = names.key(first, spent)
    seen = {key}
    frontier: list[tuple[int, Ideal, Spent]] = [(0, first, spent)]
    out.parents, out.ops, out.states, out.plain = [-1], [None], 1, stands_for

    def broken(found: tuple[Property, str], state: int, *last: Op) -> Explored:
        out.counterexample = _counterexample(out, found, (*out.trace(state), *last))
        out.seconds = time.monotonic() - started
        return out

    if found := broken_state(first):
        return broken(found, 0)
    while frontier:
        ahead: list[tuple[int, Ideal, Spent]] = []
        for state, world, used in frontier:
            now = time.monotonic()
            if now - told > PROGRESS_SECONDS:
                told = now
                progress(f"{scope.name}: {out.states:,} states, depth {out.depth}")
            if (deadline is not None and now > deadline) or (most is not None and out.states > most):
                out.seconds = now - started
                return out
            moves = list(scope.moves(world, used))
            if not moves and (end := broken_end(world)):
                return broken(end[:2], state, *end[2])
            for op, left in moves:
                after = world.fork()
                event, _ = after.step(op)
                out.transitions += 1
                if found := broken_step(Step(world, event, after)):
                    return broken(found, state, op)
                key, stands_for = names.key(after, left)
                if key in seen:
                    continue
                seen.add(key)
                if found := broken_state(after):
                    return broken(found, state, op)
                ahead.append((out.states, after, left))
                out.parents.append(state)
                out.ops.append(op)
                out.states += 1
                out.plain += stands_for
        frontier = ahead
        out.depth += bool(ahead)
    out.closed = True
    out.seconds = time.monotonic() - started
    return out


def _counterexample(out: Explored, found: tuple[Property, str], ops: tuple[Op, ...]) -> Counterexample:
    """The history of a trace, of which the last operation shows it."""
    entry, wrong = found
    world = Ideal()
    events: list[Event] = [world.step(op)[0] for op in ops]
    return Counterexample(entry, History(HELLO, Trace(ops), events), Violation(events[-1], wrong))
