"""The world of a history: its parties and messages in terms, and what several operations share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from pawl_spec.history import Event, Hello, Limits, Outcome, Profile, Strike
from pawl_spec.model.knowledge import Knowledge
from pawl_spec.model.ratchet import Ratchet
from pawl_spec.model.state import Distribution, GroupMessage, Message, Party, Session, SignedPreKey
from pawl_spec.model.terms import Refusal, Term, Terms
from pawl_spec.trace import GROUPS


class World:
    """What is known of all parties, under the target's declared limits."""

    def __init__(self, hello: Hello, strict: Iterable[bool]) -> None:
        self.terms = Terms()
        self.limits: Limits = hello.limits
        self.profile: Profile = hello.profile
        self.profiles = hello.profiles
        self.ratchet = Ratchet(self.terms, self.limits, self.profile)
        self.parties = [self.new_party(is_strict) for is_strict in strict]
        self.messages: list[Message] = []
        self.earlier: set[int] = set(range(len(GROUPS))) if hello.group_layout == "earlier" else set()
        """The groups whose messages have the earlier layout, which names no group."""
        self.distributions: list[Distribution] = []
        self.group_messages: list[GroupMessage] = []
        self.given_again: set[tuple[int, int, int, tuple[Term, Term]]] = set()
        """Receiver, sender, group and name of the chains that were given while they were held."""
        self.delivered: set[int] = set()
        """Handles of the messages whose plaintext was handed out."""
        self.attacker: Term = self.terms.fresh("attacker")
        self.knowledge = Knowledge(private=frozenset({self.attacker}))
        self.now = 0
        """Seconds since the world began."""
        self.diverged = False
        """The target did what the model forbids: what comes after has no meaning."""
        self.busy_in: tuple[int, ...] = ()
        """The group in which the operation at hand is; where its party has no chain yet, none."""
        self.meanwhile: Sequence[Strike] = ()
        """What callbacks of the actor did before the operation at hand takes effect, and is not followed yet."""

    def new_party(self, strict: bool) -> Party:
        """A party with a new store."""
        return Party(self.terms.fresh("identity"), [SignedPreKey(self.terms.fresh("signed-prekey"))], strict)

    def act_as(self, party: int | None) -> None:
        """The operation at hand is this party's, and its implementation does it."""
        if self.profiles and party is not None:
            self.profile = self.profiles[party]
            self.ratchet = replace(self.ratchet, profile=self.profile)

    def decide(self, actor: Party, peer: int, identity: Term) -> tuple[str | None, list[Refusal]]:
        """The question that `actor`'s user is asked if `identity` claims to be `peer`'s, and why the answer is no."""
        pinned = actor.pins.get(peer)
        if pinned == identity:
            return None, []
        kind, rule = ("first-use", "IDC-02") if pinned is None else ("mismatch", "IDC-01")
        question = kind if kind in actor.asks else None
        answer = actor.armed.get(kind) if question else None
        unasked = pinned is None and not actor.strict
        trusted = unasked if answer is None else answer in YES[kind]
        # Only now, as the question came before what its callback did.
        self.follow_callbacks(actor, identity)
        return question, [] if trusted else [Refusal("untrusted-identity", rule)]

    def follow_callbacks(self, actor: Party, identity: Term | None = None) -> None:
        """Do what callbacks did meanwhile; `identity` is the one that a trust question was about."""
        for strike in self.meanwhile:
            self.struck(actor, strike, identity)
        self.meanwhile = ()

    def struck(self, party: Party, strike: Strike, identity: Term | None = None) -> None:
        """Do what a callback of `party` did when it called back into the library."""
        if strike.peer is None or not strike.changed:
            return
        if strike.group_sent is not None:
            # The rival of an operation in a group: the network lost it, and its iteration is used up.
            for group in self.busy_in:
                own = party.own_chains[group]
                party.own_chains[group] = own._replace(next=own.next + 1)
            return
        if strike.how == "call-trust" and identity is not None:
            self.pin(party, strike.peer, identity)
        if strike.how in ("call-encrypt", "send"):
            # The network lost it, and its counter is used up.
            for current in self.usable(party, strike.peer)[:1]:
                replace_session(party, strike.peer, current, current._replace(counter=current.counter + 1))

    def pin(self, actor: Party, peer: int, identity: Term) -> frozenset[str]:
        """Pin `identity`; what an operator is told of it."""
        former = actor.pins.get(peer)
        actor.pins[peer] = identity
        return frozenset({"identity-replaced"} if former not in (None, identity) else ())

    def usable(self, party: Party, peer: int) -> list[Session]:
        """Sessions under the pinned identity: those under a replaced one are no candidates (IDC-08)."""
        pinned = party.pins.get(peer)
        return [session for session in party.sessions.get(peer, ()) if session.remote == pinned]

    def add_session(self, party: Party, peer: int, session: Session) -> int:
        """The new session is the current one; the former is archived, the oldest archived one is dropped.

        Returns how many rows go with what is dropped: the session and its kept keys.
        """
        most = self.limits.archived_sessions
        sessions = (session, *party.sessions.get(peer, ()))
        left = sessions if most is None else sessions[: most + 1]
        party.sessions[peer] = left
        return sum(1 + sum(len(chain.kept) for chain in gone.receiving) for gone in sessions[len(left) :])

    def agreement(self, one: Term, two: Term, three: Term, four: Term | None) -> Term:
        """The shared secret of X3DH. Source: X3DH, section 3.3."""
        return self.terms("x3dh", one, two, three, four)

    def spliced(self, m: Message, how: int) -> Message:
        """`m`, or another message to take a part from, if that has another ratchet key."""
        other = self.messages[how % len(self.messages)]
        return m._replace(ratchet=self.terms.fresh("junk")) if other.ratchet == m.ratchet else other


