"""The attacker: each change is the one that its name says, and the search of a stolen state finds what is there alone.

Changed messages are parsed back with the protobuf package and with the library's own strict decoder.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import fields

import nacl.bindings as sodium
import pytest

from pawl.crypto import kdf, xeddsa
from pawl.crypto.keys import PrivateKey, PublicKey, agree
from pawl.errors import InvalidKey, InvalidSignature, MalformedMessage, MessageTooLarge, ProtocolError
from pawl.wire.messages import decode_prekey_message, decode_signal_message
from pawl.wire.signal_pb2 import PreKeySignalMessage, SignalMessage
from pawl_gate.attacker import (
    ATTACKER,
    INNER_FIELDS,
    LOW_ORDER,
    OUTER,
    OUTER_FIELDS,
    Change,
    forge,
    junk,
    key_pair,
    random_key,
    respelled,
    tamper,
)
from pawl_gate.key_search import MAX_STEPS, KeySearch, Proven, Recorded, proven
from pawl_gate.targets.base import WireMessage
from pawl_gate.wire_view import inner_data, prekey_layer, signal_layer
from pawl_spec.trace import COUNTER_DELTAS, FORGERIES, JUNK, TAMPERS, VERSION_BYTES
from tests.gate.honest import ALICE, BOB, CAROL, Honest

HONEST = Honest()
"""Made once: nothing here changes it."""

IDENTITIES = {0: HONEST.identities[CAROL], 1: key_pair("a new phone").public.serialize()}
"""Of the next party, and of the sender after it came back with another identity."""

INNER = [name for name in TAMPERS if name not in OUTER]
BREAKS_FORMAT = {
    "duplicate-field",
    "overlong-varint",
    "wrong-wire-type",
    "outer-duplicate-field",
    "outer-overlong-varint",
}


def changed(message: WireMessage, name: str, how: int = 0) -> WireMessage:
    """The changed copy; the change must concern the message."""
    change = tamper(message, name, how, others=HONEST.sent, identities=IDENTITIES)
    assert change is not None
    return change.message


def inner_parts(data: bytes) -> dict[str, object]:
    """A SignalMessage, read leniently by the protobuf package."""
    parsed = SignalMessage.FromString(data[1:-8])
    parts: dict[str, object] = {"version": data[0], "mac": data[-8:]}
    return parts | {field.name: value for field, value in parsed.ListFields()}


def outer_parts(data: bytes) -> dict[str, object]:
    """The outer layer of a prekey message, read leniently by the protobuf package."""
    parsed = PreKeySignalMessage.FromString(data[1:])
    return {"outer_version": data[0]} | {field.name: value for field, value in parsed.ListFields()}


def parts(message: WireMessage) -> dict[str, object]:
    """Everything that a message says, both layers."""
    if message.kind == "signal":
        return inner_parts(message.data)
    outer = outer_parts(message.data)
    return outer | inner_parts(bytes(outer.pop("message")))


def difference(one: WireMessage, other: WireMessage) -> set[str]:
    """Names of what differs."""
    before, after = parts(one), parts(other)
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def decodes(message: WireMessage) -> None:
    """The library's strict decoder. Raises: ProtocolError."""
    decode_signal_message(message.data) if message.kind == "signal" else decode_prekey_message(message.data)


# -- changes that leave the format whole ------------------------------------------------------------------------------

WHOLE = {
    "mac": "mac",
    "ciphertext": "ciphertext",
    "counter": "counter",
    "previous-counter": "previous_counter",
    "ratchet-key": "ratchet_key",
    "low-order-ratchet-key": "ratchet_key",
    "registration-id": "registration_id",
    "prekey-id": "prekey_id",
    "drop-prekey-id": "prekey_id",
    "signed-prekey-id": "signed_prekey_id",
    "base-key": "base_key",
    "low-order-base-key": "base_key",
    "identity-key": "identity_key",
    "present-identity": "identity_key",
    "low-order-identity": "identity_key",
    "respelled-identity-key": "identity_key",
    "respelled-base-key": "base_key",
}
"""The change and the only field that it touches."""


@pytest.mark.parametrize("how", [0, 1, 2, 3, 4, 7, 100, 255])
@pytest.mark.parametrize("name", WHOLE)
def test_one_field_differs(name: str, how: int) -> None:
    """A change touches the field that its name says, and no other; what comes out is still a message."""
    for message in (HONEST.first, HONEST.later):
        if message.kind == "signal" and name in OUTER:
            continue
        other = changed(message, name, how)
        assert difference(message, other) == {WHOLE[name]}
        # A reader that demands the canonical form of a key refuses an odd respelling at once.
        if not (name.startswith("respelled") and how % 2):
            decodes(other)
    # The message itself is as it was.
    assert HONEST.first == HONEST.sent[1]


