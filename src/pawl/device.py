"""The device: the transactional shell around the pure core, and the library's public API.

Each call is one transaction: load, call the core, write what it returns, commit (ATM-01), and only then hand the result
out (ATM-02). A refusal rolls everything back (CTR-05). A device may be shared between threads, and a store between
processes, as far as the store allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeVar

from pawl.address import ProtocolAddress
from pawl.announced import announced
from pawl.application import ApplicationRows, HookTrouble, StorePlaintext, run_hook
from pawl.compatibility import STRICT, Compatibility
from pawl.crypto.keys import PublicKey
from pawl.errors import (
    Conflict,
    InvalidArgument,
    InvalidKey,
    MessageTooLarge,
    NoSession,
    ProtocolError,
    UnknownIdentity,
    UntrustedIdentity,
)
from pawl.events import (
    CallbackFailed,
    CompatibilityUsed,
    Event,
    IdentityRejected,
    MessageRefused,
    OnEvent,
    SessionEstablished,
    tell,
)
from pawl.fingerprint import SafetyNumber, safety_number
from pawl.identity import CallbackTrouble, IdentityPolicy
from pawl.limits import MAX_BATCH, MAX_DEVICE_ID, MAX_PLAINTEXT_BYTES, MAX_PREKEY_BATCH, SIGNED_PREKEY_ROTATION_SECONDS
from pawl.retry import again, retried
from pawl.session import cipher, double_ratchet, prekeys, x3dh
from pawl.session.bundle import PreKeyBundle, PublicPreKey, PublicSignedPreKey
from pawl.session.rows import Memos, PeerRows
from pawl.sources import Clock, Rng, system_clock, system_rng
from pawl.storage.contract import Store, Table, Transaction
from pawl.wire.messages import (
    EncryptedMessage,
    MessageType,
    PreKeySignalMessage,
    SignalMessage,
    decode_prekey_message,
    decode_signal_message,
    read_key,
)
from pawl.wire.records import LocalIdentity, SignedPreKey

T = TypeVar("T")

TRUST_ON_FIRST_USE: Final = IdentityPolicy()
"""The default policy: the first identity seen for a name is pinned without a question."""


@dataclass(frozen=True, slots=True)
class _Decided:
    """The identity at hand may be pinned in the place of exactly `pinned` (None: where nothing is pinned)."""

    pinned: PublicKey | None
    how: str
    """As the event says it."""


class _Undecided(Exception):
    """Whether an identity may be pinned is for the policy: rolls the transaction back, so that it is asked."""

    def __init__(self, pinned: PublicKey | None) -> None:
        super().__init__()
        self.pinned = pinned


@dataclass(frozen=True, slots=True)
class Maintenance:
    """What `Device.maintain` did, and what is to be published now."""

    rotated: PublicSignedPreKey | None
    """The new signed prekey; None: the current one is young enough."""
    new_prekeys: tuple[PublicPreKey, ...]
    deleted_signed_prekeys: tuple[int, ...]
    """Ids."""


class Device:
    """One device: its identity, its prekeys and its sessions, kept in `store`.

    A store without a device gets a new one: an identity key pair and a registration id of 1 to 16380. `on_event` is
    called with each `Event` (see `pawl.events`); without it they go to the logger "pawl". `rng` and `clock` are where
    all randomness and time come from.

    `store_plaintext(peer, plaintext, rows)` is called for each message that `decrypt` reads, when all else is done and
    before it is committed: what it writes to `rows`, an `ApplicationRows`, becomes durable together with the message's
    key being spent, so that a crash loses no message. It returns None, in its caller's thread, without a time limit,
    and does not call the library: the store is its own until it returns. If it raises or answers, the message is not
    read, and can be decrypted again later.

    Whatever is refused raises a subclass of `ProtocolError` and changes nothing; besides what each method names, every
    one raises InvalidArgument for a wrong type and StorageError (or a subclass: CorruptStore, StoreBusy, StoreClosed,
    Conflict) for trouble with the store.
    """

    def __init__(
        self,
        store: Store,
        *,
        identity_policy: IdentityPolicy = TRUST_ON_FIRST_USE,
        compatibility: Compatibility = STRICT,
        on_event: OnEvent | None = None,
        store_plaintext: StorePlaintext | None = None,
        rng: Rng = system_rng,
        clock: Clock = system_clock,
    ) -> None:
        # Check
        _check_callable(getattr(store, "transaction", None), "a store has transactions")
        if type(identity_policy) is not IdentityPolicy:
            raise InvalidArgument("identity_policy is an IdentityPolicy")
        if type(compatibility) is not Compatibility:
            raise InvalidArgument("compatibility is a Compatibility")
        if on_event is not None:
            _check_callable(on_event, "on_event is a callable or None")
        if store_plaintext is not None:
            _check_callable(store_plaintext, "store_plaintext is a callable or None")
        _check_callable(rng, "rng is a callable")
        _check_callable(clock, "clock is a callable")
        self._store = announced(store, on_event)
        self._policy = identity_policy
        self._compatibility = compatibility
        self._on_event = on_event
        self._hook = store_plaintext
        self._rng = rng
        self._clock = clock
        self._memos = Memos()
        local = self._open_local()
        self._identity = local.pair
        self._registration_id = local.registration_id

    @retried
    def _open_local(self) -> LocalIdentity:
        with self._store.transaction() as tx:
            return prekeys.open_local(tx, self._rng)

    @property
    def identity_key(self) -> PublicKey:
        """This device's identity: the same for the whole life of the store."""
        return self._identity.public

    @property
    def registration_id(self) -> int:
        """1 to 16380, the same for the whole life of the store."""
        return self._registration_id

    # -- setting up ---------------------------------------------------------------------------------------------------

    @retried
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
        events: list[Event] = []
        with self._store.transaction() as tx:
            signed = prekeys.current_signed_prekey(tx, events, rng=self._rng, now=now)
            prekey = prekeys.new_prekeys(tx, events, 1, rng=self._rng)[0] if one_time else None
        self._tell(events)
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
        def store_session(decided: _Decided | None) -> None:
            with self._store.transaction() as tx:
                rows = PeerRows(tx, peer, self._memos)
                self._admit(rows, bundle.identity_key, decided)
                rows.add(session)
            rows.remember()
            self._tell([*rows.events, SessionEstablished(peer, "initiator", bundle.prekey is not None)])

        def store_retried(decided: _Decided | None) -> None:
            try:
                store_session(decided)
            except Conflict:
                again(self, partial(store_session, decided))

        # A question is about the address' name, for a bundle and for a message alike (IDC-07).
        self._with_decision(peer.name, bundle.identity_key, store_retried)

    def parse_public_key(self, peer: ProtocolAddress, data: bytes) -> PublicKey:
        """The public key in `data`, 33 bytes, of a bundle of `peer`; 32 bytes only with `untyped_public_keys` (IDC-09).

        Raises: InvalidKey.
        """
        # Check
        _check_peer(peer)
        try:
            return PublicKey.deserialize(data)
        except InvalidKey:
            if not self._compatibility.untyped_public_keys:
                raise
        key = read_key(data)
        self._tell([CompatibilityUsed("untyped_public_keys", peer)])
        return key

    @retried
    def forget_session(self, peer: ProtocolAddress) -> None:
        """Delete all sessions with `peer`, current and archived, with the keys kept for them; none is no refusal.

        The pinned identity stays, and so does the memory that refuses replayed prekey messages (CTR-06). Sessions whose
        records are damaged are deleted too, unread.
        """
        _check_peer(peer)
        with self._store.transaction() as tx:
            rows = PeerRows(tx, peer, self._memos)
            rows.forget()
        rows.remember()
        self._tell(rows.events)

    @retried
    def has_session(self, peer: ProtocolAddress) -> bool:
        """Whether `encrypt` would find a session with `peer` under its pinned identity."""
        _check_peer(peer)
        with self._store.transaction() as tx:
            session = next(PeerRows(tx, peer, self._memos).candidates(), None)
        return session is not None

    # -- prekeys ------------------------------------------------------------------------------------------------------

    @retried
    def signed_prekey(self) -> PublicSignedPreKey:
        """The current signed prekey, made at the first call; to be published. Source: X3DH, section 3.2."""
        events: list[Event] = []
        now = self._now()
        with self._store.transaction() as tx:
            made = prekeys.current_signed_prekey(tx, events, rng=self._rng, now=now)
        self._tell(events)
        return _public_signed(made)

    @retried
    def rotate_signed_prekey(self) -> PublicSignedPreKey:
        """Make a new signed prekey the current one; to be published at once.

        The former one serves messages in flight for SIGNED_PREKEY_GRACE_SECONDS more. Those past their grace are
        deleted, with the base keys that were remembered under them (KEY-07). Source: X3DH, section 3.2.
        """
        events: list[Event] = []
        now = self._now()
        with self._store.transaction() as tx:
            made = prekeys.rotate_signed_prekey(tx, events, rng=self._rng, now=now)
            prekeys.delete_expired(tx, events, now=now)
        self._tell(events)
        return _public_signed(made)

    @retried
    def generate_prekeys(self, count: int) -> list[PublicPreKey]:
        """Make 1 to 1,000 one-time prekeys; to be published. Raises: PreKeysFull. Source: X3DH, section 3.2."""
        # Check
        if type(count) is not int or not 1 <= count <= MAX_PREKEY_BATCH:
            raise InvalidArgument(f"a batch has 1 to {MAX_PREKEY_BATCH} prekeys")
        # Derive and commit
        events: list[Event] = []
        with self._store.transaction() as tx:
            made = prekeys.new_prekeys(tx, events, count, rng=self._rng)
        self._tell(events)
        return [PublicPreKey(prekey.id, prekey.pair.public) for prekey in made]

    @retried
    def prekey_count(self) -> int:
        """How many one-time prekeys are held."""
        with self._store.transaction() as tx:
            return tx.count(Table.PREKEY, b"")

    @retried
    def maintain(self, *, top_up: int = 0, rotate_after: int = SIGNED_PREKEY_ROTATION_SECONDS) -> Maintenance:
        """What is to be done from time to time, such as once a day, in one transaction; publish what it returns.

        Makes one-time prekeys until there are `top_up` (0 to 1,000), rotates a signed prekey that is `rotate_after`
        seconds old or older, and deletes signed prekeys past their grace.
        """
        # Check
        if type(top_up) is not int or not 0 <= top_up <= MAX_PREKEY_BATCH:
            raise InvalidArgument(f"top_up is an int of 0 to {MAX_PREKEY_BATCH}")
        if type(rotate_after) is not int or rotate_after < 0:
            raise InvalidArgument("rotate_after is a number of seconds")
        now = self._now()
        # Derive and commit
        events: list[Event] = []
        rotated, fresh = None, []
        with self._store.transaction() as tx:
            current = prekeys.current_signed_prekey(tx, events, rng=self._rng, now=now)
            if now - current.created_at >= rotate_after:
                rotated = prekeys.rotate_signed_prekey(tx, events, rng=self._rng, now=now)
            deleted = prekeys.delete_expired(tx, events, now=now)
            if (missing := top_up - tx.count(Table.PREKEY, b"")) > 0:
                fresh = prekeys.new_prekeys(tx, events, missing, rng=self._rng)
        self._tell(events)
        return Maintenance(
            None if rotated is None else _public_signed(rotated),
            tuple(PublicPreKey(prekey.id, prekey.pair.public) for prekey in fresh),
            tuple(deleted),
        )

    # -- messages -----------------------------------------------------------------------------------------------------

    @retried
    def encrypt(self, peer: ProtocolAddress, plaintext: bytes) -> EncryptedMessage:
        """Encrypt at most 262,128 bytes for `peer`.

        Raises: NoSession, MessageTooLarge, StaleSession, CounterExhausted. Source: Double Ratchet, section 3.4.
        """
        # Check
        _check_peer(peer)
        _check_plaintext(plaintext)
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

    @retried
    def encrypt_many(self, peer: ProtocolAddress, plaintexts: Sequence[bytes]) -> list[EncryptedMessage]:
        """Encrypt 1 to 1,000 plaintexts for `peer`, in order, in one transaction: all of them, or none.

        Raises: what `encrypt` raises.
        """
        # Check
        _check_peer(peer)
        _check_batch(plaintexts)
        for plaintext in plaintexts:
            _check_plaintext(plaintext)
        messages: list[EncryptedMessage] = []
        with self._store.transaction() as tx:
            rows = PeerRows(tx, peer, self._memos)
            session = next(rows.candidates(), None)
            if session is None:
                raise NoSession("there is no session with this address")
            # Derive
            for plaintext in plaintexts:
                session, message = cipher.encrypt(session, plaintext, clock=self._now)
                messages.append(message)
            # Commit
            rows.save(session)
        rows.remember()
        return messages

    def decrypt(self, peer: ProtocolAddress, message: EncryptedMessage) -> bytes:
        """Decrypt a message that came from `peer`; a prekey message may build the session first.

        Raises: MalformedMessage, MessageTooLarge, UnknownVersion, InvalidKey (parsing); UntrustedIdentity, BadMac,
        InvalidCiphertext (authentication); NoSession, DuplicateMessage, TooFarAhead, WorkLimitExceeded,
        UnknownPreKey, UnknownSignedPreKey, ReplayedPreKeyMessage, SeenBaseKeysFull (state); ApplicationCallbackFailed
        (`store_plaintext`).
        Source: Double Ratchet, section 3.5; X3DH, section 3.4.
        """
        # Check
        _check_peer(peer)
        if type(message) is not EncryptedMessage:
            raise InvalidArgument("a message is an EncryptedMessage")
        untyped = False
        try:
            if message.type is MessageType.SIGNAL:
                try:
                    signal = decode_signal_message(message.serialized)
                except InvalidKey as refusal:
                    signal, untyped = self._parse_untyped(decode_signal_message, message.serialized, refusal), True
                plaintext = self._decrypt_signal(peer, signal)
            else:
                try:
                    first = decode_prekey_message(message.serialized)
                except InvalidKey as refusal:
                    first, untyped = self._parse_untyped(decode_prekey_message, message.serialized, refusal), True
                step = partial(self._decrypt_prekey, peer, first)
                plaintext = self._with_decision(peer.name, first.identity_key, step)
        except ProtocolError as refusal:
            if isinstance(refusal, HookTrouble):
                self._tell([CallbackFailed("store_plaintext", refusal.why)])
            self._tell([MessageRefused(peer, refusal.code)])
            raise
        if untyped:
            self._tell([CompatibilityUsed("untyped_public_keys", peer)])
        return plaintext

    def _parse_untyped(self, decode: Callable[..., T], data: bytes, refusal: InvalidKey) -> T:
        """The message, where an option allows what the strict reading answered with `refusal`. Raises: InvalidKey."""
        # The strict reading comes first, and is the only one where no option allows another (IDC-09).
        if not self._compatibility.untyped_public_keys:
            raise refusal
        return decode(data, untyped_keys=True)

    def decrypt_many(self, peer: ProtocolAddress, messages: Sequence[EncryptedMessage]) -> list[bytes]:
        """Decrypt 1 to 1,000 messages that came from `peer`, in order, in one transaction: all of them, or none.

        One that is refused refuses all, and a note of the exception says which: decrypt them one by one then. A batch
        that names two identities is refused by UntrustedIdentity.

        Raises: what `decrypt` raises.
        """
        # Check
        _check_peer(peer)
        _check_batch(messages)
        for message in messages:
            if type(message) is not EncryptedMessage:
                raise InvalidArgument("a message is an EncryptedMessage")
        try:
            parsed = [self._parse(message) for message in messages]
            read = [each for each, _ in parsed]
            step = partial(self._decrypt_batch, peer, read)
            identities = {each.identity_key for each in read if isinstance(each, PreKeySignalMessage)}
            # There is one question, and one answer, for all.
            if len(identities) > 1:
                raise UntrustedIdentity("the batch names two identities")
            plaintexts = self._with_decision(peer.name, identities.pop(), step) if identities else step(None)
        except ProtocolError as refusal:
            if isinstance(refusal, HookTrouble):
                self._tell([CallbackFailed("store_plaintext", refusal.why)])
            self._tell([MessageRefused(peer, refusal.code)])
            raise
        self._tell([CompatibilityUsed("untyped_public_keys", peer) for _, untyped in parsed if untyped])
        return plaintexts

    def _parse(self, message: EncryptedMessage) -> tuple[SignalMessage | PreKeySignalMessage, bool]:
        """The message, and whether only an option allowed to read it."""
        decode: Callable[..., SignalMessage | PreKeySignalMessage] = decode_prekey_message
        if message.type is MessageType.SIGNAL:
            decode = decode_signal_message
        try:
            return decode(message.serialized), False
        except InvalidKey as refusal:
            return self._parse_untyped(decode, message.serialized, refusal), True

    @retried
    def _decrypt_batch(
        self, peer: ProtocolAddress, messages: Sequence[SignalMessage | PreKeySignalMessage], decided: _Decided | None
    ) -> list[bytes]:
        taken: list[tuple[PeerRows, bytes]] = []
        try:
            with self._store.transaction() as tx:
                for number, message in enumerate(messages, 1):
                    try:
                        taken.append(self._take(tx, peer, message, decided))
                    except ProtocolError as refusal:
                        refusal.add_note(f"it is message {number} of the batch")
                        raise
        except BaseException:
            # Later messages read what the earlier ones wrote: of what was rolled back nothing may stay in memory.
            self._memos = Memos()
            raise
        for rows, _ in taken:
            rows.remember()
        self._tell([event for rows, _ in taken for event in rows.events])
        return [plaintext for _, plaintext in taken]

    def _take(
        self,
        tx: Transaction,
        peer: ProtocolAddress,
        message: SignalMessage | PreKeySignalMessage,
        decided: _Decided | None,
    ) -> tuple[PeerRows, bytes]:
        if isinstance(message, PreKeySignalMessage):
            return self._take_prekey(tx, peer, message, decided)
        return self._take_signal(tx, peer, message)

    @retried
    def _decrypt_signal(self, peer: ProtocolAddress, message: SignalMessage) -> bytes:
        with self._store.transaction() as tx:
            rows, plaintext = self._take_signal(tx, peer, message)
        rows.remember()
        if rows.events:
            self._tell(rows.events)
        return plaintext

    def _take_signal(self, tx: Transaction, peer: ProtocolAddress, message: SignalMessage) -> tuple[PeerRows, bytes]:
        rows = PeerRows(tx, peer, self._memos)
        # Derive
        opened = cipher.open_message(rows.candidates(), message, rows.kept)
        # Commit
        rows.apply(double_ratchet.advance(opened.session, opened.derived, rng=self._rng, count=rows.count_kept))
        self._store_plaintext(tx, peer, opened.plaintext)
        return rows, opened.plaintext

    @retried
    def _decrypt_prekey(self, peer: ProtocolAddress, message: PreKeySignalMessage, decided: _Decided | None) -> bytes:
        with self._store.transaction() as tx:
            rows, plaintext = self._take_prekey(tx, peer, message, decided)
        rows.remember()
        self._tell(rows.events)
        return plaintext

    def _take_prekey(
        self, tx: Transaction, peer: ProtocolAddress, message: PreKeySignalMessage, decided: _Decided | None
    ) -> tuple[PeerRows, bytes]:
        rows = PeerRows(tx, peer, self._memos)
        if rows.has_session(message.base_key):
            plaintext = self._decrypt_repeated(rows, message)
        else:
            message = self._id_zero_read(tx, peer, rows, message)
            plaintext = self._decrypt_first(tx, rows, message, decided)
            rows.events.append(SessionEstablished(peer, "responder", message.prekey_id is not None))
        self._store_plaintext(tx, peer, plaintext)
        return rows, plaintext

    def _store_plaintext(self, tx: Transaction, peer: ProtocolAddress, plaintext: bytes) -> None:
        # Last of all, in the message's own transaction: a plaintext is stored exactly if its message is read (ATM-09).
        if self._hook is not None:
            run_hook(self._hook, tx, peer, plaintext)

    def _id_zero_read(
        self, tx: Transaction, peer: ProtocolAddress, rows: PeerRows, message: PreKeySignalMessage
    ) -> PreKeySignalMessage:
        """`message`; naming none instead of the prekey 0, if that is not there and the option is on (IDC-09)."""
        if message.prekey_id != 0 or not self._compatibility.prekey_id_zero_as_absent:
            return message
        # A prekey 0 that is there is one like any other.
        if prekeys.is_held(tx, 0):
            return message
        rows.events.append(CompatibilityUsed("prekey_id_zero_as_absent", peer))
        return replace(message, prekey_id=None)

    def _decrypt_repeated(self, rows: PeerRows, message: PreKeySignalMessage) -> bytes:
        """A prekey message of a session that is there: its inner message, on that session alone."""
        # Check: the outer identity is the session's, and that one is (still) the pinned one (IDC-04, IDC-08).
        session = rows.session(message.base_key.data)
        if message.identity_key != session.remote_identity or message.identity_key != rows.pinned():
            raise UntrustedIdentity("the identity in the message is not the pinned one of its session")
        # Derive
        opened = cipher.open_message([session], message.message, rows.kept)
        # Commit
        rows.apply(double_ratchet.advance(opened.session, opened.derived, rng=self._rng, count=rows.count_kept))
        return opened.plaintext

    def _decrypt_first(
        self, tx: Transaction, rows: PeerRows, message: PreKeySignalMessage, decided: _Decided | None
    ) -> bytes:
        """A prekey message that builds a session. Source: X3DH, section 3.4."""
        # Check: where nobody would be asked about another identity, nothing is computed for it.
        pinned = rows.pinned()
        if pinned is not None and pinned != message.identity_key and self._policy.on_mismatch is None:
            raise UntrustedIdentity("the identity in the message is not the pinned one")
        signed_prekey = prekeys.find_signed_prekey(tx, message, clock=self._now)
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
        self._admit(rows, message.identity_key, decided)
        # Commit
        advanced = double_ratchet.advance(opened.session, opened.derived, rng=self._rng, count=rows.count_kept)
        prekeys.spend(tx, rows.events, message)
        rows.keep(advanced)
        rows.add(advanced.session)
        return opened.plaintext

    @contextmanager
    def application_rows(self) -> Iterator[ApplicationRows]:
        """The application's own rows, in one transaction: committed when the block ends.

        It is rolled back when the block raises, or when the store refused what it asked for.

        Here what `store_plaintext` wrote is found again, also after a crash. As the store is held meanwhile, the block
        does not call the library. It may be used without a hook.
        """
        with self._store.transaction() as tx:
            rows = ApplicationRows(tx)
            try:
                yield rows
            finally:
                rows.close()
            rows.check()

    # -- identities ---------------------------------------------------------------------------------------------------

    @retried
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
            rows = PeerRows(tx, peer, self._memos)
            rows.pin(key, "decision")
        self._tell(rows.events)

    @retried
    def pinned_identity(self, name: str) -> PublicKey | None:
        """The identity that is pinned for `name`, or None."""
        peer = _address_of(name)
        with self._store.transaction() as tx:
            return PeerRows(tx, peer, self._memos).pinned()

    def safety_number(
        self, name: str, *, local_identifier: bytes, remote_identifier: bytes, version: int = 2
    ) -> SafetyNumber:
        """The safety number of this device's identity and the one that is pinned for `name` (see `safety_number`).

        Raises: UnknownIdentity.
        """
        remote_key = self.pinned_identity(name)
        # Without a pinned identity there is nothing to compare.
        if remote_key is None:
            raise UnknownIdentity("no identity is pinned for this name")
        return safety_number(
            local_identifier=local_identifier,
            local_key=self._identity.public,
            remote_identifier=remote_identifier,
            remote_key=remote_key,
            version=version,
        )

    def _admit(self, rows: PeerRows, key: PublicKey, decided: _Decided | None) -> None:
        """`key` is the pinned identity from now on, if it is not already. Raises: _Undecided."""
        pinned = rows.pinned()
        if pinned == key:
            return
        # An answer counts only for the identity that it was given about, in the place of that very one (IDC-01).
        if decided is None or decided.pinned != pinned:
            raise _Undecided(pinned)
        rows.pin(key, decided.how)

    def _with_decision(self, name: str, key: PublicKey, step: Callable[[_Decided | None], T]) -> T:
        """Run `step`, which is one transaction; where it meets an open question, ask outside of it and run it again."""
        try:
            try:
                return step(_Decided(None, "first-use") if self._policy.trusts_unasked else None)
            except _Undecided as undecided:
                pinned = undecided.pinned
            self._policy.decide(name, pinned, key)
            try:
                return step(_Decided(pinned, "approved"))
            except _Undecided:
                raise UntrustedIdentity("the pinned identity changed while the policy was asked") from None
        except UntrustedIdentity as refusal:
            if isinstance(refusal, CallbackTrouble):
                self._tell([CallbackFailed(refusal.callback, refusal.why)])
            self._tell([IdentityRejected(name, key, self.pinned_identity(name))])
            raise

    def _tell(self, events: Sequence[Event]) -> None:
        if events:
            tell(events, self._on_event)

    def _now(self) -> int:
        now = self._clock()
        # A record holds the time in 63 bits.
        if type(now) is not int or not 0 <= now < 2**63:
            raise InvalidArgument("the clock must return Unix time in whole seconds")
        return now


def _public_signed(prekey: SignedPreKey) -> PublicSignedPreKey:
    return PublicSignedPreKey(prekey.id, prekey.pair.public, prekey.signature)


def _check_callable(value: object, text: str) -> None:
    if not callable(value):
        raise InvalidArgument(text)


def _check_peer(peer: ProtocolAddress) -> None:
    if type(peer) is not ProtocolAddress:
        raise InvalidArgument("a peer is a ProtocolAddress")


def _check_plaintext(plaintext: bytes) -> None:
    if type(plaintext) is not bytes:
        raise InvalidArgument("a plaintext is bytes")
    if len(plaintext) > MAX_PLAINTEXT_BYTES:
        raise MessageTooLarge(f"a plaintext has at most {MAX_PLAINTEXT_BYTES} bytes")


def _check_batch(batch: Sequence[object]) -> None:
    if type(batch) not in (list, tuple) or not 1 <= len(batch) <= MAX_BATCH:
        raise InvalidArgument(f"a batch is a list or tuple of 1 to {MAX_BATCH}")


def _address_of(name: str) -> ProtocolAddress:
    """Some address of `name`: the pinned identity is that of all its devices. Raises: InvalidArgument."""
    return ProtocolAddress(name, 0)
