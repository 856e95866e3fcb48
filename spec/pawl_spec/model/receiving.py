"""Receiving: which messages are accepted, and for what reasons the others are refused.

Source: Double Ratchet, section 3.5; X3DH, section 3.4.
"""

from __future__ import annotations

from pawl_spec.history import Event, Outcome
from pawl_spec.model.expect import MISSING, PARSE_REFUSALS, Expect, refuse
from pawl_spec.model.ratchet import chain_of
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
    known = _known(party, peer, message)
    extra = _others(party, peer)
    question = None
    try:
        if message.outer is None:
            result, old = _receive_signal(world, party, peer, message, world.usable(party, peer), event.step)
        elif known is not None:
            result, old = _receive_known(world, party, peer, message, message.outer, known, event.step)
        else:
            question, doubts = world.decide(party, peer, message.outer.identity)
            result, old = _receive_first(world, party, message, message.outer, doubts, event.step), None
            if doubts:
                # Authenticated, and refused by the user's decision.
                raise Refusals(doubts)
    except Refusals as refusals:
        world.diverged |= event.outcome is Outcome.DONE
        reasons = _ruled(world, event, message, refusals.reasons)
        asked = question if all(reason.code == "untrusted-identity" for reason in refusals.reasons) else None
        expect = refuse(reasons)._replace(extra=extra, question=asked)
        return expect._replace(codes=expect.codes | PARSE_REFUSALS) if message.lenient else expect
    late = old is not None and party.sessions[peer][0] is not old
    front = _promotes(world, result.starts_chain)
    if party.armed.get("plaintext") in BREAKS_THE_HOOK:
        # The application could not store the plaintext: then nothing has happened.
        world.diverged |= event.outcome is Outcome.DONE
        codes = frozenset({"callback-failed"}) | (PARSE_REFUSALS if message.lenient else frozenset())
        return Expect(False, codes, "IDC-10", extra=extra, question=question)
    tells: frozenset[str] = frozenset()
    if took_effect(event):
        world.delivered.add(message.handle)
        if old is not None:
            replace_session(party, peer, old, result.session, to_front=front and late)
        elif message.outer is not None:
            tells, dropped = _consume(world, party, peer, message.outer, result.session)
            extra += dropped
    elif event.outcome is Outcome.REFUSED:
        world.diverged = not message.lenient
    if message.fallback and (old is None or TAMPERS[event.op["field"]] != "prekey-id-zero"):
        # The id is not looked at where the session is known.
        tells |= {"compatibility-used"}
    return Expect(
        None if message.lenient else True,
        PARSE_REFUSALS,
        "PAR-02",
        unless=_unless(party, event, message),
        plaintext=result.handle,
        late=late and not front,
        question=question,
        tells=tells,
        extra=extra + result.keys,
    )


def _others(party: Party, peer: int) -> int:
    """How many sessions may have to be tried beside the first."""
    return max(len(party.sessions.get(peer, ())) - 1, 0)


BREAKS_THE_HOOK = frozenset({"raise", "nonsense", "call-encrypt", "call-decrypt", "call-trust"})
"""What the hook that stores the plaintext may do so that the message is not read: it must answer nothing, and a call
into the library from inside is refused and comes out of it.
"""


def _unless(party: Party, event: Event, message: Message) -> str:
    """The invariant that a refusal of an acceptable message breaks."""
    if event.op.kind is Kind.TAMPER:
        name = TAMPERS[event.op["field"]]
        return "IDC-09" if message.fallback else "PAR-03" if name == "drop-registration-id" else "PAR-02"
    late = message.outer is not None and message.outer.signed_prekey != party.signed_prekey
    return "KEY-07" if late else "CTR-04"


def _promotes(world: World, starts_chain: bool) -> bool:
    return world.profile.promotes == "always" or (world.profile.promotes == "on-new-chain" and starts_chain)


def _known(party: Party, peer: int, message: Message) -> Session | None:
    if message.outer is None:
        return None
    return next((s for s in party.sessions.get(peer, ()) if s.base == message.outer.base), None)


def _receive_known(
    world: World, party: Party, peer: int, message: Message, outer: Outer, session: Session, step: int
) -> tuple[Received, Session]:
    """A repeated prekey message: its inner message, on the session that its base key names."""
    if outer.identity != session.remote or session.remote != party.pins.get(peer):
        rule = "IDC-04" if outer.identity != session.remote else "IDC-08"
        # Its counter may be looked at first.
        reasons = ("untrusted-identity", "bad-mac", "duplicate-message")
        raise Refusals([Refusal(reason, rule) for reason in reasons])
    return _receive_signal(world, party, peer, message, [session], step)


