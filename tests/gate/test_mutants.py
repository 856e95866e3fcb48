"""The kill matrix: a fault that is there is killed by name, one that is not survives, and the committed matrix is held."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pawl_gate import controls, mutants
from pawl_gate.cli import main
from pawl_gate.controls import CONTROLS, Control
from pawl_gate.controls.weakenings import NOT_NEEDED, WEAKENINGS
from pawl_gate.mutants import BUDGETS, ENGINES, LEFT_OUT, Examined, Kill, directed, examine, median_seconds, weaken
from pawl_gate.mutants_text import committed, differences, document, dumps, idle, page, text, timed
from pawl_gate.targets.inprocess import InProcessTarget
from pawl_spec.invariants import INVARIANTS

JUDGED = [entry.id for entry in INVARIANTS if entry.predicate is not None and not entry.of_pools]
KILL = Kill("copies", 3, 0.25, ("CTR-01", "CTR-03"))
DEAD = Examined("duplicate-accepted", "CTR-03", {"scenarios": KILL, "corpus": None}, (), 9)
ALIVE = Examined("mac-unchecked", "AUT-01", {"scenarios": None, "corpus": None}, ("PAR-01",), 900)


# -- one fault --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", [engine for engine in ENGINES if engine != "explore"])
def test_each_engine_sees_a_plain_fault_alone(engine: str) -> None:
    """ "each engine says whether it kills alone": a MAC that is not compared is seen by each that changes messages."""
    examined = examine(CONTROLS["mac-unchecked"], BUDGETS["matrix"], [engine])
    kill = examined.kills[engine]
    assert kill is not None
    assert "AUT-01" in kill.broken
    assert examined.traces == kill.traces


def test_what_is_not_broken_survives() -> None:
    """The reference in the place of a fault: no engine may say that it was seen."""
    sound = Control("sound", "AUT-01", "Nothing is wrong.", InProcessTarget)
    examined = examine(sound, BUDGETS["matrix"], ["corpus"])
    assert not examined.killed
    assert examined.others == ()
    assert examined.seconds is None
    assert examined.traces == len(mutants.collected())


def test_a_fault_that_another_invariant_sees_survives() -> None:
    """ "every fault is killed by the invariant that names it": any other one does not count, and is said."""
    misnamed = Control("misnamed", "SEC-02", "The code is not compared.", CONTROLS["mac-unchecked"].make)
    examined = examine(misnamed, BUDGETS["matrix"], ["corpus"])
    assert not examined.killed
    assert "AUT-01" in examined.others


def test_directed_traces_about_the_invariant_come_first() -> None:
    """The scenarios that are meant to reach it, then all others: none is left out."""
    first, *_ = directed("KEY-07")
    assert first[0].startswith("signed-prekey")
    assert sorted(name for name, _ in directed("KEY-07")) == sorted(name for name, _ in directed("AUT-01"))


def test_the_median() -> None:
    """Of the faults that were killed."""
    assert median_seconds([DEAD, ALIVE]) == 0.25
    assert median_seconds([ALIVE]) == 0.0


# -- faults in the specification --------------------------------------------------------------------------------------


def test_a_weakened_predicate_lets_its_fault_through() -> None:
    """IDC-07 without a look at the name: a question under another name is seen by nobody."""
    assert weaken("IDC-07")["name-not-compared"] == ("asked-under-another-name",)


def test_every_judged_invariant_is_left_out_once() -> None:
    """ "each judged invariant removed": the committed matrix has them all, and every weakening, with a fault or a reason."""
    specification = committed()["specification"]
    assert set(specification) == {LEFT_OUT + id_ for id_ in JUDGED} | set(WEAKENINGS)
    assert {name for name, faults in specification.items() if not faults} == set(NOT_NEEDED)
    assert all(reason.endswith(".") for reason in NOT_NEEDED.values())


def test_idle_weakenings_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that lets nothing through is an error, and so is a reason for one that does."""
    assert idle({"rows-not-counted": ("kept-keys-all-read",)}) == []
    assert idle({"rows-not-counted": ()}) == ["rows-not-counted: lets no fault through"]
    monkeypatch.setitem(NOT_NEEDED, "rows-not-counted", "A reason.")
    assert idle({"rows-not-counted": ()}) == []
    assert len(idle({"rows-not-counted": ("kept-keys-all-read",)})) == 1


