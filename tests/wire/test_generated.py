"""The generated protobuf code is what its schemas generate."""

from __future__ import annotations

import importlib.util
import os

import pytest

from tools import generate_protobuf


def test_generated_code_is_up_to_date(capsys):
    """Style 24, "generated files say so, and CI regenerates them to prove it"."""
    if importlib.util.find_spec("grpc_tools") is None and not os.environ.get("CI"):
        pytest.skip("grpcio-tools, which generates the code, is not installed; CI has it")
    assert generate_protobuf.main(["--check"]) == 0
    assert capsys.readouterr().out == ""


def test_a_changed_or_missing_file_is_noticed(tmp_path, monkeypatch, capsys):
    """Style 16, "a broken one must fail": --check names each file that differs, and exits with 1."""

    def generate(into):
        folder = into / generate_protobuf.WIRE
        folder.mkdir(parents=True)
        for name in ("signal_pb2.py", "signal_pb2.pyi", "records_pb2.py", "records_pb2.pyi"):
            (folder / name).write_text(name)

    generate(tmp_path)
    monkeypatch.setattr(generate_protobuf, "generate", generate)
    monkeypatch.setattr(generate_protobuf, "SOURCES", tmp_path)
    assert generate_protobuf.main(["--check"]) == 0
    (tmp_path / "pawl/wire/signal_pb2.py").write_text("changed")
    (tmp_path / "pawl/wire/records_pb2.pyi").unlink()
    assert generate_protobuf.main(["--check"]) == 1
    out = capsys.readouterr().out
    assert out.count("\n") == 2
    assert "src/pawl/wire/signal_pb2.py is" in out
    assert "src/pawl/wire/records_pb2.pyi is" in out


def test_a_generator_that_cannot_run_is_another_exit_code(monkeypatch, capsys):
    """A broken tool is not an outdated file: one line on stderr, exit code 3."""
    monkeypatch.setattr(generate_protobuf.sys, "executable", "no-such-interpreter")
    assert generate_protobuf.main(["--check"]) == 3
    assert capsys.readouterr().err.startswith("the generator failed")
