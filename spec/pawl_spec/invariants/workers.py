"""Workers: no flood, crash, hang or bad argument hurts anyone but its own caller.

Threat        T-WORKER: an asynchronous service is flooded, its workers crash or hang, jobs are lost or mixed up.
Source        Threat model, "Worker Abuse / Backpressure DoS", and its boundary between main thread and worker.
Not covered   Limits that are set higher than the machine bears: the pool keeps to them all the same. What a worker
              sees of its jobs: it is as trusted as its parent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from pawl_spec.history import Event, Outcome
from pawl_spec.pool.history import SECOND, Closing, Counted, Ended, Ending, Happening, Still, Told
from pawl_spec.pool.life import BACKPRESSURE, POOLS_OWN, Job, Life
from pawl_spec.registry import Finding, Story, Violation, invariant
from pawl_spec.trace import Kind, Op

ABUSE = 'threat model, "Worker Abuse / Backpressure DoS"'
BOUNDARY = 'threat model, "Trust Boundaries": main thread to worker'

NEARLY: Final = 0.9
"""Of a time that must pass at least: clocks of timers and of histories are read at different moments."""

Found = tuple[Happening, str] | None
"""What a reading of a pool's life yields: None, or what is wrong, and where."""


def _judged(story: Story, *readings: Callable[[Life], Iterator[Found]]) -> Iterator[Finding]:
    life = story.life
    if life is None:
        return
    for reading in readings:
        for found in reading(life):
            if found is None:
                yield None
            else:
                where, what = found
                step = next(at for at, each in enumerate(life.history.happened) if each is where)
                yield Violation(Event(step, Op(Kind.NOP), Outcome.DONE), f"{life.time(where.at)}: {what}")


# -- limits ------------------------------------------------------------------------------------------------------------


@invariant(
    id="WRK-01",
    threat="T-WORKER",
    source=ABUSE,
    needs=("workers",),
    refusals=(BACKPRESSURE,),
    not_covered="limits set higher than the machine bears; memory for which no bound is stated",
)
def jobs_keep_to_the_limits(story: Story) -> Iterator[Finding]:
    """Pending and queued jobs, and their bytes, never exceed the limits in force, whatever the number of workers; nor
    does memory what is stated.
    """
    yield from _judged(story, _told_within_limits, _counted_within_limits, _still_within_limits, _memory_is_bounded)


def _told_within_limits(life: Life) -> Iterator[Found]:
    """By the pool's own events, job by job, and by the numbers in them."""
    limits, inside, at_work = life.settings, set[int | None](), set[int | None]()
    for told in life.history.told("job-queued", "job-dispatched", "job-ended"):
        if told.name == "job-ended":
            inside.discard(told.job)
            at_work.discard(told.job)
            continue
        (inside if told.name == "job-queued" else at_work).add(told.job)
        wrong = _over(
            ("jobs in the pool", len(inside), limits.pending + limits.queued),
            ("jobs at work", len(at_work), limits.pending),
            ("queued jobs by its own count", told.queued, limits.queued),
            ("pending jobs by its own count", told.pending, limits.pending),
            ("bytes by its own count", told.total_bytes, limits.total_bytes),
        )
        yield (told, wrong) if wrong else None


def _counted_within_limits(life: Life) -> Iterator[Found]:
    limits = life.settings
    for counted in life.history.of(Counted):
        wrong = _over(
            ("jobs queued at once", max(counted.queued, counted.peak_queued), limits.queued),
            ("jobs pending at once", max(counted.pending, counted.peak_pending), limits.pending),
            ("bytes at once", max(counted.total_bytes, counted.peak_bytes), limits.total_bytes),
        )
        yield (counted, wrong) if wrong else None


def _over(*counts: tuple[str, int | None, int]) -> str:
    return "; ".join(f"{count} {what}, {most} is the limit" for what, count, most in counts if (count or 0) > most)


