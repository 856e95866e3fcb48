"""Pages for tests: small runs of real targets, and one of a target whose every word is hostile."""

from __future__ import annotations

import io
import json
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from pawl_gate import page, report_text, table, verify
from pawl_gate.baselines import Baseline
from pawl_gate.chart import Step
from pawl_gate.expect import Expected, Unseen
from pawl_gate.interop.cells import Verdict
from pawl_gate.interop.expected import Known
from pawl_gate.interop.matrix import Implementation, Matrix, Plan, probe
from pawl_gate.interop.matrix import run as run_matrix
from pawl_gate.interop.situations import situations
from pawl_gate.page import interop as interop_page
from pawl_gate.page import table as table_of
from pawl_gate.page import tracing
from pawl_gate.scenarios import scenarios
from pawl_gate.table import Table
from pawl_gate.targets.base import Target
from pawl_gate.targets.registry import find_target
from pawl_gate.traceability.evidence import code_digest
from pawl_gate.traceability.orphans import Orphan
from pawl_gate.verify import Budget, Exit, Report, Verification
from pawl_spec.history import Outcome
from pawl_spec.registry import Violation
from tests.gate.chains import evidence, quick

MADE: Final = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
FEW: Final = Budget("smoke", walks=2, examples=1, driven_share=1.0, shrink_steps=300, seconds=600, shrink_seconds=60)

HOSTILE: Final = (
    "<script>document.title='owned'</script>",
    "<img src=https://elsewhere.invalid/x onerror=alert(1)>",
    "\"'><svg onload=alert(1)>&amp;{{ 7 * 7 }}",
    "\u202eturned round\u202c\x1b[2J\x00\ud800",
    "W" * 500,
)
"""Texts that want to be markup, to be filled in, to turn a line round, to move a cursor, or to break a layout."""


@cache
def run_of(target: str) -> Report:
    """A small run: two scenarios and a few walks."""
    with closing(find_target(target)) as made:
        return _run(made, target)


def _run(target: Target, name: str) -> Report:
    few = [one for one in scenarios() if one.name in ("forged-bundle-first", "conversation", "copies")]
    before, before_corpus = verify.scenarios, verify.corpus.load
    verify.scenarios = lambda: few  # type: ignore[assignment]
    verify.corpus.load = lambda folder: []  # type: ignore[assignment]
    try:
        return Verification(target, name=name, budget=FEW, seed=0, progress=io.StringIO()).run()
    finally:
        verify.scenarios, verify.corpus.load = before, before_corpus


def saved(report: Report) -> dict[str, Path]:
    """Where the findings would have been saved."""
    return {id_: Path("build", "findings", f"{id_}.json") for id_ in report.found}


def page_of(report: Report, expected: Expected | None = None, code: Exit | None = None) -> str:
    """The page of a run."""
    code = report.exit if code is None else code
    expect = Path("expected list.json") if expected else None
    return page.render(report, saved(report), expected, code, made=MADE, expect=expect)


def green() -> str:
    """Nothing is violated, and nothing is missing: the run is taken for a whole one."""
    return page_of(run_of("pawl"), code=Exit.HOLDS)


def incomplete() -> str:
    """Nothing is violated, and not everything was reached."""
    return page_of(run_of("pawl"))


def red() -> str:
    """A control that breaks several invariants, so that there are several charts."""
    return page_of(run_of("control:duplicate-accepted"))


def expected() -> str:
    """The same, with one finding that was expected, one that is new and one that vanished."""
    report = run_of("control:duplicate-accepted")
    known = Expected("control:duplicate-accepted", {"CTR-03": "it is a control", "GRP-01": "it was there once"})
    return page_of(report, known, Exit.VIOLATED)


def hostile_run() -> Report:
    """A run whose target is hostile in everything that it says."""
    report = run_of("control:signature-unchecked")
    hello = replace(
        report.hello, name=HOSTILE[0], version=HOSTILE[3], capabilities=report.hello.capabilities | set(HOSTILE)
    )
    (found,) = [one for id_, one in report.found.items() if id_ == "IDC-03"]
    events = list(found.history.events)
    at = events.index(found.broken.violation.event)
    events[at] = replace(events[at], outcome=Outcome.REFUSED, code="unknown", text=HOSTILE[2])
    more = [replace(events[at], step=99 + number, text=text) for number, text in enumerate(HOSTILE)]
    died = replace(events[at], step=98, outcome=Outcome.DIED, text=HOSTILE[1])
    history = replace(found.history, events=[died, *more, *events], closing=None)
    broken = replace(found.broken, violation=Violation(events[at], " ".join(HOSTILE)))
    found = replace(found, history=history, broken=broken, engine=HOSTILE[1])
    engines = [replace(report.engines[0], note=HOSTILE[1]), *report.engines[1:]]
    return replace(report, hello=hello, target=HOSTILE[0], is_driver=True, found={"IDC-03": found}, engines=engines)


def hostile() -> str:
    """The page of that run, with hostile reasons too."""
    return page_of(hostile_run(), Expected(HOSTILE[0], {"IDC-03": HOSTILE[0], "CTR-01": HOSTILE[4]}), Exit.VIOLATED)


def trace() -> str:
    """The page of `pawl trace`: every link is there, and a run has left its evidence."""
    return tracing.render(quick(), [], [], evidence(quick()))


def trace_missing() -> str:
    """The same with orphans and differences, and no run."""
    found = [Orphan("src/pawl/device.py:7", f"CTR-01: {text}") for text in HOSTILE]
    return tracing.render(replace(quick(), lines=quick().lines[1:6]), found, list(HOSTILE), None)


