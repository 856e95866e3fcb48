"""The symbolic model against expectations written by hand, from the papers and the message formats.

Sources: X3DH, sections 3.2 to 3.4 and 4; Double Ratchet, sections 2.4 to 2.6, 3.3 to 3.5; the formats' counters start
at 0 in each chain and the previous counter is the index of the former chain's last message, 0 for an empty chain.
The limits are small: a jump of 3, two kept keys a chain, three a session, two receiving chains, one archived session.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from pawl_spec.history import Event, Hello, Observation, Observe, Outcome, Profile
from pawl_spec.model import LOW, Model, Refusal, Terms
from pawl_spec.model.world import took_effect
from pawl_spec.trace import FORGERIES, JUNK, TAMPERS, Kind, Op
from tests.spec.histories import ABLE, ALICE, BOB, CAROL, SMALL, Tale, met, replaced

CLOSING = Profile(closes_chains=True)


def accepted(tale: Tale, handle: int) -> None:
    """The message must be accepted, with its own plaintext."""
    tale.deliver(handle)
    assert tale.expect is not None
    assert tale.expect.accept is True
    assert tale.expect.plaintext == handle


def refused(tale: Tale, *codes: str, rule: str) -> None:
    """The last event must have been refused for one of exactly these reasons; otherwise `rule` is broken."""
    assert tale.expect is not None
    assert tale.expect.accept is False
    assert tale.expect.codes == set(codes)
    assert tale.expect.rule == rule


def says(tale: Tale, actor: int, peer: int) -> tuple[str, int, int]:
    """Send; what the message must say: kind, counter, previous counter."""
    tale.send(actor, peer)
    return said(tale)


def said(tale: Tale) -> tuple[str, int, int]:
    """What the message sent last must say."""
    assert tale.due is not None
    return tale.due.kind, tale.due.counter, tale.due.previous_counter


def session(tale: Tale) -> int:
    """The session on which the last message must have been sent."""
    assert tale.due is not None
    return tale.due.session


def chain(tale: Tale) -> int:
    """The sending chain of the last message."""
    assert tale.due is not None
    return tale.due.chain


# -- terms ------------------------------------------------------------------------------------------------------------


def test_both_sides_agree() -> None:
    """Diffie-Hellman gives both sides the same value, and others another one."""
    t = Terms()
    one, other, third = t.fresh("one"), t.fresh("other"), t.fresh("third")
    assert t.agree(one, other) == t.agree(other, one)
    assert t.agree(one, other) != t.agree(one, third)


def test_fresh_is_fresh() -> None:
    """A new key pair equals nothing that was there, nor anything that comes later."""
    t = Terms()
    made = [t.fresh("key"), t("key"), t.fresh("key"), t("key", 1), t.fresh("key")]
    assert len(set(made)) == len(made)


def test_weak_keys_agree_with_nobody() -> None:
    """RFC 7748, section 6.1: an all-zero shared secret is refused."""
    t = Terms()
    for pair in ((LOW, t.fresh("key")), (t.fresh("key"), LOW), (LOW, LOW)):
        with pytest.raises(Refusal, match="invalid-key"):
            t.agree(*pair)


# -- what messages say ------------------------------------------------------------------------------------------------


def test_ping_pong() -> None:
    """Double Ratchet, section 2.3: each answer turns the ratchet; counters start again, the former chain's last index
    goes along.
    """
    tale = Tale().establish(ALICE, BOB)
    assert says(tale, ALICE, BOB) == ("prekey", 0, 0)
    first = chain(tale)
    assert says(tale, ALICE, BOB) == ("prekey", 1, 0)
    assert chain(tale) == first
    accepted(tale, 0)
    # Bob never sent on the chain of his signed prekey.
    assert says(tale, BOB, ALICE) == ("signal", 0, 0)
    bobs = chain(tale)
    accepted(tale, 2)
    # Alice's former chain ended with number 1.
    assert says(tale, ALICE, BOB) == ("signal", 0, 1)
    second = chain(tale)
    assert says(tale, ALICE, BOB) == ("signal", 1, 1)
    assert says(tale, ALICE, BOB) == ("signal", 2, 1)
    accepted(tale, 5)
    assert says(tale, BOB, ALICE) == ("signal", 0, 0)
    assert len({first, second, bobs, chain(tale)}) == 4
    accepted(tale, 6)
    assert says(tale, ALICE, BOB) == ("signal", 0, 2)


def test_nothing_turns_without_an_answer() -> None:
    """Double Ratchet, section 2.3: a new ratchet key needs one of the peer's; hearing more on a known chain is none."""
    tale = met()
    assert says(tale, ALICE, BOB) == ("signal", 0, 0)
    kept = chain(tale)
    accepted(tale, tale.send(BOB, ALICE))
    assert says(tale, ALICE, BOB) == ("signal", 1, 0)
    assert chain(tale) == kept


def test_prekey_messages_go_on_until_an_answer() -> None:
    """X3DH, section 3.3: the initial message's header is repeated until the peer answers; a refused answer is none."""
    tale = Tale().establish(ALICE, BOB)
    accepted(tale, tale.send(ALICE, BOB))
    answer = tale.send(BOB, ALICE)
    tale.tamper(answer, "mac", code="bad-mac")
    assert says(tale, ALICE, BOB)[0] == "prekey"
    accepted(tale, answer)
    assert says(tale, ALICE, BOB)[0] == "signal"


def test_the_prekey_that_was_used_is_named() -> None:
    """X3DH, section 3.3: the initial message names the one-time prekey that was used, if one was."""
    tale = Tale().establish(ALICE, BOB).establish(ALICE, CAROL, one_time=False)
    tale.send(ALICE, BOB)
    assert tale.expect.header.prekey_id == 1
    tale.send(ALICE, CAROL)
    assert tale.expect.header.prekey_id is None


def test_a_burst_moves_the_counter() -> None:
    """A burst spends one counter a message."""
    tale = met().burst(ALICE, BOB, range(7))
    assert tale.expect.header.counter == 0
    assert says(tale, ALICE, BOB) == ("signal", 7, 0)