@pytest.mark.parametrize("how", range(len(COUNTER_DELTAS)))
def test_counters_are_added_to(how: int) -> None:
    """COUNTER_DELTAS: "What 'counter' and 'previous-counter' add (modulo 2**32), chosen by `how`"."""
    for name, field in (("counter", "counter"), ("previous-counter", "previous_counter")):
        other = parts(changed(HONEST.second, name, how))
        assert other[field] == parts(HONEST.second)[field] + COUNTER_DELTAS[how]
    twice = changed(changed(HONEST.second, "counter", 4), "counter", 4)
    assert twice == HONEST.second


@pytest.mark.parametrize("how", range(8))
def test_one_bit_is_flipped(how: int) -> None:
    """ "mac" and "ciphertext" flip one bit: the nearest thing to the original that is not the original."""
    for name in ("mac", "ciphertext"):
        one, other = (bytes(parts(m)[name]) for m in (HONEST.later, changed(HONEST.later, name, how)))
        assert len(one) == len(other)
        assert (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count() == 1


def test_ratchet_keys_are_stray_or_spliced() -> None:
    """ "ratchet-key": an even choice makes up a key, an odd one takes that of another message, if it has another."""
    stray = parts(changed(HONEST.later, "ratchet-key", 0))["ratchet_key"]
    assert stray not in {parts(message)["ratchet_key"] for message in HONEST.sent}
    # 3 names the answer; 5 modulo 5 messages the first one.
    for how, other in ((3, HONEST.answer), (5, HONEST.without)):
        assert parts(changed(HONEST.later, "ratchet-key", how))["ratchet_key"] == parts(other)["ratchet_key"]
    # 1 names a message on the same chain: there is nothing to splice.
    spliced = parts(changed(HONEST.second, "ratchet-key", 1))["ratchet_key"]
    assert spliced not in {parts(message)["ratchet_key"] for message in HONEST.sent}


def test_whose_identity() -> None:
    """ "identity-key": the attacker's own, or another party's."""
    assert parts(changed(HONEST.first, "identity-key", 0))["identity_key"] == ATTACKER.public.serialize()
    assert parts(changed(HONEST.first, "identity-key", 1))["identity_key"] == HONEST.identities[CAROL]


def test_the_present_identity() -> None:
    """ "present-identity": the sender's identity as it is now; where that was not replaced there is nothing to change."""
    assert parts(changed(HONEST.first, "present-identity"))["identity_key"] == IDENTITIES[1]
    same = {1: bytes(parts(HONEST.first)["identity_key"])}
    assert tamper(HONEST.first, "present-identity", 0, others=HONEST.sent, identities=same) is None


def test_prekey_ids() -> None:
    """ "prekey-id" names another, and says which; "drop-prekey-id" names none; absent is not zero."""
    change = tamper(HONEST.first, "prekey-id", 4, others=HONEST.sent, identities={})
    assert isinstance(change, Change)
    assert change.prekey_id == parts(change.message)["prekey_id"] == parts(HONEST.first)["prekey_id"] + 5
    assert "prekey_id" not in parts(changed(HONEST.first, "drop-prekey-id"))
    assert changed(HONEST.without, "drop-prekey-id") == HONEST.without
    assert parts(changed(HONEST.without, "prekey-id", 0))["prekey_id"] == 1


def test_a_respelled_key_agrees_as_before() -> None:
    """RFC 7748, section 5: X25519 masks the top bit, and clamps away what has small order."""
    mine, key = key_pair("mine").private, bytes(parts(HONEST.first)["base_key"])
    other = respelled(key, 0)
    assert other != key
    assert agree(mine, PublicKey.deserialize(other)) == agree(mine, PublicKey.deserialize(key))
    odd = respelled(key, 1)
    assert odd != key
    assert sodium.crypto_scalarmult(mine.data, odd[1:]) == agree(mine, PublicKey.deserialize(key))


@pytest.mark.parametrize("key", LOW_ORDER, ids=lambda key: key.hex()[:10])
def test_keys_of_small_order(key: bytes) -> None:
    """RFC 7748, section 6.1: with each of LOW_ORDER the shared secret is all zero, which the library refuses."""
    with pytest.raises(InvalidKey):
        agree(key_pair("anyone").private, PublicKey.deserialize(key))


@pytest.mark.parametrize("name", ["low-order-identity", "low-order-base-key", "low-order-ratchet-key"])
def test_every_key_of_small_order_is_used(name: str) -> None:
    """The choice runs through all of them."""
    used = {parts(changed(HONEST.first, name, how))[WHOLE[name]] for how in range(len(LOW_ORDER))}
    assert used == set(LOW_ORDER)


# -- changes of the form ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", range(len(VERSION_BYTES)))
def test_version_bytes(how: int) -> None:
    """VERSION_BYTES: the inner version byte with "version", the outer one with "outer-version"; never the honest one."""
    for message in (HONEST.first, HONEST.later):
        other = changed(message, "version", how)
        assert difference(message, other) == {"version"}
        assert parts(other)["version"] == VERSION_BYTES[how] != 0x33
    other = changed(HONEST.first, "outer-version", how)
    assert difference(HONEST.first, other) == {"outer_version"}
    assert other.data[0] == VERSION_BYTES[how]


@pytest.mark.parametrize("how", range(12))
def test_the_order_of_fields(how: int) -> None:
    """ "reorder-fields": the same fields in another order, in as many bytes; it still decodes."""
    other = changed(HONEST.first, "reorder-fields", how)
    assert other.data != HONEST.first.data
    assert len(other.data) == len(HONEST.first.data)
    assert difference(HONEST.first, other) == set()
    decodes(other)


@pytest.mark.parametrize("name", ["unknown-field", "outer-unknown-field"])
def test_a_field_that_nobody_knows(name: str) -> None:
    """A field more, in the layer that the name says; it still decodes, and says the same."""
    for message in (HONEST.first, HONEST.later):
        if message.kind == "prekey" or name not in OUTER:
            other = changed(message, name)
            assert len(other.data) > len(message.data)
            assert difference(message, other) == set()
            decodes(other)
    inner = inner_data(HONEST.first)
    assert (inner_data(changed(HONEST.first, name)) == inner) is (name in OUTER)


@pytest.mark.parametrize("how", range(8))
@pytest.mark.parametrize("name", sorted(BREAKS_FORMAT - {"wrong-wire-type"}))
def test_what_a_lenient_reader_does_not_notice(name: str, how: int) -> None:
    """Repeated fields and overlong varints: to a lenient reader the same message, to a strict one none."""
    for message in (HONEST.first, HONEST.later):
        if message.kind == "signal" and name in OUTER:
            continue
        other = changed(message, name, how)
        assert other.data != message.data
        assert difference(message, other) == set()
        with pytest.raises(MalformedMessage):
            decodes(other)


def test_a_wrong_wire_type() -> None:
    """ "wrong-wire-type": the counter as a byte string."""
    for message in (HONEST.first, HONEST.later):
        other = changed(message, "wrong-wire-type")
        assert difference(message, other) == {"counter"}
        assert b"\x12\x01\x01" in inner_data(other)
        with pytest.raises(MalformedMessage):
            decodes(other)


def test_cut_off() -> None:
    """ "truncate": the first `how` bytes of the SignalMessage, never all of them."""
    for message in (HONEST.first, HONEST.later):
        whole = inner_data(message)
        for how in range(256):
            cut = inner_data(changed(message, "truncate", how))
            assert cut == whole[: how % len(whole)]
            assert len(cut) < len(whole)


def test_a_trailing_byte() -> None:
    """ "trailing-byte": one byte behind the SignalMessage."""
    for message in (HONEST.first, HONEST.later):
        for how in (0, 255):
            assert inner_data(changed(message, "trailing-byte", how)) == inner_data(message) + bytes([how])


@pytest.mark.parametrize("name", TAMPERS)
@pytest.mark.parametrize("how", [0, 1, 200, 255])
def test_changes_that_concern_the_message(name: str, how: int) -> None:
    """Outer changes concern prekey messages only; every other one changes every message, and the same way each time."""
    for message in HONEST.sent:
        change = tamper(message, name, how, others=HONEST.sent, identities=IDENTITIES)
        again = tamper(message, name, how, others=HONEST.sent, identities=IDENTITIES)
        assert change == again
        if name in OUTER and message.kind == "signal":
            assert change is None
            continue
        assert change is not None
        assert change.message.kind == message.kind
        assert (change.message == message) is (name == "drop-prekey-id" and message == HONEST.without)


def test_every_change_has_a_test() -> None:
    """Each of TAMPERS is looked at by one of the tests above."""
    form = {"version", "outer-version", "reorder-fields", "unknown-field", "outer-unknown-field", "truncate"}
    assert {*WHOLE, *BREAKS_FORMAT, *form, *LEFT_OUT, *SHAPED, "trailing-byte"} == set(TAMPERS)


LEFT_OUT = {**INNER_FIELDS, **OUTER_FIELDS}
"""Changes that leave a field out, and its number."""

SHAPED = {
    "oversized-ciphertext": (4, 256 * 1024 + 16),
    "oversized-key": (1, 64),
    "untyped-ratchet-key": (1, 32),
    "untyped-base-key": (2, 32),
    "untyped-identity-key": (3, 32),
    "prekey-id-zero": (1, 0),
}
"""Changes of a field's length (or, of the id, its value), and what it has then."""


def layers(message: WireMessage, name: str) -> dict[int, int | bytes]:
    """The fields of the layer that a change concerns."""
    layer = prekey_layer(message.data) if name in OUTER else signal_layer(inner_data(message))
    return dict(layer.fields)


@pytest.mark.parametrize("name", LEFT_OUT)
def test_a_field_is_left_out(name: str) -> None:
    """That field is gone, and nothing else of its layer has changed."""
    there = layers(HONEST.first, name)
    del there[LEFT_OUT[name]]
    assert layers(changed(HONEST.first, name), name) == there


@pytest.mark.parametrize("name", SHAPED)
def test_a_field_of_another_length(name: str) -> None:
    """That field has the length (or the value) that the name says, and nothing else of its layer has changed."""
    number, expected = SHAPED[name]
    there, other = layers(HONEST.first, name), layers(changed(HONEST.first, name), name)
    value, was = other.pop(number), there.pop(number)
    assert (value if isinstance(value, int) else len(value)) == expected
    assert other == there
    if name.startswith("untyped"):
        assert b"\x05" + value == was


# -- bundles ----------------------------------------------------------------------------------------------------------

FORGED = {
    "bad-signature": {"signature"},
    "swap-signed-prekey": {"signed_prekey"},
    "swap-identity": {"identity_key"},
    "attacker-bundle": {"identity_key", "signed_prekey", "signature"},
    "low-order-signed-prekey": {"identity_key", "signed_prekey", "signature"},
    "low-order-prekey": {"prekey"},
    "swap-prekey": {"prekey"},
    "key-type": {"signed_prekey"},
    "short-signature": {"signature"},
    "prekey-id": {"prekey_id"},
    "untyped-signed-prekey": {"signed_prekey"},
    "untyped-prekey": {"prekey"},
    "untyped-identity-key": {"identity_key"},
    "long-key": {"signed_prekey"},
    "empty-key": {"signed_prekey"},
    "long-signature": {"signature"},
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_fields(name: str) -> None:
    """A forgery touches the fields that its name says, and no other."""
    other = forge(HONEST.bundle, name)
    differ = {f.name for f in fields(other) if getattr(other, f.name) != getattr(HONEST.bundle, f.name)}
    assert differ == FORGED[name]


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_signatures(name: str) -> None:
    """Only the attacker's own bundles, and those that leave what is signed as it was, carry a valid signature."""
    bundle = forge(HONEST.bundle, name)
    unsigned = ("low-order-prekey", "swap-prekey", "prekey-id", "untyped-prekey")
    valid = name in ("attacker-bundle", "low-order-signed-prekey", *unsigned)
    try:
        xeddsa.verify(PublicKey.deserialize(bundle.identity_key), bundle.signed_prekey, bundle.signature)
    except (InvalidSignature, InvalidKey):
        assert not valid
    else:
        assert valid


def test_what_forgeries_put_in_place() -> None:
    """The attacker's key where it is swapped, a key of small order, a wrong type byte, a byte too few, an unknown id."""
    mine = ATTACKER.public.serialize()
    assert forge(HONEST.bundle, "swap-prekey").prekey == mine
    assert forge(HONEST.bundle, "swap-identity").identity_key == mine
    assert forge(HONEST.bundle, "low-order-prekey").prekey in LOW_ORDER
    assert forge(HONEST.bundle, "low-order-signed-prekey").signed_prekey in LOW_ORDER
    assert forge(HONEST.bundle, "key-type").signed_prekey == b"\x06" + HONEST.bundle.signed_prekey[1:]
    assert len(forge(HONEST.bundle, "short-signature").signature) == 63
    assert forge(HONEST.bundle, "prekey-id").prekey_id == (HONEST.bundle.prekey_id or 0) + 1_000_000


# -- made-up bytes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", JUNK)
def test_junk_is_handed_over_as_both_kinds(what: str) -> None:
    """ "odd `how`: handed over as a prekey message"; the same choice gives the same bytes."""
    for how in range(256):
        assert junk(what, how).kind == ("prekey" if how % 2 else "signal")
        assert junk(what, how) == junk(what, how)


@pytest.mark.parametrize("what", [what for what in JUNK if what != "well-formed"])
def test_junk_is_no_message(what: str) -> None:
    """No strict decoder takes it for a message; it says so with a refusal, nothing else."""
    for how in range(256):
        with pytest.raises(ProtocolError):
            decodes(junk(what, how))


def test_well_formed_junk_is_a_message() -> None:
    """ "well-formed" decodes: that nobody sent it shows only when it is authenticated."""
    for how in range(256):
        decodes(junk("well-formed", how))


def test_what_junk_looks_like() -> None:
    """Empty, a version byte alone, noise of any length, a body over the limit, a length that is not there."""
    assert junk("empty", 9).data == b""
    assert junk("version-only", 9).data == b"\x33"
    assert {len(junk("random", how).data) for how in range(256)} == set(range(128))
    assert {len(junk("version-random", how).data) for how in range(256)} == set(range(1, 129))
    with pytest.raises(MessageTooLarge):
        decodes(junk("oversized", 0))
    # Field 4 of 2**63 - 1 bytes, or of 2**31 - 1; a few follow.
    for how, length in ((0, "ffffffffffffffff7f"), (2, "ffffffff07")):
        data = junk("huge-length", how).data
        assert data.startswith(bytes.fromhex("3322" + length))
        assert len(data) < 40


# -- a stolen state ---------------------------------------------------------------------------------------------------

SENDER, RECEIVER = b"\x05" + b"s" * 32, b"\x05" + b"r" * 32
CHAIN = hashlib.sha256(b"chain").digest()


def chain_key(at: int) -> bytes:
    """The chain key from which message `at` is derived. Double Ratchet, section 5.2: HMAC with constants 1 and 2."""
    key = CHAIN
    for _ in range(at):
        key = hmac.digest(key, b"\x02", "sha256")
    return key


def seed(at: int) -> bytes:
    """The seed of message `at`."""
    return hmac.digest(chain_key(at), b"\x01", "sha256")


def recorded(at: int, *, handle: int | None = None) -> Recorded:
    """Message `at` of the chain, with the MAC that its sender put on it."""
    body = b"\x33 message %d" % at
    mac_key = kdf.message_keys(seed(at))[1]
    mac = hmac.digest(mac_key, SENDER + RECEIVER + body, "sha256")[:8]
    return Recorded(at if handle is None else handle, body + mac, SENDER, RECEIVER)


MESSAGES = [recorded(at) for at in range(12)]


def readable(secrets: Sequence[bytes], messages: Sequence[Recorded]) -> tuple[int, ...]:
    """What a search finds that was never made before."""
    return KeySearch().readable(secrets, messages)


def test_a_kept_seed_reads_its_message() -> None:
    """A message key that was kept reads its message, and no other."""
    assert readable([seed(3)], MESSAGES) == (3,)
    assert readable([seed(5), seed(3)], MESSAGES) == (3, 5)


def test_an_earlier_chain_key_reads_on() -> None:
    """A chain key that was kept reads what comes from it on, as far as the search goes, and nothing before it."""
    assert readable([chain_key(4)], MESSAGES) == tuple(range(4, 4 + MAX_STEPS))


def test_a_later_chain_key_reads_nothing() -> None:
    """Double Ratchet, section 2.1: no chain key leads back; the key that is due next reads nothing recorded."""
    assert readable([chain_key(12)], MESSAGES) == ()


def test_other_secrets_read_nothing() -> None:
    """Keys of other chains, noise, and nothing at all."""
    assert readable([hashlib.sha256(bytes([at])).digest() for at in range(50)], MESSAGES) == ()
    assert readable([], MESSAGES) == ()
    assert readable([seed(3)], []) == ()


def test_a_changed_record_is_not_read() -> None:
    """What counts as reading is that the MAC fits, over both identities and all bytes."""
    one = recorded(3)
    assert readable([seed(3)], [one._replace(sender=RECEIVER, receiver=SENDER)]) == ()
    assert readable([seed(3)], [one._replace(signal=b"\x34" + one.signal[1:])]) == ()
    assert readable([seed(3)], [one._replace(signal=one.signal[:-1] + b"\0")]) == ()


def test_a_search_that_remembers_finds_the_same() -> None:
    """What was derived and tried before is found again, and what came since is tried: as if all were tried anew."""
    search = KeySearch()
    for count in range(len(MESSAGES) + 1):
        for secrets in ([chain_key(4)], [seed(9), chain_key(0)], [chain_key(5), chain_key(4)], [chain_key(4)]):
            assert search.readable(secrets, MESSAGES[:count]) == readable(secrets, MESSAGES[:count])


def known(at: int) -> Recorded:
    """Message `at`, of which it is known what opens it."""
    plain = recorded(at)
    return plain._replace(key=prove(chain_key(at), plain))


def prove(spent: bytes | None, message: Recorded) -> Proven | None:
    """What `proven` makes of a chain key."""
    return proven(spent, message.signal, sender=message.sender, receiver=message.receiver, derived=KeySearch().derived)


def test_a_key_is_proven_by_the_code_that_it_makes() -> None:
    """Only the chain key that was spent on a message proves what opens it; a hint that is wrong proves nothing."""
    assert prove(chain_key(3), recorded(3)) == Proven(seed(3), kdf.message_keys(seed(3))[1])
    assert prove(chain_key(4), recorded(3)) is None
    assert prove(None, recorded(3)) is None
    assert prove(chain_key(3), recorded(3)._replace(sender=RECEIVER, receiver=SENDER)) is None


@pytest.mark.parametrize("changed", [False, True], ids=["as it is", "changed"])
def test_a_search_with_proven_keys_finds_the_same(changed: bool) -> None:
    """None proven, some or all: what the secrets open does not depend on it, nor what is not a key is taken for one."""
    mixed = [known(at) if at % 2 else recorded(at) for at in range(12)]
    noise = [hashlib.sha256(bytes([at])).digest() for at in range(5)]
    for secrets in ([], noise, [chain_key(4)], [seed(9), chain_key(0)], [seed(3), *noise], [chain_key(12)]):
        for messages in ([known(at) for at in range(12)], mixed):
            search = KeySearch()
            search.changed = changed
            assert search.readable(secrets, messages) == readable(secrets, MESSAGES)


def test_a_changed_derivation_is_searched_by_its_mac_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """An implementation in which another seed makes the same MAC key: whoever has that seed reads the message too."""
    message, other = known(3), hashlib.sha256(b"another seed").digest()
    real = kdf.message_keys
    monkeypatch.setattr(kdf, "message_keys", lambda each: real(seed(3) if each == other else each))
    search = KeySearch()
    search.changed = True
    assert search.readable([other], [message]) == (3,)
    assert message.key is not None
    assert search.opens(other, message.key)
    assert not search.opens(seed(4), message.key)


def test_handles_are_named() -> None:
    """The handle is the message's, not its place."""
    assert readable([seed(3)], [recorded(3, handle=77)]) == (77,)


def test_a_real_state_reads_what_it_has_not_read() -> None:
    """KEY-01, KEY-02: real devices keep no key of what they sent or read; of what is still to come, its reader does."""
    ours = [
        Recorded(at, inner_data(message), HONEST.identities[one], HONEST.identities[other])
        for at, (message, one, other) in enumerate(
            [
                (HONEST.first, ALICE, BOB),
                (HONEST.second, ALICE, BOB),
                (HONEST.answer, BOB, ALICE),
                (HONEST.later, ALICE, BOB),
            ]
        )
    ]
    # Alice sent all but the answer, which she has read. Bob has the chain on which the second message is still due.
    assert readable(HONEST.world.secrets(ALICE), ours) == ()
    assert readable(HONEST.world.secrets(BOB), ours) == (1,)


def test_the_attacker_s_keys() -> None:
    """Keys of the attacker's are valid, the same in every run, and different for different labels."""
    assert key_pair("identity").public == ATTACKER.public
    assert agree(ATTACKER.private, key_pair("x").public) == agree(key_pair("x").private, ATTACKER.public)
    assert len({random_key(one, other) for one in range(10) for other in range(10)}) == 100
    assert isinstance(ATTACKER.private, PrivateKey)
