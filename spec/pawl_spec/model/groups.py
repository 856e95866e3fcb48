"""Groups: who may read what, and why the rest is refused.

Each sender has a chain of its own, which goes one way, and a key that signs what it sends. A member has read access
from where the chain was when it was given. A chain is named by its id and its signing key; a message names the id
alone, so that of one sender's chains in a group one may have an id.

Source: the sender keys of existing clients; Double Ratchet, sections 2.6 (out-of-order messages) and 7.2 (KDF_CK).
"""

from __future__ import annotations

from dataclasses import replace

from pawl_spec.history import Event, Outcome
from pawl_spec.model.expect import PARSE_REFUSALS, Expect, refuse
from pawl_spec.model.knowledge import group_key
from pawl_spec.model.receiving import BREAKS_THE_HOOK
from pawl_spec.model.sending import is_stale, step
from pawl_spec.model.state import Distribution, GroupMessage, Membership, Party, SenderChain
from pawl_spec.model.terms import LOW, Refusal, Refusals, Term
from pawl_spec.model.world import World, ends, took_effect
from pawl_spec.trace import COUNTER_DELTAS, GROUP_TAMPERS, GROUPS, SMUGGLES, Kind

NOBODY: Term = -2
"""Signed what nobody's key verifies."""

LAST_ITERATIONS = 2**32 - 2
"""Where a chain is near its end: two messages are left."""

ITERATIONS = 2**32

UNSIGNED = frozenset({"invalid-signature", "no-sender-key", "wrong-group", "too-far-ahead", "duplicate-message"})
"""Refusals that may come first where a reader skips what it should refuse: the signature covers all bytes."""


def layout(world: World, event: Event) -> None:
    """All of a group write and read this layout, from its first use on."""
    if event.outcome is Outcome.DONE:
        (world.earlier.add if event.op["layout"] else world.earlier.discard)(event.op["group"])


# -- one's own chain --------------------------------------------------------------------------------------------------


def create(world: World, event: Event) -> Expect:
    """A party's own chain, as it is now, as bytes for a member; the first time it is made."""
    actor, group = event.op["actor"], event.op["group"]
    party = world.parties[actor]
    if took_effect(event):
        _looked_at(world, party, group)
        if group not in party.own_chains:
            party.own_chains[group] = new_chain(world)
        if event.outcome is Outcome.DONE:
            world.distributions.append(Distribution(actor, group, group, party.own_chains[group]))
    elif event.outcome is Outcome.REFUSED:
        world.diverged = True
    return Expect(True, unless="CNF-01")


def new_chain(world: World) -> SenderChain:
    """A chain that nobody has: its id, key and signing key are fresh."""
    t = world.terms
    return SenderChain(t.fresh("chain-id"), t.fresh("signing"), t.fresh("sender-chain"))


def rotate(world: World, event: Event) -> Expect:
    """A new chain takes the place of the old one; nobody has it yet."""
    if took_effect(event):
        world.parties[event.op["actor"]].own_chains[event.op["group"]] = new_chain(world)
    elif event.outcome is Outcome.REFUSED:
        world.diverged = True
    return Expect(True, unless="CNF-01")


def members(world: World, event: Event) -> Expect:
    """Who is to be given the chain through the sessions. A group without a chain gets its first one.

    If somebody who was given the present one so is no member any more, a new one is begun (GRP-04). Where chains are
    given by hand, nobody was given one that way, and no change of members rotates.
    """
    actor, group = event.op["actor"], event.op["group"]
    party = world.parties[actor]
    if took_effect(event):
        _looked_at(world, party, group)
        if group not in party.own_chains:
            party.own_chains[group] = new_chain(world)
        wanted = frozenset(each for each in range(len(world.parties)) if event.op["mask"] >> each & 1) - {actor}
        removed = party.members.get(group, frozenset()) - wanted
        party.members[group] = wanted
        present = party.own_chains[group].id
        had_it = [party.gave.pop((group, each), None) for each in sorted(removed)]
        if any(gave is not None and gave[0] == present for gave in had_it):
            party.own_chains[group] = new_chain(world)
    world.diverged |= event.outcome is Outcome.REFUSED
    return Expect(True, unless="CNF-01")


