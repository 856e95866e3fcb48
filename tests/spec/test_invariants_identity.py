"""Identity continuity, judged over histories written by hand: each holds on one and is violated on another."""

from __future__ import annotations

from tests.spec.histories import ALICE, BOB, CAROL, Tale, breaks, holds, met, replaced

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
    return tale.approve(ALICE, BOB).establish(ALICE, BOB)


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
    tale.reinstall(BOB).approve(ALICE, BOB).deliver(late, code="no-session")
    tale.send(ALICE, BOB, code="no-session")
    return tale


@holds("IDC-08")
def test_a_prekey_message_of_a_retired_session_is_refused() -> Tale:
    """Claim: "... neither encrypt nor decrypt": nor does a prekey message bring its session back."""
    tale = Tale().establish(BOB, ALICE)
    first, late = tale.send(BOB, ALICE), tale.send(BOB, ALICE)
    return tale.deliver(first).reinstall(BOB).approve(ALICE, BOB).deliver(late, code="untrusted-identity")


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
    return tale.reinstall(BOB).approve(ALICE, BOB).deliver(late)


@breaks("IDC-08")
def test_a_retired_session_decrypts_a_prekey_message() -> Tale:
    """Claim: "... nor decrypt": its base key was known, and that was enough."""
    tale = Tale().establish(BOB, ALICE)
    first, late = tale.send(BOB, ALICE), tale.send(BOB, ALICE)
    return tale.deliver(first).reinstall(BOB).approve(ALICE, BOB).deliver(late)
