"""The drivers of libsignal-client and libsignal-c in groups: what they declare is what the peers do, and findings are
reproduced. For libsignal-c in sessions see test_libsignal_c.py."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pawl_gate import expect
from pawl_gate.group_attacker import GROUP_IDS, Given, craft, smuggle
from pawl_gate.group_wire import LAYOUTS, distribution_layer
from pawl_gate.targets.base import Refused
from pawl_gate.targets.driver import DriverTarget, DriverWorld
from pawl_gate.targets.registry import drivers_folder, find_target
from pawl_spec.trace import PARTIES

OFFICIAL = pytest.param("libsignal-client", marks=pytest.mark.official_peer)
EARLIER = pytest.param("libsignal-c", marks=pytest.mark.c_peer)
CLIENT, IN_C = drivers_folder() / "libsignal-client", drivers_folder() / "libsignal-c"
SCRIPTS = sorted((CLIENT / "findings").glob("[a-z][a-z][a-z]-[0-9][0-9]-*.js"))
IN_ONE = re.findall(r'^    \{"([a-z]{3}-\d\d-[a-z-]+)",', (IN_C / "findings" / "findings.c").read_text("utf-8"), re.M)
"""The findings of one program, by name."""
NODE = os.environ.get("PAWL_NODE", "node")
ALICE, BOB, CAROL = range(3)
TEAM, CLUB = GROUP_IDS[:2]


@pytest.fixture(scope="module", params=[OFFICIAL, EARLIER])
def target(request: pytest.FixtureRequest) -> Iterator[DriverTarget]:
    """Each peer in turn, driven for the whole module."""
    found = find_target(request.param)
    assert isinstance(found, DriverTarget)
    with closing(found):
        yield found


def world(target: DriverTarget) -> DriverWorld:
    """Alice, Bob and Carol. Those of a driver that does neither sessions nor safety numbers have no identity."""
    made = target.world(1)
    has_keys = target.hello.sessions or "fingerprint" in target.hello.capabilities
    for party, name in enumerate(PARTIES):
        assert bool(made.create(party, name=name, device_id=1, trust_on_first_use=True)) == has_keys
    return made


def own_chain(target: DriverTarget, made: DriverWorld) -> Given:
    """Bob takes a chain of which the attacker has the key, as Alice's."""
    chain = smuggle(ALICE, 0, "own", 1, [], LAYOUTS[target.hello.group_layout])
    assert chain is not None
    made.group_join(BOB, ALICE, TEAM, chain.data)
    return chain


def state(made: DriverWorld, party: int) -> str:
    """The digest of what a party stores."""
    seen = made.observe(party)
    assert seen is not None
    return seen.digest


def refusal(made: DriverWorld, message: bytes, *, sender: int = ALICE, group: bytes = TEAM) -> str:
    """The code with which Bob refuses a message, whereupon nothing has changed."""
    before = state(made, BOB)
    with pytest.raises(Refused) as refused:
        made.group_decrypt(BOB, sender, group, message)
    assert state(made, BOB) == before
    return refused.value.code


def test_what_is_declared(target: DriverTarget) -> None:
    """Groups, and sessions where the peer still begins those of version 3; the layout is that of the messages."""
    hello = target.hello
    assert hello.sessions == (hello.name == "libsignal-c")
    assert {"groups", "group-rotate", "restart", "reinstall"} <= hello.capabilities
    assert not {"group-forget", "group-members"} & hello.capabilities
    made = world(target)
    layout = LAYOUTS[hello.group_layout]
    layer = distribution_layer(made.group_create(ALICE, TEAM))
    assert [number for number, _ in layer.fields] == list(layout.distribution_fields)


def test_the_forward_jump_is_the_declared_one(target: DriverTarget) -> None:
    """Driver contract: forward_jump is the largest accepted difference between an iteration and the next expected one."""
    jump = target.hello.limits.forward_jump
    for ahead, accepted in ((jump, True), (jump + 1, False)):
        made = world(target)
        message = craft(own_chain(target, made), ahead, b"far")
        if accepted:
            assert made.group_decrypt(BOB, ALICE, TEAM, message) == b"far"
        else:
            assert refusal(made, message) == "too-far-ahead"


