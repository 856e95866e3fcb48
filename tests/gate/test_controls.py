"""Controls: each broken variant is caught by the invariant that names its fault, and the reference is not."""

from __future__ import annotations

from itertools import islice

import pytest

from pawl.storage.contract import Store
from pawl_gate.controls import CONTROLS, Control, PassingStore, PassingTransaction, WrappedVariant
from pawl_gate.engines import walk
from pawl_gate.mutants import directed
from pawl_gate.mutants_text import committed
from pawl_gate.runner import run_trace
from pawl_gate.targets.inprocess import InProcessTarget
from pawl_gate.targets.variant import Variant
from pawl_gate.trials.broken_pools import BROKEN_POOLS
from pawl_gate.verify import trace_size
from pawl_spec.judge import judge
from pawl_spec.registry import REGISTRY
from pawl_spec.trace import ANSWERS, CALLBACKS, FORGERIES, TAMPERS, Kind, Op, Trace, op

ALICE, BOB, CAROL = range(3)
MEET = op(Kind.ESTABLISH, actor=ALICE, peer=BOB, one_time=1)
SEND = op(Kind.SEND, actor=ALICE, peer=BOB)
ANSWER = op(Kind.SEND, actor=BOB, peer=ALICE)
DELIVER = op(Kind.DELIVER)
LAST = op(Kind.DELIVER, index=1)
LOOK = op(Kind.INSPECT, actor=BOB)
HOOK = op(Kind.CALLBACK, actor=BOB, callback=CALLBACKS.index("plaintext"), how=ANSWERS.index("approve"))
STEAL = op(Kind.COMPROMISE, actor=BOB)
ATTACK = op(Kind.ATTACK)
TALKED = (MEET, SEND, DELIVER, ANSWER, DELIVER)


def tamper(message: int, name: str, how: int = 0) -> Op:
    """A changed copy of a message."""
    return op(Kind.TAMPER, message=message, field=TAMPERS.index(name), how=how)


TRACES = {
    "duplicate-accepted": Trace((*TALKED, SEND, DELIVER, op(Kind.REPLAY, message=2))),
    "identity-change-accepted": Trace((*TALKED, op(Kind.REINSTALL, actor=BOB), MEET)),
    "first-use-unasked": Trace((MEET,), strict=0b001),
    "pinned-before-authenticated": Trace((MEET, SEND, tamper(0, "identity-key"), DELIVER)),
    "refusal-changes-state": Trace((*TALKED, SEND, tamper(2, "mac"))),
    "version-unauthenticated": Trace((*TALKED, SEND, tamper(2, "version"))),
    "parser-raises": Trace((op(Kind.INJECT, to=BOB, sender=ALICE),)),
    "encoding-not-canonical": Trace((MEET, SEND)),
    "signature-unchecked": Trace((op(Kind.FORGE_BUNDLE, actor=ALICE, peer=BOB, how=FORGERIES.index("bad-signature")),)),
    "mac-unchecked": Trace((*TALKED, SEND, tamper(2, "mac"))),
    "message-key-kept": Trace((*TALKED, SEND, SEND, LAST, DELIVER, op(Kind.INSPECT, actor=BOB))),
    "prekey-kept": Trace((MEET, SEND, DELIVER)),
    # A refused message writes nothing: what comes next finds nothing to commit late.
    "committed-late": Trace((*TALKED, SEND, tamper(2, "mac"), ANSWER)),
    "signed-prekey-for-ever": Trace((MEET, SEND, op(Kind.ROTATE, actor=BOB), op(Kind.CLOCK, days=31), DELIVER)),
    "chains-kept": Trace((*TALKED, op(Kind.INSPECT, actor=BOB), *(SEND, DELIVER, ANSWER, DELIVER) * 7, LOOK)),
    "secret-in-a-refusal": Trace((*TALKED, SEND, tamper(2, "mac"), LOOK)),
    "kept-keys-all-read": Trace((*TALKED, *(SEND,) * 60, LAST, op(Kind.DELIVER, index=58), DELIVER, SEND)),
    "zero-taken-for-none": Trace((op(Kind.ESTABLISH, actor=ALICE, peer=BOB), SEND, tamper(0, "prekey-id-zero"))),
    "allocated-first": Trace((op(Kind.INJECT, to=BOB, sender=ALICE),)),
    "callback-unguarded": Trace((op(Kind.CALLBACK, actor=ALICE, callback=0, how=3), MEET)),
    "asked-under-another-name": Trace((op(Kind.CALLBACK, actor=ALICE), MEET)),
    "damage-taken-for-absence": Trace((*TALKED, op(Kind.DAMAGE, actor=ALICE, table=1, how=1), MEET)),
    "former-session-kept": Trace((*TALKED, SEND, DELIVER, STEAL)),
    "used-key-moved": Trace((*TALKED, SEND, SEND, LAST, DELIVER, STEAL)),
    "used-prekey-moved": Trace((MEET, SEND, DELIVER, STEAL)),
    "root-not-mixed": Trace((*TALKED, ANSWER, DELIVER, STEAL)),
    "ratchet-key-derived": Trace((*TALKED, STEAL, SEND, DELIVER, ANSWER, DELIVER, SEND, ATTACK)),
    "ratchet-key-guessable": Trace((*TALKED, STEAL, SEND, DELIVER, ANSWER, DELIVER, SEND, ATTACK)),
    "plaintext-stored-afterwards": Trace((HOOK, MEET, SEND, op(Kind.CRASH, actor=BOB, at=15), DELIVER)),
    "chains-dropped-early": Trace((*TALKED, SEND, DELIVER, ANSWER, DELIVER)),
    "half-written": Trace((MEET, SEND, op(Kind.CRASH, actor=BOB, at=8), DELIVER)),
    "conflict-overwritten": Trace((*TALKED, op(Kind.RIVAL, actor=ALICE), SEND)),
    "rollback-forgotten": Trace((MEET, SEND, op(Kind.STORE_FAULT, actor=BOB, at=8), DELIVER)),
}
"""For each control the shortest trace that shows its fault, closing part left out."""


