"""A member of groups, written from the description with ready-made primitives alone: it judges the group vectors.

Nothing of Pawl is in it. HKDF, AES and Ed25519 are those of `cryptography`, the curve's points those of libsodium. It is
slow and holds everything in dictionaries; it has the limits that the vectors assume.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import nacl.bindings as sodium
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.padding import PKCS7

PRIME = 2**255 - 19
JUMP, KEPT, CHAINS, SENDERS = 25_000, 2_000, 5, 5_000
MESSAGE, BODY, UNKNOWN = 512 * 1024, 256 * 1024, 16


class Refusal(Exception):
    """Why something is refused: a code of docs/reference/refusals.md."""


def mac(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()


def crypt(seed: bytes) -> Cipher[modes.CBC]:
    """AES-256-CBC for one message: the IV comes first."""
    out = HKDF(hashes.SHA256(), 48, bytes(32), b"WhisperGroup").derive(seed)
    return Cipher(algorithms.AES(out[16:]), modes.CBC(out[:16]))


def edwards(key: bytes) -> bytes:
    """The point of a Montgomery key with sign 0. Source: RFC 7748, section 4.1."""
    u = int.from_bytes(key, "little") % PRIME
    return ((u - 1) * pow(u + 1, PRIME - 2, PRIME) % PRIME).to_bytes(32, "little")


def holds(key: bytes, data: bytes, signature: bytes) -> bool:
    """XEdDSA. Source: XEdDSA, section 3; the sign of the point is the signature's top bit, as existing clients have it."""
    point, plain = bytearray(edwards(key)), bytearray(signature)
    point[31] |= plain[63] & 0x80
    plain[63] &= 0x7F
    try:
        Ed25519PublicKey.from_public_bytes(bytes(point)).verify(bytes(plain), data)
    except InvalidSignature:
        return False
    return True


# -- bytes ------------------------------------------------------------------------------------------------------------


def number(value: int) -> bytes:
    """A varint. Source: Protocol Buffers encoding."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def parsed(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message. Raises: Refusal."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            if at >= len(data) or shift > 63:
                raise Refusal("malformed-message")
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                if byte == 0 and shift > 7:
                    raise Refusal("malformed-message")
                return value

    while at < len(data):
        tag = varint()
        if tag & 7 == 0:
            yield tag >> 3, varint()
            continue
        size = {1: 8, 5: 4}.get(tag & 7)
        if size is None and tag & 7 == 2:
            size = varint()
        if size is None or at + size > len(data):
            raise Refusal("malformed-message")
        at += size
        yield tag >> 3, data[at - size : at]


def fields(data: bytes, layout: str, *, last: int) -> dict[int, Any]:
    """The fields by the numbers of the current layout, 1 to `last`; all are there, once. Raises: Refusal."""
    if len(data) > MESSAGE:
        raise Refusal("message-too-large")
    if not data:
        raise Refusal("malformed-message")
    if data[0] != 0x33:
        raise Refusal("unknown-version")
    less = 1 if layout == "earlier" else 0
    found: dict[int, Any] = {}
    unknown = 0
    for name, value in parsed(data[1:]):
        place = name + less
        if name == 0 or place > last:
            unknown += 1
        elif place in found or isinstance(value, int) is not (place in (2, 3)):
            raise Refusal("malformed-message")
        else:
            found[place] = value
    due = set(range(1 + less, last + 1))
    if set(found) != due or unknown > UNKNOWN or max(found[2], found[3]) >= 2**32:
        raise Refusal("malformed-message")
    if less == 0 and len(found[1]) != 16:
        raise Refusal("malformed-message")
    return found


def written(layout: str, group: bytes, *rest: int | bytes) -> bytes:
    """Version byte and fields, in their order."""
    out = bytearray(b"\x33")
    for place, value in enumerate((group, *rest), 0 if layout == "earlier" else 1):
        if place == 0:
            continue
        if isinstance(value, int):
            out += number(place << 3) + number(value)
        else:
            out += number(place << 3 | 2) + number(len(value)) + value
    return bytes(out)


# -- members ----------------------------------------------------------------------------------------------------------


@dataclass
class Chain:
    """A chain of somebody else's."""

    key: bytes
    next: int
    kept: dict[int, bytes] = field(default_factory=dict)


@dataclass
class Own:
    """A chain of one's own."""

    id: int
    next: int
    key: bytes
    public: bytes


Name = tuple[int, bytes]
"""Of a chain: id and signing key."""


