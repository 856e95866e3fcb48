"""Grow the corpus of session traces: keep inputs that reach something which no kept input reaches yet.

    python tools/make_corpus.py                 from the random walk
    python tools/make_corpus.py FOLDER ...      from what a fuzzer left in these folders
    python tools/make_corpus.py --check         only check what is there

Nothing is ever taken out: yesterday's inputs are what keeps the byte codec honest.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from pawl_gate.engines.corpus import SESSION_TRACE, add, files, is_costly, name_of
from pawl_gate.engines.walk import traces
from pawl_gate.runner import run_trace
from pawl_gate.targets.inprocess import InProcessTarget
from pawl_spec.history import Event, History
from pawl_spec.trace import FORGERIES, GROUP_TAMPERS, JUNK, SMUGGLES, TAMPERS, Kind, Op, Trace, decode, encode, op

WALKS = 600
"""Random walks tried."""

MOST_BYTES = 200_000
"""Of all inputs together."""

SEEDS = [encode(Trace((Op(Kind.NOP), op(Kind.ESTABLISH, actor=0, peer=1))))]
"""What the walk never does."""

CHOICES = {Kind.TAMPER: ("field", TAMPERS), Kind.FORGE_BUNDLE: ("how", FORGERIES), Kind.INJECT: ("what", JUNK)}
CHOICES |= {Kind.GROUP_TAMPER: ("field", GROUP_TAMPERS), Kind.GROUP_SMUGGLE: ("how", SMUGGLES)}
"""Operations that are many in one, with the operand that says which."""


def features(history: History) -> set[tuple[object, ...]]:
    """What a history reached: each operation with its outcome, and which kind came before it."""
    found: set[tuple[object, ...]] = set()
    before: tuple[object, ...] = ()
    for event in history.events[: history.closing]:
        found |= {(_what(event), event.outcome, event.code), (*before, event.op.kind)}
        before = (event.op.kind,)
    return found


def _what(event: Event) -> str:
    name, choices = CHOICES.get(event.op.kind, (None, ()))
    return event.op.kind.word if name is None else f"{event.op.kind.word} {choices[event.op[name]]}"


def grow(inputs: Iterable[bytes]) -> int:
    """Keep inputs that reach something new, each time the one that reaches most; says how many."""
    target = InProcessTarget()
    reached = {feature for path in files(SESSION_TRACE) for feature in _reached(target, path.read_bytes())}
    new = {data: _reached(target, data) - reached for data in sorted(set(inputs))}
    kept = 0
    while best := max(new, key=lambda data: (len(new[data]), -len(data), data), default=None):
        gained = new.pop(best)
        if not gained:
            break
        add(SESSION_TRACE, best)
        kept += 1
        new = {data: left - gained for data, left in new.items()}
    return kept


def _reached(target: InProcessTarget, data: bytes) -> set[tuple[object, ...]]:
    trace = decode(data)
    return set() if is_costly(trace) else features(run_trace(target, trace))


def check(folder: Path) -> list[str]:
    """What is wrong with a corpus."""
    wrong = []
    inputs = {path: path.read_bytes() for path in files(folder)}
    wrong += [
        f"{path.name}: its name is not its content's" for path, data in inputs.items() if path.name != name_of(data)
    ]
    wrong += [f"{path.name}: too costly to be run" for path, data in inputs.items() if is_costly(decode(data))]
    ops = {op for data in inputs.values() for op in decode(data).ops}
    wrong += [f"no input has the operation {kind.word}" for kind in Kind if kind not in {op.kind for op in ops}]
    for kind, (name, choices) in CHOICES.items():
        there = {choices[op[name]] for op in ops if op.kind is kind}
        wrong += [f"no input has {kind.word} with {choice}" for choice in choices if choice not in there]
    if sum(map(len, inputs.values())) > MOST_BYTES:
        wrong.append(f"the corpus has more than {MOST_BYTES} bytes")
    return wrong


def main() -> int:
    """Exit code 0: the corpus is in order."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", nargs="*", type=Path, help="inputs to take from; none: from the random walk")
    parser.add_argument("--check", action="store_true", help="only check what is there")
    arguments = parser.parse_args()
    # A folder that is misspelt, or empty, is not the wish for a random walk.
    for folder in arguments.folder:
        if arguments.check or not files(folder):
            parser.error("--check takes no folder" if arguments.check else f"there are no inputs in {folder}")
    if not arguments.check:
        SESSION_TRACE.mkdir(parents=True, exist_ok=True)
        given = [path.read_bytes() for folder in arguments.folder for path in files(folder)]
        kept = grow(given or SEEDS + [encode(trace) for trace in islice(traces(0), WALKS)])
        print(f"{kept} inputs kept, {len(files(SESSION_TRACE))} in all", file=sys.stderr)
    wrong = check(SESSION_TRACE)
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
