"""Identity continuity, judged over histories written by hand: each holds on one and is violated on another."""

from __future__ import annotations

from dataclasses import replace

from pawl_spec.history import Outcome, Question, Strike
from tests.spec.histories import ABLE, ALICE, BOB, CAROL, Tale, breaks, holds, met, replaced

REPLACED = ("identity-replaced",)
FALLBACK = ("compatibility-used",)
KEY = "b0b0"

# -- IDC-01 -----------------------------------------------------------------------------------------------------------


@holds("IDC-01")
def test_another_identity_in_a_bundle_is_refused() -> Tale:
    """Claim: "Once an identity is pinned for a name, nothing is sent to ... that name under another identity":
    refused.
    """
    return met().reinstall(BOB).establish(ALICE, BOB, code="untrusted-identity")


@holds("IDC-01")
def test_another_identity_in_a_message_is_refused() -> Tale:
    """Claim: "... or accepted from that name under another identity": Bob's new device writes first and is refused."""
    tale = met().reinstall(BOB).establish(BOB, ALICE)
    return tale.deliver(tale.send(BOB, ALICE), code="untrusted-identity")


@holds("IDC-01", reached=False)
def test_a_decision_allows_it() -> Tale:
    """Claim: "... until a recorded decision allows it": after an approval nothing is at stake."""
    tale = replaced().establish(ALICE, BOB)
    return tale.deliver(tale.send(ALICE, BOB))


@breaks("IDC-01", says="accepted; expected a refusal: untrusted-identity")
def test_another_identity_in_a_bundle_is_taken() -> Tale:
    """Claim: "nothing is sent ... under another identity": it was taken silently."""
    return met().reinstall(BOB).establish(ALICE, BOB)


@breaks("IDC-01")
def test_another_identity_in_a_message_is_taken() -> Tale:
    """Claim: "nothing is ... accepted from that name under another identity": it was taken silently."""
    tale = met().reinstall(BOB).establish(BOB, ALICE)
    return tale.deliver(tale.send(BOB, ALICE))


@breaks("IDC-01")
def test_the_attackers_bundle_is_taken() -> Tale:
    """Claim: "nothing is sent to ... that name under another identity": the attacker's whole bundle is, for a known
    name.
    """
    return met().forge(ALICE, BOB, "attacker-bundle")


@breaks("IDC-01", says="refused for the wrong reason: bad-mac")
def test_another_identity_is_refused_for_another_reason() -> Tale:
    """A refusal for the wrong reason hides that the identity was not looked at."""
    return met().reinstall(BOB).establish(ALICE, BOB, code="bad-mac")


# -- IDC-02 -----------------------------------------------------------------------------------------------------------


@holds("IDC-02")
def test_an_unapproved_identity_is_refused() -> Tale:
    """Claim: "Without trust on first use, no session comes into being unless that very identity key was approved"."""
    tale = Tale(strict=[ALICE]).establish(ALICE, BOB, code="untrusted-identity").establish(BOB, ALICE)
    tale.deliver(tale.send(BOB, ALICE), code="untrusted-identity")
    return tale.approve(ALICE, BOB, told=REPLACED).establish(ALICE, BOB)


@breaks("IDC-02")
def test_an_unapproved_bundle_is_taken() -> Tale:
    """Claim: "no session comes into being unless ... approved": a bundle made one."""
    return Tale(strict=[ALICE]).establish(ALICE, BOB)


@breaks("IDC-02")
def test_an_unapproved_sender_is_heard() -> Tale:
    """Claim: "no session comes into being unless ... approved": a message made one."""
    tale = Tale(strict=[BOB]).establish(ALICE, BOB)
    return tale.deliver(tale.send(ALICE, BOB))


@breaks("IDC-02")
def test_another_identity_was_approved() -> Tale:
    """Claim: "that very identity key": Bob's former one was approved, his new one is not."""
    tale = Tale(strict=[ALICE]).approve(ALICE, CAROL)
    return tale.establish(ALICE, BOB)


# -- IDC-03 -----------------------------------------------------------------------------------------------------------


@holds("IDC-03")
def test_a_bad_signature_is_refused() -> Tale:
    """Claim: "A prekey bundle whose signed-prekey signature does not verify under the bundle's identity is refused"."""
    tale = Tale()
    for name in ("bad-signature", "short-signature", "swap-signed-prekey", "swap-identity"):
        tale.forge(ALICE, BOB, name, code="invalid-signature")
    return tale


