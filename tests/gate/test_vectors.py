"""Writing and running vectors: only what model and Pawl agree on is written, and a broken target does not pass."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pawl import Device, EncryptedMessage, ProtocolAddress, ProtocolError
from pawl.storage.contract import Store
from pawl_gate import cli
from pawl_gate.cli import vectors as verb
from pawl_gate.controls import CONTROLS
from pawl_gate.targets.base import Target
from pawl_gate.targets.inprocess import HELLO, InProcessTarget
from pawl_gate.targets.registry import find_target
from pawl_gate.targets.variant import DeviceLike, Setup, Variant
from pawl_gate.vectors import generate as generating
from pawl_gate.vectors import producers
from pawl_gate.vectors.cases import Case
from pawl_gate.vectors.cases.common import BOB, FIRST, TALKING, change, deliver
from pawl_gate.vectors.check import Checked, Verdict, check
from pawl_gate.vectors.generate import generate
from pawl_gate.vectors.generate import test_of as made_of
from pawl_gate.vectors.record import Disagreement, record
from pawl_gate.vectors.report import Results, text
from pawl_gate.verify import Exit
from pawl_spec.trace import CALLBACKS, Kind, op
from pawl_spec.vectors import File, Group, Step, Vector, loads
from tools.examples import ROOT

FOLDER = ROOT / "vectors"
PRODUCER = FOLDER / "producers" / "node-libsignal.json"

QUICK = [path.stem for path in sorted(FOLDER.glob("session_[!lv]*.json"))]
"""All but the limits, which take a quarter of a minute; CI runs those through the command."""

Output = pytest.CaptureFixture[str]


def file_of(name: str) -> File:
    """A published file."""
    return loads((FOLDER / f"{name}.json").read_text("utf-8"))


def outcomes(target: Target, name: str) -> list[Checked]:
    """How each test of a file goes on a target."""
    return [check(target, group, test) for group, test in file_of(name).tests()]


def one(id_: str) -> tuple[Group, Vector]:
    """A published test."""
    for name in QUICK:
        for group, test in file_of(name).tests():
            if test.id == id_:
                return group, test
    raise AssertionError(f"there is no test {id_}")


def run(*argv: str) -> int:
    """The exit code of `pawl vectors ARGV`."""
    try:
        return cli.main(["vectors", *argv])
    except SystemExit as left:
        return int(left.code or 0)


# -- running ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", QUICK)
def test_pawl_does_what_the_vectors_say(name: str) -> None:
    """Each test, whole."""
    assert [
        each for each in outcomes(InProcessTarget(), name) if each.verdict is not Verdict.PASSED or each.partly
    ] == []


@pytest.mark.parametrize(
    ("control", "name", "id_"),
    [
        ("mac-unchecked", "session_changed_later", "changed/later/mac-0"),
        ("duplicate-accepted", "session_replays", "replay/later-message/at-once"),
        ("signature-unchecked", "session_bundles", "bundle/first/bad-signature"),
        ("identity-change-accepted", "session_identities", "identity/replaced/bundle"),
        ("first-use-unasked", "session_identities", "identity/strict/bundle/unknown"),
        ("version-unauthenticated", "session_changed_later", "changed/later/version-0"),
        ("zero-taken-for-none", "session_changed_first", "changed/bare/prekey-id-zero"),
        ("parser-raises", "session_junk", "junk/stranger/empty-0"),
        ("root-not-mixed", "session_conversations", "conversation/turns-2"),
        ("signed-prekey-for-ever", "session_prekeys", "signed-prekey/superseded/over-the-limit"),
    ],
)
def test_a_broken_variant_fails(control: str, name: str, id_: str) -> None:
    """Each by the test that is about its fault."""
    target = CONTROLS[control].make()
    group, test = next((group, test) for group, test in file_of(name).tests() if test.id == id_)
    assert check(target, group, test).verdict is Verdict.FAILED


def test_each_part_of_a_vector_is_compared() -> None:
    """A changed byte or word in what is expected makes the test fail, at its step."""
    group, test = one("conversation/size-1")
    checked = 0
    for number, step in enumerate(test.steps):
        for key, value in (step.output or {}).items():
            wrong = (
                "prekey" if value == "signal" else "signal" if value == "prekey" else bytes([value[0] ^ 1]) + value[1:]
            )
            went = check(InProcessTarget(), group, _with(test, number, output={**(step.output or {}), key: wrong}))
            assert went.verdict is Verdict.FAILED
            assert went.why.startswith(f"step {number} ")
            assert key in went.why
            checked += 1
    assert checked >= 12


def _with(test: Vector, number: int, **changed: object) -> Vector:
    steps = list(test.steps)
    steps[number] = replace(steps[number], **changed)  # type: ignore[arg-type]  # fields by name
    return replace(test, steps=tuple(steps))


def test_an_answer_of_the_wrong_kind_fails() -> None:
    """Done where it must be refused, refused where it must be done, refused for another reason."""
    group, test = one("replay/later-message/at-once")
    last = len(test.steps) - 1
    assert test.steps[last].refusal == ("duplicate-message",)
    for changed, said in (
        ({"refusal": ("bad-mac",)}, "refused as duplicate-message, and must be as bad-mac"),
        ({"refusal": (), "output": {"plaintext": b""}}, "and must be done"),
    ):
        went = check(InProcessTarget(), group, _with(test, last, **changed))
        assert went.verdict is Verdict.FAILED
        assert said in went.why
    accepted = _with(test, last - 1, output=None, refusal=("bad-mac",), draws=())
    assert "and must be refused (bad-mac)" in check(InProcessTarget(), group, accepted).why


class Declaring(InProcessTarget):
    """Pawl, declaring something else."""

    def __init__(self, without: Sequence[str] = (), **changed: object) -> None:
        super().__init__()
        self.hello = replace(HELLO, capabilities=HELLO.capabilities - set(without), **changed)  # type: ignore[arg-type]  # fields by name


def test_what_is_not_declared_is_unsupported() -> None:
    """Never inferred from a failure: without injected keys only those who send nothing that depends on them are played."""
    group, test = one("conversation/size-0")
    mine = replace(test, confirmed_by=())
    assert check(Declaring(["import-keys"]), group, mine).verdict is Verdict.UNSUPPORTED
    went = check(Declaring(["inject-keys"]), group, mine)
    assert went.verdict is Verdict.UNSUPPORTED
    assert went.why == "does not declare inject-keys"
    group, test = one("order/first-chain/0123")
    went = check(Declaring(["inject-keys"]), group, test)
    assert went.verdict is Verdict.PASSED
    assert went.partly
    group, test = one("order/late-by-chains/1")
    other = Declaring(limits=replace(HELLO.limits, receiving_chains=6))
    went = check(other, group, replace(test, confirmed_by=()))
    assert went.verdict is Verdict.UNSUPPORTED
    assert went.why == "declares receiving_chains 6"


def test_whoever_confirmed_a_test_must_be_able_to_run_it() -> None:
    """A claim is checked: "unsupported" is then a failure."""
    group, test = one("conversation/size-0")
    assert "pawl" in test.confirmed_by
    assert check(Declaring(["import-keys"]), group, test).verdict is Verdict.FAILED
    versioned = replace(test, confirmed_by=(f"{HELLO.name} {HELLO.version}",))
    assert check(Declaring(["import-keys"]), group, versioned).verdict is Verdict.FAILED


class Forgetful(Device):
    """A device that forgets its sessions with whoever sent it something that is refused."""

    def decrypt(self, peer: ProtocolAddress, message: EncryptedMessage) -> bytes:
        try:
            return super().decrypt(peer, message)
        except ProtocolError:
            self.forget_session(peer)
            raise


class Harmed(Variant):
    """Pawl with such a device."""

    name = "harmed"

    def device(self, store: Store, setup: Setup) -> DeviceLike:
        return Forgetful(store, identity_policy=setup.policy, on_event=setup.on_event, rng=setup.rng, clock=setup.clock)


def test_a_refused_message_leaves_the_actor_as_it_was() -> None:
    """After each refused change of a message the honest one is read: a target that was harmed by the first fails."""
    went = outcomes(InProcessTarget(Harmed()), "session_changed_later")
    assert [each for each in went if "refused (no-session" not in each.why] == []


# -- writing ----------------------------------------------------------------------------------------------------------

ONE_OF_EACH = ("session_prekeys", "session_transcripts", "session_identities", "session_compatibility")


def test_written_again_they_are_the_same() -> None:
    """Some files; CI compares all of them through the command."""
    known = producers.read_all(FOLDER / "producers")
    for name, written in generate(known, chosen=lambda file: file in ONE_OF_EACH).items():
        assert written == (FOLDER / name).read_text("utf-8")


def test_no_vector_where_the_model_disagrees() -> None:
    """A Pawl that accepts a wrong MAC, or that refuses for another reason, yields no vector."""
    changed = (*TALKING, change(2, "mac"))
    record(changed, seed=1)
    with CONTROLS["mac-unchecked"].make()._variant.patched(), pytest.raises(Disagreement):
        record(changed, seed=1)


def test_no_vector_where_either_answer_is_right() -> None:
    """A version byte outside the MAC that says who wrote the message: a reader may look at it or not."""
    with pytest.raises(Disagreement, match="either answer"):
        record((*FIRST, change(0, "outer-version", 0)), seed=1)


def test_no_vector_of_a_change_that_changes_nothing() -> None:
    """A message without outer layer cannot be changed there."""
    with pytest.raises(Disagreement, match="does not concern"):
        record((*TALKING, change(2, "base-key")), seed=1)


def test_no_vector_of_what_has_no_bytes() -> None:
    """Crashes and callbacks happen inside one party."""
    for inside in (op(Kind.CRASH, actor=BOB), op(Kind.CALLBACK, actor=BOB, callback=CALLBACKS.index("event"))):
        with pytest.raises(Disagreement, match="no step"):
            record((inside,), seed=1)


def test_a_crafted_test_that_pawl_does_not_confirm_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written by hand is checked on Pawl first."""
    _group, test = one("crafted/refused/mac-zero")
    number = next(at for at, step in enumerate(test.steps) if step.refusal)
    wrong = generating.Crafted("session_crafted", _with(test, number, refusal=("no-session",)))
    monkeypatch.setattr(generating, "crafted", lambda: [wrong])
    with pytest.raises(Disagreement, match="mac-zero"):
        generate([], chosen=lambda file: file == "session_crafted")


