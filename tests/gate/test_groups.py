"""Groups in the gate: the runner's part, the attacker's changes and chains, its search of states, and the walk."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice
from random import Random

import pytest

from pawl import GroupLayout
from pawl.crypto import xeddsa
from pawl.errors import ProtocolError
from pawl.wire.group_messages import decode_distribution, decode_sender_key_message
from pawl_gate.attacker import ATTACKER
from pawl_gate.engines.corpus import is_costly
from pawl_gate.engines.group_walk import SCENES, GroupWalk, in_groups
from pawl_gate.engines.walk import traces
from pawl_gate.group_attacker import CRAFTS, GROUP_IDS, Given, GroupSent, craft, smuggle, tamper
from pawl_gate.group_thief import read, readable
from pawl_gate.group_wire import (
    CURRENT,
    EARLIER,
    LAYOUTS,
    Layout,
    distribution_layer,
    group_header,
    is_canonical_distribution,
    is_canonical_message,
    message_layer,
)
from pawl_gate.runner import run_trace
from pawl_gate.shrink import _without
from pawl_gate.targets.base import Refused
from pawl_gate.targets.inprocess import InProcessTarget, InProcessWorld
from pawl_gate.targets.mixed import MixedTarget
from pawl_spec.history import Event, Outcome
from pawl_spec.judge import judge
from pawl_spec.model import expectations
from pawl_spec.trace import GROUP_TAMPERS, PARTIES, SMUGGLES, Kind, Op, Trace, decode, encode, op

ALICE, BOB, CAROL = range(3)
TEAM = GROUP_IDS[0]

CREATE, SPEAK = op(Kind.GROUP_CREATE, actor=ALICE), op(Kind.GROUP_SEND, actor=ALICE)
JOIN = op(Kind.GROUP_JOIN, actor=BOB)
BEGUN = (CREATE, JOIN, SPEAK)


def hear(actor: int, message: int) -> Op:
    """A message reaches a member."""
    return op(Kind.GROUP_DELIVER, actor=actor, message=message)


def run(*ops: Op) -> list[Event]:
    """What Pawl does, without the closing part; it breaks nothing."""
    history = run_trace(InProcessTarget(), Trace(ops), closing=False)
    assert judge(history)[0] == []
    return history.events


def world() -> InProcessWorld:
    """Alice, Bob and Carol."""
    made = InProcessTarget().world(7)
    for party, name in enumerate(PARTIES):
        made.create(party, name=name, device_id=1, trust_on_first_use=True)
    return made


def sent(made: InProcessWorld, text: bytes = b"g0") -> GroupSent:
    """A message of Alice's, whose chain Bob has."""
    made.group_join(BOB, ALICE, TEAM, made.group_create(ALICE, TEAM))
    return GroupSent(0, ALICE, 0, made.group_encrypt(ALICE, TEAM, text), text)


# -- the runner -------------------------------------------------------------------------------------------------------


def test_what_events_say() -> None:
    """Handles count from 0, each sort apart; the plaintext names its message."""
    events = run(*BEGUN, SPEAK, hear(BOB, 1), op(Kind.SEND, actor=ALICE, peer=BOB))
    groups = [event.group for event in events[:5]]
    assert all(grouped is not None and grouped.group == 0 for grouped in groups)
    assert [grouped.distribution for grouped in groups if grouped] == [0, 0, None, None, None]
    assert [grouped.message for grouped in groups if grouped] == [None, None, 0, 1, 1]
    assert [grouped.plaintext for grouped in groups if grouped] == [None, None, None, None, 1]
    assert [grouped.header.iteration for grouped in groups if grouped and grouped.header] == [0, 1]
    assert [event.canonical for event in events[:5]] == [True, None, True, True, None]
    assert (events[4].actor, events[4].peer, events[4].message) == (BOB, ALICE, None)


