"""The driver of libsignal-c in sessions: what it declares is what the peer does. For groups see test_group_peers.py."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from pawl.crypto.keys import KeyPair
from pawl_gate.attacker import key_pair
from pawl_gate.targets.base import Refused, SimulatedCrash, WireMessage
from pawl_gate.targets.driver import DriverTarget, DriverWorld
from pawl_gate.targets.registry import drivers_folder, find_target
from pawl_gate.wire_view import header
from pawl_spec.history import Observation
from pawl_spec.trace import PARTIES

pytestmark = pytest.mark.c_peer

PROGRAM = drivers_folder() / "libsignal-c" / "build" / "driver"
ALICE, BOB, CAROL = range(3)


@pytest.fixture(scope="module")
def target() -> Iterator[DriverTarget]:
    """The peer, driven for the whole module."""
    found = find_target("libsignal-c")
    assert isinstance(found, DriverTarget)
    with closing(found):
        yield found


def parties(target: DriverTarget, *, tofu: bool = True) -> DriverWorld:
    """Alice, Bob and Carol, who do not know each other."""
    world = target.world(1)
    keys = {world.create(party, name=name, device_id=1, trust_on_first_use=tofu) for party, name in enumerate(PARTIES)}
    assert len(keys) == len(PARTIES)
    return world


def rekey(world: DriverWorld, *, one_time: bool = True) -> None:
    """Alice begins a session with Bob, who answers."""
    world.establish(ALICE, BOB, world.bundle(BOB, one_time=one_time))
    assert world.decrypt(BOB, ALICE, world.encrypt(ALICE, BOB, b"hello")) == b"hello"
    assert world.decrypt(ALICE, BOB, world.encrypt(BOB, ALICE, b"hello")) == b"hello"


def acquainted(target: DriverTarget) -> DriverWorld:
    """Alice and Bob, with a session that both have used."""
    world = parties(target)
    rekey(world)
    return world


def seen(world: DriverWorld, party: int) -> Observation:
    """What is observed of a party."""
    observed = world.observe(party)
    assert observed is not None
    return observed


def refused(call: object, *args: object, **kwargs: object) -> str:
    """The code with which a call is refused."""
    assert callable(call)
    with pytest.raises(Refused) as refusal:
        call(*args, **kwargs)
    return refusal.value.code


def forged(message: WireMessage) -> WireMessage:
    """The message with a wrong MAC; that of a prekey message is inside, before the fields 5 and 6 of two bytes or more."""
    if message.kind == "signal":
        return replace(message, data=message.data[:-1] + bytes([message.data[-1] ^ 1]))
    end = message.data.rindex(b"\x28")
    return replace(message, data=message.data[: end - 1] + bytes([message.data[end - 1] ^ 1]) + message.data[end:])


def test_what_is_declared(target: DriverTarget) -> None:
    """Sessions and groups in one target, a crash before each call of the store, and keys that are put in."""
    assert target.hello.sessions
    assert target.hello.capabilities == {
        *("approve", "crash", "reinstall", "restart", "strict-identity", "work", "import-keys", "inject-keys"),
        *("groups", "group-rotate"),
    }


def test_the_forward_jump_is_the_declared_one(target: DriverTarget) -> None:
    """Driver contract: forward_jump is the largest accepted difference between a counter and the next expected one."""
    jump = target.hello.limits.forward_jump
    assert jump == 2_000
    for skipped, accepted in ((jump, True), (jump + 1, False)):
        world = acquainted(target)
        for _ in range(skipped):
            world.encrypt(ALICE, BOB, b"")
        message = world.encrypt(ALICE, BOB, b"last")
        before = seen(world, BOB)
        if accepted:
            assert world.decrypt(BOB, ALICE, message) == b"last"
            after = seen(world, BOB)
            assert (after.kept_chain, after.kept_session, after.chains) == (jump, jump, 2)
        else:
            assert refused(world.decrypt, BOB, ALICE, message) == "too-far-ahead"
            assert seen(world, BOB).digest == before.digest


def test_the_kept_keys_are_the_declared_ones(target: DriverTarget) -> None:
    """Driver contract: as many keys are kept in a chain as is declared, the oldest goes first."""
    kept = target.hello.limits.kept_per_chain
    assert kept == 2_000
    world = acquainted(target)
    first, second = ([world.encrypt(ALICE, BOB, b"%d" % at) for at in range(kept + 1)] for _ in range(2))
    assert world.decrypt(BOB, ALICE, first[-1]) == b"%d" % kept
    assert world.decrypt(BOB, ALICE, second[1]) == b"1"
    assert seen(world, BOB).kept_chain == kept
    assert refused(world.decrypt, BOB, ALICE, first[0]) == "duplicate-message"
    assert world.decrypt(BOB, ALICE, first[1]) == b"1"


def test_the_receiving_chains_are_the_declared_ones(target: DriverTarget) -> None:
    """Driver contract: as many receiving chains are held as is declared; the oldest goes first, with what it keeps."""
    most = target.hello.limits.receiving_chains
    assert most == 5
    world, passed = acquainted(target), []
    for _ in range(most + 1):
        passed.append(world.encrypt(ALICE, BOB, b"late"))
        assert world.decrypt(BOB, ALICE, world.encrypt(ALICE, BOB, b"a")) == b"a"
        assert world.decrypt(ALICE, BOB, world.encrypt(BOB, ALICE, b"b")) == b"b"
    assert seen(world, BOB).chains == most
    assert seen(world, BOB).kept_session == most
    assert [world.decrypt(BOB, ALICE, message) for message in passed[1:]] == [b"late"] * most
    assert refused(world.decrypt, BOB, ALICE, passed[0])


def test_the_archived_sessions_are_the_declared_ones(target: DriverTarget) -> None:
    """Driver contract: beside the current session as many are held as is declared; the oldest goes first."""
    most = target.hello.limits.archived_sessions
    assert most == 40
    world, passed = parties(target), []
    for _ in range(most + 2):
        rekey(world)
        passed.append(world.encrypt(ALICE, BOB, b"late"))
    assert seen(world, BOB).sessions == most
    assert refused(world.decrypt, BOB, ALICE, passed[0]) == "bad-mac"
    assert world.decrypt(BOB, ALICE, passed[1]) == b"late"


def test_a_late_message_makes_its_session_the_current_one(target: DriverTarget) -> None:
    """Driver contract: promotes "always" - receiving on an archived session makes it current, on a known chain too."""
    assert target.hello.profile.promotes == "always"
    world = acquainted(target)
    late = [world.encrypt(ALICE, BOB, b"late") for _ in range(2)]
    world.decrypt(BOB, ALICE, late[0])
    former = header(world.encrypt(BOB, ALICE, b"")).ratchet_key
    rekey(world)
    assert header(world.encrypt(BOB, ALICE, b"")).ratchet_key != former
    assert world.decrypt(BOB, ALICE, late[1]) == b"late"
    assert header(world.encrypt(BOB, ALICE, b"")).ratchet_key == former
    assert seen(world, BOB).sessions == 1


def test_a_former_chain_stays_open(target: DriverTarget) -> None:
    """Driver contract: closes_chains false - what was sent on a former chain after its last message is read as ever."""
    assert not target.hello.profile.closes_chains
    world = acquainted(target)
    late = world.encrypt(ALICE, BOB, b"late")
    world.decrypt(ALICE, BOB, world.encrypt(BOB, ALICE, b"b"))
    assert world.decrypt(BOB, ALICE, world.encrypt(ALICE, BOB, b"new chain")) == b"new chain"
    assert world.decrypt(BOB, ALICE, late) == b"late"


def test_refusals_have_our_code_where_the_peer_says_the_cause(target: DriverTarget) -> None:
    """Driver contract: a code where the peer's answer tells the cause, else "unknown"; none changes what is stored."""
    world = parties(target)
    # The peer's error for this is its general one.
    assert refused(world.encrypt, ALICE, BOB, b"") == "unknown"
    bundle = world.bundle(BOB, one_time=True)
    for changed, code in (
        ({"signature": bytes(64)}, "invalid-signature"),
        ({"signed_prekey": bytes(33)}, "invalid-key"),
        ({"identity_key": bundle.identity_key[1:]}, "invalid-key"),
    ):
        before = seen(world, ALICE).digest
        assert refused(world.establish, ALICE, BOB, replace(bundle, **changed)) == code
        assert seen(world, ALICE).digest == before
    world.establish(ALICE, BOB, bundle)
    world.establish(CAROL, BOB, bundle)
    first, second = (world.encrypt(ALICE, BOB, b"m") for _ in range(2))
    assert refused(world.decrypt, BOB, ALICE, forged(first)) == "bad-mac"
    assert world.decrypt(BOB, ALICE, first) == b"m"
    known = seen(world, BOB).digest
    assert refused(world.decrypt, BOB, ALICE, first) == "duplicate-message"
    assert refused(world.decrypt, BOB, CAROL, world.encrypt(CAROL, BOB, b"m")) == "unknown-prekey"
    for data, code in (
        (second.data[:40], "malformed-message"),
        (b"\x43" + second.data[1:], "unknown-version"),
        (b"\x23" + second.data[1:], "unknown-version"),
        (b"", "unknown"),
    ):
        assert refused(world.decrypt, BOB, ALICE, WireMessage("prekey", data)) == code
    assert seen(world, BOB).digest == known
    assert world.decrypt(BOB, ALICE, second) == b"m"
    signal = world.encrypt(BOB, ALICE, b"m")
    assert refused(world.decrypt, CAROL, BOB, signal) in ("bad-mac", "no-session")
    assert refused(world.decrypt, ALICE, BOB, forged(signal)) == "bad-mac"
    lost = world.reinstall(BOB)
    assert refused(world.decrypt, BOB, ALICE, world.encrypt(ALICE, BOB, b"m")) == "unknown-signed-prekey"
    assert refused(world.establish, ALICE, BOB, world.bundle(BOB, one_time=False)) == "untrusted-identity"
    assert lost == world.bundle(BOB, one_time=False).identity_key


