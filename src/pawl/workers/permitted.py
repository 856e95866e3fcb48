"""Which rows the answer to a job may change: its own peer's or group's, whatever a worker says (PAR-05)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pawl.address import ProtocolAddress
from pawl.session.rows import REPLACED_KEY, address_key
from pawl.storage.contract import Table
from pawl.workers.job import Job
from pawl.workers.messages import BadAnswer
from pawl.workers.view import TABLES, Write


def check_writes(job: Job, writes: list[Write]) -> None:
    """Raises: BadAnswer."""
    check = _CHECKS.get(job.operation)
    if check is None or job.arguments is None:
        permitted = not writes
    else:
        allowed = check(job.arguments)
        permitted = all(allowed(TABLES[each.table], each) for each in writes)
    if not permitted:
        raise BadAnswer(f"the answer to {job.operation} changes a row that is not the job's")
    if len({(each.table, each.key) for each in writes}) != len(writes):
        raise BadAnswer("an answer changes a row twice")


Allowed = Callable[[Table, Write], bool]


def _peer(arguments: list[Any]) -> tuple[bytes, bytes]:
    peer = ProtocolAddress(arguments[0], arguments[1])
    return peer.name.encode(), address_key(peer)


def _encrypt(arguments: list[Any]) -> Allowed:
    _, address = _peer(arguments)
    return lambda table, write: table is Table.SESSION and write.key.startswith(address) and write.value is not None


def _establish(arguments: list[Any]) -> Allowed:
    name, address = _peer(arguments)

    def allowed(table: Table, write: Write) -> bool:
        key = write.key
        if table is Table.SESSION_INDEX:
            return key == address and write.value is not None
        if table in (Table.SESSION, Table.SKIPPED_KEY):
            return key.startswith(address)
        if table is Table.IDENTITY:
            return key == name and write.value is not None
        return table is Table.LOCAL and key == REPLACED_KEY and write.value is not None

    return allowed


def _decrypt(arguments: list[Any]) -> Allowed:
    of_peer = _establish(arguments)

    def allowed(table: Table, write: Write) -> bool:
        # A prekey is spent, a base key is remembered; never the other way round.
        if table is Table.PREKEY:
            return write.value is None
        if table is Table.SEEN_BASE_KEY:
            return write.value == b""
        return of_peer(table, write)

    return allowed


def _group_encrypt(arguments: list[Any]) -> Allowed:
    group = arguments[0]
    return lambda table, write: table is Table.SENDER_KEY and write.key == group and write.value is not None


def _group_send(arguments: list[Any]) -> Allowed:
    group = arguments[0]

    def allowed(table: Table, write: Write) -> bool:
        if write.value is None:
            return False
        if table is Table.SENDER_KEY:
            return bool(write.key == group)
        if table is Table.GROUP_MEMBER:
            return write.key.startswith(group)
        # A member's session steps on; none is made.
        return table is Table.SESSION and write.version > 0

    return allowed


def _group_received(arguments: list[Any]) -> Allowed:
    place = arguments[0] + address_key(ProtocolAddress(arguments[2], arguments[3]))

    def allowed(table: Table, write: Write) -> bool:
        if table is Table.RECEIVED_SENDER_KEY:
            return write.key == place and write.value is not None
        return table in (Table.KEPT_GROUP_KEY, Table.RETIRED_SENDER_KEY) and write.key.startswith(place)

    return allowed


_CHECKS: Final[dict[str, Callable[[list[Any]], Allowed]]] = {
    "establish": _establish,
    "encrypt": _encrypt,
    "encrypt_many": _encrypt,
    "decrypt": _decrypt,
    "decrypt_many": _decrypt,
    "group_send": _group_send,
    "group_encrypt": _group_encrypt,
    "group_decrypt": _group_received,
    "group_process": _group_received,
}
