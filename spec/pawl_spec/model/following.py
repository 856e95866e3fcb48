"""The model follows a history, event by event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pawl_spec.history import Event, History, Limits, Outcome, Strike
from pawl_spec.model import groups
from pawl_spec.model.bundles import establish
from pawl_spec.model.expect import Expect
from pawl_spec.model.knowledge import Knowledge, healing
from pawl_spec.model.receiving import deliver, inject
from pawl_spec.model.sending import burst, send
from pawl_spec.model.state import Party, SignedPreKey
from pawl_spec.model.world import World, ends, took_effect
from pawl_spec.trace import ANSWERS, CALLBACKS, OPTIONS, PARTIES, Kind

DAY_SECONDS = 24 * 60 * 60

CONFLICTS = frozenset({"conflict", "store-busy"})
"""How a writer is told that another one was faster."""
REPEATED = CONFLICTS | {"duplicate-message"}

Follow = Callable[[World, Event], Expect | None]


def reinstall(world: World, event: Event) -> None:
    """The party lost its store, and starts again with a new identity; its application is configured as before."""
    if event.outcome is Outcome.DONE and event.actor is not None:
        old = world.parties[event.actor]
        new = world.parties[event.actor] = world.new_party(old.strict)
        new.asks, new.compatible = old.asks, old.compatible


def restart(world: World, event: Event) -> None:
    """What the application had in mind for its next callback is gone."""
    if event.actor is not None:
        world.parties[event.actor].armed.clear()


def approve(world: World, event: Event) -> Expect:
    """The party's user decided that the peer's present identity is the right one."""
    actor, peer = ends(event)
    tells: frozenset[str] = frozenset()
    if event.outcome is Outcome.DONE:
        tells = world.pin(world.parties[actor], peer, world.parties[peer].identity)
    return Expect(None, tells=tells)


def callback(world: World, event: Event) -> None:
    """The application's next callback of a kind behaves in a certain way."""
    party, kind = world.parties[event.op["actor"]], CALLBACKS[event.op["callback"]]
    party.armed[kind] = ANSWERS[event.op["how"]]
    party.asks.add(kind)


def compatibility(world: World, event: Event) -> None:
    """The party is opened with other options."""
    if event.outcome is Outcome.DONE:
        party, option = world.parties[event.op["actor"]], OPTIONS[event.op["option"]]
        party.compatible = frozenset(OPTIONS[1:-1]) if option == "all" else frozenset({option}) - {"none"}
        party.armed.clear()


def clock(world: World, event: Event) -> None:
    """Time passes for everybody."""
    world.now += event.op["days"] * DAY_SECONDS


def rotate(world: World, event: Event) -> None:
    """Another signed prekey takes the place of the current one."""
    if took_effect(event):
        _rotate(world, world.parties[event.op["actor"]])


def _rotate(world: World, party: Party) -> None:
    party.signed_prekeys[-1] = replace(party.signed_prekeys[-1], superseded=world.now)
    party.signed_prekeys.append(SignedPreKey(world.terms.fresh("signed-prekey")))


def maintain(world: World, event: Event) -> Expect:
    """Signed prekeys past their grace are deleted; whether the current one is replaced is the target's affair."""
    party, grace = world.parties[event.op["actor"]], world.limits.signed_prekey_grace
    if took_effect(event):
        if event.rotated or _made_one(event):
            _rotate(world, party)
        if grace is not None:
            party.signed_prekeys = [
                held for held in party.signed_prekeys if held.superseded is None or world.now - held.superseded <= grace
            ]
    return Expect(None, signed_prekeys=len(party.signed_prekeys) if grace is not None else None)


def _made_one(event: Event) -> bool:
    """A crash came before it could be said whether there is a new signed prekey, and there is one."""
    if event.outcome is not Outcome.CRASHED or event.before is None or event.after is None:
        return False
    return not set(event.after.signed_prekeys or ()) <= set(event.before.signed_prekeys or ())


def forget(world: World, event: Event) -> None:
    """The sessions are lost; the pin and the memory of base keys stay."""
    if took_effect(event):
        actor, peer = ends(event)
        world.parties[actor].sessions.pop(peer, None)


def inspect(world: World, event: Event) -> Expect:
    """What a party's session state still holds was made no earlier than its oldest chain that may be kept."""
    most = world.limits.receiving_chains or Limits().receiving_chains or 1
    oldest, party = event.step, world.parties[event.op["actor"]]
    for sessions in party.sessions.values():
        for session in sessions:
            full = len(session.receiving) >= most
            oldest = min(oldest, session.receiving[most - 1].born if full else session.born)
    held = Knowledge().take(world.terms, party, 0)
    return Expect(None, oldest=oldest, group_reads=held.group_reads(world.group_messages))


def compromise(world: World, event: Event) -> Expect:
    """The attacker takes a copy of everything that the party has stored, then tries it on all that it recorded."""
    if event.outcome is Outcome.DONE:
        party = world.parties[event.op["actor"]]
        # Whether the first signed prekey is made at once or when it is first asked for is the target's affair.
        unmade = event.after is not None and event.after.signed_prekeys == ()
        taken = replace(party, signed_prekeys=[]) if unmade else party
        world.knowledge = world.knowledge.take(world.terms, taken, len(world.messages), len(world.group_messages))
    return attack(world, event)


