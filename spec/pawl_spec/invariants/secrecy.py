"""Secrecy: what an attacker reads who recorded all traffic and took a device's whole state.

The model says which messages are lost (`pawl_spec.model.knowledge`). The attacker of the gate tries: with the
implementation itself, on a fork of the state, and with a search over the secrets in it. It must read exactly what the
model says: one message more, and a secret was kept or can be guessed; one less, and the model claims too little, or
the attacker is too weak for its silence to mean anything.

Threat        T-KEYS: a device is taken, and what it holds reads what came before, or all that follows.
Source        Double Ratchet, sections 2.3 and 8.2; X3DH, sections 4.6 and 4.7; threat model, security goals.
Not covered   An attacker who also changes messages, or acts as the device: it has the identity key, and can. The
              process's memory; what the disk keeps of deleted rows.
"""

from __future__ import annotations

from collections.abc import Iterator

from pawl_spec.history import Event, Observe
from pawl_spec.model import Expect
from pawl_spec.registry import Finding, Story, Violation, invariant
from pawl_spec.trace import PARTIES


def _compared(story: Story, *, after: bool) -> Iterator[Finding]:
    """Compare what the attacker read with what the model says, of messages sent before or after the last taking."""
    sent = 0
    for event, expect in story.expected:
        sent = max(sent, 0 if event.header is None or event.message is None else event.message + 1)
        if event.reads is None or expect.reads is None:
            continue
        whole = range(expect.since, sent) if after else range(min(expect.since, sent))
        # Without a message there is nothing to read, and nothing was checked.
        if whole:
            yield _difference(event, expect, frozenset(whole))


def _difference(event: Event, expect: Expect, judged: frozenset[int]) -> Finding:
    read, due = judged.intersection(event.reads or ()), judged.intersection(expect.reads or ())
    if read - due:
        return Violation(
            event, f"the attacker reads {_names(read - due)}; the model says {_names(due)}{_where(expect)}"
        )
    if due - read:
        return Violation(event, f"the attacker cannot read {_names(due - read)}, which the model says are lost")
    return None


def _names(handles: frozenset[int]) -> str:
    return ", ".join(f"m{handle}" for handle in sorted(handles)) or "none"


def _where(expect: Expect) -> str:
    """From which message on each session is safe again, for people."""
    said = ""
    for each in expect.healed:
        pair = f"{PARTIES[each.one]} and {PARTIES[each.other]}"
        said += (
            f"; {pair} are safe again from m{each.first} on" if each.first is not None else f"; {pair} are not safe yet"
        )
    return said


def lost(story: Story) -> list[str]:
    """For each search of the attacker: what is lost, and from which message on each session is safe again."""
    return [
        f"step {event.step}: lost: {_names(expect.reads)}{_where(expect)}"
        for event, expect in story.expected
        if event.reads is not None and expect.reads is not None
    ]


@invariant(
    id="SEC-01",
    threat="T-KEYS",
    source="Double Ratchet, section 8.2; X3DH, section 4.6",
    level=Observe.STATE,
    needs=("compromise",),
    not_covered="the first messages of a session without a one-time prekey, which stay readable to whoever takes "
    "identity and signed prekey (X3DH, section 4.7): the model says so; memory, and deleted rows on the disk",
)
def states_do_not_read_the_past(story: Story) -> Iterator[Finding]:
    """Forward secrecy: whole device states decrypt, of the messages sent before the last of them was taken, exactly
    those that the model says.
    """
    yield from _compared(story, after=False)


@invariant(
    id="SEC-02",
    threat="T-KEYS",
    source="Double Ratchet, section 8.2",
    level=Observe.STATE,
    needs=("compromise",),
    not_covered="an active attacker, who has the identity key and can speak for the device; sessions that are made "
    "later with prekeys that were taken, which the model says are lost; several sessions of one pair count apart",
)
def sessions_heal(story: Story) -> Iterator[Finding]:
    """Post-compromise security: of the messages sent after a whole device state was taken, a passive attacker decrypts
    exactly those before the message from which the model says the session is healed.
    """
    yield from _compared(story, after=True)
