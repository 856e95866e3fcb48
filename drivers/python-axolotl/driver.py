#!/usr/bin/env python3
"""A driver of Pawl's gate for python-axolotl 0.2.3: newline-delimited JSON-RPC 2.0 on stdin and stdout.

The contract is in docs/reference/driver-contract.md; what this driver's store decides is in README.md beside it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
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
from in_python import BadParams, Party, World, ask, device, raw, serve, whole
from peer import Chains, Rows, Store, UnknownPreKey, UnknownSignedPreKey, bundle_of, pair_of

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
    former = record.getPreviousSessionStates()
    states = [state.getStructure() for state in (record.getSessionState(), *former)]
    kept = [[len(chain.messageKeys) for chain in state.receiverChains] for state in states]
    return {
        "sessions": len(former),
        "chains": max(map(len, kept)),
        "kept_chain": max((count for chains in kept for count in chains), default=0),
        "kept_session": max(map(sum, kept)),
    }


class Counted(Store):
    """Counts a session's record when it is stored, so that it need not be read again for that."""

    def storeSession(self, name: str, device_id: int, record: SessionRecord) -> None:  # noqa: D102, N802 - the peer's
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


class Axolotl(World):
    """All parties. Each public method is a verb of the contract, and its parameters are the verb's."""

    def __init__(self) -> None:
        super().__init__()
        self.injected: list[bytes] = []
        """Private keys that the next operation draws, in order."""
        self.watch()

    def watch(self) -> None:
        """Count the peer's work, and hand out the keys that were put in, else draw as ever."""

        def counted(call: Callable[..., Any]) -> Callable[..., Any]:
            def counting(*args: Any, **named: Any) -> Any:
                self.work += 1
                return call(*args, **named)

            return counting

        ChainKey.getNextChainKey = counted(ChainKey.getNextChainKey)
        SenderChainKey.getNext = counted(SenderChainKey.getNext)
        HKDF.deriveSecrets = counted(HKDF.deriveSecrets)
        drawn = Curve.generateKeyPair
        Curve.generateKeyPair = staticmethod(lambda: pair_of(self.injected.pop(0)) if self.injected else drawn())

    def hello(self) -> dict[str, Any]:
        """Who this is, and what it can do."""
        return HELLO

    def install(self, name: str, device_id: int, trusts: bool) -> Device:
        """A new device with a new identity."""
        return made(name, device_id, trusts, KeyHelper.generateIdentityKeyPair(), KeyHelper.generateRegistrationId())

    def opened(self, party: Party) -> Device:
        """The device, opened anew from copies of its rows."""
        return Device(party.name, party.device_id, party.trusts, {row: bytes(data) for row, data in party.rows.items()})

    def identity_key(self, party: Party) -> str:
        """The party's public identity key, in hex."""
        return IdentityKeyPair(serialized=party.rows["identity"]).getPublicKey().serialize().hex()

    def reset(self, seed: int) -> dict[str, Any]:
        """A fresh world."""
        self.injected = []
        return super().reset(seed)

    def bundle(self, party: int, one_time: bool) -> dict[str, Any]:
        """The signed prekey and, if asked, a fresh one-time prekey."""
        one = self.party(party)
        if type(one_time) is not bool:
            raise BadParams("one_time: true or false was expected")
        identity = IdentityKeyPair(serialized=one.rows["identity"])
        if "signed/1" not in one.rows:
            one.put("signed/1", KeyHelper.generateSignedPreKey(identity, 1).serialize())
        signed = SignedPreKeyRecord(serialized=one.rows["signed/1"])
        prekey = None
        if one_time:
            number = int.from_bytes(one.rows["next-prekey"], "big")
            prekey = PreKeyRecord(number, Curve.generateKeyPair())
            one.put(f"prekey/{number}", prekey.serialize())
            one.put("next-prekey", (number + 1).to_bytes(4, "big"))
        return {
            "registration_id": int.from_bytes(one.rows["registration"], "big"),
            "device_id": one.device_id,
            "identity_key": identity.getPublicKey().serialize().hex(),
            "signed_prekey_id": 1,
            "signed_prekey": signed.getKeyPair().getPublicKey().serialize().hex(),
            "signature": signed.getSignature().hex(),
            "prekey_id": prekey and prekey.getId(),
            "prekey": prekey and prekey.getKeyPair().getPublicKey().serialize().hex(),
        }

    def establish(self, party: int, peer: int, bundle: dict[str, Any]) -> dict[str, Any]:
        """Process a bundle that claims to be the peer's; it may be forged."""
        if type(bundle) is not dict or set(bundle) != FIELDS:
            raise BadParams("bundle: what a bundle has was expected")
        given = {name: bundle[name] if name in NUMBERS else raw(bundle[name] or "", name) for name in FIELDS}
        for name in NUMBERS - ({"prekey_id"} if given["prekey_id"] is None else set()):
            whole(given[name], name)
        if bundle["prekey"] is None:
            given["prekey"] = None
        process = SessionBuilder(*self.between(party, peer)).processPreKeyBundle
        ask(lambda: process(bundle_of(**given)))
        return {}

    def encrypt(self, party: int, peer: int, plaintext: str) -> dict[str, Any]:
        """A message, as it goes over the wire."""
        message = ask(SessionCipher(*self.between(party, peer)).encrypt, raw(plaintext, "plaintext"))
        kind = "prekey" if message.getType() == CiphertextMessage.PREKEY_TYPE else "signal"
        return {"kind": kind, "data": message.serialize().hex()}

    def decrypt(self, party: int, peer: int, kind: str, data: str) -> dict[str, Any]:
        """The message claims to come from the peer; it may be anything."""
        if kind not in ("prekey", "signal"):
            raise BadParams("kind: prekey or signal was expected")
        cipher, message = SessionCipher(*self.between(party, peer)), raw(data, "data")
        if kind == "prekey":
            plaintext = ask(lambda: cipher.decryptPkmsg(PreKeyWhisperMessage(serialized=message)))
        else:
            plaintext = ask(lambda: cipher.decryptMsg(WhisperMessage(serialized=message)))
        return {"plaintext": plaintext.hex()}

    def forget(self, party: int, peer: int) -> dict[str, Any]:
        """All sessions with the peer are lost."""
        one, other = self.party(party), self.party(peer, "peer")
        one.remove(f"{SESSION}{other.name}.{other.device_id}")
        return {}

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

    def import_party(
        self, party: int, name: str, device_id: int, trust_on_first_use: bool, identity: str, registration_id: int
    ) -> dict[str, Any]:
        """As `create`, with this private identity key."""
        pair = pair_of(raw(identity, "identity", 32))
        keys = IdentityKeyPair(IdentityKey(pair.getPublicKey()), pair.getPrivateKey())
        new = made(*device(name, device_id, trust_on_first_use), keys, whole(registration_id, "registration_id"))
        self.parties[whole(party, "party")] = new
        return {"identity_key": self.identity_key(new)}

    def import_signed_prekey(self, party: int, id: int, private: str, signature: str) -> dict[str, Any]:
        """It is the current one."""
        pair, number = pair_of(raw(private, "private", 32)), whole(id, "id")
        record = SignedPreKeyRecord(number, 0, pair, raw(signature, "signature"))
        self.party(party).put(f"signed/{number}", record.serialize())
        return {"public_key": pair.getPublicKey().serialize().hex()}

    def import_prekey(self, party: int, id: int, private: str) -> dict[str, Any]:
        """One more one-time prekey."""
        pair, number = pair_of(raw(private, "private", 32)), whole(id, "id")
        self.party(party).put(f"prekey/{number}", PreKeyRecord(number, pair).serialize())
        return {"public_key": pair.getPublicKey().serialize().hex()}

    def inject_keys(self, party: int, private: list[str]) -> dict[str, Any]:
        """The private keys that the next operation draws, in order."""
        self.party(party)
        if type(private) is not list:
            raise BadParams("private: a list was expected")
        self.injected = [raw(key, "private", 32) for key in private]
        return {}

    def between(self, party: int, peer: int) -> tuple[Any, ...]:
        """What the peer's builders and ciphers are made of: the store in its four roles, and whom it is about."""
        one, other = self.party(party), self.party(peer, "peer")
        return one.peers, one.peers, one.peers, one.peers, other.name, other.device_id

    def refusal(self, error: Exception) -> str:
        """Our code for what the peer threw."""
        for type_, code in TYPES:
            # The peer wraps some of what it catches in an error of its own.
            if isinstance(error, type_) or isinstance(error.__context__, type_):
                return code
        return next((code for text, code in CODES if str(error).startswith(text)), "unknown")


