"""What a worker computes is what the device itself would do; what it says is read strictly. All in one process here."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pawl import Device, EncryptedMessage, IdentityPolicy, MemoryStore, MessageType, ProtocolError
from pawl.compatibility import STRICT
from pawl.errors import Conflict, MembersWithoutSession, StorageError
from pawl.events import Event
from pawl.storage import Row, Table
from pawl.workers import messages, program
from pawl.workers.desk import Batch, Desk
from pawl.workers.device import of_peer, read_message, read_plaintext
from pawl.workers.job import Job, Outcome
from pawl.workers.messages import BadAnswer, Frames
from pawl.workers.step import bundle_values, run_batch
from pawl.workers.view import ALL, COUNT, GET, NUMBERS, Missing, Query, Recording, Span, View, Write
from tests.devices import ALICE, BOB, flipped

SESSION = NUMBERS[Table.SESSION.value]


def desk_of(store: MemoryStore) -> Desk:
    return Desk(store, identity_policy=IdentityPolicy(), compatibility=STRICT, store_plaintext=None, clock=lambda: 7)


class Through:
    """Calls of one device that go through a desk and a worker's code, without processes."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.desk = desk_of(store)
        self.number = 0

    def job(self, operation: str, arguments: list[Any], finish: Callable[[object], object] | None = None) -> Job:
        made = Job(operation, self.desk, of_peer(BOB), lambda: None, 0, arguments, finish)
        self.number += 1
        made.number, made.future = self.number, Future()  # type: ignore[assignment]
        return made

    def batch(self, *jobs: Job) -> list[Outcome]:
        """What became of each."""
        batch = Batch(self.number, list(jobs))
        self.desk.told()
        assert not self.desk.read(batch)
        answer = run_batch(messages.unpack(batch.message[4:]))
        [body] = Frames().feed(messages.pack(answer))
        return self.desk.commit(batch, self.desk.parse(batch, body))

    def call(self, operation: str, arguments: list[Any]) -> tuple[str, object, list[str]]:
        """Code or "done", result, events; run again as often as it asks."""
        job = self.job(operation, arguments)
        while True:
            [outcome] = self.batch(job)
            if outcome.kind != "again":
                break
        assert outcome.kind == "ended"
        code = "done" if outcome.refusal is None else outcome.refusal.code  # type: ignore[attr-defined]
        return code, outcome.result, [event.name for event in outcome.events]


def plain(message: EncryptedMessage) -> list[object]:
    return [int(message.type), message.serialized]


STEPS = st.lists(
    st.sampled_from(["send", "send", "many", "take", "last", "replay", "tamper", "batch", "reply", "establish"]),
    max_size=25,
)


@given(STEPS, st.randoms(use_true_random=False))
def test_a_worker_does_what_the_device_does(steps: list[str], random: Any) -> None:
    """Each step is taken twice from one state, by the device itself and through a worker: same end, events, rows."""
    alice = Through(MemoryStore())
    bob = Device(MemoryStore(), on_event=lambda event: None)
    arguments: list[Any] = [BOB.name, BOB.device_id]
    bob.establish(ALICE, alice.desk.device.prekey_bundle())
    waiting = [bob.encrypt(ALICE, b"first")]
    old = list(waiting)
    for step in ["take", *steps]:
        told: list[Event] = []
        twin = Device(alice.store.fork(), on_event=told.append, clock=lambda: 7)
        if step == "reply":
            for _ in range(random.randrange(1, 4)):
                waiting.append(bob.encrypt(ALICE, b"text"))
                old.append(waiting[-1])
            continue
        operation, argument, sent = "decrypt", None, None  # type: str, Any, Any
        if step == "send":
            operation, argument = "encrypt", b"text"
        elif step == "many":
            operation, argument = "encrypt_many", [b"a", b"b"]
        elif step == "establish":
            argument = bob.prekey_bundle()
            operation, sent = "establish", bundle_values(argument)
        elif step == "batch":
            argument = [waiting.pop(random.randrange(len(waiting))) for _ in range(min(3, len(waiting)))] or old[-1:]
            operation, sent = "decrypt_many", [plain(each) for each in argument]
        else:
            message = old[-1]
            if step in ("take", "last") and waiting:
                message = waiting.pop(0 if step == "take" else -1)
            if step == "replay":
                message = random.choice(old)
            if step == "tamper":
                message = flipped(message, random.randrange(len(message.serialized)))
            argument, sent = message, plain(message)
        expected, value = "done", None
        try:
            value = getattr(twin, operation)(BOB, argument)
        except ProtocolError as refusal:
            expected = refusal.code
        code, result, events = alice.call(operation, [*arguments, argument if sent is None else sent])
        assert (code, events) == (expected, [event.name for event in told])
        # Nothing random is in a message or a plaintext: they are the same to the byte.
        if operation == "encrypt" and code == "done":
            assert read_message(result) == value
            assert isinstance(value, EncryptedMessage)
            bob.decrypt(ALICE, value)
        elif operation == "encrypt_many" and code == "done":
            assert [read_message(each) for each in result] == value  # type: ignore[attr-defined]
            bob.decrypt_many(ALICE, value)  # type: ignore[arg-type]
        elif code == "done":
            assert (list(result) if isinstance(result, tuple) else result) == value
        mine, theirs = alice.store.snapshot(), twin._store.snapshot()  # type: ignore[attr-defined]
        for table in Table:
            assert mine[table].keys() == theirs[table].keys() or operation == "establish"
            if operation.startswith("encrypt"):
                assert {key: row.value for key, row in mine[table].items()} == {
                    key: row.value for key, row in theirs[table].items()
                }


