"""One order for calls that overlap: a register and a counter, whose histories come from the literature.

Source: Herlihy and Wing, 1990, figures 1 and 2 (a queue), and the register examples of section 1.2.
"""

from __future__ import annotations

import pytest

from pawl_spec.linear import Step, Stuck, TooMany, stuck


def write(began: int, ended: int, value: int, *, known: bool = True) -> Step[int]:
    return Step(began, ended, lambda _: value, known, f"write {value}")


def read(began: int, ended: int, value: int) -> Step[int]:
    return Step(began, ended, lambda held: held if held == value else None, True, f"read {value}")


def enqueue(began: int, ended: int, value: str) -> Step[tuple[str, ...]]:
    return Step(began, ended, lambda queue: (*queue, value), True, f"E({value})")


def dequeue(began: int, ended: int, value: str) -> Step[tuple[str, ...]]:
    return Step(began, ended, lambda queue: queue[1:] if queue[:1] == (value,) else None, True, f"D({value})")


def test_calls_that_overlap_may_be_taken_in_either_order() -> None:
    assert stuck([write(0, 10, 1), read(1, 2, 0), read(3, 4, 1)], 0) is None
    assert stuck([write(0, 10, 1), write(1, 9, 2), read(11, 12, 1)], 0) is None
    assert stuck([write(0, 10, 1), write(1, 9, 2), read(11, 12, 2)], 0) is None


def test_what_was_read_is_not_unread() -> None:
    """A register: new, then old again, is no order."""
    assert stuck([write(0, 10, 1), read(1, 2, 1), read(3, 4, 0)], 0) == Stuck(2, ("read 0",))


def test_a_write_that_had_ended_is_seen() -> None:
    assert stuck([write(0, 1, 1), read(2, 3, 0)], 0) == Stuck(1, ("read 0",))


def test_the_queues_of_herlihy_and_wing() -> None:
    """Figure 1: H1 is linearizable, H2 is not (y was put in after x, and comes out first), H3 is, H4 is not."""
    h1 = [enqueue(0, 3, "x"), enqueue(1, 2, "y"), dequeue(4, 6, "x"), dequeue(5, 7, "y")]
    h2 = [enqueue(0, 1, "x"), enqueue(2, 3, "y"), dequeue(4, 5, "y")]
    h3 = [enqueue(0, 3, "x"), dequeue(1, 2, "x")]
    h4 = [enqueue(0, 3, "x"), enqueue(1, 2, "y"), dequeue(4, 6, "y"), dequeue(5, 7, "y")]
    assert stuck(h1, ()) is None
    assert stuck(h2, ()) == Stuck(2, ("D(y)",))
    assert stuck(h3, ()) is None
    assert stuck(h4, ()) is not None


def test_who_was_never_told_may_have_been_served() -> None:
    """A call that was lost happened between its beginning and its process's death, or never."""
    assert stuck([write(0, 5, 1, known=False), read(6, 7, 1)], 0) is None
    assert stuck([write(0, 5, 1, known=False), read(6, 7, 0)], 0) is None
    assert stuck([write(0, 5, 1, known=False), read(6, 7, 1), read(8, 9, 0)], 0) is not None
    # Nobody writes once his process is dead.
    assert stuck([read(6, 7, 0), write(0, 5, 1, known=False), read(8, 9, 1)], 0) is not None


def test_nothing_and_one() -> None:
    assert stuck([], 0) is None
    assert stuck([read(0, 1, 1)], 0) == Stuck(0, ("read 1",))


def test_long_histories_are_no_trouble_and_wide_ones_are_given_up() -> None:
    counter = [Step(at, at + 3, lambda held, at=at: at + 1 if held == at else None) for at in range(5_000)]
    assert stuck(counter, 0) is None
    wide = [Step(0, 100, lambda held, bit=bit: held ^ (1 << bit)) for bit in range(24)]
    with pytest.raises(TooMany):
        stuck([*wide, Step(0, 100, lambda held: None)], 0, most=1_000)
