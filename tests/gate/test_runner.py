"""The runner: it plays network, disk and attacker exactly as the trace says, and writes down what happened."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pawl_gate.attacker import ATTACKER
from pawl_gate.runner import CRASHABLE, HANDLERS, ROUNDS, SIZES, Run, plaintext_of, run_trace
from pawl_gate.targets.base import HarnessBroken, Misbehaved, Refused, SimulatedCrash, TargetCrashed, TargetHung
from pawl_gate.wire_view import inner_data, prekey_layer, signal_layer
from pawl_spec.history import Event, History, Observe, Outcome, Profile
from pawl_spec.trace import FORGERIES, PARTIES, TAMPERS, Kind, Op, Trace, op
from tests.gate.fake_target import EVERYTHING, FakeTarget, key

ALICE, BOB, CAROL = range(3)
MEET = op(Kind.ESTABLISH, actor=ALICE, peer=BOB, one_time=1)
SEND = op(Kind.SEND, actor=ALICE, peer=BOB)
ANSWER = op(Kind.SEND, actor=BOB, peer=ALICE)


def deliver(index: int = 0) -> Op:
    """The `index`-th message in flight arrives."""
    return op(Kind.DELIVER, index=index)


def run(target: FakeTarget, *ops: Op, closing: bool = False, **settings: int) -> History:
    """Run without the closing part, unless asked for."""
    return run_trace(target, Trace(ops, **settings), closing=closing)


def handles(history: History) -> list[int | None]:
    """The messages that the events name, but for those of sending."""
    return [event.message for event in history.events if event.op.kind not in (Kind.SEND, Kind.ESTABLISH)]


def outcomes(history: History) -> list[str]:
    """How each event ended."""
    return [event.outcome.value for event in history.events]


# -- parties ----------------------------------------------------------------------------------------------------------


def test_parties_are_made_when_first_needed() -> None:
    """ "Each party has one device", with the name of the world's cast; nobody is made who is not needed."""
    target = FakeTarget()
    run(target, op(Kind.APPROVE, actor=CAROL, peer=ALICE), op(Kind.APPROVE, actor=ALICE, peer=CAROL), strict=4)
    assert target.only.of("create") == [(CAROL, "carol", 1, False), (ALICE, "alice", 1, True)]


def test_the_seed_is_the_worlds() -> None:
    """The trace's seed is what the target's world is made from; each run has a world of its own, which is closed."""
    target = FakeTarget()
    for seed in (0, 515):
        run(target, MEET, seed=seed)
    assert [world.seed for world in target.worlds] == [0, 515]
    assert [world.closed for world in target.worlds] == [1, 1]


def test_a_target_without_a_policy_trusts() -> None:
    """ "the target has no such policy, so the party trusts on first use, and the trace says so"."""
    target = FakeTarget(can=EVERYTHING - {"strict-identity"})
    history = run(target, MEET, strict=0b111)
    assert [call[3] for call in target.only.of("create")] == [True, True]
    # Carol was never made, so nothing was put right for her.
    assert history.trace.strict == 0b100


def test_every_kind_is_handled() -> None:
    """Opcodes are append-only: the runner knows each."""
    assert set(HANDLERS) == set(Kind)


# -- handles and flights ----------------------------------------------------------------------------------------------


def test_messages_are_numbered_as_they_are_sent() -> None:
    """ "a message is 'the n-th message sent'": a refused one has no number."""
    history = run(FakeTarget(), SEND, MEET, SEND, SEND, ANSWER)
    assert [event.message for event in history.events] == [None, None, 0, 1, None]
    assert outcomes(history) == ["refused", "done", "done", "done", "refused"]


def test_texts_name_their_message() -> None:
    """ "The text of message `handle`: its name ... and filler": every length is reached, no two texts are equal."""
    assert plaintext_of(12, 3) == b"m12" + b"." * 16
    assert plaintext_of(12, 3 + len(SIZES)) == plaintext_of(12, 3)
    texts = {plaintext_of(handle, size) for handle in range(30) for size in range(len(SIZES))}
    assert len(texts) == 30 * len(SIZES)
    target = FakeTarget()
    run(target, MEET, SEND, op(Kind.SEND, actor=ALICE, peer=BOB, size=1))
    assert [call[2] for call in target.only.of("encrypt")] == [b"m0", b"m1."]


