"""Messages of sessions behind a valid MAC: the attacker's moves on terms, in a world that stands ready.

The harness plays the peers, so that it knows the key of each of their messages. It may change any field of a message
and put the MAC of the changed bytes under it: what lies behind the MAC is reached at each try, as by a peer that turned
bad. The receiver is Pawl, opened anew on a copy of one store for each input.

What must happen is computed from the bytes alone: the second reading says whether it is a message, the known key of its
place whether it authenticates, and a short account of the receiver whether that key may still be used. An accepted
message is given once more at once, and must be refused then.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from pawl import Device, EncryptedMessage, IdentityPolicy, MessageType, PreKeyBundle, ProtocolAddress
from pawl.crypto import cbc
from pawl.errors import InvalidCiphertext, ProtocolError
from pawl.session.rows import address_key
from pawl.session.state import Session
from pawl.storage.contract import Table
from pawl.storage.memory import MemoryStore
from pawl.wire import records
from pawl_gate.attacker import LOW_ORDER, random_key
from pawl_gate.fuzzing import fields, reading, steps
from pawl_gate.fuzzing.broken import Broken
from pawl_gate.fuzzing.entries import Prepared, Ran
from pawl_gate.fuzzing.fields import Shape
from pawl_gate.fuzzing.reading import Values
from pawl_gate.fuzzing.steps import Step, Steps
from pawl_gate.targets.inprocess import NOW, SeededRng
from pawl_gate.wire_view import Layer, prekey_layer, signal_layer, varint, write_field

ALICE, BOB, CAROL = (ProtocolAddress(name, 1) for name in ("alice", "bob", "carol"))
PEERS: Final = (ALICE, CAROL)

FAR: Final = 300
"""A jump over more messages than this is legal and slow; it is left to the directed scenarios."""
JUMP: Final = 25_000
"""Over more than this a message is refused at once."""

Place = tuple[int, bytes, int]
"""Of a message: its session, the ratchet key (33 bytes) of its chain, and its counter there."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that a peer sent, and what the harness knows of it."""

    peer: int
    place: Place
    data: bytes
    """The inner message."""
    outer: bytes
    """The prekey message around it; empty where there is none."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one place on a chain."""

    mac: bytes
    cipher: bytes
    iv: bytes


def _keys(seed: bytes) -> Keys:
    """Source: Double Ratchet, section 7.2 (ENCRYPT); RFC 5869."""
    pseudo_random = hmac.digest(bytes(32), seed, "sha256")
    out = block = b""
    for number in range(1, 4):
        block = hmac.digest(pseudo_random, block + b"WhisperMessageKeys" + bytes([number]), "sha256")
        out += block
    return Keys(mac=out[32:64], cipher=out[:32], iv=out[64:80])


@dataclass(slots=True)
class Account:
    """What the receiver has: places that were read, how far each chain is, which sessions there are."""

    read: set[Place]
    due: dict[tuple[int, bytes], int]
    sessions: set[int]

    def copy(self) -> Account:
        """For a snapshot."""
        return Account(set(self.read), dict(self.due), set(self.sessions))


@dataclass(frozen=True, slots=True)
class World:
    """Peers who have sent, and a receiver who has read some of it. Built once, and never changed."""

    store: MemoryStore
    """The receiver's."""
    drawn: int
    """Numbers that the receiver's random source gave before."""
    sent: tuple[Sent, ...]
    keys: dict[Place, Keys]
    outers: dict[int, Values]
    """Of each session, what its first message says around the inner one."""
    peers: dict[int, int]
    """Which peer has a session."""
    identities: tuple[bytes, ...]
    """The identity (33 bytes) of each peer, and last that of the receiver."""
    account: Account


class _Peer:
    """A peer in the making: a device whose state the harness reads before each message."""

    def __init__(self, address: ProtocolAddress, number: int) -> None:
        self.address = address
        self.store = MemoryStore()
        self.device = _device(self.store, SeededRng(b"fuzzed peer %d" % number))

    def session(self) -> Session:
        with self.store.transaction() as tx:
            index = tx.get(Table.SESSION_INDEX, address_key(BOB))
            base_key = records.decode_session_index(b"" if index is None else index.value)[0]
            row = tx.get(Table.SESSION, address_key(BOB) + base_key)
        return records.decode_session(b"" if row is None else row.value)


