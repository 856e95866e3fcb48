"""WRK: each predicate on histories of pools, as they should be and with one thing wrong."""

from __future__ import annotations

from pawl_spec.pool.history import Closed, Closing, Ending
from tests.spec.histories import breaks, holds
from tests.spec.pool_histories import SETTINGS, Pool

FULL = SETTINGS.pending + SETTINGS.queued


def full() -> tuple[Pool, list[int]]:
    """A pool that holds as much as it may; its workers stand still."""
    pool = Pool()
    jobs = [pool.submit(lane=f"peer {number}") for number in range(FULL)]
    for number, job in enumerate(jobs):
        pool.queue(job, queued=min(number + 1, SETTINGS.queued), total_bytes=100 * (number + 1))
    for job in jobs[: SETTINGS.pending]:
        pool.dispatch(job)
    return pool, jobs


def emptied(pool: Pool, jobs: list[int]) -> Pool:
    """All of them end well."""
    for job in jobs:
        pool.dispatch(job).finish(job).result(job)
    return pool.count()


# -- WRK-01 ------------------------------------------------------------------------------------------------------------


@holds("WRK-01")
def test_a_full_pool_is_within_its_limits() -> Pool:
    """Claim: "Pending and queued jobs never exceed the configured limits"."""
    pool, jobs = full()
    return emptied(pool.still(0.0).look(memory=(90_000_000, 60_000_000, 60_000_000)), jobs)


@breaks("WRK-01", "WRK-03", earlier=True, says="6 jobs in the pool, 5 is the limit")
def test_one_job_more() -> Pool:
    pool, _ = full()
    return pool.queue(99, queued=3)


@breaks("WRK-01", "WRK-03", says="4 queued jobs by its own count, 3 is the limit", earlier=True)
def test_a_queue_that_says_that_it_is_too_long() -> Pool:
    pool = Pool()
    return pool.queue(pool.submit(), queued=4)


@breaks("WRK-01", "WRK-03", says="3 jobs at work, 2 is the limit", earlier=True)
def test_one_more_at_work() -> Pool:
    pool, jobs = full()
    return pool.dispatch(jobs[2])


@breaks("WRK-01", "WRK-03", says="7 jobs held while all workers stood still, 5 is the limit", earlier=True)
def test_the_limit_is_off_by_the_number_of_workers() -> Pool:
    """The pool says nothing of two jobs that it took in; their callers wait all the same."""
    pool, _ = full()
    for name in ("x", "y"):
        pool.submit(lane=name)
    return pool.still(0.0)


@breaks("WRK-01", "WRK-03", says="bytes held while all workers stood still, 1000000 is the limit", earlier=True)
def test_more_bytes_than_are_allowed() -> Pool:
    pool = Pool()
    for _ in range(2):
        pool.submit(size=600_000)
    return pool.still(0.0)


@breaks("WRK-01", says="6 jobs queued at once, 3 is the limit")
def test_a_peak_over_the_limit() -> Pool:
    return Pool().count(peaks=(6, 2, 100))


@breaks("WRK-01", says="100,000,001 bytes of memory, 100,000,000 are stated")
def test_memory_grows() -> Pool:
    return Pool().look(memory=(100_000_001, 5, 5))


# -- WRK-02 ------------------------------------------------------------------------------------------------------------


@holds("WRK-02")
def test_over_the_limit_it_is_refused_at_once() -> Pool:
    """Claim: "Over the limit a job is refused at once with a typed error"."""
    pool, jobs = full()
    more = pool.submit(lane="one more")
    pool.tell("backpressure").refuse(more, "backpressure").still(0.0)
    return emptied(pool, jobs).close()


@holds("WRK-02")
def test_over_the_limit_it_waits() -> Pool:
    """Claim: "(or waits, as configured)"."""
    pool = Pool(waits=True)
    jobs = [pool.submit(lane=f"peer {number}") for number in range(FULL + 4)]
    pool.still(0.0)
    for job in jobs:
        pool.queue(job).dispatch(job).finish(job).result(job)
    return pool.close()


