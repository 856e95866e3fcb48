"""Controls: deliberately broken variants of Pawl. Each must turn the gate red by the invariant that names its fault.

A green gate means nothing without them. Each is as close as can be to a mistake that an implementer makes. A control is
a target of its own: `pawl verify --target control:NAME`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from unittest import mock

from pawl import (
    EncryptedMessage,
    IdentityPolicy,
    Maintenance,
    MessageType,
    PreKeyBundle,
    ProtocolAddress,
    ProtocolError,
    PublicSignedPreKey,
)
from pawl.crypto import kdf, xeddsa
from pawl.crypto.keys import PublicKey
from pawl.errors import BadMac, DuplicateMessage, UntrustedIdentity
from pawl.session import double_ratchet
from pawl.session.double_ratchet import Advanced, Count, Derived
from pawl.session.state import Session
from pawl.sources import Rng
from pawl.storage.contract import Row, Store, Table, Transaction
from pawl.wire.messages import decode_prekey_message
from pawl_gate.targets.inprocess import DeviceLike, InProcessTarget, Setup, Variant, open_device


@dataclass(frozen=True, slots=True)
class Control:
    """A broken variant and the invariant that must catch it."""

    name: str
    breaks: str
    """Id of the invariant that names the fault."""
    what: str
    """The fault, in one sentence."""
    make: Callable[[], InProcessTarget]


RootStep = Callable[[bytes, bytes], tuple[bytes, bytes]]
StartChain = Callable[[Session, Derived, Rng, Count], Advanced]

CONTROLS: dict[str, Control] = {}


def control(name: str, breaks: str) -> Callable[[type[Variant]], type[Variant]]:
    """Register a broken variant; its docstring says what is wrong with it."""

    def register(variant: type[Variant]) -> type[Variant]:
        variant.name = f"control:{name}"
        what = " ".join((variant.__doc__ or "").split())
        CONTROLS[name] = Control(name, breaks, what, lambda: InProcessTarget(variant()))
        return variant

    return register


# -- devices that do one thing wrong ----------------------------------------------------------------------------------


class Wrapped:
    """A device that passes everything on; a control overrides what it does wrong."""

    def __init__(self, store: Store, setup: Setup) -> None:
        self.store = store
        self.inner = open_device(store, setup)

    @property
    def identity_key(self) -> PublicKey:
        """See `Device`."""
        return self.inner.identity_key

    def prekey_bundle(self, *, one_time: bool = True, device_id: int = 1) -> PreKeyBundle:
        """See `Device`."""
        return self.inner.prekey_bundle(one_time=one_time, device_id=device_id)

    def parse_public_key(self, peer: ProtocolAddress, data: bytes) -> PublicKey:
        """See `Device`."""
        return self.inner.parse_public_key(peer, data)

    def establish(self, peer: ProtocolAddress, bundle: PreKeyBundle) -> None:
        """See `Device`."""
        self.inner.establish(peer, bundle)

    def encrypt(self, peer: ProtocolAddress, plaintext: bytes) -> EncryptedMessage:
        """See `Device`."""
        return self.inner.encrypt(peer, plaintext)

    def decrypt(self, peer: ProtocolAddress, message: EncryptedMessage) -> bytes:
        """See `Device`."""
        return self.inner.decrypt(peer, message)

    def trust_identity(self, name: str, key: PublicKey) -> None:
        """See `Device`."""
        self.inner.trust_identity(name, key)

    def rotate_signed_prekey(self) -> PublicSignedPreKey:
        """See `Device`."""
        return self.inner.rotate_signed_prekey()

    def maintain(self) -> Maintenance:
        """See `Device`."""
        return self.inner.maintain()

    def forget_session(self, peer: ProtocolAddress) -> None:
        """See `Device`."""
        self.inner.forget_session(peer)


class WrappedVariant(Variant):
    """A variant with another device."""

    wrapper: type[Wrapped] = Wrapped

    def device(self, store: Store, setup: Setup) -> DeviceLike:
        """The broken device."""
        return self.wrapper(store, setup)


class _RemembersPlaintexts(Wrapped):
    def __init__(self, store: Store, setup: Setup) -> None:
        super().__init__(store, setup)
        self.read: dict[bytes, bytes] = {}

    def decrypt(self, peer: ProtocolAddress, message: EncryptedMessage) -> bytes:
        try:
            text = self.read[message.serialized] = super().decrypt(peer, message)
        except DuplicateMessage:
            if message.serialized not in self.read:
                raise
            return self.read[message.serialized]
        return text


@control("duplicate-accepted", "CTR-03")
class DuplicateAccepted(WrappedVariant):
    """A repeated message is answered with its plaintext again."""

    wrapper = _RemembersPlaintexts


class _TrustsAnyone(Wrapped):
    def establish(self, peer: ProtocolAddress, bundle: PreKeyBundle) -> None:
        try:
            super().establish(peer, bundle)
        except UntrustedIdentity:
            self.trust_identity(peer.name, bundle.identity_key)
            super().establish(peer, bundle)

    def decrypt(self, peer: ProtocolAddress, message: EncryptedMessage) -> bytes:
        try:
            return super().decrypt(peer, message)
        except UntrustedIdentity:
            self.trust_identity(peer.name, decode_prekey_message(message.serialized).identity_key)
            return super().decrypt(peer, message)


@control("identity-change-accepted", "IDC-01")
class IdentityChangeAccepted(WrappedVariant):
    """Another identity key for a known name is taken silently."""

    wrapper = _TrustsAnyone


@control("first-use-unasked", "IDC-02")
class FirstUseUnasked(Variant):
    """Trust on first use cannot be switched off."""

    def device(self, store: Store, setup: Setup) -> DeviceLike:
        """A device that ignores the policy."""
        return super().device(store, replace(setup, policy=IdentityPolicy(trust_on_first_use=True)))


class _PinsEarly(Wrapped):
    def decrypt(self, peer: ProtocolAddress, message: EncryptedMessage) -> bytes:
        if message.type is MessageType.PREKEY and self.inner.pinned_identity(peer.name) is None:
            self.trust_identity(peer.name, decode_prekey_message(message.serialized).identity_key)
        return super().decrypt(peer, message)


@control("pinned-before-authenticated", "IDC-06")
class PinnedBeforeAuthenticated(WrappedVariant):
    """The identity of a prekey message is pinned before the message is authenticated."""

    wrapper = _PinsEarly


class _WritesOnRefusal(Wrapped):
    def decrypt(self, peer: ProtocolAddress, message: EncryptedMessage) -> bytes:
        try:
            return super().decrypt(peer, message)
        except ProtocolError:
            # As if the ratchet had moved before the MAC was checked.
            with self.store.transaction() as rows:
                row = rows.get(Table.LOCAL, b"refused")
                rows.put(Table.LOCAL, b"refused", b"", version=0 if row is None else row.version)
            raise


@control("refusal-changes-state", "CTR-05")
class RefusalChangesState(WrappedVariant):
    """A message that is refused leaves a trace in the store."""

    wrapper = _WritesOnRefusal


class _IgnoresVersion(Wrapped):
    def decrypt(self, peer: ProtocolAddress, message: EncryptedMessage) -> bytes:
        data = message.serialized
        if message.type is MessageType.SIGNAL and data:
            data = b"\x33" + data[1:]
        return super().decrypt(peer, EncryptedMessage(message.type, data))


@control("version-unauthenticated", "PAR-04")
class VersionUnauthenticated(WrappedVariant):
    """The version byte is assumed, not read: the MAC covers another byte than the one received."""

    wrapper = _IgnoresVersion


class _AssumesBytes(Wrapped):
    def decrypt(self, peer: ProtocolAddress, message: EncryptedMessage) -> bytes:
        version = message.serialized[0]
        del version
        return super().decrypt(peer, message)


@control("parser-raises", "PAR-01")
class ParserRaises(WrappedVariant):
    """The version byte is read before the length is checked: an empty message raises an IndexError."""

    wrapper = _AssumesBytes


class _AddsAField(Wrapped):
    def encrypt(self, peer: ProtocolAddress, plaintext: bytes) -> EncryptedMessage:
        message = super().encrypt(peer, plaintext)
        # A field too many, behind the last one: the peers' parsers skip it.
        if message.type is MessageType.PREKEY:
            return EncryptedMessage(message.type, message.serialized + b"\xa2\x06\x00")
        return message


@control("encoding-not-canonical", "PAR-02")
class EncodingNotCanonical(WrappedVariant):
    """What is written holds a field that no reader knows."""

    wrapper = _AddsAField


# -- checks left out --------------------------------------------------------------------------------------------------


class Patched(Variant):
    """A variant in which functions of the library are replaced while it runs."""

    patches: tuple[tuple[str, object], ...] = ()

    def patched(self) -> AbstractContextManager[object]:
        """Replace them."""
        stack = ExitStack()
        for place, other in self.patches:
            stack.enter_context(mock.patch(place, other))
        return stack


def _anything(*_: object, **__: object) -> None:
    """A check that checks nothing."""


@control("signature-unchecked", "IDC-03")
class SignatureUnchecked(Patched):
    """The signed prekey's signature is not verified."""

    patches = ((f"{xeddsa.__name__}.verify", _anything),)


