"""Groups: honest members, changed messages, chains of malicious members, what comes again; each in both layouts.

The earlier layout names no group: what changes that name, or is refused because of it, is not tested there.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from pawl_gate.group_attacker import CRAFTS, OF_NAMES
from pawl_gate.vectors.cases.common import ALICE, BOB, CAROL, Case, Ops
from pawl_spec.trace import (
    COUNTER_DELTAS,
    GROUP_TAMPERS,
    GROUPS,
    LAYOUTS,
    SMUGGLES,
    VERSION_BYTES,
    Kind,
    Op,
    op,
)

TEAM, CLUB = range(2)


# -- operations, shortly ----------------------------------------------------------------------------------------------


def give(actor: int, group: int = TEAM) -> Op:
    """A distribution of the actor's chain as it is now; the next one."""
    return op(Kind.GROUP_CREATE, actor=actor, group=group)


def take(actor: int, distribution: int) -> Op:
    """Somebody takes a distribution."""
    return op(Kind.GROUP_JOIN, actor=actor, distribution=distribution)


def say(actor: int, size: int = 0, group: int = TEAM) -> Op:
    """A group message; the next one."""
    return op(Kind.GROUP_SEND, actor=actor, group=group, size=size)


def hear(actor: int, message: int) -> Op:
    """Somebody gets a group message."""
    return op(Kind.GROUP_DELIVER, actor=actor, message=message)


def turn(actor: int) -> Op:
    """A new chain."""
    return op(Kind.GROUP_ROTATE, actor=actor, group=TEAM)


def drop(actor: int, peer: int) -> Op:
    """The chains of a sender go."""
    return op(Kind.GROUP_FORGET, actor=actor, peer=peer, group=TEAM)


def smuggle(sender: int, how: str, number: int = 0) -> Op:
    """A malicious member makes a distribution; the next one."""
    return op(Kind.GROUP_SMUGGLE, sender=sender, group=TEAM, how=SMUGGLES.index(how), number=number)


def craft(ahead: int = 0, chain: int = 0) -> Op:
    """The attacker sends on a chain of its own; the next message."""
    return op(Kind.GROUP_CRAFT, chain=chain, ahead=ahead)


def changed(actor: int, message: int, name: str, how: int = 0) -> Op:
    """Somebody gets a changed copy of a message."""
    return op(Kind.GROUP_TAMPER, actor=actor, message=message, field=GROUP_TAMPERS.index(name), how=how)


def moved(actor: int, message: int, sender: int, group: int) -> Op:
    """Somebody gets a message as from somebody, in some group."""
    return op(Kind.GROUP_REDIRECT, actor=actor, message=message, sender=sender, group=group)


BEGUN: Ops = (give(ALICE), take(BOB, 0))
"""Bob has Alice's chain."""

HEARD: Ops = (*BEGUN, say(ALICE), hear(BOB, 0), say(ALICE))
"""Bob read g0; g1 is on its way."""


def groups() -> Iterator[Case]:
    """All of them."""
    for layout in LAYOUTS:
        for family in (_messages, _changed, _distributions, _replays, _limits):
            yield from family(layout)


def _case(layout: str, file: str, name: str, comment: str, flags: tuple[str, ...], *ops: Op, **more: object) -> Case:
    chosen = [op(Kind.GROUP_LAYOUT, group=group, layout=LAYOUTS.index(layout)) for group in range(len(GROUPS))]
    ops = (*(chosen if layout != "current" else ()), *ops)
    return Case(f"group_{file}", f"group/{layout}/{name}", comment, flags, ops, profile=layout, **more)  # type: ignore[arg-type]  # fields by name


SIZES = ("2 bytes", "3 bytes", "17 bytes", "18 bytes", "19 bytes", "258 bytes")
"""Of the plaintexts that the operand `size` chooses: a name of 2 bytes, and filler."""


