"""Groups, judged over histories written by hand: each holds on one and is violated on another."""

from __future__ import annotations

from dataclasses import replace

from pawl_spec.history import GroupHeader
from tests.spec.group_histories import CLUB, TEAM, GroupTale, gathered
from tests.spec.histories import ALICE, BOB, CAROL, breaks, holds

# -- GRP-01 -----------------------------------------------------------------------------------------------------------


@holds("GRP-01")
def test_messages_come_in_any_order() -> GroupTale:
    """Claim: "a member reads each message once, in any order within the window"."""
    tale = gathered()
    first, second, third = tale.speak(ALICE), tale.speak(ALICE), tale.speak(ALICE)
    tale.hear(BOB, third).hear(BOB, first).hear(BOB, second)
    return tale.hear(BOB, first, code="duplicate-message").hear(CAROL, second)


@breaks("GRP-01", says="iteration 0 again, 1 was due")
def test_an_iteration_is_used_twice() -> GroupTale:
    """Claim: "none is used twice": two ciphertexts under one key and IV."""
    tale = gathered()
    tale.speak(ALICE)
    tale.speak(ALICE, header={"iteration": 0})
    return tale


@breaks("GRP-01", says="skips 0 and no lost call explains it")
def test_an_iteration_is_left_out() -> GroupTale:
    """Claim: "the iterations start at 0"."""
    tale = gathered()
    tale.speak(ALICE, header={"iteration": 1})
    return tale


@holds("GRP-01")
def test_a_lost_call_explains_a_gap() -> GroupTale:
    """Claim: "strictly increase": a crash between commit and hand-out uses one up."""
    tale = gathered()
    tale.speak(ALICE, crash="after")
    tale.hear(BOB, tale.speak(ALICE))
    return tale


@breaks("GRP-01", says="skips 0 and no lost call explains it")
def test_a_call_that_was_not_lost_explains_nothing() -> GroupTale:
    """Claim: "none is used twice": a crash before the commit uses none up."""
    tale = gathered()
    tale.speak(ALICE, crash="before")
    tale.speak(ALICE)
    tale.speak(ALICE, header={"iteration": 3})
    tale.history.events.pop(-2)
    return tale


@breaks("GRP-01", says="not the id of the sender's present chain")
def test_a_message_names_another_chain() -> GroupTale:
    """Claim: "On each sender's chain": within a chain the id stays."""
    tale = gathered()
    tale.speak(ALICE)
    tale.speak(ALICE, header={"chain_id": 77, "iteration": 0})
    return tale


@breaks("GRP-01", says="not the id of the sender's present chain")
def test_a_new_chain_has_the_old_id() -> GroupTale:
    """Claim: "On each sender's chain": a message names its chain by the id alone, so that another chain has another."""
    tale = gathered()
    tale.speak(ALICE)
    old = tale.last.group
    assert old is not None
    assert old.header is not None
    tale.turn(ALICE)
    tale.speak(ALICE, header={"chain_id": old.header.chain_id, "iteration": 1})
    return tale


@breaks("GRP-01", says="iteration 0 again, 1 was due")
def test_two_writers_share_an_iteration() -> GroupTale:
    """Claim: "by two writers of one store neither"."""
    tale = gathered()
    tale.speak(ALICE)
    sent = tale.last.group
    assert sent is not None
    tale.history.events.pop()
    strike = replace(tale.rival(ALICE, BOB, "send"), group_sent=sent.header)
    tale._spoken.clear()
    tale.speak(ALICE, struck=(strike,), header={"iteration": 0})
    return tale


@breaks("GRP-01", says="was read before")
def test_a_message_is_read_twice() -> GroupTale:
    """Claim: "a member reads each message once"."""
    tale = gathered()
    message = tale.speak(ALICE)
    return tale.hear(BOB, message).hear(BOB, message)


@holds("GRP-01")
def test_a_new_device_may_read_again() -> GroupTale:
    """A device that was installed anew, and is given the chain anew, is another reader."""
    tale = gathered()
    message = tale.speak(ALICE)
    tale.hear(BOB, message).reinstall(BOB)
    return tale.join(BOB, 0).hear(BOB, message)


