"""What a device does with what it receives: messages, one by one and in batches, and the application's rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from pawl.address import ProtocolAddress
from pawl.application import ApplicationRows, HookTrouble, run_hook
from pawl.device_base import Decided, DeviceBase, check_batch, check_peer
from pawl.errors import Conflict, InvalidArgument, InvalidKey, ProtocolError, UntrustedIdentity, WorkLimitExceeded
from pawl.events import CallbackFailed, CompatibilityUsed, MessageRefused, MessagesRolledBack, SessionEstablished
from pawl.limits import MAX_KEPT_PER_BATCH
from pawl.retry import again, retried
from pawl.session import cipher, double_ratchet, prekeys, x3dh
from pawl.session.rows import Memos, PeerRows
from pawl.storage.contract import Transaction
from pawl.wire.messages import (
    EncryptedMessage,
    MessageType,
    PreKeySignalMessage,
    SignalMessage,
    decode_prekey_message,
    decode_signal_message,
)

T = TypeVar("T")

_SIGNAL: Final = MessageType.SIGNAL
"""Asked of its Enum once, not for each message."""


class ReceivingDevice(DeviceBase):
    """See `Device`."""

    def decrypt(self, peer: ProtocolAddress, message: EncryptedMessage) -> bytes:
        """Decrypt a message that came from `peer`; a prekey message may build the session first.

        Raises: MalformedMessage, MessageTooLarge, UnknownVersion, InvalidKey (parsing); UntrustedIdentity, BadMac,
        InvalidCiphertext (authentication); NoSession, DuplicateMessage, TooFarAhead, WorkLimitExceeded,
        UnknownPreKey, UnknownSignedPreKey, ReplayedPreKeyMessage, SeenBaseKeysFull (state); ApplicationCallbackFailed
        (`store_plaintext`).
        Source: Double Ratchet, section 3.5; X3DH, section 3.4.
        """
        # Check
        check_peer(peer)
        if type(message) is not EncryptedMessage:
            raise InvalidArgument("a message is an EncryptedMessage")
        untyped = False
        try:
            if message.type is _SIGNAL:
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
                self._tell([CallbackFailed("store_plaintext", refusal.why), MessagesRolledBack(peer, 1)])
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
        check_peer(peer)
        check_batch(messages)
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
        self, peer: ProtocolAddress, messages: Sequence[SignalMessage | PreKeySignalMessage], decided: Decided | None
    ) -> list[bytes]:
        taken: list[tuple[PeerRows, bytes]] = []
        added = 0
        try:
            with self._store.transaction() as tx:
                for number, message in enumerate(messages, 1):
                    try:
                        taken.append(self._take(tx, peer, message, decided))
                        # The next message then finds its session decoded.
                        taken[-1][0].remember()
                        added += taken[-1][0].added
                        # The work of a batch is bounded like that of a message: it keeps other writers out.
                        if added > MAX_KEPT_PER_BATCH:
                            raise WorkLimitExceeded("the batch passes over too many messages; decrypt them one by one")
                    except ProtocolError as refusal:
                        refusal.add_note(f"it is message {number} of the batch")
                        raise
        except BaseException as error:
            # Of what was rolled back nothing may stay in memory.
            self._memos = Memos()
            # A conflict has an event of its own.
            if taken and not isinstance(error, Conflict):
                self._tell([MessagesRolledBack(peer, len(taken))])
            raise
        self._tell([event for rows, _ in taken for event in rows.events])
        return [plaintext for _, plaintext in taken]

    def _take(
        self,
        tx: Transaction,
        peer: ProtocolAddress,
        message: SignalMessage | PreKeySignalMessage,
        decided: Decided | None,
    ) -> tuple[PeerRows, bytes]:
        if isinstance(message, PreKeySignalMessage):
            return self._take_prekey(tx, peer, message, decided)
        return self._take_signal(tx, peer, message)

    def _decrypt_signal(self, peer: ProtocolAddress, message: SignalMessage) -> bytes:
        # As `retried`, for a call whose arguments are known.
        try:
            return self._signal_step(peer, message)
        except Conflict:
            pass
        return again(self, partial(self._signal_step, peer, message))

    def _signal_step(self, peer: ProtocolAddress, message: SignalMessage) -> bytes:
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
    def _decrypt_prekey(self, peer: ProtocolAddress, message: PreKeySignalMessage, decided: Decided | None) -> bytes:
        with self._store.transaction() as tx:
            rows, plaintext = self._take_prekey(tx, peer, message, decided)
        rows.remember()
        self._tell(rows.events)
        return plaintext

    def _take_prekey(
        self, tx: Transaction, peer: ProtocolAddress, message: PreKeySignalMessage, decided: Decided | None
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
        self, tx: Transaction, rows: PeerRows, message: PreKeySignalMessage, decided: Decided | None
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
