"""`hammer`: two to eight processes at once on one session and one pool of prekeys of one store."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pawl_gate.trials import Say, TrialReport
from pawl_gate.trials.judging import judged
from pawl_gate.trials.kill import placed
from pawl_gate.trials.rounds import begin, finish, look, take_round
from pawl_gate.trials.traffic import Traffic
from pawl_gate.trials.writers import Nursery
from pawl_spec.shared_store import SHARED

STORES: Final = ("sqlite", "json", "postgres")
AMOUNTS: Final[Mapping[str, int]] = {"pr": 30, "nightly": 600}
"""Rounds, in each of which two to eight processes take some six calls each."""

MOST_WRITERS: Final = 8
CALLS: Final = 6
LOOK_EVERY: Final = 5
"""Rounds after which the store is looked at."""


def run(store: str, amount: int, seed: int, say: Say, folder: Path, *, control: str | None = None) -> TrialReport:
    """Let processes at a store for `amount` rounds. See `Campaign`."""
    began = time.monotonic()
    report = TrialReport("hammer", store, seed)
    traffic = Traffic(seed, SHARED)
    with placed(store, folder) as place, Nursery() as nursery:
        writers = [nursery.start() for _ in range(MOST_WRITERS)]
        begin(traffic, writers, store, place, control)
        for number in range(amount):
            if traffic.enough():
                break
            if number % 10 == 0:
                say(f"round {number} of {amount}")
            some = traffic.random.sample(writers, traffic.random.randint(2, MOST_WRITERS))
            take_round(traffic, some, CALLS)
            if number % LOOK_EVERY == LOOK_EVERY - 1:
                look(traffic, writers[0])
        finish(traffic, writers)
    judged(traffic, report)
    report.seconds = time.monotonic() - began
    return report
