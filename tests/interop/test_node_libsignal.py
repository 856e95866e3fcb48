"""Live traffic with npm libsignal 6.0.0, in both roles, as traces within the interop profile.

The profile: what both sides promise. One session a pair, jumps within node's limit, no re-keying in flight.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from pawl_gate.targets.base import HarnessBroken
from pawl_gate.targets.inprocess import InProcessTarget
from pawl_gate.targets.mixed import MixedTarget
from pawl_gate.targets.registry import TargetMissing, find_target
from tests.interop.interleavings import BATCHES, hold

pytestmark = pytest.mark.node_peer


@pytest.fixture(scope="module")
def mixed() -> Iterator[MixedTarget]:
    try:
        node = find_target("node-libsignal")
    except TargetMissing as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the real peer is not installed: {missing}")
    target = MixedTarget([InProcessTarget(), node, node])
    yield target
    target.close()


@pytest.mark.parametrize("start", BATCHES)
def test_random_interleavings(mixed: MixedTarget, start: int) -> None:
    """Every message that the network delivers is read once by the other implementation, in whatever order; a repeat is
    refused; the headers on the wire are what the protocol prescribes."""
    hold(mixed, start, by=("CTR-04", "CNF-01"))


def test_a_missing_peer_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the peer there is no target, so that nothing can be taken for tested."""
    monkeypatch.setenv("PAWL_NODE", "no-such-program")
    with pytest.raises(HarnessBroken):
        find_target("node-libsignal").world(0)
