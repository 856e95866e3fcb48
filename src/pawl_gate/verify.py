"""Verification: run every engine on a target, judge each history, and keep the shortest trace of each finding.

The engines, in order: the directed scenarios, the committed corpus, the exhaustive search of small scopes, a seeded
random walk, Hypothesis, and, for Pawl itself, the fault campaigns on its stores. What they do is counted in traces,
never in seconds, so that one seed gives the same traces and verdicts; the time cap of a budget only cuts, and a run
that was cut says so and is not a success.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TextIO

from pawl_gate import reach, trials
from pawl_gate.collection import rare_collection
from pawl_gate.engines import corpus, explore, machine
from pawl_gate.engines.walk import traces as walk
from pawl_gate.runner import run_trace
from pawl_gate.scenarios import ScenarioError, scenarios
from pawl_gate.shrink import shrink
from pawl_gate.targets.base import Target
from pawl_gate.targets.inprocess import InProcessTarget
from pawl_gate.trials import TrialReport
from pawl_gate.visible import one_line
from pawl_spec.explore import SCOPES, counts
from pawl_spec.history import Hello, History, Outcome
from pawl_spec.invariants import INVARIANTS
from pawl_spec.judge import Broken, Tally, Verdict, judge
from pawl_spec.registry import REGISTRY, Invariant
from pawl_spec.trace import Trace

PROGRESS_SECONDS: Final = 5.0
"""Seconds between two lines of progress of one engine."""


MAX_HANGS: Final = 3
"""Operations without an answer after which the search stops. Each takes the time limit of a driver (10 s), and a target
that hangs in every operation would otherwise take that for every trace."""

MAX_SAID: Final = 200
"""Characters of a line of progress: it may hold a target's own words."""


NO_CORPUS: Final = "none here: it comes with a checkout, not with the package"


class Exit(IntEnum):
    """Exit codes of every verb. They are an interface."""

    HOLDS = 0
    VIOLATED = 1
    USAGE = 2
    BROKEN = 3
    """The harness or the target broke; nothing was judged by it."""
    INCOMPLETE = 4
    """Nothing is violated, but something that could be judged was not reached, or the run was cut."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How much is searched."""

    name: str
    walks: int
    """Traces of the random walk, for a target in this process."""
    examples: int
    """Traces that Hypothesis tries in each of its rounds; each round ends with a new finding, or with none."""
    driven_share: float
    """Share of both that a target in a process of its own gets: each operation takes several exchanges over pipes."""
    shrink_steps: int
    """Operations that shrinking may run, shared by all findings."""
    seconds: float
    """Cap on the search, in seconds of wall time. It is looked at before each operation, so that a run may last longer
    by one operation, which the target's own time limit ends."""
    shrink_seconds: float
    """Cap on shrinking, on top, with the same precision. It is reached only by targets that hang or crawl."""
    scopes: tuple[str, ...] = ()
    """Scopes that are explored to their end and, for a target that can fork its world, replayed state by state."""
    leaves: int = 60
    """Histories of each scope that are judged by all invariants, spread evenly over its leaves."""
    trials: bool = False
    """Whether Pawl's stores are put on trial, each campaign with its amount for this budget."""
    driven_leaves: int = 20
    """The same for a target that cannot fork its world: it reaches the states on the way to these leaves, no others."""


GROUPS_ALONE: Final = "group"
"""The scope that every budget has for a target without sessions, which cannot be led through the others."""

SMALL_SCOPES: Final = tuple(name for name in SCOPES if name != "main")
"""All but the largest."""

BUDGETS: Final = {
    budget.name: budget
    for budget in (
        Budget(
            "smoke",
            walks=120,
            examples=40,
            driven_share=0.2,
            shrink_steps=6_000,
            seconds=55,
            shrink_seconds=8,
            scopes=("smoke",),
        ),
        Budget(
            "pr",
            walks=4_000,
            examples=500,
            driven_share=0.5,
            shrink_steps=60_000,
            seconds=15 * 60,
            shrink_seconds=3 * 60,
            scopes=SMALL_SCOPES,
            leaves=500,
            trials=True,
            driven_leaves=100,
        ),
        Budget(
            "nightly",
            walks=200_000,
            examples=10_000,
            driven_share=0.5,
            shrink_steps=400_000,
            seconds=8 * 60 * 60,
            shrink_seconds=30 * 60,
            scopes=tuple(SCOPES),
            leaves=20_000,
            trials=True,
            driven_leaves=2_000,
        ),
    )
}


