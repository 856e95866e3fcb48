"""A world whose parties keep their rows in files: what a campaign gives to the runner.

So the same operations, model and predicates judge it as any other target.

Each party has a folder of its own. `Medium` says how its store is opened there, and what may go wrong below it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Final, Protocol, TypeVar, cast

from pawl import (
    EncryptedMessage,
    IdentityPolicy,
    JSONFileStore,
    ProtocolAddress,
    ProtocolError,
    SQLiteStore,
)
from pawl.errors import OutcomeUnknown
from pawl.events import Event as LibraryEvent
from pawl.storage.contract import Store, Table
from pawl.storage.memory import MemoryStore
from pawl_gate.runner import Run
from pawl_gate.targets.base import Bundle, Misbehaved, Refused, SimulatedCrash, Unable, WireMessage
from pawl_gate.targets.bundles import in_bytes, process
from pawl_gate.targets.inprocess import HELLO, NAME_TO_TYPE, NOW, TYPE_TO_NAME, SeededRng
from pawl_gate.targets.kept import Rows, rows_of
from pawl_gate.targets.variant import DeviceLike, Setup, Variant
from pawl_gate.trials import Broken, TrialReport
from pawl_spec.history import Event, Hello, History, Observation, Observe, Outcome
from pawl_spec.judge import judge
from pawl_spec.trace import PARTIES, Kind, Op, op

T = TypeVar("T")

FILE: Final = {"sqlite": "pawl.db", "json": "pawl.json"}
"""What a party's file is called, by the kind of its store."""

NOTHING: Final[Rows] = {table: {} for table in Table}


def open_store(kind: str, folder: Path, busy_timeout: float = 1.0) -> Store:
    """The library's store, as users open it."""
    path = folder / FILE[kind]
    opened = SQLiteStore if kind == "sqlite" else JSONFileStore
    return opened(path, busy_timeout=busy_timeout)


def digest_of(rows: Rows) -> str:
    """Equal digests, equal rows and versions."""
    hashed = blake2b(digest_size=16)
    for table in Table:
        for key, row in sorted(rows.get(table, {}).items()):
            for part in (table.value.encode(), key, row.version.to_bytes(8, "big"), row.value):
                hashed.update(len(part).to_bytes(4, "big") + part)
    return hashed.hexdigest()


class Medium(Protocol):
    """What a party's store is on."""

    folder: Path

    def using(self) -> AbstractContextManager[object]:
        """While the library uses the store."""

    def open(self) -> Store:
        """The store that is there, or a new one. Raises: StorageError."""

    def lost(self) -> bool:
        """Whether the power is gone."""


@dataclass(slots=True)
class Plain:
    """A folder of this machine."""

    kind: str
    folder: Path
    busy_timeout: float = 1.0

    def using(self) -> AbstractContextManager[object]:
        """See `Medium`."""
        return nullcontext()

    def open(self) -> Store:
        """See `Medium`."""
        return open_store(self.kind, self.folder, self.busy_timeout)

    def lost(self) -> bool:
        """See `Medium`."""
        return False


class Party:
    """A device over a store in a folder."""

    def __init__(self, name: str, medium: Medium, rng: SeededRng) -> None:
        self.address = ProtocolAddress(name, 1)
        self.medium = medium
        self.rng = rng
        self.store: Store | None = None
        self.device: DeviceLike | None = None
        self.complete: str | None = None
        self.durable: bool | None = None
        self.ruined: str | None = None
        """Why its store cannot be opened any more."""
        self.heard: list[LibraryEvent] = []


