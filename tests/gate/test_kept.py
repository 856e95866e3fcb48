"""The same traces over every store: what a party does does not depend on where its rows are kept."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from pawl.storage.contract import Row, Table
from pawl_gate.runner import run_trace
from pawl_gate.targets.base import WireMessage
from pawl_gate.targets.inprocess import InProcessTarget, InProcessWorld
from pawl_gate.targets.kept import KEEPERS, Kept, KeptInFolder, in_json, in_sqlite
from pawl_gate.targets.observed import ObservedStore
from pawl_gate.targets.registry import find_target
from pawl_gate.trials.crash_points import directed_traces
from pawl_spec.history import Outcome
from pawl_spec.judge import judge
from pawl_spec.trace import PARTIES, Kind, Trace, op
from tests.trials.servers import marked, need

ALICE, BOB, CAROL = range(len(PARTIES))
REAL = [marked(name, name) for name in sorted(set(KEEPERS) - {"memory"})]
SLOW = {"postgres": 5}
"""Stores that take so long that one trace in so many must do."""
PARTS = 3
SHARED_MEMORY = Path("/dev/shm")
TALKED = (
    op(Kind.ESTABLISH, actor=ALICE, peer=BOB, one_time=1),
    op(Kind.SEND, actor=ALICE, peer=BOB),
    op(Kind.DELIVER),
    op(Kind.SEND, actor=BOB, peer=ALICE),
    op(Kind.DELIVER),
)


@pytest.mark.parametrize("store", REAL)
@pytest.mark.parametrize("part", range(PARTS))
def test_every_directed_trace_goes_the_same_way_over_every_store(
    store: str, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ "The campaigns and the traces pass for all stores": event by event as over memory, crashes and reopening too."""
    # Real files, but no disk to wait for: none loses its power here.
    if os.access(SHARED_MEMORY, os.W_OK):
        monkeypatch.setattr(tempfile, "tempdir", str(SHARED_MEMORY))
    need(store)
    memory, real = find_target("pawl"), find_target(f"pawl-{store}")
    count = 0
    every = SLOW.get(store, 1)
    for label, trace in islice(directed_traces(), part, None, PARTS * every):
        expected, seen = run_trace(memory, trace), run_trace(real, trace)
        for one, other in zip(expected.events, seen.events, strict=True):
            assert one == other, label
        broken, _ = judge(seen)
        assert not broken, label
        count += 1
    assert count > 100 // every


# -- what makes the comparison mean something --------------------------------------------------------------------------


def talking(keep: Callable[[], Kept]) -> InProcessWorld:
    """Alice is about to write to Bob."""
    world = InProcessTarget(keep=keep).world(1)
    for party in (ALICE, BOB):
        world.create(party, name=PARTIES[party], device_id=1, trust_on_first_use=True)
    world.establish(ALICE, BOB, world.bundle(BOB, one_time=True))
    return world


def test_a_process_that_fell_leaves_what_was_in_the_files() -> None:
    """What it wrote after the crash, as it was unwound or later, is not there for the next one."""
    kept = in_sqlite()
    try:
        with kept.transaction() as tx:
            tx.put(Table.LOCAL, b"a", b"1", version=0)
        with kept.transaction() as tx:
            tx.put(Table.LOCAL, b"b", b"2", version=0)
            kept.fall()
        assert dict(kept.snapshot()[Table.LOCAL]) == {b"a": Row(b"1", 1), b"b": Row(b"2", 1)}
        kept.reopen()
        assert dict(kept.snapshot()[Table.LOCAL]) == {b"a": Row(b"1", 1)}
    finally:
        kept.close()


@pytest.mark.parametrize("keep", [in_sqlite, in_json])
def test_a_fork_goes_its_own_way(keep: Callable[[], KeptInFolder]) -> None:
    """Two folders from then on."""
    kept = keep()
    with kept.transaction() as tx:
        tx.put(Table.LOCAL, b"a", b"1", version=0)
    other = kept.fork()
    with other.transaction() as tx:
        tx.put(Table.LOCAL, b"a", b"2", version=1)
    assert kept.snapshot()[Table.LOCAL][b"a"] == Row(b"1", 1)
    assert other.snapshot()[Table.LOCAL][b"a"] == Row(b"2", 2)
    for each in (kept, other):
        each.close()
        assert not each.folder.exists()


def test_nothing_is_left_of_a_forgotten_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The explorer forks thousands of worlds and closes none of them."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    kept = in_json()
    assert list(tmp_path.iterdir())
    del kept
    gc.collect()
    assert not list(tmp_path.iterdir())


class Loses(KeptInFolder):
    """Takes a commit for done that is not: what it acknowledged is gone when it is read again."""

    lose = False

    def snapshot(self) -> dict[Table, dict[bytes, Row]]:
        """Without the rows of sessions."""
        rows = dict(super().snapshot())
        return {table: {} if self.lose and table is Table.SESSION else dict(shelf) for table, shelf in rows.items()}


def test_what_is_observed_is_what_the_store_holds() -> None:
    """Not what it was told to write: a store that lies is seen."""
    kept = Loses(in_sqlite()._make)
    store = ObservedStore(kept)
    with store.transaction() as tx:
        tx.put(Table.SEEN_BASE_KEY, b"a", b"1", version=0)
    store.look_again()
    whole = store.digest()
    with store.transaction() as tx:
        tx.put(Table.SEEN_BASE_KEY, b"b", b"2", version=0)
    assert store.digest() != whole
    kept.snapshot = lambda: {table: {} for table in Table}  # type: ignore[method-assign]
    store.look_again()
    assert store.digest() == ObservedStore(in_sqlite()).digest()


def test_a_forked_world_judges_its_own_callbacks() -> None:
    """A callback's change is seen in the copy's state, not in that of the world it was copied from."""
    world = talking(KEEPERS["memory"])
    twin = world.fork()
    one = twin._parties[ALICE]
    assert one.application.digest() == one.store.digest()
    message = twin.encrypt(ALICE, BOB, b"only here")
    assert one.application.digest() == one.store.digest() != world._parties[ALICE].store.digest()
    assert isinstance(message, WireMessage)


@pytest.mark.parametrize("store", REAL)
def test_a_crash_is_survived_by_what_is_in_the_files(store: str) -> None:
    """A crash before the commit leaves the state before, one after it the state after; the trace goes on either way."""
    need(store)
    for at, changed in ((14, False), (15, True)):
        trace = Trace((*TALKED, op(Kind.CRASH, actor=ALICE, at=at), op(Kind.SEND, actor=ALICE, peer=BOB)))
        history = run_trace(InProcessTarget(keep=KEEPERS[store]), trace)
        event = history.events[6]
        assert (event.outcome, event.changed) == (Outcome.CRASHED, changed)
        assert judge(history)[0] == []
