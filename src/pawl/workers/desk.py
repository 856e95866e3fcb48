"""The parent's side of a device: in a thread of its own it reads rows for workers, and commits what they answer.

Only what is here touches the store. An answer is committed if everything that its step read is in the store exactly as
the step saw it: then it is as if the step had run in this transaction (ATM-04). All answers of a batch are committed
together; where that cannot be, one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final
from uuid import UUID

from pawl.address import ProtocolAddress
from pawl.application import HookTrouble, StorePlaintext, run_hook
from pawl.compatibility import Compatibility
from pawl.crypto.keys import PublicKey
from pawl.device import Device
from pawl.device_base import Decided
from pawl.errors import Conflict, OutcomeUnknown, ProtocolError, StorageError, StoreBusy, StoreClosed, UntrustedIdentity
from pawl.events import CallbackFailed, Event, GroupMessageRefused, IdentityRejected, MessageRefused, MessagesRolledBack
from pawl.group_device import WrapTrouble
from pawl.identity import CallbackTrouble, IdentityPolicy
from pawl.sources import Clock, system_rng
from pawl.storage.contract import Store, Table, Transaction
from pawl.wire import records
from pawl.wire.records import LocalIdentity
from pawl.workers import foresight, messages
from pawl.workers.foresight import Reader
from pawl.workers.job import Job, LaneKey, Outcome
from pawl.workers.messages import BUG, DONE, NEEDS, REFUSED, SKIPPED, UNDECIDED, WRAP, BadAnswer
from pawl.workers.permitted import check_writes
from pawl.workers.turns import DeskThread, carried
from pawl.workers.view import COUNT, GET, TABLES, Missing, Query, View, Write

MAX_RUNS: Final = 16
"""Times that a job may ask for what was not foreseen; then it is done here, on the store itself."""


class Batch:
    """Jobs that go to a worker together, in the order in which they run there; `message` is what it is sent."""

    __slots__ = ("jobs", "message", "number", "view")

    def __init__(self, number: int, jobs: list[Job]) -> None:
        self.number = number
        self.jobs = jobs
        self.view = View()
        self.message = b""


class _Parsed:
    """One job's answer, checked as far as it can be without the store."""

    __slots__ = ("asked", "drawn", "events", "job", "kind", "refusal", "value", "writes")

    def __init__(
        self,
        job: Job,
        kind: int,
        value: Any = None,
        *,
        refusal: ProtocolError | None = None,
        asked: Sequence[Query] = (),
        writes: Sequence[Write] = (),
        events: Sequence[Event] = (),
        drawn: Sequence[bytes] = (),
    ) -> None:
        self.job = job
        self.kind = kind
        self.value = value
        self.refusal = refusal
        self.asked = asked
        self.writes = writes
        self.events = events
        self.drawn = drawn


