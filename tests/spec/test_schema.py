"""The JSON Schema of traces: it is what is written, and it takes what the reader takes.

The ids in it are examples.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from jsonschema import Draft202012Validator

from pawl_gate.engines import corpus
from pawl_gate.engines.strategies import traces
from pawl_gate.scenarios import scenarios
from pawl_spec import schema
from pawl_spec.history import Limits
from pawl_spec.trace import JUNK, Kind, Trace, TraceError, dumps, from_json, to_json
from tools import write_schema

VALIDATOR = Draft202012Validator(schema.trace_schema())


def document(**operands: object) -> dict[str, object]:
    """A trace of one operation."""
    return {"format": "pawl-trace", "version": 1, "ops": [operands]}


def test_the_schema_is_a_schema() -> None:
    """It keeps to its own dialect, and the file in the package is what the table of operations gives."""
    Draft202012Validator.check_schema(schema.trace_schema())
    assert json.loads(write_schema.PATH.read_text(encoding="utf-8")) == schema.trace_schema()
    assert write_schema.main(["--check"]) == 0


def test_a_stale_file_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The linter notices a file that was edited, or forgotten."""
    monkeypatch.setattr(write_schema, "PATH", tmp_path / "trace.schema.json")
    assert write_schema.main(["--check"]) == 1
    assert "out of date" in capsys.readouterr().err
    assert write_schema.main([]) == 0
    assert write_schema.main(["--check"]) == 0


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario.name)
def test_scenarios_unfold_to_valid_traces(scenario: object) -> None:
    """Every directed trace validates (the first of each, and the last: they differ in operands alone)."""
    unfolded = [trace for _, trace in scenario.traces(Limits(forward_jump=10, kept_per_chain=5, kept_per_session=9))]
    for trace in (unfolded[0], unfolded[-1]):
        VALIDATOR.validate(to_json(trace))


def test_saved_traces_are_valid() -> None:
    """Every input of the corpus in its archive form; and a counterexample with what `pawl verify` adds to it."""
    for _, trace in corpus.load(corpus.SESSION_TRACE):
        VALIDATOR.validate(json.loads(dumps(trace)))
    VALIDATOR.validate({"violates": "KEY-01", "target": "pawl", **to_json(Trace(()))})


@settings(max_examples=50)
@given(traces(max_ops=6))
def test_any_trace_is_valid(trace: Trace) -> None:
    """What is written validates."""
    VALIDATOR.validate(to_json(trace))


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.word)
def test_what_is_left_out_is_zero(kind: Kind) -> None:
    """Operands may be left out, or be numbers; one that is not known is refused by both."""
    VALIDATOR.validate(document(op=kind.word))
    numbers = document(op=kind.word, **dict.fromkeys(kind.names, 0))
    VALIDATOR.validate(numbers)
    from_json(numbers)
    refused(document(op=kind.word, whatever=1))


@pytest.mark.parametrize(
    "wrong",
    [
        document(op="send", actor="dave"),
        document(op="send", size=256),
        document(op="send", size=-1),
        document(op="inject", what=len(JUNK)),
        document(op="no-such-operation"),
        document(actor="alice"),
        {**document(op="nop"), "version": 2},
        {**document(op="nop"), "format": "other"},
        {**document(op="nop"), "seed": 65_536},
        {**document(op="nop"), "strict": ["dave"]},
        {**document(op="nop"), "strickt": ["alice"]},
        {**document(op="nop"), "violates": 4},
        {**document(op="nop"), "target": None},
        {"format": "pawl-trace", "version": 1},
        [],
    ],
    ids=str,
)
def test_what_the_reader_refuses_is_not_valid(wrong: object) -> None:
    """The schema and the reader agree on what is no trace."""
    refused(wrong)


def refused(wrong: object) -> None:
    """Both refuse."""
    assert not VALIDATOR.is_valid(wrong)
    with pytest.raises(TraceError):
        from_json(wrong)
