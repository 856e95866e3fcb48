"""A seeded random walk: traces that reach the interesting states, thousands a second.

A walk is a sequence of small scenes (talk back and forth, a late message, a tampered copy, a crash) drawn by the
weights of a mood. It keeps a rough account of what is on its way so that it can aim; where the target refuses, the
account drifts, and operations still mean something because handles are taken modulo what exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from random import Random

from pawl_gate.attacker import OUTER
from pawl_gate.engines.group_walk import in_groups
from pawl_spec.trace import (
    ANSWERS,
    CALLBACKS,
    DAMAGES,
    FORGERIES,
    JUNK,
    MEDIA,
    OPTIONS,
    PARTIES,
    RIVALS,
    STORE_FAULTS,
    TABLES,
    TAMPERS,
    Kind,
    Op,
    Trace,
)

SHORTEST, LONGEST = 24, 40
"""Operations of a walk, apart from what completes its last scene."""

BURST = 40
"""Messages in one burst at most."""

WITH_GROUPS = 6
"""Of so many walks one goes on in groups."""

SESSION_TABLES = TABLES[: TABLES.index("sender-key")]
"""Kinds of records that steps of sessions meet."""

SIZES = 8
"""Choices of a plaintext's length; the runner takes them modulo the lengths it has."""

ALICE, BOB, CAROL = range(len(PARTIES))

ANYWHERE = tuple(at for at, name in enumerate(TAMPERS) if name not in OUTER)
"""Changes that concern every message; the others concern prekey messages only."""

FALLBACKS = tuple(TAMPERS.index(name) for name in ("prekey-id-zero", "untyped-base-key", "untyped-identity-key"))
"""Changes that make a message one of a peer which needs a fallback."""

CRASH_POINTS = (*range(8), 14, 14, 15, 15)
"""Store calls at which crashes are tried, and (twice as likely) just before and just after the commit."""


