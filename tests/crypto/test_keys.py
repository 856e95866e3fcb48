"""Key classes and the key agreement."""

from __future__ import annotations

import copy
import dataclasses
import hmac
import pickle
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pawl.crypto import keys
from pawl.crypto.keys import ChainKey, KeyPair, MessageSeed, PrivateKey, PublicKey, RootKey, agree, require_prime_order
from pawl.errors import InvalidArgument, InvalidKey
from pawl.sources import draw, system_clock, system_rng
from pawl_gate.fuzzing import big_integers as slow
from tests.labels import label
from tests.vectors import transcripts

SECRETS = [PrivateKey, RootKey, ChainKey, MessageSeed]
CLASSES = [PublicKey, *SECRETS]
BYTES = bytes(range(1, 33))
NOT_32_BYTES = [b"", bytes(31), bytes(33), bytearray(32), memoryview(bytes(32)), "0" * 32, None, 32, [0] * 32]

# The points of order 1, 2, 4 and 8 on the curve and its twist, canonical. Source: RFC 7748 names the contributory
# check; the values follow from the curve equation and are checked below.
SMALL_ORDER = [
    (0).to_bytes(32, "little"),
    (1).to_bytes(32, "little"),
    (slow.P - 1).to_bytes(32, "little"),
    slow.montgomery_u(slow.order_eight_point()),
    slow.montgomery_u(slow.multiply(3, slow.order_eight_point())),
]


def pair(seed: int) -> KeyPair:
    return KeyPair.generate(random.Random(seed).randbytes)


class Recorded:
    """A random source that gives one answer and remembers what it was asked for."""

    def __init__(self, answer: bytes) -> None:
        self.answer, self.asked = answer, []

    def __call__(self, length: int) -> bytes:
        self.asked.append(length)
        return self.answer


@pytest.mark.parametrize("kind", CLASSES)
# Not repr: of a memoryview it holds an address, and the two processes of xdist must collect the same names.
@pytest.mark.parametrize("data", NOT_32_BYTES, ids=lambda data: type(data).__name__)
def test_a_key_is_32_bytes(kind, data):
    """Style 11, "lengths checked in the constructor": anything but 32 bytes is refused by name."""
    with pytest.raises(InvalidKey, match=kind.__name__):
        kind(data)


@pytest.mark.parametrize("kind", CLASSES)
def test_a_key_cannot_be_changed(kind):
    """Architecture, decision 7, "small frozen classes": assignment fails."""
    key = kind(BYTES)
    assert key.data == BYTES
    with pytest.raises(dataclasses.FrozenInstanceError):
        key.data = bytes(32)
    with pytest.raises((AttributeError, TypeError)):
        key.more = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        del key.data


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_is_in_no_text(kind):
    """KEY-06, no secret in `repr` or an error text: no form of text shows the bytes."""
    key = kind(BYTES)
    for text in (repr(key), str(key), f"{key}", f"{key!r:>80}", repr([key]), repr(copy.copy(key))):
        assert text.strip("[] ") == f"{kind.__name__}(<redacted>)"
    with pytest.raises(InvalidKey) as refusal:
        kind(BYTES + b"!")
    assert repr(BYTES)[2:20] not in repr(refusal.value)


def test_a_key_pair_shows_its_public_half_only():
    """KEY-06: the text of a pair names both halves and redacts the private one."""
    made = pair(1)
    assert repr(made) == f"KeyPair(public={made.public!r}, private=PrivateKey(<redacted>))"


@pytest.mark.parametrize("kind", SECRETS)
def test_secrets_compare_in_constant_time(kind, monkeypatch):
    """Style 12, "compare in constant time": equality is decided by `hmac.compare_digest` and by nothing else."""
    calls = []

    def compare(a, b, real=hmac.compare_digest):
        calls.append((a, b))
        return real(a, b)

    monkeypatch.setattr(keys.hmac, "compare_digest", compare)
    assert kind(BYTES) == kind(bytes(BYTES))
    assert kind(BYTES) != kind(bytes(32))
    assert calls == [(BYTES, BYTES), (BYTES, bytes(32))]