@breaks("WRK-02", says="was refused only after 0.6")
def test_refused_late() -> Pool:
    pool, jobs = full()
    more = pool.submit()
    pool.tell("backpressure").wait(0.6)
    for job in jobs:
        pool.dispatch(job).finish(job).result(job)
    return pool.refuse(more, "backpressure")


@breaks("WRK-02", says="with at most 0 jobs of 0 bytes held, 3 may be queued")
def test_refused_below_the_limit() -> Pool:
    pool = Pool()
    pool.work()
    return pool.tell("backpressure").refuse(pool.submit(), "backpressure")


@breaks("WRK-02", says="callers are to wait there")
def test_refused_instead_of_waiting() -> Pool:
    pool = Pool(waits=True)
    return pool.tell("backpressure").refuse(pool.submit(), "backpressure")


@holds("WRK-02")
def test_what_never_fits_is_refused_even_where_others_wait() -> Pool:
    pool = Pool(waits=True)
    large = pool.submit(size=1_000_000)
    return pool.tell("backpressure").refuse(large, "backpressure")


# -- WRK-03 ------------------------------------------------------------------------------------------------------------


@holds("WRK-03")
def test_each_job_ends_with_its_own_result() -> Pool:
    pool = Pool()
    for lane in ("bob", "carol", "bob"):
        pool.work(lane)
    again = pool.submit("decrypt", may=("duplicate-message",))
    return (
        pool.queue(again).dispatch(again).finish(again, "duplicate-message").refuse(again, "duplicate-message").close()
    )


@breaks(
    "WRK-03", "WRK-06", says="job 1 (encrypt for bob) was lost: its caller was never told how it ended", earlier=True
)
def test_a_lost_job() -> Pool:
    """No refusal, no result: the caller waits for ever. No event told of its end either."""
    pool = Pool()
    job = pool.submit()
    return pool.queue(job).dispatch(job).close()


@breaks("WRK-03", says="job 1 (encrypt for bob) ended 2 times")
def test_a_job_that_ends_twice() -> Pool:
    pool = Pool()
    job = pool.work()
    return pool.end(job, gave=job)


@breaks("WRK-03", says="job 7 ended, and nobody had submitted it")
def test_a_result_for_nobody() -> Pool:
    pool = Pool()
    pool.work()
    return pool.end(7)


@breaks("WRK-03", says="was given the result of job 2 (encrypt for carol)", earlier=True)
def test_the_wrong_caller() -> Pool:
    pool = Pool()
    first, second = pool.submit(lane="bob"), pool.submit(lane="carol")
    return pool.result(first, gave=second).result(second, gave=first)


@breaks("WRK-03", says="was given the result of nobody")
def test_a_result_that_nobody_asked_for() -> Pool:
    pool = Pool()
    return pool.result(pool.submit(), gave=-1)


@breaks("WRK-03", says="counter 1 of chain chain of was used, and no job was told: a job was taken twice")
def test_a_doubled_job() -> Pool:
    """Its worker died after the commit, and it was run again: two counters are gone, one was handed out."""
    pool = Pool()
    pool.work()
    return pool.result(pool.submit(), counter=2)


@holds("WRK-03")
def test_a_cancelled_job_may_have_been_committed() -> Pool:
    """API: "one that is [being committed], commits (a lost call)"."""
    pool = Pool()
    pool.work()
    pool.end(pool.submit(may=("cancelled",)), Ending.CANCELLED)
    return pool.result(pool.submit(), counter=2)


@breaks("WRK-03", says="were both given counter 0 of chain chain of")
def test_a_counter_for_two() -> Pool:
    pool = Pool()
    pool.work()
    return pool.result(pool.submit(), counter=0)


