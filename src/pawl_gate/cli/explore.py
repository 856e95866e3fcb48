"""The verb `explore`: small scopes of the model to their end, and each state of them on a target."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

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
    target_options,
)

if TYPE_CHECKING:
    from pawl_spec.explore import Scope

ALL = "all"


def add(verbs: Verbs) -> None:
    """Its options."""
    one = verbs.add_parser(
        "explore",
        help="explore small scopes of the model to their end, and reach each state on a target",
        allow_abbrev=False,
    )
    one.add_argument("scope", nargs="*", metavar="SCOPE", help="its name, or all (default: smoke; --list names them)")
    target_options(one)
    one.add_argument("--list", action="store_true", help="list the scopes and the faults, with their committed figures")
    one.add_argument("--model", action="store_true", help="explore the model alone, without a target")
    one.add_argument("--fault", metavar="NAME", help="plant a fault in the model, to see that the search finds it")
    one.add_argument("--seconds", type=seconds, metavar="N", help="cap on all of it (default: none)")
    one.add_argument(
        "--out", type=Path, default=FINDINGS, metavar="DIR", help=f"where findings are saved (default: {FINDINGS})"
    )
    one.add_argument("--json", action="store_true", help="print the result as JSON")
    one.set_defaults(verb=explore)


def explore(args: argparse.Namespace) -> int:
    """Explore scopes of the model, and reach their states on a target."""
    from pawl_gate import explore_text
    from pawl_gate.exploration import Exploration
    from pawl_spec.explore import FAULTS

    if args.list:
        print_json(explore_text.scopes_document()) if args.json else print_text(explore_text.scopes_text())
        return 0
    fault = None
    if args.fault is not None:
        if args.fault not in FAULTS:
            raise Usage(f"no fault is called {args.fault!r}; known are {', '.join(FAULTS)}")
        fault = FAULTS[args.fault]
        if args.target is not None or args.driver is not None:
            raise Usage("--fault is about the model alone: name no target with it")
    scopes = _scopes(args.scope or [fault.scope if fault else "smoke"])
    alone = args.model or fault is not None
    name = args.driver or args.target or DEFAULT_TARGET
    deadline = None if args.seconds is None else time.monotonic() + args.seconds
    with nullcontext() if alone else closing(find_target(args)) as target:
        run = Exploration(target, deadline=deadline, progress=_say)
        with fault.planted() if fault else nullcontext():
            for scope in scopes:
                run.explore(scope, compare=fault is None)
                if run.cut:
                    break
    known = None if alone or args.driver is not None or "/" in name else name
    saved = save({id_: found.trace for id_, found in run.found.items()}, args.out, known)
    if args.json:
        print_json(explore_text.explore_document(run, saved, fault))
    else:
        print_text(explore_text.explore_text(run, saved, fault))
    return run.exit


def _scopes(names: list[str]) -> list[Scope]:
    """The scopes of these names, in the order of the catalogue. Raises: Usage."""
    from pawl_spec.explore import SCOPES

    for name in names:
        if name not in SCOPES and name != ALL:
            raise Usage(f"no scope is called {name!r}; known are {', '.join(SCOPES)}, or {ALL}")
    return [scope for scope in SCOPES.values() if scope.name in names or ALL in names]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
