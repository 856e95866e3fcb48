"""Hold what the tests leave out of the library to the list, with its reasons, in docs/reference/coverage.md.

    python -m tools.check_coverage build/coverage.json

Fails where something is left out that is not listed, and where something is listed that the tests reach by now.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "coverage.md"
LIBRARY = Path("src/pawl")

WHOLE = "the whole file"
ROW = re.compile(r"^\| `([^`]+\.py)` \| (?:`([^`]+)`|(the whole file)) \| (.+) \|$", re.MULTILINE)

Left = tuple[str, str]
"""A file, as seen from src/pawl, and what is left out of it: a line of its code, or all of it."""


def listed(page: str) -> set[Left]:
    """What the page lists."""
    return {(file, line or whole) for file, line, whole, _ in ROW.findall(page)}


def left_out(report: dict[str, Any], root: Path = ROOT) -> set[Left]:
    """What the tests did not reach: lines, the lines from which a branch was not taken, and files not measured."""
    found: set[Left] = set()
    for path in sorted((root / LIBRARY).rglob("*.py")):
        file = path.relative_to(root / LIBRARY).as_posix()
        measured = report["files"].get((LIBRARY / file).as_posix())
        if measured is None:
            found.add((file, WHOLE))
            continue
        lines = path.read_text("utf-8").splitlines()
        missing = set(measured["missing_lines"]) | set(measured["excluded_lines"])
        # A branch to a line that is missing itself says nothing more.
        branches = {start for start, end in measured["missing_branches"] if end not in missing}
        found |= {(file, lines[number - 1].strip()) for number in missing | branches}
    return found


def main(arguments: list[str]) -> int:
    """0: the list is right; 1: it is not; 2: there is no report to look at."""
    try:
        (path,) = arguments
        report = json.loads(Path(path).read_text("utf-8"))
        found = left_out(report)
    except (OSError, ValueError, KeyError) as error:
        print(f"check_coverage: no report of coverage: {error}", file=sys.stderr)
        return 2
    reasons = listed(PAGE.read_text("utf-8"))
    for file, what in sorted(found - reasons):
        print(f"coverage: left out and not in {PAGE.relative_to(ROOT)}: {file}: {what}", file=sys.stderr)
    for file, what in sorted(reasons - found):
        print(f"coverage: in {PAGE.relative_to(ROOT)}, but the tests reach it: {file}: {what}", file=sys.stderr)
    return int(found != reasons)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
