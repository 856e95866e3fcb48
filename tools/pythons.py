"""Replay the whole corpus under each supported Python that is here: one input has one transcript, on all of them.

    python -m tools.pythons [ENTRY ...] [--json]

Each Python but the one of `.venv` gets an environment of its own in build/pythons, from the locks; Atheris is not
needed, as nothing is fuzzed. In each of them `pawl corpus verify` runs every input twice. Then their transcripts are
compared. Which Pythons are absent is said, and which version of each was taken.

Exit codes: 0 in order, 1 not so, 3 one of them could not be set up, or could not judge.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tools.examples import ROOT
from tools.set_up import digest

HOME: Final = ROOT / "build" / "pythons"
CLASSIFIER: Final = re.compile(r"Programming Language :: Python :: (3\.\d+)")
QUIET: Final = ("-qq", "--disable-pip-version-check", "--no-deps")


def supported() -> list[str]:
    """The Pythons that the project says it supports, such as "3.11"."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return [found[1] for each in project["classifiers"] if (found := CLASSIFIER.fullmatch(each))]


def candidates(python: str) -> Iterator[Path]:
    """Where an interpreter of a version may be: this one, one on the path, one of pyenv."""
    yield Path(sys.executable)
    if (there := shutil.which(f"python{python}")) is not None:
        yield Path(there)
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(pyenv.glob(f"versions/{python}.*/bin/python"), reverse=True)


def version(interpreter: Path) -> str:
    """Of an interpreter, such as "3.11.7"; empty where it is none that runs (a shim may be there without a Python)."""
    code = "import sys; print('%d.%d.%d' % sys.version_info[:3])"
    try:
        ended = subprocess.run([interpreter, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    except OSError:
        return ""
    return ended.stdout.strip() if ended.returncode == 0 else ""


def found(python: str) -> Path | None:
    """An interpreter of a version, if there is one."""
    return next((each for each in candidates(python) if version(each).startswith(f"{python}.")), None)


def environment(python: str, interpreter: Path) -> Path:
    """The interpreter of an environment with what is locked and the project. Raises: CalledProcessError."""
    if interpreter == Path(sys.executable):
        return interpreter
    place = HOME / python
    inside, stamp = place / "bin" / "python", place / "pawl-stamp"
    lock = ROOT / "requirements" / "dev.txt"
    made_of = digest([lock, ROOT / "pyproject.toml"], str(ROOT), version(interpreter))
    if stamp.is_file() and stamp.read_text() == made_of:
        return inside
    print(f"pythons: making an environment for Python {version(interpreter)}", file=sys.stderr)
    subprocess.run([interpreter, "-m", "venv", "--clear", place], check=True, stdout=subprocess.DEVNULL)
    pip = [str(inside), "-m", "pip", "install", *QUIET]
    subprocess.run([*pip, "--require-hashes", "-r", str(lock)], check=True)
    subprocess.run([*pip, "--no-build-isolation", "--editable", str(ROOT)], check=True)
    stamp.write_text(made_of)
    return inside


def verified(interpreter: Path, entries: list[str]) -> dict[str, Any]:
    """What `pawl corpus verify` says there."""
    command = [str(interpreter), "-m", "pawl_gate.cli", "corpus", "verify", *entries, "--json"]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, check=False)
    if ended.returncode not in (0, 1):
        raise subprocess.CalledProcessError(ended.returncode, command)
    said: dict[str, Any] = json.loads(ended.stdout)
    return said


def parted(digests: dict[str, dict[str, dict[str, str]]]) -> list[str]:
    """The inputs whose transcripts differ between Pythons. `digests`: by Python, entry point and input."""
    (first, told), *others = digests.items()
    return [
        f"{entry}/{name}: another transcript on Python {python} than on {first}"
        for python, other in others
        for entry in told
        for name in told[entry]
        if other.get(entry, {}).get(name) != told[entry][name]
    ]


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("entry", nargs="*", help="entry points; none: all that have a corpus")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    here: dict[str, str] = {}
    absent: list[str] = []
    wrong: list[str] = []
    digests: dict[str, dict[str, dict[str, str]]] = {}
    for python in supported():
        interpreter = found(python)
        if interpreter is None:
            absent.append(python)
            continue
        here[python] = version(interpreter)
        print(f"pythons: replaying on Python {here[python]}", file=sys.stderr)
        try:
            said = verified(environment(python, interpreter), arguments.entry)
        except subprocess.CalledProcessError as error:
            print(f"pythons: Python {here[python]}: {error}", file=sys.stderr)
            return 3
        wrong += [f"Python {here[python]}: {line}" for line in said["wrong"]]
        digests[python] = said["digests"]
    if not digests:
        print("pythons: none of the supported Pythons is here", file=sys.stderr)
        return 3
    wrong += parted(digests)
    inputs = sum(map(len, next(iter(digests.values())).values()))
    if arguments.json:
        print(json.dumps({"pythons": here, "absent": absent, "inputs": inputs, "wrong": wrong}, indent=1))
    else:
        print(f"{inputs} inputs, each run twice on Python {', '.join(here.values())}: ", end="")
        print("one transcript each" if not wrong else f"{len(wrong)} are not in order")
        print("".join(f"  {line}\n" for line in wrong), end="")
        if absent:
            print(f"not here, and not judged: Python {', '.join(absent)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