def _messages(layout: str) -> Iterator[Case]:
    """Honest groups."""
    file, normal = "messages", ("Normal",)
    for size, named in enumerate(SIZES):
        ops = (*BEGUN, say(ALICE, size), hear(BOB, 0))
        yield _case(layout, file, f"size-{size}", f"A message of {named}.", normal, *ops)
    several = [step for at in range(5) for step in (say(ALICE, at), hear(BOB, at), hear(CAROL, at))]
    yield _case(
        layout, file, "in-order", "Five messages in order, for two members.", normal, *BEGUN, take(CAROL, 0), *several
    )
    both = (give(ALICE), give(BOB), take(BOB, 0), take(ALICE, 1), say(ALICE), say(BOB), hear(BOB, 0), hear(ALICE, 1))
    yield _case(layout, file, "two-senders", "Two members, each with a chain of its own.", normal, *both)
    clubs = (*BEGUN, give(ALICE, CLUB), take(BOB, 1), say(ALICE), say(ALICE, 0, CLUB), hear(BOB, 1), hear(BOB, 0))
    yield _case(layout, file, "two-groups", "One sender in two groups, with a chain in each.", normal, *clubs)
    for order in ((3, 2, 1, 0), (1, 0, 3, 2), (2, 0, 3, 1), (3, 0, 1, 2), (0, 3, 1), (0, 2)):
        ops = (*BEGUN, *(say(ALICE) for _ in range(4)), *(hear(BOB, at) for at in order))
        label = "".join(map(str, order))
        yield _case(layout, file, f"order-{label}", f"Of messages 0 to 3 there come {label}.", ("OutOfOrder",), *ops)
    late = (say(ALICE), say(ALICE), give(ALICE), take(BOB, 1), say(ALICE), hear(BOB, 2))
    yield _case(
        layout, file, "late-member", "The chain is given after two messages.", ("LateMember",), give(ALICE), *late
    )
    for number in (0, 1):
        yield _case(
            layout,
            file,
            f"late-member-reads-{number}",
            "A message from before the chain was given; then one from after.",
            ("LateMember",),
            *(give(ALICE), *late[:-1], hear(BOB, number), hear(BOB, 2)),
        )
    turned = (*HEARD, turn(ALICE), give(ALICE), take(BOB, 1), say(ALICE), hear(BOB, 2), hear(BOB, 1))
    yield _case(
        layout,
        file,
        "rotated",
        "A new chain; a message of the old one is still on its way.",
        ("SenderKeyRotation",),
        *turned,
    )
    removed = (*BEGUN, take(CAROL, 0), say(ALICE), hear(CAROL, 0), turn(ALICE), give(ALICE), take(BOB, 1))
    yield _case(
        layout,
        file,
        "removed-member",
        "The new chain is not given to Carol, who reads nothing on it; Bob does.",
        ("SenderKeyRotation",),
        *(*removed, say(ALICE), hear(CAROL, 1), hear(BOB, 1)),
    )
    restart = op(Kind.RESTART, actor=BOB)
    kept = (*BEGUN, say(ALICE), say(ALICE), hear(BOB, 1), restart, hear(BOB, 0), op(Kind.RESTART, actor=ALICE))
    yield _case(
        layout,
        file,
        "restart",
        "Both go on from what is stored.",
        ("Restart", "OutOfOrder"),
        *kept,
        say(ALICE),
        hear(BOB, 2),
    )
    yield _case(
        layout,
        file,
        "send-without-chain",
        "Before its first chain a member sends nothing.",
        ("NoSenderKey",),
        say(ALICE),
        *BEGUN,
        say(ALICE),
        hear(BOB, 0),
    )
    yield _case(
        layout,
        file,
        "read-without-chain",
        "A message comes before the chain; then again after it.",
        ("NoSenderKey",),
        give(ALICE),
        say(ALICE),
        hear(BOB, 0),
        take(BOB, 0),
        hear(BOB, 0),
    )


HOWS: Mapping[str, tuple[int, ...]] = {
    "signature": (0, 31, 63),
    "ciphertext": (0, 15),
    "iteration": tuple(range(len(COUNTER_DELTAS))),
    "chain-id": (0, 30),
    "distribution-id": (0, 1),
    "version": tuple(range(len(VERSION_BYTES))),
    "truncate": (0, 1, 64, 65, 80),
    "trailing-byte": (0, 0x33),
    "duplicate-field": (0, 1, 2, 3),
}
"""The variants of a change that are tested; of the others, the first."""

OF_FOUR_FIELDS = frozenset({("duplicate-field", 3)})
"""Changes of a field that the earlier layout does not have."""

CHANGE_FLAGS: Mapping[str, tuple[str, ...]] = {
    "version": ("VersionByte",),
    "truncate": ("Malformed",),
    "trailing-byte": ("Malformed",),
    "duplicate-field": ("Malformed",),
    "overlong-varint": ("Malformed",),
    "wrong-wire-type": ("Malformed",),
    "empty": ("Malformed",),
    "signature-alone": ("Malformed",),
    "unknown-field": ("GroupSignature", "UnknownFields"),
    "reorder-fields": ("GroupSignature", "FieldOrder"),
    "distribution-id": ("OtherGroup",),
    "oversized-ciphertext": ("MessageSize",),
}


