"""What a sender makes of a bundle, and how much it encrypts."""

from __future__ import annotations

from collections.abc import Iterator

from pawl.limits import MAX_PLAINTEXT_BYTES
from pawl_gate.vectors.crafted.writer import TEXT, Crafted, Writer, made, read
from pawl_gate.vectors.record import shortened
from pawl_spec.vectors import Step

GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
"""Of edwards25519. Source: RFC 8032, section 5.1."""


def senders() -> Iterator[Crafted]:
    """What a sender makes of a bundle, and how much it encrypts."""
    label = "crafted/bundle/signature-plus-the-group-order"
    writer = Writer(label)
    sign = writer.signature[63] & 0x80
    s = int.from_bytes(writer.signature[32:63] + bytes([writer.signature[63] & 0x7F]), "little") + GROUP_ORDER
    second = writer.signature[:32] + (s | sign << 248).to_bytes(32, "little")
    wrong = {"peer": "bob", "bundle": writer.bundle(signature=second)}
    refused = Step("establish", "alice", wrong, refusal=("invalid-signature",))
    yield Crafted(
        "session_crafted",
        made(
            label,
            "A second signature of the same key, by adding the group order to s.",
            ["ForgedBundle"],
            ["IDC-03"],
            [*writer.world(), refused, writer.establish()],
        ),
    )
    label = "crafted/bundle/prekey-id-zero"
    writer = Writer(label, prekey_id=0)
    data = writer.outer(writer.message(0, TEXT))
    sent = Step("encrypt", "alice", {"peer": "bob", "plaintext": TEXT}, output={"type": "prekey", "message": data})
    yield Crafted(
        "session_crafted",
        made(
            label,
            "A bundle whose one-time prekey has id 0: the message names it.",
            ["PreKeyIdZero"],
            ["CNF-01"],
            [*writer.world(), writer.establish(), sent, read(label, data, TEXT)],
        ),
    )
    label = "crafted/largest-plaintext"
    writer = Writer(label)
    largest = bytes(MAX_PLAINTEXT_BYTES)
    data = writer.outer(writer.message(0, largest))
    output = {"type": "prekey", "message": shortened(data)}
    over = {"peer": "bob", "plaintext": largest + b"\x00"}
    yield Crafted(
        "session_crafted",
        made(
            label,
            "The largest plaintext, and one byte more.",
            ["MessageSize"],
            ["PAR-03"],
            [
                *writer.world(),
                writer.establish(),
                Step("encrypt", "alice", over, refusal=("message-too-large",)),
                Step("encrypt", "alice", {"peer": "bob", "plaintext": largest}, output=output),
            ],
        ),
    )
