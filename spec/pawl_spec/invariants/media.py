"""Media: what a store gives back is what was written there, or it is refused by name.

Threat        T-DESYNC: damaged files, half-restored backups, records put in another one's place, places without
              transactions.
Source        Threat model, "State Desynchronization and Partial Writes"; "Serialization/Parser Abuse" (stored records).
Not covered   Whoever may write the store and seals what he likes, or puts back all of an older store: there is no key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pawl_spec.history import Event, Medium, Observe, Outcome
from pawl_spec.registry import Finding, Story, Violation, invariant
from pawl_spec.trace import Kind

WRITES = 'threat model, "State Desynchronization and Partial Writes"'


DELETED_UNREAD = ("flip-bit", "cut-short", "another-key", "another-store", "another-version")
"""Records that their seal shows to be damaged: those of a session may be deleted without being read."""


def refused(story: Story, due: Mapping[str, str]) -> Iterator[Finding]:
    """What was done to a medium, and met, is refused by the code that is due, and the medium stays as it is."""
    for event in story.events:
        trial = event.medium
        if trial is None or trial.how not in due or not trial.read:
            continue
        forgets = event.op.kind is Kind.FORGET and trial.how in DELETED_UNREAD
        if forgets and trial.outcome is Outcome.DONE and not trial.kept:
            yield None
        elif trial.outcome is not Outcome.REFUSED:
            yield Violation(
                event, f"a store after {trial.how} was used: {trial.outcome.value} {trial.code or ''}".rstrip()
            )
        elif trial.code not in (due[trial.how], "unknown"):
            yield Violation(event, f"a store after {trial.how} was refused for the wrong reason: {trial.code}")
        elif not trial.kept:
            yield Violation(event, f"a store after {trial.how} was overwritten")
        else:
            yield None


def works(story: Story, how: str) -> Iterator[Finding]:
    """On a medium of this kind an operation does what it does on any other."""
    for event, trial in _tried(story, how):
        if (trial.outcome, trial.code) != (event.outcome, event.code):
            yield Violation(
                event, f"on a store after {how} it ended otherwise: {trial.outcome.value} {trial.code or ''}".rstrip()
            )
        elif event.after is not None and trial.digest != event.after.digest:
            yield Violation(event, f"on a store after {how} it left another state")
        else:
            yield None


WITHOUT_A_WORD = ("bit-anywhere", "cut-anywhere")
"""One bit of a closed store's files flipped, wherever that is, or their end lost: everything is read then."""

DAMAGED = frozenset({"corrupt-record", "corrupt-store", "unsupported-schema", "storage-error"})
"""What damage somewhere may be called. A flipped bit in a version looks like a newer release; the engine calls damage
that it cannot make sense of an error."""


def true_or_refused(story: Story) -> Iterator[Finding]:
    """After damage anywhere, what is read is what was written, or it is refused and stays as it is. Of a log whose end
    is damaged, it is what was there at an earlier time, as a whole.
    """
    states: dict[int | None, set[str]] = {}
    for event in story.events:
        trial = event.medium
        if event.after is not None:
            states.setdefault(event.actor, set()).add(event.after.digest)
        if trial is None or trial.how not in (*WITHOUT_A_WORD, "log-bit-anywhere") or event.after is None:
            continue
        due = {event.after.digest} if trial.how in WITHOUT_A_WORD else states[event.actor]
        if trial.outcome is Outcome.REFUSED:
            if trial.code not in DAMAGED:
                yield Violation(event, f"a store after {trial.how} was refused for the wrong reason: {trial.code}")
            else:
                yield None if trial.kept else Violation(event, f"a store after {trial.how} was overwritten")
        elif trial.outcome is not Outcome.DONE:
            yield Violation(event, f"a store after {trial.how}: {trial.outcome.value} {trial.code or ''}".rstrip())
        else:
            yield None if trial.digest in due else Violation(event, f"after {trial.how} it is read as: {trial.digest}")


def _tried(story: Story, how: str) -> Iterator[tuple[Event, Medium]]:
    for event in story.events:
        # A crash, a failing call or another writer came to the operation itself alone.
        alone = not event.crash_armed and event.fault is None and event.rival is None and not event.struck
        if event.medium is not None and event.medium.how == how and alone:
            yield event, event.medium


@invariant(
    id="ATM-03",
    threat="T-DESYNC",
    source=WRITES,
    level=Observe.COUNTS,
    refusals=("non-atomic-store",),
    needs=("medium",),
    not_covered="an adapter that has transactions and does not keep their promise",
)
def no_transactions_no_store(story: Story) -> Iterator[Finding]:
    """An adapter without transactions is refused by default; where it is allowed it works, and each use says so in an
    event.
    """
    yield from refused(story, {"no-transactions": "non-atomic-store"})
    yield from works(story, "no-transactions-allowed")
    for event in story.events:
        trial = event.medium
        if trial is not None and trial.how == "no-transactions-allowed" and trial.said != trial.transactions:
            yield Violation(
                event, f"{trial.transactions} transactions on an adapter that has none, {trial.said} events"
            )


@invariant(
    id="ATM-06",
    threat="T-DESYNC",
    source=WRITES,
    level=Observe.COUNTS,
    refusals=("corrupt-record", "corrupt-store"),
    needs=("medium",),
    not_covered="damage of a write-ahead log's end, which SQLite takes for commits that never ended",
)
def corrupt_stores_are_refused(story: Story) -> Iterator[Finding]:
    """A store that its engine or a record's checksum shows to be corrupt is refused by name: it is never treated as
    empty, never read as another value, never overwritten.
    """
    yield from refused(
        story,
        {
            "flip-bit": "corrupt-record",
            "cut-short": "corrupt-record",
            "file-emptied": "corrupt-store",
            "file-cut": "corrupt-store",
            "file-overwritten": "corrupt-store",
        },
    )
    yield from true_or_refused(story)


@invariant(
    id="ATM-07",
    threat="T-DESYNC",
    source=WRITES,
    level=Observe.COUNTS,
    refusals=("unsupported-schema",),
    needs=("medium",),
    not_covered="a crash while a store is migrated: tests/storage/test_migration kills it there",
)
def schemas_are_known_or_refused(story: Story) -> Iterator[Finding]:
    """A record or store of another schema is refused by name; one of an earlier schema works once it was migrated, as
    if it had always been of this one.
    """
    due = dict.fromkeys(("newer-record", "newer-file", "older-file"), "unsupported-schema")
    yield from refused(story, due)
    yield from works(story, "older-file-migrated")


@invariant(
    id="ATM-08",
    threat="T-DESYNC",
    source=WRITES,
    level=Observe.COUNTS,
    refusals=("corrupt-record",),
    needs=("medium",),
    not_covered="a store that was put back as a whole (CTR-02): each record is then where it was written",
)
def records_are_bound_to_their_place(story: Story) -> Iterator[Finding]:
    """A record that is read back under another key, from another store or at another version than it was written for is
    refused.
    """
    yield from refused(story, dict.fromkeys(("another-key", "another-store", "another-version"), "corrupt-record"))
