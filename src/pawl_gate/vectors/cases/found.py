"""What the explorer and the gate found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import resources

from pawl.limits import MAX_FORWARD_JUMP
from pawl_gate.vectors.cases.common import Case
from pawl_spec.explore import SCOPES, explore
from pawl_spec.trace import loads

EXPLORED = "session_explored"
"""The file of the explored states."""

EXPLORED_SCOPES = ("smoke", "order", "restart", "replay", "three")
"""Scopes that are explored within seconds."""

EXPLORED_EACH = 6
"""Of each scope so many of the farthest states."""


def explored() -> Iterator[Case]:
    """Shortest ways to the farthest states of the explored scopes."""
    for name in EXPLORED_SCOPES:
        found = explore(SCOPES[name])
        inner = set(found.parents)
        leaves = [found.trace(state) for state in range(found.states) if state not in inner]
        # The farthest first; among equals, those found first.
        leaves.sort(key=len, reverse=True)
        for number, ops in enumerate(leaves[:EXPLORED_EACH]):
            yield Case(
                EXPLORED,
                f"explored/{name}/{number}",
                f"Explored scope '{name}' ({SCOPES[name].about}): a farthest state.",
                ("Explored",),
                ops,
                source=f"explored scope {name}; the model says what must come of it",
            )


ASSUMED_BY_FINDINGS: Mapping[str, Mapping[str, int | str]] = {"BND-01": {"forward_jump": MAX_FORWARD_JUMP}}
"""By invariant: limits without which the trace that breaks it on another implementation says nothing."""


def findings() -> Iterator[Case]:
    """Shrunk traces on which an existing implementation does otherwise."""
    folder = resources.files("pawl_gate.vectors") / "findings"
    for file in sorted((each for each in folder.iterdir() if each.name.endswith(".json")), key=lambda each: each.name):
        name = file.name.removesuffix(".json")
        trace = loads(file.read_text("utf-8"))
        yield Case(
            "session_findings",
            f"finding/{name}",
            f"The shortest trace that showed {name.split('.', 1)[0]} broken on {name.split('.', 1)[1]}.",
            ("Finding",),
            trace.ops,
            assumes=ASSUMED_BY_FINDINGS.get(name.split(".", 1)[0], {}),
            source="a finding of the gate, shrunk; the model says what must come of it",
        )
