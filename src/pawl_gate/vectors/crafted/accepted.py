"""Unusual bytes that are a message all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from pawl.limits import MAX_MESSAGE_BYTES, MAX_UNKNOWN_FIELDS
from pawl_gate.vectors.crafted.writer import TEXT, Crafted, Writer, made, read, refuse
from pawl_gate.wire_view import Fields, varint, write_field, write_fields
from pawl_spec.vectors import Step


def _inner(
    name: str,
    comment: str,
    flags: Sequence[str],
    shape: Callable[[Fields], bytes],
    rule: str = "PAR-02",
    version: int = 0x33,
) -> Crafted:
    """A message whose fields `shape` writes, under a MAC over exactly that; it is read."""
    label = f"crafted/read/{name}"
    writer = Writer(label)
    message = writer.signal(shape(writer.fields(0, TEXT)), counter=0, version=version)
    steps = [*writer.world(), read(label, writer.outer(message, version=version), TEXT)]
    return Crafted("session_crafted", made(label, comment, flags, [rule], steps))


def _outer(name: str, comment: str, flags: Sequence[str], shape: Callable[[Fields], bytes], rule: str) -> Crafted:
    """A prekey message whose outer fields `shape` writes; it is read."""
    label = f"crafted/read/{name}"
    writer = Writer(label)
    data = b"\x33" + shape(writer.outer_fields(writer.message(0, TEXT)))
    return Crafted("session_crafted", made(label, comment, flags, [rule], [*writer.world(), read(label, data, TEXT)]))


def unknown_fields(count: int) -> bytes:
    """So many fields that version 3 does not define."""
    return b"".join(write_field(100 + number, number) for number in range(count))


def _in_order(fields: Fields, order: Sequence[int]) -> bytes:
    found = dict(fields)
    return write_fields([(number, found[number]) for number in order])


def accepted() -> Iterator[Crafted]:
    """Unusual bytes that are a message all the same."""
    order, unknown = ["FieldOrder"], ["UnknownFields"]
    yield _inner("fields-reversed", "The fields under the MAC come in reverse.", order, lambda f: write_fields(f[::-1]))
    yield _inner("counter-last", "The counter comes last.", order, lambda f: _in_order(f, (1, 3, 4, 2)))
    yield _inner(
        "one-unknown-field", "An unknown field under the MAC.", unknown, lambda f: write_fields(f) + unknown_fields(1)
    )
    yield _inner(
        "sixteen-unknown-fields",
        "As many unknown fields as are allowed.",
        unknown,
        lambda f: write_fields(f) + unknown_fields(MAX_UNKNOWN_FIELDS),
    )
    yield _inner(
        "unknown-fields-first",
        "Unknown fields of every other wire type, before the known ones.",
        unknown,
        lambda f: (
            write_field(9, b"x") + varint(10 << 3 | 1) + bytes(8) + varint(11 << 3 | 5) + bytes(4) + write_fields(f)
        ),
    )
    yield _inner(
        "version-4-fields",
        "The fields that version 4 adds to a message are unknown ones in version 3.",
        unknown,
        lambda f: write_fields([*f, (5, b"pq"), (6, bytes(36))]),
    )
    yield _inner(
        "no-previous-counter",
        "The previous counter is missing: 0.",
        ["MissingField"],
        lambda f: _in_order(f, (1, 2, 4)),
        "PAR-03",
    )
    yield _inner(
        "version-byte-0x34",
        "Version 3 by a writer whose current version is 4, as the official client writes in a stored session.",
        ["VersionByte"],
        write_fields,
        "PAR-04",
        version=0x34,
    )
    yield _outer(
        "order-of-privacyresearch",
        "The outer fields in the order 5, 1, 6, 2, 3, 4, as an existing client writes them.",
        order,
        lambda f: _in_order(f, (5, 1, 6, 2, 3, 4)),
        "PAR-02",
    )
    yield _outer(
        "sixteen-outer-unknown-fields",
        "As many unknown outer fields as are allowed.",
        unknown,
        lambda f: write_fields(f) + unknown_fields(MAX_UNKNOWN_FIELDS),
        "PAR-02",
    )
    yield _outer(
        "no-registration-id",
        "The registration id is missing; it is not authenticated.",
        ["MissingField"],
        lambda f: _in_order(f, (1, 2, 3, 4, 6)),
        "PAR-03",
    )
    yield _outer(
        "registration-id-of-32-bits",
        "The largest registration id that the format holds.",
        ["ChangedOuterLayer"],
        lambda f: write_fields([(number, 2**32 - 1 if number == 5 else value) for number, value in f]),
        "PAR-03",
    )

    def filled(fields: Fields) -> bytes:
        known = write_fields(fields)
        # Tag 2 bytes, length 3 bytes, version byte 1.
        return known + write_field(100, bytes(MAX_MESSAGE_BYTES - len(known) - 6))

    yield _outer(
        "largest-message", "A message of exactly 524,288 bytes.", ["MessageSize", "UnknownFields"], filled, "PAR-03"
    )
    for number, what in ((0, "0"), (2**24 - 1, "the largest that is generated"), (2**32 - 1, "the largest of 32 bits")):
        label = f"crafted/read/prekey-id-{number}"
        writer = Writer(label, prekey_id=number, signed_prekey_id=max(number, 1))
        data = writer.outer(writer.message(0, TEXT))
        flags = ["OneTimePreKey", *(["PreKeyIdZero"] if number == 0 else [])]
        again = refuse(data, "duplicate-message")
        yield Crafted(
            "session_crafted",
            made(
                label,
                f"One-time prekey id {number}, {what}: it is used, and the message is refused when it comes again.",
                flags,
                ["CTR-03", "KEY-03"],
                [*writer.world(), read(label, data, TEXT), again],
            ),
        )
    for device_id in (0, 127):
        label = f"crafted/read/device-id-{device_id}"
        writer = Writer(label)
        data = writer.outer(writer.message(0, TEXT))
        steps = [
            *writer.world(device_id=device_id),
            writer.establish(deviceId=device_id),
            Step("encrypt", "alice", {"peer": "bob", "plaintext": TEXT}, output={"type": "prekey", "message": data}),
            read(label, data, TEXT),
        ]
        yield Crafted(
            "session_crafted", made(label, f"Both devices have the id {device_id}.", ["Normal"], ["CNF-01"], steps)
        )
