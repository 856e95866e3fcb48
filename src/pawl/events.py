"""Events: what an operator should know of, as typed values with stable names.

Events of one call are told after its transaction was committed (or, where it was refused, rolled back), in order,
outside any transaction, before the call returns. They hold public things only: names, ids, counts, codes, public keys.
Without a callback they go to the logger "pawl" of the standard library.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Final, TypeAlias
from uuid import UUID

from pawl.address import ProtocolAddress
from pawl.crypto.keys import PublicKey

LOGGER: Final = logging.getLogger("pawl")
LOGGER.addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened. `name` is stable across releases; `level` is a level of the standard `logging`."""

    name: ClassVar[str] = "event"
    level: ClassVar[int] = logging.INFO

    def __str__(self) -> str:
        """One line: the name, then every field. Names of peers are quoted, so that none can fake a second line."""
        return f"{self.name}: " + " ".join(f"{each.name}={_shown(getattr(self, each.name))}" for each in fields(self))


def _shown(value: object) -> str:
    if isinstance(value, PublicKey):
        return value.data.hex()
    if isinstance(value, ProtocolAddress):
        return repr(str(value))
    if isinstance(value, UUID):
        return str(value)
    return repr(value)


# -- identities -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IdentityPinned(Event):
    """An identity was pinned for a name that had none."""

    name: ClassVar[str] = "identity-pinned"
    peer_name: str
    key: PublicKey
    how: str
    """"first-use" (trusted unasked), "approved" (the callback said so) or "decision" (`Device.trust_identity`)."""


@dataclass(frozen=True, slots=True)
class IdentityReplaced(Event):
    """A decision put another identity in the place of the pinned one; sessions under the old one are retired."""

    name: ClassVar[str] = "identity-replaced"
    level: ClassVar[int] = logging.WARNING
    peer_name: str
    former: PublicKey
    key: PublicKey
    how: str
    """"approved" (the callback said so) or "decision" (`Device.trust_identity`)."""
    retired_sessions: int
    """Sessions that from now on neither encrypt nor decrypt, over all devices of the name."""


@dataclass(frozen=True, slots=True)
class IdentityRejected(Event):
    """An identity was not accepted: it is not the pinned one, or its first use was not approved."""

    name: ClassVar[str] = "identity-rejected"
    level: ClassVar[int] = logging.WARNING
    peer_name: str
    key: PublicKey
    pinned: PublicKey | None
    """None: nothing is pinned yet."""


@dataclass(frozen=True, slots=True)
class CallbackFailed(Event):
    """A callback of the application did not do its part."""

    name: ClassVar[str] = "callback-failed"
    level: ClassVar[int] = logging.ERROR
    callback: str
    """"on_first_use", "on_mismatch", "store_plaintext" or "wrap"."""
    why: str
    """"raised", "timed-out" or "bad-answer"."""


# -- sessions ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SessionEstablished(Event):
    """A session came into being, and is the current one."""

    name: ClassVar[str] = "session-established"
    peer: ProtocolAddress
    role: str
    """"initiator" or "responder"."""
    one_time: bool
    """Whether a one-time prekey took part."""


@dataclass(frozen=True, slots=True)
class SessionArchived(Event):
    """The current session made room for another one; it still decrypts late messages."""

    name: ClassVar[str] = "session-archived"
    peer: ProtocolAddress


@dataclass(frozen=True, slots=True)
class SessionPromoted(Event):
    """An archived session is the current one again, because the peer uses it."""

    name: ClassVar[str] = "session-promoted"
    peer: ProtocolAddress


@dataclass(frozen=True, slots=True)
class RatchetStepped(Event):
    """A message of the peer began a new chain: what was stolen before from either side reads nothing after it."""

    name: ClassVar[str] = "ratchet-step"
    level: ClassVar[int] = logging.DEBUG
    peer: ProtocolAddress


@dataclass(frozen=True, slots=True)
class SessionDropped(Event):
    """The oldest archived session was deleted, as there were more than the limit."""

    name: ClassVar[str] = "session-dropped"
    peer: ProtocolAddress


