"""All cells: which are run, in which order, and what they come to."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Final

from pawl_gate.interop.cells import FINDINGS, Cell, Verdict, gap, judge_cell, unsupported
from pawl_gate.interop.situations import SKIPPED, SKIPPED_IN_SHORT, Situation, situations
from pawl_gate.lifetimes import end_with_parent
from pawl_gate.targets.base import HarnessBroken, Target
from pawl_gate.targets.registry import TargetMissing, find_target
from pawl_gate.visible import one_line
from pawl_spec.history import Hello

REFERENCES: Final = ("pawl", "pawl-earlier")
"""In the short form each implementation meets itself, and of these the first that has common ground with it."""

MAX_MISSING: Final = 200
"""Characters of why an implementation is not there."""

Find = Callable[[str], Target]


@dataclass(frozen=True, slots=True)
class Implementation:
    """A row and a column of the matrix."""

    name: str
    hello: Hello | None
    """None: it is not installed here."""
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run."""

    implementations: tuple[Implementation, ...]
    situations: tuple[Situation, ...]
    seed: int = 0
    short: bool = False
    filtered: bool = False
    """Somebody chose implementations or scenarios: what is not run says nothing."""

    @property
    def most(self) -> int:
        """Messages that are skipped at most."""
        return SKIPPED_IN_SHORT if self.short else SKIPPED

    @property
    def present(self) -> dict[str, Hello]:
        """The implementations that are installed, by name."""
        return {one.name: one.hello for one in self.implementations if one.hello is not None}

    def wanted(self) -> Iterator[tuple[str, str, Situation]]:
        """Every cell that is to be there: each implementation with itself first, as the control."""
        names = list(self.present)
        pairs = [(name, name) for name in names] + list(itertools.permutations(names, 2))
        for first, second in pairs:
            for situation in self.situations:
                if not self.short or first == second or self._in_short(first, second, situation):
                    yield first, second, situation

    def lacks(self, first: str, second: str, situation: Situation) -> bool:
        """Whether the two have no common ground for a scenario."""
        hellos = self.present
        return bool(gap(hellos[first], hellos[second], situation, names=(first, second)))

    def _in_short(self, first: str, second: str, situation: Situation) -> bool:
        """Whether one of the two is the reference that the other one meets in the short form."""
        return self._reference(first, situation) == second or self._reference(second, situation) == first

    def _reference(self, name: str, situation: Situation) -> str | None:
        there = [one for one in REFERENCES if one in self.present and one != name]
        return next((one for one in there if not self.lacks(name, one, situation)), there[0] if there else None)


@dataclass(slots=True)
class Matrix:
    """What came of a run."""

    plan: Plan
    cells: list[Cell] = field(default_factory=list)
    seconds: float = 0.0

    def cell(self, first: str, second: str, scenario: str) -> Cell | None:
        """One cell; None: it was not run."""
        return self.by_key.get((first, second, scenario))

    @property
    def by_key(self) -> dict[tuple[str, str, str], Cell]:
        """The cells by what names them."""
        return {cell.key: cell for cell in self.cells}

    def of(self, *verdicts: Verdict) -> list[Cell]:
        """The cells with a verdict, by verdict and then in their order."""
        return [cell for verdict in verdicts for cell in self.cells if cell.verdict is verdict]

    @property
    def missing(self) -> list[Implementation]:
        """What is not installed here."""
        return [one for one in self.plan.implementations if one.hello is None]

    def alone(self, cell: Cell) -> list[str]:
        """Of a failed cell, or one with findings: which of the two is no better with itself in that scenario."""
        no_better = FINDINGS[: FINDINGS.index(cell.verdict) + 1] if cell.verdict in FINDINGS else ()
        keys = self.by_key
        names = dict.fromkeys((cell.first, cell.second))
        own = ((name, keys.get((name, name, cell.scenario))) for name in names)
        return [name for name, it in own if it is not None and it.verdict in no_better]


def probe(name: str, find: Find = find_target) -> Implementation:
    """What an implementation says of itself. Raises: UnknownTarget, HarnessBroken."""
    try:
        with closing(find(name)) as target:
            return Implementation(name, target.hello)
    except TargetMissing as missing:
        return Implementation(name, None, one_line(str(missing), MAX_MISSING))


def run(
    plan: Plan,
    *,
    jobs: int = 1,
    find: Find = find_target,
    progress: Callable[[Cell], object] = lambda cell: None,
) -> Matrix:
    """Run every cell that is wanted; with `jobs` over 1, pairs side by side in processes. Raises: HarnessBroken."""
    started = time.monotonic()
    wanted = list(plan.wanted())
    hellos = plan.present
    done: dict[tuple[str, str, str], Cell] = {}
    pairs: dict[tuple[str, str], list[tuple[str, str, str]]] = {}
    for first, second, situation in wanted:
        if lacks := gap(hellos[first], hellos[second], situation, names=(first, second)):
            done[first, second, situation.name] = unsupported(first, second, situation, lacks)
        else:
            # Both ways of a pair are run by the same two programs.
            both = (first, second) if first <= second else (second, first)
            pairs.setdefault(both, []).append((first, second, situation.name))
    for cells in _spread(pairs, plan, jobs, find):
        for cell in cells:
            done[cell.key] = cell
            progress(cell)
    ordered = [done[first, second, situation.name] for first, second, situation in wanted]
    return Matrix(plan, ordered, time.monotonic() - started)


def _spread(
    pairs: Mapping[tuple[str, str], Sequence[tuple[str, str, str]]], plan: Plan, jobs: int, find: Find
) -> Iterator[list[Cell]]:
    if jobs <= 1:
        yield from (run_pair(both, keys, plan.situations, plan.seed, plan.most, find) for both, keys in pairs.items())
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=end_with_parent) as pool:
        waiting = [
            pool.submit(run_named, both, keys, [each.name for each in plan.situations], plan.seed, plan.most)
            for both, keys in pairs.items()
        ]
        try:
            for ended in as_completed(waiting):
                yield ended.result()
        except BrokenProcessPool as error:
            raise HarnessBroken(f"a process ended before its work was done: {error}") from None
        finally:
            pool.shutdown(cancel_futures=True)


def run_named(
    both: tuple[str, str], keys: Sequence[tuple[str, str, str]], names: Sequence[str], seed: int, most: int
) -> list[Cell]:
    """`run_pair` in a process of its own, with the scenarios by name."""
    return run_pair(both, keys, [each for each in situations() if each.name in names], seed, most, find_target)


def run_pair(
    both: tuple[str, str],
    keys: Sequence[tuple[str, str, str]],
    chosen: Sequence[Situation],
    seed: int,
    most: int,
    find: Find,
) -> list[Cell]:
    """The cells of two implementations, which live in two programs, also where they are the same."""
    by_name = {each.name: each for each in chosen}
    with ExitStack() as open_ones:
        one, other = (open_ones.enter_context(closing(find(name))) for name in both)
        sides = {both: (one, other), both[::-1]: (other, one)} if both[0] != both[1] else {both: (one, other)}
        return [
            judge_cell(*sides[first, second], by_name[name], names=(first, second), seed=seed, most=most)
            for first, second, name in keys
        ]