def test_two_tests_of_one_id_are_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """An id is never given to another test."""
    monkeypatch.setattr(generating, "cases", lambda chosen: [_case(), _case()])
    monkeypatch.setattr(generating, "crafted", list)
    with pytest.raises(Disagreement, match="two tests"):
        generate([])


def _case() -> Case:
    return Case("session_order", "test/one", "One message.", ("Normal",), (*FIRST, deliver()))


def test_keys_depend_on_the_id_alone() -> None:
    """A case has its own keys, so that no other test changes when one comes or goes."""
    first, again, other = made_of(_case()), made_of(_case()), made_of(replace(_case(), id="test/two"))
    assert first == again
    assert {_identity(step) for step in first.steps}.isdisjoint(
        _identity(step) for step in other.steps if _identity(step)
    )


def _identity(step: Step) -> bytes | None:
    found = step.inputs.get("identityPrivate")
    assert found is None or isinstance(found, bytes)
    return found or step.inputs.get("private")


def test_who_sends_what_it_drew_needs_injected_keys() -> None:
    """The two grades: a receiver whose drawn keys never leave it needs imported keys alone."""
    only_read = made_of(_case())
    assert only_read.actors == {"alice": ("import-keys", "inject-keys"), "bob": ("import-keys",)}
    answered = made_of(replace(_case(), ops=TALKING))
    assert answered.actors["bob"] == ("import-keys", "inject-keys")


