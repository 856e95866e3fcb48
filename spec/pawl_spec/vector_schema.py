"""The JSON Schemas of files of vectors, made from the tables of operations so that the two cannot differ.

`python -m tools.write_schema` writes them to `vectors/` under the names that the files give; the linter runs it with
--check.
"""

from __future__ import annotations

import json

from pawl_spec.schema import DIALECT
from pawl_spec.vector_operations import Operation, Suite
from pawl_spec.vectors import BUNDLE, KINDS, LICENCE, RESULTS, TEST_KEYS

Schema = dict[str, object]

HEX: Schema = {"type": "string", "pattern": "^([0-9a-f]{2})*$"}
NUMBER: Schema = {"type": "integer", "minimum": 0, "maximum": 2**32 - 1}
TEXT: Schema = {"type": "string"}


def _record(properties: dict[str, object]) -> Schema:
    """An object with exactly these properties."""
    return {
        "type": "object",
        "required": list(properties),
        "properties": properties,
        "additionalProperties": False,
    }


def _array(items: object, **more: object) -> Schema:
    return {"type": "array", "items": items, **more}


PARTS = _array(_record({"hex": HEX, "times": NUMBER}))

TYPES: dict[str, Schema] = {
    "text": TEXT,
    "actor": TEXT,
    "actors": _array(TEXT),
    "group": {"description": "A distribution id, 16 bytes in hex.", "type": "string", "pattern": "^[0-9a-f]{32}$"},
    "number": NUMBER,
    "flag": {"type": "boolean"},
    "bytes": {"description": "Hex, or parts to be repeated and joined.", "anyOf": [HEX, PARTS]},
    "key": {
        "description": "A private X25519 key or a chain key, 32 bytes in hex.",
        "type": "string",
        "pattern": "^[0-9a-f]{64}$",
    },
    "output": {
        "description": "Hex, or the digest of what is too long.",
        "anyOf": [HEX, PARTS, _record({"sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"}, "length": NUMBER})],
    },
    "type": {"enum": list(KINDS)},
    "optional number": {"anyOf": [NUMBER, {"type": "null"}]},
    "optional bytes": {"anyOf": [{"$ref": "#/$defs/bytes"}, {"type": "null"}]},
}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name.replace(' ', '-')}"}


def vector_schema(suite: Suite) -> Schema:
    """What `pawl_spec.vectors.loads` accepts of a suite, but for what two places of a file must say alike."""
    strings = _array(TEXT)
    test: dict[str, object] = {
        "id": TEXT,
        "comment": TEXT,
        "flags": strings,
        "invariants": strings,
        "result": {"enum": list(RESULTS)},
        "source": TEXT,
        "assumes": {"type": "object", "additionalProperties": {"type": ["integer", "string", "boolean"]}},
        "actors": {"type": "object", "additionalProperties": strings},
        "confirmedBy": strings,
        "steps": _array(_ref("step")),
    }
    if tuple(test) != TEST_KEYS:
        raise AssertionError("the schema of a test has other keys than the reader")
    group = {"type": {"const": suite.test_type}, "profile": {"enum": list(suite.profiles)}, "about": TEXT}
    file: dict[str, object] = {
        "algorithm": {"const": suite.algorithm},
        "schema": {"const": suite.schema},
        "licence": {"const": LICENCE},
        "numberOfTests": NUMBER,
        "header": strings,
        "notes": {"type": "object", "additionalProperties": _record({"bugType": TEXT, "description": TEXT})},
        "testGroups": _array(_record({**group, "tests": _array(_record(test))})),
    }
    return {
        "$schema": DIALECT,
        "$id": f"urn:pawl:{suite.prefix.rstrip('_')}-vectors:1",
        "title": suite.title,
        **_record(file),
        "$defs": {
            "step": {
                "type": "object",
                "required": ["operation"],
                "properties": {"operation": {"enum": list(suite.operations)}},
                "allOf": [
                    {"if": {"properties": {"operation": {"const": name}}}, "then": _ref(f"step {name}")}
                    for name in suite.operations
                ],
            },
            **{f"step-{name}": _step(name, spec) for name, spec in suite.operations.items()},
            "bundle": _record({name: _ref(kind) for name, kind in BUNDLE.items()}),
            **{name.replace(" ", "-"): schema for name, schema in TYPES.items()},
        },
    }


def _step(name: str, spec: Operation) -> Schema:
    properties: dict[str, object] = {"actor": TEXT} if spec.has_actor else {}
    properties |= {"operation": {"const": name}}
    properties |= {field: _ref(kind) for field, kind in spec.inputs.items()}
    done = _record({field: _ref(kind) for field, kind in spec.outputs.items()})
    refused = _record({"refusal": _array(TEXT, minItems=1)})
    properties["expect"] = {"anyOf": [done, refused]} if spec.refusable else done
    schema = {"description": spec.about, **_record(properties)}
    if spec.draws:
        draws = [_record({"key": {"const": key}, "private": _ref("key")}) for key in spec.draws]
        drawn = {"type": "array", "prefixItems": draws, "items": False}
        schema["properties"] = {**properties, "randomness": drawn}
    return schema


def schema_text(suite: Suite) -> str:
    """The file's content."""
    return json.dumps(vector_schema(suite), indent=2) + "\n"