@pytest.fixture(scope="module")
def reference() -> InProcessTarget:
    """Pawl itself."""
    return InProcessTarget()


TRACED = [CONTROLS[name] for name in TRACES]
"""The controls of those traces. The others have the directed trace that the committed matrix names."""

MATRIX = committed()["faults"]
DIRECTED = dict(directed(""))
LARGEST = 200
"""Operations of the directed traces that are run here; `pawl mutants` runs all."""

OTHERS = {
    name: DIRECTED[entry["killed"]["scenarios"]["trace"]]
    for name, entry in MATRIX.items()
    if name not in TRACES and trace_size(DIRECTED[entry["killed"]["scenarios"]["trace"]]) <= LARGEST
}


def test_every_control_has_a_trace() -> None:
    """A control that nothing catches is a hole in the gate, and so is one that the committed matrix does not know."""
    assert set(MATRIX) == set(CONTROLS)
    assert all(entry["killed"]["scenarios"] for entry in MATRIX.values())
    assert set(TRACES) <= set(CONTROLS)


def test_every_judged_invariant_has_a_control() -> None:
    """ "Every invariant that is judged needs at least one control that it catches"."""
    named = {entry.breaks for entry in (*CONTROLS.values(), *BROKEN_POOLS.values())}
    assert {entry.id for entry in REGISTRY.values() if entry.predicate is not None} - named == set()


@pytest.mark.parametrize("name", OTHERS)
def test_the_matrix_is_right(name: str) -> None:
    """On the directed trace that the matrix names, the same invariants speak up, and that which names the fault."""
    broken, _ = judge(run_trace(CONTROLS[name].make(), OTHERS[name]))
    found = sorted(each.invariant.id for each in broken)
    assert found == MATRIX[name]["killed"]["scenarios"]["broken"]
    assert CONTROLS[name].breaks in found


def test_the_reference_holds_where_the_others_break(reference: InProcessTarget) -> None:
    """On none of those traces the reference breaks anything, although each fault was there before."""
    for name in sorted(set(OTHERS)):
        assert judge(run_trace(reference, OTHERS[name]))[0] == []


@pytest.mark.parametrize("entry", TRACED, ids=TRACES.keys())
def test_the_control_is_caught_by_its_invariant(entry: Control) -> None:
    """ "Each must turn the gate red by the invariant that names its fault"."""
    broken, _ = judge(run_trace(entry.make(), TRACES[entry.name], closing=False))
    assert entry.breaks in {found.invariant.id for found in broken}


