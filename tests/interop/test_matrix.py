"""The interop matrix: what a cell says, in which order cells are run, what is expected, and what the command does.

The ids in it are examples.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pawl_gate import cli
from pawl_gate.controls.parsing import EncodingNotCanonical
from pawl_gate.expect import ExpectError
from pawl_gate.interop import expected, report
from pawl_gate.interop.cells import Cell, Verdict, judge_cell
from pawl_gate.interop.expected import Known
from pawl_gate.interop.matrix import Implementation, Matrix, Plan, probe, run
from pawl_gate.interop.situations import SKIPPED, SKIPPED_IN_SHORT, Situation, read, situations
from pawl_gate.scenarios import ScenarioError
from pawl_gate.targets.base import Fingerprint, HarnessBroken, Refused, Target
from pawl_gate.targets.inprocess import InProcessTarget
from pawl_gate.targets.mixed import smaller
from pawl_gate.targets.registry import OVER_STORES, TARGETS, TargetMissing, find_target, implementations
from pawl_spec.history import Limits, Profile
from pawl_spec.invariants import INVARIANTS
from pawl_spec.trace import Kind
from tests.interop.peers import ENDS, HANGS, OTHER_LABEL, driven, program
from tools.examples import ROOT

BY_NAME = {each.name: each for each in situations()}


def cell(first: Target, second: Target, scenario: str, names: tuple[str, str] = ("first", "second")) -> Cell:
    return judge_cell(first, second, BY_NAME[scenario], names=names, most=SKIPPED_IN_SHORT)


# -- scenarios --------------------------------------------------------------------------------------------------------


def test_every_scenario_of_the_issue_is_there() -> None:
    """Issue: "establish with and without one-time prekey, out of order, loss, long skips, DH steps, simultaneous
    initiation, re-keying, groups, fingerprints, large messages, unicode names"."""
    asked = (
        *("establish-with-prekey", "establish-without-prekey", "out-of-order", "loss", "long-skip", "ratchet-steps"),
        *("simultaneous-initiation", "re-keying", "group", "fingerprints", "large-messages", "unicode-names"),
    )
    assert set(asked) <= set(BY_NAME)
    assert [each.order for each in situations()] == list(range(1, len(BY_NAME) + 1))


def test_each_is_about_what_it_says() -> None:
    """A scenario of an invariant that there is not, or that skips, drops and repeats nothing although it says so, fails."""
    known = {entry.id for entry in INVARIANTS}
    limits = InProcessTarget().hello.limits
    for each in situations():
        assert set(each.scenario.about) <= known, each.name
        assert len(each.scenario.title) < 130
        each.trace(limits, SKIPPED)
    kinds = {name: [one.kind for one in BY_NAME[name].trace(limits, SKIPPED).ops] for name in BY_NAME}
    assert kinds["loss"].count(Kind.DROP) >= 5
    assert kinds["out-of-order"].count(Kind.REPLAY) >= 4
    assert kinds["re-keying"].count(Kind.ESTABLISH) == 3
    assert kinds["long-skip"].count(Kind.BURST) == 1
    assert max(BY_NAME["large-messages"].sizes) > 255_000
    assert not BY_NAME["unicode-names"].names[0].isascii()


def test_a_skip_stays_within_what_both_declare() -> None:
    """The smaller limit, what is kept of a chain, and the cap: whichever is least."""
    situation = BY_NAME["long-skip"]

    def skipped(limits: Limits, most: int = SKIPPED) -> int:
        (burst,) = [one for one in situation.trace(limits, most).ops if one.kind is Kind.BURST]
        return burst["count"] + 2

    assert skipped(Limits(forward_jump=25_000, kept_per_chain=None, kept_per_session=None)) == SKIPPED
    assert skipped(Limits(forward_jump=1_999)) == 1_999
    assert skipped(Limits(kept_per_chain=40)) == 40
    assert skipped(Limits(), most=300) == 300


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"interop": {"order": "1"}}, "order"),
        ({"interop": {"order": 1, "colour": 2}}, "order"),
        ({"interop": {"order": 1, "names": ["a", "b"]}}, "names"),
        ({"interop": {"order": 1, "sizes": []}}, "sizes"),
        ({"interop": {"order": 1, "compare": "never"}}, "compare"),
        ({"vary": {"x": [1, 2]}}, "one trace"),
        ({"title": 7}, "title"),
    ],
)
def test_a_wrong_file_is_refused(change: dict[str, Any], says: str) -> None:
    right = {"format": "pawl-scenario", "version": 1, "title": "t", "interop": {"order": 1}, "ops": []}
    assert read("right", json.dumps(right)).order == 1
    with pytest.raises(ScenarioError, match=says):
        read("wrong", json.dumps({**right, **change}))
    with pytest.raises(ScenarioError):
        read("wrong", "{}")


