"""A corpus: content-addressed inputs with a manifest, and the rules by which it grows and shrinks.

For each feature its smallest input is kept, the first by name among several: a rule that knows no order. So merging is
commutative, associative and idempotent, and two machines that merge the same inputs have the same corpus. Pinned
inputs stay whatever they reach: findings that were mended, and yesterday's inputs, which keep the byte codecs honest.

`corpus/ENTRY` holds the inputs, `corpus/ENTRY.json` the manifest beside it, one line for each.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from pawl_gate.engines.corpus import files, name_of
from pawl_gate.fuzzing.entries import Entry
from pawl_gate.fuzzing.facts import COSTLY, HOLDS, Facts, Prober, ask_all
from pawl_gate.targets.base import HarnessBroken

MOST_BYTES: Final = 20_000_000
"""Of all corpora in a checkout."""

FORMAT: Final = "pawl-corpus"
VERSION: Final = 1

F = TypeVar("F", bound=Hashable)


class Refused(Exception):
    """The corpus is left as it was; the text says why."""


class Breaks(Refused):
    """An input does not hold: it is a finding, and no input of a corpus."""


class Loses(Refused):
    """The result would reach less than what it is made of."""


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """Where an input comes from."""

    words: str
    """Such as "campaign 2026-11-30", "finding CTR-05"."""
    version: str
    """Of Pawl, when it came."""


@dataclass(frozen=True, slots=True)
class Input:
    """An input and what is written down of it."""

    data: bytes
    origin: Origin
    pinned: bool = False
    features: int = 0
    invariants: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its file's."""
        return name_of(self.data)


Corpus = Mapping[str, Input]
"""Inputs by name."""


# -- the rules --------------------------------------------------------------------------------------------------------


def union(corpora: Iterable[Corpus]) -> dict[str, Input]:
    """All inputs of all. Where two know an input, it is pinned if one pins it, and has the origin of one that does."""
    found: dict[str, Input] = {}
    for corpus in corpora:
        for name, new in corpus.items():
            old = found.get(name, new)
            found[name] = replace(
                old,
                origin=min((not each.pinned, each.origin) for each in (old, new))[1],
                pinned=old.pinned or new.pinned,
                features=max(old.features, new.features),
                invariants=max(old.invariants, new.invariants),
            )
    return dict(sorted(found.items()))


def champions(sizes: Mapping[str, int], features: Mapping[str, frozenset[F]]) -> set[str]:
    """For each feature the smallest input that has it; among those as small the first by name."""
    best: dict[F, tuple[int, str]] = {}
    for name, found in features.items():
        rank = sizes[name], name
        for feature in found:
            if feature not in best or rank < best[feature]:
                best[feature] = rank
    return {name for _, name in best.values()}


def merged(corpora: Iterable[Corpus], features: Mapping[str, frozenset[F]]) -> dict[str, Input]:
    """What is kept of corpora: the champions, and what is pinned. `features` knows all their inputs."""
    whole = union(corpora)
    kept = champions({name: len(each.data) for name, each in whole.items()}, {name: features[name] for name in whole})
    return {name: each for name, each in whole.items() if name in kept or each.pinned}


# -- files ------------------------------------------------------------------------------------------------------------


def manifest_path(folder: Path) -> Path:
    """The manifest of a corpus: beside its folder, as a fuzzer takes every file in it for an input."""
    return folder.with_name(f"{folder.name}.json")


def load(folder: Path, origin: Origin) -> dict[str, Input]:
    """The inputs of a folder. What no manifest knows has the origin given. Raises: Refused (a manifest of no use)."""
    known = read_manifest(folder)
    found = {}
    for path in files(folder):
        data = path.read_bytes()
        each = replace(known.get(path.name, Input(b"", origin)), data=data)
        found[each.name] = each
    return dict(sorted(found.items()))


