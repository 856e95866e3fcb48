"""A target that is a program of its own: newline-delimited JSON-RPC 2.0 over stdin and stdout.

The program is not trusted to keep to the contract (docs/reference/driver-contract.md). Every answer is checked before
anything of it is used; it has a time limit, its lines and its stderr have a size limit, and whatever it started is
killed with it. Ends are told apart: it refused (`Refused`), it ended (`TargetCrashed`), it did not answer in time
(`TargetHung`), or what it said is not an answer (`HarnessBroken`).
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
import weakref
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from typing import IO, Any, Final, NoReturn, cast

from pawl import errors
from pawl_gate.lifetimes import killed_with_parent
from pawl_gate.targets.base import (
    Bundle,
    Fingerprint,
    HarnessBroken,
    Refused,
    SimulatedCrash,
    TargetCrashed,
    TargetHung,
    Told,
    Unable,
    WireMessage,
)
from pawl_spec.history import Hello, Limits, Observation, Observe, Profile

PROTOCOL: Final = 1
"""The version of the driver contract that is spoken here."""

TIMEOUT_SECONDS: Final = 10.0
"""How long one answer may take. An honest one takes milliseconds; the rest is room for a busy machine."""

MAX_LINE_BYTES: Final = 4 * 1024 * 1024
"""Bytes of one answer: a message of 512 KiB in hex, four times over."""

STDERR_BYTES: Final = 4096
"""Bytes of the program's last words on stderr that are kept for people."""

EXIT_SECONDS: Final = 2.0
"""How long a program may take to end after its stdin was closed, before it is killed."""

MAX_TEXT: Final = 500
"""Characters of a peer's own text that are kept."""

CAPABILITIES: Final = frozenset(
    {
        *("reinstall", "approve", "strict-identity", "restart", "crash", "work", "rows", "deterministic", "counts"),
        *("clock", "rotate", "forget", "compatibility", "events", "import-keys", "inject-keys", "fingerprint"),
        *("groups", "group-rotate", "group-forget", "group-members"),
    }
)
"""What a driver may declare. Callbacks, damaged records and other media exist in process only."""

OF_GROUPS: Final = frozenset({"group-rotate", "group-forget", "group-members"})
"""What a driver may declare of groups beside `groups` itself."""

MAX_DECLARED_JUMP: Final = 100_000
"""Largest forward jump that a driver may declare, in messages: four times the largest known. The model holds a key for
each message that is skipped; at 2^32 it would take all memory there is."""

PUBLIC_KEY_BYTES: Final = 33
SIGNATURE_BYTES: Final = 64
SECRET_BYTES: Final = 32
GROUP_LAYOUTS: Final = ("current", "earlier")
DIGEST_CHARACTERS: Final = 128
FINGERPRINT_DIGITS: Final = 60
MAX_UINT32: Final = 2**32 - 1

# JSON-RPC 2.0, section 5.1, and two codes of ours.
NOT_JSON: Final = -32700
METHOD_NOT_FOUND: Final = -32601
WRONG_PARAMS: Final = -32602
REFUSED: Final = -32000
CRASHED: Final = -32001

CRASHABLE: Final = frozenset(
    {
        *("establish", "encrypt", "decrypt", "group_create", "group_join", "group_encrypt", "group_decrypt"),
        *("group_rotate", "group_forget", "group_members"),
    }
)
"""Verbs within which an armed crash can strike."""


# Made once: json.dumps and json.loads would make an encoder for each request and look for the encoding of each answer.
_ENCODE: Final = json.JSONEncoder(separators=(",", ":")).encode
_DECODE: Final = json.JSONDecoder().decode


def _all_codes(of: type[errors.ProtocolError]) -> set[str]:
    return {of.code}.union(*(_all_codes(sub) for sub in of.__subclasses__()))


REFUSALS: Final = frozenset(_all_codes(errors.ProtocolError) | {"unknown"})
"""The codes that a refusal may carry."""


# -- the program ------------------------------------------------------------------------------------------------------


