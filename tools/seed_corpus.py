"""Make and check the corpora of the fuzzers' entry points (that of session traces is grown by tools/make_corpus.py).

    python -m tools.seed_corpus ENTRY [FOLDER ...]   keep what reaches something new, of the seeds, of some changes of
                                                     them, and of what a fuzzer left in these folders
    python -m tools.seed_corpus --check [ENTRY ...]  run every input twice: it holds, checks something, says the same
                                                     again, and is named by its content

Nothing is ever taken out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pawl_gate.engines.corpus import add, files, name_of
from pawl_gate.fuzzing.entries import ENTRIES, ROOT, Entry, Prepared
from pawl_gate.fuzzing.seeding import grown
from pawl_gate.targets.registry import TargetMissing

MOST_BYTES = 20 * 1024 * 1024
"""Of all corpora together."""

TRIES = 400
"""Changes of what is kept that are tried."""

MOST_INPUTS = 150
"""Kept of one entry point at a time: a corpus is replayed at every commit."""


def keep(entry: Entry, prepared: Prepared, folders: Sequence[Path]) -> int:
    """Add to a corpus; how many inputs there are now."""
    entry.corpus.mkdir(parents=True, exist_ok=True)
    there = [path.read_bytes() for path in files(entry.corpus)]
    found = sorted(
        {path.read_bytes() for folder in folders for path in files(folder)}, key=lambda data: (len(data), data)
    )
    given = [*there, *prepared.seeds(), *(data for data in found if len(data) <= entry.most_bytes)]
    kept = grown(entry, prepared, given, tries=0 if folders else TRIES)
    for data in kept[:MOST_INPUTS]:
        add(entry.corpus, data)
    return len(files(entry.corpus))


def check(entry: Entry, prepared: Prepared) -> list[str]:
    """What is wrong with a corpus."""
    wrong = []
    inputs = files(entry.corpus)
    if not inputs:
        wrong.append(f"{entry.name}: there is no input")
    for path in inputs:
        data, where = path.read_bytes(), f"{entry.name}/{path.name}"
        if path.name != name_of(data):
            wrong.append(f"{where}: its name is not its content's")
        try:
            ran, again = prepared.run(data), prepared.run(data)
        except AssertionError as broken:
            wrong.append(f"{where}: {broken}")
            continue
        if ran is None or not ran.checked:
            wrong.append(f"{where}: it is too costly, or checks nothing")
        elif ran != again:
            wrong.append(f"{where}: it does not say the same again")
    return wrong


def main() -> int:
    """Exit code 0: the corpora are in order."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("name", nargs="*", help="an entry point, and folders to take from; with --check entry points")
    parser.add_argument("--check", action="store_true", help="only check what is there; none named: all")
    arguments = parser.parse_args()
    names = (arguments.name or list(ENTRIES)) if arguments.check else arguments.name[:1]
    if not names or any(name not in ENTRIES for name in names):
        parser.error(f"name an entry point: {', '.join(ENTRIES)}")
    wrong = []
    for name in names:
        entry = ENTRIES[name]
        try:
            prepared = entry.prepare()
        except TargetMissing as missing:
            print(f"{name}: left out: {missing}", file=sys.stderr)
            continue
        if arguments.check:
            wrong += check(entry, prepared)
        else:
            print(f"{name}: {keep(entry, prepared, [Path(one) for one in arguments.name[1:]])} inputs", file=sys.stderr)
    size = sum(path.stat().st_size for path in (ROOT / "corpus").rglob("*") if path.is_file())
    if size > MOST_BYTES:
        wrong.append(f"the corpora have {size} bytes, more than {MOST_BYTES}")
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
