"""Pawl in this process: what is observed is what is stored, crashes strike where they are armed, one seed is one run."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice

import pytest

from pawl import ProtocolAddress
from pawl.crypto import kdf
from pawl.errors import BadMac, Conflict
from pawl.storage.contract import Row, Store, Table
from pawl.storage.memory import MemoryStore
from pawl_gate.derivations import Derivations
from pawl_gate.engines.walk import traces
from pawl_gate.key_search import proven
from pawl_gate.runner import run_trace
from pawl_gate.targets import inprocess
from pawl_gate.targets.base import Bundle, Misbehaved, Refused, SimulatedCrash, WireMessage
from pawl_gate.targets.inprocess import HELLO, LIMITS, InProcessTarget, InProcessWorld, SeededRng
from pawl_gate.targets.observed import AFTER_COMMIT, BEFORE_COMMIT, ObservedStore
from pawl_gate.targets.rival import OpenTransaction
from pawl_gate.targets.variant import DeviceLike, Setup, Variant
from pawl_gate.targets.work import Work
from pawl_gate.wire_view import inner_data
from pawl_spec.history import History, Observe, Outcome
from pawl_spec.judge import judge
from pawl_spec.trace import (
    ANSWERS,
    FORGERIES,
    GROUP_TAMPERS,
    JUNK,
    MEDIA,
    PARTIES,
    SMUGGLES,
    STORE_FAULTS,
    TABLES,
    TAMPERS,
    Kind,
    Op,
    Trace,
    op,
)

ALICE, BOB, CAROL = range(len(PARTIES))
MEET = op(Kind.ESTABLISH, actor=ALICE, peer=BOB, one_time=1)
SEND = op(Kind.SEND, actor=ALICE, peer=BOB)
ANSWER = op(Kind.SEND, actor=BOB, peer=ALICE)
DELIVER = op(Kind.DELIVER)
TALKED = (MEET, SEND, DELIVER, ANSWER, DELIVER)


def run(*ops: Op, closing: bool = False, **settings: int) -> History:
    """Run on the reference, without the closing part unless asked for."""
    return run_trace(InProcessTarget(), Trace(ops, **settings), closing=closing)


def made(*parties: int) -> InProcessWorld:
    """A world with these parties."""
    world = InProcessTarget().world(7)
    for party in parties:
        world.create(party, name=PARTIES[party], device_id=1, trust_on_first_use=True)
    return world


def met() -> InProcessWorld:
    """Alice and Bob have talked once in each direction."""
    world = made(ALICE, BOB)
    world.establish(ALICE, BOB, world.bundle(BOB, one_time=True))
    world.decrypt(BOB, ALICE, world.encrypt(ALICE, BOB, b"one"))
    world.decrypt(ALICE, BOB, world.encrypt(BOB, ALICE, b"other"))
    return world


def stored(world: InProcessWorld, party: int) -> dict[Table, dict[bytes, object]]:
    """The rows of a party."""
    return {table: dict(rows) for table, rows in world._parties[party].store.inner.snapshot().items()}


# -- many messages at once --------------------------------------------------------------------------------------------


def test_many_messages_at_once_are_as_one_by_one() -> None:
    """ "as so many calls of `encrypt`": the messages, and what is seen of the party afterwards."""
    one, other = met(), met()
    sent: list[WireMessage] = []
    one.encrypt_all(ALICE, BOB, b"lost", 20, sent)
    assert sent == [other.encrypt(ALICE, BOB, b"lost") for _ in range(20)]
    assert one.observe(ALICE) == other.observe(ALICE)
    assert one.told(ALICE) == other.told(ALICE)
    assert one.all_secrets(ALICE) == other.all_secrets(ALICE)
    assert one.spent(ALICE) == other.spent(ALICE)


def test_a_long_burst_goes_by_batches() -> None:
    """The same messages and keys as one by one, in fewer transactions."""
    one, other = met(), met()
    sent: list[WireMessage] = []
    one.encrypt_all(ALICE, BOB, b"lost", inprocess.BATCH, sent)
    assert sent == [other.encrypt(ALICE, BOB, b"lost") for _ in range(inprocess.BATCH)]
    ends = [
        {key: row.value for key, row in world._parties[ALICE].store.inner.snapshot()[Table.SESSION].items()}
        for world in (one, other)
    ]
    assert ends[0] == ends[1]
    assert one._parties[ALICE].store.inner.revision < other._parties[ALICE].store.inner.revision


def test_many_messages_end_at_a_refusal() -> None:
    """What was sent before is handed over; the refusal is the caller's."""
    world = made(ALICE, BOB)
    sent: list[WireMessage] = []
    with pytest.raises(Refused, match="no-session"):
        world.encrypt_all(ALICE, BOB, b"lost", 3, sent)
    assert sent == []


