"""The application's own rows, and the hook that stores a plaintext in the transaction of its message."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pawl import (
    ApplicationRows,
    Device,
    EncryptedMessage,
    Event,
    IdentityPolicy,
    MemoryStore,
    ProtocolAddress,
    ProtocolError,
    SQLiteStore,
    Store,
)
from pawl import events as told_events
from pawl.errors import ApplicationCallbackFailed, CorruptStore, InvalidArgument, StorageError, StoreBusy
from pawl.limits import (
    MAX_APPLICATION_KEY_BYTES,
    MAX_APPLICATION_VALUE_BYTES,
    MAX_PLAINTEXT_BYTES,
    MAX_RECORD_BYTES,
)
from pawl.storage.contract import Table
from tests.devices import ALICE, BOB, Party, flipped, talk

ROOT = Path(__file__).resolve().parent.parent
FIRST = MAX_RECORD_BYTES - 4
"""Bytes of a value that its head holds: a record less the four bytes of the length."""

SIZES = (0, 1, FIRST - 1, FIRST, FIRST + 1, FIRST + MAX_RECORD_BYTES, FIRST + MAX_RECORD_BYTES + 1)
SIZES += (MAX_PLAINTEXT_BYTES, MAX_APPLICATION_VALUE_BYTES)


def pattern(size: int) -> bytes:
    """Bytes that differ from place to place."""
    return (b"%d." % size + bytes(range(251)) * (size // 251 + 1))[:size]


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store of each kind; a second writer of it is refused at once."""
    made: Store = (
        MemoryStore(busy_timeout=0) if request.param == "memory" else SQLiteStore(tmp_path / "bob.db", busy_timeout=0)
    )
    yield made
    made.close()


# -- rows -------------------------------------------------------------------------------------------------------------


def physical(store: Store) -> list[bytes]:
    """The keys of the application's rows as the store holds them."""
    with store.transaction() as tx:
        return [key for key, _ in tx.scan(Table.APPLICATION, b"")]


def test_rows_are_kept(store: Store) -> None:
    """What one block writes the next one finds: a value of any size up to the limit, one after the other in a row."""
    device = Device(store)
    for size in (*SIZES, *reversed(SIZES)):
        with device.application_rows() as rows:
            rows.put(b"key", pattern(size))
            assert rows.get(b"key") == pattern(size)
        with device.application_rows() as rows:
            assert rows.get(b"key") == pattern(size)
            assert rows.scan() == [(b"key", pattern(size))]
    # The last one was empty: nothing of the longer ones before it is left.
    assert len(physical(store)) == 1


def test_rows_are_deleted(store: Store) -> None:
    """Deleting says whether there was something, and leaves nothing, whatever the size."""
    device = Device(store)
    for size in SIZES:
        with device.application_rows() as rows:
            rows.put(b"key", pattern(size))
            assert rows.delete(b"key") is True
            assert rows.delete(b"key") is False
            assert rows.get(b"key") is None
        assert physical(store) == []


KEYS = [b"", b"\0", b"\1", b"a", b"a\0", b"a\0\0", b"a\1", b"ab", b"b", b"\xff", b"k" * MAX_APPLICATION_KEY_BYTES]


def test_keys_are_any_bytes(store: Store) -> None:
    """Keys that begin like one another, with parts behind them or not, are not mixed up, and stand in their order."""
    device = Device(store)
    values = {key: pattern(FIRST + 7 + place) for place, key in enumerate(KEYS)}
    with device.application_rows() as rows:
        for key in reversed(KEYS):
            rows.put(key, values[key])
    with device.application_rows() as rows:
        assert rows.scan() == sorted(values.items())
        assert rows.scan(limit=3) == sorted(values.items())[:3]
        assert rows.scan(b"a") == [(key, values[key]) for key in sorted(KEYS) if key.startswith(b"a")]
        assert rows.scan(b"a", limit=0) == []
        assert rows.delete(b"a\0")
        assert {key for key, _ in rows.scan()} == set(KEYS) - {b"a\0"}


