"""The edges of the claims: what the residual risks of the threat model look like, and where Pawl's part in them ends.

Each test is named by a line of `spec/pawl_spec/threat_model.py`. None of them says that the risk is gone.
"""

from __future__ import annotations

import pytest

from pawl import Device, IdentityPolicy, MemoryStore, ProtocolError
from pawl.errors import InvalidArgument
from pawl.workers import WorkerPool, WorkerSettings
from pawl_gate.controls import CONTROLS
from pawl_gate.controls.atomicity import PiecemealStore
from pawl_gate.runner import run_trace
from pawl_spec.judge import judge
from pawl_spec.trace import Kind, Trace, op
from tests.devices import ALICE, Party, party_pair, talk, talking


def test_a_first_use_that_nobody_verifies_is_believed() -> None:
    """identity-residual: the default believes whoever comes first; a comparison shows it, a strict policy refuses."""
    alice, bob = party_pair()
    as_alice, as_bob = party_pair(seed="in the middle")
    for one, other in ((alice, as_bob), (bob, as_alice)):
        one.meet(other)
        talk(one, other)
    # They compare what each has pinned.
    of_alice = alice.device.safety_number("bob", local_identifier=b"alice", remote_identifier=b"bob")
    of_bob = bob.device.safety_number("alice", local_identifier=b"bob", remote_identifier=b"alice")
    assert str(of_alice) != str(of_bob)
    strict = Party(ALICE, IdentityPolicy(trust_on_first_use=False), seed="strict")
    with strict.refuses("untrusted-identity"):
        strict.meet(as_bob)


def test_an_application_that_drops_refusals_is_given_nothing() -> None:
    """replay-residual: whoever swallows a refusal has no plaintext of it, and the state is as before; what it then shows
    is its own.
    """
    alice, bob = talking()
    message = alice.send(bob, b"once")
    assert bob.take(alice, message) == b"once"
    before, shown = bob.store.snapshot(), []
    for _ in range(3):
        try:
            shown.append(bob.take(alice, message))
        except ProtocolError:
            continue
    assert shown == []
    assert bob.store.snapshot() == before
    assert bob.take(alice, alice.send(bob, b"next")) == b"next"


def test_a_store_that_is_not_atomic_is_taken() -> None:
    """desync-residual: no device can tell that transactions are such in name only; a crash in the gate can (ATM-01)."""
    Device(PiecemealStore(MemoryStore()))
    meet, send = op(Kind.ESTABLISH, actor=0, peer=1, one_time=1), op(Kind.SEND, actor=0, peer=1)
    found = set()
    for at in range(1, 16):
        trace = Trace((meet, send, op(Kind.CRASH, actor=1, at=at), op(Kind.DELIVER)))
        broken, _ = judge(run_trace(CONTROLS["half-written"].make(), trace))
        found |= {one.invariant.id for one in broken}
    assert "ATM-01" in found


def test_limits_that_no_machine_bears_are_kept_to() -> None:
    """worker-residual: limits set too high are taken as they are, up to the largest that is no mere slip; nothing here
    knows the machine (WRK-01).
    """
    given = WorkerSettings(max_pending=1_000_000, max_queued=1_000_000, max_bytes=2**40)
    assert WorkerPool(given).settings is given
    for slip in ({"max_pending": 1_000_001}, {"max_queued": 0}, {"max_bytes": 2**40 + 1}, {"workers": 257}):
        with pytest.raises(InvalidArgument):
            WorkerSettings(**slip)