def test_the_hint_is_the_key_that_was_spent() -> None:
    """The chain key of each message sent, of first messages too: it makes the code at the message's end."""
    world = met()
    keys = {party: world._parties[party].device.identity_key.serialize() for party in (ALICE, BOB)}  # type: ignore[union-attr]
    for sender, receiver in ((ALICE, BOB), (ALICE, BOB), (BOB, ALICE)):
        signal = inner_data(world.encrypt(sender, receiver, b"text"))
        names = {"sender": keys[sender], "receiver": keys[receiver]}
        assert proven(world.spent(sender), signal, **names, derived=Derivations()) is not None
        assert proven(world.spent(receiver), signal, **names, derived=Derivations()) is None


# -- determinism ------------------------------------------------------------------------------------------------------


def everything() -> Trace:
    """A trace with every kind of operation, every change, every forgery and every sort of made-up bytes."""
    ops: list[Op] = [*TALKED, op(Kind.ESTABLISH, actor=CAROL, peer=BOB), op(Kind.SEND, actor=CAROL, peer=BOB), SEND]
    ops += [op(Kind.TAMPER, message=message, field=field) for message in (2, 3) for field in range(len(TAMPERS))]
    ops += [op(Kind.FORGE_BUNDLE, actor=ALICE, peer=CAROL, how=how) for how in range(len(FORGERIES))]
    ops += [op(Kind.INJECT, to=BOB, sender=ALICE, what=what, how=what) for what in range(len(JUNK))]
    ops += [op(Kind.BURST, actor=ALICE, peer=BOB, count=5), SEND, op(Kind.DUPLICATE), op(Kind.DROP, index=1), DELIVER]
    ops += [op(Kind.REDIRECT, message=0, to=CAROL, sender=ALICE), op(Kind.REPLAY, message=1), op(Kind.NOP)]
    ops += [op(Kind.CRASH, actor=BOB, at=15), ANSWER, op(Kind.RESTART, actor=ALICE), op(Kind.INSPECT, actor=BOB)]
    ops += [op(Kind.REINSTALL, actor=BOB), op(Kind.APPROVE, actor=ALICE, peer=BOB), MEET, SEND, DELIVER]
    ops += [op(Kind.CALLBACK, actor=ALICE, callback=0, how=how) for how in range(len(ANSWERS))]
    ops += [op(Kind.ROTATE, actor=BOB), op(Kind.CLOCK, days=31), op(Kind.MAINTAIN, actor=BOB)]
    ops += [op(Kind.FORGET, actor=ALICE, peer=BOB), op(Kind.COMPATIBILITY, actor=BOB, option=3)]
    ops += [step for table in range(len(TABLES)) for step in (op(Kind.DAMAGE, actor=ALICE, table=table), SEND)]
    ops += [op(Kind.COMPROMISE, actor=ALICE), Op(Kind.ATTACK)]
    ops += [op(Kind.STORE_FAULT, actor=ALICE), SEND, op(Kind.RIVAL, actor=ALICE), SEND]
    ops += [step for how in range(len(MEDIA)) for step in (op(Kind.MEDIUM, actor=ALICE, table=3, how=how), SEND)]
    ops += [op(Kind.GROUP_LAYOUT, group=1, layout=1)]
    ops += [op(Kind.GROUP_CREATE, actor=ALICE), op(Kind.GROUP_JOIN, actor=BOB), op(Kind.GROUP_SEND, actor=ALICE)]
    ops += [op(Kind.GROUP_TAMPER, actor=BOB, field=field) for field in range(len(GROUP_TAMPERS))]
    ops += [op(Kind.GROUP_DELIVER, actor=BOB), op(Kind.GROUP_REDIRECT, actor=BOB, sender=CAROL)]
    for at, how in enumerate(range(len(SMUGGLES)), 1):
        ops += [op(Kind.GROUP_SMUGGLE, sender=ALICE, how=how), op(Kind.GROUP_JOIN, actor=BOB, distribution=at)]
    ops += [op(Kind.GROUP_CRAFT, ahead=2), op(Kind.GROUP_DELIVER, actor=BOB, message=1)]
    ops += [op(Kind.GROUP_MEMBERS, actor=ALICE, mask=7), op(Kind.GROUP_MEMBERS, actor=ALICE, mask=2)]
    ops += [op(Kind.GROUP_SHARE, actor=ALICE), op(Kind.GROUP_CAME, actor=ALICE)]
    ops += [op(Kind.GROUP_ROTATE, actor=ALICE), op(Kind.GROUP_FORGET, actor=BOB, peer=ALICE), Op(Kind.ATTACK)]
    assert {operation.kind for operation in ops} == set(Kind)
    return Trace(tuple(ops), seed=11)


