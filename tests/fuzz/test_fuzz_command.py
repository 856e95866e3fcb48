"""`pawl fuzz` and `pawl campaign`, as their users run them, on a variant of Pawl with a planted fault and on Pawl."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pawl_gate.cli.fuzz import duration
from pawl_gate.engines.corpus import files, name_of
from pawl_gate.fuzzing import findings
from pawl_gate.fuzzing.entries import ENTRIES
from pawl_gate.fuzzing.facts import Prober
from pawl_spec.trace import Kind, Op, Trace, decode, encode, loads, op
from tests.conftest import ROOT
from tests.fuzz.machines import MET, TAMPERED, elsewhere


def pawl(*arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    command = [str(Path(sys.executable).with_name("pawl")), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600, check=False)


# -- shrinking --------------------------------------------------------------------------------------------------------


def test_a_finding_shrinks_to_what_shows_it(tmp_path: Path) -> None:
    """First operations go, then operands; what is left breaks the same, and nothing can be left out of it."""
    entry = elsewhere(tmp_path / "fuzz", "breaks")
    small = findings.shrink(entry, bytes([9, 3, 7, 3, 1, 200, 200, 5]), budget=500)
    assert (small.data, small.parts) == (bytes([3, 200]), (8, 2))
    assert small.facts.invariants == ("CTR-05",)
    with pytest.raises(findings.NoFinding):
        findings.shrink(entry, b"\x03", budget=10)


def test_a_trace_shrinks(tmp_path: Path) -> None:
    """A real finding of a planted fault, buried in operations that have nothing to do with it."""
    entry = elsewhere(tmp_path / "fuzz", "faulty_trace")
    trace = decode(TAMPERED)
    noise = (Op(Kind.NOP), op(Kind.SEND, actor=0, peer=2, size=9), op(Kind.RESTART, actor=2))
    buried = encode(Trace((*noise, *trace.ops, *noise), seed=77))
    small = findings.shrink(entry, buried, budget=400)
    left = decode(small.data)
    assert small.facts.invariants[0] == "CTR-05"
    assert len(left.ops) < len(trace.ops) + 2
    assert all(each.kind is not Kind.NOP for each in left.ops)
    # One minimal: without any one of its operations it shows nothing of the kind.
    with Prober(entry.maker, lines=False) as prober:
        for at in range(len(left.ops)):
            fewer = encode(Trace(left.ops[:at] + left.ops[at + 1 :], seed=left.seed, strict=left.strict))
            assert "CTR-05" not in prober.ask(fewer).invariants[:1]


def test_a_budget_ends_it(tmp_path: Path) -> None:
    entry = elsewhere(tmp_path / "fuzz", "breaks")
    small = findings.shrink(entry, bytes([9] * 40 + [3, 200] + [9] * 40), budget=7)
    assert small.tries <= 7
    assert small.facts.invariants == ("CTR-05",)


# -- triage and export ------------------------------------------------------------------------------------------------


def test_triage_groups_by_what_is_shown(tmp_path: Path) -> None:
    """Invariant, refusal code and place; what shows nothing stands apart."""
    entry = elsewhere(tmp_path / "fuzz", "various")
    folder = tmp_path / "found"
    folder.mkdir()
    for data in (b"a1", b"a2 longer", b"f", b"d", b"quiet"):
        (folder / name_of(data)).write_bytes(data)
    (folder / "told.json").write_text("{}")
    groups, quiet = findings.triage(entry, findings.inputs([folder]))
    assert (groups[0].state, groups[0].invariants, len(groups[0].files)) == ("broken", ("PAR-01",), 2)
    assert {(one.state, one.place.partition(" in ")[0]) for one in groups[1:]} == {
        ("fault", "IndexError"),
        ("died", "SIGKILL"),
    }
    assert groups[0].smallest.read_bytes() == b"a1"
    assert [path.read_bytes() for path in quiet] == [b"quiet"]


def test_an_exported_test_fails_as_long_as_the_fault_is_there(tmp_path: Path) -> None:
    """The text is a test that pytest runs: it holds on Pawl, and fails where the fault is planted."""
    entry = ENTRIES["session_trace"]
    exported = pawl("fuzz", "export", "session_trace", _saved(tmp_path, TAMPERED), "--out", tmp_path / "out", "--json")
    assert exported.returncode == 0, exported.stderr
    test, vector, given = map(Path, json.loads(exported.stdout)["files"])
    assert loads(vector.read_text()) == decode(TAMPERED)
    assert given.read_bytes() == TAMPERED
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(test.parent), str(test)]
    held = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert held.returncode == 0, held.stdout
    (test.parent / "conftest.py").write_text(
        "from dataclasses import replace\n"
        "from pawl_gate.fuzzing import entries\n"
        f"entries.ENTRIES[{entry.name!r}] = "
        f"replace(entries.ENTRIES[{entry.name!r}], maker='tests.fuzz.machines:faulty_trace')\n"
    )
    broken = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert broken.returncode == 1
    assert "CTR-05 does not hold" in broken.stdout


def test_the_vector_of_a_finding_names_what_it_shows(tmp_path: Path) -> None:
    with Prober("tests.fuzz.machines:faulty_trace", lines=False) as prober:
        facts = prober.ask(TAMPERED)
    text = findings.vector(ENTRIES["session_trace"], TAMPERED, facts)
    assert json.loads(text)["violates"] == "CTR-05"
    assert loads(text) == decode(TAMPERED)
    name, test = findings.regression(ENTRIES["session_trace"], TAMPERED, facts)
    assert name == f"test_session_trace_ctr_05_{name_of(TAMPERED)[:8]}.py"
    compile(test, name, "exec")


def _saved(folder: Path, data: bytes) -> Path:
    path = folder / "finding"
    path.write_bytes(data)
    return path


# -- the commands -----------------------------------------------------------------------------------------------------


def test_replay_says_what_the_entry_point_says(tmp_path: Path) -> None:
    path = _saved(tmp_path, TAMPERED)
    ended = pawl("fuzz", "replay", "session_trace", path)
    assert (ended.returncode, ended.stdout) == (0, f"{path}: holds\n")
    assert pawl("fuzz", "replay", "session_trace", tmp_path / "misspelt").returncode == 2
    assert pawl("fuzz", "replay", "no_such", path).returncode == 2
    assert pawl("fuzz", "shrink", "session_trace", path).returncode == 4
    quiet = pawl("fuzz", "triage", "session_trace", path)
    assert (quiet.returncode, quiet.stdout.splitlines()[0]) == (0, "0 findings in 0 groups, 1 inputs that show nothing")


@pytest.mark.atheris
def test_fuzzing_and_going_on_with_a_campaign(tmp_path: Path) -> None:
    """A short run, its figures and its page; then a campaign of two rounds, of which one is interrupted by --rounds."""
    start = tmp_path / "start" / "session_trace"
    start.mkdir(parents=True)
    data = encode(Trace(MET))
    (start / name_of(data)).write_bytes(data)
    ran = pawl(
        "fuzz", "run", "session_trace", "--time", "5s", "--corpus", start.parent, "--out", tmp_path / "run", "--json"
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["executions"] > 0
    assert told["entries"][0]["features"] > 0
    page = (tmp_path / "run" / "report" / "index.html").read_text()
    assert "<h1" in page
    assert "no findings" in page
    assert "double_ratchet.py" in page
    # It loads nothing from anywhere.
    assert "http" not in page.replace("http-equiv", "")
    again = pawl("fuzz", "run", "session_trace", "--out", tmp_path / "run")
    assert (again.returncode, "begins in a new folder" in again.stderr) == (2, True)
    out = tmp_path / "campaign"
    first = pawl(
        *("campaign", "session_trace", "--rounds", 1, "--unit-runs", 40, "--jobs", 1, "--corpus", start.parent),
        *("--out", out),
    )
    assert first.returncode == 0, first.stderr
    units = (out / "units.jsonl").read_text().splitlines()
    second = pawl("campaign", "--resume", "--rounds", 2, "--jobs", 1, "--out", out)
    assert second.returncode == 0, second.stderr
    lines = (out / "units.jsonl").read_text().splitlines()
    assert lines[: len(units)] == units
    assert len(lines) == len(units) + 1
    assert files(out / "corpus" / "session_trace")
    again = pawl("campaign", "session_trace", "--rounds", 1, "--out", out)
    assert (again.returncode, "is not empty" in again.stderr) == (2, True)
    assert pawl("campaign", "--resume", "session_trace", "--out", out).returncode == 2
    assert pawl("campaign", "session_trace", "--engine", "ray", "--out", tmp_path / "other").returncode == 2


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("20s", 20), ("10m", 600), ("8h", 28800)])
def test_times(text: str, seconds: int) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "0", "0s", "-1", "1.5h", "10d", "12345678s"])
def test_times_that_are_none(text: str) -> None:
    import argparse

    with pytest.raises(argparse.ArgumentTypeError):
        duration(text)
