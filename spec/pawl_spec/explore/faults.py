"""Faults in the model's rules, planted to see that the search notices them.

Each breaks one rule while a search runs, and names the scope in which it shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from pawl_spec.history import Event
from pawl_spec.model import Expect, groups, knowledge, ratchet, receiving, sending, world
from pawl_spec.model.state import (
    Chain,
    Distribution,
    GroupMessage,
    Membership,
    Message,
    Outer,
    Party,
    SenderChain,
    Session,
)
from pawl_spec.model.terms import Term, Terms


@dataclass(frozen=True, slots=True)
class Fault:
    """A rule of the model, broken."""

    name: str
    about: str
    scope: str
    """Where it shows."""
    breaks: str
    """The property that notices it first."""
    owner: Any
    attribute: str
    make: Callable[[Any], Any]
    """Makes the broken rule of the right one."""

    @contextmanager
    def planted(self) -> Iterator[None]:
        """While the block runs, the rule is broken."""
        right = getattr(self.owner, self.attribute)
        setattr(self.owner, self.attribute, self.make(right))
        try:
            yield
        finally:
            setattr(self.owner, self.attribute, right)


Advance = Callable[..., Chain]
DhStep = Callable[..., tuple[Session, Chain]]


def _keeps_used_key(right: Advance) -> Advance:
    def advance(self: ratchet.Ratchet, chain: Chain, counter: int, *, fill: bool = False) -> Chain:
        moved = right(self, chain, counter, fill=fill)
        return moved._replace(kept=moved.kept | {counter}) if counter < chain.next else moved

    return advance


def _stands_still(right: Advance) -> Advance:
    def advance(self: ratchet.Ratchet, chain: Chain, counter: int, *, fill: bool = False) -> Chain:
        moved = right(self, chain, counter, fill=fill)
        return moved._replace(next=chain.next) if counter == chain.next else moved

    return advance


def _keeps_nothing(right: Advance) -> Advance:
    def advance(self: ratchet.Ratchet, chain: Chain, counter: int, *, fill: bool = False) -> Chain:
        moved = right(self, chain, counter, fill=fill)
        return moved._replace(kept=chain.kept) if counter > chain.next else moved

    return advance


def _keeps_one_chain(right: DhStep) -> DhStep:
    def dh_step(self: ratchet.Ratchet, session: Session, message: Message, step: int) -> tuple[Session, Chain]:
        stepped, chain = right(self, session, message, step)
        return stepped._replace(receiving=stepped.receiving[:1]), chain

    return dh_step


class _Stale:
    """Terms in which no new key is made: the old one is given out again."""

    def __init__(self, terms: Terms, old: Term) -> None:
        self._terms, self._old = terms, old
        self.agree = terms.agree

    def __call__(self, *parts: object) -> Term:
        return self._terms(*parts)

    def fresh(self, what: str) -> Term:
        del what
        return self._old


def _keeps_own_key(right: DhStep) -> DhStep:
    def dh_step(self: ratchet.Ratchet, session: Session, message: Message, step: int) -> tuple[Session, Chain]:
        stale: Any = _Stale(self.terms, session.ratchet)
        return right(replace(self, terms=stale), session, message, step)

    return dh_step


def _keeps_root(right: DhStep) -> DhStep:
    def dh_step(self: ratchet.Ratchet, session: Session, message: Message, step: int) -> tuple[Session, Chain]:
        stepped, chain = right(self, session, message, step)
        return stepped._replace(root=session.root), chain

    return dh_step


def _counts_in_vain(right: Callable[..., None]) -> Callable[..., None]:
    def replace_session(party: Party, peer: int, old: Session, new: Session, *, to_front: bool = False) -> None:
        right(party, peer, old, new._replace(counter=old.counter), to_front=to_front)

    return replace_session


def _keeps_prekey(right: Callable[..., Any]) -> Callable[..., Any]:
    def consume(of: world.World, party: Party, peer: int, outer: Outer, session: Session) -> Any:
        prekeys = dict(party.prekeys)
        out = right(of, party, peer, outer, session)
        party.prekeys = prekeys
        return out

    return consume


def _keeps_one_session(right: Callable[..., int]) -> Callable[..., int]:
    def add_session(self: world.World, party: Party, peer: int, session: Session) -> int:
        dropped = right(self, party, peer, session)
        party.sessions[peer] = party.sessions[peer][:1]
        return dropped

    return add_session


def _lets_late_ones_lead(right: Callable[..., bool]) -> Callable[..., bool]:
    del right
    return lambda of, starts_chain: True


def _moves_on_refusal(right: Callable[..., Expect]) -> Callable[..., Expect]:
    def receive(of: world.World, event: Event, message: Message) -> Expect:
        expect = right(of, event, message)
        if expect.accept is False and event.actor is not None and event.peer is not None:
            party = of.parties[event.actor]
            sessions = party.sessions.get(event.peer, ())
            party.sessions[event.peer] = tuple(
                each._replace(pending=None, counter=each.counter + 1) for each in sessions
            )
        return expect

    return receive


def _remembers_its_chain(right: Callable[..., Any]) -> Callable[..., Any]:
    def take(
        self: knowledge.Knowledge, terms: Terms, party: Party, recorded: int, group_recorded: int = 0
    ) -> knowledge.Knowledge:
        taken: knowledge.Knowledge = right(self, terms, party, recorded, group_recorded)
        return replace(taken, chains=frozenset((base, 0) for base, _ in taken.chains))

    return take


def _keeps_used_group_key(right: Callable[..., SenderChain]) -> Callable[..., SenderChain]:
    def stepped(of: world.World, chain: SenderChain, message: GroupMessage) -> SenderChain:
        moved = right(of, chain, message)
        return moved._replace(kept=moved.kept | {message.iteration})

    return stepped


def _rewinds(right: Callable[..., Membership]) -> Callable[..., Membership]:
    def joined(of: world.World, held: Membership, given: Distribution, pinned: Term | None) -> Membership:
        chains = tuple(each for each in held.chains if each.name != given.chain.name)
        return right(of, replace(held, chains=chains), given, pinned)

    return joined


def _turns_in_vain(right: Callable[..., SenderChain]) -> Callable[..., SenderChain]:
    def new_chain(of: world.World) -> SenderChain:
        return right(of)._replace(base=of.terms("sender-chain", "ever the same"))

    return new_chain


def _reads_the_past(right: Callable[..., Any]) -> Callable[..., Any]:
    def take(
        self: knowledge.Knowledge, terms: Terms, party: Party, recorded: int, group_recorded: int = 0
    ) -> knowledge.Knowledge:
        taken: knowledge.Knowledge = right(self, terms, party, recorded, group_recorded)
        own = frozenset((chain.base, 0) for chain in party.own_chains.values())
        return replace(taken, chains=taken.chains | own)

    return take


FAULTS: Final = {
    fault.name: fault
    for fault in (
        Fault(
            "used-key-kept",
            "the key of a late message is kept after its use",
            *("smoke", "used-keys-are-gone", ratchet.Ratchet, "_advance", _keeps_used_key),
        ),
        Fault(
            "chain-stands-still",
            "a receiving chain is not advanced by the message that is due",
            *("smoke", "used-keys-are-gone", ratchet.Ratchet, "_advance", _stands_still),
        ),
        Fault(
            "skipped-keys-lost",
            "no keys are kept for messages that were overtaken",
            *("smoke", "nothing-is-lost", ratchet.Ratchet, "_advance", _keeps_nothing),
        ),
        Fault(
            "former-chains-lost",
            "a new ratchet key drops the chains before it",
            *("order", "nothing-is-lost", ratchet.Ratchet, "_dh_step", _keeps_one_chain),
        ),
        Fault(
            "ratchet-key-kept",
            "whoever hears a new ratchet key answers under the old one",
            *("smoke", "both-ends-agree", ratchet.Ratchet, "_dh_step", _keeps_own_key),
        ),
        Fault(
            "root-stands-still",
            "the root key is not replaced in a ratchet step",
            *("smoke", "nothing-is-lost", ratchet.Ratchet, "_dh_step", _keeps_root),
        ),
        Fault(
            "counter-stands-still",
            "the sending counter is not advanced",
            *("smoke", "used-keys-are-gone", sending, "replace_session", _counts_in_vain),
        ),
        Fault(
            "prekey-kept",
            "a one-time prekey stays after its use",
            *("smoke", "prekeys-serve-once", receiving, "_consume", _keeps_prekey),
        ),
        Fault(
            "refusal-moves",
            "a refused message advances the sending counter",
            *("smoke", "refusals-change-nothing", receiving, "_receive", _moves_on_refusal),
        ),
        Fault(
            "former-sessions-lost",
            "a new session drops the one before it",
            *("simultaneous", "nothing-is-lost", world.World, "add_session", _keeps_one_session),
        ),
        Fault(
            "late-message-leads",
            "a late message makes its session the current one",
            *("rekey", "late-messages-change-no-session", receiving, "_promotes", _lets_late_ones_lead),
        ),
        Fault(
            "chain-kept-from-the-start",
            "a chain's first key is kept, and taken with the state",
            *("compromise", "what-was-read-stays-secret", knowledge.Knowledge, "take", _remembers_its_chain),
        ),
        Fault(
            "group-used-key-kept",
            "the key of a message of a group is kept after its use",
            *("group", "used-keys-of-groups-are-gone", groups, "_stepped", _keeps_used_group_key),
        ),
        Fault(
            "group-chain-rewound",
            "a distribution of a chain that is held takes it back",
            *("group", "used-keys-of-groups-are-gone", groups, "_joined", _rewinds),
        ),
        Fault(
            "group-rotation-in-vain",
            "a rotation goes on with the key of the chain before",
            *("group", "used-keys-of-groups-are-gone", groups, "new_chain", _turns_in_vain),
        ),
        Fault(
            "group-state-reads-the-past",
            "a chain of one's own is kept from its start, and taken with the state",
            *("group-taken", "a-state-reads-its-chains-to-the-end", knowledge.Knowledge, "take", _reads_the_past),
        ),
    )
}
"""By name."""