def test_deliver_takes_from_the_flight() -> None:
    """DELIVER: the index-th of what is in flight, taken modulo what is there; once delivered it is gone."""
    history = run(FakeTarget(), MEET, SEND, SEND, SEND, deliver(4), deliver(1), deliver(7), deliver(0))
    assert handles(history) == [1, 2, 0, None]
    assert outcomes(history)[-1] == "skipped"
    assert [event.plaintext for event in history.events[4:7]] == [1, 2, 0]
    assert {(event.actor, event.peer) for event in history.events[4:7]} == {(BOB, ALICE)}


def test_drop_takes_from_the_flight() -> None:
    """DROP: as DELIVER, but nobody gets it."""
    target = FakeTarget()
    history = run(target, MEET, SEND, SEND, op(Kind.DROP, index=2), deliver(), deliver())
    assert handles(history) == [0, 1, None]
    assert len(target.only.of("decrypt")) == 1


def test_duplicate_adds_to_the_flight() -> None:
    """DUPLICATE: a second copy at the end of the flight; the first stays where it was."""
    history = run(FakeTarget(), MEET, SEND, SEND, op(Kind.DUPLICATE, index=0), deliver(), deliver(), deliver())
    assert handles(history) == [0, 0, 1, 0]
    assert outcomes(history)[4:] == ["done", "done", "refused"]


def test_replay_leaves_the_flight() -> None:
    """REPLAY: the n-th message ever sent, modulo all, in flight or not; the flight stays as it is."""
    replay = op(Kind.REPLAY, message=3)
    history = run(FakeTarget(), MEET, SEND, SEND, deliver(1), replay, deliver(), deliver())
    # Message 3 modulo 2 is the one that was delivered before; then message 0 is still there, and nothing else.
    assert handles(history) == [1, 1, 0, None]


def test_redirect_names_another_route() -> None:
    """REDIRECT: the message goes to `to`, in the name of `sender`; the flight stays as it is."""
    target = FakeTarget()
    redirect = op(Kind.REDIRECT, message=0, to=CAROL, sender=BOB)
    history = run(target, MEET, SEND, redirect, deliver())
    assert [call[:2] for call in target.only.of("decrypt")] == [(CAROL, BOB), (BOB, ALICE)]
    assert (history.events[2].actor, history.events[2].peer, history.events[2].message) == (CAROL, BOB, 0)


@pytest.mark.parametrize(
    "nothing",
    [
        op(Kind.NOP),
        deliver(),
        op(Kind.DROP),
        op(Kind.DUPLICATE),
        op(Kind.REPLAY),
        op(Kind.TAMPER),
        op(Kind.REDIRECT, to=ALICE, sender=BOB),
        op(Kind.ESTABLISH, actor=BOB, peer=BOB),
        op(Kind.FORGE_BUNDLE, actor=BOB, peer=BOB),
        op(Kind.SEND, actor=BOB, peer=BOB),
        op(Kind.APPROVE, actor=BOB, peer=BOB),
        op(Kind.INJECT, to=BOB, sender=BOB),
        op(Kind.BURST, actor=ALICE, peer=BOB, count=0),
        op(Kind.BURST, actor=BOB, peer=BOB, count=1),
        op(Kind.INSPECT, actor=ALICE),
        op(Kind.REINSTALL, actor=ALICE),
        op(Kind.RESTART, actor=ALICE),
    ],
    ids=str,
)
def test_nothing_to_do_is_skipped(nothing: Op) -> None:
    """SKIPPED: "no such message, no such session to act on": the target is asked nothing."""
    target = FakeTarget()
    assert outcomes(run(target, nothing)) == ["skipped"]
    assert target.only.calls == []


