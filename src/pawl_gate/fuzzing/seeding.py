"""The first inputs of an entry point: its seeds and some changes of them, of which those are kept that reach more."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from pawl_gate.fuzzing.entries import Entry, Prepared


def grown(entry: Entry, prepared: Prepared, given: Iterable[bytes], *, tries: int) -> list[bytes]:
    """Of `given` and of `tries` changes, the inputs that reach something which none before them reached."""
    rng = Random(entry.name)  # noqa: S311 - what a fuzzer tries is not a secret
    kept: list[bytes] = []
    reached: set[str] = set()

    def look(data: bytes) -> None:
        ran = prepared.run(data)
        # What checks nothing is no input to keep.
        if ran is not None and ran.checked and not ran.reached <= reached:
            reached.update(ran.reached)
            kept.append(data)

    for data in given:
        look(data)
    for _ in range(tries):
        if not kept:
            break
        seed = rng.randrange(2**32)
        if rng.random() < 0.1:
            look(prepared.cross(rng.choice(kept), rng.choice(kept), entry.most_bytes, seed))
        else:
            look(prepared.mutate(rng.choice(kept), entry.most_bytes, seed))
    return kept
