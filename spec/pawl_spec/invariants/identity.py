"""Identity continuity: whom one talks to is decided once, by name, and changes only by decision.

Threat        T-IDENTITY: an attacker on the network or the key server puts its own identity key in a peer's place.
Source        X3DH, sections 3.3, 4.1 and 4.8; threat model, "Identity Substitution / MITM".
Not covered   A user who approves a wrong key; a first use that nobody checked (the threat model's residual risk).
"""

from __future__ import annotations

from collections.abc import Iterator

from pawl_spec.history import Observe, Outcome, Strike
from pawl_spec.invariants.common import as_expected, disagreement, who
from pawl_spec.registry import Finding, Story, Violation, invariant
from pawl_spec.trace import OPTIONS, PARTIES, Kind

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
    """Without trust on first use, no session comes into being unless that very identity key was approved; and where the
    application decides, it is asked.
    """
    for event, expect in story.expected:
        if expect.question is not None and event.outcome is Outcome.DONE:
            asked = expect.question in {question.callback for question in event.asked}
            yield None if asked else Violation(event, f"accepted without the question {expect.question!r}")
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


@invariant(id="IDC-05", threat="T-IDENTITY", source="RFC 7748, section 6.1", refusals=("invalid-key",), in_groups=True)
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
    for event, expect in story.expected:
        if event.asked and expect.question is None:
            yield Violation(event, "the user was asked about an identity that nothing authenticates")
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
    id="IDC-07",
    threat="T-IDENTITY",
    source=MITM,
    needs=("callbacks",),
)
def questions_name_the_peer(story: Story) -> Iterator[Finding]:
    """A trust question is asked under one canonical name everywhere: the peer's own name and the key that claims to be
    its, for bundles and for messages.
    """
    for event in story.events:
        for question in event.asked:
            name = PARTIES[who(event)[1]]
            if question.name != name:
                yield Violation(event, f"the question about {name} was asked under the name {question.name!r}")
            elif question.key != event.claimed:
                yield Violation(event, f"the question was about the key {question.key}, not {event.claimed}")
            else:
                yield None


@invariant(
    id="IDC-08",
    threat="T-IDENTITY",
    source=MITM,
    refusals=("no-session", "untrusted-identity"),
    needs=("approve", "reinstall"),
)
def replaced_identity_retires_its_sessions(story: Story) -> Iterator[Finding]:
    """After an identity was replaced by decision, sessions made under the old one neither encrypt nor decrypt, and an
    event says so.
    """
    if "events" in story.history.target.capabilities:
        yield from _reported(story, "identity-replaced")
    yield from as_expected(story, "IDC-08")


def _reported(story: Story, name: str) -> Iterator[Finding]:
    """Where something happened that an operator is told of, the event is there."""
    for event, expect in story.expected:
        if name in expect.tells and event.outcome is Outcome.DONE:
            yield None if name in event.told else Violation(event, f"no event {name!r}")


@invariant(
    id="IDC-09",
    threat="T-IDENTITY",
    source="X3DH, section 3.4; threat model, security goals",
    refusals=("unknown-prekey", "invalid-key", "malformed-message"),
)
def fallbacks_are_chosen(story: Story) -> Iterator[Finding]:
    """Compatibility fallbacks are used only where their option was switched on, and each use emits an event."""
    hello = story.history.target
    if "events" in hello.capabilities:
        yield from _reported(story, "compatibility-used")
    chosen: set[int | None] = set()
    for event in story.events:
        if event.op.kind is Kind.COMPATIBILITY and event.outcome is Outcome.DONE:
            chosen.discard(event.actor) if OPTIONS[event.op["option"]] == "none" else chosen.add(event.actor)
        elif "compatibility-used" in event.told and event.actor not in chosen:
            yield Violation(event, "a fallback was used that nobody switched on")
    yield from as_expected(story, "IDC-09")


@invariant(
    id="IDC-10",
    threat="T-IDENTITY",
    source="threat model, security goals",
    level=Observe.COUNTS,
    refusals=("untrusted-identity", "callback-failed"),
    needs=("callbacks",),
    not_covered="a callback that ends the process, or never returns where the library has no time limit for it",
)
def callbacks_leave_the_state_whole(story: Story) -> Iterator[Finding]:
    """A callback of the application that raises, blocks, answers nonsense or calls back into the library leaves the
    state whole: what it had to decide is refused, everything else goes on.
    """
    expected = {event.step: expect for event, expect in story.expected}
    for event in story.events:
        callbacks = [strike for strike in event.struck if strike.callback != "rival"]
        # A store that fails refuses the step, whatever a callback does.
        if not callbacks or event.contended:
            continue
        struck = ", ".join(map(str, callbacks))
        if event.outcome in (Outcome.DIED, Outcome.HUNG):
            yield Violation(event, f"the callback ({struck}) ended it: {event.outcome.value} {event.text}")
        elif event.outcome is not Outcome.CRASHED and any(map(_kept_out, event.struck)):
            yield Violation(event, f"the callback ({struck}) called back into the library, and was kept out")
        elif event.outcome is Outcome.REFUSED and event.changed:
            yield Violation(event, f"refused ({event.code}) after the callback ({struck}), yet the state changed")
        elif event.step in expected:
            yield disagreement(event, expected[event.step])


def _kept_out(strike: Strike) -> bool:
    """Whether a callback that was asked about an identity pinned it itself, and the state stayed as it was."""
    asked = strike.callback in ("first-use", "mismatch")
    return asked and strike.how == "call-trust" and strike.before is not None and not strike.changed
