"""What stands behind one invariant: the predicate's code, the code that makes it true, its controls and tests.

The code that makes an invariant true says so itself. The convention: a comment or docstring of `src/pawl` names the id
in brackets at the end of the sentence that the code makes true, as in

    # Without one nothing else would refuse a replay once the session is gone (CTR-06).

Several ids are parted by commas: (CTR-01, CTR-02). `grep -rn 'CTR-06' src/pawl` finds the same places.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
import textwrap
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Final

import pawl
import pawl_spec
from pawl_gate.controls import CONTROLS, Control
from pawl_gate.trials.broken_pools import as_controls
from pawl_spec.invariants import INVARIANTS
from pawl_spec.registry import REGISTRY, Invariant

ID: Final = re.compile(r"\b[A-Z]{3}-[0-9]{2}\b")
NAMED: Final = re.compile(r"\(((?:[A-Z]{3}-[0-9]{2})(?:, [A-Z]{3}-[0-9]{2})*)\)")


EXAMPLES: Final = "The ids in it are examples."
"""A module of tests whose docstring says so tests what is said of any invariant, and none in particular."""


class UnknownInvariant(LookupError):
    """No invariant has this id; the text names some that are near."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a file."""

    file: str
    """From the checkout's folder; outside a checkout from the folder that holds the package."""
    line: int
    where: str
    """The class and function around it; empty at the top of a module."""
    text: str
    """The sentence that names the invariant, or the line."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Source:
    """The code of one function."""

    file: str
    line: int
    name: str
    code: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that is known of one invariant, apart from what a run says."""

    invariant: Invariant
    predicate: tuple[Source, ...]
    """The predicate, then the functions of its own module that it uses. Empty: nothing judges it yet."""
    uses: tuple[Source, ...]
    """The functions of other modules of the specification that it uses directly."""
    code: tuple[Place, ...]
    """Where the library says that it makes it true."""
    controls: tuple[Control, ...]
    """The broken variants that it must catch."""
    tests: tuple[Place, ...] | None
    """The tests that name it; None outside a checkout."""


def find(id_: str) -> Invariant:
    """The invariant of that id, in capitals or not. Raises: UnknownInvariant."""
    wanted = id_.upper()
    if wanted in REGISTRY:
        return REGISTRY[wanted]
    family = [entry.id for entry in INVARIANTS if entry.id.split("-")[0] == wanted.split("-")[0]]
    near = family or get_close_matches(wanted, [entry.id for entry in INVARIANTS], n=5, cutoff=0.5)
    hint = f"near it are {', '.join(near)}" if near else "`pawl invariants` lists them all"
    raise UnknownInvariant(f"there is no invariant {id_[:40]!r}; {hint}")


def explain(entry: Invariant) -> Explanation:
    """What stands behind an invariant."""
    own, others = _sources(entry)
    return Explanation(
        entry,
        predicate=own,
        uses=others,
        code=library_places().get(entry.id, ()),
        controls=tuple(control for control in controls() if control.breaks == entry.id),
        tests=None if (found := test_places()) is None else found.get(entry.id, ()),
    )


@cache
def controls() -> tuple[Control, ...]:
    """All that is broken on purpose: implementations, and pools of workers."""
    return (*CONTROLS.values(), *as_controls())


# -- the predicate ----------------------------------------------------------------------------------------------------


def _sources(entry: Invariant) -> tuple[tuple[Source, ...], tuple[Source, ...]]:
    """The predicate with the helpers of its module, and the functions of other modules that these use."""
    if entry.predicate is None:
        return (), ()
    own: dict[str, Callable[..., object]] = {entry.predicate.__qualname__: entry.predicate}
    others: dict[str, Callable[..., object]] = {}
    todo: list[Callable[..., object]] = [entry.predicate]
    while todo:
        for used in _used(todo.pop(0)):
            home = own if used.__module__ == entry.predicate.__module__ else others
            if used.__qualname__ not in home and used.__module__.startswith("pawl_spec."):
                home[used.__qualname__] = used
                if home is own:
                    todo.append(used)
    return tuple(map(_source, own.values())), tuple(sorted(map(_source, others.values()), key=str))


def _used(function: Callable[..., object]) -> Iterator[Callable[..., object]]:
    """The functions of the module's own names that a function's code mentions, in the order of the code."""
    if isinstance(function, FunctionType):
        for name in _names(function.__code__):
            value = function.__globals__.get(name)
            if inspect.isfunction(value):
                yield value


def _names(whole: CodeType) -> Iterator[str]:
    todo = [whole]
    while todo:
        code = todo.pop(0)
        yield from code.co_names
        # Comprehensions and functions inside.
        todo += [constant for constant in code.co_consts if inspect.iscode(constant)]


def _source(function: Callable[..., object]) -> Source:
    lines, first = inspect.getsourcelines(function)
    file = shown(Path(inspect.getfile(function)).resolve(), pawl_spec)
    return Source(file, first, function.__name__, inspect.cleandoc("\n" + "".join(lines)) + "\n")


def _parent(package: ModuleType) -> Path:
    """The folder in which a package lies."""
    return Path(inspect.getfile(package)).resolve().parents[1]


