"""The rows of one sender in one group: its chains, the seeds kept for them, and which chains are gone for good.

Everything here happens inside one transaction of the caller's and is gone if that is rolled back. What is gone for good
is remembered in a ring of MAX_RETIRED_SENDER_KEYS places, so that a distribution costs the same however many there are:

    place   key: group, address, number of the place (2 bytes)            value: chain id (4 bytes), signing key (32)
    chain   key: group, address, chain id (4 bytes), signing key (32)     value: nothing
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from uuid import UUID

from pawl.address import ProtocolAddress
from pawl.crypto.keys import MessageSeed, PublicKey
from pawl.errors import CorruptStore, NoSenderKey, RetiredSenderKey, SenderKeysFull
from pawl.events import (
    Event,
    GroupKeysDropped,
    SenderKeyAccepted,
    SenderKeyRepeated,
    SenderKeyReplaced,
    SenderKeysRetired,
)
from pawl.group import sender_key
from pawl.group.sender_key import NO_CHAINS, Advanced
from pawl.group.state import ReceivedChain, ReceivedKeys
from pawl.limits import MAX_GROUP_MEMBERS, MAX_RETIRED_SENDER_KEYS
from pawl.session.rows import Memo, address_key
from pawl.storage.contract import Table, Transaction
from pawl.storage.sweep import delete_all
from pawl.wire import group_records, records


class GroupMemos:
    """What a device remembers of its groups between calls: decoded records of what is durable, and nothing else."""

    def __init__(self) -> None:
        self.own: Final = Memo(group_records.decode_own_group)
        self.received: Final = Memo(group_records.decode_received_keys)
        self.identities: Final = Memo(records.decode_identity)


class SenderRows:
    """The chains of one sender in one group, in one transaction."""

    __slots__ = (
        "_distribution_id",
        "_identity",
        "_keys",
        "_memos",
        "_place",
        "_sender",
        "_tx",
        "_version",
        "_versions",
        "_written",
        "events",
    )

    def __init__(self, tx: Transaction, sender: ProtocolAddress, distribution_id: UUID, memos: GroupMemos) -> None:
        self.events: list[Event] = []
        """What happened here, to be told once it is durable."""
        self._tx = tx
        self._sender = sender
        self._distribution_id = distribution_id
        self._memos = memos
        self._place = distribution_id.bytes + address_key(sender)
        row = tx.get(Table.RECEIVED_SENDER_KEY, self._place)
        self._version = 0 if row is None else row.version
        self._keys = NO_CHAINS if row is None else memos.received.read(self._place, row.value)
        self._identity: PublicKey | None = self._pinned()
        self._versions: dict[bytes, int] = {}
        self._written: tuple[bytes, ReceivedKeys] | None = None

    def _pinned(self) -> PublicKey | None:
        name = self._sender.name.encode()
        row = self._tx.get(Table.IDENTITY, name)
        return None if row is None else self._memos.identities.read(name, row.value)

    # -- messages -----------------------------------------------------------------------------------------------------

    def chains(self) -> ReceivedKeys:
        """The chains that came under the sender's pinned identity; no other decrypts (IDC-08). Raises: NoSenderKey."""
        if not sender_key.is_same(self._keys.identity, self._identity):
            raise NoSenderKey("the chains of this sender came under an identity that was replaced")
        return self._keys

    def kept(self, chain: ReceivedChain, iteration: int) -> bytes | None:
        """The kept seed, 32 bytes, if it is there. Raises: CorruptStore."""
        key = self._kept_key(chain.chain_id, iteration)
        row = self._tx.get(Table.KEPT_GROUP_KEY, key)
        if row is None:
            return None
        self._versions[key] = row.version
        return records.decode_message_seed(row.value).data

    def count_kept(self, chain: ReceivedChain) -> int:
        """How many seeds of a chain are kept."""
        return self._tx.count(Table.KEPT_GROUP_KEY, self._chain_prefix(chain.chain_id))

    def apply(self, advanced: Advanced) -> None:
        """Write what a message that was read changed."""
        if advanced.used is not None:
            key = self._kept_key(advanced.chain_id, advanced.used)
            self._tx.delete(Table.KEPT_GROUP_KEY, key, version=self._versions[key])
            return
        if advanced.dropped:
            prefix = self._chain_prefix(advanced.chain_id)
            for key, row in self._tx.scan(Table.KEPT_GROUP_KEY, prefix, limit=advanced.dropped):
                self._tx.delete(Table.KEPT_GROUP_KEY, key, version=row.version)
            self.events.append(GroupKeysDropped(self._sender, self._distribution_id, advanced.dropped))
        for iteration, seed in advanced.skipped:
            value = records.encode_message_seed(MessageSeed(seed))
            self._tx.put(Table.KEPT_GROUP_KEY, self._kept_key(advanced.chain_id, iteration), value, version=0)
        self._save(advanced.keys)

    # -- chains -------------------------------------------------------------------------------------------------------

    def accept(self, given: ReceivedChain) -> None:
        """Take a chain that the sender gave. One that is held stays where it is (GRP-03).

        Raises: RetiredSenderKey, SenderKeysFull.
        """
        same = sender_key.is_same(self._keys.identity, self._identity)
        held = sender_key.is_held(self._keys, given.chain_id, given.signing_key)
        # Check
        if same and held:
            self.events.append(SenderKeyRepeated(self._sender, self._distribution_id))
            return
        # What was held before stays gone: it would begin anew where it was given, and read old messages again.
        if held or self._is_retired(given):
            raise RetiredSenderKey("this chain was held before and is gone; the sender has to rotate")
        # A group is bounded, whoever sends into it.
        if not self._version and self._senders() >= MAX_GROUP_MEMBERS:
            raise SenderKeysFull(f"chains of at most {MAX_GROUP_MEMBERS} senders are held in a group")
        # Derive
        keys, gone, replaces = sender_key.accept(self._keys, given, self._identity)
        # Commit
        why = "replaced" if replaces else "limit"
        self._retire(keys, gone, why if same else "identity-replaced")
        if replaces:
            self.events.append(SenderKeyReplaced(self._sender, self._distribution_id))
        self.events.append(SenderKeyAccepted(self._sender, self._distribution_id))

    def _is_retired(self, chain: ReceivedChain) -> bool:
        """Whether the chain was held before and is gone. Raises: CorruptStore."""
        row = self._tx.get(Table.RETIRED_SENDER_KEY, self._retired_key(chain))
        # That the row is there says it all: it holds nothing (PAR-05).
        if row is not None and row.value:
            raise CorruptStore("the memory of chains that are gone is damaged")
        return row is not None

    def forget(self) -> None:
        """Let all chains of the sender go, for good; none is no refusal."""
        if self._keys.chains:
            keys = ReceivedKeys(self._keys.identity, (), self._keys.retired)
            self._retire(keys, self._keys.chains, "demand")

    def remember(self) -> None:
        """Remember what was written. To be called after the commit: nothing else may stay in memory."""
        if self._written is not None:
            self._memos.received.hold(self._place, *self._written)

    # -- rows ---------------------------------------------------------------------------------------------------------

    def _save(self, keys: ReceivedKeys) -> None:
        data = group_records.encode_received_keys(keys)
        self._tx.put(Table.RECEIVED_SENDER_KEY, self._place, data, version=self._version)
        self._written = data, keys

    def _retire(self, keys: ReceivedKeys, gone: Iterable[ReceivedChain], why: str) -> None:
        """Write `keys`, without the chains that are `gone`: their kept seeds go too, and they are remembered."""
        retired = keys.retired
        # The oldest first: it is the first to be forgotten.
        for chain in reversed(tuple(gone)):
            delete_all(self._tx, Table.KEPT_GROUP_KEY, self._chain_prefix(chain.chain_id))
            self._remember_retired(retired % MAX_RETIRED_SENDER_KEYS, chain)
            retired += 1
        if retired != keys.retired:
            count = retired - keys.retired
            self.events.append(SenderKeysRetired(self._sender, self._distribution_id, count, why))
        self._save(ReceivedKeys(keys.identity, keys.chains, retired))

    def _remember_retired(self, number: int, chain: ReceivedChain) -> None:
        place = self._place + number.to_bytes(2, "big")
        row = self._tx.get(Table.RETIRED_SENDER_KEY, place)
        if row is not None:
            old = self._tx.get(Table.RETIRED_SENDER_KEY, self._place + row.value)
            if old is None:
                raise CorruptStore("the memory of chains that are gone is damaged")
            self._tx.delete(Table.RETIRED_SENDER_KEY, self._place + row.value, version=old.version)
        key = self._retired_key(chain)
        value, version = key[len(self._place) :], 0 if row is None else row.version
        self._tx.put(Table.RETIRED_SENDER_KEY, place, value, version=version)
        self._tx.put(Table.RETIRED_SENDER_KEY, key, b"", version=0)

    def _senders(self) -> int:
        return self._tx.count(Table.RECEIVED_SENDER_KEY, self._distribution_id.bytes)

    def _retired_key(self, chain: ReceivedChain) -> bytes:
        return self._chain_prefix(chain.chain_id) + chain.signing_key.data

    def _chain_prefix(self, chain_id: int) -> bytes:
        return self._place + chain_id.to_bytes(4, "big")

    def _kept_key(self, chain_id: int, iteration: int) -> bytes:
        return self._chain_prefix(chain_id) + iteration.to_bytes(4, "big")
