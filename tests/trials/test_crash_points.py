"""A crash at every call of every store, in this process: nothing is found, and faults that are there are."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from pawl_gate.controls.atomicity import CommittedLate, HalfWritten, TwoTransactions
from pawl_gate.targets.inprocess import InProcessTarget
from pawl_gate.targets.kept import KEEPERS
from pawl_gate.targets.variant import Variant
from pawl_gate.trials import TrialReport, campaign
from pawl_gate.trials.crash_points import STRUCK, crashes, run, short_traces
from pawl_spec.history import Outcome
from pawl_spec.trace import Kind, Trace, op
from tests.trials.servers import marked, need

SHARED_MEMORY = "/dev/shm"
TALK = (
    op(Kind.ESTABLISH, actor=0, peer=1, one_time=1),
    op(Kind.SEND, actor=0, peer=1),
    op(Kind.DELIVER),
    op(Kind.SEND, actor=1, peer=0),
)


def quiet(store: str, amount: int, seed: int = 0, variant: Variant | None = None) -> TrialReport:
    return run(store, amount, seed, lambda text: None, Path(), variant=variant)


@pytest.mark.parametrize(
    ("store", "amount"),
    [marked(pair[0], *pair) for pair in (("memory", 8), ("sqlite", 2), ("json", 2), ("adapter", 2), ("postgres", 1))],
)
def test_every_store_survives_a_crash_at_every_call(store: str, amount: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """ATM-01, ATM-02, CTR-02: "crash at every single store operation of every trace, reopen, judge"."""
    need(store)
    # Real files, but no disk to wait for: none loses its power here.
    if os.access(SHARED_MEMORY, os.W_OK):
        monkeypatch.setattr(tempfile, "tempdir", SHARED_MEMORY)
    report = quiet(store, amount)
    assert report.broken == []
    assert report.counted["traces"] == amount
    assert report.counted["crashes"] > 40 * amount
    assert {"ATM-01", "ATM-02", "CTR-01", "CTR-02"} <= report.checked.keys()


@pytest.mark.parametrize(
    ("variant", "broken"), [(TwoTransactions, "ATM-01"), (HalfWritten, "ATM-01"), (CommittedLate, "ATM-02")]
)
def test_a_broken_store_is_found(variant: type[Variant], broken: str) -> None:
    """A green campaign means nothing unless a broken store turns it red, by the invariant that names the fault."""
    assert broken in {one.invariant for one in quiet("memory", 3, variant=variant()).broken}


def test_upkeep_is_struck_as_well() -> None:
    """A rotation, a deletion and a forgotten session are steps: half of one is found like half of a message."""
    for last in (op(Kind.ROTATE, actor=0), op(Kind.FORGET, actor=0, peer=1)):
        trace = Trace((*TALK, last))
        whole = [history for where, history in crashes(InProcessTarget(), trace) if where.startswith("step 4")]
        halves = [
            event
            for _, history in crashes(InProcessTarget(HalfWritten()), trace)
            if (event := history.events[4]).outcome is Outcome.CRASHED
            if event.changed and event.after is not None and event.after.digest != event.complete
        ]
        assert {each.events[4].changed for each in whole} == {False, True}
        assert halves


def test_every_place_is_struck_once() -> None:
    """Every call from the first to the last, each commit, and after it: the number of calls is what the step makes."""
    wheres = [where for where, _ in crashes(InProcessTarget(), Trace(TALK)) if where.startswith("step 3")]
    kinds = [where.rpartition("crashed ")[2] for where in wheres]
    calls = [kind for kind in kinds if kind.startswith("before call")]
    assert calls == [f"before call {k}" for k in range(len(calls))]
    assert len(calls) >= 3
    assert kinds[len(calls) :] == ["before commit 0", "after commit 0"]


def test_it_is_known_by_its_name() -> None:
    """`pawl store trial crash-points`."""
    found = campaign("crash-points")
    assert set(found.STORES) == set(KEEPERS)
    assert found.AMOUNTS["pr"] < found.AMOUNTS["nightly"]


def test_the_traces_are_of_many_kinds() -> None:
    """The first few already have every kind of step that can be struck."""
    kinds = {each.kind for _, (_, trace) in zip(range(5), short_traces(0), strict=False) for each in trace.ops}
    assert kinds >= STRUCK
    assert Kind.CRASH not in kinds
