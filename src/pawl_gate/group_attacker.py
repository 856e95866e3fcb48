"""The attacker in groups: changes messages on their way, and as a malicious member gives chains and sends on them.

`pawl_spec.model.groups` holds the symbolic counterpart of each change; the names are `GROUP_TAMPERS` and `SMUGGLES`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from pawl.crypto import cbc, kdf
from pawl_gate.attacker import ATTACKER, LOW_ORDER, OVERSIZED_CIPHERTEXT, UNKNOWN_FIELD, flip, overlong, sign, without
from pawl_gate.attacker import with_body as with_more
from pawl_gate.group_wire import SIGNATURE_BYTES, distribution_layer, message_layer
from pawl_gate.wire_view import Fields, Layer, write_field
from pawl_spec.trace import COUNTER_DELTAS, GROUPS, VERSION_BYTES

ITERATIONS = 2**32
LAST_ITERATIONS = ITERATIONS - 2

GROUP_IDS = tuple(hashlib.md5(name.encode(), usedforsecurity=False).digest() for name in (*GROUPS, "nobody's"))
"""The distribution ids (16 bytes) of the groups, and last one of no group."""

MESSAGE_NUMBERS = {"drop-distribution-id": 1, "drop-chain-id": 2, "drop-iteration": 3, "drop-ciphertext": 4}
DISTRIBUTION_NUMBERS = {
    "drop-distribution-id": 1,
    "drop-chain-id": 2,
    "drop-iteration": 3,
    "drop-chain-key": 4,
    "drop-signing-key": 5,
}
"""Which field a change leaves out."""

OF_NAMED_GROUPS = frozenset({"distribution-id", "drop-distribution-id", "other-group"})
"""The changes of what the earlier layout does not have: there they are none."""


@dataclass(frozen=True, slots=True)
class Given:
    """A distribution that was made. `key` is the chain's, where the attacker signs on it: from `iteration` on."""

    sender: int
    group: int
    data: bytes
    real: bool = True
    key: bytes | None = None
    iteration: int = 0
    earlier: bool = False
    """Whether it has the earlier layout."""


@dataclass(frozen=True, slots=True)
class GroupSent:
    """A group message that was sent, and its text, by which a reading is recognised."""

    handle: int
    sender: int
    group: int
    data: bytes
    text: bytes
    crafted: bool = False
    earlier: bool = False
    """Whether it has the earlier layout."""


def tamper(message: GroupSent, name: str, how: int) -> bytes | None:
    """A changed copy of a group message; None where it does not have what is to be changed."""
    if message.earlier and name in OF_NAMED_GROUPS:
        return None
    # The numbers of the earlier layout's fields are one less.
    less = 1 if message.earlier else 0
    data = message.data
    layer = message_layer(data)
    match name:
        case "signature":
            layer.trailer = flip(layer.trailer, how)
        case "ciphertext":
            layer.set(4 - less, flip(_bytes(layer, 4 - less), how))
        case "iteration":
            layer.set(3 - less, (_int(layer, 3 - less) + COUNTER_DELTAS[how % len(COUNTER_DELTAS)]) % ITERATIONS)
        case "chain-id":
            layer.set(2 - less, _int(layer, 2 - less) ^ 1 << how % 31)
        case "distribution-id":
            layer.set(1, GROUP_IDS[(message.group + 1 + how % 2) % len(GROUP_IDS)])
        case "re-signed":
            return signed(data[:-SIGNATURE_BYTES])
        case "version":
            layer.version = VERSION_BYTES[how % len(VERSION_BYTES)]
        case "truncate":
            return data[: how % len(data)]
        case "trailing-byte":
            return data + bytes([how])
        case "unknown-field":
            return with_more(layer, UNKNOWN_FIELD)
        case "reorder-fields":
            layer.fields = layer.fields[::-1]
        case "duplicate-field":
            number = how % (4 - less) + 1
            return with_more(layer, write_field(number, layer.get(number) or 0))
        case "overlong-varint":
            return overlong(layer, 3 - less)
        case "wrong-wire-type":
            return with_more(
                Layer(layer.version, without(layer, 3 - less), layer.trailer), write_field(3 - less, b"\1")
            )
        case "empty":
            return b""
        case "signature-alone":
            return layer.trailer
        case "oversized-ciphertext":
            layer.set(4 - less, bytes(OVERSIZED_CIPHERTEXT))
        case _:
            layer.fields = without(layer, MESSAGE_NUMBERS[name] - less)
    return layer.data()