def test_causes_that_differ_are_not_one_cause(target: DriverTarget) -> None:
    """Driver contract: do not guess. A repeat on an archived session fails on the current one for another reason."""
    world = acquainted(target)
    message = world.encrypt(ALICE, BOB, b"m")
    world.decrypt(BOB, ALICE, message)
    assert refused(world.decrypt, BOB, ALICE, message) == "duplicate-message"
    rekey(world)
    assert refused(world.decrypt, BOB, ALICE, message) == "unknown"


def test_strict_parties_take_only_what_was_approved(target: DriverTarget) -> None:
    """World.create: without trust on first use, only identities that were handed to `approve` are accepted."""
    world = parties(target, tofu=False)
    bundle = world.bundle(BOB, one_time=True)
    before = seen(world, ALICE).digest
    assert refused(world.establish, ALICE, BOB, bundle) == "untrusted-identity"
    assert seen(world, ALICE).digest == before
    world.approve(ALICE, BOB, bundle.identity_key)
    world.establish(ALICE, BOB, bundle)
    first = world.encrypt(ALICE, BOB, b"m")
    assert refused(world.decrypt, BOB, ALICE, first) == "untrusted-identity"
    world.approve(BOB, ALICE, world.bundle(ALICE, one_time=False).identity_key)
    assert world.decrypt(BOB, ALICE, first) == b"m"


