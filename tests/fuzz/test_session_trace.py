"""The entry point for session traces, run as its users run it: fuzz, merge, replay, and find what is there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pawl_gate.engines.corpus import MOST_OPS, SESSION_TRACE, files
from pawl_spec.trace import Kind, Op, Trace, encode, op
from tools.examples import ROOT

FUZZ = ROOT / "fuzz"
ENTRY = FUZZ / "session_trace.py"
ENTRIES = sorted(path for path in FUZZ.glob("*.py") if path.name != "harness.py")
TALK = Trace((op(Kind.ESTABLISH, actor=0, peer=1), op(Kind.SEND, actor=0, peer=1), Op(Kind.DELIVER, (0,))))

CONTROL = """\
from harness import main


def prepare():
    from pawl_gate.controls import CONTROLS
    from pawl_gate.engines.corpus import hold
    from pawl_gate.engines.mutator import cross, mutate

    target = CONTROLS["refusal-changes-state"].make()
    return lambda data: hold(target, data), mutate, cross


main(prepare)
"""
"""An entry point for a target with a planted fault."""


def run(entry: Path, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run an entry point as `python fuzz/session_trace.py` does, without the environment's folder on the PATH."""
    path = os.pathsep.join(
        part for part in os.environ.get("PATH", "").split(os.pathsep) if Path(part) != Path(sys.executable).parent
    )
    command = [sys.executable, str(entry), *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=120, check=False
    )


def copied(to: Path, inputs: list[Path]) -> Path:
    """A folder with copies of inputs."""
    to.mkdir()
    for path in inputs:
        shutil.copy(path, to)
    return to


def coverage(log: str) -> list[int]:
    """The edges that libFuzzer counts in its lines, in their order."""
    return [int(edges) for edges in re.findall(r"\bcov: (\d+)", log)]


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    """An entry point of a target whose refusals change its state, beside the real harness."""
    folder = tmp_path / "fuzz"
    folder.mkdir()
    shutil.copy(FUZZ / "harness.py", folder)
    entry = folder / "control.py"
    entry.write_text(f"#!/usr/bin/env python3\n{CONTROL}", encoding="utf-8")
    entry.chmod(0o755)
    return entry


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda path: path.name)
def test_an_entry_point_is_a_short_program(entry: Path) -> None:
    """House plan: "Atheris entry points, one per trust boundary, each under 30 lines"; libFuzzer starts them again."""
    text = entry.read_text(encoding="utf-8")
    assert text.startswith("#!/usr/bin/env python3\n")
    assert os.access(entry, os.X_OK)
    assert len(text.splitlines()) < 30


def runs(words: str) -> int:
    """How many inputs libFuzzer says that it ran."""
    (said,) = re.findall(r"^Done (\d+) runs", words, re.MULTILINE)
    return int(said)


