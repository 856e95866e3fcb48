#!/usr/bin/env python3
"""Pawl and node-libsignal read each other's messages once, in any order. Boundary: a peer's messages -> session state.

Each is the other's peer (boundary-message).
"""

from harness import enter

enter("node_trace")
