"""Explored states on the code: model and library agree on each, a broken library is noticed, and so is a pruned search."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from pawl_gate.cli import main
from pawl_gate.engines.explore import NotAsCommitted, lacks, replay, searched, spread
from pawl_gate.targets.base import World
from pawl_gate.targets.inprocess import InProcessTarget
from pawl_gate.targets.registry import find_target
from pawl_gate.verify import BUDGETS, Exit, Report, Verification
from pawl_spec.explore import FAULTS, SCOPES, Agreement, explore
from pawl_spec.history import Hello, History, Profile
from pawl_spec.judge import judge
from pawl_spec.trace import Kind

ONLY = replace(BUDGETS["smoke"], walks=0, examples=1, seconds=600, leaves=10)
"""What the engine is given here; the other engines are left out."""


class Rooted:
    """A target whose worlds cannot be forked."""

    def __init__(self) -> None:
        self._inner = InProcessTarget()
        self.worlds = 0

    @property
    def hello(self) -> Hello:
        """Pawl's."""
        return self._inner.hello

    def world(self, seed: int) -> World:
        """Pawl's."""
        self.worlds += 1
        return self._inner.world(seed)

    def close(self) -> None:
        """Pawl's."""
        self._inner.close()


@pytest.mark.parametrize("scope", ["smoke", "order", "replay", "three"])
def test_model_and_code_agree_on_every_state(scope: str) -> None:
    """As many states are reached on the code as the model has."""
    explored = explore(SCOPES[scope])
    replayed = replay(InProcessTarget(), explored, leaves=0)
    assert replayed.disagreement is None
    assert replayed.states == explored.states


@pytest.mark.parametrize("scope", ["restart", "rekey", "simultaneous"])
def test_model_and_code_agree_as_far_as_here_explored(scope: str) -> None:
    """The same for the first states of larger scopes; `pawl verify --budget pr` reaches all of them."""
    explored = explore(SCOPES[scope], most=400)
    assert replay(InProcessTarget(), explored, leaves=0).states == explored.states > 400


def test_model_and_code_agree_on_what_a_stolen_state_gives_away() -> None:
    """After every step the attacker searches anew, and reads what the model says."""
    explored = explore(SCOPES["compromise"], most=400)
    assert replay(InProcessTarget(), explored, leaves=0).states == explored.states


def test_the_histories_of_the_ends_are_handed_out_and_hold() -> None:
    """Every end of the tree is one history with its closing part; no invariant is broken in any."""
    explored = explore(SCOPES["three"])
    ends = set(range(explored.states)) - set(explored.parents)
    told: list[History] = []
    replayed = replay(InProcessTarget(), explored, judge=told.append)
    assert replayed.judged == len(told) == len(ends)
    assert {history.trace.ops[: history.closing] for history in told} == {explored.trace(state) for state in ends}
    assert all(judge(history)[0] == [] for history in told)


@pytest.mark.parametrize("control", ["refusal-changes-state", "encoding-not-canonical", "prekey-kept"])
def test_a_broken_library_is_noticed(control: str) -> None:
    """The states behind the first wrong step are not counted as reached; the trace that is shown is a shortest one."""
    explored = explore(SCOPES["smoke"])
    told: list[History] = []
    replayed = replay(find_target(f"control:{control}"), explored, judge=told.append)
    found = replayed.disagreement
    assert found is not None
    assert replayed.states < explored.states
    assert len(found.history.events) == min(len(history.events) for history in told if history.closing is None)


def test_a_target_that_cannot_be_forked_is_led_to_every_end() -> None:
    """Each end from the start: all states are reached, one world for each end."""
    explored, target = explore(SCOPES["three"]), Rooted()
    replayed = replay(target, explored)
    assert replayed.states == explored.states
    assert replayed.judged == target.worlds == len(set(range(explored.states)) - set(explored.parents))


def test_a_target_that_cannot_be_forked_may_be_led_to_a_sample() -> None:
    """The states on the way to the sample are reached, no others, and none is counted twice."""
    explored = explore(SCOPES["smoke"])
    replayed = replay(Rooted(), explored, leaves=3)
    assert replayed.judged == 3
    assert 3 < replayed.states < explored.states
    assert replayed.states <= replayed.operations


def test_a_sample_is_spread_evenly() -> None:
    """From the first on, and all of them where there are no more."""
    assert spread([1, 2, 3], 5) == [1, 2, 3]
    assert spread(list(range(100)), 4) == [0, 25, 50, 75]


def test_a_scope_that_needs_what_a_target_lacks_says_so() -> None:
    """Restarts and thefts are capabilities."""
    bare = replace(InProcessTarget().hello, capabilities=frozenset())
    assert [lacks(SCOPES[name], bare) for name in ("smoke", "restart", "compromise")] == [
        [],
        ["restart"],
        ["compromise"],
    ]
    always = replace(bare, profile=Profile(needs_one_time=True))
    whole = {name for name, scope in SCOPES.items() if "sessions-without-one-time" not in lacks(scope, always)}
    assert set(SCOPES) - whole == {"simultaneous", "replay"}