def test_no_session_nothing_to_say() -> None:
    """Without a session there is no key to encrypt with."""
    tale = Tale()
    tale.send(ALICE, BOB, code="no-session")
    refused(tale, "no-session", rule="CNF-01")


# -- order, loss, duplicates ------------------------------------------------------------------------------------------


def test_any_order() -> None:
    """Double Ratchet, section 2.6: messages may arrive in any order within the window."""
    tale = met()
    sent = [tale.send(ALICE, BOB) for _ in range(4)]
    for at in (2, 0, 3, 1):
        accepted(tale, sent[at])


def test_the_first_messages_in_any_order() -> None:
    """X3DH, section 3.4: whichever initial message arrives first builds the session, the others find it."""
    tale = Tale().establish(ALICE, BOB)
    sent = [tale.send(ALICE, BOB) for _ in range(3)]
    for at in (2, 0, 1):
        accepted(tale, sent[at])
    tale.deliver(sent[0], code="duplicate-message")
    refused(tale, "duplicate-message", rule="CTR-03")


def test_loss_harms_nothing() -> None:
    """Double Ratchet, section 2.6: messages that are never delivered do not hold up those that are."""
    tale = met()
    for _ in range(4):
        tale.send(ALICE, BOB)
        accepted(tale, tale.send(ALICE, BOB))
        tale.send(BOB, ALICE)
        accepted(tale, tale.send(BOB, ALICE))


def test_duplicates() -> None:
    """Double Ratchet, section 2.6: a message key is used once; the second copy is refused, kept key or not."""
    tale = met()
    first, second = tale.send(ALICE, BOB), tale.send(ALICE, BOB)
    for handle in (second, first):
        accepted(tale, handle)
        tale.replay(handle, code="duplicate-message")
        refused(tale, "duplicate-message", rule="CTR-03")


def test_late_messages_of_a_former_chain() -> None:
    """Double Ratchet, section 2.6: messages of the former chain that were skipped are still accepted after a turn."""
    tale = met()
    late = tale.send(ALICE, BOB)
    accepted(tale, tale.send(ALICE, BOB))
    later = tale.send(ALICE, BOB)
    accepted(tale, tale.send(BOB, ALICE))
    accepted(tale, tale.send(ALICE, BOB))
    accepted(tale, late)
    # The former chain stays open: also what it had not come to yet.
    accepted(tale, later)


# -- the window's edges -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ahead", "fits"), [(3, True), (4, False)])
def test_the_largest_jump(ahead: int, fits: bool) -> None:
    """`forward_jump`: largest accepted difference between a counter and the next expected one; here 3."""
    tale = met()
    # Next expected is 1, then 1 + ahead.
    accepted(tale, tale.send(ALICE, BOB))
    sent = [tale.send(ALICE, BOB) for _ in range(ahead + 1)]
    if fits:
        accepted(tale, sent[-1])
    else:
        tale.deliver(sent[-1], code="too-far-ahead")
        refused(tale, "too-far-ahead", rule="CTR-04")
        # The refusal cost nothing: what is nearer is still accepted, and then the far one is near.
        accepted(tale, sent[0])
        accepted(tale, sent[-1])


@pytest.mark.parametrize(("ahead", "fits"), [(3, True), (4, False)])
def test_the_largest_jump_in_the_first_message(ahead: int, fits: bool) -> None:
    """`forward_jump` bounds the first message of a session as well."""
    tale = Tale().establish(ALICE, BOB)
    sent = [tale.send(ALICE, BOB) for _ in range(ahead + 1)]
    if fits:
        accepted(tale, sent[-1])
    else:
        tale.deliver(sent[-1], code="too-far-ahead")
        refused(tale, "too-far-ahead", rule="CTR-04")
        accepted(tale, sent[0])


def test_kept_keys_of_a_chain() -> None:
    """`kept_per_chain`: of three skipped keys the two newest are kept; the oldest is beyond the window."""
    tale = met()
    sent = [tale.send(ALICE, BOB) for _ in range(4)]
    accepted(tale, sent[3])
    tale.deliver(sent[0], code="duplicate-message")
    refused(tale, "duplicate-message", rule="CTR-04")
    accepted(tale, sent[1])
    accepted(tale, sent[2])


def test_kept_keys_of_a_chain_across_messages() -> None:
    """`kept_per_chain` counts what several messages skipped: the oldest goes when a new one comes."""
    tale = met()
    sent = [tale.send(ALICE, BOB) for _ in range(6)]
    accepted(tale, sent[2])
    accepted(tale, sent[4])
    tale.deliver(sent[0], code="duplicate-message")
    refused(tale, "duplicate-message", rule="CTR-04")
    accepted(tale, sent[1])
    accepted(tale, sent[3])


def test_kept_keys_of_a_session() -> None:
    """`kept_per_session`: over three, the oldest key of the oldest chain goes."""
    tale = met()
    old = [tale.send(ALICE, BOB) for _ in range(3)]
    accepted(tale, old[2])
    accepted(tale, tale.send(BOB, ALICE))
    new = [tale.send(ALICE, BOB) for _ in range(3)]
    accepted(tale, new[2])
    tale.deliver(old[0], code="duplicate-message")
    refused(tale, "duplicate-message", rule="CTR-04")
    for handle in (old[1], new[0], new[1]):
        accepted(tale, handle)


def test_receiving_chains() -> None:
    """`receiving_chains`: two are kept; a message of a third, older one has no key any more: a bad MAC."""
    tale = met()
    late = []
    for _ in range(3):
        late.append(tale.send(ALICE, BOB))
        accepted(tale, tale.send(ALICE, BOB))
        accepted(tale, tale.send(BOB, ALICE))
    tale.deliver(late[0], code="bad-mac")
    refused(tale, "bad-mac", rule="AUT-01")
    accepted(tale, late[1])
    accepted(tale, late[2])


