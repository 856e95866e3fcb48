"""The asynchronous API has the operations of the synchronous one: same results, refusals, events, and the same rows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from pawl import (
    ApplicationRows,
    Compatibility,
    Decision,
    Device,
    EncryptedMessage,
    IdentityPolicy,
    JSONFileStore,
    MemoryStore,
    MessageType,
    ProtocolAddress,
    ProtocolError,
    PublicKey,
    SQLiteStore,
    Store,
)
from pawl.errors import (
    ApplicationCallbackFailed,
    BadMac,
    CorruptStore,
    DuplicateMessage,
    InvalidArgument,
    InvalidSignature,
    MembersWithoutSession,
    NoMembers,
    NoSession,
    UnknownIdentity,
    UntrustedIdentity,
)
from pawl.storage import AdapterStore, Table
from pawl.workers import AsyncDevice
from tests.devices import ALICE, BOB, flipped
from tests.storage.adapters import FileAdapter
from tests.workers.service import names, pool_of, run, talking

if TYPE_CHECKING:
    from pawl_gate.trials.postgres_server import Server

CAROL = ProtocolAddress("carol", 1)
GROUP = UUID(int=7)


@pytest.fixture(params=["memory", "sqlite", "json", "adapter"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Every kind of store."""
    made: Store
    if request.param == "memory":
        made = MemoryStore()
    elif request.param == "sqlite":
        made = SQLiteStore(tmp_path / "pawl.db")
    elif request.param == "json":
        made = JSONFileStore(tmp_path / "pawl.json")
    else:
        made = AdapterStore(FileAdapter(tmp_path / "pairs.db"))
    with closing(made):
        yield made


def test_every_store_keeps_what_the_workers_did(store: Store) -> None:
    """The parent commits: a synchronous device on the same store goes on where the workers were."""

    async def work() -> Device:
        async with pool_of() as (pool, _):
            alice, bob = await talking(pool, store)
            sent = await asyncio.gather(*(alice.encrypt(BOB, b"%d" % number) for number in range(50)))
            # Out of order: keys are kept, and used.
            back = await asyncio.gather(*(bob.decrypt(ALICE, each) for each in reversed(sent)))
            assert back == [b"%d" % number for number in reversed(range(50))]
            replies = await bob.encrypt_many(ALICE, [b"%d" % number for number in range(20)])
            assert await alice.decrypt_many(BOB, replies[::-1]) == [b"%d" % number for number in reversed(range(20))]
            await bob.close()
            await alice.close()
            return bob._sync

    bob = run(work)
    alice = Device(store)
    assert bob.decrypt(ALICE, alice.encrypt(BOB, b"by hand")) == b"by hand"
    assert alice.decrypt(BOB, bob.encrypt(ALICE, b"too")) == b"too"


@pytest.mark.postgres
def test_postgres_too(postgres_server: Server) -> None:
    """The same for a store that other processes share."""
    from pawl.storage.postgres import PostgresStore

    async def work() -> None:
        async with pool_of() as (pool, _):
            with closing(PostgresStore(postgres_server.conninfo, name="workers")) as store:
                alice, bob = await talking(pool, store)
                sent = await asyncio.gather(*(alice.encrypt(BOB, b"%d" % number) for number in range(40)))
                assert await bob.decrypt_many(ALICE, list(sent)) == [b"%d" % number for number in range(40)]
                await alice.close()

    run(work)


def test_the_order_of_each_peer_is_kept() -> None:
    """Of 20 peers with 20 messages each, handed in at once, each peer's counters stand in the order of the calls."""

    async def work() -> None:
        async with pool_of() as (pool, _):
            alice = await AsyncDevice.open(MemoryStore(), pool)
            peers = [ProtocolAddress(f"peer {number}", 1) for number in range(20)]
            others = [await AsyncDevice.open(MemoryStore(), pool) for _ in peers]
            for peer, other in zip(peers, others, strict=True):
                await alice.establish(peer, await other.prekey_bundle())
            calls = [alice.encrypt(peer, b"%d" % number) for number in range(20) for peer in peers]
            sent = await asyncio.gather(*calls)
            for index, other in enumerate(others):
                mine = sent[index :: len(peers)]
                # In one transaction, in order: a counter out of order would be kept and told.
                assert await other.decrypt_many(ALICE, mine) == [b"%d" % number for number in range(20)]
                kept = other._desk.device._store.snapshot()[Table.SKIPPED_KEY]  # type: ignore[attr-defined]
                assert not kept

    run(work)


