"""The committed lists of findings, their scripts, and `pawl finding`.

Each script is run where a peer can be had; `export` is tested by running what it prints in a folder of its own.
The ids in it are examples.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pawl_gate import baselines, cli
from pawl_gate.baselines import NoScript, command, exported, findings, reproduced
from pawl_gate.expect import CLASSES, ExpectError
from pawl_gate.targets.base import HarnessBroken
from pawl_gate.targets.registry import TARGETS, drivers_folder, find_target

Output = pytest.CaptureFixture[str]

KNOWN = baselines.baselines()
ALL = [finding for baseline in KNOWN.values() for finding in findings(baseline)]
SCRIPTS = sorted({(finding.folder, script) for finding in ALL for script in finding.scripts})
FIRST = {(finding.folder, script): finding for finding in reversed(ALL) for script in finding.scripts}
"""By script: the finding of the first list that names it."""


def run(*argv: str) -> int:
    """The exit code of `pawl ARGV`."""
    try:
        return cli.main(argv)
    except SystemExit as left:
        return int(left.code or 0)


def need(target: str) -> None:
    """Skip where the target is not installed; in CI that is a failure."""
    try:
        find_target(target).close()  # type: ignore[attr-defined]
    except HarnessBroken as error:
        if os.environ.get("CI"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


# -- the committed lists ----------------------------------------------------------------------------------------------


def test_there_are_lists() -> None:
    """A list is about a target that there is, and nothing is tested by an empty one."""
    assert len(KNOWN) >= 4
    assert set(KNOWN) <= set(TARGETS)
    assert len(ALL) >= 40


@pytest.mark.parametrize("finding", ALL, ids=lambda one: f"{one.target}-{one.id}")
def test_every_finding_says_what_an_attacker_needs_and_has_its_script(finding: baselines.Finding) -> None:
    """Issue 9: "each is reproduced by a script that uses only the target's own public API", "classed by what an attacker
    needs"."""
    assert finding.needs in CLASSES
    assert finding.scripts
    for script in finding.scripts:
        assert (finding.folder / script.partition("#")[0]).is_file()


def test_every_script_is_listed() -> None:
    """A script that no list names would show a finding that nobody counts."""
    there = {
        (folder, f"findings/{path.name}")
        for folder in {baseline.folder for baseline in KNOWN.values()}
        for path in (folder / "findings").glob("[a-z][a-z][a-z]-[0-9][0-9]-*")
    }
    assert there
    assert there <= set(SCRIPTS)


@pytest.mark.parametrize(("folder", "script"), SCRIPTS, ids=lambda part: part if isinstance(part, str) else part.name)
def test_each_script_exits_as_it_says(folder: Path, script: str) -> None:
    """Each exits 0 as long as its finding is there, using the target alone."""
    need(FIRST[folder, script].target)
    there, said = reproduced(folder, script)
    assert there, said