# -- a pruned search --------------------------------------------------------------------------------------------------


@pytest.fixture(params=[Kind.DUPLICATE, Kind.DROP], ids=lambda kind: kind.word)
def pruned(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search leaves an operation out."""
    scope = type(SCOPES["smoke"])
    moves = scope.moves
    monkeypatch.setattr(scope, "moves", lambda *args: (m for m in moves(*args) if m[0].kind is not request.param))


@pytest.mark.usefixtures("pruned")
def test_a_pruned_search_breaks_the_gate(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """It closes and finds nothing, yet its counts give it away: no verdict comes of it."""
    with pytest.raises(NotAsCommitted, match="committed 451"):
        searched(SCOPES["smoke"])
    assert main(["explore", "smoke", "--model", "--out", str(tmp_path)]) == Exit.BROKEN
    assert "NOT as committed: states" in capsys.readouterr().out


# -- as an engine of pawl verify --------------------------------------------------------------------------------------


def verified(target: str, monkeypatch: pytest.MonkeyPatch) -> Report:
    """What `pawl verify` says of a target where only this engine runs."""
    for other in ("_scenarios", "_corpus", "_walk", "_hypothesis"):
        monkeypatch.setattr(Verification, other, lambda self: "")
    return Verification(find_target(target), name=target, budget=ONLY, seed=0, progress=io.StringIO()).run()


def test_the_engine_says_what_it_explored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts, states on the target, and histories that were judged like those of any engine."""
    report = verified("pawl", monkeypatch)
    (scope,) = report.scopes
    assert (scope.name, scope.counts["states"], scope.replayed.states) == ("smoke", 451, 451)
    assert report.found == {}
    assert report.traces == scope.replayed.judged == 10


def test_what_the_engine_finds_is_named_by_its_invariant(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disagreement is judged like any history."""
    report = verified("control:prekey-kept", monkeypatch)
    assert set(report.found) == {"KEY-03", "CNF-02"}
    assert report.found["KEY-03"].engine == "explore smoke"


def test_a_disagreement_that_no_invariant_names_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two opinions of the specification differ: that is said, under the invariant of conformance."""
    monkeypatch.setattr(Agreement, "ended_otherwise", lambda self, event: "parted")
    report = verified("pawl", monkeypatch)
    assert set(report.found) == {"CNF-01"}
    assert report.exit is Exit.VIOLATED


# -- the verb ---------------------------------------------------------------------------------------------------------


def test_the_verb_says_that_both_agree(capsys: pytest.CaptureFixture[str]) -> None:
    """First line, figures, exit code 0."""
    assert main(["explore", "three"]) == Exit.HOLDS
    said = capsys.readouterr()
    assert said.out.startswith("pawl ")
    assert "agree in three: 167 states, each of them reached on both" in said.out
    assert "as committed" in said.out
    assert "three: 3 parties" in said.err


def test_the_verb_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """One document, with the committed figures beside those that were found."""
    assert main(["explore", "replay", "--model", "--json"]) == Exit.HOLDS
    (scope,) = json.loads(capsys.readouterr().out)["scopes"]
    assert scope["closed"] is True
    assert {name: scope[name] for name in ("states", "transitions", "depth")} == scope["committed"]


@pytest.mark.parametrize("name", ["prekey-kept", "former-chains-lost"])
def test_a_planted_fault_is_found_and_saved(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, the shortest trace as a chart and as a file, and Pawl itself holds on that trace."""
    assert main(["explore", "--fault", name, "--out", str(tmp_path)]) == Exit.VIOLATED
    assert FAULTS[name].breaks in capsys.readouterr().out
    (saved,) = tmp_path.iterdir()
    assert main(["replay", str(saved)]) == Exit.HOLDS


def test_a_broken_target_is_found_and_saved(tmp_path: Path) -> None:
    """Exit code 1; the saved trace shows it again."""
    assert main(["explore", "smoke", "--target", "control:prekey-kept", "--out", str(tmp_path)]) == Exit.VIOLATED
    assert main(["replay", str(tmp_path / "KEY-03.json")]) == Exit.VIOLATED


def test_a_search_that_is_cut_is_incomplete(capsys: pytest.CaptureFixture[str]) -> None:
    """The largest scope takes more than a second."""
    assert main(["explore", "main", "--seconds", "1"]) == Exit.INCOMPLETE
    assert "the time cap cut the search of scope main" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", [["nowhere"], ["--fault", "none"], ["--fault", "prekey-kept", "--target", "pawl"], ["--target", "no"]]
)
def test_wrong_usage_is_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2."""
    assert main(["explore", *words]) == Exit.USAGE
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1


def test_scopes_and_faults_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """Each by name, with its figures."""
    assert main(["explore", "--list"]) == Exit.HOLDS
    said = capsys.readouterr().out
    assert all(name in said for name in (*SCOPES, *FAULTS))
    assert "174,853 states" in said
