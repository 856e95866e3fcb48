"""The identity policy: every answer, and every way in which a callback misbehaves (IDC-02, IDC-10)."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pawl import Decision, Device, IdentityPolicy, MemoryStore, ProtocolError, PublicKey, SQLiteStore, Store
from pawl.identity import CallbackTrouble
from tests.devices import ALICE, BOB, Party, talk

KEYS = [Party(BOB, seed=seed).device.identity_key for seed in "12"]
OLD, NEW = KEYS


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(ProtocolError) as caught:
        call()
    return caught.value.code


def replacing(*answers: object) -> IdentityPolicy:
    """A policy that gives these answers to mismatches, one after the other."""
    left = list(answers)
    return IdentityPolicy(on_mismatch=lambda *_: left.pop(0))  # type: ignore[arg-type,return-value]


# -- by itself --------------------------------------------------------------------------------------------------------


def test_no_callback_refuses_a_mismatch() -> None:
    """IDC-01: without a recorded decision another identity is refused, whatever a first use may do."""
    for policy in (IdentityPolicy(), IdentityPolicy(on_first_use=lambda *_: True)):
        assert code_of(lambda policy=policy: policy.decide("bob", OLD, NEW)) == "untrusted-identity"


def test_mismatch_is_asked_with_everything() -> None:
    """The callback gets the name, the pinned key and the new one; REPLACE approves."""
    asked: list[tuple[str, PublicKey, PublicKey]] = []

    def answer(name: str, pinned: PublicKey, key: PublicKey) -> Decision:
        asked.append((name, pinned, key))
        return Decision.REPLACE

    IdentityPolicy(on_mismatch=answer).decide("bob", OLD, NEW)
    assert asked == [("bob", OLD, NEW)]


@pytest.mark.parametrize("answer", [Decision.REJECT, True, None, "replace", 1], ids=str)
def test_anything_but_replace_rejects(answer: object) -> None:
    """An answer that is not a plain REPLACE refuses; one that is no Decision at all is told as a fault."""
    with pytest.raises(ProtocolError) as caught:
        replacing(answer).decide("bob", OLD, NEW)
    assert caught.value.code == "untrusted-identity"
    assert isinstance(caught.value, CallbackTrouble) is (answer is not Decision.REJECT)


@pytest.mark.parametrize("answer", [False, None, 1, Decision.REPLACE], ids=str)
def test_anything_but_true_declines(answer: object) -> None:
    """The same for a first use: only True approves."""
    policy = IdentityPolicy(on_first_use=lambda *_: answer)  # type: ignore[arg-type,return-value]
    with pytest.raises(ProtocolError) as caught:
        policy.decide("bob", None, NEW)
    assert isinstance(caught.value, CallbackTrouble) is (answer is not False)


@pytest.mark.parametrize("seconds", [10.0, None])
def test_a_callback_that_raises(seconds: float | None) -> None:
    """IDC-10: its exception is the refusal's cause; its text is not in the refusal's."""
    trouble = RuntimeError("the application's secret")

    def fail(*_: object) -> bool:
        raise trouble

    policy = IdentityPolicy(on_first_use=fail, on_mismatch=fail, callback_seconds=seconds)  # type: ignore[arg-type]
    for pinned in (None, OLD):
        with pytest.raises(CallbackTrouble) as caught:
            policy.decide("bob", pinned, NEW)
        assert caught.value.callback == ("on_first_use" if pinned is None else "on_mismatch")
        assert caught.value.why == "raised"
        assert caught.value.__cause__ is trouble
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("seconds", [10.0, None])
def test_an_interrupt_goes_through(seconds: float | None) -> None:
    """What is no Exception is not an answer: it reaches the caller as it is, from the callback's thread too."""

    def interrupt(*_: object) -> bool:
        raise KeyboardInterrupt

    policy = IdentityPolicy(on_first_use=interrupt, callback_seconds=seconds)
    with pytest.raises(KeyboardInterrupt):
        policy.decide("bob", None, NEW)


def test_a_callback_that_takes_too_long() -> None:
    """IDC-10: after the stated time the identity is refused; an answer that comes later counts for nothing."""
    released = threading.Event()
    answered = threading.Event()

    def slow(*_: object) -> bool:
        released.wait(60)
        answered.set()
        return True

    policy = IdentityPolicy(on_first_use=slow, callback_seconds=0.05)
    with pytest.raises(CallbackTrouble) as caught:
        policy.decide("bob", None, NEW)
    assert caught.value.why == "timed-out"
    released.set()
    assert answered.wait(60)


