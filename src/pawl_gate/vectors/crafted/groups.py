"""Groups: what no trace does, written by hand, and the traffic of other implementations, in both layouts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from uuid import UUID

from pawl.crypto import cbc, kdf, xeddsa
from pawl.limits import (
    MAX_COUNTER,
    MAX_GROUP_MEMBERS,
    MAX_MESSAGE_BYTES,
    MAX_PLAINTEXT_BYTES,
    MAX_UNKNOWN_FIELDS,
)
from pawl_gate.group_wire import SIGNATURE_BYTES
from pawl_gate.vectors.crafted.accepted import unknown_fields
from pawl_gate.vectors.crafted.writer import BY_HAND, TEXT, Crafted, made, secret
from pawl_gate.vectors.record import shortened
from pawl_gate.wire_view import Fields, varint, write_field, write_fields
from pawl_spec.vector_operations import GROUP_PROFILES
from pawl_spec.vectors import Step

GROUP = bytes.fromhex("6b2d1c0e7f344a519d8e0f1a2b3c4d5e")
"""A distribution id."""
CHAIN_ID = 0x1234_5678


class GroupWriter:
    """Alice's chain in a group, with every key of it."""

    def __init__(self, label: str, layout: str, *, iteration: int = 0, chain_id: int = CHAIN_ID) -> None:
        self._less = 1 if layout == "earlier" else 0
        self.chain_id, self.iteration = chain_id, iteration
        self.key = hashlib.sha256(b"pawl vectors chain " + label.encode()).digest()
        self.signing = secret(f"{label} signing")
        self._label = label

    def _numbered(self, fields: Fields) -> Fields:
        """Fields with the numbers of the layout: `fields` have those of the current one."""
        return [(number - self._less, value) for number, value in fields if number > self._less]

    def distribution(self, *, named: bytes = GROUP) -> bytes:
        """The chain, for a member."""
        fields: Fields = [
            (1, named),
            (2, self.chain_id),
            (3, self.iteration),
            (4, self.key),
            (5, self.signing.public.serialize()),
        ]
        return b"\x33" + write_fields(self._numbered(fields))

    def seed(self, ahead: int) -> bytes:
        """Of the message so far ahead of where the chain was given."""
        key, seed = self.key, b""
        for _ in range(ahead + 1):
            seed, key = kdf.step_chain(key)
        return seed

    def body(self, ahead: int, text: bytes) -> bytes:
        """The ciphertext of a plaintext."""
        return cbc.encrypt(*kdf.group_message_keys(self.seed(ahead)), text)

    def blocks(self, ahead: int, padded: bytes) -> bytes:
        """The ciphertext of whole blocks, padded as they may be."""
        return self.body(ahead, padded)[: len(padded)]

    def fields(self, ahead: int, body: bytes, *, named: bytes = GROUP) -> Fields:
        """The fields of a message, in their order."""
        return self._numbered([(1, named), (2, self.chain_id), (3, self.iteration + ahead), (4, body)])

    def signed(self, data: bytes, *, version: int = 0x33) -> bytes:
        """Fields as they are, with version byte and signature."""
        framed = bytes([version]) + data
        nonce = hashlib.sha512(self._label.encode() + framed).digest()
        return framed + xeddsa.sign(self.signing.private, framed, rng=lambda size: nonce[:size])

    def message(self, ahead: int, text: bytes) -> bytes:
        """A message as an honest sender writes it."""
        return self.signed(write_fields(self.fields(ahead, self.body(ahead, text))))

    # -- steps --------------------------------------------------------------------------------------------------------

    def put_in(self) -> Step:
        """Alice is given this chain as her own."""
        inputs = {
            "group": GROUP,
            "chainId": self.chain_id,
            "iteration": self.iteration,
            "chainKey": self.key,
            "signingPrivate": self.signing.private.data,
        }
        return Step("sender-key", "alice", inputs, output={"signingKey": self.signing.public.serialize()})

    def begun(self) -> list[Step]:
        """Alice and Bob, who has her chain."""
        return [member("alice"), member("bob"), process(self.distribution())]

    def sends(self, ahead: int, text: bytes) -> Step:
        """Alice encrypts the message that is due."""
        signed = self.message(ahead, text)[:-SIGNATURE_BYTES]
        return Step("group-encrypt", "alice", {"group": GROUP, "plaintext": text}, output={"signed": shortened(signed)})


