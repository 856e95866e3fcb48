"""Build the wheel, install it alone and use it: `make wheel`.

The environment holds the library's own locked dependencies and nothing else, so that a dependency that only the tests
bring along is noticed. Exit codes: 0 fine, 1 the wheel is not.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tools.examples import ROOT, program

PACKAGES = {
    "pawl": ROOT / "src" / "pawl",
    "pawl_gate": ROOT / "src" / "pawl_gate",
    "pawl_spec": ROOT / "spec" / "pawl_spec",
}


def main() -> int:
    """Build, look inside, install, run."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        say("building")
        run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(work)], at=ROOT)
        (wheel,) = work.glob("*.whl")
        wrong = compare(wheel)

        say(f"installing {wheel.name} in an empty environment")
        run([sys.executable, "-m", "venv", str(work / "venv")], at=work)
        python = str(work / "venv" / "bin" / "python")
        pip = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        run([*pip, "--no-deps", "--require-hashes", "-r", str(ROOT / "requirements" / "base.txt")], at=work)
        run([*pip, "--no-deps", str(wheel)], at=work)
        run([python, "-m", "pip", "check", "-qq", "--disable-pip-version-check"], at=work)

        say("running the README's example there")
        (work / "readme.py").write_text(program(ROOT / "README.md"), encoding="utf-8")
        run([python, "-I", "readme.py"], at=work)

        # Without its extra the command works, or says what to install; it never shows a traceback.
        command = subprocess.run(
            [work / "venv" / "bin" / "pawl", "invariants"], capture_output=True, text=True, cwd=work
        )
        if (command.returncode != 0 and "[gate]" not in command.stderr) or "Traceback" in command.stderr:
            wrong.append(f"`pawl` without its extra: exit code {command.returncode}, {command.stderr.strip()[-300:]!r}")

    for line in wrong:
        say(line)
    if not wrong:
        say("the wheel holds what it should and runs on its own dependencies")
    return 1 if wrong else 0


def compare(wheel: Path) -> list[str]:
    """What the wheel lacks, or holds too much, against the source."""
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    licences = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith("/LICENSE")]
    sources = {
        f"{package}/{path.relative_to(folder).as_posix()}"
        for package, folder in PACKAGES.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    wrong = [f"not in the wheel: {name}" for name in sorted(sources - names)]
    wrong += [f"should not be in the wheel: {name}" for name in sorted(names - sources)]
    wrong += [f"not in the wheel: {package}/py.typed" for package in PACKAGES if f"{package}/py.typed" not in names]
    return wrong + ([] if licences else ["not in the wheel: LICENSE"])


def run(command: list[str], *, at: Path) -> None:
    """Run, and stop with its words if it fails."""
    result = subprocess.run(command, capture_output=True, text=True, cwd=at)
    if result.returncode != 0:
        say(f"{' '.join(command[:4])} ... ended with {result.returncode}\n{result.stdout}{result.stderr}".rstrip())
        sys.exit(1)


def say(text: str) -> None:
    """Progress goes to stderr."""
    print(f"wheel: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
