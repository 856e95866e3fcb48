"""The last evidence: what a run of `pawl verify` said of each invariant, read from the document that it leaves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pawl
import pawl_spec
from pawl_spec.judge import Verdict

FILE: Final = Path("build", "report", "index.json")
"""Where `pawl verify` leaves it, beside its page."""
FORMAT: Final = "pawl-report"
VERSION: Final = 1
TARGET: Final = "pawl"


class EvidenceError(ValueError):
    """The file is no report of `pawl verify`; the text says why."""


@dataclass(frozen=True, slots=True)
class Said:
    """What the run said of one invariant."""

    verdict: Verdict
    checked: int
    by_engine: Mapping[str, tuple[int, int]]
    """By engine: on how many traces it was checked, and how often."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One run of `pawl verify`."""

    target: str
    """The name or command by which it was asked for."""
    outcome: str
    budget: str
    seed: int
    made: str
    """When, in UTC."""
    is_current: bool
    """Whether library and specification are still what they were in that run."""
    said: Mapping[str, Said]
    """By invariant id."""

    @property
    def is_of_pawl(self) -> bool:
        """Whether the run judged the library itself, and not another implementation."""
        return self.target == TARGET


def read(path: Path) -> Evidence | None:
    """The evidence in a file; None where there is no file. Raises: EvidenceError, OSError."""
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError:
        raise EvidenceError("it is not JSON") from None
    if not isinstance(found, dict) or (found.get("format"), found.get("version")) != (FORMAT, VERSION):
        raise EvidenceError(f'"format" and "version" must be "{FORMAT}" and {VERSION}')
    try:
        return Evidence(
            target=str(found["target"]["asked"]),
            outcome=str(found["outcome"]),
            budget=str(found["budget"]),
            seed=int(found["seed"]),
            made=str(found["made"]),
            is_current=found["code"] == code_digest(),
            said={entry["id"]: _said(entry) for entry in found["invariants"]},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise EvidenceError(f"a part of it is missing, or of another kind: {error}") from None


def _said(entry: Mapping[str, Any]) -> Said:
    engines = {str(name): (int(one["traces"]), int(one["checked"])) for name, one in entry["by_engine"].items()}
    return Said(Verdict(entry["verdict"]), int(entry["checked"]), engines)


def code_digest() -> str:
    """A digest of the library and of the specification: of every file, by name and content."""
    digest = hashlib.sha256()
    for package in (pawl, pawl_spec):
        folder = Path(str(package.__file__)).parent
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                name, data = path.relative_to(folder.parent).as_posix(), path.read_bytes()
                digest.update(f"{name}\n{len(data)}\n".encode() + data)
    return digest.hexdigest()