@dataclass(slots=True)
class Walk:
    """One trace in the making, and a rough account of its world."""

    rng: Random
    pairs: tuple[tuple[int, int], ...]
    """Who talks to whom; drawn from uniformly."""
    ops: list[Op] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    """Messages on their way."""
    sent: list[tuple[int, int, bool]] = field(default_factory=list)
    """Of each message: sender, receiver, whether it is a prekey message."""
    answered: set[tuple[int, int]] = field(default_factory=set)
    """(a, b): a has a session with b on which b was heard."""
    met: set[tuple[int, int]] = field(default_factory=set)
    """(a, b): a has a session with b."""

    # -- single operations, with the account kept --------------------------------------------------------------------

    def add(self, kind: Kind, *args: int) -> None:
        """Append one operation."""
        self.ops.append(Op(kind, args))

    def pair(self) -> tuple[int, int]:
        """Two parties of the cast, in either order."""
        return self.rng.choice(self.pairs)

    def chance(self, share: float) -> bool:
        """True in `share` of the cases."""
        return self.rng.random() < share

    def establish(self, actor: int, peer: int) -> None:
        """Process the peer's bundle, mostly with a one-time prekey."""
        self.add(Kind.ESTABLISH, actor, peer, int(self.chance(0.7)))
        self.met.add((actor, peer))
        self.answered.discard((actor, peer))

    def send(self, actor: int, peer: int) -> None:
        """Send; where there is no session yet, mostly make one first."""
        if (actor, peer) not in self.met and self.chance(0.95):
            self.establish(actor, peer)
        self.add(Kind.SEND, actor, peer, self.rng.randrange(SIZES))
        if (actor, peer) in self.met:
            self.waiting.append(len(self.sent))
            self.sent.append((actor, peer, (actor, peer) not in self.answered))

    def deliver(self, index: int) -> None:
        """Deliver one of the messages on their way."""
        self.add(Kind.DELIVER, index % 256)
        if self.waiting:
            self._heard(self.waiting.pop(index % len(self.waiting)))

    def _heard(self, message: int) -> None:
        sender, receiver, _ = self.sent[message]
        self.met.add((receiver, sender))
        self.answered.add((receiver, sender))

    def say(self, actor: int, peer: int) -> None:
        """Send, and deliver that very message."""
        self.send(actor, peer)
        self.deliver(max(len(self.waiting) - 1, 0))

    def any_message(self) -> int:
        """A message to act upon: mostly one on its way, since only that one would still be accepted."""
        if self.waiting and self.chance(0.7):
            return self.rng.choice(self.waiting) % 256
        return self.rng.randrange(max(len(self.sent), 1)) % 256

    # -- scenes ------------------------------------------------------------------------------------------------------

    def talk(self) -> None:
        """One says something to the other."""
        self.say(*self.pair())

    def ping_pong(self) -> None:
        """Both in turn: a Diffie-Hellman step each way."""
        one, other = self.pair()
        for _ in range(self.rng.randint(1, 3)):
            self.say(one, other)
            one, other = other, one

    def send_only(self) -> None:
        """Some messages that stay on their way."""
        pair = self.pair()
        for _ in range(self.rng.randint(1, 3)):
            self.send(*pair)

    def arrive(self) -> None:
        """Some of what is on its way arrives, in any order."""
        for _ in range(min(self.rng.randint(1, 3), len(self.waiting))):
            self.deliver(self.rng.randrange(len(self.waiting)))

    def late(self) -> None:
        """A message is overtaken by later ones, at times by a Diffie-Hellman step too, and then arrives."""
        one, other = self.pair()
        self.send(one, other)
        behind = len(self.waiting) - 1
        self.say(one, other)
        if self.chance(0.6):
            self.say(other, one)
            self.say(one, other)
        if self.chance(0.8):
            self.deliver(max(behind, 0))

    def twice(self) -> None:
        """The network delivers a message twice."""
        if not self.waiting:
            self.send(*self.pair())
        index = self.rng.randrange(max(len(self.waiting), 1))
        self.add(Kind.DUPLICATE, index % 256)
        if self.waiting:
            self.waiting.append(self.waiting[index])
        self.arrive()

    def drop(self) -> None:
        """The network loses a message."""
        if not self.waiting:
            self.send(*self.pair())
        index = self.rng.randrange(max(len(self.waiting), 1))
        self.add(Kind.DROP, index % 256)
        if self.waiting:
            self.waiting.pop(index)

    def replay(self) -> None:
        """The attacker delivers an old message again."""
        for _ in range(self.rng.randint(1, 2)):
            self.add(Kind.REPLAY, self.rng.randrange(max(len(self.sent), 1)) % 256)

    def tamper(self) -> None:
        """The attacker delivers a changed copy; the message itself may come after it."""
        message = self.any_message()
        change = self.rng.choice(ANYWHERE)
        if self.sent and self.sent[message][2] and self.chance(0.6):
            change = self.rng.randrange(len(TAMPERS))
        self.add(Kind.TAMPER, message, change, self.rng.randrange(256 if self.chance(0.3) else 8))
        if self.chance(0.3):
            self.arrive()

    def meddle(self) -> None:
        """The attacker changes the first message of a new session; then the message itself arrives."""
        one, other = self.pair()
        self.establish(one, other)
        self.send(one, other)
        self.add(Kind.TAMPER, self.waiting[-1] % 256, self.rng.randrange(len(TAMPERS)), self.rng.randrange(8))
        if self.chance(0.7):
            self.deliver(len(self.waiting) - 1)

    def redirect(self) -> None:
        """The attacker delivers a message to another party, or as coming from another."""
        to, sender = self.rng.sample(range(len(PARTIES)), 2)
        self.add(Kind.REDIRECT, self.any_message(), to, sender)

    def junk(self) -> None:
        """The attacker makes up bytes."""
        to, sender = self.pair()
        self.add(Kind.INJECT, to, sender, self.rng.randrange(len(JUNK)), self.rng.randrange(256))

    def forge(self) -> None:
        """A bundle is changed on its way; what is sent after it must not reach the attacker."""
        actor, peer = self.pair()
        how = self.rng.randrange(len(FORGERIES))
        self.add(Kind.FORGE_BUNDLE, actor, peer, how)
        if self.chance(0.4):
            self.send(actor, peer)

    def rekey(self) -> None:
        """A new session beside the old one, at times with a message of the old one still on its way."""
        one, other = self.pair()
        if self.chance(0.5):
            self.send(one, other)
        self.establish(one, other)
        self.send(one, other)
        if self.chance(0.7):
            self.arrive()

    def simultaneous(self) -> None:
        """Both sides build a session before either heard of the other's."""
        one, other = self.pair()
        self.establish(one, other)
        self.establish(other, one)
        self.send(one, other)
        self.send(other, one)
        for _ in range(self.rng.randint(0, 2)):
            self.arrive()

    def reinstall(self) -> None:
        """A party comes back with a new identity; the other decides, or does not."""
        one, other = self.pair()
        self.add(Kind.REINSTALL, one)
        self.met -= {pair for pair in self.met if pair[0] == one}
        if self.chance(0.3):
            self.say(other, one)
        if self.chance(0.6):
            self.approve(other, one)
        if self.chance(0.5):
            self.say(one, other)
        else:
            self.establish(other, one)
            self.say(other, one)

    def approve(self, actor: int, peer: int) -> None:
        """A user records the identity that the peer has now."""
        self.add(Kind.APPROVE, actor, peer)
        self.answered.discard((actor, peer))

    def restart(self) -> None:
        """A party starts again from its disk."""
        self.add(Kind.RESTART, self.pair()[0])

    def crash(self) -> None:
        """A party crashes at a store step of what it does next."""
        one, other = self.pair()
        at = self.rng.choice(CRASH_POINTS)
        scene = self.rng.randrange(4)
        if scene == 0:
            self.add(Kind.CRASH, one, at)
            self.send(one, other)
        elif scene == 1:
            if (one, other) not in self.met or self.chance(0.5):
                self.establish(one, other)
            self.send(one, other)
            self.add(Kind.CRASH, other, at)
            self.deliver(max(len(self.waiting) - 1, 0))
        elif scene == 2:
            self.add(Kind.CRASH, one, at)
            self.establish(one, other)
        else:
            self.add(Kind.CRASH, one, at)

    def store_trouble(self) -> None:
        """A store refuses one call of what a party does next, or another process writes to it meanwhile."""
        one, other = self.pair()
        receiving = self.chance(0.6)
        if receiving:
            # A first message is the step with the most writes.
            if self.chance(0.6):
                self.establish(one, other)
            self.send(one, other)
        party = other if receiving else one
        if self.chance(0.5):
            self.add(Kind.STORE_FAULT, party, self.rng.choice(CRASH_POINTS[:-2]), self.rng.randrange(len(STORE_FAULTS)))
        else:
            self.add(Kind.RIVAL, party, self.rng.randrange(len(RIVALS)))
        if receiving:
            self.deliver(max(len(self.waiting) - 1, 0))
        else:
            self.send(one, other)

    def inspect(self) -> None:
        """The attacker takes a copy of a party's state."""
        self.add(Kind.INSPECT, self.pair()[0])

    def steal(self) -> None:
        """The attacker takes all that a party has stored; what is said next tells whether the session heals."""
        one, _ = self.pair()
        self.add(Kind.COMPROMISE, one)
        if self.chance(0.6):
            self.ping_pong()
            self.add(Kind.ATTACK)

    def burst(self) -> None:
        """Many messages at once, of which only what follows arrives."""
        pair = self.pair()
        if pair in self.met:
            self.add(Kind.BURST, *pair, self.rng.randint(1, BURST))
            self.say(*pair)

    def time(self) -> None:
        """Days pass: a week, the month after which much is over, or a day more."""
        self.add(Kind.CLOCK, self.rng.choice((1, 7, 29, 30, 31)))

    def upkeep(self) -> None:
        """A party rotates its signed prekey while a first message is in flight, which comes in time or too late."""
        one, other = self.pair()
        self.establish(one, other)
        self.send(one, other)
        self.add(Kind.ROTATE, other)
        if self.chance(0.6):
            self.time()
        if self.chance(0.5):
            self.add(Kind.MAINTAIN, other)
        self.arrive()

    def forget(self) -> None:
        """A party loses its sessions with another, and old messages come again."""
        one, other = self.pair()
        self.add(Kind.FORGET, one, other)
        self.met.discard((one, other))
        self.answered.discard((one, other))
        self.replay()

    def ask(self) -> None:
        """A trust question comes to an application that misbehaves."""
        one, other = self.pair()
        self.add(Kind.CALLBACK, one, self.rng.randrange(2), self.rng.randrange(len(ANSWERS)))
        if self.chance(0.5):
            self.add(Kind.REINSTALL, other)
            self.met -= {pair for pair in self.met if pair[0] == other}
        if self.chance(0.5):
            self.establish(one, other)
        else:
            self.establish(other, one)
            self.say(other, one)

    def disturb(self) -> None:
        """The application that hears the next event, or stores the next plaintext, misbehaves."""
        one, other = self.pair()
        self.add(Kind.CALLBACK, one, self.rng.randrange(2, len(CALLBACKS)), self.rng.randrange(len(ANSWERS)))
        if self.chance(0.7):
            self.say(other, one)

    def store(self) -> None:
        """A party's application stores plaintexts from now on; it dies while it does, or its hook misbehaves."""
        one, other = self.pair()
        self.add(Kind.CALLBACK, other, CALLBACKS.index("plaintext"), self.rng.randrange(len(ANSWERS)))
        if (one, other) not in self.met or self.chance(0.3):
            self.establish(one, other)
        self.say(one, other)
        self.send(one, other)
        self.add(Kind.CRASH, other, self.rng.choice(CRASH_POINTS))
        self.deliver(max(len(self.waiting) - 1, 0))
        self.replay()

    def adapt(self) -> None:
        """A party switches on fallbacks for old peers, or off again, and a message needs one."""
        one, other = self.pair()
        self.add(Kind.COMPATIBILITY, other, self.rng.randrange(len(OPTIONS)))
        self.establish(one, other)
        self.send(one, other)
        self.add(Kind.TAMPER, self.waiting[-1] % 256, self.rng.choice(FALLBACKS), 0)

    def damage(self) -> None:
        """What a party does next is tried on damaged records first."""
        one, other = self.pair()
        self.add(Kind.DAMAGE, one, self.rng.randrange(len(SESSION_TABLES)), self.rng.randrange(len(DAMAGES)))
        if self.chance(0.5):
            self.send(one, other)
        else:
            self.arrive()

    def medium(self) -> None:
        """What a party does next is tried on its store as another medium gives it back first."""
        one, other = self.pair()
        self.add(Kind.MEDIUM, one, self.rng.randrange(len(SESSION_TABLES)), self.rng.randrange(len(MEDIA)))
        if self.chance(0.5):
            self.send(one, other)
        else:
            self.arrive()