def test_events_are_those_of_the_synchronous_device() -> None:
    """The same steps tell the same events, in the same order."""

    def synchronous() -> list[str]:
        told: list[str] = []
        alice, bob = (Device(MemoryStore(), on_event=lambda event: told.append(event.name)) for _ in range(2))
        alice.establish(BOB, bob.prekey_bundle())
        message = alice.encrypt(BOB, b"first")
        bob.decrypt(ALICE, message)
        for wrong in (message, flipped(message)):
            with pytest.raises((DuplicateMessage, BadMac)):
                bob.decrypt(ALICE, wrong)
        alice.establish(BOB, bob.prekey_bundle())
        group = alice.group(GROUP)
        group.set_members([BOB])
        sent = group.send(b"all")
        bob.group(GROUP).process(ALICE, bob.decrypt(ALICE, sent.distributions[0].message))
        bob.group(GROUP).decrypt(ALICE, sent.message)
        with pytest.raises(DuplicateMessage):
            bob.group(GROUP).decrypt(ALICE, sent.message)
        return told

    async def work() -> list[str]:
        async with pool_of() as (pool, told):
            alice = await AsyncDevice.open(MemoryStore(), pool)
            bob = await AsyncDevice.open(MemoryStore(), pool)
            await alice.establish(BOB, await bob.prekey_bundle())
            message = await alice.encrypt(BOB, b"first")
            await bob.decrypt(ALICE, message)
            for wrong in (message, flipped(message)):
                with pytest.raises((DuplicateMessage, BadMac)):
                    await bob.decrypt(ALICE, wrong)
            await alice.establish(BOB, await bob.prekey_bundle())
            group = alice.group(GROUP)
            await group.set_members([BOB])
            sent = await group.send(b"all")
            await bob.group(GROUP).process(ALICE, await bob.decrypt(ALICE, sent.distributions[0].message))
            await bob.group(GROUP).decrypt(ALICE, sent.message)
            with pytest.raises(DuplicateMessage):
                await bob.group(GROUP).decrypt(ALICE, sent.message)
            return [each for each in names(told) if not each.startswith(("job", "pool", "worker"))]

    assert run(work) == synchronous()


def test_refusals_are_the_same_and_change_nothing() -> None:
    async def work() -> None:
        async with pool_of() as (pool, _):
            alice, bob = await talking(pool)
            store = bob._desk.device._store
            message, later = await alice.encrypt_many(BOB, [b"text", b"later"])
            before = store.snapshot()  # type: ignore[attr-defined]
            with pytest.raises(BadMac):
                await bob.decrypt(ALICE, flipped(message))
            with pytest.raises(NoSession):
                await bob.decrypt(CAROL, message)
            with pytest.raises(NoSession):
                await bob.encrypt(CAROL, b"text")
            with pytest.raises(BadMac) as caught:
                await bob.decrypt_many(ALICE, [message, flipped(later)])
            assert caught.value.__notes__ == ["it is message 2 of the batch"]
            with pytest.raises(NoMembers):
                await bob.group(GROUP).send(b"text")
            bundle = await alice.prekey_bundle()
            object.__setattr__(bundle, "signed_prekey_signature", bytes(64))
            with pytest.raises(InvalidSignature):
                await bob.verify_bundle(bundle)
            with pytest.raises(UnknownIdentity):
                await bob.safety_number("carol", local_identifier=b"a", remote_identifier=b"b")
            assert store.snapshot() == before  # type: ignore[attr-defined]
            assert await bob.decrypt(ALICE, message) == b"text"

    run(work)