def read_manifest(folder: Path) -> dict[str, Input]:
    """What the manifest says, by name, without the data; nothing where there is none. Raises: Refused."""
    path = manifest_path(folder)
    if not path.exists():
        return {}
    try:
        told = json.loads(path.read_text("utf-8"))
        if (told["format"], told["version"]) != (FORMAT, VERSION):
            raise Refused(f"{path}: format and version are not {FORMAT} {VERSION}")
        return {
            name: Input(
                b"",
                Origin(str(one["origin"]), str(one["version"])),
                bool(one["pinned"]),
                int(one["features"]),
                tuple(map(str, one["invariants"])),
            )
            for name, one in told["inputs"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(f"{path}: no manifest: {type(error).__name__}: {error}") from None


def manifest(entry: str, corpus: Corpus) -> str:
    """The text of a manifest: one line for each input, so that two branches can add to it."""
    head = json.dumps({"format": FORMAT, "version": VERSION, "entry": entry})[:-1]
    lines = [f"{json.dumps(name)}: {json.dumps(_written(each))}" for name, each in sorted(corpus.items())]
    return f'{head}, "inputs": {{\n' + ",\n".join(lines) + "\n}}\n"


def _written(each: Input) -> dict[str, Any]:
    return {
        "origin": each.origin.words,
        "version": each.origin.version,
        "pinned": each.pinned,
        "features": each.features,
        "invariants": list(each.invariants),
    }


def write(folder: Path, entry: str, corpus: Corpus) -> None:
    """Make the folder hold this corpus. Interrupted anywhere it holds more than this, never less."""
    folder.mkdir(parents=True, exist_ok=True)
    for each in corpus.values():
        _add_whole(folder, each)
    path = manifest_path(folder)
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(manifest(entry, corpus), "utf-8")
    beside.replace(path)
    for old in files(folder):
        if old.name not in corpus:
            old.unlink()


def _add_whole(folder: Path, each: Input) -> None:
    """Write an input so that no half of one has its name."""
    path = folder / each.name
    if not path.exists():
        half = folder.with_name(f".{folder.name}.{os.getpid()}.half")
        half.write_bytes(each.data)
        half.replace(path)


# -- what the tools do ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Change:
    """What a merge did."""

    kept: dict[str, Input]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    costly: tuple[str, ...]
    """Left out: too costly to run."""
    unstable: int
    """Features that a second run of the same inputs did not show again."""
    features: int


def merge(entry: Entry, into: Path, more: Iterable[Corpus], *, origin: Origin) -> Change:
    """Merge inputs into a corpus; merging nothing minimises it.

    Raises: Breaks, Loses, Refused, HarnessBroken. Then nothing was written.
    """
    old = load(into, origin)
    whole = union([old, *more])
    if not whole:
        raise Refused(f"{entry.name}: there are no inputs")
    facts = measure(entry, whole)
    costly = tuple(name for name, each in facts.items() if each.state == COSTLY)
    held = {name: each for name, each in whole.items() if name not in costly}
    features = {name: facts[name].features for name in held}
    kept = {name: _with(each, facts[name]) for name, each in merged([held], features).items()}
    everything = frozenset[str]().union(*features.values())
    unstable = confirm(entry, kept, held, everything)
    write(into, entry.name, kept)
    return Change(
        kept,
        tuple(sorted(set(kept) - set(old))),
        tuple(sorted(set(old) - set(kept))),
        costly,
        unstable,
        len(everything),
    )


def _with(each: Input, facts: Facts) -> Input:
    return replace(each, features=len(facts.features), invariants=tuple(sorted(facts.checked)))


def measure(entry: Entry, corpus: Corpus) -> dict[str, Facts]:
    """What each input does, in a child. Raises: Breaks, HarnessBroken."""
    with Prober(entry.maker) as prober:
        facts = ask_all(prober, ((name, each.data) for name, each in corpus.items()))
    for name, each in facts.items():
        if each.is_finding:
            what = ", ".join(each.invariants) or each.state
            raise Breaks(f"{entry.name}/{name} is a finding, no input: {what}: {each.place or each.text}")
        # A child that ran nothing ends as well as one that ran all.
        if each.state == HOLDS and not each.features:
            raise HarnessBroken(f"{entry.name}/{name} reached nothing at all: the entry point runs nothing")
    return facts


def confirm(entry: Entry, kept: Corpus, whole: Corpus, features: frozenset[str]) -> int:
    """Run what is kept once more, in a new child: it must reach what all reached.

    How many features come and go by themselves: no input of `whole` showed them again. Raises: Loses.
    """
    again = frozenset[str]().union(*(each.features for each in measure(entry, kept).values()))
    lost = features - again
    if not lost:
        return 0
    left = {name: each for name, each in whole.items() if name not in kept}
    still = frozenset[str]().union(*(each.features for each in measure(entry, left).values())) & lost
    if still:
        raise Loses(f"{entry.name}: {len(still)} features would be lost, such as {min(still)}; nothing was written")
    return len(lost)


@dataclass(frozen=True, slots=True)
class Verified:
    """What a look at a corpus found."""

    entry: str
    inputs: int
    size: int
    digests: dict[str, str]
    wrong: tuple[str, ...]


def verify(entry: Entry, folder: Path) -> Verified:
    """Hold a corpus to what is said of it: names, manifest, and each input run twice with the same transcript.

    The two runs are of two processes with other hash seeds, the second in the other order.
    """
    wrong = []
    inputs = {path.name: path.read_bytes() for path in files(folder)}
    try:
        told = read_manifest(folder)
    except Refused as error:
        told, wrong = {}, [str(error)]
    wrong += [f"{name}: its name is not its content's" for name, data in inputs.items() if name != name_of(data)]
    wrong += [f"{name}: the manifest does not know it" for name in sorted(inputs.keys() - told.keys())]
    wrong += [f"{name}: in the manifest alone" for name in sorted(told.keys() - inputs.keys())]
    with Prober(entry.maker, lines=False) as prober:
        first = ask_all(prober, inputs.items())
    with Prober(entry.maker, lines=False, hash_seed=1) as prober:
        second = ask_all(prober, reversed(inputs.items()))
    for name, facts in first.items():
        if facts.state != HOLDS:
            wrong.append(f"{name}: {', '.join(facts.invariants) or facts.state}: {facts.place or 'not run'}")
        elif (facts.state, facts.digest) != (second[name].state, second[name].digest):
            wrong.append(f"{name}: two runs, two transcripts")
        elif gone := set(told[name].invariants) - facts.checked if name in told else ():
            wrong.append(f"{name}: no longer comes to {', '.join(sorted(gone))}; if that is meant: pawl corpus merge")
    digests = {name: facts.digest for name, facts in first.items()}
    return Verified(entry.name, len(inputs), sum(map(len, inputs.values())), digests, tuple(wrong))


def keep(entry: Entry, folder: Path, data: Iterable[bytes], *, origin: Origin, pinned: bool) -> dict[str, Input]:
    """Add inputs, whatever they reach. Raises: Breaks, Refused, HarnessBroken. Then nothing was written."""
    given = {name_of(each): Input(each, origin, pinned) for each in data}
    facts = measure(entry, given)
    for name, each in facts.items():
        if each.state == COSTLY:
            raise Refused(f"{entry.name}/{name} is too costly to be run at each replay")
    new = union([load(folder, origin), {name: _with(each, facts[name]) for name, each in given.items()}])
    write(folder, entry.name, new)
    return {name: new[name] for name in given}


def fuzzer_merge(program: Path, folders: Iterable[Path], into: Path, *, most_bytes: int) -> int:
    """Let libFuzzer choose among the inputs of folders: quick, and by its own features. How many it chose.

    It starts its program again for each input that ends it. Where the program cannot be started it ends well and has
    chosen nothing, so its exit code alone says nothing. Raises: HarnessBroken.
    """
    given = [folder for folder in folders if files(folder)]
    command = [sys.executable, str(program), "-merge=1", f"-max_len={most_bytes}", str(into), *map(str, given)]
    into.mkdir(parents=True, exist_ok=True)
    # Sanitised builds and others leave files where they are started.
    with tempfile.TemporaryDirectory() as folder:
        ended = subprocess.run(  # noqa: S603 - our own program
            command, cwd=folder, capture_output=True, text=True, errors="replace", check=False
        )
    last = " ".join(ended.stderr.strip().splitlines()[-1:])
    if ended.returncode != 0:
        raise HarnessBroken(f"the fuzzer's merge failed with exit code {ended.returncode}: {last}")
    said = re.search(r"MERGE-OUTER: (\d+) new files with (\d+) new features added", ended.stderr)
    chosen = len(files(into))
    if said is None or (given and (chosen == 0 or int(said[2]) == 0)):
        raise HarnessBroken(f"the fuzzer's merge ended well and chose nothing; is {program} an executable file?")
    return chosen
