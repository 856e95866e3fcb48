"""Events: what an operator is told, when, and that telling changes nothing."""

from __future__ import annotations

import inspect
import logging
import re
from typing import Any

import pytest

from pawl import Device, IdentityPolicy, ProtocolAddress, ProtocolError, events
from pawl.events import Event, OnEvent
from pawl.identity import Decision
from pawl.limits import LOW_PREKEYS, MAX_ARCHIVED_SESSIONS, MAX_SKIPPED_KEYS_PER_CHAIN, SIGNED_PREKEY_GRACE_SECONDS
from tests.devices import ALICE, BOB, Party, flipped, talk

CAROL = ProtocolAddress("carol", 1)


class Watched(Party):
    """A party whose events are noted."""

    def __init__(self, address: ProtocolAddress, policy: IdentityPolicy | None = None, seed: str = "") -> None:
        self.told: list[Event] = []
        self.on_event: OnEvent = self.told.append
        super().__init__(address, policy, seed)

    def restarted(self) -> Device:
        self.device = Device(
            self.store,
            identity_policy=self.policy,
            on_event=lambda event: self.on_event(event),
            rng=self.random,
            clock=lambda: self.now,
        )
        return self.device

    def names(self) -> list[str]:
        """What was told since the last call, by name."""
        names = [event.name for event in self.told]
        self.told.clear()
        return names


def kinds() -> list[type[Event]]:
    return [kind for _, kind in inspect.getmembers(events, inspect.isclass) if issubclass(kind, Event)]


def watched_pair() -> tuple[Watched, Watched]:
    return Watched(ALICE), Watched(BOB)


def test_names_are_stable_and_unique() -> None:
    """One name, one event; each is kebab-case, and its level is one of the standard library's."""
    names = [kind.name for kind in kinds()]
    assert len(names) == len(set(names))
    assert all(re.fullmatch("[a-z]+(-[a-z]+)*", name) for name in names)
    assert all(logging.getLevelName(kind.level) in ("DEBUG", "INFO", "WARNING", "ERROR") for kind in kinds())


def test_life_of_a_session() -> None:
    """Pinning, establishing, archiving: each is told to the side where it happens, in order."""
    alice, bob = watched_pair()
    bundle = bob.device.prekey_bundle()
    assert bob.names() == ["signed-prekey-rotated", "prekeys-generated"]
    alice.device.establish(BOB, bundle)
    assert alice.names() == ["identity-pinned", "session-established"]
    bob.take(alice, alice.send(bob))
    assert bob.names() == ["identity-pinned", "prekey-spent", "prekeys-low", "session-established"]
    talk(alice, bob)
    # Bob's answer is the first message of a new chain.
    assert (alice.names(), bob.names()) == (["ratchet-step"], [])
    alice.meet(bob, one_time=False)
    assert alice.told == [events.SessionArchived(BOB), events.SessionEstablished(BOB, "initiator", False)]
    bob.names()
    bob.take(alice, alice.send(bob))
    assert bob.told == [events.SessionArchived(ALICE), events.SessionEstablished(ALICE, "responder", False)]


def test_promotion_and_drops() -> None:
    """An archived session that the peer uses again, and one that goes over the limit, are told."""
    alice, bob = watched_pair()
    alice.meet(bob)
    bob.meet(alice)
    crossing = alice.send(bob), bob.send(alice)
    bob.take(alice, crossing[0])
    alice.take(bob, crossing[1])
    talk(alice, bob)
    assert "session-promoted" in alice.names() + bob.names()
    for _ in range(MAX_ARCHIVED_SESSIONS):
        alice.meet(bob)
    assert "session-dropped" in alice.names()


def test_dropped_keys_are_counted() -> None:
    """Keys that the limit pushes out are told with their number: their messages are lost."""
    alice, bob = watched_pair()
    alice.meet(bob)
    talk(alice, bob)
    bob.take(alice, [alice.send(bob) for _ in range(11)][-1])
    bob.names()
    last = [alice.send(bob) for _ in range(MAX_SKIPPED_KEYS_PER_CHAIN)][-1]
    bob.take(alice, last)
    assert bob.told == [events.KeysDropped(ALICE, 9)]


