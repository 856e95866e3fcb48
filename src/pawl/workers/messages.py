"""What parent and worker send each other: frames of MessagePack, plain values only, checked strictly.

    frame     length (4 bytes, big-endian), one MessagePack array
    hello     [VERSION]                                                                 worker to parent, once
    batch     [number, config, identity or nil, rows, spans, counts, jobs]              parent to worker
    answer    [number, [[job, kind, ...], ...]]                                         worker to parent, one per batch

It is not pickle: a worker reads what attackers wrote, and were it ever taken over, anything might come from it. Reading
a frame runs no code, and nothing in it is used before its types, its lengths and its place are checked (PAR-05).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any, Final
from uuid import UUID

import msgpack

from pawl import errors, events
from pawl.address import ProtocolAddress
from pawl.crypto.keys import PublicKey
from pawl.errors import InvalidArgument, InvalidKey, MembersWithoutSession, ProtocolError
from pawl.events import Event
from pawl.limits import MAX_GROUP_MEMBERS, MAX_RECORD_BYTES
from pawl.storage.rows import MAX_KEY_BYTES, MAX_VERSION
from pawl.workers.view import ALL, COUNT, GET, TABLES, Query, Write

VERSION: Final = 1
"""Counts up when a message changes. Both sides are the same release; this notices where they are not."""

LENGTH_BYTES: Final = 4

MAX_FRAME_BYTES: Final = 1024 * 1024 * 1024
"""Bytes of one frame. The largest job is a batch of 1,000 plaintexts of 256 KiB; a pool's own limits are far below."""

MAX_TEXT: Final = 4096
"""Characters of a text in an answer."""

DONE: Final = 0
"""[job, DONE, result, asked, writes, events]"""
REFUSED: Final = 1
"""[job, REFUSED, [code, text, notes, members], asked, writes, events]"""
NEEDS: Final = 2
"""[job, NEEDS, query]: it has to be run again, with what it asked for; [job, NEEDS, nil]: with the identity."""
UNDECIDED: Final = 3
"""[job, UNDECIDED, pinned or nil, asked]: the policy is to be asked."""
WRAP: Final = 4
"""[job, WRAP, distribution, drawn]: to be put into its envelope, and run again with the same randomness."""
SKIPPED: Final = 5
"""[job, SKIPPED]: one before it, of the same lane, is to be run again first."""
BUG: Final = 6
"""[job, BUG, name of the exception's class]"""


class BadAnswer(Exception):
    """What came from a worker is not what a worker sends."""


def pack(value: object) -> bytes:
    """One frame."""
    body: bytes = msgpack.packb(value, use_bin_type=True)
    if len(body) > MAX_FRAME_BYTES:
        raise InvalidArgument("what a worker would have to be sent is too large")
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def _none_of(*_: object) -> None:
    raise ValueError("a map or an extension")


def unpack(body: bytes) -> Any:
    """The value of a frame's body: None, bool, int, float, str, bytes and tuples of them. Raises: BadAnswer."""
    try:
        # No maps and no extensions: nothing here has any. Empty ones are within a limit of 0, so they are refused too.
        return msgpack.unpackb(
            body, raw=False, use_list=False, max_map_len=0, max_ext_len=0, object_pairs_hook=_none_of, ext_hook=_none_of
        )
    except Exception as error:
        raise BadAnswer(f"a frame that cannot be read: {type(error).__name__}") from None


