"""The ideal target: the model itself, carrying out operations.

Where a target is followed by the model, here the model leads: each operation ends as the model says that it must. The
world holds the parties, the network and what became of each message, all of it in terms, and can be copied. Network and
handles work as in the gate's runner, so that a trace means the same in both.
"""

from __future__ import annotations

from dataclasses import replace

from pawl_spec.history import Event, Grouped, GroupHeader, Header, Hello, Observe, Outcome
from pawl_spec.model import Expect, Model
from pawl_spec.model.ratchet import Ratchet
from pawl_spec.model.state import Party
from pawl_spec.model.terms import Term
from pawl_spec.trace import PARTIES, Kind, Op

HELLO = Hello(name="the model", version="1", level=Observe.WIRE, capabilities=frozenset({"restart", "approve"}))
"""Who carries the operations out. Its limits are those of the catalogue."""


IN_GROUPS = frozenset({Kind.GROUP_CREATE, Kind.GROUP_JOIN, Kind.GROUP_SEND, Kind.GROUP_DELIVER, Kind.GROUP_ROTATE})
"""Operations of members of groups that happen here."""


class Ideal:
    """A world in which everything happens as the model says."""

    __slots__ = (
        "flight",
        "given_first",
        "group_read",
        "group_taken",
        "made",
        "model",
        "own",
        "prekeys_of",
        "readings",
        "routes",
        "sent",
        "taken",
    )

    def __init__(self, hello: Hello = HELLO) -> None:
        self.model = Model(hello, [False] * len(PARTIES))
        self.flight: tuple[int, ...] = ()
        """Handles of the messages on their way, in the order in which the network would deliver them."""
        self.routes: tuple[tuple[int, int], ...] = ()
        """Sender and receiver of each message."""
        self.sent: tuple[tuple[int, int], ...] = ()
        """Each message's name that does not depend on what others sent meanwhile: sender, and its how-manieth."""
        self.made = 0
        """Operations carried out."""
        self.prekeys_of: tuple[int, ...] = (0,) * len(PARTIES)
        """One-time prekeys that each party has handed out."""
        self.taken: tuple[int, frozenset[int]] | None = None
        """The party whose state was taken, and the messages delivered until then."""
        self.given_first: frozenset[tuple[int, Term, int]] = frozenset()
        """Who was given which chain, and at which iteration the first time."""
        self.group_read: frozenset[tuple[int, int]] = frozenset()
        """Who read which message of a group."""
        self.group_taken: tuple[frozenset[int], frozenset[tuple[Term, int]]] | None = None
        """Of the state that was taken: messages of groups that its party had read, and what it could read on: chains,
        each from an iteration on."""
        self.own: frozenset[int] = frozenset(range(len(PARTIES)))
        """The parties that no copy of the world shares."""
        self.readings: dict[object, object] = {}
        """What a reader made of the parties as they are; empty again when one acts."""

    def fork(self) -> Ideal:
        """An independent copy. A party is copied when it acts."""
        other = Ideal.__new__(Ideal)
        model = other.model = Model.__new__(Model)
        model.__dict__.update(self.model.__dict__)
        model.terms = self.model.terms.fork()
        model.ratchet = Ratchet(model.terms, model.limits, model.profile)
        model.parties = list(model.parties)
        self.own = other.own = frozenset()
        model.messages = list(model.messages)
        model.delivered = set(model.delivered)
        other.flight, other.routes, other.sent, other.taken = self.flight, self.routes, self.sent, self.taken
        other.made, other.prekeys_of, other.readings = self.made, self.prekeys_of, self.readings
        model.distributions, model.group_messages = list(model.distributions), list(model.group_messages)
        model.given_again = set(model.given_again)
        other.given_first, other.group_read, other.group_taken = self.given_first, self.group_read, self.group_taken
        return other

    def step(self, op: Op) -> tuple[Event, Expect | None]:
        """Carry out one operation; what happened, and what the model said of it."""
        event = Event.begun(self.made, op, Outcome.DONE)
        self.made += 1
        kind = op.kind
        if kind is Kind.DELIVER and self.flight:
            handle = self._take(op)
            return self._hand_over(event, handle)
        if kind is Kind.SEND:
            return self._send(event)
        if kind is Kind.DROP and self.flight:
            return event.but(message=self._take(op)), None
        if kind is Kind.DUPLICATE and self.flight:
            handle = self.flight[op["index"] % len(self.flight)]
            self.flight = (*self.flight, handle)
            return event.but(message=handle), None
        if kind is Kind.ESTABLISH:
            return self._establish(event)
        if kind is Kind.REPLAY and self.routes:
            return self._hand_over(event, op["message"] % len(self.routes))
        if kind is Kind.RESTART:
            return self._as_expected(event.but(actor=op["actor"]))
        if kind is Kind.COMPROMISE:
            self.taken = op["actor"], frozenset(self.model.delivered)
            self.group_taken = self._held_in_groups(op["actor"])
            return self._searched(event.but(actor=op["actor"]))
        if kind is Kind.ATTACK and self.taken is not None:
            return self._searched(event)
        if kind in IN_GROUPS:
            return self._in_group(event)
        return event.but(outcome=Outcome.SKIPPED), None

    def _in_group(self, event: Event) -> tuple[Event, Expect | None]:
        """An operation of a member of a group, as the gate's runner carries it out."""
        op, model = event.op, self.model
        actor = op["actor"]
        if op.kind in (Kind.GROUP_CREATE, Kind.GROUP_SEND, Kind.GROUP_ROTATE):
            group = op["group"]
            event, expect = self._as_expected(event.but(actor=actor, group=Grouped(group)))
            if event.outcome is not Outcome.DONE or expect is None:
                return event, expect
            if op.kind is Kind.GROUP_CREATE:
                made = Grouped(group, distribution=len(model.distributions) - 1)
                return event.but(group=made, canonical=True), expect
            if op.kind is Kind.GROUP_SEND:
                seen = GroupHeader(0x33, f"{group}", expect.chain or 0, expect.iteration or 0)
                sent = Grouped(group, message=len(model.group_messages) - 1, header=seen)
                return event.but(group=sent, canonical=True), expect
            return event, expect
        known = model.distributions if op.kind is Kind.GROUP_JOIN else model.group_messages
        if not known:
            return event.but(outcome=Outcome.SKIPPED), None
        handle = op["distribution" if op.kind is Kind.GROUP_JOIN else "message"] % len(known)
        place = known[handle]
        if place.sender == actor:
            return event.but(outcome=Outcome.SKIPPED), None
        if op.kind is Kind.GROUP_JOIN:
            grouped = Grouped(place.group, distribution=handle)
        else:
            grouped = Grouped(place.group, message=handle)
        event, expect = self._as_expected(event.but(actor=actor, peer=place.sender, group=grouped))
        if event.outcome is not Outcome.DONE or expect is None:
            return event, expect
        if op.kind is Kind.GROUP_JOIN:
            chain = model.distributions[handle].chain
            if not any(each[:2] == (actor, chain.base) for each in self.given_first):
                self.given_first |= {(actor, chain.base, chain.next)}
            return event, expect
        self.group_read |= {(actor, handle)}
        return event.but(group=replace(grouped, plaintext=expect.plaintext)), expect

    def _held_in_groups(self, party: int) -> tuple[frozenset[int], frozenset[tuple[Term, int]]]:
        """What a party has read in groups, and the chains on which it reads or sends on."""
        mine = frozenset(handle for reader, handle in self.group_read if reader == party)
        given = {(base, first) for reader, base, first in self.given_first if reader == party}
        own = {(chain.base, chain.next) for chain in self.model.parties[party].own_chains.values()}
        return mine, frozenset(given | own)

    def _take(self, op: Op) -> int:
        """Take a message off the network."""
        at = op["index"] % len(self.flight)
        handle = self.flight[at]
        self.flight = self.flight[:at] + self.flight[at + 1 :]
        return handle

    def _establish(self, event: Event) -> tuple[Event, Expect | None]:
        actor, peer = event.op["actor"], event.op["peer"]
        prekey_id = None
        if event.op["one_time"]:
            made = list(self.prekeys_of)
            made[peer] += 1
            prekey_id = made[peer]
            self.prekeys_of = tuple(made)
        return self._as_expected(event.but(actor=actor, peer=peer, prekey_id=prekey_id))

    def _send(self, event: Event) -> tuple[Event, Expect | None]:
        actor, peer = event.op["actor"], event.op["peer"]
        handle = len(self.routes)
        event, expect = self._as_expected(event.but(actor=actor, peer=peer, message=handle))
        if event.outcome is not Outcome.DONE or expect is None or expect.header is None:
            return event.but(message=None), expect
        count = sum(sender == actor for sender, _ in self.routes)
        self.routes = (*self.routes, (actor, peer))
        self.sent = (*self.sent, (actor, count))
        self.flight = (*self.flight, handle)
        due = expect.header
        base = f"{due.session}" if due.kind == "prekey" else None
        seen = Header(due.kind, 0x33, f"{due.chain}", due.counter, due.previous_counter, base, due.prekey_id)
        return event.but(header=seen, canonical=True), expect

    def _hand_over(self, event: Event, handle: int) -> tuple[Event, Expect | None]:
        sender, receiver = self.routes[handle]
        event, expect = self._as_expected(event.but(actor=receiver, peer=sender, message=handle))
        if event.outcome is Outcome.DONE and expect is not None:
            event = event.but(plaintext=expect.plaintext)
        return event, expect

    def _searched(self, event: Event) -> tuple[Event, Expect | None]:
        """The attacker reads what the model says that it can."""
        event, expect = self._as_expected(event)
        reads = None if expect is None or expect.reads is None else tuple(sorted(expect.reads))
        if self.model.group_messages and expect is not None and expect.group_reads is not None:
            event = event.but(group=Grouped(reads=tuple(sorted(expect.group_reads))))
        return event.but(reads=reads), expect

    def _as_expected(self, event: Event) -> tuple[Event, Expect | None]:
        """Let the operation end as the model says: it is told that the operation was done, and may object."""
        model = self.model
        self.readings = {}
        for party in (event.actor, event.peer):
            if party is not None and party not in self.own:
                model.parties[party] = copied(model.parties[party])
                self.own |= {party}
        expect = model.feed(event)
        if not model.diverged:
            return event, expect
        model.diverged = False
        codes = frozenset() if expect is None else expect.codes
        return event.but(outcome=Outcome.REFUSED, code=min(codes, default="unknown")), expect


def copied(party: Party) -> Party:
    """A copy of a party, field by field; what its collections hold is immutable."""
    return Party(
        party.identity,
        list(party.signed_prekeys),
        party.strict,
        dict(party.pins),
        dict(party.sessions),
        dict(party.prekeys),
        set(party.seen),
        set(party.asks),
        dict(party.armed),
        party.compatible,
        dict(party.own_chains),
        dict(party.memberships),
        dict(party.members),
        dict(party.gave),
    )
