"""The verb `verify`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pawl_gate.cli.common import (
    DEFAULT_TARGET,
    FINDINGS,
    Usage,
    Verbs,
    find_target,
    print_json,
    print_text,
    save,
    seconds,
    seed,
    target_options,
    write,
)

PAGE: Final = Path("build", "report", "index.html")


def add(verbs: Verbs) -> None:
    """Its options."""
    one = verbs.add_parser("verify", help="hold a target to the specification", allow_abbrev=False)
    target_options(one)
    one.add_argument(
        "--budget", choices=("smoke", "pr", "nightly"), default="smoke", help="how much is searched (default: smoke)"
    )
    one.add_argument(
        "--seconds", type=seconds, metavar="N", help="cap on the search, for a slow machine (default: the budget's)"
    )
    one.add_argument("--seed", type=seed, default=0, metavar="N", help="of the search; the same seed, the same traces")
    one.add_argument(
        "--expect", type=Path, metavar="FILE", help="a list of expected findings: exactly these are no failure"
    )
    one.add_argument(
        "--out", type=Path, default=FINDINGS, metavar="DIR", help=f"where findings are saved (default: {FINDINGS})"
    )
    where = one.add_mutually_exclusive_group()
    where.add_argument(
        "--report", type=Path, default=PAGE, metavar="FILE", help=f"where the page is written (default: {PAGE})"
    )
    where.add_argument("--no-report", dest="report", action="store_const", const=None, help="write no page")
    one.add_argument("--json", action="store_true", help="print the report as JSON")
    one.set_defaults(verb=verify)


def verify(args: argparse.Namespace) -> int:
    """Hold a target to the specification."""
    from pawl_gate import expect, page, report_text
    from pawl_gate.traceability.evidence import code_digest
    from pawl_gate.verify import BUDGETS, Exit, Verification

    # Check the files before the work is done.
    made, digest = _now(), code_digest()
    if args.report is not None and args.report.suffix == ".json":
        raise Usage("--report: the page is HTML; beside it the same name, ending in .json, holds its data")
    name = args.driver or args.target or DEFAULT_TARGET
    expected = None
    if args.expect is not None:
        try:
            expected = expect.read(args.expect, target=name)
        except expect.ExpectError as error:
            raise Usage(f"{args.expect}: {error}") from None
        except OSError as error:
            raise Usage(f"cannot read {args.expect}: {error.strerror}") from None
    with closing(find_target(args)) as target:
        budget, is_driver = BUDGETS[args.budget], args.driver is not None
        budget = budget if args.seconds is None else replace(budget, seconds=args.seconds)
        run = Verification(target, name=name, budget=budget, seed=args.seed, progress=sys.stderr, is_driver=is_driver)
        report = run.run()
    saved = save(
        {id_: found.trace for id_, found in report.found.items()}, args.out, None if is_driver or "/" in name else name
    )
    code = report.exit
    if expected is not None:
        comparison = expected.compare(report.found)
        code = Exit.VIOLATED if not comparison.same else Exit.INCOMPLETE if report.gaps else Exit.HOLDS
    written, fault = None, None
    if args.report is not None:
        try:
            drawn = page.render(report, saved, expected, code, made=made, expect=args.expect)
            written = write(args.report, drawn)
        except Exception as error:
            # Whatever is wrong with the page, the verdict is told first.
            fault = error
    document = {
        **report_text.verify_document(report, saved, expected, code, written),
        "made": made.isoformat(timespec="seconds"),
        "code": digest,
    }
    if args.json:
        print_json(document)
    else:
        print_text(report_text.verify_text(report, saved, expected, code, written))
    if written is not None:
        # Beside the page, for `pawl trace`.
        write(written.with_suffix(".json"), json.dumps(document, indent=2) + "\n")
    if fault is not None:
        raise fault
    return code


def _now() -> datetime:
    """The time that the report states: SOURCE_DATE_EPOCH, in Unix seconds, where one report must be like another."""
    fixed = os.environ.get("SOURCE_DATE_EPOCH")
    if fixed is None:
        return datetime.now(UTC)
    try:
        return datetime.fromtimestamp(int(fixed), UTC)
    except (ValueError, OverflowError, OSError):
        raise Usage(f"SOURCE_DATE_EPOCH: {fixed!r} is no time in Unix seconds") from None
