"""Every bound of the library, each with its unit, its reason and its source.

A bound is checked before the work that it limits is done.
"""

from __future__ import annotations

from typing import Final

MAX_MESSAGE_BYTES: Final = 512 * 1024
"""Bytes of one serialised message. Bounds what a parser touches. Source: the threat model's owner uses this limit."""

MAX_CIPHERTEXT_BYTES: Final = 256 * 1024
"""Bytes of one message body. Bounds memory per decryption. Source: the threat model's owner uses this limit."""

MAX_PLAINTEXT_BYTES: Final = MAX_CIPHERTEXT_BYTES - 16
"""Bytes of one plaintext: the ciphertext limit less a full block of PKCS#7 padding."""

MAX_UNKNOWN_FIELDS: Final = 16
"""Unknown fields accepted in one message. Peers may add fields; a flood of them is not a message."""

MAX_FORWARD_JUMP: Final = 25_000
"""Chain steps (message counter minus next expected) that one message may skip. Each costs two HMACs.

Source: the official client's MAX_FORWARD_JUMPS.
"""

MAX_DERIVATIONS_PER_MESSAGE: Final = 2 * MAX_FORWARD_JUMP + 2_000
"""Chain steps plus key derivations that one received message may cause over all candidate sessions together.

Room for one wrong candidate with a full jump before the right one, and for a ratchet step in each archived session.
"""

MAX_SKIPPED_KEYS_PER_CHAIN: Final = 2_000
"""Message keys kept per receiving chain; the oldest is dropped. Source: the official client."""

MAX_SKIPPED_KEYS_PER_SESSION: Final = 8_000
"""Message keys kept per session; the oldest of the oldest chain is dropped. Bounds rows per peer."""

MAX_RECEIVING_CHAINS: Final = 5
"""Receiving chains kept per session, newest first. Source: the official client's MAX_RECEIVER_CHAINS."""

MAX_ARCHIVED_SESSIONS: Final = 40
"""Archived sessions kept per address, newest first. Source: the official client's ARCHIVED_STATES_MAX_LENGTH."""

MAX_UNACKNOWLEDGED_SECONDS: Final = 30 * 24 * 60 * 60
"""Seconds for which an initiator may send on a session that the peer never answered. Source: the official client."""

MAX_SEEN_BASE_KEYS: Final = 10_000
"""Base keys remembered per signed prekey, for messages without a one-time prekey (CTR-06); then refused by name."""

MAX_RECORD_BYTES: Final = 64 * 1024
"""Bytes of one stored record. A session record is under 1.5 KiB; the rest is room for later versions."""

MAX_APPLICATION_KEY_BYTES: Final = 512
"""Bytes of the key of a row of the application's own. As for names."""

MAX_APPLICATION_VALUE_BYTES: Final = 512 * 1024
"""Bytes of a row of the application's own: the largest plaintext, and as much again for what is stored with it."""

MAX_NAME_BYTES: Final = 512
"""UTF-8 bytes of an address' name."""

MAX_IDENTIFIER_BYTES: Final = 512
"""Bytes of an identifier in a safety number. As for names; it is hashed once."""

MAX_DEVICE_ID: Final = 127
"""Largest device id. 0 is common among node-libsignal's users, the official client uses 1 to 127."""

MAX_COUNTER: Final = 2**32 - 1
"""Largest message counter: a uint32 on the wire."""

MAX_PREKEY_ID: Final = 2**24 - 1
"""Largest prekey id that we generate; ids start at 1, because node-libsignal leaves id 0 out of the message."""

MAX_PREKEYS: Final = 10_000
"""One-time prekeys held at once. Each is a row; an application that publishes without end must not fill the store."""

MAX_PREKEY_BATCH: Final = 1_000
"""One-time prekeys made by one call. Each costs a key generation inside one transaction."""

LOW_PREKEYS: Final = 10
"""Below so many one-time prekeys an event says so: time to make and publish new ones."""

SIGNED_PREKEY_ROTATION_SECONDS: Final = 7 * 24 * 60 * 60
"""Seconds after which `Device.maintain` replaces a signed prekey, unless told otherwise. Source: X3DH, section 3.2
("e.g. once a week, or once a month")."""

SIGNED_PREKEY_GRACE_SECONDS: Final = 30 * 24 * 60 * 60
"""Seconds for which a superseded signed prekey still serves messages in flight; then it is deleted (KEY-07).

As long as an initiator may go on sending on a session that was never answered. Source: X3DH, section 3.2; our choice.
"""

MAX_CONFLICT_TRIES: Final = 5
"""Times that a step is taken when other writers are faster each time; then its caller is told (ATM-04)."""

MAX_BATCH: Final = 1_000
"""Messages of one batch. Each costs its derivations inside one transaction, which keeps other writers out."""

MAX_KEPT_PER_BATCH: Final = MAX_SKIPPED_KEYS_PER_SESSION
"""Message keys that one batch may keep, for messages that it passes over: more of them are read one by one (BND-01)."""

MAX_SENDER_KEY_CHAINS: Final = 5
"""Chains kept of one sender in one group, newest first: those before are for messages on their way.

Each keeps at most MAX_SKIPPED_KEYS_PER_CHAIN message keys. Source: the official client's MAX_SENDER_KEY_STATES.
"""

MAX_RETIRED_SENDER_KEYS: Final = 1_000
"""Chains of one sender in one group that are gone and remembered, so that a replayed distribution cannot bring one back
(GRP-03); of more, the oldest is forgotten. Each costs two small rows. Our choice: as many changes of members."""

MAX_GROUP_MEMBERS: Final = 5_000
"""Addresses, each one device, that one group may have; and senders of whom chains are held in it.

All that wait for the chain get it in one transaction. Source: 1,000 people, as in the existing clients, with some
devices each.
"""
