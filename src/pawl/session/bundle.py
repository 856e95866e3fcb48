"""Prekey bundles: what a peer's server hands out so that a session can start while the peer is offline.

Source: X3DH, section 3.2 (publishing keys).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pawl.crypto import xeddsa
from pawl.crypto.keys import PublicKey
from pawl.errors import InvalidArgument, InvalidSignature
from pawl.limits import MAX_DEVICE_ID

MAX_UINT32: Final = 2**32 - 1
"""Largest registration id and prekey id: a uint32 on the wire."""


@dataclass(frozen=True, slots=True)
class PublicPreKey:
    """A one-time prekey, as it is published."""

    id: int
    key: PublicKey


@dataclass(frozen=True, slots=True)
class PublicSignedPreKey:
    """A signed prekey, as it is published: `signature`, 64 bytes, is by the identity key over the key's 33 bytes."""

    id: int
    key: PublicKey
    signature: bytes


@dataclass(frozen=True, slots=True)
class PreKeyBundle:
    """The public keys of one device. `prekey_id` and `prekey` are both there or both None (no one-time prekey).

    Ids are 0 to 2^32 - 1, the device id 0 to 127, the signature 64 bytes. The constructor checks types and ranges;
    whether the signature verifies is checked where the bundle is used.
    Raises: InvalidArgument, InvalidSignature (not 64 bytes).
    """

    registration_id: int
    device_id: int
    identity_key: PublicKey
    signed_prekey_id: int
    signed_prekey: PublicKey
    signed_prekey_signature: bytes
    """By the identity key over the 33 bytes of the signed prekey."""
    prekey_id: int | None
    prekey: PublicKey | None

    def __post_init__(self) -> None:
        _check_int(self.registration_id, MAX_UINT32, "a registration id")
        _check_int(self.device_id, MAX_DEVICE_ID, "a device id")
        _check_int(self.signed_prekey_id, MAX_UINT32, "a signed prekey id")
        if type(self.identity_key) is not PublicKey or type(self.signed_prekey) is not PublicKey:
            raise InvalidArgument("identity key and signed prekey are PublicKeys")
        if type(self.signed_prekey_signature) is not bytes:
            raise InvalidArgument("a signature is bytes")
        # Any other length cannot be a signature.
        if len(self.signed_prekey_signature) != xeddsa.SIGNATURE_BYTES:
            raise InvalidSignature(f"a signature is exactly {xeddsa.SIGNATURE_BYTES} bytes")
        # An id without a key, or a key without an id, could not be named in a message.
        if (self.prekey_id is None) != (self.prekey is None):
            raise InvalidArgument("a one-time prekey has an id and a key, or neither is there")
        if self.prekey is not None:
            _check_int(self.prekey_id, MAX_UINT32, "a prekey id")
            if type(self.prekey) is not PublicKey:
                raise InvalidArgument("a one-time prekey is a PublicKey")

    def verify(self) -> None:
        """The signed prekey was signed by the identity key. Raises: InvalidSignature. Source: X3DH, section 3.3."""
        xeddsa.verify(self.identity_key, self.signed_prekey.serialize(), self.signed_prekey_signature)


def _check_int(value: object, most: int, what: str) -> None:
    if type(value) is not int or not 0 <= value <= most:
        raise InvalidArgument(f"{what} is an int of 0 to {most}")
