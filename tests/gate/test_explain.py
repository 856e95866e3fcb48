"""`pawl explain`: what stands behind an invariant is found in the code itself, and is said as it is there.

The ids in it are examples.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pawl_gate import explain as explanations
from pawl_gate.controls import CONTROLS
from pawl_gate.explain import NAMED, UnknownInvariant, explain, find, library_places
from pawl_gate.explain_text import LEVELS, explain_document, explain_text
from pawl_gate.trials.broken_pools import as_controls
from pawl_spec.history import Observe
from pawl_spec.invariants import INVARIANTS
from pawl_spec.registry import REGISTRY, THREATS, Invariant

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "src" / "pawl"

JUDGED = [entry for entry in INVARIANTS if entry.predicate is not None]
PENDING = [entry for entry in INVARIANTS if entry.predicate is None]


# -- the convention of src/pawl ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", JUDGED, ids=lambda entry: entry.id)
def test_every_judged_invariant_has_its_code(entry: Invariant) -> None:
    """A third-party reviewer's "show me every claim, the code that makes it true": some place says so."""
    assert library_places().get(entry.id)


def test_the_library_names_no_invariant_that_there_is_not() -> None:
    """An id that was mistyped, or is gone, would send a reader nowhere."""
    assert set(library_places()) <= set(REGISTRY)


def test_grep_finds_the_same_places() -> None:
    """The convention is one for grep: whatever a line of src/pawl names in brackets is found, with file and line."""
    by_line = {
        (path.relative_to(ROOT).as_posix(), number, id_)
        for path in LIBRARY.rglob("*.py")
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        for group in NAMED.findall(line)
        for id_ in group.split(", ")
    }
    assert by_line
    assert {(one.file, one.line, id_) for id_, places in library_places().items() for one in places} == by_line


def test_a_place_is_named_by_its_function_and_sentence() -> None:
    """The place of CTR-06 in `find_prekey`: the function, and the sentence as it is written there."""
    (place,) = [one for one in library_places()["CTR-06"] if one.where == "find_prekey"]
    assert place.file == "src/pawl/session/prekeys.py"
    assert place.text == "Without one nothing else would refuse a replay once the session is gone (CTR-06)"
    assert place.text in (ROOT / place.file).read_text("utf-8").splitlines()[place.line - 1]
    # Of a class and its method, the method.
    assert "PeerRows.apply" in {one.where for one in library_places()["CTR-07"]}


# -- what is found ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", JUDGED, ids=lambda entry: entry.id)
def test_the_predicates_code_is_the_code(entry: Invariant) -> None:
    """The code that is shown is what stands at that file and line, the decorator with the id included."""
    explained = explain(entry)
    first = explained.predicate[0]
    assert f'id="{explained.invariant.id}"' in first.code
    for source in (*explained.predicate, *explained.uses):
        lines = (ROOT / source.file).read_text("utf-8").splitlines()
        count = source.code.count("\n")
        assert "\n".join(lines[source.line - 1 : source.line - 1 + count]) + "\n" == source.code


def test_helpers_of_the_predicate_are_shown_too() -> None:
    """CTR-02 is one line that calls a helper: without the helper a reader would see nothing."""
    explained = explain(find("CTR-02"))
    helpers = ["_counters", "_lost", "_sent", "_sent_inside"]
    assert [source.name for source in explained.predicate] == ["counters_survive_restarts", *helpers]
    assert "who" in [source.name for source in explained.uses]


def test_controls_are_the_ones_that_break_it() -> None:
    """Each control is named by the invariant that must catch it, and by no other."""
    named = {control.name: entry.id for entry in INVARIANTS for control in explain(entry).controls}
    assert named == {control.name: control.breaks for control in (*CONTROLS.values(), *as_controls())}


def test_tests_are_found_by_name() -> None:
    """In a checkout the tests that name the invariant are listed by file, line and function."""
    tests = explain(find("CTR-06")).tests
    assert tests is not None
    place = next(one for one in tests if one.where == "test_a_replayed_prekey_message_is_refused")
    line = (ROOT / place.file).read_text("utf-8").splitlines()[place.line - 1]
    assert "CTR-06" in line
    # A heading between tests, a table that they use, or a helper is no test.
    found = [one for places in (explanations.test_places() or {}).values() for one in places]
    assert all(one.where.split(".")[-1].startswith("test") for one in found)
    # Nor is a test that would say the same of any invariant, such as this one.
    assert explanations.EXAMPLES in (__doc__ or "")
    assert {one.file for one in found}.isdisjoint({"tests/gate/test_explain.py", "tests/gate/test_cli.py"})


def test_outside_a_checkout_there_are_no_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """The installed package has no tests: that is said, and not "none"; files are named from the package's folder."""
    monkeypatch.setattr(explanations, "checkout", lambda: None)
    explanations.test_places.cache_clear()
    explanations.library_places.cache_clear()
    try:
        explained = explain(find("CTR-06"))
        assert explained.tests is None
        assert "tests come with a checkout" in explain_text(explained)
        assert explained.code[0].file.startswith("pawl/")
        assert explained.predicate[0].file.startswith("pawl_spec/")
        assert explain_document(explained)["tests"] is None
    finally:
        explanations.test_places.cache_clear()
        explanations.library_places.cache_clear()


# -- finding by id ----------------------------------------------------------------------------------------------------


def test_ids_are_found_in_small_letters() -> None:
    """Nobody should have to hold the shift key."""
    assert find("ctr-03") is REGISTRY["CTR-03"]


@pytest.mark.parametrize(
    ("asked", "near"), [("CTR-99", "CTR-01"), ("ctr", "CTR-08"), ("KYE-01", "KEY-01"), ("CTR-3", "CTR-03")]
)
def test_unknown_ids_name_near_ones(asked: str, near: str) -> None:
    """A mistyped id is answered with those that were perhaps meant."""
    with pytest.raises(UnknownInvariant, match=re.escape(near)):
        find(asked)


def test_nonsense_names_the_list() -> None:
    """Where nothing is near, the message says where all of them are, and stays short."""
    with pytest.raises(UnknownInvariant, match="`pawl invariants`") as caught:
        find("?" * 10_000)
    assert len(str(caught.value)) < 150


# -- as text ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", INVARIANTS, ids=lambda entry: entry.id)
def test_text_and_document_say_the_same(entry: Invariant) -> None:
    """Issue: "threat, claim, source, the predicate's code, the code that makes it true, its controls"."""
    explained = explain(entry)
    invariant = explained.invariant
    text, document = explain_text(explained), explain_document(explained)
    words = " ".join(text.split())
    for said in (invariant.claim, THREATS[invariant.threat], invariant.source, invariant.not_covered):
        assert " ".join(said.split()) in words
    assert document["judged"] == (invariant.predicate is not None)
    for source in document["predicate"]:
        assert f"{source['file']}:{source['line']}" in text
    for place in (*document["code"], *document["tests"]):
        assert f"{place['file']}:{place['line']}" in text
    for control in document["controls"]:
        assert control["target"] in text
        assert control["what"] in words
    for code in invariant.refusals:
        assert code in text
    for need in invariant.needs:
        assert need in text


@pytest.mark.skipif(not PENDING, reason="every invariant is judged")
def test_what_is_not_judged_says_why() -> None:
    """No predicate's code, and the reason."""
    explained = explain(PENDING[0])
    text = explain_text(explained)
    assert f"not yet: {PENDING[0].pending}" in " ".join(text.split())
    assert "how it is judged" not in text


def test_every_level_has_words() -> None:
    """A level that is added must say what it sees."""
    assert set(LEVELS) == set(Observe)
