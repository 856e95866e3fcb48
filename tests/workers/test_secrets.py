"""KEY-06 among workers: what a worker is sent, and what any of the pool's objects says of itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from pawl import MemoryStore, ProtocolAddress
from pawl.session.rows import address_key
from pawl.storage.contract import Table
from pawl.telemetry import Telemetry
from pawl.wire import group_records, records
from pawl.workers import AsyncDevice, WorkerSettings, messages
from pawl.workers.desk import Batch, _Parsed
from pawl.workers.foresight import Reader
from pawl.workers.job import Job, Lane, Outcome
from pawl.workers.messages import Frames
from pawl.workers.process import Worker, _Given
from pawl.workers.step import Drawn, NeedsWrap, StepDevice
from pawl.workers.turns import _Piece
from pawl.workers.view import Recording, Span, View, _RecordingTransaction
from tests.devices import ALICE, BOB
from tests.test_texts import NOTHING_OF_ITS_OWN, PLAINTEXT, said
from tests.workers.service import QUICK, pool_of, run, talking

CAROL = ProtocolAddress("carol", 1)
GROUP = UUID(int=7)


def secrets_of(store: MemoryStore) -> dict[str, list[bytes]]:
    """The secrets in the rows of a device, by what they are."""
    rows = store.snapshot()
    found: dict[str, list[bytes]] = {}
    for row in (row for key, row in rows[Table.LOCAL].items() if key == b"device"):
        found["identity"] = [records.decode_local_identity(row.value).pair.private.data]
    for key, row in rows[Table.SESSION].items():
        session = records.decode_session(row.value)
        name = "session " + ("bob" if key.startswith(address_key(BOB)) else "other")
        found.setdefault(name, []).extend(
            [session.root_key.data, session.sending.chain_key.data, session.sending.ratchet.private.data]
        )
    found["prekeys"] = [records.decode_prekey(row.value).pair.private.data for row in rows[Table.PREKEY].values()]
    found["signed prekeys"] = [
        records.decode_signed_prekey(row.value).pair.private.data for row in rows[Table.SIGNED_PREKEY].values()
    ]
    found["group"] = [
        group_records.decode_own_group(row.value).sending.chain_key.data for row in rows[Table.SENDER_KEY].values()
    ]
    return {name: values for name, values in found.items() if values}


def test_a_worker_is_sent_what_its_job_needs_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """KEY-06: "no secret appears ... in a message to a worker that does not need it"."""
    sent: list[bytes] = []
    ask = Worker.ask

    async def noted(self: Worker, jobs: int, message: bytes) -> bytes:
        sent.append(message)
        return await ask(self, jobs, message)

    monkeypatch.setattr(Worker, "ask", noted)

    async def work() -> None:
        async with pool_of() as (pool, _):
            store = MemoryStore()
            alice, bob = await talking(pool, store)
            carol = await AsyncDevice.open(MemoryStore(), pool)
            await alice.establish(CAROL, await carol.prekey_bundle())
            await alice.generate_prekeys(3)
            group = alice.group(GROUP)
            await group.set_members([BOB])
            await group.delivered((await group.send(b"text")).distributions)
            first = await carol.decrypt(ALICE, await alice.encrypt(CAROL, b"text"))
            assert first == b"text"

            async def seen(call: Any) -> set[str]:
                known = secrets_of(store)
                sent.clear()
                await call
                assert len(sent) == 1
                return {name for name, values in known.items() if any(value in sent[0] for value in values)}

            message = await bob.encrypt(ALICE, b"text")
            bundle = await carol.prekey_bundle()
            assert await seen(alice.encrypt(BOB, b"text")) == {"session bob"}
            assert await seen(alice.encrypt_many(BOB, [b"text"] * 3)) == {"session bob"}
            assert await seen(alice.decrypt(BOB, message)) == {"session bob"}
            assert await seen(group.encrypt(b"text")) == {"group"}
            assert await seen(group.send(b"text")) == {"group"}
            assert await seen(alice.verify_bundle(bundle)) == set()
            # X3DH takes the identity key.
            assert await seen(alice.establish(CAROL, bundle)) == {"identity"}
            other = await AsyncDevice.open(MemoryStore(), pool)
            await other.establish(ALICE, await alice.prekey_bundle())
            greeting = await other.encrypt(ALICE, b"text")
            dave = ProtocolAddress("dave", 1)
            assert await seen(alice.decrypt(dave, greeting)) <= {"identity", "prekeys", "signed prekeys"}

    run(work)


def test_no_object_of_the_pool_says_what_it_holds() -> None:
    """KEY-06 for each class of `pawl.workers`, one of each, as it is in a pool at work."""

    async def work() -> None:
        async with pool_of(WorkerSettings(workers=1, max_pending=2)) as (pool, _):
            store = MemoryStore()
            alice, _ = await talking(pool, store)
            group = alice.group(GROUP)
            tasks = [asyncio.create_task(alice.encrypt(BOB, b"!slow" + PLAINTEXT)) for _ in range(5)]
            await asyncio.sleep(0.02)
            [job, *_] = pool._live.values()
            lanes = pool._lanes[alice._desk]
            worker = pool._places[0].worker
            assert worker is not None
            view = View()
            frames = Frames()
            list(frames.feed(messages.pack([PLAINTEXT])[:-1]))
            secrets = [PLAINTEXT, *(value for values in secrets_of(store).values() for value in values)]
            with store.transaction() as tx:
                reader = Reader(tx, view)
                reader.peer(BOB)
            recording = Recording(view)
            drawn = Drawn([secrets[1]])
            drawn(32)
            device = StepDevice((True, False, False, False, False, 7, 0), alice._desk._identity)
            given = _Given(1, asyncio.get_running_loop().create_future())
            batch = Batch(1, [job])
            batch.message = PLAINTEXT
            living: list[object] = [pool, alice, alice._desk, group, job, lanes, worker, view, frames, reader]
            living += [recording, drawn, device, given, batch, Lane(job.lane), Span([], True), Telemetry()]
            living += [Outcome(job, "ended", PLAINTEXT, distribution=PLAINTEXT), _Parsed(job, 0, PLAINTEXT)]
            piece = _Piece(lambda: PLAINTEXT, asyncio.get_running_loop().create_future())
            piece.result = PLAINTEXT
            living += [alice._desk.thread, piece]
            living += [recording.transaction(), pool._places[0], NeedsWrap(PLAINTEXT)]
            found = {f"{type(each).__module__}.{type(each).__name__}": said(each, secrets) for each in living}
            await asyncio.gather(*tasks)
            mine = {name for name, why in NOTHING_OF_ITS_OWN.items() if "tests/workers" in why}
            assert set(found) >= mine
            assert {name: where for name, where in found.items() if where} == {}
            assert isinstance(job, Job)
            assert isinstance(living[-3], _RecordingTransaction)

    run(work)


def frames_of(told: list[Any]) -> Iterator[str]:
    """Every event as a line."""
    return (str(event) for event in told)


def test_no_event_of_the_pool_says_a_secret() -> None:
    """What was told while jobs died, were refused and were served."""

    async def work() -> None:
        async with pool_of(QUICK) as (pool, told):
            store = MemoryStore()
            alice, _ = await talking(pool, store)
            for text in (b"!kill" + PLAINTEXT, b"!noise" + PLAINTEXT, b"!bug" + PLAINTEXT):
                with pytest.raises(Exception) as caught:  # noqa: PT011 - a refusal, and a bug
                    await alice.encrypt(BOB, text)
                assert said(caught.value, [PLAINTEXT]) == ()
            lines = "\n".join(frames_of(told))
            secrets = [value for values in secrets_of(store).values() for value in values]
            assert said(lines, [PLAINTEXT, *secrets]) == ()
            assert "poison-job" in lines

    run(work)