class _Process:
    """One run of the program: lines out, lines in, and no way for it to block or outlive us."""

    def __init__(self, argv: Sequence[str], timeout: float) -> None:
        """Start `argv` in a process group of its own. Raises: HarnessBroken."""
        self._timeout = timeout
        self._incoming = bytearray()
        self._words = bytearray()
        try:
            child = subprocess.Popen(  # noqa: S603 - running this program is what the user asked for
                list(argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
                preexec_fn=killed_with_parent(),
            )
        except OSError as error:
            raise HarnessBroken(f"the driver cannot be started: {argv[0]}: {error.strerror}") from None
        self._child = child
        # Also when nobody calls close(), and at the end of the interpreter.
        self._end = weakref.finalize(self, _end, child)
        self._stdin, self._stdout, self._stderr = (
            cast("IO[bytes]", pipe).fileno() for pipe in (child.stdin, child.stdout, child.stderr)
        )
        for descriptor in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(descriptor, False)
        self._poll = select.poll()
        self._poll.register(self._stdout, select.POLLIN)
        self._poll.register(self._stderr, select.POLLIN)

    @property
    def alive(self) -> bool:
        """Whether the program was not ended by us; it may have ended by itself."""
        return self._end.alive

    def exchange(self, line: bytes) -> bytes:
        """Send a line, return the line that comes back, both without the newline.

        Raises: TargetCrashed, TargetHung, HarnessBroken. After each of them the program is gone.
        """
        if not self.alive:
            raise TargetCrashed("the program has ended before")
        deadline = time.monotonic() + self._timeout
        outgoing = memoryview(line + b"\n")
        writing = False
        while True:
            # Write what the pipe takes; a program that does not read must not block us.
            if outgoing:
                try:
                    outgoing = outgoing[os.write(self._stdin, outgoing) :]
                except BlockingIOError:
                    pass
                except BrokenPipeError:
                    self._ended()
            if writing != bool(outgoing):
                writing = bool(outgoing)
                if writing:
                    self._poll.register(self._stdin, select.POLLOUT)
                else:
                    self._poll.unregister(self._stdin)
            ready = self._poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
            if not ready and time.monotonic() >= deadline:
                # Something that it started may hold the pipes open after it has ended.
                if _wait(self._child.pid, 0):
                    self._ended()
                self.kill()
                raise TargetHung(f"no answer within {self._timeout:g} s{self._last_words()}")
            for descriptor, _ in ready:
                if descriptor == self._stderr:
                    self._listen()
                elif descriptor == self._stdout:
                    answer = self._read()
                    if answer is not None:
                        # An answer to half a question answers nothing.
                        if outgoing:
                            self.broken("it answered before it had read the request")
                        return answer

    def _read(self) -> bytes | None:
        """What is there on stdout: a whole line, or None as long as there is none."""
        try:
            chunk = os.read(self._stdout, 1 << 16)
        except BlockingIOError:
            return None
        if not chunk:
            self._ended()
        self._incoming += chunk
        # Only the new part can hold the newline.
        end = self._incoming.find(b"\n", len(self._incoming) - len(chunk))
        if end < 0:
            if len(self._incoming) > MAX_LINE_BYTES:
                self.broken(f"its line is longer than {MAX_LINE_BYTES} bytes")
            return None
        # One request, one line.
        if end + 1 != len(self._incoming):
            self.broken(f"more than one line on stdout: {_shown(self._incoming[end + 1 :])}")
        line = bytes(self._incoming[:end])
        self._incoming.clear()
        return line

    def _listen(self) -> None:
        """Take what is on stderr, keep the end of it."""
        try:
            chunk = os.read(self._stderr, 1 << 16)
        except BlockingIOError:
            return
        if not chunk:
            # Closed; polling it would only spin.
            self._poll.unregister(self._stderr)
            self._stderr = -1
        self._words = (self._words + chunk)[-STDERR_BYTES:]

    def _last_words(self) -> str:
        """The end of stderr, for a message."""
        words = self._words.decode("utf-8", "replace").strip()
        return f"; its last words on stderr:\n{words}" if words else ""

    def _ended(self) -> NoReturn:
        """It closed a pipe: it ended, or it will not answer any more."""
        gone = _wait(self._child.pid, EXIT_SECONDS)
        while self._stderr >= 0 and select.select([self._stderr], [], [], 0)[0]:
            self._listen()
        self.kill()
        status = self._child.returncode
        if not gone:
            raise HarnessBroken(f"the driver closed its stdin or stdout and went on{self._last_words()}")
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        raise TargetCrashed(f"the program ended with {how}{self._last_words()}")

    def broken(self, what: str) -> NoReturn:
        """It does not keep to the contract: end it and say so."""
        self.kill()
        raise HarnessBroken(f"the driver does not keep to the contract: {what}{self._last_words()}")

    def kill(self) -> None:
        """End the program and whatever it started."""
        self._end()

    def finish(self) -> None:
        """Close its stdin, give it the time to end by itself, then `kill`."""
        if self.alive:
            cast("IO[bytes]", self._child.stdin).close()
            _wait(self._child.pid, EXIT_SECONDS)
            self.kill()


def _wait(pid: int, seconds: float) -> bool:
    """Whether our child `pid` ends within `seconds`. It is not reaped, so that its group's number stays its own."""
    deadline = time.monotonic() + seconds
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.002)
    return True


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill the group first, reap its leader after: until then no other process can have got its number."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            pipe.close()