# -- cells ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BY_NAME)
def test_pawl_with_itself(name: str) -> None:
    """The control of the matrix: two worlds of the reference understand each other in everything, and it is no empty show."""
    told = cell(InProcessTarget(), InProcessTarget(), name)
    assert (told.verdict, told.why) == (Verdict.PASS, "")
    assert told.transcript is not None
    if BY_NAME[name].scenario.document["ops"]:
        assert told.read >= 5
        assert told.checked >= 30
    else:
        assert told.fingerprint is not None
        assert told.scanned


@pytest.mark.parametrize(
    ("control", "scenario", "broken"),
    [
        ("counter-from-one", "establish-with-prekey", "CTR-01"),
        ("counter-not-advanced", "out-of-order", "CTR-01"),
        ("duplicate-accepted", "out-of-order", "CTR-03"),
    ],
)
def test_a_broken_party_turns_the_cell_red(control: str, scenario: str, broken: str) -> None:
    """Control: a broken variant of Pawl as one of the two, on either side, is seen by the specification."""
    told = []
    with closing(find_target(f"control:{control}")) as bad:
        told.append(cell(bad, InProcessTarget(), scenario))
        told.append(cell(InProcessTarget(), bad, scenario))
    assert Verdict.FAIL in {each.verdict for each in told}
    assert broken in {id_ for each in told for id_ in each.broken}
    for each in told:
        assert each.verdict is Verdict.PASS or (each.why and each.step is not None)


def finds() -> Target:
    """The control whose first messages have a field too many, which every reader passes over."""
    return InProcessTarget(EncodingNotCanonical())


@pytest.mark.parametrize("name", ["simultaneous-initiation", "re-keying", "unicode-names", "long-skip"])
def test_understood_with_findings(name: str) -> None:
    """A message that everybody reads, and that the specification would have written otherwise, is neither a pass nor
    a failure, whoever of the two wrote it. The cell says at which step it was found."""
    sides = [(finds(), InProcessTarget()), (InProcessTarget(), finds())]
    for first, second in sides if name == "simultaneous-initiation" else sides[:1]:
        told = cell(first, second, name)
        assert (told.verdict, told.broken) == (Verdict.UNDERSTOOD, ("PAR-02",))
        assert told.why.startswith(f"step {told.step}, ")
        assert told.read == cell(InProcessTarget(), InProcessTarget(), name).read


class Deaf(InProcessTarget):
    """Of the messages that it reads, one has another outcome than it should; beside that it is as the control."""

    def __init__(self, which: int, outcome: Callable[[bytes], bytes]) -> None:
        super().__init__(EncodingNotCanonical())
        self.which, self.outcome, self.read = which, outcome, 0

    def world(self, seed: int) -> Any:
        world: Any = super().world(seed)
        right = world.decrypt

        def decrypt(*given: Any) -> bytes:
            plaintext = right(*given)
            self.read += 1
            return self.outcome(plaintext) if self.read == self.which else plaintext

        world.decrypt = decrypt
        return world


def refused(plaintext: bytes) -> bytes:
    raise Refused("bad-mac", f"it is told to refuse {len(plaintext)} bytes")


