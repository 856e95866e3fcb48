"""The driver contract as data: every verb with its parameters and results, and the JSON Schema that is made of it.

`DriverTarget` holds a driver to the same by its own checks, which tell a person what is wrong; tests hold the two to
each other, verb by verb. `python -m tools.write_schema` writes the schema beside this file. Its version is the
protocol's: what a driver of that version may be asked is only added to, and only behind a capability.

Not in the schema: that a whole number is written without a fraction (for JSON Schema 1.0 is one), that a line has at
most 4 MiB, and what of an answer depends on what was asked or declared
(an identity key is null from a driver without sessions alone).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final

from pawl_gate.targets import driver
from pawl_spec.history import Hello, Limits, Observation, Observe

FILE: Final = "driver.schema.json"

Schema = dict[str, Any]


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _object(
    properties: Mapping[str, Schema], required: Sequence[str] | None = None, *, says: str = ""
) -> Schema:  # fmt: skip
    """An object with these keys and no others; all of them are required unless it is said which."""
    return {
        **({"description": says} if says else {}),
        "type": "object",
        "properties": dict(properties),
        "required": list(properties if required is None else required),
        "additionalProperties": False,
    }


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


NUMBER: Final = _ref("number")
PARTY: Final = _ref("party")
FLAG: Final = {"type": "boolean"}
TEXT: Final = _ref("text")
BYTES: Final = _ref("bytes")
PUBLIC_KEY: Final = _ref("publicKey")
PRIVATE_KEY: Final = _ref("secret")
KIND: Final = {"enum": ["prekey", "signal"]}
PROMOTES: Final = {"enum": ["on-new-chain", "always", "never"]}
OPTION: Final = {"enum": ["none", "prekey-id-zero", "untyped-keys", "all"]}


def _hex(length: int) -> Schema:
    return {"type": "string", "pattern": f"^[0-9a-f]{{{2 * length}}}$", "description": f"{length} bytes in hex"}


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb of the contract."""

    params: Mapping[str, Schema] = field(default_factory=dict)
    result: Mapping[str, Schema] = field(default_factory=dict)
    needs: str | None = None
    """The capability without which it is not asked."""
    level: Observe = Observe.WIRE
    """The observation level from which on it is asked."""
    acts: bool = True
    """Whether it may change a party's state: then it can be refused, and its answer may carry that state and events."""
    sessions: bool = False
    """Whether it is asked only of a driver that does sessions."""
    whole: Schema | None = None
    """The result, where it is no object of such keys."""


BUNDLE_KEYS: Final[Mapping[str, Schema]] = {
    "registration_id": NUMBER,
    "device_id": NUMBER,
    "identity_key": PUBLIC_KEY,
    "signed_prekey_id": NUMBER,
    "signed_prekey": PUBLIC_KEY,
    "signature": _ref("signature"),
    "prekey_id": _or_null(NUMBER),
    "prekey": _or_null(PUBLIC_KEY),
}

WHO: Final[Mapping[str, Schema]] = {
    "party": PARTY,
    "name": TEXT,
    "device_id": NUMBER,
    "trust_on_first_use": FLAG,
}

SECRETS: Final[Mapping[str, Schema]] = {"secrets": {"type": "array", "items": _ref("secret")}}
GROUP: Final = _hex(16)
DIGITS: Final = {"type": "string", "pattern": f"^[0-9]{{{driver.FINGERPRINT_DIGITS}}}$"}

