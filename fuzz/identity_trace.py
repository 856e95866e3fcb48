#!/usr/bin/env python3
"""Any byte string is a trace, and no trace breaks an invariant. Boundary: identities, decisions -> session state.

Reinstalled peers, forged bundles, strict policies, callbacks that misbehave (boundary-api, boundary-message).
"""

from harness import enter

enter("identity_trace")