@pytest.mark.parametrize("outcome", [refused, lambda plaintext: plaintext + b"?"], ids=["refused", "misread"])
@pytest.mark.parametrize("name", ["loss", "out-of-order"])
def test_findings_do_not_hide_that_it_is_not_understood(name: str, outcome: Callable[[bytes], bytes]) -> None:
    """One message that is refused or read as another one makes the cell fail, whatever else was found, and the cell
    points there: in the conversation as at its end, when what is in flight is delivered and both talk once more."""
    for turned in (False, True):

        def run_with(deaf: Deaf, turned: bool = turned) -> Cell:
            return cell(finds(), deaf, name) if turned else cell(deaf, InProcessTarget(), name)

        honest = Deaf(0, outcome)
        assert run_with(honest).verdict is Verdict.UNDERSTOOD
        assert honest.read >= 3
        steps = []
        for which in range(1, honest.read + 1):
            told = run_with(Deaf(which, outcome))
            assert told.verdict is Verdict.FAIL, which
            assert "PAR-02" in told.broken
            assert "PAR-02" not in told.why
            assert told.step is not None
            steps.append(told.step)
        assert steps == sorted(set(steps))
        trace = BY_NAME[name].trace(InProcessTarget().hello.limits, SKIPPED_IN_SHORT)
        assert steps[0] < len(trace.ops) <= steps[-1]


def test_a_safety_number_that_differs_is_not_understood() -> None:
    """Beside findings too."""

    wrong = Misprint(lambda one: replace(one, displayable=one.displayable[::-1]))
    told = cell(finds(), wrong, "unicode-names")
    assert (told.verdict, told.broken) == (Verdict.FAIL, ("FINGERPRINT", "PAR-02"))


def test_what_is_read_twice_is_not_understood() -> None:
    """Whatever the specification says: that a message which comes again is refused is part of what is demanded."""
    with closing(find_target("control:duplicate-accepted")) as bad:
        assert cell(InProcessTarget(), bad, "out-of-order").verdict is Verdict.FAIL


def test_what_understands_itself_alone_is_seen(tmp_path: Path) -> None:
    """Control: with another label in a key derivation both sides of one implementation agree; every cell with another
    one is red. This is what the matrix is for."""
    path = program(tmp_path, before=OTHER_LABEL)
    with closing(driven(path)) as one, closing(driven(path)) as other:
        for name in ("establish-with-prekey", "out-of-order", "simultaneous-initiation"):
            assert cell(one, other, name).verdict is Verdict.PASS, name
            for told in (cell(one, InProcessTarget(), name), cell(InProcessTarget(), one, name)):
                assert told.verdict is Verdict.FAIL, name
                assert told.broken
    with closing(driven(program(tmp_path / "honest"))) as honest:
        assert cell(honest, InProcessTarget(), "establish-with-prekey").verdict is Verdict.PASS


@pytest.mark.parametrize(("on_each", "says", "seconds"), [(ENDS, "ended", 20.0), (HANGS, "hung", 8.0)])
def test_an_end_or_a_hang_is_a_failure(tmp_path: Path, on_each: str, says: str, seconds: float) -> None:
    """ "A crash or hang is a failure", never a gap."""
    with closing(driven(program(tmp_path, on_each=on_each), timeout=seconds)) as bad:
        told = cell(InProcessTarget(), bad, "establish-with-prekey")
    assert (told.verdict, told.broken) == (Verdict.FAIL, ("ENDED",))
    assert says in told.why
    assert told.transcript is not None


def test_a_driver_that_breaks_the_contract_is_no_failure_of_the_implementation(tmp_path: Path) -> None:
    """The harness broke: nothing is said of the implementation, and the run ends with 3."""
    path = program(
        tmp_path, on_each='print("nonsense", file=sys.__stdout__, flush=True) if verb == "encrypt" else None'
    )
    with closing(driven(path)) as bad:
        told = cell(bad, InProcessTarget(), "establish-with-prekey")
        assert told.verdict is Verdict.BROKEN
        # The next cell begins with a new process.
        assert cell(InProcessTarget(), bad, "establish-with-prekey").verdict is Verdict.BROKEN
    plan = Plan((Implementation("bad", bad.hello),), (BY_NAME["establish-with-prekey"],))
    assert report.exit_of(Matrix(plan, [told]), None) == 3


class Half(InProcessTarget):
    """Pawl, which declares something else."""

    def __init__(self, **changes: Any) -> None:
        super().__init__()
        self.hello = replace(self.hello, **changes)


