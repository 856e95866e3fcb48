"""Hypothesis strategies for operations and traces: small, composable, and without `assume`.

Operands name handles modulo what exists, so every operation that is drawn can run. What is drawn first is what a
shrunk example tends to: alice, bob, the oldest message.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

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

ALICE, BOB, CAROL = range(len(PARTIES))

BURST = 40
"""Messages in one burst at most: long ones belong to the directed scenarios."""


def parties() -> SearchStrategy[int]:
    """A party."""
    return st.sampled_from((ALICE, BOB, CAROL))


def pairs() -> SearchStrategy[tuple[int, int]]:
    """Two different parties. Two of three times alice and bob, so that their session grows old."""
    alice_bob = ((ALICE, BOB), (BOB, ALICE))
    with_carol = ((ALICE, CAROL), (BOB, CAROL), (CAROL, ALICE), (CAROL, BOB))
    return st.sampled_from(alice_bob * 4 + with_carol)


def groups() -> SearchStrategy[int]:
    """A group: mostly the first, so that much happens in one."""
    return st.sampled_from((0, 0, 0, *range(len(GROUPS))))


def handles() -> SearchStrategy[int]:
    """A message: mostly one of the first few, at times any."""
    return st.integers(0, 11) | st.integers(0, 11) | st.integers(0, 255)


def waiting() -> SearchStrategy[int]:
    """A message on its way: the oldest, one of the next few, or the newest but few."""
    return st.sampled_from((0, 0, 0, 1, 1, 2, 3, 5, 8))


def sizes() -> SearchStrategy[int]:
    """A plaintext's length in bytes: about the block length of the cipher (16), at times any."""
    return st.sampled_from((5, 0, 15, 16, 17, 32)) | st.integers(0, 255)


def octets() -> SearchStrategy[int]:
    """The free choice of a change: small, at times any."""
    return st.integers(0, 9) | st.integers(0, 255)


def _between(kind: Kind, **more: SearchStrategy[int]) -> SearchStrategy[Op]:
    """An operation from `actor` to `peer`."""
    return st.builds(lambda pair, **rest: op(kind, actor=pair[0], peer=pair[1], **rest), pairs(), **more)


def _other(kind: Kind, **operands: SearchStrategy[int]) -> SearchStrategy[Op]:
    return st.builds(lambda **drawn: op(kind, **drawn), **operands)


