"""Group messages: who can read which, in which order, and what is refused (GRP-01, GRP-02, GRP-05)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from pawl import GroupLayout, MemoryStore
from pawl.crypto import xeddsa
from pawl.crypto.keys import KeyPair, PrivateKey
from pawl.device import Device
from pawl.errors import ProtocolError
from pawl.events import Event, GroupKeysDropped, GroupMessageRefused
from pawl.limits import MAX_COUNTER, MAX_FORWARD_JUMP, MAX_PLAINTEXT_BYTES, MAX_SKIPPED_KEYS_PER_CHAIN
from pawl.storage.contract import Table
from pawl.wire.group_messages import (
    decode_distribution,
    decode_sender_key_message,
    encode_sender_key_body,
)
from tests.devices import ALICE, BOB, Party, Script
from tests.group.parties import CAROL, GROUP, OTHER_GROUP, give, given, group_of, kept, own, put_own, received
from tests.group.transcripts import LAYOUTS, TRANSCRIPTS

both = pytest.mark.parametrize("layout", GroupLayout)


# -- the peers, and arithmetic of the tests' own ----------------------------------------------------------------------


def named(transcript: dict[str, object]) -> UUID:
    return UUID(str(transcript["distribution_id"])) if transcript["distribution_id"] else GROUP


ORDERS = [list(range(8)), [7, 6, 5, 4, 3, 2, 1, 0], [3, 0, 7, 1, 5, 2, 6, 4]]


@pytest.mark.parametrize("order", ORDERS, ids=["in order", "backwards", "mixed"])
@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_the_traffic_of_the_peers(name: str, order: list[int]) -> None:
    """CTR-04: "messages within the window are accepted in any order"; what the official client and the C library sent."""
    transcript = TRANSCRIPTS[name]
    bob = Party(BOB)
    group = group_of(bob, named(transcript), LAYOUTS[name])
    group.process(ALICE, bytes.fromhex(transcript["distribution"]))
    for number in order:
        step = transcript["messages"][number]
        assert group.decrypt(ALICE, bytes.fromhex(step["message"])) == bytes.fromhex(step["plaintext"])
    for step in transcript["messages"]:
        with bob.refuses("duplicate-message"):
            group.decrypt(ALICE, bytes.fromhex(step["message"]))


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_a_late_member_reads_what_comes(name: str) -> None:
    """Whoever is given the chain at message 5 reads from there on, and nothing before."""
    transcript = TRANSCRIPTS[name]
    bob = Party(BOB)
    group = group_of(bob, named(transcript), LAYOUTS[name])
    group.process(ALICE, bytes.fromhex(transcript["distribution_before_message_5"]))
    for number, step in enumerate(transcript["messages"]):
        if number < 5:
            with bob.refuses("duplicate-message"):
                group.decrypt(ALICE, bytes.fromhex(step["message"]))
        else:
            assert group.decrypt(ALICE, bytes.fromhex(step["message"])) == bytes.fromhex(step["plaintext"])


def hmac_of(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()


def cipher_keys(chain_key: bytes, steps: int) -> tuple[bytes, bytes]:
    """IV and cipher key after so many steps, from RFC 5869 and the sentence in the issue: "IV 16 then cipher key 32"."""
    for _ in range(steps):
        chain_key = hmac_of(chain_key, b"\2")
    secret = hmac_of(bytes(32), hmac_of(chain_key, b"\1"))
    first = hmac_of(secret, b"WhisperGroup\1")
    out = first + hmac_of(secret, first + b"WhisperGroup\2")
    return out[:16], out[16:48]


@both
def test_what_is_sent(layout: GroupLayout) -> None:
    """What others can read and check: the body, the place on the chain, and the signature, by other arithmetic."""
    alice, _, group, _ = given(layout=layout)
    distribution = decode_distribution(group.create_distribution(), layout=layout)
    for iteration in range(3):
        message = decode_sender_key_message(group.encrypt(b"text %d" % iteration), layout=layout)
        assert (message.chain_id, message.iteration) == (distribution.chain_id, iteration)
        iv, key = cipher_keys(distribution.chain_key.data, iteration)
        padded = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor().update(message.ciphertext)
        assert padded == b"text %d" % iteration + b"\x0a" * 10
        # XEdDSA verified as Ed25519, with the birational map of RFC 7748 and the sign in the signature's top bit.
        prime = 2**255 - 19
        u = int.from_bytes(distribution.signing_key.data, "little")
        y = (u - 1) * pow(u + 1, prime - 2, prime) % prime
        signature = bytearray(message.signature)
        edwards = y | (signature[63] >> 7) << 255
        signature[63] &= 0x7F
        Ed25519PublicKey.from_public_bytes(edwards.to_bytes(32, "little")).verify(bytes(signature), message.signed)
    assert own(alice).sending.iteration == 3


def test_what_is_drawn() -> None:
    """Decision 4: "one seed gives one transcript"; a chain id of 31 bits, a chain key, a pair, and 64 bytes to sign."""
    script = Script(bytes([1]) * 32, bytes([2]) * 2, b"\xff\xff\xff\xfe", bytes([3]) * 32, bytes([4]) * 32, bytes(64))
    device = Device(MemoryStore(), rng=script)
    group = device.group(GROUP)
    distribution = decode_distribution(group.create_distribution())
    assert distribution.chain_id == 2**31 - 1
    assert distribution.chain_key.data == bytes([3]) * 32
    signing = KeyPair.from_private(PrivateKey(b"\x00" + bytes([4]) * 30 + b"\x44"))
    assert distribution.signing_key == signing.public
    assert distribution.iteration == 0
    group.encrypt(b"text")
    assert script.draws == []


def test_a_new_chain_has_a_new_id() -> None:
    """A message names its chain by the id alone: the one before is not drawn again."""
    drawn_ids = [b"\0\0\0\2", b"\0\0\0\3", b"\0\0\0\4"]
    script = Script(
        *(bytes(32), bytes(2), drawn_ids[0], bytes([1]) * 32, bytes([2]) * 32),
        *(drawn_ids[1], drawn_ids[2], bytes([3]) * 32, bytes([4]) * 32),
    )
    group = Device(MemoryStore(), rng=script).group(GROUP)
    assert decode_distribution(group.create_distribution()).chain_id == 1
    group.rotate()
    # 3 is 1 too, as only 31 of the 32 bits count.
    assert decode_distribution(group.create_distribution()).chain_id == 2
    assert script.draws == []


# -- reading ----------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("text", [b"", b"x", bytes(15), bytes(16), bytes(100_000)])
def test_a_message_is_read(layout: GroupLayout, text: bytes) -> None:
    _, _, sending, receiving = given(layout=layout)
    assert receiving.decrypt(ALICE, sending.encrypt(text)) == text


def test_the_largest_message() -> None:
    """PAR-03: as much as a session's, and no byte more."""
    alice, _, sending, receiving = given()
    text = bytes(MAX_PLAINTEXT_BYTES)
    assert receiving.decrypt(ALICE, sending.encrypt(text)) == text
    with alice.refuses("message-too-large"):
        sending.encrypt(text + b"x")


