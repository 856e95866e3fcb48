"""Receiving: which messages are accepted, and for what reasons the others are refused.

Source: Double Ratchet, section 3.5; X3DH, section 3.4.
"""

from __future__ import annotations

from dataclasses import replace

from pawl_spec.history import Event, Outcome
from pawl_spec.model.expect import MISSING, PARSE_REFUSALS, Expect, refuse
from pawl_spec.model.state import Message, Outer, Party, Received, Session
from pawl_spec.model.tampering import RULE_OF_TAMPER, tampered
from pawl_spec.model.terms import Refusal, Refusals, Term
from pawl_spec.model.world import World, ends, replace_session, took_effect
from pawl_spec.trace import JUNK, TAMPERS, Kind


def deliver(world: World, event: Event) -> Expect | None:
    """A message, or a changed copy, reaches a party."""
    if event.message is None or event.actor is None or event.peer is None:
        return None
    message = world.messages[event.message]
    if event.op.kind is Kind.TAMPER:
        message = tampered(world, message, event)
    return _receive(world, event, message)


def _receive(world: World, event: Event, message: Message) -> Expect:
    actor, peer = ends(event)
    party = world.parties[actor]
    if message.defect is not None:
        world.diverged |= event.outcome is Outcome.DONE
        return Expect(False, message.defect[0], message.defect[1])
    known = _known(world, party, peer, message)
    try:
        if message.outer is None:
            result, old = _receive_signal(world, party, peer, message, world.usable(party, peer))
        elif known is not None:
            result, old = _receive_known(world, party, peer, message, message.outer, known)
        else:
            result, old = _receive_first(world, party, peer, message, message.outer), None
    except Refusals as refusals:
        world.diverged |= event.outcome is Outcome.DONE
        expect = refuse(_ruled(world, event, message, refusals.reasons))
        return replace(expect, codes=expect.codes | PARSE_REFUSALS) if message.lenient else expect
    late = old is not None and party.sessions[peer][0] is not old
    front = _promotes(world, result.starts_chain)
    if took_effect(event):
        world.delivered.add(message.handle)
        if old is not None:
            replace_session(party, peer, old, result.session, to_front=front and late)
        elif message.outer is not None:
            _consume(world, party, peer, message.outer, result.session)
    elif event.outcome is Outcome.REFUSED:
        world.diverged = not message.lenient
    unless = "PAR-02" if event.op.kind is Kind.TAMPER else "CTR-04"
    accept = None if message.lenient else True
    return Expect(accept, PARSE_REFUSALS, "PAR-02", unless=unless, plaintext=result.handle, late=late and not front)


def _promotes(world: World, starts_chain: bool) -> bool:
    return world.profile.promotes == "always" or (world.profile.promotes == "on-new-chain" and starts_chain)


def _known(world: World, party: Party, peer: int, message: Message) -> Session | None:
    if message.outer is None:
        return None
    return next((s for s in party.sessions.get(peer, ()) if s.base == message.outer.base), None)


def _receive_known(
    world: World, party: Party, peer: int, message: Message, outer: Outer, session: Session
) -> tuple[Received, Session]:
    """A repeated prekey message: its inner message, on the session that its base key names."""
    if outer.identity != session.remote or session.remote != party.pins.get(peer):
        rule = "IDC-04" if outer.identity != session.remote else "IDC-08"
        # Its counter may be looked at first.
        reasons = ("untrusted-identity", "bad-mac", "duplicate-message")
        raise Refusals([Refusal(reason, rule) for reason in reasons])
    return _receive_signal(world, party, peer, message, [session])


def _receive_first(world: World, party: Party, peer: int, message: Message, outer: Outer) -> Received:
    """A prekey message that would build a session."""
    reasons = world.identity_reasons(party, peer, outer.identity)
    if outer.signed_prekey != party.signed_prekey:
        reasons.append(Refusal("unknown-signed-prekey", "AUT-01"))
    prekey = None
    if outer.prekey_id is not None:
        prekey = party.prekeys.get(outer.prekey_id)
        if prekey is None:
            reasons.append(Refusal("unknown-prekey", "KEY-03"))
    elif outer.base in party.seen:
        reasons.append(Refusal("replayed-prekey-message", "CTR-06"))
    try:
        received = _respond(world, party, message, outer, prekey)
    except Refusal as refusal:
        raise Refusals([*reasons, refusal]) from None
    if reasons:
        # The message would not authenticate either where a prekey is missing.
        raise Refusals(reasons)
    return received


