"""Take over a device of node-libsignal (npm `libsignal`) with its sessions, so that its conversations go on.

That package keeps nothing itself: its application does, each in its own way. What is read here is one JSON document
that the application writes from its store; docs/how-to/import-from-node.md says how.
"""

from __future__ import annotations

import json
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pawl.address import ProtocolAddress
from pawl.crypto.keys import ChainKey, KeyPair, MessageSeed, PrivateKey, PublicKey, RootKey
from pawl.errors import InvalidArgument, InvalidKey
from pawl.limits import (
    MAX_ARCHIVED_SESSIONS,
    MAX_COUNTER,
    MAX_PREKEYS,
    MAX_RECEIVING_CHAINS,
    MAX_SKIPPED_KEYS_PER_CHAIN,
)
from pawl.session.prekeys import LOCAL_KEY, id_key
from pawl.session.rows import address_key
from pawl.session.state import PendingPreKey, ReceivingChain, SendingChain, Session
from pawl.sources import Clock, Rng, draw, system_clock, system_rng
from pawl.storage.contract import Store, Table, Transaction
from pawl.wire import records
from pawl.wire.messages import MESSAGE_VERSION

MAX_IMPORT_BYTES: Final = 256 * 1024 * 1024
"""Bytes of one document."""

_SENDING, _RECEIVING = 1, 2
_OPEN: Final = -1

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Imported:
    """How much was taken over."""

    peers: int
    """Addresses."""
    sessions: int
    kept_keys: int
    prekeys: int
    signed_prekeys: int


def import_from_node(store: Store, document: bytes, *, rng: Rng = system_rng, clock: Clock = system_clock) -> Imported:
    """Write the device in `document` to `store`, which must be empty, in one transaction: all of it, or nothing.

    From then on the device is this one's alone: if both go on, they use the same counters.
    Raises: InvalidArgument (the document is not as it should be; the text says where), StorageError.
    """
    # Check
    if type(document) is not bytes or len(document) > MAX_IMPORT_BYTES:
        raise InvalidArgument(f"a document is at most {MAX_IMPORT_BYTES} bytes")
    try:
        root = _Node(json.loads(document, object_pairs_hook=_members), "the document")
    except _Twice:
        raise InvalidArgument("an object of the document names a member twice") from None
    except (ValueError, RecursionError):
        raise InvalidArgument("the document is not JSON") from None
    with store.transaction() as tx:
        if any(tx.scan(table, b"", limit=1) for table in Table):
            raise InvalidArgument("the store is not empty: a device is imported into a new one")
        # Derive and commit
        return _Import(tx, root, rng, clock()).run()


class _Twice(Exception):
    """Of two members of one name a parser would silently drop the first."""


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object. Raises: _Twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Twice
    return found


class _Node:
    """A part of the document, and where it stands. What is wrong with it is an InvalidArgument with that place."""

    def __init__(self, value: Any, place: str) -> None:
        self.value = value
        self.place = place

    def wrong(self, what: str) -> InvalidArgument:
        """The refusal."""
        return InvalidArgument(f"{self.place} is not {what}")

    def members(self) -> dict[str, Any]:
        """Of an object."""
        if type(self.value) is not dict:
            raise self.wrong("an object")
        return self.value

    def __getitem__(self, name: str) -> _Node:
        members = self.members()
        if name not in members:
            raise InvalidArgument(f"{self.place} has no {name}")
        return _Node(members[name], f"{name} of {self.place}")

    def find(self, name: str) -> _Node | None:
        """A member that may be missing or null."""
        return self[name] if self.members().get(name) is not None else None

    def items(self, what: str) -> Iterator[tuple[str, _Node]]:
        """Name and value of each member; a name is not repeated in a text, it may be anything."""
        for number, (name, value) in enumerate(self.members().items(), 1):
            yield name, _Node(value, f"{what} {number}")

    def integer(self, least: int = 0, most: int = MAX_COUNTER) -> int:
        """A whole number in the range."""
        if type(self.value) is not int or not least <= self.value <= most:
            raise self.wrong(f"a whole number from {least} to {most}")
        return self.value

    def read(self, make: Callable[[bytes], T], what: str) -> T:
        """What `make` makes of the bytes in Base64."""
        try:
            if type(self.value) is not str:
                raise ValueError
            return make(b64decode(self.value, validate=True))
        except (ValueError, Base64Error, InvalidKey, InvalidArgument):
            raise self.wrong(f"{what} in Base64") from None

    def public(self) -> PublicKey:
        """33 bytes."""
        return self.read(PublicKey.deserialize, "a public key of 33 bytes")

    def pair(self) -> KeyPair:
        """A key pair whose halves belong together."""
        pair = KeyPair.from_private(self["privKey"].read(PrivateKey, "a private key of 32 bytes"))
        if self["pubKey"].public() != pair.public:
            raise self.wrong("a key pair: the halves do not belong together")
        return pair


