"""The device: the transactional shell around the pure core, and the library's public API.

Each call is one transaction: load, call the core, write what it returns, commit (ATM-01), and only then hand the result
out (ATM-02). A refusal rolls everything back (CTR-05). A device may be shared between threads, and a store between
processes, as far as the store allows. What it receives is read in `pawl.receiving`; what all its steps stand on, its
identity included, is in `pawl.device_base`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from pawl.address import ProtocolAddress
from pawl.application import StorePlaintext
from pawl.crypto.keys import PublicKey
from pawl.device_base import Decided, check_batch, check_peer, check_plaintext
from pawl.errors import Conflict, InvalidArgument, InvalidKey, NoSession
from pawl.events import CompatibilityUsed, Event, SessionEstablished
from pawl.group_device import Group, Wrap
from pawl.limits import MAX_DEVICE_ID, MAX_PREKEY_BATCH, SIGNED_PREKEY_ROTATION_SECONDS
from pawl.receiving import ReceivingDevice
from pawl.retry import again, retried
from pawl.session import cipher, prekeys, x3dh
from pawl.session.bundle import PreKeyBundle, PublicPreKey, PublicSignedPreKey
from pawl.session.rows import PeerRows
from pawl.storage.contract import Table
from pawl.wire.group_messages import GroupLayout
from pawl.wire.messages import EncryptedMessage, read_key
from pawl.wire.records import SignedPreKey


@dataclass(frozen=True, slots=True)
class Maintenance:
    """What `Device.maintain` did, and what is to be published now."""

    rotated: PublicSignedPreKey | None
    """The new signed prekey; None: the current one is young enough."""
    new_prekeys: tuple[PublicPreKey, ...]
    deleted_signed_prekeys: tuple[int, ...]
    """Ids."""


class Device(ReceivingDevice):
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
        check_peer(peer)
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
        def store_session(decided: Decided | None) -> None:
            with self._store.transaction() as tx:
                rows = PeerRows(tx, peer, self._memos)
                self._admit(rows, bundle.identity_key, decided)
                rows.add(session)
            rows.remember()
            self._tell([*rows.events, SessionEstablished(peer, "initiator", bundle.prekey is not None)])

        def store_retried(decided: Decided | None) -> None:
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
        check_peer(peer)
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
        check_peer(peer)
        with self._store.transaction() as tx:
            rows = PeerRows(tx, peer, self._memos)
            rows.forget()
        rows.remember()
        self._tell(rows.events)

    @retried
    def has_session(self, peer: ProtocolAddress) -> bool:
        """Whether `encrypt` would find a session with `peer` under its pinned identity."""
        check_peer(peer)
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
        check_peer(peer)
        check_plaintext(plaintext)
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
        check_peer(peer)
        check_batch(plaintexts)
        for plaintext in plaintexts:
            check_plaintext(plaintext)
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

    # -- groups -------------------------------------------------------------------------------------------------------

    def group(
        self,
        distribution_id: UUID,
        *,
        layout: GroupLayout = GroupLayout.CURRENT,
        wrap: Wrap | None = None,
        store_plaintext: StorePlaintext | None = None,
    ) -> Group:
        """The group that `distribution_id`, a `uuid.UUID`, names; all its members use the same one.

        `layout`: which fields its messages have. `wrap(distribution)` returns the plaintext in which a chain is given
        to a member, so that the member's application knows it from other messages; without it that is the distribution
        itself. `store_plaintext(sender, plaintext, rows)` is as that of the device, for messages of this group. Both
        are called in the transaction, and do not call the library.
        """
        return Group(self, distribution_id, layout=layout, wrap=wrap, store_plaintext=store_plaintext)


def _public_signed(prekey: SignedPreKey) -> PublicSignedPreKey:
    return PublicSignedPreKey(prekey.id, prekey.pair.public, prekey.signature)