def member(name: str) -> Step:
    """A member is made."""
    return Step("member", name, {"name": name, "deviceId": 1}, output={})


def process(data: bytes, *codes: str, group: bytes = GROUP) -> Step:
    """Bob takes a distribution of Alice's, or refuses it."""
    inputs = {"group": group, "sender": "alice", "distribution": data}
    return Step("process", "bob", inputs, output=None if codes else {}, refusal=codes)


def read(data: bytes, text: bytes, *, group: bytes = GROUP) -> Step:
    """Bob reads a message of Alice's."""
    inputs = {"group": group, "sender": "alice", "message": data}
    return Step("group-decrypt", "bob", inputs, output={"plaintext": shortened(text)})


def refuse(data: bytes, *codes: str, group: bytes = GROUP) -> Step:
    """Bob refuses one."""
    inputs = {"group": group, "sender": "alice", "message": data}
    return Step("group-decrypt", "bob", inputs, refusal=codes)


def groups() -> Iterator[Crafted]:
    """All of them."""
    yield from _transcripts()
    for layout in GROUP_PROFILES:
        for family in (_accepted, _refused, _senders):
            yield from family(layout)


def _crafted(
    layout: str,
    name: str,
    comment: str,
    flags: Sequence[str],
    rule: str,
    steps: Sequence[Step],
    *,
    file: str = "crafted",
    source: str = BY_HAND,
    assumes: Mapping[str, int | str] | None = None,
) -> Crafted:
    label = f"group/{layout}/{name}"
    return Crafted(f"group_{file}", made(label, comment, sorted(set(flags)), [rule], steps, source, assumes), layout)


# -- bytes ------------------------------------------------------------------------------------------------------------


def _accepted(layout: str) -> Iterator[Crafted]:
    """Unusual bytes that are a message all the same."""
    writer = GroupWriter("accepted", layout)
    fields = writer.fields(0, writer.body(0, TEXT))
    for name, comment, flags, data in (
        ("fields-reversed", "The fields come in reverse.", ["FieldOrder"], write_fields(fields[::-1])),
        (
            "sixteen-unknown-fields",
            "As many unknown fields as are allowed, under the signature.",
            ["UnknownFields"],
            write_fields(fields) + unknown_fields(MAX_UNKNOWN_FIELDS),
        ),
    ):
        steps = [*writer.begun(), read(writer.signed(data), TEXT)]
        yield _crafted(layout, f"read/{name}", comment, flags, "PAR-02", steps)
    for chain_id in (0, MAX_COUNTER):
        other = GroupWriter("ids", layout, chain_id=chain_id)
        steps = [*other.begun(), read(other.message(0, TEXT), TEXT)]
        yield _crafted(
            layout, f"read/chain-id-{chain_id}", "A chain id at the edge of its range.", ["Normal"], "PAR-03", steps
        )


