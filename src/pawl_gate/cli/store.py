"""The verb `store`: look at a device's store, migrate it, import a device into a new one, or put stores on trial."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pawl_gate.cli.common import INCOMPLETE, OK, Usage, Verbs, print_json, print_text, seed
from pawl_gate.trials import MODULES, Campaign, TrialReport, Unavailable, campaign

DAMAGED = 1
"""The exit code of a violation."""

SOURCES = ("node-libsignal",)


def add(verbs: Verbs) -> None:
    """Its options."""
    one = verbs.add_parser("store", help="check or migrate a device's store, or import a device", allow_abbrev=False)
    whats = one.add_subparsers(metavar="WHAT", required=True, parser_class=type(one))
    check = whats.add_parser("check", help="open the seal of every record; nothing is changed", allow_abbrev=False)
    migrate = whats.add_parser(
        "migrate",
        help="bring a SQLite store to the present schema, all or nothing",
        allow_abbrev=False,
    )
    for each, verb in ((check, store_check), (migrate, store_migrate)):
        each.add_argument("path", type=Path, metavar="PATH", help="the store's file")
        each.set_defaults(verb=verb)
    migrate.add_argument(
        "--backup", type=Path, metavar="FILE", help="copy the store to this new file first; it holds every key"
    )
    bring = whats.add_parser("import", help="take over another package's device into a new store", allow_abbrev=False)
    bring.add_argument("--from", dest="source", choices=SOURCES, required=True, help="the package")
    bring.add_argument("file", type=Path, metavar="FILE", help="the document that its application wrote")
    bring.add_argument("--store", type=Path, required=True, metavar="PATH", help="the new store")
    bring.set_defaults(verb=store_import)
    trial = whats.add_parser(
        "trial",
        help="do to a store what happens to stores, many times, and judge what is left",
        allow_abbrev=False,
    )
    trial.add_argument("name", nargs="?", metavar="NAME", help=f"the campaign: {', '.join(MODULES)} (default: all)")
    trial.add_argument("--store", metavar="KIND", help="the store (default: each that the campaign is for)")
    trial.add_argument(
        "--amount", type=amount, metavar="N", help="how often the fault strikes (default: the budget's number)"
    )
    trial.add_argument("--budget", choices=("pr", "nightly"), default="pr", help="how much is done (default: pr)")
    trial.add_argument("--seed", type=seed, default=0, metavar="N", help="of what is done, and of when a fault strikes")
    trial.add_argument(
        "--control", metavar="NAME", help="in place of a store, one that is broken on purpose: exit code 1 is due"
    )
    trial.set_defaults(verb=store_trial)
    for each in (check, migrate, bring, trial):
        each.add_argument("--json", action="store_true", help="print it as JSON")


def store_check(args: argparse.Namespace) -> int:
    """Open every record of a store."""
    from pawl.errors import CorruptStore, StorageError, UnsupportedSchema
    from pawl.storage import Table

    if not args.path.exists():
        raise Usage(f"there is no store at {args.path}")
    counts: dict[str, int] = {}
    damage: list[str] = []
    try:
        store = _open(args.path)
        try:
            for table in Table:
                with store.transaction() as tx:
                    counts[table.value] = tx.count(table, b"")
                    try:
                        tx.scan(table, b"")
                    except CorruptStore as error:
                        damage.append(str(error))
        finally:
            store.close()
    except CorruptStore as error:
        damage.append(str(error))
    except UnsupportedSchema as error:
        raise Usage(f"{args.path}: {error}") from None
    except StorageError as error:
        raise Usage(f"{args.path} cannot be looked at: {error}") from None
    code = DAMAGED if damage else OK
    if args.json:
        print_json({"path": str(args.path), "records": counts, "damage": damage, "exitCode": code})
    else:
        head = f"{args.path} is damaged" if damage else f"{args.path} is whole: {sum(counts.values())} records"
        lines = [head, *(f"  {each}" for each in damage), *(f"  {name:14} {count}" for name, count in counts.items())]
        if damage:
            lines.append("restore a copy of the whole store, or drop a damaged session with Device.forget_session")
        print_text("\n".join(lines) + "\n")
    return code


def store_migrate(args: argparse.Namespace) -> int:
    """Bring a SQLite store to the present schema."""
    from pawl.errors import CorruptStore, ProtocolError
    from pawl.storage import migrate_sqlite
    from pawl.storage.sqlite_file import SCHEMA_VERSION

    try:
        former = migrate_sqlite(args.path, backup=args.backup)
    except CorruptStore as error:
        _say(args, DAMAGED, f"{args.path} is as it was: {error}", {"damage": [str(error)]})
        return DAMAGED
    except ProtocolError as error:
        raise Usage(f"{args.path} is as it was: {error}") from None
    done = former != SCHEMA_VERSION
    text = f"migrated from schema {former} to {SCHEMA_VERSION}" if done else f"has schema {former} already"
    _say(args, OK, f"{args.path} {text}", {"former": former, "schema": SCHEMA_VERSION})
    return OK


def store_import(args: argparse.Namespace) -> int:
    """Take over a device into a new store."""
    from pawl import MemoryStore
    from pawl.errors import ProtocolError
    from pawl.node_import import MAX_IMPORT_BYTES, import_from_node

    try:
        with args.file.open("rb") as file:
            document = file.read(MAX_IMPORT_BYTES + 1)
    except OSError as error:
        raise Usage(f"cannot read {args.file}: {error.strerror}") from None
    if args.store.exists():
        raise Usage(f"there is something at {args.store}; a device is imported into a new store")
    try:
        # A document that is refused leaves nothing. A store is never tidied away: it may be another's by then.
        import_from_node(MemoryStore(), document)
        store = _open(args.store)
        try:
            imported = import_from_node(store, document)
        finally:
            store.close()
    except ProtocolError as error:
        raise Usage(f"{args.file} was not imported: {error}") from None
    found = asdict(imported)
    lines = [f"{args.file} is now in {args.store}; the former device must not go on; the file holds all keys"]
    lines += [f"  {name.replace('_', ' '):14} {count}" for name, count in found.items()]
    _say(args, OK, "\n".join(lines), found)
    return OK


def amount(text: str) -> int:
    """The option --amount. Raises: ArgumentTypeError."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 6) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 999999")
    return int(text)


