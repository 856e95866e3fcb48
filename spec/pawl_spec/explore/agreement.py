"""Agreement: what a target did, held against the model that takes the same steps beside it.

After each operation both must agree: on how it ended, on what went over the wire, and on what the target lets one see
of the state. Keys and ids have names of their own on either side; two names that first meet stand for each other from
then on. The model knows a network and an attacker who takes states, nothing else (`ideal`).
"""

from __future__ import annotations

from typing import Final

from pawl_spec.explore.ideal import Ideal
from pawl_spec.history import Event, Grouped, Hello, Outcome
from pawl_spec.model import Expect
from pawl_spec.model.state import Party
from pawl_spec.trace import Kind

KNOWN: Final = frozenset(
    {
        Kind.ESTABLISH,
        Kind.SEND,
        Kind.DELIVER,
        Kind.DUPLICATE,
        Kind.DROP,
        Kind.REPLAY,
        Kind.RESTART,
        Kind.COMPROMISE,
        Kind.ATTACK,
        Kind.GROUP_CREATE,
        Kind.GROUP_JOIN,
        Kind.GROUP_SEND,
        Kind.GROUP_DELIVER,
        Kind.GROUP_ROTATE,
    }
)
"""The operations that the model can lead."""

Names = dict[tuple[str, object], object]
"""What the model calls a key or an id, and what the target calls it; and the other way round."""


NOTHING: Final = Grouped()
"""What an operation did in groups that did nothing there."""


class Agreement:
    """The model, one step behind a target."""

    __slots__ = ("_counted", "_handed_out", "_ideal", "_names")

    def __init__(self, hello: Hello) -> None:
        self._ideal = Ideal(hello)
        self._counted = "counts" in hello.capabilities
        self._names: Names = {}
        # Ids, as the target numbers them, of the one-time prekeys in each party's bundles.
        self._handed_out: dict[int, tuple[int, ...]] = {}

    def fork(self) -> Agreement:
        """An independent copy."""
        twin = Agreement.__new__(Agreement)
        twin._ideal, twin._names, twin._handed_out = self._ideal.fork(), dict(self._names), dict(self._handed_out)
        twin._counted = self._counted
        return twin

    @property
    def searches(self) -> bool:
        """Whether an attacker holds a state, and searches anew when something was sent."""
        return self._ideal.taken is not None

    def ended_otherwise(self, event: Event) -> str | None:
        """Let the model take the step that the target took; what they disagree on, or None."""
        due, expect = self._ideal.step(event.op)
        if due.prekey_id is not None and event.prekey_id is not None and event.peer is not None:
            self._handed_out[event.peer] = (*self._handed_out.get(event.peer, ()), event.prekey_id)
            if not self._same(f"prekey {event.peer}", due.prekey_id, event.prekey_id):
                return f"one-time prekey {event.prekey_id} was handed out before"
        return (
            _ended_otherwise(event, due, expect)
            or self._says_otherwise(event, due)
            or self._in_group_otherwise(event.group, due.group)
        )

    def keeps_otherwise(self, event: Event) -> str | None:
        """What the party that acted keeps after the step, and the model does not, or the other way round."""
        if event.after is None or event.actor is None:
            return None
        party, after = self._ideal.model.parties[event.actor], event.after
        for name, must in _sizes(party).items() if self._counted else ():
            if getattr(after, name) not in (must, None):
                return f"{name.replace('_', ' ')}: {getattr(after, name)}, the model says {must}"
        if after.prekeys is None:
            return None
        due = {self._names.get((f"model's prekey {event.actor}", mine)) for mine in party.prekeys}
        held = set(after.prekeys) & set(self._handed_out.get(event.actor, ()))
        if held != due:
            return f"one-time prekeys {sorted(held)} of the bundles are held, the model says {sorted(map(str, due))}"
        return None

    def _same(self, what: str, model: object, target: object) -> bool:
        """Whether two names stand for each other. Names that were not seen before do so from now on."""
        ours, theirs = (f"model's {what}", model), (f"target's {what}", target)
        return self._names.setdefault(ours, target) == target and self._names.setdefault(theirs, model) == model

    def _in_group_otherwise(self, did: Grouped | None, due: Grouped | None) -> str | None:
        """In what the target did otherwise in a group than the model says."""
        if did is due is None:
            return None
        has, must = did or NOTHING, due or NOTHING
        for name in ("group", "distribution", "message", "plaintext", "reads"):
            mine, right = getattr(has, name), getattr(must, name)
            if mine != right:
                return f"in the group: {name} {mine}, the model says {right}"
        seen, meant = has.header, must.header
        if seen is None or meant is None:
            return None if seen is meant else "one of target and model sent a group message, the other did not"
        if seen.iteration != meant.iteration:
            return f"the group message's iteration is {seen.iteration}, the model says {meant.iteration}"
        if not self._same("chain id", meant.chain_id, seen.chain_id):
            return "the group message's chain id is not the one that the model says"
        return None

    def _says_otherwise(self, event: Event, due: Event) -> str | None:
        """What the header of a sent message says that it must not, or does not say."""
        seen, meant = event.header, due.header
        if seen is None or meant is None:
            return None if seen is meant else "one of target and model sent a message, the other did not"
        for name in ("kind", "version", "counter", "previous_counter"):
            has, must = getattr(seen, name), getattr(meant, name)
            if has != must:
                return f"the message's {name.replace('_', ' ')} is {has}, the model says {must}"
        if event.canonical is not True:
            return "the message is not in canonical form"
        if not self._same("ratchet key", meant.ratchet_key, seen.ratchet_key):
            return "the message's ratchet key is not the one that the model says"
        if not self._same("base key", meant.base_key, seen.base_key):
            return "the message's base key is not the one that the model says"
        if not self._same(f"prekey {event.peer}", meant.prekey_id, seen.prekey_id):
            return f"the message names one-time prekey {seen.prekey_id}, and the model another"
        return None


