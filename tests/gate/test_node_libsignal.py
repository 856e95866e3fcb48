"""The driver of node-libsignal: what it declares is what the peer does, and its findings are reproduced."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator

import pytest

from pawl_gate import expect
from pawl_gate.targets.base import Refused, SimulatedCrash, WireMessage
from pawl_gate.targets.driver import DriverTarget, DriverWorld
from pawl_gate.targets.registry import drivers_folder, find_target

pytestmark = pytest.mark.node_peer

FOLDER = drivers_folder() / "node-libsignal"
EXPECTED = {"node-libsignal": FOLDER / "expected.json", "node-libsignal-live": FOLDER / "expected-live.json"}
FINDINGS = sorted((FOLDER / "findings").glob("[a-z][a-z][a-z]-[0-9][0-9]-*.js"))
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


def state(world: DriverWorld, party: int) -> str:
    """The digest of what a party stores."""
    seen = world.observe(party)
    assert seen is not None
    return seen.digest


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
        before = state(world, BOB)
        if accepted:
            assert world.decrypt(BOB, ALICE, message) == b"last"
            seen = world.observe(BOB)
            assert seen is not None
            # Kept keys are counted: every message that was skipped, all in one chain.
            assert (seen.kept_chain, seen.kept_session, seen.chains) == (skipped, skipped, 2)
        else:
            assert "Over 2000 messages" in refused(world.decrypt, BOB, ALICE, message).text
            assert state(world, BOB) == before


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
    before = state(world, ALICE)
    assert refused(world.establish, ALICE, BOB, bundle).code == "untrusted-identity"
    assert state(world, ALICE) == before
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
    before = state(world, BOB)
    refused(world.decrypt, BOB, ALICE, WireMessage("prekey", forged[:-1] + bytes([forged[-1] ^ 1])))
    assert state(world, BOB) == before
    assert world.decrypt(BOB, ALICE, world.encrypt(ALICE, BOB, b"hello")) == b"hello"


def test_a_restart_keeps_what_is_stored(target: DriverTarget) -> None:
    """World.restart: the party is opened again from what is durable, and nothing of that is lost."""
    world = acquainted(target)
    before = state(world, BOB)
    world.restart(BOB)
    assert state(world, BOB) == before
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


# -- the store that keeps live objects --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def live() -> Iterator[DriverTarget]:
    """The peer over the store that hands out the objects that it holds."""
    found = find_target("node-libsignal-live")
    assert isinstance(found, DriverTarget)
    yield found
    found.close()


def forged(message: WireMessage) -> WireMessage:
    """The message with a wrong MAC."""
    return WireMessage(message.kind, message.data[:-1] + bytes([message.data[-1] ^ 1]))


def test_the_live_store_shows_what_a_refused_message_changed(target: DriverTarget, live: DriverTarget) -> None:
    """README of the driver: the live store hands out the record that it holds; the other one makes it anew from text."""
    for one, changed in ((target, False), (live, True)):
        world = acquainted(one)
        message = world.encrypt(ALICE, BOB, b"m")
        before = state(world, BOB)
        refused(world.decrypt, BOB, ALICE, forged(message))
        assert (state(world, BOB) != before) is changed
        # What was never stored is gone with the memory.
        world.restart(BOB)
        assert state(world, BOB) == before
        assert world.decrypt(BOB, ALICE, message) == b"m"


def test_a_live_record_is_held_across_calls(live: DriverTarget) -> None:
    """README of the driver: a restart alone empties the memory, so that honest traffic is the same over both stores."""
    world = acquainted(live)
    for text in (b"1", b"2", b"3"):
        assert world.decrypt(BOB, ALICE, world.encrypt(ALICE, BOB, text)) == text
    before = state(world, BOB)
    world.restart(BOB)
    assert state(world, BOB) == before
    assert "crash" not in live.hello.capabilities


# -- crashes between the store's calls --------------------------------------------------------------------------------


def first_message(target: DriverTarget) -> tuple[DriverWorld, WireMessage]:
    """Alice's first message to Bob, on his one-time prekey 1."""
    world = target.world(1)
    for party, name in enumerate(("alice", "bob")):
        world.create(party, name=name, device_id=1, trust_on_first_use=True)
    world.establish(ALICE, BOB, world.bundle(BOB, one_time=True))
    return world, world.encrypt(ALICE, BOB, b"hello")


