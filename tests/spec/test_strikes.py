"""What callbacks did, told apart from what the operation did during which they were called."""

from __future__ import annotations

import pytest

from pawl_spec.history import Event, Observation, Outcome, Strike
from pawl_spec.trace import Kind, op


def event(before: str, after: str, *struck: Strike) -> Event:
    """An operation that began and ended with these digests."""
    what = op(Kind.ESTABLISH, actor=0, peer=1)
    return Event(0, what, Outcome.DONE, 0, 1, before=Observation(before), after=Observation(after), struck=struck)


def strike(before: str | None, after: str | None, callback: str = "event") -> Strike:
    """A callback that began and ended with these digests."""
    return Strike(callback, "call-encrypt", 1, before, after)


@pytest.mark.parametrize(
    ("digests", "struck", "early", "own"),
    [
        ("aa", [], 0, False),
        ("ab", [], 0, True),
        # The callback alone changed something.
        ("ab", ["ab"], 1, False),
        # The callback, then the operation; the operation, then the callback.
        ("ac", ["ab"], 1, True),
        ("ac", ["bc"], 0, True),
        # Two callbacks: around the operation, before it, after it, and without it.
        ("ad", ["ab", "cd"], 1, True),
        ("ad", ["ab", "bc"], 2, True),
        ("ad", ["bc", "cd"], 0, True),
        ("ac", ["ab", "bc"], 2, False),
        # One that changes nothing still says where it stood.
        ("ab", ["aa"], 1, True),
        ("ab", ["bb"], 0, True),
        ("aa", ["aa", "aa"], 2, False),
    ],
)
def test_digests_say_what_came_first(digests: str, struck: list[str], early: int, own: bool) -> None:
    """`Event.around`: where the digest moved between two callbacks, the operation itself took effect."""
    strikes = [strike(*pair) for pair in struck]
    seen = event(*digests, *strikes)
    assert seen.around() == (tuple(strikes[:early]), tuple(strikes[early:]), own)
    assert seen.changed is own


def test_without_digests_the_callback_says_it() -> None:
    """A trust question is asked before the step, an event is heard after it."""
    asked, heard = strike(None, None, "mismatch"), strike(None, None)
    assert event("a", "b", asked, heard).around() == ((asked,), (heard,), True)


def test_what_nobody_saw_did_not_change() -> None:
    """An event without observations claims no change."""
    blind = Event(0, op(Kind.NOP), Outcome.DONE, struck=(strike("a", "b"),))
    assert not blind.changed