class FileWorld(Unable):
    """Parties with a device each, over stores in files."""

    def __init__(self, variant: Variant, seed: int, on: Callable[[Path], Medium], folder: Path) -> None:
        self.variant = variant
        self.seed = seed
        self.on = on
        self.folder = folder
        self.parties: dict[int, Party] = {}
        self.failed: str | None = None
        """How the files of the last step failed, in the words of ATM-05; None: they did not."""
        self._made = 0

    def calm(self) -> None:
        """Nothing failed yet."""
        self.failed = None

    def ruined(self) -> bool:
        """Whether some party's store cannot be opened any more."""
        return any(one.ruined is not None for one in self.parties.values())

    # -- parties ------------------------------------------------------------------------------------------------------

    def place(self) -> Path:
        """A new, empty folder."""
        self._made += 1
        place = self.folder / str(self._made)
        place.mkdir()
        return place

    def create(self, party: int, *, name: str, device_id: int, trust_on_first_use: bool) -> bytes:
        """See `World`."""
        one = self.parties.get(party)
        if one is None:
            one = self.party(party)
        self.open(one)
        if one.device is None:
            raise Misbehaved("a store that was just made could not be opened")
        return one.device.identity_key.serialize()

    def party(self, party: int) -> Party:
        """A new one, whose store was not opened yet."""
        made = Party(PARTIES[party], self.on(self.place()), SeededRng(b"%d.%d" % (self.seed, party)))
        self.parties[party] = made
        return made

    def setup(self, one: Party, rng: SeededRng) -> Setup:
        """What a device is opened with."""
        return Setup(IdentityPolicy(callback_seconds=None), rng, lambda: NOW, one.heard.append)

    def open(self, one: Party) -> None:
        """Open store and device. Raises: ProtocolError."""
        with one.medium.using(), self.variant.patched():
            one.store = self.variant.store(one.medium.open())
            one.device = self.variant.device(one.store, self.setup(one, one.rng))

    def shut(self, one: Party) -> None:
        """Close the store. Raises: StorageError."""
        store, one.store, one.device = one.store, None, None
        if store is not None:
            with one.medium.using(), self.variant.patched():
                store.close()

    def restart(self, party: int) -> None:
        """See `World`."""
        one = self.parties[party]
        try:
            self.shut(one)
            self.open(one)
        except ProtocolError as error:
            one.ruined = error.code

    # -- operations ---------------------------------------------------------------------------------------------------

    def rows(self, one: Party) -> Rows:
        """What the party's open store holds. Raises: ProtocolError."""
        if one.store is None:
            raise Misbehaved(f"the store is not open: {one.ruined}")
        with one.medium.using():
            return rows_of(one.store)

    def begin(self, party: int) -> None:
        """An operation of the party is about to begin."""

    def do(self, party: int, call: Callable[[DeviceLike], T]) -> T:
        """One operation. Raises: Refused, Misbehaved, SimulatedCrash."""
        one = self.parties[party]
        if one.device is None:
            raise Misbehaved(f"the store is not open: {one.ruined}")
        one.durable = None
        try:
            before, rng = self.rows(one), one.rng.copy()
        except ProtocolError as error:
            raise Misbehaved(f"the store cannot be read: {error.code}") from error
        self.begin(party)
        try:
            with one.medium.using(), self.variant.patched():
                result = call(one.device)
        except Exception as error:
            if one.medium.lost() or isinstance(error, OutcomeUnknown):
                # Nobody has the result of a call whose outcome is unknown, as after a crash.
                one.complete = self._completed(one, before, rng, call)
                raise SimulatedCrash from error
            if isinstance(error, ProtocolError):
                raise Refused(error.code, str(error)) from error
            raise Misbehaved(f"{type(error).__name__}: {error}") from error
        if one.medium.lost():
            one.complete = self._completed(one, before, rng, call)
            raise SimulatedCrash
        return result

    def _completed(self, one: Party, before: Rows, rng: SeededRng, call: Callable[[DeviceLike], object]) -> str:
        """The digest after the same operation without trouble."""
        store = MemoryStore(rows=before)
        # The library alone: how a store writes rows is not how they are made.
        device = Variant().device(store, self.setup(one, rng))
        with suppress(ProtocolError):
            call(device)
        return digest_of(store.snapshot())

    def bundle(self, party: int, *, one_time: bool) -> Bundle:
        """See `World`."""
        return in_bytes(self.do(party, lambda device: device.prekey_bundle(one_time=one_time)))

    def establish(self, party: int, peer: int, bundle: Bundle) -> None:
        """See `World`."""
        address = self.address(peer)
        self.do(party, lambda device: process(device, address, bundle))

    def encrypt(self, party: int, peer: int, plaintext: bytes) -> WireMessage:
        """See `World`."""
        address = self.address(peer)
        message = self.do(party, lambda device: device.encrypt(address, plaintext))
        return WireMessage(TYPE_TO_NAME[message.type], message.serialized)

    def decrypt(self, party: int, peer: int, message: WireMessage) -> bytes:
        """See `World`."""
        address = self.address(peer)
        given = EncryptedMessage(NAME_TO_TYPE[message.kind], message.data)
        return self.do(party, lambda device: device.decrypt(address, given))

    def address(self, party: int) -> ProtocolAddress:
        """A party's address."""
        return ProtocolAddress(PARTIES[party], 1)

    # -- trouble and what is seen -------------------------------------------------------------------------------------

    def arm_crash(self, party: int, at: int) -> None:
        """See `World`."""
        self._unable("crash")

    def disarm_crash(self, party: int) -> bool:
        """See `World`."""
        return False

    def complete_digest(self, party: int) -> str | None:
        """See `World`."""
        return self.parties[party].complete

    def observe(self, party: int) -> Observation:
        """See `World`. A store that cannot be read is a state of its own, which is nobody's before or after."""
        one = self.parties[party]
        if one.ruined is not None:
            return Observation(f"cannot be opened: {one.ruined}", durable=one.durable)
        try:
            return Observation(digest_of(self.rows(one)), durable=one.durable)
        except ProtocolError as error:
            return Observation(f"cannot be read: {error.code}", durable=one.durable)

    def reinstall(self, party: int) -> bytes:
        """See `World`."""
        self._unable("reinstall")

    def approve(self, party: int, peer: int, identity_key: bytes) -> None:
        """See `World`."""
        self._unable("approve")

    def secrets(self, party: int) -> list[bytes]:
        """See `World`."""
        self._unable("inspection")

    def close(self) -> None:
        """See `World`."""
        for one in self.parties.values():
            with suppress(Exception):
                self.shut(one)
        shutil.rmtree(self.folder, ignore_errors=True)


