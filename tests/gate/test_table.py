"""The table of targets and invariants: what a cell says, where it comes from, and the exit codes of `pawl table`.

The ids in it are examples.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from pawl_gate import cli, table
from pawl_gate.baselines import Baseline
from pawl_gate.expect import Expected
from pawl_gate.page import table as pages_of
from pawl_gate.targets.registry import TARGETS
from pawl_gate.verify import Exit
from pawl_spec.invariants import INVARIANTS
from tests.gate import pages

Output = pytest.CaptureFixture[str]
TARGET = "control:duplicate-accepted"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of its own, without lists."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PAWL_DRIVERS", str(tmp_path / "drivers"))


def red() -> dict[str, Any]:
    """The report of a control."""
    return pages.document(pages.run_of(TARGET))


def column(made: table.Table, target: str = TARGET) -> table.Column:
    """One target's column."""
    (found,) = [one for one in made.columns if one.target == target]
    return found


def run(*argv: str) -> int:
    """The exit code of `pawl table ARGV`."""
    try:
        return cli.main(["table", *argv])
    except SystemExit as left:
        return int(left.code or 0)


# -- cells ------------------------------------------------------------------------------------------------------------


def test_a_cell_says_what_the_run_said() -> None:
    """Holds; violated, expected or not; expected and not found; by a script alone; not judged, and why."""
    made = pages.two()
    said = {cell.id: cell.state for cell in column(made).cells.values()}
    assert said["CTR-03"] is table.State.EXPECTED
    assert said["GRP-01"] is table.State.VANISHED
    assert said["IDC-10"] is table.State.BY_SCRIPT
    assert table.State.NEW in said.values()
    assert said["WRK-01"] is table.State.UNSUPPORTED
    assert set(said) == {entry.id for entry in INVARIANTS}
    assert {table.State.HOLDS, table.State.NOT_REACHED} <= set(said.values())
    assert made.exit is Exit.VIOLATED
    assert "findings are new, 1 have vanished" in table.head(made)


def test_a_violated_cell_has_its_counterexample_class_and_script() -> None:
    """Issue 9: "with the counterexample behind each cell": the run's own chart, drawn again from its report."""
    cell = column(pages.two()).cells["CTR-03"]
    found = pages.run_of(TARGET).found["CTR-03"]
    assert cell.shown is not None
    assert cell.shown.layout == pages.page.layout(found.history, broken=found.broken.violation, rows=40)
    assert (cell.why, cell.needs) == ("it is a control", "peer")
    assert cell.scripts == ("findings/control.c#one", "findings/two.js")
    assert [one.reason for one in cell.unseen] == ["Another way to show it."]


def test_a_level_that_is_too_low_is_told_from_what_is_declared() -> None:
    """Not judged: the target's level, what it lacks, the budget, nothing, what a run left out: each with its reason."""
    said = red()
    words = {entry["id"]: entry for entry in said["invariants"]}
    for id_, verdict in (("KEY-05", "unsupported"), ("AUT-01", "left out"), ("KEY-07", "not yet judged")):
        words[id_]["verdict"] = verdict
    said["unsupported"]["KEY-05"] = "needs observation level L3, the target offers L2"
    said["changed"] = {"left_out": {"AUT-01": "no change touches it"}}
    cells = column(table.make([said], {})).cells
    assert (cells["KEY-05"].state, cells["KEY-05"].why) == (table.State.LEVEL, said["unsupported"]["KEY-05"])
    assert (cells["AUT-01"].state, cells["AUT-01"].why) == (table.State.LEFT_OUT, "no change touches it")
    assert cells["KEY-07"].state is table.State.PENDING
    missed = [cell for cell in cells.values() if cell.state is table.State.NOT_REACHED]
    assert missed
    assert all(cell.why.startswith("with budget smoke no trace came") for cell in missed)


def test_what_a_run_left_out_has_not_vanished() -> None:
    """A run that was narrowed says nothing of the rest of the list."""
    said = red()
    said["changed"] = {"left_out": {"GRP-01": "no change touches it"}}
    for entry in said["invariants"]:
        if entry["id"] == "GRP-01":
            entry["verdict"] = "left out"
    assert column(table.make([said], pages.known())).cells["GRP-01"].state is table.State.LEFT_OUT


