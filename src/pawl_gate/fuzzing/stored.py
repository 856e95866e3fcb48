"""Entry points of what is stored: records, rows in their seals, JSON files, and stores of earlier releases."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from pawl.crypto.keys import ChainKey, KeyPair, MessageSeed, PrivateKey, RootKey
from pawl.errors import CorruptStore, StorageError, UnsupportedSchema
from pawl.group.state import Member, OwnGroup, ReceivedChain, ReceivedKeys, SendingKey
from pawl.session.state import PendingPreKey, ReceivingChain, SendingChain, Session
from pawl.storage import SQLiteStore, json_file, migrate_sqlite
from pawl.storage.contract import Table
from pawl.storage.memory import MemoryStore
from pawl.storage.seal import Seal
from pawl.wire import group_records, records, records_pb2
from pawl_gate.fuzzing import fields, plain
from pawl_gate.fuzzing.broken import Broken
from pawl_gate.fuzzing.entries import Prepared
from pawl_gate.fuzzing.fields import Dice, Shape
from pawl_gate.fuzzing.plain import Plain
from pawl_gate.fuzzing.reading import PRIME
from pawl_gate.targets.inprocess import SeededRng
from pawl_gate.targets.medium import FAST

# -- records ----------------------------------------------------------------------------------------------------------


def _index_is_good(data: bytes) -> bool:
    keys = [data[at : at + 34] for at in range(0, len(data), 34)]
    whole = all(len(key) == 34 and key[:2] == b"\x0a\x20" for key in keys)
    return whole and 1 <= len(keys) <= 41 and len(set(keys)) == len(keys)


def _identity_is_good(data: bytes) -> bool:
    return len(data) == 34 and data[:2] == b"\x0a\x20" and int.from_bytes(data[2:], "little") < PRIME


Kind = tuple[str, Callable[[bytes], Any], Callable[[Any], bytes], Any, Callable[[bytes], bool] | None]
"""Name, decoder, encoder, the package's class, and what must be read, where that is easily said."""

KINDS: Final[tuple[Kind, ...]] = (
    ("session", records.decode_session, records.encode_session, records_pb2.SessionRecord, None),
    ("session-index", records.decode_session_index, records.encode_session_index, None, _index_is_good),
    ("identity", records.decode_identity, records.encode_identity, None, _identity_is_good),
    (
        "skipped-key",
        records.decode_message_seed,
        records.encode_message_seed,
        None,
        lambda data: len(data) == 32,
    ),
    ("prekey", records.decode_prekey, records.encode_prekey, records_pb2.PreKeyRecord, None),
    (
        "signed-prekey",
        records.decode_signed_prekey,
        records.encode_signed_prekey,
        records_pb2.SignedPreKeyRecord,
        None,
    ),
    (
        "local-identity",
        records.decode_local_identity,
        records.encode_local_identity,
        records_pb2.LocalIdentityRecord,
        None,
    ),
    ("own-group", group_records.decode_own_group, group_records.encode_own_group, records_pb2.GroupRecord, None),
    (
        "received-keys",
        group_records.decode_received_keys,
        group_records.encode_received_keys,
        records_pb2.ReceivedSenderKeyRecord,
        None,
    ),
    ("member", group_records.decode_member, group_records.encode_member, records_pb2.GroupMemberRecord, None),
)
"""Positions are part of the byte form: only append."""


def _record(data: bytes) -> str:
    """The first byte says which kind of record the rest is."""
    name, decode, encode, package, is_good = KINDS[data[0] % len(KINDS) if data else 0]
    record = data[1:]
    try:
        value = decode(record)
    except CorruptStore as refusal:
        if is_good is not None and is_good(record):
            raise Broken("PAR-05", f"{name}: a good record is refused: {refusal}") from None
        return f"{name}: {refusal}"
    except Exception as error:
        raise Broken("PAR-05", f"{name}: {type(error).__name__}: {error}") from error
    if is_good is not None and not is_good(record):
        raise Broken("PAR-05", f"{name}: a record is read that no store writes")
    # One value has one spelling: ours, and the package's.
    if encode(value) != record:
        raise Broken("PAR-05", f"{name}: a record is read that is not as it was written")
    if package is not None and package.FromString(record).SerializeToString(deterministic=True) != record:
        raise Broken("PAR-05", f"{name}: the protobuf package writes what it read in another way")
    return "; ".join([f"{name}: read", *(f"{name}: {tag}, {size} bits" for tag, size in _places(record))])