@breaks("GRP-01", says="refused (duplicate-message); expected to be accepted")
def test_a_late_message_is_refused() -> GroupTale:
    """Claim: "in any order within the window"."""
    tale = gathered()
    first, second = tale.speak(ALICE), tale.speak(ALICE)
    return tale.hear(BOB, second).hear(BOB, first, code="duplicate-message")


@breaks("GRP-01", says="gave the plaintext of g0, expected g1's")
def test_another_plaintext_comes_out() -> GroupTale:
    """Claim: "a member reads each message once": its own text."""
    tale = gathered()
    tale.speak(ALICE)
    return tale.hear(BOB, tale.speak(ALICE), plaintext=0)


# -- GRP-02 -----------------------------------------------------------------------------------------------------------


@holds("GRP-02")
def test_a_forged_signature_is_refused() -> GroupTale:
    """Claim: "checked before anything is derived"."""
    tale = gathered()
    message = tale.speak(ALICE)
    tale.meddle(BOB, message, "signature", code="invalid-signature", seen={"work": 0})
    tale.meddle(BOB, message, "reorder-fields", code="invalid-signature", seen={"work": 0})
    return tale.hear(BOB, message)


@breaks("GRP-02", says="accepted; expected a refusal: invalid-signature")
def test_a_forged_signature_is_accepted() -> GroupTale:
    """Claim: "carries a valid signature of its chain's signing key"."""
    tale = gathered()
    return tale.meddle(BOB, tale.speak(ALICE), "signature")


@breaks("GRP-02", says="accepted; expected a refusal: invalid-signature")
def test_the_signature_is_over_other_bytes() -> GroupTale:
    """Claim: "over the bytes as received"."""
    tale = gathered()
    return tale.meddle(BOB, tale.speak(ALICE), "unknown-field")


@breaks("GRP-02", says="2 derivations for a message that is not signed")
def test_the_signature_is_checked_late() -> GroupTale:
    """Claim: "before anything is derived"."""
    tale = gathered()
    return tale.meddle(BOB, tale.speak(ALICE), "signature", code="invalid-signature", seen={"work": 2})


@breaks("GRP-02", says="refused for the wrong reason: invalid-ciphertext")
def test_the_padding_is_looked_at_first() -> GroupTale:
    """Claim: "before anything is derived": a refusal for the padding says that something was decrypted."""
    tale = gathered()
    message = tale.speak(ALICE)
    return tale.meddle(BOB, message, "ciphertext", code="invalid-ciphertext", seen={"work": 0})


@breaks("GRP-02", "GRP-01", says="a plaintext that nobody sent")
def test_a_plaintext_that_nobody_sent() -> GroupTale:
    """Claim: "Every group message that is accepted carries a valid signature"."""
    tale = gathered()
    return tale.hear(BOB, tale.speak(ALICE), plaintext=-1)


# -- GRP-03 -----------------------------------------------------------------------------------------------------------


@holds("GRP-03")
def test_a_distribution_comes_again() -> GroupTale:
    """Claim: "leaves its chain where it is: what was read stays read, and the rest can be read"."""
    tale = gathered()
    first, second, third = tale.speak(ALICE), tale.speak(ALICE), tale.speak(ALICE)
    tale.hear(BOB, second).join(BOB, 0, changes=False)
    tale.hear(BOB, second, code="duplicate-message").hear(BOB, first)
    newer = tale.create(ALICE, changes=False)
    return tale.join(BOB, newer, changes=False).hear(BOB, third)


@breaks("GRP-03", "GRP-01", says="accepted; expected a refusal: duplicate-message")
def test_a_distribution_rewinds() -> GroupTale:
    """Claim: "what was read stays read"."""
    tale = gathered()
    message = tale.speak(ALICE)
    return tale.hear(BOB, message).join(BOB, 0).hear(BOB, message)


@breaks("GRP-03", says="refused (duplicate-message); expected to be accepted")
def test_a_distribution_winds_on() -> GroupTale:
    """Claim: "the rest can be read"."""
    tale = gathered()
    message = tale.speak(ALICE)
    newer = tale.create(ALICE, changes=False)
    return tale.join(BOB, newer).hear(BOB, message, code="duplicate-message")


@breaks("GRP-03", says="accepted; expected a refusal: retired-sender-key")
def test_a_chain_that_is_gone_comes_back() -> GroupTale:
    """Claim: "one of a chain that is gone is refused, while that is remembered"."""
    return gathered().dismiss(BOB, ALICE).join(BOB, 0)


