"""PAR-01: malformed input ends in a typed refusal. The peer has types for that and lets others out as well.

Attacker: anyone who can deliver bytes; a caller that catches the peer's own types only is ended by them.
"""

from lib import Curve, acquainted
from findings_in_python import field, finding, outcome


def body() -> list[tuple[str, bool]]:
    alice, bob = acquainted()
    short = Curve.generateKeyPair().getPublicKey().serialize()[:20]
    inputs = {
        "no bytes": b"",
        "a type byte alone as its key": b"\x33" + field(1, b"\x05") + field(2, 0) + field(4, bytes(16)) + bytes(8),
        "a short key": b"\x33" + field(1, short) + field(2, 0) + field(4, bytes(16)) + bytes(8),
        "what is no protobuf": b"\x33" + b"\xff" * 20,
    }
    seen = []
    for what, data in inputs.items():
        error = outcome(bob.decrypt, alice, data)
        seen.append((f"{what}: {type(error).__name__}", type(error).__module__.split(".")[0] != "axolotl"))
    return seen


finding("PAR-01", "malformed messages end in errors of other types", body)