def test_the_kept_keys_are_the_declared_ones(target: DriverTarget) -> None:
    """Driver contract: as many keys are kept in a chain as is declared, the oldest goes first, and they are counted."""
    kept = target.hello.limits.kept_per_chain
    assert kept == 2_000
    made = world(target)
    chain = own_chain(target, made)
    assert made.group_decrypt(BOB, ALICE, TEAM, craft(chain, kept, b"one")) == b"one"
    assert made.group_decrypt(BOB, ALICE, TEAM, craft(chain, kept + 2, b"two")) == b"two"
    seen = made.observe(BOB)
    assert seen is not None
    assert (seen.group_kept, seen.group_chains) == (kept, 1)
    assert refusal(made, craft(chain, 0, b"old")) == "duplicate-message"
    assert made.group_decrypt(BOB, ALICE, TEAM, craft(chain, 1, b"still")) == b"still"


def test_the_chains_of_a_sender_are_the_declared_ones(target: DriverTarget) -> None:
    """Driver contract: of one sender as many chains are held as is declared, the newest."""
    most = target.hello.limits.sender_chains
    assert most == 5
    made, messages = world(target), []
    for _ in range(most + 1):
        made.group_rotate(ALICE, TEAM)
        made.group_join(BOB, ALICE, TEAM, made.group_create(ALICE, TEAM))
        messages.append(made.group_encrypt(ALICE, TEAM, b"text"))
    seen = made.observe(BOB)
    assert seen is not None
    assert seen.group_chains == most
    assert refusal(made, messages[0]) == "no-sender-key"
    assert all(made.group_decrypt(BOB, ALICE, TEAM, message) == b"text" for message in messages[1:])


def test_refusals_have_our_code_where_the_peer_says_the_cause(target: DriverTarget) -> None:
    """Driver contract: a code where the peer's answer tells the cause; no refusal changes what is stored."""
    made = world(target)
    with pytest.raises(Refused) as nothing_to_send_on:
        made.group_encrypt(ALICE, TEAM, b"text")
    assert nothing_to_send_on.value.code == "no-sender-key"
    distribution = made.group_create(ALICE, TEAM)
    message = made.group_encrypt(ALICE, TEAM, b"text")
    assert refusal(made, message) == "no-sender-key"
    made.group_join(BOB, ALICE, TEAM, distribution)
    for data, code in (
        (message[:-1] + bytes([message[-1] ^ 1]), "invalid-signature"),
        (b"\x43" + message[1:], "unknown-version"),
        (b"\x23" + message[1:], "unknown-version"),
        (b"\x33\x08" + bytes(64), "malformed-message"),
    ):
        assert refusal(made, data) == code
    assert made.group_decrypt(BOB, ALICE, TEAM, message) == b"text"
    assert refusal(made, message) == "duplicate-message"
    assert refusal(made, message, sender=CAROL) == "no-sender-key"
    other = "wrong-group" if target.hello.group_layout == "current" else "no-sender-key"
    assert refusal(made, message, group=CLUB) == other
    before = state(made, BOB)
    with pytest.raises(Refused):
        made.group_join(BOB, ALICE, TEAM, distribution[:-1])
    assert state(made, BOB) == before


def test_noise_under_a_good_signature(target: DriverTarget) -> None:
    """A member that signs what it has not encrypted is refused for the ciphertext."""
    made = world(target)
    chain = own_chain(target, made)
    message = craft(chain, 0, b"text")
    assert refusal(made, craft(Given(ALICE, 0, chain.data, key=bytes(32), layout=chain.layout), 0, b"x")) in (
        "invalid-ciphertext",
        "unknown",
    )
    assert made.group_decrypt(BOB, ALICE, TEAM, message) == b"text"


def test_a_restart_keeps_what_is_stored(target: DriverTarget) -> None:
    """Driver contract: what is durable survives, and all of it is durable when a verb returns."""
    made = world(target)
    made.group_join(BOB, ALICE, TEAM, made.group_create(ALICE, TEAM))
    first, second = (made.group_encrypt(ALICE, TEAM, b"%d" % at) for at in range(2))
    assert made.group_decrypt(BOB, ALICE, TEAM, second) == b"1"
    seen = made.observe(BOB)
    assert seen is not None
    assert seen.durable is True
    for party in (ALICE, BOB):
        made.restart(party)
    assert state(made, BOB) == seen.digest
    assert made.group_decrypt(BOB, ALICE, TEAM, first) == b"0"
    assert made.group_decrypt(BOB, ALICE, TEAM, made.group_encrypt(ALICE, TEAM, b"2")) == b"2"


