"""`server`: PostgreSQL is killed and started again while processes go on with its store."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pawl_gate.trials import Say, TrialReport
from pawl_gate.trials.judging import judged
from pawl_gate.trials.postgres_server import Server
from pawl_gate.trials.rounds import begin, finish, look, take_round
from pawl_gate.trials.traffic import Traffic
from pawl_gate.trials.writers import Nursery
from pawl_spec.shared_store import SERVED

STORES: Final = ("postgres",)
AMOUNTS: Final[Mapping[str, int]] = {"pr": 6, "nightly": 100}
"""How often the server is killed."""

MOST_WRITERS: Final = 4
CALLS: Final = 12
"""For each writer in a round with a blow: enough that some are under way when it comes."""

STRIKE_SECONDS: Final = 0.25
"""The longest time from the beginning of a round to the blow."""

LOOK_EVERY: Final = 2


def run(store: str, amount: int, seed: int, say: Say, folder: Path, *, control: str | None = None) -> TrialReport:
    """Kill the server `amount` times: its postmaster by SIGKILL, and all of it at once, in turn. See `Campaign`.

    Raises: Unavailable.
    """
    began = time.monotonic()
    report = TrialReport("server", store, seed)
    traffic = Traffic(seed, SERVED)
    with Server() as server, Nursery() as nursery:
        server.start()
        writers = [nursery.start() for _ in range(MOST_WRITERS)]
        begin(traffic, writers, store, server.conninfo, control)
        take_round(traffic, writers, 2)
        for number in range(amount):
            if traffic.enough():
                break
            say(f"the server is killed: {number + 1} of {amount}")

            def strike(number: int = number) -> None:
                time.sleep(traffic.random.uniform(0, STRIKE_SECONDS))
                at = time.monotonic_ns()
                if number % 2 == 0:
                    traffic.count("postmasters killed")
                    server.kill()
                else:
                    traffic.count("servers stopped as by a crash")
                    server.stop("immediate")
                server.start_again()
                traffic.blow("the server was killed", at)

            some = traffic.random.sample(writers, traffic.random.randint(2, MOST_WRITERS))
            take_round(traffic, some, CALLS, strike)
            # And one in peace, in which everybody finds the new server.
            take_round(traffic, writers, 2)
            if number % LOOK_EVERY == LOOK_EVERY - 1:
                look(traffic, writers[0])
        finish(traffic, writers)
    judged(traffic, report)
    report.seconds = time.monotonic() - began
    return report
