"""The dictionaries of the fuzzers: byte strings that libFuzzer's own mutator puts into an input of an entry point.

One change of eight is libFuzzer's (`fuzz/harness.py`). It does not know what a field is; with words it finds tags,
versions, opcodes and the integers at a boundary without a compare that tells it. All words are made of the registries
and schemas of the code, so that what is added there stands here: `python -m tools.make_dictionaries` writes the files
`fuzz/NAME.dict`, and `make lint` compares them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from pawl import errors
from pawl.storage.contract import Table
from pawl.wire import group_messages, messages, records_pb2
from pawl.wire.scanner import Schema
from pawl_gate.fuzzing import answers, arithmetic, fields, offered, sealed, sealed_groups, steps, stored
from pawl_gate.fuzzing.entries import ENTRIES
from pawl_gate.fuzzing.steps import Step
from pawl_gate.fuzzing.traces import IN_A_GROUP, MET, STRICT
from pawl_gate.targets import contract
from pawl_gate.wire_view import varint
from pawl_spec.trace import HEADER_BYTES, Kind, Trace, encode, op

Words: TypeAlias = dict[str, bytes]
"""By a name that says what it is."""

MOST_BYTES: Final = 64
"""Of a word: libFuzzer reads no longer one."""


# -- words that several have in common --------------------------------------------------------------------------------


def integers() -> Words:
    """Varints at the boundaries of what a field may hold, and spellings longer than they need be."""
    shortest = {f"varint-{number}": varint(number) for number in fields.INTEGERS}
    return shortest | {f"overlong-{number}": fields.overlong(number) for number in (0, 1, 127, 2**32 - 1)}


def numbers() -> Words:
    """Integers at boundaries, of 2 and of 4 bytes."""
    found = {}
    for number in fields.INTEGERS:
        for width in (2, 4):
            if 0 < number < 256**width:
                found[f"big-{width}-{number}"] = number.to_bytes(width, "big")
                found[f"little-{width}-{number}"] = number.to_bytes(width, "little")
    return found


def versions() -> Words:
    """Version bytes of messages: those that are read, and their neighbours."""
    return {f"version-{byte:02x}": bytes([byte]) for byte in fields.VERSIONS}


def keys() -> Words:
    """Public keys with their type byte: points of small order, and spellings that are not canonical."""
    return {f"key-{number}": key for number, key in enumerate(fields.KEYS)}


def tags(*schemas: Schema) -> Words:
    """The tags of the fields, with the length of those that have but one; and an unknown field of each wire type."""
    found = {}
    for schema in schemas:
        for each in schema.fields:
            tag = varint(each.number << 3 | each.wire_type)
            found[f"tag-{each.number}-{each.name}"] = tag
            if each.wire_type == 2 and each.least == each.most:
                found[f"head-{each.number}-{each.name}"] = tag + varint(each.most)
    unknown = {f"unknown-{wire}": varint(15 << 3 | wire) + bytes(8 if wire == 1 else 4) for wire in range(8)}
    return found | unknown


def record_tags() -> Words:
    """The tags of all fields of all stored records."""
    found = {}
    for message in records_pb2.DESCRIPTOR.message_types_by_name.values():
        for each in message.fields:
            # Bytes and messages have a length, all else here is an integer.
            wire = 2 if each.type in (each.TYPE_BYTES, each.TYPE_MESSAGE, each.TYPE_STRING) else 0
            found[f"tag-{message.name}-{each.name}"] = varint(each.number << 3 | wire)
    return found | {"key-field": b"\x0a\x20"}


def texts(several: Iterable[bytes | str]) -> Words:
    """Words of a text, each named by its place."""
    found = [each.encode() if isinstance(each, str) else each for each in several]
    return {f"text-{number}": word for number, word in enumerate(dict.fromkeys(found))}


# -- by family --------------------------------------------------------------------------------------------------------


def wire(*schemas: Schema) -> Words:
    """A codec of messages."""
    return versions() | tags(*schemas) | integers() | keys()


def operations() -> Words:
    """Traces: each operation with its operands at 0, the beginnings, and headers."""
    found = {f"op-{kind.word}": encode(Trace((op(kind),)))[HEADER_BYTES:] for kind in Kind}
    for name, ops in (("met", MET), ("in-a-group", IN_A_GROUP), ("strict", STRICT)):
        found[f"begins-{name}"] = encode(Trace(ops))[HEADER_BYTES:]
    return found | {f"header-{strict}": encode(Trace((), strict=strict)) for strict in range(8)}


def behind_a_key(words: Iterable[str], moves: Iterable[str], *schemas: Schema) -> Words:
    """Steps: each opcode without operands, and each move as an operand of each step."""
    found = {f"step-{word}": steps.one(Step(opcode)) for opcode, word in enumerate(words)}
    for number, move in enumerate(moves):
        found[f"move-{move}"] = bytes([number])
    return found | wire(*schemas)


def moves(several: Iterable[str]) -> Words:
    """Moves of two bytes: which one, and how."""
    return {f"move-{name}-{how}": bytes((number, how)) for number, name in enumerate(several) for how in (0, 1)}


def sql() -> Words:
    """What stands in a store of an earlier release: its tables, and numbers of schemas."""
    return texts(stored.OLD) | {f"schema-{number}": bytes([number]) for number in range(8)} | numbers()


def document() -> Words:
    """Documents of node-libsignal devices: the names in one, and values at a boundary."""
    found: dict[str, None] = {}

    def gather(value: Any) -> None:
        if isinstance(value, dict):
            found.update(dict.fromkeys(f'"{name}"' for name in value))
            for inside in value.values():
                gather(inside)

    gather(offered.node_document())
    return texts([*(name for name in found if len(name) <= MOST_BYTES), *offered.IMPORT_WORDS])


def codes() -> list[str]:
    """All refusal codes of the library."""

    def below(kind: type[errors.ProtocolError]) -> Iterable[type[errors.ProtocolError]]:
        yield kind
        for each in kind.__subclasses__():
            yield from below(each)

    return sorted({each.code for each in below(errors.ProtocolError)})


def verbs() -> list[str]:
    """How the answer to each verb of the driver protocol begins."""
    return [f"\n{verb}\t" for verb in contract.VERBS]


def frames() -> Words:
    """MessagePack: the first bytes of its kinds of values, at their smallest and largest; and refusal codes."""
    heads = (0x00, 0x7F, 0x80, 0x81, 0x8F, 0x90, 0x91, 0x9F, 0xA0, 0xBF, *range(0xC0, 0xE1), 0xFF)
    kinds = {f"head-{head:02x}": bytes([head]) for head in heads}
    named = {f"code-{code}": bytes([0xA0 | len(code)]) + code.encode() for code in codes() if len(code) < 32}
    return kinds | named | numbers()


SESSIONS: Final = (messages.SIGNAL_SCHEMA, messages.PREKEY_SCHEMA)
GROUPS: Final = (group_messages.MESSAGE_SCHEMA, group_messages.EARLIER_MESSAGE_SCHEMA)
CHAINS: Final = (group_messages.DISTRIBUTION_SCHEMA, group_messages.EARLIER_DISTRIBUTION_SCHEMA)

GROUP_STEPS: Final = ("nop", "deliver", "craft", "raw", "give", "give-raw", "snapshot", "restore", "restart")
"""The opcodes of `sealed_groups`, in order."""

FAMILIES: Final[Mapping[str, Callable[[], Words]]] = {
    **dict.fromkeys(
        ("session_trace", "group_trace", "storage_trace", "identity_trace", "model_trace", "node_trace"), operations
    ),
    "signal_message": lambda: wire(messages.SIGNAL_SCHEMA),
    "prekey_message": lambda: wire(*SESSIONS),
    "group_message": lambda: wire(*GROUPS),
    "distribution": lambda: wire(*CHAINS),
    "sealed_message": lambda: behind_a_key(sealed.WORDS, sealed.MOVES, *SESSIONS),
    "sealed_group_message": lambda: behind_a_key(GROUP_STEPS, sealed_groups.MOVES, *GROUPS, *CHAINS),
    "stored_record": lambda: record_tags() | integers() | {f"kind-{n}": bytes([n]) for n in range(len(stored.KINDS))},
    "sealed_row": lambda: texts(table.value for table in Table) | numbers() | integers(),
    "json_store": lambda: texts([*stored.JSON_WORDS, *(f'"{table.value}"' for table in Table)]),
    "migration": sql,
    "key": keys,
    "signature": lambda: (
        moves(arithmetic.MOVES) | {f"point-{number}": point for number, point in enumerate(arithmetic.POINTS)}
    ),
    "fingerprint": lambda: (
        integers() | {"version": b"\x08\x02", "local": b"\x12\x22\x0a\x20", "remote": b"\x1a\x22\x0a\x20"}
    ),
    "prekey_bundle": lambda: moves(offered.BUNDLE_MOVES) | keys(),
    "node_import": document,
    "driver_answer": lambda: texts([*answers.WORDS, *(f'"{code}"' for code in codes()), *verbs()]),
    "worker_message": frames,
}
"""The words of each entry point."""


def text(name: str) -> str:
    """The dictionary of an entry point, as libFuzzer reads it."""
    lines = [
        f"# Words of {name}, for libFuzzer's -dict.",
        "# Generated by `python -m tools.make_dictionaries`; `make lint` compares.",
    ]
    had: set[bytes] = set()
    for word, data in FAMILIES[name]().items():
        if 0 < len(data) <= MOST_BYTES and data not in had:
            had.add(data)
            lines.append(f'{_named(word)}="{_escaped(data)}"')
    return "\n".join(lines) + "\n"


def _named(word: str) -> str:
    return "".join(each if each.isalnum() else "_" for each in word)


def _escaped(data: bytes) -> str:
    """Printable characters as they are, but for the quote and the escape; all else by its number in hexadecimal."""
    return "".join(chr(byte) if 32 <= byte < 127 and byte not in b'\\"' else f"\\x{byte:02x}" for byte in data)


def unescaped(line: str) -> bytes:
    """The bytes of a line of a dictionary."""
    inside = line[line.index('"') + 1 : -1]
    return inside.encode("ascii").decode("unicode_escape").encode("latin-1")


assert FAMILIES.keys() == ENTRIES.keys()  # noqa: S101 - an entry point without words is noticed when this is read