def _still_within_limits(life: Life) -> Iterator[Found]:
    """With every worker standing still no job leaves: all that callers still wait for are in the pool."""
    limits = life.settings
    for still in life.history.of(Still):
        if limits.waits:
            continue
        held = [
            job
            for job in life.jobs.values()
            if job.asked.good and job.asked.at <= still.at and (job.ended is None or job.ended.at > still.at)
        ]
        wrong = _over(
            ("jobs held while all workers stood still", len(held), limits.pending + limits.queued),
            ("bytes held while all workers stood still", sum(job.asked.size for job in held), limits.total_bytes),
        )
        yield (still, wrong) if wrong else None


def _memory_is_bounded(life: Life) -> Iterator[Found]:
    most = life.allowances.memory
    for look in life.looks:
        if most and look.memory:
            wrong = f"{max(look.memory):,} bytes of memory, {most:,} are stated" if max(look.memory) > most else ""
            yield (look, wrong) if wrong else None


@invariant(id="WRK-02", threat="T-WORKER", source=ABUSE, needs=("workers",), refusals=(BACKPRESSURE,))
def over_a_limit_is_refused_at_once(story: Story) -> Iterator[Finding]:
    """Over a limit a job is refused at once with a typed error, or waits, as configured, and below it none is refused
    for a limit.
    """
    yield from _judged(story, _pushed_back)


def _pushed_back(life: Life) -> Iterator[Found]:
    limits, allowed = life.settings, life.allowances
    for job in life.jobs.values():
        ended = job.ended
        if ended is None or not job.pushed_back or not job.asked.good:
            continue
        too_large = job.asked.size + allowed.overhead > limits.total_bytes
        took = ended.at - job.asked.at
        if limits.waits and not too_large:
            yield ended, f"{job} was refused for a limit; callers are to wait there"
        elif took > allowed.refusal * SECOND:
            yield ended, f"{job} was refused only after {took / SECOND:.3f} s"
        elif _has_room(life, job, ended) and not life.bad_before(ended.at):
            # After a bad argument this is how a slot that it costs shows: see WRK-05.
            yield ended, f"{job} was refused for a limit, {_held(life, job, ended)}"
        else:
            yield None
    if limits.waits:
        for job in life.jobs.values():
            if job.ended is not None and job.ended.end is Ending.RESULT:
                held, _ = life.open_between(job.asked.at, job.asked.at)
                if held > limits.pending + limits.queued:
                    yield None


def _has_room(life: Life, job: Job, ended: Ended) -> bool:
    """Whether the pool can have been full, by the callers' view, which counts a job longer than the pool does."""
    count, total = life.open_between(job.asked.at, ended.at)
    room = life.settings.total_bytes - total - (count + 1) * life.allowances.overhead - job.asked.size
    return count < life.settings.queued and room > 0


def _held(life: Life, job: Job, ended: Ended) -> str:
    count, total = life.open_between(job.asked.at, ended.at)
    return f"with at most {count} jobs of {total} bytes held, {life.settings.queued} may be queued"


# -- jobs --------------------------------------------------------------------------------------------------------------


@invariant(
    id="WRK-03",
    threat="T-WORKER",
    source=BOUNDARY,
    needs=("workers",),
    refusals=("worker-crashed", "job-timeout", "poison-job", "pool-closed", "outcome-unknown"),
)
def each_job_ends_once(story: Story) -> Iterator[Finding]:
    """Each job ends exactly once, with its own result or a typed error for which there is a reason: none is lost, taken
    twice or given to another caller, and only one that may have been committed ends as an unknown outcome.
    """
    yield from _judged(story, _ends_once, _ends_as_it_may, _taken_once, _told_once)


def _ends_once(life: Life) -> Iterator[Found]:
    last = life.history.happened[-1]
    for job in life.jobs.values():
        if not job.endings:
            yield last, f"{job} was lost: its caller was never told how it ended"
        elif len(job.endings) > 1:
            yield job.endings[1], f"{job} ended {len(job.endings)} times"
        elif (since := _waits_since(life, job)) is not None:
            what = f"{job} was lost: nothing struck since {life.time(since)}, and its caller was told nothing"
            yield job.endings[0], what
        else:
            yield None
    for ended in life.strangers:
        yield ended, f"job {ended.job} ended, and nobody had submitted it"


