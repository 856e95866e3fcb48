#!/usr/bin/env python3
"""A scanned code agrees with its own safety number alone. Boundary: bytes of a code -> a comparison.

Digits and codes are computed a second time (boundary-api).
"""

from harness import enter

enter("fingerprint")
