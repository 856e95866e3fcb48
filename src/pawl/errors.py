"""The tree of typed refusals.

Everything the library refuses raises a subclass of `ProtocolError` with a stable `code`. Any other exception that
leaves the library is a bug (PAR-01). Texts never hold key material or plaintext (KEY-06).
"""

from __future__ import annotations

from typing import Any, ClassVar


class ProtocolError(Exception):
    """Something was refused. `code` is stable across releases; the text is for people."""

    code: ClassVar[str] = "protocol-error"


# -- what a caller handed in ------------------------------------------------------------------------------------------


class InvalidArgument(ProtocolError, ValueError):
    """An argument has the wrong type or range; nothing was done."""

    code = "invalid-argument"


# -- parsing ----------------------------------------------------------------------------------------------------------


class MalformedMessage(ProtocolError):
    """The bytes are not a message: truncated, a wrong wire type, a repeated or missing field."""

    code = "malformed-message"


class MessageTooLarge(ProtocolError):
    """The message, or a field of it, is longer than the stated limit; it was not parsed further."""

    code = "message-too-large"


class UnknownVersion(ProtocolError):
    """The message version is not one that this library speaks."""

    code = "unknown-version"


class InvalidKey(ProtocolError):
    """A public key has the wrong length or type, or its shared secret is all zero."""

    code = "invalid-key"


# -- authentication ---------------------------------------------------------------------------------------------------


class InvalidSignature(ProtocolError):
    """An XEdDSA signature does not verify."""

    code = "invalid-signature"


class BadMac(ProtocolError):
    """The message authentication code matches under no session that could have produced the message."""

    code = "bad-mac"


class InvalidCiphertext(ProtocolError):
    """An authenticated message holds a body that is not AES-256-CBC with PKCS#7 padding."""

    code = "invalid-ciphertext"


# -- sessions ---------------------------------------------------------------------------------------------------------


class NoSession(ProtocolError):
    """There is no session with this address."""

    code = "no-session"


class DuplicateMessage(ProtocolError):
    """The message was decrypted before, or its key was dropped with the oldest kept ones."""

    code = "duplicate-message"


class TooFarAhead(ProtocolError):
    """The counter is further ahead than the forward-jump limit allows."""

    code = "too-far-ahead"


class WorkLimitExceeded(ProtocolError):
    """Reading the message could cost more key derivations than one message may cause."""

    code = "work-limit-exceeded"


class CounterExhausted(ProtocolError):
    """A sending chain has used its last counter."""

    code = "counter-exhausted"


class StaleSession(ProtocolError):
    """The session was never acknowledged by the peer within the stated time; establish a new one."""

    code = "stale-session"


class UnknownPreKey(ProtocolError):
    """The message names a one-time prekey that is not (or no longer) there."""

    code = "unknown-prekey"


class UnknownSignedPreKey(ProtocolError):
    """The message names a signed prekey that is not (or no longer) there."""

    code = "unknown-signed-prekey"


class ReplayedPreKeyMessage(ProtocolError):
    """The message would build a session whose base key was seen before under this signed prekey."""

    code = "replayed-prekey-message"


class SeenBaseKeysFull(ProtocolError):
    """The memory of seen base keys is full for this signed prekey; rotate the signed prekey."""

    code = "seen-base-keys-full"


class PreKeysFull(ProtocolError):
    """As many one-time prekeys are held as may be; publish those, or wait until they are used."""

    code = "prekeys-full"


class UntrustedIdentity(ProtocolError):
    """The identity key is not the pinned one, or a first use was not approved."""

    code = "untrusted-identity"


class UnknownIdentity(ProtocolError):
    """No identity is pinned for this name."""

    code = "unknown-identity"


class ApplicationCallbackFailed(ProtocolError):
    """The application's hook raised, or answered, while the message was being stored; everything was rolled back."""

    code = "callback-failed"


# -- groups -----------------------------------------------------------------------------------------------------------


