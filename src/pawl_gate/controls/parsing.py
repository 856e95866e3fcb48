"""Parsing: controls that break PAR."""

from __future__ import annotations

from dataclasses import replace

from pawl import EncryptedMessage, MessageType, ProtocolAddress
from pawl.errors import CorruptStore, NoSession
from pawl.storage.contract import Row, Store, Table
from pawl.wire import messages, records, scanner, varint
from pawl.wire.messages import PREKEY_SCHEMA
from pawl.wire.scanner import Schema
from pawl_gate.controls.catalogue import control, slip
from pawl_gate.controls.edits import Edit
from pawl_gate.controls.variants import ForgetsKeys, Patched, Wrapped, WrappedVariant, parse_known_key
from pawl_gate.targets.passing import PassingStore, PassingTransaction
from pawl_gate.targets.variant import Variant


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


@control("untyped-error", "PAR-01")
class UntypedError(ForgetsKeys):
    """A key of the wrong length raises a ValueError, which is no refusal."""

    edits = (Edit(parse_known_key, "raise InvalidKey(_NO_SERIALIZED_KEY)", "raise ValueError(_NO_SERIALIZED_KEY)"),)


slip(
    "repeated-fields-accepted",
    "PAR-02",
    "Of two fields with one number the last one counts.",
    Edit(scanner.scan, "if number in values:", "if False:"),
)
slip(
    "overlong-varints-accepted",
    "PAR-02",
    "An integer may be longer than it need be.",
    Edit(varint.read_varint, "if byte == 0 and shift:", "if False:"),
    Edit(varint.read_varint, "0 < data[at + 1] < 0x80", "data[at + 1] < 0x80"),
)
slip(
    "order-of-fields-fixed",
    "PAR-02",
    "Fields are accepted in the order of their numbers only.",
    Edit(scanner.scan, "if number in values:", "if values and number <= max(values):"),
)


@control("unknown-fields-refused", "PAR-02")
class UnknownFieldsRefused(Patched):
    """A field that the reader does not know is refused."""

    patches = (("pawl.wire.scanner.MAX_UNKNOWN_FIELDS", 0),)


slip(
    "body-unlimited",
    "PAR-03",
    "A field may be longer than its limit.",
    Edit(scanner.scan, "if not least <= value <= most:", "if value < least:"),
)


@control("registration-id-required", "PAR-03")
class RegistrationIdRequired(Patched):
    """A first message without a registration id is refused."""

    patches = (
        (
            "pawl.wire.messages.PREKEY_SCHEMA",
            Schema(*(replace(field, required=field.required or field.number == 5) for field in PREKEY_SCHEMA.fields)),
        ),
    )


slip(
    "outer-version-unchecked",
    "PAR-04",
    "The version byte of a first message is not looked at, only that of the message inside.",
    Edit(
        messages.decode_prekey_message,
        "version_byte = _check_frame(data)",
        r'version_byte = _check_frame(b"\x33" + data[1:])',
    ),
)
slip(
    "record-spelling-unchecked",
    "PAR-05",
    "A record is read although it is not spelled as it was written.",
    Edit(records._check_canonical, "if again != data:", "if False:"),
)


class _HidesDamage(Wrapped):
    def encrypt(self, peer: ProtocolAddress, plaintext: bytes) -> EncryptedMessage:
        try:
            return super().encrypt(peer, plaintext)
        except CorruptStore:
            raise NoSession("there is no session with this address") from None


@control("damaged-session-is-none", "PAR-05")
class DamagedSessionIsNone(WrappedVariant):
    """A session whose record is damaged is said not to be there."""

    wrapper = _HidesDamage


class _RepairsItself(Wrapped):
    def encrypt(self, peer: ProtocolAddress, plaintext: bytes) -> EncryptedMessage:
        try:
            return super().encrypt(peer, plaintext)
        except CorruptStore:
            self.inner.forget_session(peer)
            raise


@control("damaged-session-deleted", "PAR-05")
class DamagedSessionDeleted(WrappedVariant):
    """A session whose record is damaged is deleted when it is found."""

    wrapper = _RepairsItself
