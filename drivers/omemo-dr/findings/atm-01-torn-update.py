"""ATM-01: after a crash the store holds exactly the state before or exactly the state after. One first message is
stored by three calls: the identity, the session, the prekey's removal. KEY-03: a one-time prekey serves exactly one
session.

Attacker: none, the process ends between two calls; then whoever hands out that prekey again.
"""

from lib import Device, Store
from findings_in_python import finding, outcome, refused


class Ended(Exception):
    """The process ended here."""


class Dying(Store):
    """A store whose process ends before a prekey is removed."""

    def remove_pre_key(self, number: int) -> None:
        """End here."""
        raise Ended


def body() -> list[tuple[str, bool]]:
    alice, carol, bob = Device("alice"), Device("carol"), Device("bob")
    bundle = bob.bundle(5)
    alice.establish(bob, bundle)
    first, second = alice.encrypt(bob, "one"), alice.encrypt(bob, "two")
    living, bob.store = bob.store, Dying(bob.rows)
    ended = outcome(bob.decrypt, alice, first, first=True)
    bob.store = living
    held = bob.rows.load("prekey/5") is not None
    again = outcome(bob.decrypt, alice, first, first=True)
    on = outcome(bob.decrypt, alice, second, first=True)
    kept = bob.rows.load("prekey/5") is not None
    carol.establish(bob, bundle)
    late = outcome(bob.decrypt, carol, carol.encrypt(bob, "me too"), first=True)
    return [
        ("the process ends between two calls of the store", isinstance(ended, Ended)),
        ("the session is stored, and the one-time prekey too", len(bob.state(alice)) == 1 and held),
        (f"the message is lost: {again}", refused(again)),
        ("the session goes on, and the prekey stays", on == "two" and kept),
        ("it serves a second session", late == "me too"),
    ]


finding("ATM-01", "session and prekey are stored by two calls", body)