def _device(store: MemoryStore, rng: SeededRng) -> Device:
    return Device(store, identity_policy=IdentityPolicy(), rng=rng, clock=lambda: NOW)


class _Making:
    """The world in the making."""

    def __init__(self) -> None:
        self.rng = SeededRng(b"fuzzed receiver")
        self.store = MemoryStore()
        self.bob = _device(self.store, self.rng)
        self.sent: list[Sent] = []
        self.keys: dict[Place, Keys] = {}
        self.outers: dict[int, Values] = {}
        self.account = Account(set(), {}, set())

    def send(self, peer: int, by: _Peer, session: int, count: int) -> list[int]:
        """So many messages of a peer; their numbers."""
        numbers = []
        for _ in range(count):
            before = by.session().sending
            plaintext = b"message %d" % len(self.sent)
            message = by.device.encrypt(BOB, plaintext)
            place = (session, before.ratchet.public.serialize(), before.counter)
            self.keys[place] = _keys(hmac.digest(before.chain_key.data, b"\x01", "sha256"))
            outer = message.serialized if message.type is MessageType.PREKEY else b""
            data = message.serialized
            if outer:
                values = reading.read(outer, 1, len(outer), reading.PREKEY)
                assert isinstance(values, dict)  # noqa: S101 - it is our own
                self.outers[session] = values
                inner = values[4]
                assert isinstance(inner, bytes)  # noqa: S101
                data = inner
            numbers.append(len(self.sent))
            self.sent.append(Sent(peer, place, data, outer))
        return numbers

    def read(self, number: int) -> None:
        """The receiver reads a message."""
        sent = self.sent[number]
        kind = MessageType.PREKEY if sent.outer else MessageType.SIGNAL
        self.bob.decrypt(PEERS[sent.peer], EncryptedMessage(kind, sent.outer or sent.data))
        took(self.account, sent.place)


def took(account: Account, place: Place) -> None:
    """Note that a message was read."""
    session, ratchet_key, counter = place
    account.read.add(place)
    chain = session, ratchet_key
    account.due[chain] = max(account.due.get(chain, 0), counter + 1)
    account.sessions.add(session)


def built() -> World:
    """Two peers: one in the third chain of a session with keys kept on two, one who sent first messages only."""
    making = _Making()
    alice, carol = _Peer(ALICE, 0), _Peer(CAROL, 1)
    bundles: list[PreKeyBundle] = [making.bob.prekey_bundle(one_time=True), making.bob.prekey_bundle(one_time=True)]
    alice.device.establish(BOB, bundles[0])
    first = making.send(0, alice, 0, 5)
    making.read(first[0])
    making.read(first[3])
    _answer(making, alice)
    second = making.send(0, alice, 0, 6)
    for number in (second[0], second[2], second[4]):
        making.read(number)
    _answer(making, alice)
    making.send(0, alice, 0, 3)
    carol.device.establish(BOB, bundles[1])
    making.send(1, carol, 1, 2)
    return World(
        store=making.store,
        drawn=making.rng._drawn,
        sent=tuple(making.sent),
        keys=making.keys,
        outers=making.outers,
        peers={0: 0, 1: 1},
        identities=tuple(each.identity_key.serialize() for each in (alice.device, carol.device, making.bob)),
        account=making.account,
    )


def _answer(making: _Making, alice: _Peer) -> None:
    alice.device.decrypt(BOB, making.bob.encrypt(ALICE, b"answer"))


# -- the attacker's moves ---------------------------------------------------------------------------------------------

INNER_MOVES: Final = (
    "version",
    "counter-of",
    "counter-plus",
    "ratchet-key-of",
    "stray-ratchet-key",
    "low-order-ratchet-key",
    "previous-counter",
    "ciphertext-of",
    "ciphertext-bit",
    "ciphertext-cut",
    "unknown-field",
    "again",
    "without",
    "overlong-varint",
    "wrong-wire-type",
    "order",
    "many-unknown-fields",
)
"""Changes of an inner message, after which its MAC is made anew."""

MAC_MOVES: Final = ("old-mac", "mac-bit", "swapped-identities", "identity-of", "key-of")
"""Changes of what the MAC is over, or under."""

