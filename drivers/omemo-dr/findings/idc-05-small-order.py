"""IDC-05: public keys that give an all-zero shared secret are refused. No agreement is looked at.

Attacker: whoever hands out bundles, under an identity of its own. What it gains is little by itself: it knows the
secret anyway. Everybody else can read the session too.
"""

from lib import Curve, Device, sign
from findings_in_python import edit, finding, outcome

ZERO = b"\x05" + bytes(32)
ORDER_8 = b"\x05" + bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")


def body() -> list[tuple[str, bool]]:
    seen = []
    for name, key in (("zero", ZERO), ("order 8", ORDER_8)):
        alice, mallory = Device("alice"), Device("mallory")
        bundle = mallory.bundle(signed_prekey=key, signature=sign(mallory.identity, key))
        taken = outcome(alice.establish, mallory, bundle) is None
        seen.append((f"a bundle with a signed prekey of small order ({name}) is taken", taken))
    agreed = Curve.calculate_agreement(Curve.decode_point(ZERO), Curve.generate_key_pair().get_private_key())
    seen.append(("the secret agreed with it is zero", agreed == bytes(32)))
    alice, bob = Device("alice"), Device("bob")
    alice.establish(bob, bob.bundle())
    refusal = outcome(bob.decrypt, alice, edit(alice.encrypt(bob, "m"), base_key=ZERO), first=True)
    seen.append((f"a base key of zero is not what a message is refused for: {refusal}", "Bad Mac" in str(refusal)))
    return seen


finding("IDC-05", "keys of small order are taken", body)
