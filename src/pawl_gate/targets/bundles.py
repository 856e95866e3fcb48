"""Bundles between the library's form and the gate's: keys as objects, keys as bytes."""

from __future__ import annotations

from pawl import PreKeyBundle, ProtocolAddress
from pawl_gate.targets.base import Bundle
from pawl_gate.targets.variant import DeviceLike


def in_bytes(made: PreKeyBundle) -> Bundle:
    """A bundle that the library made, as the runner carries it."""
    return Bundle(
        registration_id=made.registration_id,
        device_id=made.device_id,
        identity_key=made.identity_key.serialize(),
        signed_prekey_id=made.signed_prekey_id,
        signed_prekey=made.signed_prekey.serialize(),
        signature=made.signed_prekey_signature,
        prekey_id=made.prekey_id,
        prekey=None if made.prekey is None else made.prekey.serialize(),
    )


def process(device: DeviceLike, address: ProtocolAddress, bundle: Bundle) -> None:
    """Let a device read a bundle that came from the runner, and establish a session. Raises: ProtocolError."""
    given = PreKeyBundle(
        registration_id=bundle.registration_id,
        device_id=bundle.device_id,
        identity_key=device.parse_public_key(address, bundle.identity_key),
        signed_prekey_id=bundle.signed_prekey_id,
        signed_prekey=device.parse_public_key(address, bundle.signed_prekey),
        signed_prekey_signature=bundle.signature,
        prekey_id=bundle.prekey_id,
        prekey=None if bundle.prekey is None else device.parse_public_key(address, bundle.prekey),
    )
    device.establish(address, given)
