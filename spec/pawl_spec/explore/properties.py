"""What must come of the model's rules: properties of single steps and of states.

They are stated without the rules that they check: over what was sent, accepted and refused, and over what the parties
then hold. Each names the invariant of the catalogue that it stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import Final

from pawl_spec.explore.ideal import Ideal
from pawl_spec.history import Event, Outcome
from pawl_spec.model.state import Message, Party, Session
from pawl_spec.trace import PARTIES, Kind, Op, op

HANDED_OVER: Final = frozenset({Kind.DELIVER, Kind.REPLAY})


@dataclass(frozen=True, slots=True)
class Step:
    """One operation, and the world before and after it."""

    before: Ideal
    event: Event
    after: Ideal


@dataclass(frozen=True, slots=True)
class Property:
    """Something that holds of every step, or of every state. `says` is None where it does."""

    name: str
    id: str
    """The invariant of the catalogue."""
    claim: str
    source: str


PROPERTIES: Final[dict[str, Property]] = {}
STEP_CHECKS: Final[list[tuple[Property, Callable[[Step], str | None]]]] = []
STATE_CHECKS: Final[list[tuple[Property, Callable[[Ideal], str | None]]]] = []


def _add(name: str, id_: str, source: str, doc: str | None) -> Property:
    made = PROPERTIES[name] = Property(name, id_, " ".join((doc or "").split()), source)
    return made


def of_step(id_: str, source: str) -> Callable[[Callable[[Step], str | None]], Callable[[Step], str | None]]:
    """Register a property of steps: what is wrong with one, or None."""

    def decorate(check: Callable[[Step], str | None]) -> Callable[[Step], str | None]:
        name = check.__name__.replace("_", "-")
        STEP_CHECKS.append((_add(name, id_, source, check.__doc__), check))
        return check

    return decorate


def of_state(id_: str, source: str) -> Callable[[Callable[[Ideal], str | None]], Callable[[Ideal], str | None]]:
    """Register a property of states: what is wrong with one, or None."""

    def decorate(check: Callable[[Ideal], str | None]) -> Callable[[Ideal], str | None]:
        name = check.__name__.replace("_", "-")
        STATE_CHECKS.append((_add(name, id_, source, check.__doc__), check))
        return check

    return decorate


def broken_step(step: Step) -> tuple[Property, str] | None:
    """The first property that the step breaks, and how."""
    for entry, check in STEP_CHECKS:
        wrong = check(step)
        if wrong is not None:
            return entry, wrong
    return None


def broken_state(world: Ideal) -> tuple[Property, str] | None:
    """The first property that the state breaks, and how."""
    for entry, check in STATE_CHECKS:
        wrong = check(world)
        if wrong is not None:
            return entry, wrong
    return None


# -- steps ------------------------------------------------------------------------------------------------------------


@of_step("CTR-03", "Double Ratchet, section 2.6")
def delivered_once(step: Step) -> str | None:
    """Nothing is delivered that was delivered before."""
    event = step.event
    if event.outcome is Outcome.DONE and event.plaintext is not None and event.plaintext in step.before.model.delivered:
        return f"m{event.plaintext} was delivered before"
    return None


@of_step("CTR-04", "Double Ratchet, section 2.6")
def nothing_is_lost(step: Step) -> str | None:
    """Whatever was sent and is delivered for the first time is read, in whatever order it comes."""
    event = step.event
    if event.op.kind not in HANDED_OVER or event.message in step.before.model.delivered:
        return None
    if event.outcome is Outcome.REFUSED:
        return f"m{event.message} was never delivered, and is refused ({event.code})"
    return None


@of_step("AUT-01", "Double Ratchet, section 3.4")
def read_is_what_was_sent(step: Step) -> str | None:
    """A message gives its own plaintext."""
    event = step.event
    if event.op.kind in HANDED_OVER and event.outcome is Outcome.DONE and event.plaintext != event.message:
        return f"m{event.message} gave the plaintext of m{event.plaintext}"
    return None


@of_step("CTR-05", "Double Ratchet, section 3.5")
def refusals_change_nothing(step: Step) -> str | None:
    """A refused operation leaves every party as it was."""
    if step.event.outcome is Outcome.REFUSED and step.before.model.parties != step.after.model.parties:
        return f"refused ({step.event.code}), yet a state changed"
    return None


@of_step("CNF-01", "Double Ratchet, section 3.4")
def a_session_can_send(step: Step) -> str | None:
    """Whoever has a session can send on it, and whoever has a bundle can begin one."""
    event = step.event
    if event.op.kind in (Kind.SEND, Kind.ESTABLISH) and event.outcome is Outcome.REFUSED:
        return f"refused ({event.code})"
    return None


@of_step("CTR-01", "Double Ratchet, section 2.1")
def positions_are_used_once(step: Step) -> str | None:
    """The counters of a ratchet key are 0, 1, 2 and so on, and no message key is used twice."""
    if step.event.op.kind is not Kind.SEND or step.event.outcome is not Outcome.DONE:
        return None
    *earlier, sent = step.after.model.messages
    if any(message.key == sent.key for message in earlier):
        return f"m{sent.handle} uses the key of an earlier message"
    due = sum(message.ratchet == sent.ratchet for message in earlier)
    return f"counter {sent.counter}, {due} was due" if sent.counter != due else None


@of_step("SEC-02", "Double Ratchet, section 2.3")
def each_turn_has_a_new_key(step: Step) -> str | None:
    """Whoever reads the first message under a peer's new ratchet key makes a new one of its own."""
    event = step.event
    if event.op.kind not in HANDED_OVER or event.outcome is not Outcome.DONE or event.message is None:
        return None
    message = step.after.model.messages[event.message]
    before = _session(step.before.model.parties[message.receiver], message)
    after = _session(step.after.model.parties[message.receiver], message)
    if after is None or (before is not None and message.ratchet in _heard(before)):
        return None
    used = {each.ratchet for each in step.before.model.messages if each.sender == message.receiver}
    used |= {session.ratchet for session in _sessions(step.before.model.parties[message.receiver])}
    return "its answer goes out under an old ratchet key" if after.ratchet in used else None