OUTER_MOVES: Final = (
    "outer-version",
    "registration-id",
    "prekey-id",
    "without-prekey-id",
    "signed-prekey-id",
    "base-key-of",
    "outer-identity-of",
    "outer-unknown-field",
    "outer-again",
    "outer-without",
    "outer-overlong-varint",
    "bare",
    "wrapped-as",
)
"""Changes around an inner message; the last two take it out of its wrapping, or put it into another's."""

MOVES: Final = (*INNER_MOVES, *MAC_MOVES, *OUTER_MOVES)
"""Positions are part of the byte form: only append."""

VERSIONS: Final = (0x34, 0x33, 0x32, 0x43, 0x23, 0x00, 0xFF)


class Crafted:
    """A message on its way through the attacker's hands."""

    def __init__(self, world: World, sent: Sent) -> None:
        self._world = world
        self._sent = sent
        self.inner = signal_layer(sent.data)
        self.outer: Layer | None = prekey_layer(sent.outer) if sent.outer else None
        self.keys = world.keys[sent.place]
        self.identities = (world.identities[sent.peer], world.identities[-1])
        self.mac: bytes | None = None
        self.bit = 0
        self.more = b""
        self.outer_more = b""

    def move(self, name: str, how: int) -> None:
        """One move."""
        other = self._world.sent[how % len(self._world.sent)]
        if name in INNER_MOVES:
            self._inner(name, how, signal_layer(other.data))
        elif name in MAC_MOVES:
            self._mac(name, how, other)
        elif name == "bare":
            self.outer = None
        elif name == "wrapped-as":
            self.outer = prekey_layer(other.outer) if other.outer else self.outer
        elif self.outer is not None:
            self._outer(name, how, self.outer)

    def _inner(self, name: str, how: int, other: Layer) -> None:
        layer = self.inner
        match name:
            case "version":
                layer.version = VERSIONS[how % len(VERSIONS)]
            case "counter-of":
                layer.set(2, other.get(2) or 0)
            case "counter-plus":
                layer.set(2, (number(layer, 2) + (1, 2, 200, 25_001, 2**31)[how % 5]) % 2**32)
            case "ratchet-key-of":
                layer.set(1, other.get(1) or b"")
            case "stray-ratchet-key":
                layer.set(1, random_key(how % 4, 7))
            case "low-order-ratchet-key":
                layer.set(1, LOW_ORDER[how % len(LOW_ORDER)])
            case "previous-counter":
                layer.set(3, (number(layer, 3) + (1, 2, 300, 2**31, 2**32 - 1)[how % 5]) % 2**32)
            case "ciphertext-of":
                layer.set(4, other.get(4) or b"")
            case "ciphertext-bit":
                layer.set(4, flipped(octets(layer, 4), how))
            case "ciphertext-cut":
                layer.set(4, octets(layer, 4)[: how % 40])
            case _:
                self.more += rewritten(layer, name, how)

    def _mac(self, name: str, how: int, other: Sent) -> None:
        match name:
            case "old-mac":
                self.mac = self._sent.data[-8:]
            case "mac-bit":
                self.bit = 1 << how % 64
            case "swapped-identities":
                self.identities = self.identities[::-1]
            case "identity-of":
                self.identities = (self._world.identities[how % len(self._world.identities)], self.identities[1])
            case _:
                self.keys = self._world.keys[other.place]

    def _outer(self, name: str, how: int, layer: Layer) -> None:
        other = self._world.outers[how % len(self._world.outers)]
        match name:
            case "outer-version":
                layer.version = VERSIONS[how % len(VERSIONS)]
            case "registration-id":
                layer.set(5, fields.INTEGERS[how % 12])
            case "prekey-id":
                layer.set(1, how % 6)
            case "without-prekey-id":
                layer.fields = [each for each in layer.fields if each[0] != 1]
            case "signed-prekey-id":
                layer.set(6, how % 6)
            case "base-key-of":
                layer.set(2, other[2] if how & 0x80 == 0 else random_key(how % 4, 8))
            case "outer-identity-of":
                layer.set(3, self._world.identities[how % len(self._world.identities)])
            case _:
                self.outer_more += rewritten(layer, name.removeprefix("outer-"), how)

    def finished(self) -> tuple[MessageType, bytes]:
        """The message as it is handed over."""
        body = Layer(self.inner.version, self.inner.fields).data() + self.more
        mac = hmac.digest(self.keys.mac, self.identities[0] + self.identities[1] + body, "sha256")[:8]
        mac = self.mac or (int.from_bytes(mac, "big") ^ self.bit).to_bytes(8, "big")
        if self.outer is None:
            return MessageType.SIGNAL, body + mac
        self.outer.set(4, body + mac)
        return MessageType.PREKEY, self.outer.data() + self.outer_more


