"""Bytes that are no message, or none of Alice's, though a MAC says that they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from pawl.crypto import kdf
from pawl.crypto.keys import FIELD_PRIME, KeyPair
from pawl.limits import MAX_CIPHERTEXT_BYTES, MAX_MESSAGE_BYTES, MAX_UNKNOWN_FIELDS
from pawl_gate.vectors.crafted.accepted import unknown_fields
from pawl_gate.vectors.crafted.writer import TEXT, Crafted, Writer, made, read, refuse
from pawl_gate.wire_view import Fields, varint, write_field, write_fields


def _refused(
    name: str,
    comment: str,
    flags: Sequence[str],
    codes: Sequence[str],
    rule: str,
    make: Callable[[Writer], bytes],
) -> Crafted:
    """A prekey message that is refused; the honest one is read after it: nothing was used up."""
    label = f"crafted/refused/{name}"
    writer = Writer(label)
    good = writer.outer(writer.message(0, TEXT))
    steps = [*writer.world(), refuse(make(writer), *codes), read(label, good, TEXT)]
    return Crafted("session_crafted", made(label, comment, flags, [rule, "CTR-05"], steps))


def _under_mac(
    name: str,
    comment: str,
    flags: Sequence[str],
    codes: Sequence[str],
    rule: str,
    shape: Callable[[Writer, Fields], bytes],
    *,
    version: int = 0x33,
) -> Crafted:
    """As `_refused`, with a valid MAC over the fields that `shape` writes."""

    def make(writer: Writer) -> bytes:
        message = writer.signal(shape(writer, writer.fields(0, TEXT)), counter=0, version=version)
        return writer.outer(message)

    return _refused(name, comment, flags, codes, rule, make)


def _set(fields: Fields, number: int, value: int | bytes) -> bytes:
    return write_fields([(each, value if each == number else old) for each, old in fields])


def _respelled(key: bytes) -> bytes:
    """The same coordinate with the top bit set, which X25519 ignores."""
    return key[:-1] + bytes([key[-1] | 0x80])


def _twisted(pair: KeyPair) -> bytes:
    """The public key plus the point of order two: its u-coordinate is 1/u. Agreements with it are the same."""
    u = int.from_bytes(pair.public.data, "little")
    return b"\x05" + pow(u, -1, FIELD_PRIME).to_bytes(32, "little")


def malformed() -> Iterator[Crafted]:
    """Bytes with a valid MAC that are no message."""
    bad = ("malformed-message",)
    for number, name in ((1, "ratchet-key"), (2, "counter"), (3, "previous-counter"), (4, "ciphertext")):

        def twice(_: Writer, fields: Fields, number: int = number) -> bytes:
            return write_fields([*fields, (number, dict(fields)[number])])

        yield _under_mac(
            f"{name}-twice", f"The field {name} is there twice, under the MAC.", ["Malformed"], bad, "PAR-02", twice
        )
    for number, name in ((1, "ratchet-key"), (2, "counter"), (4, "ciphertext")):

        def without(_: Writer, fields: Fields, number: int = number) -> bytes:
            return write_fields([field for field in fields if field[0] != number])

        # A reader that takes a missing number for 0 finds the message itself.
        yield _under_mac(
            f"no-{name}",
            f"The field {name} is missing, under the MAC.",
            ["MissingField"],
            (*bad, "invalid-key") if number == 1 else (*bad, "invalid-ciphertext") if number == 4 else bad,
            "PAR-03",
            without,
        )
    yield _under_mac(
        "overlong-counter",
        "The counter in one byte more than needed, under the MAC.",
        ["Malformed"],
        bad,
        "PAR-02",
        lambda _, f: write_fields(f[:1]) + b"\x10\x80\x00" + write_fields(f[2:]),
    )
    yield _under_mac(
        "overlong-tag",
        "A field's tag in one byte more than needed, under the MAC.",
        ["Malformed"],
        bad,
        "PAR-02",
        lambda _, f: write_fields(f[:1]) + b"\x90\x00\x00" + write_fields(f[2:]),
    )
    yield _under_mac(
        "counter-of-33-bits",
        "A counter of more than 32 bits; cut down it would be 0.",
        ["Malformed"],
        bad,
        "PAR-02",
        lambda _, f: _set(f, 2, 2**32),
    )
    yield _under_mac(
        "counter-as-bytes",
        "The counter with the wire type of byte strings.",
        ["Malformed"],
        bad,
        "PAR-02",
        lambda _, f: _set(f, 2, b"\x00"),
    )
    yield _under_mac(
        "field-number-zero",
        "A field of number 0.",
        ["Malformed"],
        bad,
        "PAR-02",
        lambda _, f: write_fields(f) + b"\x00\x00",
    )
    yield _under_mac(
        "a-group",
        "An unknown field of the wire type of groups.",
        ["Malformed"],
        bad,
        "PAR-02",
        lambda _, f: write_fields(f) + varint(100 << 3 | 3) + varint(100 << 3 | 4),
    )
    yield _under_mac(
        "wire-type-seven",
        "An unknown field of a wire type that there is not.",
        ["Malformed"],
        bad,
        "PAR-02",
        lambda _, f: write_fields(f) + varint(100 << 3 | 7) + b"\x00",
    )
    yield _under_mac(
        "seventeen-unknown-fields",
        "One unknown field more than is allowed.",
        ["UnknownFields"],
        bad,
        "PAR-03",
        lambda _, f: write_fields(f) + unknown_fields(MAX_UNKNOWN_FIELDS + 1),
    )
    yield _refused(
        "seventeen-outer-unknown-fields",
        "One unknown outer field more than is allowed.",
        ["UnknownFields"],
        bad,
        "PAR-03",
        lambda w: w.outer(w.message(0, TEXT)) + unknown_fields(MAX_UNKNOWN_FIELDS + 1),
    )
    yield _under_mac(
        "largest-counter",
        "The largest counter, 4,294,967,295, under the MAC of counter 0.",
        ["ForwardJump"],
        ("too-far-ahead",),
        "CTR-04",
        lambda _, f: _set(f, 2, 2**32 - 1),
    )
    yield _refused(
        "message-inside-empty",
        "The message inside a prekey message is empty.",
        ["Malformed"],
        (*bad, "unknown-version"),
        "PAR-03",
        lambda w: w.outer(b""),
    )
    yield _refused(
        "only-a-mac",
        "The message inside is as long as its MAC.",
        ["Malformed"],
        (*bad, "unknown-version"),
        "PAR-03",
        lambda w: w.outer(w.message(0, TEXT)[-8:]),
    )
    for byte in (0x23, 0x32, 0x35, 0x43, 0x44):
        yield _under_mac(
            f"version-byte-{byte:#04x}",
            f"A version byte of {byte:#04x}, under the MAC.",
            ["VersionByte"],
            # A reader that does not look finds that the MAC is over another byte than it puts in.
            ("unknown-version", "bad-mac", *bad),
            "PAR-04",
            lambda _, f: write_fields(f),
            version=byte,
        )


Shape = Callable[[Writer, Fields], bytes]
"""The fields under the MAC, from those that an honest sender would write."""


def _cut_body(size: int) -> Shape:
    return lambda writer, fields: _set(fields, 4, (writer.body(0, TEXT) + b"\x00")[:size])


def _padded_body(last: bytes) -> Shape:
    return lambda writer, fields: _set(fields, 4, writer.blocks(0, last))


def _with_mac(cut: Callable[[bytes], bytes]) -> Callable[[Writer], bytes]:
    return lambda writer: writer.outer(cut(writer.message(0, TEXT)))


def _zeros(size: int) -> Callable[[Writer], bytes]:
    return lambda writer: writer.outer(b"\x33" + _set(writer.fields(0, TEXT), 4, bytes(size)) + bytes(8))


def keys_and_bodies() -> Iterator[Crafted]:
    """Keys in another spelling, bodies that are none, wrong MACs, sizes."""
    key, pad, mac = ("invalid-key",), ("invalid-ciphertext",), ("bad-mac",)
    spelling = ["KeyEncoding"]
    yield _under_mac(
        "ratchet-key-not-canonical",
        "The ratchet key with its unused top bit set, under the MAC.",
        spelling,
        key,
        "IDC-05",
        lambda w, f: _set(f, 1, _respelled(w.ratchet.public.serialize())),
    )
    for number, name, rule in ((2, "base", "CTR-06"), (3, "identity", "IDC-05")):

        def respelled(writer: Writer, number: int = number) -> bytes:
            fields = writer.outer_fields(writer.message(0, TEXT))
            return b"\x33" + _set(fields, number, _respelled(bytes(dict(fields)[number])))

        yield _refused(
            f"{name}-key-not-canonical",
            f"The {name} key with its unused top bit set: agreements with it are the same.",
            spelling,
            (*key, "bad-mac"),
            rule,
            respelled,
        )
    yield _refused(
        "base-key-plus-a-point-of-order-two",
        "The base key plus the point of order two: agreements with it are the same.",
        spelling,
        key,
        "CTR-06",
        lambda w: b"\x33" + _set(w.outer_fields(w.message(0, TEXT)), 2, _twisted(w.base)),
    )
    for size in (0, 15, 17):
        yield _under_mac(
            f"body-of-{size}-bytes",
            f"A body of {size} bytes, under the MAC: no whole blocks.",
            ["Padding"],
            pad,
            "AUT-01",
            _cut_body(size),
        )
    for name, last in (
        ("zero", bytes(16)),
        ("seventeen", bytes([17]) * 16),
        ("uneven", bytes(13) + b"\x02\x03\x03"),
        ("255", bytes([255]) * 16),
    ):
        yield _under_mac(
            f"padding-{name}",
            f"A body whose padding is wrong ({name}), under the MAC.",
            ["Padding"],
            pad,
            "AUT-01",
            _padded_body(last),
        )
    macs: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
        "zero": ("of zeros", lambda data: data[:-8] + bytes(8)),
        "short": ("a byte shorter", lambda data: data[:-1]),
        "long": ("a byte longer", lambda data: data + b"\x00"),
        "missing": ("left out", lambda data: data[:-8]),
    }
    for name, (what, cut) in macs.items():
        yield _refused(
            f"mac-{name}",
            f"A MAC that is {what}.",
            ["ChangedMessage"],
            (*mac, "malformed-message"),
            "AUT-01",
            _with_mac(cut),
        )

    def swapped(writer: Writer) -> bytes:
        framed = writer.message(0, TEXT)[:-8]
        _, mac_key, _ = writer.keys_of(0)
        ends = writer.peer.public.serialize(), writer.identity.public.serialize()
        return writer.outer(framed + kdf.message_mac(mac_key, *ends, framed))

    yield _refused(
        "mac-of-the-other-direction",
        "The MAC is over the identities in the other order: a message of the other direction.",
        ["Redirected"],
        mac,
        "IDC-04",
        swapped,
    )
    for size, codes in ((MAX_CIPHERTEXT_BYTES, mac), (MAX_CIPHERTEXT_BYTES + 16, ("message-too-large",))):
        yield _refused(
            f"body-of-{size}-zeros",
            f"A body of {size:,} bytes under a wrong MAC.",
            ["MessageSize"],
            codes,
            "PAR-03",
            _zeros(size),
        )
    yield _refused(
        "message-over-the-limit",
        "A message of 524,289 bytes that is honest but for an unknown field.",
        ["MessageSize", "UnknownFields"],
        ("message-too-large",),
        "PAR-03",
        lambda w: _over_the_limit(w.outer(w.message(0, TEXT))),
    )
    for kind, other in (("prekey", "signal"), ("signal", "prekey")):
        label = f"crafted/refused/{kind}-message-as-{other}"
        writer = Writer(label)
        first, second = (writer.outer(writer.message(counter, TEXT)) for counter in (0, 1))
        plain = writer.message(1, TEXT)
        wrong = second if kind == "prekey" else plain
        reasons = ("malformed-message", "invalid-key", "bad-mac", "no-session", "message-too-large", "unknown-version")
        steps = [
            *writer.world(),
            read(label, first, TEXT),
            refuse(wrong, *reasons, kind=other),
            read(label, plain, TEXT, kind="signal", starts=False),
        ]
        yield Crafted(
            "session_crafted",
            made(label, f"A {kind} message that is said to be a {other} message.", ["Malformed"], ["PAR-01"], steps),
        )


def _over_the_limit(data: bytes) -> bytes:
    return data + write_field(100, bytes(MAX_MESSAGE_BYTES + 1 - len(data) - 5))
