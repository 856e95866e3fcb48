#!/usr/bin/env python3
"""Keys are read, agree and pair as plain integer arithmetic has it. Boundary: bytes -> keys.

Public keys, agreements, the prime-order check, key pairs, secrets (boundary-api, boundary-message).
"""

from harness import enter

enter("key")