@pytest.mark.parametrize(
    "operation",
    [
        JOIN,
        hear(BOB, 0),
        op(Kind.GROUP_TAMPER, actor=BOB),
        op(Kind.GROUP_REDIRECT, actor=BOB),
        op(Kind.GROUP_CRAFT),
        op(Kind.GROUP_FORGET, actor=BOB, peer=BOB),
        op(Kind.GROUP_SMUGGLE, sender=CAROL, how=SMUGGLES.index("collision-own")),
        op(Kind.GROUP_SMUGGLE, sender=CAROL, how=SMUGGLES.index("relayed")),
        op(Kind.GROUP_SMUGGLE, sender=CAROL, how=SMUGGLES.index("rewound")),
    ],
    ids=lambda one: str(one),
)
def test_what_has_nothing_to_act_on_is_skipped(operation: Op) -> None:
    """ "operand indexes are taken modulo the live objects": where there are none, nothing happens."""
    assert run(operation)[0].outcome is Outcome.SKIPPED


def test_nobody_is_handed_its_own() -> None:
    """A sender reads neither its own messages nor its own chain."""
    events = run(*BEGUN, hear(ALICE, 0), op(Kind.GROUP_JOIN, actor=ALICE))
    assert {event.outcome for event in events[3:]} == {Outcome.SKIPPED}


def test_a_target_without_groups_is_left_alone() -> None:
    """ "Unsupported" is declared: nothing is asked of a target that does not declare groups."""

    class Without(InProcessTarget):
        def __init__(self) -> None:
            super().__init__()
            self.hello = type(self.hello)(self.hello.name, "1", self.hello.level, self.hello.capabilities - {"groups"})

    history = run_trace(Without(), Trace((*BEGUN, op(Kind.GROUP_SMUGGLE), hear(BOB, 0))), closing=False)
    assert {event.outcome for event in history.events} == {Outcome.SKIPPED}


def test_two_writers_in_a_group() -> None:
    """The rival's message goes out before, on the same chain, and the network loses it."""
    events = run(*BEGUN, op(Kind.RIVAL, actor=ALICE), SPEAK, hear(BOB, 1))
    (strike,) = events[4].struck
    assert strike.group_sent is not None
    assert strike.group_sent.iteration == 1
    assert events[4].group is not None
    assert events[4].group.header is not None
    assert events[4].group.header.iteration == 2
    read_by_rival = run(*BEGUN, op(Kind.RIVAL, actor=BOB, how=1), hear(BOB, 0))[-1]
    assert (read_by_rival.outcome, read_by_rival.code) == (Outcome.REFUSED, "duplicate-message")


def test_a_target_without_sessions_is_left_alone() -> None:
    """ "Unsupported" is declared: no session is asked of a target that does groups alone."""

    class GroupsAlone(InProcessTarget):
        def __init__(self) -> None:
            super().__init__()
            self.hello = replace(self.hello, sessions=False)

    asked = (
        op(Kind.ESTABLISH, actor=ALICE, peer=BOB),
        op(Kind.FORGE_BUNDLE, actor=ALICE, peer=BOB),
        op(Kind.SEND, actor=ALICE, peer=BOB),
        op(Kind.BURST, actor=ALICE, peer=BOB, count=2),
        op(Kind.INJECT, to=ALICE, sender=BOB),
    )
    history = run_trace(GroupsAlone(), Trace((*asked, *BEGUN, hear(BOB, 0), op(Kind.INSPECT, actor=BOB))))
    assert {event.outcome for event in history.events[: len(asked)]} == {Outcome.SKIPPED}
    assert {event.outcome for event in history.events[len(asked) :]} == {Outcome.DONE}
    assert judge(history)[0] == []


