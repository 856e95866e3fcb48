"""Atomicity, judged over histories written by hand: each holds on one and is violated on another."""

from __future__ import annotations

from dataclasses import replace

from pawl_spec.history import Header, Strike
from tests.spec.group_histories import GroupTale
from tests.spec.histories import ALICE, BOB, Tale, breaks, holds, met, wire

# -- ATM-01 -----------------------------------------------------------------------------------------------------------


@holds("ATM-01")
def test_a_crash_leaves_the_state_before() -> Tale:
    """Claim: "After a crash at any point, the reopened store holds exactly the state before or exactly the state
    after".
    """
    tale = Tale().establish(ALICE, BOB)
    message = tale.send(ALICE, BOB)
    # What was not committed can be delivered again; what was is a duplicate.
    tale.deliver(message, crash="before").deliver(message)
    return tale


@holds("ATM-01")
def test_a_crash_leaves_the_state_after() -> Tale:
    """Claim: "... or exactly the state after": the message counts as delivered."""
    tale = Tale().establish(ALICE, BOB)
    message = tale.send(ALICE, BOB)
    return tale.deliver(message, crash="after").deliver(message, code="duplicate-message")


@breaks("ATM-01", says="half of the step")
def test_a_crash_leaves_half_a_step() -> Tale:
    """Claim: "exactly the state before or exactly the state after": it is neither."""
    tale = met()
    return tale.deliver(tale.send(ALICE, BOB), crash="between")


# -- ATM-02 -----------------------------------------------------------------------------------------------------------


@holds("ATM-02")
def test_results_are_durable() -> Tale:
    """Claim: "A ciphertext or plaintext is handed out only after the state that spent its key is durable"."""
    return met()


@breaks("ATM-02")
def test_a_ciphertext_is_handed_out_early() -> Tale:
    """Claim: "A ciphertext ... is handed out only after": it was not."""
    tale = met()
    tale.send(ALICE, BOB, seen={"durable": False})
    return tale


@breaks("ATM-02")
def test_a_plaintext_is_handed_out_early() -> Tale:
    """Claim: "A ... plaintext is handed out only after": it was not."""
    tale = met()
    return tale.deliver(tale.send(ALICE, BOB), seen={"durable": False})


@holds("ATM-02")
def test_a_refusal_hands_nothing_out() -> Tale:
    """A refused message hands nothing out and need not store anything."""
    tale = met()
    return tale.tamper(tale.send(ALICE, BOB), "mac", code="bad-mac", seen={"durable": False})


# -- ATM-04 -----------------------------------------------------------------------------------------------------------


def left(strike: Strike) -> dict[str, object]:
    """What is observed where the other writer's state is all that there is."""
    return {"digest": strike.after}


def due(tale: Tale) -> Header:
    """What the next message from Alice to Bob must say, found by sending it in a twin of the tale."""
    twin = met()
    twin.send(ALICE, BOB)
    return wire(twin.due)


@holds("ATM-04")
def test_the_slower_writer_is_told() -> Tale:
    """Claim: "one wins and the other is told": the counter that was used is not used again."""
    tale = met()
    first = due(tale)
    rival = tale.rival(ALICE, BOB, "send", sent=first)
    tale.send(ALICE, BOB, code="conflict", struck=(rival,), seen=left(rival))
    tale.deliver(tale.send(ALICE, BOB))
    assert tale.history.events[-2].header == replace(first, counter=first.counter + 1)
    return tale


@holds("ATM-04")
def test_the_slower_writer_goes_second() -> Tale:
    """Claim: "... or takes its step after the first"."""
    tale = met()
    tale.deliver(tale.send(ALICE, BOB, struck=(tale.rival(ALICE, BOB, "send", sent=due(tale)),)))
    return tale


@breaks("ATM-04", "CTR-01", says="one of each writer")
def test_two_writers_use_one_counter() -> Tale:
    """Claim: "no counter is used twice": both wrote what they had made of the same state."""
    tale = met()
    first = due(tale)
    rival = tale.rival(ALICE, BOB, "send", sent=first)
    tale.send(ALICE, BOB, header={"counter": first.counter}, struck=(rival,))
    return tale


