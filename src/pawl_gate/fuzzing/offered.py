"""Entry points of what an application hands over: prekey bundles, and documents of node-libsignal devices."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256, sha512
from typing import Any, Final

from pawl import Device, IdentityPolicy, ProtocolAddress
from pawl.crypto import xeddsa
from pawl.crypto.keys import KeyPair, PrivateKey, clamp
from pawl.errors import InvalidArgument, ProtocolError, StorageError
from pawl.node_import import import_from_node
from pawl.storage.contract import Table
from pawl.storage.memory import MemoryStore
from pawl.wire import records
from pawl_gate.attacker import LOW_ORDER
from pawl_gate.fuzzing import plain, reading
from pawl_gate.fuzzing.broken import Broken
from pawl_gate.fuzzing.entries import Prepared
from pawl_gate.fuzzing.fields import INTEGERS, KEYS, Dice
from pawl_gate.fuzzing.plain import Plain
from pawl_gate.fuzzing.sealed import flipped
from pawl_gate.fuzzing.stored import words
from pawl_gate.targets.base import Bundle
from pawl_gate.targets.bundles import in_bytes, process
from pawl_gate.targets.inprocess import NOW, SeededRng

BOB: Final = ProtocolAddress("bob", 1)


def _pair(name: str) -> KeyPair:
    return KeyPair.from_private(PrivateKey(clamp(sha256(name.encode()).digest())))


def _device(store: MemoryStore, name: bytes) -> Device:
    return Device(store, identity_policy=IdentityPolicy(), rng=SeededRng(name), clock=lambda: NOW)


# -- bundles ----------------------------------------------------------------------------------------------------------

BUNDLE_MOVES: Final = (
    *("identity-of", "signed-prekey-of", "prekey-of", "signature-of", "signed-anew", "special-identity"),
    *("special-signed-prekey", "special-prekey", "signature-bit", "signature-length", "key-length", "key-type"),
    *("registration-id", "device-id", "signed-prekey-id", "prekey-id", "without-prekey", "without-prekey-id"),
)
"""Positions are part of the byte form: only append."""

KEY_NAMES: Final = ("identity_key", "signed_prekey", "prekey")


class _Bundles:
    """A device that was handed a bundle on whose way somebody was. Even first byte: the peer's identity is pinned."""

    def __init__(self) -> None:
        self._bob = _device(MemoryStore(), b"bundles of bob")
        self._mallory = _device(MemoryStore(), b"bundles of mallory")
        self._attacker = _pair("attacker")
        first = in_bytes(self._bob.prekey_bundle())
        self._bob.rotate_signed_prekey()
        second = in_bytes(self._bob.prekey_bundle(one_time=False))
        self._known = (first, second, in_bytes(self._mallory.prekey_bundle()))
        self._fresh = MemoryStore()
        _device(self._fresh, b"alice")
        self._pinned = self._fresh.fork()
        _device(self._pinned, b"alice again").establish(BOB, self._bob.prekey_bundle())
        self._signatures = {(each.identity_key, each.signed_prekey, each.signature) for each in self._known}

    def hold(self, data: bytes) -> str:
        """A byte of flags, a bundle's number, then moves of two bytes each."""
        head = (data + bytes(2))[:2]
        bundle, names = self._known[head[1] % len(self._known)], []
        for at in range(2, min(len(data) - 1, 18), 2):
            name, how = BUNDLE_MOVES[data[at] % len(BUNDLE_MOVES)], data[at + 1]
            names.append(name)
            bundle = self._moved(bundle, name, how)
        is_pinned = head[0] % 2 == 0
        store = (self._pinned if is_pinned else self._fresh).fork()
        alice = _device(store, b"alice at work")
        why = self._why_not(bundle, is_pinned=is_pinned)
        before = store.revision
        try:
            process(alice, BOB, bundle)
        except ProtocolError as refusal:
            if not why:
                raise Broken("IDC-03", f"a good bundle is refused: {refusal.code}: {refusal}") from None
            if store.revision != before:
                raise Broken("CTR-05", "a refused bundle changed what is stored") from None
            return f"{refusal.code}, {why}; {'; '.join(names)}"
        except Exception as error:
            raise Broken("PAR-01", f"{type(error).__name__}: {error}") from error
        if why:
            raise Broken(why.split(" ", 1)[0], f"a bundle is accepted although {why}")
        self._sends(alice, bundle)
        return f"established; {'; '.join(names)}"

    def _sends(self, alice: Device, bundle: Bundle) -> None:
        message = alice.encrypt(BOB, b"first").serialized
        read = reading.prekey(message)
        if type(read) is not dict:
            raise Broken("PAR-02", f"the first message is none: {read[1]!s}")
        named = read.get(1), read[6], read[3]
        if named != (bundle.prekey_id, bundle.signed_prekey_id, alice.identity_key.serialize()):
            raise Broken("CNF-01", "the first message names other prekeys, or another sender")

    def _why_not(self, bundle: Bundle, *, is_pinned: bool) -> str:
        keys = [key for key in (bundle.identity_key, bundle.signed_prekey, bundle.prekey) if key is not None]
        if not all(len(key) == 33 and reading.is_key(key) for key in keys):
            return "IDC-05 a key is none"
        if (bundle.prekey_id is None) != (bundle.prekey is None):
            return "PAR-05 a prekey has no id, or an id no prekey"
        numbers = bundle.registration_id, bundle.signed_prekey_id, bundle.prekey_id or 0
        if max(numbers) >= 2**32 or bundle.device_id > 127:
            return "PAR-05 a number is out of range"
        if (bundle.identity_key, bundle.signed_prekey, bundle.signature) not in self._signatures:
            return "IDC-03 its signature is not one of its identity"
        if any(key in LOW_ORDER for key in keys):
            return "IDC-05 a key has a small order"
        if is_pinned and bundle.identity_key != self._known[0].identity_key:
            return "IDC-01 another identity is pinned"
        return ""

    def _moved(self, bundle: Bundle, name: str, how: int) -> Bundle:
        other = self._known[how % len(self._known)]
        key = KEY_NAMES[how % len(KEY_NAMES)]
        special = KEYS[how % len(KEYS)]
        match name:
            case "identity-of":
                return replace(bundle, identity_key=other.identity_key)
            case "signed-prekey-of":
                return replace(bundle, signed_prekey=other.signed_prekey)
            case "prekey-of":
                return replace(bundle, prekey=other.signed_prekey)
            case "signature-of":
                return replace(bundle, signature=other.signature)
            case "signed-anew":
                return self._signed(bundle)
            case "special-identity":
                return replace(bundle, identity_key=special)
            case "special-signed-prekey":
                return self._signed(replace(bundle, signed_prekey=special))
            case "special-prekey":
                return replace(bundle, prekey=special)
            case "signature-bit":
                return replace(bundle, signature=flipped(bundle.signature, how * 2 + 1))
            case "signature-length":
                return replace(bundle, signature=(bundle.signature + bytes(4))[: (0, 63, 65)[how % 3]])
            case "key-length":
                made: dict[str, Any] = {key: ((getattr(bundle, key) or b"") + bytes(4))[: (0, 32, 34)[how // 4 % 3]]}
                return replace(bundle, **made)
            case "key-type":
                made = {key: bytes([how]) + (getattr(bundle, key) or bytes(33))[1:]}
                return replace(bundle, **made)
            case "device-id":
                return replace(bundle, device_id=how)
            case "without-prekey":
                return replace(bundle, prekey=None, prekey_id=None)
            case "without-prekey-id":
                return replace(bundle, prekey_id=None)
        made = {name.replace("-", "_"): INTEGERS[how % 14]}
        return replace(bundle, **made)

    def _signed(self, bundle: Bundle) -> Bundle:
        """With the attacker's identity and signature."""
        over, mine = bundle.signed_prekey, self._attacker.public.serialize()
        signature = xeddsa.sign(self._attacker.private, over, rng=lambda size: sha512(over).digest()[:size])
        self._signatures.add((mine, over, signature))
        return replace(bundle, identity_key=mine, signature=signature)


def prekey_bundle() -> Prepared:
    """Prekey bundles on whose way somebody was."""
    moves = [bytes((at, 1)) for at in range(len(BUNDLE_MOVES))]
    seeds = [bytes((1, 0)), bytes((0, 1)), bytes((1, 2)), *(bytes((1, 0)) + move for move in moves)]
    harness = _Bundles()
    ids = frozenset({"CTR-05", "IDC-01", "IDC-03", "IDC-05", "PAR-01", "PAR-05"})
    return Plain(harness.hold, ids, seeds).prepared()


# -- devices of node-libsignal ----------------------------------------------------------------------------------------


def _text(data: bytes) -> str:
    return b64encode(data).decode("ascii")


def _json_pair(pair: KeyPair) -> dict[str, str]:
    return {"pubKey": _text(pair.public.serialize()), "privKey": _text(pair.private.data)}


def _chain(kind: int, counter: int, kept: tuple[int, ...] = (), *, closed: bool = False) -> dict[str, Any]:
    key = {} if closed else {"key": _text(sha256(b"chain key").digest())}
    seeds = {str(number): _text(sha256(b"seed %d" % number).digest()) for number in kept}
    return {"chainKey": {"counter": counter, **key}, "chainType": kind, "messageKeys": seeds}


def node_document() -> dict[str, Any]:
    """A device of two peers, with all that a document may hold. Source: docs/how-to/import-from-node.md."""
    identity, mine, peer = _pair("identity"), _pair("mine"), _pair("peer")
    chains = {
        _text(mine.public.serialize()): _chain(1, 4),
        _text(_pair("old").public.serialize()): _chain(2, 9, (1, 5), closed=True),
        _text(peer.public.serialize()): _chain(2, 3, (0, 2)),
    }
    session = {
        "registrationId": 7,
        "currentRatchet": {
            "ephemeralKeyPair": _json_pair(mine),
            "lastRemoteEphemeralKey": _text(peer.public.serialize()),
            "previousCounter": -1,
            "rootKey": _text(sha256(b"root").digest()),
        },
        "indexInfo": {
            "baseKey": _text(_pair("base").public.serialize()),
            "baseKeyType": 2,
            "closed": -1,
            "used": 1_700_000_000_000,
            "created": 1_700_000_000_000,
            "remoteIdentityKey": _text(_pair("remote").public.serialize()),
        },
        "_chains": chains,
        "pendingPreKey": {"signedKeyId": 1, "baseKey": _text(_pair("base").public.serialize()), "preKeyId": 5},
    }
    return {
        "identity": _json_pair(identity),
        "registrationId": 7,
        "preKeys": {"5": _json_pair(_pair("prekey 5")), "77": _json_pair(_pair("prekey 77"))},
        "signedPreKeys": {"1": {"keyPair": _json_pair(_pair("signed")), "signature": _text(bytes(64))}},
        "sessions": {"alice.1": {"version": "v1", "_sessions": {_text(_pair("base").public.serialize()): session}}},
        "identities": {"alice": _text(_pair("remote").public.serialize())},
    }


def _import(data: bytes) -> str:
    """The document itself."""
    store = MemoryStore()
    try:
        imported = import_from_node(store, data, rng=SeededRng(b"import"), clock=lambda: NOW)
    except (InvalidArgument, StorageError) as refusal:
        if any(store.snapshot().values()):
            raise Broken("ATM-05", "a document that is refused leaves rows") from None
        return f"{refusal}"[:100]
    except Exception as error:
        raise Broken("PAR-01", f"{type(error).__name__}: {error}") from error
    rows = store.snapshot()
    counts = [len(rows[table]) for table in (Table.SESSION_INDEX, Table.SESSION, Table.SKIPPED_KEY)]
    counts += [len(rows[table]) for table in (Table.PREKEY, Table.SIGNED_PREKEY)]
    said = (imported.sessions, imported.kept_keys, imported.prekeys, imported.signed_prekeys)
    if tuple(counts[1:]) != said:
        raise Broken("PAR-05", f"it is said that {said} were taken over, and there are {counts[1:]}")
    try:
        _look(rows)
        _device(store, b"taken over")
    except ProtocolError as refusal:
        raise Broken("PAR-05", f"what was taken over cannot be read: {refusal}") from None
    return f"taken over; {'; '.join(map(str, counts))}"


def _look(rows: Any) -> None:
    """Each record can be read, and no key is kept of a message that a chain has still to come to."""
    due: dict[bytes, int] = {}
    for key, row in rows[Table.SESSION].items():
        session = records.decode_session(row.value)
        due |= {key + chain.ratchet_key.data: chain.counter for chain in session.receiving}
    for key, row in rows[Table.SKIPPED_KEY].items():
        records.decode_message_seed(row.value)
        if int.from_bytes(key[-4:], "big") >= due.get(key[:-4], 0):
            raise Broken("CTR-03", "a key is kept of a message that its chain has still to come to")


def _document_mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """One value of the document changed, taken out, or put elsewhere."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return data
    dice = Dice(seed)
    node, name = document, None
    parents = []
    while isinstance(node, dict) and node and (name is None or dice.below(4)):
        name = list(node)[dice.below(len(node))]
        parents.append(node)
        node = node[name]
    if not parents:
        return data
    within = parents[-1]
    match dice.below(6):
        case 0:
            del within[name]
        case 1:
            within[("0", "-1", "9" * 9, "4294967295", "alice.01", "bob.1", "٣", "")[dice.below(8)]] = within.pop(name)
        case 2:
            within[name] = (None, True, [], {}, "", 1.5, -1, -2, 0, 2**32 - 1, 2**32, 2**53, "AA==")[dice.below(13)]
        case 3 if isinstance(node, int):
            within[name] = node + dice.below(5) - 2
        case 4:
            within[name] = _text(KEYS[dice.below(len(KEYS))][dice.below(2) :])
        case _:
            other = document
            for _ in range(dice.below(4)):
                if isinstance(other, dict) and other:
                    other = list(other.values())[dice.below(len(other))]
            within[name] = other if not isinstance(other, dict) or other not in parents else {}
    try:
        return json.dumps(document, separators=(",", ":")).encode()[:max_size]
    except (ValueError, RecursionError):
        return data


IMPORT_WORDS: Final = (
    *(b'"version"', b'"v1"', b'"_sessions"', b'"_chains"', b'"indexInfo"', b'"chainKey"', b'"messageKeys"'),
    *(b'"preKeys"', b'"signedPreKeys"', b'"identities"', b'"closed"', b"-1", b"null", b"{}", b'"0":', b"1e999", b"NaN"),
)


def node_import() -> Prepared:
    """Documents of node-libsignal devices."""
    whole = node_document()
    seeds = [json.dumps(whole, separators=(",", ":")).encode()]
    small = {"identity": whole["identity"], "registrationId": 0, "sessions": {}}
    seeds.append(json.dumps(small, separators=(",", ":")).encode())
    mutate = plain.mixed(_document_mutate, _document_mutate, words(IMPORT_WORDS), plain.mutate)
    ids = frozenset({"ATM-05", "CTR-03", "PAR-01", "PAR-05"})
    return Plain(_import, ids, seeds, mutate).prepared()


__all__ = ["node_document", "node_import", "prekey_bundle"]