class NoSenderKey(ProtocolError):
    """No chain is held that the group message could be on: its distribution did not come, or is too old by now."""

    code = "no-sender-key"


class WrongGroup(ProtocolError):
    """The group message, or the distribution, names another group than the one it was handed in for."""

    code = "wrong-group"


class RetiredSenderKey(ProtocolError):
    """The distribution is of a chain that was held before and is gone: taking it would wind that chain back."""

    code = "retired-sender-key"


class SenderKeysFull(ProtocolError):
    """Chains of as many senders are held in this group as may be."""

    code = "sender-keys-full"


class NoMembers(ProtocolError):
    """The group has no members yet, so that nobody could read the message."""

    code = "no-members"


class MembersWithoutSession(ProtocolError):
    """The chain cannot be given to some members: establish a session with each, or leave them out; nothing was sent."""

    code = "members-without-session"

    def __init__(self, text: str, members: tuple[Any, ...] = ()) -> None:
        super().__init__(text)
        self.members = members
        """Each a `ProtocolAddress` with which there is no session that may be used, in ascending order."""


# -- safety numbers ---------------------------------------------------------------------------------------------------


class MalformedFingerprint(ProtocolError):
    """The scanned bytes are not the code of a safety number."""

    code = "malformed-fingerprint"


class FingerprintVersionMismatch(ProtocolError):
    """The scanned code is of another version of safety numbers; it says nothing about the keys."""

    code = "fingerprint-version-mismatch"


class FingerprintMismatch(ProtocolError):
    """The scanned code belongs to other keys or other identifiers: do not trust the identity."""

    code = "fingerprint-mismatch"


# -- storage ----------------------------------------------------------------------------------------------------------


class StorageError(ProtocolError):
    """The store could not do what was asked; the transaction was rolled back."""

    code = "storage-error"


class CorruptStore(StorageError):
    """The store, or a record in it, is damaged. It is neither treated as empty nor overwritten."""

    code = "corrupt-store"


class CorruptRecord(CorruptStore):
    """A record is damaged, or was written for another key, version or store. Nothing is read from it."""

    code = "corrupt-record"

    def __init__(self, text: str, *, key: bytes | None = None, version: int | None = None) -> None:
        super().__init__(text)
        self.key = key
        self.version = version
        """Where both are known, the record can be deleted by them, unread."""


class Conflict(StorageError):
    """A row changed since it was read; the transaction was rolled back."""

    code = "conflict"


class StoreClosed(StorageError):
    """The store was closed."""

    code = "store-closed"


class StoreBusy(StorageError):
    """Another writer held the store for longer than the busy timeout."""

    code = "store-busy"


class UnsupportedSchema(StorageError):
    """The store, or a record in it, was written by a release with another schema version."""

    code = "unsupported-schema"


class NonAtomicStore(StorageError):
    """The adapter has no transactions, and nobody said that it may be used without."""

    code = "non-atomic-store"


class OutcomeUnknown(StorageError):
    """The store failed while it committed: whether what was to be written is there is not known."""

    code = "outcome-unknown"


# -- workers ----------------------------------------------------------------------------------------------------------


class WorkerError(ProtocolError):
    """The worker pool could not do a job. Nothing of it was committed; it can be handed in again."""

    code = "worker-error"


class Backpressure(WorkerError):
    """The pool has as many jobs, or as many bytes of them, as it may have; the job was not taken."""

    code = "backpressure"

    def __init__(self, text: str, limit: str = "") -> None:
        super().__init__(text)
        self.limit = limit
        """"queued" or "bytes"."""


class WorkerCrashed(WorkerError):
    """Workers died again and again before they were ready, so that the pool gave up."""

    code = "worker-crashed"


class JobTimeout(WorkerError):
    """The job took its worker for longer than the time limit; the worker was killed."""

    code = "job-timeout"


class PoisonJob(WorkerError):
    """The job killed its worker each time that it was tried, and is not tried again."""

    code = "poison-job"


class PoolClosed(WorkerError):
    """The pool, or the device, was closed before the job could be done."""

    code = "pool-closed"
