"""Reach: the committed list is whole, what it names is defined, and an engine that reaches less turns the gate red."""

import io
from collections.abc import Iterator

import pytest

from pawl import errors
from pawl_gate import reach, verify
from pawl_gate.runner import run_trace
from pawl_gate.scenarios import scenarios
from pawl_gate.targets.inprocess import InProcessTarget
from pawl_gate.verify import BUDGETS, Exit, Report, Verification
from pawl_spec.trace import Kind, Trace, op

ENGINES = {"scenarios", "corpus", "explore", "walk", "hypothesis"}
ALICE, BOB = 0, 1
MEET = op(Kind.ESTABLISH, actor=ALICE, peer=BOB, one_time=1)
SEND = op(Kind.SEND, actor=ALICE, peer=BOB)
ANSWER = op(Kind.SEND, actor=BOB, peer=ALICE)
DELIVER = op(Kind.DELIVER)


def codes(of: type[errors.ProtocolError] = errors.ProtocolError) -> Iterator[str]:
    """The codes of all refusals."""
    yield of.code
    for each in of.__subclasses__():
        yield from codes(each)


def listed_for(target: str, what: str) -> set[str]:
    """What any engine must reach."""
    return {name for items in reach.document()["targets"][target].values() for name in items[what]}


# -- the list ---------------------------------------------------------------------------------------------------------


def test_every_refusal_is_listed_or_has_a_reason() -> None:
    """Each code of the library is reached by an engine, or the list says why no trace can come to it; never both."""
    reached, reasons = listed_for("pawl", "refusals"), reach.document()["unreachable"]
    # Codes of other refusals than the library's: `unknown` is what a target says that names none.
    assert {*codes()} == {*reasons, *reached}
    assert reached.isdisjoint(reasons)
    assert all(reason.endswith(".") for reason in reasons.values())


def test_every_operation_and_shape_is_reached_on_pawl() -> None:
    """Whatever a trace can do is done, and whatever is called a shape is come to."""
    assert listed_for("pawl", "operations") == {kind.word for kind in Kind} - {Kind.NOP.word}
    assert listed_for("pawl", "shapes") == set(reach.SHAPES)


@pytest.mark.parametrize("target", reach.document()["targets"])
def test_every_engine_is_listed(target: str) -> None:
    """For each target, each engine with something that it reaches."""
    engines = reach.document()["targets"][target]
    assert set(engines) == ENGINES
    assert all(items["operations"] for items in engines.values())


# -- what is due, and what is gone ------------------------------------------------------------------------------------

DUE = {"walk": {"operations": ["send"], "refusals": ["bad-mac", "no-session"], "shapes": ["key-kept"]}}


def test_what_is_no_longer_reached_is_named() -> None:
    """By engine and kind; what is reached beyond the list is no matter."""
    done = {"walk": {"operations": ["drop", "send"], "refusals": ["no-session"], "shapes": []}}
    (line,) = reach.missing(DUE, done)
    assert line.startswith("walk no longer reaches")
    assert line.endswith("refusals bad-mac; shapes key-kept")
    assert reach.missing(DUE, DUE) == []
    assert len(reach.missing(DUE, {})) == 1


def run(monkeypatch: pytest.MonkeyPatch, *, seed: int = 0) -> Report:
    """A smoke run of the scenarios alone."""
    for other in ("_corpus", "_explore", "_walk", "_hypothesis"):
        monkeypatch.setattr(Verification, other, lambda self: "")
    budget = BUDGETS["smoke"]
    return Verification(InProcessTarget(), name="pawl", budget=budget, seed=seed, progress=io.StringIO()).run()


def test_an_engine_that_reaches_less_makes_the_run_incomplete(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same two scenarios: as long as they are all there is, nothing is missing; without one of them something is."""
    few = [one for one in scenarios() if one.name in ("out-of-order", "junk")]
    monkeypatch.setattr(verify, "scenarios", lambda: few)
    done = run(monkeypatch).engines[0]
    monkeypatch.setattr(reach, "listed", lambda *args: {"scenarios": reach.items(done.reached)})
    assert run(monkeypatch).unreached == []
    monkeypatch.setattr(verify, "scenarios", lambda: few[:1])
    report = run(monkeypatch)
    assert report.unreached
    assert report.unreached[0] in report.gaps
    assert report.exit is Exit.INCOMPLETE


def test_other_seeds_are_held_to_no_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list is one of a seed: chance takes another elsewhere."""
    monkeypatch.setattr(verify, "scenarios", list)
    assert run(monkeypatch).listed is not None
    assert run(monkeypatch, seed=1).listed is None


# -- shapes -----------------------------------------------------------------------------------------------------------

TALKED = (MEET, SEND, DELIVER, ANSWER, DELIVER)


@pytest.mark.parametrize(
    ("ops", "comes_to", "not_to"),
    [
        ((MEET, SEND), {"unanswered"}, {"answered", "begun-with-one-time-prekey", "former-chain-held"}),
        (
            (*TALKED, SEND),
            {"answered", "begun-with-one-time-prekey"},
            {"key-kept", "begun-by-both"},
        ),
        ((*TALKED, SEND, DELIVER), {"former-chain-held"}, {"chains-full", "session-archived"}),
        ((MEET, SEND, SEND, op(Kind.DELIVER, index=1)), {"key-kept"}, {"kept-key-used", "kept-keys-of-a-chain-full"}),
        ((MEET, SEND, SEND, op(Kind.DELIVER, index=1), DELIVER), {"kept-key-used"}, {"begun-without-one-time-prekey"}),
        ((MEET, MEET), {"session-archived"}, {"archived-sessions-full"}),
        ((MEET, SEND, op(Kind.ESTABLISH, actor=BOB, peer=ALICE), ANSWER), {"begun-by-both"}, {"answered"}),
        ((*TALKED, op(Kind.ROTATE, actor=BOB)), {"signed-prekey-superseded"}, {"callback-misbehaved"}),
        ((MEET, SEND, op(Kind.COMPROMISE, actor=BOB)), {"attacker-reads"}, {"healed"}),
        ((*TALKED, op(Kind.COMPROMISE, actor=BOB)), set(), {"attacker-reads", "healed"}),
        ((MEET, op(Kind.CRASH, actor=BOB), SEND, DELIVER), {"crashed-before-commit"}, {"crashed-after-commit"}),
    ],
)
def test_shapes_of_state(ops: tuple[object, ...], comes_to: set[str], not_to: set[str]) -> None:
    """A trace comes to the shapes that its operations make, and not to those next to them."""
    found = reach.shapes(run_trace(InProcessTarget(), Trace(ops), closing=False))  # type: ignore[arg-type]
    assert comes_to <= found
    assert found.isdisjoint(not_to)
