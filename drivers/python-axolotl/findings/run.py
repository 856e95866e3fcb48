#!/usr/bin/env python3
"""Run every finding, with the interpreter of the driver's environment: 0 when all are reproduced, 1 when one is not."""

import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
SCRIPTS = sorted(path for path in FOLDER.glob("*.py") if re.match(r"[a-z]{3}-\d\d-", path.name))

if __name__ == "__main__":
    missed = [
        path.stem
        for path in SCRIPTS
        if subprocess.call([sys.executable, path], timeout=60) != 0  # noqa: S603 - the programs beside this one
    ]
    print(f"\nnot reproduced: {', '.join(missed)}" if missed else f"\nall {len(SCRIPTS)} findings reproduced")
    sys.exit(1 if missed or not SCRIPTS else 0)
