"""IDC-04: each message authenticates both identity keys; with another outer identity it is refused. For a known base
key the trust question is about the outer identity, while the session that decrypts is another one's.

Attacker: a device that was replaced, or the network with a withheld message of it.
"""

from lib import Device
from findings_in_python import edit, finding, outcome, refused


def body() -> list[tuple[str, bool]]:
    alice, bob = Device("alice"), Device("bob")
    alice.establish(bob, bob.bundle())
    first, second = alice.encrypt(bob, "one"), alice.encrypt(bob, "two")
    bob.decrypt(alice, first, first=True)
    alice.install()
    bob.approve(alice)
    plain = outcome(bob.decrypt, alice, second, first=True)
    disguised = edit(second, identity_key=alice.identity.getPublicKey().serialize())
    return [
        (f"with the replaced identity outside: {type(plain).__name__}", refused(plain)),
        ("with the new one outside it is read", outcome(bob.decrypt, alice, disguised, first=True) == "two"),
    ]


finding("IDC-04", "the outer identity is not compared with the session's", body)
