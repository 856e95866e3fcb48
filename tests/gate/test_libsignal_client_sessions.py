"""The driver of libsignal-client in sessions: what it declares is what the peer does, and its findings are reproduced."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from pawl_gate import expect
from pawl_gate.attacker import respelled
from pawl_gate.driver_check import Check
from pawl_gate.targets.base import Refused, WireMessage
from pawl_gate.targets.driver import DriverTarget, DriverWorld
from pawl_gate.targets.registry import drivers_folder, find_target

pytestmark = pytest.mark.official_peer

NODE = os.environ.get("PAWL_NODE", "node")
FOLDER = drivers_folder() / "libsignal-client"
FINDINGS = sorted((FOLDER / "findings-sessions").glob("[a-z][a-z][a-z]-[0-9][0-9]-*.js"))
ALICE, BOB, CAROL = 0, 1, 2


@pytest.fixture(scope="module")
def target() -> Iterator[DriverTarget]:
    """The peer, driven for the whole module."""
    with closing(find_target("libsignal-client-sessions")) as found:
        assert isinstance(found, DriverTarget)
        yield found


def people(target: DriverTarget, *, tofu: bool = True) -> DriverWorld:
    """Alice, Bob and Carol, who have never met."""
    world = target.world(1)
    for party, name in enumerate(("alice", "bob", "carol")):
        world.create(party, name=name, device_id=1, trust_on_first_use=tofu)
    return world


def acquainted(target: DriverTarget) -> DriverWorld:
    """Alice and Bob with a session that both have used."""
    world = people(target)
    world.establish(ALICE, BOB, world.bundle(BOB, one_time=True))
    assert world.decrypt(BOB, ALICE, world.encrypt(ALICE, BOB, b"hello")) == b"hello"
    assert world.decrypt(ALICE, BOB, world.encrypt(BOB, ALICE, b"hello")) == b"hello"
    return world


def state(world: DriverWorld, party: int) -> str:
    """The digest of what a party stores."""
    seen = world.observe(party)
    assert seen is not None
    return seen.digest


def refused(call: object, *args: object) -> str:
    """The code with which a call is refused."""
    assert callable(call)
    with pytest.raises(Refused) as refusal:
        call(*args)
    return refusal.value.code


def test_it_keeps_to_the_contract() -> None:
    """Driver contract: `pawl driver check`."""
    outcomes = list(Check([NODE, str(FOLDER / "sessions.js")], 10.0).run())
    assert [one for one in outcomes if one.state == "failed"] == []
    assert len(outcomes) > 10


def test_messages_are_of_version_three(target: DriverTarget) -> None:
    """SESSIONS.md: the peer goes on with a session of version 3 as one that could do version 4."""
    world = people(target)
    world.establish(ALICE, BOB, world.bundle(BOB, one_time=False))
    first = world.encrypt(ALICE, BOB, b"m")
    assert (first.kind, first.data[0]) == ("prekey", 0x34)
    assert world.decrypt(BOB, ALICE, first) == b"m"
    reply = world.encrypt(BOB, ALICE, b"m")
    assert (reply.kind, reply.data[0]) == ("signal", 0x34)


def test_the_forward_jump_is_the_declared_one(target: DriverTarget) -> None:
    """Driver contract: forward_jump is the largest accepted difference between a counter and the next expected one."""
    world = acquainted(target)
    for _ in range(target.hello.limits.forward_jump):
        world.encrypt(ALICE, BOB, b"")
    message, beyond = world.encrypt(ALICE, BOB, b"last"), world.encrypt(ALICE, BOB, b"beyond")
    before = state(world, BOB)
    assert refused(world.decrypt, BOB, ALICE, beyond) == "unknown"
    assert state(world, BOB) == before
    assert world.decrypt(BOB, ALICE, message) == b"last"
    seen = world.observe(BOB)
    assert seen is not None
    assert (seen.kept_chain, seen.chains) == (2000, 2)


def test_what_is_read_on_an_archived_session_promotes_it(target: DriverTarget) -> None:
    """Driver contract: promotes "always"."""
    world = acquainted(target)
    late = world.encrypt(ALICE, BOB, b"late")
    world.establish(BOB, ALICE, world.bundle(ALICE, one_time=True))
    assert world.encrypt(BOB, ALICE, b"new").kind == "prekey"
    assert world.decrypt(BOB, ALICE, late) == b"late"
    assert world.encrypt(BOB, ALICE, b"on the former one").kind == "signal"


def test_a_first_message_that_is_refused_leaves_nothing(target: DriverTarget) -> None:
    """SESSIONS.md: the driver's record is stored only if the peer reads the message; a prekey ends only then."""
    world = people(target)
    world.establish(ALICE, BOB, world.bundle(BOB, one_time=True))
    message = world.encrypt(ALICE, BOB, b"m")
    before = state(world, BOB)
    forged = WireMessage("prekey", message.data[:-9] + bytes([message.data[-9] ^ 1]) + message.data[-8:])
    assert refused(world.decrypt, BOB, ALICE, forged) in ("unknown", "malformed-message")
    assert state(world, BOB) == before
    assert world.decrypt(BOB, ALICE, message) == b"m"
    held = world.observe(BOB)
    assert held is not None
    assert held.prekeys == ()


