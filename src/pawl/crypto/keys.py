"""Keys as small frozen classes over exactly 32 bytes, and the key agreement X25519.

Each kind of key is a class of its own, so that two of them cannot be mixed up. The secret ones are redacted in every
text, compare in constant time, and can be neither hashed nor pickled. Python cannot promise that a secret is erased
from memory; nothing here pretends to.

The libsodium calls below take raw pointers and do not look at lengths: the constructors are what makes them safe.
Source: RFC 7748 (X25519); X3DH, section 2.5 (the type byte 0x05 before an encoded key).
"""

from __future__ import annotations

import hmac
from dataclasses import FrozenInstanceError, dataclass
from functools import lru_cache
from typing import Final, NoReturn

import nacl.bindings as sodium
from nacl.exceptions import CryptoError

from pawl.errors import InvalidArgument, InvalidKey
from pawl.sources import Rng, draw

KEY_BYTES: Final = 32
"""Bytes of every key here. Source: RFC 7748, section 5; SHA-256 for the derived ones."""

SERIALIZED_KEY_BYTES: Final = 33
"""Bytes of a public key on the wire: the type byte and the key."""

KEY_TYPE_DJB: Final = 0x05
"""The type byte of an X25519 public key on the wire."""

FIELD_PRIME: Final = 2**255 - 19
"""The prime of Curve25519's field. Source: RFC 7748, section 4.1."""

_set: Final = object.__setattr__
"""How a frozen object is made."""

_TYPE_BYTE: Final = bytes([KEY_TYPE_DJB])

_NO_SERIALIZED_KEY: Final = "a serialized public key is 0x05 and 32 bytes"

_MAX_KNOWN_KEYS: Final = 256
"""Public keys, 32 bytes each, that are remembered: a ratchet key and two identities for each of some peers."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An X25519 public key: the 32 bytes of its u-coordinate, little-endian, in canonical form.

    X25519 itself ignores the top bit and reduces modulo the prime, so that several byte strings name one key. Only the
    canonical one is accepted here: otherwise a copy of a message under another spelling of its base key would not be
    recognised as a replay (CTR-06). Honest keys are always canonical. Raises: InvalidKey.
    """

    data: bytes

    def __post_init__(self) -> None:
        # Anything but 32 bytes is not a key.
        if type(self.data) is not bytes or len(self.data) != KEY_BYTES:
            raise InvalidKey(f"a PublicKey is exactly {KEY_BYTES} bytes")
        # One key has one spelling: the coordinate is below the field prime, as every number is whose top byte is less.
        if self.data[31] >= 0x7F and int.from_bytes(self.data, "little") >= FIELD_PRIME:
            raise InvalidKey("the public key is not in canonical form")

    def serialize(self) -> bytes:
        """The 33 bytes on the wire: 0x05, then the key."""
        return _TYPE_BYTE + self.data

    @classmethod
    def deserialize(cls, data: bytes) -> PublicKey:
        """The key in the 33 bytes `data`. Raises: InvalidKey for another length, type byte, or a non-canonical key."""
        if type(data) is not bytes:
            raise InvalidKey(_NO_SERIALIZED_KEY)
        return _known(data)


@lru_cache(maxsize=_MAX_KNOWN_KEYS)
def _known(data: bytes) -> PublicKey:
    """The key in `data`. One comes with every message of its chain, so the last ones are remembered: none is secret."""
    # The length and the type byte are fixed; nothing is guessed (IDC-05, IDC-09).
    if len(data) != SERIALIZED_KEY_BYTES or data[0] != KEY_TYPE_DJB:
        raise InvalidKey(_NO_SERIALIZED_KEY)
    return PublicKey(data[1:])


class _Secret:
    """32 secret bytes. Not a dataclass, which `dataclasses.asdict` would take to pieces wherever it is in one."""

    __slots__ = ("data",)

    data: bytes

    def __init__(self, data: bytes) -> None:
        # Anything but 32 bytes is not a key.
        if type(data) is not bytes or len(data) != KEY_BYTES:
            raise InvalidKey(f"a {type(self).__name__} is exactly {KEY_BYTES} bytes")
        _set(self, "data", data)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(<redacted>)"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        # The time taken does not tell how much of the two agrees.
        return hmac.compare_digest(self.data, other.data)

    # A hash of a secret would be compared and stored where nobody looks.
    __hash__ = None  # type: ignore[assignment]  # how Python spells "unhashable"

    def __copy__(self) -> _Secret:
        return self

    def __deepcopy__(self, memo: object) -> _Secret:
        return self

    def __reduce__(self) -> NoReturn:
        # A pickle would carry the secret to wherever pickles go; `pawl.wire.records` is the only way to store one.
        raise InvalidArgument(f"a {type(self).__name__} cannot be pickled")


