"""Which rows a job will ask for: they are read and sent with it, so that it needs one way to a worker and back.

What is not foreseen costs another way: the worker says what it needs. Nothing is sent that the step does not read
(KEY-06): of a peer's sessions the one that is most likely meant, of this device's identity nothing where a session is
there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from pawl.address import ProtocolAddress
from pawl.device import Device
from pawl.errors import ProtocolError
from pawl.limits import LOW_PREKEYS
from pawl.session import prekeys
from pawl.session.rows import REPLACED_KEY, address_key, replacements
from pawl.storage.contract import Row, Table, Transaction
from pawl.wire import group_records, records
from pawl.wire.group_messages import decode_distribution
from pawl.wire.messages import EncryptedMessage, MessageType, PreKeySignalMessage
from pawl.workers.job import Job
from pawl.workers.step import LAYOUTS
from pawl.workers.view import ALL, COUNT, GET, NUMBERS, TABLES, Query, Span, View

SLACK: Final = 64
"""Rows read beyond a scan's limit: other jobs of the batch may delete some of them meanwhile."""

_PREKEY: Final = NUMBERS[Table.PREKEY.value]


class Reader:
    """Reads rows of one transaction into a view, each once."""

    __slots__ = ("_tx", "view")

    def __init__(self, tx: Transaction, view: View) -> None:
        self._tx = tx
        self.view = view

    def get(self, table: Table, key: bytes) -> Row | None:
        """The row."""
        place = NUMBERS[table._value_], key
        rows = self.view.rows
        if place in rows:
            return rows[place]
        row = rows[place] = self._tx.get(table, key)
        return row

    def scan(self, table: Table, prefix: bytes, limit: int | None) -> list[bytes]:
        """The keys; with a limit at least so many, if there are."""
        place = NUMBERS[table._value_], prefix
        span = self.view.spans.get(place)
        if span is None or not (span.complete or (limit is not None and len(span.keys) >= limit)):
            most = None if limit is None else limit + SLACK
            found = self._tx.scan(table, prefix, limit=most)
            for key, row in found:
                self.view.rows[place[0], key] = row
            span = Span([key for key, _ in found], most is None or len(found) < most)
            self.view.spans[place] = span
        return span.keys

    def count(self, table: Table, prefix: bytes) -> None:
        """How many rows there are."""
        place = NUMBERS[table._value_], prefix
        if place not in self.view.counts:
            self.view.counts[place] = self._tx.count(table, prefix)

    def peer(self, peer: ProtocolAddress, *, only: bytes | None = None, more: bool = False) -> tuple[bytes, ...]:
        """The pinned identity, the index, and a session: that of the base key `only`, or the current one, or all.

        Returns the base keys in the index.
        """
        self.get(Table.IDENTITY, peer.name.encode())
        address = address_key(peer)
        index = self.get(Table.SESSION_INDEX, address)
        base_keys = () if index is None else records.decode_session_index(index.value)
        for base_key in base_keys if more else base_keys[:1] if only is None else [only]:
            if base_key in base_keys:
                self.get(Table.SESSION, address + base_key)
        return base_keys

    def answer(self, query: Query) -> None:
        """What a worker asked for."""
        table = TABLES[query.table]
        if query.limit == GET:
            self.get(table, query.key)
        elif query.limit == COUNT:
            self.count(table, query.key)
        else:
            self.scan(table, query.key, None if query.limit == ALL else query.limit)


def read(reader: Reader, device: Device, job: Job) -> None:
    """Read what `job` will ask for. Raises: StorageError."""
    foresee = _FORESEEN.get(job.operation)
    if foresee is not None and job.arguments is not None:
        foresee(reader, device, job, *job.arguments)
    for query in list(job.needs):
        if TABLES[query.table] is Table.SKIPPED_KEY and query.limit == GET:
            _kept(reader, device, job, query.key)
        elif TABLES[query.table] is Table.SESSION and job.operation.startswith("decrypt"):
            reader.peer(_peer(job), more=True)
        reader.answer(query)


def _peer(job: Job) -> ProtocolAddress:
    name, device_id = (job.arguments or ["", 0])[:2]
    return ProtocolAddress(name, device_id)


def _kept(reader: Reader, device: Device, job: Job, key: bytes) -> None:
    """Where one kept key of a batch of messages is asked for, the others will be."""
    if job.operation != "decrypt_many" or job.arguments is None:
        return
    # address, base key, ratchet key, counter
    session = key[: -(4 + 32)]
    for message in _parsed(device, job.arguments[2]):
        signal = message.message if isinstance(message, PreKeySignalMessage) else message
        place = session + signal.ratchet_key.data + signal.counter.to_bytes(4, "big")
        reader.get(Table.SKIPPED_KEY, place)


