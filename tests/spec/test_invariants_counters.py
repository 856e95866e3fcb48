"""Counters and replay, judged over histories written by hand: each holds on one and is violated on another."""

from __future__ import annotations

from pawl_spec.history import Observe
from tests.spec.histories import ALICE, BOB, Tale, breaks, holds, met

# -- CTR-01 -----------------------------------------------------------------------------------------------------------


@holds("CTR-01")
def test_counters_count_up() -> Tale:
    """Claim: "On each sending chain the counters start at 0, strictly increase and none is used twice": three."""
    tale = met()
    for _ in range(3):
        tale.send(ALICE, BOB)
    tale.burst(ALICE, BOB, [3, 4, 5])
    tale.send(ALICE, BOB)
    return tale


@holds("CTR-01")
def test_a_crash_explains_a_gap() -> Tale:
    """Claim: "a gap needs a crash between commit and hand-out to explain it": it was there."""
    tale = met()
    tale.send(ALICE, BOB)
    tale.send(ALICE, BOB, crash="after")
    tale.send(ALICE, BOB)
    return tale


@holds("CTR-01")
def test_a_crash_explains_a_gap_at_the_start_of_a_chain() -> Tale:
    """Claim: "a gap needs a crash ... to explain it": the first message of a chain was lost, so nobody saw the chain
    before.
    """
    tale = Tale().establish(ALICE, BOB)
    tale.send(ALICE, BOB, crash="after")
    tale.send(ALICE, BOB)
    return tale


@breaks("CTR-01", says="counter 0 again, 1 was due")
def test_a_counter_is_used_twice() -> Tale:
    """Claim: "none is used twice": one is."""
    tale = met()
    tale.send(ALICE, BOB)
    tale.send(ALICE, BOB, header={"counter": 0})
    return tale


@breaks("CTR-01", says="counter 2 skips 1")
def test_a_gap_without_a_crash() -> Tale:
    """Claim: "a gap needs a crash": there was none."""
    tale = met()
    tale.send(ALICE, BOB)
    tale.send(ALICE, BOB, header={"counter": 2})
    return tale


@breaks("CTR-01", says="counter 1 skips 0")
def test_a_chain_does_not_start_at_0() -> Tale:
    """Claim: "the counters start at 0": they start at 1."""
    tale = met()
    tale.send(ALICE, BOB, header={"counter": 1})
    return tale


@breaks("CTR-01", "CTR-02", says="counter 3 skips 1")
def test_one_crash_explains_one_missing_counter() -> Tale:
    """Claim: "a gap needs a crash": one crash explains one missing message, not two."""
    tale = met()
    tale.send(ALICE, BOB)
    tale.send(ALICE, BOB, crash="after")
    tale.send(ALICE, BOB, header={"counter": 3})
    return tale


@breaks("CTR-01", "CTR-02", says="counter 2 skips 1")
def test_a_crash_in_receiving_explains_no_gap() -> Tale:
    """Claim: "a crash between commit and hand-out": of a message sent. One while receiving spends no counter."""
    tale = met()
    tale.send(ALICE, BOB)
    tale.deliver(tale.send(BOB, ALICE), crash="before")
    tale.send(ALICE, BOB, header={"counter": 2})
    return tale


@breaks("CTR-01", says="counter 1 again, 3 was due", earlier=True)
def test_a_burst_uses_a_counter_twice() -> Tale:
    """Claim: "none is used twice": one is, in the middle of a burst."""
    return met().burst(ALICE, BOB, [0, 1, 2, 1])


# -- CTR-02 -----------------------------------------------------------------------------------------------------------


@holds("CTR-02")
def test_counters_survive_a_restart() -> Tale:
    """Claim: "CTR-01 holds across crash and restart": the chain goes on where it was."""
    tale = met()
    tale.send(ALICE, BOB)
    tale.restart(ALICE)
    tale.send(ALICE, BOB)
    tale.send(ALICE, BOB, crash="before")
    tale.send(ALICE, BOB)
    return tale