@pytest.mark.parametrize("kind", [Kind.GROUP_ROTATE, Kind.GROUP_FORGET, Kind.GROUP_MEMBERS], ids=lambda kind: kind.word)
def test_what_a_member_cannot_do_is_skipped(kind: Kind) -> None:
    """Each of the three is declared on its own."""

    class Without(InProcessTarget):
        def __init__(self) -> None:
            super().__init__()
            self.hello = replace(self.hello, capabilities=self.hello.capabilities - {kind.word})

    operation = op(kind, actor=BOB, **({"peer": ALICE} if kind is Kind.GROUP_FORGET else {}))
    assert run(*BEGUN, operation)[-1].outcome is Outcome.DONE
    assert run_trace(Without(), Trace((*BEGUN, operation)), closing=False).events[-1].outcome is Outcome.SKIPPED


# -- the earlier layout -----------------------------------------------------------------------------------------------


def earlier() -> InProcessTarget:
    """Pawl, with the group messages of older clients."""
    return InProcessTarget(layout=GroupLayout.EARLIER)


def sent_earlier() -> tuple[InProcessWorld, GroupSent]:
    """As `sent`."""
    made = earlier().world(7)
    for party, name in enumerate(PARTIES):
        made.create(party, name=name, device_id=1, trust_on_first_use=True)
    made.group_join(BOB, ALICE, TEAM, made.group_create(ALICE, TEAM))
    return made, GroupSent(0, ALICE, 0, made.group_encrypt(ALICE, TEAM, b"g0"), b"g0", layout=EARLIER)


def test_layouts_are_told_apart() -> None:
    """Bytes of one layout are not canonical in the other; the earlier one names no group."""
    made, message = sent_earlier()
    current = sent(world())
    assert group_header(message.data, EARLIER).distribution_id is None
    assert group_header(current.data).distribution_id == TEAM.hex()
    assert group_header(message.data, EARLIER).chain_id == message_layer(message.data).get(1)
    for data, distribution, right, wrong in (
        (message.data, made.group_create(ALICE, TEAM), EARLIER, CURRENT),
        (current.data, world().group_create(ALICE, TEAM), CURRENT, EARLIER),
    ):
        assert is_canonical_message(data, right)
        assert not is_canonical_message(data, wrong)
        assert is_canonical_distribution(distribution, right)
        assert not is_canonical_distribution(distribution, wrong)
    assert {layout.value: found for layout, found in zip(GroupLayout, (CURRENT, EARLIER), strict=True)} == LAYOUTS


NAMED = {"distribution-id", "drop-distribution-id"}


@pytest.mark.parametrize("layout", [CURRENT, EARLIER], ids=["current", "earlier"])
def test_what_is_left_out_is_left_out(layout: Layout) -> None:
    """A field that a change drops is the one of that name, in either layout."""
    made, message = (world(), None) if layout is CURRENT else sent_earlier()
    data = sent(made) if message is None else message
    given = [Given(ALICE, 0, made.group_create(ALICE, TEAM), layout=layout)]
    for name, number in (
        ("drop-distribution-id", layout.named),
        ("drop-chain-id", layout.chain_id),
        ("drop-iteration", layout.iteration),
        ("drop-ciphertext", layout.content),
        ("drop-chain-key", layout.content),
        ("drop-signing-key", layout.signing_key),
    ):
        if number is None:
            continue
        if name in GROUP_TAMPERS:
            left = message_layer(tamper(data, name, 0) or b"").fields
            assert {each for each, _ in left} == set(layout.message_fields) - {number}
        if name in SMUGGLES:
            chain = smuggle(ALICE, 0, name, 0, given, layout)
            assert chain is not None
            assert {each for each, _ in distribution_layer(chain.data).fields} == set(layout.distribution_fields) - {
                number
            }


def test_no_message_of_the_earlier_layout_is_of_another_group() -> None:
    """What names no group cannot be refused for its name: moved to another group, there is no chain for it."""
    moved = op(Kind.GROUP_REDIRECT, actor=BOB, message=0, sender=ALICE, group=1)
    for target, codes in ((InProcessTarget(), {"wrong-group", "no-sender-key"}), (earlier(), {"no-sender-key"})):
        history = run_trace(target, Trace((*BEGUN, moved)), closing=False)
        due = expectations(history)[-1]
        assert due is not None
        assert (due.accept, due.codes, due.rule) == (False, codes, "GRP-05")
        assert judge(history)[0] == []


