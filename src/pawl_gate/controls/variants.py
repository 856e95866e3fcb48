"""What broken variants are made of: devices that pass everything on, and functions that are replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from unittest import mock
from uuid import UUID

from pawl import EncryptedMessage, Group, GroupLayout, Maintenance, PreKeyBundle, ProtocolAddress, PublicSignedPreKey
from pawl.crypto import keys
from pawl.crypto.keys import PublicKey
from pawl.storage.contract import Store
from pawl_gate.controls.edits import Edit, edited
from pawl_gate.targets.variant import DeviceLike, Setup, Variant, open_device


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

    def group(self, distribution_id: UUID, *, layout: GroupLayout = GroupLayout.CURRENT) -> Group:
        """See `Device`."""
        return self.inner.group(distribution_id, layout=layout)


class WrappedVariant(Variant):
    """A variant with another device."""

    wrapper: type[Wrapped] = Wrapped

    def device(self, store: Store, setup: Setup) -> DeviceLike:
        """The broken device."""
        return self.wrapper(store, setup)


class Patched(Variant):
    """A variant in which functions of the library are replaced while it runs."""

    patches: tuple[tuple[str, object], ...] = ()

    def patched(self) -> AbstractContextManager[object]:
        """Replace them."""
        stack = ExitStack()
        for place, other in self.patches:
            stack.enter_context(mock.patch(place, other))
        return stack


class Edited(Variant):
    """A variant with slips in the source of the library while it runs."""

    def __init__(self, name: str, edits: Sequence[Edit]) -> None:
        self.name = name
        self._edits = tuple(edits)

    def patched(self) -> AbstractContextManager[object]:
        """Make the slips."""
        return edited(self._edits)


parse_known_key: Callable[[bytes], PublicKey] = keys._known.__wrapped__
"""The function that reads a public key, without its memory of the last ones."""


class ForgetsKeys(Variant):
    """A variant with slips in what reads public keys: what was read before is forgotten, and afterwards too."""

    edits: tuple[Edit, ...] = ()

    @contextmanager
    def _edited(self) -> Iterator[None]:
        keys._known.cache_clear()
        try:
            with edited(self.edits):
                yield
        finally:
            keys._known.cache_clear()

    def patched(self) -> AbstractContextManager[object]:
        """Make the slips."""
        return self._edited()


def anything(*_: object, **__: object) -> None:
    """A check that checks nothing."""