def _places(record: bytes) -> list[tuple[int, int]]:
    _, parts, _ = fields.take_apart(record, Shape(header=0))
    return [(fields.read_varint(part, 0)[0], len(part).bit_length()) for part in parts[:16]]


def _examples() -> list[bytes]:
    """A record of each kind, some of them with all that they may hold."""
    rng = SeededRng(b"records")
    pair, other = KeyPair.generate(rng), KeyPair.generate(rng)
    chain_key = ChainKey(rng(32))
    chain = ReceivingChain(other.public, chain_key, 7, 3)
    session = Session(
        version=3,
        base_key=pair.public,
        local_identity=pair.public,
        remote_identity=other.public,
        local_registration_id=1,
        remote_registration_id=300,
        root_key=RootKey(rng(32)),
        sending=SendingChain(pair, chain_key, 0),
        receiving=(chain, chain),
        previous_counter=200,
        pending=PendingPreKey(5, 1, pair.public, 1_700_000_000),
    )
    bare = session._replace(receiving=(), pending=None)
    received = ReceivedChain(1, pair.public, chain_key, 2**32, 9)
    own = SendingKey(7, 0, chain_key, pair)
    values: tuple[tuple[int, Any], ...] = (
        (0, session),
        (0, bare),
        (1, (rng(32), rng(32))),
        (2, pair.public),
        (3, MessageSeed(rng(32))),
        (4, records.PreKey(0, pair)),
        (5, records.SignedPreKey(3, pair, bytes(64), 1, 2)),
        (5, records.SignedPreKey(3, pair, bytes(64), 1)),
        (6, records.LocalIdentity(KeyPair.from_private(PrivateKey(rng(32))), 5, 1, 2)),
        (7, OwnGroup(own, 3, 1, 0)),
        (8, ReceivedKeys(pair.public, (received, received._replace(chain_id=2)), 2)),
        (8, ReceivedKeys(None, (), 0)),
        (9, Member(7, pair.public, True)),
        (9, Member(None, None, False)),
    )
    return [bytes([kind]) + KINDS[kind][2](value) for kind, value in values]


_CHAIN: Final = Shape(header=0)


def stored_record() -> Prepared:
    """Every kind of record."""
    # The byte that says the kind stands before the fields; sessions and groups have fields of fields.
    shape = Shape(header=1, inside={2: _CHAIN, 8: _CHAIN, 9: _CHAIN, 11: _CHAIN})
    mutate = plain.mixed(fields.mutator(shape), fields.mutator(shape), plain.mutate)
    cross, form = fields.crossing(shape), fields.form(shape)
    return Plain(_record, frozenset({"PAR-05", "ATM-06"}), _examples(), mutate, cross, form).prepared()


# -- rows in their seals ----------------------------------------------------------------------------------------------

STORES: Final = (bytes(range(16)), bytes(range(1, 17)))
TABLES: Final = tuple(Table)
SEALS: Final = tuple(Seal(store) for store in STORES)


def _checksum(store: bytes, table: Table, key: bytes, version: int, rest: bytes) -> bytes:
    """Source: docs/reference/stored-records.md."""
    bound = b"%b\0%b%b%b%b" % (
        table.value.encode(),
        version.to_bytes(8, "big"),
        len(key).to_bytes(2, "big"),
        key,
        rest,
    )
    return blake2b(bound, digest_size=16, salt=store, person=b"pawl record").digest()


