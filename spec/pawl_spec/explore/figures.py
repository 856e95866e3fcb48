"""The committed figures: what each scope comes to when it is explored to its end.

A search that leaves something out still ends, and finds nothing. Its counts give it away: they must be these. They
change when a rule of the model changes, or a scope; then they are written again, and the difference is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pawl_spec.explore.search import Explored

PATH: Final = Path(__file__).parent / "figures.json"

Counts = dict[str, int]
"""States, transitions and depth of one scope."""


def counts(explored: Explored) -> Counts:
    """The figures of a search."""
    return {"states": explored.states, "transitions": explored.transitions, "depth": explored.depth}


def committed() -> dict[str, Counts]:
    """The committed figures, by scope."""
    figures: dict[str, Counts] = json.loads(PATH.read_text("utf-8"))
    return figures


def differs(explored: Explored, figures: Mapping[str, Counts]) -> str | None:
    """In what a closed search is not as committed; None: in nothing."""
    found, due = counts(explored), figures.get(explored.scope.name)
    if due is None:
        return "no figures are committed for it"
    wrong = [f"{name} {found[name]:,}, committed {due[name]:,}" for name in found if found[name] != due[name]]
    return "; ".join(wrong) or None


def written(figures: Mapping[str, Counts]) -> str:
    """The figures file."""
    return "{\n" + ",\n".join(f"  {json.dumps(name)}: {json.dumps(each)}" for name, each in figures.items()) + "\n}\n"
