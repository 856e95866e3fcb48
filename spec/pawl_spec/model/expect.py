"""What the model says before it looks at what the target did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pawl_spec.model.knowledge import Healed
from pawl_spec.model.terms import Refusal, Term

PARSE_REFUSALS = frozenset({"malformed-message", "unknown-version", "message-too-large", "invalid-key"})

MISSING = frozenset({"no-session", "bad-mac", "untrusted-identity", "unknown-signed-prekey", "unknown-prekey"})
"""Refusals of bytes that name something which the receiver does not have."""


class SentHeader(NamedTuple):
    """What a message that a party sends must say."""

    kind: str
    session: Term
    chain: Term
    counter: int
    previous_counter: int
    prekey_id: int | None


class Expect(NamedTuple):
    """What may happen. `accept` None: either is right."""

    accept: bool | None
    codes: frozenset[str] = frozenset()
    rule: str = ""
    """The invariant that a wrong acceptance breaks, or a refusal for another reason than `codes`."""
    unless: str = "CTR-04"
    """The invariant that a wrong refusal breaks."""
    plaintext: int | None = None
    header: SentHeader | None = None
    late: bool = False
    """The message came in on an archived session and leaves the current one as it is."""
    question: str | None = None
    """The trust question that the application is asked, and no other."""
    tells: frozenset[str] = frozenset()
    """Events that are reported if this is done."""
    extra: int = 0
    """Message keys to keep or to push out, and sessions to try beside the first: what a message may cost more."""
    oldest: int | None = None
    """Of an inspection: the step before which no secret that the session state still holds was made."""
    reads: frozenset[int] | None = None
    """Of the attacker's search: the recorded messages that it can read with all that it took."""
    since: int = 0
    """Of the attacker's search: messages with this handle or a later one were sent after a state was last taken."""
    healed: tuple[Healed, ...] = ()
    """Of the attacker's search: from which message on a session is safe again."""
    signed_prekeys: int | None = None
    """How many signed prekeys may be held when this is done."""
    iteration: int | None = None
    """Of a group message that is sent: its iteration."""
    chain: Term | None = None
    """Of a group message that is sent: the id of its chain."""
    group_reads: frozenset[int] | None = None
    """Of the attacker's search: the group messages that it can read with all that it took."""
    group_since: int = 0
    """Of the attacker's search: group messages with this handle or a later one came after a state was last taken."""
    gives: frozenset[int] | None = None
    """Of a message for all members: to whom the chain is given with it, and to nobody else."""
    derives: int | None = None
    """Of a group message: how many chain steps and key derivations it may cost."""


def refuse(reasons: Sequence[Refusal]) -> Expect:
    """Refuse for any of these reasons; the first names the invariant."""
    return Expect(False, frozenset(reason.code for reason in reasons), reasons[0].rule)
