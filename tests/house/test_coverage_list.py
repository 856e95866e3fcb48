"""The list of what the tests leave out of the library: what it says is what was counted, or `make coverage` fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools import check_coverage
from tools.check_coverage import PAGE, WHOLE, left_out, listed, main

CODE = "def f(x):\n    if x:\n        return 1\n    return 2\n"


def counted(**what: Any) -> dict[str, Any]:
    """A report of coverage, of one file of a library."""
    return {"files": {"src/pawl/a.py": {"missing_lines": [], "excluded_lines": [], "missing_branches": [], **what}}}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A library of one file."""
    (tmp_path / "src" / "pawl").mkdir(parents=True)
    (tmp_path / "src" / "pawl" / "a.py").write_text(CODE)
    return tmp_path


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ({}, set()),
        ({"missing_lines": [3], "missing_branches": [[2, 3]]}, {("a.py", "return 1")}),
        ({"missing_branches": [[2, 4]]}, {("a.py", "if x:")}),
        ({"missing_branches": [[2, -1]]}, {("a.py", "if x:")}),
        ({"excluded_lines": [4]}, {("a.py", "return 2")}),
    ],
)
def test_what_is_left_out(root: Path, what: dict[str, Any], expected: set[tuple[str, str]]) -> None:
    """A line that was not reached, a branch that was not taken, and a line that was excluded are all left out."""
    assert left_out(counted(**what), root) == expected


def test_a_file_that_is_not_measured_is_left_out(root: Path) -> None:
    """What the settings omit is left out whole."""
    assert left_out({"files": {}}, root) == {("a.py", WHOLE)}


def test_the_list_is_compared(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Left out and not listed, or listed and reached: both fail, and say what it is."""
    report, page = root / "coverage.json", root / "coverage.md"
    report.write_text(json.dumps(counted(missing_lines=[3])))
    monkeypatch.setattr(check_coverage, "ROOT", root)
    monkeypatch.setattr(check_coverage, "PAGE", page)
    monkeypatch.setattr(check_coverage, "left_out", lambda found: left_out(found, root))
    for row, code, words in (
        ("| `a.py` | `return 1` | It is so. |", 0, ""),
        ("| `a.py` | `return 1` |  |", 1, "not in coverage.md: a.py: return 1"),
        ("", 1, "not in coverage.md: a.py: return 1"),
        ("| `a.py` | `return 1` | So. |\n| `a.py` | `if x:` | So. |", 1, "the tests reach it: a.py: if x:"),
    ):
        page.write_text(row)
        assert main([str(report)]) == code
        assert words in capsys.readouterr().err
    report.write_text("nothing")
    assert main([str(report)]) == 2


def test_the_page_lists_generated_code() -> None:
    """The page is read as it stands: generated code is on it, and everything has a file that is there."""
    rows = listed(PAGE.read_text("utf-8"))
    assert ("wire/records_pb2.py", WHOLE) in rows
    assert all((check_coverage.ROOT / check_coverage.LIBRARY / file).is_file() for file, _ in rows)
