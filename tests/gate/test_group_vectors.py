"""The group vectors: a member that shares no code with Pawl does what they say, Pawl does, and a broken Pawl does not."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from itertools import chain

import pytest

from pawl import GroupLayout
from pawl_gate.controls import CONTROLS
from pawl_gate.targets.inprocess import HELLO, InProcessTarget, InProcessWorld
from pawl_gate.targets.registry import TARGETS, TargetMissing
from pawl_gate.vectors import producers
from pawl_gate.vectors.check import Checked, Verdict, check
from pawl_gate.vectors.generate import generate
from pawl_spec.vector_operations import GROUP_OPERATIONS, GROUPS
from pawl_spec.vectors import Digest, Group, Vector, loads
from tests.gate.group_reader import Member, Refusal
from tools.examples import ROOT

FOLDER = ROOT / "vectors"
FILES = sorted(path for path in FOLDER.glob("group_*.json") if path.name != GROUPS.schema)
QUICK = [path.stem for path in FILES if path.stem != "group_limits"]


def published(name: str) -> list[tuple[Group, Vector]]:
    return list(loads((FOLDER / f"{name}.json").read_text("utf-8")).tests())


def one(id_: str) -> tuple[Group, Vector]:
    """A published test."""
    return next(each for each in chain.from_iterable(published(path.stem) for path in FILES) if each[1].id == id_)


def shortened(value: object) -> object:
    """A long byte string as vectors write it."""
    return Digest.of(value) if isinstance(value, bytes) and len(value) >= 4096 else value


def read_by_hand(group: Group, test: Vector) -> str | None:
    """What the independent member does otherwise than a test says."""
    actors: dict[str, Member] = {}
    for number, step in enumerate(test.steps):
        assert step.actor is not None
        if step.operation == "member":
            actors[step.actor] = Member(group.profile)
            continue
        try:
            got = {
                name: shortened(value)
                for name, value in actors[step.actor].do(step.operation, dict(step.inputs)).items()
            }
        except Refusal as refusal:
            if step.output is not None or str(refusal) not in step.refusal:
                return f"step {number}: refused as {refusal}"
        else:
            if step.output is None or got != step.output:
                return f"step {number}: {got}"
    return None


@pytest.mark.parametrize("name", [path.stem for path in FILES])
def test_an_independent_member_does_what_they_say(name: str) -> None:
    """Issue 6, "vectors (at least 100)": each answer comes out of another program, with ready-made primitives alone."""
    found = {test.id: read_by_hand(group, test) for group, test in published(name)}
    assert {id_: wrong for id_, wrong in found.items() if wrong is not None} == {}


def test_the_independent_member_notices_each_byte() -> None:
    """Control of the one above: a changed byte of what is expected, or of what arrives, is seen."""
    group, test = one("group/current/order-2031")
    assert read_by_hand(group, test) is None
    seen = 0
    for number, step in enumerate(test.steps):
        for part in ("inputs", "output"):
            for key, value in (getattr(step, part) or {}).items():
                if not isinstance(value, bytes) or key == "group":
                    continue
                for at in (len(value) // 2, len(value) - 2):
                    wrong = value[:at] + bytes([value[at] ^ 4]) + value[at + 1 :]
                    steps = list(test.steps)
                    steps[number] = replace(step, **{part: {**getattr(step, part), key: wrong}})
                    assert read_by_hand(group, replace(test, steps=tuple(steps))) is not None, (number, key, at)
                    seen += 1
    assert seen > 30


def outcomes(target: InProcessTarget, name: str) -> list[Checked]:
    return [check(target, group, test) for group, test in published(name)]


@pytest.mark.parametrize("name", QUICK)
def test_pawl_does_what_the_vectors_say(name: str) -> None:
    """Each test, whole; CI runs the limits through the command."""
    assert [
        each for each in outcomes(InProcessTarget(), name) if each.verdict is not Verdict.PASSED or each.partly
    ] == []


def test_there_are_enough() -> None:
    """Issue 6: at least 100; in both layouts, and every operation is used."""
    tests = [each for path in FILES for each in published(path.stem)]
    assert len(tests) >= 100
    for layout in GROUPS.profiles:
        assert sum(group.profile == layout for group, _ in tests) >= 100
    assert {step.operation for _, test in tests for step in test.steps} == set(GROUP_OPERATIONS)


@pytest.mark.parametrize(
    ("control", "id_"),
    [
        ("group-iteration-reused", "group/current/in-order"),
        ("group-chain-not-advanced", "group/earlier/replay/at-once"),
        ("group-skipped-keys-not-kept", "group/current/order-3210"),
        ("group-jump-bound-off-by-one", "group/current/jump/25000"),
        ("group-chain-known-by-its-id", "group/current/collision-replaces"),
        ("group-signature-unchecked", "group/current/changed/signature-0"),
        ("group-earlier-iteration-unread", "group/earlier/in-order"),
    ],
)
def test_a_broken_variant_fails(control: str, id_: str) -> None:
    """Each by the test that is about its fault."""
    assert check(CONTROLS[control].make(), *one(id_)).verdict is Verdict.FAILED


class Unsigned(InProcessTarget):
    """Pawl, whose messages end in something else than their signature."""

    def world(self, seed: int) -> InProcessWorld:
        made = super().world(seed)
        encrypt = made.group_encrypt
        made.group_encrypt = lambda *given: encrypt(*given)[:-1] + b"\0"  # type: ignore[method-assign]
        return made


def test_a_signature_has_to_hold() -> None:
    """It is not compared, as it is random: it is verified."""
    went = check(Unsigned(), *one("group/current/in-order"))
    assert went.verdict is Verdict.FAILED
    assert "not signed" in went.why


def test_what_is_not_declared_is_unsupported() -> None:
    """A target of one layout plays the tests of that one; without imported chains only those who receive are played."""
    older = InProcessTarget(layout=GroupLayout.EARLIER)
    assert check(older, *one("group/current/in-order")).verdict is Verdict.PASSED
    assert check(older, *one("group/earlier/in-order")).verdict is Verdict.PASSED
    older.hello = replace(older.hello, name="other", capabilities=HELLO.capabilities - {"group-layout"})
    went = check(older, *one("group/current/in-order"))
    assert (went.verdict, went.why) == (Verdict.UNSUPPORTED, "declares group_layout earlier")
    assert check(older, *one("group/earlier/in-order")).verdict is Verdict.PASSED
    receives = InProcessTarget()
    receives.hello = replace(HELLO, name="other", capabilities=HELLO.capabilities - {"import-sender-keys"})
    went = check(receives, *one("group/current/in-order"))
    assert went.verdict is Verdict.PASSED
    assert went.partly


def test_written_again_they_are_the_same() -> None:
    """Some of them; CI compares all through the command."""
    known = producers.read_all(FOLDER / "producers")
    for name, text in generate(known, chosen=lambda file: file == "group_replays").items():
        assert text == (FOLDER / name).read_text("utf-8")


PEERS = ("libsignal-client", "libsignal-c")


@pytest.mark.parametrize("name", PEERS)
def test_a_second_producer_confirms_most(name: str) -> None:
    """Issue 6: expected answers that are not our own. Of the tests that a peer can play it confirms five in six."""
    peer = producers.read(FOLDER / "producers" / f"{name}.json")
    tests = [each for path in FILES for each in published(path.stem)]
    confirmed = sum(peer.title in test.confirmed_by for _, test in tests)
    deviations = peer.only({test.id for _, test in tests}).deviations
    assert confirmed >= 5 * len(deviations) > 0
    assert confirmed > 100


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_does_exactly_what_its_file_says(name: str) -> None:
    """Live, on some files; CI runs all of them."""
    try:
        target = TARGETS[name]()
    except TargetMissing as missing:
        pytest.skip(str(missing))
    peer = producers.read(FOLDER / "producers" / f"{name}.json")
    with closing(target):
        checked = [
            check(target, group, test)
            for file in ("group_transcripts", "group_replays", "group_distributions")
            for group, test in published(file)
        ]
    assert producers.differences(peer.only({each.id for each in checked}), target.hello, checked) == []