class _AcceptsAnyMac:
    """Stands for the module `hmac` where a received code is compared."""

    @staticmethod
    def compare_digest(one: bytes, other: bytes) -> bool:
        """They are always the same."""
        return len(one) == len(other)


@control("mac-unchecked", "AUT-01")
class MacUnchecked(Patched):
    """The message authentication code is not compared."""

    patches = (("pawl.session.cipher.hmac", _AcceptsAnyMac),)


# -- stores that do one thing wrong -----------------------------------------------------------------------------------


class PassingTransaction:
    """A transaction that passes everything on."""

    def __init__(self, inner: Transaction) -> None:
        self.inner = inner

    def get(self, table: Table, key: bytes) -> Row | None:
        """See `Transaction`."""
        return self.inner.get(table, key)

    def put(self, table: Table, key: bytes, value: bytes, *, version: int) -> int:
        """See `Transaction`."""
        return self.inner.put(table, key, value, version=version)

    def delete(self, table: Table, key: bytes, *, version: int) -> None:
        """See `Transaction`."""
        self.inner.delete(table, key, version=version)

    def scan(self, table: Table, prefix: bytes, *, limit: int | None = None) -> Sequence[tuple[bytes, Row]]:
        """See `Transaction`."""
        return self.inner.scan(table, prefix, limit=limit)

    def count(self, table: Table, prefix: bytes) -> int:
        """See `Transaction`."""
        return self.inner.count(table, prefix)


