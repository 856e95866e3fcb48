"""Traces: both encodings, and that what has been written down once can be read for ever.

Source: the house plan ("*every* byte string decodes to some trace, opcodes are append-only, an unknown opcode is a
no-op, operand indexes are taken modulo the live objects, the RNG seed sits in the header") and the format as it was
first published, copied here by hand: the corpus, the scenarios and every archived counterexample depend on it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pawl_spec.trace import (
    ANSWERS,
    CALLBACKS,
    COUNTER_DELTAS,
    DAMAGES,
    FORGERIES,
    GROUP_TAMPERS,
    GROUPS,
    HEADER_BYTES,
    JUNK,
    LAYOUTS,
    MAX_OPS,
    MEDIA,
    OPTIONS,
    PARTIES,
    RIVALS,
    SMUGGLES,
    STORE_FAULTS,
    TABLES,
    TAMPERS,
    VERSION,
    VERSION_BYTES,
    Kind,
    Op,
    Trace,
    TraceError,
    decode,
    dumps,
    encode,
    from_json,
    loads,
    op,
    to_json,
)

# -- what was published -----------------------------------------------------------------------------------------------

OPCODES_1 = {
    "nop": (0, {}),
    "establish": (1, {"actor": 1, "peer": 1, "one_time": 1}),
    "send": (2, {"actor": 1, "peer": 1, "size": 1}),
    "deliver": (3, {"index": 1}),
    "duplicate": (4, {"index": 1}),
    "drop": (5, {"index": 1}),
    "replay": (6, {"message": 1}),
    "tamper": (7, {"message": 1, "field": 1, "how": 1}),
    "redirect": (8, {"message": 1, "to": 1, "sender": 1}),
    "inject": (9, {"to": 1, "sender": 1, "what": 1, "how": 1}),
    "forge-bundle": (10, {"actor": 1, "peer": 1, "how": 1}),
    "reinstall": (11, {"actor": 1}),
    "approve": (12, {"actor": 1, "peer": 1}),
    "restart": (13, {"actor": 1}),
    "crash": (14, {"actor": 1, "at": 1}),
    "inspect": (15, {"actor": 1}),
    "burst": (16, {"actor": 1, "peer": 1, "count": 2}),
    "clock": (17, {"days": 1}),
    "rotate": (18, {"actor": 1}),
    "maintain": (19, {"actor": 1}),
    "forget": (20, {"actor": 1, "peer": 1}),
    "callback": (21, {"actor": 1, "callback": 1, "how": 1}),
    "compatibility": (22, {"actor": 1, "option": 1}),
    "damage": (23, {"actor": 1, "table": 1, "how": 1}),
    "compromise": (24, {"actor": 1}),
    "attack": (25, {}),
    "store-fault": (26, {"actor": 1, "at": 1, "how": 1}),
    "rival": (27, {"actor": 1, "how": 1}),
    "medium": (28, {"actor": 1, "table": 1, "how": 1}),
    "group-create": (29, {"actor": 1, "group": 1}),
    "group-join": (30, {"actor": 1, "distribution": 1}),
    "group-send": (31, {"actor": 1, "group": 1, "size": 1}),
    "group-deliver": (32, {"actor": 1, "message": 1}),
    "group-rotate": (33, {"actor": 1, "group": 1}),
    "group-forget": (34, {"actor": 1, "peer": 1, "group": 1}),
    "group-tamper": (35, {"actor": 1, "message": 1, "field": 1, "how": 1}),
    "group-redirect": (36, {"actor": 1, "message": 1, "sender": 1, "group": 1}),
    "group-smuggle": (37, {"sender": 1, "group": 1, "how": 1, "number": 1}),
    "group-craft": (38, {"chain": 1, "ahead": 2}),
    "group-members": (39, {"actor": 1, "group": 1, "mask": 1}),
    "group-layout": (40, {"group": 1, "layout": 1}),
    "group-share": (41, {"actor": 1, "group": 1, "size": 1}),
    "group-came": (42, {"actor": 1, "group": 1}),
}
"""Format 1: opcode, and the width in bytes of each operand, in order. Nothing here may ever change; new ones follow."""

GROUPS_1 = [
    "team",
    "club",
]

LAYOUTS_1 = ["current", "earlier"]

GROUP_TAMPERS_1 = [
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
]

SMUGGLES_1 = [
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
]

TAMPERS_1 = [
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
]
FORGERIES_1 = [
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
]
JUNK_1 = ["empty", "version-only", "random", "version-random", "well-formed", "oversized", "huge-length"]
CALLBACKS_1 = ["first-use", "mismatch", "event", "plaintext"]
ANSWERS_1 = ["approve", "reject", "replace", "raise", "hang", "nonsense", "call-encrypt", "call-decrypt", "call-trust"]
OPTIONS_1 = ["none", "prekey-id-zero", "untyped-keys", "all"]
TABLES_1 = [
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
]
DAMAGES_1 = [
    "empty",
    "truncate",
    "trailing-byte",
    "unknown-field",
    "duplicate-field",
    "overlong-varint",
    "wrong-wire-type",
    "noise",
]
FAULTS_1 = ["fails", "busy", "conflict"]
RIVALS_1 = ["send", "receive"]

MEDIA_1 = [
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
]
DELTAS_1 = (1, 2, 300, 25_001, 2_147_483_648)
VERSION_BYTES_1 = (0x34, 0x32, 0x43, 0x23, 0x53, 0x35, 0x00, 0xFF)

BYTES_1 = (
    "01 05 0102"  # version 1, alice and carol strict, seed 258
    " 01 00 01 01  02 01 02 07  03 ff  04 02  05 03  06 04  07 05 02 09  08 06 02 01  09 01 00 04 ff"
    " 0a 02 00 09  0b 02  0c 00 02  0d 01  0e 01 0f  0f 00  10 02 01 01 2c  00"
    " 11 1f  12 01  13 01  14 00 01  15 00 01 03  16 01 02  17 00 03 01  18 02  19  1a 01 0e 02  1b 00 01  1c 01 03 04"
    " 1d 00 01  1e 01 02  1f 00 00 05  20 02 03  21 01 01  22 00 02 01  23 01 04 02 07  24 02 05 01 01  25 01 00 02 09"
    " 26 03 61 a8  27 00 01 06  28 01 01  29 00 01 05  2a 02 00"
)
"""A trace with every operation, by hand."""

JSON_1 = """
{"format": "pawl-trace", "version": 1, "seed": 258, "strict": ["alice", "carol"], "ops": [
  {"op": "establish", "actor": "alice", "peer": "bob", "one_time": 1},
  {"op": "send", "actor": "bob", "peer": "carol", "size": 7},
  {"op": "deliver", "index": 255},
  {"op": "duplicate", "index": 2},
  {"op": "drop", "index": 3},
  {"op": "replay", "message": 4},
  {"op": "tamper", "message": 5, "field": "counter", "how": 9},
  {"op": "redirect", "message": 6, "to": "carol", "sender": "bob"},
  {"op": "inject", "to": "bob", "sender": "alice", "what": "well-formed", "how": 255},
  {"op": "forge-bundle", "actor": "carol", "peer": "alice", "how": "prekey-id"},
  {"op": "reinstall", "actor": "carol"},
  {"op": "approve", "actor": "alice", "peer": "carol"},
  {"op": "restart", "actor": "bob"},
  {"op": "crash", "actor": "bob", "at": 15},
  {"op": "inspect", "actor": "alice"},
  {"op": "burst", "actor": "carol", "peer": "bob", "count": 300},
  {"op": "nop"},
  {"op": "clock", "days": 31},
  {"op": "rotate", "actor": "bob"},
  {"op": "maintain", "actor": "bob"},
  {"op": "forget", "actor": "alice", "peer": "bob"},
  {"op": "callback", "actor": "alice", "callback": "mismatch", "how": "raise"},
  {"op": "compatibility", "actor": "bob", "option": "untyped-keys"},
  {"op": "damage", "actor": "alice", "table": "session", "how": "truncate"},
  {"op": "compromise", "actor": "carol"},
  {"op": "attack"},
  {"op": "store-fault", "actor": "bob", "at": 14, "how": "conflict"},
  {"op": "rival", "actor": "alice", "how": "receive"},
  {"op": "medium", "actor": "bob", "table": "session", "how": "another-version"},
  {"op": "group-create", "actor": "alice", "group": "club"},
  {"op": "group-join", "actor": "bob", "distribution": 2},
  {"op": "group-send", "actor": "alice", "group": "team", "size": 5},
  {"op": "group-deliver", "actor": "carol", "message": 3},
  {"op": "group-rotate", "actor": "bob", "group": "club"},
  {"op": "group-forget", "actor": "alice", "peer": "carol", "group": "club"},
  {"op": "group-tamper", "actor": "bob", "message": 4, "field": "iteration", "how": 7},
  {"op": "group-redirect", "actor": "carol", "message": 5, "sender": "bob", "group": "club"},
  {"op": "group-smuggle", "sender": "bob", "group": "team", "how": "collision-own", "number": 9},
  {"op": "group-craft", "chain": 3, "ahead": 25000},
  {"op": "group-members", "actor": "alice", "group": "club", "mask": 6},
  {"op": "group-layout", "group": "club", "layout": "earlier"},
  {"op": "group-share", "actor": "alice", "group": "club", "size": 5},
  {"op": "group-came", "actor": "carol", "group": "team"}
]}
"""
"""The same trace in the archive form."""


def test_opcodes_are_append_only() -> None:
    """ "Opcodes are append-only": each keeps its number, its name and the widths of its operands."""
    now = {
        kind.word: (kind.opcode, {name: 2 if size > 256 else 1 for name, size in kind.operands})
        for kind in sorted(Kind, key=lambda kind: kind.opcode)
    }
    assert list(now.items())[: len(OPCODES_1)] == list(OPCODES_1.items())
    # The order of the operands is part of the bytes; a dict's == does not see it.
    assert [list(now[word][1]) for word in OPCODES_1] == [list(names) for _, names in OPCODES_1.values()]
    assert len({kind.opcode for kind in Kind}) == len(Kind)
    assert all(kind.opcode < 256 for kind in Kind)


@pytest.mark.parametrize(
    ("now", "then"),
    [
        (TAMPERS, TAMPERS_1),
        (FORGERIES, FORGERIES_1),
        (JUNK, JUNK_1),
        (CALLBACKS, CALLBACKS_1),
        (ANSWERS, ANSWERS_1),
        (OPTIONS, OPTIONS_1),
        (TABLES, TABLES_1),
        (DAMAGES, DAMAGES_1),
        (STORE_FAULTS, FAULTS_1),
        (RIVALS, RIVALS_1),
        (MEDIA, MEDIA_1),
        (GROUPS, GROUPS_1),
        (LAYOUTS, LAYOUTS_1),
        (GROUP_TAMPERS, GROUP_TAMPERS_1),
        (SMUGGLES, SMUGGLES_1),
        (COUNTER_DELTAS, DELTAS_1),
        (VERSION_BYTES, VERSION_BYTES_1),
    ],
    ids=[
        "tampers",
        "forgeries",
        "junk",
        "callbacks",
        "answers",
        "options",
        "tables",
        "damages",
        "store-faults",
        "rivals",
        "media",
        "groups",
        "layouts",
        "group-tampers",
        "smuggles",
        "counter-deltas",
        "version-bytes",
    ],
)
def test_choices_are_append_only(now: tuple[object, ...], then: list[object]) -> None:
    """Positions are part of both encodings: what was there stays where it was. Over 256 an operand would grow wider."""
    assert list(now[: len(then)]) == list(then)
    assert len(set(now)) == len(now) <= 256


def test_parties_are_those_that_were_published() -> None:
    """A fourth party would change what every operand of a party means, modulo 4 instead of 3."""
    assert PARTIES == ("alice", "bob", "carol")


def test_both_encodings_of_a_published_trace() -> None:
    """The same trace, written by hand in bytes and in JSON, is read and written as it always was."""
    trace = decode(bytes.fromhex(BYTES_1))
    assert trace == loads(JSON_1)
    assert encode(trace) == bytes.fromhex(BYTES_1)
    assert to_json(trace) == json.loads(JSON_1)
    assert {operation.kind for operation in trace.ops} >= {kind for kind in Kind if kind.word in OPCODES_1}


# -- bytes ------------------------------------------------------------------------------------------------------------


def any_op() -> st.SearchStrategy[Op]:
    """Any operation with operands in their ranges."""
    return st.one_of(
        st.builds(
            lambda *args, kind=kind: Op(kind, args),
            *(st.integers(0, size - 1) for _, size in kind.operands),
        )
        for kind in Kind
    )


def any_trace() -> st.SearchStrategy[Trace]:
    """Any trace that the archive form can hold."""
    return st.builds(Trace, st.lists(any_op(), max_size=30).map(tuple), st.integers(0, 0xFFFF), st.integers(0, 7))


def mostly_opcodes() -> st.SearchStrategy[bytes]:
    """Bytes in which operations are frequent."""
    return st.lists(st.integers(0, 20) | st.integers(0, 255), max_size=200).map(bytes)


@given(st.binary(max_size=300) | mostly_opcodes())
def test_every_byte_string_is_a_trace(data: bytes) -> None:
    """ "*Every* byte string decodes to some trace": nothing raises, and every operand is in its range."""
    trace = decode(data)
    assert 0 <= trace.seed <= 0xFFFF
    assert 0 <= trace.strict <= 7
    for operation in trace.ops:
        assert len(operation.args) == len(operation.kind.operands)
        for value, (_, size) in zip(operation.args, operation.kind.operands, strict=True):
            assert 0 <= value < size
    # What was decoded can be archived, and encoding it is where it settles.
    assert loads(dumps(trace)) == trace
    settled = encode(trace)
    assert decode(settled) == trace
    assert encode(decode(settled)) == settled


@given(any_trace())
def test_bytes_round_trip(trace: Trace) -> None:
    """`decode(encode(trace)) == trace`."""
    assert decode(encode(trace)) == trace


@given(st.integers(0, 255), st.binary(min_size=3, max_size=40))
def test_every_version_byte_is_version_1_today(version: int, rest: bytes) -> None:
    """The version byte is kept for later formats; no input is lost to it."""
    assert decode(bytes([version]) + rest) == decode(bytes([VERSION]) + rest)


@pytest.mark.parametrize("opcode", sorted(set(range(256)) - {kind.opcode for kind in Kind}))
def test_an_unknown_opcode_is_a_nop(opcode: int) -> None:
    """It takes one byte and no operands: what follows is read as if it were not there."""
    assert decode(bytes([1, 0, 0, 0, opcode, 3, 7])).ops == (Op(Kind.NOP), Op(Kind.DELIVER, (7,)))


@pytest.mark.parametrize(
    ("data", "trace"),
    [
        (b"", Trace(())),
        (b"\x01", Trace(())),
        (b"\x01\xff", Trace((), strict=7)),
        (b"\x01\x00\x02", Trace((), seed=0x200)),
        (b"\x01\x00\x02\x03", Trace((), seed=0x203)),
    ],
)
def test_a_cut_header_is_filled_with_zeros(data: bytes, trace: Trace) -> None:
    """What is missing is 0; bits of parties that there are not count for nothing."""
    assert decode(data) == trace


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind.operands], ids=lambda kind: kind.word)
def test_missing_operands_are_zero(kind: Kind) -> None:
    """A trace that is cut anywhere within its last operation has that operation, with 0 for what is missing."""
    whole = encode(Trace((Op(kind, tuple(1 for _ in kind.operands)),)))
    for end in range(HEADER_BYTES + 1, len(whole)):
        cut = whole[:end]
        (operation,) = decode(cut).ops
        assert operation == decode(cut.ljust(len(whole), b"\0")).ops[0]
        assert operation.args[-1] == 0


def test_a_cut_operand_of_two_bytes_keeps_its_high_byte() -> None:
    """Big-endian: the byte that is there is the high one."""
    assert decode(bytes([1, 0, 0, 0, 16, 0, 1, 1])).ops == (op(Kind.BURST, actor=0, peer=1, count=256),)


def test_operands_are_taken_modulo_their_range() -> None:
    """Party 5 is carol, change 26 of 26 is the first."""
    assert decode(bytes([1, 0, 0, 0, 12, 5, 255])).ops == (op(Kind.APPROVE, actor=2, peer=0),)
    assert decode(bytes([1, 0, 0, 0, 7, 255, len(TAMPERS), 255])).ops == (op(Kind.TAMPER, message=255, how=255),)


def test_the_byte_form_has_a_limit() -> None:
    """What follows `MAX_OPS` operations is ignored, unread: decoding is bounded work."""
    data = bytes(HEADER_BYTES) + bytes([3, 1]) * MAX_OPS
    assert len(decode(data).ops) == MAX_OPS
    assert decode(data + b"\x03\x02" * 10) == decode(data)


# -- JSON -------------------------------------------------------------------------------------------------------------


@given(any_trace())
def test_json_round_trip(trace: Trace) -> None:
    """The archive form says everything, as a document and as text."""
    assert from_json(to_json(trace)) == trace
    assert loads(dumps(trace)) == trace
    assert json.loads(dumps(trace)) == to_json(trace)


def test_one_operation_a_line() -> None:
    """The text is meant for people and for `diff`."""
    text = dumps(Trace((op(Kind.NOP), op(Kind.DELIVER, index=3)), seed=5))
    assert text.splitlines() == [
        '{"format": "pawl-trace", "version": 1, "seed": 5, "strict": [], "ops": [',
        '  {"op": "nop"},',
        '  {"op": "deliver", "index": 3}',
        "]}",
    ]


def test_what_is_left_out_is_zero() -> None:
    """Settings and operands may be left out; a choice may be given by its number."""
    ops = [{"op": "send"}, {"op": "tamper", "field": 3}, {"op": "approve", "actor": 2, "peer": "bob"}]
    assert from_json({"format": "pawl-trace", "version": 1, "ops": ops}) == Trace(
        (op(Kind.SEND), op(Kind.TAMPER, field=3), op(Kind.APPROVE, actor=2, peer=1))
    )


def document(*ops: object, **more: object) -> dict[str, object]:
    """A document in the archive form."""
    return {"format": "pawl-trace", "version": 1, "ops": list(ops), **more}


WORDS = ", ".join(OPCODES_1)
KEYS_1 = "format, version, seed, strict, ops, violates, target"
REFUSED = [
    ("no-object", [], 'not a trace: "format" must be "pawl-trace"'),
    ("no-format", {"version": 1, "ops": []}, 'not a trace: "format" must be "pawl-trace"'),
    ("other-format", document(format="pawl"), 'not a trace: "format" must be "pawl-trace"'),
    ("no-version", {"format": "pawl-trace", "ops": []}, "trace version None is not 1"),
    ("later-version", document(version=2), "trace version 2 is not 1"),
    ("version-text", document(version="1"), "trace version '1' is not 1"),
    ("version-true", document(version=True), "trace version True is not 1"),
    ("version-fraction", document(version=1.0), "trace version 1.0 is not 1"),
    ("seed-negative", document(seed=-1), '"seed" must be 0 to 65535'),
    ("seed-large", document(seed=65536), '"seed" must be 0 to 65535'),
    ("seed-true", document(seed=True), '"seed" must be 0 to 65535'),
    ("seed-fraction", document(seed=1.0), '"seed" must be 0 to 65535'),
    ("seed-null", document(seed=None), '"seed" must be 0 to 65535'),
    ("strict-text", document(strict="alice"), '"strict" must list some of alice, bob, carol'),
    ("strict-unknown", document(strict=["alice", "dave"]), '"strict" must list some of alice, bob, carol'),
    ("strict-number", document(strict=[0]), '"strict" must list some of alice, bob, carol'),
    ("strict-list", document(strict=[["alice"]]), '"strict" must list some of alice, bob, carol'),
    ("key-unknown", document(strickt=["alice"]), f"no key 'strickt'; the keys are {KEYS_1}"),
    ("key-of-a-note", document(note="x"), f"no key 'note'; the keys are {KEYS_1}"),
    ("violates-number", document(violates=4), '"violates" must be text'),
    ("target-list", document(target=["pawl"]), '"target" must be text'),
    ("no-ops", {"format": "pawl-trace", "version": 1}, '"ops" must be a list of at most 4096 operations'),
    ("ops-object", document(ops={}), '"ops" must be a list of at most 4096 operations'),
    ("ops-many", document(ops=[{"op": "nop"}] * 4097), '"ops" must be a list of at most 4096 operations'),
    ("op-text", document({"op": "nop"}, "send"), f'operation 1: "op" must be one of {WORDS}'),
    ("op-missing", document({"actor": "alice"}), f'operation 0: "op" must be one of {WORDS}'),
    ("op-number", document({"op": 1}), f'operation 0: "op" must be one of {WORDS}'),
    ("op-list", document({"op": ["send"]}), f'operation 0: "op" must be one of {WORDS}'),
    ("op-unknown", document({"op": "nop"}, {"op": "SEND"}), f'operation 1: "op" must be one of {WORDS}'),
    ("operand-unknown", document({"op": "send", "to": "bob"}), "operation 0: send has no operand 'to'"),
    ("operand-kind", document({"op": "send", "kind": 1}), "operation 0: send has no operand 'kind'"),
    ("party-unknown", document({"op": "send", "peer": "dave"}), "operation 0: peer must be one of alice, bob, carol"),
    ("party-null", document({"op": "send", "peer": None}), "operation 0: peer must be one of alice, bob, carol"),
    ("party-true", document({"op": "send", "peer": True}), "operation 0: peer must be one of alice, bob, carol"),
    ("party-list", document({"op": "send", "peer": ["bob"]}), "operation 0: peer must be one of alice, bob, carol"),
    ("party-number", document({"op": "send", "peer": 3}), "operation 0: send: peer must be 0 to 2"),
    ("choice", document({"op": "inject", "what": "x"}), f"operation 0: what must be one of {', '.join(JUNK_1)}"),
    (
        "forgery",
        document({"op": "forge-bundle", "how": "x"}),
        f"operation 0: how must be one of {', '.join(FORGERIES_1)}",
    ),
    ("change", document({"op": "tamper", "field": "x"}), f"operation 0: field must be one of {', '.join(TAMPERS_1)}"),
    ("number-large", document({"op": "nop"}, {"op": "send", "size": 256}), "operation 1: send: size must be 0 to 255"),
    ("number-negative", document({"op": "deliver", "index": -1}), "operation 0: deliver: index must be 0 to 255"),
    ("number-text", document({"op": "deliver", "index": "1"}), "operation 0: deliver: index must be 0 to 255"),
    ("number-true", document({"op": "deliver", "index": True}), "operation 0: deliver: index must be 0 to 255"),
    ("number-wide", document({"op": "burst", "count": 65536}), "operation 0: burst: count must be 0 to 65535"),
]


@pytest.mark.parametrize(("wrong", "says"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_is_no_trace_is_refused_with_its_place(wrong: object, says: str) -> None:
    """A JSON trace that is not one: the text says what and where; the number of an operation counts from 0."""
    with pytest.raises(TraceError) as refusal:
        from_json(wrong)
    assert str(refusal.value) == says


@pytest.mark.parametrize("text", ["", "{", "[1,]", "nul", "[" * 100_000, "9" * 5_000, '"\\ud800', '{"a": 1} 2'])
def test_what_is_no_json_is_refused(text: str) -> None:
    """Neither deep nesting nor a long number gets past the refusal."""
    with pytest.raises(TraceError, match=r"^not JSON: "):
        loads(text)


def any_json() -> st.SearchStrategy[Any]:
    """Any JSON value, with the words of the format in it."""
    words = st.sampled_from(["format", "version", "seed", "strict", "ops", "op", "pawl-trace", *PARTIES, *OPCODES_1])
    leaves = st.none() | st.booleans() | st.integers(-1, 300) | st.floats() | st.text(max_size=3) | words
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words | st.text(max_size=2), inner),
        max_leaves=12,
    )


@given(any_json(), any_json(), any_json(), st.lists(any_json(), max_size=3))
def test_any_document_is_read_or_refused(seed: object, strict: object, version: object, ops: list[object]) -> None:
    """No other exception than the refusal, whatever a document holds."""
    for wrong in (seed, document(*ops), document(seed=seed), document(strict=strict), document(version=version)):
        try:
            trace = from_json(wrong)
        except TraceError:
            continue
        assert decode(encode(trace)) == trace


# -- operations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: op(Kind.SEND, to=1), "send has no operand 'to'"),
        (lambda: op(Kind.SEND, actor=3), "send: actor must be 0 to 2"),
        (lambda: op(Kind.SEND, actor=True), "send: actor must be 0 to 2"),
        (lambda: op(Kind.NOP, index=0), "nop has no operand 'index'"),
    ],
)
def test_an_operation_that_is_none(make: Callable[[], Op], says: str) -> None:
    """Operands are checked where operations are made by name."""
    with pytest.raises(TraceError) as refusal:
        make()
    assert str(refusal.value) == says


def test_operations_for_people() -> None:
    """Parties and choices by name, other operands with theirs."""
    assert [str(operation) for operation in loads(JSON_1).ops] == [
        "establish(alice, bob, one_time=1)",
        "send(bob, carol, size=7)",
        "deliver(index=255)",
        "duplicate(index=2)",
        "drop(index=3)",
        "replay(message=4)",
        "tamper(message=5, counter, how=9)",
        "redirect(message=6, carol, bob)",
        "inject(bob, alice, well-formed, how=255)",
        "forge-bundle(carol, alice, prekey-id)",
        "reinstall(carol)",
        "approve(alice, carol)",
        "restart(bob)",
        "crash(bob, at=15)",
        "inspect(alice)",
        "burst(carol, bob, count=300)",
        "nop()",
        "clock(days=31)",
        "rotate(bob)",
        "maintain(bob)",
        "forget(alice, bob)",
        "callback(alice, mismatch, raise)",
        "compatibility(bob, untyped-keys)",
        "damage(alice, session, truncate)",
        "compromise(carol)",
        "attack()",
        "store-fault(bob, at=14, conflict)",
        "rival(alice, receive)",
        "medium(bob, session, another-version)",
        "group-create(alice, club)",
        "group-join(bob, distribution=2)",
        "group-send(alice, team, size=5)",
        "group-deliver(carol, message=3)",
        "group-rotate(bob, club)",
        "group-forget(alice, carol, club)",
        "group-tamper(bob, message=4, iteration, how=7)",
        "group-redirect(carol, message=5, bob, club)",
        "group-smuggle(bob, team, collision-own, number=9)",
        "group-craft(chain=3, ahead=25000)",
        "group-members(alice, club, mask=6)",
        "group-layout(club, earlier)",
        "group-share(alice, club, size=5)",
        "group-came(carol, team)",
    ]


def test_operands_by_name() -> None:
    """`operation["peer"]` is that operand; bit n of the mask is party n."""
    assert op(Kind.REDIRECT, message=9, to=1, sender=2)["sender"] == 2
    assert [Trace((), strict=0b101).is_strict(party) for party in range(3)] == [True, False, True]