@pytest.mark.parametrize("kind", SECRETS)
def test_secrets_of_two_kinds_are_never_equal(kind):
    """Style 11, "32-byte things do not get mixed up": another class with the same bytes is another key."""
    assert all((kind(BYTES) == other(BYTES)) is (kind is other) for other in CLASSES)
    assert kind(BYTES) != BYTES


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_is_neither_hashed_nor_pickled(kind):
    """KEY-06: a hash or a pickle would carry the secret elsewhere; a copy is the same object."""
    key = kind(BYTES)
    with pytest.raises(TypeError, match="unhashable"):
        hash(key)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(InvalidArgument, match="pickled"):
            pickle.dumps(key, protocol)
    assert copy.copy(key) is key
    assert copy.deepcopy(key) is key


def test_public_keys_are_values():
    """A public key is no secret: equal bytes are equal, hash alike, and show."""
    assert PublicKey(BYTES) == PublicKey(bytes(BYTES))
    assert len({PublicKey(BYTES), PublicKey(bytes(BYTES)), PublicKey(bytes(32))}) == 2
    assert repr(BYTES) in repr(PublicKey(BYTES))


@pytest.mark.parametrize("number", [slow.P, slow.P + 1, 2**255 - 1, 2**255, 2**255 + 9, 2**256 - 1])
def test_a_public_key_has_one_spelling(number):
    """CTR-06 (the base key is remembered by its bytes): RFC 7748 reads these as smaller numbers; we refuse them."""
    with pytest.raises(InvalidKey, match="canonical"):
        PublicKey(number.to_bytes(32, "little"))


def test_the_largest_canonical_public_key():
    """RFC 7748, section 5: p - 1 is the last number below the prime, and accepted as a spelling."""
    assert PublicKey((slow.P - 1).to_bytes(32, "little"))


def test_wire_form():
    """Wire facts, "Public key on the wire: 0x05 and 32 bytes (33 in all)": both ways."""
    assert PublicKey(BYTES).serialize() == b"\x05" + BYTES
    assert PublicKey.deserialize(b"\x05" + BYTES) == PublicKey(BYTES)


@pytest.mark.parametrize(
    "data",
    [b"", BYTES, b"\x05" + BYTES + b"\x00", b"\x04" + BYTES, b"\x85" + BYTES, bytearray(b"\x05" + BYTES), None, "\x05"],
    ids=label,
)
def test_other_wire_forms_are_refused(data):
    """IDC-09, a key without its type byte is read only as a named option (there is none): refused."""
    with pytest.raises(InvalidKey):
        PublicKey.deserialize(data)


def test_generated_keys_are_those_of_node():
    """The transcript's keys list: each random seed gives the private and the public key that node made of it."""
    checked = 0
    for transcript in transcripts():
        for each in transcript["keys"]:
            rng = Recorded(bytes.fromhex(each["seed"]))
            made = KeyPair.generate(rng)
            assert rng.asked == [32]
            assert made.private.data.hex() == each["priv"]
            assert made.public.serialize().hex() == each["pub"]
            assert KeyPair.from_private(made.private) == made
            checked += 1
    assert checked == 25


@pytest.mark.parametrize("answer", [b"", bytes(31), bytes(33), bytearray(32), "0" * 32, None], ids=label)
def test_a_short_random_source_is_refused(answer):
    """Decision 4, randomness is an argument: one that does not give what was asked for makes no weak key."""
    with pytest.raises(InvalidArgument):
        KeyPair.generate(lambda _: answer)


def test_the_operating_systems_sources():
    """The outer edge: as many bytes as asked for, never the same, and whole seconds."""
    assert len(draw(system_rng, 32)) == 32
    assert draw(system_rng, 32) != draw(system_rng, 32)
    assert type(system_clock()) is int
    assert system_clock() > 1_600_000_000


