"""What anybody sees of a group message, and a member of a distribution. Written apart from `pawl.wire`, as `wire_view`.

There are two layouts: in the earlier one no message and no distribution names its group, and the other fields have
numbers one less.
Source: Protocol Buffers encoding; framing: version byte, protobuf, and for a message a 64-byte signature over both.
"""

from __future__ import annotations

from dataclasses import dataclass

from pawl_gate.targets.base import HarnessBroken
from pawl_gate.wire_view import BYTES, VARINT, Layer, in_order, number_of, read_fields
from pawl_spec.history import GroupHeader

SIGNATURE_BYTES = 64


@dataclass(frozen=True, slots=True)
class Layout:
    """The numbers of the fields. A ciphertext and a chain key have the same one."""

    named: int | None
    """Of distribution_uuid; None: there is no such field."""
    chain_id: int
    iteration: int
    content: int
    """Of ciphertext, and in a distribution of chain_key."""
    signing_key: int

    @property
    def message_fields(self) -> dict[int, int]:
        """The fields of a message, each with its wire type."""
        fields = {self.chain_id: VARINT, self.iteration: VARINT, self.content: BYTES}
        return fields if self.named is None else {self.named: BYTES, **fields}

    @property
    def distribution_fields(self) -> dict[int, int]:
        """The fields of a distribution."""
        return {**self.message_fields, self.signing_key: BYTES}


CURRENT = Layout(named=1, chain_id=2, iteration=3, content=4, signing_key=5)
EARLIER = Layout(named=None, chain_id=1, iteration=2, content=3, signing_key=4)
LAYOUTS = {"current": CURRENT, "earlier": EARLIER}
"""By the names that targets declare."""


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


def group_header(data: bytes, layout: Layout = CURRENT) -> GroupHeader:
    """What the network reads off a group message that a target sent. Raises: HarnessBroken."""
    layer = message_layer(data)
    named = None if layout.named is None else layer.get(layout.named)
    return GroupHeader(
        version=layer.version,
        distribution_id=named.hex() if isinstance(named, bytes) else None,
        chain_id=number_of(layer, layout.chain_id) or 0,
        iteration=number_of(layer, layout.iteration) or 0,
    )


def is_canonical_message(data: bytes, layout: Layout = CURRENT) -> bool:
    """Whether the bytes are the canonical encoding of what they say."""
    layer = message_layer(data)
    return layer.data() == data and in_order(layer, layout.message_fields)


def is_canonical_distribution(data: bytes, layout: Layout = CURRENT) -> bool:
    """Whether the bytes are the canonical encoding of what they say."""
    layer = distribution_layer(data)
    return layer.data() == data and in_order(layer, layout.distribution_fields)
