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
    for event, expect, excused in story.at_stake.get(rule, ()):
        yield None if excused else disagreement(event, expect)


def disagreement(event: Event, expect: Expect) -> Finding:
    """How the event differs from what the model expects, or None."""
    if event.outcome is Outcome.DONE:
        if expect.accept is False:
            return Violation(event, f"accepted; expected a refusal: {words(expect)}")
        given = event.plaintext if event.group is None else event.group.plaintext
        if expect.plaintext is not None and given != expect.plaintext:
            mark = "m" if event.group is None else "g"
            return Violation(event, f"gave the plaintext of {mark}{given}, expected {mark}{expect.plaintext}'s")
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
