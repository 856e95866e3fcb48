"""How a world in this process is put together, and which pieces of it a control may put others in the place of."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from pawl import (
    Compatibility,
    Device,
    EncryptedMessage,
    Group,
    GroupLayout,
    IdentityPolicy,
    Maintenance,
    PreKeyBundle,
    ProtocolAddress,
    PublicSignedPreKey,
)
from pawl.application import StorePlaintext
from pawl.compatibility import STRICT
from pawl.crypto.keys import PublicKey
from pawl.events import OnEvent
from pawl.group_device import Wrap
from pawl.sources import Clock, Rng
from pawl.storage.contract import Store

UNCHANGED: AbstractContextManager[None] = nullcontext()
"""Around what runs as it is. It can be entered any number of times."""


class DeviceLike(Protocol):
    """What the gate uses of `pawl.Device`; a control may put something else in its place."""

    @property
    def identity_key(self) -> PublicKey: ...
    def prekey_bundle(self, *, one_time: bool = True, device_id: int = 1) -> PreKeyBundle: ...
    def parse_public_key(self, peer: ProtocolAddress, data: bytes) -> PublicKey: ...
    def establish(self, peer: ProtocolAddress, bundle: PreKeyBundle) -> None: ...
    def encrypt(self, peer: ProtocolAddress, plaintext: bytes) -> EncryptedMessage: ...
    def decrypt(self, peer: ProtocolAddress, message: EncryptedMessage) -> bytes: ...
    def trust_identity(self, name: str, key: PublicKey) -> None: ...
    def rotate_signed_prekey(self) -> PublicSignedPreKey: ...
    def maintain(self) -> Maintenance: ...
    def forget_session(self, peer: ProtocolAddress) -> None: ...
    def group(
        self,
        distribution_id: UUID,
        *,
        layout: GroupLayout = ...,
        wrap: Wrap | None = None,
        store_plaintext: StorePlaintext | None = None,
    ) -> Group: ...


@dataclass(frozen=True, slots=True)
class Setup:
    """What a device is opened with, beside its store."""

    policy: IdentityPolicy
    rng: Rng
    clock: Clock
    on_event: OnEvent
    compatibility: Compatibility = STRICT
    hook: StorePlaintext | None = None


def open_device(store: Store, setup: Setup) -> Device:
    """The library's device, opened in this way."""
    return Device(
        store,
        identity_policy=setup.policy,
        compatibility=setup.compatibility,
        on_event=setup.on_event,
        store_plaintext=setup.hook,
        rng=setup.rng,
        clock=setup.clock,
    )


class Variant:
    """How a world is put together. The reference is this class; a control overrides one piece of it."""

    name = "pawl"

    def store(self, durable: Store) -> Store:
        """What the device writes to, over what is durable."""
        return durable

    def reopen(self, opened: Callable[[], Store]) -> Store:
        """The store in a medium, which `opened` opens, or refuses."""
        return opened()

    def device(self, store: Store, setup: Setup) -> DeviceLike:
        """The device itself."""
        return open_device(store, setup)

    def patched(self) -> AbstractContextManager[object]:
        """What is changed in the library while one of its operations runs."""
        return UNCHANGED
