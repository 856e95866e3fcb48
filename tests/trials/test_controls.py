"""Stores and devices that are wrong: each is caught by its campaign, by the invariant that names the fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from pawl_gate.trials import campaign
from pawl_gate.trials.broken import BROKEN
from pawl_spec.invariants import INVARIANTS
from tests.trials.servers import marked, need
from tools.examples import ROOT

AMOUNTS = {"kill": 60, "hammer": 12, "server": 3}
TRIES = 5
"""A campaign ends soon after it met something. A fault that needs a kill at the right moment may be missed; not each time."""


@pytest.mark.parametrize("name", [marked(control.kind, name) for name, control in BROKEN.items()])
def test_a_control_is_caught(name: str, tmp_path: Path) -> None:
    """A green campaign means nothing unless the fault it is there for turns it red."""
    control = BROKEN[name]
    need(control.kind)
    found: set[str] = set()
    amount = AMOUNTS[control.campaign]
    for seed in range(TRIES):
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
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines()]
    listed = [row for row in rows if len(row) == 5 and row[1] in {each.campaign for each in BROKEN.values()}]
    due = [[f"`{name}`", each.campaign, each.kind, each.breaks, each.what] for name, each in BROKEN.items()]
    assert sorted(listed) == sorted(due)