def _looked_at(world: World, party: Party, group: int) -> None:
    """A new chain, if a member was given the present one under an identity that was replaced since (IDC-08)."""
    own = party.own_chains.get(group)
    if own is None:
        return
    for (place, member), (chain, identity, _) in party.gave.items():
        if place == group and chain == own.id and identity != party.pins.get(member):
            party.own_chains[group] = new_chain(world)
            return


def share(world: World, event: Event) -> Expect:
    """A message for all members, and the chain, through the session with it, for each that is not known to have it."""
    actor, group = event.op["actor"], event.op["group"]
    party = world.parties[actor]
    wanted = party.members.get(group, frozenset())
    if not wanted:
        world.diverged |= event.outcome is Outcome.DONE
        return Expect(False, frozenset({"no-members"}), "CNF-01")
    before = party.own_chains[group]
    _looked_at(world, party, group)
    own = party.own_chains[group]
    waiting = [each for each in sorted(wanted) if party.gave.get((group, each), (0, 0, False))[::2] != (own.id, True)]
    sessions = {each: next(iter(world.usable(party, each)), None) for each in waiting}
    usable = {each: found for each, found in sessions.items() if found is not None and not is_stale(world, found)}
    if len(usable) < len(waiting):
        party.own_chains[group] = before
        world.diverged |= event.outcome is Outcome.DONE
        return Expect(False, frozenset({"members-without-session"}), "GRP-04")
    if not took_effect(event):
        party.own_chains[group] = before
        world.diverged |= event.outcome is Outcome.REFUSED
        return Expect(True, unless="CNF-01", gives=frozenset(waiting))
    done = event.outcome is Outcome.DONE
    for each, session in usable.items():
        message = step(world, actor, each, session)
        if done:
            world.messages.append(message)
        party.gave[group, each] = own.id, session.remote, False
    if done and waiting:
        world.distributions.append(Distribution(actor, group, group, own))
    party.own_chains[group] = own._replace(next=own.next + 1)
    if done:
        world.group_messages.append(_message(world, actor, group, own))
        # It gave the chain to others: which messages there are is no longer known here.
        world.diverged |= event.group is not None and len(event.group.gave) != len(waiting)
    return Expect(True, unless="CNF-01", iteration=own.next, chain=own.id, gives=frozenset(waiting))


def came(world: World, event: Event) -> Expect:
    """The application says that what was given last has come: it is not given again."""
    party, group = world.parties[event.op["actor"]], event.op["group"]
    own = party.own_chains.get(group)
    if took_effect(event) and own is not None and event.group is not None:
        for gave in event.group.gave:
            chain, identity, _ = party.gave.get((group, gave.peer), (None, None, False))
            if chain == own.id and identity is not None:
                party.gave[group, gave.peer] = own.id, identity, True
    world.diverged |= event.outcome is Outcome.REFUSED
    return Expect(True, unless="CNF-01")


def send(world: World, event: Event) -> Expect:
    """The message that is due, on the present chain; before the first chain there is none to send on."""
    actor, group = event.op["actor"], event.op["group"]
    party = world.parties[actor]
    own = party.own_chains.get(group)
    if own is None:
        world.diverged |= event.outcome is Outcome.DONE
        return Expect(False, frozenset({"no-sender-key"}), "CNF-01")
    if took_effect(event):
        _looked_at(world, party, group)
        own = party.own_chains[group]
        party.own_chains[group] = own._replace(next=own.next + 1)
        if event.outcome is Outcome.DONE:
            world.group_messages.append(_message(world, actor, group, own))
    elif event.outcome is Outcome.REFUSED:
        world.diverged = True
    return Expect(True, unless="CNF-01", iteration=own.next, chain=own.id, derives=2)


def _message(world: World, sender: int, group: int, chain: SenderChain, *, crafted: bool = False) -> GroupMessage:
    return GroupMessage(
        handle=len(world.group_messages),
        sender=sender,
        group=group,
        named=None if group in world.earlier else group,
        id=chain.id,
        iteration=chain.next,
        key=group_key(world.terms, chain.base, chain.next),
        base=chain.base,
        signed=chain.signing,
        crafted=crafted,
    )


