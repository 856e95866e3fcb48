"""Canonical states: two states that differ only in names are one.

A state is read in a fixed order. Each fresh key gets the number of its first appearance; each derived term is written
as what it was derived from, so that equal structure is equal text, whatever the terms were numbered. Messages are named
by their sender and its count, and what is on its way is a bag, since the network may deliver in any order. Where the
parties of a scope may be exchanged for each other, the state is read in each order of them, and the least name counts.

The two keys in a Diffie-Hellman term have no order, so one of them must have its number before: the keys that parties
publish or answer under are read first, and of a derivation its last part. Not reduced: keys of which only the attacker
knows may be numbered either way. That costs states and never merges two that differ. Left out: the step at which a
chain or session began, on which nothing in a scope depends.
"""

from __future__ import annotations

from itertools import permutations
from typing import Final

from pawl_spec.explore.ideal import Ideal
from pawl_spec.model.state import Message, Party, SenderChain, Session
from pawl_spec.model.terms import Term

Order = tuple[int, ...]
"""The parties of a scope in some order."""

Reading = tuple[int, dict["Term | None", "int | None"], int]
"""The name of what the parties hold, the names of all terms in it, and how many fresh keys are among them."""

TERM, RAW, HANDLE = "t", "r", "h"

SHAPES: Final[dict[object, str]] = {
    "signature": "tt",
    "x3dh": "tttt",
    "root": "t*",
    "chain": "t*",
    "message-key": "tr",
    "body": "th",
    "mac": "tttrtrrt",
    "group-key": "tr",
}
"""Per constructor what its parts are: terms, plain values, or a message's handle. "t*" is as many terms as there are.
"dh" is apart, since its parts have no order."""

FRESH: Final = frozenset(
    {
        *("attacker", "base", "forged", "identity", "junk", "prekey", "ratchet", "signed-prekey"),
        *("chain-id", "sender-chain", "signing"),
    }
)
"""What makes a key that nothing else can equal. Its number is no part of a name."""


class Canonical:
    """Names for the states of one search. Names are only equal or not; they mean nothing else."""

    def __init__(self, parties: int, *, symmetric: bool, history: bool) -> None:
        """`history`: whether messages that left the network still matter, since they come back or are being read."""
        every = tuple(range(parties))
        self._orders: list[Order] = list(permutations(every)) if symmetric else [every]
        self._history = history
        self._known: dict[tuple[object, ...], int] = {}

    def _intern(self, *parts: object) -> int:
        return self._known.setdefault(parts, len(self._known))

    def key(self, world: Ideal, spent: tuple[tuple[int, ...], ...]) -> tuple[int, int]:
        """The name of a state, and how many states it stands for.

        `spent`: what is counted of the scope's bounds, as tuples by party, or of length 1 where no party is meant.
        """
        if len(self._orders) == 1:
            return self._read(world, spent, self._orders[0]), 1
        # Names are given once and for all, so the least of them is the same for each state of the class.
        names = {self._read(world, spent, order) for order in self._orders}
        return min(names), len(names)

    def _read(self, world: Ideal, spent: tuple[tuple[int, ...], ...], order: Order) -> int:
        reader = _Reader(self, world, order)
        model = world.model
        parties = reader.parties(order)
        handles = range(len(world.routes)) if self._history else set(world.flight)
        sent = reader.sent
        # In an order that does not depend on when they were sent, so that fresh keys are numbered alike.
        messages = tuple([reader.message(model.messages[h]) for h in sorted(handles, key=sent.__getitem__)])
        counts = tuple([each if len(each) == 1 else tuple([each[party] for party in order]) for each in spent])
        flight = tuple(sorted([sent[handle] for handle in world.flight]))
        delivered = frozenset([sent[handle] for handle in model.delivered])
        groups = reader.groups(order)
        return self._intern("state", parties, messages, flight, delivered, counts, groups, reader.knowledge())


