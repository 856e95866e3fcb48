"""Scopes: small worlds that are explored to the end, each with its bounds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pawl_spec.explore.ideal import Ideal
from pawl_spec.trace import Kind, Op, op

Spent = tuple[tuple[int, ...], ...]
"""What was used of the bounds: establishing, sending, restarting (each by party), then duplicates, drops, replays and
taken states (one number each), and in a group giving one's chain, sending and rotating (each by party)."""

ESTABLISHED, SENT, RESTARTED, DUPLICATED, DROPPED, REPLAYED, TAKEN, GIVEN, SPOKEN, TURNED = range(10)

ALICE, BOB, CAROL = range(3)


@dataclass(frozen=True, slots=True)
class Scope:
    """A first state, and how often each operation may be carried out after it.

    Deliveries are not counted: each takes a message off the network.
    """

    name: str
    about: str
    """One line for people."""
    sends: int
    """Messages that each party may send, to whomever."""
    first: tuple[Op, ...] = ()
    """What happens before the search begins."""
    parties: int = 2
    establishes: int = 0
    """Sessions that each party may begin, with whomever."""
    one_time: tuple[int, ...] = (1,)
    """Whether bundles have a one-time prekey: 1, 0 or either."""
    restarts: int = 0
    """How often each party may start again from its disk."""
    duplicates: int = 0
    drops: int = 0
    replays: int = 0
    """How often the attacker may deliver a message that left the network."""
    compromises: int = 0
    """How often the attacker may take a party's whole state."""
    speakers: tuple[int, ...] = ()
    """Who has a chain of its own in a group, and gives it to the others."""
    gives: int = 0
    """Distributions that each of them may make. Whatever was made may be taken by anybody, at any time and again; so
    too whatever was sent."""
    speaks: int = 0
    """Messages that each of them may send in the group."""
    turns: int = 0
    """How often each of them may rotate."""
    symmetric: bool = False
    """Whether the parties can be exchanged for each other: the first state and the bounds are the same for all."""

    @property
    def remembers(self) -> bool:
        """Whether messages still matter that left the network."""
        return bool(self.replays or self.compromises)

    @property
    def needs(self) -> frozenset[str]:
        """The capabilities without which a target cannot be led through the scope."""
        begun = [operation["one_time"] for operation in self.first if operation.kind is Kind.ESTABLISH]
        needed = {
            "restart": self.restarts,
            "compromise": self.compromises,
            "groups": self.gives,
            "sessions-without-one-time": 0 in begun or (self.establishes and 0 in self.one_time),
        }
        return frozenset(name for name, count in needed.items() if count)

    @property
    def bounds(self) -> str:
        """The bounds, in words."""
        one_time = {(0,): "without one-time prekeys", (1,): "", (0, 1): "with and without one-time prekeys"}
        return "; ".join(
            said
            for said in (
                f"{self.parties} parties",
                f"{_counted(self.sends, 'message')} of each" if self.sends else "",
                f"{_counted(self.establishes, 'session')} begun by each" if self.establishes else "",
                one_time[self.one_time] if self.establishes else "",
                f"{_counted(self.restarts, 'restart')} of each" if self.restarts else "",
                _counted(self.duplicates, "copy", "copies") if self.duplicates else "",
                _counted(self.drops, "loss", "losses") if self.drops else "",
                _counted(self.replays, "replay") if self.replays else "",
                f"{_counted(self.compromises, 'state')} taken" if self.compromises else "",
                f"{_counted(len(self.speakers), 'sender')} in a group" if self.gives else "",
                _counted(self.gives, "distribution") if self.gives else "",
                _counted(self.speaks, "group message") if self.speaks else "",
                _counted(self.turns, "rotation") if self.turns else "",
                "taken and delivered in any order, again and again" if self.gives else "delivered in any order",
            )
            if said
        )

    def start(self) -> tuple[Ideal, Spent]:
        """The first state."""
        world = Ideal()
        for operation in self.first:
            world.step(operation)
        nobody = (0,) * self.parties
        return world, (nobody, nobody, nobody, (0,), (0,), (0,), (0,), nobody, nobody, nobody)

    def moves(self, world: Ideal, spent: Spent) -> Iterator[tuple[Op, Spent]]:
        """Every operation that the bounds allow in a state, with what is used of them afterwards."""
        yield from self._of_network(world, spent)
        if self.gives:
            yield from self._in_group(world, spent)
        for actor in range(self.parties):
            others = [peer for peer in range(self.parties) if peer != actor]
            if spent[SENT][actor] < self.sends:
                after = _used(spent, SENT, actor)
                # Without a session nothing can be sent: refused at once, and nothing comes of it.
                for peer in others:
                    if world.model.parties[actor].sessions.get(peer):
                        yield op(Kind.SEND, actor=actor, peer=peer), after
            if spent[ESTABLISHED][actor] < self.establishes:
                after = _used(spent, ESTABLISHED, actor)
                for peer in others:
                    for one_time in self.one_time:
                        yield op(Kind.ESTABLISH, actor=actor, peer=peer, one_time=one_time), after
            if spent[RESTARTED][actor] < self.restarts:
                yield op(Kind.RESTART, actor=actor), _used(spent, RESTARTED, actor)
            if spent[TAKEN][0] < self.compromises:
                yield op(Kind.COMPROMISE, actor=actor), _used(spent, TAKEN, 0)

    def _of_network(self, world: Ideal, spent: Spent) -> Iterator[tuple[Op, Spent]]:
        flight = world.flight
        for at, handle in enumerate(flight):
            # Copies of one message are alike.
            if handle in flight[:at]:
                continue
            yield op(Kind.DELIVER, index=at), spent
            if spent[DUPLICATED][0] < self.duplicates:
                yield op(Kind.DUPLICATE, index=at), _used(spent, DUPLICATED, 0)
            if spent[DROPPED][0] < self.drops:
                yield op(Kind.DROP, index=at), _used(spent, DROPPED, 0)
        if spent[REPLAYED][0] < self.replays:
            after = _used(spent, REPLAYED, 0)
            yield from ((op(Kind.REPLAY, message=m), after) for m in range(len(world.routes)) if m not in flight)

    def _in_group(self, world: Ideal, spent: Spent) -> Iterator[tuple[Op, Spent]]:
        model = world.model
        for actor in self.speakers:
            has = bool(model.parties[actor].own_chains)
            for what, most, kind in (
                (GIVEN, self.gives, Kind.GROUP_CREATE),
                (SPOKEN, self.speaks if has else 0, Kind.GROUP_SEND),
                (TURNED, self.turns if has else 0, Kind.GROUP_ROTATE),
            ):
                if spent[what][actor] < most:
                    yield op(kind, actor=actor), _used(spent, what, actor)
        for member in range(self.parties):
            for handle, given in enumerate(model.distributions):
                if given.sender != member:
                    yield op(Kind.GROUP_JOIN, actor=member, distribution=handle), spent
            for handle, sent in enumerate(model.group_messages):
                if sent.sender != member:
                    yield op(Kind.GROUP_DELIVER, actor=member, message=handle), spent


