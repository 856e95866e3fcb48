"""What the vectors test, as traces: families of changes, boundaries, and what the explorer and the gate found.

Each case is one trace on a fresh world. What must come of it is the model's word (`record`), not said here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pawl_gate.vectors.cases.attacks import bundles, changed, changed_bare, junk
from pawl_gate.vectors.cases.boundaries import compatibility, identities, limits, prekeys
from pawl_gate.vectors.cases.common import Case
from pawl_gate.vectors.cases.conversations import conversations, replays, sessions
from pawl_gate.vectors.cases.found import EXPLORED, explored, findings
from pawl_gate.vectors.cases.groups import groups

__all__ = ["Case", "cases"]


def cases(chosen: Callable[[str], bool]) -> Iterator[Case]:
    """Those of the files that are chosen, in a fixed order."""
    families = (
        conversations,
        replays,
        changed,
        changed_bare,
        junk,
        bundles,
        sessions,
        limits,
        identities,
        prekeys,
        compatibility,
        findings,
        groups,
    )
    for family in families:
        yield from (case for case in family() if chosen(case.file))
    # A search of seconds, which is not made for nothing.
    if chosen(EXPLORED):
        yield from explored()