SCENES: dict[Callable[[Walk], None], tuple[int, int, int, int]] = {
    # Weights by mood:     calm hostile churn crashing
    Walk.talk: (12, 8, 8, 8),
    Walk.ping_pong: (10, 5, 6, 6),
    Walk.send_only: (8, 10, 6, 6),
    Walk.arrive: (10, 6, 6, 6),
    Walk.late: (8, 3, 4, 3),
    Walk.twice: (3, 3, 2, 2),
    Walk.drop: (3, 1, 2, 2),
    Walk.replay: (3, 8, 5, 4),
    Walk.tamper: (3, 14, 3, 2),
    Walk.meddle: (1, 8, 2, 1),
    Walk.redirect: (1, 5, 1, 1),
    Walk.junk: (1, 5, 1, 1),
    Walk.forge: (1, 5, 3, 1),
    Walk.rekey: (2, 2, 6, 3),
    Walk.simultaneous: (2, 1, 4, 2),
    Walk.reinstall: (0, 1, 4, 1),
    Walk.restart: (2, 1, 2, 4),
    Walk.crash: (1, 1, 2, 16),
    Walk.inspect: (4, 3, 3, 3),
    Walk.steal: (2, 1, 2, 1),
    Walk.burst: (2, 1, 1, 1),
    Walk.time: (1, 0, 1, 0),
    Walk.upkeep: (1, 1, 3, 1),
    Walk.forget: (0, 1, 3, 1),
    Walk.ask: (0, 1, 4, 1),
    Walk.disturb: (1, 2, 2, 1),
    Walk.store: (1, 1, 1, 4),
    Walk.adapt: (0, 2, 0, 0),
    Walk.damage: (1, 1, 1, 1),
    Walk.medium: (1, 1, 1, 1),
    Walk.store_trouble: (1, 1, 2, 5),
}
MOODS = tuple(zip(*SCENES.values(), strict=True))
MOOD_WEIGHTS = (4, 4, 3, 3)