def test_one_seed_one_transcript() -> None:
    """ "One seed gives one transcript, byte for byte": equal histories, digests included, from two worlds."""
    one, other = (run_trace(InProcessTarget(), everything()) for _ in range(2))
    assert one == other
    assert len({event.after.digest for event in one.events if event.after}) > 20
    assert judge(one)[0] == []


@pytest.mark.parametrize("seed", range(6))
def test_one_seed_one_transcript_on_walks(seed: int) -> None:
    """The same for traces that nobody chose; and the reference breaks nothing on them."""
    for trace in islice(traces(seed), 4):
        one = run_trace(InProcessTarget(), trace)
        assert run_trace(InProcessTarget(), trace) == one
        assert judge(one)[0] == []


def test_another_seed_another_transcript() -> None:
    """Seeds, and parties of one world, have randomness of their own."""
    one, other = run(*TALKED, seed=1), run(*TALKED, seed=2)
    assert one.events[1].header != other.events[1].header
    keys = [InProcessTarget().world(seed) for seed in (1, 2)]
    identities = {
        world.create(party, name=PARTIES[party], device_id=1, trust_on_first_use=True)
        for world in keys
        for party in range(3)
    }
    assert len(identities) == 6


def test_seeded_randomness() -> None:
    """The same bytes for the same seed and draw, of the length asked for; a copy goes on as the source would."""
    one, other = SeededRng(b"seed"), SeededRng(b"seed")
    drawn = [one(size) for size in (2, 32, 64, 32)]
    assert drawn == [other(size) for size in (2, 32, 64, 32)]
    assert [len(data) for data in drawn] == [2, 32, 64, 32]
    assert drawn[1] != drawn[3]
    copy = one.copy()
    assert copy(32) == one(32)
    assert SeededRng(b"another")(2) != drawn[0]


# -- what it says of itself -------------------------------------------------------------------------------------------


def test_declared_limits_are_the_library_s() -> None:
    """ "The limits that a target declares; the model takes them": those of the catalogue, all stated."""
    assert (LIMITS.forward_jump, LIMITS.kept_per_chain, LIMITS.kept_per_session) == (25_000, 2_000, 8_000)
    assert (LIMITS.receiving_chains, LIMITS.archived_sessions) == (5, 40)
    assert LIMITS.derivations_per_message is not None
    assert HELLO.level is Observe.DISK
    assert InProcessTarget().hello == HELLO
    assert (LIMITS.sender_chains, LIMITS.retired_chains) == (5, 1_000)


# -- observation ------------------------------------------------------------------------------------------------------


def test_equal_digests_equal_state() -> None:
    """ "equal digests mean equal state": a store with the same rows has the same digest, one changed row another."""
    world = met()
    inner = world._parties[BOB].store.inner
    digest = world.observe(BOB).digest
    assert ObservedStore(inner.fork()).digest() == digest
    assert ObservedStore(MemoryStore()).digest() != digest
    for table, rows in stored(world, BOB).items():
        for key in rows:
            fork = ObservedStore(inner.fork())
            with fork.transaction() as tx:
                row = tx.get(table, key)
                assert row is not None
                tx.delete(table, key, version=row.version)
            assert fork.digest() != digest


def test_the_digest_is_kept_in_step() -> None:
    """The digest after many operations is the one that all rows together give, for every party and every step."""
    world = met()
    for _ in range(3):
        late = world.encrypt(ALICE, BOB, b"late")
        world.decrypt(BOB, ALICE, world.encrypt(ALICE, BOB, b"early"))
        world.decrypt(BOB, ALICE, late)
        world.decrypt(ALICE, BOB, world.encrypt(BOB, ALICE, b"answer"))
        world.establish(ALICE, BOB, world.bundle(BOB, one_time=True))
        for party in (ALICE, BOB):
            store = world._parties[party].store
            anew = ObservedStore(store.inner)
            assert store.digest() == anew.digest()
            assert +store.kept_chain == +anew.kept_chain
            assert +store.kept_session == +anew.kept_session
            assert +store.sessions == +anew.sessions
            assert (store.chains, store.prekeys) == (anew.chains, anew.prekeys)


