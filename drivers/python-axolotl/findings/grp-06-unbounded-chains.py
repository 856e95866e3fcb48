"""GRP-06: what BND says of sessions holds of sender keys: chains, kept keys and work are bounded. No chain is ever
dropped, and a key that is passed over is derived whole when it is kept, and again when it is used.

Attacker: a member, with one distribution for each chain.
"""

from lib import Device, chain_of, counted
from findings_in_python import finding

CHAINS = 200


def body() -> list[tuple[str, bool]]:
    alice, bob = Device("alice"), Device("bob")
    for _ in range(CHAINS):
        alice.rows.remove(f"chains/{chain_of(alice).serialize()}")
        bob.take(alice, alice.give())
    bob.take(alice, alice.give())
    held = len(bob.chains.loadSenderKey(chain_of(alice)).senderKeyStates)
    ids = [state.getKeyId() for state in bob.chains.loadSenderKey(chain_of(alice)).senderKeyStates]
    skipped, read = alice.say("skipped"), alice.say("read")
    kept, used = counted(bob.hear, alice, read), counted(bob.hear, alice, skipped)
    return [
        (f"{held} chains are held of one member in one group", held == CHAINS + 1),
        ("the last one twice, for its distribution came twice", ids[-1] == ids[-2]),
        (
            f"a message that passes over one derives {kept} keys, and {used} more when that one is used",
            (kept, used) == (2, 1),
        ),
    ]


finding("GRP-06", "chains of a sender are never dropped", body)
