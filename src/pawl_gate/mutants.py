"""The kill matrix: which invariant sees which planted fault, and by which engine.

Each control (`pawl_gate.controls`) is given to each engine alone, which stops at the first trace on which the invariant
that names the fault is violated. Then the specification is weakened (`pawl_gate.controls.weakenings`), and it is looked
which faults get past it. All is counted in traces, never in seconds: the same code gives the same matrix.

The engines' traces are those of `pawl verify`, with one difference: the scenarios that are about the invariant in
question run first, and small ones before large ones, so that a fault is seen early.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from multiprocessing import get_context
from statistics import median
from typing import Any, Final, TypeVar

from pawl_gate.collection import THRESHOLDS
from pawl_gate.controls import CONTROLS, Control
from pawl_gate.controls.edits import edited
from pawl_gate.controls.weakenings import WEAKENINGS, Weakening
from pawl_gate.engines import corpus, machine, walk
from pawl_gate.lifetimes import end_with_parent
from pawl_gate.runner import run_trace
from pawl_gate.scenarios import scenarios
from pawl_gate.targets.base import HarnessBroken
from pawl_gate.targets.inprocess import HELLO
from pawl_gate.verify import BUDGETS as SEARCHES
from pawl_gate.verify import Budget, trace_size
from pawl_spec.explore import SCOPES, explore
from pawl_spec.history import History
from pawl_spec.invariants import INVARIANTS
from pawl_spec.judge import judge
from pawl_spec.registry import REGISTRY
from pawl_spec.trace import Trace

T = TypeVar("T")

SEED: Final = 0
"""Of the random engines: one matrix, not one for each day."""

BUDGETS: Final = SEARCHES | {"matrix": replace(SEARCHES["smoke"], name="matrix", walks=60, examples=15)}
"""How much the random engines search. The committed matrix takes the least: what they do not see so soon, others do."""


@dataclass(frozen=True, slots=True)
class Kill:
    """The first trace of an engine on which a fault is seen by the invariant that names it."""

    trace: str
    """What the engine calls it."""
    traces: int
    """How many traces the engine had run by then, this one included."""
    seconds: float
    """Since the engine began."""
    broken: tuple[str, ...]
    """Every invariant that is violated on it."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What the engines made of one fault."""

    control: str
    breaks: str
    kills: dict[str, Kill | None]
    """By engine, in the order in which they ran; None: the engine does not see the fault."""
    others: tuple[str, ...]
    """Invariants that were violated on traces on which the one that names the fault was not."""
    traces: int
    """Run in all, by all engines."""

    @property
    def killed(self) -> bool:
        """Whether an engine saw the fault by the invariant that names it."""
        return any(self.kills.values())

    @property
    def seconds(self) -> float | None:
        """To the first kill, by the first engine that sees it alone."""
        return next((kill.seconds for kill in self.kills.values() if kill is not None), None)


# -- traces of each engine --------------------------------------------------------------------------------------------


@cache
def _directed() -> tuple[tuple[tuple[str, ...], str, Trace], ...]:
    """Every directed trace, with what it is about and its name; the small ones first."""
    named = [(each.about, *variant) for each in scenarios() for variant in each.traces(HELLO.limits)]
    return tuple(sorted(named, key=lambda each: (trace_size(each[2]), each[1])))


def directed(breaks: str) -> list[tuple[str, Trace]]:
    """Every directed trace; those that are meant to reach the invariant `breaks` first, of these the small ones."""
    ordered = sorted(_directed(), key=lambda each: breaks not in each[0])
    return [(name, trace) for _, name, trace in ordered]


@cache
def collected() -> tuple[tuple[str, Trace], ...]:
    """The committed corpus; the small inputs first."""
    return tuple(sorted(corpus.load(corpus.SESSION_TRACE), key=lambda each: (trace_size(each[1]), each[0])))


@cache
def small_scope() -> tuple[tuple[str, Trace], ...]:
    """A trace to each last state of the smallest explored scope."""
    explored = explore(SCOPES["smoke"])
    inner = set(explored.parents)
    last = (state for state in range(explored.states) if state not in inner)
    return tuple((f"state {at}", Trace(explored.trace(state))) for at, state in enumerate(last))


def walked(budget: Budget) -> Iterator[tuple[str, Trace]]:
    """The random walks of a budget."""
    return ((f"walk {at}", trace) for at, trace in enumerate(islice(walk.traces(SEED), budget.walks)))


SOURCES: Final[dict[str, Callable[[str, Budget], Iterable[tuple[str, Trace]]]]] = {
    "scenarios": lambda breaks, budget: directed(breaks),
    "corpus": lambda breaks, budget: collected(),
    "explore": lambda breaks, budget: small_scope(),
    "walk": lambda breaks, budget: walked(budget),
}
"""The engines that make their traces without looking at what came of the last one."""

HYPOTHESIS: Final = "hypothesis"

ENGINES: Final = (*SOURCES, HYPOTHESIS)
"""The cheap and directed ones first."""


# -- one fault --------------------------------------------------------------------------------------------------------


def examine(control: Control, budget: Budget, engines: Sequence[str] = ENGINES) -> Examined:
    """Give a broken variant to each engine alone. Raises: HarnessBroken."""
    hunts = {engine: _Hunt(control.breaks) for engine in engines}
    for engine, hunt in hunts.items():
        if engine == HYPOTHESIS:
            _search(control, budget, hunt)
        else:
            _try_all(control, SOURCES[engine](control.breaks, budget), hunt)
    others = {id_ for hunt in hunts.values() for id_ in hunt.others}
    return Examined(
        control.name,
        control.breaks,
        {engine: hunt.kill for engine, hunt in hunts.items()},
        tuple(sorted(others)),
        sum(hunt.traces for hunt in hunts.values()),
    )