@breaks("WRK-03", says="is unknown, though nothing can have cut off its commit")
def test_an_unknown_outcome_without_a_reason() -> Pool:
    """A worker commits nothing: its death leaves nothing unknown."""
    pool = Pool()
    return pool.end(pool.submit(), Ending.UNKNOWN)


@holds("WRK-03")
def test_a_killed_parent_leaves_its_jobs_unknown() -> Pool:
    """Claim: "one that may have committed ends as `OutcomeUnknown`"; who asked is dead too."""
    pool = Pool()
    job = pool.submit()
    return pool.queue(job).dispatch(job).lose_parent().end(job, Ending.LOST)


@breaks("WRK-03", says="was lost, though its caller lived on")
def test_lost_while_the_parent_lives() -> Pool:
    pool = Pool()
    return pool.end(pool.submit(), Ending.LOST)


@breaks("WRK-03", says="ended by KeyError: 7, which is no typed refusal")
def test_an_untyped_end() -> Pool:
    pool = Pool()
    return pool.end(pool.submit(), Ending.FAILED, "KeyError: 7")


@breaks("WRK-03", says="was cancelled, and not by its caller")
def test_cancelled_by_the_pool() -> Pool:
    pool = Pool()
    return pool.end(pool.submit(), Ending.CANCELLED)


@breaks("WRK-03", says="was refused as job-timeout, and there is no reason for that")
def test_a_timeout_without_a_hang() -> Pool:
    pool = Pool()
    return pool.refuse(pool.submit(), "job-timeout")


@breaks("WRK-03", says="was refused as pool-closed, and there is no reason for that")
def test_refused_by_a_pool_that_is_open() -> Pool:
    pool = Pool()
    return pool.refuse(pool.submit(), "pool-closed")


@breaks("WRK-03", says="was refused as poison-job, and there is no reason for that")
def test_an_innocent_job_is_called_poison() -> Pool:
    pool = Pool()
    return pool.refuse(pool.submit(), "poison-job")


@breaks("WRK-03", says="was refused as worker-crashed, and there is no reason for that")
def test_a_job_is_not_run_again() -> Pool:
    """A killed worker has committed nothing: its jobs are run again."""
    pool = Pool()
    job = pool.submit()
    pool.queue(job).dispatch(job).strike(101).look().tell("worker-crashed", worker=0, pid=101).revive(103).look()
    return pool.refuse(job, "worker-crashed")


@breaks("WRK-03", says="the pool's job 1: job-dispatched, after it had ended")
def test_a_job_that_ended_goes_to_a_worker() -> Pool:
    pool = Pool()
    return pool.dispatch(pool.work())


# -- WRK-04 ------------------------------------------------------------------------------------------------------------


def killed(pool: Pool) -> Pool:
    """A worker is killed from outside, and that is told."""
    return pool.strike(101).look().tell("worker-crashed", worker=0, pid=101)


@holds("WRK-04")
def test_a_killed_worker_is_replaced() -> Pool:
    """Claim: "A dead or hung worker is noticed and replaced, with back-off, within a stated time"."""
    pool = killed(Pool()).revive(103).look().wait(5).look()
    pool.work()
    return pool.close()


@breaks("WRK-04", says="was not replaced: 1 of 2 workers are there", earlier=True)
def test_a_killed_worker_is_not_replaced() -> Pool:
    return killed(Pool()).wait(3.0).look().wait(3).look()


@holds("WRK-04")
def test_blow_upon_blow_has_more_time() -> Pool:
    pool = killed(Pool()).wait(3.0).strike(102).look().tell("worker-crashed", worker=1, pid=102)
    return pool.revive(103, 0).revive(104, 1).look().wait(9).look()


@breaks("WRK-04", says="was replaced 0.1", earlier=True)
def test_no_back_off() -> Pool:
    return killed(Pool()).revive(103, after=0.1).look()


