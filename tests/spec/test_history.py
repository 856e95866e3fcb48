"""Events: what is changed in a copy, and what is not."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from pawl_spec.history import Event, Outcome
from pawl_spec.trace import Kind, op


def test_an_event_with_some_fields_changed() -> None:
    """As `dataclasses.replace` has it; the event itself stays as it is."""
    event = Event(3, op(Kind.DELIVER, index=0), Outcome.SKIPPED)
    changed = event.but(outcome=Outcome.DONE, actor=1)
    assert changed == replace(event, outcome=Outcome.DONE, actor=1)
    assert hash(changed) == hash(replace(event, outcome=Outcome.DONE, actor=1))
    assert event == Event(3, op(Kind.DELIVER, index=0), Outcome.SKIPPED)
    with pytest.raises(FrozenInstanceError):
        changed.actor = 2  # type: ignore[misc]


def test_a_field_that_there_is_not() -> None:
    """A slip of the pen is no new field."""
    with pytest.raises(TypeError, match="no such field: autor"):
        Event(3, op(Kind.DELIVER, index=0), Outcome.SKIPPED).but(autor=1)


def test_an_event_that_has_begun_is_an_event() -> None:
    """What is not said of it has its default, whether it was made field by field or not; and it says so."""
    begun, made = Event.begun(3, op(Kind.NOP), Outcome.SKIPPED), Event(3, op(Kind.NOP), Outcome.SKIPPED)
    assert begun == made
    assert repr(begun) == repr(made)
    assert hash(begun) == hash(made)
    assert begun.but(actor=1) == made.but(actor=1)
    assert replace(begun, actor=1) == made.but(actor=1)
    with pytest.raises(TypeError, match="no such field: actress"):
        begun.but(actress=1)
