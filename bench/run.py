"""Time the public API (a `Device` over a `MemoryStore`) beside the floor of bare primitives: `make bench`.

Short batches of both alternate in one process, so that a drifting machine hits both alike, and processor time is
counted, so that waiting for other programs is not. What counts is the ratio: the median of the ratios of neighbouring
batches, with the quartiles as its spread. Prints a table, or with --json one line per operation. Times are microseconds
for one operation. Stores, groups, workers and the driving of programs have measurements of their own: `make bench
ARGS=stores`, `ARGS=groups`, `ARGS=workers`, `ARGS=harness`; see `bench.stores`, `bench.groups`, `bench.workers`,
`bench.harness`.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench import fleet, floor, gate, groups, harness, stores, workers
from pawl import Device, MemoryStore, ProtocolAddress
from pawl.limits import LOW_PREKEYS

ALICE, BOB = ProtocolAddress("alice", 1), ProtocolAddress("bob", 1)

Batch = Callable[[], None]
"""Carries out a number of operations; what it needs was prepared outside the timing."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: its floor, how a batch through the public API is prepared, and how many make a batch."""

    name: str
    floor: Callable[[], object]
    prepare: Callable[[int], Batch]
    count: int


def connected() -> tuple[Device, Device]:
    """Two devices whose session both sides have used."""
    alice, bob = Device(MemoryStore()), Device(MemoryStore())
    alice.establish(BOB, bob.prekey_bundle())
    bob.decrypt(ALICE, alice.encrypt(BOB, floor.TEXT))
    alice.decrypt(BOB, bob.encrypt(ALICE, floor.TEXT))
    return alice, bob


def prepare_encrypt(count: int) -> Batch:
    """Messages on a chain that is under way."""
    alice, _ = connected()
    alice.encrypt(BOB, floor.TEXT)

    def batch() -> None:
        for _ in range(count):
            alice.encrypt(BOB, floor.TEXT)

    return batch


def prepare_decrypt(count: int) -> Batch:
    """Messages in order on a chain that is known."""
    alice, bob = connected()
    bob.decrypt(ALICE, alice.encrypt(BOB, floor.TEXT))
    messages = [alice.encrypt(BOB, floor.TEXT) for _ in range(count)]

    def batch() -> None:
        for message in messages:
            bob.decrypt(ALICE, message)

    return batch


def prepare_round_trip(count: int) -> Batch:
    """A message each way, each with a ratchet step."""
    alice, bob = connected()

    def batch() -> None:
        for _ in range(count):
            bob.decrypt(ALICE, alice.encrypt(BOB, floor.TEXT))
            alice.decrypt(BOB, bob.encrypt(ALICE, floor.TEXT))

    return batch


def prepare_setup(count: int) -> Batch:
    """Both sides with a one-time prekey, from the bundle to the first message decrypted; each with new devices.

    The responder has prekeys in stock, so that nobody is warned.
    """
    devices = [(Device(MemoryStore()), Device(MemoryStore())) for _ in range(count)]
    for _, bob in devices:
        bob.generate_prekeys(LOW_PREKEYS)
    pairs = [(alice, bob, bob.prekey_bundle()) for alice, bob in devices]

    def batch() -> None:
        for alice, bob, bundle in pairs:
            alice.establish(BOB, bundle)
            bob.decrypt(ALICE, alice.encrypt(BOB, floor.TEXT))

    return batch


def prepare_out_of_order(count: int) -> Batch:
    """1001 messages of one chain, the last one first."""
    runs = []
    for _ in range(count):
        alice, bob = connected()
        messages = [alice.encrypt(BOB, floor.TEXT) for _ in range(floor.OUT_OF_ORDER)]
        runs.append((bob, messages[::-1]))

    def batch() -> None:
        for bob, messages in runs:
            for message in messages:
                bob.decrypt(ALICE, message)

    return batch


