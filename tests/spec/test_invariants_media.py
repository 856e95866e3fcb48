"""Media, judged over histories written by hand: each holds on one and is violated on another."""

from __future__ import annotations

import pytest

from pawl_spec.history import Medium, Outcome
from tests.spec.histories import ALICE, BOB, Tale, breaks, holds, met

REFUSALS = {
    "ATM-03": {"no-transactions": "non-atomic-store"},
    "ATM-06": {
        "flip-bit": "corrupt-record",
        "cut-short": "corrupt-record",
        "file-emptied": "corrupt-store",
        "file-cut": "corrupt-store",
        "file-overwritten": "corrupt-store",
    },
    "ATM-07": {
        "newer-record": "unsupported-schema",
        "newer-file": "unsupported-schema",
        "older-file": "unsupported-schema",
    },
    "ATM-08": dict.fromkeys(("another-key", "another-store", "another-version"), "corrupt-record"),
}
"""What docs/reference/stored-records.md and docs/how-to/choose-a-store.md say that each is refused as."""

WORKS = {"ATM-03": "no-transactions-allowed", "ATM-07": "older-file-migrated"}

CASES = [(id_, how, code) for id_, hows in REFUSALS.items() for how, code in hows.items()]


def tried(
    how: str,
    *,
    read: bool = True,
    outcome: Outcome = Outcome.REFUSED,
    code: str | None = None,
    kept: bool = True,
    digest: str | None = None,
    transactions: int = 0,
    said: int = 0,
) -> Tale:
    """A message was sent, after a trial on another medium that ended so."""
    tale = met()
    trial = Medium(how, read, outcome, code, kept, digest, transactions, said)
    tale.send(ALICE, BOB, medium=trial)
    return tale


def worked(how: str, *, same: bool = True, transactions: int = 2, said: int = 2) -> Tale:
    """The trial ended like the operation itself, in the state that `same` says."""
    tale = tried(how)
    event = tale.history.events[-1]
    digest = event.after.digest if event.after is not None and same else "another"
    return tried(how, outcome=Outcome.DONE, digest=digest, transactions=transactions, said=said)


@pytest.mark.parametrize(("id_", "how", "code"), CASES)
def test_each_change_is_refused_by_its_code(id_: str, how: str, code: str) -> None:
    """Claim: "refused by name"; any other end, another name or another medium afterwards is a violation."""
    holds(id_)(lambda: tried(how, code=code))()
    breaks(id_, says=f"a store after {how} was used: done")(lambda: tried(how, outcome=Outcome.DONE))()
    breaks(id_, says="was used: died ValueError")(lambda: tried(how, outcome=Outcome.DIED, code="ValueError"))()
    breaks(id_, says="for the wrong reason: no-session")(lambda: tried(how, code="no-session"))()
    breaks(id_, says="was overwritten")(lambda: tried(how, code=code, kept=False))()


@pytest.mark.parametrize(("id_", "how"), [(id_, how) for id_, how, _ in CASES])
def test_what_nobody_read_says_nothing(id_: str, how: str) -> None:
    """A record that was not read is neither refused nor taken for another."""
    holds(id_, reached=False)(lambda: tried(how, read=False, outcome=Outcome.DONE))()


@pytest.mark.parametrize("how", REFUSALS["ATM-08"])
def test_what_is_forgotten_is_deleted_unread(how: str) -> None:
    """A session whose record is damaged can be got rid of."""
    trial = Medium(how, True, Outcome.DONE, None, False)
    holds("ATM-08")(lambda: met().forget(ALICE, BOB, medium=trial))()


@pytest.mark.parametrize(
    ("id_", "how"),
    [
        ("ATM-03", "no-transactions"),
        ("ATM-06", "file-cut"),
        ("ATM-06", "file-emptied"),
        ("ATM-07", "newer-file"),
        ("ATM-07", "newer-record"),
    ],
)
def test_forgetting_excuses_no_new_store(id_: str, how: str) -> None:
    """Only a record that its seal shows to be damaged is deleted unread: not a whole store, nor a later release's."""
    trial = Medium(how, True, Outcome.DONE, None, False)
    breaks(id_, says=f"a store after {how} was used: done")(lambda: met().forget(ALICE, BOB, medium=trial))()


@pytest.mark.parametrize(("id_", "how"), WORKS.items())
def test_what_is_allowed_works_as_before(id_: str, how: str) -> None:
    """Claim: "it works": it ends in the same way, and leaves the same state."""
    holds(id_)(lambda: worked(how))()
    breaks(id_, says="it ended otherwise: refused no-session")(lambda: tried(how, code="no-session"))()
    breaks(id_, says="it left another state")(lambda: worked(how, same=False))()


@breaks("ATM-03", says="2 transactions on an adapter that has none, 1 events")
def test_a_use_is_not_said() -> Tale:
    """Claim: "each use says so in an event"."""
    return worked("no-transactions-allowed", said=1)


@holds("ATM-03")
def test_no_transactions_no_store() -> Tale:
    """Claim: "an adapter without transactions is refused by default"."""
    return tried("no-transactions", code="non-atomic-store")


@holds("ATM-06")
def test_an_emptied_file_is_no_new_store() -> Tale:
    """Claim: "never treated as empty"."""
    return tried("file-emptied", code="corrupt-store")


@breaks("ATM-06", says="was used: done")
def test_a_flipped_bit_is_read() -> Tale:
    """Claim: "never read as another value"."""
    return tried("flip-bit", outcome=Outcome.DONE)


@holds("ATM-07")
def test_a_newer_record_is_refused() -> Tale:
    """Claim: "refused by name"."""
    return tried("newer-record", code="unsupported-schema")


@breaks("ATM-07", says="for the wrong reason: corrupt-store")
def test_a_newer_store_is_said_to_be_damaged() -> Tale:
    """Claim: "refused by name": it is whole, and of another release."""
    return tried("newer-file", code="corrupt-store")


@holds("ATM-08")
def test_a_record_in_another_place_is_refused() -> Tale:
    """Claim: "a record read back under another key ... is refused"."""
    return tried("another-key", code="corrupt-record")


@breaks("ATM-08", says="was used: done")
def test_a_record_of_another_store_is_read() -> Tale:
    """Claim: "from another store ... is refused"."""
    return tried("another-store", outcome=Outcome.DONE)