# -- the chains of others ---------------------------------------------------------------------------------------------


def join(world: World, event: Event) -> Expect | None:
    """A distribution comes from its sender, through the session with it."""
    if event.group is None or event.group.distribution is None or event.actor is None:
        return None
    given = world.distributions[event.group.distribution]
    party = world.parties[event.actor]
    held = party.memberships.get((given.sender, given.group), Membership())
    pinned = party.pins.get(given.sender)
    try:
        after = _joined(world, held, given, pinned)
    except Refusals as refusals:
        world.diverged |= event.outcome is Outcome.DONE
        return refuse(refusals.reasons)
    if after is held:
        world.given_again.add((event.actor, given.sender, given.group, given.chain.name))
    if took_effect(event):
        party.memberships[given.sender, given.group] = after
    elif event.outcome is Outcome.REFUSED:
        world.diverged = True
    # Who takes it again, and stays where it is, does right.
    return Expect(True, unless="GRP-03" if after is held else "CNF-01")


def _joined(world: World, held: Membership, given: Distribution, pinned: Term | None) -> Membership:
    """What a distribution makes of what is held. Raises: Refusals."""
    if given.defect is not None:
        raise Refusals([Refusal(code, given.defect[1]) for code in sorted(given.defect[0])])
    chain = given.chain
    reasons = []
    if given.named != given.group:
        reasons.append(Refusal("wrong-group", "GRP-05"))
    if chain.signing == LOW:
        reasons.append(Refusal("invalid-key", "IDC-05"))
    if reasons:
        raise Refusals(reasons)
    same = _is_same(held, pinned)
    has = any(each.name == chain.name for each in held.chains)
    if has and same:
        return held
    if has or chain.name in held.retired:
        raise Refusals([Refusal("retired-sender-key", "GRP-03")])
    others = [each for each in held.chains if same and each.id != chain.id]
    most = world.limits.sender_chains
    chains = (chain._replace(kept=frozenset()), *others)
    return _bounded(world, held, chains if most is None else chains[:most], pinned)


def _bounded(world: World, held: Membership, chains: tuple[SenderChain, ...], identity: Term | None) -> Membership:
    """With these chains; those that are held no longer are remembered, so many of them."""
    names = {each.name for each in chains}
    retired = (*held.retired, *(each.name for each in reversed(held.chains) if each.name not in names))
    most = world.limits.retired_chains
    return Membership(identity, chains, retired if most is None else retired[max(len(retired) - most, 0) :])


def _is_same(held: Membership, pinned: Term | None) -> bool:
    """Whether the chains came under the identity that is pinned now; whoever pinned none then takes any."""
    return held.identity is None or held.identity == pinned


def forget(world: World, event: Event) -> Expect:
    """All chains of a sender go, for good."""
    actor, peer = ends(event)
    party, place = world.parties[actor], (peer, event.op["group"])
    held = party.memberships.get(place)
    if took_effect(event):
        if held is not None and held.chains:
            party.memberships[place] = _bounded(world, held, (), held.identity)
    elif event.outcome is Outcome.REFUSED:
        world.diverged = True
    return Expect(True, unless="CNF-01")


# -- messages ---------------------------------------------------------------------------------------------------------


