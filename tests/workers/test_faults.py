"""Workers that die, hang and lie; limits that are reached; pools that are closed: nobody but the caller is hurt."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pawl import MemoryStore, ProtocolAddress, SQLiteStore, Store, workers
from pawl.errors import (
    Backpressure,
    InvalidArgument,
    JobTimeout,
    OutcomeUnknown,
    PoisonJob,
    PoolClosed,
    ProtocolError,
    WorkerCrashed,
)
from pawl.events import WorkerRevived
from pawl.storage import Table
from pawl.workers import AsyncDevice, WhenFull, WorkerPool, WorkerSettings
from tests.devices import ALICE, BOB
from tests.workers.service import FAULTY, QUICK, is_alive, names, pool_of, run, send, talking, until

SHORT = WorkerSettings(workers=1, backoff_first=0.01, backoff_most=0.1, job_timeout=0.5)


# -- death ------------------------------------------------------------------------------------------------------------


def test_a_killed_worker_loses_no_job_and_doubles_none() -> None:
    """WRK-03: workers are killed all the time; every job ends with its own result, and no counter is used twice."""

    async def work() -> None:
        settings = WorkerSettings(workers=2, backoff_first=0.01, backoff_most=0.05, tries=100)
        async with pool_of(settings) as (pool, told):
            alice, bob = await talking(pool)
            done = asyncio.Event()

            async def kill() -> None:
                while not done.is_set():
                    for pid in pool.worker_pids()[:1]:
                        send(pid, signal.SIGKILL)
                    await asyncio.sleep(0.3)

            killer = asyncio.create_task(kill())
            for start in range(0, 2000, 100):
                texts = [b"%d" % number for number in range(start, start + 100)]
                sent = await asyncio.gather(*(alice.encrypt(BOB, text) for text in texts))
                # One after another, in order: a doubled counter would be refused, a skipped one would keep a key.
                assert await asyncio.gather(*(bob.decrypt(ALICE, each) for each in sent)) == texts
            done.set()
            await killer
            assert not bob._desk.device._store.snapshot()[Table.SKIPPED_KEY]  # type: ignore[attr-defined]
            assert pool.stats().crashes >= 2
            await until(lambda: len(pool.worker_pids()) == 2)
            revived = [event for event in told if isinstance(event, WorkerRevived)]
            assert len(revived) == pool.stats().revivals >= 2
            assert "worker-crashed" in names(told)

    run(work)


@pytest.mark.parametrize("trigger", [b"!kill", b"!late", b"!exit", b"!half"])
def test_a_job_that_always_kills_its_worker_is_refused(trigger: bytes) -> None:
    """WRK-04: after `tries` deaths alone; those that were handed in with it are served."""

    async def work() -> None:
        async with pool_of() as (pool, told):
            alice, bob = await talking(pool)
            calls = [alice.encrypt(BOB, text) for text in (b"one", trigger, b"two")]
            one, poison, two = await asyncio.gather(*calls, return_exceptions=True)
            assert isinstance(poison, PoisonJob)
            assert await bob.decrypt_many(ALICE, [one, two]) == [b"one", b"two"]  # type: ignore[list-item]
            # Once with the others, then alone.
            assert pool.stats().crashes == 1 + QUICK.tries
            assert names(told).count("poison-job") == 1
            kept = bob._desk.device._store.snapshot()[Table.SKIPPED_KEY]  # type: ignore[attr-defined]
            # Nothing of it was committed: its counter was given to the next one.
            assert not kept

    run(work)


def test_back_off_grows_and_begins_anew() -> None:
    """The place of a worker that dies again and again is filled later and later, at most so late."""
    settings = WorkerSettings(backoff_first=0.1, backoff_factor=2, backoff_most=1.0)
    assert [settings.backoff(deaths) for deaths in (1, 2, 3, 4, 5, 1000)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert WorkerSettings(backoff_first=1.0, backoff_factor=1, backoff_most=5).backoff(9) == 1.0

    async def work() -> None:
        slow = WorkerSettings(workers=1, backoff_first=0.2, backoff_factor=2, backoff_most=10, tries=2)
        async with pool_of(slow) as (pool, told):
            alice, _ = await talking(pool)
            with pytest.raises(PoisonJob):
                await alice.encrypt(BOB, b"!kill")
            await alice.encrypt(BOB, b"text")
            with pytest.raises(PoisonJob):
                await alice.encrypt(BOB, b"!kill")
            await until(lambda: len(pool.worker_pids()) == 1)
            revived = [event for event in told if isinstance(event, WorkerRevived)]
            assert [event.attempt for event in revived] == [1, 2, 1, 2]
            # They waited at least so long: the machine may have been slower.
            assert [event.seconds >= wait for event, wait in zip(revived, [0.2, 0.4, 0.2, 0.4], strict=True)]

    run(work)


@pytest.mark.parametrize("trigger", [b"!swap", b"!noise"])
def test_an_answer_that_is_refused_is_none_for_the_back_off(trigger: bytes) -> None:
    """WRK-04: worker after worker lies; each place is filled later than the one before."""

    async def work() -> None:
        async with pool_of() as (pool, told):
            alice, _ = await talking(pool)
            with pytest.raises(PoisonJob):
                await alice.encrypt(BOB, trigger)
            await until(lambda: len(pool.worker_pids()) == 1)
            assert [event.attempt for event in told if isinstance(event, WorkerRevived)] == [1, 2, 3]

    run(work)


def test_a_worker_that_dies_before_its_answer_is_committed_is_replaced_as_one_that_died() -> None:
    """WRK-06: what it answered counts; its successor is told as a revival, whenever the commit ends."""

    async def work() -> None:
        async with pool_of() as (pool, told):
            alice, bob = await talking(pool)
            store = alice._desk.device._store
            [pid] = pool.worker_pids()
            worker = pool._places[0].worker
            assert worker is not None
            given = worker._given
            task = asyncio.create_task(alice.encrypt(BOB, b"!slow"))
            await until(lambda: len(given) == 1)
            with store.transaction():
                await until(lambda: not given)
                send(pid, signal.SIGKILL)
                await until(lambda: "worker-crashed" in names(told))
            assert await bob.decrypt(ALICE, await task) == b"!slow"
            await until(lambda: len(pool.worker_pids()) == 1)
            assert [event.attempt for event in told if isinstance(event, WorkerRevived)] == [1]

    run(work)


def test_workers_that_never_come_up_end_the_pool() -> None:
    """A program that cannot start: the pool gives up, says so, and leaves nothing."""

    async def work() -> None:
        told: list[object] = []
        settings = WorkerSettings(workers=2, backoff_first=0.01, backoff_most=0.02, max_failed_starts=3)
        pool = WorkerPool(settings, on_event=told.append, program="pawl.no_such_module")
        with pytest.raises(WorkerCrashed):
            await pool.start()
        assert pool.worker_pids() == ()
        found = [event.name for event in told]  # type: ignore[attr-defined]
        assert found.count("worker-crashed") == 3
        assert found[-3:] == ["pool-failed", "pool-closing", "pool-closed"]

    run(work)


def test_jobs_of_a_pool_that_gives_up_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        settings = WorkerSettings(workers=1, backoff_first=0.01, backoff_most=0.02, max_failed_starts=2)
        async with pool_of(settings) as (pool, _):
            alice, _ = await talking(pool)
            pool._program = "pawl.no_such_module"
            with pytest.raises(WorkerCrashed):
                await alice.encrypt(BOB, b"!kill")
            with pytest.raises(WorkerCrashed):
                await alice.encrypt(BOB, b"text")

    run(work)


# -- hanging ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trigger", [b"!hang", b"!stop"])
def test_a_job_that_hangs_ends_and_its_worker_is_replaced(trigger: bytes) -> None:
    async def work() -> None:
        async with pool_of(SHORT) as (pool, told):
            alice, bob = await talking(pool)
            calls = [alice.encrypt(BOB, text) for text in (b"one", trigger, b"two")]
            one, hung, two = await asyncio.gather(*calls, return_exceptions=True)
            assert isinstance(hung, JobTimeout)
            assert await bob.decrypt_many(ALICE, [one, two]) == [b"one", b"two"]  # type: ignore[list-item]
            assert names(told).count("job-timeout") == 2

    run(work)


def test_a_worker_that_is_stopped_from_outside() -> None:
    """SIGSTOP at any time: its jobs go to another one, the place is filled again."""

    async def work() -> None:
        async with pool_of(SHORT) as (pool, _):
            alice, bob = await talking(pool)
            [pid] = pool.worker_pids()
            send(pid, signal.SIGSTOP)
            calls = [alice.encrypt(BOB, b"%d" % number) for number in range(8)]
            sent = await asyncio.gather(*calls)
            assert await bob.decrypt_many(ALICE, sent) == [b"%d" % number for number in range(8)]
            assert not is_alive(pid)

    run(work)


# -- lies -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trigger", [b"!noise", b"!early", b"!mute", b"!twice", b"!swap", b"!cross", b"!stale", b"!wrong"]
)
def test_an_answer_that_no_worker_gives_is_not_used(trigger: bytes) -> None:
    """PAR-05: the worker is killed, nothing of its answer is committed, its other jobs are run again."""

    async def work() -> None:
        async with pool_of() as (pool, told):
            alice, bob = await talking(pool)
            before = alice._desk.device._store.snapshot()  # type: ignore[attr-defined]
            with pytest.raises(PoisonJob):
                await alice.encrypt(BOB, trigger)
            assert alice._desk.device._store.snapshot() == before  # type: ignore[attr-defined]
            assert names(told).count("worker-answer-refused") == QUICK.tries
            assert await bob.decrypt(ALICE, await alice.encrypt(BOB, b"text")) == b"text"

    run(work)


def test_a_bug_is_no_refusal() -> None:
    """PAR-01: what is no refusal reaches the caller as what it is, without its text."""

    async def work() -> None:
        async with pool_of() as (pool, _):
            alice, bob = await talking(pool)
            with pytest.raises(RuntimeError, match="ZeroDivisionError"):
                await alice.encrypt(BOB, b"!bug")
            assert await bob.decrypt(ALICE, await alice.encrypt(BOB, b"text")) == b"text"

    run(work)


# -- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 3])
def test_over_the_limit_jobs_are_refused_at_once(workers: int) -> None:
    """WRK-01, WRK-02: the limits are those of the pool, whatever the number of workers; who was taken is served."""

    async def work() -> None:
        settings = WorkerSettings(workers=workers, max_pending=5, max_queued=7)
        async with pool_of(settings) as (pool, told):
            alice, bob = await talking(pool)
            calls = [alice.encrypt(BOB, b"!slow %d" % number) for number in range(40)]
            results = await asyncio.gather(*calls, return_exceptions=True)
            refused = [each for each in results if isinstance(each, Backpressure)]
            assert len(refused) == 40 - 12
            assert {each.limit for each in refused} == {"queued"}
            assert await bob.decrypt_many(ALICE, results[:12]) == [b"!slow %d" % number for number in range(12)]
            stats = pool.stats()
            assert (stats.peak_pending, stats.peak_queued) == (5, 7)
            assert names(told).count("backpressure") == 1
            # There is room again.
            await alice.encrypt(BOB, b"text")

    run(work)


def test_over_the_limit_of_bytes() -> None:
    async def work() -> None:
        async with pool_of(WorkerSettings(workers=2, max_bytes=100_000)) as (pool, _):
            alice, _ = await talking(pool)
            calls = [alice.encrypt(BOB, b"!slow" + bytes(30_000)) for number in range(6)]
            results = await asyncio.gather(*calls, return_exceptions=True)
            refused = [each for each in results if isinstance(each, Backpressure)]
            assert [each.limit for each in refused] == ["bytes"] * 3
            assert 90_000 < pool.stats().peak_bytes <= 100_000
            # One that never fits is told so, however long anybody would wait.
            with pytest.raises(Backpressure):
                await alice.encrypt(BOB, bytes(100_000))

    run(work)


def test_over_the_limit_callers_wait() -> None:
    """As configured: all are served, in order, and the limits hold all the same."""

    async def work() -> None:
        settings = WorkerSettings(workers=2, max_pending=3, max_queued=2, max_bytes=5_000, when_full=WhenFull.WAIT)
        async with pool_of(settings) as (pool, told):
            alice, bob = await talking(pool)
            tasks = [asyncio.create_task(alice.encrypt(BOB, b"%d" % number)) for number in range(60)]
            await asyncio.sleep(0)
            assert pool.stats().waiting == 55
            # Some lose patience, before and while there is room for them.
            for task in tasks[20:60:4]:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            left = [each for each in results if not isinstance(each, BaseException)]
            assert len(left) == 50
            texts = [b"%d" % number for number in range(60) if number < 20 or number % 4]
            assert await bob.decrypt_many(ALICE, left) == texts
            stats = pool.stats()
            assert stats.peak_pending <= 3
            assert stats.peak_queued <= 2
            assert stats.peak_bytes <= 5_000
            assert names(told).count("backpressure") == 1
            with pytest.raises(Backpressure):
                await alice.encrypt(BOB, bytes(5_000))

    run(work)


# -- cancelling -------------------------------------------------------------------------------------------------------


def test_a_cancelled_caller_costs_the_others_nothing() -> None:
    """Jobs that nobody waits for give their places back, wherever they were."""

    async def work() -> None:
        async with pool_of(WorkerSettings(workers=1, max_pending=8, max_queued=100)) as (pool, _):
            alice, bob = await talking(pool)
            tasks = [asyncio.create_task(alice.encrypt(BOB, b"!slow %d" % number)) for number in range(30)]
            await asyncio.sleep(0.1)
            for task in tasks[1::2]:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            left = [each for each in results[::2] if not isinstance(each, BaseException)]
            assert len(left) == 15
            assert await bob.decrypt_many(ALICE, left) == [b"!slow %d" % number for number in range(0, 30, 2)]

    run(work)


# -- closing ----------------------------------------------------------------------------------------------------------


def test_closing_does_what_was_taken() -> None:
    async def work() -> None:
        async with pool_of() as (pool, told):
            alice, bob = await talking(pool)
            tasks = [asyncio.create_task(alice.encrypt(BOB, b"!slow %d" % number)) for number in range(10)]
            await asyncio.sleep(0)
            closing = asyncio.create_task(pool.close())
            await asyncio.sleep(0)
            with pytest.raises(PoolClosed):
                await alice.encrypt(BOB, b"too late")
            sent = await asyncio.gather(*tasks)
            await closing
            assert bob._sync.decrypt_many(ALICE, sent) == [b"!slow %d" % number for number in range(10)]
            assert told[-1].drained  # type: ignore[attr-defined]
            await pool.close()

    run(work)


@pytest.mark.parametrize("trigger", [b"!slow", b"!hang", b"!stop", b"!kill"])
def test_closing_ends_whatever_happens(trigger: bytes) -> None:
    """WRK-06: every job ends, and no process is left, also of those that hang or die meanwhile."""

    async def work() -> None:
        async with pool_of(WorkerSettings(workers=2, max_pending=4)) as (pool, _):
            alice, _ = await talking(pool)
            tasks = [asyncio.create_task(alice.encrypt(BOB, trigger + b"%d" % number)) for number in range(20)]
            await asyncio.sleep(0.05)
            await pool.close(drain=trigger == b"!hang", timeout=0.3)
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert {type(each) for each in results} <= {PoolClosed, PoisonJob, type(results[0])}
            assert any(isinstance(each, PoolClosed) for each in results)
            with pytest.raises(PoolClosed):
                await alice.encrypt(BOB, b"text")
            with pytest.raises(PoolClosed):
                await AsyncDevice.open(MemoryStore(), pool)

    run(work)


def test_a_store_that_does_not_come_back_leaves_the_outcome_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing does not wait for ever for a commit; and nobody is told that nothing happened."""
    monkeypatch.setattr("pawl.workers.pool.KILL_SECONDS", 0.3)

    async def work() -> None:
        async with pool_of() as (pool, _):
            alice, _ = await talking(pool)
            store = alice._desk.device._store
            store._turns.timeout = 5.0  # type: ignore[attr-defined]
            with store.transaction():
                task = asyncio.create_task(alice.encrypt(BOB, b"text"))
                await asyncio.sleep(0.05)
                await pool.close(drain=False)
                with pytest.raises(OutcomeUnknown):
                    await task

    run(work)


