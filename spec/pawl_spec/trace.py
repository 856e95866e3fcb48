"""Traces: lists of typed operations over a small world of parties, network, attacker and disk.

One currency for every engine: what Hypothesis generates, Atheris mutates, a vector publishes, a counterexample is.
Two encodings: JSON (the archive form, versioned) and bytes (for fuzzers). *Every* byte string decodes to some trace:
an unknown opcode is a no-op, operands are taken modulo their range, a missing operand is 0. Opcodes are append-only,
and so are the lists that operands choose from (`TAMPERS` and so on): their positions are part of both encodings.

Operations name handles, never bytes: a message is "the n-th message sent", taken modulo what exists when it runs. The
messages of groups and the distributions of their chains are counted apart.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import Final

FORMAT: Final = "pawl-trace"
VERSION: Final = 1

PARTIES: Final = ("alice", "bob", "carol")
"""Names of the parties of every world. Each has one device, 1."""

HEADER_BYTES: Final = 4
"""Of the byte form: version, strict mask, seed (two bytes, big-endian)."""

KEYS: Final = ("format", "version", "seed", "strict", "ops", "violates", "target")
"""Keys of the archive form. The last two are notes for people and tools: what it was saved for, and where it shows."""

MAX_OPS: Final = 4096
"""Operations in one trace; the byte form ignores what follows."""

TAMPERS: Final = (
    "mac",
    "ciphertext",
    "counter",
    "previous-counter",
    "ratchet-key",
    "version",
    "truncate",
    "unknown-field",
    "duplicate-field",
    "overlong-varint",
    "registration-id",
    "prekey-id",
    "drop-prekey-id",
    "signed-prekey-id",
    "base-key",
    "identity-key",
    "outer-version",
    "low-order-identity",
    "low-order-base-key",
    "low-order-ratchet-key",
    "reorder-fields",
    "wrong-wire-type",
    "outer-unknown-field",
    "outer-duplicate-field",
    "outer-overlong-varint",
    "trailing-byte",
    "present-identity",
    "drop-ratchet-key",
    "drop-counter",
    "drop-previous-counter",
    "drop-ciphertext",
    "drop-base-key",
    "drop-identity-key",
    "drop-message",
    "drop-registration-id",
    "drop-signed-prekey-id",
    "oversized-ciphertext",
    "oversized-key",
    "prekey-id-zero",
    "untyped-base-key",
    "untyped-identity-key",
    "untyped-ratchet-key",
    "respelled-base-key",
    "respelled-identity-key",
)
"""What the attacker changes in a copy of a message. From "registration-id" to "low-order-base-key" and the names with
"outer", and "present-identity" (the sender's identity as it is now, after it was replaced), concern the outer layer of
a prekey message. "respelled" puts other bytes in the place of a key that come to the same shared secrets."""

FORGERIES: Final = (
    "bad-signature",
    "swap-signed-prekey",
    "swap-identity",
    "attacker-bundle",
    "low-order-signed-prekey",
    "low-order-prekey",
    "swap-prekey",
    "key-type",
    "short-signature",
    "prekey-id",
    "untyped-signed-prekey",
    "untyped-prekey",
    "untyped-identity-key",
    "long-key",
    "empty-key",
    "long-signature",
)
"""What the attacker does to a prekey bundle on its way."""

JUNK: Final = ("empty", "version-only", "random", "version-random", "well-formed", "oversized", "huge-length")
"""What bytes the attacker makes up."""


CALLBACKS: Final = ("first-use", "mismatch", "event", "plaintext")
"""The callbacks of an application: two trust questions, the events, and the hook that stores the plaintext."""

ANSWERS: Final = (
    "approve",
    "reject",
    "replace",
    "raise",
    "hang",
    "nonsense",
    "call-encrypt",
    "call-decrypt",
    "call-trust",
)
"""What a callback does, once. "hang" outlasts the time limit of a trust question; the calls go back into the library,
after which a trust question is answered with "approve".
"""

OPTIONS: Final = ("none", "prekey-id-zero", "untyped-keys", "all")
"""The compatibility options that a party has switched on (IDC-09)."""

TABLES: Final = (
    "local",
    "identity",
    "session-index",
    "session",
    "skipped-key",
    "prekey",
    "signed-prekey",
    "seen-base-key",
    "sender-key",
    "received-sender-key",
    "kept-group-key",
    "retired-sender-key",
)
"""Kinds of stored records; the last four are of groups."""

DAMAGES: Final = (
    "empty",
    "truncate",
    "trailing-byte",
    "unknown-field",
    "duplicate-field",
    "overlong-varint",
    "wrong-wire-type",
    "noise",
)
"""What is done to a stored record."""

MEDIA: Final = (
    "flip-bit",
    "cut-short",
    "another-key",
    "another-store",
    "another-version",
    "newer-record",
    "file-emptied",
    "file-cut",
    "file-overwritten",
    "newer-file",
    "older-file",
    "older-file-migrated",
    "no-transactions",
    "no-transactions-allowed",
    "file-closed",
    "file-running",
    "file-read-meanwhile",
    "file-killed",
    "file-crowded",
    "older-file-closed",
    "json-file",
    "json-file-killed",
)
"""What becomes of a store in its medium before it is opened again: records of one kind change, or are those of another
key, store or version; its file is damaged or of another release; its place is an adapter without transactions. From
"file-closed" on it is a file as it should be, of which all bytes are searched afterwards for what was deleted: once it
is closed; while it is open, after so many commits as are stated, without and with a reader who was in the way; once its
process was killed and another one went on; among many rows that come, grow and go; after a migration; in a JSON file,
also where a killed process left a draft.
"""

STORE_FAULTS: Final = ("fails", "busy", "conflict")
"""How a store refuses a call: it cannot, somebody else holds it for too long, or a row changed since it was read."""

RIVALS: Final = ("send", "receive")
"""What another process with the same store does between a party's reading and its commit: it sends a message to the
same peer, which the network loses, or it reads the very message that the party is reading."""

GROUPS: Final = ("team", "club")
"""Names of the groups of every world, each with a distribution id of its own. Anybody may take part in either."""

LAYOUTS: Final = ("current", "earlier")
"""Of the messages of a group: with its distribution id in each, or without, as older clients write them."""

GROUP_TAMPERS: Final = (
    "signature",
    "ciphertext",
    "iteration",
    "chain-id",
    "distribution-id",
    "re-signed",
    "version",
    "truncate",
    "trailing-byte",
    "unknown-field",
    "reorder-fields",
    "duplicate-field",
    "overlong-varint",
    "wrong-wire-type",
    "drop-distribution-id",
    "drop-chain-id",
    "drop-iteration",
    "drop-ciphertext",
    "empty",
    "signature-alone",
    "oversized-ciphertext",
)
"""What the attacker changes in a copy of a group message. "re-signed" puts the attacker's own signature under bytes
that are as they were: that of another member, where the attacker gave a chain of its own. In the earlier layout there
is no distribution id to change."""

SMUGGLES: Final = (
    "own",
    "last-iterations",
    "collision-own",
    "collision-other",
    "relayed",
    "rewound",
    "other-group",
    "low-order-signing-key",
    "version",
    "truncate",
    "trailing-byte",
    "unknown-field",
    "duplicate-field",
    "overlong-varint",
    "wrong-wire-type",
    "drop-distribution-id",
    "drop-chain-id",
    "drop-iteration",
    "drop-chain-key",
    "drop-signing-key",
    "short-chain-key",
    "untyped-signing-key",
)
"""What chain a malicious member gives: one of the attacker's own, from its first iteration or near the last; one with
the id of its real chain, or of another member's; another member's chain as its own; its real chain at iteration 0 with
another key; a chain of another group; and bytes that are no distribution."""

COUNTER_DELTAS: Final = (1, 2, 300, 25_001, 2**31)
"""What "counter" and "previous-counter" add (modulo 2**32), chosen by `how`."""

VERSION_BYTES: Final = (0x34, 0x32, 0x43, 0x23, 0x53, 0x35, 0x00, 0xFF)
"""What "version" and "outer-version" write, chosen by `how`."""


class Kind(Enum):
    """The operations. The value is (opcode, operands with their ranges); opcodes are never reused."""

    NOP = (0, ())
    ESTABLISH = (1, (("actor", 3), ("peer", 3), ("one_time", 2)))
    SEND = (2, (("actor", 3), ("peer", 3), ("size", 256)))
    DELIVER = (3, (("index", 256),))
    DUPLICATE = (4, (("index", 256),))
    DROP = (5, (("index", 256),))
    REPLAY = (6, (("message", 256),))
    TAMPER = (7, (("message", 256), ("field", len(TAMPERS)), ("how", 256)))
    REDIRECT = (8, (("message", 256), ("to", 3), ("sender", 3)))
    INJECT = (9, (("to", 3), ("sender", 3), ("what", len(JUNK)), ("how", 256)))
    FORGE_BUNDLE = (10, (("actor", 3), ("peer", 3), ("how", len(FORGERIES))))
    REINSTALL = (11, (("actor", 3),))
    APPROVE = (12, (("actor", 3), ("peer", 3)))
    RESTART = (13, (("actor", 3),))
    CRASH = (14, (("actor", 3), ("at", 16)))
    INSPECT = (15, (("actor", 3),))
    BURST = (16, (("actor", 3), ("peer", 3), ("count", 65536)))
    CLOCK = (17, (("days", 256),))
    ROTATE = (18, (("actor", 3),))
    MAINTAIN = (19, (("actor", 3),))
    FORGET = (20, (("actor", 3), ("peer", 3)))
    CALLBACK = (21, (("actor", 3), ("callback", len(CALLBACKS)), ("how", len(ANSWERS))))
    COMPATIBILITY = (22, (("actor", 3), ("option", len(OPTIONS))))
    DAMAGE = (23, (("actor", 3), ("table", len(TABLES)), ("how", len(DAMAGES))))
    COMPROMISE = (24, (("actor", 3),))
    ATTACK = (25, ())
    STORE_FAULT = (26, (("actor", 3), ("at", 16), ("how", len(STORE_FAULTS))))
    RIVAL = (27, (("actor", 3), ("how", len(RIVALS))))
    MEDIUM = (28, (("actor", 3), ("table", len(TABLES)), ("how", len(MEDIA))))
    GROUP_CREATE = (29, (("actor", 3), ("group", len(GROUPS))))
    GROUP_JOIN = (30, (("actor", 3), ("distribution", 256)))
    GROUP_SEND = (31, (("actor", 3), ("group", len(GROUPS)), ("size", 256)))
    GROUP_DELIVER = (32, (("actor", 3), ("message", 256)))
    GROUP_ROTATE = (33, (("actor", 3), ("group", len(GROUPS))))
    GROUP_FORGET = (34, (("actor", 3), ("peer", 3), ("group", len(GROUPS))))
    GROUP_TAMPER = (35, (("actor", 3), ("message", 256), ("field", len(GROUP_TAMPERS)), ("how", 256)))
    GROUP_REDIRECT = (36, (("actor", 3), ("message", 256), ("sender", 3), ("group", len(GROUPS))))
    GROUP_SMUGGLE = (37, (("sender", 3), ("group", len(GROUPS)), ("how", len(SMUGGLES)), ("number", 256)))
    GROUP_CRAFT = (38, (("chain", 256), ("ahead", 65536)))
    GROUP_MEMBERS = (39, (("actor", 3), ("group", len(GROUPS)), ("mask", 8)))
    GROUP_LAYOUT = (40, (("group", len(GROUPS)), ("layout", len(LAYOUTS))))
    GROUP_SHARE = (41, (("actor", 3), ("group", len(GROUPS)), ("size", 256)))
    GROUP_CAME = (42, (("actor", 3), ("group", len(GROUPS))))

    def __init__(self, opcode: int, operands: tuple[tuple[str, int], ...]) -> None:
        self.opcode = opcode
        self.operands = operands
        self.names = tuple(name for name, _ in operands)
        self.width = sum(2 if size > 256 else 1 for _, size in operands)
        self.word = self.name.lower().replace("_", "-")


BY_OPCODE: Final = {kind.opcode: kind for kind in Kind}
BY_WORD: Final = {kind.word: kind for kind in Kind}


class TraceError(ValueError):
    """A JSON trace that is not one; the text says where."""


@dataclass(frozen=True, slots=True)
class Op:
    """One operation: its kind and its operands, in the order of `Kind.names`."""

    kind: Kind
    args: tuple[int, ...] = ()

    def __getitem__(self, name: str) -> int:
        return self.args[self.kind.names.index(name)]

    def __str__(self) -> str:
        return f"{self.kind.word}({', '.join(map(describe, [self.kind] * len(self.args), self.kind.names, self.args))})"


PARTY_NAMES: Final = frozenset({"actor", "peer", "to", "sender"})

CHOICES: Final[dict[tuple[Kind, str], tuple[str, ...]]] = {
    (Kind.TAMPER, "field"): TAMPERS,
    (Kind.FORGE_BUNDLE, "how"): FORGERIES,
    (Kind.INJECT, "what"): JUNK,
    (Kind.CALLBACK, "callback"): CALLBACKS,
    (Kind.CALLBACK, "how"): ANSWERS,
    (Kind.COMPATIBILITY, "option"): OPTIONS,
    (Kind.DAMAGE, "table"): TABLES,
    (Kind.DAMAGE, "how"): DAMAGES,
    (Kind.STORE_FAULT, "how"): STORE_FAULTS,
    (Kind.RIVAL, "how"): RIVALS,
    (Kind.MEDIUM, "table"): TABLES,
    (Kind.MEDIUM, "how"): MEDIA,
    (Kind.GROUP_TAMPER, "field"): GROUP_TAMPERS,
    (Kind.GROUP_SMUGGLE, "how"): SMUGGLES,
    (Kind.GROUP_LAYOUT, "layout"): LAYOUTS,
    **{(kind, "group"): GROUPS for kind in Kind if "group" in kind.names},
}
"""Operands that choose by name, beside the parties."""


def choices(kind: Kind, name: str) -> tuple[str, ...]:
    """The names that an operand chooses from; none where it is a number."""
    return PARTIES if name in PARTY_NAMES else CHOICES.get((kind, name), ())


def describe(kind: Kind, name: str, value: int) -> str:
    """An operand for people: parties and choices by name."""
    named = choices(kind, name)
    return named[value] if named else f"{name}={value}"


def op(kind: Kind, **operands: int) -> Op:
    """Make an operation by operand names; operands left out are 0. Raises: TraceError."""
    unknown = set(operands) - set(kind.names)
    if unknown:
        raise TraceError(f"{kind.word} has no operand {sorted(unknown)[0]!r}")
    for name, size in kind.operands:
        value = operands.get(name, 0)
        if type(value) is not int or not 0 <= value < size:
            raise TraceError(f"{kind.word}: {name} must be 0 to {size - 1}")
    return Op(kind, tuple(operands.get(name, 0) for name in kind.names))


@dataclass(frozen=True, slots=True)
class Trace:
    """A world's settings and the operations that run in it."""

    ops: tuple[Op, ...]
    seed: int = 0
    """0 to 65535. Of the world's randomness, where the target takes it from us."""
    strict: int = 0
    """Bit n set: party n does not trust on first use."""

    def is_strict(self, party: int) -> bool:
        """Whether the party accepts only approved identities."""
        return bool(self.strict >> party & 1)


# -- bytes ------------------------------------------------------------------------------------------------------------


def encode(trace: Trace) -> bytes:
    """The byte form: header, then opcode and operands, one byte each (two, big-endian, for ranges over 256)."""
    out = bytearray((VERSION, trace.strict & 7))
    out += trace.seed.to_bytes(2, "big")
    for operation in trace.ops:
        out.append(operation.kind.opcode)
        for value, (_, size) in zip(operation.args, operation.kind.operands, strict=True):
            out += value.to_bytes(2 if size > 256 else 1, "big")
    return bytes(out)


def decode(data: bytes) -> Trace:
    """Any byte string as a trace. Total: it never raises, and `decode(encode(trace)) == trace`.

    The version byte is read by later formats; today every value means version 1.
    """
    head = data[:HEADER_BYTES].ljust(HEADER_BYTES, b"\0")
    ops: list[Op] = []
    at, end = HEADER_BYTES, len(data)
    while at < end and len(ops) < MAX_OPS:
        kind = BY_OPCODE.get(data[at], Kind.NOP)
        at += 1
        args: list[int] = []
        for _, size in kind.operands:
            width = 2 if size > 256 else 1
            args.append(int.from_bytes(data[at : at + width].ljust(width, b"\0"), "big") % size)
            at += width
        ops.append(Op(kind, tuple(args)))
    return Trace(tuple(ops), seed=int.from_bytes(head[2:4], "big"), strict=head[1] & 7)


# -- JSON -------------------------------------------------------------------------------------------------------------


def to_json(trace: Trace) -> dict[str, object]:
    """The archive form, for `json.dumps`. Choices are written by name, so that a person can read and write it."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "seed": trace.seed,
        "strict": [name for party, name in enumerate(PARTIES) if trace.is_strict(party)],
        "ops": [_op_to_json(operation) for operation in trace.ops],
    }


def _op_to_json(operation: Op) -> dict[str, object]:
    out: dict[str, object] = {"op": operation.kind.word}
    for name, value in zip(operation.kind.names, operation.args, strict=True):
        named = choices(operation.kind, name)
        out[name] = named[value] if named else value
    return out


def from_json(document: object) -> Trace:
    """Read the archive form. Raises: TraceError, with the place."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise TraceError(f'not a trace: "format" must be "{FORMAT}"')
    # JSON's true and 1.0 equal 1.
    if type(document.get("version")) is not int or document["version"] != VERSION:
        raise TraceError(f"trace version {document.get('version')!r} is not {VERSION}")
    # A slip in a key must not be read as the key left out.
    for key in document:
        if key not in KEYS:
            raise TraceError(f"no key {key!r:.60}; the keys are {', '.join(KEYS)}")
    for key in ("violates", "target"):
        if not isinstance(document.get(key, ""), str):
            raise TraceError(f'"{key}" must be text')
    seed, strict, ops = document.get("seed", 0), document.get("strict", []), document.get("ops")
    if type(seed) is not int or not 0 <= seed <= 0xFFFF:
        raise TraceError('"seed" must be 0 to 65535')
    if not isinstance(strict, list) or any(name not in PARTIES for name in strict):
        raise TraceError(f'"strict" must list some of {", ".join(PARTIES)}')
    if not isinstance(ops, list) or len(ops) > MAX_OPS:
        raise TraceError(f'"ops" must be a list of at most {MAX_OPS} operations')
    mask = sum(1 << PARTIES.index(name) for name in set(strict))
    return Trace(tuple(_op_from_json(at, entry) for at, entry in enumerate(ops)), seed=seed, strict=mask)


def _op_from_json(at: int, entry: object) -> Op:
    if not isinstance(entry, dict) or not isinstance(entry.get("op"), str) or entry["op"] not in BY_WORD:
        raise TraceError(f'operation {at}: "op" must be one of {", ".join(BY_WORD)}')
    kind = BY_WORD[entry["op"]]
    operands: dict[str, int] = {}
    for name, value in entry.items():
        if name == "op":
            continue
        # Before it becomes a keyword argument, which could have the name of another one.
        if name not in kind.names:
            raise TraceError(f"operation {at}: {kind.word} has no operand {name!r}")
        named = choices(kind, name)
        if named and value in named:
            value = named.index(value)
        elif named and type(value) is not int:
            raise TraceError(f"operation {at}: {name} must be one of {', '.join(named)}")
        operands[name] = value
    try:
        return op(kind, **operands)
    except TraceError as error:
        raise TraceError(f"operation {at}: {error}") from None


def dumps(trace: Trace) -> str:
    """The archive form as text, one operation a line."""
    document = to_json(trace)
    ops = ",\n  ".join(json.dumps(entry) for entry in document.pop("ops"))  # type: ignore[attr-defined]
    head = json.dumps(document)[:-1]
    return f'{head}, "ops": [\n  {ops}\n]}}\n'


def loads(text: str) -> Trace:
    """Read the archive form from text. Raises: TraceError."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TraceError(f"not JSON: {error}") from None
    return from_json(document)
