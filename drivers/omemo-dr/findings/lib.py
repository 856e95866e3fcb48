"""What the findings share: devices over a store of bytes. The peer's public API, nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = [str(folder) for folder in Path(__file__).resolve().parents[1:3]]

from omemo_dr.ecc.curve import Curve
from omemo_dr.identitykeypair import IdentityKeyPair
from omemo_dr.kdf import hkdf
from omemo_dr.protocol.prekeywhispermessage import PreKeyWhisperMessage
from omemo_dr.protocol.whispermessage import WhisperMessage
from omemo_dr.sessionbuilder import SessionBuilder
from omemo_dr.sessioncipher import SessionCipher
from omemo_dr.state.prekeyrecord import PreKeyRecord
from omemo_dr.state.signedprekeyrecord import SignedPreKeyRecord
from omemo_dr.util.keyhelper import KeyHelper
from findings_in_python import calls
from rows_in_python import Rows
from peer import Store, bundle_of


class Device:
    """A device with the store that a careful application would write: bytes at rest, one pin per name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.install()

    def install(self) -> None:
        """A new store with a new identity."""
        self.rows = Rows()
        self.store = Store(self.rows)
        self.identity = KeyHelper.generate_identity_key_pair()
        self.rows.store("identity", self.identity.serialize())
        self.rows.store("registration", b"\x07")
        self.rows.store("signed/1", KeyHelper.generate_signed_pre_key(self.identity, 1).serialize())

    def bundle(self, prekey_id: int = 1, **other: Any) -> dict[str, Any]:
        """What a server hands out, with some of it replaced."""
        signed = SignedPreKeyRecord.from_bytes(self.rows.load("signed/1"))
        record = PreKeyRecord.new(prekey_id, Curve.generate_key_pair())
        self.rows.store(f"prekey/{prekey_id}", record.serialize())
        made = {
            "device_id": 1,
            "identity_key": self.identity.get_public_key().serialize(),
            "signed_prekey_id": 1,
            "signed_prekey": signed.get_key_pair().get_public_key().serialize(),
            "signature": signed.get_signature(),
            "prekey_id": prekey_id,
            "prekey": record.get_key_pair().get_public_key().serialize(),
        }
        return {**made, **other}

    def establish(self, peer: Device, bundle: dict[str, Any]) -> None:
        """Begin a session."""
        SessionBuilder(self.store, peer.name, 1).process_pre_key_bundle(bundle_of(**bundle))

    def encrypt(self, peer: Device, text: str) -> bytes:
        """A message as it goes over the wire."""
        return SessionCipher(self.store, peer.name, 1).encrypt(text.encode()).serialize()

    def decrypt(self, peer: Device, message: bytes, *, first: bool = False) -> str:
        """Read a message in the peer's name; `first`: a prekey message."""
        cipher = SessionCipher(self.store, peer.name, 1)
        if first:
            return cipher.decrypt_pkmsg(PreKeyWhisperMessage.from_bytes(message)).decode()
        return cipher.decrypt_msg(WhisperMessage.from_bytes(message)).decode()

    def approve(self, peer: Device) -> None:
        """The user decided that the peer's present identity is the peer's."""
        self.store.save_identity(peer.name, peer.identity.get_public_key())

    def pinned(self, peer: Device) -> bytes | None:
        """The identity that is pinned to the peer's name."""
        return self.rows.load(f"pin/{peer.name}")

    def state(self, peer: Device) -> Any:
        """The session that is current, and those before it, as the peer's own structures."""
        record = self.store.load_session(peer.name, 1)
        return [one.get_structure() for one in (record.get_session_state(), *record.get_previous_session_states())]


def acquainted() -> tuple[Device, Device]:
    """Alice and Bob after one message each way."""
    alice, bob = Device("alice"), Device("bob")
    alice.establish(bob, bob.bundle())
    bob.decrypt(alice, alice.encrypt(bob, "hello"), first=True)
    alice.decrypt(bob, bob.encrypt(alice, "hello"))
    return alice, bob


def counted(call: Callable[..., Any], *args: Any) -> int:
    """How many keys the peer derives while a call runs."""
    return calls(hkdf, "derive", call, *args)


def sign(pair: IdentityKeyPair, data: bytes) -> bytes:
    """A signature by an identity."""
    return Curve.calculate_signature(pair.get_private_key(), data)