def test_a_damaged_row_is_one_peers_trouble() -> None:
    """What cannot be read is refused to its own caller; others of the batch are served."""

    async def work() -> None:
        async with pool_of() as (pool, _):
            alice, _ = await talking(pool)
            carol = await AsyncDevice.open(MemoryStore(), pool)
            await alice.establish(CAROL, await carol.prekey_bundle())
            with alice._desk.device._store.transaction() as tx:
                [(key, row)] = [each for each in tx.scan(Table.SESSION_INDEX, b"") if b"bob" in each[0]]
                tx.put(Table.SESSION_INDEX, key, b"damaged", version=row.version)
            results = await asyncio.gather(
                alice.encrypt(BOB, b"text"), alice.encrypt(CAROL, b"text"), return_exceptions=True
            )
            assert isinstance(results[0], CorruptStore)
            assert await carol.decrypt(ALICE, results[1]) == b"text"  # type: ignore[arg-type]

    run(work)


# -- identities -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [Decision.REPLACE, Decision.REJECT, "nonsense"])
def test_the_policy_is_asked_in_a_thread(answer: Decision) -> None:
    """Another identity: the application decides, the loop goes on meanwhile, and only then the job is run."""
    asked: list[tuple[str, PublicKey, PublicKey]] = []

    def on_mismatch(name: str, pinned: PublicKey, key: PublicKey) -> Decision:
        asked.append((name, pinned, key))
        return answer

    async def work() -> None:
        async with pool_of() as (pool, told):
            alice = await AsyncDevice.open(MemoryStore(), pool, identity_policy=IdentityPolicy(on_mismatch=on_mismatch))
            bob, impostor = [await AsyncDevice.open(MemoryStore(), pool) for _ in range(2)]
            await alice.establish(BOB, await bob.prekey_bundle())
            await impostor.establish(ALICE, await alice.prekey_bundle())
            message = await impostor.encrypt(ALICE, b"it is me")
            if answer is Decision.REPLACE:
                assert await alice.decrypt(BOB, message) == b"it is me"
                assert await alice.pinned_identity("bob") == impostor.identity_key
                assert "identity-replaced" in names(told)
            else:
                with pytest.raises(UntrustedIdentity):
                    await alice.decrypt(BOB, message)
                assert await alice.pinned_identity("bob") == bob.identity_key
                last = [each for each in names(told) if not each.startswith("job")]
                expected = ["identity-rejected", "message-refused"]
                assert last[-2:] == expected
                assert ("callback-failed" in last) is (answer == "nonsense")
            assert asked == [("bob", bob.identity_key, impostor.identity_key)]

    run(work)


def test_without_trust_on_first_use_nothing_is_pinned() -> None:
    async def work() -> None:
        async with pool_of() as (pool, told):
            policy = IdentityPolicy(trust_on_first_use=False)
            alice = await AsyncDevice.open(MemoryStore(), pool, identity_policy=policy)
            bob = await AsyncDevice.open(MemoryStore(), pool)
            with pytest.raises(UntrustedIdentity):
                await alice.establish(BOB, await bob.prekey_bundle())
            assert not await alice.has_session(BOB)
            assert "identity-rejected" in names(told)
            await alice.trust_identity("bob", bob.identity_key)
            await alice.establish(BOB, await bob.prekey_bundle())
            assert await alice.has_session(BOB)
            await alice.forget_session(BOB)
            assert not await alice.has_session(BOB)

    run(work)


def test_safety_numbers_agree() -> None:
    async def work() -> None:
        async with pool_of() as (pool, _):
            alice, bob = await talking(pool)
            mine = await alice.safety_number("bob", local_identifier=b"a", remote_identifier=b"b")
            theirs = await bob.safety_number("alice", local_identifier=b"b", remote_identifier=b"a")
            assert mine.display == theirs.display
            mine.verify(theirs.scannable)
            assert mine == alice._sync.safety_number("bob", local_identifier=b"a", remote_identifier=b"b")

    run(work)


# -- hooks ------------------------------------------------------------------------------------------------------------


