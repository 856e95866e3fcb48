"""The verb `replay`."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path

from pawl_gate.cli.common import Verbs, find_target, print_json, print_text, read_trace, target_options


def add(verbs: Verbs) -> None:
    """Its options."""
    one = verbs.add_parser("replay", help="carry out one saved trace and show what it does", allow_abbrev=False)
    one.add_argument("trace", type=Path, metavar="TRACE", help="a trace: JSON, or the byte form of a fuzzer's corpus")
    target_options(one, default="the target that the file names, else pawl")
    one.add_argument("--json", action="store_true", help="print the history as JSON")
    one.set_defaults(verb=replay)


def replay(args: argparse.Namespace) -> int:
    """Carry out one trace and show what it does."""
    from pawl_gate import report_text
    from pawl_gate.runner import run_trace
    from pawl_gate.verify import Exit
    from pawl_spec.judge import judge

    trace, made_for = read_trace(args.trace)
    if args.target is None and args.driver is None:
        args.target = made_for
    with closing(find_target(args)) as target:
        history = run_trace(target, trace)
    broken, checked = judge(history)
    code = Exit.VIOLATED if broken else Exit.HOLDS if checked else Exit.INCOMPLETE
    if args.json:
        print_json(report_text.replay_document(history, broken, checked, code))
    else:
        print_text(report_text.replay_text(history, broken, checked, str(args.trace)))
    return code