def test_a_restart_keeps_what_is_stored(target: DriverTarget) -> None:
    """World.restart: the party is opened again from what is durable, and nothing of that is lost."""
    world = acquainted(target)
    before = seen(world, BOB).digest
    world.restart(BOB)
    assert seen(world, BOB).digest == before
    assert world.decrypt(BOB, ALICE, world.encrypt(ALICE, BOB, b"on")) == b"on"


def test_a_new_installation_has_another_identity(target: DriverTarget) -> None:
    """World.reinstall: the store is lost, the name stays, the identity is new and is trusted only when approved."""
    world = acquainted(target)
    key = world.reinstall(BOB)
    assert seen(world, BOB).prekeys == ()
    world.establish(BOB, ALICE, world.bundle(ALICE, one_time=True))
    message = world.encrypt(BOB, ALICE, b"new phone")
    assert refused(world.decrypt, ALICE, BOB, message) == "untrusted-identity"
    world.approve(ALICE, BOB, key)
    assert world.decrypt(ALICE, BOB, message) == b"new phone"


def test_used_prekeys_are_seen_to_go(target: DriverTarget) -> None:
    """Observation: the ids of the one-time prekeys still held."""
    world = parties(target)
    first = world.bundle(BOB, one_time=True)
    world.bundle(BOB, one_time=True)
    assert world.bundle(BOB, one_time=False).prekey_id is None
    assert seen(world, BOB).prekeys == (1, 2)
    world.establish(ALICE, BOB, first)
    world.decrypt(BOB, ALICE, world.encrypt(ALICE, BOB, b""))
    assert seen(world, BOB).prekeys == (2,)