def test_counts() -> None:
    """L1: "ids and counts of retained keys": prekeys, archived sessions, receiving chains, kept keys."""
    world = made(ALICE, BOB)
    seen = world.observe(BOB)
    assert (seen.prekeys, seen.sessions, seen.chains, seen.kept_chain, seen.kept_session) == ((), 0, 0, 0, 0)
    bundles = [world.bundle(BOB, one_time=True) for _ in range(3)]
    ids = tuple(sorted(bundle.prekey_id or 0 for bundle in bundles))
    assert world.observe(BOB).prekeys == ids
    world.establish(ALICE, BOB, bundles[0])
    skipped = [world.encrypt(ALICE, BOB, b"skipped") for _ in range(4)]
    world.decrypt(BOB, ALICE, world.encrypt(ALICE, BOB, b"first"))
    seen = world.observe(BOB)
    assert (seen.prekeys, seen.sessions, seen.chains) == (ids[1:], 0, 1)
    assert (seen.kept_chain, seen.kept_session) == (4, 4)
    # The other way round, and a second chain with two keys kept.
    world.decrypt(ALICE, BOB, world.encrypt(BOB, ALICE, b"answer"))
    for _ in range(2):
        world.encrypt(ALICE, BOB, b"lost")
    world.decrypt(BOB, ALICE, world.encrypt(ALICE, BOB, b"second"))
    world.decrypt(BOB, ALICE, skipped[0])
    seen = world.observe(BOB)
    assert (seen.chains, seen.kept_chain, seen.kept_session) == (2, 3, 5)
    # A second session archives the first.
    world.establish(ALICE, BOB, bundles[1])
    world.decrypt(BOB, ALICE, world.encrypt(ALICE, BOB, b"anew"))
    seen = world.observe(BOB)
    assert (seen.prekeys, seen.sessions, seen.kept_session) == (ids[2:], 1, 5)


def test_a_session_more_for_each_peer_is_not_archived() -> None:
    """ "Archived sessions held for the peer that has the most": two peers with one session each have none archived."""
    world = made(ALICE, BOB, CAROL)
    for peer in (BOB, CAROL):
        world.establish(ALICE, peer, world.bundle(peer, one_time=True))
    assert world.observe(ALICE).sessions == 0


def test_what_was_durable() -> None:
    """ "Whether what the last operation changed was durable when it returned": a refused one stored nothing."""
    world = met()
    message = world.encrypt(ALICE, BOB, b"text")
    assert world.observe(ALICE).durable is True
    with pytest.raises(Refused):
        world.decrypt(BOB, ALICE, WireMessage("signal", message.data[:-1] + b"\0"))
    assert world.observe(BOB).durable is False


def test_the_work_is_counted() -> None:
    """ "Chain steps and key derivations that the last operation caused": worked out by hand from the Double Ratchet."""
    world = met()
    sent = [world.encrypt(ALICE, BOB, b"text") for _ in range(4)]
    # One chain step, one key derivation.
    assert world.observe(ALICE).work == 2
    # A new ratchet key: two root steps; one chain step, one key derivation.
    world.decrypt(BOB, ALICE, sent[0])
    assert world.observe(BOB).work == 4
    # Two messages skipped: three chain steps, one key derivation.
    world.decrypt(BOB, ALICE, sent[3])
    assert world.observe(BOB).work == 4
    # A kept seed: its key derivation alone.
    world.decrypt(BOB, ALICE, sent[1])
    assert world.observe(BOB).work == 1
    # A duplicate: nothing is derived.
    with pytest.raises(Refused, match="duplicate-message"):
        world.decrypt(BOB, ALICE, sent[1])
    assert world.observe(BOB).work == 0


def test_counting_leaves_the_library_as_it_was() -> None:
    """The counters are taken out again, also after an error."""
    before = (kdf.step_chain, kdf.root_step, kdf.message_keys)

    def fails() -> None:
        kdf.step_chain(bytes(32))
        kdf.root_step(bytes(32), bytes(32))
        kdf.message_keys(bytes(32))
        raise ZeroDivisionError

    work = Work()
    with pytest.raises(ZeroDivisionError), work:
        fails()
    assert work.count == 3
    assert (kdf.step_chain, kdf.root_step, kdf.message_keys) == before


