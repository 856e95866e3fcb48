"""Key deletion: a key that was used is gone.

Threat        T-KEYS: a device is taken later, and what it still holds reads what it processed before.
Source        Double Ratchet, sections 2.1 and 8.1 (deletion); X3DH, section 4.6; threat model, security goals.
Not covered   What stays in the process's memory (Python cannot promise erasure), and what file systems, media and
              backups keep of a file as it was.
"""

from __future__ import annotations

from collections.abc import Iterator

from pawl_spec.history import Observe, Outcome
from pawl_spec.invariants.common import as_expected
from pawl_spec.registry import Finding, Story, Violation, invariant
from pawl_spec.trace import Kind


def _readable(story: Story, *, sent: bool) -> Iterator[Finding]:
    processed: dict[int, set[int]] = {}
    for event in story.events:
        if event.actor is None:
            continue
        if event.op.kind is Kind.REINSTALL:
            processed.pop(event.actor, None)
        if event.outcome is Outcome.DONE and event.message is not None and (event.op.kind is Kind.SEND) is sent:
            processed.setdefault(event.actor, set()).add(event.message)
        if event.readable is None:
            continue
        mine = processed.get(event.actor, set())
        leaked = sorted(mine.intersection(event.readable))
        if leaked:
            names = ", ".join(f"m{handle}" for handle in leaked)
            yield Violation(event, f"its session state still decrypts {names}, which it {'sent' if sent else 'read'}")
        elif mine:
            yield None


@invariant(
    id="KEY-01",
    threat="T-KEYS",
    source="Double Ratchet, section 2.1",
    level=Observe.STATE,
    not_covered="identity keys and prekeys, which are no session state; erasure from memory",
)
def read_messages_stay_read(story: Story) -> Iterator[Finding]:
    """After a message was decrypted, the retained session state cannot decrypt it again."""
    yield from _readable(story, sent=False)


@invariant(
    id="KEY-02",
    threat="T-KEYS",
    source="Double Ratchet, section 2.1",
    level=Observe.STATE,
    not_covered="erasure from memory",
)
def sent_messages_are_sealed(story: Story) -> Iterator[Finding]:
    """After a message was sent, the sender's session state cannot decrypt it."""
    yield from _readable(story, sent=True)


@invariant(
    id="KEY-03",
    threat="T-KEYS",
    source="X3DH, section 3.4",
    level=Observe.COUNTS,
    refusals=("unknown-prekey",),
    not_covered="two processes that read two messages at once: pawl store trial judges them, by pawl_spec.shared_store",
)
def one_time_prekeys_serve_once(story: Story) -> Iterator[Finding]:
    """A one-time prekey is gone once used, and serves exactly one session."""
    used: dict[int, set[int]] = {}
    sent_with: dict[int, int | None] = {}
    for event in story.events:
        if event.actor is None:
            continue
        if event.op.kind is Kind.REINSTALL:
            used.pop(event.actor, None)
        if event.op.kind is Kind.SEND and event.message is not None and event.header is not None:
            sent_with[event.message] = event.header.prekey_id
        delivered = event.op.kind in (Kind.DELIVER, Kind.REPLAY) and event.outcome is Outcome.DONE
        if delivered and event.message is not None:
            prekey_id = sent_with.get(event.message)
            if prekey_id is not None and event.before and event.before.prekeys and prekey_id in event.before.prekeys:
                used.setdefault(event.actor, set()).add(prekey_id)
        mine = used.get(event.actor)
        if mine and event.after is not None and event.after.prekeys is not None:
            left = sorted(mine.intersection(event.after.prekeys))
            yield Violation(event, f"one-time prekey {left[0]} was used and is still there") if left else None
    yield from as_expected(story, "KEY-03")


@invariant(
    id="KEY-04",
    threat="T-KEYS",
    source="Double Ratchet, sections 2.2 and 8.1",
    level=Observe.STATE,
    not_covered="what is younger than the oldest chain that may be kept, on which KEY-01 and KEY-02 judge",
)
def superseded_secrets_are_dropped(story: Story) -> Iterator[Finding]:
    """A superseded chain or root key is not retained beyond the stated bound of chains: whatever the session state held
    before its oldest chain began is gone.
    """
    seen: dict[tuple[int, int], int] = {}
    for event, expect in story.expected:
        if event.held is None or expect.oldest is None or event.actor is None:
            continue
        mine = {secret: step for (party, secret), step in seen.items() if party == event.actor}
        due = {secret for secret, step in mine.items() if step < expect.oldest}
        left = sorted(due.intersection(event.held))
        if left:
            since = mine[left[0]]
            yield Violation(event, f"{len(left)} secrets of step {since} or before are still there, though superseded")
        elif due:
            yield None
        for secret in event.held:
            seen.setdefault((event.actor, secret), event.step)


@invariant(
    id="KEY-05",
    threat="T-KEYS",
    source="threat model, security goals",
    level=Observe.DISK,
    needs=("medium",),
    not_covered="blocks that a file system, a medium or a backup keeps of a file as it was; swap; a PostgreSQL server",
)
def deleted_secrets_leave_the_disk(story: Story) -> Iterator[Finding]:
    """A deleted secret is not in the bytes of a store's files: at once in a JSON file; in SQLite once it was closed or
    checkpointed, and otherwise within the stated number of commits.
    """
    for event in story.events:
        found = None if event.medium is None else event.medium.search
        if event.medium is None or found is None:
            continue
        how = event.medium.how
        if found.seen < found.held:
            yield Violation(event, f"{how}: the search is blind: it sees {found.seen} of {found.held} secrets")
        elif found.left:
            yield Violation(event, f"{how}: {found.left} deleted secrets are still in {', '.join(found.where)}")
        elif found.copies:
            yield Violation(event, f"{how}: {found.copies} secrets have a copy that their deletion will leave")
        elif found.gone:
            yield None


@invariant(
    id="KEY-06",
    threat="T-KEYS",
    source="threat model, security goals",
    level=Observe.STATE,
    needs=("texts",),
    not_covered="secrets that never were in a record; forms other than hexadecimal, base64, bytes and lists of numbers",
)
def texts_hold_no_secrets(story: Story) -> Iterator[Finding]:
    """No secret appears in what the target says: logs, events, error texts, or the repr of its objects."""
    for event in story.events:
        if event.leaks is not None:
            yield Violation(event, f"a secret stands in {event.leaks[0]}") if event.leaks else None


@invariant(
    id="KEY-07",
    threat="T-KEYS",
    source="X3DH, section 4.6",
    level=Observe.COUNTS,
    refusals=("unknown-signed-prekey",),
    needs=("rotate", "clock"),
)
def signed_prekeys_have_their_time(story: Story) -> Iterator[Finding]:
    """A rotated signed prekey reads messages in flight for the stated grace, then no more, and maintenance deletes it
    then.
    """
    for event, expect in story.expected:
        most, seen = expect.signed_prekeys, event.after
        if most is None or seen is None or seen.signed_prekeys is None or event.outcome is not Outcome.DONE:
            continue
        count = len(seen.signed_prekeys)
        yield (Violation(event, f"{count} signed prekeys are held, {most} are in their time") if count > most else None)
    yield from as_expected(story, "KEY-07")
