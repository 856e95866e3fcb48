"""The attacker's search of stolen states for group messages: what a device reads, and what chains and words open."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from pawl.crypto import cbc, kdf
from pawl.errors import ProtocolError
from pawl_gate.group_attacker import GroupSent
from pawl_gate.group_wire import Layout, message_layer
from pawl_gate.targets.base import Stolen
from pawl_gate.wire_view import Value

MAX_STEPS = 4
"""Chain steps that the search takes from each secret whose place on its chain is unknown. As in a session's search."""

MAX_KEYS = 256
"""Secrets that are searched at most, the first ones: each is tried on each message."""

MAX_AHEAD = 4_096
"""Iterations that a chain whose place is known is followed at most."""


def readable(secrets: Iterable[bytes], messages: Sequence[GroupSent]) -> set[int]:
    """Handles of the messages that a secret opens: as a message seed, or as a chain key stepped a few times."""
    recorded = [message for message in messages if not message.crafted]
    found: set[int] = set()
    if not recorded:
        return found
    for secret in list(dict.fromkeys(secrets))[:MAX_KEYS]:
        seeds, chain = [secret], secret
        for _ in range(MAX_STEPS):
            seed, chain = kdf.step_chain(chain)
            seeds.append(seed)
        for seed in seeds:
            keys = kdf.group_message_keys(seed)
            found |= {message.handle for message in recorded if _opens(keys, message)}
    return found


def read(stolen: Sequence[Stolen], messages: Sequence[GroupSent]) -> tuple[int, ...]:
    """Handles of the group messages that can be read with the stolen states; the attacker's own are left out."""
    recorded = [message for message in messages if not message.crafted]
    if not stolen or not recorded:
        return ()
    found: set[int] = set()
    with stolen[-1].as_implemented():
        for state in stolen:
            found |= readable(state.group_words, recorded)
            for chain in state.group_chains:
                found |= _follow(chain.chain_id, chain.iteration, chain.key, recorded)
    for state in stolen:
        reads = state.fork_groups()
        for message in recorded:
            if message.sender != state.party and reads(message.sender, message.group, message.data) == message.text:
                found.add(message.handle)
    return tuple(sorted(found))


def _follow(chain_id: int, iteration: int, key: bytes, messages: Sequence[GroupSent]) -> set[int]:
    """What a chain key opens from its place on."""
    found = set()
    for at, message in sorted(_places(chain_id, messages)):
        if iteration <= at <= iteration + MAX_AHEAD:
            while iteration < at:
                iteration, key = iteration + 1, kdf.step_chain(key)[1]
            if _opens(kdf.group_message_keys(kdf.step_chain(key)[0]), messages[message]):
                found.add(messages[message].handle)
    return found


def _places(chain_id: int, messages: Sequence[GroupSent]) -> Iterable[tuple[int, int]]:
    """Iteration and index of the messages that name a chain of this id."""
    for index, message in enumerate(messages):
        named, at, _ = _parts(message.data, message.layout)
        if named == chain_id and isinstance(at, int):
            yield at, index


def _opens(keys: tuple[bytes, bytes], message: GroupSent) -> bool:
    ciphertext = _parts(message.data, message.layout)[2]
    try:
        return isinstance(ciphertext, bytes) and cbc.decrypt(*keys, ciphertext) == message.text
    except ProtocolError:
        return False


@lru_cache(maxsize=1_024)
def _parts(data: bytes, layout: Layout) -> tuple[Value | None, Value | None, Value | None]:
    """Chain id, iteration and ciphertext of a message: each is looked at once for each key."""
    layer = message_layer(data)
    return layer.get(layout.chain_id), layer.get(layout.iteration), layer.get(layout.content)
