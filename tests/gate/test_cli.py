"""The command `pawl`: exit codes are an interface, data goes to stdout, progress to stderr, and an error is one line.

The ids in it are examples.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from pawl_gate import cli, verify
from pawl_gate.cli import common
from pawl_gate.scenarios import scenarios
from pawl_gate.targets.base import HarnessBroken, Target, TargetCrashed, TargetHung
from pawl_gate.targets.driver import DriverTarget
from pawl_gate.targets.registry import find_target
from pawl_gate.traceability import evidence
from pawl_gate.verify import BUDGETS
from pawl_spec.trace import Kind, Trace, dumps, encode, loads, op

FAULT = Trace((op(Kind.FORGE_BUNDLE, actor=0, peer=1, how=0),))
"""A bundle with a bad signature."""

TALK = Trace((op(Kind.ESTABLISH, actor=0, peer=1, one_time=1), op(Kind.SEND, actor=0, peer=1), op(Kind.DELIVER)))

Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A smoke budget of a second, in a folder of its own."""
    few = [scenario for scenario in scenarios() if scenario.name in ("forged-bundle-first", "conversation")]
    monkeypatch.setattr(verify, "scenarios", lambda: few)
    monkeypatch.setattr(verify.corpus, "load", lambda folder: [])
    monkeypatch.setitem(BUDGETS, "smoke", replace(BUDGETS["smoke"], walks=3, examples=1, shrink_steps=300, scopes=()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PAWL_DEBUG", raising=False)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)


def run(*argv: str) -> int:
    """The exit code of `pawl ARGV`."""
    try:
        return cli.main(argv)
    except SystemExit as left:
        return int(left.code or 0)


def only_line(capsys: Output) -> str:
    """The one line of an error; stdout is empty."""
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    lines = err.splitlines()
    assert len(lines) == 1
    return lines[0]


# -- verify -----------------------------------------------------------------------------------------------------------


def test_violation_is_1_and_saved_and_replayed(capsys: Output) -> None:
    """A violation exits with 1, is saved, and the printed command reproduces it from the saved file alone."""
    assert run("verify", "--target", "control:signature-unchecked") == 1
    out, err = capsys.readouterr()
    assert "IDC-03" in out.splitlines()[0]
    command = next(line for line in out.splitlines() if line.startswith("  reproduce: ") and "IDC-03.json" in line)
    assert command == "  reproduce: pawl replay build/findings/IDC-03.json --target control:signature-unchecked"
    assert "scenarios: 18 traces" in err
    saved = Path("build/findings/IDC-03.json").read_text()
    assert loads(saved).ops == FAULT.ops
    assert json.loads(saved)["violates"] == "IDC-03"
    assert run(*command.split()[2:]) == 1
    assert "does not hold on build/findings/IDC-03.json: IDC-03" in capsys.readouterr().out
    # The file names its target.
    assert run("replay", "build/findings/IDC-03.json") == 1
    assert run("replay", "build/findings/IDC-03.json", "--target", "pawl") == 0


def test_too_little_is_4(capsys: Output) -> None:
    """So few traces do not reach everything: incomplete, exit code 4, and it says what is missing."""
    assert run("verify") == 4
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("pawl ")
    assert "the run is incomplete" in first
    assert second.startswith("incomplete: never reached")


def test_json_is_one_document_on_stdout(capsys: Output) -> None:
    """`--json`: stdout holds one JSON document, progress stays on stderr, the exit code is in it."""
    code = run("verify", "--json", "--seed", "5", "--out", "elsewhere", "--target", "control:signature-unchecked")
    document = json.loads(capsys.readouterr().out)
    assert (document["exit"], document["outcome"], document["seed"]) == (code, "violated", 5)
    finding = next(entry for entry in document["findings"] if entry["id"] == "IDC-03")
    assert finding["file"] == "elsewhere/IDC-03.json"
    assert Path(finding["file"]).is_file()
    assert any(line.startswith(">>") for line in finding["chart"])


def expectations(target: str, *ids: str) -> str:
    Path("expected.json").write_text(
        json.dumps({"target": target, "findings": [{"id": id_, "reason": "known"} for id_ in ids]})
    )
    return "expected.json"


def test_expected_new_and_vanished_findings(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--expect`: exactly those listed are no failure (here too little is reached, so 4); a new or vanished one is 1."""
    target = "control:signature-unchecked"
    assert run("verify", "--target", target, "--json") == 1
    known = [entry["id"] for entry in json.loads(capsys.readouterr().out)["findings"]]
    assert run("verify", "--target", target, "--expect", expectations(target, *known)) == 4
    assert "is as expected: exactly the" in capsys.readouterr().out
    assert run("verify", "--target", target, "--expect", expectations(target, *known[1:])) == 1
    assert f"  new: {known[0]} does not hold" in capsys.readouterr().out
    assert run("verify", "--target", target, "--expect", expectations(target, *known, "ATM-01")) == 1
    assert "  vanished: ATM-01 was expected (known)" in capsys.readouterr().out
    # Everything else reached, exactly these mean 0.
    monkeypatch.setattr(verify.Report, "gaps", [])
    assert run("verify", "--target", target, "--expect", expectations(target, *known)) == 0


@pytest.mark.parametrize(
    ("deed", "words"),
    [("os._exit(7)", "the program ended with exit status 7"), ("import time; time.sleep(60)", "no answer within")],
    ids=["crash", "hang"],
)
def test_a_crash_and_a_hang_are_findings_that_nobody_expects(
    capsys: Output, monkeypatch: pytest.MonkeyPatch, deed: str, words: str
) -> None:
    """Issue 9: "CI fails on a crash or hang": with a list of what is known too, exit code 1 by PAR-01."""
    sound = resources.files("pawl_gate.templates").joinpath("driver.py").read_text("utf-8")
    begin = "    def decrypt(self, party: int, peer: int, kind: str, data: str) -> dict[str, Any]:\n"
    assert begin in sound
    Path("driver.py").write_text(sound.replace(begin, f"{begin}        import os; {deed}\n"))
    driver = [sys.executable, "driver.py"]
    monkeypatch.setattr("pawl_gate.cli.verify.find_target", lambda args: DriverTarget(driver, timeout=6))
    monkeypatch.setattr(verify, "MAX_HANGS", 1)
    assert run("verify", "--driver", "./driver.py", "--expect", expectations("./driver.py", "KEY-03")) == 1
    out = capsys.readouterr().out
    assert "  new: PAR-01 does not hold" in out
    assert words in out


def test_findings_that_cannot_be_saved_are_still_reported(capsys: Output) -> None:
    """A full or foreign disk must not hide a violation."""
    Path("file").touch()
    assert run("verify", "--target", "control:signature-unchecked", "--out", "file/x") == 1
    out, err = capsys.readouterr()
    assert "IDC-03" in out.splitlines()[0]
    assert "cannot write file/x/IDC-03.json" in err


def test_commands_of_drivers_are_shown_and_not_saved(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """The printed command names the driver; the file does not, or a trace from elsewhere could start programs."""
    monkeypatch.setattr("pawl_gate.cli.verify.find_target", lambda args: find_target("control:signature-unchecked"))
    assert run("verify", "--driver", "./mine --fast") == 1
    assert "pawl replay build/findings/IDC-03.json --driver './mine --fast'" in capsys.readouterr().out
    assert "mine" not in Path("build/findings/IDC-03.json").read_text()


# -- the page ---------------------------------------------------------------------------------------------------------

PAGE = Path("build", "report", "index.html")


def test_the_page_is_written_and_named_last(capsys: Output) -> None:
    """style.md, "A command": the last line says where the report is."""
    assert run("verify", "--target", "control:signature-unchecked") == 1
    assert capsys.readouterr().out.endswith("\nreport: build/report/index.html\n")
    assert "IDC-03" in PAGE.read_text("utf-8")
    assert run("verify", "--report", "a/b.html") == 4
    assert capsys.readouterr().out.endswith("\nreport: a/b.html\n")
    assert Path("a/b.html").is_file()


def test_the_page_is_named_in_the_document(capsys: Output) -> None:
    """With --json the path is in the document, for machines."""
    run("verify", "--json")
    assert json.loads(capsys.readouterr().out)["report"] == "build/report/index.html"


def test_the_data_lie_beside_the_page(capsys: Output) -> None:
    """For `pawl trace`: the same document as --json prints, under the page's name; read back, it is evidence."""
    run("verify", "--report", "a/b.html", "--json")
    printed = json.loads(capsys.readouterr().out)
    assert json.loads(Path("a/b.json").read_text("utf-8")) == printed
    found = evidence.read(Path("a/b.json"))
    assert found is not None
    assert (found.target, found.outcome, found.seed, found.is_current) == ("pawl", "incomplete", 0, True)
    checked = {entry["id"]: entry["checked"] for entry in printed["invariants"]}
    assert {id_: said.checked for id_, said in found.said.items()} == checked
    for said in found.said.values():
        assert sum(count for _, count in said.by_engine.values()) == said.checked
    # The data would take the page's place.
    assert run("verify", "--report", "a/b.json") == 2
    assert "the page is HTML" in only_line(capsys)


def test_no_page_is_written_unasked(capsys: Output) -> None:
    """`--no-report`: no file, and no line about one."""
    assert run("verify", "--no-report") == 4
    assert "report:" not in capsys.readouterr().out
    assert not Path("build").exists()
    run("verify", "--no-report", "--json")
    assert json.loads(capsys.readouterr().out)["report"] is None


def test_a_page_that_cannot_be_written_hides_nothing(capsys: Output) -> None:
    """A full or foreign disk: the verdict and the exit code are the same, and what is missing is said."""
    Path("file").touch()
    assert run("verify", "--target", "control:signature-unchecked", "--report", "file/x.html") == 1
    out, err = capsys.readouterr()
    assert "IDC-03" in out.splitlines()[0]
    assert "report:" not in out
    assert "cannot write file/x.html" in err


def test_a_page_that_cannot_be_made_hides_nothing(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault in the page itself costs no night's work: the verdict is printed, then the fault is one line, code 3."""

    def broken(*args: object, **more: object) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr("pawl_gate.page.render", broken)
    assert run("verify", "--target", "control:signature-unchecked") == 3
    out, err = capsys.readouterr()
    assert "IDC-03" in out.splitlines()[0]
    assert "a fault of the gate itself: ZeroDivisionError" in err


def test_one_seed_one_page(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same input, same bytes: the one time on the page is the one that SOURCE_DATE_EPOCH states."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    for name in ("one.html", "two.html"):
        run("verify", "--target", "control:signature-unchecked", "--report", name)
    assert Path("one.html").read_bytes() == Path("two.html").read_bytes()
    assert "2023-11-14 22:13 UTC" in Path("one.html").read_text("utf-8")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000060")
    run("verify", "--target", "control:signature-unchecked", "--report", "three.html")
    assert Path("one.html").read_text("utf-8").replace("22:13", "22:14") == Path("three.html").read_text("utf-8")
    capsys.readouterr()


@pytest.mark.parametrize("wrong", ["", "soon", "9" * 30])
def test_a_wrong_time_is_2(capsys: Output, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    """It is noticed before the work is done."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", wrong)
    assert run("verify") == 2
    assert "SOURCE_DATE_EPOCH" in only_line(capsys)


# -- reports for services ---------------------------------------------------------------------------------------------

REPORTS = ("--junit", "ci/j.xml", "--sarif", "ci/s.sarif", "--markdown", "ci/m.md")


def test_reports_for_services_are_written(capsys: Output) -> None:
    """Each is written beside what is printed, which stays as it was."""
    target = "control:signature-unchecked"
    assert run("verify", "--target", target, *REPORTS) == 1
    assert "IDC-03" in capsys.readouterr().out.splitlines()[0]
    assert 'name="IDC-03 ' in Path("ci/j.xml").read_text("utf-8")
    (result,) = [
        one for one in json.loads(Path("ci/s.sarif").read_text())["runs"][0]["results"] if one["ruleId"] == "IDC-03"
    ]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].startswith("src/pawl/")
    assert "### IDC-03 does not hold" in Path("ci/m.md").read_text("utf-8")


def test_reports_are_the_same_for_one_seed(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same input, same bytes, apart from how long it took."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    texts = []
    for _ in range(2):
        run("verify", "--target", "control:signature-unchecked", *REPORTS)
        texts.append(Path("ci/s.sarif").read_text("utf-8"))
    assert texts[0] == texts[1]
    assert '"2023-11-14T22:13:20Z"' in texts[0]
    capsys.readouterr()


@pytest.mark.parametrize("body", ["raise SystemExit(9)", "print('hello')"])
def test_a_run_that_breaks_leaves_red_reports(capsys: Output, body: str) -> None:
    """A service that finds last week's report, or none, may show green: what is there says that nothing was judged."""
    Path("ci").mkdir()
    Path("ci/j.xml").write_text("last week's")
    assert run("verify", "--driver", driver(body), *REPORTS) == 3
    only_line(capsys)
    assert 'errors="1"' in Path("ci/j.xml").read_text("utf-8")
    assert json.loads(Path("ci/s.sarif").read_text())["runs"][0]["invocations"][0]["executionSuccessful"] is False
    assert "nothing was judged" in Path("ci/m.md").read_text("utf-8")


def test_wrong_usage_leaves_no_old_report(capsys: Output) -> None:
    """Exit code 2, and what an earlier run left is gone."""
    Path("j.xml").write_text("last week's")
    assert run("verify", "--target", "acme", "--junit", "j.xml") == 2
    only_line(capsys)
    assert not Path("j.xml").exists()


def test_a_report_that_cannot_be_written_is_no_success(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """The verdict is told, and where it would have been 0 the exit code is 3."""
    monkeypatch.setattr(verify.Report, "gaps", [])
    Path("file").touch()
    assert run("verify", "--junit", "file/j.xml") == 3
    out, err = capsys.readouterr()
    assert out.startswith("pawl ")
    assert "cannot write file/j.xml" in err
    assert run("verify", "--target", "control:signature-unchecked", "--junit", "file/j.xml") == 1
    capsys.readouterr()


def test_the_list_is_written_and_held(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--write-expect`: what is there now becomes the list, each entry with its trace; a reason that was written stays."""
    target = "control:duplicate-accepted"
    monkeypatch.setattr(verify.Report, "gaps", [])
    assert run("verify", "--target", target, "--write-expect", "known.json") == 0
    written = json.loads(Path("known.json").read_text())
    ids = [entry["id"] for entry in written["findings"]]
    assert "CTR-03" in ids
    assert all(
        entry["reason"].startswith("there when this list was written, not yet examined: ")
        for entry in written["findings"]
    )
    written["findings"][ids.index("CTR-03")]["reason"] = "issue 17"
    Path("known.json").write_text(json.dumps(written))
    assert run("verify", "--target", target, "--write-expect", "known.json", "--seed", "3") == 0
    assert {entry["id"]: entry["reason"] for entry in json.loads(Path("known.json").read_text())["findings"]}[
        "CTR-03"
    ] == "issue 17"
    # Whatever the search comes across, the traces of the list are run: nothing vanishes by chance.
    monkeypatch.setattr(verify, "scenarios", list)
    few = replace(BUDGETS["smoke"], walks=0, examples=1, shrink_steps=0)
    monkeypatch.setitem(BUDGETS, "smoke", few)
    assert run("verify", "--target", target, "--expect", "known.json", "--seed", "4") == 0
    # On what does not have them, all have vanished.
    other = Path("known.json").read_text().replace(target, "pawl")
    Path("other.json").write_text(other)
    assert run("verify", "--expect", "other.json") == 1
    out = capsys.readouterr().out
    assert "vanished: CTR-03 was expected (issue 17)" in out


# -- replay -----------------------------------------------------------------------------------------------------------


def test_replay_draws_what_happens(capsys: Output) -> None:
    """A trace on which everything holds is drawn, and exits with 0."""
    Path("talk.json").write_text(dumps(TALK))
    assert run("replay", "talk.json") == 0
    out, err = capsys.readouterr()
    assert out.startswith("pawl ")
    assert "holds on talk.json" in out
    assert "bob gets m0: reads it" in out
    assert err == ""


def test_replay_takes_the_byte_form(capsys: Output) -> None:
    """A fuzzer's input is a trace too."""
    Path("input").write_bytes(encode(TALK))
    assert run("replay", "input", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert [event["outcome"] for event in document["events"][:3]] == ["done"] * 3
    assert document["violations"] == []


def test_replay_of_nothing_is_incomplete(capsys: Output) -> None:
    """A trace that judged nothing is never a success."""
    Path("empty.json").write_text(dumps(Trace(())))
    assert run("replay", "empty.json") == 4
    assert "nothing was judged" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON"),
        (b"\x80abc", "neither JSON text nor the byte form"),
        (b"{}", '"format" must be'),
        (b'{"format": "pawl-trace", "version": 9, "ops": []}', "version 9"),
        (b'{"format": "pawl-trace", "version": 1, "ops": [{"op": "fly"}]}', "operation 0"),
        (b'{"format": "pawl-trace", "version": 1, "ops": [{"op": "send", "actor": []}]}', "operation 0"),
        (b'{"format": "pawl-trace", "version": 1, "ops": [{"op": "send", "actor": {}}]}', "operation 0"),
        (b'{"format": "pawl-trace", "version": 1, "ops": [{"op": "send", "kind": 1}]}', "no operand 'kind'"),
        (b'{"format": "pawl-trace", "version": 1, "strict": [[]], "ops": []}', '"strict"'),
        (b'{"format": "pawl-trace", "version": 1, "ops": [], "target": 4}', '"target" must be text'),
        (b'{"format": "pawl-trace", "version": 1, "ops": [], "target": "./driver"}', '"target" must be the name'),
        (b"[" * 100_000, "not JSON"),
        (b" " * (common.MAX_TRACE_BYTES + 1), "longer than"),
    ],
)
def test_broken_traces_are_2(capsys: Output, content: bytes, words: str) -> None:
    """A broken trace is answered with one clear line that names the file, and exit code 2."""
    Path("broken").write_bytes(content)
    assert run("replay", "broken") == 2
    line = only_line(capsys)
    assert line.startswith("pawl: broken is no trace: ")
    assert words in line


# -- invariants -------------------------------------------------------------------------------------------------------


def test_invariants_are_listed(capsys: Output) -> None:
    """`pawl invariants` lists every one, and says which are not yet judged."""
    assert run("invariants") == 0
    text = capsys.readouterr().out
    assert run("invariants", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    for entry in document["invariants"]:
        assert f"  {entry['id']}  " in text
        assert entry["judged"] == (not entry["pending"])
    pending = sum(1 for entry in document["invariants"] if entry["pending"])
    assert f"{pending} not yet judged" in text


# -- explain ----------------------------------------------------------------------------------------------------------


def test_an_invariant_is_explained(capsys: Output) -> None:
    """`pawl explain ID`: as text, and with --json as one document."""
    assert run("explain", "ctr-06") == 0
    out, err = capsys.readouterr()
    assert out.startswith("CTR-06: ")
    assert err == ""
    assert run("explain", "CTR-06", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["format"], document["id"]) == ("pawl-explanation", "CTR-06")


def test_the_cap_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--seconds` stands in for the budget's own cap."""
    seen = []

    class Watched(verify.Verification):
        def __init__(self, target: Target, **settings: Any) -> None:
            seen.append(settings["budget"].seconds)
            super().__init__(target, **settings)

    monkeypatch.setattr(verify, "Verification", Watched)
    assert run("verify", "--no-report") == run("verify", "--no-report", "--seconds", "77")
    assert seen == [BUDGETS["smoke"].seconds, 77]


# -- wrong usage ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "say what to do"),
        (["fly"], "invalid choice: 'fly'"),
        (["verify", "--fly"], "--fly"),
        (["verify", "--budget", "huge"], "invalid choice: 'huge'"),
        (["verify", "--seconds", "0"], "'0' is not a whole number from 1 to 999999"),
        (["verify", "--seconds", "1.5"], "'1.5' is not a whole number from 1 to 999999"),
        (["verify", "--seed", "x"], "'x' is not a whole number"),
        (["verify", "--seed", "-1"], "'-1' is not a whole number"),
        (["verify", "--seed", "\u0663"], "is not a whole number"),
        (["verify", "--seed", "9" * 5000], "is not a whole number"),
        (["verify", "--seed", str(2**32)], "is not a whole number"),
        (["verify", "--target", "acme"], "no target is called 'acme'"),
        (["verify", "--target", "control:fly"], "no control is called 'fly'"),
        (["verify", "--target", "./nowhere"], "no driver at nowhere"),
        (["verify", "--target", "pawl", "--driver", "x"], "not allowed with"),
        (["verify", "--driver", ""], "--driver: the command is empty"),
        (["verify", "--driver", "'"], "--driver: "),
        (["verify", "--expect", "/dev/zero"], "/dev/zero: it is longer than"),
        (["verify", "--expect", "missing.json"], "cannot read missing.json"),
        (["replay"], "required: TRACE"),
        (["replay", "missing.json"], "cannot read missing.json: No such file"),
        (["replay", "."], "cannot read .: Is a directory"),
        (["invariants", "more"], "more"),
        (["explain"], "required: ID"),
        (["explain", "CTR-99"], "there is no invariant 'CTR-99'; near it are CTR-01, "),
        (["verify", "--report", "x", "--no-report"], "not allowed with"),
        (["verify", "--expect", "x", "--write-expect", "y"], "not allowed with"),
        (["verify", "--write-expect", "y", "--changed-since", "main"], "leaves invariants out"),
        (["verify", "--code", "nowhere"], "nowhere is no folder"),
        (["verify", "--code", ".."], "is not below"),
        (["verify", "--changed-since", "main"], "--changed-since: "),
    ],
)
def test_wrong_usage_is_2(capsys: Output, argv: list[str], words: str) -> None:
    """Bad input: a wrong option or a missing file is one clear line and exit code 2, never a traceback."""
    assert run(*argv) == 2
    assert words in only_line(capsys)


def test_broken_expectations_are_2(capsys: Output) -> None:
    """The file is read before the work is done, so that a slip in it costs a second, not a night."""
    assert run("verify", "--target", "control:prekey-kept", "--expect", expectations("acme", "KEY-03")) == 2
    assert "expected.json: it is about target 'acme'" in only_line(capsys)


# -- what breaks ------------------------------------------------------------------------------------------------------


def driver(body: str) -> str:
    path = Path("driver")
    path.write_text(f"#!{sys.executable}\n{body}")
    path.chmod(0o755)
    return "./driver"


@pytest.mark.parametrize("body", ["", "raise SystemExit(9)", "print('hello')", "print('{}')"])
def test_driver_that_dies_or_talks_nonsense_is_3(capsys: Output, body: str) -> None:
    """Bad input: a target that dies at the start, or says what is no answer, is one clear line and exit 3."""
    assert run("verify", "--driver", driver(body)) == 3
    assert "broke: " in only_line(capsys)
    assert run("verify", "--target", driver(body)) == 3
    only_line(capsys)


def test_words_of_a_target_steer_no_terminal(capsys: Output) -> None:
    """What a target says on stderr is shown without the bytes that would clear a screen or set a title."""
    body = "import sys; sys.stderr.write('\\x1b[2Jgone\\x07\\x9b1m'); sys.exit(3)"
    assert run("verify", "--driver", driver(body)) == 3
    line = only_line(capsys)
    assert line.isprintable()
    assert r"\x1b[2Jgone\x07\x9b1m" in line


def test_driver_that_cannot_be_started_is_3(capsys: Output) -> None:
    """A command that does not exist is named."""
    assert run("verify", "--driver", "./nowhere --now") == 3
    assert "nowhere" in only_line(capsys)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (HarnessBroken("nonsense on stdout"), 3, "the harness broke: nonsense on stdout"),
        (TargetCrashed("exit code 9"), 3, "the target broke: exit code 9"),
        (TargetHung("no answer in 10 s"), 3, "the target broke: no answer in 10 s"),
        (ZeroDivisionError("two\nlines"), 3, "a fault of the gate itself: ZeroDivisionError: two lines"),
        (RecursionError(), 3, "a fault of the gate itself: RecursionError"),
        (ModuleNotFoundError("No module named 'hypothesis'"), 3, "install pawl-signal[gate]"),
        (KeyboardInterrupt(), 4, "interrupted"),
    ],
)
def test_whatever_breaks_is_one_line(
    capsys: Output, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, words: str
) -> None:
    """Never a traceback: whatever leaves a verb is one line and a documented exit code."""

    def broken(self: object) -> object:
        raise error

    monkeypatch.setattr(verify.Verification, "run", broken)
    assert run("verify") == code
    assert words in only_line(capsys)


def test_debug_shows_the_traceback(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """With PAWL_DEBUG=1 the line is followed by the traceback of an unforeseen exception."""

    def broken(self: object) -> object:
        raise ZeroDivisionError

    monkeypatch.setattr(verify.Verification, "run", broken)
    monkeypatch.setenv("PAWL_DEBUG", "1")
    assert run("verify") == 3
    assert "Traceback" in capsys.readouterr().err


def pawl(*argv: str) -> list[str]:
    return [sys.executable, "-c", "import sys; from pawl_gate.cli import main; sys.exit(main())", *argv]


@pytest.fixture
def environment() -> dict[str, str]:
    """That a program of its own finds the packages where this process does."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def test_reader_that_leaves_is_no_traceback(environment: dict[str, str]) -> None:
    """`pawl invariants | head -1`: stdout is closed early; nothing is said about it on stderr."""
    with subprocess.Popen(
        pawl("invariants", "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, bufsize=0
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait(30) in (0, 4)


@pytest.mark.parametrize("argv", [("invariants",), ("replay", "empty.json"), ("invariants", "--json"), ("--help",)])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_full_disk_is_one_line(environment: dict[str, str], argv: tuple[str, ...], unbuffered: str) -> None:
    """A report that cannot be written is said in one line, with exit code 3, whenever Python notices it."""
    Path("empty.json").write_text(dumps(Trace(())))
    environment["PYTHONUNBUFFERED"] = unbuffered
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(pawl(*argv), stdout=full, stderr=subprocess.PIPE, text=True, env=environment, timeout=60)
    assert (done.returncode, done.stderr) == (3, "pawl: cannot write to stdout: No space left on device\n")


@pytest.mark.parametrize("argv", [("invariants",), ("verify",), ("replay", "missing.json")])
def test_closed_stdout_is_one_line(environment: dict[str, str], argv: tuple[str, ...]) -> None:
    """`pawl verify >&-`: refused as wrong usage before the work is done, never a traceback with exit code 1."""
    script = ["sh", "-c", 'exec "$@" >&-', "sh", *pawl(*argv)]
    done = subprocess.run(script, stderr=subprocess.PIPE, text=True, env=environment, timeout=60)
    assert (done.returncode, done.stderr) == (2, "pawl: stdout is closed; there is nowhere to put the report\n")


def test_closed_stderr_leaves_stdout_to_the_data(environment: dict[str, str]) -> None:
    """`pawl replay missing.json 2>&-`: the error is not printed among the data."""
    script = ["sh", "-c", 'exec "$@" 2>&-', "sh", *pawl("replay", "missing.json")]
    done = subprocess.run(script, stdout=subprocess.PIPE, text=True, env=environment, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")


def test_exit_code_reaches_the_shell(environment: dict[str, str]) -> None:
    """The return value of `main` is the exit code of the program, argparse's errors included."""
    done = subprocess.run(pawl("verify", "--fly"), capture_output=True, text=True, env=environment, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
