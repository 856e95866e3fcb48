"""The measurements can be made; what they measure is no matter of a test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import floor, groups

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
