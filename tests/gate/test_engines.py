"""The engines: each gives traces that mean something, the same ones for the same seed, and finds what is there."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

from pawl_gate.controls import CONTROLS
from pawl_gate.engines import machine, mutator
from pawl_gate.engines.corpus import MOST_BURST, MOST_OPS, SESSION_TRACE, SpecBroken, add, files, hold, is_costly, load
from pawl_gate.engines.mutator import cross, mutate
from pawl_gate.engines.strategies import OPERATIONS, operations, pairs, traces
from pawl_gate.engines.walk import LONGEST, SCENES, SHORTEST, WITH_GROUPS, Walk, walk
from pawl_gate.engines.walk import traces as walks
from pawl_gate.runner import run_trace
from pawl_gate.targets.base import HarnessBroken
from pawl_gate.targets.inprocess import InProcessTarget
from pawl_spec.history import History, Outcome
from pawl_spec.judge import judge
from pawl_spec.registry import REGISTRY
from pawl_spec.trace import (
    FORGERIES,
    GROUP_TAMPERS,
    HEADER_BYTES,
    JUNK,
    SMUGGLES,
    TAMPERS,
    Kind,
    Op,
    Trace,
    decode,
    encode,
    loads,
    op,
)
from tests.gate.fake_target import FakeTarget

MEET, SEND, DELIVER = op(Kind.ESTABLISH, actor=0, peer=1), op(Kind.SEND, actor=0, peer=1), op(Kind.DELIVER)


def ops_of(found: Iterable[Trace]) -> list[Op]:
    """All operations of some traces."""
    return [operation for trace in found for operation in trace.ops]


OF_GROUPS = ((Kind.GROUP_TAMPER, "field", GROUP_TAMPERS), (Kind.GROUP_SMUGGLE, "how", SMUGGLES))


def assert_reaches_every_choice(ops: list[Op], *, groups: bool = False) -> None:
    """Every change, forgery and kind of junk that there is."""
    for kind, name, choices in (
        (Kind.TAMPER, "field", TAMPERS),
        (Kind.FORGE_BUNDLE, "how", FORGERIES),
        (Kind.INJECT, "what", JUNK),
        *(OF_GROUPS if groups else ()),
    ):
        assert {choices[one[name]] for one in ops if one.kind is kind} == set(choices)


# -- walk -------------------------------------------------------------------------------------------------------------


def test_the_same_seed_walks_the_same_way() -> None:
    """ "One seed gives one transcript": each trace can also be made without those before it."""
    first = list(islice(walks(7), 20))
    assert list(islice(walks(7), 20)) == first
    assert next(islice(walks(7), 19, None)) == first[19]
    # Every sixth one goes on in groups.
    assert walk(Random("7:19")) == first[19]
    assert first[17].ops[: len(walk(Random("7:17")).ops)] == walk(Random("7:17")).ops
    assert {op.kind.word[:6] for op in first[17].ops[-10:]} & {"group-"}
    assert not set(first) & set(islice(walks(8), 20))


def test_walks_reach_every_operation_and_every_choice() -> None:
    """ "Count what was reached": all kinds but the one that does nothing, all changes, strict worlds, three parties."""
    found = list(islice(walks(0), 400))
    ops = ops_of(found)
    assert {one.kind for one in ops} == set(Kind) - {Kind.NOP}
    assert_reaches_every_choice(ops)
    assert {trace.strict for trace in found} == set(range(8))
    assert {2} <= {one["actor"] for one in ops if one.kind is Kind.SEND}
    assert {one["at"] for one in ops if one.kind is Kind.CRASH} == {*range(8), 14, 15}


def test_walks_are_traces_of_the_format() -> None:
    """Every operand is in its range, and lengths are about what is said: scenes come in fours, and the last ones end."""
    for number, trace in enumerate(islice(walks(1), 300)):
        assert decode(encode(trace)) == trace
        assert SHORTEST <= len(trace.ops) <= LONGEST + (60 if number % WITH_GROUPS != WITH_GROUPS - 1 else 120)
        assert not is_costly(trace)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_every_scene_can_be_played_anywhere(scene: object) -> None:
    """A scene needs nothing before it, and its operations are of the format."""
    assert callable(scene)
    for seed in range(20):
        state = Walk(Random(seed), ((0, 1), (1, 0), (0, 2)))
        scene(state)
        scene(state)
        trace = Trace(tuple(state.ops))
        assert decode(encode(trace)) == trace


def test_what_walks_do_happens() -> None:
    """A state machine that never reaches the interesting state is a green light with no lamp: on Pawl, each operation
    is carried out more often than it is skipped, and most deliveries are read."""
    target = InProcessTarget()
    outcomes: Counter[tuple[Kind, Outcome]] = Counter()
    for trace in islice(walks(2), 30):
        history = run_trace(target, trace)
        outcomes.update((event.op.kind, event.outcome) for event in history.events[: history.closing])
    lacks = set() if "compatibility" in target.hello.capabilities else {Kind.COMPATIBILITY}
    # Of groups there is too little in so few walks; test_groups looks at them.
    lacks |= {kind for kind in Kind if kind.word.startswith("group-")}
    for kind in set(Kind) - {Kind.NOP} - lacks:
        done = sum(
            count for (which, outcome), count in outcomes.items() if which is kind and outcome is not Outcome.SKIPPED
        )
        assert done > outcomes[kind, Outcome.SKIPPED], kind
    delivered = sum(count for (kind, _), count in outcomes.items() if kind is Kind.DELIVER)
    assert outcomes[Kind.DELIVER, Outcome.DONE] > delivered / 2


# -- strategies -------------------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(traces())
def test_drawn_traces_are_traces_of_the_format(trace: Trace) -> None:
    """Every operand is in its range; nothing is left to `assume`."""
    assert decode(encode(trace)) == trace
    assert len(trace.ops) <= 40


def test_there_is_a_strategy_for_every_operation() -> None:
    """A new operation is drawn as soon as it is there."""
    assert set(OPERATIONS) == set(Kind) - {Kind.NOP}


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.word)
def test_every_operation_is_drawn(kind: Kind) -> None:
    """And what it shrinks to has the kind that was drawn, with alice in front and bob beside her."""
    quiet = settings(database=None, derandomize=True, max_examples=2_000, suppress_health_check=list(HealthCheck))
    found = find(operations(), lambda one: one.kind is kind, settings=quiet)
    assert found.kind is kind
    assert [found[name] for name in ("actor", "peer") if name in kind.names] == [0, 1][
        : len({"actor", "peer"} & {*kind.names})
    ]


@given(pairs())
def test_pairs_are_two_parties(pair: tuple[int, int]) -> None:
    """Nobody talks to themselves."""
    assert pair[0] != pair[1]
    assert set(pair) <= {0, 1, 2}


# -- state machine ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finding() -> machine.SearchResult:
    """What the search finds in a control that does not check signatures."""
    return machine.search(CONTROLS["signature-unchecked"].make(), examples=40, seed=2)


def test_the_search_finds_a_control(finding: machine.SearchResult) -> None:
    """By the invariant that names its fault, and by that alone."""
    assert "IDC-03" in finding.found
    assert finding.complete
    assert finding.traces >= 40


def test_the_search_shrinks_what_it_finds(finding: machine.SearchResult) -> None:
    """One operation shows the fault, and one is left."""
    assert finding.found["IDC-03"] == Trace((op(Kind.FORGE_BUNDLE, actor=0, peer=1),))


def test_what_the_search_finds_is_replayed(finding: machine.SearchResult) -> None:
    """The trace alone reproduces it, through both encodings; the reference holds on it."""
    trace = finding.found["IDC-03"]
    assert decode(encode(trace)) == trace
    broken, _ = judge(run_trace(CONTROLS["signature-unchecked"].make(), trace), [REGISTRY["IDC-03"]])
    assert [one.invariant.id for one in broken] == ["IDC-03"]
    assert judge(run_trace(InProcessTarget(), trace))[0] == []


IGNORED = frozenset({"IDC-03", "GRP-02", "GRP-05"})
"""What a signature that nobody checks breaks."""


def test_what_is_ignored_is_not_found() -> None:
    """An expected finding does not stop the search for others."""
    result = machine.search(CONTROLS["signature-unchecked"].make(), examples=10, seed=1, ignore=IGNORED)
    assert result.found == {}
    assert result.traces == 10


def test_the_same_seed_searches_the_same_way() -> None:
    """ "The seed alone decides": the same worlds in the same order; another seed, other worlds."""

    def worlds(seed: int) -> list[Trace]:
        seen: list[Trace] = []
        machine.search(InProcessTarget(), examples=6, seed=seed, on_history=lambda one: seen.append(one.trace))
        return seen

    first = worlds(3)
    assert len(first) == 6
    assert worlds(3) == first
    assert worlds(4) != first


def test_the_search_finds_nothing_in_pawl_and_counts_what_it_did() -> None:
    """Every history is handed out once; traces and steps are those that were run."""
    seen: list[History] = []
    result = machine.search(InProcessTarget(), examples=15, seed=2, on_history=seen.append)
    assert result.found == {}
    assert result.complete
    assert result.traces == len(seen) == 15
    assert result.steps == sum(len(history.events) for history in seen)
    # The worlds are worth it: several kinds of operation, with messages that were read.
    assert len({one.kind for one in ops_of(history.trace for history in seen)}) > 10
    assert any(event.op.kind is Kind.DELIVER and event.outcome is Outcome.DONE for one in seen for event in one.events)


def test_the_deadline_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that is cut says so; no operation runs after its deadline, and it hands out what it found until then.

    The clock is a counter, which each look moves on: what a busy machine does in half a second is another thing each time.
    """
    looks: list[int] = []
    ran: list[int] = []
    monkeypatch.setattr(machine, "time", SimpleNamespace(monotonic=lambda: looks.append(0) or len(looks)))
    step = machine.Run.step
    monkeypatch.setattr(machine.Run, "step", lambda run, operation: (step(run, operation), ran.append(len(looks)))[0])
    result = machine.search(InProcessTarget(), examples=300, seed=1, deadline=1000)
    assert not result.complete
    assert result.found == {}
    assert 0 < result.traces < 300
    # There was a look at the clock for each operation; the last one that ran was before the deadline, or at it.
    assert 990 < max(ran) <= 1000
    assert len(set(ran)) == len(ran)


