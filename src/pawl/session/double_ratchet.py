"""The double ratchet: pure steps on immutable sessions.

A received message goes through three functions, so that nothing can be kept before it is authenticated: `cost` checks
the counter and says what work it would cause, `derive` computes the message's seed and changes nothing, and `advance`,
called only after the MAC was checked, builds the new session.

A new ratchet key of the peer leaves older receiving chains open (at most MAX_RECEIVING_CHAINS), so that late messages
still find their keys; `previous_counter` is sent but, as in the official client, not needed for receiving.
Source: Double Ratchet, sections 3.3 to 3.5; the limits are those of `pawl.limits`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from pawl.crypto import kdf
from pawl.crypto.keys import ChainKey, KeyPair, PublicKey, RootKey, agree
from pawl.errors import CounterExhausted, DuplicateMessage, TooFarAhead
from pawl.limits import (
    MAX_COUNTER,
    MAX_FORWARD_JUMP,
    MAX_RECEIVING_CHAINS,
    MAX_SKIPPED_KEYS_PER_CHAIN,
    MAX_SKIPPED_KEYS_PER_SESSION,
)
from pawl.session.state import ReceivingChain, SendingChain, Session
from pawl.sources import Rng
from pawl.values import made

Skipped: TypeAlias = tuple[tuple[int, bytes], ...]
"""Counters and 32-byte seeds of messages that were passed over, in ascending order."""

Chains: TypeAlias = tuple[ReceivingChain, ...]

Dropped: TypeAlias = tuple[tuple[PublicKey, int | None], ...]
"""Chains, by ratchet key, and how many of their oldest kept seeds go; None: all."""

Lookup: TypeAlias = Callable[[Session, PublicKey, int], bytes | None]
"""The kept 32-byte seed of a counter on a session's chain of a ratchet key, if it is (still) there."""

Count: TypeAlias = Callable[[Session, PublicKey], int]
"""How many seeds of a session's chain of a ratchet key are kept."""


class Derived(NamedTuple):
    """What a message's place on a chain comes to. Nothing of it is state before the message is authenticated."""

    chain: ReceivingChain | None
    """The chain it is on; None: it starts a new one."""
    ratchet_key: PublicKey
    counter: int
    seed: bytes
    """32 bytes, of this message."""
    chain_key: bytes
    """32 bytes, of the chain after this message; empty if the seed was a kept one and the chain does not move."""
    skipped: Skipped = ()
    root_key: bytes = b""
    """32 bytes, of the session after the first half of a ratchet step; empty if the message starts no chain."""

    def __repr__(self) -> str:
        # The rest is secret.
        return f"Derived(chain={self.chain!r}, ratchet_key={self.ratchet_key!r}, counter={self.counter})"


class Advanced(NamedTuple):
    """What an authenticated message changes: the session, and which kept seeds come and go."""

    session: Session
    ratchet_key: PublicKey
    starts_chain: bool
    used: int | None = None
    """Counter of the kept seed on the chain of `ratchet_key` that was used."""
    skipped: Skipped = ()
    """Seeds to keep on the chain of `ratchet_key`."""
    dropped: Dropped = ()
    unchanged: bool = False
    """The session is the one before: only a kept seed was used."""

    def __repr__(self) -> str:
        # The seeds to keep are secret.
        return f"Advanced(session={self.session!r}, ratchet_key={self.ratchet_key!r}, used={self.used})"


# -- sending ----------------------------------------------------------------------------------------------------------


def send(session: Session) -> tuple[Session, bytes]:
    """The session after sending one message, and that message's 32-byte seed.

    The message's counter is the one of the session before. Raises: CounterExhausted.
    """
    # Check: a counter is used once, and there is none after the last (CTR-01).
    ratchet, chain_key, counter = session.sending
    if counter > MAX_COUNTER:
        raise CounterExhausted("the sending chain has used its last counter")
    # Derive
    seed, next_key = kdf.step_chain(chain_key.data)
    # Commit: the chain moves on, and the session that is stored holds nothing of this message (KEY-02, SEC-01).
    return _with_sending(session, SendingChain(ratchet, ChainKey(next_key), counter + 1)), seed


# -- receiving --------------------------------------------------------------------------------------------------------


