"""Differential entry points: Pawl beside the model's predictions, and Pawl with another implementation as its peer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Final

from pawl_gate.engines.corpus import is_costly
from pawl_gate.engines.walk import Walk
from pawl_gate.fuzzing.broken import Broken
from pawl_gate.fuzzing.entries import Prepared, Ran
from pawl_gate.fuzzing.traces import MET, TALK, Traces, Worlds, reached, scenes, transcript
from pawl_gate.targets.inprocess import InProcessTarget
from pawl_gate.targets.mixed import MixedTarget
from pawl_gate.targets.registry import find_target
from pawl_spec.history import Event, History, Outcome
from pawl_spec.model.following import expectations
from pawl_spec.trace import Kind, Op, Trace, decode, dumps, encode, op

DISTURBED: Final = frozenset({Kind.CRASH, Kind.STORE_FAULT, Kind.RIVAL, Kind.CALLBACK, Kind.DAMAGE, Kind.MEDIUM})
"""What makes an operation end in another way than the protocol says; the invariants of traces judge those."""


class Predicted(Traces):
    """Every answer of Pawl is the one that the model gives: accepted or refused, and by which code."""

    def hold(self, data: bytes) -> History | None:
        """Run a trace without disturbances beside the model. Raises: Broken."""
        trace = decode(data)
        trace = replace(trace, ops=tuple(each for each in trace.ops if each.kind not in DISTURBED))
        if is_costly(trace):
            return None
        history = self._worlds.run(trace)
        for event, expect in zip(history.events, expectations(history), strict=True):
            if expect is None or expect.accept is None or event.outcome is Outcome.SKIPPED:
                continue
            said = f"step {event.step}, {event.op}: {_answer(event)}\n{dumps(trace)}"
            if expect.accept is not (event.outcome is Outcome.DONE):
                raise Broken(
                    expect.unless if expect.accept else expect.rule, f"the model expects another answer: {said}"
                )
            if not expect.accept and event.code not in expect.codes:
                raise Broken(expect.rule, f"the model expects one of {sorted(expect.codes)}: {said}")
        return history

    def run(self, data: bytes) -> Ran | None:
        """The same, with what it did."""
        history = self.hold(data)
        if history is None:
            return None
        checked = set[str]()
        for expect in expectations(history):
            if expect is not None and expect.accept is not None:
                checked.add(expect.unless if expect.accept else expect.rule)
        return Ran(transcript(history), reached(history), frozenset(checked) - {""})


def _answer(event: Event) -> str:
    return event.outcome.value if event.code is None else f"{event.outcome.value} by {event.code}"


def model_trace() -> Prepared:
    """Pawl beside the model."""
    source = scenes(
        *(*TALK, *TALK, Walk.twice, Walk.drop, Walk.replay, Walk.tamper, Walk.meddle, Walk.redirect, Walk.junk),
        *(Walk.forge, Walk.rekey, Walk.simultaneous, Walk.reinstall, Walk.restart, Walk.upkeep, Walk.forget),
    )
    return Predicted(InProcessTarget(), beginnings=(Trace(MET),), source=source).prepared()


# -- with another implementation --------------------------------------------------------------------------------------

SHARED: Final = frozenset({Kind.SEND, Kind.DELIVER, Kind.DUPLICATE, Kind.DROP, Kind.REPLAY, Kind.BURST})
"""What both can do, and on which nothing is known to be violated by the other one."""


class Paired(Traces):
    """Alice is Pawl, Bob the other implementation. Worlds cannot be forked: each trace begins at its beginning."""

    def __init__(self, other: str) -> None:
        peer = find_target(other)
        super().__init__(MixedTarget([InProcessTarget(), peer, peer]), source=_talk)
        self._worlds = Worlds(MixedTarget([InProcessTarget(), peer, peer]), ())

    def hold(self, data: bytes) -> History | None:
        """Run what both can do of a trace. Raises: SpecBroken."""
        return super().hold(encode(_shared(decode(data))))

    def run(self, data: bytes) -> Ran | None:
        """The same, with what it did: the other one draws its own random numbers, so keys are not in the transcript."""
        ran, history = super().run(data), self.hold(data)
        if ran is None or history is None:
            return None
        said = "\n".join(f"{event.op}: {_answer(event)}" for event in history.events)
        return replace(ran, transcript=said.encode())

    def seeds(self) -> list[bytes]:
        """Talks, begun by either, with and without a one-time prekey."""
        return [encode(Trace(tuple(_talk(Random(number))), seed=number)) for number in range(4)]  # noqa: S311


def _shared(trace: Trace) -> Trace:
    """What both can do, after one beginning: node-libsignal is known to lose messages when a session is begun anew."""
    one = trace.seed % 2
    ops = [
        op(Kind.ESTABLISH, actor=one, peer=1 - one, one_time=trace.seed // 2 % 2),
        op(Kind.SEND, actor=one, peer=1 - one),
        op(Kind.DELIVER),
    ]
    for each in trace.ops:
        if each.kind in SHARED and {"actor", "peer"} <= set(each.kind.names):
            ops.append(Op(each.kind, (each.args[0] % 2, 1 - each.args[0] % 2, *each.args[2:])))
        elif each.kind in SHARED:
            ops.append(each)
    return replace(trace, ops=tuple(ops[:60]), strict=0)


def _talk(rng: Random) -> Sequence[Op]:
    return scenes(*TALK, Walk.twice, Walk.drop, Walk.replay, Walk.burst)(rng)


def node_trace() -> Prepared:
    """Pawl and node-libsignal, each the other's peer. Raises: TargetMissing."""
    return Paired("node-libsignal").prepared()


__all__ = ["model_trace", "node_trace"]
