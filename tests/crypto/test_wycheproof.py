"""Every Wycheproof vector of a primitive in use. Source: C2SP/wycheproof, the commit that wire-facts.md names."""

from __future__ import annotations

import hmac
from collections import Counter

import pytest

from pawl.crypto import cbc, kdf
from pawl.crypto.keys import PrivateKey, PublicKey, agree
from pawl.crypto.xeddsa import verify
from pawl.errors import InvalidArgument, InvalidCiphertext, InvalidKey, InvalidSignature
from pawl_gate.fuzzing import big_integers as slow
from tests.vectors import wycheproof


def unhex(test, *names):
    return tuple(bytes.fromhex(test[name]) for name in names)


def test_x25519():
    """RFC 7748: each shared secret is the vector's, or the key is refused.

    `acceptable` vectors are not one thing. Those with a public key at or above the prime are refused when the key is
    made (one spelling per key); those with an all-zero secret are refused by the agreement; the others (keys on the
    twist, small coordinates, edge cases of the arithmetic) agree as RFC 7748 says.
    """
    outcomes = Counter()
    for _, test in wycheproof("x25519_test"):
        private, public, shared = unhex(test, "private", "public", "shared")
        if int.from_bytes(public, "little") >= slow.P:
            outcome = "not canonical"
            with pytest.raises(InvalidKey, match="canonical"):
                PublicKey(public)
        elif not any(shared):
            outcome = "all zero"
            with pytest.raises(InvalidKey, match="all zero"):
                agree(PrivateKey(private), PublicKey(public))
        else:
            outcome = "agreed"
            assert agree(PrivateKey(private), PublicKey(public)) == shared, test["tcId"]
        outcomes[test["result"], outcome] += 1
        # Nothing valid is refused, and each refusal has the flag that explains it.
        if outcome != "agreed":
            assert {"NonCanonicalPublic", "ZeroSharedSecret", "LowOrderPublic"} & set(test["flags"]), test["tcId"]
    assert sum(outcomes.values()) == 518
    assert outcomes["valid", "agreed"] == 264
    assert (
        outcomes["acceptable", "agreed"] + outcomes["acceptable", "all zero"]
        == 254 - outcomes["acceptable", "not canonical"]
    )


def test_ed25519_as_far_as_xeddsa_uses_it():
    """RFC 8032, section 5.1.7, through XEdDSA: valid ones verify, all others raise InvalidSignature.

    Each vector is carried over: its Edwards key becomes the X25519 key of the same point, the key's sign bit takes the
    top bit of the signature. That bit is then not there for s, so the three vectors with s at or above 2^255 cannot be
    said in XEdDSA: without the bit, one of them (s + 2^255) *is* the valid signature, the two others stay refused.
    """
    counted, without_top_bit = Counter(), {}
    for group, test in wycheproof("ed25519_test"):
        message, signature = unhex(test, "msg", "sig")
        key = bytes.fromhex(group["publicKey"]["pk"])
        point = slow.decode(key)
        public = PublicKey(slow.montgomery_u(point))
        carried = signature
        if len(signature) == 64:
            carried = signature[:63] + bytes([signature[63] & 0x7F | key[31] & 0x80])
        if len(signature) == 64 and signature[63] & 0x80:
            without_top_bit[test["tcId"]] = (public, message, carried)
        elif test["result"] == "valid":
            verify(public, message, carried)
        else:
            with pytest.raises(InvalidSignature):
                verify(public, message, carried)
        counted[test["result"]] += 1
    assert counted == {"valid": 88, "invalid": 63}
    assert sorted(without_top_bit) == [66, 69, 70]
    verify(*without_top_bit.pop(69))
    for arguments in without_top_bit.values():
        with pytest.raises(InvalidSignature):
            verify(*arguments)


def test_aes_cbc_with_padding():
    """SP 800-38A and RFC 5652: AES-256 both ways, wrong padding refused; keys of 128 and 192 bits are not ours."""
    counted = Counter()
    for group, test in wycheproof("aes_cbc_pkcs5_test"):
        key, iv, plaintext, ciphertext = unhex(test, "key", "iv", "msg", "ct")
        if group["keySize"] != 256:
            outcome = "other key size"
            with pytest.raises(InvalidArgument):
                cbc.decrypt(key, iv, ciphertext or bytes(16))
        elif test["result"] == "valid":
            outcome = "valid"
            assert cbc.encrypt(key, iv, plaintext) == ciphertext, test["tcId"]
            assert cbc.decrypt(key, iv, ciphertext) == plaintext, test["tcId"]
        else:
            outcome = "invalid"
            with pytest.raises(InvalidCiphertext):
                cbc.decrypt(key, iv, ciphertext)
        counted[outcome] += 1
    assert counted == {"valid": 24, "invalid": 48, "other key size": 144}


def test_hkdf_sha256():
    """RFC 5869: each output is the vector's; more than 255 blocks are refused."""
    counted = Counter()
    for _, test in wycheproof("hkdf_sha256_test"):
        ikm, salt, info, expected = unhex(test, "ikm", "salt", "info", "okm")
        if test["result"] == "valid":
            assert kdf.hkdf(ikm, salt, info, test["size"]) == expected, test["tcId"]
        else:
            with pytest.raises(InvalidArgument):
                kdf.hkdf(ikm, salt, info, test["size"])
        counted[test["result"]] += 1
    assert counted == {"valid": 83, "invalid": 3}


def test_hmac_sha256():
    """RFC 2104: the library's one HMAC with a free message, cut to 8 bytes, matches each valid tag and no other.

    The vectors' tags of 16 and 32 bytes begin with our 8. A modified tag that differs only behind them is not ours to
    refuse; those are counted.
    """
    counted = Counter()
    for _, test in wycheproof("hmac_sha256_test"):
        key, message, tag = unhex(test, "key", "msg", "tag")
        # `message_mac` joins its three parts: any cut of the message gives the same code.
        cuts = {kdf.message_mac(key, message[:cut], message[cut : 2 * cut], message[2 * cut :]) for cut in (0, 5, 33)}
        assert len(cuts) == 1
        code = cuts.pop()
        full = hmac.digest(key, message, "sha256")
        if test["result"] == "valid":
            assert code == tag[:8], test["tcId"]
            counted["valid"] += 1
        elif code == tag[:8]:
            assert full[: len(tag)] != tag, test["tcId"]
            counted["modified behind the 8 bytes"] += 1
        else:
            counted["refused"] += 1
    assert counted["valid"] == 66
    assert counted["refused"] + counted["modified behind the 8 bytes"] == 108
    assert counted["refused"] > 60
