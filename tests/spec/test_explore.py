"""The exhaustive search of the model: it ends, comes to the committed figures, and notices each planted fault."""

from dataclasses import fields, replace
from typing import Any, cast

import pytest

from pawl_spec.explore import FAULTS, SCOPES, Ideal, committed, differs, explore
from pawl_spec.explore.canonical import Canonical
from pawl_spec.explore.ideal import copied
from pawl_spec.explore.properties import PROPERTIES
from pawl_spec.history import Outcome
from pawl_spec.invariants import INVARIANTS
from pawl_spec.model.state import Party
from pawl_spec.trace import Kind, op

SMALL = ["smoke", "order", "restart", "rekey", "replay", "three"]
"""Scopes that are explored here; `make explore` explores them all."""


def test_every_scope_has_committed_figures() -> None:
    """No scope without its figures, and no figures without a scope."""
    assert committed().keys() == SCOPES.keys()


@pytest.mark.parametrize("name", SMALL)
def test_small_scopes_close_and_are_as_committed(name: str) -> None:
    """Explored to its end, nothing found, and with the counts that are committed."""
    explored = explore(SCOPES[name])
    assert explored.closed
    assert explored.counterexample is None
    assert differs(explored, committed()) is None


def test_the_main_scope_is_what_was_asked_for() -> None:
    """Two parties, three messages each way, a ratchet step each, with loss, copies and any order."""
    main, figures = SCOPES["main"], committed()["main"]
    assert (main.parties, main.sends) == (2, 3)
    assert min(main.duplicates, main.drops) >= 1
    assert figures["states"] > 100_000


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_of_the_model_is_found(name: str) -> None:
    """A broken rule breaks the property that is named with it; the trace that is given shows it, and is in bounds."""
    fault = FAULTS[name]
    with fault.planted():
        explored = explore(SCOPES[fault.scope])
    assert not explored.closed
    found = explored.counterexample
    assert found is not None
    assert found.broken.name == fault.breaks
    # It is the rule that was broken: without the fault the same trace shows nothing.
    world = Ideal()
    assert all(world.step(each)[0].outcome is not Outcome.SKIPPED for each in found.trace.ops)


@pytest.mark.parametrize("left_out", [Kind.DUPLICATE, Kind.DROP])
def test_a_pruned_search_is_not_as_committed(left_out: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that leaves an operation out closes and finds nothing; its figures give it away."""
    moves = type(SCOPES["smoke"]).moves
    pruned = lambda *args: (move for move in moves(*args) if move[0].kind is not left_out)  # noqa: E731
    monkeypatch.setattr(type(SCOPES["smoke"]), "moves", pruned)
    explored = explore(SCOPES["smoke"])
    assert explored.closed
    assert explored.counterexample is None
    assert "committed 451" in (differs(explored, committed()) or "")


def test_a_search_that_is_given_up_is_not_closed() -> None:
    """A bound on states ends the search, and it says so."""
    assert not explore(SCOPES["order"], most=20).closed


# -- symmetry ---------------------------------------------------------------------------------------------------------

SYMMETRIC = [SCOPES["three"], replace(SCOPES["simultaneous"], sends=1, drops=0)]


@pytest.mark.parametrize("scope", SYMMETRIC, ids=lambda scope: scope.name)
def test_exchanging_parties_changes_no_verdict(scope: object) -> None:
    """With and without the reduction: both close, both find nothing, the same depth, and the reduced one is smaller."""
    reduced, full = explore(scope), explore(scope, symmetric=False)  # type: ignore[arg-type]
    assert (reduced.closed, reduced.counterexample, reduced.depth) == (full.closed, full.counterexample, full.depth)
    assert reduced.states < full.states
    # As many states as the reduced search stands for are there: nothing is merged that differs, and nothing is missed.
    assert reduced.plain == full.states


@pytest.mark.parametrize("fault", ["prekey-kept", "former-sessions-lost", "used-key-kept"])
def test_exchanging_parties_hides_no_fault(fault: str) -> None:
    """With and without the reduction: the same property breaks, after as many operations."""
    scope, found = SCOPES["simultaneous"], []
    with FAULTS[fault].planted():
        for symmetric in (True, False):
            counterexample = explore(scope, symmetric=symmetric).counterexample
            assert counterexample is not None
            found.append((counterexample.broken.name, len(counterexample.trace.ops)))
    assert found[0] == found[1]


# -- names of states --------------------------------------------------------------------------------------------------

NOTHING = ((0, 0),) * 3 + ((0,),) * 4


def name_of(*ops: object, symmetric: bool = False, names: Canonical | None = None) -> tuple[int, int]:
    world = Ideal()
    for each in ops:
        assert world.step(each)[0].outcome is Outcome.DONE  # type: ignore[arg-type]
    return (names or Canonical(2, symmetric=symmetric, history=False)).key(world, NOTHING)


def test_states_that_differ_in_order_alone_are_one() -> None:
    """Two messages, delivered one after the other or the other way round, lead to one state."""
    start = [op(Kind.ESTABLISH, actor=0, peer=1, one_time=1), *[op(Kind.SEND, actor=0, peer=1)] * 2]
    names = Canonical(2, symmetric=False, history=False)
    in_order = name_of(*start, *[op(Kind.DELIVER, index=0)] * 2, names=names)
    turned = name_of(*start, *[op(Kind.DELIVER, index=i) for i in (1, 0)], names=names)
    one_only = name_of(*start, op(Kind.DELIVER, index=1), names=names)
    assert in_order == turned
    assert in_order != one_only


def test_states_that_differ_in_who_is_who_are_one_only_where_that_is_asked_for() -> None:
    """Alice begins, or Bob does."""
    begun = [op(Kind.ESTABLISH, actor=a, peer=1 - a, one_time=1) for a in (0, 1)]
    for symmetric in (True, False):
        names = Canonical(2, symmetric=symmetric, history=False)
        first, second = (name_of(each, names=names)[0] for each in begun)
        assert (first == second) is symmetric


# -- properties -------------------------------------------------------------------------------------------------------


def test_properties_stand_for_invariants_of_the_catalogue() -> None:
    """Each names one that is registered, says what it claims, and has a source."""
    for entry in PROPERTIES.values():
        assert entry.id in {known.id for known in INVARIANTS}, entry.name
        assert entry.claim
        assert entry.source


def test_a_copy_of_a_party_has_all_that_it_holds_and_shares_nothing() -> None:
    """A field that the copy forgets would be empty in every later state, and one that is shared would leak into earlier ones."""
    party = cast("Any", Party)(identity="identity", signed_prekeys=["key"], strict=True)
    filled = {"signed_prekeys", "identity", "strict"}
    for each in fields(Party):
        value = getattr(party, each.name)
        if each.name not in filled:
            setattr(party, each.name, {1: each.name} if isinstance(value, dict) else type(value)([each.name]))
    twin = copied(party)
    assert twin == party
    for each in fields(Party):
        value = getattr(party, each.name)
        assert isinstance(value, (str, bool, frozenset)) or getattr(twin, each.name) is not value, each.name