def find_chain(session: Session, ratchet_key: PublicKey) -> ReceivingChain | None:
    """The receiving chain of `ratchet_key`, if the session knows it."""
    data = ratchet_key.data
    for chain in session.receiving:
        if chain.ratchet_key.data == data:
            return chain
    return None


def cost(chain: ReceivingChain | None, counter: int) -> int:
    """How many derivations `derive` and `advance` would do for `counter` on `chain`, or on a new chain (None).

    Raises: TooFarAhead.
    """
    due = 0 if chain is None else chain.counter
    # The key of an earlier counter is looked up, not derived.
    if counter < due:
        return 1
    # The jump is bounded before any of its steps is taken (BND-01, CTR-04).
    if counter - due > MAX_FORWARD_JUMP:
        raise TooFarAhead(f"the message is more than {MAX_FORWARD_JUMP} ahead")
    # The chain's steps, the message's keys, and for a new chain two root steps.
    return counter - due + 2 + (2 if chain is None else 0)


def derive(
    session: Session, chain: ReceivingChain | None, ratchet_key: PublicKey, counter: int, kept: Lookup
) -> Derived:
    """The seed of `counter` on `chain`, or on the new chain of `ratchet_key` (None); `cost` was asked before.

    Raises: DuplicateMessage, InvalidKey (a ratchet key of small order).
    """
    root_key = b""
    if chain is None:
        due = 0
        root_key, chain_key = kdf.root_step(session.root_key.data, agree(session.sending.ratchet.private, ratchet_key))
    elif counter < chain.counter:
        # A key is kept until its message comes; without it the message came before (CTR-03), or is older than what is
        # kept.
        seed = kept(session, ratchet_key, counter) if chain.kept else None
        if seed is None:
            raise DuplicateMessage("the message was decrypted before, or its key is no longer kept")
        return Derived(chain, ratchet_key, counter, seed, b"")
    else:
        due, chain_key = chain.counter, chain.chain_key.data
    # The common case: nothing is passed over.
    if counter == due:
        seed, chain_key = kdf.step_chain(chain_key)
        return made(Derived, (chain, ratchet_key, counter, seed, chain_key, (), root_key))
    skipped: list[tuple[int, bytes]] = []
    oldest_kept = counter - MAX_SKIPPED_KEYS_PER_CHAIN
    for passed in range(due, counter):
        seed, chain_key = kdf.step_chain(chain_key)
        # Of a long jump only the newest seeds are kept (BND-02).
        if passed >= oldest_kept:
            skipped.append((passed, seed))
    seed, chain_key = kdf.step_chain(chain_key)
    return Derived(chain, ratchet_key, counter, seed, chain_key, tuple(skipped), root_key)


def advance(session: Session, derived: Derived, *, rng: Rng, count: Count) -> Advanced:
    """The session after an authenticated message. Calls `rng(32)` once if the message starts a new chain.

    The peer has answered, so a pending prekey is no longer repeated. `count` is asked only where the bounds of what is
    kept are over a limit, and what is kept may not be.
    """
    chain = derived.chain
    if chain is None:
        return _start_chain(session, derived, rng, count)
    # A kept key is used up (KEY-01). Its row goes; the chain stays as it is.
    if not derived.chain_key:
        if session.pending is None:
            return Advanced(session, chain.ratchet_key, False, used=derived.counter, unchanged=True)
        answered = _with_receiving(session, session.receiving)
        return Advanced(answered, chain.ratchet_key, False, used=derived.counter)
    stepped = made(ReceivingChain, (chain.ratchet_key, ChainKey(derived.chain_key), derived.counter + 1, chain.kept))
    former = session.receiving
    # The newest chain is the common case.
    chains = (
        (stepped, *former[1:]) if former[0] is chain else tuple([stepped if each is chain else each for each in former])
    )
    # The common case.
    if not derived.skipped:
        return made(Advanced, (_with_receiving(session, chains), chain.ratchet_key, False, None, (), (), False))
    chains, skipped, dropped = _keep(session, chains, stepped, derived.skipped, count)
    return Advanced(_with_receiving(session, chains), chain.ratchet_key, False, skipped=skipped, dropped=dropped)