def test_archived_sessions() -> None:
    """`archived_sessions`: one is kept beside the current one; the oldest goes, with what was kept for it."""
    tale = Tale()
    late = []
    for _ in range(3):
        tale.establish(ALICE, BOB)
        late.append(tale.send(ALICE, BOB))
        accepted(tale, tale.send(ALICE, BOB))
    accepted(tale, late[2])
    accepted(tale, late[1])
    assert tale.expect.late
    # Its one-time prekey is gone as well: it would not build a session again.
    tale.deliver(late[0], code="unknown-prekey")
    refused(tale, "unknown-prekey", "bad-mac", rule="KEY-03")


def test_no_declared_limit() -> None:
    """None means that the target declares no such limit: everything stays within the window."""
    unlimited = replace(
        SMALL,
        forward_jump=50,
        kept_per_chain=None,
        kept_per_session=None,
        receiving_chains=None,
        archived_sessions=None,
    )
    tale = met(limits=unlimited)
    late = []
    for _ in range(4):
        late += [tale.send(ALICE, BOB) for _ in range(10)]
        accepted(tale, tale.send(ALICE, BOB))
        accepted(tale, tale.send(BOB, ALICE))
    for _ in range(3):
        tale.establish(ALICE, BOB)
        accepted(tale, tale.send(ALICE, BOB))
    for handle in late:
        accepted(tale, handle)


# -- chains that are closed -------------------------------------------------------------------------------------------


def test_a_closed_chain_is_filled() -> None:
    """Double Ratchet, section 3.5: a new ratchet key has the keys up to the previous counter kept, then they serve."""
    tale = met(profile=CLOSING)
    accepted(tale, tale.send(ALICE, BOB))
    late = [tale.send(ALICE, BOB) for _ in range(2)]
    accepted(tale, tale.send(BOB, ALICE))
    accepted(tale, tale.send(ALICE, BOB))
    accepted(tale, late[1])
    accepted(tale, late[0])
    tale.deliver(late[0], code="duplicate-message")
    refused(tale, "duplicate-message", rule="CTR-03")


def test_filling_is_bounded_by_the_kept_keys() -> None:
    """Filling a chain keeps no more than the limit: of three late messages the oldest is lost, left open it is not."""
    for profile, fits in ((Profile(), True), (CLOSING, False)):
        tale = met(profile=profile)
        accepted(tale, tale.send(ALICE, BOB))
        late = [tale.send(ALICE, BOB) for _ in range(3)]
        accepted(tale, tale.send(BOB, ALICE))
        accepted(tale, tale.send(ALICE, BOB))
        if fits:
            accepted(tale, late[0])
        else:
            tale.deliver(late[0], code="duplicate-message")
            refused(tale, "duplicate-message", rule="CTR-04")
        accepted(tale, late[1])
        accepted(tale, late[2])


def test_filling_is_bounded_by_the_jump() -> None:
    """Double Ratchet, section 3.5: filling is a jump to the chain's last message; past the limit it is refused. Left
    open, nothing jumps.
    """
    for profile, lost, fits in ((Profile(), 4, True), (Profile(), 5, True), (CLOSING, 4, True), (CLOSING, 5, False)):
        tale = met(profile=profile)
        accepted(tale, tale.send(ALICE, BOB))
        for _ in range(lost):
            tale.send(ALICE, BOB)
        accepted(tale, tale.send(BOB, ALICE))
        far = tale.send(ALICE, BOB)
        if fits:
            accepted(tale, far)
        else:
            tale.deliver(far, code="too-far-ahead")
            refused(tale, "too-far-ahead", rule="CTR-04")


def test_who_closes_chains_may_hold_none_for_the_signed_prekey() -> None:
    """Driver contract, `counts`: an initiator may hold a chain for the peer's signed prekey, which a claimed previous
    counter would have to fill, or none: then the MAC is what fails. Once it was answered there is a chain for certain.
    """
    for answered in (False, True):
        tale = Tale(profile=CLOSING).establish(ALICE, BOB)
        accepted(tale, tale.send(ALICE, BOB))
        if answered:
            accepted(tale, tale.send(BOB, ALICE))
            accepted(tale, tale.send(ALICE, BOB))
        far = tale.send(BOB, ALICE)
        tale.tamper(far, "previous-counter", choice=4, code="bad-mac")
        refused(tale, *(["too-far-ahead"] if answered else ["too-far-ahead", "bad-mac"]), rule="AUT-01")


# -- several sessions -------------------------------------------------------------------------------------------------


def test_simultaneous_initiation() -> None:
    """Sesame, section 3.3: both initiated; each answers on what it heard last, and both meet on one session."""
    tale = Tale().establish(ALICE, BOB).establish(BOB, ALICE)
    alices, bobs = tale.send(ALICE, BOB), tale.send(BOB, ALICE)
    of_bob = session(tale)
    accepted(tale, alices)
    accepted(tale, bobs)
    # Alice goes on in the session that Bob began, Bob in the one that Alice began: they crossed.
    assert says(tale, ALICE, BOB)[0] == "signal"
    assert session(tale) == of_bob
    accepted(tale, 2)
    assert not tale.expect.late
    # Alice's answer starts a new chain: now Bob too goes on in his own session.
    assert says(tale, BOB, ALICE) == ("signal", 0, 0)
    assert session(tale) == of_bob
    accepted(tale, 3)
    assert says(tale, ALICE, BOB) == ("signal", 0, 0)
    assert session(tale) == of_bob


def test_a_new_session_is_the_current_one() -> None:
    """A party that establishes anew sends on the new session; so does its peer, once it heard from it there."""
    tale = met()
    tale.send(BOB, ALICE)
    old = session(tale)
    tale.establish(ALICE, BOB)
    assert says(tale, ALICE, BOB) == ("prekey", 0, 0)
    new = session(tale)
    assert new != old
    assert says(tale, BOB, ALICE)[1] == 2
    assert session(tale) == old
    accepted(tale, 3)
    assert says(tale, BOB, ALICE) == ("signal", 0, 0)
    assert session(tale) == new
    # What was sent on the old session before is late at Alice's, and accepted.
    for handle in (2, 4):
        accepted(tale, handle)
        assert tale.expect.late


