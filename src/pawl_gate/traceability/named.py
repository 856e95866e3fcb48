"""Code that names invariants, in any language: where a comment has an id in brackets, as `pawl_gate.explain` has it.

An adopter marks the code that makes an invariant true as Pawl's own code does, `# ... (CTR-06)`, and `--code DIR` says
where that code lies. A report then leads to it, and a change of it tells which invariants to judge.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from pawl_gate import explain
from pawl_gate.explain import NAMED, Place

MAX_FILE_BYTES: Final = 2 * 1024 * 1024
"""Bytes of a file that is read for ids: what is longer was written by a program."""

ASIDE: Final = frozenset({"node_modules", "__pycache__", "target", "build", "dist"})
"""Folders of packages and of what was built; those whose name begins with a dot are left aside too."""

LIBRARY: Final = "src/pawl"
"""Pawl's own code, from the checkout's folder."""


def names_in(text: str) -> frozenset[str]:
    """The ids that a text names in brackets."""
    return frozenset(id_ for match in NAMED.finditer(text) for id_ in match[1].split(", "))


def files(folder: Path) -> Iterator[Path]:
    """Every file of a folder that could be code, in a fixed order; links are not followed."""
    for at, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in ASIDE and not name.startswith("."))
        for name in sorted(names):
            path = Path(at, name)
            if path.is_file() and not path.is_symlink():
                yield path


def read(path: Path) -> str:
    """The text of a file of code; empty for one that is none."""
    data = path.read_bytes() if path.stat().st_size <= MAX_FILE_BYTES else b""
    return "" if b"\0" in data[:8192] else data.decode("utf-8", "replace")


def places(folder: Path, root: Path) -> Mapping[str, tuple[Place, ...]]:
    """By id: the lines of the code in `folder` that name it in brackets, with files from `root`. Raises: OSError."""
    found: dict[str, list[Place]] = {}
    for path in files(folder):
        text = read(path)
        if not NAMED.search(text):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            for id_ in sorted(names_in(line)):
                where = Place(path.relative_to(root).as_posix(), number, "", line.strip()[:200])
                found.setdefault(id_, []).append(where)
    return {id_: tuple(each) for id_, each in found.items()}


def library() -> Mapping[str, tuple[Place, ...]]:
    """The same for Pawl itself, whatever it was installed from."""
    return explain.library_places()
