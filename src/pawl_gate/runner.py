"""The runner: carries out a trace on a target and writes down what happened.

It plays the network, the disk and the attacker; it judges nothing. Whatever the target does becomes an event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any, Self, TypeVar, cast

from pawl_gate.attacker import ATTACKER, forge, junk, tamper
from pawl_gate.derivations import Derivations
from pawl_gate.group_attacker import GROUP_IDS, Given, GroupSent, craft, smuggle
from pawl_gate.group_attacker import tamper as tamper_group
from pawl_gate.group_thief import read as read_groups
from pawl_gate.group_thief import readable
from pawl_gate.group_wire import LAYOUTS as GROUP_WIRE
from pawl_gate.group_wire import group_header, is_canonical_distribution, is_canonical_message
from pawl_gate.key_search import KeySearch, Recorded, proven
from pawl_gate.leaks import LeakSearch
from pawl_gate.targets.base import (
    Bulk,
    Fingerprint,
    Forkable,
    HarnessBroken,
    Misbehaved,
    Refused,
    SimulatedCrash,
    Stolen,
    Target,
    TargetCrashed,
    TargetHung,
    Telling,
    Told,
    WireMessage,
)
from pawl_gate.thief import Intercepted, Thief
from pawl_gate.wire_view import claimed_identity, header, inner_data, is_canonical
from pawl_spec.history import Event, Gave, Grouped, Header, History, Observation, Observe, Outcome, Strike
from pawl_spec.trace import (
    ANSWERS,
    CALLBACKS,
    DAMAGES,
    FORGERIES,
    GROUP_TAMPERS,
    GROUPS,
    JUNK,
    LAYOUTS,
    MEDIA,
    OPTIONS,
    PARTIES,
    RIVALS,
    SMUGGLES,
    STORE_FAULTS,
    TABLES,
    TAMPERS,
    Kind,
    Op,
    Trace,
    op,
)

T = TypeVar("T")

ROUNDS = 10
"""Rounds of the closing part within which both sides must be able to talk (CTR-08)."""

DEVICE_ID = 1
"""Each party has one device."""

SIZES = (0, 1, 15, 16, 17, 256)
"""Bytes of filler in a plaintext, chosen by the operand `size`: around the cipher's block, and a usual message."""

GROUP_STEPS = frozenset(
    {
        *(Kind.GROUP_CREATE, Kind.GROUP_JOIN, Kind.GROUP_SEND, Kind.GROUP_DELIVER, Kind.GROUP_ROTATE),
        *(Kind.GROUP_FORGET, Kind.GROUP_TAMPER, Kind.GROUP_REDIRECT, Kind.GROUP_MEMBERS),
        *(Kind.GROUP_SHARE, Kind.GROUP_CAME),
    }
)
"""Operations of a member of a group."""

CRASHABLE = frozenset({Kind.SEND, Kind.DELIVER, Kind.REPLAY, Kind.TAMPER, Kind.ESTABLISH}) | GROUP_STEPS
"""Operations in which an armed crash can strike."""

DAMAGEABLE = CRASHABLE | {Kind.FORGET, Kind.ROTATE, Kind.MAINTAIN}
"""Operations that are tried on a damaged copy, or on another medium, first."""

DAY_SECONDS = 24 * 60 * 60

AT_ONCE = 100
"""Messages of a burst between two looks at whether the run is to go on: some hundredths of a second."""

MEASURED = frozenset({Kind.INJECT, Kind.TAMPER})
"""Operations whose memory is measured: those that hand over bytes which nobody sent so."""


def plaintext_of(handle: int, size: int, sizes: Sequence[int] = SIZES) -> bytes:
    """The text of message `handle`: its name, so that a plaintext says which message it came from, and filler."""
    return b"m%d" % handle + b"." * sizes[size % len(sizes)]


def group_plaintext_of(handle: int, size: int, sizes: Sequence[int] = SIZES) -> bytes:
    """The text of message `handle` of a group, likewise."""
    return b"g%d" % handle + b"." * sizes[size % len(sizes)]


def _strikes(told: Told) -> tuple[Strike, ...]:
    if not told.struck:
        return ()
    return tuple(strike if sent is None else replace(strike, sent=header(sent)) for strike, sent in told.struck)