def _receive_first(
    world: World, party: Party, message: Message, outer: Outer, doubts: list[Refusal], step: int
) -> Received:
    """A prekey message that would build a session; `doubts` are the reasons not to trust its identity."""
    reasons = list(doubts)
    signed = next((held for held in party.signed_prekeys if held.key == outer.signed_prekey), None)
    grace = world.limits.signed_prekey_grace
    if signed is None:
        reasons.append(Refusal("unknown-signed-prekey", "AUT-01"))
    elif signed.superseded is not None and grace is not None and world.now - signed.superseded > grace:
        reasons.insert(0, Refusal("unknown-signed-prekey", "KEY-07"))
    prekey = None
    if outer.prekey_id is not None:
        prekey = party.prekeys.get(outer.prekey_id)
        if prekey is None:
            reasons.append(Refusal("unknown-prekey", "KEY-03"))
    elif world.profile.needs_one_time:
        reasons.append(Refusal("unknown-prekey", "CNF-01"))
    elif outer.base in party.seen:
        reasons.append(Refusal("replayed-prekey-message", "CTR-06"))
    own = party.signed_prekey if signed is None else signed.key
    try:
        received = _respond(world, party, message, outer, own, prekey, step)
    except Refusal as refusal:
        raise Refusals([*reasons, refusal]) from None
    if len(reasons) > len(doubts):
        # The message would not authenticate either where a prekey is missing.
        raise Refusals(reasons)
    return received


def _respond(
    world: World, party: Party, message: Message, outer: Outer, signed_prekey: Term, prekey: Term | None, step: int
) -> Received:
    t = world.terms
    secret = world.agreement(
        t.agree(outer.identity, signed_prekey),
        t.agree(outer.base, party.identity),
        t.agree(outer.base, signed_prekey),
        None if prekey is None else t.agree(outer.base, prekey),
    )
    session = Session(
        base=outer.base,
        remote=outer.identity,
        root=t("root", secret),
        ratchet=signed_prekey,
        sending=t("chain", secret),
        counter=0,
        previous=0,
        receiving=(),
        pending=None,
        created=world.now,
        born=step,
    )
    return world.ratchet.receive(party.identity, session, message, step)


def _consume(world: World, party: Party, peer: int, outer: Outer, session: Session) -> tuple[frozenset[str], int]:
    """What a first message uses up, and whom it pins: only now, when it is authenticated.

    Returns what an operator is told, and how many rows are dropped.
    """
    tells = world.pin(party, peer, outer.identity)
    if outer.prekey_id is None:
        party.seen.add(outer.base)
    else:
        del party.prekeys[outer.prekey_id]
    return tells, world.add_session(party, peer, session)


def _receive_signal(
    world: World, party: Party, peer: int, message: Message, candidates: list[Session], step: int
) -> tuple[Received, Session]:
    """Try the sessions that know the message's ratchet key; if none does, all of them."""
    if not candidates:
        replaced = bool(party.sessions.get(peer))
        reasons = [Refusal("no-session", "IDC-08" if replaced else "CNF-01")]
        raise Refusals([*reasons, Refusal("untrusted-identity", "IDC-08")] if replaced else reasons)
    knowing = [session for session in candidates if chain_of(session, message.ratchet) is not None]
    tried = knowing or candidates
    reasons = []
    for session in tried:
        try:
            return world.ratchet.receive(party.identity, session, message, step), session
        except Refusal as refusal:
            reasons.append(refusal)
            if session.pending is not None and refusal.code == "too-far-ahead" and world.profile.closes_chains:
                # Not everybody holds a chain for the peer's signed prekey, which would have to be filled before it is
                # closed: whoever holds none comes as far as the MAC.
                reasons.append(Refusal("bad-mac", "AUT-01"))
    if any(session not in tried for session in party.sessions.get(peer, ())):
        # A retired session, one with a former identity, may be the one that would read it: refused for that identity.
        reasons.append(Refusal("untrusted-identity", "IDC-08"))
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
    actor, peer = ends(event)
    extra = _others(world.parties[actor], peer)
    return Expect(False, codes, "AUT-01" if what == "well-formed" else "PAR-01", extra=extra)
