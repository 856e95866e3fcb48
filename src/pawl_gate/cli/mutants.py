"""The verb `mutants`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Final

from pawl_gate.cli.common import Usage, Verbs, jobs, print_json, print_text, write

FOLDER: Final = Path("build", "mutants")


def add(verbs: Verbs) -> None:
    """Its options."""
    one = verbs.add_parser(
        "mutants", help="plant every fault of the catalogue and see which invariant kills it", allow_abbrev=False
    )
    one.add_argument("--only", action="append", metavar="NAME", help="this fault; may be given several times")
    one.add_argument(
        "--part",
        type=_part,
        default=(1, 1),
        metavar="K/N",
        help="every N-th fault and invariant, beginning with the K-th: N runs make the whole",
    )
    one.add_argument("--engine", action="append", metavar="NAME", help="this engine; may be given several times")
    one.add_argument(
        "--budget",
        choices=("matrix", "smoke", "pr", "nightly"),
        default="matrix",
        help="how much the random engines search (default: matrix, which the committed matrix is made with)",
    )
    one.add_argument("--jobs", type=jobs, default=2, metavar="N", help="processes (default: 2)")
    one.add_argument(
        "--no-specification", dest="specification", action="store_false", help="leave the specification whole"
    )
    one.add_argument("--check", action="store_true", help="fail where the committed matrix says something else")
    one.add_argument(
        "--out", type=Path, default=FOLDER, metavar="DIR", help=f"where the matrix is saved (default: {FOLDER})"
    )
    one.add_argument("--json", action="store_true", help="print the matrix as JSON")
    one.set_defaults(verb=mutants)


def mutants(args: argparse.Namespace) -> int:
    """Plant the faults. Exit codes: 0 all are killed by the invariant that names them, 1 not so."""
    from pawl_gate.controls import CONTROLS
    from pawl_gate.mutants import BUDGETS, ENGINES, examine_all, weaken_all
    from pawl_gate.mutants_text import committed, differences, document, dumps, idle, page, text, timed
    from pawl_gate.verify import Exit

    # Check
    names, engines = args.only or list(CONTROLS), args.engine or list(ENGINES)
    for kind, given, known in (("fault", names, CONTROLS), ("engine", engines, ENGINES)):
        for name in given:
            if name not in known:
                raise Usage(f"no {kind} is called {name!r}; known are {', '.join(known)}")
    ids = sorted({CONTROLS[name].breaks for name in names}) if args.specification and not args.only else []
    first, step = args.part
    names, ids = names[first - 1 :: step], ids[first - 1 :: step]
    if not names:
        raise Usage(f"part {first} of {step} has no fault")
    # Run
    started = time.monotonic()

    def say(what: str) -> None:
        print(f"[{time.monotonic() - started:6.1f} s] {what}", file=sys.stderr, flush=True)

    examined = []
    for each in examine_all(names, BUDGETS[args.budget], jobs=args.jobs, engines=engines):
        examined.append(each)
        took = f"killed in {each.seconds:.2f} s" if each.seconds is not None else "SURVIVES"
        say(f"{len(examined)} of {len(names)}: {each.control}: {took}")
    past: dict[str, tuple[str, ...]] = {}
    for id_, faults in weaken_all(ids, jobs=args.jobs):
        past |= faults
        say(f"{id_} weakened: {sum(map(bool, faults.values()))} of {len(faults)} let a fault through")
    seconds = time.monotonic() - started
    # Report
    matrix = document(examined, past)
    write(args.out / "matrix.json", dumps(matrix))
    write(args.out / "times.json", json.dumps(timed(examined, past, seconds), indent=2) + "\n")
    write(args.out / "matrix.md", page(matrix))
    wrong = idle(past) + (differences(matrix, committed()) if args.check else [])
    if args.json:
        print_json(timed(examined, past, seconds) | {"wrong": wrong})
    else:
        print_text(text(examined, past, seconds) + "".join(f"\n{line}" for line in wrong) + "\n" * bool(wrong))
    whole = all(each.killed for each in examined) and not wrong
    return Exit.HOLDS if whole else Exit.VIOLATED


def _part(value: str) -> tuple[int, int]:
    """The option --part. Raises: ArgumentTypeError."""
    part, _, parts = value.partition("/")
    if not all(each.isascii() and each.isdecimal() and len(each) <= 3 for each in (part, parts)):
        raise argparse.ArgumentTypeError(f"{value!r} is not a part such as 1/3")
    if not 1 <= int(part) <= int(parts):
        raise argparse.ArgumentTypeError(f"{value!r} is not one of the parts")
    return int(part), int(parts)
