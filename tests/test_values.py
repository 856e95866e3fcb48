"""What the hot path makes without a constructor is what the constructor makes."""

from __future__ import annotations

from typing import Any

import pytest

from pawl import Device, MemoryStore, ProtocolAddress
from pawl.session import cipher, double_ratchet
from pawl.storage import memory
from pawl.values import made
from pawl.wire import messages

ALICE, BOB = ProtocolAddress("alice", 1), ProtocolAddress("bob", 1)


def test_values_are_made_with_all_of_their_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    """No value of a message lacks a field: the type checker sees to their number and types, but lets those with a default
    be left out.
    """
    kinds = set()

    def checked(kind: Any, fields: tuple[Any, ...]) -> Any:
        value = made(kind, fields)
        assert len(fields) == len(kind._fields)
        assert type(value) is kind
        assert value == kind(*fields)
        kinds.add(kind.__name__)
        return value

    for module in (messages, double_ratchet, cipher, memory):
        monkeypatch.setattr(module, "made", checked)
    alice, bob = Device(MemoryStore()), Device(MemoryStore())
    alice.establish(BOB, bob.prekey_bundle())
    for _ in range(2):
        first, second, third = (alice.encrypt(BOB, text) for text in (b"a" * 30, b"b" * 30, b"c" * 30))
        # With a step of the ratchet, in order, and with a kept key.
        assert [bob.decrypt(ALICE, each) for each in (first, third, second)] == [b"a" * 30, b"c" * 30, b"b" * 30]
        assert alice.decrypt(BOB, bob.encrypt(ALICE, b"d" * 30)) == b"d" * 30
        assert alice.decrypt(BOB, bob.encrypt(ALICE, b"e" * 30)) == b"e" * 30
    assert kinds == {"SignalMessage", "Derived", "Opened", "ReceivingChain", "Session", "Advanced", "Row"}
