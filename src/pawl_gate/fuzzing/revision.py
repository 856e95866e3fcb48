"""What the code is that finds something: its revision, and the tools that it runs with.

What two machines find is only worth putting together if they ran the same.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from pawl_gate.fuzzing.entries import ROOT

PACKAGES: Final = ("atheris", "cryptography", "PyNaCl", "protobuf")
"""Whose version can change what an input reaches."""

FOLDERS: Final = ("src", "spec", "fuzz")
"""Whose files make the revision: what git says of a commit says nothing of what was changed since."""


def revision() -> str:
    """Of the code in this checkout: 16 hex digits of a SHA-256 over its files."""
    whole = hashlib.sha256()
    for path in _files():
        whole.update(f"{path.relative_to(ROOT).as_posix()}\0{path.stat().st_size}\0".encode())
        whole.update(path.read_bytes())
    return whole.hexdigest()[:16]


def _files() -> Iterator[Path]:
    for name in FOLDERS:
        yield from sorted(path for path in (ROOT / name).rglob("*") if path.is_file() and path.suffix in SUFFIXES)


SUFFIXES: Final = (".py", ".json", ".dict", ".proto")


@cache
def tools() -> tuple[tuple[str, str], ...]:
    """Names and versions, Python's first."""
    return ("Python", platform.python_version()), *((name, _version(name)) for name in PACKAGES)


def pawl_version() -> str:
    """Of the installed distribution."""
    return _version("pawl-signal")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
