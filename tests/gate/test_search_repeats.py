"""The search with Hypothesis depends on the seed alone: not on what else is imported, nor on numbers in anybody's source."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SEARCH = """
import hashlib
from pawl_gate.engines import machine
from pawl_gate.targets.inprocess import InProcessTarget
from pawl_spec.trace import encode

seen = hashlib.sha256()
machine.search(InProcessTarget(), examples=40, seed=3, on_history=lambda history: seen.update(encode(history.trace)))
print(seen.hexdigest())
"""

OTHERS = "ODD = [" + ", ".join(str(number) for number in range(101, 250)) + "]\n"
"""A module of the caller's own, with numbers in it that operands may have."""


def searched(folder: Path, before: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-c", before + SEARCH], cwd=folder, capture_output=True, text=True, check=True, timeout=300
    )
    return done.stdout


def test_the_same_seed_searches_the_same_traces_whatever_is_imported(tmp_path: Path) -> None:
    """ "One seed gives one transcript". Hypothesis likes numbers that it reads in local modules: none may be drawn so."""
    (tmp_path / "others.py").write_text(OTHERS)
    assert searched(tmp_path, "import others\n") == searched(tmp_path)
