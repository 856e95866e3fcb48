"""Messages of workers that a fuzzer found to be read too leniently (PAR-05)."""

from __future__ import annotations

import pytest

from pawl.workers import messages

MAP, EXTENSION = b"\x80", b"\xc7\x00\x05"


@pytest.mark.parametrize("body", [MAP, b"\x91" + MAP, EXTENSION, b"\x92\x01" + EXTENSION])
def test_an_empty_map_or_extension_is_refused(body: bytes) -> None:
    """ "No maps and no extensions": a length limit of 0 lets the empty ones through. Found by fuzz/worker_message.py."""
    with pytest.raises(messages.BadAnswer):
        messages.unpack(body)


@pytest.mark.parametrize("size", [0, 15])
def test_a_short_group_id_is_refused(size: int) -> None:
    """An id of less than 16 bytes was filled up with zeros, and was another group's."""
    with pytest.raises(messages.BadAnswer):
        messages.read_event(("sender-key-accepted", ("alice", 1), bytes(size)))
    assert messages.read_event(("sender-key-accepted", ("alice", 1), bytes(16))).name == "sender-key-accepted"


def test_members_of_another_refusal_are_refused() -> None:
    """What was not looked at was dropped."""
    with pytest.raises(messages.BadAnswer):
        messages.read_refusal(("no-session", "none", (), (("alice", 1),)))
    assert messages.read_refusal(("no-session", "none", (), ())).code == "no-session"