@holds("CTR-02", reached=False)
def test_a_restart_of_another_says_nothing() -> Tale:
    """Claim: "... across crash and restart": of the sender."""
    tale = met()
    tale.send(ALICE, BOB)
    tale.restart(BOB)
    tale.send(ALICE, BOB)
    return tale


@breaks("CTR-02", "CTR-01", says="counter 0 again, 1 was due")
def test_a_restart_sets_a_counter_back() -> Tale:
    """Claim: "CTR-01 holds across ... restart": the counter was kept in memory only."""
    tale = met()
    tale.send(ALICE, BOB)
    tale.restart(ALICE)
    tale.send(ALICE, BOB, header={"counter": 0})
    return tale


@breaks("CTR-02", "CTR-01", says="counter 0 again, 1 was due")
def test_a_crash_sets_a_counter_back() -> Tale:
    """Claim: "CTR-01 holds across crash": a message was handed out before its counter was stored."""
    tale = met()
    tale.send(ALICE, BOB)
    tale.deliver(tale.send(BOB, ALICE), crash="before")
    tale.send(ALICE, BOB, header={"counter": 0})
    return tale


# -- CTR-03 -----------------------------------------------------------------------------------------------------------


@holds("CTR-03")
def test_a_repeat_is_refused() -> Tale:
    """Claim: "Every message is delivered at most once; a repeat is refused"."""
    tale = met()
    message = tale.send(ALICE, BOB)
    return tale.deliver(message).deliver(message, code="duplicate-message").replay(message, code="duplicate-message")


@breaks("CTR-03", says="was delivered before", earlier=True)
def test_a_repeat_is_delivered() -> Tale:
    """Claim: "Every message is delivered at most once": it was delivered twice."""
    tale = met()
    message = tale.send(ALICE, BOB)
    return tale.deliver(message).deliver(message)


@breaks("CTR-03", says="wrong reason")
def test_a_repeat_is_refused_for_another_reason() -> Tale:
    """A repeat on a chain that is kept is known for one: another reason says that it was not looked for."""
    tale = met()
    message = tale.send(ALICE, BOB)
    return tale.deliver(message).replay(message, code="invalid-key")


@breaks("CTR-03", "IDC-03", says="was delivered before")
def test_a_repeat_is_delivered_after_divergence() -> Tale:
    """Claim: "at most once": judged from the history alone, also where the model has lost track of the target."""
    tale = Tale().forge(ALICE, BOB, "bad-signature")
    message = tale.send(ALICE, BOB)
    return tale.deliver(message).deliver(message)


# -- CTR-04 -----------------------------------------------------------------------------------------------------------


@holds("CTR-04")
def test_the_window_is_kept() -> Tale:
    """Claim: "Messages within the window are accepted in any order; beyond it they are refused": a jump of 3 is
    allowed.
    """
    tale = met()
    sent = [tale.send(ALICE, BOB) for _ in range(5)]
    tale.deliver(sent[4], code="too-far-ahead").deliver(sent[3])
    # Two keys are kept in a chain: the oldest of the three that were skipped is gone.
    return tale.deliver(sent[2]).deliver(sent[1]).deliver(sent[0], code="duplicate-message").deliver(sent[4])


@breaks("CTR-04", says="refused (duplicate-message); expected to be accepted")
def test_a_message_within_the_window_is_refused() -> Tale:
    """Claim: "Messages within the window are accepted in any order": one that came late is refused."""
    tale = met()
    first, second = tale.send(ALICE, BOB), tale.send(ALICE, BOB)
    return tale.deliver(second).deliver(first, code="duplicate-message")


@breaks("CTR-04", says="accepted; expected a refusal: too-far-ahead")
def test_a_message_beyond_the_window_is_accepted() -> Tale:
    """Claim: "beyond it they are refused": a jump of 4 is accepted."""
    tale = met()
    sent = [tale.send(ALICE, BOB) for _ in range(5)]
    return tale.deliver(sent[4])


