"""The driver of node-libsignal: what it declares is what the peer does, and its findings are reproduced."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pawl_gate.targets.base import Refused, WireMessage
from pawl_gate.targets.driver import DriverTarget, DriverWorld
from pawl_gate.targets.registry import drivers_folder, find_target

pytestmark = pytest.mark.node_peer

FINDINGS = sorted((drivers_folder() / "node-libsignal" / "findings").glob("[a-z][a-z][a-z]-[0-9][0-9]-*.js"))
ALICE, BOB = 0, 1


@pytest.fixture(scope="module")
def target() -> Iterator[DriverTarget]:
    """The peer, driven for the whole module."""
    found = find_target("node-libsignal")
    assert isinstance(found, DriverTarget)
    yield found
    found.close()


def acquainted(target: DriverTarget, *, tofu: bool = True) -> DriverWorld:
    """Alice and Bob, with a session that both have used."""
    world = target.world(1)
    keys = [
        world.create(party, name=name, device_id=1, trust_on_first_use=tofu)
        for party, name in enumerate(("alice", "bob"))
    ]
    if not tofu:
        world.approve(ALICE, BOB, keys[BOB])
        world.approve(BOB, ALICE, keys[ALICE])
    world.establish(ALICE, BOB, world.bundle(BOB, one_time=True))
    assert world.decrypt(BOB, ALICE, world.encrypt(ALICE, BOB, b"hello")) == b"hello"
    assert world.decrypt(ALICE, BOB, world.encrypt(BOB, ALICE, b"hello")) == b"hello"
    return world


def refused(call: object, *args: object, **kwargs: object) -> Refused:
    """The refusal of a call."""
    assert callable(call)
    with pytest.raises(Refused) as refusal:
        call(*args, **kwargs)
    return refusal.value


def test_the_forward_jump_is_the_declared_one(target: DriverTarget) -> None:
    """Driver contract: forward_jump is the largest accepted difference between a counter and the next expected one."""
    assert target.hello.limits.forward_jump == 1999
    for skipped, accepted in ((1999, True), (2000, False)):
        world = acquainted(target)
        for _ in range(skipped):
            world.encrypt(ALICE, BOB, b"")
        message = world.encrypt(ALICE, BOB, b"last")
        before = world.observe(BOB)
        if accepted:
            assert world.decrypt(BOB, ALICE, message) == b"last"
            seen = world.observe(BOB)
            assert seen is not None
            # Kept keys are counted: every message that was skipped, all in one chain.
            assert (seen.kept_chain, seen.kept_session, seen.chains) == (skipped, skipped, 2)
        else:
            assert "Over 2000 messages" in refused(world.decrypt, BOB, ALICE, message).text
            assert world.observe(BOB) == before


def test_a_message_on_an_archived_session_promotes_nothing(target: DriverTarget) -> None:
    """Driver contract: promotes "never" - receiving on an archived session leaves the current one current."""
    assert target.hello.profile.promotes == "never"
    world = acquainted(target)
    late = world.encrypt(ALICE, BOB, b"late")
    world.establish(BOB, ALICE, world.bundle(ALICE, one_time=True))
    assert world.encrypt(BOB, ALICE, b"new").kind == "prekey"
    assert world.decrypt(BOB, ALICE, late) == b"late"
    assert world.encrypt(BOB, ALICE, b"new").kind == "prekey"
    seen = world.observe(BOB)
    assert seen is not None
    assert seen.sessions == 1


def test_a_new_ratchet_key_closes_the_former_chain(target: DriverTarget) -> None:
    """Driver contract: closes_chains - a new ratchet key closes the former chain; what was skipped on it is kept."""
    assert target.hello.profile.closes_chains
    world = acquainted(target)
    skipped = world.encrypt(ALICE, BOB, b"skipped")
    assert world.decrypt(BOB, ALICE, world.encrypt(ALICE, BOB, b"a")) == b"a"
    world.decrypt(ALICE, BOB, world.encrypt(BOB, ALICE, b"b"))
    assert world.decrypt(BOB, ALICE, world.encrypt(ALICE, BOB, b"new chain")) == b"new chain"
    assert world.decrypt(BOB, ALICE, skipped) == b"skipped"


def test_refusals_have_our_code_where_the_peer_says_the_cause(target: DriverTarget) -> None:
    """Driver contract: a refusal has our code if the peer's text tells the cause, else "unknown" with that text."""
    world = acquainted(target)
    nobody = target.world(1)
    keys = [nobody.create(party, name=f"p{party}", device_id=1, trust_on_first_use=True) for party in (0, 1, 2)]
    assert len(set(keys)) == 3
    assert refused(nobody.encrypt, 0, 1, b"").code == "no-session"
    assert refused(nobody.decrypt, 0, 1, WireMessage("signal", b"\x33")).code == "no-session"
    bundle = nobody.bundle(1, one_time=True)
    nobody.establish(0, 1, bundle)
    nobody.establish(2, 1, bundle)
    message = nobody.encrypt(0, 1, b"m")
    assert refused(nobody.decrypt, 1, 0, WireMessage("prekey", message.data[:40])).code == "malformed-message"
    assert refused(nobody.decrypt, 1, 0, WireMessage("prekey", b"\x22" + message.data[1:])).code == "unknown-version"
    assert refused(nobody.decrypt, 1, 0, WireMessage("prekey", message.data[:-9] + bytes(9))).code != "no-session"
    assert nobody.decrypt(1, 0, message) == b"m"
    assert refused(nobody.decrypt, 1, 0, message).code == "duplicate-message"
    assert refused(nobody.decrypt, 1, 2, nobody.encrypt(2, 1, b"m")).code == "unknown-prekey"
    nobody.reinstall(1)
    assert refused(nobody.establish, 0, 1, nobody.bundle(1, one_time=False)).code == "untrusted-identity"
    assert refused(nobody.decrypt, 1, 2, nobody.encrypt(2, 1, b"m")).code in ("unknown-prekey", "bad-mac")
    world = acquainted(target)
    repeated = world.encrypt(ALICE, BOB, b"m")
    world.decrypt(BOB, ALICE, repeated)
    again = refused(world.decrypt, BOB, ALICE, repeated)
    assert (again.code, again.text.split(" [")[0]) == ("unknown", "No matching sessions found for message")


