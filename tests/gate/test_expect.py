"""Expected findings: exactly those listed are no failure, and the list itself is held to its form.

The ids in it are examples.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from pawl_gate.expect import Expected, ExpectError, Unseen, dumps, read, renewed
from pawl_spec.trace import Kind, Trace, op


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


ENTRY: Final = {"id": "PAR-04", "reason": "x"}


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
        (
            {"target": "acme", "findings": [{"id": "PAR-04", "reason": "x", "trace": 7}]},
            "the trace of PAR-04 is no trace",
        ),
        ({"target": "acme", "findings": [{"id": "PAR-04", "reason": "x", "trase": {}}]}, "finding 0"),
        ({"target": 7, "findings": []}, "name of a target"),
        ({"target": "acme", "findings": [ENTRY | {"class": "nobody"}]}, "class of PAR-04 must be one of network"),
        ({"target": "acme", "findings": [ENTRY | {"class": ["network"]}]}, "class of PAR-04"),
        ({"target": "acme", "findings": [ENTRY | {"script": []}]}, "a path, or a list of paths"),
        ({"target": "acme", "findings": [ENTRY | {"script": 7}]}, "a path, or a list of paths"),
        *(
            ({"target": "acme", "findings": [ENTRY | {"script": path}]}, "below the list's folder")
            for path in ("../x.js", "/x.js", "a/../x.js", "x.js\n", "", "-x.js/../y", "x.c#a#b", "a//b.js", "a\\b.js")
        ),
        ({"target": "acme", "findings": [ENTRY | {"script": ["x.js", "x.js"]}]}, "named twice"),
        ({"target": "acme", "findings": [], "unseen": {}}, '"unseen" must be a list'),
        ({"target": "acme", "findings": [], "unseen": [ENTRY]}, 'must have "class" and "script"'),
        ({"target": "acme", "findings": [], "unseen": [ENTRY | {"trace": {}}]}, "unseen 0"),
    ],
)
def test_broken_lists_are_refused_by_name(tmp_path: Path, document: object, words: str) -> None:
    """A list with a slip in it must not silence a finding: every slip is refused, with its place."""
    with pytest.raises(ExpectError, match=words):
        read(write(tmp_path, document), target="acme")


TRACE = Trace((op(Kind.ESTABLISH, actor=0, peer=1, one_time=1), op(Kind.SEND, actor=0, peer=1)), seed=5)


def test_a_list_with_traces_is_read_back(tmp_path: Path) -> None:
    """What is written is what is read."""
    made = Expected("acme", {"PAR-04": "reads only the high nibble", "IDC-03": "\u202e"}, {"PAR-04": TRACE})
    assert read(write(tmp_path, dumps(made)), target="acme") == made


UNSEEN = Unseen("IDC-10", "callbacks misbehave", "application", ("findings/deadlock.js",))


def test_class_and_scripts_are_read_back(tmp_path: Path) -> None:
    """One script is written as text, several as a list; what the gate does not see stands apart, and is not compared."""
    made = Expected(
        "acme",
        {"PAR-04": "reads only the high nibble", "IDC-03": "unchecked"},
        classes={"PAR-04": "network", "IDC-03": "peer"},
        scripts={"PAR-04": ("findings/one.js",), "IDC-03": ("findings/all.c#one", "findings/all.c#two")},
        unseen=(UNSEEN,),
    )
    path = write(tmp_path, dumps(made))
    assert read(path) == read(path, target="acme") == made
    assert '"script": "findings/one.js"' in path.read_text()
    assert made.compare(["PAR-04", "IDC-03"]).same


def test_reasons_that_somebody_wrote_stay() -> None:
    """A new entry says that nobody has looked at it; what is not there any more goes, with its trace, class and script."""
    old = Expected(
        "acme",
        {"PAR-04": "issue 4", "IDC-03": "issue 3"},
        {"IDC-03": TRACE},
        classes={"PAR-04": "network", "IDC-03": "peer"},
        scripts={"PAR-04": ("four.js",), "IDC-03": ("three.js",)},
        unseen=(UNSEEN,),
    )
    new = renewed(old, target="acme", seen={"PAR-04": "a", "CTR-01": "b\x1b"}, shown={"PAR-04": TRACE}, whole=True)
    assert new.findings == {
        "CTR-01": "there when this list was written, not yet examined: b\\x1b",
        "PAR-04": "issue 4",
    }
    assert new.traces == {"PAR-04": TRACE}
    assert (new.classes, new.scripts, new.unseen) == ({"PAR-04": "network"}, {"PAR-04": ("four.js",)}, (UNSEEN,))


def test_an_incomplete_run_takes_nothing_off_the_list() -> None:
    """That a run which was cut did not find it says nothing."""
    old = Expected("acme", {"PAR-04": "issue 4", "IDC-03": "issue 3"}, {"IDC-03": TRACE})
    new = renewed(old, target="acme", seen={"PAR-04": "a"}, shown={}, whole=False)
    assert (new.findings, new.traces) == (old.findings, old.traces)


def test_what_is_left_out_is_not_expected() -> None:
    """A run that leaves an invariant out cannot say that its finding has vanished."""
    both = {"IDC-03": TRACE, "PAR-04": TRACE}
    old = Expected("acme", {"PAR-04": "a", "IDC-03": "b"}, both, {"IDC-03": "peer"}, {"IDC-03": ("three.js",)})
    assert old.without({"IDC-03"}) == Expected("acme", {"PAR-04": "a"}, {"PAR-04": TRACE})
