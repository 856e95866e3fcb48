"""The format of vectors, and the published files: they keep to it, say what they claim, and miss no refusal."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from pawl_gate.targets.driver import REFUSALS
from pawl_gate.vectors import producers
from pawl_gate.vectors.flags import FLAGS
from pawl_spec import vector_schema, vectors
from pawl_spec.invariants import INVARIANTS
from pawl_spec.trace import FORGERIES, JUNK, TAMPERS
from pawl_spec.vector_operations import GROUP_OPERATIONS, GROUP_PROFILES, GROUPS, OPERATIONS, PROFILES, SESSIONS, SUITES
from pawl_spec.vectors import File, VectorError, dumps, loads
from tools import write_schema
from tools.examples import ROOT

FOLDER = ROOT / "vectors"
SCHEMAS = {suite.schema for suite in SUITES}
FILES = sorted(path for suite in SUITES for path in FOLDER.glob(f"{suite.prefix}*.json") if path.name not in SCHEMAS)
VALIDATORS = {suite.schema: Draft202012Validator(vector_schema.vector_schema(suite)) for suite in SUITES}
VALIDATOR = VALIDATORS[SESSIONS.schema]
PAGE = (ROOT / "docs" / "reference" / "vectors.md").read_text("utf-8")
ROW = re.compile(r"^\| `([^`]+)` \|(.*)\|$", re.MULTILINE)


def published() -> dict[str, File]:
    """Every file, read."""
    return {path.name: loads(path.read_text("utf-8")) for path in FILES}


def all_tests() -> list[vectors.Vector]:
    """Every test of every file."""
    return [test for file in published().values() for _, test in file.tests()]


def section(title: str) -> dict[str, list[str]]:
    """The rows of the table under a heading of the page."""
    text = PAGE.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
    return {name: [cell.strip() for cell in rest.split("|")] for name, rest in ROW.findall(text)}


# -- the published files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_keeps_to_the_format(path: Path) -> None:
    """It validates, the reader takes it, and it is written as the writer writes it."""
    text = path.read_text("utf-8")
    document = json.loads(text)
    VALIDATORS[document["schema"]].validate(document)
    assert path.name.startswith(loads(text).suite.prefix)
    assert dumps(loads(text)) == text


def test_there_are_enough_and_they_are_small() -> None:
    """Issues, "Vectors": at least 300 session vectors and 100 group vectors; each has a name of its own."""
    tests = all_tests()
    of_groups = [test for file in published().values() if file.suite is GROUPS for _, test in file.tests()]
    assert len(tests) - len(of_groups) >= 300
    assert len(of_groups) >= 100
    assert len({test.id for test in tests}) == len(tests)
    assert sum(path.stat().st_size for path in FILES) < 4_000_000


def test_each_test_says_who_confirmed_it() -> None:
    """Issue, "Vectors": two independent producers where a foreign target can; what it cannot has a written reason.

    Whoever is named can run the test and does not deviate; whoever is not named cannot, or deviates for a reason.
    """
    known = producers.read_all(FOLDER / "producers")
    assert [each.title for each in known] == [
        "libsignal-c 2.3.3",
        "libsignal-client 0.103.0",
        "node-libsignal 6.0.0",
        "omemo-dr 1.2.0",
        "python-axolotl 0.2.3",
    ]
    ids = set()
    for file in published().values():
        for group, test in file.tests():
            ids.add(test.id)
            assert test.confirmed_by == ("pawl", *(each.title for each in known if each.confirms(group, test)))
    for each in known:
        assert set(each.deviations) <= ids
        assert all(each.deviations.values())


def test_flags_and_invariants_are_known() -> None:
    """A flag has a note and is used; an invariant is registered; a code of a refusal is one of ours."""
    tests = all_tests()
    assert {flag for test in tests for flag in test.flags} == set(FLAGS)
    registered = {entry.id for entry in INVARIANTS}
    assert all(test.invariants and set(test.invariants) <= registered for test in tests)
    assert {code for test in tests for step in test.steps for code in step.refusal} <= REFUSALS - {"unknown"}


def test_every_change_of_the_attacker_is_there() -> None:
    """Each way to change a message, to forge a bundle and to make up bytes is in some test."""
    ids = [test.id for test in all_tests()]
    for name in TAMPERS:
        if name == "present-identity":
            assert "identity/replaced/disguise" in ids
        else:
            assert any(re.fullmatch(rf"changed/\w+/{name}(-\d+)?", each) for each in ids), name
    for name in FORGERIES:
        assert {f"bundle/first/{name}", f"bundle/later/{name}"} <= set(ids)
    for name in JUNK:
        assert any(each.startswith(f"junk/known/{name}-") for each in ids), name


def test_every_refusal_has_a_vector_or_a_reason() -> None:
    """The page lists exactly the codes that are the first of no step, each with a reason."""
    first = {step.refusal[0] for test in all_tests() for step in test.steps if step.refusal}
    excused = section("Refusals that no vector has")
    assert set(excused) == REFUSALS - {"unknown"} - first
    assert all(cells[0] for cells in excused.values())


# -- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_lists_flags_profiles_and_operations() -> None:
    """What the page says is what the code says."""
    assert section("Flags") == {flag: list(note) for flag, note in FLAGS.items()}
    assert {name: cells[0] for name, cells in section("Profiles").items()} == {**PROFILES, **GROUP_PROFILES}

    def listed(names: Iterable[str]) -> str:
        return ", ".join(f"`{name}`" for name in names) or "\N{EN DASH}"

    for title, operations in (("A step of a session", OPERATIONS), ("A step of a group", GROUP_OPERATIONS)):
        rows = section(title)
        assert set(rows) == set(operations)
        for name, cells in rows.items():
            spec = operations[name]
            needs = [spec.needs] if spec.needs else []
            draws = [spec.draws] if operations is OPERATIONS else []
            assert cells == [spec.about, *map(listed, (spec.inputs, *draws, spec.outputs, needs))]


# -- the schema and the reader ----------------------------------------------------------------------------------------


def test_the_schema_is_a_schema() -> None:
    """It keeps to its own dialect, and the file beside the vectors is what the table of operations gives."""
    for suite in SUITES:
        Draft202012Validator.check_schema(vector_schema.vector_schema(suite))
        assert json.loads((FOLDER / suite.schema).read_text("utf-8")) == vector_schema.vector_schema(suite)


def test_a_stale_schema_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The linter notices a file that was edited, or forgotten."""
    monkeypatch.setattr(write_schema, "VECTORS", tmp_path)
    assert write_schema.main(["--check"]) == 1
    said = capsys.readouterr().err
    assert all(schema in said for schema in SCHEMAS)


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=3), st.integers(1, 3000)), max_size=6))
def test_byte_strings_come_back(parts: list[tuple[bytes, int]]) -> None:
    """Long or short, repetitive or not: what was written is read."""
    data = b"".join(part * times for part, times in parts)
    written = json.loads(json.dumps(vectors.write_bytes(data)))
    assert vectors.TYPES["bytes"](written, "here") == data
    assert Draft202012Validator(vector_schema.TYPES["bytes"]).is_valid(written)
    assert isinstance(written, str) == (len(data) < vectors.LONG_BYTES)


