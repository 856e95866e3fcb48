"""The device: the transactional shell around the pure core, and the library's public API.

Each call is one transaction: load, call the core, write what it returns, commit (ATM-01), and only then hand the result
out (ATM-02). A refusal rolls everything back (CTR-05). A device may be shared between threads, and a store between
processes, as far as the store allows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from pawl.address import ProtocolAddress
from pawl.crypto.keys import PublicKey
from pawl.errors import InvalidArgument, MessageTooLarge, NoSession, UntrustedIdentity
from pawl.identity import IdentityPolicy
from pawl.limits import MAX_DEVICE_ID, MAX_PLAINTEXT_BYTES
from pawl.session import cipher, double_ratchet, prekeys, x3dh
from pawl.session.bundle import PreKeyBundle
from pawl.session.rows import Memos, PeerRows
from pawl.sources import Clock, Rng, system_clock, system_rng
from pawl.storage.contract import Store, Transaction
from pawl.wire.messages import (
    EncryptedMessage,
    MessageType,
    PreKeySignalMessage,
    decode_prekey_message,
    decode_signal_message,
)

T = TypeVar("T")

TRUST_ON_FIRST_USE: Final = IdentityPolicy()
"""The default policy: the first identity seen for a name is pinned without a question."""


class _FirstUse(Exception):
    """An identity is not pinned yet and was not approved: rolls the transaction back, so that the policy is asked."""


class Device:
    """One device: its identity, its prekeys and its sessions, kept in `store`.

    A store without a device gets a new one: an identity key pair and a registration id of 1 to 16380. `rng` and `clock`
    are where all randomness and time come from. Whatever is refused raises a subclass of `ProtocolError` and changes
    nothing; besides what each method names, every one raises InvalidArgument for a wrong type and StorageError (or a
    subclass: CorruptStore, StoreBusy, StoreClosed, Conflict) for trouble with the store.
    """

    def __init__(
        self,
        store: Store,
        *,
        identity_policy: IdentityPolicy = TRUST_ON_FIRST_USE,
        rng: Rng = system_rng,
        clock: Clock = system_clock,
    ) -> None:
        # Check
        _check_callable(getattr(store, "transaction", None), "a store has transactions")
        if type(identity_policy) is not IdentityPolicy:
            raise InvalidArgument("identity_policy is an IdentityPolicy")
        _check_callable(rng, "rng is a callable")
        _check_callable(clock, "clock is a callable")
        self._store = store
        self._policy = identity_policy
        self._rng = rng
        self._clock = clock
        self._memos = Memos()
        with store.transaction() as tx:
            local = prekeys.open_local(tx, rng)
        self._identity = local.pair
        self._registration_id = local.registration_id

    @property
    def identity_key(self) -> PublicKey:
        """This device's identity: the same for the whole life of the store."""
        return self._identity.public

    @property
    def registration_id(self) -> int:
        """1 to 16380, the same for the whole life of the store."""
        return self._registration_id

    # -- setting up ---------------------------------------------------------------------------------------------------

    def prekey_bundle(self, *, one_time: bool = True, device_id: int = 1) -> PreKeyBundle:
        """What a peer needs to establish a session with this device; to be published, once per peer.

        It holds the signed prekey (made at the first call) and, with `one_time`, a fresh one-time prekey, which serves
        one session. `device_id`, 0 to 127, is this device's own. Source: X3DH, section 3.2.
        """
        # Check
        if type(one_time) is not bool:
            raise InvalidArgument("one_time is a bool")
        if type(device_id) is not int or not 0 <= device_id <= MAX_DEVICE_ID:
            raise InvalidArgument(f"a device id is an int of 0 to {MAX_DEVICE_ID}")
        now = self._now()
        # Derive and commit
        with self._store.transaction() as tx:
            signed = prekeys.current_signed_prekey(tx, rng=self._rng, now=now)
            prekey = prekeys.new_prekey(tx, rng=self._rng) if one_time else None
        return PreKeyBundle(
            registration_id=self._registration_id,
            device_id=device_id,
            identity_key=self._identity.public,
            signed_prekey_id=signed.id,
            signed_prekey=signed.pair.public,
            signed_prekey_signature=signed.signature,
            prekey_id=None if prekey is None else prekey.id,
            prekey=None if prekey is None else prekey.pair.public,
        )

    def establish(self, peer: ProtocolAddress, bundle: PreKeyBundle) -> None:
        """Start a session with `peer` from its bundle; it becomes the current one, a former one is archived (CTR-08).

        Raises: InvalidSignature, InvalidKey, UntrustedIdentity. Source: X3DH, section 3.3.
        """
        # Check
        _check_peer(peer)
        if type(bundle) is not PreKeyBundle:
            raise InvalidArgument("bundle is a PreKeyBundle")
        # Derive
        session = x3dh.initiate(
            identity=self._identity,
            registration_id=self._registration_id,
            bundle=bundle,
            rng=self._rng,
            now=self._now(),
        )

        # Commit
        def store_session(approved: bool) -> None:
            with self._store.transaction() as tx:
                rows = PeerRows(tx, peer, self._memos)
                if self._is_first_use(rows, bundle.identity_key, approved):
                    rows.pin(bundle.identity_key)
                rows.add(session)
            rows.remember()

        self._with_decision(peer.name, bundle.identity_key, store_session)

    def has_session(self, peer: ProtocolAddress) -> bool:
        """Whether `encrypt` would find a session with `peer` under its pinned identity."""
        _check_peer(peer)
        with self._store.transaction() as tx:
            session = next(PeerRows(tx, peer, self._memos).candidates(), None)
        return session is not None

    # -- messages -----------------------------------------------------------------------------------------------------

    def encrypt(self, peer: ProtocolAddress, plaintext: bytes) -> EncryptedMessage:
        """Encrypt at most 262,128 bytes for `peer`.

        Raises: NoSession, MessageTooLarge, StaleSession, CounterExhausted. Source: Double Ratchet, section 3.4.
        """
        # Check
        _check_peer(peer)
        if type(plaintext) is not bytes:
            raise InvalidArgument("a plaintext is bytes")
        if len(plaintext) > MAX_PLAINTEXT_BYTES:
            raise MessageTooLarge(f"a plaintext has at most {MAX_PLAINTEXT_BYTES} bytes")
        with self._store.transaction() as tx:
            rows = PeerRows(tx, peer, self._memos)
            session = next(rows.candidates(), None)
            if session is None:
                raise NoSession("there is no session with this address")
            # Derive
            stepped, message = cipher.encrypt(session, plaintext, clock=self._now)
            # Commit
            rows.save(stepped)
        rows.remember()
        return message

    def decrypt(self, peer: ProtocolAddress, message: EncryptedMessage) -> bytes:
        """Decrypt a message that came from `peer`; a prekey message may build the session first.

        Raises: MalformedMessage, MessageTooLarge, UnknownVersion, InvalidKey (parsing); UntrustedIdentity, BadMac,
        InvalidCiphertext (authentication); NoSession, DuplicateMessage, TooFarAhead, WorkLimitExceeded,
        UnknownPreKey, UnknownSignedPreKey, ReplayedPreKeyMessage, SeenBaseKeysFull (state).
        Source: Double Ratchet, section 3.5; X3DH, section 3.4.
        """
        # Check
        _check_peer(peer)
        if type(message) is not EncryptedMessage:
            raise InvalidArgument("a message is an EncryptedMessage")
        if message.type is MessageType.PREKEY:
            parsed = decode_prekey_message(message.serialized)
            return self._with_decision(
                peer.name, parsed.identity_key, lambda approved: self._decrypt_prekey(peer, parsed, approved)
            )
        inner = decode_signal_message(message.serialized)
        with self._store.transaction() as tx:
            rows = PeerRows(tx, peer, self._memos)
            # Derive
            opened = cipher.open_message(rows.candidates(), inner, rows.kept)
            # Commit
            rows.apply(double_ratchet.advance(opened.session, opened.derived, rng=self._rng))
        rows.remember()
        return opened.plaintext

    def _decrypt_prekey(self, peer: ProtocolAddress, message: PreKeySignalMessage, approved: bool) -> bytes:
        with self._store.transaction() as tx:
            rows = PeerRows(tx, peer, self._memos)
            if rows.has_session(message.base_key):
                plaintext = self._decrypt_repeated(rows, message)
            else:
                plaintext = self._decrypt_first(tx, rows, message, approved)
        rows.remember()
        return plaintext

    def _decrypt_repeated(self, rows: PeerRows, message: PreKeySignalMessage) -> bytes:
        """A prekey message of a session that is there: its inner message, on that session alone."""
        # Check: the outer identity is the session's, and that one is (still) the pinned one (IDC-04, IDC-08).
        session = rows.session(message.base_key.data)
        if message.identity_key != session.remote_identity or message.identity_key != rows.pinned():
            raise UntrustedIdentity("the identity in the message is not the pinned one of its session")
        # Derive
        opened = cipher.open_message([session], message.message, rows.kept)
        # Commit
        rows.apply(double_ratchet.advance(opened.session, opened.derived, rng=self._rng))
        return opened.plaintext

    def _decrypt_first(self, tx: Transaction, rows: PeerRows, message: PreKeySignalMessage, approved: bool) -> bytes:
        """A prekey message that builds a session. Source: X3DH, section 3.4."""
        # Check
        pinned = rows.pinned()
        if pinned is not None and pinned != message.identity_key:
            raise UntrustedIdentity("the identity in the message is not the pinned one")
        signed_prekey = prekeys.find_signed_prekey(tx, message)
        prekey = prekeys.find_prekey(tx, message)
        # Derive
        session = x3dh.respond(
            identity=self._identity,
            registration_id=self._registration_id,
            signed_prekey=signed_prekey,
            prekey=prekey,
            message=message,
        )
        opened = cipher.open_message([session], message.message, rows.kept)
        # Check: only an identity that is authenticated by now is worth a question, and worth a pin (IDC-06).
        if self._is_first_use(rows, message.identity_key, approved):
            rows.pin(message.identity_key)
        # Commit
        advanced = double_ratchet.advance(opened.session, opened.derived, rng=self._rng)
        prekeys.spend(tx, message)
        rows.keep(advanced)
        rows.add(advanced.session)
        return opened.plaintext

    # -- identities ---------------------------------------------------------------------------------------------------

    def trust_identity(self, name: str, key: PublicKey) -> None:
        """Record the decision that `key` is the identity of `name`, and pin it, instead of another one if need be.

        Sessions made under another identity are then used neither for encryption nor for decryption.
        """
        # Check
        peer = _address_of(name)
        if type(key) is not PublicKey:
            raise InvalidArgument("an identity is a PublicKey")
        # Commit
        with self._store.transaction() as tx:
            PeerRows(tx, peer, self._memos).pin(key)

    def pinned_identity(self, name: str) -> PublicKey | None:
        """The identity that is pinned for `name`, or None."""
        peer = _address_of(name)
        with self._store.transaction() as tx:
            return PeerRows(tx, peer, self._memos).pinned()

    def _is_first_use(self, rows: PeerRows, key: PublicKey, approved: bool) -> bool:
        """Whether `key` is to be pinned now. Raises: UntrustedIdentity; _FirstUse if it is to be asked for."""
        pinned = rows.pinned()
        if pinned is not None:
            # A pinned identity changes by a recorded decision only (IDC-01).
            if pinned != key:
                raise UntrustedIdentity("the identity is not the pinned one")
            return False
        # Without an approval nothing is pinned, and no session comes into being (IDC-02).
        if not approved:
            raise _FirstUse
        return True

    def _with_decision(self, name: str, key: PublicKey, step: Callable[[bool], T]) -> T:
        """Run `step`, which is one transaction; where it meets a first use, ask outside of it and run it again."""
        try:
            return step(self._policy.trusts_unasked)
        except _FirstUse:
            pass
        self._policy.approve(name, key)
        return step(True)

    def _now(self) -> int:
        now = self._clock()
        # A record holds the time in 63 bits.
        if type(now) is not int or not 0 <= now < 2**63:
            raise InvalidArgument("the clock must return Unix time in whole seconds")
        return now


def _check_callable(value: object, text: str) -> None:
    if not callable(value):
        raise InvalidArgument(text)


def _check_peer(peer: ProtocolAddress) -> None:
    if type(peer) is not ProtocolAddress:
        raise InvalidArgument("a peer is a ProtocolAddress")


def _address_of(name: str) -> ProtocolAddress:
    """Some address of `name`: the pinned identity is that of all its devices. Raises: InvalidArgument."""
    return ProtocolAddress(name, 0)
