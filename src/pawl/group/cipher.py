"""The group cipher: from a plaintext to a signed message and back, on immutable chains.

    seed -> HKDF -> IV, cipher key;  body = AES-256-CBC;  signature = XEdDSA(version byte | protobuf)

Nothing here changes a chain or a store: `encrypt` returns the chain to store, `open_message` what `sender_key.advance`
turns into one.
Source: the existing clients; XEdDSA, sections 2 and 3.
"""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from pawl.crypto import cbc, kdf, xeddsa
from pawl.group import sender_key
from pawl.group.sender_key import Derived, Lookup
from pawl.group.state import ReceivedKeys, SendingKey
from pawl.sources import Rng
from pawl.wire.group_messages import SenderKeyDistribution, SenderKeyMessage, encode_sender_key_body


class Opened(NamedTuple):
    """An authenticated message: the place that it has on its chain, and what it says."""

    derived: Derived
    plaintext: bytes

    def __repr__(self) -> str:
        # What was said is nobody's business in a log.
        return f"Opened(derived={self.derived!r}, plaintext=<{len(self.plaintext)} bytes>)"


def distribution(key: SendingKey, distribution_id: UUID | None) -> SenderKeyDistribution:
    """What a member needs to read from the next message on, and none before; `distribution_id` None: earlier layout.

    Raises: CounterExhausted.
    """
    sender_key.check_left(key)
    return SenderKeyDistribution(distribution_id, key.chain_id, key.iteration, key.chain_key, key.signing.public)


def encrypt(key: SendingKey, distribution_id: UUID | None, plaintext: bytes, *, rng: Rng) -> tuple[SendingKey, bytes]:
    """The chain after sending, and the message, which may be handed out once that chain is stored.

    Calls `rng(64)` once, for the signature. `distribution_id` None: earlier layout. Raises: CounterExhausted.
    """
    stepped, seed = sender_key.send(key)
    cipher_key, iv = kdf.group_message_keys(seed)
    body = encode_sender_key_body(
        distribution_id=distribution_id,
        chain_id=key.chain_id,
        iteration=key.iteration,
        ciphertext=cbc.encrypt(cipher_key, iv, plaintext),
    )
    return stepped, body + xeddsa.sign_often(key.signing, body, rng=rng)


def open_message(keys: ReceivedKeys, message: SenderKeyMessage, kept: Lookup) -> Opened:
    """Find the chain of `message` among `keys`, authenticate the message there and decrypt it.

    Raises: NoSenderKey, InvalidSignature, TooFarAhead, DuplicateMessage, InvalidCiphertext.
    """
    # Check: the signature is over the bytes as received (PAR-02), and nothing is derived before it holds (GRP-02).
    chain = sender_key.find(keys, message.chain_id)
    xeddsa.verify(chain.signing_key, message.signed, message.signature)
    sender_key.check_jump(chain, message.iteration)
    # Derive
    derived = sender_key.derive(chain, message.iteration, kept)
    cipher_key, iv = kdf.group_message_keys(derived.seed)
    return Opened(derived, cbc.decrypt(cipher_key, iv, message.ciphertext))
