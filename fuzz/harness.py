"""What the entry points share. One entry point per trust boundary; none of them holds an oracle of its own.

With file names and no flags, an entry point replays the files, which needs no Atheris; otherwise the arguments are
libFuzzer's. An entry point must be an executable file: libFuzzer starts its own argv[0] again for -merge, -fork,
-jobs and -minimize_crash, and where it cannot, it ends well and has done nothing (see `startable`).
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

MOST_TEXT = 300
"""Characters of an exception's text that are shown."""

Fuzz = Callable[[bytes], object]
"""Runs an input; None: it was too costly to run. Raises: AssertionError, where the specification is broken."""
Mutate = Callable[[bytes, int, int], bytes]
Cross = Callable[[bytes, bytes, int, int], bytes]


def main(prepare: Callable[[], tuple[Fuzz, Mutate, Cross]], instruments: Sequence[str] = ("pawl",)) -> None:
    """Replay or fuzz. `prepare` imports what is fuzzed, so that it is instrumented, and returns what to call."""
    names = sys.argv[1:]
    if names and all(Path(name).is_file() for name in names):
        sys.exit(replay(prepare()[0], names))
    startable()
    import atheris

    with atheris.instrument_imports(include=list(instruments), exclude=beside(instruments)):
        fuzz, mutate, cross = prepare()

    def change(data: bytes, max_size: int, seed: int) -> bytes:
        # One change of eight is libFuzzer's own, for what the mutator would never think of.
        return mutate(data, max_size, seed) if seed % 8 else atheris.Mutate(data, max_size)

    atheris.Setup(sys.argv, fuzz, custom_mutator=change, custom_crossover=cross)
    atheris.Fuzz()


def beside(instruments: Sequence[str]) -> list[str]:
    """The modules that Atheris would instrument as well: of a name with dots it looks at the first part alone.

    They are named by their files, as nothing may be imported yet.
    """
    found = []
    for package in {name.partition(".")[0] for name in instruments} - set(instruments):
        spec = find_spec(package)
        for root in map(Path, (spec and spec.submodule_search_locations) or ()):
            places = (path.relative_to(root.parent).with_suffix("") for path in root.rglob("*.py"))
            found += [".".join(place.parts).removesuffix(".__init__") for place in places]
    chosen = tuple(f"{name}." for name in instruments)
    return sorted(name for name in found if not f"{name}.".startswith(chosen))


def startable() -> None:
    """Make sure that what libFuzzer starts again is this file under this interpreter, wherever both were started from.

    Otherwise its children find no Atheris, and a merge ends with exit code 0 and an empty folder.
    """
    program = Path(sys.argv[0]).resolve()
    if not os.access(program, os.X_OK):
        sys.exit(f"{program} must be an executable file: libFuzzer starts it again")
    sys.argv[0] = str(program)
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def replay(fuzz: Fuzz, names: list[str]) -> int:
    """Run files once each. Exit code 1: one of them breaks the specification; 3: on one of them the gate itself broke;
    2: one of them cannot be read; 4: one of them was not run. The first of these that applies.
    """
    failed = faults = unread = left_out = 0
    for name in names:
        try:
            data = Path(name).read_bytes()
        except OSError as error:
            unread += 1
            print(f"{name}: cannot be read: {error.strerror}")
            continue
        try:
            held = fuzz(data)
        except AssertionError as broken:
            failed += 1
            print(f"{name}: {broken}")
            continue
        except Exception as fault:
            # Not the specification's: the harness, the model or a predicate broke, and the input shows it.
            faults += 1
            print(f"{name}: a fault of the gate itself: {told(fault)}")
            continue
        # What judged nothing holds nothing.
        left_out += held is None
        print(f"{name}: {'not run: too costly for a fuzzer' if held is None else 'holds'}")
    return 1 if failed else 3 if faults else 2 if unread else 4 if left_out else 0


def told(fault: Exception) -> str:
    """An exception in one line: what it is, and the place in the code that raised it."""
    *_, (frame, line) = traceback.walk_tb(fault.__traceback__)
    from pawl_gate.visible import visible

    what = visible(" ".join(f"{type(fault).__name__}: {fault}"[:MOST_TEXT].split()))
    return f"{what} ({Path(frame.f_code.co_filename).name}, line {line})"


def enter(name: str) -> None:
    """Replay or fuzz an entry point of the registry."""
    from pawl_gate.fuzzing.entries import ENTRIES

    entry = ENTRIES[name]

    def prepare() -> tuple[Fuzz, Mutate, Cross]:
        made = entry.prepare()
        return made.hold, made.started, made.cross

    # libFuzzer takes the last of two.
    if any(word.startswith("-") for word in sys.argv[1:]) or len(sys.argv) == 1:
        # Inputs have a structure from the first: it is no use to begin with short ones.
        sys.argv[1:1] = [f"-max_len={entry.most_bytes}", "-len_control=0"]
        if entry.dictionary.is_file():
            sys.argv.insert(1, f"-dict={entry.dictionary}")
    main(prepare, entry.instruments)