# -- what is saved and printed ----------------------------------------------------------------------------------------


def test_the_matrix_holds_no_times() -> None:
    """What is committed is the same in every run."""
    matrix = document([DEAD, ALIVE], {"form-not-judged": ("x",)})
    assert json.loads(dumps(matrix)) == matrix
    assert "seconds" not in dumps(matrix)
    assert matrix["faults"]["duplicate-accepted"]["killed"]["scenarios"]["broken"] == ["CTR-01", "CTR-03"]
    assert timed([DEAD, ALIVE], {}, 1.0)["faults"]["duplicate-accepted"]["killed"]["scenarios"]["seconds"] == 0.25


def test_differences_are_found() -> None:
    """A fault that is no longer seen, one that is not known, another invariant, another weakening: each is a line."""
    other = document([DEAD], {"form-not-judged": ("x",)})
    assert differences(other, other) == []
    gone = document([Examined("duplicate-accepted", "CTR-03", {"scenarios": None}, (), 9)], {})
    assert differences(gone, other) == [
        "duplicate-accepted by scenarios: not seen; the committed matrix says CTR-01, CTR-03 on copies"
    ]
    assert len(differences(document([ALIVE], {}), other)) == 2
    assert len(differences(document([], {"form-not-judged": ()}), other)) == 1


def test_a_survivor_is_said() -> None:
    """The verdict first, then who survives and who spoke up instead."""
    said = text([DEAD, ALIVE], {}, 2.0)
    assert said.startswith("1 of 2 faults are killed by the invariant that names them, in 2 s")
    assert "mac-unchecked survives AUT-01; others speak up: PAR-01" in said
    assert "| `mac-unchecked` | AUT-01 | - | - |" in page(document([DEAD, ALIVE], {}))


# -- the command ------------------------------------------------------------------------------------------------------


def run(tmp_path: Path, *more: str) -> int:
    """`pawl mutants` on one engine and one process."""
    return main(["mutants", "--engine", "scenarios", "--jobs", "1", "--out", str(tmp_path / "out"), *more])


def test_the_command_kills_and_saves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0; the matrix, its times and its page are saved; it is held to the committed one."""
    assert run(tmp_path, "--only", "previous-counter-stays", "--check", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["wrong"] == []
    assert list(printed["faults"]) == ["previous-counter-stays"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"matrix.json", "matrix.md", "times.json"}


def test_all_parts_make_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each fault is in one part, and so is each invariant that is weakened."""
    tried: list[str] = []
    weakened: list[str] = []

    def examine_all(names: list[str], *_: object, **__: object) -> list[Examined]:
        tried.extend(names)
        return [DEAD]

    def weaken_all(ids: list[str], **_: object) -> list[tuple[str, dict[str, tuple[str, ...]]]]:
        weakened.extend(ids)
        return []

    monkeypatch.setattr(mutants, "examine_all", examine_all)
    monkeypatch.setattr(mutants, "weaken_all", weaken_all)
    for part in ("1/3", "2/3", "3/3"):
        assert run(tmp_path, "--part", part) == 0
    assert sorted(tried) == sorted(controls.CONTROLS)
    assert sorted(weakened) == sorted({each.breaks for each in controls.CONTROLS.values()})


def test_a_survivor_fails_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1."""
    monkeypatch.setattr(mutants, "examine_all", lambda names, budget, **more: iter([ALIVE]))
    assert run(tmp_path, "--only", "mac-unchecked") == 1
    assert "SURVIVES" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["--only", "nobody"],
        ["--engine", "steam"],
        ["--jobs", "0"],
        ["--jobs", "many"],
        ["--budget", "x"],
        ["--part", "0/2"],
        ["--part", "3/2"],
        ["--part", "1"],
        ["--part", "2/2", "--only", "mac-unchecked"],
    ],
)
def test_bad_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """One clear line, exit code 2."""
    assert run(tmp_path, *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1


def test_there_are_enough() -> None:
    """ "A catalogue of at least 60 faults"."""
    assert len(controls.CONTROLS) >= 100
