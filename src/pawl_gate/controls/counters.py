"""Counters and replay: controls that break CTR."""

from __future__ import annotations

from pawl import EncryptedMessage, ProtocolAddress, ProtocolError
from pawl.errors import DuplicateMessage
from pawl.storage.contract import Store, Table
from pawl_gate.controls.catalogue import control
from pawl_gate.controls.variants import Wrapped, WrappedVariant
from pawl_gate.targets.inprocess import Setup


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