def _shown(data: bytes | bytearray) -> str:
    """Some bytes that a driver sent, for a message."""
    return repr(bytes(data[:80]))


# -- answers ----------------------------------------------------------------------------------------------------------


class _Wrong(Exception):
    """Something in an answer is not what the contract says; the text says what."""


def _object(value: Any, where: str, required: Collection[str], optional: Collection[str] = ()) -> dict[str, Any]:
    """`value` as an object with these keys and no others. `optional` may name the required ones too."""
    if type(value) is not dict:
        raise _Wrong(f"{where}: an object was expected")
    for key in required:
        if key not in value:
            raise _Wrong(f"{where}: {key!r} is missing")
    if len(value) > len(required) and not (isinstance(optional, frozenset) and optional.issuperset(value)):
        for key in value:
            if key not in required and key not in optional:
                raise _Wrong(f"{where}: {str(key)[:40]!r} is not expected")
    return value


@cache
def _may(*keys: str) -> frozenset[str]:
    """What may stand in an answer that must have these keys."""
    return frozenset({*keys, "state", "events"})


def _text(value: Any, where: str, longest: int = MAX_TEXT) -> str:
    if type(value) is not str or len(value) > longest:
        raise _Wrong(f"{where}: a string of at most {longest} characters was expected")
    return value


def _number(value: Any, where: str, most: int = MAX_UINT32) -> int:
    # A bool is an int for Python, not for JSON.
    if type(value) is not int or not 0 <= value <= most:
        raise _Wrong(f"{where}: a number from 0 to {most} was expected")
    return value


def _number_or_none(value: Any, where: str) -> int | None:
    return None if value is None else _number(value, where)


def _flag(value: Any, where: str) -> bool:
    if type(value) is not bool:
        raise _Wrong(f"{where}: true or false was expected")
    return value


def _bytes(value: Any, where: str, length: int | None = None) -> bytes:
    """Bytes from lower-case hex; exactly `length` of them if that is given."""
    if type(value) is str:
        try:
            data = bytes.fromhex(value)
        except ValueError:
            data = b""
        # fromhex() also takes spaces and capitals.
        if data.hex() == value and length in (None, len(data)):
            return data
    raise _Wrong(f"{where}: lower-case hex of {'some' if length is None else length} bytes was expected")


def _list(value: Any, where: str) -> list[Any]:
    if type(value) is not list:
        raise _Wrong(f"{where}: a list was expected")
    return value


def _hello(value: Any) -> Hello:
    keys = ("name", "version", "protocol", "message_versions", "level", "capabilities", "limits", "profile")
    said = _object(value, "hello", keys, (*keys, "group_layout"))
    if _number(said["protocol"], "hello: protocol") != PROTOCOL:
        raise _Wrong(f"hello: protocol {PROTOCOL} was expected")
    versions = [_number(version, "hello: message_versions") for version in _list(said["message_versions"], "hello")]
    capabilities = frozenset(_text(name, "hello: capabilities") for name in _list(said["capabilities"], "hello"))
    if not capabilities <= CAPABILITIES:
        raise _Wrong(f"hello: unknown capability {min(capabilities - CAPABILITIES)!r}")
    if not capabilities.isdisjoint(OF_GROUPS) and "groups" not in capabilities:
        raise _Wrong(f"hello: the capability {min(capabilities & OF_GROUPS)!r} needs 'groups'")
    if 3 not in versions and "groups" not in capabilities:
        raise _Wrong("hello: sessions of message version 3, or groups, are what the gate judges")
    if ("groups" in capabilities) != ("group_layout" in said):
        raise _Wrong("hello: group_layout goes with the capability 'groups'")
    layout = said.get("group_layout", GROUP_LAYOUTS[0])
    if layout not in GROUP_LAYOUTS:
        raise _Wrong(f"hello: group_layout must be {' or '.join(GROUP_LAYOUTS)}")
    # What crashed is opened again from what is durable.
    if "crash" in capabilities and "restart" not in capabilities:
        raise _Wrong("hello: the capability 'crash' needs 'restart'")
    given = _object(said["limits"], "limits", LIMITS_ALWAYS, [field.name for field in fields(Limits)])
    limits = {key: _number_or_none(limit, key) for key, limit in given.items()}
    forward_jump = _number(limits.pop("forward_jump"), "limits: forward_jump", MAX_DECLARED_JUMP)
    profile = _object(said["profile"], "profile", PROFILE_ALWAYS, [field.name for field in fields(Profile)])
    if profile["promotes"] not in ("on-new-chain", "always", "never"):
        raise _Wrong("profile: promotes must be on-new-chain, always or never")
    return Hello(
        name=_text(said["name"], "hello: name"),
        version=_text(said["version"], "hello: version"),
        level=Observe(_number(said["level"], "hello: level", max(Observe))),
        capabilities=capabilities,
        limits=Limits(forward_jump=forward_jump, **limits),
        profile=Profile(
            promotes=profile["promotes"],
            closes_chains=_flag(profile["closes_chains"], "closes_chains"),
            needs_one_time=_flag(profile.get("needs_one_time", False), "needs_one_time"),
        ),
        sessions=3 in versions,
        group_layout=layout,
    )