@pytest.mark.parametrize(
    ("promotes", "known_chain", "new_chain"),
    [("on-new-chain", False, True), ("always", True, True), ("never", False, False)],
)
def test_promotion(promotes: str, known_chain: bool, new_chain: bool) -> None:
    """`promotes`: which received message makes an archived session the current one."""
    for starts_chain, promoted in ((False, known_chain), (True, new_chain)):
        tale = met(profile=Profile(promotes=promotes))
        accepted(tale, tale.send(ALICE, BOB))
        old = session(tale)
        if starts_chain:
            accepted(tale, tale.send(BOB, ALICE))
        late = tale.send(ALICE, BOB)
        assert session(tale) == old
        tale.establish(ALICE, BOB)
        accepted(tale, tale.send(ALICE, BOB))
        accepted(tale, late)
        assert tale.expect.late is not promoted
        tale.send(BOB, ALICE)
        assert (session(tale) == old) is promoted


def test_a_repeated_prekey_message_promotes_nothing() -> None:
    """A prekey message of a known session is one of its messages: late, it changes nothing about the current one."""
    tale = Tale().establish(ALICE, BOB)
    accepted(tale, tale.send(ALICE, BOB))
    late = tale.send(ALICE, BOB)
    tale.establish(ALICE, BOB)
    accepted(tale, tale.send(ALICE, BOB))
    new = session(tale)
    accepted(tale, late)
    assert tale.expect.late
    tale.send(BOB, ALICE)
    assert session(tale) == new


def test_which_session_is_tried() -> None:
    """Several sessions none of which knows the key: any of their reasons is right, and so is "bad-mac"."""
    tale = met().establish(ALICE, BOB)
    accepted(tale, tale.send(ALICE, BOB))
    accepted(tale, tale.send(BOB, ALICE))
    message = tale.send(ALICE, BOB)
    tale.tamper(message, "ratchet-key", code="bad-mac")
    refused(tale, "bad-mac", rule="AUT-01")
    accepted(tale, message)


# -- replay -----------------------------------------------------------------------------------------------------------


def test_a_replayed_first_message() -> None:
    """X3DH, section 4.2: with a one-time prekey or without, it is known while its session is."""
    for one_time, rule in ((True, "CTR-03"), (False, "CTR-06")):
        tale = Tale().establish(ALICE, BOB, one_time=one_time)
        accepted(tale, tale.send(ALICE, BOB))
        tale.replay(0, code="duplicate-message")
        refused(tale, "duplicate-message", rule=rule)


def test_a_replayed_first_message_of_a_forgotten_session() -> None:
    """X3DH, section 4.2: afterwards the prekey is gone; without one the base key is remembered."""
    for one_time, code, rule in ((True, "unknown-prekey", "KEY-03"), (False, "replayed-prekey-message", "CTR-06")):
        tale = Tale().establish(ALICE, BOB, one_time=one_time)
        accepted(tale, tale.send(ALICE, BOB))
        for _ in range(2):
            tale.establish(ALICE, BOB)
            accepted(tale, tale.send(ALICE, BOB))
        tale.replay(0, code=code)
        # Without its prekey the message would not authenticate either; with a remembered base key it would.
        refused(tale, *({code, "bad-mac"} if one_time else {code}), rule=rule)


def test_a_one_time_prekey_serves_one_session() -> None:
    """X3DH, section 3.4: the one-time prekey is deleted; whoever names it afterwards is refused."""
    tale = Tale().establish(ALICE, BOB).establish(CAROL, BOB)
    carols = tale.send(CAROL, BOB)
    accepted(tale, tale.send(ALICE, BOB))
    # Carol's message made to name Alice's prekey, which is used; then the one that it was sent with.
    tale.tamper(carols, "prekey-id", prekey_id=1, code="unknown-prekey")
    refused(tale, "unknown-prekey", "bad-mac", rule="KEY-03")
    accepted(tale, carols)


# -- identities -------------------------------------------------------------------------------------------------------


def test_first_use_is_trusted() -> None:
    """Trust on first use: the first identity is pinned, by a bundle and by an authenticated message alike."""
    tale = Tale().establish(ALICE, BOB)
    assert tale.expect.accept is True
    accepted(tale, tale.send(ALICE, BOB))
    tale.reinstall(ALICE).establish(ALICE, BOB)
    tale.deliver(tale.send(ALICE, BOB), code="untrusted-identity")
    refused(tale, "untrusted-identity", rule="IDC-01")
    tale.reinstall(BOB).establish(ALICE, BOB, code="untrusted-identity")
    refused(tale, "untrusted-identity", rule="IDC-01")


def test_strict_needs_approval() -> None:
    """Without trust on first use: refused until approved, and what is approved is one key, not the name."""
    tale = Tale(strict=[ALICE]).establish(ALICE, BOB, code="untrusted-identity")
    refused(tale, "untrusted-identity", rule="IDC-02")
    tale.approve(ALICE, BOB).establish(ALICE, BOB)
    assert tale.expect.accept is True
    tale.reinstall(BOB).establish(ALICE, BOB, code="untrusted-identity")
    refused(tale, "untrusted-identity", rule="IDC-01")


def test_strict_survives_a_reinstallation() -> None:
    """A party that does not trust on first use does not do so on a new device either."""
    tale = Tale(strict=[ALICE]).approve(ALICE, BOB).reinstall(ALICE).establish(ALICE, BOB, code="untrusted-identity")
    refused(tale, "untrusted-identity", rule="IDC-02")


def test_an_approval_retires_the_old_sessions() -> None:
    """After an approval sessions under the old identity are no candidates; either reason may be named."""
    tale = met()
    late = tale.send(BOB, ALICE)
    tale.reinstall(BOB)
    # Not yet: the pin is the old one, and the message is the old Bob's.
    accepted(tale, late)
    tale = replaced()
    tale.send(ALICE, BOB, code="no-session")
    refused(tale, "no-session", "untrusted-identity", rule="IDC-08")
    tale.establish(ALICE, BOB)
    assert tale.expect.accept is True
    accepted(tale, tale.send(ALICE, BOB))


