"""X3DH as pure functions: both sides come to the same session, and to another one if anything differs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pawl import ProtocolError, PublicKey
from pawl.crypto import kdf
from pawl.crypto.keys import KeyPair, agree
from pawl.session import cipher, x3dh
from pawl.session.state import Session
from pawl.wire.messages import PreKeySignalMessage, decode_prekey_message
from tests.devices import LOW_ORDER, NOW, ORDER_4, Random
from tests.session.test_bundle import BUNDLE, ONE_TIME, OWNER, SIGNED

ME = KeyPair.generate(Random("me"))


def initiated(one_time: bool = True) -> Session:
    bundle = BUNDLE if one_time else replace(BUNDLE, prekey_id=None, prekey=None)
    return x3dh.initiate(identity=ME, registration_id=7, bundle=bundle, rng=Random("initiator"), now=NOW)


def first_message(session: Session) -> PreKeySignalMessage:
    _, message = cipher.encrypt(session, b"text", clock=lambda: NOW)
    return decode_prekey_message(message.serialized)


def responded(message: PreKeySignalMessage, prekey: KeyPair | None = ONE_TIME) -> Session:
    return x3dh.respond(identity=OWNER, registration_id=1, signed_prekey=SIGNED, prekey=prekey, message=message)


@pytest.mark.parametrize("one_time", [True, False])
def test_both_sides_agree(one_time: bool) -> None:
    """X3DH, section 3.4: the responder repeats the calculations; identities and ids are the mirror image.

    The chain of the first derivation is the responder's sending chain and the initiator's receiving chain.
    """
    ours = initiated(one_time)
    theirs = responded(first_message(ours), ONE_TIME if one_time else None)
    assert theirs.base_key == ours.base_key
    assert (theirs.local_identity, theirs.remote_identity) == (ours.remote_identity, ours.local_identity)
    assert (theirs.local_registration_id, theirs.remote_registration_id) == (1, 7)
    assert (ours.local_registration_id, ours.remote_registration_id) == (7, 1)
    assert theirs.sending.chain_key == ours.receiving[0].chain_key
    assert theirs.sending.ratchet.public == ours.receiving[0].ratchet_key == SIGNED.public
    # The initiator is one ratchet step ahead.
    root, chain = kdf.root_step(theirs.root_key.data, agree(SIGNED.private, ours.sending.ratchet.public))
    assert (root, chain) == (ours.root_key.data, ours.sending.chain_key.data)
    # Neither has sent or received anything.
    for side in (ours, theirs):
        assert (side.sending.counter, side.previous_counter) == (0, 0)
    assert theirs.receiving == ()
    assert [(each.counter, each.kept) for each in ours.receiving] == [(0, 0)]
    assert theirs.pending is None
    assert ours.pending is not None
    assert ours.pending.prekey_id == (1 if one_time else None)


def test_one_time_prekey_enters_the_secret() -> None:
    """X3DH, section 3.3: with another one-time prekey, or without it, the responder comes to other keys."""
    message = first_message(initiated())
    keys = {responded(message, prekey).root_key.data for prekey in (ONE_TIME, SIGNED, None)}
    assert len(keys) == 3


@pytest.mark.parametrize("low", [LOW_ORDER, ORDER_4], ids=["order 1", "order 4"])
def test_respond_refuses_low_order_keys(low: PublicKey) -> None:
    """IDC-05: a base key or identity key whose shared secret is all zero is refused before any state is built."""
    message = first_message(initiated())
    for forged in (replace(message, base_key=low), replace(message, identity_key=low)):
        with pytest.raises(ProtocolError) as caught:
            responded(forged)
        assert caught.value.code == "invalid-key"


def test_respond_refuses_a_base_key_with_a_part_of_small_order() -> None:
    """CTR-06: X25519 cannot tell a key from seven others; only the one of prime order is a base key.

    The key with the point of order 2 added gives the same shared secrets, and would be taken for a new base key.
    """
    message = first_message(initiated())
    p = 2**255 - 19
    u = int.from_bytes(message.base_key.data, "little")
    # Adding (0, 0), the point of order 2, maps u to 1/u.
    respelled = PublicKey(pow(u, -1, p).to_bytes(32, "little"))
    assert agree(OWNER.private, respelled) == agree(OWNER.private, message.base_key)
    with pytest.raises(ProtocolError) as caught:
        responded(replace(message, base_key=respelled))
    assert caught.value.code == "invalid-key"


def test_initiate_draws_base_key_then_ratchet_key() -> None:
    """One seed gives one transcript: the base key takes the first draw, the first ratchet key the second."""
    rng = Random("initiator")
    base, ratchet = KeyPair.generate(rng), KeyPair.generate(rng)
    session = initiated()
    assert session.base_key == base.public
    assert session.sending.ratchet == ratchet