def test_what_the_driver_refuses_before_x3dh(target: DriverTarget) -> None:
    """SESSIONS.md: signatures, identities, prekeys and keys of small order are looked at before a record is made."""
    world = people(target, tofu=False)
    bundle = world.bundle(BOB, one_time=True)
    before = state(world, ALICE)
    assert refused(world.establish, ALICE, BOB, bundle) == "untrusted-identity"
    world.approve(ALICE, BOB, bundle.identity_key)
    zeros = b"\x05" + bytes(32)
    unsigned = replace(bundle, signature=bundle.signature[:-1] + bytes([bundle.signature[-1] ^ 1]))
    assert refused(world.establish, ALICE, BOB, unsigned) == "invalid-signature"
    assert refused(world.establish, ALICE, BOB, replace(bundle, prekey=zeros)) == "invalid-key"
    assert refused(world.establish, ALICE, BOB, replace(bundle, prekey=bundle.identity_key[1:])) == "invalid-key"
    world.establish(ALICE, BOB, bundle)
    assert state(world, ALICE) != before
    assert refused(world.decrypt, BOB, ALICE, world.encrypt(ALICE, BOB, b"")) == "untrusted-identity"


@pytest.mark.parametrize("how", [0, 1])
def test_a_first_message_is_read_once_whatever_its_base_key_is_spelled(target: DriverTarget, how: int) -> None:
    """CTR-06: other bytes for the same base key, without a one-time prekey, bring no second session."""
    world = people(target)
    world.establish(ALICE, BOB, world.bundle(BOB, one_time=False))
    message = world.encrypt(ALICE, BOB, b"m")
    at = message.data.index(b"\x12\x21\x05") + 2
    other = respelled(message.data[at : at + 33], how)
    copy = WireMessage("prekey", message.data[:at] + other + message.data[at + 33 :])
    assert refused(world.decrypt, BOB, ALICE, copy) == "invalid-key"
    assert world.decrypt(BOB, ALICE, message) == b"m"
    assert refused(world.decrypt, BOB, CAROL, message) == "replayed-prekey-message"


# -- findings ---------------------------------------------------------------------------------------------------------

ROW = re.compile(r"^\| ([A-Z]{3}-[0-9]{2}) \| `([a-z]{3}-[0-9]{2}-[a-z0-9-]+)` \| .* \|$")


def test_the_table_of_findings_is_the_truth() -> None:
    """SESSIONS.md: every finding has a row and a script, and they are the list of expected findings."""
    rows = [ROW.match(line) for line in (FOLDER / "SESSIONS.md").read_text("utf-8").splitlines()]
    table = {row[1]: row[2] for row in rows if row}
    expected = expect.read(FOLDER / "expected-sessions.json", target="libsignal-client-sessions").findings
    assert sorted(table.values()) == [path.stem for path in FINDINGS]
    assert len(FINDINGS) >= 5
    assert set(table) == set(expected)
    assert all(f"findings-sessions/{table[id_]}.js" in reason for id_, reason in expected.items())


@pytest.mark.parametrize("script", FINDINGS, ids=lambda path: path.stem)
def test_a_finding_is_reproduced(script: Path) -> None:
    """SESSIONS.md: each finding has a script that exits 0 as long as it is there, using the peer alone."""
    ran = subprocess.run([NODE, script], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
