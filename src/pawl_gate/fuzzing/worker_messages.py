"""The entry point of what workers answer: frames, and the values in them that a parent reads.

A worker reads what attackers wrote, and may be taken over: nothing that it sends is trusted. What is read is shown
again, and must come to the value that was read: one thing has one spelling.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

from pawl import errors, events
from pawl.address import ProtocolAddress
from pawl.crypto.keys import PublicKey
from pawl.workers import messages
from pawl_gate.fuzzing import plain
from pawl_gate.fuzzing.broken import Broken
from pawl_gate.fuzzing.entries import Prepared
from pawl_gate.fuzzing.fields import Dice
from pawl_gate.fuzzing.plain import Plain

PEER: Final = ProtocolAddress("alice", 1)
KEY: Final = PublicKey((9).to_bytes(32, "little"))
PLAIN: Final = (type(None), bool, int, float, str, bytes)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


READERS: Final[tuple[tuple[str, Callable[[object], Any], Callable[[Any], object]], ...]] = (
    ("event", messages.read_event, messages.show_event),
    ("refusal", messages.read_refusal, messages.show_refusal),
    ("query", messages.read_query, tuple),
    ("write", messages.read_write, tuple),
    ("address", messages.read_address, lambda peer: (peer.name, peer.device_id)),
    ("key", messages.read_key, lambda key: key.serialize()),
)
"""Positions are part of the byte form: only append."""


def _is_plain(value: object) -> bool:
    return all(map(_is_plain, value)) if type(value) is tuple else type(value) in PLAIN


def _hold(data: bytes) -> str:
    """The first byte says how the body of a frame, the rest, is read; the second bit has it come in two parts."""
    kind, body = data[0] if data else 0, data[1:]
    name, read, show = READERS[(kind >> 1) % len(READERS)]
    try:
        if kind & 1:
            frames = messages.Frames(4096)
            half = len(body) // 2
            whole = [*frames.feed(body[:half]), *frames.feed(body[half:])]
            if (
                b"".join(len(each).to_bytes(4, "big") + each for each in whole)
                != body[: sum(map(len, whole)) + 4 * len(whole)]
            ):
                raise Broken("PAR-05", "frames are not what was sent")
            return f"{len(whole)} frames"
        value = messages.unpack(body)
        if not _is_plain(value):
            raise Broken("PAR-05", "what a frame holds is no plain value")
        made = read(value)
    except messages.BadAnswer as refusal:
        return f"{name}: {refusal}"
    except Broken:
        raise
    except Exception as error:
        raise Broken("PAR-01", f"{name}: {type(error).__name__}: {error}") from error
    if _tuples(show(made)) != value:
        raise Broken("PAR-05", f"{name}: it is read as something else than what was sent")
    return f"{name}: read {type(made).__name__}"


def _body(value: object) -> bytes:
    return messages.pack(value)[messages.LENGTH_BYTES :]


def _seeds() -> list[bytes]:
    group = UUID(bytes=bytes(range(16)))
    told: tuple[events.Event, ...] = (
        events.IdentityPinned("alice", KEY, "first-use"),
        events.SessionEstablished(PEER, "responder", True),
        events.SenderKeyAccepted(PEER, group),
        events.KeysDropped(PEER, 3),
    )
    refused = (errors.BadMac("no"), errors.MembersWithoutSession("some", (PEER,)), errors.NoSession("none"))
    frame = messages.pack([1, [[0, messages.SKIPPED]]])
    return [
        *(b"\x00" + _body(messages.show_event(each)) for each in told),
        *(b"\x02" + _body(messages.show_refusal(each)) for each in refused),
        b"\x04" + _body([1, b"key", -1]),
        b"\x06" + _body([1, b"key", 0, b"value"]),
        b"\x06" + _body([1, b"key", 5, None]),
        b"\x08" + _body(["alice", 1]),
        b"\x0a" + _body(KEY.serialize()),
        b"\x01" + frame + frame,
    ]


def _value_mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """One value in a body changed."""
    try:
        value = messages.unpack(data[1:])
        return (data[:1] + _body(_changed(value, Dice(seed))))[:max_size]
    except (messages.BadAnswer, errors.InvalidArgument, ValueError, OverflowError):
        return data[:max_size]


def _changed(value: Any, dice: Dice) -> Any:
    if type(value) is tuple and value and dice.below(8):
        at = dice.below(len(value))
        return (*value[:at], _changed(value[at], dice), *value[at + 1 :])
    match dice.below(8):
        case 0 if type(value) in (bytes, str, tuple):
            return value[: dice.below(len(value) + 1)]
        case 1 if type(value) in (bytes, str, tuple):
            return value + value[:1]
        case 2 if type(value) is int:
            return value + dice.below(5) - 2
        case 3 if type(value) is bytes:
            return plain.edit(value, dice)
    several = (None, True, False, 0, 1, -1, -2, 128, 2**31, 2**63 - 1, 1.5, "", "alice", b"", bytes(16), (), ((),))
    return several[dice.below(len(several))]


def worker_message() -> Prepared:
    """What workers answer."""
    mutate = plain.mixed(_value_mutate, _value_mutate, plain.mutate)
    return Plain(_hold, frozenset({"PAR-01", "PAR-05", "WRK-03"}), _seeds(), mutate).prepared()


__all__ = ["worker_message"]
