"""Histories written by hand: what a target did is stated by the test, event by event, and no implementation is asked.

A `Tale` is a history in the making. Each method adds one event; the test says how it ended: `DONE` unless a refusal
code, a crash or a death is given. What nobody states is filled in as an honest target would have it: headers as the
model expects them, a state that changes when something was done, one derivation of work, everything durable.
`holds` and `breaks` turn a function that returns a tale into a test of one invariant.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace

from pawl_spec.history import Event, Header, Hello, History, Limits, Observation, Observe, Outcome, Profile, Strike
from pawl_spec.invariants import INVARIANTS
from pawl_spec.judge import judge
from pawl_spec.model import Expect, Model, SentHeader
from pawl_spec.registry import REGISTRY, Finding, Story
from pawl_spec.trace import ANSWERS, CALLBACKS, FORGERIES, JUNK, OPTIONS, PARTIES, TAMPERS, Kind, Op, Trace, op

ALICE, BOB, CAROL = range(len(PARTIES))

SMALL = Limits(
    forward_jump=3,
    kept_per_chain=2,
    kept_per_session=3,
    receiving_chains=2,
    archived_sessions=1,
    derivations_per_message=20,
    rows_per_message=10,
    bytes_per_message=1000,
    memory_per_message=100_000,
    signed_prekey_grace=30 * 86_400,
    unacknowledged=30 * 86_400,
)
"""Limits whose edges a test comes to in a few messages."""

PLAIN = Profile()

ABLE = frozenset(
    {
        *(
            "reinstall",
            "approve",
            "strict-identity",
            "restart",
            "crash",
            "work",
            "deterministic",
            "rows",
            "memory",
            "counts",
            "workers",
        ),
        *("clock", "rotate", "forget", "callbacks", "compatibility", "damage", "events", "texts", "compromise"),
        *("store-faults", "rival", "medium", "plaintext-hook", "groups"),
    }
)


class Tale:
    """A history in the making."""

    def __init__(
        self,
        *,
        limits: Limits = SMALL,
        profile: Profile = PLAIN,
        level: Observe = Observe.STATE,
        can: frozenset[str] = ABLE,
        strict: Sequence[int] = (),
    ) -> None:
        mask = sum(1 << party for party in strict)
        self.history = History(Hello("by hand", "1", level, can, limits, profile), Trace((), strict=mask))
        self.expect: Expect | None = None
        """What the model says of the last event."""
        self.due: SentHeader | None = None
        """What the model expects of the message sent last."""
        self._model = Model(self.history.target, [party in strict for party in range(len(PARTIES))])
        self._sent: list[tuple[int, int, Header]] = []
        self._flight: list[int] = []
        self._versions = [0] * len(PARTIES)
        self._prekeys: list[set[int]] = [set() for _ in PARTIES]
        self._next_prekey = 1

    @property
    def last(self) -> Event:
        """The last event."""
        return self.history.events[-1]

    # -- operations: each returns the tale, but `send`, which returns the message's handle ----------------------------

    def establish(self, actor: int, peer: int, *, one_time: bool = True, **how: object) -> Tale:
        """`actor` processes a fresh bundle of `peer`'s."""
        event = self._event(op(Kind.ESTABLISH, actor=actor, peer=peer, one_time=int(one_time)), actor, peer)
        return self._add(self._with_prekey(event, peer) if one_time else event, **how)

    def forge(self, actor: int, peer: int, name: str, **how: object) -> Tale:
        """`actor` is given a bundle of `peer`'s that the attacker changed."""
        forged = op(Kind.FORGE_BUNDLE, actor=actor, peer=peer, how=FORGERIES.index(name))
        return self._add(self._with_prekey(self._event(forged, actor, peer), peer), **how)

    def send(self, actor: int, peer: int, *, header: dict[str, object] | None = None, **how: object) -> int:
        """`actor` sends; `header` overrides fields of what the model expects on the wire."""
        event = self._event(op(Kind.SEND, actor=actor, peer=peer), actor, peer)
        handle = len(self._sent)
        if not {"code", "crash", "died"} & set(how):
            event = replace(event, message=handle, canonical=True)
        self._add(event, **how)
        self.due = self.expect.header if self.expect else None
        if self.last.outcome is Outcome.DONE:
            seen = wire(self.expect.header if self.expect else None)
            self._edit(header=replace(seen, **(header or {})))
            self._flight.append(handle)
            self._sent.append((actor, peer, self.last.header or seen))
        return handle

    def burst(self, actor: int, peer: int, counters: Sequence[int], **how: object) -> Tale:
        """`actor` sends one message after the other, and all are lost."""
        event = self._event(op(Kind.BURST, actor=actor, peer=peer, count=len(counters)), actor, peer)
        self._add(replace(event, counters=tuple(counters)), **how)
        self._edit(header=wire(self.expect.header if self.expect else None))
        return self

    def deliver(self, handle: int, *, kind: Kind = Kind.DELIVER, **how: object) -> Tale:
        """The message reaches whom it was sent to; its own plaintext comes out unless something else is stated."""
        sender, receiver, header = self._sent[handle]
        where = handle
        if kind is Kind.DELIVER:
            where = self._flight.index(handle) if handle in self._flight else len(self._flight)
            del self._flight[where : where + 1]
        event = replace(self._event(Op(kind, (where,)), receiver, sender), message=handle)
        return self._receive(event, header, **how)

    def replay(self, handle: int, **how: object) -> Tale:
        """The attacker hands the message over once more."""
        return self.deliver(handle, kind=Kind.REPLAY, **how)

    def tamper(self, handle: int, name: str, *, choice: int = 0, prekey_id: int | None = None, **how: object) -> Tale:
        """A changed copy of the message reaches its receiver; `prekey_id` is the one it names now."""
        sender, receiver, header = self._sent[handle]
        changed = Op(Kind.TAMPER, (0, TAMPERS.index(name), choice))
        event = replace(self._event(changed, receiver, sender), message=handle, prekey_id=prekey_id)
        return self._receive(event, header, **how)

    def redirect(self, handle: int, *, to: int, sender: int, **how: object) -> Tale:
        """The message is handed to `to` as if it came from `sender`."""
        header = self._sent[handle][2]
        event = replace(self._event(op(Kind.REDIRECT, to=to, sender=sender), to, sender), message=handle)
        return self._receive(event, header, **how)

    def inject(self, to: int, sender: int, what: str, **how: object) -> Tale:
        """Bytes that nobody sent."""
        junk = op(Kind.INJECT, to=to, sender=sender, what=JUNK.index(what))
        return self._add(self._event(junk, to, sender), **how)

    def reinstall(self, actor: int, **how: object) -> Tale:
        """`actor` loses everything and starts again."""
        self._prekeys[actor] = set()
        return self._add(self._event(op(Kind.REINSTALL, actor=actor), actor), **how)

    def approve(self, actor: int, peer: int, **how: object) -> Tale:
        """`actor`'s user decides that `peer`'s present identity is the right one."""
        return self._add(self._event(op(Kind.APPROVE, actor=actor, peer=peer), actor, peer), **how)

    def restart(self, actor: int) -> Tale:
        """`actor` is opened again from what is durable."""
        return self._add(self._event(op(Kind.RESTART, actor=actor), actor), changes=False)

    def inspect(self, actor: int, *readable: int, held: Sequence[int] | None = None, **how: object) -> Tale:
        """The attacker is given `actor`'s session state, with these secrets, and could read these messages with it."""
        event = self._event(op(Kind.INSPECT, actor=actor), actor)
        secrets = None if held is None else tuple(held)
        return self._add(replace(event, readable=readable, held=secrets), changes=False, **how)

    def compromise(self, actor: int, *reads: int, gave_up: bool = False) -> Tale:
        """The attacker takes all that `actor` has stored, and reads these messages with all that it took."""
        event = self._event(op(Kind.COMPROMISE, actor=actor), actor)
        return self._add(replace(event, reads=None if gave_up else reads), changes=False)

    def attack(self, *reads: int) -> Tale:
        """The attacker reads these messages with all that it took."""
        self.history.events.append(Event(len(self.history.events), Op(Kind.ATTACK), Outcome.DONE, reads=reads))
        self.expect = self._model.feed(self.last)
        return self

    def clock(self, days: int) -> Tale:
        """Days pass."""
        self.history.events.append(Event(len(self.history.events), op(Kind.CLOCK, days=days), Outcome.DONE))
        self.expect = self._model.feed(self.last)
        return self

    def rotate(self, actor: int, **how: object) -> Tale:
        """`actor` makes a new signed prekey."""
        return self._add(self._event(op(Kind.ROTATE, actor=actor), actor), **how)

    def maintain(self, actor: int, *, rotated: bool = False, **how: object) -> Tale:
        """`actor` deletes what is past its time."""
        event = replace(self._event(op(Kind.MAINTAIN, actor=actor), actor), rotated=rotated)
        return self._add(event, **how)

    def forget(self, actor: int, peer: int, **how: object) -> Tale:
        """`actor` loses its sessions with `peer`."""
        return self._add(self._event(op(Kind.FORGET, actor=actor, peer=peer), actor, peer), **how)

    def callback(self, actor: int, name: str, how: str) -> Tale:
        """`actor`'s next callback of that name behaves so."""
        choice = {"callback": CALLBACKS.index(name), "how": ANSWERS.index(how)}
        return self._add(self._event(op(Kind.CALLBACK, actor=actor, **choice), actor), changes=False)

    def compatible(self, actor: int, option: str) -> Tale:
        """`actor` is opened with these compatibility options."""
        choice = op(Kind.COMPATIBILITY, actor=actor, option=OPTIONS.index(option))
        return self._add(self._event(choice, actor), changes=False)

    def rival(self, actor: int, peer: int, how: str, *, sent: Header | None = None, changes: bool = True) -> Strike:
        """What another process does with the store of `actor` before the next operation is committed."""
        before = f"{actor}.{self._versions[actor]}"
        return Strike("rival", how, peer, before, f"{before}, rival" if changes else before, sent)

    def close(self) -> Tale:
        """From here on the network delivers everything."""
        self.history.closing = len(self.history.events)
        return self

    # -- events -------------------------------------------------------------------------------------------------------

    def _event(self, operation: Op, actor: int, peer: int | None = None) -> Event:
        return Event(len(self.history.events), operation, Outcome.DONE, actor=actor, peer=peer)

    def _with_prekey(self, event: Event, peer: int) -> Event:
        number, self._next_prekey = self._next_prekey, self._next_prekey + 1
        self._prekeys[peer].add(number)
        self._versions[peer] += 1
        return replace(event, prekey_id=number)

    def _receive(self, event: Event, header: Header, *, plaintext: int | None = None, **how: object) -> Tale:
        before = tuple(sorted(self._prekeys[event.actor or 0]))
        if not {"code", "crash", "died"} & set(how):
            event = replace(event, plaintext=event.message if plaintext is None else plaintext)
            self._prekeys[event.actor or 0].discard(-1 if header.prekey_id is None else header.prekey_id)
        return self._add(event, prekeys_before=before, **how)

    def _add(
        self,
        event: Event,
        *,
        code: str | None = None,
        crash: str | None = None,
        died: Outcome | None = None,
        changes: bool | None = None,
        seen: dict[str, object] | None = None,
        canonical: bool | None = None,
        prekeys_before: tuple[int, ...] | None = None,
        **more: object,
    ) -> Tale:
        """Add an event: refused with `code`, a `crash` "before" or "after" the commit or "between", or `died`.

        `changes` says whether the stored state changed, where that is not what the outcome makes of it; `seen`
        overrides what is observed afterwards. What else is given is a field of the event.
        """
        event = replace(event, **more)  # type: ignore[arg-type]
        actor = event.actor or 0
        if code is not None:
            event = replace(event, outcome=Outcome.REFUSED, code=code)
        elif crash is not None:
            event = replace(event, outcome=Outcome.CRASHED, crash_armed=True)
        elif died is not None:
            event = replace(event, outcome=died, text="IndexError: index out of range")
        if changes is None:
            changes = event.outcome is Outcome.DONE or crash in ("after", "between")
        version = self._versions[actor]
        self._versions[actor] += changes
        event = replace(
            event,
            canonical=event.canonical if canonical is None else canonical,
            before=self._seen(actor, version, prekeys=prekeys_before),
            after=replace(self._seen(actor, self._versions[actor]), **(seen or {})),
        )
        if crash is not None:
            event = replace(event, complete=f"{actor}.{version + 1}" if crash != "between" else "another")
        if self.history.target.level < Observe.COUNTS:
            event = replace(event, before=None, after=None)
        self.history.events.append(event)
        self.expect = self._model.feed(event)
        return self

    def _seen(self, party: int, version: int, *, prekeys: tuple[int, ...] | None = None) -> Observation:
        held = tuple(sorted(self._prekeys[party])) if prekeys is None else prekeys
        # How much is kept is for a test to say: nothing here counts it.
        return Observation(f"{party}.{version}", held, durable=True, work=1)

    def _edit(self, **fields: object) -> None:
        self.history.events[-1] = replace(self.last, **fields)  # type: ignore[arg-type]


