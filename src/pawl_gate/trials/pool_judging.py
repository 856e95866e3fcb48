"""A campaign's report from what the specification says of the lives of its pools, and of the store behind them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from pawl_gate.trials import Broken, TrialReport
from pawl_gate.trials.crowd import Crowd
from pawl_gate.trials.judging import MOST_SHOWN
from pawl_spec.history import Hello, History, Observe
from pawl_spec.invariants import INVARIANTS
from pawl_spec.pool.history import PoolHistory
from pawl_spec.registry import Story
from pawl_spec.shared_store import Judged, judge
from pawl_spec.trace import Trace

HELLO = Hello("pawl", "", Observe.WIRE, frozenset({"workers"}))


def life_judged(life: PoolHistory) -> Iterator[Judged]:
    """Everything that is said of one life of a pool."""
    story = Story(History(HELLO, Trace(()), pool=life))
    for entry in INVARIANTS:
        if entry.predicate is not None and "workers" in entry.needs:
            for finding in entry.predicate(story):
                yield entry.id, None if finding is None else finding.what


class Tally:
    """Findings, counted, of which the first ones are shown."""

    def __init__(self, report: TrialReport) -> None:
        self._report = report
        self._broken: Counter[str] = Counter()

    def add(self, found: Iterable[Judged], where: str = "") -> None:
        """Count what was found."""
        for id_, trouble in found:
            self._report.checked[id_] = self._report.checked.get(id_, 0) + 1
            if trouble is not None:
                self._broken[id_] += 1
                if self._broken[id_] <= MOST_SHOWN:
                    self._report.broken.append(Broken(id_, where + trouble))

    def close(self) -> None:
        """Say how many were not shown."""
        for id_, count in self._broken.items():
            if count > MOST_SHOWN:
                self._report.broken.append(Broken(id_, f"and {count - MOST_SHOWN} more like it"))


def judged_pools(crowd: Crowd, lives: Iterable[PoolHistory], report: TrialReport) -> TrialReport:
    """Add to the report what is counted, checked and broken."""
    tally = Tally(report)
    for number, life in enumerate(lives, 1):
        tally.add(life_judged(life), f"life {number}, at ")
    tally.add(judge(crowd.record, pooled=True))
    tally.close()
    for what, count in crowd.counted.items():
        report.counted[what] = report.counted.get(what, 0) + count
    return report