def _row(data: bytes) -> str:
    """A row sealed for one place and opened for another: 12 bytes say which, the rest is the value."""
    head, value = (data + bytes(12))[:12], data[12:]
    stores = head[0] & 1, head[0] >> 1 & 1
    tables = TABLES[head[1] % len(TABLES)], TABLES[head[2] % len(TABLES)]
    keys = data[3 : 3 + head[3] % 5], data[3 : 3 + head[4] % 5]
    versions = head[5] + 1, (head[6] + 1 if head[0] & 4 else head[5] + 1)
    tables = tables if head[0] & 8 else (tables[0], tables[0])
    keys = keys if head[0] & 16 else (keys[0], keys[0])
    schema = head[7] if head[0] & 32 else 1
    rest = bytes([schema]) + value
    sealed = _checksum(STORES[stores[0]], tables[0], keys[0], versions[0], rest) + rest
    if head[0] & 64:
        at = (head[8] << 8 | head[9]) % len(sealed)
        sealed = sealed[:at] + bytes([sealed[at] ^ 1 << head[10] % 8]) + sealed[at + 1 :]
    if head[0] & 128:
        sealed = sealed[: head[11]]
    whole = _checksum(STORES[stores[1]], tables[1], keys[1], versions[1], sealed[16:]) == sealed[:16]
    whole = whole and len(sealed) > 16
    try:
        place, row = SEALS[stores[1]].open(tables[1], keys[1], sealed, versions[1])
    except UnsupportedSchema:
        if not whole or sealed[16] == 1:
            raise Broken("ATM-07", "a record of this schema, or a damaged one, is said to be of another") from None
        return "another schema"
    except CorruptStore as refusal:
        if whole:
            raise Broken("ATM-08", f"a whole record is refused: {refusal}") from None
        return f"{refusal}"
    except Exception as error:
        raise Broken("ATM-06", f"{type(error).__name__}: {error}") from error
    if not whole or sealed[16] != 1 or (place, row.value, row.version) != (keys[1], sealed[17:], versions[1]):
        raise Broken("ATM-08", "a record is opened that was not written so for this place")
    if SEALS[stores[1]].close(tables[1], place, row.value, row.version) != sealed:
        raise Broken("ATM-08", "what was opened is sealed in another way")
    return f"{tables[1].value}: opened"


def sealed_row() -> Prepared:
    """Rows in their seals."""
    seeds = [bytes([flags, at, at + 1, 2, 3, 4, 5, 2, 0, 17, 3, 20]) + b"value" for at, flags in enumerate(_FLAGS)]
    return Plain(_row, frozenset({"ATM-06", "ATM-07", "ATM-08", "PAR-05"}), seeds).prepared()


_FLAGS: Final = (0, 1, 3, 4, 8, 16, 32, 64, 128, 255)

# -- JSON files -------------------------------------------------------------------------------------------------------


def _json(data: bytes) -> str:
    """Even first byte: the rest is the body of a file, which gets a valid checksum; odd: it is the file."""
    file = data[1:]
    if data[:1] and data[0] % 2 == 0:
        schema = 2 if data[0] % 4 == 0 else data[0]
        digest = blake2b(b"%d\0%b" % (schema, file), digest_size=16, person=b"pawl json").hexdigest()
        head = b'{"format":"pawl store","schema":%d,"checksum":"%b","store":' % (schema, digest.encode())
        file = head + file + b"}\n"
    try:
        store_id, rows = json_file.read_json(file)
        MemoryStore(records=rows, store_id=store_id)
    except (CorruptStore, UnsupportedSchema) as refusal:
        return f"{refusal}"[:60]
    except Exception as error:
        raise Broken("PAR-05", f"{type(error).__name__}: {error}") from error
    again = json_file.write_json(store_id, {table: rows.get(table, {}) for table in Table})
    # From the present schema's head on, one store has one spelling.
    if again.split(b'"store":', 1)[1] != file.split(b'"store":', 1)[1]:
        raise Broken("PAR-05", "a file is read that is not as it was written")
    return "; ".join(["read", *(f"{table.value}, {len(shelf)}" for table, shelf in rows.items())])


