"""Identity continuity: controls that break IDC."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from unittest import mock

from pawl import Device, EncryptedMessage, IdentityPolicy, MessageType, PreKeyBundle, ProtocolAddress
from pawl.crypto import kdf, xeddsa
from pawl.crypto.keys import agree
from pawl.errors import UntrustedIdentity
from pawl.events import tell
from pawl.session.rows import PeerRows
from pawl.storage.contract import Store
from pawl.wire.messages import decode_prekey_message
from pawl_gate.controls.catalogue import control, slip
from pawl_gate.controls.edits import Edit, getter
from pawl_gate.controls.variants import ForgetsKeys, Patched, Wrapped, WrappedVariant, anything, parse_known_key
from pawl_gate.targets.variant import DeviceLike, Setup, Variant


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


# -- pins -------------------------------------------------------------------------------------------------------------

slip(
    "identity-compared-by-type-byte",
    "IDC-01",
    "Identities are compared by the first byte of what goes over the wire, which is the same for all.",
    Edit(
        Device._admit,
        "if pinned == key:",
        "if pinned is not None and pinned.serialize()[:1] == key.serialize()[:1]:",
    ),
)
slip(
    "bundle-identity-not-compared",
    "IDC-01",
    "The identity of a bundle is pinned without a look at what is pinned.",
    Edit(Device.establish, "self._admit(rows, bundle.identity_key, decided)", 'rows.pin(bundle.identity_key, "")'),
)
slip(
    "silence-is-consent",
    "IDC-02",
    "Without a callback a first use is approved, whatever the policy says.",
    Edit(
        IdentityPolicy._decide_first_use,
        'raise UntrustedIdentity("the identity is new, and a first use is not trusted")',
        "return",
    ),
)
slip(
    "application-not-asked",
    "IDC-02",
    "Where a first use is trusted, the callback that is to decide is not asked.",
    Edit(
        getter(IdentityPolicy, "trusts_unasked"),
        "self.on_first_use is None and self.trust_on_first_use",
        "self.trust_on_first_use",
    ),
)
slip(
    "any-answer-approves",
    "IDC-10",
    "Any answer that is not empty approves a first use.",
    Edit(IdentityPolicy._decide_first_use, "if answer is not True:", "if not answer:"),
)
slip(
    "asked-before-the-mac",
    "IDC-06",
    "The user is asked about an identity before the message that carries it is authenticated.",
    Edit(
        Device._decrypt_first,
        "signed_prekey = prekeys.find_signed_prekey(",
        """self._admit(rows, message.identity_key, decided)
    signed_prekey = prekeys.find_signed_prekey(""",
    ),
)
slip(
    "asked-about-the-former-key",
    "IDC-07",
    "A question about a mismatch takes the pinned key for the new one.",
    Edit(IdentityPolicy._decide_mismatch, "(name, pinned, key)", "(name, key, pinned)"),
)
slip(
    "asked-inside-the-transaction",
    "IDC-10",
    "A trust question is asked while the store is held, so that a callback cannot use the library.",
    Edit(
        Device._admit,
        "raise Undecided(pinned)",
        """self._policy.decide(rows._peer.name, pinned, key)
        rows.pin(key, "approved")
        return""",
    ),
)
slip(
    "event-receiver-unguarded",
    "IDC-10",
    "What the receiver of events raises comes out of the operation, which was committed.",
    Edit(tell, "# Its own text is the application's, and may hold anything.", "raise"),
)

# -- what is authenticated --------------------------------------------------------------------------------------------


class _TrustsKnownBundles(Wrapped):
    def establish(self, peer: ProtocolAddress, bundle: PreKeyBundle) -> None:
        if not self.inner.has_session(peer):
            super().establish(peer, bundle)
            return
        with mock.patch(f"{xeddsa.__name__}.verify", anything):
            super().establish(peer, bundle)


@control("signature-unchecked-later", "IDC-03")
class SignatureUncheckedLater(WrappedVariant):
    """The signed prekey's signature is verified for the first session with a peer, not for later ones."""

    wrapper = _TrustsKnownBundles


slip(
    "outer-identity-unchecked",
    "IDC-04",
    "A repeated first message may name another identity than its session's.",
    Edit(Device._decrypt_repeated, "message.identity_key != session.remote_identity or ", ""),
)
slip(
    "zero-secret-accepted",
    "IDC-05",
    "An agreement that comes to all zeros is used.",
    Edit(agree, 'raise InvalidKey("the shared secret is all zero") from None', "return bytes(32)"),
)


@control("key-type-unchecked", "IDC-05")
class KeyTypeUnchecked(ForgetsKeys):
    """The type byte of a public key is not looked at."""

    edits = (Edit(parse_known_key, " or data[0] != KEY_TYPE_DJB", ""),)


# -- replaced identities and fallbacks --------------------------------------------------------------------------------

slip(
    "retired-sessions-used",
    "IDC-08",
    "Sessions made under a replaced identity still encrypt and decrypt.",
    Edit(PeerRows.candidates, "(session,) if session.remote_identity.data == identity else ()", "(session,)"),
    Edit(
        PeerRows.candidates,
        "filter(lambda session: session.remote_identity.data == identity, map(self.session, self._base_keys))",
        "map(self.session, self._base_keys)",
    ),
)
slip(
    "retired-session-by-base-key",
    "IDC-08",
    "A repeated first message finds its session although the identity of that was replaced.",
    Edit(Device._decrypt_repeated, " or message.identity_key != rows.pinned()", ""),
)
slip(
    "replacement-unsaid",
    "IDC-08",
    "No event says that an identity was replaced.",
    Edit(
        PeerRows.pin,
        "self.events.append(IdentityReplaced(self._peer.name, former, key, how, self._made_under(former)))",
        "pass",
    ),
)
slip(
    "untyped-keys-always-read",
    "IDC-09",
    "Keys without their type byte are read although nobody asked for that.",
    Edit(Device._parse_untyped, "if not self._compatibility.untyped_public_keys:", "if False:"),
)
slip(
    "fallback-unsaid",
    "IDC-09",
    "No event says that a key without its type byte was read.",
    Edit(Device.decrypt, 'self._tell([CompatibilityUsed("untyped_public_keys", peer)])', "pass"),
)
slip(
    "mac-without-identities",
    "IDC-04",
    "The message authentication code is over the message alone, not over the identities.",
    Edit(kdf.message_mac, "sender + receiver + data", "data"),
)