class FileTarget:
    """Pawl, or a broken variant of it, with the stores of its parties in files."""

    def __init__(self, world: Callable[[int], FileWorld], *, name: str, capabilities: frozenset[str]) -> None:
        self._world = world
        self.hello: Final[Hello] = replace(
            HELLO,
            name=name,
            level=Observe.COUNTS,
            capabilities=frozenset({"restart", "counts"}) | capabilities,
            # What is counted in rows and bytes is counted elsewhere.
            limits=replace(HELLO.limits, rows_per_message=None, bytes_per_message=None, memory_per_message=None),
        )

    def world(self, seed: int) -> FileWorld:
        """See `Target`."""
        return self._world(seed)

    def close(self) -> None:
        """See `Target`."""


# -- runs --------------------------------------------------------------------------------------------------------------


STORAGE_CODES: Final = frozenset({"storage-error", "corrupt-store", "corrupt-record", "store-busy", "store-closed"})
"""Refusals that speak of the store."""


class FaultyRun(Run):
    """A run whose steps may meet with what a world does to its files: then the event says so."""

    def __init__(self, target: FileTarget, *, seed: int) -> None:
        super().__init__(target, seed=seed)
        # It is what `target` made.
        self.world = cast(FileWorld, self._world)

    def step(self, operation: Op) -> Event:
        """See `Run`."""
        self.world.calm()
        event = super().step(operation)
        # What failed may have been met or not: a step that is refused for a reason of its own is judged as any other.
        met = event.outcome is Outcome.DONE or (event.outcome is Outcome.REFUSED and event.code in STORAGE_CODES)
        if self.world.failed is not None and met:
            event = self.history.events[-1] = event.but(fault=self.world.failed)
        return event


def operation(run: Run, random: Random, actor: int, peer: int) -> tuple[Op, int]:
    """Some step of a conversation, and who acts in it."""
    chance = random.random()
    if chance < 0.08 or (not run._messages and chance < 0.5):
        return op(Kind.ESTABLISH, actor=actor, peer=peer, one_time=random.randrange(2)), actor
    if chance < 0.45 or not run._messages:
        return op(Kind.SEND, actor=actor, peer=peer, size=random.randrange(6)), actor
    if chance < 0.85 and run._flight:
        index = random.randrange(len(run._flight))
        return op(Kind.DELIVER, index=index), run._routes[run._flight[index]][1]
    if chance < 0.93:
        message = random.randrange(len(run._messages))
        return op(Kind.REPLAY, message=message), run._routes[message][1]
    return op(Kind.RESTART, actor=actor), actor


def report_of(history: History, seeded: int, report: TrialReport) -> None:
    """Judge a history: what was checked and what is broken goes into the report."""
    broken, checked = judge(history)
    for name, times in checked.items():
        report.checked[name] = report.checked.get(name, 0) + times
    for each in broken:
        event = each.violation.event
        where = f"history {seeded}, step {event.step}, {event.op}"
        report.broken.append(Broken(each.invariant.id, f"{where}: {each.violation.what} {event.text}".rstrip()))
