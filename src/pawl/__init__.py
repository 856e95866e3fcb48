"""Pawl: a verification-first implementation of the Signal protocol.

    device = Device(SQLiteStore("alice.db"))
    device.establish(ProtocolAddress("bob", 1), bundle)
    message = device.encrypt(ProtocolAddress("bob", 1), b"hello")

Everything that is refused raises a subclass of `ProtocolError` (see `pawl.errors`); any other exception is a bug.
"""

from pawl.address import ProtocolAddress
from pawl.application import ApplicationRows
from pawl.compatibility import Compatibility
from pawl.crypto.keys import PublicKey
from pawl.device import Device, Maintenance
from pawl.errors import ProtocolError
from pawl.events import Event
from pawl.fingerprint import SafetyNumber, safety_number
from pawl.group_device import Group, GroupSend, MemberMessage
from pawl.identity import Decision, IdentityPolicy
from pawl.session.bundle import PreKeyBundle, PublicPreKey, PublicSignedPreKey
from pawl.storage.adapter import AdapterStore
from pawl.storage.contract import Store
from pawl.storage.json_file import JSONFileStore
from pawl.storage.memory import MemoryStore
from pawl.storage.sqlite import SQLiteStore
from pawl.storage.sqlite_migration import migrate_sqlite
from pawl.wire.group_messages import GroupLayout, group_of_distribution, group_of_message
from pawl.wire.messages import EncryptedMessage, MessageType

__all__ = [
    "AdapterStore",
    "ApplicationRows",
    "Compatibility",
    "Decision",
    "Device",
    "EncryptedMessage",
    "Event",
    "Group",
    "GroupLayout",
    "GroupSend",
    "IdentityPolicy",
    "JSONFileStore",
    "Maintenance",
    "MemberMessage",
    "MemoryStore",
    "MessageType",
    "PreKeyBundle",
    "ProtocolAddress",
    "ProtocolError",
    "PublicKey",
    "PublicPreKey",
    "PublicSignedPreKey",
    "SQLiteStore",
    "SafetyNumber",
    "Store",
    "group_of_distribution",
    "group_of_message",
    "migrate_sqlite",
    "safety_number",
]