@holds("GRP-03")
def test_more_chains_than_are_remembered() -> GroupTale:
    """Claim: "while that is remembered": the target declares how many, and may forget the oldest."""
    tale = gathered()
    tale = gathered(limits=replace(tale.history.target.limits, sender_chains=1, retired_chains=1))
    for _ in range(2):
        tale.turn(ALICE)
        tale.join(BOB, tale.create(ALICE))
    return tale.join(BOB, 2, code="retired-sender-key").join(BOB, 0)


@breaks("GRP-03", says="refused (retired-sender-key); expected to be accepted")
def test_a_repeated_distribution_is_refused() -> GroupTale:
    """Claim: "leaves its chain where it is": it does no harm, and comes when a member asks again."""
    return gathered().join(BOB, 0, code="retired-sender-key")


# -- GRP-04 -----------------------------------------------------------------------------------------------------------


@holds("GRP-04")
def test_a_removed_member_reads_nothing_new() -> GroupTale:
    """Claim: "a removed member who kept everything reads no message that was sent after the senders rotated"."""
    tale = gathered()
    tale.hear(CAROL, tale.speak(ALICE)).turn(ALICE)
    tale.join(BOB, tale.create(ALICE, changes=False))
    message = tale.speak(ALICE)
    return tale.hear(BOB, message).hear(CAROL, message, code="no-sender-key")


@breaks("GRP-04", says="accepted; expected a refusal: no-sender-key")
def test_a_removed_member_reads_on() -> GroupTale:
    """Claim: "reads no message that was sent after the senders rotated"."""
    tale = gathered().turn(ALICE)
    return tale.hear(CAROL, tale.speak(ALICE))


@holds("GRP-04")
def test_a_state_reads_until_the_rotation() -> GroupTale:
    """Claim: "whoever takes a state reads of what is sent later what the model says": until the sender rotates."""
    tale = gathered().take(CAROL)
    message = tale.speak(ALICE)
    tale.search(message).turn(ALICE)
    tale.speak(ALICE)
    return tale.search(message)


@breaks("GRP-04", says="the attacker reads g0; the model says none")
def test_a_state_reads_after_the_rotation() -> GroupTale:
    """Claim: "what the model says": nothing of a new chain."""
    tale = gathered().take(CAROL).turn(ALICE)
    return tale.search(tale.speak(ALICE))


@breaks("GRP-04", says="the attacker cannot read g0; the model says it can")
def test_an_attacker_that_is_too_weak() -> GroupTale:
    """Claim: "what the model says", no less: its silence would mean nothing."""
    tale = gathered().take(CAROL)
    tale.speak(ALICE)
    return tale.search()


# -- GRP-05 -----------------------------------------------------------------------------------------------------------


@holds("GRP-05")
def test_a_message_is_moved() -> GroupTale:
    """Claim: "A member cannot send as another member, nor can a message or a chain be moved to another group"."""
    tale = gathered()
    message = tale.speak(ALICE)
    tale.move(BOB, message, CAROL, code="no-sender-key")
    return tale.move(BOB, message, ALICE, CLUB, code="wrong-group")


@breaks("GRP-05", says="accepted; expected a refusal: no-sender-key")
def test_a_message_is_taken_for_another_s() -> GroupTale:
    """Claim: "A member cannot send as another member"."""
    tale = gathered()
    return tale.move(BOB, tale.speak(ALICE), CAROL)


@breaks("GRP-05", says="accepted; expected a refusal: wrong-group")
def test_a_message_is_moved_to_another_group() -> GroupTale:
    """Claim: "moved to another group", in which its sender has a chain with the same name."""
    tale = gathered()
    tale.join(BOB, tale.smuggle(CAROL, "own")).join(BOB, tale.smuggle(CAROL, "own", group=CLUB))
    return tale.move(BOB, tale.craft(CAROL), CAROL, CLUB)


@breaks("GRP-05", says="accepted; expected a refusal: wrong-group")
def test_a_chain_is_moved_to_another_group() -> GroupTale:
    """Claim: "nor can a message or a chain be moved to another group"."""
    tale = gathered()
    return tale.join(BOB, tale.smuggle(CAROL, "other-group"))


