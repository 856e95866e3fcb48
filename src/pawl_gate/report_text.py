"""Reports in plain text and as JSON documents: what holds, what broke, what was reached, what is not known.

The first line says what holds or what broke, the next what to do about it.
"""

from __future__ import annotations

import itertools
import shlex
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from pawl_gate.chart import chart, layout, sentence
from pawl_gate.expect import CLASSES, Expected
from pawl_gate.trials import TrialReport
from pawl_gate.verify import Exit, Found, Reached, Report, Selection, unsupported
from pawl_gate.visible import visible
from pawl_spec.history import Hello, History
from pawl_spec.invariants import INVARIANTS, secrecy
from pawl_spec.judge import Broken, Verdict
from pawl_spec.registry import THREATS, Invariant, Story

WIDTH: Final = 100
"""Columns of running text; charts may be wider."""

CHART_ROWS: Final = 40
"""Rows of one chart in a report. `pawl replay` draws them all."""

FAMILIES: Final = {
    "ATM": "atomicity",
    "AUT": "authenticity",
    "BND": "bounds",
    "CNF": "conformance",
    "CTR": "counters and replay",
    "GRP": "groups",
    "IDC": "identity continuity",
    "KEY": "key deletion",
    "PAR": "parsing",
    "SEC": "forward secrecy",
    "WRK": "workers",
}

WORDS: Final = {
    Verdict.VIOLATED: "VIOLATED",
    Verdict.HOLDS: "hold",
    Verdict.NOT_REACHED: "not reached",
    Verdict.UNSUPPORTED: "unsupported (declared)",
    Verdict.PENDING: "not yet judged",
    Verdict.LEFT_OUT: "left out",
}


QUIETER: Final = "run again on a quieter machine, or with more --seconds"
HANGS: Final = "make the target answer first: PAR-01 shows the shortest trace in which it does not"


def family(id_: str) -> str:
    """The family of an invariant: the letters of its id."""
    return id_.split("-")[0]


def replay_command(path: Path, report: Report) -> str:
    """The command that reproduces a saved finding."""
    option = "--driver" if report.is_driver else "--target"
    return f"pawl replay {shlex.quote(str(path))} {option} {shlex.quote(report.target)}"


# -- pawl verify ------------------------------------------------------------------------------------------------------


def verify_text(
    report: Report, saved: Mapping[str, Path], expected: Expected | None, code: Exit, page: Path | None = None
) -> str:
    """The whole report of `pawl verify`, ended by a newline. `page` is where the same was written for a browser."""
    parts = [_head(report, saved, expected, code), _table(report)]
    for id_, found in report.by_size():
        parts.append(_finding(found, saved.get(id_), report, expected))
    parts += [
        _on_trial(report),
        _explored(report),
        _reached(report),
        _unknown(report),
        f"report: {page}\n" if page else "",
    ]
    return "\n".join(part for part in parts if part)


def _head(report: Report, saved: Mapping[str, Path], expected: Expected | None, code: Exit) -> str:
    lines = [verdict_line(report, expected, code), *differences(report, expected)]
    if saved and code is Exit.VIOLATED:
        lines.append(_advice(report, saved, expected))
    lines += [f"incomplete: {gap}" for gap in report.gaps]
    if report.cut:
        lines.append(HANGS if report.hung else QUIETER)
    if report.selection:
        lines += selected(report.selection)
    rate = report.steps / report.seconds if report.seconds else 0.0
    lines.append(
        f"judged {report.traces:,} traces with {report.steps:,} steps in {report.seconds:.1f} s "
        f"({rate:,.0f} steps/s), observed at level L{report.hello.level.value}, "
        f"budget {report.budget.name}, seed {report.seed}"
    )
    return "\n".join(lines) + "\n"


