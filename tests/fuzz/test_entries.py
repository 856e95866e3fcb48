"""The entry points of the registry: what each promises to fuzzers, to corpora and to whoever shrinks."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache

import pytest

from pawl_gate.engines.corpus import SESSION_TRACE, files, is_costly, name_of
from pawl_gate.engines.mutator import mutate
from pawl_gate.fuzzing import entries as registry
from pawl_gate.fuzzing.entries import ENTRIES, Entry, Prepared
from pawl_gate.fuzzing.faults import FAULTS, Fault, new_process
from pawl_gate.fuzzing.traces import MET, Worlds, transcript
from pawl_gate.runner import run_trace
from pawl_gate.targets.inprocess import InProcessTarget
from pawl_spec.invariants import INVARIANTS
from pawl_spec.threat_model import LINES, Sort
from pawl_spec.trace import Trace, decode
from tools.examples import ROOT

MOST_BYTES = 20 * 1024 * 1024
"""Of all corpora together."""

HERE = [entry for entry in ENTRIES.values() if not entry.needs]
"""What needs nothing but Python; the others are run with their peers."""


@cache
def prepared(name: str) -> Prepared:
    """An entry point, made ready once."""
    return ENTRIES[name].prepare()


def test_every_program_is_listed_and_every_entry_is_a_program() -> None:
    """One list: what is not in it is neither replayed nor fuzzed by anybody."""
    programs = {path.stem for path in (ROOT / "fuzz").glob("*.py")} - {"harness"}
    assert programs == set(ENTRIES)
    assert all(name == entry.name for name, entry in ENTRIES.items())


def test_the_list_imports_nothing_that_is_fuzzed() -> None:
    """The library has to be imported under instrumentation, by `prepare`."""
    code = f"import sys, {registry.__name__}; print([name for name in sys.modules if name.split('.')[0] == 'pawl'])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout == "[]\n"


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=lambda entry: entry.name)
def test_an_entry_names_what_there_is(entry: Entry) -> None:
    """Its boundaries are the threat model's, and those that its program names; its invariants are judged ones."""
    boundaries = {line.anchor for line in LINES if line.sort is Sort.BOUNDARY}
    text = entry.program.read_text("utf-8")
    assert set(entry.boundaries) <= boundaries
    assert all(anchor in text for anchor in entry.boundaries)
    assert set(entry.invariants) <= {one.id for one in INVARIANTS}
    assert entry.bound


def test_each_trust_boundary_that_is_there_has_an_entry() -> None:
    """One at least."""
    named = {anchor for entry in ENTRIES.values() for anchor in entry.boundaries}
    assert named == {line.anchor for line in LINES if line.sort is Sort.BOUNDARY}


@pytest.mark.parametrize("entry", HERE, ids=lambda entry: entry.name)
def test_seeds_hold_and_say_the_same_twice(entry: Entry) -> None:
    """Without a corpus a fuzzer begins with these; two runs of one input have one transcript."""
    made = prepared(entry.name)
    seeds = list(made.seeds())
    assert seeds == list(made.seeds())
    ran = [made.run(data) for data in seeds[:12]]
    assert ran == [made.run(data) for data in seeds[:12]]
    assert all(one is not None and one.checked for one in ran)
    assert made.hold(seeds[0]) is not None


@pytest.mark.parametrize("entry", HERE, ids=lambda entry: entry.name)
def test_mutators_keep_to_their_size_and_their_seed(entry: Entry) -> None:
    """libFuzzer aborts where one does not; any bytes are some input; an empty one stands for a seed."""
    made = prepared(entry.name)
    seeds = list(made.seeds())
    for number in range(60):
        data = seeds[number % len(seeds)]
        size = (entry.most_bytes, len(data), 7)[number % 3]
        changed = made.started(data, size, number)
        assert changed == made.started(data, size, number)
        assert len(changed) <= size
        assert len(made.cross(data, seeds[0], size, number)) <= size
    assert made.started(b"", entry.most_bytes, 3)
    for junk in (b"", b"\0", b"\xff" * 40, bytes(range(256))):
        made.run(junk)


@pytest.mark.parametrize("entry", HERE, ids=lambda entry: entry.name)
def test_an_input_is_taken_apart_without_loss(entry: Entry) -> None:
    """Put together again it does the same, and a simpler part is never longer for ever: it ends."""
    made = prepared(entry.name)
    for data in list(made.seeds())[:6]:
        rest, parts = made.form.split(data)
        whole = made.form.join(rest, parts)
        assert made.run(whole) == made.run(data)
        assert made.form.split(whole) == (rest, parts)
        for part in parts[:4]:
            assert part not in list(made.form.simpler(part))


