"""`AsyncDevice`: a device whose steps run in worker processes, for asyncio."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar, cast
from uuid import UUID

from pawl.address import ProtocolAddress
from pawl.application import ApplicationRows, StorePlaintext
from pawl.compatibility import STRICT, Compatibility
from pawl.crypto.keys import PublicKey
from pawl.device import Maintenance
from pawl.device_base import TRUST_ON_FIRST_USE, check_batch, check_callable, check_peer, check_plaintext
from pawl.errors import InvalidArgument, MessageTooLarge, PoolClosed, UnknownIdentity
from pawl.events import MessageRefused
from pawl.fingerprint import HALF_BYTES, VERSIONS, SafetyNumber, safety_number
from pawl.group_device import Wrap
from pawl.identity import IdentityPolicy
from pawl.limits import (
    MAX_DEVICE_ID,
    MAX_IDENTIFIER_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_PLAINTEXT_BYTES,
    MAX_PREKEY_BATCH,
    SIGNED_PREKEY_ROTATION_SECONDS,
)
from pawl.session.bundle import PreKeyBundle, PublicPreKey, PublicSignedPreKey
from pawl.sources import Clock, system_clock
from pawl.storage.contract import Store
from pawl.wire.group_messages import GroupLayout
from pawl.wire.messages import EncryptedMessage, MessageType
from pawl.workers import messages
from pawl.workers.desk import Desk
from pawl.workers.group import AsyncGroup
from pawl.workers.job import Job, LaneKey
from pawl.workers.messages import BadAnswer
from pawl.workers.pool import WorkerPool
from pawl.workers.step import bundle_values
from pawl.workers.turns import DeskThread

T = TypeVar("T")

_SMALL: Final = 512
"""Bytes that a job without a text of the caller's counts for."""