def _respond(world: World, party: Party, message: Message, outer: Outer, prekey: Term | None) -> Received:
    t = world.terms
    secret = world.agreement(
        t.agree(outer.identity, party.signed_prekey),
        t.agree(outer.base, party.identity),
        t.agree(outer.base, party.signed_prekey),
        None if prekey is None else t.agree(outer.base, prekey),
    )
    session = Session(
        outer.base,
        outer.identity,
        t("root", secret),
        party.signed_prekey,
        t("chain", secret),
        0,
        0,
        (),
        None,
    )
    return world.ratchet.receive(party.identity, session, message)


def _consume(world: World, party: Party, peer: int, outer: Outer, session: Session) -> None:
    """What a first message uses up, and whom it pins: only now, when it is authenticated."""
    party.pins[peer] = outer.identity
    if outer.prekey_id is None:
        party.seen.add(outer.base)
    else:
        del party.prekeys[outer.prekey_id]
    world.add_session(party, peer, session)


def _receive_signal(
    world: World, party: Party, peer: int, message: Message, candidates: list[Session]
) -> tuple[Received, Session]:
    """Try the sessions that know the message's ratchet key; if none does, all of them."""
    if not candidates:
        replaced = bool(party.sessions.get(peer))
        reasons = [Refusal("no-session", "IDC-08" if replaced else "CNF-01")]
        raise Refusals([*reasons, Refusal("untrusted-identity", "IDC-08")] if replaced else reasons)
    knowing = [s for s in candidates if any(chain.ratchet == message.ratchet for chain in s.receiving)]
    tried = knowing or candidates
    reasons = []
    for session in tried:
        try:
            return world.ratchet.receive(party.identity, session, message), session
        except Refusal as refusal:
            reasons.append(refusal)
    if len(tried) > 1:
        reasons.append(Refusal("bad-mac", "AUT-01"))
        if message.counter * len(tried) > world.limits.forward_jump:
            reasons.append(Refusal("work-limit-exceeded", "BND-01"))
    raise Refusals(reasons)


def _ruled(world: World, event: Event, message: Message, reasons: list[Refusal]) -> list[Refusal]:
    """Name the invariant by what the attacker did, where the reason alone does not say it."""
    rule = None
    if message.handle not in world.delivered:
        # No repeat: its key was dropped at the edge of the window.
        reasons = [Refusal(reason.code, reason.rule.replace("CTR-03", "CTR-04")) for reason in reasons]
    if event.op.kind is Kind.TAMPER:
        rule = RULE_OF_TAMPER.get(TAMPERS[event.op["field"]])
        if rule == "IDC-05":
            # A weak key may be refused where it is read, before anything else is looked at.
            reasons = [*reasons, Refusal("invalid-key", rule)]
    elif (event.actor, event.peer) != (message.receiver, message.sender):
        rule = "IDC-04"
    elif event.op.kind is Kind.REPLAY and message.outer is not None and reasons[0].rule in ("CTR-03", "KEY-03"):
        rule = "CTR-06" if message.outer.prekey_id is None else reasons[0].rule
    if rule is None or reasons[0].rule in ("IDC-01", "IDC-02", "IDC-08"):
        return reasons
    return [Refusal(reason.code, rule) for reason in reasons]


def inject(world: World, event: Event) -> Expect:
    """Bytes that nobody sent."""
    what = JUNK[event.op["what"]]
    # A receiver may find what the bytes name, or do not name, missing before it finds them malformed.
    codes = PARSE_REFUSALS | MISSING
    world.diverged |= event.outcome is Outcome.DONE
    return Expect(False, codes, "AUT-01" if what == "well-formed" else "PAR-01")
