"""Yesterday's corpus means today what it meant then, and an operation that is added changes nothing of it.

`yesterday/session_trace.json` is frozen: inputs of 30 November 2026 that together have every operation of that day, with
what each meant. Inputs may be added to it; nothing is ever written again.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pawl_gate.engines.corpus import name_of
from pawl_spec.trace import Kind, decode, encode, to_json
from tests.conftest import ROOT

FROZEN = Path(__file__).with_name("yesterday") / "session_trace.json"
YESTERDAY = json.loads(FROZEN.read_text("utf-8"))

OPERATIONS_THEN = 40
"""How many kinds of operations there were."""

LAST = "    GROUP_MEMBERS = (39, "
SHOW = """\
import json, sys
from pathlib import Path
from pawl_spec.trace import decode, to_json
told = json.loads(Path(sys.argv[1]).read_text())
print(json.dumps({name: to_json(decode(bytes.fromhex(one["input"]))) for name, one in told.items()}))
"""


@pytest.mark.parametrize("name", YESTERDAY)
def test_an_input_means_what_it_meant(name: str) -> None:
    """Its operations, operands and settings, and its bytes are still those that the codec writes."""
    data = bytes.fromhex(YESTERDAY[name]["input"])
    assert name == name_of(data)
    assert to_json(decode(data)) == YESTERDAY[name]["means"]
    assert encode(decode(data)) == data


def test_every_operation_of_that_day_is_among_them() -> None:
    words = {each["op"] for one in YESTERDAY.values() for each in one["means"]["ops"]}
    assert len(words) == OPERATIONS_THEN
    assert words <= {kind.word for kind in Kind}


def meaning(tmp_path: Path, before: str, after: str) -> object:
    """What the inputs mean to a specification with a change."""
    shutil.copytree(ROOT / "spec" / "pawl_spec", tmp_path / "pawl_spec")
    path = tmp_path / "pawl_spec" / "trace.py"
    text = path.read_text("utf-8")
    assert text.count(before) == 1
    path.write_text(text.replace(before, after), "utf-8")
    command = [sys.executable, "-c", SHOW, str(FROZEN)]
    ended = subprocess.run(
        command, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_an_operation_that_is_added_changes_no_meaning(tmp_path: Path) -> None:
    """Tomorrow's opcode stands behind the others."""
    means = {name: one["means"] for name, one in YESTERDAY.items()}
    assert meaning(tmp_path, LAST, f'    TOMORROW = (200, (("index", 256), ("how", 7)))\n{LAST}') == means


@pytest.mark.parametrize(
    ("before", "after"),
    [("    SEND = (2, ", "    SEND = (201, "), ("    DROP = (5, ", '    DROP = (5, (("how", 3),) + ')],
    ids=["renumbered", "an operand more"],
)
def test_an_operation_that_is_changed_is_noticed(tmp_path: Path, before: str, after: str) -> None:
    """Control: what would lose yesterday's corpus."""
    means = {name: one["means"] for name, one in YESTERDAY.items()}
    assert meaning(tmp_path, before, after) != means