def deliver(world: World, event: Event) -> Expect | None:
    """A group message, or a changed copy, reaches a party as from somebody, in some group."""
    if event.group is None or event.group.message is None or event.group.group is None or event.actor is None:
        return None
    message = world.group_messages[event.group.message]
    if event.op.kind is Kind.GROUP_TAMPER:
        message = tampered(world, message, event)
    actor, peer = ends(event)
    party, place = world.parties[actor], (peer, event.group.group)
    held = party.memberships.get(place, Membership())
    try:
        moved, skipped, reads = _received(world, party, place, held, message, event)
    except Refusals as refusals:
        world.diverged |= event.outcome is Outcome.DONE
        # A signature costs no derivation: where it does not hold, nothing was derived (GRP-02).
        unsigned = refusals.reasons[0].code == "invalid-signature"
        return refuse(refusals.reasons)._replace(derives=0 if unsigned else None)
    if reads and party.armed.get("plaintext") in BREAKS_THE_HOOK:
        # The application could not store the plaintext: then nothing has happened.
        world.diverged |= event.outcome is Outcome.DONE
        return Expect(False, frozenset({"callback-failed"}), "IDC-10")
    if took_effect(event):
        party.memberships[place] = moved
    elif event.outcome is Outcome.REFUSED and reads:
        world.diverged = True
    if not reads:
        # The key on which both agree is not the one under which the bytes were made: whoever signs what it cannot
        # know sends noise, and noise is a plaintext once in 256 times.
        if not took_effect(event):
            return Expect(None, frozenset({"invalid-ciphertext"}))
        return Expect(None)
    again = _given_again(world, event, message)
    unless = "GRP-03" if again else "GRP-01"
    return Expect(True, unless=unless, plaintext=message.handle, extra=skipped, derives=2 + skipped)


def _given_again(world: World, event: Event, message: GroupMessage) -> bool:
    """Whether the chain of a message was given to the receiver again: it must be where it was (GRP-03)."""
    group = None if event.group is None else event.group.group
    return any(each[:3] == (event.actor, event.peer, group) and each[3][0] == message.id for each in world.given_again)


def _received(
    world: World, party: Party, place: tuple[int, int], held: Membership, message: GroupMessage, event: Event
) -> tuple[Membership, int, bool]:
    """What is held after `message`; how many keys it passes over; whether it can be read. Raises: Refusals."""
    if message.defect is not None:
        raise Refusals([Refusal(code, message.defect[1]) for code in sorted(message.defect[0])])
    sender, group = place
    moved_on = sender != message.sender or group != message.group
    reasons = []
    if (message.named is None) is not (group in world.earlier):
        # A group that writes the other layout: the fields are not those that are due.
        raise Refusals([Refusal("malformed-message", "GRP-05")])
    if message.named is not None and message.named != group:
        reasons.append(Refusal("wrong-group", "GRP-05"))
    chain = next((each for each in held.chains if each.id == message.id), None)
    if chain is None or not _is_same(held, party.pins.get(sender)):
        # Of a chain that it was never given, or that is gone, a member reads nothing.
        reasons.append(Refusal("no-sender-key", "GRP-05" if moved_on or chain is not None else "GRP-04"))
        raise Refusals(reasons)
    if message.signed != chain.signing:
        forged = event.op.kind is Kind.GROUP_TAMPER and GROUP_TAMPERS[event.op["field"]] != "re-signed"
        reasons.insert(0, Refusal("invalid-signature", "GRP-02" if forged else "GRP-05"))
    skipped = message.iteration - chain.next
    if skipped > world.limits.forward_jump:
        reasons.append(Refusal("too-far-ahead", "GRP-06"))
    elif skipped < 0 and message.iteration not in chain.kept:
        reasons.append(Refusal("duplicate-message", "GRP-03" if _given_again(world, event, message) else "GRP-01"))
    if reasons:
        raise Refusals(reasons)
    after = replace(
        held, chains=tuple(_stepped(world, each, message) if each is chain else each for each in held.chains)
    )
    reads = message.key == group_key(world.terms, chain.base, message.iteration)
    return after, max(skipped, 0), reads


def _stepped(world: World, chain: SenderChain, message: GroupMessage) -> SenderChain:
    """The chain after a message that was read on it."""
    at = message.iteration
    if at < chain.next:
        return chain._replace(kept=chain.kept - {at})
    kept = chain.kept.union(range(chain.next, at))
    most = world.limits.kept_per_chain
    if most is not None and len(kept) > most:
        kept = frozenset(sorted(kept)[-most:])
    return chain._replace(next=at + 1, kept=kept)


# -- the attacker -----------------------------------------------------------------------------------------------------