@dataclass(frozen=True, slots=True)
class SessionsForgotten(Event):
    """All sessions with an address were deleted on demand."""

    name: ClassVar[str] = "sessions-forgotten"
    peer: ProtocolAddress
    count: int


@dataclass(frozen=True, slots=True)
class KeysDropped(Event):
    """Kept message keys were deleted, as there were more than the limits: their messages can no longer be read."""

    name: ClassVar[str] = "keys-dropped"
    level: ClassVar[int] = logging.WARNING
    peer: ProtocolAddress
    count: int


@dataclass(frozen=True, slots=True)
class MessageRefused(Event):
    """A received message was refused, and changed nothing."""

    name: ClassVar[str] = "message-refused"
    peer: ProtocolAddress
    code: str


@dataclass(frozen=True, slots=True)
class MessagesRolledBack(Event):
    """A transaction was undone in which messages had been read already: none of them was, and all can be read again."""

    name: ClassVar[str] = "messages-rolled-back"
    peer: ProtocolAddress
    count: int


# -- groups -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SenderKeyRotated(Event):
    """A new chain of one's own is what a group's next messages are on; every member has to be given it."""

    name: ClassVar[str] = "sender-key-rotated"
    distribution_id: UUID
    why: str
    """"first", "demand", "member-removed" or "identity-replaced"."""


@dataclass(frozen=True, slots=True)
class GroupMembersChanged(Event):
    """Members of a group were added or removed."""

    name: ClassVar[str] = "group-members-changed"
    distribution_id: UUID
    added: int
    removed: int


@dataclass(frozen=True, slots=True)
class SenderKeyGiven(Event):
    """One's own chain was encrypted for members of a group; the application sends it to them."""

    name: ClassVar[str] = "sender-key-given"
    distribution_id: UUID
    count: int


@dataclass(frozen=True, slots=True)
class SenderKeyAccepted(Event):
    """A distribution was taken: from now on the sender's messages on its chain can be read."""

    name: ClassVar[str] = "sender-key-accepted"
    sender: ProtocolAddress
    distribution_id: UUID


@dataclass(frozen=True, slots=True)
class SenderKeyRepeated(Event):
    """A distribution is of a chain that is held already, which stays where it is."""

    name: ClassVar[str] = "sender-key-repeated"
    level: ClassVar[int] = logging.DEBUG
    sender: ProtocolAddress
    distribution_id: UUID


@dataclass(frozen=True, slots=True)
class SenderKeyReplaced(Event):
    """A new chain has the id of a held one but another signing key, and is in its place: chance, or a faulty sender."""

    name: ClassVar[str] = "sender-key-replaced"
    level: ClassVar[int] = logging.WARNING
    sender: ProtocolAddress
    distribution_id: UUID


@dataclass(frozen=True, slots=True)
class SenderKeysRetired(Event):
    """Chains of a sender are gone, with the message keys kept for them, and cannot come back."""

    name: ClassVar[str] = "sender-keys-retired"
    sender: ProtocolAddress
    distribution_id: UUID
    count: int
    why: str
    """"limit" (the oldest is one too many), "replaced", "identity-replaced" or "demand"."""


@dataclass(frozen=True, slots=True)
class DistributionRefused(Event):
    """A received distribution was refused, and changed nothing."""

    name: ClassVar[str] = "distribution-refused"
    sender: ProtocolAddress
    distribution_id: UUID
    code: str


@dataclass(frozen=True, slots=True)
class GroupMessageRefused(Event):
    """A received group message was refused, and changed nothing."""

    name: ClassVar[str] = "group-message-refused"
    sender: ProtocolAddress
    distribution_id: UUID
    code: str


@dataclass(frozen=True, slots=True)
class GroupKeysDropped(Event):
    """Kept keys of group messages were deleted, as there were more than the limit: those can no longer be read."""

    name: ClassVar[str] = "group-keys-dropped"
    level: ClassVar[int] = logging.WARNING
    sender: ProtocolAddress
    distribution_id: UUID
    count: int


