"""`AsyncGroup`: a group, as an `AsyncDevice` takes part in it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pawl.address import ProtocolAddress
from pawl.device_base import check_peer, check_plaintext
from pawl.errors import InvalidArgument, MessageTooLarge
from pawl.events import DistributionRefused, GroupMessageRefused
from pawl.group_device import Group, GroupSend, MemberMessage
from pawl.limits import MAX_GROUP_MEMBERS, MAX_MESSAGE_BYTES
from pawl.workers import messages
from pawl.workers.job import LaneKey
from pawl.workers.messages import BadAnswer
from pawl.workers.step import LAYOUTS

if TYPE_CHECKING:
    from pawl.workers.device import AsyncDevice


class AsyncGroup:
    """A `Group` for asyncio, made by `AsyncDevice.group`: the same operations, refusals and events.

    Calls about one's own side are done in the order in which they were made, and so are those about one sender.
    """

    def __init__(self, device: AsyncDevice, group: Group) -> None:
        """Not for applications: see `AsyncDevice.group`."""
        self._device = device
        self._group = group
        self._lane: LaneKey = ("group", group.distribution_id)
        self._first: list[Any] = [group.distribution_id.bytes, LAYOUTS.index(group._layout)]

    @property
    def distribution_id(self) -> UUID:
        """Names the group in its messages and in the store."""
        return self._group.distribution_id

    # -- members ------------------------------------------------------------------------------------------------------

    async def set_members(self, members: Collection[ProtocolAddress]) -> None:
        """See `Group.set_members`."""
        # Check
        if type(members) not in (list, tuple, set, frozenset) or len(members) > MAX_GROUP_MEMBERS:
            raise InvalidArgument(f"members are a list, tuple or set of at most {MAX_GROUP_MEMBERS}")
        for member in members:
            check_peer(member)
        given = list(members)
        await self._device._here("group_set_members", self._lane, partial(self._group.set_members, given))

    async def members(self) -> list[ProtocolAddress]:
        """See `Group.members`."""
        return await self._device._here("group_members", self._lane, self._group.members)

    async def send(self, plaintext: bytes) -> GroupSend:
        """See `Group.send`. `wrap` is called in a thread, outside the transaction."""
        # Check
        check_plaintext(plaintext)
        envelope = None if self._group._wrap is None else self._group._wrapped
        return await self._device._work(
            "group_send",
            self._lane,
            [*self._first, plaintext],
            partial(self._group.send, plaintext),
            finish=_read_send,
            size=len(plaintext),
            envelope=envelope,
        )

    async def delivered(self, distributions: Sequence[MemberMessage]) -> None:
        """See `Group.delivered`."""
        # Check
        if type(distributions) not in (list, tuple):
            raise InvalidArgument("distributions are a list or tuple")
        for each in distributions:
            if type(each) is not MemberMessage:
                raise InvalidArgument("a distribution is a MemberMessage")
        given = list(distributions)
        await self._device._here("group_delivered", self._lane, partial(self._group.delivered, given))

    async def undelivered(self, peer: ProtocolAddress) -> None:
        """See `Group.undelivered`."""
        check_peer(peer)
        await self._device._here("group_undelivered", self._lane, partial(self._group.undelivered, peer))

    # -- sending by hand ----------------------------------------------------------------------------------------------

    async def create_distribution(self) -> bytes:
        """See `Group.create_distribution`."""
        return await self._device._here("group_create_distribution", self._lane, self._group.create_distribution)

    async def encrypt(self, plaintext: bytes) -> bytes:
        """See `Group.encrypt`."""
        # Check
        check_plaintext(plaintext)
        return await self._device._work(
            "group_encrypt",
            self._lane,
            [*self._first, plaintext],
            partial(self._group.encrypt, plaintext),
            finish=_read_bytes,
            size=len(plaintext),
        )

    async def rotate(self) -> None:
        """See `Group.rotate`."""
        await self._device._here("group_rotate", self._lane, self._group.rotate)

    # -- receiving ----------------------------------------------------------------------------------------------------

    async def process(self, sender: ProtocolAddress, distribution: bytes) -> None:
        """See `Group.process`."""
        # Check
        check_peer(sender)
        if type(distribution) is not bytes:
            raise InvalidArgument("a distribution is bytes")
        if len(distribution) > MAX_MESSAGE_BYTES:
            self._device._pool.tell(DistributionRefused(sender, self.distribution_id, MessageTooLarge.code))
            raise MessageTooLarge(f"a distribution has at most {MAX_MESSAGE_BYTES} bytes")
        await self._device._work(
            "group_process",
            _of_sender(sender),
            [*self._first, sender.name, sender.device_id, distribution],
            partial(self._group.process, sender, distribution),
            finish=_nothing,
            size=len(distribution),
        )

    async def decrypt(self, sender: ProtocolAddress, message: bytes) -> bytes:
        """See `Group.decrypt`."""
        # Check
        check_peer(sender)
        if type(message) is not bytes:
            raise InvalidArgument("a group message is bytes")
        if len(message) > MAX_MESSAGE_BYTES:
            self._device._pool.tell(GroupMessageRefused(sender, self.distribution_id, MessageTooLarge.code))
            raise MessageTooLarge(f"a message has at most {MAX_MESSAGE_BYTES} bytes")
        return await self._device._work(
            "group_decrypt",
            _of_sender(sender),
            [*self._first, sender.name, sender.device_id, message],
            partial(self._group.decrypt, sender, message),
            finish=_read_bytes,
            size=len(message),
            hook=self._group._hook,
        )

    # -- leaving ------------------------------------------------------------------------------------------------------

    async def forget_sender(self, sender: ProtocolAddress) -> None:
        """See `Group.forget_sender`."""
        check_peer(sender)
        await self._device._here("group_forget_sender", _of_sender(sender), partial(self._group.forget_sender, sender))

    async def forget(self) -> None:
        """See `Group.forget`."""
        await self._device._here("group_forget", self._lane, self._group.forget)


def _of_sender(sender: ProtocolAddress) -> LaneKey:
    # A distribution and the messages on its chain come from one sender, in one order.
    return ("peer", sender.name)


def _nothing(value: object) -> None:
    if value is not None:
        raise BadAnswer("a result was not expected")


def _read_bytes(value: object) -> bytes:
    return messages.is_bytes(value, MAX_MESSAGE_BYTES)


def _read_send(value: object) -> GroupSend:
    from pawl.workers.device import read_message

    distributions, message = messages.is_tuple(value, 2)
    if len(messages.is_tuple(distributions)) > MAX_GROUP_MEMBERS:
        raise BadAnswer("more distributions than members")
    made = []
    for each in distributions:
        name, device_id, encrypted, chain_id = messages.is_tuple(each, 4)
        chain_id = messages.is_int(chain_id, 0, 2**32 - 1)
        made.append(MemberMessage(messages.read_address((name, device_id)), read_message(encrypted), chain_id))
    return GroupSend(tuple(made), _read_bytes(message))
