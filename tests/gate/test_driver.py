"""The harness in front of a driver program: whatever the program does, one typed end, and no process is left."""

from __future__ import annotations

import gc
import io
import json
import os
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pawl_gate.report_text import verify_text
from pawl_gate.targets import registry
from pawl_gate.targets.base import HarnessBroken, Refused, SimulatedCrash, TargetCrashed, TargetHung, WireMessage
from pawl_gate.targets.driver import MAX_LINE_BYTES, STDERR_BYTES, DriverTarget
from pawl_gate.verify import MAX_HANGS, MAX_SAID, Budget, Exit, Verification
from pawl_gate.wire_view import Layer
from pawl_spec.history import Observe

KEY = "05" + "11" * 32

PREAMBLE = f"""
import json, os, subprocess, sys, time

KEY = {KEY!r}
HELLO = {{"name": "toy", "version": "1", "protocol": 1, "message_versions": [3], "level": 1,
    "capabilities": ["reinstall", "approve", "strict-identity", "restart"],
    "limits": {{"forward_jump": 10, "kept_per_chain": None, "kept_per_session": 5, "receiving_chains": 1,
               "archived_sessions": 0, "derivations_per_message": None}},
    "profile": {{"promotes": "never", "closes_chains": True}}}}
BUNDLE = {{"registration_id": 7, "device_id": 1, "identity_key": KEY, "signed_prekey_id": 1, "signed_prekey": KEY,
    "signature": "22" * 64, "prekey_id": 3, "prekey": KEY}}
SEEN = {{"digest": "d", "prekeys": [3, 1], "sessions": 0, "chains": 0, "kept_chain": 0, "kept_session": 0}}
RESULTS = {{"hello": HELLO, "reset": {{}}, "create": {{"identity_key": KEY}}, "reinstall": {{"identity_key": KEY}},
    "bundle": BUNDLE, "establish": {{}}, "encrypt": {{"kind": "signal", "data": "00ff"}},
    "decrypt": {{"plaintext": "6869"}}, "approve": {{}}, "restart": {{}}, "observe": SEEN}}

def out(value):
    sys.stdout.write(json.dumps(value) + "\\n")
    sys.stdout.flush()

def reply(request, **members):
    out({{"jsonrpc": "2.0", "id": request["id"], **members}})

def refuse(request, code="bad-mac", **data):
    reply(request, error={{"code": -32000, "message": "no", "data": {{"refusal": code, **data}}}})

def misbehave(request):
    return False
"""

LOOP = """
open(os.environ["PIDS"], "a").write(f"{os.getpid()}\\n")
for line in sys.stdin:
    request = json.loads(line)
    if misbehave(request):
        continue
    if request["method"] in RESULTS:
        reply(request, result=RESULTS[request["method"]])
    else:
        reply(request, error={"code": -32601, "message": "no such verb"})
"""

