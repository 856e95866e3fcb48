"""GRP-05, GRP-01: a chain that a distribution brings is the one with its id. The peer puts a chain behind those that
it holds and asks the first of that id: a second one is never asked.

Attacker: a member, who gives one chain id twice; honest ones draw theirs at random. Messages under the former signing
key are still read, those under the new one are refused.
"""

from lib import Curve, Device, KeyHelper, chain_of, state_of
from findings_in_python import finding, outcome, refused


def body() -> list[tuple[str, bool]]:
    alice, bob = Device("alice"), Device("bob")
    bob.take(alice, alice.give())
    former = alice.say("on the former chain")
    # Of the same id, with another key and another signing key.
    record = alice.chains.loadSenderKey(chain_of(alice))
    record.setSenderKeyState(state_of(alice).getKeyId(), 0, KeyHelper.generateSenderKey(), Curve.generateKeyPair())
    alice.chains.storeSenderKey(chain_of(alice), record)
    bob.take(alice, alice.give())
    new = outcome(bob.hear, alice, alice.say("on the new chain"))
    return [
        (f"a message on the new chain is refused: {new}", refused(new)),
        ("one on the former chain is read", outcome(bob.hear, alice, former) == "on the former chain"),
    ]


finding("GRP-05", "a chain whose id is held already is never used", body)