def read_hello(value: Any) -> Hello:
    """What a driver says of itself. Raises: ValueError; its text says what is wrong."""
    try:
        return _hello(value)
    except _Wrong as wrong:
        raise ValueError(str(wrong)) from None


LIMITS_ALWAYS: Final = (
    *("forward_jump", "kept_per_chain", "kept_per_session"),
    *("receiving_chains", "archived_sessions", "derivations_per_message"),
)
"""The limits that every driver names; the others came later, and one that is left out is not declared."""

PROFILE_ALWAYS: Final = ("promotes", "closes_chains")
"""The parts of a profile that every driver names; what came later is false where it is left out."""

_OBSERVED = frozenset(field.name for field in fields(Observation))
_OBSERVED_ALWAYS = tuple(field.name for field in fields(Observation) if field.default is MISSING)


_COUNTS: Final = frozenset(
    {
        *("sessions", "chains", "kept_chain", "kept_session", "work", "rows", "written", "memory"),
        *("group_chains", "group_kept"),
    }
)


def _observation(value: Any) -> Observation:
    # What is null says nothing, and is left to the defaults. One loop: this is done for every operation.
    said: dict[str, Any] = {}
    for name, thing in _object(value, "observation", _OBSERVED_ALWAYS, _OBSERVED).items():
        if name in _COUNTS:
            if thing is not None:
                said[name] = _number(thing, name)
        elif name == "digest":
            said[name] = _text(thing, name, DIGEST_CHARACTERS)
        elif thing is not None:
            said[name] = _flag(thing, name) if name == "durable" else _ids(thing, name)
    return Observation(**said)


def _ids(value: Any, name: str) -> tuple[int, ...]:
    return tuple(sorted([_number(number, name) for number in _list(value, name)]))


def _bundle(result: Mapping[str, Any]) -> Bundle:
    if (result["prekey_id"] is None) != (result["prekey"] is None):
        raise _Wrong("bundle: prekey_id and prekey are null together or not at all")
    return Bundle(
        registration_id=_number(result["registration_id"], "registration_id"),
        device_id=_number(result["device_id"], "device_id"),
        identity_key=_bytes(result["identity_key"], "identity_key", PUBLIC_KEY_BYTES),
        signed_prekey_id=_number(result["signed_prekey_id"], "signed_prekey_id"),
        signed_prekey=_bytes(result["signed_prekey"], "signed_prekey", PUBLIC_KEY_BYTES),
        signature=_bytes(result["signature"], "signature", SIGNATURE_BYTES),
        prekey_id=_number_or_none(result["prekey_id"], "prekey_id"),
        prekey=None if result["prekey"] is None else _bytes(result["prekey"], "prekey", PUBLIC_KEY_BYTES),
    )


_BUNDLE = tuple(field.name for field in fields(Bundle))


# -- target and world -------------------------------------------------------------------------------------------------


