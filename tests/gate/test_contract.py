"""The driver contract as a JSON Schema: it says what the gate's own checks of a driver say, verb by verb."""

from __future__ import annotations

import ast
import copy
import inspect
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from typing import Any, NoReturn

import jsonschema
import pytest
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from pawl_gate.targets import contract, driver
from pawl_gate.targets.base import Bundle, HarnessBroken, Refused, SimulatedCrash, WireMessage
from pawl_gate.targets.contract import VERBS
from pawl_gate.targets.driver import DriverTarget, DriverWorld
from tools.examples import ROOT

KEY = "05" + "11" * 32
SECRET = "22" * 32
SEEN = {"digest": "d", "prekeys": [3, 1], "sessions": 0, "chains": None, "durable": True, "work": 7}
BESIDE = {"state": {"0": SEEN}, "events": ["identity-replaced"]}
HELLO = {
    "name": "toy",
    "version": "1",
    "protocol": 1,
    "message_versions": [3],
    "level": 2,
    "capabilities": sorted(driver.CAPABILITIES),
    "limits": {**dict.fromkeys(driver.LIMITS_ALWAYS), "forward_jump": 10, "rows_per_message": 5},
    "profile": {"promotes": "never", "closes_chains": True, "needs_one_time": True},
    "group_layout": "current",
}
BUNDLE = Bundle(7, 1, bytes.fromhex(KEY), 1, bytes.fromhex(KEY), bytes(64), 3, bytes.fromhex(KEY))

RESULTS: dict[str, dict[str, Any]] = {
    "hello": HELLO,
    "reset": {},
    "create": {"identity_key": KEY, **BESIDE},
    "reinstall": {"identity_key": KEY},
    "bundle": {
        "registration_id": 7,
        "device_id": 1,
        "identity_key": KEY,
        "signed_prekey_id": 1,
        "signed_prekey": KEY,
        "signature": "22" * 64,
        "prekey_id": 3,
        "prekey": KEY,
        **BESIDE,
    },
    "establish": {**BESIDE},
    "encrypt": {"kind": "signal", "data": "00ff", **BESIDE},
    "decrypt": {"plaintext": "6869", **BESIDE},
    "approve": {**BESIDE},
    "restart": {},
    "arm_crash": {},
    "disarm_crash": {"armed": True},
    "observe": SEEN,
    "secrets": {"secrets": [SECRET, SECRET]},
    "advance": {},
    "rotate": {**BESIDE},
    "maintain": {"rotated": False, **BESIDE},
    "forget": {**BESIDE},
    "compatibility": {},
    "fingerprint": {"displayable": "0123456789" * 6, "scannable": "0802", **BESIDE},
    "import_party": {"identity_key": KEY},
    "import_signed_prekey": {"public_key": KEY},
    "import_prekey": {"public_key": KEY},
    "inject_keys": {},
    "group_create": {"distribution": "33", **BESIDE},
    "group_join": {**BESIDE},
    "group_encrypt": {"data": "00ff", **BESIDE},
    "group_decrypt": {"plaintext": "6869", **BESIDE},
    "group_rotate": {},
    "group_forget": {},
    "group_members": {**BESIDE},
    "group_secrets": {"secrets": [SECRET]},
}
"""An honest answer of each verb."""


def disarm(world: DriverWorld) -> object:
    world._armed.add(0)
    return world.disarm_crash(0)