Start = Callable[..., DriverTarget]


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start a toy driver with some lines changed. Afterwards no process that wrote its number down may be left."""
    pids = tmp_path / "pids"
    pids.touch()
    monkeypatch.setenv("PIDS", str(pids))
    targets: list[DriverTarget] = []

    def start(lines: str = "", *, timeout: float = 5.0) -> DriverTarget:
        script = tmp_path / "driver.py"
        script.write_text(PREAMBLE + textwrap.dedent(lines) + LOOP)
        target = DriverTarget([sys.executable, script], timeout=timeout)
        targets.append(target)
        return target

    yield start
    for target in targets:
        target.close()
    started = [int(pid) for pid in pids.read_text().split()]
    deadline = time.monotonic() + 5
    while any(map(alive, started)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not [pid for pid in started if alive(pid)]


def on(verb: str, *lines: str) -> str:
    """A driver that does something of its own when it is asked for `verb`, and is honest otherwise."""
    body = "\n".join("        " + line for line in lines)
    head = f"def misbehave(request):\n    if request['method'] == {verb!r}:\n"
    return f"{head}{body}\n        return True\n    return False\n"


def test_an_honest_driver_is_driven_through_every_verb(start: Start) -> None:
    """Driver contract: each verb has the parameters and results listed. What comes back is bytes, numbers and names."""
    target = start()
    assert target.hello.name == "toy"
    assert target.hello.level is Observe.COUNTS
    assert target.hello.limits.kept_per_chain is None
    assert (target.hello.limits.forward_jump, target.hello.limits.kept_per_session) == (10, 5)
    assert target.hello.profile.promotes == "never"
    assert target.hello.profile.closes_chains
    # Left out, it is false.
    assert not target.hello.profile.needs_one_time
    world = target.world(1)
    assert world.create(0, name="alice", device_id=1, trust_on_first_use=False) == bytes.fromhex(KEY)
    assert world.reinstall(0) == bytes.fromhex(KEY)
    bundle = world.bundle(0, one_time=True)
    assert (bundle.prekey_id, bundle.signature) == (3, b"\x22" * 64)
    world.establish(1, 0, bundle)
    assert world.encrypt(1, 0, b"hi") == WireMessage("signal", b"\x00\xff")
    assert world.decrypt(0, 1, WireMessage("signal", b"\x00\xff")) == b"hi"
    world.approve(0, 1, bytes.fromhex(KEY))
    world.restart(0)
    seen = world.observe(0)
    assert seen is not None
    assert (seen.digest, seen.prekeys) == ("d", (1, 3))


def test_a_refusal_carries_our_code_and_the_peers_text(start: Start) -> None:
    """Driver contract: a refusal is error -32000 with our code in data.refusal. The world can be used after it."""
    world = start(on("decrypt", "refuse(request)")).world(1)
    with pytest.raises(Refused) as refused:
        world.decrypt(0, 1, WireMessage("signal", b""))
    assert (refused.value.code, refused.value.text) == ("bad-mac", "no")
    assert world.encrypt(0, 1, b"").kind == "signal"


def test_state_that_comes_with_an_answer_saves_the_round_trip(start: Start) -> None:
    """Driver contract: an answer may carry "state". Then observe asks nothing; without it, it asks."""
    world = start(
        on("decrypt", "refuse(request, state={'0': {**SEEN, 'digest': 'after'}})")
        + on("observe", "os._exit(9)").replace("misbehave", "second")
        + "first = misbehave\ndef misbehave(request):\n    return first(request) or second(request)\n"
    ).world(1)
    with pytest.raises(Refused):
        world.decrypt(0, 1, WireMessage("signal", b""))
    seen = world.observe(0)
    assert seen is not None
    assert seen.digest == "after"
    # A later verb that says nothing of the state makes the known one old.
    world.restart(0)
    with pytest.raises(TargetCrashed):
        world.observe(0)


def test_a_driver_that_ends_is_a_crash_and_its_last_words_are_shown(start: Start) -> None:
    """Driver contract: CRASH is a result. stderr is kept, at most its last 4,096 bytes; the next world starts anew."""
    target = start(
        on(
            "encrypt",
            f"sys.stderr.write('x' * {4 * STDERR_BYTES} + 'out of luck')",
            "sys.stderr.flush()",
            "os._exit(3)",
        )
    )
    world = target.world(1)
    with pytest.raises(TargetCrashed, match="exit status 3") as crash:
        world.encrypt(0, 1, b"")
    assert "out of luck" in str(crash.value)
    assert len(str(crash.value)) < STDERR_BYTES + 200
    with pytest.raises(TargetCrashed):
        world.restart(0)
    assert target.world(2).decrypt(0, 1, WireMessage("signal", b"")) == b"hi"


def test_a_driver_killed_by_a_signal_is_a_crash(start: Start) -> None:
    """Driver contract: CRASH is a result, also when the program dies of a signal, which is named."""
    world = start(on("encrypt", "os.kill(os.getpid(), 11)", "time.sleep(9)")).world(1)
    with pytest.raises(TargetCrashed, match="signal 11"):
        world.encrypt(0, 1, b"")


def test_a_driver_that_ended_while_nobody_looked_is_started_again(start: Start) -> None:
    """Driver contract: the next world restarts a program that has ended."""
    target = start(on("restart", "reply(request, result={})", "os._exit(0)"))
    target.world(1).restart(0)
    assert target.world(2).encrypt(0, 1, b"").kind == "signal"


def test_a_driver_that_hangs_is_killed_with_what_it_started(start: Start) -> None:
    """Driver contract: HANG is a result. The whole process group is killed, and the next world starts anew."""
    target = start(
        on(
            "encrypt",
            "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])",
            "open(os.environ['PIDS'], 'a').write(f'{child.pid}\\n')",
            "time.sleep(60)",
        ),
        timeout=1.0,
    )
    world = target.world(1)
    before = time.monotonic()
    with pytest.raises(TargetHung, match="no answer within 1 s"):
        world.encrypt(0, 1, b"")
    assert time.monotonic() - before < 4
    assert target.world(2).decrypt(0, 1, WireMessage("signal", b"")) == b"hi"


def test_a_driver_that_does_not_read_does_not_block_us(start: Start) -> None:
    """Driver contract: HANG is a result, also when the request does not fit the pipe."""
    world = start(on("restart", "reply(request, result={})", "time.sleep(60)"), timeout=1.0).world(1)
    world.restart(0)
    before = time.monotonic()
    with pytest.raises(TargetHung):
        world.decrypt(0, 1, WireMessage("signal", bytes(512 * 1024)))
    assert time.monotonic() - before < 4


def test_a_driver_that_answers_before_it_has_read_is_a_broken_harness(start: Start) -> None:
    """Driver contract: one request, one answer. An answer to half a request answers nothing."""
    early = "out({'jsonrpc': '2.0', 'id': request['id'] + 1, 'result': RESULTS['decrypt']})"
    world = start(on("restart", "reply(request, result={})", "time.sleep(0.3)", early, "time.sleep(60)")).world(1)
    world.restart(0)
    with pytest.raises(HarnessBroken, match="before it had read"):
        world.decrypt(0, 1, WireMessage("signal", bytes(512 * 1024)))


def test_a_dead_driver_whose_child_holds_the_pipes_is_a_crash(start: Start) -> None:
    """Driver contract: a program that ended is a crash, even if something that it started keeps its stdout open."""
    world = start(
        on(
            "encrypt",
            "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])",
            "open(os.environ['PIDS'], 'a').write(f'{child.pid}\\n')",
            "os._exit(4)",
        ),
        timeout=1.0,
    ).world(1)
    with pytest.raises(TargetCrashed, match="exit status 4"):
        world.encrypt(0, 1, b"")


def test_much_stderr_does_not_block_the_driver(start: Start) -> None:
    """Driver contract: stderr is free. A megabyte of it neither blocks the program nor is kept."""
    world = start(on("encrypt", "sys.stderr.write('x' * 2**20)", "reply(request, result=RESULTS['encrypt'])")).world(1)
    assert world.encrypt(0, 1, b"").data == b"\x00\xff"


BREACHES = {
    "junk": on("encrypt", "print('hello there', flush=True)"),
    "junk before the answer": on("encrypt", "print('warning!')", "reply(request, result=RESULTS['encrypt'])"),
    "junk after the answer": on(
        "encrypt",
        "answer = {'jsonrpc': '2.0', 'id': request['id'], 'result': RESULTS['encrypt']}",
        "sys.stdout.write(json.dumps(answer) + '\\n{}\\n')",
        "sys.stdout.flush()",
    ),
    "not UTF-8": on("encrypt", "sys.stdout.buffer.write(b'\\xff\\xfe\\n')", "sys.stdout.flush()"),
    "NaN": on("encrypt", "reply(request, result={'kind': 'signal', 'data': float('nan')})"),
    "deep nesting": on("encrypt", "print('[' * 100000 + ']' * 100000, flush=True)"),
    "a list": on("encrypt", "out([])"),
    "another id": on("encrypt", "out({'jsonrpc': '2.0', 'id': request['id'] + 1, 'result': RESULTS['encrypt']})"),
    "an id of another type": on("encrypt", "out({'jsonrpc': '2.0', 'id': str(request['id']), 'result': {}})"),
    "no version": on("encrypt", "out({'id': request['id'], 'result': RESULTS['encrypt']})"),
    "result and error": on("encrypt", "reply(request, result={}, error={'code': -32000, 'message': ''})"),
    "an extra member": on("encrypt", "reply(request, result=RESULTS['encrypt'], extra=1)"),
    "neither": on("encrypt", "reply(request)"),
    "a huge line": on("encrypt", f"sys.stdout.write('x' * {MAX_LINE_BYTES + 65537})", "sys.stdout.flush()"),
    "closed stdout": on("encrypt", "os.close(1)", "time.sleep(60)"),
    "wrong kind": on("encrypt", "reply(request, result={'kind': 'other', 'data': ''})"),
    "kind missing": on("encrypt", "reply(request, result={'data': ''})"),
    "an extra key": on("encrypt", "reply(request, result={'kind': 'signal', 'data': '', 'extra': 1})"),
    "bytes as a number": on("encrypt", "reply(request, result={'kind': 'signal', 'data': 5})"),
    "bytes in base64": on("encrypt", "reply(request, result={'kind': 'signal', 'data': 'aGk='})"),
    "hex in capitals": on("encrypt", "reply(request, result={'kind': 'signal', 'data': 'FF'})"),
    "hex with spaces": on("encrypt", "reply(request, result={'kind': 'signal', 'data': '00 ff'})"),
    "unknown refusal code": on("encrypt", "refuse(request, 'because')"),
    "a refusal without a code": on("encrypt", "reply(request, error={'code': -32000, 'message': 'no'})"),
    "a refusal without a text": on("encrypt", "reply(request, error={'code': -32000, 'data': {'refusal': 'bad-mac'}})"),
    "a missing verb": on("encrypt", "reply(request, error={'code': -32601, 'message': 'no such verb'})"),
    "bad params": on("encrypt", "reply(request, error={'code': -32602, 'message': 'what?'})"),
    "state is a list": on("encrypt", "reply(request, result={**RESULTS['encrypt'], 'state': []})"),
    "state of nobody": on("encrypt", "reply(request, result={**RESULTS['encrypt'], 'state': {'alice': SEEN}})"),
    "state with a wrong count": on(
        "encrypt", "reply(request, result={**RESULTS['encrypt'], 'state': {'0': {**SEEN, 'chains': True}}})"
    ),
    "state with a negative count": on(
        "encrypt", "reply(request, result={**RESULTS['encrypt'], 'state': {'0': {**SEEN, 'chains': -1}}})"
    ),
    "state with an unknown count": on(
        "encrypt", "reply(request, result={**RESULTS['encrypt'], 'state': {'0': {**SEEN, 'chian': 1}}})"
    ),
}


@pytest.mark.parametrize("lines", BREACHES.values(), ids=BREACHES.keys())
def test_a_breach_of_the_contract_is_a_broken_harness(start: Start, lines: str) -> None:
    """Driver contract: anything else on stdout is a broken harness. It is never a verdict about the target."""
    target = start(lines)
    world = target.world(1)
    with pytest.raises(HarnessBroken):
        world.encrypt(0, 1, b"")
    # The program that broke it is gone; another one can be driven.
    assert target.world(2).decrypt(0, 1, WireMessage("signal", b"")) == b"hi"


@pytest.mark.parametrize(
    "change",
    ["prekey=None", "prekey_id=None", "signature='22' * 63", "identity_key='05'", "registration_id=-1",
     "registration_id=2**32", "device_id=1.0", "prekey_id=None, prekey=None"],
)  # fmt: skip
def test_a_malformed_bundle_is_a_broken_harness(start: Start, change: str) -> None:
    """Driver contract: public keys have 33 bytes, the signature 64, numbers 32 bits, and a prekey comes with its id."""
    world = start(on("bundle", f"reply(request, result=dict(BUNDLE, {change}))")).world(1)
    with pytest.raises(HarnessBroken, match=r"bundle|prekey|signature|identity_key|registration_id|device_id"):
        world.bundle(0, one_time=True)


@pytest.mark.parametrize(
    "lines",
    [
        "os._exit(0)",
        "print('usage: ...', flush=True)",
        "HELLO['protocol'] = 2",
        "HELLO['message_versions'] = [4]",
        "HELLO['level'] = 7",
        "HELLO['level'] = True",
        "HELLO['capabilities'] = ['flies']",
        "HELLO['capabilities'] = ['crash']",
        "HELLO['capabilities'] = ['groups']",
        "HELLO['capabilities'] = ['group-rotate']",
        "HELLO['group_layout'] = 'current'",
        "HELLO['capabilities'] = ['groups']; HELLO['group_layout'] = 'later'",
        "HELLO['message_versions'] = []",
        "HELLO['limits'] = {}",
        "HELLO['limits']['forward_jump'] = None",
        "HELLO['limits']['weight'] = 1",
        "HELLO['profile']['promotes'] = 'sometimes'",
        "HELLO['profile']['needs_one_time'] = 'yes'",
        "HELLO['profile']['needs_luck'] = True",
        "del HELLO['name']",
        on("hello", "refuse(request)"),
        on("hello", "time.sleep(60)"),
        on("reset", "refuse(request)"),
        on("reset", "os._exit(1)"),
        on("reset", "reply(request, result={'seed': 1})"),
    ],
)
def test_a_driver_that_does_not_get_through_hello_and_reset_is_a_broken_harness(start: Start, lines: str) -> None:
    """Driver contract: hello declares who it is. Before it has, nothing was judged, so a death is no result either."""
    with pytest.raises(HarnessBroken):
        start(lines, timeout=1.0).world(1)


@pytest.mark.parametrize(
    "answer", ["result={}", "error={'code': -32000, 'message': 'no', 'data': {'refusal': 'unknown'}}"]
)
def test_a_driver_that_takes_any_verb_is_a_broken_harness(start: Start, answer: str) -> None:
    """Driver contract: a nonsense verb is sent as a control; whoever does not answer it with -32601 is not trusted."""
    lines = f"""
    def misbehave(request):
        if request["method"] not in RESULTS:
            reply(request, {answer})
            return True
        return False
    """
    with pytest.raises(HarnessBroken, match="a verb that does not exist"):
        start(lines)


def test_what_is_not_declared_is_not_asked_for(start: Start) -> None:
    """Driver contract: what a driver cannot do it does not declare, and is never asked for. Nothing is guessed."""
    world = start("HELLO['capabilities'] = []\nHELLO['level'] = 0\n").world(1)
    assert world.observe(0) is None
    for ask in (
        lambda: world.reinstall(0),
        lambda: world.restart(0),
        lambda: world.approve(0, 1, b""),
        lambda: world.arm_crash(0, 1),
        lambda: world.secrets(0),
        lambda: world.create(0, name="a", device_id=1, trust_on_first_use=False),
        lambda: world.import_party(0, **ALICE),
        lambda: world.import_signed_prekey(0, 1, private=bytes(32), signature=bytes(64)),
        lambda: world.import_prekey(0, 1, private=bytes(32)),
        lambda: world.inject_keys(0, []),
    ):
        with pytest.raises(HarnessBroken, match="does not declare"):
            ask()


GROUPS = """
HELLO["capabilities"] = ["groups", "group-rotate", "group-forget", "group-members"]
HELLO.update(message_versions=[], group_layout="earlier", level=2)
HELLO["limits"]["sender_chains"] = 3
RESULTS.update(create={"identity_key": None}, group_create={"distribution": "33"}, group_join={},
    group_encrypt={"data": "3300"}, group_decrypt={"plaintext": "6869"}, group_rotate={}, group_forget={},
    group_members={}, group_secrets={"secrets": ["11" * 32]})
