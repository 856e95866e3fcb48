"""The rows of this device: its identity, its prekeys, and which base keys it has seen.

Everything here happens inside one transaction of the caller's and is gone if that is rolled back.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pawl.crypto import xeddsa
from pawl.crypto.keys import KeyPair
from pawl.errors import (
    CorruptStore,
    PreKeysFull,
    ReplayedPreKeyMessage,
    SeenBaseKeysFull,
    UnknownPreKey,
    UnknownSignedPreKey,
)
from pawl.events import (
    Event,
    PreKeysGenerated,
    PreKeysLow,
    PreKeySpent,
    SignedPreKeyDeleted,
    SignedPreKeyRotated,
)
from pawl.limits import (
    LOW_PREKEYS,
    MAX_PREKEY_ID,
    MAX_PREKEYS,
    MAX_SEEN_BASE_KEYS,
    SIGNED_PREKEY_GRACE_SECONDS,
)
from pawl.sources import Clock, Rng, draw
from pawl.storage.contract import Table, Transaction
from pawl.wire import records
from pawl.wire.messages import PreKeySignalMessage
from pawl.wire.records import LocalIdentity, PreKey, SignedPreKey

LOCAL_KEY: Final = b"device"
"""The key of the one row that says who this device is."""

REGISTRATION_IDS: Final = 16380
"""Registration ids are 1 to 16380: 14 bits, the highest few left out. Source: the official client."""


def open_local(tx: Transaction, rng: Rng) -> LocalIdentity:
    """Who this device is; a new device takes `rng(32)` for its identity and `rng(2)` for its registration id.

    Raises: CorruptStore.
    """
    row = tx.get(Table.LOCAL, LOCAL_KEY)
    if row is not None:
        return records.decode_local_identity(row.value)
    # A store that holds anything had a device: its row was lost, and a new identity would hide that.
    if any(tx.scan(table, b"", limit=1) for table in Table):
        raise CorruptStore("the store has rows, but the row of its device is gone")
    pair = KeyPair.generate(rng)
    # Not secret: it tells installations of one device apart, so the small bias of the remainder does no harm.
    registration_id = 1 + int.from_bytes(draw(rng, 2), "big") % REGISTRATION_IDS
    local = LocalIdentity(pair, registration_id, next_prekey_id=1, next_signed_prekey_id=1)
    tx.put(Table.LOCAL, LOCAL_KEY, records.encode_local_identity(local), version=0)
    return local


def id_key(number: int) -> bytes:
    """The key of a prekey's row: its id in 4 bytes, big-endian."""
    return number.to_bytes(4, "big")


def seen_key(message: PreKeySignalMessage) -> bytes:
    """The key of a seen base key's row: signed prekey id (4 bytes, big-endian), base key."""
    return id_key(message.signed_prekey_id) + message.base_key.data


# -- making -----------------------------------------------------------------------------------------------------------


def current_signed_prekey(tx: Transaction, events: list[Event], *, rng: Rng, now: int) -> SignedPreKey:
    """The newest signed prekey; the first one takes `rng(32)` and `rng(64)` to sign it. Raises: CorruptStore."""
    local, version = _local(tx)
    row = tx.get(Table.SIGNED_PREKEY, id_key(local.next_signed_prekey_id - 1))
    if row is not None:
        return records.decode_signed_prekey(row.value)
    return _new_signed_prekey(tx, events, local, version, former=None, rng=rng, now=now)


def rotate_signed_prekey(tx: Transaction, events: list[Event], *, rng: Rng, now: int) -> SignedPreKey:
    """A new signed prekey, made with `rng(32)` and `rng(64)`; the former one is superseded. Raises: CorruptStore."""
    local, version = _local(tx)
    key = id_key(local.next_signed_prekey_id - 1)
    row = tx.get(Table.SIGNED_PREKEY, key)
    former = None
    if row is not None:
        old = records.decode_signed_prekey(row.value)
        former = old.id
        superseded = records.encode_signed_prekey(replace(old, superseded_at=now))
        tx.put(Table.SIGNED_PREKEY, key, superseded, version=row.version)
    return _new_signed_prekey(tx, events, local, version, former=former, rng=rng, now=now)


def _new_signed_prekey(
    tx: Transaction,
    events: list[Event],
    local: LocalIdentity,
    version: int,
    *,
    former: int | None,
    rng: Rng,
    now: int,
) -> SignedPreKey:
    number = _free_id(tx, Table.SIGNED_PREKEY, local.next_signed_prekey_id)
    pair = KeyPair.generate(rng)
    signature = xeddsa.sign(local.pair.private, pair.public.serialize(), rng=rng)
    made = SignedPreKey(number, pair, signature, now)
    tx.put(Table.SIGNED_PREKEY, id_key(number), records.encode_signed_prekey(made), version=0)
    _write_local(tx, replace(local, next_signed_prekey_id=number + 1), version)
    events.append(SignedPreKeyRotated(number, former))
    return made


def new_prekeys(tx: Transaction, events: list[Event], count: int, *, rng: Rng) -> list[PreKey]:
    """`count` fresh one-time prekeys, each made with `rng(32)`. Raises: PreKeysFull, CorruptStore."""
    # Check: an application that publishes without end would fill the store.
    if tx.count(Table.PREKEY, b"") + count > MAX_PREKEYS:
        raise PreKeysFull(f"at most {MAX_PREKEYS} one-time prekeys are held")
    # Derive and commit
    local, version = _local(tx)
    made: list[PreKey] = []
    for _ in range(count):
        number = _free_id(tx, Table.PREKEY, local.next_prekey_id)
        prekey = PreKey(number, KeyPair.generate(rng))
        tx.put(Table.PREKEY, id_key(number), records.encode_prekey(prekey), version=0)
        local = replace(local, next_prekey_id=number + 1)
        made.append(prekey)
    _write_local(tx, local, version)
    events.append(PreKeysGenerated(made[0].id, count))
    return made