def checkout() -> Path | None:
    """The checkout that this runs from, or None."""
    root = _parent(pawl_spec).parent
    return root if (root / "tests").is_dir() and (root / "pyproject.toml").is_file() else None


def shown(path: Path, package: ModuleType) -> str:
    """A file of a package from the checkout's folder; outside a checkout from the folder that holds the package."""
    return path.relative_to(checkout() or _parent(package)).as_posix()


MOST_LINES: Final = 60
"""Of a class that is shown whole because its docstring makes the claim."""


def excerpt(place: Place, root: Path) -> Source | None:
    """The function, assignment or small class around a place; None for the docstring of a module."""
    source = (root / place.file).read_text("utf-8")
    around = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign) and _spans(node, place.line)
    ]
    # The walk goes from the outside in.
    if not around or (isinstance(around[-1], ast.ClassDef) and _length(around[-1]) > MOST_LINES):
        return None
    first, last = around[-1].lineno, around[-1].end_lineno
    lines = source.splitlines()[first - 1 : last]
    return Source(place.file, first, place.where, textwrap.dedent("\n".join(lines)) + "\n")


def _length(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _spans(node: ast.stmt, line: int) -> bool:
    return node.lineno <= line <= (node.end_lineno or node.lineno)


# -- the code and the tests -------------------------------------------------------------------------------------------


@cache
def library_places() -> dict[str, tuple[Place, ...]]:
    """By invariant id: where a comment or a docstring of the installed library names it in brackets."""
    root = _parent(pawl)
    found: dict[str, list[Place]] = {}
    for path in sorted((root / "pawl").rglob("*.py")):
        source = path.read_text("utf-8")
        if not NAMED.search(source):
            continue
        around = Around(source)
        for line, sentence in _prose(source):
            for match in NAMED.finditer(sentence):
                text = _last_sentence(sentence[: match.end()])
                at = line + sentence[: match.start()].count("\n")
                place = shown(path, pawl)
                for id_ in match[1].split(", "):
                    found.setdefault(id_, []).append(Place(place, at, around.name_at(at), text))
    return {id_: tuple(places) for id_, places in found.items()}


def is_test(where: str) -> bool:
    """Whether a name of a class and function is that of a test."""
    return where.split(".")[-1].startswith("test")


@cache
def test_places() -> dict[str, tuple[Place, ...]] | None:
    """By invariant id: the tests of the checkout that name it, each once. None outside a checkout."""
    root = checkout()
    if root is None:
        return None
    found: dict[str, dict[tuple[str, str], Place]] = {}
    for path in sorted((root / "tests").rglob("*.py")):
        source = path.read_text("utf-8")
        if EXAMPLES in (ast.get_docstring(ast.parse(source)) or ""):
            continue
        around = Around(source)
        for number, line in enumerate(source.splitlines(), 1):
            for id_ in ID.findall(line):
                where = around.name_at(number)
                # What stands between the tests is a heading, a table that they use, or a helper.
                if not is_test(where):
                    continue
                place = Place(path.relative_to(root).as_posix(), number, where, " ".join(line.split()))
                found.setdefault(id_, {}).setdefault((place.file, place.where), place)
    return {id_: tuple(places.values()) for id_, places in found.items()}


def _prose(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of every comment block, and of every string (docstrings are strings)."""
    block: list[str] = []
    begun = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            if block and token.start[0] == begun + len(block):
                block.append(token.string.lstrip("# "))
                continue
            if block:
                yield begun, "\n".join(block)
            begun, block = token.start[0], [token.string.lstrip("# ")]
        elif token.type == tokenize.STRING:
            yield token.start[0], token.string.strip("\"'")
    if block:
        yield begun, "\n".join(block)


def _last_sentence(text: str) -> str:
    """The sentence, or the paragraph's rest, that a text ends with, on one line."""
    paragraph = " ".join(text.split("\n\n")[-1].split())
    sentence = re.split(r"(?<=[.;]) (?=[A-Z])", paragraph)[-1]
    section = re.match(r"(?:Check|Derive|Commit|Derive and commit): (.)", sentence)
    return section[1].upper() + sentence[section.end() :] if section else sentence


class Around:
    """The classes and functions of a module, by line."""

    def __init__(self, source: str) -> None:
        self._spans: list[tuple[int, int, str]] = []
        self._walk(ast.parse(source), "")

    @property
    def names(self) -> frozenset[str]:
        """All of them, from the outside in: `Device.decrypt`."""
        return frozenset(name for _, _, name in self._spans)

    def _walk(self, node: ast.AST, outer: str) -> None:
        for child in ast.iter_child_nodes(node):
            name = outer
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                name = f"{outer}.{child.name}" if outer else child.name
                first = min([child.lineno, *(decorator.lineno for decorator in child.decorator_list)])
                self._spans.append((first, child.end_lineno or child.lineno, name))
            self._walk(child, name)

    def name_at(self, line: int) -> str:
        """The innermost class or function around a line."""
        around = [(last - first, name) for first, last, name in self._spans if first <= line <= last]
        return min(around)[1] if around else ""
