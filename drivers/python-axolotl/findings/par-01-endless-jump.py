"""PAR-01: no message hangs its receiver. GRP-06: jumps of a group's chain are bounded. The peer subtracts the
iterations the wrong way round, so that its limit of 2,000 holds for no message.

Attacker: a member of the group. One message of 100 bytes costs 4,294,967,294 steps, and a kept key for each.
"""

import subprocess
import sys

from lib import Device, state_of
from findings_in_python import finding, outcome
from axolotl.protocol.senderkeymessage import SenderKeyMessage

SECONDS = 5
SKIPPED = 5000


def hear_from(iteration: int) -> None:
    """A message of that iteration on a chain that is held; it needs no good ciphertext."""
    bob, mallory = Device("bob"), Device("mallory")
    bob.take(mallory, mallory.give())
    own = state_of(mallory)
    bob.hear(mallory, SenderKeyMessage(own.getKeyId(), iteration, bytes(16), own.getSigningKeyPrivate()).serialize())


def ends(iteration: int) -> bool:
    """Whether a program of its own that hears such a message ends in time."""
    try:
        subprocess.run(  # noqa: S603 - this very program
            [sys.executable, __file__, str(iteration)], timeout=SECONDS, stderr=subprocess.DEVNULL, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return True


def body() -> list[tuple[str, bool]]:
    alice, bob = Device("alice"), Device("bob")
    bob.take(alice, alice.give())
    for _ in range(SKIPPED):
        alice.say("lost")
    far = outcome(bob.hear, alice, alice.say("far"))
    kept = len(state_of(bob, alice).getStructure().senderMessageKeys)
    return [
        (f"a message that is {SKIPPED} ahead is read", far == "far"),
        (f"and {kept} keys are kept", kept == SKIPPED),
        (f"a program that is given one of iteration {SKIPPED} ends within {SECONDS} seconds", ends(SKIPPED)),
        ("one that is given iteration 4,294,967,294 does not", not ends(2**32 - 2)),
    ]


if len(sys.argv) > 1:
    hear_from(int(sys.argv[1]))
else:
    finding("PAR-01", "a group message of any iteration is followed", body)