def test_where_callbacks_run() -> None:
    """In a thread of their own with the caller's context; without a limit, in the caller's thread.

    The thread of their own does not keep a program from ending.
    """
    user = contextvars.ContextVar("user", default="nobody")
    user.set("erin")
    seen: list[tuple[bool, bool, str]] = []

    def note(*_: object) -> bool:
        thread = threading.current_thread()
        seen.append((thread is here, thread.daemon, user.get()))
        return True

    here = threading.current_thread()
    IdentityPolicy(on_first_use=note).decide("bob", None, NEW)
    IdentityPolicy(on_first_use=note, callback_seconds=None).decide("bob", None, NEW)
    assert seen == [(False, True, "erin"), (True, here.daemon, "erin")]


@pytest.mark.parametrize(
    "wrong",
    [
        {"trust_on_first_use": 1},
        {"on_first_use": "yes"},
        {"on_mismatch": Decision.REPLACE},
        *({"callback_seconds": value} for value in (0, -1.0, "10", True, float("nan"), float("inf"), 10**30)),
    ],
    ids=str,
)
def test_wrong_policies(wrong: dict[str, Any]) -> None:
    """A policy that could not be followed is refused when it is made."""
    assert code_of(lambda: IdentityPolicy(**wrong)) == "invalid-argument"


# -- in a device ------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "alice.db")
    yield made
    made.close()


def reinstalled(policy: IdentityPolicy, store: Store) -> tuple[Device, Party, Party]:
    """Alice, who talked to Bob, and Bob before and after he lost his store."""
    alice, old, new = Device(store, identity_policy=policy), Party(BOB, seed="old"), Party(BOB, seed="new")
    alice.establish(BOB, old.device.prekey_bundle())
    old.device.decrypt(ALICE, alice.encrypt(BOB, b"to the old one"))
    alice.decrypt(BOB, old.device.encrypt(ALICE, b"from the old one"))
    return alice, old, new


def test_replacing_by_a_bundle(store: Store) -> None:
    """IDC-01, IDC-08: after REPLACE the new identity is pinned, and the old sessions neither encrypt nor decrypt."""
    alice, old, new = reinstalled(replacing(Decision.REPLACE), store)
    late = old.device.encrypt(ALICE, b"late")
    alice.establish(BOB, new.device.prekey_bundle())
    assert alice.pinned_identity("bob") == new.device.identity_key
    assert new.device.decrypt(ALICE, alice.encrypt(BOB, b"to the new one")) == b"to the new one"
    assert code_of(lambda: alice.decrypt(BOB, late)) == "bad-mac"


def test_replacing_by_a_message(store: Store) -> None:
    """The same where the new identity comes with a prekey message; the plaintext comes out."""
    alice, _, new = reinstalled(replacing(Decision.REPLACE), store)
    new.device.establish(ALICE, alice.prekey_bundle())
    assert alice.decrypt(BOB, new.device.encrypt(ALICE, b"it is me")) == b"it is me"
    assert alice.pinned_identity("bob") == new.device.identity_key
    assert new.device.decrypt(ALICE, alice.encrypt(BOB, b"answer")) == b"answer"


@pytest.mark.parametrize("answer", [Decision.REJECT, "nonsense"])
def test_rejecting_changes_nothing(store: Store, answer: object) -> None:
    """A rejected identity leaves pin, sessions and prekeys as they were: the old peer goes on talking."""
    alice, old, new = reinstalled(replacing(answer, answer), store)
    new.device.establish(ALICE, alice.prekey_bundle())
    message = new.device.encrypt(ALICE, b"it is me")
    assert code_of(lambda: alice.decrypt(BOB, message)) == "untrusted-identity"
    assert code_of(lambda: alice.establish(BOB, new.device.prekey_bundle())) == "untrusted-identity"
    assert alice.pinned_identity("bob") == old.device.identity_key
    assert alice.prekey_count() == 1
    assert old.device.decrypt(ALICE, alice.encrypt(BOB, b"still you")) == b"still you"


def test_junk_asks_no_question(store: Store) -> None:
    """IDC-06: a mismatch is asked about only after the message that carries it is authenticated."""
    policy = IdentityPolicy(on_mismatch=lambda *_: pytest.fail("asked about junk"))
    alice, _, new = reinstalled(policy, store)
    new.device.establish(ALICE, alice.prekey_bundle())
    message = new.device.encrypt(ALICE, b"it is me")
    data = bytearray(message.serialized)
    # The last byte of the inner MAC: behind it stand the registration id and the signed prekey id.
    at = data.rindex(b"\x28") - 1
    data[at] ^= 1
    assert code_of(lambda: alice.decrypt(BOB, type(message)(message.type, bytes(data)))) == "bad-mac"