@breaks("CTR-04", says="accepted; expected a refusal: duplicate-message")
def test_a_key_outside_the_window_is_still_kept() -> Tale:
    """Claim: "beyond it they are refused": more keys are kept than the target declares, and the oldest still serves."""
    tale = met(level=Observe.WIRE)
    sent = [tale.send(ALICE, BOB) for _ in range(4)]
    return tale.deliver(sent[3]).deliver(sent[0])


# -- CTR-05 -----------------------------------------------------------------------------------------------------------


@holds("CTR-05")
def test_a_refusal_changes_nothing() -> Tale:
    """Claim: "A refused operation leaves the stored state as it was"."""
    tale = met()
    return tale.tamper(tale.send(ALICE, BOB), "mac", code="bad-mac")


@breaks("CTR-05", says="refused (bad-mac), yet the state changed")
def test_a_refusal_changes_the_state() -> Tale:
    """Claim: "A refused operation leaves the stored state as it was": the ratchet moved before the MAC was checked."""
    tale = met()
    return tale.tamper(tale.send(ALICE, BOB), "mac", code="bad-mac", changes=True)


@breaks("CTR-05")
def test_a_refused_bundle_changes_the_state() -> Tale:
    """Claim: "A refused operation": of any kind."""
    return Tale().forge(ALICE, BOB, "bad-signature", code="invalid-signature", changes=True)


# -- CTR-06 -----------------------------------------------------------------------------------------------------------


def _without_one_time() -> Tale:
    """m0 from Alice built a session with Bob without a one-time prekey."""
    tale = Tale().establish(ALICE, BOB, one_time=False)
    return tale.deliver(tale.send(ALICE, BOB))


def _forgotten() -> Tale:
    """As before; then two more sessions pushed that one out of Bob's archive."""
    tale = _without_one_time()
    for _ in range(2):
        tale.establish(ALICE, BOB)
        tale.deliver(tale.send(ALICE, BOB))
    return tale


@holds("CTR-06")
def test_a_replayed_prekey_message_is_refused() -> Tale:
    """Claim: "A replayed prekey message creates no second session and delivers no second plaintext": its session is
    known.
    """
    return _without_one_time().replay(0, code="duplicate-message")


@holds("CTR-06")
def test_a_replayed_prekey_message_is_refused_after_its_session_is_gone() -> Tale:
    """Claim: "A replayed prekey message creates no second session": its base key is remembered, its session is not."""
    return _forgotten().replay(0, code="replayed-prekey-message")


@breaks("CTR-06", "CTR-03", says="accepted")
def test_a_replayed_prekey_message_is_delivered() -> Tale:
    """Claim: "delivers no second plaintext": it does, and CTR-03 says so too."""
    return _without_one_time().replay(0)


@breaks("CTR-06", "CTR-03", says="accepted")
def test_a_replayed_prekey_message_makes_a_second_session() -> Tale:
    """Claim: "creates no second session": nothing remembered its base key."""
    return _forgotten().replay(0)


@breaks("CTR-06", says="wrong reason")
def test_a_replayed_prekey_message_is_refused_by_chance() -> Tale:
    """The base key of a message without a one-time prekey must be remembered: a bad MAC would be chance."""
    return _forgotten().replay(0, code="bad-mac")


# -- CTR-07 -----------------------------------------------------------------------------------------------------------


def _two_sessions() -> Tale:
    """Alice and Bob talked on one session; m2 of it is late; on a second one, m3 and m4 went each way."""
    tale = met()
    late = tale.send(ALICE, BOB)
    assert late == 2
    tale.establish(ALICE, BOB)
    tale.deliver(tale.send(ALICE, BOB)).deliver(tale.send(BOB, ALICE))
    tale.deliver(tale.send(ALICE, BOB))
    return tale


