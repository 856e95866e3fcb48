"""Honest conversations in many orders, replays, several sessions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from pawl.limits import MAX_ARCHIVED_SESSIONS, MAX_RECEIVING_CHAINS, MAX_UNACKNOWLEDGED_SECONDS
from pawl_gate.vectors.cases.common import (
    ALICE,
    BOB,
    CAROL,
    CONTEXTS,
    FIRST,
    REPEATED,
    TALKING,
    Case,
    Ops,
    days,
    deliver,
    replay,
    send,
    start,
)
from pawl_spec.trace import PARTIES, Kind, op


def conversations() -> Iterator[Case]:
    """Honest conversations, in many orders."""
    for size in range(6):
        both = (send(ALICE, BOB, size), deliver(), send(BOB, ALICE, size), deliver())
        yield Case(
            "session_conversations",
            f"conversation/size-{size}",
            "One message each way and one more; plaintexts around the cipher's block.",
            ("Normal",),
            (start(ALICE, BOB), *both, send(ALICE, BOB, size), deliver()),
        )
    for turns in (2, 5, 12):
        each = (send(ALICE, BOB), deliver(), send(BOB, ALICE), deliver())
        yield Case(
            "session_conversations",
            f"conversation/turns-{turns}",
            f"A conversation of {turns} turns: each answer is a step of the ratchet.",
            ("Normal",),
            (start(ALICE, BOB), *each * turns),
        )
    for order in itertools.permutations(range(4)):
        name = "".join(map(str, order))
        yield Case(
            "session_order",
            f"order/first-chain/{name}",
            f"The first four messages arrive in the order {name}.",
            ("OutOfOrder",),
            (start(ALICE, BOB), *(send(ALICE, BOB),) * 4, *map(replay, order)),
        )
    for order in itertools.permutations(range(3)):
        name = "".join(map(str, order))
        yield Case(
            "session_order",
            f"order/later-chain/{name}",
            f"Three messages of a later chain arrive in the order {name}, and an answer comes.",
            ("OutOfOrder",),
            (*TALKING, *(send(ALICE, BOB),) * 2, *(replay(2 + at) for at in order), send(BOB, ALICE), deliver(3)),
        )
    turn = (send(BOB, ALICE), deliver(1), send(ALICE, BOB), deliver(1))
    for late in range(1, MAX_RECEIVING_CHAINS + 1):
        yield Case(
            "session_order",
            f"order/late-by-chains/{late}",
            f"A message arrives {late} chains late.",
            ("OutOfOrder", "ReceivingChains"),
            (*REPEATED, *turn * late, deliver()),
            assumes={"receiving_chains": MAX_RECEIVING_CHAINS},
        )
    yield Case(
        "session_conversations",
        "conversation/restarts",
        "Both parties start again from what they stored after each message.",
        ("Normal", "Restart"),
        (
            *FIRST,
            *_restarts(),
            deliver(),
            *_restarts(),
            send(BOB, ALICE),
            *_restarts(),
            deliver(),
            *_restarts(),
            send(ALICE, BOB),
            deliver(),
        ),
    )
    three = [(ALICE, BOB), (BOB, CAROL), (CAROL, ALICE)]
    yield Case(
        "session_conversations",
        "conversation/three-parties",
        "Three parties, a session between each two.",
        ("Normal",),
        tuple(
            each
            for one, other in three
            for each in (
                start(one, other),
                send(one, other),
                deliver(),
                send(other, one),
                deliver(),
                send(one, other),
                deliver(),
            )
        ),
    )


def _restarts() -> Ops:
    return (op(Kind.RESTART, actor=ALICE), op(Kind.RESTART, actor=BOB))


def replays() -> Iterator[Case]:
    """A message again, at every time."""
    answered = (send(BOB, ALICE), deliver(), send(ALICE, BOB), deliver())
    renewed = (start(ALICE, BOB), send(ALICE, BOB), deliver())
    forgotten = (op(Kind.FORGET, actor=BOB, peer=ALICE),)
    reinstalled = (op(Kind.REINSTALL, actor=BOB),)
    times: dict[str, tuple[Ops, str]] = {
        "at-once": ((), "at once"),
        "after-another": ((send(ALICE, BOB), deliver()), "after the next message"),
        "after-a-restart": (_restarts(), "after a restart"),
        "after-an-answer": (answered, "after an answer was read"),
        "after-a-new-session": (renewed, "after a new session was begun"),
        "after-a-lost-session": (forgotten, "after the receiver lost its sessions"),
        "after-a-reinstallation": (reinstalled, "after the receiver lost everything"),
        "after-a-rotation": ((op(Kind.ROTATE, actor=BOB),), "after the signed prekey was rotated"),
    }
    for (name, (between, when)), one_time in itertools.product(times.items(), (1, 0)):
        with_or_without = "with" if one_time else "without"
        yield Case(
            "session_replays",
            f"replay/{with_or_without}-one-time-prekey/{name}",
            f"A first message {with_or_without} a one-time prekey again, {when}.",
            ("OneTimePreKey" if one_time else "NoOneTimePreKey", "Replay"),
            (start(ALICE, BOB, one_time), send(ALICE, BOB), deliver(), *between, replay(0)),
        )
    for name, (between, when) in times.items():
        yield Case(
            "session_replays",
            f"replay/later-message/{name}",
            f"A message without outer layer again, {when}.",
            ("Replay",),
            (*TALKING, deliver(), *between, replay(2)),
        )
    yield Case(
        "session_replays",
        "replay/kept-key",
        "A message that came late, on its kept key, again.",
        ("OutOfOrder", "Replay"),
        (*FIRST, send(ALICE, BOB), deliver(1), deliver(), replay(0)),
    )
    for name, to, sender in (("to-a-third", CAROL, ALICE), ("from-a-third", BOB, CAROL), ("reflected", ALICE, BOB)):
        for context, (before, message, what) in CONTEXTS.items():
            yield Case(
                "session_replays",
                f"redirected/{name}/{context}",
                f"Handed over {name.replace('-', ' ')}: {what}; then as it was meant.",
                ("Redirected",),
                (*before, op(Kind.REDIRECT, message=message, to=to, sender=sender)),
                recover=True,
            )


# -- sessions ---------------------------------------------------------------------------------------------------------


def sessions() -> Iterator[Case]:
    """Several sessions with one peer, and none."""
    both = (start(ALICE, BOB), start(BOB, ALICE), send(ALICE, BOB), send(BOB, ALICE))
    for order in ((0, 1), (1, 0)):
        for answer in (ALICE, BOB):
            other = BOB if answer == ALICE else ALICE
            yield Case(
                "session_sessions",
                f"simultaneous/{''.join(map(str, order))}-then-{PARTIES[answer]}",
                f"Both begin a session at once; then {PARTIES[answer]} writes first.",
                ("SimultaneousInitiation",),
                (*both, *map(replay, order), send(answer, other), replay(2), send(other, answer), replay(3)),
            )
    for one_time in (1, 0):
        yield Case(
            "session_sessions",
            f"rekeying/late-message-of-the-former-session-{one_time}",
            "A new session is begun while a message of the former one is on its way; both arrive.",
            ("Rekeying",),
            (
                *TALKING,
                start(ALICE, BOB, one_time),
                send(ALICE, BOB),
                deliver(1),
                deliver(),
                send(BOB, ALICE),
                deliver(),
            ),
        )
    yield Case(
        "session_sessions",
        "rekeying/by-the-responder",
        "The responder begins a new session; a message of the former one arrives after it.",
        ("Rekeying",),
        (*TALKING, start(BOB, ALICE), send(BOB, ALICE), deliver(1), deliver(), send(ALICE, BOB), deliver()),
    )
    yield Case(
        "session_sessions",
        "rekeying/three-times",
        "Three sessions one after the other, none answered; the messages arrive in reverse.",
        ("Rekeying",),
        (*(start(ALICE, BOB), send(ALICE, BOB)) * 3, deliver(2), deliver(1), deliver(), send(BOB, ALICE), deliver()),
    )
    yield Case(
        "session_sessions",
        "no-session/encrypt",
        "There is no session to encrypt with.",
        ("LostSession",),
        (send(ALICE, BOB), start(ALICE, BOB), send(ALICE, BOB), deliver()),
    )
    yield Case(
        "session_sessions",
        "no-session/decrypt",
        "The receiver lost its sessions: a message without outer layer reads nothing, a new session heals it.",
        ("LostSession",),
        (
            *TALKING,
            op(Kind.FORGET, actor=BOB, peer=ALICE),
            deliver(),
            start(BOB, ALICE),
            send(BOB, ALICE),
            deliver(),
            send(ALICE, BOB),
            deliver(),
        ),
    )
    for count, flagged in ((MAX_ARCHIVED_SESSIONS, "kept"), (MAX_ARCHIVED_SESSIONS + 1, "dropped")):
        yield Case(
            "session_limits",
            f"archived-sessions/{count}",
            f"After {count} more sessions the first one is {flagged}: its late message.",
            ("ArchivedSessions",),
            (
                *FIRST,
                send(ALICE, BOB),
                deliver(),
                *(start(ALICE, BOB), send(ALICE, BOB), deliver(1)) * count,
                deliver(),
            ),
            assumes={"archived_sessions": MAX_ARCHIVED_SESSIONS},
            only="bob",
        )
    for age, name in ((30, "at-the-limit"), (31, "over-the-limit")):
        yield Case(
            "session_limits",
            f"unanswered-session/{name}",
            f"A session that was not answered for {age} days.",
            ("UnansweredSession",),
            (*FIRST, *days(age), send(ALICE, BOB)),
            assumes={"unacknowledged": MAX_UNACKNOWLEDGED_SECONDS},
        )
    yield Case(
        "session_limits",
        "unanswered-session/answered",
        "A session that was answered has no such limit.",
        ("UnansweredSession",),
        (*FIRST, deliver(), send(BOB, ALICE), deliver(), *days(31), send(ALICE, BOB), deliver()),
        assumes={"unacknowledged": MAX_UNACKNOWLEDGED_SECONDS},
    )
