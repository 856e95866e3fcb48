"""Histories of groups, written by hand as those of sessions are (`tests.spec.histories`)."""

from __future__ import annotations

from dataclasses import replace

from pawl_spec.history import Event, Gave, Grouped, GroupHeader, Header, Outcome
from pawl_spec.trace import GROUP_TAMPERS, SMUGGLES, Kind, Op, op
from tests.spec.histories import ALICE, BOB, CAROL, Tale

TEAM, CLUB = range(2)


class GroupTale(Tale):
    """A history in groups in the making. Handles of distributions and of messages count from 0."""

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)  # type: ignore[arg-type]
        self._given: list[tuple[int, int]] = []
        self._spoken: list[tuple[int, int]] = []
        self._shares = 0

    def create(self, actor: int, group: int = TEAM, **how: object) -> int:
        """`actor` makes a distribution of its own chain; its handle."""
        handle = len(self._given)
        self._of_group(op(Kind.GROUP_CREATE, actor=actor, group=group), actor, None, Grouped(group, handle), **how)
        if self.last.outcome is Outcome.DONE:
            self._given.append((actor, group))
        return handle

    def join(self, actor: int, handle: int, **how: object) -> GroupTale:
        """`actor` takes a distribution."""
        sender, group = self._given[handle]
        joined = op(Kind.GROUP_JOIN, actor=actor, distribution=handle)
        return self._of_group(joined, actor, sender, Grouped(group, handle), **how)

    def speak(self, actor: int, group: int = TEAM, *, header: dict[str, object] | None = None, **how: object) -> int:
        """`actor` sends in a group; `header` overrides fields of what the model expects on the wire."""
        handle = len(self._spoken)
        self._of_group(op(Kind.GROUP_SEND, actor=actor, group=group), actor, None, Grouped(group), **how)
        if self.last.outcome is Outcome.DONE:
            expect = self.expect
            due = (0, 0) if expect is None else (expect.chain or 0, expect.iteration or 0)
            seen = replace(GroupHeader(0x33, f"{group}", *due), **(header or {}))  # type: ignore[arg-type]
            self._edit(group=Grouped(group, message=handle, header=seen))
            self._spoken.append((actor, group))
        return handle

    def share(self, actor: int, *gave: int, mask: int | None = None, **how: object) -> GroupTale:
        """`actor` sends to all members, whom it first changes to `mask`, and gives the chain to these."""
        if mask is not None:
            changed = op(Kind.GROUP_MEMBERS, actor=actor, group=TEAM, mask=mask)
            self._of_group(changed, actor, None, Grouped(TEAM))
        handle = len(self._spoken)
        made = tuple(self._gave(actor, peer) for peer in gave)
        self._of_group(op(Kind.GROUP_SHARE, actor=actor, group=TEAM), actor, None, Grouped(TEAM, gave=made), **how)
        if self.last.outcome is Outcome.DONE:
            expect = self.expect
            due = (0, 0) if expect is None else (expect.chain or 0, expect.iteration or 0)
            self._edit(group=Grouped(TEAM, message=handle, header=GroupHeader(0x33, f"{TEAM}", *due), gave=made))
            self._spoken.append((actor, TEAM))
        return self

    def _gave(self, actor: int, peer: int) -> Gave:
        """A message that gives the chain, on a chain of its own; its handle is nobody's."""
        self._shares += 1
        return Gave(peer, 1000 + self._shares, Header("prekey", 0x33, f"{actor}{peer}{self._shares}", 0, 0))

    def hear(self, actor: int, handle: int, **how: object) -> GroupTale:
        """`actor` is handed a message of a group."""
        sender, group = self._spoken[handle]
        return self._heard(op(Kind.GROUP_DELIVER, actor=actor, message=handle), actor, sender, group, handle, **how)

    def meddle(self, actor: int, handle: int, name: str, *, choice: int = 0, **how: object) -> GroupTale:
        """`actor` is handed a changed copy."""
        sender, group = self._spoken[handle]
        changed = op(Kind.GROUP_TAMPER, actor=actor, message=handle, field=GROUP_TAMPERS.index(name), how=choice)
        return self._heard(changed, actor, sender, group, handle, **how)

    def move(self, actor: int, handle: int, sender: int, group: int = TEAM, **how: object) -> GroupTale:
        """`actor` is handed a message as from another sender, or in another group."""
        moved = op(Kind.GROUP_REDIRECT, actor=actor, message=handle, sender=sender, group=group)
        return self._heard(moved, actor, sender, group, handle, **how)

    def turn(self, actor: int, group: int = TEAM, **how: object) -> GroupTale:
        """`actor` rotates."""
        return self._of_group(op(Kind.GROUP_ROTATE, actor=actor, group=group), actor, None, Grouped(group), **how)

    def dismiss(self, actor: int, peer: int, group: int = TEAM, **how: object) -> GroupTale:
        """`actor` lets the chains of `peer` go."""
        gone = op(Kind.GROUP_FORGET, actor=actor, peer=peer, group=group)
        return self._of_group(gone, actor, peer, Grouped(group), **how)

    def smuggle(self, sender: int, how: str, number: int = 0, group: int = TEAM) -> int:
        """A malicious member makes a distribution; its handle."""
        made = op(Kind.GROUP_SMUGGLE, sender=sender, group=group, how=SMUGGLES.index(how), number=number)
        self._of_attacker(made, Grouped(group, len(self._given)))
        self._given.append((sender, group))
        return len(self._given) - 1

    def craft(self, sender: int, chain: int = 0, ahead: int = 0, group: int = TEAM) -> int:
        """A malicious member sends on a chain of the attacker's; the message's handle."""
        self._of_attacker(op(Kind.GROUP_CRAFT, chain=chain, ahead=ahead), Grouped(group, message=len(self._spoken)))
        self._spoken.append((sender, group))
        return len(self._spoken) - 1

    def look(self, actor: int, *readable: int) -> GroupTale:
        """The attacker looks at `actor`'s chains, and could read these messages of groups with them."""
        self.inspect(actor, group=Grouped(readable=readable))
        return self

    def take(self, actor: int, *reads: int) -> GroupTale:
        """The attacker takes all that `actor` has stored, and reads these messages of groups."""
        event = self._event(op(Kind.COMPROMISE, actor=actor), actor)
        self._add(replace(event, reads=(), group=Grouped(reads=reads)), changes=False)
        return self

    def search(self, *reads: int) -> GroupTale:
        """The attacker reads these messages of groups with all that it took."""
        self._of_attacker(Op(Kind.ATTACK), Grouped(reads=reads), reads=())
        return self

    def _of_attacker(self, operation: Op, grouped: Grouped, **more: object) -> None:
        event = Event(len(self.history.events), operation, Outcome.DONE, group=grouped)
        self.history.events.append(replace(event, **more))  # type: ignore[arg-type]
        self.expect = self._model.feed(self.last)

    def _heard(self, operation: Op, actor: int, sender: int, group: int, handle: int, **how: object) -> GroupTale:
        given = how.pop("plaintext", handle)
        plaintext = None if {"code", "crash", "died"} & set(how) else given
        grouped = Grouped(group, message=handle, plaintext=plaintext)  # type: ignore[arg-type]
        return self._of_group(operation, actor, sender, grouped, **how)

    def _of_group(self, operation: Op, actor: int, peer: int | None, grouped: Grouped, **how: object) -> GroupTale:
        self._add(replace(self._event(operation, actor, peer), group=grouped), **how)  # type: ignore[arg-type]
        return self


def gathered(**settings: object) -> GroupTale:
    """Alice has given her chain to Bob and Carol, and Bob his to Alice; nothing was sent."""
    tale = GroupTale(**settings)
    first = tale.create(ALICE)
    tale.join(BOB, first).join(CAROL, first)
    return tale.join(ALICE, tale.create(BOB))