@of_step("CTR-07", "Sesame, section 3.3")
def late_messages_change_no_session(step: Step) -> str | None:
    """A late message, on a chain that was heard before, does not make another session the current one."""
    event = step.event
    if event.op.kind not in HANDED_OVER or event.outcome is not Outcome.DONE or event.message is None:
        return None
    message = step.after.model.messages[event.message]
    before = step.before.model.parties[message.receiver].sessions.get(message.sender, ())
    after = step.after.model.parties[message.receiver].sessions.get(message.sender, ())
    heard = any(session.base == message.session and message.ratchet in _heard(session) for session in before)
    return "another session is the current one now" if heard and before[0].base != after[0].base else None


@of_step("GRP-01", "Double Ratchet, section 2.1")
def group_positions_are_used_once(step: Step) -> str | None:
    """No message key of a group is used twice."""
    if step.event.op.kind is not Kind.GROUP_SEND or step.event.outcome is not Outcome.DONE:
        return None
    *earlier, sent = step.after.model.group_messages
    return "it uses the key of an earlier message" if any(each.key == sent.key for each in earlier) else None


@of_step("GRP-03", 'threat model, "group sender key flows"')
def members_read_once_what_they_were_given(step: Step) -> str | None:
    """A member reads a message exactly if the chain was given to it no later than that, and it has not read it."""
    event, before = step.event, step.before
    if event.op.kind is not Kind.GROUP_DELIVER or event.actor is None or event.group is None:
        return None
    if event.group.message is None:
        return None
    message = before.model.group_messages[event.group.message]
    first = [at for who, base, at in before.given_first if (who, base) == (event.actor, message.base)]
    due = bool(first) and first[0] <= message.iteration and (event.actor, message.handle) not in before.group_read
    if due != (event.outcome is Outcome.DONE):
        return f"m{message.handle} is {'refused' if due else 'read'}, by whom it is{'' if due else ' not'} to be read"
    return None