class AsyncDevice:
    """A `Device` for asyncio: the same operations, refusals and events; the steps run in the workers of a pool.

    Made by `AsyncDevice.open`. Calls about one peer's name are done in the order in which they were made, those about
    different ones side by side. A result is handed out when what it stands on is durable, as with `Device`.

    Besides what `Device` raises, every method raises WorkerError: Backpressure, JobTimeout, PoisonJob, WorkerCrashed,
    PoolClosed. Nothing was done then. A caller that is cancelled does not know whether its job was done.
    """

    def __init__(self, pool: WorkerPool, desk: Desk) -> None:
        """Not for applications: see `open`."""
        self._pool = pool
        self._desk = desk
        self._sync = desk.device
        self._closed = False

    @classmethod
    async def open(
        cls,
        store: Store,
        pool: WorkerPool,
        *,
        identity_policy: IdentityPolicy = TRUST_ON_FIRST_USE,
        compatibility: Compatibility = STRICT,
        store_plaintext: StorePlaintext | None = None,
        clock: Clock = system_clock,
    ) -> AsyncDevice:
        """The device that is kept in `store`, which stays its caller's to close; see `Device`.

        The store is used by one thread that belongs to the device; there `store_plaintext` is called. The callbacks of
        `identity_policy` are called in threads as well. Randomness is the operating system's.

        Raises: PoolClosed, and what `Device` raises.
        """
        # Check
        if type(pool) is not WorkerPool:
            raise InvalidArgument("pool is a WorkerPool")
        pool.check()
        # Commit
        thread = DeskThread()
        make = partial(
            Desk,
            store,
            identity_policy=identity_policy,
            compatibility=compatibility,
            store_plaintext=store_plaintext,
            clock=clock,
        )
        try:
            desk = await thread.run(make)
            pool.attach(desk)
        except BaseException:
            thread.close()
            raise
        desk.thread = thread
        return cls(pool, desk)

    async def close(self) -> None:
        """Take no more calls, and return when those that were made have ended. The store stays open."""
        self._closed = True
        await self._pool.drain(self._desk)
        if self._desk.thread is not None:
            self._desk.thread.close()

    @property
    def identity_key(self) -> PublicKey:
        """See `Device.identity_key`."""
        return self._sync.identity_key

    @property
    def registration_id(self) -> int:
        """See `Device.registration_id`."""
        return self._sync.registration_id

    # -- messages -----------------------------------------------------------------------------------------------------

    async def establish(self, peer: ProtocolAddress, bundle: PreKeyBundle) -> None:
        """See `Device.establish`."""
        # Check
        check_peer(peer)
        _check_bundle(bundle)
        await self._work(
            "establish",
            of_peer(peer),
            [peer.name, peer.device_id, bundle_values(bundle)],
            partial(self._sync.establish, peer, bundle),
            finish=_nothing,
            identity=bundle.identity_key,
        )

    async def encrypt(self, peer: ProtocolAddress, plaintext: bytes) -> EncryptedMessage:
        """See `Device.encrypt`."""
        # Check
        check_peer(peer)
        check_plaintext(plaintext)
        return await self._work(
            "encrypt",
            of_peer(peer),
            [peer.name, peer.device_id, plaintext],
            partial(self._sync.encrypt, peer, plaintext),
            finish=read_message,
            size=len(plaintext),
        )

    async def encrypt_many(self, peer: ProtocolAddress, plaintexts: Sequence[bytes]) -> list[EncryptedMessage]:
        """See `Device.encrypt_many`."""
        # Check
        check_peer(peer)
        check_batch(plaintexts)
        for plaintext in plaintexts:
            check_plaintext(plaintext)
        # The caller may change its list meanwhile.
        given = list(plaintexts)
        return await self._work(
            "encrypt_many",
            of_peer(peer),
            [peer.name, peer.device_id, given],
            partial(self._sync.encrypt_many, peer, given),
            finish=partial(_each, read_message, len(given)),
            size=sum(map(len, given)),
        )

    async def decrypt(self, peer: ProtocolAddress, message: EncryptedMessage) -> bytes:
        """See `Device.decrypt`."""
        # Check
        check_peer(peer)
        self._check_message(peer, message)
        return await self._work(
            "decrypt",
            of_peer(peer),
            [peer.name, peer.device_id, [int(message.type), message.serialized]],
            partial(self._sync.decrypt, peer, message),
            finish=read_plaintext,
            size=len(message.serialized),
            hook=self._desk.hook,
        )

    async def decrypt_many(self, peer: ProtocolAddress, encrypted: Sequence[EncryptedMessage]) -> list[bytes]:
        """See `Device.decrypt_many`."""
        # Check
        check_peer(peer)
        check_batch(encrypted)
        given = list(encrypted)
        for message in given:
            self._check_message(peer, message)
        return await self._work(
            "decrypt_many",
            of_peer(peer),
            [peer.name, peer.device_id, [[int(each.type), each.serialized] for each in given]],
            partial(self._sync.decrypt_many, peer, given),
            finish=partial(_each, read_plaintext, len(given)),
            size=sum(len(each.serialized) for each in given),
            hook=self._desk.hook,
        )

    def _check_message(self, peer: ProtocolAddress, message: EncryptedMessage) -> None:
        if type(message) is not EncryptedMessage:
            raise InvalidArgument("a message is an EncryptedMessage")
        # It would be refused for its length by whoever reads it: that costs no slot.
        if len(message.serialized) > MAX_MESSAGE_BYTES:
            self._pool.tell(MessageRefused(peer, MessageTooLarge.code))
            raise MessageTooLarge(f"a message has at most {MAX_MESSAGE_BYTES} bytes")

    # -- sessions and identities --------------------------------------------------------------------------------------

    async def parse_public_key(self, peer: ProtocolAddress, data: bytes) -> PublicKey:
        """See `Device.parse_public_key`."""
        check_peer(peer)
        return await self._here("parse_public_key", of_peer(peer), partial(self._sync.parse_public_key, peer, data))

    async def forget_session(self, peer: ProtocolAddress) -> None:
        """See `Device.forget_session`."""
        check_peer(peer)
        await self._here("forget_session", of_peer(peer), partial(self._sync.forget_session, peer))

    async def has_session(self, peer: ProtocolAddress) -> bool:
        """See `Device.has_session`."""
        check_peer(peer)
        return await self._here("has_session", of_peer(peer), partial(self._sync.has_session, peer))

    async def trust_identity(self, name: str, key: PublicKey) -> None:
        """See `Device.trust_identity`."""
        # Check
        peer = ProtocolAddress(name, 0)
        if type(key) is not PublicKey:
            raise InvalidArgument("an identity is a PublicKey")
        await self._here("trust_identity", of_peer(peer), partial(self._sync.trust_identity, name, key))

    async def pinned_identity(self, name: str) -> PublicKey | None:
        """See `Device.pinned_identity`."""
        peer = ProtocolAddress(name, 0)
        return await self._here("pinned_identity", of_peer(peer), partial(self._sync.pinned_identity, name))

    async def safety_number(
        self, name: str, *, local_identifier: bytes, remote_identifier: bytes, version: int = 2
    ) -> SafetyNumber:
        """See `Device.safety_number`."""
        # Check
        if type(version) is not int or version not in VERSIONS:
            raise InvalidArgument("the version of a safety number is 1 or 2")
        for identifier in (local_identifier, remote_identifier):
            if type(identifier) is not bytes or not 1 <= len(identifier) <= MAX_IDENTIFIER_BYTES:
                raise InvalidArgument(f"an identifier is 1 to {MAX_IDENTIFIER_BYTES} bytes")
        remote_key = await self.pinned_identity(name)
        # Without a pinned identity there is nothing to compare.
        if remote_key is None:
            raise UnknownIdentity("no identity is pinned for this name")
        local_key = self.identity_key
        made = partial(
            safety_number,
            local_identifier=local_identifier,
            local_key=local_key,
            remote_identifier=remote_identifier,
            remote_key=remote_key,
            version=version,
        )
        return await self._work(
            "safety_number",
            of_nobody(),
            [local_identifier, local_key.serialize(), remote_identifier, remote_key.serialize(), version],
            made,
            finish=partial(_read_safety_number, version),
        )

    async def verify_bundle(self, bundle: PreKeyBundle) -> None:
        """See `PreKeyBundle.verify`. Raises: InvalidSignature."""
        _check_bundle(bundle)
        await self._work("verify_bundle", of_nobody(), [bundle_values(bundle)], bundle.verify, finish=_nothing)

    # -- prekeys ------------------------------------------------------------------------------------------------------

    async def prekey_bundle(self, *, one_time: bool = True, device_id: int = 1) -> PreKeyBundle:
        """See `Device.prekey_bundle`."""
        # Check
        if type(one_time) is not bool:
            raise InvalidArgument("one_time is a bool")
        if type(device_id) is not int or not 0 <= device_id <= MAX_DEVICE_ID:
            raise InvalidArgument(f"a device id is an int of 0 to {MAX_DEVICE_ID}")
        make = partial(self._sync.prekey_bundle, one_time=one_time, device_id=device_id)
        return await self._here("prekey_bundle", PREKEYS, make)

    async def signed_prekey(self) -> PublicSignedPreKey:
        """See `Device.signed_prekey`."""
        return await self._here("signed_prekey", PREKEYS, self._sync.signed_prekey)

    async def rotate_signed_prekey(self) -> PublicSignedPreKey:
        """See `Device.rotate_signed_prekey`."""
        return await self._here("rotate_signed_prekey", PREKEYS, self._sync.rotate_signed_prekey)

    async def generate_prekeys(self, count: int) -> list[PublicPreKey]:
        """See `Device.generate_prekeys`."""
        # Check
        if type(count) is not int or not 1 <= count <= MAX_PREKEY_BATCH:
            raise InvalidArgument(f"a batch has 1 to {MAX_PREKEY_BATCH} prekeys")
        return await self._here("generate_prekeys", PREKEYS, partial(self._sync.generate_prekeys, count))

    async def prekey_count(self) -> int:
        """See `Device.prekey_count`."""
        return await self._here("prekey_count", PREKEYS, self._sync.prekey_count)

    async def maintain(self, *, top_up: int = 0, rotate_after: int = SIGNED_PREKEY_ROTATION_SECONDS) -> Maintenance:
        """See `Device.maintain`."""
        # Check
        if type(top_up) is not int or not 0 <= top_up <= MAX_PREKEY_BATCH:
            raise InvalidArgument(f"top_up is an int of 0 to {MAX_PREKEY_BATCH}")
        if type(rotate_after) is not int or rotate_after < 0:
            raise InvalidArgument("rotate_after is a number of seconds")
        make = partial(self._sync.maintain, top_up=top_up, rotate_after=rotate_after)
        return await self._here("maintain", PREKEYS, make)

    # -- the application's rows ---------------------------------------------------------------------------------------

    async def with_application_rows(self, work: Callable[[ApplicationRows], T]) -> T:
        """What `work(rows)` returns, called in the store's thread in one transaction: committed unless it raises.

        See `Device.application_rows`. `work` does not call the library; what it raises reaches the caller as it is.
        """
        check_callable(work, "work is a callable")

        def call() -> T:
            with self._sync.application_rows() as rows:
                return work(rows)

        return await self._here("application_rows", ("application", None), call)

    # -- groups -------------------------------------------------------------------------------------------------------

    def group(
        self,
        distribution_id: UUID,
        *,
        layout: GroupLayout = GroupLayout.CURRENT,
        wrap: Wrap | None = None,
        store_plaintext: StorePlaintext | None = None,
    ) -> AsyncGroup:
        """See `Device.group`. `wrap` and `store_plaintext` are called in threads."""
        made = self._sync.group(distribution_id, layout=layout, wrap=wrap, store_plaintext=store_plaintext)
        return AsyncGroup(self, made)

    # -- jobs ---------------------------------------------------------------------------------------------------------

    async def _work(
        self,
        operation: str,
        lane: LaneKey,
        arguments: list[Any],
        direct: Callable[[], T],
        *,
        finish: Callable[[object], T],
        size: int = 0,
        **more: Any,
    ) -> T:
        """What a worker makes of a call, or `direct` itself.

        Every caller has checked its arguments by now: a bad one costs no slot (WRK-05).
        """
        if self._closed:
            raise PoolClosed("the device was closed")
        job = Job(operation, self._desk, lane, direct, size + _SMALL, arguments, finish, **more)
        return cast(T, await self._pool.do(job))

    async def _here(self, operation: str, lane: LaneKey, direct: Callable[[], T]) -> T:
        """What `direct` makes in the store's thread."""
        if self._closed:
            raise PoolClosed("the device was closed")
        return cast(T, await self._pool.do(Job(operation, self._desk, lane, direct, _SMALL)))


