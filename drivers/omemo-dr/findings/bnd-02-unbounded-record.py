"""BND-02: kept keys never exceed the limits, declared or the catalogue's of 2,000 in a chain. Nothing drops a kept
key.

Attacker: a peer, or the network, which withholds messages.
"""

from lib import acquainted
from findings_in_python import finding


def body() -> list[tuple[str, bool]]:
    alice, bob = acquainted()
    for _ in range(3):
        for _ in range(1000):
            lost = alice.encrypt(bob, "lost")
        bob.decrypt(alice, lost)
    kept = max(len(chain.messageKeys) for chain in bob.state(alice)[0].receiverChains)
    size = len(bob.rows.load("session/alice.1"))
    return [(f"{kept} keys are kept in one chain, in a record of {size} bytes", kept == 2997 and size > 250_000)]


finding("BND-02", "kept keys are never dropped", body)
