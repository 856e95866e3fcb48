#!/usr/bin/env python3
"""Whatever a program under judgement answers, the gate comes to an end of its own. Boundary: a driver -> the gate.

Lines of the driver protocol, each the answer to a verb (boundary-api).
"""

from harness import enter

enter("driver_answer")