def test_two_writers_in_a_group_of_the_earlier_layout() -> None:
    """The rival's message is read off as the others are."""
    history = run_trace(earlier(), Trace((*BEGUN, op(Kind.RIVAL, actor=ALICE), SPEAK)), closing=False)
    (strike,) = history.events[4].struck
    assert strike.group_sent is not None
    assert (strike.group_sent.iteration, strike.group_sent.distribution_id) == (1, None)
    assert judge(history)[0] == []


@pytest.mark.parametrize("name", GROUP_TAMPERS)
def test_a_changed_message_of_the_earlier_layout_is_another(name: str) -> None:
    """As in the current one; where no group is named, there is no such change."""
    made, message = sent_earlier()
    changed = tamper(message, name, 1)
    if name in NAMED:
        assert changed is None
        return
    assert changed is not None
    assert changed != message.data
    with pytest.raises(Refused):
        made.group_decrypt(BOB, ALICE, TEAM, changed)
    assert made.group_decrypt(BOB, ALICE, TEAM, message.data) == message.text


@pytest.mark.parametrize("how", SMUGGLES)
def test_a_smuggled_distribution_of_the_earlier_layout(how: str) -> None:
    """What is a distribution can be read as one; what is none is refused; a crafted message is read."""
    made, _ = sent_earlier()
    given = [Given(party, 0, made.group_create(party, TEAM), layout=EARLIER) for party in (ALICE, BOB)]
    chain = smuggle(ALICE, 0, how, 3, given, EARLIER)
    if how in NAMED | {"other-group"}:
        assert chain is None
        return
    assert chain is not None
    wellformed = how in CRAFTS | {"relayed", "rewound", "low-order-signing-key"}
    try:
        decode_distribution(chain.data, layout=GroupLayout.EARLIER)
    except ProtocolError:
        assert not wellformed
    else:
        assert wellformed
    if how == "own":
        made.group_join(CAROL, ALICE, TEAM, chain.data)
        assert made.group_decrypt(CAROL, ALICE, TEAM, craft(chain, 2, b"g0")) == b"g0"


def test_the_search_reads_the_earlier_layout() -> None:
    """A stolen state opens what it should in either layout."""
    made, first = sent_earlier()
    second = GroupSent(1, ALICE, 0, made.group_encrypt(ALICE, TEAM, b"g1"), b"g1", layout=EARLIER)
    made.group_decrypt(BOB, ALICE, TEAM, second.data)
    assert read([made.steal(BOB)], [first, second]) == (0,)
    assert readable(made.group_secrets(BOB), [first, second]) == {0}


@pytest.mark.parametrize("seed", range(4))
def test_pawl_holds_on_walks_in_groups_of_the_earlier_layout(seed: int) -> None:
    """The reference breaks nothing there either, and the same operations end in the same way."""
    trace = Trace(tuple(in_groups(Random(seed))), seed=seed)
    history = run_trace(earlier(), trace)
    assert judge(history)[0] == []
    assert any(event.group is not None and event.group.plaintext is not None for event in history.events)


def test_a_mixed_world_needs_one_layout() -> None:
    """What both do is what the pair does: two layouts have nothing to say to each other."""
    assert "groups" not in MixedTarget([InProcessTarget(), earlier(), earlier()]).hello.capabilities
    assert "groups" in MixedTarget([InProcessTarget(), InProcessTarget(), InProcessTarget()]).hello.capabilities


def test_a_walk_without_sessions_is_in_groups_alone() -> None:
    """A target that does groups alone is led through groups in every walk."""
    for trace in islice(traces(1, sessions=False), 20):
        assert not {Kind.ESTABLISH, Kind.SEND, Kind.DELIVER} & {each.kind for each in trace.ops}
        assert Kind.GROUP_SEND in {each.kind for each in trace.ops}
    assert list(islice(traces(1, sessions=False), 5)) == list(islice(traces(1, sessions=False), 5))


