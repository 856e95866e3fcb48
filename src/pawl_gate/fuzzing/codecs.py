"""Entry points of the wire codecs: bytes in, a message or a typed refusal out, as a second reading has it.

What is accepted the protobuf package has to read in the same way, and what is written of it has to be read again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from pawl.crypto.keys import ChainKey, PublicKey
from pawl.errors import ProtocolError
from pawl.wire import group_messages, messages
from pawl_gate.fuzzing import by_package, fields, reading
from pawl_gate.fuzzing.broken import Broken
from pawl_gate.fuzzing.entries import Prepared, Ran
from pawl_gate.fuzzing.fields import Shape
from pawl_gate.fuzzing.reading import Reason, Values
from pawl_gate.wire_view import varint

REFUSALS: Final = frozenset({"malformed-message", "message-too-large", "unknown-version", "invalid-key"})
"""The codes by which a codec of messages refuses."""

KEY: Final = b"\x05" + (9).to_bytes(32, "little")


@dataclass(frozen=True, slots=True)
class Codec:
    """One codec, and what it is held to."""

    decode: Callable[[bytes], Any]
    second: Callable[[bytes], Values | Reason]
    """What must be read, or why it must be refused."""
    agree: Callable[[bytes, Any, Values], None]
    """Raises `Broken` where what was read is not what was to be read."""
    shape: Shape
    ids: frozenset[str]
    seeds: tuple[bytes, ...]

    def hold(self, data: bytes) -> object:
        """What came of the bytes: a value or a refusal. Raises: Broken."""
        wanted = self.second(data)
        try:
            got = self.decode(data)
        except ProtocolError as refusal:
            # A refusal has its code, and its reason.
            if type(wanted) is dict:
                raise Broken("PAR-02", f"what is a message is refused: {refusal}") from None
            if refusal.code not in REFUSALS:
                raise Broken("PAR-01", f"it is refused by {refusal.code}, which is no code of a parser") from None
            return refusal
        except Exception as error:
            raise Broken("PAR-01", f"{type(error).__name__}: {error}") from error
        if type(wanted) is not dict:
            id_, fault = wanted
            raise Broken(str(id_), f"it is accepted although {fault!s}")
        self.agree(data, got, wanted)
        return got

    def run(self, data: bytes) -> Ran:
        """The same, with what it did."""
        got = self.hold(data)
        if isinstance(got, ProtocolError):
            said = f"{got.code}: {got}"
            return Ran(said.encode(), frozenset({said}), self.ids)
        # Which fields are there, in which order, and how long the value of each is, roughly.
        _, parts, _ = fields.take_apart(data, self.shape)
        places = [fields.read_varint(part, 0)[0] for part in parts]
        shape = {f"read: {places[at - 1] if at else 'begins'}, {tag}" for at, tag in enumerate(places)}
        shape |= {f"read: {tag} in {len(part).bit_length()} bits" for tag, part in zip(places, parts, strict=True)}
        return Ran(sha256(repr(got).encode()).digest(), frozenset(shape | {f"version {data[0]}"}), self.ids)

    def prepared(self) -> Prepared:
        """As the entry points want it."""
        mutate, cross, form = fields.mutator(self.shape), fields.crossing(self.shape), fields.form(self.shape)
        return Prepared(self.hold, mutate, cross, self.run, form, lambda: self.seeds)


def same(what: str, got: Sequence[object], wanted: Sequence[object]) -> None:
    """Raises: Broken."""
    if got != wanted:
        raise Broken("PAR-02", f"{what} reads it in another way")


# -- messages of sessions ---------------------------------------------------------------------------------------------

SIGNAL_SHAPE: Final = Shape(trailer=8)
PREKEY_SHAPE: Final = Shape(inside={4: SIGNAL_SHAPE})


def _body(got: messages.SignalMessage) -> bytes:
    return messages.encode_signal_body(
        ratchet_key=got.ratchet_key,
        counter=got.counter,
        previous_counter=got.previous_counter,
        ciphertext=got.ciphertext,
    )


def _signal_agrees(data: bytes, got: messages.SignalMessage, wanted: Values) -> None:
    read = (got.ratchet_key.serialize(), got.counter, got.previous_counter, got.ciphertext)
    same("the second reading", read, (wanted[1], wanted[2], wanted.get(3, 0), wanted[4]))
    same("the frame", (got.version_byte, got.authenticated, got.mac), (data[0], data[:-8], data[-8:]))
    package = by_package.signal(data[1:-8])
    same("the protobuf package", read, package)
    body = _body(got)
    if body != data[:-8]:
        again = messages.decode_signal_message(body + got.mac)
        same("what is written of it", again[1:5], got[1:5])


def _seed_signal(version: bytes = b"\x33", more: bytes = b"") -> bytes:
    body = b"\x0a\x21" + KEY + b"\x10\x07\x18\x81\x02\x22\x10" + bytes(range(16))
    return version + body + more + b"\xa5" * 8


def signal_message() -> Prepared:
    """SignalMessage."""
    seeds = (_seed_signal(), _seed_signal(b"\x34", b"\x28\x01"))
    ids = frozenset({"PAR-01", "PAR-02", "PAR-03", "PAR-04"})

    def decode(data: bytes) -> messages.SignalMessage:
        return messages.decode_signal_message(data)

    return Codec(decode, reading.signal, _signal_agrees, SIGNAL_SHAPE, ids, seeds).prepared()


def _prekey_agrees(data: bytes, got: messages.PreKeySignalMessage, wanted: Values) -> None:
    read = (got.prekey_id, got.base_key.serialize(), got.identity_key.serialize(), got.registration_id)
    same("the second reading", read, (wanted.get(1), wanted[2], wanted[3], wanted.get(5, 0)))
    same("the second reading", (got.signed_prekey_id, got.version_byte), (wanted[6], data[0]))
    package = by_package.prekey(data[1:])
    same("the protobuf package", (*read, got.signed_prekey_id, wanted[4]), package)
    inside = wanted[4]
    if type(inside) is bytes:
        same("the message inside", (got.message.authenticated, got.message.mac), (inside[:-8], inside[-8:]))
    again = messages.encode_prekey_message(
        registration_id=got.registration_id,
        prekey_id=got.prekey_id,
        signed_prekey_id=got.signed_prekey_id,
        base_key=got.base_key,
        identity_key=got.identity_key,
        message=got.message.authenticated + got.message.mac,
    )
    if again != data[:1] + data[1:]:
        same("what is written of it", (_values(messages.decode_prekey_message(again)),), (_values(got),))


def _values(read: messages.PreKeySignalMessage) -> tuple[object, ...]:
    """All but the outer version byte, which is written as 3."""
    ids = (read.registration_id, read.prekey_id, read.signed_prekey_id)
    return (*ids, read.base_key, read.identity_key, read.message)


def prekey_message() -> Prepared:
    """PreKeySignalMessage."""
    keys = b"\x12\x21" + KEY + b"\x1a\x21" + KEY
    inner = _seed_signal()
    rest = keys + b"\x22" + varint(len(inner)) + inner + b"\x28\x05\x30\x09"
    seeds = (b"\x33\x08\x00" + rest, b"\x34" + rest, b"\x33" + keys + rest[len(keys) : -4] + b"\x30\x09")
    ids = frozenset({"PAR-01", "PAR-02", "PAR-03", "PAR-04"})

    def decode(data: bytes) -> messages.PreKeySignalMessage:
        return messages.decode_prekey_message(data)

    return Codec(decode, reading.prekey, _prekey_agrees, PREKEY_SHAPE, ids, seeds).prepared()


# -- messages of groups -----------------------------------------------------------------------------------------------

GROUP_SHAPE: Final = Shape(trailer=64)
DISTRIBUTION_SHAPE: Final = Shape()
GROUP_ID: Final = bytes(range(16))


def _group(data: bytes) -> Values | Reason:
    return _either(data, reading.GROUP, reading.EARLIER_GROUP, 64, ())


def _either(data: bytes, rules: Any, earlier: Any, trailer: int, keys: tuple[int, ...]) -> Values | Reason:
    """By the layout that an input chooses: the earlier one where its first field is an integer."""
    if is_earlier(data):
        lower = tuple(number - 1 for number in keys)
        return reading.message(data, earlier, trailer=trailer, versions=b"\x33", keys=lower)
    return reading.message(data, rules, trailer=trailer, versions=b"\x33", keys=keys)


def is_earlier(data: bytes) -> bool:
    """Whether an input is read in the earlier layout: its first field is field 1, an integer."""
    return data[1:2] == b"\x08"


def _layout(data: bytes) -> group_messages.GroupLayout:
    return group_messages.GroupLayout.EARLIER if is_earlier(data) else group_messages.GroupLayout.CURRENT


def _group_agrees(data: bytes, got: group_messages.SenderKeyMessage, wanted: Values) -> None:
    first = 1 if got.distribution_id is None else 2
    read = (got.chain_id, got.iteration, got.ciphertext)
    same("the second reading", read, (wanted[first], wanted[first + 1], wanted[first + 2]))
    same("the frame", (got.signed, got.signature), (data[:-64], data[-64:]))
    if got.distribution_id is not None:
        same("the second reading", (got.distribution_id.bytes,), (wanted[1],))
        same("its group", (group_messages.group_of_message(data),), (got.distribution_id,))
        same("the protobuf package", (got.distribution_id.bytes, *read), by_package.group(data[1:-64]))
    body = group_messages.encode_sender_key_body(
        distribution_id=got.distribution_id, chain_id=got.chain_id, iteration=got.iteration, ciphertext=got.ciphertext
    )
    if body != data[:-64]:
        again = group_messages.decode_sender_key_message(body + got.signature, layout=_layout(body))
        same("what is written of it", again[:4], got[:4])


def group_message() -> Prepared:
    """SenderKeyMessage, in both layouts."""
    rest = b"\x22\x10" + bytes(16) + b"\x5a" * 64
    seeds = (
        b"\x33\x0a\x10" + GROUP_ID + b"\x10\x07\x18\x81\x02" + rest,
        b"\x33\x08\x07\x10\x03\x1a\x10" + bytes(16) + b"\x5a" * 64,
    )
    ids = frozenset({"PAR-01", "PAR-02", "PAR-03"})

    def decode(data: bytes) -> group_messages.SenderKeyMessage:
        return group_messages.decode_sender_key_message(data, layout=_layout(data))

    return Codec(decode, _group, _group_agrees, GROUP_SHAPE, ids, seeds).prepared()


def _distribution(data: bytes) -> Values | Reason:
    return _either(data, reading.DISTRIBUTION, reading.EARLIER_DISTRIBUTION, 0, (5,))


def _distribution_agrees(data: bytes, got: group_messages.SenderKeyDistribution, wanted: Values) -> None:
    first = 1 if got.distribution_id is None else 2
    read = (got.chain_id, got.iteration, got.chain_key.data, got.signing_key.serialize())
    same("the second reading", read, tuple(wanted[number] for number in range(first, first + 4)))
    if got.distribution_id is not None:
        same("the second reading", (got.distribution_id.bytes,), (wanted[1],))
        same("its group", (group_messages.group_of_distribution(data),), (got.distribution_id,))
        same("the protobuf package", (got.distribution_id.bytes, *read), by_package.distribution(data[1:]))
    written = group_messages.encode_distribution(got)
    # The same bytes were read a moment ago.
    if written != data:
        same("what is written of it", (group_messages.decode_distribution(written, layout=_layout(written)),), (got,))


def distribution() -> Prepared:
    """SenderKeyDistributionMessage, in both layouts."""
    made = [
        group_messages.encode_distribution(
            group_messages.SenderKeyDistribution(named, 7, 300, ChainKey(bytes(32)), PublicKey(KEY[1:]))
        )
        for named in (UUID(bytes=GROUP_ID), None)
    ]
    ids = frozenset({"PAR-01", "PAR-02", "PAR-03", "PAR-05"})

    def decode(data: bytes) -> group_messages.SenderKeyDistribution:
        return group_messages.decode_distribution(data, layout=_layout(data))

    return Codec(decode, _distribution, _distribution_agrees, DISTRIBUTION_SHAPE, ids, tuple(made)).prepared()


__all__ = ["Codec", "distribution", "group_message", "prekey_message", "same", "signal_message"]
