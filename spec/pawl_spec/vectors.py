"""Vectors: what a published test of the protocol is, in bytes, for implementations that have nothing of Pawl.

A file holds groups, a group holds tests, a test is a list of steps: an actor, an operation, its inputs, the private
keys that it draws, and what must come of it. Everything that reaches an actor is in the vector, so that each actor can
be played on its own. The shape is that of Wycheproof; the page docs/reference/vectors.md describes it for readers.

One table of each suite (`pawl_spec.vector_operations`) says what each operation takes and gives; the reader here, the
JSON Schema (`pawl_spec.vector_schema`) and the gate all follow it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pawl_spec.vector_operations import ALL_OPERATIONS, INJECT_KEYS, SESSIONS, SUITES, Operation, Suite

LICENCE: Final = "Apache-2.0"

VALID, INVALID = "valid", "invalid"
RESULTS: Final = (VALID, INVALID)
"""Of a test: each step is done, or some step must be refused."""

LONG_BYTES: Final = 4096
"""From so many bytes on, an input is written as repeated parts, and an expected output as its digest."""

RUN_BYTES: Final = 64
"""The shortest run of one byte that is written as a repeated part."""


class VectorError(ValueError):
    """A file that is no file of vectors; the text says where."""


@dataclass(frozen=True, slots=True)
class Digest:
    """An expected output that is too long to be written: its SHA-256 (hex) and its length in bytes."""

    sha256: str
    length: int

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """The digest of `data`."""
        return cls(hashlib.sha256(data).hexdigest(), len(data))


BUNDLE: Final = {
    "registrationId": "number",
    "deviceId": "number",
    "identityKey": "bytes",
    "signedPreKeyId": "number",
    "signedPreKey": "bytes",
    "signature": "bytes",
    "preKeyId": "optional number",
    "preKey": "optional bytes",
}
"""Fields of a bundle. It is an input, and may be malformed: its byte strings have any length."""

KINDS: Final = ("prekey", "signal")
"""Types of messages, told beside their bytes."""

Value = Any
"""Of a field: bytes for byte strings, else what JSON has; a bundle is a dictionary of such values."""


@dataclass(frozen=True, slots=True)
class Draw:
    """A key that the actor draws at random, and that a target is given where it can be: its name, the private key."""

    name: str
    private: bytes


@dataclass(frozen=True, slots=True)
class Step:
    """One operation and what must come of it."""

    operation: str
    actor: str | None
    inputs: Mapping[str, Value]
    draws: tuple[Draw, ...] = ()
    output: Mapping[str, Value] | None = None
    """None: it must be refused."""
    refusal: tuple[str, ...] = ()
    """The codes that are right, the most telling first."""

    @property
    def others(self) -> tuple[str, ...]:
        """The actors that it names beside its own."""
        named = [self.inputs.get("peer"), self.inputs.get("sender"), *self.inputs.get("members", ())]
        return tuple(each for each in named if each is not None)

    @property
    def sends(self) -> bool:
        """Whether bytes left the actor that depend on all that it drew before."""
        return self.operation in ("encrypt", "skip") and self.output is not None


@dataclass(frozen=True, slots=True)
class Vector:
    """One test: steps on a fresh world."""

    id: str
    """Never given to another test."""
    comment: str
    flags: tuple[str, ...]
    invariants: tuple[str, ...]
    source: str
    """Where the steps come from, and with them what must come of them."""
    steps: tuple[Step, ...]
    assumes: Mapping[str, int | str] = field(default_factory=dict)
    """Limits and behaviour without which the test says nothing."""
    confirmed_by: tuple[str, ...] = ()

    @property
    def result(self) -> str:
        """Whether each step is done, or some step must be refused."""
        return VALID if all(step.output is not None for step in self.steps) else INVALID

    @property
    def actors(self) -> dict[str, tuple[str, ...]]:
        """What a target must be able to do to play each actor, in order of appearance."""
        common = [spec.needs for spec in map(_operation_of, self.steps) if not spec.has_actor and spec.needs]
        needs: dict[str, list[str]] = {}
        drew: set[str] = set()
        for step in self.steps:
            if step.actor is None:
                continue
            mine = needs.setdefault(step.actor, list(common))
            wanted = [_operation_of(step).needs]
            if step.operation == "create" and not step.inputs["trustOnFirstUse"]:
                wanted.append("strict-identity")
            if step.draws:
                drew.add(step.actor)
            # What was drawn matters once it left: in a message, or in what another one answers to it.
            if step.sends and step.actor in drew:
                wanted.append(INJECT_KEYS)
            mine += [each for each in wanted if each is not None and each not in mine]
        return {actor: tuple(sorted(set(each))) for actor, each in needs.items()}


def _operation_of(step: Step) -> Operation:
    return ALL_OPERATIONS[step.operation]


@dataclass(frozen=True, slots=True)
class Group:
    """Tests of one profile."""

    profile: str
    tests: tuple[Vector, ...]


@dataclass(frozen=True, slots=True)
class File:
    """One file of vectors."""

    header: tuple[str, ...]
    notes: Mapping[str, Mapping[str, str]]
    """By flag: `bugType`, what kind of fault a wrong answer is, and `description`."""
    groups: tuple[Group, ...]
    suite: Suite = SESSIONS

    def tests(self) -> Iterator[tuple[Group, Vector]]:
        """Every test with its group."""
        return ((group, test) for group in self.groups for test in group.tests)


# -- writing ----------------------------------------------------------------------------------------------------------


def write_bytes(data: bytes) -> str | list[dict[str, object]]:
    """Hex, or parts with repetitions where that is much shorter."""
    if len(data) < LONG_BYTES:
        return data.hex()
    parts: list[dict[str, object]] = []
    at = plain = 0
    while at < len(data):
        end = at + 1
        while end < len(data) and data[end] == data[at]:
            end += 1
        if end - at >= RUN_BYTES:
            if plain < at:
                parts.append({"hex": data[plain:at].hex(), "times": 1})
            parts.append({"hex": data[at : at + 1].hex(), "times": end - at})
            plain = end
        at = end
    if plain < len(data):
        parts.append({"hex": data[plain:].hex(), "times": 1})
    return parts


def _write(value: Value) -> object:
    if isinstance(value, bytes):
        return write_bytes(value)
    if isinstance(value, Digest):
        return {"sha256": value.sha256, "length": value.length}
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Mapping):
        return {name: _write(each) for name, each in value.items()}
    return value


def step_to_json(step: Step) -> dict[str, object]:
    """One step, for `json.dumps`."""
    document: dict[str, object] = {} if step.actor is None else {"actor": step.actor}
    document["operation"] = step.operation
    document |= {name: _write(value) for name, value in step.inputs.items()}
    if step.draws:
        document["randomness"] = [{"key": draw.name, "private": draw.private.hex()} for draw in step.draws]
    document["expect"] = {"refusal": list(step.refusal)} if step.output is None else _write(step.output)
    return document


def _test_to_json(test: Vector) -> dict[str, object]:
    return {
        "id": test.id,
        "comment": test.comment,
        "flags": list(test.flags),
        "invariants": list(test.invariants),
        "result": test.result,
        "source": test.source,
        "assumes": dict(test.assumes),
        "actors": {actor: list(needs) for actor, needs in test.actors.items()},
        "confirmedBy": list(test.confirmed_by),
    }


def dumps(file: File) -> str:
    """A file as text: the head of a test and each of its steps on a line of its own."""
    suite = file.suite
    head = {
        "algorithm": suite.algorithm,
        "schema": suite.schema,
        "licence": LICENCE,
        "numberOfTests": sum(len(group.tests) for group in file.groups),
        "header": list(file.header),
        "notes": {flag: dict(note) for flag, note in sorted(file.notes.items())},
    }
    lines = [json.dumps(head, indent=1)[:-2] + ',\n "testGroups": [']
    for number, group in enumerate(file.groups):
        described = json.dumps(
            {"type": suite.test_type, "profile": group.profile, "about": suite.profiles[group.profile]}
        )
        lines.append(f'  {described[:-1]}, "tests": [')
        for at, test in enumerate(group.tests):
            lines.append(f'   {json.dumps(_test_to_json(test))[:-1]}, "steps": [')
            steps = [json.dumps(step_to_json(step)) for step in test.steps]
            lines.append(",\n".join(f"    {step}" for step in steps))
            lines.append("   ]}" + ("," if at + 1 < len(group.tests) else ""))
        lines.append("  ]}" + ("," if number + 1 < len(file.groups) else ""))
    return "\n".join([*lines, " ]", "}"]) + "\n"


# -- reading ----------------------------------------------------------------------------------------------------------


def loads(text: str) -> File:
    """Read a file. What it says twice must agree. Raises: VectorError, with the place."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise VectorError(f"not JSON: {error}") from None
    head = _keys(
        document, "the file", ("algorithm", "schema", "licence", "numberOfTests", "header", "notes", "testGroups")
    )
    named = head["algorithm"], head["schema"]
    suite = next((each for each in SUITES if (each.algorithm, each.schema) == named), None)
    if suite is None:
        known = " or ".join(f'"{each.algorithm}" and "{each.schema}"' for each in SUITES)
        raise VectorError(f'"algorithm" and "schema" must be {known}')
    groups = tuple(_group(at, entry, suite) for at, entry in enumerate(_list(head["testGroups"], "testGroups")))
    notes = {}
    for flag, note in _object(head["notes"], "notes").items():
        said = _keys(note, f"the note {flag!r}", ("bugType", "description"))
        notes[flag] = {key: _text(value, f"the note {flag!r}") for key, value in said.items()}
    file = File(_texts(head["header"], "header"), notes, groups, suite)
    tests = [test for _, test in file.tests()]
    if head["numberOfTests"] != len(tests):
        raise VectorError(f"numberOfTests is {head['numberOfTests']!r}, there are {len(tests)}")
    if unknown := sorted({flag for test in tests for flag in test.flags} - set(notes)):
        raise VectorError(f"the flag {unknown[0]!r} has no note")
    return file


