#!/usr/bin/env python3
"""A driver of Pawl's gate for omemo-dr 1.2.0: newline-delimited JSON-RPC 2.0 on stdin and stdout.

The contract is in docs/reference/driver-contract.md; what this driver's store decides is in README.md beside it.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER), str(FOLDER.parent)]

from google.protobuf.message import DecodeError
from omemo_dr.ecc.curve import Curve
from omemo_dr.exceptions import (
    DuplicateMessageException,
    InvalidVersionException,
    NoSessionException,
    UntrustedIdentityException,
)
from omemo_dr.identitykey import IdentityKey
from omemo_dr.identitykeypair import IdentityKeyPair
from omemo_dr.kdf import hkdf
from omemo_dr.protocol.prekeywhispermessage import PreKeyWhisperMessage
from omemo_dr.protocol.whispermessage import WhisperMessage
from omemo_dr.ratchet.chainkey import ChainKey
from omemo_dr.sessionbuilder import SessionBuilder
from omemo_dr.sessioncipher import SessionCipher
from omemo_dr.state.prekeyrecord import PreKeyRecord
from omemo_dr.state.sessionrecord import SessionRecord
from omemo_dr.state.signedprekeyrecord import SignedPreKeyRecord
from omemo_dr.util.keyhelper import KeyHelper
from in_python import VERBS, Party, Sessions, coded, serve, sizes
from peer import Store, UnknownPreKey, UnknownSignedPreKey, bundle_of, pair_of

HELLO = {
    "name": "omemo-dr",
    "version": version("omemo-dr"),
    "protocol": 1,
    "message_versions": [3],
    "level": 1,
    "capabilities": [
        *("reinstall", "approve", "strict-identity", "restart", "crash"),
        *("work", "counts", "forget", "import-keys", "inject-keys"),
    ],
    "limits": {
        "forward_jump": 2000,
        "kept_per_chain": None,
        "kept_per_session": None,
        "receiving_chains": 5,
        "archived_sessions": 40,
        "derivations_per_message": None,
    },
    "profile": {"promotes": "always", "closes_chains": False, "needs_one_time": True},
}

SESSION = "session/"
"""How the names of sessions' rows begin."""

CODES = [
    ("Over 2000 messages into the future!", "too-far-ahead"),
    ("No valid sessionsOver 2000 messages into the future!", "too-far-ahead"),
    ("No valid sessionsBad Mac!", "bad-mac"),
    ("Invalid signature", "invalid-signature"),
    ("signature must be 64-byte string", "invalid-signature"),
    ("Unknown version", "unknown-version"),
    ("Incomplete message", "malformed-message"),
    ("Unknown key type or length", "invalid-key"),
]
"""How the peer's texts begin, and our code."""

TYPES: list[tuple[type[Exception], str]] = [
    (UntrustedIdentityException, "untrusted-identity"),
    (DuplicateMessageException, "duplicate-message"),
    (NoSessionException, "no-session"),
    (InvalidVersionException, "unknown-version"),
    (UnknownPreKey, "unknown-prekey"),
    (UnknownSignedPreKey, "unknown-signed-prekey"),
    (DecodeError, "malformed-message"),
]
"""What tells the cause by its type."""


def sessions_in(record: SessionRecord) -> dict[str, int]:
    """Sessions, chains and kept keys of a record."""
    states = [state.get_structure() for state in (record.get_session_state(), *record.get_previous_session_states())]
    return sizes([[len(chain.messageKeys) for chain in state.receiverChains] for state in states])


class Counted(Store):
    """Counts a session's record when it is stored, so that it need not be read again for that."""

    def store_session(self, name: str, device_id: int, record: SessionRecord) -> None:
        """Store the sessions with a device, and count what is in them."""
        super().store_session(name, device_id, record)
        self.rows.counts[f"{SESSION}{name}.{device_id}"] = sessions_in(record)