@pytest.mark.atheris
def test_a_short_campaign_ends_well_and_finds_coverage(tmp_path: Path) -> None:
    """Fuzzing from one input ends with exit code 0 and reaches more than that input did.

    The corpus has all that a few hundred inputs could find: from there a short campaign may well find nothing.
    """
    (tmp_path / "talk").write_bytes(encode(TALK))
    corpus = copied(tmp_path / "corpus", [tmp_path / "talk"])
    ended = run(ENTRY, "-runs=250", "-seed=1", corpus, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    # It looks at the number between its batches of changes, so a few more are run.
    assert 250 <= runs(ended.stderr) < 265
    # "INITED" stands before what was there already, "DONE" before all.
    (first,), (last,) = (coverage("\n".join(re.findall(f"{word} .*", ended.stderr))) for word in ("INITED", "DONE"))
    assert last > first > 0
    # New inputs lie beside the old one; no finding was left.
    assert len(files(corpus)) > 1
    assert (corpus / "talk").read_bytes() == encode(TALK)
    assert list(tmp_path.glob("crash-*")) == []


@pytest.mark.atheris
def test_a_campaign_from_the_corpus_keeps_it(tmp_path: Path) -> None:
    """Fuzzing from a part of the corpus runs all of it and more, ends with exit code 0, and takes nothing away."""
    corpus = copied(tmp_path / "corpus", files(SESSION_TRACE)[:40])
    before = {path.name: path.read_bytes() for path in files(corpus)}
    ended = run(ENTRY, f"-runs={len(before) + 20}", "-seed=1", corpus, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert runs(ended.stderr) >= len(before) + 20
    assert before.items() <= {path.name: path.read_bytes() for path in files(corpus)}.items()
    assert list(tmp_path.glob("crash-*")) == []


@pytest.mark.atheris
def test_merging_keeps_inputs(tmp_path: Path) -> None:
    """`-merge=1` puts into the first folder what the second adds, and takes nothing away.

    libFuzzer starts the entry point again for it; with another interpreter or from another folder the children fail,
    and the merge ends with exit code 0 and nothing merged.
    """
    inputs = files(SESSION_TRACE)
    kept, given = copied(tmp_path / "kept", inputs[:1]), copied(tmp_path / "given", inputs[1:8])
    before = [(path.name, path.read_bytes()) for path in files(kept)]
    ended = run(ENTRY, "-merge=1", kept, given, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    after = {path.name: path.read_bytes() for path in files(kept)}
    assert before[0] in after.items()
    assert len(after) > 1
    # Nothing is made up: each input is one of those given.
    assert set(after.values()) <= {path.read_bytes() for path in inputs[:8]}
    assert coverage(ended.stderr)


@pytest.mark.atheris
def test_merging_works_where_the_entry_point_is(tmp_path: Path) -> None:
    """`cd fuzz; python session_trace.py -merge=1 ...`: a name without a folder is not looked up on the PATH."""
    given = copied(tmp_path / "given", files(SESSION_TRACE)[:2])
    (tmp_path / "into").mkdir()
    ended = run(Path(ENTRY.name), "-merge=1", tmp_path / "into", given, cwd=FUZZ)
    assert ended.returncode == 0, ended.stderr
    assert files(tmp_path / "into")


def test_an_entry_point_that_cannot_be_started_again_is_refused(faulty: Path, tmp_path: Path) -> None:
    """It would end well and have done nothing."""
    faulty.chmod(0o644)
    ended = run(faulty, "-runs=1", cwd=tmp_path)
    assert ended.returncode == 1
    assert "must be an executable file" in ended.stderr


@pytest.mark.atheris
def test_a_planted_fault_is_found_and_replayed(faulty: Path, tmp_path: Path) -> None:
    """The fuzzer finds what a control does wrong, and leaves a file that shows it again; Pawl holds on that file."""
    (tmp_path / "talk").write_bytes(encode(TALK))
    ended = run(faulty, "-runs=5000", "-seed=1", copied(tmp_path / "corpus", [tmp_path / "talk"]), cwd=tmp_path)
    assert ended.returncode not in (0, 1), ended.stderr
    (crash,) = tmp_path.glob("crash-*")
    again = run(faulty, crash, cwd=tmp_path)
    assert again.returncode == 1, again.stderr
    assert again.stdout.startswith(f"{crash}: CTR-05 does not hold: ")
    held = run(ENTRY, crash, cwd=tmp_path)
    assert (held.returncode, held.stdout) == (0, f"{crash}: holds\n")


def test_replay_names_each_file_and_goes_on(faulty: Path, tmp_path: Path) -> None:
    """One finding does not hide the files after it, and the exit code is that of a violation."""
    changed = tmp_path / "changed"
    changed.write_bytes(encode(Trace((*TALK.ops, op(Kind.TAMPER)))))
    talk = tmp_path / "talk"
    talk.write_bytes(encode(TALK))
    ended = run(faulty, changed, talk, cwd=tmp_path)
    assert ended.returncode == 1, ended.stderr
    assert ended.stdout.startswith(f"{changed}: CTR-05 does not hold: ")
    assert ended.stdout.endswith(f"{talk}: holds\n")


def test_what_is_too_costly_does_not_hold(tmp_path: Path) -> None:
    """Exit code 4, incomplete: a file that was not run is never said to hold."""
    costly = tmp_path / "costly"
    costly.write_bytes(encode(Trace((Op(Kind.NOP),) * (MOST_OPS + 1))))
    ended = run(ENTRY, costly, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (4, f"{costly}: not run: too costly for a fuzzer\n")


def test_replaying_the_corpus_twice_says_the_same(tmp_path: Path) -> None:
    """Every kept input holds, and one input gives one line, always the same."""
    inputs = files(SESSION_TRACE)
    once, twice = (run(ENTRY, *inputs, cwd=tmp_path) for _ in range(2))
    assert (once.returncode, once.stderr) == (0, "")
    assert once.stdout == twice.stdout
    assert once.stdout.splitlines() == [f"{path}: holds" for path in inputs]


FAULTS = """\
from harness import main


def fuzz(data):
    if data == b"fault":
        raise IndexError("a slip \\x1b[2J in\\na predicate" + "." * 1000)
    if data == b"broken":
        raise AssertionError("CTR-01 does not hold: so")
    return data or None


main(lambda: (fuzz, None, None))
"""
"""An entry point in which something else than the specification breaks."""


@pytest.mark.parametrize(
    ("inputs", "code"),
    [(("fault", "whole"), 3), (("", "fault"), 3), (("fault", "broken"), 1), (("whole", ""), 4), (("whole",), 0)],
    ids=str,
)
def test_a_fault_that_is_not_the_specifications_is_one_line(tmp_path: Path, inputs: tuple[str, ...], code: int) -> None:
    """Exit code 3, the harness broke: a readable line without a traceback, and the files after it are replayed too."""
    shutil.copy(FUZZ / "harness.py", tmp_path)
    entry = tmp_path / "entry.py"
    entry.write_text(FAULTS, encoding="utf-8")
    paths = [tmp_path / (name or "empty") for name in inputs]
    for path, name in zip(paths, inputs, strict=True):
        path.write_text(name, encoding="utf-8")
    ended = run(entry, *paths, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (code, "")
    said = dict(zip(inputs, ended.stdout.splitlines(), strict=True))
    assert [line.split(": ")[0] for line in said.values()] == [str(path) for path in paths]
    if "fault" in said:
        told = "a fault of the gate itself: IndexError: a slip \\x1b[2J in a predicate"
        assert said["fault"].startswith(f"{tmp_path / 'fault'}: {told}")
        assert said["fault"].endswith("... (entry.py, line 6)")
        assert len(said["fault"]) < 600


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    """Exit code 2, as for `pawl`: the file is named, in one line."""
    ended = run(ENTRY, "/proc/self/mem", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (2, "")
    assert ended.stdout == "/proc/self/mem: cannot be read: Input/output error\n"
