"""The verb `vectors`: write the vectors of sessions and groups, or run them on a target."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from pawl_gate.cli.common import OK, Usage, Verbs, find_target, print_json, print_text, target_options

FOLDER: Final = Path("vectors")
VIOLATED: Final = 1

MAX_FILE_BYTES: Final = 16 << 20
"""Bytes of one file of vectors: many times the largest."""


def add(verbs: Verbs) -> None:
    """Its options."""
    one = verbs.add_parser(
        "vectors", help="write vectors of sessions and groups, or run them on a target", allow_abbrev=False
    )
    one.set_defaults(verb=lambda args: one.error("say what to do: generate or check"))
    which = one.add_subparsers(metavar="ACTION", title="actions", parser_class=type(one))

    make = which.add_parser("generate", help="write the vectors from traces", allow_abbrev=False)
    make.add_argument("--out", type=Path, default=FOLDER, metavar="DIR", help=f"where to (default: {FOLDER})")
    make.add_argument(
        "--producers",
        type=Path,
        metavar="DIR",
        help=f"descriptions of the implementations that confirm them (default: {FOLDER / 'producers'})",
    )
    make.add_argument("--check", action="store_true", help="change nothing; exit 1 if a file is not what it should be")
    make.set_defaults(verb=generate)

    run = which.add_parser("check", help="run vectors on a target", allow_abbrev=False)
    target_options(run)
    run.add_argument("files", nargs="*", type=Path, metavar="FILE", help=f"files of vectors (default: all in {FOLDER})")
    run.add_argument(
        "--expect",
        type=Path,
        metavar="FILE",
        help="the description of a producer: exactly its deviations are no failure",
    )
    run.add_argument("--json", action="store_true", help="print the results as JSON")
    run.set_defaults(verb=check)


def generate(args: argparse.Namespace) -> int:
    """Write the files, or compare them with what they should be."""
    from pawl_gate.vectors import producers
    from pawl_gate.vectors.generate import generate as generated
    from pawl_gate.vectors.record import Disagreement

    folder = args.producers or FOLDER / "producers"
    if not folder.is_dir():
        raise Usage(f"there is no folder {folder}; run in a checkout, or let --producers name it")
    try:
        known = producers.read_all(folder)
    except (producers.ProducerError, OSError) as error:
        raise Usage(f"{folder}: {error}") from None
    try:
        files = generated(known, progress=lambda file: print(f"pawl vectors: {file}", file=sys.stderr))
    except Disagreement as error:
        # Nothing is written: a vector on which the specification and Pawl differ is worth nothing.
        print(f"pawl vectors: no vectors: {error}", file=sys.stderr)
        return VIOLATED
    wrong = [name for name, text in files.items() if _content(args.out / name) != text.encode()]
    if not args.check:
        try:
            args.out.mkdir(parents=True, exist_ok=True)
            for name in wrong:
                (args.out / name).write_text(files[name], "utf-8")
        except OSError as error:
            raise Usage(f"cannot write to {args.out}: {error.strerror}") from None
        print_text(f"{len(files)} files in {args.out}, {len(wrong)} of them changed\n")
        return OK
    stray = {path.name for path in _files(args.out)} - set(files)
    for name in sorted({*wrong, *stray}):
        what = "is not what the vectors are made from" if name in files else "is made by nothing"
        print(f"pawl vectors: {args.out / name} {what}: run `make vectors`", file=sys.stderr)
    return VIOLATED if wrong or stray else OK


def _files(folder: Path) -> list[Path]:
    """The files of vectors in a folder."""
    from pawl_spec.vector_operations import SUITES

    schemas = {suite.schema for suite in SUITES}
    return sorted(path for suite in SUITES for path in folder.glob(f"{suite.prefix}*.json") if path.name not in schemas)


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def check(args: argparse.Namespace) -> int:
    """Run vectors on a target and say how each group went."""
    from pawl_gate.vectors import check as checking
    from pawl_gate.vectors import producers
    from pawl_gate.vectors.report import Results, document, text

    paths = args.files or _files(FOLDER)
    if not paths:
        raise Usage(f"there are no vectors in {FOLDER}; name files, or run in a checkout")
    files = [(path, _read(path)) for path in paths]
    producer = None
    if args.expect is not None:
        try:
            producer = producers.read(args.expect)
        except producers.ProducerError as error:
            raise Usage(f"{args.expect}: {error}") from None
        except OSError as error:
            raise Usage(f"cannot read {args.expect}: {error.strerror}") from None
    with closing(find_target(args)) as target:
        results = Results(target.hello)
        for path, file in files:
            print(f"pawl vectors: {path.name}", file=sys.stderr)
            results.files[path.name] = [checking.check(target, group, test) for group, test in file.tests()]
    if producer is not None:
        if args.files:
            # The deviations on other files are not missed.
            producer = producer.only({each.id for each in results.all()})
        results.differences = producers.differences(producer, target.hello, results.all())
    if args.json:
        print_json(document(results))
    else:
        print_text(text(results))
    return results.exit


def _read(path: Path) -> Any:
    """One file of vectors. Raises: Usage."""
    from pawl_spec.vectors import VectorError, loads

    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise Usage(f"{path} is no file of vectors: it is longer than {MAX_FILE_BYTES} bytes")
        return loads(data.decode("utf-8"))
    except OSError as error:
        raise Usage(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Usage(f"{path} is no file of vectors: it is not text") from None
    except VectorError as error:
        raise Usage(f"{path} is no file of vectors: {error}") from None
