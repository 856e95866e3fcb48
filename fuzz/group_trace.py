#!/usr/bin/env python3
"""Any byte string is a trace, and no trace breaks an invariant. Boundary: operations in groups -> sender key state.

They are calls of members, messages and distributions of an attacker among them, and damage of what is stored
(boundary-api, boundary-message, boundary-store).
"""

from harness import enter

enter("group_trace")
