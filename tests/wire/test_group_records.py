"""Records of groups: read back as they were written, and nothing else is (PAR-05)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pawl.crypto.keys import ChainKey, KeyPair, PrivateKey, PublicKey
from pawl.errors import CorruptStore, InvalidArgument
from pawl.group.state import Member, OwnGroup, ReceivedChain, ReceivedKeys, SendingKey
from pawl.limits import MAX_GROUP_MEMBERS, MAX_RECORD_BYTES, MAX_SENDER_KEY_CHAINS, MAX_SKIPPED_KEYS_PER_CHAIN
from pawl.wire import records_pb2
from pawl.wire.group_records import (
    decode_member,
    decode_own_group,
    decode_received_keys,
    encode_member,
    encode_own_group,
    encode_received_keys,
)

PAIR = KeyPair.from_private(PrivateKey(bytes([7]) * 32))
KEY = PublicKey(bytes(31) + b"\x11")
SENDING = SendingKey(300, 7, ChainKey(bytes([1]) * 32), PAIR)
OWN = OwnGroup(SENDING, 3, 1, 2)
CHAIN = ReceivedChain(300, KEY, ChainKey(bytes([2]) * 32), 7, 2)
RECEIVED = ReceivedKeys(KEY, (CHAIN, CHAIN._replace(chain_id=4)), 9)
MEMBER = Member(300, KEY, True)
CODECS = {
    "own": (OWN, encode_own_group, decode_own_group, records_pb2.GroupRecord),
    "received": (RECEIVED, encode_received_keys, decode_received_keys, records_pb2.ReceivedSenderKeyRecord),
    "member": (MEMBER, encode_member, decode_member, records_pb2.GroupMemberRecord),
}
every = pytest.mark.parametrize("name", CODECS)

uint32 = st.integers(0, 2**32 - 1)
counters = st.integers(0, 2**32)
chain_keys = st.binary(min_size=32, max_size=32).map(ChainKey)
public_keys = st.binary(min_size=31, max_size=31).map(lambda each: PublicKey(each + b"\x11"))
chains = st.builds(ReceivedChain, uint32, public_keys, chain_keys, counters, st.integers(0, MAX_SKIPPED_KEYS_PER_CHAIN))


@given(uint32, counters, chain_keys, st.integers(0, MAX_GROUP_MEMBERS), st.data(), st.integers(0, 2**64 - 1))
def test_own_groups_are_read_back(chain_id, iteration, chain_key, members, data, replaced):
    """PAR-02 for records, and the package writes the same bytes as our hand."""
    waiting = data.draw(st.integers(0, members))
    group = OwnGroup(SendingKey(chain_id, iteration, chain_key, PAIR), members, waiting, replaced)
    record = encode_own_group(group)
    assert decode_own_group(record) == group
    assert record == records_pb2.GroupRecord(
        chain_id=chain_id,
        iteration=iteration,
        chain_key=chain_key.data,
        signing_public=PAIR.public.data,
        signing_private=PAIR.private.data,
        members=members,
        waiting=waiting,
        replaced=replaced,
    ).SerializeToString(deterministic=True)


@given(
    st.none() | public_keys,
    st.lists(chains, max_size=MAX_SENDER_KEY_CHAINS, unique_by=lambda each: each.chain_id),
    st.integers(0, 2**64 - 1),
)
def test_received_keys_are_read_back(identity, held, retired):
    """The same for the chains of a sender."""
    keys = ReceivedKeys(identity, tuple(held), retired)
    record = encode_received_keys(keys)
    assert decode_received_keys(record) == keys
    assert record == records_pb2.ReceivedSenderKeyRecord(
        identity_key=None if identity is None else identity.data,
        chain=[
            records_pb2.ReceivedChainRecord(
                chain_id=each.chain_id,
                signing_key=each.signing_key.data,
                chain_key=each.chain_key.data,
                iteration=each.iteration,
                kept=each.kept,
            )
            for each in held
        ],
        retired=retired,
    ).SerializeToString(deterministic=True)
    assert len(record) < 1024


@pytest.mark.parametrize("member", [Member(), Member(0, KEY, False), MEMBER, Member(2**32 - 1, KEY, True)])
def test_members_are_read_back(member):
    assert decode_member(encode_member(member)) == member


@every
def test_one_value_one_record(name):
    """PAR-05, "parsed as strictly as wire messages": no bit may change, no field come, go or move."""
    value, encode, decode, kind = CODECS[name]
    record = encode(value)
    for at in range(len(record)):
        for bit in range(8):
            changed = record[:at] + bytes([record[at] ^ 1 << bit]) + record[at + 1 :]
            try:
                read = decode(changed)
            except CorruptStore:
                continue
            assert encode(read) == changed
    for end in range(len(record)):
        with pytest.raises(CorruptStore):
            assert decode(record[:end]) is None
    for more in (b"\x78\x01", b"\0", record):
        with pytest.raises(CorruptStore):
            decode(record + more)
    with pytest.raises(CorruptStore):
        decode(bytes(MAX_RECORD_BYTES + 1))
    with pytest.raises(CorruptStore):
        decode(b"")
    with pytest.raises(InvalidArgument):
        encode(None)
    with pytest.raises(InvalidArgument):
        encode(kind())


@pytest.mark.parametrize(
    "group",
    [
        OWN._replace(members=MAX_GROUP_MEMBERS + 1),
        OWN._replace(waiting=4),
        OWN._replace(replaced=2**64),
        OWN._replace(replaced=-1),
        OWN._replace(sending=SENDING._replace(chain_id=2**32)),
        OWN._replace(sending=SENDING._replace(iteration=2**32 + 1)),
    ],
)
def test_own_groups_have_limits(group):
    """BND-02: "never exceed their limits", when written and when read."""
    with pytest.raises(InvalidArgument):
        encode_own_group(group)


@pytest.mark.parametrize(
    "keys",
    [
        RECEIVED._replace(chains=tuple(CHAIN._replace(chain_id=each) for each in range(6))),
        RECEIVED._replace(chains=(CHAIN, CHAIN)),
        RECEIVED._replace(retired=2**64),
        RECEIVED._replace(chains=(CHAIN._replace(chain_id=2**32),)),
        RECEIVED._replace(chains=(CHAIN._replace(iteration=2**32 + 1),)),
        RECEIVED._replace(chains=(CHAIN._replace(kept=MAX_SKIPPED_KEYS_PER_CHAIN + 1),)),
    ],
)
def test_received_keys_have_limits(keys):
    """BND-02: at most 5 chains, 2,000 kept keys in each; and a message finds one chain by its id."""
    with pytest.raises(InvalidArgument):
        encode_received_keys(keys)


@pytest.mark.parametrize(
    "member", [Member(None, KEY), Member(1, None), Member(None, None, True), Member(2**32, KEY), Member(1, KEY, 1)]
)
def test_members_that_cannot_be(member):
    with pytest.raises(InvalidArgument):
        encode_member(member)


def test_a_record_over_its_limits_is_corrupt():
    """ATM-06: what is out of range in a record was not written by this library."""
    read = records_pb2.GroupRecord.FromString(encode_own_group(OWN))
    read.waiting = 4
    with pytest.raises(CorruptStore):
        decode_own_group(read.SerializeToString(deterministic=True))