@dataclass(frozen=True, slots=True)
class GroupForgotten(Event):
    """All that was held of a group was deleted on demand."""

    name: ClassVar[str] = "group-forgotten"
    distribution_id: UUID


# -- prekeys ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PreKeysGenerated(Event):
    """One-time prekeys were made."""

    name: ClassVar[str] = "prekeys-generated"
    first_id: int
    count: int


@dataclass(frozen=True, slots=True)
class PreKeySpent(Event):
    """A one-time prekey served a session, and is deleted."""

    name: ClassVar[str] = "prekey-spent"
    level: ClassVar[int] = logging.DEBUG
    id: int


@dataclass(frozen=True, slots=True)
class PreKeysLow(Event):
    """Few one-time prekeys are left: without one, a session's first messages have less forward secrecy."""

    name: ClassVar[str] = "prekeys-low"
    level: ClassVar[int] = logging.WARNING
    left: int


@dataclass(frozen=True, slots=True)
class SignedPreKeyRotated(Event):
    """A new signed prekey is the current one."""

    name: ClassVar[str] = "signed-prekey-rotated"
    id: int
    former: int | None
    """None: it is the first one."""


@dataclass(frozen=True, slots=True)
class SignedPreKeyDeleted(Event):
    """A superseded signed prekey was deleted, with what was remembered under it."""

    name: ClassVar[str] = "signed-prekey-deleted"
    id: int


# -- storage ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ConflictRetried(Event):
    """Another writer was faster; the step is taken again, from what is there by now."""

    name: ClassVar[str] = "conflict-retried"
    attempt: int
    """Which try begins: 2 to 5."""


@dataclass(frozen=True, slots=True)
class NonAtomicStoreUsed(Event):
    """A transaction ran on an adapter that has none: a crash in it leaves part of it."""

    name: ClassVar[str] = "non-atomic-store-used"
    level: ClassVar[int] = logging.WARNING
    adapter: str
    """The name of its class."""


# -- compatibility ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CompatibilityUsed(Event):
    """A message was read in a way that only an option of `Compatibility` allows."""

    name: ClassVar[str] = "compatibility-used"
    level: ClassVar[int] = logging.WARNING
    option: str
    """The option's name."""
    peer: ProtocolAddress


# -- workers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PoolReady(Event):
    """All workers of a pool are up."""

    name: ClassVar[str] = "pool-ready"
    workers: int


@dataclass(frozen=True, slots=True)
class PoolClosing(Event):
    """A pool takes no more jobs."""

    name: ClassVar[str] = "pool-closing"
    drain: bool
    """Whether those that it has are done first."""
    jobs: int
    """How many it has."""


@dataclass(frozen=True, slots=True)
class PoolShut(Event):
    """A pool has ended, and none of its processes is left."""

    name: ClassVar[str] = "pool-closed"
    drained: bool
    """Whether every job that it had was done."""
    ended: int
    """How many jobs ended over its whole life."""


@dataclass(frozen=True, slots=True)
class PoolFailed(Event):
    """Workers died again and again before they were ready: the pool starts no more, and refuses all jobs."""

    name: ClassVar[str] = "pool-failed"
    level: ClassVar[int] = logging.ERROR
    starts: int
    """How many in a row."""


@dataclass(frozen=True, slots=True)
class WorkerStarted(Event):
    """A worker process is up for the first time in its place."""

    name: ClassVar[str] = "worker-started"
    level: ClassVar[int] = logging.DEBUG
    worker: int
    """The number of its place, from 0."""
    pid: int


@dataclass(frozen=True, slots=True)
class WorkerDied(Event):
    """A worker process ended without being told to."""

    name: ClassVar[str] = "worker-crashed"
    level: ClassVar[int] = logging.WARNING
    worker: int
    pid: int
    status: int
    """As of `subprocess`: negative, the number of the signal that killed it."""
    jobs: int
    """How many were with it; none of them was committed."""


@dataclass(frozen=True, slots=True)
class WorkerRevived(Event):
    """A new worker process is up in the place of one that ended."""

    name: ClassVar[str] = "worker-revived"
    worker: int
    pid: int
    attempt: int
    """How many ended there in a row without having answered."""
    seconds: float
    """Since the former one ended, the back-off included."""