def _group(at: int, entry: object, suite: Suite) -> Group:
    where = f"group {at}"
    said = _keys(entry, where, ("type", "profile", "about", "tests"))
    if said["type"] != suite.test_type or said["profile"] not in suite.profiles:
        known = ", ".join(suite.profiles)
        raise VectorError(f"{where}: type must be {suite.test_type}, and the profile one of {known}")
    tests = enumerate(said["tests"])
    return Group(said["profile"], tuple(_test(each, f"{where}, test {n}", suite) for n, each in tests))


TEST_KEYS: Final = (
    *("id", "comment", "flags", "invariants", "result", "source", "assumes", "actors", "confirmedBy", "steps"),
)


def _test(entry: object, where: str, suite: Suite) -> Vector:
    said = _keys(entry, where, TEST_KEYS)
    where = f"{where} ({said['id']!r:.60})"
    assumes = _object(said["assumes"], f"{where}: assumes")
    if not all(type(value) in (int, str, bool) for value in assumes.values()):
        raise VectorError(f"{where}: assumes holds numbers, words and flags")
    test = Vector(
        id=_text(said["id"], f"{where}: id"),
        comment=_text(said["comment"], f"{where}: comment"),
        flags=_texts(said["flags"], f"{where}: flags"),
        invariants=_texts(said["invariants"], f"{where}: invariants"),
        source=_text(said["source"], f"{where}: source"),
        assumes=assumes,
        confirmed_by=_texts(said["confirmedBy"], f"{where}: confirmedBy"),
        steps=tuple(
            _step(each, f"{where}, step {n}", suite) for n, each in enumerate(_list(said["steps"], f"{where}: steps"))
        ),
    )
    # Said for readers, and derived from the steps.
    if said["result"] != test.result:
        raise VectorError(f"{where}: result is {said['result']!r:.20}, the steps say {test.result}")
    if said["actors"] != {actor: list(needs) for actor, needs in test.actors.items()}:
        raise VectorError(f"{where}: actors is not what the steps say")
    _check_created(test, where)
    return test


