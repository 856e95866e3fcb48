"""Bounds: what one message, or many, may cost the receiver.

Threat        T-AMPLIFY: a small message causes much work, or many of them fill the store.
Source        Double Ratchet, section 8.4 (MAX_SKIP); threat model, "Chain/key budget enforcement".
Not covered   Time and memory as such: derivations, rows and ids are counted.
"""

from __future__ import annotations

from collections.abc import Iterator

from pawl_spec.history import Limits, Observe, Outcome
from pawl_spec.registry import Finding, Story, Violation, invariant
from pawl_spec.trace import Kind

BUDGET = 'threat model, "Chain/key budget enforcement to bound memory/time amplification"'
CATALOGUE = Limits(derivations_per_message=52_000)
"""The catalogue's own limits, for a target that declares none. Derivations: two full jumps and 2,000 steps."""


def _allowed(most: int, declared: int | None) -> str:
    """What a count is held to, for people."""
    return (
        f"at most {most:,} are allowed"
        if declared is not None
        else f"no limit is declared, the catalogue's is {most:,}"
    )


DERIVATIONS = 8
"""Chain steps and key derivations for one message that skips none: two ratchet steps, a chain step, the message keys,
and as many again for the agreement that a first message needs."""


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
    declared = story.history.target.limits.derivations_per_message
    most = CATALOGUE.derivations_per_message if declared is None else declared
    for event in story.events:
        one_message = event.message is not None or event.op.kind is Kind.INJECT
        if most is None or event.after is None or event.after.work is None or not one_message or event.contended:
            continue
        work = event.after.work
        stated = f"{most} are stated" if declared is not None else _allowed(most, None)
        yield Violation(event, f"{work} derivations for one message, {stated}") if work > most else None


@invariant(
    id="BND-02",
    threat="T-AMPLIFY",
    source=BUDGET,
    level=Observe.COUNTS,
    not_covered="sender keys (GRP-06); sizes of records",
)
def kept_state_is_bounded(story: Story) -> Iterator[Finding]:
    """Kept keys per chain, keys per session, receiving chains and archived sessions never exceed the target's declared
    limits; where it declares none, those of the catalogue (2,000, 8,000, 5 and 40).
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
            yield Violation(event, f"{count} {what}, {_allowed(most, declared)}") if count > most else None


@invariant(
    id="BND-03",
    threat="T-AMPLIFY",
    source=BUDGET,
    level=Observe.COUNTS,
    needs=("work", "rows"),
    not_covered="time as such; what a message adds, pushes out or has to try is counted on top",
)
def work_does_not_grow(story: Story) -> Iterator[Finding]:
    """The counted work per message (derivations, rows, bytes written) does not grow with the age of the session or the
    number of kept keys.
    """
    limits = story.history.target.limits
    for event, expect in story.expected:
        one_message = event.message is not None or event.op.kind in (Kind.SEND, Kind.INJECT)
        seen = event.after
        if seen is None or not one_message or event.struck or event.contended:
            continue
        # What is kept for later, pushed out, or tried in vain costs its share; after a question the step is run anew.
        share = (1 + expect.extra) * (2 if event.asked else 1)
        done = event.outcome is Outcome.DONE
        for what, count, most in (
            ("rows", seen.rows, limits.rows_per_message),
            ("bytes written", seen.written, limits.bytes_per_message),
            ("derivations", seen.work if done else None, DERIVATIONS),
        ):
            if count is None or most is None:
                continue
            allowed = most * share
            yield (
                Violation(event, f"{count} {what} for one message, at most {allowed} are due")
                if count > allowed
                else None
            )