def test_a_refused_approval_is_none() -> None:
    """What a target refused did not happen."""
    tale = met().reinstall(BOB).approve(ALICE, BOB, code="no-session").establish(ALICE, BOB, code="untrusted-identity")
    refused(tale, "untrusted-identity", rule="IDC-01")


def test_a_reinstalled_party_knows_nothing() -> None:
    """A new device holds neither session nor prekey of the former one."""
    tale = met()
    plain = tale.send(ALICE, BOB)
    tale.establish(ALICE, BOB)
    first = tale.send(ALICE, BOB)
    tale.reinstall(BOB).deliver(plain, code="no-session")
    refused(tale, "no-session", rule="CNF-01")
    tale.deliver(first, code="unknown-signed-prekey")
    refused(tale, "unknown-signed-prekey", "unknown-prekey", "bad-mac", rule="AUT-01")
    tale.send(BOB, ALICE, code="no-session")
    refused(tale, "no-session", rule="CNF-01")


# -- the attacker's changes -------------------------------------------------------------------------------------------

EITHER = None
"""The format allows a receiver to accept or to refuse it."""

EARLY = {"no-session", "untrusted-identity", "duplicate-message", "too-far-ahead", "invalid-key"}
"""What may be found before the MAC is checked; in a prekey message also the next three."""
EARLY_IN_FIRST = EARLY | {"unknown-prekey", "unknown-signed-prekey", "replayed-prekey-message"}
PARSING = {"malformed-message", "unknown-version", "message-too-large", "invalid-key"}
AUT, BAD = "AUT-01", {"bad-mac"}
STRICT = ({"malformed-message"}, "PAR-02")
STRICT_UNDER_MAC = ({"malformed-message", "bad-mac"} | EARLY, "PAR-02")
STRICT_IN_FIRST = ({"malformed-message", "bad-mac"} | EARLY_IN_FIRST, "PAR-02")
"""A reader that skips what it should refuse finds that the MAC covers it, or before that what it cannot use."""
WEAK = ({"invalid-key"}, "IDC-05")
MISSING_UNDER_MAC = ({"malformed-message", "bad-mac"} | EARLY, "PAR-03")
MISSING_IN_FIRST = ({"malformed-message", "bad-mac"} | EARLY_IN_FIRST, "PAR-03")
MISSING = (PARSING | BAD | EARLY_IN_FIRST, "PAR-03")
"""A reader that takes what is missing for empty finds that it has nothing of that name, or that the MAC covers it."""
UNTYPED = ({"malformed-message", "invalid-key"}, "IDC-09")

INNER = {
    ("mac", 0): (BAD, AUT),
    ("ciphertext", 0): (BAD, AUT),
    ("counter", 0): (BAD, AUT),
    ("counter", 3): ({"too-far-ahead"}, AUT),
    ("previous-counter", 0): (BAD, AUT),
    ("previous-counter", 4): (BAD, AUT),
    ("ratchet-key", 0): (BAD, AUT),
    ("ratchet-key", 1): (BAD, AUT),
    ("unknown-field", 0): (BAD, AUT),
    ("duplicate-field", 0): STRICT_UNDER_MAC,
    ("overlong-varint", 0): STRICT_UNDER_MAC,
    ("wrong-wire-type", 0): STRICT_UNDER_MAC,
    ("low-order-ratchet-key", 0): WEAK,
    # Missing means 0, and the MAC is over the bytes received.
    ("drop-previous-counter", 0): (BAD, "PAR-03"),
    ("drop-ratchet-key", 0): MISSING_UNDER_MAC,
    ("drop-counter", 0): MISSING_UNDER_MAC,
    ("drop-ciphertext", 0): MISSING_UNDER_MAC,
    ("oversized-ciphertext", 0): ({"malformed-message", "message-too-large"}, "PAR-03"),
    ("oversized-key", 0): ({"malformed-message", "invalid-key"}, "PAR-03"),
    ("untyped-ratchet-key", 0): ({"malformed-message", "invalid-key", "bad-mac"}, "IDC-09"),
}
"""A change and its choice -> refusals, rule. What the MAC covers: the same in each message that has a session."""

OUTER = {
    ("registration-id", 0): True,
    ("reorder-fields", 0): True,
    ("outer-unknown-field", 0): True,
    ("outer-version", 0): EITHER,
    ("outer-version", 1): EITHER,
    ("outer-version", 2): ({"unknown-version", "malformed-message"}, "PAR-04"),
    ("outer-version", 7): ({"unknown-version", "malformed-message"}, "PAR-04"),
    ("outer-duplicate-field", 0): STRICT,
    ("outer-overlong-varint", 0): STRICT,
    # Not authenticated, and missing means 0.
    ("drop-registration-id", 0): True,
    ("drop-base-key", 0): MISSING,
    ("drop-identity-key", 0): MISSING,
    ("drop-message", 0): MISSING,
    ("drop-signed-prekey-id", 0): MISSING,
    ("untyped-base-key", 0): UNTYPED,
    ("untyped-identity-key", 0): UNTYPED,
    # X3DH, section 4.2, and the MAC over both identities: the agreements alone would not notice.
    ("respelled-base-key", 0): (BAD | {"malformed-message"} | EARLY_IN_FIRST, "CTR-06"),
    ("respelled-identity-key", 0): (BAD | {"malformed-message"} | EARLY_IN_FIRST, "IDC-04"),
}
"""Changes of the outer layer that do not depend on what the receiver knows."""