def selected(selection: Selection) -> list[str]:
    """What a run was narrowed to, and what it leaves out."""
    changed = f"{len(selection.files)} {'file' if len(selection.files) == 1 else 'files'} changed"
    lines = [
        f"{changed} since {selection.since} ({selection.commit[:12]}): {selection.why}",
        f"  judged: {', '.join(sorted(selection.judged)) or 'none'}",
    ]
    for why, ids in itertools.groupby(
        sorted(selection.left_out, key=lambda id_: (selection.left_out[id_], id_)),
        key=lambda id_: selection.left_out[id_],
    ):
        lines.append(f"  left out, {why}: {', '.join(ids)}")
    return [textwrap.fill(visible(line), WIDTH, subsequent_indent="    ") for line in lines]


def who(hello: Hello) -> str:
    """Name and version, as the target says them."""
    return visible(f"{hello.name} {hello.version}")


def verdict_line(report: Report, expected: Expected | None, code: Exit) -> str:
    """What holds or what broke, in one line."""
    held = report.with_verdict(Verdict.HOLDS)
    if expected is not None and expected.compare(report.violated).same:
        return f"{who(report.hello)} is as expected: exactly the {len(expected.findings)} expected findings"
    if expected is not None:
        return f"{who(report.hello)} is not as expected"
    if report.violated:
        return f"{who(report.hello)} does not hold: {', '.join(report.violated)}"
    if code is Exit.HOLDS:
        which = "that the changes touch and that can" if report.selection else "that can"
        return f"{who(report.hello)} holds: all {len(held)} invariants {which} be judged on it"
    return f"{who(report.hello)}: nothing is violated, but the run is incomplete; {len(held)} invariants hold"


def differences(report: Report, expected: Expected | None) -> list[str]:
    """How the findings differ from the expected ones, and what to do about each."""
    if expected is None:
        return []
    comparison = expected.compare(report.violated)
    return [
        *(
            f"  new: {id_} does not hold; mend it, or add it with its reason to the expected findings"
            for id_ in comparison.new
        ),
        *(
            f"  vanished: {id_} was expected ({expected.findings[id_]}) and was not found; take it off the list"
            for id_ in comparison.vanished
        ),
    ]


def to_reproduce(report: Report, saved: Mapping[str, Path], expected: Expected | None) -> list[str]:
    """The findings that were saved and not expected, the one to begin with first."""
    return [id_ for id_, _ in report.by_size() if id_ in saved and not (expected and id_ in expected.findings)]


def _advice(report: Report, saved: Mapping[str, Path], expected: Expected | None) -> str:
    """What to do about it: one fault can break several invariants, and the shortest trace says most."""
    new = to_reproduce(report, saved, expected)
    if not new:
        return "the findings that were expected and found are below"
    several = "of several findings begin with the one of the shortest trace; " if len(new) > 1 else ""
    return f"{several}reproduce {new[0]} with: {replay_command(saved[new[0]], report)}"


def _table(report: Report) -> str:
    verdicts = report.tally.verdicts()
    lines = []
    for name, words in FAMILIES.items():
        counts = Counter(verdict for id_, verdict in verdicts.items() if family(id_) == name)
        if counts:
            said = ", ".join(f"{counts[verdict]} {word}" for verdict, word in WORDS.items() if counts[verdict])
            lines.append(f"  {name}  {words:<21}  {said}")
    return "\n".join(lines) + "\n"


def _finding(found: Found, path: Path | None, report: Report, expected: Expected | None) -> str:
    id_, lines = found.broken.invariant.id, [_claim(found.broken.invariant)]
    if expected is not None and id_ in expected.findings:
        lines.append(f"  expected: {expected.findings[id_]}")
        if id_ in expected.classes:
            lines.append(f"  an attacker needs: {CLASSES[expected.classes[id_]]}")
        if id_ in expected.scripts:
            lines.append(f"  shown without the gate by: {', '.join(expected.scripts[id_])}")
    lines += [
        f"  threat: {THREATS[found.broken.invariant.threat]}",
        f"  source: {found.broken.invariant.source}",
        f"  found by: {found.engine}",
    ]
    lines.append(f"  saved: {path}" if path else "  not saved: see above")
    if path:
        lines.append(f"  reproduce: {replay_command(path, report)}")
    drawn = chart(found.history, broken=found.broken.violation, rows=CHART_ROWS)
    return "\n".join(lines) + "\n\n" + textwrap.indent(drawn, "  ")