class Desk:
    """One device's store, and the only thread that uses it."""

    def __init__(
        self,
        store: Store,
        *,
        identity_policy: IdentityPolicy,
        compatibility: Compatibility,
        store_plaintext: StorePlaintext | None,
        clock: Clock,
    ) -> None:
        """Open the device on `store`: to be called in `thread`, which exists by then. Raises: what `Device` raises."""
        self._told: list[Event] = []
        self._stored = 0
        """Plaintexts of the present job that the hook has stored."""
        self.policy = identity_policy
        self.hook = store_plaintext
        self.device = Device(
            store,
            identity_policy=identity_policy,
            compatibility=compatibility,
            on_event=self._told.append,
            store_plaintext=store_plaintext,
            rng=system_rng,
            clock=clock,
        )
        identity = self.device._identity
        # Of this device's row the step needs the identity, and nothing else.
        self._identity = records.encode_local_identity(LocalIdentity(identity, self.device.registration_id, 1, 1))
        self._config = (
            identity_policy.trust_on_first_use,
            identity_policy.on_first_use is not None,
            identity_policy.on_mismatch is not None,
            compatibility.prekey_id_zero_as_absent,
            compatibility.untyped_public_keys,
            self.device.registration_id,
        )
        self.thread: DeskThread | None = None
        """Set by who opened it."""

    def told(self) -> list[Event]:
        """What the device told since it was last asked."""
        events, self._told[:] = list(self._told), []
        return events

    # -- reading ------------------------------------------------------------------------------------------------------

    def read(self, batch: Batch) -> list[Outcome]:
        """Read what the jobs of `batch` will ask for, and make the message to the worker.

        Jobs whose rows cannot be read, or that ask for more and more, are taken out of it: they are done here. Returns
        what has ended by that.
        """
        # By now nobody may wait for some of them.
        ended = [Outcome(job, "ended") for job in batch.jobs if job.abandoned]
        batch.jobs = [job for job in batch.jobs if not job.abandoned]
        view = batch.view
        lanes: dict[LaneKey, int] = {}
        try:
            with self.device._store.transaction() as tx:
                reader = Reader(tx, view)
                for job in batch.jobs:
                    foresight.read(reader, self.device, job)
            now = self.device._now()
        except ProtocolError as refusal:
            jobs, batch.jobs = batch.jobs, []
            if isinstance(refusal, StoreBusy | StoreClosed):
                return ended + [Outcome(job, "ended", refusal=_twin(refusal), events=self.told()) for job in jobs]
            # A row is damaged, such as one of a single peer: each job is told its own.
            return ended + [self.do(job) for job in jobs]
        ended_events = self.told()
        if ended_events and batch.jobs:
            ended.append(Outcome(batch.jobs[0], "events", events=ended_events))
        batch.message = messages.pack(
            [
                batch.number,
                [*self._config, now],
                self._identity if any(job.needs_identity for job in batch.jobs) else None,
                [
                    [table, key, 0, None] if row is None else [table, key, row.version, row.value]
                    for (table, key), row in view.rows.items()
                ],
                [[*place, span.complete, span.keys] for place, span in view.spans.items()],
                [[*place, count] for place, count in view.counts.items()],
                [
                    [
                        job.number,
                        lanes.setdefault(job.lane, len(lanes)),
                        job.operation,
                        job.arguments if job.wrapped is None else [*(job.arguments or ()), job.wrapped],
                        None if job.decided is None else [_shown(job.decided.pinned), job.decided.how],
                        job.drawn,
                    ]
                    for job in batch.jobs
                ],
            ]
        )
        return ended

    # -- doing --------------------------------------------------------------------------------------------------------

    def do(self, job: Job) -> Outcome:
        """Do a job here, on the store itself."""
        if job.abandoned:
            return Outcome(job, "ended")
        try:
            result = job.direct()
        except ProtocolError as refusal:
            return Outcome(job, "ended", refusal=refusal, events=self.told())
        except Exception as error:
            return Outcome(job, "ended", refusal=carried(error), events=self.told())
        return Outcome(job, "ended", result, events=self.told())

    # -- asking -------------------------------------------------------------------------------------------------------

    def question(self, job: Job, outcome: Outcome) -> Callable[[], None]:
        """What asks the application, to be called in a thread of its own. Raises: UntrustedIdentity, WrapTrouble."""
        identity, envelope = job.identity, job.envelope

        def ask() -> None:
            # An answer without these was refused.
            if outcome.kind == "ask" and identity is not None:
                self.policy.decide(job_peer(job).name, outcome.pinned, identity)
                job.decided = Decided(outcome.pinned, "approved")
            if outcome.kind == "wrap" and envelope is not None:
                job.wrapped = [(outcome.distribution, envelope(outcome.distribution))]

        return ask

    def declined(self, job: Job, refusal: Exception) -> list[Event]:
        """What is to be told where that raised `refusal`."""
        if isinstance(refusal, WrapTrouble):
            return [CallbackFailed("wrap", refusal.why)]
        if not isinstance(refusal, UntrustedIdentity) or job.identity is None:
            return []
        peer = job_peer(job)
        events: list[Event] = []
        if isinstance(refusal, CallbackTrouble):
            events.append(CallbackFailed(refusal.callback, refusal.why))
        try:
            events.append(IdentityRejected(peer.name, job.identity, self.device.pinned_identity(peer.name)))
        except StorageError:
            events.append(IdentityRejected(peer.name, job.identity, None))
        if job.operation.startswith("decrypt"):
            events.append(MessageRefused(peer, refusal.code))
        return events + self.told()

    # -- committing ---------------------------------------------------------------------------------------------------

    def parse(self, batch: Batch, body: bytes) -> list[_Parsed]:
        """The answers to `batch`, each its own job's, from the body of a frame. Raises: BadAnswer."""
        number, answers = messages.is_tuple(messages.unpack(body), 2)
        if type(number) is not int or number != batch.number:
            raise BadAnswer("an answer to another batch")
        if len(messages.is_tuple(answers)) != len(batch.jobs):
            raise BadAnswer("a batch has another number of jobs")
        view = _copy(batch.view)
        parsed = [_parse(job, answer) for job, answer in zip(batch.jobs, answers, strict=True)]
        for each in parsed:
            _check_seen(view, each)
            view.apply(each.writes)
        return parsed

    def commit(self, batch: Batch, parsed: Sequence[_Parsed]) -> list[Outcome]:
        """Commit what is to be committed, in the order of the jobs; what became of each."""
        outcomes: list[Outcome] | None = None
        # What the application writes in a hook is rolled back with its own message, and with no other.
        if all(each.job.hook is None for each in parsed):
            view = _copy(batch.view)
            try:
                with self.device._store.transaction() as tx:
                    outcomes = self._take_all(tx, view, parsed)
            except OutcomeUnknown as refusal:
                return [Outcome(each.job, "ended", refusal=_twin(refusal), events=self.told()) for each in parsed]
            except StorageError:
                # One by one: the trouble is one job's, or each is told of it.
                outcomes = None
        if outcomes is None:
            outcomes = self._take_each(batch.view, parsed)
        if told := self.told():
            outcomes.append(Outcome(batch.jobs[0], "events", events=told))
        return outcomes

    def _take_all(self, tx: Transaction, view: View, parsed: Sequence[_Parsed]) -> list[Outcome]:
        outcomes = []
        waiting: set[LaneKey] = set()
        for each in parsed:
            outcome = self._take(tx, view, each, waiting)
            outcomes.append(outcome)
        return outcomes

    def _take_each(self, view: View, parsed: Sequence[_Parsed]) -> list[Outcome]:
        outcomes = []
        waiting: set[LaneKey] = set()
        for each in parsed:
            before = _copy(view)
            try:
                with self.device._store.transaction() as tx:
                    outcome = self._take(tx, view, each, waiting)
            except HookTrouble as refusal:
                outcome = Outcome(
                    each.job, "ended", refusal=refusal, events=_hook_failed(each.job, refusal, self._stored)
                )
            except Conflict:
                waiting.add(each.job.lane)
                outcome = Outcome(each.job, "conflict")
            except StorageError as refusal:
                outcome = Outcome(each.job, "ended", refusal=refusal)
            else:
                outcomes.append(outcome)
                continue
            # Its writes are what the next jobs of the batch saw, whatever became of them.
            view = before
            view.apply(each.writes)
            outcomes.append(outcome)
        return outcomes

    def _take(self, tx: Transaction, view: View, each: _Parsed, waiting: set[LaneKey]) -> Outcome:
        """Write what one job's step wrote, if the store is as the step saw it."""
        job = each.job
        # Of one lane none goes past another (its order).
        if job.lane in waiting or each.kind == SKIPPED:
            waiting.add(job.lane)
            view.apply(each.writes)
            return Outcome(job, "again")
        if job.abandoned:
            waiting.add(job.lane)
            view.apply(each.writes)
            return Outcome(job, "ended")
        if each.kind == BUG:
            waiting.add(job.lane)
            return Outcome(job, "ended", refusal=RuntimeError(f"a step failed in its worker: {each.value}"))
        if each.kind == NEEDS:
            waiting.add(job.lane)
            return _needs(job, each.value)
        if each.kind == WRAP:
            waiting.add(job.lane)
            job.drawn = each.drawn
            job.runs += 1
            job.is_direct = job.runs >= MAX_RUNS
            return Outcome(job, "wrap", distribution=each.value)
        if not all(_unchanged(tx, view, query) for query in each.asked):
            waiting.add(job.lane)
            view.apply(each.writes)
            return Outcome(job, "conflict")
        if isinstance(each.refusal, Conflict):
            waiting.add(job.lane)
            return Outcome(job, "conflict")
        if each.kind == UNDECIDED:
            waiting.add(job.lane)
            return Outcome(job, "ask", pinned=each.value)
        for table, key, version, value in each.writes:
            if value is None:
                tx.delete(TABLES[table], key, version=version)
            else:
                tx.put(TABLES[table], key, value, version=version)
        if each.kind == DONE and job.hook is not None:
            self._run_hook(tx, job, each.value)
        view.apply(each.writes)
        return Outcome(job, "ended", each.value, each.refusal, each.events)

    def _run_hook(self, tx: Transaction, job: Job, result: Any) -> None:
        """Let the application store plaintexts in the transaction that reads their messages (ATM-09)."""
        hook = job.hook
        if hook is None:
            return
        peer = job_peer(job)
        self._stored = 0
        for number, plaintext in enumerate(result if job.operation == "decrypt_many" else [result], 1):
            try:
                run_hook(hook, tx, peer, plaintext)
            except ProtocolError as refusal:
                if job.operation == "decrypt_many":
                    refusal.add_note(f"it is message {number} of the batch")
                raise
            self._stored = number


