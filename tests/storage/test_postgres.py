"""What the PostgreSQL store adds to the contract, over a real server that is stopped, crashed and started again."""

# ruff: noqa: PT012 - what is tested is a whole transaction that ends with an exception.
from __future__ import annotations

import socket
import threading
import traceback
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import psycopg
import pytest

from pawl import Device, Event, MemoryStore
from pawl.errors import (
    Conflict,
    CorruptStore,
    InvalidArgument,
    OutcomeUnknown,
    StorageError,
    StoreBusy,
    UnsupportedSchema,
)
from pawl.events import ConflictRetried
from pawl.storage import Row, Table
from pawl.storage.postgres import PostgresStore, _commit_refusal
from pawl_gate.leaks import leaked
from pawl_gate.trials.postgres_server import Server
from tests.devices import ALICE, BOB
from tests.test_texts import texts

pytestmark = pytest.mark.postgres


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return f"s{abs(hash(request.node.nodeid)):x}"


@pytest.fixture
def store(postgres_server: Server, name: str) -> Iterator[PostgresStore]:
    with closing(PostgresStore(postgres_server.conninfo, name=name)) as store:
        yield store


def put(store: PostgresStore, key: bytes, value: bytes = b"value", version: int = 0) -> None:
    with store.transaction() as transaction:
        transaction.put(Table.SESSION, key, value, version=version)


def get(store: PostgresStore, key: bytes) -> Row | None:
    with store.transaction() as transaction:
        return transaction.get(Table.SESSION, key)


def execute(server: Server, statement: str) -> None:
    with psycopg.connect(server.conninfo, autocommit=True) as editor:
        editor.execute(statement)


# -- a server that goes away -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_after_a_restart_it_goes_on(postgres_server: Server, store: PostgresStore, how: str) -> None:
    """A server that was stopped, or that crashed, and is there again: nothing acknowledged is lost, nobody reopens."""
    put(store, b"a")
    postgres_server.stop(how)
    postgres_server.start()
    assert get(store, b"a") == Row(b"value", 1)
    put(store, b"a", b"next", version=1)


def test_while_it_is_away(postgres_server: Server, name: str) -> None:
    """A typed refusal within the timeout, and then it goes on."""
    with closing(PostgresStore(postgres_server.conninfo, name=name, busy_timeout=1)) as store:
        put(store, b"a")
        postgres_server.stop()
        try:
            with pytest.raises(StorageError, match="cannot be reached"):
                get(store, b"a")
            with pytest.raises(StorageError, match="cannot be reached"):
                PostgresStore(postgres_server.conninfo, name=name, busy_timeout=1)
        finally:
            postgres_server.start()
        assert once_it_is_back(store, b"a") == Row(b"value", 1)


def once_it_is_back(store: PostgresStore, key: bytes, tries: int = 20) -> Row | None:
    """The pool asks again after a while, which may be longer than the store waits, a second here: so the caller asks again."""
    for _ in range(tries):
        with suppress(StorageError):
            return get(store, key)
    return get(store, key)


def test_a_crash_inside_a_transaction(postgres_server: Server, store: PostgresStore) -> None:
    """ATM-01: "exactly the state before": the server died before the commit was asked for."""
    with pytest.raises(StorageError), store.transaction() as transaction:
        transaction.put(Table.SESSION, b"a", b"", version=0)
        postgres_server.stop("immediate")
        postgres_server.start()
        transaction.put(Table.SESSION, b"b", b"", version=0)
    assert get(store, b"a") is None


def test_a_connection_lost_at_the_commit(postgres_server: Server, store: PostgresStore) -> None:
    """WRK-03: "one that may have committed ends as `OutcomeUnknown`"; the next transaction looks what is there."""
    with pytest.raises(OutcomeUnknown), store.transaction() as transaction:
        transaction.put(Table.SESSION, b"a", b"", version=0)
        postgres_server.stop("immediate")
        postgres_server.start()
    assert get(store, b"a") in (None, Row(b"", 1))


# -- two writers -------------------------------------------------------------------------------------------------------


def test_of_two_that_overlap_one_is_told(postgres_server: Server, name: str, store: PostgresStore) -> None:
    """ATM-04: "one wins, the other is told (conflict)": where one read what the other wrote, missing rows included."""
    with closing(PostgresStore(postgres_server.conninfo, name=name)) as other:
        put(store, b"a")
        with pytest.raises(Conflict), store.transaction() as transaction:
            row = transaction.get(Table.SESSION, b"a")
            assert row is not None
            put(other, b"a", b"theirs", version=1)
            transaction.put(Table.SESSION, b"a", b"ours", version=1)
        assert get(store, b"a") == Row(b"theirs", 2)
        # Each reads that the other's row is not there, and writes its own: only a serializable database notices.
        with pytest.raises(Conflict), store.transaction() as transaction:
            assert transaction.count(Table.PREKEY, b"") == 0
            with other.transaction() as theirs:
                assert theirs.count(Table.PREKEY, b"") == 0
                theirs.put(Table.PREKEY, b"1", b"", version=0)
            transaction.put(Table.PREKEY, b"2", b"", version=0)


