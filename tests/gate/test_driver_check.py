"""`pawl driver check`: a driver that keeps to the contract passes, and each one that does not fails by the check that
names its fault. The broken ones are the Python template with a few words changed.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pawl_gate import cli, verify
from pawl_gate.driver_check import Check, Outcome, Program
from pawl_gate.scenarios import scenarios
from pawl_gate.targets import contract
from pawl_gate.targets.contract import VERBS, asked_of
from pawl_gate.targets.driver import CAPABILITIES, read_hello
from pawl_gate.verify import BUDGETS
from tests.gate.test_driver import alive
from tools.examples import ROOT

TEMPLATES = ROOT / "src" / "pawl_gate" / "templates"
TEMPLATE = (TEMPLATES / "driver.py").read_text(encoding="utf-8")
SECONDS = 10.0
SHORT = 1.0
"""For drivers that hang: each hang takes as long."""

Output = pytest.CaptureFixture[str]

BROKEN: dict[str, tuple[str, dict[str, str]]] = {
    # name: (the check that must fail, what is changed in the template)
    "no-level": ("hello", {'    "level": 1,\n': ""}),
    "unknown-capability": ("hello", {'"deterministic"],': '"deterministic", "magic"],'}),
    "refuses-hello": ("hello", {"        return HELLO\n": '        raise Refusal("unknown", "no")\n'}),
    "ends-at-hello": ("hello", {"        return HELLO\n": "        sys.exit(3)\n"}),
    "talks-at-the-start": ("hello", {"    world = World()\n": '    world = World()\n    print("ready", flush=True)\n'}),
    "takes-any-verb": (
        "nonsense",
        {'return error(number, -32601, "no such verb")': 'return {"jsonrpc": "2.0", "id": number, "result": {}}'},
    ),
    "another-error-for-nonsense": ("nonsense", {'-32601, "no such verb"': '-32000, "no such verb"'}),
    "looks-verbs-up-as-attributes": ("nonsense", {"    if verb not in VERBS:": "    if not hasattr(world, verb):"}),
    "dies-of-bad-json": ("bad-json", {'return error(None, -32700, "not JSON")': "raise"}),
    "takes-bad-json-for-something": (
        "bad-json",
        {'error(None, -32700, "not JSON")': 'error(None, -32000, "not JSON")'},
    ),
    "dies-of-deep-json": ("bad-json", {"except (ValueError, RecursionError):": "except ValueError:"}),
    "dies-of-what-is-no-object": (
        "no-request",
        {'    if type(request) is not dict:\n        return error(None, -32600, "not a request")\n': ""},
    ),
    "takes-no-verb-for-success": (
        "no-request",
        {'return error(number, -32600, "not a request")': 'return {"jsonrpc": "2.0", "id": number, "result": {}}'},
    ),
    "dies-of-wrong-params": (
        "params",
        {"except (BadParams, TypeError, KeyError) as wrong:": "except BadParams as wrong:"},
    ),
    "refuses-wrong-params": (
        "params",
        {"error(number, -32602, str(wrong))": 'error(number, -32000, "no", data={"refusal": "unknown"})'},
    ),
    "makes-parties-up": (
        "params",
        {'            raise BadParams("no such party")\n': '            self.create(number, f"p{number}", 1, True)\n'},
    ),
    "keeps-parties": (
        "reset",
        {"self.seed, self.parties, self.installs = whole(seed), {}, 0": "self.seed = whole(seed)"},
    ),
    "garbles": ("conversation", {".hex()}\n\n    def approve": ".hex()[2:]}\n\n    def approve"}),
    "one-identity": (
        "conversation",
        {'rng = Seeded(self.seed, f"{name} {self.installs}")': 'rng = Seeded(self.seed, "x")'},
    ),
    "one-key-more": ("conversation", {'return {"kind": kind, "data"': 'return {"more": 1, "kind": kind, "data"'}),
    "capital-letters": ("conversation", {"message.serialized.hex()": "message.serialized.hex().upper()"}),
    "another-id": (
        "hello",
        {
            'return {"jsonrpc": "2.0", "id": number, "result": {**result': 'return {"jsonrpc": "2.0", "id": 0, "result": {**result'
        },
    ),
    "takes-anything": (
        "refusal",
        {
            "        message = EncryptedMessage(TYPES[kind], raw(data))\n": '        message = EncryptedMessage(TYPES[kind], raw(data))\n        if len(message.serialized) < 9:\n            return {"plaintext": ""}\n'
        },
    ),
    "an-unknown-code": ("refusal", {"raise Refusal(error.code, str(error))": 'raise Refusal("odd", str(error))'}),
    "dies-of-a-refusal": ("refusal", {"    except Refusal as refusal:": "    except ZeroDivisionError as refusal:"}),
    "declares-what-it-has-not": ("capabilities", {'"deterministic"],': '"deterministic", "clock"],'}),
    "forgets-at-restart": (
        "capabilities",
        {"MemoryStore(records=old.store.records(), store_id=old.store.store_id)": "MemoryStore()"},
    ),
    "one-digest": ("observation", {'{"digest": self.party(party).digest()}': '{"digest": "always"}'}),
    "another-digest-each-time": (
        "observation",
        {"self.party(party).digest()}": 'str(id(object())) + str(__import__("time").time_ns())}'},
    ),
    "other-state-with-the-answer": (
        "observation",
        {
            "{str(number): world.observe(number)}": '{str(number): {"digest": str(len(world.observe(number)["digest"]) + world.parties[number].rng.drawn)}}'
        },
    ),
    "draws-its-own": (
        "deterministic",
        {"        self.drawn += 1\n        return": '        return __import__("os").urandom(size)\n        return'},
    ),
    "another-run-another-name": (
        "deterministic",
        {'f"{seed} {name}".encode()': 'f"{seed} {name} {hash(name)}".encode()'},
    ),
    "the-seed-is-not-used": ("deterministic", {'f"{seed} {name}".encode()': 'f"{name}".encode()'}),
    "goes-on-for-ever": (
        "end",
        {"        out.flush()\n\n": '        out.flush()\n    __import__("time").sleep(60)\n\n'},
    ),
}

HANGING: dict[str, tuple[str, dict[str, str]]] = {
    "hangs-at-hello": (
        "hello",
        {"        return HELLO\n": '        __import__("time").sleep(60)\n        return HELLO\n'},
    ),
    "is-silent-about-bad-json": (
        "bad-json",
        {'return error(None, -32700, "not JSON")': 'return __import__("time").sleep(60)'},
    ),
    "hangs-in-encrypt": (
        "conversation",
        {
            "    def encrypt(self, party: int, peer: int, plaintext: str) -> dict[str, Any]:\n": '    def encrypt(self, party: int, peer: int, plaintext: str) -> dict[str, Any]:\n        __import__("time").sleep(60)\n'
        },
    ),
}


def changed(folder: Path, changes: dict[str, str]) -> list[str]:
    """The command of the template with something changed."""
    text = TEMPLATE
    for old, new in changes.items():
        assert text.count(old) >= 1, old
        text = text.replace(old, new)
    path = folder / "driver.py"
    path.write_text(text, encoding="utf-8")
    return [sys.executable, str(path)]


def outcomes(argv: list[str], seconds: float = SECONDS, only: str = "") -> dict[str, Outcome]:
    """What the checks come to. Each starts a program or several, so that those of most controls are few."""
    return {one.name: one for one in Check(argv, seconds).run([only] if only else ())}


def failures(checked: dict[str, Outcome]) -> list[str]:
    return [name for name, one in checked.items() if one.state == "failed"]


def test_the_python_template_keeps_to_it() -> None:
    """A template that a user copies passes every check, and none is left out."""
    checked = outcomes([sys.executable, str(TEMPLATES / "driver.py")])
    assert {name: (one.state, one.why) for name, one in checked.items()} == dict.fromkeys(checked, ("ok", ""))


@pytest.mark.node_peer
def test_the_javascript_template_keeps_to_it() -> None:
    """So does the one in JavaScript, which declares no determinism."""
    checked = outcomes([shutil.which("node") or "node", str(TEMPLATES / "driver.js")])
    assert failures(checked) == []
    assert [name for name, one in checked.items() if one.state == "left out"] == ["deterministic"]


@pytest.mark.node_peer
def test_a_real_driver_keeps_to_it() -> None:
    """The driver of node-libsignal, over both stores, crash points and imports included."""
    for store in ("text", "live"):
        program = str(ROOT / "drivers" / "node-libsignal" / "driver.js")
        assert failures(outcomes([shutil.which("node") or "node", program, "--store", store])) == []


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_driver_fails_by_its_check(tmp_path: Path, name: str) -> None:
    """Controls: the check that names the fault fails, and says why; that it says hello is no fault of it."""
    check, changes = BROKEN[name]
    checked = outcomes(changed(tmp_path, changes), only=check)
    assert failures(checked)[:1] == [check], {one.name: one.why for one in checked.values() if one.why}
    assert checked[check].why


@pytest.mark.parametrize("name", HANGING)
def test_a_hang_is_told_from_a_fault(tmp_path: Path, name: str) -> None:
    """A driver that does not answer is said to hang, and is gone afterwards."""
    check, changes = HANGING[name]
    pids = tmp_path / "pids"
    noting = {
        "    world = World()\n": f"    world = World()\n    open({str(pids)!r}, 'a').write(f'{{__import__(\"os\").getpid()}}\\n')\n"
    }
    checked = outcomes(changed(tmp_path, changes | noting), SHORT, only=check)
    assert failures(checked)[:1] == [check]
    assert "hangs" in checked[check].why
    deadline = time.monotonic() + 5
    started = [int(pid) for pid in pids.read_text().split()]
    while any(map(alive, started)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not [pid for pid in started if alive(pid)]


def test_a_program_that_does_not_read_is_not_waited_for(tmp_path: Path) -> None:
    """A line that its pipe does not take ends in a hang, not in a harness that hangs."""
    path = tmp_path / "driver.py"
    path.write_text("import time\ntime.sleep(60)\n")
    program = Program([sys.executable, str(path)], SHORT)
    with pytest.raises(Exception, match="hangs"):
        program.say(b"x" * (1 << 20))
    program.close()


def test_every_optional_verb_can_be_tried() -> None:
    """A capability that is declared is asked for: none of them is passed over."""
    from pawl_gate import driver_check

    optional = {name for name, verb in VERBS.items() if verb.needs is not None or verb.level}
    # Every conversation tries these.
    talk = {"group_create", "group_join", "group_encrypt", "group_decrypt"}
    assert set(driver_check._OPTIONAL) == optional - talk


def test_what_is_asked_follows_from_what_is_declared() -> None:
    """Without capabilities and at level 0, the eight verbs that every driver has... less those of later levels."""
    base = {
        "name": "x", "version": "1", "protocol": 1, "message_versions": [3], "level": 0, "capabilities": [],
        "limits": dict.fromkeys(("kept_per_chain", "kept_per_session", "receiving_chains", "archived_sessions", "derivations_per_message"))
        | {"forward_jump": 1},
        "profile": {"promotes": "never", "closes_chains": True},
    }  # fmt: skip
    assert asked_of(read_hello(base)) == ["hello", "reset", "create", "bundle", "establish", "encrypt", "decrypt"]
    everything = {**base, "level": 3, "capabilities": sorted(CAPABILITIES), "group_layout": "current"}
    assert asked_of(read_hello(everything)) == list(VERBS)
    groups = {**base, "message_versions": [], "capabilities": ["groups"], "group_layout": "current"}
    talk = ["group_create", "group_join", "group_encrypt", "group_decrypt"]
    assert asked_of(read_hello(groups)) == ["hello", "reset", "create", *talk]


# -- the command ------------------------------------------------------------------------------------------------------


def run(*argv: str) -> int:
    try:
        return cli.main(["driver", *argv])
    except SystemExit as left:
        return int(left.code or 0)


def test_the_command_says_what_it_checked(capsys: Output, tmp_path: Path) -> None:
    """Exit code 0 or 1; the first line is the verdict; `--json` has the same for machines."""
    assert run("check", "--", sys.executable, str(TEMPLATES / "driver.py")) == 0
    assert capsys.readouterr().out.startswith("pawl-by-template 0.1.0 keeps to the driver contract, version 1\n")
    command = changed(tmp_path, BROKEN["one-digest"][1])
    assert run("check", "--", *command) == 1
    assert capsys.readouterr().out.startswith("pawl-by-template 0.1.0 does not keep to the contract: observation\n")
    assert run("check", "--json", "--", *command) == 1
    document = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in document["checks"] if one["state"] == "failed"] == ["observation"]
    assert document["driver"] == {"name": "pawl-by-template", "version": "0.1.0"}


def test_a_program_that_is_none_fails(capsys: Output) -> None:
    """It cannot be started: the first check says so, and the others are left out."""
    assert run("check", "--", "./nowhere") == 1
    out = capsys.readouterr().out
    assert "it cannot be started" in out
    assert out.count("left out") == 11


@pytest.mark.parametrize("argv", [["check"], ["check", "--"], ["template", "cobol"], [], ["fly"]])
def test_wrong_usage_is_2(capsys: Output, argv: list[str]) -> None:
    """A command is needed."""
    assert run(*argv) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_templates_and_schema_are_printed(capsys: Output) -> None:
    """As they are in the package, to be copied into a file."""
    for language, name in (("python", "driver.py"), ("javascript", "driver.js")):
        assert run("template", language) == 0
        assert capsys.readouterr().out == (TEMPLATES / name).read_text(encoding="utf-8")
    assert run("schema") == 0
    printed = capsys.readouterr().out
    assert json.loads(printed) == contract.schema()
    # What is in the package is what the table says.
    assert Path(contract.__file__).with_name(contract.FILE).read_text(encoding="utf-8") == printed


# -- a short verify over each template --------------------------------------------------------------------------------


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Three scenarios and a few walks."""
    few = [one for one in scenarios() if one.name in ("conversation", "forged-bundle-first", "copies")]
    monkeypatch.setattr(verify, "scenarios", lambda: few)
    monkeypatch.setattr(verify.corpus, "load", lambda folder: [])
    small = replace(BUDGETS["smoke"], walks=10, examples=1, shrink_steps=300, scopes=(), seconds=600)
    monkeypatch.setitem(BUDGETS, "smoke", small)
    monkeypatch.chdir(tmp_path)