def test_a_new_installation_has_nothing(target: DriverTarget) -> None:
    """Driver contract: the store is lost."""
    made = world(target)
    made.group_join(BOB, ALICE, TEAM, made.group_create(ALICE, TEAM))
    has_keys = target.hello.sessions or "fingerprint" in target.hello.capabilities
    assert bool(made.reinstall(BOB)) == has_keys
    assert refusal(made, made.group_encrypt(ALICE, TEAM, b"text")) == "no-sender-key"
    seen = made.observe(BOB)
    assert seen is not None
    assert (seen.group_chains, seen.group_kept) == (0, 0)


def test_a_rotation_begins_a_new_chain(target: DriverTarget) -> None:
    """The chain has another id, key and signing key; whoever has the old one reads nothing on it."""
    made, layout = world(target), LAYOUTS[target.hello.group_layout]
    old = distribution_layer(made.group_create(ALICE, TEAM))
    again = distribution_layer(made.group_create(ALICE, TEAM))
    made.group_rotate(ALICE, TEAM)
    new = distribution_layer(made.group_create(ALICE, TEAM))
    for number in (layout.chain_id, layout.content, layout.signing_key):
        assert old.get(number) == again.get(number) != new.get(number)
    made.group_join(BOB, ALICE, TEAM, old.data())
    assert refusal(made, made.group_encrypt(ALICE, TEAM, b"text")) == "no-sender-key"


def test_secrets_are_what_is_stored(target: DriverTarget) -> None:
    """Driver contract, level 2: the chain key that was given is among them until it was used."""
    made, layout = world(target), LAYOUTS[target.hello.group_layout]
    distribution = made.group_create(ALICE, TEAM)
    made.group_join(BOB, ALICE, TEAM, distribution)
    key = distribution_layer(distribution).get(layout.content)
    assert key in made.group_secrets(BOB)
    made.group_decrypt(BOB, ALICE, TEAM, made.group_encrypt(ALICE, TEAM, b"text"))
    assert key not in made.group_secrets(BOB)
    assert all(len(secret) == 32 for secret in made.group_secrets(BOB))
    assert made.group_secrets(CAROL) == []


@pytest.mark.c_peer
def test_work_is_counted() -> None:
    """A message costs a chain step and a derivation; one that is passed over as much again; a kept one a derivation."""
    with closing(find_target("libsignal-c")) as found:
        assert isinstance(found, DriverTarget)
        made, work = world(found), []
        made.group_join(BOB, ALICE, TEAM, made.group_create(ALICE, TEAM))
        messages = [made.group_encrypt(ALICE, TEAM, b"text") for _ in range(6)]
        for at in (0, 4, 5):
            made.group_decrypt(BOB, ALICE, TEAM, messages[at])
            seen = made.observe(BOB)
            assert seen is not None
            work.append(seen.work)
    # Messages 1 to 3 are kept from the second on: three derivations at each later load.
    assert work == [2, 8, 5]


# -- bad input: the drivers answer, and go on ---------------------------------------------------------------------------


def ask(method: object, **params: object) -> bytes:
    """One request."""
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode() + b"\n"


MADE = ask("create", party=0, name="alice", device_id=1, trust_on_first_use=True)
LAID_OUT = "00" * 16
BAD_LINES = {
    "not JSON": (b"{\n", {-32700}),
    "no text": (b"\xff\xfe\n", {-32700}),
    "empty": (b"\n", {-32700}),
    "null": (b"null\n", {-32600, -32700}),
    "a list": (b"[]\n", {-32600}),
    "too long": (b" " * (5 << 20) + b"{}\n", {-32600, -32700}),
    "no method": (ask(7), {-32600}),
    "an inherited name": (ask("constructor"), {-32601}),
    "no such verb": (ask("fly"), {-32601}),
    "a verb that neither has": (ask("rotate", party=0), {-32601}),
    "a missing party": (ask("observe"), {-32602}),
    "a party of another kind": (ask("observe", party="0"), {-32602}),
    "a party below zero": (ask("observe", party=-1), {-32602}),
    "a party of many": (ask("observe", party=2**40), {-32602}),
    "a party that is not there": (ask("group_encrypt", party=9, group=LAID_OUT, plaintext=""), {-32602}),
    "a sender that is not there": (ask("group_decrypt", party=0, sender=9, group=LAID_OUT, data=""), {-32602}),
    "a short group": (ask("group_create", party=0, group="00"), {-32602}),
    "a group that is no text": (ask("group_create", party=0, group=7), {-32602}),
    "bytes that are no hex": (ask("group_join", party=0, sender=0, group=LAID_OUT, distribution="zz"), {-32602}),
    "half a byte": (ask("group_join", party=0, sender=0, group=LAID_OUT, distribution="0"), {-32602}),
}