class Run:
    """One world, one history."""

    crashable = CRASHABLE

    def __init__(
        self,
        target: Target,
        *,
        seed: int = 0,
        strict: int = 0,
        check: Callable[[], object] = lambda: None,
        names: Sequence[str] = PARTIES,
        sizes: Sequence[int] = SIZES,
    ) -> None:
        """A fresh world. `check` is called before each operation, and may raise to end the run.

        `names` are what the parties are called; `sizes`, bytes of filler, is what the operand `size` chooses from.
        """
        self._check = check
        self._called = names
        self._sizes = sizes
        self._hello = target.hello
        self._can = self._hello.capabilities
        self._layouts = dict.fromkeys(range(len(GROUPS)), GROUP_WIRE[self._hello.group_layout])
        self._world = target.world(seed)
        self.history = History(self._hello, Trace((), seed=seed, strict=strict))
        self._ops: list[Op] = []
        self._identities: dict[int, bytes] = {}
        self._messages: list[WireMessage] = []
        self._routes: list[tuple[int, int]] = []
        self._recorded: list[Recorded | None] = []
        self._texts: dict[bytes, int] = {}
        self._flight: list[int] = []
        self._armed: dict[int, int] = {}
        self._damage: dict[int, tuple[str, str]] = {}
        self._media: dict[int, tuple[str, str]] = {}
        self._faults: dict[int, tuple[int, str]] = {}
        self._rivals: dict[int, str] = {}
        self._secrets: dict[bytes, int] = {}
        self._names: dict[int, list[bytes]] = {}
        self._given: list[Given] = []
        self._group_sent: list[GroupSent] = []
        self._group_texts: dict[bytes, int] = {}
        self._used_groups: set[int] = set()
        self._shared: dict[tuple[int, int], tuple[Gave, ...]] = {}
        self._carried: dict[int, bytes] = {}
        self._stolen: list[Stolen] = []
        self._intercepted: list[Intercepted] = []
        self._start_searching()
        self._hears = bool(self._can & {"events", "callbacks"})
        self._over = False
        self._ask_world()

    def _ask_world(self) -> None:
        """What the world can do beside what it must."""
        # Asked once: to ask takes longer than what is asked for.
        self._tells = self._world if isinstance(self._world, Telling) else None

    def _start_searching(self) -> None:
        """An attacker that remembers no search: what it remembers is true of the messages of one run."""
        self._derived = Derivations()
        self._inspections = {party: KeySearch(self._derived) for party in range(len(PARTIES))}
        self._thief = Thief()
        self._leaks = [LeakSearch() for _ in PARTIES]

    def fork(self) -> Self:
        """The same world once more, which goes its own way from here. Raises: HarnessBroken (the target cannot)."""
        if not isinstance(self._world, Forkable):
            raise HarnessBroken(f"the worlds of {self._hello.name} cannot be forked")
        twin = copy(self)
        twin._world = self._world.fork()
        # A copy can do what its original can.
        twin._tells = None if self._tells is None else cast(Any, twin._world)
        twin.history = replace(self.history, events=list(self.history.events))
        twin._ops, twin._flight = list(self._ops), list(self._flight)
        twin._messages, twin._routes = list(self._messages), list(self._routes)
        twin._recorded, twin._intercepted = list(self._recorded), list(self._intercepted)
        twin._texts, twin._secrets = dict(self._texts), dict(self._secrets)
        twin._identities, twin._stolen = dict(self._identities), list(self._stolen)
        twin._armed, twin._damage = dict(self._armed), dict(self._damage)
        twin._faults, twin._rivals, twin._media = dict(self._faults), dict(self._rivals), dict(self._media)
        twin._names = {party: list(names) for party, names in self._names.items()}
        twin._given, twin._group_sent = list(self._given), list(self._group_sent)
        twin._group_texts = dict(self._group_texts)
        twin._layouts, twin._used_groups = dict(self._layouts), set(self._used_groups)
        twin._shared, twin._carried = dict(self._shared), dict(self._carried)
        twin._start_searching()
        return twin

    # -- one operation ------------------------------------------------------------------------------------------------

    def step(self, operation: Op) -> Event:
        """Carry out one operation. Raises: HarnessBroken, what `check` raises, and nothing for what the target does."""
        self._check()
        if operation.kind is Kind.ESTABLISH and self._hello.profile.needs_one_time:
            # Declared: there is no session without a one-time prekey, so the bundle has one, and the trace says so.
            operation = op(Kind.ESTABLISH, actor=operation["actor"], peer=operation["peer"], one_time=1)
        self._ops.append(operation)
        event = Event.begun(len(self.history.events), operation, Outcome.SKIPPED)
        if not self._over:
            try:
                event = HANDLERS[operation.kind](self, event)
            # What stands around an operation (a party made, its state looked at) may fail like the operation itself.
            except (Refused, Misbehaved, TargetCrashed) as died:
                event = event.but(outcome=Outcome.DIED, text=str(died))
            except TargetHung as hung:
                event = event.but(outcome=Outcome.HUNG, text=str(hung))
        if event.outcome in (Outcome.DIED, Outcome.HUNG):
            # Nothing that follows would have a meaning.
            self._over = True
        self.history.events.append(event)
        return event

    def finish(self, *, closing: bool = True) -> History:
        """Let the network deliver everything and both sides of each pair talk again; then end the world."""
        trace = self.history.trace
        self.history.trace = replace(trace, ops=tuple(self._ops))
        try:
            if closing and not self._over:
                self._close()
        finally:
            self._world.close()
        return self.history

    def _close(self) -> None:
        for armed in (self._armed, self._faults, self._rivals):
            armed.clear()
        self.history.closing = len(self.history.events)
        pairs = sorted({(min(route), max(route)) for route in self._routes if route[0] != route[1]})
        while self._flight and not self._over:
            self.step(op(Kind.DELIVER, index=0))
        for one, other in pairs:
            self._talk(one, other)
        for party in sorted(self._identities):
            self.step(op(Kind.INSPECT, actor=party))
        if self._stolen:
            self.step(op(Kind.ATTACK))

    def _talk(self, one: int, other: int) -> None:
        for _ in range(ROUNDS):
            start = len(self.history.events)
            # Both ways in every round: a side that establishes anew is heard only when it sends.
            heard = [self._heard(one, other), self._heard(other, one)]
            refused = {event.code for event in self.history.events[start:]}
            if all(heard) or self._over or "untrusted-identity" in refused:
                return

    def _heard(self, sender: int, receiver: int) -> bool:
        """One message; whoever cannot go on establishes anew from a fresh bundle."""
        sent = self.step(op(Kind.SEND, actor=sender, peer=receiver))
        if sent.outcome is Outcome.REFUSED:
            self.step(op(Kind.ESTABLISH, actor=sender, peer=receiver, one_time=1))
        if sent.outcome is not Outcome.DONE:
            return False
        received = self.step(op(Kind.DELIVER, index=0))
        if received.outcome is Outcome.REFUSED:
            self.step(op(Kind.ESTABLISH, actor=receiver, peer=sender, one_time=1))
        return received.outcome is Outcome.DONE

    # -- the target, guarded ------------------------------------------------------------------------------------------

    def _attempt(self, event: Event, party: int, call: Callable[[], T], **known: Any) -> tuple[Event, T | None]:
        """Do one thing for `party` and note how it ended, with the state before and after.

        `known` are fields of the event that do not depend on it.
        """
        damage = self._damage.pop(party, None) if event.op.kind in DAMAGEABLE else None
        if damage is not None:
            self._world.arm_damage(party, *damage)
        medium = self._media.pop(party, None) if event.op.kind in DAMAGEABLE else None
        if medium is not None:
            self._world.arm_medium(party, *medium)
        if event.op.kind in MEASURED and "memory" in self._can:
            self._world.measure_memory(party)
        before = self._observe(party)
        # One trouble at a time: what else is armed waits for the next operation.
        strikes = event.op.kind in self.crashable
        armed = self._armed.pop(party, None) if strikes else None
        fault = self._faults.pop(party, None) if strikes and armed is None else None
        rival = self._rivals.pop(party, None) if strikes and armed is None and fault is None else None
        if armed is not None:
            self._world.arm_crash(party, armed)
        if fault is not None:
            self._world.arm_fault(party, *fault)
        if rival is not None:
            self._world.arm_rival(party, rival)
        result: T | None = None
        # An event has many fields: they are set together.
        seen: dict[str, Any] = {**known, "outcome": Outcome.DONE}
        try:
            result = call()
        except Refused as refused:
            seen |= {"outcome": Outcome.REFUSED, "code": refused.code, "text": refused.text}
        except SimulatedCrash:
            seen |= {"outcome": Outcome.CRASHED, "complete": self._world.complete_digest(party)}
            self._world.restart(party)
        except (Misbehaved, TargetCrashed) as died:
            seen |= {"outcome": Outcome.DIED, "text": str(died)}
        except TargetHung as hung:
            seen |= {"outcome": Outcome.HUNG, "text": str(hung)}
        if self._hears:
            told = self._world.told(party)
            seen |= {"told": told.events, "asked": told.asked, "struck": _strikes(told)}
        if damage is not None:
            seen["damaged"] = self._world.damaged(party)
        if medium is not None:
            seen["medium"] = self._world.medium(party)
        seen |= self._stored(party)
        if seen["outcome"] in (Outcome.DIED, Outcome.HUNG):
            return event.but(**seen), None
        if armed is not None:
            self._world.disarm_crash(party)
        if fault is not None and not self._world.disarm_fault(party):
            seen["fault"] = fault[1]
        seen |= {"actor": party, "before": before, "after": self._observe(party), "crash_armed": armed is not None}
        return event.but(**seen), result

    def _observe(self, party: int) -> Observation | None:
        return self._world.observe(party) if self._hello.level >= Observe.COUNTS else None

    def _stored(self, party: int) -> dict[str, tuple[int, ...] | None]:
        """Which messages' plaintexts the party's application has stored; None: none, or that cannot be seen."""
        texts = self._world.stored(party) if "plaintext-hook" in self._can else None
        if texts is None:
            return {"stored": None, "group_stored": None}
        in_groups = [self._group_texts[text] for text in texts if text in self._group_texts]
        # What nobody sent is said once.
        others = [self._named(text, party) for text in texts if text not in self._group_texts]
        return {"stored": tuple(others), "group_stored": tuple(in_groups)}

    def _party(self, party: int) -> None:
        """Make a party when it is first needed."""
        if party not in self._identities:
            trust = not self.history.trace.is_strict(party)
            if not trust and "strict-identity" not in self._can:
                # Declared: the target has no such policy, so the party trusts on first use, and the trace says so.
                self.history.trace = replace(self.history.trace, strict=self.history.trace.strict & ~(1 << party))
                trust = True
            name = self._called[party]
            key = self._world.create(party, name=name, device_id=DEVICE_ID, trust_on_first_use=trust)
            self._identities[party] = key
            self._names[party] = [key]

    def fingerprints(self, one: int, other: int) -> tuple[Fingerprint, Fingerprint]:
        """The safety number of two parties as each sees it. Raises: what a target raises."""
        self._party(one)
        self._party(other)
        return (
            self._world.fingerprint(one, other, self._identities[other]),
            self._world.fingerprint(other, one, self._identities[one]),
        )

    # -- bundles ------------------------------------------------------------------------------------------------------

    def _establish(self, event: Event) -> Event:
        actor, peer = event.op["actor"], event.op["peer"]
        forging = event.op.kind is Kind.FORGE_BUNDLE
        if actor == peer or not self._hello.sessions:
            return event
        self._party(actor)
        self._party(peer)
        one_time = forging or bool(event.op["one_time"])
        known: dict[str, Any] = {"actor": actor, "peer": peer}
        # The peer's part is not the operation under judgement, but it may fail like any other.
        try:
            bundle = self._world.bundle(peer, one_time=one_time)
        except (Refused, Misbehaved, TargetCrashed) as failed:
            return event.but(**known, outcome=Outcome.DIED, text=f"no bundle: {failed}")
        except TargetHung as hung:
            return event.but(**known, outcome=Outcome.HUNG, text=str(hung))
        known["prekey_id"] = bundle.prekey_id
        if self._hears:
            known["peer_struck"] = _strikes(self._world.told(peer))
        given = forge(bundle, FORGERIES[event.op["how"]]) if forging else bundle
        done, _ = self._attempt(event, actor, lambda: self._world.establish(actor, peer, given), **known)
        return done.but(claimed=given.identity_key[-32:].hex()) if done.asked else done

    # -- sending ------------------------------------------------------------------------------------------------------

    def _send(self, event: Event) -> Event:
        actor, peer = event.op["actor"], event.op["peer"]
        if actor == peer or not self._hello.sessions:
            return event
        self._party(actor)
        self._party(peer)
        handle = len(self._messages)
        text = plaintext_of(handle, event.op["size"], self._sizes)
        encrypt = partial(self._world.encrypt, actor, peer, text)
        event, message = self._attempt(event, actor, encrypt, actor=actor, peer=peer)
        if message is None:
            return event
        seen, signal = header(message), inner_data(message)
        self._messages.append(message)
        self._routes.append((actor, peer))
        self._texts[text] = handle
        self._flight.append(handle)
        if self._hello.level >= Observe.STATE:
            self._record(handle, message, signal, text, seen)
        return event.but(message=handle, header=seen, canonical=is_canonical(message))

    def _record(
        self, handle: int, message: WireMessage, signal: bytes, text: bytes, seen: Header, *, told: bool = True
    ) -> None:
        """The attacker records the message; it does not know under which identities the two know each other."""
        actor, peer = self._routes[handle]
        sender, receiver = self._identities[actor], self._identities[peer]
        spent = self._tells.spent(actor) if self._tells is not None and told else None
        key = proven(spent, signal, sender=sender, receiver=receiver, derived=self._derived)
        self._recorded.append(Recorded(handle, signal, sender, receiver, key))
        if "compromise" not in self._can:
            return
        mine = ATTACKER.public.serialize()
        self._intercepted.append(
            Intercepted(
                handle=handle,
                sender=actor,
                receiver=peer,
                wire=message,
                signal=signal,
                text=text,
                ratchet=bytes.fromhex(seen.ratchet_key)[-32:],
                counter=seen.counter,
                base=None if seen.base_key is None else bytes.fromhex(seen.base_key)[-32:],
                identity=None if seen.identity_key is None else bytes.fromhex(seen.identity_key)[-32:],
                names=tuple((sender, other) for other in (*self._names[peer], mine)),
                key=key,
            )
        )

    def _burst(self, event: Event) -> Event:
        """Many messages that the network loses at once."""
        actor, peer, count = event.op["actor"], event.op["peer"], event.op["count"]
        if actor == peer or count == 0 or not self._hello.sessions:
            return event
        self._party(actor)
        self._party(peer)
        counters: list[int] = []
        first: list[Header] = []

        def send_some(count: int) -> None:
            sent: list[WireMessage] = []
            try:
                self._encrypt_all(actor, peer, b"lost", count, sent)
            finally:
                # Those before one that failed were sent.
                for message in sent:
                    seen = header(message)
                    if first and seen.ratchet_key != first[0].ratchet_key:
                        raise Misbehaved("the sending chain changed although nothing was received")
                    first.append(seen) if not first else None
                    counters.append(seen.counter)

        def send_all() -> None:
            for start in range(0, count, AT_ONCE):
                self._check()
                send_some(min(AT_ONCE, count - start))

        event, _ = self._attempt(event, actor, send_all, actor=actor, peer=peer)
        return event.but(header=first[0] if first else None, counters=tuple(counters))

    def _encrypt_all(self, actor: int, peer: int, text: bytes, count: int, sent: list[WireMessage]) -> None:
        if isinstance(self._world, Bulk):
            self._world.encrypt_all(actor, peer, text, count, sent)
            return
        for _ in range(count):
            self._check()
            sent.append(self._world.encrypt(actor, peer, text))

    # -- the network --------------------------------------------------------------------------------------------------

    def _deliver(self, event: Event) -> Event:
        if not self._flight:
            return event
        handle = self._flight.pop(event.op["index"] % len(self._flight))
        sender, receiver = self._routes[handle]
        return self._hand_over(event, receiver, sender, self._messages[handle], handle)

    def _duplicate(self, event: Event) -> Event:
        if not self._flight:
            return event
        handle = self._flight[event.op["index"] % len(self._flight)]
        self._flight.append(handle)
        return event.but(outcome=Outcome.DONE, message=handle)

    def _drop(self, event: Event) -> Event:
        if not self._flight:
            return event
        handle = self._flight.pop(event.op["index"] % len(self._flight))
        return event.but(outcome=Outcome.DONE, message=handle)

    def _chosen(self, event: Event) -> int | None:
        return event.op["message"] % len(self._messages) if self._messages else None

    def _replay(self, event: Event) -> Event:
        handle = self._chosen(event)
        if handle is None:
            return event
        sender, receiver = self._routes[handle]
        return self._hand_over(event, receiver, sender, self._messages[handle], handle)

    def _hand_over(self, event: Event, to: int, sender: int, message: WireMessage, handle: int | None) -> Event:
        decrypt = partial(self._world.decrypt, to, sender, message)
        event, text = self._attempt(event, to, decrypt, actor=to, peer=sender, message=handle)
        if event.asked:
            event = event.but(claimed=claimed_identity(message))
        return event if text is None else event.but(plaintext=self._named(text, to))

    # -- the attacker -------------------------------------------------------------------------------------------------

    def _tamper(self, event: Event) -> Event:
        handle = self._chosen(event)
        if handle is None:
            return event
        sender, receiver = self._routes[handle]
        third = (sender + 1) % len(PARTIES)
        self._party(third)
        name, how = TAMPERS[event.op["field"]], event.op["how"]
        identities = {0: self._identities[third], 1: self._identities[sender]}
        change = tamper(self._messages[handle], name, how, others=self._messages, identities=identities)
        if change is None:
            return event
        event = event.but(prekey_id=change.prekey_id)
        return self._hand_over(event, receiver, sender, change.message, handle)

    def _redirect(self, event: Event) -> Event:
        handle = self._chosen(event)
        to, sender = event.op["to"], event.op["sender"]
        if handle is None or to == sender:
            return event
        self._party(to)
        self._party(sender)
        return self._hand_over(event, to, sender, self._messages[handle], handle)

    def _inject(self, event: Event) -> Event:
        to, sender = event.op["to"], event.op["sender"]
        if to == sender or not self._hello.sessions:
            return event
        self._party(to)
        self._party(sender)
        return self._hand_over(event, to, sender, junk(JUNK[event.op["what"]], event.op["how"]), None)

    def _inspect(self, event: Event) -> Event:
        """The attacker is given the party's session state and searches it for keys of recorded messages."""
        actor = event.op["actor"]
        if self._hello.level < Observe.STATE or actor not in self._identities:
            return event
        secrets = self._world.secrets(actor) if self._hello.sessions else ()
        mine = [entry for entry in self._recorded if entry and actor in self._routes[entry.handle]]
        held = tuple(self._secrets.setdefault(secret, len(self._secrets)) for secret in secrets)
        leaks = None
        if "texts" in self._can:
            leaks = self._leaks[actor].leaked(self._world.texts(actor), self._world.all_secrets(actor))
        read = self._inspections[actor].readable(secrets, mine)
        grouped = None
        if self._group_sent:
            found = readable(self._world.group_secrets(actor), self._group_sent)
            grouped = Grouped(readable=tuple(sorted(found)))
        return event.but(outcome=Outcome.DONE, actor=actor, readable=read, held=held, leaks=leaks, group=grouped)

    def _compromise(self, event: Event) -> Event:
        """The attacker takes a copy of all that a party has stored, and tries it on all that it recorded."""
        actor = event.op["actor"]
        if "compromise" not in self._can or self._hello.level < Observe.STATE or actor not in self._identities:
            return event
        self._stolen.append(self._world.steal(actor))
        return self._attack(event.but(actor=actor, after=self._observe(actor)))

    def _attack(self, event: Event) -> Event:
        """The attacker tries all that it took on all that it recorded."""
        if not self._stolen:
            return event
        grouped = Grouped(reads=read_groups(self._stolen, self._group_sent)) if self._group_sent else None
        return event.but(outcome=Outcome.DONE, reads=self._thief.read(self._stolen, self._intercepted), group=grouped)

    # -- groups -------------------------------------------------------------------------------------------------------

    def _in_group(self, event: Event, actor: int, peer: int | None, grouped: Grouped, call: Callable[[], T]) -> Any:
        """Do one thing for a member of a group; what came of it, and the event with what is known of the group."""
        if grouped.group is not None:
            self._used_groups.add(grouped.group)
        return self._attempt(event, actor, call, actor=actor, peer=peer, group=grouped)

    def _group_layout(self, event: Event) -> Event:
        """A group has one layout, for all: it is chosen before anybody uses it."""
        group, layout = event.op["group"], event.op["layout"]
        if Kind.GROUP_LAYOUT.word not in self._can or group in self._used_groups:
            return event
        self._world.group_layout(GROUP_IDS[group], LAYOUTS[layout])
        self._layouts[group] = GROUP_WIRE[LAYOUTS[layout]]
        return event.but(outcome=Outcome.DONE, group=Grouped(group))

    def _group_create(self, event: Event) -> Event:
        actor, group = event.op["actor"], event.op["group"]
        if "groups" not in self._can:
            return event
        self._party(actor)
        handle = len(self._given)
        create = partial(self._world.group_create, actor, GROUP_IDS[group])
        event, data = self._in_group(event, actor, None, Grouped(group), create)
        if data is None:
            return event
        layout = self._layouts[group]
        self._given.append(Given(actor, group, data, layout=layout))
        return event.but(group=Grouped(group, distribution=handle), canonical=is_canonical_distribution(data, layout))

    def _group_join(self, event: Event) -> Event:
        actor = event.op["actor"]
        if "groups" not in self._can or not self._given:
            return event
        handle = event.op["distribution"] % len(self._given)
        given = self._given[handle]
        if given.sender == actor:
            return event
        self._party(actor)
        self._party(given.sender)
        join = partial(self._world.group_join, actor, given.sender, GROUP_IDS[given.group], given.data)
        event, _ = self._in_group(event, actor, given.sender, Grouped(given.group, distribution=handle), join)
        return event

    def _group_send(self, event: Event) -> Event:
        actor, group = event.op["actor"], event.op["group"]
        if "groups" not in self._can:
            return event
        self._party(actor)
        handle = len(self._group_sent)
        text = group_plaintext_of(handle, event.op["size"], self._sizes)
        encrypt = partial(self._world.group_encrypt, actor, GROUP_IDS[group], text)
        event, data = self._in_group(event, actor, None, Grouped(group), encrypt)
        if data is None:
            return event
        seen = group_header(data, self._layouts[group])
        self._keep_group_message(actor, group, data, text)
        grouped = Grouped(group, message=handle, header=seen)
        return event.but(group=grouped, canonical=is_canonical_message(data, self._layouts[group]))

    def _group_share(self, event: Event) -> Event:
        """A message for all members. What gives them the chain is on its way in the sessions with them."""
        actor, group = event.op["actor"], event.op["group"]
        if "group-share" not in self._can:
            return event
        self._party(actor)
        handle = len(self._group_sent)
        text = group_plaintext_of(handle, event.op["size"], self._sizes)
        share = partial(self._world.group_share, actor, GROUP_IDS[group], text)
        event, shared = self._in_group(event, actor, None, Grouped(group), share)
        if shared is None:
            return event
        gave = tuple(self._gave(actor, peer, wire, shared.distribution) for peer, wire in shared.distributions)
        layout = self._layouts[group]
        grouped = Grouped(group, message=handle, header=group_header(shared.message, layout), gave=gave)
        if gave:
            grouped = replace(grouped, distribution=len(self._given))
            self._given.append(Given(actor, group, shared.distribution, layout=layout))
        self._shared[actor, group] = gave
        self._keep_group_message(actor, group, shared.message, text)
        return event.but(group=grouped, canonical=is_canonical_message(shared.message, layout))

    def _gave(self, actor: int, peer: int, wire: WireMessage, distribution: bytes) -> Gave:
        """A message of a session, which nobody asked for by itself."""
        handle = len(self._messages)
        seen, signal = header(wire), inner_data(wire)
        self._messages.append(wire)
        self._routes.append((actor, peer))
        self._carried[handle] = distribution
        self._flight.append(handle)
        if self._hello.level >= Observe.STATE:
            self._record(handle, wire, signal, distribution, seen, told=False)
        return Gave(peer, handle, seen)

    def _group_came(self, event: Event) -> Event:
        actor, group = event.op["actor"], event.op["group"]
        if "group-share" not in self._can or (actor, group) not in self._shared:
            return event
        came = partial(self._world.group_came, actor, GROUP_IDS[group])
        event, _ = self._in_group(event, actor, None, Grouped(group, gave=self._shared[actor, group]), came)
        return event

    def _named(self, text: bytes, party: int) -> int:
        """The handle of the message that came to `party` with this text; -1 for a text that nobody sent."""
        handle = self._texts.get(text)
        if handle is not None:
            return handle
        carried = (each for each, data in self._carried.items() if data == text and self._routes[each][1] == party)
        return next(carried, -1)

    def _keep_group_message(self, sender: int, group: int, data: bytes, text: bytes, *, crafted: bool = False) -> None:
        handle = len(self._group_sent)
        self._group_sent.append(GroupSent(handle, sender, group, data, text, crafted, self._layouts[group]))
        self._group_texts[text] = handle

    def _group_deliver(self, event: Event) -> Event:
        if not self._group_sent:
            return event
        message = self._group_sent[event.op["message"] % len(self._group_sent)]
        return self._group_hand_over(event, message, message.sender, message.group, message.data)

    def _group_tamper(self, event: Event) -> Event:
        if not self._group_sent:
            return event
        message = self._group_sent[event.op["message"] % len(self._group_sent)]
        changed = tamper_group(message, GROUP_TAMPERS[event.op["field"]], event.op["how"])
        if changed is None:
            return event
        return self._group_hand_over(event, message, message.sender, message.group, changed)

    def _group_redirect(self, event: Event) -> Event:
        if not self._group_sent:
            return event
        message = self._group_sent[event.op["message"] % len(self._group_sent)]
        return self._group_hand_over(event, message, event.op["sender"], event.op["group"], message.data)

    def _group_hand_over(self, event: Event, message: GroupSent, sender: int, group: int, data: bytes) -> Event:
        actor = event.op["actor"]
        if actor == sender:
            return event
        self._party(actor)
        self._party(sender)
        grouped = Grouped(group, message=message.handle)
        decrypt = partial(self._world.group_decrypt, actor, sender, GROUP_IDS[group], data)
        event, text = self._in_group(event, actor, sender, grouped, decrypt)
        if text is None:
            return event
        return event.but(group=replace(grouped, plaintext=self._group_texts.get(text, -1)))

    def _group_rotate(self, event: Event) -> Event:
        actor, group = event.op["actor"], event.op["group"]
        if "group-rotate" not in self._can:
            return event
        self._party(actor)
        rotate = partial(self._world.group_rotate, actor, GROUP_IDS[group])
        event, _ = self._in_group(event, actor, None, Grouped(group), rotate)
        return event

    def _group_forget(self, event: Event) -> Event:
        actor, peer, group = event.op["actor"], event.op["peer"], event.op["group"]
        if "group-forget" not in self._can or actor == peer or actor not in self._identities:
            return event
        self._party(peer)
        forget = partial(self._world.group_forget, actor, peer, GROUP_IDS[group])
        event, _ = self._in_group(event, actor, peer, Grouped(group), forget)
        return event

    def _group_members(self, event: Event) -> Event:
        actor, group, mask = event.op["actor"], event.op["group"], event.op["mask"]
        if "group-members" not in self._can:
            return event
        self._party(actor)
        others = [party for party in range(len(PARTIES)) if mask >> party & 1 and party != actor]
        change = partial(self._world.group_members, actor, GROUP_IDS[group], others)
        event, _ = self._in_group(event, actor, None, Grouped(group), change)
        return event

    def _group_smuggle(self, event: Event) -> Event:
        sender, group, handle = event.op["sender"], event.op["group"], len(self._given)
        if "groups" not in self._can:
            return event
        how, number = SMUGGLES[event.op["how"]], event.op["number"]
        made = smuggle(sender, group, how, number, self._given, self._layouts[group])
        if made is None:
            return event
        self._used_groups.add(group)
        self._party(sender)
        self._given.append(made)
        return event.but(outcome=Outcome.DONE, group=Grouped(group, distribution=handle))

    def _group_craft(self, event: Event) -> Event:
        chains = [given for given in self._given if given.key is not None]
        if not chains:
            return event
        chain, handle = chains[event.op["chain"] % len(chains)], len(self._group_sent)
        text = group_plaintext_of(handle, 0)
        self._keep_group_message(chain.sender, chain.group, craft(chain, event.op["ahead"], text), text, crafted=True)
        return event.but(outcome=Outcome.DONE, group=Grouped(chain.group, message=handle))

    # -- parties ------------------------------------------------------------------------------------------------------

    def _reinstall(self, event: Event) -> Event:
        actor = event.op["actor"]
        if "reinstall" not in self._can or actor not in self._identities:
            return event
        event, key = self._attempt(event, actor, lambda: self._world.reinstall(actor))
        if key is not None:
            self._identities[actor] = key
            self._names[actor].append(key)
        return event

    def _approve(self, event: Event) -> Event:
        actor, peer = event.op["actor"], event.op["peer"]
        if "approve" not in self._can or actor == peer:
            return event
        self._party(actor)
        self._party(peer)
        approve = partial(self._world.approve, actor, peer, self._identities[peer])
        event, _ = self._attempt(event, actor, approve, actor=actor, peer=peer)
        return event

    def _restart(self, event: Event) -> Event:
        actor = event.op["actor"]
        if "restart" not in self._can or actor not in self._identities:
            return event
        event, _ = self._attempt(event, actor, lambda: self._world.restart(actor))
        return event

    def _crash(self, event: Event) -> Event:
        actor = event.op["actor"]
        if "crash" not in self._can:
            return event
        self._party(actor)
        self._armed[actor] = event.op["at"]
        return event.but(outcome=Outcome.DONE, actor=actor)

    # -- time, upkeep and the application -----------------------------------------------------------------------------

    def _clock(self, event: Event) -> Event:
        if "clock" not in self._can:
            return event
        self._world.advance(event.op["days"] * DAY_SECONDS)
        return event.but(outcome=Outcome.DONE)

    def _rotate(self, event: Event) -> Event:
        actor = event.op["actor"]
        if "rotate" not in self._can:
            return event
        self._party(actor)
        event, _ = self._attempt(event, actor, lambda: self._world.rotate(actor), actor=actor)
        return event

    def _maintain(self, event: Event) -> Event:
        actor = event.op["actor"]
        if "rotate" not in self._can:
            return event
        self._party(actor)
        event, rotated = self._attempt(event, actor, lambda: self._world.maintain(actor), actor=actor)
        return event.but(rotated=bool(rotated))

    def _forget(self, event: Event) -> Event:
        actor, peer = event.op["actor"], event.op["peer"]
        if "forget" not in self._can or actor == peer or actor not in self._identities:
            return event
        self._party(peer)
        event, _ = self._attempt(event, actor, lambda: self._world.forget(actor, peer), actor=actor, peer=peer)
        return event

    def _callback(self, event: Event) -> Event:
        actor = event.op["actor"]
        named = CALLBACKS[event.op["callback"]]
        if "callbacks" not in self._can or (named == "plaintext" and "plaintext-hook" not in self._can):
            return event
        self._party(actor)
        self._world.arm_callback(actor, named, ANSWERS[event.op["how"]])
        return event.but(outcome=Outcome.DONE, actor=actor)

    def _compatibility(self, event: Event) -> Event:
        actor = event.op["actor"]
        if "compatibility" not in self._can:
            return event
        self._party(actor)
        option = OPTIONS[event.op["option"]]
        event, _ = self._attempt(event, actor, lambda: self._world.be_compatible(actor, option), actor=actor)
        return event

    def _damage_next(self, event: Event) -> Event:
        actor = event.op["actor"]
        if "damage" not in self._can:
            return event
        self._party(actor)
        self._damage[actor] = (TABLES[event.op["table"]], DAMAGES[event.op["how"]])
        return event.but(outcome=Outcome.DONE, actor=actor)

    def _medium_next(self, event: Event) -> Event:
        actor = event.op["actor"]
        if "medium" not in self._can:
            return event
        self._party(actor)
        self._media[actor] = (TABLES[event.op["table"]], MEDIA[event.op["how"]])
        return event.but(outcome=Outcome.DONE, actor=actor)

    def _store_fault(self, event: Event) -> Event:
        actor = event.op["actor"]
        if "store-faults" not in self._can:
            return event
        self._party(actor)
        self._faults[actor] = (event.op["at"], STORE_FAULTS[event.op["how"]])
        return event.but(outcome=Outcome.DONE, actor=actor)

    def _rival(self, event: Event) -> Event:
        actor = event.op["actor"]
        if "rival" not in self._can:
            return event
        self._party(actor)
        self._rivals[actor] = RIVALS[event.op["how"]]
        return event.but(outcome=Outcome.DONE, actor=actor)

    def _nop(self, event: Event) -> Event:
        return event