@breaks("GRP-05", says="accepted; expected a refusal: invalid-signature")
def test_another_member_signs() -> GroupTale:
    """Claim: "A member cannot send as another member": with its own signature neither."""
    tale = gathered()
    tale.join(BOB, tale.smuggle(CAROL, "own"))
    return tale.meddle(BOB, tale.speak(ALICE), "re-signed")


@breaks("GRP-05", says="accepted; expected a refusal: no-sender-key")
def test_a_chain_outlives_its_identity() -> GroupTale:
    """Claim: "or outlive the identity under which it came"."""
    tale = GroupTale()
    tale.approve(BOB, ALICE)
    tale.join(BOB, tale.create(ALICE))
    message = tale.speak(ALICE)
    tale.reinstall(ALICE).approve(BOB, ALICE, told=("identity-replaced",))
    return tale.hear(BOB, message)


# -- GRP-06 -----------------------------------------------------------------------------------------------------------


@holds("GRP-06")
def test_what_is_not_read_is_open() -> GroupTale:
    """Claim: "what was read or sent is sealed": what was passed over can be read still."""
    tale = gathered()
    first, second = tale.speak(ALICE), tale.speak(ALICE)
    return tale.hear(BOB, second).look(BOB, first).look(ALICE)


@breaks("GRP-06", says="its chains still decrypt g0")
def test_what_was_read_is_open() -> GroupTale:
    """Claim: "what was read or sent is sealed": its key was kept."""
    tale = gathered()
    message = tale.speak(ALICE)
    return tale.hear(BOB, message).look(BOB, message)


@breaks("GRP-06", says="its chains still decrypt g0")
def test_what_was_sent_is_open() -> GroupTale:
    """Claim: "what was read or sent is sealed": the sender kept the chain as it was."""
    tale = gathered()
    return tale.look(ALICE, tale.speak(ALICE))


@breaks("GRP-06", says="the attacker reads g0; the model says none")
def test_a_state_reads_the_past() -> GroupTale:
    """Claim: "what was read or sent is sealed", with whole states too."""
    tale = gathered()
    message = tale.speak(ALICE)
    return tale.hear(BOB, message).take(BOB, message)


@breaks("GRP-06", says="3 chains of one sender, at most 2 are allowed")
def test_too_many_chains() -> GroupTale:
    """Claim: "chains, kept keys, jumps and work are bounded"."""
    tale = gathered()
    tale = gathered(limits=replace(tale.history.target.limits, sender_chains=2))
    return tale.join(BOB, tale.smuggle(ALICE, "own"), seen={"group_chains": 3})


@breaks("GRP-06", "CNF-02", says="3 keys kept in one chain of a group, at most 2 are allowed")
def test_too_many_kept_keys() -> GroupTale:
    """Claim: "chains, kept keys, jumps and work are bounded"."""
    tale = gathered()
    return tale.hear(BOB, tale.speak(ALICE), seen={"group_kept": 3})


@breaks("GRP-06", says="accepted; expected a refusal: too-far-ahead")
def test_too_far_a_jump() -> GroupTale:
    """Claim: "jumps and work are bounded": the target declares 3."""
    tale = gathered()
    tale.join(BOB, tale.smuggle(CAROL, "own"))
    return tale.hear(BOB, tale.craft(CAROL, ahead=4))


@holds("GRP-06")
def test_the_largest_jump() -> GroupTale:
    """Claim: "jumps and work are bounded": what a message passes over costs its share."""
    tale = gathered()
    tale.join(BOB, tale.smuggle(CAROL, "own"))
    message = tale.craft(CAROL, ahead=3)
    return tale.hear(BOB, message, seen={"work": 5, "rows": 40, "written": 4000, "group_kept": 2})


@breaks("GRP-06", says="3 derivations for one group message, 2 are due")
def test_too_much_work() -> GroupTale:
    """Claim: "work" is bounded: a step of the chain and the message's keys."""
    tale = gathered()
    return tale.hear(BOB, tale.speak(ALICE), seen={"work": 3})


@breaks("GRP-06", says="11 rows for one group message, 10 are due")
def test_too_many_rows() -> GroupTale:
    """Claim: "work" is bounded: rows are counted."""
    tale = gathered()
    return tale.hear(BOB, tale.speak(ALICE), seen={"rows": 11})


