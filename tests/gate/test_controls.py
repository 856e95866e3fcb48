"""A green gate means nothing without controls: every broken variant is caught by the invariant that names its fault."""

from __future__ import annotations

from itertools import islice

import pytest

from pawl_gate.controls import CONTROLS
from pawl_gate.engines import walk
from pawl_gate.runner import run_trace
from pawl_gate.targets.inprocess import InProcessTarget
from pawl_spec.judge import judge
from pawl_spec.trace import Trace

TRACES = 300
"""As many random walks as `pawl verify --budget smoke` runs."""


@pytest.mark.parametrize("name", sorted(CONTROLS))
def test_control_is_caught(name: str) -> None:
    """The invariant that names the fault is violated within the smoke budget, on a trace on which Pawl keeps it."""
    control = CONTROLS[name]
    caught = first_caught(name)
    assert caught is not None, f"{control.breaks} does not see that: {control.what}"
    broken, _ = judge(run_trace(InProcessTarget(), caught))
    assert not broken


def first_caught(name: str) -> Trace | None:
    """The first walk on which the control breaks the invariant that names it."""
    control = CONTROLS[name]
    target = control.make()
    for trace in islice(walk.traces(0), TRACES):
        broken, _ = judge(run_trace(target, trace))
        if control.breaks in {entry.invariant.id for entry in broken}:
            return trace
    return None


def test_there_are_enough() -> None:
    """The six faults that every gate must see are among them."""
    named = {control.breaks for control in CONTROLS.values()}
    assert {"KEY-01", "AUT-01", "IDC-03", "CTR-05", "CTR-03", "IDC-01"} <= named