def test_a_gap_is_declared_and_says_whose() -> None:
    """Nothing is run where one of the two does not declare what is needed; the cell names who and what."""
    silent = Half(capabilities=frozenset({"groups"}), sessions=False)
    told = cell(silent, InProcessTarget(), "re-keying", ("silent", "pawl"))
    assert told.verdict is Verdict.UNSUPPORTED
    assert told.lacks == (("silent", ("sessions",)),)
    assert cell(silent, InProcessTarget(), "group-re-keying").lacks == (("first", ("group-rotate",)),)
    assert cell(silent, silent, "fingerprints").lacks == (("first", ("fingerprint",)), ("second", ("fingerprint",)))
    always = Half(profile=Profile(needs_one_time=True))
    for one, other in ((always, InProcessTarget()), (InProcessTarget(), always)):
        told = cell(one, other, "establish-without-prekey", ("one", "other"))
        assert told.lacks == (("one" if one is always else "other", ("sessions-without-one-time",)),)
        # In what is about something else there is one, whoever needs it.
        assert cell(one, other, "re-keying").verdict is Verdict.PASS
    layouts = cell(find_target("pawl-earlier"), InProcessTarget(), "group", ("old", "new"))
    assert layouts.lacks == (("old", ("group layout current",)), ("new", ("group layout earlier",)))


class Misprint(InProcessTarget):
    """Its safety numbers are wrong in one way."""

    def __init__(self, change: Callable[[Fingerprint], Fingerprint]) -> None:
        super().__init__()
        self.change = change

    def world(self, seed: int) -> Any:
        world = super().world(seed)
        right = world.fingerprint
        world.fingerprint = lambda *given: self.change(right(*given))  # type: ignore[method-assign]
        return world


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda one: replace(one, displayable=one.displayable[::-1]), "differ"),
        (lambda one: replace(one, scannable=one.scannable[:-1]), "73 bytes|not a safety number"),
        (lambda one: replace(one, scannable=b"\x08\x01" + one.scannable[2:]), "version"),
        (lambda one: replace(one, scannable=one.scannable[:6] + bytes(32) + one.scannable[38:]), "not that of"),
    ],
)
def test_a_wrong_safety_number_is_seen(change: Callable[[Fingerprint], Fingerprint], says: str) -> None:
    """Digits and codes are compared, on both sides."""
    for told in (
        cell(Misprint(change), InProcessTarget(), "fingerprints"),
        cell(InProcessTarget(), Misprint(change), "fingerprints"),
    ):
        assert (told.verdict, told.broken) == (Verdict.FAIL, ("FINGERPRINT",))
        assert any(word in told.why for word in says.split("|")), told.why
    # A code is compared where both make one.
    none = Misprint(lambda one: replace(one, scannable=None))
    told = cell(none, InProcessTarget(), "fingerprints")
    assert (told.verdict, told.scanned) == (Verdict.PASS, False)
    assert told.fingerprint is not None


def test_names_are_told_as_they_are_and_go_into_safety_numbers() -> None:
    """Control: a name that one side normalises gives other digits."""
    situation = BY_NAME["unicode-names"]
    assert cell(InProcessTarget(), InProcessTarget(), situation.name).fingerprint is not None

    class Normalising(InProcessTarget):
        def world(self, seed: int) -> Any:
            world = super().world(seed)
            right = world.create
            world.create = lambda party, *, name, **more: right(  # type: ignore[method-assign]
                party, name=unicodedata.normalize("NFC", name), **more
            )
            return world

    told = cell(Normalising(), InProcessTarget(), situation.name)
    assert (told.verdict, told.broken) == (Verdict.FAIL, ("FINGERPRINT",))


def test_each_party_is_judged_by_its_own_profile() -> None:
    """Two implementations may rightly differ in when an archived session becomes the current one. A reference that
    declares what it does not do is found out, as the one that it is, and the other one is not blamed."""
    wrong, right = Half(profile=Profile(promotes="never")), InProcessTarget()
    first = cell(wrong, right, "simultaneous-initiation", ("wrong", "right"))
    assert (first.verdict, first.broken) == (Verdict.UNDERSTOOD, ("CNF-01",))
    assert "alice (wrong)" in first.why
    second = cell(right, wrong, "simultaneous-initiation-crossed", ("right", "wrong"))
    assert (second.verdict, second.broken) == (Verdict.UNDERSTOOD, ("CNF-01",))
    assert "bob (wrong)" in second.why
    assert smaller([Limits(forward_jump=9, kept_per_chain=None), Limits(forward_jump=10, kept_per_chain=3)]) == replace(
        Limits(), forward_jump=9, kept_per_chain=3
    )