GATE = "gate"
"""The gate itself is no operation of the API: how fast it runs and judges traces in this process."""

GATE_ROUNDS = 3

OPERATIONS = [
    Operation("encrypt", floor.encrypt, prepare_encrypt, 300),
    Operation("decrypt", floor.decrypt, prepare_decrypt, 300),
    Operation("round_trip", floor.round_trip, prepare_round_trip, 40),
    Operation("setup", floor.setup, prepare_setup, 20),
    Operation("out_of_order", floor.out_of_order, prepare_out_of_order, 1),
]


def timed(batch: Batch, count: int) -> float:
    """Microseconds of one operation of a batch."""
    gc.collect()
    start = time.thread_time()
    batch()
    return (time.thread_time() - start) / count * 1e6


def measure(operation: Operation) -> tuple[float, float]:
    """One batch of the floor and one of the public API, in microseconds for one operation."""

    def floor_batch() -> None:
        for _ in range(operation.count):
            operation.floor()

    return timed(floor_batch, operation.count), timed(operation.prepare(operation.count), operation.count)


def main(arguments: list[str]) -> int:
    """Measure and print. Exit codes: 0 measured, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=31, metavar="N", help="batches of each (default 31)")
    parser.add_argument(
        "--only", metavar="NAMES", help=f"a comma-separated part of {','.join(o.name for o in OPERATIONS)},{GATE}"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    chosen = parser.parse_args(arguments)
    names = chosen.only.split(",") if chosen.only else [*(operation.name for operation in OPERATIONS), GATE]
    unknown = set(names) - {*(operation.name for operation in OPERATIONS), GATE}
    if unknown or chosen.rounds < 1:
        parser.error(f"no operation is called {', '.join(sorted(unknown))}" if unknown else "--rounds is at least 1")
    operations = [operation for operation in OPERATIONS if operation.name in names]

    results: dict[str, list[tuple[float, float]]] = {operation.name: [] for operation in operations}
    for number in range(chosen.rounds if operations else 0):
        print(f"bench: round {number + 1} of {chosen.rounds}", file=sys.stderr, flush=True)
        for operation in operations:
            results[operation.name].append(measure(operation))

    if operations and not chosen.json:
        print(f"{'operation':<14}{'floor µs':>12}{'pawl µs':>12}{'ratio':>8}   quartiles (of {chosen.rounds} batches)")
    for name, samples in results.items():
        floor_us, pawl_us = (statistics.median(column) for column in zip(*samples, strict=True))
        ratios = sorted(pawl / bare for bare, pawl in samples)
        ratio = statistics.median(ratios)
        low, high = ratios[len(ratios) // 4], ratios[(3 * len(ratios)) // 4]
        if chosen.json:
            result = {
                "operation": name,
                "floor_us": round(floor_us, 2),
                "pawl_us": round(pawl_us, 2),
                "ratio": round(ratio, 3),
                "quartiles": [round(low, 3), round(high, 3)],
            }
            print(json.dumps({**result, "rounds": chosen.rounds}))
        else:
            print(f"{name:<14}{floor_us:>12,.1f}{pawl_us:>12,.1f}{ratio:>8.2f}   {low:.2f} to {high:.2f}")
    if GATE in names:
        steps, ceiling = gate.measure(GATE_ROUNDS)
        if chosen.json:
            print(json.dumps({"operation": GATE, "steps_per_second": round(steps), "ceiling": round(ceiling)}))
        else:
            print(f"{GATE:<14}{steps:,.0f} steps a second; the primitives alone would allow {ceiling:,.0f}")
    return 0


OTHERS: Final = {
    "fleet": fleet.main,
    "groups": groups.main,
    "harness": harness.main,
    "stores": stores.main,
    "workers": workers.main,
}
"""Benchmarks with options of their own."""

if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1] in OTHERS:
        sys.exit(OTHERS[sys.argv[1]](sys.argv[2:]))
    sys.exit(main(sys.argv[1:]))