@pytest.mark.parametrize(
    ("kind", "ability"),
    [(Kind.REINSTALL, "reinstall"), (Kind.RESTART, "restart"), (Kind.APPROVE, "approve"), (Kind.CRASH, "crash")],
)
def test_what_a_target_cannot_do_is_skipped(kind: Kind, ability: str) -> None:
    """SKIPPED: "or the target declares that it cannot"; with the ability it is done."""
    operands = {"actor": ALICE, "peer": BOB} if kind is Kind.APPROVE else {"actor": ALICE}
    for can, outcome in ((EVERYTHING - {ability}, "skipped"), (EVERYTHING, "done")):
        assert outcomes(run(FakeTarget(can=can), MEET, op(kind, **operands)))[1] == outcome


# -- what came of it --------------------------------------------------------------------------------------------------


def test_a_refusal_is_written_down() -> None:
    """REFUSED, with the code and the target's own words, and the state before and after."""
    event = run(FakeTarget(), MEET, SEND, deliver(), ANSWER, op(Kind.REPLAY, message=0)).events[-1]
    assert (event.outcome, event.code, event.actor, event.peer) == (Outcome.REFUSED, "duplicate-message", BOB, ALICE)
    assert event.plaintext is None
    assert event.before is not None
    assert event.before == event.after
    event = run(FakeTarget(), SEND).events[-1]
    assert (event.code, event.text, event.header) == ("no-session", "nothing to encrypt with", None)


def test_the_state_is_seen_before_and_after() -> None:
    """Each operation of a party is framed by what is seen of that party."""
    sent = run(FakeTarget(), MEET, SEND).events[-1]
    assert sent.before is not None
    assert sent.after is not None
    assert (sent.before.digest, sent.after.digest) == ("0.1", "0.2")


def test_below_its_level_nothing_is_seen() -> None:
    """ "None means 'cannot be seen here'": a black box is not asked for its state, nor for its secrets."""
    target = FakeTarget(level=Observe.WIRE)
    history = run(target, MEET, SEND, op(Kind.INSPECT, actor=ALICE))
    assert history.events[1].before is None
    assert history.events[1].after is None
    assert outcomes(history)[-1] == "skipped"
    assert {call[0] for call in target.only.calls} == {"create", "bundle", "establish", "encrypt"}


def test_a_plaintext_that_nobody_sent() -> None:
    """ "-1 for a plaintext that nobody sent": the attacker's bytes came out."""
    flipped = op(Kind.TAMPER, message=0, field=TAMPERS.index("ciphertext"))
    history = run(FakeTarget(), MEET, SEND, flipped)
    assert history.events[-1].plaintext == -1


def test_what_is_read_off_a_sent_message() -> None:
    """`header` and `canonical` say what the network saw of the message sent."""
    event = run(FakeTarget(), MEET, SEND).events[-1]
    assert event.header is not None
    assert (event.header.kind, event.header.counter, event.header.prekey_id) == ("prekey", 0, 7)
    assert event.header.ratchet_key == key(30).hex()
    assert event.canonical is True


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (Misbehaved("IndexError: 0"), Outcome.DIED),
        (TargetCrashed("signal 11"), Outcome.DIED),
        (TargetHung("10 s"), Outcome.HUNG),
    ],
)
@pytest.mark.parametrize("verb", ["bundle", "establish", "encrypt", "decrypt", "approve", "restart", "reinstall"])
def test_a_death_ends_the_run(verb: str, fault: Exception, outcome: Outcome) -> None:
    """DIED and HUNG are results; "nothing that follows would have a meaning": it is skipped, and nothing is closed."""
    others = [op(Kind.APPROVE, actor=ALICE, peer=BOB), op(Kind.RESTART, actor=BOB), op(Kind.REINSTALL, actor=BOB)]
    target = FakeTarget(**{verb: [fault]})
    history = run(target, MEET, SEND, deliver(), *others, SEND, closing=True)
    ended = [event for event in history.events if event.outcome is outcome]
    assert len(ended) == 1
    assert str(fault) in ended[0].text
    assert {event.outcome for event in history.events[ended[0].step + 1 :]} <= {Outcome.SKIPPED}
    assert history.closing is None
    assert len(history.events) == len(history.trace.ops) == 7
    assert target.only.closed == 1


