"""Parsing: any bytes are a valid message or a typed refusal.

Threat        T-PARSER: malformed bytes crash, confuse or exhaust the receiver.
Source        Protocol Buffers encoding; threat model, "Serialization / Parser Abuse".
Not covered   Stored records and bundles as bytes; the memory that a parser takes.
"""

from __future__ import annotations

from collections.abc import Iterator

from pawl_spec.history import Outcome
from pawl_spec.invariants.common import as_expected
from pawl_spec.registry import Finding, Story, Violation, invariant

PARSER = 'threat model, "Serialization / Parser Abuse"'
CODES = ("malformed-message", "message-too-large", "unknown-version", "invalid-key")


@invariant(id="PAR-01", threat="T-PARSER", source=PARSER, refusals=CODES)
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
    id="PAR-04",
    threat="T-PARSER",
    source="wire format of existing peers: the version byte is under the MAC",
    refusals=("unknown-version", "bad-mac", "malformed-message"),
    not_covered="registration id and prekey ids of a prekey message, which the protocol does not authenticate",
)
def versions_are_authenticated(story: Story) -> Iterator[Finding]:
    """The version byte received is the one authenticated, and a prekey message's outer version equals the inner."""
    yield from as_expected(story, "PAR-04")