def _json_seeds() -> list[bytes]:
    memory = MemoryStore(store_id=STORES[0], records={})
    with memory.transaction() as tx:
        tx.put(Table.IDENTITY, b"alice", b"value", version=0)
        tx.put(Table.SKIPPED_KEY, b"", bytes(32), version=0)
    whole = json_file.write_json(memory.store_id, memory.records_inside())
    body = whole.split(b'"store":', 1)[1][:-2]
    return [b"\x01" + whole, b"\x00" + body, b"\x02" + body]


JSON_WORDS: Final = (
    b'"id"',
    b'"rows"',
    b'"identity"',
    b'"session"',
    b"[1,",
    b"null",
    b"{}",
    b"[]",
    b'"AA=="',
    b"1e5",
    b" ",
)


def words(several: tuple[bytes, ...]) -> plain.Mutate:
    """A mutator that puts words in, or puts one in the place of what stands between two marks."""

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        dice = Dice(seed)
        word = several[dice.below(len(several))]
        marks = [at for at, byte in enumerate(data) if byte in b',:{}[]"']
        if not marks:
            return (data + word)[:max_size]
        at = dice.below(len(marks))
        start = marks[at]
        end = marks[min(at + 1 + dice.below(3), len(marks) - 1)]
        match dice.below(4):
            case 0:
                return (data[:start] + word + data[start:])[:max_size]
            case 1:
                return (data[: start + 1] + word + data[end:])[:max_size]
            case 2:
                return data[:start] + data[end:]
        # A member once more.
        return (data[:end] + data[start:end] + data[end:])[:max_size]

    return mutate


def json_store() -> Prepared:
    """A store in a JSON file."""
    mutate = plain.mixed(words(JSON_WORDS), words(JSON_WORDS), plain.mutate)
    return Plain(_json, frozenset({"PAR-05", "ATM-06", "ATM-07"}), _json_seeds(), mutate).prepared()


# -- stores of earlier releases ---------------------------------------------------------------------------------------

OLD: Final = (
    *("local", "identity", "session_index", "session", "skipped_key", "prekey", "signed_prekey", "seen_base_key"),
    "application",
)
TABLE: Final = (
    "CREATE TABLE {} (key BLOB NOT NULL PRIMARY KEY, value BLOB NOT NULL, version INTEGER NOT NULL) WITHOUT ROWID"
)
META: Final = "CREATE TABLE meta (name TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
"""What the releases with schema 1 to 3 wrote, word for word, as in tests/storage/test_migration.py."""


def _old_rows(data: bytes) -> dict[tuple[str, bytes], tuple[object, object]]:
    """Rows, each of them four bytes (table; how long the key and the value are; version) and what these say."""
    found: dict[tuple[str, bytes], tuple[object, object]] = {}
    at = 2
    while at + 4 <= len(data) and len(found) < 12:
        table, size, length, version = data[at : at + 4]
        at += 4
        key, at = data[at : at + size % 32], at + size % 32
        value, at = data[at : at + length % 64], at + length % 64
        odd = version >= 0xF0
        # What SQLite lets stand there and no store writes: a text, an integer, a version below 1.
        stored: object = (value, "text", 7, value)[version % 4] if odd else value
        found[OLD[table % len(OLD)], key] = stored, (1, 1, 1, -version)[version % 4] if odd else version + 1
    return found