@pytest.mark.parametrize("verb", ["create", "observe"])
def test_a_death_beside_the_operation_is_one(verb: str) -> None:
    """Run.step: "Raises: HarnessBroken, and nothing for what the target does", a party made or looked at included."""
    history = run(FakeTarget(**{verb: [None, TargetCrashed("signal 11")]}), MEET, SEND, closing=True)
    assert outcomes(history) == ["died", "skipped"]
    assert history.events[0].text == "signal 11"


def test_a_refused_bundle_is_a_death() -> None:
    """To make a bundle is no right of refusal: "The peer's part is not the operation under judgement"."""
    event = run(FakeTarget(bundle=[Refused("internal-error")]), MEET).events[0]
    assert (event.outcome, event.text) == (Outcome.DIED, "no bundle: internal-error")


def test_a_broken_harness_is_no_result() -> None:
    """HarnessBroken: "the driver does not keep to the contract" is nobody's finding."""
    with pytest.raises(HarnessBroken):
        run(FakeTarget(decrypt=[HarnessBroken("nonsense")]), MEET, SEND, deliver())


# -- bundles, approvals, reinstallations ------------------------------------------------------------------------------


def test_bundles_are_fresh() -> None:
    """ESTABLISH: with a fresh one-time prekey or without; the event names it."""
    target = FakeTarget()
    history = run(target, MEET, op(Kind.ESTABLISH, actor=ALICE, peer=BOB), MEET)
    assert target.only.of("bundle") == [(BOB, True), (BOB, False), (BOB, True)]
    assert [event.prekey_id for event in history.events] == [1, None, 2]


def test_where_a_session_needs_a_one_time_prekey_each_bundle_has_one() -> None:
    """Driver contract: needs_one_time - whatever a trace says, and the trace that is kept says what was done."""
    target = FakeTarget()
    target.hello = replace(target.hello, profile=Profile(needs_one_time=True))
    history = run(target, op(Kind.ESTABLISH, actor=ALICE, peer=BOB), MEET)
    assert target.only.of("bundle") == [(BOB, True), (BOB, True)]
    assert history.trace.ops == (MEET, MEET)
    assert [event.op for event in history.events] == [MEET, MEET]


def test_a_forged_bundle_is_given() -> None:
    """FORGE_BUNDLE: the peer's bundle, changed on its way, always with a one-time prekey."""
    target = FakeTarget()
    run(target, op(Kind.FORGE_BUNDLE, actor=ALICE, peer=BOB, how=FORGERIES.index("swap-identity")))
    assert target.only.of("bundle") == [(BOB, True)]
    given = target.only.of("establish")[0][2]
    assert given.identity_key == ATTACKER.public.serialize()
    assert given.signed_prekey == key(20)


def test_an_approval_is_for_the_present_identity() -> None:
    """APPROVE: the key that the peer has now, also after it was installed anew."""
    target = FakeTarget()
    approve = op(Kind.APPROVE, actor=ALICE, peer=BOB)
    run(target, approve, op(Kind.REINSTALL, actor=BOB), approve)
    assert [call[2] for call in target.only.of("approve")] == [key(BOB), key(BOB + 10)]


# -- the attacker -----------------------------------------------------------------------------------------------------


def test_a_changed_copy_goes_the_message_s_way() -> None:
    """TAMPER: a copy of the n-th message, changed, to its receiver in its sender's name; the flight keeps the original."""
    target = FakeTarget()
    changed = op(Kind.TAMPER, message=0, field=TAMPERS.index("counter"), how=1)
    run(target, MEET, SEND, changed, deliver())
    (first, second) = target.only.of("decrypt")
    assert first[:2] == second[:2] == (BOB, ALICE)
    assert signal_layer(inner_data(first[2])).get(2) == 2
    assert signal_layer(inner_data(second[2])).get(2) == 0


def test_a_change_that_does_not_concern_the_message_is_skipped() -> None:
    """An outer field of a plain message: nothing to change."""
    target = FakeTarget()
    changed = op(Kind.TAMPER, message=1, field=TAMPERS.index("base-key"))
    history = run(target, MEET, SEND, deliver(), ANSWER, changed)
    assert outcomes(history)[-1] == "skipped"
    assert len(target.only.of("decrypt")) == 1


