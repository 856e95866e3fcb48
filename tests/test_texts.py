"""KEY-06 over all texts: whatever the library can turn into words holds no secret.

The classes are found, not listed: each is filled with secrets by the types of its fields, or taken out of a living
device, and everything that Python writes of it is searched. A new class that cannot be filled, or whose bytes nobody
declared public, fails by itself. What refusals and log lines say is read from the code, so that no line is left out
because nothing reached it.

Not covered: a traceback that shows local variables, and a debugger.
"""

from __future__ import annotations

import ast
import builtins
import dataclasses
import importlib
import inspect
import itertools
import pickle
import pkgutil
import types
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import pytest

import pawl
from pawl import Device, MemoryStore, SQLiteStore
from pawl.announced import announced
from pawl.application import ApplicationRows
from pawl.crypto.keys import KeyPair, PrivateKey, _Secret
from pawl.group.own import OwnRows
from pawl.group.received import SenderRows
from pawl.node_import import _Import, _Node
from pawl.session.rows import Memos, PeerRows
from pawl.sources import system_rng
from pawl.storage.adapter import AdapterStore
from pawl.storage.contract import Row, Table, Transaction
from pawl.storage.json_file import JSONFileStore
from pawl.storage.sqlite import _STATEMENTS
from pawl.wire import group_records
from pawl.wire.messages import SIGNAL_SCHEMA
from pawl_gate.leaks import leaked
from pawl_gate.targets.observed import ObservedStore
from tests.devices import ALICE, BOB, Party
from tests.storage.adapters import DictAdapter

PLAINTEXT = b"what Alice said to Bob, and to nobody else"

# -- every class ------------------------------------------------------------------------------------------------------


def modules() -> list[types.ModuleType]:
    """Every module of the library but generated code."""
    names = [each.name for each in pkgutil.walk_packages(pawl.__path__, "pawl.") if not each.name.endswith("_pb2")]
    return [importlib.import_module(name) for name in names]


def classes() -> dict[str, type]:
    """Every class that the library defines, by module and name; refusals, enums and protocols hold no values."""
    found: dict[str, type] = {}
    for module in modules():
        for name, value in vars(module).items():
            if inspect.isclass(value) and value.__module__ == module.__name__ and value.__name__ == name:
                found[f"{module.__name__}.{name}"] = value
    return {
        name: kind
        for name, kind in found.items()
        if not issubclass(kind, BaseException | Enum) and not getattr(kind, "_is_protocol", False)
    }


class Unmakeable(Exception):
    """No value of this type can be made by itself."""


PUBLIC_BYTES: dict[tuple[str, str], bytes] = {
    # A public key, and what anybody on the network sees.
    ("PublicKey", "data"): bytes(31) + b"\x09",
    ("EncryptedMessage", "serialized"): b"serialized",
    ("SignalMessage", "ciphertext"): b"c" * 16,
    ("SignalMessage", "mac"): b"m" * 8,
    ("SignalMessage", "authenticated"): b"authenticated",
    ("SenderKeyMessage", "ciphertext"): b"c" * 16,
    ("SenderKeyMessage", "signature"): b"s" * 64,
    ("SenderKeyMessage", "signed"): b"signed",
    ("GroupSend", "message"): b"message",
    # Signatures are published.
    ("PublicSignedPreKey", "signature"): b"s" * 64,
    ("PreKeyBundle", "signed_prekey_signature"): b"s" * 64,
    ("SignedPreKey", "signature"): b"s" * 64,
    # Hashes of public keys and names, for people to compare.
    ("SafetyNumber", "local"): b"l" * 32,
    ("SafetyNumber", "remote"): b"r" * 32,
    # The key of a row: names, ids and public keys.
    ("Query", "key"): b"key",
    ("Write", "key"): b"key",
}
"""Fields of bytes that are no secret, with a value for each. All other bytes are secret until somebody decides."""


