"""The environment of the project's own gates, `.venv-gates`: linters and writers that the tests do not need."""

from __future__ import annotations

import subprocess
import sys
from hashlib import sha256

from tools.examples import ROOT

VENV = ROOT / ".venv-gates"
LOCK = ROOT / "requirements" / "release.txt"
STAMP = VENV / "pawl-stamp"


class NotSetUp(Exception):
    """The environment cannot be made here; one line says why."""


def set_up() -> None:
    """Make the environment from its lock, unless it is that already. Raises: NotSetUp."""
    stamp = sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()
    if STAMP.is_file() and STAMP.read_text(encoding="utf-8") == stamp:
        return
    print("gates: making .venv-gates from requirements/release.txt", file=sys.stderr)
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(VENV)],
        [*pip, "--no-deps", "--require-hashes", "-r", str(LOCK)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise NotSetUp(done.stderr.strip().split("\n")[-1] or f"{command[0]} ended with {done.returncode}")
    STAMP.write_text(stamp, encoding="utf-8")


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of its programs in the checkout."""
    command = [str(VENV / "bin" / program), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
