"""The message cipher: from a plaintext to a message and back, on immutable sessions.

    seed -> HKDF -> cipher key, MAC key, IV;  body = AES-256-CBC;  MAC = HMAC(sender | receiver | message)[:8]

Nothing here changes a session or a store: `encrypt` returns the session to store, `open_message` what
`double_ratchet.advance` turns into one.
Source: Double Ratchet, section 7.2 (ENCRYPT, DECRYPT); X3DH, section 3.3 (both identities are authenticated).
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import Final, NamedTuple

from pawl.crypto import cbc, kdf
from pawl.errors import BadMac, DuplicateMessage, NoSession, ProtocolError, StaleSession, TooFarAhead, WorkLimitExceeded
from pawl.limits import MAX_DERIVATIONS_PER_MESSAGE, MAX_UNACKNOWLEDGED_SECONDS
from pawl.session import double_ratchet
from pawl.session.double_ratchet import Derived, Lookup
from pawl.session.state import Session
from pawl.sources import Clock
from pawl.values import made
from pawl.wire.messages import (
    EncryptedMessage,
    MessageType,
    SignalMessage,
    encode_prekey_message,
    encode_signal_body,
)

_SIGNAL: Final = MessageType.SIGNAL
"""Asked of its Enum once, not for each message."""


class Opened(NamedTuple):
    """An authenticated message: the session it belongs to, as that was before, and what it says."""

    session: Session
    derived: Derived
    plaintext: bytes

    def __repr__(self) -> str:
        # What was said is nobody's business in a log.
        return f"Opened(session={self.session!r}, derived={self.derived!r}, plaintext=<{len(self.plaintext)} bytes>)"


def encrypt(session: Session, plaintext: bytes, *, clock: Clock) -> tuple[Session, EncryptedMessage]:
    """The session after sending, and the message, which may be handed out once that session is stored.

    `clock` is asked only while the peer has not answered. Raises: StaleSession, CounterExhausted.
    """
    # Check: a session that the peer never answered is not used for ever.
    pending = session.pending
    if pending is not None and clock() - pending.created_at > MAX_UNACKNOWLEDGED_SECONDS:
        raise StaleSession("the peer has not answered within the stated time; establish a new session")
    # Derive
    sending = session.sending
    stepped, seed = double_ratchet.send(session)
    cipher_key, mac_key, iv = kdf.message_keys(seed)
    body = encode_signal_body(
        ratchet_key=sending.ratchet.public,
        counter=sending.counter,
        previous_counter=session.previous_counter,
        ciphertext=cbc.encrypt(cipher_key, iv, plaintext),
    )
    sender, receiver = session.local_identity.serialize(), session.remote_identity.serialize()
    message = body + kdf.message_mac(mac_key, sender, receiver, body)
    if pending is None:
        return stepped, EncryptedMessage(_SIGNAL, message)
    # Until the peer answers, each message carries what it needs to build the session (CNF-01).
    wrapped = encode_prekey_message(
        registration_id=session.local_registration_id,
        prekey_id=pending.prekey_id,
        signed_prekey_id=pending.signed_prekey_id,
        base_key=pending.base_key,
        identity_key=session.local_identity,
        message=message,
    )
    return stepped, EncryptedMessage(MessageType.PREKEY, wrapped)


def open_message(sessions: Iterable[Session], message: SignalMessage, kept: Lookup) -> Opened:
    """Find the session of `message` among `sessions`, authenticate the message there and decrypt it.

    Sessions that know the message's ratchet key are tried first, and alone; if none does, each is tried with a ratchet
    step. All together may cause MAX_DERIVATIONS_PER_MESSAGE derivations. `sessions` is read only as far as needed.

    Raises: NoSession, BadMac, DuplicateMessage, TooFarAhead, WorkLimitExceeded, InvalidKey, InvalidCiphertext.
    """
    refusals: list[ProtocolError] = []
    others: list[Session] = []
    work = 0
    ratchet_key, counter = message.ratchet_key, message.counter
    for only_known in (True, False):
        for session in sessions:
            chain = double_ratchet.find_chain(session, ratchet_key)
            if chain is None and only_known:
                others.append(session)
                continue
            try:
                # Check: the work is bounded before it is done (BND-01).
                work += double_ratchet.cost(chain, counter)
                if work > MAX_DERIVATIONS_PER_MESSAGE:
                    raise WorkLimitExceeded("too many sessions would have to be tried so far ahead")
                # Derive
                derived = double_ratchet.derive(session, chain, ratchet_key, counter, kept)
                return made(Opened, (session, derived, _decrypt(session, derived.seed, message)))
            except (BadMac, DuplicateMessage, TooFarAhead) as refusal:
                refusals.append(refusal)
        # Where a session knows the ratchet key, the message belongs to no other.
        if refusals:
            break
        sessions = others
    if not refusals:
        raise NoSession("there is no session with this address")
    # One reason is told as it is; of different ones only that the message belongs to no session.
    if len({refusal.code for refusal in refusals}) == 1:
        raise refusals[0]
    raise BadMac("the message authenticates under no session")


def _decrypt(session: Session, seed: bytes, message: SignalMessage) -> bytes:
    """The plaintext of an authentic message. Raises: BadMac, InvalidCiphertext."""
    cipher_key, mac_key, iv = kdf.message_keys(seed)
    # Check: the MAC is over the bytes as received (PAR-04) and over both identities (IDC-04).
    # Nothing is decrypted before it holds (AUT-01).
    sender, receiver = session.remote_identity.serialize(), session.local_identity.serialize()
    if not hmac.compare_digest(kdf.message_mac(mac_key, sender, receiver, message.authenticated), message.mac):
        raise BadMac("the message authentication code is wrong")
    # Derive
    return cbc.decrypt(cipher_key, iv, message.ciphertext)