class _Import:
    def __init__(self, tx: Transaction, root: _Node, rng: Rng, now: int) -> None:
        self._tx = tx
        self._root = root
        self._rng = rng
        self._now = now
        self._kept = 0
        self._sessions = 0
        self._identity = root["identity"].pair()
        self._registration_id = root["registrationId"].integer()

    def run(self) -> Imported:
        """Write everything."""
        prekeys = self._prekeys()
        signed = self._signed_prekeys()
        pins: dict[str, PublicKey] = {}
        peers = 0
        for text, record in self._root["sessions"].items("session record"):
            self._peer(_address(text, record), record, pins)
            peers += 1
        # What the application pinned has the last word.
        for name, key in _entries(self._root.find("identities"), "identity"):
            pins[ProtocolAddress(name, 0).name] = key.public()
        for name, pinned in pins.items():
            self._tx.put(Table.IDENTITY, name.encode(), records.encode_identity(pinned), version=0)
        local = records.LocalIdentity(
            self._identity, self._registration_id, 1 + max(prekeys, default=0), 1 + max(signed, default=0)
        )
        self._tx.put(Table.LOCAL, LOCAL_KEY, records.encode_local_identity(local), version=0)
        return Imported(peers, self._sessions, self._kept, len(prekeys), len(signed))

    # -- prekeys ------------------------------------------------------------------------------------------------------

    def _prekeys(self) -> list[int]:
        found = [(_id(text, each), each) for text, each in _entries(self._root.find("preKeys"), "prekey")]
        if len(found) > MAX_PREKEYS:
            raise InvalidArgument(f"there are more than {MAX_PREKEYS} prekeys")
        for number, each in found:
            data = records.encode_prekey(records.PreKey(number, each.pair()))
            self._tx.put(Table.PREKEY, id_key(number), data, version=0)
        return [number for number, _ in found]

    def _signed_prekeys(self) -> list[int]:
        found = [(_id(text, each), each) for text, each in _entries(self._root.find("signedPreKeys"), "signed prekey")]
        newest = max((number for number, _ in found), default=0)
        for number, each in found:
            signature = each["signature"].read(bytes, "a signature of 64 bytes")
            try:
                prekey = records.SignedPreKey(
                    number,
                    each["keyPair"].pair(),
                    signature,
                    self._now,
                    # The newest one is the current one; the others serve messages in flight for the usual time.
                    None if number == newest else self._now,
                )
            except InvalidArgument:
                raise each.wrong("a signed prekey with a signature of 64 bytes") from None
            self._tx.put(Table.SIGNED_PREKEY, id_key(number), records.encode_signed_prekey(prekey), version=0)
        return [number for number, _ in found]

    # -- sessions -----------------------------------------------------------------------------------------------------

    def _peer(self, peer: ProtocolAddress, record: _Node, pins: dict[str, PublicKey]) -> None:
        if record["version"].value != "v1":
            raise record["version"].wrong("v1, the version that is known")
        found = [self._session(peer, each) for _, each in record["_sessions"].items(f"session of {record.place}, no.")]
        # The open one is the current one; of the others the one closed last comes first.
        found.sort(key=lambda each: (each[0] != _OPEN, -each[0]))
        kept = found[: 1 + MAX_ARCHIVED_SESSIONS]
        if not kept:
            return
        if len({session.base_key.data for _, session, _ in found}) != len(found):
            raise InvalidArgument(f"{record.place} has two sessions of one base key")
        pins.setdefault(peer.name, kept[0][1].remote_identity)
        base_keys = []
        for _, session, seeds in kept:
            key = address_key(peer) + session.base_key.data
            self._tx.put(Table.SESSION, key, records.encode_session(session), version=0)
            for ratchet_key, counter, seed in seeds:
                place = key + ratchet_key.data + counter.to_bytes(4, "big")
                self._tx.put(Table.SKIPPED_KEY, place, records.encode_message_seed(seed), version=0)
            base_keys.append(session.base_key.data)
            self._sessions += 1
            self._kept += len(seeds)
        self._tx.put(Table.SESSION_INDEX, address_key(peer), records.encode_session_index(base_keys), version=0)

    def _session(
        self, peer: ProtocolAddress, found: _Node
    ) -> tuple[int, Session, list[tuple[PublicKey, int, MessageSeed]]]:
        """When it was closed, the session, and the keys that were kept for it."""
        info, ratchet = found["indexInfo"], found["currentRatchet"]
        chains = [
            (_Node(text, each.place).public(), each) for text, each in found["_chains"].items(f"chain of {found.place}")
        ]
        pair = ratchet["ephemeralKeyPair"].pair()
        sending = [each for key, each in chains if key == pair.public and each["chainType"].value == _SENDING]
        if len(sending) != 1:
            raise InvalidArgument(f"{found.place} has no sending chain")
        receiving, seeds = self._receiving(chains, ratchet["lastRemoteEphemeralKey"].public())
        pending = found.find("pendingPreKey")
        session = Session(
            version=MESSAGE_VERSION,
            base_key=info["baseKey"].public(),
            local_identity=self._identity.public,
            remote_identity=info["remoteIdentityKey"].public(),
            local_registration_id=self._registration_id,
            remote_registration_id=found["registrationId"].integer(),
            root_key=ratchet["rootKey"].read(RootKey, "a root key of 32 bytes"),
            sending=SendingChain(pair, _chain_key(sending[0]), _next_counter(sending[0])),
            receiving=tuple(receiving),
            previous_counter=max(ratchet["previousCounter"].integer(-1), 0),
            pending=None if pending is None else self._pending(pending, info),
        )
        return info["closed"].integer(_OPEN, 2**62), session, seeds

    def _receiving(
        self, chains: list[tuple[PublicKey, _Node]], newest: PublicKey
    ) -> tuple[list[ReceivingChain], list[tuple[PublicKey, int, MessageSeed]]]:
        """Newest first: the peer's present chain, then the others, which stand in the order of their age."""
        found = [(key, each) for key, each in reversed(chains) if each["chainType"].value == _RECEIVING]
        found.sort(key=lambda each: each[0] != newest)
        receiving, seeds = [], []
        for key, each in found[:MAX_RECEIVING_CHAINS]:
            kept = sorted(
                ((_index(text, seed), seed) for text, seed in each["messageKeys"].items(f"key of {each.place}")),
                key=lambda pair: pair[0],
            )
            # The key of a message that is still to come would let it be read twice.
            if kept and kept[-1][0] >= _next_counter(each):
                raise InvalidArgument(f"{each.place} keeps the key of a message that it has not come to")
            kept = kept[-MAX_SKIPPED_KEYS_PER_CHAIN:]
            closed = each["chainKey"].find("key") is None
            # Of a closed chain only the kept keys are left: no message can come after them, and no key is made up that
            # anybody knows.
            chain_key = ChainKey(draw(self._rng, 32)) if closed else _chain_key(each)
            receiving.append(ReceivingChain(key, chain_key, _next_counter(each), len(kept)))
            seeds += [(key, index, seed.read(MessageSeed, "a key of 32 bytes")) for index, seed in kept]
        return receiving, seeds

    def _pending(self, pending: _Node, info: _Node) -> PendingPreKey:
        prekey_id = pending.find("preKeyId")
        return PendingPreKey(
            # There, 0 is left out of the message.
            None if prekey_id is None or prekey_id.value == 0 else prekey_id.integer(),
            pending["signedKeyId"].integer(),
            pending["baseKey"].public(),
            info["created"].integer(0, 2**62) // 1000,
        )


