"""Atomicity: a step happens whole or not at all, and its result is handed out only when it is durable.

Threat        T-DESYNC: a crash during an update of session and prekey leaves them in disagreement.
Source        Threat model, "State Desynchronization and Partial Writes".
Not covered   Media that destroy sectors in a power loss, or lie about a sync.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from pawl_spec.history import Event, Header, Observe, Outcome
from pawl_spec.invariants.common import RECEIVES, as_expected, disagreement
from pawl_spec.model import CONFLICTS
from pawl_spec.registry import Finding, Story, Violation, invariant
from pawl_spec.trace import Kind

WRITES = 'threat model, "State Desynchronization and Partial Writes"'


@invariant(id="ATM-01", threat="T-DESYNC", source=WRITES, level=Observe.COUNTS, needs=("crash",))
def crashes_leave_before_or_after(story: Story) -> Iterator[Finding]:
    """After a crash at any point, the reopened store holds exactly the state before or exactly the state after."""
    for event in story.events:
        if event.outcome is not Outcome.CRASHED or event.before is None or event.after is None:
            continue
        if event.changed and any(strike.changed for strike in event.struck):
            # The application changed the state too, from inside a callback: there is nothing to compare with.
            continue
        whole = not event.changed or event.after.digest == event.complete
        yield None if whole else Violation(event, "after the crash the store holds half of the step")


@invariant(id="ATM-02", threat="T-DESYNC", source=WRITES, level=Observe.COUNTS, needs=("crash",))
def results_are_durable_first(story: Story) -> Iterator[Finding]:
    """A ciphertext or plaintext is handed out only after the state that spent its key is durable."""
    for event in story.events:
        gives = event.op.kind in (Kind.SEND, Kind.BURST) or event.plaintext is not None
        if not gives or event.outcome is not Outcome.DONE or event.after is None or event.after.durable is None:
            continue
        yield None if event.after.durable else Violation(event, "handed out before its state was durable")


@invariant(
    id="ATM-04",
    threat="T-DESYNC",
    source=WRITES,
    level=Observe.COUNTS,
    refusals=("conflict", "store-busy", "duplicate-message"),
    needs=("rival",),
    not_covered="writers of a third party's adapter that do not keep to the store's contract",
)
def one_of_two_writers_wins(story: Story) -> Iterator[Finding]:
    """Of two writers of one session one wins and the other is told, or takes its step after the first: no acknowledged
    write is lost, no counter is used twice, and a message is read by one of them.
    """
    for event in story.events:
        rival = event.rival
        if rival is None or not rival.changed:
            continue
        sent = event.header
        if event.outcome is Outcome.REFUSED:
            told = event.code in (*CONFLICTS, "unknown") or rival.how == "receive"
            if event.changed:
                yield Violation(event, f"refused ({event.code}), yet what the other writer left was changed")
            else:
                yield None if told else Violation(event, f"refused ({event.code}) for another reason than the conflict")
        elif sent is not None and rival.sent is not None and _place(sent) == _place(rival.sent):
            yield Violation(event, f"two messages with counter {sent.counter} on one chain, one of each writer")
        elif event.outcome is Outcome.DONE and not event.changed:
            yield Violation(event, "the step was acknowledged, yet the store holds only the other writer's")
        elif event.outcome is Outcome.DONE:
            yield None
    yield from as_expected(story, "ATM-04")


def _place(sent: Header) -> tuple[str, int]:
    return sent.ratchet_key, sent.counter


@invariant(
    id="ATM-05",
    threat="T-DESYNC",
    source=WRITES,
    level=Observe.COUNTS,
    refusals=("storage-error", "store-busy", "conflict"),
    needs=("store-faults",),
    not_covered="a commit that fails and is durable nevertheless",
)
def rollbacks_leave_the_store_as_it_was(story: Story) -> Iterator[Finding]:
    """A step whose store refuses a call, at any of its calls or at the commit, is refused by that name and leaves the
    store as it was; or it is tried again, and then happens whole, or is refused for a reason of its own.
    """
    expected = {event.step: expect for event, expect in story.expected}
    for event in story.events:
        if event.fault is None:
            continue
        if event.outcome is Outcome.REFUSED:
            due = FAULT_TO_CODES[event.fault]
            if event.changed:
                yield Violation(event, f"the store failed ({event.fault}), and half of the step is left in it")
            elif event.refused_again:
                # Its reason is one like any other: the model knows which it may be.
                if event.step in expected:
                    yield disagreement(event, expected[event.step])
            elif event.code not in (*due, "unknown") and not event.struck:
                expects = " or ".join(due)
                yield Violation(event, f"the store failed ({event.fault}), refused as {event.code}; expected {expects}")
            else:
                yield None
        elif event.step in expected:
            yield disagreement(event, expected[event.step])


FAULT_TO_CODES = {
    "fails": ("storage-error",),
    "busy": ("store-busy",),
    "conflict": ("conflict",),
    # Below the store: an operation on its files fails.
    "no-space": ("storage-error",),
    "write-fails": ("storage-error",),
    "sync-fails": ("storage-error",),
    "name-fails": ("storage-error",),
    "read-fails": ("storage-error",),
    # What is cut short looks damaged.
    "short-read": ("storage-error", "corrupt-store", "corrupt-record"),
    "read-only": ("storage-error",),
    "locked": ("store-busy",),
}
"""The refusals that a fault of the store, or of what it is on, may become."""


@invariant(
    id="ATM-09",
    threat="T-DESYNC",
    source=WRITES,
    level=Observe.COUNTS,
    refusals=("callback-failed", "duplicate-message"),
    needs=("crash", "callbacks", "plaintext-hook"),
    not_covered="what the application does with its rows afterwards",
)
def plaintexts_are_stored_with_their_messages(story: Story) -> Iterator[Finding]:
    """Where the application stores plaintexts by the hook, a message of a session or a group counts as read exactly if
    its plaintext is in the store: none is lost after a commit, none is stored twice, none of a message that can still
    be read.
    """
    yield from _stored(story, "m", lambda event: event.stored, _read)
    yield from _stored(story, "g", lambda event: event.group_stored, _read_in_groups)


def _stored(
    story: Story,
    mark: str,
    found: Callable[[Event], tuple[int, ...] | None],
    read: Callable[[Event], Iterator[int]],
) -> Iterator[Finding]:
    """Compare what the application finds with what counts as read; `mark` names the messages."""
    held: dict[int | None, tuple[int, ...]] = {}
    for event in story.events:
        stored = found(event)
        if stored is None:
            continue
        before = () if event.op.kind is Kind.REINSTALL else held.get(event.actor, ())
        due = (*before, *dict.fromkeys(read(event)))
        held[event.actor] = stored
        if stored != due:
            yield Violation(event, _difference(mark, stored, due))
        elif event.op.kind.word in (RECEIVES if mark == "m" else RECEIVED_IN_GROUPS):
            yield None


RECEIVED_IN_GROUPS = frozenset({"group-deliver", "group-tamper", "group-redirect"})
"""Words of the operations that hand a message of a group to a member."""


def _read(event: Event) -> Iterator[int]:
    """What counts as read after this event: handed out, spent when a crash came, or read by the other process."""
    if event.rival is not None and event.rival.how == "receive" and event.rival.changed and event.message is not None:
        yield event.message
    if event.outcome is Outcome.CRASHED and event.changed and event.message is not None:
        yield event.message
    if event.plaintext is not None:
        yield event.plaintext


def _read_in_groups(event: Event) -> Iterator[int]:
    """The same of a message of a group."""
    grouped = event.group
    if grouped is None or grouped.message is None or event.op.kind.word not in RECEIVED_IN_GROUPS:
        return
    if event.rival is not None and event.rival.how == "receive" and event.rival.changed:
        yield grouped.message
    if event.outcome is Outcome.CRASHED and event.changed:
        yield grouped.message
    if grouped.plaintext is not None:
        yield grouped.plaintext


def _difference(mark: str, stored: tuple[int, ...], due: tuple[int, ...]) -> str:
    lost, extra = Counter(due) - Counter(stored), Counter(stored) - Counter(due)
    words = [f"the plaintext of {mark}{handle} is lost" for handle in lost]
    words += [f"a plaintext of {mark}{handle} is stored that is not due" for handle in extra]
    return "; ".join(words) or "the plaintexts are stored in another order"