VERBS: Final[Mapping[str, Verb]] = {
    "hello": Verb(acts=False, whole=_ref("hello")),
    "reset": Verb({"seed": NUMBER}, acts=False),
    "create": Verb(WHO, {"identity_key": _or_null(PUBLIC_KEY)}),
    "reinstall": Verb({"party": PARTY}, {"identity_key": _or_null(PUBLIC_KEY)}, "reinstall"),
    "bundle": Verb({"party": PARTY, "one_time": FLAG}, BUNDLE_KEYS, sessions=True),
    "establish": Verb({"party": PARTY, "peer": PARTY, "bundle": _ref("forgedBundle")}, sessions=True),
    "encrypt": Verb({"party": PARTY, "peer": PARTY, "plaintext": BYTES}, {"kind": KIND, "data": BYTES}, sessions=True),
    "decrypt": Verb({"party": PARTY, "peer": PARTY, "kind": KIND, "data": BYTES}, {"plaintext": BYTES}, sessions=True),
    "approve": Verb({"party": PARTY, "peer": PARTY, "identity_key": BYTES}, needs="approve"),
    "restart": Verb({"party": PARTY}, needs="restart"),
    "arm_crash": Verb({"party": PARTY, "at": NUMBER}, needs="crash", acts=False),
    "disarm_crash": Verb({"party": PARTY}, {"armed": FLAG}, "crash", acts=False),
    "observe": Verb({"party": PARTY}, level=Observe.COUNTS, acts=False, whole=_ref("observation")),
    "secrets": Verb(
        {"party": PARTY},
        SECRETS,
        level=Observe.STATE,
        acts=False,
        sessions=True,
    ),
    "advance": Verb({"seconds": NUMBER}, needs="clock", acts=False),
    "rotate": Verb({"party": PARTY}, needs="rotate"),
    "maintain": Verb({"party": PARTY}, {"rotated": FLAG}, "rotate"),
    "forget": Verb({"party": PARTY, "peer": PARTY}, needs="forget"),
    "compatibility": Verb({"party": PARTY, "option": OPTION}, needs="compatibility"),
    "fingerprint": Verb(
        {"party": PARTY, "peer": PARTY, "identity_key": PUBLIC_KEY},
        {"displayable": DIGITS, "scannable": _or_null(BYTES)},
        "fingerprint",
    ),
    "import_party": Verb(
        {**WHO, "identity": PRIVATE_KEY, "registration_id": NUMBER},
        {"identity_key": _or_null(PUBLIC_KEY)},
        "import-keys",
    ),
    "import_signed_prekey": Verb(
        {"party": PARTY, "id": NUMBER, "private": PRIVATE_KEY, "signature": BYTES},
        {"public_key": PUBLIC_KEY},
        "import-keys",
    ),
    "import_prekey": Verb(
        {"party": PARTY, "id": NUMBER, "private": PRIVATE_KEY}, {"public_key": PUBLIC_KEY}, "import-keys"
    ),
    "inject_keys": Verb(
        {"party": PARTY, "private": {"type": "array", "items": PRIVATE_KEY}}, needs="inject-keys", acts=False
    ),
    "group_create": Verb({"party": PARTY, "group": GROUP}, {"distribution": BYTES}, "groups"),
    "group_join": Verb({"party": PARTY, "sender": PARTY, "group": GROUP, "distribution": BYTES}, needs="groups"),
    "group_encrypt": Verb({"party": PARTY, "group": GROUP, "plaintext": BYTES}, {"data": BYTES}, "groups"),
    "group_decrypt": Verb(
        {"party": PARTY, "sender": PARTY, "group": GROUP, "data": BYTES}, {"plaintext": BYTES}, "groups"
    ),
    "group_rotate": Verb({"party": PARTY, "group": GROUP}, needs="group-rotate"),
    "group_forget": Verb({"party": PARTY, "peer": PARTY, "group": GROUP}, needs="group-forget"),
    "group_members": Verb(
        {"party": PARTY, "group": GROUP, "members": {"type": "array", "items": PARTY}}, needs="group-members"
    ),
    "group_secrets": Verb({"party": PARTY}, SECRETS, "groups", Observe.STATE, acts=False),
}
"""Every verb."""


def schema() -> Schema:
    """The JSON Schema: a line is a request or an answer; `$defs` has each verb's own as request.X and answer.X."""
    requests = {f"request.{name}": _request(name, verb) for name, verb in VERBS.items()}
    answers = {f"answer.{name}": _answer(name, verb) for name, verb in VERBS.items()}
    others = ("noSuchVerb", "wrongParams", "notJson")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:pawl:driver-contract:{driver.PROTOCOL}",
        "title": f"Pawl's driver contract, version {driver.PROTOCOL}",
        "description": "Explained in docs/reference/driver-contract.md. Written by `python -m tools.write_schema`.",
        "anyOf": [_ref(name) for name in (*requests, *answers, *others)],
        "$defs": {**_types(), **requests, **answers},
    }


def schema_text() -> str:
    """The text of the file."""
    return json.dumps(schema(), indent=1) + "\n"


def _request(name: str, verb: Verb) -> Schema:
    head = {"jsonrpc": {"const": "2.0"}, "id": {"type": "integer"}}
    return _object({**head, "method": {"const": name}, "params": _object(verb.params)})


def _answer(name: str, verb: Verb) -> Schema:
    beside = dict(_BESIDE) if verb.acts else {}
    result = verb.whole
    if result is None:
        result = _object({**verb.result, **beside}, list(verb.result))
        if name == "bundle":
            result |= _TOGETHER
    errors = []
    if verb.acts:
        errors.append(_ref("refused"))
    if name in driver.CRASHABLE:
        errors.append(_ref("crashed"))
    head = {"jsonrpc": {"const": "2.0"}, "id": {"type": "integer"}}
    done = _object({**head, "result": result})
    return {"oneOf": [done, _object({**head, "error": {"oneOf": errors}})]} if errors else done


_BESIDE: Final[Mapping[str, Schema]] = {"state": _or_null(_ref("state")), "events": _or_null(_ref("events"))}
"""What may come with the answer of a verb that acts."""

_TOGETHER: Final[Schema] = {
    "oneOf": [
        {"properties": {"prekey_id": {"type": "null"}, "prekey": {"type": "null"}}},
        {"properties": {"prekey_id": {"type": "integer"}, "prekey": {"type": "string"}}},
    ]
}
"""A one-time prekey and its id are null together or not at all."""


