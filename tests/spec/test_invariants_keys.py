"""Key deletion, judged over histories written by hand: each holds on one and is violated on another."""

from __future__ import annotations

from tests.spec.histories import ALICE, BOB, Tale, breaks, holds, met

# -- KEY-01 -----------------------------------------------------------------------------------------------------------


@holds("KEY-01")
def test_a_read_message_is_unreadable() -> Tale:
    """Claim: "After a message was decrypted, the retained session state cannot decrypt it again": one not yet read may
    be.
    """
    tale = met()
    skipped, read = tale.send(ALICE, BOB), tale.send(ALICE, BOB)
    return tale.deliver(read).inspect(BOB, skipped)


@holds("KEY-01", reached=False)
def test_a_state_that_read_nothing_shows_nothing() -> Tale:
    """Claim: "After a message was decrypted": none was, by Alice."""
    tale = Tale().establish(ALICE, BOB)
    tale.deliver(tale.send(ALICE, BOB), crash="before")
    return tale.inspect(BOB, 0)


@breaks("KEY-01", says="still decrypts m2, which it read")
def test_a_read_message_is_readable() -> Tale:
    """Claim: "the retained session state cannot decrypt it again": its key was kept."""
    tale = met()
    message = tale.send(ALICE, BOB)
    return tale.deliver(message).inspect(BOB, message)


# -- KEY-02 -----------------------------------------------------------------------------------------------------------


@holds("KEY-02")
def test_a_sent_message_is_sealed() -> Tale:
    """Claim: "After a message was sent, the sender's session state cannot decrypt it"."""
    return met().inspect(ALICE)


@breaks("KEY-02", says="still decrypts m0, which it sent")
def test_a_sent_message_is_open() -> Tale:
    """Claim: "the sender's session state cannot decrypt it": an earlier chain key was kept."""
    return met().inspect(ALICE, 0)


@holds("KEY-02")
def test_a_new_device_did_not_send_it() -> Tale:
    """A device that was installed anew is not the sender of what the former one sent."""
    return met().inspect(ALICE).reinstall(ALICE).inspect(ALICE, 0)


# -- KEY-03 -----------------------------------------------------------------------------------------------------------


@holds("KEY-03")
def test_a_used_prekey_is_gone() -> Tale:
    """Claim: "A one-time prekey is gone once used": from the event in which it was used."""
    return met().inspect(BOB)


def _pushed_out() -> Tale:
    """The session that m0 built with a one-time prekey was pushed out of Bob's archive by two more."""
    tale = met()
    for _ in range(2):
        tale.establish(ALICE, BOB)
        tale.deliver(tale.send(ALICE, BOB))
    return tale


@holds("KEY-03")
def test_a_used_prekey_serves_no_second_session() -> Tale:
    """Claim: "... and serves exactly one session": its message comes again when nothing else knows it."""
    return _pushed_out().replay(0, code="unknown-prekey")


@breaks("KEY-03", says="one-time prekey 1 was used and is still there")
def test_a_used_prekey_is_kept() -> Tale:
    """Claim: "A one-time prekey is gone once used": it is still there."""
    tale = Tale().establish(ALICE, BOB)
    return tale.deliver(tale.send(ALICE, BOB), seen={"prekeys": (1,)})


@breaks("KEY-03", "CTR-03", says="accepted; expected a refusal")
def test_a_used_prekey_serves_again() -> Tale:
    """Claim: "serves exactly one session": it serves a second one."""
    return _pushed_out().replay(0)


@breaks("KEY-03", says="accepted; expected a refusal")
def test_an_unknown_prekey_is_taken_for_none() -> Tale:
    """An id that its owner does not have is no reason to do without: the message is refused."""
    tale = Tale().forge(ALICE, BOB, "prekey-id")
    return tale.deliver(tale.send(ALICE, BOB))
