"""The derivations and the cipher against node's transcripts, and the cipher's refusals."""

from __future__ import annotations

import base64
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pawl.crypto import cbc, kdf
from pawl.crypto.keys import PrivateKey, PublicKey, agree
from pawl.errors import InvalidArgument, InvalidCiphertext
from pawl.wire.messages import decode_prekey_message
from tests.vectors import transcripts

KEY, IV = bytes(range(32)), bytes(range(16))


@pytest.mark.parametrize("number", [0, 1], ids=["with one-time prekey", "without"])
def test_the_first_message_of_node_is_derived(number):
    """Wire facts, X3DH and double ratchet: from the keys alone to node's stored secrets, its MAC and its plaintext."""
    transcript = transcripts()[number]
    private = [PrivateKey(bytes.fromhex(each["priv"])) for each in transcript["keys"]]
    public = [PublicKey.deserialize(bytes.fromhex(each["pub"])) for each in transcript["keys"]]
    alice, bob, signed, *one_time = range(4 if transcript["one_time_prekey"] else 3)
    base, ratchet = len(one_time) + 3, len(one_time) + 4
    secret = b"\xff" * 32 + agree(private[alice], public[signed])
    secret += b"".join(agree(private[base], public[each]) for each in (bob, signed, *one_time))
    root, _ = kdf.session_secret(secret)
    root, chain = kdf.root_step(root, agree(private[ratchet], public[signed]))
    (record,) = transcript["aliceRecordAfterInit"]["_sessions"].values()
    (sending,) = record["_chains"].values()
    assert root == base64.b64decode(record["currentRatchet"]["rootKey"])
    assert chain == base64.b64decode(sending["chainKey"]["key"])
    for step in transcript["steps"][:2]:
        message = decode_prekey_message(bytes.fromhex(step["body"])).message
        seed, chain = kdf.step_chain(chain)
        cipher_key, mac_key, iv = kdf.message_keys(seed)
        assert (len(cipher_key), len(mac_key), len(iv)) == (32, 32, 16)
        identities = public[alice].serialize(), public[bob].serialize()
        assert kdf.message_mac(mac_key, *identities, message.authenticated) == message.mac
        assert cbc.decrypt(cipher_key, iv, message.ciphertext) == step["plaintext"].encode()
        assert cbc.encrypt(cipher_key, iv, step["plaintext"].encode()) == message.ciphertext


def test_a_chain_step_is_two_codes():
    """Double Ratchet, section 7.2, KDF_CK: HMAC of 0x01 is the message's, of 0x02 the next chain key."""
    assert kdf.step_chain(KEY) == (hmac.digest(KEY, b"\x01", "sha256"), hmac.digest(KEY, b"\x02", "sha256"))


@pytest.mark.parametrize("length", [-1, 0, 8161])
def test_hkdf_has_a_range(length):
    """RFC 5869, section 2.3, L <= 255 * HashLen: outside it is refused by name."""
    with pytest.raises(InvalidArgument):
        kdf.hkdf(KEY, b"", b"", length)


@given(st.binary(max_size=100))
def test_bodies_come_back(plaintext):
    """RFC 5652, section 6.3: 1 to 16 bytes of padding, and the plaintext comes back."""
    body = cbc.encrypt(KEY, IV, plaintext)
    assert 1 <= len(body) - len(plaintext) <= 16
    assert cbc.decrypt(KEY, IV, body) == plaintext


def raw(block: bytes) -> bytes:
    """Whole blocks encrypted as they are, without padding."""
    return cbc.encrypt(KEY, IV, block)[: len(block)]


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("last", range(256))
def test_all_padding_bytes_are_checked(blocks, last):
    """RFC 5652, section 6.3: the last byte counts 1 to 16, and each padding byte says the same."""
    whole = bytes(range(100, 100 + 16 * blocks - 1)) + bytes([last])
    if last == 1:
        assert cbc.decrypt(KEY, IV, raw(whole)) == whole[:-1]
    else:
        with pytest.raises(InvalidCiphertext):
            cbc.decrypt(KEY, IV, raw(whole))


@pytest.mark.parametrize("count", range(2, 17))
def test_one_wrong_padding_byte_is_enough(count):
    """RFC 5652, section 6.3: any of the padding bytes may be the wrong one."""
    good = bytes(16 - count) + bytes([count]) * count
    assert cbc.decrypt(KEY, IV, raw(good)) == bytes(16 - count)
    for wrong in range(16 - count, 15):
        bad = bytearray(good)
        bad[wrong] ^= 1
        with pytest.raises(InvalidCiphertext):
            cbc.decrypt(KEY, IV, raw(bytes(bad)))


@pytest.mark.parametrize("length", [0, 1, 15, 17, 31])
def test_a_body_is_whole_blocks(length):
    """SP 800-38A, section 6.2: one block or more, no rest."""
    with pytest.raises(InvalidCiphertext, match="multiple"):
        cbc.decrypt(KEY, IV, bytes(length))


@pytest.mark.parametrize(("key", "iv"), [(KEY[:16], IV), (KEY[:24], IV), (KEY, IV[:15]), (KEY, KEY), (b"", b"")])
def test_only_aes_256(key, iv):
    """Wire facts, "AES-256-CBC": a shorter key would be a weaker cipher without a word."""
    with pytest.raises(InvalidArgument):
        cbc.encrypt(key, iv, b"")
    with pytest.raises(InvalidArgument):
        cbc.decrypt(key, iv, bytes(16))