@pytest.mark.parametrize(
    ("public", "private"),
    [(PrivateKey(BYTES), PublicKey(BYTES)), (PublicKey(BYTES), BYTES), (BYTES, PrivateKey(BYTES)), (None, None)],
    ids=["swapped", "bytes", "bytes", "none"],
)
def test_a_pair_is_a_public_and_a_private_key(public, private):
    """Style 13, "swapped keys otherwise run silently": refused."""
    with pytest.raises(InvalidKey):
        KeyPair(public, private)


@pytest.mark.parametrize("private", [BYTES, None, PublicKey(BYTES), RootKey(BYTES)])
def test_a_pair_is_made_from_a_private_key(private):
    """Style 11: nothing else is taken for a private key."""
    with pytest.raises(InvalidKey):
        KeyPair.from_private(private)


@settings(max_examples=25, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.integers(0, slow.P - 1))
def test_agreement_is_that_of_plain_arithmetic(private, u):
    """RFC 7748, section 5: any private key with any canonical u gives what the ladder in big integers gives."""
    expected = slow.x25519(private, u.to_bytes(32, "little"))
    if expected == bytes(32):
        with pytest.raises(InvalidKey):
            agree(PrivateKey(private), PublicKey(u.to_bytes(32, "little")))
    else:
        assert agree(PrivateKey(private), PublicKey(u.to_bytes(32, "little"))) == expected


@pytest.mark.parametrize("u", SMALL_ORDER, ids=lambda u: u.hex()[:8])
def test_an_all_zero_secret_is_refused(u):
    """Wire facts, "An all-zero X25519 result is refused": a key of small order, whatever the private key."""
    for seed in range(3):
        assert slow.x25519(pair(seed).private.data, u) == bytes(32)
        with pytest.raises(InvalidKey, match="all zero"):
            agree(pair(seed).private, PublicKey(u))


@pytest.mark.parametrize(
    ("private", "public"),
    [(BYTES, PublicKey(BYTES)), (PrivateKey(BYTES), BYTES), (PublicKey(BYTES), PrivateKey(BYTES)), (None, None)],
)
def test_agreement_takes_keys_only(private, public):
    """The libsodium call reads 32 bytes from wherever it is pointed: raw bytes never reach it."""
    with pytest.raises(InvalidArgument):
        agree(private, public)


def test_honest_keys_have_prime_order():
    """Wire facts, "canonical and torsion-free": each generated key passes."""
    for seed in range(50):
        require_prime_order(pair(seed).public)


@pytest.mark.parametrize("times", range(1, 8))
def test_a_respelled_key_is_refused(times):
    """CTR-06: base key plus a point of small order gives the same shared secret under other bytes, so it is refused."""
    honest, peer = pair(1), pair(2)
    point = slow.edwards(honest.public.data, 0)
    other = slow.montgomery_u(slow.add(point, slow.multiply(times, slow.order_eight_point())))
    assert other != honest.public.data
    assert agree(peer.private, PublicKey(other)) == agree(peer.private, honest.public)
    with pytest.raises(InvalidKey, match="prime-order"):
        require_prime_order(PublicKey(other))


@pytest.mark.parametrize("u", SMALL_ORDER, ids=lambda u: u.hex()[:8])
def test_small_order_is_not_prime_order(u):
    """Wire facts, "torsion-free": a key of small order is refused here too, u = -1 because it has no Edwards form."""
    with pytest.raises(InvalidKey):
        require_prime_order(PublicKey(u))


def test_a_key_on_the_twist_has_no_prime_order():
    """RFC 7748, section 7 (the twist): X25519 computes with it, a base key may not be there."""
    u = next(each for each in range(2, 99) if slow.edwards(each.to_bytes(32, "little"), 0) is None)
    public = PublicKey(u.to_bytes(32, "little"))
    assert agree(pair(1).private, public)
    with pytest.raises(InvalidKey):
        require_prime_order(public)


def test_prime_order_is_asked_of_public_keys():
    """Wrong argument types are refused by name."""
    with pytest.raises(InvalidArgument):
        require_prime_order(BYTES)
