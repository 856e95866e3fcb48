"""The verb `fuzz`."""

from __future__ import annotations

import argparse
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pawl_gate.cli.common import BROKEN, OK, Usage, Verbs, jobs, print_json, print_text, seed
from pawl_gate.cli.corpus import find_entry

if TYPE_CHECKING:
    from pawl_gate.fuzzing.entries import Entry

FOLDER: Final = Path("build", "fuzz")
EXPORTS: Final = Path("build", "export")

UNIT_SECONDS: Final = 60
"""Of one unit: what a unit begins with, running the corpus, is then a small part of it."""

SHRINK_RUNS: Final = 2000


def add(verbs: Verbs) -> None:
    """Its options."""
    one = verbs.add_parser("fuzz", help="fuzz an entry point, and look after what it finds", allow_abbrev=False)
    what = one.add_subparsers(metavar="WHAT", required=True, title="what")

    run = what.add_parser("run", help="fuzz entry points for a while", allow_abbrev=False)
    run.add_argument("entry", nargs="+", metavar="ENTRY", help="entry points, or all")
    run.add_argument(
        "--time",
        type=duration,
        default=60,
        metavar="TIME",
        help="for each entry point, such as 20s, 10m (default: 60s)",
    )
    run.add_argument("--jobs", type=jobs, default=1, metavar="N", help="units at once (default: 1)")
    run.add_argument("--seed", type=seed, default=0, metavar="N", help="of the search (default: 0)")
    run.add_argument(
        "--corpus", type=Path, metavar="DIR", help="begin with DIR/ENTRY (default: corpus/ of the checkout)"
    )
    run.add_argument("--out", type=Path, metavar="DIR", help=f"where all of it is kept (default: new, in {FOLDER})")
    run.add_argument("--json", action="store_true", help="print the figures as JSON")

    replay = what.add_parser("replay", help="run inputs once each", allow_abbrev=False)
    shrink = what.add_parser("shrink", help="make a finding as short and plain as it can be", allow_abbrev=False)
    triage = what.add_parser("triage", help="group findings by invariant, refusal code and place", allow_abbrev=False)
    export = what.add_parser(
        "export", help="make a test, a vector and an input of the corpus out of a finding", allow_abbrev=False
    )
    for some in (replay, shrink, triage, export):
        some.add_argument("entry", metavar="ENTRY")
    for some in (replay, triage):
        some.add_argument("file", nargs="+", type=Path, metavar="FILE", help="inputs, or folders of inputs")
    for some in (shrink, export):
        some.add_argument("file", type=Path, metavar="FILE")
    shrink.add_argument("--out", type=Path, metavar="FILE", help="where it is written (default: FILE.shrunk)")
    shrink.add_argument(
        "--runs", type=count, default=SHRINK_RUNS, metavar="N", help=f"tried at most (default: {SHRINK_RUNS})"
    )
    export.add_argument("--out", type=Path, default=EXPORTS, metavar="DIR", help=f"where to (default: {EXPORTS})")
    export.add_argument(
        "--tree", action="store_true", help="write them where they belong in the checkout, the input pinned"
    )
    for some in (triage, export):
        some.add_argument("--json", action="store_true", help="print JSON")
    for some, does in ((run, _run), (replay, _replay), (shrink, _shrink), (triage, _triage), (export, _export)):
        some.set_defaults(verb=does)


# -- options ----------------------------------------------------------------------------------------------------------


