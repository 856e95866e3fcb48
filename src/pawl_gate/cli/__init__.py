"""The command `pawl`. Each verb has a module: `add` gives its options, a function of its name carries it out.

Data goes to stdout, progress and errors to stderr. Exit codes: 0 holds, 1 violation, 2 usage (a wrong option, a missing
file, a broken trace), 3 the harness or the target broke, 4 incomplete. Whatever happens, an error is one line; with
PAWL_DEBUG=1 in the environment the traceback of an unforeseen one follows.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from pawl_gate.cli import (
    campaign,
    corpus,
    driver,
    explore,
    finding,
    fuzz,
    interop,
    invariants,
    mutants,
    replay,
    store,
    table,
    trace,
    vectors,
    verify,
)
from pawl_gate.cli.common import BROKEN, INCOMPLETE, OK, USAGE, Parser, Unwritten, Usage
from pawl_gate.visible import visible

VERBS = (
    verify,
    table,
    finding,
    interop,
    explore,
    replay,
    invariants,
    driver,
    mutants,
    vectors,
    trace,
    store,
    corpus,
    fuzz,
    campaign,
)
"""In the order of the help."""


def parser() -> Parser:
    """The command line."""
    top = Parser(prog="pawl", description="Hold a Signal-protocol implementation to a published threat model.")
    top.set_defaults(verb=None)
    verbs = top.add_subparsers(metavar="VERB", title="verbs", parser_class=Parser)
    for each in VERBS:
        each.add(verbs)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the return value is the exit code."""
    # Without a stderr, print() would put progress and errors among the data.
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - for the life of the process
    # Said before the work is done: an exit code without a report helps nobody.
    if sys.stdout is None:
        return _fail(USAGE, "stdout is closed; there is nowhere to put the report")
    try:
        code = _guarded(lambda: _dispatch(argv))
    except SystemExit as left:
        # argparse has said what there was to say.
        code = left.code if isinstance(left.code, int) else OK
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_stdout()
    except OSError as error:
        _forget_stdout()
        code = _fail(BROKEN, f"cannot write to stdout: {error.strerror}")
    return code


def _dispatch(argv: Sequence[str] | None) -> int:
    top = parser()
    args = top.parse_args(argv)
    if args.verb is None:
        top.error("say what to do: a verb, such as verify")
    verb: Callable[[argparse.Namespace], int] = args.verb
    return verb(args)


def _guarded(run: Callable[[], int]) -> int:
    """Turn whatever leaves `run` into one line and an exit code."""
    try:
        return run()
    except Usage as error:
        return _fail(USAGE, str(error))
    except KeyboardInterrupt:
        return _fail(INCOMPLETE, "interrupted; nothing is said of what was not judged")
    except BrokenPipeError:
        # Whoever read the report has seen enough of it.
        _forget_stdout()
        return INCOMPLETE
    except Unwritten as error:
        _forget_stdout()
        return _fail(BROKEN, str(error))
    except ImportError as error:
        debug = os.environ.get("PAWL_DEBUG") == "1"
        return _fail(BROKEN, f"a package is missing: {error}; install pawl-signal[gate]", trace=debug)
    except Exception as error:
        from pawl_gate.targets.base import HarnessBroken, Misbehaved, Refused, TargetCrashed, TargetHung

        if isinstance(error, HarnessBroken):
            return _fail(BROKEN, f"the harness broke: {error}")
        if isinstance(error, (TargetCrashed, TargetHung, Misbehaved, Refused)):
            return _fail(BROKEN, f"the target broke: {error}")
        what = " ".join(f"{type(error).__name__}: {error}".split())
        return _fail(
            BROKEN,
            f"a fault of the gate itself: {what} (PAWL_DEBUG=1 shows where)",
            trace=os.environ.get("PAWL_DEBUG") == "1",
        )


def _fail(code: int, text: str, *, trace: bool = False) -> int:
    print(f"pawl: {visible(' '.join(text.split()))}", file=sys.stderr)
    if trace:
        traceback.print_exc()
    return code


def _forget_stdout() -> None:
    """Point stdout to nowhere, so that the interpreter does not complain when it flushes it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
