"""XEdDSA signatures against plain big-integer arithmetic."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pawl.crypto import xeddsa
from pawl.crypto.keys import KeyPair, PrivateKey, PublicKey
from pawl.crypto.xeddsa import sign, verify
from pawl.errors import InvalidArgument, InvalidSignature
from pawl_gate.fuzzing import big_integers as slow
from tests.vectors import transcripts

NONCE = bytes(range(64))


def pair(seed: int) -> KeyPair:
    return KeyPair.generate(random.Random(seed).randbytes)


def pair_with_sign(sign_bit: int) -> KeyPair:
    """The first pair whose Edwards public key has that sign."""
    return next(
        each
        for each in map(pair, range(99))
        if slow.multiply(slow.clamped(each.private.data), slow.BASE)[0] & 1 == sign_bit
    )


def scalar_of(signature: bytes) -> tuple[int, int]:
    """s and the sign bit above it."""
    number = int.from_bytes(signature[32:], "little")
    return number & (1 << 255) - 1, number >> 255


def with_scalar(signature: bytes, s: int, top: int) -> bytes:
    return signature[:32] + (s | top << 255).to_bytes(32, "little")


@settings(max_examples=25, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=99), st.binary(min_size=64, max_size=64))
def test_signing_is_that_of_plain_arithmetic(private, message, nonce):
    """XEdDSA, section 3: byte for byte what big integers give, also for an unclamped private key; and it verifies."""
    key = PrivateKey(private)
    made = sign(key, message, rng=lambda _: nonce)
    assert made == slow.sign(private, message, nonce)
    public = KeyPair.from_private(key).public
    assert slow.verifies(public.data, message, made)
    verify(public, message, made)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.binary(max_size=40), st.integers(0, 511), st.booleans())
def test_verifying_is_that_of_plain_arithmetic(seed, message, bit, flip):
    """XEdDSA, section 3: whole or with one bit changed, a signature verifies exactly if it does in big integers."""
    owner = pair(seed)
    signature = bytearray(slow.sign(owner.private.data, message, NONCE))
    signature[bit // 8] ^= flip << bit % 8
    expected = slow.verifies(owner.public.data, message, bytes(signature))
    assert expected is not flip
    if expected:
        verify(owner.public, message, bytes(signature))
    else:
        with pytest.raises(InvalidSignature):
            verify(owner.public, message, bytes(signature))


@pytest.mark.parametrize("sign_bit", [0, 1])
def test_both_signs(sign_bit):
    """Wire facts, "the sign bit of the Edwards public key travels in bit 7 of the last signature byte": both ways.

    The paper's own signatures, where the bit is always 0, verify too; the other bit is another key and refused.
    """
    owner = pair_with_sign(sign_bit)
    ours = sign(owner.private, b"message", rng=lambda _: NONCE)
    assert ours[63] >> 7 == sign_bit
    verify(owner.public, b"message", ours)
    paper = slow.sign_paper(owner.private.data, b"message", NONCE)
    assert paper[63] >> 7 == 0
    verify(owner.public, b"message", paper)
    for good in (ours, paper):
        with pytest.raises(InvalidSignature):
            verify(owner.public, b"message", good[:63] + bytes([good[63] ^ 0x80]))


def test_signatures_of_node_verify():
    """The transcripts: node's signature over the 33 bytes of B's signed prekey verifies under B's identity key."""
    for transcript in transcripts():
        identity, signed_prekey = (bytes.fromhex(transcript["keys"][n]["pub"]) for n in (1, 2))
        verify(PublicKey.deserialize(identity), signed_prekey, bytes.fromhex(transcript["signedPreKeySignature"]))


def test_signing_asks_once_for_64_bytes():
    """XEdDSA, section 2.1, Z: one call for 64 bytes, so that a run can be replayed; other nonces, other signatures."""
    asked = []

    def rng(length):
        asked.append(length)
        return bytes([len(asked)]) * length

    assert sign(pair(1).private, b"", rng=rng)[:32] != sign(pair(1).private, b"", rng=rng)[:32]
    assert asked == [64, 64]


