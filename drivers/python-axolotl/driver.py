#!/usr/bin/env python3
"""A driver of Pawl's gate for python-axolotl 0.2.3: newline-delimited JSON-RPC 2.0 on stdin and stdout.

The contract is in docs/reference/driver-contract.md; what this driver's store decides is in README.md beside it.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER), str(FOLDER.parent)]

from axolotl.axolotladdress import AxolotlAddress
from axolotl.duplicatemessagexception import DuplicateMessageException
from axolotl.ecc.curve import Curve
from axolotl.groups.groupcipher import GroupCipher
from axolotl.groups.groupsessionbuilder import GroupSessionBuilder
from axolotl.groups.ratchet.senderchainkey import SenderChainKey
from axolotl.groups.senderkeyname import SenderKeyName
from axolotl.groups.state.senderkeyrecord import SenderKeyRecord
from axolotl.identitykey import IdentityKey
from axolotl.identitykeypair import IdentityKeyPair
from axolotl.kdf.hkdf import HKDF
from axolotl.protocol.ciphertextmessage import CiphertextMessage
from axolotl.protocol.prekeywhispermessage import PreKeyWhisperMessage
from axolotl.protocol.senderkeydistributionmessage import SenderKeyDistributionMessage
from axolotl.protocol.whispermessage import WhisperMessage
from axolotl.ratchet.chainkey import ChainKey
from axolotl.sessionbuilder import SessionBuilder
from axolotl.sessioncipher import SessionCipher
from axolotl.state.prekeyrecord import PreKeyRecord
from axolotl.state.sessionrecord import SessionRecord
from axolotl.state.signedprekeyrecord import SignedPreKeyRecord
from axolotl.untrustedidentityexception import UntrustedIdentityException
from axolotl.util.keyhelper import KeyHelper
from google.protobuf.message import DecodeError
from in_python import VERBS, Party, Sessions, ask, coded, raw, serve, sizes
from rows_in_python import Rows
from peer import Chains, Store, UnknownPreKey, UnknownSignedPreKey, bundle_of, pair_of

HELLO = {
    "name": "python-axolotl",
    "version": version("python-axolotl"),
    "protocol": 1,
    "message_versions": [3],
    "level": 1,
    "capabilities": [
        *("reinstall", "approve", "strict-identity", "restart", "crash"),
        *("work", "counts", "forget", "import-keys", "inject-keys", "groups", "group-rotate"),
    ],
    "group_layout": "earlier",
    "limits": {
        "forward_jump": 2000,
        "kept_per_chain": None,
        "kept_per_session": None,
        "receiving_chains": 5,
        "archived_sessions": 40,
        "derivations_per_message": None,
        "sender_chains": None,
        "retired_chains": None,
    },
    "profile": {"promotes": "always", "closes_chains": False},
}

SESSION, CHAINS = "session/", "chains/"
"""How the names of rows begin."""

CODES = [
    ("Received message with old counter", "duplicate-message"),
    ("Over 2000 messages into the future!", "too-far-ahead"),
    ("No valid sessionsOver 2000 messages into the future!", "too-far-ahead"),
    ("No valid sessionsBad Mac!", "bad-mac"),
    ("No sender key for", "no-sender-key"),
    ("No key state in record", "no-sender-key"),
    ("No keys for", "no-sender-key"),
    ("No session for", "no-session"),
    ("Invalid signature", "invalid-signature"),
    ("Unknown version", "unknown-version"),
    ("Legacy message", "unknown-version"),
    ("Legacy version", "unknown-version"),
    ("Incomplete message", "malformed-message"),
    ("Unknown key type", "invalid-key"),
    ("publickey must be 32-byte string", "invalid-key"),
]
"""How the peer's texts begin, and our code."""

TYPES: list[tuple[type[Exception], str]] = [
    (UntrustedIdentityException, "untrusted-identity"),
    (DuplicateMessageException, "duplicate-message"),
    (UnknownPreKey, "unknown-prekey"),
    (UnknownSignedPreKey, "unknown-signed-prekey"),
    (DecodeError, "malformed-message"),
]
"""What tells the cause by its type."""