@pytest.mark.parametrize("at", range(16))
def test_a_crash_leaves_what_was_stored_before_it(target: DriverTarget, at: int) -> None:
    """README of the driver: reading a first message calls the store eight times, storeSession last but one."""
    world, message = first_message(target)
    before = state(world, BOB)
    world.arm_crash(BOB, at)
    if 8 <= at < 15:
        # No call of this number: the operation ends as ever.
        assert world.decrypt(BOB, ALICE, message) == b"hello"
        assert world.disarm_crash(BOB) is True
        return
    with pytest.raises(SimulatedCrash):
        world.decrypt(BOB, ALICE, message)
    world.restart(BOB)
    after, complete = world.observe(BOB), world.complete_digest(BOB)
    assert after is not None
    if at <= 6:
        assert (after.digest, after.prekeys) == (before, (1,))
        assert world.decrypt(BOB, ALICE, message) == b"hello"
    elif at == 7:
        # Between the two: the session is there, and its prekey too.
        assert after.digest not in (before, complete)
        assert after.prekeys == (1,)
    else:
        assert (after.digest, after.prekeys) == (complete, ())
    # Whoever crashed goes on.
    world.establish(BOB, ALICE, world.bundle(ALICE, one_time=True))
    assert world.decrypt(ALICE, BOB, world.encrypt(BOB, ALICE, b"on")) == b"on"


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
    # The first begins a chain: two root steps, each a derivation, and a chain step; then the message's own keys.
    assert work == [4, 102]


# -- bad input: the driver answers, and goes on -----------------------------------------------------------------------


def conversation(lines: list[bytes], *, options: tuple[str, ...] = ()) -> tuple[list[dict[str, object]], int]:
    """What the driver answers to these lines, and its exit status."""
    command = [os.environ.get("PAWL_NODE", "node"), FOLDER / "driver.js", *options]
    ran = subprocess.run(command, input=b"".join(lines), capture_output=True, timeout=60)
    return [json.loads(line) for line in ran.stdout.splitlines()], ran.returncode


def ask(method: object, **params: object) -> bytes:
    """One request."""
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode() + b"\n"


ALICE_MADE = ask("create", party=0, name="alice", device_id=1, trust_on_first_use=True)
BAD_LINES = {
    "not JSON": (b"{\n", -32700),
    "no text": (b"\xff\xfe\n", -32700),
    "empty": (b"\n", -32700),
    "null": (b"null\n", -32600),
    "a list": (b"[]\n", -32600),
    "too long": (b" " * (5 << 20) + b"{}\n", -32600),
    "no method": (ask(7), -32600),
    "an inherited name": (ask("constructor"), -32601),
    "no such verb": (ask("fly"), -32601),
    "a missing party": (ask("observe"), -32602),
    "a party of another kind": (ask("observe", party="0"), -32602),
    "a party that is not there": (ask("encrypt", party=9, peer=0, plaintext=""), -32602),
    "bytes that are no hex": (ask("encrypt", party=0, peer=0, plaintext="zz"), -32602),
    "an inherited name as a name": (
        ask("create", party=1, name="toString", device_id=1, trust_on_first_use=True),
        -32602,
    ),
    "a dot in a name": (ask("create", party=1, name="a.b", device_id=1, trust_on_first_use=True), -32602),
    "a crash point that is not there": (ask("arm_crash", party=0, at=16), -32602),
    "another kind of message": (ask("decrypt", party=0, peer=0, kind="x", data=""), -32602),
}


