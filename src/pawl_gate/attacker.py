"""The attacker: changes messages and bundles on their way, makes up bytes, and searches a stolen state for keys.

`pawl_spec.model` holds the symbolic counterpart of each change; the names are `TAMPERS`, `FORGERIES` and `JUNK`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pawl.crypto import xeddsa
from pawl.crypto.keys import KeyPair, PrivateKey
from pawl_gate.targets.base import Bundle, WireMessage
from pawl_gate.wire_view import Layer, prekey_layer, signal_layer, varint, write_field
from pawl_spec.trace import COUNTER_DELTAS, VERSION_BYTES

P = 2**255 - 19
LOW_ORDER = tuple(
    b"\x05" + u.to_bytes(32, "little")
    for u in (
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        P - 1,
        P,
        P + 1,
    )
)
"""Public keys (33 bytes) with which every agreement is all zero: the points of small order, and their second encodings.

Source: RFC 7748, section 6.1, and the list that Curve25519's author gives.
"""

UNKNOWN_FIELD = write_field(100, b"unknown")
OUTER = frozenset(
    {
        "registration-id",
        "prekey-id",
        "drop-prekey-id",
        "signed-prekey-id",
        "base-key",
        "identity-key",
        "outer-version",
        "low-order-identity",
        "low-order-base-key",
        "reorder-fields",
        "outer-unknown-field",
        "outer-duplicate-field",
        "outer-overlong-varint",
        "present-identity",
        "drop-base-key",
        "drop-identity-key",
        "drop-message",
        "drop-registration-id",
        "drop-signed-prekey-id",
        "prekey-id-zero",
        "untyped-base-key",
        "untyped-identity-key",
        "respelled-base-key",
        "respelled-identity-key",
    }
)
"""Changes that concern the outer layer of a prekey message."""


def key_pair(label: str) -> KeyPair:
    """A key pair of the attacker's, the same in every run."""
    return KeyPair.from_private(PrivateKey(_clamped(hashlib.sha256(b"attacker " + label.encode()).digest())))


def _clamped(data: bytes) -> bytes:
    return bytes([data[0] & 248]) + data[1:31] + bytes([data[31] & 127 | 64])


ATTACKER = key_pair("identity")

INNER_FIELDS = {"drop-ratchet-key": 1, "drop-counter": 2, "drop-previous-counter": 3, "drop-ciphertext": 4}
OUTER_FIELDS = {
    "drop-base-key": 2,
    "drop-identity-key": 3,
    "drop-message": 4,
    "drop-registration-id": 5,
    "drop-signed-prekey-id": 6,
}
"""Which field a change leaves out."""

OVERSIZED_CIPHERTEXT = 256 * 1024 + 16
"""Bytes: a block more than a body may have."""


def random_key(*labels: int) -> bytes:
    """A well-formed public key (33 bytes) that nobody's private key is known for in the world."""
    return key_pair(f"stray {labels}").public.serialize()


def respelled(key: bytes, how: int) -> bytes:
    """Another public key (33 bytes) that comes to the same shared secret with every private key.

    Even `how`: the point plus the one of order two, (0, 0), which a clamped private key takes to nothing: it has
    1/u for u. Odd: the top bit, which X25519 does not look at. Source: RFC 7748, sections 4.1 and 5.
    """
    if how % 2:
        return key[:-1] + bytes([key[-1] ^ 0x80])
    inverse = pow(int.from_bytes(key[1:], "little"), -1, P)
    return key[:1] + inverse.to_bytes(32, "little")


@dataclass(frozen=True, slots=True)
class Change:
    """A changed message; `prekey_id` is the one it names now, where that was changed."""

    message: WireMessage
    prekey_id: int | None = None


# -- messages ---------------------------------------------------------------------------------------------------------


def tamper(
    message: WireMessage, name: str, how: int, *, others: Sequence[WireMessage], identities: Mapping[int, bytes]
) -> Change | None:
    """A changed copy of a message, or None where the change does not concern it (an outer field of a plain message).

    `others` are all messages so far, to splice from; `identities` are keys (33 bytes): at 0 that of the next
    party, at 1 that of the sender as it is now.
    """
    if name in OUTER:
        return _tamper_outer(message, name, how, identities) if message.kind == "prekey" else None
    if message.kind == "signal":
        return Change(WireMessage("signal", _tamper_inner(message.data, name, how, others)))
    outer = prekey_layer(message.data)
    outer.set(4, _tamper_inner(_bytes(outer, 4), name, how, others))
    return Change(WireMessage("prekey", outer.data()))


