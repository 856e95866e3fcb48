"""BND-01: one message causes a bounded number of derivations over all candidate sessions together. Here each session
derives up to 2,000 keys of a chain that the message begins before the MAC is looked at, and every session is tried.

Attacker: anyone who can deliver bytes under the peer's name. He needs no key; the message has 67 bytes.
"""

from lib import Curve, acquainted, counted
from findings_in_python import field, finding, outcome, refused

SESSIONS = 8


def body() -> list[tuple[str, bool]]:
    alice, bob = acquainted()
    refusals = []

    def work() -> int:
        key = Curve.generateKeyPair().getPublicKey().serialize()
        message = b"\x33" + field(1, key) + field(2, 2000) + field(3, 0) + field(4, bytes(16)) + bytes(8)
        return counted(lambda: refusals.append(refused(outcome(bob.decrypt, alice, message))))

    one = work()
    for _ in range(SESSIONS - 1):
        alice.establish(bob, bob.bundle())
        bob.decrypt(alice, alice.encrypt(bob, "new session"), first=True)
    many = work()
    return [
        ("both are refused", refusals == [True, True]),
        (f"with one session after {one} derivations, not counting the steps of the chain", one > 2000),
        (f"with {SESSIONS} after {many}", many > (SESSIONS - 1) * one),
    ]


finding("BND-01", "one forged message causes work in every kept session", body)
