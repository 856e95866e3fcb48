"""Messages of groups behind a valid signature, and chains that a malicious member gives.

As in `sealed`, the harness plays the members: it knows what each chain comes to and signs what it changed. What must
happen is computed from the bytes: the second reading, the signatures that were made, and a short account of the chains
that the receiver holds.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256, sha512
from itertools import pairwise
from typing import Final
from uuid import UUID

from pawl import Device, IdentityPolicy, ProtocolAddress
from pawl.crypto import cbc, xeddsa
from pawl.crypto.keys import KeyPair, PrivateKey, clamp
from pawl.errors import InvalidCiphertext, ProtocolError
from pawl.storage.memory import MemoryStore
from pawl_gate.attacker import LOW_ORDER
from pawl_gate.fuzzing import big_integers, reading, steps
from pawl_gate.fuzzing.broken import Broken
from pawl_gate.fuzzing.entries import Prepared, Ran
from pawl_gate.fuzzing.fields import Shape
from pawl_gate.fuzzing.sealed import FAR, JUMP, VERSIONS, Costly, flipped, number, octets, rewritten
from pawl_gate.fuzzing.steps import Step, Steps
from pawl_gate.targets.inprocess import NOW, SeededRng
from pawl_gate.wire_view import Layer

GROUPS: Final = (bytes(range(16)), bytes(range(1, 17)))
SENDERS: Final = tuple(ProtocolAddress(name, 1) for name in ("alice", "carol"))
ITERATIONS: Final = 10
MOST_CHAINS: Final = 5
"""Held of one sender. Source: docs/reference/limits.md."""


def _signer(name: str) -> KeyPair:
    return KeyPair.from_private(PrivateKey(clamp(sha256(name.encode()).digest())))


SIGNERS: Final = tuple(_signer(f"signer {number}") for number in range(3))


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain that some member may give."""

    sender: int
    chain_id: int
    signer: int
    key: bytes
    iteration: int

    def distribution(self, group: bytes) -> Layer:
        """As it is given."""
        keys = (4, self.key), (5, SIGNERS[self.signer].public.serialize())
        return Layer(0x33, [(1, group), (2, self.chain_id), (3, self.iteration), *keys])


CHAINS: Final = (
    Chain(0, 7, 0, sha256(b"chain 0").digest(), 0),
    Chain(0, 2**32 - 1, 0, sha256(b"chain 1").digest(), 0),
    Chain(1, 7, 1, sha256(b"chain 2").digest(), 5),
    Chain(1, 9, 2, sha256(b"chain 3").digest(), 2**32 - 4),
    Chain(0, 7, 2, sha256(b"chain 4").digest(), 0),
)
"""Positions are part of the byte form: only append."""


@lru_cache(maxsize=4096)
def seed_of(key: bytes, ahead: int) -> bytes:
    """The seed of the message so far ahead on a chain. Source: Double Ratchet, section 7.2 (KDF_CK)."""
    for _ in range(ahead):
        key = hmac.digest(key, b"\x02", "sha256")
    return hmac.digest(key, b"\x01", "sha256")


@lru_cache(maxsize=4096)
def keys_of(seed: bytes) -> tuple[bytes, bytes]:
    """Cipher key and IV. Source: the existing clients; RFC 5869."""
    pseudo_random = hmac.digest(bytes(32), seed, "sha256")
    first = hmac.digest(pseudo_random, b"WhisperGroup\x01", "sha256")
    out = first + hmac.digest(pseudo_random, first + b"WhisperGroup\x02", "sha256")
    return out[16:48], out[:16]


@lru_cache(maxsize=4096)
def signed(signer: int, body: bytes) -> bytes:
    """A signature, the same each time."""
    return xeddsa.sign(SIGNERS[signer].private, body, rng=lambda size: sha512(body).digest()[:size])


@lru_cache(maxsize=4096)
def is_prime_order(key: bytes) -> bool:
    """Whether a key (33 bytes) is in the prime-order subgroup, and not the point at its beginning."""
    point = big_integers.edwards(key[1:], 0)
    if point is None or point == big_integers.IDENTITY:
        return False
    return big_integers.multiply(big_integers.L, point) == big_integers.IDENTITY


@dataclass(slots=True)
class Held:
    """A chain that the receiver holds of a sender."""

    chain_id: int
    signing_key: bytes
    key: bytes
    start: int
    due: int
    read: set[int]

    def copy(self) -> Held:
        """For a snapshot."""
        return Held(self.chain_id, self.signing_key, self.key, self.start, self.due, set(self.read))


