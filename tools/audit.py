"""Look the locked packages up among known vulnerabilities: `make audit`.

Exit codes: 0 none is known, 1 some are, 3 the tool cannot be set up, 4 nobody could be asked: then nothing is known,
and it says so, for a check that could not be made is no success.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

from tools import gate_tools
from tools.examples import ROOT

LOCKS = ("base.txt", "dev.txt", "docs.txt", "gate.txt", "release.txt")
"""What is installed anywhere: by users, developers and CI."""

FOUND = re.compile(r"^Found \d+ known vulnerabilit", re.M)
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def main() -> int:
    """Ask about every lock."""
    try:
        gate_tools.set_up()
    except gate_tools.NotSetUp as error:
        say(f"nothing was looked up: the tool cannot be installed: {error}")
        return 3
    return audit(gate_tools.run)


def audit(run: Run) -> int:
    """Ask, by a function that runs a program."""
    code = 0
    for name in LOCKS:
        lock = str(ROOT / "requirements" / name)
        done = run("pip-audit", "--disable-pip", "--require-hashes", "--progress-spinner", "off", "-r", lock)
        said = f"{done.stdout}\n{done.stderr}"
        if done.returncode == 0:
            say(f"{name}: no vulnerability is known")
        elif FOUND.search(said):
            say(f"{name}:\n{said.strip()}")
            code = 1
        else:
            # It fails in as many ways as a network does.
            last = said.strip().split("\n")[-1][:200]
            say(f"{name}: nothing was looked up, and nothing is known: the service could not be asked ({last})")
            return code or 4
    return code


def say(text: str) -> None:
    """Progress goes to stderr."""
    print(f"audit: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