# -- the matrix -------------------------------------------------------------------------------------------------------

FEW = tuple(BY_NAME[name] for name in ("establish-with-prekey", "loss", "group", "fingerprints"))


def find(name: str) -> Target:
    if name == "missing":
        raise TargetMissing("run make setup")
    return find_target(name)


def plan_of(*names: str, chosen: tuple[Situation, ...] = FEW, **more: Any) -> Plan:
    return Plan(tuple(probe(name, find) for name in names), chosen, **more)


FAILS, FINDS = "control:counter-from-one", "control:encoding-not-canonical"
"""One that nobody understands, and one that everybody understands, with findings."""


@pytest.fixture(scope="module")
def small() -> Matrix:
    """Pawl, Pawl of earlier groups, and these two."""
    return run(plan_of("pawl", "pawl-earlier", FAILS, FINDS, "missing"), find=find)


def test_every_cell_is_run_both_ways_and_the_control_first(small: Matrix) -> None:
    """Issue: "self against self first as the control, every cell run both ways, declared gaps only"."""
    pairs = list(dict.fromkeys((one.first, one.second) for one in small.cells))
    assert len(pairs) == 16
    assert all(first == second for first, second in pairs[:4])
    assert not any(first == second for first, second in pairs[4:])
    assert {(second, first) for first, second in pairs} == set(pairs)
    assert len(small.cells) == 16 * len(FEW)
    gaps = small.of(Verdict.UNSUPPORTED)
    assert gaps
    assert all(one.lacks for one in gaps)
    assert [one.name for one in small.missing] == ["missing"]


def test_each_verdict_is_there_and_says_who_is_no_better_alone(small: Matrix) -> None:
    """Who is not understood by itself either is named, and with mere findings who has findings with itself too."""
    failed, found = small.of(Verdict.FAIL), small.of(Verdict.UNDERSTOOD)
    assert failed
    assert found
    assert small.of(Verdict.FAIL, Verdict.UNDERSTOOD) == failed + found
    for one in failed:
        assert FAILS in (one.first, one.second)
        assert small.alone(one) == [FAILS]
    for one in found:
        assert FINDS in (one.first, one.second)
        assert one.broken == ("PAR-02",)
        assert FINDS in small.alone(one)
    for one in small.of(Verdict.PASS, Verdict.UNSUPPORTED):
        assert small.alone(one) == []
    assert report.summary(small, FINDS, "pawl") == (2, 2, 0)
    assert report.summary(small, FAILS, "pawl") == (2, 0, 2)
    assert report.summary(small, "pawl", "pawl") == (4, 0, 0)


def test_jobs_change_nothing_but_the_time() -> None:
    """Two processes say what one says."""
    plan = plan_of("pawl", "pawl-earlier", chosen=FEW[:2])
    one, two = run(plan), run(plan, jobs=2)
    assert [replace(each, seconds=0.0) for each in one.cells] == [replace(each, seconds=0.0) for each in two.cells]


def test_the_short_form_has_everybody_with_itself_and_with_the_reference() -> None:
    plan = plan_of("pawl", "pawl-earlier", "control:counter-from-one", short=True)
    pairs = {(first, second) for first, second, _ in plan.wanted()}
    assert {(name, name) for name in plan.present} <= pairs
    assert {("pawl", "control:counter-from-one"), ("control:counter-from-one", "pawl")} <= pairs
    assert ("pawl-earlier", "control:counter-from-one") not in pairs
    # Where the first reference has no common ground, the second one takes its place: groups of the earlier layout.
    old = Implementation("old", replace(find_target("pawl-earlier").hello, sessions=False))
    with_old = replace(plan, implementations=(*plan.implementations, old))
    met = {(first, second, one.name) for first, second, one in with_old.wanted() if first == "old" != second}
    assert ("old", "pawl-earlier", "group") in met
    assert ("old", "pawl", "group") not in met


def test_the_implementations_are_those_of_the_registry() -> None:
    """Whoever joins the registry joins the matrix."""
    assert set(implementations()) == set(TARGETS) - OVER_STORES
    assert set(TARGETS) > OVER_STORES
    assert implementations()[0] == "pawl"


# -- what is expected -------------------------------------------------------------------------------------------------