@dataclass(slots=True)
class Account:
    """What the receiver holds of each sender, newest first, and what of each is gone for good."""

    held: tuple[list[Held], list[Held]] = field(default_factory=lambda: ([], []))
    gone: tuple[set[tuple[int, bytes]], set[tuple[int, bytes]]] = field(default_factory=lambda: (set(), set()))

    def copy(self) -> Account:
        """For a snapshot."""
        one, other = ([each.copy() for each in held] for held in self.held)
        return Account((one, other), (set(self.gone[0]), set(self.gone[1])))


MOVES: Final = (
    *("version", "iteration", "chain-id", "group", "ciphertext-bit", "ciphertext-cut", "ciphertext-of"),
    *("unknown-field", "again", "without", "overlong-varint", "wrong-wire-type", "order", "many-unknown-fields"),
    *("old-signature", "signature-bit", "signer"),
)
"""Positions are part of the byte form: only append."""

NOP, DELIVER, CRAFT, RAW, GIVE, GIVE_RAW, SNAPSHOT, RESTORE, RESTART = range(9)
"""The opcodes; only append."""

IDS: Final = frozenset({"GRP-01", "GRP-02", "GRP-03", "PAR-01", "PAR-02", "PAR-03", "CTR-05"})
PARSING: Final = frozenset({"malformed-message", "message-too-large", "unknown-version", "invalid-key"})


def message_of(chain: Chain, at: int) -> Layer:
    """The honest message at a place of a chain, without its signature."""
    cipher_key, iv = keys_of(seed_of(chain.key, at))
    body = cbc.encrypt(cipher_key, iv, b"message %d" % at)
    return Layer(0x33, [(1, GROUPS[0]), (2, chain.chain_id), (3, (chain.iteration + at) % 2**32), (4, body)])


@dataclass(slots=True)
class Life:
    """One run of an input."""

    store: MemoryStore
    device: Device
    account: Account
    signatures: dict[tuple[bytes, bytes], bytes] = field(default_factory=dict)
    """By signing key (33 bytes) and body: what was signed in this life."""
    snapshot: tuple[MemoryStore, Account] | None = None
    said: list[str] = field(default_factory=list)


def _device(store: MemoryStore, number: int) -> Device:
    return Device(store, identity_policy=IdentityPolicy(), rng=SeededRng(b"member", number), clock=lambda: NOW)


