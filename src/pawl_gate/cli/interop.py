"""The verb `interop`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pawl_gate.cli.common import Usage, Verbs, jobs, print_json, print_text, seed, write

if TYPE_CHECKING:
    from pawl_gate.interop.cells import Cell
    from pawl_gate.interop.expected import Key, Known
    from pawl_gate.interop.matrix import Plan

PAGE: Final = Path("build", "interop", "index.html")


def add(verbs: Verbs) -> None:
    """Its options."""
    one = verbs.add_parser(
        "interop", help="let every implementation talk with every other, both ways", allow_abbrev=False
    )
    one.add_argument(
        "--target",
        action="append",
        metavar="NAME",
        help="an implementation of the matrix: a name, control:NAME, or the path of a driver; may be given several "
        "times (default: all that there are)",
    )
    one.add_argument(
        "--scenario", action="append", metavar="NAME", help="a scenario; may be given several times (default: all)"
    )
    one.add_argument(
        "--short", action="store_true", help="each implementation with itself and with Pawl alone, and shorter skips"
    )
    one.add_argument("--jobs", type=jobs, default=2, metavar="N", help="pairs side by side (default: 2)")
    one.add_argument("--seed", type=seed, default=0, metavar="N", help="of those that draw their randomness from us")
    known = one.add_mutually_exclusive_group()
    known.add_argument(
        "--expect", type=Path, metavar="FILE", help="a list of cells that are known not to pass: exactly these are none"
    )
    known.add_argument(
        "--write-expect", type=Path, metavar="FILE", help="write that list; reasons that are there already stay"
    )
    where = one.add_mutually_exclusive_group()
    where.add_argument(
        "--report", type=Path, default=PAGE, metavar="FILE", help=f"where the page is written (default: {PAGE})"
    )
    where.add_argument("--no-report", dest="report", action="store_const", const=None, help="write no page")
    one.add_argument("--list", action="store_true", help="list implementations and scenarios, and run nothing")
    one.add_argument("--json", action="store_true", help="print the report as JSON")
    one.set_defaults(verb=interop)


def interop(args: argparse.Namespace) -> int:
    """Run the matrix."""
    from pawl_gate.interop import expected, matrix, report
    from pawl_gate.page import interop as page

    if args.list:
        return _list()
    if args.report is not None and args.report.suffix == ".json":
        raise Usage("--report: the page is HTML; beside it the same name, ending in .json, holds its data")
    made = datetime.now(UTC).replace(microsecond=0)
    known = _known(args)
    plan = _plan(args)
    _say(f"{len(plan.present)} implementations, {len(plan.situations)} scenarios")
    went = matrix.run(plan, jobs=args.jobs, progress=_progress(known))
    if args.write_expect is not None:
        known = expected.renewed(went, known or {})
        if write(args.write_expect, expected.dumps(known)) is None:
            raise Usage(f"--write-expect: cannot write {args.write_expect}")
    document = report.document(went, known, made=made.isoformat())
    written = None
    if args.report is not None:
        written = write(args.report, page.render(went, known, made=made, expect=args.expect))
        write(args.report.with_suffix(".json"), json.dumps(document, indent=1) + "\n")
    if args.json:
        print_json(document)
    else:
        print_text(report.text(went, known, written))
    code: int = document["exit"]
    return code


def _plan(args: argparse.Namespace) -> Plan:
    """What is to be run. Raises: Usage."""
    from pawl_gate.interop.matrix import Plan, probe
    from pawl_gate.interop.situations import situations
    from pawl_gate.targets.registry import UnknownTarget, implementations

    known = {each.name: each for each in situations()}
    for name in args.scenario or ():
        if name not in known:
            raise Usage(f"there is no scenario {name!r}; there are {', '.join(known)}")
    chosen = [each for name, each in known.items() if not args.scenario or name in args.scenario]
    try:
        # Each once, in the order in which they were given.
        found = [probe(name) for name in dict.fromkeys(args.target or implementations())]
    except UnknownTarget as error:
        raise Usage(str(error)) from None
    return Plan(
        tuple(found),
        tuple(chosen),
        seed=args.seed,
        short=args.short,
        filtered=bool(args.target or args.scenario),
    )


def _known(args: argparse.Namespace) -> Mapping[Key, Known] | None:
    """The list of what is known, where there is one. Raises: Usage."""
    from pawl_gate.expect import ExpectError
    from pawl_gate.interop import expected

    path = args.expect or args.write_expect
    if path is None or (path is args.write_expect and not path.exists()):
        return None
    try:
        return expected.read(path)
    except ExpectError as error:
        raise Usage(f"{path}: {error}") from None
    except OSError as error:
        raise Usage(f"cannot read {path}: {error.strerror}") from None


def _progress(known: Mapping[Key, Known] | None) -> Callable[[Cell], None]:
    from pawl_gate.interop.cells import FINDINGS, Verdict
    from pawl_gate.interop.expected import is_known

    def tell(cell: Cell) -> None:
        is_new = cell.verdict in FINDINGS and not is_known(cell, known or {})
        if is_new or cell.verdict is Verdict.BROKEN:
            _say(f"{cell.first} x {cell.second}, {cell.scenario}: {cell.verdict.value}: {cell.why}")

    return tell


def _say(text: str) -> None:
    print(f"interop: {text}", file=sys.stderr, flush=True)


def _list() -> int:
    from pawl_gate.interop.situations import situations
    from pawl_gate.targets.registry import implementations

    lines = ["implementations", *(f"  {name}" for name in implementations()), "", "scenarios"]
    wide = max(len(each.name) for each in situations())
    for each in situations():
        needs = f" (needs {', '.join(sorted(each.scenario.needs))})" if each.scenario.needs else ""
        lines.append(f"  {each.name:<{wide}}  {each.scenario.title}{needs}")
    print_text("\n".join(lines) + "\n")
    return 0