def test_the_secrets_are_those_of_the_sessions() -> None:
    """L2: root, sending chain, own ratchet key, receiving chains and kept seeds; no identity key, no prekey."""
    world = met()
    lost = world.encrypt(ALICE, BOB, b"skipped")
    world.decrypt(BOB, ALICE, world.encrypt(ALICE, BOB, b"read"))
    seen, found = world.observe(BOB), list(world.secrets(BOB))
    assert lost
    assert len(found) == len(set(found)) == 3 + (seen.chains or 0) + (seen.kept_session or 0)
    assert all(len(secret) == 32 for secret in found)
    rows = stored(world, BOB)
    sessions = b"".join(row.value for row in rows[Table.SESSION].values())
    seeds = {row.value for row in rows[Table.SKIPPED_KEY].values()}
    assert all(secret in sessions or secret in seeds for secret in found)
    elsewhere = b"".join(row.value for table in (Table.LOCAL, Table.PREKEY) for row in rows[table].values())
    assert elsewhere
    assert not any(secret in elsewhere for secret in found)
    # Two sessions: those of both.
    world.establish(BOB, ALICE, world.bundle(ALICE, one_time=True))
    assert set(found) < set(world.secrets(BOB))


# -- what comes out ---------------------------------------------------------------------------------------------------


def test_refusals_carry_the_library_s_code() -> None:
    """A `ProtocolError` is a refusal with its code; its text says no more than the library's."""
    world = met()
    message = world.encrypt(ALICE, BOB, b"text")
    with pytest.raises(Refused) as caught:
        world.decrypt(BOB, ALICE, replace(message, data=message.data[:-1] + bytes([message.data[-1] ^ 1])))
    assert caught.value.code == BadMac.code == "bad-mac"
    with pytest.raises(Refused, match="invalid-key"):
        world.establish(ALICE, BOB, replace(world.bundle(BOB, one_time=True), signed_prekey=b"\x06" + bytes(32)))


def test_bundles_cross_the_boundary_whole() -> None:
    """A bundle is bytes and numbers on the way, and is the same for the library at the other end."""
    world = made(ALICE, BOB)
    bundle = world.bundle(BOB, one_time=False)
    assert isinstance(bundle, Bundle)
    assert (bundle.prekey_id, bundle.prekey, len(bundle.signature)) == (None, None, 64)
    assert {len(bundle.identity_key), len(bundle.signed_prekey)} == {33}
    world.establish(ALICE, BOB, bundle)
    message = world.encrypt(ALICE, BOB, b"text")
    assert message.kind == "prekey"
    assert world.decrypt(BOB, ALICE, message) == b"text"


class _Raises(Variant):
    """A device that raises what is no refusal."""

    name = "raises"

    def device(self, store: Store, setup: Setup) -> DeviceLike:
        inner = super().device(store, setup)

        def encrypt(peer: ProtocolAddress, plaintext: bytes) -> None:
            raise KeyError("not a refusal")

        inner.encrypt = encrypt  # type: ignore[method-assign,assignment]
        return inner


def test_other_exceptions_are_bugs() -> None:
    """ "raised something that is not a refusal": DIED, with its type."""
    history = run_trace(InProcessTarget(_Raises()), Trace((MEET, SEND)))
    event = history.events[-1]
    assert (event.outcome, event.text) == (Outcome.DIED, "KeyError: 'not a refusal'")
    assert [found.invariant.id for found in judge(history)[0]] == ["PAR-01"]
    assert issubclass(Misbehaved, Exception)


# -- crashes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", range(16))
@pytest.mark.parametrize(
    ("before", "crashing"),
    [((MEET, SEND), DELIVER), ((MEET,), SEND), ((), MEET), (TALKED, SEND), ((*TALKED, SEND), DELIVER)],
)
def test_a_crash_at_every_step(at: int, before: tuple[Op, ...], crashing: Op) -> None:
    """ATM-01: "After a crash at any point, the reopened store holds exactly the state before or exactly the state after";
    and the conversation goes on (CTR-08).
    """
    actor = BOB if crashing.kind is Kind.DELIVER else ALICE
    history = run(*before, op(Kind.CRASH, actor=actor, at=at), crashing, crashing, closing=True)
    event = history.events[len(before) + 1]
    if event.outcome is Outcome.CRASHED:
        assert event.before is not None
        assert event.after is not None
        assert event.after.digest == (event.complete if at == AFTER_COMMIT else event.before.digest)
        assert event.complete != event.before.digest
    else:
        assert event.outcome is Outcome.DONE
        assert event.crash_armed
    assert judge(history)[0] == []


