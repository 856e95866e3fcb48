"""Disks that are full or read-only and stores that another process holds, in short."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pawl_gate.trials import disk
from pawl_gate.trials.controls import DISK

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="file systems of their own are Linux's")


def quiet(line: str) -> None:
    """No progress."""


@pytest.mark.parametrize("namespaces", [True, False], ids=["own-file-systems", "as-without-namespaces"])
@pytest.mark.parametrize("store", disk.STORES)
def test_trouble(store: str, namespaces: bool, tmp_path: Path) -> None:
    """ATM-05: refused by name, nothing changed; and "when the trouble is over" everything goes on (CTR-08)."""
    report = disk.run(store, 30, 5, quiet, tmp_path, namespaces=namespaces)
    assert report.broken == []
    # What this system allows; CI's allows all.
    due = [each for each in disk.TROUBLES if each != "no-space" or report.counted["file systems of their own"]]
    assert all(report.counted[f"steps with {each}"] for each in due)
    assert {"ATM-05", "CTR-01", "CTR-03", "CTR-05", "CTR-08"} <= report.checked.keys()


@pytest.mark.parametrize("name", DISK)
def test_a_broken_store_is_caught(name: str, tmp_path: Path) -> None:
    """Control: each fault is seen, by an invariant that names it."""
    control = DISK[name]
    found: set[str] = set()
    for seed in range(1, 7):
        (tmp_path / str(seed)).mkdir()
        report = disk.run(control.kind, 40, seed, quiet, tmp_path / str(seed), control=name)
        found |= {each.invariant for each in report.broken}
        if found & set(control.breaks):
            break
    assert found & set(control.breaks)
