"""The life of prekeys: batches, rotation, grace and deletion (KEY-03, KEY-07)."""

from __future__ import annotations

import pytest

from pawl import Maintenance, PreKeyBundle, ProtocolError
from pawl.crypto import xeddsa
from pawl.errors import Conflict
from pawl.limits import (
    MAX_PREKEY_BATCH,
    MAX_PREKEYS,
    SIGNED_PREKEY_GRACE_SECONDS,
    SIGNED_PREKEY_ROTATION_SECONDS,
)
from pawl.session import prekeys
from pawl.storage.contract import Table
from pawl.wire.messages import decode_prekey_message
from tests.devices import ALICE, BOB, Party, met, party_pair, talk


def published(bob: Party, *, prekey: bool = True) -> PreKeyBundle:
    """A bundle put together by a server from what Bob published."""
    signed = bob.device.signed_prekey()
    one = bob.device.generate_prekeys(1)[0] if prekey else None
    return PreKeyBundle(
        registration_id=bob.device.registration_id,
        device_id=1,
        identity_key=bob.device.identity_key,
        signed_prekey_id=signed.id,
        signed_prekey=signed.key,
        signed_prekey_signature=signed.signature,
        prekey_id=None if one is None else one.id,
        prekey=None if one is None else one.key,
    )


def test_a_server_puts_bundles_together() -> None:
    """X3DH, section 3.2: what is published separately makes a bundle, with and without a one-time prekey."""
    for prekey in (True, False):
        alice, bob = party_pair()
        alice.device.establish(BOB, published(bob, prekey=prekey))
        talk(alice, bob)


def test_batches() -> None:
    """Ids count up from 1 over batches, the keys differ, and the store holds them."""
    _, bob = party_pair()
    made = bob.device.generate_prekeys(3) + bob.device.generate_prekeys(2)
    assert [prekey.id for prekey in made] == [1, 2, 3, 4, 5]
    assert len({prekey.key for prekey in made}) == 5
    assert bob.device.prekey_count() == bob.restarted().prekey_count() == 5


@pytest.mark.parametrize("count", [0, -1, MAX_PREKEY_BATCH + 1, True, 1.0, "3", None])
def test_wrong_batches(count: object) -> None:
    """A batch has 1 to 1,000 prekeys."""
    _, bob = party_pair()
    with bob.refuses("invalid-argument"):
        bob.device.generate_prekeys(count)  # type: ignore[arg-type]