def test_strict_parties_take_only_what_was_approved(target: DriverTarget) -> None:
    """World.create: without trust on first use, only identities that were handed to `approve` are accepted."""
    acquainted(target, tofu=False)
    world = target.world(1)
    for party, name in enumerate(("alice", "bob")):
        world.create(party, name=name, device_id=1, trust_on_first_use=False)
    bundle = world.bundle(BOB, one_time=True)
    before = world.observe(ALICE)
    assert refused(world.establish, ALICE, BOB, bundle).code == "untrusted-identity"
    assert world.observe(ALICE) == before
    world.approve(ALICE, BOB, bundle.identity_key)
    world.establish(ALICE, BOB, bundle)
    assert refused(world.decrypt, BOB, ALICE, world.encrypt(ALICE, BOB, b"")).code == "untrusted-identity"


def test_a_refused_first_message_pins_nothing(target: DriverTarget) -> None:
    """README of the driver: its store pins a first use when the peer stores a session, so junk locks nobody out."""
    world = target.world(1)
    for party, name in enumerate(("alice", "bob", "mallory")):
        world.create(party, name=name, device_id=1, trust_on_first_use=True)
    for sender in (0, 2):
        world.establish(sender, BOB, world.bundle(BOB, one_time=True))
    forged = world.encrypt(2, BOB, b"forged").data
    before = world.observe(BOB)
    refused(world.decrypt, BOB, ALICE, WireMessage("prekey", forged[:-1] + bytes([forged[-1] ^ 1])))
    assert world.observe(BOB) == before
    assert world.decrypt(BOB, ALICE, world.encrypt(ALICE, BOB, b"hello")) == b"hello"


def test_a_restart_keeps_what_is_stored(target: DriverTarget) -> None:
    """World.restart: the party is opened again from what is durable, and nothing of that is lost."""
    world = acquainted(target)
    before = world.observe(BOB)
    world.restart(BOB)
    assert world.observe(BOB) == before
    assert world.decrypt(BOB, ALICE, world.encrypt(ALICE, BOB, b"on")) == b"on"


def test_a_new_installation_has_another_identity(target: DriverTarget) -> None:
    """World.reinstall: the store is lost, the name stays, the identity is new and is trusted only when approved."""
    world = acquainted(target)
    key = world.reinstall(BOB)
    world.establish(BOB, ALICE, world.bundle(ALICE, one_time=True))
    message = world.encrypt(BOB, ALICE, b"new phone")
    assert refused(world.decrypt, ALICE, BOB, message).code == "untrusted-identity"
    world.approve(ALICE, BOB, key)
    assert world.decrypt(ALICE, BOB, message) == b"new phone"


def test_used_prekeys_are_seen_to_go(target: DriverTarget) -> None:
    """Observation: the ids of the one-time prekeys still held."""
    world = target.world(1)
    for party, name in enumerate(("alice", "bob")):
        world.create(party, name=name, device_id=1, trust_on_first_use=True)
    first = world.bundle(BOB, one_time=True)
    world.bundle(BOB, one_time=True)
    assert world.bundle(BOB, one_time=False).prekey_id is None
    held = world.observe(BOB)
    assert held is not None
    assert held.prekeys == (1, 2)
    world.establish(ALICE, BOB, first)
    world.decrypt(BOB, ALICE, world.encrypt(ALICE, BOB, b""))
    left = world.observe(BOB)
    assert left is not None
    assert left.prekeys == (2,)


@pytest.mark.parametrize("script", FINDINGS, ids=lambda path: path.stem)
def test_a_finding_is_reproduced(target: DriverTarget, script: Path) -> None:
    """README of the driver: each finding has a script that exits 0 as long as it is there, using the peer alone."""
    ran = subprocess.run([os.environ.get("PAWL_NODE", "node"), script], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_there_are_findings() -> None:
    """A list that judged nothing is never a success."""
    assert len(FINDINGS) >= 19
