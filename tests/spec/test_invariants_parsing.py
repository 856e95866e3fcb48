"""Parsing, judged over histories written by hand: each holds on one and is violated on another."""

from __future__ import annotations

import pytest

from pawl_spec.history import Damaged, Outcome
from pawl_spec.trace import JUNK
from tests.spec.histories import ALICE, BOB, Tale, breaks, broken, holds, met

STRICT = ("duplicate-field", "overlong-varint", "wrong-wire-type", "outer-duplicate-field", "outer-overlong-varint")
TOLERATED = ("reorder-fields", "outer-unknown-field", "registration-id")


def _first() -> Tale:
    """m0 from Alice, a prekey message, is on its way."""
    tale = Tale().establish(ALICE, BOB)
    tale.send(ALICE, BOB)
    return tale


# -- PAR-01 -----------------------------------------------------------------------------------------------------------


@holds("PAR-01")
def test_any_bytes_are_refused() -> Tale:
    """Claim: "Any byte string is either a valid message or a typed refusal"."""
    tale = _first().tamper(0, "truncate", code="malformed-message").tamper(0, "trailing-byte", code="bad-mac")
    for what in JUNK:
        tale.inject(BOB, ALICE, what, code="malformed-message")
    return tale.deliver(0)


@breaks("PAR-01", says="died: IndexError")
def test_an_empty_message_kills() -> Tale:
    """Claim: "never another exception, a hang or an end of the program": another exception."""
    return met().inject(ALICE, BOB, "empty", died=Outcome.DIED)


@breaks("PAR-01", says="hung")
def test_a_message_hangs() -> Tale:
    """Claim: "never ... a hang": one."""
    return met().inject(ALICE, BOB, "huge-length", died=Outcome.HUNG)


@breaks("PAR-01", earlier=True)
def test_a_death_is_not_a_silence_too() -> Tale:
    """A target that died in the closing part is not blamed once more (CTR-08) for saying nothing."""
    tale = met().close()
    tale.deliver(tale.send(ALICE, BOB))
    return tale.deliver(tale.send(BOB, ALICE), died=Outcome.DIED)


@breaks("PAR-01", says="accepted")
def test_a_truncated_message_is_accepted() -> Tale:
    """Claim: "either a valid message": half of one is none."""
    return _first().tamper(0, "truncate", choice=20)


@breaks("PAR-01", says="wrong reason: internal-error")
def test_a_refusal_that_means_nothing() -> Tale:
    """Claim: "a typed refusal": one that says what was wrong with the bytes."""
    return met().inject(ALICE, BOB, "empty", code="internal-error")


@holds("PAR-01")
def test_codes_of_its_own_cannot_be_compared() -> Tale:
    """A target that has codes of its own says "unknown": the refusal counts, its reason does not."""
    return met().inject(ALICE, BOB, "empty", code="unknown")


# -- PAR-02 -----------------------------------------------------------------------------------------------------------


@holds("PAR-02")
def test_encodings_are_strict() -> Tale:
    """Claim: "repeated singular fields, overlong varints and wrong wire types are refused"."""
    tale = _first()
    for name in STRICT:
        tale.tamper(0, name, code="malformed-message")
    return tale


@pytest.mark.parametrize("name", STRICT)
def test_a_lax_encoding_is_accepted(name: str) -> None:
    """Claim: "repeated singular fields, overlong varints and wrong wire types are refused": one is not."""
    assert broken(_first().tamper(0, name)) == {"PAR-02"}


@pytest.mark.parametrize("name", TOLERATED)
def test_tolerated_encodings(name: str) -> None:
    """Claim: "any field order and unknown fields are accepted"; nor does the protocol authenticate the registration
    id.
    """
    assert broken(_first().tamper(0, name)) == set()
    assert broken(_first().tamper(0, name, code="malformed-message")) == {"PAR-02"}


@breaks("PAR-02", says="not in canonical form")
def test_what_is_written_is_not_canonical() -> Tale:
    """Claim: "What is written is canonical": it is not."""
    tale = met()
    tale.send(ALICE, BOB, canonical=False)
    return tale


# -- PAR-04 -----------------------------------------------------------------------------------------------------------


@holds("PAR-04")
def test_versions_are_authenticated() -> Tale:
    """Claim: "The version byte received is the one authenticated, and a prekey message's outer version equals the
    inner".
    """
    tale = (
        _first().tamper(0, "version", choice=0, code="bad-mac").tamper(0, "version", choice=2, code="unknown-version")
    )
    return tale.tamper(0, "outer-version", choice=2, code="unknown-version")