def test_secrets_are_those_of_the_sessions(target: DriverTarget) -> None:
    """Driver contract, level 2: root key, chain keys and ratchet key; of a key that is kept, what is stored of it."""
    world = parties(target)
    world.bundle(ALICE, one_time=True)
    assert world.secrets(ALICE) == []
    rekey(world)
    held = world.secrets(BOB)
    # A root key, a private ratchet key, a chain key to send and one to receive with.
    assert len(set(held)) == len(held) == 4
    world.encrypt(ALICE, BOB, b"lost")
    assert world.decrypt(BOB, ALICE, world.encrypt(ALICE, BOB, b"m")) == b"m"
    # A chain begins, and of the message that was passed over there are the keys to its cipher and its MAC.
    assert len(set(world.secrets(BOB)) - set(held)) == 6 - 1 + 1
    world.group_create(ALICE, bytes(16))
    assert not set(world.group_secrets(ALICE)) & set(world.secrets(ALICE))


def test_work_is_counted(target: DriverTarget) -> None:
    """Observation.work: chain steps and key derivations. A message that is passed over takes two more."""
    world, work = acquainted(target), []
    for skipped in (0, 100):
        for _ in range(skipped):
            world.encrypt(ALICE, BOB, b"")
        world.decrypt(BOB, ALICE, world.encrypt(ALICE, BOB, b"m"))
        after = seen(world, BOB)
        assert after.durable is True
        work.append(after.work)
    # The first begins a chain: two root steps, and then a chain step and the message's own keys.
    assert work == [4, 2 + 2 * 100]


# -- crashes between the store's calls --------------------------------------------------------------------------------

CALLS = 9
"""Calls of the store in which a first message is read: the pin, the session and the prekey that goes are the last three."""


@pytest.mark.parametrize("at", range(16))
def test_a_crash_leaves_what_was_stored_before_it(target: DriverTarget, at: int) -> None:
    """README of the driver: a crash strikes before a call of the store; what was stored before stays, the rest is lost."""
    world = parties(target)
    world.establish(ALICE, BOB, world.bundle(BOB, one_time=True))
    message = world.encrypt(ALICE, BOB, b"hello")
    before = seen(world, BOB).digest
    world.arm_crash(BOB, at)
    if CALLS <= at < 15:
        # No call of this number: the operation ends as ever.
        assert world.decrypt(BOB, ALICE, message) == b"hello"
        assert world.disarm_crash(BOB) is True
        return
    with pytest.raises(SimulatedCrash):
        world.decrypt(BOB, ALICE, message)
    world.restart(BOB)
    after, complete = seen(world, BOB), world.complete_digest(BOB)
    assert world.disarm_crash(BOB) is False
    if at < CALLS - 2:
        assert (after.digest, after.prekeys) == (before, (1,))
        assert world.decrypt(BOB, ALICE, message) == b"hello"
    elif at < CALLS:
        # Between the three: the identity is pinned; the session is there, and its prekey too.
        assert after.digest not in (before, complete)
        assert (after.prekeys, after.chains) == ((1,), at - CALLS + 2)
    else:
        assert (after.digest, after.prekeys) == (complete, ())
    # Whoever crashed goes on.
    world.establish(BOB, ALICE, world.bundle(ALICE, one_time=True))
    assert world.decrypt(ALICE, BOB, world.encrypt(BOB, ALICE, b"on")) == b"on"


