"""Hypothesis searches: a state machine whose rules are the operations of a trace.

Each example is one world. Its end is judged, and a violation fails the example, so that Hypothesis shrinks it; what is
handed out is always a trace. After a finding the search goes on without that invariant, until it finds nothing new.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from unittest import mock

from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.errors import Flaky, StopTest
from hypothesis.internal.conjecture.providers import HypothesisProvider
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from pawl_gate.engines.strategies import (
    OPERATIONS,
    group_operations,
    groups,
    operations,
    pairs,
    seeds,
    sizes,
    strict_masks,
)
from pawl_gate.runner import Run, run_trace
from pawl_gate.shrink import plainness, shrink
from pawl_gate.targets.base import Target
from pawl_spec.history import Event, History, Outcome
from pawl_spec.invariants import INVARIANTS
from pawl_spec.judge import Broken, judge
from pawl_spec.trace import Kind, Op, Trace, op

STEPS = 20
"""Rules in one example: about 40 operations."""

SHRINK_RUNS = 300
"""Worlds that Hypothesis may run to shrink one finding."""

POLISH_RUNS = 150
"""Worlds that our own shrinker may run on top: it knows what an operation is."""


@dataclass(slots=True)
class SearchResult:
    """What a search did and found."""

    traces: int = 0
    steps: int = 0
    found: dict[str, Trace] = field(default_factory=dict)
    """By invariant id, the plainest trace that breaks it."""
    complete: bool = True
    """False: the deadline cut the search, or `enough` did."""


class Violated(AssertionError):
    """A history breaks an invariant."""


class _Stop(BaseException):
    """Leaves Hypothesis at once: it takes every other exception of an example for a finding."""


class _Deadline(_Stop):
    """The time is up, or whoever asked has seen enough."""


class _Enough(_Stop):
    """The finding was shrunk for long enough."""


class _Fault(_Stop):
    """The harness broke."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class _Hunt:
    """One search: what it looks for, what it found, and how much it did."""

    def __init__(
        self,
        target: Target,
        ignore: frozenset[str],
        deadline: float | None,
        on_history: Callable[[History], object],
        enough: Callable[[], bool],
    ) -> None:
        self.target = target
        self.result = SearchResult()
        self.prey: str | None = None
        """The invariant that this round shrinks: no other fails an example then, so it cannot slip to another one."""
        self.runs_left = SHRINK_RUNS
        self._ignore = ignore
        self._deadline = deadline
        self._on_history = on_history
        self._enough = enough

    def check_time(self) -> None:
        late = self._deadline is not None and time.monotonic() > self._deadline
        if late or self._enough():
            # Noted here too: Hypothesis may take an example left half-way for a flaky one, and say that instead.
            self.result.complete = False
            raise _Deadline

    def judge(self, history: History) -> None:
        """Count and judge a history. Raises: Violated, _Enough."""
        self.result.traces += 1
        self.result.steps += len(history.events)
        self._on_history(history)
        wanted = [entry for entry in INVARIANTS if entry.id not in self._ignore]
        broken, _ = judge(history, wanted)
        known = {id_ for id_ in self.result.found if id_ != self.prey}
        fresh = [one for one in broken if one.invariant.id not in known]
        for one in broken:
            self._keep(one, history.trace)
        if self.prey is None and fresh:
            self.prey = fresh[0].invariant.id
        elif self.prey is not None:
            self.runs_left -= 1
            if not self.runs_left:
                raise _Enough
        for one in fresh:
            if one.invariant.id == self.prey:
                raise Violated(f"{one.invariant.id}: {one.violation.what}")

    def _keep(self, broken: Broken, trace: Trace) -> None:
        best = self.result.found.get(broken.invariant.id)
        if best is None or plainness(trace) < plainness(best):
            self.result.found[broken.invariant.id] = trace

    def polish(self, id_: str) -> None:
        """Shrink what was found further, with the shrinker that knows operations."""
        entry = [entry for entry in INVARIANTS if entry.id == id_]

        def still_fails(trace: Trace) -> bool:
            return bool(judge(run_trace(self.target, trace, check=self.check_time), entry)[0])

        self.result.found[id_] = shrink(self.result.found[id_], still_fails, budget=POLISH_RUNS)


