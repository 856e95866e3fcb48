"""Key deletion: controls that break KEY."""

from __future__ import annotations

from pawl import EncryptedMessage, ProtocolAddress
from pawl.errors import BadMac
from pawl.storage.contract import Store, Table
from pawl_gate.controls.catalogue import control
from pawl_gate.controls.variants import PassingStore, PassingTransaction, Patched, Wrapped, WrappedVariant
from pawl_gate.targets.inprocess import Variant


class _KeepsSkippedKeys(PassingTransaction):
    def delete(self, table: Table, key: bytes, *, version: int) -> None:
        if table is not Table.SKIPPED_KEY:
            super().delete(table, key, version=version)
        elif (row := super().get(table, key)) is not None:
            # Something is written, so that what is wrong is the key alone.
            super().put(table, key, row.value, version=version)


@control("message-key-kept", "KEY-01")
class MessageKeyKept(Variant):
    """A kept message key is not deleted when it was used."""

    def store(self, durable: Store) -> Store:
        """A store that forgets to delete kept keys."""
        return PassingStore(durable, _KeepsSkippedKeys)


class _KeepsPreKeys(PassingTransaction):
    def delete(self, table: Table, key: bytes, *, version: int) -> None:
        if table is not Table.PREKEY:
            super().delete(table, key, version=version)


@control("prekey-kept", "KEY-03")
class PreKeyKept(Variant):
    """A one-time prekey is not deleted when it was used."""

    def store(self, durable: Store) -> Store:
        """A store that forgets to delete prekeys."""
        return PassingStore(durable, _KeepsPreKeys)


def _never(*_: object) -> bool:
    """A time that never comes."""
    return False


@control("signed-prekey-for-ever", "KEY-07")
class SignedPreKeyForEver(Patched):
    """A superseded signed prekey never expires."""

    patches = (("pawl.session.prekeys._is_expired", _never),)


@control("chains-kept", "KEY-04")
class ChainsKept(Patched):
    """Receiving chains are kept far beyond the stated bound."""

    patches = (
        ("pawl.session.double_ratchet.MAX_RECEIVING_CHAINS", 50),
        ("pawl.wire.records.MAX_RECEIVING_CHAINS", 50),
    )


class _SaysItsKey(Wrapped):
    def decrypt(self, peer: ProtocolAddress, message: EncryptedMessage) -> bytes:
        try:
            return super().decrypt(peer, message)
        except BadMac as error:
            raise BadMac(f"{error}: {self.inner._identity.private.data.hex()}") from None


@control("secret-in-a-refusal", "KEY-06")
class SecretInARefusal(WrappedVariant):
    """The text of a refusal holds the identity's private key, for debugging."""

    wrapper = _SaysItsKey
