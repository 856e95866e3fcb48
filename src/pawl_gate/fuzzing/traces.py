"""Entry points whose inputs are traces: the byte form of `pawl_spec.trace`, run on Pawl and held to the specification.

They differ in what their mutators put in, and in the worlds that they begin with. Those stand ready: a trace that
begins as a known one does goes on from a copy of the world behind it, with the same history as from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Final

from pawl_gate.engines import mutator
from pawl_gate.engines.corpus import SpecBroken, is_costly
from pawl_gate.engines.group_walk import in_groups
from pawl_gate.engines.mutator import Source
from pawl_gate.engines.walk import Walk
from pawl_gate.fuzzing.entries import Form, Prepared, Ran
from pawl_gate.fuzzing.transcript import transcript as in_words
from pawl_gate.runner import Run
from pawl_gate.targets.base import Target
from pawl_gate.targets.inprocess import InProcessTarget
from pawl_spec.history import Event, History
from pawl_spec.judge import judge
from pawl_spec.trace import (
    CHOICES,
    HEADER_BYTES,
    Kind,
    Op,
    Trace,
    decode,
    encode,
    op,
)

MET: Final = (
    op(Kind.ESTABLISH, actor=0, peer=1, one_time=1),
    op(Kind.SEND, actor=0, peer=1),
    op(Kind.DELIVER, index=0),
    op(Kind.SEND, actor=1, peer=0),
    op(Kind.DELIVER, index=0),
)
"""Two who have talked: a session that both sides hold."""

IN_A_GROUP: Final = (
    op(Kind.GROUP_CREATE, actor=0, group=0),
    op(Kind.GROUP_JOIN, actor=1, distribution=0),
    op(Kind.GROUP_JOIN, actor=2, distribution=0),
    op(Kind.GROUP_SEND, actor=0, group=0),
    op(Kind.GROUP_DELIVER, actor=1, message=0),
)
"""A group of three, in which one has spoken."""

STRICT: Final = (op(Kind.APPROVE, actor=0, peer=1), op(Kind.APPROVE, actor=1, peer=0), *MET)
"""Two who approved each other's identity before they talked."""


# -- the form of an input ---------------------------------------------------------------------------------------------


def split(data: bytes) -> tuple[bytes, list[bytes]]:
    """Header, and one part for each operation."""
    trace = decode(data)
    return _header(trace), [_bytes(each) for each in trace.ops]


def _header(trace: Trace) -> bytes:
    return encode(Trace((), seed=trace.seed, strict=trace.strict))


def _bytes(operation: Op) -> bytes:
    return encode(Trace((operation,)))[HEADER_BYTES:]


def join(header: bytes, parts: Sequence[bytes]) -> bytes:
    """The byte form."""
    return header + b"".join(parts)


