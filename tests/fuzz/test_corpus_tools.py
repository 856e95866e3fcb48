"""Corpora: the rules of merging, and the tools on real files with real child processes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pawl_gate.engines.corpus import files, name_of
from pawl_gate.fuzzing import corpus
from pawl_gate.fuzzing.corpus import Breaks, Input, Loses, Origin, Refused
from pawl_gate.fuzzing.facts import BROKEN, COSTLY, DIED, FAULT, HOLDS, HUNG, Facts, Prober
from pawl_gate.targets.base import HarnessBroken
from tests.fuzz.machines import TAMPERED, Elsewhere, elsewhere

HERE = Origin("a test", "0.1.0")


def made(*data: bytes, pinned: bool = False) -> dict[str, Input]:
    """A corpus of these inputs."""
    return {name_of(each): Input(each, HERE, pinned) for each in data}


# -- the rules --------------------------------------------------------------------------------------------------------

inputs = st.builds(
    Input,
    st.binary(max_size=3),
    st.builds(Origin, st.sampled_from(["walk", "campaign"]), st.sampled_from(["0.1.0", "0.2.0"])),
    st.booleans(),
)
corpora = st.lists(inputs, max_size=6).map(lambda some: {each.name: each for each in some})


class Features(dict[str, frozenset[int]]):
    """The features of any input: a function of its name, drawn by a seed."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed

    def __missing__(self, name: str) -> frozenset[int]:
        number = int(name, 16) ^ self._seed
        return frozenset(bit for bit in range(12) if number >> (3 * bit) & 3 == 0)


features = st.integers(0, 2**40).map(Features)


@given(corpora, corpora, features)
def test_merging_is_commutative(one: dict[str, Input], other: dict[str, Input], known: Features) -> None:
    assert corpus.merged([one, other], known) == corpus.merged([other, one], known)


@given(corpora, corpora, corpora, features)
def test_merging_is_associative(
    one: dict[str, Input], two: dict[str, Input], three: dict[str, Input], known: Features
) -> None:
    left = corpus.merged([corpus.merged([one, two], known), three], known)
    assert left == corpus.merged([one, corpus.merged([two, three], known)], known)
    assert left == corpus.merged([one, two, three], known)


@given(corpora, features)
def test_merging_is_idempotent(one: dict[str, Input], known: Features) -> None:
    once = corpus.merged([one], known)
    assert corpus.merged([once, once], known) == once
    assert corpus.merged([once, one], known) == once


@given(corpora, corpora, features)
def test_merging_loses_no_feature_and_nothing_pinned(
    one: dict[str, Input], other: dict[str, Input], known: Features
) -> None:
    kept = corpus.merged([one, other], known)
    all_of = frozenset[int]().union(*(known[name] for name in [*one, *other]))
    assert frozenset[int]().union(*(known[name] for name in kept)) == all_of
    for name, each in [*one.items(), *other.items()]:
        assert kept[name].pinned if each.pinned else True
    # Nothing else is kept than what is pinned or the smallest of some feature.
    for name, each in kept.items():
        rank = len(each.data), name
        needed = any(
            all(rank <= (len(o.data), n) for n, o in [*one.items(), *other.items()] if feature in known[n])
            for feature in known[name]
        )
        assert each.pinned or needed


def test_the_smallest_input_of_a_feature_is_kept() -> None:
    """Whatever its name; among those as small the first by name."""
    known = {"a": frozenset({1}), "b": frozenset({1}), "c": frozenset({1, 2}), "d": frozenset({2})}
    assert corpus.champions({"a": 9, "b": 1, "c": 5, "d": 5}, known) == {"b", "c"}


# -- the tools on files -----------------------------------------------------------------------------------------------


@pytest.fixture
def letters(tmp_path: Path) -> Elsewhere:
    """An entry point that reaches a feature for each letter."""
    return elsewhere(tmp_path / "fuzz", "letters")


def bytes_of(folder: Path) -> set[bytes]:
    """The inputs of a folder."""
    return {path.read_bytes() for path in files(folder)}


