"""The drivers of peers in Python: what they declare is what the peer does, and their findings are reproduced."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pawl_gate import expect
from pawl_gate.attacker import tamper
from pawl_gate.group_attacker import GROUP_IDS
from pawl_gate.targets import registry
from pawl_gate.targets.base import Refused, SimulatedCrash, WireMessage
from pawl_gate.targets.driver import DriverTarget, DriverWorld
from pawl_gate.targets.registry import drivers_folder, find_target

MARKS = {"omemo-dr": pytest.mark.omemo_peer, "python-axolotl": pytest.mark.axolotl_peer}
PEERS = [pytest.param(name, marks=mark) for name, mark in MARKS.items()]
ALICE, BOB, CAROL = range(3)
NAMES = ("alice", "bob", "carol")
TEAM = GROUP_IDS[0]


def folder(peer: str) -> Path:
    """Where the driver of a peer lies."""
    return drivers_folder() / peer


def python(peer: str) -> Path:
    """The interpreter of its environment."""
    return folder(peer) / ".venv" / "bin" / "python"


def findings(peer: str) -> list[Path]:
    """The scripts of its findings."""
    return sorted((folder(peer) / "findings").glob("[a-z][a-z][a-z]-[0-9][0-9]-*.py"))


@pytest.fixture(scope="module", params=PEERS)
def target(request: pytest.FixtureRequest) -> Iterator[DriverTarget]:
    """A peer, driven for the whole module."""
    found = find_target(request.param)
    assert isinstance(found, DriverTarget)
    with closing(found):
        yield found


def strangers(target: DriverTarget, *, tofu: bool = True) -> DriverWorld:
    """Alice, Bob and Carol, who have not met."""
    world = target.world(1)
    for party, name in enumerate(NAMES):
        world.create(party, name=name, device_id=1, trust_on_first_use=tofu)
    return world


def acquainted(target: DriverTarget) -> DriverWorld:
    """Alice and Bob have a session that both have used."""
    world = strangers(target)
    world.establish(ALICE, BOB, world.bundle(BOB, one_time=True))
    assert world.decrypt(BOB, ALICE, world.encrypt(ALICE, BOB, b"hello")) == b"hello"
    assert world.decrypt(ALICE, BOB, world.encrypt(BOB, ALICE, b"hello")) == b"hello"
    return world


def state(world: DriverWorld, party: int) -> str:
    """The digest of what a party stores."""
    seen = world.observe(party)
    assert seen is not None
    return seen.digest


def refused(call: object, *args: object, **named: object) -> Refused:
    """The refusal of a call."""
    assert callable(call)
    with pytest.raises(Refused) as refusal:
        call(*args, **named)
    return refusal.value


def test_the_forward_jump_is_the_declared_one(target: DriverTarget) -> None:
    """Driver contract: forward_jump is the largest accepted difference between a counter and the next expected one."""
    jump = target.hello.limits.forward_jump
    world = acquainted(target)
    for _ in range(jump):
        world.encrypt(ALICE, BOB, b"")
    last, beyond = world.encrypt(ALICE, BOB, b"last"), world.encrypt(ALICE, BOB, b"beyond")
    before = state(world, BOB)
    assert refused(world.decrypt, BOB, ALICE, beyond).code == "too-far-ahead"
    assert state(world, BOB) == before
    assert world.decrypt(BOB, ALICE, last) == b"last"
    seen = world.observe(BOB)
    assert seen is not None
    assert (seen.kept_chain, seen.kept_session, seen.chains) == (jump, jump, 2)


def test_a_message_on_an_archived_session_promotes_it(target: DriverTarget) -> None:
    """Driver contract: promotes "always" - the session on which a message is read is the current one from then on."""
    assert target.hello.profile.promotes == "always"
    world = acquainted(target)
    late = world.encrypt(ALICE, BOB, b"late")
    world.establish(BOB, ALICE, world.bundle(ALICE, one_time=True))
    assert world.encrypt(BOB, ALICE, b"new").kind == "prekey"
    assert world.decrypt(BOB, ALICE, late) == b"late"
    assert world.encrypt(BOB, ALICE, b"on the former").kind == "signal"


def test_refusals_have_our_code_where_the_peer_says_the_cause(target: DriverTarget) -> None:
    """Driver contract: a code where the peer's answer tells the cause, else "unknown" with its text."""
    world = strangers(target)
    assert refused(world.decrypt, BOB, ALICE, WireMessage("signal", b"\x33" + bytes(60))).code in (
        "malformed-message",
        "no-session",
    )
    assert refused(world.encrypt, ALICE, BOB, b"").code == "unknown"
    bundle = world.bundle(BOB, one_time=True)
    for sender in (ALICE, CAROL):
        world.establish(sender, BOB, bundle)
    first = world.encrypt(ALICE, BOB, b"m")
    changed = first.data[:-30] + bytes([first.data[-30] ^ 1]) + first.data[-29:]
    codes = {
        "unknown-version": b"\x43" + first.data[1:],
        "malformed-message": first.data[:40],
    }
    for code, data in codes.items():
        assert refused(world.decrypt, BOB, ALICE, WireMessage("prekey", data)).code == code
    assert refused(world.decrypt, BOB, ALICE, WireMessage("prekey", changed)).code in ("bad-mac", "malformed-message")
    assert world.decrypt(BOB, ALICE, first) == b"m"
    assert refused(world.decrypt, BOB, ALICE, first).code == "duplicate-message"
    assert refused(world.decrypt, BOB, CAROL, world.encrypt(CAROL, BOB, b"m")).code == "unknown-prekey"
    world.reinstall(BOB)
    assert refused(world.establish, ALICE, BOB, world.bundle(BOB, one_time=True)).code == "untrusted-identity"
    world.reinstall(CAROL)
    assert refused(world.decrypt, CAROL, ALICE, first).code == "unknown-signed-prekey"