def _counted(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def _used(spent: Spent, what: int, at: int) -> Spent:
    counts = list(spent[what])
    counts[at] += 1
    return (*spent[:what], tuple(counts), *spent[what + 1 :])


SESSION: Final = (op(Kind.ESTABLISH, actor=ALICE, peer=BOB, one_time=1),)
"""Alice has processed Bob's bundle; nothing was sent yet."""

SCOPES: Final = {
    scope.name: scope
    for scope in (
        Scope("smoke", "one session, two messages each way", sends=2, first=SESSION, duplicates=1, drops=1),
        Scope("order", "one session, three messages each way, in any order", sends=3, first=SESSION),
        Scope("main", "one session, three messages each way", sends=3, first=SESSION, duplicates=3, drops=3),
        Scope(
            "restart",
            "one session, two messages each way, each party starts again from its disk twice",
            sends=2,
            first=SESSION,
            restarts=2,
            duplicates=1,
        ),
        Scope(
            "simultaneous",
            "both begin a session, before or after they hear of the other's, with or without a one-time prekey",
            sends=2,
            establishes=1,
            one_time=(0, 1),
            duplicates=1,
            drops=1,
            symmetric=True,
        ),
        Scope(
            "rekey", "each party may begin a new session beside the old", sends=2, first=SESSION, establishes=1, drops=1
        ),
        Scope(
            "replay",
            "without a one-time prekey; the attacker delivers whatever was sent again",
            sends=2,
            first=(op(Kind.ESTABLISH, actor=ALICE, peer=BOB, one_time=0),),
            replays=2,
        ),
        Scope("compromise", "one state is taken, of either party, at any time", sends=3, first=SESSION, compromises=1),
        Scope(
            "group",
            "one sender and two members, who are given its chain at any time, or are not; it rotates once",
            sends=0,
            parties=3,
            speakers=(ALICE,),
            gives=2,
            speaks=2,
            turns=1,
        ),
        Scope(
            "group-taken",
            "one sender and a member; the state of either is taken, before or after the sender rotates",
            sends=0,
            first=(op(Kind.GROUP_CREATE, actor=ALICE), op(Kind.GROUP_JOIN, actor=BOB, distribution=0)),
            speakers=(ALICE,),
            gives=1,
            speaks=3,
            turns=1,
            compromises=1,
        ),
        Scope("three", "three parties, a session begun by each", sends=1, parties=3, establishes=1, symmetric=True),
    )
}
"""By name."""
