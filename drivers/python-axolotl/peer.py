"""The peer with a device's store: what the driver and the findings share. The peer is used through its public API only.

Its generated protobuf code is of an old form, which newer protobuf takes only in its implementation in Python.
"""

from __future__ import annotations

import logging
import os

os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")

from axolotl.ecc.curve import Curve
from axolotl.ecc.djbec import DjbECPublicKey
from axolotl.ecc.eckeypair import ECKeyPair
from axolotl.groups.senderkeyname import SenderKeyName
from axolotl.groups.state.senderkeyrecord import SenderKeyRecord
from axolotl.groups.state.senderkeystore import SenderKeyStore
from axolotl.identitykey import IdentityKey
from axolotl.identitykeypair import IdentityKeyPair
from axolotl.invalidkeyidexception import InvalidKeyIdException
from axolotl.state.axolotlstore import AxolotlStore
from axolotl.state.prekeybundle import PreKeyBundle
from axolotl.state.prekeyrecord import PreKeyRecord
from axolotl.state.sessionrecord import SessionRecord
from axolotl.state.signedprekeyrecord import SignedPreKeyRecord
from rows_in_python import Rows

# The peer warns of what it does; nothing is read from there.
logging.disable(logging.CRITICAL)


class UnknownPreKey(InvalidKeyIdException):
    """The store holds no such one-time prekey."""


class UnknownSignedPreKey(InvalidKeyIdException):
    """The store holds no such signed prekey."""


class WithoutPreKey:
    """What the store hands out for the one-time prekey 0: the peer asks for that where a message names none."""

    def getKeyPair(self) -> None:  # noqa: N802 - the peer's name
        """No key: none is mixed into the session."""


class Store(AxolotlStore):
    """The store that the peer asks for: bytes at rest, one pin per name, which is set when the peer says so.

    `answers_none`: whether the store knows that 0 stands for no one-time prekey. A plain one does not.
    """

    def __init__(self, rows: Rows, *, trusts: bool = True, answers_none: bool = True) -> None:
        self.rows = rows
        self.trusts = trusts
        self.answers_none = answers_none

    def getIdentityKeyPair(self) -> IdentityKeyPair:  # noqa: N802 - its name in the peer's interface
        """The identity of this device."""
        return IdentityKeyPair(serialized=self.rows.load("identity"))

    def getLocalRegistrationId(self) -> int:  # noqa: N802 - its name in the peer's interface
        """The number of this device."""
        return int.from_bytes(self.rows.load("registration") or b"", "big")

    def isTrustedIdentity(self, name: str, key: IdentityKey) -> bool:  # noqa: N802 - its name in the peer's interface
        """Whether the key is the pinned one, or may be."""
        pin = self.rows.load(f"pin/{name}")
        return self.trusts if pin is None else pin == key.serialize()

    def saveIdentity(self, name: str, key: IdentityKey) -> None:  # noqa: N802 - its name in the peer's interface
        """Pin the key."""
        self.rows.store(f"pin/{name}", key.serialize())

    def loadPreKey(self, number: int) -> PreKeyRecord | WithoutPreKey:  # noqa: N802 - its name in the peer's interface
        """A one-time prekey. Raises: UnknownPreKey."""
        record = self.rows.load(f"prekey/{number}")
        if record is None and number == 0 and self.answers_none:
            return WithoutPreKey()
        if record is None:
            raise UnknownPreKey(f"no prekey {number}")
        return PreKeyRecord(serialized=record)

    def removePreKey(self, number: int) -> None:  # noqa: N802 - its name in the peer's interface
        """A one-time prekey was used."""
        self.rows.remove(f"prekey/{number}")

    def loadSignedPreKey(self, number: int) -> SignedPreKeyRecord:  # noqa: N802 - its name in the peer's interface
        """A signed prekey. Raises: UnknownSignedPreKey."""
        record = self.rows.load(f"signed/{number}")
        if record is None:
            raise UnknownSignedPreKey(f"no signed prekey {number}")
        return SignedPreKeyRecord(serialized=record)

    def loadSession(self, name: str, device_id: int) -> SessionRecord:  # noqa: N802 - its name in the peer's interface
        """The sessions with a device; an empty record where there are none."""
        record = self.rows.load(f"session/{name}.{device_id}")
        return SessionRecord() if record is None else SessionRecord(serialized=record)

    def storeSession(self, name: str, device_id: int, record: SessionRecord) -> None:  # noqa: N802 - its name in the peer's interface
        """Store the sessions with a device."""
        self.rows.store(f"session/{name}.{device_id}", record.serialize())

    def containsSession(self, name: str, device_id: int) -> bool:  # noqa: N802 - its name in the peer's interface
        """Whether there is a session with a device."""
        return self.rows.load(f"session/{name}.{device_id}") is not None


class Chains(SenderKeyStore):
    """The store of groups: a row for each sender in each group."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def loadSenderKey(self, name: SenderKeyName) -> SenderKeyRecord:  # noqa: N802 - its name in the peer's interface
        """The chains of a sender in a group."""
        record = self.rows.load(f"chains/{name.serialize()}")
        return SenderKeyRecord(serialized=record)

    def storeSenderKey(self, name: SenderKeyName, record: SenderKeyRecord) -> None:  # noqa: N802 - its name in the peer's interface
        """Store the chains of a sender in a group."""
        self.rows.store(f"chains/{name.serialize()}", record.serialize())


def pair_of(private: bytes) -> ECKeyPair:
    """The pair of a private key of 32 bytes."""
    key = Curve.decodePrivatePoint(private)
    return ECKeyPair(DjbECPublicKey(Curve.generatePublicKey(key.getPrivateKey())), key)


def bundle_of(
    *,
    registration_id: int,
    device_id: int,
    identity_key: bytes,
    signed_prekey_id: int,
    signed_prekey: bytes,
    signature: bytes,
    prekey_id: int | None = None,
    prekey: bytes | None = None,
) -> PreKeyBundle:
    """A bundle from what a server hands out."""
    return PreKeyBundle(
        registration_id,
        device_id,
        prekey_id,
        None if prekey is None else Curve.decodePoint(bytearray(prekey), 0),
        signed_prekey_id,
        Curve.decodePoint(bytearray(signed_prekey), 0),
        signature,
        IdentityKey(identity_key, 0),
    )