def _waits_since(life: Life, job: Job) -> int | None:
    """Since when a job waits for nothing, while the pool is there to do it; None: not as long as that."""
    ended = job.endings[0].at
    blows = [at for at in life.troubles if job.asked.at < at < ended]
    pairs = pairwise([job.asked.at, *blows, min(ended, max(life.until, job.asked.at))])
    within = life.allowances.job * SECOND
    return next((since for since, until in pairs if until - since > within), None)


def _ends_as_it_may(life: Life) -> Iterator[Found]:
    for job in life.jobs.values():
        ended = job.ended
        if ended is None or not job.asked.good:
            continue
        if ended.end is Ending.FAILED:
            yield ended, f"{job} ended by {ended.code}, which is no typed refusal"
        elif ended.end is Ending.RESULT and ended.gave is not None and ended.gave != job.asked.job:
            whose = str(life.jobs[ended.gave]) if ended.gave in life.jobs else "nobody"
            yield ended, f"{job} was given the result of {whose}"
        elif ended.end is Ending.LOST and life.parent_died is None:
            yield ended, f"{job} was lost, though its caller lived on"
        elif ended.end is Ending.UNKNOWN and not _may_be_cut_off(life, job, ended):
            yield ended, f"the outcome of {job} is unknown, though nothing can have cut off its commit"
        elif ended.end is Ending.CANCELLED and "cancelled" not in job.asked.may:
            yield ended, f"{job} was cancelled, and not by its caller"
        elif ended.end is Ending.REFUSED and not _has_reason(life, job, ended):
            yield ended, f"{job} was refused as {ended.code}, and there is no reason for that"
        else:
            yield None


def _may_be_cut_off(life: Life, job: Job, ended: Ended) -> bool:
    """Whether its commit can have been cut off: by the closing, or as the campaign says."""
    return "outcome-unknown" in job.asked.may or (life.closing is not None and ended.at >= life.closing.at)


def _has_reason(life: Life, job: Job, ended: Ended) -> bool:
    """Whether the history holds what explains a refusal."""
    if ended.code in job.asked.may or ended.code == BACKPRESSURE:
        return True
    struck = life.struck_between(job.asked.at, ended.at)
    if ended.code == "pool-closed":
        return life.closing is not None and ended.at >= life.closing.at
    if ended.code == "poison-job":
        return job.asked.poison or struck >= life.settings.tries
    if ended.code == "job-timeout":
        return job.asked.poison or any(blow.how == "stopped" and blow.at <= ended.at for blow in life.blows)
    return ended.code == "worker-crashed" and any(life.history.told("pool-failed"))


def _taken_once(life: Life) -> Iterator[Found]:
    """A step that was taken twice uses two counters, of which its caller is told one: the chains show it."""
    chains: dict[str, list[tuple[int, int, Job, Ended]]] = defaultdict(list)
    for job in life.jobs.values():
        for ended in job.endings:
            if ended.end is Ending.RESULT and ended.chain:
                chains[ended.chain].append((ended.counter, ended.count, job, ended))
    missing: dict[str, int] = defaultdict(int)
    for chain, given in chains.items():
        given.sort(key=lambda each: each[:2])
        for (first, count, former, _), (counter, _, job, ended) in pairwise(given):
            if counter < first + count:
                yield ended, f"{former} and {job} were both given counter {counter} of chain {chain[:8]}"
                continue
            missing[job.asked.lane] += counter - first - count
            # Those that were lost, of the same lane, may each have taken what they asked for.
            lost = _spent(life, job.asked.lane)
            if counter > first + count and missing[job.asked.lane] > lost:
                skipped = f"counter {first + count} of chain {chain[:8]} was used, and no job was told"
                yield ended, f"before {job}: {skipped}: a job was taken twice, or its result is lost"
            else:
                yield None


def _spent(life: Life, lane: str) -> int:
    """Counters of a lane's chains that may have been used without anybody's having been told."""
    lost = (job.ended for job in life.jobs.values() if job.asked.lane == lane and job.explained)
    return sum(ended.count for ended in lost if ended is not None)


def _told_once(life: Life) -> Iterator[Found]:
    """The pool itself takes no job for ended twice, and none to work that has ended."""
    ended = set[int | None]()
    for told in life.history.told("job-dispatched", "job-ended"):
        if told.job in ended:
            yield told, f"the pool's job {told.job}: {told.name}, after it had ended"
        elif told.name == "job-ended":
            ended.add(told.job)
            yield None


