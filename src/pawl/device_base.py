"""What every step of a device stands on: its store, its identity, the pinned identities, and the policy's decisions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from pawl.address import ProtocolAddress
from pawl.announced import announced
from pawl.application import StorePlaintext
from pawl.compatibility import STRICT, Compatibility
from pawl.crypto.keys import PublicKey
from pawl.errors import InvalidArgument, MessageTooLarge, UnknownIdentity, UntrustedIdentity
from pawl.events import CallbackFailed, Event, IdentityRejected, OnEvent, tell
from pawl.fingerprint import SafetyNumber, safety_number
from pawl.group.received import GroupMemos
from pawl.identity import CallbackTrouble, IdentityPolicy
from pawl.limits import MAX_BATCH, MAX_PLAINTEXT_BYTES
from pawl.retry import retried
from pawl.session import prekeys
from pawl.session.rows import Memos, PeerRows
from pawl.sources import Clock, Rng, system_clock, system_rng
from pawl.storage.contract import Store
from pawl.wire.records import LocalIdentity

T = TypeVar("T")

TRUST_ON_FIRST_USE: Final = IdentityPolicy()
"""The default policy: the first identity seen for a name is pinned without a question."""


@dataclass(frozen=True, slots=True)
class Decided:
    """The identity at hand may be pinned in the place of exactly `pinned` (None: where nothing is pinned)."""

    pinned: PublicKey | None
    how: str
    """As the event says it."""


class Undecided(Exception):
    """Whether an identity may be pinned is for the policy: rolls the transaction back, so that it is asked."""

    def __init__(self, pinned: PublicKey | None) -> None:
        super().__init__()
        self.pinned = pinned


class DeviceBase:
    """See `Device`."""

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
        check_callable(getattr(store, "transaction", None), "a store has transactions")
        if type(identity_policy) is not IdentityPolicy:
            raise InvalidArgument("identity_policy is an IdentityPolicy")
        if type(compatibility) is not Compatibility:
            raise InvalidArgument("compatibility is a Compatibility")
        if on_event is not None:
            check_callable(on_event, "on_event is a callable or None")
        if store_plaintext is not None:
            check_callable(store_plaintext, "store_plaintext is a callable or None")
        check_callable(rng, "rng is a callable")
        check_callable(clock, "clock is a callable")
        self._store = announced(store, on_event)
        self._policy = identity_policy
        self._compatibility = compatibility
        self._on_event = on_event
        self._hook = store_plaintext
        self._rng = rng
        self._clock = clock
        self._memos = Memos()
        self._group_memos = GroupMemos()
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

    def _admit(self, rows: PeerRows, key: PublicKey, decided: Decided | None) -> None:
        """`key` is the pinned identity from now on, if it is not already. Raises: Undecided."""
        pinned = rows.pinned()
        if pinned == key:
            return
        # An answer counts only for the identity that it was given about, in the place of that very one (IDC-01).
        if decided is None or decided.pinned != pinned:
            raise Undecided(pinned)
        rows.pin(key, decided.how)

    def _with_decision(self, name: str, key: PublicKey, step: Callable[[Decided | None], T]) -> T:
        """Run `step`, which is one transaction; where it meets an open question, ask outside of it and run it again."""
        try:
            try:
                return step(Decided(None, "first-use") if self._policy.trusts_unasked else None)
            except Undecided as undecided:
                pinned = undecided.pinned
            self._policy.decide(name, pinned, key)
            try:
                return step(Decided(pinned, "approved"))
            except Undecided:
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


def check_callable(value: object, text: str) -> None:
    """Raises: InvalidArgument, with that text."""
    if not callable(value):
        raise InvalidArgument(text)


def check_peer(peer: ProtocolAddress) -> None:
    """Raises: InvalidArgument."""
    if type(peer) is not ProtocolAddress:
        raise InvalidArgument("a peer is a ProtocolAddress")


def check_batch(batch: Sequence[object]) -> None:
    """A batch is 1 to 1,000 of whatever it is made of. Raises: InvalidArgument."""
    if type(batch) not in (list, tuple) or not 1 <= len(batch) <= MAX_BATCH:
        raise InvalidArgument(f"a batch is a list or tuple of 1 to {MAX_BATCH}")


def check_plaintext(plaintext: bytes) -> None:
    """Raises: InvalidArgument, MessageTooLarge."""
    if type(plaintext) is not bytes:
        raise InvalidArgument("a plaintext is bytes")
    if len(plaintext) > MAX_PLAINTEXT_BYTES:
        raise MessageTooLarge(f"a plaintext has at most {MAX_PLAINTEXT_BYTES} bytes")


def _address_of(name: str) -> ProtocolAddress:
    """Some address of `name`: the pinned identity is that of all its devices. Raises: InvalidArgument."""
    return ProtocolAddress(name, 0)
