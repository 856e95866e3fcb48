"""Shrinking: the shortest and plainest trace that still shows a fault.

Delta debugging over operations, then over operands towards 0, then over the world's settings. Every step that is taken
makes the trace plainer in one fixed order (`plainness`), so it ends, and the same trace always shrinks the same way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import combinations, permutations

from pawl_spec.trace import PARTIES, Kind, Op, Trace

PARTY_NAMES = ("actor", "peer", "to", "sender")
"""Operands that name a party."""

PAIR_LIMIT = 16
"""Operations up to which all pairs are tried for removal: at most 120 candidates."""


def shrink(trace: Trace, still_fails: Callable[[Trace], bool], *, budget: int) -> Trace:
    """The plainest trace found for which `still_fails` is true, with at most `budget` calls of it.

    `trace` itself is taken to fail. `still_fails` must be a function of the trace alone.
    """
    search = _Search(trace, still_fails, budget)
    while search.calls_left and _pass(search):
        pass
    return search.best


class _Search:
    """The best trace so far, and how many calls are left."""

    def __init__(self, trace: Trace, still_fails: Callable[[Trace], bool], budget: int) -> None:
        self.best = trace
        self.calls_left = budget
        self._still_fails = still_fails
        self._tried = {trace}

    def take(self, candidate: Trace) -> bool:
        """Take the candidate if it is plainer than the best, was not tried before, and still fails."""
        if not self.calls_left or candidate in self._tried or plainness(candidate) >= plainness(self.best):
            return False
        self._tried.add(candidate)
        self.calls_left -= 1
        if not self._still_fails(candidate):
            return False
        self.best = candidate
        return True


def plainness(trace: Trace) -> tuple[int, int, int, tuple[int, ...]]:
    """The order in which traces are plainer: fewer operations, settings nearer to 0, first operands nearer to 0."""
    operands = tuple(value for op in trace.ops for value in op.args)
    return (len(trace.ops), trace.strict, trace.seed, operands)


def _pass(search: _Search) -> bool:
    """All reductions once; says whether one of them was taken."""
    before = search.best
    _drop_chunks(search)
    _drop_pairs(search)
    _settle(search, _settings)
    _settle(search, _recast)
    _settle(search, _operands)
    return search.best != before


def _drop_chunks(search: _Search) -> None:
    """Remove runs of operations, long runs first, from the end."""
    size = max(len(search.best.ops) // 2, 1)
    while size:
        end = len(search.best.ops)
        while end > 0:
            start = max(end - size, 0)
            _take_first(search, _without(search.best, range(start, end)))
            end = min(start, len(search.best.ops))
        size //= 2


def _drop_pairs(search: _Search) -> None:
    """Remove two operations at once: a message's sending and its delivery can only go together."""
    count = len(search.best.ops)
    if count > PAIR_LIMIT:
        return
    for pair in combinations(reversed(range(count)), 2):
        if _take_first(search, _without(search.best, pair)):
            return


def _take_first(search: _Search, candidates: Iterator[Trace]) -> bool:
    return any(map(search.take, candidates))


def _without(trace: Trace, positions: range | tuple[int, ...]) -> Iterator[Trace]:
    """The trace without these operations; then with later message handles moved down by the messages removed."""
    gone = set(positions)
    kept = tuple(op for at, op in enumerate(trace.ops) if at not in gone)
    yield replace(trace, ops=kept)
    made: Counter[str] = Counter()
    lost: dict[str, list[int]] = {}
    ops: list[Op] = []
    for at, op in enumerate(trace.ops):
        if at not in gone:
            ops.append(_moved_down(op, lost))
        if op.kind in MAKES:
            what = MAKES[op.kind]
            if at in gone:
                lost.setdefault(what, []).append(made[what])
            made[what] += 1
    if lost:
        yield replace(trace, ops=tuple(ops))


MAKES = {
    Kind.SEND: "message",
    Kind.GROUP_SEND: "group message",
    Kind.GROUP_SHARE: "group message",
    Kind.GROUP_CRAFT: "group message",
    Kind.GROUP_CREATE: "distribution",
    Kind.GROUP_SMUGGLE: "distribution",
}
"""What an operation makes one of. Each sort of handle is counted apart."""


def _moved_down(op: Op, lost: Mapping[str, list[int]]) -> Op:
    """The operation with the handle that it names moved down by as many as were lost before it."""
    for name in ("message", "distribution"):
        if name in op.kind.names:
            of_group = name == "message" and op.kind.word.startswith("group-")
            handle, gone = op[name], lost.get("group message" if of_group else name, [])
            return _with(op, op.kind.names.index(name), handle - sum(each < handle for each in gone))
    return op


def _with(op: Op, at: int, value: int) -> Op:
    return Op(op.kind, (*op.args[:at], value, *op.args[at + 1 :]))


def _settle(search: _Search, candidates: Callable[[Trace], Iterator[Trace]]) -> None:
    """Take plainer candidates until none is left."""
    while search.calls_left and _take_first(search, candidates(search.best)):
        pass


def _settings(trace: Trace) -> Iterator[Trace]:
    yield replace(trace, seed=0, strict=0)
    yield replace(trace, seed=0)
    for party in range(len(PARTIES)):
        yield replace(trace, strict=trace.strict & ~(1 << party))


def _recast(trace: Trace) -> Iterator[Trace]:
    """The same play with the parts given to other parties: one by one they cannot be moved."""
    for cast in permutations(range(len(PARTIES))):
        strict = sum(1 << cast[party] for party in range(len(PARTIES)) if trace.is_strict(party))
        yield replace(trace, ops=tuple(_cast(op, cast) for op in trace.ops), strict=strict)


def _cast(op: Op, cast: tuple[int, ...]) -> Op:
    pairs = zip(op.kind.names, op.args, strict=True)
    return Op(op.kind, tuple(cast[value] if name in PARTY_NAMES else value for name, value in pairs))


def _operands(trace: Trace) -> Iterator[Trace]:
    """Each operand nearer to 0: to 0 itself, half-way, a quarter less, and so on to one less."""
    for place, op in enumerate(trace.ops):
        for at, value in enumerate(op.args):
            for less in [value >> shift for shift in range(value.bit_length())]:
                yield replace(trace, ops=(*trace.ops[:place], _with(op, at, value - less), *trace.ops[place + 1 :]))
