"""The JSON Schema of a trace's archive form, made from the table of operations so that the two cannot differ.

`python -m tools.write_schema` writes it to `trace.schema.json` beside this file; the linter runs it with --check.
"""

from __future__ import annotations

import json
from typing import Final

from pawl_spec.trace import FORMAT, MAX_OPS, PARTIES, VERSION, Kind, choices

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
"""The dialect of the schema; nobody needs to fetch it."""

FILE: Final = "trace.schema.json"
"""The name of the file, in this package."""


def trace_schema() -> dict[str, object]:
    """What `pawl_spec.trace.from_json` accepts, but for names that stand where a number was meant."""
    return {
        "$schema": DIALECT,
        "$id": "urn:pawl:trace:1",
        "title": "A trace: typed operations over a small world of parties, network, attacker and disk.",
        "type": "object",
        "required": ["format", "version", "ops"],
        "additionalProperties": False,
        "properties": {
            "format": {"const": FORMAT},
            "version": {"const": VERSION},
            "seed": {"description": "Of the world's randomness.", "type": "integer", "minimum": 0, "maximum": 0xFFFF},
            "strict": {
                "description": "The parties that accept only approved identities.",
                "type": "array",
                "items": {"enum": list(PARTIES)},
            },
            "violates": {"description": "The invariant that the trace was saved for.", "type": "string"},
            "target": {"description": "The target on which it violates that invariant.", "type": "string"},
            "ops": {
                "type": "array",
                "maxItems": MAX_OPS,
                "items": {
                    "type": "object",
                    "required": ["op"],
                    "properties": {"op": {"enum": [kind.word for kind in Kind]}},
                    "allOf": [
                        {
                            "if": {"properties": {"op": {"const": kind.word}}},
                            "then": {"$ref": f"#/$defs/{kind.word}"},
                        }
                        for kind in Kind
                    ],
                },
            },
        },
        "$defs": {kind.word: _operation(kind) for kind in Kind},
    }


def _operation(kind: Kind) -> dict[str, object]:
    operands = {name: _operand(kind, name, size) for name, size in kind.operands}
    return {"properties": {"op": True, **operands}, "additionalProperties": False}


def _operand(kind: Kind, name: str, size: int) -> dict[str, object]:
    """A number, or one of the names that stand for it; an operand that is left out is 0."""
    number = {"type": "integer", "minimum": 0, "maximum": size - 1}
    named = choices(kind, name)
    return {"anyOf": [{"enum": list(named)}, number]} if named else number


def schema_text() -> str:
    """The file's content."""
    return json.dumps(trace_schema(), indent=2) + "\n"
