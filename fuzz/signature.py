#!/usr/bin/env python3
"""XEdDSA signs and verifies as plain integer arithmetic has it. Boundary: bytes -> signatures.

Second spellings, points of small order, other keys (boundary-api, boundary-message).
"""

from harness import enter

enter("signature")
