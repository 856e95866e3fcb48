#!/usr/bin/env python3
"""Any byte string is a trace, and no trace breaks an invariant. Boundary: a store that fails -> session state.

Crashes, refused calls, another process, damaged records and files, each within what somebody does (boundary-store).
"""

from harness import enter

enter("storage_trace")