class Maker:
    """Makes values of any type from secrets that it remembers."""

    def __init__(self) -> None:
        self.secrets: list[bytes] = []
        self._numbers = itertools.count(1)

    def secret(self) -> bytes:
        """32 bytes that are found in no other text."""
        number = next(self._numbers)
        self.secrets.append(bytes((number * 7 + place * 37 + 201) % 256 for place in range(32)))
        return self.secrets[-1]

    def make(self, kind: Any, owner: str = "", field: str = "") -> Any:
        """A value of `kind`. Raises: Unmakeable."""
        if (owner, field) in PUBLIC_BYTES:
            return PUBLIC_BYTES[owner, field]
        simple: dict[Any, Callable[[], object]] = {
            bytes: self.secret,
            int: lambda: 1,
            float: lambda: 1.0,
            bool: lambda: True,
            str: lambda: "text",
            UUID: lambda: UUID(int=7),
            KeyPair: lambda: KeyPair.from_private(PrivateKey(self.secret())),
        }
        if kind in simple:
            return simple[kind]()
        origin, arguments = get_origin(kind), get_args(kind)
        if origin in (Union, types.UnionType):
            return self.make(next(each for each in arguments if each is not type(None)), owner, field)
        if origin is tuple:
            each = arguments[:1] if arguments[1:] == (...,) else arguments
            return tuple(self.make(one, owner, field) for one in each)
        if origin is not None and issubclass(origin, Callable):  # type: ignore[arg-type]  # an ABC is a class
            return lambda *_: None
        if inspect.isclass(kind) and issubclass(kind, Enum):
            return next(iter(kind))
        if inspect.isclass(kind) and issubclass(kind, _Secret):
            return kind(self.secret())
        if dataclasses.is_dataclass(kind) or hasattr(kind, "_fields"):
            hints = {name: hint for name, hint in get_type_hints(kind).items() if get_origin(hint) is not ClassVar}
            return kind(**{name: self.make(hint, kind.__name__, name) for name, hint in hints.items()})  # type: ignore[operator]
        raise Unmakeable(f"{kind!r} of {owner}.{field}")


def texts(value: object) -> Iterator[tuple[str, str]]:
    """Everything that Python writes of a value without being told how."""
    yield "repr", repr(value)
    yield "str", str(value)
    yield "format", f"{value} {value!s} {value!r} {value!a}"
    yield "percent", "%s %r" % (value, value)  # noqa: UP031 - this is what is tried
    yield "inside", f"{[value]} { ({'key': value}) } {(value,)}"
    yield "as an exception's text", f"{ValueError(value)} {ValueError(value)!r}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield "asdict", f"{dataclasses.asdict(value)} {dataclasses.astuple(value)}"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        try:
            pickle.dumps(value, protocol)
        except Exception as error:
            yield "pickling", f"{error} {error!r} {error.__context__!r}"


def said(value: object, secrets: list[bytes]) -> tuple[str, ...]:
    """Where the text of a value holds a secret, and in which form."""
    return leaked(texts(value), secrets)


LIVING = {
    "pawl.node_import._Import",
    "pawl.node_import._Node",
    "pawl.announced._AnnouncedStore",
    "pawl.application.ApplicationRows",
    "pawl.device.Device",
    "pawl.group.own.OwnRows",
    "pawl.group.received.GroupMemos",
    "pawl.group.received.SenderRows",
    "pawl.group_device.Group",
    "pawl.session.rows.Memo",
    "pawl.session.rows.Memos",
    "pawl.session.rows.PeerRows",
    "pawl.storage.json_file.JSONFileStore",
    "pawl.storage.json_file._JSONTransaction",
    "pawl.storage.memory.MemoryStore",
    "pawl.storage.adapter.AdapterStore",
    "pawl.storage.adapter._AdapterTransaction",
    "pawl.storage.adapter._Block",
    "pawl.storage.memory.MemoryTransaction",
    "pawl.storage.memory._OpeningTransaction",
    "pawl.storage.memory._Shelf",
    "pawl.storage.rows.Turns",
    "pawl.storage.seal.Seal",
    "pawl.storage.sqlite.SQLiteStore",
    "pawl.storage.sqlite._SQLiteTransaction",
    "pawl.storage.sqlite._Statements",
    "pawl.storage.sqlite_file.Layout",
    "pawl.wire.scanner.Schema",
}
"""Classes that are no records: one of each is taken out of two devices that have talked."""

