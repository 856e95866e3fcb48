"""Time the stores: `make bench ARGS=stores`.

Messages a second in each store, one by one and in batches of 100. What a message costs among 1,000 to 100,000 sessions,
how long a store takes to open then, and its bytes for each session. SQLite beside a bare loop that does the same SQL,
with the same settings and as many bytes, and the bare primitives. As in `bench.run`, what is compared alternates in one
process, and the result is the median of the ratios of neighbouring batches. Times are of the clock where the disk's
syncs count, else of the processor; the table says which.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench import floor
from pawl import Device, JSONFileStore, MemoryStore, ProtocolAddress, SQLiteStore
from pawl.session.rows import address_key
from pawl.storage import Store, Table
from pawl.storage import sqlite as sqlite_module
from pawl.storage.sqlite import CHECKPOINT_COMMITS
from pawl.storage.sqlite_file import open_file

ALICE, BOB = ProtocolAddress("alice", 1), ProtocolAddress("bob", 1)

BATCH = 100
"""Messages of one `encrypt_many`."""

KINDS = ("memory", "json", "sqlite", "postgres")
MANY = ("memory", "sqlite", "postgres")
"""Stores for many sessions: each commit of a JSON file writes all of it."""

FILL = 2_000
"""Sessions that are written in one transaction."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where stores of one kind are made: each call makes another one, or opens it again."""

    kind: str
    open: Callable[[str], Store]
    size: Callable[[str], int]
    """Bytes of the store of this name on its medium; 0 where it has none."""


@contextmanager
def places(kinds: tuple[str, ...]) -> Iterator[dict[str, Place]]:
    """A folder and, if its programs are there, a PostgreSQL server."""
    found: dict[str, Place] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pawl-bench-")))

        def file_bytes(name: str) -> int:
            return sum(path.stat().st_size for path in folder.iterdir() if path.name.startswith(f"{name}."))

        if "memory" in kinds:
            found["memory"] = Place("memory", lambda name: MemoryStore(), lambda name: 0)
        if "json" in kinds:
            found["json"] = Place("json", lambda name: JSONFileStore(folder / f"{name}.json"), file_bytes)
        if "sqlite" in kinds:
            found["sqlite"] = Place("sqlite", lambda name: SQLiteStore(folder / f"{name}.db"), file_bytes)
        if "postgres" in kinds and (place := _postgres(stack)) is not None:
            found["postgres"] = place
        yield found


def _postgres(stack: ExitStack) -> Place | None:
    from pawl_gate.trials.postgres_server import Server, programs

    if programs() is None:
        print("bench: no PostgreSQL server is installed", file=sys.stderr)
        return None
    import psycopg

    from pawl.storage.postgres import PostgresStore

    server = Server()
    stack.callback(server.remove)
    server.start()

    def size(name: str) -> int:
        with psycopg.connect(server.conninfo) as connection:
            [[found]] = connection.execute("SELECT pg_total_relation_size(%s)", (f"{name}.rows",)).fetchall()
            return int(found)

    return Place("postgres", lambda name: PostgresStore(server.conninfo, name=name), size)


def connected(store: Store) -> tuple[Device, Device]:
    """A device over `store`, and another in memory: their session was used by both."""
    device, peer = Device(store), Device(MemoryStore())
    device.establish(BOB, peer.prekey_bundle())
    peer.decrypt(ALICE, device.encrypt(BOB, floor.TEXT))
    device.decrypt(BOB, peer.encrypt(ALICE, floor.TEXT))
    device.encrypt(BOB, floor.TEXT)
    return device, peer


def clocked(batch: Callable[[], object], count: int) -> tuple[float, float]:
    """Microseconds of one operation of a batch: by the clock, and of the processor."""
    gc.collect()
    clock, processor = time.perf_counter(), time.process_time()
    batch()
    return (time.perf_counter() - clock) / count * 1e6, (time.process_time() - processor) / count * 1e6


def each(call: Callable[[], object], count: int) -> Callable[[], None]:
    """A batch of single calls."""

    def batch() -> None:
        for _ in range(count):
            call()

    return batch