@breaks("ATM-04", says="holds only the other writer's")
def test_an_acknowledged_step_is_lost() -> Tale:
    """Claim: "no acknowledged write is lost": what the store holds is the other writer's state alone."""
    tale = met()
    rival = tale.rival(ALICE, BOB, "send", sent=due(tale))
    tale.send(ALICE, BOB, struck=(rival,), seen=left(rival))
    return tale


@breaks("ATM-04", "CNF-01", says="for another reason")
def test_the_slower_writer_is_told_something_else() -> Tale:
    """Claim: "the other is told": there was a session."""
    tale = met()
    rival = tale.rival(ALICE, BOB, "send", sent=due(tale))
    tale.send(ALICE, BOB, code="storage-error", struck=(rival,), seen=left(rival))
    return tale


@breaks("ATM-04", "CTR-05", says="what the other writer left was changed")
def test_a_conflict_leaves_half_a_step() -> Tale:
    """Claim: "no acknowledged write is lost": a refusal took something of it away."""
    tale = met()
    rival = tale.rival(ALICE, BOB, "send", sent=due(tale))
    tale.send(ALICE, BOB, code="conflict", struck=(rival,), changes=True)
    return tale


@holds("ATM-04")
def test_one_of_two_readers_reads() -> Tale:
    """Claim: "a message is read by one of them"; for the other it is a repeat."""
    tale = met()
    message = tale.send(ALICE, BOB)
    rival = tale.rival(BOB, ALICE, "receive")
    tale.deliver(message, code="duplicate-message", struck=(rival,), seen=left(rival))
    return tale.replay(message, code="duplicate-message")


@breaks("ATM-04", says="accepted; expected a refusal")
def test_both_readers_read() -> Tale:
    """Claim: "a message is read by one of them": both did."""
    tale = met()
    message = tale.send(ALICE, BOB)
    return tale.deliver(message, struck=(tale.rival(BOB, ALICE, "receive"),))


@holds("ATM-04", reached=False)
def test_a_rival_that_is_refused_is_none() -> Tale:
    """Where the other process changed nothing there is no conflict."""
    tale = met()
    tale.deliver(tale.send(ALICE, BOB, struck=(tale.rival(ALICE, BOB, "send", changes=False),)))
    return tale


# -- ATM-05 -----------------------------------------------------------------------------------------------------------


@holds("ATM-05")
def test_a_step_whose_store_fails_has_not_happened() -> Tale:
    """Claim: "is refused by that name and leaves the store as it was": the same counter is due."""
    tale = met()
    tale.send(ALICE, BOB, code="storage-error", fault="fails")
    return tale.deliver(tale.send(ALICE, BOB))


@holds("ATM-05")
def test_a_step_whose_store_fails_is_tried_again() -> Tale:
    """Claim: "or it is tried again, and then happens whole"."""
    tale = met()
    return tale.deliver(tale.send(ALICE, BOB, fault="conflict"))


@holds("ATM-05")
def test_a_step_that_is_tried_again_is_refused_for_its_own_reason() -> Tale:
    """Claim: "or is refused for a reason of its own": the message was read before, as the second try finds."""
    tale = met()
    message = tale.send(ALICE, BOB)
    tale.deliver(message)
    return tale.replay(message, code="duplicate-message", fault="conflict")


@breaks("ATM-05", "CTR-04", says="refused")
def test_a_step_that_is_tried_again_is_refused_for_no_reason() -> Tale:
    """Claim: "a reason of its own": this message was due."""
    tale = met()
    return tale.deliver(tale.send(ALICE, BOB), code="duplicate-message", fault="conflict")


@breaks("ATM-05", "CTR-05", says="half of the step is left")
def test_a_step_that_is_refused_again_left_something() -> Tale:
    """Claim: "leaves the store as it was", also where it was tried twice."""
    tale = met()
    message = tale.send(ALICE, BOB)
    tale.deliver(message)
    return tale.replay(message, code="duplicate-message", fault="conflict", changes=True)


@breaks("ATM-05", "CTR-05", says="half of the step is left")
def test_a_rollback_leaves_something() -> Tale:
    """Claim: "leaves the store as it was": it did not."""
    tale = met()
    message = tale.send(ALICE, BOB)
    return tale.deliver(message, code="storage-error", fault="fails", changes=True)


