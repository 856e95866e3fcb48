"""The verb `corpus`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pawl_gate.cli.common import BROKEN, OK, Usage, Verbs, jobs, print_json, print_text

if TYPE_CHECKING:
    from pawl_gate.fuzzing.corpus import Change, Origin, Verified
    from pawl_gate.fuzzing.entries import Entry


def add(verbs: Verbs) -> None:
    """Its options."""
    one = verbs.add_parser("corpus", help="look after the inputs that the fuzzers begin with", allow_abbrev=False)
    what = one.add_subparsers(metavar="WHAT", required=True, title="what")

    stats = what.add_parser("stats", help="count the inputs of each entry point", allow_abbrev=False)
    verify = what.add_parser(
        "verify", help="hold names and manifests to the files, and run each input twice", allow_abbrev=False
    )
    for some in (stats, verify):
        some.add_argument("entry", nargs="*", metavar="ENTRY", help="entry points; none: all that have a corpus")
        some.add_argument("--json", action="store_true", help="print JSON")
    verify.add_argument("--jobs", type=jobs, default=1, metavar="N", help="entry points at once (default: 1)")
    merge = what.add_parser(
        "merge", help="add what other folders reach more, or reach with smaller inputs", allow_abbrev=False
    )
    merge.add_argument("entry", metavar="ENTRY")
    merge.add_argument("folder", nargs="+", type=Path, metavar="FOLDER", help="inputs, with or without a manifest")
    merge.add_argument(
        "--fuzzer", action="store_true", help="let libFuzzer choose among them first: for thousands of inputs"
    )
    minimize = what.add_parser(
        "minimize", help="take out what is neither pinned nor needed for a feature", allow_abbrev=False
    )
    minimize.add_argument("entry", metavar="ENTRY")
    new = what.add_parser("add", help="add inputs one by one", allow_abbrev=False)
    new.add_argument("entry", metavar="ENTRY")
    new.add_argument("file", nargs="+", type=Path, metavar="FILE")
    new.add_argument("--pin", action="store_true", help="keep them whatever they reach: a finding that was mended")
    for some in (merge, new):
        some.add_argument("--origin", default="by hand", metavar="WORDS", help="where they come from")
    for some in (merge, minimize, new):
        some.add_argument("--into", type=Path, metavar="DIR", help="the corpus (default: corpus/ENTRY of the checkout)")
    for some, does in ((stats, _stats), (verify, _verify), (merge, _merge), (minimize, _minimize), (new, _add)):
        some.set_defaults(verb=_guarded(does))


def find_entry(name: str) -> Entry:
    """The entry point of this name. Raises: Usage."""
    from pawl_gate.fuzzing.entries import ENTRIES

    if name not in ENTRIES:
        raise Usage(f"no entry point is called {name!r}; known are {', '.join(ENTRIES)}")
    return ENTRIES[name]


def _guarded(does: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    def verb(args: argparse.Namespace) -> int:
        from pawl_gate.fuzzing.corpus import Breaks, Refused
        from pawl_gate.verify import Exit

        try:
            return does(args)
        except Breaks as error:
            print(f"pawl: {error}", file=sys.stderr)
            return Exit.VIOLATED
        except Refused as error:
            print(f"pawl: {error}", file=sys.stderr)
            return BROKEN

    return verb


def _chosen(names: list[str]) -> list[Entry]:
    from pawl_gate.fuzzing.entries import ENTRIES

    return [find_entry(name) for name in names] or [one for one in ENTRIES.values() if one.corpus.is_dir()]


def _stats(args: argparse.Namespace) -> int:
    """Count."""
    from pawl_gate.fuzzing.corpus import MOST_BYTES, Origin, load

    rows: list[dict[str, Any]] = []
    for entry in _chosen(args.entry):
        inputs = load(entry.corpus, Origin("", "")).values()
        rows.append(
            {
                "entry": entry.name,
                "inputs": len(inputs),
                "bytes": sum(len(each.data) for each in inputs),
                "pinned": sum(each.pinned for each in inputs),
                "largest": max((len(each.data) for each in inputs), default=0),
                "invariants": sorted({id_ for each in inputs for id_ in each.invariants}),
                "origins": sorted({each.origin.words for each in inputs}),
            }
        )
    size = sum(row["bytes"] for row in rows)
    if args.json:
        print_json({"format": "pawl-corpus-stats", "version": 1, "bytes": size, "most": MOST_BYTES, "corpora": rows})
        return OK
    lines = [f"{len(rows)} corpora, {size:,} bytes of {MOST_BYTES:,}", ""]
    lines.append(f"  {'entry':<24}{'inputs':>8}{'pinned':>8}{'bytes':>10}{'largest':>9}{'invariants':>12}")
    for row in rows:
        numbers = f"{row['inputs']:>8}{row['pinned']:>8}{row['bytes']:>10,}{row['largest']:>9,}"
        lines.append(f"  {row['entry']:<24}{numbers}{len(row['invariants']):>12}")
    print_text("\n".join(lines) + "\n")
    return OK


def _verify(args: argparse.Namespace) -> int:
    """Hold the corpora to what is said of them. Exit codes: 0 in order, 1 not so."""
    from pawl_gate.fuzzing.corpus import MOST_BYTES, verify
    from pawl_gate.verify import Exit

    def one(entry: Entry) -> Verified:
        print(f"corpus: running {entry.name} twice", file=sys.stderr)
        return verify(entry, entry.corpus)

    # The inputs run in processes of their own; a thread waits for them.
    with ThreadPoolExecutor(args.jobs) as at_once:
        found = list(at_once.map(one, _chosen(args.entry)))
    if not any(each.inputs for each in found):
        raise Usage("there are no inputs: nothing was judged")
    wrong = [f"{each.entry}/{line}" for each in found for line in each.wrong]
    size = sum(each.size for each in found)
    if size > MOST_BYTES:
        wrong.append(f"all corpora have {size:,} bytes, more than {MOST_BYTES:,}")
    inputs = sum(each.inputs for each in found)
    if args.json:
        digests = {each.entry: each.digests for each in found}
        print_json({"format": "pawl-corpus-verify", "version": 1, "wrong": wrong, "digests": digests})
    elif wrong:
        print_text(f"{len(wrong)} of {inputs} inputs or more are not in order\n" + "".join(f"  {w}\n" for w in wrong))
    else:
        print_text(f"{inputs} inputs in {len(found)} corpora hold, each run twice with the same transcript\n")
    return Exit.VIOLATED if wrong else OK


def _merge(args: argparse.Namespace) -> int:
    """Merge folders into a corpus."""
    from pawl_gate.engines.corpus import files
    from pawl_gate.fuzzing.corpus import fuzzer_merge, load, merge

    entry, origin = find_entry(args.entry), _origin(args.origin)
    for folder in args.folder:
        if not files(folder):
            raise Usage(f"there are no inputs in {folder}")
    into = args.into or entry.corpus
    with tempfile.TemporaryDirectory() as name:
        folders = args.folder
        if args.fuzzer:
            # Beside what is there already, as otherwise it would choose for that once more.
            chosen = Path(name) / "chosen"
            print("corpus: libFuzzer chooses", file=sys.stderr)
            fuzzer_merge(entry.program, [*folders, into], chosen, most_bytes=entry.most_bytes)
            folders = [chosen]
        print("corpus: running each input", file=sys.stderr)
        change = merge(entry, into, [load(folder, origin) for folder in folders], origin=origin)
    print_text(_told(entry, change))
    return OK


def _minimize(args: argparse.Namespace) -> int:
    """Take out what no feature needs."""
    from pawl_gate.fuzzing.corpus import merge

    entry = find_entry(args.entry)
    print("corpus: running each input", file=sys.stderr)
    change = merge(entry, args.into or entry.corpus, [], origin=_origin("before the manifest"))
    print_text(_told(entry, change))
    return OK


def _add(args: argparse.Namespace) -> int:
    """Add inputs."""
    from pawl_gate.fuzzing.corpus import keep

    entry = find_entry(args.entry)
    data = []
    for path in args.file:
        try:
            data.append(path.read_bytes())
        except OSError as error:
            raise Usage(f"cannot read {path}: {error.strerror}") from None
    added = keep(entry, args.into or entry.corpus, data, origin=_origin(args.origin), pinned=args.pin)
    lines = []
    for name, new in added.items():
        checks = f"checks {len(new.invariants)} invariants" if new.invariants else "checks no invariant"
        lines.append(f"{entry.name}/{name}: {new.features} features, {checks}\n")
    print_text("".join(lines))
    return OK


def _origin(words: str) -> Origin:
    from pawl_gate.fuzzing.corpus import Origin
    from pawl_gate.fuzzing.revision import pawl_version

    return Origin(words, pawl_version())


def _told(entry: Entry, change: Change) -> str:
    said = f"{entry.name}: {len(change.kept)} inputs with {change.features:,} features: "
    said += f"{len(change.added)} added, {len(change.removed)} taken out"
    if change.costly:
        said += f", {len(change.costly)} left out as too costly to run"
    if change.unstable:
        said += f"; {change.unstable} features come and go by themselves"
    return said + "\n"
