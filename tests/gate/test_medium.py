"""A trial on a medium proves something only where the change was met: by a get, or by a scan."""

from __future__ import annotations

import pytest

from pawl.storage import MemoryStore, Row, Store, Table
from pawl_gate.targets.medium import attempt
from pawl_spec.history import Medium, Outcome


def trial(table: Table, call: str) -> Medium:
    """One look at a store whose records of kept keys each have a flipped bit."""
    whole = MemoryStore(rows={Table.SKIPPED_KEY: {b"a": Row(b"seed", 1)}, Table.PREKEY: {b"a": Row(b"key", 1)}})

    def look(store: Store) -> None:
        with store.transaction() as tx:
            tx.get(table, b"a") if call == "get" else tx.scan(table, b"a")

    found = attempt(whole, Table.SKIPPED_KEY, "flip-bit", reopen=lambda opened: opened(), call=look, told=lambda: ())
    assert found is not None
    return found[0]


@pytest.mark.parametrize("call", ["get", "scan"])
def test_what_was_read_is_known(call: str) -> None:
    met = trial(Table.SKIPPED_KEY, call)
    assert (met.read, met.outcome, met.code) == (True, Outcome.REFUSED, "corrupt-record")
    other = trial(Table.PREKEY, call)
    assert (other.read, other.outcome) == (False, Outcome.DONE)