CALLS: dict[str, Callable[[DriverWorld], object]] = {
    "create": lambda world: world.create(0, name="alice", device_id=1, trust_on_first_use=True),
    "reinstall": lambda world: world.reinstall(0),
    "bundle": lambda world: world.bundle(0, one_time=False),
    "establish": lambda world: world.establish(0, 1, BUNDLE),
    "encrypt": lambda world: world.encrypt(0, 1, b"hi"),
    "decrypt": lambda world: world.decrypt(0, 1, WireMessage("prekey", b"\x33")),
    "approve": lambda world: world.approve(0, 1, bytes.fromhex(KEY)),
    "restart": lambda world: world.restart(0),
    "arm_crash": lambda world: world.arm_crash(0, 3),
    "disarm_crash": disarm,
    "observe": lambda world: world.observe(0),
    "secrets": lambda world: world.secrets(0),
    "advance": lambda world: world.advance(60),
    "rotate": lambda world: world.rotate(0),
    "maintain": lambda world: world.maintain(0),
    "forget": lambda world: world.forget(0, 1),
    "compatibility": lambda world: world.be_compatible(0, "all"),
    "fingerprint": lambda world: world.fingerprint(0, 1, bytes.fromhex(KEY)),
    "import_party": lambda world: world.import_party(
        0, name="a", device_id=1, trust_on_first_use=True, identity=bytes(32), registration_id=7
    ),
    "import_signed_prekey": lambda world: world.import_signed_prekey(0, 1, private=bytes(32), signature=bytes(64)),
    "import_prekey": lambda world: world.import_prekey(0, 1, private=bytes(32)),
    "inject_keys": lambda world: world.inject_keys(0, [bytes(32)]),
    "group_create": lambda world: world.group_create(0, bytes(16)),
    "group_join": lambda world: world.group_join(0, 1, bytes(16), b"\x33"),
    "group_encrypt": lambda world: world.group_encrypt(0, bytes(16), b"hi"),
    "group_decrypt": lambda world: world.group_decrypt(0, 1, bytes(16), b"\x33"),
    "group_rotate": lambda world: world.group_rotate(0, bytes(16)),
    "group_forget": lambda world: world.group_forget(0, 1, bytes(16)),
    "group_members": lambda world: world.group_members(0, bytes(16), [0, 1]),
    "group_secrets": lambda world: world.group_secrets(0),
}
"""How the gate asks each verb, but for those with which a world begins."""


class Canned(DriverTarget):
    """A driver of which one answer is what the test says, and the others are honest."""

    def __init__(self, verb: str = "", answer: dict[str, Any] | None = None) -> None:
        self.verb, self.answer = verb, answer
        self.requests: list[dict[str, Any]] = []
        super().__init__(["canned"])

    def _start(self) -> Any:
        self._process = Alive()  # type: ignore[assignment]
        self._hello = driver._hello(HELLO)
        return self._process

    def _exchange(self, verb: str, params: Any) -> dict[str, Any]:
        self._requests += 1
        self.requests.append({"jsonrpc": "2.0", "id": self._requests, "method": verb, "params": dict(params)})
        told = self.answer if verb == self.verb and self.answer is not None else {"result": RESULTS[verb]}
        return copy.deepcopy({"jsonrpc": "2.0", "id": self._requests, **told})


class Alive:
    alive = True

    def broken(self, what: str) -> NoReturn:
        raise HarnessBroken(what)

    def finish(self) -> None:
        pass


@cache
def validator(name: str) -> Any:
    whole = contract.schema()
    registry = Registry().with_resource(whole["$id"], DRAFT202012.create_resource(whole))
    return jsonschema.Draft202012Validator({"$ref": f"{whole['$id']}#/$defs/{name}"}, registry=registry)


def accepts(verb: str, answer: dict[str, Any]) -> bool:
    """Whether the gate takes an answer of a verb for one that keeps to the contract."""
    if verb == "hello":
        # It cannot be refused.
        try:
            driver.read_hello(answer.get("result"))
        except ValueError:
            return False
        return True
    target = Canned(verb, answer)
    try:
        world = target.world(1)
        if verb != "reset":
            world._armed.add(0)
            CALLS[verb](world)
            # What travels with an answer is looked at too.
            world.observe(0)
    except (Refused, SimulatedCrash):
        return True
    except HarnessBroken:
        return False
    return True


def test_the_schema_is_one() -> None:
    """It is valid by its own meta-schema, has a version, and names the page that explains it."""
    whole = contract.schema()
    jsonschema.Draft202012Validator.check_schema(whole)
    assert whole["$id"] == f"urn:pawl:driver-contract:{driver.PROTOCOL}"
    assert (ROOT / "docs" / "reference" / "driver-contract.md").is_file()