def test_pool_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the bound making more is refused by name, whoever asks; nothing is made."""
    assert MAX_PREKEYS >= MAX_PREKEY_BATCH
    monkeypatch.setattr(prekeys, "MAX_PREKEYS", 5)
    _, bob = party_pair()
    bob.device.generate_prekeys(4)
    bob.device.signed_prekey()
    with bob.refuses("prekeys-full"):
        bob.device.generate_prekeys(2)
    bob.device.prekey_bundle()
    with bob.refuses("prekeys-full"):
        bob.device.prekey_bundle()
    bob.device.prekey_bundle(one_time=False)
    with bob.refuses("prekeys-full"):
        bob.device.maintain(top_up=6)


def test_signed_prekey_stays_until_rotated() -> None:
    """The signed prekey is made once and signed by the identity; asking again gives the same one."""
    _, bob = party_pair()
    signed = bob.device.signed_prekey()
    assert bob.device.signed_prekey() == signed == bob.device.signed_prekey()
    assert bob.device.prekey_bundle().signed_prekey == signed.key
    xeddsa.verify(bob.device.identity_key, signed.key.serialize(), signed.signature)


def test_rotation() -> None:
    """A rotation makes a new key with the next id, which bundles carry from then on; the first one may be made by it."""
    _, bob = party_pair()
    first = bob.device.rotate_signed_prekey()
    second = bob.device.rotate_signed_prekey()
    assert (first.id, second.id) == (1, 2)
    assert first.key != second.key
    assert bob.device.signed_prekey() == second
    assert bob.device.prekey_bundle().signed_prekey_id == 2
    assert bob.count(Table.SIGNED_PREKEY) == 2


def test_a_prekey_that_went_meanwhile() -> None:
    """KEY-03, a one-time prekey serves one session: if it is gone when it is to be spent, that is refused by name."""
    alice, bob = party_pair()
    alice.device.establish(BOB, published(bob))
    message = decode_prekey_message(alice.device.encrypt(BOB, b"hello").serialized)
    assert message.prekey_id == 1
    with bob.store.transaction() as tx:
        tx.delete(Table.PREKEY, prekeys.id_key(1), version=1)
        with pytest.raises(Conflict):
            prekeys.spend(tx, [], message)


@pytest.mark.parametrize("one_time", [True, False])
@pytest.mark.parametrize("waited", [0, SIGNED_PREKEY_GRACE_SECONDS])
def test_messages_in_flight_survive_a_rotation(one_time: bool, waited: int) -> None:
    """KEY-07: within the grace a message under the superseded signed prekey is accepted, maintenance or not."""
    alice, bob = met(one_time=one_time)
    message = alice.send(bob)
    bob.device.rotate_signed_prekey()
    bob.now += waited
    bob.device.maintain()
    assert bob.take(alice, message) == b"text"
    talk(alice, bob)


@pytest.mark.parametrize("one_time", [True, False])
@pytest.mark.parametrize("maintained", [True, False])
def test_after_the_grace(one_time: bool, maintained: bool) -> None:
    """KEY-07: after the grace it is refused by name, whether or not the key was deleted by then."""
    alice, bob = met(one_time=one_time)
    message = alice.send(bob)
    bob.device.rotate_signed_prekey()
    bob.now += SIGNED_PREKEY_GRACE_SECONDS + 1
    if maintained:
        assert bob.device.maintain(rotate_after=2**40).deleted_signed_prekeys == (1,)
    assert bob.count(Table.SIGNED_PREKEY) == 2 - maintained
    with bob.refuses("unknown-signed-prekey"):
        bob.take(alice, message)


def test_the_current_one_has_no_end() -> None:
    """Only superseded signed prekeys run out: one that nobody rotated serves on."""
    alice, bob = met()
    message = alice.send(bob)
    bob.now += 10 * SIGNED_PREKEY_GRACE_SECONDS
    assert bob.device.maintain(rotate_after=2**40) == Maintenance(None, (), ())
    assert bob.take(alice, message) == b"text"


def test_seen_base_keys_go_with_their_signed_prekey() -> None:
    """CTR-06: base keys are remembered until their signed prekey is deleted, and not those of another one."""
    alice, bob = met(one_time=False)
    message = alice.send(bob)
    bob.take(alice, message)
    bob.device.rotate_signed_prekey()
    alice.meet(bob, one_time=False)
    later = alice.send(bob)
    bob.take(alice, later)
    assert bob.count(Table.SEEN_BASE_KEY) == 2
    bob.now += SIGNED_PREKEY_GRACE_SECONDS + 1
    bob.device.rotate_signed_prekey()
    assert bob.count(Table.SEEN_BASE_KEY) == 1
    bob.device.forget_session(ALICE)
    with bob.refuses("unknown-signed-prekey"):
        bob.take(alice, message)
    with bob.refuses("replayed-prekey-message"):
        bob.take(alice, later)


def test_maintenance() -> None:
    """One call tops up, rotates what is old enough and deletes what is past its grace; it says what to publish."""
    _, bob = party_pair()
    first = bob.device.maintain(top_up=3)
    assert [prekey.id for prekey in first.new_prekeys] == [1, 2, 3]
    assert (first.rotated, first.deleted_signed_prekeys) == (None, ())
    bob.now += SIGNED_PREKEY_ROTATION_SECONDS - 1
    assert bob.device.maintain(top_up=3) == Maintenance(None, (), ())
    bob.now += 1
    second = bob.device.maintain(top_up=5)
    assert second.rotated == bob.device.signed_prekey()
    assert [prekey.id for prekey in second.new_prekeys] == [4, 5]
    bob.now += SIGNED_PREKEY_GRACE_SECONDS + 1
    third = bob.device.maintain()
    assert third.deleted_signed_prekeys == (1,)
    assert third.rotated is not None
    assert third.rotated.id == 3


@pytest.mark.parametrize(
    "wrong",
    [{"top_up": -1}, {"top_up": MAX_PREKEY_BATCH + 1}, {"top_up": "3"}, {"rotate_after": -1}, {"rotate_after": 1.5}],
    ids=str,
)
def test_wrong_maintenance(wrong: dict[str, int]) -> None:
    """Wrong arguments are refused before anything is done."""
    _, bob = party_pair()
    with bob.refuses("invalid-argument"):
        bob.device.maintain(**wrong)


def test_forgetting_a_session() -> None:
    """CTR-06: a replayed prekey message is refused also after the session was forgotten; the pin stays."""
    for one_time, code in ((True, "unknown-prekey"), (False, "replayed-prekey-message")):
        alice, bob = met(one_time=one_time)
        message = alice.send(bob)
        bob.take(alice, message)
        late = alice.send(bob)
        bob.take(alice, alice.send(bob))
        assert bob.kept()
        bob.device.forget_session(ALICE)
        assert (bob.count(Table.SESSION), bob.count(Table.SESSION_INDEX), bob.kept()) == (0, 0, [])
        assert not bob.device.has_session(ALICE)
        assert bob.device.pinned_identity("alice") == alice.device.identity_key
        for each in (message, late):
            with bob.refuses(code):
                bob.take(alice, each)
        with pytest.raises(ProtocolError):
            bob.send(alice)
        alice.meet(bob)
        talk(alice, bob)


def test_wrong_argument_to_forget() -> None:
    """A peer is a ProtocolAddress."""
    _, bob = party_pair()
    with bob.refuses("invalid-argument"):
        bob.device.forget_session("alice")  # type: ignore[arg-type]