@settings(max_examples=30)
@drawn(st.lists(st.integers(0, 30), min_size=1, max_size=40), st.sampled_from(GroupLayout))
def test_any_order_each_once(order: list[int], layout: GroupLayout) -> None:
    """CTR-03, CTR-04: any order, repeats and gaps included: the first time it is read, afterwards a duplicate.

    What is kept is what was passed over and did not come.
    """
    _, bob, sending, receiving = given(layout=layout)
    messages = [sending.encrypt(b"%d" % number) for number in range(31)]
    seen: set[int] = set()
    for number in order:
        if number in seen:
            with bob.refuses("duplicate-message"):
                receiving.decrypt(ALICE, messages[number])
        else:
            assert receiving.decrypt(ALICE, messages[number]) == b"%d" % number
        seen.add(number)
    assert kept(bob) == [number for number in range(max(order)) if number not in seen]


def test_nothing_is_left_of_a_message() -> None:
    """KEY-01, KEY-02: the state after a message cannot decrypt it, on either side: restored devices try."""
    alice, bob, sending, receiving = given()
    first = sending.encrypt(b"first")
    late, read = sending.encrypt(b"late"), sending.encrypt(b"read")
    receiving.decrypt(ALICE, read)
    receiving.decrypt(ALICE, first)
    # The sender's own chain, as it is now, given to one who has every message.
    thief = Party(CAROL)
    give(alice, thief)
    for message in (first, late, read):
        with thief.refuses("duplicate-message"):
            group_of(thief).decrypt(ALICE, message)
    bob.restarted()
    for message in (first, read):
        with bob.refuses("duplicate-message"):
            group_of(bob).decrypt(ALICE, message)
    assert kept(bob) == [1]
    assert group_of(bob).decrypt(ALICE, late) == b"late"
    assert kept(bob) == []