class SessionMachine(RuleBasedStateMachine):
    """One world of a hunt. What exists is counted, so that rules that would have nothing to act on do not run."""

    def __init__(self, hunt: _Hunt) -> None:
        super().__init__()
        self._hunt = hunt
        self._run: Run | None = None
        self.has_groups = "groups" in hunt.target.hello.capabilities
        self.waiting = 0
        """Messages on their way."""
        self.sent = 0
        self._met: set[tuple[int | None, int | None]] = set()
        """(a, b): a had a session with b."""

    def step(self, operation: Op) -> Event:
        """Carry out one operation."""
        if self._run is None:
            raise RuntimeError("the world is made first")
        try:
            event = self._run.step(operation)
        except Exception as error:
            raise _Fault(error) from error
        if event.outcome is Outcome.SKIPPED:
            return event
        if operation.kind is Kind.SEND and event.message is not None:
            self.sent += 1
            self.waiting += 1
        elif operation.kind is Kind.DUPLICATE:
            self.waiting += 1
        elif operation.kind in (Kind.DELIVER, Kind.DROP):
            self.waiting -= 1
        if operation.kind in (Kind.ESTABLISH, Kind.DELIVER) and event.outcome is Outcome.DONE:
            self._met.add((event.actor, event.peer))
        return event

    def _say(self, actor: int, peer: int, size: int) -> None:
        """Send, and deliver that very message."""
        sent = self.sent
        self.step(op(Kind.SEND, actor=actor, peer=peer, size=size))
        if self.sent > sent:
            self.step(op(Kind.DELIVER, index=(self.waiting - 1) % 256))

    def _meet(self, actor: int, peer: int) -> None:
        if (actor, peer) not in self._met:
            self.step(op(Kind.ESTABLISH, actor=actor, peer=peer, one_time=1))

    @initialize(seed=seeds(), strict=strict_masks())
    def start(self, seed: int, strict: int) -> None:
        """A fresh world."""
        try:
            self._run = Run(self._hunt.target, seed=seed, strict=strict, check=self._hunt.check_time)
        except Exception as error:
            raise _Fault(error) from error

    # -- parties ------------------------------------------------------------------------------------------------------

    @rule(pair=pairs(), size=sizes(), turns=st.integers(1, 4))
    def converse(self, pair: tuple[int, int], size: int, turns: int) -> None:
        """Both speak in turn, which is what makes a session grow old."""
        self._meet(*pair)
        for _ in range(turns):
            self._say(*pair, size)
            pair = pair[::-1]

    @rule(pair=pairs(), size=sizes(), count=st.integers(1, 3))
    def send(self, pair: tuple[int, int], size: int, count: int) -> None:
        """Some messages that stay on their way."""
        self._meet(*pair)
        for _ in range(count):
            self.step(op(Kind.SEND, actor=pair[0], peer=pair[1], size=size))

    @rule(operation=OPERATIONS[Kind.ESTABLISH])
    def establish(self, operation: Op) -> None:
        """A new session, beside the old one if there is one."""
        self.step(operation)

    # -- network ------------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.waiting > 0)
    @rule(operation=OPERATIONS[Kind.DELIVER])
    def deliver(self, operation: Op) -> None:
        """A message arrives, not always in its turn."""
        self.step(operation)

    @precondition(lambda self: self.waiting > 0)
    @rule(operation=OPERATIONS[Kind.DUPLICATE] | OPERATIONS[Kind.DROP])
    def network(self, operation: Op) -> None:
        """The network doubles or loses a message."""
        self.step(operation)

    # -- attacker -----------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.sent > 0)
    @rule(operation=OPERATIONS[Kind.REPLAY] | OPERATIONS[Kind.REDIRECT])
    def replay(self, operation: Op) -> None:
        """A message comes again, or to another."""
        self.step(operation)

    @precondition(lambda self: self.sent > 0)
    @rule(operation=OPERATIONS[Kind.TAMPER])
    def tamper(self, operation: Op) -> None:
        """A changed copy of a message arrives."""
        self.step(operation)

    @rule(pair=pairs(), size=sizes(), change=OPERATIONS[Kind.TAMPER])
    def meddle(self, pair: tuple[int, int], size: int, change: Op) -> None:
        """A changed copy of a message that is still on its way arrives before it."""
        self._meet(*pair)
        self.step(op(Kind.SEND, actor=pair[0], peer=pair[1], size=size))
        newest = max(self.sent - 1, 0) % 256
        self.step(op(Kind.TAMPER, message=newest, field=change["field"], how=change["how"]))

    @rule(operation=OPERATIONS[Kind.FORGE_BUNDLE] | OPERATIONS[Kind.INJECT])
    def forge(self, operation: Op) -> None:
        """A changed bundle, or made-up bytes."""
        self.step(operation)

    # -- disk and users -----------------------------------------------------------------------------------------------

    @rule(pair=pairs(), crash=OPERATIONS[Kind.CRASH], receiving=st.booleans())
    def crash(self, pair: tuple[int, int], crash: Op, receiving: bool) -> None:
        """A crash while sending, or while receiving."""
        self._meet(*pair)
        armed = op(Kind.CRASH, actor=pair[receiving], at=crash["at"])
        if not receiving:
            self.step(armed)
        sent = self.step(op(Kind.SEND, actor=pair[0], peer=pair[1]))
        if receiving and sent.message is not None:
            self.step(armed)
            self.step(op(Kind.DELIVER, index=(self.waiting - 1) % 256))

    @rule(operation=OPERATIONS[Kind.INSPECT] | OPERATIONS[Kind.RESTART] | OPERATIONS[Kind.COMPROMISE])
    def look(self, operation: Op) -> None:
        """The attacker copies a state, or a party starts again."""
        self.step(operation)

    @rule(pair=pairs(), decide=st.booleans())
    def reinstall(self, pair: tuple[int, int], decide: bool) -> None:
        """A party comes back with a new identity; the other's user accepts it, or does not."""
        self.step(op(Kind.REINSTALL, actor=pair[0]))
        if decide:
            self.step(op(Kind.APPROVE, actor=pair[1], peer=pair[0]))

    @precondition(lambda self: self.has_groups)
    @rule(pair=pairs(), group=groups(), operations=st.lists(group_operations(), min_size=1, max_size=3))
    def in_group(self, pair: tuple[int, int], group: int, operations: list[Op]) -> None:
        """A member gives its chain to another and sends to it; then something else happens, and it reads."""
        actor, peer = pair
        given = self.step(op(Kind.GROUP_CREATE, actor=actor, group=group)).group
        if given is not None and given.distribution is not None:
            self.step(op(Kind.GROUP_JOIN, actor=peer, distribution=given.distribution % 256))
        sent = self.step(op(Kind.GROUP_SEND, actor=actor, group=group)).group
        for operation in operations:
            self.step(operation)
        if sent is not None and sent.message is not None:
            self.step(op(Kind.GROUP_DELIVER, actor=peer, message=sent.message % 256))

    @rule(operation=operations())
    def anything(self, operation: Op) -> None:
        """Any operation, whether it makes sense or not."""
        self.step(operation)

    def teardown(self) -> None:
        """The closing part, and the judgement of the whole history."""
        if self._run is None:
            return
        # Hypothesis gave the example up half-way, or the search is being left: nothing is judged.
        given_up = isinstance(sys.exception(), StopTest | _Stop | KeyboardInterrupt)
        try:
            history = self._run.finish(closing=not given_up)
        except Exception as error:
            raise _Fault(error) from error
        if not given_up:
            self._hunt.judge(history)


