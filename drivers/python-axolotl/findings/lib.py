"""What the findings share: devices over a store of bytes. The peer's public API, nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = [str(folder) for folder in Path(__file__).resolve().parents[1:3]]

from axolotl.ecc.curve import Curve
from axolotl.groups.groupcipher import GroupCipher
from axolotl.groups.groupsessionbuilder import GroupSessionBuilder
from axolotl.groups.senderkeyname import SenderKeyName
from axolotl.identitykeypair import IdentityKeyPair
from axolotl.kdf.hkdf import HKDF
from axolotl.protocol.prekeywhispermessage import PreKeyWhisperMessage
from axolotl.protocol.senderkeydistributionmessage import SenderKeyDistributionMessage
from axolotl.protocol.whispermessage import WhisperMessage
from axolotl.sessionbuilder import SessionBuilder
from axolotl.sessioncipher import SessionCipher
from axolotl.state.prekeyrecord import PreKeyRecord
from axolotl.state.signedprekeyrecord import SignedPreKeyRecord
from axolotl.util.keyhelper import KeyHelper
from axolotl.axolotladdress import AxolotlAddress
from findings_in_python import calls
from rows_in_python import Rows
from peer import Chains, Store, bundle_of


class Device:
    """A device with the store that a careful application would write: bytes at rest, one pin per name."""

    def __init__(self, name: str, *, answers_none: bool = True) -> None:
        self.name = name
        self.answers_none = answers_none
        self.install()

    def install(self) -> None:
        """A new store with a new identity."""
        self.rows = Rows()
        self.store = Store(self.rows, answers_none=self.answers_none)
        self.chains = Chains(self.rows)
        self.identity = KeyHelper.generateIdentityKeyPair()
        self.rows.store("identity", self.identity.serialize())
        self.rows.store("registration", b"\x07")
        self.rows.store("signed/1", KeyHelper.generateSignedPreKey(self.identity, 1).serialize())

    def bundle(self, prekey_id: int | None = None, **other: Any) -> dict[str, Any]:
        """What a server hands out, with some of it replaced."""
        signed = SignedPreKeyRecord(serialized=self.rows.load("signed/1"))
        prekey = None
        if prekey_id is not None:
            record = PreKeyRecord(prekey_id, Curve.generateKeyPair())
            self.rows.store(f"prekey/{prekey_id}", record.serialize())
            prekey = record.getKeyPair().getPublicKey().serialize()
        made = {
            "registration_id": 7,
            "device_id": 1,
            "identity_key": self.identity.getPublicKey().serialize(),
            "signed_prekey_id": 1,
            "signed_prekey": signed.getKeyPair().getPublicKey().serialize(),
            "signature": signed.getSignature(),
            "prekey_id": prekey_id,
            "prekey": prekey,
        }
        return {**made, **other}

    def establish(self, peer: Device, bundle: dict[str, Any]) -> None:
        """Begin a session."""
        SessionBuilder(*[self.store] * 4, peer.name, 1).processPreKeyBundle(bundle_of(**bundle))

    def encrypt(self, peer: Device, text: str) -> bytes:
        """A message as it goes over the wire."""
        return SessionCipher(*[self.store] * 4, peer.name, 1).encrypt(text.encode()).serialize()

    def decrypt(self, peer: Device, message: bytes, *, first: bool = False) -> str:
        """Read a message in the peer's name; `first`: a prekey message."""
        cipher = SessionCipher(*[self.store] * 4, peer.name, 1)
        if first:
            return cipher.decryptPkmsg(PreKeyWhisperMessage(serialized=message)).decode()
        return cipher.decryptMsg(WhisperMessage(serialized=message)).decode()

    def approve(self, peer: Device) -> None:
        """The user decided that the peer's present identity is the peer's."""
        self.store.saveIdentity(peer.name, peer.identity.getPublicKey())

    def pinned(self, peer: Device) -> bytes | None:
        """The identity that is pinned to the peer's name."""
        return self.rows.load(f"pin/{peer.name}")

    def state(self, peer: Device) -> Any:
        """The session that is current, and those before it, as the peer's own structures."""
        record = self.store.loadSession(peer.name, 1)
        return [one.getStructure() for one in (record.getSessionState(), *record.getPreviousSessionStates())]

    # In a group of one name.

    def give(self) -> bytes:
        """The device's own chain."""
        return GroupSessionBuilder(self.chains).create(chain_of(self)).serialize()

    def take(self, sender: Device, distribution: bytes) -> None:
        """Take a chain in the sender's name."""
        message = SenderKeyDistributionMessage(serialized=distribution)
        GroupSessionBuilder(self.chains).process(chain_of(sender), message)

    def say(self, text: str) -> bytes:
        """A message to the group."""
        return GroupCipher(self.chains, chain_of(self)).encrypt(text.encode())

    def hear(self, sender: Device, message: bytes) -> str:
        """Read a message in the sender's name."""
        return GroupCipher(self.chains, chain_of(sender)).decrypt(message).decode()


def chain_of(sender: Device) -> SenderKeyName:
    """The sender's chains in the group."""
    return SenderKeyName("group", AxolotlAddress(sender.name, 1))


def state_of(holder: Device, sender: Device | None = None) -> Any:
    """What the holder has of the sender's first chain, or of its own."""
    return holder.chains.loadSenderKey(chain_of(sender or holder)).getSenderKeyState()


def acquainted(prekey_id: int | None = None) -> tuple[Device, Device]:
    """Alice and Bob after one message each way."""
    alice, bob = Device("alice"), Device("bob")
    alice.establish(bob, bob.bundle(prekey_id))
    bob.decrypt(alice, alice.encrypt(bob, "hello"), first=True)
    alice.decrypt(bob, bob.encrypt(alice, "hello"))
    return alice, bob


def counted(call: Callable[..., Any], *args: Any) -> int:
    """How many keys the peer derives while a call runs."""
    return calls(HKDF, "deriveSecrets", call, *args)


def sign(pair: IdentityKeyPair, data: bytes) -> bytes:
    """A signature by an identity."""
    return Curve.calculateSignature(pair.getPrivateKey(), data)
