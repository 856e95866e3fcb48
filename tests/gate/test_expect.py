"""Expected findings: exactly those listed are no failure, and the list itself is held to its form.

The ids in it are examples.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pawl_gate.expect import Expected, ExpectError, read


def write(folder: Path, document: object) -> Path:
    path = folder / "expected.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def test_list_is_read(tmp_path: Path) -> None:
    """A list of ids, each with its reason, is read for its target."""
    path = write(tmp_path, {"target": "acme", "findings": [{"id": "PAR-04", "reason": "reads only the high nibble"}]})
    assert read(path, target="acme") == Expected("acme", {"PAR-04": "reads only the high nibble"})


@pytest.mark.parametrize(
    ("violated", "new", "vanished"),
    [
        (["PAR-04", "IDC-03"], [], []),
        (["PAR-04", "IDC-03", "CTR-01"], ["CTR-01"], []),
        (["PAR-04"], [], ["IDC-03"]),
        (["CTR-01"], ["CTR-01"], ["IDC-03", "PAR-04"]),
    ],
)
def test_new_and_vanished_findings_are_named(violated: list[str], new: list[str], vanished: list[str]) -> None:
    """Of the findings that a list expects, exactly those mean 0, a new or a vanished one means 1."""
    compared = Expected("acme", {"PAR-04": "a", "IDC-03": "b"}).compare(violated)
    assert (compared.new, compared.vanished, compared.same) == (new, vanished, not new and not vanished)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ([], "must be an object"),
        ({"target": "acme"}, "must be an object"),
        ({"target": "acme", "findings": [], "more": 1}, "nothing else"),
        ({"target": "other", "findings": []}, "about target 'other'"),
        ({"target": "acme", "findings": {}}, "must be a list"),
        ({"target": "acme", "findings": ["PAR-04"]}, "finding 0"),
        ({"target": "acme", "findings": [{"id": "PAR-04"}]}, "finding 0"),
        ({"target": "acme", "findings": [{"id": "PAR-99", "reason": "x"}]}, "no invariant 'PAR-99'"),
        ({"target": "acme", "findings": [{"id": 4, "reason": "x"}]}, "no invariant 4"),
        ({"target": "acme", "findings": [{"id": "PAR-04", "reason": " "}]}, "has no reason"),
        ({"target": "acme", "findings": [{"id": "PAR-04", "reason": "x"}] * 2}, "listed twice"),
    ],
)
def test_broken_lists_are_refused_by_name(tmp_path: Path, document: object, words: str) -> None:
    """A list with a slip in it must not silence a finding: every slip is refused, with its place."""
    with pytest.raises(ExpectError, match=words):
        read(write(tmp_path, document), target="acme")