@breaks("IDC-03")
def test_a_bad_signature_is_taken() -> Tale:
    """Claim: "... is refused": it was taken."""
    return Tale().forge(ALICE, BOB, "bad-signature")


@breaks("IDC-03")
def test_another_signed_prekey_is_taken() -> Tale:
    """Claim: "... is refused": a signed prekey that its owner never signed was taken."""
    return Tale().forge(ALICE, BOB, "swap-signed-prekey")


@breaks("IDC-03", says="wrong reason")
def test_a_bad_signature_is_refused_for_another_reason() -> Tale:
    """A refusal for the wrong reason hides that the signature was not looked at."""
    return Tale().forge(ALICE, BOB, "short-signature", code="invalid-key")


# -- IDC-04 -----------------------------------------------------------------------------------------------------------


def _three() -> Tale:
    """Alice talks with Bob and with Carol; m4 goes from Alice to Bob."""
    tale = met().establish(CAROL, ALICE)
    tale.deliver(tale.send(CAROL, ALICE))
    tale.deliver(tale.send(ALICE, CAROL))
    tale.send(ALICE, BOB)
    return tale


@holds("IDC-04")
def test_a_message_of_another_pair_is_refused() -> Tale:
    """Claim: "handed to another party, attributed to another sender ... it is refused"."""
    tale = _three()
    tale.redirect(4, to=CAROL, sender=ALICE, code="bad-mac")
    tale.redirect(4, to=ALICE, sender=BOB, code="bad-mac")
    return tale.redirect(4, to=BOB, sender=CAROL, code="no-session")


@holds("IDC-04")
def test_another_outer_identity_is_refused() -> Tale:
    """Claim: "or with another outer identity, it is refused": before the session is there, and after."""
    tale = Tale().establish(ALICE, BOB)
    first, second = tale.send(ALICE, BOB), tale.send(ALICE, BOB)
    tale.tamper(first, "identity-key", choice=0, code="bad-mac").deliver(first)
    return tale.tamper(second, "identity-key", choice=1, code="untrusted-identity")


@breaks("IDC-04")
def test_a_message_of_another_pair_is_taken() -> Tale:
    """Claim: "handed to another party ... it is refused": Carol took what was sent to Bob."""
    return _three().redirect(4, to=CAROL, sender=ALICE)


@breaks("IDC-04")
def test_another_outer_identity_is_taken() -> Tale:
    """Claim: "with another outer identity, it is refused": on a known session the outer identity was not compared."""
    tale = Tale().establish(ALICE, BOB)
    first, second = tale.send(ALICE, BOB), tale.send(ALICE, BOB)
    return tale.deliver(first).tamper(second, "identity-key")


# -- IDC-05 -----------------------------------------------------------------------------------------------------------


@holds("IDC-05")
def test_weak_keys_in_a_bundle_are_refused() -> Tale:
    """Claim: "Public keys that give an all-zero shared secret, or are of the wrong length or type, are refused"."""
    tale = Tale()
    for name in ("low-order-signed-prekey", "low-order-prekey", "key-type"):
        tale.forge(ALICE, BOB, name, code="invalid-key")
    return tale


@holds("IDC-05")
def test_weak_keys_in_a_message_are_refused() -> Tale:
    """Claim: "Public keys that give an all-zero shared secret ... are refused": in each place of a message."""
    tale = Tale().establish(ALICE, BOB)
    message = tale.send(ALICE, BOB)
    for name in ("low-order-identity", "low-order-base-key", "low-order-ratchet-key"):
        tale.tamper(message, name, code="invalid-key")
    return tale.deliver(message)


@breaks("IDC-05")
def test_a_weak_prekey_is_taken() -> Tale:
    """Claim: "... are refused": a one-time prekey of small order was taken."""
    return Tale().forge(ALICE, BOB, "low-order-prekey")


@breaks("IDC-05")
def test_a_weak_ratchet_key_is_taken() -> Tale:
    """Claim: "... are refused": a ratchet key of small order was taken."""
    tale = met()
    return tale.tamper(tale.send(ALICE, BOB), "low-order-ratchet-key")


# -- IDC-06 -----------------------------------------------------------------------------------------------------------


@holds("IDC-06")
def test_junk_locks_nobody_out() -> Tale:
    """Claim: "A received identity is pinned only after the message that carried it was authenticated": the sender gets
    through.
    """
    tale = Tale().establish(ALICE, BOB)
    message = tale.send(ALICE, BOB)
    return tale.tamper(message, "identity-key", code="bad-mac").deliver(message)