def job_peer(job: Job) -> ProtocolAddress:
    """Whose message it is."""
    arguments = job.arguments or []
    name, device_id = arguments[2:4] if job.operation.startswith("group") else arguments[:2]
    return ProtocolAddress(name, device_id)


def _hook_failed(job: Job, refusal: HookTrouble, before: int) -> list[Event]:
    peer = job_peer(job)
    failed, undone = CallbackFailed("store_plaintext", refusal.why), MessagesRolledBack(peer, max(before, 1))
    if job.operation == "decrypt_many":
        # Of those before it.
        return [*([undone] if before else []), failed, MessageRefused(peer, refusal.code)]
    if job.operation == "group_decrypt":
        return [
            failed,
            undone,
            GroupMessageRefused(job_peer(job), UUID(bytes=(job.arguments or [b""])[0]), refusal.code),
        ]
    return [failed, undone, MessageRefused(peer, refusal.code)]


def _twin(refusal: ProtocolError) -> ProtocolError:
    """The same refusal for one more caller: an exception is raised once."""
    return type(refusal)(*refusal.args)


def _needs(job: Job, query: Query | None) -> Outcome:
    if query is None:
        job.needs_identity = True
    else:
        job.needs[query] = None
    # A job that asks for more and more comes to its end here.
    job.runs += 1
    job.is_direct = job.runs >= MAX_RUNS
    return Outcome(job, "again")


