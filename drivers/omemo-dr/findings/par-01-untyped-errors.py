"""PAR-01: malformed input ends in a typed refusal. The peer has types for that, and its sessions let others out.

Attacker: anyone who can deliver bytes; a caller of the sessions that catches the peer's own types only is ended by
them. `OMEMOSessionManager` catches them all.
"""

from lib import acquainted
from findings_in_python import finding, outcome


def body() -> list[tuple[str, bool]]:
    alice, bob = acquainted()
    inputs = {
        "no bytes": (b"", False),
        "no bytes as a first message": (b"", True),
        "what is no protobuf": (b"\x33" + b"\xff" * 20, False),
    }
    seen = []
    for what, (data, first) in inputs.items():
        error = outcome(bob.decrypt, alice, data, first=first)
        seen.append((f"{what}: {type(error).__name__}: {error}", type(error).__module__.split(".")[0] != "omemo_dr"))
    return seen


finding("PAR-01", "malformed messages end in errors of other types", body)
