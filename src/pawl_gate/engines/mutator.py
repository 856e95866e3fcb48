"""A mutator that knows what an operation is, for coverage-guided fuzzers.

Most bytes are no opcode, so blind mutation of the byte form mostly makes no-ops. This one changes operations: it takes
some out, puts some in from a random walk, moves, swaps and repeats them, and turns operands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

from pawl_gate.engines.walk import walk
from pawl_spec.trace import HEADER_BYTES, Op, Trace, decode, encode

Source = Callable[[Random], Sequence[Op]]
"""Where operations that are put in come from: a random walk."""


def walked(rng: Random) -> Sequence[Op]:
    """Operations of a random walk on sessions."""
    return walk(rng).ops


def mutate(data: bytes, max_size: int, seed: int, *, source: Source = walked, stays: int = 0) -> bytes:
    """A changed copy of an input, at most `max_size` bytes long. The same seed gives the same change.

    `stays`: with how many operations at its beginning, and with its header, a trace mostly stays as it is.
    """
    rng = Random(seed)  # noqa: S311 - what a fuzzer tries is not a secret
    trace = decode(data)
    kept = stays if stays and rng.random() < STAYS else 0
    rest = replace(trace, ops=trace.ops[kept:])
    for _ in range(rng.choice((1, 1, 2, 4))):
        change = rng.choice(CHANGES)
        rest = _put_in(rest, rng, source) if change is None else change(rest, rng)
    # A world that is known already costs nothing to set up again.
    header = trace if kept else rest
    return _fitted(replace(header, ops=trace.ops[:kept] + rest.ops), max_size)


def cross(one: bytes, other: bytes, max_size: int, seed: int) -> bytes:
    """The beginning of one input and the end of another."""
    rng = Random(seed)  # noqa: S311 - see above
    head, tail = decode(one), decode(other)
    start = head.ops[: rng.randint(0, len(head.ops))]
    return _fitted(replace(head, ops=start + tail.ops[rng.randint(0, len(tail.ops)) :]), max_size)


def _fitted(trace: Trace, max_size: int) -> bytes:
    """The byte form of as many operations as fit."""
    size = HEADER_BYTES
    for count, op in enumerate(trace.ops):
        size += 1 + op.kind.width
        if size > max_size:
            trace = replace(trace, ops=trace.ops[:count])
            break
    return encode(trace)[:max_size]


def _take_out(trace: Trace, rng: Random) -> Trace:
    at, size = rng.randrange(len(trace.ops) + 1), rng.choice((1, 1, 2, 8))
    return replace(trace, ops=trace.ops[:at] + trace.ops[at + size :])


def _put_in(trace: Trace, rng: Random, source: Source) -> Trace:
    new = tuple(source(rng))
    start, size = rng.randrange(len(new)), rng.choice((1, 2, 4, 8))
    at = rng.randint(0, len(trace.ops))
    return replace(trace, ops=trace.ops[:at] + new[start : start + size] + trace.ops[at:])


def _move(trace: Trace, rng: Random) -> Trace:
    if not trace.ops:
        return trace
    ops = list(trace.ops)
    op = ops.pop(rng.randrange(len(ops)))
    ops.insert(rng.randint(0, len(ops)), op)
    return replace(trace, ops=tuple(ops))


def _again(trace: Trace, rng: Random) -> Trace:
    if not trace.ops:
        return trace
    at = rng.randrange(len(trace.ops))
    return replace(trace, ops=(*trace.ops[:at], trace.ops[at], *trace.ops[at:]))


def _swap(trace: Trace, rng: Random) -> Trace:
    if len(trace.ops) < 2:
        return trace
    ops = list(trace.ops)
    one, other = rng.sample(range(len(ops)), 2)
    ops[one], ops[other] = ops[other], ops[one]
    return replace(trace, ops=tuple(ops))


def _splice(trace: Trace, rng: Random) -> Trace:
    """Some operations once more, at another place."""
    if not trace.ops:
        return trace
    start, size, at = rng.randrange(len(trace.ops)), rng.choice((2, 4, 8)), rng.randint(0, len(trace.ops))
    return replace(trace, ops=trace.ops[:at] + trace.ops[start : start + size] + trace.ops[at:])


def _turn(trace: Trace, rng: Random) -> Trace:
    """Another operand: any, or one beside it."""
    with_operands = [at for at, op in enumerate(trace.ops) if op.args]
    if not with_operands:
        return trace
    place = rng.choice(with_operands)
    op = trace.ops[place]
    at = rng.randrange(len(op.args))
    size = op.kind.operands[at][1]
    value = rng.choice((rng.randrange(size), op.args[at] + 1, op.args[at] - 1)) % size
    turned = Op(op.kind, (*op.args[:at], value, *op.args[at + 1 :]))
    return replace(trace, ops=(*trace.ops[:place], turned, *trace.ops[place + 1 :]))


def _settings(trace: Trace, rng: Random) -> Trace:
    return replace(trace, seed=rng.randrange(1 << 16), strict=rng.choice((0, 0, rng.randrange(8))))


CHANGES: tuple[Callable[[Trace, Random], Trace] | None, ...] = (
    *(_take_out, None, None, None, _turn, _turn, _turn, _move, _swap, _again, _splice),
    _settings,
)
"""What may be done to a trace; None puts operations in; what stands there twice is twice as likely."""

STAYS = 0.9
"""How often the beginning of a trace stays."""