YES = {
    "first-use": frozenset({"approve", "call-encrypt", "call-decrypt", "call-trust"}),
    "mismatch": frozenset({"replace", "call-encrypt", "call-decrypt", "call-trust"}),
}
"""Answers that let a question's identity in. Anything else is a no: a refusal, an exception, too late, or no answer."""


def replace_session(party: Party, peer: int, old: Session, new: Session, *, to_front: bool = False) -> None:
    """Put `new` in the place of `old`, or before all others."""
    held = party.sessions[peer]
    if len(held) == 1 and held[0] is old:
        party.sessions[peer] = (new,)
        return
    sessions = [new if session is old else session for session in held]
    if to_front:
        sessions.remove(new)
        sessions.insert(0, new)
    party.sessions[peer] = tuple(sessions)


def took_effect(event: Event) -> bool:
    """Whether the operation's change of state is there: it was done, or a crash came after the commit.

    Where a crash left half of a step, which ATM-01 reports, it is what was counted of sessions that tells.
    """
    if event.outcome is Outcome.CRASHED:
        return event.changed and not _without_its_session(event)
    return event.outcome is Outcome.DONE


def _without_its_session(event: Event) -> bool:
    """Whether a crash left half of a step, the other half than the session, as far as can be seen."""
    before, after = event.before, event.after
    if before is None or after is None or event.complete in (None, after.digest) or after.chains is None:
        return False
    # A pin that is stored by a call of its own, say.
    return all(getattr(before, name) == getattr(after, name) for name in COUNTED)


COUNTED: Final = ("sessions", "chains", "kept_chain", "kept_session", "prekeys", "group_chains", "group_kept")
"""What is counted of an observation."""


def ends(event: Event) -> tuple[int, int]:
    """The party that acted and its peer. Raises: ValueError for an event without them."""
    if event.actor is None or event.peer is None:
        raise ValueError(f"step {event.step}: {event.op} names no two parties")
    return event.actor, event.peer
