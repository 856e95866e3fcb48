"""The floor: what an operation costs when only its primitives and its framing are done, by ready-made calls.

No state, no validation, no store. The ratio of the public API to this floor is what the library adds; it is comparable
between machines, where microseconds are not.
"""

from __future__ import annotations

import hashlib
import hmac
import os

import nacl.bindings as sodium
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

TEXT = os.urandom(256)
"""The plaintext of every operation: 256 bytes."""
OUT_OF_ORDER = 1001
"""Messages of the out-of-order case."""

P = 2**255 - 19
SHA256 = hashes.SHA256()
ZEROS = bytes(32)
CHAIN_KEY = os.urandom(32)
PUBLIC_33 = b"\x05" + os.urandom(32)


def hkdf(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(SHA256, length, salt, info).derive(secret)


def step_chain(chain_key: bytes) -> tuple[bytes, bytes]:
    """The message key seed and the next chain key."""
    return hmac.digest(chain_key, b"\x01", "sha256"), hmac.digest(chain_key, b"\x02", "sha256")


def message_keys(seed: bytes) -> tuple[bytes, bytes, bytes]:
    """Cipher key, MAC key, IV."""
    keys = hkdf(seed, ZEROS, b"WhisperMessageKeys", 80)
    return keys[:32], keys[32:64], keys[64:]


def message_mac(mac_key: bytes, body: bytes) -> bytes:
    return hmac.digest(mac_key, PUBLIC_33 + PUBLIC_33 + body, "sha256")[:8]


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def encrypt(chain_key: bytes = CHAIN_KEY) -> bytes:
    seed, _ = step_chain(chain_key)
    cipher_key, mac_key, iv = message_keys(seed)
    padding = 16 - len(TEXT) % 16
    cipher = Cipher(algorithms.AES(cipher_key), modes.CBC(iv)).encryptor()
    ciphertext = cipher.update(TEXT + bytes([padding]) * padding)
    counters = b"\x10" + varint(300) + b"\x18" + varint(7)
    body = b"\x33\x0a\x21" + PUBLIC_33 + counters + b"\x22" + varint(len(ciphertext)) + ciphertext
    return body + message_mac(mac_key, body)


WIRE = encrypt()
CIPHERTEXT_AT = WIRE.index(b"\x22", 37) + 3


def open_message(seed: bytes) -> bytes:
    """Derive, check the MAC, decrypt."""
    cipher_key, mac_key, iv = message_keys(seed)
    hmac.compare_digest(message_mac(mac_key, WIRE[:-8]), WIRE[-8:])
    cipher = Cipher(algorithms.AES(cipher_key), modes.CBC(iv)).decryptor()
    padded = cipher.update(WIRE[CIPHERTEXT_AT:-8])
    return padded[: -padded[-1]] if padded[-1] <= 16 else padded


def decrypt(chain_key: bytes = CHAIN_KEY) -> bytes:
    seed, _ = step_chain(chain_key)
    return open_message(seed)


def key_pair() -> tuple[bytes, bytes]:
    """Private, public."""
    private = os.urandom(32)
    return private, sodium.crypto_scalarmult_base(private)


MINE, YOURS = key_pair(), key_pair()


def agree_and_derive() -> bytes:
    """One half of a ratchet step: an agreement and a root step."""
    return hkdf(sodium.crypto_scalarmult(MINE[0], YOURS[1]), CHAIN_KEY, b"WhisperRatchet", 64)


def round_trip() -> None:
    """A message each way, each with a ratchet step: two agreements, a fresh key pair, two root steps."""
    for _ in range(2):
        encrypt()
        agree_and_derive()
        key_pair()
        agree_and_derive()
        decrypt()


def sign(message: bytes) -> bytes:
    """An XEdDSA signature by `MINE`."""
    private, _ = MINE
    clamped = bytes([private[0] & 248]) + private[1:31] + bytes([private[31] & 127 | 64])
    edwards = sodium.crypto_scalarmult_ed25519_base_noclamp(clamped)
    prefix = b"\xfe" + b"\xff" * 31
    nonce = hashlib.sha512(prefix + private + message + os.urandom(64)).digest()
    r = sodium.crypto_core_ed25519_scalar_reduce(nonce)
    big_r = sodium.crypto_scalarmult_ed25519_base_noclamp(r)
    h = sodium.crypto_core_ed25519_scalar_reduce(hashlib.sha512(big_r + edwards + message).digest())
    a = sodium.crypto_core_ed25519_scalar_reduce(clamped + bytes(32))
    s = sodium.crypto_core_ed25519_scalar_add(r, sodium.crypto_core_ed25519_scalar_mul(h, a))
    return big_r + s[:31] + bytes([s[31] | edwards[31] & 0x80])


def verify(message: bytes, signature: bytes) -> None:
    """Check a signature by `MINE`; raises if it is wrong."""
    u = int.from_bytes(MINE[1], "little")
    edwards = bytearray(((u - 1) * pow(u + 1, -1, P) % P).to_bytes(32, "little"))
    edwards[31] |= signature[63] & 0x80
    sodium.crypto_sign_open(signature[:63] + bytes([signature[63] & 0x7F]) + message, bytes(edwards))


PREKEY = b"\x05" + YOURS[1]
PREKEY_SIGNATURE = sign(PREKEY)


def setup() -> None:
    """Both sides with a one-time prekey, up to the first message decrypted."""
    verify(PREKEY, PREKEY_SIGNATURE)
    # The initiator's base key and first ratchet key.
    key_pair()
    key_pair()
    for _ in range(2):
        agreements = [sodium.crypto_scalarmult(MINE[0], YOURS[1]) for _ in range(4)]
        hkdf(b"\xff" * 32 + b"".join(agreements), ZEROS, b"WhisperText", 64)
        agree_and_derive()
    # The responder's own sending chain.
    key_pair()
    agree_and_derive()
    encrypt()
    decrypt()


def out_of_order() -> None:
    """1001 messages, the last one first: all chain steps, then every message from its kept seed."""
    seeds = {}
    chain_key = CHAIN_KEY
    for counter in range(OUT_OF_ORDER):
        seeds[counter], chain_key = step_chain(chain_key)
    for counter in reversed(range(OUT_OF_ORDER)):
        open_message(seeds.pop(counter))


# -- groups -----------------------------------------------------------------------------------------------------------

SIGNER = bytes([MINE[0][0] & 248]) + MINE[0][1:31] + bytes([MINE[0][31] & 127 | 64])
SIGNER_POINT = sodium.crypto_scalarmult_ed25519_base_noclamp(SIGNER)
"""Of a key that signs many messages what does not change is computed once."""


def sign_again(message: bytes) -> bytes:
    """An XEdDSA signature by `MINE`, whose point is known."""
    nonce = hashlib.sha512(b"\xfe" + b"\xff" * 31 + MINE[0] + message + os.urandom(64)).digest()
    r = sodium.crypto_core_ed25519_scalar_reduce(nonce)
    big_r = sodium.crypto_scalarmult_ed25519_base_noclamp(r)
    h = sodium.crypto_core_ed25519_scalar_reduce(hashlib.sha512(big_r + SIGNER_POINT + message).digest())
    a = sodium.crypto_core_ed25519_scalar_reduce(SIGNER + bytes(32))
    s = sodium.crypto_core_ed25519_scalar_add(r, sodium.crypto_core_ed25519_scalar_mul(h, a))
    return big_r + s[:31] + bytes([s[31] | SIGNER_POINT[31] & 0x80])


DISTRIBUTION_ID = os.urandom(16)


def group_encrypt() -> bytes:
    """A step of the chain, a derivation, the body, the framing and a signature."""
    seed, _ = step_chain(CHAIN_KEY)
    keys = hkdf(seed, ZEROS, b"WhisperGroup", 48)
    padding = 16 - len(TEXT) % 16
    cipher = Cipher(algorithms.AES(keys[16:]), modes.CBC(keys[:16])).encryptor()
    ciphertext = cipher.update(TEXT + bytes([padding]) * padding)
    place = b"\x33\x0a\x10" + DISTRIBUTION_ID + b"\x10" + varint(2**30) + b"\x18" + varint(300)
    body = place + b"\x22" + varint(len(ciphertext)) + ciphertext
    return body + sign_again(body)


GROUP_WIRE = group_encrypt()
GROUP_CIPHERTEXT_AT = len(GROUP_WIRE) - 64 - (len(TEXT) // 16 + 1) * 16


def group_decrypt() -> bytes:
    """The signature, a step of the chain, a derivation, the body."""
    verify(GROUP_WIRE[:-64], GROUP_WIRE[-64:])
    seed, _ = step_chain(CHAIN_KEY)
    keys = hkdf(seed, ZEROS, b"WhisperGroup", 48)
    cipher = Cipher(algorithms.AES(keys[16:]), modes.CBC(keys[:16])).decryptor()
    padded = cipher.update(GROUP_WIRE[GROUP_CIPHERTEXT_AT:-64])
    return padded[: -padded[-1]] if padded[-1] <= 16 else padded
