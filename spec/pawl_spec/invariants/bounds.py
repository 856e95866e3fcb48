"""Bounds: what one message, or many, may cost the receiver.

Threat        T-AMPLIFY: a small message causes much work, or many of them fill the store.
Source        Double Ratchet, section 8.4 (MAX_SKIP); threat model, "Chain/key budget enforcement".
Not covered   Time and memory as such: derivations, rows and ids are counted.
"""

from __future__ import annotations

from collections.abc import Iterator

from pawl_spec.history import Limits, Observe
from pawl_spec.registry import Finding, Story, Violation, invariant
from pawl_spec.trace import Kind

BUDGET = 'threat model, "Chain/key budget enforcement to bound memory/time amplification"'
CATALOGUE = Limits()
"""The catalogue's own limits, for a target that declares none."""


@invariant(
    id="BND-01",
    threat="T-AMPLIFY",
    source=BUDGET,
    level=Observe.COUNTS,
    refusals=("too-far-ahead", "work-limit-exceeded"),
    needs=("work",),
)
def work_per_message_is_bounded(story: Story) -> Iterator[Finding]:
    """One message causes at most the stated number of key derivations over all candidate sessions together."""
    most = story.history.target.limits.derivations_per_message
    for event in story.events:
        one_message = event.message is not None or event.op.kind is Kind.INJECT
        if most is None or event.after is None or event.after.work is None or not one_message:
            continue
        work = event.after.work
        yield Violation(event, f"{work} derivations for one message, {most} are stated") if work > most else None


@invariant(
    id="BND-02",
    threat="T-AMPLIFY",
    source=BUDGET,
    level=Observe.COUNTS,
    not_covered="sender keys; sizes of records",
)
def kept_state_is_bounded(story: Story) -> Iterator[Finding]:
    """Kept keys per chain (2,000) and per session (8,000), receiving chains (5) and archived sessions (40) never exceed
    their limits, or the target's declared ones.
    """
    limits = story.history.target.limits
    for event in story.events:
        seen = event.after
        if seen is None:
            continue
        for what, count, declared, catalogue in (
            ("keys kept in one chain", seen.kept_chain, limits.kept_per_chain, CATALOGUE.kept_per_chain),
            ("keys kept in one session", seen.kept_session, limits.kept_per_session, CATALOGUE.kept_per_session),
            ("receiving chains", seen.chains, limits.receiving_chains, CATALOGUE.receiving_chains),
            ("archived sessions", seen.sessions, limits.archived_sessions, CATALOGUE.archived_sessions),
        ):
            most = catalogue if declared is None else declared
            if count is None or most is None:
                continue
            yield Violation(event, f"{count} {what}, at most {most} are allowed") if count > most else None