def _claim(entry: Invariant) -> str:
    return textwrap.fill(f"{entry.id} does not hold: {entry.claim}", WIDTH, subsequent_indent="  ")


def _on_trial(report: Report) -> str:
    """What the fault campaigns found, and how to see it again."""
    lines = []
    for trial in report.on_trial:
        for broken in trial.broken:
            lines += [
                textwrap.fill(str(broken), WIDTH, subsequent_indent="  "),
                f"  found by: {trial.name} on {trial.store}",
                f"  reproduce: {trial_command(trial, report)}",
            ]
    return "\n".join(lines) + "\n" if lines else ""


def trial_command(trial: TrialReport, report: Report) -> str:
    """The command that runs a campaign again as it was run."""
    # Of the smoke budget only what is as short as in the next one.
    budget = "pr" if report.budget.name == "smoke" else report.budget.name
    return f"pawl store trial {trial.name} --store {trial.store} --budget {budget} --seed {trial.seed}"


def _explored(report: Report) -> str:
    """The scopes that were explored to their end."""
    if not report.scopes:
        return ""
    lines = ["explored to the end, with the committed counts"]
    for scope in report.scopes:
        done = scope.replayed
        lines += [
            textwrap.fill(scope.bounds, WIDTH, initial_indent=f"  {scope.name:<15}", subsequent_indent=" " * 17),
            f"{'':17}{scope.counts['states']:,} states, {scope.counts['transitions']:,} transitions, "
            f"depth {scope.counts['depth']}",
            f"{'':17}{done.states:,} states reached on the target, {done.judged:,} histories judged"
            + (f", parted on {done.disagreements:,} steps" if done.disagreements else ""),
        ]
    return "\n".join(lines) + "\n"


def _reached(report: Report) -> str:
    reached = report.reached
    lines = [
        "reached",
        _listed("operations", reached.operations),
        _listed("refusals", reached.refusals),
        _listed("shapes", reached.shapes),
        f"  ratchet steps  {reached.ratchet_steps:,}",
        f"  crashes        {reached.crashes:,}",
    ]
    if reached.deaths:
        lines.append(f"  died or hung   {reached.deaths:,}")
    lines += [
        f"  {engine.name:<13}  {engine.traces:,} traces, {engine.steps:,} steps" + (engine.note and f"; {engine.note}")
        for engine in report.engines
    ]
    return "\n".join(lines) + "\n"


def _listed(what: str, counts: Counter[str]) -> str:
    said = ", ".join(f"{name} {count:,}" for name, count in counts.most_common()) or "none"
    return textwrap.fill(
        said, WIDTH, initial_indent=f"  {what:<15}", subsequent_indent=" " * 17, break_on_hyphens=False
    )


def _unknown(report: Report) -> str:
    lines = [f"  {e.id}  not reached: {e.claim}" for e in report.with_verdict(Verdict.NOT_REACHED)]
    lines += [f"  {e.id}  unsupported: {why}" for e, why in unsupported(report.hello)]
    lines += [f"  {e.id}  not yet judged: {e.claim} ({e.pending})" for e in report.with_verdict(Verdict.PENDING)]
    return "\n".join(["nothing is said of", *lines]) + "\n" if lines else ""


# -- documents --------------------------------------------------------------------------------------------------------


