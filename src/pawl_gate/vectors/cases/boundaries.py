"""Limits, identities, prekeys, and the compatibility options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pawl.limits import (
    MAX_DERIVATIONS_PER_MESSAGE,
    MAX_FORWARD_JUMP,
    MAX_SKIPPED_KEYS_PER_CHAIN,
    MAX_SKIPPED_KEYS_PER_SESSION,
    SIGNED_PREKEY_GRACE_SECONDS,
)
from pawl_gate.vectors.cases.common import (
    ALICE,
    BOB,
    CAROL,
    FIRST,
    TALKING,
    Case,
    burst,
    change,
    days,
    deliver,
    replay,
    send,
    start,
)
from pawl_spec.trace import FORGERIES, OPTIONS, Kind, op


def limits() -> Iterator[Case]:
    """Counters and kept keys at their limits."""
    # 25,000 messages take a while: each of these boundaries is tested from both sides in one world.
    jump = {"forward_jump": MAX_FORWARD_JUMP}
    far = (burst(ALICE, BOB, MAX_FORWARD_JUMP), send(ALICE, BOB), send(ALICE, BOB))
    yield Case(
        "session_limits",
        "forward-jump/first-message",
        "A first message with counter 25,001 is refused, one with 25,000 is read; then the one after it.",
        ("ForwardJump",),
        (start(ALICE, BOB), *far, deliver(1), deliver(), replay(1)),
        assumes=jump,
    )
    # None of the sessions knows the changed ratchet key: each would have to be tried a full jump ahead.
    again = (start(ALICE, BOB), send(ALICE, BOB), deliver(), send(BOB, ALICE), deliver())
    yield Case(
        "session_limits",
        "forward-jump/known-chain",
        "With three sessions: a message with a changed ratchet key, a full jump ahead, could cost more than a message "
        "may; one that is 25,001 ahead is refused, one that is 25,000 ahead is read.",
        ("ForwardJump", "WorkLimit"),
        (*again * 3, *far, change(6, "ratchet-key"), deliver(1), deliver(), replay(7)),
        assumes={**jump, "derivations_per_message": MAX_DERIVATIONS_PER_MESSAGE},
    )
    yield Case(
        "session_limits",
        "forward-jump/1999",
        "1,999 messages are passed over: what every known implementation allows.",
        ("ForwardJump",),
        (*TALKING, deliver(), burst(ALICE, BOB, 1999), send(ALICE, BOB), deliver()),
    )
    chain = {"kept_per_chain": MAX_SKIPPED_KEYS_PER_CHAIN, **jump}
    for skipped, name in (
        (MAX_SKIPPED_KEYS_PER_CHAIN, "at-the-limit"),
        (MAX_SKIPPED_KEYS_PER_CHAIN + 1, "over-the-limit"),
    ):
        yield Case(
            "session_limits",
            f"kept-keys/of-a-chain/{name}",
            f"{skipped} messages of a chain are passed over; then the two oldest of them arrive.",
            ("KeptKeys",),
            (
                *FIRST,
                deliver(),
                *(send(ALICE, BOB),) * 2,
                burst(ALICE, BOB, skipped - 2),
                send(ALICE, BOB),
                deliver(2),
                deliver(),
                deliver(),
            ),
            assumes=chain,
        )
    full = MAX_SKIPPED_KEYS_PER_CHAIN
    turn = (burst(ALICE, BOB, full), send(ALICE, BOB), deliver(2), send(BOB, ALICE), deliver(2))
    yield Case(
        "session_limits",
        "kept-keys/of-a-session",
        "8,001 messages of five chains are passed over; then the two oldest of them arrive: only one key is too many.",
        ("KeptKeys",),
        (
            *FIRST,
            send(ALICE, BOB),
            *(burst(ALICE, BOB, full - 2), send(ALICE, BOB), deliver(2), send(BOB, ALICE), deliver(2)),
            *turn * 3,
            *(burst(ALICE, BOB, 1), send(ALICE, BOB), deliver(2), deliver(), deliver()),
        ),
        assumes={"kept_per_session": MAX_SKIPPED_KEYS_PER_SESSION, **chain},
        only="bob",
    )


# -- identities and prekeys -------------------------------------------------------------------------------------------


def identities() -> Iterator[Case]:
    """Identities that change, and those that were never seen, under each policy."""
    approve, gone = op(Kind.APPROVE, actor=ALICE, peer=BOB), op(Kind.REINSTALL, actor=BOB)
    heard = op(Kind.APPROVE, actor=BOB, peer=ALICE)
    replaced = ("IdentityReplaced",)
    yield Case(
        "session_identities",
        "identity/replaced/bundle",
        "A bundle of a replaced identity is refused; once it is trusted, it is not.",
        replaced,
        (*TALKING, gone, start(ALICE, BOB), approve, start(ALICE, BOB), send(ALICE, BOB), deliver(1)),
    )
    yield Case(
        "session_identities",
        "identity/replaced/first-message",
        "A first message of a replaced identity is refused; once it is trusted, it is read.",
        replaced,
        (
            *TALKING,
            deliver(),
            gone,
            start(BOB, ALICE),
            send(BOB, ALICE),
            deliver(),
            approve,
            replay(3),
            send(ALICE, BOB),
            deliver(),
        ),
    )
    yield Case(
        "session_identities",
        "identity/replaced/session-retired",
        "After another identity is trusted, the session of the former one neither sends nor receives.",
        replaced,
        (*TALKING, send(BOB, ALICE), gone, approve, send(ALICE, BOB), deliver(1)),
    )
    yield Case(
        "session_identities",
        "identity/replaced/disguise",
        "A first message of the former identity under the name of the new one.",
        replaced,
        (start(BOB, ALICE), send(BOB, ALICE), gone, change(0, "present-identity")),
    )
    yield Case(
        "session_identities",
        "identity/trusted-before",
        "An identity that was trusted before it was seen.",
        ("FirstUse",),
        (approve, *FIRST, deliver()),
    )
    for how in ("bundle", "first-message"):
        for asked in (True, False):
            decisions = {"bundle": approve, "first-message": heard}[how]
            strict = {"bundle": (start(ALICE, BOB), send(ALICE, BOB)), "first-message": (*FIRST, deliver())}[how]
            yield Case(
                "session_identities",
                f"identity/strict/{how}/{'trusted' if asked else 'unknown'}",
                f"Nothing is trusted unasked: a {how.replace('-', ' ')} of an identity that is "
                + ("trusted." if asked else "not known; then of the same once it is trusted."),
                ("FirstUse",),
                (decisions, *strict)
                if asked
                else (*strict, decisions, *((deliver(),) if how == "bundle" else (replay(0),))),
                profile="strict-identity",
            )


def prekeys() -> Iterator[Case]:
    """Rotation, grace and missing prekeys."""
    rotate = op(Kind.ROTATE, actor=BOB)
    grace = {"signed_prekey_grace": SIGNED_PREKEY_GRACE_SECONDS}
    for age, name in ((0, "at-once"), (30, "at-the-limit"), (31, "over-the-limit")):
        yield Case(
            "session_prekeys",
            f"signed-prekey/superseded/{name}",
            f"A first message under a signed prekey that was superseded {age} days ago.",
            ("SignedPreKey",),
            (*FIRST, rotate, *days(age), deliver()),
            assumes=grace,
        )
    yield Case(
        "session_prekeys",
        "signed-prekey/new-one",
        "A session from a bundle with the new signed prekey, beside one with the former.",
        ("SignedPreKey",),
        (*FIRST, deliver(), rotate, start(ALICE, BOB), send(ALICE, BOB), deliver(), send(BOB, ALICE), deliver()),
    )
    yield Case(
        "session_prekeys",
        "one-time-prekey/used-by-another",
        "Two first messages that name one one-time prekey: it serves the first.",
        ("OneTimePreKey",),
        (*FIRST, start(CAROL, BOB), send(CAROL, BOB), deliver(), change(1, "prekey-id", 255), deliver()),
    )
    yield Case(
        "session_prekeys",
        "one-time-prekey/after-a-reinstallation",
        "A first message for a receiver that lost its prekeys.",
        ("OneTimePreKey",),
        (*FIRST, op(Kind.REINSTALL, actor=BOB), deliver()),
    )


COMPATIBLE: Mapping[str, tuple[str, ...]] = {
    "prekey-id-zero": ("prekey-id-zero",),
    "untyped-keys": ("untyped-base-key", "untyped-identity-key"),
}
"""By option: changes of a first message that it lets pass."""


def compatibility() -> Iterator[Case]:
    """The fallbacks for certain peers, turned on."""
    for option, names in COMPATIBLE.items():
        on = tuple(op(Kind.COMPATIBILITY, actor=party, option=OPTIONS.index(option)) for party in (ALICE, BOB))
        for name in names:
            one_time = 0 if option == "prekey-id-zero" else 1
            yield Case(
                "session_compatibility",
                f"compatibility/{option}/{name}",
                f"A first message ({name.replace('-', ' ')}) is read, where the option is on.",
                ("Compatibility", "PreKeyIdZero" if one_time == 0 else "KeyEncoding"),
                (*on, start(ALICE, BOB, one_time), send(ALICE, BOB), change(0, name)),
                profile=option,
            )
        yield Case(
            "session_compatibility",
            f"compatibility/{option}/honest",
            "Messages that need no fallback are read as ever.",
            ("Compatibility",),
            (*on, *TALKING, deliver()),
            profile=option,
        )
    for how in ("untyped-signed-prekey", "untyped-prekey", "untyped-identity-key"):
        on = (op(Kind.COMPATIBILITY, actor=ALICE, option=OPTIONS.index("untyped-keys")),)
        forged = op(Kind.FORGE_BUNDLE, actor=ALICE, peer=BOB, how=FORGERIES.index(how))
        yield Case(
            "session_compatibility",
            f"compatibility/untyped-keys/bundle-{how}",
            f"A bundle ({how.replace('-', ' ')}) is processed, where the option is on.",
            ("Compatibility", "KeyEncoding"),
            (*on, forged, send(ALICE, BOB), deliver()),
            profile="untyped-keys",
        )
