"""What tests of groups share: parties with a group in common, and chains that were given."""

from __future__ import annotations

from uuid import UUID

from pawl import Group, GroupLayout, GroupSend, ProtocolAddress
from pawl.group.state import Member, OwnGroup, ReceivedKeys
from pawl.session.rows import address_key
from pawl.storage.contract import Table
from pawl.wire import group_records
from tests.devices import ALICE, BOB, Party

CAROL = ProtocolAddress("carol", 1)
GROUP = UUID("6b2d1c0e-7f34-4a51-9d8e-0f1a2b3c4d5e")
OTHER_GROUP = UUID(int=7)


def group_of(party: Party, distribution_id: UUID = GROUP, layout: GroupLayout = GroupLayout.CURRENT) -> Group:
    return party.device.group(distribution_id, layout=layout)


def give(sender: Party, *receivers: Party, layout: GroupLayout = GroupLayout.CURRENT) -> bytes:
    """The chain of `sender` as it is now, taken by the receivers without a session; its distribution."""
    distribution = group_of(sender, layout=layout).create_distribution()
    for each in receivers:
        group_of(each, layout=layout).process(sender.address, distribution)
    return distribution


def given(seed: str = "", layout: GroupLayout = GroupLayout.CURRENT) -> tuple[Party, Party, Group, Group]:
    """Alice, who has sent nothing yet, Bob, who has her chain, and the group as each has it."""
    alice, bob = Party(ALICE, seed=seed), Party(BOB, seed=seed)
    give(alice, bob, layout=layout)
    return alice, bob, group_of(alice, layout=layout), group_of(bob, layout=layout)


def members(seed: str = "") -> tuple[Party, Party, Party]:
    """Alice, who has a session with Bob and with Carol, each of whom has heard from her."""
    alice, bob, carol = Party(ALICE, seed=seed), Party(BOB, seed=seed), Party(CAROL, seed=seed)
    for each in (bob, carol):
        alice.meet(each)
        each.take(alice, alice.send(each))
    return alice, bob, carol


def hand_out(sender: Party, sent: GroupSend, *receivers: Party) -> None:
    """Each of the receivers decrypts and takes its distribution, if there is one."""
    for each in sent.distributions:
        for receiver in receivers:
            if receiver.address == each.peer:
                group_of(receiver).process(sender.address, receiver.take(sender, each.message))


def own(party: Party, distribution_id: UUID = GROUP) -> OwnGroup:
    return group_records.decode_own_group(party.store.snapshot()[Table.SENDER_KEY][distribution_id.bytes].value)


def put_own(party: Party, group: OwnGroup) -> None:
    party.put(Table.SENDER_KEY, GROUP.bytes, group_records.encode_own_group(group))


def received(party: Party, sender: Party) -> ReceivedKeys:
    place = GROUP.bytes + address_key(sender.address)
    return group_records.decode_received_keys(party.store.snapshot()[Table.RECEIVED_SENDER_KEY][place].value)


def member(party: Party, peer: ProtocolAddress) -> Member:
    place = GROUP.bytes + address_key(peer)
    return group_records.decode_member(party.store.snapshot()[Table.GROUP_MEMBER][place].value)


def kept(party: Party) -> list[int]:
    """The iterations of all kept seeds, in the order of their rows."""
    return [int.from_bytes(key[-4:], "big") for key in sorted(party.store.snapshot()[Table.KEPT_GROUP_KEY])]
