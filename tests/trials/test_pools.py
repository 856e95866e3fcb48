"""Pools of real worker processes on trial: the drill and a short storm hold, and each broken pool is caught.

`pawl store trial storm --budget nightly` is the long form.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pawl_gate.controls.edits import compiled
from pawl_gate.trials import campaign, drill
from pawl_gate.trials.broken_pools import BROKEN_POOLS, as_controls
from pawl_gate.trials.pools import children
from pawl_spec.invariants import INVARIANTS
from pawl_spec.pool.history import Operation
from tools.examples import ROOT

WORKERS = {"WRK-01", "WRK-02", "WRK-03", "WRK-04", "WRK-05", "WRK-06", "WRK-07"}
STORE = {"AUT-01", "CTR-02", "CTR-08"}


def test_the_drill_holds(tmp_path: Path) -> None:
    """Issue: "WRK-01..06 with their operations (flood, kill, hang, bad argument, close while busy, poison job)"."""
    report = campaign("drill").run("sqlite", 1, 7, lambda _: None, tmp_path)
    assert [str(each) for each in report.broken] == []
    assert report.checked.keys() >= WORKERS | STORE
    # It was no green light without a lamp.
    counted = report.counted
    assert all(counted[f"operations: {operation.value}"] for operation in Operation)
    for code in ("backpressure", "invalid-argument", "message-too-large", "poison-job", "job-timeout", "pool-closed"):
        assert counted[f"refused: {code}"] > 0, code
    assert counted["jobs lost with their process"] > 0
    assert counted["sessions that still talk"] == drill.PEERS
    assert children_named("pool_service") == []


def test_a_short_storm_holds(tmp_path: Path) -> None:
    """Issue: "every job accounted for, none doubled or crossed, all sessions still able to talk, no counter used twice"."""
    report = campaign("storm").run("sqlite", 2, 7, lambda _: None, tmp_path)
    assert [str(each) for each in report.broken] == []
    assert report.checked.keys() >= WORKERS - {"WRK-04"} | STORE
    counted = report.counted
    assert counted["jobs"] >= 1000
    assert counted["operations: kill"] >= 2
    assert counted["operations: kill the parent"] >= 1
    assert counted["sessions that still talk"] == 200


def children_named(name: str) -> list[int]:
    """Children of this process whose command line holds a name."""
    import os

    lines = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid, state in children(os.getpid()) if state != "Z"}
    return [pid for pid, line in lines.items() if name.encode() in line]


@pytest.mark.parametrize("name", BROKEN_POOLS)
def test_a_broken_pool_is_caught(name: str, tmp_path: Path) -> None:
    """A green campaign means nothing unless the fault it is there for turns it red, by the invariant that names it."""
    control = BROKEN_POOLS[name]
    report = campaign("drill").run("sqlite", 1, 0, lambda _: None, tmp_path, control=name)  # type: ignore[call-arg]
    assert control.breaks in {each.invariant for each in report.broken}


def test_there_are_enough_broken_pools() -> None:
    """Issue: "at least 10 controls"; each invariant of workers has one, each operation shows one."""
    assert len(BROKEN_POOLS) >= 10
    assert {each.breaks for each in BROKEN_POOLS.values()} >= WORKERS
    assert {operation for each in BROKEN_POOLS.values() for operation in each.shown_by} == set(Operation)
    assert {each.breaks for each in BROKEN_POOLS.values()} <= {entry.id for entry in INVARIANTS}


@pytest.mark.parametrize("name", BROKEN_POOLS)
def test_the_words_of_each_edit_stand_there(name: str) -> None:
    """Where the code of the pool moves on, its controls say so at once, and not by a process that does not come up."""
    assert BROKEN_POOLS[name].late or compiled(BROKEN_POOLS[name].edits)


def test_they_stand_beside_the_other_controls() -> None:
    """`pawl explain WRK-01` names them, with the command that shows them; they are no targets."""
    [one] = [each for each in as_controls() if each.name == "limit-times-workers"]
    assert one.target == "pawl store trial --control limit-times-workers"
    with pytest.raises(TypeError, match="put on trial"):
        one.make()


def test_the_page_lists_them() -> None:
    """docs/how-to/put-a-pool-on-trial.md has one line for each, with the invariant, what shows it, and the fault."""
    page = (ROOT / "docs" / "how-to" / "put-a-pool-on-trial.md").read_text("utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines()]
    listed = [row for row in rows if len(row) == 4 and row[0].strip("`") in BROKEN_POOLS]
    due = [
        [f"`{name}`", each.breaks, ", ".join(operation.value for operation in each.shown_by), each.what]
        for name, each in BROKEN_POOLS.items()
    ]
    assert sorted(listed) == sorted(due)
