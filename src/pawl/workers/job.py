"""A job: one call of a device's method, on its way through the pool."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from pawl.application import StorePlaintext
from pawl.crypto.keys import PublicKey
from pawl.device_base import Decided
from pawl.events import Event
from pawl.workers.view import Query

if TYPE_CHECKING:
    from pawl.workers.desk import Desk

LaneKey: TypeAlias = tuple[str, object]
"""What has an order: ("peer", name), ("group", id), ("prekeys", None)."""


# Of what they hold nothing is for a text (KEY-06): none of these has a repr of its own.
@dataclass(slots=True, eq=False, repr=False)
class Job:
    """One call. It is queued, then pending, and ends exactly once (WRK-03)."""

    operation: str
    desk: Desk
    """The device whose it is."""
    lane: LaneKey
    direct: Callable[[], object]
    """The call itself, on the synchronous device: for what no worker has to do, and where nothing else will do."""
    size: int
    """Bytes of its arguments."""
    arguments: list[Any] | None = None
    """As they are sent to a worker; None: it has nothing to do there."""
    finish: Callable[[object], object] | None = None
    """Reads the result that a worker sent, strictly. Raises: BadAnswer."""
    hook: StorePlaintext | None = None
    """Stores what it decrypts, in its transaction."""
    number: int = 0
    future: asyncio.Future[object] | None = None
    began: float = 0.0
    pending: bool = False
    ended: bool = False
    in_batch: bool = False
    alone: bool = False
    """It was with a worker that died, so that it goes to the next one by itself."""
    tries: int = 0
    """Workers that died of it, as it was alone."""
    conflicts: int = 0
    runs: int = 0
    """Times that it asked for what was not foreseen."""
    is_direct: bool = False
    """No worker is to do it any more."""
    needs: dict[Query, None] = field(default_factory=dict)
    """What it asked for beyond what was foreseen."""
    needs_identity: bool = False
    identity: PublicKey | None = None
    """Whose the message or bundle says it is."""
    decided: Decided | None = None
    envelope: Callable[[bytes], bytes] | None = None
    """Puts a distribution into the application's envelope."""
    wrapped: list[tuple[bytes, bytes]] | None = None
    """Distributions in the application's envelope; None: it has none of its own."""
    drawn: Sequence[bytes] = ()
    """What an earlier run drew, for a run that has to come to the same."""

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.future is None or self.future.done()


@dataclass(slots=True, eq=False, repr=False)
class Lane:
    """The jobs that have an order among themselves; only one batch at a time has some of them."""

    key: LaneKey
    jobs: deque[Job] = field(default_factory=deque)
    busy: bool = False


@dataclass(slots=True, repr=False)
class Outcome:
    """What became of a job in one batch."""

    job: Job
    kind: str
    """"ended", "again" (from what is there now), "conflict" (the same, after another writer), "ask" or "wrap"."""
    result: object = None
    refusal: BaseException | None = None
    events: Sequence[Event] = ()
    pinned: PublicKey | None = None
    distribution: bytes = b""
