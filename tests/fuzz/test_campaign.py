"""Campaigns: real fuzzers in real processes, killed, doubled, foreign, interrupted and gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pawl_gate.engines.corpus import files
from pawl_gate.fuzzing import unit as units
from pawl_gate.fuzzing.campaign import Campaign, Unfit, plan
from pawl_gate.fuzzing.corpus import Input, Origin
from pawl_gate.fuzzing.executors import Engine, NoEngine, engine
from pawl_gate.fuzzing.report import document
from pawl_gate.fuzzing.unit import DONE, LOST, REFUSED, Outcome
from tests.conftest import ROOT
from tests.fuzz.machines import Elsewhere, elsewhere

pytestmark = pytest.mark.atheris

RUNS = 3000


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs of the tests import their makers from the checkout."""
    units.begin_all()


@pytest.fixture
def letters(tmp_path: Path) -> Elsewhere:
    return elsewhere(tmp_path / "fuzz", "letters", most_bytes=6)


def begun(folder: Path, entry: Elsewhere, *, runs: int = RUNS, lanes: int = 2, seconds: int = 0) -> Campaign:
    """A campaign of one entry point that does the same each time."""
    made = plan({entry.name: entry}, seed=7, unit_seconds=seconds, unit_runs=runs, lanes=lanes)
    start = Input(b"seed", Origin("a test", "0"))
    return Campaign.begin(folder, {entry.name: entry}, made, {entry.name: {start.name: start}})


def outcome(made: Campaign) -> tuple[Any, ...]:
    """What a campaign came to: all of its inputs, and what they reach."""
    (standing,) = made.standing.values()
    return sorted(standing.features), standing.corpus, standing.reached


def processes(words: str) -> list[int]:
    """The processes whose command line has these words."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if words in command and int(path.name) != os.getpid():
                found.append(int(path.name))
    return found


def eventually(what: Callable[[], object]) -> Any:
    """Wait until something is so; a machine that is busy takes its time."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if found := what():
            return found
        time.sleep(0.02)
    raise AssertionError("it never came to be so")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    """Two rounds of two units, one after the other, with nobody in the way."""
    folder = tmp_path_factory.mktemp("undisturbed")
    made = begun(folder / "campaign", elsewhere(folder / "fuzz", "letters", most_bytes=6))
    units.begin_all()
    with engine("local", 1) as there:
        made.run(there, rounds=2)
    assert made.given_up == []
    return outcome(made)


# -- a unit -----------------------------------------------------------------------------------------------------------


def test_a_unit_finds_inputs_and_leaves_nothing(letters: Elsewhere, tmp_path: Path) -> None:
    """New inputs with what they do, where it stood on the way, and neither process nor file afterwards."""
    work = units.unit(letters, "0.letters.0", seed=1, seconds=0, runs=RUNS, inputs=[b"seed"])
    done = units.run(work)
    assert (done.state, done.why) == (DONE, "")
    assert done.executions >= RUNS
    assert done.points[-1].features > 0
    assert done.found
    assert all(facts.features for _, facts in done.found)
    assert processes(str(letters.program)) == []
    # The same unit again is the same.
    assert {data for data, _ in units.run(work).found} == {data for data, _ in done.found}


def test_a_unit_of_other_code_is_refused(letters: Elsewhere) -> None:
    """Another revision, or another version of a tool."""
    work = units.unit(letters, "0.letters.0", seed=1, seconds=0, runs=10, inputs=[b""])
    for foreign in (
        replace(work, revision="0" * 16),
        replace(work, tools=(*work.tools[:1], ("atheris", "0.0"), *work.tools[2:])),
    ):
        refused = units.run(foreign)
        assert (refused.state, refused.executions) == (REFUSED, 0)
        assert "it is for revision" in refused.why


