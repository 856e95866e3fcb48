"""The model follows a history, event by event."""

from __future__ import annotations

from collections.abc import Callable

from pawl_spec.history import Event, History, Outcome
from pawl_spec.model.bundles import establish
from pawl_spec.model.expect import Expect
from pawl_spec.model.receiving import deliver, inject
from pawl_spec.model.sending import burst, send
from pawl_spec.model.world import World, ends
from pawl_spec.trace import PARTIES, Kind

Follow = Callable[[World, Event], Expect | None]


def reinstall(world: World, event: Event) -> None:
    """The party lost its store, and starts again with a new identity."""
    if event.outcome is Outcome.DONE and event.actor is not None:
        world.parties[event.actor] = world.new_party(world.parties[event.actor].strict)


def approve(world: World, event: Event) -> None:
    """The party's user decided that the peer's present identity is the right one."""
    if event.outcome is Outcome.DONE:
        actor, peer = ends(event)
        world.parties[actor].pins[peer] = world.parties[peer].identity


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
}
"""The operations that the model has something to say about."""


class Model(World):
    """Follows a history; `feed` returns what each event's operation may do."""

    def feed(self, event: Event) -> Expect | None:
        """What the operation of `event` may do; None where the model has nothing to say. Then follow the target."""
        if self.diverged or event.outcome in (Outcome.SKIPPED, Outcome.DIED, Outcome.HUNG):
            return None
        follow = OPERATIONS.get(event.op.kind)
        return None if follow is None else follow(self, event)


def expectations(history: History) -> list[Expect | None]:
    """What the model expects of each event of a history."""
    strict = [history.trace.is_strict(party) for party in range(len(PARTIES))]
    model = Model(history.target, strict)
    return [model.feed(event) for event in history.events]