def delete_expired(tx: Transaction, events: list[Event], *, now: int) -> list[int]:
    """Delete the signed prekeys whose grace is over, and the base keys seen under them; their ids.

    Raises: CorruptStore.
    """
    deleted = []
    for key, row in tx.scan(Table.SIGNED_PREKEY, b""):
        prekey = records.decode_signed_prekey(row.value)
        if _is_expired(prekey, now):
            tx.delete(Table.SIGNED_PREKEY, key, version=row.version)
            for seen, seen_row in tx.scan(Table.SEEN_BASE_KEY, key):
                tx.delete(Table.SEEN_BASE_KEY, seen, version=seen_row.version)
            events.append(SignedPreKeyDeleted(prekey.id))
            deleted.append(prekey.id)
    return deleted


def _is_expired(prekey: SignedPreKey, now: int) -> bool:
    return prekey.superseded_at is not None and now - prekey.superseded_at > SIGNED_PREKEY_GRACE_SECONDS


# -- using ------------------------------------------------------------------------------------------------------------


def find_signed_prekey(tx: Transaction, message: PreKeySignalMessage, *, clock: Clock) -> KeyPair:
    """The signed prekey that `message` names; `clock` is asked if it is superseded.

    Raises: UnknownSignedPreKey, CorruptStore.
    """
    row = tx.get(Table.SIGNED_PREKEY, id_key(message.signed_prekey_id))
    if row is None:
        raise UnknownSignedPreKey("the message names a signed prekey that is not there")
    prekey = records.decode_signed_prekey(row.value)
    # Whether somebody came round to deleting it or not: after its grace it is as if it were gone (KEY-07).
    if prekey.superseded_at is not None and _is_expired(prekey, clock()):
        raise UnknownSignedPreKey("the message names a signed prekey that was superseded too long ago")
    return _in_place(prekey, message.signed_prekey_id)


def is_held(tx: Transaction, prekey_id: int) -> bool:
    """Whether there is a one-time prekey of this id."""
    return tx.get(Table.PREKEY, id_key(prekey_id)) is not None


def find_prekey(tx: Transaction, message: PreKeySignalMessage) -> KeyPair | None:
    """The one-time prekey that `message` names, if it names one; otherwise its base key must be new.

    Raises: UnknownPreKey, ReplayedPreKeyMessage, SeenBaseKeysFull, CorruptStore.
    """
    if message.prekey_id is not None:
        row = tx.get(Table.PREKEY, id_key(message.prekey_id))
        # A one-time prekey is gone once it was used (KEY-03), which refuses a replay too (CTR-03).
        if row is None:
            raise UnknownPreKey("the message names a one-time prekey that is not there")
        return _in_place(records.decode_prekey(row.value), message.prekey_id)
    # Without one nothing else would refuse a replay once the session is gone (CTR-06).
    if tx.get(Table.SEEN_BASE_KEY, seen_key(message)) is not None:
        raise ReplayedPreKeyMessage("a session was built from this message before")
    # The memory is bounded, and says so instead of forgetting.
    if tx.count(Table.SEEN_BASE_KEY, id_key(message.signed_prekey_id)) >= MAX_SEEN_BASE_KEYS:
        raise SeenBaseKeysFull("too many sessions were built without a one-time prekey; rotate the signed prekey")
    return None


def spend(tx: Transaction, events: list[Event], message: PreKeySignalMessage) -> None:
    """Delete the one-time prekey that `message` used, or remember its base key: it serves one session (KEY-03)."""
    if message.prekey_id is None:
        tx.put(Table.SEEN_BASE_KEY, seen_key(message), b"", version=0)
        return
    key = id_key(message.prekey_id)
    row = tx.get(Table.PREKEY, key)
    tx.delete(Table.PREKEY, key, version=0 if row is None else row.version)
    events.append(PreKeySpent(message.prekey_id))
    # Counting all of them would make the message's cost depend on how many there are.
    if (left := len(tx.scan(Table.PREKEY, b"", limit=LOW_PREKEYS))) < LOW_PREKEYS:
        events.append(PreKeysLow(left))


def _in_place(prekey: PreKey | SignedPreKey, number: int) -> KeyPair:
    if prekey.id != number:
        raise CorruptStore("a prekey is in another one's place")
    return prekey.pair


def _local(tx: Transaction) -> tuple[LocalIdentity, int]:
    row = tx.get(Table.LOCAL, LOCAL_KEY)
    # A device was opened on this store before, so its row is there.
    if row is None:
        raise CorruptStore("the row of this device is gone")
    local = records.decode_local_identity(row.value)
    # Ids start at 1.
    if local.next_prekey_id < 1 or local.next_signed_prekey_id < 1:
        raise CorruptStore("the row of this device holds a prekey id of 0")
    return local, row.version


def _write_local(tx: Transaction, local: LocalIdentity, version: int) -> None:
    tx.put(Table.LOCAL, LOCAL_KEY, records.encode_local_identity(local), version=version)


def _free_id(tx: Transaction, table: Table, start: int) -> int:
    """The first id from `start` on that no row of `table` has; after the last id, 1 again."""
    number = start
    while number > MAX_PREKEY_ID or tx.get(table, id_key(number)) is not None:
        number = 1 if number >= MAX_PREKEY_ID else number + 1
    return number