@dataclass(frozen=True, slots=True)
class WorkerHung(Event):
    """A worker did not answer within the time limit, and is killed."""

    name: ClassVar[str] = "job-timeout"
    level: ClassVar[int] = logging.WARNING
    worker: int
    pid: int
    jobs: int
    """How many it had been given together."""


@dataclass(frozen=True, slots=True)
class WorkerAnswerRefused(Event):
    """A worker answered what no worker answers: it is killed, and nothing of its answer was used."""

    name: ClassVar[str] = "worker-answer-refused"
    level: ClassVar[int] = logging.ERROR
    worker: int
    pid: int
    why: str


@dataclass(frozen=True, slots=True)
class JobQueued(Event):
    """A job was taken."""

    name: ClassVar[str] = "job-queued"
    level: ClassVar[int] = logging.DEBUG
    job: int
    """Counts up in each pool."""
    operation: str
    queued: int
    """How many wait, this one included if it does."""
    pending: int
    """How many are in work, this one included if it is."""
    held_bytes: int
    """Of the arguments of all of them."""


@dataclass(frozen=True, slots=True)
class JobDispatched(Event):
    """A job goes to a worker."""

    name: ClassVar[str] = "job-dispatched"
    level: ClassVar[int] = logging.DEBUG
    job: int
    operation: str
    worker: int
    batch: int
    """Jobs of one batch go to the worker together."""


@dataclass(frozen=True, slots=True)
class JobRetried(Event):
    """A job is tried again: nothing of the former try was committed."""

    name: ClassVar[str] = "job-retried"
    job: int
    operation: str
    why: str
    """"worker-crashed", "job-timeout" or "answer-refused"."""
    attempt: int
    """How many tries it had."""


@dataclass(frozen=True, slots=True)
class JobEnded(Event):
    """A job ended; its caller is told next."""

    name: ClassVar[str] = "job-ended"
    level: ClassVar[int] = logging.DEBUG
    job: int
    operation: str
    outcome: str
    """"done", "cancelled", "bug", or the code of the refusal."""
    seconds: float
    """Since it was taken."""


@dataclass(frozen=True, slots=True)
class JobPoisonous(Event):
    """A job killed its worker each time that it was tried alone, and is refused."""

    name: ClassVar[str] = "poison-job"
    level: ClassVar[int] = logging.ERROR
    job: int
    operation: str
    tries: int


@dataclass(frozen=True, slots=True)
class PoolFull(Event):
    """A limit is reached: jobs are refused, or wait. Told at the first of them, until there is room again."""

    name: ClassVar[str] = "backpressure"
    level: ClassVar[int] = logging.WARNING
    operation: str
    limit: str
    """"queued" or "bytes"."""
    refused: bool
    """Whether the job was refused; otherwise its caller waits."""


# -- telling ----------------------------------------------------------------------------------------------------------

OnEvent: TypeAlias = Callable[[Event], object]
"""Called with each event; what it returns is ignored."""


def log(event: Event) -> None:
    """Write `event` to the logger "pawl", at its own level: what is done where no receiver is given."""
    LOGGER.log(event.level, "%s", event, extra={"pawl_event": event})


def each_of(*receivers: OnEvent) -> OnEvent:
    """One receiver that hands each event to all `receivers`, such as `log` and one's own; if one fails, to the others.

    Whose failure it was, and at which event, is logged as for a single one.
    """

    def receive(event: Event) -> None:
        for receiver in receivers:
            tell((event,), receiver)

    return receive


def tell(events: Sequence[Event], on_event: OnEvent | None) -> None:
    """Hand `events` to `on_event`, or to the logger. Nothing that an `Exception` can do there is heard by the caller.

    By now everything is committed or rolled back: a receiver that fails must not make a success look like a failure.
    """
    for event in events:
        try:
            if on_event is None:
                log(event)
            else:
                on_event(event)
        except Exception as error:
            # Its own text is the application's, and may hold anything.
            LOGGER.error("the receiver of events failed at %s: %s", event.name, type(error).__name__)