def test_refused_messages_are_told_with_their_code() -> None:
    """A refusal is told after the rollback, with its code and nothing of the message."""
    alice, bob = watched_pair()
    alice.meet(bob)
    talk(alice, bob)
    bob.names()
    message = alice.send(bob)
    with pytest.raises(ProtocolError):
        bob.take(alice, flipped(message))
    assert bob.told == [events.MessageRefused(ALICE, "bad-mac")]
    bob.take(alice, message)
    bob.told.clear()
    with pytest.raises(ProtocolError):
        bob.take(alice, message)
    assert bob.told == [events.MessageRefused(ALICE, "duplicate-message")]


def test_events_of_a_rolled_back_call_are_not_told() -> None:
    """What was rolled back did not happen: a refused first message tells of no pin, session or spent prekey."""
    alice, bob = watched_pair()
    alice.meet(bob)
    bob.policy = IdentityPolicy(trust_on_first_use=False)
    bob.restarted()
    bob.names()
    with pytest.raises(ProtocolError):
        bob.take(alice, alice.send(bob))
    assert bob.names() == ["identity-rejected", "message-refused"]


def test_identities() -> None:
    """A pin says how it came about, a replacement how many sessions it retired, over all devices of the name."""
    alice, bob, carol = *watched_pair(), Watched(CAROL)
    key = carol.device.identity_key
    alice.device.trust_identity("bob", bob.device.identity_key)
    assert alice.told == [events.IdentityPinned("bob", bob.device.identity_key, "decision")]
    alice.meet(bob)
    alice.meet(bob)
    alice.device.establish(ProtocolAddress("bob", 2), bob.device.prekey_bundle(device_id=2))
    alice.told.clear()
    alice.device.trust_identity("bob", bob.device.identity_key)
    assert alice.told == []
    alice.device.trust_identity("bob", key)
    assert alice.told == [events.IdentityReplaced("bob", bob.device.identity_key, key, "decision", 3)]
    alice.told.clear()
    with pytest.raises(ProtocolError):
        alice.device.establish(BOB, bob.device.prekey_bundle())
    assert alice.told == [events.IdentityRejected("bob", bob.device.identity_key, key)]


def test_answers_and_failures_of_callbacks() -> None:
    """An approved first use, a replaced identity and a callback that fails are told as what they are."""
    answers: list[Any] = [True, Decision.REPLACE, Decision.REJECT, "nonsense"]
    policy = IdentityPolicy(on_first_use=lambda *_: answers.pop(0), on_mismatch=lambda *_: answers.pop(0))
    alice = Watched(ALICE, policy)
    first, second, third = Party(BOB), Party(BOB, seed="2"), Party(BOB, seed="3")
    alice.meet(first)
    alice.meet(second)
    assert [type(event) for event in alice.told] == [
        events.IdentityPinned,
        events.SessionEstablished,
        events.IdentityReplaced,
        events.SessionArchived,
        events.SessionEstablished,
    ]
    alice.told.clear()
    for expected in (["identity-rejected"], ["callback-failed", "identity-rejected"]):
        with pytest.raises(ProtocolError):
            alice.meet(third)
        assert alice.names() == expected


def test_forgetting() -> None:
    """Forgotten sessions are counted; where there is nothing to forget, nothing is told."""
    alice, bob = watched_pair()
    alice.meet(bob)
    alice.meet(bob)
    alice.names()
    alice.device.forget_session(BOB)
    assert alice.told == [events.SessionsForgotten(BOB, 2)]
    alice.told.clear()
    alice.device.forget_session(BOB)
    assert alice.told == []


def test_a_deleted_signed_prekey() -> None:
    """What is deleted after its grace is told, once, by its id (KEY-07)."""
    bob = Watched(BOB)
    former = bob.device.signed_prekey().id
    bob.device.rotate_signed_prekey()
    bob.now += SIGNED_PREKEY_GRACE_SECONDS + 1
    bob.names()
    for expected in ([events.SignedPreKeyDeleted(former)], []):
        bob.device.maintain(rotate_after=2**40)
        assert bob.told == expected
        bob.told.clear()