FIRST = OUTER | {
    ("duplicate-field", 0): STRICT_IN_FIRST,
    ("overlong-varint", 0): STRICT_IN_FIRST,
    ("wrong-wire-type", 0): STRICT_IN_FIRST,
    ("drop-ratchet-key", 0): MISSING_IN_FIRST,
    ("drop-counter", 0): MISSING_IN_FIRST,
    ("drop-ciphertext", 0): MISSING_IN_FIRST,
    ("present-identity", 0): True,
    ("prekey-id", 0): ({"unknown-prekey", "bad-mac"}, "KEY-03"),
    # Nobody has the one-time prekey 0; absent is not zero.
    ("prekey-id-zero", 0): ({"unknown-prekey", "bad-mac"}, "IDC-09"),
    ("drop-prekey-id", 0): (BAD, AUT),
    ("signed-prekey-id", 0): ({"unknown-signed-prekey"}, AUT),
    ("base-key", 0): (BAD, AUT),
    ("identity-key", 0): (BAD, "IDC-04"),
    ("identity-key", 1): (BAD, "IDC-04"),
    ("low-order-identity", 0): WEAK,
    ("low-order-base-key", 0): WEAK,
    ("version", 0): ({"unknown-version", "malformed-message", "bad-mac"} | EARLY_IN_FIRST, "PAR-04"),
    ("truncate", 0): (PARSING | BAD | EARLY_IN_FIRST, "PAR-01"),
    ("trailing-byte", 0): (PARSING | BAD | EARLY_IN_FIRST, "PAR-01"),
}
"""Of a message that would build a session: the outer fields enter the agreement, or name what it needs."""

KNOWN = FIRST | {
    # The session is known by its base key: the ids are not looked at any more.
    ("prekey-id", 0): True,
    ("prekey-id-zero", 0): True,
    ("drop-prekey-id", 0): True,
    ("signed-prekey-id", 0): True,
    # Another base key would be another session, for which the prekey is gone.
    ("base-key", 0): ({"unknown-prekey", "bad-mac"}, "KEY-03"),
    # What is said outside must be the session's own.
    ("identity-key", 0): ({"untrusted-identity", "bad-mac", "duplicate-message"}, "IDC-04"),
    ("identity-key", 1): ({"untrusted-identity", "bad-mac", "duplicate-message"}, "IDC-04"),
    ("low-order-identity", 0): ({"untrusted-identity", "bad-mac", "duplicate-message", "invalid-key"}, "IDC-05"),
    ("low-order-base-key", 0): ({"unknown-prekey", "invalid-key"}, "IDC-05"),
}
"""Of a prekey message whose session the receiver has."""

SIGNAL = INNER | {
    ("version", 0): ({"unknown-version", "malformed-message", "bad-mac"} | EARLY, "PAR-04"),
    ("truncate", 0): (PARSING | BAD | EARLY, "PAR-01"),
    ("trailing-byte", 0): (PARSING | BAD | EARLY, "PAR-01"),
}


def _changed(tale: Tale, message: int, change: tuple[str, int], expected: object) -> None:
    """The changed copy is refused as expected, after which the original is accepted; or it is accepted itself."""
    name, choice = change
    unknown = 1_000 if name == "prekey-id" else None
    if isinstance(expected, tuple):
        codes, rule = expected
        tale.tamper(message, name, choice=choice, prekey_id=unknown, code=min(codes))
        refused(tale, *codes, rule=rule)
        accepted(tale, message)
        return
    tale.tamper(message, name, choice=choice, prekey_id=unknown)
    assert tale.expect.accept is expected
    assert tale.expect.plaintext == message
    tale.deliver(message, code="duplicate-message")
    refused(tale, "duplicate-message", rule="CTR-03")


@pytest.mark.parametrize("change", INNER | FIRST, ids=str)
def test_changes_of_a_first_message(change: tuple[str, int]) -> None:
    """X3DH, section 3.4: what enters the agreement or the MAC cannot be changed; the registration id does neither."""
    tale = Tale().establish(ALICE, BOB)
    _changed(tale, tale.send(ALICE, BOB), change, (INNER | FIRST)[change])


@pytest.mark.parametrize("change", INNER | KNOWN, ids=str)
def test_changes_of_a_repeated_first_message(change: tuple[str, int]) -> None:
    """A prekey message of a known session is its inner message: ids do not matter, identities do."""
    tale = Tale().establish(ALICE, BOB)
    first, second = tale.send(ALICE, BOB), tale.send(ALICE, BOB)
    accepted(tale, first)
    _changed(tale, second, change, (INNER | KNOWN)[change])


@pytest.mark.parametrize("change", SIGNAL, ids=str)
def test_changes_of_a_message(change: tuple[str, int]) -> None:
    """Double Ratchet, section 3.4: header, ciphertext and both identities are authenticated."""
    tale = met()
    _changed(tale, tale.send(ALICE, BOB), change, SIGNAL[change])


def test_a_replaced_identity_in_disguise() -> None:
    """X3DH, section 4.8: a session of the former identity is dead, whatever its messages say outside."""
    tale = Tale().establish(ALICE, BOB)
    first, second, third = tale.send(ALICE, BOB), tale.send(ALICE, BOB), tale.send(ALICE, BOB)
    accepted(tale, first)
    tale.reinstall(ALICE)
    tale.tamper(second, "present-identity", code="untrusted-identity")
    refused(tale, "untrusted-identity", "bad-mac", "duplicate-message", rule="IDC-04")
    tale.approve(BOB, ALICE)
    tale.tamper(third, "present-identity", code="untrusted-identity")
    refused(tale, "untrusted-identity", "bad-mac", "duplicate-message", rule="IDC-04")


def test_a_late_message_of_a_replaced_identity() -> None:
    """Sesame, section 3.2: once a new session stands, a message of the former identity is refused by either reading."""
    tale = met()
    late = tale.send(ALICE, BOB)
    tale.reinstall(ALICE).approve(BOB, ALICE).establish(BOB, ALICE)
    tale.deliver(late, code="untrusted-identity")
    refused(tale, "untrusted-identity", "bad-mac", rule="AUT-01")


def test_every_change_is_covered() -> None:
    """Each of TAMPERS has an expectation written by hand."""
    assert {name for name, _ in INNER | FIRST} == set(TAMPERS)


def test_a_first_message_without_a_prekey_has_none_to_drop() -> None:
    """Dropping an id that is not there changes nothing; adding one does."""
    tale = Tale().establish(ALICE, BOB, one_time=False)
    _changed(tale, tale.send(ALICE, BOB), ("drop-prekey-id", 0), True)
    tale = Tale().establish(ALICE, BOB, one_time=False)
    # Whoever took the unknown id for none would accept it: the MAC does not help here.
    _changed(tale, tale.send(ALICE, BOB), ("prekey-id", 0), ({"unknown-prekey"}, "KEY-03"))