@holds("IDC-06", reached=False)
def test_without_junk_nothing_is_shown() -> Tale:
    """An undisturbed conversation says nothing about when identities are pinned."""
    return met()


@breaks("IDC-06", says="refused (untrusted-identity)")
def test_junk_locks_the_sender_out() -> Tale:
    """Claim: "junk that came before locks nobody out": the attacker's identity was pinned by a message that was
    refused.
    """
    tale = Tale().establish(ALICE, BOB)
    message = tale.send(ALICE, BOB)
    return tale.tamper(message, "identity-key", code="bad-mac").deliver(message, code="untrusted-identity")


# -- IDC-08 -----------------------------------------------------------------------------------------------------------


@holds("IDC-08")
def test_sessions_of_a_replaced_identity_are_retired() -> Tale:
    """Claim: "After an identity was replaced by decision, sessions made under the old one neither encrypt nor
    decrypt".
    """
    tale = met()
    late = tale.send(BOB, ALICE)
    tale.reinstall(BOB).approve(ALICE, BOB, told=REPLACED).deliver(late, code="no-session")
    tale.send(ALICE, BOB, code="no-session")
    return tale


@holds("IDC-08")
def test_a_prekey_message_of_a_retired_session_is_refused() -> Tale:
    """Claim: "... neither encrypt nor decrypt": nor does a prekey message bring its session back."""
    tale = Tale().establish(BOB, ALICE)
    first, late = tale.send(BOB, ALICE), tale.send(BOB, ALICE)
    return (
        tale.deliver(first).reinstall(BOB).approve(ALICE, BOB, told=REPLACED).deliver(late, code="untrusted-identity")
    )


@breaks("IDC-08")
def test_a_retired_session_encrypts() -> Tale:
    """Claim: "... neither encrypt": it did."""
    tale = replaced()
    tale.send(ALICE, BOB)
    return tale


@breaks("IDC-08")
def test_a_retired_session_decrypts() -> Tale:
    """Claim: "... nor decrypt": it did."""
    tale = met()
    late = tale.send(BOB, ALICE)
    return tale.reinstall(BOB).approve(ALICE, BOB, told=REPLACED).deliver(late)


@breaks("IDC-08")
def test_a_retired_session_decrypts_a_prekey_message() -> Tale:
    """Claim: "... nor decrypt": its base key was known, and that was enough."""
    tale = Tale().establish(BOB, ALICE)
    first, late = tale.send(BOB, ALICE), tale.send(BOB, ALICE)
    return tale.deliver(first).reinstall(BOB).approve(ALICE, BOB, told=REPLACED).deliver(late)


@holds("IDC-08")
def test_a_target_without_events_tells_nothing() -> Tale:
    """Claim: "... and an event says so": a target that declares no events is not asked for one."""
    tale = met(can=ABLE - {"events"}).reinstall(BOB).approve(ALICE, BOB)
    tale.send(ALICE, BOB, code="no-session")
    return tale


@breaks("IDC-08", says="no event 'identity-replaced'")
def test_a_replacement_is_silent() -> Tale:
    """Claim: "... and an event says so": none did."""
    return met().reinstall(BOB).approve(ALICE, BOB)


# -- IDC-07 -----------------------------------------------------------------------------------------------------------


def asked(callback: str, name: str = "bob", key: str = KEY) -> dict[str, object]:
    """A trust question about the identity that was claimed."""
    return {"asked": (Question(callback, name, key),), "claimed": KEY}


@holds("IDC-07")
def test_a_question_is_about_the_peer() -> Tale:
    """Claim: "asked under one canonical name everywhere": for a bundle, and for a message of the new identity."""
    tale = Tale().callback(ALICE, "first-use", "approve").callback(ALICE, "mismatch", "replace")
    tale.establish(ALICE, BOB, struck=(Strike("first-use", "approve"),), **asked("first-use"))
    tale.reinstall(BOB).establish(BOB, ALICE)
    first = tale.send(BOB, ALICE)
    return tale.deliver(first, struck=(Strike("mismatch", "replace"),), told=REPLACED, **asked("mismatch"))


@breaks("IDC-07", says="asked under the name 'bob.1'")
def test_a_question_under_another_name() -> Tale:
    """Claim: "one canonical name": a pin under one does not protect the other."""
    tale = Tale().callback(ALICE, "first-use", "approve")
    return tale.establish(ALICE, BOB, struck=(Strike("first-use", "approve"),), **asked("first-use", name="bob.1"))