# -- export -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "id_", "folder"),
    [
        ("node-libsignal-live", "CTR-05", "node-libsignal"),
        ("node-libsignal", "ATM-01", "node-libsignal"),
        ("privacyresearch", "PAR-04", "privacyresearch"),
        ("libsignal-client", "PAR-03", "libsignal-client"),
        ("libsignal-client-sessions", "PAR-02", "libsignal-client"),
    ],
)
def test_an_exported_script_of_node_stands_alone(
    tmp_path: Path, capsys: Output, target: str, id_: str, folder: str
) -> None:
    """One file, beside the installed package and nothing else, shows the finding."""
    need(target)
    assert run("finding", "export", target, id_) == 0
    script = tmp_path / "exported.js"
    script.write_text(capsys.readouterr().out)
    (tmp_path / "node_modules").symlink_to(drivers_folder() / folder / "node_modules")
    ran = subprocess.run([os.environ.get("PAWL_NODE", "node"), script], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.startswith(id_)
    assert f"// {id_} on {target}: " in script.read_text()


@pytest.mark.c_peer
def test_an_exported_program_in_c_stands_alone(tmp_path: Path, capsys: Output) -> None:
    """One shell script holds all files, builds them and shows the finding."""
    assert run("finding", "export", "libsignal-c", "GRP-02") == 0
    script = tmp_path / "exported.sh"
    script.write_text(capsys.readouterr().out)
    ran = subprocess.run(
        ["sh", script], capture_output=True, text=True, timeout=120, env=os.environ | {"TMPDIR": str(tmp_path)}
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.startswith("grp-02-work-before-signature")


REACHES_OUT = re.compile(r"require\('\.|^from (?:lib|peer|[a-z]+_in_python) import", re.MULTILINE)


@pytest.mark.parametrize(("folder", "script"), SCRIPTS, ids=lambda part: part if isinstance(part, str) else part.name)
def test_an_exported_script_reaches_for_no_other_file(folder: Path, script: str) -> None:
    """Whatever a script takes from the files beside it is in what is printed."""
    assert not REACHES_OUT.search(exported(FIRST[folder, script], script))


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of drivers with one list, and three scripts in Python."""
    folder = tmp_path / "drivers" / "toy"
    (folder / "findings").mkdir(parents=True)
    (folder / "peer.py").write_text("WHERE = 'here'\n")
    (folder / "findings" / "shared.py").write_text(
        '"""Shared."""\nfrom __future__ import annotations\nfrom peer import WHERE\nfrom peer import (\n    WHERE,\n)\nHERE = WHERE\n'
    )
    here = '"""Shows it."""\n\nfrom __future__ import annotations\n\nimport sys\n\nfrom shared import HERE\n\nsys.exit(HERE != "here")\n'
    (folder / "findings" / "here.py").write_text(here)
    (folder / "findings" / "gone.py").write_text("import sys\nprint('it is refused')\nsys.exit(1)\n")
    write_list(folder, ("PAR-03", "network", "findings/here.py"))
    monkeypatch.setenv("PAWL_DRIVERS", str(tmp_path / "drivers"))
    # The peer's own modules, as a script finds them.
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def write_list(folder: Path, *entries: tuple[str, str, str | list[str]], name: str = "expected.json") -> None:
    """Write a list of the target "toy"."""
    listed = [{"id": id_, "reason": "toy", "class": word, "script": script} for id_, word, script in entries]
    (folder / name).write_text(json.dumps({"target": "toy", "findings": listed}))


def test_an_exported_script_in_python_stands_alone(toys: Path, tmp_path: Path, capsys: Output) -> None:
    """What it imports of its folder is in it, and the import of the future stays in front."""
    assert run("finding", "export", "toy", "par-03") == 0
    script = tmp_path / "exported.py"
    script.write_text(capsys.readouterr().out)
    assert subprocess.run([sys.executable, script], timeout=60).returncode == 0
    assert script.read_text().count("from __future__") == 1


def test_of_several_scripts_one_is_chosen(toys: Path, capsys: Output) -> None:
    """The first is printed, and stderr names them all; --script chooses, by file or by name."""
    write_list(toys, ("PAR-03", "network", ["findings/gone.py", "findings/here.py"]))
    assert run("finding", "export", "toy", "PAR-03") == 0
    out, err = capsys.readouterr()
    assert "it is refused" in out
    assert err == "pawl: there are 2 (--script NAME): findings/gone.py, findings/here.py\n"
    for name in ("findings/here.py", "here.py", "here"):
        assert run("finding", "export", "toy", "PAR-03", "--script", name) == 0
        out, err = capsys.readouterr()
        assert "HERE" in out
        assert err == ""


# -- list, check ------------------------------------------------------------------------------------------------------


def test_the_list_says_class_and_script(capsys: Output) -> None:
    """`pawl finding list`: everything that is known, by target, as text and as JSON; and what the classes mean."""
    assert run("finding", "list", "--target", "node-libsignal-live") == 0
    text = capsys.readouterr().out
    assert re.search(r"^  CTR-05  store\n( {10}.*\n)+ {10}script: findings/ctr-05-live-record.js$", text, re.M)
    assert "  IDC-10  application, not seen by the gate\n" in text
    assert all(f"  {word} " in text for word in CLASSES)
    assert run("finding", "list", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["format"], document["version"]) == ("pawl-findings", 1)
    assert len(document["findings"]) == len(ALL)
    assert {one["target"] for one in document["findings"]} == set(KNOWN)


def test_check_tells_what_is_not_there_any_more(toys: Path, capsys: Output) -> None:
    """Exit code 0 when every script shows its finding, 1 when one does not."""
    assert run("finding", "check") == 0
    assert capsys.readouterr().out.endswith("all 1 scripts show their findings\n")
    write_list(toys, ("PAR-03", "network", "findings/here.py"), ("PAR-04", "peer", "findings/gone.py"))
    assert run("finding", "check", "--target", "toy") == 1
    out = capsys.readouterr().out
    assert "reproduced  toy  findings/here.py\nNOT THERE   toy  findings/gone.py\n    it is refused\n" in out
    assert out.endswith("not reproduced any more: findings/gone.py\n")


def test_a_script_that_does_not_end_shows_nothing(toys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of a script is limited."""
    (toys / "findings" / "here.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(baselines, "SECONDS", 0.5)
    assert reproduced(toys, "findings/here.py") == (False, "it did not end within 0.5 s")


def test_what_is_not_there_is_said(toys: Path, capsys: Output) -> None:
    """One line each: exit code 2 for a wrong name or a broken list, 3 for a script that cannot be run."""
    write_list(toys, ("PAR-03", "network", "findings/missing.py"), ("PAR-04", "peer", "findings/all.c#one"))
    (toys / "findings" / "all.c").touch()
    for argv, code, words in [
        (("finding", "list", "--target", "acme"), 2, "no findings are listed of 'acme'; there are lists of toy"),
        (
            ("finding", "export", "toy", "CTR-01"),
            2,
            "toy has no finding 'CTR-01' with a script; there are PAR-03, PAR-04",
        ),
        (("finding", "export", "toy", "PAR-03"), 2, "missing.py"),
        (("finding", "export", "toy", "PAR-04", "--script", "x"), 2, "no script of PAR-04 is called 'x'"),
        (("finding", "check"), 3, "PAR-03 on toy: there is no "),
    ]:
        assert run(*argv) == code
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert words in err
    with pytest.raises(NoScript, match="is not built"):
        command(toys, "findings/all.c#one")
    with pytest.raises(NoScript, match="nothing is known that runs"):
        command(toys, "expected.json")
    write_list(toys, ("PAR-03", "nobody", "findings/here.py"))
    assert run("finding", "list") == 2
    assert "expected.json: finding 0: the class of PAR-03" in capsys.readouterr().err
    (toys / "expected.json").unlink()
    assert run("finding", "list") == 2
    assert "no list of findings in" in capsys.readouterr().err


def test_two_lists_of_one_target_are_refused(toys: Path) -> None:
    """Which of them would be the truth?"""
    write_list(toys, ("PAR-04", "peer", "findings/here.py"), name="expected-too.json")
    with pytest.raises(ExpectError, match="is about target 'toy' too"):
        baselines.baselines()


def test_a_script_reaches_nothing_outside_its_folder(toys: Path) -> None:
    """What is exported comes from the driver's folder: the list's form lets no other path through."""
    (finding,) = findings(baselines.baselines()["toy"])
    assert exported(finding, "findings/here.py").startswith("# PAR-03 on toy: toy\n")
    with pytest.raises(NoScript):
        exported(finding, "findings/elsewhere.js")