def test_strict_parties_take_only_what_was_approved(target: DriverTarget) -> None:
    """World.create: without trust on first use, only identities that were handed to `approve` are accepted."""
    world = strangers(target, tofu=False)
    bundle = world.bundle(BOB, one_time=True)
    before = state(world, ALICE)
    assert refused(world.establish, ALICE, BOB, bundle).code == "untrusted-identity"
    assert state(world, ALICE) == before
    world.approve(ALICE, BOB, bundle.identity_key)
    world.establish(ALICE, BOB, bundle)
    assert refused(world.decrypt, BOB, ALICE, world.encrypt(ALICE, BOB, b"")).code == "untrusted-identity"


def test_a_session_needs_a_one_time_prekey_where_that_is_declared(target: DriverTarget) -> None:
    """Driver contract: needs_one_time - without one there is no session, and no message that names none is read; else
    both are."""
    assert target.hello.profile.needs_one_time is (target.hello.name == "omemo-dr")
    world = strangers(target)
    bundle = world.bundle(BOB, one_time=False)
    assert (bundle.prekey_id, bundle.prekey) == (None, None)
    if not target.hello.profile.needs_one_time:
        world.establish(ALICE, BOB, bundle)
        assert world.decrypt(BOB, ALICE, world.encrypt(ALICE, BOB, b"m")) == b"m"
        return
    before = state(world, ALICE)
    assert refused(world.establish, ALICE, BOB, bundle).code == "unknown"
    assert state(world, ALICE) == before
    world.establish(ALICE, BOB, world.bundle(BOB, one_time=True))
    change = tamper(world.encrypt(ALICE, BOB, b"m"), "drop-prekey-id", 0, others=[], identities={})
    assert change is not None
    assert refused(world.decrypt, BOB, ALICE, change.message).code == "unknown-prekey"


def test_a_restart_keeps_what_is_stored_and_a_forgotten_session_is_gone(target: DriverTarget) -> None:
    """World.restart and World.forget: nothing of what is durable is lost; the sessions with one peer are."""
    world = acquainted(target)
    before = state(world, BOB)
    world.restart(BOB)
    assert state(world, BOB) == before
    assert world.decrypt(BOB, ALICE, world.encrypt(ALICE, BOB, b"on")) == b"on"
    world.forget(BOB, ALICE)
    assert refused(world.decrypt, BOB, ALICE, world.encrypt(ALICE, BOB, b"m")).code == "no-session"


CALLS = 9
"""Reading a first message calls the store nine times: saveIdentity, storeSession and removePreKey at the end."""