HANDLERS: dict[Kind, Callable[[Run, Event], Event]] = {
    Kind.NOP: Run._nop,
    Kind.ESTABLISH: Run._establish,
    Kind.SEND: Run._send,
    Kind.DELIVER: Run._deliver,
    Kind.DUPLICATE: Run._duplicate,
    Kind.DROP: Run._drop,
    Kind.REPLAY: Run._replay,
    Kind.TAMPER: Run._tamper,
    Kind.REDIRECT: Run._redirect,
    Kind.INJECT: Run._inject,
    Kind.FORGE_BUNDLE: Run._establish,
    Kind.REINSTALL: Run._reinstall,
    Kind.APPROVE: Run._approve,
    Kind.RESTART: Run._restart,
    Kind.CRASH: Run._crash,
    Kind.INSPECT: Run._inspect,
    Kind.BURST: Run._burst,
    Kind.CLOCK: Run._clock,
    Kind.ROTATE: Run._rotate,
    Kind.MAINTAIN: Run._maintain,
    Kind.FORGET: Run._forget,
    Kind.CALLBACK: Run._callback,
    Kind.COMPATIBILITY: Run._compatibility,
    Kind.DAMAGE: Run._damage_next,
    Kind.MEDIUM: Run._medium_next,
    Kind.COMPROMISE: Run._compromise,
    Kind.ATTACK: Run._attack,
    Kind.STORE_FAULT: Run._store_fault,
    Kind.RIVAL: Run._rival,
    Kind.GROUP_CREATE: Run._group_create,
    Kind.GROUP_JOIN: Run._group_join,
    Kind.GROUP_SEND: Run._group_send,
    Kind.GROUP_DELIVER: Run._group_deliver,
    Kind.GROUP_ROTATE: Run._group_rotate,
    Kind.GROUP_FORGET: Run._group_forget,
    Kind.GROUP_TAMPER: Run._group_tamper,
    Kind.GROUP_REDIRECT: Run._group_redirect,
    Kind.GROUP_SMUGGLE: Run._group_smuggle,
    Kind.GROUP_CRAFT: Run._group_craft,
    Kind.GROUP_MEMBERS: Run._group_members,
    Kind.GROUP_LAYOUT: Run._group_layout,
    Kind.GROUP_SHARE: Run._group_share,
    Kind.GROUP_CAME: Run._group_came,
}


def run_trace(
    target: Target, trace: Trace, *, closing: bool = True, check: Callable[[], object] = lambda: None
) -> History:
    """Carry out a trace in a fresh world. `check` is called before each operation, and may raise to end it all.

    Raises: HarnessBroken, and what `check` raises.
    """
    run = Run(target, seed=trace.seed, strict=trace.strict, check=check)
    try:
        for operation in trace.ops:
            run.step(operation)
    except BaseException:
        run.finish(closing=False)
        raise
    return run.finish(closing=closing)


__all__ = ["HarnessBroken", "Run", "run_trace"]
