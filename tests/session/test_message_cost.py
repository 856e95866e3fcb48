"""BND-03: "The counted work per message does not grow with the age of the session or the number of kept keys".

Counted are rows read and written, bytes written and derivations. Not covered: time; `make bench` measures that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from pawl.crypto import kdf
from pawl.storage import memory
from pawl.wire import records
from tests.devices import talking

pytestmark = pytest.mark.many_steps

BYTES_FOR_COUNTERS = 32
"""Bytes by which records may differ: longer counters have longer varints."""


def work(monkeypatch: pytest.MonkeyPatch, step: Callable[[], object]) -> Counter[str]:
    """What `step` causes, by kind."""
    done: Counter[str] = Counter()

    def count(owner: Any, name: str) -> None:
        whole = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            done[name] += 1
            if name == "put":
                done["bytes"] += len(args[3])
            result = whole(*args, **kwargs)
            if name == "scan":
                done["scanned"] += len(result)
            return result

        patch.setattr(owner, name, counted)

    with monkeypatch.context() as patch:
        for name in ("get", "put", "delete", "scan", "count"):
            count(memory.MemoryTransaction, name)
        for name in ("step_chain", "message_keys", "root_step"):
            count(kdf, name)
        step()
    return done


def test_a_message_costs_the_same_at_any_age(monkeypatch: pytest.MonkeyPatch) -> None:
    """BND-03: the 1st, the 300th and the 3,000th message of a chain, sent and received."""
    alice, bob = talking()
    costs = []
    for age in range(3_000):
        message = alice.send(bob)
        if age in (1, 300, 2_999):
            sent = work(monkeypatch, lambda: alice.send(bob))
            received = work(monkeypatch, lambda late=message: bob.take(alice, late))  # type: ignore[misc]
            # The one that was counted while sending is never delivered; the next skips it once.
            costs.append((sent, received))
            bob.take(alice, alice.send(bob))
        else:
            bob.take(alice, message)
    for first, later in zip(costs[0], costs[-1], strict=True):
        assert abs(first.pop("bytes") - later.pop("bytes")) <= BYTES_FOR_COUNTERS
        assert first == later


@pytest.mark.parametrize("skipped", [10, 1_990])
def test_a_message_costs_the_same_with_any_number_of_kept_keys(monkeypatch: pytest.MonkeyPatch, skipped: int) -> None:
    """BND-03: one in order and one from a kept key, with 10 and with 1,990 kept keys: the very same numbers."""
    alice, bob = talking()
    late = [alice.send(bob) for _ in range(skipped)]
    bob.take(alice, alice.send(bob))
    assert len(bob.kept()) == skipped
    following = alice.send(bob)
    in_order = work(monkeypatch, lambda: bob.take(alice, following))
    from_kept = work(monkeypatch, lambda: bob.take(alice, late[skipped // 2]))
    for done in (in_order, from_kept):
        assert done.pop("bytes", 0) < 600
    assert in_order == {"get": 3, "put": 1, "step_chain": 1, "message_keys": 1}
    assert from_kept == {"get": 4, "delete": 1, "message_keys": 1}


def test_equal_numbers_of_another_type_are_no_session() -> None:
    """PAR-05: what is remembered of a record's beginning is not taken for a value that only compares equal."""
    alice, bob = talking()
    session = alice.session(bob)._replace(local_registration_id=1)
    records.encode_session(session)
    with pytest.raises(records.InvalidArgument):
        records.encode_session(session._replace(local_registration_id=True))