def test_rows_are_rolled_back(store: Store) -> None:
    """A block that raises has written nothing, and its exception comes out as it is."""
    device = Device(store)
    with device.application_rows() as rows:
        rows.put(b"key", b"old")

    def write() -> None:
        with device.application_rows() as rows:
            rows.put(b"key", b"new")
            rows.put(b"other", b"new")
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        write()
    with device.application_rows() as rows:
        assert rows.scan() == [(b"key", b"old")]


WRONG: list[Callable[[ApplicationRows], object]] = [
    lambda rows: rows.get("key"),  # type: ignore[arg-type]  # what is wrong with it
    lambda rows: rows.get(b"k" * (MAX_APPLICATION_KEY_BYTES + 1)),
    lambda rows: rows.put(bytearray(b"key"), b""),  # type: ignore[arg-type]  # what is wrong with it
    lambda rows: rows.put(b"key", None),  # type: ignore[arg-type]  # what is wrong with it
    lambda rows: rows.put(b"key", bytes(MAX_APPLICATION_VALUE_BYTES + 1)),
    lambda rows: rows.put(b"k" * (MAX_APPLICATION_KEY_BYTES + 1), b""),
    lambda rows: rows.delete(1),  # type: ignore[arg-type]  # what is wrong with it
    lambda rows: rows.delete(b"k" * (MAX_APPLICATION_KEY_BYTES + 1)),
    lambda rows: rows.scan("key"),  # type: ignore[arg-type]  # what is wrong with it
    lambda rows: rows.scan(b"k" * (MAX_APPLICATION_KEY_BYTES + 1)),
    lambda rows: rows.scan(limit=-1),
]


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_arguments(store: Store, wrong: Callable[[ApplicationRows], object]) -> None:
    """Wrong types and sizes are refused by name, and nothing is written."""
    device = Device(store)
    with device.application_rows() as rows:
        rows.put(b"key", b"value")
        with pytest.raises(InvalidArgument):
            wrong(rows)
    with device.application_rows() as rows:
        assert rows.scan() == [(b"key", b"value")]


HEAD, PART = b"\0key", b"\1\0\3key\0"
DAMAGES: list[tuple[bytes, Callable[[bytes], bytes | None]]] = [
    (HEAD, lambda head: b""),
    (HEAD, lambda head: head[:3]),
    (HEAD, lambda head: head[:-1]),
    (HEAD, lambda head: bytes([head[0] ^ 0x80]) + head[1:]),
    (HEAD, lambda head: (5).to_bytes(4, "big") + head[4:]),
    (HEAD, lambda head: len(head).to_bytes(4, "big") + head[4:]),
    (PART, lambda part: None),
    (PART, lambda part: part[:-1]),
]


@pytest.mark.parametrize(("place", "change"), DAMAGES)
def test_damage_is_refused(place: bytes, change: Callable[[bytes], bytes | None]) -> None:
    """ATM-06, PAR-05: a damaged row is refused by name, not taken for another value."""
    bob = Party(BOB)
    with bob.device.application_rows() as rows:
        rows.put(b"key", pattern(FIRST + 9))
    bob.put(Table.APPLICATION, place, change(bob.store.snapshot()[Table.APPLICATION][place].value))
    for read in (ApplicationRows.scan, lambda rows: rows.get(b"key")):
        with bob.refuses("corrupt-store"), bob.device.application_rows() as rows:
            read(rows)
        # Also where the block goes on as if nothing was.
        with bob.refuses("corrupt-store"), bob.device.application_rows() as rows:
            rows.put(b"other", b"value")
            with pytest.raises(CorruptStore):
                read(rows)