@dataclass(slots=True)
class Reached:
    """What the histories of a run came to: a search that never gets there proves nothing."""

    operations: Counter[str] = field(default_factory=Counter)
    """By kind; those that had nothing to act on are not in it."""
    skipped: int = 0
    """Operations that had nothing to act on, or that the target declares it cannot do."""
    refusals: Counter[str] = field(default_factory=Counter)
    """By code."""
    ratchet_steps: int = 0
    """First messages read under a new ratchet key of the peer."""
    crashes: int = 0
    """Crashes that were asked for and struck."""
    deaths: int = 0
    """Operations in which the target died or hung."""
    hangs: int = 0
    """Operations that the target did not end in time; they are deaths too."""
    shapes: Counter[str] = field(default_factory=Counter)
    """Histories that came to each shape of state (`pawl_gate.reach`)."""

    def add(self, history: History, shapes: Iterable[str]) -> None:
        """Count one history, which came to these shapes of state."""
        self.shapes.update(shapes)
        key_of: dict[int, str] = {}
        heard: set[tuple[int | None, str]] = set()
        for event in history.events:
            if event.outcome is Outcome.SKIPPED:
                self.skipped += 1
                continue
            self.operations[event.op.kind.word] += 1
            if event.outcome is Outcome.REFUSED:
                self.refusals[event.code or "unknown"] += 1
            # The trial on a damaged copy is an operation of its own.
            if event.damaged is not None and event.damaged.outcome is Outcome.REFUSED:
                self.refusals[event.damaged.code or "unknown"] += 1
            if event.medium is not None and event.medium.outcome is Outcome.REFUSED:
                self.refusals[event.medium.code or "unknown"] += 1
            self.crashes += event.outcome is Outcome.CRASHED
            self.deaths += event.outcome in (Outcome.DIED, Outcome.HUNG)
            self.hangs += event.outcome is Outcome.HUNG
            if event.message is None:
                continue
            if event.header is not None:
                key_of[event.message] = event.header.ratchet_key
            elif event.plaintext is not None and event.message in key_of:
                heard.add((event.actor, key_of[event.message]))
        self.ratchet_steps += len(heard)


@dataclass(frozen=True, slots=True)
class Found:
    """One violated invariant, with the shortest trace that shows it."""

    trace: Trace
    history: History
    broken: Broken
    engine: str
    """What found it first: an engine, and for a scenario its name."""


@dataclass(frozen=True, slots=True)
class EngineRun:
    """What one engine did."""

    name: str
    traces: int
    steps: int
    seconds: float
    note: str = ""
    """What it left out, and why."""
    checked: Counter[str] = field(default_factory=Counter)
    """How often each invariant was checked, by id."""
    checked_on: Counter[str] = field(default_factory=Counter)
    """On how many traces each invariant was checked, by id."""
    reached: Reached = field(default_factory=Reached)


@dataclass(frozen=True, slots=True)
class ScopeRun:
    """What the exhaustive search of one scope came to, and its replay on the target."""

    name: str
    bounds: str
    """In words."""
    counts: dict[str, int]
    """States, transitions and depth, which are the committed ones."""
    replayed: explore.Replayed
    seconds: float
    """Of search and replay."""


