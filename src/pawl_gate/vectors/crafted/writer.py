"""A sender who computes its first chain from its private keys, so that it can authenticate whatever it likes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pawl.crypto import cbc, kdf, xeddsa
from pawl.crypto.keys import KeyPair, PrivateKey, agree, clamp
from pawl.session.x3dh import DISCONTINUITY
from pawl_gate.vectors.record import shortened
from pawl_gate.wire_view import Fields, Layer, write_fields
from pawl_spec.vectors import Draw, Step, Vector

BY_HAND = "written by hand, with what must come of it"


@dataclass(frozen=True, slots=True)
class Crafted:
    """A test, and the file and the profile in which it goes."""

    file: str
    test: Vector
    profile: str = "default"


def secret(label: str) -> KeyPair:
    """A key pair that a label names."""
    return KeyPair.from_private(PrivateKey(clamp(hashlib.sha256(b"pawl vectors " + label.encode()).digest())))


class Writer:
    """Alice, as she writes to Bob before he answers: every key of hers, and of his what her messages need."""

    def __init__(self, label: str, *, prekey_id: int | None = 1, signed_prekey_id: int = 1) -> None:
        self.identity, self.base, self.ratchet = (
            secret(f"{label} alice {name}") for name in ("identity", "base", "ratchet")
        )
        self.peer, self.signed, self.prekey = (
            secret(f"{label} bob {name}") for name in ("identity", "signed", "prekey")
        )
        self.prekey_id, self.signed_prekey_id = prekey_id, signed_prekey_id
        self.signature = xeddsa.sign(
            self.peer.private,
            self.signed.public.serialize(),
            rng=lambda size: hashlib.sha512(label.encode()).digest()[:size],
        )
        parts = [
            DISCONTINUITY,
            agree(self.identity.private, self.signed.public),
            agree(self.base.private, self.peer.public),
            agree(self.base.private, self.signed.public),
        ]
        if prekey_id is not None:
            parts.append(agree(self.base.private, self.prekey.public))
        root, _ = kdf.session_secret(b"".join(parts))
        self._chain = kdf.root_step(root, agree(self.ratchet.private, self.signed.public))[1]

    # -- what is there before -----------------------------------------------------------------------------------------

    def world(self, *, registration_id: int = 1001, device_id: int = 1) -> list[Step]:
        """Both parties, and Bob's prekeys."""
        steps = [
            create("alice", self.identity, registration_id, device_id),
            create("bob", self.peer, 2002, device_id),
            keys("signed-prekey", self.signed_prekey_id, self.signed, signature=self.signature),
        ]
        if self.prekey_id is not None:
            steps.append(keys("prekey", self.prekey_id, self.prekey))
        return steps

    def bundle(self, **changed: object) -> dict[str, object]:
        """Bob's bundle, with some fields changed."""
        bundle: dict[str, object] = {
            "registrationId": 2002,
            "deviceId": 1,
            "identityKey": self.peer.public.serialize(),
            "signedPreKeyId": self.signed_prekey_id,
            "signedPreKey": self.signed.public.serialize(),
            "signature": self.signature,
            "preKeyId": self.prekey_id,
            "preKey": None if self.prekey_id is None else self.prekey.public.serialize(),
        }
        return {**bundle, **changed}

    def establish(self, **changed: object) -> Step:
        """Alice processes the bundle."""
        draws = (Draw("base", self.base.private.data), Draw("ratchet", self.ratchet.private.data))
        return Step("establish", "alice", {"peer": "bob", "bundle": self.bundle(**changed)}, draws, {})

    # -- messages -----------------------------------------------------------------------------------------------------

    def keys_of(self, counter: int) -> tuple[bytes, bytes, bytes]:
        """Cipher key, MAC key and IV of a message."""
        chain, seed = self._chain, b""
        for _ in range(counter + 1):
            seed, chain = kdf.step_chain(chain)
        return kdf.message_keys(seed)

    def body(self, counter: int, text: bytes) -> bytes:
        """The ciphertext of a plaintext."""
        cipher_key, _, iv = self.keys_of(counter)
        return cbc.encrypt(cipher_key, iv, text)

    def blocks(self, counter: int, padded: bytes) -> bytes:
        """The ciphertext of whole blocks, padded as they may be."""
        cipher_key, _, iv = self.keys_of(counter)
        # The padding's own block is cut off again.
        return cbc.encrypt(cipher_key, iv, padded)[: len(padded)]

    def fields(self, counter: int, text: bytes) -> Fields:
        """The fields of the message inside, in their order."""
        return [(1, self.ratchet.public.serialize()), (2, counter), (3, 0), (4, self.body(counter, text))]

    def signal(self, data: bytes, *, counter: int, version: int = 0x33) -> bytes:
        """Fields as they are, with version byte and MAC."""
        framed = bytes([version]) + data
        _, mac_key, _ = self.keys_of(counter)
        sender, receiver = self.identity.public.serialize(), self.peer.public.serialize()
        return framed + kdf.message_mac(mac_key, sender, receiver, framed)

    def message(self, counter: int, text: bytes) -> bytes:
        """The message inside, as an honest sender writes it."""
        return self.signal(write_fields(self.fields(counter, text)), counter=counter)

    def outer_fields(self, message: bytes) -> Fields:
        """The fields of the layer outside, in their order."""
        fields: Fields = [] if self.prekey_id is None else [(1, self.prekey_id)]
        return [
            *fields,
            (2, self.base.public.serialize()),
            (3, self.identity.public.serialize()),
            (4, message),
            (5, 1001),
            (6, self.signed_prekey_id),
        ]

    def outer(self, message: bytes, *, version: int = 0x33) -> bytes:
        """A prekey message, as an honest sender writes it."""
        return Layer(version, self.outer_fields(message)).data()


def create(actor: str, identity: KeyPair, registration_id: int, device_id: int) -> Step:
    """A party is made."""
    inputs = {
        "name": actor,
        "deviceId": device_id,
        "trustOnFirstUse": True,
        "identityPrivate": identity.private.data,
        "registrationId": registration_id,
    }
    return Step("create", actor, inputs, output={"identityKey": identity.public.serialize()})


def keys(operation: str, number: int, pair: KeyPair, **more: object) -> Step:
    """Bob is given a prekey or a signed prekey."""
    inputs = {"id": number, "private": pair.private.data, **more}
    return Step(operation, "bob", inputs, output={"publicKey": pair.public.serialize()})


def _draw(label: str) -> Draw:
    return Draw("ratchet", secret(f"{label} bob ratchet").private.data)


def read(label: str, data: bytes, text: bytes, *, kind: str = "prekey", starts: bool = True) -> Step:
    """Bob reads a message. `starts`: it is the first of its chain that he reads."""
    inputs = {"peer": "alice", "type": kind, "message": data}
    return Step("decrypt", "bob", inputs, (_draw(label),) if starts else (), {"plaintext": shortened(text)})


def refuse(data: bytes, *codes: str, kind: str = "prekey") -> Step:
    """Bob refuses a message."""
    return Step("decrypt", "bob", {"peer": "alice", "type": kind, "message": data}, refusal=codes)


TEXT = b"crafted"


def made(
    id_: str,
    comment: str,
    flags: Sequence[str],
    invariants: Sequence[str],
    steps: Sequence[Step],
    source: str = BY_HAND,
    assumes: Mapping[str, int | str] | None = None,
) -> Vector:
    """A test from its parts."""
    flags, invariants = tuple(sorted(flags)), tuple(sorted(invariants))
    return Vector(id_, comment, flags, invariants, source, tuple(steps), assumes or {})
