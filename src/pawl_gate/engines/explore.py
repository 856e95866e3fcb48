"""Exhaustive small scope: the explored states of the model, reached on a target too.

The search itself (`pawl_spec.explore`) knows no implementation. It leaves a tree: each state with the operation that
first led to it. Here the tree is walked on a target, through the gate's runner, while the model takes the same steps
beside it. After each operation both must agree (`Agreement`). A state counts as replayed when an agreed step has led to
it. At a leaf of the tree the network delivers what is left and the parties talk on, as at the end of any trace, and the
history is handed out to be judged by every invariant.

Where a target can fork its world, each edge of the tree is carried out once. Where it cannot, each leaf is reached from
the start; the states on its way are reached with it. Of many leaves a share may do, spread evenly over the tree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pawl_gate.runner import Run
from pawl_gate.targets.base import HarnessBroken, Target
from pawl_gate.targets.inprocess import InProcessTarget
from pawl_spec.explore import Agreement, Explored, Scope, committed, differs, explore
from pawl_spec.history import Hello, History, Outcome
from pawl_spec.registry import Violation
from pawl_spec.trace import Kind, Op, op

Judge = Callable[[History], object]
"""What is done with the history of a leaf, or of a disagreement."""

ALL: Final = 1 << 62
"""More leaves than any tree has."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A shortest trace to a state in which target and model are not at one."""

    history: History
    """As the target carried it out."""
    violation: Violation


@dataclass(slots=True)
class Replayed:
    """What a walk came to."""

    states: int = 0
    """States that were reached with both at one, the first included."""
    operations: int = 0
    """Operations carried out on the target, without those at the end of a history that is judged."""
    judged: int = 0
    """Histories that were judged."""
    disagreement: Disagreement | None = None
    """The one with the fewest operations. What lies behind it in the tree was not reached; the rest of the tree was."""
    disagreements: int = 0


class NotAsCommitted(HarnessBroken):
    """A search that ended found something wrong with the model, or came to other counts than the committed ones."""


def searched(
    scope: Scope, *, deadline: float | None = None, progress: Callable[[str], None] = lambda text: None
) -> Explored:
    """Explore a scope; it is not closed where `deadline`, a time of `time.monotonic()`, cut it.

    Raises: NotAsCommitted. A search that leaves something out must not pass for a complete one.
    """
    explored = explore(scope, deadline=deadline, progress=progress)
    if found := explored.counterexample:
        raise NotAsCommitted(f"the model itself breaks {found.broken.name} in scope {scope.name}; see pawl explore")
    if explored.closed and (wrong := differs(explored, committed())):
        raise NotAsCommitted(f"the search of scope {scope.name} is not the committed one: {wrong}")
    return explored


def lacks(scope: Scope, hello: Hello) -> list[str]:
    """Capabilities that the target does not declare and the scope needs."""
    return hello.lacks(scope.needs)


def replay(
    target: Target,
    explored: Explored,
    *,
    leaves: int = ALL,
    judge: Judge = lambda history: None,
    check: Callable[[], object] = lambda: None,
) -> Replayed:
    """Reach the explored states on a target, and hand the histories of so many leaves to `judge`.

    A target that cannot fork its world reaches those leaves alone. `check` may raise to end the walk.
    """
    out = Replayed()
    inner = set(explored.parents)
    ends = [state for state in range(explored.states) if state not in inner]
    walk = _walk_tree if isinstance(target, InProcessTarget) else _walk_leaves
    walk(target, explored, out, frozenset(spread(ends, leaves)), judge, check)
    return out


def spread(states: list[int], most: int) -> list[int]:
    """At most so many of the states, evenly, from the first on."""
    if len(states) <= most:
        return states
    return [states[at * len(states) // most] for at in range(most)]


def _walk_tree(
    target: Target, explored: Explored, out: Replayed, chosen: frozenset[int], judge: Judge, check: Callable[[], object]
) -> None:
    """Carry out each edge of the tree once, on forks of one world."""
    children: list[list[int]] = [[] for _ in range(explored.states)]
    for state, parent in enumerate(explored.parents):
        if parent >= 0:
            children[parent].append(state)
    first = Walker(Run(target, check=check), Agreement(target.hello))
    if not all(first.step(each, out, judge) for each in explored.scope.first):
        return
    out.states = 1
    waiting = [(state, first) for state in reversed(children[0])]
    # Deep before wide, so that few worlds are open at a time.
    left = {0: len(waiting)}
    while waiting:
        state, before = waiting.pop()
        parent = explored.parents[state]
        left[parent] -= 1
        # The last child may have the world of its parent for itself.
        walker = before.fork() if left[parent] else before
        if not walker.step(_made_by(explored, state), out, judge):
            continue
        out.states += 1
        left[state] = len(children[state])
        waiting += [(child, walker) for child in reversed(children[state])]
        if state in chosen:
            walker.end(out, judge)


def _walk_leaves(
    target: Target, explored: Explored, out: Replayed, chosen: frozenset[int], judge: Judge, check: Callable[[], object]
) -> None:
    """Reach each chosen leaf from the start."""
    reached: set[int] = set()
    for leaf in sorted(chosen):
        way = [leaf]
        while explored.parents[way[-1]] >= 0:
            way.append(explored.parents[way[-1]])
        walker = Walker(Run(target, check=check), Agreement(target.hello))
        try:
            if not all(walker.step(each, out, judge) for each in explored.scope.first):
                return
            reached.add(0)
            for state in reversed(way[:-1]):
                if not walker.step(_made_by(explored, state), out, judge):
                    break
                reached.add(state)
            else:
                walker.end(out, judge)
        finally:
            walker.run.finish(closing=False)
            out.states = len(reached)


def _made_by(explored: Explored, state: int) -> Op:
    """The operation that led to a state that is not the first."""
    operation = explored.ops[state]
    assert operation is not None  # noqa: S101 - only the first state has none
    return operation


@dataclass(slots=True)
class Walker:
    """A target and the model, side by side."""

    run: Run
    agreement: Agreement

    def fork(self) -> Walker:
        """Both, once more. Needs a target in this process."""
        return Walker(self.run.fork(), self.agreement.fork())

    def step(self, operation: Op, out: Replayed, judge: Judge) -> bool:
        """Let both carry out one operation, and the attacker's search after it; whether they agree on how that went."""
        searches = self.agreement.searches and operation.kind is not Kind.COMPROMISE
        for each in (operation, op(Kind.ATTACK)) if searches else (operation,):
            out.operations += 1
            event = self.run.step(each)
            if event.outcome is Outcome.SKIPPED:
                raise HarnessBroken(f"{each} was left out on {self.run.history.target.name}, though it declares it")
            wrong = self.agreement.ended_otherwise(event) or self.agreement.keeps_otherwise(event)
            if wrong is not None:
                history = self.run.finish(closing=False)
                out.disagreements += 1
                if out.disagreement is None or len(history.events) < len(out.disagreement.history.events):
                    out.disagreement = Disagreement(history, Violation(event, wrong))
                self._hand_out(history, out, judge)
                return False
        return True

    def end(self, out: Replayed, judge: Judge) -> None:
        """End the history, and have it judged."""
        self._hand_out(self.run.finish(), out, judge)

    def _hand_out(self, history: History, out: Replayed, judge: Judge) -> None:
        out.judged += 1
        judge(history)