def listed(matrix: Matrix) -> dict[expected.Key, Known]:
    cells = matrix.of(Verdict.FAIL, Verdict.UNDERSTOOD)
    return {one.key: Known(one.verdict, one.broken, "it is a control") for one in cells}


def test_exactly_the_listed_cells_may_fail(small: Matrix) -> None:
    """A new failure is a finding, so is one that is listed and passes, and one that breaks something else."""
    known = listed(small)
    whole = Matrix(replace(small.plan, implementations=small.plan.implementations[:4]), small.cells)
    assert report.exit_of(whole, expected.compare(whole, known)) == 0
    assert report.exit_of(whole, None) == 1
    key = next(iter(known))
    fewer = {each: one for each, one in known.items() if each != key}
    assert [one.key for one in expected.compare(whole, fewer).new] == [key]
    assert report.exit_of(whole, expected.compare(whole, fewer)) == 1
    passed = whole.of(Verdict.PASS)[0].key
    more = {**known, passed: Known(Verdict.FAIL, ("CTR-04",), "it did once")}
    assert expected.compare(whole, more).vanished == (passed,)
    other = {**known, key: Known(Verdict.FAIL, ("CTR-99",), "something else")}
    assert [one.key for one in expected.compare(whole, other).new] == [key]
    # What is listed and was not run counts in a whole run alone.
    gone = {**known, ("gone", "pawl", "loss"): Known(Verdict.FAIL, ("CTR-04",), "it is not there any more")}
    assert expected.compare(whole, gone).vanished == (("gone", "pawl", "loss"),)
    for part in (replace(whole.plan, short=True), replace(whole.plan, filtered=True)):
        assert expected.compare(Matrix(part, whole.cells), gone).same
    # With somebody missing the run is incomplete.
    assert report.exit_of(small, expected.compare(small, known)) == 4


@pytest.mark.parametrize("is_verdict", [Verdict.PASS, Verdict.UNDERSTOOD, Verdict.FAIL])
@pytest.mark.parametrize("listed_as", [None, Verdict.UNDERSTOOD, Verdict.FAIL])
def test_neither_better_nor_worse_than_listed(small: Matrix, is_verdict: Verdict, listed_as: Verdict | None) -> None:
    """A list says which verdict a cell has: of the nine ways three are as expected, three are new, three are better."""
    one = replace(small.of(is_verdict)[0], broken=() if is_verdict is Verdict.PASS else ("PAR-02",))
    matrix = Matrix(replace(small.plan, filtered=True, implementations=small.plan.implementations[:4]), [one])
    known = {} if listed_as is None else {one.key: Known(listed_as, ("PAR-02",), "because")}
    order = [Verdict.PASS, Verdict.UNDERSTOOD, Verdict.FAIL]
    worse = order.index(is_verdict) - order.index(listed_as or Verdict.PASS)
    differences = expected.compare(matrix, known)
    assert differences.new == ((one,) if worse > 0 else ())
    assert differences.vanished == ((one.key,) if worse < 0 else ())
    assert report.exit_of(matrix, differences) == (0 if worse == 0 else 1)
    told = report.text(matrix, known)
    said = f"{one.first} x {one.second}, {one.scenario}: {is_verdict.value}"
    was = "not listed" if listed_as is None else f"listed as {listed_as.value} PAR-02"
    assert (f"  new: {said} PAR-02, {was}" in told) is (worse > 0)
    assert any(
        line.startswith(f"  better than listed: {said}") and line.endswith(was) for line in told.splitlines()
    ) is (worse < 0)
    # A reason is shown beside what it was written for.
    is_same = listed_as is is_verdict
    assert expected.is_known(one, known) is is_same
    assert ("  expected: because" in told) is is_same
    # What a run leads to is as it expects.
    again = expected.renewed(matrix, known)
    assert expected.compare(matrix, again).same
    assert {each.verdict for each in again.values()} == {is_verdict} - {Verdict.PASS}