def test_a_first_message_without_a_prekey_where_one_is_needed() -> None:
    """Driver contract: needs_one_time - a message that names none is refused, for that or for what it is read without."""
    tale = Tale(profile=Profile(needs_one_time=True)).establish(ALICE, BOB)
    _changed(tale, tale.send(ALICE, BOB), ("drop-prekey-id", 0), ({"unknown-prekey", "bad-mac"}, "CNF-01"))


def test_another_held_prekey_does_not_fit() -> None:
    """X3DH, section 3.4: the one-time prekey enters the agreement: another one gives another secret."""
    tale = Tale().establish(ALICE, BOB).establish(CAROL, BOB)
    message = tale.send(ALICE, BOB)
    tale.tamper(message, "prekey-id", prekey_id=2, code="bad-mac")
    refused(tale, "bad-mac", rule="AUT-01")
    accepted(tale, message)


def test_a_spliced_ratchet_key() -> None:
    """A ratchet key taken from another message of the peer's: the MAC covers it."""
    tale = met()
    message = tale.send(ALICE, BOB)
    # Message 0 was sent on Alice's first chain, where its counter was used.
    tale.tamper(message, "ratchet-key", choice=3, code="duplicate-message")
    refused(tale, "duplicate-message", rule="AUT-01")
    # Message 1 is Bob's own: his key is new to himself.
    tale.tamper(message, "ratchet-key", choice=1, code="bad-mac")
    refused(tale, "bad-mac", rule="AUT-01")
    accepted(tale, message)


def test_a_lenient_change_of_a_known_message() -> None:
    """Where the format leaves it open, a parser's refusal is right, and so is what follows from accepting."""
    tale = Tale().establish(ALICE, BOB)
    accepted(tale, tale.send(ALICE, BOB))
    tale.tamper(0, "outer-version", code="unknown-version")
    refused(tale, "duplicate-message", *PARSING, rule="CTR-03")


def test_a_lenient_refusal_costs_nothing() -> None:
    """Where the format leaves it open and the target refused, the original is still accepted."""
    tale = Tale().establish(ALICE, BOB)
    message = tale.send(ALICE, BOB)
    tale.tamper(message, "outer-version", code="unknown-version")
    assert tale.expect.accept is None
    assert tale.expect.codes == PARSING
    accepted(tale, message)


@pytest.mark.parametrize("what", JUNK)
def test_made_up_bytes(what: str) -> None:
    """Bytes that nobody sent are refused; whatever they look like, no session is built from them."""
    tale = met().inject(BOB, ALICE, what, code="malformed-message")
    assert tale.expect.accept is False
    assert tale.expect.codes >= PARSING
    assert "duplicate-message" not in tale.expect.codes
    assert tale.expect.rule == ("AUT-01" if what == "well-formed" else "PAR-01")


FORGED = {
    "bad-signature": ({"invalid-signature"}, "IDC-03"),
    "swap-signed-prekey": ({"invalid-signature"}, "IDC-03"),
    "swap-identity": ({"invalid-signature"}, "IDC-03"),
    "short-signature": ({"invalid-signature"}, "IDC-03"),
    "low-order-signed-prekey": WEAK,
    "low-order-prekey": WEAK,
    "key-type": WEAK,
    "untyped-signed-prekey": ({"invalid-key"}, "IDC-09"),
    "untyped-prekey": ({"invalid-key"}, "IDC-09"),
    "untyped-identity-key": ({"invalid-key"}, "IDC-09"),
    "long-key": ({"invalid-key"}, "PAR-05"),
    "empty-key": ({"invalid-key"}, "PAR-05"),
    "long-signature": ({"invalid-signature"}, "PAR-05"),
    # X3DH, section 4.8: nothing but a comparison of keys tells the attacker's whole bundle from the peer's.
    "attacker-bundle": True,
    # The one-time prekey and its id are not signed.
    "swap-prekey": True,
    "prekey-id": True,
}
FOREIGN = {"swap-identity", "attacker-bundle", "low-order-signed-prekey"}
"""Forgeries that put the attacker's identity in the peer's place."""


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_bundles_at_first_use(name: str) -> None:
    """X3DH, section 3.3: the signature is verified; what it does not cover shows when the owner reads the message."""
    expected = FORGED[name]
    tale = Tale()
    if isinstance(expected, tuple):
        codes, rule = expected
        tale.forge(ALICE, BOB, name, code=min(codes))
        refused(tale, *codes, rule=rule)
        # Nobody was pinned.
        tale.establish(ALICE, BOB)
        assert tale.expect.accept is True
        return
    tale.forge(ALICE, BOB, name)
    assert tale.expect.accept is True
    code = {"attacker-bundle": "bad-mac", "swap-prekey": "bad-mac", "prekey-id": "unknown-prekey"}[name]
    tale.deliver(tale.send(ALICE, BOB), code=code)
    assert tale.expect.accept is False
    assert code in tale.expect.codes
    pinned = name == "attacker-bundle"
    tale.establish(ALICE, BOB, code="untrusted-identity" if pinned else None)
    assert tale.expect.accept is not pinned


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_bundles_for_a_known_name(name: str) -> None:
    """Once an identity is pinned, the attacker's is refused as well for being another one."""
    expected = FORGED[name]
    codes, rule = expected if isinstance(expected, tuple) else (set(), "IDC-01")
    if name in FOREIGN:
        codes = codes | {"untrusted-identity"}
    tale = met()
    if codes:
        tale.forge(ALICE, BOB, name, code=min(codes))
        refused(tale, *codes, rule=rule)
    else:
        tale.forge(ALICE, BOB, name)
        assert tale.expect.accept is True


def test_every_forgery_is_covered() -> None:
    """Each of FORGERIES has an expectation written by hand."""
    assert set(FORGED) == set(FORGERIES)


# -- handed to others -------------------------------------------------------------------------------------------------


