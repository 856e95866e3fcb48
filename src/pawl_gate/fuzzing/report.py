"""What came of a campaign: figures for machines, text for the terminal. The page is made of the same figures."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from pawl_gate.engines.corpus import files
from pawl_gate.fuzzing.campaign import Campaign, Logged, Standing
from pawl_gate.fuzzing.facts import functions_lines


def document(made: Campaign) -> dict[str, Any]:
    """All figures."""
    executions = made.executions
    fuzzed = sum(each.seconds for each in made.log.values() if each.executions)
    return {
        "format": "pawl-campaign-report",
        "version": 1,
        "seed": made.plan.seed,
        "revision": made.plan.revision,
        "tools": dict(made.plan.tools),
        "rounds": max(made.round, 0),
        "seconds": round(made.seconds, 1),
        "units": len(made.log),
        "executions": executions,
        "unit_seconds": round(fuzzed, 1),
        "rate": round(executions / made.seconds, 1) if made.seconds else 0.0,
        "lost": dict(made.lost),
        "given_up": list(made.given_up),
        "entries": [_entry(made, standing) for standing in made.standing.values()],
        "findings": _findings(made),
        "files": _files(made),
    }


def _entry(made: Campaign, standing: Standing) -> dict[str, Any]:
    name = standing.entry.name
    units = [each for each in made.log.values() if each.entry == name]
    executions, seconds = sum(each.executions for each in units), sum(each.seconds for each in units if each.executions)
    return {
        "entry": name,
        "units": len(units),
        "executions": executions,
        "rate": round(executions / seconds, 1) if seconds else 0.0,
        "inputs": len(standing.corpus),
        "bytes": sum(standing.sizes[each] for each in standing.corpus if each in standing.sizes),
        "features": len(standing.reached),
        "edges": max((point.edges for each in units for point in each.points), default=0),
        "invariants": sorted({id_ for each in standing.corpus for id_ in standing.checked.get(each, ())}),
        "course": _course(units, standing),
        "findings": len({found for each in units for found in each.findings}),
    }


def _course(units: list[Logged], standing: Standing) -> list[tuple[float, int]]:
    """Seconds of the campaign, and how many features were reached until then."""
    reached: set[str] = set()
    course: list[tuple[float, int]] = []
    for each in sorted(units, key=lambda one: one.at):
        for name in each.inputs:
            reached |= standing.features.get(name, frozenset())
        course.append((round(each.at, 1), len(reached)))
    return course


def _findings(made: Campaign) -> list[dict[str, Any]]:
    """By what they show, those of most inputs first."""
    groups: dict[tuple[str, ...], list[Path]] = {}
    texts: dict[tuple[str, ...], str] = {}
    for name in made.plan.entries:
        folder = made.folder / "findings" / name
        for path in files(folder):
            if path.suffix == ".json":
                continue
            told = json.loads(path.with_name(f"{path.name}.json").read_text("utf-8"))
            what = " and ".join(told["invariants"]) or told["state"]
            key = (name, what, told["refusal"], told["place"])
            groups.setdefault(key, []).append(path)
            texts[key] = told["text"]
    return [
        {
            "entry": key[0],
            "what": key[1],
            "refusal": key[2],
            "place": key[3],
            "inputs": len(paths),
            "smallest": str(min(paths, key=lambda path: (path.stat().st_size, path.name))),
            "text": texts[key].partition("\n")[0],
        }
        for key, paths in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    ]


def _files(made: Campaign) -> list[dict[str, Any]]:
    """Of each file of the library: lines inside functions, and how many of them some input came to."""
    lines = made.lines()
    return [
        {"file": file, "lines": len(inside), "reached": len(inside & lines.get(file, set()))}
        for file, inside in functions_lines().items()
        if inside
    ]


def text(told: dict[str, Any], page: Path | None) -> str:
    """For the terminal."""
    count, found = len(told["entries"]), told["findings"]
    head = f"{len(found)} findings" if found else "no findings"
    if told["given_up"]:
        head = f"incomplete: {len(told['given_up'])} units were given up; {head}"
    lines = [f"{head} in {told['executions']:,} executions on {count} entry points, {told['seconds']:,.0f} s", ""]
    if told["given_up"]:
        # One reason mostly ends them all.
        whys = Counter(why.partition(": ")[2] for why in told["given_up"])
        lines += [*(f"  {times} times: {why}" for why, times in whys.most_common(5)), ""]
    lines.append(f"  {'entry':<24}{'executions':>12}{'/s':>8}{'inputs':>8}{'features':>10}{'edges':>8}{'findings':>10}")
    for one in told["entries"]:
        numbers = f"{one['executions']:>12,}{one['rate']:>8,.0f}{one['inputs']:>8,}{one['features']:>10,}"
        lines.append(f"  {one['entry']:<24}{numbers}{one['edges']:>8,}{one['findings']:>10}")
    for one in found:
        lines += ["", f"{one['what']} · {one['refusal'] or 'no refusal'} · {one['place'] or 'no place'}"]
        lines += [f"  {one['inputs']} inputs; {one['text']}", f"  pawl fuzz shrink {one['entry']} {one['smallest']}"]
    lost = Counter(told["lost"])
    if lost:
        lines += ["", f"{lost.total()} units were lost on the way and done again:"]
        lines += [f"  {times} times: {why}" for why, times in lost.most_common(5)]
    if page is not None:
        lines += ["", f"report: {page}"]
    return "\n".join(lines) + "\n"
