"""The build script of ClusterFuzzLite and OSS-Fuzz, run here as far as it goes without their images.

Their compile_python_fuzzer is stood in for by what it does to a program without sanitisers: PyInstaller makes one file
of it, and a script beside that starts it. Not run: the images, sanitisers, the actions of GitHub.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pawl_gate.engines.corpus import files
from pawl_gate.fuzzing.entries import ENTRIES
from tests.conftest import ROOT

BUILD = ROOT / ".clusterfuzzlite" / "build.sh"
OSS_FUZZ = ROOT / "oss-fuzz" / "pawl"

STAND_IN = """\
#!/bin/bash -eu
program=$1; shift
name=$(basename "$program" .py)
if [ -n "${{PAWL_PYINSTALLER:-}}" ]; then
  "$PAWL_PYINSTALLER" --log-level ERROR --distpath "$OUT" --workpath "$WORK" --specpath "$WORK" --onefile \\
    --name "$name.pkg" "$@" --paths "$SRC/pawl/fuzz" "$SRC/pawl/$program"
else
  printf '#!/bin/bash\\nexec {python} %s "$@"\\n' "$SRC/pawl/$program" >"$OUT/$name.pkg"
  chmod +x "$OUT/$name.pkg"
fi
printf '#!/bin/bash\\nexec "$(dirname "$0")/%s.pkg" "$@"\\n' "$name" >"$OUT/$name"
chmod +x "$OUT/$name"
"""


def build(folder: Path, script: Path, only: str = "") -> Path:
    """Run a build script; where what it made is."""
    out, work, source, tools = (folder / name for name in ("out", "work", "src", "tools"))
    for path in (out, work, source, tools):
        path.mkdir()
    (source / "pawl").symlink_to(ROOT)
    (tools / "compile_python_fuzzer").write_text(STAND_IN.format(python=sys.executable))
    (tools / "compile_python_fuzzer").chmod(0o755)
    path = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "SRC": str(source), "OUT": str(out), "WORK": str(work), "PATH": path}
    environment |= {"PAWL_INSTALLED": "1", "PAWL_ONLY": only}
    ended = subprocess.run([script], env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert ended.returncode == 0, ended.stderr
    return out


@pytest.mark.parametrize("script", [BUILD, OSS_FUZZ / "build.sh"], ids=["ClusterFuzzLite", "OSS-Fuzz"])
def test_every_entry_point_is_built(script: Path, tmp_path: Path) -> None:
    """Each that needs no other program, with its options, dictionary and corpus beside it."""
    out = build(tmp_path, script)
    names = [entry.name for entry in ENTRIES.values() if not entry.needs]
    assert names
    assert {path.stem for path in out.glob("*.options")} == set(names)
    for entry in (ENTRIES[name] for name in names):
        assert os.access(out / entry.name, os.X_OK)
        assert f"max_len = {entry.most_bytes}\n" in (out / f"{entry.name}.options").read_text()
        assert (out / f"{entry.name}.dict").exists() == entry.dictionary.exists()
        inputs = out / f"{entry.name}_seed_corpus.zip"
        assert inputs.exists() == entry.corpus.is_dir()
        if inputs.exists():
            with zipfile.ZipFile(inputs) as packed:
                there = {Path(one.filename).name for one in packed.infolist() if not one.is_dir()}
            assert there == {path.name for path in files(entry.corpus)}
    assert not (out / "entries.txt").exists()


@pytest.mark.atheris
def test_a_built_fuzzer_runs(tmp_path: Path) -> None:
    """It is started as a fleet starts it: from another folder, by libFuzzer's options, and again by itself to merge."""
    out = build(tmp_path, BUILD, only="signal_message")
    corpus, merged = tmp_path / "corpus", tmp_path / "merged"
    corpus.mkdir()
    merged.mkdir()
    fuzzer = str(out / "signal_message")
    for options in (["-runs=200", "-seed=1", str(corpus)], ["-merge=1", str(merged), str(corpus)]):
        ended = subprocess.run([fuzzer, *options], cwd=out, capture_output=True, text=True, timeout=300, check=False)
        assert ended.returncode == 0, ended.stderr
    assert files(merged)


def test_the_scripts_can_be_run() -> None:
    for script in (BUILD, OSS_FUZZ / "build.sh"):
        assert os.access(script, os.X_OK)
        assert subprocess.run(["bash", "-n", script], check=False).returncode == 0


def test_the_workflows_have_each_mode() -> None:
    """Code change, batch, prune and coverage, and findings as SARIF."""
    text = "".join(path.read_text() for path in sorted((ROOT / ".github" / "workflows").glob("fuzz-*.yml")))
    for mode in ("code-change", "batch", "prune", "coverage"):
        assert f"mode: {mode}\n" in text
    assert "output-sarif: true" in text
    if importlib.util.find_spec("yaml") is not None:
        import yaml

        for path in (ROOT / ".github" / "workflows").glob("fuzz-*.yml"):
            assert yaml.safe_load(path.read_text())["jobs"]