@pytest.mark.parametrize("entry", TRACED, ids=TRACES.keys())
def test_the_reference_holds_where_the_control_breaks(entry: Control, reference: InProcessTarget) -> None:
    """On the same trace the reference breaks nothing, and reaches the invariant that the control breaks."""
    for closing in (False, True):
        broken, checked = judge(run_trace(reference, TRACES[entry.name], closing=closing))
        assert [found.violation.what for found in broken] == []
    assert checked[entry.breaks]


@pytest.mark.parametrize("entry", TRACED, ids=TRACES.keys())
def test_the_control_leaves_the_reference_alone(entry: Control, reference: InProcessTarget) -> None:
    """What a control changes in the library is put back: the reference still refuses afterwards what it must."""
    run_trace(entry.make(), TRACES[entry.name])
    broken, _ = judge(run_trace(reference, TRACES[entry.name]))
    assert broken == []


@pytest.mark.parametrize("entry", CONTROLS.values(), ids=CONTROLS.keys())
def test_a_control_says_what_it_is(entry: Control) -> None:
    """A control names its fault in one sentence, an invariant that is judged, and itself as the target."""
    assert entry.what.endswith(".")
    assert REGISTRY[entry.breaks].predicate is not None
    assert entry.make().hello.name == f"control:{entry.name}"


def test_a_control_without_a_fault_is_the_reference(reference: InProcessTarget) -> None:
    """The wrappers of the controls pass everything on: with nothing broken, the histories are the reference's."""

    class Passing(Variant):
        name = "passing"

        def store(self, durable: Store) -> Store:
            return PassingStore(durable, PassingTransaction)

    for trace in TRACES.values():
        expected = run_trace(reference, trace).events
        for variant in (WrappedVariant(), Passing()):
            assert run_trace(InProcessTarget(variant), trace).events == expected


ALSO = {
    # Two messages have one counter, whoever sent them.
    "conflict-overwritten": {"CTR-01"},
    # A message that the store failed to be read is refused too.
    "rollback-forgotten": {"CTR-05"},
    # More chains than may be there, and more than the protocol keeps.
    "chains-kept": {"BND-02", "CNF-02"},
    # One more key, and one more prekey, than the protocol keeps.
    "message-key-kept": {"CNF-02"},
    "prekey-kept": {"CNF-02"},
    # The exception is one that no refusal is.
    "callback-unguarded": {"PAR-01"},
    # The state that was not durable becomes so in the next operation, which here is refused. Until then nothing is kept.
    "committed-late": {"CNF-02", "CTR-05"},
    # The plaintext comes from memory: nothing is stored when it is handed out once more.
    "duplicate-accepted": {"ATM-02"},
    # What a crash left is neither the state before nor the one after: the plaintext is not there.
    "plaintext-stored-afterwards": {"ATM-01"},
    # The message that pinned its sender was refused.
    "pinned-before-authenticated": {"CTR-05"},
}
"""What else a control breaks on its trace, and why that is right."""


@pytest.mark.parametrize("entry", TRACED, ids=TRACES.keys())
def test_nothing_else_is_blamed(entry: Control) -> None:
    """A fault is named by its own invariant: another one speaks up only where it is broken as well."""
    broken, _ = judge(run_trace(entry.make(), TRACES[entry.name], closing=False))
    assert {found.invariant.id for found in broken} == {entry.breaks} | ALSO.get(entry.name, set())


# -- traces that nobody chose -----------------------------------------------------------------------------------------

WALKS = 300
"""As many random walks as `pawl verify --budget smoke` runs."""


@pytest.mark.parametrize("entry", TRACED, ids=TRACES.keys())
def test_the_control_is_caught_on_walks(entry: Control, reference: InProcessTarget) -> None:
    """The invariant that names the fault is violated within the smoke budget, on a trace on which Pawl keeps it."""
    caught = first_caught(entry)
    assert caught is not None, f"{entry.breaks} does not see that: {entry.what}"
    broken, _ = judge(run_trace(reference, caught))
    assert not broken


def first_caught(entry: Control) -> Trace | None:
    """The first walk on which the control breaks the invariant that names it."""
    target = entry.make()
    for trace in islice(walk.traces(0), WALKS):
        broken, _ = judge(run_trace(target, trace))
        if entry.breaks in {found.invariant.id for found in broken}:
            return trace
    return None


def test_there_are_enough() -> None:
    """The six faults that every gate must see are among them."""
    named = {entry.breaks for entry in CONTROLS.values()}
    assert {"KEY-01", "AUT-01", "IDC-03", "CTR-05", "CTR-03", "IDC-01"} <= named