@dataclass(slots=True)
class Report:
    """Everything that a run found out."""

    hello: Hello
    target: str
    """The name or command by which the target was asked for."""
    is_driver: bool
    """Whether that is the command of a driver."""
    budget: Budget
    seed: int
    tally: Tally
    reached: Reached = field(default_factory=Reached)
    engines: list[EngineRun] = field(default_factory=list)
    found: dict[str, Found] = field(default_factory=dict)
    """By invariant id."""
    on_trial: list[TrialReport] = field(default_factory=list)
    """What the fault campaigns on stores came to."""
    not_run: list[str] = field(default_factory=list)
    """Campaigns that lack something here, one line each."""
    traces: int = 0
    steps: int = 0
    seconds: float = 0.0
    """Of the search, without shrinking."""
    cut: str = ""
    """Why the run ended before its budget was used up; empty if it did not."""
    scopes: list[ScopeRun] = field(default_factory=list)
    listed: Mapping[str, reach.Items] | None = None
    """What each engine must reach, where there is a committed list for such a run."""
    selection: Selection | None = None
    """What the run was narrowed to; None: to nothing less than all."""

    @property
    def hung(self) -> bool:
        """Whether the search stopped because the target hung too often."""
        return self.reached.hangs >= MAX_HANGS

    def by_size(self) -> list[tuple[str, Found]]:
        """The findings, shortest trace first: of several that one fault causes, it is the one to look at first."""
        return sorted(self.found.items(), key=lambda item: (trace_size(item[1].trace), item[0]))

    @property
    def violated(self) -> list[str]:
        """The ids of the invariants that do not hold, by a trace or on trial."""
        return sorted(set(self.found) | {one.invariant for trial in self.on_trial for one in trial.broken})

    @property
    def unreached(self) -> list[str]:
        """What the committed list names and an engine did not reach, one line an engine."""
        if self.listed is None:
            return []
        done = {engine.name: reach.items(engine.reached) for engine in self.engines}
        due = dict(self.listed)
        if any(engine.note == NO_CORPUS for engine in self.engines):
            due.pop("corpus", None)
        return reach.missing(due, done)

    def with_verdict(self, verdict: Verdict) -> list[Invariant]:
        """The invariants of that verdict, by id."""
        return [entry for entry in INVARIANTS if self.tally.verdict(entry) is verdict]

    @property
    def exit(self) -> Exit:
        """The exit code, where no findings are expected."""
        if self.violated:
            return Exit.VIOLATED
        return Exit.INCOMPLETE if self.gaps else Exit.HOLDS

    @property
    def gaps(self) -> list[str]:
        """Why the run does not say all that it could have said."""
        missed = ", ".join(entry.id for entry in self.with_verdict(Verdict.NOT_REACHED))
        gaps = [self.cut] if self.cut else []
        gaps += self.not_run
        if missed:
            gaps.append(f"never reached, so nothing is known of it: {missed}")
        # What was cut short is incomplete anyway.
        if not self.cut:
            gaps += self.unreached
        # A run that judged nothing is never a success.
        if not self.with_verdict(Verdict.HOLDS) and not self.violated:
            gaps.append("no invariant could be judged on this target")
        return gaps


@dataclass(frozen=True, slots=True)
class Selection:
    """What a run judges of all that it could judge, because of what was changed."""

    since: str
    """The revision, as it was asked for."""
    commit: str
    """That revision's commit."""
    files: tuple[str, ...]
    """What was changed since then, from the repository's folder."""
    judged: frozenset[str]
    """Ids of the invariants that are judged."""
    left_out: Mapping[str, str]
    """Ids of the others, each with why."""
    why: str
    """In a sentence: why these."""


class Cut(Exception):
    """The time is up, or the target hung too often."""


