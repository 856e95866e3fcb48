"""Counters and replay: controls that break CTR."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from pawl import Device, EncryptedMessage, MessageType, ProtocolAddress, ProtocolError
from pawl.errors import BadMac, DuplicateMessage
from pawl.session import double_ratchet, prekeys, x3dh
from pawl.session.prekeys import id_key
from pawl.session.rows import PeerRows
from pawl.storage.contract import Row, Store, Table, Transaction
from pawl.wire.messages import PreKeySignalMessage, decode_prekey_message
from pawl_gate.controls.catalogue import control, slip
from pawl_gate.controls.edits import Edit
from pawl_gate.controls.variants import Wrapped, WrappedVariant
from pawl_gate.targets.passing import PassingTransaction
from pawl_gate.targets.variant import Setup, Variant


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


# -- on the sending side ----------------------------------------------------------------------------------------------

slip(
    "counter-not-advanced",
    "CTR-01",
    "The counter of the sending chain stays where it is after a message.",
    Edit(double_ratchet.send, "counter + 1)", "counter)"),
)
slip(
    "counter-from-one",
    "CTR-01",
    "The first message of a session has the counter 1.",
    Edit(x3dh.initiate, "SendingChain(ratchet, ChainKey(chain), 0)", "SendingChain(ratchet, ChainKey(chain), 1)"),
)

slip(
    "ratchet-key-reused",
    "CTR-01",
    "A ratchet step makes no new ratchet key: the next chain has the name of the last one, and counts from 0 again.",
    Edit(double_ratchet._start_chain, "KeyPair.generate(rng)", "session.sending.ratchet"),
)


class _EverySecond:
    """A store that writes a session only every second time; in between it is in memory alone."""

    def __init__(self, durable: Store) -> None:
        self._durable = durable
        self._held: dict[bytes, bytes] = {}

    def transaction(self) -> AbstractContextManager[Transaction]:
        """See `Store`."""
        return self._transaction()

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        held = dict(self._held)
        with self._durable.transaction() as inner:
            yield _HoldsBack(inner, held)
        self._held = held

    def close(self) -> None:
        """See `Store`."""
        self._durable.close()


class _HoldsBack(PassingTransaction):
    def __init__(self, inner: Transaction, held: dict[bytes, bytes]) -> None:
        super().__init__(inner)
        self._held = held

    def get(self, table: Table, key: bytes) -> Row | None:
        row = super().get(table, key)
        if table is Table.SESSION and row is not None and key in self._held:
            return Row(self._held[key], row.version)
        return row

    def put(self, table: Table, key: bytes, value: bytes, *, version: int) -> int:
        if table is Table.SESSION and version and key not in self._held:
            self._held[key] = value
            # Something is written, so that what is wrong is the session alone.
            former = super().get(table, key)
            return super().put(table, key, b"" if former is None else former.value, version=version)
        self._held.pop(key, None)
        return super().put(table, key, value, version=version)


@control("session-written-every-second-time", "CTR-02")
class SessionWrittenEverySecondTime(Variant):
    """The session is written every second time only: a restart takes the counter back by one."""

    def store(self, durable: Store) -> Store:
        """A store that holds sessions back."""
        return _EverySecond(durable)


# -- on the receiving side --------------------------------------------------------------------------------------------

slip(
    "receiving-chain-stays",
    "CTR-03",
    "A chain on which a message came in order stays where it was.",
    Edit(
        double_ratchet.advance,
        "made(ReceivingChain, (chain.ratchet_key, ChainKey(derived.chain_key), derived.counter + 1, chain.kept))",
        "chain",
    ),
)
slip(
    "due-message-taken-for-old",
    "CTR-04",
    "The counter that is due is compared with `<=`: the next message is taken for one that came before.",
    Edit(double_ratchet.derive, "elif counter < chain.counter:", "elif counter <= chain.counter:"),
)
slip(
    "jump-unbounded",
    "CTR-04",
    "The distance to the next expected counter is not bounded.",
    Edit(double_ratchet.cost, "if counter - due > MAX_FORWARD_JUMP:", "if counter - due > MAX_COUNTER:"),
)
slip(
    "jump-bound-off-by-one",
    "CTR-04",
    "The largest jump that is allowed is refused.",
    Edit(double_ratchet.cost, "if counter - due > MAX_FORWARD_JUMP:", "if counter - due >= MAX_FORWARD_JUMP:"),
)
slip(
    "skipped-keys-not-kept",
    "CTR-04",
    "The keys of messages that were passed over are not kept.",
    Edit(double_ratchet.derive, "tuple(skipped), root_key)", "(), root_key)"),
)
slip(
    "skipped-keys-misnumbered",
    "CTR-04",
    "The keys of messages that were passed over are kept one position too far.",
    Edit(double_ratchet.derive, "skipped.append((passed, seed))", "skipped.append((passed + 1, seed))"),
)
slip(
    "kept-keys-one-short",
    "CTR-04",
    "Of a long jump one key less is kept than stated.",
    Edit(
        double_ratchet.derive,
        "oldest_kept = counter - MAX_SKIPPED_KEYS_PER_CHAIN",
        "oldest_kept = counter - MAX_SKIPPED_KEYS_PER_CHAIN + 1",
    ),
)
slip(
    "newest-chain-only",
    "CTR-04",
    "A message is looked for on the newest receiving chain alone.",
    Edit(double_ratchet.find_chain, "in session.receiving:", "in session.receiving[:1]:"),
)
slip(
    "current-session-only",
    "CTR-04",
    "Archived sessions are not tried.",
    Edit(PeerRows.candidates, "map(self.session, self._base_keys)", "map(self.session, self._base_keys[:1])"),
)
slip(
    "step-with-the-former-key",
    "CTR-04",
    "The second half of a ratchet step agrees with the former ratchet key, while the new one goes out.",
    Edit(double_ratchet._start_chain, "agree(ratchet.private,", "agree(session.sending.ratchet.private,"),
)
slip(
    "root-key-stays",
    "CTR-04",
    "A ratchet step does not replace the root key.",
    Edit(double_ratchet._start_chain, "RootKey(root_key)", "session.root_key"),
)


class _SpendsEarly(Wrapped):
    def decrypt(self, peer: ProtocolAddress, message: EncryptedMessage) -> bytes:
        try:
            return super().decrypt(peer, message)
        except BadMac:
            if message.type is MessageType.PREKEY:
                self._spend(decode_prekey_message(message.serialized))
            raise

    def _spend(self, message: PreKeySignalMessage) -> None:
        """As if the prekey had been deleted when it was found, not when the message was authenticated."""
        with self.store.transaction() as rows:
            key = b"" if message.prekey_id is None else id_key(message.prekey_id)
            row = rows.get(Table.PREKEY, key)
            if row is not None:
                rows.delete(Table.PREKEY, key, version=row.version)


@control("prekey-spent-before-the-mac", "CTR-05")
class PreKeySpentBeforeTheMac(WrappedVariant):
    """A one-time prekey is deleted although the message that names it is not authentic."""

    wrapper = _SpendsEarly


# -- first messages and sessions --------------------------------------------------------------------------------------

slip(
    "base-key-not-remembered",
    "CTR-06",
    "The base key of a session without a one-time prekey is not remembered.",
    Edit(prekeys.spend, 'tx.put(Table.SEEN_BASE_KEY, seen_key(message), b"", version=0)', "pass"),
)
slip(
    "base-keys-forgotten-with-the-session",
    "CTR-06",
    "Forgetting a session forgets the base keys that were seen, too.",
    Edit(
        PeerRows.forget,
        "self._tx.delete(Table.SESSION_INDEX, self._address, version=self._index_version)",
        """self._tx.delete(Table.SESSION_INDEX, self._address, version=self._index_version)
        for key, row in self._tx.scan(Table.SEEN_BASE_KEY, b""):
            self._tx.delete(Table.SEEN_BASE_KEY, key, version=row.version)""",
    ),
)
slip(
    "base-keys-forgotten-at-rotation",
    "CTR-06",
    "The base keys seen under a signed prekey are forgotten when it is superseded, not when it is deleted.",
    Edit(
        prekeys.rotate_signed_prekey,
        "former = old.id",
        """former = old.id
        for seen, seen_row in tx.scan(Table.SEEN_BASE_KEY, key):
            tx.delete(Table.SEEN_BASE_KEY, seen, version=seen_row.version)""",
    ),
)
slip(
    "late-message-promotes",
    "CTR-07",
    "Any message of an archived session makes it the current one.",
    Edit(PeerRows.apply, "if starts_chain and", "if"),
)
slip(
    "second-session-refused",
    "CTR-08",
    "A first message is refused where there is a session already.",
    Edit(
        Device._take_prekey,
        "message = self._id_zero_read(tx, peer, rows, message)",
        """if rows._base_keys:
            from pawl.errors import NoSession
            raise NoSession("there is a session already")
        message = self._id_zero_read(tx, peer, rows, message)""",
    ),
)


class _RemembersInMemory:
    """A store whose memory of base keys is not written."""

    def __init__(self, durable: Store) -> None:
        self._durable = durable
        self._seen: dict[bytes, Row] = {}

    def transaction(self) -> AbstractContextManager[Transaction]:
        """See `Store`."""
        return self._transaction()

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        seen = dict(self._seen)
        with self._durable.transaction() as inner:
            yield _SeenInMemory(inner, seen)
        self._seen = seen

    def close(self) -> None:
        """See `Store`."""
        self._durable.close()


class _SeenInMemory(PassingTransaction):
    def __init__(self, inner: Transaction, seen: dict[bytes, Row]) -> None:
        super().__init__(inner)
        self._seen = seen

    def get(self, table: Table, key: bytes) -> Row | None:
        return self._seen.get(key) if table is Table.SEEN_BASE_KEY else super().get(table, key)

    def put(self, table: Table, key: bytes, value: bytes, *, version: int) -> int:
        if table is not Table.SEEN_BASE_KEY:
            return super().put(table, key, value, version=version)
        self._seen[key] = Row(value, version + 1)
        return version + 1


@control("base-keys-lost-at-restart", "CTR-06")
class BaseKeysLostAtRestart(Variant):
    """The base keys that were seen are held in memory alone."""

    def store(self, durable: Store) -> Store:
        """A store that forgets them at a restart."""
        return _RemembersInMemory(durable)


slip(
    "base-key-order-unchecked",
    "CTR-06",
    "A base key with a part of small order is taken: a copy under another spelling is another session.",
    Edit(x3dh.respond, "require_prime_order(message.base_key)", "pass"),
)
