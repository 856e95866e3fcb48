"""Atomicity: a step happens whole or not at all, and its result is handed out only when it is durable.

Threat        T-DESYNC: a crash during an update of session and prekey leaves them in disagreement.
Source        Threat model, "State Desynchronization and Partial Writes".
Not covered   Faults below the store: torn pages, lost writes, full disks.
"""

from __future__ import annotations

from collections.abc import Iterator

from pawl_spec.history import Observe, Outcome
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
