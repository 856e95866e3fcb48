"""Prekey bundles: what an initiator makes of an honest one, and why it refuses a forged one.

Source: X3DH, sections 3.2 and 3.3.
"""

from __future__ import annotations

from dataclasses import replace

from pawl_spec.history import Event, Outcome
from pawl_spec.model.expect import Expect, refuse
from pawl_spec.model.state import Bundle, Chain, Party, Session
from pawl_spec.model.terms import LOW, Refusal
from pawl_spec.model.world import World, ends, took_effect
from pawl_spec.trace import FORGERIES, Kind


def establish(world: World, event: Event) -> Expect:
    """Process a bundle of the peer, which the attacker may have changed."""
    me, other = ends(event)
    actor, peer = world.parties[me], world.parties[other]
    prekey = None
    if event.prekey_id is not None:
        # Handing out a bundle with a one-time prekey is what creates it.
        prekey = peer.prekeys[event.prekey_id] = world.terms.fresh("prekey")
    signature = world.terms("signature", peer.identity, peer.signed_prekey)
    bundle = Bundle(peer.identity, peer.signed_prekey, signature, event.prekey_id, prekey)
    if event.op.kind is Kind.FORGE_BUNDLE:
        bundle = _forged(world, bundle, FORGERIES[event.op["how"]], actor.compatible)
    reasons = _bundle_reasons(world, bundle)
    question, doubts = world.decide(actor, other, bundle.identity)
    if reasons or doubts:
        world.diverged |= event.outcome is Outcome.DONE
        # Nobody is asked about a bundle that is refused anyway.
        return refuse([*reasons, *doubts])._replace(question=None if reasons else question)
    tells: frozenset[str] = frozenset({"compatibility-used"} if bundle.fallback else ())
    if took_effect(event):
        tells |= world.pin(actor, other, bundle.identity)
        world.add_session(actor, other, _initiate(world, actor, bundle, event.step))
    elif event.outcome is Outcome.REFUSED:
        world.diverged = True
    unless = "IDC-09" if bundle.fallback else "CNF-01"
    return Expect(True, unless=unless, question=question, tells=tells)


def _forged(world: World, bundle: Bundle, how: str, compatible: frozenset[str]) -> Bundle:
    mine = world.attacker
    match how:
        case "bad-signature":
            return replace(bundle, signature=world.terms.fresh("forged"))
        case "short-signature":
            return replace(bundle, defect=("invalid-signature", "IDC-03"))
        case "swap-signed-prekey":
            return replace(bundle, signed_prekey=mine)
        case "swap-identity":
            return replace(bundle, identity=mine)
        case "attacker-bundle":
            return replace(bundle, identity=mine, signed_prekey=mine, signature=world.terms("signature", mine, mine))
        case "low-order-signed-prekey":
            return replace(bundle, identity=mine, signed_prekey=LOW, signature=world.terms("signature", mine, LOW))
        case "low-order-prekey":
            return replace(bundle, prekey=LOW)
        case "swap-prekey":
            return replace(bundle, prekey=mine)
        case "key-type":
            return replace(bundle, defect=("invalid-key", "IDC-05"))
        case "untyped-signed-prekey" | "untyped-prekey" | "untyped-identity-key":
            if "untyped-keys" in compatible:
                return replace(bundle, fallback=True)
            return replace(bundle, defect=("invalid-key", "IDC-09"))
        case "long-key" | "empty-key":
            return replace(bundle, defect=("invalid-key", "PAR-05"))
        case "long-signature":
            return replace(bundle, defect=("invalid-signature", "PAR-05"))
        case _:  # "prekey-id": an id that the owner does not have
            return replace(bundle, prekey_id=-1)


def _bundle_reasons(world: World, bundle: Bundle) -> list[Refusal]:
    """Every reason to refuse the bundle; which one is named first is the target's affair."""
    reasons = []
    if bundle.defect is not None:
        reasons.append(Refusal(*bundle.defect))
    if bundle.signature != world.terms("signature", bundle.identity, bundle.signed_prekey):
        reasons.append(Refusal("invalid-signature", "IDC-03"))
    if LOW in (bundle.identity, bundle.signed_prekey, bundle.prekey):
        reasons.append(Refusal("invalid-key", "IDC-05"))
    return reasons


def _initiate(world: World, actor: Party, bundle: Bundle, step: int) -> Session:
    t = world.terms
    base, ratchet = t.fresh("base"), t.fresh("ratchet")
    secret = world.agreement(
        t.agree(actor.identity, bundle.signed_prekey),
        t.agree(base, bundle.identity),
        t.agree(base, bundle.signed_prekey),
        None if bundle.prekey is None else t.agree(base, bundle.prekey),
    )
    root, sending = world.ratchet.root_step(t("root", secret), ratchet, bundle.signed_prekey)
    first = Chain(bundle.signed_prekey, t("chain", secret), born=step)
    return Session(
        base=base,
        remote=bundle.identity,
        root=root,
        ratchet=ratchet,
        sending=sending,
        counter=0,
        previous=0,
        receiving=(first,),
        pending=(bundle.prekey_id, bundle.signed_prekey),
        created=world.now,
        born=step,
    )