@pytest.mark.parametrize("answer", [b"", bytes(32), bytes(65), None], ids=["none", "32", "65", "None"])
def test_a_short_random_source_is_refused(answer):
    """XEdDSA, section 2.1: fewer random bytes are refused, never padded."""
    with pytest.raises(InvalidArgument):
        sign(pair(1).private, b"", rng=lambda _: answer)


@pytest.mark.parametrize("times", range(1, 8))
@pytest.mark.parametrize("sign_bit", [0, 1])
def test_s_plus_l_is_refused(sign_bit, times):
    """RFC 8032, section 5.1.7, 0 <= s < L: the same scalar written larger would be a second signature."""
    owner = pair_with_sign(sign_bit)
    good = sign(owner.private, b"message", rng=lambda _: NONCE)
    s, top = scalar_of(good)
    verify(owner.public, b"message", with_scalar(good, s, top))
    with pytest.raises(InvalidSignature):
        verify(owner.public, b"message", with_scalar(good, s + times * slow.L, top))


def small_order_points() -> list[slow.Point]:
    return [slow.multiply(times, slow.order_eight_point()) for times in range(8)]


@pytest.mark.parametrize("times", [1, 2, 3, 4, 5, 6, 7])
def test_a_key_of_small_order_is_refused(times):
    """XEdDSA verifies under such a key whatever its owner (nobody) signed: with s = r and R = rB minus a small point.

    The forged signature satisfies the equation sB = R + hA, as big integers show, and is refused all the same.
    """
    point = small_order_points()[times]
    public = PublicKey(slow.montgomery_u(point))
    for r in range(1, 99):
        # R = rB - hA for the h that R itself gives: with eight possible hA, about one r in eight fits.
        for guess in small_order_points():
            negative = slow.P - guess[0] if guess[0] else 0
            nonce_point = slow.add(slow.multiply(r, slow.BASE), (negative, guess[1]))
            challenge = slow.hash_to_scalar(slow.encode(nonce_point), slow.encode(point), b"message")
            if slow.multiply(challenge, point) == guess:
                forged = with_scalar(slow.encode(nonce_point), r, point[0] & 1)
                assert not slow.verifies(public.data, b"message", forged)
                with pytest.raises(InvalidSignature):
                    verify(public, b"message", forged)
                return
    pytest.fail("no forgery found to refuse")


def test_the_identity_as_key_is_refused():
    """u = -1 and u = 0 have no honest owner: the first has no Edwards form, the second is of order 2."""
    for u in (0, slow.P - 1):
        with pytest.raises(InvalidSignature):
            verify(
                PublicKey(u.to_bytes(32, "little")), b"message", sign(pair(1).private, b"message", rng=lambda _: NONCE)
            )


def test_a_nonce_point_of_small_order_is_refused():
    """Strictness beyond RFC 8032: R of small order (the signer's nonce is 0) satisfies the equation and is refused."""
    owner = pair_with_sign(0)
    scalar = slow.clamped(owner.private.data)
    public = slow.encode(slow.multiply(scalar, slow.BASE))
    nonce_point = slow.encode(slow.IDENTITY)
    s = slow.hash_to_scalar(nonce_point, public, b"message") * scalar % slow.L
    with pytest.raises(InvalidSignature):
        verify(owner.public, b"message", with_scalar(nonce_point, s, 0))


def test_a_nonce_point_in_non_canonical_form_is_refused():
    """RFC 8032, section 5.1.3: y at or above the prime does not decode; R = 1 written as p + 1 is refused."""
    owner = pair_with_sign(0)
    scalar = slow.clamped(owner.private.data)
    public = slow.encode(slow.multiply(scalar, slow.BASE))
    nonce_point = (slow.P + 1).to_bytes(32, "little")
    s = slow.hash_to_scalar(nonce_point, public, b"message") * scalar % slow.L
    with pytest.raises(InvalidSignature):
        verify(owner.public, b"message", with_scalar(nonce_point, s, 0))