def test_a_plaintext_is_stored_with_its_message() -> None:
    """What the hook writes is committed with the step; where it fails, the message can be read again (ATM-09)."""
    fails = [True]

    def keep(peer: ProtocolAddress, plaintext: bytes, rows: ApplicationRows) -> None:
        rows.put(plaintext, peer.name.encode())
        if fails:
            raise ValueError("no")

    async def work() -> None:
        async with pool_of() as (pool, told):
            alice = await AsyncDevice.open(MemoryStore(), pool)
            bob = await AsyncDevice.open(MemoryStore(), pool, store_plaintext=keep)
            await alice.establish(BOB, await bob.prekey_bundle())
            messages = await alice.encrypt_many(BOB, [b"one", b"two", b"three"])
            for _ in range(2):
                with pytest.raises(ApplicationCallbackFailed):
                    await bob.decrypt(ALICE, messages[0])
            assert names(told)[-4:-1] == ["callback-failed", "messages-rolled-back", "message-refused"]
            with pytest.raises(ApplicationCallbackFailed) as caught:
                await bob.decrypt_many(ALICE, messages)
            assert caught.value.__notes__ == ["it is message 1 of the batch"]
            assert await bob.with_application_rows(lambda rows: rows.scan()) == []
            fails.clear()
            assert await asyncio.gather(*(bob.decrypt(ALICE, each) for each in messages)) == [b"one", b"two", b"three"]
            stored = await bob.with_application_rows(lambda rows: [key for key, _ in rows.scan()])
            assert stored == [b"one", b"three", b"two"]

    run(work)


# -- groups -----------------------------------------------------------------------------------------------------------


def test_a_group_of_many() -> None:
    """A chain is given to 30 members through an envelope, all read, one is removed and reads no more."""
    peers = [ProtocolAddress(f"member {number}", 1) for number in range(30)]

    async def work() -> None:
        async with pool_of() as (pool, _):
            alice = await AsyncDevice.open(MemoryStore(), pool)
            members = [await AsyncDevice.open(MemoryStore(), pool) for _ in peers]
            wrapped: list[bytes] = []

            def wrap(distribution: bytes) -> bytes:
                wrapped.append(distribution)
                return b"chain:" + distribution

            group = alice.group(GROUP, wrap=wrap)
            await group.set_members(peers)
            with pytest.raises(MembersWithoutSession) as caught:
                await group.send(b"text")
            assert caught.value.members == tuple(sorted(peers))
            for peer, member in zip(peers, members, strict=True):
                await alice.establish(peer, await member.prekey_bundle())
            sent = await group.send(b"text")
            assert [each.peer for each in sent.distributions] == sorted(peers)
            by_name = dict(zip([peer.name for peer in peers], members, strict=True))
            for each in sent.distributions:
                member = by_name[each.peer.name]
                chain = await member.decrypt(ALICE, each.message)
                assert chain.startswith(b"chain:")
                await member.group(GROUP).process(ALICE, chain.removeprefix(b"chain:"))
                assert await member.group(GROUP).decrypt(ALICE, sent.message) == b"text"
            await group.delivered(sent.distributions)
            assert (await group.send(b"more")).distributions == ()
            await group.set_members(peers[1:])
            later = await group.send(b"later")
            assert len(later.distributions) == 29
            with pytest.raises(ProtocolError) as refused:
                await members[0].group(GROUP).decrypt(ALICE, later.message)
            assert refused.value.code == "no-sender-key"
            assert len(wrapped) == 3

    run(work)


def test_an_envelope_that_fails_refuses_the_message() -> None:
    def wrap(distribution: bytes) -> bytes:
        raise ValueError("no")

    async def work() -> None:
        async with pool_of() as (pool, told):
            alice, bob = await talking(pool)
            group = alice.group(GROUP, wrap=wrap)
            await group.set_members([BOB])
            with pytest.raises(ApplicationCallbackFailed):
                await group.send(b"text")
            assert "callback-failed" in names(told)
            sent = await alice.group(GROUP).send(b"text")
            await bob.group(GROUP).process(ALICE, await bob.decrypt(ALICE, sent.distributions[0].message))
            assert await bob.group(GROUP).decrypt(ALICE, sent.message) == b"text"

    run(work)


def test_a_replaced_member_gets_no_old_chain() -> None:
    """GRP-04 across workers: after a member's identity was replaced, the next message is on a new chain."""

    async def work() -> None:
        async with pool_of() as (pool, told):
            alice, bob = await talking(pool)
            group = alice.group(GROUP, wrap=lambda distribution: distribution)
            await group.set_members([BOB])
            sent = await group.send(b"text")
            await group.delivered(sent.distributions)
            other = await AsyncDevice.open(MemoryStore(), pool)
            await alice.trust_identity("bob", other.identity_key)
            await alice.establish(BOB, await other.prekey_bundle())
            later = await group.send(b"later")
            assert [event.why for event in told if event.name == "sender-key-rotated"] == ["first", "identity-replaced"]  # type: ignore[attr-defined]
            await other.group(GROUP).process(ALICE, await other.decrypt(ALICE, later.distributions[0].message))
            assert await other.group(GROUP).decrypt(ALICE, later.message) == b"later"
            del bob

    run(work)


