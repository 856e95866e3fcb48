"""What is tried between two implementations: honest conversations, each a directed trace with a few settings.

Each `scenarios/*.json` is a scenario as in `pawl_gate.scenarios`, of one trace, with one key more, `"interop"`:

* `"order"`: its place in the matrix, from 1;
* `"names"`: what the parties are called, in place of alice, bob and carol;
* `"sizes"`: bytes of filler that the operand `size` chooses from;
* `"compare"`: Alice and Bob compare safety numbers, `"always"` or `"where-both-can"`.

`forward_jump` in an expression is what both sides can skip and keep, up to a cap.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any, Final

from pawl_gate.runner import SIZES
from pawl_gate.scenarios import Scenario, ScenarioError, load
from pawl_spec.history import Hello, Limits
from pawl_spec.trace import PARTIES, Trace

SKIPPED: Final = 2_000
"""Messages that are skipped at most: near what the libraries keep of a chain. Who allows more is not asked for it."""

SKIPPED_IN_SHORT: Final = 300
"""The same in the short form: some implementations take milliseconds for each."""

SETTINGS: Final = frozenset({"order", "names", "sizes", "compare"})
COMPARES: Final = ("always", "where-both-can")

FINGERPRINT: Final = "fingerprint"


@dataclass(frozen=True, slots=True)
class Situation:
    """One scenario of the matrix."""

    scenario: Scenario
    order: int
    names: tuple[str, ...] = PARTIES
    sizes: tuple[int, ...] = SIZES
    compare: str | None = None

    @property
    def name(self) -> str:
        """The file's name."""
        return self.scenario.name

    def lacks(self, hello: Hello) -> list[str]:
        """What an implementation does not declare and this needs."""
        # Without an operation there is neither a session nor a group.
        return hello.lacks(self.scenario.needs, anywhere=not self.scenario.document["ops"])

    def compares(self, hello: Hello) -> bool:
        """Whether a pair that declares this compares safety numbers."""
        return self.compare is not None and FINGERPRINT in hello.capabilities

    def trace(self, limits: Limits, most: int) -> Trace:
        """The trace for a pair with these limits, which skips at most so many messages. Raises: ScenarioError."""
        kept = [one for one in (limits.kept_per_chain, limits.kept_per_session) if one is not None]
        ((_, trace),) = self.scenario.traces(replace(limits, forward_jump=min([limits.forward_jump, most, *kept])))
        return trace


def read(name: str, text: str) -> Situation:
    """Read one file. Raises: ScenarioError."""
    try:
        document = json.loads(text)
        settings = document.pop("interop")
    except (ValueError, AttributeError, KeyError, TypeError):
        raise ScenarioError(f'{name}: not a scenario with the key "interop"') from None
    scenario = load(name, json.dumps(document))
    if "vary" in document:
        raise ScenarioError(f"{name}: a scenario of the matrix is one trace")
    if not isinstance(settings, dict) or set(settings) - SETTINGS or type(settings.get("order")) is not int:
        raise ScenarioError(f'{name}: "interop" has "order", and of {", ".join(sorted(SETTINGS))} what is needed')
    compare = settings.get("compare")
    if compare is not None and compare not in COMPARES:
        raise ScenarioError(f'{name}: "compare" is one of {", ".join(COMPARES)}')
    return Situation(
        scenario,
        settings["order"],
        names=tuple(_list(name, settings, "names", str, PARTIES, len(PARTIES))),
        sizes=tuple(_list(name, settings, "sizes", int, SIZES)),
        compare=compare,
    )


def _list(
    name: str, settings: dict[str, Any], key: str, kind: type, default: Sequence[Any], length: int | None = None
) -> Sequence[Any]:
    values = settings.get(key, default)
    right = isinstance(values, (list, tuple)) and values and all(type(one) is kind for one in values)
    if not right or (length is not None and len(values) != length):
        raise ScenarioError(f'{name}: "{key}" is a list of {length or "some"}')
    return list(values)


@cache
def situations() -> tuple[Situation, ...]:
    """All of them, in their order."""
    folder = resources.files(__package__).joinpath("scenarios")
    files = [file for file in folder.iterdir() if file.name.endswith(".json")]
    found = [read(file.name.removesuffix(".json"), file.read_text("utf-8")) for file in files]
    return tuple(sorted(found, key=lambda each: each.order))
