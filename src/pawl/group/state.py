"""The state of a group: immutable values, no behaviour.

Each sender has a chain of its own, which goes one way: there is no Diffie-Hellman step in it. Whoever has its key at
one place can read everything after that place, until the sender begins a new chain. Kept message keys are rows of their
own (`pawl.storage.contract.Table.KEPT_GROUP_KEY`), so that the cost of a message does not grow with their number
(BND-03).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from pawl.crypto.keys import ChainKey, KeyPair, PublicKey


class SendingKey(NamedTuple):
    """One's own chain in a group: its id, next iteration, chain key, and the pair that signs its messages."""

    chain_id: int
    iteration: int
    chain_key: ChainKey
    signing: KeyPair


class OwnGroup(NamedTuple):
    """One's own side of a group."""

    sending: SendingKey
    members: int
    """How many members there are."""
    waiting: int
    """How many of them are not known to have the chain."""
    replaced: int
    """How many identities had been replaced in the store when those of the members were last looked at."""


@dataclass(frozen=True, slots=True)
class Member:
    """What is known of one member."""

    chain_id: int | None = None
    """Of the chain that it was last given; None: it was given none."""
    identity: PublicKey | None = None
    """Under which it was given the chain."""
    delivered: bool = False
    """Whether that is known to have come."""


class ReceivedChain(NamedTuple):
    """A chain on which another one sends. Its id and signing key name it; `kept` is a bound, as in a session."""

    chain_id: int
    signing_key: PublicKey
    chain_key: ChainKey
    iteration: int
    """The next expected one."""
    kept: int


class ReceivedKeys(NamedTuple):
    """The chains of one sender in a group."""

    identity: PublicKey | None
    """The sender's, pinned when the chains came; None: none was."""
    chains: tuple[ReceivedChain, ...]
    """Newest first, at most MAX_SENDER_KEY_CHAINS."""
    retired: int
    """How many chains are gone."""
