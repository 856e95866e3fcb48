"""XEdDSA: signatures of 64 bytes by an X25519 key pair, verified as Ed25519.

As the existing clients do it: the sign of the Edwards public key travels in the top bit of the signature, where the
published description makes it always 0 by choosing the private key's sign. Both kinds verify here.

Strict where others are not: s must be below the group order (else s + L is a second signature of the same message),
and keys and nonce points of small order are refused. Every honest signature passes.
Source: The XEdDSA and VXEdDSA Signature Schemes, sections 2 and 3; RFC 8032, section 5.1.7.
"""

from __future__ import annotations

import hashlib
from typing import Final

import nacl.bindings as sodium
from nacl.exceptions import CryptoError

from pawl.crypto.keys import KeyPair, PrivateKey, PublicKey, clamp, edwards_y
from pawl.errors import InvalidArgument, InvalidKey, InvalidSignature
from pawl.sources import Rng, draw

SIGNATURE_BYTES: Final = 64
"""Bytes of a signature: the nonce point R 32, the scalar s 32 with the key's sign in its top bit."""

NONCE_BYTES: Final = 64
"""Random bytes that each signature takes. Source: XEdDSA, section 2.1 (Z)."""

MAX_KNOWN: Final = 256
"""Edwards public keys, 32 bytes each, that are remembered: one for each group that this process sends in."""

_KNOWN: Final[dict[bytes, bytes]] = {}
"""By the X25519 public key. Nothing in it is secret."""

_HASH_1_PREFIX: Final = b"\xfe" + b"\xff" * 31
_SIGN_BIT: Final = 0x80
_ZERO: Final = bytes(32)


def sign(private: PrivateKey, message: bytes, *, rng: Rng) -> bytes:
    """The 64-byte signature of `message`. Calls `rng(64)` once.

    Raises: InvalidArgument for other types, or if `rng` returns anything but 64 bytes.
    """
    # Check
    if type(private) is not PrivateKey or type(message) is not bytes:
        raise InvalidArgument("signing takes a PrivateKey and bytes")
    # Derive
    return _sign(private, sodium.crypto_scalarmult_ed25519_base(clamp(private.data)), message, rng)


def sign_often(pair: KeyPair, message: bytes, *, rng: Rng) -> bytes:
    """The same by a pair that signs many messages: what is public of it is computed once, and remembered.

    Raises: InvalidArgument for other types, or if `rng` returns anything but 64 bytes.
    """
    # Check
    if type(pair) is not KeyPair or type(message) is not bytes:
        raise InvalidArgument("signing takes a KeyPair and bytes")
    # Derive
    known = _KNOWN.get(pair.public.data)
    if known is None:
        known = sodium.crypto_scalarmult_ed25519_base(clamp(pair.private.data))
        # Beginning anew when full is rare, and safe between threads.
        if len(_KNOWN) >= MAX_KNOWN:
            _KNOWN.clear()
        _KNOWN[pair.public.data] = known
    return _sign(pair.private, known, message, rng)


def _sign(private: PrivateKey, public: bytes, message: bytes, rng: Rng) -> bytes:
    """The signature of a private key whose Edwards public key, with its sign, is `public`."""
    scalar = clamp(private.data)
    nonce = _hash_to_scalar(_HASH_1_PREFIX + private.data + message + draw(rng, NONCE_BYTES))
    nonce_point = sodium.crypto_scalarmult_ed25519_base_noclamp(nonce)
    challenge = _hash_to_scalar(nonce_point + public + message)
    reduced = sodium.crypto_core_ed25519_scalar_reduce(scalar + _ZERO)
    s = sodium.crypto_core_ed25519_scalar_add(nonce, sodium.crypto_core_ed25519_scalar_mul(challenge, reduced))
    return nonce_point + s[:31] + bytes([s[31] | public[31] & _SIGN_BIT])


def verify(public: PublicKey, message: bytes, signature: bytes) -> None:
    """Return if `signature` is one of `message` by the owner of `public`; there is no boolean to forget.

    Raises: InvalidSignature; InvalidArgument for other types.
    """
    # Check
    if type(public) is not PublicKey or type(message) is not bytes or type(signature) is not bytes:
        raise InvalidArgument("verifying takes a PublicKey and bytes")
    # A signature has one length.
    if len(signature) != SIGNATURE_BYTES:
        raise InvalidSignature("a signature is exactly 64 bytes")
    # Derive
    top = signature[63]
    try:
        y = edwards_y(public)
        # libsodium refuses s >= L, a key or nonce point of small order, and a key off the curve.
        sodium.crypto_sign_open(
            signature[:63] + bytes([top & ~_SIGN_BIT]) + message, y[:31] + bytes([y[31] | top & _SIGN_BIT])
        )
    except (CryptoError, InvalidKey):
        raise InvalidSignature("the signature does not verify") from None


def _hash_to_scalar(data: bytes) -> bytes:
    """SHA-512 of `data` modulo the group order, 32 bytes."""
    return sodium.crypto_core_ed25519_scalar_reduce(hashlib.sha512(data).digest())
