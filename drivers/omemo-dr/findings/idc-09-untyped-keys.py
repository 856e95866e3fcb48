"""IDC-09: compatibility fallbacks are used only where their option was switched on. A public key of 32 bytes, without
its type byte, is taken everywhere, also in messages of version 3 and in the bundles that go with them.

Attacker: none of his own use is known; the network may spell one message in many ways.
"""

from lib import Device, sign
from findings_in_python import BASE_KEY, IDENTITY_KEY, edit, finding, outcome, outer


def body() -> list[tuple[str, bool]]:
    alice, bob = Device("alice"), Device("bob")
    plain = bob.bundle()
    bare = plain["signed_prekey"][1:]
    # The signature is over the key as it is written out again, type byte included.
    untyped = {**plain, "signed_prekey": bare, "prekey": plain["prekey"][1:], "identity_key": plain["identity_key"][1:]}
    taken = outcome(alice.establish, bob, untyped) is None
    first = alice.encrypt(bob, "hello")
    spelled = edit(first, base_key=outer(first, BASE_KEY)[1:], identity_key=outer(first, IDENTITY_KEY)[1:])
    over_bare = {**untyped, "signature": sign(bob.identity, bare)}
    return [
        ("a bundle of keys without their type byte is taken", taken),
        ("a first message with such keys outside is read", outcome(bob.decrypt, alice, spelled, first=True) == "hello"),
        (
            "the signature must be over the key with its type byte",
            "Invalid signature" in str(outcome(Device("carol").establish, bob, over_bare)),
        ),
    ]


finding("IDC-09", "keys without their type byte are taken", body)