def test_a_row_whose_part_is_gone_is_not_deleted() -> None:
    """ATM-06: what is damaged is not overwritten and not deleted: the block is refused, and rolled back."""
    bob = Party(BOB)
    with bob.device.application_rows() as rows:
        rows.put(b"key", pattern(FIRST + 9))
    bob.put(Table.APPLICATION, PART, None)
    for write in (lambda rows: rows.delete(b"key"), lambda rows: rows.put(b"key", b"")):
        with bob.refuses("corrupt-store"), bob.device.application_rows() as rows:
            write(rows)


def test_rows_end_with_their_transaction(store: Store) -> None:
    """Whoever keeps the rows writes in nobody else's transaction: they are refused from its end on."""
    device = Device(store)
    with device.application_rows() as rows:
        pass
    for use in (rows.get, rows.delete, rows.scan, lambda key: rows.put(key, b"")):
        with pytest.raises(StorageError, match="has ended"):
            use(b"key")
        with device.application_rows(), pytest.raises(StorageError, match="has ended"):
            use(b"key")
    assert physical(store) == []


# -- the hook ---------------------------------------------------------------------------------------------------------

Hook = Callable[[ProtocolAddress, bytes, ApplicationRows], Any]


class Receiver:
    """Bob, whose application stores what he reads; Alice writes to him."""

    def __init__(self, store: Store, hook: Hook, policy: IdentityPolicy | None = None) -> None:
        self.store, self.hook, self.policy = store, hook, IdentityPolicy() if policy is None else policy
        self.told: list[Event] = []
        self.calls: list[tuple[ProtocolAddress, bytes]] = []
        self.device = self.opened()
        self.alice = Device(MemoryStore())
        self.alice.establish(BOB, self.device.prekey_bundle())
        self.told.clear()

    def opened(self) -> Device:
        return Device(self.store, identity_policy=self.policy, store_plaintext=self._hook, on_event=self.told.append)

    def _hook(self, peer: ProtocolAddress, plaintext: bytes, rows: ApplicationRows) -> Any:
        self.calls.append((peer, plaintext))
        return self.hook(peer, plaintext, rows)

    def send(self, plaintext: bytes = b"text") -> EncryptedMessage:
        return self.alice.encrypt(BOB, plaintext)

    def take(self, message: EncryptedMessage) -> bytes:
        return self.device.decrypt(ALICE, message)

    def answer(self) -> None:
        """From here on Alice sends messages that build no session."""
        self.alice.decrypt(BOB, self.device.encrypt(ALICE, b"answer"))

    def found(self) -> list[bytes]:
        with self.device.application_rows() as rows:
            return [value for _, value in rows.scan()]

    def everything(self) -> dict[tuple[Table, bytes], object]:
        with self.store.transaction() as tx:
            return {(table, key): row for table in Table for key, row in tx.scan(table, b"")}


def keep(peer: ProtocolAddress, plaintext: bytes, rows: ApplicationRows) -> None:
    """An honest hook: one row for each message, in order."""
    del peer
    rows.put(len(rows.scan()).to_bytes(4, "big"), plaintext)


def test_plaintexts_are_stored(store: Store) -> None:
    """Architecture, decision 1: each message that is read is in the store, for first messages and later ones."""
    bob = Receiver(store, keep)
    texts = [b"first", b"", b"second first", pattern(MAX_PLAINTEXT_BYTES)]
    assert [bob.take(bob.send(text)) for text in texts] == texts
    bob.answer()
    assert bob.take(bob.send(b"later")) == b"later"
    assert bob.found() == [*texts, b"later"]
    assert bob.calls == [(ALICE, text) for text in [*texts, b"later"]]


def test_the_hook_hears_of_no_message_that_is_refused(store: Store) -> None:
    """Only what is authentic and read for the first time comes to the hook."""
    bob = Receiver(store, keep)
    first = bob.send(b"first")
    bob.take(first)
    bob.answer()
    later = bob.send(b"later")
    for refused in (first, flipped(later)):
        with pytest.raises(ProtocolError):
            bob.take(refused)
    bob.take(later)
    assert bob.found() == [b"first", b"later"]
    assert len(bob.calls) == 2