def test_a_unit_whose_fuzzer_is_killed_is_lost(letters: Elsewhere) -> None:
    """A kill from outside says nothing of the input."""
    import threading

    work = units.unit(letters, "0.letters.0", seed=1, seconds=60, runs=0, inputs=[b""])
    found: list[Outcome] = []
    thread = threading.Thread(target=lambda: found.append(units.run(work)))
    thread.start()
    (child,) = eventually(lambda: processes(str(letters.program)))
    os.kill(child, signal.SIGKILL)
    thread.join(60)
    assert [(one.state, one.findings) for one in found] == [(LOST, ())]
    assert "signal 9" in found[0].why


ALONE = """\
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from pawl_gate.fuzzing import unit as units
from tests.fuzz.machines import elsewhere
entry = elsewhere(Path(sys.argv[2]), "letters", most_bytes=6)
units.run(units.unit(entry, "0.letters.0", seed=1, seconds=3000, runs=0, inputs=[b""]))
"""


def test_a_fuzzer_ends_with_whoever_started_it(letters: Elsewhere, tmp_path: Path) -> None:
    """Killed in a unit of an hour, so that it could end nothing itself."""
    process = subprocess.Popen([sys.executable, "-c", ALONE, str(ROOT), str(letters.folder)], cwd=tmp_path)
    (child,) = eventually(lambda: processes(f"{letters.program} -seed"))
    # It is at work, and no longer about to say so to a pipe that is closed.
    eventually(lambda: int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[11]) > 200)
    process.kill()
    process.wait()
    try:
        eventually(lambda: not processes(str(letters.program)))
    finally:
        for left in processes(str(letters.program)):
            os.kill(left, signal.SIGKILL)


def test_a_unit_tells_its_finding(tmp_path: Path) -> None:
    """The input, and the invariant that it breaks; a box of time goes on after it."""
    entry = elsewhere(tmp_path / "fuzz", "breaks", most_bytes=4)
    start = [bytes([3, 199]), bytes([4, 200])]
    done = units.run(units.unit(entry, "0.breaks.0", seed=1, seconds=0, runs=400_000, inputs=start))
    assert done.state == DONE
    assert [facts.invariants for _, facts in done.findings] == [("CTR-05",)]


def test_a_unit_that_finds_no_program_is_lost(letters: Elsewhere) -> None:
    letters.program.unlink()
    lost = units.run(units.unit(letters, "0.letters.0", seed=1, seconds=5, runs=0, inputs=[b""]))
    assert lost.state == LOST
    assert "exit code 2 and no finding" in lost.why


# -- a campaign -------------------------------------------------------------------------------------------------------


def test_a_round_begins_with_what_the_last_one_found(undisturbed: tuple[Any, ...]) -> None:
    inputs, corpus, reached = undisturbed
    assert len(inputs) > len(corpus) > 1
    assert any(each.startswith("letter ") for each in reached)


def test_two_jobs_come_to_the_same(undisturbed: tuple[Any, ...], letters: Elsewhere, tmp_path: Path) -> None:
    """The order in which units end does not matter."""
    made = begun(tmp_path / "campaign", letters)
    with engine("local", 2) as there:
        made.run(there, rounds=2)
    assert outcome(made) == undisturbed
    # What it leaves can be merged, and its figures are there.
    assert {path.name for path in files(tmp_path / "campaign" / "corpus" / "letters")} == set(undisturbed[1])
    told = document(made)
    assert (told["executions"] >= 4 * RUNS, told["rounds"], told["findings"]) == (True, 2, [])
    assert any(one["file"] == "wire/varint.py" and one["reached"] for one in told["files"])


def test_a_killed_unit_is_done_again(undisturbed: tuple[Any, ...], letters: Elsewhere, tmp_path: Path) -> None:
    """Real kills of real fuzzers in mid-round: the same inputs and features in the end."""
    import threading

    made = begun(tmp_path / "campaign", letters)
    killed: list[int] = []

    def kill() -> None:
        for _ in range(2):
            child = eventually(lambda: [one for one in processes(f"{letters.program} -seed") if one not in killed])[0]
            os.kill(child, signal.SIGKILL)
            killed.append(child)

    thread = threading.Thread(target=kill)
    thread.start()
    with engine("local", 2) as there:
        made.run(there, rounds=2)
    thread.join()
    assert len(killed) == 2
    assert made.lost.total() >= 1
    assert made.given_up == []
    assert outcome(made) == undisturbed


