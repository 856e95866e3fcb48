"""The measurements can be made; what they measure is no matter of a test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import floor, groups, harness
from pawl_gate.runner import run_trace
from pawl_gate.targets.driver import DriverTarget
from pawl_spec.judge import judge
from pawl_spec.trace import Kind, Trace, op

Output = pytest.CaptureFixture[str]
SMALL = ("--rounds", "1", "--members", "3", "--messages", "8", "--json")


def test_the_floor_of_groups_is_a_message() -> None:
    """What it sends it can read, and it notices another signature."""
    assert floor.group_decrypt() == floor.TEXT
    other = bytes([floor.GROUP_WIRE[-1] ^ 1])
    with pytest.raises(Exception, match="forged"):
        floor.verify(floor.GROUP_WIRE[:-64], floor.GROUP_WIRE[-64:-1] + other)


def test_groups_are_measured(capsys: Output, tmp_path: Path) -> None:
    """Each part gives its ratios; the official client is left out where it is not installed, and that is said."""
    assert groups.main([*SMALL, "--official", str(tmp_path)]) == 0
    out, said = capsys.readouterr()
    results = [json.loads(line) for line in out.splitlines()]
    assert [result["part"] for result in results] == ["messages"] * 2 + ["members"] * 4
    assert all(result["ratio"] > 0 for result in results)
    assert {result["bound"] for result in results if result["part"] == "messages"} == {1.8}
    assert "the official client is not there" in said


def test_one_part_for_people(capsys: Output) -> None:
    """A line each, and the load of the machine."""
    assert groups.main(["--only", "messages", "--rounds", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[:2]] == ["encrypt", "decrypt"]
    assert "load of the machine" in lines[2]


@pytest.mark.parametrize("wrong", [["--only", "sessions"], ["--members", "1"], ["--rounds", "0"]])
def test_wrong_usage(wrong: list[str], capsys: Output) -> None:
    """Exit code 2, and what is wrong."""
    with pytest.raises(SystemExit) as left:
        groups.main(wrong)
    assert left.value.code == 2


# -- the harness ------------------------------------------------------------------------------------------------------


def test_the_instant_driver_says_what_the_gate_looks_for() -> None:
    """Honest messages of all sizes are read back, and judged to be in order: nothing is timed that was refused at once."""
    talk = (
        op(Kind.ESTABLISH, actor=0, peer=1, one_time=1),
        *(op(Kind.SEND, actor=0, peer=1, size=size) for size in range(6)),
    )
    target = DriverTarget(harness.INSTANT)
    try:
        history = run_trace(target, Trace((*talk, *(op(Kind.DELIVER),) * 6)))
    finally:
        target.close()
    assert {event.outcome.value for event in history.events[:13]} == {"done"}
    assert [event.plaintext for event in history.events[7:13]] == list(range(6))
    _, checked = judge(history)
    assert len(checked) > 5


def test_the_harness_is_measured(capsys: Output) -> None:
    """Steps a second against a driver that answers at once, beside the bare exchange of the same lines."""
    assert harness.main(["--only", "instant", "--rounds", "1", "--traces", "2", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    result = json.loads(line)
    assert (result["part"], result["goal"]) == ("instant", 8_000)
    assert result["steps"] > 50
    assert result["requests"] > 50
    assert result["steps_per_second"] > 0
    assert result["request_us"] > result["bare_us"] > 0


@pytest.mark.node_peer
def test_what_comes_on_top_of_a_peer_is_measured(capsys: Output) -> None:
    """The peer's own time is told apart from the driver's and the gate's."""
    assert harness.main(["--only", "node", "--rounds", "1", "--traces", "2", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["calls"] > 20
    assert 0 < result["peer_s"] < result["wall_s"]
    assert result["gate_cpu_s"] > 0
    assert result["on_top"] == pytest.approx(result["wall_s"] / result["peer_s"] - 1, abs=0.02)


@pytest.mark.parametrize("wrong", [["--only", "groups"], ["--rounds", "0"], ["--traces", "0"]])
def test_wrong_usage_of_the_harness(wrong: list[str], capsys: Output) -> None:
    """Exit code 2, and what is wrong."""
    with pytest.raises(SystemExit) as left:
        harness.main(wrong)
    assert left.value.code == 2


def test_a_peer_that_is_not_there_is_said(capsys: Output, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Exit code 3 where it alone was asked for."""
    monkeypatch.setenv("PAWL_DRIVERS", str(tmp_path))
    assert harness.main(["--only", "node", "--rounds", "1"]) == 3
    assert "there is no driver in" in capsys.readouterr().err