SEEN.update(group_chains=2, group_kept=1)
"""


def test_groups_are_driven_as_the_contract_says(start: Start, tmp_path: Path) -> None:
    """Driver contract: the verbs of groups, their parameters and results; a driver may do groups and no sessions."""
    asked = tmp_path / "asked"
    note = f"""
def misbehave(request):
    if request["method"].startswith("group"):
        open({str(asked)!r}, "a").write(json.dumps([request["method"], request["params"]]) + "\\n")
    return False
"""
    target = start(GROUPS + note)
    hello = target.hello
    assert (hello.sessions, hello.group_layout, hello.limits.sender_chains) == (False, "earlier", 3)
    world, group = target.world(1), bytes(range(16))
    assert world.create(0, name="a", device_id=1, trust_on_first_use=True) == b""
    assert world.group_create(0, group) == b"\x33"
    world.group_join(1, 0, group, b"\x33")
    assert world.group_encrypt(0, group, b"hi") == b"\x33\x00"
    assert world.group_decrypt(1, 0, group, b"\x33\x00") == b"hi"
    world.group_rotate(0, group)
    world.group_forget(1, 0, group)
    world.group_members(0, group, [1, 2])
    assert world.group_secrets(0) == [b"\x11" * 32]
    seen = world.observe(0)
    assert seen is not None
    assert (seen.group_chains, seen.group_kept) == (2, 1)
    told = {"group": group.hex()}
    assert [json.loads(line) for line in asked.read_text().splitlines()] == [
        ["group_create", {"party": 0, **told}],
        ["group_join", {"party": 1, "sender": 0, **told, "distribution": "33"}],
        ["group_encrypt", {"party": 0, **told, "plaintext": "6869"}],
        ["group_decrypt", {"party": 1, "sender": 0, **told, "data": "3300"}],
        ["group_rotate", {"party": 0, **told}],
        ["group_forget", {"party": 1, "peer": 0, **told}],
        ["group_members", {"party": 0, **told, "members": [1, 2]}],
        ["group_secrets", {"party": 0}],
    ]


def test_a_driver_without_sessions_is_asked_for_none(start: Start) -> None:
    """Driver contract: "unsupported (declared)"; whoever names no message version is asked for no session."""
    world = start(GROUPS).world(1)
    for ask in (
        lambda: world.bundle(0, one_time=True),
        lambda: world.encrypt(0, 1, b""),
        lambda: world.decrypt(0, 1, WireMessage("signal", b"")),
        lambda: world.secrets(0),
    ):
        with pytest.raises(HarnessBroken, match="does not declare sessions"):
            ask()


def test_a_driver_without_groups_is_asked_for_none(start: Start) -> None:
    """Driver contract: the verbs of groups are for drivers that declare them."""
    world, group = start("HELLO['level'] = 2").world(1), bytes(16)
    for ask in (
        lambda: world.group_create(0, group),
        lambda: world.group_join(0, 1, group, b""),
        lambda: world.group_encrypt(0, group, b""),
        lambda: world.group_decrypt(0, 1, group, b""),
        lambda: world.group_rotate(0, group),
        lambda: world.group_forget(0, 1, group),
        lambda: world.group_members(0, group, []),
        lambda: world.group_secrets(0),
    ):
        with pytest.raises(HarnessBroken, match="does not declare"):
            ask()


def test_only_without_sessions_has_a_party_no_key(start: Start) -> None:
    """Driver contract: `identity_key` is null where sessions are not declared, and there alone."""
    world = start("RESULTS['create'] = {'identity_key': None}").world(1)
    with pytest.raises(HarnessBroken, match="identity_key"):
        world.create(0, name="a", device_id=1, trust_on_first_use=True)


ALICE = {"name": "a", "device_id": 1, "trust_on_first_use": True, "identity": b"\1" * 32, "registration_id": 7}

IMPORTING = """
HELLO["capabilities"] += ["import-keys", "inject-keys"]
RESULTS.update(import_party={"identity_key": KEY}, import_signed_prekey={"public_key": KEY},
    import_prekey={"public_key": KEY}, inject_keys={})