def test_a_deadline_that_has_passed_runs_nothing() -> None:
    """Incomplete, and nothing was judged."""
    result = machine.search(FakeTarget(), examples=10, seed=1, deadline=time.monotonic() - 1)
    assert (result.complete, result.traces, result.found) == (False, 0, {})


@pytest.mark.parametrize("verb", ["create", "encrypt", "close"])
def test_a_harness_that_breaks_ends_the_search(verb: str) -> None:
    """At once: Hypothesis, which takes an exception for a finding, does not try it again to shrink it."""
    calls: list[str] = []

    class Breaking(FakeTarget):
        def world(self, seed: int) -> object:  # type: ignore[override]
            world = super().world(seed)

            def breaks(*_: object, **__: object) -> None:
                calls.append(verb)
                raise HarnessBroken("planted")

            setattr(world, verb, breaks)
            return world

    with pytest.raises(HarnessBroken, match="planted"):
        machine.search(Breaking(), examples=30, seed=1)
    assert calls == [verb]


# -- corpus -----------------------------------------------------------------------------------------------------------


def test_an_input_is_named_by_its_content(tmp_path: Path) -> None:
    """ "Content-addressed": the first 128 bits of SHA-256, in hex."""
    path = add(tmp_path, b"\1\0\0\0\3\1")
    assert path == tmp_path / hashlib.sha256(b"\1\0\0\0\3\1").hexdigest()[:32]
    assert path.read_bytes() == b"\1\0\0\0\3\1"