def test_merging_folders_in_any_order_gives_the_same_files(letters: Elsewhere, tmp_path: Path) -> None:
    """Real files, a real child, each order of three: the same inputs and the same manifest."""
    parts = [made(b"abc", b"a"), made(b"bc", b"abcd"), made(b"d", b"abc", pinned=True)]
    found = []
    for number, order in enumerate(permutations(parts)):
        into = tmp_path / f"into{number}"
        for part in order:
            corpus.merge(letters, into, [part], origin=HERE)
        found.append((bytes_of(into), corpus.manifest_path(into).read_text()))
    assert all(each == found[0] for each in found)
    kept, manifest = found[0]
    # The pinned one stays though smaller ones have its letters.
    assert {b"a", b"d", b"bc", b"abc"} <= kept
    told = json.loads(manifest)["inputs"][name_of(b"abc")]
    assert (told["pinned"], told["origin"], told["version"]) == (True, "a test", "0.1.0")
    assert told["invariants"] == ["PAR-01"]
    assert told["features"] > 3


def test_a_smaller_input_takes_the_place_of_a_larger_one(letters: Elsewhere, tmp_path: Path) -> None:
    """Unless it has features of its own, such as its length here."""
    corpus.merge(letters, tmp_path / "in", [made(b"xyz", b"xyw")], origin=HERE)
    change = corpus.merge(letters, tmp_path / "in", [made(b"xy", b"z", b"w")], origin=HERE)
    left = bytes_of(tmp_path / "in")
    assert {b"xy", b"z", b"w"} <= left
    assert len(left & {b"xyz", b"xyw"}) == 1
    assert len(change.removed) == 1