"""


def test_keys_are_put_in_as_the_contract_says(start: Start, tmp_path: Path) -> None:
    """Driver contract: the parameters of the verbs for vectors, private keys in hex, and their results."""
    log = tmp_path / "log"
    lines = f"""
def misbehave(request):
    with open({str(log)!r}, "a") as file:
        print(request["method"], json.dumps(request["params"], sort_keys=True), file=file)
    return False
"""
    world = start(IMPORTING + lines).world(1)
    log.write_text("")
    key = bytes.fromhex(KEY)
    assert world.import_party(0, **ALICE) == key
    assert world.import_signed_prekey(0, 4, private=b"\2" * 32, signature=b"\3" * 64) == key
    assert world.import_prekey(0, 0, private=b"\2" * 32) == key
    world.inject_keys(0, [b"\2" * 32, b"\3" * 32])
    two, three = "02" * 32, "03" * 32
    identity = f'"identity": "{"01" * 32}"'
    assert log.read_text().splitlines() == [
        f'import_party {{"device_id": 1, {identity}, "name": "a", "party": 0, "registration_id": 7, "trust_on_first_use": true}}',
        f'import_signed_prekey {{"id": 4, "party": 0, "private": "{two}", "signature": "{"03" * 64}"}}',
        f'import_prekey {{"id": 0, "party": 0, "private": "{two}"}}',
        f'inject_keys {{"party": 0, "private": ["{two}", "{three}"]}}',
    ]


@pytest.mark.parametrize("verb", ["import_party", "import_signed_prekey", "import_prekey", "inject_keys"])
def test_an_answer_about_keys_must_keep_to_the_contract(start: Start, verb: str) -> None:
    """A public key has 33 bytes, and what changes nothing answers with nothing."""
    world = start(IMPORTING + f"RESULTS[{verb!r}] = {{'public_key': '05'}}\n").world(1)
    asks = {
        "import_party": lambda: world.import_party(0, **ALICE),
        "import_signed_prekey": lambda: world.import_signed_prekey(0, 1, private=bytes(32), signature=bytes(64)),
        "import_prekey": lambda: world.import_prekey(0, 1, private=bytes(32)),
        "inject_keys": lambda: world.inject_keys(0, []),
    }
    with pytest.raises(HarnessBroken, match="does not keep to the contract"):
        asks[verb]()


CRASHES = """
HELLO["capabilities"].append("crash")
RESULTS["arm_crash"] = {}
RESULTS["disarm_crash"] = {"armed": True}
CRASH = {"code": -32001, "message": "crashed", "data": {"complete": "after"}}
"""


def test_a_crash_strikes_where_it_was_armed(start: Start) -> None:
    """Driver contract: error -32001 is the crash that was armed, with the digest of the whole step; then a restart."""
    world = start(CRASHES + on("decrypt", "reply(request, error=CRASH)")).world(1)
    world.create(0, name="a", device_id=1, trust_on_first_use=True)
    world.arm_crash(0, 7)
    with pytest.raises(SimulatedCrash):
        world.decrypt(0, 1, WireMessage("signal", b""))
    assert world.complete_digest(0) == "after"
    # It has struck: nothing is armed any more.
    assert world.disarm_crash(0) is False
    world.restart(0)


def test_a_crash_that_did_not_strike_is_taken_back(start: Start) -> None:
    """Driver contract: disarm_crash says whether a crash was still armed."""
    world = start(CRASHES).world(1)
    world.arm_crash(0, 7)
    assert world.decrypt(0, 1, WireMessage("signal", b"")) == b"hi"
    assert world.disarm_crash(0) is True
    assert world.disarm_crash(0) is False


@pytest.mark.parametrize(
    ("armed", "verb", "answer"),
    [
        (False, "decrypt", "error=CRASH"),
        (True, "approve", "error=CRASH"),
        (True, "decrypt", "error={**CRASH, 'data': {}}"),
        (True, "decrypt", "error={**CRASH, 'data': {'complete': 7}}"),
        (True, "arm_crash", "result={'armed': True}"),
    ],
    ids=["not armed", "no verb of crashes", "no digest", "no text", "an answer too much"],
)
def test_a_crash_that_nobody_asked_for_is_a_broken_harness(start: Start, armed: bool, verb: str, answer: str) -> None:
    """Driver contract: -32001 answers `establish`, `encrypt` or `decrypt` of a party whose crash is armed, no other."""
    world = start(CRASHES + on(verb, f"reply(request, {answer})")).world(1)

    def ask() -> None:
        if armed:
            world.arm_crash(0, 7)
        world.decrypt(0, 1, WireMessage("signal", b"")) if verb == "decrypt" else world.approve(0, 1, b"")

    with pytest.raises(HarnessBroken):
        ask()


def test_secrets_are_asked_for_at_level_two(start: Start) -> None:
    """Driver contract: at level 2 `secrets` gives the 32-byte secrets of the session state."""
    lines = "HELLO['level'] = 2\nRESULTS['secrets'] = {'secrets': ['33' * 32]}\n"
    assert start(lines).world(1).secrets(0) == [b"\x33" * 32]


def test_an_old_world_is_not_used_after_a_new_one_has_begun(start: Start) -> None:
    """World: the next world ends the former one. Using that is an error on our side, never a verdict."""
    target = start()
    old = target.world(1)
    target.world(2)
    with pytest.raises(HarnessBroken, match="after the next one"):
        old.restart(0)


def test_a_program_that_cannot_be_started_is_a_broken_harness(tmp_path: Path) -> None:
    """Driver contract: a driver is a program. One that is not there is said in one line."""
    with pytest.raises(HarnessBroken, match="cannot be started"):
        DriverTarget([tmp_path / "nothing"])


def test_a_forgotten_target_ends_its_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Driver contract: no process is left, even if nobody calls close()."""
    script, pids = tmp_path / "driver.py", tmp_path / "pids"
    script.write_text(PREAMBLE + LOOP)
    monkeypatch.setenv("PIDS", str(pids))
    target = DriverTarget([sys.executable, script])
    pid = int(pids.read_text())
    assert alive(pid)
    del target
    gc.collect()
    assert not alive(pid)