def test_the_same_input_twice_is_one_file(tmp_path: Path) -> None:
    """Two machines that found the same input wrote the same file."""
    first, second = add(tmp_path, b"same"), add(tmp_path, b"same")
    assert first == second
    assert files(tmp_path) == [first]
    assert add(tmp_path, b"other") != first
    assert len(files(tmp_path)) == 2


def test_the_corpus_is_loaded_by_name(tmp_path: Path) -> None:
    """A fixed order, whatever the disk says; folders beside the inputs are none."""
    for number in range(30):
        add(tmp_path, bytes([1, 0, 0, number, 3, number]))
    (tmp_path / "a-folder").mkdir()
    loaded = load(tmp_path)
    assert [name for name, _ in loaded] == sorted(path.name for path in tmp_path.iterdir() if path.is_file())
    assert all(trace == decode((tmp_path / name).read_bytes()) for name, trace in loaded)
    assert len(loaded) == 30


def test_where_there_is_no_corpus(tmp_path: Path) -> None:
    """An installed package has none."""
    assert files(tmp_path / "none") == []
    assert load(tmp_path / "none") == []


def test_the_corpus_reaches_every_operation() -> None:
    """The corpus of this checkout, all kinds and all choices."""
    ops = ops_of(trace for _, trace in load(SESSION_TRACE))
    assert {one.kind for one in ops} == set(Kind)
    assert_reaches_every_choice(ops, groups=True)


