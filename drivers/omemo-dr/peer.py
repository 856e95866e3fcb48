"""The peer with a device's store: what the driver and the findings share. The peer is used through its public API only.

The peer's store has 36 calls. This one has those that sessions are made with: what `SessionBuilder` and
`SessionCipher` ask for. The others are about trust levels, devices and upkeep, and are the application's.
"""

from __future__ import annotations

import logging
from typing import Any

from omemo_dr.const import NS_OMEMO_TMP
from omemo_dr.curve import generate_public_key
from omemo_dr.ecc.djbec import CurvePublicKey, DjbECPrivateKey
from omemo_dr.ecc.eckeypair import ECKeyPair
from omemo_dr.exceptions import InvalidKeyIdException
from omemo_dr.identitykey import IdentityKey
from omemo_dr.identitykeypair import IdentityKeyPair
from omemo_dr.state.prekeybundle import PreKeyBundle
from omemo_dr.state.prekeyrecord import PreKeyRecord
from omemo_dr.state.sessionrecord import SessionRecord
from omemo_dr.state.signedprekeyrecord import SignedPreKeyRecord
from omemo_dr.structs import OMEMOBundle
from rows_in_python import Rows

# The peer warns of what it does; nothing is read from there.
logging.disable(logging.CRITICAL)


class UnknownPreKey(InvalidKeyIdException):
    """The store holds no such one-time prekey."""


class UnknownSignedPreKey(InvalidKeyIdException):
    """The store holds no such signed prekey."""


class Store:
    """The store that sessions ask for: bytes at rest, one pin per name, which is set when the peer says so."""

    def __init__(self, rows: Rows, *, trusts: bool = True) -> None:
        self.rows = rows
        self.trusts = trusts

    def get_identity_key_pair(self) -> IdentityKeyPair:
        """The identity of this device."""
        return IdentityKeyPair.from_bytes(self.rows.load("identity"))

    def get_our_device_id(self) -> int:
        """The number of this device."""
        return int.from_bytes(self.rows.load("registration") or b"", "big")

    def is_trusted_identity(self, name: str, key: IdentityKey) -> bool:
        """Whether the key is the pinned one, or may be."""
        pin = self.rows.load(f"pin/{name}")
        return self.trusts if pin is None else pin == key.serialize()

    def save_identity(self, name: str, key: IdentityKey) -> None:
        """Pin the key."""
        self.rows.store(f"pin/{name}", key.serialize())

    def load_pre_key(self, number: int) -> PreKeyRecord:
        """A one-time prekey. Raises: UnknownPreKey."""
        record = self.rows.load(f"prekey/{number}")
        if record is None:
            raise UnknownPreKey(f"no prekey {number}")
        return PreKeyRecord.from_bytes(record)

    def remove_pre_key(self, number: int) -> None:
        """A one-time prekey was used."""
        self.rows.remove(f"prekey/{number}")

    def load_signed_pre_key(self, number: int) -> SignedPreKeyRecord:
        """A signed prekey. Raises: UnknownSignedPreKey."""
        record = self.rows.load(f"signed/{number}")
        if record is None:
            raise UnknownSignedPreKey(f"no signed prekey {number}")
        return SignedPreKeyRecord.from_bytes(record)

    def load_session(self, name: str, device_id: int) -> SessionRecord:
        """The sessions with a device; an empty record where there are none."""
        record = self.rows.load(f"session/{name}.{device_id}")
        return SessionRecord() if record is None else SessionRecord(serialized=record)

    def store_session(self, name: str, device_id: int, record: SessionRecord) -> None:
        """Store the sessions with a device."""
        self.rows.store(f"session/{name}.{device_id}", record.serialize())

    def contains_session(self, name: str, device_id: int) -> bool:
        """Whether there is a session with a device."""
        return self.rows.load(f"session/{name}.{device_id}") is not None


def pair_of(private: bytes) -> ECKeyPair:
    """The pair of a private key of 32 bytes."""
    return ECKeyPair(CurvePublicKey(generate_public_key(private)), DjbECPrivateKey(private))


def bundle_of(
    *,
    device_id: int,
    identity_key: bytes,
    signed_prekey_id: int,
    signed_prekey: bytes,
    signature: bytes,
    prekey_id: int | None = None,
    prekey: bytes | None = None,
    **_: Any,
) -> PreKeyBundle:
    """A bundle from what a server hands out, as an application makes it. It has no registration id of its own."""
    offered = [] if prekey_id is None or prekey is None else [{"key": prekey, "id": prekey_id}]
    return PreKeyBundle.from_proto(
        OMEMOBundle(
            device_id=device_id,
            ik=identity_key,
            namespace=NS_OMEMO_TMP,
            otpks=offered,
            spk={"key": signed_prekey, "id": signed_prekey_id},
            spk_signature=signature,
        )
    )