@breaks("PAR-04", says="accepted")
def test_another_version_byte_is_accepted() -> Tale:
    """Claim: "The version byte received is the one authenticated": another byte was."""
    tale = met()
    return tale.tamper(tale.send(ALICE, BOB), "version")


@breaks("PAR-04", says="accepted")
def test_another_outer_version_is_accepted() -> Tale:
    """Claim: "a prekey message's outer version equals the inner": 4 outside, 3 inside."""
    return _first().tamper(0, "outer-version", choice=2)


# -- PAR-03: 100,000 bytes of memory are stated -----------------------------------------------------------------------


@holds("PAR-03")
def test_missing_fields_are_refused() -> Tale:
    """Claim: "each field has one stated behaviour when it is missing": the ratchet key is required, the registration id
    is 0.
    """
    tale = _first().tamper(0, "drop-ratchet-key", code="malformed-message", seen={"memory": 100_000})
    return tale.tamper(0, "drop-registration-id")


@breaks("PAR-03", says="accepted")
def test_a_required_field_is_not_needed() -> Tale:
    """Claim: "one stated behaviour": a message without its identity key was read."""
    return _first().tamper(0, "drop-identity-key")


@breaks("PAR-03", says="refused (malformed-message); expected to be accepted")
def test_an_optional_field_is_required() -> Tale:
    """Claim: "one stated behaviour": the registration id may be missing."""
    return _first().tamper(0, "drop-registration-id", code="malformed-message")


@breaks("PAR-03", says="100001 bytes of memory, at most 100000 are stated")
def test_memory_for_what_is_not_there() -> Tale:
    """Claim: "before anything of that size is allocated"."""
    return met().inject(BOB, ALICE, "huge-length", code="malformed-message", seen={"memory": 100_001})


# -- PAR-05 -----------------------------------------------------------------------------------------------------------


def tried(*, read: bool = True, outcome: Outcome = Outcome.REFUSED, code: str | None, kept: bool = True) -> Tale:
    """A message was sent, after a trial on damaged records that ended so."""
    tale = met()
    tale.send(ALICE, BOB, damaged=Damaged(read, outcome, code, kept))
    return tale


@holds("PAR-05")
def test_a_damaged_record_is_refused() -> Tale:
    """Claim: "a damaged record that is read is refused by name, and stays as it is"; a key that is too long too."""
    return tried(code="corrupt-store").forge(ALICE, BOB, "long-key", code="invalid-key")


@holds("PAR-05", reached=False)
def test_a_damaged_record_that_nobody_reads() -> Tale:
    """Claim: "that is read": this one was not."""
    return tried(read=False, outcome=Outcome.DONE, code=None)


@breaks("PAR-05", says="a damaged record was read: done")
def test_a_damaged_record_is_read() -> Tale:
    """Claim: "is refused"."""
    return tried(outcome=Outcome.DONE, code=None)


@holds("PAR-05")
def test_a_damaged_session_is_forgotten() -> Tale:
    """What is forgotten is deleted unread: a damaged session can be got rid of."""
    return met().forget(ALICE, BOB, damaged=Damaged(True, Outcome.DONE, None, False))


@breaks("PAR-05", says="a damaged record was read: done")
def test_a_damaged_session_is_forgotten_and_stays() -> Tale:
    """It was not deleted, so it was taken for none."""
    return met().forget(ALICE, BOB, damaged=Damaged(True, Outcome.DONE, None, True))


@breaks("PAR-05", says="a damaged record was read: died ValueError")
def test_a_damaged_record_ends_the_program() -> Tale:
    """Claim: "refused by name"."""
    return tried(outcome=Outcome.DIED, code="ValueError")


@breaks("PAR-05", says="refused for the wrong reason: no-session")
def test_a_damaged_record_is_taken_for_none() -> Tale:
    """Claim: "refused by name": the session was taken for absent."""
    return tried(code="no-session")


@breaks("PAR-05", says="overwritten")
def test_a_damaged_record_is_overwritten() -> Tale:
    """Claim: "stays as it is"."""
    return tried(code="corrupt-store", kept=False)


@breaks("PAR-05", says="accepted")
def test_a_long_key_is_cut() -> Tale:
    """Claim: "bundles are parsed as strictly as messages"."""
    return Tale().forge(ALICE, BOB, "long-key")
