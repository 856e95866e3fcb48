"""The attacker's search of a stolen state: which recorded messages the keys in it open, or keys made from them.

A key opens a message if it makes the code at the message's end. Where that is known of one key, no other is tried: two
keys of 32 bytes make the same code of 8 bytes by a chance of one in 2^64.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from pawl.crypto import kdf
from pawl_gate.derivations import Derivations

MAX_STEPS = 4
"""Chain steps that the search takes from each secret.

A chain key retained at position p reads message p at the first step; the steps behind it are for where message p was
lost, or not recorded.
"""

MAX_KEYS = 4_096
"""Keys that the search derives at most, so that a state with thousands of kept keys is searched in a second."""


class Proven(NamedTuple):
    """What opens a message, each of 32 bytes: that it does, was computed."""

    seed: bytes
    mac_key: bytes


class Recorded(NamedTuple):
    """A message as the attacker recorded it: its SignalMessage and the identities (33 bytes) under its MAC."""

    handle: int
    signal: bytes
    sender: bytes
    receiver: bytes
    key: Proven | None = None
    """What was seen to open it; None: anything may."""


class KeySearch:
    """Tries secrets on recorded messages. It remembers what it derived and tried, so that nothing is done twice.

    All messages that it is handed are of one list, which grows from call to call.
    """

    def __init__(self, derived: Derivations | None = None) -> None:
        """`derived` may be shared by searches of one implementation."""
        self.derived = Derivations() if derived is None else derived
        self.changed = False
        """Whether the derivations may be others than those that `proven` used: seeds then say nothing, MAC keys do."""
        self._tried: dict[bytes, int] = {}
        """By MAC key: on how many messages it was tried."""
        self._opened: dict[bytes, list[int]] = {}
        """By MAC key: the handles of those that it authenticates."""

    def readable(self, secrets: Iterable[bytes], recorded: Sequence[Recorded]) -> tuple[int, ...]:
        """Handles of the recorded messages that a key derived from the secrets authenticates.

        Each secret is tried as a message seed, and as a chain key stepped a few times. That is all that symmetric-key
        state can be: what takes a Diffie-Hellman step leads forward, to keys not yet used. All secrets are stepped side
        by side, until `MAX_KEYS` keys were derived from them.
        """
        if not recorded:
            return ()
        seeds = self._seeds(list(secrets))
        had = frozenset(seeds)
        found = set() if self.changed else {e.handle for e in recorded if e.key is not None and e.key.seed in had}
        rest = recorded if self.changed else [entry for entry in recorded if entry.key is None]
        if rest:
            mac_keys = [self.derived.mac_key(seed) for seed in seeds]
            had = frozenset(mac_keys)
            found |= {entry.handle for entry in rest if entry.key is not None and entry.key.mac_key in had}
            found |= self._try_all(mac_keys, [entry for entry in rest if entry.key is None])
        return tuple(entry.handle for entry in recorded if entry.handle in found)

    def _seeds(self, chains: list[bytes]) -> list[bytes]:
        """The message seeds that the secrets are, or lead to."""
        seeds = list(chains)
        for _ in range(MAX_STEPS):
            if len(seeds) + len(chains) > MAX_KEYS:
                break
            stepped = [self.derived.step_chain(chain) for chain in chains]
            seeds += [seed for seed, _ in stepped]
            chains = [chain for _, chain in stepped]
        return seeds

    def opens(self, seed: bytes, key: Proven) -> bool:
        """Whether a message seed opens the message that `key` opens."""
        return self.derived.mac_key(seed) == key.mac_key if self.changed else seed == key.seed

    def _try_all(self, mac_keys: Sequence[bytes], recorded: Sequence[Recorded]) -> set[int]:
        """Handles of those that one of the keys opens: each key is tried on each message."""
        found: set[int] = set()
        if not recorded:
            return found
        wanted = [
            (
                entry.handle,
                entry.sender + entry.receiver + entry.signal[: -kdf.MAC_BYTES],
                entry.signal[-kdf.MAC_BYTES :],
            )
            for entry in recorded
        ]
        for key in mac_keys:
            tried = self._tried.get(key, 0)
            if tried < len(wanted):
                mac_of = hmac_under(key)
                opened = [handle for handle, body, mac in wanted[tried:] if mac_of(body)[: kdf.MAC_BYTES] == mac]
                self._tried[key] = len(wanted)
                self._opened.setdefault(key, []).extend(opened)
            found.update(self._opened[key])
        return found


def proven(
    spent: bytes | None, signal: bytes, *, sender: bytes, receiver: bytes, derived: Derivations
) -> Proven | None:
    """What opens a SignalMessage, if the next one of the chain key `spent` does; else None.

    `sender` and `receiver` are identities (33 bytes). Where a message came from is thereby believed of nobody: that the
    key makes the code at its end was computed.
    """
    if spent is None:
        return None
    seed = derived.step_chain(spent)[0]
    key = derived.mac_key(seed)
    code = hmac.digest(key, sender + receiver + signal[: -kdf.MAC_BYTES], "sha256")[: kdf.MAC_BYTES]
    return Proven(seed, key) if code == signal[-kdf.MAC_BYTES :] else None


INNER_PAD, OUTER_PAD = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))
"""What HMAC makes of the bytes of a key. Source: RFC 2104, section 2."""

BLOCK_BYTES = 64
"""Of SHA-256."""


def hmac_under(key: bytes) -> Callable[[bytes], bytes]:
    """HMAC-SHA256 under a key of at most 64 bytes, for many messages: what the key alone decides is done once."""
    block = key.ljust(BLOCK_BYTES, b"\0")
    inner, outer = hashlib.sha256(block.translate(INNER_PAD)), hashlib.sha256(block.translate(OUTER_PAD))

    def digest(message: bytes) -> bytes:
        one, other = inner.copy(), outer.copy()
        one.update(message)
        other.update(one.digest())
        return other.digest()

    return digest
