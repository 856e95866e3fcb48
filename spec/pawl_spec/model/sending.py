"""Sending: what a message must say.

Source: Double Ratchet, section 3.4; X3DH, section 3.3.
"""

from __future__ import annotations

from pawl_spec.history import Event, Outcome
from pawl_spec.model.expect import Expect, SentHeader
from pawl_spec.model.state import Message, Outer, Session
from pawl_spec.model.world import World, ends, replace_session, took_effect


def send(world: World, event: Event) -> Expect:
    """What the message must say, or that there is no session to send it on."""
    actor, peer = ends(event)
    party = world.parties[actor]
    current = next(iter(world.usable(party, peer)), None)
    if current is None:
        had_one = bool(party.sessions.get(peer))
        world.diverged |= event.outcome is Outcome.DONE
        # A session under a replaced identity may be named by either reason.
        codes = {"no-session", "untrusted-identity"} if had_one else {"no-session"}
        return Expect(False, frozenset(codes), "IDC-08" if had_one else "CNF-01")
    if is_stale(world, current):
        world.diverged |= event.outcome is Outcome.DONE
        return Expect(False, frozenset({"stale-session"}), "CNF-01")
    header = _header(current)
    if took_effect(event):
        replace_session(party, peer, current, current._replace(counter=current.counter + 1))
        if event.outcome is Outcome.DONE:
            world.messages.append(_message(world, actor, peer, current, header))
    elif event.outcome is Outcome.REFUSED:
        world.diverged = True
    return Expect(True, unless="CNF-01", header=header)


def is_stale(world: World, session: Session) -> bool:
    """Whether the peer has not answered for so long that it will not."""
    age, most = world.now - session.created, world.limits.unacknowledged
    return session.pending is not None and most is not None and age > most


def step(world: World, actor: int, peer: int, session: Session) -> Message:
    """The message that is due on a session, which moves on."""
    replace_session(world.parties[actor], peer, session, session._replace(counter=session.counter + 1))
    return _message(world, actor, peer, session, _header(session))


def burst(world: World, event: Event) -> Expect | None:
    """Many messages at once, of which the first is described."""
    actor, peer = ends(event)
    party = world.parties[actor]
    current = next(iter(world.usable(party, peer)), None)
    if current is None or not event.counters:
        return None
    header = _header(current)
    replace_session(party, peer, current, current._replace(counter=current.counter + len(event.counters)))
    return Expect(True, unless="CNF-01", header=header)


def _header(session: Session) -> SentHeader:
    kind = "signal" if session.pending is None else "prekey"
    prekey_id = None if session.pending is None else session.pending[0]
    return SentHeader(kind, session.base, session.ratchet, session.counter, session.previous, prekey_id)


def _message(world: World, actor: int, peer: int, session: Session, header: SentHeader) -> Message:
    sender = world.parties[actor].identity
    key = world.terms("message-key", session.sending, header.counter)
    body = world.terms("body", key, len(world.messages))
    outer = None
    if session.pending is not None:
        outer = Outer(session.base, sender, session.pending[0], session.pending[1])
    message = Message(
        ratchet=session.ratchet,
        counter=header.counter,
        previous=header.previous_counter,
        version=0x33,
        body=body,
        mac=0,
        handle=len(world.messages),
        sender=actor,
        receiver=peer,
        outer=outer,
        key=key,
        session=session.base,
    )
    return message._replace(mac=world.ratchet.mac(key, sender, session.remote, message))
