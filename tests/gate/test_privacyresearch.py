"""The driver of privacyresearch: what it declares is what the peer does, and its findings are reproduced."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from pawl_gate import expect
from pawl_gate.driver_check import Check
from pawl_gate.targets.base import Refused, SimulatedCrash, WireMessage
from pawl_gate.targets.driver import DriverTarget, DriverWorld
from pawl_gate.targets.registry import drivers_folder, find_target

pytestmark = pytest.mark.privacyresearch_peer

NODE = os.environ.get("PAWL_NODE", "node")
FOLDER = drivers_folder() / "privacyresearch"
DRIVER = [NODE, str(FOLDER / "driver.js")]
FINDINGS = sorted((FOLDER / "findings").glob("[a-z][a-z][a-z]-[0-9][0-9]-*.js"))
ALICE, BOB, CAROL = 0, 1, 2


@pytest.fixture(scope="module")
def target() -> Iterator[DriverTarget]:
    """The peer, driven for the whole module."""
    found = find_target("privacyresearch")
    assert isinstance(found, DriverTarget)
    yield found
    found.close()


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


def refused(call: object, *args: object) -> Refused:
    """The refusal of a call."""
    assert callable(call)
    with pytest.raises(Refused) as refusal:
        call(*args)
    return refusal.value


@pytest.mark.parametrize("curve", ["quick", "own"])
def test_it_keeps_to_the_contract(curve: str) -> None:
    """Driver contract: `pawl driver check`, with the driver's curve and with the peer's own."""
    outcomes = list(Check([*DRIVER, "--curve", curve], 30.0).run())
    assert [one for one in outcomes if one.state == "failed"] == []
    assert len(outcomes) > 10


def test_both_curves_write_the_same_messages() -> None:
    """README of the driver: the quick curve is the peer's own, bit for bit; also where a shared secret is all zeros."""
    zeros = "05" + "00" * 32
    written = []
    for curve in ("quick", "own"):
        with closing(DriverTarget([*DRIVER, "--curve", curve])) as with_curve:
            world = people(with_curve)
            world.establish(ALICE, BOB, world.bundle(BOB, one_time=True))
            said = [world.encrypt(ALICE, BOB, b"one")]
            assert world.decrypt(BOB, ALICE, said[0]) == b"one"
            said.append(world.encrypt(BOB, ALICE, b"two"))
            forged = replace(world.bundle(BOB, one_time=True), prekey=bytes.fromhex(zeros))
            world.establish(CAROL, BOB, forged)
            said.append(world.encrypt(CAROL, BOB, b"three"))
            unsigned = replace(forged, signature=forged.signature[:-1] + bytes([forged.signature[-1] ^ 1]))
            assert refused(world.establish, ALICE, BOB, unsigned).code == "invalid-signature"
            written.append((said, [state(world, party) for party in (ALICE, BOB, CAROL)]))
    assert written[0] == written[1]


def test_the_forward_jump_is_the_declared_one(target: DriverTarget) -> None:
    """Driver contract: forward_jump is the largest accepted difference between a counter and the next expected one."""
    for skipped, accepted in ((target.hello.limits.forward_jump, True), (target.hello.limits.forward_jump + 1, False)):
        world = acquainted(target)
        for _ in range(skipped):
            world.encrypt(ALICE, BOB, b"")
        message = world.encrypt(ALICE, BOB, b"last")
        before = state(world, BOB)
        if accepted:
            assert world.decrypt(BOB, ALICE, message) == b"last"
            seen = world.observe(BOB)
            assert seen is not None
            assert (seen.kept_chain, seen.kept_session, seen.chains) == (skipped, skipped, 2)
        else:
            assert refused(world.decrypt, BOB, ALICE, message).code == "too-far-ahead"
            assert state(world, BOB) == before


def test_a_normal_message_on_an_archived_session_promotes_it(target: DriverTarget) -> None:
    """Driver contract: promotes "always" - what is read on an archived session makes that one current."""
    assert target.hello.profile.promotes == "always"
    world = acquainted(target)
    late = world.encrypt(ALICE, BOB, b"late")
    world.establish(BOB, ALICE, world.bundle(ALICE, one_time=True))
    assert world.encrypt(BOB, ALICE, b"new").kind == "prekey"
    assert world.decrypt(BOB, ALICE, late) == b"late"
    assert world.encrypt(BOB, ALICE, b"on the former one").kind == "signal"