# -- the attacker -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GROUP_TAMPERS)
def test_a_changed_message_is_another(name: str) -> None:
    """Each change changes the bytes, and the receiver refuses them; then it reads the message itself."""
    made = world()
    message = sent(made)
    changed = tamper(message, name, 1)
    assert changed is not None
    assert changed != message.data
    with pytest.raises(Exception, match=r".+"):
        made.group_decrypt(BOB, ALICE, TEAM, changed)
    assert made.group_decrypt(BOB, ALICE, TEAM, message.data) == message.text


def test_re_signed_bytes_are_signed_by_the_attacker() -> None:
    """The body is as it was, and the signature holds under the attacker's key alone."""
    message = sent(world())
    parsed = decode_sender_key_message(tamper(message, "re-signed", 0) or b"")
    assert parsed.signed == message.data[:-64]
    xeddsa.verify(ATTACKER.public, parsed.signed, parsed.signature)


@pytest.mark.parametrize("how", SMUGGLES)
def test_a_smuggled_distribution(how: str) -> None:
    """What is a distribution can be read as one; what is none is refused. One number is one chain."""
    made = world()
    given = [Given(party, 0, made.group_create(party, TEAM)) for party in (ALICE, BOB)]
    chain = smuggle(ALICE, 0, how, 3, given)
    assert chain is not None
    assert chain == smuggle(ALICE, 0, how, 3, given)
    assert not chain.real
    assert (chain.key is not None) == (how in CRAFTS)
    wellformed = how in CRAFTS | {"relayed", "rewound", "low-order-signing-key"}
    try:
        decode_distribution(chain.data)
    except ProtocolError:
        assert not wellformed
    else:
        assert wellformed


@pytest.mark.parametrize("ahead", [0, 1, 5])
def test_a_crafted_message_is_read(ahead: int) -> None:
    """The attacker's own chain is one like any other: whoever took it reads what the attacker sends."""
    made = world()
    chain = smuggle(CAROL, 0, "own", 1, [])
    assert chain is not None
    made.group_join(BOB, CAROL, TEAM, chain.data)
    data = craft(chain, ahead, b"g0")
    assert is_canonical_message(data)
    assert is_canonical_distribution(chain.data)
    assert group_header(data).iteration == ahead
    assert made.group_decrypt(BOB, CAROL, TEAM, data) == b"g0"


def test_collisions_have_the_id_of_the_chain() -> None:
    """Of one's own chain, or of another member's."""
    made = world()
    given = [Given(party, 0, made.group_create(party, TEAM)) for party in (ALICE, BOB)]
    ids = [distribution_layer(each.data).get(2) for each in given]
    for how, due in (("collision-own", ids[0]), ("collision-other", ids[1])):
        chain = smuggle(ALICE, 0, how, 0, given)
        assert chain is not None
        assert distribution_layer(chain.data).get(2) == due


# -- the search -------------------------------------------------------------------------------------------------------


def test_the_attacker_reads_what_a_member_could_still_read() -> None:
    """With a member's state the messages that it was not handed; with the sender's none of those that it sent."""
    made = world()
    first = sent(made)
    second = GroupSent(1, ALICE, 0, made.group_encrypt(ALICE, TEAM, b"g1"), b"g1")
    third = GroupSent(2, ALICE, 0, made.group_encrypt(ALICE, TEAM, b"g2"), b"g2")
    messages = [first, second, third]
    made.group_decrypt(BOB, ALICE, TEAM, second.data)
    assert read([made.steal(BOB)], messages) == (0, 2)
    assert readable(made.group_secrets(BOB), messages) == {0, 2}
    assert read([made.steal(ALICE)], messages) == ()
    assert readable(made.group_secrets(ALICE), messages) == set()
    assert read([made.steal(CAROL)], messages) == ()
    assert read([], messages) == ()