def search(
    target: Target,
    *,
    examples: int,
    seed: int,
    ignore: frozenset[str] = frozenset(),
    deadline: float | None = None,
    on_history: Callable[[History], object] = lambda history: None,
    enough: Callable[[], bool] = lambda: False,
) -> SearchResult:
    """Search for violations of every invariant that is not ignored.

    A round runs `examples` worlds, or ends with a finding and its shrinking; the last round finds nothing new.
    `deadline` is a time of `time.monotonic()`. The same seed gives the same search where the target's outcomes are the
    same; `on_history` sees every history, those of shrinking included, and `enough` may end the search before its
    deadline. Raises: HarnessBroken.
    """
    hunt = _Hunt(target, ignore, deadline, on_history, enough)
    try:
        number = 0
        while _round(hunt, examples, seed * 1_000 + number):
            number += 1
        hunt.check_time()
        for id_ in sorted(hunt.result.found):
            hunt.polish(id_)
    except _Deadline:
        hunt.result.complete = False
    except _Fault as fault:
        raise fault.error from None
    return hunt.result


def _round(hunt: _Hunt, examples: int, seed: int) -> bool:
    """One run of Hypothesis; says whether it found something new."""
    hunt.prey = None
    hunt.runs_left = SHRINK_RUNS

    @seeded(seed)
    class World(SessionMachine):
        def __init__(self) -> None:
            super().__init__(hunt)

    # A foreign target that behaves now so, now otherwise is flaky; the trace that failed is kept all the same.
    with suppress(Violated, _Enough, Flaky), _no_numbers_from_source():
        run_state_machine_as_test(World, settings=_settings(examples))
    return hunt.prey is not None


def _no_numbers_from_source() -> AbstractContextManager[object]:
    """Let Hypothesis draw by its seed alone.

    One draw in twenty it takes from numbers that it reads in the source of whatever is imported, its own choice of
    which rules to leave out included: the same seed would give other traces after any change of any code, and in an
    installed package. There is no setting for that; a release that has it under another name is noticed by
    tests/gate/test_search_repeats.py.
    """
    if not hasattr(HypothesisProvider, "_maybe_draw_constant"):
        return nullcontext()
    return mock.patch.object(HypothesisProvider, "_maybe_draw_constant", return_value=None)


def _settings(examples: int) -> settings:
    """Quiet, without a database and without clocks: the seed alone decides."""
    return settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
        report_multiple_bugs=False,
        print_blob=False,
        database=None,
        deadline=None,
    )


__all__ = ["SearchResult", "SessionMachine", "search"]