class Clumsy(Executor):
    """An executor that carries out each unit twice, loses the first of each, and gives back the latter first."""

    def __init__(self) -> None:
        self.lost: set[str] = set()
        self.waiting: list[tuple[Future[Outcome], Outcome]] = []

    def submit(self, run: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()
        (work,) = arguments
        if work.id not in self.lost:
            self.lost.add(work.id)
            future.set_exception(ConnectionError("the worker is gone"))
        else:
            run(work)
            future.set_result(run(work))
        return future


def test_lost_and_doubled_units_do_no_harm(undisturbed: tuple[Any, ...], letters: Elsewhere, tmp_path: Path) -> None:
    made = begun(tmp_path / "campaign", letters)
    made.run(Engine(Clumsy(), 1, "clumsy"), rounds=2)
    assert made.given_up == []
    # One unit that looks, and two of each round.
    assert made.lost.total() == 5
    assert outcome(made) == undisturbed
    # The outcome of a unit that is done already says nothing new.
    before = (tmp_path / "campaign" / "units.jsonl").read_text()
    work = units.unit(letters, "0.letters.0", seed=1, seconds=0, runs=1, inputs=[])
    made.take(work, Outcome("0.letters.0", DONE, executions=10**9))
    assert (tmp_path / "campaign" / "units.jsonl").read_text() == before
    assert outcome(made) == undisturbed


def test_foreign_units_end_the_campaign(letters: Elsewhere, tmp_path: Path) -> None:
    """A worker with other code: nothing of it is taken, and after some tries it is said."""
    made = begun(tmp_path / "campaign", letters)

    class Old(Executor):
        def submit(self, run: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_result(run(replace(arguments[0], revision="of yesterday")))
            return future

    made.run(Engine(Old(), 1, "old"), rounds=2)
    assert len(made.given_up) == 1
    assert "refused: it is for revision of yesterday" in made.given_up[0]
    assert made.executions == 0


# -- going on ---------------------------------------------------------------------------------------------------------

SCRIPT = """\
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from pawl_gate.fuzzing.campaign import Campaign
from pawl_gate.fuzzing.executors import engine
from tests.fuzz.machines import elsewhere
entry = elsewhere(Path(sys.argv[2]), "letters", most_bytes=6)
made = Campaign.resume(Path(sys.argv[3]), {"letters": entry})
with engine("local", 1) as there:
    made.run(there, rounds=2)
"""


def test_an_interrupted_campaign_goes_on(undisturbed: tuple[Any, ...], letters: Elsewhere, tmp_path: Path) -> None:
    """Killed in mid-round, with a line half written: it goes on at the unit that is missing and comes to the same.

    No process of it is left when its own is gone.
    """
    folder = tmp_path / "campaign"
    begun(folder, letters)
    log = folder / "units.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(ROOT), str(letters.folder), str(folder)], cwd=tmp_path
    )
    eventually(
        lambda: log.exists() and len(log.read_text().splitlines()) >= 2 and processes(f"{letters.program} -seed")
    )
    process.kill()
    process.wait()
    eventually(lambda: not processes(str(letters.program)))
    done = len(log.read_text().splitlines())
    assert 2 <= done < 5
    with log.open("a") as file:
        file.write('{"unit": "1.letters.1", "entr')
    made = Campaign.resume(folder, {"letters": letters})
    assert len(made.log) == done
    with engine("local", 1) as there:
        made.run(there, rounds=2)
    assert outcome(made) == undisturbed
    assert len(made.log) == 5
    # Opened once more there is nothing left to do.
    again = Campaign.resume(folder, {"letters": letters})
    assert (len(again.log), outcome(again)) == (5, undisturbed)


def test_a_campaign_of_other_code_does_not_go_on(letters: Elsewhere, tmp_path: Path) -> None:
    """Nor one that is not there, nor does a new one begin in its folder."""
    folder = tmp_path / "campaign"
    begun(folder, letters)
    with pytest.raises(Unfit, match="is not empty"):
        begun(folder, letters)
    path = folder / "campaign.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "revision": "0" * 16}))
    with pytest.raises(Unfit, match="was begun with revision 0000000000000000"):
        Campaign.resume(folder, {"letters": letters})
    path.write_text("{")
    with pytest.raises(Unfit, match="holds no campaign that can be read"):
        Campaign.resume(folder, {"letters": letters})
    with pytest.raises(Unfit, match="holds no campaign: there is no"):
        Campaign.resume(tmp_path / "misspelt", {"letters": letters})


# -- Dask -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and two workers, as their users start them."""
    pytest.importorskip("distributed")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "60s"}
    address = tmp_path / "scheduler.json"
    dask = [sys.executable, "-m", "distributed.cli"]
    started: list[subprocess.Popen[bytes]] = []

    def start(module: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (tmp_path / "dask.log").open("ab") as log:
            process = subprocess.Popen(
                [*dask[:2], f"distributed.cli.{module}", *arguments],
                stdout=log,
                stderr=log,
                env=environment,
                cwd=tmp_path,
            )
        started.append(process)
        return process

    try:
        start(
            "dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(address)
        )
        eventually(address.exists)
        workers = [
            start(
                "dask_worker",
                *("--scheduler-file", str(address), "--nthreads", "1", "--no-nanny", "--no-dashboard"),
                *("--name", f"worker{number}", "--local-directory", str(tmp_path / f"worker{number}")),
            )
            for number in range(2)
        ]
        told = json.loads(address.read_text())["address"].removeprefix("tcp://")
        from distributed import Client

        with Client(f"tcp://{told}", timeout=60, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=120)
        yield f"dask://{told}", workers
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()


def test_a_dask_worker_killed_in_mid_round(
    undisturbed: tuple[Any, ...],
    letters: Elsewhere,
    tmp_path: Path,
    cluster: tuple[str, list[subprocess.Popen[bytes]]],
) -> None:
    """The same code on two workers, one of which is killed while it fuzzes: the same inputs and features.

    The killed worker's fuzzer ends with it.
    """
    import threading

    address, workers = cluster
    made = begun(tmp_path / "campaign", letters)
    killed: list[int] = []

    def of(worker: int) -> list[int]:
        """The fuzzers of a worker."""
        found = []
        for child in processes(f"{letters.program} -seed"):
            try:
                status = Path(f"/proc/{child}/stat").read_text()
            except OSError:
                continue
            if int(status.rpartition(")")[2].split()[1]) == worker:
                found.append(child)
        return found

    def kill() -> None:
        killed.extend(eventually(lambda: of(workers[0].pid)))
        workers[0].kill()

    thread = threading.Thread(target=kill)
    thread.start()
    with engine(address, 0) as there:
        assert there.jobs == 2
        made.run(there, rounds=2)
    thread.join()
    assert len(killed) == 1
    assert workers[0].wait() == -signal.SIGKILL
    assert killed[0] not in processes(str(letters.program))
    assert made.given_up == []
    assert outcome(made) == undisturbed


def test_no_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody answers, nobody is named, or nobody is known."""
    pytest.importorskip("distributed")
    monkeypatch.setattr("pawl_gate.fuzzing.executors.PATIENCE_SECONDS", 1)
    for name, says in (
        ("dask://127.0.0.1:1", "no Dask scheduler answers"),
        ("dask://", "no engine"),
        ("ray", "no engine"),
    ):
        with pytest.raises(NoEngine, match=says), engine(name, 1):
            pass