def _parsed(device: Device, given: Iterable[Any]) -> Iterable[Any]:
    for kind, serialized in given:
        try:
            yield device._parse(EncryptedMessage(MessageType(kind), serialized))[0]
        except ProtocolError:
            # The step will say so.
            return


def _messages(reader: Reader, device: Device, job: Job, name: str, device_id: int, given: Iterable[Any]) -> None:
    peer = ProtocolAddress(name, device_id)
    found = list(given)
    if any(kind == MessageType.SIGNAL for kind, _ in found):
        reader.peer(peer)
    for message in _parsed(device, (each for each in found if each[0] == MessageType.PREKEY)):
        job.identity = message.identity_key
        base_keys = reader.peer(peer, only=message.base_key.data)
        if message.base_key.data in base_keys:
            continue
        job.needs_identity = True
        reader.get(Table.SIGNED_PREKEY, prekeys.id_key(message.signed_prekey_id))
        if message.prekey_id is not None:
            reader.get(Table.PREKEY, prekeys.id_key(message.prekey_id))
            reader.scan(Table.PREKEY, b"", LOW_PREKEYS)
        if message.prekey_id is None or message.prekey_id == 0:
            reader.get(Table.SEEN_BASE_KEY, prekeys.seen_key(message))
            reader.count(Table.SEEN_BASE_KEY, prekeys.id_key(message.signed_prekey_id))


def _message(reader: Reader, device: Device, job: Job, name: str, device_id: int, given: Any) -> None:
    _messages(reader, device, job, name, device_id, [given])


def _establish(reader: Reader, device: Device, job: Job, name: str, device_id: int, bundle: Any) -> None:
    peer = ProtocolAddress(name, device_id)
    job.needs_identity = True
    reader.get(Table.IDENTITY, peer.name.encode())
    reader.get(Table.SESSION_INDEX, address_key(peer))


def _encrypt(reader: Reader, device: Device, job: Job, name: str, device_id: int, plaintext: Any) -> None:
    reader.peer(ProtocolAddress(name, device_id))


def _group_encrypt(reader: Reader, device: Device, job: Job, group: bytes, *_: Any) -> None:
    reader.get(Table.SENDER_KEY, group)
    reader.get(Table.LOCAL, REPLACED_KEY)


def _group_send(reader: Reader, device: Device, job: Job, group: bytes, *_: Any) -> None:
    row = reader.get(Table.SENDER_KEY, group)
    reader.get(Table.LOCAL, REPLACED_KEY)
    if row is None:
        return
    own = group_records.decode_own_group(row.value)
    # Only then does the step look at its members.
    if own.waiting or own.replaced != replacements(reader._tx):
        for key in reader.scan(Table.GROUP_MEMBER, group, None):
            address = key[len(group) :]
            reader.peer(ProtocolAddress(address[2:-1].decode(), address[-1]))


def _sender(reader: Reader, group: bytes, name: str, device_id: int) -> Row | None:
    reader.get(Table.IDENTITY, name.encode())
    return reader.get(Table.RECEIVED_SENDER_KEY, group + address_key(ProtocolAddress(name, device_id)))


def _group_decrypt(
    reader: Reader, device: Device, job: Job, group: bytes, layout: int, name: str, device_id: int, message: bytes
) -> None:
    _sender(reader, group, name, device_id)


def _group_process(
    reader: Reader, device: Device, job: Job, group: bytes, layout: int, name: str, device_id: int, given: bytes
) -> None:
    row = _sender(reader, group, name, device_id)
    try:
        chain = decode_distribution(given, layout=LAYOUTS[layout])
    except ProtocolError:
        return
    place = group + address_key(ProtocolAddress(name, device_id))
    reader.get(Table.RETIRED_SENDER_KEY, place + chain.chain_id.to_bytes(4, "big") + chain.signing_key.data)
    if row is None:
        reader.count(Table.RECEIVED_SENDER_KEY, group)


_FORESEEN: Final[dict[str, Callable[..., None]]] = {
    "establish": _establish,
    "encrypt": _encrypt,
    "encrypt_many": _encrypt,
    "decrypt": _message,
    "decrypt_many": _messages,
    "group_send": _group_send,
    "group_encrypt": _group_encrypt,
    "group_decrypt": _group_decrypt,
    "group_process": _group_process,
}