@breaks("WRK-04", says="s after death 2 in a row, 1.0 s were due")
def test_the_back_off_does_not_grow() -> Pool:
    pool = killed(Pool()).revive(103).look().strike(103).tell("worker-crashed", worker=0, pid=103)
    return pool.revive(104, after=0.5)


@holds("WRK-04")
def test_the_back_off_starts_anew_once_a_job_was_done() -> Pool:
    pool = killed(Pool()).revive(103).look()
    pool.work(worker=0)
    return pool.strike(103).tell("worker-crashed", worker=0, pid=103).revive(104, after=0.5).look()


def hung(pool: Pool) -> int:
    """A worker is stopped while it has a job."""
    job = pool.submit()
    pool.queue(job).dispatch(job, 0).strike(101, "stopped").look()
    return job


@holds("WRK-04")
def test_a_hung_worker_is_replaced() -> Pool:
    pool = Pool()
    job = hung(pool)
    pool.wait(1.0).tell("job-timeout", worker=0, pid=101)
    pool.alive.remove(101)
    pool.tell("worker-crashed", worker=0, pid=101).finish(job, "job-timeout").refuse(job, "job-timeout")
    return pool.revive(103).look().wait(5).look().close()


@breaks("WRK-04", "WRK-03", "WRK-06", says="with a job, still has its place", earlier=True)
def test_a_hung_worker_is_never_noticed() -> Pool:
    """Its job never ends, and no event tells of a timeout."""
    pool = Pool()
    hung(pool)
    return pool.wait(1.6).look()


@holds("WRK-04", reached=False)
def test_a_stopped_worker_without_a_job_owes_nothing() -> Pool:
    return Pool().strike(101, "stopped").wait(9).look()


def poisoned(pool: Pool, deaths: int) -> int:
    """A job that kills each worker that takes it; each death comes after the back-off that is due."""
    job = pool.submit(poison=True)
    pool.queue(job)
    for number in range(deaths):
        pool.dispatch(job).crash(
            101 if number == 0 else 200 + number, again=201 + number, after=min(0.5 * 2**number, 2.0)
        )
    return job


@holds("WRK-04")
def test_a_poison_job_is_refused_after_its_tries() -> Pool:
    """Claim: "a job that always kills its worker cannot take the pool down": in company once, then three alone."""
    pool = Pool()
    job = poisoned(pool, 4)
    pool.finish(job, "poison-job").refuse(job, "poison-job")
    pool.work()
    return pool.close()


@breaks("WRK-04", says="6 workers died of 1 poison jobs, 4 may", earlier=True)
def test_a_poison_job_is_tried_for_ever() -> Pool:
    pool = Pool()
    job = poisoned(pool, 6)
    return pool.finish(job, "poison-job").refuse(job, "poison-job")


@breaks("WRK-04", says="the pool gave up its workers", earlier=True)
def test_a_poison_job_takes_the_pool_down() -> Pool:
    """Then other jobs have no worker: they are refused for a reason that there is, but there must be none."""
    pool = Pool()
    poison, other = poisoned(pool, 3), pool.submit()
    pool.tell("pool-failed").finish(poison, "worker-crashed").refuse(poison, "worker-crashed")
    return pool.queue(other).finish(other, "worker-crashed").refuse(other, "worker-crashed")


@breaks("WRK-04", says="kills its worker, and was given a result")
def test_poison_with_a_result() -> Pool:
    pool = Pool()
    job = poisoned(pool, 1)
    return pool.result(job)


# -- WRK-05 ------------------------------------------------------------------------------------------------------------


@holds("WRK-05")
def test_a_bad_argument_is_refused() -> Pool:
    """Claim: "A bad argument is refused to its caller and costs no slot"."""
    pool = Pool()
    for _ in range(9):
        pool.refuse(pool.submit(good=False), "invalid-argument")
    pool.count()
    jobs = [pool.submit(lane=f"peer {number}") for number in range(FULL)]
    pool.tell("backpressure").refuse(pool.submit(), "backpressure")
    for job in jobs:
        pool.queue(job)
    return emptied(pool, jobs).close()


