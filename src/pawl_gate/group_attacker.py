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
from pawl_gate.group_wire import CURRENT, SIGNATURE_BYTES, Layout, distribution_layer, message_layer
from pawl_gate.wire_view import Fields, Layer, write_field
from pawl_spec.trace import COUNTER_DELTAS, GROUPS, VERSION_BYTES

ITERATIONS = 2**32
LAST_ITERATIONS = ITERATIONS - 2

GROUP_IDS = tuple(hashlib.md5(name.encode(), usedforsecurity=False).digest() for name in (*GROUPS, "nobody's"))
"""The distribution ids (16 bytes) of the groups, and last one of no group."""

OF_NAMES = frozenset({"distribution-id", "drop-distribution-id", "other-group"})
"""Changes to where a message or distribution names its group; where it names none, there is nothing to change."""


def _left_out(name: str, layout: Layout) -> int:
    """The number of the field that a change leaves out; 0: it leaves out none."""
    numbers = {
        "drop-distribution-id": layout.named,
        "drop-chain-id": layout.chain_id,
        "drop-iteration": layout.iteration,
        "drop-ciphertext": layout.content,
        "drop-chain-key": layout.content,
        "drop-signing-key": layout.signing_key,
    }
    return numbers.get(name) or 0


@dataclass(frozen=True, slots=True)
class Given:
    """A distribution that was made. `key` is the chain's, where the attacker signs on it: from `iteration` on."""

    sender: int
    group: int
    data: bytes
    real: bool = True
    key: bytes | None = None
    iteration: int = 0
    layout: Layout = CURRENT


@dataclass(frozen=True, slots=True)
class GroupSent:
    """A group message that was sent, and its text, by which a reading is recognised."""

    handle: int
    sender: int
    group: int
    data: bytes
    text: bytes
    crafted: bool = False
    layout: Layout = CURRENT


def tamper(message: GroupSent, name: str, how: int) -> bytes | None:
    """A changed copy of a group message; None where the layout has nothing to change."""
    data, layout = message.data, message.layout
    if layout.named is None and name in OF_NAMES:
        return None
    layer = message_layer(data)
    match name:
        case "signature":
            layer.trailer = flip(layer.trailer, how)
        case "ciphertext":
            layer.set(layout.content, flip(_bytes(layer, layout.content), how))
        case "iteration":
            further = COUNTER_DELTAS[how % len(COUNTER_DELTAS)]
            layer.set(layout.iteration, (_int(layer, layout.iteration) + further) % ITERATIONS)
        case "chain-id":
            layer.set(layout.chain_id, _int(layer, layout.chain_id) ^ 1 << how % 31)
        case "distribution-id":
            layer.set(layout.named or 1, GROUP_IDS[(message.group + 1 + how % 2) % len(GROUP_IDS)])
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
            number = how % len(layout.message_fields) + 1
            return with_more(layer, write_field(number, layer.get(number) or 0))
        case "overlong-varint":
            return overlong(layer, layout.iteration)
        case "wrong-wire-type":
            rest = Layer(layer.version, without(layer, layout.iteration), layer.trailer)
            return with_more(rest, write_field(layout.iteration, b"\1"))
        case "empty":
            return b""
        case "signature-alone":
            return layer.trailer
        case "oversized-ciphertext":
            layer.set(layout.content, bytes(OVERSIZED_CIPHERTEXT))
        case _:
            layer.fields = without(layer, _left_out(name, layout))
    return layer.data()


def signed(body: bytes) -> bytes:
    """A body with the attacker's own signature."""
    return body + sign(body)


def smuggle(
    sender: int, group: int, how: str, number: int, given: Sequence[Given], layout: Layout = CURRENT
) -> Given | None:
    """A distribution that a malicious member makes; None where it needs one that is not there. Raises: HarnessBroken.

    `given` are all that were made before. None too where the layout has nothing to change.
    """
    if layout.named is None and how in OF_NAMES:
        return None
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
            chain_id = _int(distribution_layer(taken.data), layout.chain_id)
        case "relayed":
            return None if other is None else Given(sender, group, other.data, real=False, layout=layout)
        case "rewound":
            if real is None:
                return None
            layer = distribution_layer(real.data)
            layer.set(layout.iteration, 0)
            layer.set(layout.content, key)
            return Given(sender, group, layer.data(), real=False, layout=layout)
        case "low-order-signing-key":
            signing = LOW_ORDER[number % len(LOW_ORDER)]
    named = GROUP_IDS[(group + 1) % len(GROUPS) if how == "other-group" else group]
    layer = _layer(layout, named, chain_id, start, key)
    layer.set(layout.signing_key, signing)
    crafts = how in CRAFTS
    data = _changed(layer, how, number, layout)
    return Given(sender, group, data, real=False, key=key if crafts else None, iteration=start, layout=layout)


def _layer(layout: Layout, named: bytes, chain_id: int, iteration: int, content: bytes) -> Layer:
    """What messages and distributions have in common, in the order of its numbers."""
    fields: Fields = [] if layout.named is None else [(layout.named, named)]
    fields += [(layout.chain_id, chain_id), (layout.iteration, iteration), (layout.content, content)]
    return Layer(0x33, fields)


CRAFTS = frozenset({"own", "last-iterations", "collision-own", "collision-other", "other-group", "unknown-field"})
"""The distributions of a chain on which the attacker sends."""


def _changed(layer: Layer, how: str, number: int, layout: Layout) -> bytes:
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
            again = number % len(layout.distribution_fields) + 1
            return with_more(layer, write_field(again, layer.get(again) or 0))
        case "overlong-varint":
            return overlong(layer, layout.iteration)
        case "wrong-wire-type":
            layer.set(layout.iteration, b"\1")
        case "short-chain-key":
            layer.set(layout.content, _bytes(layer, layout.content)[1:])
        case "untyped-signing-key":
            layer.set(layout.signing_key, _bytes(layer, layout.signing_key)[1:])
        case _:
            layer.fields = without(layer, _left_out(how, layout))
    return layer.data()


def craft(chain: Given, ahead: int, text: bytes) -> bytes:
    """A message on a chain of the attacker's own, so far ahead of where it was given. Only for one with a key."""
    layer, layout = distribution_layer(chain.data), chain.layout
    key = chain.key or b""
    for _ in range(ahead):
        key = kdf.step_chain(key)[1]
    cipher_key, iv = kdf.group_message_keys(kdf.step_chain(key)[0])
    iteration = (chain.iteration + ahead) % ITERATIONS
    named = b"" if layout.named is None else _bytes(layer, layout.named)
    made = _layer(layout, named, _int(layer, layout.chain_id), iteration, cbc.encrypt(cipher_key, iv, text))
    return signed(made.data())


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
