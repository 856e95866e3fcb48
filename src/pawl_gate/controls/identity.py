"""Identity continuity: controls that break IDC."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pawl import EncryptedMessage, IdentityPolicy, MessageType, PreKeyBundle, ProtocolAddress
from pawl.crypto import xeddsa
from pawl.errors import UntrustedIdentity
from pawl.storage.contract import Store
from pawl.wire.messages import decode_prekey_message
from pawl_gate.controls.catalogue import control
from pawl_gate.controls.variants import Patched, Wrapped, WrappedVariant, anything
from pawl_gate.targets.inprocess import DeviceLike, Setup, Variant


class _TrustsAnyone(Wrapped):
    def establish(self, peer: ProtocolAddress, bundle: PreKeyBundle) -> None:
        try:
            super().establish(peer, bundle)
        except UntrustedIdentity:
            self.trust_identity(peer.name, bundle.identity_key)
            super().establish(peer, bundle)

    def decrypt(self, peer: ProtocolAddress, message: EncryptedMessage) -> bytes:
        try:
            return super().decrypt(peer, message)
        except UntrustedIdentity:
            self.trust_identity(peer.name, decode_prekey_message(message.serialized).identity_key)
            return super().decrypt(peer, message)


@control("identity-change-accepted", "IDC-01")
class IdentityChangeAccepted(WrappedVariant):
    """Another identity key for a known name is taken silently."""

    wrapper = _TrustsAnyone


@control("first-use-unasked", "IDC-02")
class FirstUseUnasked(Variant):
    """Trust on first use cannot be switched off."""

    def device(self, store: Store, setup: Setup) -> DeviceLike:
        """A device that ignores the policy."""
        return super().device(store, replace(setup, policy=IdentityPolicy(trust_on_first_use=True)))


class _PinsEarly(Wrapped):
    def decrypt(self, peer: ProtocolAddress, message: EncryptedMessage) -> bytes:
        if message.type is MessageType.PREKEY and self.inner.pinned_identity(peer.name) is None:
            self.trust_identity(peer.name, decode_prekey_message(message.serialized).identity_key)
        return super().decrypt(peer, message)


@control("pinned-before-authenticated", "IDC-06")
class PinnedBeforeAuthenticated(WrappedVariant):
    """The identity of a prekey message is pinned before the message is authenticated."""

    wrapper = _PinsEarly


@control("signature-unchecked", "IDC-03")
class SignatureUnchecked(Patched):
    """The signed prekey's signature is not verified."""

    patches = ((f"{xeddsa.__name__}.verify", anything),)


class _TakesZeroForNone(Wrapped):
    def decrypt(self, peer: ProtocolAddress, message: EncryptedMessage) -> bytes:
        data = message.serialized
        if message.type is MessageType.PREKEY and data[-2:] == b"\x08\x00":
            # Fields come in any order: here the id is the last one.
            message = EncryptedMessage(message.type, data[:-2])
        return super().decrypt(peer, message)


@control("zero-taken-for-none", "IDC-09")
class ZeroTakenForNone(WrappedVariant):
    """A message that names the one-time prekey 0 is read as naming none, although nobody asked for that."""

    wrapper = _TakesZeroForNone


def _unguarded(what: str, callback: Callable[..., object], arguments: tuple[object, ...], seconds: object) -> object:
    """A question without a guard."""
    return callback(*arguments)


@control("callback-unguarded", "IDC-10")
class CallbackUnguarded(Patched):
    """What a callback of the application raises comes out as it is."""

    patches = (("pawl.identity._ask", _unguarded),)


@control("asked-under-another-name", "IDC-07")
class AskedUnderAnotherName(Variant):
    """A trust question names the address, not the name that its identity is pinned under."""

    def device(self, store: Store, setup: Setup) -> DeviceLike:
        """A device whose questions are about "name.1"."""
        first = setup.policy.on_first_use
        if first is not None:
            setup = replace(setup, policy=replace(setup.policy, on_first_use=lambda name, key: first(name + ".1", key)))
        return super().device(store, setup)