def verify_document(
    report: Report, saved: Mapping[str, Path], expected: Expected | None, code: Exit, page: Path | None = None
) -> dict[str, Any]:
    """The report of `pawl verify --json`."""
    hello = report.hello
    document: dict[str, Any] = {
        "format": "pawl-report",
        "version": 1,
        "target": _target(report),
        "exit": int(code),
        "outcome": code.name.lower(),
        "gaps": report.gaps,
        "budget": report.budget.name,
        "seed": report.seed,
        "traces": report.traces,
        "steps": report.steps,
        "seconds": round(report.seconds, 3),
        "steps_per_second": round(report.steps / report.seconds, 1) if report.seconds else 0.0,
        "engines": [
            {
                "name": e.name,
                "traces": e.traces,
                "steps": e.steps,
                "seconds": round(e.seconds, 3),
                "note": e.note,
                "reached": _reached_document(e.reached),
            }
            for e in report.engines
        ],
        "reached": {
            **_reached_document(report.reached),
            "skipped": report.reached.skipped,
            "ratchet_steps": report.reached.ratchet_steps,
            "crashes": report.reached.crashes,
            "died_or_hung": report.reached.deaths,
            "listed": report.listed is not None,
            "missing": report.unreached,
        },
        "explored": [
            {
                "scope": scope.name,
                "bounds": scope.bounds,
                **scope.counts,
                "replayed": scope.replayed.states,
                "judged": scope.replayed.judged,
                "disagreements": scope.replayed.disagreements,
                "seconds": round(scope.seconds, 3),
            }
            for scope in report.scopes
        ],
        "invariants": [
            {
                "id": entry.id,
                "verdict": report.tally.verdict(entry).value,
                "checked": report.tally.checked[entry.id],
                "violated": report.tally.violated[entry.id],
                "by_engine": {
                    engine.name: {"traces": engine.checked_on[entry.id], "checked": engine.checked[entry.id]}
                    for engine in report.engines
                    if engine.checked[entry.id]
                },
            }
            for entry in INVARIANTS
        ],
        "unsupported": {entry.id: why for entry, why in unsupported(hello)},
        "findings": [_found_document(found, saved.get(id_)) for id_, found in report.by_size()],
        "trials": [{**asdict(trial), "seconds": round(trial.seconds, 3)} for trial in report.on_trial],
        "report": str(page) if page else None,
    }
    if report.selection is not None:
        document["changed"] = changed_document(report.selection)
    if expected is not None:
        comparison = expected.compare(report.violated)
        document["expected"] = {
            "findings": expected.findings,
            "classes": expected.classes,
            "scripts": {id_: list(scripts) for id_, scripts in expected.scripts.items()},
            "new": comparison.new,
            "vanished": comparison.vanished,
        }
    return document


def changed_document(selection: Selection) -> dict[str, Any]:
    """What a run was narrowed to."""
    return {
        "since": selection.since,
        "commit": selection.commit,
        "files": list(selection.files),
        "why": selection.why,
        "judged": sorted(selection.judged),
        "left_out": dict(sorted(selection.left_out.items())),
    }


def _reached_document(reached: Reached) -> dict[str, dict[str, int]]:
    return {
        "operations": dict(sorted(reached.operations.items())),
        "refusals": dict(sorted(reached.refusals.items())),
        "shapes": dict(sorted(reached.shapes.items())),
    }


def _target(report: Report) -> dict[str, Any]:
    hello = report.hello
    return {
        "asked": report.target,
        "name": hello.name,
        "version": hello.version,
        "level": hello.level.value,
        "capabilities": sorted(hello.capabilities),
    }


def _found_document(found: Found, path: Path | None) -> dict[str, Any]:
    violation = found.broken.violation
    return {
        "id": found.broken.invariant.id,
        "claim": found.broken.invariant.claim,
        "what": violation.what,
        "step": violation.event.step,
        "operations": len(found.trace.ops),
        "found_by": found.engine,
        "file": str(path) if path else None,
        "chart": chart(found.history, broken=violation, rows=CHART_ROWS).splitlines(),
        "drawn": asdict(layout(found.history, broken=violation, rows=CHART_ROWS)),
    }


