"""The pool: which jobs are taken, in which order they are done, and by which worker.

A job is taken (pending, as long as there is room, then queued), waits in its lane, goes with others to the desk of its
device, to a worker and back to the desk, and ends. All here happens on one event loop, so that there is no lock;
whatever computes or waits happens elsewhere.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Final, TypeVar

from pawl.errors import (
    Backpressure,
    InvalidArgument,
    JobTimeout,
    OutcomeUnknown,
    PoisonJob,
    PoolClosed,
    ProtocolError,
    WorkerCrashed,
    WorkerError,
)
from pawl.events import (
    LOGGER,
    ConflictRetried,
    Event,
    JobDispatched,
    JobEnded,
    JobPoisonous,
    JobQueued,
    JobRetried,
    OnEvent,
    PoolClosing,
    PoolFailed,
    PoolFull,
    PoolReady,
    PoolShut,
    WorkerAnswerRefused,
    WorkerDied,
    WorkerHung,
    WorkerRevived,
    WorkerStarted,
    tell,
)
from pawl.limits import MAX_CONFLICT_TRIES
from pawl.workers.desk import Batch, Desk
from pawl.workers.job import Job, Lane, LaneKey, Outcome
from pawl.workers.messages import BadAnswer
from pawl.workers.process import Gone, Worker, check_interpreter
from pawl.workers.settings import WhenFull, WorkerSettings, check_seconds

T = TypeVar("T")

BATCH_BYTES: Final = 1024 * 1024
"""Bytes of arguments above which no further job joins a batch: the first ones would wait for the last."""

KILL_SECONDS: Final = 5.0
"""Seconds that closing waits for a killed process, and for a thread at a store, beyond what it was given."""

FINISH_SECONDS: Final = 1.0
"""Seconds that a worker without work has to end by itself; then it is killed."""

DEFAULT_SETTINGS: Final = WorkerSettings()


@dataclass(frozen=True, slots=True)
class PoolStats:
    """What a pool has, and had."""

    queued: int
    pending: int
    held_bytes: int
    """Of the arguments of all jobs, queued and pending."""
    waiting: int
    """Callers for whose jobs there is no room."""
    workers: int
    """Worker processes that are up."""
    peak_queued: int
    peak_pending: int
    peak_bytes: int
    taken: int
    """Jobs, since the start."""
    ended: int
    batches: int
    conflicts: int
    crashes: int
    timeouts: int
    revivals: int


class _Place:
    """Where one worker after another is."""

    __slots__ = ("deaths", "died_at", "number", "revival", "worker")

    def __init__(self, number: int) -> None:
        self.number = number
        self.worker: Worker | None = None
        self.deaths = 0
        """In a row, without an answer in between."""
        self.died_at = 0.0
        self.revival: asyncio.TimerHandle | None = None


class _Lanes:
    """The lanes of one device, and which of them have something to do."""

    __slots__ = ("all", "ready")

    def __init__(self) -> None:
        self.all: dict[LaneKey, Lane] = {}
        self.ready: deque[Lane] = deque()


class WorkerPool:
    """A pool of worker processes, for any number of devices (`AsyncDevice`) of one event loop.

    `on_event` is called on the loop with each of the pool's and its devices' events; without it they go to the logger
    "pawl". `program` names the module whose `main` a worker runs: for trials of the pool itself.

        async with WorkerPool() as pool:
            device = await AsyncDevice.open(store, pool)

    Leaving the block closes the pool: with an exception without doing what is left to do.
    """

    def __init__(
        self,
        settings: WorkerSettings = DEFAULT_SETTINGS,
        *,
        on_event: OnEvent | None = None,
        program: str = "pawl.workers.program",
    ) -> None:
        # Check
        if type(settings) is not WorkerSettings:
            raise InvalidArgument("settings are WorkerSettings")
        if on_event is not None and not callable(on_event):
            raise InvalidArgument("on_event is a callable or None")
        if type(program) is not str:
            raise InvalidArgument("program is the name of a module")
        self.settings: Final = settings
        self._on_event = on_event
        self._program = program
        self._loop: asyncio.AbstractEventLoop | None = None
        self._state = "new"
        """"new", "open", "failed", "closing", "stopping", "closed"."""
        self._places = [_Place(number) for number in range(settings.workers)]
        self._started: asyncio.Future[None] | None = None
        self._shut: asyncio.Future[None] | None = None
        self._failed_starts = 0
        self._lanes: dict[Desk, _Lanes] = {}
        self._queue: deque[Job] = deque()
        self._waiters: deque[tuple[Job, asyncio.Future[None]]] = deque()
        self._live: dict[int, Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._committing = 0
        self._is_full = False
        self._dispatching = False
        self._questions: ThreadPoolExecutor | None = None
        self._idle = asyncio.Event()
        self._bytes = self._pending = self._jobs = self._ended = self._batches = self._conflicts = 0
        self._crashes = self._timeouts = self._revivals = 0
        self._peak_queued = self._peak_pending = self._peak_bytes = 0
        self._reserved = self._reserved_bytes = 0

    # -- starting and closing -----------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the workers, and return once all are up. Raises: WorkerCrashed, PoolClosed, InvalidArgument (twice)."""
        # Check
        if self._state != "new":
            raise InvalidArgument("a pool is started once")
        check_interpreter()
        # Commit
        self._loop = asyncio.get_running_loop()
        self._state = "open"
        self._idle.set()
        self._started = self._loop.create_future()
        self._questions = ThreadPoolExecutor(max_workers=8, thread_name_prefix="pawl questions")
        for place in self._places:
            self._fill(place)
        try:
            await asyncio.shield(self._started)
        except BaseException:
            await self.close(drain=False)
            raise

    async def __aenter__(self) -> WorkerPool:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close(drain=kind is None)

    async def close(self, *, drain: bool = True, timeout: float | None = None) -> None:
        """End all jobs and all processes; no job is taken from now on. It always ends (WRK-06).

        With `drain` the jobs that were taken are done first, for at most `timeout` seconds (None: `close_timeout`);
        the others are refused by `PoolClosed`. A job that is being committed meanwhile is waited for; where the store
        does not come back within some seconds more, it ends as `OutcomeUnknown`. Closing twice is harmless.
        """
        # Check
        if type(drain) is not bool:
            raise InvalidArgument("drain is a bool")
        seconds = self.settings.close_timeout if timeout is None else timeout
        check_seconds("timeout", seconds)
        if self._state == "new":
            self._state = "closed"
        if self._state == "closed":
            return
        self._check_loop()
        if self._shut is not None:
            await asyncio.shield(self._shut)
            return
        # Commit
        waits, self._state = drain and self._state == "open", "closing"
        self._turn_away(_closed)
        # Whoever closes may be cancelled; the closing goes on, and ends.
        self._shut = asyncio.get_running_loop().create_task(self._close(waits, seconds))
        self.tell(PoolClosing(drain, len(self._live)))
        await asyncio.shield(self._shut)

    async def _close(self, waits: bool, seconds: float) -> None:
        if waits:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), seconds)
        drained = not self._live
        self._state = "stopping"
        for place in self._places:
            if place.revival is not None:
                place.revival.cancel()
            if place.worker is not None:
                place.worker.finish()
        # What is at the store is the only thing that may have happened.
        for job in list(self._live.values()):
            if not job.in_batch:
                self._end(job, refusal=_closed())
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=KILL_SECONDS)
        for task in self._tasks:
            task.cancel()
        for job in list(self._live.values()):
            self._end(job, refusal=OutcomeUnknown("the pool was closed while the store had not answered yet"))
        workers = [place.worker for place in self._places if place.worker is not None]
        for seconds in (FINISH_SECONDS, KILL_SECONDS):
            for worker in workers:
                with suppress(TimeoutError):
                    await asyncio.wait_for(worker.ended(), seconds)
                worker.kill()
        for desk in self._lanes:
            if desk.thread is not None:
                desk.thread.close()
        if self._questions is not None:
            self._questions.shutdown(wait=False, cancel_futures=True)
        if self._started is not None and not self._started.done():
            self._started.set_exception(_closed())
            self._started.exception()
        self._state = "closed"
        self.tell(PoolShut(drained, self._ended))

    # -- looking ------------------------------------------------------------------------------------------------------

    def worker_pids(self) -> tuple[int, ...]:
        """The process ids of the workers that are up."""
        return tuple(place.worker.pid for place in self._places if place.worker is not None and place.worker.at_work)

    def stats(self) -> PoolStats:
        """What the pool has now, and had."""
        return PoolStats(
            queued=len(self._queue),
            pending=self._pending,
            held_bytes=self._bytes,
            waiting=len(self._waiters),
            workers=len(self.worker_pids()),
            peak_queued=self._peak_queued,
            peak_pending=self._peak_pending,
            peak_bytes=self._peak_bytes,
            taken=self._jobs,
            ended=self._ended,
            batches=self._batches,
            conflicts=self._conflicts,
            crashes=self._crashes,
            timeouts=self._timeouts,
            revivals=self._revivals,
        )

    # -- for devices --------------------------------------------------------------------------------------------------

    def attach(self, desk: Desk) -> None:
        """A device's desk belongs to this pool from now on. Raises: PoolClosed, WorkerCrashed, InvalidArgument."""
        self.check()
        self._lanes[desk] = _Lanes()

    async def drain(self, desk: Desk) -> None:
        """Return when the device's jobs have ended; it does not belong to the pool any more then."""
        while waiting := [job.future for job in self._live.values() if job.desk is desk and job.future is not None]:
            await asyncio.wait(waiting)
            # Whoever waits for them comes first, and then this.
            await asyncio.sleep(0)
        self._lanes.pop(desk, None)

    def check(self) -> None:
        """Raises: PoolClosed, WorkerCrashed, InvalidArgument (another event loop)."""
        if self._state == "new":
            raise InvalidArgument("start the pool first")
        if self._state == "failed":
            raise _failed()
        if self._state != "open":
            raise _closed()
        self._check_loop()

    def _check_loop(self) -> None:
        # Between loops there is no order and no lock.
        if asyncio.get_running_loop() is not self._loop:
            raise InvalidArgument("a pool belongs to the event loop that started it")

    async def do(self, job: Job) -> object:
        """The result of `job`, whose arguments were checked. Raises: Backpressure, WorkerError, and what it raises.

        Over a limit it is refused before anything else is done for it (WRK-02).
        """
        self.check()
        if job.desk not in self._lanes:
            raise PoolClosed("the device was closed")
        limit = self._lacks(job)
        if self._waiters and limit is None:
            limit = "queued"
        if limit is None:
            self._is_full = False
        else:
            if not self._is_full:
                self._is_full = True
                self.tell(PoolFull(job.operation, limit, self.settings.when_full is WhenFull.REFUSE))
            # A job that never fits would wait for ever.
            if self.settings.when_full is WhenFull.REFUSE or job.size > self.settings.max_bytes:
                raise Backpressure(f"the pool is full: {limit}", limit)
            await self._wait(job)
            self.check()
        job.future = asyncio.get_running_loop().create_future()
        self._take(job)
        try:
            return await job.future
        finally:
            if not job.ended:
                self._abandon(job)

    async def _wait(self, job: Job) -> None:
        admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((job, admitted))
        try:
            await admitted
        except asyncio.CancelledError:
            # Its room is for the next one.
            if admitted.done() and not admitted.cancelled() and admitted.exception() is None:
                self._release(job)
                self._admit()
            else:
                with suppress(ValueError):
                    self._waiters.remove((job, admitted))
            raise
        self._release(job)

    def _turn_away(self, refusal: Callable[[], WorkerError]) -> None:
        """There will be no room for those who wait."""
        while self._waiters:
            _, admitted = self._waiters.popleft()
            if not admitted.done():
                admitted.set_exception(refusal())

    def _release(self, job: Job) -> None:
        """The room that was kept for one that waited."""
        self._reserved -= 1
        self._reserved_bytes -= job.size

    # -- taking jobs --------------------------------------------------------------------------------------------------

    def _lacks(self, job: Job) -> str | None:
        """What there is no room for; None: the job can be taken."""
        settings = self.settings
        if self._bytes + self._reserved_bytes + job.size > settings.max_bytes:
            return "bytes"
        if len(self._live) + self._reserved >= settings.max_pending + settings.max_queued:
            return "queued"
        return None

    def _take(self, job: Job) -> None:
        self._jobs += 1
        job.number = self._jobs
        job.began = _time()
        self._live[job.number] = job
        self._idle.clear()
        self._bytes += job.size
        if self._pending < self.settings.max_pending and not self._queue:
            self._start_work(job)
        else:
            self._queue.append(job)
        self._peak_queued = max(self._peak_queued, len(self._queue))
        self._peak_bytes = max(self._peak_bytes, self._bytes)
        if self._tells_debug():
            self.tell(JobQueued(job.number, job.operation, len(self._queue), self._pending, self._bytes))

    def _start_work(self, job: Job) -> None:
        job.pending = True
        self._pending += 1
        self._peak_pending = max(self._peak_pending, self._pending)
        lanes = self._lanes[job.desk]
        lane = lanes.all.get(job.lane)
        if lane is None:
            lane = lanes.all[job.lane] = Lane(job.lane)
        lane.jobs.append(job)
        if not lane.busy and len(lane.jobs) == 1:
            lanes.ready.append(lane)
        self._wake()

    def _admit(self) -> None:
        """There is room: the next ones are taken."""
        while self._queue and self._pending < self.settings.max_pending:
            self._start_work(self._queue.popleft())
        while self._waiters and self._state == "open":
            job, admitted = self._waiters[0]
            if not admitted.done():
                if self._lacks(job) is not None:
                    return
                self._reserved += 1
                self._reserved_bytes += job.size
                admitted.set_result(None)
            self._waiters.popleft()

    def _abandon(self, job: Job) -> None:
        """Its caller was cancelled. What was not begun is not done; the rest is not committed, if that can still be."""
        if job.in_batch:
            return
        if not job.pending:
            with suppress(ValueError):
                self._queue.remove(job)
        elif job.desk in self._lanes:
            lane = self._lanes[job.desk].all.get(job.lane)
            if lane is not None:
                with suppress(ValueError):
                    lane.jobs.remove(job)
                self._settle(job.desk, lane)
        self._end(job)

    def _end(self, job: Job, result: object = None, refusal: BaseException | None = None) -> None:
        """The one place where a job ends."""
        future = job.future
        if job.ended or future is None:
            return
        job.ended = True
        self._ended += 1
        del self._live[job.number]
        self._bytes -= job.size
        if job.pending:
            self._pending -= 1
        if self._tells_debug():
            outcome = "done"
            if future.done():
                outcome = "cancelled"
            elif isinstance(refusal, ProtocolError):
                outcome = refusal.code
            elif refusal is not None:
                outcome = "bug"
            self.tell(JobEnded(job.number, job.operation, outcome, _time() - job.began))
        if not future.done():
            if refusal is None:
                future.set_result(result)
            else:
                future.set_exception(refusal)
        if not self._live:
            self._idle.set()
        self._admit()

    # -- dispatching --------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        # Not at once: what is handed in together goes together.
        if not self._dispatching and self._loop is not None:
            self._dispatching = True
            self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._dispatching = False
        if self._state not in ("open", "closing"):
            return
        desks = list(self._lanes.items())
        # In turns: no device keeps the workers from another one.
        first = self._batches % len(desks) if desks else 0
        waiting = desks[first:] + desks[:first]
        while waiting:
            waiting = [(desk, lanes) for desk, lanes in waiting if self._dispatch_one(desk, lanes)]

    def _dispatch_one(self, desk: Desk, lanes: _Lanes) -> bool:
        """Let one batch of a device run; whether there was one."""
        if not lanes.ready:
            return False
        worker = None
        if not lanes.ready[0].jobs[0].is_direct:
            worker = self._free_worker()
            # Another lane may have something that needs no worker.
            if worker is None and not self._bring_direct_forward(lanes):
                return False
        self._batches += 1
        batch = Batch(self._batches, self._pick(lanes, worker is None))
        if worker is not None:
            worker.reserved += 1
            if self._tells_debug():
                for job in batch.jobs:
                    self.tell(JobDispatched(job.number, job.operation, worker.number, batch.number))
        self._spawn(self._run(desk, batch, worker))
        return True

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _free_worker(self) -> Worker | None:
        """The one with the fewest batches, if it may have another one."""
        best = None
        for place in self._places:
            worker = place.worker
            if worker is None or not worker.at_work or worker.reserved >= self.settings.in_flight:
                continue
            if best is None or worker.reserved < best.reserved:
                best = worker
        return best

    @staticmethod
    def _bring_direct_forward(lanes: _Lanes) -> bool:
        for index, lane in enumerate(lanes.ready):
            if lane.jobs[0].is_direct:
                del lanes.ready[index]
                lanes.ready.appendleft(lane)
                return True
        return False

    def _pick(self, lanes: _Lanes, direct: bool) -> list[Job]:
        """The jobs of the next batch, in order; their lanes are busy from now on.

        Few lanes with several jobs each rather than one job of many lanes: what is busy keeps nobody else waiting.
        """
        most = self.settings.batch
        if not direct:
            # A few jobs are shared by the workers, rather than given to one.
            ready = sum(min(len(lane.jobs), most) for lane in lanes.ready) if len(lanes.ready) < most else most * 4
            idle = sum(
                place.worker is not None and place.worker.at_work and not place.worker.reserved
                for place in self._places
            )
            most = min(most, max(1, -(-ready // max(idle, 1))))
        # A lane is in one batch at a time. All batches that may be under way share the lanes: those that the workers
        # have, and for each worker one more that is read or committed. Else the workers wait for the desk. What is done
        # at the desk itself goes one by one.
        under_way = 1 if direct else self.settings.workers * (self.settings.in_flight + 1)
        each = -(-most * under_way // len(lanes.all))
        share = -(-len(lanes.all) // under_way)
        jobs: list[Job] = []
        size = 0
        held: list[Lane] = []
        while lanes.ready and len(jobs) < most and size <= BATCH_BYTES:
            lane = lanes.ready[0]
            if lane.jobs[0].is_direct is not direct or (jobs and lane.jobs[0].alone):
                # It comes first next time.
                break
            if len(held) >= share and len(jobs) > len(held) and len(jobs) * 2 >= self.settings.batch:
                # Full enough: the other lanes are for the other batches.
                break
            lanes.ready.popleft()
            lane.busy = True
            held.append(lane)
            room = min(most - len(jobs), each if lanes.ready else most)
            while lane.jobs and room and lane.jobs[0].is_direct is direct and not (jobs and lane.jobs[0].alone):
                job = lane.jobs.popleft()
                job.in_batch = True
                jobs.append(job)
                size += job.size
                room -= 1
                if job.alone:
                    return jobs
        return jobs

    async def _run(self, desk: Desk, batch: Batch, worker: Worker | None) -> None:
        """One batch, from the desk to a worker and back."""
        jobs = list(batch.jobs)
        outcomes: list[Outcome] = []
        try:
            if worker is None:
                outcomes = await self._at_desk(desk, lambda: [desk.do(job) for job in jobs])
            else:
                outcomes = await self._through_worker(desk, batch, worker)
                place = self._places[worker.number]
                # Only now: an answer that is refused is none, and one counts from when its jobs are told. Nor does it
                # undo its worker's own death.
                if batch.jobs and place.worker is worker:
                    place.deaths = 0
        except Gone as gone:
            outcomes = [*self._after_death(jobs, gone)]
        except asyncio.CancelledError:
            raise
        except Exception as error:
            outcomes = [Outcome(job, "ended", refusal=error) for job in jobs if not job.ended]
        self._finish(desk, jobs, outcomes)

    async def _through_worker(self, desk: Desk, batch: Batch, worker: Worker) -> list[Outcome]:
        asked = False
        try:
            before = await self._at_desk(desk, lambda: desk.read(batch))
            self._say(before)
            if not batch.jobs:
                return before
            asked = True
            answer = await worker.ask(len(batch.jobs), batch.message)
        finally:
            worker.reserved -= 1
            if asked:
                self._wake()
        batch.message = b""

        def commit() -> list[Outcome]:
            return desk.commit(batch, desk.parse(batch, answer))

        try:
            return before + await self._at_desk(desk, commit)
        except BadAnswer as bad:
            # Once: the loop may have noticed as well.
            if worker.at_work:
                self.refused(worker, str(bad))
                worker.kill("answer-refused")
            raise Gone("answer-refused", head=True) from None

    async def _at_desk(self, desk: Desk, work: Callable[[], T]) -> T:
        if desk.thread is None:
            raise PoolClosed("the device was closed")
        return await desk.thread.run(work)

    def _after_death(self, jobs: Sequence[Job], gone: Gone) -> Sequence[Outcome]:
        """The worker did not answer: nothing of the batch is committed. Which of its jobs it was, is found out."""
        outcomes = []
        several = sum(not job.abandoned for job in jobs) > 1
        for job in jobs:
            outcome = Outcome(job, "again")
            if self._state == "stopping":
                outcome = Outcome(job, "ended", refusal=_closed())
            elif job.abandoned:
                outcome = Outcome(job, "ended")
            elif gone.head and several:
                # Each is tried alone, so that none is blamed for another.
                job.alone = True
                self.tell(JobRetried(job.number, job.operation, gone.why, job.tries))
            elif gone.head and gone.why == "job-timeout":
                outcome = Outcome(job, "ended", refusal=JobTimeout("the job took its worker too long"))
            elif gone.head:
                job.tries += 1
                job.alone = True
                if job.tries >= self.settings.tries:
                    self.tell(JobPoisonous(job.number, job.operation, job.tries))
                    outcome = Outcome(job, "ended", refusal=PoisonJob("the job killed its worker each time"))
                else:
                    self.tell(JobRetried(job.number, job.operation, gone.why, job.tries))
            outcomes.append(outcome)
        return outcomes

    def _say(self, outcomes: Sequence[Outcome]) -> None:
        for each in outcomes:
            for event in each.events:
                self.tell(event)
            each.events = ()

    def _finish(self, desk: Desk, jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> None:
        """Each job of a batch ends, or goes back to where it came from, before all that came after it."""
        again: list[Job] = []
        asking: set[LaneKey] = set()
        for outcome in outcomes:
            job = outcome.job
            self._say([outcome])
            if outcome.kind == "ended":
                job.in_batch = False
                self._end(job, outcome.result, outcome.refusal)
            elif outcome.kind == "again":
                again.append(job)
            elif outcome.kind == "conflict":
                again.append(job)
                self._conflicted(job)
            elif outcome.kind in ("ask", "wrap"):
                asking.add(job.lane)
                again.append(job)
                self._spawn(self._question(desk, job, outcome))
        for job in reversed(again):
            if job.ended:
                continue
            if self._state in ("stopping", "failed") or desk not in self._lanes:
                job.in_batch = False
                self._end(job, refusal=_failed() if self._state == "failed" else _closed())
                continue
            self._lanes[desk].all[job.lane].jobs.appendleft(job)
            if job.lane not in asking:
                job.in_batch = False
        for key in {job.lane for job in jobs} - asking:
            lanes = self._lanes.get(desk)
            if lanes is not None and key in lanes.all:
                lanes.all[key].busy = False
                self._settle(desk, lanes.all[key])
        self._wake()

    def _settle(self, desk: Desk, lane: Lane) -> None:
        """A lane that is not busy is ready if it has jobs, and gone if not."""
        lanes = self._lanes[desk]
        # Nobody waits for these any more.
        while lane.jobs and lane.jobs[0].ended:
            lane.jobs.popleft()
        if lane.busy:
            return
        if lane.jobs:
            if lane not in lanes.ready:
                lanes.ready.append(lane)
        else:
            lanes.all.pop(lane.key, None)
            with suppress(ValueError):
                lanes.ready.remove(lane)

    def _conflicted(self, job: Job) -> None:
        self._conflicts += 1
        job.conflicts += 1
        attempt = min(job.conflicts + 1, MAX_CONFLICT_TRIES)
        self.tell(ConflictRetried(attempt))
        # The last try is made on the store itself, where no other job of this device can be faster.
        if attempt == MAX_CONFLICT_TRIES:
            job.is_direct = True

    async def _question(self, desk: Desk, job: Job, outcome: Outcome) -> None:
        """Ask the application, in a thread; then the job is run again, or refused."""
        refusal: BaseException | None = None
        try:
            await asyncio.get_running_loop().run_in_executor(self._questions, desk.question(job, outcome))
        except Exception as error:
            refusal = error
            for event in await self._at_desk(desk, partial(desk.declined, job, error)):
                self.tell(event)
        job.in_batch = False
        lanes = self._lanes.get(desk)
        lane = None if lanes is None else lanes.all.get(job.lane)
        if refusal is not None or job.abandoned or self._state == "stopping" or lane is None:
            if lane is not None:
                with suppress(ValueError):
                    lane.jobs.remove(job)
            self._end(job, refusal=refusal if refusal is not None else _closed())
        if lane is not None:
            lane.busy = False
            self._settle(desk, lane)
        self._wake()

    # -- workers ------------------------------------------------------------------------------------------------------

    def _fill(self, place: _Place) -> None:
        place.revival = None
        if self._state not in ("open", "closing"):
            return
        settings = self.settings
        worker = Worker(place.number, self, start_timeout=settings.start_timeout, job_timeout=settings.job_timeout)
        place.worker = worker
        self._spawn(self._start_worker(worker))

    async def _start_worker(self, worker: Worker) -> None:
        try:
            await worker.start(self._program)
        except OSError:
            # No process, no memory: as one that died at once.
            if not worker.is_gone:
                worker.connection_lost(None)

    def ready(self, worker: Worker) -> None:
        """See `Watcher`."""
        place = self._places[worker.number]
        self._failed_starts = 0
        if place.deaths:
            self._revivals += 1
            seconds = _time() - place.died_at
            self.tell(WorkerRevived(worker.number, worker.pid, place.deaths, seconds))
        else:
            self.tell(WorkerStarted(worker.number, worker.pid))
        if self._started is not None and not self._started.done() and len(self.worker_pids()) == len(self._places):
            self.tell(PoolReady(len(self._places)))
            self._started.set_result(None)
        self._wake()

    def hung(self, worker: Worker, jobs: int) -> None:
        """See `Watcher`."""
        self._timeouts += 1
        self.tell(WorkerHung(worker.number, worker.pid, jobs))

    def refused(self, worker: Worker, why: str) -> None:
        """See `Watcher`."""
        self.tell(WorkerAnswerRefused(worker.number, worker.pid, why))

    def gone(self, worker: Worker, jobs: int) -> None:
        """See `Watcher`. Its place is filled again, after the back-off (WRK-04)."""
        place = self._places[worker.number]
        place.worker = None
        if self._state == "stopping":
            return
        self._crashes += 1
        place.deaths += 1
        place.died_at = _time()
        self.tell(WorkerDied(worker.number, worker.pid, worker.status, jobs))
        if not worker.is_ready:
            self._failed_starts += 1
            if self._failed_starts >= self.settings.max_failed_starts:
                self._fail()
                return
        place.revival = asyncio.get_running_loop().call_later(self.settings.backoff(place.deaths), self._fill, place)

    def _fail(self) -> None:
        """Workers cannot be started: nothing waits for one that will never come."""
        self.tell(PoolFailed(self._failed_starts))
        if self._state == "open":
            self._state = "failed"
        for place in self._places:
            if place.revival is not None:
                place.revival.cancel()
            if place.worker is not None:
                place.worker.kill()
        self._turn_away(_failed)
        for job in list(self._live.values()):
            if not job.in_batch:
                self._end(job, refusal=_failed())
        if self._started is not None and not self._started.done():
            self._started.set_exception(_failed())

    # -- events -------------------------------------------------------------------------------------------------------

    def _tells_debug(self) -> bool:
        return self._on_event is not None or LOGGER.isEnabledFor(JobEnded.level)

    def tell(self, event: Event) -> None:
        """Tell an event, on the loop."""
        tell((event,), self._on_event)


def _time() -> float:
    return asyncio.get_running_loop().time()


def _closed() -> PoolClosed:
    return PoolClosed("the pool was closed")


def _failed() -> WorkerCrashed:
    return WorkerCrashed("workers died again and again before they were ready")
