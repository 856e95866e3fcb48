"""Prekey bundles: types, ranges, and the signature."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pawl import PreKeyBundle, ProtocolError
from pawl.crypto import xeddsa
from pawl.crypto.keys import KeyPair
from tests.devices import LOW_ORDER, Random, met

OWNER = KeyPair.generate(Random("owner"))
SIGNED = KeyPair.generate(Random("signed"))
ONE_TIME = KeyPair.generate(Random("one-time"))
BUNDLE = PreKeyBundle(
    registration_id=1,
    device_id=1,
    identity_key=OWNER.public,
    signed_prekey_id=1,
    signed_prekey=SIGNED.public,
    signed_prekey_signature=xeddsa.sign(OWNER.private, SIGNED.public.serialize(), rng=Random("signature")),
    prekey_id=1,
    prekey=ONE_TIME.public,
)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"registration_id": -1}, "invalid-argument"),
        ({"registration_id": 2**32}, "invalid-argument"),
        ({"registration_id": True}, "invalid-argument"),
        ({"device_id": 128}, "invalid-argument"),
        ({"device_id": "1"}, "invalid-argument"),
        ({"signed_prekey_id": 2**32}, "invalid-argument"),
        ({"signed_prekey_id": None}, "invalid-argument"),
        ({"prekey_id": 2**32}, "invalid-argument"),
        ({"identity_key": bytes(32)}, "invalid-argument"),
        ({"signed_prekey": None}, "invalid-argument"),
        ({"prekey": bytes(32)}, "invalid-argument"),
        ({"prekey": None}, "invalid-argument"),
        ({"prekey_id": None}, "invalid-argument"),
        ({"signed_prekey_signature": "x" * 64}, "invalid-argument"),
        ({"signed_prekey_signature": bytes(63)}, "invalid-signature"),
        ({"signed_prekey_signature": bytes(65)}, "invalid-signature"),
    ],
)
def test_constructor_refuses(change: dict[str, Any], code: str) -> None:
    """PAR-05: a bundle is parsed as strictly as a message; a field out of type or range is refused by name."""
    with pytest.raises(ProtocolError) as caught:
        replace(BUNDLE, **change)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "change",
    [{}, {"prekey_id": None, "prekey": None}, {"prekey_id": 0, "registration_id": 2**32 - 1, "device_id": 127}],
)
def test_constructor_accepts(change: dict[str, Any]) -> None:
    """Edges of the ranges are inside them; 0 is a prekey id, and absent is not 0."""
    made = replace(BUNDLE, **change)
    made.verify()
    assert made.prekey_id == change.get("prekey_id", 1)


@pytest.mark.parametrize(
    "change",
    [
        {"signed_prekey_signature": bytes(64)},
        {"signed_prekey": ONE_TIME.public},
        {"identity_key": SIGNED.public},
        {"identity_key": LOW_ORDER},
    ],
)
def test_signature_is_verified(change: dict[str, Any]) -> None:
    """IDC-03: a signature that does not verify under the bundle's identity is refused."""
    with pytest.raises(ProtocolError) as caught:
        replace(BUNDLE, **change).verify()
    assert caught.value.code == "invalid-signature"


@pytest.mark.parametrize("change", [{"signed_prekey_signature": bytes(64)}, {"identity_key": OWNER.public}])
def test_establish_refuses_a_forged_bundle(change: dict[str, Any]) -> None:
    """IDC-03: such a bundle changes nothing, though a session with that peer may be there."""
    alice, bob = met()
    forged = replace(bob.device.prekey_bundle(), **change)
    with alice.refuses("invalid-signature"):
        alice.device.establish(bob.address, forged)
    fresh, _ = met("fresh")
    with fresh.refuses("invalid-signature"):
        fresh.device.establish(bob.address, forged)


def test_establish_refuses_low_order_keys() -> None:
    """IDC-05: keys that give an all-zero shared secret are refused before any state is built."""
    alice, bob = met()
    with alice.refuses("invalid-key"):
        alice.device.establish(bob.address, replace(bob.device.prekey_bundle(), prekey=LOW_ORDER))
    signature = xeddsa.sign(OWNER.private, LOW_ORDER.serialize(), rng=Random("signature"))
    signed_low = replace(BUNDLE, signed_prekey=LOW_ORDER, signed_prekey_signature=signature)
    signed_low.verify()
    fresh, _ = met("fresh")
    with fresh.refuses("invalid-key"):
        fresh.device.establish(bob.address, signed_low)
