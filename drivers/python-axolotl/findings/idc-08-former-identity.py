"""IDC-08: after an identity was replaced by decision, sessions made under the old one neither encrypt nor decrypt.
Nothing asks about an identity when a message is sent, nor when one without a prekey header is received.

Attacker: a device that was replaced, because it was lost or stolen.
"""

from lib import Device, acquainted
from findings_in_python import finding, outcome


def body() -> list[tuple[str, bool]]:
    alice, bob = acquainted()
    former = alice.encrypt(bob, "from the former device")
    stolen = Device("alice")
    stolen.rows, stolen.store.rows = alice.rows, alice.rows
    alice.install()
    bob.approve(alice)
    sent = bob.encrypt(alice, "for the new device")
    return [
        ("a message of the former device is read", outcome(bob.decrypt, alice, former) == "from the former device"),
        ("what is sent next is for the former device", outcome(stolen.decrypt, bob, sent) == "for the new device"),
    ]


finding("IDC-08", "a session goes on after its identity was replaced", body)
