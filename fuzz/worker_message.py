#!/usr/bin/env python3
"""Whatever a worker sends is read as it was sent, or refused. Boundary: bytes of a worker -> values of its parent.

Frames, events, refusals, reads and writes (boundary-worker).
"""

from harness import enter

enter("worker_message")
