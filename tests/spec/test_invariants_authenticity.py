"""Authenticity and conformance, judged over histories written by hand: each holds on one and is violated on another."""

from __future__ import annotations

import pytest

from tests.spec.histories import ALICE, BOB, Tale, breaks, broken, holds, met

INNER = ("mac", "ciphertext", "counter", "previous-counter", "ratchet-key", "unknown-field")
"""Changes of what the MAC covers that leave the format whole."""

# -- AUT-01 -----------------------------------------------------------------------------------------------------------


@holds("AUT-01")
def test_changed_messages_are_refused() -> Tale:
    """Claim: "A message whose authenticated bytes differ from what its sender sent is refused"."""
    tale = met()
    message = tale.send(ALICE, BOB)
    for name in INNER:
        tale.tamper(message, name, code="bad-mac")
    return tale.deliver(message)


@pytest.mark.parametrize("name", INNER)
def test_changed_messages_are_accepted(name: str) -> None:
    """Claim: "... is refused": it was accepted, and the plaintext was the one that was sent."""
    tale = met()
    assert broken(tale.tamper(tale.send(ALICE, BOB), name)) == {"AUT-01"}


@breaks("AUT-01", says="accepted; expected a refusal: bad-mac")
def test_a_changed_mac_is_accepted() -> Tale:
    """Claim: "... is refused": the MAC was not looked at."""
    tale = met()
    return tale.tamper(tale.send(ALICE, BOB), "mac")


@breaks("AUT-01", says="a plaintext that nobody sent")
def test_a_plaintext_that_nobody_sent() -> Tale:
    """Claim: "no plaintext comes out that nobody sent": one does, from changed bytes."""
    tale = met()
    return tale.tamper(tale.send(ALICE, BOB), "ciphertext", plaintext=-1)


@breaks("AUT-01", "CTR-03", says="accepted")
def test_a_changed_copy_of_a_read_message_is_accepted() -> Tale:
    """Claim: "A message whose authenticated bytes differ ... is refused", also where the original would be a
    duplicate.
    """
    tale = met()
    message = tale.send(ALICE, BOB)
    return tale.deliver(message).tamper(message, "mac")


@breaks("AUT-01")
def test_a_well_formed_message_that_nobody_sent_is_accepted() -> Tale:
    """Claim: "... what nobody sent": made up by the attacker, without a plaintext that anybody knows."""
    return met().inject(ALICE, BOB, "well-formed")


@breaks("AUT-01")
def test_an_unknown_signed_prekey_is_taken_for_the_present_one() -> Tale:
    """The refusals of AUT-01 include "unknown-signed-prekey": an id that nobody has is no message of the peer's."""
    tale = Tale().establish(ALICE, BOB)
    return tale.tamper(tale.send(ALICE, BOB), "signed-prekey-id")


@breaks("AUT-01", says="refused for the wrong reason: no-session")
def test_a_changed_message_is_refused_for_another_reason() -> Tale:
    """There is a session: to say there is none hides that the MAC was not looked at."""
    tale = met()
    return tale.tamper(tale.send(ALICE, BOB), "mac", code="no-session")


# -- CNF-01 -----------------------------------------------------------------------------------------------------------


@holds("CNF-01")
def test_messages_say_what_they_must() -> Tale:
    """Claim: "Each message sent carries the ratchet key, counters and prekey header that the protocol prescribes"."""
    tale = Tale().establish(ALICE, BOB)
    for _ in range(3):
        tale.send(ALICE, BOB)
    tale.deliver(0)
    for _ in range(2):
        tale.deliver(tale.send(BOB, ALICE)).deliver(tale.send(ALICE, BOB))
    return tale


@breaks("CNF-01", says="a signal message, a prekey message was due")
def test_a_prekey_header_is_missing() -> Tale:
    """Claim: "prekey header": the second message before any answer has none, and is lost if the first one is."""
    tale = Tale().establish(ALICE, BOB)
    tale.send(ALICE, BOB)
    tale.send(ALICE, BOB, header={"kind": "signal"})
    return tale


@breaks("CNF-01", says="a prekey message, a signal message was due")
def test_a_prekey_header_stays() -> Tale:
    """Claim: "prekey header": it is still there after the peer answered."""
    tale = met()
    tale.send(ALICE, BOB, header={"kind": "prekey"})
    return tale