def test_a_restart_changes_nothing() -> None:
    """CTR-02: "survives crash and restart": the next iteration is the one that was due."""
    alice, bob, sending, receiving = given()
    receiving.decrypt(ALICE, sending.encrypt(b"0"))
    alice.restarted()
    bob.restarted()
    message = group_of(alice).encrypt(b"1")
    assert decode_sender_key_message(message).iteration == 1
    assert group_of(bob).decrypt(ALICE, message) == b"1"


# -- refusals ---------------------------------------------------------------------------------------------------------


def resigned(message: bytes, pair: KeyPair, change: Callable[[bytes], bytes] = lambda body: body) -> bytes:
    """`message`, changed, with another's signature."""
    body = change(message[:-64])
    return body + xeddsa.sign(pair.private, body, rng=lambda size: bytes(size))


MALLORY = KeyPair.from_private(PrivateKey(bytes([9]) * 32))


@both
def test_a_changed_message(layout: GroupLayout) -> None:
    """GRP-02: "every group message carries a valid signature": no byte of it may change."""
    _, bob, sending, receiving = given(layout=layout)
    message = sending.encrypt(b"text")
    codes = set()
    for at in range(len(message)):
        changed = message[:at] + bytes([message[at] ^ 1]) + message[at + 1 :]
        before = bob.store.snapshot()
        with pytest.raises(ProtocolError) as caught:
            receiving.decrypt(ALICE, changed)
        codes.add(caught.value.code)
        assert bob.store.snapshot() == before
    assert {"invalid-signature", "unknown-version", "malformed-message"} <= codes
    assert receiving.decrypt(ALICE, message) == b"text"


@both
def test_a_member_who_signs_anew(layout: GroupLayout) -> None:
    """GRP-05: "a member cannot send as another member": it has the chain key, but not the key that signs."""
    _, bob, sending, receiving = given(layout=layout)
    message = sending.encrypt(b"text")
    with bob.refuses("invalid-signature"):
        receiving.decrypt(ALICE, resigned(message, MALLORY))
    assert receiving.decrypt(ALICE, message) == b"text"


def test_the_signature_comes_before_any_derivation(monkeypatch: pytest.MonkeyPatch) -> None:
    """GRP-02: "checked before anything is derived": a forged message, however far ahead, costs no step."""
    _, bob, sending, receiving = given()
    message = sending.encrypt(b"text")
    parsed = decode_sender_key_message(message)
    steps = []
    monkeypatch.setattr("pawl.crypto.kdf.step_chain", lambda key: steps.append(key))
    monkeypatch.setattr("pawl.crypto.kdf.group_message_keys", lambda seed: steps.append(seed))
    for iteration in (0, 1, MAX_FORWARD_JUMP, MAX_COUNTER):
        body = encode_sender_key_body(
            distribution_id=GROUP, chain_id=parsed.chain_id, iteration=iteration, ciphertext=bytes(16)
        )
        with bob.refuses("invalid-signature"):
            receiving.decrypt(ALICE, resigned(body + bytes(64), MALLORY))
    assert steps == []


def test_a_message_that_was_moved() -> None:
    """GRP-05: moved to another group or another sender it is refused."""
    alice, bob, sending, receiving = given()
    carol = Party(CAROL)
    give(carol, bob)
    message = sending.encrypt(b"text")
    with bob.refuses("wrong-group"):
        group_of(bob, OTHER_GROUP).decrypt(ALICE, message)
    with bob.refuses("no-sender-key"):
        receiving.decrypt(CAROL, message)
    with bob.refuses("no-sender-key"):
        receiving.decrypt(BOB, message)
    # The group that it names is under the signature: a chain that was given for both does not help.
    other = group_of(bob, OTHER_GROUP)
    other.process(ALICE, give(alice).replace(GROUP.bytes, OTHER_GROUP.bytes))
    with bob.refuses("invalid-signature"):
        other.decrypt(ALICE, group_of(alice).encrypt(b"next").replace(GROUP.bytes, OTHER_GROUP.bytes))
    assert receiving.decrypt(ALICE, message) == b"text"


def forged(alice: Party, body: bytes) -> bytes:
    """`body` with the signature that only Alice can make: what a faulty or malicious sender may send."""
    return body + xeddsa.sign(own(alice).sending.signing.private, body, rng=lambda size: bytes(size))