class PassingStore:
    """A store that passes everything on, with another transaction."""

    def __init__(self, durable: Store, transaction: Callable[[Transaction], Transaction]) -> None:
        self._durable = durable
        self._make = transaction

    def transaction(self) -> AbstractContextManager[Transaction]:
        """See `Store`."""
        return self._transaction()

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        with self._durable.transaction() as inner:
            yield self._make(inner)

    def close(self) -> None:
        """See `Store`."""
        self._durable.close()


class _KeepsSkippedKeys(PassingTransaction):
    def delete(self, table: Table, key: bytes, *, version: int) -> None:
        if table is not Table.SKIPPED_KEY:
            super().delete(table, key, version=version)
        elif (row := super().get(table, key)) is not None:
            # Something is written, so that what is wrong is the key alone.
            super().put(table, key, row.value, version=version)


@control("message-key-kept", "KEY-01")
class MessageKeyKept(Variant):
    """A kept message key is not deleted when it was used."""

    def store(self, durable: Store) -> Store:
        """A store that forgets to delete kept keys."""
        return PassingStore(durable, _KeepsSkippedKeys)


class _KeepsPreKeys(PassingTransaction):
    def delete(self, table: Table, key: bytes, *, version: int) -> None:
        if table is not Table.PREKEY:
            super().delete(table, key, version=version)


