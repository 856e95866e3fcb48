"""The verb `table`: targets and invariants in one table, from the reports that `pawl verify` left."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Final

from pawl_gate.cli.common import Usage, Verbs, print_json, print_text, write

REPORTS: Final = Path("build", "report")
PAGE: Final = REPORTS / "table.html"


def add(verbs: Verbs) -> None:
    """Its options."""
    said = "one table of targets and invariants, from the reports of several runs of pawl verify"
    one = verbs.add_parser("table", help=said, description=said, allow_abbrev=False)
    one.add_argument(
        "reports",
        nargs="*",
        type=Path,
        metavar="REPORT",
        help=f"what `pawl verify` left as JSON, or folders of that (default: {REPORTS})",
    )
    where = one.add_mutually_exclusive_group()
    where.add_argument(
        "--page", type=Path, default=PAGE, metavar="FILE", help=f"where the page is written (default: {PAGE})"
    )
    where.add_argument("--no-page", dest="page", action="store_const", const=None, help="write no page")
    one.add_argument(
        "--all", action="store_true", help="a target with a list of findings and without a report is exit code 4"
    )
    one.add_argument("--json", action="store_true", help="print the table as JSON")
    one.set_defaults(verb=table)


def table(args: argparse.Namespace) -> int:
    """Build the table."""
    from pawl_gate import table as tables
    from pawl_gate.baselines import baselines
    from pawl_gate.expect import ExpectError
    from pawl_gate.page import table as page
    from pawl_gate.verify import Exit

    if args.page is not None and args.page.suffix == ".json":
        raise Usage("--page: the page is HTML; beside it the same name, ending in .json, holds its data")
    try:
        known = baselines()
    except ExpectError as error:
        raise Usage(str(error)) from None
    read = _read(args.reports or ([REPORTS] if REPORTS.is_dir() else []))
    try:
        made = tables.make(read, known)
    except tables.TableError as error:
        raise Usage(f"a report is not what pawl verify leaves: {error}") from None
    code = made.exit
    if args.all and made.missing and code is Exit.HOLDS:
        code = Exit.INCOMPLETE
    document = tables.document(made, code)
    written = None
    if args.page is not None:
        written = write(args.page, page.render(made, code))
        if written is not None:
            write(written.with_suffix(".json"), json.dumps(document, indent=2) + "\n")
    if args.json:
        print_json(document)
    else:
        print_text(tables.text(made, written))
    return Exit.BROKEN if args.page is not None and written is None and code is Exit.HOLDS else code


def _read(paths: list[Path]) -> list[dict[str, Any]]:
    """The reports in these files and folders. Raises: Usage."""
    from pawl_gate.table import TableError, read

    found = []
    for path in paths:
        for file in sorted(path.glob("*.json")) if path.is_dir() else [path]:
            try:
                document = read(file)
            except TableError as error:
                raise Usage(f"{file} is no report of pawl verify: {error}") from None
            except OSError as error:
                raise Usage(f"cannot read {file}: {error.strerror}") from None
            if document is not None:
                found.append(document)
            elif not path.is_dir():
                raise Usage(f"{file} is no report of pawl verify")
    if not found:
        where = ", ".join(map(str, paths or [REPORTS]))
        raise Usage(f"no report of pawl verify in {where}; run `pawl verify` on a target first")
    return found
