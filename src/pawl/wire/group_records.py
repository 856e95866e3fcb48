"""Records of groups: as strict as those of sessions (`pawl.wire.records`); by hand where messages write them.

Every decoder raises CorruptStore, for records over their limit too; the texts hold nothing of the record.
"""

from __future__ import annotations

from typing import Final

from pawl.crypto.keys import ChainKey, KeyPair, PrivateKey, PublicKey
from pawl.errors import InvalidArgument
from pawl.group.state import Member, OwnGroup, ReceivedChain, ReceivedKeys, SendingKey
from pawl.limits import (
    MAX_COUNTER,
    MAX_GROUP_MEMBERS,
    MAX_SENDER_KEY_CHAINS,
    MAX_SKIPPED_KEYS_PER_CHAIN,
)
from pawl.wire import records_pb2
from pawl.wire.records import decode_record
from pawl.wire.varint import MAX_UINT32, MAX_UINT64, varint

_OWN_GROUP: Final = b"\x08%b\x10%b\x1a\x20%b\x22\x20%b\x2a\x20%b\x30%b\x38%b\x40%b"
_CHAIN: Final = b"\x12%c\x08%b\x12\x20%b\x1a\x20%b\x20%b\x28%b"


def encode_own_group(group: OwnGroup) -> bytes:
    """The record of one's own side of a group. Raises: InvalidArgument if it is not one that could be read back."""
    # Check: every bound holds, before it is written and after it is read (BND-02).
    if type(group) is not OwnGroup:
        raise InvalidArgument("this record is made of an OwnGroup")
    sending, members, waiting, replaced = group
    chain_id, iteration, chain_key, signing = sending
    # A chain that used its last iteration is one past it.
    if chain_id > MAX_UINT32 or iteration > MAX_COUNTER + 1 or replaced > MAX_UINT64:
        raise InvalidArgument("a number of a group is out of range")
    if not waiting <= members <= MAX_GROUP_MEMBERS:
        raise InvalidArgument(f"a group has at most {MAX_GROUP_MEMBERS} members, and no more wait than there are")
    # Derive: the fields in the order of their numbers, zeros written.
    return _OWN_GROUP % (
        varint(chain_id),
        varint(iteration),
        chain_key.data,
        signing.public.data,
        signing.private.data,
        varint(members),
        varint(waiting),
        varint(replaced),
    )


def decode_own_group(data: bytes) -> OwnGroup:
    """One's own side of a group in the record `data`. That the key pair belongs together is not checked.

    Raises: CorruptStore.
    """
    return decode_record(data, records_pb2.GroupRecord, _build_own_group, encode_own_group)


def _build_own_group(read: records_pb2.GroupRecord) -> OwnGroup:
    signing = KeyPair(PublicKey(read.signing_public), PrivateKey(read.signing_private))
    sending = SendingKey(read.chain_id, read.iteration, ChainKey(read.chain_key), signing)
    return OwnGroup(sending, read.members, read.waiting, read.replaced)


def encode_received_keys(keys: ReceivedKeys) -> bytes:
    """The record of a sender's chains. Raises: InvalidArgument if it is not one that could be read back."""
    # Check
    if type(keys) is not ReceivedKeys:
        raise InvalidArgument("this record is made of ReceivedKeys")
    identity, chains, retired = keys
    if len(chains) > MAX_SENDER_KEY_CHAINS:
        raise InvalidArgument(f"a sender has at most {MAX_SENDER_KEY_CHAINS} chains")
    # A message names its chain by the id alone.
    if len(chains) > 1 and len({each.chain_id for each in chains}) != len(chains):
        raise InvalidArgument("a sender's chains have different ids")
    if retired > MAX_UINT64:
        raise InvalidArgument("a number of a group is out of range")
    # Derive
    parts = [] if identity is None else [b"\x0a\x20" + identity.data]
    for chain_id, signing_key, chain_key, iteration, kept in chains:
        if chain_id > MAX_UINT32 or iteration > MAX_COUNTER + 1 or kept > MAX_SKIPPED_KEYS_PER_CHAIN:
            raise InvalidArgument("a received chain is over its limits")
        number, due, bound = varint(chain_id), varint(iteration), varint(kept)
        # Tag and length of the two keys, and the tags of the three numbers, are 71 bytes with the keys.
        length = 71 + len(number) + len(due) + len(bound)
        parts.append(_CHAIN % (length, number, signing_key.data, chain_key.data, due, bound))
    parts.append(b"\x18" + varint(retired))
    return b"".join(parts)


def decode_received_keys(data: bytes) -> ReceivedKeys:
    """The chains of a sender in the record `data`. Raises: CorruptStore."""
    return decode_record(data, records_pb2.ReceivedSenderKeyRecord, _build_received_keys, encode_received_keys)


def _build_received_keys(read: records_pb2.ReceivedSenderKeyRecord) -> ReceivedKeys:
    return ReceivedKeys(
        PublicKey(read.identity_key) if read.HasField("identity_key") else None,
        tuple(
            ReceivedChain(
                each.chain_id, PublicKey(each.signing_key), ChainKey(each.chain_key), each.iteration, each.kept
            )
            for each in read.chain
        ),
        read.retired,
    )


def encode_member(member: Member) -> bytes:
    """The record of a member. Raises: InvalidArgument."""
    if type(member) is not Member or type(member.delivered) is not bool:
        raise InvalidArgument("this record is made of a Member")
    if member.chain_id is not None and not 0 <= member.chain_id <= MAX_UINT32:
        raise InvalidArgument("a chain id has at most 32 bits")
    # Who was given a chain was given it under some identity.
    if (member.chain_id is None) != (member.identity is None) or (member.delivered and member.chain_id is None):
        raise InvalidArgument("a member was given a chain, or was not")
    return records_pb2.GroupMemberRecord(
        chain_id=member.chain_id,
        identity_key=None if member.identity is None else member.identity.data,
        delivered=member.delivered,
    ).SerializeToString(deterministic=True)


def decode_member(data: bytes) -> Member:
    """The member in the record `data`. Raises: CorruptStore."""
    return decode_record(data, records_pb2.GroupMemberRecord, _build_member, encode_member)


def _build_member(read: records_pb2.GroupMemberRecord) -> Member:
    return Member(
        read.chain_id if read.HasField("chain_id") else None,
        PublicKey(read.identity_key) if read.HasField("identity_key") else None,
        read.delivered,
    )