@pytest.mark.parametrize("answer", [True, False])
def test_the_hook_waits_for_the_identity(store: Store, answer: bool) -> None:
    """A message whose identity is asked about comes to the hook once, and only if the identity is approved."""
    bob = Receiver(store, keep, IdentityPolicy(on_first_use=lambda name, key: answer))
    message = bob.send()
    if answer:
        bob.take(message)
    else:
        with pytest.raises(ProtocolError) as refused:
            bob.take(message)
        assert refused.value.code == "untrusted-identity"
    assert len(bob.calls) == answer
    assert len(bob.found()) == answer


class Broken(Exception):
    """What a hook raises that is broken."""


def failing(hook: Hook) -> Hook:
    """A hook that stores the plaintext as it should, and then does `hook`."""

    def both(peer: ProtocolAddress, plaintext: bytes, rows: ApplicationRows) -> Any:
        keep(peer, plaintext, rows)
        return hook(peer, plaintext, rows)

    return both


def broken(peer: ProtocolAddress, plaintext: bytes, rows: ApplicationRows) -> None:
    """A hook that raises, with the plaintext in its own words."""
    raise Broken(plaintext)


async def later(peer: ProtocolAddress, plaintext: bytes, rows: ApplicationRows) -> None:
    """A hook that nobody awaits."""


def too_long(peer: ProtocolAddress, plaintext: bytes, rows: ApplicationRows) -> None:
    """A hook that is refused what it does, and does not see to it."""
    rows.put(b"key", bytes(MAX_APPLICATION_VALUE_BYTES + 1))


FAILING: list[tuple[Hook, str, type[Exception] | None]] = [
    (broken, "raised", Broken),
    (too_long, "raised", InvalidArgument),
    (lambda *_: False, "bad-answer", None),
    (lambda *_: b"plaintext", "bad-answer", None),
]


@pytest.mark.parametrize("first", [True, False], ids=["first message", "later message"])
@pytest.mark.parametrize(("hook", "why", "cause"), FAILING)
def test_a_hook_that_fails(store: Store, hook: Hook, why: str, cause: type[Exception] | None, first: bool) -> None:
    """IDC-10: the message is refused by name, everything is as it was, and it can be read later."""
    bob = Receiver(store, keep)
    kept: list[bytes] = []
    if not first:
        bob.take(bob.send(kept_text := b"before"))
        kept.append(kept_text)
        bob.answer()
    message = bob.send(b"the plaintext")
    bob.told.clear()
    before = bob.everything()
    bob.hook = failing(hook)
    for _ in range(2):
        with pytest.raises(ApplicationCallbackFailed) as refused:
            bob.take(message)
        assert refused.value.code == "callback-failed"
        assert type(refused.value.__cause__) is (type(None) if cause is None else cause)
        assert "the plaintext" not in f"{refused.value} {refused.value!r}"
        assert bob.told == [
            told_events.CallbackFailed("store_plaintext", why),
            told_events.MessagesRolledBack(ALICE, 1),
            told_events.MessageRefused(ALICE, "callback-failed"),
        ]
        assert bob.everything() == before
        bob.told.clear()
    # Another device on the same store, as after a restart: what it remembers is what is stored.
    bob.hook, bob.device = keep, bob.opened()
    assert bob.take(message) == b"the plaintext"
    assert bob.found() == [*kept, b"the plaintext"]


@pytest.mark.filterwarnings("ignore:coroutine 'later' was never awaited:RuntimeWarning")
def test_a_hook_that_would_have_to_be_awaited(store: Store) -> None:
    """A coroutine function stores nothing when it is called: its message is refused, not lost."""
    bob = Receiver(store, later)
    message = bob.send()
    with pytest.raises(ApplicationCallbackFailed):
        bob.take(message)
    bob.hook = keep
    assert bob.take(message) == b"text"


