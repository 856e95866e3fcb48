"""Expected findings: a committed list of what is known to be violated on a target, each with its reason.

A run is as expected when exactly these invariants are violated: a new finding fails, and so does one that vanished,
because a list that nobody shortens hides the next fault.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pawl_spec.invariants import INVARIANTS

MAX_BYTES: Final = 1 << 20
"""Bytes of a list: many times what all invariants with a page of reason each would take."""

IDS: Final = frozenset(entry.id for entry in INVARIANTS)


class ExpectError(ValueError):
    """The file is not a list of expected findings; the text says where."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The findings that are expected of one target: invariant id to reason."""

    target: str
    findings: dict[str, str]

    def compare(self, violated: Collection[str]) -> Comparison:
        """What is new and what has vanished."""
        return Comparison(
            new=sorted(set(violated) - set(self.findings)),
            vanished=sorted(set(self.findings) - set(violated)),
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a run's findings differ from the expected ones."""

    new: list[str]
    vanished: list[str]

    @property
    def same(self) -> bool:
        """Whether exactly the expected invariants are violated."""
        return not self.new and not self.vanished


def read(path: Path, *, target: str) -> Expected:
    """Read `{"target": name, "findings": [{"id": ..., "reason": ...}]}` for the named target.

    Raises: ExpectError; OSError if the file cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    # Whatever the path names, it is not read without an end.
    if len(data) > MAX_BYTES:
        raise ExpectError(f"it is longer than {MAX_BYTES} bytes")
    try:
        document = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ExpectError(f"not JSON: {error}") from None
    if not isinstance(document, dict) or set(document) != {"target", "findings"}:
        raise ExpectError('it must be an object with "target" and "findings", and nothing else')
    # A list made for another target would say nothing about this one.
    if document["target"] != target:
        raise ExpectError(f"it is about target {document['target']!r}, not {target!r}")
    if not isinstance(document["findings"], list):
        raise ExpectError('"findings" must be a list')
    findings: dict[str, str] = {}
    for at, entry in enumerate(document["findings"]):
        if not isinstance(entry, dict) or set(entry) != {"id", "reason"}:
            raise ExpectError(f'finding {at} must be an object with "id" and "reason", and nothing else')
        if not isinstance(entry["id"], str) or entry["id"] not in IDS:
            raise ExpectError(f"finding {at}: there is no invariant {entry['id']!r} (see `pawl invariants`)")
        if entry["id"] in findings:
            raise ExpectError(f"finding {at}: {entry['id']} is listed twice")
        if not isinstance(entry["reason"], str) or not entry["reason"].strip():
            raise ExpectError(f"finding {at}: {entry['id']} has no reason")
        findings[entry["id"]] = entry["reason"]
    return Expected(target, findings)