class Device(Party):
    """One device, and the peer's store over its rows."""

    def __init__(self, name: str, device_id: int, trusts: bool, rows: dict[str, bytes]) -> None:
        super().__init__(name, device_id, trusts, rows)
        self.peers = Counted(self, trusts=trusts)

    def count(self, row: str, data: bytes) -> dict[str, int] | None:
        """What can be counted in a record."""
        return sessions_in(SessionRecord(serialized=data)) if row.startswith(SESSION) else None


class Omemo(Sessions):
    """All parties. Each verb of the contract is a public method, and its parameters are the verb's."""

    def __init__(self) -> None:
        super().__init__()
        ChainKey.get_next_chain_key = self.counted(ChainKey.get_next_chain_key)
        hkdf.derive = self.counted(hkdf.derive)
        Curve.generate_key_pair = staticmethod(self.drawing(Curve.generate_key_pair, pair_of))

    def hello(self) -> dict[str, Any]:
        """Who this is, and what it can do."""
        return HELLO

    def device(self, name: str, device_id: int, trusts: bool, rows: dict[str, bytes]) -> Device:
        """A device with these rows."""
        return Device(name, device_id, trusts, rows)

    def new_identity(self) -> tuple[bytes, int]:
        """A drawn identity, and a drawn number of the device, which is what the peer has for a registration id."""
        return KeyHelper.generate_identity_key_pair().serialize(), KeyHelper.get_random_int()

    def identity_of(self, private: bytes) -> bytes:
        """The record of this identity."""
        pair = pair_of(private)
        return IdentityKeyPair.new(IdentityKey(pair.get_public_key()), pair.get_private_key()).serialize()

    def identity_public(self, record: bytes) -> bytes:
        """The public key of an identity's record."""
        return IdentityKeyPair.from_bytes(record).get_public_key().serialize()

    def signed_prekey(self, number: int, identity: bytes) -> bytes:
        """The record of a drawn signed prekey."""
        return KeyHelper.generate_signed_pre_key(IdentityKeyPair.from_bytes(identity), number).serialize()

    def signed_prekey_of(self, number: int, private: bytes, signature: bytes) -> bytes:
        """The record of this signed prekey."""
        return SignedPreKeyRecord.new(number, 0, pair_of(private), signature).serialize()

    def signed_prekey_public(self, record: bytes) -> tuple[bytes, bytes]:
        """The public key and the signature of a signed prekey's record."""
        signed = SignedPreKeyRecord.from_bytes(record)
        return signed.get_key_pair().get_public_key().serialize(), signed.get_signature()

    def prekey_of(self, number: int, private: bytes | None = None) -> bytes:
        """The record of this one-time prekey, or of a drawn one."""
        pair = Curve.generate_key_pair() if private is None else pair_of(private)
        return PreKeyRecord.new(number, pair).serialize()

    def prekey_public(self, record: bytes) -> bytes:
        """The public key of a one-time prekey's record."""
        return PreKeyRecord.from_bytes(record).get_key_pair().get_public_key().serialize()

    def process(self, party: Party, peer: Party, bundle: dict[str, Any]) -> None:
        """Process a bundle."""
        SessionBuilder(party.peers, peer.name, peer.device_id).process_pre_key_bundle(bundle_of(**bundle))

    def sealed(self, party: Party, peer: Party, plaintext: bytes) -> tuple[str, bytes]:
        """Encrypt for the peer."""
        message = SessionCipher(party.peers, peer.name, peer.device_id).encrypt(plaintext)
        return "prekey" if isinstance(message, PreKeyWhisperMessage) else "signal", message.serialize()

    def read(self, party: Party, peer: Party, kind: str, message: bytes) -> bytes:
        """Decrypt a message that claims to come from the peer."""
        cipher = SessionCipher(party.peers, peer.name, peer.device_id)
        if kind == "prekey":
            return cipher.decrypt_pkmsg(PreKeyWhisperMessage.from_bytes(message))
        return cipher.decrypt_msg(WhisperMessage.from_bytes(message))

    def refusal(self, error: Exception) -> str:
        """Our code for what the peer threw."""
        return coded(error, TYPES, CODES)


if __name__ == "__main__":
    serve(Omemo(), VERBS)
