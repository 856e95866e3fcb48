"""What the entry points share. One entry point per trust boundary; none of them holds an oracle of its own.

With file names and no flags, an entry point replays the files, which needs no Atheris; otherwise the arguments are
libFuzzer's. An entry point must be an executable file: libFuzzer starts its own argv[0] again for -merge, -fork,
-jobs and -minimize_crash, and where it cannot, it ends well and has done nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

Fuzz = Callable[[bytes], object]
Mutate = Callable[[bytes, int, int], bytes]
Cross = Callable[[bytes, bytes, int, int], bytes]


def main(prepare: Callable[[], tuple[Fuzz, Mutate, Cross]]) -> None:
    """Replay or fuzz. `prepare` imports what is fuzzed, so that it is instrumented, and returns what to call."""
    names = sys.argv[1:]
    if names and all(Path(name).is_file() for name in names):
        replay(prepare()[0], names)
        return
    import atheris

    with atheris.instrument_imports(include=["pawl"]):
        fuzz, mutate, cross = prepare()

    def change(data: bytes, max_size: int, seed: int) -> bytes:
        # One change of eight is libFuzzer's own, for what the mutator would never think of.
        return mutate(data, max_size, seed) if seed % 8 else atheris.Mutate(data, max_size)

    atheris.Setup(sys.argv, fuzz, custom_mutator=change, custom_crossover=cross)
    atheris.Fuzz()


def replay(fuzz: Fuzz, names: list[str]) -> None:
    """Run files once each. Exit code 1 where one of them breaks the specification."""
    failed = 0
    for name in names:
        try:
            fuzz(Path(name).read_bytes())
            print(f"{name}: holds")
        except AssertionError as broken:
            failed += 1
            print(f"{name}: {broken}")
    sys.exit(1 if failed else 0)
