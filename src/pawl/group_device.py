"""Groups, as a device takes part in them: the transactional shell around the pure core of `pawl.group`.

Each call is one transaction, as in `pawl.device`. A chain is given to members through the sessions with them, in the
transaction that notes who was given it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias
from uuid import UUID

from pawl.address import ProtocolAddress
from pawl.application import HookTrouble, StorePlaintext, run_hook
from pawl.crypto.keys import require_prime_order
from pawl.device_base import DeviceBase, check_callable, check_peer, check_plaintext
from pawl.errors import (
    ApplicationCallbackFailed,
    InvalidArgument,
    MembersWithoutSession,
    ProtocolError,
    StaleSession,
    WrongGroup,
)
from pawl.events import (
    CallbackFailed,
    DistributionRefused,
    Event,
    GroupForgotten,
    GroupMessageRefused,
    MessagesRolledBack,
    SenderKeyGiven,
)
from pawl.group import cipher, own, sender_key
from pawl.group.own import OwnRows
from pawl.group.received import SenderRows
from pawl.group.state import OwnGroup, ReceivedChain, SendingKey
from pawl.limits import MAX_GROUP_MEMBERS, MAX_PLAINTEXT_BYTES
from pawl.retry import retried
from pawl.session import cipher as session_cipher
from pawl.session.rows import PeerRows
from pawl.storage.contract import Transaction
from pawl.wire.group_messages import (
    GroupLayout,
    SenderKeyMessage,
    check_distribution_id,
    decode_distribution,
    decode_sender_key_message,
    encode_distribution,
)
from pawl.wire.messages import EncryptedMessage

Wrap: TypeAlias = Callable[[bytes], bytes]
"""Puts a distribution into the application's own envelope: bytes in, the plaintext of a message of a session out."""


@dataclass(frozen=True, slots=True)
class MemberMessage:
    """One's own chain for one member, encrypted on the session with it; to be sent before the group message."""

    peer: ProtocolAddress
    message: EncryptedMessage
    chain_id: int
    """Of the chain in it."""


@dataclass(frozen=True, slots=True)
class GroupSend:
    """What `Group.send` made: send each of `distributions` to its member, then `message` to all members."""

    distributions: tuple[MemberMessage, ...]
    """Empty if every member is known to have the chain."""
    message: bytes


