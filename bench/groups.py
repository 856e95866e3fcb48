"""Time groups: `make bench ARGS=groups`.

Group messages beside the floor of bare primitives, as `bench.run` does it: batches alternate, processor time is
counted, and the result is the median of the ratios of neighbouring batches. A group of 1,000 members: what it costs to
give them the chain, and whether a message costs the same at the end as at the beginning. And the official client's Node
package on the same work, by the clock, if it is installed.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from bench import floor
from bench.stores import clocked, each
from pawl import Device, Group, GroupSend, MemoryStore, ProtocolAddress

ALICE = ProtocolAddress("alice", 1)
GROUP = UUID(bytes=floor.DISTRIBUTION_ID)

BATCH = 200
"""Messages of one batch."""

BOUND = 1.8
"""Times the floor that a group message may cost."""

OFFICIAL = Path("drivers/libsignal-client")
OFFICIAL_SECONDS = 300

PARTS = ("messages", "members", "official")


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def given() -> tuple[Group, Group]:
    """The group as a sender has it and as a member who has the chain does; a message was sent and read."""
    sender, member = Device(MemoryStore()).group(GROUP), Device(MemoryStore()).group(GROUP)
    member.process(ALICE, sender.create_distribution())
    member.decrypt(ALICE, sender.encrypt(floor.TEXT))
    return sender, member


# -- beside the floor -------------------------------------------------------------------------------------------------


def messages(rounds: int) -> Iterator[dict[str, Any]]:
    """Group messages sent, and read in order."""
    samples: dict[str, list[tuple[float, float]]] = {"encrypt": [], "decrypt": []}
    for number in range(rounds):
        _say(f"messages, round {number + 1} of {rounds}")
        sender, _ = given()
        bare = clocked(each(floor.group_encrypt, BATCH), BATCH)[1]
        samples["encrypt"].append((bare, clocked(each(_sending(sender), BATCH), BATCH)[1]))
        sender, member = given()
        reading = _reading(member, [sender.encrypt(floor.TEXT) for _ in range(BATCH)])
        bare = clocked(each(floor.group_decrypt, BATCH), BATCH)[1]
        samples["decrypt"].append((bare, clocked(each(reading, BATCH), BATCH)[1]))
    for name, pairs in samples.items():
        yield {"what": f"group {name}", "bound": BOUND, **_ratio(pairs)}


def _sending(group: Group) -> Callable[[], object]:
    return lambda: group.encrypt(floor.TEXT)


def _reading(group: Group, sent: list[bytes]) -> Callable[[], object]:
    waiting = iter(sent)
    return lambda: group.decrypt(ALICE, next(waiting))


def _ratio(pairs: list[tuple[float, float]]) -> dict[str, Any]:
    """Medians of what is compared, the median of the ratios, and their quartiles."""
    first, second = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratios = sorted(other / one for one, other in pairs)
    quartiles = ratios[len(ratios) // 4], ratios[3 * len(ratios) // 4]
    return {
        "base_us": round(first, 2),
        "us": round(second, 2),
        "ratio": round(statistics.median(ratios), 3),
        "quartiles": [round(each, 3) for each in quartiles],
    }


# -- many members -----------------------------------------------------------------------------------------------------


def members(count: int, sent: int, rounds: int) -> Iterator[dict[str, Any]]:
    """A group of so many: giving them the chain, and so many messages after it."""
    gives: list[tuple[float, float]] = []
    news: list[tuple[float, float]] = []
    quarters: dict[str, list[tuple[float, float]]] = {"send": [], "read": []}
    quarter = max(sent // 4, 1)
    for number in range(rounds):
        _say(f"{count:,} members, round {number + 1} of {rounds}")
        alice, addresses, peers = _met(count)
        group = alice.group(GROUP)
        # The floor of a message of a session, for each.
        bare = clocked(each(floor.encrypt, count), count)[1]
        first: list[GroupSend] = []
        gives.append((bare, clocked(partial(_give, group, addresses, first), count)[1]))
        group.delivered(first[0].distributions)
        reader = peers[0].group(GROUP)
        mine = next(each for each in first[0].distributions if each.peer == addresses[0])
        reader.process(ALICE, peers[0].decrypt(ALICE, mine.message))
        reader.decrypt(ALICE, first[0].message)
        for name, times in _talk(group, reader, sent).items():
            ends = statistics.fmean(times[:quarter]) * 1e6, statistics.fmean(times[-quarter:]) * 1e6
            quarters[name].append(ends)
        again: list[GroupSend] = []
        news.append((bare, clocked(partial(_give, group, addresses[1:], again), count)[1]))
    yield {"what": f"the chain, for each of {count:,} members", **_ratio(gives)}
    yield {"what": "a new chain after one was removed, for each", **_ratio(news)}
    for name, pairs in quarters.items():
        yield {"what": f"{name} among {count:,}: last {quarter} of {sent:,} beside first {quarter}", **_ratio(pairs)}


def _talk(group: Group, reader: Group, count: int) -> dict[str, list[float]]:
    """Seconds of each message, to send it to all and to read it."""
    times: dict[str, list[float]] = {"send": [], "read": []}
    gc.collect()
    for _ in range(count):
        start = time.thread_time()
        message = group.send(floor.TEXT).message
        middle = time.thread_time()
        reader.decrypt(ALICE, message)
        times["send"].append(middle - start)
        times["read"].append(time.thread_time() - middle)
    return times


def _met(count: int) -> tuple[Device, list[ProtocolAddress], list[Device]]:
    """A device that has a session with so many others; each has heard from it."""
    alice, peers = Device(MemoryStore()), [Device(MemoryStore()) for _ in range(count)]
    addresses = [ProtocolAddress(f"member-{number:06}", 1) for number in range(count)]
    for address, peer in zip(addresses, peers, strict=True):
        alice.establish(address, peer.prekey_bundle())
        peer.decrypt(ALICE, alice.encrypt(address, b""))
        alice.decrypt(address, peer.encrypt(ALICE, b""))
    return alice, addresses, peers


def _give(group: Group, addresses: list[ProtocolAddress], sent: list[GroupSend]) -> None:
    group.set_members(addresses)
    sent.append(group.send(floor.TEXT))


# -- the official client ----------------------------------------------------------------------------------------------


def official(folder: Path, count: int, rounds: int) -> Iterator[dict[str, Any]]:
    """The official client's Node package and Pawl by turns, each in a process of one thread; by the clock."""
    node = shutil.which("node")
    if node is None or not (folder / "bench.js").is_file() or not (folder / "node_modules").is_dir():
        _say(f"the official client is not there ({folder}, its node_modules, and node)")
        return
    samples: dict[str, list[tuple[float, float]]] = {"encrypt": [], "decrypt": []}
    for number in range(rounds):
        _say(f"official client, round {number + 1} of {rounds}")
        command = [node, "bench.js", "--messages", str(count), "--size", str(len(floor.TEXT))]
        done = subprocess.run(  # noqa: S603 - a program of this checkout
            command, cwd=folder, capture_output=True, text=True, timeout=OFFICIAL_SECONDS, check=True
        )
        theirs = json.loads(done.stdout)
        sender, member = given()
        ours = {"encrypt": clocked(each(_sending(sender), count), count)[0]}
        sender, member = given()
        reading = _reading(member, [sender.encrypt(floor.TEXT) for _ in range(count)])
        ours["decrypt"] = clocked(each(reading, count), count)[0]
        for name, us in ours.items():
            samples[name].append((theirs[f"{name}_us"], us))
    for name, pairs in samples.items():
        yield {"what": f"group {name} beside the official client", **_ratio(pairs)}