class Verification:
    """One run of all engines on one target."""

    def __init__(
        self,
        target: Target,
        *,
        name: str,
        budget: Budget,
        seed: int,
        progress: TextIO,
        is_driver: bool = False,
        known: Sequence[Trace] = (),
        selection: Selection | None = None,
    ) -> None:
        """`known` are traces that are run before all others, such as those of expected findings."""
        self._target = target
        self._known = known
        self._left_out = frozenset(selection.left_out if selection else ())
        self._invariants = [entry for entry in INVARIANTS if entry.id not in self._left_out]
        self._progress = progress
        self._started = self._told = time.monotonic()
        self._engine = ""
        self._checked_on: Counter[str] = Counter()
        self._reached = Reached()
        self._share = 1.0 if isinstance(target, InProcessTarget) else budget.driven_share
        # What its pool of workers does is seen on trial, where the gate drives it itself.
        hello = target.hello
        if name == "pawl" and budget.trials:
            hello = replace(hello, capabilities=hello.capabilities | {"workers"})
        self.report = Report(hello, name, is_driver, budget, seed, Tally(hello))
        self.report.selection, self.report.tally.left_out = selection, self._left_out
        # A budget of a test, or of a machine of its own, may carry the name of a known one.
        usual = BUDGETS.get(budget.name)
        if selection is None and usual is not None and replace(budget, seconds=usual.seconds) == usual:
            self.report.listed = reach.listed(name, budget.name, seed)

    def run(self) -> Report:
        """Run all engines, then shrink what was found. Raises: HarnessBroken."""
        with rare_collection():
            self._run_engines()
            self._shrink()
        return self.report

    def _run_engines(self) -> None:
        report = self.report
        engines: tuple[tuple[str, Callable[[], str]], ...] = (
            *((("expected", self._expected),) if self._known else ()),
            ("scenarios", self._scenarios),
            ("corpus", self._corpus),
            ("explore", self._explore),
            ("walk", self._walk),
            ("hypothesis", self._hypothesis),
        )
        for name, engine in engines:
            self._engine = name
            traces, steps, started = report.traces, report.steps, time.monotonic()
            checked, checked_on = Counter(report.tally.checked), Counter(self._checked_on)
            self._reached = Reached()
            try:
                note = engine()
            except Cut:
                note, report.cut = self._why_cut(name)
            seconds = time.monotonic() - started
            done = EngineRun(
                name,
                report.traces - traces,
                report.steps - steps,
                seconds,
                note,
                checked=report.tally.checked - checked,
                checked_on=self._checked_on - checked_on,
                reached=self._reached,
            )
            report.engines.append(done)
            self._say(f"{name}: {done.traces} traces, {done.steps} steps, {seconds:.1f} s" + (note and f"; {note}"))
            if report.cut:
                break
        if not report.cut and report.target == "pawl" and report.budget.trials:
            self._trials()
        report.seconds = time.monotonic() - self._started

    # -- engines ------------------------------------------------------------------------------------------------------

    def _expected(self) -> str:
        for trace in self._known:
            self._run(trace, "the list of expected findings")
        return ""

    def _scenarios(self) -> str:
        hello, left_out, lacking, unfit = self._target.hello, 0, set[str](), list[str]()
        apart = 0
        for scenario in scenarios():
            if scenario.about and self._left_out.issuperset(scenario.about):
                apart += 1
                continue
            if lacks := scenario.lacks(hello):
                left_out += 1
                lacking.update(lacks)
                continue
            try:
                traces = list(scenario.traces(hello.limits))
            except ScenarioError:
                # Limits of 0, or larger than an operand: there is no such trace for this target.
                unfit.append(scenario.name)
                continue
            for label, trace in traces:
                self._run(trace, f"scenario {label}")
        notes = [f"{left_out} scenarios left out, as the target lacks {', '.join(sorted(lacking))}"] if left_out else []
        notes += [f"left out, as they do not fit the target's limits: {', '.join(unfit)}"] if unfit else []
        notes += [f"{apart} scenarios left out, as they are about no invariant that is judged"] if apart else []
        return "; ".join(notes)

    def _corpus(self) -> str:
        entries = corpus.load(corpus.SESSION_TRACE)
        for name, trace in entries:
            self._run(trace, f"corpus {name}")
        return "" if entries else NO_CORPUS

    def _explore(self) -> str:
        budget, notes = self.report.budget, list[str]()
        deadline = self._started + budget.seconds
        forks = isinstance(self._target, InProcessTarget)
        more = () if self._target.hello.sessions or not budget.scopes else (GROUPS_ALONE,)
        for scope in [SCOPES[name] for name in dict.fromkeys((*budget.scopes, *more))]:
            if lacks := explore.lacks(scope, self._target.hello):
                notes.append(f"{scope.name} left out, as the target lacks {', '.join(lacks)}")
                continue
            started = time.monotonic()
            explored = explore.searched(scope, deadline=deadline, progress=self._say)
            if not explored.closed:
                raise Cut
            replayed = explore.replay(
                self._target,
                explored,
                leaves=budget.leaves if forks else budget.driven_leaves,
                judge=lambda history: self._judge(history, f"explore {scope.name}"),  # noqa: B023 - called before the next
                check=self._check,
            )
            self._name(replayed, scope.name)
            took = time.monotonic() - started
            self.report.scopes.append(ScopeRun(scope.name, scope.bounds, counts(explored), replayed, took))
            self._say(f"{scope.name}: {explored.states:,} states, {replayed.states:,} of them reached on the target")
            self._check()
        return "; ".join(notes)

    def _name(self, replayed: explore.Replayed, scope: str) -> None:
        """A disagreement that no invariant names is one all the same: what the protocol says was not done."""
        found = replayed.disagreement
        if found is None or "CNF-01" in self._left_out or judge(found.history, self._invariants)[0]:
            return
        one = Broken(REGISTRY["CNF-01"], found.violation)
        self.report.tally.add([one], Counter())
        self.report.found.setdefault("CNF-01", Found(found.history.trace, found.history, one, f"explore {scope}"))

    def _walk(self) -> str:
        for trace in islice(
            walk(self.report.seed, sessions=self.report.hello.sessions), int(self.report.budget.walks * self._share)
        ):
            self._run(trace, "walk")
        return ""

    def _hypothesis(self) -> str:
        result = machine.search(
            self._target,
            examples=max(int(self.report.budget.examples * self._share), 1),
            seed=self.report.seed,
            ignore=self._left_out.union(self.report.found),
            deadline=self._started + self.report.budget.seconds,
            enough=lambda: self.report.hung,
            on_history=lambda history: self._judge(history, "hypothesis"),
        )
        if not result.complete:
            raise Cut
        # The last history may have been the one too many.
        self._check()
        return ""

    def _trials(self) -> None:
        """Put every store on trial by every campaign that is for it; each of them counts as an engine."""
        report = self.report
        for name in trials.MODULES:
            one = trials.campaign(name)
            amount = one.AMOUNTS[report.budget.name]
            for store in one.STORES:
                where = f"{name} on {store}"
                if time.monotonic() - self._started > report.budget.seconds:
                    report.cut = f"the time cap of {report.budget.seconds:.0f} s cut the search, before {where}"
                    return
                try:
                    with TemporaryDirectory(prefix="pawl-trial-") as folder:
                        done = one.run(store, amount, report.seed, lambda text: None, Path(folder))
                except trials.Unavailable as error:
                    report.not_run.append(f"{where} was not run: {error}")
                    continue
                report.on_trial.append(done)
                report.tally.checked.update(done.checked)
                report.tally.violated.update({broken.invariant for broken in done.broken})
                said = ", ".join(f"{count:,} {what}" for what, count in done.counted.items())
                checked = Counter(done.checked)
                report.engines.append(
                    EngineRun(where, 0, 0, done.seconds, said, checked=checked, checked_on=Counter(checked.keys()))
                )
                self._say(f"{where}: {said}, {done.seconds:.1f} s")
                for broken in done.broken:
                    self._say(f"{broken.invariant} does not hold ({where}): {broken.what}")

    # -- judging ------------------------------------------------------------------------------------------------------

    def _run(self, trace: Trace, engine: str) -> None:
        self._judge(run_trace(self._target, trace, check=self._check), engine)
        self._check()

    def _check(self) -> None:
        """Raises: Cut."""
        if self.report.hung or time.monotonic() - self._started > self.report.budget.seconds:
            raise Cut

    def _why_cut(self, engine: str) -> tuple[str, str]:
        """In a few words, and in a sentence."""
        if self.report.hung:
            return "stopped at the hangs", f"the target hung {MAX_HANGS} times: the search stopped, in {engine!r}"
        seconds = self.report.budget.seconds
        return "cut by the time cap", f"the time cap of {seconds:.0f} s cut the search, in the engine {engine!r}"

    def _judge(self, history: History, engine: str) -> None:
        report = self.report
        broken, checked = judge(history, self._invariants)
        report.tally.add(broken, checked)
        self._checked_on.update(checked.keys())
        shapes = reach.shapes(history)
        for reached in (report.reached, self._reached):
            reached.add(history, shapes)
        report.traces += 1
        report.steps += len(history.events)
        for one in broken:
            old = report.found.get(one.invariant.id)
            if old is None:
                self._say(f"{one.invariant.id} does not hold ({engine}): {one_line(one.violation.what, 90)}")
            if old is None or trace_size(history.trace) < trace_size(old.trace):
                found_by = old.engine if old else engine
                report.found[one.invariant.id] = Found(history.trace, history, one, found_by)
        now = time.monotonic()
        if now - self._told > PROGRESS_SECONDS:
            self._say(f"{self._engine}: {report.traces} traces, {report.steps} steps so far")

    def _say(self, text: str) -> None:
        self._told = time.monotonic()
        print(f"[{self._told - self._started:6.1f} s] {one_line(text, MAX_SAID)}", file=self._progress, flush=True)

    # -- shrinking ----------------------------------------------------------------------------------------------------

    def _shrink(self) -> None:
        found, budget = self.report.found, self.report.budget
        deadline, hangs = time.monotonic() + budget.shrink_seconds, Counter[Outcome]()
        # The cheap ones first, so that a costly one takes no time from them.
        for id_, one in self.report.by_size():
            if self.report.hung and one.broken.violation.event.outcome is Outcome.HUNG:
                # Each try would hang once more.
                found[id_] = _up_to_the_end(one)
                continue
            small = shortest(self._target, one, steps=budget.shrink_steps // len(found), deadline=deadline, hangs=hangs)
            self._say(f"{id_}: {_operations(len(small.trace.ops))} in its shortest trace")
            found[id_] = small


def shortest(target: Target, found: Found, *, steps: int, deadline: float, hangs: Counter[Outcome]) -> Found:
    """The plainest trace that still violates the invariant of `found`, within so many operations run.

    `deadline` is a time of `time.monotonic()`. `hangs` counts the traces that hung, of all that are shrunk together.
    """
    best, left = found, steps

    def check() -> None:
        if time.monotonic() > deadline or hangs[Outcome.HUNG] >= MAX_HANGS:
            raise Cut

    def still_fails(trace: Trace) -> bool:
        nonlocal best, left
        if left <= 0:
            return False
        try:
            check()
            history = run_trace(target, trace, check=check)
        except Cut:
            return False
        hangs.update(event.outcome for event in history.events if event.outcome is Outcome.HUNG)
        # Each message of a burst is an operation too.
        left -= max(len(history.events), 1) + sum(len(event.counters) for event in history.events)
        broken, _ = judge(history, [found.broken.invariant])
        if broken:
            best = Found(trace, history, broken[0], found.engine)
        return bool(broken)

    start = found.trace
    # What comes after the violation is not needed for it, unless the closing part is where it shows.
    cut = replace(start, ops=start.ops[: found.broken.violation.event.step + 1])
    if len(cut.ops) < len(start.ops) and still_fails(cut):
        start = cut
    small = shrink(start, still_fails, budget=steps)
    if best.trace != small:
        # The last trace that was tried and failed is not always the one that was kept.
        history = run_trace(target, small)
        broken, _ = judge(history, [found.broken.invariant])
        best = Found(small, history, broken[0], found.engine) if broken else found
    return best


def _up_to_the_end(found: Found) -> Found:
    """The same without the operations after the one that the target did not survive: they were never carried out."""
    steps = found.broken.violation.event.step + 1
    if steps >= len(found.trace.ops):
        return found
    trace = replace(found.trace, ops=found.trace.ops[:steps])
    return replace(found, trace=trace, history=replace(found.history, trace=trace, events=found.history.events[:steps]))


def _operations(count: int) -> str:
    return "1 operation" if count == 1 else f"{count} operations"


def trace_size(trace: Trace) -> int:
    """Operations, each message of a burst counted: what a trace costs to run and to read."""
    return len(trace.ops) + sum(op["count"] for op in trace.ops if "count" in op.kind.names)


def unsupported(hello: Hello) -> Iterator[tuple[Invariant, str]]:
    """The invariants on which the target declares that it cannot be judged, each with why."""
    for entry in INVARIANTS:
        if entry.predicate is None:
            continue
        why = []
        if entry.of_pools and "workers" not in hello.capabilities:
            yield entry, "seen of Pawl's own pool on trial: from the budget pr on, or by pawl store trial drill"
            continue
        if hello.level < entry.level:
            why.append(f"needs observation level L{entry.level.value}, the target offers L{hello.level.value}")
        if lacks := entry.lacking(hello):
            why.append(f"needs {', '.join(lacks)}, which the target declares that it lacks")
        if why:
            yield entry, "; ".join(why)
