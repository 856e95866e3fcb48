"""The attacker's changes of a message, in terms: the counterpart of `pawl_gate.attacker.tamper`."""

from __future__ import annotations

from pawl_spec.history import Event
from pawl_spec.model.expect import PARSE_REFUSALS
from pawl_spec.model.state import Message, Outer
from pawl_spec.model.terms import LOW
from pawl_spec.model.world import World
from pawl_spec.trace import COUNTER_DELTAS, PARTIES, TAMPERS, VERSION_BYTES

RULE_OF_TAMPER = {
    "mac": "AUT-01",
    "ciphertext": "AUT-01",
    "counter": "AUT-01",
    "previous-counter": "AUT-01",
    "ratchet-key": "AUT-01",
    "unknown-field": "AUT-01",
    "identity-key": "IDC-04",
    "present-identity": "IDC-04",
    "low-order-identity": "IDC-05",
    "low-order-base-key": "IDC-05",
    "low-order-ratchet-key": "IDC-05",
    "prekey-id-zero": "IDC-09",
    "untyped-ratchet-key": "IDC-09",
    "drop-previous-counter": "PAR-03",
}
"""The invariant at stake when the change is not noticed. The others leave what is authenticated as it was."""


def tampered(world: World, m: Message, event: Event) -> Message:
    """The symbolic counterpart of `pawl_gate.attacker.tamper`."""
    name, how, t = TAMPERS[event.op["field"]], event.op["how"], world.terms
    delta = COUNTER_DELTAS[how % len(COUNTER_DELTAS)]
    lenient = event.actor is not None and "untyped-keys" in world.parties[event.actor].compatible
    malformed = frozenset({"malformed-message"})
    match name:
        case "mac":
            return m._replace(mac=t.fresh("junk"))
        case "ciphertext":
            return m._replace(body=t.fresh("junk"))
        case "counter":
            return m._replace(counter=(m.counter + delta) % 2**32)
        case "previous-counter":
            return m._replace(previous=(m.previous + delta) % 2**32)
        case "ratchet-key":
            return m._replace(ratchet=t.fresh("junk") if how % 2 == 0 else world.spliced(m, how).ratchet)
        case "low-order-ratchet-key":
            return m._replace(ratchet=LOW)
        case "version":
            codes = frozenset({"unknown-version", "bad-mac", "malformed-message", *reachable(m)})
            return m._replace(defect=(codes, "PAR-04"))
        case "unknown-field" | "drop-previous-counter":
            # Behind the MAC: the bytes received are what is authenticated. Missing means 0.
            return m._replace(mac=t.fresh("junk"))
        case "duplicate-field" | "overlong-varint" | "wrong-wire-type":
            # A reader that skips what it should refuse finds that the MAC covers it, or before that a spent counter.
            return m._replace(defect=(malformed | {"bad-mac"} | reachable(m), "PAR-02"))
        case "drop-ratchet-key" | "drop-counter" | "drop-ciphertext":
            # A reader that takes what is missing for empty finds a spent counter, or that the MAC covers it.
            return m._replace(defect=(malformed | {"bad-mac"} | reachable(m), "PAR-03"))
        case "oversized-ciphertext":
            return m._replace(defect=(malformed | {"message-too-large"}, "PAR-03"))
        case "oversized-key":
            return m._replace(defect=(malformed | {"invalid-key"}, "PAR-03"))
        case "untyped-ratchet-key":
            if lenient:
                return m._replace(mac=t.fresh("junk"))
            return m._replace(defect=(malformed | {"invalid-key", "bad-mac"}, "IDC-09"))
        case "truncate" | "trailing-byte":
            codes = PARSE_REFUSALS | {"bad-mac"} | reachable(m)
            return m._replace(defect=(codes, "PAR-01"))
    # The runner skips a change that does not concern the message.
    return m if m.outer is None else _outer_tampered(world, m, m.outer, event)


def _outer_tampered(world: World, m: Message, outer: Outer, event: Event) -> Message:
    name, how, t = TAMPERS[event.op["field"]], event.op["how"], world.terms
    compatible = world.parties[event.actor or 0].compatible
    match name:
        case "registration-id" | "reorder-fields" | "outer-unknown-field" | "drop-registration-id":
            # Not authenticated by the protocol; any order and unknown fields are accepted (PAR-02, PAR-04).
            return m
        case "drop-base-key" | "drop-identity-key" | "drop-message" | "drop-signed-prekey-id":
            # A reader that takes what is missing for empty finds that it has nothing of that name.
            return m._replace(defect=(PARSE_REFUSALS | {"bad-mac"} | reachable(m), "PAR-03"))
        case "prekey-id-zero":
            if "prekey-id-zero" in compatible:
                return m._replace(outer=outer._replace(prekey_id=None), fallback=True)
            return m._replace(outer=outer._replace(prekey_id=0))
        case "untyped-base-key" | "untyped-identity-key":
            if "untyped-keys" in compatible:
                return m._replace(fallback=True)
            return m._replace(defect=(frozenset({"malformed-message", "invalid-key"}), "IDC-09"))
        case "respelled-base-key" | "respelled-identity-key":
            # Every agreement comes to what it was: only a look at the key itself, or the MAC over identities, tells.
            rule = "CTR-06" if name == "respelled-base-key" else "IDC-04"
            return m._replace(defect=(frozenset({"malformed-message", "bad-mac"}) | reachable(m), rule))
        case "prekey-id":
            return m._replace(outer=outer._replace(prekey_id=event.prekey_id))
        case "drop-prekey-id":
            return m._replace(outer=outer._replace(prekey_id=None))
        case "signed-prekey-id":
            return m._replace(outer=outer._replace(signed_prekey=None))
        case "base-key":
            return m._replace(outer=outer._replace(base=t.fresh("junk")))
        case "low-order-base-key":
            return m._replace(outer=outer._replace(base=LOW))
        case "identity-key":
            other = world.attacker if how % 2 == 0 else world.parties[(m.sender + 1) % len(PARTIES)].identity
            return m._replace(outer=outer._replace(identity=other))
        case "present-identity":
            return m._replace(outer=outer._replace(identity=world.parties[m.sender].identity))
        case "low-order-identity":
            return m._replace(outer=outer._replace(identity=LOW))
        case "outer-version":
            byte = VERSION_BYTES[how % len(VERSION_BYTES)]
            if byte >> 4 == 3:
                # The low nibble says who wrote it and is not under the MAC here.
                return m._replace(lenient=True)
            return m._replace(defect=(frozenset({"unknown-version", "malformed-message"}), "PAR-04"))
        case _:  # "outer-duplicate-field", "outer-overlong-varint"
            return m._replace(defect=(frozenset({"malformed-message"}), "PAR-02"))


def reachable(message: Message) -> frozenset[str]:
    """Refusals of a changed message that may come first, because they are decided before the MAC is."""
    codes = {"no-session", "untrusted-identity", "duplicate-message", "too-far-ahead", "invalid-key"}
    if message.outer is not None:
        codes |= {"unknown-prekey", "unknown-signed-prekey", "replayed-prekey-message"}
    return frozenset(codes)