@of_step("GRP-03", 'threat model, "group sender key flows"')
def distributions_are_taken(step: Step) -> str | None:
    """A chain that was given can be taken at any time, and once more."""
    if step.event.op.kind is Kind.GROUP_JOIN and step.event.outcome is Outcome.REFUSED:
        return f"refused ({step.event.code})"
    return None


# -- states -----------------------------------------------------------------------------------------------------------


@of_state("KEY-01", "Double Ratchet, section 8.2")
def used_keys_are_gone(world: Ideal) -> str | None:
    """The sender of a message holds nothing that reads it, nor does its receiver once it was delivered."""
    model = world.model
    for message in model.messages:
        chain = model.terms.parts(message.key)[1]
        for session in _sessions(model.parties[message.sender]):
            if session.sending == chain and session.counter <= message.counter:
                return f"the sender of m{message.handle} can still read it"
        if message.handle not in model.delivered:
            continue
        for session in _sessions(model.parties[message.receiver]):
            for held in session.receiving:
                ahead = held.next <= message.counter and not held.closed
                if held.base == chain and (ahead or message.counter in held.kept):
                    return f"m{message.handle} was delivered, and can still be read"
    return None


@of_state("KEY-03", "X3DH, section 3.4")
def prekeys_serve_once(world: Ideal) -> str | None:
    """A one-time prekey is gone once a message that names it was delivered, and stands in one session at most."""
    model = world.model
    for message in model.messages:
        outer = message.outer
        if outer is None or outer.prekey_id is None or message.handle not in model.delivered:
            continue
        if outer.prekey_id in model.parties[message.receiver].prekeys:
            return f"the prekey that m{message.handle} names is still there"
    for party in model.parties:
        bases = [session.base for session in _sessions(party)]
        if len(bases) > len(set(bases)):
            return "two sessions from one base key"
    return None


@of_state("CNF-01", "Double Ratchet, section 2.3")
def both_ends_agree(world: Ideal) -> str | None:
    """The root keys of a session's ends are one ratchet step apart, and a chain has one key at both ends."""
    parts = world.model.terms.parts
    for one, other in permutations(world.model.parties, 2):
        for mine, theirs in _shared(one, other):
            if mine.root == theirs.root:
                return "both ends hold the same root key: one of them made no step"
            steps = {parts(mine.root)[1], parts(theirs.root)[1]}
            if mine.root not in steps and theirs.root not in steps:
                return "the root keys of both ends have parted"
            for chain in mine.receiving:
                if chain.ratchet == theirs.ratchet and chain.base != theirs.sending:
                    return "the ends hold different keys for one chain"
    return None


@of_state("SEC-01", "Double Ratchet, section 8.2")
def what_was_read_stays_secret(world: Ideal) -> str | None:
    """Of the messages sent before a state was taken, it gives those that were on their way to the party, no others."""
    model = world.model
    if world.taken is None:
        return None
    party, delivered = world.taken
    reads = model.knowledge.reads(model.terms, model.messages)
    for message in model.messages[: model.knowledge.recorded]:
        due = message.receiver == party and message.handle not in delivered
        if (message.handle in reads) != due:
            return f"m{message.handle} is {'lost' if not due else 'not lost'} to whoever took {PARTIES[party]}'s state"
    return None


@of_state("GRP-04", 'threat model, "group sender key flows"')
def a_state_reads_its_chains_to_the_end(world: Ideal) -> str | None:
    """Of a group a state gives, on the chains in it, what its party had not read or sent yet, and nothing else."""
    if world.group_taken is None:
        return None
    read, open_ = world.group_taken
    model = world.model
    reads = model.knowledge.group_reads(model.group_messages)
    for message in model.group_messages:
        on = any(base == message.base and first <= message.iteration for base, first in open_)
        due = on and message.handle not in read
        if (message.handle in reads) != due:
            return f"the group's m{message.handle} is {'lost' if not due else 'not lost'} to whoever took the state"
    return None


