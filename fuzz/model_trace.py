#!/usr/bin/env python3
"""Every answer of Pawl is the one that the model predicts. Boundary: operations of the world -> session state.

Accepted or refused, and by which code (boundary-api, boundary-message).
"""

from harness import enter

enter("model_trace")