NOTHING_OF_ITS_OWN = {
    **dict.fromkeys(
        ("pawl.device_base.DeviceBase", "pawl.receiving.ReceivingDevice"),
        "parts of pawl.device.Device, which is looked at",
    ),
    "pawl.crypto.keys._Secret": "the base of secrets; the four that there are inherit its texts",
    **dict.fromkeys(
        (
            "pawl.storage.postgres.PostgresStore",
            "pawl.storage.postgres._PostgresTransaction",
            "pawl.storage.postgres._Statements",
        ),
        "needs a server: tests/storage/test_postgres.py looks at one of each",
    ),
    **dict.fromkeys(
        (
            "pawl.telemetry.Telemetry",
            "pawl.workers.desk.Batch",
            "pawl.workers.desk.Desk",
            "pawl.workers.desk._Parsed",
            "pawl.workers.device.AsyncDevice",
            "pawl.workers.foresight.Reader",
            "pawl.workers.group.AsyncGroup",
            "pawl.workers.job.Job",
            "pawl.workers.job.Lane",
            "pawl.workers.job.Outcome",
            "pawl.workers.messages.Frames",
            "pawl.workers.pool.WorkerPool",
            "pawl.workers.pool._Lanes",
            "pawl.workers.pool._Place",
            "pawl.workers.process.Worker",
            "pawl.workers.process._Given",
            "pawl.workers.step.Drawn",
            "pawl.workers.step.StepDevice",
            "pawl.workers.turns.DeskThread",
            "pawl.workers.turns._Piece",
            "pawl.workers.view.Recording",
            "pawl.workers.view.Span",
            "pawl.workers.view.View",
            "pawl.workers.view._RecordingTransaction",
        ),
        "needs workers: tests/workers/test_secrets.py looks at one of each",
    ),
}
"""Classes that are not made, and why."""


def test_every_class_is_looked_at() -> None:
    """A class is filled with secrets by its fields, taken out of a living device, or left out for a reason."""
    fillable = set()
    for name, kind in classes().items():
        try:
            Maker().make(kind)
        except Unmakeable:
            continue
        fillable.add(name)
    assert fillable | LIVING | set(NOTHING_OF_ITS_OWN) == set(classes())
    assert not fillable & LIVING


@pytest.mark.parametrize("name", sorted(set(classes()) - LIVING - set(NOTHING_OF_ITS_OWN)))
def test_no_record_says_its_secrets(name: str) -> None:
    """KEY-06: "no secret appears in ... `repr`", nor in anything else that Python writes of it."""
    maker = Maker()
    value = maker.make(classes()[name])
    assert said(value, maker.secrets) == ()


