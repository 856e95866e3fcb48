"""Tests that no honest sender and no attacker of a trace can write: messages with a valid MAC over unusual bytes.

What must come of each message is said here by hand, with the reason; Pawl has to agree before it is published.
"""

from __future__ import annotations

from collections.abc import Iterator

from pawl_gate.vectors.crafted.accepted import accepted
from pawl_gate.vectors.crafted.groups import groups
from pawl_gate.vectors.crafted.refused import keys_and_bodies, malformed
from pawl_gate.vectors.crafted.senders import senders
from pawl_gate.vectors.crafted.transcripts import transcripts
from pawl_gate.vectors.crafted.writer import Crafted

__all__ = ["Crafted", "crafted"]


def crafted() -> Iterator[Crafted]:
    """All of them."""
    for family in (transcripts, accepted, malformed, keys_and_bodies, senders, groups):
        yield from family()
