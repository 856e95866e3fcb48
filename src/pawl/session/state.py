"""The state of one session: immutable values, no behaviour.

Kept message keys are not part of this state: they are rows of their own (`pawl.storage.contract.Table.SKIPPED_KEY`),
looked up one at a time, so that the cost of a message does not grow with the number of kept keys (BND-03). What each
message builds anew is a named tuple, the cheapest immutable value there is; keys redact themselves in its text.
Source: Double Ratchet, section 3.2 (state variables); names follow it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from pawl.crypto.keys import ChainKey, KeyPair, PublicKey, RootKey


class SendingChain(NamedTuple):
    """The chain on which this side sends: its ratchet key pair, chain key and next counter."""

    ratchet: KeyPair
    chain_key: ChainKey
    counter: int


class ReceivingChain(NamedTuple):
    """A chain on which the peer sends: its ratchet key, chain key and next expected counter.

    `kept` is a bound: at most so many of its seeds are kept. It is not written again whenever one of them is used.
    """

    ratchet_key: PublicKey
    chain_key: ChainKey
    counter: int
    kept: int


@dataclass(frozen=True, slots=True)
class PendingPreKey:
    """What an initiator repeats in each message until the peer answers. `prekey_id` None means no one-time prekey."""

    prekey_id: int | None
    signed_prekey_id: int
    base_key: PublicKey
    created_at: int
    """Unix time in seconds."""


class Session(NamedTuple):
    """One session with one device of a peer. `base_key`, the initiator's, names it."""

    version: int
    """Message version: 3."""
    base_key: PublicKey
    local_identity: PublicKey
    remote_identity: PublicKey
    local_registration_id: int
    remote_registration_id: int
    root_key: RootKey
    sending: SendingChain
    receiving: tuple[ReceivingChain, ...]
    """Newest first, at most MAX_RECEIVING_CHAINS."""
    previous_counter: int
    """Index of the last message on the former sending chain, 0 if there was none."""
    pending: PendingPreKey | None