def test_a_world_that_stands_ready_gives_the_same_history() -> None:
    """What runs in a copy of an established world is what runs from the start, event by event."""
    target = InProcessTarget()
    worlds = Worlds(target, (Trace(MET),))
    seeds = list(prepared("session_trace").seeds())
    inputs = [*seeds, *(mutate(seeds[1], 4096, number, stays=len(MET)) for number in range(12))]
    begun = [decode(data) for data in [*inputs, *(path.read_bytes() for path in files(SESSION_TRACE)[:8])]]
    for trace in begun:
        if not is_costly(trace):
            assert transcript(worlds.run(trace)) == transcript(run_trace(target, trace))
    assert any(trace.ops[: len(MET)] == MET for trace in begun[len(seeds) :])


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=lambda entry: entry.name)
def test_a_corpus_is_there_and_named_by_its_content(entry: Entry) -> None:
    """`pawl corpus verify` runs all of them twice; here some."""
    inputs = files(entry.corpus)
    assert inputs
    assert all(path.name == name_of(path.read_bytes()) for path in inputs)
    assert sum(path.stat().st_size for path in (ROOT / "corpus").rglob("*") if path.is_file()) < MOST_BYTES
    if not entry.needs:
        for path in inputs[:8]:
            ran = prepared(entry.name).run(path.read_bytes())
            assert ran is not None
            assert ran.checked


@pytest.mark.parametrize("name", ["prekey_message", "sealed_message", "json_store"])
def test_a_program_replays_its_corpus(name: str) -> None:
    """Given names it needs no Atheris, and each of them holds."""
    inputs = files(ENTRIES[name].corpus)[:5]
    command = [sys.executable, str(ENTRIES[name].program), *map(str, inputs)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == [f"{path}: holds" for path in inputs]


# -- planted faults ---------------------------------------------------------------------------------------------------


def found(fault: Fault, tries: int) -> bytes | None:
    """An input that shows a planted fault by an invariant which names it; by the mutators alone, without feedback."""
    made = prepared(fault.entry)
    seeds = list(made.seeds())
    for number in range(tries):
        data = made.mutate(seeds[number % len(seeds)], 4096, number) if number >= len(seeds) else seeds[number]
        new_process()
        try:
            made.hold(data)
        except AssertionError as finding:
            return data if set(getattr(finding, "ids", ())) & set(fault.breaks) else None
    return None


QUICK = (
    *("repeated-field", "overlong-varint", "integer-of-64-bits", "version-nibble", "unknown-field-cut-off"),
    *("unknown-fields-unlimited", "mac-over-encoding", "mac-in-part", "previous-counter-in-two-bytes"),
    *("kept-key-stays", "kept-in-process"),
)


@pytest.mark.parametrize("name", QUICK)
def test_a_planted_fault_is_found_and_is_the_faults(name: str) -> None:
    """Each is found within some thousand tries, and what shows it holds where it is not planted."""
    fault = FAULTS[name]
    prepared(fault.entry)
    with fault.planted():
        data = found(fault, 6000)
    assert data is not None
    prepared(fault.entry).hold(data)


def test_there_are_faults_of_both_kinds() -> None:
    """At least twelve; some behind a MAC; one that needs a valid MAC, a restore and a kept key together."""
    assert len(FAULTS) >= 12
    assert {fault.entry for fault in FAULTS.values()} >= {"signal_message", "prekey_message", "sealed_message"}
    assert "guarded-by-process" in FAULTS
    assert all(set(fault.breaks) <= {one.id for one in INVARIANTS} for fault in FAULTS.values())


@pytest.mark.atheris
def test_a_hunt_says_what_it_found_and_how_long_it_took() -> None:
    """`python -m pawl_gate.fuzzing.hunt NAME`: from the seeds alone, one line of JSON."""
    command = [sys.executable, "-m", "pawl_gate.fuzzing.hunt", "previous-counter-in-two-bytes", "--seconds", "60"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    said = json.loads(ended.stdout)
    assert (ended.returncode, said["found"], said["ids"]) == (0, True, ["PAR-01"])
    assert said["executions"] > 0
    with FAULTS["previous-counter-in-two-bytes"].planted(), pytest.raises(AssertionError, match="OverflowError"):
        prepared("sealed_message").hold(bytes.fromhex(said["input"]))


@pytest.mark.atheris
@pytest.mark.parametrize(
    ("name", "chosen"), [("driver_answer", r"pawl_gate\.targets\.driver"), ("key", r"pawl(\..*)?")]
)
def test_what_is_fuzzed_is_instrumented_and_nothing_else(name: str, chosen: str) -> None:
    """Atheris looks at the first part of a name alone: of a single module it would instrument all the package's."""
    ended = subprocess.run(
        [sys.executable, str(ENTRIES[name].program), "-runs=1"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    modules = re.findall(r"INFO: Instrumenting (\S+)", ended.stderr)
    assert modules
    assert [module for module in modules if not re.fullmatch(chosen, module)] == []
