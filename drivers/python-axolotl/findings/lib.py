"""What the findings share: devices over a store of bytes, and a small protobuf editor. The peer's public API, nothing
else.

Each finding exits 0 when it is reproduced and 1 when it is not.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

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
from peer import Chains, Rows, Store, bundle_of


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


def outcome(call: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """What a call returned, or what it threw."""
    try:
        return call(*args, **named)
    # Of any class: how the peer refuses is what is looked at.
    except Exception as error:
        return error


def refused(value: Any) -> bool:
    """Whether an outcome is a refusal."""
    return isinstance(value, Exception)


def counted(call: Callable[..., Any], *args: Any) -> int:
    """How many keys the peer derives while a call runs."""
    derived, plain = 0, HKDF.deriveSecrets

    def counting(*of: Any, **named: Any) -> bytes:
        nonlocal derived
        derived += 1
        return plain(*of, **named)

    HKDF.deriveSecrets = counting
    try:
        call(*args)
    finally:
        HKDF.deriveSecrets = plain
    return derived


# -- protobuf, as far as these messages need it -----------------------------------------------------------------------


def varint(value: int) -> bytes:
    """A number."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | bytes) -> bytes:
    """A field."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message in the order received."""
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        tag = number()
        if tag & 7 == 0:
            yield tag >> 3, number()
        else:
            size = number()
            yield tag >> 3, data[at : at + size]
            at += size


PREKEY_ID, BASE_KEY, IDENTITY_KEY, INNER = 1, 2, 3, 4
"""Outer fields of a prekey message."""


def edit(message: bytes, **changes: int | bytes) -> bytes:
    """A prekey message with some outer fields changed or put first; nobody's key is needed for that."""
    numbers = {"prekey_id": PREKEY_ID, "base_key": BASE_KEY, "identity_key": IDENTITY_KEY, "inner": INNER}
    changed = {numbers[name]: value for name, value in changes.items()}
    kept = [(number, changed.pop(number, value)) for number, value in fields(message[1:])]
    return message[:1] + b"".join(field(*one) for one in [*changed.items(), *kept])


def outer(message: bytes, number: int) -> Any:
    """An outer field of a prekey message."""
    return dict(fields(message[1:]))[number]


def sign(pair: IdentityKeyPair, data: bytes) -> bytes:
    """A signature by an identity."""
    return Curve.calculateSignature(pair.getPrivateKey(), data)


def finding(id_: str, title: str, body: Callable[[], list[tuple[str, bool]]]) -> None:
    """Run a finding: `body` returns what was seen, statements and whether they hold; all true means reproduced."""
    print(f"{id_} · {title}")
    try:
        seen = body()
    # Whatever went wrong, nothing is shown by it.
    except Exception:
        seen = [(traceback.format_exc(), False)]
    for statement, held in seen:
        print(f"  {'seen    ' if held is True else 'NOT SEEN'} {statement}")
    reproduced = bool(seen) and all(held is True for _, held in seen)
    print("  reproduced" if reproduced else "  not reproduced")
    sys.exit(0 if reproduced else 1)
