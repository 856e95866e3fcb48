#!/usr/bin/env python3
"""Any byte string is a trace, and no trace breaks an invariant. Boundary: operations of the world -> session state.

They are calls of an application, messages, and damage of what is stored (boundary-api, boundary-message,
boundary-store).
"""

from harness import Cross, Fuzz, Mutate, main


def prepare() -> tuple[Fuzz, Mutate, Cross]:
    """Hold Pawl, in this process, to the specification."""
    from pawl_gate.engines.corpus import hold
    from pawl_gate.engines.mutator import cross, mutate
    from pawl_gate.targets.inprocess import InProcessTarget

    target = InProcessTarget()
    return lambda data: hold(target, data), mutate, cross


main(prepare)
