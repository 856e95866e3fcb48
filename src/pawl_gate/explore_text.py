"""The result of `pawl explore` in plain text and as a JSON document."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pawl_gate.chart import chart
from pawl_gate.exploration import Exploration, Result, Shown
from pawl_gate.report_text import CHART_ROWS, WIDTH, who
from pawl_gate.verify import Exit
from pawl_spec.explore import FAULTS, SCOPES, Fault, committed, counts


def explore_text(run: Exploration, saved: Mapping[str, Path], fault: Fault | None) -> str:
    """What was explored, what each state came to on the target, and the shortest counterexamples."""
    parts = [_head(run, fault), *("\n".join(_scope(result, run)) + "\n" for result in run.results)]
    for id_, shown in sorted(run.found.items(), key=lambda item: len(item[1].trace.ops)):
        parts.append("\n".join(_found(id_, shown, saved.get(id_))))
    return "\n".join(parts)


def _head(run: Exploration, fault: Fault | None) -> str:
    states = sum(result.explored.states for result in run.results)
    names = ", ".join(result.scope.name for result in run.results)
    about = "the model" if run.hello is None else f"{who(run.hello)} and the model"
    lines = []
    if run.found:
        lines.append(f"{about}: {', '.join(sorted(run.found))} broken in {names}")
    elif run.exit is Exit.HOLDS and run.hello is None:
        lines.append(f"the model holds in {names}: {states:,} states, none of which breaks a property")
    elif run.exit is Exit.HOLDS:
        lines.append(f"{about} agree in {names}: {states:,} states, each of them reached on both")
    elif run.exit is Exit.BROKEN:
        lines.append(f"the search is not the committed one in {names}: nothing that it says can be relied on")
    else:
        lines.append(f"{about}: nothing is broken in {names}, but the exploration is incomplete")
    if fault is not None:
        lines.append(f"with the fault {fault.name} in the model: {fault.about}")
    if run.cut:
        lines.append(f"incomplete: {run.cut}")
    return "\n".join(lines) + "\n"


def _scope(result: Result, run: Exploration) -> Iterator[str]:
    explored = result.explored
    yield f"{result.scope.name}: {result.scope.about}"
    yield f"  bounds    {result.scope.bounds}"
    how = "to its end" if explored.closed else "not to its end"
    plain = f" ({explored.plain:,} with names told apart)" if explored.plain != explored.states else ""
    yield (
        f"  explored  {explored.states:,} states{plain}, {explored.transitions:,} transitions, depth {explored.depth}, "
        f"{how}, in {explored.seconds:.1f} s"
    )
    if explored.closed and result.differs is None and committed().get(result.scope.name) == counts(explored):
        yield "  counts    as committed"
    elif result.differs is not None:
        yield f"  counts    NOT as committed: {result.differs}"
    if result.lacking:
        yield f"  replayed  not at all: the target lacks {', '.join(result.lacking)}"
    if (replayed := result.replayed) is not None:
        yield (
            f"  replayed  {replayed.states:,} states with model and target at one, {replayed.operations:,} operations, "
            f"in {result.replay_seconds:.1f} s"
        )
        yield f"  judged    {replayed.judged:,} histories by every invariant"
        if replayed.disagreements:
            yield f"  parted    on {replayed.disagreements:,} steps; what lies behind them was not reached"
        elif run.hello is not None and replayed.states < explored.states:
            yield "  sampled   this target cannot fork its world: it was led to a sample of the ends"


def _found(id_: str, shown: Shown, path: Path | None) -> Iterator[str]:
    yield textwrap.fill(f"{id_} does not hold: {shown.what}", WIDTH, subsequent_indent="  ")
    yield f"  saved: {path}" if path else "  not saved: see above"
    yield ""
    yield textwrap.indent(chart(shown.history, broken=shown.violation, rows=CHART_ROWS), "  ")


def explore_document(run: Exploration, saved: Mapping[str, Path], fault: Fault | None) -> dict[str, Any]:
    """The result of `pawl explore --json`."""
    hello = run.hello
    return {
        "format": "pawl-exploration",
        "version": 1,
        "target": None if hello is None else {"name": hello.name, "version": hello.version},
        "fault": None if fault is None else fault.name,
        "exit": int(run.exit),
        "outcome": run.exit.name.lower(),
        "cut": run.cut,
        "scopes": [_scope_document(result) for result in run.results],
        "findings": [
            {
                "id": id_,
                "claim": shown.what,
                "what": shown.violation.what,
                "step": shown.violation.event.step,
                "operations": len(shown.trace.ops),
                "file": str(saved[id_]) if id_ in saved else None,
            }
            for id_, shown in sorted(run.found.items())
        ],
    }


def _scope_document(result: Result) -> dict[str, Any]:
    explored, replayed = result.explored, result.replayed
    return {
        "name": result.scope.name,
        "bounds": result.scope.bounds,
        **counts(explored),
        "states_with_names_told_apart": explored.plain,
        "closed": explored.closed,
        "seconds": round(explored.seconds, 3),
        "committed": committed().get(result.scope.name),
        "differs": result.differs,
        "lacking": list(result.lacking),
        "replayed": None
        if replayed is None
        else {
            "states": replayed.states,
            "operations": replayed.operations,
            "judged": replayed.judged,
            "disagreements": replayed.disagreements,
            "seconds": round(result.replay_seconds, 3),
        },
    }


# -- pawl explore --list ----------------------------------------------------------------------------------------------


def scopes_text() -> str:
    """Every scope with its bounds and figures, and every fault that can be planted."""
    figures = committed()
    lines = ["scopes"]
    for scope in SCOPES.values():
        due = figures[scope.name]
        lines += _entry(scope.name, scope.about)
        lines += _entry("", scope.bounds)
        lines += _entry("", f"{due['states']:,} states, {due['transitions']:,} transitions, depth {due['depth']}")
    lines += ["", "faults"]
    for fault in FAULTS.values():
        lines += _entry(fault.name, f"{fault.about} (scope {fault.scope}, breaks {fault.breaks})")
    return "\n".join(lines) + "\n"


def _entry(name: str, words: str) -> Iterable[str]:
    return textwrap.wrap(words, WIDTH, initial_indent=f"  {name:<26}", subsequent_indent=" " * 28)


def scopes_document() -> dict[str, Any]:
    """The same, for machines."""
    figures = committed()
    return {
        "format": "pawl-scopes",
        "version": 1,
        "scopes": [
            {"name": scope.name, "about": scope.about, "bounds": scope.bounds, **figures[scope.name]}
            for scope in SCOPES.values()
        ],
        "faults": [
            {"name": fault.name, "about": fault.about, "scope": fault.scope, "breaks": fault.breaks}
            for fault in FAULTS.values()
        ],
    }
