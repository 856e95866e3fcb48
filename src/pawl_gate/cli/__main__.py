"""Run as `python -m pawl_gate.cli`."""

import sys

from pawl_gate.cli import main

sys.exit(main())
