"""`pawl verify`: holds where everything holds, turns red by the invariant that names the fault, and is honest about the
rest. The full smoke budget runs in CI as the main job; here the engines run with less."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from pawl_gate import page, trials, verify
from pawl_gate.controls.atomicity import TwoTransactions
from pawl_gate.report_text import FAMILIES, family, verify_document, verify_text
from pawl_gate.runner import run_trace
from pawl_gate.scenarios import Scenario, ScenarioError, evaluate, load, scenarios
from pawl_gate.targets.inprocess import InProcessTarget
from pawl_gate.targets.registry import find_target
from pawl_gate.trials import TrialReport, crash_points
from pawl_gate.verify import BUDGETS, Budget, Exit, Report, Verification
from pawl_spec.history import Limits, Observe
from pawl_spec.invariants import INVARIANTS
from pawl_spec.judge import Verdict, judge
from pawl_spec.trace import Trace

TINY = Budget("tiny", walks=25, examples=3, driven_share=1.0, shrink_steps=1_500, seconds=600, shrink_seconds=60)

COSTLY = frozenset({"jump-to-the-limit", "jump-in-the-first-message", "kept-keys-of-a-session", "kept-keys-of-a-chain"})
"""Scenarios that send thousands of messages. They run in the main job."""


@pytest.fixture(autouse=True)
def without_costly_scenarios(monkeypatch: pytest.MonkeyPatch) -> None:
    cheap = [scenario for scenario in scenarios() if scenario.name not in COSTLY]
    monkeypatch.setattr(verify, "scenarios", lambda: cheap)


def report_of(name: str, budget: Budget = TINY, seed: int = 0) -> Report:
    with closing(find_target(name)) as target:
        return Verification(target, name=name, budget=budget, seed=seed, progress=io.StringIO()).run()


def without_engines(monkeypatch: pytest.MonkeyPatch, *scenario: str) -> None:
    """No corpus and no exhaustive search, and no scenario but these."""
    few = [each for each in scenarios() if each.name in scenario]
    assert len(few) == len(scenario)
    monkeypatch.setattr(verify, "scenarios", lambda: few)
    monkeypatch.setattr(verify.corpus, "load", lambda folder: [])


@pytest.fixture(scope="module")
def pawl() -> Iterator[Report]:
    with pytest.MonkeyPatch.context() as patch:
        cheap = [scenario for scenario in scenarios() if scenario.name not in COSTLY]
        patch.setattr(verify, "scenarios", lambda: cheap)
        yield report_of("pawl")


def test_pawl_holds(pawl: Report) -> None:
    """`pawl verify` passes on Pawl; every invariant that traces show is reached, and holds."""
    assert pawl.found == {}
    assert pawl.gaps == []
    assert pawl.exit is Exit.HOLDS
    assert len(pawl.with_verdict(Verdict.HOLDS)) == sum(
        entry.predicate is not None and not entry.of_pools for entry in INVARIANTS
    )


def test_control_is_reported_shrunk_and_reproduced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A violation is printed with the shortest trace as a sequence chart, which shows the fault again."""
    without_engines(monkeypatch, "conversation", "forged-bundle-later")
    report = report_of("control:signature-unchecked", replace(TINY, walks=0, examples=0))
    assert report.exit is Exit.VIOLATED
    found = report.found["IDC-03"]
    assert len(found.trace.ops) == 1
    with closing(find_target("control:signature-unchecked")) as target:
        broken, _ = judge(run_trace(target, found.trace))
    assert "IDC-03" in {one.invariant.id for one in broken}
    text = verify_text(report, {"IDC-03": Path("x/IDC-03.json")}, None, Exit.VIOLATED)
    first, second, *_ = text.splitlines()
    assert first.startswith("control:signature-unchecked ")
    assert "does not hold: " in first
    assert "IDC-03" in first
    assert second == "reproduce IDC-03 with: pawl replay x/IDC-03.json --target control:signature-unchecked"
    assert ">>   0 " in text
    assert "^ accepted; expected a refusal: invalid-signature" in text