def test_the_list_that_a_run_was_compared_with_is_the_one_that_counts() -> None:
    """A report with --expect says itself what was expected."""
    own = Expected(TARGET, {"CTR-03": "its own reason"})
    said = pages.document(pages.run_of(TARGET), own, Exit.VIOLATED)
    cells = column(table.make([said], pages.known())).cells
    assert cells["CTR-03"].why == "its own reason"
    assert cells["GRP-01"].state is not table.State.VANISHED


def test_what_a_campaign_found_is_in_its_cell() -> None:
    """A violation that a campaign on stores found has no trace: its words are there."""
    said = red()
    next(entry for entry in said["invariants"] if entry["id"] == "ATM-01")["verdict"] = "violated"
    said["trials"] = [{"name": "kill", "store": "sqlite", "broken": [{"invariant": "ATM-01", "what": "a torn row"}]}]
    made = table.make([said], {})
    assert column(made).cells["ATM-01"].on_trial == ("kill on sqlite: a torn row",)
    assert "kill on sqlite: a torn row" in pages_of.render(made, made.exit)


# -- targets ----------------------------------------------------------------------------------------------------------


def test_targets_come_from_the_registry_in_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue 9: a target that is added appears by itself; one with a list of findings and without a result is named."""
    added = {"acme-ratchet": TARGETS["pawl"], **TARGETS}
    monkeypatch.setattr(table, "TARGETS", added)
    reports = []
    for name in ("pawl", "./my driver", "acme-ratchet"):
        reports.append(red())
        reports[-1]["target"]["asked"] = name
    known = {name: Baseline(Path("expected.json"), Expected(name, {})) for name in ("libsignal-c", "acme-ratchet")}
    made = table.make(reports, known)
    assert [one.target for one in made.columns] == ["acme-ratchet", "pawl", "./my driver"]
    assert made.missing == ["libsignal-c"]
    assert set(made.others) == set(TARGETS) - {"pawl", "libsignal-c"}


def test_of_several_reports_on_a_target_the_last_counts() -> None:
    """By the time that they state, in whatever order they are read."""
    old, new = red(), red()
    old["made"], old["seed"], new["seed"] = "2025-01-01T00:00:00+00:00", 1, 2
    for reports in ([old, new], [new, old]):
        assert column(table.make(reports, {})).seed == 2


def test_a_report_of_other_code_says_so() -> None:
    """What was judged by another library or specification is not taken for today's."""
    said = red()
    assert column(table.make([said], {})).is_current
    said["code"] = "0" * 64
    made = table.make([said], {})
    assert not column(made).is_current
    assert "Not of today" in pages_of.render(made, made.exit)
    assert "another state of the library" in table.text(made)


# -- bad reports ------------------------------------------------------------------------------------------------------


def spoilt() -> Iterator[tuple[str, dict[str, Any]]]:
    """Reports with one thing wrong."""
    for key in ("target", "invariants", "findings", "trials", "unsupported", "code", "made", "gaps"):
        for value in (None, 7):
            if (key, value) not in {("code", 7), ("code", None), ("made", 7), ("made", None)}:
                yield f"{key} {value}", red() | {key: value}
        short = red()
        del short[key]
        yield f"no {key}", short
    for what, row in (
        ("lane", {"number": 1, "arrows": [], "at": 9, "text": "", "broken": None}),
        (
            "arrow",
            {"number": 1, "arrows": [{"start": 0, "end": 77, "label": "", "arrives": True}], "at": None, "text": ""},
        ),
        ("row", {"text": "x"}),
    ):
        bad = deepcopy(red())
        bad["findings"][0]["drawn"]["rows"] = [{"broken": None, **row} if what != "row" else row]
        yield what, bad


@pytest.mark.parametrize("said", [pytest.param(said, id=name) for name, said in spoilt()])
def test_a_report_with_something_wrong_is_refused(said: dict[str, Any]) -> None:
    """A report may come from anywhere: what is missing or of another kind is said, and nothing is made of it."""
    with pytest.raises(table.TableError):
        table.make([said], {})