def body_of(alice: Party, iteration: int, ciphertext: bytes = bytes(16)) -> bytes:
    return encode_sender_key_body(
        distribution_id=GROUP, chain_id=own(alice).sending.chain_id, iteration=iteration, ciphertext=ciphertext
    )


@pytest.mark.many_steps
def test_the_forward_jump() -> None:
    """BND-01: "counters are checked before any derivation": 25,000 steps ahead is read, 25,001 is refused."""
    alice, bob, sending, receiving = given()
    with bob.refuses("too-far-ahead"):
        receiving.decrypt(ALICE, forged(alice, body_of(alice, MAX_FORWARD_JUMP + 1)))
    sending_state = own(alice)
    for _ in range(MAX_FORWARD_JUMP):
        key = hmac_of(sending_state.sending.chain_key.data, b"\2")
        stepped = sending_state.sending._replace(
            chain_key=type(sending_state.sending.chain_key)(key), iteration=sending_state.sending.iteration + 1
        )
        sending_state = sending_state._replace(sending=stepped)
    put_own(alice, sending_state)
    assert receiving.decrypt(ALICE, sending.encrypt(b"far")) == b"far"
    # Of a long jump the newest are kept (BND-02).
    assert kept(bob) == list(range(MAX_FORWARD_JUMP - MAX_SKIPPED_KEYS_PER_CHAIN, MAX_FORWARD_JUMP))
    assert received(bob, alice).chains[0].kept == MAX_SKIPPED_KEYS_PER_CHAIN
    with bob.refuses("too-far-ahead"):
        receiving.decrypt(ALICE, forged(alice, body_of(alice, MAX_COUNTER)))


def test_no_step_before_the_jump_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """BND-01: work is bounded before it is done, also for what is signed."""
    alice, bob, _, receiving = given()
    message = forged(alice, body_of(alice, MAX_FORWARD_JUMP + 1))
    monkeypatch.setattr("pawl.crypto.kdf.step_chain", None)
    with bob.refuses("too-far-ahead"):
        receiving.decrypt(ALICE, message)


@pytest.mark.parametrize("ciphertext", [b"", b"x", bytes(15), bytes(16), bytes(32)])
def test_a_body_that_is_none(ciphertext: bytes) -> None:
    """AUT-01: what is signed and no AES-256-CBC is refused, and its key stays for whatever may come."""
    alice, bob, sending, receiving = given()
    with bob.refuses("invalid-ciphertext"):
        receiving.decrypt(ALICE, forged(alice, body_of(alice, 0, ciphertext)))
    with bob.refuses("invalid-ciphertext"):
        receiving.decrypt(ALICE, forged(alice, body_of(alice, 5, ciphertext)))
    assert receiving.decrypt(ALICE, sending.encrypt(b"text")) == b"text"


def test_what_is_no_argument() -> None:
    """WRK-05 in small: a wrong type is refused to its caller, before anything is done."""
    alice, bob, sending, receiving = given()
    message = sending.encrypt(b"text")
    for wrong in (
        lambda: receiving.decrypt("alice", message),  # type: ignore[arg-type]
        lambda: receiving.decrypt(ALICE, bytearray(message)),  # type: ignore[arg-type]
        lambda: receiving.process(ALICE, "text"),  # type: ignore[arg-type]
        lambda: receiving.process("alice", b""),  # type: ignore[arg-type]
        lambda: receiving.forget_sender("alice"),  # type: ignore[arg-type]
        lambda: sending.encrypt("text"),  # type: ignore[arg-type]
        lambda: sending.send("text"),  # type: ignore[arg-type]
        lambda: sending.set_members("bob"),  # type: ignore[arg-type]
        lambda: sending.set_members([BOB, "bob"]),  # type: ignore[list-item]
        lambda: sending.delivered(BOB),  # type: ignore[arg-type]
        lambda: sending.delivered([BOB]),  # type: ignore[list-item]
        lambda: sending.undelivered("bob"),  # type: ignore[arg-type]
        lambda: bob.device.group(GROUP.bytes),  # type: ignore[arg-type]
        lambda: bob.device.group(GROUP, layout="current"),  # type: ignore[arg-type]
        lambda: bob.device.group(GROUP, wrap=b"prefix"),  # type: ignore[arg-type]
        lambda: bob.device.group(GROUP, store_plaintext=True),  # type: ignore[arg-type]
    ):
        before = alice.store.snapshot()
        with bob.refuses("invalid-argument"):
            wrong()
        assert alice.store.snapshot() == before


