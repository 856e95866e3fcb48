"""The registry: threats, and the invariants that answer them.

An invariant is a pure generator over a `Story`: it yields None for each place where it was checked and held, and a
`Violation` where it did not. A predicate that yields nothing was not reached, which is never counted as holding.
Ids are never renumbered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from pawl_spec.history import Event, Hello, History, Observe, Outcome
from pawl_spec.model import Expect, expectations
from pawl_spec.pool.life import Life

THREATS = {
    "T-IDENTITY": "Identity substitution: another identity key is put in the place of a peer's.",
    "T-REPLAY": "Replay and counter reuse: messages are repeated, reordered or sent out of the window.",
    "T-KEYS": "Key retention: a secret outlives its use, so that a later compromise reads what came before.",
    "T-AMPLIFY": "Amplification: a small message causes much work or much memory.",
    "T-DESYNC": "State desynchronisation and partial writes: a crash leaves half a step behind.",
    "T-WORKER": "Worker abuse: a flood, a crash or a hang of the asynchronous interface hurts others.",
    "T-PARSER": "Parser abuse: malformed bytes crash, confuse or exhaust the receiver.",
    "T-FORGERY": "Forgery: bytes that a peer never sent are taken for its message.",
}


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant does not hold at `event`; `what` says how, for people."""

    event: Event
    what: str


Finding = Violation | None
"""What a predicate yields: None where it was checked and held."""


Stakes = list[tuple[Event, Expect, bool]]


class Story:
    """A history with what the model expects of each event, worked out once for all predicates."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.events = history.events

    @cached_property
    def expected(self) -> list[tuple[Event, Expect]]:
        """Events that the model has something to say about, with what it says."""
        pairs = zip(self.events, expectations(self.history), strict=True)
        return [(event, expect) for event, expect in pairs if expect is not None]

    @cached_property
    def life(self) -> Life | None:
        """The life of a worker pool, where the history is of one."""
        pool = self.history.pool
        return None if pool is None or not pool.happened else Life(pool)

    @cached_property
    def at_stake(self) -> Mapping[str, Stakes]:
        """The same, by the rule that each event puts at stake."""
        return stakes(self.expected)


def stakes(expected: Iterable[tuple[Event, Expect]]) -> dict[str, Stakes]:
    """By rule: the events that put it at stake, what was expected, and whether a wrong reason to refuse is excused."""
    found: dict[str, Stakes] = {}
    changed: set[int | None] = set()
    for event, expect in expected:
        rule = expect.unless if expect.accept else expect.rule
        if event.outcome is Outcome.REFUSED and expect.accept and event.code == "untrusted-identity":
            # Whoever is refused for its identity although that identity is right was locked out.
            rule = "IDC-06"
        # An operation that a crash ended shows neither.
        if event.outcome is not Outcome.CRASHED:
            # Why a party refuses says nothing once a refusal has changed its state: that is CTR-05's finding.
            excused = event.outcome is Outcome.REFUSED and not expect.accept and event.actor in changed
            found.setdefault(rule, []).append((event, expect, excused))
        if event.outcome is Outcome.REFUSED and event.changed:
            changed.add(event.actor)
    return found


Predicate = Callable[[Story], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Invariant:
    """One thing that must hold, and how it is judged."""

    id: str
    threat: str
    claim: str
    """One sentence."""
    source: str
    """A section of a public specification, or the threat model's line."""
    level: Observe = Observe.WIRE
    """The observation level that the predicate needs."""
    refusals: tuple[str, ...] = ()
    """The refusal codes with which an implementation keeps it."""
    not_covered: str = ""
    needs: frozenset[str] = frozenset()
    """Capabilities that a target must declare for it to be judged."""
    in_groups: bool = False
    """Whether it is judged on what happens in groups too, so that a target without sessions can be held to it."""
    predicate: Predicate | None = None
    """None: not yet judged."""
    pending: str = ""
    """Why it is not yet judged."""

    def lacking(self, hello: Hello) -> list[str]:
        """What a target would have to declare to be judged on it, and does not."""
        return hello.lacks(self.needs, anywhere=self.in_groups)

    @property
    def of_pools(self) -> bool:
        """It is judged on the lives of worker pools: no trace shows it."""
        return "workers" in self.needs


REGISTRY: dict[str, Invariant] = {}


def _register(entry: Invariant) -> None:
    if entry.id in REGISTRY:
        raise ValueError(f"{entry.id} is registered twice")
    if entry.threat not in THREATS:
        raise ValueError(f"{entry.id}: no threat {entry.threat}")
    REGISTRY[entry.id] = entry


def invariant(
    *,
    id: str,
    threat: str,
    source: str,
    level: Observe = Observe.WIRE,
    refusals: tuple[str, ...] = (),
    not_covered: str = "",
    needs: tuple[str, ...] = (),
    in_groups: bool = False,
) -> Callable[[Predicate], Predicate]:
    """Register a predicate; the first paragraph of its docstring is the claim."""

    def decorate(predicate: Predicate) -> Predicate:
        claim = " ".join((predicate.__doc__ or "").split("\n\n")[0].split())
        entry = Invariant(
            id, threat, claim, source, level, refusals, not_covered, frozenset(needs), in_groups, predicate
        )
        _register(entry)
        return predicate

    return decorate


def not_yet_judged(id: str, threat: str, claim: str, *, why: str, source: str = "invariant catalogue") -> None:
    """Register an invariant that nothing judges yet. It is listed, and never counted as holding."""
    _register(Invariant(id, threat, claim, source, pending=why))