def test_a_held_row_is_busy(postgres_server: Server, name: str, store: PostgresStore) -> None:
    """A writer that holds the row for longer than the busy timeout: told by name, not waited for."""
    put(store, b"a")
    with (
        closing(PostgresStore(postgres_server.conninfo, name=name, busy_timeout=0.1)) as other,
        store.transaction() as transaction,
    ):
        transaction.put(Table.SESSION, b"a", b"", version=1)
        with pytest.raises(StoreBusy):
            put(other, b"a", b"theirs", version=1)


def test_two_devices_on_one_store_use_each_counter_once(postgres_server: Server, name: str) -> None:
    """CTR-02: "two processes sharing a store": 2 x 30 ciphertexts at once, all read, conflicts taken again."""
    bob = Device(MemoryStore())
    heard: list[Event] = []
    stores = [PostgresStore(postgres_server.conninfo, name=name, busy_timeout=30) for _ in range(2)]
    first = Device(stores[0], on_event=heard.append)
    first.establish(BOB, bob.prekey_bundle())
    devices = [first, Device(stores[1], on_event=heard.append)]
    messages: list[Any] = []

    def send(device: Device) -> None:
        sent = 0
        while sent < 30:
            try:
                messages.append(device.encrypt(BOB, b"text"))
                sent += 1
            except Conflict:
                # Five times in a row the other one was faster: told, and nothing sent.
                continue

    threads = [threading.Thread(target=send, args=(device,)) for device in devices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(messages) == 60
    assert [bob.decrypt(ALICE, message) for message in messages] == [b"text"] * 60
    # Control: they did come between each other.
    assert [each for each in heard if isinstance(each, ConflictRetried)]
    for store in stores:
        store.close()


def test_two_creators(postgres_server: Server, name: str) -> None:
    """Of two that make the store at once, both open the same one."""
    found: list[bytes] = []

    def make() -> None:
        with closing(PostgresStore(postgres_server.conninfo, name=name, busy_timeout=30)) as store:
            found.append(store.store_id)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 4
    assert len(set(found)) == 1


# -- what is there -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ("DROP TABLE {}.rows", CorruptStore),
        ("DROP TABLE {}.meta", CorruptStore),
        ("ALTER TABLE {}.rows DROP COLUMN version", CorruptStore),
        ("ALTER TABLE {}.rows ADD COLUMN extra text", CorruptStore),
        ("DELETE FROM {}.meta", CorruptStore),
        ("UPDATE {}.meta SET value = '' WHERE name = 'store_id'", CorruptStore),
        ("UPDATE {}.meta SET value = '2' WHERE name = 'schema'", UnsupportedSchema),
    ],
)
def test_a_store_that_lost_something(
    postgres_server: Server, name: str, store: PostgresStore, change: str, refusal: type[StorageError]
) -> None:
    """ATM-06, ATM-07: "never silently treated as empty and never overwritten"."""
    put(store, b"a")
    execute(postgres_server, change.format(name))
    for _ in range(2):
        with pytest.raises(refusal) as caught:
            PostgresStore(postgres_server.conninfo, name=name)
        assert type(caught.value) is refusal


def test_tables_that_vanish_while_it_is_open(postgres_server: Server, name: str, store: PostgresStore) -> None:
    put(store, b"a")
    execute(postgres_server, f"DROP TABLE {name}.rows")
    with pytest.raises(CorruptStore):
        get(store, b"a")


def test_a_server_that_does_not_sync(postgres_server: Server, name: str) -> None:
    """ATM-02: "only after the state that spent its key is durable": such a server could not promise it."""
    postgres_server.stop()
    postgres_server.start("-c fsync=off")
    try:
        with pytest.raises(StorageError, match="fsync"):
            PostgresStore(postgres_server.conninfo, name=name)
    finally:
        postgres_server.stop()
        postgres_server.start()


def test_an_oversized_value_does_not_leave_the_server(postgres_server: Server, name: str, store: PostgresStore) -> None:
    """PAR-03: "before allocation"."""
    put(store, b"a")
    execute(postgres_server, f"UPDATE {name}.rows SET value = decode(repeat('00', 1000000), 'hex')")
    with pytest.raises(CorruptStore, match="a value that no store writes"):
        get(store, b"a")