class DriverTarget:
    """An implementation behind a driver program.

    Starts `argv` (no shell) and holds it to the contract. After a crash, a hang or a breach the next `world` starts the
    program again. Not for use from several threads. Raises: HarnessBroken when the program does not even get through
    hello and the control.
    """

    def __init__(self, argv: Sequence[str | Path], *, timeout: float = TIMEOUT_SECONDS) -> None:
        self._argv = [str(word) for word in argv]
        self._timeout = timeout
        self._requests = 0
        self._world: DriverWorld | None = None
        self._process = self._start()

    @property
    def hello(self) -> Hello:
        """Who the program says it is."""
        return self._hello

    @property
    def command(self) -> tuple[str, ...]:
        """The words that start the program."""
        return tuple(self._argv)

    def world(self, seed: int) -> DriverWorld:
        """A fresh world; an earlier one of this target ends. Raises: HarnessBroken."""
        if not self._process.alive:
            self._process = self._start()
        try:
            result = self._call("reset", {"seed": seed})
        except (TargetCrashed, TargetHung):
            # It may have ended while nobody was looking. If a new one cannot be reset either, nothing can be judged.
            self._process = self._start()
            result = self._first("reset", {"seed": seed})
        except Refused as refused:
            self._process.broken(f"reset cannot be refused: {refused}")
        if result != {}:
            self._process.broken("reset: an empty object was expected")
        self._world = DriverWorld(self)
        return self._world

    def close(self) -> None:
        """End the program. A later `world` starts it again."""
        self._world = None
        self._process.finish()

    def _start(self) -> _Process:
        """Start the program; it says hello, and refuses a verb that does not exist."""
        self._process = _Process(self._argv, self._timeout)
        try:
            self._hello = _hello(self._first("hello", {}))
        except _Wrong as wrong:
            self._process.broken(str(wrong))
        # The control: a driver that accepts anything would pass for one that supports everything.
        answer = self._exchange("pawl-no-such-verb", {})
        error = answer.get("error")
        if type(error) is not dict or error.get("code") != METHOD_NOT_FOUND:
            self._process.broken(f"a verb that does not exist must be answered with error {METHOD_NOT_FOUND}")
        return self._process

    def _first(self, verb: str, params: Mapping[str, Any]) -> Any:
        """A request at which a death is the harness' fault: nothing has been judged yet."""
        try:
            return self._call(verb, params)
        except (TargetCrashed, TargetHung) as error:
            raise HarnessBroken(f"the driver does not start: {' '.join(self._argv)}: {error}") from None
        except Refused as refused:
            self._process.broken(f"{verb} cannot be refused: {refused}")

    def _exchange(self, verb: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """One request and its answer, checked as far as JSON-RPC goes. Raises: what `_Process.exchange` raises."""
        self._requests += 1
        request = {"jsonrpc": "2.0", "id": self._requests, "method": verb, "params": params}
        process = self._process
        line = process.exchange(_ENCODE(request).encode())
        try:
            answer = _DECODE(line.decode())
        except (ValueError, RecursionError):
            process.broken(f"not JSON on stdout: {_shown(line)}")
        if type(answer) is not dict or answer.get("jsonrpc") != "2.0":
            process.broken(f"not a JSON-RPC 2.0 answer: {_shown(line)}")
        if type(answer.get("id")) is not int or answer["id"] != self._requests:
            process.broken(f"the answer has another id than the request: {_shown(line)}")
        if len(answer) != 3 or ("result" in answer) == ("error" in answer):
            process.broken(f"an answer has a result or an error, and nothing else: {_shown(line)}")
        return answer

    def _call(self, verb: str, params: Mapping[str, Any]) -> Any:
        """The result of a verb. Raises: _RefusedWithState, HarnessBroken, and what `_exchange` raises."""
        answer = self._exchange(verb, params)
        if "result" in answer:
            return answer["result"]
        try:
            error = _object(answer["error"], "error", ("code", "message"), ("code", "message", "data"))
            # The peer's own text is for people and may be of any length; it is cut.
            text = _text(error["message"], "error message", MAX_LINE_BYTES)[:MAX_TEXT]
            if error["code"] == CRASHED and verb in CRASHABLE:
                data = _object(error.get("data"), "error data", ("complete",))
                complete = data["complete"]
                raise _Crashed(None if complete is None else _text(complete, "complete", DIGEST_CHARACTERS))
            if error["code"] != REFUSED:
                raise _Wrong(f"{verb} was answered with error {error['code']!r:.20}: {text}")
            data = _object(error.get("data"), "error data", ("refusal",), ("refusal", "state", "events"))
            code = _text(data["refusal"], "refusal")
            if code not in REFUSALS:
                raise _Wrong(f"{code!r} is not a refusal code")
        except _Wrong as wrong:
            self._process.broken(str(wrong))
        raise _RefusedWithState(code, text, data.get("state"), data.get("events"))

    def ask(self, world: DriverWorld, verb: str, **params: Any) -> Any:
        """For `DriverWorld`: a verb in the current world."""
        if world is not self._world:
            raise HarnessBroken("a world was used after the next one had begun")
        return self._call(verb, params)

    def broken(self, what: str) -> NoReturn:
        """For `DriverWorld`: an answer that does not keep to the contract."""
        self._process.broken(what)


class NoSessions(HarnessBroken):
    """A verb of sessions was asked of a driver that does none: a mistake on our side of the pipe."""


class _RefusedWithState(Refused):
    """A refusal on its way through `DriverWorld`, with the state that it left."""

    def __init__(self, code: str, text: str, state: Any, events: Any) -> None:
        super().__init__(code, text)
        self.state = state
        self.events = events


class _Crashed(SimulatedCrash):
    """The crash that was asked for, on its way through `DriverWorld`."""

    def __init__(self, complete: str | None) -> None:
        super().__init__("crashed")
        self.complete = complete


class DriverWorld(Unable):
    """The parties that live in a driver. Each verb is one round trip; observations mostly come with the answers."""

    def __init__(self, target: DriverTarget) -> None:
        self._target = target
        self._hello = target.hello
        self._seen: dict[int, Observation] = {}
        self._armed: set[int] = set()
        self._complete: dict[int, str | None] = {}
        self._told: dict[int, tuple[str, ...]] = {}

    def create(self, party: int, *, name: str, device_id: int, trust_on_first_use: bool) -> bytes:
        """See `World.create`."""
        if not trust_on_first_use:
            self._need("strict-identity")
        params = {"name": name, "device_id": device_id, "trust_on_first_use": trust_on_first_use}
        return self._key(self._act("create", party, ("identity_key",), **params))

    def reinstall(self, party: int) -> bytes:
        """See `World.reinstall`."""
        self._need("reinstall")
        return self._key(self._act("reinstall", party, ("identity_key",)))

    def bundle(self, party: int, *, one_time: bool) -> Bundle:
        """See `World.bundle`."""
        self._need_sessions()
        result = self._act("bundle", party, _BUNDLE, one_time=one_time)
        try:
            bundle = _bundle(result)
        except _Wrong as wrong:
            self._target.broken(str(wrong))
        if one_time and bundle.prekey_id is None:
            self._target.broken("bundle: a one-time prekey was asked for")
        return bundle

    def establish(self, party: int, peer: int, bundle: Bundle) -> None:
        """See `World.establish`."""
        self._need_sessions()
        given = {name: getattr(bundle, name) for name in _BUNDLE}
        hexed = {name: value.hex() if isinstance(value, bytes) else value for name, value in given.items()}
        self._act("establish", party, (), peer=peer, bundle=hexed)

    def encrypt(self, party: int, peer: int, plaintext: bytes) -> WireMessage:
        """See `World.encrypt`."""
        self._need_sessions()
        result = self._act("encrypt", party, ("kind", "data"), peer=peer, plaintext=plaintext.hex())
        if result["kind"] not in ("prekey", "signal"):
            self._target.broken("encrypt: kind is prekey or signal")
        return WireMessage(result["kind"], self._bytes(result, "data"))

    def decrypt(self, party: int, peer: int, message: WireMessage) -> bytes:
        """See `World.decrypt`."""
        self._need_sessions()
        params = {"peer": peer, "kind": message.kind, "data": message.data.hex()}
        return self._bytes(self._act("decrypt", party, ("plaintext",), **params), "plaintext")

    def approve(self, party: int, peer: int, identity_key: bytes) -> None:
        """See `World.approve`."""
        self._need("approve")
        self._act("approve", party, (), peer=peer, identity_key=identity_key.hex())

    def restart(self, party: int) -> None:
        """See `World.restart`."""
        self._need("restart")
        self._act("restart", party, ())

    def advance(self, seconds: int) -> None:
        """See `World.advance`."""
        self._need("clock")
        # Every party's state may look different at another time.
        self._seen.clear()
        if self._ask("advance", seconds=seconds) != {}:
            self._target.broken("advance: an empty object was expected")

    def rotate(self, party: int) -> None:
        """See `World.rotate`."""
        self._need("rotate")
        self._act("rotate", party, ())

    def maintain(self, party: int) -> bool:
        """See `World.maintain`."""
        self._need("rotate")
        result = self._act("maintain", party, ("rotated",))
        if type(result["rotated"]) is not bool:
            self._target.broken("maintain: rotated is true or false")
        return bool(result["rotated"])

    def forget(self, party: int, peer: int) -> None:
        """See `World.forget`."""
        self._need("forget")
        self._act("forget", party, (), peer=peer)

    def fingerprint(self, party: int, peer: int, identity_key: bytes) -> Fingerprint:
        """See `World.fingerprint`."""
        self._need("fingerprint")
        keys = ("displayable", "scannable")
        result = self._act("fingerprint", party, keys, peer=peer, identity_key=identity_key.hex())
        digits = result["displayable"]
        if type(digits) is not str or not (len(digits) == FINGERPRINT_DIGITS and digits.isascii() and digits.isdigit()):
            self._target.broken(f"fingerprint: displayable is {FINGERPRINT_DIGITS} digits")
        return Fingerprint(digits, None if result["scannable"] is None else self._bytes(result, "scannable"))

    def be_compatible(self, party: int, option: str) -> None:
        """See `World.be_compatible`."""
        self._need("compatibility")
        self._act("compatibility", party, (), option=option)

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
        """See `Importing`."""
        self._need("import-keys")
        if not trust_on_first_use:
            self._need("strict-identity")
        params = {
            "name": name,
            "device_id": device_id,
            "trust_on_first_use": trust_on_first_use,
            "identity": identity.hex(),
            "registration_id": registration_id,
        }
        return self._key(self._act("import_party", party, ("identity_key",), **params))

    def import_signed_prekey(self, party: int, number: int, *, private: bytes, signature: bytes) -> bytes:
        """See `Importing`."""
        self._need("import-keys")
        params = {"id": number, "private": private.hex(), "signature": signature.hex()}
        result = self._act("import_signed_prekey", party, ("public_key",), **params)
        return self._bytes(result, "public_key", PUBLIC_KEY_BYTES)

    def import_prekey(self, party: int, number: int, *, private: bytes) -> bytes:
        """See `Importing`."""
        self._need("import-keys")
        result = self._act("import_prekey", party, ("public_key",), id=number, private=private.hex())
        return self._bytes(result, "public_key", PUBLIC_KEY_BYTES)

    def inject_keys(self, party: int, keys: Sequence[bytes]) -> None:
        """See `Importing`."""
        self._need("inject-keys")
        self._plain("inject_keys", (), party=party, private=[key.hex() for key in keys])

    def group_create(self, party: int, group: bytes) -> bytes:
        """See `World`."""
        self._need("groups")
        return self._bytes(self._act("group_create", party, ("distribution",), group=group.hex()), "distribution")

    def group_join(self, party: int, sender: int, group: bytes, distribution: bytes) -> None:
        """See `World`."""
        self._need("groups")
        self._act("group_join", party, (), sender=sender, group=group.hex(), distribution=distribution.hex())

    def group_encrypt(self, party: int, group: bytes, plaintext: bytes) -> bytes:
        """See `World`."""
        self._need("groups")
        result = self._act("group_encrypt", party, ("data",), group=group.hex(), plaintext=plaintext.hex())
        return self._bytes(result, "data")

    def group_decrypt(self, party: int, sender: int, group: bytes, message: bytes) -> bytes:
        """See `World`."""
        self._need("groups")
        params = {"sender": sender, "group": group.hex(), "data": message.hex()}
        return self._bytes(self._act("group_decrypt", party, ("plaintext",), **params), "plaintext")

    def group_rotate(self, party: int, group: bytes) -> None:
        """See `World`."""
        self._need("group-rotate")
        self._act("group_rotate", party, (), group=group.hex())

    def group_forget(self, party: int, peer: int, group: bytes) -> None:
        """See `World`."""
        self._need("group-forget")
        self._act("group_forget", party, (), peer=peer, group=group.hex())

    def group_members(self, party: int, group: bytes, members: Sequence[int]) -> None:
        """See `World`."""
        self._need("group-members")
        self._act("group_members", party, (), group=group.hex(), members=list(members))

    def group_secrets(self, party: int) -> Sequence[bytes]:
        """See `World`. Raises: HarnessBroken below L2."""
        self._need("groups")
        return self._secrets("group_secrets", party)

    def told(self, party: int) -> Told:
        """See `World.told`: the names of events that came with the last answer."""
        return Told(self._told.pop(party, ()))

    def arm_crash(self, party: int, at: int) -> None:
        """See `World.arm_crash`."""
        self._need("crash")
        self._plain("arm_crash", (), party=party, at=at)
        self._armed.add(party)

    def disarm_crash(self, party: int) -> bool:
        """See `World.disarm_crash`. No round trip if nothing is armed."""
        if party not in self._armed:
            return False
        self._armed.discard(party)
        try:
            return _flag(self._plain("disarm_crash", ("armed",), party=party)["armed"], "armed")
        except _Wrong as wrong:
            self._target.broken(f"disarm_crash: {wrong}")

    def observe(self, party: int) -> Observation | None:
        """See `World.observe`. No round trip if the last answer said it."""
        if self._hello.level < Observe.COUNTS:
            return None
        seen = self._seen.get(party)
        if seen is None:
            try:
                seen = self._seen[party] = _observation(self._ask("observe", party=party))
            except _Wrong as wrong:
                self._target.broken(str(wrong))
        return seen

    def forget_observations(self) -> None:
        """Ask for the next observation, whatever came with the last answer."""
        self._seen.clear()

    def secrets(self, party: int) -> Sequence[bytes]:
        """See `World.secrets`. Raises: HarnessBroken below L2."""
        self._need_sessions()
        return self._secrets("secrets", party)

    def _secrets(self, verb: str, party: int) -> Sequence[bytes]:
        if self._hello.level < Observe.STATE:
            raise HarnessBroken(f"{self._hello.name} does not declare level 2")
        try:
            result = _object(self._ask(verb, party=party), verb, ("secrets",))
            return [_bytes(secret, "secrets", SECRET_BYTES) for secret in _list(result["secrets"], "secrets")]
        except _Wrong as wrong:
            self._target.broken(str(wrong))

    def complete_digest(self, party: int) -> str | None:
        """See `World.complete_digest`."""
        return self._complete.get(party)

    def close(self) -> None:
        """The next world replaces this one."""

    def _need(self, capability: str) -> None:
        """The runner asks for what was declared; anything else is a mistake on our side of the pipe."""
        if capability not in self._hello.capabilities:
            raise HarnessBroken(f"{self._hello.name} does not declare {capability!r}")

    def _need_sessions(self) -> None:
        if not self._hello.sessions:
            raise NoSessions(f"{self._hello.name} does not declare sessions")

    def _ask(self, verb: str, **params: Any) -> Any:
        try:
            return self._target.ask(self, verb, **params)
        except _RefusedWithState:
            self._target.broken(f"{verb} cannot be refused")

    def _plain(self, verb: str, keys: Sequence[str], **params: Any) -> dict[str, Any]:
        """A verb that changes no party's state."""
        try:
            return _object(self._ask(verb, **params), verb, keys)
        except _Wrong as wrong:
            self._target.broken(str(wrong))

    def _act(self, verb: str, party: int, keys: Sequence[str], **params: Any) -> dict[str, Any]:
        """A verb that may change `party`'s state: its result, and the state that it reports. Raises: Refused."""
        # Whatever was known may be old now.
        self._seen.pop(party, None)
        self._told.pop(party, None)
        try:
            try:
                result = self._target.ask(self, verb, party=party, **params)
            except _RefusedWithState as refused:
                self._remember(refused.state)
                self._hear(party, refused.events)
                raise Refused(refused.code, refused.text) from None
            except _Crashed as crash:
                # Only what was armed can strike, and once.
                if party not in self._armed:
                    raise _Wrong("it crashed on purpose without being told to") from None
                self._armed.discard(party)
                self._complete[party] = crash.complete
                raise
            result = _object(result, verb, keys, _may(*keys))
            self._remember(result.get("state"))
            self._hear(party, result.get("events"))
        except _Wrong as wrong:
            self._target.broken(f"{verb}: {wrong}")
        return result

    def _remember(self, state: Any) -> None:
        """Keep the observations that came with an answer: party number as text, then what was observed."""
        if state is None or self._hello.level < Observe.COUNTS:
            return
        if type(state) is not dict:
            raise _Wrong("state: an object was expected")
        for party, value in state.items():
            if not (party.isascii() and party.isdigit() and len(party) < 4):
                raise _Wrong("state: party numbers were expected")
            self._seen[int(party)] = _observation(value)

    def _hear(self, party: int, events: Any) -> None:
        """Keep the names of the events that were reported."""
        if events is not None:
            self._told[party] = tuple(_text(name, "events") for name in _list(events, "events"))

    def _bytes(self, result: Mapping[str, Any], name: str, length: int | None = None) -> bytes:
        try:
            return _bytes(result[name], name, length)
        except _Wrong as wrong:
            self._target.broken(str(wrong))

    def _key(self, result: Mapping[str, Any]) -> bytes:
        # Only sessions and fingerprints name parties by their keys.
        has_keys = self._hello.sessions or "fingerprint" in self._hello.capabilities
        if result["identity_key"] is None and not has_keys:
            return b""
        return self._bytes(result, "identity_key", PUBLIC_KEY_BYTES)