def test_a_message_for_another() -> None:
    """Both identities are under the MAC: nobody else can read it, whoever it is said to come from."""
    tale = met()
    message = tale.send(ALICE, BOB)
    tale.redirect(message, to=CAROL, sender=ALICE, code="no-session")
    refused(tale, "no-session", rule="IDC-04")
    tale.redirect(message, to=BOB, sender=CAROL, code="no-session")
    refused(tale, "no-session", rule="IDC-04")
    # To its own sender: a session is there, and knows another key.
    tale.redirect(message, to=ALICE, sender=BOB, code="bad-mac")
    refused(tale, "bad-mac", rule="IDC-04")
    accepted(tale, message)


def test_a_first_message_for_another() -> None:
    """X3DH, section 4.8: it was made for Bob's prekeys and identity."""
    tale = Tale().establish(ALICE, BOB)
    message = tale.send(ALICE, BOB)
    tale.redirect(message, to=CAROL, sender=ALICE, code="unknown-prekey")
    refused(tale, "unknown-signed-prekey", "unknown-prekey", "bad-mac", rule="IDC-04")
    accepted(tale, message)


def test_a_first_message_under_another_name() -> None:
    """Nothing in a first message says a name: to whoever trusts on first use, Alice's key may come as Carol's."""
    tale = Tale().establish(ALICE, BOB)
    message = tale.send(ALICE, BOB)
    tale.redirect(message, to=BOB, sender=CAROL)
    assert tale.expect.accept is True
    # That was the first use: the prekey is spent, and the real Carol is another.
    tale.deliver(message, code="unknown-prekey")
    refused(tale, "unknown-prekey", "bad-mac", rule="KEY-03")
    tale.establish(CAROL, BOB)
    tale.deliver(tale.send(CAROL, BOB), code="untrusted-identity")
    refused(tale, "untrusted-identity", rule="IDC-01")


def test_a_first_message_under_another_pinned_name() -> None:
    """Where Carol's identity is pinned, Alice's key is not taken for it."""
    tale = Tale().establish(BOB, CAROL).establish(ALICE, BOB)
    message = tale.send(ALICE, BOB)
    tale.redirect(message, to=BOB, sender=CAROL, code="untrusted-identity")
    refused(tale, "untrusted-identity", rule="IDC-01")
    accepted(tale, message)


def test_a_redirect_to_where_it_was_going() -> None:
    """Handed to its own receiver in its own sender's name, it is what it is."""
    tale = met()
    message = tale.send(ALICE, BOB)
    tale.redirect(message, to=BOB, sender=ALICE)
    assert tale.expect.accept is True
    tale.deliver(message, code="duplicate-message")
    refused(tale, "duplicate-message", rule="CTR-03")


# -- crashes ----------------------------------------------------------------------------------------------------------


def test_a_crash_while_sending() -> None:
    """Before the commit nothing happened; after it the counter is spent and the message was never handed out."""
    tale = met()
    tale.send(ALICE, BOB, crash="before")
    assert says(tale, ALICE, BOB) == ("signal", 0, 0)
    tale.send(ALICE, BOB, crash="after")
    assert says(tale, ALICE, BOB) == ("signal", 2, 0)
    # Handles count what was handed out.
    accepted(tale, 3)


def test_a_crash_while_receiving() -> None:
    """Before the commit the message can be delivered again; after it is a duplicate, prekey and ratchet moved."""
    for crash in ("before", "after"):
        tale = Tale().establish(ALICE, BOB)
        message = tale.send(ALICE, BOB)
        tale.deliver(message, crash=crash)
        if crash == "before":
            accepted(tale, message)
        else:
            tale.deliver(message, code="duplicate-message")
            refused(tale, "duplicate-message", rule="CTR-03")
        assert says(tale, BOB, ALICE) == ("signal", 0, 0)


def test_a_crash_while_establishing() -> None:
    """Before the commit there is no session; after it there is."""
    tale = Tale().establish(ALICE, BOB, crash="before")
    tale.send(ALICE, BOB, code="no-session")
    refused(tale, "no-session", rule="CNF-01")
    tale.establish(ALICE, BOB, crash="after")
    assert says(tale, ALICE, BOB) == ("prekey", 0, 0)


# -- following --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [Outcome.SKIPPED, Outcome.DIED, Outcome.HUNG])
def test_what_did_not_happen_says_nothing(outcome: Outcome) -> None:
    """Where nothing was done, or the program ended, nothing is expected."""
    tale = met()
    tale.send(ALICE, BOB, died=outcome)
    assert tale.expect is None


def test_what_comes_after_a_divergence_has_no_meaning() -> None:
    """Where the target did what the model forbids, the model says nothing any more."""
    tale = Tale().forge(ALICE, BOB, "bad-signature")
    assert tale.expect.accept is False
    tale.establish(ALICE, BOB)
    assert tale.expect is None


def test_parties_differ() -> None:
    """Each party of a fresh model has keys of its own."""
    model = Model(Hello("by hand", "1", Observe.WIRE, ABLE, SMALL), [False] * 3)
    assert len({party.identity for party in model.parties} | {party.signed_prekey for party in model.parties}) == 6


# -- half of a step ----------------------------------------------------------------------------------------------------


def test_half_of_a_step_without_its_session_is_no_session() -> None:
    """ATM-01 reports a half. Where nothing that is counted of sessions changed, it was a pin, say, and no session came of it."""
    before, pinned = Observation("before", (1,), chains=0), Observation("half", (1,), chains=0)
    half = Event(0, Op(Kind.DELIVER, (0,)), Outcome.CRASHED, ALICE, BOB, before=before, after=pinned, complete="whole")
    assert not took_effect(half)
    assert took_effect(replace(half, after=replace(pinned, chains=1)))
    assert took_effect(replace(half, after=replace(pinned, prekeys=())))
    # A whole step, one that nobody can compare, and a target of which nothing is counted.
    assert took_effect(replace(half, complete="half"))
    assert took_effect(replace(half, complete=None))
    assert took_effect(replace(half, before=replace(before, chains=None), after=replace(pinned, chains=None)))
    assert not took_effect(replace(half, after=before))
