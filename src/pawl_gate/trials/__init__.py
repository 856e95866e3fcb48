"""Fault campaigns on stores: each does to a store what happens to stores, many times, and judges what is left.

A campaign is a module of this room with two names:

* `AMOUNTS`: how often its fault strikes in each budget ("pr", "nightly").
* `run(store, amount, seed, say, folder)`: see `Campaign`.

They run as `pawl store trial NAME`, in the budgets of `pawl verify` from "pr" on, and in short forms as tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Final, Protocol, cast

Say = Callable[[str], object]
"""Takes a line of progress."""


class Unavailable(Exception):
    """What a campaign needs is not installed here; one line says what."""


@dataclass(frozen=True, slots=True)
class Broken:
    """An invariant that does not hold."""

    invariant: str
    what: str
    """What was seen, for people: when, after which fault, and what it should have been."""

    def __str__(self) -> str:
        return f"{self.invariant} does not hold: {self.what}"


@dataclass(slots=True)
class TrialReport:
    """What a campaign came to."""

    name: str
    store: str
    seed: int
    counted: dict[str, int] = field(default_factory=dict)
    """What was done and seen, in plain words: {"kills": 50, "messages read": 4210}."""
    checked: dict[str, int] = field(default_factory=dict)
    """How often each invariant was checked, by id. A campaign that checked nothing is no success."""
    broken: list[Broken] = field(default_factory=list)
    seconds: float = 0.0


class Campaign(Protocol):
    """One campaign."""

    STORES: tuple[str, ...]
    """The stores that it is for, of: memory, adapter, json, sqlite, postgres."""
    AMOUNTS: Mapping[str, int]

    def run(self, store: str, amount: int, seed: int, say: Say, folder: Path) -> TrialReport:
        """Let the fault strike `amount` times at stores of this kind, in an empty `folder`. Raises: Unavailable.

        A campaign that has controls takes `control`, the name of one, beside these.
        """


MODULES: Final[Mapping[str, str]] = {
    "crash-points": "crash_points",
    "kill": "kill",
    "hammer": "hammer",
    "server": "server",
    "power-loss": "power_loss",
    "disk": "disk",
    "damage": "damage",
    "drill": "drill",
    "storm": "storm",
}
"""Each campaign's module, by the name that users know it by."""


def campaign(name: str) -> Campaign:
    """The campaign of this name. Raises: KeyError."""
    return cast("Campaign", import_module(f"pawl_gate.trials.{MODULES[name]}"))
