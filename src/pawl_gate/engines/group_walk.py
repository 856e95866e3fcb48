"""The part of a random walk that happens in groups: scenes of members, of whoever left, and of the attacker among them.

As in `walk`, a rough account of what was given and sent lets the scenes aim.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from pawl_spec.trace import (
    ANSWERS,
    CALLBACKS,
    DAMAGES,
    GROUP_TAMPERS,
    GROUPS,
    LAYOUTS,
    MEDIA,
    PARTIES,
    RIVALS,
    SMUGGLES,
    STORE_FAULTS,
    TABLES,
    Kind,
    Op,
)

SHORTEST, LONGEST = 16, 30
"""Operations in groups, apart from what completes the last scene."""

CRASH_POINTS = (*range(6), 14, 14, 15, 15)
"""Store calls at which crashes are tried, and just before and after the commit."""

JUMPS = (0, 0, 1, 2, 40)
"""How far ahead the attacker sends; the edges of the window belong to the directed scenarios."""

OF_GROUPS = range(TABLES.index("sender-key"), len(TABLES))
"""Kinds of records that steps in groups meet."""

CHAINS = 7
"""Chains of the attacker's: more than may be held of one sender."""


@dataclass(slots=True)
class GroupWalk:
    """The operations in the making, and who gave and sent what."""

    rng: Random
    ops: list[Op] = field(default_factory=list)
    given: list[tuple[int, int]] = field(default_factory=list)
    """Of each distribution: sender and group."""
    sent: list[tuple[int, int]] = field(default_factory=list)
    """Of each group message, likewise."""
    chains: set[tuple[int, int]] = field(default_factory=set)
    """Who has a chain of its own in which group."""
    smuggled: int = 0
    """Chains on which the attacker may send."""

    def add(self, kind: Kind, *args: int) -> None:
        """Append one operation."""
        self.ops.append(Op(kind, args))

    def chance(self, share: float) -> bool:
        """True in `share` of the cases."""
        return self.rng.random() < share

    def party(self) -> int:
        """Anybody."""
        return self.rng.randrange(len(PARTIES))

    def other(self, party: int) -> int:
        """Anybody else."""
        return (party + self.rng.randint(1, len(PARTIES) - 1)) % len(PARTIES)

    def group(self) -> int:
        """Mostly the first group."""
        return 0 if self.chance(0.85) else self.rng.randrange(len(GROUPS))

    def create(self, actor: int, group: int) -> int:
        """A distribution of the actor's chain; its handle."""
        self.add(Kind.GROUP_CREATE, actor, group)
        self.chains.add((actor, group))
        self.given.append((actor, group))
        return len(self.given) - 1

    def join(self, actor: int, handle: int) -> None:
        """Somebody takes a distribution."""
        self.add(Kind.GROUP_JOIN, actor, handle % 256)

    def send(self, actor: int, group: int) -> int:
        """A message on the actor's chain; its handle."""
        if (actor, group) not in self.chains:
            self.give(actor, group)
        self.add(Kind.GROUP_SEND, actor, group, self.rng.randrange(6))
        self.sent.append((actor, group))
        return len(self.sent) - 1

    def give(self, actor: int, group: int) -> None:
        """The actor gives its chain to the others."""
        handle = self.create(actor, group)
        for offset in range(1, len(PARTIES)):
            if self.chance(0.9):
                self.join((actor + offset) % len(PARTIES), handle)

    def deliver(self, message: int, to: int | None = None) -> None:
        """A message reaches somebody."""
        receiver = self.other(self.sent[message][0]) if to is None else to
        self.add(Kind.GROUP_DELIVER, receiver, message % 256)

    # -- scenes -------------------------------------------------------------------------------------------------------

    def talk(self) -> None:
        """A message for all, which may come twice."""
        message = self.send(self.party(), self.group())
        for _ in range(self.rng.randint(1, 3)):
            self.deliver(message)

    def out_of_order(self) -> None:
        """Some messages of one sender arrive in any order, or not at all."""
        actor, group = self.party(), self.group()
        messages = [self.send(actor, group) for _ in range(self.rng.randint(2, 3))]
        receiver = self.other(actor)
        self.rng.shuffle(messages)
        for message in messages[: self.rng.randint(1, 3)]:
            self.deliver(message, receiver)

    def again(self) -> None:
        """An old message, or an old distribution, comes again."""
        if self.sent and self.chance(0.5):
            self.deliver(self.rng.randrange(len(self.sent)))
        elif self.given:
            handle = self.rng.randrange(len(self.given))
            self.join(self.other(self.given[handle][0]), handle)
            self.again_if_sent()

    def again_if_sent(self) -> None:
        """What was read before is tried after it."""
        if self.sent:
            self.deliver(self.rng.randrange(len(self.sent)))

    def late_member(self) -> None:
        """Somebody is given the chain in the middle: what was before stays closed."""
        actor, group = self.party(), self.group()
        message = self.send(actor, group)
        receiver = self.other(actor)
        self.join(receiver, self.create(actor, group))
        self.deliver(message, receiver)
        self.deliver(self.send(actor, group), receiver)

    def remove(self) -> None:
        """A member is removed and keeps everything; the sender rotates, and gives the new chain to the other."""
        actor, group = self.party(), self.group()
        removed = self.other(actor)
        self.send(actor, group)
        if self.chance(0.4):
            self.add(Kind.COMPROMISE, removed)
        stays = 3 - actor - removed
        if self.chance(0.5):
            self.add(Kind.GROUP_MEMBERS, actor, group, 1 << stays)
        self.add(Kind.GROUP_ROTATE, actor, group)
        self.join(stays, self.create(actor, group))
        message = self.send(actor, group)
        self.deliver(message, removed)
        self.deliver(message, stays)
        if self.chance(0.4):
            self.add(Kind.ATTACK)

    def forget(self) -> None:
        """A party lets the chains of another go; an old distribution does not bring them back."""
        actor = self.party()
        peer, group = self.other(actor), self.group()
        self.add(Kind.GROUP_FORGET, actor, peer, group)
        mine = [handle for handle, place in enumerate(self.given) if place == (peer, group)]
        if mine:
            self.join(actor, self.rng.choice(mine))

    def tamper(self) -> None:
        """A changed copy arrives, and then the message itself."""
        message = self.send(self.party(), self.group())
        receiver = self.other(self.sent[message][0])
        field_ = self.rng.randrange(len(GROUP_TAMPERS))
        self.add(Kind.GROUP_TAMPER, receiver, message % 256, field_, self.rng.randrange(16))
        self.deliver(message, receiver)

    def redirect(self) -> None:
        """A message comes as from another member, or in another group."""
        message = self.send(self.party(), self.group())
        sender = self.sent[message][0]
        receiver = self.party()
        claimed = sender if self.chance(0.3) else self.other(sender)
        self.add(Kind.GROUP_REDIRECT, receiver, message % 256, claimed, self.rng.randrange(len(GROUPS)))

    def smuggle(self) -> None:
        """A malicious member gives a chain of the attacker's making, and sends on it."""
        sender, group = self.party(), self.group()
        if (sender, group) not in self.chains and self.chance(0.7):
            self.send(sender, group)
        receiver = self.other(sender)
        how = self.rng.randrange(len(SMUGGLES)) if self.chance(0.6) else self.rng.randrange(4)
        self.add(Kind.GROUP_SMUGGLE, sender, group, how, self.rng.randrange(CHAINS))
        self.given.append((sender, group))
        self.join(receiver, len(self.given) - 1)
        if SMUGGLES[how] in ("own", "last-iterations", "collision-own", "collision-other"):
            self.smuggled += 1
            self.add(Kind.GROUP_CRAFT, self.smuggled - 1, self.rng.choice(JUMPS))
            self.sent.append((sender, group))
            self.deliver(len(self.sent) - 1, receiver)
        if (sender, group) in self.chains:
            self.deliver(self.send(sender, group), receiver)

    def inspect(self) -> None:
        """The attacker looks at what a member holds of groups, or takes its whole state."""
        actor = self.party()
        if self.chance(0.7):
            self.add(Kind.INSPECT, actor)
        else:
            self.add(Kind.COMPROMISE, actor)
            self.talk()
            self.add(Kind.ATTACK)

    def restart(self) -> None:
        """A member starts again from its disk."""
        self.add(Kind.RESTART, self.party())

    def trouble(self) -> None:
        """A member crashes, its store refuses a call or gives back what is damaged, or another process writes."""
        actor, group = self.party(), self.group()
        receiving = self.chance(0.5)
        party, message = actor, 0
        if receiving:
            message, party = self.send(actor, group), self.other(actor)
        kind = self.rng.randrange(5)
        if kind == 0:
            self.add(Kind.CRASH, party, self.rng.choice(CRASH_POINTS))
        elif kind == 1:
            self.add(Kind.STORE_FAULT, party, self.rng.choice(CRASH_POINTS[:-2]), self.rng.randrange(len(STORE_FAULTS)))
        elif kind == 2:
            self.add(Kind.RIVAL, party, self.rng.randrange(len(RIVALS)))
        elif kind == 3:
            self.add(Kind.DAMAGE, party, self.rng.choice(OF_GROUPS), self.rng.randrange(len(DAMAGES)))
        else:
            self.add(Kind.MEDIUM, party, self.rng.choice(OF_GROUPS), self.rng.randrange(len(MEDIA)))
        if receiving:
            self.deliver(message, party)
        elif self.chance(0.5):
            self.send(actor, group)
        elif self.given and self.chance(0.5):
            self.join(actor, self.rng.randrange(len(self.given)))
        else:
            self.add(Kind.GROUP_ROTATE, actor, group)
        self.send(actor, group)

    def share(self) -> None:
        """The chain goes to members through sessions; whoever was removed before gets nothing of what is sent."""
        actor, group = self.party(), self.group()
        for peer in range(len(PARTIES)):
            if peer != actor and self.chance(0.9):
                self.add(Kind.ESTABLISH, actor, peer, 1)
        for _ in range(self.rng.randint(1, 3)):
            self.add(Kind.GROUP_MEMBERS, actor, group, self.rng.randrange(8))
            self.chains.add((actor, group))
            self.add(Kind.GROUP_SHARE, actor, group, self.rng.randrange(6))
            for _ in range(2):
                self.add(Kind.DELIVER, 0)
            if self.chance(0.5):
                self.add(Kind.GROUP_CAME, actor, group)
        self.again_if_sent()

    def store(self) -> None:
        """A member's application stores plaintexts from now on; it dies while it does, or its hook misbehaves."""
        message = self.send(self.party(), self.group())
        receiver = self.other(self.sent[message][0])
        self.add(Kind.CALLBACK, receiver, CALLBACKS.index("plaintext"), self.rng.randrange(len(ANSWERS)))
        self.deliver(message, receiver)
        self.deliver(message, receiver)
        later = self.send(*self.sent[message])
        self.add(Kind.CRASH, receiver, self.rng.choice(CRASH_POINTS))
        self.deliver(later, receiver)
        self.deliver(later, receiver)