@breaks("ATM-05", says="refused as no-session; expected store-busy")
def test_a_store_that_fails_is_taken_for_an_empty_one() -> Tale:
    """Claim: "is refused by that name": what could not be read was read as nothing."""
    tale = met()
    tale.send(ALICE, BOB, code="no-session", fault="busy")
    return tale


@breaks("ATM-05", "CTR-04", "AUT-01", says="gave the plaintext of m-1")
def test_a_step_that_was_tried_again_happens_half() -> Tale:
    """Claim: "and then happens whole": the next try was made on what the first had left."""
    tale = met()
    message = tale.send(ALICE, BOB)
    tale.deliver(message, fault="conflict", plaintext=-1)
    return tale


# -- ATM-09 -----------------------------------------------------------------------------------------------------------


def storing() -> tuple[Tale, int]:
    """Alice and Bob have talked, Bob's application stores what he reads, and has stored m2; m3 is on its way."""
    tale = met().callback(BOB, "plaintext", "approve")
    tale.deliver(tale.send(ALICE, BOB), stored=(2,))
    return tale, tale.send(ALICE, BOB)


@holds("ATM-09")
def test_plaintexts_are_stored() -> Tale:
    """Claim: "a message counts as read exactly if its plaintext is in the store": handed out or refused."""
    tale, message = storing()
    tale.tamper(message, "mac", code="bad-mac", stored=(2,))
    tale.deliver(message, stored=(2, 3))
    return tale.replay(message, code="duplicate-message", stored=(2, 3))


@holds("ATM-09")
def test_a_crash_before_the_commit_stores_nothing() -> Tale:
    """Claim: "none of a message that can still be read": then it is read, and stored once."""
    tale, message = storing()
    return tale.deliver(message, crash="before", stored=(2,)).deliver(message, stored=(2, 3))


@holds("ATM-09")
def test_a_crash_after_the_commit_loses_nothing() -> Tale:
    """Claim: "none is lost after a commit": nobody was handed the plaintext, and the store has it."""
    tale, message = storing()
    tale.deliver(message, crash="after", stored=(2, 3))
    return tale.replay(message, code="duplicate-message", stored=(2, 3))


@holds("ATM-09")
def test_a_new_device_has_stored_nothing() -> Tale:
    """A party that lost its store lost its plaintexts too; that is no fault."""
    tale, _ = storing()
    tale.reinstall(BOB, stored=())
    tale.establish(ALICE, BOB, code="untrusted-identity").approve(ALICE, BOB, told=("identity-replaced",))
    tale.establish(ALICE, BOB)
    return tale.deliver(tale.send(ALICE, BOB), stored=(4,))


@holds("ATM-09")
def test_another_process_stores_the_plaintext() -> Tale:
    """Two processes with one store, each with the hook: one reads and stores, the other is told."""
    tale, message = storing()
    rival = tale.rival(BOB, ALICE, "receive")
    return tale.deliver(message, code="duplicate-message", struck=(rival,), seen=left(rival), stored=(2, 3))


@breaks("ATM-09", says="the plaintext of m3 is lost")
def test_another_process_stores_no_plaintext() -> Tale:
    """Claim: "a message counts as read exactly if its plaintext is in the store", whoever read it."""
    tale, message = storing()
    rival = tale.rival(BOB, ALICE, "receive")
    return tale.deliver(message, code="duplicate-message", struck=(rival,), seen=left(rival), stored=(2,))


@breaks("ATM-09", says="the plaintext of m3 is lost")
def test_a_plaintext_is_lost_in_a_crash() -> Tale:
    """Claim: "none is lost after a commit": the message counts as read, and its plaintext is nowhere."""
    tale, message = storing()
    return tale.deliver(message, crash="after", stored=(2,))


@breaks("ATM-09", says="the plaintext of m3 is lost")
def test_a_plaintext_is_not_stored() -> Tale:
    """Claim: "a message counts as read exactly if its plaintext is in the store": it was handed out without."""
    tale, message = storing()
    return tale.deliver(message, stored=(2,))


@breaks("ATM-09", says="the plaintext of m2 is lost")
def test_an_older_plaintext_is_lost() -> Tale:
    """Claim: "none is lost": the plaintext of the message before was overwritten."""
    tale, message = storing()
    return tale.deliver(message, stored=(3,))


