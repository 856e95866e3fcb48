"""The verb `verify`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

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

if TYPE_CHECKING:
    from pawl_gate.expect import Expected
    from pawl_gate.explain import Place
    from pawl_gate.outputs import Run
    from pawl_gate.verify import Report, Selection

PAGE: Final = Path("build", "report", "index.html")

FORMATS: Final = ("junit", "sarif", "markdown")
"""Reports for services: each has an option, and a module of `pawl_gate.outputs`, of that name."""


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
    known = one.add_mutually_exclusive_group()
    known.add_argument(
        "--expect", type=Path, metavar="FILE", help="a list of expected findings: exactly these are no failure"
    )
    known.add_argument(
        "--write-expect",
        type=Path,
        metavar="FILE",
        help="write that list from what is found now, each with its trace; reasons that are there already stay",
    )
    one.add_argument(
        "--changed-since", metavar="REV", help="judge only what the changes since this revision of git touch"
    )
    one.add_argument(
        "--code",
        type=Path,
        metavar="DIR",
        help="where the judged code lies; its comments name invariants in brackets (default, for Pawl: its own)",
    )
    one.add_argument(
        "--out", type=Path, default=FINDINGS, metavar="DIR", help=f"where findings are saved (default: {FINDINGS})"
    )
    where = one.add_mutually_exclusive_group()
    where.add_argument(
        "--report", type=Path, default=PAGE, metavar="FILE", help=f"where the page is written (default: {PAGE})"
    )
    where.add_argument("--no-report", dest="report", action="store_const", const=None, help="write no page")
    one.add_argument("--junit", type=Path, metavar="FILE", help="write a report in JUnit XML too")
    one.add_argument("--sarif", type=Path, metavar="FILE", help="write a report in SARIF 2.1.0 too")
    one.add_argument("--markdown", type=Path, metavar="FILE", help="write a summary in Markdown too")
    one.add_argument("--json", action="store_true", help="print the report as JSON")
    one.set_defaults(verb=verify)


def verify(args: argparse.Namespace) -> int:
    """Hold a target to the specification."""
    # Check the files before the work is done.
    made = _now()
    if args.report is not None and args.report.suffix == ".json":
        raise Usage("--report: the page is HTML; beside it the same name, ending in .json, holds its data")
    if args.write_expect is not None and args.changed_since is not None:
        raise Usage("--write-expect: a run that leaves invariants out says nothing of their findings")
    name = args.driver or args.target or DEFAULT_TARGET
    expected = _expected(args, name)
    for path in _asked(args).values():
        # What an earlier run left there must not be taken for this one's.
        if path.is_file():
            path.unlink(missing_ok=True)
    try:
        return _verify(args, name, made, expected)
    except (Usage, KeyboardInterrupt):
        raise
    except Exception as error:
        for form, path in _asked(args).items():
            if not path.is_file():
                write(path, _module(form).broken(name, _one_line(error), made))
        raise


def _verify(args: argparse.Namespace, name: str, made: datetime, expected: Expected | None) -> int:
    from pawl_gate import page, report_text
    from pawl_gate.outputs import Run
    from pawl_gate.traceability.evidence import code_digest
    from pawl_gate.verify import BUDGETS, Exit, Verification

    digest = code_digest()
    places, driver, selection = _code(args, name)
    if expected is not None and selection is not None:
        expected = expected.without(selection.left_out)
    with closing(find_target(args)) as target:
        budget, is_driver = BUDGETS[args.budget], args.driver is not None
        budget = budget if args.seconds is None else replace(budget, seconds=args.seconds)
        run = Verification(
            target,
            name=name,
            budget=budget,
            seed=args.seed,
            progress=sys.stderr,
            is_driver=is_driver,
            known=list(expected.traces.values()) if expected else [],
            selection=selection,
        )
        is_idle = selection is not None and not selection.judged
        report = run.report if is_idle else run.run()
        driver = driver or _driver_file(getattr(target, "command", ()))
    saved = save(
        {id_: found.trace for id_, found in report.found.items()}, args.out, None if is_driver or "/" in name else name
    )
    if args.write_expect is not None:
        expected = _renew(args.write_expect, expected, name, report)
    code = report.exit
    if is_idle:
        # No run, so none that judged nothing: the caller asked for what was touched, and nothing was.
        code = Exit.HOLDS
    elif expected is not None:
        comparison = expected.compare(report.violated)
        code = Exit.VIOLATED if not comparison.same else Exit.INCOMPLETE if report.gaps else Exit.HOLDS
    written, fault = None, None
    if args.report is not None and not is_idle:
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
    elif is_idle and selection is not None:
        print_text("\n".join(["nothing to judge", *report_text.selected(selection)]) + "\n")
    else:
        print_text(report_text.verify_text(report, saved, expected, code, written))
    if written is not None:
        # Beside the page, for `pawl trace`.
        write(written.with_suffix(".json"), json.dumps(document, indent=2) + "\n")
    lost = _write_for_services(args, Run(report, saved, expected, code, made, places, driver))
    if fault is not None:
        raise fault
    # A service that finds no report may take that for a good one.
    return Exit.BROKEN if lost and code is Exit.HOLDS else code


# -- the list of what is known ----------------------------------------------------------------------------------------


def _expected(args: argparse.Namespace, name: str) -> Expected | None:
    """The list of expected findings, where there is one. Raises: Usage."""
    from pawl_gate import expect

    path = args.expect or args.write_expect
    if path is None or (path is args.write_expect and not path.exists()):
        return None
    try:
        return expect.read(path, target=name)
    except expect.ExpectError as error:
        raise Usage(f"{path}: {error}") from None
    except OSError as error:
        raise Usage(f"cannot read {path}: {error.strerror}") from None


def _renew(path: Path, old: Expected | None, name: str, report: Report) -> Expected:
    """Write the list anew from what was found."""
    from pawl_gate import expect

    seen = {one.invariant: one.what for trial in report.on_trial for one in trial.broken}
    seen |= {id_: found.broken.violation.what for id_, found in report.found.items()}
    shown = {id_: found.trace for id_, found in report.found.items()}
    made = expect.renewed(old, target=name, seen=seen, shown=shown, whole=not report.cut)
    write(path, expect.dumps(made))
    return made


# -- the code that is judged ------------------------------------------------------------------------------------------


def _code(
    args: argparse.Namespace, name: str
) -> tuple[Mapping[str, tuple[Place, ...]], str | None, Selection | None]:  # fmt: skip
    """Where the judged code names which invariant, the driver's file, and what to judge. Raises: Usage."""
    from pawl_gate.explain import checkout
    from pawl_gate.traceability import named, touched

    own = args.driver is None and (name.split("-")[0] == DEFAULT_TARGET or name.startswith("control:"))
    root, why = _root()
    code = None
    places: Mapping[str, tuple[Place, ...]] = named.library() if own else {}
    if args.code is not None:
        folder = args.code.resolve()
        if not folder.is_dir():
            raise Usage(f"--code: {args.code} is no folder")
        if not folder.is_relative_to(root):
            raise Usage(f"--code: {args.code} is not below {root}")
        places, code = named.places(folder, root), touched.Code(folder, judges=_program(args, name, root))
    elif own and checkout() == root:
        code = touched.Code(root / named.LIBRARY, touched.JUDGES)
    if args.changed_since is None:
        return places, None, None
    if why:
        raise Usage(f"--changed-since: {why}")
    if own and code is None:
        raise Usage("--changed-since: Pawl itself is judged, and this is no checkout of it; say --driver, or --code")
    try:
        return places, None, touched.select(args.changed_since, root, code)
    except touched.GitError as error:
        raise Usage(f"--changed-since {args.changed_since}: {error}") from None