@breaks("CNF-01", says="not the ratchet key of the sending chain")
def test_the_ratchet_does_not_turn() -> Tale:
    """Claim: "the ratchet key": Bob answered with a new one, Alice goes on with her old one."""
    tale = met()
    first = tale.history.events[1].header
    assert first is not None
    tale.send(ALICE, BOB, header={"ratchet_key": first.ratchet_key, "counter": 1})
    return tale


@breaks("CNF-01", says="not the ratchet key of the sending chain")
def test_the_ratchet_turns_by_itself() -> Tale:
    """Claim: "the ratchet key": a new one within a chain, although nothing was received."""
    tale = met()
    tale.send(ALICE, BOB)
    tale.send(ALICE, BOB, header={"ratchet_key": "another", "counter": 0})
    return tale


@breaks("CNF-01", says="previous counter 1, 2 was due")
def test_a_wrong_previous_counter() -> Tale:
    """Claim: "counters": the last message of the former chain was number 2."""
    tale = Tale().establish(ALICE, BOB)
    for _ in range(3):
        tale.send(ALICE, BOB)
    tale.deliver(0).deliver(tale.send(BOB, ALICE))
    tale.send(ALICE, BOB, header={"previous_counter": 1})
    return tale


@breaks("CNF-01", says="names one-time prekey None, 1 was due")
def test_the_prekey_id_is_missing() -> Tale:
    """Claim: "prekey header": the one-time prekey entered the agreement, its id is not named."""
    tale = Tale().establish(ALICE, BOB)
    tale.send(ALICE, BOB, header={"prekey_id": None})
    return tale


@breaks("CNF-01", says="refused (no-session); expected to be accepted")
def test_what_is_allowed_is_refused() -> Tale:
    """Claim: "what the protocol allows is not refused": a session is there, and sending is refused."""
    tale = met()
    tale.send(ALICE, BOB, code="no-session")
    return tale


@breaks("CNF-01")
def test_an_honest_bundle_is_refused() -> Tale:
    """Claim: "what the protocol allows is not refused": an honest bundle is."""
    return Tale().establish(ALICE, BOB, code="invalid-signature")


@breaks("CNF-01")
def test_something_is_sent_without_a_session() -> Tale:
    """Without a session there is nothing that a message could say."""
    tale = Tale()
    tale.send(ALICE, BOB)
    return tale


# -- CNF-02 -----------------------------------------------------------------------------------------------------------


@holds("CNF-02")
def test_as_much_is_kept_as_must_be() -> Tale:
    """Claim: "a party keeps after each operation as many sessions, chains and message keys ... as the protocol"."""
    tale = met()
    first, second = tale.send(ALICE, BOB), tale.send(ALICE, BOB)
    tale.deliver(second, seen={"sessions": 0, "chains": 2, "kept_chain": 1, "kept_session": 1})
    return tale.deliver(first, seen={"sessions": 0, "chains": 2, "kept_chain": 0, "kept_session": 0})


@breaks("CNF-02", says="kept chain: 1, the model says 0")
def test_a_used_key_is_kept() -> Tale:
    """Claim: "message keys": the late message was read, and its key is still there."""
    tale = met()
    first, second = tale.send(ALICE, BOB), tale.send(ALICE, BOB)
    tale.deliver(second, seen={"kept_chain": 1, "kept_session": 1})
    return tale.deliver(first, seen={"kept_chain": 1, "kept_session": 1})


@breaks("CNF-02", says="chains: 1, the model says 2")
def test_a_former_chain_is_dropped() -> Tale:
    """Claim: "chains": a new ratchet key of the peer drops the chain before it, of which a message may be under way."""
    tale = met()
    return tale.deliver(tale.send(ALICE, BOB), seen={"chains": 1})


@breaks("CNF-02", says="sessions: 0, the model says 1")
def test_a_former_session_is_dropped() -> Tale:
    """Claim: "sessions": Bob hears of a new session and forgets the old, of which a message may be under way."""
    tale = met().establish(ALICE, BOB)
    return tale.deliver(tale.send(ALICE, BOB), seen={"sessions": 0})