def test_crash_points() -> None:
    """Crash points 0 to 13 are the store's calls, 14 is before the commit and 15 behind it: each kind is reached."""
    reached = {
        at
        for at in range(16)
        if run(MEET, SEND, op(Kind.CRASH, actor=BOB, at=at), DELIVER).events[-1].outcome is Outcome.CRASHED
    }
    assert {0, 1, 2, BEFORE_COMMIT, AFTER_COMMIT} <= reached
    # The calls that the operation makes, without a gap.
    calls = sorted(reached - {BEFORE_COMMIT, AFTER_COMMIT})
    assert calls == list(range(len(calls)))


def test_a_crash_is_one_crash() -> None:
    """A crash point strikes once; one that was not reached is taken back."""
    world = met()
    message = world.encrypt(ALICE, BOB, b"text")
    world.arm_crash(BOB, 0)
    with pytest.raises(SimulatedCrash):
        world.decrypt(BOB, ALICE, message)
    world.restart(BOB)
    assert world.decrypt(BOB, ALICE, message) == b"text"
    world.arm_crash(BOB, 13)
    world.encrypt(BOB, ALICE, b"short")
    assert world.disarm_crash(BOB) is True
    assert world.disarm_crash(BOB) is False
    world.encrypt(BOB, ALICE, b"short")


def test_what_completing_would_have_left() -> None:
    """The digest after the same operation without the crash, randomness included: the one that a run without it gives."""
    sound = run(MEET, SEND, DELIVER)
    crashed = run(MEET, SEND, op(Kind.CRASH, actor=BOB, at=3), DELIVER)
    assert crashed.events[-1].outcome is Outcome.CRASHED
    assert sound.events[-1].after is not None
    assert crashed.events[-1].complete == sound.events[-1].after.digest


def test_a_restart_loses_nothing() -> None:
    """RESTART: "open the party again from what is durable": the same state, and the conversation goes on."""
    history = run(*TALKED, op(Kind.RESTART, actor=ALICE), SEND, DELIVER)
    event = history.events[5]
    assert event.before is not None
    assert event.after is not None
    assert event.before.digest == event.after.digest
    assert Counter(event.outcome for event in history.events) == {Outcome.DONE: 8}


def test_a_reinstallation_loses_everything() -> None:
    """REINSTALL: "loses its store and starts again with a new identity under the same name"."""
    world = met()
    old = world.bundle(BOB, one_time=False).identity_key
    new = world.reinstall(BOB)
    assert new != old
    assert world.bundle(BOB, one_time=False).identity_key == new
    assert world.secrets(BOB) == []
    assert world.observe(BOB).prekeys == ()


def test_strict_parties() -> None:
    """ "Without trust on first use, only identities that were handed to `approve` are accepted"."""
    history = run(MEET, op(Kind.APPROVE, actor=ALICE, peer=BOB), MEET, strict=0b001)
    assert [event.code for event in history.events] == ["untrusted-identity", None, None]


# -- a store that refuses, or that another process has open -----------------------------------------------------------


@pytest.mark.parametrize("how", range(len(STORE_FAULTS)), ids=STORE_FAULTS)
def test_a_fault_strikes_at_every_call(how: int) -> None:
    """The call is refused where it was armed, and the step with it; a fault that was not reached is no fault."""
    struck = []
    for at in range(16):
        event = run(MEET, SEND, op(Kind.STORE_FAULT, actor=BOB, at=at, how=how), DELIVER).events[-1]
        if event.fault is None:
            assert event.outcome is Outcome.DONE
            continue
        struck.append(at)
        # A conflict is answered by a second try; anything else is told.
        retried = STORE_FAULTS[how] == "conflict"
        outcome = Outcome.DONE if retried else Outcome.REFUSED
        assert (event.fault, event.outcome, event.changed) == (STORE_FAULTS[how], outcome, retried)
    # Each call of the operation, without a gap, and its commit, which there is no behind.
    assert struck == [*range(len(struck) - 2), BEFORE_COMMIT, AFTER_COMMIT]
    assert len(struck) > 5


