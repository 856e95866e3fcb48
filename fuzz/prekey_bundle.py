#!/usr/bin/env python3
"""A bundle that was changed on its way is refused, and one that is good serves. Boundary: a bundle -> session state.

The attacker signs with an identity of its own (boundary-api, boundary-message).
"""

from harness import enter

enter("prekey_bundle")
