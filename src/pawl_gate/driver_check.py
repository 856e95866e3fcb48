"""The check of a driver itself, before anything is judged by it: whether it keeps to the contract.

A driver that answers everything with success, hides a crash or makes up its randomness would have the gate judge the
driver. Each check is one sentence with one verdict; none of them says anything of the implementation behind it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any, Final, cast

from pawl_gate.lifetimes import killed_with_parent
from pawl_gate.targets.base import HarnessBroken, Refused, TargetCrashed, TargetHung, WireMessage
from pawl_gate.targets.contract import VERBS, asked_of
from pawl_gate.targets.driver import (
    EXIT_SECONDS,
    METHOD_NOT_FOUND,
    NOT_JSON,
    WRONG_PARAMS,
    DriverTarget,
    DriverWorld,
    NoSessions,
    read_hello,
)
from pawl_gate.visible import one_line
from pawl_spec.history import Hello, Observation, Observe

MAX_WORDS: Final = 300
"""Characters of what is said of one check: parts of it are a driver's own words."""

MAX_LINE_BYTES: Final = 4 * 1024 * 1024

NONSENSE: Final = ("pawl-no-such-verb", "", "__proto__", "constructor", "toString", "__init__", "Hello", "hello ")
"""Verbs that do not exist. Some are names that every object of a language has."""

BROKEN_LINES: Final[tuple[tuple[str, bytes], ...]] = (
    ("a line that is not JSON", b"{nonsense"),
    ("half a request", b'{"jsonrpc": "2.0", "id": 1, "method": "hel'),
    ("an empty line", b""),
    ("JSON that nests deeply", b"[" * 20_000),
)
"""Lines that no driver may be ended by, nor be put out of step."""

NOT_REQUESTS: Final[tuple[tuple[str, bytes], ...]] = (
    ("bytes that are not UTF-8", b'{"method": "\xff\xfe"}'),
    ("JSON that is no object", b"[]"),
    ("a number", b"7"),
    ("null", b"null"),
    ("a request without a verb", b'{"jsonrpc": "2.0", "id": 7}'),
    ("a verb that is no text", b'{"jsonrpc": "2.0", "id": 7, "method": {}, "params": {}}'),
    ("parameters that are no object", b'{"jsonrpc": "2.0", "id": 7, "method": "create", "params": 7}'),
)
"""What is no request of the contract; a reader may take the first for JSON, with marks in place of the bytes."""

TALK: Final = (b"one", b"", b"\x00\xff" * 40, "vier \u00e4\u00f6\u00fc".encode())
"""What is said in the conversation of the check."""


GROUP: Final = bytes(range(16))
"""The id of the group of the check."""


class Failed(Exception):
    """A check failed; one sentence says how."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one check."""

    name: str
    says: str
    """What is checked, in a sentence."""
    state: str
    """"ok", "failed" or "left out"."""
    why: str = ""


# -- a program, line by line ------------------------------------------------------------------------------------------


