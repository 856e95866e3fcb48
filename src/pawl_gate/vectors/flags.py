"""The flags of session vectors: what a test is about, and what kind of fault a wrong answer is.

The kinds of fault are Wycheproof's where it has one. Flags are never given another meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

FLAGS: Final[Mapping[str, tuple[str, str]]] = {
    "Normal": ("BASIC", "An honest conversation. If it fails, the set-up is probably wrong."),
    "OutOfOrder": ("FUNCTIONALITY", "Messages arrive late, early or not at all, within the limits."),
    "Replay": ("REPLAY", "A message is delivered again. Accepting it delivers one message twice."),
    "ChangedMessage": ("AUTH_BYPASS", "A message was changed on its way in a part that its MAC covers."),
    "ChangedOuterLayer": (
        "AUTH_BYPASS",
        "A prekey message was changed outside the message inside it. No MAC covers that layer itself: what enters the "
        "key agreement is noticed, the registration id is not.",
    ),
    "Malformed": ("PARSER", "The bytes are not in the format: cut, repeated, missing or overlong parts."),
    "Junk": ("PARSER", "Bytes that nobody sent."),
    "MessageSize": ("DENIAL_OF_SERVICE", "A message or a body at the size limit or over it."),
    "VersionByte": (
        "AUTH_BYPASS",
        "The version byte. All of it is under the MAC; 0x33 and 0x34 are message version 3.",
    ),
    "FieldOrder": ("FUNCTIONALITY", "Fields in another order than their numbers', as existing clients write them."),
    "UnknownFields": ("FUNCTIONALITY", "Fields that version 3 does not define. They are skipped, up to a limit."),
    "MissingField": ("PARSER", "A field is left out. Missing is not the same as zero."),
    "KeyEncoding": (
        "AUTH_BYPASS",
        "A public key in another spelling: without its type byte, of another type or length, not in canonical form.",
    ),
    "LowOrderKey": ("CONFIDENTIALITY", "A public key whose agreements are all zero, whatever the private key is."),
    "Padding": ("CONFIDENTIALITY", "An authentic message whose body is not AES-256-CBC with PKCS#7 padding."),
    "ForgedBundle": ("AUTH_BYPASS", "A prekey bundle that its owner did not sign, or not so."),
    "Redirected": ("AUTH_BYPASS", "A message is handed to another party, or in another one's name."),
    "IdentityReplaced": ("AUTH_BYPASS", "A party comes back with another identity under the same name."),
    "FirstUse": ("AUTH_BYPASS", "An identity that was never seen before."),
    "OneTimePreKey": ("CONFIDENTIALITY", "A one-time prekey serves one session and is gone."),
    "NoOneTimePreKey": ("REPLAY", "A session made without a one-time prekey: nothing but memory refuses its replay."),
    "SignedPreKey": ("FUNCTIONALITY", "Rotation of the signed prekey, and the grace of the former one."),
    "PreKeyIdZero": ("EDGE_CASE", "Prekey id 0. Absent and zero are different things."),
    "ForwardJump": ("DENIAL_OF_SERVICE", "A counter at the forward-jump limit or over it."),
    "KeptKeys": ("DENIAL_OF_SERVICE", "Keys of messages that were passed over, at the limit or over it."),
    "ReceivingChains": ("CONFIDENTIALITY", "More receiving chains than are kept."),
    "ArchivedSessions": ("CONFIDENTIALITY", "More former sessions than are kept."),
    "WorkLimit": ("DENIAL_OF_SERVICE", "A message that would have to be tried far ahead on many sessions."),
    "UnansweredSession": ("CONFIDENTIALITY", "A session that the peer did not answer for a long time."),
    "SimultaneousInitiation": ("FUNCTIONALITY", "Both parties begin a session before they hear of the other's."),
    "Rekeying": ("FUNCTIONALITY", "A new session beside the old one, whose messages may still be on their way."),
    "LostSession": ("FUNCTIONALITY", "A party lost its sessions, or never had one."),
    "Restart": ("FUNCTIONALITY", "A party goes on from what it has stored."),
    "Compatibility": ("AUTH_BYPASS", "A fallback for certain peers, which is off unless the profile turns it on."),
    "GroupSignature": (
        "AUTH_BYPASS",
        "A group message that is not signed with the key of its chain, or whose bytes are not those that were signed.",
    ),
    "OtherGroup": ("AUTH_BYPASS", "A message or a distribution in another group than its own."),
    "RepeatedDistribution": (
        "REPLAY",
        "A distribution comes again. It leaves its chain where it is, and brings back none that is gone.",
    ),
    "MaliciousMember": ("AUTH_BYPASS", "A member gives a chain that it may not give, or one of its own making."),
    "LateMember": ("CONFIDENTIALITY", "A member is given a chain in the middle, and reads nothing older."),
    "SenderKeyRotation": (
        "CONFIDENTIALITY",
        "A sender begins a new chain; whoever has the old one reads no more.",
    ),
    "SenderChains": ("CONFIDENTIALITY", "More chains of one sender, or more senders, than are kept."),
    "NoSenderKey": ("FUNCTIONALITY", "There is no chain to send on, or to read with, or nobody to send to."),
    "LastIteration": ("EDGE_CASE", "The last iteration of a chain. There is none after it."),
    "Explored": ("FUNCTIONALITY", "A shortest way to a farthest state of an exhaustively explored scope of the model."),
    "Finding": ("KNOWN_BUG", "A shortest trace on which an existing implementation does otherwise."),
    "Transcript": ("BASIC", "Written by another implementation, with its keys."),
}
"""By flag: `bugType`, `description`."""


def notes(flags: set[str]) -> dict[str, dict[str, str]]:
    """The notes of a file in which these flags are used."""
    return {flag: dict(zip(("bugType", "description"), FLAGS[flag], strict=True)) for flag in sorted(flags)}
