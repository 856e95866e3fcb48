"""Identity continuity: whom one talks to is decided once, by name, and changes only by decision.

Threat        T-IDENTITY: an attacker on the network or the key server puts its own identity key in a peer's place.
Source        X3DH, sections 3.3, 4.1 and 4.8; threat model, "Identity Substitution / MITM".
Not covered   A user who approves a wrong key; a first use that nobody checked (the threat model's residual risk).
"""

from __future__ import annotations

from collections.abc import Iterator

from pawl_spec.invariants.common import as_expected
from pawl_spec.registry import Finding, Story, invariant

MITM = 'threat model, "Identity Substitution / MITM"'


@invariant(id="IDC-01", threat="T-IDENTITY", source=MITM, refusals=("untrusted-identity",))
def pinned_identity_holds(story: Story) -> Iterator[Finding]:
    """Once an identity is pinned for a name, nothing is sent to or accepted from that name under another identity until
    a recorded decision allows it.
    """
    yield from as_expected(story, "IDC-01")


@invariant(
    id="IDC-02",
    threat="T-IDENTITY",
    source=MITM,
    refusals=("untrusted-identity",),
    needs=("strict-identity",),
    not_covered="callbacks that misbehave (IDC-10)",
)
def first_use_needs_approval(story: Story) -> Iterator[Finding]:
    """Without trust on first use, no session comes into being unless that very identity key was approved."""
    yield from as_expected(story, "IDC-02")


@invariant(id="IDC-03", threat="T-IDENTITY", source="X3DH, section 3.3", refusals=("invalid-signature",))
def bundles_are_signed(story: Story) -> Iterator[Finding]:
    """A prekey bundle whose signed-prekey signature does not verify under the bundle's identity is refused."""
    yield from as_expected(story, "IDC-03")


@invariant(
    id="IDC-04",
    threat="T-IDENTITY",
    source="X3DH, sections 3.3 and 4.8",
    refusals=("bad-mac", "untrusted-identity", "no-session"),
)
def messages_authenticate_both_identities(story: Story) -> Iterator[Finding]:
    """Each message authenticates both identity keys: handed to another party, attributed to another sender, or with
    another outer identity, it is refused.
    """
    yield from as_expected(story, "IDC-04")


@invariant(id="IDC-05", threat="T-IDENTITY", source="RFC 7748, section 6.1", refusals=("invalid-key",))
def weak_keys_are_refused(story: Story) -> Iterator[Finding]:
    """Public keys that give an all-zero shared secret, or are of the wrong length or type, are refused."""
    yield from as_expected(story, "IDC-05")


@invariant(
    id="IDC-06",
    threat="T-IDENTITY",
    source="X3DH, section 3.4",
    refusals=("bad-mac",),
    not_covered="a first use of an attacker's whole bundle, which is a decision of the policy",
)
def only_authenticated_identities_are_pinned(story: Story) -> Iterator[Finding]:
    """A received identity is pinned only after the message that carried it was authenticated: junk that came before
    locks nobody out.
    """
    harassed: set[tuple[int | None, int | None]] = set()
    locked_out = [finding for finding in as_expected(story, "IDC-06") if finding is not None]
    yield from locked_out
    # Reached where a peer got through after a message with a foreign identity was refused in its name.
    for event, expect in story.expected:
        pair = (event.actor, event.peer)
        if expect.accept is False and expect.rule in ("IDC-04", "IDC-05"):
            harassed.add(pair)
        elif expect.accept and expect.plaintext is not None and pair in harassed and event.code is None:
            yield None


@invariant(
    id="IDC-08",
    threat="T-IDENTITY",
    source=MITM,
    refusals=("no-session", "untrusted-identity"),
    needs=("approve", "reinstall"),
    not_covered="the event that says so",
)
def replaced_identity_retires_its_sessions(story: Story) -> Iterator[Finding]:
    """After an identity was replaced by decision, sessions made under the old one neither encrypt nor decrypt."""
    yield from as_expected(story, "IDC-08")