@breaks("WRK-05", says="has a bad argument and ended with failed TypeError")
def test_a_bad_argument_raises_something_else() -> Pool:
    pool = Pool()
    return pool.end(pool.submit(good=False), Ending.FAILED, "TypeError")


@breaks("WRK-05", says="has a bad argument and was refused as poison-job")
def test_a_bad_argument_goes_to_the_workers() -> Pool:
    pool = Pool()
    return pool.refuse(pool.submit(good=False), "poison-job")


@breaks("WRK-05", says="has a bad argument and ended with a result")
def test_a_bad_argument_is_taken() -> Pool:
    pool = Pool()
    return pool.end(pool.submit(good=False))


@breaks("WRK-05", says="was refused only after 0.7")
def test_a_bad_argument_waits_in_line() -> Pool:
    pool = Pool()
    job = pool.submit(good=False)
    return pool.wait(0.7).refuse(job, "invalid-argument")


@breaks("WRK-05", says="after bad arguments job 4 (encrypt for bob) was refused for a limit, with at most 2 jobs")
def test_a_slot_leaks_with_each_bad_argument() -> Pool:
    pool = Pool()
    pool.refuse(pool.submit(good=False), "invalid-argument")
    for _ in range(2):
        pool.queue(pool.submit())
    more = pool.submit()
    pool.tell("backpressure").refuse(more, "backpressure")
    return closed_over(pool, [2, 3], more)


def closed_over(pool: Pool, jobs: list[int], more: int) -> Pool:
    """The others end well, before that refusal in the record of a slow reader."""
    refused = pool.pool.happened.pop()
    for job in jobs:
        pool.finish(job).result(job)
    pool.pool.happened.append(refused)
    return pool


@breaks("WRK-05", says="with nothing open, the pool holds 1 jobs of 90 bytes")
def test_a_slot_is_held_by_nobody() -> Pool:
    pool = Pool()
    pool.refuse(pool.submit(good=False), "invalid-argument")
    return pool.count(queued=1, total_bytes=90)


# -- WRK-06 ------------------------------------------------------------------------------------------------------------


@holds("WRK-06")
def test_all_is_told() -> Pool:
    """Claim: "Each transition emits an event; closing ends all jobs and processes"."""
    pool = killed(Pool()).revive(103).look()
    pool.work()
    job = pool.submit()
    pool.queue(job).add(Closing, True).dispatch(job).finish(job).result(job).tell("pool-closed").add(Closed)
    return pool.refuse(pool.submit(), "pool-closed")


@breaks("WRK-06", says="the pool never said that it is ready", earlier=True)
def test_never_ready() -> Pool:
    pool = Pool(ready=False)
    pool.work()
    return pool


@breaks("WRK-06", says="no event told of pressure")
def test_pressure_is_not_told() -> Pool:
    pool, jobs = full()
    more = pool.submit()
    pool.refuse(more, "backpressure")
    return closed_over(pool, jobs, more)


@breaks("WRK-06", says="worker process 101 was killed, and no event told of its crash", earlier=True)
def test_a_crash_is_not_told() -> Pool:
    return Pool().strike(101).look().revive(103).look().wait(1).look()


@breaks("WRK-06", says="worker process 103 is there, and no event told of its start", earlier=True)
def test_a_revival_is_not_told() -> Pool:
    pool = killed(Pool()).wait(0.5)
    pool.alive.append(103)
    return pool.look().wait(1.2).look().wait(1).look()


@breaks("WRK-06", says="was replaced, and no event told of a revival")
def test_a_revival_is_told_as_something_else() -> Pool:
    pool = killed(Pool()).wait(0.5)
    pool.alive.append(103)
    return pool.look().tell("worker-started", worker=0, pid=103)


