"""PAR-05: bundles are parsed as strictly as messages. What stands behind the 33 bytes of a public key is cut off.

Attacker: none of his own use is known; one key has many spellings.
"""

from lib import Device
from findings_in_python import finding, outcome


def body() -> list[tuple[str, bool]]:
    alice, bob = Device("alice"), Device("bob")
    plain = bob.bundle()
    long = {**plain, "signed_prekey": plain["signed_prekey"] + b"more"}
    taken = outcome(alice.establish, bob, long) is None
    first = outcome(bob.decrypt, alice, alice.encrypt(bob, "hello"), first=True)
    longer = {**plain, "identity_key": plain["identity_key"] + bytes(100)}
    return [
        ("a bundle with a signed prekey of 37 bytes is taken", taken),
        ("its session works", first == "hello"),
        ("so is one with an identity key of 133 bytes", outcome(Device("carol").establish, bob, longer) is None),
    ]


finding("PAR-05", "keys of any length above 33 bytes are taken", body)