def _root() -> tuple[Path, str]:
    """The folder of the repository around this one; this one, and why, where there is none."""
    from pawl_gate.traceability import touched

    try:
        return touched.root_of(Path.cwd()), ""
    except touched.GitError as error:
        return Path.cwd().resolve(), str(error)


def _program(args: argparse.Namespace, name: str, root: Path) -> tuple[str, ...]:
    """The files of a driver's command that lie in the repository."""
    import shlex

    words = shlex.split(args.driver) if args.driver else [name]
    paths = [Path(word).resolve() for word in words if "/" in word or Path(word).is_file()]
    return tuple(path.relative_to(root).as_posix() for path in paths if path.is_file() and path.is_relative_to(root))


def _driver_file(command: tuple[str, ...]) -> str | None:
    """The file of a driver, from the repository's folder where it lies in it; None where the target is no program."""
    if not command:
        return None
    root, _ = _root()
    files = [path.resolve() for path in map(Path, command) if path.is_file()]
    for path in files:
        if path.is_relative_to(root):
            return path.relative_to(root).as_posix()
    return files[0].as_posix() if files else command[0]


# -- reports for services ---------------------------------------------------------------------------------------------


def _asked(args: argparse.Namespace) -> dict[str, Path]:
    """The reports that were asked for, each with its file."""
    return {form: getattr(args, form) for form in FORMATS if getattr(args, form) is not None}


def _module(form: str) -> Any:
    from importlib import import_module

    return import_module(f"pawl_gate.outputs.{form}")


def _write_for_services(args: argparse.Namespace, run: Run) -> bool:
    """Write the reports that were asked for; say whether one could not be written."""
    asked = _asked(args)
    return [write(path, _module(form).text(run)) for form, path in asked.items()].count(None) > 0


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _now() -> datetime:
    """The time that the report states: SOURCE_DATE_EPOCH, in Unix seconds, where one report must be like another."""
    fixed = os.environ.get("SOURCE_DATE_EPOCH")
    if fixed is None:
        return datetime.now(UTC)
    try:
        return datetime.fromtimestamp(int(fixed), UTC)
    except (ValueError, OverflowError, OSError):
        raise Usage(f"SOURCE_DATE_EPOCH: {fixed!r} is no time in Unix seconds") from None
