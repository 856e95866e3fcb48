"""The world of a history: its parties and messages in terms, and what several operations share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pawl_spec.history import Event, Hello, Limits, Outcome, Profile
from pawl_spec.model.ratchet import Ratchet
from pawl_spec.model.state import Message, Party, Session
from pawl_spec.model.terms import Refusal, Term, Terms


class World:
    """What is known of all parties, under the target's declared limits."""

    def __init__(self, hello: Hello, strict: Iterable[bool]) -> None:
        self.terms = Terms()
        self.limits: Limits = hello.limits
        self.profile: Profile = hello.profile
        self.ratchet = Ratchet(self.terms, self.limits, self.profile)
        self.parties = [self.new_party(is_strict) for is_strict in strict]
        self.messages: list[Message] = []
        self.delivered: set[int] = set()
        """Handles of the messages whose plaintext was handed out."""
        self.attacker: Term = self.terms.fresh("attacker")
        self.diverged = False
        """The target did what the model forbids: what comes after has no meaning."""

    def new_party(self, strict: bool) -> Party:
        """A party with a new store."""
        return Party(self.terms.fresh("identity"), self.terms.fresh("signed-prekey"), strict)

    def identity_reasons(self, actor: Party, peer: int, identity: Term) -> list[Refusal]:
        """Why `actor` may not take `identity` for that of `peer`."""
        pinned = actor.pins.get(peer)
        if pinned is None:
            return [Refusal("untrusted-identity", "IDC-02")] if actor.strict else []
        return [] if pinned == identity else [Refusal("untrusted-identity", "IDC-01")]

    def usable(self, party: Party, peer: int) -> list[Session]:
        """Sessions under the pinned identity: those under a replaced one are no candidates (IDC-08)."""
        pinned = party.pins.get(peer)
        return [session for session in party.sessions.get(peer, ()) if session.remote == pinned]

    def add_session(self, party: Party, peer: int, session: Session) -> None:
        """The new session is the current one; the former is archived, the oldest archived one is dropped."""
        kept = self.limits.archived_sessions
        sessions = (session, *party.sessions.get(peer, ()))
        party.sessions[peer] = sessions if kept is None else sessions[: kept + 1]

    def agreement(self, one: Term, two: Term, three: Term, four: Term | None) -> Term:
        """The shared secret of X3DH. Source: X3DH, section 3.3."""
        return self.terms("x3dh", one, two, three, four)

    def spliced(self, m: Message, how: int) -> Message:
        """`m`, or another message to take a part from, if that has another ratchet key."""
        other = self.messages[how % len(self.messages)]
        return replace(m, ratchet=self.terms.fresh("junk")) if other.ratchet == m.ratchet else other


def replace_session(party: Party, peer: int, old: Session, new: Session, *, to_front: bool = False) -> None:
    """Put `new` in the place of `old`, or before all others."""
    sessions = [new if session is old else session for session in party.sessions[peer]]
    if to_front:
        sessions.remove(new)
        sessions.insert(0, new)
    party.sessions[peer] = tuple(sessions)


def took_effect(event: Event) -> bool:
    """Whether the operation's change of state is there: it was done, or a crash came after the commit."""
    if event.outcome is Outcome.CRASHED:
        return event.before is not None and event.after is not None and event.before.digest != event.after.digest
    return event.outcome is Outcome.DONE


def ends(event: Event) -> tuple[int, int]:
    """The party that acted and its peer. Raises: ValueError for an event without them."""
    if event.actor is None or event.peer is None:
        raise ValueError(f"step {event.step}: {event.op} names no two parties")
    return event.actor, event.peer