def test_a_crash_in_a_rotation_leaves_one_chain_or_the_other(target: DriverTarget) -> None:
    """README of the driver: the store's former record is replaced in one call, so that there is never none."""
    group = bytes(16)
    for at in (*range(4), 15):
        world = parties(target)
        old = world.group_create(ALICE, group)
        world.arm_crash(ALICE, at)
        try:
            world.group_rotate(ALICE, group)
        except SimulatedCrash:
            world.restart(ALICE)
            assert (world.group_create(ALICE, group) == old) is (at < 15)
        else:
            assert at in (2, 3)
            assert world.group_create(ALICE, group) != old


def test_whoever_crashed_is_restarted_first() -> None:
    """Driver contract, "Crashes": the gate sends `restart` next; nothing else is done for the party before it."""

    def ask(method: str, **params: object) -> bytes:
        return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode() + b"\n"

    group = "00" * 16
    lines = [
        ask("create", party=0, name="alice", device_id=1, trust_on_first_use=True),
        ask("arm_crash", party=0, at=15),
        ask("group_create", party=0, group=group),
        ask("group_create", party=0, group=group),
        ask("restart", party=0),
        ask("group_create", party=0, group=group),
    ]
    ran = subprocess.run([PROGRAM], input=b"".join(lines), capture_output=True, timeout=60)
    answers = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [answer["error"]["code"] if "error" in answer else 0 for answer in answers] == [0, 0, -32001, -32602, 0, 0]


# -- keys that are put in ----------------------------------------------------------------------------------------------


def test_keys_that_are_put_in_are_used(target: DriverTarget) -> None:
    """Driver contract: identity and prekeys are the given ones; the next operation draws the given keys, in order."""
    world = target.world(1)
    identity, signed, prekey, base, ratchet = (key_pair(label) for label in ("a", "b", "c", "d", "e"))

    def secret(pair: KeyPair) -> bytes:
        return pair.private.data

    def import_party(party: int, name: str) -> bytes:
        return world.import_party(
            party, name=name, device_id=1, trust_on_first_use=True, identity=secret(identity), registration_id=7
        )

    assert import_party(ALICE, "alice") == import_party(BOB, "bob") == identity.public.serialize()
    assert world.import_prekey(BOB, 9, private=secret(prekey)) == prekey.public.serialize()
    assert seen(world, BOB).prekeys == (9,)
    bundle = world.bundle(BOB, one_time=False)
    assert (bundle.registration_id, bundle.identity_key) == (7, identity.public.serialize())
    world.import_signed_prekey(BOB, 1, private=secret(signed), signature=bundle.signature)
    assert world.bundle(BOB, one_time=False).signed_prekey == signed.public.serialize()
    world.inject_keys(ALICE, [secret(base), secret(ratchet)])
    world.establish(ALICE, BOB, bundle)
    first = header(world.encrypt(ALICE, BOB, b"m"))
    assert first.ratchet_key == ratchet.public.serialize().hex()
    # What was put in is forgotten after the operation.
    world.establish(ALICE, BOB, bundle)
    assert header(world.encrypt(ALICE, BOB, b"m")).ratchet_key != first.ratchet_key
