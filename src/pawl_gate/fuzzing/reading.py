"""A second reading of messages, by the rules alone: what may be accepted, what must be refused, and why.

Written apart from `pawl.wire`, so that a mistake of one is not one of both. The rules are those of PAR-02 and PAR-03;
the numbers are written out here once more, from docs/reference/limits.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

MOST_MESSAGE: Final = 524_288
MOST_BODY: Final = 262_144
MOST_UNKNOWN: Final = 16
PRIME: Final = 2**255 - 19

Reason: TypeAlias = tuple[str, str]
"""The invariant by which a message must be refused, and the fault."""
Values: TypeAlias = dict[int, int | bytes]
"""What a message holds, by field number."""
Rule: TypeAlias = tuple[int, int, int, bool]
"""Of a field: wire type, fewest and most bytes, whether it must be there."""

INTEGER: Final[Rule] = (0, 0, 0, True)
OPTIONAL: Final[Rule] = (0, 0, 0, False)
KEY: Final[Rule] = (2, 33, 33, True)

SIGNAL: Final[Mapping[int, Rule]] = {1: KEY, 2: INTEGER, 3: OPTIONAL, 4: (2, 0, MOST_BODY, True)}
PREKEY: Final[Mapping[int, Rule]] = {
    1: OPTIONAL,
    2: KEY,
    3: KEY,
    4: (2, 0, MOST_MESSAGE, True),
    5: OPTIONAL,
    6: INTEGER,
}
GROUP: Final[Mapping[int, Rule]] = {1: (2, 16, 16, True), 2: INTEGER, 3: INTEGER, 4: (2, 0, MOST_BODY, True)}
EARLIER_GROUP: Final[Mapping[int, Rule]] = {1: INTEGER, 2: INTEGER, 3: (2, 0, MOST_BODY, True)}
DISTRIBUTION: Final[Mapping[int, Rule]] = {1: (2, 16, 16, True), 2: INTEGER, 3: INTEGER, 4: (2, 32, 32, True), 5: KEY}
EARLIER_DISTRIBUTION: Final[Mapping[int, Rule]] = {1: INTEGER, 2: INTEGER, 3: (2, 32, 32, True), 4: KEY}

CUT: Final[Reason] = ("PAR-01", "it ends in the middle of something")
TWICE: Final[Reason] = ("PAR-02", "a field is there twice")
SPELLING: Final[Reason] = ("PAR-02", "an integer is longer than it need be")
RANGE: Final[Reason] = ("PAR-02", "an integer is out of range")
TYPE: Final[Reason] = ("PAR-02", "a field has a wire type that it may not have")
FLOOD: Final[Reason] = ("PAR-03", "there are more unknown fields than a message may have")
SIZE: Final[Reason] = ("PAR-03", "something is longer or shorter than it may be")
MISSING: Final[Reason] = ("PAR-03", "a field is missing")
VERSION: Final[Reason] = ("PAR-04", "the version byte is none of ours")
KEY_FORM: Final[Reason] = ("IDC-05", "a key has another type byte, or is not in canonical form")


def integer(data: bytes, at: int, end: int, bits: int) -> tuple[int, int] | Reason:
    """The integer at `at`, and the place behind it."""
    last = at
    while last < end and data[last] >= 128:
        last += 1
        # Ten groups of seven bits are more than any integer has.
        if last - at > 9:
            return RANGE
    if last >= end:
        return CUT
    value = 0
    for place in range(last, at - 1, -1):
        value = value << 7 | data[place] & 127
    if value >> bits:
        return RANGE
    return SPELLING if last > at and data[last] == 0 else (value, last + 1)


def read(data: bytes, start: int, end: int, rules: Mapping[int, Rule]) -> Values | Reason:
    """What a message holds between two places, or why it must be refused."""
    values: Values = {}
    unknown = 0
    at = start
    while at < end:
        # One byte is the common case.
        if data[at] < 128:
            tag = data[at]
            at += 1
        else:
            found = integer(data, at, end, 32)
            if type(found[0]) is not int:
                return found  # type: ignore[return-value]  # a reason begins with a text
            tag, at = found
        number, wire = tag >> 3, tag & 7
        rule = rules.get(number)
        if rule is not None and (rule[0] != wire or number in values):
            return TYPE if rule[0] != wire else TWICE
        if number == 0 or wire not in (0, 1, 2, 5):
            return TYPE
        if rule is None:
            unknown += 1
            if unknown > MOST_UNKNOWN:
                return FLOOD
        if wire == 1 or wire == 5:
            at += 8 if wire == 1 else 4
            if at > end:
                return CUT
            continue
        if at < end and data[at] < 128:
            value = data[at]
            at += 1
        else:
            found = integer(data, at, end, 64 if rule is None and wire == 0 else 32)
            if type(found[0]) is not int:
                return found  # type: ignore[return-value]
            value, at = found
        if wire == 0:
            if rule is not None:
                values[number] = value
            continue
        if rule is not None and not rule[1] <= value <= rule[2]:
            return SIZE
        if at + value > end:
            return CUT
        if rule is not None:
            values[number] = data[at : at + value]
        at += value
    for number, rule in rules.items():
        if rule[3] and number not in values:
            return MISSING
    return values


def is_key(data: int | bytes) -> bool:
    """Whether 33 bytes are a serialized public key in canonical form."""
    return type(data) is bytes and data[0] == 5 and int.from_bytes(data[1:], "little") < PRIME


def message(
    data: bytes, rules: Mapping[int, Rule], *, trailer: int, versions: bytes, keys: tuple[int, ...]
) -> Values | Reason:
    """What a framed message holds, or why it must be refused. `keys`: the fields that are public keys."""
    if len(data) > MOST_MESSAGE:
        return SIZE
    if not data:
        return CUT
    if data[0] not in versions:
        return VERSION
    if len(data) < 1 + trailer:
        return CUT
    found = read(data, 1, len(data) - trailer, rules)
    if type(found) is dict and not all(is_key(found[number]) for number in keys):
        return KEY_FORM
    return found


def signal(data: bytes) -> Values | Reason:
    """A SignalMessage."""
    return message(data, SIGNAL, trailer=8, versions=b"\x33\x34", keys=(1,))


def prekey(data: bytes) -> Values | Reason:
    """A PreKeySignalMessage, the message in it included."""
    found = message(data, PREKEY, trailer=0, versions=b"\x33\x34", keys=(2, 3))
    if type(found) is dict:
        inside = found[4]
        inner = signal(inside) if type(inside) is bytes else TYPE
        return found if type(inner) is dict else inner
    return found