def document(report: Report, expected: Expected | None = None, code: Exit | None = None) -> dict[str, Any]:
    """What `pawl verify` leaves of a run."""
    said = report_text.verify_document(report, saved(report), expected, report.exit if code is None else code)
    made: dict[str, Any] = json.loads(json.dumps({**said, "made": MADE.isoformat(), "code": code_digest()}))
    return made


@cache
def known(folder: Path = Path("drivers", "acme")) -> dict[str, Baseline]:
    """Lists of findings: of the control, and of a target of which there is no result."""
    alone = Unseen("IDC-10", "It waits for itself. Traces do not have that.", "application", ("findings/wait.js",))
    more = Unseen("CTR-03", "Another way to show it.", "network", ("findings/again.js",))
    listed = Expected(
        "control:duplicate-accepted",
        {"CTR-03": "it is a control", "GRP-01": "it was there once"},
        classes={"CTR-03": "peer"},
        scripts={"CTR-03": ("findings/control.c#one", "findings/two.js")},
        unseen=(more, alone),
    )
    return {one.target: Baseline(folder / "expected.json", one) for one in (listed, Expected("libsignal-c", {}))}


def two() -> Table:
    """The table of two targets, one of which breaks several invariants: known, new, vanished, by a script alone."""
    return table.make([document(run_of("pawl")), document(run_of("control:duplicate-accepted"))], known())


def table_page() -> str:
    """The page of that table."""
    return table_of.render(two(), Exit.VIOLATED)


def table_hostile() -> str:
    """The page of the table of a target that is hostile in everything that it says."""
    listed = Expected(HOSTILE[0], {"IDC-03": HOSTILE[0], "CTR-01": HOSTILE[4]})
    said = document(hostile_run(), listed, Exit.VIOLATED)
    said |= {"made": HOSTILE[1], "gaps": list(HOSTILE), "code": HOSTILE[2], "unsupported": {"WRK-01": HOSTILE[1]}}
    return table_of.render(table.make([said], {}), Exit.VIOLATED)


CONTROLS: Final = ("control:counter-from-one", "control:encoding-not-canonical")


@cache
def small_matrix() -> Matrix:
    """Pawl, Pawl with earlier groups, one whom nobody understands and one who is understood, with findings, in a few
    scenarios; somebody is not installed."""
    names = ("establish-with-prekey", "loss", "group", "fingerprints")
    chosen = tuple(each for each in situations() if each.name in names)
    there = [probe(name) for name in ("pawl", "pawl-earlier", *CONTROLS)]
    return run_matrix(Plan((*there, Implementation("another", None, "run make setup")), chosen))


def interop() -> str:
    """The matrix, with failures and findings that were expected, new ones, and some that are better than listed."""
    matrix = small_matrix()
    listed = [cell for cell in matrix.of(Verdict.FAIL, Verdict.UNDERSTOOD) if cell.scenario == "loss"]
    known = {cell.key: Known(cell.verdict, cell.broken, "it is a control") for cell in listed}
    known["pawl", "pawl", "group"] = Known(Verdict.FAIL, ("GRP-01",), "it was there once")
    known[CONTROLS[1], "pawl", "loss"] = Known(Verdict.FAIL, ("PAR-02",), "it was not read once")
    return interop_page.render(matrix, known, made=MADE, expect=Path("known failures.json"))


@cache
def green_matrix() -> Matrix:
    """The matrix of one who understands itself. Run once, as how long that takes is on the page."""
    return run_matrix(replace(small_matrix().plan, implementations=small_matrix().plan.implementations[:1]))


def interop_green() -> str:
    """The page of that matrix."""
    return interop_page.render(green_matrix(), None, made=MADE)


def interop_hostile() -> str:
    """The matrix of one who is hostile in everything that it says."""
    matrix = small_matrix()
    bad = replace(matrix.plan.implementations[0], name=HOSTILE[0])
    hello = replace(matrix.plan.present["pawl"], name=HOSTILE[1], version=HOSTILE[3])
    cell = next(cell for cell in matrix.of(Verdict.FAIL) if cell.scenario == "loss")
    assert cell.transcript is not None
    rows = tuple(
        replace(row, text=" ".join(HOSTILE), broken=row.broken and HOSTILE[2]) if isinstance(row, Step) else row
        for row in cell.transcript.rows
    )
    drawn = replace(cell.transcript, rows=rows)
    failed = replace(cell, first=HOSTILE[0], second=HOSTILE[0], why=" ".join(HOSTILE), transcript=drawn)
    broken = replace(failed, scenario="group", verdict=Verdict.BROKEN, why=HOSTILE[4], transcript=None)
    there = (replace(bad, hello=hello), Implementation(HOSTILE[2], None, HOSTILE[1]))
    plan = replace(matrix.plan, implementations=there)
    known = {failed.key: Known(failed.verdict, failed.broken, HOSTILE[0])}
    return interop_page.render(Matrix(plan, [failed, broken]), known, made=MADE, expect=Path("x"))


PAGES: Final = {
    "green": green,
    "incomplete": incomplete,
    "red": red,
    "expected": expected,
    "hostile": hostile,
    "trace": trace,
    "trace-missing": trace_missing,
    "table": table_page,
    "table-hostile": table_hostile,
    "interop": interop,
    "interop-green": interop_green,
    "interop-hostile": interop_hostile,
}
"""Every kind of page."""