def _check_created(test: Vector, where: str) -> None:
    """Whoever acts, or is spoken of, was created before."""
    created: set[str] = set()
    for number, step in enumerate(test.steps):
        if step.operation in ("create", "member") and step.actor is not None:
            created.add(step.actor)
        others = step.others
        if not {step.actor, *others} - {None} <= created or (step.actor is not None and step.actor in others):
            raise VectorError(f"{where}, step {number}: names an actor who was not created, or itself as its peer")


def _step(entry: object, where: str, suite: Suite) -> Step:
    said = dict(_object(entry, where))
    name = said.pop("operation", None)
    if not isinstance(name, str) or name not in suite.operations:
        raise VectorError(f"{where}: operation must be one of {', '.join(suite.operations)}")
    spec = suite.operations[name]
    where = f"{where} ({name})"
    actor = _text(said.pop("actor", None), f"{where}: actor") if spec.has_actor else None
    draws = tuple(_draw(each, where) for each in _list(said.pop("randomness", []), f"{where}: randomness"))
    if tuple(draw.name for draw in draws) != spec.draws[: len(draws)]:
        raise VectorError(f"{where}: it draws {', '.join(spec.draws) or 'nothing'}")
    expect = _object(said.pop("expect", None), f"{where}: expect")
    inputs = _fields(said, spec.inputs, where)
    if "refusal" in expect:
        codes = _texts(_keys(expect, f"{where}: expect", ("refusal",))["refusal"], f"{where}: refusal")
        if not spec.refusable or not codes or draws:
            raise VectorError(f"{where}: a refusal names its codes and draws nothing, and not everything is refused")
        return Step(name, actor, inputs, refusal=codes)
    return Step(name, actor, inputs, draws, _fields(expect, spec.outputs, f"{where}: expect"))


