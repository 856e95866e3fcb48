#!/usr/bin/env python3
"""Run every finding, with the interpreter of the driver's environment: 0 when all are reproduced, 1 when one is not."""

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent.parent))

from findings_in_python import run_all

if __name__ == "__main__":
    sys.exit(run_all(FOLDER))
