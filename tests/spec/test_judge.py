"""Judging: what a verdict says, and above all what it never says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pawl_spec.history import Hello, Limits, Observe, Profile
from pawl_spec.invariants import INVARIANTS
from pawl_spec.judge import Tally, Verdict, judge, judgeable
from pawl_spec.registry import REGISTRY, Finding, Invariant, Story, Violation
from tests.spec.histories import ABLE, ALICE, BOB, Tale, met


def hello(level: Observe = Observe.DISK, can: frozenset[str] = ABLE) -> Hello:
    """A target that can do everything, unless said otherwise."""
    return Hello("by hand", "1", level, can, Limits())


def made_up(*findings: str | None, **fields: object) -> Invariant:
    """An invariant that finds what it is told to."""

    def predicate(story: Story) -> Iterator[Finding]:
        for what in findings:
            yield None if what is None else Violation(story.events[0], what)

    entry = Invariant("XXX-01", "T-REPLAY", "Made up.", "nowhere", predicate=predicate)
    return replace(entry, **fields)  # type: ignore[arg-type]


# -- one history ------------------------------------------------------------------------------------------------------


def test_the_first_violation_is_shown() -> None:
    """An invariant that a history violates is reported once, at its first violation; every check is counted."""
    broken, checked = judge(met().history, [made_up(None, "first", None, "second")])
    assert [entry.violation.what for entry in broken] == ["first"]
    assert checked == Counter({"XXX-01": 4})


def test_a_history_that_keeps_everything() -> None:
    """An honest conversation breaks nothing and reaches something."""
    broken, checked = judge(met().history)
    assert broken == []
    assert checked["CTR-01"] == 2
    assert checked["CNF-01"] > 0
    assert checked["IDC-01"] == 0


def test_several_invariants_may_break_at_once() -> None:
    """Each is reported by itself, in the order of the ids."""
    tale = met()
    message = tale.send(ALICE, BOB, header={"counter": 7}, canonical=False)
    tale.tamper(message, "mac", code="bad-mac", changes=True)
    broken, _ = judge(tale.history)
    assert [entry.invariant.id for entry in broken] == ["CTR-01", "CTR-05", "PAR-02"]


def test_below_its_level_nothing_is_judged() -> None:
    """Claim: "A verdict is never stated above the level at which it was reached": what cannot be seen is not judged."""
    for level, judged in ((Observe.WIRE, False), (Observe.COUNTS, False), (Observe.STATE, True)):
        _, checked = judge(met(level=level).inspect(ALICE).history)
        assert bool(checked["KEY-02"]) is judged
        assert bool(checked["CTR-01"])


def test_without_its_capability_nothing_is_judged() -> None:
    """A capability that the target lacks is declared: then the invariant is not judged, whatever the history holds."""
    tale = Tale(strict=[ALICE], can=ABLE - {"strict-identity"}).establish(ALICE, BOB)
    broken, checked = judge(tale.history)
    assert broken == []
    assert checked["IDC-02"] == 0


@pytest.mark.parametrize("entry", [entry for entry in INVARIANTS if entry.predicate], ids=lambda entry: entry.id)
def test_what_is_needed(entry: Invariant) -> None:
    """A target is judged on an invariant exactly if its level and every needed capability suffice."""
    assert judgeable(entry, hello(entry.level, entry.needs))
    if entry.level > Observe.WIRE:
        assert not judgeable(entry, hello(Observe(entry.level - 1), entry.needs))
    for missing in entry.needs - {"steady-session"}:
        assert not judgeable(entry, hello(entry.level, entry.needs - {missing}))


def test_a_target_whose_late_messages_change_sessions_says_so() -> None:
    """CTR-07 is nothing to ask of a target that declares that each session becomes current on which it receives."""
    ways = {"on-new-chain": True, "never": True, "always": False}
    for promotes, judged in ways.items():
        assert judgeable(REGISTRY["CTR-07"], replace(hello(can=frozenset()), profile=Profile(promotes))) is judged


@pytest.mark.parametrize("entry", [entry for entry in INVARIANTS if entry.predicate], ids=lambda entry: entry.id)
def test_what_is_judged_without_sessions(entry: Invariant) -> None:
    """A target that does groups alone is judged on what holds in groups, and on nothing else."""
    alone = replace(hello(Observe.DISK, entry.needs | {"groups"}), sessions=False)
    in_groups = {"CNF-01", "IDC-05", "PAR-01", "PAR-02", "PAR-03", "PAR-04", "PAR-05"}
    assert judgeable(entry, alone) is (entry.id.startswith("GRP") or entry.id in in_groups)
    assert judgeable(entry, replace(alone, sessions=True))


# -- verdicts over many histories -------------------------------------------------------------------------------------


def test_nothing_reached_is_not_holding() -> None:
    """NOT_REACHED is never "holds": a run that judged nothing has no invariant that holds."""
    verdicts = Tally(hello()).verdicts()
    assert Verdict.HOLDS not in verdicts.values()
    assert {id for id, verdict in verdicts.items() if verdict is Verdict.NOT_REACHED} == {
        entry.id for entry in INVARIANTS if entry.predicate is not None
    }


def test_reached_and_never_violated_holds() -> None:
    """An invariant holds if it was checked at least once and never found violated."""
    tally = Tally(met().history.target)
    tally.add(*judge(met().history))
    assert tally.verdict(REGISTRY["CTR-01"]) is Verdict.HOLDS
    assert tally.verdict(REGISTRY["IDC-01"]) is Verdict.NOT_REACHED


def test_one_violation_is_enough() -> None:
    """One history among many that violates it: the invariant is violated, whatever held before and after."""
    bad = met()
    bad.send(ALICE, BOB, header={"counter": 3})
    tally = Tally(bad.history.target)
    for history in (met().history, bad.history, met().history):
        tally.add(*judge(history))
    assert tally.verdict(REGISTRY["CTR-01"]) is Verdict.VIOLATED
    assert tally.violated == Counter({"CTR-01": 1})
    assert tally.checked["CTR-01"] == 2 + 3 + 2


def test_unsupported_is_declared() -> None:
    """Claim: "Unsupported" follows from what the target declares, never from a failure: nor can it become "holds"."""
    tally = Tally(hello(Observe.WIRE, frozenset()))
    tally.checked.update({entry.id: 5 for entry in INVARIANTS})
    verdicts = tally.verdicts()
    assert verdicts["KEY-01"] is Verdict.UNSUPPORTED
    assert verdicts["IDC-02"] is Verdict.UNSUPPORTED
    assert verdicts["CTR-01"] is Verdict.HOLDS
    assert verdicts["GRP-01"] is Verdict.UNSUPPORTED
    assert verdicts["WRK-01"] is Verdict.UNSUPPORTED


def test_a_violation_is_found_again_in_a_stored_history() -> None:
    """Histories are data: judging one twice gives the same verdict, and leaves the history as it was."""
    tale = met()
    tale.send(ALICE, BOB, header={"counter": 3})
    before = list(tale.history.events)
    assert judge(tale.history) == judge(tale.history)
    assert tale.history.events == before