def wire(due: SentHeader | None) -> Header:
    """What an honest target writes where the model expects `due`."""
    if due is None:
        return Header("signal", 0x33, "nobody's", 0, 0)
    base = f"{due.session:x}" if due.kind == "prekey" else None
    return Header(due.kind, 0x33, f"{due.chain:x}", due.counter, due.previous_counter, base, due.prekey_id)


# -- tests of invariants ----------------------------------------------------------------------------------------------

GREEN: set[str] = set()
"""Invariants for which a test shows a history on which they hold, and were reached."""
RED: set[str] = set()
"""Invariants for which a test shows a history that violates them."""

Build = Callable[[], Tale]


def findings(tale: Tale, id: str) -> list[Finding]:
    """What the predicate of one invariant finds in the tale."""
    predicate = REGISTRY[id].predicate
    assert predicate is not None, f"{id} is not judged"
    return list(predicate(Story(tale.history)))


def broken(tale: Tale) -> set[str]:
    """Ids of all invariants that the tale breaks."""
    return {entry.invariant.id for entry in judge(tale.history, INVARIANTS)[0]}


def holds(id: str, *, reached: bool = True) -> Callable[[Build], Callable[[], None]]:
    """A test: the predicate finds the tale good, having been reached; and no other invariant is broken."""

    def decorate(build: Build) -> Callable[[], None]:
        @functools.wraps(build)
        def test() -> None:
            tale = build()
            found = findings(tale, id)
            assert bool(found) is reached, f"{id} was {'not ' if reached else ''}reached"
            assert [finding for finding in found if finding is not None] == []
            assert broken(tale) == set()

        if reached:
            GREEN.add(id)
        return test

    return decorate


