"""What the steps of vectors are: the operations of sessions and of groups, what they take, give and need.

Tests of sessions and tests of groups are two suites. Each has its files, its schema and its operations; the rest of the
format is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

IMPORT_KEYS, INJECT_KEYS = "import-keys", "inject-keys"
"""Capabilities: to be given long-term keys and prekeys; to be given the keys that are otherwise drawn at random."""

IN_GROUPS, IMPORT_SENDER_KEYS = "groups", "import-sender-keys"
"""Likewise: to take part in groups; to be given a chain of one's own."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What an operation takes and gives: names of fields, and their types (keys of `TYPES`)."""

    about: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    draws: tuple[str, ...] = ()
    """The keys that it may draw, in order."""
    needs: str | None = None
    """A capability that whoever carries it out must have, beside `import-keys`."""
    refusable: bool = False
    has_actor: bool = True


OPERATIONS: Final[Mapping[str, Operation]] = {
    "create": Operation(
        "Make the actor anew, with an empty store, this identity and this registration id.",
        {
            "name": "text",
            "deviceId": "number",
            "trustOnFirstUse": "flag",
            "identityPrivate": "key",
            "registrationId": "number",
        },
        {"identityKey": "bytes"},
        needs=IMPORT_KEYS,
    ),
    "signed-prekey": Operation(
        "Put in this signed prekey. It is the current one; a former one is superseded from now on.",
        {"id": "number", "private": "key", "signature": "bytes"},
        {"publicKey": "bytes"},
    ),
    "prekey": Operation("Put in this one-time prekey.", {"id": "number", "private": "key"}, {"publicKey": "bytes"}),
    "establish": Operation(
        "Process a bundle that claims to be the peer's.",
        {"peer": "actor", "bundle": "bundle"},
        draws=("base", "ratchet"),
        refusable=True,
    ),
    "encrypt": Operation(
        "Encrypt for the peer.",
        {"peer": "actor", "plaintext": "bytes"},
        {"type": "type", "message": "output"},
        refusable=True,
    ),
    "skip": Operation(
        "Encrypt this plaintext for the peer so many times; the messages are lost.",
        {"peer": "actor", "plaintext": "bytes", "count": "number"},
    ),
    "decrypt": Operation(
        "Decrypt a message that claims to come from the peer.",
        {"peer": "actor", "type": "type", "message": "bytes"},
        {"plaintext": "output"},
        draws=("ratchet",),
        refusable=True,
    ),
    "trust": Operation(
        "The user decided that this is the peer's identity: it is pinned, in place of a former one.",
        {"peer": "actor", "identityKey": "bytes"},
        needs="approve",
    ),
    "forget": Operation("Lose all sessions with the peer; pins and prekeys stay.", {"peer": "actor"}, needs="forget"),
    "restart": Operation("Lose what is in memory, go on from what is stored.", needs="restart"),
    "advance": Operation("So many seconds pass, for everybody.", {"seconds": "number"}, needs="clock", has_actor=False),
}
"""By name. `needs` are capabilities of the driver contract."""

GROUP_OPERATIONS: Final[Mapping[str, Operation]] = {
    "member": Operation(
        "Make the actor anew, with an empty store.", {"name": "text", "deviceId": "number"}, needs=IN_GROUPS
    ),
    "sender-key": Operation(
        "Put in this chain as the actor's own, in the place of a former one; what it signs with is this private key.",
        {"group": "group", "chainId": "number", "iteration": "number", "chainKey": "key", "signingPrivate": "key"},
        {"signingKey": "bytes"},
        needs=IMPORT_SENDER_KEYS,
    ),
    "distribution": Operation(
        "The actor's own chain as it is now, for a member.",
        {"group": "group"},
        {"distribution": "bytes"},
        refusable=True,
    ),
    "process": Operation(
        "Take a distribution that came from the sender, through the session with it.",
        {"group": "group", "sender": "actor", "distribution": "bytes"},
        refusable=True,
    ),
    "crowd": Operation(
        "Take it from so many others as well, who are named `crowd-0`, `crowd-1` and so on, each with device 1.",
        {"group": "group", "count": "number", "distribution": "bytes"},
    ),
    "group-encrypt": Operation(
        "Encrypt on the actor's own chain. The message is what is given here and a signature of it.",
        {"group": "group", "plaintext": "bytes"},
        {"signed": "output"},
        refusable=True,
    ),
    "group-skip": Operation(
        "Encrypt this plaintext so many times; the messages are lost.",
        {"group": "group", "plaintext": "bytes", "count": "number"},
    ),
    "group-decrypt": Operation(
        "Decrypt a message that claims to come from the sender.",
        {"group": "group", "sender": "actor", "message": "bytes"},
        {"plaintext": "output"},
        refusable=True,
    ),
    "forget-sender": Operation(
        "Let all chains of the sender go, for good.", {"group": "group", "sender": "actor"}, needs="group-forget"
    ),
    "set-members": Operation(
        "Make these the members, who are to be given the chain through sessions.",
        {"group": "group", "members": "actors"},
        needs="group-members",
    ),
    "share": Operation(
        "Encrypt for the members, and the chain for each of them who does not have it, on the session with it.",
        {"group": "group", "plaintext": "bytes"},
        {"signed": "output"},
        needs="group-share",
        refusable=True,
    ),
    "restart": OPERATIONS["restart"],
}
"""Likewise. Nothing is drawn in them, and what a signature draws is not compared."""

PROFILES: Final = {
    "default": "The first identity seen for a name is pinned; another one is refused until it is trusted.",
    "strict-identity": "No identity is pinned unasked: only those that a step `trust` named are accepted.",
    "prekey-id-zero": "The compatibility option for peers that write prekey id 0 where there is none is on.",
    "untyped-keys": "The compatibility option for peers that leave out the type byte of public keys is on.",
}
"""What an application may choose. A test of one profile says nothing about the others."""

GROUP_PROFILES: Final = {
    "current": "The distribution id of the group is in each message and distribution.",
    "earlier": "The earlier layout, as older clients have it: the group is named beside the bytes.",
}
"""Of groups: which layout their messages have."""


@dataclass(frozen=True, slots=True, eq=False)
class Suite:
    """A family of files."""

    prefix: str
    """Of the names of its files."""
    algorithm: str
    schema: str
    """The name of its JSON Schema, beside the files."""
    title: str
    test_type: str
    operations: Mapping[str, Operation]
    profiles: Mapping[str, str]


SESSIONS: Final = Suite(
    "session_",
    "Signal-Session-v3",
    "session_vectors_v1.schema.json",
    "Session vectors: steps of the Signal protocol at message version 3, and what must come of them.",
    "SessionTest",
    OPERATIONS,
    PROFILES,
)
GROUPS: Final = Suite(
    "group_",
    "Signal-SenderKey-v3",
    "group_vectors_v1.schema.json",
    "Group vectors: steps of members with sender keys, and what must come of them.",
    "GroupTest",
    GROUP_OPERATIONS,
    GROUP_PROFILES,
)
SUITES: Final = (SESSIONS, GROUPS)

ALL_OPERATIONS: Final[Mapping[str, Operation]] = {**OPERATIONS, **GROUP_OPERATIONS}
"""By name, which is the same operation in every suite."""
