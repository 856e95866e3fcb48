"""Bounds, judged over histories written by hand: each holds on one and is violated on another."""

from __future__ import annotations

import pytest

from pawl_spec.history import Limits
from tests.spec.histories import ALICE, BOB, SMALL, Tale, breaks, broken, findings, holds, met

# -- BND-01: 20 derivations are stated --------------------------------------------------------------------------------


@holds("BND-01")
def test_work_within_the_bound() -> Tale:
    """Claim: "One message causes at most the stated number of key derivations": exactly as many."""
    tale = met()
    return tale.deliver(tale.send(ALICE, BOB), seen={"work": 20})


@breaks("BND-01", says="21 derivations for one message, 20 are stated")
def test_work_over_the_bound() -> Tale:
    """Claim: "at most the stated number": one more."""
    tale = met()
    return tale.deliver(tale.send(ALICE, BOB), seen={"work": 21})


@breaks("BND-01")
def test_work_over_the_bound_for_a_refused_message() -> Tale:
    """Claim: "One message": also one that is refused in the end."""
    tale = met()
    return tale.tamper(tale.send(ALICE, BOB), "mac", code="bad-mac", seen={"work": 21})


@breaks("BND-01")
def test_work_over_the_bound_for_a_made_up_message() -> Tale:
    """Claim: "One message": also one that nobody sent."""
    return met().inject(ALICE, BOB, "well-formed", code="bad-mac", seen={"work": 21})


# -- BND-02 -----------------------------------------------------------------------------------------------------------

DECLARED = {"kept_chain": 2, "kept_session": 3, "chains": 2, "sessions": 1}
CATALOGUE = {"kept_chain": 2_000, "kept_session": 8_000, "chains": 5, "sessions": 40}


@holds("BND-02")
def test_state_within_the_bounds() -> Tale:
    """Claim: "... never exceed their limits, or the target's declared ones": exactly as much."""
    tale = met()
    return tale.deliver(tale.send(ALICE, BOB), seen=DECLARED)


@breaks("BND-02", says="3 keys kept in one chain, at most 2 are allowed")
def test_too_many_keys_in_a_chain() -> Tale:
    """Claim: "Kept keys per chain ... never exceed": one more."""
    tale = met()
    return tale.deliver(tale.send(ALICE, BOB), seen={"kept_chain": 3})


@pytest.mark.parametrize("what", DECLARED)
@pytest.mark.parametrize(("limits", "most"), [(SMALL, DECLARED), (Limits(25_000, None, None, None, None), CATALOGUE)])
def test_each_limit(limits: Limits, most: dict[str, int], what: str) -> None:
    """Claim: "Kept keys per chain (2,000) and per session (8,000), receiving chains (5) and archived sessions (40)
    never exceed their limits, or the target's declared ones": one more of each is one too many.
    """
    good, bad = met(limits=limits), met(limits=limits)
    good.deliver(good.send(ALICE, BOB), seen={what: most[what]})
    bad.deliver(bad.send(ALICE, BOB), seen={what: most[what] + 1})
    assert set(findings(good, "BND-02")) == {None}
    assert broken(bad) == {"BND-02"}
