"""Authenticity and conformance: controls that break AUT and CNF."""

from __future__ import annotations

from pawl import Device
from pawl.session import cipher, double_ratchet
from pawl.session.rows import PeerRows
from pawl_gate.controls.catalogue import control, slip
from pawl_gate.controls.edits import Edit
from pawl_gate.controls.variants import Patched


class _AcceptsAnyMac:
    """Stands for the module `hmac` where a received code is compared."""

    @staticmethod
    def compare_digest(one: bytes, other: bytes) -> bool:
        """They are always the same."""
        return len(one) == len(other)


@control("mac-unchecked", "AUT-01")
class MacUnchecked(Patched):
    """The message authentication code is not compared."""

    patches = (("pawl.session.cipher.hmac", _AcceptsAnyMac),)


slip(
    "mac-compared-in-part",
    "AUT-01",
    "Half of the message authentication code is compared.",
    Edit(cipher._decrypt, "message.authenticated), message.mac)", "message.authenticated)[:4], message.mac[:4])"),
)
slip(
    "decrypted-before-the-mac",
    "AUT-01",
    "The body is decrypted before the code is compared: the refusal tells whether the padding was right.",
    Edit(
        cipher._decrypt,
        "cipher_key, mac_key, iv = kdf.message_keys(seed)",
        """cipher_key, mac_key, iv = kdf.message_keys(seed)
    cbc.decrypt(cipher_key, iv, message.ciphertext)""",
    ),
)
slip(
    "mac-over-an-encoding-anew",
    "AUT-01",
    "The code is checked over what was read, encoded again, not over the bytes received.",
    Edit(
        cipher._decrypt,
        "message.authenticated)",
        """encode_signal_body(
            ratchet_key=message.ratchet_key,
            counter=message.counter,
            previous_counter=message.previous_counter,
            ciphertext=message.ciphertext,
        ))""",
    ),
)
slip(
    "previous-counter-is-a-length",
    "CNF-01",
    "The previous counter is the number of messages on the former chain, not the last one's position.",
    Edit(double_ratchet._start_chain, "max(session.sending.counter - 1, 0)", "session.sending.counter"),
)
slip(
    "previous-counter-stays",
    "CNF-01",
    "The previous counter is not set at a ratchet step.",
    Edit(double_ratchet._start_chain, "max(session.sending.counter - 1, 0)", "session.previous_counter"),
)
slip(
    "prekey-said-for-ever",
    "CNF-01",
    "A message still says how to build the session when the peer has answered.",
    Edit(
        double_ratchet._start_chain,
        "max(session.sending.counter - 1, 0),\n        None,",
        "max(session.sending.counter - 1, 0),\n        session.pending,",
    ),
)
slip(
    "prekey-said-once",
    "CNF-01",
    "Only the first message says how to build the session.",
    Edit(double_ratchet._with_sending, "previous, pending)", "previous, None)"),
)
slip(
    "unanswered-session-for-ever",
    "CNF-01",
    "A session that the peer never answered is used without a limit in time.",
    Edit(cipher.encrypt, "> MAX_UNACKNOWLEDGED_SECONDS", "> 100 * MAX_UNACKNOWLEDGED_SECONDS"),
)
slip(
    "new-session-last",
    "CNF-01",
    "A new session is put behind the others and does not become the current one.",
    Edit(PeerRows.add, "(session.base_key.data, *self._base_keys)", "(*self._base_keys, session.base_key.data)"),
)
slip(
    "prekey-id-unsaid",
    "CNF-01",
    "A first message does not say which one-time prekey was used.",
    Edit(cipher.encrypt, "prekey_id=pending.prekey_id", "prekey_id=None"),
)
slip(
    "establishing-anew-does-nothing",
    "CNF-01",
    "A bundle is not processed where there is a session already.",
    Edit(Device.establish, "rows.add(session)", "rows.add(session) if not rows._base_keys else None"),
)


@control("chains-dropped-early", "CNF-02")
class ChainsDroppedEarly(Patched):
    """Of the receiving chains the newest alone is kept: whatever of a former one is still on its way will be lost."""

    patches = (
        ("pawl.session.double_ratchet.MAX_RECEIVING_CHAINS", 1),
        ("pawl.wire.records.MAX_RECEIVING_CHAINS", 1),
    )
