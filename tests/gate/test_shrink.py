"""The shrinker: a trace that still fails, as plain as it gets, the same one every time, within its budget.

The ids in it are examples.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pawl_gate.controls import CONTROLS
from pawl_gate.engines.strategies import traces
from pawl_gate.engines.walk import traces as walks
from pawl_gate.runner import run_trace
from pawl_gate.shrink import plainness, shrink
from pawl_spec.judge import judge
from pawl_spec.registry import REGISTRY
from pawl_spec.trace import Kind, Op, Trace, op

PLENTY = 5_000


class Watched:
    """A fault, and the traces it was tried on."""

    def __init__(self, fails: Callable[[Trace], bool]) -> None:
        self.fails = fails
        self.tried: list[Trace] = []

    def __call__(self, trace: Trace) -> bool:
        self.tried.append(trace)
        return self.fails(trace)


def has(trace: Trace, kind: Kind) -> bool:
    """Whether the trace has such an operation."""
    return any(operation.kind is kind for operation in trace.ops)


def has_a_replay_after_a_delivery(trace: Trace) -> bool:
    """A fault that needs two operations in their order."""
    kinds = [operation.kind for operation in trace.ops]
    return Kind.DELIVER in kinds and Kind.REPLAY in kinds[kinds.index(Kind.DELIVER) :]


def sends_and_delivers_as_often(trace: Trace) -> bool:
    """A fault from which two operations can only be taken together."""
    kinds = [operation.kind for operation in trace.ops]
    return kinds.count(Kind.SEND) == kinds.count(Kind.DELIVER) > 0


def test_one_operation_of_a_long_trace_is_left() -> None:
    """Source: delta debugging. Everything that the fault does not need goes: operations, operands, seed, strictness."""
    (trace,) = islice(walks(3), 1)
    noisy = Trace((*trace.ops, op(Kind.BURST, actor=2, peer=1, count=9_999), *trace.ops), seed=77, strict=5)
    assert shrink(noisy, lambda one: has(one, Kind.BURST), budget=PLENTY) == Trace((op(Kind.BURST),))


def test_operations_keep_their_order() -> None:
    """The fault needs a delivery before a replay, and that is what is left."""
    noise = [Op(Kind.NOP), op(Kind.SEND, actor=1, peer=2, size=9)] * 8
    trace = Trace((*noise, op(Kind.DELIVER, index=7), *noise, op(Kind.REPLAY, message=200), *noise))
    assert shrink(trace, has_a_replay_after_a_delivery, budget=PLENTY) == Trace((op(Kind.DELIVER), op(Kind.REPLAY)))


def test_two_operations_can_go_together() -> None:
    """A message's sending and its delivery: neither can go alone, and they do not stand side by side."""
    order = (Kind.SEND, Kind.SEND, Kind.SEND, Kind.DELIVER, Kind.DELIVER, Kind.DELIVER)
    shrunk = shrink(Trace(tuple(op(kind) for kind in order)), sends_and_delivers_as_often, budget=PLENTY)
    assert shrunk == Trace((op(Kind.SEND), op(Kind.DELIVER)))


def test_handles_follow_the_messages() -> None:
    """When a sending goes, the messages after it have smaller numbers: the trace still means the same message."""

    def fails(trace: Trace) -> bool:
        # The message that is tampered with is the last one sent, and its text is 9 long.
        sent = [operation for operation in trace.ops if operation.kind is Kind.SEND]
        return any(
            operation.kind is Kind.TAMPER and operation["message"] == len(sent) - 1 and sent[-1]["size"] == 9
            for operation in trace.ops
            if sent
        )

    trace = Trace((*[op(Kind.SEND)] * 5, op(Kind.SEND, size=9), op(Kind.TAMPER, message=5)))
    assert shrink(trace, fails, budget=PLENTY) == Trace((op(Kind.SEND, size=9), op(Kind.TAMPER, message=0)))


def test_the_parts_are_given_to_alice_and_bob() -> None:
    """Two parties that must differ cannot be moved one by one."""

    def fails(trace: Trace) -> bool:
        return any(one.kind is Kind.SEND and one["actor"] != one["peer"] for one in trace.ops) and trace.strict > 0

    shrunk = shrink(Trace((op(Kind.SEND, actor=2, peer=1),), strict=0b100), fails, budget=PLENTY)
    assert shrunk == Trace((op(Kind.SEND, actor=0, peer=1),), strict=1)


@pytest.mark.parametrize("least", [1, 2, 127, 128, 200, 255])
def test_an_operand_stops_where_the_fault_begins(least: int) -> None:
    """A number goes down to the least one that still fails."""
    trace = Trace((op(Kind.DELIVER, index=255),))
    assert shrink(trace, lambda one: one.ops != () and one.ops[0].args >= (least,), budget=PLENTY) == Trace(
        (op(Kind.DELIVER, index=least),)
    )


@given(traces(max_ops=25), st.data())
def test_what_comes_out_fails_and_cannot_be_cut(trace: Trace, data: st.DataObject) -> None:
    """A shrunk trace still fails, is no less plain, has no operation too many, and shrinks to itself."""
    first, second = (data.draw(st.sampled_from([*trace.ops, Op(Kind.NOP)])).kind for _ in range(2))

    def fails(one: Trace) -> bool:
        return has(one, first) and has(one, second)

    trace = Trace((*trace.ops, Op(Kind.NOP)), trace.seed, trace.strict)
    shrunk = shrink(trace, fails, budget=PLENTY)
    assert fails(shrunk)
    assert plainness(shrunk) <= plainness(trace)
    assert len(shrunk.ops) == len({first, second})
    assert (shrunk.seed, shrunk.strict) == (0, 0)
    assert not any(any(operation.args) for operation in shrunk.ops)
    assert shrink(shrunk, fails, budget=PLENTY) == shrunk


@pytest.mark.parametrize("budget", [0, 1, 2, 7, 40, 300])
def test_the_budget_is_kept(budget: int) -> None:
    """At most so many calls; what is left over is still a trace that fails, and no trace is tried twice."""
    for trace in islice(walks(5), 5):
        fails = Watched(lambda one: has(one, Kind.SEND))
        shrunk = shrink(trace, fails, budget=budget)
        assert len(fails.tried) <= budget
        assert has(shrunk, Kind.SEND)
        assert len(set(fails.tried)) == len(fails.tried)
        assert trace not in fails.tried
        assert budget or shrunk == trace


def test_the_same_trace_always_shrinks_the_same_way() -> None:
    """The same candidates in the same order: a finding has one smallest trace, on every machine."""
    (trace,) = islice(walks(8), 1)
    runs = [Watched(lambda one: has(one, Kind.SEND)) for _ in range(2)]
    assert len({shrink(trace, fails, budget=200) for fails in runs}) == 1
    assert runs[0].tried == runs[1].tried


def test_a_finding_of_the_gate_is_shrunk_to_what_shows_it() -> None:
    """A control: of a random walk, what is left is the one forged bundle."""
    target, entry = CONTROLS["signature-unchecked"].make(), REGISTRY["IDC-03"]

    def fails(trace: Trace) -> bool:
        return bool(judge(run_trace(target, trace, closing=False), [entry])[0])

    trace = next(trace for trace in walks(1) if fails(trace))
    assert shrink(trace, fails, budget=1_000) == Trace((op(Kind.FORGE_BUNDLE, actor=0, peer=1, how=0),))