def _changed(layout: str) -> Iterator[Case]:
    """Changed messages; the message itself is read after each."""
    for name in GROUP_TAMPERS:
        if layout == "earlier" and name in OF_NAMES:
            continue
        flags = CHANGE_FLAGS.get(name, ("MissingField",) if name.startswith("drop-") else ("GroupSignature",))
        for how in HOWS.get(name, (0,)):
            if layout == "earlier" and (name, how) in OF_FOUR_FIELDS:
                continue
            yield _case(
                layout,
                "changed",
                f"changed/{name}-{how}",
                f"A message is changed: {name}, variant {how}.",
                flags,
                *(*HEARD, changed(BOB, 1, name, how), hear(BOB, 1)),
            )
    # What was signed by somebody else, on a chain that this one gave.
    ops = (*HEARD, smuggle(CAROL, "own"), take(BOB, 1), changed(BOB, 1, "re-signed"), hear(BOB, 1))
    yield _case(
        layout,
        "changed",
        "changed/re-signed-by-a-member",
        "Carol, whose chain Bob has, signs Alice's message.",
        ("GroupSignature",),
        *ops,
    )


def _distributions(layout: str) -> Iterator[Case]:
    """What malicious members give. The attacker sends on it, and so does the real sender."""
    file = "distributions"
    for how in SMUGGLES:
        if layout == "earlier" and how in OF_NAMES:
            continue
        flags = ["MaliciousMember"]
        if how == "other-group":
            flags.append("OtherGroup")
        if how.startswith("low-order"):
            flags.append("LowOrderKey")
        if how.startswith("drop-"):
            flags.append("MissingField")
        if how == "unknown-field":
            flags.append("UnknownFields")
        if how == "version":
            flags.append("VersionByte")
        if how == "untyped-signing-key":
            flags.append("KeyEncoding")
        if how in (
            "truncate",
            "trailing-byte",
            "duplicate-field",
            "overlong-varint",
            "wrong-wire-type",
            "short-chain-key",
        ):
            flags.append("Malformed")
        # Bob has Alice's chain; Carol's he gets from the attacker, as hers.
        numbers = {"low-order-signing-key": (0, 1, 4), "version": (0, 2), "truncate": (0, 1, 40)}.get(how, (0,))
        for number in numbers:
            ops = [*HEARD, give(CAROL), smuggle(CAROL, how, number), take(BOB, 2)]
            if how in CRAFTS and how != "other-group":
                ops += [craft(), hear(BOB, 2)]
            ops.append(hear(BOB, 1))
            yield _case(
                layout,
                file,
                f"given/{how}-{number}",
                f"Carol gives a chain: {how}, variant {number}.",
                tuple(flags),
                *ops,
            )
    collision = (
        *HEARD,
        smuggle(ALICE, "collision-own"),
        take(BOB, 1),
        hear(BOB, 1),
        craft(),
        hear(BOB, 2),
        take(BOB, 0),
    )
    yield _case(
        layout,
        file,
        "collision-replaces",
        "A chain with the id of the one that is held, and another signing key, takes its place, for good.",
        ("MaliciousMember", "SenderChains"),
        *collision,
    )
    yield _case(
        layout,
        file,
        "rewound",
        "The chain that is held, at iteration 0 and with another key: it stays where it is.",
        ("MaliciousMember", "RepeatedDistribution"),
        *(*HEARD, smuggle(ALICE, "rewound"), take(BOB, 1), hear(BOB, 0), hear(BOB, 1)),
    )


