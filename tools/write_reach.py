"""Write the committed list of what each engine reaches, `reach.json` of the package `pawl_gate`, again.

Each target is verified once with the list's budget and seed and without a time cap. Of engines that search by chance
only what they reached several times is listed, so that a new release of a package that they use does not turn the gate
red. Run it when a scenario, an engine, a model or a driver changed, and read the difference: what is gone must be gone
for a reason.

    python -m tools.write_reach [TARGET ...]
"""

from __future__ import annotations

import json
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from pawl_gate import reach
from pawl_gate.targets.registry import TARGETS, find_target
from pawl_gate.verify import BUDGETS, Report, Verification

PATH = Path(reach.__file__).parent / reach.FILE

BY_CHANCE = frozenset({"walk", "hypothesis"})

LEAST = 5
"""How often an engine that searches by chance must have come to something before it is listed."""

NO_CAP = 24 * 60 * 60.0


def main(names: list[str]) -> int:
    """Write what is reached on these targets, by default on those that are listed; the rest of the file stays."""
    if unknown := [name for name in names if name not in TARGETS]:
        print(f"write_reach: no target is called {unknown[0]!r}; known are {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    asked = reach.document()
    budget = replace(BUDGETS[asked["budget"]], seconds=NO_CAP)
    for name in names or list(asked["targets"]):
        with closing(find_target(name)) as target:
            report = Verification(target, name=name, budget=budget, seed=asked["seed"], progress=sys.stderr).run()
        if report.cut:
            print(f"write_reach: {name}: {report.cut}; nothing is written", file=sys.stderr)
            return 4
        found = reach.document()
        found["targets"][name] = _listed(report)
        PATH.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    return 0


def _listed(report: Report) -> dict[str, reach.Items]:
    return {
        engine.name: reach.items(engine.reached, least=LEAST if engine.name in BY_CHANCE else 1)
        for engine in report.engines
    }


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
