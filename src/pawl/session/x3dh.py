"""X3DH: both sides agree on a session from identity keys, prekeys and the initiator's base key.

    secret = 0xFF x 32 | DH(IK_A, SPK_B) | DH(EK_A, IK_B) | DH(EK_A, SPK_B) | DH(EK_A, OPK_B) if there is one
    root key | first chain key = HKDF(secret, salt 32 zero bytes, info "WhisperText")

The responder's signed prekey is its first ratchet key, and the first chain key belongs to it: the responder's sending
chain, the initiator's receiving chain. The initiator then takes a ratchet step at once and sends on a chain of its own.
Source: X3DH, sections 2.2, 3.3 and 3.4; Double Ratchet, section 3.3. The layout is that of message version 3.
"""

from __future__ import annotations

from typing import Final

from pawl.crypto import kdf
from pawl.crypto.keys import ChainKey, KeyPair, RootKey, agree, require_prime_order
from pawl.session.bundle import PreKeyBundle
from pawl.session.state import PendingPreKey, ReceivingChain, SendingChain, Session
from pawl.sources import Rng
from pawl.wire.messages import MESSAGE_VERSION, PreKeySignalMessage

DISCONTINUITY: Final = b"\xff" * 32
"""Bytes that no encoded key starts with, before the agreements. Source: X3DH, section 2.2 (F)."""


def initiate(*, identity: KeyPair, registration_id: int, bundle: PreKeyBundle, rng: Rng, now: int) -> Session:
    """The initiator's new session. Calls `rng(32)` twice: base key, first ratchet key. `now` is Unix time in seconds.

    Raises: InvalidSignature, InvalidKey (a key of small order in the bundle).
    """
    # Check: nothing is computed with a signed prekey that its owner did not sign (IDC-03).
    bundle.verify()
    # Derive
    base = KeyPair.generate(rng)
    parts = [
        DISCONTINUITY,
        agree(identity.private, bundle.signed_prekey),
        agree(base.private, bundle.identity_key),
        agree(base.private, bundle.signed_prekey),
    ]
    if bundle.prekey is not None:
        parts.append(agree(base.private, bundle.prekey))
    first_root, first_chain = kdf.session_secret(b"".join(parts))
    ratchet = KeyPair.generate(rng)
    root, chain = kdf.root_step(first_root, agree(ratchet.private, bundle.signed_prekey))
    # Commit
    return Session(
        version=MESSAGE_VERSION,
        base_key=base.public,
        local_identity=identity.public,
        remote_identity=bundle.identity_key,
        local_registration_id=registration_id,
        remote_registration_id=bundle.registration_id,
        root_key=RootKey(root),
        sending=SendingChain(ratchet, ChainKey(chain), 0),
        receiving=(ReceivingChain(bundle.signed_prekey, ChainKey(first_chain), 0, 0),),
        previous_counter=0,
        pending=PendingPreKey(bundle.prekey_id, bundle.signed_prekey_id, base.public, now),
    )


def respond(
    *,
    identity: KeyPair,
    registration_id: int,
    signed_prekey: KeyPair,
    prekey: KeyPair | None,
    message: PreKeySignalMessage,
) -> Session:
    """The responder's new session, on which the message inside `message` is yet to be authenticated.

    `signed_prekey` and `prekey` are the pairs that the message names. Raises: InvalidKey.
    """
    # Check: one base key has one spelling, so that a copy under another one is recognised as a replay.
    require_prime_order(message.base_key)
    # Derive
    parts = [
        DISCONTINUITY,
        agree(signed_prekey.private, message.identity_key),
        agree(identity.private, message.base_key),
        agree(signed_prekey.private, message.base_key),
    ]
    if prekey is not None:
        parts.append(agree(prekey.private, message.base_key))
    root, chain = kdf.session_secret(b"".join(parts))
    # Commit
    return Session(
        version=MESSAGE_VERSION,
        base_key=message.base_key,
        local_identity=identity.public,
        remote_identity=message.identity_key,
        local_registration_id=registration_id,
        remote_registration_id=message.registration_id,
        root_key=RootKey(root),
        sending=SendingChain(signed_prekey, ChainKey(chain), 0),
        receiving=(),
        previous_counter=0,
        pending=None,
    )