def test_a_key_on_the_twist_is_refused():
    """XEdDSA, section 3: a u-coordinate that is on no point of the curve verifies nothing."""
    u = next(each for each in range(2, 99) if slow.edwards(each.to_bytes(32, "little"), 0) is None)
    with pytest.raises(InvalidSignature):
        verify(PublicKey(u.to_bytes(32, "little")), b"", sign(pair(1).private, b"", rng=lambda _: NONCE))


def test_another_message_or_key_is_refused():
    """XEdDSA, section 3: a signature is of one message by one key."""
    good = sign(pair(1).private, b"message", rng=lambda _: NONCE)
    for public, message in ((pair(2).public, b"message"), (pair(1).public, b"messagf"), (pair(1).public, b"")):
        with pytest.raises(InvalidSignature):
            verify(public, message, good)


@pytest.mark.parametrize("length", [0, 32, 63, 65, 128])
def test_a_signature_is_64_bytes(length):
    """XEdDSA, section 2: R and s of 32 bytes each; anything else is refused as a signature."""
    with pytest.raises(InvalidSignature, match="64"):
        verify(pair(1).public, b"", bytes(length))


@pytest.mark.parametrize(
    "arguments",
    [(bytes(32), b"", bytes(64)), (pair(1).public, "", bytes(64)), (pair(1).public, b"", bytearray(64)), (None,) * 3],
)
def test_verifying_refuses_other_types(arguments):
    """Wrong argument types are refused by name; the libsodium call never sees them."""
    with pytest.raises(InvalidArgument):
        verify(*arguments)


@pytest.mark.parametrize("arguments", [(bytes(32), b""), (pair(1).private, "message"), (pair(1).public, b"")])
def test_signing_refuses_other_types(arguments):
    """Wrong argument types are refused by name; a public key is not taken for a private one."""
    with pytest.raises(InvalidArgument):
        sign(*arguments, rng=lambda n: bytes(n))


@pytest.mark.parametrize("sign_bit", [0, 1])
def test_signing_often_is_signing(sign_bit):
    """What is remembered changes no byte: first and later signatures are those of the plain way, with either sign."""
    owner = pair_with_sign(sign_bit)
    xeddsa._KNOWN.pop(owner.public.data, None)
    for number in range(3):
        message = b"message %d" % number
        often = xeddsa.sign_often(owner, message, rng=lambda _: NONCE)
        assert often == slow.sign(owner.private.data, message, NONCE)
        verify(owner.public, message, often)
        assert owner.public.data in xeddsa._KNOWN


def test_what_is_remembered_of_signers_is_bounded(monkeypatch):
    """Decision 5, "everything is bounded", and nothing secret is in it."""
    monkeypatch.setattr(xeddsa, "MAX_KNOWN", 3)
    monkeypatch.setattr(xeddsa, "_KNOWN", {})
    for seed in range(1, 9):
        pair = KeyPair.from_private(PrivateKey(bytes([seed]) * 32))
        verify(pair.public, b"message", xeddsa.sign_often(pair, b"message", rng=lambda _: NONCE))
        assert 1 <= len(xeddsa._KNOWN) <= 3
        assert pair.private.data not in [*xeddsa._KNOWN, *xeddsa._KNOWN.values()]


@pytest.mark.parametrize("pair", [None, "pair"])
def test_signing_often_takes_a_pair(pair):
    owner = pair_with_sign(0)
    for wrong in ((pair, b"message"), (owner.private, b"message"), (owner, "message")):
        with pytest.raises(InvalidArgument):
            xeddsa.sign_often(*wrong, rng=lambda _: NONCE)