def document() -> dict[str, Any]:
    """A small valid file: one test of it."""
    whole = json.loads((FOLDER / "session_replays.json").read_text("utf-8"))
    group = next(group for group in whole["testGroups"] if group["profile"] == "default")
    wanted = "replay/with-one-time-prekey/at-once"
    group["tests"] = [test for test in group["tests"] if test["id"] == wanted]
    whole |= {"testGroups": [group], "numberOfTests": 1}
    return dict(whole)


def step_of(whole: dict[str, Any], operation: str) -> dict[str, Any]:
    """The first step of a kind."""
    steps = whole["testGroups"][0]["tests"][0]["steps"]
    return next(step for step in steps if step["operation"] == operation)


Change = Callable[[dict[str, Any]], object]

WRONG: dict[str, Change] = {
    "another algorithm": lambda d: d.update(algorithm="other"),
    "another schema": lambda d: d.update(schema="other"),
    "a key too many": lambda d: d.update(more=1),
    "no notes": lambda d: d.pop("notes"),
    "a profile that there is not": lambda d: d["testGroups"][0].update(profile="lax"),
    "an operation of the other suite": lambda d: step_of(d, "decrypt").update(operation="group-decrypt"),
    "an operation that there is not": lambda d: step_of(d, "decrypt").update(operation="open"),
    "an input too many": lambda d: step_of(d, "decrypt").update(more=1),
    "an input too few": lambda d: step_of(d, "decrypt").pop("message"),
    "nothing expected": lambda d: step_of(d, "decrypt").pop("expect"),
    "no codes": lambda d: step_of(d, "decrypt").update(expect={"refusal": []}, randomness=[]),
    "a refusal of what is not refused": lambda d: step_of(d, "create").update(expect={"refusal": ["bad-mac"]}),
    "capital hex": lambda d: step_of(d, "decrypt").update(message="AB"),
    "half a byte": lambda d: step_of(d, "decrypt").update(message="abc"),
    "a short key": lambda d: step_of(d, "create").update(identityPrivate="00"),
    "a large number": lambda d: step_of(d, "create").update(registrationId=2**32),
    "a flag for a number": lambda d: step_of(d, "create").update(registrationId=True),
    "a message type that there is not": lambda d: step_of(d, "decrypt").update(type="sender-key"),
    "another key drawn": lambda d: step_of(d, "decrypt")["randomness"][0].update(key="base"),
    "a result that there is not": lambda d: d["testGroups"][0]["tests"][0].update(result="acceptable"),
    "a bundle with a key missing": lambda d: step_of(d, "establish")["bundle"].pop("preKey"),
    "an assumption that is a list": lambda d: d["testGroups"][0]["tests"][0].update(assumes={"x": []}),
}
"""What both the reader and the schema refuse."""