class Frames:
    """Bytes in, the bodies of frames out."""

    __slots__ = ("_buffer", "_most")

    def __init__(self, most: int = MAX_FRAME_BYTES) -> None:
        self._buffer = bytearray()
        self._most = most

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The frames that are whole by now. Raises: BadAnswer."""
        buffer = self._buffer
        buffer += data
        while len(buffer) >= LENGTH_BYTES:
            length = int.from_bytes(buffer[:LENGTH_BYTES], "big")
            if length > self._most:
                raise BadAnswer("a frame is longer than any answer")
            if len(buffer) < LENGTH_BYTES + length:
                return
            body = bytes(memoryview(buffer)[LENGTH_BYTES : LENGTH_BYTES + length])
            del buffer[: LENGTH_BYTES + length]
            yield body


# -- checks -----------------------------------------------------------------------------------------------------------


def is_bytes(value: object, most: int) -> bytes:
    """Raises: BadAnswer."""
    if type(value) is not bytes or len(value) > most:
        raise BadAnswer("bytes were expected")
    return value


def is_int(value: object, least: int, most: int) -> int:
    """Raises: BadAnswer."""
    if type(value) is not int or not least <= value <= most:
        raise BadAnswer("a number was expected")
    return value


def is_text(value: object) -> str:
    """Raises: BadAnswer."""
    if type(value) is not str or len(value) > MAX_TEXT:
        raise BadAnswer("a text was expected")
    return value


def is_tuple(value: object, length: int | None = None) -> tuple[Any, ...]:
    """Raises: BadAnswer."""
    if type(value) is not tuple or (length is not None and len(value) != length):
        raise BadAnswer("an array was expected")
    return value


def read_query(value: object) -> Query:
    """Raises: BadAnswer."""
    table, key, limit = is_tuple(value, 3)
    if limit not in (GET, COUNT, ALL):
        is_int(limit, 0, 2**31)
    return Query(is_int(table, 0, len(TABLES) - 1), is_bytes(key, MAX_KEY_BYTES), is_int(limit, ALL, 2**31))


def read_write(value: object) -> Write:
    """Raises: BadAnswer."""
    table, key, version, written = is_tuple(value, 4)
    if written is not None:
        is_bytes(written, MAX_RECORD_BYTES)
    return Write(
        is_int(table, 0, len(TABLES) - 1), is_bytes(key, MAX_KEY_BYTES), is_int(version, 0, MAX_VERSION - 1), written
    )


# -- refusals ---------------------------------------------------------------------------------------------------------


def _classes(root: type[ProtocolError]) -> Iterator[type[ProtocolError]]:
    yield root
    for each in root.__subclasses__():
        # Subclasses elsewhere share their parent's code, and are told as it.
        if each.__module__ == errors.__name__:
            yield from _classes(each)


_REFUSALS: Final = {each.code: each for each in _classes(ProtocolError)}


def show_refusal(refusal: ProtocolError) -> list[object]:
    """As it is sent."""
    members = refusal.members if isinstance(refusal, MembersWithoutSession) else ()
    return [
        refusal.code,
        str(refusal)[:MAX_TEXT],
        list(getattr(refusal, "__notes__", ())),
        [[each.name, each.device_id] for each in members],
    ]


def read_refusal(value: object) -> ProtocolError:
    """The refusal, as it was raised. Raises: BadAnswer."""
    code, text, notes, members = is_tuple(value, 4)
    kind = _REFUSALS.get(is_text(code))
    # What only the parent can find is not for a worker to say.
    if kind is None or issubclass(kind, errors.WorkerError):
        raise BadAnswer("a refusal that no step raises")
    if len(is_tuple(notes)) > 1 or len(is_tuple(members)) > MAX_GROUP_MEMBERS:
        raise BadAnswer("a refusal that no step raises")
    # Only that one names members.
    if members and kind is not MembersWithoutSession:
        raise BadAnswer("a refusal that no step raises")
    refusal = (
        MembersWithoutSession(is_text(text), tuple(read_address(each) for each in members))
        if kind is MembersWithoutSession
        else kind(is_text(text))
    )
    for note in notes:
        refusal.add_note(is_text(note))
    return refusal


def read_address(value: object) -> ProtocolAddress:
    """Raises: BadAnswer."""
    try:
        return ProtocolAddress(*is_tuple(value, 2))
    except InvalidArgument:
        raise BadAnswer("an address was expected") from None


def read_key(value: object) -> PublicKey:
    """Raises: BadAnswer."""
    try:
        return PublicKey.deserialize(is_bytes(value, 33))
    except InvalidKey:
        raise BadAnswer("a public key was expected") from None


# -- events -----------------------------------------------------------------------------------------------------------


def _show(value: object) -> object:
    if type(value) is PublicKey:
        return value.serialize()
    if type(value) is ProtocolAddress:
        return [value.name, value.device_id]
    if type(value) is UUID:
        return value.bytes
    return value


def _plain(kind: type) -> Callable[[object], object]:
    def read(value: object) -> object:
        if type(value) is not kind:
            raise BadAnswer("a field of an event has another type")
        return is_text(value) if kind is str else value

    return read


def _read_uuid(value: object) -> UUID:
    if len(is_bytes(value, 16)) != 16:
        raise BadAnswer("a UUID was expected")
    return UUID(bytes=is_bytes(value, 16))


def _or_none(read: Callable[[object], object]) -> Callable[[object], object]:
    return lambda value: None if value is None else read(value)


_READERS: Final[dict[str, Callable[[object], object]]] = {
    "int": _plain(int),
    "str": _plain(str),
    "bool": _plain(bool),
    "int | None": _or_none(_plain(int)),
    "PublicKey": read_key,
    "PublicKey | None": _or_none(read_key),
    "ProtocolAddress": read_address,
    "UUID": _read_uuid,
}

STEP_EVENTS: Final[tuple[type[Event], ...]] = (
    events.IdentityPinned,
    events.IdentityReplaced,
    events.IdentityRejected,
    events.SessionEstablished,
    events.SessionArchived,
    events.SessionPromoted,
    events.SessionDropped,
    events.RatchetStepped,
    events.MessagesRolledBack,
    events.KeysDropped,
    events.MessageRefused,
    events.SenderKeyRotated,
    events.SenderKeyGiven,
    events.SenderKeyAccepted,
    events.SenderKeyRepeated,
    events.SenderKeyReplaced,
    events.SenderKeysRetired,
    events.DistributionRefused,
    events.GroupMessageRefused,
    events.GroupKeysDropped,
    events.PreKeySpent,
    events.PreKeysLow,
    events.CompatibilityUsed,
)
"""What a step in a worker may have to tell."""

_EVENTS: Final[dict[str, tuple[Callable[..., Event], tuple[Callable[[object], object], ...]]]] = {
    kind.name: (kind, tuple(_READERS[str(field.type)] for field in fields(kind))) for kind in STEP_EVENTS
}


def show_event(event: Event) -> list[object]:
    """As it is sent."""
    return [event.name, *(_show(getattr(event, field.name)) for field in fields(event))]


def read_event(value: object) -> Event:
    """Raises: BadAnswer."""
    name, *given = is_tuple(value) or (None,)
    if type(name) is not str or name not in _EVENTS:
        raise BadAnswer("an event that no step tells")
    kind, readers = _EVENTS[name]
    if len(readers) != len(given):
        raise BadAnswer("an event has other fields")
    return kind(*(read(each) for read, each in zip(readers, given, strict=True)))
