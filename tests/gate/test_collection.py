"""Garbage collection during a search: looked for less often, and as before at the end."""

from __future__ import annotations

import gc

import pytest

from pawl_gate.collection import THRESHOLDS, rare_collection


def fails() -> None:
    """A search that ends with an error."""
    with rare_collection():
        assert gc.get_threshold() == THRESHOLDS
        assert gc.get_freeze_count() > 0
        raise KeyError


def test_it_is_rarer_for_a_while() -> None:
    """Also where the search ends with an error, what comes after runs as it did before."""
    before = gc.get_threshold()
    with pytest.raises(KeyError):
        fails()
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
