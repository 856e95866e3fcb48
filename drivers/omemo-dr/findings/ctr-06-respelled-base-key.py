"""CTR-06: a replayed prekey message is known for one. Sessions are known by the bytes of their base key, and not all
bytes of a message count: a first message with its base key spelled otherwise is read, and the session is then known by
that spelling.

Attacker: the network. It needs no key. No second plaintext comes of it, for the one-time prekey is gone; what is lost
is all that the sender writes before it hears an answer.
"""

from lib import Device
from findings_in_python import BASE_KEY, edit, finding, outcome, outer, refused


def body() -> list[tuple[str, bool]]:
    alice, bob = Device("alice"), Device("bob")
    alice.establish(bob, bob.bundle())
    first, second, third = (alice.encrypt(bob, text) for text in ("one", "two", "three"))
    key = outer(first, BASE_KEY)
    respelled = edit(first, base_key=key[:-1] + bytes([key[-1] | 128]))
    read = outcome(bob.decrypt, alice, respelled, first=True)
    again = outcome(bob.decrypt, alice, first, first=True)
    lost = [outcome(bob.decrypt, alice, message, first=True) for message in (second, third)]
    alice.decrypt(bob, bob.encrypt(alice, "hello"))
    return [
        ("with the unused top bit of its base key set a first message is read", read == "one"),
        (f"its original is then not known: {again}", refused(again) and "no prekey" in str(again)),
        (f"what comes next on the session is refused: {lost[0]}", all("no prekey" in str(one) for one in lost)),
        ("until an answer was read", outcome(bob.decrypt, alice, alice.encrypt(bob, "four")) == "four"),
    ]


finding("CTR-06", "a session is known by the spelling of its base key", body)
