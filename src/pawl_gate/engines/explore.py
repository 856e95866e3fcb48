"""Exhaustive small scope: the explored states of the model, reached on a target too.

The search itself (`pawl_spec.explore`) knows no implementation. It leaves a tree: each state with the operation that
first led to it. Here the tree is walked on a target, through the gate's runner, while the model takes the same steps
beside it. After each operation both must agree: on how it ended, on what went over the wire, and on what the target
lets one see of the state. A state counts as replayed when an agreed step has led to it.

Where a target can fork its world, each edge of the tree is carried out once. Where it cannot, each leaf is reached from
the start; the states on its way are reached with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from pawl_gate.runner import Run
from pawl_gate.targets.base import Target
from pawl_gate.targets.inprocess import InProcessTarget
from pawl_spec.explore import Explored, Ideal
from pawl_spec.history import Event, History, Outcome
from pawl_spec.model import Expect
from pawl_spec.model.state import Party
from pawl_spec.registry import Violation
from pawl_spec.trace import Kind, Op, Trace, op

Names = dict[tuple[str, object], object]
"""What the model calls a key or an id, and what the target calls it; and the other way round."""


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
    """Operations carried out on the target."""
    disagreement: Disagreement | None = None
    """The first one. What lies behind it in the tree was not reached; the rest of the tree was."""
    disagreements: int = 0


def traces(explored: Explored) -> Iterator[Trace]:
    """A trace to each leaf of the tree: together they pass through every state."""
    inner = set(explored.parents)
    for state in range(explored.states):
        if state not in inner:
            yield Trace(explored.trace(state))


def replay(target: Target, explored: Explored, *, check: Callable[[], object] = lambda: None) -> Replayed:
    """Reach every explored state on a target that runs in this process. `check` may raise to end the walk."""
    out = Replayed()
    children: list[list[int]] = [[] for _ in range(explored.states)]
    for state, parent in enumerate(explored.parents):
        if parent >= 0:
            children[parent].append(state)
    first = Walker(Run(target, check=check), Ideal(target.hello))
    if any(_step(first, each, out) for each in explored.scope.first):
        return out
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
        operation = explored.ops[state]
        assert operation is not None  # noqa: S101 - only the first state has none
        if _step(walker, operation, out):
            continue
        out.states += 1
        left[state] = len(children[state])
        waiting += [(child, walker) for child in reversed(children[state])]
    return out


def _step(walker: Walker, operation: Op, out: Replayed) -> bool:
    """Carry out one operation, and the attacker's search after it; whether both disagree on how that went."""
    searches = walker.ideal.taken is not None and operation.kind is not Kind.COMPROMISE
    for each in (operation, op(Kind.ATTACK)) if searches else (operation,):
        out.operations += 1
        wrong = walker.step(each)
        if wrong is not None:
            out.disagreements += 1
            if out.disagreement is None:
                history = walker.run.history
                trace = replace(history.trace, ops=tuple(event.op for event in history.events))
                shown = replace(history, trace=trace, events=list(history.events))
                out.disagreement = Disagreement(shown, Violation(history.events[-1], wrong))
            return True
    return False


