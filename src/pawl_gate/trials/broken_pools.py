"""Broken pools that the campaigns on pools must catch, each by the invariant that names its fault.

Each is the real pool, over real workers, with a slip that an implementer might make: a few words of its source are
changed, in the process that it lives in. The plan of `drill` is cut down to the operations that show the fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from unittest import mock

from pawl.workers.device import AsyncDevice
from pawl.workers.pool import WorkerPool
from pawl.workers.process import Worker
from pawl_gate.controls.atomicity import LateStore
from pawl_gate.controls.catalogue import Control
from pawl_gate.controls.edits import Edit, edited
from pawl_gate.targets.inprocess import InProcessTarget
from pawl_gate.trials import places
from pawl_spec.pool.history import Operation


@dataclass(frozen=True, slots=True)
class BrokenPool:
    """One control."""

    breaks: str
    """The invariant that names the fault."""
    what: str
    """The fault, in one sentence."""
    shown_by: tuple[Operation, ...]
    """The operations that show it."""
    edits: tuple[Edit, ...] = ()
    late: bool = False
    """The store hands out before it is durable."""
    campaign: str = "drill"
    kind: str = "sqlite"

    @contextmanager
    def patched(self) -> Iterator[None]:
        """Pools are broken so. Raises: EditError."""
        openers = dict(places.OPENERS)
        if self.late:
            real = openers[self.kind]
            openers[self.kind] = lambda place: LateStore(real(place))
        with edited(self.edits), mock.patch.dict(places.OPENERS, openers):
            yield


def as_controls() -> tuple[Control, ...]:
    """For what lists the controls of an invariant. No trace shows them: they are put on trial."""

    def make() -> InProcessTarget:
        raise TypeError("a broken pool is no target: it is put on trial")

    return tuple(
        Control(name, each.breaks, each.what, make, each.edits, "pawl store trial --control ")
        for name, each in BROKEN_POOLS.items()
    )


FLOOD, KILL, HANG = Operation.FLOOD, Operation.KILL, Operation.HANG
BAD, POISON, CLOSE = Operation.BAD_ARGUMENT, Operation.POISON, Operation.CLOSE_BUSY
WORK, PARENT = Operation.WORK, Operation.KILL_PARENT

BROKEN_POOLS: Final[dict[str, BrokenPool]] = {
    "limit-times-workers": BrokenPool(
        "WRK-01",
        "The limit of the queue is off by the number of workers.",
        (FLOOD,),
        (
            Edit(
                WorkerPool._lacks,
                "settings.max_pending + settings.max_queued",
                "settings.max_pending + settings.max_queued + settings.workers",
            ),
        ),
    ),
    "bytes-not-limited": BrokenPool(
        "WRK-01",
        "Jobs are counted, and what they hold is not.",
        (FLOOD,),
        (Edit(WorkerPool._lacks, "> settings.max_bytes", "> 1 << 40"),),
    ),
    "refused-late": BrokenPool(
        "WRK-02",
        "Over a limit a job is refused once it has waited in vain.",
        (FLOOD,),
        (
            Edit(
                WorkerPool.do,
                'raise Backpressure(f"the pool is full: {limit}", limit)',
                'await asyncio.sleep(1.5); raise Backpressure(f"the pool is full: {limit}", limit)',
            ),
        ),
    ),
    "waiting-is-refused": BrokenPool(
        "WRK-02",
        "Callers that are to wait at a limit are refused all the same.",
        (FLOOD, CLOSE),
        (Edit(WorkerPool.do, "if self.settings.when_full is WhenFull.REFUSE or", "if limit or"),),
    ),
    "full-too-soon": BrokenPool(
        "WRK-02",
        "A pool that is half empty counts as full.",
        (FLOOD,),
        (
            Edit(
                WorkerPool._lacks,
                "settings.max_pending + settings.max_queued",
                "(settings.max_pending + settings.max_queued) // 2",
            ),
        ),
    ),
    "lost-with-its-worker": BrokenPool(
        "WRK-03",
        "A job whose worker died is dropped, and its caller waits for ever.",
        (KILL,),
        (
            Edit(
                WorkerPool._after_death,
                "outcomes.append(outcome)",
                "outcomes += [] if gone.head and outcome.kind == 'again' else [outcome]",
            ),
        ),
    ),
    "done-twice": BrokenPool(
        "WRK-03",
        "A worker that ends after its jobs were committed counts as one that did none of them.",
        (WORK,),
        (
            Edit(
                WorkerPool._through_worker,
                "return before + await self._at_desk(desk, commit)",
                "done = await self._at_desk(desk, commit)\n"
                "        if batch.number % 4 == 3 and all(each.refusal is None for each in done):\n"
                '            raise Gone("worker-crashed", head=False)\n'
                "        return before + done",
            ),
        ),
    ),
    "given-to-another": BrokenPool(
        "WRK-03",
        "The results of a batch are handed out in the wrong order.",
        (WORK,),
        (
            Edit(
                WorkerPool._finish,
                "self._end(job, outcome.result, outcome.refusal)",
                "alike = all(each.kind == 'ended' and each.refusal is None and "
                "each.job.operation == job.operation for each in outcomes)\n"
                "            other = outcomes[-1 - [each is outcome for each in outcomes].index(True)]\n"
                "            self._end(job, (other if alike else outcome).result, outcome.refusal)",
            ),
        ),
    ),
    "crash-is-unknown": BrokenPool(
        "WRK-03",
        "A job whose worker died ends as an unknown outcome, though a worker commits nothing.",
        (KILL,),
        (
            Edit(
                WorkerPool._after_death,
                'outcome = Outcome(job, "again")',
                'outcome = Outcome(job, "ended", refusal=OutcomeUnknown("its worker died"))',
            ),
        ),
    ),
    "no-back-off": BrokenPool(
        "WRK-04",
        "A worker that died is replaced at once, and again at once.",
        (KILL,),
        (Edit(WorkerPool.gone, "self.settings.backoff(place.deaths)", "0"),),
    ),
    "not-replaced": BrokenPool(
        "WRK-04",
        "A worker that died is not replaced: the others do its work.",
        (KILL,),
        (
            Edit(
                WorkerPool.gone,
                "self.settings.backoff(place.deaths), self._fill, place",
                "3_600, self._fill, place",
            ),
        ),
    ),
    "hang-not-noticed": BrokenPool(
        "WRK-04",
        "A worker that is stopped in a job is waited for.",
        (HANG,),
        (Edit(Worker._wind, "self._job_timeout, self._too_late", "3_600, self._too_late"),),
    ),
    "poison-for-ever": BrokenPool(
        "WRK-04",
        "A job that kills its worker is given to the next one, without an end.",
        (POISON,),
        (Edit(WorkerPool._after_death, "job.tries >= self.settings.tries", "job.tries > 1_000"),),
    ),
    "poison-takes-all": BrokenPool(
        "WRK-04",
        "A pool gives up when its workers die again and again, whatever they die of.",
        (POISON,),
        (
            Edit(WorkerPool.gone, "if not worker.is_ready:", "if place.deaths > 1:"),
            Edit(WorkerPool.gone, "self._failed_starts >= self.settings.max_failed_starts", "self._failed_starts"),
        ),
    ),
    "slot-lost-to-a-bad-argument": BrokenPool(
        "WRK-05",
        "A slot is taken before an argument is checked, and not given back where it is none.",
        (BAD, FLOOD),
        (
            Edit(
                AsyncDevice.encrypt,
                "check_plaintext(plaintext)",
                "self._pool._reserved += 1; check_plaintext(plaintext); self._pool._reserved -= 1",
            ),
        ),
    ),
    "bad-argument-to-the-worker": BrokenPool(
        "WRK-05",
        "An argument is not looked at before it is sent.",
        (BAD,),
        (Edit(AsyncDevice.encrypt, "check_plaintext(plaintext)", "pass"),),
    ),
    "crash-not-told": BrokenPool(
        "WRK-06",
        "No event tells of a worker's death.",
        (KILL,),
        (Edit(WorkerPool.gone, "self.tell(WorkerDied(worker.number, worker.pid, worker.status, jobs))", "pass"),),
    ),
    "revival-not-told": BrokenPool(
        "WRK-06",
        "No event tells that a worker was replaced.",
        (KILL,),
        (
            Edit(
                WorkerPool.ready,
                "self.tell(WorkerRevived(worker.number, worker.pid, place.deaths, seconds))",
                "pass",
            ),
        ),
    ),
    "pressure-not-told": BrokenPool(
        "WRK-06",
        "No event tells that a limit was reached.",
        (FLOOD,),
        (
            Edit(
                WorkerPool.do,
                "self.tell(PoolFull(job.operation, limit, self.settings.when_full is WhenFull.REFUSE))",
                "pass",
            ),
        ),
    ),
    "zombies-after-close": BrokenPool(
        "WRK-06",
        "A pool that was closed leaves its workers behind.",
        (CLOSE,),
        (
            Edit(WorkerPool._close, "place.worker.finish()", "pass"),
            Edit(WorkerPool._close, "for seconds in (FINISH_SECONDS, KILL_SECONDS):", "for seconds in ():"),
        ),
    ),
    "draining-throws-away": BrokenPool(
        "WRK-06",
        "A pool that is to do what it has before it closes does not.",
        (CLOSE,),
        (Edit(WorkerPool._close, "if waits:", "if not waits:"),),
    ),
    "lanes-last-first": BrokenPool(
        "WRK-07",
        "The jobs of a peer are taken from the wrong end of its lane.",
        (WORK,),
        (Edit(WorkerPool._start_work, "lane.jobs.append(job)", "lane.jobs.appendleft(job)"),),
    ),
    "told-before-the-commit": BrokenPool(
        "ATM-02",
        "A result is handed out before the state behind it is durable, and the process dies.",
        (WORK, PARENT),
        late=True,
    ),
}
"""By name."""
