"""GRP-01: a member reads each message once, in any order within the window. What follows iteration 4,294,967,295 has
no place in the stored record, and so the message with that iteration can be neither written nor read.

Attacker: none that gains by it; honest chains never get there.
"""

from lib import Device, state_of
from findings_in_python import finding, outcome, refused
from axolotl.protocol.senderkeydistributionmessage import SenderKeyDistributionMessage
from axolotl.protocol.senderkeymessage import SenderKeyMessage

LAST = 2**32 - 1


def body() -> list[tuple[str, bool]]:
    alice, bob = Device("alice"), Device("bob")
    given, own = SenderKeyDistributionMessage(serialized=alice.give()), state_of(alice)
    key = own.getSigningKeyPublic()
    late = SenderKeyDistributionMessage(given.getId(), LAST - 1, given.getChainKey(), key)
    bob.take(alice, late.serialize())
    # On a chain that begins there, the first message is alice's first.
    message = SenderKeyMessage(serialized=alice.say("last but one"))
    moved = SenderKeyMessage(given.getId(), LAST - 1, message.getCipherText(), own.getSigningKeyPrivate())
    last = SenderKeyMessage(given.getId(), LAST, message.getCipherText(), own.getSigningKeyPrivate())
    read = outcome(bob.hear, alice, moved.serialize())
    error = outcome(bob.hear, alice, last.serialize())
    return [
        ("the last but one is read", read == "last but one"),
        (f"the last is not: {type(error).__name__}: {error}", refused(error) and "out of range" in str(error)),
    ]


finding("GRP-01", "the last iteration of a chain is lost", body)
