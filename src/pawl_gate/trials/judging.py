"""A campaign's report from what the specification says of its record."""

from __future__ import annotations

from collections import Counter
from typing import Final

from pawl_gate.trials import Broken, TrialReport
from pawl_gate.trials.traffic import Traffic
from pawl_spec.shared_store import judge

MOST_SHOWN: Final = 5
"""Findings of one invariant in a report: who has read these knows enough."""


def judged(traffic: Traffic, report: TrialReport) -> TrialReport:
    """Add to the report what is counted, checked and broken."""
    for what, count in traffic.counted.items():
        report.counted[what] = report.counted.get(what, 0) + count
    broken: Counter[str] = Counter()
    for id_, trouble in judge(traffic.record):
        report.checked[id_] = report.checked.get(id_, 0) + 1
        if trouble is not None:
            broken[id_] += 1
            if broken[id_] <= MOST_SHOWN:
                report.broken.append(Broken(id_, trouble))
    for id_, count in broken.items():
        if count > MOST_SHOWN:
            report.broken.append(Broken(id_, f"and {count - MOST_SHOWN} more like it"))
    return report