@dataclass(slots=True)
class Walker:
    """A target and the model, side by side."""

    run: Run
    ideal: Ideal
    names: Names = field(default_factory=dict)
    handed_out: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """Ids, as the target numbers them, of the one-time prekeys in each party's bundles."""

    def fork(self) -> Walker:
        """Both, once more. Needs a target in this process."""
        return Walker(self.run.fork(), self.ideal.fork(), dict(self.names), dict(self.handed_out))

    def step(self, operation: Op) -> str | None:
        """Let both carry out an operation; what they disagree on, or None."""
        due, expect = self.ideal.step(operation)
        event = self.run.step(operation)
        if due.prekey_id is not None and event.prekey_id is not None and event.peer is not None:
            self.handed_out[event.peer] = (*self.handed_out.get(event.peer, ()), event.prekey_id)
            if not self._same(f"prekey {event.peer}", due.prekey_id, event.prekey_id):
                return f"one-time prekey {event.prekey_id} was handed out before"
        return _ended_otherwise(event, due, expect) or self._says_otherwise(event, due) or self._keeps_otherwise(event)

    def _same(self, what: str, model: object, target: object) -> bool:
        """Whether two names stand for each other. Names that were not seen before do so from now on."""
        ours, theirs = (f"model's {what}", model), (f"target's {what}", target)
        return self.names.setdefault(ours, target) == target and self.names.setdefault(theirs, model) == model

    def _says_otherwise(self, event: Event, due: Event) -> str | None:
        """What the header of a sent message says that it must not, or does not say."""
        seen, meant = event.header, due.header
        if seen is None or meant is None:
            return None if seen is meant else "one of target and model sent a message, the other did not"
        for name in ("kind", "version", "counter", "previous_counter"):
            has, must = getattr(seen, name), getattr(meant, name)
            if has != must:
                return f"the message's {name.replace('_', ' ')} is {has}, the model says {must}"
        if event.canonical is not True:
            return "the message is not in canonical form"
        if not self._same("ratchet key", meant.ratchet_key, seen.ratchet_key):
            return "the message's ratchet key is not the one that the model says"
        if not self._same("base key", meant.base_key, seen.base_key):
            return "the message's base key is not the one that the model says"
        if not self._same(f"prekey {event.peer}", meant.prekey_id, seen.prekey_id):
            return f"the message names one-time prekey {seen.prekey_id}, and the model another"
        return None

    def _keeps_otherwise(self, event: Event) -> str | None:
        """What the party that acted keeps, in numbers, that the model does not, or the other way round."""
        if event.after is None or event.actor is None:
            return None
        party, after = self.ideal.model.parties[event.actor], event.after
        for name, must in _sizes(party).items():
            if getattr(after, name) != must:
                return f"{name.replace('_', ' ')}: {getattr(after, name)}, the model says {must}"
        due = {self.names.get((f"model's prekey {event.actor}", mine)) for mine in party.prekeys}
        held = set(after.prekeys or ()) & set(self.handed_out.get(event.actor, ()))
        if held != due:
            return f"one-time prekeys {sorted(held)} of the bundles are held, the model says {sorted(map(str, due))}"
        refused = event.outcome is Outcome.REFUSED and event.before is not None
        return "refused, yet the state changed" if refused and event.before.digest != after.digest else None  # type: ignore[union-attr]


def _ended_otherwise(event: Event, due: Event, expect: Expect | None) -> str | None:
    """How an operation ended, where the model says that it ends otherwise."""
    if event.outcome is not due.outcome:
        said = f" ({event.code})" if event.code else f" ({event.text})" if event.text else ""
        return f"{event.outcome.value}{said}, the model says {due.outcome.value}"
    if event.outcome is Outcome.REFUSED and expect is not None and event.code not in expect.codes:
        return f"refused as {event.code}, the model says {' or '.join(sorted(expect.codes))}"
    if event.message != due.message:
        return f"m{event.message}, the model says m{due.message}"
    if event.plaintext != due.plaintext:
        return f"gave m{event.plaintext}, the model says m{due.plaintext}"
    if event.op.kind in (Kind.COMPROMISE, Kind.ATTACK) and event.reads != due.reads:
        return f"the attacker reads {list(event.reads or ())}, the model says {list(due.reads or ())}"
    return None


def _sizes(party: Party) -> dict[str, int]:
    """How much a party keeps, counted as an `Observation` counts it."""
    held = list(party.sessions.values())
    sessions = [session for each in held for session in each]
    kept = [[len(chain.kept) for chain in session.receiving] for session in sessions]
    return {
        "sessions": max(map(len, held), default=1) - 1,
        "chains": max((len(session.receiving) for session in sessions), default=0),
        "kept_chain": max((most for each in kept for most in each), default=0),
        "kept_session": max(map(sum, kept), default=0),
    }


def can_fork(target: Target) -> bool:
    """Whether the worlds of a target can be forked."""
    return isinstance(target, InProcessTarget)