def test_low_prekeys() -> None:
    """Below the threshold each spent prekey says how many are left, above it none does."""
    alice, bob = watched_pair()
    bob.device.generate_prekeys(LOW_PREKEYS)
    for left in (LOW_PREKEYS, LOW_PREKEYS):
        bob.names()
        alice.meet(bob)
        bob.take(alice, alice.send(bob))
        assert bob.device.prekey_count() == left
        assert "prekeys-low" not in bob.names()
    bundle = bob.device.prekey_bundle()
    with bob.store.transaction() as tx:
        for key, row in tx.scan(events_table(), b"")[:2]:
            tx.delete(events_table(), key, version=row.version)
    alice.device.establish(BOB, bundle)
    bob.take(alice, alice.send(bob))
    assert events.PreKeysLow(LOW_PREKEYS - 2) in bob.told


def test_rotation() -> None:
    """A rotation tells the new signed prekey and the one that it supersedes; the first one supersedes none."""
    _, bob = watched_pair()
    for _ in range(2):
        bob.device.rotate_signed_prekey()
    assert bob.told == [events.SignedPreKeyRotated(1, None), events.SignedPreKeyRotated(2, 1)]


def events_table() -> Any:
    from pawl.storage.contract import Table

    return Table.PREKEY


# -- telling ----------------------------------------------------------------------------------------------------------


def test_standard_logging(caplog: pytest.LogCaptureFixture) -> None:
    """Without a callback, events go to the logger "pawl" at their level, each with the event itself."""
    caplog.set_level(logging.DEBUG, logger="pawl")
    alice, bob = Party(ALICE), Party(BOB)
    alice.meet(bob)
    told = [record.pawl_event for record in caplog.records]  # type: ignore[attr-defined]
    assert [event.name for event in told] == [
        "signed-prekey-rotated",
        "prekeys-generated",
        "identity-pinned",
        "session-established",
    ]
    assert [record.levelno for record in caplog.records] == [event.level for event in told]
    assert all(record.getMessage() == str(event) for record, event in zip(caplog.records, told, strict=True))


def test_a_silent_program_stays_silent(capsys: pytest.CaptureFixture[str]) -> None:
    """A library prints nothing by itself, not even warnings."""
    assert any(isinstance(handler, logging.NullHandler) for handler in events.LOGGER.handlers)


def test_one_line_each() -> None:
    """A name that holds a line break cannot fake a line of a log."""
    evil = ProtocolAddress("bob\nidentity-pinned: peer_name='alice'", 1)
    assert str(events.MessageRefused(evil, "bad-mac")).count("\n") == 0
    alice = Party(ALICE)
    key = alice.device.identity_key
    text = str(events.IdentityPinned("a\nb", key, "decision"))
    assert text == f"identity-pinned: peer_name='a\\nb' key={key.data.hex()} how='decision'"


@pytest.mark.parametrize("logged", [False, True])
def test_a_receiver_that_raises_changes_nothing(logged: bool, caplog: pytest.LogCaptureFixture) -> None:
    """By then the step is committed: a failing receiver must not make a success look like a failure (IDC-10)."""

    def fail(event: Event) -> None:
        raise RuntimeError("a secret of the application")

    class Failing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if hasattr(record, "pawl_event"):
                raise RuntimeError("a secret of the application")

    bob = Party(BOB) if logged else Watched(BOB)
    if isinstance(bob, Watched):
        bob.on_event = fail
    handler = Failing()
    events.LOGGER.addHandler(handler)
    try:
        alice = Watched(ALICE)
        alice.meet(bob)
        assert bob.take(alice, alice.send(bob)) == b"text"
        talk(alice, bob)
    finally:
        events.LOGGER.removeHandler(handler)
    said = [record.getMessage() for record in caplog.records if not hasattr(record, "pawl_event")]
    assert "the receiver of events failed at prekeys-low: RuntimeError" in said
    assert not any("secret" in line for line in said)


def test_a_receiver_may_call_back() -> None:
    """Events are told outside any transaction: a receiver may use the device, and sees the step as done (IDC-10)."""
    alice, bob = watched_pair()
    alice.meet(bob)
    answers = []

    def answer(event: Event) -> None:
        if isinstance(event, events.SessionEstablished):
            answers.append(bob.device.encrypt(event.peer, b"hello back"))

    bob.on_event = answer
    assert bob.take(alice, alice.send(bob)) == b"text"
    assert alice.take(bob, answers[0]) == b"hello back"


def test_wrong_receiver() -> None:
    """A receiver that cannot be called is refused when the device is opened."""
    with pytest.raises(ProtocolError) as caught:
        Device(Party(ALICE).store, on_event="log")  # type: ignore[arg-type]
    assert caught.value.code == "invalid-argument"