PREKEYS: Final[LaneKey] = ("prekeys", None)


def of_peer(peer: ProtocolAddress) -> LaneKey:
    """All devices of a name share one identity, and one order."""
    return ("peer", peer.name)


def of_nobody() -> LaneKey:
    """A lane of its own."""
    return ("alone", object())


def _check_bundle(bundle: PreKeyBundle) -> None:
    if type(bundle) is not PreKeyBundle:
        raise InvalidArgument("bundle is a PreKeyBundle")


# -- results: what a worker sent, checked -----------------------------------------------------------------------------


def _nothing(value: object) -> None:
    if value is not None:
        raise BadAnswer("a result was not expected")


def read_plaintext(value: object) -> bytes:
    """Raises: BadAnswer."""
    return messages.is_bytes(value, MAX_PLAINTEXT_BYTES + 16)


def read_message(value: object) -> EncryptedMessage:
    """Raises: BadAnswer."""
    kind, serialized = messages.is_tuple(value, 2)
    if kind not in (MessageType.SIGNAL, MessageType.PREKEY) or type(kind) is not int:
        raise BadAnswer("a type of message was expected")
    return EncryptedMessage(MessageType(kind), messages.is_bytes(serialized, MAX_MESSAGE_BYTES))


def _each(read: Callable[[object], T], count: int, value: object) -> list[T]:
    return [read(each) for each in messages.is_tuple(value, count)]


def _read_safety_number(version: int, value: object) -> SafetyNumber:
    shown, local, remote = messages.is_tuple(value, 3)
    if shown != version or {len(messages.is_bytes(half, HALF_BYTES)) for half in (local, remote)} != {HALF_BYTES}:
        raise BadAnswer("a safety number was expected")
    return SafetyNumber(version, local, remote)