OPERATIONS: dict[Kind, SearchStrategy[Op]] = {
    Kind.ESTABLISH: _between(Kind.ESTABLISH, one_time=st.sampled_from((1, 1, 0))),
    Kind.SEND: _between(Kind.SEND, size=sizes()),
    Kind.DELIVER: _other(Kind.DELIVER, index=waiting()),
    Kind.DUPLICATE: _other(Kind.DUPLICATE, index=waiting()),
    Kind.DROP: _other(Kind.DROP, index=waiting()),
    Kind.REPLAY: _other(Kind.REPLAY, message=handles()),
    Kind.TAMPER: _other(Kind.TAMPER, message=handles(), field=st.integers(0, len(TAMPERS) - 1), how=octets()),
    Kind.REDIRECT: _other(Kind.REDIRECT, message=handles(), to=parties(), sender=parties()),
    Kind.INJECT: _other(Kind.INJECT, to=parties(), sender=parties(), what=st.integers(0, len(JUNK) - 1), how=octets()),
    Kind.FORGE_BUNDLE: _between(Kind.FORGE_BUNDLE, how=st.integers(0, len(FORGERIES) - 1)),
    Kind.REINSTALL: _other(Kind.REINSTALL, actor=parties()),
    Kind.APPROVE: _between(Kind.APPROVE),
    Kind.RESTART: _other(Kind.RESTART, actor=parties()),
    Kind.CRASH: _other(Kind.CRASH, actor=parties(), at=st.sampled_from((*range(8), 14, 14, 15, 15))),
    Kind.INSPECT: _other(Kind.INSPECT, actor=parties()),
    Kind.BURST: _between(Kind.BURST, count=st.integers(1, BURST)),
    Kind.CLOCK: _other(Kind.CLOCK, days=st.sampled_from((1, 7, 30, 31))),
    Kind.ROTATE: _other(Kind.ROTATE, actor=parties()),
    Kind.MAINTAIN: _other(Kind.MAINTAIN, actor=parties()),
    Kind.FORGET: _between(Kind.FORGET),
    Kind.CALLBACK: _other(
        Kind.CALLBACK,
        actor=parties(),
        callback=st.integers(0, len(CALLBACKS) - 1),
        how=st.integers(0, len(ANSWERS) - 1),
    ),
    Kind.COMPATIBILITY: _other(Kind.COMPATIBILITY, actor=parties(), option=st.integers(0, len(OPTIONS) - 1)),
    Kind.DAMAGE: _other(
        Kind.DAMAGE, actor=parties(), table=st.integers(0, len(TABLES) - 1), how=st.integers(0, len(DAMAGES) - 1)
    ),
    Kind.MEDIUM: _other(
        Kind.MEDIUM, actor=parties(), table=st.integers(0, len(TABLES) - 1), how=st.integers(0, len(MEDIA) - 1)
    ),
    Kind.COMPROMISE: _other(Kind.COMPROMISE, actor=parties()),
    Kind.STORE_FAULT: _other(
        Kind.STORE_FAULT,
        actor=parties(),
        at=st.sampled_from((*range(8), 14, 14)),
        how=st.integers(0, len(STORE_FAULTS) - 1),
    ),
    Kind.RIVAL: _other(Kind.RIVAL, actor=parties(), how=st.integers(0, len(RIVALS) - 1)),
    Kind.ATTACK: st.just(Op(Kind.ATTACK)),
    Kind.GROUP_CREATE: _other(Kind.GROUP_CREATE, actor=parties(), group=groups()),
    Kind.GROUP_JOIN: _other(Kind.GROUP_JOIN, actor=parties(), distribution=handles()),
    Kind.GROUP_SEND: _other(Kind.GROUP_SEND, actor=parties(), group=groups(), size=sizes()),
    Kind.GROUP_DELIVER: _other(Kind.GROUP_DELIVER, actor=parties(), message=handles()),
    Kind.GROUP_ROTATE: _other(Kind.GROUP_ROTATE, actor=parties(), group=groups()),
    Kind.GROUP_FORGET: _between(Kind.GROUP_FORGET, group=groups()),
    Kind.GROUP_TAMPER: _other(
        Kind.GROUP_TAMPER,
        actor=parties(),
        message=handles(),
        field=st.integers(0, len(GROUP_TAMPERS) - 1),
        how=octets(),
    ),
    Kind.GROUP_REDIRECT: _other(
        Kind.GROUP_REDIRECT, actor=parties(), message=handles(), sender=parties(), group=groups()
    ),
    Kind.GROUP_SMUGGLE: _other(
        Kind.GROUP_SMUGGLE,
        sender=parties(),
        group=groups(),
        how=st.integers(0, len(SMUGGLES) - 1),
        number=octets(),
    ),
    Kind.GROUP_SHARE: _other(Kind.GROUP_SHARE, actor=parties(), group=groups(), size=sizes()),
    Kind.GROUP_CAME: _other(Kind.GROUP_CAME, actor=parties(), group=groups()),
    Kind.GROUP_LAYOUT: _other(Kind.GROUP_LAYOUT, group=groups(), layout=st.integers(0, len(LAYOUTS) - 1)),
    Kind.GROUP_MEMBERS: _other(Kind.GROUP_MEMBERS, actor=parties(), group=groups(), mask=st.integers(0, 7)),
    Kind.GROUP_CRAFT: _other(Kind.GROUP_CRAFT, chain=handles(), ahead=st.sampled_from((0, 0, 1, 2, 40))),
}
"""A strategy for each kind of operation that does something."""


OF_GROUPS = tuple(kind for kind in Kind if kind.word.startswith("group-"))
"""The kinds of operations in groups."""


def group_operations() -> SearchStrategy[Op]:
    """Any operation in a group."""
    return st.sampled_from(OF_GROUPS).flatmap(OPERATIONS.__getitem__)


def operations() -> SearchStrategy[Op]:
    """Any operation. Those of groups count for one: one of them alone comes to nothing."""
    others = [strategy for kind, strategy in OPERATIONS.items() if kind not in OF_GROUPS]
    return st.one_of(*others, group_operations(), st.just(Op(Kind.NOP)))


def seeds() -> SearchStrategy[int]:
    """A world's seed."""
    return st.integers(0, 0xFFFF)


def strict_masks() -> SearchStrategy[int]:
    """Which parties accept only approved identities: mostly none."""
    return st.sampled_from((0,) * 12 + (1, 2, 3, 7))


def traces(*, max_ops: int = 40) -> SearchStrategy[Trace]:
    """A whole trace."""
    return st.builds(Trace, st.lists(operations(), max_size=max_ops).map(tuple), seeds(), strict_masks())