def sessions_in(record: SessionRecord) -> dict[str, int]:
    """Sessions, chains and kept keys of a record."""
    states = [state.getStructure() for state in (record.getSessionState(), *record.getPreviousSessionStates())]
    return sizes([[len(chain.messageKeys) for chain in state.receiverChains] for state in states])


class Counted(Store):
    """Counts a session's record when it is stored, so that it need not be read again for that."""

    def storeSession(self, name: str, device_id: int, record: SessionRecord) -> None:  # noqa: N802 - its name in the peer's interface
        """Store the sessions with a device, and count what is in them."""
        super().storeSession(name, device_id, record)
        self.rows.counts[f"{SESSION}{name}.{device_id}"] = sessions_in(record)


class Device(Party):
    """One device, and the peer's store over its rows."""

    def __init__(self, name: str, device_id: int, trusts: bool, rows: dict[str, bytes]) -> None:
        super().__init__(name, device_id, trusts, rows)
        self.peers = Counted(self, trusts=trusts)
        self.chains = Chains(self)

    def count(self, row: str, data: bytes) -> dict[str, int] | None:
        """What can be counted in a record."""
        if row.startswith(SESSION):
            return sessions_in(SessionRecord(serialized=data))
        # A party's own chain is none that it holds of a sender.
        if not row.startswith(CHAINS) or row.split("::")[1] == self.name:
            return None
        chains = [state.getStructure() for state in SenderKeyRecord(serialized=data).senderKeyStates]
        return {
            "group_chains": len(chains),
            "group_kept": max((len(chain.senderMessageKeys) for chain in chains), default=0),
        }

    def observe(self) -> dict[str, Any]:
        """The observation, groups included."""
        seen = super().observe()
        return {**seen, "group_chains": self.most("group_chains"), "group_kept": self.most("group_kept")}


