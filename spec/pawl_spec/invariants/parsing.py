"""Parsing: any bytes are a valid message or a typed refusal.

Threat        T-PARSER: malformed bytes crash, confuse or exhaust the receiver.
Source        Protocol Buffers encoding; threat model, "Serialization / Parser Abuse".
Not covered   Worker messages, which do not exist yet.
"""

from __future__ import annotations

from collections.abc import Iterator

from pawl_spec.history import Outcome
from pawl_spec.invariants.common import as_expected
from pawl_spec.registry import Finding, Story, Violation, invariant
from pawl_spec.trace import Kind

PARSER = 'threat model, "Serialization / Parser Abuse"'
CATALOGUE = 2 * 1024 * 1024
"""Bytes of memory that one message may take beside itself, for a target that declares no limit."""
CODES = ("malformed-message", "message-too-large", "unknown-version", "invalid-key")


@invariant(id="PAR-01", threat="T-PARSER", source=PARSER, refusals=CODES, in_groups=True)
def bytes_are_accepted_or_refused(story: Story) -> Iterator[Finding]:
    """Any byte string is either a valid message or a typed refusal: never another exception, a hang or an end of the
    program.
    """
    for event in story.events:
        if event.outcome in (Outcome.DIED, Outcome.HUNG):
            yield Violation(event, f"{event.outcome.value}: {event.text}")
    yield from as_expected(story, "PAR-01")


@invariant(
    id="PAR-02",
    threat="T-PARSER",
    source="Protocol Buffers encoding, and wire format of existing peers",
    refusals=("malformed-message",),
    in_groups=True,
)
def encodings_are_strict(story: Story) -> Iterator[Finding]:
    """What is written is canonical; any field order and unknown fields are accepted; repeated singular fields, overlong
    varints and wrong wire types are refused.
    """
    for event in story.events:
        if event.canonical is not None:
            yield None if event.canonical else Violation(event, "the message is not in canonical form")
    yield from as_expected(story, "PAR-02")


@invariant(
    id="PAR-03",
    threat="T-PARSER",
    source=PARSER,
    refusals=("malformed-message", "message-too-large", "invalid-key"),
    not_covered="memory, for a target in a process of its own",
    in_groups=True,
)
def limits_hold_before_allocation(story: Story) -> Iterator[Finding]:
    """Size and field limits hold before anything of that size is allocated, and each field has one stated behaviour
    when it is missing.
    """
    declared = story.history.target.limits.memory_per_message
    most = CATALOGUE if declared is None else declared
    for event in story.events:
        taken = None if event.after is None else event.after.memory
        if taken is not None:
            yield Violation(event, f"{taken} bytes of memory, at most {most} are stated") if taken > most else None
    yield from as_expected(story, "PAR-03")


@invariant(
    id="PAR-04",
    threat="T-PARSER",
    source="wire format of existing peers: the version byte is under the MAC",
    refusals=("unknown-version", "bad-mac", "malformed-message"),
    not_covered="registration id and prekey ids of a prekey message, which the protocol does not authenticate",
    in_groups=True,
)
def versions_are_authenticated(story: Story) -> Iterator[Finding]:
    """The version byte received is the one authenticated, and a prekey message's outer version equals the inner."""
    yield from as_expected(story, "PAR-04")


@invariant(
    id="PAR-05",
    threat="T-PARSER",
    source=PARSER,
    refusals=("corrupt-store", "invalid-key", "invalid-signature"),
    not_covered="damage that gives another well-formed record (ATM-08); bundles as a server's bytes",
    in_groups=True,
)
def records_and_bundles_are_strict(story: Story) -> Iterator[Finding]:
    """Stored records and bundles are parsed as strictly as messages: a damaged record that is read is refused by name,
    and stays as it is.
    """
    for event in story.events:
        trial = event.damaged
        if trial is None or not trial.read:
            continue
        if event.op.kind is Kind.FORGET and trial.outcome is Outcome.DONE and not trial.kept:
            # A damaged session is no reason to keep it: what is forgotten is deleted unread.
            yield None
        elif trial.outcome is not Outcome.REFUSED:
            yield Violation(event, f"a damaged record was read: {trial.outcome.value} {trial.code or ''}".rstrip())
        elif trial.code not in ("corrupt-store", "unknown"):
            yield Violation(event, f"a damaged record was refused for the wrong reason: {trial.code}")
        elif not trial.kept:
            yield Violation(event, "a damaged record was overwritten")
        else:
            yield None
    yield from as_expected(story, "PAR-05")