SCENES: dict[Callable[[GroupWalk], None], int] = {
    GroupWalk.talk: 8,
    GroupWalk.out_of_order: 6,
    GroupWalk.again: 5,
    GroupWalk.late_member: 2,
    GroupWalk.remove: 3,
    GroupWalk.forget: 2,
    GroupWalk.tamper: 4,
    GroupWalk.redirect: 3,
    GroupWalk.smuggle: 5,
    GroupWalk.inspect: 2,
    GroupWalk.restart: 1,
    GroupWalk.trouble: 4,
    GroupWalk.store: 1,
    GroupWalk.share: 2,
}
"""With their weights."""


def in_groups(rng: Random, *, sessions: bool = True) -> list[Op]:
    """Some operations in groups, which need nothing that was before; without `sessions` nothing goes through any."""
    scenes = {scene: weight for scene, weight in SCENES.items() if sessions or scene is not GroupWalk.share}
    state = GroupWalk(rng)
    # Before the groups are used: later it is too late.
    if state.chance(0.3):
        state.add(Kind.GROUP_LAYOUT, state.group(), LAYOUTS.index("earlier"))
    state.give(rng.randrange(len(PARTIES)), 0)
    length = rng.randint(SHORTEST, LONGEST)
    while len(state.ops) < length:
        (scene,) = rng.choices(list(scenes), list(scenes.values()))
        scene(state)
    return state.ops