# -- workers -----------------------------------------------------------------------------------------------------------


@invariant(
    id="WRK-04",
    threat="T-WORKER",
    source=ABUSE,
    needs=("workers",),
    refusals=("poison-job", "job-timeout"),
    not_covered="a worker that is stopped while it has nothing to do, until it is given something",
)
def dead_workers_are_replaced(story: Story) -> Iterator[Finding]:
    """A worker that is dead, or hangs with a job, is noticed and replaced within a stated time and after a stated
    back-off, and a job that kills each worker is refused after a stated number of them, while the pool goes on.
    """
    yield from _judged(story, _replaced, _hung_is_ended, _backs_off, _poison_is_contained)


def _replaced(life: Life) -> Iterator[Found]:
    """By what is seen from outside: within the stated time after the last blow all workers are there again."""
    within = round((life.allowances.notice + life.settings.back_off_most + life.allowances.start) * SECOND)
    for blow in life.blows:
        if blow.how != "killed":
            continue
        due = blow.at + within
        for trouble in life.troubles:
            if blow.at < trouble <= due:
                due = max(due, trouble + within)
        seen = [look for look in life.looks if blow.at < look.at <= due]
        if any(len(look.workers) == life.settings.workers and blow.pid not in look.workers for look in seen):
            yield None
        elif due <= life.until and seen:
            there = len(seen[-1].workers)
            of = f"{there} of {life.settings.workers} workers are there"
            yield seen[-1], f"worker process {blow.pid}, killed at {life.time(blow.at)}, was not replaced: {of}"


def _hung_is_ended(life: Life) -> Iterator[Found]:
    for blow in life.blows:
        since = life.owed_since(blow) if blow.how == "stopped" else None
        if since is None:
            continue
        due = since + round((life.settings.job_seconds + life.allowances.notice) * SECOND)
        late = next((look for look in life.looks if due < look.at <= life.until and blow.pid in look.workers), None)
        if late is not None:
            yield late, f"worker process {blow.pid}, stopped at {life.time(blow.at)} with a job, still has its place"
        elif due <= life.until:
            yield None


def _backs_off(life: Life) -> Iterator[Found]:
    for death in life.deaths():
        if death.revived is None:
            continue
        due = life.settings.back_off(death.row)
        # A look may have seen the process before it was ready.
        seen = life.first_seen.get(death.revived.pid, death.revived.at)
        took = (min(seen, death.revived.at) - death.told.at) / SECOND
        if took < due * NEARLY:
            place = f"the worker in place {death.told.worker}"
            yield death.revived, f"{place} was replaced {took:.3f} s after death {death.row} in a row, {due} s were due"
        else:
            yield None


def _poison_is_contained(life: Life) -> Iterator[Found]:
    for told in life.history.told("pool-failed"):
        yield told, "the pool gave up its workers"
    poison = [job for job in life.jobs.values() if job.asked.poison]
    for job in poison:
        if job.ended is not None and job.ended.end is Ending.RESULT:
            yield job.ended, f"{job} kills its worker, and was given a result"
        elif job.ended is not None and job.ended.code in ("poison-job", "job-timeout"):
            yield None
    struck = {blow.pid for blow in life.blows}
    by_themselves = [told for told in life.history.told("worker-crashed") if told.pid not in struck]
    # Once in company, then alone.
    most = len(poison) * (life.settings.tries + 1)
    if len(by_themselves) > most:
        yield by_themselves[most], f"{len(by_themselves)} workers died of {len(poison)} poison jobs, {most} may"


# -- arguments ---------------------------------------------------------------------------------------------------------


@invariant(id="WRK-05", threat="T-WORKER", source=BOUNDARY, needs=("workers",), refusals=("invalid-argument",))
def a_bad_argument_costs_no_slot(story: Story) -> Iterator[Finding]:
    """A bad argument is refused to its caller at once, by a typed error of its own, and costs no slot."""
    yield from _judged(story, _bad_is_refused, _no_slot_is_lost)


