"""The kill matrix for people and for machines: what is printed, saved, and held to the committed one.

Times differ from run to run; they are in what is saved of one run, never in what is committed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any, Final

from pawl_gate.controls import CONTROLS
from pawl_gate.controls.weakenings import NOT_NEEDED
from pawl_gate.mutants import ENGINES, Examined, median_seconds

COMMITTED: Final = "matrix.json"
"""Lies beside the controls."""

Past = Mapping[str, tuple[str, ...]]
"""Faults that get past a weakened specification, by weakening."""


def document(examined: Iterable[Examined], past: Past) -> dict[str, Any]:
    """What is the same in every run: fault, invariant, engine, and the trace; and what gets past which weakening."""
    return {
        "faults": {
            each.control: {
                "breaks": each.breaks,
                "killed": {
                    engine: None if kill is None else {"trace": kill.trace, "broken": list(kill.broken)}
                    for engine, kill in each.kills.items()
                },
            }
            for each in sorted(examined, key=lambda each: each.control)
        },
        "specification": {name: list(past[name]) for name in sorted(past)},
    }


def dumps(matrix: dict[str, Any]) -> str:
    """The committed form: one line a fault or weakening, so that a change is read at a glance."""
    parts = []
    for part, entries in matrix.items():
        lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(entry)}" for name, entry in entries.items())
        parts.append(f'  "{part}": {{\n{lines}\n  }}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def committed() -> dict[str, Any]:
    """The committed matrix."""
    text = resources.files("pawl_gate.controls").joinpath(COMMITTED).read_text("utf-8")
    return json.loads(text)  # type: ignore[no-any-return]


def differences(matrix: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Where what was run differs from the committed matrix `other`; what was not run is not compared."""
    found = []
    for name, entry in matrix["faults"].items():
        known = other["faults"].get(name, {"killed": {}})["killed"]
        for engine, kill in entry["killed"].items():
            if engine not in known:
                found.append(f"{name}: the committed matrix does not know it with {engine}")
            elif known[engine] != kill:
                found.append(f"{name} by {engine}: {_kill(kill)}; the committed matrix says {_kill(known[engine])}")
    for name, escaped in matrix["specification"].items():
        known = other["specification"].get(name)
        if known != escaped:
            found.append(f"{name}: let through {escaped}; the committed matrix says {known}")
    return found


def _kill(kill: Mapping[str, Any] | None) -> str:
    return "not seen" if kill is None else f"{', '.join(kill['broken'])} on {kill['trace']}"


def idle(past: Past) -> list[str]:
    """Weakenings that let no fault through, or are said to and do: one line each."""
    lines = [f"{name}: lets no fault through" for name, faults in past.items() if not faults and name not in NOT_NEEDED]
    return lines + [
        f"{name}: lets {faults[0]} through, which is said not to be"
        for name, faults in past.items()
        if faults and name in NOT_NEEDED
    ]


def text(examined: Sequence[Examined], past: Past, seconds: float) -> str:
    """What is printed: the verdict first, then a line a fault."""
    dead = [each for each in examined if each.killed]
    head = f"{len(dead)} of {len(examined)} faults are killed by the invariant that names them, in {seconds:.0f} s"
    lines = [f"{head}; median time to kill {median_seconds(examined):.2f} s"] if examined else []
    if past:
        through = sum(bool(faults) for faults in past.values())
        lines.append(f"{through} of {len(past)} weakened specifications let a fault through")
    engines = [engine for engine in ENGINES if any(engine in each.kills for each in examined)]
    width = max((len(each.control) for each in examined), default=0)
    lines += ["", f"  {'fault':{width}}  names   " + "  ".join(f"{engine:>10}" for engine in engines)]
    for each in sorted(examined, key=lambda each: (each.breaks, each.control)):
        cells = "  ".join(f"{_cell(each, engine):>10}" for engine in engines)
        lines.append(f"  {each.control:{width}}  {each.breaks}  {cells}" + ("" if each.killed else "  SURVIVES"))
    for each in examined:
        if not each.killed:
            said = f"others speak up: {', '.join(each.others)}" if each.others else "nothing speaks up"
            lines += ["", f"{each.control} survives {each.breaks}; {said}", f"  {CONTROLS[each.control].what}"]
    return "\n".join(lines) + "\n"


def _cell(each: Examined, engine: str) -> str:
    kill = each.kills.get(engine)
    return "-" if kill is None else f"{kill.seconds:.2f} s"


def timed(examined: Sequence[Examined], past: Past, seconds: float) -> dict[str, Any]:
    """One run, with its times, for machines."""
    matrix = document(examined, past)
    for each in examined:
        for engine, kill in each.kills.items():
            if kill is not None:
                matrix["faults"][each.control]["killed"][engine] |= {"traces": kill.traces, "seconds": kill.seconds}
        matrix["faults"][each.control]["others"] = list(each.others)
    return {"seconds": seconds, "median_seconds": median_seconds(examined), **matrix}


def page(matrix: Mapping[str, Any]) -> str:
    """The matrix as Markdown: a line a fault, a column an engine, in each cell the invariants that speak up."""
    engines = [engine for engine in ENGINES if any(engine in entry["killed"] for entry in matrix["faults"].values())]
    lines = [f"| fault | named by | {' | '.join(engines)} |", "|---" * (len(engines) + 2) + "|"]
    for name, entry in matrix["faults"].items():
        kills = [entry["killed"].get(engine) for engine in engines]
        cells = ["-" if kill is None else ", ".join(kill["broken"]) for kill in kills]
        lines.append(f"| `{name}` | {entry['breaks']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