class _Hunt:
    """One engine's search for one fault."""

    def __init__(self, breaks: str) -> None:
        self.breaks = breaks
        self.kill: Kill | None = None
        self.others: set[str] = set()
        self.traces = 0
        self._started = time.monotonic()

    def look(self, history: History, name: str) -> None:
        """Judge a history, unless the fault was seen before."""
        if self.kill is not None:
            return
        self.traces += 1
        broken = {found.invariant.id for found in judge(history)[0]}
        if self.breaks in broken:
            seconds = time.monotonic() - self._started
            self.kill = Kill(name, self.traces, seconds, tuple(sorted(broken)))
        else:
            self.others |= broken


def _try_all(control: Control, named: Iterable[tuple[str, Trace]], hunt: _Hunt) -> None:
    target = control.make()
    for name, trace in named:
        hunt.look(run_trace(target, trace), name)
        if hunt.kill is not None:
            return


def _search(control: Control, budget: Budget, hunt: _Hunt) -> None:
    machine.search(
        control.make(),
        examples=budget.examples,
        seed=SEED,
        ignore=frozenset(entry.id for entry in INVARIANTS if entry.id != control.breaks),
        on_history=lambda history: hunt.look(history, f"example {hunt.traces}"),
        enough=lambda: hunt.kill is not None,
    )


# -- faults in the specification --------------------------------------------------------------------------------------

LARGEST: Final = 300
"""Operations of the traces on which a fault is looked at that smaller ones show already."""

LEFT_OUT: Final = "without "
"""What an invariant that is left out is called by, before its id."""


def weaken(id_: str) -> dict[str, tuple[str, ...]]:
    """What gets past a specification that is weakened in the invariant `id_`: for each weakening the first such fault.

    A fault gets past a weakened predicate if that is violated on no trace about the invariant on which the whole one
    is. It gets past a specification without the invariant if no other one is violated on any of those traces.
    """
    past: dict[str, tuple[str, ...]] = {name: () for name, each in WEAKENINGS.items() if each.invariant == id_}
    past[LEFT_OUT + id_] = ()
    for control in CONTROLS.values():
        missing = [name for name, found in past.items() if not found]
        if control.breaks != id_ or not missing:
            continue
        seen, alone = _about(control)
        for name in missing:
            escapes = seen and not _sees(WEAKENINGS[name], seen) if name in WEAKENINGS else alone
            past[name] = (control.name,) if escapes else ()
    return past


def _about(control: Control) -> tuple[list[History], bool]:
    """Of the traces about the invariant that names a fault: those on which it is violated, and whether it alone is."""
    target, seen, broken = control.make(), list[History](), set[str]()
    for about, _, trace in _directed():
        if control.breaks not in about:
            continue
        # The large ones come last, and are for what the small ones do not show.
        if seen and trace_size(trace) > LARGEST:
            break
        history = run_trace(target, trace)
        found = {each.invariant.id for each in judge(history)[0]}
        broken |= found
        if control.breaks in found:
            seen.append(history)
    return seen, broken == {control.breaks}


def _sees(weakening: Weakening, histories: Sequence[History]) -> bool:
    with edited(weakening.edits):
        return any(judge(history, [REGISTRY[weakening.invariant]])[0] for history in histories)


# -- all of them ------------------------------------------------------------------------------------------------------


def examine_all(
    names: Sequence[str], budget: Budget, *, jobs: int, engines: Sequence[str] = ENGINES
) -> Iterator[Examined]:
    """Each of the controls called `names`, in the order in which they are done. Raises: HarnessBroken."""
    yield from _spread(_examine_named, [(name, budget, tuple(engines)) for name in names], jobs)


def _examine_named(name: str, budget: Budget, engines: Sequence[str]) -> Examined:
    return examine(CONTROLS[name], budget, engines)


def weaken_all(ids: Sequence[str], *, jobs: int) -> Iterator[tuple[str, dict[str, tuple[str, ...]]]]:
    """For each of the invariants `ids`, in the order in which they end, what `weaken` says. Raises: HarnessBroken."""
    yield from _spread(_weaken_named, [(id_,) for id_ in ids], jobs)


def _weaken_named(id_: str) -> tuple[str, dict[str, tuple[str, ...]]]:
    return id_, weaken(id_)


def _begin() -> None:
    """A worker begins."""
    end_with_parent()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)


def _spread(work: Callable[..., T], calls: Sequence[tuple[Any, ...]], jobs: int) -> Iterator[T]:
    """Do the calls on so many processes, each with a library of its own: the variants change it while they run."""
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_begin) as pool:
        waiting = [pool.submit(work, *call) for call in calls]
        try:
            for done in as_completed(waiting):
                yield done.result()
        except BrokenProcessPool as error:
            raise HarnessBroken(f"a process ended before its work was done: {error}") from None
        finally:
            pool.shutdown(cancel_futures=True)


def median_seconds(examined: Iterable[Examined]) -> float:
    """Of the times to the first kill."""
    times = [each.seconds for each in examined if each.seconds is not None]
    return median(times) if times else 0.0