def test_where_a_choice_matters_is_found_out() -> None:
    """A late message of a former session that starts a chain: which session is then current is a target's choice."""
    _, test = one("simultaneous/01-then-alice")
    assert test.assumes == {"promotes": "on-new-chain"}
    assert made_of(replace(_case(), ops=TALKING)).assumes == {}


# -- producers --------------------------------------------------------------------------------------------------------


def described(**changed: object) -> producers.Producer:
    """The producer that Pawl would be."""
    return producers.Producer(replace(HELLO, **changed), {})  # type: ignore[arg-type]  # fields by name


def test_deviations_are_exactly_the_expected_ones() -> None:
    """A new one, a vanished one and one of no test are differences; so is a target that declares something else."""
    passed, failed = Checked("a", Verdict.PASSED), Checked("b", Verdict.FAILED, "why")
    pawl = described()
    assert producers.differences(pawl, HELLO, [passed]) == []
    assert producers.differences(pawl, HELLO, [passed, failed]) == ["b: why"]
    assert producers.differences(replace(pawl, deviations={"b": "known"}), HELLO, [passed, failed]) == []
    (vanished,) = producers.differences(replace(pawl, deviations={"a": "known"}), HELLO, [passed])
    assert vanished.startswith("a: passed, though")
    (missing,) = producers.differences(replace(pawl, deviations={"c": "known"}), HELLO, [passed])
    assert missing.startswith("c: there is no such test")
    (other,) = producers.differences(described(version="0"), HELLO, [passed])
    assert "another version" in other