CONTRADICTING: dict[str, Change] = {
    "another number of tests": lambda d: d.update(numberOfTests=2),
    "a flag without a note": lambda d: d["testGroups"][0]["tests"][0]["flags"].append("New"),
    "another result": lambda d: d["testGroups"][0]["tests"][0].update(result="valid"),
    "other needs": lambda d: d["testGroups"][0]["tests"][0].update(actors={}),
    "an actor who was not created": lambda d: step_of(d, "decrypt").update(peer="mallory"),
    "its own peer": lambda d: step_of(d, "decrypt").update(peer="bob"),
    "a refusal that draws": lambda d: d["testGroups"][0]["tests"][0]["steps"][-1].update(
        randomness=[{"key": "ratchet", "private": "00" * 32}]
    ),
    "more bytes than a message may have": lambda d: step_of(d, "decrypt").update(
        message=[{"hex": "00", "times": vectors.MAX_BYTES + 1}]
    ),
}
"""What the reader refuses, and a schema cannot see."""


def test_the_small_file_is_right() -> None:
    """Control of the next two: unchanged, both take it."""
    VALIDATOR.validate(document())
    loads(json.dumps(document()))


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_refused(name: str) -> None:
    """By the reader, with a place, and by the schema."""
    whole = copy.deepcopy(document())
    WRONG[name](whole)
    assert not VALIDATOR.is_valid(whole)
    with pytest.raises(VectorError):
        loads(json.dumps(whole))


@pytest.mark.parametrize("name", CONTRADICTING)
def test_what_contradicts_itself_is_refused(name: str) -> None:
    """What a file says twice must agree."""
    whole = document()
    CONTRADICTING[name](whole)
    with pytest.raises(VectorError):
        loads(json.dumps(whole))


def group_document() -> dict[str, Any]:
    """A small valid file of groups."""
    whole = json.loads((FOLDER / "group_replays.json").read_text("utf-8"))
    group = whole["testGroups"][0]
    group["tests"] = [test for test in group["tests"] if test["id"] == "group/current/replay/at-once"]
    whole |= {"testGroups": [group], "numberOfTests": 1}
    return dict(whole)


WRONG_IN_GROUPS: dict[str, Change] = {
    "the schema of sessions": lambda d: d.update(schema=SESSIONS.schema),
    "a test of sessions": lambda d: d["testGroups"][0].update(type="SessionTest"),
    "a profile of sessions": lambda d: d["testGroups"][0].update(profile="default"),
    "an operation of sessions": lambda d: step_of(d, "process").update(operation="decrypt"),
    "a short distribution id": lambda d: step_of(d, "process").update(group="00"),
    "a short chain key": lambda d: step_of(d, "sender-key").update(chainKey="00"),
    "a sender that is no name": lambda d: step_of(d, "process").update(sender=1),
}
"""What the reader and the schema of groups refuse."""


@pytest.mark.parametrize("name", WRONG_IN_GROUPS)
def test_what_is_wrong_in_groups_is_refused(name: str) -> None:
    """By the reader and by the schema; unchanged, both take the file."""
    validator = VALIDATORS[GROUPS.schema]
    whole = group_document()
    validator.validate(whole)
    loads(json.dumps(whole))
    WRONG_IN_GROUPS[name](whole)
    assert not validator.is_valid(whole)
    with pytest.raises(VectorError):
        loads(json.dumps(whole))


def test_a_sender_was_created_before() -> None:
    """Whoever is spoken of, as sender or member, is there, and is another one."""
    for sender in ("mallory", "bob"):
        whole = group_document()
        step_of(whole, "process")["sender"] = sender
        with pytest.raises(VectorError, match="not created, or itself"):
            loads(json.dumps(whole))


@pytest.mark.parametrize("text", ["", "[]", "null", "[" * 100_000])
def test_what_is_no_file_is_refused(text: str) -> None:
    """Whatever the text is."""
    with pytest.raises(VectorError):
        loads(text)
