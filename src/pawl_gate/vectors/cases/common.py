"""A case: a trace that becomes a test; and the operations of traces, shortly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pawl_spec.trace import TAMPERS, Kind, Op, op

ALICE, BOB, CAROL = range(3)

Ops = tuple[Op, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """One trace that becomes a test."""

    file: str
    """The file that it goes to, without ending."""
    id: str
    comment: str
    flags: tuple[str, ...]
    ops: Ops
    profile: str = "default"
    assumes: Mapping[str, int | str] = field(default_factory=dict)
    """The limits that it is about; where behaviour matters that a target may rightly choose, the model finds out."""
    recover: bool = False
    """Where the last operation is refused, the first message in flight is delivered after it: nothing was changed."""
    only: str | None = None
    """Only this actor's steps are written: those of the others are as in other tests, and many."""
    source: str = "written by hand; the model says what must come of it"


# -- operations, shortly ----------------------------------------------------------------------------------------------


def start(actor: int, peer: int, one_time: int = 1) -> Op:
    """A session from the peer's bundle."""
    return op(Kind.ESTABLISH, actor=actor, peer=peer, one_time=one_time)


def send(actor: int, peer: int, size: int = 0) -> Op:
    """A message; the next in flight."""
    return op(Kind.SEND, actor=actor, peer=peer, size=size)


def deliver(index: int = 0) -> Op:
    """One of the messages in flight; 0 is the one that was sent first."""
    return op(Kind.DELIVER, index=index)


def replay(message: int) -> Op:
    """A message that was sent, again."""
    return op(Kind.REPLAY, message=message)


def burst(actor: int, peer: int, count: int) -> Op:
    """Messages that the network loses."""
    return op(Kind.BURST, actor=actor, peer=peer, count=count)


def days(count: int) -> tuple[Op, ...]:
    """So many days pass."""
    return (op(Kind.CLOCK, days=count),) if count else ()


def change(message: int, name: str, how: int = 0) -> Op:
    """A changed copy of a message is delivered."""
    return op(Kind.TAMPER, message=message, field=TAMPERS.index(name), how=how)


FIRST: Ops = (start(ALICE, BOB), send(ALICE, BOB))
"""m0, the message that builds Bob's session, is on its way."""

REPEATED: Ops = (*FIRST, send(ALICE, BOB), deliver())
"""Bob read m0; m1, a prekey message of the same session, is on its way."""

TALKING: Ops = (*FIRST, deliver(), send(BOB, ALICE), deliver(), send(ALICE, BOB))
"""Both have heard of each other; m2, a message without outer layer, is on its way to Bob."""

CONTEXTS: Mapping[str, tuple[Ops, int, str]] = {
    "first": (FIRST, 0, "the message that builds the session"),
    "repeated": (REPEATED, 1, "a prekey message of a session that is there"),
    "later": (TALKING, 2, "a message without outer layer"),
}
"""By name: what comes before, the message that is changed, and what it is."""