@control("prekey-kept", "KEY-03")
class PreKeyKept(Variant):
    """A one-time prekey is not deleted when it was used."""

    def store(self, durable: Store) -> Store:
        """A store that forgets to delete prekeys."""
        return PassingStore(durable, _KeepsPreKeys)


class LateStore:
    """Commits a transaction only when the next one begins: results are handed out before they are durable."""

    def __init__(self, durable: Store) -> None:
        self._durable = durable
        self._late: list[tuple[Table, bytes, Row | None]] = []

    def transaction(self) -> AbstractContextManager[Transaction]:
        """See `Store`."""
        return self._transaction()

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        late, self._late = self._late, []
        if late:
            with self._durable.transaction() as rows:
                _write(rows, late)
        try:
            with self._durable.transaction() as rows:
                noting = _Noting(rows)
                yield noting
                # Only now, and only in memory: the durable transaction is rolled back.
                self._late = noting.written
                raise _Undo
        except _Undo:
            pass

    def close(self) -> None:
        """See `Store`."""
        self._durable.close()


class _Undo(Exception):
    """Rolls a transaction back."""


class _Noting(PassingTransaction):
    def __init__(self, inner: Transaction) -> None:
        super().__init__(inner)
        self.written: list[tuple[Table, bytes, Row | None]] = []

    def put(self, table: Table, key: bytes, value: bytes, *, version: int) -> int:
        new = super().put(table, key, value, version=version)
        self.written.append((table, key, Row(value, version)))
        return new

    def delete(self, table: Table, key: bytes, *, version: int) -> None:
        super().delete(table, key, version=version)
        self.written.append((table, key, None))


def _write(rows: Transaction, writes: Sequence[tuple[Table, bytes, Row | None]]) -> None:
    for table, key, row in writes:
        old = rows.get(table, key)
        version = 0 if old is None else old.version
        if row is None:
            rows.delete(table, key, version=version)
        else:
            rows.put(table, key, row.value, version=version)


@control("committed-late", "ATM-02")
class CommittedLate(Variant):
    """Ciphertexts and plaintexts are handed out before the state that spent their keys is durable."""

    def store(self, durable: Store) -> Store:
        """A store that commits when the next transaction begins."""
        return LateStore(durable)


class _Piecemeal:
    """A transaction in which every write is committed at once, by itself."""

    def __init__(self, durable: Store) -> None:
        self._durable = durable

    def get(self, table: Table, key: bytes) -> Row | None:
        with self._durable.transaction() as rows:
            return rows.get(table, key)

    def put(self, table: Table, key: bytes, value: bytes, *, version: int) -> int:
        with self._durable.transaction() as rows:
            return rows.put(table, key, value, version=version)

    def delete(self, table: Table, key: bytes, *, version: int) -> None:
        with self._durable.transaction() as rows:
            rows.delete(table, key, version=version)

    def scan(self, table: Table, prefix: bytes, *, limit: int | None = None) -> Sequence[tuple[bytes, Row]]:
        with self._durable.transaction() as rows:
            return rows.scan(table, prefix, limit=limit)

    def count(self, table: Table, prefix: bytes) -> int:
        with self._durable.transaction() as rows:
            return rows.count(table, prefix)


class PiecemealStore:
    """A store without transactions: each write stands for itself."""

    def __init__(self, durable: Store) -> None:
        self._durable = durable

    def transaction(self) -> AbstractContextManager[Transaction]:
        """See `Store`; nothing is rolled back."""
        return self._transaction()

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        yield _Piecemeal(self._durable)

    def close(self) -> None:
        """See `Store`."""
        self._durable.close()


@control("half-written", "ATM-01")
class HalfWritten(Variant):
    """Session and prekey are written one after the other, not in one transaction."""

    def store(self, durable: Store) -> Store:
        """A store without transactions."""
        return PiecemealStore(durable)


# -- what a thief finds -----------------------------------------------------------------------------------------------


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


# -- what outlives its time, costs more with age, or says too much -----------------------------------------------------


def _never(*_: object) -> bool:
    """A time that never comes."""
    return False


