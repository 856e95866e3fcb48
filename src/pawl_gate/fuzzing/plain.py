"""A harness for what takes bytes and says in a few words what came of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pawl_gate.fuzzing.entries import Form, Prepared, Ran
from pawl_gate.fuzzing.fields import INTEGERS, Dice

Mutate = Callable[[bytes, int, int], bytes]


def _simpler(part: bytes) -> Iterable[bytes]:
    for value in part[:1]:
        yield from (bytes([less]) for less in sorted({0, value // 2, value - 1}) if 0 <= less < value)


BYTES: Final = Form(
    lambda data: (b"", [bytes([each]) for each in data]), lambda rest, parts: rest + b"".join(parts), _simpler
)
"""Byte by byte."""


def splice(one: bytes, other: bytes, max_size: int, seed: int) -> bytes:
    """The beginning of one input and the end of another."""
    dice = Dice(seed)
    return (one[: dice.below(len(one) + 1)] + other[dice.below(len(other) + 1) :])[:max_size]


def edit(data: bytes, dice: Dice) -> bytes:
    """Some bytes turned, put in, taken out or put twice."""
    at = dice.below(len(data) + 1)
    size = (1, 1, 2, 4, 16, 32)[dice.below(6)]
    match dice.below(6):
        case 0:
            return data[:at] + data[at + size :]
        case 1:
            return data[:at] + data[at : at + size] + data[at:]
        case 2:
            return data[:at] + bytes([dice.below(256)]) * size + data[at:]
        case 3:
            number = INTEGERS[dice.below(len(INTEGERS))]
            width = (1, 2, 4, 8)[dice.below(4)]
            new = (number & (1 << 8 * width) - 1).to_bytes(width, "big" if dice.below(2) else "little")
            return data[:at] + new + data[at + width :]
        case _ if data:
            at = dice.below(len(data))
            return data[:at] + bytes([data[at] ^ 1 << dice.below(8)]) + data[at + 1 :]
    return data


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """One, two or four edits."""
    dice = Dice(seed)
    for _ in range((1, 1, 2, 4)[dice.below(4)]):
        data = edit(data, dice)
    return data[:max_size]


def mixed(*several: Mutate) -> Mutate:
    """One of several mutators at each call."""

    def chosen(data: bytes, max_size: int, seed: int) -> bytes:
        return several[Dice(seed ^ 0x5EED).below(len(several))](data, max_size, seed)

    return chosen


@dataclass(frozen=True, slots=True)
class Plain:
    """One entry point."""

    hold: Callable[[bytes], str | None]
    """What came of an input, in a few words that hold nothing random; None: too costly. Raises: Broken."""
    ids: frozenset[str]
    seeds: Sequence[bytes]
    mutate: Mutate = mutate
    cross: Callable[[bytes, bytes, int, int], bytes] = splice
    form: Form = BYTES

    def run(self, data: bytes) -> Ran | None:
        """The same, with what it did."""
        said = self.hold(data)
        return None if said is None else Ran(said.encode(), frozenset(said.split("; ")), self.ids)

    def prepared(self) -> Prepared:
        """As the entry points want it."""
        return Prepared(self.hold, self.mutate, self.cross, self.run, self.form, lambda: self.seeds)
