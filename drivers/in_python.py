"""What the drivers in Python share: the driver contract, and a device whose store is rows of bytes.

Nothing but the standard library: each driver runs in an environment of its own, with its peer and nothing of Pawl.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import re
import sys
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

MAX_LINE = 4 * 1024 * 1024
"""Bytes of one request, as the contract has it."""

HANDED_OUT = 15
"""The crash point behind everything: all is stored, nothing was handed out. Smaller ones count the store's calls."""

QUIET = frozenset({"hello", "reset", "observe", "secrets", "group_secrets", "arm_crash", "disarm_crash", "inject_keys"})
"""Verbs that do not act: they change nothing, and what the last operation did stays to be seen."""

CRASHABLE = frozenset(
    {"establish", "encrypt", "decrypt"}
    | {"group_create", "group_join", "group_encrypt", "group_decrypt", "group_rotate"}
)
"""Verbs within which a crash can strike."""

NAME = re.compile(r"(?!.*::)[^\x00-\x1f.\ud800-\udfff]{1,512}")


class BadParams(Exception):
    """The gate asked for something that the contract does not have."""


class PeerRefused(Exception):
    """The peer refused: everything that it throws is a refusal, for it has no other way to say so."""

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause


def ask(call: Callable[..., T], *args: Any) -> T:
    """Call the peer. Raises: PeerRefused."""
    try:
        return call(*args)
    # Of any class: a peer answers hostile input with whatever it comes across, and that is a refusal.
    except Exception as error:
        raise PeerRefused(error) from None


# -- a device and its store -------------------------------------------------------------------------------------------


class Party:
    """One device. All that it keeps is `rows`, bytes by name; a peer's store is made of `load`, `store` and `remove`.

    A crash can strike before each of these calls. `rows` is then what it was at that moment.
    """

    def __init__(self, name: str, device_id: int, trusts: bool, rows: dict[str, bytes]) -> None:
        self.name = name
        self.device_id = device_id
        self.trusts = trusts
        self.rows = rows
        self.counts: dict[str, dict[str, int]] = {}
        """Of the rows that can be counted in, by name; made anew for one that changed."""
        self.digest: str | None = None
        self.journal: list[dict[str, bytes]] | None = None
        """While a crash is armed: what was durable before each call of the store."""
        self.crash_at = 0
        self.crashed = False
        self.stored = False
        """Whether the operation under way stored something."""
        self.work = 0
        """Chain steps and key derivations of the last operation."""

    # What the peer calls.

    def call(self) -> None:
        """The peer calls the store."""
        if self.journal is not None and len(self.journal) <= self.crash_at:
            self.journal.append(dict(self.rows))

    def load(self, row: str) -> bytes | None:
        """What is stored under this name."""
        self.call()
        return self.rows.get(row)

    def store(self, row: str, data: bytes) -> None:
        """Keep these bytes under this name."""
        self.call()
        self.put(row, data)

    def remove(self, row: str) -> None:
        """Delete what is stored under this name, if anything is."""
        self.call()
        if self.rows.pop(row, None) is not None:
            self.touch(row)

    # What the application does.

    def put(self, row: str, data: bytes) -> None:
        """As `store`, by the application itself: no crash strikes here."""
        if self.rows.get(row) != data:
            self.rows[row] = bytes(data)
            self.touch(row)
        self.stored = True

    def touch(self, row: str) -> None:
        """A row changed."""
        self.digest = None
        self.counts.pop(row, None)
        self.stored = True

    def numbers(self, table: str) -> list[int]:
        """The numbers of the rows of a table."""
        return sorted(int(row.removeprefix(table)) for row in self.rows if row.startswith(table))

    def count(self, row: str, data: bytes) -> dict[str, int] | None:
        """What can be counted in a row, by the peer's own reader; None where there is nothing to count."""
        raise NotImplementedError

    def most(self, field: str) -> int:
        """The largest of such counts over all rows."""
        return max((counts.get(field, 0) for counts in self.counts.values()), default=0)

    def observe(self) -> dict[str, Any]:
        """The observation."""
        if self.digest is None:
            hashed = hashlib.sha256()
            for row in sorted(self.rows):
                hashed.update(f"{row} {len(self.rows[row])} ".encode() + self.rows[row])
            self.digest = hashed.hexdigest()
        for row, data in self.rows.items():
            if row not in self.counts:
                self.counts[row] = self.count(row, data) or {}
        for row in self.counts.keys() - self.rows.keys():
            del self.counts[row]
        return {
            "digest": self.digest,
            "prekeys": self.numbers("prekey/"),
            "sessions": self.most("sessions"),
            "chains": self.most("chains"),
            "kept_chain": self.most("kept_chain"),
            "kept_session": self.most("kept_session"),
            "durable": self.stored,
            "work": self.work,
        }

    # Crashes.

    def crash(self) -> str | None:
        """The operation is over; if a crash was due within it, go back to what was durable there.

        Returns the digest that the whole operation would have left.
        """
        journal, at = self.journal, self.crash_at
        if journal is None:
            return None
        if not self.stored if at == HANDED_OUT else len(journal) <= at:
            # No such point in this one: still due in the next.
            self.journal = []
            return None
        self.disarm()
        complete = str(self.observe()["digest"])
        if at != HANDED_OUT:
            self.rows, self.digest, self.counts = journal[at], None, {}
        self.crashed = True
        return complete

    def disarm(self) -> bool:
        """Whether a crash was still due. It is not any more."""
        armed, self.journal = self.journal is not None, None
        return armed


