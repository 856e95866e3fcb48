"""Changed messages, bytes that nobody sent, forged bundles."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from pawl_gate.attacker import OUTER
from pawl_gate.vectors.cases.common import ALICE, BOB, CONTEXTS, FIRST, TALKING, Case, change, deliver, send, start
from pawl_spec.trace import COUNTER_DELTAS, FORGERIES, JUNK, TAMPERS, VERSION_BYTES, Kind, op

HOWS: Mapping[str, tuple[int, ...]] = {
    "mac": (0, 7, 61),
    "ciphertext": (0, 15),
    "counter": tuple(range(len(COUNTER_DELTAS))),
    "previous-counter": tuple(range(len(COUNTER_DELTAS))),
    "ratchet-key": (0, 1),
    "version": tuple(range(len(VERSION_BYTES))),
    "outer-version": tuple(at for at, byte in enumerate(VERSION_BYTES) if byte >> 4 != 3),
    "truncate": (0, 1, 8, 9, 40),
    "trailing-byte": (0, 0x33),
    "duplicate-field": (0, 1, 2, 3),
    "outer-duplicate-field": tuple(range(6)),
    "reorder-fields": tuple(range(6)),
    "low-order-ratchet-key": tuple(range(7)),
    "low-order-identity": tuple(range(7)),
    "low-order-base-key": tuple(range(7)),
    "identity-key": (0, 1),
    "prekey-id": (0, 5),
    "signed-prekey-id": (0,),
    "base-key": (0, 1),
}
"""The variants of a change that are tested; of the others, the first."""

CHANGE_FLAGS: Mapping[str, str] = {
    "version": "VersionByte",
    "outer-version": "VersionByte",
    "reorder-fields": "FieldOrder",
    "unknown-field": "UnknownFields",
    "outer-unknown-field": "UnknownFields",
    "oversized-ciphertext": "MessageSize",
    "oversized-key": "KeyEncoding",
    "prekey-id-zero": "PreKeyIdZero",
    "prekey-id": "OneTimePreKey",
    "drop-prekey-id": "OneTimePreKey",
    "signed-prekey-id": "SignedPreKey",
}
MALFORMED = ("truncate", "trailing-byte", "duplicate-field", "overlong-varint", "wrong-wire-type")
"""Changes that break the format, also with "outer" before their names."""


def _flags_of_change(name: str) -> tuple[str, ...]:
    flags = {"ChangedOuterLayer" if name in OUTER else "ChangedMessage"}
    if name in CHANGE_FLAGS:
        flags.add(CHANGE_FLAGS[name])
    if name.removeprefix("outer-") in MALFORMED:
        flags.add("Malformed")
    if name.startswith("drop-"):
        flags.add("MissingField")
    if name.startswith("low-order"):
        flags.add("LowOrderKey")
    if name.startswith("untyped"):
        flags.add("KeyEncoding")
    return tuple(sorted(flags))


def changed() -> Iterator[Case]:
    """Each change of a message, in each context, then the message as it was sent."""
    for context, (before, message, what) in CONTEXTS.items():
        for name in TAMPERS:
            # Of a repeated message the first variant: the layer inside it is read as in the others.
            hows = HOWS.get(name, (0,))[: 1 if context == "repeated" else None]
            # What has no outer layer cannot be changed there, and nobody's identity was replaced.
            says_nothing = name == "present-identity" or (context == "later" and name in OUTER)
            for how in () if says_nothing else hows:
                label = f"{name}-{how}" if len(HOWS.get(name, (0,))) > 1 else name
                yield Case(
                    f"session_changed_{context}",
                    f"changed/{context}/{label}",
                    f"Changed on its way ({name.replace('-', ' ')}, variant {how}): {what}.",
                    _flags_of_change(name),
                    (*before, change(message, name, how)),
                    recover=True,
                    only="bob",
                )


OF_BARE = ("prekey-id", "prekey-id-zero", "signed-prekey-id", "base-key", "identity-key", "registration-id")
"""Changes of a first message without a one-time prekey: those of the fields that say which keys are meant."""


def changed_bare() -> Iterator[Case]:
    """The message that builds a session without a one-time prekey, changed; then as it was sent."""
    for name in OF_BARE:
        yield Case(
            "session_changed_first",
            f"changed/bare/{name}",
            f"Changed on its way ({name.replace('-', ' ')}): a first message without a one-time prekey.",
            tuple(sorted({*_flags_of_change(name), "NoOneTimePreKey"})),
            (start(ALICE, BOB, 0), send(ALICE, BOB), change(0, name)),
            recover=True,
            only="bob",
        )


def junk() -> Iterator[Case]:
    """Bytes that nobody sent, before and after there is a session."""
    contexts = {"stranger": (), "known": (*FIRST, deliver(), send(BOB, ALICE), deliver(), send(ALICE, BOB))}
    for (context, before), what in itertools.product(contexts.items(), JUNK):
        hows = {"random": range(0, 128, 21), "version-random": range(1, 128, 21), "huge-length": range(4)}
        for how in hows.get(what, range(2)):
            injected = op(Kind.INJECT, to=BOB, sender=ALICE, what=JUNK.index(what), how=how)
            yield Case(
                "session_junk",
                f"junk/{context}/{what}-{how}",
                f"Bytes that nobody sent ({what}, variant {how}), "
                + ("from somebody unknown." if context == "stranger" else "beside a session that goes on."),
                ("Junk", "MessageSize") if what == "oversized" else ("Junk",),
                (*before, injected),
                recover=context == "known",
                only="bob",
            )


# -- bundles ----------------------------------------------------------------------------------------------------------


def bundles() -> Iterator[Case]:
    """Each forgery of a bundle, before there is a session and beside one."""
    for how in FORGERIES:
        forged = op(Kind.FORGE_BUNDLE, actor=ALICE, peer=BOB, how=FORGERIES.index(how))
        flags = ["ForgedBundle"]
        if how.startswith("low-order"):
            flags.append("LowOrderKey")
        if how.startswith("untyped") or how in ("key-type", "long-key", "empty-key"):
            flags.append("KeyEncoding")
        if how == "attacker-bundle":
            flags.append("FirstUse")
        name = how.replace("-", " ")
        yield Case(
            file="session_bundles",
            id=f"bundle/first/{how}",
            comment=f"A forged bundle ({name}), then what is sent with it; then a good one.",
            ops=(forged, send(ALICE, BOB), deliver(), start(ALICE, BOB), send(ALICE, BOB), deliver(), deliver()),
            flags=tuple(sorted(flags)),
        )
        yield Case(
            file="session_bundles",
            id=f"bundle/later/{how}",
            comment=f"A forged bundle ({name}) beside a session; the conversation goes on.",
            ops=(*TALKING, deliver(), forged, send(ALICE, BOB), deliver(), send(BOB, ALICE), deliver()),
            flags=tuple(sorted(flags)),
        )
    yield Case(
        "session_bundles",
        "bundle/no-one-time-prekey",
        "A bundle without a one-time prekey; the answer ends the prekey messages.",
        ("NoOneTimePreKey", "Normal"),
        (start(ALICE, BOB, 0), send(ALICE, BOB), deliver(), send(BOB, ALICE), deliver(), send(ALICE, BOB), deliver()),
    )