@breaks("IDC-07", says="about the key a11c")
def test_a_question_about_another_key() -> Tale:
    """Claim: "and the key that claims to be its"."""
    tale = Tale().callback(ALICE, "first-use", "approve")
    return tale.establish(ALICE, BOB, struck=(Strike("first-use", "approve"),), **asked("first-use", key="a11ce"))


@breaks("IDC-02", says="accepted without the question 'first-use'")
def test_a_callback_that_is_not_asked() -> Tale:
    """Claim of IDC-02: "where the application decides, it is asked"."""
    return Tale().callback(ALICE, "first-use", "approve").establish(ALICE, BOB)


@breaks("IDC-06", says="asked about an identity that nothing authenticates")
def test_a_question_about_junk() -> Tale:
    """Claim of IDC-06: "only after the message that carried it was authenticated": the user was asked about junk."""
    tale = met().callback(ALICE, "mismatch", "reject").reinstall(BOB).establish(BOB, ALICE)
    first = tale.send(BOB, ALICE)
    return tale.tamper(first, "mac", code="bad-mac", struck=(Strike("mismatch", "reject"),), **asked("mismatch"))


# -- IDC-09 -----------------------------------------------------------------------------------------------------------


@holds("IDC-09")
def test_no_fallback_unless_chosen() -> Tale:
    """Claim: "used only where their option was switched on": id 0 is unknown, and a key has a type byte."""
    tale = Tale().establish(ALICE, BOB, one_time=False)
    first = tale.send(ALICE, BOB)
    tale.tamper(first, "prekey-id-zero", prekey_id=0, code="unknown-prekey")
    return tale.tamper(first, "untyped-base-key", code="invalid-key")


@holds("IDC-09")
def test_a_chosen_fallback_says_so() -> Tale:
    """Claim: "each use emits an event"; without the option, the message has another meaning."""
    tale = Tale().compatible(BOB, "prekey-id-zero").establish(ALICE, BOB, one_time=False)
    return tale.tamper(tale.send(ALICE, BOB), "prekey-id-zero", prekey_id=0, told=FALLBACK)


@holds("IDC-09")
def test_a_fallback_that_does_not_matter_says_nothing() -> Tale:
    """Where the session is known the id is not looked at: no use, no event needed."""
    tale = Tale().compatible(BOB, "all").establish(ALICE, BOB, one_time=False)
    first, second = tale.send(ALICE, BOB), tale.send(ALICE, BOB)
    tale.deliver(first).tamper(second, "prekey-id-zero", prekey_id=0)
    return tale.tamper(tale.send(ALICE, BOB), "untyped-identity-key", told=FALLBACK)


@breaks("IDC-09")
def test_a_fallback_that_nobody_chose() -> Tale:
    """Claim: "only where their option was switched on": the id 0 was taken for none."""
    tale = Tale().establish(ALICE, BOB, one_time=False)
    return tale.tamper(tale.send(ALICE, BOB), "prekey-id-zero", prekey_id=0)


@breaks("IDC-09", says="no event 'compatibility-used'")
def test_a_silent_fallback() -> Tale:
    """Claim: "each use emits an event": none did."""
    tale = Tale().compatible(BOB, "untyped-keys").establish(ALICE, BOB)
    return tale.tamper(tale.send(ALICE, BOB), "untyped-base-key")


@breaks("IDC-09", says="a fallback was used that nobody switched on")
def test_a_fallback_after_its_end() -> Tale:
    """Claim: "only where their option was switched on": it was switched off again."""
    tale = Tale().compatible(BOB, "all").compatible(BOB, "none").establish(ALICE, BOB)
    return tale.deliver(tale.send(ALICE, BOB), told=FALLBACK)


@breaks("IDC-09", says="refused (invalid-key); expected to be accepted")
def test_a_chosen_fallback_is_there() -> Tale:
    """A peer that needs the option is understood."""
    return Tale().compatible(ALICE, "untyped-keys").forge(ALICE, BOB, "untyped-prekey", code="invalid-key")


# -- IDC-10 -----------------------------------------------------------------------------------------------------------


@holds("IDC-10")
def test_a_callback_that_raises_refuses() -> Tale:
    """Claim: "what it had to decide is refused": a first use is not approved, and nothing changed."""
    tale = Tale().callback(ALICE, "first-use", "raise")
    what = {"code": "untrusted-identity", "struck": (Strike("first-use", "raise"),)}
    tale.establish(ALICE, BOB, **what, **asked("first-use"))
    # The next question is answered as the policy does without a callback.
    return tale.establish(ALICE, BOB, **asked("first-use"))


