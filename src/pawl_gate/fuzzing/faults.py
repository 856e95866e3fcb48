"""Planted faults for the fuzzers: slips in parsers and in what changes state, each to be found by one entry point.

They are broken controls like those of `pawl_gate.controls`, but what shows them is an input and not a trace. Each names
the invariant that must catch it. `pawl_gate.fuzzing.hunt` plants one, fuzzes, and says how long it took.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final
from unittest import mock

from pawl import receiving
from pawl.crypto import keys
from pawl.errors import DuplicateMessage
from pawl.session import cipher, double_ratchet
from pawl.session.cipher import Opened
from pawl.session.double_ratchet import Lookup
from pawl.session.rows import PeerRows
from pawl.session.state import Session
from pawl.wire import messages, scanner, varint
from pawl.wire.messages import SignalMessage
from pawl_gate.controls.edits import Edit, edited
from pawl_gate.controls.variants import parse_known_key


@dataclass(frozen=True, slots=True)
class Fault:
    """A planted fault."""

    name: str
    entry: str
    """Of the entry point that has to find it."""
    breaks: tuple[str, ...]
    """Ids of the invariants of which one has to name it."""
    what: str
    """The fault, in one sentence."""
    edits: tuple[Edit, ...] = ()
    """Where it is a slip of a few words."""
    around: Callable[[], AbstractContextManager[object]] = nullcontext
    """What else is changed as long as it is planted."""

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Plant it, and take it out at the end. Raises: EditError."""
        keys._known.cache_clear()
        try:
            with edited(self.edits), self.around():
                yield
        finally:
            keys._known.cache_clear()


# -- faults that are more than a slip ---------------------------------------------------------------------------------

_SEEN: Final[dict[tuple[bytes, int], bytes]] = {}
_USED: Final[set[bytes]] = set()


def new_process() -> None:
    """Forget what a faulty process remembers. To be called before each input, which is a life of its own."""
    _SEEN.clear()
    _USED.clear()


@contextmanager
def _guarded_by_process() -> Iterator[None]:
    """A guard against replays in the process' memory, which a restored store does not know of."""
    real = cipher.open_message
    seen = _SEEN

    def open_message(sessions: Iterable[Session], message: SignalMessage, kept: Lookup) -> Opened:
        opened = real(sessions, message, kept)
        # Only a message under a kept key, and only where its bytes are others than the ones it had the first time.
        if not opened.derived.chain_key:
            place = message.ratchet_key.data, message.counter
            if seen.setdefault(place, message.authenticated) != message.authenticated:
                raise DuplicateMessage("another message of this counter was read before")
        return opened

    with mock.patch.object(cipher, "open_message", open_message):
        yield


@contextmanager
def _kept_in_process() -> Iterator[None]:
    """Kept keys are looked up in the process' memory first: what was used there is gone, whatever the store says."""
    real: Any = PeerRows.kept
    used = _USED

    def kept(self: PeerRows, session: Session, ratchet_key: keys.PublicKey, counter: int) -> bytes | None:
        found: bytes | None = real(self, session, ratchet_key, counter)
        if found is not None and found in used:
            return None
        if found is not None:
            used.add(found)
        return found

    with mock.patch.object(PeerRows, "kept", kept):
        yield


# -- the catalogue ----------------------------------------------------------------------------------------------------