def attack(world: World, event: Event) -> Expect:
    """The attacker tries all that it took on all that it recorded."""
    since = world.knowledge.recorded
    reads = world.knowledge.reads(world.terms, world.messages)
    return Expect(
        None,
        reads=reads,
        since=since,
        healed=healing(world.messages, reads, since),
        group_reads=world.knowledge.group_reads(world.group_messages),
        group_since=world.knowledge.group_recorded,
    )


OPERATIONS: dict[Kind, Follow] = {
    Kind.ESTABLISH: establish,
    Kind.FORGE_BUNDLE: establish,
    Kind.SEND: send,
    Kind.BURST: burst,
    Kind.DELIVER: deliver,
    Kind.REPLAY: deliver,
    Kind.TAMPER: deliver,
    Kind.REDIRECT: deliver,
    Kind.INJECT: inject,
    Kind.REINSTALL: reinstall,
    Kind.APPROVE: approve,
    Kind.RESTART: restart,
    Kind.INSPECT: inspect,
    Kind.CLOCK: clock,
    Kind.ROTATE: rotate,
    Kind.MAINTAIN: maintain,
    Kind.FORGET: forget,
    Kind.CALLBACK: callback,
    Kind.COMPATIBILITY: compatibility,
    Kind.COMPROMISE: compromise,
    Kind.ATTACK: attack,
    Kind.GROUP_CREATE: groups.create,
    Kind.GROUP_JOIN: groups.join,
    Kind.GROUP_SEND: groups.send,
    Kind.GROUP_DELIVER: groups.deliver,
    Kind.GROUP_ROTATE: groups.rotate,
    Kind.GROUP_FORGET: groups.forget,
    Kind.GROUP_TAMPER: groups.deliver,
    Kind.GROUP_REDIRECT: groups.deliver,
    Kind.GROUP_SMUGGLE: groups.smuggle,
    Kind.GROUP_CRAFT: groups.craft,
    Kind.GROUP_MEMBERS: groups.members,
    Kind.GROUP_LAYOUT: groups.layout,
    Kind.GROUP_SHARE: groups.share,
    Kind.GROUP_CAME: groups.came,
}
"""The operations that the model has something to say about."""


class Model(World):
    """Follows a history; `feed` returns what each event's operation may do."""

    def feed(self, event: Event) -> Expect | None:
        """What the operation of `event` may do; None where the model has nothing to say. Then follow the target."""
        if self.diverged or event.outcome in (Outcome.SKIPPED, Outcome.DIED, Outcome.HUNG):
            return None
        follow = OPERATIONS.get(event.op.kind)
        if follow is None:
            return None
        self.act_as(event.actor)
        for strike in event.peer_struck:
            self.struck(self.parties[ends(event)[1]], strike)
        self.busy_in = self._busy_in(event)
        early, late, _ = event.around()
        self.meanwhile = early
        if early and event.actor is not None and not event.asked:
            self.follow_callbacks(self.parties[event.actor])
        if event.refused_again and event.asked:
            # What was asked, and in which of two tries, cannot be told apart.
            self.diverged = True
            expect = None
        elif event.fault is not None and event.outcome is Outcome.REFUSED and not event.refused_again:
            # Nothing has happened, whatever it was to be (ATM-05). What a callback did before is not undone with it,
            # and the answer to a question belongs to what did not happen.
            self.diverged |= any(strike.changed for strike in event.struck)
            expect = None
        elif event.rival is not None and event.rival.changed:
            expect = self._contended(event, event.rival, follow)
        else:
            expect = follow(self, event)
        if event.actor is not None:
            self.follow_callbacks(self.parties[event.actor])
            for strike in late:
                self.struck(self.parties[event.actor], strike)
        self._disarm(event)
        return expect

    def _busy_in(self, event: Event) -> tuple[int, ...]:
        """The group in which the operation is, where its party has a chain of its own there."""
        group = None if event.group is None else event.group.group
        if group is None or event.actor is None or group not in self.parties[event.actor].own_chains:
            return ()
        return (group,)

    def _contended(self, event: Event, rival: Strike, follow: Follow) -> Expect | None:
        """Another process wrote before this one could: this one is told, or takes its step after the other's."""
        if event.asked:
            # What was asked, and in which of two tries, cannot be told apart.
            self.diverged = True
            return None
        if rival.how == "receive":
            # The other one has read the message; for this one it is a repeat.
            follow(self, event.but(outcome=Outcome.DONE, code=None, plaintext=event.message))
            return Expect(False, REPEATED, "ATM-04")
        if event.outcome is Outcome.REFUSED and event.code in CONFLICTS:
            return Expect(None)
        return follow(self, event)

    def _disarm(self, event: Event) -> None:
        """What a callback was to do once, it has done; a crash makes the application forget it."""
        for strike in event.peer_struck:
            self.parties[ends(event)[1]].armed.pop(strike.callback, None)
        if event.actor is None or event.op.kind is Kind.CALLBACK:
            return
        armed = self.parties[event.actor].armed
        if event.outcome is Outcome.CRASHED:
            armed.clear()
        for strike in event.struck:
            armed.pop(strike.callback, None)


def expectations(history: History) -> list[Expect | None]:
    """What the model expects of each event of a history."""
    strict = [history.trace.is_strict(party) for party in range(len(PARTIES))]
    model = Model(history.target, strict)
    return [model.feed(event) for event in history.events]