class SealedGroups:
    """The harness. The receiver holds one chain of each sender, and has read some of it, two messages passed over."""

    def __init__(self) -> None:
        self._store = MemoryStore()
        life = Life(self._store, _device(self._store, 0), Account())
        for step in (Step(GIVE, 0), Step(GIVE, 2), *(Step(DELIVER, 0, at) for at in (0, 2, 4))):
            self._step(life, step)
        self._account = life.account

    def hold(self, data: bytes) -> list[str] | None:
        """Run the steps. Raises: Broken."""
        store = self._store.fork()
        life = Life(store, _device(store, 1000), self._account.copy())
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

    def _step(self, life: Life, step: Step) -> None:
        chain = CHAINS[step.a % len(CHAINS)]
        sender = (chain.sender + step.c) % len(SENDERS)
        match step.opcode:
            case 1 | 2:  # DELIVER, CRAFT
                self._read(life, sender, *self._crafted(life, chain, step))
            case 3:  # RAW
                data = step.data + self._sign(life, step.b % len(SIGNERS), step.data)
                self._read(life, sender, data, "raw")
            case 4:  # GIVE
                group = GROUPS[step.b // 16 % 2]
                self._give(life, sender, chain.distribution(group).data(), "give")
            case 5:  # GIVE_RAW
                self._give(life, sender, step.data, "give raw")
            case 6:  # SNAPSHOT
                life.snapshot = life.store.fork(), life.account.copy()
                life.said.append("snapshot")
            case 7 if life.snapshot is not None:  # RESTORE
                store, account = life.snapshot
                life.store, life.account = store.fork(), account.copy()
                life.device = _device(life.store, len(life.said))
                life.said.append("restore")
            case 8:  # RESTART
                life.device = _device(life.store, len(life.said))
                life.said.append("restart")

    # -- the attacker -------------------------------------------------------------------------------------------------

    def _sign(self, life: Life, signer: int, body: bytes) -> bytes:
        made = signed(signer, body)
        life.signatures[SIGNERS[signer].public.serialize(), body] = made
        return made

    def _crafted(self, life: Life, chain: Chain, step: Step) -> tuple[bytes, str]:
        layer, signer, names = message_of(chain, step.b % ITERATIONS), chain.signer, []
        old = layer.data()
        more, bit, is_old = b"", 0, False
        for at in range(0, min(len(step.data), 16) if step.opcode == CRAFT else 0, 2):
            name, how = MOVES[step.data[at] % len(MOVES)], (step.data[at + 1 : at + 2] or b"\0")[0]
            names.append(name)
            match name:
                case "version":
                    layer.version = VERSIONS[how % len(VERSIONS)]
                case "iteration":
                    layer.set(3, (number(layer, 3) + (1, 2, 200, 25_001, 2**31)[how % 5]) % 2**32)
                case "chain-id":
                    layer.set(2, CHAINS[how % len(CHAINS)].chain_id)
                case "group":
                    layer.set(1, (*GROUPS, GROUPS[0][1:])[how % 3])
                case "ciphertext-bit":
                    layer.set(4, flipped(octets(layer, 4), how))
                case "ciphertext-cut":
                    layer.set(4, octets(layer, 4)[: how % 40])
                case "ciphertext-of":
                    layer.set(4, octets(message_of(CHAINS[how % len(CHAINS)], how // 16 % ITERATIONS), 4))
                case "old-signature":
                    is_old = True
                case "signature-bit":
                    bit = 1 << how * 2 % 512
                case "signer":
                    signer = how % len(SIGNERS)
                case _:
                    more += rewritten(layer, name, how)
        body = layer.data() + more
        signature = self._sign(life, signer, old if is_old else body)
        signature = (int.from_bytes(signature, "big") ^ bit).to_bytes(64, "big")
        return body + signature, " ".join([steps_word(step.opcode), *names])

    # -- the receiver -------------------------------------------------------------------------------------------------

    def _read(self, life: Life, sender: int, data: bytes, what: str) -> None:
        held, iteration, plaintext, why = self._expected(life, sender, data)
        before = life.store.revision
        got = self._decrypt(life, sender, data)
        if isinstance(got, ProtocolError):
            if held is not None:
                id_ = "PAR-02" if got.code in PARSING else "GRP-01"
                raise Broken(id_, f"an authentic message is refused: {got.code}: {got}")
            if life.store.revision != before:
                raise Broken("CTR-05", "a refused message changed what is stored")
            life.said.append(f"{what}: {got.code}, {why}")
            return
        if held is None:
            raise Broken(why.split(" ", 1)[0], f"a message is accepted although {why}")
        if got != plaintext:
            raise Broken("GRP-01", "what is read is not what was sent")
        held.read.add(iteration)
        held.due = max(held.due, iteration + 1)
        again = self._decrypt(life, sender, data)
        if not isinstance(again, ProtocolError):
            raise Broken("GRP-01", "a message is read twice")
        life.said.append(f"{what}: read, then {again.code}")

    def _decrypt(self, life: Life, sender: int, data: bytes) -> bytes | ProtocolError:
        try:
            return life.device.group(UUID(bytes=GROUPS[0])).decrypt(SENDERS[sender], data)
        except ProtocolError as refusal:
            return refusal
        except Exception as error:
            raise Broken("PAR-01", f"{type(error).__name__}: {error}") from error

    def _expected(self, life: Life, sender: int, data: bytes) -> tuple[Held | None, int, bytes, str]:
        """The chain, the iteration and the plaintext of what must be read; or why it must not."""
        read = reading.message(data, reading.GROUP, trailer=64, versions=b"\x33", keys=())
        if type(read) is not dict:
            return None, 0, b"", f"{read[0]!s} {read[1]!s}"
        chain_id, iteration, body = read[2], read[3], read[4]
        if read[1] != GROUPS[0]:
            return None, 0, b"", "GRP-02 it is of another group"
        held = next((each for each in life.account.held[sender] if each.chain_id == chain_id), None)
        if held is None or type(iteration) is not int or type(body) is not bytes:
            return None, 0, b"", "GRP-02 no such chain is held"
        if life.signatures.get((held.signing_key, data[:-64])) != data[-64:]:
            return None, 0, b"", "GRP-02 its signature is not that of the chain"
        if FAR < iteration - held.due <= JUMP:
            raise Costly
        if iteration - held.due > JUMP:
            return None, 0, b"", "GRP-01 it is too far ahead"
        if iteration < held.start or iteration in held.read:
            return None, 0, b"", "GRP-01 it was read before, or is older than the chain"
        try:
            plaintext = cbc.decrypt(*keys_of(seed_of(held.key, iteration - held.start)), body)
        except InvalidCiphertext:
            return None, 0, b"", "GRP-01 its body cannot be deciphered"
        return held, iteration, plaintext, ""

    def _give(self, life: Life, sender: int, data: bytes, what: str) -> None:
        made, why = self._taken(life, sender, data)
        before = life.store.revision
        try:
            life.device.group(UUID(bytes=GROUPS[0])).process(SENDERS[sender], data)
        except ProtocolError as refusal:
            if not why:
                raise Broken("GRP-03", f"a good distribution is refused: {refusal.code}: {refusal}") from None
            if life.store.revision != before:
                raise Broken("CTR-05", "a refused distribution changed what is stored") from None
            life.said.append(f"{what}: {refusal.code}, {why}")
            return
        except Exception as error:
            raise Broken("PAR-01", f"{type(error).__name__}: {error}") from error
        if why:
            raise Broken(why.split(" ", 1)[0], f"a distribution is taken although {why}")
        if made is None:
            life.said.append(f"{what}: held already")
            return
        held, gone = life.account.held[sender], life.account.gone[sender]
        for old in [each for each in held if each.chain_id == made.chain_id]:
            held.remove(old)
            gone.add((old.chain_id, old.signing_key))
        held.insert(0, made)
        for old in held[MOST_CHAINS:]:
            gone.add((old.chain_id, old.signing_key))
        del held[MOST_CHAINS:]
        life.said.append(f"{what}: taken, {len(held)} held")

    def _taken(self, life: Life, sender: int, data: bytes) -> tuple[Held | None, str]:
        """The chain that must be taken (None: it is held already), or why none must be."""
        read = reading.message(data, reading.DISTRIBUTION, trailer=0, versions=b"\x33", keys=(5,))
        if type(read) is not dict:
            return None, f"{read[0]!s} {read[1]!s}"
        chain_id, iteration, key, signing_key = read[2], read[3], read[4], read[5]
        if read[1] != GROUPS[0]:
            return None, "GRP-03 it is of another group"
        good = type(key) is bytes and type(chain_id) is int and type(iteration) is int
        if type(signing_key) is not bytes or not good or not is_prime_order(signing_key):
            return None, "IDC-05 its signing key can verify nothing"
        place = int(chain_id), signing_key
        if any((each.chain_id, each.signing_key) == place for each in life.account.held[sender]):
            return None, ""
        if place in life.account.gone[sender]:
            return None, "GRP-03 it was held before, and is gone"
        return Held(place[0], signing_key, bytes(key), int(iteration), int(iteration), set()), ""

    # -- mutation -----------------------------------------------------------------------------------------------------

    def _body(self, opcode: int, first: int) -> bytes:
        chain = CHAINS[first % len(CHAINS)]
        return message_of(chain, first % 7).data() if opcode == RAW else chain.distribution(GROUPS[0]).data()

    def seeds(self) -> list[bytes]:
        """A talk, crafts, raw bytes, chains."""
        talk = [Step(DELIVER, chain, at) for chain in (0, 2) for at in range(6)]
        crafts = [Step(CRAFT, 0, 1 + at % 8, data=bytes([at, 1])) for at in range(len(MOVES))]
        low = CHAINS[1].distribution(GROUPS[0])
        low.set(5, LOW_ORDER[0])
        return [
            steps.encode([Step(SNAPSHOT), *talk, Step(RESTORE), *talk[:6], Step(RESTART)]),
            *(steps.encode(crafts[at : at + 6]) for at in range(0, len(crafts), 6)),
            steps.encode([Step(GIVE, 1), Step(DELIVER, 1, 2), Step(GIVE, 4), Step(DELIVER, 4, 0), Step(GIVE, 0)]),
            steps.encode([Step(GIVE, 3), Step(DELIVER, 3, 1), Step(DELIVER, 3, 9), Step(GIVE, 0, 16)]),
            steps.encode([Step(RAW, 0, 0, data=self._body(RAW, 5)), Step(GIVE_RAW, 1, data=low.data())]),
            steps.encode([Step(GIVE_RAW, 1, data=self._body(GIVE_RAW, 1))]),
        ]

    def prepared(self) -> Prepared:
        """As the entry points want it."""
        opcodes = (DELIVER, DELIVER, CRAFT, CRAFT, CRAFT, RAW, RAW, GIVE, GIVE_RAW, SNAPSHOT, RESTORE, RESTART)
        shapes = {RAW: Shape(), GIVE_RAW: Shape()}
        mutator = Steps(opcodes, frozenset({CRAFT}), len(MOVES), shapes, self._body, operands=10)
        return Prepared(self.hold, mutator.mutate, mutator.cross, self.run, steps.FORM, self.seeds)


def steps_word(opcode: int) -> str:
    """An opcode in words."""
    return ("nop", "deliver", "craft")[opcode]


def sealed_group_message() -> Prepared:
    """Messages of groups, with a valid signature wherever a move does not say otherwise."""
    return SealedGroups().prepared()


__all__ = ["MOVES", "SealedGroups", "sealed_group_message"]