def test_a_device_is_closed_and_the_pool_goes_on() -> None:
    async def work() -> None:
        async with pool_of() as (pool, _):
            alice, bob = await talking(pool)
            task = asyncio.create_task(alice.encrypt(BOB, b"!slow"))
            await asyncio.sleep(0)
            await alice.close()
            assert await bob.decrypt(ALICE, await task) == b"!slow"
            with pytest.raises(PoolClosed):
                await alice.encrypt(BOB, b"text")

    run(work)


def test_a_pool_belongs_to_its_loop() -> None:
    pool = WorkerPool(QUICK)

    async def start() -> None:
        with pytest.raises(InvalidArgument):
            await AsyncDevice.open(MemoryStore(), pool)
        await pool.start()
        with pytest.raises(InvalidArgument):
            await pool.start()
        await pool.close()

    run(start)

    async def elsewhere() -> None:
        other = WorkerPool(QUICK)
        async with other:
            device = await AsyncDevice.open(MemoryStore(), other)
            loop = asyncio.new_event_loop()
            try:
                call = asyncio.get_running_loop().run_in_executor(
                    None, lambda: loop.run_until_complete(device.encrypt(BOB, b"text"))
                )
                with pytest.raises(InvalidArgument):
                    await call
            finally:
                loop.close()

    run(elsewhere)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("doing", ["hang", "stop", "idle"])
