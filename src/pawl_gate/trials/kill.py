"""`kill`: a real writer process is killed at random moments, and the next one goes on with the same store."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pawl_gate.trials import Say, TrialReport
from pawl_gate.trials.judging import judged
from pawl_gate.trials.places import file_of
from pawl_gate.trials.traffic import LATE, MOST_BATCH, MOST_PEERS, Order, Traffic
from pawl_gate.trials.writers import Nursery, Writer
from pawl_spec.shared_store import ALONE, SHARED

STORES: Final = ("sqlite", "json", "adapter", "postgres")
AMOUNTS: Final[Mapping[str, int]] = {"pr": 50, "nightly": 1000}
"""Kills."""

LIFE_SECONDS: Final[Mapping[str, float]] = {"sqlite": 0.25, "json": 0.25, "adapter": 0.25, "postgres": 0.45}
"""The longest life of a writer, its opening of the store included."""

EARLY: Final = 0.2
"""How many writers are to be killed while they open the store, within the first tenth of that."""

AT_ANSWER: Final = 0.4
"""How many are killed at the very moment when the next answer comes: what was handed out too early is lost then."""

ANSWER_SECONDS: Final = 0.2
"""How long that answer is waited for."""

SOCIABLE: Final = 0.35
"""How many meet new peers most of the time: that is where session and prekey change together."""

QUEUED: Final = 4
"""Calls in a writer's pipe, so that it never waits for us."""


def run(store: str, amount: int, seed: int, say: Say, folder: Path, *, control: str | None = None) -> TrialReport:
    """Kill writers `amount` times. On PostgreSQL it is the client that is killed. See `Campaign`."""
    began = time.monotonic()
    report = TrialReport("kill", store, seed)
    # A server finishes what a killed client had asked for, while the next client is there already.
    traffic = Traffic(seed, SHARED if store == "postgres" else ALONE)
    with placed(store, folder) as place, Nursery() as nursery:
        main = traffic.new_peer()
        for number in range(amount):
            if number % 25 == 0:
                say(f"kill {number} of {amount}")
            share = 0.1 if traffic.random.random() < EARLY else 1.0
            seconds = traffic.random.uniform(0, LIFE_SECONDS[store] * share)
            writer = nursery.start()
            _open(traffic, writer, store, place, control)
            sociable = traffic.random.random() < SOCIABLE
            deadline = time.monotonic() + seconds
            while (left := deadline - time.monotonic()) > 0 and not writer.ended:
                while len(writer) < QUEUED and time.monotonic() < deadline:
                    writer.tell(*_next(traffic, sociable))
                traffic.hear(writer, writer.hear(left))
                for peer in traffic.peers:
                    traffic.read_inbox(peer, keep=min(len(peer.inbox), traffic.random.randrange(LATE)))
            late = writer.hear(ANSWER_SECONDS) if traffic.random.random() < AT_ANSWER else []
            struck = time.monotonic_ns()
            opened = any(call.what == "open" and call.writer == writer.name for call in traffic.record.calls[-400:])
            said = late + writer.kill()
            traffic.blow(f"{writer.name} was killed", struck)
            traffic.hear(writer, said)
            traffic.lay_down()
            traffic.count("kills")
            if not opened:
                traffic.count("kills while the store was opened")
            if traffic.enough():
                break
        writer = nursery.start()
        writer.tell(*traffic.opening(store, place, control))
        while len(writer) and not writer.ended:
            traffic.hear(writer, writer.hear(1.0))
        if not main.met:
            writer.tell(*traffic.establishing(main))
        traffic.finish(writer)
        traffic.hear(writer, writer.finish())
    judged(traffic, report)
    report.seconds = time.monotonic() - began
    return report


@contextmanager
def placed(store: str, folder: Path) -> Iterator[str]:
    """The place of a new store; for PostgreSQL a server of its own. Raises: Unavailable."""
    if store == "postgres":
        from pawl_gate.trials.postgres_server import Server

        with Server() as server:
            server.start()
            yield server.conninfo
    else:
        yield file_of(store, folder)


def _open(traffic: Traffic, writer: Writer, store: str, place: str, control: str | None) -> None:
    writer.tell(*traffic.opening(store, place, control))
    for order in (traffic.looking(), *traffic.after_a_kill()):
        writer.tell(*order)


def _next(traffic: Traffic, sociable: bool) -> Order:
    """Whatever a device does, by chance; first of all what keeps the conversation going."""
    chance = traffic.random
    live = [peer for peer in traffic.peers if not peer.gone]
    alone = [peer for peer in live if not peer.met and not peer.meeting and not peer.letters]
    if alone:
        return traffic.establishing(alone[0])
    if len(live) > MOST_PEERS and (old := traffic.forgettable()) is not None:
        return traffic.forgetting(old)
    if len(traffic.stored) > 40 and chance.random() < 0.2:
        return traffic.tidying()
    dice = chance.random()
    if dice < (0.3 if sociable else 0.05) and len(live) < 2 * MOST_PEERS:
        return traffic.bundling(extra=chance.choice((0, 0, 2)))
    dice = chance.random()
    if dice < 0.02:
        return traffic.establishing(traffic.new_peer())
    if dice < 0.03:
        return traffic.looking()
    if dice < 0.07:
        again = [number for number in list(traffic.posts)[-40:] if traffic.posts[number].read]
        if again:
            return traffic.reading([chance.choice(again)])
    if dice < (0.15 if sociable else 0.5) and traffic.met:
        size = chance.randint(2, MOST_BATCH) if chance.random() < 0.2 else 1
        return traffic.encrypting(chance.choice(traffic.met), size)
    due = traffic.due()
    if not due:
        hearing = [peer for peer in live if peer.hears]
        if not hearing:
            met = traffic.met
            return traffic.encrypting(chance.choice(met)) if met else traffic.bundling()
        traffic.write(chance.choice(hearing), chance.randint(1, LATE))
        due = traffic.due()
    first = chance.choice(due[:LATE])
    fresh = [
        number
        for number in due
        if not traffic.posts[number].tried and traffic.posts[number].letter.peer == traffic.posts[first].letter.peer
    ]
    if len(fresh) > 1 and chance.random() < 0.3:
        return traffic.reading(fresh[:MOST_BATCH])
    return traffic.reading([first])