@control("signed-prekey-for-ever", "KEY-07")
class SignedPreKeyForEver(Patched):
    """A superseded signed prekey never expires."""

    patches = (("pawl.session.prekeys._is_expired", _never),)


@control("chains-kept", "KEY-04")
class ChainsKept(Patched):
    """Receiving chains are kept far beyond the stated bound."""

    patches = (
        ("pawl.session.double_ratchet.MAX_RECEIVING_CHAINS", 50),
        ("pawl.wire.records.MAX_RECEIVING_CHAINS", 50),
    )


class _SaysItsKey(Wrapped):
    def decrypt(self, peer: ProtocolAddress, message: EncryptedMessage) -> bytes:
        try:
            return super().decrypt(peer, message)
        except BadMac as error:
            raise BadMac(f"{error}: {self.inner._identity.private.data.hex()}") from None


@control("secret-in-a-refusal", "KEY-06")
class SecretInARefusal(WrappedVariant):
    """The text of a refusal holds the identity's private key, for debugging."""

    wrapper = _SaysItsKey


class _ReadsAllKeptKeys(PassingTransaction):
    def get(self, table: Table, key: bytes) -> Row | None:
        if table is Table.SESSION:
            super().scan(Table.SKIPPED_KEY, b"")
        return super().get(table, key)


@control("kept-keys-all-read", "BND-03")
class KeptKeysAllRead(Variant):
    """Each message reads all kept keys of the store."""

    def store(self, durable: Store) -> Store:
        """A store whose sessions come with every kept key."""
        return PassingStore(durable, _ReadsAllKeptKeys)


class _TakesZeroForNone(Wrapped):
    def decrypt(self, peer: ProtocolAddress, message: EncryptedMessage) -> bytes:
        data = message.serialized
        if message.type is MessageType.PREKEY and data[-2:] == b"\x08\x00":
            # Fields come in any order: here the id is the last one.
            message = EncryptedMessage(message.type, data[:-2])
        return super().decrypt(peer, message)


@control("zero-taken-for-none", "IDC-09")
class ZeroTakenForNone(WrappedVariant):
    """A message that names the one-time prekey 0 is read as naming none, although nobody asked for that."""

    wrapper = _TakesZeroForNone


class _AllocatesFirst(Wrapped):
    def decrypt(self, peer: ProtocolAddress, message: EncryptedMessage) -> bytes:
        room = bytearray(4 * 1024 * 1024)
        del room
        return super().decrypt(peer, message)


@control("allocated-first", "PAR-03")
class AllocatedFirst(WrappedVariant):
    """Room is made for the largest message before the message is looked at."""

    wrapper = _AllocatesFirst


def _unguarded(what: str, callback: Callable[..., object], arguments: tuple[object, ...], seconds: object) -> object:
    """A question without a guard."""
    return callback(*arguments)


@control("callback-unguarded", "IDC-10")
class CallbackUnguarded(Patched):
    """What a callback of the application raises comes out as it is."""

    patches = (("pawl.identity._ask", _unguarded),)


@control("asked-under-another-name", "IDC-07")
class AskedUnderAnotherName(Variant):
    """A trust question names the address, not the name that its identity is pinned under."""

    def device(self, store: Store, setup: Setup) -> DeviceLike:
        """A device whose questions are about "name.1"."""
        first = setup.policy.on_first_use
        if first is not None:
            setup = replace(setup, policy=replace(setup.policy, on_first_use=lambda name, key: first(name + ".1", key)))
        return super().device(store, setup)


class _TakesDamageForAbsence(PassingTransaction):
    def get(self, table: Table, key: bytes) -> Row | None:
        row = super().get(table, key)
        if table is Table.IDENTITY and row is not None and len(row.value) != IDENTITY_BYTES:
            return None
        return row


IDENTITY_BYTES = 34
"""Bytes of the record of a pinned identity."""


@control("damage-taken-for-absence", "PAR-05")
class DamageTakenForAbsence(Variant):
    """A damaged record of a pinned identity is taken for none."""

    def store(self, durable: Store) -> Store:
        """A store that hides what it cannot read."""
        return PassingStore(durable, _TakesDamageForAbsence)