# -- verbs ------------------------------------------------------------------------------------------------------------


class World:
    """The parties, and the verbs that are the same for every peer. A driver adds those that are not."""

    def __init__(self) -> None:
        self.parties: dict[int, Party] = {}
        self.work = 0
        """Chain steps and key derivations since the operation began; the driver counts them."""

    def install(self, name: str, device_id: int, trusts: bool) -> Party:
        """A new device with a new identity."""
        raise NotImplementedError

    def opened(self, party: Party) -> Party:
        """The device, opened anew from what it stores."""
        raise NotImplementedError

    def refusal(self, error: Exception) -> str:
        """Our code for what the peer threw; "unknown" where it does not tell the cause."""
        raise NotImplementedError

    def reset(self, seed: int) -> dict[str, Any]:
        """A fresh world; the peer draws its own randomness."""
        whole(seed, "seed")
        self.parties.clear()
        return {}

    def create(self, party: int, name: str, device_id: int, trust_on_first_use: bool) -> dict[str, Any]:
        """A new store and identity."""
        number, made = whole(party, "party"), self.install(*device(name, device_id, trust_on_first_use))
        self.parties[number] = made
        return {"identity_key": self.identity_key(made)}

    def identity_key(self, party: Party) -> str:
        """The party's public identity key, in hex."""
        raise NotImplementedError

    def reinstall(self, party: int) -> dict[str, Any]:
        """The store is lost; a new identity under the same name."""
        former = self.party(party)
        made = self.parties[party] = self.install(former.name, former.device_id, former.trusts)
        return {"identity_key": self.identity_key(made)}

    def restart(self, party: int) -> dict[str, Any]:
        """Nothing but what is stored survives."""
        self.parties[party] = self.opened(self.party(party))
        return {}

    def approve(self, party: int, peer: int, identity_key: str) -> dict[str, Any]:
        """The user decided: the peer's name is pinned to this key."""
        self.party(party).put(f"pin/{self.party(peer, 'peer').name}", raw(identity_key, "identity_key"))
        return {}

    def arm_crash(self, party: int, at: int) -> dict[str, Any]:
        """A crash is due in the party's next operation."""
        armed = self.party(party)
        if whole(at, "at") > HANDED_OUT:
            raise BadParams("at: there is no such crash point")
        armed.crash_at, armed.journal = at, []
        return {}

    def disarm_crash(self, party: int) -> dict[str, Any]:
        """Whether it was still due."""
        return {"armed": self.party(party).disarm()}

    def observe(self, party: int) -> dict[str, Any]:
        """What can be seen of the party."""
        return self.party(party).observe()

    def party(self, number: Any, field: str = "party") -> Party:
        """The party of that number. Raises: BadParams."""
        if type(number) is not int or number not in self.parties:
            raise BadParams(f"{field}: no such party")
        return self.parties[number]