# -- messages a second ------------------------------------------------------------------------------------------------


def messages(found: dict[str, Place], rounds: int) -> Iterator[dict[str, Any]]:
    """Messages a second in each store, sent and read, one by one and in batches."""
    with ExitStack() as stack:
        devices = {}
        for kind, place in found.items():
            store = stack.enter_context(closing(place.open("messages")))
            devices[kind] = connected(store)
        samples: dict[tuple[str, str], list[float]] = {}
        texts = [floor.TEXT] * BATCH
        for number in range(rounds):
            _say(f"messages, round {number + 1} of {rounds}")
            for kind, (device, peer) in devices.items():
                single, many = (peer.encrypt_many(ALICE, texts) for _ in range(2))
                waiting = iter(single)
                for name, batch in (
                    ("sent one by one", each(partial(device.encrypt, BOB, floor.TEXT), BATCH)),
                    ("sent by 100", partial(device.encrypt_many, BOB, texts)),
                    ("read one by one", each(_call("decrypt", device, waiting), BATCH)),
                    ("read by 100", partial(device.decrypt_many, BOB, many)),
                ):
                    samples.setdefault((kind, name), []).append(clocked(batch, BATCH)[0])
    for (kind, name), times in samples.items():
        middle = statistics.median(times)
        yield {"store": kind, "what": name, "us": round(middle, 1), "per_second": round(1e6 / middle)}


# -- many sessions ----------------------------------------------------------------------------------------------------


def peer_of(number: int) -> ProtocolAddress:
    """The address of one of many."""
    return ProtocolAddress(f"peer{number:06d}", 1)


def filled(place: Place, name: str, count: int) -> Store:
    """A store with `count` sessions: copies of a real one under other addresses."""
    memory = MemoryStore()
    connected(memory)
    rows = memory.snapshot()
    [(session_key, session)] = rows[Table.SESSION].items()
    [index], [identity] = rows[Table.SESSION_INDEX].values(), rows[Table.IDENTITY].values()
    base_key = session_key[len(address_key(BOB)) :]
    store = place.open(name)
    Device(store)
    for start in range(0, count, FILL):
        with store.transaction() as tx:
            for number in range(start, min(count, start + FILL)):
                peer = peer_of(number)
                tx.put(Table.SESSION, address_key(peer) + base_key, session.value, version=0)
                tx.put(Table.SESSION_INDEX, address_key(peer), index.value, version=0)
                tx.put(Table.IDENTITY, peer.name.encode(), identity.value, version=0)
    return store


