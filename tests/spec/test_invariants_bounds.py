"""Bounds, judged over histories written by hand: each holds on one and is violated on another."""

from __future__ import annotations

import pytest

from pawl_spec.history import Limits
from tests.spec.histories import ABLE, ALICE, BOB, SMALL, Tale, breaks, broken, findings, holds, met

# -- BND-01: 20 derivations are stated --------------------------------------------------------------------------------


@holds("BND-01")
def test_work_within_the_bound() -> Tale:
    """Claim: "One message causes at most the stated number of key derivations": exactly as many."""
    tale = met(can=ABLE - {"rows"})
    return tale.deliver(tale.send(ALICE, BOB), seen={"work": 20})


@breaks("BND-01", says="21 derivations for one message, 20 are stated")
def test_work_over_the_bound() -> Tale:
    """Claim: "at most the stated number": one more."""
    tale = met(can=ABLE - {"rows"})
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


def later(**settings: object) -> Tale:
    """A day after Alice and Bob met: from then on nobody but BND-02 asks how much is kept (CNF-02 does not)."""
    return met(**settings).clock(1)


@holds("BND-02")
def test_state_within_the_bounds() -> Tale:
    """Claim: "... never exceed their limits, or the target's declared ones": exactly as much."""
    tale = later()
    return tale.deliver(tale.send(ALICE, BOB), seen=DECLARED)


@breaks("BND-02", says="3 keys kept in one chain, at most 2 are allowed")
def test_too_many_keys_in_a_chain() -> Tale:
    """Claim: "Kept keys per chain ... never exceed": one more."""
    tale = later()
    return tale.deliver(tale.send(ALICE, BOB), seen={"kept_chain": 3})


@pytest.mark.parametrize("what", DECLARED)
@pytest.mark.parametrize(("limits", "most"), [(SMALL, DECLARED), (Limits(25_000, None, None, None, None), CATALOGUE)])
def test_each_limit(limits: Limits, most: dict[str, int], what: str) -> None:
    """Claim: "Kept keys per chain (2,000) and per session (8,000), receiving chains (5) and archived sessions (40)
    never exceed their limits, or the target's declared ones": one more of each is one too many.
    """
    good, bad = later(limits=limits), later(limits=limits)
    good.deliver(good.send(ALICE, BOB), seen={what: most[what]})
    bad.deliver(bad.send(ALICE, BOB), seen={what: most[what] + 1})
    assert set(findings(good, "BND-02")) == {None}
    assert broken(bad) == {"BND-02"}


# -- BND-03: 10 rows, 1,000 bytes and 8 derivations are stated --------------------------------------------------------

DEAR = {"rows": 10, "written": 1_000, "work": 8}
"""What one message may cost that keeps nothing."""


@holds("BND-03")
def test_a_message_costs_what_is_stated() -> Tale:
    """Claim: "The counted work per message does not grow": exactly as much as is stated, for both sides."""
    tale = met()
    message = tale.send(ALICE, BOB, seen=DEAR)
    return tale.deliver(message, seen=DEAR)


@holds("BND-03")
def test_what_a_message_skips_costs_its_share() -> Tale:
    """Not covered: "what a message adds ... is counted on top": two skipped messages, three shares."""
    tale = met()
    tale.send(ALICE, BOB)
    tale.send(ALICE, BOB)
    return tale.deliver(tale.send(ALICE, BOB), seen={"rows": 30, "written": 3_000, "work": 20})


@holds("BND-03")
def test_what_is_tried_in_vain_costs_its_share() -> Tale:
    """Not covered: "... or has to try": the archived session is tried too."""
    tale = met().establish(BOB, ALICE)
    return tale.inject(BOB, ALICE, "well-formed", code="bad-mac", seen={"rows": 20})


@breaks("BND-03", says="11 rows for one message, at most 10 are due")
def test_a_message_that_reads_too_much() -> Tale:
    """Claim: "rows": a message that skips nothing touches one row more."""
    tale = met()
    return tale.deliver(tale.send(ALICE, BOB), seen={"rows": 11})


@breaks("BND-03", says="1001 bytes written")
def test_a_message_that_writes_too_much() -> Tale:
    """Claim: "bytes written": sending rewrites too much."""
    tale = met()
    tale.send(ALICE, BOB, seen={"written": 1_001})
    return tale


@breaks("BND-03", says="9 derivations")
def test_a_message_that_derives_too_much() -> Tale:
    """Claim: "derivations": the kept keys cost nothing once they are kept."""
    tale = met()
    first = tale.send(ALICE, BOB)
    tale.deliver(tale.send(ALICE, BOB))
    return tale.deliver(first, seen={"work": 9})
