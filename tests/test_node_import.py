"""A device of node-libsignal is taken over in the middle of its conversations, and those go on with the live peer."""

from __future__ import annotations

import copy
import json
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pawl import Device, EncryptedMessage, MemoryStore, MessageType, ProtocolAddress, SQLiteStore
from pawl.errors import DuplicateMessage, InvalidArgument, ProtocolError
from pawl.node_import import Imported, import_from_node
from pawl.storage import Table

DRIVER = Path(__file__).resolve().parent.parent / "drivers" / "node-libsignal"
ALICE, BOB, CAROL = (ProtocolAddress(name, 1) for name in ("alice", "bob", "carol"))

pytestmark = pytest.mark.node_peer


class Node:
    """Devices of the peer, in a process of their own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["node", "conversation.js"], cwd=DRIVER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, what: str, who: str, other: str = "", **more: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": what, "who": who, "with": other, **more}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer
        return answer["result"]

    def talk(self, sender: str, receiver: str, text: str) -> None:
        message = self("encrypt", sender, receiver, text=text)
        assert self("decrypt", receiver, sender, message=message) == text

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def node() -> Iterator[Node]:
    made = Node()
    yield made
    made.close()


def ours(message: dict[str, Any]) -> EncryptedMessage:
    kind = MessageType.PREKEY if message["type"] == 3 else MessageType.SIGNAL
    return EncryptedMessage(kind, b64decode(message["body"]))


def theirs(message: EncryptedMessage) -> dict[str, Any]:
    return {"type": 3 if message.type is MessageType.PREKEY else 1, "body": b64encode(message.serialized).decode()}


@pytest.mark.parametrize("initiator", ["alice", "bob"])
def test_a_conversation_goes_on(node: Node, initiator: str, tmp_path: Path) -> None:
    """Bob moves to Pawl: what was under way in both directions is read, kept keys included, then both go on ratcheting."""
    other = "bob" if initiator == "alice" else "alice"
    node("establish", initiator, other, oneTime=True)
    node.talk(initiator, other, "first")
    for number in range(3):
        node.talk("alice", "bob", f"to bob {number}")
        node.talk("bob", "alice", f"to alice {number}")
    # Of one chain: 1 and 3 were read, 0 and 2 are kept, 4 and 5 are still to come.
    chain = [node("encrypt", "alice", "bob", text=f"chain {number}") for number in range(6)]
    for number in (1, 3):
        node("decrypt", "bob", "alice", message=chain[number])
    node.talk("bob", "alice", "answer")
    # Of a later chain nothing was read.
    later = [node("encrypt", "alice", "bob", text=f"later {number}") for number in range(2)]
    to_alice = [node("encrypt", "bob", "alice", text=f"under way {number}") for number in range(2)]

    store = SQLiteStore(tmp_path / "bob.db")
    imported = import_from_node(store, node("export", "bob").encode())
    assert (imported.peers, imported.sessions, imported.kept_keys, imported.signed_prekeys) == (1, 1, 2, 1)
    store.close()
    bob = Device(SQLiteStore(tmp_path / "bob.db"))
    assert bob.identity_key.serialize() == b64decode(node("identity", "bob"))
    assert bob.registration_id == 7

    for number in (4, 0, 5, 2):
        assert bob.decrypt(ALICE, ours(chain[number])) == f"chain {number}".encode()
    for number in (0, 1, 3):
        with pytest.raises(ProtocolError):
            bob.decrypt(ALICE, ours(chain[number]))
    for number in (1, 0):
        assert bob.decrypt(ALICE, ours(later[number])) == f"later {number}".encode()
    # A counter that the former device used is not used again: both of its messages and ours are read.
    for number, text in enumerate(["from pawl", "and again"]):
        assert node("decrypt", "alice", "bob", message=theirs(bob.encrypt(ALICE, text.encode()))) == text
        assert node("decrypt", "alice", "bob", message=to_alice[number]) == f"under way {number}"
    for number in range(4):
        message = node("encrypt", "alice", "bob", text=f"on {number}")
        assert bob.decrypt(ALICE, ours(message)) == f"on {number}".encode()
        assert node("decrypt", "alice", "bob", message=theirs(bob.encrypt(ALICE, b"back"))) == "back"


def test_before_the_first_answer(node: Node) -> None:
    """A session that nobody answered yet goes on with prekey messages, and a prekey that was made there serves here."""
    node("establish", "bob", "alice", oneTime=True)
    first = node("encrypt", "bob", "alice", text="one")
    store = MemoryStore()
    imported = import_from_node(store, node("export", "bob").encode())
    assert imported == Imported(peers=1, sessions=1, kept_keys=0, prekeys=1, signed_prekeys=1)
    # The peer's clock stands there.
    bob = Device(store, clock=lambda: 1_700_000_600)
    message = bob.encrypt(ALICE, b"two")
    assert message.type is MessageType.PREKEY
    assert node("decrypt", "alice", "bob", message=theirs(message)) == "two"
    assert node("decrypt", "alice", "bob", message=first) == "one"
    assert bob.decrypt(ALICE, ours(node("encrypt", "alice", "bob", text="answer"))) == b"answer"
    # The signed prekey is the one that is published, and new ids do not meet old ones.
    assert bob.signed_prekey().id == 1
    assert bob.generate_prekeys(1)[0].id == 78
    # Carol has a bundle that bob published before he moved; its identity, signed prekey and signature are those here.
    carol = Device(MemoryStore())
    carol.establish(BOB, bob.prekey_bundle())
    assert bob.decrypt(CAROL, carol.encrypt(BOB, b"hello")) == b"hello"


def test_several_sessions(node: Node) -> None:
    """The open session is the current one; the closed ones still read what is late."""
    late = []
    for number in range(3):
        node("establish", "alice", "bob", oneTime=True)
        node.talk("alice", "bob", f"session {number}")
        node.talk("bob", "alice", "answer")
        late.append(node("encrypt", "alice", "bob", text=f"late {number}"))
    store = MemoryStore()
    assert import_from_node(store, node("export", "bob").encode()).sessions == 3
    bob = Device(store)
    assert node("decrypt", "alice", "bob", message=theirs(bob.encrypt(ALICE, b"current"))) == "current"
    for number in (0, 2, 1):
        assert bob.decrypt(ALICE, ours(late[number])) == f"late {number}".encode()
    with pytest.raises(DuplicateMessage):
        bob.decrypt(ALICE, ours(late[0]))


def test_only_into_an_empty_store(node: Node) -> None:
    """A device is not overwritten."""
    document = node("export", "bob").encode()
    store = MemoryStore()
    Device(store)
    before = store.snapshot()
    with pytest.raises(InvalidArgument, match="not empty"):
        import_from_node(store, document)
    assert store.snapshot() == before


def _set(*path: str, to: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        for name in path[:-1]:
            document = document[name] if name != "*" else next(iter(document.values()))
        last = path[-1] if path[-1] != "*" else next(iter(document))
        if to is ...:
            del document[last]
        else:
            document[last] = to

    return change


def _address_twice(document: Any) -> None:
    """Two spellings of one address."""
    document["sessions"]["alice.01"] = document["sessions"]["alice.1"]


def _session_twice(document: Any) -> None:
    """Two sessions of one base key."""
    sessions = document["sessions"]["alice.1"]["_sessions"]
    sessions["another"] = next(iter(sessions.values()))


def _kept_and_to_come(document: Any) -> None:
    """The key of a message that the chain has not come to yet: it would be read twice, once by each."""
    [session] = document["sessions"]["alice.1"]["_sessions"].values()
    [chain] = [each for each in session["_chains"].values() if each["chainType"] == 2]
    chain["messageKeys"][str(chain["chainKey"]["counter"] + 1)] = b64encode(bytes(32)).decode()


SESSION = ("sessions", "*", "_sessions", "*")
CHANGES = [
    _set("identity", to=...),
    _set("identity", "privKey", to=b64encode(bytes(31)).decode()),
    _set("identity", "privKey", to=b64encode(b"\x01" * 32).decode()),
    _set("registrationId", to=-1),
    _set("registrationId", to=True),
    _set("sessions", to=[]),
    _set("sessions", to={"alice": {}}),
    _set("sessions", to={"alice.128": {"version": "v1", "_sessions": {}}}),
    _set("sessions", "*", "version", to="v2"),
    _set(*SESSION, "currentRatchet", "rootKey", to="AA=="),
    _set(*SESSION, "currentRatchet", "previousCounter", to=2**32),
    _set(*SESSION, "indexInfo", "closed", to="no"),
    _set(*SESSION, "indexInfo", "baseKey", to=b64encode(bytes(33)).decode()),
    _set(*SESSION, "_chains", to={}),
    _set(*SESSION, "_chains", "*", "chainKey", "counter", to=-2),
    _set(*SESSION, "_chains", "*", "chainKey", to=...),
    _set(*SESSION, "_chains", to={"!": {}}),
    _set("preKeys", to={"x": {}}),
    _set("preKeys", to={"16777216": {}}),
    _set("signedPreKeys", "1", "signature", to="AA=="),
    _set("identities", to={"alice": "AA=="}),
    _set("identities", to={"alice": 7}),
    _set(*SESSION, "_chains", "*", "messageKeys", to={"01": "AA=="}),
    _set("identities", to={"\ud800": b64encode(b"\x05" + bytes(32)).decode()}),
    _address_twice,
    _session_twice,
    _kept_and_to_come,
]


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_what_is_wrong_is_said_and_nothing_is_written(node: Node, number: int) -> None:
    """PAR-05: "parsed as strictly as wire messages": typed, with the place and nothing of the value; all or nothing."""
    node("establish", "alice", "bob", oneTime=True)
    node.talk("alice", "bob", "hello")
    document = json.loads(node("export", "bob"))
    import_from_node(MemoryStore(), json.dumps(document).encode())
    changed = copy.deepcopy(document)
    CHANGES[number](changed)
    store = MemoryStore()
    with pytest.raises(InvalidArgument) as refusal:
        import_from_node(store, json.dumps(changed).encode())
    assert document["identity"]["privKey"] not in str(refusal.value)
    assert not any(store.snapshot()[table] for table in Table)


def test_too_many_prekeys(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store has a bound of prekeys; what is over it is not cut off in silence."""
    node("establish", "alice", "bob", oneTime=True)
    document = node("export", "bob").encode()
    monkeypatch.setattr("pawl.node_import.MAX_PREKEYS", 0)
    with pytest.raises(InvalidArgument, match="more than 0 prekeys"):
        import_from_node(MemoryStore(), document)


def test_an_address_without_sessions(node: Node) -> None:
    """The peer leaves its record there when the last session is gone: nothing is taken over for it."""
    document = json.loads(node("export", "bob"))
    document["sessions"] = {"alice.1": {"version": "v1", "_sessions": {}}}
    store = MemoryStore()
    assert import_from_node(store, json.dumps(document).encode()).sessions == 0
    assert not store.snapshot()[Table.SESSION_INDEX]


@pytest.mark.parametrize(
    "document", [b"", b"{", b"[" * 100_000, b"\xff", b"[]", b"7", b"{}", "text", None, b'{"a":1,"a":2}']
)
def test_what_is_no_document(document: Any) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        import_from_node(MemoryStore(), document)
    assert ("twice" in str(refusal.value)) == (document == b'{"a":1,"a":2}')
