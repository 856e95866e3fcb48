"""Pawl itself as a target, in this process: every observation level, crash points, counted work."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from copy import copy
from dataclasses import replace
from importlib.metadata import version
from typing import Any, TypeVar
from uuid import UUID
from weakref import WeakKeyDictionary

from pawl import (
    Compatibility,
    Device,
    EncryptedMessage,
    Group,
    GroupLayout,
    MemberMessage,
    MessageType,
    ProtocolAddress,
    ProtocolError,
    SafetyNumber,
    safety_number,
)
from pawl.application import ApplicationRows, StorePlaintext
from pawl.crypto.keys import ChainKey as Secret
from pawl.crypto.keys import KeyPair, PrivateKey, PublicKey
from pawl.errors import CorruptStore
from pawl.group.state import OwnGroup, SendingKey
from pawl.limits import (
    MAX_ARCHIVED_SESSIONS,
    MAX_DERIVATIONS_PER_MESSAGE,
    MAX_FORWARD_JUMP,
    MAX_GROUP_MEMBERS,
    MAX_RECEIVING_CHAINS,
    MAX_RETIRED_SENDER_KEYS,
    MAX_SENDER_KEY_CHAINS,
    MAX_SKIPPED_KEYS_PER_CHAIN,
    MAX_SKIPPED_KEYS_PER_SESSION,
    MAX_UNACKNOWLEDGED_SECONDS,
    SIGNED_PREKEY_GRACE_SECONDS,
)
from pawl.session import prekeys
from pawl.session.state import Session
from pawl.storage.contract import Store, Table
from pawl.storage.memory import MemoryStore
from pawl.wire import group_records, records
from pawl.wire.records import LocalIdentity, PreKey, SignedPreKey, decode_session
from pawl_gate.group_attacker import GROUP_IDS
from pawl_gate.group_wire import LAYOUTS, group_header
from pawl_gate.targets import medium
from pawl_gate.targets.application import Application
from pawl_gate.targets.base import (
    Bundle,
    ChainKey,
    Fingerprint,
    GroupChainKey,
    HarnessBroken,
    Misbehaved,
    Refused,
    Shared,
    SimulatedCrash,
    Stolen,
    Told,
    Unable,
    WireMessage,
)
from pawl_gate.targets.bundles import in_bytes, process
from pawl_gate.targets.damage import attempt, damaged_copy
from pawl_gate.targets.kept import Kept, Rows
from pawl_gate.targets.observed import BEFORE_COMMIT, ObservedStore
from pawl_gate.targets.variant import UNCHANGED, DeviceLike, Setup, Variant
from pawl_gate.targets.work import Work
from pawl_gate.wire_view import read_fields
from pawl_spec.history import Damaged, GroupHeader, Hello, Limits, Medium, Observation, Observe, Profile, Strike
from pawl_spec.trace import PARTIES

T = TypeVar("T")

NOW = 1_700_000_000
"""Unix seconds at which the clock of every world begins; it goes on only when it is told to."""

LIMITS = Limits(
    forward_jump=MAX_FORWARD_JUMP,
    kept_per_chain=MAX_SKIPPED_KEYS_PER_CHAIN,
    kept_per_session=MAX_SKIPPED_KEYS_PER_SESSION,
    receiving_chains=MAX_RECEIVING_CHAINS,
    archived_sessions=MAX_ARCHIVED_SESSIONS,
    derivations_per_message=MAX_DERIVATIONS_PER_MESSAGE,
    rows_per_message=24,
    bytes_per_message=4096,
    memory_per_message=2 * 1024 * 1024,
    unacknowledged=MAX_UNACKNOWLEDGED_SECONDS,
    signed_prekey_grace=SIGNED_PREKEY_GRACE_SECONDS,
    sender_chains=MAX_SENDER_KEY_CHAINS,
    retired_chains=MAX_RETIRED_SENDER_KEYS,
    senders=MAX_GROUP_MEMBERS,
)
HELLO = Hello(
    name="pawl",
    version=version("pawl-signal"),
    level=Observe.DISK,
    capabilities=frozenset(
        {
            *("reinstall", "approve", "strict-identity", "restart", "crash", "work", "deterministic", "counts"),
            *("rows", "memory", "clock", "damage", "texts", "events", "callbacks", "rotate", "forget", "compromise"),
            *("compatibility", "store-faults", "rival", "medium", "plaintext-hook", "import-keys", "inject-keys"),
            *("groups", "group-rotate", "group-forget", "group-members", "group-layout", "group-share"),
            *("import-sender-keys", "fingerprint"),
        }
    ),
    limits=LIMITS,
    profile=Profile(promotes="on-new-chain", closes_chains=False),
)

OPTION_TO_COMPATIBILITY = {
    "none": Compatibility(),
    "prekey-id-zero": Compatibility(prekey_id_zero_as_absent=True),
    "untyped-keys": Compatibility(untyped_public_keys=True),
    "all": Compatibility(prekey_id_zero_as_absent=True, untyped_public_keys=True),
}
"""What the options of a trace are called in the library."""

BATCH = 100
"""Messages from which a burst goes by `Device.encrypt_many`."""

NAME_TO_TYPE = {"prekey": MessageType.PREKEY, "signal": MessageType.SIGNAL}
TYPE_TO_NAME = {kind: name for name, kind in NAME_TO_TYPE.items()}


class SeededRng:
    """Random bytes from a seed: one seed, one transcript. For tests alone."""

    def __init__(self, seed: bytes, drawn: int = 0) -> None:
        self._seed = seed
        self._drawn = drawn
        self.keys: list[bytes] = []
        """What is drawn before anything else, by whoever asks for 32 bytes."""

    def __call__(self, size: int) -> bytes:
        """`size` bytes, at most 64."""
        if self.keys and size == WORD_BYTES:
            return self.keys.pop(0)
        self._drawn += 1
        return hashlib.blake2b(self._drawn.to_bytes(8, "big"), key=self._seed, digest_size=size).digest()

    def copy(self) -> SeededRng:
        """A source that goes on as this one would."""
        twin = SeededRng(self._seed, self._drawn)
        twin.keys = list(self.keys)
        return twin


class InProcessTarget:
    """Pawl, or a control: a broken variant of it. `keep` makes what the rows of a party are kept in."""

    def __init__(
        self,
        variant: Variant | None = None,
        *,
        keep: Callable[[], Kept] = MemoryStore,
        name: str = "",
        layout: GroupLayout = GroupLayout.CURRENT,
    ) -> None:
        self._variant = Variant() if variant is None else variant
        self._keep = keep
        self._layout = layout
        self.hello = replace(HELLO, name=name or self._variant.name, group_layout=layout.value)

    def world(self, seed: int) -> InProcessWorld:
        """A fresh world; one seed gives one transcript, byte for byte."""
        return InProcessWorld(self._variant, seed, self._keep, self._layout)

    def close(self) -> None:
        """Nothing to release."""


class _Party:
    def __init__(self, address: ProtocolAddress, application: Application, rng: SeededRng, kept: Kept) -> None:
        self.address = address
        self.application = application
        self.rng = rng
        self.store = ObservedStore(kept)
        self.device: DeviceLike | None = None
        self.compatibility = Compatibility()
        self.before: tuple[MemoryStore, SeededRng, Application] | None = None
        self.complete: str | None = None
        self.durable: bool | None = None
        self.work: int | None = None
        self.counting = Work()
        self.revision = 0
        """Of the store, when the operation began."""
        self.memory: int | None = None
        self.measuring = False
        self.damage: tuple[Table, str] | None = None
        self.damaged: Damaged | None = None
        self.next_medium: tuple[Table, str] | None = None
        self.medium: Medium | None = None
        self.texts: list[tuple[str, str]] = []
        """What was said since somebody searched it."""
        self.rival: str | None = None
        """What another process is to do during the next operation."""
        self.reading: EncryptedMessage | None = None
        """The message that is being read."""
        self.in_group: tuple[bytes, Callable[[Group], object] | None] | None = None
        """The group in which an operation is, and how a message is read there, if one is."""
        self.observed: tuple[dict[str, Any], tuple[object, ...], Observation] | None = None
        """What was seen of it last, and of what that was made."""
        self.raced = 0
        """Transactions that another process committed during the last operation."""

    def begin(self) -> None:
        """An operation begins: what is counted for it is counted from here."""
        store = self.store
        self.revision = store.revision
        store.touched = store.written = self.raced = self.counting.count = 0


@contextmanager
def _peak_noted(one: _Party) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
    finally:
        one.memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


class InProcessWorld(Unable):
    """Parties with a device each, over stores that are watched."""

    def __init__(
        self,
        variant: Variant,
        seed: int,
        keep: Callable[[], Kept] = MemoryStore,
        layout: GroupLayout = GroupLayout.CURRENT,
    ) -> None:
        self._variant = variant
        self._layout = layout
        self._seed = seed
        self._keep = keep
        self._parties: dict[int, _Party] = {}
        self._made = 0
        self._now = NOW
        self._layouts: dict[bytes, GroupLayout] = {}
        """Of the groups to which another one was given."""
        self._shared: dict[tuple[int, bytes], tuple[MemberMessage, ...]] = {}
        """What was given last, by party and group."""
        self._wrapping: list[bytes] | None = None
        self._hooks: WeakKeyDictionary[DeviceLike, StorePlaintext | None] = WeakKeyDictionary()

    def fork(self) -> InProcessWorld:
        """The same world once more. Its devices are opened anew, over a copy of their stores, as after a restart."""
        twin = InProcessWorld(self._variant, self._seed, self._keep, self._layout)
        twin._made, twin._now, twin._layouts = self._made, self._now, dict(self._layouts)
        twin._shared = dict(self._shared)
        for party, one in self._parties.items():
            other = twin._parties[party] = copy(one)
            other.store, other.rng, other.counting = one.store.fork(), one.rng.copy(), Work()
            other.application, other.texts = one.application.copy(), list(one.texts)
            # What its callbacks do, they do to the copy.
            other.application.digest = other.store.digest
            other.device = twin._open(other.store, twin._setup(other))
            # What opening it costs is no part of the operation before.
            other.store.touched, other.store.written = one.store.touched, one.store.written
        return twin

    # -- parties ------------------------------------------------------------------------------------------------------

    def create(self, party: int, *, name: str, device_id: int, trust_on_first_use: bool) -> bytes:
        return self._start(
            party, self._new(ProtocolAddress(name, device_id), Application(strict=not trust_on_first_use))
        )

    def reinstall(self, party: int) -> bytes:
        old = self._parties[party]
        old.application.armed.clear()
        old.application.hang_up()
        old.store.close()
        new = self._new(old.address, old.application)
        new.compatibility = old.compatibility
        return self._start(party, new)

    # -- keys put in --------------------------------------------------------------------------------------------------

    def import_party(
        self,
        party: int,
        *,
        name: str,
        device_id: int,
        trust_on_first_use: bool,
        identity: bytes,
        registration_id: int,
    ) -> bytes:
        new = self._new(ProtocolAddress(name, device_id), Application(strict=not trust_on_first_use))
        local = LocalIdentity(_pair(identity), registration_id, next_prekey_id=1, next_signed_prekey_id=1)
        with new.store.transaction() as tx:
            tx.put(Table.LOCAL, prekeys.LOCAL_KEY, records.encode_local_identity(local), version=0)
        return self._start(party, new)

    def import_signed_prekey(self, party: int, number: int, *, private: bytes, signature: bytes) -> bytes:
        made = SignedPreKey(number, _pair(private), signature, self._now)
        with self._parties[party].store.transaction() as tx:
            for key, row in tx.scan(Table.SIGNED_PREKEY, b""):
                old = records.decode_signed_prekey(row.value)
                if old.superseded_at is None:
                    superseded = records.encode_signed_prekey(replace(old, superseded_at=self._now))
                    tx.put(Table.SIGNED_PREKEY, key, superseded, version=row.version)
            tx.put(Table.SIGNED_PREKEY, prekeys.id_key(number), records.encode_signed_prekey(made), version=0)
        return made.pair.public.serialize()

    def import_prekey(self, party: int, number: int, *, private: bytes) -> bytes:
        made = PreKey(number, _pair(private))
        with self._parties[party].store.transaction() as tx:
            tx.put(Table.PREKEY, prekeys.id_key(number), records.encode_prekey(made), version=0)
        return made.pair.public.serialize()

    def inject_keys(self, party: int, keys: Sequence[bytes]) -> None:
        self._parties[party].rng.keys[:] = keys

    def import_sender_key(
        self, party: int, group: bytes, *, chain_id: int, iteration: int, chain_key: bytes, signing: bytes
    ) -> bytes:
        key = SendingKey(chain_id, iteration, Secret(chain_key), _pair(signing))
        with self._parties[party].store.transaction() as tx:
            row = tx.get(Table.SENDER_KEY, group)
            held = OwnGroup(key, 0, 0, 0) if row is None else group_records.decode_own_group(row.value)
            # Nobody was given this one.
            made = held._replace(sending=key, waiting=held.members)
            version = 0 if row is None else row.version
            tx.put(Table.SENDER_KEY, group, group_records.encode_own_group(made), version=version)
        return key.signing.public.serialize()

    def _new(self, address: ProtocolAddress, application: Application) -> _Party:
        return _Party(address, application, self._rng(), self._keep())

    def _rng(self) -> SeededRng:
        self._made += 1
        return SeededRng(b"%d.%d" % (self._seed, self._made))

    def _start(self, party: int, new: _Party) -> bytes:
        self._parties[party] = new
        new.application.digest = new.store.digest
        new.device = self._open(new.store, self._setup(new))
        return new.device.identity_key.serialize()

    def _open(self, durable: Store, setup: Setup) -> DeviceLike:
        with self._variant.patched():
            return self._made_device(self._variant.store(durable), setup)

    def _made_device(self, store: Store, setup: Setup) -> DeviceLike:
        """A device; its application's hook serves its groups as well."""
        device = self._variant.device(store, setup)
        self._hooks[device] = setup.hook
        return device

    def _setup(self, one: _Party, *, trial: tuple[SeededRng, Application] | None = None) -> Setup:
        rng, application = (one.rng, one.application) if trial is None else trial
        return Setup(
            policy=application.policy(),
            rng=rng,
            clock=lambda: self._now,
            on_event=application.on_event,
            compatibility=one.compatibility,
            hook=application.hook(),
        )

    def restart(self, party: int) -> None:
        one = self._parties[party]
        one.store.arm(None)
        one.application.armed.clear()
        one.store.reopen()
        one.device = self._open(one.store, self._setup(one))

    def advance(self, seconds: int) -> None:
        self._now += seconds

    # -- operations ---------------------------------------------------------------------------------------------------

    def _do(self, party: int, call: Callable[[DeviceLike], T]) -> T:
        one = self._parties[party]
        if one.device is None:
            raise HarnessBroken(f"party {party} was not opened")
        one.damaged = self._damaged(one, call)
        one.medium = self._on_medium(one, call)
        one.begin()
        # One trouble at a time: where a callback misbehaves, nobody else comes in between.
        if (how := one.rival) is not None and not one.application.armed:
            one.store.rival = lambda: self._race(one, how)
        try:
            with one.application.listening(), self._variant.patched(), one.counting, self._measured(one):
                result = call(one.device)
        except ProtocolError as error:
            one.texts += _words(error)
            raise Refused(error.code, str(error)) from error
        except SimulatedCrash:
            one.complete = self._completed(one, call)
            raise
        except Exception as error:
            one.texts += _words(error)
            raise Misbehaved(f"{type(error).__name__}: {error}") from error
        finally:
            one.rng.keys.clear()
            one.work = one.counting.count
            one.durable = one.store.revision != one.revision + one.raced
            one.store.rival = one.rival = None
        return result

    def _completed(self, one: _Party, call: Callable[[DeviceLike], object]) -> str | None:
        """The digest after the same operation without the crash, from the state and randomness before it."""
        if one.before is None:
            return None
        memory, rng, application = one.before
        with self._variant.patched():
            store = ObservedStore(memory)
        setup = self._setup(one, trial=(rng, application))
        try:
            with application.listening(), self._variant.patched():
                call(self._made_device(self._variant.store(store), setup))
        except ProtocolError:
            pass
        return store.digest()

    # -- damaged records and memory -----------------------------------------------------------------------------------

    def arm_damage(self, party: int, table: str, how: str) -> None:
        self._parties[party].damage = (Table(table.replace("-", "_")), how)

    def damaged(self, party: int) -> Damaged | None:
        return self._parties[party].damaged

    def _damaged(self, one: _Party, call: Callable[[DeviceLike], object]) -> Damaged | None:
        """Try the operation on a copy with damaged records, if that was asked for."""
        if one.damage is None:
            return None
        (table, how), one.damage = one.damage, None
        copy, broken = damaged_copy(one.store.in_memory(), table, how)
        if not broken:
            return None
        application = one.application.copy()
        setup = self._setup(one, trial=(one.rng.copy(), application))

        def step(store: Store) -> None:
            with application.listening(), self._variant.patched():
                call(self._made_device(self._variant.store(store), setup))

        return attempt(copy, table, broken, step)

    def arm_medium(self, party: int, table: str, how: str) -> None:
        self._parties[party].next_medium = (Table(table.replace("-", "_")), how)

    def medium(self, party: int) -> Medium | None:
        return self._parties[party].medium

    def _on_medium(self, one: _Party, call: Callable[[DeviceLike], object]) -> Medium | None:
        """Try the operation on the store as another medium gives it back, if that was asked for."""
        if one.next_medium is None:
            return None
        (table, how), one.next_medium = one.next_medium, None
        application = one.application.copy()
        setup = self._setup(one, trial=(one.rng.copy(), application))

        def step(store: Store) -> None:
            call(self._made_device(store, setup))

        def reopen(opened: Callable[[], Store]) -> Store:
            return self._variant.reopen(opened)

        with application.listening(), self._variant.patched():
            tried = medium.attempt(
                one.store.in_memory(),
                table,
                how,
                reopen=reopen,
                call=step,
                told=lambda: [event.name for event in application.heard],
            )
        if tried is None:
            return None
        seen, left = tried
        return seen if left is None else replace(seen, digest=ObservedStore(left).digest())

    def measure_memory(self, party: int) -> None:
        self._parties[party].measuring = True

    def _measured(self, one: _Party) -> AbstractContextManager[None]:
        """Note the memory that an operation takes at its peak, if that was asked for."""
        one.memory = None
        measuring, one.measuring = one.measuring, False
        return _peak_noted(one) if measuring else UNCHANGED

    def bundle(self, party: int, *, one_time: bool) -> Bundle:
        return in_bytes(self._do(party, lambda device: device.prekey_bundle(one_time=one_time)))

    def establish(self, party: int, peer: int, bundle: Bundle) -> None:
        address = self._talking(party, peer)
        self._do(party, lambda device: process(device, address, bundle))

    def encrypt(self, party: int, peer: int, plaintext: bytes) -> WireMessage:
        address = self._talking(party, peer)
        message = self._do(party, lambda device: device.encrypt(address, plaintext))
        return WireMessage(TYPE_TO_NAME[message.type], message.serialized)

    def encrypt_all(self, party: int, peer: int, plaintext: bytes, count: int, sent: list[WireMessage]) -> None:
        one = self._parties[party]
        if one.application.armed or one.damage or one.next_medium:
            # What is to happen once, happens in the operation of one message.
            for _ in range(count):
                sent.append(self.encrypt(party, peer, plaintext))
            return
        address = self._talking(party, peer)

        def send_all(device: DeviceLike) -> None:
            # A long burst goes by the library's batches: those are judged too, and cost less.
            if count >= BATCH and type(device) is Device:
                batch = device.encrypt_many(address, [plaintext] * count)
                sent.extend(WireMessage(TYPE_TO_NAME[each.type], each.serialized) for each in batch)
                return
            for _ in range(count):
                one.begin()
                one.application.begin()
                message = device.encrypt(address, plaintext)
                sent.append(WireMessage(TYPE_TO_NAME[message.type], message.serialized))

        self._do(party, send_all)

    def decrypt(self, party: int, peer: int, message: WireMessage) -> bytes:
        address = self._talking(party, peer)
        one = self._parties[party]
        given = one.reading = EncryptedMessage(NAME_TO_TYPE[message.kind], message.data)
        try:
            return self._do(party, lambda device: device.decrypt(address, given))
        finally:
            one.reading = None

    def approve(self, party: int, peer: int, identity_key: bytes) -> None:
        name = self._talking(party, peer).name
        self._do(party, lambda device: device.trust_identity(name, PublicKey.deserialize(identity_key)))

    def _address(self, party: int) -> ProtocolAddress:
        one = self._parties.get(party)
        return ProtocolAddress(PARTIES[party], 1) if one is None else one.address

    # -- upkeep -------------------------------------------------------------------------------------------------------

    def rotate(self, party: int) -> None:
        self._do(party, lambda device: device.rotate_signed_prekey())

    def maintain(self, party: int) -> bool:
        return self._do(party, lambda device: device.maintain()).rotated is not None

    def forget(self, party: int, peer: int) -> None:
        address = self._talking(party, peer)
        self._do(party, lambda device: device.forget_session(address))

    def fingerprint(self, party: int, peer: int, identity_key: bytes) -> Fingerprint:
        own, address = self._parties[party].address, self._talking(party, peer)

        def make(device: DeviceLike) -> SafetyNumber:
            return safety_number(
                local_identifier=own.name.encode(),
                local_key=device.identity_key,
                remote_identifier=address.name.encode(),
                remote_key=PublicKey.deserialize(identity_key),
            )

        made = self._do(party, make)
        return Fingerprint(made.display, made.scannable)

    def be_compatible(self, party: int, option: str) -> None:
        one = self._parties[party]
        one.compatibility = OPTION_TO_COMPATIBILITY[option]
        self.restart(party)

    # -- the application ----------------------------------------------------------------------------------------------

    def arm_callback(self, party: int, callback: str, how: str) -> None:
        one = self._parties[party]
        one.application.arm(callback, how)
        # A policy belongs to a device for life.
        one.device = self._open(one.store, self._setup(one))

    def told(self, party: int) -> Told:
        return self._parties[party].application.told()

    def stored(self, party: int) -> Sequence[bytes] | None:
        one = self._parties[party]
        if not one.application.stores:
            return None
        with one.store.inner.transaction() as tx:
            return one.application.inbox(ApplicationRows(tx))

    def _talking(self, party: int, peer: int) -> ProtocolAddress:
        """The address of `peer`, to whom a callback of `party` would talk if it called the library now."""
        one, address = self._parties[party], self._address(peer)
        one.application.peer = peer
        one.application.call = lambda how, key: self._from_inside(one, address, how, key)
        return address

    def _from_inside(self, one: _Party, peer: ProtocolAddress, how: str, key: PublicKey | None) -> WireMessage | None:
        """What a callback does that calls back into the library. Raises: ProtocolError, where that is refused."""
        device = one.device
        if device is None:
            return None
        try:
            if how == "call-encrypt":
                message = device.encrypt(peer, b"from inside a callback")
                return WireMessage(TYPE_TO_NAME[message.type], message.serialized)
            if how == "call-decrypt":
                device.decrypt(peer, EncryptedMessage(MessageType.SIGNAL, b""))
            elif key is not None:
                device.trust_identity(peer.name, key)
        except ProtocolError as error:
            one.texts += _words(error)
            raise
        return None

    # -- groups -------------------------------------------------------------------------------------------------------

    def group_layout(self, group: bytes, layout: str) -> None:
        self._layouts[group] = GroupLayout(layout)

    def _group(self, device: DeviceLike, group: bytes) -> Group:
        """The group that a distribution id names, as a device has it."""
        hook = self._hooks.get(device)
        return device.group(UUID(bytes=group), layout=self._layout_of(group), wrap=self._wrap, store_plaintext=hook)

    def _layout_of(self, group: bytes) -> GroupLayout:
        return self._layouts.get(group, self._layout)

    def group_create(self, party: int, group: bytes) -> bytes:
        return self._in_group(party, party, group, lambda joined: joined.create_distribution())

    def group_join(self, party: int, sender: int, group: bytes, distribution: bytes) -> None:
        address = self._address(sender)
        self._in_group(party, sender, group, lambda joined: joined.process(address, distribution))

    def group_encrypt(self, party: int, group: bytes, plaintext: bytes) -> bytes:
        return self._in_group(party, party, group, lambda joined: joined.encrypt(plaintext))

    def group_decrypt(self, party: int, sender: int, group: bytes, message: bytes) -> bytes:
        address = self._address(sender)
        return self._in_group(party, sender, group, lambda joined: joined.decrypt(address, message), reading=True)

    def group_share(self, party: int, group: bytes, plaintext: bytes) -> Shared:
        wrapped: list[bytes] = []
        self._wrapping = wrapped
        try:
            sent = self._in_group(party, party, group, lambda joined: joined.send(plaintext))
        finally:
            self._wrapping = None
        self._shared[party, group] = sent.distributions
        numbers = {one.address: number for number, one in self._parties.items()}
        given = [(numbers[each.peer], each.message) for each in sent.distributions]
        wires = [(peer, WireMessage(TYPE_TO_NAME[each.type], each.serialized)) for peer, each in given]
        return Shared(tuple(wires), sent.message, wrapped[-1] if wires else b"")

    def group_came(self, party: int, group: bytes) -> None:
        given = self._shared.get((party, group), ())
        self._in_group(party, party, group, lambda joined: joined.delivered(given))

    def _wrap(self, distribution: bytes) -> bytes:
        """What an application's envelope is for; ours notes what it holds, and is none."""
        if self._wrapping is not None:
            self._wrapping.append(distribution)
        return distribution

    def group_rotate(self, party: int, group: bytes) -> None:
        self._in_group(party, party, group, lambda joined: joined.rotate())

    def group_members(self, party: int, group: bytes, members: Sequence[int]) -> None:
        addresses = [self._address(member) for member in members]
        self._in_group(party, party, group, lambda joined: joined.set_members(addresses))

    def group_forget(self, party: int, peer: int, group: bytes) -> None:
        address = self._address(peer)
        self._in_group(party, peer, group, lambda joined: joined.forget_sender(address))

    def _in_group(self, party: int, peer: int, group: bytes, call: Callable[[Group], T], *, reading: bool = False) -> T:
        one = self._parties[party]
        # Whoever is called back from inside has somebody else to talk to than itself.
        self._talking(party, peer if peer != party else (party + 1) % len(PARTIES))
        one.in_group = group, call if reading else None
        try:
            return self._do(party, lambda device: call(self._group(device, group)))
        finally:
            one.in_group = None

    def group_secrets(self, party: int) -> Sequence[bytes]:
        store = self._parties[party].store
        kept = store.inner.snapshot()[Table.KEPT_GROUP_KEY].values()
        found = [secret for held in store.group_secrets.values() for secret in held]
        return found + [records.decode_message_seed(row.value).data for row in kept]

    # -- crashes ------------------------------------------------------------------------------------------------------

    def arm_crash(self, party: int, at: int) -> None:
        one = self._parties[party]
        one.before = (one.store.in_memory(), one.rng.copy(), one.application.copy())
        one.store.arm(at)

    def disarm_crash(self, party: int) -> bool:
        one = self._parties[party]
        armed = one.store.crash_at is not None
        one.store.arm(None)
        one.before = None
        return armed

    def complete_digest(self, party: int) -> str | None:
        return self._parties[party].complete

    # -- a store that refuses, or that another process has open -------------------------------------------------------

    def arm_fault(self, party: int, at: int, how: str) -> None:
        # A commit is refused before it is made; after it there is nothing left to refuse.
        self._parties[party].store.arm_fault((min(at, BEFORE_COMMIT), how))

    def disarm_fault(self, party: int) -> bool:
        store = self._parties[party].store
        armed = store.fault_at is not None
        store.arm_fault(None)
        return armed

    def arm_rival(self, party: int, how: str) -> None:
        self._parties[party].rival = how

    def _race(self, one: _Party, how: str) -> None:
        """Another process opens the store of `one`, does one thing and commits it, and is gone."""
        peer = one.application.peer
        reads = one.reading is not None or (one.in_group is not None and one.in_group[1] is not None)
        if peer is None or (how == "receive" and not reads):
            return
        before, revision = one.store.digest(), one.store.revision
        application = one.application.copy()
        application.armed.clear()
        sent = group_sent = None
        try:
            device = self._open(one.store, self._setup(one, trial=(self._rng(), application)))
            if one.in_group is not None:
                group_sent = self._race_in_group(device, *one.in_group, how)
            elif how == "receive" and one.reading is not None:
                device.decrypt(self._address(peer), one.reading)
            else:
                message = device.encrypt(self._address(peer), b"from another process")
                sent = WireMessage(TYPE_TO_NAME[message.type], message.serialized)
        except ProtocolError as error:
            one.texts += _words(error)
        one.raced = one.store.revision - revision
        strike = Strike("rival", how, peer, before, one.store.digest(), group_sent=group_sent)
        one.application.saw(strike, sent)

    def _race_in_group(
        self, device: DeviceLike, group: bytes, read: Callable[[Group], object] | None, how: str
    ) -> GroupHeader | None:
        """What it does in the group in which its rival is; the message that it sent. Raises: ProtocolError."""
        joined = self._group(device, group)
        if how == "receive":
            if read is not None:
                read(joined)
            return None
        return group_header(joined.encrypt(b"from another process"), LAYOUTS[self._layout_of(group).value])

    # -- observation --------------------------------------------------------------------------------------------------

    def observe(self, party: int) -> Observation:
        one = self._parties[party]
        store = one.store
        store.look_again()
        held = store.held()
        counted = (store.digest(), one.durable, one.work, store.touched, store.written, one.memory)
        # Mostly an operation begins in the state in which the last one ended.
        last = one.observed
        if last is not None and last[0] is held and last[1] == counted:
            return last[2]
        digest, durable, work, rows, written, memory = counted
        seen = Observation(digest=digest, durable=durable, work=work, rows=rows, written=written, memory=memory, **held)
        one.observed = held, counted, seen
        return seen

    def secrets(self, party: int) -> Sequence[bytes]:
        store = self._parties[party].store
        kept = store.inner.snapshot()[Table.SKIPPED_KEY].values()
        found = [records.decode_message_seed(row.value).data for row in kept]
        return found + [secret for held in store.secrets.values() for secret in held]

    def spent(self, party: int) -> bytes | None:
        return self._parties[party].store.spent

    def texts(self, party: int) -> Sequence[tuple[str, str]]:
        one = self._parties[party]
        said, one.texts = one.texts, []
        heard, one.application.heard = one.application.heard, []
        said += [("an event", f"{event} {event!r}") for event in heard]
        said += [("the log", text) for text in one.application.logged]
        one.application.logged.clear()
        # Each attribute by itself: most of them say the same as ever, and were searched before.
        held = vars(one.device) if one.device else {}
        said += [("the repr of the device", text) for text in (repr(one.device), *map(repr, held.values()))]
        with self._variant.patched():
            for row in one.store.inner.snapshot()[Table.SESSION].values():
                said.append(("the repr of a session", f"{decode_session(row.value)!r} {row!r}"))
        return said

    def all_secrets(self, party: int) -> Sequence[bytes]:
        return list(self._parties[party].store.ever)

    # -- a stolen state -----------------------------------------------------------------------------------------------

    def steal(self, party: int) -> Stolen:
        one = self._parties[party]
        rows = one.store.inner.snapshot()
        words = {
            table: [word for row in shelf.values() for word in words_of(row.value)] for table, shelf in rows.items()
        }
        sessions = [session for shelf in rows.values() for row in shelf.values() for session in _as_session(row.value)]
        chains = []
        for session in sessions:
            sending = session.sending
            chains.append(ChainKey(sending.ratchet.public.data, sending.counter, sending.chain_key.data))
            chains += [ChainKey(each.ratchet_key.data, each.counter, each.chain_key.data) for each in session.receiving]
        # What is no record of another table may be anything.
        loose = words[Table.LOCAL]
        copy, application = one.store.in_memory(), one.application.copy()
        return Stolen(
            party=party,
            words=tuple(dict.fromkeys(word for found in words.values() for word in found)),
            identities=tuple(loose),
            signed_prekeys=tuple(words[Table.SIGNED_PREKEY]),
            prekeys=(*words[Table.PREKEY], *loose),
            ratchets=tuple(session.sending.ratchet.private.data for session in sessions),
            roots=tuple(session.root_key.data for session in sessions),
            chains=tuple(chains),
            fork=lambda: self._forked(copy.fork(), application.copy()),
            as_implemented=self._variant.patched,
            group_words=tuple(word for table in GROUP_TABLES for word in words[table]),
            group_chains=tuple(_group_chains(rows)),
            fork_groups=lambda: self._forked_groups(copy.fork(), application.copy()),
        )

    def _forked(self, store: Store, application: Application) -> Callable[[int, WireMessage], bytes | None]:
        """A device over a copy of a party's state: reads a message of a peer, or refuses."""
        # The source of randomness is no state: the attacker has its own.
        setup = Setup(application.policy(), SeededRng(b"attacker"), lambda: self._now, application.on_event)
        device = self._open(store, setup)

        def read(peer: int, message: WireMessage) -> bytes | None:
            given = EncryptedMessage(NAME_TO_TYPE[message.kind], message.data)
            try:
                with application.listening(), self._variant.patched():
                    return device.decrypt(self._address(peer), given)
            except ProtocolError:
                return None

        return read

    def _forked_groups(self, store: Store, application: Application) -> Callable[[int, int, bytes], bytes | None]:
        """The same device, for messages of groups."""
        setup = Setup(application.policy(), SeededRng(b"attacker"), lambda: self._now, application.on_event)
        device = self._open(store, setup)

        def read(sender: int, group: int, message: bytes) -> bytes | None:
            try:
                with application.listening(), self._variant.patched():
                    return self._group(device, GROUP_IDS[group]).decrypt(self._address(sender), message)
            except ProtocolError:
                return None

        return read

    def close(self) -> None:
        for one in self._parties.values():
            one.store.close()
        self._parties.clear()


