"""CTR-06: a replayed prekey message creates no second session and delivers no second plaintext. Base keys are compared
as bytes, and not all bytes of a message count.

Attacker: the network, with a recorded first message that names no one-time prekey. He needs no key.
"""

from lib import Device
from findings_in_python import BASE_KEY, edit, finding, outcome, outer


def body() -> list[tuple[str, bool]]:
    alice, bob = Device("alice"), Device("bob")
    alice.establish(bob, bob.bundle())
    first = alice.encrypt(bob, "pay 10")
    once = outcome(bob.decrypt, alice, first, first=True)
    alice.decrypt(bob, bob.encrypt(alice, "done"))
    key = outer(first, BASE_KEY)
    top, long = key[:-1] + bytes([key[-1] | 128]), key + b"\0"
    twice = outcome(bob.decrypt, alice, edit(first, base_key=top), first=True)
    sessions = len(bob.state(alice))
    # What is cut off before it is compared is no other spelling.
    again = outcome(bob.decrypt, alice, edit(first, base_key=long), first=True)
    return [
        ("the message is read", once == "pay 10"),
        ("with the unused top bit of its base key set it is read again", twice == "pay 10"),
        (f"in a second session, which is the current one ({sessions} in all)", sessions == 2),
        (f"a longer base key is no new one: {again}", "old counter" in str(again)),
    ]


finding("CTR-06", "a first message is delivered again when its base key is spelled otherwise", body)
