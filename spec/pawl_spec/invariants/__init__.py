"""All invariants, by family. Importing this package fills the registry."""

from pawl_spec.invariants import (
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
    workers,
)
from pawl_spec.registry import REGISTRY, Invariant

INVARIANTS: tuple[Invariant, ...] = tuple(sorted(REGISTRY.values(), key=lambda entry: entry.id))
"""Every registered invariant, in the order of the ids."""

__all__ = [
    "INVARIANTS",
    "atomicity",
    "authenticity",
    "bounds",
    "counters",
    "groups",
    "identity",
    "keys",
    "media",
    "parsing",
    "secrecy",
    "workers",
]
