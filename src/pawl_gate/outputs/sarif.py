"""SARIF 2.1.0: a rule for each invariant, a result for each violation, the trace as its code flow.

The location of a result is the code that makes the invariant true, as it says itself, else the driver. The fingerprint
of a result is made of the target and the invariant, so that a service knows it again when lines have moved or another
seed has found a shorter trace; GitHub's own name for it is there too, with the same value.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from pawl_gate import outputs
from pawl_gate.chart import sentence
from pawl_gate.explain import Place
from pawl_gate.outputs import Result, Run, State
from pawl_gate.report_text import FAMILIES, family, who
from pawl_gate.verify import Exit, Found
from pawl_gate.visible import visible
from pawl_spec.invariants import INVARIANTS
from pawl_spec.registry import THREATS, Invariant

SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
VERSION: Final = "2.1.0"
BASE: Final = "SRCROOT"
"""The name of the folder that locations start from: the repository's."""

MAX_STEPS: Final = 200
"""Steps of a code flow: of a longer trace the last ones, up to the violation. The saved trace has all."""

Document = dict[str, Any]


def text(run: Run) -> str:
    """The document of a run, ended by a newline."""
    report = run.report
    found = [result for result in outputs.results(run) if result.state in (State.FAILED, State.KNOWN)]
    gone = [result for result in found if not result.detail]
    notes = [*outputs.faults(run), *(f"{result.entry.id}: {result.message}" for result in gone)]
    said: Document = {
        "tool": _tool(),
        "automationDetails": {"id": f"pawl/{quote(outputs.name_of_target(report))}/"},
        "invocations": [_invocation(run.made, int(run.code), run.code.name.lower(), notes)],
        "originalUriBaseIds": {BASE: {"description": {"text": "The folder of the repository that is judged."}}},
        "columnKind": "unicodeCodePoints",
        "results": [_result(run, result) for result in found if result.detail],
        "properties": {
            "target": who(report.hello),
            "budget": report.budget.name,
            "seed": report.seed,
            "traces": report.traces,
            "level": report.hello.level.value,
        },
    }
    if report.selection:
        said["properties"]["changedSince"] = report.selection.commit
    return _written(said)


def broken(name: str, what: str, made: datetime) -> str:
    """The document of a run that came to nothing: the harness or the target broke."""
    return _written(
        {
            "tool": _tool(),
            "automationDetails": {"id": f"pawl/{quote(visible(name))}/"},
            "invocations": [_invocation(made, int(Exit.BROKEN), "broken", [what], whole=False)],
            "results": [],
        }
    )


def _written(run: Document) -> str:
    return json.dumps({"$schema": SCHEMA, "version": VERSION, "runs": [run]}, indent=1) + "\n"


def _tool() -> Document:
    driver = {"name": "Pawl", "version": outputs.pawl_version(), "rules": [_rule(entry) for entry in INVARIANTS]}
    return {"driver": driver}


def _rule(entry: Invariant) -> Document:
    kind = family(entry.id)
    help_ = [f"Threat: {THREATS[entry.threat]}", f"Source: {entry.source}"]
    help_ += [f"Not covered: {entry.not_covered}"] if entry.not_covered else []
    help_ += [f"More: pawl explain {entry.id}"]
    return {
        "id": entry.id,
        "name": entry.id.replace("-", ""),
        "shortDescription": {"text": entry.claim},
        "fullDescription": {"text": f"{entry.claim} {THREATS[entry.threat]}"},
        "help": {"text": "\n".join(help_)},
        "defaultConfiguration": {"level": "error", "enabled": entry.predicate is not None},
        "properties": {
            "tags": ["security", FAMILIES.get(kind, kind), entry.threat],
            "threat": entry.threat,
            "observationLevel": entry.level.value,
        },
    }


def _invocation(made: datetime, code: int, outcome: str, notes: list[str], *, whole: bool = True) -> Document:
    return {
        "executionSuccessful": whole,
        "exitCode": code,
        "exitCodeDescription": outcome,
        "endTimeUtc": made.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "toolExecutionNotifications": [
            {"level": "warning" if whole else "error", "message": {"text": visible(note)}} for note in notes
        ],
    }


# -- results ----------------------------------------------------------------------------------------------------------


def _result(run: Run, result: Result) -> Document:
    entry = result.entry
    mark = outputs.fingerprint(run.report, entry.id)
    places = list(_locations(run, entry.id))
    said: Document = {
        "ruleId": entry.id,
        "ruleIndex": INVARIANTS.index(entry),
        "kind": "fail",
        "level": "error",
        "message": {"text": f"{entry.id} does not hold: {entry.claim} {result.message}"},
        "locations": places[:1],
        "partialFingerprints": {"pawlFinding/v1": mark, "primaryLocationLineHash": f"{mark[:16]}:1"},
        "properties": {"chart": result.detail},
    }
    if places[1:]:
        said["relatedLocations"] = [{"id": number, **place} for number, place in enumerate(places[1:], 1)]
    if run.expected is not None:
        said["baselineState"] = "unchanged" if result.state is State.KNOWN else "new"
    if run.expected is not None and result.state is State.KNOWN:
        reason = visible(run.expected.findings[entry.id])
        said["suppressions"] = [{"kind": "external", "status": "accepted", "justification": reason}]
    if result.found is not None:
        said["codeFlows"] = [_flow(result.found, places[0])]
        said["properties"]["foundBy"] = visible(result.found.engine)
    return said


def _locations(run: Run, id_: str) -> Iterator[Document]:
    """Where to look: at the code that names the invariant, then at the driver; at last there is only the target."""
    places = run.places.get(id_, ())
    for place in places:
        yield _location(place.file, place.line, _named(place))
    if run.driver is not None:
        yield _location(run.driver, 1, f"the driver of {outputs.name_of_target(run.report)}")
    elif not places:
        # An invariant of Pawl whose code does not name it is an orphan: `pawl trace` fails on it.
        yield _location("src/pawl/__init__.py", 1, "the library")


def _named(place: Place) -> str:
    return visible(place.text or place.where or place.file)


def _location(file: str, line: int, says: str) -> Document:
    artifact: Document = {"uri": quote(file)}
    # A file elsewhere has its whole path.
    if not file.startswith("/"):
        artifact["uriBaseId"] = BASE
    else:
        artifact["uri"] = f"file://{quote(file)}"
    return {
        "physicalLocation": {"artifactLocation": artifact, "region": {"startLine": max(line, 1)}},
        "message": {"text": says},
    }


def _flow(found: Found, place: Document) -> Document:
    """The trace, step by step, up to what broke. Every step is at the same code: a trace is no walk through files."""
    violation = found.broken.violation
    events = found.history.events
    at = next((number for number, event in enumerate(events) if event is violation.event), len(events) - 1)
    steps = []
    for number, event in list(enumerate(events[: at + 1], 1))[-MAX_STEPS:]:
        is_last = event is violation.event
        where = {"physicalLocation": place["physicalLocation"], "message": {"text": visible(sentence(event))}}
        steps.append(
            {
                "location": where,
                "executionOrder": number,
                "importance": "essential" if is_last else "important",
            }
        )
    if not steps:
        steps = [{"location": {**place, "message": {"text": visible(violation.what)}}, "importance": "essential"}]
    return {
        "message": {"text": f"the shortest trace that was found: {len(found.trace.ops)} operations"},
        "threadFlows": [{"locations": steps}],
    }