# -- names ------------------------------------------------------------------------------------------------------------


def test_an_unknown_name_is_a_usage_error() -> None:
    """`find_target`: a name that is neither known nor a path is refused by name, and the known ones are listed."""
    with pytest.raises(registry.UnknownTarget, match="node-libsignal, node-libsignal-live, omemo-dr, pawl"):
        registry.find_target("acme")
    with pytest.raises(registry.UnknownTarget, match="no driver at"):
        registry.find_target("./acme")


def test_a_path_is_a_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`find_target`: a path with a slash is a driver program; it must be executable."""
    driver = tmp_path / "driver"
    driver.write_text(f"#!{sys.executable}\n" + PREAMBLE + LOOP)
    monkeypatch.setenv("PIDS", str(tmp_path / "pids"))
    with pytest.raises(registry.UnknownTarget, match="not executable"):
        registry.find_target(str(driver))
    driver.chmod(0o700)
    target = registry.find_target(str(driver))
    assert target.hello.name == "toy"
    target.close()


def test_a_peer_that_is_not_installed_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`find_target`: without its driver, without Node or without its packages, it says what to do."""
    monkeypatch.setenv("PAWL_DRIVERS", str(tmp_path))
    with pytest.raises(registry.TargetMissing, match="PAWL_DRIVERS"):
        registry.find_target("node-libsignal")
    folder = tmp_path / "node-libsignal"
    folder.mkdir()
    (folder / "driver.js").touch()
    monkeypatch.setenv("PAWL_NODE", sys.executable)
    with pytest.raises(registry.TargetMissing, match="make setup"):
        registry.find_target("node-libsignal")
    monkeypatch.delenv("PAWL_NODE")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(registry.TargetMissing, match="no Node"):
        registry.find_target("node-libsignal")


