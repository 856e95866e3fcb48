"""Key deletion, judged over histories written by hand: each holds on one and is violated on another."""

from __future__ import annotations

from pawl_spec.history import Medium, Observe, Outcome, Search
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


@breaks("KEY-03", "CNF-02", says="one-time prekey 1 was used and is still there")
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


# -- KEY-04: two receiving chains may be kept -------------------------------------------------------------------------


def turned(times: int) -> Tale:
    """Alice and Bob met; Bob's secrets are 0 to 3; then the ratchet turned `times` times."""
    tale = met().inspect(BOB, held=(0, 1, 2, 3))
    for _ in range(times):
        tale.deliver(tale.send(ALICE, BOB))
        tale.deliver(tale.send(BOB, ALICE))
    return tale


@holds("KEY-04")
def test_superseded_secrets_are_gone() -> Tale:
    """Claim: "whatever the session state held before its oldest chain began is gone": after two new chains, all of it."""
    return turned(2).inspect(BOB, held=(4, 5, 6, 7, 8))


@holds("KEY-04", reached=False)
def test_a_chain_may_be_kept() -> Tale:
    """Claim: "beyond the stated bound of chains": after one new chain the former one is still within it."""
    return turned(1).inspect(BOB, held=(3, 4, 5, 6, 7))


@holds("KEY-04")
def test_a_lost_session_leaves_nothing() -> Tale:
    """Claim: "is gone": with the session all of it."""
    return turned(0).forget(BOB, ALICE).inspect(BOB, held=())


@breaks("KEY-04", says="1 secrets of step 5 or before are still there")
def test_a_root_key_is_kept() -> Tale:
    """Claim: "A superseded chain or root key is not retained"."""
    return turned(2).inspect(BOB, held=(0, 4, 5, 6, 7))


@breaks("KEY-04")
def test_a_lost_session_is_kept() -> Tale:
    """Claim: "is gone": the session was forgotten, one of its keys was not."""
    return turned(0).forget(BOB, ALICE).inspect(BOB, held=(2,))


# -- KEY-06 -----------------------------------------------------------------------------------------------------------


@holds("KEY-06")
def test_texts_without_secrets() -> Tale:
    """Claim: "No secret appears in what the target says": the search found none."""
    return met().inspect(ALICE, leaks=())


@holds("KEY-06", reached=False)
def test_texts_that_nobody_searched() -> Tale:
    """What was not searched says nothing."""
    return met().inspect(ALICE)


@breaks("KEY-06", says="a secret stands in the text of a refusal: in hexadecimal")
def test_a_refusal_that_tells_a_secret() -> Tale:
    """Claim: "error texts"."""
    return met().inspect(ALICE, leaks=("the text of a refusal: in hexadecimal",))


# -- KEY-07: a grace of 30 days is stated -----------------------------------------------------------------------------


def rotated(days: int) -> tuple[Tale, int]:
    """Alice's first message is in flight; Bob rotated his signed prekey; so many days pass."""
    tale = Tale().establish(ALICE, BOB)
    message = tale.send(ALICE, BOB)
    return tale.rotate(BOB).clock(days), message


@holds("KEY-07")
def test_a_message_in_flight_arrives_in_time() -> Tale:
    """Claim: "reads messages in flight for the stated grace": on its last day."""
    tale, message = rotated(30)
    return tale.deliver(message)


@holds("KEY-07")
def test_a_message_arrives_too_late() -> Tale:
    """Claim: "then no more": a day later it is refused, and maintenance leaves one signed prekey."""
    tale, message = rotated(31)
    tale.deliver(message, code="unknown-signed-prekey")
    tale.maintain(BOB, seen={"signed_prekeys": (2,)})
    return tale.replay(message, code="unknown-signed-prekey")


@holds("KEY-07")
def test_maintenance_keeps_what_has_its_time() -> Tale:
    """Claim: "maintenance deletes it then", and not before: three are held, two of them superseded in time."""
    tale, _ = rotated(29)
    return tale.maintain(BOB, rotated=True, seen={"signed_prekeys": (1, 2, 3)})


@breaks("KEY-07", says="accepted")
def test_a_signed_prekey_without_end() -> Tale:
    """Claim: "then no more": the message that came too late was read."""
    tale, message = rotated(31)
    return tale.deliver(message)


@breaks("KEY-07", says="refused (unknown-signed-prekey); expected to be accepted")
def test_a_signed_prekey_that_ends_at_once() -> Tale:
    """Claim: "reads messages in flight for the stated grace": it did not."""
    tale, message = rotated(1)
    return tale.deliver(message, code="unknown-signed-prekey")


@breaks("KEY-07", says="2 signed prekeys are held, 1 are in their time")
def test_maintenance_that_keeps() -> Tale:
    """Claim: "maintenance deletes it"."""
    tale, _ = rotated(31)
    return tale.maintain(BOB, seen={"signed_prekeys": (1, 2)})


def searched(*, gone: int = 3, left: int = 0, held: int = 9, seen: int = 9, copies: int = 0) -> Tale:
    """A message was sent, after a trial on a real file whose bytes were searched then."""
    found = Search(gone, left, ("pawl.db",) if left else (), held, seen, copies)
    trial = Medium("file-closed", True, Outcome.DONE, None, False, search=found)
    tale = met(level=Observe.DISK)
    tale.send(ALICE, BOB, medium=trial)
    return tale


@holds("KEY-05")
def test_deleted_secrets_are_gone() -> Tale:
    """Claim: "a deleted secret is not in the bytes of a store's files"."""
    return searched()


@breaks("KEY-05", says="1 deleted secrets are still in pawl.db")
def test_a_deleted_secret_is_in_a_file() -> Tale:
    """Claim: "a deleted secret is not in the bytes of a store's files"."""
    return searched(left=1)


@breaks("KEY-05", says="2 secrets have a copy that their deletion will leave")
def test_a_copy_is_left_behind() -> Tale:
    """A secret that stands there once more than rows hold it stays when its row goes."""
    return searched(copies=2)


@breaks("KEY-05", says="the search is blind: it sees 8 of 9 secrets")
def test_a_search_that_sees_nothing_finds_nothing() -> Tale:
    """What does not find a secret that is there says nothing of one that is gone."""
    return searched(seen=8)


@holds("KEY-05", reached=False)
def test_nothing_was_deleted() -> Tale:
    return searched(gone=0)