@holds("IDC-10")
def test_a_hook_that_raises_rolls_back() -> Tale:
    """Claim: "leaves the state whole": the plaintext could not be stored, so the message was not read; then it is."""
    tale = met().callback(BOB, "plaintext", "raise")
    message = tale.send(ALICE, BOB)
    tale.deliver(message, code="callback-failed", struck=(Strike("plaintext", "raise"),))
    return tale.replay(message)


@holds("IDC-10")
def test_a_hook_that_answers_rolls_back() -> Tale:
    """Claim: "answers nonsense": a hook answers nothing; what it returns may be a step that nobody takes."""
    tale = met().callback(BOB, "plaintext", "nonsense")
    message = tale.send(ALICE, BOB)
    tale.deliver(message, code="callback-failed", struck=(Strike("plaintext", "nonsense"),))
    return tale.replay(message)


@breaks("IDC-10", says="accepted")
def test_a_hook_whose_answer_is_not_looked_at() -> Tale:
    """Claim: "answers nonsense ...: what it had to decide is refused": the message was read all the same."""
    tale = met().callback(BOB, "plaintext", "nonsense")
    return tale.deliver(tale.send(ALICE, BOB), struck=(Strike("plaintext", "nonsense"),))


@holds("IDC-10")
def test_an_event_callback_that_raises_changes_nothing() -> Tale:
    """Claim: "everything else goes on"."""
    tale = Tale().callback(ALICE, "event", "raise")
    return tale.establish(ALICE, BOB, struck=(Strike("event", "raise"),))


def sends_inside(counter: int) -> Tale:
    """An event callback of Alice's sends a message after one of her own, and then she sends again."""
    tale = met().callback(ALICE, "event", "call-encrypt")
    tale.send(ALICE, BOB)
    first = tale.last.header
    assert first is not None
    strike = Strike("event", "call-encrypt", peer=BOB, sent=replace(first, counter=counter))
    tale.establish(BOB, ALICE)
    back = tale.send(BOB, ALICE)
    tale.tamper(back, "mac", code="bad-mac", struck=(strike,))
    tale.send(ALICE, BOB)
    return tale


@holds("IDC-10")
def test_a_callback_that_sends() -> Tale:
    """Claim: "calls back into the library": what it sent counts, and its counter is used up."""
    return sends_inside(1)


@breaks("CTR-01", earlier=True, says="counter 0 again")
def test_a_callback_that_sends_with_a_used_key() -> Tale:
    """Claim of CTR-01, inside a callback too: the state that the callback saw was an old one."""
    return sends_inside(0)


def trusts_inside(after: str) -> Tale:
    """Alice is asked about Bob's identity, and her callback pins it itself before it answers."""
    strike = Strike("first-use", "call-trust", peer=BOB, before="as it was", after=after)
    tale = Tale().callback(ALICE, "first-use", "call-trust")
    return tale.establish(ALICE, BOB, struck=(strike,), **asked("first-use"))


@holds("IDC-10")
def test_a_callback_that_pins() -> Tale:
    """Claim: "calls back into the library": what it did there is done."""
    return trusts_inside("pinned")


@breaks("IDC-10", says="was kept out")
def test_a_callback_that_is_kept_out() -> Tale:
    """Claim: "calls back into the library": asked while the store is held, it waits in vain."""
    return trusts_inside("as it was")


@breaks("IDC-10", "PAR-01", says="the callback (first-use: raise) ended it")
def test_a_callbacks_exception_comes_out() -> Tale:
    """Claim: "a callback that raises": its exception is no refusal."""
    tale = Tale().callback(ALICE, "first-use", "raise")
    return tale.establish(ALICE, BOB, died=Outcome.DIED, struck=(Strike("first-use", "raise"),))


@breaks("IDC-10", "CTR-05", says="yet the state changed")
def test_a_callback_leaves_half_a_step() -> Tale:
    """Claim: "leaves the state whole": the session was stored before the hook ran."""
    tale = met().callback(BOB, "plaintext", "raise")
    message = tale.send(ALICE, BOB)
    return tale.deliver(message, code="callback-failed", struck=(Strike("plaintext", "raise"),), changes=True)


@breaks("IDC-10", "IDC-02", says="accepted")
def test_nonsense_is_taken_for_a_yes() -> Tale:
    """Claim: "answers nonsense": anything but a plain yes is a no."""
    tale = Tale().callback(ALICE, "first-use", "nonsense")
    return tale.establish(ALICE, BOB, struck=(Strike("first-use", "nonsense"),), **asked("first-use"))