def test_every_verb_of_the_code_is_in_it() -> None:
    """Whatever `DriverTarget` can ask for has a schema, and nothing else has one: read from its source."""
    asked = set()
    for node in ast.walk(ast.parse(inspect.getsource(driver))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            first = node.args[0]
            if node.func.attr in ("_act", "_plain", "_ask", "_call", "_first", "_secrets") and isinstance(
                first, ast.Constant
            ):
                asked.add(first.value)
    assert asked == set(VERBS)
    assert {verb.needs for verb in VERBS.values() if verb.needs} <= driver.CAPABILITIES
    assert set(RESULTS) == set(VERBS) == {"hello", "reset", *CALLS}


def test_every_verb_is_on_the_page() -> None:
    """docs/reference/driver-contract.md has each verb and each capability."""
    page = (ROOT / "docs" / "reference" / "driver-contract.md").read_text(encoding="utf-8")
    assert [name for name in (*VERBS, *driver.CAPABILITIES) if f"`{name}`" not in page] == []


@pytest.mark.parametrize("verb", CALLS)
def test_what_the_gate_asks_keeps_to_it(verb: str) -> None:
    """Each request, as it goes over the pipe; a verb with a parameter more or less does not."""
    target = Canned()
    world = target.world(1)
    CALLS[verb](world)
    for request in target.requests:
        assert list(validator(f"request.{request['method']}").iter_errors(request)) == []
    request = target.requests[-1]
    assert request["method"] == verb
    assert not validator(f"request.{verb}").is_valid({**request, "params": {**request["params"], "more": 1}})
    for name in request["params"]:
        less = {key: value for key, value in request["params"].items() if key != name}
        assert not validator(f"request.{verb}").is_valid({**request, "params": less})


REFUSED = {
    "code": -32000,
    "message": "its own text",
    "data": {"refusal": "bad-mac", "state": {"0": SEEN}, "events": ["x"]},
}
CRASHED = {"code": -32001, "message": "as it was told to", "data": {"complete": "d"}}
NO_VERB = {"code": -32601, "message": "no such verb"}


def answers_of(verb: str) -> Iterator[dict[str, Any]]:
    """Answers of a verb to begin with: an honest one, and each error that there is."""
    yield {"result": RESULTS[verb]}
    yield from ({"error": error} for error in (REFUSED, CRASHED, NO_VERB))
    if verb == "bundle":
        yield {"result": {**RESULTS[verb], "prekey_id": None, "prekey": None}}
    if verb == "hello":
        few = [name for name in HELLO["capabilities"] if name not in ("crash", "restart")]  # type: ignore[attr-defined]
        for more in ([], ["crash"], ["restart"]):
            yield {"result": {**HELLO, "capabilities": [*few, *more]}}
        ungrouped = [name for name in few if "group" not in name]
        plain = {key: value for key, value in HELLO.items() if key != "group_layout"}
        for shape in (plain, HELLO):
            for versions in ([3], [], [4]):
                for also in ([], ["groups"], ["group-rotate"], ["groups", "group-members"]):
                    yield {"result": {**shape, "message_versions": versions, "capabilities": [*ungrouped, *also]}}


ODD: tuple[Any, ...] = (
    100_000,
    100_001,
    None,
    True,
    -1,
    2**32,
    7,
    1.5,
    "",
    "0",
    "05",
    "0G",
    "AB",
    KEY,
    KEY.upper(),
    SECRET,
    "x" * 600,
    [],
    [7],
    ["x"],
    [True],
    {},
)


def altered(value: Any) -> Iterator[Any]:
    """The same with one thing else, at every depth: a key less, a key more, another value."""
    for odd in ODD:
        if odd != value or type(odd) is not type(value):
            yield odd
    if isinstance(value, dict):
        yield {**value, "more": 1}
        for name, inner in value.items():
            yield {key: each for key, each in value.items() if key != name}
            for odd in altered(inner):
                yield {**value, name: odd}
    if isinstance(value, list) and value:
        for odd in altered(value[0]):
            yield [odd, *value[1:]]


def is_known_difference(verb: str, answer: dict[str, Any]) -> bool:
    """What the schema cannot know: it lets pass a null that only a driver without sessions may say."""
    del verb
    return '"identity_key": null' in json.dumps(answer)


@pytest.mark.parametrize("verb", VERBS)
def test_schema_and_gate_are_at_one(verb: str) -> None:
    """Every answer with one thing changed is right for both or wrong for both."""
    tried = {True: 0, False: 0}
    for honest in answers_of(verb):
        for answer in (honest, *({**honest, key: odd} for key in honest for odd in altered(honest[key]))):
            if is_known_difference(verb, answer):
                continue
            by_schema = validator(f"answer.{verb}").is_valid({"jsonrpc": "2.0", "id": 1, **answer})
            assert by_schema == accepts(verb, answer), answer
            tried[by_schema] += 1
    assert tried[True] > 0
    assert tried[False] > 50


def test_a_difference_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: a schema that forgets that a key has 33 bytes is not at one with the gate."""
    monkeypatch.setitem(
        contract.VERBS,  # type: ignore[misc]
        "reinstall",
        contract.Verb({"party": contract.PARTY}, {"identity_key": contract.BYTES}, "reinstall"),
    )
    validator.cache_clear()
    with pytest.raises(AssertionError):
        test_schema_and_gate_are_at_one("reinstall")
    monkeypatch.undo()
    validator.cache_clear()
    with suppress(AssertionError):
        test_schema_and_gate_are_at_one("reinstall")
        return
    pytest.fail("the control left its mark")
