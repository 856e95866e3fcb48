"""Directed traces: situations that a random search reaches too seldom, or too late.

Each `*.json` file in this folder is one scenario, written for people. It is a trace (see `pawl_spec.trace`) with three
additions, so that one file serves targets with different limits:

* an operand may be an expression, `"=forward_jump + over"`: whole numbers, names, `+`, `-` and `*`. The names are the
  target's limits (of `pawl_spec.history.Limits`; for a limit that it does not declare, the catalogue's own), the names
  of `vary`, and the counter of the enclosing `repeat`;
* `"vary"` gives names several values each; every combination is one trace. A value "TAMPERS", "FORGERIES", "JUNK",
  "GROUP_TAMPERS" or "SMUGGLES" stands for that whole list, and `"=field"` as an operand takes the value;
* `{"repeat": "i", "times": ..., "ops": [...]}` repeats operations, with i counting from 0.

`needs` lists capabilities without which the scenario says nothing about a target; it is then skipped, and said so.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from importlib import resources
from typing import Any, Final

from pawl_spec.history import Hello, Limits
from pawl_spec.trace import FORGERIES, GROUP_TAMPERS, JUNK, SMUGGLES, TAMPERS, Trace, TraceError, from_json

FORMAT: Final = "pawl-scenario"
VERSION: Final = 1
GROUP_LISTS: Final[Mapping[str, tuple[str, ...]]] = {"GROUP_TAMPERS": GROUP_TAMPERS, "SMUGGLES": SMUGGLES}
LISTS: Final[Mapping[str, tuple[str, ...]]] = {"TAMPERS": TAMPERS, "FORGERIES": FORGERIES, "JUNK": JUNK, **GROUP_LISTS}
KEYS: Final = frozenset({"format", "version", "title", "about", "needs", "seed", "strict", "vary", "ops"})

Value = int | str


class ScenarioError(ValueError):
    """A scenario file that is not one; the text says which and where."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One directed situation, which unfolds to one or more traces for a given target."""

    name: str
    title: str
    """One sentence: what happens."""
    about: tuple[str, ...]
    """The invariants that it is meant to reach."""
    needs: frozenset[str]
    document: Mapping[str, Any]

    def lacks(self, hello: Hello) -> list[str]:
        """Capabilities that the target does not declare and the scenario needs."""
        return hello.lacks(self.needs)

    def traces(self, limits: Limits) -> Iterator[tuple[str, Trace]]:
        """Label and trace of each variant. Raises: ScenarioError."""
        names = _limits(limits)
        vary = {name: _values(values) for name, values in self.document.get("vary", {}).items()}
        for choice in itertools.product(*vary.values()):
            chosen = dict(zip(vary, choice, strict=True))
            label = ", ".join(f"{name}={value}" for name, value in chosen.items())
            document = {
                "format": "pawl-trace",
                "version": 1,
                "seed": self.document.get("seed", 0),
                "strict": self.document.get("strict", []),
                "ops": list(_unfold(self.document["ops"], {**names, **chosen})),
            }
            try:
                yield f"{self.name}({label})" if label else self.name, from_json(document)
            except TraceError as error:
                raise ScenarioError(f"{self.name}: {error}") from None


def _limits(limits: Limits) -> dict[str, Value]:
    """The target's limits by name; the catalogue's where it declares none."""
    catalogue = Limits()
    names: dict[str, Value] = {}
    for entry in fields(Limits):
        value = getattr(limits, entry.name)
        value = getattr(catalogue, entry.name) if value is None else value
        if value is not None:
            names[entry.name] = value
    return names


def _values(values: object) -> list[Value]:
    if isinstance(values, str) and values in LISTS:
        return list(LISTS[values])
    if isinstance(values, list):
        return values
    raise ScenarioError(f'"vary" must give a list or one of {", ".join(LISTS)}')


def _unfold(ops: list[Any], names: Mapping[str, Value]) -> Iterator[dict[str, Any]]:
    for entry in ops:
        if "repeat" in entry:
            times = evaluate(entry["times"], names)
            for at in range(int(times)):
                yield from _unfold(entry["ops"], {**names, entry["repeat"]: at})
        else:
            yield {name: evaluate(value, names) for name, value in entry.items()}


def evaluate(value: Any, names: Mapping[str, Value]) -> Value:
    """An operand: as it stands, or where it begins with "=" the value of that expression. Raises: ScenarioError."""
    if not isinstance(value, str) or not value.startswith("="):
        return value  # type: ignore[no-any-return]
    text = value[1:].strip()
    if text in names:
        return names[text]
    total = 0
    signed = re.split("([+-])", "+" + text)[1:]
    for sign, term in zip(signed[::2], signed[1::2], strict=True):
        product = -1 if sign == "-" else 1
        for factor in term.split("*"):
            product *= _number(factor.strip(), names)
        total += product
    return total


def _number(word: str, names: Mapping[str, Value]) -> int:
    if word.isdecimal():
        return int(word)
    value = names.get(word)
    if not isinstance(value, int):
        raise ScenarioError(f"{word!r} is not a number here; the names are {', '.join(names)}")
    return value


def load(name: str, text: str) -> Scenario:
    """Read one scenario file. Raises: ScenarioError."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ScenarioError(f"{name}: not JSON: {error}") from None
    if not isinstance(document, dict) or (document.get("format"), document.get("version")) != (FORMAT, VERSION):
        raise ScenarioError(f'{name}: "format" and "version" must be "{FORMAT}" and {VERSION}')
    if unknown := sorted(set(document) - KEYS):
        raise ScenarioError(f"{name}: no key {unknown[0]!r}; the keys are {', '.join(sorted(KEYS))}")
    if not isinstance(document.get("title"), str) or not isinstance(document.get("ops"), list):
        raise ScenarioError(f'{name}: "title" and "ops" are required')
    about, needs = tuple(document.get("about", ())), frozenset(document.get("needs", ()))
    return Scenario(name, document["title"], about, needs, document)


def scenarios() -> list[Scenario]:
    """All scenarios, by name."""
    here = resources.files(__name__)
    files = sorted((file for file in here.iterdir() if file.name.endswith(".json")), key=lambda file: file.name)
    return [load(file.name.removesuffix(".json"), file.read_text("utf-8")) for file in files]