def test_refusals_have_our_code_where_the_peer_says_the_cause(target: DriverTarget) -> None:
    """Driver contract: a refusal has our code if the peer's text tells the cause, else "unknown" with that text."""
    world = people(target)
    assert refused(world.encrypt, ALICE, BOB, b"").code == "no-session"
    assert refused(world.decrypt, ALICE, BOB, WireMessage("signal", b"\x33")).code == "no-session"
    world.establish(ALICE, BOB, world.bundle(BOB, one_time=True))
    message = world.encrypt(ALICE, BOB, b"m")
    assert refused(world.decrypt, BOB, ALICE, WireMessage("prekey", message.data[:40])).code == "malformed-message"
    assert (
        refused(world.decrypt, BOB, ALICE, WireMessage("prekey", b"\x22" + message.data[1:])).code == "unknown-version"
    )
    changed = WireMessage("prekey", message.data[:-1] + bytes([message.data[-1] ^ 1]))
    assert refused(world.decrypt, BOB, ALICE, changed).code == "bad-mac"
    assert world.decrypt(BOB, ALICE, message) == b"m"
    assert refused(world.decrypt, BOB, ALICE, message).code == "duplicate-message"


def test_with_several_sessions_a_text_about_one_is_no_code(target: DriverTarget) -> None:
    """Driver contract: do not guess. A normal message is tried on all sessions, and the text is that of one."""
    world = acquainted(target)
    message = world.encrypt(ALICE, BOB, b"m")
    changed = WireMessage("signal", message.data[:-1] + bytes([message.data[-1] ^ 1]))
    assert refused(world.decrypt, BOB, ALICE, changed).code == "bad-mac"
    world.establish(BOB, ALICE, world.bundle(ALICE, one_time=True))
    assert refused(world.decrypt, BOB, ALICE, changed).code == "unknown"


def test_strict_parties_start_with_approved_keys_alone(target: DriverTarget) -> None:
    """World.create: without trust on first use, only approved identities are accepted, as far as the peer asks."""
    world = people(target, tofu=False)
    bundle = world.bundle(BOB, one_time=True)
    before = state(world, ALICE)
    assert refused(world.establish, ALICE, BOB, bundle).code == "untrusted-identity"
    assert state(world, ALICE) == before
    world.approve(ALICE, BOB, bundle.identity_key)
    world.establish(ALICE, BOB, bundle)
    # IDC-02: what arrives is read, whoever wrote it.
    assert world.decrypt(BOB, ALICE, world.encrypt(ALICE, BOB, b"m")) == b"m"


def test_a_refused_first_message_pins_nothing(target: DriverTarget) -> None:
    """README of the driver: its store pins a first use when the peer stores a session, so junk locks nobody out."""
    world = people(target)
    for sender in (ALICE, CAROL):
        world.establish(sender, BOB, world.bundle(BOB, one_time=True))
    forged = world.encrypt(CAROL, BOB, b"forged").data
    before = state(world, BOB)
    refused(world.decrypt, BOB, ALICE, WireMessage("prekey", forged[:-1] + bytes([forged[-1] ^ 1])))
    assert state(world, BOB) == before
    assert world.decrypt(BOB, ALICE, world.encrypt(ALICE, BOB, b"hello")) == b"hello"


@pytest.mark.parametrize("at", range(16))
def test_a_crash_leaves_what_was_stored_before_it(target: DriverTarget, at: int) -> None:
    """README of the driver: a crash strikes before a call of the store; between session and prekey it leaves both."""
    world = people(target)
    world.establish(ALICE, BOB, world.bundle(BOB, one_time=True))
    message = world.encrypt(ALICE, BOB, b"hello")
    before = state(world, BOB)
    world.arm_crash(BOB, at)
    if 9 <= at < 15:
        assert world.decrypt(BOB, ALICE, message) == b"hello"
        assert world.disarm_crash(BOB) is True
        return
    with pytest.raises(SimulatedCrash):
        world.decrypt(BOB, ALICE, message)
    world.restart(BOB)
    after, complete = world.observe(BOB), world.complete_digest(BOB)
    assert after is not None
    if at <= 7:
        assert (after.digest, after.prekeys) == (before, (1,))
        assert world.decrypt(BOB, ALICE, message) == b"hello"
    elif at == 8:
        assert after.digest not in (before, complete)
        assert after.prekeys == (1,)
    else:
        assert (after.digest, after.prekeys) == (complete, ())