def signed(body: bytes) -> bytes:
    """A body with the attacker's own signature."""
    return body + sign(body)


def smuggle(
    sender: int, group: int, how: str, number: int, given: Sequence[Given], *, earlier: bool = False
) -> Given | None:
    """A distribution that a malicious member makes; None where it needs what is not there. Raises: HarnessBroken.

    `given` are all that were made before; `earlier`: the group has the earlier layout.
    """
    if earlier and how in OF_NAMED_GROUPS:
        return None
    less = 1 if earlier else 0
    real = next((d for d in reversed(given) if d.real and (d.sender, d.group) == (sender, group)), None)
    other = next((d for d in reversed(given) if d.real and d.sender != sender and d.group == group), None)
    chain_id, key, start = _chain_id(number), _chain_key(number, "own"), 0
    signing = ATTACKER.public.serialize()
    match how:
        case "last-iterations":
            key, start = _chain_key(number, "late"), LAST_ITERATIONS
        case "collision-own" | "collision-other":
            taken = real if how == "collision-own" else other
            if taken is None:
                return None
            chain_id = _int(distribution_layer(taken.data), 2 - less)
        case "relayed":
            return None if other is None else Given(sender, group, other.data, real=False, earlier=earlier)
        case "rewound":
            if real is None:
                return None
            layer = distribution_layer(real.data)
            layer.set(3 - less, 0)
            layer.set(4 - less, key)
            return Given(sender, group, layer.data(), real=False, earlier=earlier)
        case "low-order-signing-key":
            signing = LOW_ORDER[number % len(LOW_ORDER)]
    named = GROUP_IDS[(group + 1) % len(GROUPS) if how == "other-group" else group]
    fields: Fields = [(2 - less, chain_id), (3 - less, start), (4 - less, key), (5 - less, signing)]
    layer = Layer(0x33, fields if earlier else [(1, named), *fields])
    crafts = how in CRAFTS
    data = _changed(layer, how, number, less)
    return Given(sender, group, data, real=False, key=key if crafts else None, iteration=start, earlier=earlier)


CRAFTS = frozenset({"own", "last-iterations", "collision-own", "collision-other", "other-group", "unknown-field"})
"""The distributions of a chain on which the attacker sends."""


def _changed(layer: Layer, how: str, number: int, less: int) -> bytes:
    match how:
        case "version":
            layer.version = VERSION_BYTES[number % len(VERSION_BYTES)]
        case "truncate":
            return layer.data()[: number % len(layer.data())]
        case "trailing-byte":
            return layer.data() + b"\0"
        case "unknown-field":
            return with_more(layer, UNKNOWN_FIELD)
        case "duplicate-field":
            again = number % (5 - less) + 1
            return with_more(layer, write_field(again, layer.get(again) or 0))
        case "overlong-varint":
            return overlong(layer, 3 - less)
        case "wrong-wire-type":
            layer.set(3 - less, b"\1")
        case "short-chain-key":
            layer.set(4 - less, _bytes(layer, 4 - less)[1:])
        case "untyped-signing-key":
            layer.set(5 - less, _bytes(layer, 5 - less)[1:])
        case _ if how in DISTRIBUTION_NUMBERS:
            layer.fields = without(layer, DISTRIBUTION_NUMBERS[how] - less)
    return layer.data()


def craft(chain: Given, ahead: int, text: bytes) -> bytes:
    """A message on a chain of the attacker's own, so far ahead of where it was given. Only for one with a key."""
    layer = distribution_layer(chain.data)
    key = chain.key or b""
    for _ in range(ahead):
        key = kdf.step_chain(key)[1]
    cipher_key, iv = kdf.group_message_keys(kdf.step_chain(key)[0])
    first = 1 if chain.earlier else 2
    iteration = (chain.iteration + ahead) % ITERATIONS
    body = cbc.encrypt(cipher_key, iv, text)
    fields: Fields = [(first, _int(layer, first)), (first + 1, iteration), (first + 2, body)]
    return signed(Layer(0x33, fields if chain.earlier else [(1, _bytes(layer, 1)), *fields]).data())


def _chain_id(number: int) -> int:
    return 0x0BAD_0000 + number


def _chain_key(number: int, what: str) -> bytes:
    return hashlib.sha256(b"attacker's %s chain %d" % (what.encode(), number)).digest()


def _int(layer: Layer, number: int) -> int:
    value = layer.get(number)
    return value if isinstance(value, int) else 0


def _bytes(layer: Layer, number: int) -> bytes:
    value = layer.get(number)
    return value if isinstance(value, bytes) else b""