_PARSERS: Final = (
    Fault(
        "repeated-field",
        "signal_message",
        ("PAR-02",),
        "Of two fields with one number the last one counts.",
        (Edit(scanner.scan, "if number in values:", "if False:"),),
    ),
    Fault(
        "overlong-varint",
        "signal_message",
        ("PAR-02",),
        "An integer may be longer than it need be.",
        (
            Edit(varint.read_varint, "if byte == 0 and shift:", "if False:"),
            Edit(varint.read_varint, "0 < data[at + 1] < 0x80", "data[at + 1] < 0x80"),
        ),
    ),
    Fault(
        "integer-of-64-bits",
        "signal_message",
        ("PAR-02",),
        "An integer may have more bits than its field.",
        (Edit(varint.read_varint, "if value > maximum or shift > 63:", "if shift > 63:"),),
    ),
    Fault(
        "largest-integer",
        "signal_message",
        ("PAR-02",),
        "The largest integer of 32 bits is refused.",
        (Edit(varint.read_varint, "if value > maximum or", "if value >= maximum or"),),
    ),
    Fault(
        "body-into-mac",
        "signal_message",
        ("PAR-01",),
        "A field may end behind the message, in its MAC.",
        (Edit(scanner.scan, "if at > end:", "if at > len(data):"),),
    ),
    Fault(
        "integer-cut-off",
        "prekey_message",
        ("PAR-01",),
        "An integer of two bytes is read without a look at the end: an IndexError.",
        (Edit(varint.read_varint, "if at + 2 <= end and data[at] >= 0x80", "if data[at] >= 0x80"),),
    ),
    Fault(
        "key-type",
        "prekey_message",
        ("IDC-05",),
        "The type byte of a public key is not looked at.",
        (Edit(parse_known_key, " or data[0] != KEY_TYPE_DJB", ""),),
    ),
    Fault(
        "version-nibble",
        "prekey_message",
        ("PAR-04",),
        "Of the version byte only the version is looked at, not the writer's.",
        (Edit(messages._check_frame, "data[0] not in ACCEPTED_VERSION_BYTES", "data[0] >> 4 != 3"),),
    ),
    Fault(
        "unknown-field-cut-off",
        "group_message",
        ("PAR-01",),
        "An unknown field may end behind the message.",
        (Edit(scanner._skip, "if at + length > end:", "if False:"),),
    ),
    Fault(
        "unknown-fields-unlimited",
        "group_message",
        ("PAR-03",),
        "A message may have any number of unknown fields.",
        (Edit(scanner.scan, "if unknown > MAX_UNKNOWN_FIELDS:", "if False:"),),
    ),
    Fault(
        "missing-key",
        "distribution",
        ("PAR-01",),
        "A required field that is missing is found out too late: a KeyError.",
        (Edit(scanner.scan, "if len(values) < len(schema.fields) and", "if len(values) < len(schema.fields) - 1 and"),),
    ),
    Fault(
        "key-not-canonical",
        "distribution",
        ("IDC-05",),
        "A public key may have a second spelling.",
        (Edit(keys.PublicKey.__post_init__, "if self.data[31] >= 0x7F and", "if self.data[31] >= 0xFF and"),),
    ),
)

_STATE: Final = (
    Fault(
        "mac-over-encoding",
        "sealed_message",
        ("CTR-04", "PAR-02"),
        "The MAC is checked over a new encoding of the message, not over its bytes.",
        (
            Edit(
                cipher._decrypt,
                "message.authenticated)",
                "encode_signal_body(ratchet_key=message.ratchet_key, counter=message.counter, "
                "previous_counter=message.previous_counter, ciphertext=message.ciphertext))",
            ),
        ),
    ),
    Fault(
        "mac-in-part",
        "sealed_message",
        ("AUT-01",),
        "Only the first four bytes of a MAC are compared.",
        (
            Edit(
                cipher._decrypt,
                "hmac.compare_digest(kdf.message_mac(mac_key, sender, receiver, message.authenticated), message.mac)",
                "hmac.compare_digest("
                "kdf.message_mac(mac_key, sender, receiver, message.authenticated)[:4], message.mac[:4])",
            ),
        ),
    ),
    Fault(
        "previous-counter-in-two-bytes",
        "sealed_message",
        ("PAR-01",),
        "Behind the MAC, the previous counter is put into two bytes: an OverflowError.",
        (
            Edit(
                cipher._decrypt,
                "return cbc.decrypt(cipher_key, iv, message.ciphertext)",
                'message.previous_counter.to_bytes(2, "big")\n    '
                "return cbc.decrypt(cipher_key, iv, message.ciphertext)",
            ),
        ),
    ),
    Fault(
        "outer-identity-unchecked",
        "sealed_message",
        ("IDC-04",),
        "The identity around a repeated first message is not compared with its session's.",
        (
            Edit(
                receiving.ReceivingDevice._decrypt_repeated,
                "if message.identity_key != session.remote_identity or message.identity_key != rows.pinned():",
                "if False:",
            ),
        ),
    ),
    Fault(
        "kept-key-stays",
        "sealed_message",
        ("CTR-03",),
        "A kept key stays where it is when its message was read.",
        (Edit(PeerRows.keep, "if used is not None:", "if False:"),),
    ),
    Fault(
        "nothing-kept-at-the-start",
        "sealed_message",
        ("CTR-04", "PAR-01"),
        "Messages passed over at the start of a chain are lost.",
        (
            Edit(
                double_ratchet._start_chain,
                "_keep(session, chains, chain, derived.skipped, count)",
                "_keep(session, chains, chain, (), count)",
            ),
        ),
    ),
    Fault(
        "kept-in-process",
        "sealed_message",
        ("CTR-04",),
        "After a restore, a message under a kept key is refused: the process remembers that it was used.",
        around=_kept_in_process,
    ),
    Fault(
        "guarded-by-process",
        "sealed_message",
        ("CTR-04",),
        "After a restore, a message with a valid MAC under a kept key is refused if its bytes are others than before.",
        around=_guarded_by_process,
    ),
)

FAULTS: Final = {fault.name: fault for fault in (*_PARSERS, *_STATE)}
"""By name."""
