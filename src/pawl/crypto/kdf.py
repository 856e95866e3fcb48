"""Key derivation: the two ratchets' functions, message keys and the message authentication code.

The hot path: raw bytes in and out, and one implementation of HMAC for all of it, as a second one does not fit into the
processor's nearest caches with the rest. Callers name the functions through the module (`kdf.step_chain(...)`), so that
a harness can count the work that a message causes.
Source: RFC 5869 (HKDF), RFC 2104 (HMAC), both over SHA-256; Double Ratchet, sections 3.2 and 7.2.
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from pawl.errors import InvalidArgument

MAC_BYTES: Final = 8
"""Bytes of the code at the end of a SignalMessage: HMAC-SHA256 cut short. Source: the existing clients."""

MAX_HKDF_BYTES: Final = 255 * 32
"""Bytes that HKDF can give at most. Source: RFC 5869, section 2.3."""

_SHA256: Final = SHA256()
_NO_SALT: Final = bytes(32)

_EXTRACT: Final = HMAC(_NO_SALT, _SHA256)
"""HKDF-Extract without a salt, to be copied: HMAC under the key of 32 zero bytes. Source: RFC 5869, section 2.2."""


def hkdf(ikm: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """`length` bytes, 1 to 8160, derived from `ikm`. An empty `salt` means 32 zero bytes. Raises: InvalidArgument."""
    if not 1 <= length <= MAX_HKDF_BYTES:
        raise InvalidArgument(f"HKDF gives 1 to {MAX_HKDF_BYTES} bytes")
    return HKDF(_SHA256, length, salt, info).derive(ikm)


def step_chain(chain_key: bytes) -> tuple[bytes, bytes]:
    """One symmetric ratchet step: (message seed 32, next chain key 32).

    Source: Double Ratchet, section 7.2 (KDF_CK).
    """
    # One key for both: it is set up once.
    seed = HMAC(chain_key, _SHA256)
    following = seed.copy()
    seed.update(b"\x01")
    following.update(b"\x02")
    return seed.finalize(), following.finalize()


def message_keys(seed: bytes) -> tuple[bytes, bytes, bytes]:
    """The keys of one message: (cipher key 32, MAC key 32, IV 16). Source: Double Ratchet, section 7.2 (ENCRYPT)."""
    out = _unsalted(seed, b"WhisperMessageKeys", 80)
    return out[:32], out[32:64], out[64:]


def group_message_keys(seed: bytes) -> tuple[bytes, bytes]:
    """The keys of one group message: (cipher key 32, IV 16). The IV is derived first. Source: the existing clients."""
    out = _unsalted(seed, b"WhisperGroup", 48)
    return out[16:], out[:16]


def root_step(root_key: bytes, shared_secret: bytes) -> tuple[bytes, bytes]:
    """One Diffie-Hellman ratchet step: (next root key 32, chain key 32).

    Source: Double Ratchet, section 7.2 (KDF_RK).
    """
    out = HKDF(_SHA256, 64, root_key, b"WhisperRatchet").derive(shared_secret)
    return out[:32], out[32:]


def session_secret(secret: bytes) -> tuple[bytes, bytes]:
    """What X3DH's `secret` (0xFF x 32, then 3 or 4 agreements of 32 bytes) gives: (root key 32, chain key 32).

    Source: X3DH, sections 2.2 and 3.3.
    """
    out = _unsalted(secret, b"WhisperText", 64)
    return out[:32], out[32:]


def message_mac(mac_key: bytes, sender: bytes, receiver: bytes, data: bytes) -> bytes:
    """The 8-byte code of `data` (version byte and protobuf) between two identities of 33 bytes each.

    Compare it with `hmac.compare_digest` only. Source: Double Ratchet, section 7.2 (ENCRYPT); X3DH, section 3.3 (AD).
    """
    mac = HMAC(mac_key, _SHA256)
    mac.update(sender + receiver + data)
    return mac.finalize()[:MAC_BYTES]


def _unsalted(ikm: bytes, info: bytes, length: int) -> bytes:
    """HKDF without a salt."""
    # The key of the first step is the same each time: it was set up once.
    extract = _EXTRACT.copy()
    extract.update(ikm)
    return HKDFExpand(_SHA256, length, info).derive(extract.finalize())