class Group:
    """One group, as a device takes part in it; made by `Device.group`. It holds nothing: all is in the device's store.

    It may be shared between threads, as the device may. Whatever is refused raises a subclass of `ProtocolError` and
    changes nothing; every method raises InvalidArgument and StorageError as those of `Device` do.
    """

    def __init__(
        self,
        device: DeviceBase,
        distribution_id: UUID,
        *,
        layout: GroupLayout,
        wrap: Wrap | None,
        store_plaintext: StorePlaintext | None,
    ) -> None:
        # Check
        check_distribution_id(distribution_id)
        if type(layout) is not GroupLayout:
            raise InvalidArgument("layout is a GroupLayout")
        if wrap is not None:
            check_callable(wrap, "wrap is a callable or None")
        if store_plaintext is not None:
            check_callable(store_plaintext, "store_plaintext is a callable or None")
        self._device = device
        self.distribution_id: Final = distribution_id
        """Names the group in its messages and in the store."""
        self._layout = layout
        self._wrap = wrap
        self._hook = store_plaintext
        self._named = distribution_id if layout is GroupLayout.CURRENT else None
        """As it stands in messages."""

    # -- members ------------------------------------------------------------------------------------------------------

    @retried
    def set_members(self, members: Collection[ProtocolAddress]) -> None:
        """Make these 0 to 5,000 addresses the members: every device that is to read, of one's own the others.

        If somebody who was given the present chain is none of them any more, a new chain is begun at once, so that no
        later message is for that one. Whoever is new is given the present chain with the next `send`, and
        reads nothing older.
        """
        # Check
        if type(members) not in (list, tuple, set, frozenset) or len(members) > MAX_GROUP_MEMBERS:
            raise InvalidArgument(f"members are a list, tuple or set of at most {MAX_GROUP_MEMBERS}")
        for member in members:
            check_peer(member)
        # Commit
        with self._device._store.transaction() as tx:
            rows = self._own(tx)
            rows.set_members(members)
        self._done(rows)

    @retried
    def members(self) -> list[ProtocolAddress]:
        """The members, in ascending order."""
        with self._device._store.transaction() as tx:
            return self._own(tx).members()

    def send(self, plaintext: bytes) -> GroupSend:
        """Encrypt at most 262,128 bytes for all members, and one's own chain for each that is not known to have it.

        Call `delivered` with the distributions that were handed to the network: until then each `send` makes them
        again, which does no harm. The message is read by whoever took the distribution first.

        Raises: NoMembers, MembersWithoutSession (with the addresses), MessageTooLarge, CounterExhausted,
        ApplicationCallbackFailed (`wrap`).
        """
        # Check
        check_plaintext(plaintext)
        try:
            return self._send(plaintext)
        except WrapTrouble as refusal:
            self._tell([CallbackFailed("wrap", refusal.why)])
            raise

    @retried
    def _send(self, plaintext: bytes) -> GroupSend:
        sessions: list[PeerRows] = []
        with self._device._store.transaction() as tx:
            rows = self._own(tx)
            group = rows.group_with_members()
            # Derive
            given = self._give(tx, rows, group, sessions) if group.waiting else ()
            stepped, message = self._encrypt(group, plaintext)
            # Commit
            rows.step(group, stepped)
        for each in sessions:
            each.remember()
        self._done(rows)
        if given:
            self._tell([SenderKeyGiven(self.distribution_id, len(given))])
        return GroupSend(given, message)

    @retried
    def delivered(self, distributions: Sequence[MemberMessage]) -> None:
        """These distributions, of a `send`, are on their way for certain: they are not made again.

        Those of a chain that was rotated since, and of whoever is no member any more, are passed over.
        """
        # Check
        if type(distributions) not in (list, tuple):
            raise InvalidArgument("distributions are a list or tuple")
        for each in distributions:
            if type(each) is not MemberMessage:
                raise InvalidArgument("a distribution is a MemberMessage")
        # Commit
        with self._device._store.transaction() as tx:
            rows = self._own(tx)
            for chain_id in {each.chain_id for each in distributions}:
                rows.delivered([each.peer for each in distributions if each.chain_id == chain_id], chain_id)
        self._done(rows)

    @retried
    def undelivered(self, peer: ProtocolAddress) -> None:
        """A member says that it cannot read: the next `send` gives it the chain again. No member: nothing to do."""
        check_peer(peer)
        with self._device._store.transaction() as tx:
            rows = self._own(tx)
            rows.undelivered(peer)
        self._done(rows)

    def _give(
        self, tx: Transaction, rows: OwnRows, group: OwnGroup, sessions: list[PeerRows]
    ) -> tuple[MemberMessage, ...]:
        """One's own chain for each that waits for it. Raises: MembersWithoutSession, ApplicationCallbackFailed."""
        chain_id = group.sending.chain_id
        plaintext = self._wrapped(encode_distribution(cipher.distribution(group.sending, self._named)))
        made: list[MemberMessage] = []
        without: list[ProtocolAddress] = []
        for address, version in rows.waiting(group):
            peer = PeerRows(tx, address, self._device._memos)
            session = next(peer.candidates(), None)
            # A session is used only under the pinned identity, and not for ever without an answer.
            try:
                encrypted = None
                if session is not None:
                    encrypted = session_cipher.encrypt(session, plaintext, clock=self._device._now)
            except StaleSession:
                encrypted = None
            if session is None or encrypted is None:
                without.append(address)
                continue
            peer.save(encrypted[0])
            rows.given(address, version, group, session.remote_identity)
            sessions.append(peer)
            made.append(MemberMessage(address, encrypted[1], chain_id))
        # Whoever cannot read is not left out silently.
        if without:
            raise MembersWithoutSession("some members cannot be given the chain", tuple(without))
        return tuple(made)

    def _wrapped(self, distribution: bytes) -> bytes:
        if self._wrap is None:
            return distribution
        try:
            plaintext = self._wrap(distribution)
        except Exception as error:
            raise WrapTrouble("raised") from error
        if type(plaintext) is not bytes or len(plaintext) > MAX_PLAINTEXT_BYTES:
            raise WrapTrouble("bad-answer")
        return plaintext

    # -- sending by hand ----------------------------------------------------------------------------------------------

    @retried
    def create_distribution(self) -> bytes:
        """One's own chain, made at the first call, as it is now: whoever gets it reads from the next message on.

        It is secret, and goes to members through sessions only; `send` does that by itself. Who was given it here is
        not kept: an application that gives chains by hand calls `rotate` when somebody is to read no longer.
        """
        with self._device._store.transaction() as tx:
            rows = self._own(tx)
            sending = rows.group_or_new().sending
        self._done(rows)
        return encode_distribution(cipher.distribution(sending, self._named))

    @retried
    def encrypt(self, plaintext: bytes) -> bytes:
        """Encrypt at most 262,128 bytes on one's own chain, whoever has it.

        Raises: NoSenderKey (before the first chain), MessageTooLarge, CounterExhausted.
        """
        # Check
        check_plaintext(plaintext)
        with self._device._store.transaction() as tx:
            rows = self._own(tx)
            group = rows.group()
            # Derive
            stepped, message = self._encrypt(group, plaintext)
            # Commit
            rows.step(group, stepped)
        self._done(rows)
        return message

    @retried
    def rotate(self) -> None:
        """Begin a new chain, with a new key that signs it: whoever has the old one reads nothing that comes.

        Every member is given it with the next `send`. A chain goes one way and never heals: rotate from time to time,
        so that whoever took the state of a member reads for so long only.
        """
        with self._device._store.transaction() as tx:
            rows = self._own(tx)
            rows.rotate("demand")
        self._done(rows)

    def _encrypt(self, group: OwnGroup, plaintext: bytes) -> tuple[SendingKey, bytes]:
        return cipher.encrypt(group.sending, self._named, plaintext, rng=self._device._rng)

    # -- receiving ----------------------------------------------------------------------------------------------------

    def process(self, sender: ProtocolAddress, distribution: bytes) -> None:
        """Take the chain that came from `sender`, decrypted and authenticated by the session with it.

        One that is held already stays where it is, so that it does no harm to take a distribution twice (GRP-03). At
        most 5 chains of a sender are held. That `sender` may send into this group is for the application to know.

        Raises: MalformedMessage, MessageTooLarge, UnknownVersion, InvalidKey, WrongGroup, RetiredSenderKey,
        SenderKeysFull.
        """
        # Check
        check_peer(sender)
        if type(distribution) is not bytes:
            raise InvalidArgument("a distribution is bytes")
        try:
            given = decode_distribution(distribution, layout=self._layout)
            self._check_named(given.distribution_id)
            # A key that can verify nothing, or has several spellings, is none (IDC-05).
            require_prime_order(given.signing_key)
            chain = ReceivedChain(given.chain_id, given.signing_key, given.chain_key, given.iteration, 0)
            self._process(sender, chain)
        except ProtocolError as refusal:
            self._tell([DistributionRefused(sender, self.distribution_id, refusal.code)])
            raise

    @retried
    def _process(self, sender: ProtocolAddress, chain: ReceivedChain) -> None:
        with self._device._store.transaction() as tx:
            rows = self._sender(tx, sender)
            rows.accept(chain)
        self._done(rows)

    def decrypt(self, sender: ProtocolAddress, message: bytes) -> bytes:
        """Decrypt a group message that came from `sender`.

        Raises: MalformedMessage, MessageTooLarge, UnknownVersion (parsing); WrongGroup; NoSenderKey, InvalidSignature,
        InvalidCiphertext (authentication); TooFarAhead, DuplicateMessage; ApplicationCallbackFailed
        (`store_plaintext`).
        """
        # Check
        check_peer(sender)
        if type(message) is not bytes:
            raise InvalidArgument("a group message is bytes")
        try:
            parsed = decode_sender_key_message(message, layout=self._layout)
            self._check_named(parsed.distribution_id)
            return self._decrypt(sender, parsed)
        except ProtocolError as refusal:
            if isinstance(refusal, HookTrouble):
                self._tell([CallbackFailed("store_plaintext", refusal.why), MessagesRolledBack(sender, 1)])
            self._tell([GroupMessageRefused(sender, self.distribution_id, refusal.code)])
            raise

    @retried
    def _decrypt(self, sender: ProtocolAddress, message: SenderKeyMessage) -> bytes:
        with self._device._store.transaction() as tx:
            rows = self._sender(tx, sender)
            keys = rows.chains()
            # Derive
            opened = cipher.open_message(keys, message, rows.kept)
            # Commit
            rows.apply(sender_key.advance(keys, opened.derived, count=rows.count_kept))
            # Last of all, in the message's own transaction: a plaintext is stored exactly if its message is read
            # (ATM-09).
            if self._hook is not None:
                run_hook(self._hook, tx, sender, opened.plaintext)
        self._done(rows)
        return opened.plaintext

    def _check_named(self, distribution_id: UUID | None) -> None:
        # The signature, or the session, vouches for the group that is named: it is the one that was asked (GRP-05).
        if distribution_id != self._named:
            raise WrongGroup("the distribution id is that of another group")

    # -- leaving ------------------------------------------------------------------------------------------------------

    @retried
    def forget_sender(self, sender: ProtocolAddress) -> None:
        """Let the chains of `sender` go, as of somebody who is no member any more: what it sends is read no longer.

        They cannot come back by an old distribution. None is no refusal.
        """
        check_peer(sender)
        with self._device._store.transaction() as tx:
            rows = self._sender(tx, sender)
            rows.forget()
        self._done(rows)

    @retried
    def forget(self) -> None:
        """Delete all that is held of the group, damaged rows too, as after leaving it.

        With it goes the memory that refuses old distributions: whoever joins again takes none that was sent before.
        """
        with self._device._store.transaction() as tx:
            deleted = own.forget(tx, self.distribution_id, self._device._group_memos)
        if deleted:
            self._tell([GroupForgotten(self.distribution_id)])

    # -- shared -------------------------------------------------------------------------------------------------------

    def _own(self, tx: Transaction) -> OwnRows:
        return OwnRows(tx, self.distribution_id, self._device._group_memos, self._device._rng)

    def _sender(self, tx: Transaction, sender: ProtocolAddress) -> SenderRows:
        return SenderRows(tx, sender, self.distribution_id, self._device._group_memos)

    def _done(self, rows: OwnRows | SenderRows) -> None:
        """What was written is durable: it is remembered and told."""
        rows.remember()
        if rows.events:
            self._tell(rows.events)

    def _tell(self, events: Sequence[Event]) -> None:
        self._device._tell(events)


class WrapTrouble(ApplicationCallbackFailed):
    """The application's `wrap` gave no plaintext, so that nothing was sent."""

    def __init__(self, why: str) -> None:
        super().__init__(f"nothing was sent: wrap {why}")
        self.why = why
        """"raised" or "bad-answer"."""
