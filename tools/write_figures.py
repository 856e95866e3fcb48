"""Write the committed figures of the exhaustive search, `figures.json` of the package `pawl_spec`, again.

Every scope is explored to its end (some minutes). Run it when a scope or a rule of the model changed, and read the
difference: a count that fell says that the search leaves something out.

    python -m tools.write_figures
"""

from __future__ import annotations

import sys

from pawl_spec.explore import SCOPES, counts, explore
from pawl_spec.explore.figures import PATH, Counts, written


def main() -> int:
    """Explore every scope, and write what it came to."""
    found: dict[str, Counts] = {}
    for scope in SCOPES.values():
        explored = explore(scope, progress=lambda text: print(text, file=sys.stderr))
        if explored.counterexample is not None:
            print(f"write_figures: {scope.name}: the model breaks a property; see pawl explore", file=sys.stderr)
            return 1
        found[scope.name] = counts(explored)
    PATH.write_text(written(found), "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
