"""Safety numbers: the official client's test values, and every way in which a comparison is refused.

Source of the values: signalapp/libsignal at 5c03569fce478a31a849cffb2d7e46130b050ddf, NumericFingerprintGeneratorTest of
its Java client (the test values alone; `testVectorsVersion1`, `testVectorsVersion2`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pawl import ProtocolError, PublicKey, SafetyNumber, safety_number
from tests.devices import BOB, met, party_pair
from tests.labels import label

ALICE_ID, BOB_ID = b"+14152222222", b"+14153333333"
ALICE_KEY = PublicKey.deserialize(bytes.fromhex("0506863bc66d02b40d27b8d49ca7c09e9239236f9d7d25d6fcca5ce13c7064d868"))
BOB_KEY = PublicKey.deserialize(bytes.fromhex("05f781b6fb32fed9ba1cf2de978d4d5da28dc34046ae814402b5c0dbd96fda907b"))

DISPLAY = "300354477692869396892869876765458257569162576843440918079131"
ALICE_HALF = "1e301a0353dce3dbe7684cb8336e85136cdc0ee96219494ada305d62a7bd61df"
BOB_HALF = "d62cbf73a11592015b6b9f1682ac306fea3aaf3885b84d12bca631e9d4fb3a4d"
SCANNABLE = {
    1: (f"080112220a20{ALICE_HALF}1a220a20{BOB_HALF}", f"080112220a20{BOB_HALF}1a220a20{ALICE_HALF}"),
    2: (f"080212220a20{ALICE_HALF}1a220a20{BOB_HALF}", f"080212220a20{BOB_HALF}1a220a20{ALICE_HALF}"),
}


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(ProtocolError) as caught:
        call()
    return caught.value.code


def of_alice(version: int = 2, bob_id: bytes = BOB_ID, bob_key: PublicKey = BOB_KEY) -> SafetyNumber:
    return safety_number(
        local_identifier=ALICE_ID,
        local_key=ALICE_KEY,
        remote_identifier=bob_id,
        remote_key=bob_key,
        version=version,
    )


def of_bob(version: int = 2) -> SafetyNumber:
    return safety_number(
        local_identifier=BOB_ID,
        local_key=BOB_KEY,
        remote_identifier=ALICE_ID,
        remote_key=ALICE_KEY,
        version=version,
    )


# -- the official client's values -------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
def test_official_values(version: int) -> None:
    """Both sides, both versions: the digits and the code are the official client's."""
    alice, bob = of_alice(version), of_bob(version)
    assert (alice.display, bob.display) == (DISPLAY, DISPLAY)
    assert (alice.scannable.hex(), bob.scannable.hex()) == SCANNABLE[version]


def test_text_is_the_digits_in_groups() -> None:
    """People read groups of five."""
    assert str(of_alice()) == "30035 44776 92869 39689 28698 76765 45825 75691 62576 84344 09180 79131"


# -- comparing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
def test_the_other_sides_code_is_accepted(version: int) -> None:
    """What is local on one side is remote on the other."""
    of_alice(version).verify(of_bob(version).scannable)
    of_bob(version).verify(of_alice(version).scannable)


def test_another_key_or_identifier_is_a_mismatch() -> None:
    """A key in the middle, another identifier, and one's own code are refused by name, and change the digits."""
    other = of_alice(bob_key=ALICE_KEY), of_alice(bob_id=b"+14153333334")
    for number in other:
        assert code_of(lambda number=number: number.verify(of_bob().scannable)) == "fingerprint-mismatch"
        assert code_of(lambda number=number: of_bob().verify(number.scannable)) == "fingerprint-mismatch"
        assert number.display != DISPLAY
    assert code_of(lambda: of_alice().verify(of_alice().scannable)) == "fingerprint-mismatch"


def test_every_bit_counts() -> None:
    """No single change of a byte is accepted."""
    number, scanned = of_alice(), of_bob().scannable
    for at in range(len(scanned)):
        changed = scanned[:at] + bytes([scanned[at] ^ 1]) + scanned[at + 1 :]
        code = "fingerprint-mismatch" if 6 <= at < 38 or at >= 42 else "malformed-fingerprint"
        assert code_of(lambda changed=changed: number.verify(changed)) == (
            "fingerprint-version-mismatch" if at == 1 else code
        )


def test_another_version_is_told_apart() -> None:
    """The versions must match: no answer about the keys is given."""
    assert code_of(lambda: of_alice(1).verify(of_bob(2).scannable)) == "fingerprint-version-mismatch"
    assert code_of(lambda: of_alice(2).verify(of_bob(1).scannable)) == "fingerprint-version-mismatch"


@pytest.mark.parametrize("cut", [0, 1, 2, 5, 6, 38, 73])
def test_a_code_that_is_cut_is_malformed(cut: int) -> None:
    assert code_of(lambda: of_alice().verify(of_bob().scannable[:cut])) == "malformed-fingerprint"


@pytest.mark.parametrize("scanned", [of_bob().scannable + b"\x00", b"\x08\x82", b"https://example.org"], ids=label)
def test_anything_else_is_malformed(scanned: bytes) -> None:
    """A code that goes on, a version of two bytes, and what another code held."""
    assert code_of(lambda: of_alice().verify(scanned)) == "malformed-fingerprint"


# -- arguments --------------------------------------------------------------------------------------------------------


def test_arguments_are_checked() -> None:
    """A wrong type or range is refused, and nothing is computed."""
    calls = (
        *(lambda version=version: of_alice(version) for version in (0, 3, True, "2")),
        *(lambda bob_id=bob_id: of_alice(bob_id=bob_id) for bob_id in (b"", bytes(513), "+14153333333")),
        lambda: of_alice(bob_key=BOB_KEY.data),  # type: ignore[arg-type]
        lambda: of_alice().verify(of_bob().scannable.hex()),  # type: ignore[arg-type]
        lambda: SafetyNumber(2, bytes(32), bytes(31)),
        lambda: replace(of_alice(), local="x" * 32),  # type: ignore[arg-type]
        lambda: replace(of_alice(), version=0),
    )
    assert {code_of(call) for call in calls} == {"invalid-argument"}
    assert len(of_alice(bob_id=bytes(512)).display) == 60


# -- of a device ------------------------------------------------------------------------------------------------------


def test_devices_agree_on_their_number() -> None:
    """Two devices that pinned each other show the same digits, and accept each other's code."""
    alice, bob = met("safety")
    bob.take(alice, alice.send(bob))
    one = alice.device.safety_number("bob", local_identifier=b"alice's id", remote_identifier=b"bob's id")
    two = bob.device.safety_number("alice", local_identifier=b"bob's id", remote_identifier=b"alice's id")
    assert one.display == two.display
    one.verify(two.scannable)
    two.verify(one.scannable)


def test_somebody_in_the_middle_is_noticed() -> None:
    """T-IDENTITY: where each side pinned the key of somebody between them, the comparison refuses."""
    alice, mallory = met("middle")
    _, bob = party_pair("true bob")
    bob.device.trust_identity("alice", mallory.device.identity_key)
    seen = alice.device.safety_number("bob", local_identifier=b"a", remote_identifier=b"b")
    shown = bob.device.safety_number("alice", local_identifier=b"b", remote_identifier=b"a")
    assert code_of(lambda: seen.verify(shown.scannable)) == "fingerprint-mismatch"
    assert seen.display != shown.display


def test_without_a_pinned_identity_there_is_no_number() -> None:
    alice, _ = party_pair()
    with alice.refuses("unknown-identity"):
        alice.device.safety_number(BOB.name, local_identifier=b"a", remote_identifier=b"b")