def _check_seen(view: View, each: _Parsed) -> None:
    """A step reads what it was sent, and writes over what it read. Raises: BadAnswer."""
    try:
        for query in each.asked:
            if query.limit == GET:
                view.get((query.table, query.key))
            elif query.limit == COUNT:
                view.count((query.table, query.key))
            else:
                view.span((query.table, query.key), query.limit)
        for table, key, version, _ in each.writes:
            # A new row may be written unread: whether it is new is seen when it is written.
            row = view.get((table, key)) if version else view.rows.get((table, key))
            if (0 if row is None else row.version) != version:
                raise BadAnswer("an answer changes a row at another version than was sent")
    except Missing:
        raise BadAnswer("an answer is made from rows that were not sent") from None


def _unchanged(tx: Transaction, view: View, query: Query) -> bool:
    """Whether the store's answer to `query` is the one that the step got."""
    table, place = TABLES[query.table], (query.table, query.key)
    if query.limit == GET:
        return tx.get(table, query.key) == view.get(place)
    if query.limit == COUNT:
        return tx.count(table, query.key) == view.count(place)
    span = view.span(place, query.limit)
    if table is Table.PREKEY:
        # The step asks only whether few are left, never which: other devices' first messages do not disturb it.
        return len(tx.scan(table, query.key, limit=query.limit)) == len(span.keys[: query.limit])
    found = tx.scan(table, query.key, limit=None if span.complete else len(span.keys))
    return [key for key, _ in found] == span.keys and all(row == view.get((query.table, key)) for key, row in found)


def _copy(view: View) -> View:
    twin = View()
    twin.rows = dict(view.rows)
    twin.counts = dict(view.counts)
    twin.spans = {place: type(span)(list(span.keys), span.complete) for place, span in view.spans.items()}
    return twin


def _shown(key: PublicKey | None) -> bytes | None:
    return None if key is None else key.serialize()


# -- answers ----------------------------------------------------------------------------------------------------------

_LENGTHS: Final = {DONE: 6, REFUSED: 6, NEEDS: 3, UNDECIDED: 4, WRAP: 4, SKIPPED: 2, BUG: 3}


def _parse(job: Job, answer: object) -> _Parsed:
    """Raises: BadAnswer."""
    given = messages.is_tuple(answer)
    if len(given) < 2 or given[0] != job.number:
        raise BadAnswer("an answer to another job")
    kind = messages.is_int(given[1], DONE, BUG)
    messages.is_tuple(given, _LENGTHS[kind])
    if kind in (DONE, REFUSED):
        _, _, value, asked, written, told = given
        queries = [messages.read_query(each) for each in messages.is_tuple(asked)]
        writes = [messages.read_write(each) for each in messages.is_tuple(written)]
        check_writes(job, writes)
        events = [messages.read_event(each) for each in messages.is_tuple(told)]
        if kind == REFUSED:
            # What is refused changes nothing.
            if writes:
                raise BadAnswer("a refused job writes")
            return _Parsed(job, kind, refusal=messages.read_refusal(value), asked=queries, events=events)
        result = value if job.finish is None else job.finish(value)
        return _Parsed(job, kind, result, asked=queries, writes=writes, events=events)
    if kind == NEEDS:
        return _Parsed(job, kind, None if given[2] is None else messages.read_query(given[2]))
    if kind == UNDECIDED:
        if job.identity is None:
            raise BadAnswer("a question about no identity")
        queries = [messages.read_query(each) for each in messages.is_tuple(given[3])]
        return _Parsed(job, kind, None if given[2] is None else messages.read_key(given[2]), asked=queries)
    if kind == WRAP:
        if job.wrapped is None:
            raise BadAnswer("an envelope that nobody has")
        drawn = [messages.is_bytes(each, 1024) for each in messages.is_tuple(given[3])]
        return _Parsed(job, kind, messages.is_bytes(given[2], 4096), drawn=drawn)
    if kind == BUG and not messages.is_text(given[2]).isidentifier():
        raise BadAnswer("a class has another name")
    return _Parsed(job, kind, given[2] if kind == BUG else None)