class _Migration:
    """Writes a store of an earlier schema, migrates it, and reads it back."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(dir=FAST)
        self._path = Path(self._folder.name) / "pawl.db"

    def hold(self, data: bytes) -> str:
        """Two bytes say which schema and what else is odd, the rest is rows."""
        schema = (data[0] if data else 0) % 5
        tables = OLD[:-1] if schema == 1 else OLD
        rows = {place: row for place, row in _old_rows(data).items() if place[0] in tables}
        for left in os.scandir(self._folder.name):
            os.unlink(left.path)
        self._write(schema, tables, rows, odd=bool(len(data) > 1 and data[1] & 1))
        good = all(type(value) is bytes and type(version) is int and version >= 1 for value, version in rows.values())
        before = self._content()
        try:
            migrate_sqlite(self._path)
            store = SQLiteStore(self._path)
        except (CorruptStore, UnsupportedSchema) as refusal:
            if schema in (1, 2, 3) and good and not (len(data) > 1 and data[1] & 1):
                raise Broken("ATM-07", f"a store of schema {schema} is refused: {refusal}") from None
            if self._content() != before:
                raise Broken("ATM-06", "a store that was refused is not as it was") from None
            return f"schema {schema}: {refusal}"[:80]
        except Exception as error:
            raise Broken("PAR-05", f"{type(error).__name__}: {error}") from error
        try:
            return self._read(store, schema, rows)
        finally:
            store.close()

    def _read(self, store: SQLiteStore, schema: int, rows: dict[tuple[str, bytes], tuple[object, object]]) -> str:
        found: dict[tuple[str, bytes], tuple[object, object]] = {}
        try:
            with store.transaction() as tx:
                for table in Table:
                    found |= {(table.value, key): (row.value, row.version) for key, row in tx.scan(table, b"")}
        except (StorageError, CorruptStore) as refusal:
            raise Broken("ATM-07", f"a migrated store cannot be read: {refusal}") from None
        if found != rows:
            raise Broken("ATM-07", "a migrated store has other rows")
        return f"schema {schema}: migrated, {len(rows)} rows"

    def _write(self, schema: int, tables: tuple[str, ...], rows: Any, *, odd: bool) -> None:
        with closing(sqlite3.connect(self._path, isolation_level=None)) as file:
            file.execute("PRAGMA journal_mode = WAL")
            file.execute("BEGIN EXCLUSIVE")
            file.execute(f"PRAGMA application_id = {0x5061776C}")
            file.execute(f"PRAGMA user_version = {schema}")
            for name in tables[: -1 if odd else None]:
                file.execute(TABLE.format(name))
            if schema == 3:
                file.execute(META)
                file.execute("INSERT INTO meta VALUES ('store_id', ?)", (STORES[0],))
            for (name, key), (value, version) in rows.items():
                if odd and name == tables[-1]:
                    continue
                stored = value
                if schema == 3 and type(value) is bytes and type(version) is int and version >= 1:
                    rest = b"\1" + value
                    stored = _checksum(STORES[0], Table(name), key, version, rest) + rest
                file.execute(f"INSERT INTO {name} VALUES (?, ?, ?)", (key, stored, version))  # noqa: S608 - ours
            file.execute("COMMIT")

    def _content(self) -> object:
        with closing(sqlite3.connect(self._path)) as file:
            names = sorted(name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'"))
            rows = [(name, sorted(map(repr, file.execute(f"SELECT * FROM {name}")))) for name in names]  # noqa: S608
            return rows, file.execute("PRAGMA user_version").fetchall()


def migration() -> Prepared:
    """Stores of earlier schemas, and of none."""
    row = bytes((1, 5, 4, 0)) + b"alice" + b"some"
    wrong = bytes((3, 2, 4, 0xF3)) + b"abpins"
    seeds = [bytes([schema, 0]) + row + bytes((0, 0, 3, 9)) + b"xyz" for schema in range(5)]
    seeds += [bytes((2, 0)) + row + wrong, bytes((3, 1)) + row, bytes((2, 0)) + bytes((0, 2, 2, 0xF1)) + b"abcd"]
    harness = _Migration()
    return Plain(harness.hold, frozenset({"ATM-06", "ATM-07", "PAR-05"}), seeds).prepared()


__all__ = ["json_store", "migration", "sealed_row", "stored_record"]
