"""The sender key: pure steps on immutable chains.

    seed, next chain key = HMAC(chain key, 1), HMAC(chain key, 2);  HKDF(seed) -> IV, cipher key

As in a session, a received message goes through functions of which none keeps anything before the message is
authenticated: `find` and `check_jump` look, `derive` computes the message's seed and changes nothing, and `advance`
builds the new chains. `accept` does the same for a chain that is given.
Source: the existing clients; Double Ratchet, sections 2.6 (out-of-order messages) and 7.2 (KDF_CK).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from pawl.crypto import kdf
from pawl.crypto.keys import KEY_BYTES, ChainKey, KeyPair, PublicKey
from pawl.errors import CounterExhausted, DuplicateMessage, NoSenderKey, TooFarAhead
from pawl.group.state import ReceivedChain, ReceivedKeys, SendingKey
from pawl.limits import MAX_COUNTER, MAX_FORWARD_JUMP, MAX_SENDER_KEY_CHAINS, MAX_SKIPPED_KEYS_PER_CHAIN
from pawl.sources import Rng, draw

Skipped: TypeAlias = tuple[tuple[int, bytes], ...]
"""Iterations and 32-byte seeds of messages that were passed over, in ascending order."""

Lookup: TypeAlias = Callable[[ReceivedChain, int], bytes | None]
"""The kept 32-byte seed of an iteration of a chain, if it is (still) there."""

Count: TypeAlias = Callable[[ReceivedChain], int]
"""How many seeds of a chain are kept."""

NO_CHAINS = ReceivedKeys(None, (), 0)
"""Of a sender who gave none."""


class Derived(NamedTuple):
    """What a message's place on a chain comes to. Nothing of it is state before the message is read."""

    chain: ReceivedChain
    iteration: int
    seed: bytes
    """32 bytes, of this message."""
    chain_key: bytes
    """32 bytes, of the chain after this message; empty if the seed was a kept one and the chain does not move."""
    skipped: Skipped = ()

    def __repr__(self) -> str:
        # The rest is secret.
        return f"Derived(chain={self.chain!r}, iteration={self.iteration})"


class Advanced(NamedTuple):
    """What a message that was read changes: the chains, and which kept seeds come and go."""

    keys: ReceivedKeys
    chain_id: int
    used: int | None = None
    """Iteration of the kept seed that was used; the chains are those before."""
    skipped: Skipped = ()
    """Seeds to keep."""
    dropped: int = 0
    """How many of the oldest seeds kept before go."""

    def __repr__(self) -> str:
        # The seeds to keep are secret.
        return f"Advanced(keys={self.keys!r}, chain_id={self.chain_id}, used={self.used})"


class Accepted(NamedTuple):
    """What a chain that was given changes."""

    keys: ReceivedKeys
    gone: tuple[ReceivedChain, ...]
    """Chains that are no longer held, the oldest last."""
    replaces: bool
    """Whether one of them had the id of the new one."""


# -- sending ----------------------------------------------------------------------------------------------------------


def create(rng: Rng, former: SendingKey | None = None) -> SendingKey:
    """A fresh chain. Calls `rng(4)` for its id of 31 bits, `rng(32)` for its key, `rng(32)` for the pair that signs.

    Its id is not that of the one before: a message names its chain by the id alone.
    """
    while True:
        chain_id = int.from_bytes(draw(rng, 4), "big") >> 1
        if former is None or chain_id != former.chain_id:
            return SendingKey(chain_id, 0, ChainKey(draw(rng, KEY_BYTES)), KeyPair.generate(rng))


def check_left(key: SendingKey) -> None:
    """An iteration is used once, and there is none after the last (GRP-01). Raises: CounterExhausted."""
    if key.iteration > MAX_COUNTER:
        raise CounterExhausted("the sender key has used its last iteration; rotate it")


def send(key: SendingKey) -> tuple[SendingKey, bytes]:
    """The chain after sending one message, and that message's 32-byte seed.

    The message's iteration is the one of the chain before. Raises: CounterExhausted.
    """
    # Check
    check_left(key)
    chain_id, iteration, chain_key, signing = key
    # Derive
    seed, next_key = kdf.step_chain(chain_key.data)
    # Commit: what is stored holds nothing of this message (KEY-02).
    return SendingKey(chain_id, iteration + 1, ChainKey(next_key), signing), seed


# -- receiving messages -----------------------------------------------------------------------------------------------


