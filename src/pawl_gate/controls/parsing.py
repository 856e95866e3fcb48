"""Parsing: controls that break PAR."""

from __future__ import annotations

from pawl import EncryptedMessage, MessageType, ProtocolAddress
from pawl.storage.contract import Row, Store, Table
from pawl_gate.controls.catalogue import control
from pawl_gate.controls.variants import PassingStore, PassingTransaction, Wrapped, WrappedVariant
from pawl_gate.targets.inprocess import Variant


class _IgnoresVersion(Wrapped):
    def decrypt(self, peer: ProtocolAddress, message: EncryptedMessage) -> bytes:
        data = message.serialized
        if message.type is MessageType.SIGNAL and data:
            data = b"\x33" + data[1:]
        return super().decrypt(peer, EncryptedMessage(message.type, data))


@control("version-unauthenticated", "PAR-04")
class VersionUnauthenticated(WrappedVariant):
    """The version byte is assumed, not read: the MAC covers another byte than the one received."""

    wrapper = _IgnoresVersion


class _AssumesBytes(Wrapped):
    def decrypt(self, peer: ProtocolAddress, message: EncryptedMessage) -> bytes:
        version = message.serialized[0]
        del version
        return super().decrypt(peer, message)


@control("parser-raises", "PAR-01")
class ParserRaises(WrappedVariant):
    """The version byte is read before the length is checked: an empty message raises an IndexError."""

    wrapper = _AssumesBytes


class _AddsAField(Wrapped):
    def encrypt(self, peer: ProtocolAddress, plaintext: bytes) -> EncryptedMessage:
        message = super().encrypt(peer, plaintext)
        # A field too many, behind the last one: the peers' parsers skip it.
        if message.type is MessageType.PREKEY:
            return EncryptedMessage(message.type, message.serialized + b"\xa2\x06\x00")
        return message


@control("encoding-not-canonical", "PAR-02")
class EncodingNotCanonical(WrappedVariant):
    """What is written holds a field that no reader knows."""

    wrapper = _AddsAField


class _AllocatesFirst(Wrapped):
    def decrypt(self, peer: ProtocolAddress, message: EncryptedMessage) -> bytes:
        room = bytearray(4 * 1024 * 1024)
        del room
        return super().decrypt(peer, message)


@control("allocated-first", "PAR-03")
class AllocatedFirst(WrappedVariant):
    """Room is made for the largest message before the message is looked at."""

    wrapper = _AllocatesFirst


IDENTITY_BYTES = 34
"""Bytes of the record of a pinned identity."""


class _TakesDamageForAbsence(PassingTransaction):
    def get(self, table: Table, key: bytes) -> Row | None:
        row = super().get(table, key)
        if table is Table.IDENTITY and row is not None and len(row.value) != IDENTITY_BYTES:
            return None
        return row


@control("damage-taken-for-absence", "PAR-05")
class DamageTakenForAbsence(Variant):
    """A damaged record of a pinned identity is taken for none."""

    def store(self, durable: Store) -> Store:
        """A store that hides what it cannot read."""
        return PassingStore(durable, _TakesDamageForAbsence)