def rewritten(layer: Layer, name: str, how: int) -> bytes:
    """Changes of how a layer is written; what is to stand behind its fields."""
    at = how % len(layer.fields) if layer.fields else 0
    match name:
        case "unknown-field":
            return write_field(7 + how % 40, b"\0" * (how % 5) if how & 0x40 else how)
        case "many-unknown-fields":
            return write_field(9, how) * (15 + how % 3)
        case "again" if layer.fields:
            return write_field(*layer.fields[at])
        case "without" if layer.fields:
            del layer.fields[at]
        case "order" if layer.fields:
            layer.fields = layer.fields[at:] + layer.fields[:at]
        case "wrong-wire-type" if layer.fields:
            tag, value = layer.fields.pop(at)
            return write_field(tag, b"\1" if isinstance(value, int) else 1)
        case "overlong-varint" if layer.fields:
            tag, value = layer.fields.pop(at)
            if isinstance(value, int):
                return varint(tag << 3) + fields.overlong(value)
            return varint(tag << 3 | 2) + fields.overlong(len(value)) + value
    return b""


def number(layer: Layer, tag: int) -> int:
    """The value of a field that is a number; 0 where there is none."""
    value = layer.get(tag)
    return value if isinstance(value, int) else 0


def octets(layer: Layer, tag: int) -> bytes:
    """The value of a field that is bytes; empty where there is none."""
    value = layer.get(tag)
    return value if isinstance(value, bytes) else b""


def flipped(data: bytes, how: int) -> bytes:
    """The bytes with one bit turned."""
    if not data:
        return b"\1"
    at = how % len(data)
    return data[:at] + bytes([data[at] ^ 1 << how % 8]) + data[at + 1 :]


# -- running ----------------------------------------------------------------------------------------------------------

NOP, DELIVER, CRAFT, RAW, OUTER, SNAPSHOT, RESTORE, RESTART, SEND = range(9)
"""The opcodes; only append."""

WORDS: Final = ("nop", "deliver", "craft", "raw", "outer", "snapshot", "restore", "restart", "send")

IDS: Final = frozenset({"AUT-01", "CTR-03", "CTR-04", "CTR-05", "IDC-04", "PAR-01", "PAR-02", "PAR-03", "PAR-04"})
PARSING: Final = frozenset({"malformed-message", "message-too-large", "unknown-version", "invalid-key"})
RAW_SHAPE: Final = Shape()


class Costly(Exception):
    """A step is legal and slow."""


@dataclass(slots=True)
class Life:
    """One run of an input: the receiver, what is known of it, and what was seen."""

    world: World
    store: MemoryStore
    device: Device
    account: Account
    snapshot: tuple[MemoryStore, Account] | None = None
    said: list[str] = field(default_factory=list)
    sent: set[tuple[bytes, int]] = field(default_factory=set)