class Axolotl(Sessions):
    """All parties. Each verb of the contract is a public method, and its parameters are the verb's."""

    def __init__(self) -> None:
        super().__init__()
        ChainKey.getNextChainKey = self.counted(ChainKey.getNextChainKey)
        SenderChainKey.getNext = self.counted(SenderChainKey.getNext)
        HKDF.deriveSecrets = self.counted(HKDF.deriveSecrets)
        Curve.generateKeyPair = staticmethod(self.drawing(Curve.generateKeyPair, pair_of))

    def hello(self) -> dict[str, Any]:
        """Who this is, and what it can do."""
        return HELLO

    def device(self, name: str, device_id: int, trusts: bool, rows: dict[str, bytes]) -> Device:
        """A device with these rows."""
        return Device(name, device_id, trusts, rows)

    def new_identity(self) -> tuple[bytes, int]:
        """A drawn identity and registration id."""
        return KeyHelper.generateIdentityKeyPair().serialize(), KeyHelper.generateRegistrationId()

    def identity_of(self, private: bytes) -> bytes:
        """The record of this identity."""
        pair = pair_of(private)
        return IdentityKeyPair(IdentityKey(pair.getPublicKey()), pair.getPrivateKey()).serialize()

    def identity_public(self, record: bytes) -> bytes:
        """The public key of an identity's record."""
        return IdentityKeyPair(serialized=record).getPublicKey().serialize()

    def signed_prekey(self, number: int, identity: bytes) -> bytes:
        """The record of a drawn signed prekey."""
        return KeyHelper.generateSignedPreKey(IdentityKeyPair(serialized=identity), number).serialize()

    def signed_prekey_of(self, number: int, private: bytes, signature: bytes) -> bytes:
        """The record of this signed prekey."""
        return SignedPreKeyRecord(number, 0, pair_of(private), signature).serialize()

    def signed_prekey_public(self, record: bytes) -> tuple[bytes, bytes]:
        """The public key and the signature of a signed prekey's record."""
        signed = SignedPreKeyRecord(serialized=record)
        return signed.getKeyPair().getPublicKey().serialize(), signed.getSignature()

    def prekey_of(self, number: int, private: bytes | None = None) -> bytes:
        """The record of this one-time prekey, or of a drawn one."""
        return PreKeyRecord(number, Curve.generateKeyPair() if private is None else pair_of(private)).serialize()

    def prekey_public(self, record: bytes) -> bytes:
        """The public key of a one-time prekey's record."""
        return PreKeyRecord(serialized=record).getKeyPair().getPublicKey().serialize()

    def process(self, party: Party, peer: Party, bundle: dict[str, Any]) -> None:
        """Process a bundle."""
        SessionBuilder(*between(party, peer)).processPreKeyBundle(bundle_of(**bundle))

    def sealed(self, party: Party, peer: Party, plaintext: bytes) -> tuple[str, bytes]:
        """Encrypt for the peer."""
        message = SessionCipher(*between(party, peer)).encrypt(plaintext)
        return "prekey" if message.getType() == CiphertextMessage.PREKEY_TYPE else "signal", message.serialize()

    def read(self, party: Party, peer: Party, kind: str, message: bytes) -> bytes:
        """Decrypt a message that claims to come from the peer."""
        cipher = SessionCipher(*between(party, peer))
        if kind == "prekey":
            return cipher.decryptPkmsg(PreKeyWhisperMessage(serialized=message))
        return cipher.decryptMsg(WhisperMessage(serialized=message))

    def group_create(self, party: int, group: str) -> dict[str, Any]:
        """The party's own chain as it is now; the first time it is made."""
        one = self.party(party)
        name = chain_of(one, group)
        return {"distribution": ask(lambda: GroupSessionBuilder(one.chains).create(name).serialize()).hex()}

    def group_join(self, party: int, sender: int, group: str, distribution: str) -> dict[str, Any]:
        """Take a distribution that claims to come from the sender; it may be anything."""
        one, name, data = self.party(party), chain_of(self.party(sender, "sender"), group), raw(distribution, "data")
        process = GroupSessionBuilder(one.chains).process
        ask(lambda: process(name, SenderKeyDistributionMessage(serialized=data)))
        return {}

    def group_encrypt(self, party: int, group: str, plaintext: str) -> dict[str, Any]:
        """A message on the party's own chain."""
        one = self.party(party)
        encrypt = GroupCipher(one.chains, chain_of(one, group)).encrypt
        return {"data": ask(encrypt, raw(plaintext, "plaintext")).hex()}

    def group_decrypt(self, party: int, sender: int, group: str, data: str) -> dict[str, Any]:
        """The message claims to come from the sender, in this group; it may be anything."""
        one, name = self.party(party), chain_of(self.party(sender, "sender"), group)
        return {"plaintext": ask(GroupCipher(one.chains, name).decrypt, raw(data, "data")).hex()}

    def group_rotate(self, party: int, group: str) -> dict[str, Any]:
        """The peer begins a chain where its store holds none: in an empty one, whose chain then takes the place."""
        one, empty = self.party(party), Chains(Rows())
        name = chain_of(one, group)
        ask(GroupSessionBuilder(empty).create, name)
        one.chains.storeSenderKey(name, empty.loadSenderKey(name))
        return {}

    def refusal(self, error: Exception) -> str:
        """Our code for what the peer threw."""
        return coded(error, TYPES, CODES)


def between(party: Party, peer: Party) -> tuple[Any, ...]:
    """What the peer's builders and ciphers are made of: the store in its four roles, and whom it is about."""
    return party.peers, party.peers, party.peers, party.peers, peer.name, peer.device_id


def chain_of(sender: Party, group: Any) -> SenderKeyName:
    """The peer's name for a sender's chains in a group: no message says it. Raises: BadParams."""
    raw(group, "group", 16)
    return SenderKeyName(group, AxolotlAddress(sender.name, sender.device_id))


GROUP_VERBS = ["group_create", "group_join", "group_encrypt", "group_decrypt", "group_rotate"]

if __name__ == "__main__":
    serve(Axolotl(), [*VERBS, *GROUP_VERBS])
