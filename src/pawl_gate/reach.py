"""Reach: what each engine must come to, so that a search that no longer gets there does not pass for a green one.

Three kinds of things are counted: operations that were carried out, refusal codes, and shapes of state, which are said
here. The committed list (`reach.json`) names, for one budget and seed, what each engine reaches on each target. A run
of that budget and seed that reaches less is incomplete. `make reach` writes the list again; the difference is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from pawl_spec.history import Event, History, Observation, Outcome
from pawl_spec.trace import Kind

if TYPE_CHECKING:
    from pawl_gate.verify import Reached

FILE: Final = "reach.json"

SHAPES: Final = {
    "session-archived": "a party holds an archived session beside the current one",
    "archived-sessions-full": "a party holds as many archived sessions as it may",
    "former-chain-held": "a session holds a receiving chain beside the newest",
    "chains-full": "a session holds as many receiving chains as it may",
    "key-kept": "a key is kept for a message that was overtaken",
    "kept-keys-of-a-chain-full": "a chain has as many kept keys as it may",
    "kept-keys-of-a-session-full": "a session has as many kept keys as it may",
    "kept-key-used": "a message was read after a later one of its chain",
    "unanswered": "a party sent on a session that its peer has not answered",
    "answered": "a party sent on a session that its peer has answered",
    "begun-with-one-time-prekey": "a message was read that names a one-time prekey",
    "begun-without-one-time-prekey": "a first message was read that names no one-time prekey",
    "begun-by-both": "both of a pair sent first messages, of sessions of their own",
    "signed-prekey-superseded": "a party holds a signed prekey beside the one that took its place",
    "damaged-record-met": "an operation read a damaged record",
    "changed-medium-met": "an operation met a store whose medium had changed",
    "crashed-before-commit": "a crash left the state as it was",
    "crashed-after-commit": "a crash left the state as the completed operation would have",
    "callback-misbehaved": "a callback of the application misbehaved during an operation",
    "attacker-reads": "whoever took a state reads a message with it",
    "healed": "a message sent after a state was taken is closed to whoever took it, who reads another",
}
"""The shapes of state, with what each means."""

Items = dict[str, list[str]]
"""Operations, refusals and shapes, by these words."""


# -- shapes -----------------------------------------------------------------------------------------------------------


def shapes(history: History) -> set[str]:
    """The shapes of state that a history came to."""
    found: set[str] = set()
    past = _Past()
    for event in history.events:
        if event.outcome is Outcome.SKIPPED:
            continue
        if event.after is not None:
            found.update(_of_state(event.after, history))
        found.update(_of_event(event))
        found.update(past.add(event))
    return found


def _of_state(seen: Observation, history: History) -> Iterator[str]:
    """What a party holds."""
    limits = history.target.limits
    for name, count, least, most, limit in (
        ("session-archived", seen.sessions, 1, "archived-sessions-full", limits.archived_sessions),
        ("former-chain-held", seen.chains, 2, "chains-full", limits.receiving_chains),
        ("key-kept", seen.kept_chain, 1, "kept-keys-of-a-chain-full", limits.kept_per_chain),
        ("key-kept", seen.kept_session, 1, "kept-keys-of-a-session-full", limits.kept_per_session),
    ):
        if count is not None and count >= least:
            yield name
            if limit is not None and count >= limit:
                yield most
    if seen.signed_prekeys is not None and len(seen.signed_prekeys) > 1:
        yield "signed-prekey-superseded"


def _of_event(event: Event) -> Iterator[str]:
    """What one operation met."""
    if event.damaged is not None and event.damaged.read:
        yield "damaged-record-met"
    if event.medium is not None and event.medium.read:
        yield "changed-medium-met"
    if event.struck or event.peer_struck:
        yield "callback-misbehaved"
    if event.outcome is Outcome.CRASHED and event.before is not None and event.after is not None:
        if event.after.digest == event.before.digest:
            yield "crashed-before-commit"
        elif event.after.digest == event.complete:
            yield "crashed-after-commit"
    if event.reads:
        yield "attacker-reads"


class _Past:
    """What was sent and read, for the shapes that several operations make."""

    def __init__(self) -> None:
        self.sent: dict[int, Event] = {}
        self.newest: dict[tuple[int | None, str], int] = {}
        self.begun: set[tuple[int | None, int | None]] = set()
        self.taken_at: int | None = None

    def add(self, event: Event) -> Iterator[str]:
        """The shapes that this operation completes."""
        if event.op.kind is Kind.COMPROMISE and event.outcome is Outcome.DONE and self.taken_at is None:
            self.taken_at = len(self.sent)
        since = [] if self.taken_at is None else [handle for handle in self.sent if handle >= self.taken_at]
        if event.reads and not set(since) <= set(event.reads):
            yield "healed"
        if event.outcome is not Outcome.DONE or event.message is None:
            return
        if event.op.kind is Kind.SEND and event.header is not None:
            self.sent[event.message] = event
            if event.header.kind != "prekey":
                yield "answered"
                return
            yield "unanswered"
            self.begun.add((event.actor, event.peer))
            if (event.peer, event.actor) in self.begun:
                yield "begun-by-both"
        elif event.plaintext is not None and event.plaintext in self.sent:
            header = self.sent[event.plaintext].header
            assert header is not None  # noqa: S101 - only messages with a header are in it
            chain = event.actor, header.ratchet_key
            if header.counter < self.newest.get(chain, -1):
                yield "kept-key-used"
            self.newest[chain] = max(header.counter, self.newest.get(chain, -1))
            if header.kind == "prekey":
                yield f"begun-{'without' if header.prekey_id is None else 'with'}-one-time-prekey"


# -- the committed list -----------------------------------------------------------------------------------------------


def document() -> dict[str, Any]:
    """The committed list."""
    found: dict[str, Any] = json.loads(resources.files("pawl_gate").joinpath(FILE).read_text("utf-8"))
    return found


def listed(target: str, budget: str, seed: int) -> Mapping[str, Items] | None:
    """What each engine must reach, by its name; None where nothing is committed for such a run."""
    found = document()
    if (found["budget"], found["seed"]) != (budget, seed):
        return None
    engines: Mapping[str, Items] | None = found["targets"].get(target)
    return engines


def items(reached: Reached, *, least: int = 1) -> Items:
    """What was reached at least so many times, in the order of the alphabet."""
    return {
        what: sorted(name for name, count in counted.items() if count >= least)
        for what, counted in (
            ("operations", reached.operations),
            ("refusals", reached.refusals),
            ("shapes", reached.shapes),
        )
    }


def missing(due: Mapping[str, Items], done: Mapping[str, Items]) -> list[str]:
    """What is due and was not reached, one line an engine."""
    lines = []
    for engine, wanted in due.items():
        had = done.get(engine, {})
        lost = [f"{what} {', '.join(gone)}" for what, gone in _gone(wanted, had) if gone]
        if lost:
            lines.append(f"{engine} no longer reaches what it did when {FILE} was written: {'; '.join(lost)}")
    return lines


def _gone(wanted: Items, had: Items) -> Iterator[tuple[str, list[str]]]:
    for what, names in wanted.items():
        yield what, [name for name in names if name not in had.get(what, [])]