@breaks("WRK-06", says="hung with a job, and no event told of a timeout", earlier=True)
def test_a_timeout_is_not_told() -> Pool:
    pool = Pool()
    job = hung(pool)
    pool.alive.remove(101)
    pool.wait(1.0).tell("worker-crashed", worker=0, pid=101).finish(job, "job-timeout").refuse(job, "job-timeout")
    return pool.revive(103).look()


@holds("WRK-06")
def test_who_was_stopped_and_then_killed_hangs_no_more() -> Pool:
    pool = Pool()
    job = hung(pool)
    pool.wait(0.2).strike(101).look().tell("worker-crashed", worker=0, pid=101).tell("job-retried", job=job).revive(103)
    return pool.dispatch(job).finish(job).result(job).look().wait(5).look()


@breaks("WRK-06", says="the pool's job 1 was queued, and no event told of its end", earlier=True)
def test_an_end_is_not_told() -> Pool:
    pool = Pool()
    job = pool.submit()
    return pool.queue(job).dispatch(job).result(job).close()


@breaks("WRK-06", says="the pool was closed, and closing has not ended")
def test_closing_never_ends() -> Pool:
    return Pool().add(Closing, True)


@breaks("WRK-06", says="closing took 7.")
def test_closing_takes_too_long() -> Pool:
    return Pool().close(takes=7.0)


@breaks("WRK-06", says="the pool was closed, and 0 events told of it")
def test_closing_is_not_told() -> Pool:
    return Pool().add(Closing, True).add(Closed)


@breaks("WRK-06", says="came after the end and ended with a result")
def test_a_zombie_works_on_after_close() -> Pool:
    pool = Pool().close()
    return pool.result(pool.submit())


@breaks("WRK-06", says="worker processes are left: 102")
def test_a_process_is_left_after_close() -> Pool:
    return Pool().close(left=(102,))


@breaks("WRK-06", says="worker processes are left: 101, 102")
def test_workers_outlive_their_parent() -> Pool:
    return Pool().lose_parent(left=(101, 102))


@breaks("WRK-06", says="after the pool")
def test_a_job_ends_long_after_close() -> Pool:
    pool = Pool()
    job = pool.submit()
    pool.queue(job).finish(job, "pool-closed").close(drain=False)
    return pool.wait(1.0).refuse(job, "pool-closed")


@breaks("WRK-06", says="was refused as pool-closed by a pool that was to drain", earlier=True)
def test_draining_throws_away() -> Pool:
    pool = Pool()
    job = pool.submit()
    return (
        pool.queue(job)
        .add(Closing, True)
        .finish(job, "pool-closed")
        .refuse(job, "pool-closed")
        .tell("pool-closed")
        .add(Closed)
    )


@holds("WRK-06")
def test_cancelling_refuses_what_is_open() -> Pool:
    pool = Pool()
    job = pool.submit()
    return (
        pool.queue(job)
        .add(Closing, False)
        .finish(job, "pool-closed")
        .refuse(job, "pool-closed")
        .tell("pool-closed")
        .add(Closed)
    )


# -- WRK-07 ------------------------------------------------------------------------------------------------------------


@holds("WRK-07")
def test_jobs_of_one_peer_in_order() -> Pool:
    pool = Pool()
    first, second = pool.submit(), pool.submit()
    return pool.result(first).result(second)


@breaks(
    "WRK-07",
    says="job 2 (encrypt for bob) was submitted after job 1 (encrypt for bob), and was given counter 0 after 1",
    earlier=True,
)
def test_jobs_of_one_peer_overtake() -> Pool:
    pool = Pool()
    first, second = pool.submit(), pool.submit()
    return pool.result(second).result(first)


@holds("WRK-07")
def test_jobs_of_different_peers_may_overtake() -> Pool:
    pool = Pool()
    first, second = pool.submit(lane="bob"), pool.submit(lane="carol")
    return pool.result(second).result(first)
