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
from pawl_gate.runner import run_trace
from pawl_gate.targets.inprocess import InProcessTarget
from pawl_spec.judge import judge
from pawl_spec.trace import decode

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
    is_trace: bool
    """Whether it holds its inputs to the specification as traces."""
    inputs: tuple[Input, ...]


Progress = Callable[[str], None]
Executed = frozenset[tuple[str, str]]
"""File, from the checkout's folder, and class and function of what ran."""


def entries(root: Path, progress: Progress) -> tuple[tuple[Entry, ...], Executed]:
    """Every entry point with its inputs, each of them run once on Pawl, and the functions of the library that ran."""
    target = InProcessTarget()
    found, codes = [], set[CodeType]()
    for path in sorted((root / "fuzz").glob("*.py")):
        if path.name == HARNESS:
            continue
        tree = ast.parse(path.read_text("utf-8"))
        says = ast.get_docstring(tree) or ""
        line = tree.body[0].lineno if says else 1
        boundaries = tuple(name for names in BRACKETED.findall(says) for name in re.split(r",\s", names))
        folder, is_trace = root / "corpus" / path.stem, _holds_traces(tree)
        inputs = files(folder)
        progress(f"{path.name}: running {len(inputs)} inputs")
        with _noting(codes):
            ran = tuple(_run(target, one) for one in inputs) if is_trace else ()
        where = path.relative_to(root).as_posix()
        found.append(Entry(where, line, says, boundaries, folder.relative_to(root).as_posix(), is_trace, ran))
    return tuple(found), frozenset(_named(codes))


def _holds_traces(tree: ast.Module) -> bool:
    """Whether the entry point uses `pawl_gate.engines.corpus.hold`, which takes each input for a trace."""
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module == "pawl_gate.engines.corpus"
        and "hold" in {alias.name for alias in node.names}
        for node in ast.walk(tree)
    )


def _run(target: InProcessTarget, path: Path) -> Input:
    _, checked = judge(run_trace(target, decode(path.read_bytes())))
    return Input(path.name, frozenset(checked))


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
