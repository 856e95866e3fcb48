"""Secrecy: controls that break SEC."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from pawl.crypto import kdf
from pawl.session import double_ratchet, x3dh
from pawl.session.double_ratchet import Advanced, Count, Derived
from pawl.session.state import Session
from pawl.sources import Rng
from pawl.storage.contract import Store, Table
from pawl_gate.controls.catalogue import control, slip
from pawl_gate.controls.edits import Edit
from pawl_gate.controls.variants import Patched
from pawl_gate.targets.passing import PassingStore, PassingTransaction
from pawl_gate.targets.variant import Variant

RootStep = Callable[[bytes, bytes], tuple[bytes, bytes]]

StartChain = Callable[[Session, Derived, Rng, Count], Advanced]


class _KeepsCopies(PassingTransaction):
    """Keeps a copy of what is overwritten or deleted in a table, in a corner that nobody looks at."""

    table = Table.SESSION

    def put(self, table: Table, key: bytes, value: bytes, *, version: int) -> int:
        """See `Transaction`."""
        self._copy(table, key)
        return super().put(table, key, value, version=version)

    def delete(self, table: Table, key: bytes, *, version: int) -> None:
        """See `Transaction`."""
        self._copy(table, key)
        super().delete(table, key, version=version)

    def _copy(self, table: Table, key: bytes) -> None:
        row = self.inner.get(table, key) if table is self.table else None
        if row is not None:
            place = b"former" + key[-16:]
            old = self.inner.get(Table.LOCAL, place)
            self.inner.put(Table.LOCAL, place, row.value, version=0 if old is None else old.version)


class _KeepsSkippedCopies(_KeepsCopies):
    table = Table.SKIPPED_KEY


class _KeepsPreKeyCopies(_KeepsCopies):
    table = Table.PREKEY


@control("former-session-kept", "SEC-01")
class FormerSessionKept(Variant):
    """The session as it was before the last step stays in the store, for an undo: its chain keys with it."""

    def store(self, durable: Store) -> Store:
        """A store that keeps what was overwritten."""
        return PassingStore(durable, _KeepsCopies)


@control("used-key-moved", "SEC-01")
class UsedKeyMoved(Variant):
    """A kept message key that was used is moved to another table, not deleted."""

    def store(self, durable: Store) -> Store:
        """A store that moves what is deleted."""
        return PassingStore(durable, _KeepsSkippedCopies)


@control("used-prekey-moved", "SEC-01")
class UsedPreKeyMoved(Variant):
    """A one-time prekey that was used is moved to another table, not deleted."""

    def store(self, durable: Store) -> Store:
        """A store that moves what is deleted."""
        return PassingStore(durable, _KeepsPreKeyCopies)


def _rootless(root_key: bytes, shared_secret: bytes, step: RootStep = kdf.root_step) -> tuple[bytes, bytes]:
    return step(bytes(len(root_key)), shared_secret)


@control("root-not-mixed", "SEC-01")
class RootNotMixed(Patched):
    """A ratchet step takes the agreement alone: the root key before it is not mixed in."""

    patches = ((f"{kdf.__name__}.root_step", _rootless),)


def _from_the_old(
    session: Session, derived: Derived, rng: Rng, count: Count, start: StartChain = double_ratchet._start_chain
) -> Advanced:
    old = session.sending.ratchet.private.data
    return start(session, derived, lambda size: hashlib.sha256(b"next" + old).digest()[:size], count)


@control("ratchet-key-derived", "SEC-02")
class RatchetKeyDerived(Patched):
    """The new ratchet key is derived from the old one: no step brings anything that a thief does not have."""

    patches = ((f"{double_ratchet.__name__}._start_chain", _from_the_old),)


def _constant(
    session: Session, derived: Derived, rng: Rng, count: Count, start: StartChain = double_ratchet._start_chain
) -> Advanced:
    # Another one for each peer's key, so that the two sides still understand each other.
    return start(session, derived, lambda size: hashlib.sha256(derived.ratchet_key.data).digest()[:size], count)


@control("ratchet-key-guessable", "SEC-02")
class RatchetKeyGuessable(Patched):
    """The random generator gives what anybody can compute from the peer's ratchet key."""

    patches = ((f"{double_ratchet.__name__}._start_chain", _constant),)


slip(
    "one-time-prekey-left-out",
    "SEC-01",
    "The one-time prekey is spent, and does not enter the agreement.",
    Edit(x3dh.initiate, "if bundle.prekey is not None:", "if False:"),
    Edit(x3dh.respond, "if prekey is not None:", "if False:"),
)