def test_a_merge_that_would_lose_features_writes_nothing(
    letters: Elsewhere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule is broken on purpose; a second run of what is left notices."""
    corpus.merge(letters, tmp_path / "in", [made(b"a")], origin=HERE)
    before = bytes_of(tmp_path / "in"), corpus.manifest_path(tmp_path / "in").read_text()
    real = corpus.champions
    monkeypatch.setattr(corpus, "champions", lambda sizes, known: set(sorted(real(sizes, known))[1:]))
    with pytest.raises(Loses, match="would be lost"):
        corpus.merge(letters, tmp_path / "in", [made(b"b", b"cde")], origin=HERE)
    assert (bytes_of(tmp_path / "in"), corpus.manifest_path(tmp_path / "in").read_text()) == before


def test_a_merge_whose_child_fails_writes_nothing(letters: Elsewhere, tmp_path: Path) -> None:
    """The entry point cannot be made ready: that is said, and nothing is written."""
    with pytest.raises(HarnessBroken, match="could not be made ready"):
        corpus.merge(replace(letters, maker="tests.fuzz.machines:nothing"), tmp_path / "in", [made(b"a")], origin=HERE)
    assert not (tmp_path / "in").exists()


def test_a_child_that_runs_nothing_is_no_success(tmp_path: Path) -> None:
    """Each input "holds" and none reaches anything: an empty corpus would be the result."""
    entry = elsewhere(tmp_path / "fuzz", "various")
    with pytest.raises(HarnessBroken, match="reached nothing at all"):
        corpus.merge(replace(entry), tmp_path / "in", [made(b"n")], origin=HERE)
    assert not (tmp_path / "in").exists()


@pytest.mark.parametrize("data", [b"a", b"f", b"d"])
def test_a_finding_is_no_input(tmp_path: Path, data: bytes) -> None:
    """Broken, faulty or deadly: it is refused, and nothing is written."""
    entry = elsewhere(tmp_path / "fuzz", "various")
    with pytest.raises(Breaks, match=name_of(data)):
        corpus.merge(entry, tmp_path / "in", [made(data, b"x")], origin=HERE)
    with pytest.raises(Breaks):
        corpus.keep(entry, tmp_path / "in", [data], origin=HERE, pinned=True)
    assert not (tmp_path / "in").exists()


def test_what_is_costly_is_left_out(tmp_path: Path) -> None:
    entry = elsewhere(tmp_path / "fuzz", "various")
    change = corpus.merge(entry, tmp_path / "in", [made(b"c", b"x")], origin=HERE)
    assert (bytes_of(tmp_path / "in"), change.costly) == ({b"x"}, (name_of(b"c"),))
    with pytest.raises(Refused, match="too costly"):
        corpus.keep(entry, tmp_path / "in", [b"c"], origin=HERE, pinned=False)


def test_verify_finds_what_is_wrong(letters: Elsewhere, tmp_path: Path) -> None:
    """A name, the manifest on both sides, an invariant that is no longer come to."""
    folder = letters.corpus
    corpus.merge(letters, folder, [made(b"a", b"bb", b"ccc")], origin=HERE)
    good = corpus.verify(letters, folder)
    assert (good.wrong, good.inputs, good.size) == ((), 3, 6)
    assert len(good.digests) == 3
    path = corpus.manifest_path(folder)
    told = json.loads(path.read_text())
    told["inputs"][name_of(b"a")]["invariants"].append("CTR-99")
    del told["inputs"][name_of(b"bb")]
    path.write_text(json.dumps(told))
    (folder / name_of(b"ccc")).rename(folder / "by-hand")
    assert set(corpus.verify(letters, folder).wrong) == {
        "by-hand: its name is not its content's",
        "by-hand: the manifest does not know it",
        f"{name_of(b'bb')}: the manifest does not know it",
        f"{name_of(b'ccc')}: in the manifest alone",
        f"{name_of(b'a')}: no longer comes to CTR-99; if that is meant: pawl corpus merge",
    }
    path.write_text("{")
    assert any("no manifest" in line for line in corpus.verify(letters, folder).wrong)


def test_verify_finds_an_input_with_two_transcripts(tmp_path: Path) -> None:
    """Randomness from outside: the determinism gate."""
    entry = elsewhere(tmp_path / "fuzz", "various")
    corpus.write(entry.corpus, entry.name, made(b"r", b"x"))
    assert corpus.verify(entry, entry.corpus).wrong == (f"{name_of(b'r')}: two runs, two transcripts",)


def test_an_interrupted_write_loses_nothing(
    letters: Elsewhere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever step fails, all inputs that were there are there."""
    corpus.merge(letters, tmp_path / "in", [made(b"xyz", b"abc")], origin=HERE)
    before = bytes_of(tmp_path / "in")

    def full(*arguments: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(corpus, "manifest", full)
    with pytest.raises(OSError, match="no space"):
        corpus.merge(letters, tmp_path / "in", [made(b"x", b"y", b"z", b"a", b"b", b"c")], origin=HERE)
    assert before <= bytes_of(tmp_path / "in")


# -- what a child tells -----------------------------------------------------------------------------------------------


def test_what_comes_of_an_input(tmp_path: Path) -> None:
    """Each sort of end is told apart, and the child after it answers again."""
    maker = elsewhere(tmp_path / "fuzz", "various").maker
    with Prober(maker, seconds=5) as prober:
        states = {data: prober.ask(data) for data in (b"x", b"a", b"f", b"d", b"c", b"h", b"x2")}
    assert {data: facts.state for data, facts in states.items()} == {
        b"x": HOLDS, b"a": BROKEN, b"f": FAULT, b"d": DIED, b"c": COSTLY, b"h": HUNG, b"x2": HOLDS,
    }  # fmt: skip
    assert states[b"a"].invariants == ("PAR-01",)
    assert states[b"f"].place.startswith("IndexError in machines.py:")
    assert states[b"d"].place == "SIGKILL"


def test_lines_of_the_library_are_features(letters: Elsewhere) -> None:
    """One byte takes another way through the library's reader than two."""
    with Prober(letters.maker) as prober:
        one, two = prober.ask(b"\x01"), prober.ask(b"\x81\x01")
    here, there = ({each for each in facts.features if each.startswith("wire/varint.py:")} for facts in (one, two))
    assert here
    assert here != there


def test_facts_of_a_trace(tmp_path: Path) -> None:
    """The finding of a planted fault: invariant and operation."""
    with Prober("tests.fuzz.machines:faulty_trace") as prober:
        facts = prober.ask(TAMPERED)
    assert isinstance(facts, Facts)
    assert (facts.state, facts.invariants[:1]) == (BROKEN, ("CTR-05",))
    assert facts.place.startswith("tamper ")


# -- libFuzzer's own merge --------------------------------------------------------------------------------------------


@pytest.mark.atheris
def test_libfuzzers_merge_chooses_inputs(letters: Elsewhere, tmp_path: Path) -> None:
    corpus.write(tmp_path / "given", "letters", made(b"\x01", b"\x81\x01", b"\x02"))
    chosen = corpus.fuzzer_merge(letters.program, [tmp_path / "given"], tmp_path / "out", most_bytes=64)
    assert chosen == len(files(tmp_path / "out")) > 0
    assert bytes_of(tmp_path / "out") <= bytes_of(tmp_path / "given")


@pytest.mark.atheris
def test_a_merge_that_ends_well_and_does_nothing_is_caught(letters: Elsewhere, tmp_path: Path) -> None:
    """The trap: a harness that is no executable file, without the guard of ours, ends with exit code 0 and an empty
    folder."""
    harness = letters.folder / "harness.py"
    harness.write_text(harness.read_text().replace("    startable()\n", ""))
    letters.program.chmod(0o644)
    corpus.write(tmp_path / "given", "letters", made(b"\x01", b"\x81\x01"))
    command = [sys.executable, str(letters.program), "-merge=1", str(tmp_path / "empty"), str(tmp_path / "given")]
    (tmp_path / "empty").mkdir()
    ended = subprocess.run(command, capture_output=True, check=False, timeout=120)
    # That is the trap itself.
    assert (ended.returncode, files(tmp_path / "empty")) == (0, [])
    with pytest.raises(HarnessBroken, match=r"is .* an executable file"):
        corpus.fuzzer_merge(letters.program, [tmp_path / "given"], tmp_path / "out", most_bytes=64)


@pytest.mark.atheris
def test_a_harness_that_is_no_executable_file_is_caught(letters: Elsewhere, tmp_path: Path) -> None:
    """With the guard it fails; that is caught too."""
    letters.program.chmod(0o644)
    corpus.write(tmp_path / "given", "letters", made(b"\x01"))
    with pytest.raises(HarnessBroken, match="executable file"):
        corpus.fuzzer_merge(letters.program, [tmp_path / "given"], tmp_path / "out", most_bytes=64)


# -- the command ------------------------------------------------------------------------------------------------------


def pawl(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command as its users do."""
    command = [str(Path(sys.executable).with_name("pawl")), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_the_command_adds_merges_and_minimizes(tmp_path: Path) -> None:
    """On a real entry point, into a folder of its own."""
    from pawl_gate.engines.corpus import SESSION_TRACE

    some = files(SESSION_TRACE)[:4]
    given = tmp_path / "given"
    given.mkdir()
    for path in some:
        shutil.copy(path, given)
    into = tmp_path / "session_trace"
    added = pawl("corpus", "add", "session_trace", some[0], "--into", into, "--pin", "--origin", "finding CTR-05")
    assert added.returncode == 0, added.stderr
    merged = pawl("corpus", "merge", "session_trace", given, "--into", into)
    assert merged.returncode == 0, merged.stderr
    again = pawl("corpus", "minimize", "session_trace", "--into", into)
    assert "0 added, 0 taken out" in again.stdout
    assert {path.name for path in files(into)} <= {path.name for path in some}
    told = json.loads(corpus.manifest_path(into).read_text())["inputs"][some[0].name]
    assert (told["pinned"], told["origin"]) == (True, "finding CTR-05")
    nothing = pawl("corpus", "merge", "session_trace", tmp_path / "misspelt", "--into", into)
    assert (nothing.returncode, "there are no inputs in" in nothing.stderr) == (2, True)
    assert pawl("corpus", "stats", "no_such_entry").returncode == 2
