"""The registry against the catalogue: every invariant is listed once, judged or not yet, and nothing holds unasked.

The ids in it are examples.
"""

from __future__ import annotations

import pytest

from pawl_spec.history import Hello, Limits, Observe
from pawl_spec.invariants import INVARIANTS
from pawl_spec.judge import Tally, Verdict
from pawl_spec.registry import REGISTRY, THREATS, Story, invariant, not_yet_judged
from tests.spec import (
    test_invariants_atomicity,
    test_invariants_authenticity,
    test_invariants_bounds,
    test_invariants_counters,
    test_invariants_groups,
    test_invariants_identity,
    test_invariants_keys,
    test_invariants_media,
    test_invariants_parsing,
    test_invariants_secrecy,
    test_invariants_workers,
)
from tests.spec.histories import ABLE, GREEN, RED, Tale

FAMILIES = (
    test_invariants_atomicity,
    test_invariants_authenticity,
    test_invariants_bounds,
    test_invariants_counters,
    test_invariants_groups,
    test_invariants_identity,
    test_invariants_keys,
    test_invariants_media,
    test_invariants_parsing,
    test_invariants_secrecy,
    test_invariants_workers,
)
"""Importing them fills GREEN and RED."""

FAMILY_SIZES = {"IDC": 10, "CTR": 8, "KEY": 7, "SEC": 2, "BND": 3, "ATM": 9, "WRK": 7, "PAR": 5, "GRP": 6}
CATALOGUE = [f"{family}-{at:02}" for family, size in FAMILY_SIZES.items() for at in range(1, size + 1)]
CATALOGUE += ["AUT-01", "CNF-01", "CNF-02"]
"""The ids that were published. One may be added; none may go or change its meaning."""

JUDGED = [entry.id for entry in INVARIANTS if entry.predicate is not None]


def test_the_catalogue_is_registered_once() -> None:
    """Ids are unique and never renumbered: the registry holds those of the catalogue and no other."""
    assert len(CATALOGUE) == len(set(CATALOGUE)) == 60
    assert [entry.id for entry in INVARIANTS] == sorted(CATALOGUE)
    assert all(id == entry.id for id, entry in REGISTRY.items())


def test_each_is_judged_or_says_why_not() -> None:
    """Every invariant has a predicate, or a reason why nothing judges it yet; never both."""
    assert len(JUDGED) == 60
    for entry in INVARIANTS:
        assert (entry.predicate is None) == bool(entry.pending), entry.id


@pytest.mark.parametrize("entry", INVARIANTS, ids=lambda entry: entry.id)
def test_each_says_what_it_claims_and_where_from(entry: object) -> None:
    """Every invariant has an id, a threat, a claim in one sentence and a source clause."""
    assert entry.threat in THREATS
    assert entry.claim.endswith(".")
    assert entry.claim.count(". ") == 0
    assert entry.source


def test_every_threat_is_answered() -> None:
    """Every threat of the threat model has an invariant that answers it."""
    assert {entry.threat for entry in INVARIANTS} == set(THREATS)


@pytest.mark.parametrize("id", JUDGED)
def test_each_predicate_was_seen_green_and_red(id: str) -> None:
    """A predicate that was never seen red proves nothing: the families' tests show it both ways."""
    assert FAMILIES
    assert id in GREEN
    assert id in RED


def test_nothing_happened_nothing_reached() -> None:
    """A predicate that yields nothing was not reached: on an empty history every judged one yields nothing."""
    story = Story(Tale().history)
    for id in JUDGED:
        predicate = REGISTRY[id].predicate
        assert predicate is not None
        assert list(predicate(story)) == []


def test_pending_is_never_holding() -> None:
    """An invariant that nothing judges yet is listed, and never counted as holding, whatever was counted."""
    hello = Hello("by hand", "1", Observe.DISK, ABLE, Limits())
    tally = Tally(hello)
    tally.checked.update({entry.id: 1000 for entry in INVARIANTS})
    verdicts = tally.verdicts()
    assert {id for id, verdict in verdicts.items() if verdict is Verdict.PENDING} == set(CATALOGUE) - set(JUDGED)
    assert all(verdicts[id] is Verdict.HOLDS for id in JUDGED)


def test_an_id_is_registered_once() -> None:
    """Ids are never renumbered: a second entry under a known id is an error, and leaves the first as it was."""
    first = REGISTRY["CTR-01"]
    with pytest.raises(ValueError, match="CTR-01 is registered twice"):
        not_yet_judged("CTR-01", "T-REPLAY", "Another claim.", why="no reason")
    with pytest.raises(ValueError, match="CTR-01 is registered twice"):
        invariant(id="CTR-01", threat="T-REPLAY", source="nowhere")(lambda story: iter(()))
    assert REGISTRY["CTR-01"] is first


def test_a_threat_must_be_known() -> None:
    """An invariant answers a threat of the model: another one is an error."""
    with pytest.raises(ValueError, match="no threat T-WEATHER"):
        not_yet_judged("XXX-01", "T-WEATHER", "It does not rain.", why="it does")
    assert "XXX-01" not in REGISTRY


def test_the_claim_is_the_first_paragraph() -> None:
    """The claim of an invariant is the first paragraph of its predicate's docstring, on one line."""
    assert REGISTRY["CTR-02"].claim == "CTR-01 holds across crash and restart."
    assert REGISTRY["IDC-06"].claim.startswith(
        "A received identity is pinned only after the message that carried it was"
    )
    assert "\n" not in REGISTRY["IDC-06"].claim