def test_nothing_that_lives_says_its_secrets(tmp_path: Path) -> None:
    """The same for devices, stores and what is between them, after a talk in which keys are kept and rows written."""
    alice, bob = Party(ALICE), Party(BOB)
    path_store = SQLiteStore(tmp_path / "carol.db")
    carol = Device(path_store, store_plaintext=lambda peer, text, rows: rows.put(b"key", text))
    alice.device.establish(BOB, carol.prekey_bundle())
    alice.send(bob)
    # The key of the one before is kept.
    carol.decrypt(ALICE, alice.send(bob, PLAINTEXT))
    # The same in a group, each way.
    groups = [device.group(UUID(int=7)) for device in (alice.device, carol)]
    for sender, receiver, address in ((groups[0], groups[1], ALICE), (groups[1], groups[0], BOB)):
        receiver.process(address, sender.create_distribution())
        sender.encrypt(b"passed over")
        receiver.decrypt(address, sender.encrypt(PLAINTEXT))
    with path_store.transaction() as tx:
        copy = {table: dict(tx.scan(table, b"")) for table in Table}
        secrets = [PLAINTEXT]
        for rows in (copy, alice.store.snapshot()):
            secrets += ObservedStore(MemoryStore(rows=rows)).ever
            secrets += secrets_of_groups(rows)
        memos = carol._memos
        living: list[object] = [carol, path_store, tx, memos, memos.sessions, memos.identities]
        living += [PeerRows(tx, ALICE, memos), ApplicationRows(tx), path_store._turns, Memos()]
        living += [*groups, carol._group_memos, *rows_of_groups(tx, carol)]
        living += [Row(PLAINTEXT, 1), *_STATEMENTS.values(), SIGNAL_SCHEMA, path_store._layout]
        living += over_an_adapter(alice.store)
        pair = {name: b64encode(carol._identity.private.data).decode() for name in ("privKey",)}
        pair["pubKey"] = b64encode(carol.identity_key.serialize()).decode()
        document = _Node({"identity": pair, "registrationId": 7}, "the document")
        living += [document, _Import(tx, document, system_rng, 0)]
        json_store = JSONFileStore(tmp_path / "dave.json")
        living += [json_store, json_store.transaction()]
        with alice.store.transaction() as memory_tx:
            living += [alice.device, alice.store, memory_tx, *alice.store._shelves.values()]
            found = {f"{type(each).__module__}.{type(each).__name__}": said(each, secrets) for each in living}
    # Two devices: identities, prekeys, the session's root, chains and ratchet key, and a kept key.
    assert len(secrets) > 20
    assert len(copy[Table.SKIPPED_KEY]) == 1
    assert set(found) >= LIVING
    assert {name: where for name, where in found.items() if where} == {}


def secrets_of_groups(rows: Mapping[Table, Mapping[bytes, Row]]) -> Iterator[bytes]:
    """The secrets in the rows of groups."""
    for row in rows[Table.SENDER_KEY].values():
        sending = group_records.decode_own_group(row.value).sending
        yield from (sending.chain_key.data, sending.signing.private.data)
    for row in rows[Table.RECEIVED_SENDER_KEY].values():
        yield from (each.chain_key.data for each in group_records.decode_received_keys(row.value).chains)
    yield from (row.value for row in rows[Table.KEPT_GROUP_KEY].values())


def rows_of_groups(tx: Transaction, device: Device) -> list[object]:
    memos = device._group_memos
    return [OwnRows(tx, UUID(int=7), memos, system_rng), SenderRows(tx, ALICE, UUID(int=7), memos)]


def over_an_adapter(store: MemoryStore) -> list[object]:
    """A device over an adapter, and what is between them, with the rows of `store`; and a store of its records."""
    adapted = AdapterStore(DictAdapter(), allow_non_atomic=True)
    with adapted.transaction() as tx:
        for table, rows in store.snapshot().items():
            for key, row in rows.items():
                tx.put(table, key, row.value, version=0)
        device = Device(MemoryStore())
        device._store = announced(adapted, None)
        opening = MemoryStore(records=store.records(), store_id=store.store_id).transaction()
        return [adapted, tx, tx._block, adapted._seal, device, device._store, opening]  # type: ignore[attr-defined]


class Kept:
    """Controls: classes as somebody may write them tomorrow."""

    @dataclasses.dataclass(frozen=True)
    class Plain:
        """A record that nobody thought about."""

        seed: bytes

    @dataclasses.dataclass(frozen=True)
    class Redacted:
        """A record whose `repr` was thought about, and whose `str` was not."""

        seed: bytes

        def __repr__(self) -> str:
            return "Redacted(<redacted>)"

        def __str__(self) -> str:
            return self.seed.hex()

    class Pair(NamedTuple):
        """A named tuple around a list of secrets."""

        numbers: tuple[tuple[int, bytes], ...]

    @dataclasses.dataclass(frozen=True)
    class Number:
        """A record that writes its key as a number."""

        key: PrivateKey

        def __repr__(self) -> str:
            return f"Number({int.from_bytes(self.key.data, 'big')})"

    @dataclasses.dataclass(frozen=True)
    class Unpicklable:
        """A record that says what it does not pickle."""

        key: PrivateKey

        def __repr__(self) -> str:
            return "Unpicklable(<redacted>)"

        def __reduce__(self) -> str:
            raise ValueError(f"{self.key.data!r} is not pickled")

    @dataclasses.dataclass(frozen=True)
    class Whole:
        """A record that is redacted, as far as nobody takes it to pieces."""

        seed: bytes = dataclasses.field(repr=False)