def store_trial(args: argparse.Namespace) -> int:
    """Run campaigns on stores."""
    reports: list[TrialReport] = []
    unavailable: list[str] = []
    for name, one, store, options in _trials(args):

        def say(line: str, where: str = f"{name} on {store}") -> None:
            print(f"{where}: {line}", file=sys.stderr)

        often = one.AMOUNTS[args.budget] if args.amount is None else args.amount
        try:
            with tempfile.TemporaryDirectory(prefix="pawl-trial-") as folder:
                reports.append(one.run(store, often, args.seed, say, Path(folder), **options))
        except Unavailable as error:
            unavailable.append(f"{name} on {store}: {error}")
    unchecked = [report for report in reports if not report.checked]
    code = OK if reports and not unavailable and not unchecked else INCOMPLETE
    if any(report.broken for report in reports):
        code = DAMAGED
    if args.json:
        print_json({"trials": [asdict(each) for each in reports], "notRun": unavailable, "exitCode": code})
    else:
        print_text(_trial_text(reports, unavailable))
    return code


def _trials(args: argparse.Namespace) -> Iterator[tuple[str, Campaign, str, dict[str, Any]]]:
    """What is to be run: name, campaign, store, further options. Raises: Usage."""
    if args.control is not None:
        from pawl_gate.trials.broken import BROKEN
        from pawl_gate.trials.broken_pools import BROKEN_POOLS
        from pawl_gate.trials.controls import BELOW

        controls = {name: (each.campaign, each.kind) for name, each in (BROKEN | BROKEN_POOLS).items()}
        controls |= {name: (of, each.kind) for name, (of, each) in BELOW.items()}
        if args.control not in controls:
            raise Usage(f"there is no control {args.control}; there are {', '.join(controls)}")
        name, kind = controls[args.control]
        if args.name not in (None, name) or args.store not in (None, kind):
            raise Usage(f"the control {args.control} is one of {name} on {kind}")
        yield name, campaign(name), kind, {"control": args.control}
        return
    if args.name is not None and args.name not in MODULES:
        raise Usage(f"there is no campaign {args.name}; there are {', '.join(MODULES)}")
    chosen = {name: campaign(name) for name in MODULES if args.name in (None, name)}
    kinds = {store for one in chosen.values() for store in one.STORES}
    # Said before anything is run.
    if args.store is not None and args.store not in kinds:
        known = ", ".join(sorted(kinds))
        if args.name is None:
            raise Usage(f"no campaign is for {args.store}; there are {known}")
        raise Usage(f"{args.name} is not for {args.store}; it is for {known}")
    for name, one in chosen.items():
        for store in one.STORES:
            if args.store in (None, store):
                yield name, one, store, {}


def _trial_text(reports: list[TrialReport], unavailable: list[str]) -> str:
    broken = [report for report in reports if report.broken]
    ids = sorted({each.invariant for report in broken for each in report.broken})
    checks = sum(sum(report.checked.values()) for report in reports)
    held = sorted({id_ for report in reports for id_ in report.checked})
    if broken:
        lines = [f"{', '.join(ids)} {'does' if len(ids) == 1 else 'do'} not hold on trial"]
    elif not checks:
        lines = ["nothing was judged"]
    else:
        lines = [f"{len(held)} invariants hold on trial: {', '.join(held)} ({checks:,} checks)"]
    lines += [f"not run: {each}" for each in unavailable]
    for report in reports:
        verdict = "broken" if report.broken else "holds" if report.checked else "nothing was judged"
        lines.append(f"{report.name} on {report.store}: {verdict}, seed {report.seed}, {report.seconds:.1f} s")
        lines += [f"  {each}" for each in report.broken]
        lines += [f"  {count:8,} {what}" for what, count in report.counted.items()]
    return "\n".join(lines) + "\n"


def _open(path: Path) -> Any:
    from pawl import JSONFileStore, SQLiteStore

    return JSONFileStore(path) if _is_json(path) else SQLiteStore(path)


def _is_json(path: Path) -> bool:
    """By how the file begins; where there is none, or it begins in no such way, by its name."""
    head = b""
    # What is no file, or cannot be read, is for the store to refuse: a pipe would never begin.
    with suppress(OSError):
        if path.is_file():
            with path.open("rb") as file:
                head = file.read(16)
    if head == b"SQLite format 3\0":
        return False
    return head.startswith(b'{"format":') or path.suffix == ".json"


def _say(args: argparse.Namespace, code: int, text: str, document: dict[str, Any]) -> None:
    if args.json:
        print_json({**document, "exitCode": code})
    else:
        print_text(text + "\n")
