"""The dictionaries: each entry point has one, made of the code, which libFuzzer reads."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from pawl.wire import messages
from pawl_gate.fuzzing import fields, sealed
from pawl_gate.fuzzing.dictionaries import FAMILIES, MOST_BYTES, text, unescaped
from pawl_gate.fuzzing.entries import ENTRIES
from pawl_spec.trace import Kind
from tools import make_dictionaries

LINE = re.compile(r'[A-Za-z0-9_]+="(?:[ !#-\[\]-~]|\\x[0-9a-f]{2})+"')
"""As libFuzzer reads one. Source: libFuzzer's documentation, "Dictionaries"."""


def words(name: str) -> list[bytes]:
    """What libFuzzer is given of an entry point."""
    return [unescaped(line) for line in ENTRIES[name].dictionary.read_text("ascii").splitlines() if line[0] != "#"]


@pytest.mark.parametrize("name", ENTRIES)
def test_a_dictionary_is_what_the_code_says(name: str) -> None:
    """Each line is one that libFuzzer can read, and holds the bytes that were meant; none is there twice."""
    written = ENTRIES[name].dictionary.read_text("ascii")
    assert written == text(name)
    lines = [line for line in written.splitlines() if line[0] != "#"]
    assert all(LINE.fullmatch(line) for line in lines)
    had = words(name)
    assert set(had) == {word for word in FAMILIES[name]().values() if 0 < len(word) <= MOST_BYTES}
    assert len(had) == len(set(had)) >= 10


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("signal_message", [b"\x33", b"\x34", b"\x0a\x21", b"\x10", b"\xff\xff\xff\xff\x0f", b"\x80\x00"]),
        ("prekey_message", [bytes([tag]) for tag in messages.PREKEY_SCHEMA.by_tag]),
        ("distribution", [b"\x22", fields.KEYS[4], b"\x80\x80\x01"]),
        ("session_trace", [bytes([kind.opcode]) for kind in Kind if not kind.operands]),
        ("sealed_message", [bytes([number]) for number in range(len(sealed.MOVES))]),
        ("driver_answer", [b'"bad-mac"', b"\ndecrypt\t"]),
        ("worker_message", [b"\xc0", b"\xa7bad-mac"]),
        ("stored_record", [b"\x0a\x20", b"\x4a"]),
    ],
)
def test_a_family_has_its_words(name: str, wanted: list[bytes]) -> None:
    """Tags, versions, integers at a boundary, opcodes: what each family is made of."""
    assert set(wanted) <= set(words(name))


def test_a_dictionary_that_is_another_one_is_noticed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make lint` compares."""
    monkeypatch.setattr(sys, "argv", ["make_dictionaries", "--check"])
    assert make_dictionaries.main() == 0
    monkeypatch.setattr(make_dictionaries, "text", lambda name: text(name) + ('more="x"\n' if name == "key" else ""))
    assert make_dictionaries.main() == 1
    assert capsys.readouterr().err.startswith("fuzz/key.dict is not what the code says")


@pytest.mark.atheris
def test_libfuzzer_reads_all_of_it() -> None:
    """An entry point is started with its dictionary, and libFuzzer counts as many words as there are."""
    program = ENTRIES["worker_message"].program
    ended = subprocess.run(
        [sys.executable, str(program), "-runs=1"], capture_output=True, text=True, timeout=120, check=False
    )
    assert f"Dictionary: {len(words('worker_message'))} entries" in ended.stderr
