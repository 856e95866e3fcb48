"""PAR-03: size limits hold before anything of that size is allocated. A message of any size is parsed, copied and run
through the MAC.

Attacker: anyone who can deliver bytes under the peer's name; or a peer, whose large message is read.
"""

import tracemalloc

from lib import Curve, acquainted
from findings_in_python import field, finding, outcome

SIZE = 32 << 20


def body() -> list[tuple[str, bool]]:
    alice, bob = acquainted()
    key = Curve.generateKeyPair().getPublicKey().serialize()
    message = b"\x33" + field(1, key) + field(2, 0) + field(3, 0) + field(4, bytes(SIZE)) + bytes(8)
    tracemalloc.start()
    refusal = outcome(bob.decrypt, alice, message)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return [
        (f"{SIZE >> 20} MiB are refused for their MAC alone: {refusal}", "Bad Mac" in str(refusal)),
        (f"after {peak >> 20} MiB more were taken", peak > 2 * SIZE),
    ]


finding("PAR-03", "a message of any size is copied and hashed", body)