def _ended_otherwise(event: Event, due: Event, expect: Expect | None) -> str | None:
    """How an operation ended, where the model says that it ends otherwise."""
    if event.outcome is not due.outcome:
        said = f" ({event.code})" if event.code else f" ({event.text})" if event.text else ""
        return f"{event.outcome.value}{said}, the model says {due.outcome.value}"
    if event.outcome is Outcome.REFUSED:
        # "unknown" is what a target says that names no reason.
        if expect is not None and event.code not in (*expect.codes, "unknown"):
            return f"refused as {event.code}, the model says {' or '.join(sorted(expect.codes))}"
        if event.changed:
            return "refused, yet the state changed"
    if event.message != due.message:
        return f"m{event.message}, the model says m{due.message}"
    if event.plaintext != due.plaintext:
        return f"gave m{event.plaintext}, the model says m{due.plaintext}"
    if event.op.kind in (Kind.COMPROMISE, Kind.ATTACK) and event.reads != due.reads:
        return f"the attacker reads {list(event.reads or ())}, the model says {list(due.reads or ())}"
    return None


def _sizes(party: Party) -> dict[str, int]:
    """How much a party keeps, counted as an `Observation` counts it."""
    # In plain loops: they are counted after each step, and mostly there is one session and no group.
    sessions = chains = kept_chain = kept_session = group_chains = group_kept = 0
    for held in party.sessions.values():
        sessions = max(sessions, len(held) - 1)
        for session in held:
            kept = [len(chain.kept) for chain in session.receiving]
            chains = max(chains, len(kept))
            kept_chain = max(kept_chain, *kept) if kept else kept_chain
            kept_session = max(kept_session, sum(kept))
    for membership in party.memberships.values():
        group_chains = max(group_chains, len(membership.chains))
        for chain in membership.chains:
            group_kept = max(group_kept, len(chain.kept))
    return {
        "sessions": sessions,
        "chains": chains,
        "kept_chain": kept_chain,
        "kept_session": kept_session,
        "group_chains": group_chains,
        "group_kept": group_kept,
    }
