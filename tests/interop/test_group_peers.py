"""Live traffic in groups with libsignal-client 0.103.0 and libsignal-protocol-c 2.3.3, in both roles.

The profile: what both sides promise. Each chain is given once to each member (libsignal-c begins a chain again that it is
given again), jumps within its limit of 2,000, and no chain of a malicious member's own making.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from random import Random

import pytest

from pawl import GroupLayout
from pawl_gate.runner import run_trace
from pawl_gate.scenarios import scenarios
from pawl_gate.targets.base import Target
from pawl_gate.targets.inprocess import InProcessTarget
from pawl_gate.targets.mixed import MixedTarget
from pawl_gate.targets.registry import find_target
from pawl_spec.history import Outcome
from pawl_spec.judge import judge
from pawl_spec.trace import GROUP_TAMPERS, PARTIES, Kind, Op, Trace, op

PEERS = [
    pytest.param("libsignal-client", marks=pytest.mark.official_peer),
    pytest.param("libsignal-c", marks=pytest.mark.c_peer),
]
HOMES = [(0, 1, 1), (1, 0, 0), (0, 1, 0), (1, 0, 1), (0, 0, 1), (1, 1, 0)]
"""Who is Pawl (0) and who the peer (1): every way in which both are there."""
WALKS = 50
STEPS = 60
JUMP = 40

Mix = Callable[[Sequence[int]], MixedTarget]


@pytest.fixture(scope="module", params=PEERS)
def mix(request: pytest.FixtureRequest) -> Iterator[Mix]:
    """Worlds in which some parties are Pawl and some the peer."""
    with closing(find_target(request.param)) as peer:
        ours = InProcessTarget(layout=GroupLayout(peer.hello.group_layout))
        homes: tuple[Target, Target] = (ours, peer)
        yield lambda home: MixedTarget([homes[which] for which in home])


def conversation(seed: int) -> Trace:
    """Members come, speak, are heard late, twice or never, and leave, whereupon the others rotate."""
    rng = Random(seed)
    ops: list[Op] = []
    given: list[int] = []
    taken: set[tuple[int, int]] = set()
    sent: list[int] = []
    chains: set[int] = set()

    def give(actor: int) -> None:
        ops.append(op(Kind.GROUP_CREATE, actor=actor))
        chains.add(actor)
        given.append(actor)
        for member in range(len(PARTIES)):
            if member != actor and rng.random() < 0.9:
                ops.append(op(Kind.GROUP_JOIN, actor=member, distribution=len(given) - 1))
                taken.add((member, actor))

    def speak(actor: int) -> None:
        if actor not in chains:
            give(actor)
        ops.append(op(Kind.GROUP_SEND, actor=actor, size=rng.randrange(6)))
        sent.append(actor)

    def hear() -> None:
        message = rng.randrange(max(len(sent) - 12, 0), len(sent))
        ops.append(op(Kind.GROUP_DELIVER, actor=other(sent[message]), message=message))

    def other(actor: int) -> int:
        return (actor + rng.randint(1, 2)) % len(PARTIES)

    def change() -> None:
        message = rng.randrange(len(sent))
        field = rng.randrange(len(GROUP_TAMPERS))
        # Neither of the two has a limit of size: a finding, not a matter of compatibility.
        if GROUP_TAMPERS[field] != "oversized-ciphertext":
            operands = {"message": message, "field": field, "how": rng.randrange(16)}
            ops.append(op(Kind.GROUP_TAMPER, actor=other(sent[message]), **operands))

    def move() -> None:
        message = rng.randrange(len(sent))
        operands = {"message": message, "sender": rng.randrange(3), "group": rng.randrange(2)}
        ops.append(op(Kind.GROUP_REDIRECT, actor=rng.randrange(3), **operands))

    def rotate() -> None:
        actor = rng.randrange(len(PARTIES))
        # At most five chains of a sender are held, and none may come again.
        if actor in chains and given.count(actor) < 5:
            ops.append(op(Kind.GROUP_ROTATE, actor=actor))
            give(actor)

    def burst() -> None:
        actor = rng.randrange(len(PARTIES))
        for _ in range(rng.randrange(2, JUMP)):
            speak(actor)

    speak(rng.randrange(len(PARTIES)))
    for _ in range(STEPS):
        speaks, reads = (lambda: speak(rng.randrange(len(PARTIES)))), hear
        rng.choices([speaks, reads, rotate, change, move, burst], weights=[20, 34, 2, 3, 2, 1])[0]()
    return Trace(tuple(ops), seed=seed)


@pytest.mark.parametrize("home", HOMES, ids=lambda home: "".join("wf"[which] for which in home))
def test_random_conversations(mix: Mix, home: tuple[int, int, int]) -> None:
    """Each message is read once by every member that has its chain, in whatever order; what comes again, was changed or
    moved is refused; iterations, chains and bytes are what the protocol says."""
    target, outcomes, read = mix(home), Counter[tuple[Kind, Outcome]](), Counter[tuple[int, int]]()
    late = 0
    for seed in range(WALKS):
        history = run_trace(target, conversation(seed), closing=False)
        broken, checked = judge(history)
        assert not broken, (seed, broken[0].invariant.id, broken[0].violation)
        assert checked["GRP-01"]
        newest: dict[tuple[int | None, int | None], int] = {}
        for event in history.events:
            outcomes[event.op.kind, event.outcome] += 1
            plaintext = None if event.group is None else event.group.plaintext
            if plaintext is not None:
                sender, receiver = event.peer or 0, event.actor or 0
                read[home[sender], home[receiver]] += 1
                late += plaintext < newest.get((receiver, sender), -1)
                newest[receiver, sender] = max(plaintext, newest.get((receiver, sender), -1))
    # No empty show: both ways, late, refused, changed, moved and rotated.
    assert read[0, 1] > 100
    assert read[1, 0] > 100
    assert late > 50
    assert outcomes[Kind.GROUP_DELIVER, Outcome.REFUSED] > 50
    assert outcomes[Kind.GROUP_TAMPER, Outcome.REFUSED] > 20
    assert outcomes[Kind.GROUP_REDIRECT, Outcome.REFUSED] > 20
    assert outcomes[Kind.GROUP_ROTATE, Outcome.DONE] > 20


SHARED = ("group-conversation", "group-late-member", "group-first-chain", "group-moved-message")
"""Directed traces within the profile."""


@pytest.mark.parametrize("home", HOMES, ids=lambda home: "".join("wf"[which] for which in home))
@pytest.mark.parametrize("name", SHARED)
def test_directed_traces(mix: Mix, name: str, home: tuple[int, int, int]) -> None:
    """The same traces as on Pawl alone, with the same verdict."""
    (scenario,) = [each for each in scenarios() if each.name == name]
    target = mix(home)
    assert not scenario.lacks(target.hello)
    for label, trace in scenario.traces(target.hello.limits):
        broken, _ = judge(run_trace(target, trace, closing=False))
        assert not broken, (label, broken[0].invariant.id, broken[0].violation)


@pytest.mark.parametrize("home", [(0, 1, 1), (1, 0, 0)], ids=["from-pawl", "to-pawl"])
def test_a_jump_to_the_limit_of_both(mix: Mix, home: tuple[int, int, int]) -> None:
    """2,000 messages are passed over, which is what the stricter one allows, and then read in any order."""
    jump = 2_000
    target = mix(home)
    world = target.world(1)
    for party, name in enumerate(PARTIES):
        world.create(party, name=name, device_id=1, trust_on_first_use=True)
    group = bytes(range(16))
    world.group_join(1, 0, group, world.group_create(0, group))
    messages = [world.group_encrypt(0, group, b"%d" % at) for at in range(jump + 1)]
    for at in (jump, 0, jump - 1, 1_000, 1):
        assert world.group_decrypt(1, 0, group, messages[at]) == b"%d" % at


def test_a_chain_given_by_hand_reads_from_there_on(mix: Mix) -> None:
    """Control: whoever was given no chain, or a later one, reads nothing before it, whichever implementation it is."""
    for home in HOMES:
        history = run_trace(
            mix(home),
            Trace(
                (
                    op(Kind.GROUP_CREATE, actor=0),
                    op(Kind.GROUP_SEND, actor=0),
                    op(Kind.GROUP_DELIVER, actor=1, message=0),
                    op(Kind.GROUP_CREATE, actor=0),
                    op(Kind.GROUP_JOIN, actor=1, distribution=1),
                    op(Kind.GROUP_SEND, actor=0),
                    op(Kind.GROUP_DELIVER, actor=1, message=0),
                    op(Kind.GROUP_DELIVER, actor=1, message=1),
                )
            ),
            closing=False,
        )
        ends = [event.outcome for event in history.events if event.op.kind is Kind.GROUP_DELIVER]
        assert ends == [Outcome.REFUSED, Outcome.REFUSED, Outcome.DONE]
        assert judge(history)[0] == []