def test_before_the_first_chain() -> None:
    """There is nothing to encrypt with, and nothing to decrypt."""
    _, _, sending, _ = given()
    message = sending.encrypt(b"text")
    carol = Party(CAROL)
    with carol.refuses("no-sender-key"):
        group_of(carol).encrypt(b"text")
    with carol.refuses("no-sender-key"):
        group_of(carol).decrypt(ALICE, message)
    with carol.refuses("no-members"):
        group_of(carol).send(b"text")


def test_the_last_iteration() -> None:
    """CTR-01: "none is used twice": after the last there is none, and a rotation begins anew."""
    alice, bob, sending, receiving = given()
    state = own(alice)
    put_own(alice, state._replace(sending=state.sending._replace(iteration=MAX_COUNTER)))
    late = Party(CAROL)
    give(alice, late)
    message = sending.encrypt(b"last")
    assert decode_sender_key_message(message).iteration == MAX_COUNTER
    assert group_of(late).decrypt(ALICE, message) == b"last"
    with late.refuses("duplicate-message"):
        group_of(late).decrypt(ALICE, message)
    with alice.refuses("counter-exhausted"):
        sending.encrypt(b"more")
    with alice.refuses("counter-exhausted"):
        sending.create_distribution()
    sending.rotate()
    give(alice, bob)
    assert receiving.decrypt(ALICE, sending.encrypt(b"more")) == b"more"


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """BND-02: "skipped keys per chain": the oldest go, used ones do not count, and an event says how many went."""
    monkeypatch.setattr("pawl.group.sender_key.MAX_SKIPPED_KEYS_PER_CHAIN", 10)
    events: list[Event] = []
    _, bob, sending, _ = given()
    receiving = Device(bob.store, on_event=events.append).group(GROUP)
    messages = [sending.encrypt(b"%d" % number) for number in range(40)]
    receiving.decrypt(ALICE, messages[8])
    assert kept(bob) == list(range(8))
    for number in (0, 1, 2, 3):
        receiving.decrypt(ALICE, messages[number])
    # The bound still counts 8; there are 4, so that 6 more have room.
    receiving.decrypt(ALICE, messages[15])
    assert kept(bob) == [4, 5, 6, 7, 9, 10, 11, 12, 13, 14]
    assert events == []
    receiving.decrypt(ALICE, messages[18])
    assert kept(bob) == [6, 7, 9, 10, 11, 12, 13, 14, 16, 17]
    receiving.decrypt(ALICE, messages[39])
    assert kept(bob) == list(range(29, 39))
    assert events == [GroupKeysDropped(ALICE, GROUP, 2), GroupKeysDropped(ALICE, GROUP, 10)]
    assert "group-keys-dropped: sender='alice.1' distribution_id=6b2d1c0e-" in str(events[0])
    with bob.refuses("duplicate-message"):
        receiving.decrypt(ALICE, messages[4])


def test_a_message_costs_the_same_however_many_keys_are_kept() -> None:
    """BND-03: "does not grow with ... the number of kept keys": rows and bytes written, 3 kept keys or 1,500."""
    costs = []
    for passed_over in (3, 1500):
        _, bob, sending, receiving = given()
        for _ in range(passed_over):
            late = sending.encrypt(b"text")
        receiving.decrypt(ALICE, sending.encrypt(b"text"))
        for message in (sending.encrypt(b"text"), late):
            before = bob.store.snapshot()
            receiving.decrypt(ALICE, message)
            after = bob.store.snapshot()
            written = [
                (table.value, len(row.value))
                for table in Table
                for key, row in after[table].items()
                if before[table].get(key) != row
            ]
            gone = sum(len(before[table].keys() - after[table].keys()) for table in Table)
            costs.append((written and written[0][0], len(written), gone))
    assert costs[:2] == costs[2:] == [("received_sender_key", 1, 0), ([], 0, 1)]


def test_what_is_refused_is_told() -> None:
    """An operator hears of it: sender, group and code, once."""
    events: list[Event] = []
    _, bob, sending, _ = given()
    receiving = Device(bob.store, on_event=events.append).group(GROUP)
    message = sending.encrypt(b"text")
    receiving.decrypt(ALICE, message)
    with bob.refuses("duplicate-message"):
        receiving.decrypt(ALICE, message)
    with bob.refuses("malformed-message"):
        receiving.decrypt(ALICE, b"")
    assert events == [
        GroupMessageRefused(ALICE, GROUP, "duplicate-message"),
        GroupMessageRefused(ALICE, GROUP, "malformed-message"),
    ]
