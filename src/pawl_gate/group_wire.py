"""What anybody sees of a group message, and a member of a distribution. Written apart from `pawl.wire`, as `wire_view`.

Source: Protocol Buffers encoding; framing: version byte, protobuf, and for a message a 64-byte signature over both.
"""

from __future__ import annotations

from pawl_gate.targets.base import HarnessBroken
from pawl_gate.wire_view import BYTES, VARINT, Layer, in_order, number_of, read_fields
from pawl_spec.history import GroupHeader

SIGNATURE_BYTES = 64

MESSAGE_FIELDS = {1: BYTES, 2: VARINT, 3: VARINT, 4: BYTES}
"""distribution_uuid, chain_id, iteration, ciphertext. In the earlier layout the first is not there, and the numbers of
the others are one less."""
DISTRIBUTION_FIELDS = {1: BYTES, 2: VARINT, 3: VARINT, 4: BYTES, 5: BYTES}
"""distribution_uuid, chain_id, iteration, chain_key, signing_key; likewise."""


def is_earlier(layer: Layer) -> bool:
    """Whether a message or a distribution that was sent has the earlier layout: its first field is a number."""
    return isinstance(layer.get(1), int)


def _due(fields: dict[int, int], layer: Layer) -> dict[int, int]:
    """The fields of a layer's layout."""
    return {number - 1: kind for number, kind in fields.items() if number > 1} if is_earlier(layer) else fields


def message_layer(data: bytes) -> Layer:
    """A group message taken apart. Raises: HarnessBroken."""
    if len(data) < 1 + SIGNATURE_BYTES:
        raise HarnessBroken("a sent group message is too short")
    return Layer(data[0], read_fields(data[1:-SIGNATURE_BYTES]), data[-SIGNATURE_BYTES:])


def distribution_layer(data: bytes) -> Layer:
    """A distribution taken apart. Raises: HarnessBroken."""
    if not data:
        raise HarnessBroken("a distribution is empty")
    return Layer(data[0], read_fields(data[1:]))


def group_header(data: bytes) -> GroupHeader:
    """What the network reads off a group message that a target sent. Raises: HarnessBroken."""
    layer = message_layer(data)
    named, first = layer.get(1), 1 if is_earlier(layer) else 2
    return GroupHeader(
        version=layer.version,
        distribution_id=named.hex() if isinstance(named, bytes) else None,
        chain_id=number_of(layer, first) or 0,
        iteration=number_of(layer, first + 1) or 0,
    )


def is_canonical_message(data: bytes) -> bool:
    """Whether the bytes are the canonical encoding of what they say."""
    layer = message_layer(data)
    return layer.data() == data and in_order(layer, _due(MESSAGE_FIELDS, layer))


def is_canonical_distribution(data: bytes) -> bool:
    """Whether the bytes are the canonical encoding of what they say."""
    layer = distribution_layer(data)
    return layer.data() == data and in_order(layer, _due(DISTRIBUTION_FIELDS, layer))
