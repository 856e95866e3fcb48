#!/usr/bin/env python3
"""A driver for Pawl's gate, to copy and to change: it speaks the driver contract for the library `pawl` itself.

    pawl driver check -- python3 driver.py
    pawl verify --driver 'python3 driver.py'

What to change stands between the two lines of equals signs; the rest is the contract. The store is ephemeral: parties
live in this process alone, and end with it. `restart` opens a party again from the bytes of its records, so that what
was changed and not stored is gone, as it is in an application.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable

# ======================================================================================================================
# The implementation that is judged, by its public API only.
from importlib.metadata import version
from typing import Any, TypeVar

from pawl import (
    Device,
    EncryptedMessage,
    IdentityPolicy,
    MemoryStore,
    MessageType,
    PreKeyBundle,
    ProtocolAddress,
    ProtocolError,
    limits,
)

T = TypeVar("T")

HELLO = {
    "name": "pawl-by-template",
    "version": version("pawl-signal"),
    "protocol": 1,
    "message_versions": [3],
    # 0: only what goes over the wire. 1: `observe` is asked too.
    "level": 1,
    # What is declared is asked for. What your implementation cannot do is left out.
    "capabilities": ["reinstall", "approve", "strict-identity", "restart", "forget", "deterministic"],
    # What your documentation promises; null where it promises nothing.
    "limits": {
        "forward_jump": limits.MAX_FORWARD_JUMP,
        "kept_per_chain": limits.MAX_SKIPPED_KEYS_PER_CHAIN,
        "kept_per_session": limits.MAX_SKIPPED_KEYS_PER_SESSION,
        "receiving_chains": limits.MAX_RECEIVING_CHAINS,
        "archived_sessions": limits.MAX_ARCHIVED_SESSIONS,
        "derivations_per_message": limits.MAX_DERIVATIONS_PER_MESSAGE,
    },
    "profile": {"promotes": "on-new-chain", "closes_chains": False},
}

TYPES = {"prekey": MessageType.PREKEY, "signal": MessageType.SIGNAL}


class Seeded:
    """Random bytes from the seed of `reset`. For a test alone: leave it out if yours draws its own."""

    def __init__(self, seed: int, name: str) -> None:
        self.drawn = 0
        self.key = hashlib.sha256(f"{seed} {name}".encode()).digest()

    def __call__(self, size: int) -> bytes:
        """`size` bytes, at most 64."""
        self.drawn += 1
        return hashlib.blake2b(self.drawn.to_bytes(8, "big"), key=self.key, digest_size=size).digest()


class Party:
    """One device, its store and its randomness."""

    def __init__(self, name: str, device_id: int, trust_on_first_use: bool, rng: Seeded, store: MemoryStore) -> None:
        self.address = ProtocolAddress(name, device_id)
        self.trusts = trust_on_first_use
        self.rng = rng
        self.store = store
        policy = IdentityPolicy(trust_on_first_use=trust_on_first_use)
        # A clock that stands still: nothing here depends on the hour at which the gate runs.
        self.device = Device(
            store, identity_policy=policy, rng=rng, clock=lambda: 1_700_000_000, on_event=lambda _: None
        )

    def digest(self) -> str:
        """One value for all that the store holds: equal digests mean equal state."""
        rows = {str(table): sorted(map(repr, shelf.items())) for table, shelf in self.store.snapshot().items()}
        return hashlib.sha256(repr(sorted(rows.items())).encode()).hexdigest()


def ask(call: Callable[..., T], *args: Any) -> T:
    """Call the implementation: what it throws on hostile input is a refusal, with a code where the cause is known."""
    try:
        return call(*args)
    except ProtocolError as error:
        # Another implementation has other exceptions: map those that tell the cause, and let the rest be "unknown".
        raise Refusal(error.code, str(error)) from None


class World:
    """All parties. Each method is a verb of the contract; its parameters are the verb's."""

    def __init__(self) -> None:
        self.seed = 0
        self.parties: dict[int, Party] = {}
        self.installs = 0

    def hello(self) -> dict[str, Any]:
        """Who this is, and what it can do."""
        return HELLO

    def reset(self, seed: int) -> dict[str, Any]:
        """A fresh world."""
        self.seed, self.parties, self.installs = whole(seed), {}, 0
        return {}

    def create(self, party: int, name: str, device_id: int, trust_on_first_use: bool) -> dict[str, Any]:
        """A new store and identity."""
        if type(name) is not str or type(trust_on_first_use) is not bool:
            raise BadParams("name is text, trust_on_first_use is true or false")
        self.installs += 1
        rng = Seeded(self.seed, f"{name} {self.installs}")
        made = Party(name, whole(device_id), trust_on_first_use, rng, MemoryStore())
        self.parties[whole(party)] = made
        return {"identity_key": made.device.identity_key.serialize().hex()}

    def reinstall(self, party: int) -> dict[str, Any]:
        """The store is lost; a new identity under the same name."""
        old = self.party(party)
        return self.create(party, old.address.name, old.address.device_id, old.trusts)

    def restart(self, party: int) -> dict[str, Any]:
        """Throw away all memory, open the party from what is durable: here, from the bytes of its records."""
        old = self.party(party)
        store = MemoryStore(records=old.store.records(), store_id=old.store.store_id)
        self.parties[party] = Party(old.address.name, old.address.device_id, old.trusts, old.rng, store)
        return {}

    def bundle(self, party: int, one_time: bool) -> dict[str, Any]:
        """The signed prekey and, if asked, a fresh one-time prekey."""
        one = self.party(party)
        made = one.device.prekey_bundle(one_time=bool(one_time), device_id=one.address.device_id)
        return {
            "registration_id": made.registration_id,
            "device_id": made.device_id,
            "identity_key": made.identity_key.serialize().hex(),
            "signed_prekey_id": made.signed_prekey_id,
            "signed_prekey": made.signed_prekey.serialize().hex(),
            "signature": made.signed_prekey_signature.hex(),
            "prekey_id": made.prekey_id,
            "prekey": None if made.prekey is None else made.prekey.serialize().hex(),
        }

    def establish(self, party: int, peer: int, bundle: dict[str, Any]) -> dict[str, Any]:
        """Process a bundle that claims to be the peer's; it may be forged."""
        device, address = self.party(party).device, self.party(peer).address

        def key(name: str) -> Any:
            return device.parse_public_key(address, raw(bundle[name]))

        def process() -> None:
            given = PreKeyBundle(
                registration_id=bundle["registration_id"],
                device_id=bundle["device_id"],
                identity_key=key("identity_key"),
                signed_prekey_id=bundle["signed_prekey_id"],
                signed_prekey=key("signed_prekey"),
                signed_prekey_signature=raw(bundle["signature"]),
                prekey_id=bundle["prekey_id"],
                prekey=None if bundle["prekey"] is None else key("prekey"),
            )
            device.establish(address, given)

        ask(process)
        return {}

    def encrypt(self, party: int, peer: int, plaintext: str) -> dict[str, Any]:
        """A message, as it goes over the wire."""
        message = ask(self.party(party).device.encrypt, self.party(peer).address, raw(plaintext))
        kind = "prekey" if message.type is MessageType.PREKEY else "signal"
        return {"kind": kind, "data": message.serialized.hex()}

    def decrypt(self, party: int, peer: int, kind: str, data: str) -> dict[str, Any]:
        """The message claims to come from the peer; it may be anything."""
        if kind not in TYPES:
            raise BadParams("kind is prekey or signal")
        message = EncryptedMessage(TYPES[kind], raw(data))
        return {"plaintext": ask(self.party(party).device.decrypt, self.party(peer).address, message).hex()}

    def approve(self, party: int, peer: int, identity_key: str) -> dict[str, Any]:
        """The user decided that this is the peer's identity."""
        device, address = self.party(party).device, self.party(peer).address
        ask(lambda: device.trust_identity(address.name, device.parse_public_key(address, raw(identity_key))))
        return {}

    def forget(self, party: int, peer: int) -> dict[str, Any]:
        """All sessions with the peer are lost; the pin stays."""
        ask(self.party(party).device.forget_session, self.party(peer).address)
        return {}

    def observe(self, party: int) -> dict[str, Any]:
        """What can be seen of the state: the digest, and nothing that this API does not tell."""
        return {"digest": self.party(party).digest()}

    def party(self, number: int) -> Party:
        """The party of that number. Raises: BadParams."""
        if type(number) is not int or number not in self.parties:
            raise BadParams("no such party")
        return self.parties[number]