def _entries(found: _Node | None, what: str) -> Iterator[tuple[str, _Node]]:
    return iter(()) if found is None else found.items(what)


def _address(text: str, at: _Node) -> ProtocolAddress:
    name, _, device = text.rpartition(".")
    # One spelling, so that no two are the same.
    if not device.isascii() or not device.isdecimal() or len(device) > 3 or device != str(int(device)):
        raise InvalidArgument(f"the name of {at.place} is not that of an address, name.device")
    return ProtocolAddress(name, int(device))


def _id(text: str, at: _Node) -> int:
    if not text.isdecimal() or len(text) > 8 or text != str(int(text)) or int(text) >= 2**24:
        raise InvalidArgument(f"the name of {at.place} is not an id below 2^24")
    return int(text)


def _index(text: str, at: _Node) -> int:
    # One spelling, so that no two are the same.
    if not text.isdecimal() or len(text) > 10 or text != str(int(text)) or int(text) > MAX_COUNTER:
        raise InvalidArgument(f"the name of {at.place} is not a counter")
    return int(text)


def _chain_key(chain: _Node) -> ChainKey:
    return chain["chainKey"]["key"].read(ChainKey, "a chain key of 32 bytes")


def _next_counter(chain: _Node) -> int:
    # There, the last counter is stored, and -1 before the first.
    return 1 + chain["chainKey"]["counter"].integer(-1)
