"""The snapshot: the chain as a committed file, so that a link that is lost, or won, shows in a review.

It names files, classes and functions, never lines, and of a corpus how many inputs check what: it changes when a link
changes, and not with every edit.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from pawl_gate.explain import Place
from pawl_gate.traceability.chain import Chain
from pawl_gate.traceability.inputs import Entry
from pawl_spec.registry import Invariant
from pawl_spec.threat_model import Line

FILE: Final = "docs/reference/traceability.json"
"""From the checkout's folder."""
FORMAT: Final = "pawl-traceability"
VERSION: Final = 1

Document = dict[str, Any]


class SnapshotError(ValueError):
    """The committed file is no snapshot; the text says why."""


def document(chain: Chain) -> Document:
    """The snapshot of a chain."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "made": "by `pawl trace --write`; what it says is explained in docs/how-to/follow-a-claim.md",
        "lines": {line.anchor: _line(chain, line) for line in chain.lines},
        "threats": {threat: _answering(chain, threat) for threat in chain.threats},
        "invariants": {entry.id: _invariant(chain, entry) for entry in chain.invariants},
        "fuzz": {entry.file: _entry(entry) for entry in chain.entries},
    }


def _answering(chain: Chain, threat: str) -> list[str]:
    return [entry.id for entry in chain.invariants if entry.threat == threat]


def _line(chain: Chain, line: Line) -> Document:
    said: Document = {
        "sort": line.sort.value,
        "says": line.words,
        "state": chain.state_of(line),
        "threats": list(chain.threats_of(line)),
        "invariants": list(line.invariants),
    }
    if line.edge is not None:
        said |= {"documented": line.edge.documented, "edge": list(line.edge.tests)}
    return said


def _invariant(chain: Chain, entry: Invariant) -> Document:
    return {
        "threat": entry.threat,
        "judged": entry.predicate is not None,
        "lines": [line.anchor for line in chain.lines_of(entry.id)],
        "code": _names(chain.code.get(entry.id, ())),
        "tests": _names(chain.tests.get(entry.id, ())),
        "controls": sorted(control.name for control in chain.controls_of(entry.id)),
        "inputs": {each.file: sum(entry.id in one.checks for one in each.inputs) for each in chain.entries},
    }


def _names(places: Iterable[Place]) -> list[str]:
    """Each place by file, class and function; how often, where it is more than once."""
    counts = Counter(f"{place.file}::{place.where}" if place.where else place.file for place in places)
    return [name if count == 1 else f"{name} (x{count})" for name, count in sorted(counts.items())]


def _entry(entry: Entry) -> Document:
    names = "\n".join(one.name for one in entry.inputs)
    return {
        "boundaries": list(entry.boundaries),
        "corpus": entry.corpus,
        "inputs": len(entry.inputs),
        # File names are digests of the contents.
        "digest": hashlib.sha256(names.encode()).hexdigest(),
    }


# -- the file ---------------------------------------------------------------------------------------------------------


def dumps(made: Document) -> str:
    """The text of the file."""
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def read(path: Path) -> Document | None:
    """The committed snapshot; None where there is none. Raises: SnapshotError, OSError."""
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise SnapshotError(f"it is not JSON: {error}") from None
    if not isinstance(found, dict) or (found.get("format"), found.get("version")) != (FORMAT, VERSION):
        raise SnapshotError(f'"format" and "version" must be "{FORMAT}" and {VERSION}')
    return found


def differences(committed: Any, now: Any, at: str = "") -> Iterator[str]:
    """What differs, one line each: what the file says, and what is there now."""
    if isinstance(committed, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*committed, *now]):
            yield from differences(committed.get(key), now.get(key), f"{at} {key}".strip())
    elif isinstance(committed, list) and isinstance(now, list):
        gone, new = [one for one in committed if one not in now], [one for one in now if one not in committed]
        yield from (f"{at}: gone: {one}" for one in gone)
        yield from (f"{at}: new: {one}" for one in new)
        if not gone and not new and committed != now:
            yield f"{at}: in another order"
    elif committed != now:
        yield f"{at}: {_said(committed)} is now {_said(now)}"


def _said(value: Any) -> str:
    """A value in a few words."""
    if value is None:
        return "nothing"
    return f"an entry of {len(value)} parts" if isinstance(value, dict | list) else str(value)
