"""Judging: every invariant over a history, and verdicts over many histories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache

from pawl_spec.history import Hello, History
from pawl_spec.invariants import INVARIANTS
from pawl_spec.registry import Invariant, Story, Violation


class Verdict(Enum):
    """What is said of one invariant after a run."""

    HOLDS = "holds"
    VIOLATED = "violated"
    UNSUPPORTED = "unsupported"
    """The target declares that it cannot be judged on it: too low a level, or a capability that it lacks."""
    NOT_REACHED = "not reached"
    """No trace came to a place where it could be checked: nothing is known."""
    PENDING = "not yet judged"
    """Nothing judges it yet."""
    LEFT_OUT = "left out"
    """The run was asked not to judge it: nothing is known."""


@dataclass(frozen=True, slots=True)
class Broken:
    """An invariant that a history violates, at its first violation."""

    invariant: Invariant
    violation: Violation


def judgeable(entry: Invariant, hello: Hello) -> bool:
    """Whether the target can be judged on the invariant: its level and its declared capabilities suffice."""
    return entry.predicate is not None and hello.level >= entry.level and not entry.lacking(hello)


@lru_cache(maxsize=16)
def _judgeable(hello: Hello) -> tuple[Invariant, ...]:
    """Those of the catalogue: asked once of a target, as asking takes as long as many a predicate."""
    return tuple(entry for entry in INVARIANTS if judgeable(entry, hello))


def judge(history: History, invariants: Iterable[Invariant] = INVARIANTS) -> tuple[list[Broken], Counter[str]]:
    """The invariants that a history breaks, and how often each was checked."""
    story = Story(history)
    broken: list[Broken] = []
    checked: Counter[str] = Counter()
    whole = invariants is INVARIANTS
    for entry in _judgeable(history.target) if whole else invariants:
        if entry.predicate is None or not (whole or judgeable(entry, history.target)):
            continue
        first: Violation | None = None
        for finding in entry.predicate(story):
            checked[entry.id] += 1
            if finding is not None and first is None:
                first = finding
        if first is not None:
            broken.append(Broken(entry, first))
    return broken, checked


@dataclass(slots=True)
class Tally:
    """Verdicts over all histories of a run."""

    hello: Hello
    checked: Counter[str] = field(default_factory=Counter)
    violated: Counter[str] = field(default_factory=Counter)
    left_out: frozenset[str] = frozenset()
    """Ids of the invariants that the run was asked not to judge."""

    def add(self, broken: list[Broken], checked: Counter[str]) -> None:
        """Count one judged history."""
        self.checked.update(checked)
        self.violated.update(entry.invariant.id for entry in broken)

    def verdict(self, entry: Invariant) -> Verdict:
        """What is to be said of the invariant so far."""
        if entry.predicate is None:
            return Verdict.PENDING
        if not judgeable(entry, self.hello):
            return Verdict.UNSUPPORTED
        if self.violated[entry.id]:
            return Verdict.VIOLATED
        if entry.id in self.left_out:
            return Verdict.LEFT_OUT
        return Verdict.HOLDS if self.checked[entry.id] else Verdict.NOT_REACHED

    def verdicts(self) -> dict[str, Verdict]:
        """The verdict on every registered invariant."""
        return {entry.id: self.verdict(entry) for entry in INVARIANTS}