def test_what_is_costly_is_not_run() -> None:
    """The limits themselves are still run."""
    half = MOST_BURST // 2
    bursts = (op(Kind.BURST, actor=0, peer=1, count=half), op(Kind.BURST, actor=0, peer=1, count=MOST_BURST - half))
    assert not is_costly(Trace(bursts))
    assert is_costly(Trace((*bursts, op(Kind.BURST, actor=0, peer=1, count=1))))
    assert not is_costly(Trace((Op(Kind.NOP),) * MOST_OPS))
    assert is_costly(Trace((Op(Kind.NOP),) * (MOST_OPS + 1)))
    target = FakeTarget()
    assert hold(target, encode(Trace((Op(Kind.NOP),) * (MOST_OPS + 1)))) is None
    assert target.worlds == []


def test_an_input_is_held_to_the_specification() -> None:
    """What breaks it is named, with the trace in its archive form; what holds gives its history."""
    forged = Trace((op(Kind.FORGE_BUNDLE, actor=0, peer=1),))
    history = hold(InProcessTarget(), encode(forged))
    assert history is not None
    assert history.trace == forged
    with pytest.raises(SpecBroken) as broken:
        hold(CONTROLS["signature-unchecked"].make(), encode(forged))
    assert broken.value.ids == ("IDC-03",)
    said, _, archived = str(broken.value).partition("\n")
    assert said.startswith("IDC-03 does not hold: ")
    assert loads(archived) == forged


# -- mutator ----------------------------------------------------------------------------------------------------------

INPUTS = [path.read_bytes() for path in files(SESSION_TRACE)][:20]
SIZES = st.integers(0, 300)
SEEDS = st.integers(0, 2**32 - 1)


@given(st.binary(max_size=200) | st.sampled_from(INPUTS), SIZES, SEEDS)
def test_a_mutation_fits_and_is_a_trace(data: bytes, max_size: int, seed: int) -> None:
    """Never longer than libFuzzer allows, the same for the same seed, and never cut within an operation."""
    changed = mutate(data, max_size, seed)
    assert len(changed) <= max_size
    assert changed == mutate(data, max_size, seed)
    if max_size >= HEADER_BYTES:
        assert encode(decode(changed)) == changed


@given(st.binary(max_size=200) | st.sampled_from(INPUTS), st.sampled_from(INPUTS), SIZES, SEEDS)
def test_a_crossing_fits_and_is_the_one_then_the_other(one: bytes, other: bytes, max_size: int, seed: int) -> None:
    """The head of one and the tail of the other, cut to size; the settings are the first one's."""
    crossed = cross(one, other, max_size, seed)
    assert len(crossed) <= max_size
    assert crossed == cross(one, other, max_size, seed)
    if max_size < HEADER_BYTES:
        return
    head, tail, child = decode(one), decode(other), decode(crossed)
    assert (child.seed, child.strict) == (head.seed, head.strict)
    # Some number of operations from the front of the one, and then a run of the other's.
    assert any(
        child.ops[:kept] == head.ops[:kept] and is_run(child.ops[kept:], tail.ops)
        for kept in range(min(len(head.ops), len(child.ops)) + 1)
    )


def is_run(part: tuple[Op, ...], whole: tuple[Op, ...]) -> bool:
    """Whether `part` stands in `whole`, without gaps."""
    return any(whole[at : at + len(part)] == part for at in range(len(whole) - len(part) + 1))


