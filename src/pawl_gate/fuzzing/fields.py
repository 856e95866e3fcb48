"""A mutator that knows what a field is: bytes of a message are taken apart, changed in one place, and put together.

Nothing is judged here, and nothing has to be well-formed: what cannot be taken apart is one part, and stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from pawl_gate.fuzzing.entries import Form
from pawl_gate.wire_view import varint

_MASK: Final = 2**64 - 1


class Dice:
    """Numbers from a seed, some times faster than `random.Random` is made. What a fuzzer tries is not a secret."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = (seed + 1) * 0x9E3779B97F4A7C15 & _MASK

    def below(self, size: int) -> int:
        """A number from 0 to `size` - 1."""
        # Source: Knuth, "MMIX": a linear congruential generator, of which the upper bits are used.
        self._state = state = self._state * 0x5851F42D4C957F2D + 0x14057B7EF767814F & _MASK
        return (state >> 33) % size


@dataclass(frozen=True, slots=True)
class Shape:
    """How a message is framed: bytes before its fields and behind them, and which fields hold a message."""

    header: int = 1
    trailer: int = 0
    inside: Mapping[int, Shape] = field(default_factory=dict)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The integer at `at`, however it is spelt, and the place behind it; -1 where there is none."""
    if at < len(data) and data[at] < 128:
        return data[at], at + 1
    number = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7
    return -1, at


def take_apart(data: bytes, shape: Shape) -> tuple[bytes, list[bytes], bytes]:
    """What stands before the fields, the bytes of each, and what stands behind them. Joined they are `data`."""
    at, size = shape.header, len(data) - shape.trailer
    if size <= at:
        return data[:at], [], data[at:]
    parts = []
    # A tag and an integer of one byte each are the common case, then a length of one byte.
    while at < size:
        wire, end = AFTER_TAG[data[at]], at + 2
        if wire < 0 or end > size or data[at + 1] > 127:
            # What stands behind the fields is none of theirs.
            end = at + _length(data[at:size], 0)
        elif wire:
            end += data[at + 1]
            if end > size:
                end = size
        parts.append(data[at:end])
        at = end
    return data[: shape.header], parts, data[size:]


AFTER_TAG: Final = tuple({0: 0, 2: 1}.get(tag & 7, -1) if tag < 128 else -1 for tag in range(256))
"""By the first byte of a field: 0 before an integer, 1 before a length; -1: a longer tag, or another wire type."""


def _length(body: bytes, at: int) -> int:
    """Bytes of the field at `at`; all that is left where none begins there."""
    tag, value_at = read_varint(body, at)
    end = len(body) + 1
    match tag & 7 if tag >= 0 else 7:
        case 0:
            number, end = read_varint(body, value_at)
            end = end if number >= 0 else len(body) + 1
        case 1:
            end = value_at + 8
        case 2:
            size, begin = read_varint(body, value_at)
            end = begin + size if size >= 0 else len(body) + 1
        case 5:
            end = value_at + 4
    return (end if end <= len(body) else len(body)) - at


INTEGERS: Final = (0, 1, 2, 3, 127, 128, 255, 16383, 16384, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63, 2**64 - 1)
LENGTHS: Final = (0, 1, 15, 16, 17, 31, 32, 33, 34, 64)
VERSIONS: Final = (0x33, 0x34, 0x32, 0x43, 0x23, 0x00, 0xFF, 0x35)

P: Final = 2**255 - 19
KEYS: Final = tuple(
    b"\x05" + number.to_bytes(32, "little")
    for number in (
        *(0, 1, 9, P - 1, P, P + 1, 2**255 - 1, 2**255, 2**256 - 1),
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    )
)
"""Serialized public keys (33 bytes): an honest one, points of small order, and spellings that are not canonical."""


MANY: Final = 9
"""Fields: more than any message has that is to be read."""


def change(data: bytes, shape: Shape, dice: Dice, times: int = 1) -> bytes:
    """`data` with so many things changed."""
    head, parts, tail = take_apart(data, shape)
    _thin(parts, dice)
    for _ in range(times):
        choice = dice.below(20)
        if choice > 7 and parts:
            at = dice.below(len(parts))
            parts[at] = _field(parts[at], shape, dice)
        elif choice == 0 and head:
            head = bytes([VERSIONS[dice.below(len(VERSIONS))]])
        elif choice == 1:
            tail = _bytes(tail, dice)
        elif choice == 2:
            whole = head + b"".join(parts) + tail
            return whole[: dice.below(len(whole) + 1)]
        elif choice == 3 or not parts:
            parts.insert(dice.below(len(parts) + 1), _unknown(dice))
        elif choice == 4:
            # More unknown fields than a message may have, or just as many.
            parts += [_unknown(dice)] * (15 + dice.below(3))
        else:
            at = dice.below(len(parts))
            if choice == 5:
                del parts[at]
            elif choice == 6:
                parts.append(parts[at])
            else:
                other = dice.below(len(parts))
                parts[at], parts[other] = parts[other], parts[at]
    return head + b"".join(parts) + tail


def _thin(parts: list[bytes], dice: Dice) -> None:
    """Mostly end a flood of fields: once it was refused it shows nothing more, and each of its inputs takes long."""
    if len(parts) > MANY and dice.below(8):
        del parts[dice.below(MANY) :]


def _unknown(dice: Dice) -> bytes:
    """A field of any number and wire type."""
    tag = varint((dice.below(20) if dice.below(4) else INTEGERS[dice.below(11)] >> 3) << 3 | dice.below(8))
    match dice.below(4):
        case 0:
            return tag + varint(INTEGERS[dice.below(len(INTEGERS))])
        case 1:
            return tag + bytes(8)
        case 2:
            size = dice.below(6)
            return tag + varint(size) + bytes(size)
        case _:
            return tag + varint(INTEGERS[dice.below(len(INTEGERS))]) + bytes(dice.below(4))


def _field(part: bytes, shape: Shape, dice: Dice) -> bytes:
    """One field with its number, its value, or the spelling of either changed."""
    tag, at = read_varint(part, 0)
    if tag < 0:
        return _bytes(part, dice)
    choice = dice.below(10)
    if choice == 0:
        return varint(tag ^ 1 << dice.below(6)) + part[at:]
    if choice == 1:
        return overlong(tag) + part[at:]
    if tag & 7 == 0:
        number, _ = read_varint(part, at)
        number = INTEGERS[dice.below(len(INTEGERS))] if choice < 6 else max(number + dice.below(5) - 2, 0)
        return varint(tag) + (overlong(number) if choice == 9 else varint(number))
    if tag & 7 != 2:
        return part[:at] + _bytes(part[at:], dice)
    size, begin = read_varint(part, at)
    value = part[begin:]
    inside = shape.inside.get(tag >> 3)
    if choice == 2:
        # A length that is not the value's.
        return part[:at] + varint(INTEGERS[dice.below(len(INTEGERS))] if dice.below(2) else max(size - 1, 0)) + value
    if choice == 3:
        return part[:at] + overlong(max(size, 0)) + value
    if inside is not None and choice < 8:
        value = change(value, inside, dice)
    elif len(value) in (32, 33) and choice < 7:
        value = KEYS[dice.below(len(KEYS))][dice.below(2) * (dice.below(4) == 0) :]
    else:
        value = _bytes(value, dice)
    return part[:at] + varint(len(value)) + value


def overlong(number: int) -> bytes:
    """An encoding one byte longer than it need be."""
    shortest = varint(number)
    return shortest[:-1] + bytes([shortest[-1] | 0x80, 0])


def _bytes(data: bytes, dice: Dice) -> bytes:
    """Some bytes with a bit turned, or of another length."""
    if data and dice.below(2):
        at = dice.below(len(data))
        return data[:at] + bytes([data[at] ^ 1 << dice.below(8)]) + data[at + 1 :]
    size = LENGTHS[dice.below(len(LENGTHS))]
    return (data + bytes(64))[:size]


Mutate = Callable[[bytes, int, int], bytes]


def mutator(shape: Shape) -> Mutate:
    """As an entry point wants it: one, two or four changes."""

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        dice = Dice(seed)
        return change(data, shape, dice, (1, 1, 2, 4)[dice.below(4)])[:max_size]

    return mutate


MOST_REMEMBERED: Final = 1024
"""Inputs of a corpus whose fields are remembered: as many as are crossed with often, and at most some megabytes."""


def crossing(shape: Shape) -> Callable[[bytes, bytes, int, int], bytes]:
    """As an entry point wants it: the frame and the first fields of one message, the last ones of another.

    Mostly they meet at a number, so that no field comes twice: with a field that is there twice all is refused.
    """

    @lru_cache(MOST_REMEMBERED)
    def parts_of(kept: bytes) -> list[bytes]:
        return take_apart(kept, shape)[1]

    def cross(one: bytes, other: bytes, max_size: int, seed: int) -> bytes:
        dice = Dice(seed)
        head, first, tail = take_apart(one, shape)
        # An input of the corpus, which comes again and again.
        last = parts_of(other)
        if last and dice.below(4):
            # The first byte of a field holds its number, or the lowest bits of it.
            begin = last[dice.below(len(last))][:1]
            taken = [part for part in first if part[:1] < begin] + [part for part in last if part[:1] >= begin]
        else:
            taken = first[: dice.below(len(first) + 1)] + last[dice.below(len(last) + 1) :]
        _thin(taken, dice)
        return (head + b"".join(taken) + tail)[:max_size]

    return cross


def form(shape: Shape) -> Form:
    """The frame, with the number of its bytes before the fields in front, and the fields."""

    def split(data: bytes) -> tuple[bytes, list[bytes]]:
        head, parts, tail = take_apart(data, shape)
        return bytes([len(head)]) + head + tail, parts

    def join(rest: bytes, parts: Sequence[bytes]) -> bytes:
        size = rest[0] + 1
        return rest[1:size] + b"".join(parts) + rest[size:]

    return Form(split, join, simpler_field)


def simpler_field(part: bytes) -> Iterable[bytes]:
    """The same field with a smaller value."""
    tag, at = read_varint(part, 0)
    if tag < 0:
        yield from (part[: len(part) // 2], part[:-1])
    elif tag & 7 == 0:
        number, _ = read_varint(part, at)
        yield from (part[:at] + varint(less) for less in sorted({0, number // 2, number - 1}) if 0 <= less < number)
    elif tag & 7 == 2:
        size, begin = read_varint(part, at)
        value = part[begin:]
        for shorter in (b"", value[: len(value) // 2], bytes(len(value))):
            if 0 <= size == len(value) and shorter != value:
                yield part[:at] + varint(len(shorter)) + shorter