def test_a_fault_waits_for_an_operation_that_it_can_strike() -> None:
    """Where a crash is armed too, the crash comes first; what only looks at a party uses up neither."""
    fault, crash = op(Kind.STORE_FAULT, actor=BOB), op(Kind.CRASH, actor=BOB)
    history = run(MEET, SEND, fault, crash, op(Kind.INSPECT, actor=BOB), DELIVER, op(Kind.REPLAY), op(Kind.REPLAY))
    assert [event.outcome.value for event in history.events[-3:]] == ["crashed", "refused", "done"]
    assert history.events[-2].fault == "fails"


def test_another_process_sends_first() -> None:
    """What the other process sent has the counter that was due; the step is taken again, and takes the next one."""
    history = run(*TALKED, op(Kind.RIVAL, actor=ALICE), SEND, SEND, DELIVER)
    first, second = history.events[6:8]
    assert first.rival is not None
    assert first.rival.sent is not None
    assert first.header is not None
    assert first.header.counter == first.rival.sent.counter + 1
    assert second.header is not None
    assert second.header.counter == first.rival.sent.counter + 2
    assert judge(history)[0] == []


def test_another_process_reads_first() -> None:
    """The message is read once, by whoever was faster, and its one-time prekey serves once."""
    history = run(MEET, SEND, op(Kind.RIVAL, actor=BOB, how=1), DELIVER, op(Kind.REPLAY), ANSWER, DELIVER)
    read, again = history.events[3:5]
    assert read.rival is not None
    assert read.rival.changed
    assert (read.outcome, again.outcome) == (Outcome.REFUSED, Outcome.REFUSED)
    assert again.code == "duplicate-message"
    assert again.after is not None
    assert again.after.prekeys == ()
    assert judge(history)[0] == []


def test_another_process_needs_something_to_come_between() -> None:
    """A step that writes nothing, and one in which there is no message to be read, are not contended."""
    refused = run(*TALKED, op(Kind.RIVAL, actor=BOB), op(Kind.REPLAY)).events[-1]
    assert (refused.code, refused.rival) == ("duplicate-message", None)
    sent = run(*TALKED, op(Kind.RIVAL, actor=ALICE, how=1), SEND).events[-1]
    assert (sent.outcome, sent.rival) == (Outcome.DONE, None)


def test_an_open_transaction_sees_its_own_writes_and_notices_others() -> None:
    """ "Sees this transaction's own writes"; at the commit, whatever it read must still be so."""
    store = MemoryStore()
    with store.transaction() as rows:
        rows.put(Table.PREKEY, b"1", b"one", version=0)
        rows.put(Table.PREKEY, b"2", b"two", version=0)
    mine = OpenTransaction(store)
    mine.delete(Table.PREKEY, b"1", version=1)
    assert mine.put(Table.PREKEY, b"3", b"three", version=0) == 1
    assert [key for key, _ in mine.scan(Table.PREKEY, b"")] == [b"2", b"3"]
    assert [key for key, _ in mine.scan(Table.PREKEY, b"", limit=1)] == [b"2"]
    assert (mine.count(Table.PREKEY, b""), mine.get(Table.PREKEY, b"1")) == (2, None)
    for stale in (
        lambda: mine.put(Table.PREKEY, b"2", b"", version=2),
        lambda: mine.delete(Table.PREKEY, b"1", version=1),
    ):
        with pytest.raises(Conflict):
            stale()
    with store.transaction() as rows:
        rows.put(Table.PREKEY, b"4", b"four", version=0)
    # It had counted the rows, and there is one more.
    with pytest.raises(Conflict):
        mine.commit()
    assert set(store.snapshot()[Table.PREKEY]) == {b"1", b"2", b"4"}


def test_an_open_transaction_is_committed_whole() -> None:
    """Where nobody came between, its writes are there, at their versions."""
    store = MemoryStore()
    mine = OpenTransaction(store)
    assert not mine.writes
    mine.put(Table.PREKEY, b"1", b"one", version=0)
    mine.put(Table.PREKEY, b"1", b"two", version=1)
    mine.put(Table.PREKEY, b"2", b"", version=0)
    mine.delete(Table.PREKEY, b"2", version=1)
    assert mine.writes
    mine.commit()
    assert dict(store.snapshot()[Table.PREKEY]) == {b"1": Row(b"two", 2)}