@pytest.mark.parametrize("at", range(16))
def test_a_crash_leaves_what_was_stored_before_it(target: DriverTarget, at: int) -> None:
    """README of the driver: a crash strikes before the n-th call of the store; 15 is behind all of them."""
    world = strangers(target)
    world.establish(ALICE, BOB, world.bundle(BOB, one_time=True))
    message = world.encrypt(ALICE, BOB, b"hello")
    before = state(world, BOB)
    world.arm_crash(BOB, at)
    if CALLS <= at < 15:
        assert world.decrypt(BOB, ALICE, message) == b"hello"
        assert world.disarm_crash(BOB) is True
        return
    with pytest.raises(SimulatedCrash):
        world.decrypt(BOB, ALICE, message)
    world.restart(BOB)
    after, complete = world.observe(BOB), world.complete_digest(BOB)
    assert after is not None
    if at < CALLS - 2:
        assert (after.digest, after.prekeys, after.chains) == (before, (1,), 0)
    elif at == CALLS - 2:
        # The identity is pinned, and that is all.
        assert after.digest not in (before, complete)
        assert (after.prekeys, after.chains) == ((1,), 0)
    elif at == CALLS - 1:
        # The session is there, and its prekey too.
        assert after.digest not in (before, complete)
        assert (after.prekeys, after.chains) == ((1,), 1)
    else:
        assert (after.digest, after.prekeys) == (complete, ())
    if at < CALLS - 1:
        assert world.decrypt(BOB, ALICE, message) == b"hello"


def test_work_is_counted(target: DriverTarget) -> None:
    """Observation.work: a message costs a chain step and a derivation; one that is passed over as much again."""
    world = acquainted(target)
    work = []
    for skipped in (0, 0, 100):
        for _ in range(skipped):
            world.encrypt(ALICE, BOB, b"")
        world.decrypt(BOB, ALICE, world.encrypt(ALICE, BOB, b"m"))
        seen = world.observe(BOB)
        assert seen is not None
        assert seen.durable is True
        work.append(seen.work)
    # The first begins a chain: two derivations of roots more.
    assert work == [4, 2, 202]


@pytest.mark.parametrize("target", [pytest.param("python-axolotl", marks=MARKS["python-axolotl"])], indirect=True)
def test_a_group_is_talked_in_and_rotated(target: DriverTarget) -> None:
    """Driver contract, groups: a chain is given, read on, and begun anew; who was not given it reads nothing."""
    assert target.hello.group_layout == "earlier"
    world = strangers(target)
    assert refused(world.group_encrypt, ALICE, TEAM, b"m").code == "no-sender-key"
    world.group_join(BOB, ALICE, TEAM, world.group_create(ALICE, TEAM))
    late, message = world.group_encrypt(ALICE, TEAM, b"late"), world.group_encrypt(ALICE, TEAM, b"m")
    assert world.group_decrypt(BOB, ALICE, TEAM, message) == b"m"
    seen = world.observe(BOB)
    assert seen is not None
    assert (seen.group_chains, seen.group_kept) == (1, 1)
    assert world.group_decrypt(BOB, ALICE, TEAM, late) == b"late"
    assert refused(world.group_decrypt, BOB, ALICE, TEAM, late).code == "duplicate-message"
    assert refused(world.group_decrypt, CAROL, ALICE, TEAM, message).code == "no-sender-key"
    forged = message[:-1] + bytes([message[-1] ^ 1])
    assert refused(world.group_decrypt, BOB, ALICE, TEAM, forged).code == "invalid-signature"
    world.group_rotate(ALICE, TEAM)
    assert (
        refused(world.group_decrypt, BOB, ALICE, TEAM, world.group_encrypt(ALICE, TEAM, b"m")).code == "no-sender-key"
    )


# -- bad input: the driver answers, and goes on -----------------------------------------------------------------------


def ask(method: object, **params: object) -> bytes:
    """One request."""
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode() + b"\n"