def test_what_is_confirmed_follows_from_the_description() -> None:
    """A test that a producer cannot run, or on which it deviates, is not confirmed by it."""
    group, test = one("conversation/size-0")
    assert described().confirms(group, test)
    assert not replace(described(), deviations={test.id: "known"}).confirms(group, test)
    assert not described(capabilities=frozenset({"import-keys"})).confirms(group, test)


@pytest.mark.parametrize(
    "wrong",
    ["", "[]", "{}", '{"name": 1}', "no reason", "twice"],
)
def test_a_description_that_is_none(wrong: str, tmp_path: Path) -> None:
    """One typed error, whatever is wrong."""
    document = json.loads(PRODUCER.read_text("utf-8"))
    if wrong == "no reason":
        document["deviations"][0]["reason"] = ""
        wrong = json.dumps(document)
    elif wrong == "twice":
        document["deviations"].append(document["deviations"][0])
        wrong = json.dumps(document)
    path = tmp_path / "producer.json"
    path.write_text(wrong, "utf-8")
    with pytest.raises(producers.ProducerError):
        producers.read(path)


@pytest.fixture(scope="module")
def node() -> Iterator[Target]:
    """node-libsignal, driven for the whole module."""
    found = find_target("node-libsignal")
    yield found
    found.close()


@pytest.mark.node_peer
def test_node_libsignal_writes_the_same_bytes(node: Target) -> None:
    """With the same keys: its own transcripts, and conversations that Pawl wrote; CI runs all files."""
    for name in ("session_transcripts", "session_conversations"):
        assert {each.verdict for each in outcomes(node, name)} == {Verdict.PASSED}
    group, test = one("conversation/size-1")
    number = next(at for at, step in enumerate(test.steps) if step.operation == "encrypt")
    for key in ("base", "ratchet"):
        at = next(at for at, step in enumerate(test.steps) if step.operation == "establish")
        draws = tuple(
            replace(draw, private=draw.private[:5] + b"\0" + draw.private[6:]) if draw.name == key else draw
            for draw in test.steps[at].draws
        )
        assert check(node, group, _with(test, at, draws=draws)).why.startswith(f"step {number} ")


@pytest.mark.node_peer
def test_node_libsignal_deviates_as_described(node: Target) -> None:
    """Two files with deviations; each of them, and no other."""
    described = producers.read(PRODUCER)
    for name in ("session_bundles", "session_changed_repeated"):
        failed = {each.id for each in outcomes(node, name) if each.verdict is Verdict.FAILED}
        ids = {test.id for _, test in file_of(name).tests()}
        assert failed == ids & set(described.deviations)
        assert failed


# -- the command ------------------------------------------------------------------------------------------------------


def test_check_says_how_each_file_went(capsys: Output) -> None:
    """The outcome first, then each file."""
    assert run("check", str(FOLDER / "session_transcripts.json")) == Exit.HOLDS
    out, err = capsys.readouterr()
    assert out.startswith("pawl ")
    assert "every test that could be run went as it should (2 passed" in out
    assert "session_transcripts.json  2 passed" in out
    assert "session_transcripts.json" in err


def test_a_broken_control_fails_the_command(capsys: Output) -> None:
    """Exit code 1, and the failing step is named."""
    file = str(FOLDER / "session_identities.json")
    assert run("check", "--target", "control:identity-change-accepted", file) == Exit.VIOLATED
    out = capsys.readouterr().out
    assert "not as the vectors say" in out
    assert "identity/replaced/bundle: step " in out
    assert run("check", "--json", "--target", "control:identity-change-accepted", file) == Exit.VIOLATED
    document = json.loads(capsys.readouterr().out)
    assert document["exit"] == 1
    assert document["counts"]["failed"] == sum(
        each["verdict"] == "failed" for each in document["files"][Path(file).name]
    )