# -- bad arguments ----------------------------------------------------------------------------------------------------


def test_a_bad_argument_costs_no_slot() -> None:
    """WRK-05: refused to its caller, and no job was ever taken for it."""

    async def work() -> None:
        async with pool_of() as (pool, _):
            alice, _ = await talking(pool)
            group = alice.group(GROUP)
            taken = pool.stats().taken
            calls = [
                lambda: alice.encrypt("bob", b"text"),  # type: ignore[arg-type]
                lambda: alice.encrypt(BOB, "text"),  # type: ignore[arg-type]
                lambda: alice.encrypt(BOB, bytes(262_129)),
                lambda: alice.encrypt_many(BOB, []),
                lambda: alice.encrypt_many(BOB, [b"text", None]),  # type: ignore[list-item]
                lambda: alice.decrypt(BOB, b"text"),  # type: ignore[arg-type]
                lambda: alice.decrypt(BOB, EncryptedMessage(MessageType.SIGNAL, bytes(600_000))),
                lambda: alice.decrypt_many(BOB, [b"text"]),  # type: ignore[list-item]
                lambda: alice.establish(BOB, b"bundle"),  # type: ignore[arg-type]
                lambda: alice.verify_bundle(None),  # type: ignore[arg-type]
                lambda: alice.generate_prekeys(0),
                lambda: alice.prekey_bundle(device_id=128),
                lambda: alice.maintain(top_up=-1),
                lambda: alice.trust_identity("", alice.identity_key),
                lambda: alice.trust_identity("bob", b"key"),  # type: ignore[arg-type]
                lambda: alice.safety_number("bob", local_identifier=b"", remote_identifier=b"b"),
                lambda: alice.safety_number("bob", local_identifier=b"a", remote_identifier=b"b", version=3),
                lambda: alice.with_application_rows(None),  # type: ignore[arg-type]
                lambda: group.send("text"),  # type: ignore[arg-type]
                lambda: group.encrypt(bytes(262_129)),
                lambda: group.set_members("bob"),  # type: ignore[arg-type]
                lambda: group.set_members(["bob"]),  # type: ignore[list-item]
                lambda: group.process(BOB, "text"),  # type: ignore[arg-type]
                lambda: group.decrypt(BOB, bytes(600_000)),
                lambda: group.delivered([b"text"]),  # type: ignore[list-item]
                lambda: group.forget_sender(None),  # type: ignore[arg-type]
            ]
            for call in calls:
                with pytest.raises(ProtocolError) as caught:
                    await call()
                assert caught.value.code in ("invalid-argument", "message-too-large")
            assert pool.stats().taken == taken

    run(work)


def test_bad_settings_of_a_device() -> None:
    async def work() -> None:
        async with pool_of() as (pool, _):
            with pytest.raises(InvalidArgument):
                await AsyncDevice.open(MemoryStore(), None)  # type: ignore[arg-type]
            with pytest.raises(InvalidArgument):
                await AsyncDevice.open(MemoryStore(), pool, compatibility=True)  # type: ignore[arg-type]
            with pytest.raises(InvalidArgument):
                (await AsyncDevice.open(MemoryStore(), pool)).group(b"id")  # type: ignore[arg-type]

    run(work)


def test_compatibility_is_told_to_the_workers() -> None:
    async def work() -> None:
        async with pool_of() as (pool, told):
            alice = await AsyncDevice.open(MemoryStore(), pool)
            options = Compatibility(untyped_public_keys=True)
            bob = await AsyncDevice.open(MemoryStore(), pool, compatibility=options)
            key = alice.identity_key
            assert await bob.parse_public_key(ALICE, key.data) == key
            with pytest.raises(ProtocolError) as caught:
                await alice.parse_public_key(BOB, key.data)
            assert caught.value.code == "invalid-key"
            assert "compatibility-used" in names(told)

    run(work)
