"""What tests of sessions share: devices with scripted randomness, and refusals that must leave the store as it was."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from pawl import Device, EncryptedMessage, IdentityPolicy, MemoryStore, MessageType, ProtocolAddress, ProtocolError
from pawl.crypto.keys import PrivateKey, PublicKey
from pawl.session.rows import address_key
from pawl.session.state import Session
from pawl.storage.contract import Table
from pawl.wire import records

ALICE = ProtocolAddress("alice", 1)
BOB = ProtocolAddress("bob", 1)
NOW = 1_700_000_000

LOW_ORDER = PublicKey(bytes(32))
"""A public key whose every shared secret is all zero. Source: RFC 7748, section 6.1."""

ORDER_4 = PublicKey((1).to_bytes(32, "little"))
"""Another one: u = 1 has order 4."""


class Random:
    """Bytes from a seed: one seed, one transcript."""

    def __init__(self, seed: str) -> None:
        self.seed = seed.encode()
        self.drawn = 0

    def __call__(self, size: int) -> bytes:
        self.drawn += 1
        return hashlib.blake2b(self.drawn.to_bytes(4, "big"), key=self.seed, digest_size=size).digest()


class Script:
    """Gives back the very bytes it was given, in order; asked for something else, it fails."""

    def __init__(self, *draws: bytes) -> None:
        self.draws = list(draws)

    def __call__(self, size: int) -> bytes:
        drawn = self.draws.pop(0)
        assert len(drawn) == size
        return drawn


class Party:
    """A device over a memory store, with what a test needs to look into it."""

    def __init__(self, address: ProtocolAddress, policy: IdentityPolicy | None = None, seed: str = "") -> None:
        self.address = address
        self.store = MemoryStore()
        self.random = Random(f"{address}{seed}")
        self.now = NOW
        self.policy = IdentityPolicy() if policy is None else policy
        self.device = self.restarted()

    def restarted(self) -> Device:
        """The device opened again from its store: nothing is left but what is durable."""
        self.device = Device(self.store, identity_policy=self.policy, rng=self.random, clock=lambda: self.now)
        return self.device

    def send(self, to: Party, plaintext: bytes = b"text") -> EncryptedMessage:
        return self.device.encrypt(to.address, plaintext)

    def take(self, sender: Party, message: EncryptedMessage) -> bytes:
        return self.device.decrypt(sender.address, message)

    def meet(self, other: Party, *, one_time: bool = True) -> None:
        self.device.establish(other.address, other.device.prekey_bundle(one_time=one_time))

    # -- looking inside -----------------------------------------------------------------------------------------------

    def base_keys(self, other: Party) -> tuple[bytes, ...]:
        """Of the sessions with `other`, the current one first."""
        row = self.store.snapshot()[Table.SESSION_INDEX].get(address_key(other.address))
        return () if row is None else records.decode_session_index(row.value)

    def session(self, other: Party, base_key: bytes | None = None) -> Session:
        """The current session with `other`, or that of `base_key`."""
        key = address_key(other.address) + (self.base_keys(other)[0] if base_key is None else base_key)
        return records.decode_session(self.store.snapshot()[Table.SESSION][key].value)

    def put_session(self, other: Party, session: Session) -> None:
        """Write `session` over the one of its base key."""
        self.put(Table.SESSION, address_key(other.address) + session.base_key.data, records.encode_session(session))

    def put(self, table: Table, key: bytes, value: bytes | None) -> None:
        """Write a row past the library, or delete it."""
        with self.store.transaction() as tx:
            row = tx.get(table, key)
            if value is not None:
                tx.put(table, key, value, version=0 if row is None else row.version)
            elif row is not None:
                tx.delete(table, key, version=row.version)

    def kept(self) -> list[bytes]:
        """The keys of the rows of kept seeds, in order."""
        return sorted(self.store.snapshot()[Table.SKIPPED_KEY])

    def count(self, table: Table) -> int:
        return len(self.store.snapshot()[table])

    @contextmanager
    def refuses(self, code: str) -> Iterator[pytest.ExceptionInfo[ProtocolError]]:
        """What is done in the block is refused with `code`, and the whole store is afterwards what it was before."""
        before, revision = self.store.snapshot(), self.store.revision
        with pytest.raises(ProtocolError) as caught:
            yield caught
        assert caught.value.code == code
        assert self.store.snapshot() == before
        assert self.store.revision == revision


def party_pair(seed: str = "") -> tuple[Party, Party]:
    """Two parties that do not know each other."""
    return Party(ALICE, seed=seed), Party(BOB, seed=seed)


def met(seed: str = "", *, one_time: bool = True) -> tuple[Party, Party]:
    """Alice has established a session with Bob; nothing is sent yet."""
    alice, bob = party_pair(seed)
    alice.meet(bob, one_time=one_time)
    return alice, bob


def talking(seed: str = "") -> tuple[Party, Party]:
    """Both have heard from each other; Alice is the initiator, and the next to take a ratchet step is Bob."""
    alice, bob = met(seed)
    talk(alice, bob)
    assert bob.take(alice, alice.send(bob)) == b"text"
    return alice, bob


def talk(one: Party, other: Party) -> None:
    """Both directions work, with a ratchet step each way."""
    for sender, receiver in ((one, other), (other, one)):
        text = b"from " + sender.address.name.encode()
        assert receiver.take(sender, sender.send(receiver, text)) == text


def flipped(message: EncryptedMessage, at: int = -1) -> EncryptedMessage:
    """`message` with one bit of the byte at `at` changed."""
    data = bytearray(message.serialized)
    data[at] ^= 1
    return EncryptedMessage(message.type, bytes(data))


def spliced(message: EncryptedMessage, old: bytes, new: bytes) -> EncryptedMessage:
    """`message` with `old`, which is in it, replaced by `new` of the same length."""
    assert old in message.serialized
    assert len(old) == len(new)
    return EncryptedMessage(message.type, message.serialized.replace(old, new, 1))


def signal(data: bytes) -> EncryptedMessage:
    return EncryptedMessage(MessageType.SIGNAL, data)


def prekey(data: bytes) -> EncryptedMessage:
    return EncryptedMessage(MessageType.PREKEY, data)


def advanced_sender(session: Session, steps: int, step: Callable[[Session], tuple[Session, bytes]]) -> Session:
    """`session` after sending `steps` messages that nobody wrote down."""
    for _ in range(steps):
        session, _ = step(session)
    return session


def with_counter(session: Session, counter: int) -> Session:
    """`session` with another counter on its sending chain."""
    return session._replace(sending=session.sending._replace(counter=counter))


def private(seed: int) -> PrivateKey:
    return PrivateKey(bytes([seed]) * 32)