@breaks("ATM-09", says="a plaintext of m3 is stored that is not due")
def test_a_plaintext_is_stored_twice() -> Tale:
    """Claim: "none is stored twice"."""
    tale, message = storing()
    return tale.deliver(message, stored=(2, 3, 3))


@breaks("ATM-09", says="a plaintext of m3 is stored that is not due")
def test_a_plaintext_is_stored_before_its_message_is_read() -> Tale:
    """Claim: "none of a message that can still be read": it will be stored once more."""
    tale, message = storing()
    return tale.deliver(message, crash="before", stored=(2, 3))


@breaks("ATM-09", says="a plaintext of m-1 is stored that is not due")
def test_a_plaintext_is_stored_that_nobody_sent() -> Tale:
    """Claim: "exactly": what is stored is what was read."""
    tale, message = storing()
    return tale.tamper(message, "mac", code="bad-mac", stored=(2, -1))


@breaks("ATM-09", says="another order")
def test_plaintexts_change_places() -> Tale:
    """Claim: "exactly": the application finds them as they came."""
    tale, message = storing()
    return tale.deliver(message, stored=(3, 2))


@holds("ATM-09", reached=False)
def test_without_a_hook_nothing_is_looked_at() -> Tale:
    """An old history, or an application that stores nothing there."""
    return met()


# -- ATM-09, of groups ------------------------------------------------------------------------------------------------


def storing_in_a_group() -> tuple[GroupTale, int]:
    """Bob has Alice's chain, his application stores what he reads, and has stored g0; g1 is on its way."""
    tale = GroupTale()
    tale.join(BOB, tale.create(ALICE))
    tale.callback(BOB, "plaintext", "approve")
    tale.hear(BOB, tale.speak(ALICE), group_stored=(0,), stored=())
    return tale, tale.speak(ALICE)


@holds("ATM-09")
def test_plaintexts_of_groups_are_stored() -> Tale:
    """Claim: "a message of a session or a group": those that are refused are not stored, and each is stored once."""
    tale, message = storing_in_a_group()
    tale.meddle(BOB, message, "signature", code="invalid-signature", group_stored=(0,), stored=(), seen={"work": 0})
    tale.hear(BOB, message, group_stored=(0, 1), stored=())
    return tale.hear(BOB, message, code="duplicate-message", group_stored=(0, 1), stored=())


@holds("ATM-09")
def test_a_crash_in_a_group_loses_nothing() -> Tale:
    """Claim: "none is lost after a commit", in a group either; before the commit there is none."""
    tale, message = storing_in_a_group()
    tale.hear(BOB, message, crash="before", group_stored=(0,), stored=())
    tale.hear(BOB, message, crash="after", group_stored=(0, 1), stored=())
    return tale.hear(BOB, message, code="duplicate-message", group_stored=(0, 1), stored=())


@breaks("ATM-09", says="the plaintext of g1 is lost")
def test_a_plaintext_of_a_group_is_lost() -> Tale:
    """Claim: "a message counts as read exactly if its plaintext is in the store": it was handed out, and is nowhere."""
    tale, message = storing_in_a_group()
    return tale.hear(BOB, message, group_stored=(0,), stored=())


@breaks("ATM-09", says="the plaintext of g1 is lost")
def test_a_plaintext_of_a_group_is_lost_in_a_crash() -> Tale:
    """Claim: "none is lost after a commit": the key is spent."""
    tale, message = storing_in_a_group()
    return tale.hear(BOB, message, crash="after", group_stored=(0,), stored=())


@breaks("ATM-09", says="a plaintext of g1 is stored that is not due")
def test_a_plaintext_of_a_group_is_stored_too_early() -> Tale:
    """Claim: "none of a message that can still be read"."""
    tale, message = storing_in_a_group()
    return tale.hear(BOB, message, crash="before", group_stored=(0, 1), stored=())


@breaks("IDC-10", says="accepted")
def test_a_hook_that_failed_in_a_group_changed_nothing() -> Tale:
    """A hook that raises refuses the message: it was handed out all the same."""
    tale, message = storing_in_a_group()
    tale.callback(BOB, "plaintext", "raise")
    return tale.hear(BOB, message, struck=(Strike("plaintext", "raise"),))
