"""One transcript on each supported Python: the tool that replays the corpus on all that are here."""

from __future__ import annotations

import json
import re
import sys

import pytest

from tools import pythons
from tools.examples import ROOT

HERE = "{}.{}".format(*sys.version_info[:2])


def test_workflows_run_the_tests_on_each_supported_python() -> None:
    """What the project says it supports is what is tried: the classifiers, and the matrix."""
    matrix = re.search(r"python: \[(.*)\]", (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8"))
    assert matrix is not None
    assert json.loads(f"[{matrix[1]}]") == pythons.supported()
    assert HERE in pythons.supported()


def test_an_absent_python_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It is not judged, and nobody is to believe that it was."""
    monkeypatch.setattr(pythons, "supported", lambda: [HERE, "3.99"])
    monkeypatch.setattr(sys, "argv", ["pythons", "fingerprint"])
    assert pythons.found("3.99") is None
    assert pythons.main() == 0
    said = capsys.readouterr().out
    assert f"each run twice on Python {pythons.version(pythons.Path(sys.executable))}: one transcript each" in said
    assert said.endswith("not here, and not judged: Python 3.99\n")


def test_another_transcript_on_another_python_is_found() -> None:
    """By its entry point and its name; an input that one of them did not run counts as well."""
    told = {"key": {"a": "1", "b": "2"}}
    assert pythons.parted({"3.11": told, "3.13": told}) == []
    assert pythons.parted({"3.11": told, "3.13": {"key": {"a": "1", "b": "3"}}}) == [
        "key/b: another transcript on Python 3.13 than on 3.11"
    ]
    assert len(pythons.parted({"3.11": told, "3.13": {}})) == 2