@pytest.mark.parametrize(
    "command",
    [
        pytest.param([NODE, CLIENT / "driver.js"], marks=pytest.mark.official_peer, id="libsignal-client"),
        pytest.param([IN_C / "build" / "driver"], marks=pytest.mark.c_peer, id="libsignal-c"),
    ],
)
def test_bad_lines_are_answered_and_change_nothing(command: list[str | Path]) -> None:
    """JSON-RPC 2.0, section 5.1: each gets its error; the next request is answered as if nothing had been."""
    lines = [MADE, ask("observe", party=0)]
    for line, _ in BAD_LINES.values():
        lines += [line, ask("observe", party=0)]
    ran = subprocess.run(command, input=b"".join(lines), capture_output=True, timeout=60)
    answers = [json.loads(line) for line in ran.stdout.splitlines()]
    assert (ran.returncode, len(answers)) == (0, len(lines))
    for (what, (_, codes)), error, after in zip(BAD_LINES.items(), answers[2::2], answers[3::2], strict=True):
        assert error["error"]["code"] in codes, what
        assert after["result"] == answers[1]["result"], what


# -- findings ---------------------------------------------------------------------------------------------------------

ROW = re.compile(r"^\| ([A-Z0-9, -]+) \| `([a-z]{3}-[0-9]{2}-[a-z0-9-]+)` \| .* \|$")


def table(folder: Path) -> list[tuple[set[str], str]]:
    """The table of findings in a README: invariants and script."""
    rows = [ROW.match(line) for line in (folder / "README.md").read_text("utf-8").splitlines()]
    return [(set(row[1].split(", ")), row[2]) for row in rows if row]


@pytest.mark.parametrize(
    ("folder", "names"),
    [(CLIENT, [path.stem for path in SCRIPTS]), (IN_C, IN_ONE)],
    ids=["libsignal-client", "libsignal-c"],
)
def test_the_table_of_findings_is_the_truth(folder: Path, names: list[str]) -> None:
    """README of each driver: every finding has a row, and the rows together are the list of expected findings."""
    rows = table(folder)
    assert sorted(script for _, script in rows) == sorted(names)
    assert len(names) >= 5
    expected = expect.read(folder / "expected.json", target=folder.name).findings
    assert set(expected) == set().union(*(ids for ids, _ in rows))
    for id_, reason in expected.items():
        named = [name for name in names if name in reason]
        assert named, id_
        for name in named:
            ids = next(ids for ids, script in rows if script == name)
            assert id_ in ids, f"{name}: the table does not say {id_}"


@pytest.mark.c_peer
def test_the_program_of_findings_knows_its_names() -> None:
    """`--list` names them all; a wrong name is no success."""
    program = IN_C / "build" / "findings"
    ran = subprocess.run([program, "--list"], capture_output=True, text=True, timeout=60)
    assert ran.stdout.split() == IN_ONE
    assert subprocess.run([program, "no-such"], capture_output=True, timeout=60).returncode == 2


# -- speed ------------------------------------------------------------------------------------------------------------


@pytest.mark.official_peer
def test_the_bench_prints_one_line() -> None:
    """README: `bench.js --messages N --size 256` prints what a message costs, in microseconds."""
    ran = subprocess.run(
        [NODE, CLIENT / "bench.js", "--messages", "20", "--size", "256"], capture_output=True, text=True, timeout=60
    )
    assert (ran.returncode, ran.stderr, ran.stdout.count("\n")) == (0, "", 1)
    figures = json.loads(ran.stdout)
    assert set(figures) == {"encrypt_us", "decrypt_us"}
    assert all(figure > 0 for figure in figures.values())


@pytest.mark.official_peer
@pytest.mark.parametrize("options", [["--messages", "0"], ["--messages", "x"], ["--size", "-1"], ["--other"], ["20"]])
def test_wrong_options_of_the_bench_are_refused(options: list[str]) -> None:
    """Exit status 2, and nothing on stdout."""
    ran = subprocess.run([NODE, CLIENT / "bench.js", *options], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout) == (2, "")