def test_same_seed_same_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Contract of `--seed`: the same seed gives the same traces and verdicts, another one other traces."""
    without_engines(monkeypatch)

    def essence(seed: int) -> object:
        report = report_of("control:version-unauthenticated", replace(TINY, shrink_steps=500), seed)
        counts = (report.traces, report.steps, report.reached, report.tally.checked, report.tally.violated)
        return counts, {id_: found.trace for id_, found in report.found.items()}

    assert essence(7) == essence(7)
    assert essence(7) != essence(8)


def test_what_was_reached_is_counted(pawl: Report) -> None:
    """style.md, 25: operations of each kind, refusals of each code, ratchet steps and crashes are reached and counted."""
    words = {word for word in pawl.reached.operations if word != "nop"}
    assert len(words) >= 15
    assert {"bad-mac", "duplicate-message", "untrusted-identity", "malformed-message"} <= set(pawl.reached.refusals)
    assert pawl.reached.ratchet_steps > 100
    assert pawl.reached.crashes > 10
    assert pawl.traces == sum(engine.traces for engine in pawl.engines)
    assert pawl.steps == sum(engine.steps for engine in pawl.engines)
    assert [engine.name for engine in pawl.engines] == ["scenarios", "corpus", "explore", "walk", "hypothesis"]


def test_time_cap_makes_the_run_incomplete() -> None:
    """Exit code 4: a run that its time cap cut says so and is not a success."""
    report = report_of("pawl", replace(TINY, seconds=0.0))
    assert report.exit is Exit.INCOMPLETE
    assert "time cap" in report.gaps[0]
    assert "incomplete: the time cap" in verify_text(report, {}, None, report.exit)


def test_what_was_not_reached_is_never_success(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that judged nothing is never a success: the invariants that no trace reached are named."""
    without_engines(monkeypatch)
    report = report_of("pawl", replace(TINY, walks=0, examples=1))
    assert report.exit is Exit.INCOMPLETE
    missed = [entry.id for entry in report.with_verdict(Verdict.NOT_REACHED)]
    assert missed
    text = verify_text(report, {}, None, report.exit)
    assert f"never reached, so nothing is known of it: {', '.join(missed)}" in text
    assert all(f"{id_}  not reached: " in text for id_ in missed)


def test_unsupported_is_declared_and_said() -> None:
    """architecture.md: "unsupported" is only ever declared; it is listed with why, and is no gap."""
    with closing(InProcessTarget()) as target:
        target.hello = replace(target.hello, level=Observe.WIRE, capabilities=frozenset({"restart"}))
        report = Verification(target, name="x", budget=TINY, seed=0, progress=io.StringIO()).run()
    assert report.exit is Exit.HOLDS
    text = verify_text(report, {}, None, report.exit)
    assert "KEY-01  unsupported: needs observation level L2, the target offers L0" in text
    assert "IDC-08  unsupported: needs approve, reinstall, which the target declares that it lacks" in text
    lacking = (
        "approve, callbacks, clock, compatibility, compromise, crash, damage, forget, group-layout, group-members,"
        " group-rotate, group-share, groups, medium, plaintext-hook"
    )
    assert f"scenarios left out, as the target lacks {lacking}, reinstall, rival, rotate, store-faults" in text


def test_report_for_machines_says_the_same(pawl: Report) -> None:
    """`--json` has all of it, and is JSON."""
    document = json.loads(json.dumps(verify_document(pawl, {}, None, pawl.exit)))
    assert (document["exit"], document["outcome"]) == (0, "holds")
    assert document["traces"] == pawl.traces
    assert document["reached"]["refusals"] == dict(pawl.reached.refusals)
    assert {entry["id"]: entry["verdict"] for entry in document["invariants"]} == {
        id_: verdict.value for id_, verdict in pawl.tally.verdicts().items()
    }
    for entry in document["invariants"]:
        assert sum(engine["checked"] for engine in entry["by_engine"].values()) == entry["checked"]


def test_every_family_has_a_name() -> None:
    """The table by family leaves no invariant out."""
    assert {family(entry.id) for entry in INVARIANTS} <= set(FAMILIES)


def test_budgets_grow() -> None:
    """Contract of `--budget`: smoke, pr and nightly search more and more, and smoke ends within 60 s."""
    smoke, pr, nightly = (BUDGETS[name] for name in ("smoke", "pr", "nightly"))
    assert smoke.walks < pr.walks < nightly.walks
    assert smoke.examples < pr.examples < nightly.examples
    assert smoke.seconds < 60 < pr.seconds < nightly.seconds


# -- scenarios --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario.name)
def test_scenarios_unfold(scenario: Scenario) -> None:
    """Each scenario unfolds for generous and for narrow limits, and names invariants that exist."""
    assert scenario.title.endswith(".")
    assert set(scenario.about) <= {entry.id for entry in INVARIANTS}
    for limits in (Limits(), Limits(2_000, None, None, None, None), Limits(10, 5, 10, 2, 3)):
        labels = [label for label, trace in scenario.traces(limits) if isinstance(trace, Trace) and trace.ops]
        assert len(labels) == len(set(labels)) > 0