# -- pawl replay ------------------------------------------------------------------------------------------------------


def replay_text(history: History, broken: Iterable[Broken], checked: Counter[str], name: str) -> str:
    """What a trace does on a target, and what it shows."""
    name_of_target = who(history.target)
    broken = list(broken)
    if not broken:
        head = f"{name_of_target} holds on {name}: {len(checked)} invariants were checked"
        if not checked:
            head = f"{name_of_target}: nothing was judged on {name}; no operation had anything to act on"
        return f"{head}\n\n{chart(history)}{_lost(history)}"
    ids = ", ".join(one.invariant.id for one in broken)
    parts = [f"{name_of_target} does not hold on {name}: {ids}\n"]
    for one in broken:
        drawn = chart(history, broken=one.violation)
        parts.append(_claim(one.invariant) + "\n\n" + textwrap.indent(drawn, "  "))
    return "\n".join(parts)


def _lost(history: History) -> str:
    """What an attacker who took states reads, in the words of the model; nothing if none was taken."""
    said = secrecy.lost(Story(history))
    return "\nWhat the model says is lost to the attacker:\n" + "".join(f"  {line}\n" for line in said) if said else ""


def replay_document(history: History, broken: Iterable[Broken], checked: Counter[str], code: Exit) -> dict[str, Any]:
    """The report of `pawl replay --json`."""
    return {
        "format": "pawl-replay",
        "version": 1,
        "target": {"name": history.target.name, "version": history.target.version},
        "exit": int(code),
        "outcome": code.name.lower(),
        "checked": dict(sorted(checked.items())),
        "violations": [
            {"id": one.invariant.id, "claim": one.invariant.claim, "what": one.violation.what, "step": _step(one)}
            for one in broken
        ],
        "closing": history.closing,
        "events": [
            {
                "step": event.step,
                "op": str(event.op),
                "outcome": event.outcome.value,
                "code": event.code,
                "text": sentence(event),
            }
            for event in history.events
        ],
    }


def _step(one: Broken) -> int:
    return one.violation.event.step


# -- pawl invariants --------------------------------------------------------------------------------------------------


def invariants_text() -> str:
    """Every registered invariant: id, claim, how it is judged."""
    judged = sum(entry.predicate is not None for entry in INVARIANTS)
    parts = [f"{len(INVARIANTS)} invariants: {judged} judged, {len(INVARIANTS) - judged} not yet judged"]
    for name, words in FAMILIES.items():
        parts.append(f"\n{name}  {words}")
        for entry in INVARIANTS:
            if family(entry.id) == name:
                parts += _described(entry)
    return "\n".join(parts) + "\n"


def _described(entry: Invariant) -> Iterator[str]:
    yield textwrap.fill(f"{entry.id}  {entry.claim}", WIDTH, initial_indent="  ", subsequent_indent=" " * 10)
    if entry.predicate is None:
        yield f"{'':10}not yet judged: {entry.pending}"
        return
    said = f"{entry.threat}, level L{entry.level.value}, source: {entry.source}"
    yield textwrap.fill(said, WIDTH, initial_indent=" " * 10, subsequent_indent=" " * 10)
    if entry.not_covered:
        yield textwrap.fill(
            f"not covered: {entry.not_covered}", WIDTH, initial_indent=" " * 10, subsequent_indent=" " * 10
        )


def invariants_document() -> dict[str, Any]:
    """The registry, for machines."""
    return {
        "format": "pawl-invariants",
        "version": 1,
        "threats": THREATS,
        "invariants": [
            {
                "id": entry.id,
                "threat": entry.threat,
                "claim": entry.claim,
                "source": entry.source,
                "level": entry.level.value,
                "refusals": list(entry.refusals),
                "needs": sorted(entry.needs),
                "not_covered": entry.not_covered,
                "judged": entry.predicate is not None,
                "pending": entry.pending,
            }
            for entry in INVARIANTS
        ],
    }