@of_state("GRP-06", "Double Ratchet, sections 2.1 and 8.2")
def used_keys_of_groups_are_gone(world: Ideal) -> str | None:
    """Nobody holds what reads a message of a group that it sent or read."""
    model = world.model
    for message in model.group_messages:
        own = model.parties[message.sender].own_chains.values()
        if any(chain.base == message.base and chain.next <= message.iteration for chain in own):
            return f"the sender of the group's m{message.handle} can still read it"
    for reader, handle in world.group_read:
        message = model.group_messages[handle]
        for held in model.parties[reader].memberships.values():
            for chain in held.chains:
                ahead = chain.next <= message.iteration or message.iteration in chain.kept
                if chain.base == message.base and ahead:
                    return f"the group's m{handle} was read, and can still be read"
    return None


@of_state("SEC-02", "Double Ratchet, section 8.2")
def new_keys_on_both_sides_heal(world: Ideal) -> str | None:
    """After a state was taken, a chain that was not in it, between two ratchet keys that were not, cannot be read."""
    model = world.model
    if world.taken is None:
        return None
    reads, parts = model.knowledge.reads(model.terms, model.messages), model.terms.parts
    taken: set[object] = {chain for chain, _ in model.knowledge.chains}
    for message in model.messages[model.knowledge.recorded :]:
        chain = parts(message.key)[1]
        if chain in taken:
            continue
        agreement = parts(chain)[-1] if isinstance(chain, int) else None
        keys = set(parts(agreement)[1:]) if isinstance(agreement, int) else set()
        if message.handle in reads and not keys & model.knowledge.private:
            return f"m{message.handle} is lost, though both of its ratchet keys are new"
    return None


# -- ends -------------------------------------------------------------------------------------------------------------

TALK: Final = Property(
    "both-sides-can-talk",
    "CTR-08",
    "In the end, where the bounds allow nothing more, whoever has a session is heard, hears the answer, and is heard "
    "again.",
    "Sesame, section 3; threat model, security goals",
)
PROPERTIES[TALK.name] = TALK


def broken_end(world: Ideal) -> tuple[Property, str, tuple[Op, ...]] | None:
    """Whether somebody is not heard any more, and the operations that show it.

    From every state an end is reached, so nothing that is lost for good is missed.
    """
    for one, other in permutations(range(len(PARTIES)), 2):
        if not world.model.parties[one].sessions.get(other):
            continue
        ahead, done = world.fork(), list[Op]()
        for sender, receiver in ((one, other), (other, one), (one, other)):
            for operation in (op(Kind.SEND, actor=sender, peer=receiver), op(Kind.DELIVER, index=0)):
                done.append(operation)
                if ahead.step(operation)[0].outcome is not Outcome.DONE:
                    return TALK, f"{PARTIES[receiver]} does not hear {PARTIES[sender]} any more", tuple(done)
    return None


# -- readings ---------------------------------------------------------------------------------------------------------


def _sessions(party: Party) -> Iterator[Session]:
    for sessions in party.sessions.values():
        yield from sessions


def _session(party: Party, message: Message) -> Session | None:
    """The receiver's side of the session that a message belongs to."""
    held = party.sessions.get(message.sender, ())
    return next((session for session in held if session.base == message.session), None)


def _heard(session: Session) -> set[int]:
    return {chain.ratchet for chain in session.receiving}


def _shared(one: Party, other: Party) -> Iterator[tuple[Session, Session]]:
    """The sessions that both parties hold, each side of them."""
    theirs = {session.base: session for session in _sessions(other)}
    for mine in _sessions(one):
        if mine.base in theirs:
            yield mine, theirs[mine.base]
