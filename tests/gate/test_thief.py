"""The attacker with stolen states: each of its two ways reads what it should, alone, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pawl_gate import thief
from pawl_gate.runner import Run, run_trace
from pawl_gate.targets.base import HarnessBroken, Stolen, Unable
from pawl_gate.targets.inprocess import InProcessTarget, words_of
from pawl_gate.thief import Intercepted, Thief
from pawl_gate.wire_view import write_field
from pawl_spec.judge import judge
from pawl_spec.trace import Kind, Op, Trace, op

ALICE, BOB, CAROL = range(3)
DELIVER = op(Kind.DELIVER)
ATTACK = Op(Kind.ATTACK)


def say(sender: int, receiver: int) -> tuple[Op, Op]:
    return op(Kind.SEND, actor=sender, peer=receiver), DELIVER


def take(actor: int) -> Op:
    return op(Kind.COMPROMISE, actor=actor)


def meet(*, one_time: bool = True) -> tuple[Op, ...]:
    return op(Kind.ESTABLISH, actor=ALICE, peer=BOB, one_time=int(one_time)), *say(ALICE, BOB), *say(BOB, ALICE)


def caught(monkeypatch: pytest.MonkeyPatch, *ops: Op) -> tuple[list[Stolen], list[Intercepted]]:
    """What the attacker has at the end of a trace."""
    had: list[tuple[list[Stolen], list[Intercepted]]] = []
    read = Thief.read

    def note(self: Thief, stolen: list[Stolen], messages: list[Intercepted]) -> tuple[int, ...] | None:
        had.append((list(stolen), list(messages)))
        return read(self, stolen, messages)

    with monkeypatch.context() as patch:
        patch.setattr(Thief, "read", note)
        run_trace(InProcessTarget(), Trace(ops), closing=False)
    return had[-1]


def steal_and_read(stolen: list[Stolen], messages: list[Intercepted]) -> tuple[int, ...] | None:
    """What a thief reads who never searched before."""
    return Thief().read(stolen, messages)


def weaker(state: Stolen, **missing: object) -> Stolen:
    """The same without a part of what was taken, and without the word search."""
    return replace(state, words=(), **missing)  # type: ignore[arg-type]


NO_KEYS = {"identities": (), "signed_prekeys": (), "prekeys": (), "ratchets": (), "roots": (), "chains": ()}


def blind(peer: int, message: object) -> None:
    """A device that refuses everything."""


def test_the_forked_device_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads what is sent to its owner, on the chain it knows and on the peer's next one; never what its owner sent."""
    trace = (*meet(), take(ALICE), *say(ALICE, BOB), *say(BOB, ALICE), *say(ALICE, BOB), *say(BOB, ALICE), ATTACK)
    (state,), messages = caught(monkeypatch, *trace)
    assert steal_and_read([state], messages) == (2, 3)
    assert steal_and_read([weaker(state, **NO_KEYS)], messages) == (3,)


def test_the_search_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It follows the sending chain, and takes the peer's next step with the stolen ratchet key and root key."""
    trace = (*meet(), take(ALICE), *say(ALICE, BOB), *say(BOB, ALICE), *say(ALICE, BOB), *say(BOB, ALICE), ATTACK)
    (state,), messages = caught(monkeypatch, *trace)
    alone = weaker(state, fork=lambda: blind)
    assert steal_and_read([alone], messages) == (2, 3)
    assert steal_and_read([weaker(alone, chains=())], messages) == (3,)
    assert steal_and_read([weaker(alone, roots=())], messages) == (2,)
    assert steal_and_read([weaker(alone, ratchets=())], messages) == (2,)


def test_the_search_repeats_x3dh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a one-time prekey, identity and signed prekey read the first messages; either alone does not."""
    trace = (*meet(one_time=False), *say(ALICE, BOB), *say(BOB, ALICE), take(BOB))
    (state,), messages = caught(monkeypatch, *trace)
    alone = weaker(state, fork=lambda: blind)
    assert steal_and_read([alone], messages) == (0,)
    assert steal_and_read([weaker(alone, identities=())], messages) == ()
    assert steal_and_read([weaker(alone, signed_prekeys=())], messages) == ()


def test_the_search_uses_an_unused_one_time_prekey(monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken before the first message came, the one-time prekey is still there."""
    meeting = meet()
    (state,), messages = caught(monkeypatch, meeting[0], take(BOB), *meeting[1:], ATTACK)
    alone = weaker(state, fork=lambda: blind)
    assert steal_and_read([alone], messages) == (0,)
    assert steal_and_read([weaker(alone, prekeys=())], messages) == ()