def _tamper_inner(data: bytes, name: str, how: int, others: Sequence[WireMessage]) -> bytes:
    layer = signal_layer(data)
    delta = COUNTER_DELTAS[how % len(COUNTER_DELTAS)]
    match name:
        case "mac":
            layer.trailer = flip(layer.trailer, how)
        case "ciphertext":
            layer.set(4, flip(_bytes(layer, 4), how))
        case "counter":
            layer.set(2, (_int(layer, 2) + delta) % 2**32)
        case "previous-counter":
            layer.set(3, (_int(layer, 3) + delta) % 2**32)
        case "ratchet-key":
            layer.set(1, _other_ratchet_key(layer, how, others))
        case "low-order-ratchet-key":
            layer.set(1, LOW_ORDER[how % len(LOW_ORDER)])
        case "version":
            layer.version = VERSION_BYTES[how % len(VERSION_BYTES)]
        case "truncate":
            return data[: how % len(data)]
        case "trailing-byte":
            return data + bytes([how])
        case "unknown-field":
            return with_body(layer, UNKNOWN_FIELD)
        case "duplicate-field":
            number = how % 4 + 1
            value = layer.get(number)
            return with_body(layer, write_field(number, 0 if value is None else value))
        case "overlong-varint":
            return overlong(layer, 2)
        case "wrong-wire-type":
            return with_body(Layer(layer.version, without(layer, 2), layer.trailer), write_field(2, b"\1"))
        case "oversized-ciphertext":
            layer.set(4, bytes(OVERSIZED_CIPHERTEXT))
        case "oversized-key":
            layer.set(1, _bytes(layer, 1) + bytes(31))
        case "untyped-ratchet-key":
            layer.set(1, _bytes(layer, 1)[1:])
        case _:
            layer.fields = without(layer, INNER_FIELDS[name])
    return layer.data()


def _tamper_outer(message: WireMessage, name: str, how: int, identities: Mapping[int, bytes]) -> Change | None:
    layer = prekey_layer(message.data)
    prekey_id: int | None = None
    match name:
        case "present-identity":
            if layer.get(3) == identities[1]:
                return None
            layer.set(3, identities[1])
        case "registration-id":
            layer.set(5, (_int(layer, 5) + 1) % 2**32)
        case "prekey-id":
            prekey_id = (_int(layer, 1) + 1 + how) % 2**32
            layer.set(1, prekey_id)
        case "drop-prekey-id":
            layer.fields = without(layer, 1)
        case "signed-prekey-id":
            layer.set(6, (_int(layer, 6) + 1000 + how) % 2**32)
        case "base-key":
            layer.set(2, random_key(how))
        case "low-order-base-key":
            layer.set(2, LOW_ORDER[how % len(LOW_ORDER)])
        case "identity-key":
            layer.set(3, ATTACKER.public.serialize() if how % 2 == 0 else identities[0])
        case "low-order-identity":
            layer.set(3, LOW_ORDER[how % len(LOW_ORDER)])
        case "outer-version":
            layer.version = VERSION_BYTES[how % len(VERSION_BYTES)]
        case "reorder-fields":
            at = how % len(layer.fields)
            layer.fields = layer.fields[at:] + layer.fields[:at]
            if at == 0:
                layer.fields.reverse()
        case "outer-unknown-field":
            return Change(WireMessage("prekey", layer.data() + UNKNOWN_FIELD))
        case "outer-duplicate-field":
            number, value = layer.fields[how % len(layer.fields)]
            return Change(WireMessage("prekey", layer.data() + write_field(number, value)))
        case "outer-overlong-varint":
            return Change(WireMessage("prekey", overlong(layer, 5)))
        case "prekey-id-zero":
            prekey_id = 0
            layer.set(1, prekey_id)
        case "respelled-base-key":
            layer.set(2, respelled(_bytes(layer, 2), how))
        case "respelled-identity-key":
            layer.set(3, respelled(_bytes(layer, 3), how))
        case "untyped-base-key":
            layer.set(2, _bytes(layer, 2)[1:])
        case "untyped-identity-key":
            layer.set(3, _bytes(layer, 3)[1:])
        case _:
            layer.fields = without(layer, OUTER_FIELDS[name])
    return Change(WireMessage("prekey", layer.data()), prekey_id)


def _other_ratchet_key(layer: Layer, how: int, others: Sequence[WireMessage]) -> bytes:
    """A stray key, or one spliced from another message if that has another."""
    mine = _bytes(layer, 1)
    if how % 2:
        other = others[how % len(others)]
        inner = other.data if other.kind == "signal" else _bytes(prekey_layer(other.data), 4)
        spliced = _bytes(signal_layer(inner), 1)
        if spliced != mine:
            return spliced
    return random_key(how, 1)


def with_body(layer: Layer, more: bytes) -> bytes:
    """The bytes of a layer with something added behind its fields."""
    body = Layer(layer.version, layer.fields).data()
    return body + more + layer.trailer