def tampered(world: World, m: GroupMessage, event: Event) -> GroupMessage:
    """The symbolic counterpart of `pawl_gate.group_attacker.tamper`."""
    name, how = GROUP_TAMPERS[event.op["field"]], event.op["how"]
    changed = m._replace(signed=NOBODY)
    match name:
        case "signature" | "unknown-field" | "reorder-fields":
            # The bytes received are what is signed.
            return changed
        case "ciphertext":
            return changed._replace(key=world.terms.fresh("junk"))
        case "iteration":
            return changed._replace(iteration=(m.iteration + COUNTER_DELTAS[how % len(COUNTER_DELTAS)]) % ITERATIONS)
        case "chain-id":
            return changed._replace(id=world.terms.fresh("junk"))
        case "distribution-id":
            return changed._replace(named=(m.group + 1 + how % 2) % (len(GROUPS) + 1))
        case "re-signed":
            return m._replace(signed=world.attacker)
        case "version":
            return m._replace(defect=(frozenset({"unknown-version", "malformed-message"}) | UNSIGNED, "PAR-04"))
        case "oversized-ciphertext":
            return m._replace(defect=(frozenset({"malformed-message", "message-too-large"}), "PAR-03"))
        case "duplicate-field" | "overlong-varint" | "wrong-wire-type":
            return m._replace(defect=(frozenset({"malformed-message"}) | UNSIGNED, "PAR-02"))
        case "truncate" | "trailing-byte" | "empty" | "signature-alone":
            # The signature is the end of the bytes, so that another end is another signature.
            return m._replace(defect=(PARSE_REFUSALS | UNSIGNED, "PAR-01"))
        case _:  # what begins with "drop"
            return m._replace(defect=(frozenset({"malformed-message"}) | UNSIGNED, "PAR-03"))


def smuggle(world: World, event: Event) -> None:
    """A malicious member makes a distribution; whoever takes it is judged later."""
    if event.outcome is not Outcome.DONE:
        return
    sender, group, how = event.op["sender"], event.op["group"], SMUGGLES[event.op["how"]]
    world.distributions.append(_smuggled(world, sender, group, how, event.op["number"]))


def _smuggled(world: World, sender: int, group: int, how: str, number: int) -> Distribution:
    t = world.terms
    # One number is one chain, wherever it comes from.
    own = SenderChain(t("attacker's id", number), world.attacker, t("attacker's chain", number))
    made = Distribution(sender, group, group, own, real=False, crafted=True)
    match how:
        case "own":
            return made
        case "last-iterations":
            late = own._replace(base=t("attacker's late chain", number), next=LAST_ITERATIONS)
            return replace(made, chain=late)
        case "collision-own":
            return replace(made, chain=own._replace(id=_real(world, sender, group).chain.id))
        case "collision-other":
            return replace(made, chain=own._replace(id=_of_another(world, sender, group).chain.id))
        case "relayed":
            return replace(made, chain=_of_another(world, sender, group).chain, crafted=False)
        case "rewound":
            real = _real(world, sender, group).chain
            return replace(made, chain=real._replace(next=0, base=own.base), crafted=False)
        case "other-group":
            return replace(made, named=(group + 1) % len(GROUPS))
        case "low-order-signing-key":
            return replace(made, chain=own._replace(signing=LOW), crafted=False)
        case "unknown-field":
            return made
    codes, rule = frozenset({"malformed-message", "invalid-key"}), "PAR-05"
    if how == "version":
        codes = frozenset({"unknown-version", "malformed-message"})
    return replace(made, defect=(codes, rule), crafted=False)


def _real(world: World, sender: int, group: int) -> Distribution:
    """The last distribution of a chain on which a member itself sends."""
    return next(d for d in reversed(world.distributions) if d.real and (d.sender, d.group) == (sender, group))


def _of_another(world: World, sender: int, group: int) -> Distribution:
    return next(d for d in reversed(world.distributions) if d.real and d.sender != sender and d.group == group)


def craft(world: World, event: Event) -> None:
    """A malicious member sends on a chain of the attacker's own, as far ahead as it likes."""
    if event.outcome is not Outcome.DONE:
        return
    mine = [given for given in world.distributions if given.crafted]
    given = mine[event.op["chain"] % len(mine)]
    chain = given.chain._replace(next=(given.chain.next + event.op["ahead"]) % ITERATIONS)
    made = _message(world, given.sender, given.group, chain, crafted=True)
    world.group_messages.append(made if made.named is None else made._replace(named=given.named))
