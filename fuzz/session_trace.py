#!/usr/bin/env python3
"""Any byte string is a trace, and no trace breaks an invariant. Boundary: operations of the world -> session state.

They are calls of an application, messages, and damage of what is stored (boundary-api, boundary-message,
boundary-store).
"""

from harness import enter

enter("session_trace")