class Program:
    """A driver that is spoken to in lines of any kind, with a time limit for each answer."""

    def __init__(self, argv: Sequence[str], seconds: float) -> None:
        """Start it in a process group of its own. Raises: Failed."""
        self._seconds = seconds
        self._incoming = b""
        self._number = 1_000
        try:
            self._child = subprocess.Popen(  # noqa: S603 - running this program is what the user asked for
                list(argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,
                preexec_fn=killed_with_parent(),
            )
        except OSError as error:
            raise Failed(f"it cannot be started: {argv[0]}: {error.strerror}") from None
        self._stdin = cast("Any", self._child.stdin)
        self._stdout = cast("Any", self._child.stdout).fileno()
        os.set_blocking(self._stdin.fileno(), False)

    def say(self, line: bytes) -> None:
        """Send a line. Raises: Failed."""
        data = memoryview(line + b"\n")
        deadline = time.monotonic() + self._seconds
        while data:
            try:
                data = data[os.write(self._stdin.fileno(), data) :]
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Failed(f"it hangs: it did not read a line within {self._seconds:g} s") from None
                select.select([], [self._stdin], [], 0.05)
            except BrokenPipeError:
                raise Failed(self._ended()) from None

    def hear(self) -> Any:
        """The next line, from JSON. Raises: Failed."""
        deadline = time.monotonic() + self._seconds
        while b"\n" not in self._incoming:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._stdout], [], [], left)[0]:
                raise Failed(f"it hangs: no answer within {self._seconds:g} s")
            chunk = os.read(self._stdout, 1 << 16)
            if not chunk:
                raise Failed(self._ended())
            self._incoming += chunk
            if len(self._incoming) > MAX_LINE_BYTES:
                raise Failed(f"a line of it is longer than {MAX_LINE_BYTES} bytes")
        line, self._incoming = self._incoming.split(b"\n", 1)
        try:
            return json.loads(line)
        except (ValueError, RecursionError):
            raise Failed(f"what it says on stdout is not JSON: {line[:80]!r}") from None

    def ask(self, verb: str, **params: Any) -> dict[str, Any]:
        """The answer to a request. Raises: Failed."""
        self._number += 1
        request = {"jsonrpc": "2.0", "id": self._number, "method": verb, "params": params}
        self.say(json.dumps(request).encode())
        answer = self.hear()
        if type(answer) is not dict or answer.get("jsonrpc") != "2.0":
            raise Failed(f"{verb!r}: no JSON-RPC 2.0 answer: {answer!r:.100}")
        if answer.get("id") != self._number:
            raise Failed(f"{verb!r}: the answer has another id than the request; it is out of step")
        return answer

    def still_answers(self) -> None:
        """Raises: Failed, where it does not say hello any more."""
        if "result" not in self.ask("hello"):
            raise Failed("it does not say hello any more")

    def ends(self, seconds: float) -> bool:
        """Close its stdin; whether it ends by itself."""
        self._stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(seconds)
            return True
        return False

    def _ended(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            status = self._child.wait(EXIT_SECONDS)
            return f"it ended, with signal {-status}" if status < 0 else f"it ended, with exit status {status}"
        return "it closed its stdin or stdout and went on"

    def close(self) -> None:
        """End it, and whatever it started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            with suppress(OSError):
                cast("Any", pipe).close()


# -- the checks -------------------------------------------------------------------------------------------------------


class Check:
    """All checks of one driver."""

    def __init__(self, argv: Sequence[str], seconds: float) -> None:
        self._argv = list(argv)
        self._seconds = seconds
        self.hello: Hello | None = None

    def run(self, only: Collection[str] = ()) -> Iterator[Outcome]:
        """Carry them out, one after the other; `only`: beside hello, these alone.

        Where the driver does not even say hello, the others are left out.
        """
        for name, says, check in self._checks():
            if only and name not in only and name != "hello":
                continue
            if name != "hello" and self.hello is None:
                yield Outcome(name, says, "left out", "it does not say hello")
                continue
            try:
                why = check()
            except Failed as failed:
                yield Outcome(name, says, "failed", one_line(str(failed), MAX_WORDS))
            except (TargetHung, TargetCrashed, HarnessBroken) as broken:
                yield Outcome(name, says, "failed", one_line(_in_short(broken), MAX_WORDS))
            except Refused as refused:
                words = f"it refused what an honest conversation needs: {refused.code}: {refused}"
                yield Outcome(name, says, "failed", one_line(words, MAX_WORDS))
            else:
                yield Outcome(name, says, "left out" if why else "ok", why or "")

    def _checks(self) -> tuple[tuple[str, str, Callable[[], str | None]], ...]:
        return (
            ("hello", "it starts, and says who it is and what it can do", self._says_hello),
            ("nonsense", "it refuses verbs that do not exist", self._refuses_nonsense),
            ("bad-json", "it survives lines that are no JSON, and says so", self._survives_bad_json),
            ("no-request", "it survives JSON that is no request", self._survives_what_is_no_request),
            ("params", "it says when parameters are wrong, and goes on", self._tells_wrong_params),
            ("reset", "after reset there are no parties", self._resets),
            ("conversation", "two parties can talk, both ways", self._talks),
            ("refusal", "what is no message is refused by a code, and the driver goes on", self._refuses),
            ("capabilities", "it answers each verb of the capabilities that it declares", self._keeps_its_word),
            ("observation", "what it observes is the same until something happens, then another", self._observes),
            ("deterministic", "one seed gives one transcript, in two processes", self._is_deterministic),
            ("end", "it ends by itself when its stdin is closed", self._ends),
        )

    def _target(self) -> DriverTarget:
        return DriverTarget(self._argv, timeout=self._seconds)

    def _program(self) -> Program:
        return Program(self._argv, self._seconds)

    # Each returns None where it is well, and why where there is nothing to check. Raises: Failed, and a target's own.

    def _says_hello(self) -> None:
        with closing(self._program()) as program:
            answer = program.ask("hello")
        if "result" not in answer:
            raise Failed(f"hello cannot be refused: {answer.get('error')!r:.150}")
        try:
            self.hello = read_hello(answer["result"])
        except ValueError as wrong:
            raise Failed(str(wrong)) from None

    def _refuses_nonsense(self) -> None:
        with closing(self._program()) as program:
            for verb in NONSENSE:
                error = program.ask(verb).get("error")
                if type(error) is not dict or error.get("code") != METHOD_NOT_FOUND:
                    raise Failed(f"the verb {verb!r} is answered with {error!r:.100}, not with {METHOD_NOT_FOUND}")
            program.still_answers()

    def _survives_bad_json(self) -> None:
        with closing(self._program()) as program:
            for what, line in BROKEN_LINES:
                self._spoil(program, what, line, is_json=False)

    def _survives_what_is_no_request(self) -> None:
        with closing(self._program()) as program:
            for what, line in NOT_REQUESTS:
                self._spoil(program, what, line, is_json=True)

    def _spoil(self, program: Program, what: str, line: bytes, *, is_json: bool) -> None:
        """Send a line and then an honest request: one error comes back, then the request's own answer."""
        try:
            program.say(line)
            answer = program.hear()
            error = answer.get("error") if type(answer) is dict else None
            if type(error) is not dict or type(error.get("code")) is not int:
                raise Failed(f"it is no error to it: {answer!r:.100}")
            if not is_json and (error["code"] != NOT_JSON or answer.get("id") is not None):
                raise Failed(f"the answer is error {NOT_JSON} with id null, not {answer!r:.100}")
            program.still_answers()
        except Failed as failed:
            raise Failed(f"{what}: {failed}") from None

    def _tells_wrong_params(self) -> None:
        with closing(self._program()) as program:
            program.ask("reset", seed=1)
            sessions = self._known().sessions
            stranger = {"peer": 8} if sessions else {"group": GROUP.hex()}
            say = "encrypt" if sessions else "group_encrypt"
            wrong: tuple[tuple[str, str, dict[str, Any]], ...] = (
                ("create without its parameters", "create", {}),
                (
                    "a name that is a number",
                    "create",
                    {**_who(0, "alice"), "name": 7},
                ),
                ("a party that nobody created", say, {**stranger, "party": 9, "plaintext": "00"}),
            )
            for what, verb, params in wrong:
                error = program.ask(verb, **params).get("error")
                if type(error) is not dict or error.get("code") != WRONG_PARAMS:
                    raise Failed(f"{what}: error {WRONG_PARAMS} was expected, not {error!r:.100}")
                program.still_answers()

    def _resets(self) -> None:
        with closing(self._program()) as program:
            program.ask("reset", seed=1)
            for party, name in enumerate(("alice", "bob")):
                if "result" not in (answer := program.ask("create", **_who(party, name))):
                    raise Failed(f"create: {answer.get('error')!r:.150}")
            if program.ask("reset", seed=1).get("result") != {}:
                raise Failed("reset: an empty object was expected")
            if self._known().sessions:
                answer = program.ask("bundle", party=1, one_time=False)
            else:
                answer = program.ask("group_create", party=1, group=GROUP.hex())
            if "result" in answer:
                raise Failed("a party that was there before reset still answers")

    def _talks(self) -> None:
        with closing(self._target()) as target:
            _converse(target.world(1), self._known())

    def _refuses(self) -> None:
        with closing(self._target()) as target:
            world = target.world(1)
            _converse(world, self._known())
            for data in (b"", b"\x33", b"\x33" * 400):
                for what, read in self._readers(world):
                    try:
                        read(data)
                    except Refused:
                        continue
                    raise Failed(f"{len(data)} bytes of nonsense were taken for a {what} message")
            # A party that never met the other has no session, and one that made no chain has none.
            world.create(2, name="carol", device_id=1, trust_on_first_use=True)
            try:
                _speak(world, self._known(), 2, 0, b"x")
            except Refused:
                return
            raise Failed("it encrypted with nothing to encrypt with")

    def _readers(self, world: DriverWorld) -> Iterator[tuple[str, Callable[[bytes], bytes]]]:
        """The ways to hand the second party a message of the first."""
        if self._known().sessions:
            yield "signal", lambda data: world.decrypt(1, 0, WireMessage("signal", data))
            yield "prekey", lambda data: world.decrypt(1, 0, WireMessage("prekey", data))
        if "groups" in self._known().capabilities:
            yield "group", lambda data: world.group_decrypt(1, 0, GROUP, data)

    def _keeps_its_word(self) -> str | None:
        hello = self._known()
        optional = [name for name in asked_of(hello) if name in _OPTIONAL]
        if not optional:
            return "it declares none that has a verb"
        with closing(self._target()) as target:
            for name in optional:
                world = target.world(1)
                _converse(world, hello)
                try:
                    _OPTIONAL[name](world)
                except Refused as refused:
                    if not VERBS[name].acts:
                        raise Failed(f"{name} cannot be refused") from None
                    raise Failed(f"{name}: refused, {refused.code}: {refused}") from None
        return None

    def _observes(self) -> str | None:
        if self._known().level < Observe.COUNTS:
            return "it observes nothing (level 0)"
        with closing(self._target()) as target:
            world = target.world(1)
            _converse(world, self._known())
            first = _asked_again(world)
            if _asked_again(world) != first:
                raise Failed("two observations in a row differ")
            _speak(world, self._known(), 0, 1, b"more")
            told = world.observe(0)
            if told is None or first is None or told.digest == first.digest:
                raise Failed("a message was sent, which spends a key, and the digest is the same")
            if _asked_again(world) != told:
                raise Failed("what came with the answer is not what observe says after it")
        return None

    def _is_deterministic(self) -> str | None:
        if "deterministic" not in self._known().capabilities:
            return "it does not declare that"
        spoken = []
        for seed in (1, 1, 2):
            with closing(self._target()) as target:
                # A first world in the same process must not show in the second one.
                spoken.append(_converse(target.world(seed), self._known()))
                if _converse(target.world(seed), self._known()) != spoken[-1]:
                    raise Failed("the same seed gave another transcript in the same process")
        if spoken[0] != spoken[1]:
            raise Failed("the same seed gave another transcript in another process")
        if spoken[0] == spoken[2]:
            raise Failed("two seeds gave one transcript: the seed is not used")
        return None

    def _ends(self) -> None:
        with closing(self._program()) as program:
            program.still_answers()
            if not program.ends(EXIT_SECONDS):
                raise Failed(f"it was still there {EXIT_SECONDS:g} s after its stdin was closed")

    def _known(self) -> Hello:
        if self.hello is None:
            raise Failed("it does not say hello")
        return self.hello


def _who(party: int, name: str) -> dict[str, Any]:
    return {"party": party, "name": name, "device_id": 1, "trust_on_first_use": True}


def _converse(world: DriverWorld, hello: Hello) -> list[object]:
    """An honest conversation, in whatever comes back. Raises: Failed, and what a target raises."""
    said: list[object] = []
    for party, name in enumerate(("alice", "bob")):
        said.append(world.create(party, name=name, device_id=1, trust_on_first_use=True))
    if hello.sessions:
        _in_a_session(world, said)
    if "groups" in hello.capabilities:
        _in_a_group(world, said)
    return said


def _in_a_group(world: DriverWorld, said: list[object]) -> None:
    """Each hands the other its chain, then both write."""
    for sender in (0, 1):
        distribution = world.group_create(sender, GROUP)
        world.group_join(1 - sender, sender, GROUP, distribution)
        said.append(distribution)
    for number, plaintext in enumerate(TALK):
        sender = number % 2
        message = world.group_encrypt(sender, GROUP, plaintext)
        if world.group_decrypt(1 - sender, sender, GROUP, message) != plaintext:
            raise Failed(f"group message {number} was read as something else")
        said.append(message)


def _speak(world: DriverWorld, hello: Hello, sender: int, receiver: int, plaintext: bytes) -> object:
    """A message of whatever kind the driver has."""
    if hello.sessions:
        return world.encrypt(sender, receiver, plaintext)
    return world.group_encrypt(sender, GROUP, plaintext)


def _in_a_session(world: DriverWorld, said: list[object]) -> None:
    if said[0] == said[1]:
        raise Failed("two parties have one identity key")
    bundle = world.bundle(1, one_time=True)
    if bundle.identity_key != said[1]:
        raise Failed("the identity key of a bundle is not the one that create gave")
    world.establish(0, 1, bundle)
    said.append(bundle)
    for number, plaintext in enumerate(TALK):
        sender, receiver = number % 2, 1 - number % 2
        message = world.encrypt(sender, receiver, plaintext)
        read = world.decrypt(receiver, sender, message)
        if read != plaintext:
            raise Failed(f"message {number} was read as something else: {read[:40].hex()}, not {plaintext[:40].hex()}")
        said.append(message)


def _asked_again(world: DriverWorld) -> Observation | None:
    """An observation that is asked for, whatever came with an answer."""
    world.forget_observations()
    return world.observe(0)


def _compare_fingerprints(world: DriverWorld) -> None:
    """Both see the same digits; with another key they are others."""
    keys = [
        world.create(party, name=name, device_id=1, trust_on_first_use=True) for party, name in ((0, "a"), (1, "b"))
    ]
    ours, theirs = world.fingerprint(0, 1, keys[1]), world.fingerprint(1, 0, keys[0])
    if ours.displayable != theirs.displayable:
        raise Failed("fingerprint: the two sides show different digits")
    if world.fingerprint(0, 1, keys[0]).displayable == ours.displayable:
        raise Failed("fingerprint: another identity key gave the same digits")


def _import(world: DriverWorld) -> None:
    world.import_party(
        3, name="dave", device_id=1, trust_on_first_use=True, identity=b"\x11" * 31 + b"\x42", registration_id=7
    )


def _import_signed(world: DriverWorld) -> None:
    _import(world)
    world.import_signed_prekey(3, 1, private=b"\x12" * 31 + b"\x42", signature=bytes(64))


def _import_one(world: DriverWorld) -> None:
    _import(world)
    world.import_prekey(3, 1, private=b"\x13" * 31 + b"\x42")


def _arm(world: DriverWorld) -> None:
    world.arm_crash(0, 0)
    if not world.disarm_crash(0):
        raise Failed("arm_crash: the crash was not due any more when disarm_crash came")


def _disarm(world: DriverWorld) -> None:
    world.arm_crash(0, 0)
    world.disarm_crash(0)
    world.restart(0)


def _restarted(world: DriverWorld) -> None:
    world.restart(0)
    try:
        read = world.decrypt(1, 0, world.encrypt(0, 1, b"after"))
    except NoSessions:
        read = world.group_decrypt(1, 0, GROUP, world.group_encrypt(0, GROUP, b"after"))
    if read != b"after":
        raise Failed("after a restart a message was read as something else")


_OPTIONAL: Final[dict[str, Callable[[DriverWorld], object]]] = {
    "reinstall": lambda world: world.reinstall(0),
    "approve": lambda world: world.approve(0, 1, world.bundle(1, one_time=False).identity_key),
    "restart": _restarted,
    "arm_crash": _arm,
    "disarm_crash": _disarm,
    "observe": lambda world: world.observe(0),
    "secrets": lambda world: world.secrets(0),
    "advance": lambda world: world.advance(60),
    "rotate": lambda world: world.rotate(0),
    "maintain": lambda world: world.maintain(0),
    "forget": lambda world: world.forget(0, 1),
    "compatibility": lambda world: world.be_compatible(0, "none"),
    "fingerprint": _compare_fingerprints,
    "import_party": _import,
    "import_signed_prekey": _import_signed,
    "import_prekey": _import_one,
    "group_rotate": lambda world: world.group_rotate(0, GROUP),
    "group_forget": lambda world: world.group_forget(0, 1, GROUP),
    "group_members": lambda world: world.group_members(0, GROUP, [0, 1]),
    "group_secrets": lambda world: world.group_secrets(0),
    "inject_keys": lambda world: world.inject_keys(0, [b"\x14" * 31 + b"\x42"]),
}
"""How each optional verb is tried."""


def _in_short(error: BaseException) -> str:
    if isinstance(error, TargetHung):
        return f"it hangs: {error}"
    return f"it ended: {error}" if isinstance(error, TargetCrashed) else str(error)