def _bad_is_refused(life: Life) -> Iterator[Found]:
    for job in life.jobs.values():
        ended = job.ended
        if job.asked.good or ended is None or ended.end is Ending.LOST:
            continue
        if ended.end is not Ending.REFUSED:
            yield ended, f"{job} has a bad argument and ended with {ended.end.value} {ended.code}".rstrip()
        elif ended.code in POOLS_OWN:
            yield ended, f"{job} has a bad argument and was refused as {ended.code}"
        elif ended.at - job.asked.at > life.allowances.refusal * SECOND:
            yield (
                ended,
                f"{job} has a bad argument and was refused only after {(ended.at - job.asked.at) / SECOND:.3f} s",
            )
        else:
            yield None


def _no_slot_is_lost(life: Life) -> Iterator[Found]:
    for job in life.jobs.values():
        ended = job.ended
        if ended is not None and job.pushed_back and job.asked.good and life.bad_before(ended.at):
            wrong = f"after bad arguments {job} was refused for a limit, {_held(life, job, ended)}"
            yield (ended, wrong) if _has_room(life, job, ended) else None
    for counted in life.history.of(Counted):
        if life.open_between(counted.at, counted.at)[0] or not life.bad_before(counted.at):
            continue
        held = counted.queued + counted.pending
        wrong = f"after bad arguments, with nothing open, the pool holds {held} jobs of {counted.total_bytes} bytes"
        yield (counted, wrong) if held or counted.total_bytes else None


# -- events and the end ------------------------------------------------------------------------------------------------


@invariant(
    id="WRK-06",
    threat="T-WORKER",
    source=ABUSE,
    needs=("workers",),
    refusals=("pool-closed",),
    not_covered="events that were told to a process that was killed with them",
)
def transitions_are_told(story: Story) -> Iterator[Finding]:
    """Each transition emits an event (ready, backpressure, crash, revival, timeout, close), and closing ends all jobs
    and processes within a stated time.
    """
    yield from _judged(
        story, _ready_first, _pressure_is_told, _workers_are_told, _jobs_are_told, _closes, _leaves_nothing
    )


def _ready_first(life: Life) -> Iterator[Found]:
    first = next(life.history.told("job-dispatched"), None)
    if first is not None:
        ready = next(life.history.told("pool-ready"), None)
        told = ready is not None and ready.at <= first.at
        yield None if told else (first, "a job went to a worker, and the pool never said that it is ready")


def _pressure_is_told(life: Life) -> Iterator[Found]:
    told = [each.at for each in life.history.told(BACKPRESSURE)]
    for job in life.jobs.values():
        if job.pushed_back and job.ended is not None and job.asked.good:
            # It is told once in a row of refusals; a row ends at the latest when nothing is held any more.
            since = life.quiet_before(job.asked.at)
            heard = any(since <= at <= job.ended.at for at in told)
            yield None if heard else (job.ended, f"{job} was refused for a limit, and no event told of pressure")


def _workers_are_told(life: Life) -> Iterator[Found]:
    notice = round(life.allowances.notice * SECOND)
    started = {told.pid: told.at for told in life.history.told("worker-started", "worker-revived")}
    crashed = {told.pid for told in life.history.told("worker-crashed")}
    timed_out = {told.pid for told in life.history.told("job-timeout")}
    # Who was stopped and then killed is dead, and hangs no more.
    killed = {blow.pid for blow in life.blows if blow.how == "killed"}
    start = round(life.allowances.start * SECOND)
    for pid, at in life.first_seen.items():
        if pid in started or pid in crashed:
            yield None
        elif at + start + notice <= life.until and life.looks[-1].at > at + start:
            look = next(each for each in life.looks if each.at == at)
            yield look, f"worker process {pid} is there, and no event told of its start"
    for blow in life.blows:
        if blow.how == "killed" and blow.at + notice <= life.until:
            known = blow.pid in crashed or blow.pid in timed_out
            yield None if known else (blow, f"worker process {blow.pid} was killed, and no event told of its crash")
        elif blow.how == "stopped" and blow.pid not in killed:
            since, within = life.owed_since(blow), round(life.settings.job_seconds * SECOND) + notice
            if since is not None and since + within <= life.until:
                what = f"worker process {blow.pid} hung with a job, and no event told of a timeout"
                yield None if blow.pid in timed_out else (blow, what)
    for death in life.deaths():
        if death.revived is not None:
            again = death.revived.name == "worker-revived"
            what = f"the worker in place {death.told.worker} was replaced, and no event told of a revival"
            yield None if again else (death.revived, what)