@pytest.mark.parametrize("scenario", [s for s in scenarios() if s.name not in COSTLY], ids=lambda s: s.name)
def test_scenarios_reach_what_they_are_about(scenario: Scenario) -> None:
    """style.md, 25: a scenario that never comes to the place it is made for is a lamp without light."""
    checked: set[str] = set()
    with closing(InProcessTarget()) as target:
        for label, trace in scenario.traces(target.hello.limits):
            broken, counts = judge(run_trace(target, trace))
            assert not broken, (label, broken[0].violation)
            checked |= set(counts)
    assert set(scenario.about) <= checked


def test_expressions() -> None:
    """Operands may be expressions over limits, varied names and loop counters; nothing else is evaluated."""
    names = {"limit": 7, "i": 2, "field": "mac"}
    assert evaluate("=limit + 1", names) == 8
    assert evaluate("=2 * limit - i", names) == 12
    assert evaluate("=field", names) == "mac"
    assert evaluate("alice", names) == "alice"
    for bad in ("=other", "=field + 1", "=__import__('os')", "=1 + "):
        with pytest.raises(ScenarioError):
            evaluate(bad, names)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("{}", '"format" and "version"'),
        ('{"format": "pawl-scenario", "version": 1, "titel": ""}', "no key 'titel'"),
        ('{"format": "pawl-scenario", "version": 1, "title": "x"}', "are required"),
    ],
)
def test_broken_scenarios_are_refused(text: str, words: str) -> None:
    """A slip in a scenario file is named, with the file."""
    with pytest.raises(ScenarioError, match=f"^mine: .*{words}"):
        load("mine", text)


# -- stores on trial ---------------------------------------------------------------------------------------------------

ON_TRIAL = replace(TINY, name="pr", walks=0, examples=0, trials=True)


@pytest.fixture
def one_campaign(monkeypatch: pytest.MonkeyPatch) -> None:
    """The campaigns as they are, but only one of them, on one store, with two traces; of the other engines none."""
    without_engines(monkeypatch)
    monkeypatch.setattr(trials, "MODULES", {"crash-points": "crash_points"})
    monkeypatch.setattr(crash_points, "STORES", ("memory",))
    monkeypatch.setattr(crash_points, "AMOUNTS", {"pr": 2, "nightly": 2})


@pytest.mark.usefixtures("one_campaign")
def test_stores_are_put_on_trial() -> None:
    """Issue: "fault campaigns, as engines of the gate": what they checked is evidence like that of any engine."""
    report = report_of("pawl", ON_TRIAL)
    assert report.engines[-1].name == "crash-points on memory"
    assert report.engines[-1].checked["ATM-01"] > 50
    assert "crashes" in report.engines[-1].note
    assert report.violated == []
    assert verify_document(report, {}, None, Exit.HOLDS)["trials"][0]["store"] == "memory"


@pytest.mark.usefixtures("one_campaign")
def test_what_a_trial_finds_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told with the command that runs it again, and the exit code is that of a violation."""
    monkeypatch.setattr(crash_points, "run", partial(crash_points.run, variant=TwoTransactions()))
    report = report_of("pawl", ON_TRIAL)
    assert report.found == {}
    assert "ATM-01" in report.violated
    assert report.exit is Exit.VIOLATED
    text = verify_text(report, {}, None, report.exit)
    assert text.startswith(f"pawl {report.hello.version} does not hold: {', '.join(report.violated)}\n")
    assert "  reproduce: pawl store trial crash-points --store memory --budget pr --seed 0\n" in text
    drawn = page.render(report, {}, None, report.exit, made=datetime.now(UTC))
    assert "pawl store trial crash-points --store memory --budget pr --seed 0" in drawn
    assert 'href="#trials"' in drawn


@pytest.mark.usefixtures("one_campaign")
def test_a_trial_that_cannot_be_run_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not looked at does not hold by silence."""

    def unavailable(*_: object) -> TrialReport:
        raise trials.Unavailable("there is no server here")

    monkeypatch.setattr(crash_points, "run", unavailable)
    report = report_of("pawl", ON_TRIAL)
    assert report.exit is Exit.INCOMPLETE
    assert "crash-points on memory was not run: there is no server here" in report.gaps