# ======================================================================================================================
# The contract: nothing below needs to change.

ACTS = {"create", "reinstall", "restart", "bundle", "establish", "encrypt", "decrypt", "approve", "forget"}
"""Verbs that may change the party: their answers carry what it holds now, which saves the gate a question."""

VERBS = ("hello", "reset", "observe", *sorted(ACTS))


class Refusal(Exception):
    """The implementation refused."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class BadParams(Exception):
    """The gate asked for something that the contract does not have."""


def raw(value: Any) -> bytes:
    """Bytes from lower-case hex. Raises: BadParams."""
    try:
        data = bytes.fromhex(value)
    except (TypeError, ValueError):
        raise BadParams("lower-case hex was expected") from None
    if data.hex() != value:
        raise BadParams("lower-case hex was expected")
    return data


def whole(value: Any) -> int:
    """A number of the contract. Raises: BadParams."""
    if type(value) is not int or not 0 <= value < 2**32:
        raise BadParams("a number from 0 to 2^32 - 1 was expected")
    return value


def answer(world: World, line: bytes) -> dict[str, Any]:
    """The answer to one line, whatever it holds."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        return error(None, -32700, "not JSON")
    if type(request) is not dict:
        return error(None, -32600, "not a request")
    number, verb, params = request.get("id"), request.get("method"), request.get("params")
    if type(verb) is not str or type(params) is not dict:
        return error(number, -32600, "not a request")
    if verb not in VERBS:
        return error(number, -32601, "no such verb")
    try:
        result = getattr(world, verb)(**params)
    except Refusal as refusal:
        data = {"refusal": refusal.code, **state(world, verb, params)}
        return error(number, -32000, str(refusal), data=data)
    except (BadParams, TypeError, KeyError) as wrong:
        return error(number, -32602, str(wrong))
    return {"jsonrpc": "2.0", "id": number, "result": {**result, **state(world, verb, params)}}


def state(world: World, verb: str, params: dict[str, Any]) -> dict[str, Any]:
    """What the party that acted holds now."""
    number = params.get("party")
    return {"state": {str(number): world.observe(number)}} if verb in ACTS and number in world.parties else {}


def error(number: Any, code: int, text: str, **more: Any) -> dict[str, Any]:
    """An answer that is an error."""
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": text, **more}}


def main() -> None:
    """One line, one answer, until stdin is closed."""
    world = World()
    # Nothing but answers goes to stdout: what prints is sent to stderr.
    out, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin.buffer:
        out.write(json.dumps(answer(world, line)) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
