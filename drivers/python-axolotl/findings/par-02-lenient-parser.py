"""PAR-02: repeated singular fields and overlong varints are refused. The peer takes what its protobuf reader takes.

Attacker: the network; outside the MAC it may spell a message in many ways.
"""

from lib import Device
from findings_in_python import field, fields, finding, outcome, varint


def body() -> list[tuple[str, bool]]:
    seen = []

    def repeated(message: bytes) -> bytes:
        return message + field(5, 7)

    def overlong(message: bytes) -> bytes:
        parts = [
            varint(number << 3) + b"\x87\x80\x00" if number == 5 else field(number, value)
            for number, value in fields(message[1:])
        ]
        return message[:1] + b"".join(parts)

    for what, change in (("a repeated field", repeated), ("an overlong varint", overlong)):
        alice, bob = Device("alice"), Device("bob")
        alice.establish(bob, bob.bundle())
        message = alice.encrypt(bob, "hello")
        changed = change(message)
        seen.append((f"{what} is accepted", outcome(bob.decrypt, alice, changed, first=True) == "hello"))
    return seen


finding("PAR-02", "messages that are not canonical are accepted", body)