MADE = ask("create", party=0, name="alice", device_id=1, trust_on_first_use=True)
BAD_LINES = {
    "not JSON": (b"{\n", -32700),
    "no text": (b"\xff\xfe\n", -32700),
    "empty": (b"\n", -32700),
    "null": (b"null\n", -32600),
    "a list": (b"[]\n", -32600),
    "too long": (b" " * (5 << 20) + b"{}\n", -32600),
    "no method": (ask(7), -32600),
    "an inherited name": (ask("refusal", error=1), -32601),
    "no such verb": (ask("fly"), -32601),
    "a missing party": (ask("observe"), -32602),
    "a party of another kind": (ask("observe", party="0"), -32602),
    "a parameter too many": (ask("observe", party=0, more=1), -32602),
    "a party that is not there": (ask("encrypt", party=9, peer=0, plaintext=""), -32602),
    "bytes that are no hex": (ask("encrypt", party=0, peer=0, plaintext="zz"), -32602),
    "a dot in a name": (ask("create", party=1, name="a.b", device_id=1, trust_on_first_use=True), -32602),
    "a crash point that is not there": (ask("arm_crash", party=0, at=16), -32602),
    "another kind of message": (ask("decrypt", party=0, peer=0, kind="x", data=""), -32602),
    "half a bundle": (ask("establish", party=0, peer=0, bundle={}), -32602),
}
BAD_LINES_OF = {
    # It does no groups.
    "omemo-dr": {"a group": (ask("group_create", party=0, group="00" * 16), -32601)},
    "python-axolotl": {"a short group": (ask("group_create", party=0, group="00"), -32602)},
}


@pytest.mark.parametrize("peer", PEERS)
def test_bad_lines_are_answered_and_change_nothing(peer: str) -> None:
    """JSON-RPC 2.0, section 5.1: each gets its error; the next request is answered as if nothing had been."""
    bad = BAD_LINES | BAD_LINES_OF[peer]
    lines = [MADE, ask("observe", party=0)]
    for line, _ in bad.values():
        lines += [line, ask("observe", party=0)]
    command = [python(peer), folder(peer) / "driver.py"]
    ran = subprocess.run(command, input=b"".join(lines), capture_output=True, timeout=60)
    answers = [json.loads(line) for line in ran.stdout.splitlines()]
    assert (ran.returncode, len(answers)) == (0, len(lines)), ran.stderr
    for (what, (_, code)), error, after in zip(bad.items(), answers[2::2], answers[3::2], strict=True):
        assert error["error"]["code"] == code, what
        assert after["result"] == answers[1]["result"], what


@pytest.mark.parametrize("peer", MARKS)
def test_a_peer_without_its_environment_says_how_to_make_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, peer: str
) -> None:
    """`find_target`: without its environment the peer is no target, and the text says what to do."""
    monkeypatch.setenv("PAWL_DRIVERS", str(tmp_path))
    (tmp_path / peer).mkdir()
    (tmp_path / peer / "driver.py").touch()
    with pytest.raises(registry.TargetMissing, match="make setup"):
        find_target(peer)


# -- findings ---------------------------------------------------------------------------------------------------------

ROW = re.compile(r"^\| ([A-Z0-9, -]+) \| `([a-z]{3}-[0-9]{2}-[a-z0-9-]+)` \| .* \| .* \| (yes|no) \|$")


def table(peer: str) -> list[tuple[set[str], str, bool]]:
    """The README's table of findings: invariants, script, and whether the gate sees it."""
    rows = [ROW.match(line) for line in (folder(peer) / "README.md").read_text("utf-8").splitlines()]
    return [(set(row[1].split(", ")), row[2], row[3] == "yes") for row in rows if row]


@pytest.mark.parametrize("peer", MARKS)
def test_the_table_of_findings_is_the_truth(peer: str) -> None:
    """README of the driver: each script has a row, and what the gate sees are together the expected findings."""
    rows = table(peer)
    assert sorted(script for _, script, _ in rows) == [path.stem for path in findings(peer)]
    assert len(rows) >= 12
    expected = expect.read(folder(peer) / "expected.json", target=peer).findings
    assert set(expected) == set().union(*(ids for ids, _, seen in rows if seen))
    for id_, reason in expected.items():
        named = re.findall(r"findings/([a-z0-9-]+)\.py", reason)
        assert named, id_
        for name in named:
            ids = next(ids for ids, script, _ in rows if script == name)
            assert id_ in ids, f"{name}: the table does not say {id_}"


@pytest.mark.parametrize(
    ("peer", "script"),
    [pytest.param(name, path, marks=mark) for name, mark in MARKS.items() for path in findings(name)],
    ids=lambda part: part if isinstance(part, str) else part.stem,
)
def test_a_finding_is_reproduced(peer: str, script: Path) -> None:
    """README of the driver: each finding has a script that exits 0 as long as it is there, using the peer alone."""
    ran = subprocess.run([python(peer), script], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr
