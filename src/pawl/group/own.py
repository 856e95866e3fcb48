"""The rows of one's own side of a group: the chain on which one sends, the members, and who of them has the chain.

Everything here happens inside one transaction of the caller's and is gone if that is rolled back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from uuid import UUID

from pawl.address import ProtocolAddress
from pawl.crypto.keys import PublicKey
from pawl.errors import CorruptStore, InvalidArgument, NoMembers, NoSenderKey
from pawl.events import Event, GroupMembersChanged, SenderKeyRotated
from pawl.group import sender_key
from pawl.group.received import GroupMemos
from pawl.group.state import Member, OwnGroup, SendingKey
from pawl.session.rows import address_key, replacements
from pawl.sources import Rng
from pawl.storage.contract import Table, Transaction
from pawl.storage.sweep import delete_all
from pawl.wire import group_records

ALL_OF_A_GROUP = (
    Table.SENDER_KEY,
    Table.GROUP_MEMBER,
    Table.RECEIVED_SENDER_KEY,
    Table.KEPT_GROUP_KEY,
    Table.RETIRED_SENDER_KEY,
)
"""The tables whose keys begin with a group's id."""


class OwnRows:
    """One's own side of a group, in one transaction."""

    __slots__ = (
        "_distribution_id",
        "_group",
        "_memos",
        "_place",
        "_rng",
        "_tx",
        "_version",
        "_written",
        "events",
    )

    def __init__(self, tx: Transaction, distribution_id: UUID, memos: GroupMemos, rng: Rng) -> None:
        self.events: list[Event] = []
        """What happened here, to be told once it is durable."""
        self._tx = tx
        self._distribution_id = distribution_id
        self._memos = memos
        self._rng = rng
        self._place = distribution_id.bytes
        row = tx.get(Table.SENDER_KEY, self._place)
        self._version = 0 if row is None else row.version
        self._group = None if row is None else memos.own.read(self._place, row.value)
        self._written: tuple[bytes, OwnGroup] | None = None

    # -- the chain ----------------------------------------------------------------------------------------------------

    def group(self) -> OwnGroup:
        """One's own side, with a chain that nobody has who is not to have it.

        Raises: NoSenderKey.
        """
        if self._group is None:
            raise NoSenderKey("this group has no chain yet; create a distribution, or set its members")
        return self._looked_at(self._group)

    def group_with_members(self) -> OwnGroup:
        """The same, where somebody is there to read. Raises: NoMembers."""
        if self._group is None or not self._group.members:
            raise NoMembers("the group has no members yet; set them first")
        return self._looked_at(self._group)

    def group_or_new(self) -> OwnGroup:
        """The same; a group without a chain gets its first one."""
        if self._group is not None:
            return self._looked_at(self._group)
        return self.rotate("first")

    def _looked_at(self, group: OwnGroup) -> OwnGroup:
        """`group`; with a new chain if a member has the old one whose identity was replaced since."""
        replaced = replacements(self._tx)
        if group.replaced == replaced:
            return group
        stale = any(self._is_stale(address, member) for address, member, _ in self._given(group))
        return self.rotate("identity-replaced") if stale else self.save(group._replace(replaced=replaced))

    def _given(self, group: OwnGroup) -> Iterator[tuple[ProtocolAddress, Member, int]]:
        """The members that were given the present chain."""
        chain_id = group.sending.chain_id
        return (each for each in self._members() if each[1].chain_id == chain_id)

    def _is_stale(self, address: ProtocolAddress, member: Member) -> bool:
        """Whether `member` was given its chain under another identity than the one that is pinned now."""
        row = self._tx.get(Table.IDENTITY, address.name.encode())
        pinned = None if row is None else self._memos.identities.read(address.name.encode(), row.value)
        return member.identity != pinned

    def rotate(self, why: str) -> OwnGroup:
        """Begin a new chain, which every member waits for and nobody else is given (GRP-04).

        `why` is told in the event.
        """
        former = self._group
        members = 0 if former is None else former.members
        sending = sender_key.create(self._rng, None if former is None else former.sending)
        self.events.append(SenderKeyRotated(self._distribution_id, why))
        return self.save(OwnGroup(sending, members, members, replacements(self._tx)))

    def save(self, group: OwnGroup) -> OwnGroup:
        """Write one's own side anew, and return it."""
        data = group_records.encode_own_group(group)
        self._version = self._tx.put(Table.SENDER_KEY, self._place, data, version=self._version)
        self._group, self._written = group, (data, group)
        return group

    def step(self, group: OwnGroup, sending: SendingKey) -> None:
        """Write what sending a message changed in `group`."""
        _, members, waiting, replaced = group
        self.save(OwnGroup(sending, members, waiting, replaced))

    def remember(self) -> None:
        """Remember what was written. To be called after the commit: nothing else may stay in memory."""
        if self._written is not None:
            self._memos.own.hold(self._place, *self._written)

    # -- the members --------------------------------------------------------------------------------------------------

    def members(self) -> list[ProtocolAddress]:
        """The members, in ascending order."""
        return sorted(address for address, _, _ in self._members())

    def set_members(self, wanted: Iterable[ProtocolAddress]) -> None:
        """Make `wanted` the members. A new chain is begun if somebody who has the present one is no member any more."""
        group = self.group_or_new()
        there = {address: (member, version) for address, member, version in self._members()}
        keep = set(wanted)
        removed = there.keys() - keep
        added = keep - there.keys()
        if not removed and not added:
            return
        for address in sorted(removed):
            self._tx.delete(Table.GROUP_MEMBER, self._key(address), version=there[address][1])
        for address in sorted(added):
            self._put(address, Member(), 0)
        # Whoever was given the chain may have it, whether that is known to have come or not.
        chain_id = group.sending.chain_id
        had_it = any(there[address][0].chain_id == chain_id for address in removed)
        self.events.append(GroupMembersChanged(self._distribution_id, len(added), len(removed)))
        gone = sum(not _has(there[address][0], chain_id) for address in removed)
        waiting = group.waiting + len(added) - gone
        self.save(group._replace(members=len(keep), waiting=waiting))
        if had_it:
            self.rotate("member-removed")

    def waiting(self, group: OwnGroup) -> list[tuple[ProtocolAddress, int]]:
        """The members that are not known to have the chain of `group`, in ascending order, and their rows' versions."""
        chain_id = group.sending.chain_id
        found = ((address, version) for address, member, version in self._members() if not _has(member, chain_id))
        return sorted(found)

    def given(self, address: ProtocolAddress, version: int, group: OwnGroup, identity: PublicKey) -> None:
        """Note that the chain of `group` was encrypted for a member, under its `identity`."""
        self._put(address, Member(group.sending.chain_id, identity), version)

    def delivered(self, addresses: Iterable[ProtocolAddress], chain_id: int) -> None:
        """Note that the chain `chain_id` came to these members; of one that is not the present one it is no news."""
        group = self._group
        if group is not None and chain_id == group.sending.chain_id:
            self._mark(group, addresses, came=True)

    def undelivered(self, address: ProtocolAddress) -> None:
        """Note that a member does not have the present chain after all."""
        if self._group is not None:
            self._mark(self._group, [address], came=False)

    def _mark(self, group: OwnGroup, addresses: Iterable[ProtocolAddress], *, came: bool) -> None:
        waiting = group.waiting
        for address in addresses:
            row = self._tx.get(Table.GROUP_MEMBER, self._key(address))
            # Whoever is no member any more waits for nothing.
            if row is None:
                continue
            member = group_records.decode_member(row.value)
            if member.chain_id == group.sending.chain_id and member.delivered is not came:
                self._put(address, replace(member, delivered=came), row.version)
                waiting += -1 if came else 1
        if waiting != group.waiting:
            self.save(group._replace(waiting=waiting))

    # -- rows ---------------------------------------------------------------------------------------------------------

    def _members(self) -> Iterator[tuple[ProtocolAddress, Member, int]]:
        """All members with the versions of their rows, in the order of their keys."""
        for key, row in self._tx.scan(Table.GROUP_MEMBER, self._place):
            yield self._address(key), group_records.decode_member(row.value), row.version

    def _put(self, address: ProtocolAddress, member: Member, version: int) -> None:
        self._tx.put(Table.GROUP_MEMBER, self._key(address), group_records.encode_member(member), version=version)

    def _key(self, address: ProtocolAddress) -> bytes:
        return self._place + address_key(address)

    def _address(self, key: bytes) -> ProtocolAddress:
        """The address that the key of a member's row holds. Raises: CorruptStore."""
        start = len(self._place)
        try:
            address = ProtocolAddress(key[start + 2 : -1].decode(), key[-1])
        except (InvalidArgument, UnicodeDecodeError):
            raise CorruptStore("the row of a group's member is not one that was written") from None
        if self._key(address) != key:
            raise CorruptStore("the row of a group's member is not one that was written")
        return address


def _has(member: Member, chain_id: int) -> bool:
    """Whether a member is known to have the chain."""
    return member.delivered and member.chain_id == chain_id


def forget(tx: Transaction, distribution_id: UUID, memos: GroupMemos) -> bool:
    """Delete all that is held of a group, the chains of others included, damaged rows too; whether there was any."""
    deleted = [delete_all(tx, table, distribution_id.bytes) for table in ALL_OF_A_GROUP]
    memos.own.drop(distribution_id.bytes)
    return any(deleted)
