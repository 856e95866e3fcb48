#!/usr/bin/env python3
"""A sealed row is opened for its own table, key, version and store alone, and whole. Boundary: medium -> rows.

Checksums are made by the harness, so that what lies behind them is reached (boundary-store).
"""

from harness import enter

enter("sealed_row")
