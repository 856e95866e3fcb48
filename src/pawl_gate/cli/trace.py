"""The verb `trace`: traceability, from a line of the threat model to its code and evidence. It replays no file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from pawl_gate.cli.common import Usage, Verbs, print_json, print_text, write

PAGE: Final = Path("build", "report", "trace.html")


def add(verbs: Verbs) -> None:
    """Its options."""
    said = "traceability: follow each line of the threat model to its invariants, code, tests and evidence"
    more = f"{said}. Needs a checkout. To carry out a trace, a list of operations, see `pawl replay`."
    one = verbs.add_parser("trace", help=said, description=more, allow_abbrev=False)
    one.add_argument("--write", action="store_true", help="write the snapshot anew, in place of comparing with it")
    where = one.add_mutually_exclusive_group()
    where.add_argument(
        "--page", type=Path, default=PAGE, metavar="FILE", help=f"where the page is written (default: {PAGE})"
    )
    where.add_argument("--no-page", dest="page", action="store_const", const=None, help="write no page")
    one.add_argument(
        "--evidence",
        type=Path,
        metavar="FILE",
        help="what `pawl verify --json` printed, for the page (default: what it last left in build/report)",
    )
    one.add_argument("--json", action="store_true", help="print it as JSON")
    one.set_defaults(verb=trace)


def trace(args: argparse.Namespace) -> int:
    """Follow each line of the threat model to its end."""
    from pawl_gate.explain import checkout
    from pawl_gate.page import tracing
    from pawl_gate.traceability import chain, evidence, snapshot, summary
    from pawl_gate.traceability.orphans import orphans
    from pawl_gate.verify import Exit

    # Check the files before the work is done.
    root = checkout()
    if root is None:
        raise Usage("there is nothing to follow here: tests, fuzzers and documents come with a checkout")
    committed, seen = root / snapshot.FILE, args.evidence or root / evidence.FILE
    try:
        before = snapshot.read(committed)
    except snapshot.SnapshotError as error:
        if not args.write:
            raise Usage(f"{snapshot.FILE} is no snapshot: {error}; write it anew with --write") from None
        before = None
    except OSError as error:
        raise Usage(f"cannot read {snapshot.FILE}: {error.strerror}") from None
    if args.evidence is not None and not args.evidence.is_file():
        raise Usage(f"cannot read {args.evidence}: there is no such file")
    try:
        last = evidence.read(seen)
    except evidence.EvidenceError as error:
        raise Usage(f"{seen} is no report of pawl verify: {error}") from None
    except OSError as error:
        raise Usage(f"cannot read {seen}: {error.strerror}") from None
    if before is None and not args.write:
        raise Usage(f"there is no {snapshot.FILE} to compare with; write it with --write")

    found = chain.gather(root, progress=lambda text: print(f"trace: {text}", file=sys.stderr))
    now, left = snapshot.document(found), orphans(found)
    if args.write and write(committed, snapshot.dumps(now)) is None:
        return Exit.BROKEN
    changed = [] if args.write else list(snapshot.differences(before, now))
    page = None
    if args.page is not None:
        page = write(args.page, tracing.render(found, left, changed, last))
    outcome = summary.Outcome(found, left, changed, written=args.write, page=page)
    code = Exit.HOLDS if outcome.holds else Exit.VIOLATED
    if args.json:
        print_json(summary.document(outcome, code))
    else:
        print_text(summary.text(outcome))
    return code
