"""Authenticity and conformance: what is accepted was sent, and what is sent and kept is what the protocol says.

Threat        T-FORGERY: bytes that a peer never sent are taken for its message.
Source        Double Ratchet, sections 3.4 and 3.5; X3DH, section 3.4.
Not covered   The fields that the protocol itself leaves unauthenticated (PAR-04 names them).
"""

from __future__ import annotations

from collections.abc import Iterator

from pawl_spec.explore.agreement import KNOWN, Agreement
from pawl_spec.history import Observe, Outcome
from pawl_spec.invariants.common import RECEIVES, as_expected
from pawl_spec.registry import Finding, Story, Violation, invariant
from pawl_spec.trace import Kind


@invariant(
    id="AUT-01",
    threat="T-FORGERY",
    source="Double Ratchet, section 3.4",
    refusals=("bad-mac", "duplicate-message", "too-far-ahead", "unknown-prekey", "unknown-signed-prekey"),
)
def only_sent_messages_are_accepted(story: Story) -> Iterator[Finding]:
    """A message whose authenticated bytes differ from what its sender sent is refused, and no plaintext comes out that
    nobody sent.
    """
    for event in story.events:
        if event.op.kind.word in RECEIVES and event.outcome is Outcome.DONE and event.plaintext is not None:
            yield Violation(event, "a plaintext that nobody sent") if event.plaintext < 0 else None
    yield from as_expected(story, "AUT-01")


@invariant(id="CNF-01", threat="T-DESYNC", source="Double Ratchet, section 3.4; X3DH, section 3.3", in_groups=True)
def messages_say_what_the_protocol_says(story: Story) -> Iterator[Finding]:
    """Each message sent carries the ratchet key, counters and prekey header that the protocol prescribes, and what the
    protocol allows is not refused.
    """
    keys: dict[str, int] = {}
    chains: dict[int, str] = {}
    for event, expect in story.expected:
        due, header = expect.header, event.header
        if due is None or header is None or event.outcome is not Outcome.DONE:
            continue
        # One ratchet key for one sending chain: neither reused for another, nor changed within.
        same_key = keys.setdefault(header.ratchet_key, due.chain) == due.chain
        same_chain = chains.setdefault(due.chain, header.ratchet_key) == header.ratchet_key
        if header.kind != due.kind:
            yield Violation(event, f"a {header.kind} message, a {due.kind} message was due")
        elif not (same_key and same_chain):
            yield Violation(event, "not the ratchet key of the sending chain")
        elif header.previous_counter != due.previous_counter:
            yield Violation(event, f"previous counter {header.previous_counter}, {due.previous_counter} was due")
        elif due.prekey_id != header.prekey_id and due.prekey_id != -1:
            yield Violation(event, f"names one-time prekey {header.prekey_id}, {due.prekey_id} was due")
        else:
            yield None
    yield from as_expected(story, "CNF-01")


@invariant(
    id="CNF-02",
    threat="T-DESYNC",
    source="Double Ratchet, sections 2.6 and 3.5; X3DH, section 3.4; Sesame, section 3",
    level=Observe.COUNTS,
    needs=("counts",),
    not_covered="what follows a crash, an interference with messages, a change of identity or the passing of time",
)
def as_much_is_kept_as_the_protocol_keeps(story: Story) -> Iterator[Finding]:
    """As long as nothing but the network and thefts interferes, a party keeps after each operation as many sessions,
    chains and message keys, and the same one-time prekeys, as the protocol does.
    """
    if story.history.trace.strict:
        return
    agreement = Agreement(story.history.target)
    for event in story.events:
        if event.outcome is Outcome.SKIPPED or event.op.kind is Kind.INSPECT:
            continue
        # Where an operation ended otherwise, another invariant names it, and both have parted.
        if event.op.kind not in KNOWN or agreement.ended_otherwise(event) is not None:
            return
        if event.after is None:
            continue
        wrong = agreement.keeps_otherwise(event)
        yield None if wrong is None else Violation(event, wrong)
        if wrong is not None:
            return
