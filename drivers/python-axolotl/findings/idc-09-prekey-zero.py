"""IDC-09: compatibility fallbacks are used only where their option was switched on. A message without one-time prekey
and one that names the prekey 0 are one and the same to the peer, which asks its store for the prekey 0 in both cases.

Attacker: the network, which may add or take away the id. A plain store refuses every first message without a prekey.
"""

from lib import Device, PreKeyWhisperMessage
from findings_in_python import edit, finding, outcome, refused


def body() -> list[tuple[str, bool]]:
    alice, bob = Device("alice"), Device("bob")
    alice.establish(bob, bob.bundle())
    without = alice.encrypt(bob, "hello")
    zero = edit(without, prekey_id=0)
    ids = [PreKeyWhisperMessage(serialized=message).getPreKeyId() for message in (without, zero)]
    read = outcome(bob.decrypt, alice, zero, first=True)
    plain = Device("bob", answers_none=False)
    alice = Device("alice")
    alice.establish(plain, plain.bundle())
    lost = outcome(plain.decrypt, alice, alice.encrypt(plain, "hello"), first=True)
    return [
        (f"the ids that the peer sees are {ids}", ids == [0, 0]),
        ("where the store has an answer for it, a message that names the prekey 0 is read", read == "hello"),
        (f"where it has none, an honest one without prekey is refused: {lost}", refused(lost)),
    ]


finding("IDC-09", "no one-time prekey is taken for the prekey 0", body)
