"""Pin every dependency with the hashes of its files: `make lock`.

Writes `requirements/*.txt`, and the locks of the peers in Python, without the address of any index, so that a checkout
installs from whichever index its user has set up. One lock serves Python 3.11 to 3.14. Atheris alone has another
release on Python 3.11 and wheels only for Linux on x86-64, which pip-compile cannot express from one interpreter: it
is pinned here, by markers.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "requirements"

COMPILE = [
    *(sys.executable, "-m", "piptools", "compile", "--quiet", "--strip-extras", "--generate-hashes", "--allow-unsafe"),
    *("--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-trusted-host", "--no-emit-find-links"),
    *("--no-config", "--resolver=backtracking"),
]
HEADER = "# Written by `make lock`. Install with pip's --require-hashes, from any index.\n"

PYTHON_PEERS = ("omemo-dr", "python-axolotl")
"""Implementations that are judged, each in an environment of its own: drivers/NAME."""

LINUX = 'sys_platform == "linux" and platform_machine == "x86_64"'
ATHERIS = [
    ("3.0.0", ["3.11"], f'{LINUX} and python_version < "3.12"'),
    ("3.1.0", ["3.12", "3.13", "3.14"], f'{LINUX} and python_version >= "3.12" and python_version < "3.15"'),
]
"""Release, interpreters that it has wheels for, and the marker that says so. 3.1.0 dropped Python 3.11."""


def main(arguments: list[str]) -> int:
    """Write the locks; with `--upgrade` take the newest releases instead of keeping what still fits."""
    upgrade = ["--upgrade"] if "--upgrade" in arguments else []
    compile_lock("base.txt", ["pyproject.toml"], upgrade)
    compile_lock(
        "dev.txt",
        [
            "--extra=gate",
            "--extra=dask",
            "--extra=postgres",
            "--extra=trials",
            "--extra=workers",
            "--extra=otel",
            "--constraint=requirements/base.txt",
            "pyproject.toml",
            "requirements/dev.in",
        ],
        upgrade,
    )
    compile_lock(
        "docs.txt",
        [
            # Their pages are made from their docstrings.
            "--extra=workers",
            "--extra=otel",
            "--constraint=requirements/base.txt",
            "pyproject.toml",
            "requirements/docs.in",
        ],
        upgrade,
    )
    compile_lock("release.txt", ["requirements/release.in"], upgrade)
    gate = ["--extra=gate", "--constraint=requirements/dev.txt", "pyproject.toml", "requirements/gate.in"]
    compile_lock("gate.txt", gate, upgrade)
    compile_lock("lock-tool.txt", ["requirements/lock-tool.in"], upgrade)
    compile_lock("../drivers/python-build.txt", ["drivers/python-build.in"], upgrade)
    for peer in PYTHON_PEERS:
        compile_lock(f"../drivers/{peer}/requirements.txt", [f"drivers/{peer}/requirements.in"], upgrade)
    write("fuzz.txt", "".join(pin_atheris(*release) for release in ATHERIS))
    return 0


def compile_lock(name: str, sources: list[str], options: list[str]) -> None:
    """Resolve `sources` into `requirements/name`."""
    print(f"lock: {(LOCKS / name).resolve().relative_to(ROOT)}", file=sys.stderr)
    run([*COMPILE, *options, f"--output-file=requirements/{name}", *sources])
    write(name, (LOCKS / name).read_text())


def write(name: str, pins: str) -> None:
    """Write a lock under its header, without comments: pip-compile's name this machine's files."""
    kept = [
        line
        for line in pins.splitlines()
        if line.strip() and not line.lstrip().startswith(("#", "--index", "--find", "--extra"))
    ]
    (LOCKS / name).write_text(HEADER + "\n".join(kept) + "\n")


def pin_atheris(version: str, interpreters: list[str], marker: str) -> str:
    """The requirement of one release, with the hash of its wheel for each interpreter."""
    with tempfile.TemporaryDirectory() as folder:
        for interpreter in interpreters:
            wheel = ["--only-binary=:all:", "--platform=manylinux2014_x86_64", f"--python-version={interpreter}"]
            run(
                [
                    sys.executable,
                    "-m",
                    "pip",
                    "download",
                    "-q",
                    "--no-deps",
                    *wheel,
                    f"--dest={folder}",
                    f"atheris=={version}",
                ]
            )
        digests = sorted(hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in Path(folder).iterdir())
    return f"atheris=={version} ; {marker}" + "".join(f" \\\n    --hash=sha256:{digest}" for digest in digests) + "\n"


def run(command: list[str]) -> None:
    """Run in the project's folder with pip's own settings of this machine put aside."""
    environment = {key: value for key, value in os.environ.items() if key != "PIP_FIND_LINKS"}
    subprocess.run(command, cwd=ROOT, check=True, env={**environment, "PIP_CONFIG_FILE": os.devnull})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