def _start_chain(session: Session, derived: Derived, rng: Rng, count: Count) -> Advanced:
    """The receiving chain of a new ratchet key, then a new ratchet key and sending chain of one's own."""
    # Derive: the new key is fresh and the root key is mixed in, so that whoever took the state before is left behind,
    # and whoever takes it later cannot go back (SEC-01, SEC-02).
    ratchet = KeyPair.generate(rng)
    root_key, chain_key = kdf.root_step(derived.root_key, agree(ratchet.private, derived.ratchet_key))
    chain = ReceivingChain(derived.ratchet_key, ChainKey(derived.chain_key), derived.counter + 1, 0)
    # The former chains stay, for what is still on its way (CNF-02). Over the limit the oldest goes, and its kept seeds
    # with it (BND-02, KEY-04).
    chains = (chain, *session.receiving[: MAX_RECEIVING_CHAINS - 1])
    closed = tuple((old.ratchet_key, None) for old in session.receiving[MAX_RECEIVING_CHAINS - 1 :] if old.kept)
    chains, skipped, dropped = _keep(session, chains, chain, derived.skipped, count)
    # Commit
    stepped = Session(
        session.version,
        session.base_key,
        session.local_identity,
        session.remote_identity,
        session.local_registration_id,
        session.remote_registration_id,
        RootKey(root_key),
        SendingChain(ratchet, ChainKey(chain_key), 0),
        chains,
        max(session.sending.counter - 1, 0),
        None,
    )
    return Advanced(stepped, derived.ratchet_key, True, skipped=skipped, dropped=dropped + closed)


def _keep(
    session: Session, chains: Chains, chain: ReceivingChain, skipped: Skipped, count: Count
) -> tuple[Chains, Skipped, Dropped]:
    """Keep `skipped` on `chain`, one of `chains`, within the limits: the oldest seeds go.

    Returns the chains with their new bounds, what of `skipped` is kept, and which seeds kept before go.
    """
    if not skipped:
        return chains, skipped, ()
    if (
        chain.kept + len(skipped) > MAX_SKIPPED_KEYS_PER_CHAIN
        or sum(each.kept for each in chains) + len(skipped) > MAX_SKIPPED_KEYS_PER_SESSION
    ):
        # Used seeds are in the bounds still: nothing goes before it is counted what is there.
        at = chains.index(chain)
        chains = tuple([_counted(session, each, count) for each in chains])
        chain = chains[at]
    over_chain = max(chain.kept + len(skipped) - MAX_SKIPPED_KEYS_PER_CHAIN, 0)
    over_session = sum(each.kept for each in chains) + len(skipped) - over_chain - MAX_SKIPPED_KEYS_PER_SESSION
    bounded: list[ReceivingChain] = []
    dropped: list[tuple[PublicKey, int]] = []
    # Over the session's limit, the oldest seeds of the oldest chain go first (BND-02).
    for each in reversed(chains):
        added, gone = (len(skipped), over_chain) if each is chain else (0, 0)
        more = max(min(over_session, each.kept + added - gone), 0)
        over_session, gone = over_session - more, gone + more
        # In a chain, the seeds kept before are older than the new ones.
        old_gone = min(gone, each.kept)
        if each is chain:
            skipped = skipped[gone - old_gone :]
        if old_gone:
            dropped.append((each.ratchet_key, old_gone))
        bounded.append(ReceivingChain(each.ratchet_key, each.chain_key, each.counter, each.kept + added - gone))
    return tuple(reversed(bounded)), skipped, tuple(dropped)


def _counted(session: Session, chain: ReceivingChain, count: Count) -> ReceivingChain:
    """`chain` with what is kept of it as its bound."""
    if not chain.kept:
        return chain
    return ReceivingChain(chain.ratchet_key, chain.chain_key, chain.counter, count(session, chain.ratchet_key))


# -- values -----------------------------------------------------------------------------------------------------------


def _with_sending(session: Session, sending: SendingChain) -> Session:
    # Taken apart at once: to ask a named tuple for each of its fields costs several times as much.
    version, base, local, remote, local_id, remote_id, root_key, _, receiving, previous, pending = session
    fields = (version, base, local, remote, local_id, remote_id, root_key, sending, receiving, previous, pending)
    return made(Session, fields)


def _with_receiving(session: Session, receiving: Chains) -> Session:
    version, base, local, remote, local_id, remote_id, root_key, sending, _, previous, _ = session
    fields = (version, base, local, remote, local_id, remote_id, root_key, sending, receiving, previous, None)
    return made(Session, fields)