def _refused(layout: str) -> Iterator[Crafted]:
    """A valid signature over what is no message; the honest message is read after it."""
    writer = GroupWriter("refused", layout)
    body = writer.body(0, TEXT)
    fields = writer.fields(0, body)
    known = write_fields(fields)
    malformed: list[tuple[str, str, list[str], bytes]] = [
        (
            "seventeen-unknown-fields",
            "One unknown field more than are allowed.",
            ["UnknownFields"],
            known + unknown_fields(MAX_UNKNOWN_FIELDS + 1),
        ),
        ("no-ciphertext", "The ciphertext is missing.", ["MissingField"], write_fields(fields[:-1])),
        (
            "no-iteration",
            "The iteration is missing: not the same as 0.",
            ["MissingField"],
            write_fields([*fields[:-2], fields[-1]]),
        ),
        ("no-chain-id", "The chain id is missing.", ["MissingField"], write_fields([*fields[:-3], *fields[-2:]])),
        ("field-twice", "A field comes twice, with the same value.", [], known + write_field(*fields[-2])),
        (
            "iteration-of-33-bits",
            "An iteration over 32 bits.",
            [],
            write_fields([*fields[:-2], (fields[-2][0], 2**32), fields[-1]]),
        ),
        ("cut-varint", "The bytes end inside a number.", [], known + varint(100 << 3) + b"\x80"),
        (
            "length-past-the-end",
            "A length that goes past the signature's beginning.",
            [],
            known + varint(100 << 3 | 2) + b"\x02x",
        ),
        ("nothing", "No fields at all.", ["MissingField"], b""),
    ]
    if layout == "current":
        for size in (0, 15, 17):
            named = writer.fields(0, body, named=bytes(size))
            malformed.append((f"id-of-{size}-bytes", f"A distribution id of {size} bytes.", [], write_fields(named)))
    for name, comment, flags, data in malformed:
        codes = ("message-too-large", "malformed-message") if name == "id-of-17-bytes" else ("malformed-message",)
        steps = [*writer.begun(), refuse(writer.signed(data), *codes), read(writer.message(0, TEXT), TEXT)]
        yield _crafted(layout, f"refused/{name}", comment, ["Malformed", *flags], "PAR-03", steps)
    for version in (0x34, 0x44, 0x32):
        steps = [
            *writer.begun(),
            refuse(writer.signed(known, version=version), "unknown-version"),
            read(writer.message(0, TEXT), TEXT),
        ]
        comment = "A valid signature under another version byte than 0x33."
        yield _crafted(layout, f"refused/version-{version:x}", comment, ["VersionByte"], "PAR-04", steps)
    bodies = {
        "empty-body": b"",
        "half-a-block": body[:8],
        "padding-0": writer.blocks(0, bytes(16)),
        "padding-17": writer.blocks(0, bytes([17]) * 16),
        "padding-uneven": writer.blocks(0, bytes(12) + bytes([3, 4, 4, 4])),
    }
    for name, wrong in bodies.items():
        steps = [
            *writer.begun(),
            refuse(writer.signed(write_fields(writer.fields(0, wrong))), "invalid-ciphertext"),
            read(writer.message(0, TEXT), TEXT),
        ]
        comment = "A valid signature over a body that is not AES-256-CBC with PKCS#7 padding."
        yield _crafted(layout, f"refused/{name}", comment, ["Padding"], "GRP-02", steps)
    over = writer.signed(write_fields(writer.fields(0, bytes(MAX_PLAINTEXT_BYTES + 32))))
    steps = [
        *writer.begun(),
        refuse(over, "message-too-large", "malformed-message"),
        read(writer.message(0, TEXT), TEXT),
    ]
    yield _crafted(
        layout, "refused/body-over-the-limit", "A body one block over the limit.", ["MessageSize"], "PAR-03", steps
    )
    long = writer.signed(known + write_field(100, bytes(MAX_MESSAGE_BYTES)))
    steps = [*writer.begun(), refuse(long, "message-too-large"), read(writer.message(0, TEXT), TEXT)]
    yield _crafted(
        layout, "refused/message-over-the-limit", "A message over the limit.", ["MessageSize"], "PAR-01", steps
    )


# -- senders and members ----------------------------------------------------------------------------------------------