def _replays(layout: str) -> Iterator[Case]:
    """What comes again, or elsewhere."""
    file, replay, again = "replays", ("Replay",), ("RepeatedDistribution",)
    yield _case(layout, file, "replay/at-once", "A message twice.", replay, *(*HEARD, hear(BOB, 0), hear(BOB, 1)))
    three = (*BEGUN, *(say(ALICE) for _ in range(3)))
    for order in itertools.permutations(range(3)):
        label = "".join(map(str, order))
        ops = (*three, *(hear(BOB, at) for at in order), hear(BOB, order[0]), hear(BOB, order[1]))
        yield _case(
            layout,
            file,
            f"replay/after-{label}",
            f"Messages come as {label}; the first two come again.",
            (*replay, "OutOfOrder"),
            *ops,
        )
    restarted = (*HEARD, op(Kind.RESTART, actor=BOB), hear(BOB, 0), hear(BOB, 1))
    yield _case(
        layout,
        file,
        "replay/after-restart",
        "A message that was read before a restart.",
        (*replay, "Restart"),
        *restarted,
    )
    yield _case(
        layout,
        file,
        "again/same",
        "The same distribution again, and what was read before.",
        again,
        *(*HEARD, take(BOB, 0), hear(BOB, 0), hear(BOB, 1)),
    )
    later = (*BEGUN, say(ALICE), say(ALICE), give(ALICE), take(BOB, 1), hear(BOB, 1), hear(BOB, 0))
    yield _case(
        layout,
        file,
        "again/later",
        "The chain again, from a later iteration: the messages before are read still.",
        again,
        *later,
    )
    kept = (*three, hear(BOB, 2), take(BOB, 0), hear(BOB, 2), hear(BOB, 1), hear(BOB, 1))
    yield _case(
        layout,
        file,
        "again/kept-keys",
        "A distribution again; kept keys stay, and serve once.",
        (*again, "Replay"),
        *kept,
    )
    forgotten = (*HEARD, drop(BOB, ALICE), hear(BOB, 1), take(BOB, 0), hear(BOB, 1))
    yield _case(
        layout,
        file,
        "again/forgotten",
        "The chains of a sender were let go; its old distribution does not bring one back.",
        again,
        *forgotten,
    )
    new = (*HEARD, drop(BOB, ALICE), turn(ALICE), give(ALICE), take(BOB, 1), say(ALICE), hear(BOB, 2), take(BOB, 0))
    yield _case(
        layout, file, "again/forgotten-and-new", "A new chain is taken after the old ones were let go.", again, *new
    )
    as_other = (*HEARD, give(CAROL), take(BOB, 1), moved(BOB, 1, CAROL, TEAM), hear(BOB, 1))
    yield _case(
        layout,
        file,
        "moved/sender",
        "Alice's message as if from Carol, who has a chain of her own.",
        ("Redirected",),
        *as_other,
    )
    yield _case(
        layout,
        file,
        "moved/unknown-sender",
        "Alice's message as if from Carol, who gave no chain.",
        ("Redirected", "NoSenderKey"),
        *(*HEARD, moved(BOB, 1, CAROL, TEAM), hear(BOB, 1)),
    )
    clubs = (*HEARD, give(ALICE, CLUB), take(BOB, 1), moved(BOB, 1, ALICE, CLUB), hear(BOB, 1))
    yield _case(layout, file, "moved/group", "A message in another group of the same sender.", ("OtherGroup",), *clubs)
    yield _case(
        layout,
        file,
        "moved/unknown-group",
        "A message in a group in which the sender gave no chain.",
        ("OtherGroup", "NoSenderKey"),
        *(*HEARD, moved(BOB, 1, ALICE, CLUB), hear(BOB, 1)),
    )


CHAINS = 5


def _limits(layout: str) -> Iterator[Case]:
    """As many chains as are kept, and one more."""
    chains: list[Op] = [give(ALICE), take(BOB, 0), say(ALICE)]
    for at in range(1, CHAINS):
        chains += [turn(ALICE), give(ALICE), take(BOB, at), say(ALICE)]
    assumes = {"sender_chains": CHAINS}
    flags = ("SenderChains",)
    all_read = [hear(BOB, at) for at in range(CHAINS)]
    yield _case(
        layout,
        "limits",
        "chains/five",
        "Messages of five chains of one sender.",
        flags,
        *chains,
        *all_read,
        assumes=assumes,
    )
    sixth = (turn(ALICE), give(ALICE), take(BOB, CHAINS), say(ALICE))
    rest = (hear(BOB, 0), *(hear(BOB, at) for at in range(1, CHAINS + 1)), take(BOB, 0), hear(BOB, 0))
    yield _case(
        layout,
        "limits",
        "chains/six",
        "A sixth chain: the oldest is gone, with its messages, and its distribution is refused.",
        (*flags, "RepeatedDistribution"),
        *(*chains, *sixth, *rest),
        assumes=assumes,
    )
    jump = {"forward_jump": 25_000}
    for ahead in (24_999, 25_000, 25_001):
        yield _case(
            layout,
            "limits",
            f"jump/{ahead}",
            f"A message {ahead} iterations ahead; then one 3 ahead.",
            ("ForwardJump",),
            *(smuggle(ALICE, "own"), take(BOB, 0), craft(ahead), craft(3), hear(BOB, 0), hear(BOB, 1)),
            assumes=jump if ahead > 25_000 else {**jump, "kept_per_chain": 2_000},
        )
    for ahead, first in ((2_000, 0), (2_001, 0), (2_001, 1)):
        yield _case(
            layout,
            "limits",
            f"kept/{ahead}-then-{first}",
            f"{ahead} messages are passed over; then message {first} comes.",
            ("KeptKeys",),
            *(smuggle(ALICE, "own"), take(BOB, 0), craft(ahead), craft(first), hear(BOB, 0), hear(BOB, 1)),
            assumes={"forward_jump": 25_000, "kept_per_chain": 2_000},
        )
    last = (
        smuggle(ALICE, "last-iterations"),
        take(BOB, 0),
        craft(1),
        craft(0),
        hear(BOB, 0),
        hear(BOB, 1),
        hear(BOB, 0),
    )
    yield _case(
        layout,
        "limits",
        "last-iterations",
        "The last two messages that a chain can have, the last one first.",
        ("LastIteration",),
        *last,
    )
