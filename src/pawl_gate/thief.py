"""The attacker with stolen states: it has recorded all traffic, and tries to read it.

It does so in two ways. Forks of the stolen devices are handed every recorded message that was sent to them: the
implementation itself reads what it can. And the secrets in the stolen rows are searched: chains are stepped on, root
keys are combined with every agreement that a stolen private key allows, and X3DH is repeated with the stolen prekeys.
Whatever opens a recorded message leads on.

The search works on bytes and knows neither the model nor which message is to be safe. It is passive: it sends nothing.
Source: X3DH, section 3.3; Double Ratchet, sections 3 and 7.2.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import NamedTuple

from pawl.crypto import kdf
from pawl.session.x3dh import DISCONTINUITY
from pawl_gate.attacker import ATTACKER
from pawl_gate.key_search import MAX_STEPS, KeySearch, Proven, Recorded
from pawl_gate.targets.base import Stolen, WireMessage

MAX_SEARCH = 300_000
"""Key derivations of one search at most, remembered ones included; a second or two. A longer search is given up, and
says nothing."""


class Intercepted(NamedTuple):
    """A recorded message: what it says openly, and its text, by which a reading is recognised."""

    handle: int
    sender: int
    receiver: int
    wire: WireMessage
    signal: bytes
    text: bytes
    ratchet: bytes
    counter: int
    base: bytes | None
    identity: bytes | None
    names: tuple[tuple[bytes, bytes], ...]
    """Pairs of identity keys (33 bytes) that may be under its MAC."""
    key: Proven | None = None
    """What was seen to open it with one of these pairs; None: anything may."""

    def recorded(self) -> Iterator[Recorded]:
        """What a search of keys has to open: the message with each pair, or the key alone where that is known."""
        for names in self.names if self.key is None else self.names[:1]:
            yield Recorded(self.handle, self.signal, *names, self.key)


class Thief:
    """The attacker of one world. It remembers what it derived and tried, so that no search does it again.

    The implementations that it steals from are one and the same: what is changed in one, is changed in all.
    """

    def __init__(self) -> None:
        self.words = KeySearch()
        """The search of every word in every row."""
        self.opened: dict[tuple[bytes, int], bool] = {}
        """Whether a message seed opens the message of that handle."""

    def read(self, stolen: Sequence[Stolen], messages: Sequence[Intercepted]) -> tuple[int, ...] | None:
        """Handles of the recorded messages that can be read with the stolen states; None if the search was given up.

        `messages` are all of the world, so far.
        """
        if not stolen or not messages:
            return ()
        implemented = stolen[-1].as_implemented()
        self.words.changed = not isinstance(implemented, nullcontext)
        with implemented:
            search = _Search(self, stolen, messages)
            try:
                search.run()
            except _TooLong:
                return None
        return tuple(sorted(search.found | _read_by_forks(stolen, messages)))


def _read_by_forks(stolen: Sequence[Stolen], messages: Sequence[Intercepted]) -> set[int]:
    """Let a fork of each stolen device read what was sent to it, in the order of sending."""
    found = set()
    for state in stolen:
        read = state.fork()
        for message in messages:
            if message.receiver == state.party and read(message.sender, message.wire) == message.text:
                found.add(message.handle)
    return found


class _TooLong(Exception):
    """The search would take too many derivations."""


class _Search:
    """A direct search for the keys of recorded messages."""

    def __init__(self, thief: Thief, stolen: Sequence[Stolen], messages: Sequence[Intercepted]) -> None:
        self.found: set[int] = set()
        self._thief = thief
        self._derived = thief.words.derived
        self._stolen = stolen
        self._messages = messages
        self._left = MAX_SEARCH
        self._on: dict[bytes, list[Intercepted]] = {}
        for message in sorted(messages, key=lambda each: each.counter):
            self._on.setdefault(message.ratchet, []).append(message)
        mine = ATTACKER.private.data
        self._identities = _unique([mine], *(state.identities for state in stolen))
        self._signed_prekeys = _unique([mine], *(state.signed_prekeys for state in stolen))
        self._prekeys = _unique([mine], *(state.prekeys for state in stolen))
        self._ratchets = _unique(self._signed_prekeys, *(state.ratchets for state in stolen))
        self._roots: list[bytes] = []

    def run(self) -> None:
        """Search, until nothing new is found."""
        self._words()
        for state in self._stolen:
            for chain in state.chains:
                self._open(chain.ratchet, chain.counter, chain.key)
        self._roots += _unique(*(state.roots for state in self._stolen))
        self._agree()
        at = 0
        # The list grows while it is walked.
        while at < len(self._roots):
            self._follow(self._roots[at])
            at += 1

    def _words(self) -> None:
        """Every word in every row, as a message seed and as a chain key whose place is unknown."""
        recorded = [entry for message in self._messages for entry in message.recorded()]
        words = _unique(*(state.words for state in self._stolen))
        for start in range(0, len(words), WORDS):
            self.found.update(self._thief.words.readable(words[start : start + WORDS], recorded))

    def _open(self, ratchet: bytes, counter: int, key: bytes) -> bool:
        """Read what a chain key opens on the chain that a ratchet key names; whether it opens anything."""
        opened = False
        for message in self._on.get(ratchet, ()):
            if message.counter < counter:
                continue
            self._count(message.counter - counter + 2)
            while counter < message.counter:
                counter, key = counter + 1, self._derived.step_chain(key)[1]
            if self._is_key(self._derived.step_chain(key)[0], message):
                opened = True
                self.found.add(message.handle)
        return opened

    def _is_key(self, seed: bytes, message: Intercepted) -> bool:
        if message.key is not None:
            return self._thief.words.opens(seed, message.key)
        pair = (seed, message.handle)
        if pair not in self._thief.opened:
            key = self._derived.mac_key(seed)
            body, mac = message.signal[: -kdf.MAC_BYTES], message.signal[-kdf.MAC_BYTES :]
            self._thief.opened[pair] = any(
                hmac.digest(key, one + other + body, "sha256")[: kdf.MAC_BYTES] == mac for one, other in message.names
            )
        return self._thief.opened[pair]

    def _follow(self, root: bytes) -> None:
        """Every ratchet step that a stolen private key and a ratchet key on the wire allow from a root key."""
        for private in self._ratchets:
            mine = self._derived.public(private)
            for theirs in self._on:
                shared = self._derived.agree(private, theirs)
                if shared is None:
                    continue
                self._count(1)
                following, chain = self._derived.root_step(root, shared)
                # Whoever has the private key sends on the chain, or the owner of the other key does.
                opened = [self._open(ratchet, 0, chain) for ratchet in {mine, theirs}]
                if any(opened) and following not in self._roots:
                    self._roots.append(following)

    def _agree(self) -> None:
        """X3DH once more, as the responder, for each first message."""
        bases: set[tuple[bytes, bytes, bytes]] = set()
        for message in self._messages:
            if message.base is None or message.identity is None:
                continue
            first = (message.base, message.identity, message.ratchet)
            if first not in bases:
                bases.add(first)
                for signed, secret in self._secrets(message.base, message.identity):
                    self._first_step(signed, secret, message.ratchet)

    def _secrets(self, base: bytes, identity: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Signed prekeys, and what X3DH comes to with them."""
        agree = self._derived.agree
        for signed in self._signed_prekeys:
            for mine in self._identities:
                parts = [agree(signed, identity), agree(mine, base), agree(signed, base)]
                start = DISCONTINUITY + b"".join(part or b"" for part in parts)
                yield signed, start
                for prekey in self._prekeys:
                    yield signed, start + (agree(prekey, base) or b"")

    def _first_step(self, signed: bytes, secret: bytes, ratchet: bytes) -> None:
        self._count(2)
        root, _ = self._derived.session_secret(secret)
        shared = self._derived.agree(signed, ratchet)
        if shared is not None:
            following, chain = self._derived.root_step(root, shared)
            if self._open(ratchet, 0, chain):
                self._roots += [root, following]

    def _count(self, steps: int) -> None:
        self._left -= steps
        if self._left < 0:
            raise _TooLong


WORDS = 4_096 // (2 * MAX_STEPS)
"""Words that are searched side by side, so that each is stepped to the end."""


def _unique(*lists: Iterable[bytes]) -> list[bytes]:
    return list(dict.fromkeys(entry for each in lists for entry in each))
