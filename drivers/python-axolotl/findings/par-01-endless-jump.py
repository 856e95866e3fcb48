"""PAR-01: no message hangs its receiver. GRP-06: jumps of a group's chain are bounded. The peer subtracts the
iterations the wrong way round, so that its limit of 2,000 holds for no message.

Attacker: a member of the group. One message of 100 bytes costs 4,294,967,294 steps, and a kept key for each.
"""

import subprocess
import sys

from lib import Device, finding, outcome, state_of
from axolotl.protocol.senderkeymessage import SenderKeyMessage

SECONDS = 5
SKIPPED = 5000


def hear_from_far() -> None:
    """A message far ahead on a chain that is held; it needs no good ciphertext."""
    bob, mallory = Device("bob"), Device("mallory")
    bob.take(mallory, mallory.give())
    own = state_of(mallory)
    bob.hear(mallory, SenderKeyMessage(own.getKeyId(), 2**32 - 2, bytes(16), own.getSigningKeyPrivate()).serialize())


def body() -> list[tuple[str, bool]]:
    alice, bob = Device("alice"), Device("bob")
    bob.take(alice, alice.give())
    for _ in range(SKIPPED):
        alice.say("lost")
    far = outcome(bob.hear, alice, alice.say("far"))
    kept = len(state_of(bob, alice).getStructure().senderMessageKeys)
    try:
        subprocess.run([sys.executable, __file__, "hear"], timeout=SECONDS, check=False)  # noqa: S603
        hung = False
    except subprocess.TimeoutExpired:
        hung = True
    return [
        (f"a message that is {SKIPPED} ahead is read", far == "far"),
        (f"and {kept} keys are kept", kept == SKIPPED),
        (f"one that is 4,294,967,294 ahead has no answer after {SECONDS} seconds", hung),
    ]


if sys.argv[1:] == ["hear"]:
    hear_from_far()
else:
    finding("PAR-01", "a group message of any iteration is followed", body)
