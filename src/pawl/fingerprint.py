"""Safety numbers: what two people compare, to know that nobody put a key of his own between them.

Both sides compute the same 60 digits from both identity keys and both identifiers, to be read aloud, and each the bytes
of a code that the other one scans. Format and number of iterations are those of the official client. Everything here is
public. Whether the comparison was made, and what follows from it, is for the application to keep.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

from pawl.crypto.keys import PublicKey
from pawl.errors import FingerprintMismatch, FingerprintVersionMismatch, InvalidArgument, MalformedFingerprint
from pawl.limits import MAX_IDENTIFIER_BYTES

ITERATIONS: Final = 5200
"""Hashes of one side. They make it dear to look for a key whose digits agree in part. Source: the official client."""

VERSIONS: Final = (1, 2)
"""What the identifiers are: phone numbers (1) or service ids (2). As in the official client.

Its version 0, of old, is refused: it put the identifiers themselves into the code.
"""

HALF_BYTES: Final = 32
"""Bytes of one side's hash in a code to be scanned."""

_GROUPS: Final = 6
_GROUP_BYTES: Final = 5
_HASH_VERSION: Final = bytes(2)
_LOCAL_FIELD: Final = b"\x12\x22\x0a\x20"
_REMOTE_FIELD: Final = b"\x1a\x22\x0a\x20"


@dataclass(frozen=True, slots=True)
class SafetyNumber:
    """The safety number of two identities, as one of the two sides sees it; made by `safety_number`.

    `str` gives the 60 digits in twelve groups of five. Raises: InvalidArgument.
    """

    version: int
    local: bytes
    """The hash of this side, 32 bytes."""
    remote: bytes
    """The hash of the other side, 32 bytes."""

    def __post_init__(self) -> None:
        _check_version(self.version)
        for half in (self.local, self.remote):
            if type(half) is not bytes or len(half) != HALF_BYTES:
                raise InvalidArgument(f"half of a safety number is {HALF_BYTES} bytes")

    @property
    def display(self) -> str:
        """60 digits, the same on both sides and in both versions; for people to compare, all of them."""
        return "".join(sorted((_digits(self.local), _digits(self.remote))))

    @property
    def scannable(self) -> bytes:
        """The 74 bytes of the code that the other side scans, such as a QR code."""
        return b"\x08" + bytes([self.version]) + _LOCAL_FIELD + self.local + _REMOTE_FIELD + self.remote

    def verify(self, scanned: bytes) -> None:
        """Return if `scanned`, the bytes of the other side's code, belongs to this safety number.

        Raises: MalformedFingerprint, FingerprintVersionMismatch, FingerprintMismatch.
        """
        # Check: another release of a client may lay out another version in another way, so the version comes first.
        if type(scanned) is not bytes:
            raise InvalidArgument("a scanned code is bytes")
        if len(scanned) < 2 or scanned[0] != 0x08 or scanned[1] > 0x7F:
            raise MalformedFingerprint("the scanned code is not a safety number")
        if scanned[1] != self.version:
            raise FingerprintVersionMismatch(f"the scanned code has version {scanned[1]}, this side has {self.version}")
        # The layout is fixed, field by field: one safety number has one spelling.
        if len(scanned) != len(self.scannable) or scanned[2:6] != _LOCAL_FIELD or scanned[38:42] != _REMOTE_FIELD:
            raise MalformedFingerprint("the scanned code is not a safety number")
        # What is local there is remote here. Looked at as a whole, so that the time taken tells nothing.
        if not hmac.compare_digest(scanned[42:] + scanned[6:38], self.local + self.remote):
            raise FingerprintMismatch("the scanned code is not that of these two identities")

    def __str__(self) -> str:
        digits = self.display
        return " ".join(digits[at : at + 5] for at in range(0, len(digits), 5))


def safety_number(
    *,
    local_identifier: bytes,
    local_key: PublicKey,
    remote_identifier: bytes,
    remote_key: PublicKey,
    version: int = 2,
) -> SafetyNumber:
    """The safety number of two identities: 10,400 hashes, some milliseconds.

    An identifier is 1 to 512 bytes that both sides know and write alike: a service id (`version` 2) or a phone number
    (`version` 1). Raises: InvalidArgument. Source: the official client.
    """
    # Check
    _check_version(version)
    for identifier in (local_identifier, remote_identifier):
        if type(identifier) is not bytes or not 1 <= len(identifier) <= MAX_IDENTIFIER_BYTES:
            raise InvalidArgument(f"an identifier is 1 to {MAX_IDENTIFIER_BYTES} bytes")
    for key in (local_key, remote_key):
        if type(key) is not PublicKey:
            raise InvalidArgument("an identity is a PublicKey")
    # Derive
    return SafetyNumber(version, _half(local_identifier, local_key), _half(remote_identifier, remote_key))


def _check_version(version: int) -> None:
    if type(version) is not int or version not in VERSIONS:
        raise InvalidArgument("the version of a safety number is 1 or 2")


def _half(identifier: bytes, key: PublicKey) -> bytes:
    serialized = key.serialize()
    digest = _HASH_VERSION + serialized + identifier
    for _ in range(ITERATIONS):
        digest = hashlib.sha512(digest + serialized).digest()
    return digest[:HALF_BYTES]


def _digits(half: bytes) -> str:
    """30 digits: six groups of five bytes, each modulo 100,000."""
    groups = (half[at : at + _GROUP_BYTES] for at in range(0, _GROUPS * _GROUP_BYTES, _GROUP_BYTES))
    return "".join(f"{int.from_bytes(group, 'big') % 100_000:05d}" for group in groups)