def test_the_list_can_be_written_and_read_again(small: Matrix, tmp_path: Path) -> None:
    """Reasons stay; what fails with itself hands its reason on; what is new says that nobody looked at it."""
    first = expected.renewed(small, {})
    assert all("not yet examined" in one.reason for one in first.values())
    own = (FAILS, FAILS, "loss")
    known = expected.renewed(small, {own: Known(Verdict.FAIL, ("CNF-01",), "a written reason")})
    assert {one.reason for key, one in known.items() if key[2] == "loss" and FAILS in key} == {"a written reason"}
    path = tmp_path / "list.json"
    path.write_text(expected.dumps(known), "utf-8")
    assert expected.read(path) == known
    assert (
        expected.renewed(
            small, {small.of(Verdict.PASS)[0].key: Known(Verdict.FAIL, ("CTR-04",), "it did once"), **known}
        )
        == known
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"reason": " "}, "no reason"),
        ({"broken": []}, "broken"),
        ({"verdict": "pass"}, "one of fail, understood"),
        ({"verdict": ["fail"]}, "one of fail, understood"),
        ({"scenario": "nowhere"}, "no scenario"),
        ({"pairs": [["pawl"]]}, "pair"),
        ({"pairs": [["pawl", "x"], ["pawl", "x"]]}, "twice"),
        ({"more": 1}, "expected"),
    ],
)
def test_a_wrong_list_is_refused(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    right = {"scenario": "loss", "pairs": [["pawl", "x"]], "verdict": "fail", "broken": ["CTR-04"], "reason": "because"}
    head = {"format": "pawl-interop-expected", "version": 2}
    path = tmp_path / "list.json"
    path.write_text(json.dumps({**head, "cells": [right]}))
    assert list(expected.read(path)) == [("pawl", "x", "loss")]
    path.write_text(json.dumps({**head, "cells": [{**right, **change}]}))
    with pytest.raises(ExpectError, match=says):
        expected.read(path)
    for wrong in (
        "[]",
        "{",
        '{"format": "x", "version": 2, "cells": []}',
        json.dumps({**head, "version": 1, "cells": []}),
    ):
        path.write_text(wrong)
        with pytest.raises(ExpectError):
            expected.read(path)


def test_the_committed_list_is_in_its_own_form() -> None:
    """`--write-expect` would write it as it is, and every reason was written by somebody."""
    path = ROOT / "drivers" / "interop.json"
    known = expected.read(path)
    assert expected.dumps(known) == path.read_text("utf-8")
    assert [key for key, one in known.items() if "not yet examined" in one.reason] == []


# -- text and data ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def validator() -> Any:
    text = resources.files("pawl_gate.outputs").joinpath("interop.schema.json").read_text("utf-8")
    jsonschema.Draft202012Validator.check_schema(json.loads(text))
    return jsonschema.Draft202012Validator(json.loads(text))


def test_the_data_are_as_the_schema_says(small: Matrix, validator: Any) -> None:
    for known in (None, {}, listed(small)):
        told = json.loads(json.dumps(report.document(small, known, made="2026-11-01T12:00:00+00:00")))
        assert [error.message for error in validator.iter_errors(told)] == []
    # Control: something missing, too much, or at odds.
    cells = [{**told["cells"][0], "verdict": verdict} for verdict in ("fail", "understood")]
    found = next(each for each in told["cells"] if each["verdict"] == "understood")
    cells += [
        {**found, "broken": ["TALK"]},
        {**found, "broken": []},
        {**found, "step": None},
        {**found, "verdict": "pass"},
    ]
    changes = [{"exit": 9}, {"made": "now"}, {"more": 1}, *({"cells": [each]} for each in cells)]
    for change in changes:
        assert list(validator.iter_errors({**told, **change})), change


def test_the_text_says_what_failed_and_how_to_see_it_again(small: Matrix) -> None:
    told = report.text(small, None, Path("page.html"))
    lines = told.splitlines()
    assert lines[0] == "not every pair understands each other: 4 implementations, 4 scenarios"
    assert "pawl interop --target control:counter-from-one --scenario establish-with-prekey --jobs 1" in told
    assert "incomplete: missing is not installed: run make setup" in told
    assert "gap: pawl-earlier has the earlier group layout" in told
    assert lines[-1] == "every cell with its transcript: page.html"
    assert "alice starts a session from bob's bundle" in told
    assert f"{FAILS} x pawl, loss: not understood, step " in told
    assert f"{FINDS} x pawl, loss: understood, and found step 1, alice ({FINDS}): PAR-02: " in told
    (row,) = [line for line in lines if line.startswith(" d  ")]
    assert row.split()[2:] == ["2/2/0", "1/2/0", "2/2/0", "2/2/0"]
    # Of those that understand each other nothing worse is said than that.
    plan = replace(small.plan, implementations=(small.plan.implementations[0], small.plan.implementations[3]))
    most = Matrix(plan, [one for one in small.cells if {one.first, one.second} <= set(plan.present)])
    assert report.text(most, None).startswith("every pair understands each other, and not all of it is as the specif")
    assert report.exit_of(most, None) == 1
    assert not any("not understood, " in line for line in report.text(most, None).splitlines()[2:])
    known = report.text(small, listed(small))
    assert known.startswith("the interop matrix is as expected")
    assert "  expected: it is a control" in known


# -- the command ------------------------------------------------------------------------------------------------------


def pawl(*argv: str) -> int:
    try:
        return cli.main(argv)
    except SystemExit as left:
        return int(left.code or 0)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_ends_with_0_and_1(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Data goes to stdout, progress to stderr; page and data are written; a list makes a known failure none."""
    assert pawl("interop", "--target", "pawl", "--scenario", "loss", "--jobs", "1") == 0
    out, err = capsys.readouterr()
    assert out.startswith("every pair understands each other")
    assert err == "interop: 1 implementations, 1 scenarios\n"
    page = here / "build" / "interop" / "index.html"
    assert "loss" in page.read_text("utf-8")
    assert json.loads(page.with_suffix(".json").read_text("utf-8"))["exit"] == 0

    bad = ("interop", "--target", "pawl", "--target", "control:counter-from-one", "--scenario", "loss", "--jobs", "1")
    assert pawl(*bad, "--json", "--no-report") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["counts"] == {"pass": 2, "understood": 0, "fail": 2, "unsupported": 0, "broken": 0}
    assert pawl(*bad, "--write-expect", "list.json") == 0
    assert pawl(*bad, "--expect", "list.json") == 0
    # Fixed, and still listed.
    one = json.loads((here / "list.json").read_text())
    one["cells"][0]["pairs"].append(["pawl", "pawl"])
    (here / "list.json").write_text(json.dumps(one))
    capsys.readouterr()
    assert pawl(*bad, "--expect", "list.json") == 1
    assert "better than listed: pawl x pawl, loss: pass, listed as fail " in capsys.readouterr().out


def test_a_driver_takes_part_by_its_path(here: Path) -> None:
    """End to end: with the driver of a library that understands itself alone the command ends with 1."""
    program(here, before=OTHER_LABEL)
    options = ("--target", "pawl", "--target", "./peer", "--scenario", "loss", "--no-report", "--jobs", "1")
    assert pawl("interop", *options) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        ("--target", "nobody"),
        ("--scenario", "nowhere"),
        ("--jobs", "0"),
        ("--expect", "no-such-file"),
        ("--report", "x.json"),
        ("--seed", "-1"),
    ],
)
def test_usage_is_2(here: Path, capsys: pytest.CaptureFixture[str], wrong: tuple[str, str]) -> None:
    assert pawl("interop", *wrong) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_broken_harness_is_3(here: Path) -> None:
    """On one cell, or already when it is asked who it is."""
    program(here, on_each='print("nonsense", file=sys.__stdout__, flush=True) if verb == "encrypt" else None')
    assert pawl("interop", "--target", "./peer", "--scenario", "loss", "--jobs", "1", "--no-report") == 3
    program(here, "mute", on_each="raise SystemExit(1)")
    assert pawl("interop", "--target", "./mute", "--scenario", "loss", "--jobs", "1", "--no-report") == 3


def test_who_is_missing_makes_it_incomplete(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """4: nothing is said of whoever is not installed, and the others are judged."""
    monkeypatch.setenv("PAWL_DRIVERS", str(here))
    options = ("--scenario", "loss", "--jobs", "1", "--no-report")
    assert pawl("interop", "--target", "pawl", "--target", "libsignal-client", *options) == 4
    with pytest.raises(HarnessBroken):
        find_target("libsignal-client")


def test_the_list_of_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert pawl("interop", "--list") == 0
    out = capsys.readouterr().out
    assert all(name in out for name in (*BY_NAME, *implementations()))