LEAKS = {
    Kept.Plain: "repr: as Python writes bytes",
    Kept.Redacted: "str: in hexadecimal",
    Kept.Pair: "repr: as Python writes bytes",
    Kept.Number: "repr: as a number",
    Kept.Unpicklable: "pickling: as Python writes bytes",
    Kept.Whole: "asdict: as Python writes bytes",
}


@pytest.mark.parametrize("kind", LEAKS, ids=lambda kind: kind.__name__)
def test_a_class_that_says_its_secret_is_found(kind: type) -> None:
    """Control: each of these would be found if it were in the library."""
    maker = Maker()
    assert LEAKS[kind] in said(maker.make(kind), maker.secrets)


def test_a_new_class_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: a class that is put into a module of the library is looked at, and one that cannot be filled is missed."""

    class Unknown:
        """It has no fields that say what they are."""

    for kind in (Kept.Plain, Unknown):
        monkeypatch.setattr(kind, "__module__", "pawl.address")
        monkeypatch.setattr(pawl.address, kind.__name__, kind, raising=False)
        assert classes()[f"pawl.address.{kind.__name__}"] is kind
    with pytest.raises(Unmakeable):
        Maker().make(Unknown)
    with pytest.raises(AssertionError):
        test_every_class_is_looked_at()


# -- every refusal, and every line of the log -------------------------------------------------------------------------

SAYS = {
    "pawl.application": {"what", "most", "why"},  # words of ours, a limit
    "pawl.crypto.keys": {"type(self).__name__", "name"},  # the name of a class or of an attribute
    "pawl.device_base": {"text", "pinned"},  # words of ours; a public key, in an exception that nobody outside sees
    "pawl.events": {"event", "event.level", "event.name", "{'pawl_event': event}", "type(error).__name__"},  # public
    "pawl.fingerprint": {"scanned[1]", "self.version"},  # version numbers
    "pawl.identity": {"callback", "what", "why"},  # words of ours
    # Where in the document something is wrong: names of ours, and numbers.
    "pawl.node_import": {"what", "name", "self.place", "at.place", "each.place", "found.place", "record.place"},
    "pawl.session.bundle": {"what", "most", "xeddsa.SIGNATURE_BYTES"},  # words of ours, limits
    "pawl.group_device": {"why", "tuple(without)"},  # words of ours; addresses, in an attribute
    "pawl.sources": {"length"},  # how many bytes were asked for
    "pawl.errors": {"text"},  # words of ours
    # Versions, limits, the name of a method; keys of rows, in attributes: names, ids and public keys.
    "pawl.storage.adapter": {"table.value", "version", "present", "name", "key", "found[0]"},
    "pawl.storage.json_file": {"schema", "error.strerror"},  # the system's words name files
    "pawl.storage.memory": {"table.value", "version", "old.version"},
    # The name of a class of errors and the server's code for it: its words may quote values.
    "pawl.storage.postgres": {"table.value", "version", "type(error).__name__", "error.sqlstate"},
    "pawl.storage.rows": {"table.value", "self.timeout", "most", "named", "counted"},
    "pawl.storage.seal": {"table.value", "text", "place", "row.version", "rest[0]"},
    "pawl.storage.sqlite": {"table.value", "version", "schema"},
    # The system's words name files, the engine's tables and files; neither has values.
    "pawl.storage.sqlite_file": {"schema", "error", "error.strerror"},
    "pawl.workers": {"__name__", "name"},  # of a module, and of what it lacks
    "pawl.workers.desk": {"each.value"},  # the name of a class of exceptions
    # What the same library said in another process; addresses, in an attribute; the name of a class of exceptions.
    "pawl.workers.messages": {
        "is_text(text)",
        "tuple((read_address(each) for each in members))",
        "type(error).__name__",
    },
    "pawl.workers.permitted": {"job.operation"},  # words of ours
    "pawl.workers.pool": {"limit"},  # words of ours
    "pawl.workers.process": {"index == 0", "why", "self._why"},  # words of ours
    "pawl.workers.settings": {"most", "name"},  # a limit, and its name
    # Names of attributes; in an exception that stays inside, a distribution.
    "pawl.workers.step": {"name", "distribution"},
    # Keys of rows, in an exception that stays inside: names, ids and public keys.
    "pawl.workers.view": {
        "Query(*place, limit)",
        "Query(*place, GET)",
        "Query(*place, COUNT)",
        "Query(table, key, GET)",
    },
    "pawl.wire.group_messages": {"data[0]"},  # the version byte of a received message
    "pawl.wire.messages": {"data[0]"},  # the version byte of a received message
    "pawl.wire.records": {"text"},  # words of ours
    "pawl.wire.scanner": {
        "name",
        "most",
        "missing",
        "tag",
        "wire_type",
    },  # of fields: names, limits, numbers
}
"""What may stand in the texts of refusals and log lines beside fixed words and constants, by module."""


def sayings(tree: ast.AST) -> Iterator[ast.expr]:
    """Every argument of a call that makes an exception or writes a line of the log."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        named = called.split(".")[-1]
        makes = named in REFUSALS or called in ("super().__init__", "print", "warnings.warn")
        if makes or (called.startswith(("LOGGER.", "logging.")) and named in LEVELS):
            yield from node.args
            yield from (each.value for each in node.keywords)