def breaks(id: str, *others: str, says: str = "", earlier: bool = False) -> Callable[[Build], Callable[[], None]]:
    """A test: the tale breaks this invariant at its last event (unless `earlier`), and no other than those named."""

    def decorate(build: Build) -> Callable[[], None]:
        @functools.wraps(build)
        def test() -> None:
            tale = build()
            bad = [finding for finding in findings(tale, id) if finding is not None]
            assert bad, f"{id} finds nothing wrong"
            assert says in bad[0].what
            if not earlier:
                assert {finding.event.step for finding in bad} == {tale.last.step}
            assert broken(tale) == {id, *others}

        RED.add(id)
        return test

    return decorate


# -- beginnings -------------------------------------------------------------------------------------------------------


def met(**settings: object) -> Tale:
    """Alice and Bob have talked once in each direction: m0 from Alice with a one-time prekey, m1 from Bob."""
    tale = Tale(**settings)  # type: ignore[arg-type]
    tale.establish(ALICE, BOB)
    tale.deliver(tale.send(ALICE, BOB))
    tale.deliver(tale.send(BOB, ALICE))
    return tale


def replaced(**settings: object) -> Tale:
    """As `met`; then Bob lost his device, and Alice's user approved his new identity."""
    return met(**settings).reinstall(BOB).approve(ALICE, BOB, told=("identity-replaced",))
