"""The command `pawl`: verify a target, replay a trace, list the invariants, explain one.

Data goes to stdout, progress and errors to stderr. Exit codes: 0 holds, 1 violation, 2 usage (a wrong option, a missing
file, a broken trace), 3 the harness or the target broke, 4 incomplete. Whatever happens, an error is one line; with
PAWL_DEBUG=1 in the environment the traceback of an unforeseen one follows.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NoReturn

from pawl_gate.visible import visible
from pawl_spec import trace as traces
from pawl_spec.trace import Trace, TraceError

MAX_TRACE_BYTES: Final = 1 << 20
"""Bytes of a trace file: several times the longest trace."""

DEFAULT_TARGET: Final = "pawl"
FINDINGS: Final = Path("build", "findings")
PAGE: Final = Path("build", "report", "index.html")

OK, USAGE, BROKEN, INCOMPLETE = 0, 2, 3, 4


class Usage(Exception):
    """The caller asked for something that there is not; one line says what."""


class Unwritten(Exception):
    """Stdout did not take what was to be said; one line says why."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and where help is; exit code 2."""
        self.exit(USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")


# -- verbs ------------------------------------------------------------------------------------------------------------


def verify(args: argparse.Namespace) -> int:
    """Hold a target to the specification."""
    from pawl_gate import expect, page, report_text
    from pawl_gate.verify import BUDGETS, Exit, Verification

    # Check the files before the work is done.
    made = _now()
    name = args.driver or args.target or DEFAULT_TARGET
    expected = None
    if args.expect is not None:
        try:
            expected = expect.read(args.expect, target=name)
        except expect.ExpectError as error:
            raise Usage(f"{args.expect}: {error}") from None
        except OSError as error:
            raise Usage(f"cannot read {args.expect}: {error.strerror}") from None
    with closing(_target(args)) as target:
        budget, is_driver = BUDGETS[args.budget], args.driver is not None
        budget = budget if args.seconds is None else replace(budget, seconds=args.seconds)
        run = Verification(target, name=name, budget=budget, seed=args.seed, progress=sys.stderr, is_driver=is_driver)
        report = run.run()
    saved = _save(
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
            written = _write(args.report, drawn)
        except Exception as error:
            # Whatever is wrong with the page, the verdict is told first.
            fault = error
    if args.json:
        _print_json(report_text.verify_document(report, saved, expected, code, written))
    else:
        _print_text(report_text.verify_text(report, saved, expected, code, written))
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


def _write(path: Path, text: str) -> Path | None:
    """Write a file and the folders to it. What cannot be written is said, and the run goes on: None."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        print(f"pawl verify: cannot write {path}: {error.strerror}", file=sys.stderr)
        return None
    return path


def _save(found: dict[str, Trace], folder: Path, target: str | None) -> dict[str, Path]:
    """Write each trace to `folder`, with what it shows. What cannot be written is said, and the report goes on.

    A target is named in the file, the command of a driver is not: a file must not say which programs to start.
    """
    saved: dict[str, Path] = {}
    for id_, trace in sorted(found.items()):
        path = folder / f"{id_}.json"
        head = json.dumps({"violates": id_} if target is None else {"violates": id_, "target": target})[1:-1]
        if _write(path, traces.dumps(trace).replace("{", f"{{{head}, ", 1)):
            saved[id_] = path
    return saved


def replay(args: argparse.Namespace) -> int:
    """Carry out one trace and show what it does."""
    from pawl_gate import report_text
    from pawl_gate.runner import run_trace
    from pawl_gate.verify import Exit
    from pawl_spec.judge import judge

    trace, made_for = _read_trace(args.trace)
    if args.target is None and args.driver is None:
        args.target = made_for
    with closing(_target(args)) as target:
        history = run_trace(target, trace)
    broken, checked = judge(history)
    code = Exit.VIOLATED if broken else Exit.HOLDS if checked else Exit.INCOMPLETE
    if args.json:
        _print_json(report_text.replay_document(history, broken, checked, code))
    else:
        _print_text(report_text.replay_text(history, broken, checked, str(args.trace)))
    return code


def _read_trace(path: Path) -> tuple[Trace, str]:
    """A trace file in either form, and the target that it names (by default Pawl). Raises: Usage."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TRACE_BYTES + 1)
    except OSError as error:
        raise Usage(f"cannot read {path}: {error.strerror}") from None
    if len(data) > MAX_TRACE_BYTES:
        raise Usage(f"{path} is no trace: it is longer than {MAX_TRACE_BYTES} bytes")
    # The byte form, as a fuzzer keeps it, begins with its version; JSON never does.
    if data[:1] == bytes([traces.VERSION]):
        return traces.decode(data), DEFAULT_TARGET
    try:
        text = data.decode("utf-8")
        trace = traces.loads(text)
        target = json.loads(text).get("target", DEFAULT_TARGET)
    except UnicodeDecodeError:
        raise Usage(f"{path} is no trace: it is neither JSON text nor the byte form") from None
    except TraceError as error:
        raise Usage(f"{path} is no trace: {error}") from None
    # A path would be started as a driver.
    if not isinstance(target, str) or "/" in target:
        raise Usage(f'{path} is no trace: "target" must be the name of a target, not of a program')
    return trace, target


def invariants(args: argparse.Namespace) -> int:
    """List the invariants."""
    from pawl_gate import report_text

    if args.json:
        _print_json(report_text.invariants_document())
    else:
        _print_text(report_text.invariants_text())
    return OK


def explain(args: argparse.Namespace) -> int:
    """Show what stands behind one invariant."""
    from pawl_gate import explain as explanations
    from pawl_gate import explain_text

    try:
        entry = explanations.find(args.id)
    except explanations.UnknownInvariant as error:
        raise Usage(str(error)) from None
    explained = explanations.explain(entry)
    if args.json:
        _print_json(explain_text.explain_document(explained))
    else:
        _print_text(explain_text.explain_text(explained))
    return OK


def _target(args: argparse.Namespace) -> Any:
    """The target that was asked for. Raises: Usage, HarnessBroken."""
    from pawl_gate.targets.registry import UnknownTarget, find_target

    if args.driver is not None:
        from pawl_gate.targets.driver import DriverTarget

        try:
            command = shlex.split(args.driver)
        except ValueError as error:
            raise Usage(f"--driver: {error}") from None
        if not command:
            raise Usage("--driver: the command is empty")
        return DriverTarget(command)
    try:
        return find_target(args.target or DEFAULT_TARGET)
    except UnknownTarget as error:
        raise Usage(str(error)) from None


def _print_json(document: dict[str, Any]) -> None:
    _print(json.dumps(document, indent=2) + "\n")


def _print_text(text: str) -> None:
    # Parts of it are a target's own words.
    _print(visible(text))


def _print(text: str) -> None:
    """Write to stdout. Raises: Unwritten (a full disk), BrokenPipeError (a reader that has left)."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Unwritten(f"cannot write to stdout: {error.strerror}") from None


# -- options ----------------------------------------------------------------------------------------------------------


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 10) or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {2**32 - 1}")
    return int(text)


def _seconds(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < len(text) <= 6) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 999999")
    return int(text)


def parser() -> Parser:
    """The command line."""
    top = Parser(prog="pawl", description="Hold a Signal-protocol implementation to a published threat model.")
    top.set_defaults(verb=None)
    verbs = top.add_subparsers(metavar="VERB", title="verbs", parser_class=Parser)

    one = verbs.add_parser("verify", help="hold a target to the specification", allow_abbrev=False)
    _target_options(one)
    one.add_argument(
        "--budget", choices=("smoke", "pr", "nightly"), default="smoke", help="how much is searched (default: smoke)"
    )
    one.add_argument(
        "--seconds", type=_seconds, metavar="N", help="cap on the search, for a slow machine (default: the budget's)"
    )
    one.add_argument("--seed", type=_seed, default=0, metavar="N", help="of the search; the same seed, the same traces")
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

    one = verbs.add_parser("replay", help="carry out one saved trace and show what it does", allow_abbrev=False)
    one.add_argument("trace", type=Path, metavar="TRACE", help="a trace: JSON, or the byte form of a fuzzer's corpus")
    _target_options(one, default="the target that the file names, else pawl")
    one.add_argument("--json", action="store_true", help="print the history as JSON")
    one.set_defaults(verb=replay)

    one = verbs.add_parser("invariants", help="list what must hold", allow_abbrev=False)
    one.add_argument("--json", action="store_true", help="print the registry as JSON")
    one.set_defaults(verb=invariants)

    one = verbs.add_parser("explain", help="show what stands behind one invariant", allow_abbrev=False)
    one.add_argument("id", metavar="ID", help="its id, such as CTR-03")
    one.add_argument("--json", action="store_true", help="print it as JSON")
    one.set_defaults(verb=explain)
    return top


def _target_options(one: argparse.ArgumentParser, default: str = "pawl") -> None:
    which = one.add_mutually_exclusive_group()
    which.add_argument(
        "--target",
        metavar="NAME",
        help=f"pawl, node-libsignal, node-libsignal-live, or control:NAME for a broken variant (default: {default})",
    )
    which.add_argument("--driver", metavar="COMMAND", help="a program that speaks the driver contract, in one argument")


# -- the way out ------------------------------------------------------------------------------------------------------


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
        top.error("say what to do: verify, replay, invariants or explain")
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


if __name__ == "__main__":
    sys.exit(main())
