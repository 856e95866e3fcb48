"""What the verbs share: errors of one line, targets, trace files, and output that cannot be lost unnoticed."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from pawl_gate.visible import visible
from pawl_spec import trace as traces
from pawl_spec.trace import Trace, TraceError

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

MAX_TRACE_BYTES: Final = 1 << 20
"""Bytes of a trace file: several times the longest trace."""

DEFAULT_TARGET: Final = "pawl"

FINDINGS: Final = Path("build", "findings")
"""Where findings are saved."""

MOST_JOBS: Final = 256
"""Processes at once, wherever there is a choice."""

OK, USAGE, BROKEN, INCOMPLETE = 0, 2, 3, 4

Verbs = Any
"""Where a verb adds its parser: what `argparse` gives for subparsers."""


class Usage(Exception):
    """The caller asked for something that there is not; one line says what."""


class Unwritten(Exception):
    """Stdout did not take what was to be said; one line says why."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and where help is; exit code 2."""
        self.exit(USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")

    def print_help(self, file: SupportsWrite[str] | None = None) -> None:
        """Print the help as any report is printed. Raises: Unwritten, BrokenPipeError."""
        # Whether argparse itself looks away from a full disk depends on Python's release.
        if file is None:
            print_all(self.format_help())
        else:
            super().print_help(file)


# -- options -----------------------------------------------------------------------------------------------------------


def jobs(text: str) -> int:
    """The option --jobs. Raises: ArgumentTypeError."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 3) or not 1 <= int(text) <= MOST_JOBS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {MOST_JOBS}")
    return int(text)


# -- targets and traces ------------------------------------------------------------------------------------------------


def find_target(args: argparse.Namespace) -> Any:
    """The target that was asked for. Raises: Usage, HarnessBroken."""
    from pawl_gate.targets.registry import UnknownTarget
    from pawl_gate.targets.registry import find_target as named

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
        return named(args.target or DEFAULT_TARGET)
    except UnknownTarget as error:
        raise Usage(str(error)) from None


def target_options(one: argparse.ArgumentParser, default: str = "pawl") -> None:
    """Let the verb say which target it is about."""
    which = one.add_mutually_exclusive_group()
    which.add_argument(
        "--target",
        metavar="NAME",
        help="pawl, pawl-sqlite (or -json, -postgres, -adapter: over that store), node-libsignal, node-libsignal-live, "
        f"or control:NAME for a broken variant (default: {default})",
    )
    which.add_argument("--driver", metavar="COMMAND", help="a program that speaks the driver contract, in one argument")


def read_trace(path: Path) -> tuple[Trace, str]:
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


# -- output -----------------------------------------------------------------------------------------------------------


def print_json(document: dict[str, Any]) -> None:
    """Print data for machines. Raises: Unwritten, BrokenPipeError."""
    print_all(json.dumps(document, indent=2) + "\n")


def print_text(text: str) -> None:
    """Print text for people, with what could steer a terminal spelled out. Raises: Unwritten, BrokenPipeError."""
    # Parts of it are a target's own words.
    print_all(visible(text))


def print_all(text: str) -> None:
    """Write to stdout. Raises: Unwritten (a full disk), BrokenPipeError (a reader that has left)."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Unwritten(f"cannot write to stdout: {error.strerror}") from None


def write(path: Path, text: str) -> Path | None:
    """Write a file and the folders to it. What cannot be written is said, and the run goes on: None."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        print(f"pawl: cannot write {path}: {error.strerror}", file=sys.stderr)
        return None
    return path


def save(found: dict[str, Trace], folder: Path, target: str | None) -> dict[str, Path]:
    """Write each trace to `folder`, with what it shows. What cannot be written is said, and the report goes on.

    A target is named in the file, the command of a driver is not: a file must not say which programs to start.
    """
    saved: dict[str, Path] = {}
    for id_, trace in sorted(found.items()):
        path = folder / f"{id_}.json"
        head = json.dumps({"violates": id_} if target is None else {"violates": id_, "target": target})[1:-1]
        if write(path, traces.dumps(trace).replace("{", f"{{{head}, ", 1)):
            saved[id_] = path
    return saved


# -- numbers ----------------------------------------------------------------------------------------------------------


def seed(text: str) -> int:
    """The option --seed. Raises: ArgumentTypeError."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 10) or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {2**32 - 1}")
    return int(text)


def seconds(text: str) -> int:
    """The option --seconds. Raises: ArgumentTypeError."""
    if not (text.isascii() and text.isdecimal() and 0 < len(text) <= 6) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 999999")
    return int(text)