class Sealed:
    """The harness."""

    def __init__(self) -> None:
        self.world = built()
        self._rng = SeededRng(b"fuzzed receiver", self.world.drawn)

    def hold(self, data: bytes) -> list[str] | None:
        """Run the steps. Raises: Broken."""
        life = self._life()
        try:
            for step in steps.decode(data):
                self._step(life, step)
        except Costly:
            return None
        return life.said

    def run(self, data: bytes) -> Ran | None:
        """The same, with what it did."""
        said = self.hold(data)
        if said is None:
            return None
        pairs = {f"{one}, then {other}" for one, other in pairwise(said)}
        return Ran("\n".join(said).encode(), frozenset(said) | pairs, IDS if said else frozenset())

    def _life(self) -> Life:
        store = self.world.store.fork()
        return Life(self.world, store, _device(store, self._rng.copy()), self.world.account.copy())

    def _step(self, life: Life, step: Step) -> None:
        sent = self.world.sent[step.a % len(self.world.sent)]
        match step.opcode:
            case 1:  # DELIVER
                kind = MessageType.PREKEY if sent.outer else MessageType.SIGNAL
                self._give(life, step.c, sent, kind, sent.outer or sent.data, "deliver")
            case 2:  # CRAFT
                crafted = Crafted(self.world, sent)
                names = []
                for at in range(0, min(len(step.data), 16), 2):
                    name = MOVES[step.data[at] % len(MOVES)]
                    names.append(name)
                    crafted.move(name, step.data[at + 1] if at + 1 < len(step.data) else 0)
                self._give(life, step.c, sent, *crafted.finished(), f"craft {' '.join(names)}")
            case 3:  # RAW
                keys = self.world.keys[self.world.sent[step.b % len(self.world.sent)].place]
                over = self.world.identities[sent.peer] + self.world.identities[-1] + step.data
                data = step.data + hmac.digest(keys.mac, over, "sha256")[:8]
                self._give(life, step.c, sent, MessageType.SIGNAL, data, "raw")
            case 4:  # OUTER
                self._give(life, step.c, sent, MessageType.PREKEY, step.data, "outer")
            case 5:  # SNAPSHOT
                life.snapshot = life.store.fork(), life.account.copy()
                life.said.append("snapshot")
            case 6 if life.snapshot is not None:  # RESTORE
                store, account = life.snapshot
                life.store, life.account = store.fork(), account.copy()
                life.device = _device(life.store, SeededRng(b"restored", len(life.said)))
                life.said.append("restore")
            case 7:  # RESTART
                life.device = _device(life.store, SeededRng(b"restarted", len(life.said)))
                life.said.append("restart")
            case 8:  # SEND
                self._send(life)

    def _send(self, life: Life) -> None:
        try:
            message = life.device.encrypt(ALICE, b"something")
        except Exception as error:
            raise Broken("PAR-01", f"sending: {type(error).__name__}: {error}") from error
        read = reading.signal(message.serialized)
        if type(read) is not dict:
            raise Broken("PAR-02", f"what is sent is no message: {read[1]!s}")
        life.said.append("send")

    def _give(self, life: Life, to: int, sent: Sent, kind: MessageType, data: bytes, what: str) -> None:
        """Hand a message to the receiver, as from the peer who sent it or (odd `to`) from the other one."""
        peer = (sent.peer + to) % len(PEERS)
        place, plaintext, why = self._expected(life.account, peer, kind, data)
        before = life.store.revision
        got = self._decrypt(life, peer, kind, data)
        if isinstance(got, ProtocolError):
            if place is not None:
                id_ = "PAR-02" if got.code in PARSING else "CTR-04"
                raise Broken(id_, f"an authentic message is refused: {got.code}: {got}")
            if life.store.revision != before:
                raise Broken("CTR-05", "a refused message changed what is stored")
            life.said.append(f"{what}: {got.code}, {why}")
            return
        if place is None:
            raise Broken(_named(why), f"a message is accepted although {why}")
        if got != plaintext:
            raise Broken("AUT-01", "what is read is not what was sent")
        took(life.account, place)
        # Once read, never again.
        again = self._decrypt(life, peer, kind, data)
        if not isinstance(again, ProtocolError):
            raise Broken("CTR-03", "a message is read twice")
        life.said.append(f"{what}: read, then {again.code}")

    def _decrypt(self, life: Life, peer: int, kind: MessageType, data: bytes) -> bytes | ProtocolError:
        try:
            return life.device.decrypt(PEERS[peer], EncryptedMessage(kind, data))
        except ProtocolError as refusal:
            return refusal
        except Exception as error:
            raise Broken("PAR-01", f"{type(error).__name__}: {error}") from error

    # -- what must happen, by the bytes alone -------------------------------------------------------------------------

    def _expected(self, account: Account, peer: int, kind: MessageType, data: bytes) -> tuple[Place | None, bytes, str]:
        """Place and plaintext of a message that must be read; or None, and why it must not."""
        inner = data
        outer: Values | None = None
        if kind is MessageType.PREKEY:
            found = reading.prekey(data)
            if type(found) is not dict:
                return None, b"", f"{found[0]!s} {found[1]!s}"
            outer = found
            inside = outer[4]
            inner = inside if type(inside) is bytes else b""
        read = reading.signal(inner)
        if type(read) is not dict:
            return None, b"", f"{read[0]!s} {read[1]!s}"
        session, why = self._session(account, peer, outer)
        if session is None:
            return None, b"", why
        place = self._place(session, read)
        if place is None:
            self._refuse_costly(account, session, read)
            return None, b"", "AUT-01 nobody sent a message in its place"
        keys = self.world.keys[place]
        over = self.world.identities[peer] + self.world.identities[-1] + inner[:-8]
        if hmac.digest(keys.mac, over, "sha256")[:8] != inner[-8:]:
            return None, b"", "AUT-01 its MAC is not that of its place"
        if place in account.read:
            return None, b"", "CTR-03 it was read before"
        body = read[4]
        try:
            return place, cbc.decrypt(keys.cipher, keys.iv, body if type(body) is bytes else b""), ""
        except InvalidCiphertext:
            return None, b"", "AUT-01 its body cannot be deciphered"

    def _session(self, account: Account, peer: int, outer: Values | None) -> tuple[int | None, str]:
        """The session in which a message has to be read, or why there is none."""
        (session,) = [number for number, owner in self.world.peers.items() if owner == peer]
        if outer is None:
            return (session, "") if session in account.sessions else (None, "CTR-03 there is no session")
        own = self.world.outers[session]
        # Around the inner message, the identity and the base key are its session's, always.
        if outer[3] != own[3]:
            return None, "IDC-04 the identity around it is another one"
        if outer[2] != own[2]:
            return None, "CTR-06 the base key around it is another one"
        # What names the receiver's prekeys counts only as long as there is no session.
        if session not in account.sessions and (outer.get(1), outer[6]) != (own.get(1), own[6]):
            return None, "AUT-01 the prekeys that it names are others"
        return session, ""

    def _place(self, session: int, read: Values) -> Place | None:
        ratchet_key, counter = read[1], read[2]
        if type(ratchet_key) is bytes and type(counter) is int:
            place = session, ratchet_key, counter
            return place if place in self.world.keys else None
        return None

    def _refuse_costly(self, account: Account, session: int, read: Values) -> None:
        """Raises: Costly, for a jump that is legal and long."""
        ratchet_key, counter = read[1], read[2]
        if type(ratchet_key) is bytes and type(counter) is int:
            jump = counter - account.due.get((session, ratchet_key), 0)
            if FAR < jump <= JUMP:
                raise Costly

    # -- mutation -----------------------------------------------------------------------------------------------------

    def _body(self, opcode: int, first: int) -> bytes:
        """What RAW and OUTER begin with."""
        sent = self.world.sent[first % len(self.world.sent)]
        return sent.data[:-8] if opcode == RAW else sent.outer or self.world.sent[0].outer

    def seeds(self) -> list[bytes]:
        """A talk, a craft of each kind, and raw bytes."""
        count = len(self.world.sent)
        talk = [Step(DELIVER, number) for number in range(count)]
        crafts = [Step(CRAFT, 1 + at % count, data=bytes([at, 1])) for at in range(len(MOVES))]
        raw = [Step(RAW, number, number, data=self._body(RAW, number)) for number in (1, 6, 11)]
        return [
            steps.encode(talk),
            steps.encode([Step(SNAPSHOT), *talk[:6], Step(RESTORE), Step(SEND), *talk[:6], Step(RESTART)]),
            *(steps.encode(crafts[at : at + 8]) for at in range(0, len(crafts), 8)),
            steps.encode(raw),
            steps.encode([Step(OUTER, 13, data=self._body(OUTER, 13))]),
        ]

    def prepared(self) -> Prepared:
        """As the entry points want it."""
        mutator = Steps(
            opcodes=(DELIVER, DELIVER, CRAFT, CRAFT, CRAFT, CRAFT, RAW, RAW, OUTER, SNAPSHOT, RESTORE, RESTART, SEND),
            moves=frozenset({CRAFT}),
            kinds=len(MOVES),
            fields={RAW: RAW_SHAPE, OUTER: Shape(inside={4: Shape(trailer=8)})},
            body=self._body,
        )
        return Prepared(self.hold, mutator.mutate, mutator.cross, self.run, steps.FORM, self.seeds)


def _named(why: str) -> str:
    return why.split(" ", 1)[0]


def sealed_message() -> Prepared:
    """Messages of sessions, with a valid MAC wherever a move does not say otherwise."""
    return Sealed().prepared()


__all__ = ["MOVES", "Sealed", "World", "built", "sealed_message"]