def test_the_attackers_own_messages_are_left_out() -> None:
    """What the attacker sent itself, it need not read."""
    made = world()
    message = sent(made)
    own = GroupSent(0, ALICE, 0, message.data, message.text, crafted=True)
    assert read([made.steal(BOB)], [own]) == ()
    assert readable(made.group_secrets(BOB), [own]) == set()


def test_a_fork_reads_groups_too() -> None:
    """A copy of a world goes its own way, and what it reads is read there alone."""
    made = world()
    message = sent(made)
    twin = made.fork()
    assert twin.group_decrypt(BOB, ALICE, TEAM, message.data) == message.text
    assert made.observe(BOB).digest != twin.observe(BOB).digest
    assert made.group_decrypt(BOB, ALICE, TEAM, message.data) == message.text
    assert made.observe(BOB).digest == twin.observe(BOB).digest


# -- the walk ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_every_scene_can_be_played_anywhere(scene: object) -> None:
    """A scene needs nothing before it, and its operations are of the format."""
    assert callable(scene)
    for seed in range(20):
        state = GroupWalk(Random(seed))
        scene(state)
        scene(state)
        trace = Trace(tuple(state.ops))
        assert decode(encode(trace)) == trace


def test_walks_in_groups_reach_every_operation_and_choice() -> None:
    """ "Count what was reached": all kinds, all changes, all chains that a malicious member gives."""
    ops = [each for seed in range(400) for each in in_groups(Random(seed))]
    assert {kind for kind in Kind if kind.word.startswith("group-")} <= {each.kind for each in ops}
    for kind, name, choices in ((Kind.GROUP_TAMPER, "field", GROUP_TAMPERS), (Kind.GROUP_SMUGGLE, "how", SMUGGLES)):
        assert {choices[each[name]] for each in ops if each.kind is kind} == set(choices)
    assert not is_costly(Trace(tuple(ops[:100])))


def test_what_walks_in_groups_do_happens() -> None:
    """On Pawl each operation is carried out more often than it is skipped, and messages are read."""
    outcomes: Counter[tuple[Kind, Outcome]] = Counter()
    for seed in range(25):
        history = run_trace(InProcessTarget(), Trace(tuple(in_groups(Random(seed)))), closing=False)
        outcomes.update((event.op.kind, event.outcome) for event in history.events)
    for kind in Kind:
        if kind.word.startswith("group-"):
            done = sum(n for (which, how), n in outcomes.items() if which is kind and how is not Outcome.SKIPPED)
            assert done > outcomes[kind, Outcome.SKIPPED], kind
    assert outcomes[Kind.GROUP_DELIVER, Outcome.DONE] > outcomes[Kind.GROUP_DELIVER, Outcome.REFUSED]


@pytest.mark.parametrize("seed", range(4))
def test_pawl_holds_on_walks_in_groups(seed: int) -> None:
    """The reference breaks nothing, and one seed gives one history."""
    trace = Trace(tuple(in_groups(Random(seed))), seed=seed)
    history = run_trace(InProcessTarget(), trace)
    assert judge(history)[0] == []
    assert run_trace(InProcessTarget(), trace) == history


# -- shrinking --------------------------------------------------------------------------------------------------------


def test_handles_move_down_with_what_is_removed() -> None:
    """Each sort of handle is counted apart: a message that is gone moves the later ones of its sort, and no others."""
    trace = Trace((CREATE, CREATE, SPEAK, SPEAK, op(Kind.GROUP_JOIN, actor=BOB, distribution=1), hear(BOB, 1)))
    _, moved = _without(trace, (0,))
    assert moved.ops[-2:] == (op(Kind.GROUP_JOIN, actor=BOB, distribution=0), hear(BOB, 1))
    _, moved = _without(trace, (2,))
    assert moved.ops[-2:] == (op(Kind.GROUP_JOIN, actor=BOB, distribution=1), hear(BOB, 0))