def test_workers_end_with_their_parent(how: signal.Signals, doing: str, tmp_path: Path) -> None:
    """The parent is killed: none of its workers stays behind, whatever it does, and the store is whole."""
    program = Path(__file__).with_name("parent_program.py")
    parent = subprocess.Popen(
        [sys.executable, str(program), str(tmp_path / "pawl.db"), doing], stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(is_alive, pids))
        parent.send_signal(how)
        parent.wait()
    end = time.monotonic() + 30
    while any(map(is_alive, pids)):
        assert time.monotonic() < end
        time.sleep(0.01)
    with SQLiteStore(tmp_path / "pawl.db").transaction() as tx:
        assert tx.count(Table.LOCAL, b"") == 1


# -- many at once -----------------------------------------------------------------------------------------------------


def test_first_messages_of_many_peers_at_once() -> None:
    """They all spend prekeys of one device; each session comes into being, each prekey serves once."""

    async def work() -> None:
        async with pool_of(WorkerSettings(workers=2)) as (pool, _):
            bob = await AsyncDevice.open(MemoryStore(), pool)
            peers = [ProtocolAddress(f"peer {number}", 1) for number in range(60)]
            first = []
            for peer in peers:
                other = await AsyncDevice.open(MemoryStore(), pool)
                await other.establish(BOB, await bob.prekey_bundle())
                first.append(await other.encrypt(BOB, peer.name.encode()))
            calls = [bob.decrypt(peer, message) for peer, message in zip(peers, first, strict=True)]
            assert await asyncio.gather(*calls) == [peer.name.encode() for peer in peers]
            assert await bob.prekey_count() == 0

    run(work)