def _senders(layout: str) -> Iterator[Crafted]:
    """What a sender does with a chain of which all is known; members without a session; more senders than are kept."""
    writer = GroupWriter("sender", layout)
    given = Step("distribution", "alice", {"group": GROUP}, output={"distribution": writer.distribution()})
    lost = Step("group-skip", "alice", {"group": GROUP, "plaintext": b"lost", "count": 3}, output={})
    steps = [
        *(member("alice"), member("bob"), writer.put_in(), given, process(writer.distribution())),
        *(writer.sends(0, TEXT), lost, writer.sends(4, TEXT)),
        *(read(writer.message(4, TEXT), TEXT), read(writer.message(0, TEXT), TEXT)),
    ]
    yield _crafted(layout, "sender/lost-messages", "Three messages are lost.", ["OutOfOrder"], "GRP-01", steps)
    last = GroupWriter("last", layout, iteration=MAX_COUNTER)
    exhausted = "counter-exhausted"
    steps = [
        *(member("alice"), member("bob"), last.put_in(), process(last.distribution()), last.sends(0, TEXT)),
        Step("group-encrypt", "alice", {"group": GROUP, "plaintext": TEXT}, refusal=(exhausted,)),
        Step("distribution", "alice", {"group": GROUP}, refusal=(exhausted,)),
        read(last.message(0, TEXT), TEXT),
    ]
    comment = "A chain sends its last message; there is none after it."
    yield _crafted(layout, "sender/last-iteration", comment, ["LastIteration"], "GRP-01", steps, file="limits")
    largest = bytes(MAX_PLAINTEXT_BYTES)
    steps = [
        *(member("alice"), writer.put_in()),
        Step("group-encrypt", "alice", {"group": GROUP, "plaintext": largest + b"\0"}, refusal=("message-too-large",)),
        writer.sends(0, largest),
    ]
    comment = "The largest plaintext, and one byte more."
    yield _crafted(layout, "sender/largest-plaintext", comment, ["MessageSize"], "PAR-03", steps, file="limits")
    share = {"group": GROUP, "plaintext": TEXT}
    steps = [
        *(member("alice"), member("bob"), writer.put_in()),
        Step("share", "alice", share, refusal=("no-members",)),
        Step("set-members", "alice", {"group": GROUP, "members": ("bob",)}, output={}),
        Step("share", "alice", share, refusal=("members-without-session",)),
        Step("set-members", "alice", {"group": GROUP, "members": ()}, output={}),
        Step("share", "alice", share, refusal=("no-members",)),
        writer.sends(0, TEXT),
    ]
    comment = (
        "Nobody to send to, then a member whom no session reaches: nothing is sent, and the chain stays where it is."
    )
    yield _crafted(layout, "sender/nobody-to-send-to", comment, ["NoSenderKey"], "CNF-01", steps)
    crowd = Step(
        "crowd", "bob", {"group": GROUP, "count": MAX_GROUP_MEMBERS, "distribution": writer.distribution()}, output={}
    )
    steps = [
        *(member("alice"), member("bob"), crowd, process(writer.distribution(), "sender-keys-full")),
        refuse(writer.message(0, TEXT), "no-sender-key"),
    ]
    yield _crafted(
        layout,
        "senders/too-many",
        "Chains of as many senders as are kept, and of one more.",
        ["SenderChains"],
        "GRP-06",
        steps,
        file="limits",
        assumes={"senders": MAX_GROUP_MEMBERS},
    )
    other = bytes(16)
    steps = [
        *writer.begun(),
        process(GroupWriter("other", layout).distribution(named=other), group=other),
        read(GroupWriter("other", layout).message(0, TEXT), TEXT, group=other)
        if layout == "earlier"
        else refuse(GroupWriter("other", layout).message(0, TEXT), "wrong-group", group=other),
        read(writer.message(0, TEXT), TEXT),
    ]
    said = "is another group's" if layout == "current" else "is not said: the message is read"
    comment = f"A message on a chain of the group in which it comes; the distribution id in it {said}."
    yield _crafted(layout, "named/message", comment, ["OtherGroup"], "GRP-05", steps)


# -- transcripts ------------------------------------------------------------------------------------------------------

ORDERS = {"in-order": range(8), "backwards": range(7, -1, -1), "mixed": (3, 0, 7, 1, 5, 2, 6, 4)}


def _transcripts() -> Iterator[Crafted]:
    """Chains and messages of other implementations, in three orders; and a member who is given the chain later."""
    text = (resources.files(__package__) / "group_transcripts.json").read_text("utf-8")
    for name, said in json.loads(text).items():
        layout = said["layout"]
        group = UUID(said["distribution_id"]).bytes if said["distribution_id"] else GROUP
        first, later = (bytes.fromhex(said[key]) for key in ("distribution", "distribution_before_message_5"))
        sent = [(bytes.fromhex(each["message"]), bytes.fromhex(each["plaintext"])) for each in said["messages"]]
        source = f"written by {said['peer']}, with its keys"
        begun = [member("alice"), member("bob")]
        for label, order in ORDERS.items():
            steps = [*begun, process(first, group=group), *(read(*sent[at], group=group) for at in order)]
            steps += [refuse(data, "duplicate-message", group=group) for data, _ in sent]
            comment = f"Messages {label.replace('-', ' ')}, as {said['peer']} wrote them; then each comes again."
            flags = ["Transcript", "Replay", *(["OutOfOrder"] if label != "in-order" else [])]
            yield _crafted(
                layout, f"transcript/{name}/{label}", comment, flags, "GRP-01", steps, file="transcripts", source=source
            )
        steps = [*begun, process(later, group=group)]
        steps += [refuse(data, "duplicate-message", group=group) for data, _ in sent[:5]]
        steps += [read(*each, group=group) for each in sent[5:]]
        comment = f"The chain is given before message 5, as {said['peer']} wrote it."
        flags = ["Transcript", "LateMember"]
        yield _crafted(
            layout, f"transcript/{name}/late", comment, flags, "GRP-04", steps, file="transcripts", source=source
        )