def duration(text: str) -> int:
    """Seconds, from 90, 90s, 10m or 8h. Raises: ArgumentTypeError."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in tuple("smh") else (text, "s")
    if not (number.isascii() and number.isdecimal() and 0 < len(number) <= 7) or int(number) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: 90s, 10m or 8h, for example")
    return int(number) * {"s": 1, "m": 60, "h": 3600}[unit]


def count(text: str) -> int:
    """A number of runs. Raises: ArgumentTypeError."""
    if not (text.isascii() and text.isdecimal() and 0 < len(text) <= 9) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 999999999")
    return int(text)


def chosen(names: list[str]) -> dict[str, Entry]:
    """Entry points by name; `all` is all that can run here. Raises: Usage."""
    from pawl_gate.fuzzing.entries import ENTRIES

    entries = {}
    for name in names:
        for one in ENTRIES.values() if name == "all" else (find_entry(name),):
            why = missing(one)
            if why and name == "all":
                print(f"fuzz: {one.name} is left out: {why}", file=sys.stderr)
                continue
            if why:
                raise Usage(f"{one.name} cannot run here: {why}")
            entries[one.name] = one
    return entries


def missing(entry: Entry) -> str:
    """What an entry point needs that is not here, in words; empty where there is nothing."""
    from importlib.util import find_spec

    from pawl_gate.fuzzing.entries import ROOT

    if find_spec("atheris") is None:
        return "Atheris is not installed: pawl-signal[fuzz], on Linux on x86-64"
    if not entry.program.is_file():
        return f"there is no {entry.program.name}: the fuzzers are in a checkout, not in the installed package"
    if entry.needs == "node-libsignal":
        peer = ROOT / "drivers" / "node-libsignal" / "node_modules" / "libsignal"
        if shutil.which("node") is None or not peer.is_dir():
            return "it needs Node and the packages of node-libsignal: make setup, with npm"
    return ""


# -- run --------------------------------------------------------------------------------------------------------------


def _run(args: argparse.Namespace) -> int:
    """Fuzz. Exit codes: 0 nothing was found, 1 something was."""
    from pawl_gate.cli.campaign import carry_out, conclude
    from pawl_gate.fuzzing.campaign import Campaign, Unfit, plan, starting_corpora

    entries = chosen(args.entry)
    if not entries:
        raise Usage("there is nothing to fuzz")
    folder = args.out or _new_folder(FOLDER)
    # Many entry points side by side, each by one job at a time; one entry point by all jobs.
    lanes = max(1, args.jobs // len(entries))
    rounds = max(1, args.time // UNIT_SECONDS)
    made = plan(entries, seed=args.seed, unit_seconds=math.ceil(args.time / rounds), lanes=lanes)
    try:
        campaign = Campaign.begin(folder, entries, made, starting_corpora(entries, args.corpus))
    except Unfit:
        raise Usage(f"{folder} is not empty: each run begins in a new folder; pawl campaign goes on with one") from None
    carry_out(campaign, "local", args.jobs, seconds=None, rounds=rounds)
    return conclude(campaign, json=args.json, report=folder / "report" / "index.html")


def _new_folder(parent: Path) -> Path:
    number = 1
    while (parent / f"{number:04}").exists():
        number += 1
    return parent / f"{number:04}"


# -- one input, or some -----------------------------------------------------------------------------------------------


def _replay(args: argparse.Namespace) -> int:
    """Run the program of the entry point on files."""
    from pawl_gate.fuzzing.findings import inputs

    entry = find_entry(args.entry)
    paths = _there(inputs(args.file))
    command = [sys.executable, str(entry.program), *(str(path.resolve()) for path in paths)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603 - our own program
    print_text(ended.stdout)
    return ended.returncode if ended.returncode >= 0 else BROKEN


def _there(paths: Any) -> list[Path]:
    found = list(paths)
    for path in found:
        if not path.is_file():
            raise Usage(f"there is no file {path}")
    if not found:
        raise Usage("there are no inputs")
    return found


def _shrink(args: argparse.Namespace) -> int:
    """Shrink a finding. Exit codes: 1 it still shows it, 4 the input shows nothing."""
    from pawl_gate.fuzzing.findings import NoFinding, shrink, title
    from pawl_gate.verify import Exit

    entry = find_entry(args.entry)
    (path,) = _there([args.file])
    data = path.read_bytes()
    try:
        small = shrink(entry, data, budget=args.runs)
    except NoFinding as error:
        print(f"pawl: {path}: {error}", file=sys.stderr)
        return Exit.INCOMPLETE
    out = args.out or path.with_name(f"{path.name}.shrunk")
    out.write_bytes(small.data)
    before, after = small.parts
    print_text(
        f"{title(entry, small.facts)}\n"
        f"{before} parts to {after}, {len(data)} bytes to {len(small.data)}, in {small.tries} runs: {out}\n"
        f"{_first_line(small.facts.text)}"
    )
    return Exit.VIOLATED


def _first_line(text: str) -> str:
    return "".join(f"{line}\n" for line in text.splitlines()[:1])


def _triage(args: argparse.Namespace) -> int:
    """Group findings. Exit codes: 1 there are some, 0 none shows anything."""
    from pawl_gate.fuzzing.findings import inputs, triage
    from pawl_gate.verify import Exit

    entry = find_entry(args.entry)
    groups, quiet = triage(entry, _there(inputs(args.file)))
    if args.json:
        told = {"groups": [group.document() for group in groups], "quiet": [str(path) for path in quiet]}
        print_json({"format": "pawl-triage", "version": 1, "entry": entry.name, **told})
    else:
        total = sum(len(group.files) for group in groups)
        lines = [f"{total} findings in {len(groups)} groups, {len(quiet)} inputs that show nothing"]
        for group in groups:
            what = " and ".join(group.invariants) or group.state
            lines += ["", f"{what} · {group.refusal or 'no refusal'} · {group.place or 'no place'}: {len(group.files)}"]
            lines += [f"  smallest: {group.smallest}", *(f"  {line}" for line in group.text.splitlines()[:1])]
        print_text("\n".join(lines) + "\n")
    return Exit.VIOLATED if groups else OK


def _export(args: argparse.Namespace) -> int:
    """Turn a finding into what keeps it from coming back."""
    from pawl_gate.engines.corpus import name_of
    from pawl_gate.fuzzing import corpus, findings
    from pawl_gate.fuzzing.entries import ROOT
    from pawl_gate.fuzzing.facts import Prober
    from pawl_gate.fuzzing.revision import pawl_version

    entry = find_entry(args.entry)
    (path,) = _there([args.file])
    data = path.read_bytes()
    with Prober(entry.maker) as prober:
        facts = prober.ask(data)
    if not facts.is_finding:
        print("fuzz: it shows nothing here (any more); what is written keeps it so", file=sys.stderr)
    out, what = args.out, "-".join(facts.invariants[:1]) or facts.state
    tests, vectors, inputs = (
        (ROOT / "tests" / "fuzz" / "regressions", ROOT / "src/pawl_gate/vectors/findings", entry.corpus)
        if args.tree
        else (out, out, out / "corpus" / entry.name)
    )
    name, text = findings.regression(entry, data, facts)
    written = {tests / name: text}
    if findings.is_trace(entry, data):
        each = name_of(data)[:8]
        written[vectors / f"{what}.fuzz-{each}.json"] = findings.vector(entry, data, facts)
    for to, words in written.items():
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(words, "utf-8")
    origin = corpus.Origin(f"finding {what}", pawl_version())
    new = corpus.Input(data, origin, True, len(facts.features), tuple(sorted(facts.checked)))
    corpus.write(inputs, entry.name, corpus.union([corpus.load(inputs, origin), {new.name: new}]))
    paths = [*written, inputs / new.name]
    if args.json:
        print_json({"format": "pawl-export", "version": 1, "files": [str(each) for each in paths]})
    else:
        print_text(f"{findings.title(entry, facts)}\n" + "".join(f"  {each}\n" for each in paths))
    return OK