def test_work_is_counted(target: DriverTarget) -> None:
    """Observation.work: chain steps and key derivations. A message that skips n takes n chain steps more."""
    world = acquainted(target)
    work = []
    for skipped in (0, 100):
        for _ in range(skipped):
            world.encrypt(ALICE, BOB, b"")
        world.decrypt(BOB, ALICE, world.encrypt(ALICE, BOB, b"m"))
        seen = world.observe(BOB)
        assert seen is not None
        assert seen.durable is True
        work.append(seen.work or 0)
    assert work == [4, 102]


def test_bad_lines_are_answered_and_change_nothing() -> None:
    """Driver contract: each bad request gets its error, and nothing but answers is on stdout."""

    def ask(method: object, **params: object) -> bytes:
        return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode() + b"\n"

    bad = {
        b"{\n": -32700,
        b"null\n": -32600,
        ask("constructor"): -32601,
        ask("observe", party=9): -32602,
        ask("create", party=1, name="toString", device_id=1, trust_on_first_use=True): -32602,
        ask("arm_crash", party=0, at=16): -32602,
        ask("decrypt", party=0, peer=0, kind="x", data=""): -32602,
    }
    made = ask("create", party=0, name="alice", device_id=1, trust_on_first_use=True)
    lines = [made, ask("observe", party=0)]
    for line in bad:
        lines += [line, ask("observe", party=0)]
    ran = subprocess.run(DRIVER, input=b"".join(lines), capture_output=True, timeout=60)
    answers = [json.loads(line) for line in ran.stdout.splitlines()]
    assert (ran.returncode, len(answers)) == (0, len(lines))
    for code, error, after in zip(bad.values(), answers[2::2], answers[3::2], strict=True):
        assert error["error"]["code"] == code
        assert after["result"] == answers[1]["result"]


@pytest.mark.parametrize("options", [("--curve", "other"), ("--store", "own"), ("--curve", "own", "x")])
def test_wrong_options_are_refused(options: tuple[str, ...]) -> None:
    """README of the driver: `--curve own`, or nothing."""
    ran = subprocess.run([*DRIVER, *options], input=b"", capture_output=True, timeout=60)
    assert (ran.stdout, ran.returncode) == (b"", 2)


# -- findings ---------------------------------------------------------------------------------------------------------

ROW = re.compile(r"^\| ([A-Z0-9, ()-]+) \| `([a-z0-9-]+)` \| .* \| .* \|$")


def table() -> list[tuple[set[str], str]]:
    """The README's table of findings: the invariants that the gate judges, and the script."""
    rows = [ROW.match(line) for line in (FOLDER / "README.md").read_text("utf-8").splitlines()]
    return [(set(re.sub(r",? ?\([^)]*\)", "", row[1]).split(", ")), row[2]) for row in rows if row]


def test_the_table_of_findings_is_the_truth() -> None:
    """README of the driver: each script has a row, the rows are the expected findings, each with its script."""
    rows = table()
    assert sorted(script for _, script in rows) == [path.stem for path in FINDINGS]
    findings = expect.read(FOLDER / "expected.json", target="privacyresearch").findings
    assert set(findings) == set().union(*(ids for ids, _ in rows))
    for id_, reason in findings.items():
        scripts = re.findall(r"findings/([a-z0-9-]+)\.js", reason)
        assert scripts, id_
        for script in scripts:
            assert id_ in next(ids for ids, name in rows if name == script), f"{script}: the table does not say {id_}"


@pytest.mark.parametrize("script", FINDINGS, ids=lambda path: path.stem)
def test_a_finding_is_reproduced(script: Path) -> None:
    """README of the driver: each finding has a script that exits 0 as long as it is there, using the peer alone."""
    ran = subprocess.run([NODE, script], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_there_are_findings() -> None:
    """A list that judged nothing is never a success."""
    assert len(FINDINGS) >= 12
