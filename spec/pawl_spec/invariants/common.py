"""Readings of a story that several families share."""

from __future__ import annotations

from collections.abc import Iterator

from pawl_spec.history import Event, Outcome
from pawl_spec.model import Expect
from pawl_spec.registry import Finding, Story, Violation

RECEIVES = frozenset({"deliver", "replay", "tamper", "redirect", "inject"})
"""Words of the operations that hand bytes to a receiver."""


def as_expected(story: Story, rule: str) -> Iterator[Finding]:
    """Judge the events in which the model puts `rule` at stake: a wrong acceptance, a wrong refusal, a wrong reason."""
    changed: set[int | None] = set()
    for event, expect in story.expected:
        at_stake = expect.unless if expect.accept else expect.rule
        if event.outcome is Outcome.REFUSED and expect.accept and event.code == "untrusted-identity":
            # Whoever is refused for its identity although that identity is right was locked out.
            at_stake = "IDC-06"
        # An operation that a crash ended shows neither.
        if at_stake == rule and event.outcome is not Outcome.CRASHED:
            # Why a party refuses says nothing once a refusal has changed its state: that is CTR-05's finding.
            excused = event.outcome is Outcome.REFUSED and not expect.accept and event.actor in changed
            yield None if excused else disagreement(event, expect)
        if event.outcome is Outcome.REFUSED and event.changed:
            changed.add(event.actor)


def disagreement(event: Event, expect: Expect) -> Finding:
    """How the event differs from what the model expects, or None."""
    if event.outcome is Outcome.DONE:
        if expect.accept is False:
            return Violation(event, f"accepted; expected a refusal: {words(expect)}")
        if expect.plaintext is not None and event.plaintext != expect.plaintext:
            return Violation(event, f"gave the plaintext of m{event.plaintext}, expected m{expect.plaintext}'s")
    elif event.outcome is Outcome.REFUSED:
        if expect.accept:
            return Violation(event, f"refused ({event.code}); expected to be accepted")
        # A target with codes of its own says "unknown", which cannot be compared.
        if event.code != "unknown" and event.code not in expect.codes:
            return Violation(event, f"refused for the wrong reason: {event.code}; expected {words(expect)}")
    return None


def words(expect: Expect) -> str:
    """The expected refusal codes, for people."""
    return " or ".join(sorted(expect.codes))


def who(event: Event) -> tuple[int, int]:
    """The party that acted and its peer."""
    return (-1 if event.actor is None else event.actor, -1 if event.peer is None else event.peer)
