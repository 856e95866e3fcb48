"""Entry points of keys, signatures and safety numbers: the library beside plain big-integer arithmetic."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Final

from pawl.crypto import keys, xeddsa
from pawl.crypto.keys import ChainKey, KeyPair, MessageSeed, PrivateKey, PublicKey, RootKey
from pawl.errors import InvalidKey, InvalidSignature, ProtocolError
from pawl.fingerprint import SafetyNumber
from pawl_gate.fuzzing import big_integers as slow
from pawl_gate.fuzzing import fields, plain
from pawl_gate.fuzzing.broken import Broken
from pawl_gate.fuzzing.entries import Prepared
from pawl_gate.fuzzing.fields import KEYS, Dice, Shape
from pawl_gate.fuzzing.plain import Plain

BASE_U: Final = (9).to_bytes(32, "little")


def _tried(call: Callable[[], Any]) -> Any:
    """What a call returns, or its refusal. Raises: Broken, for anything else."""
    try:
        return call()
    except ProtocolError as refusal:
        return refusal
    except Exception as error:
        raise Broken("PAR-01", f"{type(error).__name__}: {error}") from error


# -- keys -------------------------------------------------------------------------------------------------------------


def _key(data: bytes) -> str:
    """The first byte says what is done with the rest."""
    rest = data[1:]
    return (_parse, _agree, _order, _pair, _secret)[data[0] % 5 if data else 0](rest)


def _is_canonical(data: bytes) -> bool:
    return len(data) == 32 and int.from_bytes(data, "little") < slow.P


def _parse(data: bytes) -> str:
    keys._known.cache_clear()
    got = _tried(lambda: PublicKey.deserialize(data))
    good = data[:1] == b"\x05" and _is_canonical(data[1:])
    if isinstance(got, PublicKey) != good or (good and got.serialize() != data):
        raise Broken("IDC-05", "a public key is read that is none, or refused, or changed")
    return f"parse: {got.code if isinstance(got, ProtocolError) else 'read'}, {min(len(data), 34)} bytes"


def _agree(data: bytes) -> str:
    private, public = (data[:32] + bytes(32))[:32], (data[32:64] + bytes(32))[:32]
    if not _is_canonical(public):
        return "agree: no key"
    got = _tried(lambda: keys.agree(PrivateKey(private), PublicKey(public)))
    secret = slow.x25519(private, public)
    if isinstance(got, InvalidKey) != (secret == bytes(32)) or (type(got) is bytes and got != secret):
        raise Broken("IDC-05", "an agreement is not that of RFC 7748, or an all-zero one is accepted")
    return "agree: all zero" if isinstance(got, ProtocolError) else "agree: a secret"


def _order(data: bytes) -> str:
    public = (data[:32] + bytes(32))[:32]
    if not _is_canonical(public):
        return "order: no key"
    got = _tried(lambda: keys.require_prime_order(PublicKey(public)))
    point = slow.edwards(public, 0)
    good = point is not None and point != slow.IDENTITY and slow.multiply(slow.L, point) == slow.IDENTITY
    if (got is None) != good:
        raise Broken("IDC-05", "a key outside the prime-order subgroup is accepted, or one inside is refused")
    return f"order: {'on the twist' if point is None else 'prime' if good else 'small or mixed'}"


def _pair(data: bytes) -> str:
    private = (data[:32] + bytes(32))[:32]
    got = _tried(lambda: KeyPair.from_private(PrivateKey(private)))
    if not isinstance(got, KeyPair) or got.public.data != slow.x25519(private, BASE_U):
        raise Broken("IDC-05", "a public key is not that of its private key")
    return "pair"


def _secret(data: bytes) -> str:
    """Each kind of secret is exactly 32 bytes, and in no text."""
    for kind in (PrivateKey, RootKey, ChainKey, MessageSeed):
        made = kind
        got = _tried(lambda made=made: made(data))  # type: ignore[misc]  # bound at once
        if isinstance(got, kind) != (len(data) == 32):
            raise Broken("IDC-05", "a secret has another length than 32 bytes, or is refused")
        if len(data) == 32 and repr(got) != f"{kind.__name__}(<redacted>)":
            raise Broken("KEY-06", "a secret says what it is")
    return f"secret: {min(len(data), 33)} bytes"


def _key_mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """A key that is special in the place of another one."""
    dice = Dice(seed)
    special = KEYS[dice.below(len(KEYS))]
    match data[:1]:
        case b"\x01":
            return data[:33] + special[1:]
        case b"\x00":
            return data[:1] + special[dice.below(2) :]
    return bytes([dice.below(5)]) + special[1:] + data[33:max_size]


def key() -> Prepared:
    """Public keys, agreements, key pairs, secrets."""
    some = hashlib.sha256(b"some key").digest()
    seeds = [b"\x00\x05" + BASE_U, b"\x01" + some + BASE_U, b"\x02" + BASE_U, b"\x03" + some, b"\x04" + some]
    mutate = plain.mixed(plain.mutate, _key_mutate)
    return Plain(_key, frozenset({"IDC-05", "KEY-06", "PAR-01"}), seeds, mutate).prepared()


# -- signatures -------------------------------------------------------------------------------------------------------

PRIVATE: Final = tuple(hashlib.sha256(b"signer %d" % number).digest() for number in range(3))
PUBLIC: Final = tuple(slow.x25519(private, BASE_U) for private in PRIVATE)
MOVES: Final = (
    *("flip", "s-plus-order", "sign-bit", "point", "s", "key", "special-key", "length", "message", "negative", "paper"),
)
"""What is done to an honest signature. Positions are part of the byte form: only append."""

POINTS: Final = (
    slow.encode(slow.IDENTITY),
    slow.encode(slow.order_eight_point()),
    (0).to_bytes(32, "little"),
    (slow.P - 1).to_bytes(32, "little"),
    (slow.P).to_bytes(32, "little"),
    (slow.P + 1).to_bytes(32, "little"),
    (2**255 + 1).to_bytes(32, "little"),
    b"\xff" * 32,
)
"""Points of small order, and what is no point in canonical form."""


def _signature(data: bytes) -> str:
    """Signer, length of the message, message, then moves of two bytes each."""
    head = (data + bytes(2))[:2]
    signer, size = head[0] % len(PRIVATE), head[1] % 64
    message, moves = data[2 : 2 + size], data[2 + size : 2 + size + 8]
    nonce = hashlib.sha512(b"nonce" + message).digest()
    signature = _tried(lambda: xeddsa.sign(PrivateKey(PRIVATE[signer]), message, rng=lambda _: nonce))
    if signature != slow.sign(PRIVATE[signer], message, nonce):
        raise Broken("IDC-03", "a signature is not that of XEdDSA")
    public, names = PUBLIC[signer], []
    for at in range(0, len(moves) - 1, 2):
        name, how = MOVES[moves[at] % len(MOVES)], moves[at + 1]
        names.append(name)
        public, message, signature = _moved(name, how, signer, public, message, signature)
    if not _is_canonical(public):
        return "no key"
    good = len(signature) == 64 and slow.verifies(public, message, signature)
    got = _tried(lambda: xeddsa.verify(PublicKey(public), message, signature))
    if (got is None) != good or not (got is None or isinstance(got, InvalidSignature)):
        raise Broken("IDC-03", f"a signature is {'refused' if good else 'accepted'}, after: {', '.join(names)}")
    return f"{'holds' if good else 'refused'}; {', '.join(names)}"


def _moved(
    name: str, how: int, signer: int, public: bytes, message: bytes, signature: bytes
) -> tuple[bytes, bytes, bytes]:
    signature = signature + bytes(max(64 - len(signature), 0))
    point, scalar = signature[:32], int.from_bytes(signature[32:64], "little")
    match name:
        case "flip":
            at = how % len(signature)
            signature = signature[:at] + bytes([signature[at] ^ 1 << how % 8]) + signature[at + 1 :]
        case "s-plus-order":
            signature = point + ((scalar + (1 + how % 8) * slow.L) % 2**256).to_bytes(32, "little")
        case "sign-bit":
            signature = point + (scalar ^ 1 << 255 - how % 3).to_bytes(32, "little")
        case "point":
            signature = POINTS[how % len(POINTS)] + signature[32:]
        case "s":
            signature = point + ((0, 1, slow.L - 1, slow.L, 2**255 - 1)[how % 5]).to_bytes(32, "little")
        case "key":
            public = PUBLIC[how % len(PUBLIC)]
        case "special-key":
            public = KEYS[how % len(KEYS)][1:]
        case "length":
            signature = (signature + bytes(4))[: (0, 63, 65, 32)[how % 4]]
        case "message":
            message = message + bytes([how]) if how & 1 else message[:-1]
        case "negative":
            signature = point + ((-scalar) % slow.L).to_bytes(32, "little")
        case _:
            signature = slow.sign_paper(PRIVATE[signer], message, bytes(64))
    return public, message, signature


def signature() -> Prepared:
    """XEdDSA, signing and verifying."""
    seeds = [bytes((1, 4)) + b"text" + bytes((number, 1)) for number in range(len(MOVES))]
    seeds += [bytes((0, 0)), bytes((2, 3)) + b"abc" + bytes((6, 1, 3, 0, 4, 0))]
    return Plain(_signature, frozenset({"IDC-03", "PAR-01"}), seeds).prepared()


# -- safety numbers ---------------------------------------------------------------------------------------------------


def _fingerprint(data: bytes) -> str:
    """A byte for the version, 64 for the two halves; the rest is what was scanned."""
    version, halves, scanned = data[0] % 4 if data else 0, (data[1:65] + bytes(64))[:64], data[65:]
    local, remote = halves[:32], halves[32:]
    number = _tried(lambda: SafetyNumber(version, local, remote))
    if isinstance(number, SafetyNumber) != (version in (1, 2)):
        raise Broken("PAR-01", "a safety number has another version than 1 and 2, or is refused")
    if not isinstance(number, SafetyNumber):
        return "no such version"
    if number.display != _display(local, remote):
        raise Broken("IDC-07", "the digits are not those of the two halves")
    got = _tried(lambda: number.verify(scanned))
    code = None if got is None else got.code
    wanted = _scanned(version, local, remote, scanned)
    if code != wanted:
        raise Broken("IDC-07", f"a scanned code ends with {code or 'agreement'}, not with {wanted or 'agreement'}")
    return code or "agrees"


def _display(local: bytes, remote: bytes) -> str:
    halves = []
    for half in (local, remote):
        groups = [int.from_bytes(half[at : at + 5], "big") % 10**5 for at in range(0, 30, 5)]
        halves.append("".join(str(10**5 + group)[1:] for group in groups))
    return min(halves) + max(halves)


def _scanned(version: int, local: bytes, remote: bytes, scanned: bytes) -> str | None:
    """How it must end. The layout is that of docs/reference/api.md: version, local half, remote half."""
    if scanned == b"\x08" + bytes([version]) + b"\x12\x22\x0a\x20" + remote + b"\x1a\x22\x0a\x20" + local:
        return None
    if len(scanned) < 2 or scanned[0] != 8 or scanned[1] >= 128:
        return "malformed-fingerprint"
    if scanned[1] != version:
        return "fingerprint-version-mismatch"
    whole = len(scanned) == 74 and (scanned[2:6], scanned[38:42]) == (b"\x12\x22\x0a\x20", b"\x1a\x22\x0a\x20")
    return "fingerprint-mismatch" if whole else "malformed-fingerprint"


def fingerprint() -> Prepared:
    """Safety numbers, and codes that were scanned."""
    one, other = hashlib.sha256(b"one").digest(), hashlib.sha256(b"other").digest()
    seeds = []
    for version in (1, 2):
        scanned = b"\x08" + bytes([version]) + b"\x12\x22\x0a\x20" + other + b"\x1a\x22\x0a\x20" + one
        seeds += [bytes([version]) + one + other + scanned, bytes([version]) + other + one + scanned]
    shape = Shape(header=65, inside={2: Shape(header=0), 3: Shape(header=0)})
    mutate = plain.mixed(fields.mutator(shape), plain.mutate)
    return Plain(_fingerprint, frozenset({"IDC-07", "PAR-01"}), seeds, mutate).prepared()


__all__ = ["fingerprint", "key", "signature"]
