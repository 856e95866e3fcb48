"""Exploration: scopes of the model explored to their end, each state reached on a target, and what was found.

`pawl verify` explores as one engine among others; here it is done by itself, with the counts beside the committed ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from pawl_gate.engines.explore import Replayed, lacks, replay
from pawl_gate.targets.base import Target
from pawl_gate.targets.inprocess import InProcessTarget
from pawl_gate.verify import BUDGETS, PROGRESS_SECONDS, Cut, Exit
from pawl_spec.explore import Counterexample, Explored, Scope, committed, differs, explore
from pawl_spec.history import Hello, History
from pawl_spec.judge import judge
from pawl_spec.registry import Violation
from pawl_spec.trace import Trace

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Shown:
    """Something that was found, with the shortest trace that shows it."""

    what: str
    """What does not hold, in one sentence."""
    history: History
    violation: Violation

    @property
    def trace(self) -> Trace:
        """The trace, for replay."""
        return self.history.trace


@dataclass(frozen=True, slots=True)
class Result:
    """What one scope came to."""

    explored: Explored
    differs: str | None
    """In what the counts are not the committed ones."""
    replayed: Replayed | None
    """None: not replayed."""
    lacking: tuple[str, ...]
    """Capabilities that the target lacks, so that it was not led through the scope."""
    replay_seconds: float

    @property
    def scope(self) -> Scope:
        """The scope."""
        return self.explored.scope

    @property
    def complete(self) -> bool:
        """Explored to the end and, where there is a target, each state reached or found to part from the model."""
        if not self.explored.closed or self.lacking:
            return self.explored.counterexample is not None
        if self.replayed is None or self.replayed.disagreements:
            return True
        return self.replayed.states == self.explored.states


class Exploration:
    """Scopes that are explored one after the other."""

    def __init__(self, target: Target | None, *, deadline: float | None, progress: Progress) -> None:
        """`target` None: the model alone. `deadline` is a time of `time.monotonic()`."""
        self._target = target
        self._deadline = deadline
        self._progress = progress
        self.hello: Hello | None = None if target is None else target.hello
        self.results: list[Result] = []
        self.found: dict[str, Shown] = {}
        """By the id of the invariant that does not hold."""
        self.cut = ""
        """Why it ended early; empty if it did not."""

    @property
    def exit(self) -> Exit:
        """The exit code."""
        if self.found:
            return Exit.VIOLATED
        # The search itself is not what it was: nothing that it says can be relied on.
        if any(result.differs for result in self.results):
            return Exit.BROKEN
        if self.cut or not all(result.complete for result in self.results):
            return Exit.INCOMPLETE
        return Exit.HOLDS

    def explore(self, scope: Scope, *, compare: bool = True) -> None:
        """Explore one scope, and reach its states on the target. `compare`: hold the counts to the committed ones."""
        self._progress(f"{scope.name}: {scope.bounds}")
        explored = explore(scope, deadline=self._deadline, progress=self._progress)
        replayed, took = None, 0.0
        lacking = () if self._target is None else tuple(lacks(scope, self._target.hello))
        wrong = differs(explored, committed()) if compare and explored.closed else None
        if found := explored.counterexample:
            self._note(found.broken.id, _of_model(found))
        elif not explored.closed:
            self.cut = f"the time cap cut the search of scope {scope.name}"
        elif self._target is not None and not lacking:
            replayed, took = self._replay(self._target, explored)
        self.results.append(Result(explored, wrong, replayed, lacking, took))

    def _replay(self, target: Target, explored: Explored) -> tuple[Replayed | None, float]:
        scope, budget = explored.scope.name, BUDGETS["pr"]
        leaves = budget.leaves if isinstance(target, InProcessTarget) else budget.driven_leaves
        self._progress(f"{scope}: {explored.states:,} states; reaching them on {target.hello.name}")
        started = told = time.monotonic()
        operations = 0

        def check() -> None:
            nonlocal told, operations
            operations += 1
            now = time.monotonic()
            if self._deadline is not None and now > self._deadline:
                raise Cut
            if now - told > PROGRESS_SECONDS:
                told = now
                self._progress(f"{scope}: {operations:,} operations on {target.hello.name}")

        try:
            replayed = replay(target, explored, leaves=leaves, judge=self._judge, check=check)
        except Cut:
            self.cut = f"the time cap cut the replay of scope {scope}"
            return None, time.monotonic() - started
        if (parted := replayed.disagreement) and not judge(parted.history)[0]:
            self._note("CNF-01", Shown(parted.violation.what, parted.history, parted.violation))
        return replayed, time.monotonic() - started

    def _judge(self, history: History) -> None:
        for one in judge(history)[0]:
            self._note(one.invariant.id, Shown(one.invariant.claim, history, one.violation))

    def _note(self, id_: str, shown: Shown) -> None:
        old = self.found.get(id_)
        if old is None or len(shown.trace.ops) < len(old.trace.ops):
            self.found[id_] = shown


def _of_model(found: Counterexample) -> Shown:
    return Shown(f"{found.broken.name}: {found.broken.claim}", found.history, found.violation)