WORD_BYTES = 32
"""Bytes of every key."""


def _pair(private: bytes) -> KeyPair:
    return KeyPair.from_private(PrivateKey(private))


def words_of(value: bytes) -> list[bytes]:
    """What in a row may be a key: the row itself, and the byte strings of that length in its fields, at any depth."""
    if len(value) == WORD_BYTES:
        return [value]
    try:
        fields = read_fields(value)
    except HarnessBroken:
        return []
    return [word for _, field in fields if isinstance(field, bytes) for word in words_of(field)]


GROUP_TABLES = (Table.SENDER_KEY, Table.RECEIVED_SENDER_KEY, Table.KEPT_GROUP_KEY)
"""Those whose rows hold keys of groups."""


def _group_chains(rows: Rows) -> Iterator[GroupChainKey]:
    """The chain keys in the rows of groups, whose place is known."""
    for row in rows[Table.SENDER_KEY].values():
        with suppress(CorruptStore):
            own = group_records.decode_own_group(row.value).sending
            yield GroupChainKey(own.chain_id, own.iteration, own.chain_key.data)
    for row in rows[Table.RECEIVED_SENDER_KEY].values():
        with suppress(CorruptStore):
            for chain in group_records.decode_received_keys(row.value).chains:
                yield GroupChainKey(chain.chain_id, chain.iteration, chain.chain_key.data)


def _as_session(value: bytes) -> list[Session]:
    try:
        return [decode_session(value)]
    except CorruptStore:
        return []


def _words(error: BaseException | None) -> list[tuple[str, str]]:
    """The texts of an exception and of those that caused it."""
    said = []
    while error is not None:
        said.append(("the text of a refusal", f"{error} {error!r}"))
        error = error.__cause__ or error.__context__
    return said
