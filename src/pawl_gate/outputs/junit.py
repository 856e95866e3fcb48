"""JUnit XML, in the dialect of Jenkins, GitLab and others: a test case for each invariant, and one for the run."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from xml.etree import ElementTree

from pawl_gate import outputs
from pawl_gate.outputs import Result, Run, State
from pawl_gate.report_text import FAMILIES, family, who
from pawl_gate.visible import visible

SUITE = "pawl verify"


def text(run: Run) -> str:
    """The document of a run, ended by a newline."""
    report = run.report
    root, suite = _suite(f"{SUITE} {outputs.name_of_target(report)}", run.made, report.seconds)
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in (
        ("target", who(report.hello)),
        ("budget", report.budget.name),
        ("seed", str(report.seed)),
        ("traces", str(report.traces)),
        ("level", f"L{report.hello.level.value}"),
        *((("changed-since", report.selection.since),) if report.selection else ()),
    ):
        ElementTree.SubElement(properties, "property", name=name, value=visible(value))
    counts: Counter[str] = Counter()
    for result in outputs.results(run):
        counts[_case(suite, result, outputs.name_of_target(report))] += 1
    # What is no invariant's: a search that was cut, a campaign that could not be run, engines that reached too little.
    whole = ElementTree.SubElement(suite, "testcase", classname=SUITE, name="the run is whole")
    gaps = outputs.faults(run)
    if gaps:
        _say(whole, "error", "incomplete", gaps[0], "\n".join(gaps))
    counts["error" if gaps else "passed"] += 1
    return _written(root, suite, counts)


def broken(name: str, what: str, made: datetime) -> str:
    """The document of a run that came to nothing: the harness or the target broke."""
    root, suite = _suite(f"{SUITE} {visible(name)}", made, 0.0)
    case = ElementTree.SubElement(suite, "testcase", classname=SUITE, name="the run is whole")
    _say(case, "error", "broken", what, what)
    return _written(root, suite, Counter({"error": 1}))


def _suite(name: str, made: datetime, seconds: float) -> tuple[ElementTree.Element, ElementTree.Element]:
    root = ElementTree.Element("testsuites", name=SUITE, time=f"{seconds:.3f}")
    stamp = made.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    suite = ElementTree.SubElement(root, "testsuite", name=name, time=f"{seconds:.3f}", timestamp=stamp)
    return root, suite


def _case(suite: ElementTree.Element, result: Result, target: str) -> str:
    """Add a test case; say what it is counted as."""
    entry = result.entry
    kind = family(entry.id)
    where = f"{target}.{kind} {FAMILIES.get(kind, kind)}".replace("/", "_")
    case = ElementTree.SubElement(suite, "testcase", classname=visible(where), name=f"{entry.id} {entry.claim}")
    match result.state:
        case State.FAILED:
            _say(case, "failure", result.verdict.value, result.message, f"{result.message}\n\n{result.detail}")
            return "failure"
        case State.ERROR:
            _say(case, "error", result.verdict.value, result.message, result.message)
            return "error"
        case State.KNOWN | State.SKIPPED:
            _say(case, "skipped", result.verdict.value, result.message, "")
            if result.detail:
                ElementTree.SubElement(case, "system-out").text = visible(result.detail)
            return "skipped"
        case State.PASSED:
            return "passed"


def _say(case: ElementTree.Element, tag: str, kind: str, message: str, detail: str) -> None:
    # Control characters, which a target's own words may hold, are not XML.
    said = ElementTree.SubElement(case, tag, type=kind, message=visible(" ".join(message.split())))
    said.text = visible(detail) or None


def _written(root: ElementTree.Element, suite: ElementTree.Element, counts: Counter[str]) -> str:
    for one in (root, suite):
        one.set("tests", str(counts.total()))
        one.set("failures", str(counts["failure"]))
        one.set("errors", str(counts["error"]))
    suite.set("skipped", str(counts["skipped"]))
    ElementTree.indent(root, " ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"
