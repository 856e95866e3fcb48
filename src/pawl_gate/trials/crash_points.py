"""A crash at every call of the store: of every step of a trace, before each call, before the commit and after it.

The party's process ends there, another one opens what lies in the store, and the trace goes on to its end; the whole
history is then judged by every invariant. In this process: a file is what it was at that moment, with whatever its
engine had written by then; for memory, the rows that were committed. Where a real process is killed is `kill`'s affair.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, count, islice
from pathlib import Path
from random import Random
from typing import Final

from pawl_gate.engines.walk import traces as walk
from pawl_gate.runner import CRASHABLE, Run
from pawl_gate.scenarios import scenarios
from pawl_gate.targets.inprocess import HELLO, InProcessTarget
from pawl_gate.targets.kept import CONNINFO, KEEPERS
from pawl_gate.targets.observed import AFTER_COMMIT, BEFORE_COMMIT, LATER_CALL, LATER_COMMIT
from pawl_gate.targets.variant import Variant
from pawl_gate.trials import Broken, Say, TrialReport, Unavailable
from pawl_gate.trials.postgres_server import programs
from pawl_spec.history import Event, History, Outcome
from pawl_spec.judge import judge
from pawl_spec.trace import PARTIES, Kind, Op, Trace

STORES: Final = tuple(KEEPERS)
AMOUNTS: Final = {"pr": 5, "nightly": 400}
"""Traces; each has some hundred places to crash at. The first five have every kind of step that can be struck."""

DATABASE_SHARE: Final = 4
"""Of the traces, one in so many for PostgreSQL: there each crash is in a schema of its own, which takes a while."""

MAX_OPERATIONS: Final = 40
"""Of a trace: what follows each crash is carried out again."""

MOST_AT_ONCE: Final = 50
"""Messages that one operation may stand for."""

STRUCK: Final = CRASHABLE | {Kind.FORGET, Kind.ROTATE, Kind.MAINTAIN}
"""The steps that are struck: all that write by themselves."""


class _Struck(Run):
    """A run whose next step is struck at any place, whoever acts in it."""

    crashable = STRUCK

    def strike(self, at: int, operation: Op) -> Event:
        """Carry out one operation, with a crash at `at`."""
        self._armed = dict.fromkeys(range(len(PARTIES)), at)
        try:
            return self.step(operation)
        finally:
            self._armed = {}


def places() -> tuple[Iterator[tuple[str, int]], ...]:
    """The calls of an operation, its commits, and what comes after those that wrote: each from the first on."""
    calls = ((f"before call {k}", k if k < BEFORE_COMMIT else LATER_CALL + k) for k in count())
    before = ((f"before commit {n}", BEFORE_COMMIT + LATER_COMMIT * n) for n in count())
    after = ((f"after commit {n}", AFTER_COMMIT + LATER_COMMIT * n) for n in count())
    return calls, before, after


def crashes(target: InProcessTarget, trace: Trace) -> Iterator[tuple[str, History]]:
    """A history for each place of the trace at which a crash can come, and in words which that is."""
    whole = _Struck(target, seed=trace.seed, strict=trace.strict)
    for number, operation in enumerate(trace.ops):
        for row in places() if operation.kind in STRUCK else ():
            for where, at in row:
                twin = whole.fork()
                struck = twin.strike(at, operation)
                if struck.outcome is not Outcome.CRASHED:
                    # There are no more such places.
                    twin.finish(closing=False)
                    break
                for later in trace.ops[number + 1 :]:
                    twin.step(later)
                yield f"step {number} ({operation}) crashed {where}", twin.finish()
        whole.step(operation)
    whole.finish(closing=False)


def run(store: str, amount: int, seed: int, say: Say, folder: Path, *, variant: Variant | None = None) -> TrialReport:
    """Crash at every place of `amount` traces. `variant`: a broken one, for a control."""
    del folder
    if store == "postgres" and programs() is None and CONNINFO not in os.environ:
        raise Unavailable("PostgreSQL's server programs (initdb, pg_ctl) are not installed")
    report, started = TrialReport("crash-points", store, seed), time.monotonic()
    counted = {"traces": 0, "crashes": 0, "operations": 0}
    target = InProcessTarget(variant, keep=KEEPERS[store])
    told: set[str] = set()
    if store == "postgres":
        amount = max(1, amount // DATABASE_SHARE)
    for label, trace in islice(short_traces(seed), amount):
        counted["traces"] += 1
        for where, history in crashes(target, trace):
            counted["crashes"] += 1
            counted["operations"] += len(history.events)
            broken, checked = judge(history)
            for id_, times in checked.items():
                report.checked[id_] = report.checked.get(id_, 0) + times
            for one in broken:
                # One finding of each kind: the first is as good as any.
                if one.invariant.id not in told:
                    told.add(one.invariant.id)
                    report.broken.append(Broken(one.invariant.id, f"{label}, {where}: {one.violation.what}"))
                    say(str(report.broken[-1]))
        say(f"{counted['traces']} traces, {counted['crashes']} crashes")
    report.counted, report.seconds = counted, time.monotonic() - started
    return report


def short_traces(seed: int) -> Iterator[tuple[str, Trace]]:
    """Traces without crashes of their own, and with steps to strike: directed ones, then those of the random walk.

    The directed ones come in another order for each seed, those first that together have every kind of step.
    """
    directed = list(directed_traces())
    Random(seed).shuffle(directed)  # noqa: S311 - a search, no secret
    for label, trace in chain(
        _of_every_kind_first(directed), ((f"walk {number}", trace) for number, trace in enumerate(walk(seed)))
    ):
        ops = tuple(each for each in trace.ops if each.kind is not Kind.CRASH)
        if len(ops) <= MAX_OPERATIONS and any(each.kind in STRUCK for each in ops):
            yield label, replace(trace, ops=ops)


def _of_every_kind_first(left: list[tuple[str, Trace]]) -> list[tuple[str, Trace]]:
    """The same, begun with whichever brings the most kinds of step that can be struck and were not there before."""
    first: list[tuple[str, Trace]] = []
    missing = set(STRUCK)
    while left:
        best = max(left, key=lambda one: len(missing & {each.kind for each in one[1].ops}))
        if not (new := missing & {each.kind for each in best[1].ops}):
            break
        missing -= new
        left.remove(best)
        first.append(best)
    return first + left


def directed_traces() -> Iterator[tuple[str, Trace]]:
    """Every trace of the directed scenarios that is short enough for a store that is kept for real."""
    for scenario in scenarios():
        if not scenario.lacks(HELLO):
            for label, trace in scenario.traces(HELLO.limits):
                if len(trace.ops) <= MAX_OPERATIONS and not any(map(_is_many, trace.ops)):
                    yield label, trace


def _is_many(operation: Op) -> bool:
    """It stands for many messages, or for the steps over many."""
    return any(operation[name] > MOST_AT_ONCE for name in ("count", "ahead") if name in operation.kind.names)