def _types() -> dict[str, Schema]:
    """What the verbs are made of."""
    limit = _or_null(NUMBER)
    limits = {one.name: limit for one in fields(Limits)}
    limits["forward_jump"] = {"type": "integer", "minimum": 0, "maximum": driver.MAX_DECLARED_JUMP}
    return {
        "number": {"type": "integer", "minimum": 0, "maximum": driver.MAX_UINT32},
        "party": {"type": "integer", "minimum": 0, "maximum": 999},
        "text": {"type": "string", "maxLength": driver.MAX_TEXT},
        "bytes": {"type": "string", "pattern": "^([0-9a-f]{2})*$"},
        "publicKey": _hex(driver.PUBLIC_KEY_BYTES),
        "signature": _hex(driver.SIGNATURE_BYTES),
        "secret": _hex(driver.SECRET_BYTES),
        # What is handed to a party as a bundle may be forged: its parts have any length.
        "forgedBundle": _object(
            {
                **dict.fromkeys(BUNDLE_KEYS, NUMBER),
                **dict.fromkeys(("identity_key", "signed_prekey", "signature"), BYTES),
                "prekey_id": _or_null(NUMBER),
                "prekey": _or_null(BYTES),
            }
        ),
        "hello": {
            **_object(
                {
                    "name": TEXT,
                    "version": TEXT,
                    "protocol": {"const": driver.PROTOCOL},
                    "message_versions": {"type": "array", "items": NUMBER},
                    "level": {"type": "integer", "minimum": 0, "maximum": max(Observe).value},
                    "capabilities": {"type": "array", "items": {"enum": sorted(driver.CAPABILITIES)}},
                    "limits": _object(limits, driver.LIMITS_ALWAYS),
                    "profile": _object(
                        {"promotes": PROMOTES, "closes_chains": FLAG, "needs_one_time": FLAG}, driver.PROFILE_ALWAYS
                    ),
                    "group_layout": {"enum": list(driver.GROUP_LAYOUTS)},
                },
                _HELLO,
            ),
            "allOf": [
                # What crashed is opened again from what is durable.
                {"if": _declares("crash"), "then": _declares("restart")},
                *({"if": _declares(name), "then": _declares("groups")} for name in sorted(driver.OF_GROUPS)),
                {
                    "if": _declares("groups"),
                    "then": {"required": ["group_layout"]},
                    "else": {"properties": {"group_layout": False, "message_versions": {"contains": {"const": 3}}}},
                },
            ],
        },
        "observation": _object(_observed(), [one for one in _observed() if one == "digest"]),
        "state": {
            "description": "What the party that acted now holds, by its number.",
            "type": "object",
            "patternProperties": {"^[0-9]{1,3}$": _ref("observation")},
            "additionalProperties": False,
        },
        "events": {"type": "array", "items": TEXT},
        "refused": _object(
            {
                "code": {"const": driver.REFUSED},
                "message": {"type": "string"},
                "data": _object(
                    {"refusal": {"enum": sorted(driver.REFUSALS)}, **_BESIDE},
                    ["refusal"],
                ),
            }
        ),
        "crashed": _object(
            {
                "code": {"const": driver.CRASHED},
                "message": {"type": "string"},
                "data": _object({"complete": _or_null({"type": "string", "maxLength": driver.DIGEST_CHARACTERS})}),
            }
        ),
        "noSuchVerb": _error(driver.METHOD_NOT_FOUND, {"type": "integer"}),
        "wrongParams": _error(driver.WRONG_PARAMS, {"type": "integer"}),
        "notJson": _error(driver.NOT_JSON, {"type": "null"}),
    }


_HELLO: Final = ("name", "version", "protocol", "message_versions", "level", "capabilities", "limits", "profile")
"""What every driver says of itself."""


def _declares(capability: str) -> Schema:
    return {"properties": {"capabilities": {"contains": {"const": capability}}}}


def _error(code: int, id_: Schema) -> Schema:
    error = _object({"code": {"const": code}, "message": {"type": "string"}, "data": {}}, ["code", "message"])
    return _object({"jsonrpc": {"const": "2.0"}, "id": id_, "error": error})


def _observed() -> dict[str, Schema]:
    """The parts of an observation, all but the digest optional."""
    ids = _or_null({"type": "array", "items": NUMBER})
    known: dict[str, Schema] = {
        "digest": {"type": "string", "maxLength": driver.DIGEST_CHARACTERS},
        "prekeys": ids,
        "signed_prekeys": ids,
        "durable": _or_null(FLAG),
    }
    return {one.name: known.get(one.name, _or_null(NUMBER)) for one in fields(Observation)}


def asked_of(hello: Hello) -> list[str]:
    """The verbs that a driver is asked, as it declares itself."""
    return [
        name
        for name, verb in VERBS.items()
        if (verb.needs is None or verb.needs in hello.capabilities)
        and hello.level >= verb.level
        and (hello.sessions or not verb.sessions)
    ]