def met() -> tuple[Through, Device]:
    """Alice, through workers, and Bob, who have heard from each other."""
    alice = Through(MemoryStore())
    bob = Device(MemoryStore())
    alice.desk.device.establish(BOB, bob.prekey_bundle())
    bob.decrypt(ALICE, alice.desk.device.encrypt(BOB, b"first"))
    alice.desk.device.decrypt(BOB, bob.encrypt(ALICE, b"second"))
    return alice, bob


# -- committing -------------------------------------------------------------------------------------------------------


def test_a_step_on_rows_that_changed_is_not_committed() -> None:
    """ATM-04: every row that the step read is compared, the ones it does not write as well."""
    for table in (Table.SESSION, Table.SESSION_INDEX, Table.IDENTITY):
        alice, _ = met()
        job = alice.job("encrypt", [BOB.name, 1, b"text"], read_message)
        batch = Batch(1, [job])
        alice.desk.read(batch)
        answers = messages.pack(run_batch(messages.unpack(batch.message[4:])))[4:]
        with alice.store.transaction() as tx:
            [(key, row)] = tx.scan(table, b"")
            tx.put(table, key, row.value, version=row.version)
        before = alice.store.snapshot()
        [outcome] = alice.desk.commit(batch, alice.desk.parse(batch, answers))
        assert outcome.kind == "conflict"
        assert alice.store.snapshot() == before


def test_a_row_that_was_made_again_is_not_the_same() -> None:
    """Neither the version alone nor the value alone says that nothing happened."""
    alice, _ = met()
    job = alice.job("encrypt", [BOB.name, 1, b"text"], read_message)
    batch = Batch(1, [job])
    alice.desk.read(batch)
    answers = messages.pack(run_batch(messages.unpack(batch.message[4:])))[4:]
    with alice.store.transaction() as tx:
        [(key, row)] = tx.scan(Table.SESSION, b"")
        tx.delete(Table.SESSION, key, version=row.version)
        version = 0
        while version < row.version:
            version = tx.put(Table.SESSION, key, row.value[:-1] + b"x", version=version)
    [outcome] = alice.desk.commit(batch, alice.desk.parse(batch, answers))
    assert outcome.kind == "conflict"


def test_after_a_conflict_none_of_its_lane_goes_ahead() -> None:
    """The later jobs of a peer are run again too: they stand on what was not committed."""
    alice, bob = met()
    jobs = [alice.job("encrypt", [BOB.name, 1, b"%d" % number], read_message) for number in range(3)]
    batch = Batch(1, list(jobs))
    alice.desk.read(batch)
    answers = messages.pack(run_batch(messages.unpack(batch.message[4:])))[4:]
    other = alice.desk.device.encrypt(BOB, b"faster")
    outcomes = alice.desk.commit(batch, alice.desk.parse(batch, answers))
    assert [each.kind for each in outcomes] == ["conflict", "again", "again"]
    again = alice.batch(*jobs)
    texts = [bob.decrypt(ALICE, each) for each in (other, *(outcome.result for outcome in again))]  # type: ignore[arg-type]
    assert texts == [b"faster", b"0", b"1", b"2"]