def test_crossings_differ() -> None:
    """Both ends are taken from anywhere: some are one alone, some are all of the other."""
    one, other = encode(Trace((MEET,) * 4)), encode(Trace((SEND,) * 4))
    children = {decode(cross(one, other, 4096, seed)).ops for seed in range(500)}
    assert children == {(MEET,) * left + (SEND,) * right for left in range(5) for right in range(5)}


TRACE = Trace((MEET, SEND, SEND, DELIVER), seed=5, strict=1)


def put_in(trace: Trace, rng: Random) -> Trace:
    """Operations of a random walk."""
    return mutator._put_in(trace, rng, mutator.walked)


def changed_by(change: object, trace: Trace = TRACE) -> list[Trace]:
    """What a change makes of a trace, over many seeds."""
    assert callable(change)
    return [change(trace, Random(seed)) for seed in range(200)]


def test_operations_are_taken_out() -> None:
    """A run of them, up to all that is there."""
    assert {one.ops for one in changed_by(mutator._take_out)} >= {
        (MEET, SEND, SEND),
        (SEND, SEND, DELIVER),
        (MEET,),
        (),
    }


def test_operations_are_put_in() -> None:
    """From a random walk, at any place: taking them out again gives what was there."""
    for one in changed_by(put_in):
        more = len(one.ops) - len(TRACE.ops)
        assert 1 <= more <= 8
        assert any(one.ops[:at] + one.ops[at + more :] == TRACE.ops for at in range(len(TRACE.ops) + 1))
    assert len({one.ops for one in changed_by(put_in)}) > 150


def test_operations_are_moved() -> None:
    """The same ones in another order."""
    found = {one.ops for one in changed_by(mutator._move)}
    assert all(Counter(ops) == Counter(TRACE.ops) for ops in found)
    assert {(SEND, SEND, DELIVER, MEET), (DELIVER, MEET, SEND, SEND)} <= found


def test_operations_are_done_again() -> None:
    """Each one can be doubled."""
    assert {one.ops for one in changed_by(mutator._again)} == {
        (MEET, MEET, SEND, SEND, DELIVER),
        (MEET, SEND, SEND, SEND, DELIVER),
        (MEET, SEND, SEND, DELIVER, DELIVER),
    }


def test_operands_are_turned() -> None:
    """One operand of one operation, to one beside it or to any, always within its range."""
    for one in changed_by(mutator._turn):
        differ = [(was, now) for was, now in zip(TRACE.ops, one.ops, strict=True) if was != now]
        assert len(differ) <= 1
        for was, now in differ:
            assert was.kind is now.kind
            assert sum(left != right for left, right in zip(was.args, now.args, strict=True)) == 1
        assert decode(encode(one)) == one
    turned = {one.ops[-1]["index"] for one in changed_by(mutator._turn)}
    # Down from 0 is the top of the range.
    assert {0, 1, 255} < turned


def test_settings_are_changed() -> None:
    """Another seed, now and then other strict parties; the operations stay."""
    found = changed_by(mutator._settings)
    assert {one.ops for one in found} == {TRACE.ops}
    assert {one.strict for one in found} == set(range(8))
    assert len({one.seed for one in found}) > 150


@pytest.mark.parametrize("change", sorted(filter(None, set(mutator.CHANGES)), key=lambda change: change.__name__))
def test_a_change_of_an_empty_trace(change: object) -> None:
    """There is nothing to move or turn, and that is no fault."""
    for one in changed_by(change, Trace(())):
        assert decode(encode(one)) == one


def test_every_change_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutator draws all of them, at times several at once."""
    made: list[str] = []

    def noted(change: object) -> object:
        changing = put_in if change is None else change

        def call(trace: Trace, rng: Random) -> Trace:
            assert callable(changing)
            made.append(changing.__name__)
            changed = changing(trace, rng)
            assert isinstance(changed, Trace)
            return changed

        return call

    names = {(put_in if change is None else change).__name__ for change in mutator.CHANGES}
    monkeypatch.setattr(mutator, "CHANGES", tuple(noted(change) for change in mutator.CHANGES))
    for seed in range(200):
        mutate(encode(TRACE), 4096, seed)
    assert set(made) == names
    assert names == {"_take_out", "put_in", "_move", "_swap", "_again", "_turn", "_splice", "_settings"}
    assert len(made) > 250