def test_what_is_no_exception_goes_through(store: Store) -> None:
    """An interrupt is no refusal: it reaches the caller as it is, and everything is rolled back."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    bob = Receiver(store, failing(interrupted))
    message, before = bob.send(), bob.everything()
    with pytest.raises(KeyboardInterrupt):
        bob.take(message)
    assert bob.everything() == before
    bob.hook = keep
    bob.take(message)
    assert bob.found() == [b"text"]


def calls(device: Device, message: EncryptedMessage) -> list[Callable[[], object]]:
    """Whatever of a device uses its store; `message` is one that it could read."""
    return [
        lambda: device.encrypt(ALICE, b"from inside"),
        lambda: device.decrypt(ALICE, message),
        lambda: device.establish(ALICE, Device(MemoryStore()).prekey_bundle()),
        lambda: device.trust_identity("alice", device.identity_key),
        lambda: device.pinned_identity("alice"),
        lambda: device.forget_session(ALICE),
        lambda: device.has_session(ALICE),
        lambda: device.signed_prekey(),
        lambda: device.rotate_signed_prekey(),
        lambda: device.generate_prekeys(1),
        lambda: device.prekey_count(),
        lambda: device.maintain(),
        lambda: device.prekey_bundle(),
        lambda: device.application_rows().__enter__(),
    ]


@pytest.mark.parametrize("elsewhere", [False, True], ids=["in its thread", "in another thread"])
def test_a_hook_that_calls_the_library(store: Store, elsewhere: bool) -> None:
    """IDC-10: no call from inside a hook waits for ever; each is refused by name and changes nothing.

    A hook that sees to the refusal has stored its plaintext all the same.
    """
    refusals: list[ProtocolError] = []

    def call_all() -> None:
        for call in calls(bob.device, message):
            with pytest.raises(StorageError) as refused:
                call()
            refusals.append(refused.value)

    def hook(peer: ProtocolAddress, plaintext: bytes, rows: ApplicationRows) -> None:
        keep(peer, plaintext, rows)
        if not elsewhere:
            call_all()
            return
        thread = threading.Thread(target=call_all)
        thread.start()
        thread.join()

    bob = Receiver(store, hook)
    message = bob.send()
    assert bob.take(message) == b"text"
    assert len(refusals) == len(calls(bob.device, message))
    assert {type(refusal) for refusal in refusals} == {StoreBusy if elsewhere else StorageError}
    assert bob.found() == [b"text"]
    assert bob.device.prekey_count() == 0
    bob.answer()


def test_a_hook_whose_call_is_refused_fails(store: Store) -> None:
    """A hook that does not see to the refusal of its call has failed: nothing happened, and the message can be read."""
    bob = Receiver(store, failing(lambda *_: bob.device.encrypt(ALICE, b"from inside") and None))
    message, before = bob.send(), bob.everything()
    with pytest.raises(ApplicationCallbackFailed) as refused:
        bob.take(message)
    assert isinstance(refused.value.__cause__, StorageError)
    assert bob.everything() == before
    bob.hook = keep
    assert bob.take(message) == b"text"


@pytest.mark.parametrize("sees_to_it", [False, True])
def test_a_hook_whose_store_fails(sees_to_it: bool) -> None:
    """ATM-05: what the store refuses is refused by the store's name, whatever the hook makes of it; all is as before."""

    def hook(peer: ProtocolAddress, plaintext: bytes, rows: ApplicationRows) -> None:
        rows.put(b"another", plaintext)
        try:
            rows.put(b"key", plaintext)
        except CorruptStore:
            if not sees_to_it:
                raise KeyError(plaintext) from None

    bob, alice = Party(BOB), Party(ALICE)
    device = Device(bob.store, store_plaintext=hook)
    bob.put(Table.APPLICATION, HEAD, b"junk")
    alice.device.establish(BOB, device.prekey_bundle())
    message = alice.send(bob)
    with bob.refuses("corrupt-store"):
        device.decrypt(ALICE, message)
    bob.put(Table.APPLICATION, HEAD, None)
    assert device.decrypt(ALICE, message) == b"text"