def test_wrong_arguments_are_refused(postgres_server: Server) -> None:
    names: list[Any] = ["", "Upper", "a-b", "1a", "pg_pawl", 'a"b', "a" * 64, None, b"pawl"]
    for wrong in names:
        with pytest.raises(InvalidArgument):
            PostgresStore(postgres_server.conninfo, name=wrong)
    with pytest.raises(InvalidArgument):
        PostgresStore(None)  # type: ignore[arg-type]


def test_no_text_holds_the_password() -> None:
    """KEY-06: what the driver says of a connection is not repeated."""
    # A traceback shows the line that called.
    conninfo = "host=/nowhere user=pawl password=secret1"
    with pytest.raises(StorageError) as refusal:
        PostgresStore(conninfo, busy_timeout=0)
    assert "secret1" not in "".join(traceback.format_exception(refusal.value))


@pytest.mark.parametrize(
    "conninfo",
    [
        "password=two secret1",
        "postgres://user:secret1@[host/db",
        "secret1=7",
        "host=secret1\0 user=pawl",
        "password=secret1 host=\ud800",
    ],
)
def test_a_broken_connection_string_is_quoted_nowhere(conninfo: str, caplog: pytest.LogCaptureFixture) -> None:
    """KEY-06: the driver quotes the part of it that it does not understand; neither a log nor a traceback does."""
    with pytest.raises(InvalidArgument) as refusal:
        PostgresStore(conninfo, busy_timeout=0)
    assert "secret1" not in "".join(traceback.format_exception(refusal.value)) + caplog.text


def test_what_the_server_quotes_goes_no_further(postgres_server: Server, name: str, store: PostgresStore) -> None:
    """KEY-06: a server's error quotes whole rows ("Failing row contains"); what is raised here never shows it."""
    execute(postgres_server, f"ALTER TABLE {name}.rows ADD CHECK (octet_length(value) < 10)")
    secret = b"secret value"
    with pytest.raises(StorageError) as refusal:
        put(store, b"a", secret)
    shown = "".join(traceback.format_exception(refusal.value))
    assert leaked([("traceback", shown)], [secret]) == ()
    assert "Failing row" not in shown


def test_a_database_without_an_encoding(postgres_server: Server, name: str) -> None:
    """A store is found again in a database of the encoding SQL_ASCII, whose texts the driver would give as bytes."""
    execute(postgres_server, f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0")
    conninfo = f"{postgres_server.conninfo} dbname={name}"
    for version in range(2):
        with closing(PostgresStore(conninfo, name=name)) as store:
            put(store, b"a", version=version)


def test_a_peer_that_vanishes_is_noticed(postgres_server: Server, name: str) -> None:
    """A machine that loses its power in a transaction must not hold its rows for the hours that systems wait by
    default: both ends ask for a sign of life. Not covered: a network that is really cut.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    postgres_server.stop()
    postgres_server.start(f"-c listen_addresses=127.0.0.1 -c port={port}")
    try:
        conninfo = f"host=127.0.0.1 port={port} user=pawl dbname=postgres tcp_user_timeout=7000"
        with closing(PostgresStore(conninfo, name=name)) as store, store._connected() as connection:
            shown = [
                connection.execute(f"SHOW tcp_keepalives_{what}").fetchall()[0][0]
                for what in ("idle", "interval", "count")
            ]
            assert shown == ["10", "5", "4"]
            given = connection.info.get_parameters()
            assert (given["keepalives_idle"], given["keepalives_interval"], given["keepalives_count"]) == (
                "10",
                "5",
                "4",
            )
            # What the application says itself stays.
            assert given["tcp_user_timeout"] == "7000"
    finally:
        postgres_server.stop()
        postgres_server.start()


def test_a_code_that_says_that_it_is_not_known() -> None:
    """WRK-03: "one that may have committed ends as `OutcomeUnknown`": a pooler's word for it, in the class of
    conflicts.
    """
    for error in (psycopg.errors.StatementCompletionUnknown, psycopg.errors.AdminShutdown, psycopg.OperationalError):
        assert type(_commit_refusal(error())) is OutcomeUnknown
    for error in (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected):
        assert type(_commit_refusal(error())) is Conflict


def test_nothing_that_lives_says_its_secrets(store: PostgresStore) -> None:
    """KEY-06: what Python writes of a store, a transaction and its statements while it holds secrets."""
    with store.transaction() as transaction:
        transaction.put(Table.SESSION, b"a", b"secret value", version=0)
        for living in (store, transaction, store._statements):
            assert leaked(texts(living), [b"secret value"]) == ()


def test_a_child_process_opens_its_own(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("pawl.storage.postgres.os.getpid", lambda: -1)
        with pytest.raises(StorageError, match="another process"):
            get(store, b"a")
        store.close()
    assert get(store, b"a") is None