def test_a_driver_that_is_not_built_says_how_to_build_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`find_target`: without its program the peer in C is no target, and the text names the packages."""
    monkeypatch.setenv("PAWL_DRIVERS", str(tmp_path))
    with pytest.raises(registry.TargetMissing, match="PAWL_DRIVERS"):
        registry.find_target("libsignal-c")
    (tmp_path / "libsignal-c").mkdir()
    (tmp_path / "libsignal-c" / "driver.c").touch()
    with pytest.raises(registry.TargetMissing, match="libsignal-protocol-c-dev"):
        registry.find_target("libsignal-c")


def test_the_drivers_lie_in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """`drivers_folder`: without PAWL_DRIVERS it is the checkout's own."""
    monkeypatch.delenv("PAWL_DRIVERS", raising=False)
    assert (registry.drivers_folder() / "node-libsignal" / "driver.js").is_file()
    assert os.path.samefile(registry.drivers_folder().parent, Path(__file__).parents[2])


# -- a whole verification -----------------------------------------------------------------------------------------------

SHORT = Budget("short", walks=50, examples=10, driven_share=1.0, shrink_steps=500, seconds=60, shrink_seconds=60)


MESSAGE = Layer(0x33, [(1, bytes.fromhex(KEY)), (2, 0), (3, 0), (4, bytes(16))], bytes(8)).data()
ENCRYPTS = f"RESULTS['encrypt']['data'] = {MESSAGE.hex()!r}\n"
"""A line of a driver: its messages are well-formed, though always the same."""


