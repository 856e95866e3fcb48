"""Atomicity, judged over histories written by hand: each holds on one and is violated on another."""

from __future__ import annotations

from tests.spec.histories import ALICE, BOB, Tale, breaks, holds, met

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