LEVELS = {"log", "debug", "info", "warning", "warn", "error", "exception", "critical"}
REFUSALS = {
    name
    for module in modules()
    for name, value in vars(module).items()
    if inspect.isclass(value) and issubclass(value, BaseException)
} | {name for name, value in vars(builtins).items() if inspect.isclass(value) and issubclass(value, BaseException)}


def interpolated(text: ast.expr) -> Iterator[str]:
    """What a text is made of beside fixed words and constants: the expressions, as they are written."""
    if isinstance(text, ast.Constant):
        return
    if isinstance(text, ast.IfExp):
        yield from (*interpolated(text.body), *interpolated(text.orelse))
    elif isinstance(text, ast.JoinedStr):
        for part in text.values:
            if isinstance(part, ast.FormattedValue):
                yield from interpolated(part.value)
    elif isinstance(text, ast.BinOp):
        yield from (*interpolated(text.left), *interpolated(text.right))
    elif not (isinstance(text, ast.Name) and text.id.lstrip("_").isupper()):
        yield ast.unparse(text)


def spoken(source: str) -> set[str]:
    """All that refusals and log lines of a module say beside fixed words and constants."""
    return {words for text in sayings(ast.parse(source)) for words in interpolated(text)}


def test_no_refusal_says_a_secret() -> None:
    """KEY-06: "no secret appears in logs, ... error texts": every place that makes one, reached or not."""
    found = {module.__name__: spoken(Path(module.__file__ or "").read_text("utf-8")) for module in modules()}
    assert {name: words for name, words in found.items() if words} == SAYS


def test_a_refusal_that_says_a_secret_is_found() -> None:
    """Control: a value in the text of a refusal or of a log line is found, however it gets there."""
    source = """
raise BadMac(f"expected {expected.hex()}")
error = StorageError("the row " + repr(row))
LOGGER.warning("a key: %s", key)
raise ValueError(plaintext) from None
"""
    assert spoken(source) == {"expected.hex()", "repr(row)", "key", "plaintext"}