# -- the command ------------------------------------------------------------------------------------------------------


def main(arguments: list[str]) -> int:
    """Measure and print. Exit codes: 0 measured, 2 wrong usage."""
    parser = argparse.ArgumentParser(
        prog="make bench ARGS='groups ...'", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("--rounds", type=int, default=31, metavar="N", help="batches of each (default 31)")
    parser.add_argument("--only", metavar="NAMES", help=f"a comma-separated part of {','.join(PARTS)}")
    parser.add_argument("--members", type=int, default=1000, metavar="N", help="of the large group (default 1000)")
    parser.add_argument("--messages", type=int, default=1000, metavar="N", help="sent in it (default 1000)")
    parser.add_argument("--official", type=Path, default=OFFICIAL, metavar="DIR", help=f"default {OFFICIAL}")
    parser.add_argument("--short", action="store_true", help="7 rounds, and the large group once")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    chosen = parser.parse_args(arguments)
    parts = tuple(chosen.only.split(",")) if chosen.only else PARTS
    if unknown := set(parts) - set(PARTS):
        parser.error(f"nothing is called {', '.join(sorted(unknown))}")
    if min(chosen.rounds, chosen.messages) < 1 or chosen.members < 2:
        parser.error("--rounds and --messages are at least 1, --members at least 2")
    rounds = min(chosen.rounds, 7) if chosen.short else chosen.rounds
    # A round of these takes seconds.
    seldom = 1 if chosen.short else min(rounds, 5)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    measured = {
        "messages": messages(rounds),
        "members": members(chosen.members, chosen.messages, seldom),
        "official": official(chosen.official, chosen.messages, seldom),
    }
    for part, results in measured.items():
        if part in parts:
            for result in results:
                print(json.dumps({"part": part, **result}) if chosen.json else _line(result), flush=True)
    if not chosen.json:
        print(f"load of the machine at the beginning: {load:.1f}; medians of {rounds} and {seldom} rounds")
    return 0


def _line(result: dict[str, Any]) -> str:
    low, high = result["quartiles"]
    bound = f"; bound {result['bound']}" if "bound" in result else ""
    return (
        f"{result['what']:<58}{result['base_us']:>10,.1f} µs{result['us']:>10,.1f} µs"
        f"{result['ratio']:>7.2f} ({low:.2f} to {high:.2f}{bound})"
    )
