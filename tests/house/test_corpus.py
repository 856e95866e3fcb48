"""The corpus in the tree, and the tool that grows and checks it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pawl_gate.engines.corpus import MOST_BURST, MOST_OPS, SESSION_TRACE, add, files, load
from pawl_spec.trace import Kind, Op, Trace, encode, op
from tools import make_corpus
from tools.examples import ROOT


def tool(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the tool as its users do."""
    command = [sys.executable, "tools/make_corpus.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_the_corpus_is_in_order() -> None:
    """Names are contents, nothing is too costly, every operation and every choice of the attacker is there."""
    ended = tool("--check")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_every_input_is_in_its_plain_form() -> None:
    """Kept inputs are what the codec writes, so that a change of the codec shows."""
    assert [name for name, trace in load(SESSION_TRACE) if encode(trace) != (SESSION_TRACE / name).read_bytes()] == []


def test_a_wrong_name_is_found(tmp_path: Path) -> None:
    """A file that was edited, or named by hand."""
    folder = Path(shutil.copytree(SESSION_TRACE, tmp_path / "corpus"))
    (folder / "by-hand").write_bytes(b"\1\0\0\0")
    assert make_corpus.check(folder) == ["by-hand: its name is not its content's"]


@pytest.mark.parametrize(
    "ops", [(Op(Kind.NOP),) * (MOST_OPS + 1), (op(Kind.BURST, actor=0, peer=1, count=MOST_BURST + 1),)]
)
def test_a_costly_input_is_found(tmp_path: Path, ops: tuple[Op, ...]) -> None:
    """It would slow down every campaign that starts from the corpus."""
    folder = Path(shutil.copytree(SESSION_TRACE, tmp_path / "corpus"))
    path = add(folder, encode(Trace(ops)))
    assert make_corpus.check(folder) == [f"{path.name}: too costly to be run"]


def test_a_large_corpus_is_found(tmp_path: Path) -> None:
    """Bytes after the last operation that counts are bytes all the same."""
    folder = Path(shutil.copytree(SESSION_TRACE, tmp_path / "corpus"))
    path = add(folder, bytes(make_corpus.MOST_BYTES))
    assert set(make_corpus.check(folder)) == {
        f"{path.name}: too costly to be run",
        f"the corpus has more than {make_corpus.MOST_BYTES} bytes",
    }


def test_what_is_missing_is_found(tmp_path: Path) -> None:
    """An operation, or a choice of the attacker, that no input has."""
    add(tmp_path, encode(Trace((op(Kind.TAMPER, field=1), Op(Kind.NOP)))))
    wrong = make_corpus.check(tmp_path)
    assert "no input has the operation send" in wrong
    assert "no input has tamper with mac" in wrong
    assert not {"no input has the operation nop", "no input has tamper with ciphertext"} & set(wrong)


def test_only_what_reaches_something_new_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The input that reaches most comes first; what then reaches nothing new, or is too costly, is left; nothing goes."""
    monkeypatch.setattr(make_corpus, "SESSION_TRACE", tmp_path)
    meet, send = op(Kind.ESTABLISH, actor=0, peer=1), op(Kind.SEND, actor=0, peer=1)
    met, spoken = encode(Trace((meet,))), encode(Trace((meet, send)))
    add(tmp_path, met)
    costly = encode(Trace((meet, send, *[Op(Kind.NOP)] * MOST_OPS)))
    assert make_corpus.grow([met, spoken, encode(Trace((meet, meet, send, send))), costly]) == 1
    assert make_corpus.grow([spoken, met]) == 0
    assert met in {path.read_bytes() for path in files(tmp_path)}
    assert len(files(tmp_path)) == 2


def test_a_folder_without_inputs_is_refused(tmp_path: Path) -> None:
    """A misspelt folder is not the wish for a random walk: exit code 2, usage, and the corpus stays as it is."""
    before = [path.name for path in files(SESSION_TRACE)]
    for arguments, says in (
        ((tmp_path,), f"there are no inputs in {tmp_path}"),
        ((tmp_path / "misspelt",), f"there are no inputs in {tmp_path / 'misspelt'}"),
        (("--check", tmp_path), "--check takes no folder"),
    ):
        ended = tool(*arguments)
        assert ended.returncode == 2
        assert says in ended.stderr
    assert [path.name for path in files(SESSION_TRACE)] == before