@pytest.mark.parametrize("verb", ["create", "bundle", "establish", "encrypt", "decrypt", "observe"])
def test_a_target_that_always_hangs_ends_the_search_early(start: Start, tmp_path: Path, verb: str) -> None:
    """After three hangs the search stops: the run fails, and says why; three more end the shrinking of what else is
    found.
    """
    hang = ENCRYPTS + on(verb, "open(os.environ['PIDS'] + '.hangs', 'a').write('.')", "time.sleep(60)")
    target = start(hang, timeout=0.4)
    report = Verification(target, name="toy", budget=SHORT, seed=0, progress=io.StringIO(), is_driver=True).run()
    assert report.reached.hangs == MAX_HANGS
    assert len((tmp_path / "pids.hangs").read_text()) <= 2 * MAX_HANGS
    assert report.exit is Exit.VIOLATED
    assert report.gaps[0] == "the target hung 3 times: the search stopped, in 'scenarios'"
    assert "make the target answer first" in verify_text(report, {}, None, report.exit)
    hung = report.found["PAR-01"]
    # What came after the hang is left out: nothing of it was carried out.
    assert hung.history.events[-1] is hung.broken.violation.event
    assert len(hung.trace.ops) <= len(hung.history.events)
    assert "incomplete: the target hung 3 times" in verify_text(report, {}, None, report.exit)