def test_an_answer_counts_for_its_question_only(store: Store) -> None:
    """A decision that came meanwhile outdates the answer: it was given about another pinned identity."""
    third = Party(BOB, seed="third").device.identity_key
    devices: list[Device] = []

    def answer(name: str, pinned: PublicKey, key: PublicKey) -> Decision:
        devices[0].trust_identity(name, third)
        return Decision.REPLACE

    alice, _, new = reinstalled(IdentityPolicy(on_mismatch=answer), store)
    devices.append(alice)
    assert code_of(lambda: alice.establish(BOB, new.device.prekey_bundle())) == "untrusted-identity"
    assert alice.pinned_identity("bob") == third


def test_a_callback_may_use_the_library(store: Store) -> None:
    """IDC-10: it runs outside any transaction, in whichever thread: encrypting, decrypting, deciding all work."""
    seen: list[bytes] = []
    devices: list[Device] = []

    def answer(name: str, pinned: PublicKey, key: PublicKey) -> Decision:
        alice = devices[0]
        old.device.decrypt(ALICE, alice.encrypt(BOB, b"someone claims to be you"))
        seen.append(alice.decrypt(BOB, old.device.encrypt(ALICE, b"that is me, on a new phone")))
        alice.trust_identity(name, key)
        return Decision.REPLACE

    alice, old, new = reinstalled(IdentityPolicy(on_mismatch=answer), store)
    devices.append(alice)
    alice.establish(BOB, new.device.prekey_bundle())
    assert seen == [b"that is me, on a new phone"]
    assert new.device.decrypt(ALICE, alice.encrypt(BOB, b"hello")) == b"hello"


def test_a_slow_callback_blocks_its_caller_only(store: Store) -> None:
    """IDC-10: while one caller waits for an answer, others use the store; afterwards the state is whole."""
    waiting = threading.Event()
    released = threading.Event()

    def slow(*_: object) -> Decision:
        waiting.set()
        released.wait(60)
        return Decision.REPLACE

    alice, old, new = reinstalled(IdentityPolicy(on_mismatch=slow, callback_seconds=60), store)
    bundle = new.device.prekey_bundle()
    caller = threading.Thread(target=lambda: alice.establish(BOB, bundle))
    caller.start()
    assert waiting.wait(60)
    assert old.device.decrypt(ALICE, alice.encrypt(BOB, b"meanwhile")) == b"meanwhile"
    released.set()
    caller.join(60)
    assert alice.pinned_identity("bob") == new.device.identity_key


def test_a_late_answer_is_no_decision(store: Store) -> None:
    """After the limit the identity is refused; the answer that comes later pins nothing."""
    released = threading.Event()

    def slow(*_: object) -> Decision:
        released.wait(60)
        return Decision.REPLACE

    alice, old, new = reinstalled(IdentityPolicy(on_mismatch=slow, callback_seconds=0.05), store)
    started = time.monotonic()
    assert code_of(lambda: alice.establish(BOB, new.device.prekey_bundle())) == "untrusted-identity"
    assert time.monotonic() - started < 30
    released.set()
    for thread in threading.enumerate():
        if thread.name.startswith("pawl "):
            thread.join(60)
    assert alice.pinned_identity("bob") == old.device.identity_key
    assert old.device.decrypt(ALICE, alice.encrypt(BOB, b"still you")) == b"still you"


def test_one_name_everywhere(store: Store) -> None:
    """IDC-07: the same peer and key are asked about under the same name, by bundle and by message."""
    asked: list[tuple[str, PublicKey]] = []

    def approve(name: str, key: PublicKey) -> bool:
        asked.append((name, key))
        return False

    alice, bob = Device(store, identity_policy=IdentityPolicy(on_first_use=approve)), Party(BOB)
    code_of(lambda: alice.establish(BOB, bob.device.prekey_bundle()))
    bob.device.establish(ALICE, alice.prekey_bundle())
    message = bob.device.encrypt(ALICE, b"text")
    code_of(lambda: alice.decrypt(BOB, message))
    assert asked == [("bob", bob.device.identity_key)] * 2


def test_talking_goes_on_after_a_replacement() -> None:
    """CTR-08: both directions, with ratchet steps, after the replacement."""
    alice, bob = Party(ALICE, replacing(Decision.REPLACE)), Party(BOB)
    alice.meet(bob)
    talk(alice, bob)
    again = Party(BOB, seed="again")
    alice.meet(again)
    talk(alice, again)
    talk(alice, again)
