"""Key derivations of the attacker's searches in one world, each done once.

The same secrets are searched again and again: in every inspection, and after every taking. What a derivation came to is
remembered; a search tries all that it would try without that.
"""

from __future__ import annotations

from functools import lru_cache

from pawl.crypto import kdf
from pawl.crypto.keys import KeyPair, PrivateKey, PublicKey, agree
from pawl.errors import InvalidKey

MAX_REMEMBERED = 65_536
"""Results of one kind that are remembered; the one that was not asked for longest goes. About 20 MB."""


class Derivations:
    """The derivations of one implementation: a broken one may have others, so that its searches share none."""

    def __init__(self) -> None:
        remember = lru_cache(MAX_REMEMBERED)
        self.step_chain = remember(_step_chain)
        """(message seed, next chain key) of a chain key."""
        self.mac_key = remember(_mac_key)
        """Of a message seed."""
        self.root_step = remember(_root_step)
        """(next root key, chain key) of a root key and a shared secret."""
        self.session_secret = remember(_session_secret)
        """(root key, chain key) of what X3DH comes to."""
        self.agree = remember(_agree)
        """The shared secret of a private and a public key; None where there is none."""
        self.public = remember(_public)
        """The public key of a private key."""


# Named through the module at each call, as a broken variant may have put something else there.


def _step_chain(chain_key: bytes) -> tuple[bytes, bytes]:
    return kdf.step_chain(chain_key)


def _mac_key(seed: bytes) -> bytes:
    return kdf.message_keys(seed)[1]


def _root_step(root_key: bytes, shared_secret: bytes) -> tuple[bytes, bytes]:
    return kdf.root_step(root_key, shared_secret)


def _session_secret(secret: bytes) -> tuple[bytes, bytes]:
    return kdf.session_secret(secret)


def _agree(private: bytes, public: bytes) -> bytes | None:
    try:
        return agree(PrivateKey(private), PublicKey(public))
    except InvalidKey:
        return None


def _public(private: bytes) -> bytes:
    return KeyPair.from_private(PrivateKey(private)).public.data