def test_another_process_on_the_same_store(tmp_path: Path) -> None:
    """ATM-04: another writer is faster; the step is run again from what is there by then."""

    async def work(mine: Store, theirs: Store) -> None:
        async with pool_of() as (pool, told):
            alice, bob = await talking(pool, mine)
            other = await AsyncDevice.open(theirs, pool)
            texts = [b"%d" % number for number in range(200)]
            sent = await asyncio.gather(
                *((alice if number % 3 else other).encrypt(BOB, text) for number, text in enumerate(texts))
            )
            # Whatever order they were done in: each counter was used once.
            assert sorted(await asyncio.gather(*(bob.decrypt(ALICE, each) for each in sent))) == sorted(texts)
            assert pool.stats().conflicts == names(told).count("conflict-retried") > 0

    path = tmp_path / "pawl.db"
    stores = SQLiteStore(path), SQLiteStore(path)
    try:
        run(lambda: work(*stores))
    finally:
        for store in stores:
            store.close()


def test_settings_are_checked() -> None:
    bad = [
        {"workers": 0},
        {"workers": True},
        {"workers": 257},
        {"max_pending": 0},
        {"max_queued": 0},
        {"max_bytes": 0},
        {"when_full": "refuse"},
        {"batch": 0},
        {"batch": 1001},
        {"in_flight": 17},
        {"job_timeout": 0},
        {"job_timeout": float("nan")},
        {"start_timeout": float("inf")},
        {"close_timeout": "1"},
        {"backoff_first": -1},
        {"backoff_factor": 0.5},
        {"backoff_first": 2.0, "backoff_most": 1.0},
        {"max_failed_starts": 0},
        {"tries": 0},
    ]
    for settings in bad:
        with pytest.raises(InvalidArgument):
            WorkerSettings(**settings)  # type: ignore[arg-type]
    for arguments in ((None,), (QUICK, None, 7)):
        with pytest.raises(InvalidArgument):
            WorkerPool(arguments[0], program=arguments[-1])  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument):
        WorkerPool(on_event=3)  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        _ = workers.Nothing


def test_the_faulty_program_is_the_real_one_otherwise() -> None:
    """Without a trigger in a text, what the tests here run is what users run."""

    async def work() -> None:
        async with pool_of(program="pawl.workers.program") as (pool, _):
            alice, bob = await talking(pool)
            # There a trigger is a text like any other.
            assert await bob.decrypt(ALICE, await alice.encrypt(BOB, b"!kill")) == b"!kill"
        assert FAULTY == "pawl_gate.faulty_worker"
        assert issubclass(Backpressure, ProtocolError)
        assert os.getpid() not in pool.worker_pids()

    run(work)


def test_an_idle_worker_that_is_stopped_is_gone_after_closing() -> None:
    """WRK-06: one that has nothing to do is let end by itself; one that does not is killed."""

    async def work() -> None:
        async with pool_of() as (pool, _):
            [pid] = pool.worker_pids()
            send(pid, signal.SIGSTOP)
            await pool.close()
            assert not is_alive(pid)

    run(work)
