"""The published transcripts: what node-libsignal wrote, byte for byte, and what it then had in its store."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import replace
from typing import Any

import pytest

from pawl import Device, MessageType, PublicKey
from pawl.session.prekeys import LOCAL_KEY
from pawl.session.state import Session
from pawl.storage.contract import Table
from pawl.wire import records
from tests.devices import ALICE, BOB, Party, Random
from tests.vectors import transcripts

TYPES = {3: MessageType.PREKEY, 1: MessageType.SIGNAL}
"""node-libsignal's numbers."""

SIGNED_PREKEY_ID, PREKEY_ID = 22, 31
REGISTRATION_IDS = {"A": 1001, "B": 2002}


class Tape:
    """The transcript's key seeds in order, for both devices alike; other draws are given apart."""

    def __init__(self, transcript: dict[str, Any]) -> None:
        self.seeds = [bytes.fromhex(key["seed"]) for key in transcript["keys"]]
        self.other = Random("other")
        self.registration_id = 0

    def __call__(self, size: int) -> bytes:
        if size == 2:
            return (self.registration_id - 1).to_bytes(2, "big")
        return self.seeds.pop(0) if size == 32 else self.other(size)


class Replayed:
    """Both parties of a transcript, up to the point where Alice has established the session."""

    def __init__(self, transcript: dict[str, Any]) -> None:
        self.tape = Tape(transcript)
        self.alice = self._party("A", Party(ALICE))
        self.bob = self._party("B", Party(BOB))
        with self.bob.store.transaction() as tx:
            row = tx.get(Table.LOCAL, LOCAL_KEY)
            local = replace(
                records.decode_local_identity(row.value),
                next_prekey_id=PREKEY_ID,
                next_signed_prekey_id=SIGNED_PREKEY_ID,
            )
            tx.put(Table.LOCAL, LOCAL_KEY, records.encode_local_identity(local), version=row.version)
        bundle = self.bob.device.prekey_bundle(one_time=transcript["one_time_prekey"])
        signature = bytes.fromhex(transcript["signedPreKeySignature"])
        self.alice.device.establish(BOB, replace(bundle, signed_prekey_signature=signature))
        self.parties = {"A": (self.alice, self.bob), "B": (self.bob, self.alice)}

    def _party(self, name: str, party: Party) -> Party:
        self.tape.registration_id = REGISTRATION_IDS[name]
        party.store = type(party.store)()
        party.device = Device(party.store, rng=self.tape, clock=lambda: 1_700_000_000)
        assert party.device.registration_id == REGISTRATION_IDS[name]
        return party


def compare(session: Session, record: dict[str, Any]) -> None:
    """Everything that node-libsignal's stored session says is so in ours."""
    ((base_key, theirs),) = record["_sessions"].items()
    assert session.base_key == public(base_key)
    assert session.remote_identity == public(theirs["indexInfo"]["remoteIdentityKey"])
    assert session.remote_registration_id == theirs["registrationId"]
    ratchet = theirs["currentRatchet"]
    assert session.root_key.data == b64decode(ratchet["rootKey"])
    assert session.sending.ratchet.public == public(ratchet["ephemeralKeyPair"]["pubKey"])
    assert session.sending.ratchet.private.data == b64decode(ratchet["ephemeralKeyPair"]["privKey"])
    assert session.receiving[0].ratchet_key == public(ratchet["lastRemoteEphemeralKey"])
    assert session.previous_counter == ratchet["previousCounter"]
    receiving = {chain.ratchet_key: chain for chain in session.receiving}
    compared = 0
    for key, chain in theirs["_chains"].items():
        assert chain["messageKeys"] == {}
        # It closes old receiving chains where ours stay open: those have no key to compare.
        if "key" not in chain["chainKey"]:
            continue
        ours = session.sending if chain["chainType"] == 1 else receiving[public(key)]
        assert ours.chain_key.data == b64decode(chain["chainKey"]["key"])
        # Its counter is that of the last message, ours that of the next.
        assert ours.counter == chain["chainKey"]["counter"] + 1
        compared += 1
    assert compared >= 1
    pending = theirs.get("pendingPreKey")
    assert (session.pending is None) == (pending is None)
    if session.pending is not None:
        assert session.pending.signed_prekey_id == pending["signedKeyId"]
        assert session.pending.prekey_id == pending.get("preKeyId")
        assert session.pending.base_key == public(pending["baseKey"])


def public(encoded: str) -> PublicKey:
    return PublicKey.deserialize(b64decode(encoded))


@pytest.mark.parametrize("number", [0, 1], ids=["with one-time prekey", "without one-time prekey"])
def test_transcript(number: int) -> None:
    """Wire facts, "Version 3 session" and "Double ratchet": each message comes out byte for byte, and is read.

    Both roles are played through the public API; at the end, and after establishing, all stored keys agree.
    """
    transcript = transcripts()[number]
    replayed = Replayed(transcript)
    compare(replayed.alice.session(replayed.bob), transcript["aliceRecordAfterInit"])
    waiting = []
    for step in transcript["steps"]:
        sender, receiver = replayed.parties[step["from"]]
        message = sender.send(receiver, step["plaintext"].encode())
        assert message.serialized.hex() == step["body"]
        assert message.type is TYPES[step["type"]]
        if step["plaintext"].startswith("ooo"):
            waiting.append((message, step["plaintext"].encode()))
        else:
            assert receiver.take(sender, message) == step["plaintext"].encode()
    # The last four came out of order.
    assert len(waiting) == 4
    for at in (2, 0, 3, 1):
        message, plaintext = waiting[at]
        assert replayed.bob.take(replayed.alice, message) == plaintext
    compare(replayed.alice.session(replayed.bob), transcript["aliceRecord"])
    compare(replayed.bob.session(replayed.alice), transcript["bobRecord"])
    # Every key of the transcript was used, and none besides.
    assert replayed.tape.seeds == []


def test_there_are_24_messages() -> None:
    """Nothing is lost on the way: the two transcripts hold 24 messages."""
    assert sum(len(transcript["steps"]) for transcript in transcripts()) == 24