def test_an_abandoned_job_is_not_committed() -> None:
    """Nobody would be handed its counter. What came after it is run again."""
    alice, bob = met()
    jobs = [alice.job("encrypt", [BOB.name, 1, b"%d" % number], read_message) for number in range(3)]
    batch = Batch(1, list(jobs))
    alice.desk.read(batch)
    answers = messages.pack(run_batch(messages.unpack(batch.message[4:])))[4:]
    assert jobs[1].future is not None
    jobs[1].future.cancel()
    outcomes = alice.desk.commit(batch, alice.desk.parse(batch, answers))
    assert [each.kind for each in outcomes] == ["ended", "ended", "again"]
    [last] = alice.batch(jobs[2])
    assert bob.decrypt_many(ALICE, [outcomes[0].result, last.result]) == [b"0", b"2"]  # type: ignore[list-item]
    assert not bob._store.snapshot()[Table.SKIPPED_KEY]  # type: ignore[attr-defined]


# -- strictness -------------------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=40) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=6).map(tuple),
    max_leaves=30,
)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_a_bad_answer(data: bytes) -> None:
    """PAR-05, PAR-01: reading never fails in another way."""
    with suppress(BadAnswer):
        messages.unpack(data)
    frames = Frames(most=1000)
    with suppress(BadAnswer):
        for body in frames.feed(data):
            assert len(body) <= 1000


@given(st.data())
def test_a_changed_answer_is_refused_or_still_the_jobs_own(data: st.DataObject) -> None:
    """Any part of a real answer replaced by anything: refused by name, or what is committed is the peer's own row."""
    alice, _ = met()
    batch = Batch(1, [alice.job("encrypt", [BOB.name, 1, b"text"], read_message)])
    alice.desk.read(batch)
    answers = messages.unpack(messages.pack(run_batch(messages.unpack(batch.message[4:])))[4:])
    changed = change(answers, data)
    others = {
        (table, key): row
        for table, rows in alice.store.snapshot().items()
        for key, row in rows.items()
        if table is not Table.SESSION
    }
    try:
        outcomes = alice.desk.commit(batch, alice.desk.parse(batch, messages.pack(changed)[4:]))
    except BadAnswer:
        pass
    else:
        assert {each.kind for each in outcomes} <= {"ended", "again", "conflict"}
    left = alice.store.snapshot()
    assert {(table, key): row for (table, key), row in others.items() if left[table].get(key) != row} == {}


def change(value: Any, data: st.DataObject) -> Any:
    """`value` with one part replaced by anything."""
    if isinstance(value, tuple) and value and data.draw(st.integers(0, 3)):
        index = data.draw(st.integers(0, len(value) - 1))
        return (*value[:index], change(value[index], data), *value[index + 1 :])
    return data.draw(VALUES)


@pytest.mark.parametrize("code", ["backpressure", "pool-closed", "outcome", "worker-error"])
def test_a_worker_does_not_speak_for_the_pool(code: str) -> None:
    with pytest.raises(BadAnswer):
        messages.read_refusal((code, "text", (), ()))


def test_refusals_come_back_as_they_were() -> None:
    refusal = MembersWithoutSession("text", (ALICE, BOB))
    refusal.add_note("a note")
    read = messages.read_refusal(messages.unpack(messages.pack(messages.show_refusal(refusal))[4:]))
    assert isinstance(read, MembersWithoutSession)
    assert (read.members, read.__notes__, str(read)) == ((ALICE, BOB), ["a note"], "text")


def test_every_event_of_a_step_comes_back_as_it_was() -> None:
    """All kinds, filled by the types of their fields."""
    from tests.test_texts import Maker

    for kind in messages.STEP_EVENTS:
        event = Maker().make(kind)
        assert messages.read_event(messages.unpack(messages.pack(messages.show_event(event))[4:])) == event
    for wrong in (("no-such-event",), ("prekey-spent",), ("prekey-spent", "1"), ("prekey-spent", True), (), (7,)):
        with pytest.raises(BadAnswer):
            messages.read_event(wrong)


def test_frames_are_put_together() -> None:
    """In any pieces; over the limit they are refused before they come."""
    data = messages.pack([1, b"text"]) + messages.pack([2])
    for size in (1, 3, 100):
        frames = Frames()
        found = [body for start in range(0, len(data), size) for body in frames.feed(data[start : start + size])]
        assert [messages.unpack(body) for body in found] == [(1, b"text"), (2,)]
    with pytest.raises(BadAnswer):
        list(Frames(most=10).feed(b"\x00\x00\x00\x0b"))


# -- the view ---------------------------------------------------------------------------------------------------------