class Sessions(World):
    """The verbs of sessions, for a peer that reads and writes its own records: identity, prekeys, sessions.

    The rows are `identity`, `registration`, `next-prekey`, `signed/ID`, `prekey/ID`, `session/NAME.DEVICE`, `pin/NAME`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.injected: list[bytes] = []
        """Private keys that the next operation draws, in order."""

    # What a driver adds.

    def device(self, name: str, device_id: int, trusts: bool, rows: dict[str, bytes]) -> Party:
        """A device with these rows."""
        raise NotImplementedError

    def new_identity(self) -> tuple[bytes, int]:
        """The record of an identity that the peer draws, and a registration id."""
        raise NotImplementedError

    def identity_of(self, private: bytes) -> bytes:
        """The record of this identity."""
        raise NotImplementedError

    def identity_public(self, record: bytes) -> bytes:
        """The public key of an identity's record."""
        raise NotImplementedError

    def signed_prekey(self, number: int, identity: bytes) -> bytes:
        """The record of a signed prekey that the peer draws and signs."""
        raise NotImplementedError

    def signed_prekey_of(self, number: int, private: bytes, signature: bytes) -> bytes:
        """The record of this signed prekey."""
        raise NotImplementedError

    def signed_prekey_public(self, record: bytes) -> tuple[bytes, bytes]:
        """The public key and the signature of a signed prekey's record."""
        raise NotImplementedError

    def prekey_of(self, number: int, private: bytes | None = None) -> bytes:
        """The record of this one-time prekey, or of one that the peer draws."""
        raise NotImplementedError

    def prekey_public(self, record: bytes) -> bytes:
        """The public key of a one-time prekey's record."""
        raise NotImplementedError

    def process(self, party: Party, peer: Party, bundle: dict[str, Any]) -> None:
        """Process a bundle; of its keys those of bytes are bytes, and `prekey_id` and `prekey` may be None."""
        raise NotImplementedError

    def sealed(self, party: Party, peer: Party, plaintext: bytes) -> tuple[str, bytes]:
        """Encrypt for the peer: the kind of the message, and its bytes."""
        raise NotImplementedError

    def read(self, party: Party, peer: Party, kind: str, message: bytes) -> bytes:
        """Decrypt a message that claims to come from the peer."""
        raise NotImplementedError

    # The verbs.

    def install(self, name: str, device_id: int, trusts: bool) -> Party:
        """A new device with a new identity."""
        return self.made(name, device_id, trusts, *self.new_identity())

    def opened(self, party: Party) -> Party:
        """The device, opened anew from copies of its rows."""
        copies = {row: bytes(data) for row, data in party.rows.items()}
        return self.device(party.name, party.device_id, party.trusts, copies)

    def made(self, name: str, device_id: int, trusts: bool, identity: bytes, registration_id: int) -> Party:
        """A device with this identity, and nothing else."""
        rows = {
            "identity": identity,
            "registration": registration_id.to_bytes(4, "big"),
            "next-prekey": (1).to_bytes(4, "big"),
        }
        return self.device(name, device_id, trusts, rows)

    def identity_key(self, party: Party) -> str:
        """The party's public identity key, in hex."""
        return self.identity_public(party.rows["identity"]).hex()

    def reset(self, seed: int) -> dict[str, Any]:
        """A fresh world."""
        self.injected = []
        return super().reset(seed)

    def bundle(self, party: int, one_time: bool) -> dict[str, Any]:
        """The signed prekey and, if asked, a fresh one-time prekey."""
        one = self.party(party)
        if type(one_time) is not bool:
            raise BadParams("one_time: true or false was expected")
        if "signed/1" not in one.rows:
            one.put("signed/1", self.signed_prekey(1, one.rows["identity"]))
        signed, signature = self.signed_prekey_public(one.rows["signed/1"])
        number = prekey = None
        if one_time:
            number = int.from_bytes(one.rows["next-prekey"], "big")
            prekey = self.prekey_of(number)
            one.put(f"prekey/{number}", prekey)
            one.put("next-prekey", (number + 1).to_bytes(4, "big"))
        return {
            "registration_id": int.from_bytes(one.rows["registration"], "big"),
            "device_id": one.device_id,
            "identity_key": self.identity_key(one),
            "signed_prekey_id": 1,
            "signed_prekey": signed.hex(),
            "signature": signature.hex(),
            "prekey_id": number,
            "prekey": prekey and self.prekey_public(prekey).hex(),
        }

    def establish(self, party: int, peer: int, bundle: dict[str, Any]) -> dict[str, Any]:
        """Process a bundle that claims to be the peer's; it may be forged."""
        one, other = self.party(party), self.party(peer, "peer")
        if type(bundle) is not dict or set(bundle) != FIELDS:
            raise BadParams("bundle: what a bundle has was expected")
        given = {name: bundle[name] if name in NUMBERS else raw(bundle[name] or "", name) for name in FIELDS}
        for name in NUMBERS - ({"prekey_id"} if given["prekey_id"] is None else set()):
            whole(given[name], name)
        if bundle["prekey"] is None:
            given["prekey"] = None
        ask(self.process, one, other, given)
        return {}

    def encrypt(self, party: int, peer: int, plaintext: str) -> dict[str, Any]:
        """A message, as it goes over the wire."""
        one, other = self.party(party), self.party(peer, "peer")
        kind, data = ask(self.sealed, one, other, raw(plaintext, "plaintext"))
        return {"kind": kind, "data": data.hex()}

    def decrypt(self, party: int, peer: int, kind: str, data: str) -> dict[str, Any]:
        """The message claims to come from the peer; it may be anything."""
        one, other = self.party(party), self.party(peer, "peer")
        if kind not in ("prekey", "signal"):
            raise BadParams("kind: prekey or signal was expected")
        return {"plaintext": ask(self.read, one, other, kind, raw(data, "data")).hex()}

    def forget(self, party: int, peer: int) -> dict[str, Any]:
        """All sessions with the peer are lost."""
        one, other = self.party(party), self.party(peer, "peer")
        one.remove(f"session/{other.name}.{other.device_id}")
        return {}

    def import_party(
        self, party: int, name: str, device_id: int, trust_on_first_use: bool, identity: str, registration_id: int
    ) -> dict[str, Any]:
        """As `create`, with this private identity key."""
        record = self.identity_of(raw(identity, "identity", 32))
        who = device(name, device_id, trust_on_first_use)
        new = self.made(*who, record, whole(registration_id, "registration_id"))
        self.parties[whole(party, "party")] = new
        return {"identity_key": self.identity_key(new)}

    def import_signed_prekey(self, party: int, id: int, private: str, signature: str) -> dict[str, Any]:
        """It is the current one."""
        number = whole(id, "id")
        record = self.signed_prekey_of(number, raw(private, "private", 32), raw(signature, "signature"))
        self.party(party).put(f"signed/{number}", record)
        return {"public_key": self.signed_prekey_public(record)[0].hex()}

    def import_prekey(self, party: int, id: int, private: str) -> dict[str, Any]:
        """One more one-time prekey."""
        number = whole(id, "id")
        record = self.prekey_of(number, raw(private, "private", 32))
        self.party(party).put(f"prekey/{number}", record)
        return {"public_key": self.prekey_public(record).hex()}

    def inject_keys(self, party: int, private: list[str]) -> dict[str, Any]:
        """The private keys that the next operation draws, in order."""
        self.party(party)
        if type(private) is not list:
            raise BadParams("private: a list was expected")
        self.injected = [raw(key, "private", 32) for key in private]
        return {}

    # What the drivers replace in their peers, from outside.

    def counted(self, call: Callable[..., T]) -> Callable[..., T]:
        """A function that counts as a step of work."""

        def counting(*args: Any, **named: Any) -> T:
            self.work += 1
            return call(*args, **named)

        return counting

    def drawing(self, drawn: Callable[[], T], of: Callable[[bytes], T]) -> Callable[[], T]:
        """A function that hands out the pair of a key that was put in, else draws as ever."""
        return lambda: of(self.injected.pop(0)) if self.injected else drawn()


