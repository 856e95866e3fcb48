"""What anybody sees of a group message, and a member of a distribution. Written apart from `pawl.wire`, as `wire_view`.

Source: Protocol Buffers encoding; framing: version byte, protobuf, and for a message a 64-byte signature over both.
"""

from __future__ import annotations

from pawl_gate.targets.base import HarnessBroken
from pawl_gate.wire_view import BYTES, VARINT, Layer, in_order, number_of, read_fields
from pawl_spec.history import GroupHeader

SIGNATURE_BYTES = 64

MESSAGE_FIELDS = {1: BYTES, 2: VARINT, 3: VARINT, 4: BYTES}
"""distribution_uuid, chain_id, iteration, ciphertext."""
DISTRIBUTION_FIELDS = {1: BYTES, 2: VARINT, 3: VARINT, 4: BYTES, 5: BYTES}
"""distribution_uuid, chain_id, iteration, chain_key, signing_key."""


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
    named = layer.get(1)
    return GroupHeader(
        version=layer.version,
        distribution_id=named.hex() if isinstance(named, bytes) else None,
        chain_id=number_of(layer, 2) or 0,
        iteration=number_of(layer, 3) or 0,
    )


def is_canonical_message(data: bytes) -> bool:
    """Whether the bytes are the canonical encoding of what they say."""
    layer = message_layer(data)
    return layer.data() == data and in_order(layer, MESSAGE_FIELDS)


def is_canonical_distribution(data: bytes) -> bool:
    """Whether the bytes are the canonical encoding of what they say."""
    layer = distribution_layer(data)
    return layer.data() == data and in_order(layer, DISTRIBUTION_FIELDS)
