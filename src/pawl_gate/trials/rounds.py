"""Rounds of several writers at once on one store: what each is told, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from pawl.errors import ProtocolError
from pawl_gate.trials.traffic import MOST_BATCH, MOST_PEERS, Order, Traffic
from pawl_gate.trials.writers import Writer

TWICE: Final = 0.4
"""How many letters are dealt to two writers."""

TOGETHER: Final = 0.3
"""How many writers take their calls of a round by several threads at once."""


def begin(traffic: Traffic, writers: Sequence[Writer], kind: str, place: str, control: str | None) -> None:
    """All writers open the store at once, where there is none; then one meets the first peer."""
    for writer in writers:
        writer.tell(*traffic.opening(kind, place, control))
    gather(traffic, writers)
    main = traffic.new_peer()
    for _ in range(5):
        if not main.met:
            writers[0].tell(*traffic.establishing(main))
            gather(traffic, writers)
    if not main.met:
        traffic.surprised = True


def take_round(
    traffic: Traffic, writers: Sequence[Writer], calls: int, strike: Callable[[], None] | None = None
) -> None:
    """Each writer is told some `calls` calls, all on the first peer's session and the one pool of prekeys.

    `strike` is called while they are at it. Afterwards the peers read, in any order.
    """
    orders: list[list[Order]] = [[] for _ in writers]
    _deal_letters(traffic, orders, calls)
    _other_calls(traffic, orders, calls)
    for writer, mine in zip(writers, orders, strict=True):
        traffic.random.shuffle(mine)
        if traffic.random.random() < TOGETHER and len(mine) > 1:
            writer.tell(*traffic.together(mine))
        else:
            for order in mine:
                writer.tell(*order)
    if strike is not None:
        strike()
    gather(traffic, writers)
    traffic.lay_down()
    for peer in traffic.peers:
        traffic.read_inbox(peer)
    traffic.count("rounds")


def _deal_letters(traffic: Traffic, orders: list[list[Order]], calls: int) -> None:
    """What peers wrote, each letter to one writer or to two."""
    chance, main = traffic.random, traffic.peers[0]
    if main.hears:
        traffic.write(main, max(1, calls * len(orders) // 3))
    rivals: dict[int, int] = {}
    for number in traffic.due():
        letter = traffic.posts[number].letter
        place = chance.randrange(len(orders))
        if letter.prekey is not None and letter.peer != main.name:
            # Two first messages that name one prekey go to two writers.
            place = rivals[letter.prekey] = (rivals.get(letter.prekey, place - 1) + 1) % len(orders)
        orders[place].append(traffic.reading([number]))
        if chance.random() < TWICE and len(orders) > 1:
            other = (place + chance.randrange(1, len(orders))) % len(orders)
            orders[other].append(traffic.reading([number]))


def _other_calls(traffic: Traffic, orders: list[list[Order]], calls: int) -> None:
    """What is sent, prekeys that are handed out, letters that were read before."""
    chance, main = traffic.random, traffic.peers[0]
    for mine in orders:
        while len(mine) < calls:
            dice = chance.random()
            if dice < 0.12 and len(traffic.peers) < 2 * MOST_PEERS:
                mine.append(traffic.bundling(extra=chance.choice((0, 2))))
            elif dice < 0.2:
                read = [number for number in list(traffic.posts)[-40:] if traffic.posts[number].read]
                mine.append(traffic.reading([chance.choice(read)]) if read else traffic.encrypting(main))
            else:
                size = chance.randint(2, MOST_BATCH) if dice < 0.35 else 1
                mine.append(traffic.encrypting(main, size))
    old = traffic.forgettable()
    if len(traffic.met) > MOST_PEERS and old is not None:
        orders[0].append(traffic.forgetting(old))


def gather(traffic: Traffic, writers: Sequence[Writer]) -> None:
    """Hear all writers until none has anything to say."""
    while busy := [writer for writer in writers if len(writer) and not writer.ended]:
        for writer in busy:
            traffic.hear(writer, writer.hear(0.05 if len(busy) == 1 else 0.005))
    for writer in writers:
        if writer.ended and len(writer):
            traffic.hear(writer, writer.end())


def look(traffic: Traffic, writer: Writer) -> None:
    """With nobody at work: what is in the store; and what the application has dealt with goes."""
    writer.tell(*traffic.looking())
    gather(traffic, [writer])
    writer.tell(*traffic.tidying())
    gather(traffic, [writer])


def finish(traffic: Traffic, writers: Sequence[Writer]) -> None:
    """Everything is delivered, and both sides talk; then the writers end."""
    with suppress(ProtocolError):
        living = [writer for writer in writers if not writer.ended]
        if living:
            traffic.finish(living[0])
    for writer in writers:
        if not writer.ended:
            writer.tell(*traffic.tallying())
            traffic.hear(writer, writer.finish())
