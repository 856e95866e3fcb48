"""Producers: implementations that confirm vectors, with the tests on which they are known to do otherwise.

One file each, `vectors/producers/NAME.json`: what the implementation declares, and its deviations, each with a reason.
From it follows which tests it confirms; a run of `pawl vectors check` on it shows that each word of the file is so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pawl_gate.vectors.check import Checked, Verdict, playable
from pawl_spec.history import Hello, Limits, Observe, Profile
from pawl_spec.vectors import Group, Vector


class ProducerError(ValueError):
    """A file that does not describe a producer; the text says why."""


@dataclass(frozen=True, slots=True)
class Producer:
    """An implementation, as its file describes it."""

    hello: Hello
    deviations: Mapping[str, str]
    """By test id: why it does otherwise."""

    def confirms(self, group: Group, test: Vector) -> bool:
        """Whether it can run the test, and does as the test says."""
        return test.id not in self.deviations and playable(self.hello, group, test)

    def only(self, tests: set[str]) -> Producer:
        """What is said of these tests."""
        return replace(self, deviations={test: why for test, why in self.deviations.items() if test in tests})

    @property
    def title(self) -> str:
        """As it stands in vectors."""
        return f"{self.hello.name} {self.hello.version}"


KEYS = ("name", "version", "capabilities", "limits", "profile", "deviations")
MORE_KEYS = ("sessions", "group_layout")
"""Left out by whoever does sessions, and no groups."""


def read(path: Path) -> Producer:
    """Raises: ProducerError, OSError."""
    try:
        said: Any = json.loads(path.read_text("utf-8"))
        if not set(KEYS) <= set(said) <= {*KEYS, *MORE_KEYS}:
            raise ProducerError(f"the keys must be {', '.join(KEYS)}, and may be {', '.join(MORE_KEYS)}")
        hello = Hello(
            name=said["name"],
            version=said["version"],
            level=Observe.WIRE,
            capabilities=frozenset(said["capabilities"]),
            limits=Limits(**said["limits"]),
            profile=Profile(**said["profile"]),
            sessions=said.get("sessions", True),
            group_layout=said.get("group_layout", "current"),
        )
        deviations: dict[str, str] = {}
        for entry in said["deviations"]:
            if not entry["reason"]:
                raise ProducerError("a deviation has no reason")
            for test in entry["tests"]:
                if test in deviations:
                    raise ProducerError(f"the test {test} is listed twice")
                deviations[test] = entry["reason"]
    except ProducerError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ProducerError(f"{type(error).__name__}: {error}") from None
    return Producer(hello, deviations)


def read_all(folder: Path) -> list[Producer]:
    """The producers in a folder, by name; none where there is no folder. Raises: ProducerError, OSError."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(read(path))
        except ProducerError as error:
            raise ProducerError(f"{path.name}: {error}") from None
    return found


def differences(producer: Producer, hello: Hello, checked: list[Checked]) -> list[str]:
    """What a run on the producer shows that its file does not say, or says otherwise."""
    found = []
    for name in ("name", "version", "capabilities", "limits", "profile", "sessions", "group_layout"):
        written, declared = getattr(producer.hello, name), getattr(hello, name)
        if written != declared:
            found.append(f"it declares another {name} than its file says: {_shown(declared)}")
    ran = {each.id: each for each in checked}
    for each in checked:
        if each.verdict is Verdict.FAILED and each.id not in producer.deviations:
            found.append(f"{each.id}: {each.why}")
    for test, reason in producer.deviations.items():
        if test not in ran:
            found.append(f"{test}: there is no such test (deviation: {reason})")
        elif ran[test].verdict is not Verdict.FAILED:
            found.append(f"{test}: {ran[test].verdict.value}, though a deviation is expected ({reason})")
    return found


def _shown(value: object) -> str:
    if isinstance(value, (Limits, Profile)):
        return json.dumps(asdict(value))
    return ", ".join(sorted(value)) if isinstance(value, frozenset) else str(value)