class Member:
    """One actor of the vectors, in all groups."""

    def __init__(self, layout: str) -> None:
        self.layout = layout
        self.own: dict[bytes, Own] = {}
        self.held: dict[tuple[bytes, str], dict[Name, Chain]] = {}
        """Newest last."""
        self.gone: set[tuple[bytes, str, Name]] = set()
        self.members: dict[bytes, tuple[str, ...]] = {}

    def do(self, operation: str, given: dict[str, Any]) -> dict[str, Any]:
        """One step; what comes of it. Raises: Refusal."""
        return getattr(self, operation.replace("-", "_"))(**given) or {}  # type: ignore[no-any-return]

    def sender_key(self, group: bytes, **given: Any) -> dict[str, Any]:
        public = b"\x05" + sodium.crypto_scalarmult_base(given["signingPrivate"])
        self.own[group] = Own(given["chainId"], given["iteration"], given["chainKey"], public)
        return {"signingKey": public}

    def _sending(self, group: bytes) -> Own:
        if group not in self.own:
            raise Refusal("no-sender-key")
        if self.own[group].next >= 2**32:
            raise Refusal("counter-exhausted")
        return self.own[group]

    def distribution(self, group: bytes) -> dict[str, Any]:
        own = self._sending(group)
        return {"distribution": written(self.layout, group, own.id, own.next, own.key, own.public)}

    def group_encrypt(self, group: bytes, plaintext: bytes) -> dict[str, Any]:
        if len(plaintext) > BODY - 16:
            raise Refusal("message-too-large")
        own = self._sending(group)
        pad, cipher = PKCS7(128).padder(), crypt(mac(own.key, b"\1")).encryptor()
        body = cipher.update(pad.update(plaintext) + pad.finalize()) + cipher.finalize()
        signed = written(self.layout, group, own.id, own.next, body)
        own.next, own.key = own.next + 1, mac(own.key, b"\2")
        return {"signed": signed}

    def group_skip(self, group: bytes, plaintext: bytes, count: int) -> None:
        for _ in range(count):
            self.group_encrypt(group, plaintext)

    def set_members(self, group: bytes, members: tuple[str, ...]) -> None:
        self.members[group] = members

    def share(self, group: bytes, plaintext: bytes) -> None:
        raise Refusal("members-without-session" if self.members.get(group) else "no-members")

    def restart(self) -> None:
        pass

    def process(self, group: bytes, sender: str, distribution: bytes) -> None:
        said = fields(distribution, self.layout, last=5)
        if len(said[4]) != 32:
            raise Refusal("malformed-message")
        key = said[5]
        if len(key) != 33 or key[0] != 5:
            raise Refusal("invalid-key")
        if self.layout == "current" and said[1] != group:
            raise Refusal("wrong-group")
        if int.from_bytes(key[1:], "little") >= PRIME or not sodium.crypto_core_ed25519_is_valid_point(
            edwards(key[1:])
        ):
            raise Refusal("invalid-key")
        name = said[2], key[1:]
        held = self.held.get((group, sender), {})
        if name in held:
            return
        if (group, sender, name) in self.gone:
            raise Refusal("retired-sender-key")
        if (group, sender) not in self.held and sum(place[0] == group for place in self.held) >= SENDERS:
            raise Refusal("sender-keys-full")
        others = {each: chain for each, chain in held.items() if each[0] != name[0]}
        kept = dict([*others.items(), (name, Chain(said[4], said[3]))][-CHAINS:])
        self.gone |= {(group, sender, each) for each in held if each not in kept}
        self.held[group, sender] = kept

    def crowd(self, group: bytes, count: int, distribution: bytes) -> None:
        for at in range(count):
            self.process(group, f"crowd-{at}", distribution)

    def forget_sender(self, group: bytes, sender: str) -> None:
        self.gone |= {(group, sender, name) for name in self.held.get((group, sender), {})}
        self.held[group, sender] = {}

    def group_decrypt(self, group: bytes, sender: str, message: bytes) -> dict[str, Any]:
        if len(message) > MESSAGE:
            raise Refusal("message-too-large")
        signed, signature = message[:-64], message[-64:]
        if not signed and message[:1] not in (b"", b"\x33"):
            raise Refusal("unknown-version")
        said = fields(signed, self.layout, last=4)
        if len(said[4]) > BODY:
            raise Refusal("message-too-large")
        if self.layout == "current" and said[1] != group:
            raise Refusal("wrong-group")
        held = self.held.get((group, sender), {})
        name = next((each for each in held if each[0] == said[2]), None)
        if name is None:
            raise Refusal("no-sender-key")
        if not holds(name[1], signed, signature):
            raise Refusal("invalid-signature")
        chain, at = held[name], said[3]
        if at - chain.next > JUMP:
            raise Refusal("too-far-ahead")
        if at < chain.next and at not in chain.kept:
            raise Refusal("duplicate-message")
        kept, key, here = dict(chain.kept), chain.key, chain.next
        while here <= at:
            kept[here], key, here = mac(key, b"\1"), mac(key, b"\2"), here + 1
        plaintext = self._opened(kept.pop(at), said[4])
        chain.kept = dict(sorted(kept.items())[-KEPT:])
        chain.key, chain.next = key, max(here, chain.next)
        return {"plaintext": plaintext}

    def _opened(self, seed: bytes, body: bytes) -> bytes:
        if not body or len(body) % 16:
            raise Refusal("invalid-ciphertext")
        cipher, pad = crypt(seed).decryptor(), PKCS7(128).unpadder()
        try:
            return pad.update(cipher.update(body) + cipher.finalize()) + pad.finalize()
        except ValueError:
            raise Refusal("invalid-ciphertext") from None