# -- the command ------------------------------------------------------------------------------------------------------


def leave(name: str, said: dict[str, Any]) -> Path:
    """Write a report where `pawl verify` leaves it."""
    path = Path("build", "report", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(said))
    return path


def lists(*targets: str) -> None:
    """Write lists of nothing."""
    folder = Path("drivers", "acme")
    folder.mkdir(parents=True, exist_ok=True)
    for number, target in enumerate(targets):
        (folder / f"expected-{number}.json").write_text(json.dumps({"target": target, "findings": []}))


def whole() -> dict[str, Any]:
    """The report of a run on Pawl, taken for a whole one."""
    return pages.document(pages.run_of("pawl"), code=Exit.HOLDS) | {"gaps": []}


def test_the_command_writes_page_and_data(capsys: Output) -> None:
    """Text on stdout, the page and its data in build/report; the data are not taken for a report the next time."""
    leave("index.json", whole())
    for _ in range(2):
        assert run() == 0
        out = capsys.readouterr().out
        assert out.startswith(f"1 target, {len(INVARIANTS)} invariants: as expected, ")
        assert out.endswith("the counterexamples: build/report/table.html\n")
    assert "<table" in Path("build/report/table.html").read_text("utf-8")
    beside = json.loads(Path("build/report/table.json").read_text("utf-8"))
    assert run("--json", "--no-page") == 0
    assert json.loads(capsys.readouterr().out) == beside
    assert (beside["format"], beside["version"], beside["outcome"]) == ("pawl-table", 1, "holds")
    assert set(beside["targets"][0]["cells"]) == {entry.id for entry in INVARIANTS}


def test_exit_codes(capsys: Output) -> None:
    """0 as expected, 1 a finding is new or vanished, 4 a run was incomplete or, with --all, a listed target lacks one."""
    path = leave("index.json", whole())
    lists("libsignal-c")
    assert run("--no-page") == 0
    assert "no result of libsignal-c, of which findings are listed" in capsys.readouterr().out
    assert run("--no-page", "--all") == 4
    path.write_text(json.dumps(whole() | {"gaps": ["it was cut"]}))
    assert run("--no-page") == 4
    path.write_text(json.dumps(red() | {"gaps": ["it was cut"]}))
    assert run("--no-page", "--all") == 1


def test_wrong_use_is_2_in_one_line(capsys: Output) -> None:
    """A folder without reports, a file that is none, a broken list."""
    Path("other.json").write_text('{"format": "something"}')
    Path("broken.json").write_text("{")
    Path("later.json").write_text('{"format": "pawl-report", "version": 2}')
    Path("short.json").write_text('{"format": "pawl-report", "version": 1}')
    for argv, words in [
        ([], "no report of pawl verify in build/report; run"),
        (["other.json"], "other.json is no report of pawl verify"),
        (["broken.json"], "broken.json is no report of pawl verify: it is not JSON"),
        (["later.json"], "its version is not 1"),
        (["short.json"], "a part of it is missing"),
        (["missing.json"], "cannot read missing.json"),
        (["--page", "x.json"], "the page is HTML"),
    ]:
        assert run(*argv) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert words in err
    lists("libsignal-c", "libsignal-c")
    assert run() == 2
    assert "is about target 'libsignal-c' too" in capsys.readouterr().err


def test_a_page_that_cannot_be_written_is_no_success(capsys: Output) -> None:
    """A service that finds no page may take that for a good one."""
    leave("index.json", whole())
    Path("file").touch()
    assert run("--page", "file/table.html") == 3
    assert "cannot write file/table.html" in capsys.readouterr().err


def test_the_text_says_what_steers_no_terminal(capsys: Output) -> None:
    """A target's own words are spelled out."""
    said = red()
    said["target"]["name"], said["gaps"] = "acme\x1b[2J", ["\u202eturned"]
    text = table.text(table.make([said], {}))
    assert "acme\\x1b[2J" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
