"""Inputs that are steps in a world that stands ready: their byte form, and a mutator that works on steps.

A version byte, then step after step: an opcode, three operands of one byte, two bytes of length and so many bytes.
Every byte string is some steps: what is cut off is 0 or shorter, an unknown opcode is no step. Opcodes are never
reused, and neither are the positions of a list that an operand chooses from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pawl_gate.fuzzing.entries import Form
from pawl_gate.fuzzing.fields import Dice, Shape, change

VERSION: Final = 1
HEAD: Final = 6
"""Bytes of a step before its own bytes."""
MOST_STEPS: Final = 64
"""Steps that are run; what follows is left."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step."""

    opcode: int
    a: int = 0
    b: int = 0
    c: int = 0
    data: bytes = b""


def decode(data: bytes) -> list[Step]:
    """The steps in an input."""
    found: list[Step] = []
    at = 1
    while at < len(data) and len(found) < MOST_STEPS:
        head = data[at : at + HEAD] + bytes(HEAD)
        size = head[4] << 8 | head[5]
        at += HEAD
        found.append(Step(head[0], head[1], head[2], head[3], data[at : at + size]))
        at += size
    return found


def encode(steps: Iterable[Step]) -> bytes:
    """The input that holds these steps."""
    return bytes([VERSION]) + b"".join(map(one, steps))


def one(step: Step) -> bytes:
    """The bytes of one step."""
    return bytes((step.opcode, step.a, step.b, step.c, len(step.data) >> 8, len(step.data) & 0xFF)) + step.data


def simpler(part: bytes) -> Iterable[bytes]:
    """The same step with smaller operands, or less of its bytes."""
    for step in decode(bytes([VERSION]) + part)[:1]:
        for name in ("a", "b", "c"):
            value = getattr(step, name)
            for less in sorted({0, value // 2, value - 1} - {value, -1}):
                yield one(replace(step, **{name: less}))
        for at in range(0, len(step.data), 2):
            yield one(replace(step, data=step.data[:at] + step.data[at + 2 :]))


FORM: Final = Form(
    lambda data: (bytes([VERSION]), [one(step) for step in decode(data)]),
    lambda rest, parts: rest + b"".join(parts),
    simpler,
)


@dataclass(frozen=True, slots=True)
class Steps:
    """A mutator of steps: in, out, twice, elsewhere, spliced; operands; and what is in the bytes of a step."""

    opcodes: Sequence[int]
    """What may be put in; what stands there twice is twice as likely."""
    moves: frozenset[int]
    """Opcodes whose bytes are moves of two bytes each, from a list of `kinds`."""
    kinds: int
    fields: dict[int, Shape]
    """Opcodes whose bytes are the fields of a message."""
    body: Callable[[int, int], bytes]
    """For those: the bytes of a message to begin with, by opcode and first operand."""
    operands: int = 16
    """Operands are mostly below this."""

    def mutate(self, data: bytes, max_size: int, seed: int) -> bytes:
        """As an entry point wants it."""
        dice = Dice(seed)
        steps = decode(data)
        for _ in range((1, 1, 2, 4)[dice.below(4)]):
            self._change(steps, dice)
        return encode(steps)[:max_size]

    def cross(self, left: bytes, right: bytes, max_size: int, seed: int) -> bytes:
        """The beginning of one input and the end of another."""
        dice = Dice(seed)
        head, tail = decode(left), decode(right)
        taken = head[: dice.below(len(head) + 1)] + tail[dice.below(len(tail) + 1) :]
        return encode(taken)[:max_size]

    def _change(self, steps: list[Step], dice: Dice) -> None:
        choice = dice.below(12)
        if choice < 4 or not steps:
            steps.insert(dice.below(len(steps) + 1), self._new(dice))
            return
        at = dice.below(len(steps))
        if choice == 4:
            del steps[at]
        elif choice == 5:
            steps.insert(dice.below(len(steps) + 1), steps[at])
        elif choice == 6:
            other = dice.below(len(steps))
            steps[at], steps[other] = steps[other], steps[at]
        elif choice == 7:
            to = dice.below(len(steps) + 1)
            steps[to:to] = steps[at : at + 1 + dice.below(4)]
        else:
            steps[at] = self._turned(steps[at], dice)

    def _new(self, dice: Dice) -> Step:
        opcode = self.opcodes[dice.below(len(self.opcodes))]
        first = dice.below(self.operands)
        made = Step(opcode, first, first if dice.below(4) else dice.below(self.operands), dice.below(3) * dice.below(2))
        if opcode in self.moves:
            return replace(made, data=self._moves(dice) + (self._moves(dice) if dice.below(3) == 0 else b""))
        if opcode in self.fields:
            return replace(made, data=change(self.body(opcode, first), self.fields[opcode], dice))
        return made

    def _moves(self, dice: Dice) -> bytes:
        return bytes((dice.below(self.kinds), dice.below(256)))

    def _turned(self, step: Step, dice: Dice) -> Step:
        """The step with another operand, or with other bytes."""
        if dice.below(3) == 0 or not (step.opcode in self.moves or step.opcode in self.fields):
            a, b, c = [dice.below(self.operands) if dice.below(3) == 0 else old for old in (step.a, step.b, step.c)]
            return Step(step.opcode, a, b, c, step.data)
        if step.opcode in self.fields:
            return replace(step, data=change(step.data, self.fields[step.opcode], dice))
        data = bytearray(step.data)
        match dice.below(3):
            case 0:
                data += self._moves(dice)
            case 1 if data:
                data[dice.below(len(data))] = dice.below(256)
            case _ if len(data) >= 2:
                at = 2 * dice.below(len(data) // 2)
                del data[at : at + 2]
        return replace(step, data=bytes(data))