class _Reader:
    """Reads one state in one order of the parties."""

    def __init__(self, names: Canonical, world: Ideal, order: Order) -> None:
        self._intern = names._intern
        self._parts = world.model.terms.all()
        self._named: dict[Term | None, int | None] = {None: None}
        self._fresh = 0
        self._world = world
        self._place = {party: at for at, party in enumerate(order)}
        self.sent = [(self._place[sender], count) for sender, count in world.sent]

    def name(self, term: Term | None) -> int | None:
        """The name of a term."""
        named = self._named
        if term in named:
            return named[term]
        if term is None or term < 0:
            return self._intern("low")
        made_of = self._parts[term]
        tag = made_of[0]
        name = self.name
        if tag == "dh":
            one, other = name(made_of[1]) or 0, name(made_of[2]) or 0  # type: ignore[arg-type]
            found = self._intern("dh", one, other) if one < other else self._intern("dh", other, one)
        elif tag in SHAPES:
            shape = SHAPES[tag]
            parts = made_of[1:]
            if shape == "t*" or shape == "t" * len(parts):
                # The last part first: it was made with the newest key, which has its number already.
                found = self._intern(tag, *map(name, reversed(parts)))  # type: ignore[arg-type]
            else:
                found = self._intern(tag, *map(self._part, shape, parts))
        elif tag not in FRESH:
            # To take it for a fresh key would merge states that differ.
            raise ValueError(f"no name is known for terms made by {tag!r}")
        else:
            found = self._intern("fresh", self._fresh)
            self._fresh += 1
        named[term] = found
        return found

    def _part(self, kind: str, part: object) -> object:
        if kind == TERM:
            return self.name(part)  # type: ignore[arg-type]
        return self.sent[part] if kind == HANDLE else part  # type: ignore[call-overload]

    def parties(self, order: Order) -> tuple[object, ...]:
        """What the parties hold. It is read first, and again only after one of them acted."""
        world = self._world
        known: Reading | None = world.readings.get(order)  # type: ignore[assignment]
        if known is None:
            for party in order:
                self.name(world.model.parties[party].identity)
                for held in world.model.parties[party].signed_prekeys:
                    self.name(held.key)
            found = tuple([self._party(world.model.parties[party]) for party in order])
            known = world.readings[order] = (self._intern("parties", found), self._named, self._fresh)
        name, named, self._fresh = known
        self._named = named.copy()
        return (name,)

    def _party(self, one: Party) -> tuple[object, ...]:
        """What a party holds. What the application decides is the same in all states of a scope."""
        name, place = self.name, self._place
        return (
            name(one.identity),
            tuple([(name(held.key), held.superseded) for held in one.signed_prekeys]),
            tuple(sorted([(place[peer], name(pin)) for peer, pin in one.pins.items()])),
            tuple(
                [
                    (place[peer], *map(self._session, sessions))
                    for peer, sessions in sorted(one.sessions.items(), key=lambda item: place[item[0]])
                ]
            ),
            tuple([name(key) for _, key in sorted(one.prekeys.items())]),
            frozenset([name(base) for base in sorted(one.seen)]),
        )

    def _session(self, one: Session) -> tuple[object, ...]:
        name = self.name
        return (
            name(one.base),
            name(one.remote),
            name(one.ratchet),
            tuple([name(c.ratchet) for c in one.receiving]),
            name(one.root),
            name(one.sending),
            one.counter,
            one.previous,
            tuple([(name(c.base), c.next, c.kept, c.closed) for c in one.receiving]),
            None if one.pending is None else (one.pending[0] is None, name(one.pending[1])),
            self._world.model.now - one.created,
        )

    def message(self, m: Message) -> tuple[object, ...]:
        """What a message says; its code stands for nearly all of it."""
        name = self.name
        outer = m.outer and (
            name(m.outer.base),
            name(m.outer.identity),
            # By its key, where it is still held: which number it has is no matter.
            m.outer.prekey_id and name(self._world.model.parties[m.receiver].prekeys.get(m.outer.prekey_id)),
            name(m.outer.signed_prekey),
        )
        return (self.sent[m.handle], self._place[m.receiver], name(m.ratchet), name(m.mac), outer)

    def groups(self, order: Order) -> tuple[object, ...] | None:
        """What the parties hold of groups, and what was given, sent and read there; None: nothing."""
        name, place, world = self.name, self._place, self._world
        model = world.model
        if not model.distributions and not model.group_messages:
            return None
        # What was given and sent comes first, in its own order: all of it hangs on one sender's chains.
        given = tuple([(place[d.sender], d.group, *self._chain(d.chain)) for d in model.distributions])
        sent = tuple([(place[m.sender], m.group, name(m.id), m.iteration, name(m.key)) for m in model.group_messages])
        held = tuple([self._in_groups(model.parties[party]) for party in order])
        read = frozenset([(place[reader], handle) for reader, handle in world.group_read])
        first = frozenset([(place[reader], name(base), at) for reader, base, at in sorted(world.given_first)])
        return given, sent, held, read, first

    def _in_groups(self, one: Party) -> tuple[object, ...]:
        own = tuple([(group, *self._chain(chain)) for group, chain in sorted(one.own_chains.items())])
        others = sorted(one.memberships.items(), key=lambda item: (self._place[item[0][0]], item[0][1]))
        return own, tuple(
            [
                (
                    self._place[sender],
                    group,
                    None if each.identity is None else self.name(each.identity),
                    tuple([self._chain(chain) for chain in each.chains]),
                    tuple([(self.name(id_), self.name(signing)) for id_, signing in each.retired]),
                )
                for (sender, group), each in others
            ]
        )

    def _chain(self, chain: SenderChain) -> tuple[object, ...]:
        return self.name(chain.id), self.name(chain.signing), self.name(chain.base), chain.next, chain.kept

    def knowledge(self) -> tuple[object, ...] | None:
        """What the attacker took."""
        taken, when = self._world.model.knowledge, self._world.taken
        if when is None:
            return None
        name = self.name
        return (
            self._place[when[0]],
            frozenset([self.sent[handle] for handle in when[1]]),
            frozenset([name(term) for term in sorted(taken.private)]),
            frozenset([name(term) for term in sorted(taken.secrets)]),
            frozenset([(name(base), position) for base, position in sorted(taken.chains)]),
            # By the names of the messages: they may have been sent in another order.
            frozenset(self.sent[: taken.recorded]),
            taken.group_recorded,
        )