def test_a_target_that_crawls_is_cut_within_a_trace(start: Start) -> None:
    """The time cap holds between the operations of one trace, each message of a burst included."""
    slow = "def misbehave(request):\n    time.sleep(0.1 if request['method'] == 'encrypt' else 0)\n    return False\n"
    target = start(ENCRYPTS + slow)
    began = time.monotonic()
    budget = Budget("short", walks=5, examples=1, driven_share=1.0, shrink_steps=500, seconds=1, shrink_seconds=1)
    report = Verification(target, name="toy", budget=budget, seed=0, progress=io.StringIO(), is_driver=True).run()
    assert report.exit is not Exit.HOLDS
    assert "time cap of 1 s" in report.cut
    assert time.monotonic() - began < 20


def test_a_targets_words_steer_no_terminal_in_the_progress(start: Start) -> None:
    """Progress is for people: what a target says is spelled out there, on one line, and cut."""
    words = "\\x1b[2J\\u202e\\r\\n" + "x" * 5000
    lines = on("establish", f'sys.stderr.write("{words}"); sys.stderr.flush(); os._exit(7)')
    progress = io.StringIO()
    budget = Budget("short", walks=0, examples=1, driven_share=1.0, shrink_steps=1, seconds=2, shrink_seconds=1)
    Verification(start(lines), name="toy", budget=budget, seed=0, progress=progress, is_driver=True).run()
    said = progress.getvalue()
    assert "PAR-01 does not hold" in said
    assert all(line.isprintable() for line in said.split("\n"))
    assert max(map(len, said.splitlines())) <= MAX_SAID + len("[   0.0 s] ")