NUMBERS = {"registration_id", "device_id", "signed_prekey_id", "prekey_id"}
FIELDS = NUMBERS | {"identity_key", "signed_prekey", "signature", "prekey"}

VERBS = [
    *("hello", "reset", "create", "reinstall", "restart", "approve", "bundle", "establish", "encrypt", "decrypt"),
    *("forget", "arm_crash", "disarm_crash", "observe"),
    *("import_party", "import_signed_prekey", "import_prekey", "inject_keys"),
]
"""Those of `Sessions`, with the driver's own `hello`."""


def sizes(kept: list[list[int]]) -> dict[str, int]:
    """What `observe` counts of a record: for each session, the current one first, the kept keys of each chain."""
    return {
        "sessions": len(kept) - 1,
        "chains": max(map(len, kept)),
        "kept_chain": max((count for chains in kept for count in chains), default=0),
        "kept_session": max(map(sum, kept)),
    }


def coded(error: Exception, types: list[tuple[type[Exception], str]], texts: list[tuple[str, str]]) -> str:
    """Our code for what a peer threw, by its type or by how its text begins; "unknown" where neither tells."""
    for type_, code in types:
        # A peer wraps some of what it catches in an error of its own.
        if isinstance(error, type_) or isinstance(error.__context__, type_):
            return code
    return next((code for text, code in texts if str(error).startswith(text)), "unknown")