class PrivateKey(_Secret):
    """An X25519 private key, 32 bytes, clamped when used."""

    __slots__ = ()


class RootKey(_Secret):
    """The root key of a session, 32 bytes. Source: Double Ratchet, section 3.2 (RK)."""

    __slots__ = ()


class ChainKey(_Secret):
    """The key of a sending or receiving chain, 32 bytes. Source: Double Ratchet, section 3.2 (CKs, CKr)."""

    __slots__ = ()


class MessageSeed(_Secret):
    """What the keys of one message are derived from, 32 bytes. Source: Double Ratchet, section 3.2 (MKSKIPPED)."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A public key and its private key. That the two belong together is for the caller to know. Raises: InvalidKey."""

    public: PublicKey
    private: PrivateKey

    def __post_init__(self) -> None:
        # Swapped halves would send the private key.
        if type(self.public) is not PublicKey or type(self.private) is not PrivateKey:
            raise InvalidKey("a key pair is a PublicKey and a PrivateKey")

    @classmethod
    def generate(cls, rng: Rng) -> KeyPair:
        """A fresh pair from one call `rng(32)`. Raises: InvalidArgument if `rng` returns anything but 32 bytes."""
        return cls.from_private(PrivateKey(clamp(draw(rng, KEY_BYTES))))

    @classmethod
    def from_private(cls, private: PrivateKey) -> KeyPair:
        """The pair of `private`. Raises: InvalidKey if it is not a PrivateKey."""
        if type(private) is not PrivateKey:
            raise InvalidKey("a key pair is made from a PrivateKey")
        return cls(PublicKey(sodium.crypto_scalarmult_base(private.data)), private)


def clamp(scalar: bytes) -> bytes:
    """The 32 bytes `scalar` with the bits set that X25519 sets. Source: RFC 7748, section 5."""
    return bytes([scalar[0] & 0xF8]) + scalar[1:31] + bytes([scalar[31] & 0x7F | 0x40])


def agree(private: PrivateKey, public: PublicKey) -> bytes:
    """The 32-byte X25519 shared secret.

    Raises: InvalidKey if it is all zero, which means that `public` has a small order and the secret depends on nobody.
    Raises: InvalidArgument for other types. Source: RFC 7748, section 6.1; X3DH, section 4.3.
    """
    if type(private) is not PrivateKey or type(public) is not PublicKey:
        raise InvalidArgument("an agreement takes a PrivateKey and a PublicKey")
    try:
        return sodium.crypto_scalarmult(private.data, public.data)
    except CryptoError:
        # libsodium answers an all-zero result with an error, and has no other (IDC-05).
        raise InvalidKey("the shared secret is all zero") from None


def edwards_y(public: PublicKey) -> bytes:
    """The 32 bytes of the y-coordinate on edwards25519 of `public`, sign bit 0: y = (u - 1) / (u + 1).

    Raises: InvalidKey for u = -1, which has none. Source: XEdDSA, section 2.3 (u_to_y).
    """
    return _edwards_y(public.data)


@lru_cache(maxsize=_MAX_KNOWN_KEYS)
def _edwards_y(data: bytes) -> bytes:
    """The same for the 32 bytes of a key. The last ones are remembered, as one key signs many messages of a group."""
    u = int.from_bytes(data, "little")
    try:
        y = (u - 1) * pow(u + 1, -1, FIELD_PRIME) % FIELD_PRIME
    except ValueError:
        raise InvalidKey("the public key has no Edwards form") from None
    return y.to_bytes(KEY_BYTES, "little")


def require_prime_order(public: PublicKey) -> None:
    """Refuse a key outside the prime-order subgroup; about 50 microseconds.

    X25519 gives one shared secret for a key and for the seven others that differ from it by a point of small order. A
    base key that is not checked could be respelled in eight ways, and the copy would not be recognised as a replay
    (CTR-06). Every honest key passes. Raises: InvalidKey, InvalidArgument for another type. Source: the official
    client demands the same of base keys.
    """
    if type(public) is not PublicKey:
        raise InvalidArgument("this check takes a PublicKey")
    # libsodium refuses points off the curve (the twist), of small order, and with a part of small order.
    if not sodium.crypto_core_ed25519_is_valid_point(edwards_y(public)):
        raise InvalidKey("the public key is not in the prime-order subgroup")