def _one_more_on_each() -> Tale:
    """As before, m2 in a chain that Bob knows by now: late, it starts no new chain."""
    tale = met()
    first, late = tale.send(ALICE, BOB), tale.send(ALICE, BOB)
    tale.deliver(first).deliver(tale.send(BOB, ALICE))
    tale.establish(ALICE, BOB)
    tale.deliver(tale.send(ALICE, BOB)).deliver(tale.send(BOB, ALICE))
    assert late == 3
    return tale.deliver(late)


@holds("CTR-07")
def test_a_late_message_leaves_the_current_session() -> Tale:
    """Claim: "A late message of an older session never harms the current one: what is sent next goes on in it"."""
    tale = _one_more_on_each()
    tale.send(BOB, ALICE)
    return tale


@holds("CTR-07", reached=False)
def test_a_message_in_use_is_not_late() -> Tale:
    """A message that starts a new chain shows that the session is in use: it becomes the current one."""
    tale = _two_sessions().deliver(2)
    tale.send(BOB, ALICE)
    return tale


@breaks("CTR-07", "CNF-01", says="another session")
def test_a_late_message_takes_the_current_session() -> Tale:
    """Claim: "what is sent next goes on in it": it goes out on the older session, on the chain used there."""
    tale = _one_more_on_each()
    older = tale.history.events[3].header
    assert older is not None
    assert older.kind == "signal"
    tale.send(BOB, ALICE, header={"ratchet_key": older.ratchet_key, "counter": 1, "previous_counter": 0})
    return tale


# -- CTR-08 -----------------------------------------------------------------------------------------------------------


@holds("CTR-08")
def test_both_talk_in_the_end() -> Tale:
    """Claim: "Once the network delivers everything ... both decrypt within 10 rounds"."""
    tale = met().close()
    return tale.deliver(tale.send(ALICE, BOB)).deliver(tale.send(BOB, ALICE))


@holds("CTR-08")
def test_one_establishes_anew() -> Tale:
    """Claim: "each refused side establishes anew from a fresh bundle": then both decrypt."""
    tale = Tale().forge(ALICE, BOB, "swap-prekey")
    refused = tale.send(ALICE, BOB)
    tale.close().deliver(refused, code="bad-mac").establish(BOB, ALICE)
    return tale.deliver(tale.send(BOB, ALICE)).deliver(tale.send(ALICE, BOB))


@holds("CTR-08", reached=False)
def test_a_refusal_by_policy_is_excused() -> Tale:
    """A pair whose identity policy refuses the peer owes nothing."""
    tale = met().reinstall(BOB).establish(BOB, ALICE).close()
    for _ in range(3):
        tale.deliver(tale.send(BOB, ALICE), code="untrusted-identity")
    return tale


@holds("CTR-08", reached=False)
def test_without_a_closing_part_nothing_is_shown() -> Tale:
    """Claim: "Once the network delivers everything": it did not."""
    return met()


@breaks("CTR-08", "CTR-04", says="still hears nothing")
def test_one_side_stays_deaf() -> Tale:
    """Claim: "both decrypt within 10 rounds": one never does."""
    tale = met().close()
    tale.deliver(tale.send(ALICE, BOB))
    return tale.deliver(tale.send(BOB, ALICE), code="bad-mac")


@breaks("CTR-08", "CTR-04", says="still hears nothing")
def test_what_was_in_flight_does_not_count() -> Tale:
    """Claim: "Once the network delivers everything": both heard what had been sent before; what comes after is not
    heard.
    """
    tale = met()
    old = tale.send(BOB, ALICE)
    tale.close().deliver(old)
    tale.deliver(tale.send(ALICE, BOB))
    return tale.deliver(tale.send(BOB, ALICE), code="bad-mac")


@breaks("CTR-08", "CNF-01", says="still hears nothing")
def test_one_side_stays_mute() -> Tale:
    """Claim: "both decrypt within 10 rounds": one cannot even send, so the other hears nothing."""
    tale = met().close()
    tale.deliver(tale.send(ALICE, BOB))
    tale.send(BOB, ALICE, code="no-session")
    return tale
