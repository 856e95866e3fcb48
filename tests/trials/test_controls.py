"""Stores and devices that are wrong: each is caught by its campaign, by the invariant that names the fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from pawl_gate.trials import campaign
from pawl_gate.trials.broken import BROKEN
from pawl_spec.invariants import INVARIANTS
from tests.trials.servers import marked, need
from tools.examples import ROOT

AMOUNTS = {"kill": (4, 8, 16, 24, 24, 24), "hammer": (3, 6, 6, 6, 6), "server": (2, 2, 2)}
"""Of each try. A fault that needs a kill at the right moment may be missed; not each time."""


@pytest.mark.parametrize("name", [marked(control.kind, name) for name, control in BROKEN.items()])
def test_a_control_is_caught(name: str, tmp_path: Path) -> None:
    """A green campaign means nothing unless the fault it is there for turns it red."""
    control = BROKEN[name]
    need(control.kind)
    found: set[str] = set()
    for seed, amount in enumerate(AMOUNTS[control.campaign]):
        folder = tmp_path / str(seed)
        folder.mkdir()
        one = campaign(control.campaign)
        report = one.run(control.kind, amount, seed, lambda _: None, folder, control=name)  # type: ignore[call-arg]
        found |= {each.invariant for each in report.broken}
        if control.breaks in found:
            return
    pytest.fail(f"{name} is not caught by {control.breaks}; broken: {sorted(found)}")


def test_every_fault_is_named_by_a_known_invariant() -> None:
    assert {control.breaks for control in BROKEN.values()} <= {each.id for each in INVARIANTS}
    assert len(BROKEN) >= 6


def test_the_page_lists_them() -> None:
    """docs/how-to/put-a-store-on-trial.md has one line for each, with the invariant and the fault."""
    page = (ROOT / "docs" / "how-to" / "put-a-store-on-trial.md").read_text("utf-8")
    lines = {line for line in page.splitlines() if line.startswith("| `")}
    due = {
        f"| `{name}` | {each.campaign} | {each.kind} | {each.breaks} | {each.what} |" for name, each in BROKEN.items()
    }
    assert due <= lines
    assert len([line for line in lines if line.count("|") == 6]) == len(due)