def test_a_view_follows_writes_as_a_store_does() -> None:
    """Scans, parts of scans and counts after any writes are those of a store with the same rows."""
    keys = [b"%d" % number for number in range(8)]

    @given(
        st.lists(st.sampled_from(keys), unique=True),
        st.integers(0, 8),
        st.lists(st.tuples(st.sampled_from(keys), st.booleans()), max_size=12),
        st.integers(0, 9),
    )
    def check(there: list[bytes], known: int, writes: list[tuple[bytes, bool]], limit: int) -> None:
        store = MemoryStore(rows={Table.SESSION: {key: Row(b"old", 3) for key in there}})
        view = View()
        with store.transaction() as tx:
            found = tx.scan(Table.SESSION, b"", limit=known)
            view.spans[SESSION, b""] = Span([key for key, _ in found], len(found) < known)
            view.counts[SESSION, b""] = len(there)
            view.rows = {(SESSION, key): tx.get(Table.SESSION, key) for key in keys}
            recording = Recording(view)
            with recording.transaction() as mine:
                for key, put in writes:
                    for each in (tx, mine):
                        row = each.get(Table.SESSION, key)
                        if put:
                            each.put(Table.SESSION, key, b"new", version=0 if row is None else row.version)
                        elif row is not None:
                            each.delete(Table.SESSION, key, version=row.version)
                compare(tx, mine, limit)
            view.apply(recording.writes())
            with Recording(view).transaction() as after:
                compare(tx, after, limit)

    def compare(tx: Any, mine: Any, limit: int) -> None:
        assert mine.count(Table.SESSION, b"") == tx.count(Table.SESSION, b"")
        for most in (limit, None):
            try:
                seen = [key for key, _ in mine.scan(Table.SESSION, b"", limit=most)]
            except Missing:
                # More is asked for, rather than too little shown.
                continue
            assert seen == [key for key, _ in tx.scan(Table.SESSION, b"", limit=most)]

    check()


def test_a_view_asks_for_what_it_does_not_know() -> None:
    recording = Recording(View())
    with recording.transaction() as tx:
        for ask, limit in (
            (lambda: tx.get(Table.SESSION, b"key"), GET),
            (lambda: tx.count(Table.SESSION, b"key"), COUNT),
            (lambda: tx.scan(Table.SESSION, b"key"), ALL),
            (lambda: tx.scan(Table.SESSION, b"key", limit=3), 3),
            (lambda: tx.delete(Table.SESSION, b"key", version=3), GET),
        ):
            with pytest.raises(Missing) as missing:
                ask()
            assert missing.value.query == Query(SESSION, b"key", limit)
        with pytest.raises(Conflict):
            tx.delete(Table.SESSION, b"key", version=0)
        # A new row may be written unread.
        tx.put(Table.SESSION, b"key", b"value", version=0)
        with pytest.raises(Conflict):
            tx.put(Table.SESSION, b"key", b"value", version=0)
        tx.delete(Table.SESSION, b"key", version=1)
    assert recording.writes() == []
    with pytest.raises(Conflict), recording.transaction() as tx:  # noqa: PT012 - a whole transaction
        tx.put(Table.SESSION, b"key", b"value", version=0)
        tx.put(Table.SESSION, b"key", b"value", version=0)
    assert recording.writes() == []
    recording.close()
    view = View()
    view.spans[SESSION, b"k"] = Span([b"key"], complete=True)
    assert view.get((SESSION, b"kex")) is None
    assert view.count((SESSION, b"k")) == 1
    view.rows[SESSION, b"key"] = None
    with pytest.raises(StorageError), Recording(view).transaction() as tx:
        tx.scan(Table.SESSION, b"k")
    view.apply([Write(SESSION, b"key", 0, None)])
    assert view.spans[SESSION, b"k"].keys == [b"key"]


# -- the program ------------------------------------------------------------------------------------------------------


def test_the_program_serves_until_its_stdin_ends() -> None:
    """Batches in, answers out, over real pipes."""
    alice, _ = met()
    batch = Batch(5, [alice.job("encrypt", [BOB.name, 1, b"text"], read_message)])
    alice.desk.read(batch)
    ours, theirs = os.pipe(), os.pipe()
    thread = threading.Thread(target=program.serve, args=(ours[0], theirs[1], program.answer))
    thread.start()
    os.write(ours[1], batch.message)
    frames, found = Frames(), []
    while len(found) < 2:
        found += [messages.unpack(body) for body in frames.feed(os.read(theirs[0], 1 << 16))]
    os.close(ours[1])
    thread.join()
    for descriptor in (ours[0], *theirs):
        os.close(descriptor)
    assert found[0] == (messages.VERSION,)
    assert found[1][0] == 5
    [outcome] = alice.desk.commit(batch, alice.desk.parse(batch, messages.pack(found[1])[4:]))
    assert isinstance(outcome.result, EncryptedMessage)
    assert outcome.result.type is MessageType.SIGNAL
    with pytest.raises(BadAnswer):
        read_plaintext("text")