TWO = ((ALICE, BOB), (BOB, ALICE))
THREE = (*TWO, *TWO, (ALICE, CAROL), (CAROL, ALICE), (BOB, CAROL), (CAROL, BOB))


def walk(rng: Random) -> Trace:
    """One random trace of about `SHORTEST` to `LONGEST` operations."""
    state = Walk(rng, rng.choice((TWO, TWO, THREE)))
    strict = rng.randrange(1, 1 << len(PARTIES)) if state.chance(0.12) else 0
    _open(state, strict)
    (weights,) = rng.choices(MOODS, MOOD_WEIGHTS)
    length = rng.randint(SHORTEST, LONGEST)
    scenes = list(SCENES)
    while len(state.ops) < length:
        for scene in rng.choices(scenes, weights, k=4):
            scene(state)
    return Trace(tuple(state.ops), seed=rng.randrange(1 << 16), strict=strict)


def _open(state: Walk, strict: int) -> None:
    """The first scene: sessions exist early, for what is interesting comes after them."""
    if strict:
        for actor, peer in TWO:
            if state.chance(0.8):
                state.approve(actor, peer)
    start = state.rng.random()
    if start < 0.75:
        one, other = state.pair()
        state.establish(one, other)
        state.say(one, other)
        if state.chance(0.6):
            state.say(other, one)
    elif start < 0.85:
        state.simultaneous()


def traces(seed: int, *, sessions: bool = True) -> Iterator[Trace]:
    """Endless traces; the same seed gives the same ones, and each can be made without those before it.

    Without `sessions` all of them are in groups, where a target has nothing else.
    """
    for number in count():
        if not sessions:
            yield Trace(tuple(in_groups(Random(f"{seed}:{number}:groups"))))  # noqa: S311 - as below
            continue
        made = walk(Random(f"{seed}:{number}"))  # noqa: S311 - a seeded walk is not a secret
        if number % WITH_GROUPS == WITH_GROUPS - 1:
            more = in_groups(Random(f"{seed}:{number}:groups"))  # noqa: S311 - nor this part of it
            made = replace(made, ops=(*made.ops, *more))
        yield made