def _draw(entry: object, where: str) -> Draw:
    said = _keys(entry, f"{where}: randomness", ("key", "private"))
    return Draw(_text(said["key"], f"{where}: randomness"), _key(said["private"], f"{where}: randomness"))


def _fields(said: Mapping[str, Any], types: Mapping[str, str], where: str) -> dict[str, Value]:
    found = _keys(said, where, tuple(types))
    return {name: TYPES[kind](found[name], f"{where}: {name}") for name, kind in types.items()}


def _object(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise VectorError(f"{where}: an object was expected")
    return value


def _keys(value: object, where: str, keys: tuple[str, ...]) -> Mapping[str, Any]:
    """`value` as an object with exactly these keys."""
    said = _object(value, where)
    for key in keys:
        if key not in said:
            raise VectorError(f"{where}: {key!r} is missing")
    for key in said:
        if key not in keys:
            raise VectorError(f"{where}: {key!r:.60} is not expected")
    return said


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise VectorError(f"{where}: a list was expected")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise VectorError(f"{where}: a string was expected")
    return value


def _texts(value: object, where: str) -> tuple[str, ...]:
    return tuple(_text(each, where) for each in _list(value, where))


def _number(value: object, where: str) -> int:
    # JSON's true is a number for Python.
    if type(value) is not int or not 0 <= value < 2**32:
        raise VectorError(f"{where}: a number from 0 to {2**32 - 1} was expected")
    return value


def _flag(value: object, where: str) -> bool:
    if type(value) is not bool:
        raise VectorError(f"{where}: true or false was expected")
    return value


MAX_BYTES: Final = 1 << 20
"""Bytes of one byte string: twice the largest message."""


def _hex(value: object, where: str) -> bytes:
    text = _text(value, where)
    try:
        data = bytes.fromhex(text)
    except ValueError:
        data = b""
    # fromhex() also takes spaces and capitals.
    if data.hex() != text:
        raise VectorError(f"{where}: lower-case hex was expected")
    return data


def _bytes(value: object, where: str) -> bytes:
    if not isinstance(value, list):
        return _hex(value, where)
    out = bytearray()
    for part in value:
        said = _keys(part, where, ("hex", "times"))
        data, times = _hex(said["hex"], where), _number(said["times"], where)
        if len(out) + len(data) * times > MAX_BYTES:
            raise VectorError(f"{where}: more than {MAX_BYTES} bytes")
        out += data * times
    return bytes(out)


def _key(value: object, where: str) -> bytes:
    data = _hex(value, where)
    if len(data) != 32:
        raise VectorError(f"{where}: a private key of 32 bytes was expected")
    return data


def _distribution_id(value: object, where: str) -> bytes:
    data = _hex(value, where)
    if len(data) != 16:
        raise VectorError(f"{where}: a distribution id of 16 bytes was expected")
    return data


def _output(value: object, where: str) -> bytes | Digest:
    if not isinstance(value, dict):
        return _bytes(value, where)
    said = _keys(value, where, ("sha256", "length"))
    return Digest(_text(said["sha256"], where), _number(said["length"], where))


def _kind(value: object, where: str) -> str:
    if value not in KINDS:
        raise VectorError(f"{where}: one of {', '.join(KINDS)} was expected")
    return str(value)


def _optional(read: Callable[[object, str], Value]) -> Callable[[object, str], Value]:
    return lambda value, where: None if value is None else read(value, where)


TYPES: Final[Mapping[str, Callable[[object, str], Value]]] = {
    "text": _text,
    "actor": _text,
    "actors": _texts,
    "group": _distribution_id,
    "number": _number,
    "flag": _flag,
    "bytes": _bytes,
    "key": _key,
    "output": _output,
    "type": _kind,
    "optional number": _optional(_number),
    "optional bytes": _optional(_bytes),
    "bundle": lambda value, where: _fields(_object(value, where), BUNDLE, where),
}
"""How each type of field is read."""
