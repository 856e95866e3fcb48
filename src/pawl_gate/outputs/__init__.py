"""Reports for the services that run a gate: JUnit XML, SARIF 2.1.0 and Markdown. JSON is `pawl_gate.report_text`'s.

All say the same of each invariant, which `results` works out once: one is red exactly where the exit code is not 0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pawl_gate.chart import chart
from pawl_gate.expect import Expected
from pawl_gate.explain import Place
from pawl_gate.report_text import CHART_ROWS, replay_command, trial_command
from pawl_gate.verify import Exit, Found, Report, unsupported
from pawl_gate.visible import visible
from pawl_spec.invariants import INVARIANTS
from pawl_spec.judge import Verdict
from pawl_spec.registry import Invariant


class State(Enum):
    """What a report for a machine says of one invariant."""

    PASSED = "passed"
    FAILED = "failed"
    """It does not hold, and nobody expected that; or it was expected to be violated, and was not."""
    KNOWN = "known"
    """It does not hold, as was expected."""
    SKIPPED = "skipped"
    """Nothing is said, for a reason that was declared before."""
    ERROR = "error"
    """It could have been judged, and was not."""


@dataclass(frozen=True, slots=True)
class Result:
    """What is said of one invariant."""

    entry: Invariant
    state: State
    verdict: Verdict
    message: str = ""
    """One or two lines: what was seen, or why nothing is said."""
    detail: str = ""
    """Of a violation: the sequence chart, and how to see it again."""
    found: Found | None = None
    """The counterexample, where it is a trace."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run of `pawl verify`, and what a report needs to know beside it."""

    report: Report
    saved: Mapping[str, Path]
    """Where the findings were saved."""
    expected: Expected | None
    code: Exit
    made: datetime
    places: Mapping[str, tuple[Place, ...]] = field(default_factory=dict)
    """By id: the code that makes an invariant true, as it says itself."""
    driver: str | None = None
    """The driver's file, from the repository's folder, where the target is a program."""


def results(run: Run) -> Iterator[Result]:
    """One result for each invariant of the catalogue, in its order."""
    report, expected = run.report, run.expected
    lacks = dict(_unsupported(report))
    left_out = report.selection.left_out if report.selection else {}
    on_trial = {
        one.invariant: (one.what, trial_command(trial, report)) for trial in report.on_trial for one in trial.broken
    }
    for entry in INVARIANTS:
        verdict = report.tally.verdict(entry)
        known = expected.findings.get(entry.id) if expected else None
        found = report.found.get(entry.id)
        if found is not None or entry.id in on_trial:
            what = found.broken.violation.what if found else on_trial[entry.id][0]
            state, message = State.FAILED, visible(what)
            if known is not None:
                state, message = State.KNOWN, f"expected: {known}\n{visible(what)}"
            yield Result(entry, state, Verdict.VIOLATED, message, _detail(run, entry, on_trial), found)
        elif known is not None:
            message = f"it was expected not to hold, and was not found: take it off the list ({known})"
            yield Result(entry, State.FAILED, verdict, message)
        elif verdict is Verdict.NOT_REACHED:
            yield Result(entry, State.ERROR, verdict, "no trace came to a place where it could be checked")
        elif verdict is Verdict.HOLDS:
            yield Result(entry, State.PASSED, verdict)
        else:
            why = lacks.get(entry.id) or left_out.get(entry.id) or f"not yet judged: {entry.pending}"
            yield Result(entry, State.SKIPPED, verdict, why)


def _unsupported(report: Report) -> Iterator[tuple[str, str]]:
    for entry, why in unsupported(report.hello):
        yield entry.id, f"unsupported (declared): {why}"


def _detail(run: Run, entry: Invariant, on_trial: Mapping[str, tuple[str, str]]) -> str:
    found = run.report.found.get(entry.id)
    if found is None:
        return f"reproduce: {on_trial[entry.id][1]}\n"
    path = run.saved.get(entry.id)
    how = f"\nreproduce: {replay_command(path, run.report)}\n" if path else ""
    return visible(chart(found.history, broken=found.broken.violation, rows=CHART_ROWS) + how)


def faults(run: Run) -> list[str]:
    """What is wrong with the run as a whole: why it does not say all that it could have said."""
    return run.report.gaps if run.code is Exit.INCOMPLETE or run.report.cut else []


def name_of_target(report: Report) -> str:
    """The target's name, which stays the same from run to run: a driver's command may hold a path."""
    return visible(report.hello.name if report.is_driver else report.target)


def fingerprint(report: Report, id_: str) -> str:
    """What makes a finding the same one in the next run: the target and the invariant, in 64 hex digits.

    Not the trace, which another seed may find shorter, and not the line of any code.
    """
    return hashlib.sha256(f"pawl-finding 1\n{name_of_target(report)}\n{id_}\n".encode()).hexdigest()


def pawl_version() -> str:
    """Of the installed package; "0" where it is none."""
    try:
        return version("pawl-signal")
    except PackageNotFoundError:
        return "0"