def device(name: Any, device_id: Any, trust_on_first_use: Any) -> tuple[str, int, bool]:
    """What a device is created with. Raises: BadParams."""
    if type(name) is not str or not NAME.fullmatch(name):
        raise BadParams("name: 1 to 512 characters, none that controls, no dot, no :: (they divide the names of rows)")
    if type(trust_on_first_use) is not bool:
        raise BadParams("trust_on_first_use: true or false was expected")
    return name, whole(device_id, "device_id"), trust_on_first_use


def raw(value: Any, field: str, size: int | None = None) -> bytes:
    """Bytes from lower-case hex, of this size if one is given. Raises: BadParams."""
    if type(value) is not str or not re.fullmatch(r"(?:[0-9a-f]{2})*", value):
        raise BadParams(f"{field}: lower-case hex was expected")
    data = bytes.fromhex(value)
    if size not in (None, len(data)):
        raise BadParams(f"{field}: {size} bytes were expected")
    return data


def whole(value: Any, field: str) -> int:
    """A number of the contract. Raises: BadParams."""
    if type(value) is not int or not 0 <= value < 2**32:
        raise BadParams(f"{field}: a number from 0 to 2^32 - 1 was expected")
    return value


# -- JSON-RPC ---------------------------------------------------------------------------------------------------------


def serve(world: World, verbs: list[str]) -> None:
    """One line, one answer, until stdin is closed. Nothing else that this program prints reaches stdout."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)
    known = {verb: (getattr(world, verb), inspect.signature(getattr(world, verb))) for verb in verbs}
    while line := sys.stdin.buffer.readline(MAX_LINE + 1):
        whole_line = line.endswith(b"\n") or len(line) <= MAX_LINE
        while not line.endswith(b"\n") and line:
            line = sys.stdin.buffer.readline(MAX_LINE)
        reply = _answer(world, known, line) if whole_line else _error(None, -32600, "the line is too long")
        out.write(json.dumps({"jsonrpc": "2.0", **reply}) + "\n")
        out.flush()


def _error(number: Any, code: int, text: str, **data: Any) -> dict[str, Any]:
    return {"id": number, "error": {"code": code, "message": text[:400], **({"data": data} if data else {})}}


def _answer(world: World, known: dict[str, tuple[Any, inspect.Signature]], line: bytes) -> dict[str, Any]:
    """The answer to one line, whatever it holds."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        return _error(None, -32700, "not JSON")
    if type(request) is not dict:
        return _error(None, -32600, "not a request")
    number, verb, params = request.get("id"), request.get("method"), request.get("params", {})
    if type(verb) is not str or type(params) is not dict:
        return _error(number, -32600, "not a request")
    if verb not in known:
        return _error(number, -32601, f"no verb {verb[:40]}")
    call, signature = known[verb]
    try:
        signature.bind(**params)
    except TypeError as wrong:
        return _error(number, -32602, str(wrong))
    acting = params.get("party")
    before = world.parties.get(acting) if type(acting) is int else None
    acts = verb not in QUIET
    if before is not None and before.crashed and acts and verb != "restart":
        return _error(number, -32602, "party: it crashed; restart it first")
    if acts:
        world.work = 0
        if before is not None:
            before.stored = False
    return _act(world, verb, call, params, number, before)


def _act(
    world: World, verb: str, call: Any, params: dict[str, Any], number: Any, before: Party | None
) -> dict[str, Any]:
    """Do it. What it left behind travels with the answer, so that looking at it costs no round trip."""

    def state() -> dict[str, Any]:
        after = world.parties.get(params["party"]) if verb not in QUIET else None
        if after is None:
            return {}
        after.work = world.work
        return {"state": {str(params["party"]): after.observe()}}

    def crashed() -> dict[str, Any] | None:
        complete = before.crash() if before is not None and verb in CRASHABLE else None
        told = "crashed, as it was told to"
        return None if complete is None else _error(number, -32001, told, complete=complete)

    try:
        result = call(**params)
        return crashed() or {"id": number, "result": {**result, **state()}}
    except BadParams as wrong:
        return _error(number, -32602, str(wrong))
    except PeerRefused as refused:
        cause = refused.cause
        text = f"{type(cause).__name__}: {cause}"
        return crashed() or _error(number, -32000, text, refusal=world.refusal(cause), **state())
    except Exception as mistake:
        # The driver's own: told as such, which the gate takes for a broken harness and not for a refusal.
        return _error(number, -32603, f"{type(mistake).__name__}: {mistake}")