def chain_of(sender: Party, group: Any) -> SenderKeyName:
    """The peer's name for a sender's chains in a group: no message says it. Raises: BadParams."""
    raw(group, "group", 16)
    return SenderKeyName(group, AxolotlAddress(sender.name, sender.device_id))


def made(name: str, device_id: int, trusts: bool, identity: IdentityKeyPair, registration_id: int) -> Device:
    """A device with this identity, and nothing else."""
    rows = {
        "identity": identity.serialize(),
        "registration": registration_id.to_bytes(4, "big"),
        "next-prekey": (1).to_bytes(4, "big"),
    }
    return Device(name, device_id, trusts, rows)


NUMBERS = {"registration_id", "device_id", "signed_prekey_id", "prekey_id"}
FIELDS = NUMBERS | {"identity_key", "signed_prekey", "signature", "prekey"}

VERBS = [
    *("hello", "reset", "create", "reinstall", "restart", "approve", "bundle", "establish", "encrypt", "decrypt"),
    *("forget", "arm_crash", "disarm_crash", "observe"),
    *("group_create", "group_join", "group_encrypt", "group_decrypt", "group_rotate"),
    *("import_party", "import_signed_prekey", "import_prekey", "inject_keys"),
]

if __name__ == "__main__":
    serve(Axolotl(), VERBS)
