"""Controls: deliberately broken variants of Pawl. Each must turn the gate red by the invariant that names its fault.

A green gate means nothing without them. Each is as close as can be to a mistake that an implementer makes. A control is
a target of its own: `pawl verify --target control:NAME`. One module holds those of one family of invariants.
"""

from pawl_gate.controls import (
    atomicity,
    authenticity,
    bounds,
    counters,
    groups,
    identity,
    keys,
    media,
    parsing,
    secrecy,
)
from pawl_gate.controls.catalogue import CONTROLS, Control
from pawl_gate.controls.variants import WrappedVariant
from pawl_gate.targets.passing import PassingStore, PassingTransaction

FAMILIES = (atomicity, authenticity, bounds, counters, groups, identity, keys, media, parsing, secrecy)
"""The modules whose import fills the catalogue."""

__all__ = ["CONTROLS", "Control", "PassingStore", "PassingTransaction", "WrappedVariant"]
