"""Secrecy, judged over histories written by hand: each holds on one and is violated on another.

What is lost, and from which message on a session is safe, is worked out here from the protocol, not by the model.
"""

from __future__ import annotations

from typing import Any

import pytest

from pawl_spec.history import Observe
from pawl_spec.model import Healed
from tests.spec.histories import ABLE, ALICE, BOB, CAROL, Tale, breaks, broken, holds, met

# -- SEC-01: the past -------------------------------------------------------------------------------------------------


@holds("SEC-01")
def test_the_past_is_sealed() -> Tale:
    """Double Ratchet, 8.2: with a one-time prekey, what was read before is lost to nobody."""
    return met().compromise(ALICE).compromise(BOB)


@breaks("SEC-01", says="the attacker reads m1; the model says none")
def test_a_former_key_was_kept() -> Tale:
    """ "exactly those that the model says": m1 was read, its key should be gone."""
    return met().compromise(ALICE, 1)


@holds("SEC-01")
def test_what_is_on_its_way_is_lost() -> Tale:
    """The receiver's state reads what it has not read yet; the sender's does not."""
    tale = met()
    waiting = tale.send(ALICE, BOB)
    return tale.compromise(ALICE).compromise(BOB, waiting)


@breaks("SEC-01", says="cannot read m2, which the model says are lost")
def test_an_attacker_that_is_too_weak() -> Tale:
    """ "exactly": an attacker that misses what is lost shows nothing by its silence."""
    tale = met()
    tale.send(ALICE, BOB)
    return tale.compromise(BOB)


@holds("SEC-01")
def test_kept_keys_are_lost_and_used_ones_are_not() -> Tale:
    """Out of order: m2 is kept for later, m3 was read; once m2 is read, neither is lost."""
    tale = met()
    early, late = tale.send(ALICE, BOB), tale.send(ALICE, BOB)
    tale.deliver(late)
    tale.compromise(BOB, early)
    # A state that was taken stays taken.
    return tale.deliver(early).compromise(BOB, early)


@holds("SEC-01")
def test_a_used_kept_key_is_gone() -> Tale:
    """Out of order, and taken only when all was read."""
    tale = met()
    early, late = tale.send(ALICE, BOB), tale.send(ALICE, BOB)
    return tale.deliver(late).deliver(early).compromise(BOB)


@breaks("SEC-01", says="the attacker reads m2; the model says none")
def test_a_used_kept_key_is_still_there() -> Tale:
    """ "exactly those": a kept key was used and not deleted."""
    tale = met()
    early, late = tale.send(ALICE, BOB), tale.send(ALICE, BOB)
    return tale.deliver(late).deliver(early).compromise(BOB, early)


@holds("SEC-01")
def test_without_a_one_time_prekey_first_messages_stay_readable() -> Tale:
    """X3DH, 4.7: without a one-time prekey, identity and signed prekey give the secret of the session once more: all
    messages of the initiator's first chain. The reply needs a ratchet key that is gone.
    """
    tale = Tale().establish(ALICE, BOB, one_time=False)
    tale.deliver(tale.send(ALICE, BOB))
    tale.deliver(tale.send(ALICE, BOB))
    tale.compromise(BOB, 0, 1)
    return tale


@holds("SEC-01")
def test_they_stay_readable_for_as_long_as_the_signed_prekey() -> Tale:
    """X3DH, 4.6: until the signed prekey is deleted. Bob has since taken two steps."""
    tale = Tale().establish(ALICE, BOB, one_time=False)
    for sender, receiver in ((ALICE, BOB), (BOB, ALICE), (ALICE, BOB)):
        tale.deliver(tale.send(sender, receiver))
    tale.rotate(BOB).clock(31)
    # A copy of the tale before maintenance would read m0.
    return tale.maintain(BOB).compromise(BOB)


@holds("SEC-01")
def test_a_retained_signed_prekey_reads_the_first_message() -> Tale:
    """As before, but taken within the grace: m0 is lost; m1 and m2 hang on ratchet keys that are gone."""
    tale = Tale().establish(ALICE, BOB, one_time=False)
    for sender, receiver in ((ALICE, BOB), (BOB, ALICE), (ALICE, BOB)):
        tale.deliver(tale.send(sender, receiver))
    return tale.rotate(BOB).compromise(BOB, 0)


@breaks("SEC-01", says="the attacker reads m0; the model says none")
def test_a_used_one_time_prekey_is_still_there() -> Tale:
    """The same with a one-time prekey that should be gone."""
    return met().compromise(BOB, 0)


@holds("SEC-01")
def test_the_initiator_cannot_read_its_first_message() -> Tale:
    """The base key's private half is gone once the session is made: Alice's state never reads m0."""
    tale = Tale().establish(ALICE, BOB, one_time=False)
    tale.deliver(tale.send(ALICE, BOB))
    return tale.compromise(ALICE)


@holds("SEC-01")
def test_archived_sessions_are_taken_too() -> Tale:
    """A message that is on its way under an archived session is lost with the receiver's state."""
    tale = met()
    waiting = tale.send(ALICE, BOB)
    tale.establish(ALICE, BOB)
    tale.deliver(tale.send(ALICE, BOB))
    return tale.compromise(BOB, waiting)


@holds("SEC-01")
def test_a_dropped_session_is_not_taken() -> Tale:
    """Beyond the limit of archived sessions (one, here) nothing is left of a session."""
    tale = met()
    waiting = tale.send(ALICE, BOB)
    for _ in range(2):
        tale.establish(ALICE, BOB)
        tale.deliver(tale.send(ALICE, BOB))
    assert waiting == 2
    return tale.compromise(BOB)