@breaks("GRP-06", "ATM-01", says="after the crash the store holds half of the step")
def test_half_of_a_step() -> GroupTale:
    """Claim: "a step happens whole, durably, or not at all"."""
    tale = gathered()
    return tale.hear(BOB, tale.speak(ALICE), crash="between")


@breaks("GRP-06", "CTR-05", says="refused (duplicate-message), yet the state changed")
def test_a_refusal_that_changes_something() -> GroupTale:
    """Claim: "or not at all"."""
    tale = gathered()
    message = tale.speak(ALICE)
    return tale.hear(BOB, message).hear(BOB, message, code="duplicate-message", changes=True)


@breaks("GRP-06", says="handed out before its state was durable")
def test_a_result_that_is_not_durable() -> GroupTale:
    """Claim: "durably"."""
    tale = gathered()
    tale.speak(ALICE, seen={"durable": False})
    return tale


# -- the model --------------------------------------------------------------------------------------------------------


def test_a_message_that_is_given_no_chain_is_refused_before_the_first() -> None:
    """Nothing can be sent before the first chain; the header names no chain then."""
    tale = GroupTale()
    tale.speak(ALICE, code="no-sender-key")
    assert tale.expect is not None
    assert tale.expect.codes == {"no-sender-key"}
    assert GroupHeader(0x33, None, 0, 0).distribution_id is None


def test_a_relayed_chain_is_the_relayer_s() -> None:
    """Not covered: a member that gives another's chain as its own has that one's words taken for its own."""
    tale = gathered()
    tale.join(BOB, tale.smuggle(CAROL, "relayed"))
    tale.move(ALICE, tale.speak(BOB), CAROL, code="no-sender-key")
    tale.move(BOB, tale.speak(BOB), CAROL)
    assert tale.expect is not None
    assert tale.expect.accept is True


def test_noise_may_be_a_plaintext() -> None:
    """Whoever gave a chain with a known id, and signs what it cannot know, sends noise; either answer is right."""
    tale = gathered()
    message = tale.speak(ALICE)
    tale.join(BOB, tale.smuggle(ALICE, "collision-own"))
    tale.meddle(BOB, message, "re-signed", code="invalid-ciphertext")
    assert tale.expect is not None
    assert tale.expect.accept is None
    assert tale.history.events[0].group is not None
    assert tale.history.events[0].group.group == TEAM


# -- GRP-04, through sessions -----------------------------------------------------------------------------------------


def sharing() -> GroupTale:
    """Alice has a session with Bob and with Carol, and both are members."""
    tale = GroupTale()
    tale.establish(ALICE, BOB).establish(ALICE, CAROL)
    return tale


BOTH, CAROL_ALONE = 0b110, 0b100


@holds("GRP-04")
def test_members_are_given_the_chain() -> GroupTale:
    """Claim: "gives the chain to each that may not have it": again as long as it is not known to have come."""
    return sharing().share(ALICE, BOB, CAROL, mask=BOTH).share(ALICE, BOB, CAROL)


@breaks("GRP-04", says="the chain was not given to carol")
def test_a_member_is_left_out() -> GroupTale:
    """Claim: "to each that may not have it"."""
    return sharing().share(ALICE, BOB, mask=BOTH)


@breaks("GRP-04", says="the chain was given to bob, who are not to get it")
def test_a_removed_member_is_given_the_new_chain() -> GroupTale:
    """Claim: "and to nobody else"."""
    return sharing().share(ALICE, BOB, CAROL, mask=BOTH).share(ALICE, BOB, CAROL, mask=CAROL_ALONE)


@breaks("GRP-04", says="accepted; expected a refusal: members-without-session")
def test_a_member_without_a_session_is_passed_over() -> GroupTale:
    """Claim: "to each that may not have it": whoever cannot be given it is not left out silently."""
    tale = GroupTale()
    tale.establish(ALICE, BOB)
    return tale.share(ALICE, BOB, mask=BOTH)


@breaks("CTR-01", says="counter 0 again")
def test_the_chain_is_given_under_a_used_key() -> GroupTale:
    """CTR-01, "none is used twice": a message that gives a chain is one of its session."""
    tale = sharing().share(ALICE, BOB, CAROL, mask=BOTH)
    tale._shares -= 2
    return tale.share(ALICE, BOB, CAROL)
