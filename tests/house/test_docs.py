"""The documentation is run and compared with the code, so that it cannot drift.

The ids in it are examples.
"""

from __future__ import annotations

import ast
import inspect
import logging
import os
import re
import subprocess
import sys
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import pytest

from pawl import errors, events, limits
from pawl.errors import ProtocolError
from pawl_spec.invariants import INVARIANTS
from pawl_spec.registry import THREATS
from tools.examples import ROOT, blocks, documents, program

WITH_EXAMPLES = [path for path in documents() if blocks(path)]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def run(code: str, where: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in a process and a folder of its own; a warning is an error."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=where,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "spec")])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("document", WITH_EXAMPLES, ids=name_of)
def test_examples_run(document: Path, tmp_path: Path) -> None:
    """The Python blocks of a page, one after the other, are a program that ends well."""
    result = run(compiled(document), tmp_path)
    assert result.returncode == 0, result.stderr


def compiled(document: Path) -> str:
    """A program whose tracebacks point into the document."""
    return f"exec(compile({program(document)!r}, {name_of(document)!r}, 'exec'))"


def test_a_broken_example_is_noticed(tmp_path: Path) -> None:
    """Control: an example whose assertion is wrong fails."""
    broken = tmp_path / "broken.md"
    broken.write_text("text\n```python\nx = 1\n```\nmore\n```python\nassert x == 2\n```\n")
    assert blocks(broken) == ["x = 1\n", "assert x == 2\n"]
    assert run(program(broken), tmp_path).returncode == 1


def test_readme_example_is_short() -> None:
    """The README shows the API in 15 lines (issue: "few names, shown in the README in 15 lines that run as a test")."""
    (example,) = blocks(ROOT / "README.md")
    assert len([line for line in example.splitlines() if line.strip()]) <= 15


LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("document", [*documents(), ROOT / "SECURITY.md", ROOT / "CHANGELOG.md"], ids=name_of)
def test_links_lead_somewhere(document: Path) -> None:
    """Every relative link names a file of the tree."""
    targets = LINK.findall(document.read_text(encoding="utf-8"))
    assert [target for target in targets if not (document.parent / target).exists()] == []


# -- reference tables -------------------------------------------------------------------------------------------------

ROW = re.compile(r"^\| `([^`]+)` \| (.*?) \|(?: (.*?) \|)?(?: (.*?) \|)?$", re.MULTILINE)


def table(page: str) -> dict[str, tuple[str, ...]]:
    """The rows of a reference page whose first cell is code."""
    text = (ROOT / "docs" / "reference" / page).read_text(encoding="utf-8")
    return {row[0]: row[1:] for row in ROW.findall(text)}


def refusals() -> list[type[ProtocolError]]:
    return [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, ProtocolError)]


def test_refusals_page_is_the_code() -> None:
    """Every refusal is on the page with its code and its sentence, and nothing else is."""
    expected = {kind.code: (f"`{kind.__name__}`", " ".join((kind.__doc__ or "").split()), "") for kind in refusals()}
    assert table("refusals.md") == expected


def test_refusal_codes_are_unique() -> None:
    """One code, one meaning."""
    codes = [kind.code for kind in refusals()]
    assert len(codes) == len(set(codes))


def test_limits_page_is_the_code() -> None:
    """Every limit is on the page with its value and its text (unit, reason, source), and nothing else is."""
    values = {name: value for name, value in vars(limits).items() if name.isupper()}
    texts: dict[str, str] = {}
    body = ast.parse(inspect.getsource(limits)).body
    for constant, text in pairwise(body):
        if isinstance(constant, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            texts[ast.unparse(constant.target)] = " ".join(str(text.value.value).split())
    expected = {name: (f"{value:,}", texts[name], "") for name, value in values.items()}
    assert table("limits.md") == expected


def test_events_page_is_the_code() -> None:
    """Every event is on the page with its class, level, fields and sentence, and nothing else is."""
    kinds = [kind for _, kind in inspect.getmembers(events, inspect.isclass) if issubclass(kind, events.Event)]
    kinds.remove(events.Event)
    rows = [
        (
            f"`{kind.name}`",
            f"`{kind.__name__}`",
            logging.getLevelName(kind.level),
            ", ".join(f"`{each.name}`" for each in fields(kind)),
            " ".join((kind.__doc__ or "").split()),
        )
        for kind in kinds
    ]
    page = (ROOT / "docs" / "reference" / "events.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.startswith("| `")]
    assert sorted(lines) == sorted(f"| {' | '.join(row)} |" for row in rows)


def test_threat_model_page_is_the_registry() -> None:
    """Every threat of the specification is on the page, with the families of the invariants that answer it."""
    families: dict[str, set[str]] = {threat: set() for threat in THREATS}
    for entry in INVARIANTS:
        families[entry.threat].add(entry.id.split("-")[0])
    page = (ROOT / "docs" / "explanation" / "threat-model.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(T-[A-Z]+)` [^|]* \| ([A-Z, ]+) \|", page, re.MULTILINE)
    assert {threat: set(cell.split(", ")) for threat, cell in rows} == families


# -- a counterexample -------------------------------------------------------------------------------------------------


def test_the_counterexample_is_what_pawl_prints(tmp_path: Path) -> None:
    """The page shows a saved trace and what `pawl replay` says of it: to the letter."""
    page = (ROOT / "docs" / "how-to" / "read-a-counterexample.md").read_text(encoding="utf-8")
    (trace,) = re.findall(r"^```json\n(.*?)^```$", page, re.M | re.S)
    (shown,) = re.findall(r"^```text\n(.*?)^```$", page, re.M | re.S)
    (tmp_path / "KEY-01.json").write_text(trace, encoding="utf-8")
    code = "import sys\nfrom pawl_gate.cli import main\nsys.exit(main(['replay', 'KEY-01.json']))"
    result = run(code, tmp_path)
    assert result.returncode == 1, result.stderr
    assert result.stdout == shown