def judged(capsys: Output, command: str) -> tuple[int, dict[str, Any]]:
    code = cli.main(["verify", "--driver", command, "--no-report", "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("short")
def test_the_python_template_can_be_judged(capsys: Output) -> None:
    """Pawl behind a pipe: nothing is violated, in so short a run not all is reached, and the harness holds."""
    code, document = judged(capsys, f"{sys.executable} {TEMPLATES / 'driver.py'}")
    assert (code, document["findings"]) == (4, [])
    held = [entry["id"] for entry in document["invariants"] if entry["verdict"] == "holds"]
    assert {"CTR-03", "IDC-03", "AUT-01"} <= set(held)


@pytest.mark.node_peer
@pytest.mark.usefixtures("short")
def test_the_javascript_template_is_seen_to_be_a_toy(capsys: Output) -> None:
    """It says that it is not the Signal protocol, and that is what the gate finds, with a trace for each."""
    code, document = judged(capsys, f"{shutil.which('node')} {TEMPLATES / 'driver.js'}")
    found = {finding["id"] for finding in document["findings"]}
    assert code == 1
    # The signature that nobody checks, and the ratchet that there is not.
    assert {"IDC-03", "CNF-01"} <= found


def test_a_jump_that_no_memory_can_hold_is_refused(tmp_path: Path) -> None:
    """A limit is taken by the model: 2^32 of them made it take all memory there was. What is declared is bounded."""
    command = changed(tmp_path, {"limits.MAX_FORWARD_JUMP": str(2**32 - 1)})
    checked = outcomes(command, only="hello")
    assert checked["hello"].state == "failed"
    assert "a number from 0 to 100000" in checked["hello"].why
