"""AES-256-CBC with PKCS#7 padding: the body of a message, authenticated by the MAC around it.

Source: NIST SP 800-38A, section 6.2; RFC 5652, section 6.3 (padding); Double Ratchet, section 7.2 (ENCRYPT).
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from pawl.errors import InvalidArgument, InvalidCiphertext

BLOCK_BYTES: Final = 16
"""Bytes of an AES block, and of the IV."""

CIPHER_KEY_BYTES: Final = 32
"""Bytes of the key: AES-256 only."""

_WRONG_LENGTH: Final = "AES-256-CBC takes a key of 32 and an IV of 16 bytes"

_PADDING: Final = tuple(bytes([count]) * count for count in range(BLOCK_BYTES + 1))


def encrypt(key: bytes, iv: bytes, plaintext: bytes) -> bytes:
    """The body of `plaintext`, 1 to 16 bytes longer, under a key of 32 and an IV of 16 bytes.

    Raises: InvalidArgument for a key or IV of another length.
    """
    # A shorter key would silently select a weaker cipher.
    if len(key) != CIPHER_KEY_BYTES or len(iv) != BLOCK_BYTES:
        raise InvalidArgument(_WRONG_LENGTH)
    padded = plaintext + _PADDING[BLOCK_BYTES - len(plaintext) % BLOCK_BYTES]
    return Cipher(AES(key), CBC(iv)).encryptor().update(padded)


def decrypt(key: bytes, iv: bytes, ciphertext: bytes) -> bytes:
    """The plaintext of a body. Call it only after the MAC was checked: its refusals would tell about the padding.

    Raises: InvalidCiphertext for a length that is no multiple of 16, or wrong padding; InvalidArgument.
    """
    # A body is at least one block and whole blocks.
    if not ciphertext or len(ciphertext) % BLOCK_BYTES:
        raise InvalidCiphertext("the body is not a positive multiple of 16 bytes")
    # A shorter key would silently select a weaker cipher.
    if len(key) != CIPHER_KEY_BYTES or len(iv) != BLOCK_BYTES:
        raise InvalidArgument(_WRONG_LENGTH)
    padded = Cipher(AES(key), CBC(iv)).decryptor().update(ciphertext)
    count = padded[-1]
    # The last byte says how many bytes of padding there are, 1 to 16, and each of them says the same.
    if not 1 <= count <= BLOCK_BYTES or not padded.endswith(_PADDING[count]):
        raise InvalidCiphertext("the padding of the body is wrong")
    return padded[:-count]