def _jobs_are_told(life: Life) -> Iterator[Found]:
    """In a life that ended with its closing: each job that the pool took in has ended, by its own events too."""
    if life.closed is None:
        return
    open_: dict[int | None, Told] = {}
    for told in life.history.told("job-queued", "job-ended"):
        if told.name == "job-queued":
            open_[told.job] = told
        else:
            open_.pop(told.job, None)
    before = (job for job in life.jobs.values() if job.asked.at < life.closed.at)
    results = sum(job.ended is not None and job.ended.end is Ending.RESULT for job in before)
    done = sum(told.outcome == "done" for told in life.history.told("job-ended"))
    for told in open_.values():
        yield told, f"the pool's job {told.job} was queued, and no event told of its end"
    if done < results:
        yield life.closed, f"{results} jobs ended with a result, {done} events tell of one"
    else:
        yield None


def _closes(life: Life) -> Iterator[Found]:
    closing = life.closing
    if closing is None:
        return
    if life.closed is None:
        if life.parent_died is None:
            yield closing, "the pool was closed, and closing has not ended"
        return
    took = (life.closed.at - closing.at) / SECOND
    yield None if took <= life.allowances.close else (life.closed, f"closing took {took:.3f} s")
    told = len(list(life.history.told("pool-closed")))
    yield None if told == 1 else (life.closed, f"the pool was closed, and {told} events told of it")
    for job in life.jobs.values():
        ended = job.ended
        if ended is None or not job.asked.good:
            continue
        if job.asked.at > life.closed.at:
            refused = ended.end is Ending.REFUSED and ended.code == "pool-closed"
            yield (
                None if refused else (ended, f"{job} came after the end and ended with {ended.end.value} {ended.code}")
            )
        elif ended.at > life.closed.at + round(life.allowances.refusal * SECOND):
            yield ended, f"{job} ended {(ended.at - life.closed.at) / SECOND:.3f} s after the pool"
        elif _cut_short(life, closing, job, ended):
            yield ended, f"{job} was refused as {ended.code} by a pool that was to drain"


def _cut_short(life: Life, closing: Closing, job: Job, ended: Ended) -> bool:
    """Whether a job that was there when a pool was to drain was refused, although there was time."""
    cut = ended.end is Ending.REFUSED and ended.code == "pool-closed" and job.asked.at < closing.at
    return closing.drain and cut and ended.at < closing.at + round(life.settings.close_seconds * NEARLY * SECOND)


def _leaves_nothing(life: Life) -> Iterator[Found]:
    for end in (life.closed, life.parent_died):
        if end is not None:
            left = ", ".join(map(str, end.left))
            yield (end, f"worker processes are left: {left}") if left else None


# -- order -------------------------------------------------------------------------------------------------------------


@invariant(
    id="WRK-07",
    threat="T-WORKER",
    source=BOUNDARY,
    needs=("workers",),
    not_covered="the order of jobs of different peers, which is nobody's to rely on",
)
def jobs_of_one_peer_keep_their_order(story: Story) -> Iterator[Finding]:
    """Jobs of one peer take effect in the order in which they were submitted, and some order of all of a session's jobs
    explains what each was answered.

    The second half is judged over all lives of the pools on one store: `shared_store.sessions_have_one_order`.
    """
    yield from _judged(story, _in_order)


def _in_order(life: Life) -> Iterator[Found]:
    last: dict[tuple[str, str], tuple[int, Job]] = {}
    done: Sequence[Job] = [job for job in life.jobs.values() if job.ended is not None and job.ended.chain]
    for job in done:
        ended = job.ended
        if ended is None or ended.end is not Ending.RESULT:
            continue
        counter, former = last.get((job.asked.lane, ended.chain), (-1, job))
        if ended.counter < counter:
            yield ended, f"{job} was submitted after {former}, and was given counter {ended.counter} after {counter}"
        else:
            yield None
        last[job.asked.lane, ended.chain] = max(counter, ended.counter), job