def simpler(part: bytes) -> Iterable[bytes]:
    """The same operation with smaller operands."""
    (operation,) = decode(encode(Trace(())) + part).ops
    for at, value in enumerate(operation.args):
        for less in sorted({0, value // 2, value - 1} - {value, -1}):
            yield _bytes(Op(operation.kind, (*operation.args[:at], less, *operation.args[at + 1 :])))


FORM: Final = Form(split, join, simpler)


# -- running ----------------------------------------------------------------------------------------------------------


class Worlds:
    """Worlds that stand ready: what comes after a known beginning runs in a copy."""

    def __init__(self, target: Target, beginnings: Iterable[Trace]) -> None:
        self._target = target
        self._ready = {(each.seed, each.strict, each.ops): self._built(each) for each in beginnings}
        self._lengths = sorted({len(ops) for _, _, ops in self._ready}, reverse=True)

    def _built(self, trace: Trace) -> Run:
        run = Run(self._target, seed=trace.seed, strict=trace.strict)
        for operation in trace.ops:
            run.step(operation)
        return run

    def run(self, trace: Trace) -> History:
        """The history of a trace, as `run_trace` has it."""
        run, done = self._begun(trace)
        try:
            for operation in trace.ops[done:]:
                run.step(operation)
        except BaseException:
            run.finish(closing=False)
            raise
        return run.finish()

    def _begun(self, trace: Trace) -> tuple[Run, int]:
        for length in self._lengths:
            ready = self._ready.get((trace.seed, trace.strict, trace.ops[:length]))
            if ready is not None:
                return ready.fork(), length
        return Run(self._target, seed=trace.seed, strict=trace.strict), 0


def transcript(history: History) -> bytes:
    """All that was seen, but for what is measured: memory is another one each time."""
    return "\n".join(map(in_words, history.events)).encode()


def reached(history: History) -> frozenset[str]:
    """What a history reached: each operation with its outcome, and which kind came before it."""
    found = set[str]()
    before = ""
    for event in history.events[: history.closing]:
        found |= {f"{_what(event)}: {event.outcome.value} {event.code or ''}".rstrip(), f"{before}{event.op.kind.word}"}
        before = f"{event.op.kind.word}, "
    return frozenset(found)


def _what(event: Event) -> str:
    """An operation, with what it chooses by name."""
    kind = event.op.kind
    chosen = [CHOICES[kind, name][event.op[name]] for name in kind.names if (kind, name) in CHOICES]
    return " ".join([kind.word, *chosen])


class Traces:
    """The harness of one entry point."""

    def __init__(self, target: Target, *, beginnings: Sequence[Trace] = (), source: Source = mutator.walked) -> None:
        self._worlds = Worlds(target, beginnings)
        self._beginnings = beginnings
        self._source = source

    def hold(self, data: bytes) -> History | None:
        """Run a trace and hold it to the specification; None where it is too costly. Raises: SpecBroken."""
        trace = decode(data)
        if is_costly(trace):
            return None
        history = self._worlds.run(trace)
        broken, _ = judge(history)
        if broken:
            raise SpecBroken(broken, trace)
        return history

    def run(self, data: bytes) -> Ran | None:
        """The same, with what it did."""
        history = self.hold(data)
        if history is None:
            return None
        _, checked = judge(history)
        return Ran(transcript(history), reached(history), frozenset(checked))

    def mutate(self, data: bytes, max_size: int, seed: int) -> bytes:
        """Mostly what comes after the world that an input begins with."""
        trace = decode(data)
        stays = max((len(each.ops) for each in self._beginnings if _begins(trace, each)), default=0)
        return mutator.mutate(data, max_size, seed, source=self._source, stays=stays)

    def seeds(self) -> list[bytes]:
        """The beginnings, each alone and with one walk behind it."""
        found = [encode(each) for each in self._beginnings]
        for number, each in enumerate(self._beginnings):
            ops = (*each.ops, *self._source(Random(number)))  # noqa: S311 - seeds are not secret
            found.append(encode(Trace(ops, seed=each.seed, strict=each.strict)))
        return found

    def prepared(self) -> Prepared:
        """As the entry points want it."""
        return Prepared(self.hold, self.mutate, mutator.cross, self.run, FORM, self.seeds)


def _begins(trace: Trace, beginning: Trace) -> bool:
    return (trace.seed, trace.strict, trace.ops[: len(beginning.ops)]) == (
        beginning.seed,
        beginning.strict,
        beginning.ops,
    )


# -- entry points -----------------------------------------------------------------------------------------------------


def session_trace() -> Prepared:
    """Sessions of two or three: everything that a walk does."""
    return Traces(InProcessTarget(), beginnings=(Trace(MET),)).prepared()


def group_trace() -> Prepared:
    """Groups, with a malicious member among them."""
    return Traces(InProcessTarget(), beginnings=(Trace(IN_A_GROUP),), source=in_groups).prepared()


def scenes(*chosen: Callable[[Walk], None]) -> Source:
    """A source of operations from some scenes of a walk alone."""

    def source(rng: Random) -> Sequence[Op]:
        state = Walk(rng, ((0, 1), (1, 0)), met={(0, 1), (1, 0)}, answered={(0, 1), (1, 0)})
        while len(state.ops) < 12:
            rng.choice(chosen)(state)
        return state.ops

    return source


TALK: Final = (Walk.talk, Walk.ping_pong, Walk.send_only, Walk.arrive, Walk.late)


def storage_trace() -> Prepared:
    """What a disk does: crashes, refused calls, other processes, damaged records and files."""
    source = scenes(*TALK, Walk.crash, Walk.store_trouble, Walk.damage, Walk.medium, Walk.restart, Walk.store)
    return Traces(InProcessTarget(), beginnings=(Trace(MET),), source=source).prepared()


def identity_trace() -> Prepared:
    """Identities: strict and trusting parties, decisions, reinstallations, forged bundles, misbehaving callbacks."""
    source = scenes(
        *(*TALK, Walk.reinstall, Walk.forge, Walk.meddle, Walk.redirect, Walk.ask, Walk.disturb, Walk.rekey),
        lambda state: state.approve(*state.pair()),
    )
    beginnings = (Trace(MET), Trace(STRICT, strict=3))
    return Traces(InProcessTarget(), beginnings=beginnings, source=source).prepared()


__all__ = ["FORM", "Traces", "Worlds", "group_trace", "identity_trace", "reached", "session_trace", "storage_trace"]