def test_two_states_together_read_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A root key of the one and a later ratchet key of the other meet in a step that neither could take."""
    steps = (*say(ALICE, BOB), *say(BOB, ALICE))
    stolen, messages = caught(monkeypatch, *meet(), take(ALICE), *steps, take(ALICE), *steps, ATTACK)
    first, second = (steal_and_read([state], messages) for state in stolen)
    assert (first, second) == ((2, 3), (4, 5))
    assert steal_and_read(stolen, messages) == (2, 3, 4, 5)


def test_a_thief_that_remembers_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """After each taking and each message, it reads what a thief reads who searches for the first time."""
    steps = (*say(ALICE, BOB), *say(BOB, ALICE))
    trace = (*meet(one_time=False), take(ALICE), *steps, take(BOB), *steps, ATTACK)
    stolen, messages = caught(monkeypatch, *trace)
    same = Thief()
    for states in (1, 2):
        for count in range(len(messages) + 1):
            had = stolen[:states], messages[:count]
            assert same.read(*had) == steal_and_read(*had)


def test_a_forked_run_searches_anew() -> None:
    """What was tried is known of one run's messages: its twin sends others, and they are tried there."""
    run = Run(InProcessTarget())
    for operation in (*meet(), *say(ALICE, BOB)):
        run.step(operation)
    twin = run.fork()
    look = op(Kind.INSPECT, actor=BOB)
    run.step(op(Kind.SEND, actor=BOB, peer=ALICE))
    assert run.step(look).readable == ()
    twin.step(op(Kind.SEND, actor=ALICE, peer=BOB))
    assert twin.step(look).readable == (3,)


def test_kept_keys_are_found_as_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that stands in a row by itself opens its message."""
    send = op(Kind.SEND, actor=ALICE, peer=BOB)
    (state,), messages = caught(monkeypatch, *meet(), send, send, op(Kind.DELIVER, index=1), take(BOB))
    nothing = replace(state, fork=lambda: blind, **NO_KEYS)  # type: ignore[arg-type]
    assert steal_and_read([nothing], messages) == (2,)
    assert steal_and_read([weaker(nothing)], messages) == ()


def test_a_search_that_is_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nothing is said, and nothing is judged."""
    monkeypatch.setattr(thief, "MAX_SEARCH", 1)
    history = run_trace(InProcessTarget(), Trace((*meet(), take(ALICE))), closing=False)
    assert history.events[-1].reads is None
    assert not judge(history)[1]["SEC-01"]


def test_taking_a_state_changes_nothing() -> None:
    """The copy is the attacker's: whatever it does with it, the device goes on as without it."""
    talk = (*say(ALICE, BOB), *say(BOB, ALICE)) * 2
    plain = run_trace(InProcessTarget(), Trace((*meet(), *talk)), closing=False).events
    taken = run_trace(InProcessTarget(), Trace((*meet(), take(BOB), *talk)), closing=False).events
    assert [event.header for event in plain] == [
        event.header for event in taken if event.op.kind is not Kind.COMPROMISE
    ]
    assert plain[-1].after == taken[-1].after


def test_nobody_to_take_from() -> None:
    """A party that is not there is not taken, and an attacker that has nothing does not search."""
    events = run_trace(InProcessTarget(), Trace((take(CAROL), ATTACK)), closing=False).events
    assert [event.outcome.value for event in events] == ["skipped", "skipped"]


def test_the_closing_part_ends_with_a_search() -> None:
    """Where a state was taken, the attacker tries everything at the end."""
    events = run_trace(InProcessTarget(), Trace((*meet(), take(BOB)))).events
    assert events[-1].op.kind is Kind.ATTACK
    assert events[-1].reads is not None


def test_only_where_it_is_declared() -> None:
    """Asking a world for a state that it does not hand out is a mistake on our side."""
    with pytest.raises(HarnessBroken, match="compromise"):
        Unable().steal(ALICE)


def test_words_of_a_row() -> None:
    """A row of 32 bytes, and fields of that length at any depth; nothing else, and junk holds none."""
    one, two, three = (bytes([number]) * 32 for number in (1, 2, 3))
    row = write_field(1, one) + write_field(2, 7) + write_field(3, write_field(1, two) + write_field(2, three[:31]))
    assert words_of(row) == [one, two]
    assert words_of(three) == [three]
    assert words_of(b"\x0b") == []