def sessions(found: dict[str, Place], sizes: list[int], rounds: int) -> Iterator[dict[str, Any]]:
    """What a message to one of many peers costs, beside what it costs among the fewest."""
    for kind, place in found.items():
        if kind not in MANY:
            continue
        with ExitStack() as stack:
            stores: dict[int, Store] = {}
            facts: dict[int, dict[str, Any]] = {}
            for size in sizes:
                _say(f"{kind}: {size:,} sessions")
                name = f"sessions{size}"
                store = filled(place, name, size)
                facts[size] = {}
                if kind != "memory":
                    store.close()
                    facts[size]["bytes_per_session"] = round(place.size(name) / size)
                    store, clock = _opened(place, name)
                    facts[size]["open_ms"] = round(clock, 1)
                stores[size] = stack.enter_context(closing(store))
            source = random.Random(1)  # noqa: S311 - the same peers each time
            times: dict[int, list[tuple[float, float]]] = {size: [] for size in sizes}
            devices = {size: Device(store) for size, store in stores.items()}
            for number in range(rounds):
                _say(f"{kind}: round {number + 1} of {rounds}")
                for size, device in devices.items():
                    peers = iter([peer_of(source.randrange(size)) for _ in range(BATCH)])
                    batch = each(lambda d=device, p=peers: d.encrypt(next(p), floor.TEXT), BATCH)  # type: ignore[misc]
                    times[size].append(clocked(batch, BATCH))
            for size in sizes:
                ratios = sorted(mine[1] / fewest[1] for mine, fewest in zip(times[size], times[sizes[0]], strict=True))
                yield {
                    "store": kind,
                    "sessions": size,
                    "clock_us": round(statistics.median(clock for clock, _ in times[size]), 1),
                    "processor_us": round(statistics.median(spent for _, spent in times[size]), 1),
                    "ratio": round(statistics.median(ratios), 3),
                    "quartiles": [round(ratios[len(ratios) // 4], 3), round(ratios[3 * len(ratios) // 4], 3)],
                    **facts[size],
                }


def _opened(place: Place, name: str) -> tuple[Store, float]:
    """The store, opened again, and the milliseconds that it took: the median of three."""
    times: list[float] = []
    while True:
        start = time.perf_counter()
        store = place.open(name)
        times.append((time.perf_counter() - start) * 1e3)
        if len(times) == 3:
            return store, statistics.median(times)
        store.close()


# -- SQLite beside a bare loop ----------------------------------------------------------------------------------------

Script = list[tuple[str, tuple[Any, ...]]]


def recorded(call: Callable[[], object]) -> Script:
    """The statements of one call, with their values, as the store gives them to the engine."""
    script: Script = []
    real = sqlite_module._SQLiteTransaction._run

    def run(self: Any, statement: str, *values: Any) -> Any:
        script.append((statement, values))
        return real(self, statement, *values)

    sqlite_module._SQLiteTransaction._run = run  # type: ignore[method-assign]
    try:
        call()
    finally:
        sqlite_module._SQLiteTransaction._run = real  # type: ignore[method-assign]
    return script


class BareLoop:
    """The statements of a message on the same file, its checkpoints too, and the primitives; nothing else."""

    def __init__(self, path: Path, script: Script, primitives: Callable[[], object]) -> None:
        self._connection = open_file(str(path), 5.0)
        self._script = script
        self._primitives = primitives
        self._commits = 0
        # By key: each update counts the row's version up.
        self._versions = {values[2]: values[3] + 1 for statement, values in script if statement.startswith("UPDATE")}

    def __call__(self) -> None:
        """One message."""
        execute, versions = self._connection.execute, self._versions
        execute("BEGIN IMMEDIATE")
        for statement, values in self._script:
            if statement.startswith("UPDATE"):
                value, _, key, _ = values
                version = versions[key]
                versions[key] = version + 1
                cursor = execute(statement, (value, version + 1, key, version))
                cursor.fetchall()
                assert cursor.rowcount == 1
            else:
                execute(statement, values).fetchall()
        self._primitives()
        execute("COMMIT")
        self._commits += 1
        if self._commits % CHECKPOINT_COMMITS == 0:
            execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close its connection."""
        self._connection.close()


def beside_bare(rounds: int) -> Iterator[dict[str, Any]]:
    """A message through a device over SQLite, beside the bare loop, each on a file of its own."""
    with tempfile.TemporaryDirectory(prefix="pawl-bench-") as folder:
        for name, primitives in (("encrypt", floor.encrypt), ("decrypt", floor.decrypt)):
            ours, bare = Path(folder, f"{name}.db"), Path(folder, f"{name}-bare.db")
            with closing(SQLiteStore(bare)) as store:
                device, peer = connected(store)
                waiting = iter(peer.encrypt_many(ALICE, [floor.TEXT] * 2))
                call = _call(name, device, waiting)
                call()
                script = recorded(call)
            if not any(statement.startswith("UPDATE") for statement, _ in script):
                raise RuntimeError(f"{name} writes nothing")
            with closing(SQLiteStore(ours)) as store, closing(BareLoop(bare, script, primitives)) as loop:
                device, peer = connected(store)
                samples = []
                for number in range(rounds):
                    _say(f"SQLite beside a bare loop: {name}, round {number + 1} of {rounds}")
                    waiting = iter(peer.encrypt_many(ALICE, [floor.TEXT] * BATCH))
                    samples.append(
                        (clocked(each(loop, BATCH), BATCH), clocked(each(_call(name, device, waiting), BATCH), BATCH))
                    )
            for index, what in enumerate(("clock", "processor")):
                ratios = sorted(mine[index] / theirs[index] for theirs, mine in samples)
                yield {
                    "operation": name,
                    "time": what,
                    "statements": len(script),
                    "bare_us": round(statistics.median(theirs[index] for theirs, _ in samples), 1),
                    "pawl_us": round(statistics.median(mine[index] for _, mine in samples), 1),
                    "ratio": round(statistics.median(ratios), 3),
                    "quartiles": [round(ratios[len(ratios) // 4], 3), round(ratios[3 * len(ratios) // 4], 3)],
                }


def _call(name: str, device: Device, waiting: Iterator[Any]) -> Callable[[], object]:
    if name == "encrypt":
        return lambda: device.encrypt(BOB, floor.TEXT)
    return lambda: device.decrypt(BOB, next(waiting))


# -- the command ------------------------------------------------------------------------------------------------------

PARTS = ("messages", "sessions", "bare")


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """Measure and print. Exit codes: 0 measured, 2 wrong usage."""
    parser = argparse.ArgumentParser(
        prog="make bench ARGS='stores ...'", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="batches of each (default 15)")
    parser.add_argument("--only", metavar="NAMES", help=f"a comma-separated part of {','.join(PARTS)}")
    parser.add_argument("--stores", metavar="NAMES", help=f"a comma-separated part of {','.join(KINDS)}")
    parser.add_argument(
        "--sessions", default="1000,10000,100000", metavar="NUMBERS", help="how many (default 1000,10000,100000)"
    )
    parser.add_argument("--short", action="store_true", help="5 rounds, and at most 10,000 sessions")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    chosen = parser.parse_args(arguments)
    parts = tuple(chosen.only.split(",")) if chosen.only else PARTS
    kinds = tuple(chosen.stores.split(",")) if chosen.stores else KINDS
    if unknown := (set(parts) - set(PARTS)) | (set(kinds) - set(KINDS)):
        parser.error(f"nothing is called {', '.join(sorted(unknown))}")
    try:
        sizes = sorted(int(number) for number in chosen.sessions.split(","))
    except ValueError:
        parser.error("--sessions are numbers")
    if chosen.rounds < 1 or sizes[0] < 1:
        parser.error("--rounds and --sessions are at least 1")
    rounds = min(chosen.rounds, 5) if chosen.short else chosen.rounds
    if chosen.short:
        sizes = [size for size in sizes if size <= 10_000] or sizes[:1]

    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    with places(kinds) as found:
        measured = {
            "messages": messages(found, rounds),
            "sessions": sessions(found, sizes, rounds),
            "bare": beside_bare(rounds),
        }
        for part, results in measured.items():
            if part in parts:
                for result in results:
                    print(json.dumps({"part": part, **result}) if chosen.json else _line(result), flush=True)
    if not chosen.json:
        print(f"load of the machine at the beginning: {load:.1f}; {rounds} batches of {BATCH}, medians")
    return 0


def _line(result: dict[str, Any]) -> str:
    if "per_second" in result:
        return f"{result['store']:<10}{result['what']:<18}{result['us']:>12,.1f} µs{result['per_second']:>12,} a second"
    low, high = result["quartiles"]
    if "sessions" in result:
        more = "".join(f"  {name} {result[name]:,}" for name in ("bytes_per_session", "open_ms") if name in result)
        return (
            f"{result['store']:<10}{result['sessions']:>9,} sessions{result['processor_us']:>10,.1f} µs processor"
            f"{result['clock_us']:>10,.1f} µs clock{result['ratio']:>7.2f} ({low:.2f} to {high:.2f}){more}"
        )
    return (
        f"sqlite    {result['operation']:<9}{result['time']:<10}{result['statements']:>3} statements"
        f"{result['bare_us']:>10,.1f} µs bare{result['pawl_us']:>10,.1f} µs{result['ratio']:>7.2f}"
        f" ({low:.2f} to {high:.2f})"
    )