def test_a_hook_that_takes_its_time(store: Store) -> None:
    """A hook has no time limit. Meanwhile others are refused, as by any writer that holds the store; then all goes on."""
    reached, released = threading.Event(), threading.Event()

    def slow(peer: ProtocolAddress, plaintext: bytes, rows: ApplicationRows) -> None:
        keep(peer, plaintext, rows)
        reached.set()
        assert released.wait(60)

    bob = Receiver(store, slow)
    message = bob.send()
    reader = threading.Thread(target=bob.take, args=(message,))
    reader.start()
    assert reached.wait(60)
    with pytest.raises(StoreBusy):
        bob.take(message)
    released.set()
    reader.join()
    assert bob.found() == [b"text"]


def test_a_hook_that_keeps_its_rows(store: Store) -> None:
    """The rows are of no use when the hook is over: not for the next message, and not between."""
    kept: list[ApplicationRows] = []

    def keeps(peer: ProtocolAddress, plaintext: bytes, rows: ApplicationRows) -> None:
        kept.append(rows)
        for old in kept[:-1]:
            with pytest.raises(StorageError, match="has ended"):
                old.put(b"late", plaintext)

    bob = Receiver(store, keeps)
    bob.take(bob.send())
    bob.take(bob.send())
    assert len(kept) == 2
    assert bob.found() == []


def test_a_hook_is_a_callable() -> None:
    """Anything else is refused before the store is touched."""
    with pytest.raises(InvalidArgument):
        Device(MemoryStore(), store_plaintext="hook")  # type: ignore[arg-type]  # what is wrong with it


def test_rows_without_a_hook() -> None:
    """The rows are there for an application that has no hook, and messages do not touch them."""
    alice, bob = Party(ALICE), Party(BOB)
    with bob.device.application_rows() as rows:
        rows.put(b"mine", b"value")
    alice.meet(bob)
    talk(alice, bob)
    with bob.device.application_rows() as rows:
        assert rows.scan() == [(b"mine", b"value")]


# -- crashes ----------------------------------------------------------------------------------------------------------

READER = """
import os, sys
from pawl import Device, EncryptedMessage, MessageType, ProtocolAddress, SQLiteStore

def hook(peer, plaintext, rows):
    rows.put(b"inbox", plaintext)
    if sys.argv[2] == "before":
        os._exit(7)

def on_event(event):
    # Events are told when all is committed, and before the plaintext is handed out.
    if sys.argv[2] == "after":
        os._exit(7)

device = Device(SQLiteStore(sys.argv[1]), store_plaintext=hook, on_event=on_event)
message = EncryptedMessage(MessageType.PREKEY, bytes.fromhex(sys.argv[3]))
device.decrypt(ProtocolAddress("alice", 1), message)
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_process_that_dies(tmp_path: Path, when: str) -> None:
    """ "So that a crash after commit loses no message": before it the message can be read, after it it is in the store."""
    path = tmp_path / "bob.db"
    bob, alice = Device(SQLiteStore(path)), Device(MemoryStore())
    alice.establish(BOB, bob.prekey_bundle())
    message = alice.encrypt(BOB, b"not to be lost")
    program = [sys.executable, "-c", READER, str(path), when, message.serialized.hex()]
    died = subprocess.run(program, cwd=ROOT / "src", check=False, capture_output=True, timeout=120)
    assert died.returncode == 7, died.stderr
    bob = Device(SQLiteStore(path), store_plaintext=lambda peer, text, rows: rows.put(b"inbox", text))
    with bob.application_rows() as rows:
        assert rows.get(b"inbox") == (b"not to be lost" if when == "after" else None)
    if when == "after":
        with pytest.raises(ProtocolError) as refused:
            bob.decrypt(ALICE, message)
        assert refused.value.code == "duplicate-message"
    else:
        assert bob.decrypt(ALICE, message) == b"not to be lost"
    with bob.application_rows() as rows:
        assert rows.scan() == [(b"inbox", b"not to be lost")]