def test_the_changed_prekey_id_is_told() -> None:
    """The event says which one-time prekey a changed message names, so that the model knows it."""
    target = FakeTarget()
    changed = op(Kind.TAMPER, message=0, field=TAMPERS.index("prekey-id"), how=5)
    event = run(target, MEET, SEND, changed).events[-1]
    assert event.prekey_id == prekey_layer(target.only.of("decrypt")[0][2].data).get(1) == 13


def test_another_party_s_identity() -> None:
    """ "identity-key" with an odd choice: the key of the party after the sender, as it is now."""
    target = FakeTarget()
    changed = op(Kind.TAMPER, message=0, field=TAMPERS.index("identity-key"), how=1)
    run(target, MEET, op(Kind.REINSTALL, actor=BOB), SEND, changed)
    assert prekey_layer(target.only.of("decrypt")[0][2].data).get(3) == key(BOB + 10)


def test_an_injection_is_no_message() -> None:
    """INJECT: bytes without a handle, to `to` in the name of `sender`."""
    target = FakeTarget(decrypt=[Refused("malformed-message")])
    event = run(target, op(Kind.INJECT, to=BOB, sender=CAROL, what=1, how=1)).events[0]
    assert (event.actor, event.peer, event.message, event.code) == (BOB, CAROL, None, "malformed-message")
    assert target.only.of("decrypt")[0][2].data == b"\x33"


def test_a_burst_is_lost() -> None:
    """BURST: counters of all, the first one's header, and nothing of it in flight."""
    target = FakeTarget()
    history = run(target, MEET, SEND, op(Kind.BURST, actor=ALICE, peer=BOB, count=3), SEND, deliver(2), deliver(1))
    burst = history.events[2]
    assert burst.counters == (1, 2, 3)
    assert burst.header is not None
    assert burst.header.counter == 1
    assert burst.message is None
    assert handles(history) == [None, 0, 1]


def test_a_burst_without_a_session_is_refused() -> None:
    """BURST: refused at the first message, it has no counters."""
    event = run(FakeTarget(), op(Kind.BURST, actor=ALICE, peer=BOB, count=3)).events[0]
    assert (event.outcome, event.counters, event.header) == (Outcome.REFUSED, (), None)


# -- crashes ----------------------------------------------------------------------------------------------------------


def test_a_crash_is_armed_for_the_next_step() -> None:
    """CRASH arms the actor's next operation, and no other party's; what is not one that writes leaves it armed."""
    target = FakeTarget()
    crash = op(Kind.CRASH, actor=BOB, at=3)
    approve = op(Kind.APPROVE, actor=BOB, peer=ALICE)
    history = run(target, MEET, crash, SEND, approve, deliver(), ANSWER)
    assert target.only.of("arm_crash") == [(BOB, 3)]
    assert [event.crash_armed for event in history.events] == [False, False, False, False, True, False]
    # It was not reached, and is taken back.
    assert target.only.of("disarm_crash") == [(BOB,)]


def test_a_crash_opens_the_party_again() -> None:
    """CRASHED: the party is opened again from what is durable; the event says what completing would have left."""
    target = FakeTarget(decrypt=[SimulatedCrash(3)])
    history = run(target, MEET, SEND, op(Kind.CRASH, actor=BOB, at=3), deliver(), op(Kind.REPLAY, message=0))
    crashed = history.events[3]
    assert (crashed.outcome, crashed.complete, crashed.plaintext) == (Outcome.CRASHED, "1.1", None)
    assert crashed.before == crashed.after
    assert target.only.of("restart") == [(BOB,)]
    assert history.events[4].outcome is Outcome.DONE


def test_a_message_lost_in_a_crash_has_no_number() -> None:
    """A message that was not handed out was not sent."""
    target = FakeTarget(encrypt=[SimulatedCrash(3)])
    history = run(target, MEET, op(Kind.CRASH, actor=ALICE), SEND, SEND, deliver())
    assert [event.message for event in history.events[2:]] == [None, 0, 0]


