"""A job: one call of a device's method, on its way through the pool.

What these hold is for no text (KEY-06): they are no dataclasses, which would show all of it when taken to pieces.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from pawl.application import StorePlaintext
from pawl.crypto.keys import PublicKey
from pawl.device_base import Decided
from pawl.events import Event
from pawl.workers.view import Query

LaneKey: TypeAlias = tuple[str, object]
"""What has an order: ("peer", name), ("group", id), ("prekeys", None)."""


class Job:
    """One call. It is queued, then pending, and ends exactly once.

    `direct` is the call itself, on the synchronous device: for what no worker has to do, and where nothing else will
    do. `arguments` are as they are sent to a worker; None: it has nothing to do there. `finish` reads the result that a
    worker sent, strictly (raises: BadAnswer). `size`: bytes of the arguments. `hook` stores what is decrypted, in its
    transaction; `envelope` puts a distribution into the application's envelope; `identity` is whose key the bundle
    says it is.
    """

    __slots__ = (
        "alone",
        "arguments",
        "began",
        "conflicts",
        "decided",
        "desk",
        "direct",
        "drawn",
        "ended",
        "envelope",
        "finish",
        "future",
        "hook",
        "identity",
        "in_batch",
        "is_direct",
        "lane",
        "needs",
        "needs_identity",
        "number",
        "operation",
        "pending",
        "runs",
        "size",
        "tries",
        "wrapped",
    )

    def __init__(
        self,
        operation: str,
        desk: Any,
        lane: LaneKey,
        direct: Callable[[], object],
        size: int,
        arguments: list[Any] | None = None,
        finish: Callable[[object], object] | None = None,
        *,
        hook: StorePlaintext | None = None,
        envelope: Callable[[bytes], bytes] | None = None,
        identity: PublicKey | None = None,
    ) -> None:
        self.operation = operation
        self.desk = desk
        """The `Desk` of the device whose it is."""
        self.lane = lane
        self.direct = direct
        self.size = size
        self.arguments = arguments
        self.finish = finish
        self.hook = hook
        self.envelope = envelope
        self.identity = identity
        self.number = 0
        self.future: asyncio.Future[object] | None = None
        self.began = 0.0
        self.pending = self.ended = self.in_batch = False
        self.alone = False
        """It was with a worker that died, so that it goes to the next one by itself."""
        self.tries = 0
        """Workers that died of it, as it was alone."""
        self.conflicts = 0
        self.runs = 0
        """Times that it asked for what was not foreseen."""
        self.is_direct = arguments is None
        """No worker is to do it (any more)."""
        self.needs: dict[Query, None] = {}
        """What it asked for beyond what was foreseen."""
        self.needs_identity = False
        self.decided: Decided | None = None
        self.wrapped: list[tuple[bytes, bytes]] | None = None if envelope is None else []
        """Distributions in their envelopes; None: there are none."""
        self.drawn: Sequence[bytes] = ()
        """What an earlier run drew, for a run that has to come to the same."""

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.future is None or self.future.done()


class Lane:
    """The jobs that have an order among themselves; only one batch at a time has some of them (WRK-07)."""

    __slots__ = ("busy", "jobs", "key")

    def __init__(self, key: LaneKey) -> None:
        self.key = key
        self.jobs: deque[Job] = deque()
        self.busy = False


class Outcome:
    """What became of a job in one batch.

    `kind` is "ended", "again" (from what is there now), "conflict" (the same, after another writer), "ask" (the policy,
    about another identity than `pinned`), "wrap" (`distribution`), or "events" (nothing, but something was told).
    """

    __slots__ = ("distribution", "events", "job", "kind", "pinned", "refusal", "result")

    def __init__(
        self,
        job: Job,
        kind: str,
        result: object = None,
        refusal: BaseException | None = None,
        events: Sequence[Event] = (),
        *,
        pinned: PublicKey | None = None,
        distribution: bytes = b"",
    ) -> None:
        self.job = job
        self.kind = kind
        self.result = result
        self.refusal = refusal
        self.events = events
        self.pinned = pinned
        self.distribution = distribution
