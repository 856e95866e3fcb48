"""The verb `store`: look at a device's store, migrate it, or import a device into a new one."""

from __future__ import annotations

import argparse
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pawl_gate.cli.common import OK, Usage, Verbs, print_json, print_text

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
    bring = whats.add_parser("import", help="take over another package's device into a new store", allow_abbrev=False)
    bring.add_argument("--from", dest="source", choices=SOURCES, required=True, help="the package")
    bring.add_argument("file", type=Path, metavar="FILE", help="the document that its application wrote")
    bring.add_argument("--store", type=Path, required=True, metavar="PATH", help="the new store")
    bring.set_defaults(verb=store_import)
    for each in (check, migrate, bring):
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
        former = migrate_sqlite(args.path)
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
