"""IDC-06: a received identity is pinned only after the message that carried it was authenticated. CTR-05: a refused
operation leaves the stored state as it was. Here saveIdentity is called before the message is decrypted.

Attacker: anyone who can deliver bytes under a name that is not known yet. He needs no key.
"""

from lib import Device
from findings_in_python import edit, finding, outcome, refused


def body() -> list[tuple[str, bool]]:
    alice, bob, mallory = Device("alice"), Device("bob"), Device("mallory")
    alice.establish(bob, bob.bundle())
    first = alice.encrypt(bob, "hello")
    forged = edit(first, identity_key=mallory.identity.getPublicKey().serialize())
    junk = outcome(bob.decrypt, alice, forged, first=True)
    pinned = bob.pinned(alice)
    true = outcome(bob.decrypt, alice, first, first=True)
    return [
        (f"a first message with another identity key outside is refused: {junk}", refused(junk)),
        ("yet that key is pinned to alice's name", pinned == mallory.identity.getPublicKey().serialize()),
        (f"alice's own message is then refused: {type(true).__name__}", refused(true)),
    ]


finding("IDC-06", "an identity is pinned before its message is authenticated", body)
