"""The fuzzers' entry points and their inputs: what each input checks, and which code it runs, found by running it."""

from __future__ import annotations

import ast
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import pawl
from pawl_gate.engines.corpus import files
from pawl_gate.explain import shown
from pawl_gate.fuzzing.entries import ENTRIES
from pawl_gate.fuzzing.entries import Entry as Listed

HARNESS: Final = "harness.py"
"""What the entry points of fuzz/ share; it is none itself."""

BRACKETED: Final = re.compile(r"\(([a-z]+(?:-[a-z]+)+(?:,\s[a-z]+(?:-[a-z]+)+)*)\)")
"""Anchors of the threat model's lines, in the docstring of an entry point: (boundary-message, boundary-store)."""


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a corpus."""

    name: str
    """Its file's, which is its content's digest."""
    checks: frozenset[str]
    """Ids of the invariants that were checked when it ran."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry point, and its corpus."""

    file: str
    """From the checkout's folder."""
    line: int
    """Of its docstring."""
    says: str
    """Its docstring."""
    boundaries: tuple[str, ...]
    """Anchors of the threat model's lines that it names."""
    corpus: str
    """The folder of its inputs, from the checkout's."""
    listed: bool
    """Whether it is in the registry of entry points, so that its inputs can be run."""
    inputs: tuple[Input, ...]


Progress = Callable[[str], None]
Executed = frozenset[tuple[str, str]]
"""File, from the checkout's folder, and class and function of what ran."""


def entries(root: Path, progress: Progress) -> tuple[tuple[Entry, ...], Executed]:
    """Every entry point with its inputs, each of them run once on Pawl, and the functions of the library that ran."""
    found, codes = [], set[CodeType]()
    for path in sorted((root / "fuzz").glob("*.py")):
        if path.name == HARNESS:
            continue
        tree = ast.parse(path.read_text("utf-8"))
        says = ast.get_docstring(tree) or ""
        line = tree.body[0].lineno if says else 1
        boundaries = tuple(name for names in BRACKETED.findall(says) for name in re.split(r",\s", names))
        folder, listed = root / "corpus" / path.stem, ENTRIES.get(path.stem)
        inputs = files(folder)
        progress(f"{path.name}: running {len(inputs)} inputs")
        with _noting(codes):
            ran = tuple(_run(listed, inputs)) if listed is not None and inputs else ()
        where = path.relative_to(root).as_posix()
        name = folder.relative_to(root).as_posix()
        found.append(Entry(where, line, says, boundaries, name, listed is not None, ran))
    return tuple(found), frozenset(_named(codes))


def _run(entry: Listed, inputs: list[Path]) -> Iterator[Input]:
    if entry.needs:
        # Another implementation may not be here: what such inputs check is what their entry point names.
        yield from (Input(path.name, frozenset(entry.invariants)) for path in inputs)
        return
    prepared = entry.prepare()
    for path in inputs:
        ran = prepared.run(path.read_bytes())
        yield Input(path.name, frozenset() if ran is None else ran.checked)


@contextmanager
def _noting(codes: set[CodeType]) -> Iterator[None]:
    """Note the code of every function that is called meanwhile, in every thread that begins meanwhile."""

    def called(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            codes.add(frame.f_code)

    before, before_in_threads = sys.getprofile(), threading.getprofile()
    threading.setprofile(called)
    sys.setprofile(called)
    try:
        yield
    finally:
        sys.setprofile(before)
        threading.setprofile(before_in_threads)


def _named(codes: Iterable[CodeType]) -> Iterator[tuple[str, str]]:
    library = Path(str(pawl.__file__)).resolve().parent
    for code in codes:
        path = Path(code.co_filename).resolve()
        if path.is_relative_to(library):
            yield shown(path, pawl), code.co_qualname.replace(".<locals>", "")
