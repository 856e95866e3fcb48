"""Key deletion: controls that break KEY."""

from __future__ import annotations

from inspect import unwrap

from pawl import Device, EncryptedMessage, ProtocolAddress
from pawl.crypto import kdf, keys
from pawl.errors import BadMac
from pawl.session import double_ratchet, prekeys
from pawl.session.rows import PeerRows
from pawl.storage.contract import Store, Table
from pawl_gate.controls.catalogue import control, slip
from pawl_gate.controls.edits import Edit
from pawl_gate.controls.variants import Patched, Wrapped, WrappedVariant
from pawl_gate.targets.passing import PassingStore, PassingTransaction
from pawl_gate.targets.variant import Variant


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


slip(
    "sending-chain-key-kept",
    "KEY-02",
    "The key of the sending chain stays as it is after a message.",
    Edit(double_ratchet.send, "ChainKey(next_key)", "chain_key"),
)
slip(
    "receiving-chain-key-kept",
    "KEY-01",
    "The key of a receiving chain stays as it is after a message.",
    Edit(
        double_ratchet.advance,
        "ReceivingChain, (chain.ratchet_key, ChainKey(derived.chain_key)",
        "ReceivingChain, (chain.ratchet_key, chain.chain_key",
    ),
)
slip(
    "chain-key-is-message-key",
    "KEY-02",
    "The next chain key and the message's key are derived with the same constant.",
    Edit(kdf.step_chain, r'b"\x02"', r'b"\x01"'),
)
slip(
    "another-prekey-spent",
    "KEY-03",
    "The oldest one-time prekey is deleted, not the one that was used.",
    Edit(prekeys.spend, "key = id_key(message.prekey_id)", 'key = tx.scan(Table.PREKEY, b"", limit=1)[0][0]'),
)
slip(
    "kept-keys-outlive-their-chain",
    "KEY-04",
    "The keys kept on a chain stay when the chain is dropped.",
    Edit(double_ratchet._start_chain, "dropped=dropped + closed", "dropped=dropped"),
)
slip(
    "kept-keys-outlive-their-session",
    "KEY-04",
    "The keys kept for a session stay when the session is dropped.",
    Edit(PeerRows._delete, "delete_all(self._tx, Table.SKIPPED_KEY, key)", "pass"),
)
slip(
    "secret-in-a-repr",
    "KEY-06",
    "The text form of a secret key shows the key.",
    Edit(keys._Secret.__repr__, "(<redacted>)", "({self.data.hex()})"),
)
slip(
    "secret-in-an-event",
    "KEY-06",
    "The event that says that a prekey was used holds its record.",
    Edit(prekeys.spend, "PreKeySpent(message.prekey_id)", "PreKeySpent(row.value)"),
)
slip(
    "signed-prekey-dropped-at-once",
    "KEY-07",
    "A signed prekey is of no use any more as soon as another takes its place.",
    Edit(prekeys._is_expired, " and now - prekey.superseded_at > SIGNED_PREKEY_GRACE_SECONDS", ""),
)
slip(
    "expired-signed-prekey-read",
    "KEY-07",
    "A signed prekey past its grace still builds sessions until somebody deletes it.",
    Edit(prekeys.find_signed_prekey, " and _is_expired(prekey, clock())", " and False"),
)
slip(
    "expired-signed-prekey-stays",
    "KEY-07",
    "Maintenance does not delete signed prekeys past their grace.",
    Edit(unwrap(Device.maintain), "prekeys.delete_expired(tx, events, now=now)", "[]"),
)
slip(
    "signed-prekey-dropped-early",
    "KEY-07",
    "A signed prekey is dropped on the last day of its grace, not after it.",
    Edit(prekeys._is_expired, "> SIGNED_PREKEY_GRACE_SECONDS", ">= SIGNED_PREKEY_GRACE_SECONDS"),
)
