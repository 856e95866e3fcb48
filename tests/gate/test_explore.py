"""Explored states on the code: model and library agree on each, and a broken library is noticed."""

import pytest

from pawl_gate.engines.explore import replay, traces
from pawl_gate.targets.inprocess import InProcessTarget
from pawl_gate.targets.registry import find_target
from pawl_spec.explore import SCOPES, explore


@pytest.mark.parametrize("scope", ["smoke", "order", "restart", "replay", "three"])
def test_model_and_code_agree_on_every_state(scope: str) -> None:
    """As many states are reached on the code as the model has."""
    explored = explore(SCOPES[scope])
    replayed = replay(InProcessTarget(), explored)
    assert replayed.disagreement is None
    assert replayed.states == explored.states


def test_model_and_code_agree_on_what_a_stolen_state_gives_away() -> None:
    """After every step the attacker searches anew, and reads what the model says."""
    explored = explore(SCOPES["compromise"], most=400)
    assert replay(InProcessTarget(), explored).states == explored.states


@pytest.mark.parametrize("control", ["refusal-changes-state", "encoding-not-canonical", "prekey-kept"])
def test_a_broken_library_is_noticed(control: str) -> None:
    """The states behind the first wrong step are not counted as reached."""
    explored = explore(SCOPES["smoke"])
    replayed = replay(find_target(f"control:{control}"), explored)
    assert replayed.disagreement is not None
    assert replayed.states < explored.states


def test_the_traces_to_all_leaves_pass_through_every_state() -> None:
    """A state is on its own trace, and on that of whatever comes after it."""
    explored = explore(SCOPES["smoke"])
    passed = {trace.ops[:end] for trace in traces(explored) for end in range(1, len(trace.ops) + 1)}
    assert passed >= {explored.trace(state) for state in range(explored.states)}
