"""CTR-06: a replayed prekey message delivers no second plaintext, also after the session was lost. Only sessions that
are held remember their base keys: 41 at most, of one address.

Attacker: the network, with a recorded first message that names no one-time prekey, and time.
"""

from lib import Device
from findings_in_python import finding, outcome


def body() -> list[tuple[str, bool]]:
    alice, bob = Device("alice"), Device("bob")
    alice.establish(bob, bob.bundle())
    first = alice.encrypt(bob, "pay 10")
    bob.decrypt(alice, first, first=True)
    again = outcome(bob.decrypt, alice, first, first=True)
    for _ in range(41):
        alice.establish(bob, bob.bundle())
        bob.decrypt(alice, alice.encrypt(bob, "new session"), first=True)
    late = outcome(bob.decrypt, alice, first, first=True)
    bob.rows.remove("session/alice.1")
    lost = outcome(bob.decrypt, alice, first, first=True)
    return [
        (f"at once it is refused: {again}", "old counter" in str(again)),
        ("after 41 more sessions it is read again", late == "pay 10"),
        ("and once the record was lost", lost == "pay 10"),
    ]


finding("CTR-06", "a base key is forgotten with its session", body)