def find(keys: ReceivedKeys, chain_id: int) -> ReceivedChain:
    """The chain that a message names. Raises: NoSenderKey."""
    for chain in keys.chains:
        if chain.chain_id == chain_id:
            return chain
    raise NoSenderKey("no chain of this id is held of this sender in this group")


def check_jump(chain: ReceivedChain, iteration: int) -> None:
    """The jump is bounded before any of its steps is taken (BND-01). Raises: TooFarAhead."""
    if iteration - chain.iteration > MAX_FORWARD_JUMP:
        raise TooFarAhead(f"the message is more than {MAX_FORWARD_JUMP} ahead")


def derive(chain: ReceivedChain, iteration: int, kept: Lookup) -> Derived:
    """The seed of `iteration` on `chain`; `check_jump` was asked before. Raises: DuplicateMessage."""
    if iteration < chain.iteration:
        # A key is kept until its message comes; without it the message came before (CTR-03), or is older than what is
        # kept, or than what the sender gave.
        seed = kept(chain, iteration) if chain.kept else None
        if seed is None:
            raise DuplicateMessage("the message was decrypted before, or its key is not kept")
        return Derived(chain, iteration, seed, b"")
    chain_key = chain.chain_key.data
    # The common case: nothing is passed over.
    if iteration == chain.iteration:
        return Derived(chain, iteration, *kdf.step_chain(chain_key))
    skipped: list[tuple[int, bytes]] = []
    oldest_kept = iteration - MAX_SKIPPED_KEYS_PER_CHAIN
    for passed in range(chain.iteration, iteration):
        seed, chain_key = kdf.step_chain(chain_key)
        # Of a long jump only the newest seeds are kept (BND-02).
        if passed >= oldest_kept:
            skipped.append((passed, seed))
    seed, chain_key = kdf.step_chain(chain_key)
    return Derived(chain, iteration, seed, chain_key, tuple(skipped))


def advance(keys: ReceivedKeys, derived: Derived, *, count: Count) -> Advanced:
    """The chains after a message that was read.

    `count` is asked only where the bound of what is kept is over its limit, and what is kept may not be.
    """
    chain_id, signing_key, _, _, kept = chain = derived.chain
    # A kept key is used up (KEY-01, GRP-06). Its row goes; the chains stay as they are.
    if not derived.chain_key:
        return Advanced(keys, chain_id, used=derived.iteration)
    skipped, dropped = derived.skipped, 0
    if skipped and kept + len(skipped) > MAX_SKIPPED_KEYS_PER_CHAIN:
        # Used seeds are in the bound still: nothing goes before it is counted what is there.
        kept = count(chain) if kept else 0
        # The seeds kept before are older than the new ones (BND-02).
        dropped = max(kept + len(skipped) - MAX_SKIPPED_KEYS_PER_CHAIN, 0)
    kept += len(skipped) - dropped
    stepped = ReceivedChain(chain_id, signing_key, ChainKey(derived.chain_key), derived.iteration + 1, kept)
    chains = tuple([stepped if each is chain else each for each in keys.chains])
    return Advanced(ReceivedKeys(keys.identity, chains, keys.retired), chain_id, None, skipped, dropped)


# -- receiving chains -------------------------------------------------------------------------------------------------


def is_held(keys: ReceivedKeys, chain_id: int, signing_key: PublicKey) -> bool:
    """Whether exactly this chain is held: what is given again then changes nothing (GRP-03)."""
    return any(each.chain_id == chain_id and each.signing_key == signing_key for each in keys.chains)


def accept(keys: ReceivedKeys, given: ReceivedChain, identity: PublicKey | None) -> Accepted:
    """The chains with `given`, which is not held, as the newest; `identity` is the sender's pinned one.

    A held chain of the same id makes room for it, since a message names its chain by the id alone. Chains that came
    under another identity go as well, and the oldest of too many (BND-02, KEY-04).
    """
    held = keys.chains if is_same(keys.identity, identity) else ()
    others = tuple(each for each in held if each.chain_id != given.chain_id)
    chains = (given, *others)[:MAX_SENDER_KEY_CHAINS]
    gone = tuple(each for each in keys.chains if each not in chains)
    replaces = any(each.chain_id == given.chain_id for each in keys.chains)
    return Accepted(ReceivedKeys(identity, chains, keys.retired), gone, replaces)


def is_same(then: PublicKey | None, now: PublicKey | None) -> bool:
    """Whether chains that came under the identity `then` count while `now` is the pinned one (IDC-08)."""
    return then is None or then == now