@holds("SEC-01")
def test_both_sides_are_taken() -> Tale:
    """Each side's state reads what the other has on its way, and no more."""
    tale = met()
    one = tale.send(ALICE, BOB)
    two = tale.send(BOB, ALICE)
    tale.compromise(ALICE, two)
    return tale.compromise(BOB, one, two)


@holds("SEC-01")
def test_a_smuggled_identity_reads_without_any_state() -> Tale:
    """An active attacker whose bundle was trusted on first use has the private halves; but the one-time prekey is
    Bob's, so what Alice sends is lost only with Bob's state.
    """
    tale = Tale().forge(ALICE, BOB, "attacker-bundle")
    tale.send(ALICE, BOB)
    return tale.compromise(ALICE).compromise(BOB, 0)


@holds("SEC-01", reached=False)
def test_nothing_was_sent() -> Tale:
    """Without a message there is nothing to read."""
    return Tale().establish(ALICE, BOB).compromise(ALICE)


@holds("SEC-01", reached=False)
def test_a_search_that_was_given_up_says_nothing() -> Tale:
    """Then it is not known what could be read."""
    return met().compromise(ALICE, gave_up=True)


# -- SEC-02: what follows ---------------------------------------------------------------------------------------------


@holds("SEC-02")
def test_a_session_heals() -> Tale:
    """Alice is taken. Bob's m2 is read with her ratchet key; her answer m3 has a fresh one: from there on all is safe."""
    tale = met().compromise(ALICE)
    tale.deliver(tale.send(ALICE, BOB))
    tale.deliver(tale.send(BOB, ALICE))
    tale.deliver(tale.send(ALICE, BOB))
    tale.deliver(tale.send(BOB, ALICE))
    # m2 is on the chain that Alice was sending on, m3 is Bob's next step, and m4 the first after Alice's.
    return tale.attack(2, 3)


def test_it_names_the_message() -> None:
    """The same tale: "from the message on that the model names"."""
    tale = met().compromise(ALICE)
    for sender, receiver in ((ALICE, BOB), (BOB, ALICE), (ALICE, BOB), (BOB, ALICE)):
        tale.deliver(tale.send(sender, receiver))
        tale.attack()
    assert tale.expect is not None
    assert tale.expect.reads == {2, 3}
    assert tale.expect.since == 2
    assert tale.expect.healed == (Healed(ALICE, BOB, 4),)


def test_it_says_when_a_session_has_not_healed() -> None:
    """As long as only one side speaks, nothing heals."""
    tale = met().compromise(ALICE)
    tale.send(ALICE, BOB)
    tale.send(ALICE, BOB)
    assert tale.attack().expect is not None
    assert tale.expect.healed == (Healed(ALICE, BOB, None),)


@breaks("SEC-02", says="the attacker reads m4; the model says m2, m3; alice and bob are safe again from m4 on")
def test_a_guessed_ratchet_key_never_heals() -> Tale:
    """ "exactly those before the message": the new ratchet key was no secret."""
    tale = met().compromise(ALICE)
    for sender, receiver in ((ALICE, BOB), (BOB, ALICE), (ALICE, BOB)):
        tale.deliver(tale.send(sender, receiver))
    return tale.attack(2, 3, 4)


@breaks("SEC-02", says="cannot read m3, which the model says are lost")
def test_an_attacker_that_forgets_to_follow() -> Tale:
    """ "exactly": the stolen ratchet key reads Bob's next step."""
    tale = met().compromise(ALICE)
    for sender, receiver in ((ALICE, BOB), (BOB, ALICE)):
        tale.deliver(tale.send(sender, receiver))
    return tale.attack(2)


@holds("SEC-02")
def test_taking_both_heals_a_step_later() -> Tale:
    """Both are taken at once: a step of one side is fresh, and that is enough, for the agreement needs one of them."""
    tale = met().compromise(ALICE).compromise(BOB)
    tale.deliver(tale.send(ALICE, BOB))
    tale.deliver(tale.send(BOB, ALICE))
    # m2 is on the old chain. Reading it Bob stays where he is; m3 too. Then Alice steps, and is safe.
    tale.deliver(tale.send(ALICE, BOB))
    return tale.attack(2, 3)


@holds("SEC-02")
def test_a_stolen_one_time_prekey_reads_a_later_session() -> Tale:
    """A session that is made later with prekeys that were taken is lost until its ratchet turns: no one claims else."""
    tale = Tale().establish(ALICE, BOB).compromise(BOB)
    tale.deliver(tale.send(ALICE, BOB))
    return tale.attack(0)


@holds("SEC-02")
def test_another_pair_is_not_concerned() -> Tale:
    """What Carol and Bob say is not read with Alice's state."""
    tale = met().compromise(ALICE)
    tale.establish(CAROL, BOB)
    tale.deliver(tale.send(CAROL, BOB))
    return tale.attack()


@pytest.mark.parametrize("lacking", [{"level": Observe.COUNTS}, {"can": ABLE - {"compromise"}}])
def test_nothing_is_judged_that_cannot_be_seen(lacking: dict[str, Any]) -> None:
    """The level is L2, and the target has to hand out forks of its state."""
    tale = met(**lacking).compromise(ALICE, 1).attack(1)
    assert broken(tale) == set()