def test_bad_lines_are_answered_and_change_nothing() -> None:
    """JSON-RPC 2.0, section 5.1: each gets its error; the next request is answered as if nothing had been."""
    lines = [ALICE_MADE, ask("observe", party=0)]
    for line, _ in BAD_LINES.values():
        lines += [line, ask("observe", party=0)]
    answers, status = conversation(lines)
    assert status == 0
    assert len(answers) == len(lines)
    state_of_alice = answers[1]["result"]
    for (what, (_, code)), error, after in zip(BAD_LINES.items(), answers[2::2], answers[3::2], strict=True):
        assert error["error"]["code"] == code, what
        assert after["result"] == state_of_alice, what


@pytest.mark.parametrize("options", [("--store", "disk"), ("--other", "text"), ("--store", "text", "x")])
def test_wrong_options_are_refused(options: tuple[str, ...]) -> None:
    """README of the driver: `--store text` or `--store live`."""
    answers, status = conversation([ask("hello")], options=options)
    assert (answers, status) == ([], 2)


def test_noise_of_the_peer_does_not_reach_stdout() -> None:
    """Driver contract: stdout is for answers. The peer prints, session keys included, and none of it gets out."""
    lines = [ALICE_MADE, ask("create", party=1, name="bob", device_id=1, trust_on_first_use=True)]
    lines += [ask("bundle", party=1, one_time=True)]
    answers, _ = conversation(lines)
    bundle = {key: value for key, value in answers[2]["result"].items() if key != "state"}
    for _ in range(2):
        lines += [ask("establish", party=0, peer=1, bundle=bundle)]
    answers, status = conversation(lines)
    assert status == 0
    assert len(answers) == len(lines)
    assert all(set(answer) <= {"jsonrpc", "id", "result", "error"} for answer in answers)


# -- findings ---------------------------------------------------------------------------------------------------------

ROW = re.compile(r"^\| ([A-Z0-9, -]+) \| `([a-z0-9-]+)` \| .* \| .* \| (any|live|[a-z ]+) \| ([a-z, ]+|\u2013) \|$")


def table() -> list[tuple[set[str], str, set[str]]]:
    """The README's table of findings: invariants, script, and the targets on which the gate sees it."""
    rows = [ROW.match(line) for line in (FOLDER / "README.md").read_text("utf-8").splitlines()]
    return [
        (set(row[1].split(", ")), row[2], set() if row[4] == "\u2013" else set(row[4].split(", ")))
        for row in rows
        if row
    ]


def test_the_table_of_findings_is_the_truth() -> None:
    """README of the driver: each script has a row, and the rows that the gate sees are the expected findings."""
    rows = table()
    assert sorted(script for _, script, _ in rows) == [path.stem for path in FINDINGS]
    names = {"node-libsignal": "text", "node-libsignal-live": "live"}
    for target, path in EXPECTED.items():
        findings = expect.read(path, target=target).findings
        seen: set[str] = set()
        for ids, _, where in rows:
            assert where <= set(names.values())
            seen |= ids if names[target] in where else set()
        # A row may name invariants that nothing judges yet; what is expected must be in a row that the gate sees.
        assert set(findings) <= seen
        for ids, script, where in rows:
            assert not where & {names[target]} or ids & set(findings), script


@pytest.mark.parametrize("target", EXPECTED)
def test_each_expected_finding_names_the_script_that_confirms_it(target: str) -> None:
    """README of the driver: every entry of a list of expected findings has its reason and its script."""
    for id_, reason in expect.read(EXPECTED[target], target=target).findings.items():
        scripts = re.findall(r"findings/([a-z0-9-]+\.js)", reason)
        assert scripts, id_
        for script in scripts:
            ids = next(ids for ids, name, _ in table() if f"{name}.js" == script)
            assert id_ in ids, f"{script}: the table does not say {id_}"


def test_there_are_findings() -> None:
    """A list that judged nothing is never a success."""
    assert len(FINDINGS) >= 20