def test_which_operations_crash() -> None:
    """The operations that change what a party holds of sessions or groups; the model knows of no others."""
    of_groups = {kind for kind in Kind if kind.word.startswith("group-")} - {
        Kind.GROUP_SMUGGLE,
        Kind.GROUP_CRAFT,
        Kind.GROUP_LAYOUT,
    }
    assert {Kind.SEND, Kind.DELIVER, Kind.REPLAY, Kind.TAMPER, Kind.ESTABLISH} | of_groups == CRASHABLE


# -- the closing part -------------------------------------------------------------------------------------------------


def sentences(events: list[Event]) -> list[str]:
    """Who did what."""
    names = [*PARTIES, "-"]
    return [f"{names[-1 if e.actor is None else e.actor]} {e.op.kind.word} {e.outcome.value}" for e in events]


def test_the_network_delivers_everything() -> None:
    """ "Let the network deliver everything and both sides of each pair talk again"; the trace holds none of it."""
    trace = Trace((MEET, SEND, SEND, op(Kind.CRASH, actor=BOB)))
    target = FakeTarget()
    history = run_trace(target, trace)
    assert history.trace == trace
    assert history.closing == 4
    assert sentences(history.events[4:]) == [
        "bob deliver done",
        "bob deliver done",
        "alice send done",
        "bob deliver done",
        "bob send done",
        "alice deliver done",
        "alice inspect done",
        "bob inspect done",
    ]
    # The crash that nobody had come to was taken back.
    assert target.only.of("arm_crash") == []


def test_without_a_closing_part() -> None:
    """`closing=False`: the history ends with the trace."""
    history = run(FakeTarget(), MEET, SEND)
    assert history.closing is None
    assert len(history.events) == 2


def test_whoever_is_refused_establishes_anew() -> None:
    """CTR-08: "each refused side establishes anew from a fresh bundle", then both talk."""
    history = run(FakeTarget(decrypt=[Refused("bad-mac")] * 2), MEET, SEND, closing=True)
    assert sentences(history.events[2:]) == [
        "bob deliver refused",
        "alice send done",
        "bob deliver refused",
        "bob establish done",
        "bob send done",
        "alice deliver done",
        "alice send done",
        "bob deliver done",
        "bob send done",
        "alice deliver done",
        "alice inspect done",
        "bob inspect done",
    ]


def test_a_pair_that_never_talks_is_given_up() -> None:
    """CTR-08: "within 10 rounds", and no more."""
    history = run(FakeTarget(decrypt=[Refused("bad-mac")] * 1000), MEET, SEND, closing=True)
    sends = [event for event in history.events[2:] if event.op.kind is Kind.SEND]
    assert len(sends) == 2 * ROUNDS


def test_a_refusal_by_policy_is_final() -> None:
    """CTR-08: "pairs whose identity policy refuses the peer" are not asked again and again."""
    history = run(FakeTarget(decrypt=[Refused("untrusted-identity")] * 1000), MEET, SEND, closing=True)
    assert len([event for event in history.events[2:] if event.op.kind is Kind.SEND]) == 2


def test_a_death_in_the_closing_part() -> None:
    """What dies in the closing part ends it, and the history says where it began."""
    history = run(FakeTarget(decrypt=[Misbehaved("KeyError")]), MEET, SEND, SEND, closing=True)
    assert history.closing == 3
    assert history.events[3].outcome is Outcome.DIED
    assert {event.outcome for event in history.events[4:]} <= {Outcome.SKIPPED}


def test_only_pairs_that_talked_talk_again() -> None:
    """Whoever never sent anything to another owes it nothing."""
    history = run(FakeTarget(), MEET, op(Kind.ESTABLISH, actor=CAROL, peer=BOB), SEND, closing=True)
    assert CAROL not in {event.op["actor"] for event in history.events[2:] if event.op.kind is Kind.SEND}


def test_a_run_step_by_step() -> None:
    """Engines take one step at a time and look at what came of it; the steps become the trace."""
    target = FakeTarget()
    one = Run(target, seed=3, strict=1)
    assert one.step(MEET).outcome is Outcome.DONE
    assert one.step(SEND).message == 0
    history = one.finish(closing=False)
    assert history.trace == Trace((MEET, SEND), seed=3, strict=1)
    assert [event.step for event in history.events] == [0, 1]