def test_a_run_of_nothing_is_no_success() -> None:
    """All unsupported: incomplete."""
    results = Results(HELLO, {"file": [Checked("a", Verdict.UNSUPPORTED, "declares nothing")]})
    assert results.exit is Exit.INCOMPLETE
    assert "no test could be run" in text(results)
    assert "declares nothing" in text(results)


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["check", "no-such-file.json"],
        ["check", "broken.json"],
        ["check", "binary.json"],
        ["check", "--target", "no-such-target", str(FOLDER / "session_transcripts.json")],
        ["check", "--expect", "broken.json", str(FOLDER / "session_transcripts.json")],
        ["check", "--expect", "no-such-file.json", str(FOLDER / "session_transcripts.json")],
        ["check"],
        ["generate"],
        ["generate", "--out", "x", "--producers", "bad"],
        ["make"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line(
    argv: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    """Exit code 2, and nothing on stdout."""
    monkeypatch.chdir(tmp_path)
    Path("broken.json").write_text("{}", "utf-8")
    Path("binary.json").write_bytes(b"\xff\xfe")
    Path("bad").mkdir()
    Path("bad", "one.json").write_text("{}", "utf-8")
    assert run(*argv) == Exit.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "Traceback" not in err


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """One case is all there is; the folder for it."""
    monkeypatch.setattr(generating, "cases", lambda chosen: [_case()])
    monkeypatch.setattr(generating, "crafted", list)
    return tmp_path / "out"


def test_generate_writes_and_compares(few: Path, capsys: Output) -> None:
    """What it wrote it finds right; what was changed, is missing or is made by nothing, it names, and exits with 1."""
    common = ("--out", str(few), "--producers", str(FOLDER / "producers"))
    assert run("generate", "--check", *common) == Exit.VIOLATED
    assert run("generate", *common) == Exit.HOLDS
    assert run("generate", "--check", *common) == Exit.HOLDS
    path = few / "session_order.json"
    assert "node-libsignal 6.0.0" in path.read_text("utf-8")
    path.write_text(path.read_text("utf-8").replace("One message.", "Two."), "utf-8")
    capsys.readouterr()
    assert run("generate", "--check", *common) == Exit.VIOLATED
    assert "session_order.json is not what" in capsys.readouterr().err
    assert run("generate", *common) == Exit.HOLDS
    (few / "session_stray.json").write_text("{}", "utf-8")
    assert run("generate", "--check", *common) == Exit.VIOLATED
    assert "session_stray.json is made by nothing" in capsys.readouterr().err


def test_generate_writes_nothing_where_they_disagree(
    few: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    """One line says which case, and no file is touched."""
    either = replace(_case(), ops=(*FIRST, change(0, "outer-version", 0)))
    monkeypatch.setattr(generating, "cases", lambda chosen: [either])
    assert run("generate", "--out", str(few), "--producers", str(FOLDER / "producers")) == Exit.VIOLATED
    assert "test/one" in capsys.readouterr().err.splitlines()[-1]
    assert not few.exists()


def test_files_may_be_a_part_of_what_is_expected(capsys: Output, tmp_path: Path) -> None:
    """With files named, deviations on other files are not missed; an unexpected pass is."""
    document = json.loads(PRODUCER.read_text("utf-8"))
    document |= {"name": HELLO.name, "version": HELLO.version, "capabilities": sorted(HELLO.capabilities)}
    document["limits"] = {name: getattr(HELLO.limits, name) for name in type(HELLO.limits).__slots__}
    document["profile"] = {name: getattr(HELLO.profile, name) for name in type(HELLO.profile).__slots__}
    path = tmp_path / "pawl.json"
    path.write_text(json.dumps(document), "utf-8")
    assert run("check", "--expect", str(path), str(FOLDER / "session_transcripts.json")) == Exit.HOLDS
    assert run("check", "--expect", str(path), str(FOLDER / "session_bundles.json")) == Exit.VIOLATED
    assert "though a deviation is expected" in capsys.readouterr().out


def test_the_folder_is_the_one_of_the_checkout() -> None:
    """The command's default, from the top of a checkout."""
    assert (ROOT / verb.FOLDER).resolve() == FOLDER