def overlong(layer: Layer, number: int) -> bytes:
    """The layer with the varint of one field written one byte longer than needed."""
    out = bytearray([layer.version])
    for field, value in layer.fields:
        if field == number and isinstance(value, int):
            shortest = varint(value)
            out += varint(field << 3) + shortest[:-1] + bytes([shortest[-1] | 0x80, 0])
        else:
            out += write_field(field, value)
    return bytes(out) + layer.trailer


def without(layer: Layer, number: int) -> list[tuple[int, int | bytes]]:
    """The fields of a layer but one."""
    return [field for field in layer.fields if field[0] != number]


def flip(data: bytes, how: int) -> bytes:
    """The bytes with one bit changed."""
    if not data:
        return b"\1"
    at = how % len(data)
    return data[:at] + bytes([data[at] ^ 1 << how % 8]) + data[at + 1 :]


def _int(layer: Layer, number: int) -> int:
    value = layer.get(number)
    return value if isinstance(value, int) else 0


def _bytes(layer: Layer, number: int) -> bytes:
    value = layer.get(number)
    return value if isinstance(value, bytes) else b""


# -- bundles ----------------------------------------------------------------------------------------------------------


def forge(bundle: Bundle, how: str) -> Bundle:
    """A changed copy of a prekey bundle."""
    mine = ATTACKER.public.serialize()
    match how:
        case "bad-signature":
            return replace(bundle, signature=flip(bundle.signature, 3))
        case "swap-signed-prekey":
            return replace(bundle, signed_prekey=mine)
        case "swap-identity":
            return replace(bundle, identity_key=mine)
        case "attacker-bundle":
            return replace(bundle, identity_key=mine, signed_prekey=mine, signature=sign(mine))
        case "low-order-signed-prekey":
            return replace(bundle, identity_key=mine, signed_prekey=LOW_ORDER[0], signature=sign(LOW_ORDER[0]))
        case "low-order-prekey":
            return replace(bundle, prekey=LOW_ORDER[0])
        case "swap-prekey":
            return replace(bundle, prekey=mine)
        case "key-type":
            return replace(bundle, signed_prekey=b"\x06" + bundle.signed_prekey[1:])
        case "short-signature":
            return replace(bundle, signature=bundle.signature[:-1])
        case "long-signature":
            return replace(bundle, signature=bundle.signature + b"\0")
        case "untyped-signed-prekey":
            return replace(bundle, signed_prekey=bundle.signed_prekey[1:])
        case "untyped-prekey":
            return replace(bundle, prekey=(bundle.prekey or b"")[1:])
        case "untyped-identity-key":
            return replace(bundle, identity_key=bundle.identity_key[1:])
        case "long-key":
            return replace(bundle, signed_prekey=bundle.signed_prekey + b"\0")
        case "empty-key":
            return replace(bundle, signed_prekey=b"")
        case _:  # "prekey-id": an id that its owner does not have
            return replace(bundle, prekey_id=(bundle.prekey_id or 0) + 1_000_000)


def sign(message: bytes) -> bytes:
    """The attacker's own signature."""
    return xeddsa.sign(ATTACKER.private, message, rng=lambda size: hashlib.sha512(message).digest()[:size])


# -- made-up bytes ----------------------------------------------------------------------------------------------------


def junk(what: str, how: int) -> WireMessage:
    """Bytes that nobody sent; odd `how`: handed over as a prekey message."""
    kind = "prekey" if how & 1 else "signal"
    noise = b"".join(hashlib.sha256(bytes([how, block])).digest() for block in range(4))
    match what:
        case "empty":
            data = b""
        case "version-only":
            data = b"\x33"
        case "random":
            data = noise[: how % 128]
        case "version-random":
            data = b"\x33" + noise[: how % 128]
        case "well-formed":
            data = _well_formed(kind, how, noise)
        case "oversized":
            data = b"\x33" + write_field(4, bytes(512 * 1024)) + noise[:8]
        case _:  # "huge-length": a length that is not there
            data = b"\x33\x22" + varint(2**31 - 1 if how & 2 else 2**63 - 1) + noise[:16]
    return WireMessage(kind, data)


def _well_formed(kind: str, how: int, noise: bytes) -> bytes:
    fields: list[tuple[int, int | bytes]] = [(1, random_key(how, 2)), (2, how), (3, 0), (4, noise[:16])]
    inner = Layer(0x33, fields, noise[16:24]).data()
    if kind == "signal":
        return inner
    outer: list[tuple[int, int | bytes]] = [
        (1, how),
        (2, random_key(how, 3)),
        (3, ATTACKER.public.serialize()),
        (4, inner),
        (5, 1),
        (6, 1),
    ]
    return Layer(0x33, outer).data()
